//! Everything that can happen in a run. The list of events is the truth; every other view is folded from it.
//! Long because each event and each of its fields is explained where it is listed.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    BudgetLimit, Claim, ContentHash, Cost, DataProfile, DryRunDone, DryRunFailure, Effect, FailureClass, GatePolicy,
    Insight, Millis, ModelCall, NodeId, OrderRecord, ReviewDecision, ReviewRequest, RowLedger, RunId, Score, Strategy,
    TaskSpec, TrainDone, Variant, VariantId, WarmStart,
};

/// The parts of a run, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Reads and splits the data.
    Import,
    /// Scores the untouched base.
    Baseline,
    /// Asks the Researcher for strategies.
    Research,
    /// Explores the tree.
    Search,
    /// Repeats the incumbent on further seeds.
    Finalists,
    /// Opens the sealed split.
    Final,
    /// Writes report and exports.
    Deliver,
}

impl Phase {
    /// The stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Import => "import",
            Self::Baseline => "baseline",
            Self::Research => "research",
            Self::Search => "search",
            Self::Finalists => "finalists",
            Self::Final => "final",
            Self::Deliver => "deliver",
        }
    }
}

/// Why a variant goes no further.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "why")]
pub enum PruneReason {
    /// Others of its batch scored higher at this rung.
    Halving {
        /// Its place, from 1.
        place: usize,
        /// Variants at the rung.
        of: usize,
    },
    /// It failed. Found in older logs only: a variant that failed stays so and is not pruned on top of it.
    Failed,
    /// The budget ended.
    Budget,
    /// Variants of other batches scored higher at this rung.
    Outclassed {
        /// Its place among all variants of the run, from 1.
        place: usize,
        /// Variants at the rung.
        of: usize,
    },
    /// Extrapolated from this rung, it will hardly reach the best variant.
    Hopeless {
        /// The probability that it does.
        reach: f64,
    },
    /// A person forbade it, or what it lies below.
    Forbidden {
        /// Why.
        reason: String,
    },
}

impl PruneReason {
    /// As a person reads it on the variant.
    pub(crate) fn note(&self) -> String {
        match self {
            Self::Halving { place, of } => format!("place {place} of {of} at its rung"),
            Self::Failed => "failed".to_owned(),
            Self::Budget => "the budget ended".to_owned(),
            Self::Outclassed { place, of } => format!("place {place} of {of} among all variants at its rung"),
            Self::Hopeless { reach } => {
                format!("reaches the best so far with probability {reach:.3}, extrapolated from its rung")
            }
            Self::Forbidden { reason } => format!("a person forbade it: {reason}"),
        }
    }
}

/// Why the search ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "why")]
pub enum StopReason {
    /// The target score was reached.
    TargetReached,
    /// A limit was reached, or no admissible next trial fits into it.
    Budget {
        /// Which one.
        limit: BudgetLimit,
    },
    /// So many experiments in a row without a significant gain.
    Plateau {
        /// How many.
        experiments: usize,
    },
    /// Nothing admissible is left to try.
    Exhausted,
}

/// What the search found, judged on the sealed split together with the select split ([`Judgement`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Both splits together, seed spread included, rule out at one-sided 5 % that there is none.
    Gain,
    /// They do not.
    NoRealGain,
}

/// A paired comparison on the same items.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Comparison {
    /// Candidate minus incumbent, over items.
    pub effect: Effect,
    /// Standard deviation over seeds that widened the interval.
    pub seed_sd: f64,
    /// Whether the widened interval lies above zero.
    pub significant: bool,
}

/// A training of another variant that a trial goes on from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Continued {
    /// The variant.
    pub variant: VariantId,
    /// Its rung.
    pub rung: usize,
    /// Optimiser steps that both share.
    pub steps: usize,
}

/// What the two splits say together about a candidate against the base; how it is worked out stands in `trex-eval`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Judgement {
    /// Standard errors by which it is better on the select split, after paying for the choice among `compared`.
    pub z_select: f64,
    /// Standard errors by which it is better on the sealed split.
    pub z_final: f64,
    /// Candidates that were compared on the select split.
    pub compared: usize,
    /// Trainings of the candidate, on different seeds, that were compared with the base by their mean.
    #[serde(default = "one")]
    pub trainings: usize,
    /// Standard deviation over seeds of one training, beyond what the items explain, that was reckoned with.
    #[serde(default)]
    pub seed_sd: f64,
    /// Both together.
    pub z: f64,
    /// The probability of as much without any gain, one-sided.
    pub p: f64,
    /// Whether that is a gain.
    pub gain: bool,
}

/// Older versions compared one training.
fn one() -> usize {
    1
}

