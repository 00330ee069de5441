//! Hypotheses of the Researcher: strategies, the variants that test them, and what was learned.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ContentHash, DomainError, NodeId, Recipe, TrainConfig, VariantId};

/// What a strategy works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StrategyKind {
    /// Establish or repair the standard recipe.
    Baseline,
    /// Clean and select the data that is there.
    RefineData,
    /// Make the data that is there say more: balance, few-shot packs, repeats.
    ConstructData,
    /// Change how it is trained.
    AdjustTraining,
    /// Join two branches that helped.
    Fuse,
}

impl StrategyKind {
    /// The stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Baseline => "baseline",
            Self::RefineData => "refine_data",
            Self::ConstructData => "construct_data",
            Self::AdjustTraining => "adjust_training",
            Self::Fuse => "fuse",
        }
    }
}

/// A difference between two scores with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Effect {
    /// Second minus first, the other way round where lower is better: above 0 is an improvement.
    pub diff: f64,
    /// 95 % interval `[low, high]`.
    pub ci95: [f64; 2],
    /// Paired items.
    pub n: usize,
}

/// A hypothesis about what helps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Strategy {
    /// What it works on.
    pub kind: StrategyKind,
    /// Few words.
    pub title: String,
    /// What should help.
    pub hypothesis: String,
    /// Why it should, from facts of this task.
    pub rationale: String,
    /// Facts that were looked at, each as "what: value".
    pub evidence: Vec<String>,
    /// Expected change of the metric.
    pub expected_effect: f64,
    /// Expected cost relative to one full-fidelity trial.
    pub expected_cost: f64,
    /// How promising it is before anything was tried, in (0, 1]; the prior of PUCT.
    pub prior: f64,
}

/// What one variant changes: named settings, "from" and "to" as text.
pub type VariantDiff = BTreeMap<String, (String, String)>;

/// One configuration: an explicit difference from its parent, resolved into a whole recipe and training configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Variant {
    /// Its place in the tree.
    pub id: VariantId,
    /// The variant it differs from; the task's starting point where absent.
    pub parent: Option<VariantId>,
    /// What differs.
    pub diff: VariantDiff,
    /// Why it is worth a try.
    pub why: String,
    /// Whole recipe.
    pub recipe: Recipe,
    /// Whole training configuration.
    pub config: TrainConfig,
}

impl Variant {
    /// The dedup key: equal keys mean equal training. Model and pool are part of it, the seed class is the caller's.
    pub fn key(&self, model: &ContentHash, pool: &ContentHash) -> Result<ContentHash, DomainError> {
        ContentHash::of_value("trex.variant.v1", &(model, pool, self.recipe.hash()?, &self.config))
    }
}

/// A statement that was learned, with its evidence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Insight {
    /// One sentence.
    pub statement: String,
    /// Where it is known to hold.
    pub scope: String,
    /// Measured effect.
    pub effect: Effect,
    /// Whether the interval excludes zero.
    pub significant: bool,
    /// Experiment that it comes from.
    pub node: NodeId,
}
