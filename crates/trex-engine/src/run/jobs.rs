//! Jobs of a run: training a trial, scoring weights on a split, and what to do when a worker fails.

use std::path::PathBuf;

use trex_domain::{
    ContentHash, Continued, Cost, DataPort, EvalDone, EvalJob, Event, EventLog, Executor, Exporter, FailureClass,
    ItemScore, Job, JobControl, JobOutcome, Phase, Researcher, RunState, Score, TaskKind, TrainConfig, TrainDone,
    TrainJob, TrialKey, TrialStatus, WorkerEvent,
};

use trex_fs::BlobStore;

use trex_search::forecast_steps_cost;

use super::{Driver, Observer, RunSettings, reuse};
use crate::EngineError;

/// Times that a trial is tried when its worker dies.
pub(crate) const ATTEMPTS: usize = 3;

/// Marks in the record of an interruption that memory did not suffice.
const OUT_OF_MEMORY: &str = "out of memory: ";

/// The splits by place in the record of the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Split {
    Search,
    Select,
    Final,
}

impl Split {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Search => "search",
            Self::Select => "select",
            Self::Final => "final",
        }
    }

    fn place(self) -> usize {
        match self {
            Self::Search => 1,
            Self::Select => 2,
            Self::Final => 3,
        }
    }
}

/// What to score: weights (the base where absent) on the first `take` items of a split.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scoring {
    pub(super) adapter: Option<ContentHash>,
    pub(super) split: Split,
    pub(super) take: usize,
    pub(super) seed: u64,
}

/// A training that has begun.
pub(super) struct Begun {
    key: TrialKey,
    pub(super) what: String,
    pub(super) job: TrainJob,
    /// The record of earlier deaths of its workers.
    deaths: Option<String>,
}

/// What a trial is called where its worker reports.
pub(super) fn trial_name((variant, rung, seed): &TrialKey) -> String {
    format!("{variant} rung {rung} seed {seed}")
}

/// Hands a worker's events to the observer.
struct Relay<'a> {
    what: &'a str,
    observer: &'a mut dyn Observer,
    state: &'a RunState,
    stopped: bool,
}

impl JobControl for Relay<'_> {
    fn on_event(&mut self, event: &WorkerEvent) -> bool {
        let goes_on = self.observer.progress(self.what, event, self.state);
        self.stopped |= !goes_on;
        goes_on
    }
}

