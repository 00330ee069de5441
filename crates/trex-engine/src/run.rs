//! The driver of a run: looks at the folded state, does the next thing, records it, until the run has ended.
//!
//! Every decision is a function of the state, so a run that was killed anywhere goes on where the event log ends and
//! comes to the same result. One thread decides; concurrency lives in the worker processes. Owns the order of things and no algorithm.

mod finish;
mod gates;
mod jobs;
mod ladder;
mod memory;
mod orders;
mod reuse;
mod search;
mod together;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use trex_domain::{
    Clock, DataPort, DeviceChoice, Event, EventLog, Executor, Exporter, GatePolicy, ImportRequest, Memory, Millis,
    ModelFacts, NodeId, OrderDesk, Phase, Researcher, ReviewDesk, ReviewId, RunId, RunState, StoredEvent,
    StrategyRequest, Surveyed, TaskSpec, WorkerEvent,
};
use trex_fs::BlobStore;

use crate::{EngineError, PortError};

pub(crate) use jobs::{ATTEMPTS, job_error as job_failure, train_job};

/// Follows a run as it happens.
pub trait Observer {
    /// An event was recorded; `state` has it applied.
    fn recorded(&mut self, event: &StoredEvent, state: &RunState);

    /// A worker reports; `what` says what it works on. Returning `false` asks the run to stop in an orderly way.
    fn progress(&mut self, what: &str, event: &WorkerEvent, state: &RunState) -> bool;
}

/// The adapters of a run.
#[derive(Debug)]
pub struct Ports<'a, L, D, X, R, E> {
    /// Event log of the workspace.
    pub log: &'a mut L,
    /// Data.
    pub data: &'a D,
    /// Worker processes.
    pub executor: &'a X,
    /// Researcher.
    pub researcher: &'a R,
    /// Exporter.
    pub exporter: &'a E,
}

/// The surroundings of a run.
#[derive(Clone, Debug)]
pub struct RunSettings {
    /// Folder of the workspace.
    pub workspace: PathBuf,
    /// The base model.
    pub model: ModelFacts,
    /// Threads of a worker; workers that run at the same time share them.
    pub threads: usize,
    /// Workers that run at the same time, at least 1.
    pub workers: usize,
    /// What jobs are computed on, where that is not left to the task.
    pub device: Option<DeviceChoice>,
    /// Memory of the machine in bytes; 0 where unknown.
    pub machine_bytes: u64,
    /// Free bytes of the workspace's disk when the program began; 0 where unknown.
    pub disk_bytes: u64,
    /// Optimiser steps between two checkpoints of a trial.
    pub checkpoint_every: usize,
    /// How often other runs of this workspace opened the sealed split of the same task.
    pub final_openings_before: usize,
    /// What is known from other runs and learns from this one; none where that is switched off.
    pub memory: Option<Arc<dyn Memory>>,
    /// Whether a run takes anything from it.
    pub warm_start: bool,
    /// How much a new run decides without a person; all of it where absent. A run that is resumed keeps its own.
    pub gates: Option<GatePolicy>,
    /// Where a person leaves decisions.
    pub desk: Option<Arc<dyn ReviewDesk>>,
    /// Where a person leaves orders about the tree.
    pub orders: Option<Arc<dyn OrderDesk>>,
}

impl RunSettings {
    /// What the jobs of a task are computed on.
    pub(crate) fn device_for(&self, task: &TaskSpec) -> DeviceChoice {
        self.device.unwrap_or(task.device)
    }
}

/// Begins a run of an approved task and carries it to its end.
pub fn start_run<L: EventLog, D: DataPort, X: Executor, R: Researcher, E: Exporter>(
    ports: Ports<'_, L, D, X, R, E>,
    settings: &RunSettings,
    start: NewRun,
    clock: &dyn Clock,
    observer: &mut dyn Observer,
) -> Result<RunState, EngineError> {
    start.task.validate()?;
    start.task.check_trials()?;
    let event = Event::RunStarted {
        task: Box::new(start.task),
        seed: start.seed,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        model: settings.model.hash,
    };
    let gates = settings.gates.clone();
    gates.as_ref().map_or(Ok(()), GatePolicy::validate)?;
    let mut driver = Driver::new(ports, settings, start.id, clock, observer);
    let gates = gates.map(|policy| Event::GatesSet { policy });
    driver.record([event].into_iter().chain(gates).collect())?;
    driver.finish()
}

