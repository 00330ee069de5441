//! What a trial will cost, from what the dry runs and the trials of this run did cost. Knows nothing of the machine beyond
//! that.
//!
//! A trial is a training and a scoring. Each opens the model, which takes the same however much is done with it; beyond that
//! a training takes so much for an example and a scoring so much for an item. What opening takes is measured by dry runs. An
//! example costs what it did in trials with the same settings, else in all trials of the run, else in the micro-batch of the
//! dry run; an item what it did in scorings of variants, else of the base.

mod check;

pub use check::{CheckedForecast, ForecastBasis, checked_forecasts};
use trex_domain::{Cost, DryRunDone, RunState, TaskSpec, TrainConfig, TrialKey, VariantRecord, dry_run_shape};

/// Share of what was measured that is never taken for the opening.
const LEAST_WORK: f64 = 0.1;

/// Expected cost of a trial at `rung` that goes on from the rung below, scoring included; zero before anything was measured.
pub fn forecast_trial_cost(state: &RunState, config: &TrainConfig, rung: usize) -> Cost {
    let Some(task) = &state.task else { return Cost::default() };
    let below = rung.checked_sub(1).map_or(0, |below| task.rung_steps(config.max_steps, below));
    let steps = task.rung_steps(config.max_steps, rung).saturating_sub(below);
    cost_of(state, config, steps, task.rung_items(split_len(state, 1), rung))
}

/// Expected cost of so many optimiser steps and a scoring as at the lowest rung that has as many.
pub fn forecast_steps_cost(state: &RunState, config: &TrainConfig, steps: usize) -> Cost {
    let Some(task) = &state.task else { return Cost::default() };
    let rung = (0..task.top_rung()).find(|rung| task.rung_steps(config.max_steps, *rung) >= steps);
    cost_of(state, config, steps, task.rung_items(split_len(state, 1), rung.unwrap_or(task.top_rung())))
}

/// Expected cost of a full-fidelity trial from the first step, as a finalist's further seeds need it: scored on the select
/// split.
pub fn forecast_full_cost(state: &RunState, config: &TrainConfig) -> Cost {
    cost_of(state, config, config.max_steps, split_len(state, 2))
}

/// Rows of pool, search, select or final.
fn split_len(state: &RunState, place: usize) -> usize {
    state.data.as_ref().map_or(0, |data| data.rows[place])
}

fn cost_of(state: &RunState, config: &TrainConfig, steps: usize, items: usize) -> Cost {
    let opening = Opening::of(state, config);
    let Some(per_example) = per_example(state, config, &opening) else { return Cost::default() };
    let mut cost = per_example.times((steps * config.effective_batch_size()) as f64);
    cost += opening.training();
    cost += opening.load;
    cost += per_item(state, &opening).times(items as f64);
    // A checkpoint is as large after one step as after many. Training asks no remote service and no person.
    cost.disk_bytes = disk_of_training(state);
    cost
}

/// Bytes that a training leaves on the disk, the mean of all.
fn disk_of_training(state: &RunState) -> u64 {
    let (mut sum, mut count) = (0, 0);
    for done in state.trials.values().filter_map(|trial| trial.done.as_ref()) {
        sum += done.cost.disk_bytes;
        count += 1;
    }
    sum / count.max(1)
}

/// What it takes until work begins.
#[derive(Clone, Copy, Debug, Default)]
struct Opening {
    load: Cost,
    encoding: Cost,
}

impl Opening {
    /// That of the dry run which stands for a variant with these settings, else the mean of all.
    fn of(state: &RunState, config: &TrainConfig) -> Self {
        let (mut sum, mut count) = (Self::default(), 0);
        for done in dry_runs(state, config) {
            sum.load += done.load;
            sum.encoding += done.encoding;
            count += 1;
        }
        let share = 1.0 / f64::from(count.max(1));
        Self { load: sum.load.times(share), encoding: sum.encoding.times(share) }
    }

    fn training(&self) -> Cost {
        let mut cost = self.load;
        cost += self.encoding;
        cost
    }
}

