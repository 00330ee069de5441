//! What language models may answer at each stage: types with a published JSON schema, and the checks that a schema cannot say.
//!
//! The types are narrow on purpose. None has a field for a command, an address, a file, a budget or a split, and unknown
//! fields are refused, so nothing that a model reads can ask for one. Numbers that steer the search are not the model's.

mod analyse;
mod diagnose;
mod distil;
mod recipe;
mod report;
mod survey;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trex_domain::{SchedulerType, Stage, StrategyKind, TrainConfig, TrainMethod};

pub use analyse::{AnalyseAnswer, Suggested, analyse_requirement};
pub use diagnose::{Cause, DiagnoseAnswer, diagnose_with};
pub use distil::DistilAnswer;
pub(crate) use distil::read_insight;
pub(crate) use recipe::draft_recipes;
pub use recipe::{RecipeIdea, RecipeStep, RecipesAnswer};
pub use report::{ReportAnswer, report_words};
pub use survey::{ClaimIdea, Survey, SurveyAnswer, Unsupported, support, survey};

use crate::llm::AnswerFault;

/// Most hypotheses of one answer.
const MAX_STRATEGIES: usize = 3;

/// Characters of a title, and of a longer text.
const TITLE_CHARS: usize = 80;
const TEXT_CHARS: usize = 400;

/// The kinds of hypotheses that a model may name. Joining branches is left to the rules, which know the scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StrategyIdeaKind {
    /// Light cleaning and the learning rate.
    Baseline,
    /// Drop bad rows.
    RefineData,
    /// Balance or repeat rows.
    ConstructData,
    /// Rank, steps, schedule, regularisation.
    AdjustTraining,
}

impl From<StrategyIdeaKind> for StrategyKind {
    fn from(kind: StrategyIdeaKind) -> Self {
        match kind {
            StrategyIdeaKind::Baseline => Self::Baseline,
            StrategyIdeaKind::RefineData => Self::RefineData,
            StrategyIdeaKind::ConstructData => Self::ConstructData,
            StrategyIdeaKind::AdjustTraining => Self::AdjustTraining,
        }
    }
}

/// One hypothesis.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StrategyIdea {
    /// What it works on.
    pub kind: StrategyIdeaKind,
    /// Few words.
    #[schemars(length(min = 1, max = 80))]
    pub title: String,
    /// What should help.
    #[schemars(length(min = 1, max = 400))]
    pub hypothesis: String,
    /// Why.
    #[schemars(length(min = 1, max = 400))]
    pub rationale: String,
    /// Numbers of the facts that it rests on, as the question counts them.
    #[schemars(length(min = 1, max = 8), inner(range(min = 1, max = 50)))]
    pub facts: Vec<usize>,
}

/// The answer of `propose_strategies`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StrategiesAnswer {
    /// One to three hypotheses.
    #[schemars(length(min = 1, max = 3))]
    pub strategies: Vec<StrategyIdea>,
}

impl StrategiesAnswer {
    /// Checks numbers and lengths, and that each hypothesis rests on facts that were given.
    pub fn check(&self, num_facts: usize) -> Result<(), AnswerFault> {
        let count = self.strategies.len();
        ensure((1..=MAX_STRATEGIES).contains(&count), "strategies", || {
            format!("has {count} entries, allowed are 1 to 3")
        })?;
        for idea in &self.strategies {
            check_text("title", &idea.title, TITLE_CHARS)?;
            check_text("hypothesis", &idea.hypothesis, TEXT_CHARS)?;
            check_text("rationale", &idea.rationale, TEXT_CHARS)?;
            ensure(!idea.facts.is_empty(), "facts", || "is empty; name the facts by number".to_owned())?;
            let strange = idea.facts.iter().find(|fact| !(1..=num_facts).contains(*fact));
            if let Some(fact) = strange {
                return ensure(false, "facts", || format!("names fact {fact}; there are 1 to {num_facts}"));
            }
        }
        Ok(())
    }
}

