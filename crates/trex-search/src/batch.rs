//! Successive halving inside a batch, as a function of the state: the same state always gives the same next step.
//!
//! 1. Every proposed variant is verified, in order.
//! 2. Every live variant is run at the lowest rung that still has one waiting.
//! 3. Of the `n` variants that were scored at that rung the best `⌈n/η⌉` go on and the others are pruned. Under asynchronous
//!    promotion a variant that goes on must also be among the best `⌈N/η⌉` of all `N` variants of the run that were scored
//!    at the rung. A variant that will hardly reach the incumbent, extrapolated from the rung, is pruned too.
//! 4. At the top rung the best search score wins and is scored once more on the select split.
//!
//! The places of step 3 are taken over all variants that have a score at the rung, also those that were moved on already,
//! so that a run killed between two promotions goes on with the same places. Variants that a person pinned have the first places
//! of step 3 and go on however well they do; what a person forbade is pruned as soon as no worker is at it. Duplicates are never run; the variant they
//! equal stands for them in the report. A variant that failed stays failed: it is out of the batch without a step.

use trex_domain::{
    NodeId, NodeState, Promotion, PruneReason, RunState, SearchSettings, TrialKey, VariantId, VariantRecord,
};

use crate::curve::reach_of;
use crate::policy::policy;

/// What to do next for a batch.
#[derive(Clone, Debug, PartialEq)]
pub enum BatchStep {
    /// Ask the verifier about a variant.
    Verify(VariantId),
    /// Train and score a trial on the search split; what of it is there already is skipped by the engine.
    Run {
        /// Variant.
        variant: VariantId,
        /// Rung, from 0.
        rung: usize,
        /// Training seed number; always 0 here.
        seed: u64,
    },
    /// Move a variant on.
    Promote {
        /// Variant.
        variant: VariantId,
        /// The new rung.
        rung: usize,
    },
    /// Give a variant up.
    Prune {
        /// Variant.
        variant: VariantId,
        /// Why.
        reason: PruneReason,
    },
    /// Score the winner's top-rung trial (seed 0) on the select split.
    ScoreSelect {
        /// Variant.
        variant: VariantId,
    },
    /// The batch is through.
    Finished {
        /// The best variant; absent where none was scored at the top rung.
        winner: Option<VariantId>,
    },
}

/// Returns the next step for the batch of an experiment. An experiment that does not exist is finished without winner.
pub fn next_in_batch(state: &RunState, node: &NodeId) -> BatchStep {
    let (Some(record), Some(task)) = (state.nodes.get(node), &state.task) else {
        return BatchStep::Finished { winner: None };
    };
    if record.finished {
        return BatchStep::Finished { winner: record.winner.clone() };
    }
    let batch: Vec<_> = record.variants.iter().filter_map(|id| Some((id, state.variants.get(id)?))).collect();
    if let Some((id, _)) = batch.iter().find(|(_, variant)| variant.state == NodeState::Proposed) {
        return BatchStep::Verify((*id).clone());
    }
    if let Some((id, reason)) = forbidden_in(state, &batch) {
        return BatchStep::Prune { variant: id.clone(), reason };
    }
    let Some(rung) = batch.iter().filter(|(_, variant)| is_live(variant.state)).map(|(_, one)| one.rung).min() else {
        return BatchStep::Finished { winner: None };
    };
    if let Some(id) = waiting_at(&batch, rung) {
        return BatchStep::Run { variant: id.clone(), rung, seed: 0 };
    }
    if rung < task.top_rung() {
        return halve(state, &batch, rung, &task.search);
    }
    finish(state, &batch, rung)
}

/// The variants of a batch that wait to be run at its lowest rung, in order; none where its next step is another one.
pub fn waiting_in_batch(state: &RunState, node: &NodeId) -> (usize, Vec<VariantId>) {
    let BatchStep::Run { rung, .. } = next_in_batch(state, node) else { return (0, Vec::new()) };
    let variants = state.nodes.get(node).map_or(&[][..], |record| record.variants.as_slice());
    let waits = |id: &&VariantId| state.variants.get(id).is_some_and(|one| waits_at(one, rung));
    (rung, variants.iter().filter(waits).cloned().collect())
}

/// Variants with a search score at a rung (training seed 0), best first; of equal ones the earlier id first.
///
/// At the top the score counts, turned so that more is better. Below it the mean probability of the gold answers does, where all
/// have one: early in a training it moves before any answer does. What that is worth: docs/benchmarks.md.
pub fn rank(state: &RunState, variants: &[VariantId], rung: usize) -> Vec<(VariantId, f64)> {
    let score = |id: &VariantId| {
        let key: TrialKey = (id.clone(), rung, 0);
        Some((id.clone(), state.trial_score(&key, "search")?))
    };
    let scored: Vec<_> = variants.iter().filter_map(score).collect();
    let is_below = state.task.as_ref().is_some_and(|task| rung < task.top_rung());
    let promise: Option<Vec<f64>> = scored.iter().map(|(_, score)| score.gold_prob.filter(|_| is_below)).collect();
    let values = promise.unwrap_or_else(|| scored.iter().map(|(_, score)| score.merit()).collect());
    let mut ranked: Vec<_> = scored.into_iter().map(|(id, _)| id).zip(values).collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    ranked
}