impl<L: EventLog, D: DataPort, X: Executor, R: Researcher, E: Exporter> Driver<'_, L, D, X, R, E> {
    pub(super) fn run_job(&mut self, what: &str, job: &Job) -> Result<JobOutcome, EngineError> {
        let mut relay = Relay { what, observer: &mut *self.observer, state: &self.state, stopped: false };
        let outcome = self.ports.executor.run(job, &mut relay);
        let stopped = relay.stopped;
        self.stop_asked |= stopped;
        if stopped && matches!(outcome, JobOutcome::Failed { .. }) {
            return Err(EngineError::Stopped);
        }
        Ok(outcome)
    }

    /// Items of a split.
    pub(super) fn split_len(&self, split: Split) -> usize {
        self.state.data.as_ref().map_or(0, |data| data.rows[split.place()])
    }

    /// Scores weights. A worker that dies is started again; any other failure ends the run with its reason.
    pub(super) fn score(&mut self, what: &str, scoring: Scoring) -> Result<(Score, Cost), EngineError> {
        let job = self.scoring_job(scoring, self.settings.threads)?;
        let done = self.run_scoring(what, &job)?;
        self.score_of(scoring, &done)
    }

    /// The job of a scoring.
    pub(super) fn scoring_job(&self, scoring: Scoring, threads: usize) -> Result<Job, EngineError> {
        let task = self.state.task()?;
        let blob = self.state.data.as_ref().map(|data| data.blobs[scoring.split.place()]);
        let items = blob.map(|blob| self.blobs.path(&blob)).unwrap_or_default();
        Ok(Job::Eval(EvalJob {
            model_dir: self.settings.model.dir.clone(),
            adapter: scoring.adapter.map(|hash| self.blobs.path(&hash)),
            items,
            take: scoring.take,
            metric: task.metric,
            mode: task.eval_mode(),
            seed: scoring.seed,
            blobs_dir: self.blobs.root().to_owned(),
            threads,
            backend: trex_domain::Backend::Auto,
            device: self.settings.device_for(task),
            precision: task.train.precision,
            quantization: task.train.quantization,
        }))
    }

    /// The score that a scoring came to, with what it cost.
    pub(super) fn score_of(&self, scoring: Scoring, done: &EvalDone) -> Result<(Score, Cost), EngineError> {
        let task = self.state.task()?;
        let scores: Vec<ItemScore> = self.blobs.get_lines(&done.items)?;
        let score = trex_eval::score_of(task.metric, scoring.split.name(), &scores, done.items, self.state.seed)?;
        Ok((score, done.cost))
    }

    /// Runs a scoring; a worker that dies is started again.
    pub(super) fn run_scoring(&mut self, what: &str, job: &Job) -> Result<EvalDone, EngineError> {
        let mut attempt = 1;
        loop {
            match self.run_job(what, job)? {
                JobOutcome::Evaluated(done) => return Ok(done),
                JobOutcome::Failed { class, .. } if class.may_retry() && attempt < ATTEMPTS => attempt += 1,
                outcome => return Err(job_error(what, outcome)),
            }
        }
    }

    /// One step of a trial: its training where that is not done, else its score on the search split. `chosen` says why it is
    /// begun.
    pub(super) fn advance_trial(&mut self, key: &TrialKey, chosen: Vec<Event>) -> Result<(), EngineError> {
        match self.state.trials.get(key).map(|trial| trial.status) {
            None => self.train_trial(key, chosen),
            Some(TrialStatus::Running) => self.train_trial(key, Vec::new()),
            Some(TrialStatus::Trained) => {
                let take = self.task()?.rung_items(self.split_len(Split::Search), key.1);
                self.score_trial(key, Split::Search, take, Vec::new())
            }
            Some(TrialStatus::Scored | TrialStatus::Failed) => Ok(()),
        }
    }

    /// Scores a trained trial, or takes the score of the same weights on the same items.
    ///
    /// A trial whose scoring kills every worker is given up like one whose training does. A winner on the select split
    /// was scored on the search split before; if that fails, it is the machine, and the run ends with the reason. `chosen` is
    /// recorded together with the score.
    pub(super) fn score_trial(
        &mut self,
        key: &TrialKey,
        split: Split,
        take: usize,
        chosen: Vec<Event>,
    ) -> Result<(), EngineError> {
        let (variant, rung, seed) = key.clone();
        let adapter = self.trained(key)?.adapter;
        let known = self.known_score(adapter, split, take);
        let reused = known.is_some();
        let what = trial_name(key);
        let (score, cost) = match known {
            Some(score) => (score, Cost::default()),
            None => match self.score(&what, Scoring { adapter: Some(adapter), split, take, seed: 0 }) {
                Err(EngineError::Job { class, message, .. })
                    if class.may_retry() && (split == Split::Search || seed > 0) =>
                {
                    return self.record(vec![Event::TrialFailed { variant, rung, seed, class, message }]);
                }
                scored => scored?,
            },
        };
        let scored = Event::TrialScored { variant, rung, seed, score, reused, cost };
        self.record(chosen.into_iter().chain([scored]).collect())
    }

    pub(super) fn known_score(&self, adapter: ContentHash, split: Split, take: usize) -> Option<Score> {
        let same_weights =
            self.state.trials.values().filter(|trial| trial.done.as_ref().is_some_and(|done| done.adapter == adapter));
        same_weights.filter_map(|trial| trial.scores.get(split.name())).find(|score| score.n == take).cloned()
    }

    pub(super) fn trained(&self, key: &TrialKey) -> Result<&TrainDone, EngineError> {
        let done = self.state.trials.get(key).and_then(|trial| trial.done.as_ref());
        done.ok_or_else(|| EngineError::NothingToReproduce { node: key.0.to_string() })
    }

    fn train_trial(&mut self, key: &TrialKey, chosen: Vec<Event>) -> Result<(), EngineError> {
        let begun = self.begin_training(key, chosen)?;
        let outcome = self.run_job(&begun.what, &Job::Train(begun.job.clone()))?;
        self.end_training(begun, outcome)
    }

    /// Records that a training begins, with the job to run.
    pub(super) fn begin_training(&mut self, key: &TrialKey, chosen: Vec<Event>) -> Result<Begun, EngineError> {
        let (variant, rung, seed) = key.clone();
        let attempt = self.state.trials.get(key).map_or(0, |trial| trial.attempts) + 1;
        let deaths = self.state.trials.get(key).and_then(|trial| trial.failure.clone());
        let continues = match self.state.trials.get(key) {
            Some(trial) => trial.continues.clone(),
            None => reuse::continued(&self.state, key),
        };
        let reserved = self.reservation(key, continues.as_ref())?;
        let started = Event::TrialStarted { variant: variant.clone(), rung, seed, attempt, continues, reserved };
        self.record(chosen.into_iter().chain([started]).collect())?;
        let name = format!("{variant}-r{rung}-s{seed}");
        let scratch = self.settings.workspace.join("scratch").join(self.run.to_string()).join(name);
        let mut job = train_job(&self.state, key, self.settings, scratch)?;
        job.micro_batch = smaller_micro_batch(&job.config, deaths.as_deref());
        Ok(Begun { key: key.clone(), what: trial_name(key), job, deaths })
    }

    /// Records what came of a training.
    pub(super) fn end_training(&mut self, begun: Begun, outcome: JobOutcome) -> Result<(), EngineError> {
        let Begun { key: (variant, rung, seed), what, job, deaths } = begun;
        let event = match outcome {
            JobOutcome::Trained(done) => Event::TrialTrained { variant, rung, seed, done },
            JobOutcome::Failed { class: class @ FailureClass::DiskFull, code, message, hint } => {
                return Err(EngineError::Job { what, class, code, message, hint });
            }
            // Attempts count deaths of workers only: a run that is resumed often is not to blame.
            JobOutcome::Failed { class, message, .. }
                if class.may_retry() && num_deaths(deaths.as_deref()) + 1 < ATTEMPTS =>
            {
                let cause = if class == FailureClass::OutOfMemory { OUT_OF_MEMORY } else { "" };
                let number = num_deaths(deaths.as_deref()) + 1;
                let message = format!("death {number} of at most {ATTEMPTS}: {cause}{message}");
                Event::TrialInterrupted { variant, rung, seed, class, message }
            }
            JobOutcome::Failed { class, message, .. } => Event::TrialFailed { variant, rung, seed, class, message },
            JobOutcome::Tried(_) | JobOutcome::Evaluated(_) | JobOutcome::Embedded(_) | JobOutcome::Answered(_) => {
                return Err(job_error(&what, outcome));
            }
        };
        let over = !matches!(event, Event::TrialInterrupted { .. });
        self.record(vec![event])?;
        if over {
            trex_fs::remove_dir_all(&job.scratch_dir)?;
        }
        Ok(())
    }

    /// What a trial is expected to cost from where it begins.
    fn reservation(&self, key: &TrialKey, continues: Option<&Continued>) -> Result<Cost, EngineError> {
        let Some(record) = self.state.variants.get(&key.0) else { return Ok(Cost::default()) };
        let config = &record.variant.config;
        let begins = continues.map_or(0, |one| one.steps).max(reuse::steps_below(&self.state, key));
        let steps = self.state.task()?.rung_steps(config.max_steps, key.1).saturating_sub(begins);
        Ok(forecast_steps_cost(&self.state, config, steps))
    }

    /// Scores the untouched base: search on several seeds, select once; then the spread is known.
    pub(super) fn baseline(&mut self) -> Result<(), EngineError> {
        let task = self.task()?;
        let draws = task.kind == TaskKind::Generate && task.generation.do_sample;
        let seeded = draws || self.state.data.as_ref().is_some_and(|data| data.seeded_prompts);
        // Where nothing of the evaluation depends on the seed, further seeds would repeat the same numbers.
        let seeds = if seeded { task.search.base_seeds } else { 1 };
        let wanted = (0..seeds as u64).map(|seed| (Split::Search, seed)).chain([(Split::Select, 0)]);
        for (split, seed) in wanted {
            if self.state.base_scores.contains_key(&(split.name().to_owned(), seed)) {
                continue;
            }
            let what = format!("base on {} seed {seed}", split.name());
            let scoring = Scoring { adapter: None, split, take: self.split_len(split), seed };
            let (score, cost) = self.score(&what, scoring)?;
            return self.record(vec![Event::BaseScored { seed, score, cost }]);
        }
        let scores: Vec<f64> = (0..seeds as u64)
            .filter_map(|seed| self.state.base_scores.get(&("search".to_owned(), seed)))
            .map(|s| s.value)
            .collect();
        let sd = trex_eval::std_dev(&scores);
        let mut events = vec![Event::NoiseMeasured { of: "base".to_owned(), scores, sd }];
        if !seeded {
            let message =
                "the prompt does not depend on a seed, so the base was measured once: its spread over seeds is 0";
            events.push(Event::Warned { code: "run.unseeded_prompt".to_owned(), message: message.to_owned() });
        }
        events.push(Event::PhaseStarted { phase: Phase::Research });
        self.record(events)
    }
}

