//! The form in which texts are compared: two prompts with the same key are the same question. Changes no data.

use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::is_combining_mark;

/// Characters that carry meaning in formulas, code and chemistry, so `3*5` and `3/5` stay apart.
const SYMBOLS: &str = "+*/=<>^%~|&#@$\\";

/// NFKC in lower case, with every run of punctuation and white space folded into one space.
///
/// Symbols of formulas are kept, a hyphen only beside a digit, a point or comma only between two digits. A text without
/// any of these and without letters keeps its punctuation, so that `?` and `!` stay apart.
pub(crate) fn normalise_key(text: &str) -> String {
    let folded: String = text.nfkc().flat_map(char::to_lowercase).collect();
    let chars: Vec<char> = folded.chars().collect();
    let mut spaced = String::with_capacity(folded.len());
    for (index, &c) in chars.iter().enumerate() {
        match c {
            '-' | '−' if beside_digit(&chars, index) => spaced.push_str(" - "),
            '.' | ',' if between_digits(&chars, index) => spaced.push(c),
            _ if c.is_alphanumeric() || is_combining_mark(c) => spaced.push(c),
            _ if is_symbol(c) => spaced.extend([' ', c, ' ']),
            _ => spaced.push(' '),
        }
    }
    let key = one_spaced(&spaced);
    if key.is_empty() { one_spaced(&folded) } else { key }
}

/// The words of a key made by [`normalise_key`], in order.
///
/// Every character of a script that is written without spaces (Han, kana) is a word, so that runs of words mean
/// something there too.
pub(crate) fn words(key: &str) -> impl Iterator<Item = &str> {
    key.split_whitespace().flat_map(|token| {
        let mut rest = token;
        std::iter::from_fn(move || {
            let first = rest.chars().next()?;
            let length =
                if stands_alone(first) { first.len_utf8() } else { rest.find(stands_alone).unwrap_or(rest.len()) };
            let (word, after) = rest.split_at(length);
            rest = after;
            Some(word)
        })
    })
}

/// Han and kana.
fn stands_alone(c: char) -> bool {
    matches!(c, '\u{3041}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{20000}'..='\u{3ffff}')
}

fn one_spaced(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// ASCII symbols of [`SYMBOLS`] and the mathematical operators and arrows of Unicode.
fn is_symbol(c: char) -> bool {
    SYMBOLS.contains(c) || ('\u{2190}'..='\u{22ff}').contains(&c)
}

fn beside_digit(chars: &[char], index: usize) -> bool {
    let is_digit = |c: Option<&char>| c.is_some_and(char::is_ascii_digit);
    let before = chars.iter().take(index).rev().find(|c| !c.is_whitespace());
    let after = chars.iter().skip(index + 1).find(|c| !c.is_whitespace());
    is_digit(before) || is_digit(after)
}

fn between_digits(chars: &[char], index: usize) -> bool {
    let is_digit = |c: Option<&char>| c.is_some_and(char::is_ascii_digit);
    is_digit(index.checked_sub(1).and_then(|before| chars.get(before))) && is_digit(chars.get(index + 1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(normalise_key(text), expected, "{text}");
    }

    #[test]
    fn punctuation_case_and_width_are_folded_but_formulas_stay_apart() {
        check("  Hello,\tWORLD!! ", "hello world");
        check("well-known", "well known");
        check("ＡＢＣ　１２", "abc 12");
        check("你好，世界。", "你好 世界");
        check("3-5", "3 - 5");
        check("3 + 5 = ?", "3 + 5 =");
        check("3.5, 1,000.", "3.5 1,000");
        check("?!", "?!");
        check("", "");
    }

    #[test]
    fn han_characters_are_words_of_their_own() {
        let split = |text| words(text).collect::<Vec<_>>().join("|");
        assert_eq!(split("你好 world2世 a"), "你|好|world2|世|a");
        assert_eq!(split(" "), "");
    }

    proptest! {
        #[test]
        fn a_key_has_no_outer_or_double_space(text in any::<String>()) {
            let key = normalise_key(&text);
            prop_assert!(!key.contains("  "), "{key:?}");
            prop_assert_eq!(key.trim(), key.as_str());
        }
    }
}