type Batch<'a> = [(&'a VariantId, &'a VariantRecord)];

fn is_live(state: NodeState) -> bool {
    matches!(state, NodeState::Verified | NodeState::Running | NodeState::Evaluated | NodeState::Promoted)
}

/// The first variant that a person does not want to be gone on with. One that a worker has begun is carried to its score first.
fn forbidden_in<'a>(state: &RunState, batch: &Batch<'a>) -> Option<(&'a VariantId, PruneReason)> {
    let live = batch.iter().filter(|(_, variant)| is_live(variant.state) && variant.state != NodeState::Running);
    live.into_iter().find_map(|(id, _)| {
        let (_, reason) = state.forbidden_by(id.as_str())?;
        Some((*id, PruneReason::Forbidden { reason: reason.to_owned() }))
    })
}

fn waiting_at<'a>(batch: &Batch<'a>, rung: usize) -> Option<&'a VariantId> {
    batch.iter().find(|(_, variant)| waits_at(variant, rung)).map(|(id, _)| *id)
}

fn waits_at(variant: &VariantRecord, rung: usize) -> bool {
    variant.rung == rung && is_live(variant.state) && variant.state != NodeState::Evaluated
}

fn ids(batch: &Batch<'_>) -> Vec<VariantId> {
    batch.iter().map(|(id, _)| (*id).clone()).collect()
}

/// Whether a variant stands scored at a rung, not yet moved on.
fn stands_at(batch: &Batch<'_>, id: &VariantId, rung: usize) -> bool {
    batch.iter().any(|(other, one)| *other == id && one.state == NodeState::Evaluated && one.rung == rung)
}

fn halve(state: &RunState, batch: &Batch<'_>, rung: usize, settings: &SearchSettings) -> BatchStep {
    let mut ranked = rank(state, &ids(batch), rung);
    // The sort keeps the order of those that are equal in this.
    ranked.sort_by_key(|(variant, _)| !state.is_pinned(variant.as_str()));
    let of = ranked.len();
    let keep = kept(of, settings.eta);
    for (index, (variant, _)) in ranked.into_iter().enumerate() {
        if !stands_at(batch, &variant, rung) {
            continue;
        }
        let reason = if index < keep {
            why_not_on(state, &variant, rung, settings)
        } else {
            Some(PruneReason::Halving { place: index + 1, of })
        };
        return match reason {
            None => BatchStep::Promote { variant, rung: rung + 1 },
            Some(reason) => BatchStep::Prune { variant, reason },
        };
    }
    BatchStep::Finished { winner: None }
}

/// How many of `of` variants go up a rung; one at least.
pub fn kept(of: usize, eta: usize) -> usize {
    of.div_ceil(eta.max(1)).max(1)
}

/// What ends a variant that is among the best of its batch; `None` where it goes on.
fn why_not_on(state: &RunState, variant: &VariantId, rung: usize, settings: &SearchSettings) -> Option<PruneReason> {
    if state.is_pinned(variant.as_str()) {
        return None;
    }
    if promotion(settings) == Promotion::Asynchronous {
        let everyone: Vec<_> = state.variants.keys().cloned().collect();
        let ranked = rank(state, &everyone, rung);
        let of = ranked.len();
        let place = ranked.iter().position(|(id, _)| id == variant).map_or(of, |index| index + 1);
        if place > kept(of, settings.eta) {
            return Some(PruneReason::Outclassed { place, of });
        }
    }
    let reach = reach_of(state, variant, rung)?;
    (reach < settings.min_reach).then_some(PruneReason::Hopeless { reach })
}

/// Among whom a variant must stand out; a policy that does not exist was refused before a run began.
pub(crate) fn promotion(settings: &SearchSettings) -> Promotion {
    policy(&settings.policy).map_or(settings.promotion, |policy| policy.promotion(settings))
}

fn finish(state: &RunState, batch: &Batch<'_>, top: usize) -> BatchStep {
    let winner = rank(state, &ids(batch), top).into_iter().find(|(id, _)| stands_at(batch, id, top));
    let Some((winner, _)) = winner else {
        return BatchStep::Finished { winner: None };
    };
    if state.select_score(Some(&winner)).is_none() {
        return BatchStep::ScoreSelect { variant: winner };
    }
    BatchStep::Finished { winner: Some(winner) }
}
