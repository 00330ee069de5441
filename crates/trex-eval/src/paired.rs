//! Whether a candidate beats the incumbent on the same items. Does not decide what to do about it.

use std::collections::BTreeMap;

use trex_domain::{Comparison, Effect, ItemScore, Metric};

use crate::EvalError;
use crate::aggregate::{Statistic, aggregate, std_dev};
use crate::bootstrap::{Z95, check_range, resampled};
use crate::text::normalise;

/// Items that must differ before a difference can be significant.
///
/// With m differing items the smallest one-sided p-value of an exact paired test is 2^-m, and 2^-5 > 0.025.
pub const MIN_DIFFERENT: usize = 6;

/// Item scores that are closer are rounding, not difference.
const SAME_SCORE: f64 = 1e-9;

/// Compares two models by their scores on the same items; the order of the items does not matter.
///
/// The difference is candidate minus incumbent of [`crate::aggregate`], the other way round where lower is better: above
/// zero is always an improvement. Its standard error `se` is the standard
/// deviation of the difference over [`crate::RESAMPLES`] paired bootstrap resamples of the items (both sides get the
/// same draw). `seed_sd`, the standard deviation of the score over training seeds, widens the interval of the item
/// bootstrap: `diff ± 1.96 · sqrt(se² + seed_sd²)`. That counts the seed spread of one side, which is right against an
/// incumbent that does not depend on the seed; where both sides do, the caller passes the spread of the difference
/// (√2 times that of one side). The result is significant when the interval lies above zero, a one-sided test at 2.5 %.
///
/// The bootstrap is blind where few items differ (three items that all improved have no spread at all). So with fewer
/// than [`MIN_DIFFERENT`] differing items the interval reaches at least to zero.
pub fn compare(
    metric: Metric,
    candidate: &[ItemScore],
    incumbent: &[ItemScore],
    seed_sd: f64,
    seed: u64,
) -> Result<Comparison, EvalError> {
    if !(seed_sd.is_finite() && seed_sd >= 0.0) {
        return Err(EvalError::BadSeedSpread { value: seed_sd });
    }
    compared(metric, &[candidate], incumbent, seed_sd, seed)
}

/// Compares the mean of several trainings of a candidate, item by item, with one model that does not depend on their seeds.
///
/// As [`compare`], but the interval is that of the items alone: what the seeds add is the business of [`crate::judge`].
/// No training at all is an error.
pub fn compare_mean(
    metric: Metric,
    trainings: &[Vec<ItemScore>],
    incumbent: &[ItemScore],
    seed: u64,
) -> Result<Comparison, EvalError> {
    let trainings: Vec<&[ItemScore]> = trainings.iter().map(Vec::as_slice).collect();
    compared(metric, &trainings, incumbent, 0.0, seed)
}

fn compared(
    metric: Metric,
    trainings: &[&[ItemScore]],
    incumbent: &[ItemScore],
    seed_sd: f64,
    seed: u64,
) -> Result<Comparison, EvalError> {
    let mut sides = Vec::new();
    let mut is_different = Vec::new();
    let mut diff = 0.0;
    for candidate in trainings {
        let pairs = pair(metric, candidate, incumbent)?;
        is_different.resize(pairs.len(), false);
        for (place, (ours, theirs)) in pairs.iter().enumerate() {
            is_different[place] |= differ(metric, ours, theirs);
        }
        diff += metric.merit(aggregate(metric, candidate) - aggregate(metric, incumbent)) / trainings.len() as f64;
        let (ours, theirs): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        sides.push((Statistic::new(metric, &ours), Statistic::new(metric, &theirs)));
    }
    let Some((_, theirs)) = sides.first() else {
        return Err(EvalError::NoItems { split: "candidate".to_owned() });
    };
    let n = is_different.len();
    let resampled_diffs = resampled(n, seed, "eval.paired", |picks| {
        let ours = sides.iter().map(|(ours, _)| ours.of(picks)).sum::<f64>() / sides.len() as f64;
        metric.merit(ours - theirs.of(picks))
    });
    let mut half = Z95 * std_dev(&resampled_diffs).hypot(seed_sd);
    if is_different.iter().filter(|one| **one).count() < MIN_DIFFERENT {
        half = half.max(diff.abs());
    }
    let ci95 = [diff - half, diff + half];
    Ok(Comparison { effect: Effect { diff, ci95, n }, seed_sd, significant: ci95[0] > 0.0 })
}

fn differ(metric: Metric, ours: &ItemScore, theirs: &ItemScore) -> bool {
    if metric == Metric::MacroF1 {
        return normalise(&ours.predicted) != normalise(&theirs.predicted);
    }
    (ours.score - theirs.score).abs() > SAME_SCORE
}

/// Pairs of (candidate, incumbent) in the order of their ids.
pub(crate) fn pair<'a>(
    metric: Metric,
    candidate: &'a [ItemScore],
    incumbent: &'a [ItemScore],
) -> Result<Vec<(&'a ItemScore, &'a ItemScore)>, EvalError> {
    let candidates = by_id(metric, candidate, "candidate")?;
    let mut incumbents = by_id(metric, incumbent, "incumbent")?;
    let mut pairs = Vec::with_capacity(candidates.len());
    for (id, ours) in candidates {
        let theirs = incumbents.remove(id).ok_or_else(|| unpaired(id, "incumbent"))?;
        if ours.gold != theirs.gold {
            return Err(EvalError::GoldDiffers { id: id.to_owned() });
        }
        pairs.push((ours, theirs));
    }
    match incumbents.first_key_value() {
        Some((id, _)) => Err(unpaired(id, "candidate")),
        None => Ok(pairs),
    }
}

fn by_id<'a>(
    metric: Metric,
    items: &'a [ItemScore],
    side: &'static str,
) -> Result<BTreeMap<&'a str, &'a ItemScore>, EvalError> {
    if items.is_empty() {
        return Err(EvalError::NoItems { split: side.to_owned() });
    }
    let mut by_id = BTreeMap::new();
    for item in items {
        check_range(metric, item)?;
        if by_id.insert(item.id.as_str(), item).is_some() {
            return Err(EvalError::DuplicateItem { id: item.id.clone(), side });
        }
    }
    Ok(by_id)
}

fn unpaired(id: &str, side: &'static str) -> EvalError {
    EvalError::UnpairedItem { id: id.to_owned(), side }
}
