//! What a run taught, folded from its events: what was tried, what came of it, which comparisons speak for what.
//!
//! Search and select scores only: what the sealed split said is left out, so that it can never influence another run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Evidence, InsightKey, TaskFeatures, change_words};
use crate::{
    Comparison, ContentHash, DomainError, Event, GateStage, Millis, NodeState, Recipe, ReviewSubject, RunId, RunState,
    Score, StoredEvent, StrategyKind, TrainConfig, TrainMethod, Variant, VariantDiff, VariantId, Verdict, variant_diff,
};

/// A configuration that was tried, with what it was worth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PastExperiment {
    /// The run.
    pub run: RunId,
    /// The variant within it.
    pub variant: VariantId,
    /// Names model, data and configuration: equal names are the same training.
    pub key: ContentHash,
    /// Kind of its strategy.
    pub strategy: StrategyKind,
    /// Whole recipe.
    pub recipe: Recipe,
    /// Whole training configuration, without paths.
    pub config: TrainConfig,
    /// What it changed against its parent.
    pub diff: VariantDiff,
    /// Rung that it reached, from 0.
    pub rung: usize,
    /// Search score over that of the untouched base, turned so that more is better, carried to the top rung by the mean gain
    /// between rungs; none where it was never scored.
    pub gain: Option<f64>,
    /// Select score over that of the untouched base, turned likewise; winners of a batch only.
    pub select_gain: Option<f64>,
    /// Whether it failed: divergence, a lack of memory or another reason.
    pub failed: bool,
}

/// What a person did not want.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastRejection {
    /// The run.
    pub run: RunId,
    /// What it was about.
    pub stage: GateStage,
    /// What the person was asked.
    pub question: String,
    /// Why it was not wanted.
    pub reason: String,
}

/// What a run taught so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lesson {
    /// The run.
    pub run: RunId,
    /// When it began.
    pub at: Millis,
    /// When the last of it was recorded.
    pub until: Millis,
    /// Its seed.
    pub seed: u64,
    /// Version of the program.
    pub version: String,
    /// The task.
    pub task: TaskFeatures,
    /// Select score of the untouched base: value, interval and items.
    pub base: Option<(f64, [f64; 2], usize)>,
    /// Whether a gain was found, where the run has ended.
    pub verdict: Option<Verdict>,
    /// Trainings that were run.
    pub trials: usize,
    /// What was tried.
    pub experiments: Vec<PastExperiment>,
    /// What was compared.
    pub evidence: Vec<Evidence>,
    /// What a person did not want, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rejections: Vec<PastRejection>,
}

impl Lesson {
    /// What the events of a run teach; none before its data is there.
    pub fn of(events: &[StoredEvent]) -> Result<Option<Self>, DomainError> {
        let state = RunState::from_events(events)?;
        let (Some(first), Some(task)) = (events.first(), TaskFeatures::of(&state)) else { return Ok(None) };
        let evidence = events.iter().filter_map(|stored| evidence(first.run, &state, &task, &stored.event).transpose());
        let evidence: Vec<Evidence> = evidence.collect::<Result<_, _>>()?;
        let base = state.select_score(None).map(|score| (score.value, score.ci95, score.n));
        Ok(Some(Self {
            run: first.run,
            at: state.started,
            until: state.updated,
            seed: state.seed,
            version: state.version.clone(),
            experiments: experiments(first.run, &state),
            rejections: rejections(first.run, &state),
            trials: state.trials.len(),
            verdict: state.verdict,
            base,
            task,
            evidence,
        }))
    }
}

/// What a person rejected with a reason. Whether the sealed split may be opened says nothing about another task.
fn rejections(run: RunId, state: &RunState) -> Vec<PastRejection> {
    let told = state.rejections().filter(|(request, _)| request.subject != ReviewSubject::Final);
    told.map(|(request, reason)| PastRejection {
        run,
        stage: request.stage,
        question: request.question.clone(),
        reason: reason.to_owned(),
    })
    .collect()
}

/// Removes what belongs to one machine.
fn portable(config: &TrainConfig) -> TrainConfig {
    TrainConfig { adapter: None, ..config.clone() }
}

