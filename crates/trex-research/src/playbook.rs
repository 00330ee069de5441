//! The built-in Researcher: rules from task features plus a surrogate over past trials. No language model, no memory:
//! the same request gives the same answer. What it proposes is checked by others.

use std::collections::BTreeSet;
use std::error::Error;

use trex_domain::{
    ContentHash, Effect, FirstVariant, Insight, NodeId, NodeRecord, Recipe, Researcher, RunState, Strategy,
    StrategyKind, StrategyRequest, TrainConfig, Variant, VariantId, seeded_rng,
};

use crate::facts::Facts;
use crate::moves::{self, Candidate};
use crate::recipes::completed;
use crate::{ResearchError, strategies, surrogate};

/// Candidates that the surrogate is asked for per variant wanted, as some will have been tried.
const SPARE: usize = 2;

/// The Playbook.
///
/// A variant's parent is the best winner of its strategy or of the whole tree, else the task's starting point: no operators
/// and the task's training configuration. What similar past tasks gained by has one place of a batch, where the state has a
/// warm start. Every recipe removes leaked rows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Playbook;

impl Researcher for Playbook {
    fn strategies(&self, request: StrategyRequest<'_>) -> Result<Vec<Strategy>, Box<dyn Error + Send + Sync>> {
        Ok(strategies::strategies(&request))
    }

    fn variants(
        &self,
        request: StrategyRequest<'_>,
        strategy: &NodeId,
        node: &NodeId,
        count: usize,
    ) -> Result<Vec<Variant>, Box<dyn Error + Send + Sync>> {
        Ok(propose_around(&request, strategy, node, count, |_| (Vec::new(), Vec::new()))?)
    }

    fn distil(&self, state: &RunState, node: &NodeId, effect: Effect, significant: bool) -> Vec<Insight> {
        crate::distil::distil(state, node, effect, significant)
    }
}

/// What a batch starts from.
pub(crate) struct Parent<'a> {
    pub(crate) id: Option<VariantId>,
    pub(crate) recipe: &'a Recipe,
    pub(crate) config: &'a TrainConfig,
}

/// The first `count` of what `around` proposes for a parent before and after the Playbook's own candidates, and of these.
pub(crate) fn propose_around(
    request: &StrategyRequest<'_>,
    strategy: &NodeId,
    node: &NodeId,
    count: usize,
    around: impl FnOnce(&Parent<'_>) -> (Vec<Candidate>, Vec<Candidate>),
) -> Result<Vec<Variant>, ResearchError> {
    let record = request.state.nodes.get(strategy).and_then(|record| record.strategy.as_ref());
    let kind = record.ok_or_else(|| ResearchError::UnknownStrategy { node: strategy.clone() })?.kind;
    let empty = Recipe::default();
    let parent = parent(request, strategy, &empty);
    let (mut all, last) = around(&parent);
    all.extend(candidates(request, kind, &parent, node, count));
    all.extend(last);
    pick(request, &parent, all, node, count)
}

fn parent<'a>(request: &StrategyRequest<'a>, strategy: &NodeId, empty: &'a Recipe) -> Parent<'a> {
    match best_of(request.state, strategy).and_then(|id| request.state.variants.get(id)) {
        Some(record) => Parent {
            id: Some(record.variant.id.clone()),
            recipe: &record.variant.recipe,
            config: &record.variant.config,
        },
        None => Parent { id: None, recipe: empty, config: &request.task.train },
    }
}

/// The winner that a strategy goes on from: its own best one or the best of the whole tree, whichever has the higher value,
/// whether or not it is beyond doubt better than the base. Of equal ones its own, then the earlier.
fn best_of<'a>(state: &'a RunState, strategy: &NodeId) -> Option<&'a VariantId> {
    let own = best_with_value(state, |node| node.parent == *strategy);
    let any = best_with_value(state, |_| true);
    let best = match (own, any) {
        (Some(own), Some(any)) if any.1 > own.1 => Some(any),
        (own, any) => own.or(any),
    };
    best.map(|(winner, _)| winner)
}

/// The winner of these experiments with the best value; of equal ones the earlier. Values are turned so that more is better.
fn best_with_value(state: &RunState, among: impl Fn(&NodeRecord) -> bool) -> Option<(&VariantId, f64)> {
    let nodes = state.node_order.iter().filter_map(|id| state.nodes.get(id)).filter(|node| among(node));
    let metric = state.task.as_ref().map(|task| task.metric);
    let merit = |value: f64| metric.map_or(value, |metric| metric.merit(value));
    let scored = nodes.filter_map(|node| Some((node.winner.as_ref()?, merit(node.value?))));
    // `min_by` keeps the first of equal ones.
    scored.min_by(|a, b| b.1.total_cmp(&a.1))
}

