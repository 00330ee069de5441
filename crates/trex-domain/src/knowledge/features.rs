//! What a task is like, as numbers that two tasks can be compared by, and how similar two of them are.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{PastExperiment, PastRejection};
use crate::{ContentHash, DataProfile, DomainError, Metric, RunState, TaskKind, TaskSpec, TrainObjective};

/// A training pool in numbers; no row, no path and no label of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DatasetFacts {
    /// Hash of the pool.
    pub hash: ContentHash,
    /// Rows to train on.
    pub rows: usize,
    /// Distinct answers of a closed answer space; 0 where answers are open.
    pub labels: usize,
    /// Entropy of the answers over its largest value, in [0, 1]; 1 is even. 1 where answers are open.
    pub balance: f64,
    /// Mean characters of prompt and answer, from the middles of the histogram's bars.
    pub mean_chars: f64,
    /// The commonest language (ISO 639-3), where it can be told.
    pub language: Option<String>,
    /// Share of rows that repeat or contradict others, in [0, 1].
    pub defects: f64,
}

impl DatasetFacts {
    /// Takes them from the profile of a pool.
    pub fn of(hash: ContentHash, profile: &DataProfile) -> Self {
        let rows = profile.rows.kept;
        let counts: Vec<usize> = profile.labels.values().copied().filter(|count| *count > 0).collect();
        let bars = || profile.lengths.iter().map(|bar| (bar.rows as f64, (bar.from + bar.to) as f64 / 2.0));
        let measured: f64 = bars().map(|(rows, _)| rows).sum();
        let chars: f64 = bars().map(|(rows, middle)| rows * middle).sum();
        let known = profile.languages.iter().filter(|(code, _)| code.as_str() != "und");
        let commonest = known.max_by(|a, b| a.1.cmp(b.1).then_with(|| b.0.cmp(a.0)));
        let bad = profile.exact_duplicates.max(profile.near_duplicates) + profile.conflicting_answers;
        Self {
            hash,
            rows,
            labels: counts.len(),
            balance: balance(&counts),
            mean_chars: if measured > 0.0 { chars / measured } else { 0.0 },
            language: commonest.map(|(code, _)| code.clone()),
            defects: (bad as f64 / rows.max(1) as f64).min(1.0),
        }
    }
}

/// Entropy over its largest value.
fn balance(counts: &[usize]) -> f64 {
    let total: usize = counts.iter().sum();
    if counts.len() < 2 || total == 0 {
        return 1.0;
    }
    let shares = counts.iter().map(|count| *count as f64 / total as f64);
    let entropy: f64 = shares.map(|share| -share * share.ln()).sum();
    (entropy / (counts.len() as f64).ln()).clamp(0.0, 1.0)
}

/// A task as others are compared with it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TaskFeatures {
    /// Short name.
    pub name: String,
    /// The requirement in plain words.
    pub goal: String,
    /// What evaluation items are.
    pub kind: TaskKind,
    /// What counts.
    pub metric: Metric,
    /// What is minimised.
    pub objective: TrainObjective,
    /// Name of the base model.
    pub model: String,
    /// Hash of the base model.
    pub model_hash: ContentHash,
    /// Steps that a full trial takes at the task's starting point.
    pub max_steps: usize,
    /// Whether prompts list their options.
    pub lists_options: bool,
    /// The training pool.
    pub data: DatasetFacts,
}

impl TaskFeatures {
    /// The features of a run's task; none before its data is there.
    pub fn of(state: &RunState) -> Option<Self> {
        let (task, data, model_hash) = (state.task.as_ref()?, state.data.as_ref()?, state.model?);
        let profile = data.profiles.first().cloned().unwrap_or_default();
        Some(Self::of_task(task, model_hash, DatasetFacts::of(data.blobs[0], &profile)))
    }

    fn of_task(task: &TaskSpec, model_hash: ContentHash, data: DatasetFacts) -> Self {
        Self {
            name: task.name.clone(),
            goal: task.goal.clone(),
            kind: task.kind,
            metric: task.metric,
            objective: task.train.objective,
            model: task.model.0.clone(),
            model_hash,
            max_steps: task.train.max_steps,
            lists_options: task.prompt.template.contains("{options}"),
            data,
        }
    }

    /// Names the task: equal names are the same question to the same model, on whatever rows and with whatever budget.
    pub fn key(&self) -> Result<ContentHash, DomainError> {
        let question = (&self.name, &self.goal, self.kind, self.metric, self.objective, self.model_hash);
        ContentHash::of_value("trex.known-task.v1", &question)
    }
}

/// A past task with what was tried on it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SimilarTask {
    /// Its name by content.
    pub key: ContentHash,
    /// What it is like.
    pub features: TaskFeatures,
    /// From 0 to 1.
    pub similarity: f64,
    /// Where it was run.
    pub lab: String,
    /// What was tried.
    pub experiments: Vec<PastExperiment>,
    /// What a person did not want there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rejections: Vec<PastRejection>,
}

