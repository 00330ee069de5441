//! The stage that names the cause of a disappointing trial: a model chooses among causes that people know, from facts of the
//! search split alone. Without a model the gravest finding of the rules is the cause.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trex_domain::{RunState, Stage};

use super::{TEXT_CHARS, check_text, ensure, invented_number};
use crate::asking::{Answered, Asker, Limits};
use crate::diagnosis::Diagnosis;
use crate::digest;
use crate::llm::{AnswerFault, Question};
use crate::prompts::{Prompt, quoted};

/// Causes, by the codes of the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "named as the rules of assets/playbook/diagnosis.toml, which explain each")]
pub enum Cause {
    Diverged,
    NothingTrained,
    TemplateMismatch,
    Truncation,
    Leakage,
    LabelImbalance,
    OneAnswer,
    Duplicates,
    ConflictingAnswers,
    AnswerFormat,
    RateTooHigh,
    Overfitting,
    TooManyEpochs,
    RateTooLow,
    TooFewSteps,
    Forgetting,
    RankTooSmall,
    FewTargets,
    AnswersTooLong,
    AnswersTooShort,
    EmptyAnswers,
    UnreadRows,
    /// None of them; the explanation says what.
    Other,
}

/// The answer of `diagnose`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DiagnoseAnswer {
    /// The cause.
    pub cause: Cause,
    /// One or two sentences.
    #[schemars(length(min = 1, max = 400))]
    pub explanation: String,
    /// What to try next.
    #[schemars(length(min = 1, max = 400))]
    pub next: String,
    /// Numbers of the facts that it rests on.
    #[schemars(length(min = 1, max = 8), inner(range(min = 1, max = 50)))]
    pub facts: Vec<usize>,
}

impl DiagnoseAnswer {
    /// Checks texts, facts and that no number is made up.
    pub fn check(&self, facts: &[String]) -> Result<(), AnswerFault> {
        check_text("explanation", &self.explanation, TEXT_CHARS)?;
        check_text("next", &self.next, TEXT_CHARS)?;
        ensure(!self.facts.is_empty(), "facts", || "is empty; name the facts by number".to_owned())?;
        if let Some(fact) = self.facts.iter().find(|fact| !(1..=facts.len()).contains(*fact)) {
            return ensure(false, "facts", || format!("names fact {fact}; there are 1 to {}", facts.len()));
        }
        match invented_number(&self.explanation, &facts.join("\n")) {
            Some(number) => ensure(false, "explanation", || format!("holds {number}, which is in no fact")),
            None => Ok(()),
        }
    }
}

/// Names the cause of what a diagnosis shows.
pub fn diagnose_with(
    asker: &Asker,
    limits: Option<Limits<'_>>,
    state: &RunState,
    diagnosis: &Diagnosis,
) -> Answered<Option<DiagnoseAnswer>> {
    let facts = facts(diagnosis);
    let goal = state.task.as_ref().map(|task| task.goal.as_str()).unwrap_or_default();
    let numbered: Vec<String> = (1..).zip(&facts).map(|(number, fact)| format!("{number}. {fact}")).collect();
    let codes: Vec<&str> = diagnosis.findings.iter().map(|finding| finding.code.as_str()).collect();
    let values = BTreeMap::from([
        ("goal", quoted(goal, 300)),
        ("facts", numbered.join("\n")),
        ("findings", if codes.is_empty() { "none".to_owned() } else { codes.join(", ") }),
        ("wrong", wrong(diagnosis)),
        ("siblings", digest::siblings(state, &diagnosis.variant).join("\n")),
    ]);
    let question = Question {
        name: Stage::Diagnose.as_str(),
        messages: Prompt::of(Stage::Diagnose).filled(&values),
        max_tokens: 400,
        seed: state.seed,
    };
    let check = |answer: &DiagnoseAnswer| answer.check(&facts);
    match asker.ask(Stage::Diagnose, limits, &question, &check) {
        Some(Answered { answer, by }) => Answered { answer: Some(answer), by },
        None => Answered { answer: by_rules(diagnosis), by: crate::PLAYBOOK.to_owned() },
    }
}

/// The gravest finding as an answer; none where no rule found anything.
fn by_rules(diagnosis: &Diagnosis) -> Option<DiagnoseAnswer> {
    let finding = diagnosis.findings.first()?;
    let cause = serde_json::from_value(serde_json::Value::String(finding.code.clone())).unwrap_or(Cause::Other);
    let names: Vec<&str> = diagnosis.features.keys().copied().collect();
    let place = |name: &String| names.iter().position(|known| known == name).map(|place| place + 1);
    Some(DiagnoseAnswer {
        cause,
        explanation: finding.cause.clone(),
        next: finding.advice.clone(),
        facts: finding.because.keys().filter_map(place).collect(),
    })
}

/// Features as facts, in the order of their names.
fn facts(diagnosis: &Diagnosis) -> Vec<String> {
    diagnosis.features.iter().map(|(name, value)| format!("{}: {value:.3}", name.replace('_', " "))).collect()
}

/// Wrong answers by kind with how many there are, then single ones: at most ten lines.
fn wrong(diagnosis: &Diagnosis) -> String {
    const MOST: usize = 10;
    let pair = |gold: &str, predicted: &str| {
        format!("should be <data>{}</data>, was <data>{}</data>", quoted(gold, 80), quoted(predicted, 80))
    };
    let mut lines: Vec<String> = diagnosis
        .confusions
        .iter()
        .map(|(gold, predicted, count)| format!("{} ({count} times)", pair(gold, predicted)))
        .take(MOST / 2)
        .collect();
    lines.extend(diagnosis.bad_cases.iter().map(|case| pair(&case.gold, &case.predicted)));
    lines.truncate(MOST);
    if lines.is_empty() { "none".to_owned() } else { lines.join("\n") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DiagnosisRules;

    #[test]
    fn every_rule_is_a_cause() {
        for code in DiagnosisRules::built_in().unwrap().codes() {
            let cause = serde_json::from_value::<Cause>(serde_json::Value::String(code.to_owned()));
            assert!(cause.is_ok(), "{code}");
        }
    }

    #[test]
    fn a_cause_rests_on_facts_and_makes_no_number_up() {
        let facts = ["gain: -0.020".to_owned(), "predicted majority: 0.970".to_owned()];
        let answer = |explanation: &str, numbers: &[usize]| DiagnoseAnswer {
            cause: Cause::OneAnswer,
            explanation: explanation.to_owned(),
            next: "balance the answers".to_owned(),
            facts: numbers.to_vec(),
        };
        answer("0.970 of the answers are one", &[2]).check(&facts).unwrap();
        assert!(answer("0.99 of the answers are one", &[2]).check(&facts).is_err());
        assert!(answer("nearly all are one", &[3]).check(&facts).is_err());
        assert!(answer("nearly all are one", &[]).check(&facts).is_err());
    }
}
