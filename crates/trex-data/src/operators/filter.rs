//! Operators that look at one row at a time: length, valid answer, expression, cap. They change nothing.

use std::ops::Range;

use regex::Regex;
use trex_domain::Example;

use super::Outcome;
use crate::DataError;
use crate::pool::Pool;

/// Drops rows whose prompt and answer have, together, a number of characters outside `chars`.
pub(super) fn length(rows: Pool, chars: Range<usize>) -> Result<Outcome, DataError> {
    Outcome::filtered(rows, |row| {
        let length = row.prompt_text().chars().count() + row.answer.chars().count();
        if length < chars.start {
            return Some("too short");
        }
        (length >= chars.end).then_some("too long")
    })
}

/// Drops rows without an answer, or with one outside their options.
pub(super) fn valid_answer(rows: Pool) -> Result<Outcome, DataError> {
    Outcome::filtered(rows, |row| {
        if row.answer.trim().is_empty() {
            return Some("empty answer");
        }
        let is_outside = !row.options.is_empty() && !row.options.contains(&row.answer);
        is_outside.then_some("answer is none of the options")
    })
}

/// Drops rows whose prompt does not match.
pub(super) fn regex_keep(rows: Pool, pattern: &str) -> Result<Outcome, DataError> {
    let expression = expression("regex_keep", pattern)?;
    let reason =
        |row: &Example| (!expression.is_match(&row.prompt_text())).then_some("prompt does not match the pattern");
    Outcome::filtered(rows, reason)
}

pub(crate) fn expression(operator: &'static str, pattern: &str) -> Result<Regex, DataError> {
    Regex::new(pattern).map_err(|source| DataError::BadPattern { operator, pattern: pattern.to_owned(), source })
}

/// Drops rows whose prompt matches.
pub(super) fn regex_drop(rows: Pool, pattern: &str) -> Result<Outcome, DataError> {
    let expression = expression("regex_drop", pattern)?;
    let reason = |row: &Example| expression.is_match(&row.prompt_text()).then_some("prompt matches the pattern");
    Outcome::filtered(rows, reason)
}

/// Keeps the first rows.
pub(super) fn cap(rows: Pool, wanted: usize) -> Result<Outcome, DataError> {
    let reasons: Vec<_> = (0..rows.len()).map(|row| (row >= wanted).then_some("over the cap")).collect();
    Outcome::without(rows, &reasons)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{choice_row, ids, made, open_row};
    use super::*;

    #[test]
    fn lengths_are_half_open_and_count_characters() {
        let rows = vec![open_row(0, "äö", "ü"), open_row(1, "abc", "d"), open_row(2, "abcd", "e")];
        let outcome = made(length(rows.into(), 4..5));
        assert_eq!(ids(&outcome.rows), ["t/1"]);
        assert_eq!(outcome.dropped, [("too short".to_owned(), 1), ("too long".to_owned(), 1)].into());
    }

    #[test]
    fn answers_must_be_there_and_among_the_options() {
        let rows =
            vec![open_row(0, "q", " "), open_row(1, "q", "any"), choice_row(2, "q", "yes"), choice_row(3, "q", "Yes")];
        assert_eq!(ids(&made(valid_answer(rows.into())).rows), ["t/1", "t/2"]);
    }

    #[test]
    fn a_bad_pattern_is_named() {
        let err = regex_drop(Vec::new().into(), "a(").err().unwrap();
        assert_eq!(err.to_string(), r#"regex_drop.pattern "a(" is not a regular expression"#);
        let kept =
            made(regex_drop(vec![open_row(0, "see http://x", "a"), open_row(1, "no link", "a")].into(), "https?://"));
        assert_eq!(ids(&kept.rows), ["t/1"]);
    }
}
