//! Tests of "no difference" that assume no distribution: exact McNemar and sign flips. Both are two-sided.

use rand::Rng as _;
use trex_domain::{ItemScore, Metric, seeded_rng};

use crate::EvalError;
use crate::paired::pair;

/// Returns the two-sided p-value of the exact McNemar test for right (1) and wrong (0) items, paired by id.
pub fn mcnemar_p(candidate: &[ItemScore], incumbent: &[ItemScore]) -> Result<f64, EvalError> {
    let (mut candidate_only, mut incumbent_only) = (0, 0);
    for (ours, theirs) in pair(Metric::Accuracy, candidate, incumbent)? {
        match (is_right(ours)?, is_right(theirs)?) {
            (true, false) => candidate_only += 1,
            (false, true) => incumbent_only += 1,
            _ => {}
        }
    }
    Ok(discordant_p(candidate_only, incumbent_only))
}

/// Returns the two-sided binomial p-value of `left` against `right` discordant pairs under equal chances.
///
/// `min(1, 2 · P(X ≤ min(left, right)))` with X ~ Binomial(left + right, 1/2) (McNemar, 1947; Edwards, 1948).
pub fn discordant_p(left: usize, right: usize) -> f64 {
    let (fewer, n) = (left.min(right), left + right);
    // ln P(X = fewer); logarithms, because 2^-n underflows for large n.
    let ways_ln: f64 = (0..fewer).map(|i| ((n - i) as f64 / (i + 1) as f64).ln()).sum();
    let largest_term = (ways_ln - n as f64 * std::f64::consts::LN_2).exp();
    // P(X = k - 1) = P(X = k) · k / (n - k + 1).
    let (mut term, mut sum) = (1.0, 1.0);
    for k in (1..=fewer).rev() {
        term *= k as f64 / (n - k + 1) as f64;
        sum += term;
    }
    (2.0 * largest_term * sum).min(1.0)
}

/// Returns the two-sided p-value of the paired sign-flip (permutation) test of the mean item score, items paired by id.
///
/// Under "no difference" the two scores of an item may change places, so each difference has a random sign. The p-value
/// is `(hits + 1) / (resamples + 1)`, where a hit is a random sum at least as far from zero as the observed one
/// (Phipson and Smyth, 2010), so it is never 0. For macro-F1 it tests the share of right items; it is not for bits per
/// byte, whose scores are no shares.
pub fn sign_flip_p(
    candidate: &[ItemScore],
    incumbent: &[ItemScore],
    seed: u64,
    resamples: usize,
) -> Result<f64, EvalError> {
    const ROUNDING: f64 = 1e-9;
    let pairs = pair(Metric::Accuracy, candidate, incumbent)?;
    let diffs: Vec<f64> = pairs.into_iter().map(|(ours, theirs)| ours.score - theirs.score).collect();
    let observed = diffs.iter().sum::<f64>().abs() - ROUNDING;
    let mut rng = seeded_rng(seed, "eval.sign_flip");
    let mut flipped_sum = || {
        let mut sum = 0.0;
        for chunk in diffs.chunks(64) {
            let signs = rng.next_u64();
            for (bit, diff) in chunk.iter().enumerate() {
                sum += if signs >> bit & 1 == 1 { *diff } else { -diff };
            }
        }
        sum
    };
    let hits = (0..resamples).filter(|_| flipped_sum().abs() >= observed).count();
    Ok((hits + 1) as f64 / (resamples + 1) as f64)
}

fn is_right(item: &ItemScore) -> Result<bool, EvalError> {
    if item.score <= 0.0 {
        return Ok(false);
    }
    if item.score >= 1.0 {
        return Ok(true);
    }
    Err(EvalError::NotBinary { id: item.id.clone(), score: item.score })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(left: usize, right: usize, expected: f64) {
        assert!((discordant_p(left, right) - expected).abs() < 1e-12, "{left} {right}: {}", discordant_p(left, right));
    }

    #[test]
    fn binomial_by_hand() {
        check(0, 0, 1.0);
        check(1, 0, 1.0);
        check(0, 5, 0.0625);
        check(6, 0, 0.03125);
        check(5, 5, 1.0);
        // 2 · (1 + 10 + 45) / 1024.
        check(2, 8, 112.0 / 1024.0);
    }
}
