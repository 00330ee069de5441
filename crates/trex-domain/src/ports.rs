//! The ports of the engine: what it needs from the world, as traits. Adapters implement them, tests fake them.

use std::error::Error;
use std::path::{Path, PathBuf};

use crate::{
    Claim, ContentHash, DataProfile, Effect, Event, GivenOrder, Insight, Job, JobOutcome, Millis, ModelCall, ModelCard,
    NodeId, Problem, Recipe, ReviewDecision, RowLedger, RunId, RunState, StoredEvent, Strategy, TaskSpec, Variant,
    WorkerEvent,
};

/// Tells the time.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Millis;
}

/// The append-only list of events of a workspace, held by its one writer.
pub trait EventLog {
    /// The adapter's error.
    type Error: Problem + Send + Sync + 'static;

    /// Appends events in one transaction and makes them durable; returns them with their numbers.
    fn append(&mut self, run: RunId, at: Millis, events: Vec<Event>) -> Result<Vec<StoredEvent>, Self::Error>;

    /// All events of a run with `seq > after`, in order.
    fn events(&self, run: RunId, after: u64) -> Result<Vec<StoredEvent>, Self::Error>;
}

/// Asks for the data of a task.
#[derive(Clone, Copy, Debug)]
pub struct ImportRequest<'a> {
    /// The task.
    pub task: &'a TaskSpec,
    /// Seed of generation and splitting.
    pub seed: u64,
}

/// The data of a task in the workspace.
#[derive(Clone, Debug, PartialEq)]
pub struct ImportedData {
    /// Blobs of pool, search, select and final.
    pub pool: ContentHash,
    /// Blob of the search split.
    pub search: ContentHash,
    /// Blob of the select split.
    pub select: ContentHash,
    /// Blob of the sealed split.
    pub final_: ContentHash,
    /// Rows of the four.
    pub rows: [usize; 4],
    /// Whether prompts list options in an order that depends on the seed.
    pub seeded_prompts: bool,
    /// Profiles of the files.
    pub profiles: Vec<DataProfile>,
}

/// Asks for the training data of a recipe.
#[derive(Clone, Copy, Debug)]
pub struct PreparedRequest<'a> {
    /// The pool.
    pub pool: ContentHash,
    /// Evaluation splits to decontaminate against, the sealed one included (its rows never leave the check).
    pub evaluation: &'a [ContentHash],
    /// The recipe.
    pub recipe: &'a Recipe,
    /// Seed of sampling and order.
    pub seed: u64,
}

/// Training data of a recipe.
#[derive(Clone, Debug, PartialEq)]
pub struct PreparedData {
    /// Blob of examples.
    pub data: ContentHash,
    /// Rows.
    pub rows: usize,
    /// Answers that occur, where the answer space is closed.
    pub labels: Vec<String>,
    /// Characters of the longest example.
    pub longest_chars: usize,
    /// Mean characters of an example.
    pub mean_chars: f64,
    /// Rows that still equal an evaluation item; counted after all operators.
    pub leaked: usize,
    /// Rows with a better and a worse answer.
    pub pairs: usize,
    /// Rows of raw text, which have no answer.
    pub texts: usize,
    /// Where every row went.
    pub ledger: RowLedger,
}

/// Reads, splits and prepares data.
pub trait DataPort {
    /// The adapter's error.
    type Error: Problem + Send + Sync + 'static;

    /// Imports the task's data; content-addressed, so a second call changes nothing.
    fn import(&self, request: ImportRequest<'_>) -> Result<ImportedData, Self::Error>;

    /// Runs a recipe, or finds its result in the cache.
    fn prepare(&self, request: PreparedRequest<'_>) -> Result<PreparedData, Self::Error>;
}

/// What the verifier must know of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelFacts {
    /// Name in the registry.
    pub name: String,
    /// Folder.
    pub dir: PathBuf,
    /// Hash of weights, configuration and tokenizer.
    pub hash: ContentHash,
    /// Weights.
    pub num_parameters: u64,
    /// Bytes of the files that hold them.
    pub weights_bytes: u64,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the feed-forward layer.
    pub intermediate_size: usize,
    /// Layers.
    pub num_layers: usize,
    /// Attention heads.
    pub num_heads: usize,
    /// Key-value heads.
    pub num_kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Tokens known.
    pub vocab_size: usize,
    /// Longest sequence in tokens.
    pub max_position: usize,
    /// Licence, where known.
    pub license: Option<String>,
    /// Names of the projections of a layer, such as `q_proj`, in its order; empty where they are not known.
    pub projections: Vec<String>,
}

/// Passes a job's events on and may ask it to stop.
pub trait JobControl {
    /// Called for every line of the worker. Returning `false` asks it to stop.
    fn on_event(&mut self, event: &WorkerEvent) -> bool;
}

/// Runs jobs, one process each.
pub trait Executor {
    /// Runs a job to its end. A crash is an outcome, not an error.
    fn run(&self, job: &Job, control: &mut dyn JobControl) -> JobOutcome;

