//! How many rows of each source go on: counts, weights and temperature. Which ones is drawn by hash of their ids.

use std::collections::BTreeMap;

use trex_domain::OperatorCount;

use crate::pool::Pool;
use crate::split::drawn_order;
use crate::{DataError, RecipeFile};

/// The rows of all sources in the order of the sources, and the counts of this step where it did something.
///
/// In memory are 32 bytes a row of one source at a time, where rows are drawn.
pub(super) fn mixed(sources: Vec<Pool>, recipe: &RecipeFile) -> Result<(Pool, Option<OperatorCount>), DataError> {
    let rows_in: usize = sources.iter().map(Pool::len).sum();
    let mut rows = sources.first().map_or_else(Pool::default, Pool::sibling);
    let is_plain = recipe.sources.iter().all(|source| source.count.is_none() && (source.weight - 1.0).abs() < 1e-12);
    if is_plain && (recipe.mixture.temperature - 1.0).abs() < 1e-12 {
        sources.into_iter().try_for_each(|source| rows.append(source))?;
        return Ok((rows, None));
    }
    let mut count = OperatorCount { operator: "mixture".to_owned(), rows_in, ..OperatorCount::default() };
    let mut capped = Vec::with_capacity(sources.len());
    for (rows, source) in sources.into_iter().zip(&recipe.sources) {
        capped.push(drawn(rows, source.count.unwrap_or(usize::MAX), recipe.seed, &mut count.dropped)?);
    }
    let sizes: Vec<usize> = capped.iter().map(Pool::len).collect();
    for (source, copies) in capped.into_iter().zip(copies(&sizes, recipe)) {
        add_copies(&source, copies, recipe.seed, &mut rows, &mut count)?;
    }
    count.rows_out = rows.len();
    Ok((rows, Some(count)))
}

/// Adds every row of a source as often as `copies` says: its whole part for all rows, its fraction for drawn ones.
fn add_copies(
    source: &Pool,
    copies: f64,
    seed: u64,
    rows: &mut Pool,
    count: &mut OperatorCount,
) -> Result<(), DataError> {
    let (whole, part) = (copies.floor(), copies.fract());
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a count is a count")]
    let num_extra = (part * source.len() as f64).round() as usize;
    let is_extra = is_drawn(source, num_extra, seed)?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most 1000, see the checks")]
    let num_copies = |number: usize| whole as usize + usize::from(is_extra.get(number).copied().unwrap_or(false));
    source.for_each_portion(|first, portion| {
        for (number, row) in (first..).zip(portion) {
            let num_copies = num_copies(number);
            if num_copies == 0 {
                *count.dropped.entry("drawn out by the weight of its source".to_owned()).or_default() += 1;
                continue;
            }
            rows.push_from(source, number)?;
            for copy_number in 1..num_copies {
                let mut copy = row.clone();
                copy.id = format!("{}+{copy_number}", row.id);
                copy.origin.changed_by.push("mixture".to_owned());
                count.added += 1;
                rows.push(copy)?;
            }
        }
        Ok(())
    })
}

/// Copies of each row by source: its weight, times what the temperature makes of its share.
fn copies(sizes: &[usize], recipe: &RecipeFile) -> Vec<f64> {
    let total: f64 = sizes.iter().sum::<usize>() as f64;
    let tempered: Vec<f64> = sizes.iter().map(|size| (*size as f64).powf(1.0 / recipe.mixture.temperature)).collect();
    let sum: f64 = tempered.iter().sum();
    let evened = sizes.iter().zip(&tempered).map(
        |(size, tempered)| {
            if *size == 0 { 0.0 } else { total * tempered / sum / *size as f64 }
        },
    );
    evened.zip(&recipe.sources).map(|(evened, source)| (evened * source.weight).min(1000.0)).collect()
}

fn drawn(mut rows: Pool, limit: usize, seed: u64, dropped: &mut BTreeMap<String, usize>) -> Result<Pool, DataError> {
    if rows.len() <= limit {
        return Ok(rows);
    }
    *dropped.entry("over the count of its source".to_owned()).or_default() += rows.len() - limit;
    let is_drawn = is_drawn(&rows, limit, seed)?;
    rows.retain(|number| is_drawn.get(number).copied().unwrap_or(false));
    Ok(rows)
}

/// For every row whether it is one of the first in a drawn order.
fn is_drawn(rows: &Pool, count: usize, seed: u64) -> Result<Vec<bool>, DataError> {
    let mut is_drawn = vec![false; rows.len()];
    if count == 0 {
        return Ok(is_drawn);
    }
    for number in drawn_order(rows, seed)?.into_iter().take(count) {
        if let Some(slot) = is_drawn.get_mut(number as usize) {
            *slot = true;
        }
    }
    Ok(is_drawn)
}
