//! The strategies that a policy may choose among, with the numbers that all policies share. Owns no preference.

use trex_domain::{CandidateNumbers, SearchSettings};

use super::Choice;
use crate::{StrategyView, TreeView};

/// A candidate with its numbers.
pub(super) struct Row<'a> {
    pub(super) view: &'a StrategyView,
    /// Q.
    pub(super) value: f64,
    /// P, normalised over the candidates.
    pub(super) prior: f64,
}

/// The strategies that may be chosen.
pub(super) struct Table<'a> {
    pub(super) rows: Vec<Row<'a>>,
    stagnation: usize,
    stagnant: bool,
}

impl<'a> Table<'a> {
    /// Every strategy that may be chosen.
    pub(super) fn all(view: &'a TreeView, settings: &SearchSettings) -> Self {
        Self::of(view, settings, open(view))
    }

    /// Those of them that progressive widening leaves open; all where it would leave none.
    pub(super) fn within_limit(view: &'a TreeView, settings: &SearchSettings) -> Self {
        let limit = widening_limit(settings, view.total_visits());
        let within: Vec<_> = open(view).into_iter().filter(|one| (one.children() as f64) < limit).collect();
        if within.is_empty() { Self::all(view, settings) } else { Self::of(view, settings, within) }
    }

    fn of(view: &'a TreeView, settings: &SearchSettings, chosen: Vec<&'a StrategyView>) -> Self {
        let priors: f64 = chosen.iter().map(|one| one.prior.max(0.0)).sum();
        let uniform = 1.0 / chosen.len().max(1) as f64;
        let range = Range::of(view);
        let row = |one: &'a StrategyView| Row {
            view: one,
            value: q_value(one, &range, view.base, settings),
            prior: if priors > 0.0 { one.prior.max(0.0) / priors } else { uniform },
        };
        Self { rows: chosen.into_iter().map(row).collect(), stagnation: settings.stagnation, stagnant: false }
    }

    pub(super) fn away_from_stagnation(mut self, view: &TreeView) -> Self {
        let is_new = |row: &Row<'_>| !view.recent.contains(&row.view.kind);
        if view.since_gain >= self.stagnation && self.rows.iter().any(is_new) {
            self.stagnant = self.rows.iter().any(|row| !is_new(row));
            self.rows.retain(is_new);
        }
        self
    }

    /// Takes the unvisited strategy with the highest prior, else the strategy with the highest rank.
    pub(super) fn first_plays_first(self, rank: impl Fn(&Row<'_>) -> f64, name: &str) -> Option<Choice> {
        if self.rows.iter().all(|row| row.view.children() > 0) {
            return self.choose(&rank, |row| {
                format!("highest {name} score {:.3} (value {:.3}, prior {:.2})", rank(row), row.value, row.prior)
            });
        }
        let first_play = |row: &Row<'_>| {
            // Every rank is finite, so that an unvisited row is above all visited ones.
            if row.view.children() == 0 { row.prior } else { f64::NEG_INFINITY }
        };
        let numbers = self.numbers(&rank);
        let mut choice = self.choose(first_play, |row| format!("not tried yet, prior {:.2}", row.prior))?;
        choice.candidates = numbers;
        Some(choice)
    }

    fn numbers(&self, mut rank: impl FnMut(&Row<'_>) -> f64) -> Vec<CandidateNumbers> {
        let number = |row: &Row<'_>| CandidateNumbers {
            node: row.view.node.clone(),
            visits: row.view.children(),
            value: row.value,
            prior: row.prior,
            rank: rank(row),
        };
        self.rows.iter().map(number).collect()
    }

    /// Takes the row with the highest rank.
    pub(super) fn choose(
        &self,
        rank: impl FnMut(&Row<'_>) -> f64,
        because: impl Fn(&Row<'_>) -> String,
    ) -> Option<Choice> {
        let candidates = self.numbers(rank);
        // `min_by` keeps the first of equal ones.
        let (_, row) = candidates.iter().zip(&self.rows).min_by(|(a, row_a), (b, row_b)| {
            let by_cost = row_a.view.expected_cost.total_cmp(&row_b.view.expected_cost);
            b.rank.total_cmp(&a.rank).then(b.prior.total_cmp(&a.prior)).then(by_cost)
        })?;
        let mut because = because(row);
        if self.stagnant {
            because.push_str("; the last experiments brought no gain, so another kind goes first");
        }
        if row.view.pinned {
            because.push_str("; a person pinned it");
        }
        Some(Choice { node: row.view.node.clone(), because, candidates })
    }
}

/// The strategies that are not exhausted; where a person pinned some of them, only those.
fn open(view: &TreeView) -> Vec<&StrategyView> {
    let (pinned, others): (Vec<_>, Vec<_>) =
        view.strategies.iter().filter(|one| !one.exhausted).partition(|one| one.pinned);
    if pinned.is_empty() { others } else { pinned }
}

fn widening_limit(settings: &SearchSettings, total_visits: usize) -> f64 {
    (settings.widening_k * (total_visits as f64).powf(settings.widening_alpha)).ceil().max(1.0)
}

/// The interval of the strategies' best and mean scores and the base's.
pub(super) struct Range {
    low: f64,
    high: f64,
}

impl Range {
    pub(super) fn of(view: &TreeView) -> Self {
        let scores = view.strategies.iter().flat_map(|one| [one.best, one.mean]).flatten();
        let start = Self { low: view.base, high: view.base };
        scores.fold(start, |range, score| Self { low: range.low.min(score), high: range.high.max(score) })
    }

    pub(super) fn normalised(&self, score: f64) -> f64 {
        let span = self.high - self.low;
        if span > 0.0 { (score - self.low) / span } else { 0.5 }
    }
}

fn q_value(one: &StrategyView, range: &Range, base: f64, settings: &SearchSettings) -> f64 {
    let children = one.children() as f64;
    if one.children() == 0 {
        return range.normalised(base);
    }
    let successes = (one.visits - one.failures - one.repaired) as f64;
    let sum = one.mean.map_or(0.0, |mean| successes * range.normalised(mean))
        + one.failures as f64 * settings.failure_value
        + one.repaired as f64 * settings.repair_value
        + one.in_flight as f64 * settings.virtual_loss;
    let mean = sum / children;
    let best = one.best.map_or(mean, |best| range.normalised(best));
    settings.best_weight * best + (1.0 - settings.best_weight) * mean
}
