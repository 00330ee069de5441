//! The port to language models that the Researcher asks, and what one call is recorded as.
//!
//! Says nothing of how a model is reached: remote services and local models implement [`LanguageModel`] elsewhere, and
//! tests fake it. What a model answers is text; whether it may be used is decided by types and the verifier.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Message, Problem, VariantId};

/// The stages of research, each with a prompt and an answer of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Plain words and data to a task.
    Analyse,
    /// What is known, with citations.
    Survey,
    /// Hypotheses.
    ProposeStrategies,
    /// A data recipe.
    DraftRecipe,
    /// Changes of a configuration.
    ProposeExperiments,
    /// Causes of what went wrong.
    Diagnose,
    /// Insights.
    Distil,
    /// Words around the numbers of a report.
    Report,
}

impl Stage {
    /// All, in order of a run.
    pub const ALL: [Self; 8] = [
        Self::Analyse,
        Self::Survey,
        Self::ProposeStrategies,
        Self::DraftRecipe,
        Self::ProposeExperiments,
        Self::Diagnose,
        Self::Distil,
        Self::Report,
    ];

    /// The stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Analyse => "analyse",
            Self::Survey => "survey",
            Self::ProposeStrategies => "propose_strategies",
            Self::DraftRecipe => "draft_recipe",
            Self::ProposeExperiments => "propose_experiments",
            Self::Diagnose => "diagnose",
            Self::Distil => "distil",
            Self::Report => "report",
        }
    }
}

/// The form that an answer must have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnswerForm {
    /// Any text.
    Text,
    /// Some JSON object.
    JsonObject,
    /// JSON of a schema.
    JsonSchema {
        /// A name of letters, digits and underscores, which some services ask for.
        name: String,
        /// The schema.
        schema: Value,
    },
}

/// A question to a language model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelRequest {
    /// The conversation so far; the last turn is the question.
    pub messages: Vec<Message>,
    /// Form of the answer.
    pub form: AnswerForm,
    /// Longest answer in tokens.
    pub max_tokens: usize,
    /// Spread of the draw; 0 is greedy.
    pub temperature: f64,
    /// Seed of the draw, where the model takes one.
    pub seed: u64,
}

/// Tokens of one call, as the model counted them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenUsage {
    /// Tokens that were read.
    pub prompt_tokens: u64,
    /// Tokens that were written.
    pub completion_tokens: u64,
}

impl TokenUsage {
    /// Both together.
    pub fn total(self) -> u64 {
        self.prompt_tokens + self.completion_tokens
    }
}

impl std::ops::AddAssign for TokenUsage {
    fn add_assign(&mut self, other: Self) {
        self.prompt_tokens += other.prompt_tokens;
        self.completion_tokens += other.completion_tokens;
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelReply {
    /// The text.
    pub text: String,
    /// Tokens; zeros where the model does not count.
    pub usage: TokenUsage,
    /// Whether the answer ended because it was as long as allowed.
    pub cut_at_limit: bool,
    /// Whether the answer had been stored and nobody was asked.
    #[serde(default)]
    pub replayed: bool,
}

/// Follows an answer and may end it.
pub trait ReplyControl {
    /// A piece of the answer came.
    fn on_text(&mut self, piece: &str);

    /// Whether the answer is still wanted; asked at least every tenth of a second.
    fn goes_on(&self) -> bool;
}

/// Wants every answer to its end.
#[derive(Clone, Copy, Debug, Default)]
pub struct ToTheEnd;

impl ReplyControl for ToTheEnd {
    fn on_text(&mut self, _: &str) {}

    fn goes_on(&self) -> bool {
        true
    }
}

/// A language model. May be shared between threads; a call blocks until the answer is complete.
pub trait LanguageModel: Send + Sync {
    /// Where and which, such as `ollama:qwen3:8b`. Part of the record, holds no secret.
    fn name(&self) -> &str;

    /// Asks once; what retries are worth is the implementation's business.
    fn ask(
        &self,
        request: &ModelRequest,
        control: &mut dyn ReplyControl,
    ) -> Result<ModelReply, Box<dyn Problem + Send + Sync>>;
}

/// One question of a stage as a run records it, repairs included.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ModelCall {
    /// Stage.
    pub stage: Stage,
    /// Who was asked.
    pub model: String,
    /// Tokens of all attempts; those of a replayed answer are not counted again.
    pub usage: TokenUsage,
    /// What that cost in US dollars; absent where the price is not known.
    pub money: Option<f64>,
    /// Seconds until the answer was there.
    pub seconds: f64,
    /// Times that the answer was sent back because it was not of the schema.
    pub repairs: usize,
    /// Whether the answer was one that had been stored.
    pub replayed: bool,
    /// Code of the error where no usable answer came, so that the next in the order answered.
    pub failure: Option<String>,
    /// Variants that came of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub variants: Vec<VariantId>,
}
