//! The stage that reads a requirement: a model may name kind, metric and answers where the words say nothing certain.
//!
//! What a model names is a proposal: it is inferred, never said, so a person is still asked about whatever changes what is
//! optimised. The rules alone decide where the words are plain.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trex_domain::{Metric, Stage, TaskKind};

use super::{check_text, ensure};
use crate::asking::{Answered, Asker};
use crate::llm::{AnswerFault, Question};
use crate::prompts::{Prompt, quoted};
use crate::requirements::{self, Given, metric_fits};

/// Field to value, and the words that say so.
pub type Suggested = BTreeMap<String, (String, String)>;

/// Most answers of a list.
const MAX_OPTIONS: usize = 30;

/// The answer of `analyse`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AnalyseAnswer {
    /// What evaluation items are.
    pub kind: TaskKind,
    /// What counts.
    pub metric: Metric,
    /// The closed answers; empty where answers are open.
    #[schemars(length(max = 30), inner(length(min = 1, max = 60)))]
    pub options: Vec<String>,
    /// The person's words that say so.
    #[schemars(length(min = 1, max = 200))]
    pub quote: String,
}

impl AnalyseAnswer {
    /// Checks that the parts belong together and that nothing is made up.
    pub fn check(&self, words: &str, given: &Given) -> Result<(), AnswerFault> {
        ensure(metric_fits(self.metric, self.kind), "metric", || {
            format!("{} is none for {}", self.metric, self.kind.as_str())
        })?;
        check_text("quote", &self.quote, 200)?;
        let plain = |text: &str| requirements::plain(text);
        ensure(plain(words).contains(&plain(&self.quote)), "quote", || {
            "is not in the words; copy a part of them exactly".to_owned()
        })?;
        ensure(self.options.len() <= MAX_OPTIONS, "options", || format!("has more than {MAX_OPTIONS} entries"))?;
        let is_known = |option: &String| {
            let labels = given.data.iter().flat_map(|data| data.labels.keys());
            plain(words).contains(&plain(option)) || labels.into_iter().any(|label| label == option)
        };
        match self.options.iter().find(|option| !is_known(option)) {
            Some(strange) => ensure(false, "options", || format!("names {strange:?}, which nobody named")),
            None => Ok(()),
        }
    }
}

/// What the models of the stage take a requirement to be: field to value and the words that say so; none where no model
/// answers, so that the rules decide alone.
pub fn analyse_requirement(asker: &Asker, words: &str, given: &Given) -> Option<Answered<Suggested>> {
    let labels: Vec<&str> =
        given.data.iter().flat_map(|data| data.labels.keys()).map(String::as_str).take(20).collect();
    let values = BTreeMap::from([
        ("words", quoted(words, 1200)),
        ("labels", if labels.is_empty() { "not known".to_owned() } else { quoted(&labels.join(", "), 400) }),
    ]);
    let question = Question {
        name: Stage::Analyse.as_str(),
        messages: Prompt::of(Stage::Analyse).filled(&values),
        max_tokens: 300,
        seed: 1,
    };
    let check = |answer: &AnalyseAnswer| answer.check(words, given);
    let Answered { answer, by } = asker.ask(Stage::Analyse, None, &question, &check)?;
    let because = |value: &str| (value.to_owned(), answer.quote.clone());
    let mut suggested = Suggested::from([
        ("kind".to_owned(), because(answer.kind.as_str())),
        ("metric".to_owned(), because(answer.metric.as_str())),
    ]);
    if answer.options.len() >= 2 {
        suggested.insert("options".to_owned(), because(&answer.options.join(",")));
    }
    Some(Answered { answer: suggested, by })
}
