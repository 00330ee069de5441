//! The verdict of a run: whether what was delivered is really better than the base. One function, which the engine calls and
//! `trex bench honesty` simulates.
//!
//! Two splits speak, which share no item. The sealed split is looked at once, so its paired difference is tested as it
//! stands. The select split chose the candidate out of several, so its one-sided p-value is multiplied by their number
//! (Bonferroni): whatever rule chose, that is a valid p-value as long as no more candidates were compared there. The two
//! are joined by the weighted inverse normal method (Stouffer et al., 1949; weights √n after Lipták, 1958), which keeps the
//! level for independent splits:
//!
//! `z = (√n_select · Φ⁻¹(1 − min(1, K · p_select)) + √n_final · z_final) / √(n_select + n_final)`
//!
//! A gain is claimed where `z` is above the 95 % point of the normal distribution, so that a run without any gain claims one
//! in at most 5 % of the cases, and where the sealed split alone shows a difference above zero. `trex bench honesty` counts
//! how often that is right. Both differences carry the spread over seeds in their standard errors ([`crate::compare`]).

use trex_domain::{Comparison, Judgement};

use crate::bootstrap::Z95;

/// The 95 % point of the normal distribution: one-sided 5 %.
const Z_GAIN: f64 = 1.644_853_626_951_473;

/// A z-score that no p-value of a comparison goes beyond, so that sums stay finite.
const Z_MOST: f64 = 8.0;

/// Judges the candidate of a run by its comparisons with the base on the sealed split and, where it was made, on the select
/// split, on which `compared` candidates were.
pub fn judge(final_: &Comparison, select: Option<&Comparison>, compared: usize) -> Judgement {
    let z_final = z_of(final_);
    let (z_select, weight) = match select {
        Some(select) => {
            let p = (above(z_of(select)) * compared.max(1) as f64).min(1.0);
            (normal_quantile(1.0 - p).clamp(-Z_MOST, Z_MOST), select.effect.n as f64)
        }
        None => (0.0, 0.0),
    };
    let n = final_.effect.n as f64;
    let z = (weight.sqrt() * z_select + n.sqrt() * z_final) / (weight + n).max(1.0).sqrt();
    Judgement { z_select, z_final, compared, z, p: above(z), gain: z > Z_GAIN && final_.effect.diff > 0.0 }
}

/// Difference over its standard error, which the interval holds.
fn z_of(comparison: &Comparison) -> f64 {
    let effect = &comparison.effect;
    let se = (effect.ci95[1] - effect.diff) / Z95;
    if se > 0.0 {
        return (effect.diff / se).clamp(-Z_MOST, Z_MOST);
    }
    // No item differs: nothing speaks for either side.
    0.0
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

    fn comparison(diff: f64, se: f64, n: usize) -> Comparison {
        let ci95 = [diff - Z95 * se, diff + Z95 * se];
        Comparison { effect: Effect { diff, ci95, n }, seed_sd: 0.0, significant: ci95[0] > 0.0 }
    }

    #[track_caller]
    fn check(final_z: f64, select_z: Option<f64>, compared: usize, expected_z: f64, gain: bool) {
        let select = select_z.map(|z| comparison(0.01 * z, 0.01, 400));
        let found = judge(&comparison(0.01 * final_z, 0.01, 500), select.as_ref(), compared);
        assert!((found.z - expected_z).abs() < 2e-3, "{found:?}");
        assert_eq!(found.gain, gain, "{found:?}");
    }

    #[test]
    fn both_splits_speak_by_their_size_and_select_pays_for_its_choice() {
        check(1.7, None, 1, 1.7, true);
        check(1.6, None, 1, 1.6, false);
        // scipy: (20 * norm.isf(norm.sf(2)) + 22.36068 * 1.6) / 30.
        check(1.6, Some(2.0), 1, 2.5259, true);
        // scipy: (20 * norm.isf(5 * norm.sf(2)) + 22.36068 * 1.6) / 30.
        check(1.6, Some(2.0), 5, 1.9971, true);
        // With twenty candidates a z of 2 on select is nothing special.
        check(1.6, Some(2.0), 20, 1.2679, false);
        check(-0.1, Some(7.0), 1, 4.5921, false);
    }

    #[test]
    fn equal_models_and_certain_ones_give_finite_numbers() {
        assert!(!judge(&comparison(0.0, 0.0, 500), Some(&comparison(0.0, 0.0, 400)), 3).gain);
        let sure = judge(&comparison(0.5, 0.001, 500), Some(&comparison(0.5, 0.001, 400)), 3);
        assert!(sure.gain && sure.z.is_finite() && sure.p >= 0.0, "{sure:?}");
    }

    #[test]
    fn the_quantile_undoes_the_distribution() {
        for (share, z) in [(0.5, 0.0), (0.95, Z_GAIN), (0.025, -Z95)] {
            assert!((normal_quantile(share) - z).abs() < 1e-4, "{share}");
        }
    }
}
