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
    if text.is_ascii() {
        return ascii_key(text);
    }
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

/// [`normalise_key`] of ASCII, which most text is: the same result without Unicode tables.
fn ascii_key(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut spaced = Vec::with_capacity(bytes.len());
    let is_digit = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_digit);
    for (index, byte) in bytes.iter().enumerate() {
        match byte {
            b'-' if ascii_beside_digit(bytes, index) => push_word(&mut spaced, b'-'),
            b'.' | b','
                if is_digit(index.checked_sub(1).and_then(|at| bytes.get(at))) && is_digit(bytes.get(index + 1)) =>
            {
                spaced.push(*byte);
            }
            _ if byte.is_ascii_alphanumeric() => spaced.push(byte.to_ascii_lowercase()),
            _ if SYMBOLS.as_bytes().contains(byte) => push_word(&mut spaced, *byte),
            _ => push_space(&mut spaced),
        }
    }
    if spaced.last() == Some(&b' ') {
        spaced.pop();
    }
    let key = String::from_utf8(spaced).unwrap_or_default();
    if key.is_empty() { one_spaced(&text.to_ascii_lowercase()) } else { key }
}

fn push_space(spaced: &mut Vec<u8>) {
    if spaced.last().is_some_and(|last| *last != b' ') {
        spaced.push(b' ');
    }
}

fn push_word(spaced: &mut Vec<u8>, byte: u8) {
    push_space(spaced);
    spaced.extend([byte, b' ']);
}

fn ascii_beside_digit(bytes: &[u8], index: usize) -> bool {
    // Rust's white space in ASCII, the vertical tab included.
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t'..=b'\r');
    let before = bytes.iter().take(index).rev().find(|byte| !is_space(byte));
    let after = bytes.iter().skip(index + 1).find(|byte| !is_space(byte));
    before.is_some_and(u8::is_ascii_digit) || after.is_some_and(u8::is_ascii_digit)
}

/// A hash of a text that is the same on every machine: the first eight bytes of its blake3 hash.
pub(crate) fn hash_of(text: &str) -> u64 {
    let first = blake3::hash(text.as_bytes()).as_bytes().first_chunk().copied().unwrap_or_default();
    u64::from_le_bytes(first)
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
        fn ascii_has_the_key_of_the_general_rule(text in "[ -~\t\n\u{b}]{0,40}") {
            // A character beyond ASCII that the rule folds away makes it take the general way.
            prop_assert_eq!(normalise_key(&text), normalise_key(&format!("{text}\u{3000}")), "{:?}", text);
        }

        #[test]
        fn a_key_has_no_outer_or_double_space(text in any::<String>()) {
            let key = normalise_key(&text);
            prop_assert!(!key.contains("  "), "{key:?}");
            prop_assert_eq!(key.trim(), key.as_str());
        }
    }
}
