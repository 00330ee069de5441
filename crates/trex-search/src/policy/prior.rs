//! The surrogate behind PUCT's prior: what the next experiment below each strategy may bring, told from those so far.
//!
//! A strategy has a level, experiments scatter around it: `value ~ N(level, σ²)` and `level ~ N(mean + effect, τ²)`, where
//! `mean` is that of all experiments and `effect` how much more (or less) the Researcher expects of the strategy than of
//! the others. Both variances are estimated from the tree (one-way random effects, by the method of moments), with a
//! floor, because a tree has few experiments. What a prior is made of is the expected improvement over the best so far.
//! Scores of single variants are the Researcher's business; this only says where to look next.

use crate::numbers::{expected_improvement, mean, variance};
use crate::{StrategyView, TreeView};

/// Experiments that must have a value before the surrogate says anything.
const MIN_VALUES: usize = 3;

/// Smallest standard deviation of an experiment's value as a share of the range of all values: a strategy whose few
/// experiments agree is not known for certain.
const FLOOR: f64 = 0.1;

/// The levels of strategies as far as they are known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ValueModel {
    /// Mean over all experiments.
    pub mean: f64,
    /// Variance of experiments around the level of their strategy.
    pub within: f64,
    /// Variance of the levels.
    pub between: f64,
}

impl ValueModel {
    /// Estimates the model; `None` while too few experiments have a value, or all have the same.
    pub fn fit(groups: &[&[f64]]) -> Option<Self> {
        let all: Vec<f64> = groups.iter().flat_map(|group| group.iter().copied()).collect();
        let centre = mean(&all).filter(|_| all.len() >= MIN_VALUES)?;
        let (low, high) =
            all.iter().fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(*value), high.max(*value)));
        let floor = (FLOOR * (high - low)).powi(2);
        if floor <= 0.0 {
            return None;
        }
        let spreads = groups.iter().filter_map(|group| Some((variance(group)?, group.len() - 1)));
        let (sum, freedom) =
            spreads.fold((0.0, 0), |(sum, freedom), (spread, count)| (sum + spread * count as f64, freedom + count));
        let within = if freedom == 0 { floor } else { (sum / freedom as f64).max(floor) };
        let levels: Vec<f64> = groups.iter().filter_map(|group| mean(group)).collect();
        let mean_size = all.len() as f64 / levels.len() as f64;
        let between = variance(&levels).map_or(floor, |spread| (spread - within / mean_size).max(floor));
        Some(Self { mean: centre, within, between })
    }

    /// Mean and standard deviation of a strategy's next experiment, where `values` are those it had and `effect` is added to
    /// the mean of its level beforehand.
    pub fn predict(&self, values: &[f64], effect: f64) -> (f64, f64) {
        let count = values.len() as f64;
        let weight = count * self.between / (count * self.between + self.within);
        let before = self.mean + effect;
        let level = mean(values).map_or(before, |own| weight * own + (1.0 - weight) * before);
        let left = self.between * self.within / (count * self.between + self.within);
        (level, (left + self.within).sqrt())
    }
}

/// Priors of the chosen strategies, which sum to 1; `None` while too little is known.
pub fn surrogate_priors(view: &TreeView, chosen: &[&StrategyView]) -> Option<Vec<f64>> {
    let groups: Vec<&[f64]> = view.strategies.iter().map(|one| one.values.as_slice()).collect();
    let model = ValueModel::fit(&groups)?;
    let best = view.strategies.iter().filter_map(|one| one.best).fold(view.base, f64::max);
    let effects: Vec<f64> = view.strategies.iter().map(|one| one.expected_effect).collect();
    let usual = mean(&effects).unwrap_or(0.0);
    let gain = |one: &&StrategyView| {
        let (level, sd) = model.predict(&one.values, one.expected_effect - usual);
        expected_improvement(level, sd, best)
    };
    let gains: Vec<f64> = chosen.iter().map(gain).collect();
    let sum: f64 = gains.iter().sum();
    (sum > 0.0).then(|| gains.iter().map(|gain| gain / sum).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_or_equal_knowledge_says_nothing() {
        assert_eq!(ValueModel::fit(&[&[0.5], &[0.6]]), None);
        assert_eq!(ValueModel::fit(&[&[0.5], &[0.5], &[0.5]]), None);
    }

    #[test]
    fn a_strategy_is_drawn_to_the_others_the_less_it_was_tried() {
        let model = ValueModel::fit(&[&[0.50, 0.52], &[0.70, 0.72], &[0.60]]).unwrap();
        let (once, sd_once) = model.predict(&[0.9], 0.0);
        let (often, sd_often) = model.predict(&[0.9; 6], 0.0);
        assert!(model.mean < once && once < often && often < 0.9, "{once} {often}");
        assert!(sd_often < sd_once);
        let (new, sd_new) = model.predict(&[], 0.05);
        assert!((new - model.mean - 0.05).abs() < 1e-12);
        assert!(sd_new > sd_once);
    }
}
