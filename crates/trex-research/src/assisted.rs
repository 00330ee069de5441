//! The Researcher with language models beside the Playbook: they add hypotheses, recipes and settings, the Playbook fills the
//! rest. It also reads what documents say, and what the last trial of a strategy shows.
//!
//! A weak model must not make a search worse than the Playbook alone. So its hypotheses come on top of the Playbook's and
//! carry the Playbook's numbers, and its variants are at most 30 % of all variants of a run, none of the opening, never a whole
//! batch, and none any more once its record shows that they do not win. Where no model gives a usable answer the Playbook answers alone.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use trex_domain::{
    Clock, Effect, Insight, ItemScore, Knowledge, ModelCall, NodeId, Operator, Recipe, Researcher, RunState, Stage,
    Strategy, StrategyKind, StrategyRequest, Surveyed, TaskKind, TrainConfig, Variant, VariantId,
};
use trex_fs::BlobStore;

use crate::asking::{Answered, Asker, Assistant, Limits};
use crate::diagnosis::{Diagnosis, DiagnosisRules, diagnose};
use crate::facts::Facts;
use crate::llm::Question;
use crate::moves::Candidate;
use crate::playbook::{self, Parent};
use crate::prompts::{Prompt, condensed, quoted};
use crate::proposals::{Proposals, situation};
use crate::recipes::completed;
use crate::stages::{draft_recipes, read_insight, survey};
use crate::{ExperimentsAnswer, Playbook, ResearchError, ResearcherSettings, StrategiesAnswer, digest};

/// Largest share of all variants of a run that a model may propose.
const SHARE: f64 = 0.3;

/// Finished batches of a run before a model proposes settings or recipes of its own. The first ones are those that the
/// Playbook has most reason for, and what another variant takes the place of does not come again once a better parent is
/// found: on a recorded surface a single bad variant in the second batch cost half of the gain.
const OPENING: usize = 2;

/// Tried variants of a model after which its record counts: the first one that does not win ends what it may propose. On recorded
/// surfaces a second chance costs more with models that know little than it brings with one that knows the best points.
const RECORD: usize = 1;

/// How far a model may move the learning rate from the task's, as a factor. Three steps of a factor of three in either direction
/// are more than what a search of a few tens of trainings can explore.
const RATE_RANGE: f64 = 30.0;

/// A model may have a recipe draw one row of so many at least.
const LEAST_SAMPLE: usize = 10;

/// Characters of history in a question; small local models have room for some two thousand tokens in all.
const HISTORY_CHARS: usize = 1500;

/// Passages of the library that are read for a task.
const PASSAGES: usize = 8;

/// Urgent proposals of a batch that come before the strategy's own list.
const URGENT: usize = 1;

/// The Playbook with language models beside it; without any it is the Playbook.
#[derive(Debug)]
pub struct AssistedResearcher {
    asker: Asker,
    blobs: Option<BlobStore>,
    library: Option<Arc<dyn Knowledge>>,
    memory_bytes: u64,
}

impl AssistedResearcher {
    /// Asks `assistants`, by the names that the settings use, as long as `goes_on` says so.
    pub fn new(
        settings: ResearcherSettings,
        assistants: BTreeMap<String, Assistant>,
        clock: Arc<dyn Clock>,
        goes_on: Arc<dyn Fn() -> bool + Send + Sync>,
    ) -> Self {
        let asker = Asker::new(settings, assistants, clock, goes_on);
        Self { asker, blobs: None, library: None, memory_bytes: 0 }
    }

    /// Reads answers of trials on the search split from this folder of blobs, for diagnoses.
    #[must_use]
    pub fn with_blobs(self, folder: &Path) -> Self {
        Self { blobs: Some(BlobStore::new(folder)), ..self }
    }

    /// Reads documents of a person.
    #[must_use]
    pub fn with_library(self, library: Option<Arc<dyn Knowledge>>) -> Self {
        Self { library, ..self }
    }

    /// Knows the memory of the machine.
    #[must_use]
    pub fn with_memory_bytes(self, memory_bytes: u64) -> Self {
        Self { memory_bytes, ..self }
    }