fn experiments(run: RunId, state: &RunState) -> Vec<PastExperiment> {
    let top = state.task.as_ref().map_or(0, crate::TaskSpec::top_rung);
    let base = mean_base(state);
    let gains: Vec<f64> = (0..top).map(|rung| mean_step(state, rung)).collect();
    let select_base = state.select_score(None).map(Score::merit);
    let mut out = Vec::new();
    for (id, record) in &state.variants {
        let strategy = id.node().strategy_part().and_then(|node| state.nodes.get(&node));
        let kind = strategy.and_then(|node| node.strategy.as_ref()).map(|strategy| strategy.kind);
        let reached = (0..=top).rev().find_map(|rung| Some((rung, search_score(state, id, rung)?)));
        let failed = record.state == NodeState::Failed;
        let (Some(strategy), Some(key), true) = (kind, record.key, reached.is_some() || failed) else { continue };
        let rung = reached.map_or(record.rung, |(rung, _)| rung);
        let gain = reached.zip(base).map(|((rung, score), base)| score + gains.iter().skip(rung).sum::<f64>() - base);
        let select = state.select_score(Some(id)).map(Score::merit);
        out.push(PastExperiment {
            run,
            variant: id.clone(),
            key,
            strategy,
            recipe: record.variant.recipe.clone(),
            config: portable(&record.variant.config),
            diff: record.variant.diff.iter().filter(|(name, _)| *name != "adapter").map(cloned).collect(),
            rung,
            gain,
            select_gain: select.zip(select_base).map(|(score, base)| score - base),
            failed,
        });
    }
    out
}

fn cloned(entry: (&String, &(String, String))) -> (String, (String, String)) {
    (entry.0.clone(), entry.1.clone())
}

/// Mean search score of the untouched base over its seeds, turned so that more is better.
fn mean_base(state: &RunState) -> Option<f64> {
    let scores: Vec<f64> =
        state.base_scores.iter().filter(|((split, _), _)| split == "search").map(|(_, score)| score.merit()).collect();
    (!scores.is_empty()).then(|| scores.iter().sum::<f64>() / scores.len() as f64)
}

fn search_score(state: &RunState, id: &VariantId, rung: usize) -> Option<f64> {
    Some(state.trial_score(&(id.clone(), rung, 0), "search")?.merit())
}

/// Mean of what variants gained from a rung to the next; 0 where none was scored at both.
fn mean_step(state: &RunState, rung: usize) -> f64 {
    let step = |id| Some(search_score(state, id, rung + 1)? - search_score(state, id, rung)?);
    let steps: Vec<f64> = state.variants.keys().filter_map(step).collect();
    if steps.is_empty() { 0.0 } else { steps.iter().sum::<f64>() / steps.len() as f64 }
}

/// The evidence of a comparison with the incumbent: what differs between the two, and what that changed.
fn evidence(run: RunId, state: &RunState, task: &TaskFeatures, event: &Event) -> Result<Option<Evidence>, DomainError> {
    let Event::IncumbentCompared { candidate, incumbent, comparison, .. } = event else { return Ok(None) };
    let record = |id: &VariantId| state.variants.get(id);
    let Some(new) = record(candidate) else { return Ok(None) };
    let old = incumbent.as_ref().and_then(record);
    let changes = changes(old.map(|record| &record.variant), &new.variant)?;
    if changes.is_empty() {
        return Ok(None);
    }
    let items = state.data.as_ref().map(|data| data.blobs[2]);
    let names = (&new.key, old.map(|record| record.key), items);
    let key = InsightKey { changes, kind: task.kind, metric: task.metric };
    Ok(Some(Evidence {
        id: ContentHash::of_value("trex.evidence.v1", &(&key, names))?,
        key,
        task: task.key()?,
        run,
        variant: candidate.clone(),
        effect: told(comparison),
    }))
}

fn told(comparison: &Comparison) -> crate::Effect {
    comparison.effect
}

/// What the second variant does differently; against the untouched base that is the training itself.
fn changes(old: Option<&Variant>, new: &Variant) -> Result<Vec<String>, DomainError> {
    let Some(old) = old else {
        let how = match new.config.method {
            TrainMethod::Lora => "fine-tuning with LoRA",
            TrainMethod::Full => "fine-tuning all weights",
        };
        return Ok(vec![how.to_owned()]);
    };
    let (from, to) = (portable(&old.config), portable(&new.config));
    let diff: BTreeMap<_, _> = variant_diff((&old.recipe, &from), (&new.recipe, &to))?;
    let mut words = change_words(&diff);
    words.sort();
    words.dedup();
    Ok(words)
}