fn candidates(
    request: &StrategyRequest<'_>,
    kind: StrategyKind,
    parent: &Parent<'_>,
    node: &NodeId,
    count: usize,
) -> Vec<Candidate> {
    let facts = Facts::of(request);
    let list = match kind {
        StrategyKind::Baseline => moves::baseline(parent.recipe, parent.config, &facts),
        StrategyKind::RefineData => moves::refine_data(parent.recipe, parent.config, &facts),
        StrategyKind::ConstructData => moves::construct_data(parent.recipe, parent.config, &facts),
        StrategyKind::AdjustTraining => adjust_training(request, parent, &facts, node, count),
        StrategyKind::Fuse => fuse(request.state),
    };
    let complete = |one: Candidate| Candidate { recipe: completed(&one.recipe, &facts), ..one };
    known_candidates(request.state, kind, list).into_iter().map(complete).collect()
}

/// What helped similar past tasks, beside what is proposed anyway: one place of each batch after the first candidate of this
/// task's own, of all kinds in the first batch of a run, later of the kind of the strategy. More would cost more than it
/// brings: on recorded surfaces, batches that began with two past winners ended behind those that began with none.
fn known_candidates(state: &RunState, kind: StrategyKind, own: Vec<Candidate>) -> Vec<Candidate> {
    let Some(warm) = &state.warm_start else { return own };
    let is_first_batch = state.variants.is_empty();
    let is_tried = |one: &FirstVariant| {
        let mut all = state.variants.values().map(|record| &record.variant);
        // What is proposed is completed with steps that every recipe has.
        let has = |variant: &Variant| one.recipe.operators.iter().all(|step| variant.recipe.operators.contains(step));
        all.any(|variant| variant.config == one.config && has(variant))
    };
    let known = warm.first.iter().filter(|one| is_first_batch || one.strategy == kind).find(|one| !is_tried(one));
    let known = known.map(|one| Candidate {
        recipe: one.recipe.clone(),
        config: one.config.clone(),
        why: format!("{} gained {:+.3} with it", one.from, one.gain),
    });
    let mut own = own.into_iter();
    own.next().into_iter().chain(known).chain(own).collect()
}

/// The surrogate's proposals once it has any, then the fixed list, taken in turns.
fn adjust_training(
    request: &StrategyRequest<'_>,
    parent: &Parent<'_>,
    facts: &Facts,
    node: &NodeId,
    count: usize,
) -> Vec<Candidate> {
    let recipe = completed(parent.recipe, facts);
    let task = &request.task.train;
    let fixed = moves::adjust_training(&recipe, parent.config, task, facts);
    let mut rng = seeded_rng(request.state.seed, &format!("playbook/{node}"));
    let numeric = surrogate::propose(request.state, &recipe, parent.config, task, SPARE * count, &mut rng);
    let mut out = Vec::with_capacity(fixed.len() + numeric.len());
    let (mut fixed, mut numeric) = (fixed.into_iter(), numeric.into_iter());
    // Two numeric proposals, then one structural change that the surrogate cannot extrapolate to.
    loop {
        let before = out.len();
        out.extend(numeric.by_ref().take(2));
        out.extend(fixed.next());
        if out.len() == before {
            return out;
        }
    }
}

fn fuse(state: &RunState) -> Vec<Candidate> {
    let others = state.strategies().filter(|(_, _, strategy)| strategy.kind != StrategyKind::Fuse);
    let best = others.filter_map(|(id, _, strategy)| {
        let (winner, value) = best_with_value(state, |node| node.parent == *id)?;
        let variant = &state.variants.get(winner)?.variant;
        Some((value, &variant.recipe, &variant.config, format!("{winner} ({})", strategy.title)))
    });
    let mut best: Vec<_> = best.collect();
    best.sort_by(|a, b| b.0.total_cmp(&a.0));
    let branches: Vec<_> = best.into_iter().map(|(_, recipe, config, name)| (recipe, config, name)).collect();
    moves::fuse(&branches)
}

/// Takes the first candidates that are valid and were not proposed before, here or elsewhere in the tree.
fn pick(
    request: &StrategyRequest<'_>,
    parent: &Parent<'_>,
    candidates: Vec<Candidate>,
    node: &NodeId,
    count: usize,
) -> Result<Vec<Variant>, ResearchError> {
    let variants = request.state.variants.values().map(|record| &record.variant);
    let mut seen = variants
        .map(|variant| content(&variant.recipe, &variant.config))
        .collect::<Result<BTreeSet<_>, ResearchError>>()?;
    let mut out = Vec::new();
    for candidate in candidates {
        if out.len() >= count {
            break;
        }
        let is_new = seen.insert(content(&candidate.recipe, &candidate.config)?);
        if !is_new || candidate.config.validate().is_err() {
            continue;
        }
        let diff = trex_domain::variant_diff((parent.recipe, parent.config), (&candidate.recipe, &candidate.config))?;
        out.push(Variant {
            id: VariantId::new(node, out.len()),
            parent: parent.id.clone(),
            diff,
            why: candidate.why,
            recipe: candidate.recipe,
            config: candidate.config,
        });
    }
    Ok(out)
}

fn content(recipe: &Recipe, config: &TrainConfig) -> Result<ContentHash, ResearchError> {
    Ok(ContentHash::of_value("trex.proposal.v1", &(recipe, config))?)
}
