//! Fakes of data, workers, exporter and observer. Scores come from a surface, but are written as real item blobs.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rand::RngExt as _;
use serde::{Deserialize, Serialize};
use trex_domain::{
    ContentHash, Cost, DataPort, DataProfile, DryRunDone, ErrorClass, EvalDone, EvalJob, Event, Example, Executor,
    ExportRequest, Exporter, FailureClass, ImportRequest, ImportedData, ItemScore, Job, JobControl, JobOutcome,
    Message, MetricPoint, Operator, Origin, PreparedData, PreparedRequest, Problem, RunState, StoredEvent, TrainConfig,
    TrainDone, TrainJob, WorkerEvent, seeded_rng,
};
use trex_engine::Observer;
use trex_fs::BlobStore;

/// Learning rate at and above which a training diverges on every surface.
pub(crate) const DIVERGES: f64 = 0.5;

/// A pattern that the data fake refuses as a real one refuses a broken expression.
pub(crate) const BROKEN_PATTERN: &str = "(";

/// How good trained weights are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Surface {
    /// As good as the base, all of them.
    Null,
    /// Depends on learning rate, steps and recipe, by up to so much.
    Effect(f64),
}

const BASE_QUALITY: f64 = 0.45;

/// Width of the luck of one model on one item. What is left is the item's difficulty, equal for all models.
const LUCK: f64 = 0.3;

impl Surface {
    /// The expected share of right answers.
    fn quality(self, adapter: Option<&Adapter>) -> f64 {
        let (Self::Effect(size), Some(adapter)) = (self, adapter) else { return BASE_QUALITY };
        let distance = (adapter.config.learning_rate / 1e-3).ln();
        let near = (-distance * distance / 2.0).exp();
        let cleaned = if adapter.data.contains("exact_dedup") { 1.0 } else { 0.0 };
        let share = adapter.stop_step as f64 / adapter.total_steps as f64;
        BASE_QUALITY + size * share.sqrt() * (0.8 * near + 0.2 * cleaned)
    }
}

/// The content of a fake adapter: all that its training depended on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Adapter {
    config: TrainConfig,
    data: String,
    seed: u64,
    stop_step: usize,
    total_steps: usize,
}

/// An error of a fake.
#[derive(Debug, thiserror::Error)]
#[error("{code} here")]
pub(crate) struct FakeError {
    code: &'static str,
    class: ErrorClass,
}

impl Problem for FakeError {
    fn code(&self) -> &'static str {
        self.code
    }

    fn class(&self) -> ErrorClass {
        self.class
    }
}

/// Data of as many rows as the task's splits ask for; what a recipe prepares is the list of its operators.
#[derive(Debug)]
pub(crate) struct FakeData {
    blobs: BlobStore,
    pub(crate) seeded_prompts: bool,
    /// The next preparation fails for want of room.
    pub(crate) is_full: Cell<bool>,
}

impl FakeData {
    pub(crate) fn new(workspace: &Path) -> Self {
        Self { blobs: BlobStore::new(workspace.join("blobs")), seeded_prompts: true, is_full: Cell::new(false) }
    }

    fn rows(&self, split: &str, seed: u64, count: usize) -> ContentHash {
        let row = |row: usize| Example {
            id: format!("{split}/{seed}/{row}"),
            prompt: vec![Message::user(format!("row {row}"))],
            answer: "positive".to_owned(),
            options: vec!["positive".to_owned(), "negative".to_owned()],
            group: None,
            rejected: None,
            origin: Origin::default(),
        };
        put_lines(&self.blobs, &(0..count).map(row).collect::<Vec<_>>())
    }
}

const POOL_ROWS: usize = 20;

impl DataPort for FakeData {
    type Error = FakeError;

    fn import(&self, request: ImportRequest<'_>) -> Result<ImportedData, FakeError> {
        let sizes = request.task.splits;
        let rows = [POOL_ROWS, sizes.search, sizes.select, sizes.final_];
        let blob = |split, count| self.rows(split, request.seed, count);
        Ok(ImportedData {
            pool: blob("pool", rows[0]),
            search: blob("search", rows[1]),
            select: blob("select", rows[2]),
            final_: blob("final", rows[3]),
            rows,
            seeded_prompts: self.seeded_prompts,
            profiles: vec![DataProfile { name: "pool".to_owned(), ..DataProfile::default() }],
        })
    }

