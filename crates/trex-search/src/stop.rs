//! When the search ends of its own accord. Budgets are not looked at here: the engine enforces them before every trial.

use trex_domain::{RunState, StopReason};

use crate::TreeView;

/// Says whether to stop, asked between two experiments: target reached, no gain for too long, or nothing left to try.
///
/// The target is compared with the incumbent's select score, or with the base's while there is no incumbent.
pub fn should_stop(state: &RunState, view: &TreeView) -> Option<StopReason> {
    let task = state.task.as_ref()?;
    let settings = &task.search;
    let score = state.select_score(state.incumbent.as_ref());
    let is_reached = |target: f64| score.is_some_and(|score| score.merit() >= task.metric.merit(target));
    if settings.target.is_some_and(is_reached) {
        return Some(StopReason::TargetReached);
    }
    if state.since_gain >= settings.plateau {
        return Some(StopReason::Plateau { experiments: state.since_gain });
    }
    view.strategies.iter().all(|strategy| strategy.exhausted).then_some(StopReason::Exhausted)
}
