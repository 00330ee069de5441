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
//! *What luck costs.* Whoever takes the best of `T` trainings takes a lucky one, and that luck goes with the training to the sealed
//! split, which no sealing keeps out. It is what selection in breeding calls the response (Lush, 1937): of the lead by which the
//! best stands out, the share that its seed explains, `m(T) · σ² / √(σ² + v)`, with `m(T)` the mean of the largest of `T` normal
//! draws (Blom, 1958) and `v` the variance of one score over the items of the choice. It is taken off the sealed difference, over
//! `S`, as only one of the `S` trainings was chosen. On select, Šidák's exponent has paid for it already.
//!
//! `σ²` is known from few repeats. So `z` is read as Student's t where luck is in it: with `f / λ²` degrees of freedom, `f` those
//! of `σ²` and `λ` the share of luck in the variance of the sum (Satterthwaite, 1946).
//!
//! A gain is claimed where that is above its 95 % point and the sealed split alone shows a difference above zero. `trex bench
//! honesty` counts how often that is right.

use trex_domain::{Comparison, Judgement};

use crate::SeedVariance;
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
    /// Trainings that the chosen one was the best of, by its score on search and select.
    pub tried: usize,
    /// Items of search and select together.
    pub chosen_on: usize,
    /// Variance of one training over seeds ([`crate::seed_variance`]).
    pub seed_variance: SeedVariance,
}

/// What scores of a candidate on several splits say together: their mean, weighted by items. Scores are (merit, items).
pub fn pooled_merit(scores: &[(f64, usize)]) -> f64 {
    let items: f64 = scores.iter().map(|(_, items)| *items as f64).sum();
    scores.iter().map(|(merit, count)| merit * *count as f64).sum::<f64>() / items.max(1.0)
}

/// Judges a candidate.
pub fn judge(evidence: &Evidence<'_>) -> Judgement {
    let seeds = evidence.seed_variance;
    let luck = seeds.variance / evidence.trainings.max(1) as f64;
    let (z_final, share_final) = z_of(evidence.final_, luck, brought_along(evidence));
    let (z_select, share_select, weight) = match evidence.select {
        Some(select) => {
            let (z, share) = z_of(select, luck, 0.0);
            (paid_for(z, evidence.compared), share, select.effect.n as f64)
        }
        None => (0.0, 0.0, 0.0),
    };
    let n = evidence.final_.effect.n as f64;
    let shared = 2.0 * (weight * n).sqrt() * (share_select * share_final).sqrt();
    let variance = (weight + n + shared).max(1.0);
    let t = (weight.sqrt() * z_select + n.sqrt() * z_final) / variance.sqrt();
    let of_luck = ((weight * share_select).sqrt() + (n * share_final).sqrt()).powi(2) / variance;
    let z = as_normal(t, seeds.freedom / of_luck.powi(2));
    Judgement {
        z_select,
        z_final,
        compared: evidence.compared,
        trainings: evidence.trainings,
        seed_sd: seeds.variance.sqrt(),
        z,
        p: above(z),
        gain: z > Z_GAIN && evidence.final_.effect.diff > 0.0,
    }
}

/// The luck of its seed that the best of many trainings is expected to have, in the mean over all trainings of the variant.
fn brought_along(evidence: &Evidence<'_>) -> f64 {
    let items = evidence.select.unwrap_or(evidence.final_);
    // Half of the variance of a difference is that of one of its sides.
    let of_item = item_variance(items) * items.effect.n as f64 / 2.0;
    let seeds = evidence.seed_variance.variance;
    let variance = seeds + of_item / evidence.chosen_on.max(1) as f64;
    if variance <= 0.0 {
        return 0.0;
    }
    expected_best(evidence.tried) * seeds / variance.sqrt() / evidence.trainings.max(1) as f64
}

/// Mean of the largest of so many draws from a standard normal distribution, to 0.02 (Blom, 1958, with α = 3/8).
fn expected_best(count: usize) -> f64 {
    let count = count.max(1) as f64;
    normal_quantile((count - 0.375) / (count + 0.25))
}

/// The z-score with the probability that Student's distribution has for `t`, to 0.01 from 3 degrees of freedom on (Wallace,
/// 1959).
fn as_normal(t: f64, freedom: f64) -> f64 {
    if !freedom.is_finite() || freedom <= 0.0 {
        return t;
    }
    let z = (freedom * (t * t / freedom).ln_1p()).sqrt() * (8.0 * freedom + 1.0) / (8.0 * freedom + 3.0);
    z.copysign(t)
}

