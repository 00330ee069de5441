//! What the state of a run is made of: trials, variants, nodes and the data, each as far as the events tell. Folds nothing.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    CandidateNumbers, Comparison, ContentHash, Continued, Cost, DataProfile, NodeId, NodeState, RowLedger, Score,
    Strategy, TrainDone, Variant, VariantId,
};

/// Names a trial: variant, rung, training seed number.
pub type TrialKey = (VariantId, usize, u64);

/// Where a trial stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrialStatus {
    /// A worker is, or was, at it.
    Running,
    /// Weights are there.
    Trained,
    /// Scored on the search split.
    Scored,
    /// Given up.
    Failed,
}

/// A trial.
#[derive(Clone, Debug, PartialEq)]
pub struct TrialRecord {
    /// Where it stands.
    pub status: TrialStatus,
    /// Attempts so far.
    pub attempts: usize,
    /// What training left.
    pub done: Option<TrainDone>,
    /// Scores by split.
    pub scores: BTreeMap<String, Score>,
    /// Last failure.
    pub failure: Option<String>,
    /// The training of another variant that it goes on from.
    pub continues: Option<Continued>,
    /// What it was expected to cost.
    pub reserved: Cost,
    /// What it did cost so far.
    pub cost: Cost,
}

/// How far forecasts of a trial's processor time were off.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ForecastError {
    /// Trials with a forecast that are over.
    pub of: usize,
    /// By which factor a forecast was off, up or down; the geometric mean.
    pub factor: f64,
    /// Forecast over cost, the geometric mean: above 1 they were too high.
    pub bias: f64,
}

impl TrialRecord {
    pub(super) fn new(attempts: usize, continues: Option<Continued>, reserved: Cost) -> Self {
        Self {
            status: TrialStatus::Running,
            attempts,
            done: None,
            scores: BTreeMap::new(),
            failure: None,
            continues,
            reserved,
            cost: Cost::default(),
        }
    }
}

/// A variant.
#[derive(Clone, Debug, PartialEq)]
pub struct VariantRecord {
    /// What it is.
    pub variant: Variant,
    /// Its state.
    pub state: NodeState,
    /// Next rung to run, once verified.
    pub rung: usize,
    /// Prepared data.
    pub data: Option<ContentHash>,
    /// Where every row went.
    pub ledger: Option<RowLedger>,
    /// Estimated peak memory of its training in bytes; 0 before it was verified.
    pub memory_bytes: u64,
    /// Dedup key.
    pub key: Option<ContentHash>,
    /// Why it was rejected, pruned or taken from another.
    pub note: Option<String>,
    /// Verifier's warnings.
    pub warnings: Vec<String>,
    /// The variant whose result stands for this one.
    pub duplicate_of: Option<VariantId>,
    /// What it cost.
    pub cost: Cost,
}

/// A strategy or an experiment.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeRecord {
    /// Parent; the root for strategies.
    pub parent: NodeId,
    /// Title.
    pub title: String,
    /// Why a person does not want the strategy.
    pub rejected: Option<String>,
    /// The strategy, for strategy nodes.
    pub strategy: Option<Strategy>,
    /// Ids of the batch, for experiment nodes.
    pub variants: Vec<VariantId>,
    /// Whether the batch is through.
    pub finished: bool,
    /// The winner.
    pub winner: Option<VariantId>,
    /// The winner's select score.
    pub value: Option<f64>,
    /// Comparison with the incumbent of that time.
    pub comparison: Option<Comparison>,
    /// The numbers by which the policy came here.
    pub decision: Option<(String, Vec<CandidateNumbers>)>,
}

/// The data of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct DataRecord {
    /// Pool, search, select, final.
    pub blobs: [ContentHash; 4],
    /// Rows of the four.
    pub rows: [usize; 4],
    /// Whether prompts depend on the seed.
    pub seeded_prompts: bool,
    /// Profiles.
    pub profiles: Vec<DataProfile>,
}

impl NodeRecord {
    pub(super) fn new(parent: NodeId, title: String, strategy: Option<Strategy>, variants: Vec<VariantId>) -> Self {
        Self {
            parent,
            title,
            rejected: None,
            strategy,
            variants,
            finished: false,
            winner: None,
            value: None,
            comparison: None,
            decision: None,
        }
    }
}

impl VariantRecord {
    pub(super) fn new(variant: Variant) -> Self {
        Self {
            variant,
            state: NodeState::Proposed,
            rung: 0,
            data: None,
            ledger: None,
            memory_bytes: 0,
            key: None,
            note: None,
            warnings: Vec::new(),
            duplicate_of: None,
            cost: Cost::default(),
        }
    }
}