/// The job of a trial. A rung above the lowest goes on from the checkpoint of the rung below, or from that of another variant
/// which is equal so far.
pub(crate) fn train_job(
    state: &RunState,
    key: &TrialKey,
    settings: &RunSettings,
    scratch_dir: PathBuf,
) -> Result<TrainJob, EngineError> {
    let (variant, rung, seed) = key;
    let nothing = || EngineError::NothingToReproduce { node: variant.to_string() };
    let record = state.variants.get(variant).ok_or_else(nothing)?;
    let data = record.data.ok_or_else(nothing)?;
    let blobs = BlobStore::new(settings.workspace.join("blobs"));
    let continues = state.trials.get(key).and_then(|trial| trial.continues.as_ref());
    let of_another = continues.map(|one| (one.variant.clone(), one.rung, *seed));
    let resume_config =
        continues.and_then(|one| Some(Box::new(state.variants.get(&one.variant)?.variant.config.clone())));
    let below = of_another.or_else(|| rung.checked_sub(1).map(|below| (variant.clone(), below, *seed)));
    let checkpoint = below.and_then(|key| Some(state.trials.get(&key)?.done.as_ref()?.checkpoint));
    let evaluates = record.variant.config.eval_steps > 0;
    Ok(TrainJob {
        model_dir: settings.model.dir.clone(),
        data: blobs.path(&data),
        // Seed numbers of one run must not meet those of the run with the next seed.
        seed: state.seed.wrapping_mul(1000).wrapping_add(*seed),
        total_steps: record.variant.config.max_steps,
        stop_step: state.task()?.rung_steps(record.variant.config.max_steps, *rung),
        config: record.variant.config.clone(),
        resume_from: checkpoint.map(|hash| blobs.path(&hash)),
        resume_config,
        init_adapter: record.variant.config.adapter.clone(),
        scratch_dir,
        blobs_dir: blobs.root().to_owned(),
        checkpoint_every: settings.checkpoint_every,
        threads: settings.threads,
        backend: trex_domain::Backend::Auto,
        device: settings.device_for(state.task()?),
        dev: evaluates
            .then(|| state.data.as_ref().map(|data| blobs.path(&data.blobs[Split::Search.place()])))
            .flatten(),
        micro_batch: None,
    })
}

