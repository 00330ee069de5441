//! The stage that sums a run up in words. Every number in them is one that was measured.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trex_domain::{RunState, Score, Stage, Verdict};

use super::{check_text, ensure, invented_number};
use crate::asking::{Answered, Asker, Limits};
use crate::llm::{AnswerFault, Question};
use crate::prompts::{Prompt, quoted};

/// The answer of `report`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReportAnswer {
    /// At most four sentences.
    #[schemars(length(min = 1, max = 900))]
    pub summary: String,
    /// What limits the result.
    #[schemars(length(max = 5), inner(length(min = 1, max = 200)))]
    pub limits: Vec<String>,
    /// What to try next.
    #[schemars(length(max = 5), inner(length(min = 1, max = 200)))]
    pub next: Vec<String>,
}

impl ReportAnswer {
    /// Checks the texts, that no number is made up, and that a verdict is not turned round.
    pub fn check(&self, facts: &[String], verdict: Option<Verdict>) -> Result<(), AnswerFault> {
        check_text("summary", &self.summary, 900)?;
        for line in self.limits.iter().chain(&self.next) {
            check_text("limits or next", line, 200)?;
        }
        let known = facts.join("\n");
        if let Some(number) = invented_number(&self.summary, &known) {
            return ensure(false, "summary", || format!("holds {number}, which is in no fact"));
        }
        let says_none = ["no real gain", "no gain", "nothing was gained", "not gain"];
        let lower = self.summary.to_lowercase();
        let denies = says_none.iter().any(|words| lower.contains(words));
        ensure(verdict.is_none() || denies == (verdict == Some(Verdict::NoRealGain)), "summary", || {
            "does not say what the verdict says".to_owned()
        })
    }
}

/// Sums a run up with the models of the stage; by a fixed form of words where none answers.
pub fn report_words(asker: &Asker, state: &RunState) -> Answered<ReportAnswer> {
    let facts = facts(state);
    let goal = state.task.as_ref().map(|task| task.goal.as_str()).unwrap_or_default();
    let numbered: Vec<String> = (1..).zip(&facts).map(|(number, fact)| format!("{number}. {fact}")).collect();
    let values = BTreeMap::from([("goal", quoted(goal, 300)), ("facts", numbered.join("\n"))]);
    let question = Question {
        name: Stage::Report.as_str(),
        messages: Prompt::of(Stage::Report).filled(&values),
        max_tokens: 600,
        seed: state.seed,
    };
    let check = |answer: &ReportAnswer| answer.check(&facts, state.verdict);
    asker
        .ask(Stage::Report, Limits::of(state), &question, &check)
        .unwrap_or_else(|| Answered { answer: by_form(state), by: crate::PLAYBOOK.to_owned() })
}

fn shown(score: &Score) -> String {
    let [low, high] = score.ci95;
    format!("{:.3} [{low:.3}, {high:.3}] n={}", score.value, score.n)
}

/// What was measured, a line each.
fn facts(state: &RunState) -> Vec<String> {
    let mut out = Vec::new();
    let verdict = match state.verdict {
        Some(Verdict::Gain) => "gain",
        Some(Verdict::NoRealGain) => "no real gain",
        None => "none yet",
    };
    out.push(format!("verdict: {verdict}"));
    let best = state.incumbent.as_ref();
    let mut score =
        |what: &str, score: Option<&Score>| out.extend(score.map(|score| format!("{what}: {}", shown(score))));
    score("base on the sealed split", state.final_scores.get(&None));
    score("best on the sealed split", best.and_then(|id| state.final_scores.get(&Some(id.clone()))));
    score("base on the select split", state.select_score(None));
    score("best on the select split", best.and_then(|id| state.select_score(Some(id))));
    out.push(format!("trials: {}", state.trials.len()));
    out.extend(best.and_then(|id| state.variants.get(id)).map(|record| {
        let changes: Vec<String> =
            record.variant.diff.iter().map(|(name, (from, to))| format!("{name} {from} → {to}")).collect();
        format!("best variant: {}, with {}", record.variant.id, quoted(&changes.join(", "), 300))
    }));
    out.extend(
        state.insights.iter().rev().take(5).map(|insight| format!("learned: {}", quoted(&insight.statement, 300))),
    );
    out.extend(state.warnings.iter().take(3).map(|warning| format!("warning: {}", quoted(warning, 200))));
    out
}

fn by_form(state: &RunState) -> ReportAnswer {
    let best = state.incumbent.as_ref();
    let sealed = |id: Option<&trex_domain::VariantId>| state.final_scores.get(&id.cloned());
    let gained = match state.verdict {
        Some(Verdict::Gain) => "The best variant is better than the untouched base",
        Some(Verdict::NoRealGain) => "No real gain over the untouched base was found",
        None => "The run has not ended, so nothing is judged yet",
    };
    let numbers = match (sealed(None), best.and_then(|id| sealed(Some(id)))) {
        (Some(base), Some(tuned)) => format!(": {} against {} on the sealed split", shown(tuned), shown(base)),
        _ => String::new(),
    };
    let trials = state.trials.len();
    let mut limits = Vec::new();
    if state.noise.iter().all(|(of, scores, _)| of == "base" || scores.len() < 3) {
        limits.push("the spread over seeds comes from few trainings".to_owned());
    }
    if trials < 20 {
        limits.push("few trials were run".to_owned());
    }
    let next = match state.verdict {
        Some(Verdict::Gain) => "export the best variant, or allow more trials from where it stands",
        _ => "allow more trials, add rows, or ask `trex diagnose` about the best variant",
    };
    ReportAnswer {
        summary: format!("{gained}{numbers}. {trials} trials were run."),
        limits,
        next: vec![next.to_owned()],
    }
}
