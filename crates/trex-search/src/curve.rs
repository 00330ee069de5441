//! What a variant would score at the top, told from a rung below, and whether it is worth finding out.
//!
//! A run has few trials, so this is no model of a single curve: the gain from a rung to the top is taken to be that of the
//! variants of the run that went all the way, give or take their spread, which holds the noise of small evaluation splits
//! too and is never taken to be less than the standard error of the score at the rung. Nothing is said before [`MIN_GAINS`] variants have shown their gain.

use trex_domain::{RunState, TrialKey, VariantId};

use crate::numbers::{mean, normal_below, variance};

/// Half-width of a 95 % interval in standard errors.
const Z95: f64 = 1.959_964;

/// Gains that must have been seen before anything is extrapolated.
pub const MIN_GAINS: usize = 3;

/// A score at the top rung that was not measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Extrapolation {
    /// What is expected, turned so that more is better.
    pub mean: f64,
    /// Standard deviation of what will be found.
    pub sd: f64,
}

impl Extrapolation {
    /// The probability of at least `best`.
    pub fn reach(&self, best: f64) -> f64 {
        if self.sd <= 0.0 {
            return if self.mean >= best { 1.0 } else { 0.0 };
        }
        normal_below((self.mean - best) / self.sd)
    }
}

/// From a score at a rung, its standard error and the gains that others had from that rung to the top; `None` for too few of
/// them.
pub fn extrapolate(score: f64, se: f64, gains: &[f64]) -> Option<Extrapolation> {
    let (gain, spread) = (mean(gains)?, variance(gains)?.max(se * se));
    let count = gains.len() as f64;
    // The mean gain is itself known from `count` variants only.
    (gains.len() >= MIN_GAINS).then(|| Extrapolation { mean: score + gain, sd: (spread * (1.0 + 1.0 / count)).sqrt() })
}

/// A score at a rung with its standard error, carried to the top by the gains that others had: what is expected there, with its
/// standard error. Before anybody has shown a gain it is taken as it is.
pub fn carried(score: f64, se: f64, gains: &[f64]) -> (f64, f64) {
    let spread = variance(gains).unwrap_or(0.0);
    (score + mean(gains).unwrap_or(0.0), (se * se + spread).sqrt())
}

/// The search score of a variant at a rung (training seed 0), turned so that more is better.
pub(crate) fn search_merit(state: &RunState, id: &VariantId, rung: usize) -> Option<f64> {
    let key: TrialKey = (id.clone(), rung, 0);
    Some(state.trial_score(&key, "search")?.merit())
}

/// What the variants of a run gained from a rung to the top.
pub fn gains_to_top(state: &RunState, rung: usize) -> Vec<f64> {
    let top = state.task.as_ref().map_or(0, trex_domain::TaskSpec::top_rung);
    let gain = |id: &VariantId| Some(search_merit(state, id, top)? - search_merit(state, id, rung)?);
    state.variants.keys().filter_map(gain).collect()
}

/// The probability that a variant that was scored at a rung below the top reaches the incumbent's search score there;
/// `None` where there is no incumbent or too little was seen.
pub fn reach_of(state: &RunState, id: &VariantId, rung: usize) -> Option<f64> {
    let top = state.task.as_ref()?.top_rung();
    let best = search_merit(state, state.incumbent.as_ref()?, top)?;
    let score = state.trial_score(&(id.clone(), rung, 0), "search")?;
    let se = (score.ci95[1] - score.ci95[0]) / (2.0 * Z95);
    let extrapolation = extrapolate(score.merit(), se, &gains_to_top(state, rung))?;
    Some(extrapolation.reach(best))
}

/// The best score of a batch that ended below the top, carried up by the mean gain of the run; `None` where nothing was
/// scored.
pub(crate) fn carried_best(state: &RunState, variants: &[VariantId]) -> Option<f64> {
    let top = state.task.as_ref()?.top_rung();
    let carried = |id: &VariantId| {
        let (rung, score) = (0..=top).rev().find_map(|rung| Some((rung, search_merit(state, id, rung)?)))?;
        Some(score + mean(&gains_to_top(state, rung)).unwrap_or(0.0))
    };
    variants.iter().filter_map(carried).max_by(f64::total_cmp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_is_carried_by_the_gains_of_others() {
        assert_eq!(extrapolate(0.5, 0.01, &[0.1, 0.1]), None);
        let found = extrapolate(0.5, 0.01, &[0.1, 0.2, 0.3]).unwrap();
        assert!((found.mean - 0.7).abs() < 1e-12);
        assert!((found.sd - (0.01_f64 * 4.0 / 3.0).sqrt()).abs() < 1e-12);
        assert!((found.reach(0.7) - 0.5).abs() < 1e-6);
        assert!(found.reach(1.2) < 0.001);
        let unsure = extrapolate(0.5, 0.05, &[0.2, 0.2, 0.2]).unwrap();
        assert!((unsure.sd - 0.05 * (4.0_f64 / 3.0).sqrt()).abs() < 1e-12);
    }

    #[test]
    fn without_spread_it_reaches_or_not() {
        let sure = Extrapolation { mean: 0.6, sd: 0.0 };
        assert!((sure.reach(0.6) - 1.0).abs() < 1e-12);
        assert!(sure.reach(0.61).abs() < 1e-12);
    }
}