/// Dry runs that stand for variants with these settings, else all of them.
fn dry_runs<'a>(state: &'a RunState, config: &TrainConfig) -> Vec<&'a DryRunDone> {
    let of_variant = |record: &VariantRecord| {
        let shape = dry_run_shape(&state.model?, &record.data?, config).ok()?;
        state.dry_runs.get(&shape)
    };
    let alike = state.variants.values().filter(|record| record.variant.config == *config);
    let own: Vec<&DryRunDone> = alike.filter_map(of_variant).collect();
    if own.is_empty() { state.dry_runs.values().collect() } else { own }
}

/// What an example costs in training; `None` before anything was measured.
fn per_example(state: &RunState, config: &TrainConfig, opening: &Opening) -> Option<Cost> {
    let task = state.task.as_ref()?;
    let has_settings = |record: &&VariantRecord| record.variant.config == *config;
    let (alike, all) = (state.variants.values().filter(has_settings), state.variants.values());
    let measured = trained(state, task, alike).or_else(|| trained(state, task, all));
    if let Some((examples, trainings, cost)) = measured {
        return Some(work(cost, opening.training().times(trainings)).times(1.0 / examples));
    }
    let dry: Vec<&DryRunDone> = dry_runs(state, config);
    let share = 1.0 / dry.len() as f64;
    let mut mean = Cost::default();
    for done in &dry {
        mean += done.per_row().times(share);
    }
    (!dry.is_empty()).then_some(mean)
}

/// What is left of a cost when what came before the work is taken off.
fn work(cost: Cost, before: Cost) -> Cost {
    let (left, least) = (cost.without(&before), cost.times(LEAST_WORK));
    Cost {
        wall_s: left.wall_s.max(least.wall_s),
        cpu_s: left.cpu_s.max(least.cpu_s),
        gpu_s: left.gpu_s.max(least.gpu_s),
        ..Cost::default()
    }
}

/// Examples, trainings and their cost, over all rungs and seeds; `None` where nothing was trained.
fn trained<'a>(
    state: &RunState,
    task: &TaskSpec,
    records: impl Iterator<Item = &'a VariantRecord>,
) -> Option<(f64, f64, Cost)> {
    let (mut examples, mut trainings, mut cost) = (0, 0.0, Cost::default());
    for record in records {
        let (id, config) = (&record.variant.id, &record.variant.config);
        for (key, trial) in state.trials.range((id.clone(), 0, 0)..=(id.clone(), usize::MAX, u64::MAX)) {
            let Some(done) = &trial.done else { continue };
            let steps = done.steps.saturating_sub(steps_before(state, task, config, key));
            examples += steps * config.effective_batch_size();
            trainings += 1.0;
            cost += done.cost;
        }
    }
    (examples > 0).then_some((examples as f64, trainings, cost))
}

/// What an item costs in scoring.
fn per_item(state: &RunState, opening: &Opening) -> Cost {
    let (mut items, mut scorings, mut cost) = (0, 0.0, Cost::default());
    for trial in state.trials.values() {
        items += trial.scores.values().map(|score| score.n).sum::<usize>();
        scorings += trial.scores.len() as f64;
    }
    for record in state.variants.values() {
        let id = &record.variant.id;
        let own = state.trials.range((id.clone(), 0, 0)..=(id.clone(), usize::MAX, u64::MAX));
        let mut training = Cost::default();
        for done in own.filter_map(|(_, trial)| trial.done.as_ref()) {
            training += done.cost;
        }
        cost += record.cost.without(&training);
    }
    if items == 0 {
        items = state.base_scores.values().map(|score| score.n).sum();
        scorings = state.base_scores.len() as f64;
        cost = state.base_cost;
    }
    work(cost, opening.load.times(scorings)).times(1.0 / items.max(1) as f64)
}

/// Steps that a trial inherited from the rung below, or from another variant.
fn steps_before(state: &RunState, task: &TaskSpec, config: &TrainConfig, key: &TrialKey) -> usize {
    if let Some(continues) = state.trials.get(key).and_then(|trial| trial.continues.as_ref()) {
        return continues.steps;
    }
    let Some(below) = key.1.checked_sub(1) else { return 0 };
    let trial = state.trials.get(&(key.0.clone(), below, key.2));
    trial.and_then(|trial| trial.done.as_ref()).map_or(0, |_| task.rung_steps(config.max_steps, below))
}
