//! Finds what may identify a person or an account: e-mail addresses, phone numbers, card numbers and IBANs.
//!
//! Numbers count only with a valid check digit or in the shape of a phone number, since data is full of other numbers.
//! Names and street addresses are not looked for.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::Regex;

/// A kind of personal data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PiiKind {
    /// An e-mail address.
    Email,
    /// A phone number, international or with separators.
    Phone,
    /// A payment card number with a valid check digit (Luhn, ISO/IEC 7812-1).
    Card,
    /// An account number with valid check digits (ISO 13616).
    Iban,
}

static EMAIL: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?i)\b[a-z0-9._%+-]+@[a-z0-9-]+(?:\.[a-z0-9-]+)*\.[a-z]{2,}\b"));
static DIGITS: LazyLock<Regex> = LazyLock::new(|| pattern(r"[0-9](?:[ -]?[0-9]){12,18}"));
static IBAN: LazyLock<Regex> = LazyLock::new(|| pattern(r"\b[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]){11,30}\b"));
static PHONES: LazyLock<[Regex; 3]> = LazyLock::new(|| {
    [
        pattern(r"\+[1-9][0-9]{0,2}[ .()/-]{0,2}[0-9](?:[ .()/-]{0,2}[0-9]){6,12}"),
        pattern(r"(?:\([0-9]{3}\) ?|[0-9]{3}[-.])[0-9]{3}[-.][0-9]{4}"),
        pattern(r"1[3-9][0-9]{9}"),
    ]
});

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("the patterns of this file are valid")
}

/// The kinds of personal data in a text.
pub fn pii_kinds(text: &str) -> BTreeSet<PiiKind> {
    let mut kinds = BTreeSet::new();
    if text.contains('@') && EMAIL.is_match(text) {
        kinds.insert(PiiKind::Email);
    }
    if !text.bytes().any(|byte| byte.is_ascii_digit()) {
        return kinds;
    }
    if PHONES.iter().any(|phone| phone.find_iter(text).any(|found| stands_alone(text, found.start(), found.end()))) {
        kinds.insert(PiiKind::Phone);
    }
    if DIGITS.find_iter(text).any(|found| stands_alone(text, found.start(), found.end()) && is_card(found.as_str())) {
        kinds.insert(PiiKind::Card);
    }
    if IBAN.find_iter(text).any(|found| is_iban(found.as_str())) {
        kinds.insert(PiiKind::Iban);
    }
    kinds
}

/// Whether no letter, digit or decimal sign continues the match on either side.
fn stands_alone(text: &str, start: usize, end: usize) -> bool {
    let continues = |c: char| c.is_ascii_alphanumeric();
    let before = text[..start].chars().next_back();
    let mut after = text[end..].chars();
    let (next, next_but_one) = (after.next(), after.next());
    let is_decimal = matches!(next, Some('.' | ',')) && next_but_one.is_some_and(|c| c.is_ascii_digit());
    !before.is_some_and(|c| continues(c) || c == '.') && !next.is_some_and(continues) && !is_decimal
}

/// First digits as issued, and a valid check digit.
fn is_card(text: &str) -> bool {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(10)).collect();
    let is_issued = matches!(digits.first(), Some(2..=6));
    let is_constant = digits.windows(2).all(|pair| pair[0] == pair[1]);
    is_issued && !is_constant && (13..=19).contains(&digits.len()) && luhn_sum(&digits).is_multiple_of(10)
}

/// The sum of the digits, every second one from the right doubled and reduced by 9 where above 9.
fn luhn_sum(digits: &[u32]) -> u32 {
    let weighted = digits.iter().rev().enumerate().map(|(at, digit)| match (at % 2, digit * 2) {
        (0, _) => *digit,
        (_, doubled) if doubled > 9 => doubled - 9,
        (_, doubled) => doubled,
    });
    weighted.sum()
}

/// The end of the match may be the next words, so it is tried up to every space.
fn is_iban(text: &str) -> bool {
    let ends = text.match_indices(' ').map(|(at, _)| at).chain([text.len()]);
    let candidates = ends.map(|end| text.bytes().take(end).filter(|byte| *byte != b' ').collect::<Vec<u8>>());
    candidates.into_iter().any(|plain| (15..=34).contains(&plain.len()) && iban_remainder(&plain) == 1)
}

/// The number made of the account with its first four characters moved to the end and letters as 10 to 35, modulo 97.
fn iban_remainder(plain: &[u8]) -> u32 {
    let (head, tail) = plain.split_at(plain.len().min(4));
    tail.iter().chain(head).fold(0, |remainder, byte| {
        let value = char::from(*byte).to_digit(36).unwrap_or(0);
        let shift = if value > 9 { 100 } else { 10 };
        (remainder * shift + value) % 97
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[PiiKind]) {
        assert_eq!(pii_kinds(text).into_iter().collect::<Vec<_>>(), expected, "{text}");
    }

    #[test]
    fn personal_data_is_found_and_other_numbers_are_not() {
        check("write to ada.lovelace@example.org.", &[PiiKind::Email]);
        check("call +44 20 7946 0958 now", &[PiiKind::Phone]);
        check("call (555) 010-9999", &[PiiKind::Phone]);
        check("手机13912345678。", &[PiiKind::Phone]);
        // Test numbers that card networks publish, and the examples of the IBAN registry.
        check("card 4111 1111 1111 1111", &[PiiKind::Card]);
        check("card 5500-0000-0000-0004", &[PiiKind::Card]);
        check("card 4111 1111 1111 1112", &[]);
        check("IBAN GB82 WEST 1234 5698 7654 32 please", &[PiiKind::Iban]);
        check("DE89370400440532013000", &[PiiKind::Iban]);
        check("DE89370400440532013001", &[]);
        check("pi is 3.14159265358979, e is 2.718281828459045", &[]);
        check("CC(=O)OC1=CC=CC=C1C(=O)O costs 12,500 in 2024-05-01", &[]);
        check("user@ host", &[]);
        check("0000 0000 0000 0000", &[]);
    }

    proptest! {
        #[test]
        fn any_text_can_be_looked_at(text in "[a-zé0-9@+(). -]{0,60}") {
            pii_kinds(&text);
        }

        #[test]
        fn one_wrong_digit_breaks_the_check(digits in proptest::collection::vec(0_u32..10, 15), at in 0_usize..15, by in 1_u32..10) {
            let check_digit = (10 - luhn_sum(&[&digits[..], &[0]].concat()) % 10) % 10;
            let mut card = [&digits[..], &[check_digit]].concat();
            prop_assert_eq!(luhn_sum(&card) % 10, 0);
            card[at] = (card[at] + by) % 10;
            prop_assert_ne!(luhn_sum(&card) % 10, 0);
        }
    }
}
