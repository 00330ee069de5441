//! What a task would take on this machine, before a run begins: the verifier's word on the configuration that it starts
//! from, and times that short jobs on its own rows have measured.
//!
//! Writes into a scratch workspace only, records no event, shows no score, and reads nothing of the sealed split but how many
//! rows it has. It forecasts the task as it stands: what a Researcher proposes may cost more or less.

use std::path::Path;

use serde::Serialize;
use trex_domain::{
    Clock, Cost, DataPort, EvalJob, Executor, ImportRequest, ImportedData, Job, JobControl, JobOutcome, NodeId,
    Operator, PreparedData, PreparedRequest, Recipe, RowForm, TaskKind, TaskSpec, TrainJob, Variant, VariantDiff,
    VariantId, WorkerEvent,
};
use trex_fs::BlobStore;
use trex_search::{PlannedRun, plan_run};

use crate::run::{RunSettings, job_failure};
use crate::verifier::{Proposal, estimate_disk_bytes, estimate_memory_bytes, verify};
use crate::{EngineError, PortError};

/// What a task would take.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Forecast {
    /// Name of the task.
    pub task: String,
    /// Its base model.
    pub model: String,
    /// Rows of pool, search, select and sealed split.
    pub rows: [usize; 4],
    /// Rows to train on, after decontamination.
    pub train_rows: usize,
    /// Memory of a training, beside that of the machine.
    pub memory: Need,
    /// What a trial writes at most, beside what is free.
    pub disk: Need,
    /// Why the verifier would refuse the starting configuration, if it would.
    pub refused: Option<Refused>,
    /// What a person should know.
    pub warnings: Vec<String>,
    /// Time; absent where the verifier refuses, because then nothing was measured.
    pub time: Option<TimeForecast>,
}

/// What is needed and what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Need {
    /// Bytes that are needed, estimated.
    pub needed_bytes: u64,
    /// Bytes that are there; 0 where unknown.
    pub available_bytes: u64,
}

/// The verifier's refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// Stable code of the rule.
    pub code: String,
    /// What is wrong, with which values, and what would help.
    pub reason: String,
}

/// How long it takes, from what was measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct TimeForecast {
    /// Measured seconds of an optimiser step.
    pub step_s: f64,
    /// Measured seconds to score an item.
    pub item_s: f64,
    /// Optimiser steps that were measured.
    pub steps_measured: usize,
    /// Items that were measured.
    pub items_measured: usize,
    /// Seconds of one trial from the first step to its score on the search split.
    pub trial_s: f64,
    /// Trials of a run that takes all of its budget.
    pub trials: usize,
    /// Seconds of such a run.
    pub run_s: f64,
    /// The task's own limit, where it has one; a run ends there.
    pub limit_s: Option<f64>,
}

/// What is forecast, and where.
#[derive(Clone, Copy)]
pub struct ForecastRequest<'a> {
    /// The task.
    pub task: &'a TaskSpec,
    /// Seed of splitting and of the short jobs.
    pub seed: u64,
    /// The surroundings; its workspace is the scratch folder.
    pub settings: &'a RunSettings,
    /// Tells how long the jobs take.
    pub clock: &'a dyn Clock,
    /// Whether to go on; asked at every event of a job.
    pub goes_on: &'a dyn Fn() -> bool,
}

/// Seconds that a measurement is to take, as far as the first step or the first items tell.
const MEASURED_S: f64 = 2.0;

/// Steps of the longer training at least and at most, beyond the first one.
const MORE_STEPS: (usize, usize) = (3, 40);

/// Items of the shorter scoring.
const FIRST_ITEMS: usize = 8;

/// Items of the longer scoring at least and at most, beyond the first ones.
const MORE_ITEMS: (usize, usize) = (24, 400);

