//! Written requirements with what should be read out of them, and how much of it is. The set is `assets/bench/requirements.toml`.
//!
//! Counts fields; a field that a case does not name is not judged. Who read the requirement is the caller's choice.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use trex_domain::{Metric, TaskKind};

use super::{DataFacts, Given, Origin, TaskDraft};
use crate::ResearchError;

/// One written requirement.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequirementCase {
    /// Its name.
    pub id: String,
    /// `tune`, which a test holds in full, or `held`, which is counted only.
    pub part: String,
    /// The words.
    pub text: String,
    #[serde(default)]
    data: Option<CaseData>,
    #[serde(default)]
    memory_gb: u64,
    #[serde(default)]
    kind: Option<TaskKind>,
    #[serde(default)]
    metric: Option<Metric>,
    #[serde(default)]
    options: Option<Vec<String>>,
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    target: Option<f64>,
    #[serde(default)]
    wall_s: Option<f64>,
    #[serde(default)]
    trials: Option<usize>,
    #[serde(default)]
    money: Option<f64>,
    #[serde(default)]
    said: Vec<String>,
    #[serde(default)]
    asks: Vec<String>,
    #[serde(default)]
    problems: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseData {
    schema: String,
    #[serde(default)]
    labels: BTreeMap<String, usize>,
    #[serde(default)]
    #[expect(dead_code, reason = "says how large the data is to a reader of the set")]
    rows: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseFile {
    case: Vec<RequirementCase>,
}

/// All cases.
pub fn requirement_cases() -> Result<Vec<RequirementCase>, ResearchError> {
    let text = include_str!("../../../../assets/bench/requirements.toml");
    let file: CaseFile = toml::from_str(text)
        .map_err(|source| ResearchError::BadRules { file: "bench/requirements.toml", source: Box::new(source) })?;
    Ok(file.case)
}

impl RequirementCase {
    /// What the reader is given besides the words.
    pub fn given(&self) -> Given {
        let facts = |data: &CaseData| DataFacts {
            kind: match data.schema.as_str() {
                "preference" => Some(TaskKind::Preference),
                "text" => Some(TaskKind::Text),
                "classification" => Some(TaskKind::Choice),
                _ => None,
            },
            labels: data.labels.clone(),
        };
        Given {
            data: self.data.as_ref().map(facts),
            memory_bytes: self.memory_gb << 30,
            answers: BTreeMap::new(),
            suggested: BTreeMap::new(),
        }
    }

    /// What of the case a draft has right: field to whether it is.
    pub fn judged(&self, draft: &TaskDraft) -> Vec<(String, bool)> {
        let mut out: Vec<(String, bool)> = Vec::new();
        let mut judge =
            |field: &str, expected: Option<bool>| out.extend(expected.map(|right| (field.to_owned(), right)));
        judge("kind", self.kind.map(|kind| draft.kind.value == kind));
        judge("metric", self.metric.map(|metric| draft.metric.value == metric));
        judge("options", self.options.as_ref().map(|options| draft.options.value == *options));
        judge("model", self.model.as_ref().map(|model| draft.model.value == *model));
        judge("target", self.target.map(|target| draft.target.value == Some(target)));
        judge("wall_s", self.wall_s.map(|wall_s| draft.wall_s.value == Some(wall_s)));
        judge("trials", self.trials.map(|trials| draft.trials.value == Some(trials)));
        judge("money", self.money.map(|money| draft.money.value == Some(money)));
        let is_asked = |field: &String| draft.questions.iter().any(|question| question.field == *field);
        for field in &self.said {
            judge("said", Some(origin(draft, field) == Some(Origin::Said) && !is_asked(field)));
        }
        for field in &self.asks {
            judge("asks", Some(is_asked(field)));
        }
        let has = |code: &String| draft.problems.iter().any(|problem| problem.code == *code);
        for code in &self.problems {
            judge("problems", Some(has(code)));
        }
        // What stands against a sound requirement would stop a person for nothing.
        judge("no_false_problem", Some(draft.problems.iter().all(|problem| self.problems.contains(&problem.code))));
        out
    }
}

fn origin(draft: &TaskDraft, field: &str) -> Option<Origin> {
    Some(match field {
        "kind" => draft.kind.origin,
        "metric" => draft.metric.origin,
        "options" => draft.options.origin,
        "model" => draft.model.origin,
        "target" => draft.target.origin,
        "wall_s" => draft.wall_s.origin,
        "trials" => draft.trials.origin,
        "money" => draft.money.origin,
        _ => return None,
    })
}

/// A share with its 95 % interval after Wilson (1927).
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Share {
    /// Those that are right.
    pub right: usize,
    /// All.
    pub n: usize,
    /// The share.
    pub value: f64,
    /// Its interval.
    pub ci95: [f64; 2],
}

impl Share {
    /// Of a count; the widest interval where nothing was counted.
    pub fn of(right: usize, n: usize) -> Self {
        const Z: f64 = 1.959_964;
        if n == 0 {
            return Self { right, n, value: 0.0, ci95: [0.0, 1.0] };
        }
        let (p, count) = (right as f64 / n as f64, n as f64);
        let scale = 1.0 + Z * Z / count;
        let middle = (p + Z * Z / (2.0 * count)) / scale;
        let half = Z * (p * (1.0 - p) / count + Z * Z / (4.0 * count * count)).sqrt() / scale;
        Self { right, n, value: p, ci95: [(middle - half).max(0.0), (middle + half).min(1.0)] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::requirements::{Rules, analyse};

    #[test]
    fn the_set_is_large_and_of_all_sorts() {
        let cases = requirement_cases().unwrap();
        assert!(cases.len() >= 40, "{}", cases.len());
        for sort in
            ["en-precise", "en-vague", "en-contradiction", "en-impossible", "zh-precise", "zh-vague", "zh-impossible"]
        {
            assert!(cases.iter().filter(|case| case.id.starts_with(sort)).count() >= 3, "{sort}");
        }
        let mut ids: Vec<_> = cases.iter().map(|case| case.id.as_str()).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), cases.len());
        assert!(cases.iter().all(|case| ["tune", "held"].contains(&case.part.as_str())));
    }

    #[test]
    fn the_rules_read_what_they_were_written_for() {
        let rules = Rules::built_in().unwrap();
        let mut wrong = Vec::new();
        for case in requirement_cases().unwrap().iter().filter(|case| case.part == "tune") {
            let draft = analyse(&case.text, &case.given(), &rules);
            let faults = case.judged(&draft).into_iter().filter(|(_, right)| !right);
            wrong.extend(faults.map(|(field, _)| format!("{}: {field}", case.id)));
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    #[test]
    fn intervals_are_wilsons() {
        // By R: prop.test(8, 10, correct = FALSE)$conf.int
        let share = Share::of(8, 10);
        assert!((share.ci95[0] - 0.4902).abs() < 5e-4 && (share.ci95[1] - 0.9433).abs() < 5e-4, "{share:?}");
        let unknown = Share::of(0, 0).ci95;
        assert!(unknown[0] <= 0.0 && unknown[1] >= 1.0, "{unknown:?}");
    }
}
