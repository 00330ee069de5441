//! The verdict of a run: which candidate is taken to the sealed split, and whether it is really better than the base. The engine
//! calls these functions and `trex bench honesty` simulates them.
//!
//! *Who is taken.* The candidate that answers most items of search and select together ([`pooled_merit`]): the best estimate
//! there is. It need not stand out on either: whether there is a gain is asked once, at the end, and a candidate that is left
//! behind for want of significance can never be found (a test before the test costs power and brings no safety).
//!
//! *What is asked.* Whether the variant is better than the base, not whether one training of it was lucky. So all its trainings
//! (the one that was chosen and its repeats on further seeds) are compared with the base by their mean on each item. The
//! repeats chose nothing, and the mean has less noise of both kinds.
//!
//! *How it is answered.* Two splits speak, which share no item. The sealed split is looked at once and chose nothing, so its
//! difference is tested as it stands. The select split had a part in the choice among `K` candidates, so it pays for that
//! (Šidák, 1967): `p₁ = 1 − Φ(z_select)^K`. That is valid whatever rule chose among them, because no candidate's `z` is above the
//! largest of the `K`, and because all are compared with the same base, so that they depend on each other positively (Slepian,
//! 1962). Bonferroni's `K · p` is about the same in the tail but 1 in the middle, where it takes away everything that the sealed
//! split found. The two are joined by the weighted inverse normal method (Stouffer et al., 1949; weights √n after Lipták, 1958):
//!
//! `z = (√n₁ · Φ⁻¹(1 − p₁) + √n₂ · z_final) / √(n₁ + n₂ + 2 · √(n₁ n₂) · ρ)`
//!
//! Each `z` is a difference over `√(se² + σ²/S)`: `se` by the item bootstrap, `σ²` the variance over seeds
//! ([`crate::seed_variance`]), `S` the number of trainings. The luck of these seeds is the same on both splits; `ρ`, its share of
//! both variances, is the correlation that this gives them (Strube, 1985).
//!
//! A gain is claimed where `z` is above the 95 % point of the normal distribution and the sealed split alone shows a
//! difference above zero. `trex bench honesty` counts how often that is right.

use trex_domain::{Comparison, Judgement};

use crate::spread::item_variance;

/// The 95 % point of the normal distribution: one-sided 5 %.
const Z_GAIN: f64 = 1.644_853_626_951_473;

/// A z-score that no p-value of a comparison goes beyond, so that sums stay finite.
const Z_MOST: f64 = 8.0;

/// What speaks for a candidate.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// Its trainings against the base on the sealed split, with the standard error of the items alone
    /// ([`crate::compare_mean`]).
    pub final_: &'a Comparison,
    /// The same on the select split, where that was scored.
    pub select: Option<&'a Comparison>,
    /// Candidates with a score on the select split.
    pub compared: usize,
    /// Trainings that the comparisons are means of.
    pub trainings: usize,
    /// Variance of one training over seeds ([`crate::seed_variance`]).
    pub seed_variance: f64,
}

/// What scores of a candidate on several splits say together: their mean, weighted by items. Scores are (merit, items).
pub fn pooled_merit(scores: &[(f64, usize)]) -> f64 {
    let items: f64 = scores.iter().map(|(_, items)| *items as f64).sum();
    scores.iter().map(|(merit, count)| merit * *count as f64).sum::<f64>() / items.max(1.0)
}

/// Judges a candidate.
pub fn judge(evidence: &Evidence<'_>) -> Judgement {
    let luck = evidence.seed_variance.max(0.0) / evidence.trainings.max(1) as f64;
    let (z_final, share_final) = z_of(evidence.final_, luck);
    let (z_select, share_select, weight) = match evidence.select {
        Some(select) => {
            let (z, share) = z_of(select, luck);
            (paid_for(z, evidence.compared), share, select.effect.n as f64)
        }
        None => (0.0, 0.0, 0.0),
    };
    let n = evidence.final_.effect.n as f64;
    let shared = 2.0 * (weight * n).sqrt() * (share_select * share_final).sqrt();
    let z = (weight.sqrt() * z_select + n.sqrt() * z_final) / (weight + n + shared).max(1.0).sqrt();
    Judgement {
        z_select,
        z_final,
        compared: evidence.compared,
        trainings: evidence.trainings,
        seed_sd: evidence.seed_variance.max(0.0).sqrt(),
        z,
        p: above(z),
        gain: z > Z_GAIN && evidence.final_.effect.diff > 0.0,
    }
}

/// Difference over its standard error, and the share of luck in its variance.
fn z_of(comparison: &Comparison, luck: f64) -> (f64, f64) {
    let variance = item_variance(comparison) + luck;
    if variance > 0.0 {
        return ((comparison.effect.diff / variance.sqrt()).clamp(-Z_MOST, Z_MOST), luck / variance);
    }
    // No item differs: nothing speaks for either side.
    (0.0, 0.0)
}

