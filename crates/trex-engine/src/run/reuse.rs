//! Which training of another variant a trial goes on from: one that is equal to it so far, so that nothing but time is saved.
//!
//! A variant that only trains longer shares its first steps with its parent where the schedule of the learning rate does not
//! depend on the length (constant, or warm-up–stable–decay before its decay). Then the parent's checkpoint is the one that
//! the variant would have left there itself, to the byte. A cosine of another length has other learning rates from the first step
//! on: going on from there would be another training, which no repetition and no further seed would be comparable with, so that is
//! not done.

use trex_domain::{Continued, RunState, TrialKey};

/// The training with the most steps that a trial can go on from, beyond what its own lower rung did.
pub(super) fn continued(state: &RunState, key: &TrialKey) -> Option<Continued> {
    let (own, rung, seed) = key;
    let record = state.variants.get(own)?;
    let (data, config) = (record.data?, &record.variant.config);
    let stop = state.task.as_ref()?.rung_steps(config.max_steps, *rung);
    let reached = steps_below(state, key);
    let others = state.trials.iter().filter(|((id, _, other), _)| id != own && other == seed);
    let found = others.filter_map(|((id, rung, _), trial)| {
        let steps = trial.done.as_ref()?.steps;
        let other = state.variants.get(id)?;
        let is_usable = steps > reached && steps <= stop && other.data == Some(data);
        let is_equal = is_usable && other.variant.config.is_equal_until(config, steps);
        is_equal.then(|| Continued { variant: id.clone(), rung: *rung, steps })
    });
    // `min_by` keeps the first of equal ones.
    found.min_by(|a, b| b.steps.cmp(&a.steps))
}

/// Steps that the lower rung of a trial did.
pub(super) fn steps_below(state: &RunState, (variant, rung, seed): &TrialKey) -> usize {
    let below = rung.checked_sub(1).and_then(|below| state.trials.get(&(variant.clone(), below, *seed)));
    below.and_then(|trial| trial.done.as_ref()).map_or(0, |done| done.steps)
}