    fn prepare(&self, request: PreparedRequest<'_>) -> Result<PreparedData, FakeError> {
        if self.is_full.take() {
            return Err(FakeError { code: "fake.disk_full", class: ErrorClass::Resource });
        }
        let is_broken = |step: &Operator| matches!(step, Operator::RegexDrop { pattern } if pattern == BROKEN_PATTERN);
        if request.recipe.operators.iter().any(is_broken) {
            return Err(FakeError { code: "fake.bad_recipe", class: ErrorClass::Permanent });
        }
        // Rows are normal already, so that operator changes no byte.
        let changing = request.recipe.operators.iter().filter(|step| **step != Operator::Normalise);
        let steps: Vec<&Operator> = changing.collect();
        let is_empty = steps.contains(&&Operator::Cap { rows: 0 });
        let labels = if is_empty { Vec::new() } else { ["negative", "positive"].map(String::from).to_vec() };
        Ok(PreparedData {
            data: put_lines(&self.blobs, &[(request.pool, steps)]),
            rows: POOL_ROWS,
            labels,
            longest_chars: 90,
            mean_chars: 60.0,
            leaked: 0,
            pairs: 0,
            texts: 0,
            ledger: trex_testkit::ledger(POOL_ROWS, POOL_ROWS),
        })
    }
}

/// Decides how a job fails, if it does, by its name ("s1.e1.a-r0-s0" for a training, "search 3e-4" or "final base" for a scoring) and by how often
/// that name came before.
pub(crate) type Fate = Box<dyn Fn(&str, usize) -> Option<FailureClass>>;

/// Workers in this process.
pub(crate) struct FakeExecutor {
    pub(crate) surface: Surface,
    pub(crate) fate: Fate,
    /// How often each training was asked for, by variant, rung and seed.
    pub(crate) trainings: RefCell<BTreeMap<String, usize>>,
    /// How often each scoring was asked for.
    pub(crate) scorings: RefCell<BTreeMap<String, usize>>,
    /// Whether trainings that succeed leave a checkpoint behind, too, as real ones do. Costs the tests much time.
    pub(crate) always_checkpoints: bool,
    /// How often the fate was asked about each name.
    asked: RefCell<BTreeMap<String, usize>>,
    /// Trainings that went on from a checkpoint in their scratch folder.
    pub(crate) continued: RefCell<Vec<String>>,
    /// What a dry run says of memory.
    pub(crate) peak_rss_bytes: Cell<u64>,
    /// All jobs in order.
    pub(crate) jobs: RefCell<Vec<Job>>,
}

impl FakeExecutor {
    pub(crate) fn new(surface: Surface) -> Self {
        Self {
            surface,
            fate: Box::new(|_, _| None),
            trainings: RefCell::default(),
            scorings: RefCell::default(),
            always_checkpoints: false,
            asked: RefCell::default(),
            continued: RefCell::default(),
            peak_rss_bytes: Cell::new(1 << 20),
            jobs: RefCell::default(),
        }
    }

    /// Forgets all jobs, with what happened to them.
    pub(crate) fn forget(&self) {
        for counts in [&self.trainings, &self.scorings, &self.asked] {
            counts.borrow_mut().clear();
        }
        self.continued.borrow_mut().clear();
        self.jobs.borrow_mut().clear();
    }

    fn misfortune(&self, name: &str) -> Option<FailureClass> {
        (self.fate)(name, count(&self.asked, name))
    }

    fn train(&self, job: &TrainJob, control: &mut dyn JobControl) -> JobOutcome {
        let name = file_name(&job.scratch_dir);
        count(&self.trainings, &name);
        let checkpoint = job.scratch_dir.join("checkpoint");
        if checkpoint.is_file() {
            self.continued.borrow_mut().push(name.clone());
        }
        if self.always_checkpoints {
            leave_checkpoint(&checkpoint);
        }
        let half = WorkerEvent::Checkpoint { step: job.stop_step / 2 };
        let goes_on = control.on_event(&WorkerEvent::Heartbeat) && control.on_event(&half);
        let misfortune = if goes_on { self.misfortune(&name) } else { Some(FailureClass::Cancelled) };
        if let Some(class) = misfortune {
            leave_checkpoint(&checkpoint);
            return failed(class);
        }
        if job.config.learning_rate >= DIVERGES {
            return failed(FailureClass::Diverged);
        }
        let done = trained(job);
        control.on_event(&WorkerEvent::Trained(done.clone()));
        JobOutcome::Trained(done)
    }

