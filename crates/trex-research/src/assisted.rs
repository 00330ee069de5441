//! The Researcher with language models beside the Playbook: they add hypotheses and settings, the Playbook fills the rest.
//!
//! A weak model must not make a search worse than the Playbook alone. So its hypotheses come on top of the Playbook's and
//! carry the Playbook's numbers, and its settings take at most 30 % of all variants of a run, never a whole batch, and none
//! any more once its record shows that they do not win. Where no model gives a usable answer the Playbook answers alone.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};

use trex_domain::{
    Clock, Cost, Effect, Insight, LanguageModel, ModelCall, NodeId, ReplyControl, Researcher, RunState, Stage,
    Strategy, StrategyKind, StrategyRequest, TaskKind, TokenUsage, TrainConfig, Variant,
};

use crate::llm::{AnswerFault, Asked, Question, ask_structured};
use crate::moves::Candidate;
use crate::playbook::{self, Parent};
use crate::prompts::{Prompt, condensed, quoted};
use crate::{ExperimentsAnswer, Playbook, ResearcherSettings, StrategiesAnswer};

/// Largest share of all variants of a run that a model may propose.
const SHARE: f64 = 0.3;

/// Tried variants of a model after which its record counts.
const RECORD: usize = 3;

/// Characters of history in a question; small local models have room for some two thousand tokens in all.
const HISTORY_CHARS: usize = 2000;

/// Characters that make a token, at least, in what is asked here.
const CHARS_PER_TOKEN: usize = 3;

/// A model that may be asked.
#[derive(Clone)]
pub struct Assistant {
    /// The model.
    pub model: Arc<dyn LanguageModel>,
    /// Whether it runs on this machine and costs nothing.
    pub is_local: bool,
}

impl std::fmt::Debug for Assistant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Assistant").field("model", &self.model.name()).finish_non_exhaustive()
    }
}

/// The Playbook with language models beside it; without any it is the Playbook.
pub struct AssistedResearcher {
    settings: ResearcherSettings,
    assistants: BTreeMap<String, Assistant>,
    clock: Arc<dyn Clock>,
    goes_on: Arc<dyn Fn() -> bool + Send + Sync>,
    calls: Mutex<Vec<ModelCall>>,
}

impl std::fmt::Debug for AssistedResearcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AssistedResearcher").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// Wants an answer as long as the run goes on.
struct WhileRunning<'a>(&'a (dyn Fn() -> bool + Send + Sync));

impl ReplyControl for WhileRunning<'_> {
    fn on_text(&mut self, _: &str) {}

    fn goes_on(&self) -> bool {
        (self.0)()
    }
}

impl AssistedResearcher {
    /// Asks `assistants`, by the names that the settings use, as long as `goes_on` says so.
    pub fn new(
        settings: ResearcherSettings,
        assistants: BTreeMap<String, Assistant>,
        clock: Arc<dyn Clock>,
        goes_on: Arc<dyn Fn() -> bool + Send + Sync>,
    ) -> Self {
        Self { settings, assistants, clock, goes_on, calls: Mutex::default() }
    }

    /// Asks those of a stage in their order until one gives a usable answer.
    fn ask<T: serde::de::DeserializeOwned + schemars::JsonSchema>(
        &self,
        stage: Stage,
        run: &RunState,
        question: &Question,
        check: &dyn Fn(&T) -> Result<(), AnswerFault>,
    ) -> Option<T> {
        for name in self.settings.models_for(stage) {
            let Some(assistant) = self.assistants.get(name) else { continue };
            let mut call = ModelCall {
                stage,
                model: name.to_owned(),
                usage: TokenUsage::default(),
                money: Some(0.0),
                seconds: 0.0,
                repairs: 0,
                replayed: false,
                failure: self.too_dear(assistant, run, question).map(str::to_owned),
                variants: Vec::new(),
            };
            if call.failure.is_some() {
                self.record(call);
                continue;
            }
            let began = self.clock.now();
            let mut control = WhileRunning(&*self.goes_on);
            let asked: Asked<T> = ask_structured(&*assistant.model, question, check, &mut control);
            call.seconds = self.clock.now().secs_since(began);
            call.usage = asked.usage;
            call.money = self.settings.prices.cost(name, assistant.is_local, asked.usage);
            call.repairs = asked.repairs;
            call.replayed = asked.replayed;
            call.failure = asked.answer.as_ref().err().map(|err| err.code().to_owned());
            self.record(call);
            if let Ok(answer) = asked.answer {
                return Some(answer);
            }
        }
        None
    }