/// A run to begin.
#[derive(Clone, Debug)]
pub struct NewRun {
    /// Its id.
    pub id: RunId,
    /// The approved task.
    pub task: TaskSpec,
    /// Seed of everything random.
    pub seed: u64,
}

/// Goes on with a run where its event log ends. A run that has ended is left as it is.
pub fn resume_run<L: EventLog, D: DataPort, X: Executor, R: Researcher, E: Exporter>(
    ports: Ports<'_, L, D, X, R, E>,
    settings: &RunSettings,
    run: RunId,
    clock: &dyn Clock,
    observer: &mut dyn Observer,
) -> Result<RunState, EngineError> {
    let mut driver = Driver::new(ports, settings, run, clock, observer);
    let events = driver.ports.log.events(run, 0).map_err(|err| EngineError::Log(PortError::new(err)))?;
    if events.is_empty() {
        return Err(EngineError::UnknownRun { run });
    }
    driver.state = RunState::from_events(&events)?;
    if driver.state.verdict.is_some() {
        return Ok(driver.state);
    }
    if driver.state.model != Some(settings.model.hash) {
        return Err(EngineError::ModelChanged { name: settings.model.name.clone() });
    }
    let times = driver.state.resumed + 1;
    driver.record(vec![Event::RunResumed { times }])?;
    driver.finish()
}

/// A run at work.
struct Driver<'a, L, D, X, R, E> {
    ports: Ports<'a, L, D, X, R, E>,
    settings: &'a RunSettings,
    run: RunId,
    clock: &'a dyn Clock,
    observer: &'a mut dyn Observer,
    state: RunState,
    blobs: BlobStore,
    /// Strategies for which the Researcher has nothing left as the tree stands. Forgotten when the tree grows, so that a
    /// run that is resumed finds the same ones by asking.
    exhausted: BTreeSet<NodeId>,
    /// When this process began or resumed the run.
    began: Millis,
    /// Whether the observer asked to stop.
    stop_asked: bool,
    /// How this process stands with what is known from other runs.
    memory: memory::Progress,
    /// Decisions of a person that this process could not use and has said so.
    passed_over: BTreeSet<ReviewId>,
}

impl<'a, L: EventLog, D: DataPort, X: Executor, R: Researcher, E: Exporter> Driver<'a, L, D, X, R, E> {
    fn new(
        ports: Ports<'a, L, D, X, R, E>,
        settings: &'a RunSettings,
        run: RunId,
        clock: &'a dyn Clock,
        observer: &'a mut dyn Observer,
    ) -> Self {
        let blobs = BlobStore::new(settings.workspace.join("blobs"));
        Self {
            ports,
            settings,
            run,
            clock,
            observer,
            state: RunState::default(),
            blobs,
            exhausted: BTreeSet::new(),
            began: clock.now(),
            stop_asked: false,
            memory: memory::Progress::default(),
            passed_over: BTreeSet::new(),
        }
    }

    fn finish(mut self) -> Result<RunState, EngineError> {
        while self.state.verdict.is_none() {
            // A job that ended before it noticed the request was recorded like any other; nothing new is begun.
            if self.stop_asked {
                return Err(EngineError::Stopped);
            }
            if let Err(err) = self.step() {
                self.leave_word(&err);
                return Err(err);
            }
            self.teach()?;
        }
        Ok(self.state)
    }

    /// Records the error that ends the run, for whoever looks at it later. A stop is no error, and a log that cannot be
    /// written takes no word of it either.
    fn leave_word(&mut self, err: &EngineError) {
        if matches!(err, EngineError::Stopped | EngineError::Log(_)) {
            return;
        }
        // What could not be recorded is still told to whoever started the run.
        self.record(vec![Event::RunFailed(err.to_failure())]).ok();
    }

