//! National ids of a few countries, by their check digits or, where they have none, by a shape of their own.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::{pattern, stands_alone};

/// A shape and the check that a match must pass.
type Rule = (Regex, fn(&str) -> bool);

static RULES: LazyLock<[Rule; 8]> = LazyLock::new(|| {
    [
        (pattern(r"[0-9]{3}-[0-9]{2}-[0-9]{4}"), is_us_social_security),
        (pattern(r"[0-9]{17}[0-9Xx]"), is_chinese_resident),
        (pattern(r"[0-9]{2} ?[0-9]{3} ?[0-9]{3} ?[0-9]{3}"), is_german_tax),
        (pattern(r"[XYZxyz]?-?[0-9]{7,8}-?[A-HJ-NP-TV-Za-hj-np-tv-z]"), is_spanish),
        (pattern(r"[12] ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[0-9]{3} ?[0-9]{3} ?[0-9]{2}"), is_french),
        (pattern(r"[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[A-D]"), is_british),
        (pattern(r"[0-9]{3}\.[0-9]{3}\.[0-9]{3}-[0-9]{2}"), is_brazilian),
        (pattern(r"[A-Z]{6}[0-9]{2}[A-EHLMPRST][0-9]{2}[A-Z][0-9]{3}[A-Z]"), is_italian),
    ]
});

/// Where national ids stand in a text.
pub(super) fn find(text: &str) -> Vec<Range<usize>> {
    let of_rule = |(shape, check): &'static Rule| {
        let matches = shape.find_iter(text).filter(move |found| check(found.as_str()));
        matches.map(|found| found.range()).filter(|range| stands_alone(text, range)).collect::<Vec<_>>()
    };
    RULES.iter().flat_map(of_rule).collect()
}

fn digits(text: &str) -> Vec<u32> {
    text.chars().filter_map(|c| c.to_digit(10)).collect()
}

/// Areas 000, 666 and 900 to 999 and zeros in the other parts are never given (Social Security Administration).
fn is_us_social_security(text: &str) -> bool {
    let parts: Vec<u32> = text.split('-').filter_map(|part| part.parse().ok()).collect();
    matches!(parts[..], [area, group, serial] if area > 0 && area != 666 && area < 900 && group > 0 && serial > 0)
}

/// ISO 7064 MOD 11-2 over 17 digits (GB 11643-1999), with a possible birthday.
fn is_chinese_resident(text: &str) -> bool {
    const WEIGHTS: [u32; 17] = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
    const CHECKS: &[u8; 11] = b"10X98765432";
    let number = |range: Range<usize>| text.get(range).and_then(|part| part.parse::<u32>().ok()).unwrap_or(0);
    let is_birthday = (1900..2100).contains(&number(6..10))
        && (1..=12).contains(&number(10..12))
        && (1..=31).contains(&number(12..14));
    let sum: u32 = digits(&text[..17]).iter().zip(WEIGHTS).map(|(digit, weight)| digit * weight).sum();
    let expected = CHECKS.get(sum as usize % 11).copied();
    is_birthday && text.bytes().last().map(|byte| byte.to_ascii_uppercase()) == expected
}

/// ISO 7064 MOD 11,10, and exactly one digit of the first ten occurs twice or three times (Bundeszentralamt für Steuern).
fn is_german_tax(text: &str) -> bool {
    let digits = digits(text);
    let [first, .., last] = digits[..] else { return false };
    let mut counts = [0_usize; 10];
    for digit in &digits[..10] {
        counts[*digit as usize] += 1;
    }
    let num_repeated = counts.iter().filter(|count| **count >= 2).count();
    let has_pattern = num_repeated == 1 && counts.iter().all(|count| *count <= 3);
    let product = digits[..10].iter().fold(10, |product, digit| {
        let sum = match (digit + product) % 10 {
            0 => 10,
            sum => sum,
        };
        sum * 2 % 11
    });
    let check = match 11 - product {
        10 => 0,
        check => check,
    };
    first > 0 && has_pattern && check == last
}

/// The letter is the number modulo 23 (DNI; of NIE the first letter stands for 0, 1 or 2).
fn is_spanish(text: &str) -> bool {
    const LETTERS: &[u8; 23] = b"TRWAGMYFPDXBNJZSQVHLCKE";
    let plain: String = text.chars().filter(|c| *c != '-').flat_map(char::to_uppercase).collect();
    let (body, letter) = plain.split_at(plain.len() - 1);
    let number = match body.as_bytes().first() {
        Some(first @ b'X'..=b'Z') if body.len() == 8 => format!("{}{}", first - b'X', &body[1..]),
        Some(b'0'..=b'9') if body.len() == 8 => body.to_owned(),
        _ => return false,
    };
    let expected = number.parse::<usize>().ok().and_then(|number| LETTERS.get(number % 23));
    letter.bytes().next() == expected.copied()
}

/// The last two digits are 97 minus the rest modulo 97 (INSEE).
fn is_french(text: &str) -> bool {
    let plain: String = text.chars().filter(char::is_ascii_digit).collect();
    let (Ok(body), Ok(key)) = (plain[..13].parse::<u64>(), plain[13..].parse::<u64>()) else { return false };
    let month = plain[3..5].parse::<u32>().unwrap_or(0);
    (1..=12).contains(&month) && 97 - body % 97 == key
}

/// Some prefixes are never given (HM Revenue and Customs, NIM39110).
fn is_british(text: &str) -> bool {
    !["BG", "GB", "KN", "NK", "NT", "TN", "ZZ"].contains(&&text[..2])
}

/// Two check digits modulo 11 (Receita Federal).
fn is_brazilian(text: &str) -> bool {
    let digits = digits(text);
    let check = |count: usize| {
        let weights = (2_u32..).take(count).collect::<Vec<_>>().into_iter().rev();
        let sum: u32 = digits[..count].iter().zip(weights).map(|(digit, weight)| digit * weight).sum();
        sum * 10 % 11 % 10
    };
    let is_constant = digits.windows(2).all(|pair| pair[0] == pair[1]);
    !is_constant && check(9) == digits[9] && check(10) == digits[10]
}

/// The last letter is the sum over odd and even places modulo 26 (Decreto ministeriale 23 dicembre 1976).
fn is_italian(text: &str) -> bool {
    const ODD: [u32; 26] =
        [1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23];
    let value = |byte: u8| u32::from(if byte.is_ascii_digit() { byte - b'0' } else { byte - b'A' });
    let (body, check) = text.as_bytes().split_at(15);
    let sum: u32 = body
        .iter()
        .enumerate()
        .map(|(at, byte)| if at % 2 == 0 { ODD[value(*byte) as usize] } else { value(*byte) })
        .sum();
    check.first().is_some_and(|check| value(*check) == sum % 26)
}