/// Half the micro-batch for every death of a trial whose last one was a lack of memory; the effective batch stays.
fn smaller_micro_batch(config: &TrainConfig, failure: Option<&str>) -> Option<usize> {
    failure.filter(|text| text.contains(OUT_OF_MEMORY))?;
    Some((config.per_device_train_batch_size >> num_deaths(failure)).max(1))
}

/// How often the workers of a trial have died, as its last interruption says.
fn num_deaths(failure: Option<&str>) -> usize {
    let number = failure.and_then(|text| text.strip_prefix("death ")).and_then(|text| text.split(' ').next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

pub(crate) fn job_error(what: &str, outcome: JobOutcome) -> EngineError {
    let what = what.to_owned();
    match outcome {
        JobOutcome::Failed { class, code, message, hint } => EngineError::Job { what, class, code, message, hint },
        JobOutcome::Trained(_)
        | JobOutcome::Tried(_)
        | JobOutcome::Evaluated(_)
        | JobOutcome::Embedded(_)
        | JobOutcome::Answered(_) => EngineError::Job {
            what,
            class: FailureClass::Config,
            code: "worker.wrong_answer".to_owned(),
            message: "the worker answered another kind of job".to_owned(),
            hint: None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_that_ran_out_of_memory_gets_half_the_micro_batch() {
        let config = TrainConfig { per_device_train_batch_size: 6, ..TrainConfig::default() };
        let check = |failure, expected| assert_eq!(smaller_micro_batch(&config, failure), expected);
        check(None, None);
        check(Some("death 1 of at most 3: the worker died"), None);
        check(Some("death 1 of at most 3: out of memory: the worker died"), Some(3));
        check(Some("death 2 of at most 3: out of memory: the worker died"), Some(1));
    }
}