    /// Why the run's budget does not allow this question.
    fn too_dear(&self, assistant: &Assistant, run: &RunState, question: &Question) -> Option<&'static str> {
        let budget = &run.task.as_ref()?.budget;
        let chars: usize = question.messages.iter().map(|message| message.content.len()).sum();
        let usage = TokenUsage {
            prompt_tokens: (chars / CHARS_PER_TOKEN) as u64,
            completion_tokens: question.max_tokens as u64,
        };
        let money = self.settings.prices.cost(assistant.model.name(), assistant.is_local, usage);
        if budget.money.is_some() && money.is_none() {
            return Some("budget.price_unknown");
        }
        // What is asked and not recorded yet counts, too.
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let mut spent = run.cost;
        for call in &*calls {
            spent += Cost { tokens: call.usage.total(), money: call.money.unwrap_or(0.0), ..Cost::default() };
        }
        let tokens = spent.tokens + usage.total();
        let money = spent.money + money.unwrap_or(0.0);
        if budget.tokens.is_some_and(|limit| tokens > limit) {
            return Some("budget.tokens");
        }
        budget.money.is_some_and(|limit| money > limit).then_some("budget.money")
    }

    fn record(&self, call: ModelCall) {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).push(call);
    }

    fn ideas(&self, request: &StrategyRequest<'_>, known: &[Strategy]) -> Vec<Strategy> {
        let Some(prompt) = Prompt::of(Stage::ProposeStrategies) else { return Vec::new() };
        let facts = facts_of(known);
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
            messages: prompt.filled(&values),
            max_tokens: 700,
            seed: request.state.seed,
        };
        let check = |answer: &StrategiesAnswer| answer.check(facts.len());
        let answer = self.ask(Stage::ProposeStrategies, request.state, &question, &check);
        answer.map(|answer| strategies_from(answer, &facts, known)).unwrap_or_default()
    }

    /// Settings that a model proposes for a batch, at most `most`.
    fn changes(
        &self,
        request: &StrategyRequest<'_>,
        strategy: &Strategy,
        parent: &Parent<'_>,
        most: usize,
    ) -> Vec<Candidate> {
        let Some(prompt) = Prompt::of(Stage::ProposeExperiments) else { return Vec::new() };
        let max_steps = request.task.train.max_steps * 2;
        let values = BTreeMap::from([
            ("goal", quoted(&request.task.goal, 300)),
            ("hypothesis", quoted(&strategy.hypothesis, 300)),
            ("settings", settings_text(parent.config)),
            ("max_steps", max_steps.to_string()),
            ("tried", condensed(&tried(request.state), HISTORY_CHARS)),
            ("count", most.to_string()),
        ]);
        let question = Question {
            name: Stage::ProposeExperiments.as_str(),
            messages: prompt.filled(&values),
            max_tokens: 500,
            seed: request.state.seed,
        };
        let check = |answer: &ExperimentsAnswer| answer.check(parent.config, max_steps);
        let answer = self.ask(Stage::ProposeExperiments, request.state, &question, &check);
        let ideas = answer.map(|answer| answer.experiments).unwrap_or_default();
        let candidates = ideas.into_iter().take(most).filter_map(|idea| {
            let config = idea.change.applied_to(parent.config, max_steps).ok()?;
            Some(Candidate { recipe: parent.recipe.clone(), config, why: quoted(&idea.why, 300) })
        });
        candidates.collect()
    }

    /// Notes which variants of a batch came of the last answer.
    fn mark(&self, variants: &[Variant], proposed: &[TrainConfig]) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(call) = calls.last_mut().filter(|call| call.failure.is_none()) {
            let from_model = variants.iter().filter(|variant| proposed.contains(&variant.config));
            call.variants = from_model.map(|variant| variant.id.clone()).collect();
        }
    }
}

impl Researcher for AssistedResearcher {
    fn strategies(&self, request: StrategyRequest<'_>) -> Result<Vec<Strategy>, Box<dyn Error + Send + Sync>> {
        let mut known = Playbook.strategies(request)?;
        let ideas = self.ideas(&request, &known);
        known.extend(ideas);
        known.sort_by(|a, b| b.prior.total_cmp(&a.prior));
        Ok(known)
    }

    fn variants(
        &self,
        request: StrategyRequest<'_>,
        strategy: &NodeId,
        node: &NodeId,
        count: usize,
    ) -> Result<Vec<Variant>, Box<dyn Error + Send + Sync>> {
        let record = request.state.nodes.get(strategy).and_then(|record| record.strategy.as_ref());
        let may_change = record.filter(|strategy| {
            matches!(strategy.kind, StrategyKind::Baseline | StrategyKind::AdjustTraining)
                && !request.state.variants.is_empty()
        });
        let most = allowance(request.state, count);
        let Some(hypothesis) = may_change.filter(|_| most > 0) else {
            return Playbook.variants(request, strategy, node, count);
        };
        let mut proposed = Vec::new();
        let variants = playbook::propose(&request, strategy, node, count, |parent| {
            let candidates = self.changes(&request, hypothesis, parent, most);
            proposed = candidates.iter().map(|candidate| candidate.config.clone()).collect();
            candidates
        })?;
        self.mark(&variants, &proposed);
        Ok(variants)
    }

    fn take_calls(&self) -> Vec<ModelCall> {
        std::mem::take(&mut *self.calls.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn distil(&self, state: &RunState, node: &NodeId, effect: Effect, significant: bool) -> Vec<Insight> {
        Playbook.distil(state, node, effect, significant)
    }
}

/// How many variants of a batch of `count` a model may propose.
fn allowance(state: &RunState, count: usize) -> usize {
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
    share.saturating_sub(from_models().count()).min(count.saturating_sub(1))
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
    answer.strategies.into_iter().filter_map(strategy).collect()
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

/// One line for every variant with a score on the search split, oldest first. No other split is ever shown.
fn tried(state: &RunState) -> Vec<String> {
    let mut lines = Vec::new();
    for (id, rung, seed) in &state.trial_order {
        let Some(score) = state.trial_score(&(id.clone(), *rung, *seed), "search").filter(|_| *seed == 0) else {
            continue;
        };
        let Some(record) = state.variants.get(id) else { continue };
        let is_data = |name: &str| name.starts_with("recipe.");
        let settings = record.variant.diff.iter().filter(|(name, _)| !is_data(name));
        let mut changes: Vec<String> = settings.map(|(name, (_, to))| format!("{name} {to}")).collect();
        let num_data = record.variant.diff.keys().filter(|name| is_data(name)).count();
        if num_data > 0 {
            changes.push(format!("{num_data} data steps"));
        }
        let better = if score.metric.lower_is_better() { " (lower is better)" } else { "" };
        lines.push(format!("{id} at rung {rung}, {}: {:.3}{better}", quoted(&changes.join(", "), 200), score.value));
    }
    lines
}