/// Imports and prepares the data, asks the verifier, and measures short jobs where it lets them pass.
pub fn forecast<D: DataPort, X: Executor>(
    request: &ForecastRequest<'_>,
    data: &D,
    executor: &X,
) -> Result<Forecast, EngineError> {
    let ForecastRequest { task, seed, settings, clock, .. } = *request;
    let begun = clock.now();
    let imported = data.import(ImportRequest { task, seed }).map_err(|err| EngineError::Data(PortError::new(err)))?;
    let variant = starting_point(task)?;
    let evaluation = [imported.search, imported.select, imported.final_];
    let recipe = &variant.recipe;
    let prepare = PreparedRequest { pool: imported.pool, evaluation: &evaluation, recipe, seed };
    let prepared = data.prepare(prepare).map_err(|err| EngineError::Data(PortError::new(err)))?;
    let data_s = clock.now().secs_since(begun);
    let proposal = Proposal {
        task,
        model: &settings.model,
        variant: &variant,
        data: &prepared,
        forecast: Cost::default(),
        spent: Cost::default(),
        machine_bytes: settings.machine_bytes,
        disk_bytes: settings.disk_bytes,
    };
    let (warnings, refused) = match verify(&proposal) {
        Ok(passed) => (passed.warnings, None),
        Err(no) => (Vec::new(), Some(Refused { code: no.code.to_owned(), reason: no.reason() })),
    };
    let bench = Bench { request, executor, blobs: BlobStore::new(settings.workspace.join("blobs")) };
    let time = match refused {
        None => Some(bench.time(&variant, &prepared, &imported, data_s)?),
        Some(_) => None,
    };
    Ok(Forecast {
        task: task.name.clone(),
        model: settings.model.name.clone(),
        rows: imported.rows,
        train_rows: prepared.rows,
        memory: Need {
            needed_bytes: estimate_memory_bytes(&settings.model, &variant.config, &prepared),
            available_bytes: settings.machine_bytes,
        },
        disk: Need {
            needed_bytes: estimate_disk_bytes(&settings.model, &variant.config),
            available_bytes: settings.disk_bytes,
        },
        refused,
        warnings,
        time,
    })
}

/// The task's own configuration on rows that can be trained on.
fn starting_point(task: &TaskSpec) -> Result<Variant, EngineError> {
    let node: NodeId = "s1.e1".parse()?;
    Ok(Variant {
        id: VariantId::new(&node, 0),
        parent: None,
        diff: VariantDiff::default(),
        why: "the task as it stands".to_owned(),
        recipe: trainable_rows(task),
        config: task.train.clone(),
    })
}

/// What the rows of a task need so that training takes them at all: answers that are valid, none of the evaluation's rows, and
/// pairs where they are to be made.
pub(crate) fn trainable_rows(task: &TaskSpec) -> Recipe {
    let form = task.train.objective.row_form();
    let is_choice = task.kind == TaskKind::Choice;
    let steps = [
        (is_choice && form == RowForm::Answers, Operator::CanonicalAnswer),
        (form != RowForm::Text, Operator::ValidAnswer),
        (true, Operator::Decontaminate { ngram_words: 8, max_overlap: 0.7 }),
        (is_choice && form == RowForm::Pairs, Operator::PreferencePairs),
    ];
    Recipe { operators: steps.into_iter().filter_map(|(is_needed, step)| is_needed.then_some(step)).collect() }
}

/// Seconds of a job with so many units: a part for every job, and a part for every unit.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Line {
    job_s: f64,
    unit_s: f64,
    units: usize,
}

impl Line {
    /// Through two points of units and seconds; through the second alone where they do not differ.
    fn through(short: (usize, f64), long: (usize, f64)) -> Self {
        let more = long.0.saturating_sub(short.0);
        if more == 0 || long.1 <= short.1 {
            return Self { job_s: 0.0, unit_s: long.1 / long.0.max(1) as f64, units: long.0 };
        }
        let unit_s = (long.1 - short.1) / more as f64;
        Self { job_s: (short.1 - unit_s * short.0 as f64).max(0.0), unit_s, units: short.0 + long.0 }
    }

