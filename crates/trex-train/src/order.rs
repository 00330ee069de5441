//! Which rows an optimiser step sees: the endless row of seeded permutations, cut into batches. No state.

use rand::Rng as _;
use trex_domain::seeded_rng;

/// The rows of optimiser step `step`.
pub(crate) fn batch_indices(rows: usize, batch: usize, step: usize, seed: u64) -> Vec<usize> {
    let first = step * batch;
    let mut indices = Vec::with_capacity(batch);
    for epoch in first / rows..=(first + batch - 1) / rows {
        let order = permutation(rows, seed, epoch);
        let start = first.max(epoch * rows) - epoch * rows;
        let end = (first + batch).min((epoch + 1) * rows) - epoch * rows;
        indices.extend_from_slice(&order[start..end]);
    }
    indices
}

/// Fisher and Yates' shuffle of `0..rows` for one epoch.
fn permutation(rows: usize, seed: u64, epoch: usize) -> Vec<usize> {
    let mut rng = seeded_rng(seed, &format!("order/{epoch}"));
    let mut order: Vec<usize> = (0..rows).collect();
    for last in (1..rows).rev() {
        let other = usize::try_from(rng.next_u64() % (last as u64 + 1)).unwrap_or(last);
        order.swap(last, other);
    }
    order
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_epoch_visits_every_row_once(rows in 1usize..40, batch in 1usize..20, seed in any::<u64>()) {
            let steps = (rows * 3).div_ceil(batch);
            let stream: Vec<usize> = (0..steps).flat_map(|step| batch_indices(rows, batch, step, seed)).collect();
            for epoch in stream.chunks_exact(rows) {
                let mut sorted = epoch.to_vec();
                sorted.sort_unstable();
                prop_assert!(sorted.into_iter().eq(0..rows));
            }
        }
    }
}