/// The z-score of the best of `count` candidates, as if there had been no choice.
fn paid_for(z: f64, count: usize) -> f64 {
    let count = i32::try_from(count.max(1)).unwrap_or(i32::MAX);
    normal_quantile(normal_below(z).powi(count)).clamp(-Z_MOST, Z_MOST)
}

/// Probability above `z`.
fn above(z: f64) -> f64 {
    1.0 - normal_below(z)
}

/// Distribution function of the standard normal distribution, to 1.5e-7 (Abramowitz & Stegun, 1964, formula 7.1.26).
fn normal_below(z: f64) -> f64 {
    let x = z.abs() / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * x);
    let coefficients = [1.061_405_429, -1.453_152_027, 1.421_413_741, -0.284_496_736, 0.254_829_592];
    let polynomial = coefficients.iter().fold(0.0, |sum, coefficient| (sum + coefficient) * t);
    let tail = 0.5 * polynomial * (-x * x).exp();
    if z < 0.0 { tail } else { 1.0 - tail }
}

/// The z below which a share lies, by bisection of [`normal_below`].
fn normal_quantile(share: f64) -> f64 {
    let (mut low, mut high) = (-Z_MOST, Z_MOST);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if normal_below(middle) < share {
            low = middle;
        } else {
            high = middle;
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use trex_domain::Effect;

    use super::*;
    use crate::bootstrap::Z95;

    fn comparison(diff: f64, se: f64, n: usize) -> Comparison {
        let ci95 = [diff - Z95 * se, diff + Z95 * se];
        Comparison { effect: Effect { diff, ci95, n }, seed_sd: 0.0, significant: ci95[0] > 0.0 }
    }

    #[track_caller]
    fn check(final_z: f64, select_z: Option<f64>, compared: usize, expected_z: f64, gain: bool) {
        let select = select_z.map(|z| comparison(0.01 * z, 0.01, 400));
        let final_ = comparison(0.01 * final_z, 0.01, 500);
        let evidence =
            Evidence { final_: &final_, select: select.as_ref(), compared, trainings: 1, seed_variance: 0.0 };
        let found = judge(&evidence);
        assert!((found.z - expected_z).abs() < 2e-3, "{found:?}");
        assert_eq!(found.gain, gain, "{found:?}");
    }

    #[test]
    fn both_splits_speak_by_their_size_and_select_pays_for_its_choice() {
        check(1.7, None, 1, 1.7, true);
        check(1.6, None, 1, 1.6, false);
        // scipy: (20 * norm.isf(norm.sf(2)) + 22.36068 * 1.6) / 30.
        check(1.6, Some(2.0), 1, 2.5259, true);
        // scipy: (20 * norm.ppf(norm.cdf(2)**5) + 22.36068 * 1.6) / 30.
        check(1.6, Some(2.0), 5, 2.0149, true);
        // With twenty candidates a z of 2 on select is nothing special, and one of 1 takes away what the sealed split says.
        check(1.6, Some(2.0), 20, 1.4158, false);
        check(1.6, Some(1.0), 20, -0.0461, false);
        check(-0.1, Some(7.0), 1, 4.5921, false);
    }

    #[test]
    fn luck_that_both_splits_share_counts_once() {
        let (final_, select) = (comparison(0.02, 0.01, 400), comparison(0.02, 0.01, 400));
        let evidence = |seed_variance, trainings| Evidence {
            final_: &final_,
            select: Some(&select),
            compared: 1,
            trainings,
            seed_variance,
        };
        // Two splits of equal size: the mean of both has the variance 0.5e-4 of the items, and all of the luck.
        for (seed_variance, trainings) in [(0.0, 1), (1e-4, 1), (3e-4, 1), (3e-4, 3)] {
            let expected = 0.02 / (0.5e-4 + seed_variance / trainings as f64).sqrt();
            let found = judge(&evidence(seed_variance, trainings)).z;
            assert!((found - expected).abs() < 2e-3, "{found} instead of {expected}");
        }
    }

    #[test]
    fn equal_models_and_certain_ones_give_finite_numbers() {
        let judged = |diff: f64, se: f64| {
            let (final_, select) = (comparison(diff, se, 500), comparison(diff, se, 400));
            judge(&Evidence { final_: &final_, select: Some(&select), compared: 3, trainings: 2, seed_variance: 0.0 })
        };
        assert!(!judged(0.0, 0.0).gain);
        let sure = judged(0.5, 0.001);
        assert!(sure.gain && sure.z.is_finite() && sure.p >= 0.0, "{sure:?}");
    }

    #[test]
    fn scores_are_pooled_by_items() {
        assert!((pooled_merit(&[(0.5, 300), (0.8, 100)]) - 0.575).abs() < 1e-12);
        assert!(pooled_merit(&[]).abs() < 1e-12);
    }

    #[test]
    fn the_quantile_undoes_the_distribution() {
        for (share, z) in [(0.5, 0.0), (0.95, Z_GAIN), (0.025, -Z95)] {
            assert!((normal_quantile(share) - z).abs() < 1e-4, "{share}");
        }
    }
}