/// The error that ended a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunFailure {
    /// Stable code of the error.
    pub code: String,
    /// What happened, with its causes.
    pub message: String,
    /// What a person can do about it.
    pub hint: Option<String>,
}

/// One line of the numbers that a policy chose from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CandidateNumbers {
    /// The candidate.
    pub node: NodeId,
    /// Visits so far.
    pub visits: usize,
    /// Normalised value Q.
    pub value: f64,
    /// Prior P.
    pub prior: f64,
    /// What the policy ranked by.
    pub rank: f64,
}

/// What a search can do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SearchAction {
    /// Begin an experiment below a strategy.
    Expand,
    /// Train a variant at a rung.
    Run,
    /// Move a variant on to the next rung.
    Promote,
    /// Give a variant up.
    Prune,
    /// Score the best of a batch on the select split.
    Select,
    /// End the search.
    Stop,
}

impl SearchAction {
    /// The stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Expand => "expand",
            Self::Run => "run",
            Self::Promote => "promote",
            Self::Prune => "prune",
            Self::Select => "select",
            Self::Stop => "stop",
        }
    }
}

/// Something that an action could have been done with, and the numbers that decided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ActionCandidate {
    /// A node or a variant; a rule where the search may end.
    pub name: String,
    /// Named numbers.
    pub numbers: BTreeMap<String, f64>,
}

/// An action with what it was chosen from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ActionRecord {
    /// What is done.
    pub action: SearchAction,
    /// With which node or variant.
    pub subject: String,
    /// Why, in a sentence without a full stop.
    pub because: String,
    /// What it was chosen from.
    pub candidates: Vec<ActionCandidate>,
}

impl ActionRecord {
    /// The choice of a policy in the form of all other actions.
    pub(crate) fn of_expansion(node: &NodeId, because: &str, candidates: &[CandidateNumbers]) -> Self {
        let candidate = |one: &CandidateNumbers| {
            let numbers =
                [("visits", one.visits as f64), ("value", one.value), ("prior", one.prior), ("rank", one.rank)];
            let numbers = numbers.into_iter().map(|(name, value)| (name.to_owned(), value));
            ActionCandidate { name: one.node.to_string(), numbers: numbers.collect() }
        };
        Self {
            action: SearchAction::Expand,
            subject: node.to_string(),
            because: because.to_owned(),
            candidates: candidates.iter().map(candidate).collect(),
        }
    }
}