/// Difference, less what is to be taken off it, over its standard error, and the share of luck in its variance.
fn z_of(comparison: &Comparison, luck: f64, off: f64) -> (f64, f64) {
    let variance = item_variance(comparison) + luck;
    if variance > 0.0 {
        let z = (comparison.effect.diff - off) / variance.sqrt();
        return (z.clamp(-Z_MOST, Z_MOST), luck / variance);
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

    fn known(variance: f64) -> SeedVariance {
        SeedVariance { variance, freedom: f64::INFINITY }
    }

    /// One training, chosen from nothing else, whose seed brings no luck.
    fn of(final_: &Comparison) -> Evidence<'_> {
        let seed_variance = known(0.0);
        Evidence { final_, select: None, compared: 1, trainings: 1, tried: 1, chosen_on: 700, seed_variance }
    }

    #[track_caller]
    fn check(final_z: f64, select_z: Option<f64>, compared: usize, expected_z: f64, gain: bool) {
        let select = select_z.map(|z| comparison(0.01 * z, 0.01, 400));
        let final_ = comparison(0.01 * final_z, 0.01, 500);
        let evidence = Evidence { select: select.as_ref(), compared, ..of(&final_) };
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
        let evidence = |variance, trainings| Evidence {
            select: Some(&select),
            trainings,
            seed_variance: known(variance),
            ..of(&final_)
        };
        // Two splits of equal size: the mean of both has the variance 0.5e-4 of the items, and all of the luck.
        for (seed_variance, trainings) in [(0.0, 1), (1e-4, 1), (3e-4, 1), (3e-4, 3)] {
            let expected = 0.02 / (0.5e-4 + seed_variance / trainings as f64).sqrt();
            let found = judge(&evidence(seed_variance, trainings)).z;
            assert!((found - expected).abs() < 2e-3, "{found} instead of {expected}");
        }
    }

    #[test]
    fn the_luck_of_the_best_of_many_is_taken_off_the_sealed_difference() {
        let final_ = comparison(0.05, 0.02, 400);
        let z = |tried, trainings| {
            let seed_variance = known(2e-4);
            judge(&Evidence { tried, trainings, chosen_on: 400, seed_variance, ..of(&final_) }).z
        };
        // The items of the choice add half of 4e-4; of the lead of the best, half of the variance is luck.
        // scipy: norm.ppf((12 - 0.375) / 12.25) * 2e-4 / (4e-4) ** 0.5 = 0.01635.
        let expected = |off: f64, trainings: f64| (0.05 - off) / (4e-4 + 2e-4 / trainings).sqrt();
        for (tried, trainings, off) in [(1, 1, 0.0), (12, 1, 0.01635), (12, 3, 0.00545)] {
            let (found, expected) = (z(tried, trainings), expected(off, trainings as f64));
            assert!((found - expected).abs() < 2e-3, "{tried} {trainings}: {found} instead of {expected}");
        }
    }

    #[test]
    fn luck_that_few_repeats_tell_of_makes_it_a_question_of_students_t() {
        // scipy: norm.isf(t.sf(x, f)).
        for (t, freedom, z) in [(2.353, 3.0, 1.6447), (2.132, 4.0, 1.6450), (-3.0, 8.0, -2.3850), (1.9, 1e9, 1.9)] {
            assert!((as_normal(t, freedom) - z).abs() < 0.01, "{t} {freedom}: {}", as_normal(t, freedom));
        }
        assert!((as_normal(1.9, f64::INFINITY) - 1.9).abs() < 1e-12);
        let final_ = comparison(0.04, 0.01, 400);
        let judged = |freedom| {
            let seed_variance = SeedVariance { variance: 3e-4, freedom };
            judge(&Evidence { seed_variance, ..of(&final_) })
        };
        // Three quarters of the variance are luck: z = 2 with four degrees of freedom is one with 7.1.
        // scipy: norm.isf(t.sf(2, 4 / 0.75 ** 2)) = 1.7225.
        assert!((judged(4.0).z - 1.7225).abs() < 0.01, "{:?}", judged(4.0));
        assert!((judged(f64::INFINITY).z - 2.0).abs() < 1e-3);
    }

    #[test]
    fn equal_models_and_certain_ones_give_finite_numbers() {
        let judged = |diff: f64, se: f64| {
            let (final_, select) = (comparison(diff, se, 500), comparison(diff, se, 400));
            judge(&Evidence { select: Some(&select), compared: 3, trainings: 2, ..of(&final_) })
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
