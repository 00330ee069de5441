//! How many rows of each source go on: counts, weights and temperature. Which ones is drawn by hash of their ids.

use std::collections::BTreeMap;

use trex_domain::{Example, OperatorCount};

use crate::RecipeFile;
use crate::split::shuffled_and_capped;

/// The rows of all sources in the order of the sources, and the counts of this step where it did something.
pub(super) fn mixed(sources: Vec<Vec<Example>>, recipe: &RecipeFile) -> (Vec<Example>, Option<OperatorCount>) {
    let rows_in: usize = sources.iter().map(Vec::len).sum();
    let is_plain = recipe.sources.iter().all(|source| source.count.is_none() && (source.weight - 1.0).abs() < 1e-12);
    if is_plain && (recipe.mixture.temperature - 1.0).abs() < 1e-12 {
        return (sources.into_iter().flatten().collect(), None);
    }
    let mut count = OperatorCount { operator: "mixture".to_owned(), rows_in, ..OperatorCount::default() };
    let capped: Vec<Vec<Example>> = sources
        .into_iter()
        .zip(&recipe.sources)
        .map(|(rows, source)| drawn(rows, source.count.unwrap_or(usize::MAX), recipe.seed, &mut count.dropped))
        .collect();
    let sizes: Vec<usize> = capped.iter().map(Vec::len).collect();
    let weights = copies(&sizes, recipe);
    let mut rows = Vec::new();
    for (source, copies) in capped.into_iter().zip(weights) {
        let (whole, part) = (copies.floor(), copies.fract());
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a count is a count")]
        let num_extra = (part * source.len() as f64).round() as usize;
        let extra = drawn_ids(&source, num_extra, recipe.seed);
        for row in source {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most 1000, see the checks")]
            let num_copies = whole as usize + usize::from(extra.contains(&row.id));
            if num_copies == 0 {
                *count.dropped.entry("drawn out by the weight of its source".to_owned()).or_default() += 1;
            }
            for number in 0..num_copies {
                let mut copy = row.clone();
                if number > 0 {
                    copy.id = format!("{}+{number}", row.id);
                    copy.origin.changed_by.push("mixture".to_owned());
                    count.added += 1;
                }
                rows.push(copy);
            }
        }
    }
    count.rows_out = rows.len();
    (rows, Some(count))
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

fn drawn(rows: Vec<Example>, limit: usize, seed: u64, dropped: &mut BTreeMap<String, usize>) -> Vec<Example> {
    if rows.len() <= limit {
        return rows;
    }
    *dropped.entry("over the count of its source".to_owned()).or_default() += rows.len() - limit;
    let ids = drawn_ids(&rows, limit, seed);
    rows.into_iter().filter(|row| ids.contains(&row.id)).collect()
}

fn drawn_ids(rows: &[Example], limit: usize, seed: u64) -> std::collections::BTreeSet<String> {
    if limit == 0 {
        return std::collections::BTreeSet::new();
    }
    let bare = |row: &Example| Example { prompt: Vec::new(), answer: String::new(), ..row.clone() };
    shuffled_and_capped(rows.iter().map(bare).collect(), limit, seed).into_iter().map(|row| row.id).collect()
}
