//! How much trainings of one variant differ by their seed alone, beyond what the choice of items explains. Does not judge.
//!
//! Two trainings of the same variant answer some items differently. How often that happens is seen item by item, and the
//! item bootstrap of a comparison contains it. Only what their scores differ by beyond that is a spread of its own, which no
//! number of items would average out: `σ²_seed = s² − ½ · se²`, where `s²` is the variance of the scores over the seeds and
//! `se` the standard error of the difference of two of them (the estimate of variance components by the method of moments;
//! Searle, Casella & McCulloch, 1992). To add `s²` to the variance of the items, as [`crate::compare`] does with the spread
//! that it is handed, counts the items twice: that is on the safe side for single steps of a search, and too much for its verdict.

use trex_domain::{Comparison, ItemScore, Metric};

use crate::bootstrap::Z95;
use crate::paired::compare_mean;
use crate::{EvalError, aggregate, std_dev};

/// Repeats that the usual spread counts for. A run has one or two of its own, which alone say little.
const PRIOR_FREEDOM: f64 = 2.0;

/// The usual spread: the variance over seeds relative to that of the difference of two equal models over items. On the recorded
/// surfaces (160 points each, on two seeds) it is 0.2 in the mean of three tasks and three splits, and between none and 0.76;
/// this is a little more.
const PRIOR_SHARE: f64 = 0.3;

/// What repeats of one variant say about the spread over seeds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SeedSpread {
    /// Estimate of the variance over seeds, beyond that of the items; below zero where the seeds agree better than the items.
    pub variance: f64,
    /// Trainings but one.
    pub freedom: usize,
}

/// Measures the spread over trainings of the same variant on the same items; `None` for fewer than two.
pub fn seed_spread(metric: Metric, trainings: &[Vec<ItemScore>], seed: u64) -> Result<Option<SeedSpread>, EvalError> {
    let mut items = 0.0;
    for pair in trainings.windows(2) {
        items += item_variance(&compare_mean(metric, &pair[..1], &pair[1], seed)?);
    }
    let Some(freedom) = trainings.len().checked_sub(1).filter(|freedom| *freedom > 0) else { return Ok(None) };
    items /= freedom as f64;
    let scores: Vec<f64> = trainings.iter().map(|items| aggregate(metric, items)).collect();
    Ok(Some(SeedSpread { variance: std_dev(&scores).powi(2) - items / 2.0, freedom }))
}

/// What is thought of the variance of one training over seeds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SeedVariance {
    /// The variance; not below zero.
    pub variance: f64,
    /// Degrees of freedom that it is known with, what is usual included.
    pub freedom: f64,
}

impl SeedSpread {
    /// What the same trainings say on several splits. Their items differ and their luck does not, so it is known better but
    /// with no more freedom.
    pub fn of_same_trainings(on_splits: &[Self]) -> Option<Self> {
        let freedom = on_splits.iter().map(|one| one.freedom).min()?;
        let variance = on_splits.iter().map(|one| one.variance).sum::<f64>() / on_splits.len() as f64;
        Some(Self { variance, freedom })
    }
}

/// The variance over seeds that all repeats of a run say together with what is usual, weighted by their number.
///
/// What is usual is told from the comparison with the base.
pub fn seed_variance(spreads: &[SeedSpread], against_base: &Comparison) -> SeedVariance {
    let count: f64 = spreads.iter().map(|one| one.freedom as f64).sum();
    let seen: f64 = spreads.iter().map(|one| one.variance * one.freedom as f64).sum();
    let usual = PRIOR_SHARE * item_variance(against_base);
    let freedom = PRIOR_FREEDOM + count;
    SeedVariance { variance: ((PRIOR_FREEDOM * usual + seen) / freedom).max(0.0), freedom }
}

/// The variance of a difference, as its interval holds it.
pub(crate) fn item_variance(comparison: &Comparison) -> f64 {
    ((comparison.effect.ci95[1] - comparison.effect.diff) / Z95).powi(2)
}

