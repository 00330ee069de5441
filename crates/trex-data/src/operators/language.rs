//! Keeps rows in some languages. Changes nothing.

use rayon::prelude::*;
use trex_domain::Example;

use super::Outcome;
use crate::language::language_of;

/// Drops rows whose last question is in none of the languages; what it is written in cannot always be told.
pub(super) fn filter(rows: Vec<Example>, keep: &[String], keep_unknown: bool) -> Outcome {
    let reason = |row: &Example| {
        let language = language_of(row.question());
        let is_kept = if language == "und" { keep_unknown } else { keep.iter().any(|code| code == language) };
        match (is_kept, language) {
            (true, _) => None,
            (false, "und") => Some("language cannot be told"),
            (false, _) => Some("another language"),
        }
    };
    let reasons: Vec<_> = rows.par_iter().map(reason).collect();
    Outcome::without(rows, &reasons)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{ids, open_row};
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
        assert_eq!(ids(&filter(rows(), &keep, true).rows), ["t/0", "t/2"]);
        let outcome = filter(rows(), &keep, false);
        assert_eq!(ids(&outcome.rows), ["t/0"]);
        assert_eq!(outcome.dropped.values().sum::<usize>(), 2);
    }
}
