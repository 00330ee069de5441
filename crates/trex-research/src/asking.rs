//! Asking language models at a stage, in the order of the settings, until one gives a usable answer. Knows no stage: types,
//! prompts and what is done where nobody answers belong to the stages.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use trex_domain::{
    Budget, Clock, Cost, LanguageModel, ModelCall, ReplyControl, RunState, Stage, TokenUsage, VariantId,
};

use crate::ResearcherSettings;
use crate::llm::{AnswerFault, Asked, Question, ask_structured};

/// Characters that make a token, at least, in what is asked here.
pub(crate) const CHARS_PER_TOKEN: usize = 3;

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

/// Limits of what may be spent on questions, and what is spent already.
#[derive(Clone, Copy, Debug)]
pub struct Limits<'a> {
    budget: &'a Budget,
    spent: Cost,
}

impl<'a> Limits<'a> {
    /// Those of a run; none before it has begun.
    pub fn of(run: &'a RunState) -> Option<Self> {
        Some(Self { budget: &run.task.as_ref()?.budget, spent: run.cost })
    }
}

/// A usable answer and who gave it.
#[derive(Clone, Debug, PartialEq)]
pub struct Answered<T> {
    /// The answer.
    pub answer: T,
    /// The model's name, or `playbook`.
    pub by: String,
}

/// Models in order, with the ledger of questions.
pub struct Asker {
    settings: ResearcherSettings,
    assistants: BTreeMap<String, Assistant>,
    clock: Arc<dyn Clock>,
    goes_on: Arc<dyn Fn() -> bool + Send + Sync>,
    calls: Mutex<Vec<ModelCall>>,
}

impl std::fmt::Debug for Asker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Asker").field("settings", &self.settings).finish_non_exhaustive()
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

impl Asker {
    /// Asks `assistants`, by the names that the settings use, as long as `goes_on` says so.
    pub fn new(
        settings: ResearcherSettings,
        assistants: BTreeMap<String, Assistant>,
        clock: Arc<dyn Clock>,
        goes_on: Arc<dyn Fn() -> bool + Send + Sync>,
    ) -> Self {
        Self { settings, assistants, clock, goes_on, calls: Mutex::default() }
    }

    /// Whether anybody is asked at a stage before the Playbook.
    pub fn has_models_for(&self, stage: Stage) -> bool {
        self.settings.models_for(stage).iter().any(|name| self.assistants.contains_key(*name))
    }

    /// Asks those of a stage in their order until one gives a usable answer; none where the Playbook has to answer.
    pub(crate) fn ask<T: serde::de::DeserializeOwned + schemars::JsonSchema>(
        &self,
        stage: Stage,
        limits: Option<Limits<'_>>,
        question: &Question,
        check: &dyn Fn(&T) -> Result<(), AnswerFault>,
    ) -> Option<Answered<T>> {
        for name in self.settings.models_for(stage) {
            let Some(assistant) = self.assistants.get(name).filter(|one| self.may_see(stage, one)) else { continue };
            let mut call = ModelCall {
                stage,
                model: name.to_owned(),
                usage: TokenUsage::default(),
                money: Some(0.0),
                seconds: 0.0,
                repairs: 0,
                replayed: false,
                failure: limits.and_then(|limits| self.too_dear(assistant, limits, question)).map(str::to_owned),
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
                return Some(Answered { answer, by: name.to_owned() });
            }
        }
        None
    }

    /// Passages of documents and answers of a model are shown to services elsewhere only where the settings name somebody for
    /// that very stage; everything else that is asked holds goals, counts, settings and scores.
    fn may_see(&self, stage: Stage, assistant: &Assistant) -> bool {
        let shows_data = matches!(stage, Stage::Survey | Stage::Diagnose);
        assistant.is_local || !shows_data || self.settings.stages.contains_key(&stage)
    }

    /// Why the budget does not allow this question.
    fn too_dear(&self, assistant: &Assistant, limits: Limits<'_>, question: &Question) -> Option<&'static str> {
        let budget = limits.budget;
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
        let mut spent = limits.spent;
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

    /// Notes which variants came of the last answer.
    pub(crate) fn mark(&self, variants: Vec<VariantId>) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(call) = calls.last_mut().filter(|call| call.failure.is_none()) {
            call.variants = variants;
        }
    }

    /// Questions since the last call of this.
    pub fn take_calls(&self) -> Vec<ModelCall> {
        std::mem::take(&mut *self.calls.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