/// Something that happened. Appended in one transaction with the state it changes; never edited.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// The run begins.
    RunStarted {
        /// The approved task.
        task: Box<TaskSpec>,
        /// Seed of everything random.
        seed: u64,
        /// Version of this program.
        version: String,
        /// Hash of the base model's weights and tokenizer.
        model: ContentHash,
    },
    /// The run goes on in a new process.
    RunResumed {
        /// How often it was resumed so far.
        times: usize,
    },
    /// A part of the run begins.
    PhaseStarted {
        /// Which.
        phase: Phase,
    },
    /// The data is in the workspace.
    DataImported {
        /// Training pool: blob of examples.
        pool: ContentHash,
        /// Split that drives the search.
        search: ContentHash,
        /// Split that re-scores winners.
        select: ContentHash,
        /// Sealed split. Only its name is known here.
        #[serde(rename = "final")]
        final_: ContentHash,
        /// Rows of pool, search, select and final.
        rows: [usize; 4],
        /// Whether prompts list options in an order that depends on the seed.
        seeded_prompts: bool,
        /// Profiles of the files.
        profiles: Vec<DataProfile>,
    },
    /// The untouched base was scored.
    BaseScored {
        /// Seed of the option order.
        seed: u64,
        /// The score.
        score: Score,
        /// What it cost.
        cost: Cost,
    },
    /// Similar past tasks were found; what is taken from them.
    WarmStarted {
        /// What was taken.
        warm_start: Box<WarmStart>,
    },
    /// What documents say about the task was looked up.
    Surveyed {
        /// What they say, each with its passage.
        claims: Vec<Claim>,
        /// Claims that were left out because their passage does not contain them.
        unsupported: usize,
    },
    /// The Researcher proposes a strategy.
    StrategyProposed {
        /// Its node.
        node: NodeId,
        /// The strategy.
        strategy: Strategy,
    },
    /// The policy chose where to spend next.
    Decided {
        /// The chosen node.
        node: NodeId,
        /// In a sentence.
        because: String,
        /// What it was chosen from.
        candidates: Vec<CandidateNumbers>,
    },
    /// The search chose an action inside a batch, or to end. Choices of the policy are [`Event::Decided`].
    ActionChosen(ActionRecord),
    /// A batch of variants below a strategy.
    ExperimentProposed {
        /// Its node.
        node: NodeId,
        /// What it should show.
        title: String,
        /// The batch.
        variants: Vec<Variant>,
    },
    /// A dry run was made before a trial, which stands for all variants of the same shape.
    DryRun {
        /// The variant that it was made for.
        variant: VariantId,
        /// What it stands for ([`crate::dry_run_shape`]).
        shape: ContentHash,
        /// What it measured.
        done: DryRunDone,
    },
    /// A dry run failed for good; no variant of the same shape is tried again.
    DryRunFailed {
        /// The variant that it was made for.
        variant: VariantId,
        /// What it stands for ([`crate::dry_run_shape`]).
        shape: ContentHash,
        /// Why.
        failure: DryRunFailure,
    },
    /// The verifier let a variant pass.
    VariantVerified {
        /// Which.
        variant: VariantId,
        /// Prepared data: blob of examples.
        data: ContentHash,
        /// Where every row went.
        ledger: RowLedger,
        /// Dedup key over the bytes that the trainer sees.
        key: ContentHash,
        /// Estimated peak memory in bytes.
        memory_bytes: u64,
        /// What a person should know.
        warnings: Vec<String>,
    },
    /// The verifier stopped a variant.
    VariantRejected {
        /// Which.
        variant: VariantId,
        /// Stable code of the rule.
        code: String,
        /// Why, and what would help.
        reason: String,
    },
    /// A variant equals one that was run before; its result stands for both.
    DuplicateAvoided {
        /// Which.
        variant: VariantId,
        /// The one before.
        of: VariantId,
    },
    /// A worker begins to train.
    TrialStarted {
        /// Variant.
        variant: VariantId,
        /// Rung, from 0.
        rung: usize,
        /// Training seed number, from 0.
        seed: u64,
        /// Attempt, from 1.
        attempt: usize,
        /// The training of another variant whose checkpoint it goes on from, because both are equal so far.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        continues: Option<Continued>,
        /// What it is expected to cost, which is set aside until it is over.
        #[serde(default)]
        reserved: Cost,
    },
    /// A worker or this program died while a trial ran; its last checkpoint is kept.
    TrialInterrupted {
        /// Variant.
        variant: VariantId,
        /// Rung.
        rung: usize,
        /// Training seed number.
        seed: u64,
        /// What happened.
        class: FailureClass,
        /// In a sentence.
        message: String,
    },
    /// Training finished.
    TrialTrained {
        /// Variant.
        variant: VariantId,
        /// Rung.
        rung: usize,
        /// Training seed number.
        seed: u64,
        /// What it left.
        done: TrainDone,
    },
    /// A trained variant was scored. Ends the trial when the split is `search`.
    TrialScored {
        /// Variant.
        variant: VariantId,
        /// Rung.
        rung: usize,
        /// Training seed number.
        seed: u64,
        /// The score; its `split` says which.
        score: Score,
        /// Whether the score was taken from an earlier evaluation of the same weights on the same items.
        reused: bool,
        /// What it cost.
        cost: Cost,
    },
    /// A trial cannot be run.
    TrialFailed {
        /// Variant.
        variant: VariantId,
        /// Rung.
        rung: usize,
        /// Training seed number.
        seed: u64,
        /// Class.
        class: FailureClass,
        /// First root cause.
        message: String,
    },
    /// A variant goes on to the next rung.
    VariantPromoted {
        /// Which.
        variant: VariantId,
        /// The new rung.
        rung: usize,
    },
    /// A variant goes no further.
    VariantPruned {
        /// Which.
        variant: VariantId,
        /// Why.
        reason: PruneReason,
    },
    /// An experiment's batch is through.
    ExperimentFinished {
        /// Its node.
        node: NodeId,
        /// The best variant, where one was scored at the top rung.
        winner: Option<VariantId>,
        /// The winner's score on the select split.
        value: Option<f64>,
    },
    /// The winner was compared with the incumbent.
    IncumbentCompared {
        /// The candidate.
        candidate: VariantId,
        /// The incumbent; the untouched base where absent.
        incumbent: Option<VariantId>,
        /// The numbers.
        comparison: Comparison,
        /// Whether the candidate is the incumbent from here on.
        replaced: bool,
    },
    /// The spread over seeds is known better.
    NoiseMeasured {
        /// `base` for the untouched base, else the variant that was repeated.
        of: String,
        /// Scores over seeds.
        scores: Vec<f64>,
        /// Their standard deviation.
        sd: f64,
    },
    /// Something was learned.
    InsightDistilled {
        /// What.
        insight: Insight,
    },
    /// A language model of the Researcher was asked.
    ModelCalled {
        /// What came of it.
        call: ModelCall,
    },
    /// How much the run decides without a person; without this event all of it.
    GatesSet {
        /// The policy.
        policy: GatePolicy,
    },
    /// A decision waits for a person.
    ReviewAsked(ReviewRequest),
    /// A person, or the default after a time-out, decided.
    ReviewDecided(ReviewDecision),
    /// A person gave an order about the tree, which was taken or could not be carried out.
    Ordered(OrderRecord),
    /// The search ended.
    SearchStopped {
        /// Why.
        reason: StopReason,
    },
    /// The variant was chosen that is taken to the sealed split: the best on search and select together, significant or not.
    FinalistChosen {
        /// The variant.
        variant: VariantId,
        /// Its score on both splits together.
        value: f64,
        /// Among how many that were scored on both.
        of: usize,
    },
    /// The sealed split was opened. Happens once per run.
    FinalOpened {
        /// How often it was opened with this one.
        times: usize,
        /// Who asked and why.
        reason: String,
    },
    /// Base or finalist was scored on the sealed split.
    FinalScored {
        /// The variant; the untouched base where absent.
        variant: Option<VariantId>,
        /// Training seed number; 0 for what is delivered.
        #[serde(default)]
        seed: u64,
        /// The score.
        score: Score,
        /// What it cost.
        cost: Cost,
    },
    /// The deliverables are on the disk.
    Delivered {
        /// Folder inside the workspace.
        folder: String,
    },
    /// The finalist was judged against the untouched base. With a gain it is the best variant from here on.
    Judged(Judgement),
    /// The run ended.
    RunFinished {
        /// The verdict.
        verdict: Verdict,
        /// The numbers behind it; absent where no candidate was left.
        comparison: Option<Comparison>,
        /// Wall seconds of this process since its start or resume.
        wall_s: f64,
    },
    /// An error ended the run before its verdict; resuming it goes on from here. A program that is killed leaves no such event.
    RunFailed(RunFailure),
    /// Something a person should know.
    Warned {
        /// Stable code.
        code: String,
        /// One sentence.
        message: String,
    },
}

