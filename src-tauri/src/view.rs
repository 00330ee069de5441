//! What the screens show of a run, made from its folded events and the report that `trex tree` prints. Pure; decides
//! nothing about the run.

use std::collections::BTreeMap;

use serde::Serialize;
use trex_domain::{Millis, NodeReport, Report, ReportScore, RunFailure, RunId, RunState, VariantReport};
use trex_engine::{BudgetUse, build_report, why_best};
use trex_explorer::{NodeKind, NodeState, ShownScore, TreeNode, TreeView};
use ts_rs::TS;

/// Points of a loss curve beside a node.
const SPARK_POINTS: usize = 24;

/// A run as the screens show it.
#[derive(Clone, Debug, PartialEq, Serialize, TS)]
pub struct RunView {
    /// Id of the run.
    pub run: String,
    /// Number of the last event in it.
    #[ts(type = "number")]
    pub seq: u64,
    /// Name of the task.
    pub task: String,
    /// The requirement in plain words.
    pub goal: String,
    /// Base model.
    pub model: String,
    /// Metric.
    pub metric: String,
    /// Seed.
    #[ts(type = "number")]
    pub seed: u64,
    /// `running`, `finished`, `failed` or `interrupted`.
    pub status: String,
    /// Part of the run.
    pub phase: String,
    /// When the run began, in milliseconds since 1970.
    #[ts(type = "number")]
    pub started_ms: i64,
    /// What is used of the budget.
    pub budget: BudgetView,
    /// The base on select, or on the sealed split once that is open.
    pub base: Option<ShownScore>,
    /// The best so far, on the same split.
    pub best: Option<ShownScore>,
    /// Name of the best variant; absent where the base is best.
    pub incumbent: Option<String>,
    /// Verdict, once the run ended.
    pub verdict: Option<String>,
    /// Paired difference on the sealed split, with its interval.
    pub gain: Option<[f64; 3]>,
    /// Items of that comparison.
    #[ts(type = "number | null")]
    pub gain_n: Option<usize>,
    /// The policy's last choice.
    pub decision: Option<DecisionView>,
    /// Why the best is called best although another looks higher, or the other way round.
    pub why_best: Option<String>,
    /// Select scores in the order in which they were paid for.
    pub timeline: Vec<TimelinePoint>,
    /// How often it was resumed.
    #[ts(type = "number")]
    pub resumed: usize,
    /// The error that ended it.
    pub failure: Option<FailureView>,
    /// What was learned.
    pub insights: Vec<String>,
    /// Notes.
    pub warnings: Vec<String>,
    /// Decisions that wait for a person.
    #[ts(type = "number")]
    pub waits: usize,
    /// The tree.
    pub tree: TreeView,
}

/// What is used of the budget.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, TS)]
pub struct BudgetView {
    /// Trials that were started.
    #[ts(type = "number")]
    pub trials: usize,
    /// Trials that may be started.
    #[ts(type = "number")]
    pub max_trials: usize,
    /// Wall seconds at work.
    pub wall_s: f64,
    /// Wall seconds that may be spent.
    pub max_wall_s: Option<f64>,
    /// Processor seconds.
    pub cpu_s: f64,
}

/// Where the policy went and why.
#[derive(Clone, Debug, PartialEq, Serialize, TS)]
pub struct DecisionView {
    /// The chosen node.
    pub node: String,
    /// In a sentence.
    pub because: String,
    /// What it was chosen from: node, visits, value, prior, rank.
    pub candidates: Vec<(String, u32, f64, f64, f64)>,
}

/// One paid-for score.
#[derive(Clone, Debug, PartialEq, Serialize, TS)]
pub struct TimelinePoint {
    /// Processor or card seconds up to and with it.
    pub cost_s: f64,
    /// Its score.
    pub value: f64,
    /// Lower end of its interval.
    pub low: f64,
    /// Upper end of its interval.
    pub high: f64,
    /// The best value so far.
    pub best: f64,
    /// Name of the variant, or `base`.
    pub id: String,
}

