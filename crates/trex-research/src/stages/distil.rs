//! The stage that puts a finished experiment into words. The numbers, and whether they are more than chance, are measured and
//! stay as they are; a model may add a reading of them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trex_domain::{Insight, RunState, Stage};

use super::{check_text, ensure, invented_number};
use crate::asking::{Asker, Limits};
use crate::digest;
use crate::llm::{AnswerFault, Question};
use crate::prompts::{Prompt, condensed, quoted};

/// The answer of `distil`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DistilAnswer {
    /// What the experiment teaches, in one sentence.
    #[schemars(length(min = 1, max = 300))]
    pub lesson: String,
    /// For which tasks it may hold.
    #[schemars(length(min = 1, max = 120))]
    pub scope: String,
}

impl DistilAnswer {
    /// Checks the texts, and that no number is made up.
    pub fn check(&self, known: &str) -> Result<(), AnswerFault> {
        check_text("lesson", &self.lesson, 300)?;
        check_text("scope", &self.scope, 120)?;
        match invented_number(&self.lesson, known) {
            Some(number) => ensure(false, "lesson", || format!("holds {number}, which was not measured")),
            None => Ok(()),
        }
    }
}

/// Adds a model's reading to what the rules say of an experiment; leaves it as it is where none answers.
pub(crate) fn read_insight(asker: &Asker, state: &RunState, insight: Insight) -> Insight {
    if !asker.has_models_for(Stage::Distil) {
        return insight;
    }
    let goal = state.task.as_ref().map(|task| task.goal.as_str()).unwrap_or_default();
    let tried = condensed(&digest::tried(state), 1200);
    let values = BTreeMap::from([
        ("goal", quoted(goal, 300)),
        ("statement", quoted(&insight.statement, 500)),
        ("tried", tried.clone()),
    ]);
    let question = Question {
        name: Stage::Distil.as_str(),
        messages: Prompt::of(Stage::Distil).filled(&values),
        max_tokens: 250,
        seed: state.seed,
    };
    let known = format!("{}\n{tried}", insight.statement);
    let answered =
        asker.ask(Stage::Distil, Limits::of(state), &question, &|answer: &DistilAnswer| answer.check(&known));
    let Some(answered) = answered else { return insight };
    Insight {
        statement: format!(
            "{}; {} reads it so: {}",
            insight.statement,
            answered.by,
            quoted(&answered.answer.lesson, 300)
        ),
        ..insight
    }
}
