//! What a run has before it, counted from its task alone: trials, optimiser steps, scored items. Knows no time;
//! whoever has measured a step and an item can say how long it takes.

use trex_domain::TaskSpec;

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
    let mut repeats_left = 2 * seeds;
    while let Some(variants) = widest_batch(task, task.budget.trials.saturating_sub(plan.trials), repeats_left) {
        plan.batch(task, variants, search);
        plan.score(1, select);
        if repeats_left > seeds {
            plan.repeats(task, seeds, select);
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
