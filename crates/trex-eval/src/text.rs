//! Text normalisation shared by metrics and extraction. Knows nothing about scores.

use std::sync::LazyLock;

use regex::Regex;
use unicode_normalization::UnicodeNormalization as _;

static ARTICLE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\b(?:a|an|the)\b").expect("a constant pattern"));

/// Returns the form in which closed answers are compared: NFKC, lower case, trimmed, inner white space folded to one
/// space, trailing sentence punctuation (`. , ; : ! ?` and `。 、`) dropped.
///
/// Other punctuation stays, so that `C++`, `50%` and `f(x)` keep their meaning; text of nothing but sentence
/// punctuation stays too. Normalising twice changes nothing.
pub fn normalise(text: &str) -> String {
    let lower = text.nfkc().collect::<String>().to_lowercase();
    // Lower-casing can leave a form that NFKC composes differently.
    let composed: String = lower.nfkc().collect();
    let folded = composed.split_whitespace().collect::<Vec<_>>().join(" ");
    let ends_sentence = |c: char| c == ' ' || ".,;:!?。、".contains(c);
    let bare = folded.trim_end_matches(ends_sentence);
    if bare.is_empty() { folded } else { bare.to_owned() }
}

/// Returns the tokens of the SQuAD evaluation: lower case, ASCII punctuation removed (not replaced), the articles a, an
/// and the dropped, split at white space.
///
/// Source: Rajpurkar et al., "SQuAD: 100,000+ Questions for Machine Comprehension of Text" (2016), evaluation script.
pub(crate) fn squad_tokens(text: &str) -> Vec<String> {
    let bare: String = text.to_lowercase().chars().filter(|c| !c.is_ascii_punctuation()).collect();
    let without_articles = ARTICLE.replace_all(&bare, " ");
    without_articles.split(is_space).filter(|token| !token.is_empty()).map(str::to_owned).collect()
}

/// Returns the tokens of `rouge-score` without stemmer: runs of `[a-z0-9]` in the lower-cased text.
pub(crate) fn rouge_tokens(lower: &str) -> Vec<&str> {
    let separates = |c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit());
    lower.split(separates).filter(|token| !token.is_empty()).collect()
}

/// Whether Python's `str.split()` separates here: Unicode white space and the four ASCII separators.
pub(crate) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// Whether two neighbouring characters belong to one word.
///
/// Scripts written without spaces (Thai, Lao, Burmese, Khmer, Chinese, Japanese), and Korean with its attached
/// particles, never join, so that an answer inside a sentence can be found.
pub(crate) fn joins(left: char, right: char) -> bool {
    let in_word = |c: char| c == '_' || (c.is_alphanumeric() && !is_unspaced(c));
    in_word(left) && in_word(right)
}

fn is_unspaced(c: char) -> bool {
    matches!(
        u32::from(c),
        0x0E00..=0x0EFF
            | 0x1000..=0x109F
            | 0x1780..=0x17FF
            | 0x2E80..=0x9FFF
            | 0xAC00..=0xD7AF
            | 0xF900..=0xFAFF
            | 0x2_0000..=0x3_FFFF
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(normalise(text), expected, "{text:?}");
    }

    #[test]
    fn closed_answers_are_compared_in_one_form() {
        check("  Positive. ", "positive");
        check("New\t\n York !?", "new york");
        check("ＡＢＣ１２３", "abc123");
        check("北京。", "北京");
        check("C++", "c++");
        check("50%", "50%");
        check("...", "...");
        check("", "");
        check("e\u{301}TE\u{301}", "été");
        check("İ", "i\u{307}");
    }

    #[test]
    fn squad_tokens_lose_articles_and_punctuation() {
        assert_eq!(squad_tokens("The cat's  A-team, an owl"), ["cats", "ateam", "owl"]);
        assert_eq!(squad_tokens("a the an"), Vec::<String>::new());
        assert_eq!(squad_tokens("theatre Anna"), ["theatre", "anna"]);
    }

    #[test]
    fn unspaced_scripts_never_join() {
        assert!(joins('a', '9') && joins('é', 'n') && joins('ế', 't') && joins('_', '1'));
        assert!(!joins('是', '4') && !joins('北', '京') && !joins('a', ' ') && !joins('a', '-'));
    }

    proptest! {
        #[test]
        fn normalising_twice_changes_nothing(text in any::<String>()) {
            let once = normalise(&text);
            prop_assert_eq!(normalise(&once), once);
        }
    }
}
