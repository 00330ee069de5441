//! What rungs and extrapolation save: how much less has to be spent for the same final score.

use serde::Serialize;

use super::summary::{Estimate, searches};
use super::{ReplaySettings, Space};
use crate::SearchError;

/// Steps in which costs are looked at, in full trainings.
const STEP: f64 = 0.25;

/// The search of a run with rungs against the same one without, which is the default.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Savings {
    /// What the search without rungs spent, in full trainings.
    pub full_cost: f64,
    /// Final-split score that it reached.
    pub full_score: Estimate,
    /// The cost from which on the search with rungs is not below the 95 % interval of that score on average; absent where it
    /// does not get there.
    pub cost: Option<f64>,
    /// Its score there.
    pub score: Option<Estimate>,
    /// Share of the cost that was saved; 0 where the score was not reached.
    pub saved: f64,
}

/// Simulates both and finds the cost at which they are equal.
pub fn savings(space: &Space<'_>, settings: ReplaySettings) -> Result<Savings, SearchError> {
    let base = space.base_truth();
    let full = searches(space, "trex", settings)?;
    let with_rungs = searches(space, "trex-rungs", settings)?;
    let full_scores: Vec<f64> = full.iter().map(|one| one.truth_at(settings.budget, base)).collect();
    let full_score = Estimate::of(&full_scores);
    let mut cost = STEP;
    let mut reached = None;
    while cost <= settings.budget {
        let scores: Vec<f64> = with_rungs.iter().map(|one| one.truth_at(cost, base)).collect();
        let score = Estimate::of(&scores);
        if score.mean >= full_score.ci95[0] {
            reached = Some((cost, score));
            break;
        }
        cost += STEP;
    }
    Ok(Savings {
        full_cost: settings.budget,
        full_score,
        cost: reached.map(|(cost, _)| cost),
        score: reached.map(|(_, score)| score),
        saved: reached.map_or(0.0, |(cost, _)| 1.0 - cost / settings.budget),
    })
}