    fn ideas(&self, request: &StrategyRequest<'_>, known: &[Strategy]) -> Vec<Strategy> {
        let mut facts = facts_of(known);
        let claims = request.state.claims.iter().filter(|claim| claim.rejected.is_none());
        let claims = claims.map(|claim| format!("a document says: {}", quoted(&claim.statement, 200)));
        facts.extend(claims.filter(|claim| !known.iter().any(|one| one.evidence.contains(claim))));
        let numbered: Vec<String> = facts.iter().enumerate().map(|(at, fact)| format!("{}. {fact}", at + 1)).collect();
        let titles: Vec<&str> = known.iter().map(|strategy| strategy.title.as_str()).collect();
        let values = BTreeMap::from([
            ("goal", quoted(&request.task.goal, 600)),
            ("scoring", scoring(request)),
            ("facts", numbered.join("\n")),
            ("known", titles.join("; ")),
        ]);
        let question = Question {
            name: Stage::ProposeStrategies.as_str(),
            messages: Prompt::of(Stage::ProposeStrategies).filled(&values),
            max_tokens: 700,
            seed: request.state.seed,
        };
        let check = |answer: &StrategiesAnswer| answer.check(facts.len());
        let limits = Limits::of(request.state);
        let answered = self.asker.ask(Stage::ProposeStrategies, limits, &question, &check);
        answered.map(|answered| strategies_from(answered.answer, &facts, known)).unwrap_or_default()
    }

    /// Settings that a model proposes for a batch, at most `most`.
    fn changes(&self, asked: &Asked<'_>, parent: &Parent<'_>, most: usize) -> Vec<Candidate> {
        let request = asked.request;
        let max_steps = request.task.train.max_steps * 2;
        let values = BTreeMap::from([
            ("goal", quoted(&request.task.goal, 300)),
            ("hypothesis", quoted(&asked.strategy.hypothesis, 300)),
            ("settings", settings_text(parent.config)),
            ("max_steps", max_steps.to_string()),
            ("tried", condensed(&digest::tried(request.state), HISTORY_CHARS)),
            ("memory", digest::memory(request.state, asked.node, asked.diagnosis)),
            ("count", most.to_string()),
        ]);
        let question = Question {
            name: Stage::ProposeExperiments.as_str(),
            messages: Prompt::of(Stage::ProposeExperiments).filled(&values),
            max_tokens: 500,
            seed: request.state.seed,
        };
        let check = |answer: &ExperimentsAnswer| answer.check(parent.config, max_steps);
        let limits = Limits::of(request.state);
        let answered = self.asker.ask(Stage::ProposeExperiments, limits, &question, &check);
        let ideas = answered.map(|answered| answered.answer.experiments).unwrap_or_default();
        let candidates = ideas.into_iter().take(most).filter_map(|idea| {
            let config = idea.change.applied_to(parent.config, max_steps).ok()?;
            is_in_range(&config, &request.task.train).then_some(())?;
            Some(Candidate { recipe: parent.recipe.clone(), config, why: quoted(&idea.why, 300) })
        });
        candidates.collect()
    }

    /// Recipes that a model drafts for a batch, at most `most`.
    fn recipes(&self, asked: &Asked<'_>, parent: &Parent<'_>, most: usize) -> Vec<Candidate> {
        let facts = Facts::of(asked.request);
        let words =
            (asked.request.task.goal.as_str(), asked.strategy.hypothesis.as_str(), asked.strategy.evidence.as_slice());
        let drafted = draft_recipes(&self.asker, Limits::of(asked.request.state), words, parent.recipe, &facts);
        let candidate = |(recipe, why): (Recipe, String)| Candidate {
            recipe: completed(&recipe, &facts),
            config: parent.config.clone(),
            why,
        };
        drafted.into_iter().filter(|(recipe, _)| keeps_enough(recipe, facts.rows)).take(most).map(candidate).collect()
    }

    /// What the trial shows from which a batch goes on: the best of the strategy, else the incumbent, else the last one.
    fn diagnosis(&self, state: &RunState, strategy: &NodeId, parent: Option<&VariantId>) -> Option<Diagnosis> {
        let last = || {
            let below = state.experiments(strategy).flat_map(|(_, node)| &node.variants);
            below.filter(|id| state.trials.keys().any(|(variant, ..)| variant == *id)).last()
        };
        let id = parent.or_else(last)?;
        // A blob that cannot be read leaves the answers out; data and curve still tell something.
        let items = self.search_items(state, id).unwrap_or_default();
        diagnose(state, id, &items, &DiagnosisRules::built_in().ok()?)
    }

    /// Answers on the search split at the highest rung that was scored; of no other split.
    fn search_items(&self, state: &RunState, id: &VariantId) -> Option<Vec<ItemScore>> {
        let mut own = state.trials.iter().rev().filter(|((variant, _, seed), _)| variant == id && *seed == 0);
        let score = own.find_map(|(_, trial)| trial.scores.get("search"))?;
        self.blobs.as_ref()?.get_lines(&score.items).ok()
    }
}

/// What a batch is asked for.
struct Asked<'a> {
    request: &'a StrategyRequest<'a>,
    node: &'a NodeId,
    strategy: &'a Strategy,
    diagnosis: Option<&'a Diagnosis>,
}

