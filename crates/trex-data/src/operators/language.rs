//! Keeps rows in some languages. Changes nothing.

use trex_domain::Example;

use super::Outcome;
use crate::DataError;
use crate::language::language_of;
use crate::pool::Pool;

/// Drops rows whose last question is in none of the languages; what it is written in cannot always be told.
pub(super) fn filter(rows: Pool, keep: &[String], keep_unknown: bool) -> Result<Outcome, DataError> {
    let reason = |row: &Example| {
        let language = language_of(row.question());
        let is_kept = if language == "und" { keep_unknown } else { keep.iter().any(|code| code == language) };
        match (is_kept, language) {
            (true, _) => None,
            (false, "und") => Some("language cannot be told"),
            (false, _) => Some("another language"),
        }
    };
    Outcome::filtered(rows, reason)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{ids, made, open_row};
    use super::*;

    #[test]
    fn other_languages_go_and_short_rows_are_a_choice() {
        let rows = || {
            vec![
                open_row(0, "What is the name of the river that runs through the city of London?", "a"),
                open_row(1, "Wie heißt der Fluss, der durch die Stadt London fließt und ins Meer mündet?", "a"),
                open_row(2, "2 + 2", "4"),
            ]
        };
        let keep = ["eng".to_owned()];
        assert_eq!(ids(&made(filter(rows().into(), &keep, true)).rows), ["t/0", "t/2"]);
        let outcome = made(filter(rows().into(), &keep, false));
        assert_eq!(ids(&outcome.rows), ["t/0"]);
        assert_eq!(outcome.dropped.values().sum::<usize>(), 2);
    }
}