/// Settings that a model may change; what is absent stays.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ConfigChange {
    /// Peak learning rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<f64>,
    /// Rank of the adapters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lora_r: Option<usize>,
    /// Scale of the adapters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lora_alpha: Option<usize>,
    /// Dropout before the adapters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lora_dropout: Option<f64>,
    /// Optimiser steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_steps: Option<usize>,
    /// Share of the steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warmup_ratio: Option<f64>,
    /// Weight decay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight_decay: Option<f64>,
    /// Label smoothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_smoothing_factor: Option<f64>,
    /// Examples of a micro-batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_device_train_batch_size: Option<usize>,
    /// Micro-batches of an optimiser step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gradient_accumulation_steps: Option<usize>,
    /// Schedule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lr_scheduler_type: Option<SchedulerType>,
}

/// Largest values that a model may ask for: what they cost is bounded, whatever it wants.
const MAX_RATE: f64 = 0.3;
const MAX_RANK: usize = 128;
const MAX_ALPHA: usize = 512;
const MAX_BATCH: usize = 64;

impl ConfigChange {
    /// The changed configuration, or what is wrong with it. `max_steps` is the largest number of steps.
    pub fn applied_to(&self, start: &TrainConfig, max_steps: usize) -> Result<TrainConfig, AnswerFault> {
        self.check(start, max_steps)?;
        let mut config = start.clone();
        set(&mut config.learning_rate, self.learning_rate);
        set(&mut config.lora.r, self.lora_r);
        set(&mut config.lora.lora_alpha, self.lora_alpha);
        set(&mut config.lora.lora_dropout, self.lora_dropout);
        set(&mut config.max_steps, self.max_steps);
        set(&mut config.warmup_ratio, self.warmup_ratio);
        set(&mut config.weight_decay, self.weight_decay);
        set(&mut config.label_smoothing_factor, self.label_smoothing_factor);
        set(&mut config.per_device_train_batch_size, self.per_device_train_batch_size);
        set(&mut config.gradient_accumulation_steps, self.gradient_accumulation_steps);
        set(&mut config.lr_scheduler_type, self.lr_scheduler_type);
        config
            .validate()
            .map_err(|err| AnswerFault::Value { field: "change", complaint: format!("is not possible: {err}") })?;
        ensure(config != *start, "change", || "changes nothing".to_owned())?;
        Ok(config)
    }

    fn check(&self, start: &TrainConfig, max_steps: usize) -> Result<(), AnswerFault> {
        let limits = [
            ("lora_r", self.lora_r, MAX_RANK),
            ("lora_alpha", self.lora_alpha, MAX_ALPHA),
            ("max_steps", self.max_steps, max_steps),
            ("per_device_train_batch_size", self.per_device_train_batch_size, MAX_BATCH),
            ("gradient_accumulation_steps", self.gradient_accumulation_steps, MAX_BATCH),
        ];
        for (field, value, limit) in limits {
            let fits = value.is_none_or(|value| value <= limit);
            ensure(fits, field, || format!("is {}, allowed is at most {limit}", value.unwrap_or_default()))?;
        }
        let rate = self.learning_rate.unwrap_or(start.learning_rate);
        ensure(rate > 0.0 && rate <= MAX_RATE, "learning_rate", || {
            format!("is {rate}, allowed is above 0 up to {MAX_RATE}")
        })?;
        let has_adapter = start.method == TrainMethod::Lora;
        let names_adapter = self.lora_r.is_some() || self.lora_alpha.is_some() || self.lora_dropout.is_some();
        ensure(has_adapter || !names_adapter, "lora_r", || "has no meaning where every weight is trained".to_owned())
    }
}

fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

/// One configuration to try.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExperimentIdea {
    /// What changes.
    pub change: ConfigChange,
    /// Why it is worth a trial.
    #[schemars(length(min = 1, max = 400))]
    pub why: String,
}

