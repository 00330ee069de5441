//! The stage that drafts recipes: a model chooses among cleaning steps whose parameters are bounded. Decontamination is not
//! its to choose: it is in every recipe.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trex_domain::{BalanceMode, Operator, Recipe, Stage};

use super::{TEXT_CHARS, check_text, ensure};
use crate::asking::{Asker, Limits};
use crate::facts::Facts;
use crate::llm::{AnswerFault, Question};
use crate::prompts::{Prompt, quoted};
use crate::recipes::with_all;

/// Most steps of a recipe, and recipes of an answer.
const MAX_STEPS: usize = 8;
const MAX_RECIPES: usize = 4;

/// A step that a model may choose.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum RecipeStep {
    /// Same text in the same bytes.
    Normalise,
    /// Answers as the options are written.
    CanonicalAnswer,
    /// No empty and no foreign answers.
    ValidAnswer,
    /// No repeated rows.
    ExactDedup,
    /// No nearly repeated prompts.
    NearDedup {
        /// Similarity from which two prompts are one.
        #[schemars(range(min = 0.5, max = 1.0))]
        threshold: Option<f64>,
    },
    /// No prompt with two answers.
    ResolveConflicts,
    /// No damaged rows.
    QualityFilter,
    /// No rows off the subject.
    TopicFilter,
    /// No answers against those of similar prompts.
    NeighbourAgreement,
    /// No rows of unusual length.
    LengthFilter,
    /// Rare answers repeated.
    LabelBalance {
        /// Largest ratio between two answers that is left.
        #[schemars(range(min = 1.0, max = 10.0))]
        max_ratio: Option<f64>,
    },
    /// Fewer rows, every answer's share kept.
    StratifiedSample {
        /// Percent of the rows.
        #[schemars(range(min = 5, max = 95))]
        percent: usize,
    },
    /// Options in other orders.
    ShuffleOptions,
}

impl RecipeStep {
    /// The operator, with the Playbook's parameters where the step leaves them out.
    pub(crate) fn operator(&self, facts: &Facts) -> Result<Operator, AnswerFault> {
        let labels = |step: Operator| -> Result<Operator, AnswerFault> {
            ensure(facts.is_closed, "op", || format!("{} is for answers of a list, and these are open", step.name()))?;
            Ok(step)
        };
        Ok(match *self {
            Self::Normalise => Operator::Normalise,
            Self::CanonicalAnswer => labels(Operator::CanonicalAnswer)?,
            Self::ValidAnswer => Operator::ValidAnswer,
            Self::ExactDedup => Operator::ExactDedup,
            Self::NearDedup { threshold } => {
                let threshold = in_range("threshold", threshold.unwrap_or(0.8), 0.5, 1.0)?;
                Operator::NearDedup { threshold, shingle_words: 3 }
            }
            Self::ResolveConflicts => Operator::ResolveConflicts { min_share: 0.6 },
            Self::QualityFilter => Operator::QualityFilter { max_repetition: 0.4, max_symbol_ratio: 0.4 },
            Self::TopicFilter => Operator::TopicFilter { min_known_share: 0.5, min_rows: 15 },
            Self::NeighbourAgreement => labels(Operator::NeighbourAgreement { neighbours: 7, min_agreement: 0.3 })?,
            Self::LengthFilter => {
                let (min_chars, max_chars) = facts.usual_lengths.unwrap_or((1, 8000));
                Operator::LengthFilter { min_chars, max_chars }
            }
            Self::LabelBalance { max_ratio } => {
                let max_ratio = in_range("max_ratio", max_ratio.unwrap_or(1.5), 1.0, 10.0)?;
                labels(Operator::LabelBalance { mode: BalanceMode::Up, max_ratio })?
            }
            Self::StratifiedSample { percent } => {
                ensure((5..=95).contains(&percent), "percent", || format!("is {percent}, allowed is 5 to 95"))?;
                Operator::StratifiedSample { rows: (facts.rows * percent / 100).max(1) }
            }
            Self::ShuffleOptions => labels(Operator::ShuffleOptions)?,
        })
    }
}

fn in_range(field: &'static str, value: f64, low: f64, high: f64) -> Result<f64, AnswerFault> {
    ensure((low..=high).contains(&value), field, || format!("is {value}, allowed is {low} to {high}"))?;
    Ok(value)
}

/// One recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RecipeIdea {
    /// Steps; they are carried out in a fixed order, whatever order they are named in.
    #[schemars(length(min = 1, max = 8))]
    pub steps: Vec<RecipeStep>,
    /// Why it is worth a trial.
    #[schemars(length(min = 1, max = 400))]
    pub why: String,
}

/// The answer of `draft_recipe`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RecipesAnswer {
    /// One to four recipes.
    #[schemars(length(min = 1, max = 4))]
    pub recipes: Vec<RecipeIdea>,
}

impl RecipesAnswer {
    fn check(&self, facts: &Facts) -> Result<(), AnswerFault> {
        let count = self.recipes.len();
        ensure((1..=MAX_RECIPES).contains(&count), "recipes", || {
            format!("has {count} entries, allowed are 1 to {MAX_RECIPES}")
        })?;
        for idea in &self.recipes {
            check_text("why", &idea.why, TEXT_CHARS)?;
            let steps = idea.steps.len();
            ensure((1..=MAX_STEPS).contains(&steps), "steps", || {
                format!("has {steps} entries, allowed are 1 to {MAX_STEPS}")
            })?;
            idea.recipe(facts)?;
        }
        Ok(())
    }
}

impl RecipeIdea {
    /// The recipe, steps in their fixed order.
    pub(crate) fn recipe(&self, facts: &Facts) -> Result<Recipe, AnswerFault> {
        let operators = self.steps.iter().map(|step| step.operator(facts)).collect::<Result<Vec<_>, _>>()?;
        Ok(with_all(&Recipe::default(), &operators))
    }
}

/// Asks for recipes that would test a hypothesis; none where no model answers, for then the Playbook's own list is taken.
pub(crate) fn draft_recipes(
    asker: &Asker,
    limits: Option<Limits<'_>>,
    (goal, hypothesis, facts_text): (&str, &str, &[String]),
    now: &Recipe,
    facts: &Facts,
) -> Vec<(Recipe, String)> {
    let numbered: Vec<String> = (1..).zip(facts_text).map(|(number, fact)| format!("{number}. {fact}")).collect();
    let steps: Vec<&str> = now.operators.iter().map(Operator::name).collect();
    let values = BTreeMap::from([
        ("goal", quoted(goal, 300)),
        ("hypothesis", quoted(hypothesis, 300)),
        ("facts", numbered.join("\n")),
        ("steps", if steps.is_empty() { "none".to_owned() } else { steps.join(", ") }),
    ]);
    let question = Question {
        name: Stage::DraftRecipe.as_str(),
        messages: Prompt::of(Stage::DraftRecipe).filled(&values),
        max_tokens: 500,
        seed: 1,
    };
    let answered = asker.ask(Stage::DraftRecipe, limits, &question, &|answer: &RecipesAnswer| answer.check(facts));
    let ideas = answered.map(|answered| answered.answer.recipes).unwrap_or_default();
    ideas.into_iter().filter_map(|idea| Some((idea.recipe(facts).ok()?, quoted(&idea.why, 300)))).collect()
}