    /// Appends events in one transaction, then applies and shows them as they came back from the log.
    fn record(&mut self, events: Vec<Event>) -> Result<(), EngineError> {
        if events.is_empty() {
            return Ok(());
        }
        let stored = self.ports.log.append(self.run, self.clock.now(), events);
        for event in stored.map_err(|err| EngineError::Log(PortError::new(err)))? {
            self.state.apply_stored(&event)?;
            self.observer.recorded(&event, &self.state);
        }
        Ok(())
    }

    fn task(&self) -> Result<TaskSpec, EngineError> {
        Ok(self.state.task()?.clone())
    }

    fn enter(&mut self, phase: Phase) -> Result<(), EngineError> {
        self.record(vec![Event::PhaseStarted { phase }])
    }

    /// The next thing to do, by phase. Each either records something or enters the next phase.
    fn step(&mut self) -> Result<(), EngineError> {
        if self.take_order()? || self.await_reviews()? {
            return Ok(());
        }
        match self.state.phase {
            None => self.begin(),
            Some(Phase::Import) => self.import(),
            Some(Phase::Baseline) => self.baseline(),
            Some(Phase::Research) => self.research(),
            Some(Phase::Search) => self.search(),
            Some(Phase::Finalists) => self.finalists(),
            Some(Phase::Final) => self.open_final(),
            Some(Phase::Deliver) => self.deliver(),
        }
    }

    /// Begins with the import, once the task may be begun.
    fn begin(&mut self) -> Result<(), EngineError> {
        self.gate_task()?;
        if self.state.pending_reviews().next().is_some() {
            return Ok(());
        }
        self.enter(Phase::Import)
    }

    fn import(&mut self) -> Result<(), EngineError> {
        if self.state.data.is_some() {
            return self.enter(Phase::Baseline);
        }
        let task = self.task()?;
        let request = ImportRequest { task: &task, seed: self.state.seed };
        let data = self.ports.data.import(request).map_err(|err| EngineError::Data(PortError::new(err)))?;
        self.record(vec![Event::DataImported {
            pool: data.pool,
            search: data.search,
            select: data.select,
            final_: data.final_,
            rows: data.rows,
            seeded_prompts: data.seeded_prompts,
            profiles: data.profiles,
        }])
    }

    fn research(&mut self) -> Result<(), EngineError> {
        if !self.state.nodes.is_empty() {
            return self.enter(Phase::Search);
        }
        if let Some(event) = self.recall()? {
            return self.record(vec![event]);
        }
        let task = self.task()?;
        let profile = self.pool_profile();
        let request =
            StrategyRequest { task: &task, profile: &profile, model: &self.settings.model, state: &self.state };
        if self.state.unsupported_claims.is_none()
            && let Some(found) = self.ports.researcher.survey(request).map_err(EngineError::Researcher)?
        {
            return self.record_survey(found);
        }
        let strategies = self.ports.researcher.strategies(request).map_err(EngineError::Researcher)?;
        let mut events = self.model_calls();
        if strategies.is_empty() {
            self.record(events)?;
            return self.enter(Phase::Search);
        }
        let named = strategies.into_iter().enumerate();
        let named: Vec<_> = named.map(|(index, strategy)| (NodeId::strategy(index + 1), strategy)).collect();
        let questions = self.gate_strategies(&named);
        events.extend(named.into_iter().map(|(node, strategy)| Event::StrategyProposed { node, strategy }));
        events.extend(questions);
        self.record(events)
    }

    /// Records what documents say, with a question about each claim that a person should look at.
    fn record_survey(&mut self, found: Surveyed) -> Result<(), EngineError> {
        let mut events = self.model_calls();
        let questions = self.gate_claims(&found.claims);
        events.push(Event::Surveyed { claims: found.claims, unsupported: found.unsupported });
        events.extend(questions);
        self.record(events)
    }

    /// What the Researcher asked language models since the last time.
    fn model_calls(&self) -> Vec<Event> {
        self.ports.researcher.take_calls().into_iter().map(|call| Event::ModelCalled { call }).collect()
    }

    /// The profile of the training pool: the first of the import.
    fn pool_profile(&self) -> trex_domain::DataProfile {
        let data = self.state.data.as_ref();
        data.and_then(|data| data.profiles.first().cloned()).unwrap_or_default()
    }
}