impl Event {
    /// The stable kind, as in the JSON field `type`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::RunStarted { .. } => "run_started",
            Self::RunResumed { .. } => "run_resumed",
            Self::PhaseStarted { .. } => "phase_started",
            Self::DataImported { .. } => "data_imported",
            Self::BaseScored { .. } => "base_scored",
            Self::WarmStarted { .. } => "warm_started",
            Self::Surveyed { .. } => "surveyed",
            Self::StrategyProposed { .. } => "strategy_proposed",
            Self::Decided { .. } => "decided",
            Self::ActionChosen(_) => "action_chosen",
            Self::ExperimentProposed { .. } => "experiment_proposed",
            Self::DryRun { .. } => "dry_run",
            Self::DryRunFailed { .. } => "dry_run_failed",
            Self::VariantVerified { .. } => "variant_verified",
            Self::VariantRejected { .. } => "variant_rejected",
            Self::DuplicateAvoided { .. } => "duplicate_avoided",
            Self::TrialStarted { .. } => "trial_started",
            Self::TrialInterrupted { .. } => "trial_interrupted",
            Self::TrialTrained { .. } => "trial_trained",
            Self::TrialScored { .. } => "trial_scored",
            Self::TrialFailed { .. } => "trial_failed",
            Self::VariantPromoted { .. } => "variant_promoted",
            Self::VariantPruned { .. } => "variant_pruned",
            Self::ExperimentFinished { .. } => "experiment_finished",
            Self::IncumbentCompared { .. } => "incumbent_compared",
            Self::NoiseMeasured { .. } => "noise_measured",
            Self::InsightDistilled { .. } => "insight_distilled",
            Self::ModelCalled { .. } => "model_called",
            Self::GatesSet { .. } => "gates_set",
            Self::ReviewAsked(_) => "review_asked",
            Self::ReviewDecided(_) => "review_decided",
            Self::Ordered(_) => "ordered",
            Self::SearchStopped { .. } => "search_stopped",
            Self::FinalistChosen { .. } => "finalist_chosen",
            Self::FinalOpened { .. } => "final_opened",
            Self::FinalScored { .. } => "final_scored",
            Self::Delivered { .. } => "delivered",
            Self::Judged(_) => "judged",
            Self::RunFinished { .. } => "run_finished",
            Self::RunFailed(_) => "run_failed",
            Self::Warned { .. } => "warned",
        }
    }
}

/// An event with its number and time, as the store keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredEvent {
    /// Number within the run, from 1, without gaps.
    pub seq: u64,
    /// Run.
    pub run: RunId,
    /// When it was recorded.
    pub at: Millis,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}
