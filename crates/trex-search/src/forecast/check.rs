//! Forecasts of a run held against what its trials did cost. Replays events; nothing is trained.

use std::collections::BTreeMap;

use serde::Serialize;
use trex_domain::{Cost, DomainError, Event, RunState, StoredEvent, TrialKey, VariantId};

use super::{forecast_full_cost, forecast_trial_cost};

/// What a forecast went by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ForecastBasis {
    /// A dry run, before anything was trained: the first trial.
    DryRun,
    /// Trials of other variants and a dry run of its own: the lowest rung.
    OtherTrials,
    /// The variant's own trial at the lowest rung: everything above it up to the top.
    OneRung,
    /// All trials before: a training on a further seed, from its first step.
    AllTrials,
}

/// A forecast with what came.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CheckedForecast {
    /// What it went by.
    pub basis: ForecastBasis,
    /// The variant.
    pub variant: VariantId,
    /// What was expected.
    pub forecast: Cost,
    /// What it was.
    pub measured: Cost,
}

impl CheckedForecast {
    /// Forecast over what was measured, minus 1, of wall time.
    pub fn wall_error(&self) -> f64 {
        self.forecast.wall_s / self.measured.wall_s - 1.0
    }
}

/// All forecasts of a run whose trials came to their end without an interruption, in the order of the trials.
pub fn checked_forecasts(events: &[StoredEvent]) -> Result<Vec<CheckedForecast>, DomainError> {
    let mut state = RunState::default();
    let mut made: Vec<(ForecastBasis, TrialKey, Cost)> = Vec::new();
    let mut costs: BTreeMap<TrialKey, Cost> = BTreeMap::new();
    for stored in events {
        if let Event::TrialStarted { variant, rung, seed, attempt: 1, .. } = &stored.event {
            let key = (variant.clone(), *rung, *seed);
            made.extend(forecast_of(&state, &key).map(|(basis, cost)| (basis, key, cost)));
        }
        match &stored.event {
            Event::TrialTrained { variant, rung, seed, done } => {
                *costs.entry((variant.clone(), *rung, *seed)).or_default() += done.cost;
            }
            // The select score of a batch's winner is none of its trial.
            Event::TrialScored { variant, rung, seed, cost, reused: false, score }
                if score.split == "search" || *seed > 0 =>
            {
                *costs.entry((variant.clone(), *rung, *seed)).or_default() += *cost;
            }
            _ => {}
        }
        state.apply_stored(stored)?;
    }
    let top = state.task()?.top_rung();
    let checked = made.into_iter().filter_map(|(basis, key, forecast)| {
        let measured = measured(&costs, basis, &key, top)?;
        Some(CheckedForecast { basis, variant: key.0, forecast, measured })
    });
    Ok(checked.filter(|one| one.forecast.wall_s > 0.0 && one.measured.wall_s > 0.0).collect())
}

/// The forecast that is made when a trial begins; none where an earlier one covers it.
fn forecast_of(state: &RunState, (variant, rung, seed): &TrialKey) -> Option<(ForecastBasis, Cost)> {
    let config = &state.variants.get(variant)?.variant.config;
    let top = state.task.as_ref()?.top_rung();
    if *seed > 0 {
        return Some((ForecastBasis::AllTrials, forecast_full_cost(state, config)));
    }
    match rung {
        0 if state.trials.is_empty() => Some((ForecastBasis::DryRun, forecast_trial_cost(state, config, 0))),
        0 => Some((ForecastBasis::OtherTrials, forecast_trial_cost(state, config, 0))),
        1 => {
            let mut cost = Cost::default();
            for rung in 1..=top {
                cost += forecast_trial_cost(state, config, rung);
            }
            Some((ForecastBasis::OneRung, cost))
        }
        _ => None,
    }
}

/// What a forecast was about; none where not all of it was run.
fn measured(costs: &BTreeMap<TrialKey, Cost>, basis: ForecastBasis, key: &TrialKey, top: usize) -> Option<Cost> {
    if basis != ForecastBasis::OneRung {
        return costs.get(key).copied();
    }
    let mut sum = Cost::default();
    for rung in 1..=top {
        sum += *costs.get(&(key.0.clone(), rung, key.2))?;
    }
    Some(sum)
}