/// The error that ended a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, TS)]
pub struct FailureView {
    /// Stable code.
    pub code: String,
    /// What happened.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl From<&RunFailure> for FailureView {
    fn from(failure: &RunFailure) -> Self {
        Self { code: failure.code.clone(), message: failure.message.clone(), hint: failure.hint.clone() }
    }
}

/// Whether a program works on the run, and at what moment it is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Whether somebody holds the workspace.
    pub at_work: bool,
    /// Now.
    pub now: Millis,
}

/// Makes the view of a run.
pub fn run_view(state: &RunState, run: RunId, moment: Moment) -> RunView {
    let report = build_report(state, run, BTreeMap::new());
    let task = state.task.as_ref();
    let mut used = BudgetUse::at(state, moment.now);
    if !moment.at_work {
        used.wall_s = state.cost.wall_s;
    }
    let compared = |effect: &trex_domain::Effect| [effect.diff, effect.ci95[0], effect.ci95[1]];
    RunView {
        run: run.to_string(),
        seq: state.seq,
        task: report.task.clone(),
        goal: report.goal.clone(),
        model: report.model.clone(),
        metric: task.map(|task| task.metric.to_string()).unwrap_or_default(),
        seed: state.seed,
        status: status_of(state, moment.at_work).to_owned(),
        phase: state.phase.map_or("none", trex_domain::Phase::as_str).to_owned(),
        started_ms: state.started.0,
        budget: BudgetView {
            trials: used.trials,
            max_trials: used.max_trials,
            wall_s: used.wall_s,
            max_wall_s: used.max_wall_s,
            cpu_s: state.cost.cpu_s,
        },
        base: report.base.as_ref().map(shown_score),
        best: report.final_.as_ref().map(shown_score),
        incumbent: state.incumbent.as_ref().map(ToString::to_string),
        verdict: report.verdict.and_then(|verdict| serde_json::to_value(verdict).ok()?.as_str().map(str::to_owned)),
        gain: report.gain.as_ref().map(|gain| compared(&gain.effect)),
        gain_n: report.gain.as_ref().map(|gain| gain.effect.n),
        decision: last_decision(state),
        why_best: why_best(&report),
        timeline: timeline(state),
        resumed: state.resumed,
        failure: state.failure.as_ref().map(FailureView::from),
        insights: state.insights.iter().map(|insight| insight.statement.clone()).collect(),
        warnings: state.warnings.clone(),
        waits: state.pending_reviews().count(),
        tree: tree_view(state, &report, moment.at_work),
    }
}

/// The words of `trex status`.
pub(crate) fn status_of(state: &RunState, at_work: bool) -> &'static str {
    match (state.verdict, at_work) {
        (Some(_), _) => "finished",
        (None, true) => "running",
        (None, false) if state.failure.is_some() => "failed",
        (None, false) => "interrupted",
    }
}

fn last_decision(state: &RunState) -> Option<DecisionView> {
    let (id, record) = state.node_order.iter().rev().find_map(|id| {
        let record = state.nodes.get(id)?;
        record.decision.as_ref().map(|decision| (id, decision))
    })?;
    let line = |one: &trex_domain::CandidateNumbers| {
        let visits = u32::try_from(one.visits).unwrap_or(u32::MAX);
        (one.node.to_string(), visits, one.value, one.prior, one.rank)
    };
    Some(DecisionView {
        node: id.to_string(),
        because: record.0.clone(),
        candidates: record.1.iter().map(line).collect(),
    })
}

