//! How many rows of which label, and in which order. Contents are never changed; copies get ids of their own.

use std::collections::BTreeMap;

use trex_domain::BalanceMode;

use super::compare::label_spaces;
use super::{Context, FreshIds, Outcome, shuffle};
use crate::DataError;
use crate::pool::Pool;

/// Copies that are made at a time.
const COPIES_AT_A_TIME: usize = 1024;

/// Evens out label counts to a ratio of at most `max_ratio`.
///
/// Rows with open answers or options of their own have no label ([`label_spaces`]) and are left alone.
/// Which rows of a label go or are repeated is drawn; the order of the rows that stay is kept, copies are appended.
pub(super) fn label_balance(
    rows: Pool,
    mode: BalanceMode,
    max_ratio: f64,
    context: &Context<'_>,
) -> Result<Outcome, DataError> {
    let mut labels = rows_by_label(&rows)?;
    labels.remove(&None);
    let counts = || labels.values().map(Vec::len);
    match mode {
        BalanceMode::Down => {
            let most = whole(counts().min().unwrap_or(0) as f64 * max_ratio);
            let surplus = labels.iter().flat_map(|(label, members)| {
                drawn_order(label.as_deref().unwrap_or_default(), members, context).into_iter().skip(most)
            });
            let surplus: Vec<u32> = surplus.collect();
            without_rows(rows, &surplus, "label is too frequent")
        }
        BalanceMode::Up => {
            let least = whole((counts().max().unwrap_or(0) as f64 / max_ratio).ceil());
            let mut repeated = Vec::new();
            for (label, members) in &labels {
                let missing = least.saturating_sub(members.len());
                let order = drawn_order(label.as_deref().unwrap_or_default(), members, context);
                repeated.extend(order.into_iter().cycle().take(missing));
            }
            with_copies(rows, &repeated, context)
        }
    }
}

/// Takes `wanted` rows so that each label keeps its share; the remainders decide (largest remainder, Hamilton).
///
/// Rows without label ([`label_spaces`]) count as one. The order of the rows is kept.
pub(super) fn stratified_sample(rows: Pool, wanted: usize, context: &Context<'_>) -> Result<Outcome, DataError> {
    if wanted >= rows.len() {
        return Ok(Outcome::untouched(rows));
    }
    let labels = rows_by_label(&rows)?;
    let counts: Vec<usize> = labels.values().map(Vec::len).collect();
    let quotas = largest_remainder(&counts, wanted);
    let left_out = labels.iter().zip(quotas).flat_map(|((label, members), quota)| {
        drawn_order(label.as_deref().unwrap_or_default(), members, context).into_iter().skip(quota)
    });
    let left_out: Vec<u32> = left_out.collect();
    without_rows(rows, &left_out, "not in the sample")
}

/// Puts the rows in a drawn order.
///
/// In memory is nothing beyond the places of the rows.
pub(super) fn shuffle_rows(mut rows: Pool, context: &Context<'_>) -> Outcome {
    rows.shuffle(&mut context.rng("order"));
    Outcome::untouched(rows)
}

/// Shares of `wanted`, at most the sum of `counts`, in proportion to `counts`; ties go to the earlier one.
fn largest_remainder(counts: &[usize], wanted: usize) -> Vec<usize> {
    let total = counts.iter().sum::<usize>().max(1);
    let mut quotas: Vec<usize> = counts.iter().map(|count| wanted * count / total).collect();
    let missing = wanted.saturating_sub(quotas.iter().sum());
    let mut by_remainder: Vec<(usize, &mut usize)> =
        counts.iter().map(|count| wanted * count % total).zip(&mut quotas).collect();
    by_remainder.sort_by_key(|(remainder, _)| std::cmp::Reverse(*remainder));
    by_remainder.into_iter().take(missing).for_each(|(_, quota)| *quota += 1);
    quotas
}

/// Row numbers by label, four bytes a row; `None` for rows without.
fn rows_by_label(rows: &Pool) -> Result<BTreeMap<Option<String>, Vec<u32>>, DataError> {
    let spaces = label_spaces(rows)?;
    let mut labels: BTreeMap<Option<String>, Vec<u32>> = BTreeMap::new();
    rows.for_each_portion(|first, rows| {
        for (number, row) in (first..).zip(rows) {
            let has_label = spaces.get(number).is_some_and(Option::is_some);
            let label = has_label.then_some(row.answer.as_str());
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            match labels.get_mut(&label.map(str::to_owned)) {
                Some(members) => members.push(number),
                None => {
                    labels.insert(label.map(str::to_owned), vec![number]);
                }
            }
        }
        Ok(())
    })?;
    Ok(labels)
}

/// The members of a label in an order that no other label has a part in.
fn drawn_order(label: &str, members: &[u32], context: &Context<'_>) -> Vec<u32> {
    let mut order = members.to_vec();
    shuffle(&mut order, &mut context.rng(&format!("label/{label}")));
    order
}

fn without_rows(rows: Pool, left_out: &[u32], reason: &'static str) -> Result<Outcome, DataError> {
    let mut reasons = vec![None; rows.len()];
    for row in left_out {
        if let Some(slot) = reasons.get_mut(*row as usize) {
            *slot = Some(reason);
        }
    }
    Outcome::without(rows, &reasons)
}

fn with_copies(mut rows: Pool, repeated: &[u32], context: &Context<'_>) -> Result<Outcome, DataError> {
    let mut ids = FreshIds::new(&rows)?;
    let mut copies = rows.sibling();
    for numbers in repeated.chunks(COPIES_AT_A_TIME) {
        let numbers: Vec<usize> = numbers.iter().map(|number| *number as usize).collect();
        for mut copy in rows.get(&numbers)? {
            copy.id = ids.next(&copy);
            context.mark(&mut copy);
            copies.push(copy)?;
        }
    }
    let added = copies.len();
    rows.append(copies)?;
    Ok(Outcome { rows, added, ..Outcome::default() })
}

/// The whole part of a number of rows.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates; counts are not negative"
)]
fn whole(rows: f64) -> usize {
    rows as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(counts: &[usize], wanted: usize, expected: &[usize]) {
        assert_eq!(largest_remainder(counts, wanted), expected);
    }

    #[test]
    fn remainders_are_given_out_fairly() {
        check(&[50, 30, 20], 10, &[5, 3, 2]);
        check(&[1, 1, 1], 2, &[1, 1, 0]);
        check(&[97, 2, 1], 10, &[10, 0, 0]);
        check(&[90, 6, 4], 10, &[9, 1, 0]);
        check(&[], 0, &[]);
    }
}