impl Researcher for AssistedResearcher {
    fn survey(&self, request: StrategyRequest<'_>) -> Result<Option<Surveyed>, Box<dyn Error + Send + Sync>> {
        let Some(library) = &self.library else { return Ok(None) };
        let question = format!("fine-tuning {} {} learning rate data", request.task.goal, request.task.metric);
        // Trouble with the library is none of the run.
        let Ok(passages) = library.passages(&question, PASSAGES) else { return Ok(None) };
        if passages.is_empty() {
            return Ok(None);
        }
        let Answered { answer, .. } = survey(&self.asker, Limits::of(request.state), &request.task.goal, &passages);
        Ok(Some(Surveyed { claims: answer.claims, unsupported: answer.unsupported }))
    }

    fn strategies(&self, request: StrategyRequest<'_>) -> Result<Vec<Strategy>, Box<dyn Error + Send + Sync>> {
        let mut known = Playbook.strategies(request)?;
        cite(request.state, &mut known);
        if self.asker.has_models_for(Stage::ProposeStrategies) {
            let ideas = self.ideas(&request, &known);
            known.extend(ideas);
            known.sort_by(|a, b| b.prior.total_cmp(&a.prior));
        }
        Ok(known)
    }

    fn variants(
        &self,
        request: StrategyRequest<'_>,
        node: &NodeId,
        experiment: &NodeId,
        count: usize,
    ) -> Result<Vec<Variant>, Box<dyn Error + Send + Sync>> {
        let record = request.state.nodes.get(node).and_then(|record| record.strategy.as_ref());
        let strategy = record.ok_or_else(|| ResearchError::UnknownStrategy { node: node.clone() })?;
        let proposals = Proposals::built_in()?;
        let most = allowance(request.state, count);
        let mut from_model: Vec<(Recipe, TrainConfig)> = Vec::new();
        let variants = playbook::propose_around(&request, node, experiment, count, |parent| {
            let diagnosis = self.diagnosis(request.state, node, parent.id.as_ref());
            let asked = Asked { request: &request, node, strategy, diagnosis: diagnosis.as_ref() };
            let mut first = match strategy.kind {
                StrategyKind::Baseline | StrategyKind::AdjustTraining if most > 0 => self.changes(&asked, parent, most),
                StrategyKind::RefineData | StrategyKind::ConstructData if most > 0 => {
                    self.recipes(&asked, parent, most)
                }
                _ => Vec::new(),
            };
            from_model = first.iter().map(|one| (one.recipe.clone(), one.config.clone())).collect();
            let facts = Facts::of(&request);
            let known = situation(&request, diagnosis.as_ref(), self.memory_bytes);
            let found = |urgent: bool| -> Vec<Candidate> {
                let max_steps = request.task.train.max_steps * 2;
                let list = proposals.candidates(strategy.kind, urgent, &known, parent, max_steps);
                list.into_iter().map(|one| Candidate { recipe: completed(&one.recipe, &facts), ..one }).collect()
            };
            let mut last = found(false);
            // What shows in a trial that beat everything before is no reason to leave its course.
            if parent.id.is_some() && parent.id == request.state.incumbent {
                last.extend(found(true));
            } else {
                first.extend(found(true).into_iter().take(URGENT));
            }
            (first, last)
        })?;
        if !from_model.is_empty() {
            let is_ours = |variant: &&Variant| {
                from_model.iter().any(|(recipe, config)| (recipe, config) == (&variant.recipe, &variant.config))
            };
            self.asker.mark(variants.iter().filter(is_ours).map(|variant| variant.id.clone()).collect());
        }
        Ok(variants)
    }

    fn take_calls(&self) -> Vec<ModelCall> {
        self.asker.take_calls()
    }

    fn distil(&self, state: &RunState, node: &NodeId, effect: Effect, significant: bool) -> Vec<Insight> {
        let insights = Playbook.distil(state, node, effect, significant);
        insights.into_iter().map(|insight| read_insight(&self.asker, state, insight)).collect()
    }
}

/// Names what documents say as evidence of the strategies that it speaks of.
fn cite(state: &RunState, strategies: &mut [Strategy]) {
    let subjects = |kind: StrategyKind| -> &[&str] {
        match kind {
            StrategyKind::Baseline => &["learning rate"],
            StrategyKind::AdjustTraining => &["rank", "lora", "epoch", "batch", "dropout", "decay", "warm", "overfit"],
            StrategyKind::RefineData => &["duplicat", "quality", "noise", "clean", "filter"],
            StrategyKind::ConstructData => &["imbalanc", "balanc", "augment", "few-shot"],
            StrategyKind::Fuse => &[],
        }
    };
    for claim in state.claims.iter().filter(|claim| claim.rejected.is_none()) {
        let lower = claim.statement.to_lowercase();
        for strategy in strategies.iter_mut() {
            if subjects(strategy.kind).iter().any(|subject| lower.contains(subject)) {
                strategy.evidence.push(format!("{} ({}): {}", claim.title, claim.passage, claim.statement));
            }
        }
    }
}

