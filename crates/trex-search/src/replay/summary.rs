//! Many simulated searches in a few numbers, each with its interval.

use serde::Serialize;

use super::{Simulated, Space, contender, simulate};
use crate::SearchError;
use crate::numbers::{mean, variance};

/// Shares of the budget at which searches are compared.
pub const CHECKPOINTS: [f64; 3] = [0.25, 0.5, 1.0];

/// Half-width of a 95 % interval in standard errors.
const Z95: f64 = 1.959_964;

/// A mean over simulated searches with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// The mean.
    pub mean: f64,
    /// 95 % interval `[low, high]`.
    pub ci95: [f64; 2],
    /// Simulated searches.
    pub n: usize,
}

impl Estimate {
    /// Of values that are independent of each other; all zero for none.
    pub fn of(values: &[f64]) -> Self {
        let centre = mean(values).unwrap_or(0.0);
        let half = variance(values).map_or(0.0, |spread| Z95 * (spread / values.len() as f64).sqrt());
        Self { mean: centre, ci95: [centre - half, centre + half], n: values.len() }
    }
}

/// How contenders are compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReplaySettings {
    /// Budget of one search in full trainings.
    pub budget: f64,
    /// Simulated searches of each contender.
    pub searches: u64,
}

/// What came of one contender.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ContenderSummary {
    /// Its name.
    pub name: String,
    /// Regret (truth of the best point minus that of the recommended one) at each of [`CHECKPOINTS`].
    pub regret: Vec<Estimate>,
    /// Regret minus that of `trex` in the search with the same number, at each of [`CHECKPOINTS`].
    pub behind_trex: Vec<Estimate>,
    /// Final-split score of what was recommended at the end.
    pub final_score: Estimate,
    /// Share of trainings whose result was known.
    pub duplicates: f64,
    /// Share of trainings that failed.
    pub failed: f64,
}

/// Simulates all named contenders; `trex` is simulated for comparison whether it is among them or not.
pub fn compare_contenders(
    space: &Space<'_>,
    names: &[&str],
    settings: ReplaySettings,
) -> Result<Vec<ContenderSummary>, SearchError> {
    let ours = regrets(space, &searches(space, "trex", settings)?, settings.budget);
    let summarise = |name: &&str| {
        let simulated = searches(space, name, settings)?;
        let regrets = regrets(space, &simulated, settings.budget);
        let behind = regrets.iter().zip(&ours).map(|(theirs, ours)| {
            let gaps: Vec<f64> = theirs.iter().zip(ours).map(|(theirs, ours)| theirs - ours).collect();
            Estimate::of(&gaps)
        });
        let finals: Vec<f64> = simulated.iter().map(|one| one.truth_at(settings.budget, space.base_truth())).collect();
        let asked: usize = simulated.iter().map(|one| one.record.asked).sum();
        let share = |count: usize| count as f64 / asked.max(1) as f64;
        Ok(ContenderSummary {
            name: (*name).to_owned(),
            behind_trex: behind.collect(),
            regret: regrets.iter().map(|values| Estimate::of(values)).collect(),
            final_score: Estimate::of(&finals),
            duplicates: share(simulated.iter().map(|one| one.record.duplicates).sum()),
            failed: share(simulated.iter().map(|one| one.record.failed.len()).sum()),
        })
    };
    names.iter().map(summarise).collect()
}

pub(super) fn searches(space: &Space<'_>, name: &str, settings: ReplaySettings) -> Result<Vec<Simulated>, SearchError> {
    let one = |number| Ok(simulate(contender(name)?.as_mut(), &space.redrawn(number), settings.budget, number));
    (0..settings.searches).map(one).collect()
}

/// Regrets by checkpoint, then by search.
fn regrets(space: &Space<'_>, simulated: &[Simulated], budget: f64) -> Vec<Vec<f64>> {
    let (best, base) = (space.best_truth(), space.base_truth());
    let at = |share: &f64| simulated.iter().map(|one| best - one.truth_at(share * budget, base)).collect();
    CHECKPOINTS.iter().map(at).collect()
}