#[cfg(test)]
mod tests {
    use rand::RngExt as _;
    use trex_domain::{Effect, seeded_rng};

    use super::*;

    /// Trainings whose share of right answers is as given, with coins of their own on every item.
    fn trainings(shares: &[f64], number: u64) -> Vec<Vec<ItemScore>> {
        let mut rng = seeded_rng(number, "spread");
        let mut answers = |share: f64| {
            let answer = |place: usize| ItemScore {
                id: format!("{place:04}"),
                predicted: String::new(),
                gold: String::new(),
                score: f64::from(u8::from(rng.random::<f64>() < share)),
                gold_logprob: None,
                gold_prob: None,
            };
            (0..400).map(answer).collect()
        };
        shares.iter().map(|share| answers(*share)).collect()
    }

    #[track_caller]
    fn check(shares: &[f64], expected: f64, tolerance: f64) {
        let spread = |number| seed_spread(Metric::Accuracy, &trainings(shares, number), 1).unwrap().unwrap();
        let all: Vec<SeedSpread> = (0..60).map(spread).collect();
        let mean = all.iter().map(|one| one.variance).sum::<f64>() / all.len() as f64;
        assert!((mean - expected).abs() < tolerance, "{mean} instead of {expected}");
        assert!(all.iter().all(|one| one.freedom + 1 == shares.len()));
    }

    #[test]
    fn the_items_are_not_counted_as_spread_over_seeds() {
        // A coin has a variance of 0.25 / 400 = 6.2e-4 over items, nothing of which is left.
        check(&[0.5, 0.5], 0.0, 3e-4);
        check(&[0.5, 0.5, 0.5], 0.0, 2e-4);
        // Half of the squared difference of the shares.
        check(&[0.4, 0.6], 0.02, 3e-3);
    }

    fn of_standard_error(se: f64) -> Comparison {
        let effect = Effect { diff: 0.1, ci95: [0.1 - Z95 * se, 0.1 + Z95 * se], n: 400 };
        Comparison { effect, seed_sd: 0.0, significant: false }
    }

    #[test]
    fn one_training_has_no_spread_and_then_the_usual_one_is_taken() {
        assert_eq!(seed_spread(Metric::Accuracy, &trainings(&[0.5], 1), 1).unwrap(), None);
        assert_eq!(seed_spread(Metric::Accuracy, &[], 1).unwrap(), None);
        let usual = seed_variance(&[], &of_standard_error(0.1));
        assert!((usual.variance - PRIOR_SHARE * 0.01).abs() < 1e-12 && (usual.freedom - 2.0).abs() < 1e-12);
    }

    #[test]
    fn repeats_are_weighed_against_what_is_usual() {
        let spread = |variance| SeedSpread { variance, freedom: 1 };
        let check = |spreads: &[SeedSpread], expected: f64| {
            let found = seed_variance(spreads, &of_standard_error(0.1));
            assert!((found.variance - expected).abs() < 1e-12, "{found:?} instead of {expected}");
            assert!((found.freedom - 2.0 - spreads.len() as f64).abs() < 1e-12, "{found:?}");
        };
        // (2 · 0.3 · 0.01 + 0.01) / 3 and (2 · 0.3 · 0.01 + 2 · 0.01) / 4.
        check(&[spread(0.01)], 0.016 / 3.0);
        check(&[spread(0.01); 2], 0.0065);
        check(&[spread(-0.01)], 0.0);
    }

    #[test]
    fn two_splits_of_the_same_trainings_are_one_measurement() {
        let on = |variance| SeedSpread { variance, freedom: 2 };
        assert_eq!(SeedSpread::of_same_trainings(&[on(0.01), on(0.03)]), Some(on(0.02)));
        assert_eq!(SeedSpread::of_same_trainings(&[]), None);
    }
}