    /// Fails by the name of the first trial with "dry " before it.
    fn try_out(&self, job: &TrainJob) -> JobOutcome {
        let name = file_name(&job.scratch_dir).replace("-dry", "");
        if let Some(class) = self.misfortune(&format!("dry {name}")) {
            return failed(class);
        }
        JobOutcome::Tried(DryRunDone {
            rows: 10,
            row_tokens: 100,
            row_supervised: 20,
            truncated: 0,
            micro_batch_rows: job.config.per_device_train_batch_size,
            loss: 2.0,
            peak_rss_bytes: self.peak_rss_bytes.get(),
            load: Cost::default(),
            encoding: Cost::default(),
            micro_batch: Cost::default(),
            cost: Cost { cpu_s: 0.05, ..Cost::default() },
        })
    }

    fn score(&self, job: &EvalJob, control: &mut dyn JobControl) -> JobOutcome {
        // An exported folder holds the adapter under the exporter's name.
        let file = |path: &PathBuf| if path.is_dir() { path.join("adapter") } else { path.clone() };
        let content = job.adapter.as_ref().map(|path| trex_fs::read(&file(path)).unwrap());
        let adapter: Option<Adapter> = content.as_ref().map(|bytes| serde_json::from_slice(bytes).unwrap());
        let items: Vec<Example> = trex_fs::read_lines(&job.items).unwrap();
        let split = items[0].id.split('/').next().unwrap_or_default().to_owned();
        let who = adapter.as_ref().map_or_else(|| "base".to_owned(), |one| one.config.learning_rate.to_string());
        let weights = content.map_or_else(|| "base".to_owned(), |bytes| ContentHash::of_bytes(&bytes).to_string());
        count(&self.scorings, &format!("{split} {who} {weights} {} {}", job.take, job.seed));
        if !control.on_event(&WorkerEvent::Heartbeat) {
            return failed(FailureClass::Cancelled);
        }
        if let Some(class) = self.misfortune(&format!("{split} {who}")) {
            return failed(class);
        }
        let scores =
            scores(&items[..job.take], self.surface.quality(adapter.as_ref()), &format!("{weights}/{}", job.seed));
        let items = put_lines(&BlobStore::new(&job.blobs_dir), &scores);
        let done = EvalDone { items, n: scores.len(), cost: Cost { cpu_s: 0.1, ..Cost::default() } };
        control.on_event(&WorkerEvent::Evaluated(done.clone()));
        JobOutcome::Evaluated(done)
    }
}

impl Executor for FakeExecutor {
    fn run(&self, job: &Job, control: &mut dyn JobControl) -> JobOutcome {
        self.jobs.borrow_mut().push(job.clone());
        match job {
            Job::Train(job) => self.train(job, control),
            Job::DryRun(job) => self.try_out(job),
            Job::Eval(job) => self.score(job, control),
            Job::Embed(_) | Job::Answer(_) => panic!("a run makes no vectors and asks no model by itself"),
        }
    }
}

/// Writes a blob where the engine looks for it. The real store waits for the disk, which takes most of a test's time.
fn put(blobs: &BlobStore, content: &[u8]) -> ContentHash {
    let name = ContentHash::of_bytes(content);
    if !blobs.contains(&name) {
        std::fs::create_dir_all(blobs.path(&name).parent().unwrap()).unwrap();
        std::fs::write(blobs.path(&name), content).unwrap();
    }
    name
}

fn put_lines<T: Serialize>(blobs: &BlobStore, values: &[T]) -> ContentHash {
    let lines: Vec<String> = values.iter().map(|value| serde_json::to_string(value).unwrap() + "\n").collect();
    put(blobs, lines.concat().as_bytes())
}