/// How similar two tasks are, from 0 to 1.
///
/// A weighted mean of agreements; the weights are this project's and sum to 1. Sizes are compared on a logarithmic scale, on
/// which a factor of ten leaves a third. Tasks whose training rows have another form, or whose items are scored in another
/// way, share no settings worth taking: 0. `meaning` is the cosine of embeddings of the goals, where there is one; else the
/// words that both goals share count.
pub fn similarity(a: &TaskFeatures, b: &TaskFeatures, meaning: Option<f64>) -> f64 {
    if a.kind != b.kind || a.objective.row_form() != b.objective.row_form() {
        return 0.0;
    }
    let equal = |is_equal: bool| if is_equal { 1.0 } else { 0.0 };
    let near = |x: f64, y: f64| (-((x + 1.0) / (y + 1.0)).ln().abs() / 10.0_f64.ln()).exp();
    let goals = meaning.map_or_else(|| shared_words(&a.goal, &b.goal), |cosine| cosine.clamp(0.0, 1.0));
    let (x, y) = (&a.data, &b.data);
    let parts = [
        (0.10, equal(a.metric == b.metric)),
        (0.05, equal(a.objective == b.objective)),
        (0.20, equal(a.model_hash == b.model_hash)),
        (0.05, equal(a.lists_options == b.lists_options)),
        (0.10, near(x.rows as f64, y.rows as f64)),
        (0.05, near(x.labels as f64, y.labels as f64)),
        (0.05, 1.0 - (x.balance - y.balance).abs()),
        (0.10, near(x.mean_chars, y.mean_chars)),
        (0.05, equal(x.language == y.language)),
        (0.10, 1.0 - (x.defects - y.defects).abs()),
        (0.15, goals),
    ];
    parts.iter().map(|(weight, agreement)| weight * agreement).sum::<f64>().clamp(0.0, 1.0)
}

/// Jaccard similarity of the words.
fn shared_words(a: &str, b: &str) -> f64 {
    let words = |text: &str| -> BTreeSet<String> {
        let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
        words.map(str::to_lowercase).collect()
    };
    let (a, b) = (words(a), words(b));
    let all = a.union(&b).count();
    if all == 0 { 0.0 } else { a.intersection(&b).count() as f64 / all as f64 }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::LengthBucket;

    pub(crate) fn features() -> TaskFeatures {
        TaskFeatures {
            name: "sentiment".to_owned(),
            goal: "tell positive from negative reviews".to_owned(),
            kind: TaskKind::Choice,
            metric: Metric::Accuracy,
            objective: TrainObjective::Sft,
            model: "bundled".to_owned(),
            model_hash: ContentHash::of_bytes(b"model"),
            max_steps: 120,
            lists_options: false,
            data: DatasetFacts {
                hash: ContentHash::of_bytes(b"pool"),
                rows: 1000,
                labels: 2,
                balance: 0.9,
                mean_chars: 80.0,
                language: Some("eng".to_owned()),
                defects: 0.1,
            },
        }
    }

    #[test]
    fn a_task_resembles_itself_most() {
        let one = features();
        assert!((similarity(&one, &one, None) - 1.0).abs() < 1e-9);
        let mut larger = one.clone();
        larger.data.rows = 10_000;
        let mut other = larger.clone();
        other.goal = "count the syllables of a word".to_owned();
        other.model_hash = ContentHash::of_bytes(b"another model");
        let (near, far) = (similarity(&one, &larger, None), similarity(&one, &other, None));
        assert!(far < near && near < 1.0 && far > 0.0, "{near} {far}");
        assert!((similarity(&other, &one, None) - far).abs() < 1e-12, "symmetric");
        other.kind = TaskKind::Generate;
        assert!(similarity(&one, &other, None).abs() < 1e-12);
    }

    #[test]
    fn the_meaning_of_the_goals_counts_where_it_is_known() {
        let one = features();
        let other = TaskFeatures { goal: "judge whether an opinion is favourable".to_owned(), ..features() };
        assert!(similarity(&one, &other, Some(0.9)) > similarity(&one, &other, None));
        assert!(similarity(&one, &other, Some(-1.0)) >= 0.0);
    }

    #[test]
    fn features_hold_numbers_and_no_rows() {
        let profile = DataProfile {
            rows: crate::RowCounts { input: 10, kept: 8, quarantined: 2 },
            labels: [("secret label".to_owned(), 6), ("b".to_owned(), 2)].into(),
            near_duplicates: 2,
            lengths: vec![LengthBucket { from: 0, to: 10, rows: 4 }, LengthBucket { from: 10, to: 20, rows: 4 }],
            samples: vec!["secret row".to_owned()],
            languages: [("und".to_owned(), 9), ("deu".to_owned(), 3)].into(),
            ..DataProfile::default()
        };
        let facts = DatasetFacts::of(ContentHash::of_bytes(b"pool"), &profile);
        assert_eq!((facts.rows, facts.labels, facts.language.as_deref()), (8, 2, Some("deu")));
        assert!((facts.mean_chars - 10.0).abs() < 1e-9 && (facts.defects - 0.25).abs() < 1e-9);
        // -(0.75 ln 0.75 + 0.25 ln 0.25) / ln 2
        assert!((facts.balance - 0.811_278).abs() < 1e-6, "{}", facts.balance);
        assert!(!serde_json::to_string(&facts).unwrap().contains("secret"));
    }
}
