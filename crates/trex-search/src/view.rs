//! What a policy sees of the tree: one line per strategy, made from the folded state. Decides nothing.

use std::collections::BTreeSet;

use trex_domain::{NodeId, NodeRecord, RunState, Score, StrategyKind};

use crate::curve::carried_best;
use crate::numbers::mean;

/// Strategies with a value that a [`StrategyKind::Fuse`] needs before there is something to join.
const FUSE_NEEDS: usize = 2;

/// A strategy as a policy sees it. Scores are select scores turned so that more is better; policies normalise them over
/// the whole tree.
#[derive(Clone, Debug, PartialEq)]
pub struct StrategyView {
    /// The strategy.
    pub node: NodeId,
    /// What it works on.
    pub kind: StrategyKind,
    /// How promising it was before anything was tried, in (0, 1].
    pub prior: f64,
    /// Finished experiments, failed ones included.
    pub visits: usize,
    /// Experiments that are proposed and not finished; each counts as a lost visit (virtual loss) until it is.
    pub in_flight: usize,
    /// Best select score of its experiments.
    pub best: Option<f64>,
    /// Mean select score of its experiments that have one.
    pub mean: Option<f64>,
    /// Values of its finished experiments that have one, in order. An experiment that ended below the top rung has its best
    /// score there, carried up by the mean gain of the run.
    pub values: Vec<f64>,
    /// Finished experiments without any score that no later one made good.
    pub failures: usize,
    /// Finished experiments without any score after which the strategy brought one.
    pub repaired: usize,
    /// Change of the metric that the Researcher expects.
    pub expected_effect: f64,
    /// Whether nothing can be tried there now.
    pub exhausted: bool,
    /// Whether a person pinned it, or something below it, so that it goes before those that are not.
    pub pinned: bool,
    /// Expected cost relative to one full-fidelity trial.
    pub expected_cost: f64,
}

/// The tree as a policy sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct TreeView {
    /// Strategies in order of creation.
    pub strategies: Vec<StrategyView>,
    /// Select score of the untouched base, turned likewise; 0 where it was not measured.
    pub base: f64,
    /// Finished experiments since the incumbent last changed.
    pub since_gain: usize,
    /// Kinds of the last two finished experiments, the latest last.
    pub recent: Vec<StrategyKind>,
}

impl TreeView {
    /// Experiments of the whole tree, finished and in flight.
    pub fn total_visits(&self) -> usize {
        self.strategies.iter().map(StrategyView::children).sum()
    }
}

impl StrategyView {
    /// Experiments below it, finished and in flight.
    pub fn children(&self) -> usize {
        self.visits + self.in_flight
    }
}

/// Looks at the tree. `exhausted` names strategies for which the Researcher had nothing new to propose; those that a person
/// rejected or forbade count as such.
///
/// A strategy that fuses two others counts as exhausted until two others have a score: there is nothing to join before.
pub fn tree_view(state: &RunState, exhausted: &BTreeSet<NodeId>) -> TreeView {
    let merit = |value: f64| state.task.as_ref().map_or(value, |task| task.metric.merit(value));
    let mut strategies: Vec<_> = state
        .strategies()
        .map(|(id, node, strategy)| {
            let unwanted = node.rejected.is_some() || state.forbidden_by(id.as_str()).is_some();
            let experiments: Vec<&NodeRecord> = state.experiments(id).map(|(_, node)| node).collect();
            let finished = experiments.iter().filter(|node| node.finished);
            let outcomes: Vec<Option<f64>> =
                finished.map(|node| node.value.map(merit).or_else(|| carried_best(state, &node.variants))).collect();
            let values: Vec<f64> = outcomes.iter().flatten().copied().collect();
            let visits = outcomes.len();
            let last_good = outcomes.iter().rposition(Option::is_some).unwrap_or(0);
            let repaired = outcomes[..last_good].iter().filter(|one| one.is_none()).count();
            StrategyView {
                node: id.clone(),
                kind: strategy.kind,
                prior: strategy.prior,
                visits,
                in_flight: experiments.len() - visits,
                best: values.iter().copied().max_by(f64::total_cmp),
                mean: mean(&values),
                failures: visits - values.len() - repaired,
                repaired,
                expected_effect: strategy.expected_effect,
                values,
                exhausted: unwanted || exhausted.contains(id),
                pinned: state.pinned.iter().any(|part| part.strategy() == *id),
                expected_cost: strategy.expected_cost,
            }
        })
        .collect();
    close_early_fusions(&mut strategies);
    TreeView {
        strategies,
        base: state.select_score(None).map_or(0.0, Score::merit),
        since_gain: state.since_gain,
        recent: recent_kinds(state),
    }
}

fn close_early_fusions(strategies: &mut [StrategyView]) {
    let scored = strategies.iter().filter(|one| one.kind != StrategyKind::Fuse && one.best.is_some()).count();
    if scored >= FUSE_NEEDS {
        return;
    }
    for fusion in strategies.iter_mut().filter(|one| one.kind == StrategyKind::Fuse) {
        fusion.exhausted = true;
    }
}

fn recent_kinds(state: &RunState) -> Vec<StrategyKind> {
    let kind = |node: &NodeRecord| Some(state.nodes.get(&node.parent)?.strategy.as_ref()?.kind);
    let finished = state.node_order.iter().filter_map(|id| state.nodes.get(id)).filter(|node| node.finished);
    let mut kinds: Vec<_> = finished.filter_map(kind).collect();
    kinds.split_off(kinds.len().saturating_sub(2))
}