    fn seconds(&self, jobs: usize, units: usize) -> f64 {
        self.job_s * jobs as f64 + self.unit_s * units as f64
    }
}

/// Units beyond the first ones so that both measurements together take about [`MEASURED_S`].
fn more_units(first: usize, first_s: f64, (least, most): (usize, usize)) -> usize {
    let per_unit = (first_s / first.max(1) as f64).max(1e-6);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded, and not negative")]
    let wanted = (MEASURED_S / per_unit).min(most as f64) as usize;
    wanted.max(least)
}

/// Measures by jobs.
struct Bench<'a, X> {
    request: &'a ForecastRequest<'a>,
    executor: &'a X,
    blobs: BlobStore,
}

impl<X: Executor> Bench<'_, X> {
    fn time(
        &self,
        variant: &Variant,
        prepared: &PreparedData,
        imported: &ImportedData,
        data_s: f64,
    ) -> Result<TimeForecast, EngineError> {
        let task = self.request.task;
        let data = self.blobs.path(&prepared.data);
        let search = self.blobs.path(&imported.search);
        let training = self.training(variant, &data, &search)?;
        let scoring = self.scoring(&search, imported.rows[1])?;
        let draws = task.kind == TaskKind::Generate && task.generation.do_sample;
        let plan = plan_run(task, imported.rows, draws || imported.seeded_prompts);
        let full = PlannedRun { trainings: 1, scorings: 1, steps: task.train.max_steps, ..PlannedRun::default() };
        let of = |plan: &PlannedRun| {
            training.seconds(plan.trainings, plan.steps) + scoring.seconds(plan.scorings, plan.items)
        };
        Ok(TimeForecast {
            step_s: training.unit_s,
            item_s: scoring.unit_s,
            steps_measured: training.units,
            items_measured: scoring.units,
            trial_s: of(&PlannedRun { items: imported.rows[1], ..full }),
            trials: plan.trials,
            run_s: data_s + of(&plan),
            limit_s: task.budget.wall_s,
        })
    }

    fn training(&self, variant: &Variant, data: &Path, search: &Path) -> Result<Line, EngineError> {
        let most = variant.config.max_steps;
        let first_s = self.train(variant, data, search, 1)?;
        let steps = (1 + more_units(1, first_s, MORE_STEPS)).min(most);
        let long_s = if steps > 1 { self.train(variant, data, search, steps)? } else { first_s };
        Ok(Line::through((1, first_s), (steps, long_s)))
    }

    /// Seconds of a training that ends after so many steps of the schedule.
    fn train(&self, variant: &Variant, data: &Path, search: &Path, steps: usize) -> Result<f64, EngineError> {
        let ForecastRequest { task, seed, settings, .. } = *self.request;
        let job = TrainJob {
            model_dir: settings.model.dir.clone(),
            data: data.to_owned(),
            config: variant.config.clone(),
            seed,
            total_steps: variant.config.max_steps,
            stop_step: steps,
            resume_from: None,
            resume_config: None,
            init_adapter: variant.config.adapter.clone(),
            scratch_dir: settings.workspace.join("scratch").join(format!("forecast-{steps}")),
            blobs_dir: self.blobs.root().to_owned(),
            checkpoint_every: settings.checkpoint_every,
            threads: settings.threads,
            backend: trex_domain::Backend::Auto,
            device: settings.device_for(task),
            dev: (variant.config.eval_steps > 0).then(|| search.to_owned()),
            micro_batch: None,
        };
        self.seconds("a training of a few steps", &Job::Train(job))
    }

    fn scoring(&self, search: &Path, items: usize) -> Result<Line, EngineError> {
        let first = FIRST_ITEMS.min(items);
        let first_s = self.score(search, first)?;
        let more = (first + more_units(first, first_s, MORE_ITEMS)).min(items);
        let long_s = if more > first { self.score(search, more)? } else { first_s };
        Ok(Line::through((first, first_s), (more, long_s)))
    }

    /// Seconds in which the untouched base is scored on so many items of the search split; the scores are not looked at.
    fn score(&self, search: &Path, take: usize) -> Result<f64, EngineError> {
        let ForecastRequest { task, seed, settings, .. } = *self.request;
        let job = EvalJob {
            model_dir: settings.model.dir.clone(),
            adapter: None,
            items: search.to_owned(),
            take,
            metric: task.metric,
            mode: task.eval_mode(),
            seed,
            blobs_dir: self.blobs.root().to_owned(),
            threads: settings.threads,
            backend: trex_domain::Backend::Auto,
            device: settings.device_for(task),
            precision: task.train.precision,
            quantization: task.train.quantization,
        };
        self.seconds("a scoring of a few items", &Job::Eval(job))
    }

    fn seconds(&self, what: &str, job: &Job) -> Result<f64, EngineError> {
        let mut control = Control { goes_on: self.request.goes_on, stopped: false };
        let begun = self.request.clock.now();
        let outcome = self.executor.run(job, &mut control);
        let took = self.request.clock.now().secs_since(begun);
        match outcome {
            JobOutcome::Trained(_) | JobOutcome::Evaluated(_) => Ok(took),
            _ if control.stopped => Err(EngineError::Stopped),
            outcome => Err(job_failure(what, outcome)),
        }
    }
}