/// The answer of `propose_experiments`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExperimentsAnswer {
    /// Configurations.
    #[schemars(length(min = 1, max = 8))]
    pub experiments: Vec<ExperimentIdea>,
}

impl ExperimentsAnswer {
    /// Checks number, texts and values.
    pub fn check(&self, start: &TrainConfig, max_steps: usize) -> Result<(), AnswerFault> {
        const MOST: usize = 8;
        let count = self.experiments.len();
        ensure((1..=MOST).contains(&count), "experiments", || format!("has {count} entries, allowed are 1 to {MOST}"))?;
        for idea in &self.experiments {
            check_text("why", &idea.why, TEXT_CHARS)?;
            idea.change.applied_to(start, max_steps)?;
        }
        Ok(())
    }
}

/// The JSON schema of a stage's answer.
pub fn stage_schema(stage: Stage) -> schemars::Schema {
    match stage {
        Stage::Analyse => schemars::schema_for!(AnalyseAnswer),
        Stage::Survey => schemars::schema_for!(SurveyAnswer),
        Stage::ProposeStrategies => schemars::schema_for!(StrategiesAnswer),
        Stage::DraftRecipe => schemars::schema_for!(RecipesAnswer),
        Stage::ProposeExperiments => schemars::schema_for!(ExperimentsAnswer),
        Stage::Diagnose => schemars::schema_for!(DiagnoseAnswer),
        Stage::Distil => schemars::schema_for!(DistilAnswer),
        Stage::Report => schemars::schema_for!(ReportAnswer),
    }
}

/// Every number in a text, as it is written: digits with at most one point between them.
fn numbers_in(text: &str) -> Vec<String> {
    let mut numbers = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let tail = &rest[start..];
        let end = tail.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(tail.len());
        let number = tail[..end].trim_end_matches('.');
        // Digits within a word, as in s1.e1.a or macro_f1, are a name.
        let in_word = rest[..start].chars().next_back().is_some_and(|c| c.is_alphabetic() || c == '_');
        if !in_word {
            numbers.push(number.to_owned());
        }
        rest = &tail[end..];
    }
    numbers
}

/// A number of a text that is not among those of another one, however it is rounded; counts up to ten are words as well.
fn invented_number(text: &str, known: &str) -> Option<String> {
    const SMALL: f64 = 10.0;
    let known: Vec<f64> = numbers_in(known).iter().filter_map(|number| number.parse().ok()).collect();
    numbers_in(text).into_iter().find(|number| {
        let decimals = number.split_once('.').map_or(0, |(_, decimals)| decimals.len());
        let Ok(value) = number.parse::<f64>() else { return false };
        let unit = 10f64.powi(-i32::try_from(decimals).unwrap_or(0));
        // A percentage may be given for a share.
        let is_known =
            known.iter().any(|one| (one - value).abs() <= unit / 2.0 || (one * 100.0 - value).abs() <= unit / 2.0);
        let is_small_count = decimals == 0 && value <= SMALL;
        !(is_known || is_small_count)
    })
}

fn check_text(field: &'static str, text: &str, max_chars: usize) -> Result<(), AnswerFault> {
    let length = text.trim().chars().count();
    ensure(length > 0, field, || "is empty".to_owned())?;
    ensure(length <= max_chars, field, || format!("has {length} characters, allowed are {max_chars}"))
}

