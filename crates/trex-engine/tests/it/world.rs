//! A workspace with fakes of all ports, and what the tests compare of a run's end.

use std::collections::BTreeMap;

use trex_domain::{
    Cost, Event, EventLog, Millis, ModelFacts, Researcher, RunState, SearchSettings, SplitSizes, TaskSpec, TrialStatus,
};
use trex_engine::{EngineError, NewRun, Observer, Ports, RunSettings, resume_run, start_run};
use trex_testkit::{FailingLog, SteppingClock, TempWorkspace, hash, run_id};

use crate::fakes::{FakeData, FakeExecutor, FakeExporter, Recorder, Surface};
use crate::researcher::FakeResearcher;

/// Everything that a run needs.
pub(crate) struct World {
    pub(crate) workspace: TempWorkspace,
    pub(crate) log: FailingLog,
    pub(crate) data: FakeData,
    pub(crate) executor: FakeExecutor,
    pub(crate) researcher: FakeResearcher,
    pub(crate) exporter: FakeExporter,
    pub(crate) observer: Recorder,
    pub(crate) settings: RunSettings,
    pub(crate) task: TaskSpec,
    pub(crate) seed: u64,
    clock: SteppingClock,
}

impl World {
    pub(crate) fn new(surface: Surface) -> Self {
        let workspace = TempWorkspace::empty();
        let settings = RunSettings {
            workspace: workspace.path().to_owned(),
            model: model(),
            threads: 1,
            workers: 1,
            device: None,
            machine_bytes: 1 << 34,
            disk_bytes: 0,
            checkpoint_every: 5,
            final_openings_before: 0,
            memory: None,
            warm_start: true,
            gates: None,
            desk: None,
            orders: None,
        };
        Self {
            log: FailingLog::new(),
            data: FakeData::new(workspace.path()),
            executor: FakeExecutor::new(surface),
            researcher: FakeResearcher::real_shape(),
            exporter: FakeExporter::default(),
            observer: Recorder::default(),
            settings,
            task: task(),
            seed: 1,
            clock: SteppingClock::default(),
            workspace,
        }
    }

    /// Forgets the run and all counts, and keeps settings, surface and what lies in the blob folder.
    pub(crate) fn begin_anew(&mut self) {
        trex_fs::remove_dir_all(&self.workspace.path().join("scratch")).unwrap();
        self.log = FailingLog::new();
        self.executor.forget();
        self.observer = Recorder::default();
    }

    pub(crate) fn start(&mut self) -> Result<RunState, EngineError> {
        let researcher = self.researcher.clone();
        self.start_with(&researcher)
    }

    pub(crate) fn start_with(&mut self, researcher: &impl Researcher) -> Result<RunState, EngineError> {
        let start = NewRun { id: run_id(1), task: self.task.clone(), seed: self.seed };
        let ports = Ports {
            log: &mut self.log,
            data: &self.data,
            executor: &self.executor,
            researcher,
            exporter: &self.exporter,
        };
        start_run(ports, &self.settings, start, &self.clock, &mut self.observer)
    }

    pub(crate) fn start_watched_by(&mut self, observer: &mut dyn Observer) -> Result<RunState, EngineError> {
        let start = NewRun { id: run_id(1), task: self.task.clone(), seed: self.seed };
        let ports = Ports {
            log: &mut self.log,
            data: &self.data,
            executor: &self.executor,
            researcher: &self.researcher,
            exporter: &self.exporter,
        };
        start_run(ports, &self.settings, start, &self.clock, observer)
    }

    pub(crate) fn resume(&mut self) -> Result<RunState, EngineError> {
        let ports = Ports {
            log: &mut self.log,
            data: &self.data,
            executor: &self.executor,
            researcher: &self.researcher,
            exporter: &self.exporter,
        };
        resume_run(ports, &self.settings, run_id(1), &self.clock, &mut self.observer)
    }

    /// Starts the run where nothing of it was stored, else goes on with it.
    pub(crate) fn start_or_resume(&mut self) -> Result<RunState, EngineError> {
        if self.events().is_empty() { self.start() } else { self.resume() }
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        let stored = self.log.events(run_id(1), 0).unwrap();
        stored.into_iter().map(|stored| stored.event).collect()
    }

    pub(crate) fn trainings(&self) -> BTreeMap<String, usize> {
        self.executor.trainings.borrow().clone()
    }

    pub(crate) fn num_scorings(&self) -> usize {
        self.executor.scorings.borrow().values().sum()
    }
}

pub(crate) fn model() -> ModelFacts {
    ModelFacts {
        name: "fake".to_owned(),
        dir: "model".into(),
        hash: hash("model"),
        num_parameters: 1_000_000,
        weights_bytes: 4_000_000,
        hidden_size: 64,
        intermediate_size: 128,
        num_layers: 2,
        num_heads: 4,
        num_kv_heads: 2,
        head_dim: 16,
        vocab_size: 1000,
        max_position: 128,
        license: None,
        projections: Vec::new(),
    }
}

/// A task of small splits, so that bootstraps take no time; a plateau so far away that all strategies have their turn.
pub(crate) fn task() -> TaskSpec {
    TaskSpec {
        splits: SplitSizes { search: 36, select: 40, final_: 50 },
        search: SearchSettings { rungs: 2, base_seeds: 3, plateau: 12, ..SearchSettings::default() },
        ..trex_testkit::task()
    }
}

/// The state without what an interruption may change: counts of resumes and attempts, costs and times.
pub(crate) fn settled(state: &RunState) -> RunState {
    let mut state = state.clone();
    (state.seq, state.resumed, state.cost, state.base_cost) = (0, 0, Cost::default(), Cost::default());
    state.cost_by_phase.clear();
    (state.started, state.updated) = (Millis(0), Millis(0));
    for variant in state.variants.values_mut() {
        variant.cost = Cost::default();
    }
    for trial in state.trials.values_mut() {
        trial.attempts = 0;
        (trial.reserved, trial.cost) = (Cost::default(), Cost::default());
        if trial.status != TrialStatus::Failed {
            trial.failure = None;
        }
    }
    state
}
