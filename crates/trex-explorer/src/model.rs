//! What the canvas shows: a tree of nodes with state, score, cost and place below their parent, made by the shell from the
//! events of a run; or a net of things that hang together, as `trex kb graph` writes it. Owns no rule about them.

use serde::{Deserialize, Serialize};

/// A node's level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum NodeKind {
    /// The untouched base model.
    Base,
    /// A hypothesis of the Researcher.
    Strategy,
    /// One batch of variants.
    Experiment,
    /// One configuration.
    Variant,
}

/// Where a node stands; the ring around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// Not looked at yet; a strategy or an experiment without anything done below it.
    Proposed,
    /// May train.
    Verified,
    /// The verifier said no.
    Rejected,
    /// Equal to one that was run before.
    Cached,
    /// A worker is at it, or at something below it.
    Running,
    /// It was running when its program ended.
    Interrupted,
    /// Has a score; of a strategy or an experiment: done.
    Evaluated,
    /// Goes on to the next rung.
    Promoted,
    /// Goes no further.
    Pruned,
    /// Could not be finished.
    Failed,
}

impl NodeState {
    /// The word that `trex tree` uses for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Proposed => "proposed",
            Self::Verified => "verified",
            Self::Rejected => "rejected",
            Self::Cached => "cached",
            Self::Running => "running",
            Self::Interrupted => "interrupted",
            Self::Evaluated => "evaluated",
            Self::Promoted => "promoted",
            Self::Pruned => "pruned",
            Self::Failed => "failed",
        }
    }
}

/// A score as it is shown: never without interval and number of items.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub struct ShownScore {
    /// The split that the items come from.
    pub split: String,
    /// The value.
    pub value: f64,
    /// Lower end of the 95 % interval.
    pub low: f64,
    /// Upper end of the 95 % interval.
    pub high: f64,
    /// Number of items.
    #[cfg_attr(feature = "bindings", ts(type = "number"))]
    pub n: usize,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub struct TreeNode {
    /// The name that `trex tree` uses.
    pub id: String,
    /// Name of the parent; absent for the base.
    pub parent: Option<String>,
    /// Level.
    pub kind: NodeKind,
    /// State.
    pub state: NodeState,
    /// In few words.
    pub title: String,
    /// What the strategy above it works on.
    pub strategy: Option<String>,
    /// Its best score: on the select split where there is one, else on search.
    pub score: Option<ShownScore>,
    /// Its score minus that of the base on the same split, turned so that more is better.
    pub gain: Option<f64>,
    /// Processor or card seconds that it and everything below it cost.
    pub cost_s: f64,
    /// Whether it lies on the way from the base to the best variant.
    pub on_best_path: bool,
    /// Whether it is the best so far.
    pub is_best: bool,
    /// Training loss over time, at most 24 points.
    pub spark: Vec<f32>,
    /// Why it was rejected, pruned or failed.
    pub note: Option<String>,
    /// Whether a person pinned it.
    #[serde(default)]
    pub pinned: bool,
    /// What a person forbade, where that is this node or lies above it.
    #[serde(default)]
    pub forbidden_by: Option<String>,
}

/// A whole tree, parents before children.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub struct TreeView {
    /// The metric of all scores.
    pub metric: String,
    /// The nodes, parents before children, siblings in order of creation.
    pub nodes: Vec<TreeNode>,
}

/// What a node of a net stands for; also the column it stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum NetKind {
    /// A document of the library.
    Paper,
    /// A training setting.
    Parameter,
    /// A data operator.
    Operator,
    /// What was learned of a change.
    Insight,
    /// A past task.
    Task,
    /// Its training pool.
    Dataset,
    /// Its base model.
    Model,
}

impl NetKind {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Paper => "paper",
            Self::Parameter => "parameter",
            Self::Operator => "operator",
            Self::Insight => "insight",
            Self::Task => "task",
            Self::Dataset => "dataset",
            Self::Model => "model",
        }
    }
}

/// One thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub struct NetNode {
    /// Its name, such as `operator:exact_dedup`.
    pub id: String,
    /// What it stands for.
    pub kind: NetKind,
    /// In words.
    pub label: String,
}

/// A measured difference.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub struct NetEffect {
    /// The difference.
    pub diff: f64,
    /// Its 95 % interval.
    pub ci95: [f64; 2],
    /// Number of items.
    #[cfg_attr(feature = "bindings", ts(type = "number"))]
    pub n: usize,
}

/// What joins two things.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub struct NetEdge {
    /// Where it begins.
    pub from: String,
    /// Where it ends.
    pub to: String,
    /// `improves`, `hurts`, `undecided`, `similar-to`, `evidence-for`, `has` or `mentions`.
    pub kind: String,
    /// The effect, where one was measured.
    pub effect: Option<NetEffect>,
    /// Similarity of two tasks, or passages that mention something.
    pub weight: Option<f64>,
}

/// A whole net.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub struct NetView {
    /// The things.
    pub nodes: Vec<NetNode>,
    /// What joins them.
    pub edges: Vec<NetEdge>,
}