/// Counts one more and returns how many there were before.
fn count(counts: &RefCell<BTreeMap<String, usize>>, name: &str) -> usize {
    let mut counts = counts.borrow_mut();
    let count = counts.entry(name.to_owned()).or_default();
    *count += 1;
    *count - 1
}

fn failed(class: FailureClass) -> JobOutcome {
    let message = format!("{class:?} in a fake");
    JobOutcome::Failed { class, code: "fake.failed".to_owned(), message, hint: None }
}

fn leave_checkpoint(path: &Path) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, "half of the steps").unwrap();
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

fn trained(job: &TrainJob) -> TrainDone {
    if let Some(checkpoint) = &job.resume_from {
        assert!(checkpoint.is_file(), "the checkpoint of the lower rung is gone");
    }
    let adapter = Adapter {
        config: job.config.clone(),
        data: trex_fs::read_to_string(&job.data).unwrap(),
        seed: job.seed,
        stop_step: job.stop_step,
        total_steps: job.total_steps,
    };
    let content = serde_json::to_vec(&adapter).unwrap();
    let blobs = BlobStore::new(&job.blobs_dir);
    let point = |step: usize| MetricPoint {
        step,
        loss: 1.0 / step as f64,
        learning_rate: 1e-3,
        grad_norm: 1.0,
        ..MetricPoint::default()
    };
    TrainDone {
        adapter: put(&blobs, &content),
        checkpoint: put(&blobs, &[b"checkpoint of ", content.as_slice()].concat()),
        steps: job.stop_step,
        curve: (1..=job.stop_step).map(point).collect(),
        tokens: 100,
        supervised_tokens: 10,
        truncated: 0,
        peak_rss_bytes: 1 << 20,
        cost: Cost { cpu_s: 0.5, ..Cost::default() },
    }
}

/// Whether each item is right: its difficulty is the same for every model, the luck is the model's own.
fn scores(items: &[Example], quality: f64, model: &str) -> Vec<ItemScore> {
    let split = items[0].id.rsplit_once('/').unwrap().0;
    let mut difficulties = seeded_rng(0, &format!("difficulty/{split}"));
    let mut luck = seeded_rng(0, &format!("luck/{split}/{model}"));
    let score = |item: &Example| {
        let strength = quality + LUCK * (luck.random::<f64>() - 0.5);
        let is_right = strength > difficulties.random::<f64>();
        let predicted = if is_right { "positive" } else { "negative" };
        ItemScore {
            id: item.id.clone(),
            predicted: predicted.to_owned(),
            gold: item.answer.clone(),
            score: if is_right { 1.0 } else { 0.0 },
            gold_logprob: None,
            gold_prob: None,
        }
    };
    items.iter().map(score).collect()
}

/// Copies the adapter, or another one in its place.
#[derive(Debug, Default)]
pub(crate) struct FakeExporter {
    pub(crate) spoils: bool,
    pub(crate) exported: RefCell<Vec<PathBuf>>,
}

impl Exporter for FakeExporter {
    fn export(&self, request: ExportRequest<'_>) -> Result<(), Box<dyn Problem + Send + Sync>> {
        std::fs::create_dir_all(request.out).unwrap();
        let mut adapter: Adapter = serde_json::from_slice(&trex_fs::read(request.adapter).unwrap()).unwrap();
        if self.spoils {
            adapter.config.learning_rate = 1e-7;
        }
        std::fs::write(request.out.join("adapter"), serde_json::to_vec(&adapter).unwrap()).unwrap();
        self.exported.borrow_mut().push(request.out.to_owned());
        Ok(())
    }
}

/// Writes down what it is shown and asks to stop once, at the progress with the given number.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    pub(crate) events: Vec<Event>,
    pub(crate) num_progress: usize,
    pub(crate) stop_at: Option<usize>,
}

impl Observer for Recorder {
    fn recorded(&mut self, event: &StoredEvent, state: &RunState) {
        assert_eq!(event.seq, state.seq, "the state that is shown has the event applied");
        self.events.push(event.event.clone());
    }

    fn progress(&mut self, what: &str, _event: &WorkerEvent, state: &RunState) -> bool {
        assert!(!what.is_empty() && state.task.is_some());
        self.num_progress += 1;
        self.stop_at != Some(self.num_progress - 1)
    }
}
