//! The tree-structured Parzen estimator (Bergstra et al., 2011) over strategies, for comparison.
//!
//! Strategies are a categorical setting: the best share of the finished experiments is called good, and the strategy is taken
//! that is frequent among the good ones and rare among the others. Every strategy counts once in both, so that an
//! unvisited one has rank 1. Numeric settings are proposed elsewhere.

use rand_chacha::ChaCha8Rng;
use trex_domain::SearchSettings;

use super::table::Table;
use super::{Choice, Policy};
use crate::TreeView;

/// Takes the strategy that is most frequent among the good experiments, compared with the others.
#[derive(Clone, Copy, Debug)]
pub struct Tpe;

impl Policy for Tpe {
    fn name(&self) -> &'static str {
        "tpe"
    }

    fn select(&self, view: &TreeView, settings: &SearchSettings, _rng: &mut ChaCha8Rng) -> Option<Choice> {
        let table = Table::all(view, settings);
        let border = good_from(view, settings.tpe_gamma);
        let shares = |good: usize, bad: usize| (1.0 + good as f64) / (1.0 + bad as f64);
        table.choose(
            |row| {
                let good = row.view.values.iter().filter(|value| **value >= border).count();
                // Failures and experiments in flight are not good.
                shares(good, row.view.children() - good)
            },
            |row| {
                format!(
                    "most frequent among the good experiments, {} of its {}",
                    row.view.values.iter().filter(|value| **value >= border).count(),
                    row.view.children()
                )
            },
        )
    }
}

/// The value from which an experiment is good: at least one is, and `⌈γ · n⌉` are where no two are equal.
fn good_from(view: &TreeView, gamma: f64) -> f64 {
    let mut values: Vec<f64> = view.strategies.iter().flat_map(|one| one.values.iter().copied()).collect();
    values.sort_by(|a, b| b.total_cmp(a));
    let finished: usize = view.strategies.iter().map(|one| one.visits).sum();
    let good = crate::numbers::share_of(finished, gamma).max(1);
    values.get(good - 1).or(values.last()).copied().unwrap_or(f64::INFINITY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_experiments_nothing_is_good() {
        let view = TreeView { strategies: Vec::new(), base: 0.5, since_gain: 0, recent: Vec::new() };
        assert!(good_from(&view, 0.25).is_infinite());
    }
}
