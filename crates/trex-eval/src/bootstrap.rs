//! A score with its 95 % interval: percentile bootstrap over items (Efron, 1979). The spread over training seeds is not
//! in it; [`crate::compare`] adds that.

use rand::RngExt as _;
use trex_domain::{ContentHash, ItemScore, Metric, Score, seeded_rng};

use crate::EvalError;
use crate::aggregate::{Statistic, aggregate_refs};

/// Bootstrap resamples of every interval.
pub const RESAMPLES: usize = 2000;
/// The 97.5 % point of the normal distribution.
pub(crate) const Z95: f64 = 1.959_963_984_540_054;

/// Scores a split: the value of [`crate::aggregate`] with its percentile bootstrap interval at 95 %.
///
/// `blob` names the stored items. Where every item scores 0, or every item 1, all resamples are equal and the
/// bootstrap interval would have no width; the Wilson interval of the proportion is returned then. The interval always
/// contains the value: macro-F1 of a resample can be biased when rare labels drop out, and the interval is stretched to
/// the value where that happens. Equal item scores between 0 and 1 (or a single one) do give an interval without width.
pub fn score_of(
    metric: Metric,
    split: &str,
    items: &[ItemScore],
    blob: ContentHash,
    seed: u64,
) -> Result<Score, EvalError> {
    if items.is_empty() {
        return Err(EvalError::NoItems { split: split.to_owned() });
    }
    items.iter().try_for_each(|item| check_range(metric, item))?;
    let sorted = in_fixed_order(items);
    let value = aggregate_refs(metric, &sorted);
    let ci95 = interval(metric, &sorted, value, seed);
    // Macro-F1 counts every class alike, which a mean over items does not.
    let gold_prob = if metric == Metric::MacroF1 { None } else { mean_gold_prob(&sorted) };
    Ok(Score { metric, value, ci95, n: items.len(), split: split.to_owned(), items: blob, gold_prob })
}

/// `None` where an item has no options.
fn mean_gold_prob(items: &[&ItemScore]) -> Option<f64> {
    let sum = items.iter().map(|item| item.gold_prob).sum::<Option<f64>>()?;
    Some(sum / items.len() as f64)
}

/// Returns the 95 % Wilson score interval of `successes` in `n` trials; `[0, 1]` for no trials.
///
/// Source: Wilson, "Probable Inference, the Law of Succession, and Statistical Inference" (1927), no continuity
/// correction.
pub fn wilson95(successes: usize, n: usize) -> [f64; 2] {
    if n == 0 {
        return [0.0, 1.0];
    }
    let (share, n) = (successes as f64 / n as f64, n as f64);
    let z_squared = Z95 * Z95;
    let shrink = 1.0 + z_squared / n;
    let centre = (share + z_squared / (2.0 * n)) / shrink;
    let half = Z95 / shrink * (share * (1.0 - share) / n + z_squared / (4.0 * n * n)).sqrt();
    [(centre - half).max(0.0), (centre + half).min(1.0)]
}

fn interval(metric: Metric, items: &[&ItemScore], value: f64, seed: u64) -> [f64; 2] {
    let n = items.len();
    let is_share = metric != Metric::BitsPerByte;
    if is_share && items.iter().all(|item| item.score <= 0.0) {
        return [0.0, wilson95(0, n)[1]];
    }
    if is_share && items.iter().all(|item| item.score >= 1.0) {
        return [wilson95(n, n)[0], 1.0];
    }
    let statistic = Statistic::new(metric, items);
    let mut values = resampled(n, seed, "eval.bootstrap", |picks| statistic.of(picks));
    values.sort_by(f64::total_cmp);
    [quantile(&values, 0.025).min(value), quantile(&values, 0.975).max(value)]
}

/// Evaluates `value_of` on [`RESAMPLES`] draws of `n` positions out of `0..n` with replacement.
pub(crate) fn resampled(n: usize, seed: u64, purpose: &str, value_of: impl Fn(&[usize]) -> f64) -> Vec<f64> {
    let mut rng = seeded_rng(seed, purpose);
    let mut picks = vec![0; n];
    let mut draw = || {
        picks.fill_with(|| rng.random_range(0..n));
        value_of(&picks)
    };
    (0..RESAMPLES).map(|_| draw()).collect()
}

pub(crate) fn check_range(metric: Metric, item: &ItemScore) -> Result<(), EvalError> {
    let highest = if metric == Metric::BitsPerByte { f64::MAX } else { 1.0 };
    if (0.0..=highest).contains(&item.score) {
        return Ok(());
    }
    Err(EvalError::ScoreOutOfRange { id: item.id.clone(), score: item.score })
}

fn in_fixed_order(items: &[ItemScore]) -> Vec<&ItemScore> {
    let mut sorted: Vec<_> = items.iter().collect();
    sorted.sort_by(|a, b| {
        let texts = (&a.id, &a.gold, &a.predicted).cmp(&(&b.id, &b.gold, &b.predicted));
        texts.then_with(|| a.score.total_cmp(&b.score))
    });
    sorted
}

/// Linear interpolation between order statistics (type 7 of Hyndman and Fan, the default of R and NumPy).
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else {
        return 0.0;
    };
    let place = share * last as f64;
    let mut below = 0;
    while below < last && (below + 1) as f64 <= place {
        below += 1;
    }
    let above = (below + 1).min(last);
    sorted[below] + (sorted[above] - sorted[below]) * (place - below as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_interpolate() {
        let values = [0.0, 1.0, 2.0, 3.0, 4.0];
        assert!((quantile(&values, 0.025) - 0.1).abs() < 1e-12);
        assert!((quantile(&values, 0.5) - 2.0).abs() < 1e-12);
        assert!((quantile(&values, 1.0) - 4.0).abs() < 1e-12);
        assert!((quantile(&[7.0], 0.3) - 7.0).abs() < 1e-12);
    }

    #[test]
    fn wilson_of_nothing_says_nothing() {
        assert_eq!(wilson95(0, 0).map(f64::to_bits), [0.0, 1.0].map(f64::to_bits));
    }
}
