//! Searches that are simulated on a recorded surface: what a way of searching would have found for a budget.
//!
//! A contender names a point and a rung; the replay looks the outcome up, charges the training and goes on until the budget
//! is spent. The unit of cost is one training of full length; scoring is not charged, since all contenders score alike.
//! Contenders see search scores, and select scores at the top rung, as a run does. What is recommended at any moment is, for
//! all of them alike, the fully trained point with the most right answers on search and select together. The truth of a
//! point is its mean on the final split over all recorded seeds, which no contender sees.
//!
//! Every search has items of its own: those of search and select are drawn anew from the recorded ones. Otherwise a contender
//! that draws nothing at random would do the same in all searches, and one lucky item would look like a better way of
//! searching.

mod contenders;
mod savings;
mod space;
mod summary;
mod tpe;
mod tree;

use std::collections::{BTreeMap, BTreeSet};

use rand_chacha::ChaCha8Rng;
use trex_domain::seeded_rng;

pub use contenders::{CONTENDERS, contender};
pub use savings::{Savings, savings};
pub use space::Space;
pub use summary::{CHECKPOINTS, ContenderSummary, Estimate, ReplaySettings, compare_contenders};

/// What a contender asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Point of the grid.
    pub point: usize,
    /// Rung to train it to.
    pub rung: usize,
}

/// A way of searching.
pub trait Contender {
    /// Stable name.
    fn name(&self) -> &'static str;

    /// What to run next; `None` where nothing is left.
    fn next(&mut self, space: &Space<'_>, record: &Record, rng: &mut ChaCha8Rng) -> Option<Ask>;
}

/// What was seen in one simulated search.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    /// Search scores of each point, rung by rung from the lowest.
    pub scores: BTreeMap<usize, Vec<f64>>,
    /// What promotions go by, rung by rung: the probability of the gold answers below the top, where it was recorded.
    pub promise: BTreeMap<usize, Vec<f64>>,
    /// Select scores of the points that were trained to the top.
    pub select: BTreeMap<usize, f64>,
    /// Points whose training failed.
    pub failed: BTreeSet<usize>,
    /// Spent, in full trainings.
    pub cost: f64,
    /// Trainings that were asked for.
    pub asked: usize,
    /// Of them, those whose result was known before.
    pub duplicates: usize,
}

impl Record {
    /// The highest rung of a point, with the score there.
    pub fn highest(&self, point: usize) -> Option<(usize, f64)> {
        let scores = self.scores.get(&point)?;
        Some((scores.len().checked_sub(1)?, *scores.last()?))
    }

    /// What a promotion of a point from its highest rung goes by.
    pub fn promise(&self, point: usize) -> Option<f64> {
        self.promise.get(&point)?.last().copied()
    }

    /// Search scores at a rung, with their points.
    pub fn at_rung(&self, rung: usize) -> Vec<(usize, f64)> {
        self.scores.iter().filter_map(|(point, scores)| Some((*point, *scores.get(rung)?))).collect()
    }
}

/// How far a search had come at a cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// Spent, in full trainings.
    pub cost: f64,
    /// The true value of what would be recommended; the base's while nothing was trained.
    pub truth: f64,
}

/// A simulated search.
#[derive(Clone, Debug, PartialEq)]
pub struct Simulated {
    /// What was seen.
    pub record: Record,
    /// Changes of the recommendation, in order.
    pub progress: Vec<Progress>,
}

impl Simulated {
    /// The true value of the recommendation at a cost.
    pub fn truth_at(&self, cost: f64, base: f64) -> f64 {
        // Costs are sums of thirds.
        let reached = self.progress.iter().rev().find(|one| one.cost <= cost + 1e-9);
        reached.map_or(base, |one| one.truth)
    }
}

/// Simulates one search. `number` names its random draws and chooses the recorded seed.
pub fn simulate(contender: &mut dyn Contender, space: &Space<'_>, budget: f64, number: u64) -> Simulated {
    let seed = number % space.num_seeds().max(1);
    let mut rng = seeded_rng(number, &format!("replay/{}", contender.name()));
    let mut record = Record::default();
    let mut progress = Vec::new();
    let mut recommended = None;
    // Every step costs something or is the last, but a contender may ask for what is known again and again.
    while let Some(ask) = contender.next(space, &record, &mut rng) {
        let cost = space.cost(&record, ask);
        if record.cost + cost > budget + 1e-9 {
            break;
        }
        record.cost += cost;
        carry_out(space, &mut record, ask, seed);
        let best = space.recommended(&record);
        if best != recommended {
            recommended = best;
            progress.extend(best.map(|point| Progress { cost: record.cost, truth: space.truth(point) }));
        }
    }
    Simulated { record, progress }
}

fn carry_out(space: &Space<'_>, record: &mut Record, ask: Ask, seed: u64) {
    record.asked += 1;
    let known =
        record.failed.contains(&ask.point) || record.highest(ask.point).is_some_and(|(rung, _)| rung >= ask.rung);
    if known {
        record.duplicates += 1;
        return;
    }
    let Some(trial) = space.trial(ask.point, seed) else { return };
    let reached: Vec<f64> = trial.search.iter().take(ask.rung + 1).copied().collect();
    if reached.len() <= ask.rung {
        record.failed.insert(ask.point);
        return;
    }
    record.scores.insert(ask.point, reached);
    record.promise.insert(ask.point, trial.promise.iter().take(ask.rung + 1).copied().collect());
    if ask.rung == space.top() {
        record.select.insert(ask.point, trial.select);
    }
}
