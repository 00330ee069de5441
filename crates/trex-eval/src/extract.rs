//! Answers out of generated text: the first line, or the option that is meant. Does not score, and does not understand
//! negation: "not positive" contains "positive".

use std::ops::Range;

use crate::text::{joins, normalise};

const QUOTES: [(char, char); 8] =
    [('"', '"'), ('\'', '\''), ('`', '`'), ('“', '”'), ('‘', '’'), ('«', '»'), ('「', '」'), ('『', '』')];

/// Returns the first line that is not blank, trimmed, without one pair of enclosing quotes; empty where all is blank.
pub fn first_answer(text: &str) -> &str {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    QUOTES.iter().find_map(|(open, close)| line.strip_prefix(*open)?.strip_suffix(*close)).map_or(line, str::trim)
}

/// Returns the index of the option that the text means.
///
/// In this order: the option that equals the text or its first line after [`normalise`]; the longest option that the
/// first line starts with, as whole words; the only option that occurs anywhere in the text as whole words, where an
/// occurrence inside a longer option does not count. `None` where no option or more than one remains. Of options that
/// are equal after normalisation the first is returned.
pub fn choose_option(text: &str, options: &[String]) -> Option<usize> {
    let whole = normalise(text);
    let first_line = normalise(first_answer(text));
    let options: Vec<String> = options.iter().map(|option| normalise(option)).collect();
    let equals = |wanted: &str| options.iter().position(|option| option == wanted);
    equals(&whole)
        .or_else(|| equals(&first_line))
        .or_else(|| leading_option(&first_line, &options))
        .or_else(|| only_option(&whole, &options))
}

fn leading_option(line: &str, options: &[String]) -> Option<usize> {
    longest_first(options).into_iter().find_map(|(index, option)| {
        let leads = occurrences(line, option).first().is_some_and(|place| place.start == 0);
        leads.then_some(index)
    })
}

fn only_option(text: &str, options: &[String]) -> Option<usize> {
    let mut taken: Vec<Range<usize>> = Vec::new();
    let mut found = Vec::new();
    for (index, option) in longest_first(options) {
        let is_taken = |place: &Range<usize>| taken.iter().any(|t| t.start <= place.start && place.end <= t.end);
        let places: Vec<_> = occurrences(text, option).into_iter().filter(|place| !is_taken(place)).collect();
        if !places.is_empty() {
            found.push(index);
            taken.extend(places);
        }
    }
    if let [only] = found[..] { Some(only) } else { None }
}

fn longest_first(options: &[String]) -> Vec<(usize, &str)> {
    let mut sorted: Vec<_> = options.iter().map(String::as_str).enumerate().filter(|(_, o)| !o.is_empty()).collect();
    sorted.sort_by_key(|(index, option)| (std::cmp::Reverse(option.len()), *index));
    sorted
}

/// Byte ranges where the phrase stands as whole words.
fn occurrences(text: &str, phrase: &str) -> Vec<Range<usize>> {
    let ends = phrase.chars().next().zip(phrase.chars().next_back());
    let Some((first, last)) = ends else {
        return Vec::new();
    };
    text.match_indices(phrase)
        .map(|(start, _)| start..start + phrase.len())
        .filter(|place| {
            let before = text.get(..place.start).and_then(|part| part.chars().next_back());
            let after = text.get(place.end..).and_then(|part| part.chars().next());
            !before.is_some_and(|c| joins(c, first)) && !after.is_some_and(|c| joins(last, c))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check_first(text: &str, expected: &str) {
        assert_eq!(first_answer(text), expected, "{text:?}");
    }

    #[test]
    fn the_first_line_without_quotes() {
        check_first("\n  \n Paris \nbecause", "Paris");
        check_first("\"Paris\"", "Paris");
        check_first("“ Paris ”\nmore", "Paris");
        check_first("「北京」", "北京");
        check_first("\"Paris", "\"Paris");
        check_first("\"", "\"");
        check_first("  ", "");
    }

    #[track_caller]
    fn check(text: &str, options: &[&str], expected: Option<&str>) {
        let owned: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        let chosen = choose_option(text, &owned).map(|index| options[index]);
        assert_eq!(chosen, expected, "{text:?}");
    }

    #[test]
    fn options_are_found() {
        let moods = ["positive", "negative", "very positive"];
        check("Positive.", &moods, Some("positive"));
        check("'negative'\nbecause it is positive", &moods, Some("negative"));
        check("negative, although some say positive", &moods, Some("negative"));
        check("very positive indeed", &moods, Some("very positive"));
        check("I find it very positive", &moods, Some("very positive"));
        check("It is positive, I think", &moods, Some("positive"));
        check("either positive or negative", &moods, None);
        check("positively great", &moods, None);
        check("nonnegative", &moods, None);
        check("", &moods, None);
        check("The answer is (B).", &["A", "B", "C"], Some("B"));
        check("B) because", &["A", "B", "C"], Some("B"));
        check("Bob", &["A", "B"], None);
        check("答案是北京市", &["北京", "上海"], Some("北京"));
        check("anything", &["", "x"], None);
        check("anything", &[], None);
    }

    proptest! {
        #[test]
        fn an_option_chooses_itself(options in prop::collection::btree_set("[a-z]{1,4}( [a-z]{1,4})?", 1..6), pick in 0_usize..6) {
            let options: Vec<String> = options.into_iter().collect();
            let index = pick % options.len();
            prop_assert_eq!(choose_option(&format!(" {}!", options[index].to_uppercase()), &options), Some(index));
        }

        #[test]
        fn any_text_is_survived(text in any::<String>(), options in prop::collection::vec(any::<String>(), 0..4)) {
            prop_assert!(choose_option(&text, &options).is_none_or(|index| index < options.len()));
        }
    }
}
