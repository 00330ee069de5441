//! Why the search does what it does, in numbers: every action with what it could have been done with instead. Decides
//! nothing; what it tells is worked out from the same state by the same functions.

use std::collections::BTreeMap;

use trex_domain::{
    ActionCandidate, ActionRecord, NodeId, NodeState, PruneReason, RunState, SearchAction, StopReason, VariantId,
};

use crate::curve::reach_of;
use crate::{BatchStep, TreeView, forecast_trial_cost, rank};

/// The record of a step of a batch; `None` where nothing was chosen: a verification, a training that goes on after its
/// worker died, the end of a batch.
pub fn explain_step(state: &RunState, node: &NodeId, step: &BatchStep) -> Option<ActionRecord> {
    let record = |action, subject: &VariantId, because, candidates| {
        Some(ActionRecord { action, subject: subject.to_string(), because, candidates })
    };
    match step {
        BatchStep::Verify(_) | BatchStep::Finished { .. } => None,
        BatchStep::Run { variant, rung, seed } => {
            if state.trials.contains_key(&(variant.clone(), *rung, *seed)) {
                return None;
            }
            let because =
                format!("the next of its batch that waits at rung {rung}, which is the lowest with one waiting");
            record(SearchAction::Run, variant, because, waiting(state, node, *rung))
        }
        BatchStep::Promote { variant, rung } => {
            let because = if state.is_pinned(variant.as_str()) {
                format!("a person pinned it, so it goes on from rung {} before others of its batch", rung - 1)
            } else {
                format!("among the best of its batch at rung {}", rung - 1)
            };
            record(SearchAction::Promote, variant, because, ranked(state, node, rung - 1))
        }
        BatchStep::Prune { variant, reason } => {
            let rung = state.variants.get(variant).map_or(0, |one| one.rung);
            record(SearchAction::Prune, variant, pruned_because(reason, rung), ranked(state, node, rung))
        }
        BatchStep::ScoreSelect { variant } => {
            let top = state.task.as_ref().map_or(0, trex_domain::TaskSpec::top_rung);
            let because = "the best of its batch at the top rung on the search split, so it is scored again on items \
                           that did not choose it"
                .to_owned();
            record(SearchAction::Select, variant, because, ranked(state, node, top))
        }
    }
}

/// The record of the end of the search.
pub fn explain_stop(state: &RunState, view: &TreeView, reason: &StopReason) -> ActionRecord {
    let Some(task) = &state.task else {
        return ActionRecord {
            action: SearchAction::Stop,
            subject: NodeId::base().to_string(),
            because: String::new(),
            candidates: Vec::new(),
        };
    };
    let (because, rule) = match reason {
        StopReason::TargetReached => ("the target is reached".to_owned(), "target"),
        StopReason::Budget { limit } => (format!("no next trial fits into the budget ({})", limit.as_str()), "budget"),
        StopReason::Plateau { experiments } => {
            (format!("{experiments} experiments in a row brought no gain"), "plateau")
        }
        StopReason::Exhausted => ("nothing admissible is left to try".to_owned(), "exhausted"),
    };
    let next = forecast_trial_cost(state, &task.train, 0);
    let score = state.select_score(state.incumbent.as_ref()).map(|score| score.value);
    let open = view.strategies.iter().filter(|one| !one.exhausted).count();
    let target = [("score", score), ("target", task.search.target)];
    let target = target.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let candidates = vec![
        candidate("target", target),
        candidate(
            "budget",
            [
                ("trials", state.trials.len() as f64),
                ("trials_allowed", task.budget.trials as f64),
                ("next_wall_s", next.wall_s),
                ("next_cpu_s", next.cpu_s),
            ],
        ),
        candidate("plateau", [("without_gain", state.since_gain as f64), ("allowed", task.search.plateau as f64)]),
        candidate("exhausted", [("open_strategies", open as f64)]),
    ];
    ActionRecord { action: SearchAction::Stop, subject: rule.to_owned(), because, candidates }
}

fn pruned_because(reason: &PruneReason, rung: usize) -> String {
    match reason {
        PruneReason::Halving { place, of } => {
            format!("place {place} of {of} of its batch at rung {rung}, and fewer go on")
        }
        PruneReason::Outclassed { place, of } => {
            format!("place {place} of {of} of all variants of the run at rung {rung}, and fewer go on")
        }
        PruneReason::Hopeless { reach } => format!(
            "extrapolated from rung {rung} it reaches the best so far with probability {reach:.3}, less than min_reach"
        ),
        PruneReason::Budget => "its next trial does not fit into the rest of the budget".to_owned(),
        PruneReason::Failed => "it failed".to_owned(),
        PruneReason::Forbidden { reason } => format!("a person forbade it: {reason}"),
    }
}

fn candidate<'a>(name: &str, numbers: impl IntoIterator<Item = (&'a str, f64)>) -> ActionCandidate {
    let numbers: BTreeMap<String, f64> = numbers
        .into_iter()
        .filter(|(_, value)| value.is_finite())
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    ActionCandidate { name: name.to_owned(), numbers }
}

/// The variants of a batch that wait for a trial at a rung.
fn waiting(state: &RunState, node: &NodeId, rung: usize) -> Vec<ActionCandidate> {
    let variants = state.nodes.get(node).map(|record| record.variants.as_slice()).unwrap_or_default();
    let waits = |id: &&VariantId| {
        let one = state.variants.get(*id);
        one.is_some_and(|one| one.rung == rung && matches!(one.state, NodeState::Verified | NodeState::Promoted))
    };
    let numbers = |id: &VariantId| {
        let config = state.variants.get(id).map(|one| one.variant.config.clone()).unwrap_or_default();
        let cost = forecast_trial_cost(state, &config, rung);
        candidate(id.as_str(), [("forecast_wall_s", cost.wall_s), ("forecast_cpu_s", cost.cpu_s)])
    };
    variants.iter().filter(waits).map(numbers).collect()
}

/// The variants of a batch with a score at a rung, best first.
fn ranked(state: &RunState, node: &NodeId, rung: usize) -> Vec<ActionCandidate> {
    let variants = state.nodes.get(node).map(|record| record.variants.as_slice()).unwrap_or_default();
    let ranked = rank(state, variants, rung);
    let numbers = ranked.iter().enumerate().map(|(index, (id, _))| {
        let score = state.trial_score(&(id.clone(), rung, 0), "search");
        let numbers = [
            ("place", Some((index + 1) as f64)),
            ("score", score.map(trex_domain::Score::merit)),
            ("gold_prob", score.and_then(|score| score.gold_prob)),
            ("reach", reach_of(state, id, rung)),
        ];
        candidate(id.as_str(), numbers.into_iter().filter_map(|(name, value)| Some((name, value?))))
    });
    numbers.collect()
}
