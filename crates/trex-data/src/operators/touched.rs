//! A few of the rows that a step touched, as a person wants to see them. Short texts only; no row is kept here.

use serde::{Deserialize, Serialize};
use trex_domain::Example;

use crate::DataError;
use crate::pool::Pool;
use crate::profile::shortened;

/// Rows that are shown per reason.
pub(super) const SHOWN_PER_REASON: usize = 3;

/// Rows from the end that are looked at for those that were made.
const LOOKED_AT: usize = 64;

/// Characters of a text that are shown.
const SHOWN_CHARS: usize = 160;

/// A row that a step dropped, changed or made, or for which a text was written in vain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TouchedRow {
    /// Its id.
    pub id: String,
    /// Why it was dropped, or `changed` or `made`, or why a text was not taken.
    pub what: String,
    /// Prompt and answer before; absent for rows that were made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// Prompt and answer after; absent for rows that were dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// What a step touched.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepTrace {
    /// Operator name.
    pub operator: String,
    /// Some of the rows.
    pub touched: Vec<TouchedRow>,
    /// Why the step passed all rows on without looking at them, where it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
}

impl TouchedRow {
    pub(super) fn dropped(row: &Example, reason: &str) -> Self {
        Self { id: row.id.clone(), what: reason.to_owned(), before: Some(text_of(row)), after: None }
    }

    /// A text that was written for a row and not taken.
    pub(super) fn not_taken(row: &Example, text: &str, reason: &str) -> Self {
        Self {
            id: row.id.clone(),
            what: format!("not taken: {reason}"),
            before: Some(text_of(row)),
            after: Some(shortened(text, SHOWN_CHARS)),
        }
    }

    pub(super) fn changed(before: &Example, after: &Example) -> Self {
        Self {
            id: after.id.clone(),
            what: "changed".to_owned(),
            before: Some(text_of(before)),
            after: Some(text_of(after)),
        }
    }
}

impl StepTrace {
    /// Adds some of the rows that the step made.
    pub(super) fn add_made(&mut self, rows: &Pool, operator: &str) -> Result<(), DataError> {
        let is_made =
            |row: &&Example| row.id.contains('+') && row.origin.changed_by.last().is_some_and(|by| by == operator);
        // What a step makes stands at the end.
        let last: Vec<usize> = (rows.len().saturating_sub(LOOKED_AT)..rows.len()).rev().collect();
        let last = rows.get(&last)?;
        let made = last.iter().filter(is_made).take(SHOWN_PER_REASON);
        self.touched.extend(made.map(|row| TouchedRow {
            id: row.id.clone(),
            what: "made".to_owned(),
            before: None,
            after: Some(text_of(row)),
        }));
        Ok(())
    }

    /// Takes in what the same step touched in another portion of the rows.
    pub(crate) fn merge(&mut self, other: Self) {
        for row in other.touched {
            let num_alike = self.touched.iter().filter(|known| known.what == row.what).count();
            if num_alike < SHOWN_PER_REASON {
                self.touched.push(row);
            }
        }
    }
}

fn text_of(row: &Example) -> String {
    let text = format!("{} → {}", shortened(&row.prompt_text(), SHOWN_CHARS), shortened(&row.answer, SHOWN_CHARS / 2));
    match &row.rejected {
        Some(rejected) => format!("{text} (rejected: {})", shortened(rejected, SHOWN_CHARS / 2)),
        None => text,
    }
}