/// How many variants of a batch of `count` a model may propose.
fn allowance(state: &RunState, count: usize) -> usize {
    let batches = state.nodes.values().filter(|node| node.strategy.is_none() && node.finished);
    if batches.count() < OPENING {
        return 0;
    }
    let from_models = || state.calls.iter().flat_map(|call| &call.variants);
    let finished = from_models().filter_map(|id| Some((id, state.nodes.get(&id.node()).filter(|node| node.finished)?)));
    let wins: Vec<bool> = finished.map(|(id, node)| node.winner.as_ref() == Some(id)).collect();
    // By chance alone one in a batch wins; half of that is no record to go on with.
    let won = wins.iter().filter(|won| **won).count();
    if wins.len() >= RECORD && 2 * won * count.max(1) < wins.len() {
        return 0;
    }
    let all = state.variants.len() + count;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a small count")]
    let share = (all as f64 * SHARE).floor() as usize;
    // One at a time until one has won: what a model without a record costs is one training of a batch.
    let most = if won == 0 { 1 } else { count };
    share.saturating_sub(from_models().count()).min(most).min(count.saturating_sub(1))
}

/// Whether settings are near enough to the task's own that a training of the budget can tell something of them.
fn is_in_range(config: &TrainConfig, task: &TrainConfig) -> bool {
    let factor = config.learning_rate / task.learning_rate;
    (1.0 / RATE_RANGE..=RATE_RANGE).contains(&factor)
}

/// Whether a recipe draws enough of so many rows to learn from.
fn keeps_enough(recipe: &Recipe, rows: usize) -> bool {
    let is_enough = |operator: &Operator| match operator {
        Operator::StratifiedSample { rows: drawn } => drawn * LEAST_SAMPLE >= rows,
        _ => true,
    };
    recipe.operators.iter().all(is_enough)
}

/// Every fact that the Playbook looked at, once.
fn facts_of(known: &[Strategy]) -> Vec<String> {
    let mut facts: Vec<String> = Vec::new();
    for fact in known.iter().flat_map(|strategy| &strategy.evidence) {
        if !facts.contains(fact) {
            facts.push(fact.clone());
        }
    }
    facts
}

/// The words are the model's; prior and expectation are those of the Playbook's hypothesis of that kind, which it stands
/// behind.
fn strategies_from(answer: StrategiesAnswer, facts: &[String], known: &[Strategy]) -> Vec<Strategy> {
    const BEHIND: f64 = 0.8;
    let strategy = |idea: crate::StrategyIdea| {
        let kind = StrategyKind::from(idea.kind);
        let like = known.iter().find(|strategy| strategy.kind == kind)?;
        let evidence = idea.facts.iter().filter_map(|fact| facts.get(fact.checked_sub(1)?).cloned()).collect();
        Some(Strategy {
            kind,
            title: quoted(&idea.title, 80),
            hypothesis: quoted(&idea.hypothesis, 400),
            rationale: quoted(&idea.rationale, 400),
            evidence,
            expected_effect: like.expected_effect * BEHIND,
            expected_cost: like.expected_cost,
            prior: like.prior * BEHIND,
        })
    };
    // Small models repeat themselves; the same hypothesis twice would only split its trials.
    let mut seen = std::collections::BTreeSet::new();
    let ideas = answer.strategies.into_iter().filter_map(strategy);
    ideas.filter(|idea| seen.insert((idea.kind, idea.hypothesis.to_lowercase()))).collect()
}

fn scoring(request: &StrategyRequest<'_>) -> String {
    let answers = match request.task.kind {
        TaskKind::Choice => "Answers are one of a list",
        TaskKind::Generate => "Answers are free text",
        TaskKind::Preference => "Rows have a better and a worse answer",
        TaskKind::Text => "Rows are raw text",
    };
    format!("{answers}; the metric is {}.", request.task.metric)
}

fn settings_text(config: &TrainConfig) -> String {
    let schedule = serde_json::to_value(config.lr_scheduler_type).ok();
    let schedule = schedule.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default();
    format!(
        "learning_rate {}, lora_r {}, lora_alpha {}, lora_dropout {}, max_steps {}, warmup_ratio {}, weight_decay {}, \
         label_smoothing_factor {}, per_device_train_batch_size {}, lr_scheduler_type {schedule}",
        config.learning_rate,
        config.lora.r,
        config.lora.lora_alpha,
        config.lora.lora_dropout,
        config.max_steps,
        config.warmup_ratio,
        config.weight_decay,
        config.label_smoothing_factor,
        config.per_device_train_batch_size,
    )
}
