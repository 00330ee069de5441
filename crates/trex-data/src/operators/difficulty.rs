//! Rows by how long they are and how hard the base model finds them. Runs no model itself.

use trex_domain::Example;

use super::{Context, Outcome};
use crate::DataError;
use crate::pool::Pool;
use crate::profile::num_chars;

/// Orders rows by characters; equal ones keep their order.
///
/// In memory are 12 bytes a row: its length and its number.
pub(super) fn sort_by_length(rows: Pool, descending: bool) -> Result<Outcome, DataError> {
    let lengths = rows.facts(num_chars)?;
    let mut order: Vec<u32> = (0..u32::try_from(rows.len()).unwrap_or(u32::MAX)).collect();
    let length = |row: &u32| lengths.get(*row as usize).copied().unwrap_or(0);
    if descending {
        order.sort_by_key(|row| std::cmp::Reverse(length(row)));
    } else {
        order.sort_by_key(length);
    }
    Ok(Outcome::untouched(rows.reordered(&order)))
}

/// Drops the rows with the least and with the largest loss. A row without a loss is an error: a check that could not run
/// must not pass. In memory are 16 bytes a row: its loss and its number.
pub(super) fn filter(
    rows: Pool,
    drop_easiest: f64,
    drop_hardest: f64,
    context: &Context<'_>,
) -> Result<Outcome, DataError> {
    let mut ranked = losses(&rows, context)?;
    ranked.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a count is a count")]
    let share = |share: f64| (share * rows.len() as f64).floor() as usize;
    let (num_easy, num_hard) = (share(drop_easiest), share(drop_hardest));
    let mut reasons = vec![None; rows.len()];
    for (place, (_, index)) in ranked.iter().enumerate() {
        let reason = if place < num_easy {
            Some("easy for the base model")
        } else if place + num_hard >= rows.len() {
            Some("hardest for the base model")
        } else {
            None
        };
        if let Some(slot) = reasons.get_mut(*index) {
            *slot = reason;
        }
    }
    Outcome::without(rows, &reasons)
}

/// The loss of each row with its number: as given, else as the model measures it.
fn losses(rows: &Pool, context: &Context<'_>) -> Result<Vec<(f64, usize)>, DataError> {
    let mut ranked = Vec::with_capacity(rows.len());
    let mut add = |first: usize, rows: &[Example], found: &[Option<f64>]| {
        for (at, row) in rows.iter().enumerate() {
            let loss = found.get(at).copied().flatten().filter(|loss| loss.is_finite());
            ranked.push((loss.ok_or_else(|| DataError::NoLosses { row: Some(row.id.clone()) })?, first + at));
        }
        Ok(())
    };
    match (context.aids.losses, context.aids.loss_meter) {
        (Some(given), _) => rows.for_each_portion(|first, rows| {
            let loss = |row: &Example| given.get(super::compare::original_id(&row.id)).copied();
            add(first, rows, &rows.iter().map(loss).collect::<Vec<_>>())
        })?,
        (None, Some(meter)) => {
            // An empty answer has no token to predict: it is named before the model is asked.
            let empty = rows.facts(|row| row.answer.trim().is_empty().then(|| row.id.clone()))?;
            if let Some(row) = empty.into_iter().flatten().next() {
                return Err(DataError::NoLosses { row: Some(row) });
            }
            rows.for_each_portion(|first, rows| {
                let found = meter.losses(rows).map_err(DataError::measuring)?;
                add(first, rows, &found.into_iter().map(Some).collect::<Vec<_>>())
            })?;
        }
        (None, None) => return Err(DataError::NoLosses { row: None }),
    }
    Ok(ranked)
}

