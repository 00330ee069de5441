//! What a trial will cost, from what the trials of this run did cost. Knows nothing of the machine beyond that.

use trex_domain::{Cost, RunState, TaskSpec, TrainConfig, TrialKey, VariantRecord};

/// Expected cost of a trial at `rung` that goes on from the rung below, scoring included.
///
/// Linear in examples (optimiser steps × examples per step) with the mean cost per example of all trials so far; zero
/// while there are none.
pub fn forecast_trial_cost(state: &RunState, config: &TrainConfig, rung: usize) -> Cost {
    let Some(task) = &state.task else { return Cost::default() };
    let below = rung.checked_sub(1).map_or(0, |below| task.rung_steps(config.max_steps, below));
    let steps = task.rung_steps(config.max_steps, rung).saturating_sub(below);
    cost_of_examples(state, steps * config.effective_batch_size())
}

/// Expected cost of so many optimiser steps, scoring included.
pub fn forecast_steps_cost(state: &RunState, config: &TrainConfig, steps: usize) -> Cost {
    cost_of_examples(state, steps * config.effective_batch_size())
}

/// Expected cost of a full-fidelity trial from the first step, as a finalist's further seeds need it.
pub fn forecast_full_cost(state: &RunState, config: &TrainConfig) -> Cost {
    cost_of_examples(state, config.max_steps * config.effective_batch_size())
}

fn cost_of_examples(state: &RunState, examples: usize) -> Cost {
    let Some(task) = &state.task else { return Cost::default() };
    let mut spent = Cost::default();
    let (mut done, mut trainings) = (0, 0);
    for record in state.variants.values() {
        let trained = trained_examples(state, task, record);
        if trained > 0 {
            done += trained;
            trainings += finished_trainings(state, record);
            spent += record.cost;
        }
    }
    if done == 0 {
        return Cost::default();
    }
    let share = examples as f64 / done as f64;
    Cost {
        wall_s: spent.wall_s * share,
        cpu_s: spent.cpu_s * share,
        gpu_s: spent.gpu_s * share,
        // A checkpoint is as large after one step as after many.
        disk_bytes: spent.disk_bytes / trainings.max(1),
        // Training asks no remote service and no person.
        ..Cost::default()
    }
}

fn finished_trainings(state: &RunState, record: &VariantRecord) -> u64 {
    let id = &record.variant.id;
    let own = state.trials.range((id.clone(), 0, 0)..=(id.clone(), usize::MAX, u64::MAX));
    own.filter(|(_, trial)| trial.done.is_some()).count() as u64
}

/// Examples that went through the trainer for a variant, over all rungs and seeds.
fn trained_examples(state: &RunState, task: &TaskSpec, record: &VariantRecord) -> usize {
    let id = &record.variant.id;
    let config = &record.variant.config;
    let own = state.trials.range((id.clone(), 0, 0)..=(id.clone(), usize::MAX, u64::MAX));
    let steps = own.filter_map(|((_, rung, seed), trial)| {
        let steps = trial.done.as_ref()?.steps;
        Some(steps.saturating_sub(steps_before(state, task, config, &(id.clone(), *rung, *seed))))
    });
    steps.sum::<usize>() * config.effective_batch_size()
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