    /// Runs jobs to their ends, at the same time where the executor can. `on_event` is told the place of the job that an event is
    /// of; its `false` asks all of them to stop. The outcomes are in the order of the jobs.
    fn run_all(&self, jobs: &[&Job], on_event: &mut dyn FnMut(usize, &WorkerEvent) -> bool) -> Vec<JobOutcome> {
        let run = |(place, job): (usize, &&Job)| self.run(job, &mut OneOf { place, on_event: &mut *on_event });
        jobs.iter().enumerate().map(run).collect()
    }
}

/// One of several jobs, with its place among them.
struct OneOf<'a> {
    place: usize,
    on_event: &'a mut dyn FnMut(usize, &WorkerEvent) -> bool,
}

impl JobControl for OneOf<'_> {
    fn on_event(&mut self, event: &WorkerEvent) -> bool {
        (self.on_event)(self.place, event)
    }
}

/// Asks the Researcher for strategies.
#[derive(Clone, Copy, Debug)]
pub struct StrategyRequest<'a> {
    /// The task.
    pub task: &'a TaskSpec,
    /// Profile of the training pool.
    pub profile: &'a DataProfile,
    /// The model.
    pub model: &'a ModelFacts,
    /// The run so far: base score, what similar past tasks have to give, and the tree.
    pub state: &'a RunState,
}

/// What was found in documents.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Surveyed {
    /// Claims, each with its passage.
    pub claims: Vec<Claim>,
    /// Claims that were left out because their passage does not contain them.
    pub unsupported: usize,
}

/// Proposes what to try. Answers are proposals: the verifier and the budget decide.
pub trait Researcher {
    /// What documents say about the task; none where there are no documents.
    fn survey(&self, _request: StrategyRequest<'_>) -> Result<Option<Surveyed>, Box<dyn Error + Send + Sync>> {
        Ok(None)
    }

    /// Strategies in order of preference, of several kinds.
    fn strategies(&self, request: StrategyRequest<'_>) -> Result<Vec<Strategy>, Box<dyn Error + Send + Sync>>;

    /// Up to `count` new variants below a strategy, ids from `node`; empty when nothing is left to try there.
    fn variants(
        &self,
        request: StrategyRequest<'_>,
        strategy: &NodeId,
        node: &NodeId,
        count: usize,
    ) -> Result<Vec<Variant>, Box<dyn Error + Send + Sync>>;

    /// Questions to language models since the last call of this, for the record; none where no model is asked.
    fn take_calls(&self) -> Vec<ModelCall> {
        Vec::new()
    }

    /// What a finished experiment taught, given its measured effect against the incumbent of that time.
    fn distil(&self, state: &RunState, node: &NodeId, effect: Effect, significant: bool) -> Vec<Insight>;
}

/// Where a person leaves decisions for a run that waits for them.
pub trait ReviewDesk: std::fmt::Debug + Send + Sync {
    /// Every decision that lies there for a run, taken or not.
    fn decisions(&self, run: RunId) -> Result<Vec<ReviewDecision>, Box<dyn Problem + Send + Sync>>;

    /// Waits a moment, so that looking again is worth it.
    fn pause(&self);
}

/// Where a person leaves orders about the search tree.
pub trait OrderDesk: std::fmt::Debug + Send + Sync {
    /// The orders for a run behind the one with this number, in order.
    fn orders(&self, run: RunId, after: u64) -> Result<Vec<GivenOrder>, Box<dyn Problem + Send + Sync>>;
}

/// Asks for what a run delivers.
#[derive(Clone, Copy, Debug)]
pub struct ExportRequest<'a> {
    /// Blob of the adapter, or of all weights.
    pub adapter: &'a Path,
    /// Whether the blob holds all weights, so that a whole model is written instead of an adapter folder.
    pub whole_model: bool,
    /// The base model.
    pub model: &'a ModelFacts,
    /// What the export is; the exporter adds how the base is to be fetched.
    pub card: &'a ModelCard,
    /// Folder to write.
    pub out: &'a Path,
}

/// Writes what a person takes away.
pub trait Exporter {
    /// Writes a blob of trained weights as a folder that other tools load.
    fn export(&self, request: ExportRequest<'_>) -> Result<(), Box<dyn Problem + Send + Sync>>;
}

/// Where blobs lie: `root/ab/abcdef…`, so no folder grows too large.
impl ContentHash {
    /// The path of this content below a blob folder.
    pub fn path_in(&self, blobs: &Path) -> PathBuf {
        let name = self.to_string();
        blobs.join(&name[..2]).join(name)
    }
}