fn ensure(holds: bool, field: &'static str, complaint: impl FnOnce() -> String) -> Result<(), AnswerFault> {
    if holds { Ok(()) } else { Err(AnswerFault::Value { field, complaint: complaint() }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prompts::Prompt;

    fn example<T: for<'a> Deserialize<'a>>(stage: Stage) -> T {
        let messages = Prompt::of(stage).filled(&std::collections::BTreeMap::new());
        serde_json::from_str(&messages[2].content).unwrap()
    }

    #[test]
    fn the_examples_of_the_prompts_are_good_answers() {
        let strategies: StrategiesAnswer = example(Stage::ProposeStrategies);
        strategies.check(4).unwrap();
        let experiments: ExperimentsAnswer = example(Stage::ProposeExperiments);
        experiments.check(&TrainConfig::default(), 240).unwrap();
        let given = crate::requirements::Given {
            data: Some(crate::requirements::DataFacts {
                kind: None,
                labels: ["billing", "technical", "other"].map(|label| (label.to_owned(), 1)).into(),
            }),
            ..Default::default()
        };
        let words = "Sort incoming mails into billing, technical and other. Billing is rare but must not be missed.";
        example::<AnalyseAnswer>(Stage::Analyse).check(words, &given).unwrap();
        let surveyed: SurveyAnswer = example(Stage::Survey);
        surveyed.check(2).unwrap();
        let claim = &surveyed.claims[0];
        let passage = "In our experiments a rank of 16 was as good as full fine-tuning on all classification tasks.";
        assert!(support(&claim.statement, &claim.quote, passage).is_ok());
        assert!(!example::<RecipesAnswer>(Stage::DraftRecipe).recipes.is_empty());
        let facts = ["gain: -0.020", "commonest: 0.970", "gold: 0.520"].map(str::to_owned);
        example::<DiagnoseAnswer>(Stage::Diagnose).check(&facts).unwrap();
        example::<DistilAnswer>(Stage::Distil).check("raised by 0.041").unwrap();
        let facts = ["0.610", "0.622", "12"].map(str::to_owned);
        let verdict = Some(trex_domain::Verdict::NoRealGain);
        example::<ReportAnswer>(Stage::Report).check(&facts, verdict).unwrap();
    }

    #[test]
    fn numbers_are_those_that_were_given() {
        let check = |text: &str, known: &str, expected: Option<&str>| {
            assert_eq!(invented_number(text, known).as_deref(), expected, "{text}");
        };
        check("a gain of 0.041", "raised by 0.0413", None);
        check("a gain of 4.1 %", "raised by 0.0413", None);
        check("a gain of 0.05", "raised by 0.0413", Some("0.05"));
        check("three of 3 seeds, s12.e40.a, macro_f1", "", None);
        check("400 items", "n=300", Some("400"));
        check("0.70.", "0.702", None);
    }

    #[test]
    fn a_change_is_bounded_whatever_a_model_wants() {
        let start = TrainConfig::default();
        let check = |json: &str, expected: Option<&str>| {
            let change: ConfigChange = serde_json::from_str(json).unwrap();
            let fault = change.applied_to(&start, 240).err().map(|fault| fault.to_string());
            assert_eq!(fault.as_deref(), expected, "{json}");
        };
        check(r#"{"learning_rate": 0.001, "lora_r": 16}"#, None);
        check("{}", Some("change changes nothing"));
        check(r#"{"learning_rate": 5.0}"#, Some("learning_rate is 5, allowed is above 0 up to 0.3"));
        check(r#"{"lora_r": 100000}"#, Some("lora_r is 100000, allowed is at most 128"));
        check(r#"{"max_steps": 241}"#, Some("max_steps is 241, allowed is at most 240"));
        check(r#"{"lora_r": 0}"#, Some("change is not possible: lora.r is 0, allowed is from 1 to 1024"));
        let injected = r#"{"open_test_split": true}"#;
        assert!(serde_json::from_str::<ConfigChange>(injected).is_err());
    }

    #[test]
    fn a_hypothesis_rests_on_facts_that_were_given() {
        let check = |facts: &str, expected: Option<&str>| {
            let json = format!(
                r#"{{"strategies": [{{"kind": "baseline", "title": "t", "hypothesis": "h", "rationale": "r", "facts": {facts}}}]}}"#
            );
            let answer: StrategiesAnswer = serde_json::from_str(&json).unwrap();
            assert_eq!(answer.check(3).err().map(|fault| fault.to_string()).as_deref(), expected, "{facts}");
        };
        check("[1, 3]", None);
        check("[]", Some("facts is empty; name the facts by number"));
        check("[4]", Some("facts names fact 4; there are 1 to 3"));
    }
}
