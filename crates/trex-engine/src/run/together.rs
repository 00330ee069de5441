//! Several workers at once: the variants of a batch that wait at the same rung are trained together, then scored together.
//!
//! What was begun is recorded in the order of the batch, and so is what came of it once all are done, so that the result depends
//! on no race. A run that is killed meanwhile finds its trials begun and takes them up together again. Work outside of a batch
//! (the base, further seeds of a finalist, the sealed split) is one job after the other, each on all threads.

use trex_domain::{
    DataPort, DeviceChoice, EvalDone, Event, EventLog, Executor, Exporter, Job, JobOutcome, NodeId, PruneReason,
    Researcher, TrialKey, TrialStatus, WorkerEvent,
};
use trex_search::{BatchStep, explain_step, forecast_trial_cost, waiting_in_batch};

use super::Driver;
use super::jobs::{Begun, Scoring, Split, trial_name};
use crate::EngineError;

/// Share of the machine's memory that workers may take together.
const MEMORY_SHARE: f64 = 0.9;

impl<L: EventLog, D: DataPort, X: Executor, R: Researcher, E: Exporter> Driver<'_, L, D, X, R, E> {
    /// One step of the variants that wait at the lowest rung of a batch, as many as there are workers: their trainings where
    /// some are not done, else their scores on the search split.
    pub(super) fn advance_together(&mut self, node: &NodeId) -> Result<(), EngineError> {
        let (rung, waiting) = waiting_in_batch(&self.state, node);
        let mut keys: Vec<TrialKey> = waiting.into_iter().map(|variant| (variant, rung, 0)).collect();
        keys.truncate(self.workers_for(&keys)?);
        let is_trained =
            |key: &TrialKey| self.state.trials.get(key).is_some_and(|trial| trial.status == TrialStatus::Trained);
        let (trained, untrained): (Vec<_>, Vec<_>) = keys.into_iter().partition(is_trained);
        if untrained.is_empty() { self.score_together(&trained) } else { self.train_together(node, &untrained) }
    }

    /// How many of these trials run at the same time: one on a GPU, and as many as memory holds on the processor.
    fn workers_for(&self, keys: &[TrialKey]) -> Result<usize, EngineError> {
        let device = self.settings.device_for(self.state.task()?);
        if !matches!(device, DeviceChoice::Cpu | DeviceChoice::Auto) {
            return Ok(1);
        }
        let memory = |key: &TrialKey| self.state.variants.get(&key.0).map_or(0, |record| record.memory_bytes);
        let largest = keys.iter().map(memory).max().unwrap_or(0);
        let machine = self.settings.machine_bytes as f64 * MEMORY_SHARE;
        let fit = (1..=self.settings.workers).rev().find(|count| *count as f64 * largest as f64 <= machine);
        let is_known = largest > 0 && self.settings.machine_bytes > 0;
        Ok(if is_known { fit.unwrap_or(1) } else { self.settings.workers }.max(1))
    }

    fn train_together(&mut self, node: &NodeId, keys: &[TrialKey]) -> Result<(), EngineError> {
        let mut begun = Vec::new();
        for key in keys {
            begun.extend(self.begin_within_budget(node, key)?);
        }
        let threads = self.threads_each(begun.len());
        for one in &mut begun {
            one.job.threads = threads;
        }
        let jobs: Vec<(String, Job)> =
            begun.iter().map(|one| (one.what.clone(), Job::Train(one.job.clone()))).collect();
        let outcomes = self.run_jobs(&jobs);
        // What is done is recorded whatever becomes of the others.
        let mut result = Ok(());
        for (one, outcome) in begun.into_iter().zip(outcomes) {
            if self.stop_asked && matches!(outcome, JobOutcome::Failed { .. }) {
                result = result.and(Err(EngineError::Stopped));
                continue;
            }
            result = result.and(self.end_training(one, outcome));
        }
        result
    }

    /// Begins a training, or gives the variant up where the budget does not hold it beside those that run.
    fn begin_within_budget(&mut self, node: &NodeId, key: &TrialKey) -> Result<Option<Begun>, EngineError> {
        let (variant, rung, seed) = key.clone();
        if self.state.trials.contains_key(key) {
            return self.begin_training(key, Vec::new()).map(Some);
        }
        let config = self.state.variants.get(&variant).map(|record| record.variant.config.clone()).unwrap_or_default();
        if self.state.broken_limit(&forecast_trial_cost(&self.state, &config, rung)).is_some() {
            self.record(vec![Event::VariantPruned { variant, reason: PruneReason::Budget }])?;
            return Ok(None);
        }
        let step = BatchStep::Run { variant, rung, seed };
        let chosen = explain_step(&self.state, node, &step).map(Event::ActionChosen).into_iter().collect();
        self.begin_training(key, chosen).map(Some)
    }

    fn score_together(&mut self, keys: &[TrialKey]) -> Result<(), EngineError> {
        let Some(rung) = keys.first().map(|key| key.1) else { return Ok(()) };
        let take = self.state.task()?.rung_items(self.split_len(Split::Search), rung);
        let mut scorings: Vec<(TrialKey, Scoring)> = Vec::new();
        for key in keys {
            let adapter = self.trained(key)?.adapter;
            // Equal weights are scored once: the second of them finds the score of the first in the next step.
            let is_second = scorings.iter().any(|(_, one)| one.adapter == Some(adapter));
            if !is_second && self.known_score(adapter, Split::Search, take).is_none() {
                scorings.push((key.clone(), Scoring { adapter: Some(adapter), split: Split::Search, take, seed: 0 }));
            }
        }
        let threads = self.threads_each(scorings.len());
        let mut jobs = Vec::new();
        for (key, scoring) in &scorings {
            jobs.push((trial_name(key), self.scoring_job(*scoring, threads)?));
        }
        let outcomes = self.run_jobs(&jobs);
        for ((key, scoring), outcome) in scorings.iter().zip(outcomes) {
            if let JobOutcome::Evaluated(done) = outcome {
                self.record_score(key, *scoring, &done)?;
            }
        }
        if self.stop_asked {
            return Ok(());
        }
        // What failed is tried again alone, and what is known needs no worker.
        for key in keys {
            let is_open = self.state.trials.get(key).is_some_and(|trial| trial.status == TrialStatus::Trained);
            if is_open {
                return self.score_trial(key, Split::Search, take, Vec::new());
            }
        }
        Ok(())
    }

    fn record_score(&mut self, key: &TrialKey, scoring: Scoring, done: &EvalDone) -> Result<(), EngineError> {
        let (variant, rung, seed) = key.clone();
        let (score, cost) = self.score_of(scoring, done)?;
        self.record(vec![Event::TrialScored { variant, rung, seed, score, reused: false, cost }])
    }

    fn threads_each(&self, jobs: usize) -> usize {
        (self.settings.threads / jobs.max(1)).max(1)
    }

    /// Runs jobs at the same time and shows the observer what their workers say.
    fn run_jobs(&mut self, jobs: &[(String, Job)]) -> Vec<JobOutcome> {
        let work: Vec<&Job> = jobs.iter().map(|(_, job)| job).collect();
        let (observer, state, mut stopped) = (&mut *self.observer, &self.state, false);
        let outcomes = self.ports.executor.run_all(&work, &mut |place: usize, event: &WorkerEvent| {
            let what = jobs.get(place).map_or("", |(what, _)| what.as_str());
            // One request is enough; what others still say is not shown any more.
            stopped = stopped || !observer.progress(what, event, state);
            !stopped
        });
        self.stop_asked |= stopped;
        outcomes
    }
}