/// Passes the wish to stop on.
struct Control<'a> {
    goes_on: &'a dyn Fn() -> bool,
    stopped: bool,
}

impl JobControl for Control<'_> {
    fn on_event(&mut self, _event: &WorkerEvent) -> bool {
        self.stopped |= !(self.goes_on)();
        !self.stopped
    }
}

#[cfg(test)]
mod tests {
    use trex_domain::TrainObjective;

    use super::*;

    #[test]
    fn rows_become_what_the_objective_trains_on() {
        let names = |kind: TaskKind, objective: TrainObjective| {
            let mut task = trex_testkit::task();
            (task.kind, task.train.objective) = (kind, objective);
            trainable_rows(&task).operators.iter().map(Operator::name).collect::<Vec<_>>()
        };
        let choice = names(TaskKind::Choice, TrainObjective::Sft);
        assert_eq!(choice, ["canonical_answer", "valid_answer", "decontaminate"]);
        assert_eq!(names(TaskKind::Generate, TrainObjective::Sft), ["valid_answer", "decontaminate"]);
        let pairs = names(TaskKind::Choice, TrainObjective::Dpo);
        assert_eq!(pairs, ["valid_answer", "decontaminate", "preference_pairs"]);
        assert_eq!(names(TaskKind::Preference, TrainObjective::Dpo), ["valid_answer", "decontaminate"]);
        assert_eq!(names(TaskKind::Text, TrainObjective::Pretrain), ["decontaminate"]);
    }

    #[track_caller]
    fn check(short: (usize, f64), long: (usize, f64), expected: (f64, f64)) {
        let line = Line::through(short, long);
        let near = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(near(line.job_s, expected.0) && near(line.unit_s, expected.1), "{line:?}");
    }

    #[test]
    fn what_every_job_takes_is_told_from_what_every_unit_takes() {
        check((1, 1.5), (5, 3.5), (1.0, 0.5));
        check((8, 0.1), (32, 0.7), (0.0, 0.025));
        // A clock that says that more work took less time tells of the longer one only.
        check((1, 2.0), (5, 1.0), (0.0, 0.2));
        check((1, 2.0), (1, 2.0), (0.0, 2.0));
    }

    #[test]
    fn slow_models_are_measured_on_few_units_and_fast_ones_on_many() {
        assert_eq!(more_units(1, 30.0, MORE_STEPS), 3);
        assert_eq!(more_units(1, 0.2, MORE_STEPS), 10);
        assert_eq!(more_units(1, 0.0, MORE_STEPS), 40);
    }
}
