//! Whether a text that a model wrote comes to the gold answer. Compares words and numbers and understands no sense: "not
//! Paris" holds "Paris".

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::Regex;
use trex_domain::Example;

use crate::text::{normalise_key, words};

/// What stands before a final answer, in lower case: of chat models, of GSM8K, and of LaTeX.
const MARKERS: [&str; 4] = ["answer:", "answer is", "####", "\\boxed{"];

/// Numbers that differ relatively by no more count as equal, as in the metric `numeric_match`.
const NUMERIC_TOLERANCE: f64 = 1e-6;

/// A number as it is written in English.
static NUMBER: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"-?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?").ok());

/// A text by its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Conclusion<'t> {
    /// What comes before the final answer.
    pub(super) steps: &'t str,
    /// The final answer.
    pub(super) answer: &'t str,
}

impl<'t> Conclusion<'t> {
    /// What stands behind the last marker, else the last line.
    pub(super) fn of(text: &'t str) -> Self {
        Self::marked(text).unwrap_or_else(|| {
            let text = text.trim();
            let (steps, answer) = text.rsplit_once('\n').unwrap_or(("", text));
            Self { steps: steps.trim(), answer: bare(answer) }
        })
    }

    /// What stands behind the last marker, on its line; none where there is no marker or nothing behind it.
    fn marked(text: &'t str) -> Option<Self> {
        // ASCII letters only, so places stay the same.
        let lower = text.to_ascii_lowercase();
        let places = MARKERS.iter().filter_map(|marker| Some((lower.rfind(marker)?, *marker)));
        let (start, marker) = places.max()?;
        let line = text.get(start + marker.len()..)?.trim_start_matches([' ', '\t', '\n', ':', '*']).lines().next()?;
        let before = text.get(..start)?;
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let steps = before.get(..line_start)?.trim();
        let steps = if steps.is_empty() { before.trim() } else { steps };
        let in_braces = line.split_once('}').filter(|_| marker.ends_with('{'));
        let answer = bare(in_braces.map_or(line, |(inner, _)| inner));
        (!answer.is_empty()).then_some(Self { steps, answer })
    }
}

/// Without what is set around an answer.
fn bare(answer: &str) -> &str {
    let answer = answer.trim_matches(|c: char| c.is_whitespace() || "*$`\"“”".contains(c));
    answer.strip_suffix('.').unwrap_or(answer).trim()
}

/// The gold answer of a row: all of it, or what stands behind a marker where it has its steps already.
pub(super) fn gold_of(row: &Example) -> &str {
    Conclusion::marked(&row.answer).map_or(row.answer.as_str(), |conclusion| conclusion.answer)
}

/// Whether a text comes to a gold answer.
///
/// A number must be the last one of the text. Else the text must hold the gold answer word for word, or, with a
/// `min_agreement` below 1, have so large a share of words in common with it (F1).
pub(super) fn agrees(text: &str, gold: &str, min_agreement: f64) -> bool {
    if let Some(wanted) = number_alone(gold) {
        return last_number(text).is_some_and(|found| (found - wanted).abs() <= NUMERIC_TOLERANCE * wanted.abs());
    }
    if min_agreement >= 1.0 { holds(text, gold) } else { f1(text, gold) >= min_agreement }
}

/// Whether the answer that a text gives to a row is the gold one: of options the only one that it names.
pub(super) fn answers(text: &str, row: &Example, min_agreement: f64) -> bool {
    if row.options.is_empty() {
        return agrees(Conclusion::of(text).answer, gold_of(row), min_agreement)
            || agrees(text, gold_of(row), min_agreement);
    }
    let first_line = text.trim().lines().next().unwrap_or_default();
    let meant = named_option(first_line, &row.options).or_else(|| named_option(text, &row.options));
    meant == Some(row.answer.as_str())
}

/// The only option that a text names; one that is part of a longer one does not count.
fn named_option<'o>(text: &str, options: &'o [String]) -> Option<&'o str> {
    let named: Vec<&str> = options.iter().map(String::as_str).filter(|option| holds(text, option)).collect();
    let is_part = |option: &str| named.iter().any(|other| other.len() > option.len() && holds(other, option));
    let mut longest = named.iter().filter(|option| !is_part(option));
    let only = longest.next()?;
    longest.next().is_none().then_some(only)
}

/// Whether the words of a part stand in a text, one after the other.
pub(super) fn holds(text: &str, part: &str) -> bool {
    let (text, part) = (normalise_key(text), normalise_key(part));
    let (text, part): (Vec<&str>, Vec<&str>) = (words(&text).collect(), words(&part).collect());
    !part.is_empty() && text.windows(part.len()).any(|run| run == part)
}

