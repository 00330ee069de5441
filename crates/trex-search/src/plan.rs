//! What a run has before it, counted from its task: trials, optimiser steps, scored items; and how wide its next batch may be.
//! Knows no time; whoever has measured a step and an item can say how long it takes.

use trex_domain::{NodeRecord, NodeState, RunState, TaskSpec};

use crate::forecast_trial_cost;

/// The work of a run that takes every trial of its budget, in batches as wide as they may be, and ends none early.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlannedRun {
    /// Trials.
    pub trials: usize,
    /// Trainings, each a process of its own.
    pub trainings: usize,
    /// Scorings, each a process of its own.
    pub scorings: usize,
    /// Optimiser steps of all trainings.
    pub steps: usize,
    /// Items of all scorings.
    pub items: usize,
}

/// Counts what [`crate::next_in_batch`] and the phases around the search come to. A Researcher who
/// proposes narrower batches shifts some work from the low rungs to the top. `rows` are those of pool, search,
/// select and sealed split; `seeded` says whether the base is scored on several seeds.
pub fn plan_run(task: &TaskSpec, rows: [usize; 4], seeded: bool) -> PlannedRun {
    let [_, search, select, final_] = rows;
    let mut plan = PlannedRun::default();
    let base_seeds = if seeded { task.search.base_seeds } else { 1 };
    plan.score(base_seeds, search);
    plan.score(1, select);
    let seeds = task.search.finalist_seeds;
    // The first winner is repeated for the spread, the finalist for the verdict.
    let mut repeats_left = task.search.noise_seeds() + seeds;
    while let Some(variants) = widest_batch(task, task.budget.trials.saturating_sub(plan.trials), repeats_left) {
        plan.batch(task, variants, search);
        plan.score(1, select);
        if repeats_left > seeds {
            plan.repeats(task, task.search.noise_seeds(), select);
            repeats_left = seeds;
        }
    }
    if plan.trials > 0 {
        plan.repeats(task, seeds.min(task.budget.trials.saturating_sub(plan.trials)), select);
    }
    // The base, and all trainings of the finalist, if there is one.
    plan.score(if plan.trials > 0 { 2 + seeds } else { 1 }, final_);
    plan
}

/// How many variants the next batch may have so that it can be carried to the top rung, repeats for seeds included; 0 where not
/// even one may begin. Trials that a batch under way may still take are not given away a second time.
pub fn affordable_variants(state: &RunState) -> usize {
    let Some(task) = &state.task else { return 0 };
    if state.broken_limit(&forecast_trial_cost(state, &task.train, 0)).is_some() {
        return 0;
    }
    let under_way: usize = state.nodes.values().map(|node| trials_ahead(state, task, node)).sum();
    let left = task.budget.trials.saturating_sub(state.trials.len() + under_way);
    // The first winner is repeated for the noise floor, what is taken to the sealed split as finalist.
    let is_trained_noise_known = state.noise.iter().any(|(of, ..)| of != "base");
    let floor = if is_trained_noise_known { 0 } else { task.search.noise_seeds() };
    let repeats = floor + task.search.finalist_seeds;
    widest_batch(task, left, repeats).unwrap_or(0)
}

/// The most trials that an experiment which is not through may still begin.
fn trials_ahead(state: &RunState, task: &TaskSpec, node: &NodeRecord) -> usize {
    if node.finished || node.strategy.is_some() {
        return 0;
    }
    let is_in = |id: &&trex_domain::VariantId| {
        let record = state.variants.get(*id);
        record.is_some_and(|record| !matches!(record.state, NodeState::Rejected | NodeState::Cached))
    };
    let begun = state.trials.keys().filter(|(variant, _, seed)| *seed == 0 && node.variants.contains(variant)).count();
    batch_trials(task, node.variants.iter().filter(is_in).count()).saturating_sub(begun)
}

/// The most variants of a batch that can go to the top rung and still leave room for the repeats.
fn widest_batch(task: &TaskSpec, left: usize, repeats: usize) -> Option<usize> {
    (1..=task.search.batch).rev().find(|variants| batch_trials(task, *variants) + repeats <= left)
}

fn batch_trials(task: &TaskSpec, variants: usize) -> usize {
    at_rungs(task, variants).sum()
}

/// Variants of a batch that reach each rung.
fn at_rungs(task: &TaskSpec, variants: usize) -> impl Iterator<Item = usize> {
    let eta = task.search.eta;
    std::iter::successors(Some(variants), move |variants| Some(variants.div_ceil(eta))).take(task.search.rungs)
}

impl PlannedRun {
    fn score(&mut self, times: usize, items: usize) {
        self.scorings += times;
        self.items += times * items;
    }

    fn batch(&mut self, task: &TaskSpec, variants: usize, search: usize) {
        let mut below = 0;
        for (rung, variants) in at_rungs(task, variants).enumerate() {
            let steps = task.rung_steps(task.train.max_steps, rung);
            self.trials += variants;
            self.trainings += variants;
            self.steps += variants * steps.saturating_sub(below);
            self.score(variants, task.rung_items(search, rung));
            below = steps;
        }
    }

    /// Full trainings on further seeds.
    fn repeats(&mut self, task: &TaskSpec, seeds: usize, select: usize) {
        self.trials += seeds;
        self.trainings += seeds;
        self.steps += seeds * task.train.max_steps;
        self.score(seeds, select);
    }
}
