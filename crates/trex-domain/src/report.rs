//! The report of a run as data; its JSON form has a published schema. Rendering is the engine's business.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Comparison, Cost, DataProfile, Insight, Judgement, Metric, MetricPoint, Millis, NodeId, NodeState, Phase,
    RowLedger, RunFailure, Score, StopReason, Strategy, TrainConfig, VariantDiff, VariantId, Verdict,
};

/// A score under the names that scripts read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReportScore {
    /// The value; in [0, 1] for all metrics but bits per byte, of which less is better.
    pub score: f64,
    /// 95 % interval `[low, high]`.
    pub ci95: [f64; 2],
    /// Items.
    pub n: usize,
    /// Split: `search`, `select` or `final`.
    pub split: String,
    /// Metric.
    pub metric: String,
}

impl ReportScore {
    /// The score turned so that more is better.
    pub fn merit(&self) -> f64 {
        self.turned(self.score)
    }

    /// Another value of the same metric turned so that more is better.
    pub fn turned(&self, value: f64) -> f64 {
        if self.metric == Metric::BitsPerByte.as_str() { -value } else { value }
    }
}

impl From<&Score> for ReportScore {
    fn from(score: &Score) -> Self {
        Self {
            score: score.value,
            ci95: score.ci95,
            n: score.n,
            split: score.split.clone(),
            metric: score.metric.to_string(),
        }
    }
}

/// Duplicates that were proposed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DuplicateCounts {
    /// Not run; the earlier result was reused.
    pub avoided: usize,
    /// Run although equal to an earlier one.
    pub run: usize,
}

/// Scores over seeds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SeedNoise {
    /// `base`, or the variant that was repeated.
    pub of: String,
    /// Split that was scored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// Items of each score.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n: Option<usize>,
    /// Score by seed.
    pub scores: Vec<f64>,
    /// Standard deviation.
    pub sd: f64,
}

/// One variant in the report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct VariantReport {
    /// Id.
    pub id: VariantId,
    /// State at the end.
    pub state: NodeState,
    /// What it changed.
    pub diff: VariantDiff,
    /// Why it was tried.
    pub why: String,
    /// Highest rung reached.
    pub rung: Option<usize>,
    /// Last score on the search split.
    pub search: Option<ReportScore>,
    /// Score on the select split.
    pub select: Option<ReportScore>,
    /// Loss curve.
    pub curve: Vec<MetricPoint>,
    /// Where every row of the pool went.
    pub ledger: Option<RowLedger>,
    /// Why it ended: rejection, failure, or the variant it duplicates.
    pub note: Option<String>,
    /// Cost.
    pub cost: Cost,
}

/// One node in the report: a strategy or an experiment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NodeReport {
    /// Id.
    pub id: NodeId,
    /// Parent.
    pub parent: Option<NodeId>,
    /// Title.
    pub title: String,
    /// The strategy, for strategy nodes.
    pub strategy: Option<Strategy>,
    /// Value: the best select score below it.
    pub value: Option<f64>,
    /// The batch, for experiment nodes.
    pub variants: Vec<VariantReport>,
    /// Comparison of its winner with the incumbent of that time.
    pub comparison: Option<Comparison>,
    /// Cost of everything below; of the root, what scoring the untouched base cost.
    pub cost: Cost,
}

/// The best model that was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BestModel {
    /// The variant.
    pub variant: VariantId,
    /// Its training configuration.
    pub config: TrainConfig,
    /// Names of its recipe's operators.
    pub operators: Vec<String>,
    /// blake3 of the adapter file.
    pub adapter: String,
    /// The changes that led to it, from the task's starting point.
    pub diff: VariantDiff,
}

/// The report of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// Version of this schema.
    pub schema: String,
    /// Run id.
    pub run: String,
    /// Task name.
    pub task: String,
    /// Task goal.
    pub goal: String,
    /// Base model.
    pub model: String,
    /// Seed.
    pub seed: u64,
    /// Version of this program.
    pub version: String,
    /// `running`, `finished`, or where no program was at work on an unfinished run when the report was made: `failed` after
    /// an error, else `interrupted`.
    pub status: String,
    /// When the run began.
    pub started: Millis,
    /// Untouched base on the sealed split (on the select split until that is open).
    pub base: Option<ReportScore>,
    /// The best model on the sealed split; equals `base` where nothing beat it.
    #[serde(rename = "final")]
    pub final_: Option<ReportScore>,
    /// Paired difference behind the verdict.
    pub gain: Option<Comparison>,
    /// What sealed and select split say together: the verdict.
    #[serde(default)]
    pub judgement: Option<Judgement>,
    /// The verdict.
    pub verdict: Option<Verdict>,
    /// Why the search ended.
    pub stopped: Option<StopReason>,
    /// Training trials that were run.
    pub trials: usize,
    /// Duplicates.
    pub duplicates: DuplicateCounts,
    /// Sum of costs.
    pub cost: Cost,
    /// The same by the phase of the run.
    #[serde(default)]
    pub cost_by_phase: BTreeMap<Phase, Cost>,
    /// Spread over seeds.
    pub noise: Vec<SeedNoise>,
    /// The tree.
    pub nodes: Vec<NodeReport>,
    /// What was learned.
    pub insights: Vec<Insight>,
    /// What was taken from similar past tasks, line by line; empty for a run that began from nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warm_start: Vec<String>,
    /// The best model.
    pub best: Option<BestModel>,
    /// How often the sealed split was opened.
    pub final_opened: usize,
    /// Rows of pool, search, select and final.
    pub rows: BTreeMap<String, usize>,
    /// Profiles of the data.
    pub profiles: Vec<DataProfile>,
    /// Warnings.
    pub warnings: Vec<String>,
    /// Deliverables by kind, relative to the workspace.
    pub files: BTreeMap<String, String>,
    /// How often the run was resumed.
    pub resumed: usize,
    /// The error that ended the run before its verdict, where it was not resumed since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<RunFailure>,
}

impl Report {
    /// A value of the run's metric turned so that more is better.
    pub fn merit(&self, value: f64) -> f64 {
        self.base.as_ref().map_or(value, |base| base.turned(value))
    }
}
