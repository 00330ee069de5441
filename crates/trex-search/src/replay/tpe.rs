//! Points by the tree-structured Parzen estimator (Bergstra et al., 2011) over a grid: every dimension is a categorical
//! setting of its own. Written after Optuna's `TPESampler`: as many random points first, as many candidates, the same
//! share of good ones.

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

use super::Space;

/// Random points before the estimator is asked; Optuna's `n_startup_trials`.
pub(super) const STARTUP: usize = 10;

/// Candidates that are drawn from the good density; Optuna's `n_ei_candidates`.
const CANDIDATES: usize = 24;

/// Weight of the uniform prior in each density; Optuna's `prior_weight`.
const PRIOR: f64 = 1.0;

/// A point drawn uniformly.
pub(super) fn uniform(space: &Space<'_>, rng: &mut ChaCha8Rng) -> usize {
    rng.random_range(0..space.num_points())
}

/// The candidate with the highest ratio of good to bad density, where `scored` are the points so far.
pub(super) fn propose(space: &Space<'_>, scored: &[(usize, f64)], rng: &mut ChaCha8Rng) -> usize {
    let mut ranked = scored.to_vec();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
    // Optuna's `default_gamma`: a tenth, at most 25.
    let good = ranked.len().div_ceil(10).clamp(1, 25);
    let (good, bad) = ranked.split_at(good.min(ranked.len()));
    let lengths = space.lengths();
    let densities = |points: &[(usize, f64)]| -> Vec<Vec<f64>> {
        let density = |(dimension, length): (usize, &usize)| {
            let mut counts = vec![PRIOR / *length as f64; *length];
            for (point, _) in points {
                counts[space.place(*point)[dimension]] += 1.0;
            }
            let sum: f64 = counts.iter().sum();
            counts.into_iter().map(|count| count / sum).collect()
        };
        lengths.iter().enumerate().map(density).collect()
    };
    let (good, bad) = (densities(good), densities(bad));
    let mut best: Option<(f64, Vec<usize>)> = None;
    for _ in 0..CANDIDATES {
        let place: Vec<usize> = good.iter().map(|shares| drawn(shares, rng)).collect();
        let ratio = |(dimension, value): (usize, &usize)| (good[dimension][*value] / bad[dimension][*value]).ln();
        let rank: f64 = place.iter().enumerate().map(ratio).sum();
        if best.as_ref().is_none_or(|(highest, _)| rank > *highest) {
            best = Some((rank, place));
        }
    }
    best.and_then(|(_, place)| space.point_at(&place)).unwrap_or_else(|| uniform(space, rng))
}

/// An index drawn with these probabilities.
fn drawn(shares: &[f64], rng: &mut ChaCha8Rng) -> usize {
    let mut left: f64 = rng.random();
    for (index, share) in shares.iter().enumerate() {
        left -= share;
        if left < 0.0 {
            return index;
        }
    }
    shares.len() - 1
}
