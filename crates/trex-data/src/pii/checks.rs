//! Check digits of card and account numbers. Finds nothing in a text.

/// First digits as issued, groups as printed on cards, and a valid check digit.
pub(super) fn is_card(text: &str) -> bool {
    let groups: Vec<usize> = text.split([' ', '-']).map(str::len).collect();
    let is_in_fours =
        groups.iter().rev().skip(1).all(|length| *length == 4) && groups.last().is_some_and(|last| *last <= 4);
    if groups.len() > 1 && !is_in_fours && !matches!(groups[..], [4, 6, 4 | 5]) {
        return false;
    }
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(10)).collect();
    let is_issued = matches!(digits.first(), Some(2..=6));
    let is_constant = digits.windows(2).all(|pair| pair[0] == pair[1]);
    is_issued && !is_constant && (13..=19).contains(&digits.len()) && luhn_sum(&digits).is_multiple_of(10)
}

/// The sum of the digits, every second one from the right doubled and reduced by 9 where above 9.
pub(super) fn luhn_sum(digits: &[u32]) -> u32 {
    let weighted = digits.iter().rev().enumerate().map(|(at, digit)| match (at % 2, digit * 2) {
        (0, _) => *digit,
        (_, doubled) if doubled > 9 => doubled - 9,
        (_, doubled) => doubled,
    });
    weighted.sum()
}

/// The length of the account number at the start. The end of a match may be the next words, so it is tried up to every
/// space.
pub(super) fn is_iban_start(text: &str) -> Option<usize> {
    let ends = text.match_indices(' ').map(|(at, _)| at).chain([text.len()]);
    ends.into_iter().find(|end| {
        let plain: Vec<u8> = text.bytes().take(*end).filter(|byte| *byte != b' ').collect();
        (15..=34).contains(&plain.len()) && iban_remainder(&plain) == 1
    })
}

/// The number made of the account with its first four characters moved to the end and letters as 10 to 35, modulo 97.
pub(super) fn iban_remainder(plain: &[u8]) -> u32 {
    let (head, tail) = plain.split_at(plain.len().min(4));
    tail.iter().chain(head).fold(0, |remainder, byte| {
        let value = char::from(*byte).to_digit(36).unwrap_or(0);
        let shift = if value > 9 { 100 } else { 10 };
        (remainder * shift + value) % 97
    })
}