/// Drops rows by their number of tokens.
pub(super) fn tokens(rows: Pool, tokens: std::ops::Range<usize>, context: &Context<'_>) -> Result<Outcome, DataError> {
    let count = context.aids.num_tokens.ok_or(DataError::NoTokenizer)?;
    let reason = |row: &Example| {
        let length = count(row);
        if length < tokens.start {
            return Some("too few tokens");
        }
        (length >= tokens.end).then_some("too many tokens")
    };
    Outcome::filtered(rows, reason)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use trex_domain::{ContentHash, LossMeter, MeasureError};

    use super::super::tests::{context, ids, made, open_row};
    use super::super::{Aids, Context};
    use super::*;

    #[test]
    fn easiest_and_hardest_rows_go() {
        let rows: Vec<_> = (0..10).map(|row| open_row(row, "q", "a")).collect();
        let losses: BTreeMap<String, f64> = (0..10).map(|row| (format!("t/{row}"), f64::from(9 - row))).collect();
        let aids = Aids { losses: Some(&losses), ..Aids::default() };
        let known = Context { aids, ..context("difficulty_filter") };
        let outcome = made(filter(rows.clone().into(), 0.2, 0.1, &known));
        assert_eq!(ids(&outcome.rows), ["t/1", "t/2", "t/3", "t/4", "t/5", "t/6", "t/7"]);
        assert!(matches!(
            filter(rows.into(), 0.2, 0.1, &context("difficulty_filter")),
            Err(DataError::NoLosses { row: None })
        ));
        let unknown = vec![open_row(77, "q", "a")];
        assert!(matches!(filter(unknown.into(), 0.2, 0.1, &known), Err(DataError::NoLosses { row: Some(_) })));
    }

    /// Finds the answer as hard as it is long.
    #[derive(Debug)]
    struct ByLength;

    impl LossMeter for ByLength {
        fn name(&self) -> ContentHash {
            ContentHash::of_bytes(b"by length")
        }

        fn losses(&self, rows: &[Example]) -> Result<Vec<f64>, MeasureError> {
            Ok(rows.iter().map(|row| row.answer.len() as f64).collect())
        }
    }

    #[test]
    fn a_model_is_asked_where_no_losses_are_given() {
        let rows: Vec<_> = (0..4).map(|row| open_row(row, "q", &"a".repeat(4 - row))).collect();
        let aids = Aids { loss_meter: Some(&ByLength), ..Aids::default() };
        let known = Context { aids, ..context("difficulty_filter") };
        assert_eq!(ids(&made(filter(rows.clone().into(), 0.25, 0.25, &known)).rows), ["t/1", "t/2"]);
        let given: BTreeMap<String, f64> = (0..4).map(|row| (format!("t/{row}"), f64::from(row))).collect();
        let both = Context { aids: Aids { losses: Some(&given), ..aids }, ..context("difficulty_filter") };
        assert_eq!(ids(&made(filter(rows.clone().into(), 0.5, 0.0, &both)).rows), ["t/2", "t/3"]);
        let empty = vec![rows[0].clone(), open_row(9, "q", " ")];
        assert!(
            matches!(filter(empty.into(), 0.2, 0.1, &known), Err(DataError::NoLosses { row: Some(id) }) if id == "t/9")
        );
    }

    #[test]
    fn tokens_need_a_tokenizer() {
        let rows = vec![open_row(0, "one two three", "a"), open_row(1, "one", "a")];
        let count = |row: &Example| row.prompt_text().split(' ').count();
        let aids = Aids { num_tokens: Some(&count), ..Aids::default() };
        let known = Context { aids, ..context("token_filter") };
        assert_eq!(ids(&made(tokens(rows.clone().into(), 2..4, &known)).rows), ["t/0"]);
        assert!(matches!(tokens(rows.into(), 2..4, &context("token_filter")), Err(DataError::NoTokenizer)));
    }

    #[test]
    fn the_shortest_come_first() {
        let rows = vec![open_row(0, "long one", "a"), open_row(1, "b", "a"), open_row(2, "c", "a")];
        assert_eq!(ids(&made(sort_by_length(rows.clone().into(), false)).rows), ["t/1", "t/2", "t/0"]);
        assert_eq!(ids(&made(sort_by_length(rows.into(), true)).rows), ["t/0", "t/1", "t/2"]);
    }
}