/// Select scores in order of their trials; the base comes first and costs what scoring it cost.
fn timeline(state: &RunState) -> Vec<TimelinePoint> {
    let mut points = Vec::new();
    let mut cost_s = state.base_cost.cpu_s + state.base_cost.gpu_s;
    let mut best: Option<(f64, f64)> = None;
    let mut push = |id: String, score: &trex_domain::Score, cost_s: f64| {
        if best.is_none_or(|(merit, _)| score.merit() > merit) {
            best = Some((score.merit(), score.value));
        }
        let best = best.map_or(score.value, |(_, value)| value);
        points.push(TimelinePoint { cost_s, value: score.value, low: score.ci95[0], high: score.ci95[1], best, id });
    };
    if let Some(score) = state.select_score(None) {
        push("base".to_owned(), score, cost_s);
    }
    for key in &state.trial_order {
        let Some(trial) = state.trials.get(key) else { continue };
        if let Some(done) = &trial.done {
            cost_s += done.cost.cpu_s + done.cost.gpu_s;
        }
        if let Some(score) = trial.scores.get("select").filter(|_| key.2 == 0) {
            push(key.0.to_string(), score, cost_s);
        }
    }
    points
}

fn shown_score(score: &ReportScore) -> ShownScore {
    ShownScore { split: score.split.clone(), value: score.score, low: score.ci95[0], high: score.ci95[1], n: score.n }
}

struct Bases<'a> {
    state: &'a RunState,
}

impl Bases<'_> {
    fn gain(&self, score: &ReportScore) -> Option<f64> {
        let base = self.state.base_scores.get(&(score.split.clone(), 0))?;
        Some(score.merit() - base.merit())
    }
}

/// The tree, parents before children.
fn tree_view(state: &RunState, report: &Report, at_work: bool) -> TreeView {
    let incumbent = state.incumbent.as_ref().map(ToString::to_string);
    let best_path = |id: &str| match &incumbent {
        Some(best) => id == "base" || best == id || best.starts_with(&format!("{id}.")),
        None => id == "base",
    };
    let bases = Bases { state };
    let mut nodes = Vec::new();
    for node in &report.nodes {
        let strategy = strategy_kind(state, node);
        let mut inner = inner_node(state, node, strategy.clone(), at_work);
        inner.on_best_path = best_path(&inner.id);
        inner.is_best = incumbent.is_none() && node.parent.is_none();
        inner.gain = inner_gain(&bases, node);
        nodes.push(inner);
        for variant in &node.variants {
            let mut leaf = leaf_node(variant, &node.id.to_string(), &bases, at_work);
            leaf.strategy.clone_from(&strategy);
            leaf.on_best_path = best_path(&leaf.id);
            leaf.is_best = incumbent.as_deref() == Some(&leaf.id);
            nodes.push(leaf);
        }
    }
    raise_inner_values(&mut nodes);
    TreeView { metric: state.task.as_ref().map(|task| task.metric.to_string()).unwrap_or_default(), nodes }
}

fn strategy_kind(state: &RunState, node: &NodeReport) -> Option<String> {
    let id = node.id.strategy_part()?;
    Some(state.nodes.get(&id)?.strategy.as_ref()?.kind.as_str().to_owned())
}

fn inner_gain(bases: &Bases<'_>, node: &NodeReport) -> Option<f64> {
    if node.parent.is_none() {
        return bases.state.select_score(None).map(|_| 0.0);
    }
    let scores = node.variants.iter().filter_map(|variant| variant.select.as_ref());
    scores.filter_map(|score| bases.gain(score)).max_by(f64::total_cmp)
}

fn inner_node(state: &RunState, node: &NodeReport, strategy: Option<String>, at_work: bool) -> TreeNode {
    let record = state.nodes.get(&node.id);
    let is_base = node.parent.is_none();
    let begun = node.cost.wall_s > 0.0 || !node.variants.is_empty();
    let inner_state = match record {
        _ if is_base => NodeState::Evaluated,
        Some(record) if record.strategy.is_none() && record.finished => NodeState::Evaluated,
        // A batch that waits for its turn, because a person made it while another one is under way.
        Some(record) if record.strategy.is_none() && is_untouched(state, &record.variants) => NodeState::Proposed,
        Some(record) if record.strategy.is_none() && at_work => NodeState::Running,
        Some(record) if record.strategy.is_none() => NodeState::Interrupted,
        _ if begun => NodeState::Evaluated,
        _ => NodeState::Proposed,
    };
    TreeNode {
        id: node.id.to_string(),
        parent: node.parent.as_ref().map(ToString::to_string),
        kind: match record {
            _ if is_base => NodeKind::Base,
            Some(record) if record.strategy.is_none() => NodeKind::Experiment,
            _ => NodeKind::Strategy,
        },
        state: inner_state,
        title: if is_base { "untouched model".to_owned() } else { node.title.clone() },
        strategy,
        score: is_base.then(|| state.select_score(None)).flatten().map(|score| shown_score(&ReportScore::from(score))),
        gain: None,
        cost_s: node.cost.cpu_s + node.cost.gpu_s,
        on_best_path: false,
        is_best: false,
        spark: Vec::new(),
        note: None,
        pinned: state.is_pinned(node.id.as_str()),
        forbidden_by: forbidden_by(state, node.id.as_str()),
    }
}