/// Harmonic mean of the shares of common words, as SQuAD scores answers.
fn f1(text: &str, gold: &str) -> f64 {
    let (text, gold) = (normalise_key(text), normalise_key(gold));
    let mut left: BTreeMap<&str, usize> = BTreeMap::new();
    let (mut num_gold, mut num_text, mut common) = (0, 0, 0);
    for word in words(&gold) {
        *left.entry(word).or_default() += 1;
        num_gold += 1;
    }
    for word in words(&text) {
        num_text += 1;
        if let Some(count) = left.get_mut(word).filter(|count| **count > 0) {
            *count -= 1;
            common += 1;
        }
    }
    if num_gold + num_text == 0 { 0.0 } else { f64::from(2 * common) / f64::from(num_gold + num_text) }
}

/// The number that a text is, signs of money and percent aside.
fn number_alone(text: &str) -> Option<f64> {
    let text = text.trim_matches(|c: char| c.is_whitespace() || "$€£%".contains(c));
    let text = text.strip_suffix('.').unwrap_or(text);
    let found = NUMBER.as_ref()?.find(text)?;
    (found.range() == (0..text.len())).then(|| value_of(text)).flatten()
}

fn last_number(text: &str) -> Option<f64> {
    let found = NUMBER.as_ref()?.find_iter(text).last()?;
    let before = text.get(..found.start()).and_then(|head| head.chars().next_back());
    // The dash of "7-3" is no sign.
    let is_joined = before.is_some_and(char::is_alphanumeric);
    value_of(if is_joined { found.as_str().trim_start_matches('-') } else { found.as_str() })
}

fn value_of(number: &str) -> Option<f64> {
    number.replace(',', "").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{choice_row, open_row};
    use super::*;

    #[track_caller]
    fn check_conclusion(text: &str, steps: &str, answer: &str) {
        assert_eq!(Conclusion::of(text), Conclusion { steps, answer });
    }

    #[test]
    fn the_final_answer_stands_behind_the_last_marker_or_on_the_last_line() {
        check_conclusion("Two and three are five.\nAnswer: 5.", "Two and three are five.", "5");
        check_conclusion("Answer: 4? No.\nIt is more.\n**Answer:** 5", "Answer: 4? No.\nIt is more.", "5");
        check_conclusion("3 - 1 = 2\n#### 2", "3 - 1 = 2", "2");
        check_conclusion("so x is \\boxed{12} in all", "so x is", "12");
        check_conclusion("The capital is old, so the answer is Paris.", "The capital is old, so the", "Paris");
        check_conclusion("first\nsecond\n", "first", "second");
        check_conclusion("Answer: the set {1, 2}", "", "the set {1, 2}");
        check_conclusion("alone", "", "alone");
        check_conclusion("", "", "");
        check_conclusion("ÄÖ answer:\n\n  \"Ü\"", "ÄÖ", "Ü");
    }

    #[test]
    fn a_gold_answer_with_steps_is_what_stands_at_its_end() {
        assert_eq!(gold_of(&open_row(0, "q", "48/2 = 24\n48+24 = 72\n#### 72")), "72");
        assert_eq!(gold_of(&open_row(0, "q", "two\nlines")), "two\nlines");
    }

    #[track_caller]
    fn check(text: &str, gold: &str, min_agreement: f64, expected: bool) {
        assert_eq!(agrees(text, gold, min_agreement), expected, "{text:?} and {gold:?}");
    }

    #[test]
    fn numbers_are_compared_as_numbers_and_words_as_words() {
        check("It is 1,250.0 in all", "$1250", 1.0, true);
        check("7-3", "3", 1.0, true);
        check("it fell to -3", "3", 1.0, false);
        check("5 of 6", "5", 1.0, false);
        check("none", "5", 1.0, false);
        check("The capital is PARIS, of course", "Paris", 1.0, true);
        check("Parisian", "Paris", 1.0, false);
        check("答案是北京市", "北京", 1.0, true);
        check("anything", "", 1.0, false);
        check("a red old house", "the red house", 0.5, true);
        check("a red old house", "the red house", 0.9, false);
        check("", "", 0.5, false);
    }

    #[test]
    fn of_options_the_only_one_that_is_named_is_the_answer() {
        let check = |text: &str, expected: bool| {
            let row =
                Example { options: ["no", "not sure", "yes"].map(String::from).to_vec(), ..choice_row(0, "q", "no") };
            assert_eq!(answers(text, &row, 1.0), expected, "{text:?}");
        };
        check("No.", true);
        check("no\nbut some say yes", true);
        check("not sure", false);
        check("yes or no", false);
        check("nothing", false);
        assert!(answers("Because it is so.\nAnswer: Rome", &open_row(0, "q", "rome"), 1.0));
    }
}