fn is_untouched(state: &RunState, variants: &[trex_domain::VariantId]) -> bool {
    let proposed = |id| state.variants.get(id).is_some_and(|one| one.state == trex_domain::NodeState::Proposed);
    state.open_experiment().is_some_and(|(_, open)| open.variants != variants) && variants.iter().all(proposed)
}

fn forbidden_by(state: &RunState, name: &str) -> Option<String> {
    state.forbidden_by(name).map(|(by, _)| by.to_string())
}

fn leaf_node(variant: &VariantReport, parent: &str, bases: &Bases<'_>, at_work: bool) -> TreeNode {
    let score = variant.select.as_ref().or(variant.search.as_ref());
    let changes: Vec<String> = variant.diff.iter().map(|(setting, (_, to))| format!("{setting}={to}")).collect();
    TreeNode {
        id: variant.id.to_string(),
        parent: Some(parent.to_owned()),
        kind: NodeKind::Variant,
        state: leaf_state(variant.state, at_work),
        title: changes.join(" "),
        strategy: None,
        score: score.map(shown_score),
        gain: score.and_then(|score| bases.gain(score)),
        cost_s: variant.cost.cpu_s + variant.cost.gpu_s,
        on_best_path: false,
        is_best: false,
        spark: spark(variant),
        note: variant.note.clone(),
        pinned: bases.state.is_pinned(variant.id.as_str()),
        forbidden_by: forbidden_by(bases.state, variant.id.as_str()),
    }
}

fn leaf_state(state: trex_domain::NodeState, at_work: bool) -> NodeState {
    use trex_domain::NodeState as Domain;
    match state {
        Domain::Proposed => NodeState::Proposed,
        Domain::Verified => NodeState::Verified,
        Domain::Rejected => NodeState::Rejected,
        Domain::Cached => NodeState::Cached,
        Domain::Running if at_work => NodeState::Running,
        Domain::Running => NodeState::Interrupted,
        Domain::Evaluated => NodeState::Evaluated,
        Domain::Promoted => NodeState::Promoted,
        Domain::Pruned => NodeState::Pruned,
        Domain::Failed => NodeState::Failed,
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a picture of a curve")]
fn spark(variant: &VariantReport) -> Vec<f32> {
    let step = variant.curve.len().div_ceil(SPARK_POINTS).max(1);
    variant.curve.iter().step_by(step).map(|point| point.loss as f32).collect()
}

/// A strategy is as good as the best below it, and at work while something below it is.
fn raise_inner_values(nodes: &mut [TreeNode]) {
    let index: BTreeMap<String, usize> = nodes.iter().enumerate().map(|(at, node)| (node.id.clone(), at)).collect();
    for at in (0..nodes.len()).rev() {
        let Some(parent) = nodes[at].parent.as_ref().and_then(|id| index.get(id).copied()) else { continue };
        if nodes[parent].kind == NodeKind::Base {
            continue;
        }
        let (gain, state) = (nodes[at].gain, nodes[at].state);
        let above = &mut nodes[parent];
        above.gain = match (above.gain, gain) {
            (Some(a), Some(b)) => Some(a.max(b)),
            (a, b) => a.or(b),
        };
        if matches!(state, NodeState::Running | NodeState::Interrupted) {
            above.state = state;
        }
    }
}
