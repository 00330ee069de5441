//! Diagnosis of a trial: features of its data, its curve and its answers, and the rules of `assets/playbook/diagnosis.toml`.
//!
//! Answers are those of the search split only; no other split is looked at here, so that nothing of it can come into what is
//! proposed. Names causes and what to try next, and changes nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use trex_domain::{
    DataProfile, ItemScore, MetricPoint, RunState, TargetModules, TaskSpec, TrainMethod, TrialRecord, Variant,
    VariantId,
};

use crate::ResearchError;

/// Most bad cases that are shown.
const BAD_CASES: usize = 10;

/// Names of features with their values; what was not measured is absent.
pub type Features = BTreeMap<&'static str, f64>;

/// One cause.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// Stable code of the rule.
    pub code: String,
    /// What is wrong.
    pub cause: String,
    /// What to try next.
    pub advice: String,
    /// Where the rule comes from.
    pub source: String,
    /// The features that the rule looked at, with their values.
    pub because: BTreeMap<String, f64>,
}

/// A wrong answer of the search split.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BadCase {
    /// Id of the item.
    pub id: String,
    /// What should have come.
    pub gold: String,
    /// What came.
    pub predicted: String,
}

/// What is known of a trial.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Diagnosis {
    /// The variant.
    pub variant: VariantId,
    /// Rung of the trial that was looked at.
    pub rung: usize,
    /// What the rules found, the gravest first.
    pub findings: Vec<Finding>,
    /// Wrong answers by the pair of gold and predicted answer, the commonest first; of closed answers only.
    pub confusions: Vec<(String, String, usize)>,
    /// Some wrong answers.
    pub bad_cases: Vec<BadCase>,
    /// All features.
    pub features: Features,
}

/// The rules.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiagnosisRules {
    rule: Vec<Rule>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    code: String,
    when: Vec<(String, Relation, f64)>,
    cause: String,
    advice: String,
    source: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) enum Relation {
    #[serde(rename = "<")]
    Below,
    #[serde(rename = "<=")]
    AtMost,
    #[serde(rename = ">")]
    Above,
    #[serde(rename = ">=")]
    AtLeast,
}

impl Relation {
    pub(crate) fn holds(self, value: f64, limit: f64) -> bool {
        match self {
            Self::Below => value < limit,
            Self::AtMost => value <= limit,
            Self::Above => value > limit,
            Self::AtLeast => value >= limit,
        }
    }
}

impl DiagnosisRules {
    /// The rules that come with the program.
    pub fn built_in() -> Result<Self, ResearchError> {
        let text = include_str!("../../../assets/playbook/diagnosis.toml");
        toml::from_str(text)
            .map_err(|source| ResearchError::BadRules { file: "diagnosis.toml", source: Box::new(source) })
    }

    /// The codes of all rules, in their order.
    pub fn codes(&self) -> impl Iterator<Item = &str> {
        self.rule.iter().map(|rule| rule.code.as_str())
    }

    /// Every rule that holds, in their order.
    pub fn findings(&self, features: &Features) -> Vec<Finding> {
        self.rule.iter().filter_map(|rule| rule.finding(features)).collect()
    }
}

impl Rule {
    fn finding(&self, features: &Features) -> Option<Finding> {
        let mut because = BTreeMap::new();
        for (name, relation, limit) in &self.when {
            let value = features.get(name.as_str()).copied().filter(|value| relation.holds(*value, *limit))?;
            because.insert(name.clone(), value);
        }
        let Self { code, cause, advice, source, .. } = self.clone();
        Some(Finding { code, cause, advice, source, because })
    }
}

/// Looks at the furthest trial of a variant; `items` are its answers on the search split, where there are any.
pub fn diagnose(state: &RunState, id: &VariantId, items: &[ItemScore], rules: &DiagnosisRules) -> Option<Diagnosis> {
    let task = state.task.as_ref()?;
    let variant = &state.variants.get(id)?.variant;
    let (rung, trial) = furthest(state, id)?;
    let mut features = Features::new();
    if let Some(profile) = state.data.as_ref().and_then(|data| data.profiles.first()) {
        data_features(profile, task, &mut features);
    }
    trial_features(trial, variant, state, &mut features);
    answer_features(items, &mut features);
    if let (Some(tuned), Some(base)) = (state.trial_score(&(id.clone(), rung, 0), "search"), base_search(state)) {
        features.insert("gain", tuned.merit() - base);
    }
    let is_closed = !task.prompt.options.is_empty();
    let wrong = || items.iter().filter(|item| item.score < 0.5 && item.gold != item.predicted);
    let case = |item: &ItemScore| BadCase {
        id: item.id.clone(),
        gold: shortened(&item.gold),
        predicted: shortened(&item.predicted),
    };
    Some(Diagnosis {
        variant: id.clone(),
        rung,
        findings: rules.findings(&features),
        confusions: if is_closed { confusions(wrong()) } else { Vec::new() },
        bad_cases: wrong().take(BAD_CASES).map(case).collect(),
        features,
    })
}

/// The trial at the highest rung, with training seed 0.
fn furthest<'a>(state: &'a RunState, id: &VariantId) -> Option<(usize, &'a TrialRecord)> {
    let own = state.trials.iter().filter(|((variant, _, seed), _)| variant == id && *seed == 0);
    own.map(|((_, rung, _), trial)| (*rung, trial)).max_by_key(|(rung, _)| *rung)
}

fn base_search(state: &RunState) -> Option<f64> {
    state.base_scores.get(&("search".to_owned(), 0)).map(trex_domain::Score::merit)
}

fn data_features(profile: &DataProfile, task: &TaskSpec, out: &mut Features) {
    let rows = profile.rows.kept.max(1) as f64;
    let share = |count: usize| count as f64 / rows;
    out.insert("rows", profile.rows.kept as f64);
    out.insert("duplicate_share", share(profile.exact_duplicates.max(profile.near_duplicates)));
    out.insert("conflict_share", share(profile.conflicting_answers));
    out.insert("quarantined_share", profile.rows.quarantined as f64 / profile.rows.input.max(1) as f64);
    out.extend(profile.leaked.map(|leaked| ("leaked_share", share(leaked))));
    let options = &task.prompt.options;
    if options.is_empty() || profile.labels.is_empty() {
        return;
    }
    let foreign: usize =
        profile.labels.iter().filter(|(label, _)| !options.contains(label)).map(|(_, rows)| rows).sum();
    out.insert("foreign_answer_share", share(foreign));
    let counts: Vec<usize> = options.iter().filter_map(|option| profile.labels.get(option).copied()).collect();
    if let (Some(most), Some(least)) = (counts.iter().max(), counts.iter().min().filter(|least| **least > 0)) {
        out.insert("label_skew", *most as f64 / *least as f64);
    }
}

fn trial_features(trial: &TrialRecord, variant: &Variant, state: &RunState, out: &mut Features) {
    let config = &variant.config;
    if config.method == TrainMethod::Lora {
        out.insert("lora_r", config.lora.r as f64);
        if let Ok(names) = config.lora.target_modules.names() {
            out.insert("target_share", names.len() as f64 / TargetModules::ALL_LINEAR.len() as f64);
        }
    }
    let is_divergence = |text: &String| text.contains("diverge") || text.contains("NaN") || text.contains("not finite");
    out.insert(
        "diverged",
        f64::from(u8::from(trial.failure.as_ref().is_some_and(is_divergence) && trial.done.is_none())),
    );
    let Some(done) = &trial.done else { return };
    let examples = (done.steps * config.effective_batch_size()) as f64;
    out.insert("steps", done.steps as f64);
    out.insert("truncated_share", done.truncated as f64 / examples.max(1.0));
    if done.tokens > 0 {
        out.insert("supervised_share", done.supervised_tokens as f64 / done.tokens as f64);
    }
    let ledger = state.variants.get(&variant.id).and_then(|record| record.ledger.as_ref());
    let rows = ledger.map(|ledger| ledger.rows_out).filter(|rows| *rows > 0);
    out.extend(rows.map(|rows| ("passes", examples / rows as f64)));
    curve_features(&done.curve, out);
}

/// The loss is smoothed over a tenth of the curve: single steps say little.
fn curve_features(curve: &[MetricPoint], out: &mut Features) {
    let window = (curve.len() / 10).max(1);
    let means: Vec<f64> =
        curve.chunks(window).map(|part| part.iter().map(|point| point.loss).sum::<f64>() / part.len() as f64).collect();
    let (Some(first), Some(last)) = (means.first().copied(), means.last().copied()) else { return };
    out.insert("first_loss", first);
    if first <= 0.0 {
        return;
    }
    out.insert("loss_drop", (first - last) / first);
    let lowest = means.iter().copied().fold(f64::INFINITY, f64::min);
    let fallen = first - lowest;
    if means.len() >= 4 && fallen > 0.0 {
        out.insert("loss_rise", (last - lowest) / fallen);
        let late = means[means.len() * 3 / 4];
        out.insert("late_drop", (late - last) / first);
    }
    let evals: Vec<f64> = curve.iter().filter_map(|point| point.eval_loss).collect();
    let best = evals.iter().copied().fold(f64::INFINITY, f64::min);
    if let Some(end) = evals.last().filter(|_| evals.len() >= 2 && best > 0.0) {
        out.insert("eval_loss_rise", (end - best) / best);
    }
}

fn answer_features(items: &[ItemScore], out: &mut Features) {
    if items.is_empty() {
        return;
    }
    let count = items.len() as f64;
    let majority = |answers: &mut dyn Iterator<Item = &String>| {
        let mut counts: BTreeMap<&String, usize> = BTreeMap::new();
        for answer in answers {
            *counts.entry(answer).or_default() += 1;
        }
        counts.into_values().max().unwrap_or(0) as f64 / count
    };
    out.insert("predicted_majority", majority(&mut items.iter().map(|item| &item.predicted)));
    out.insert("gold_majority", majority(&mut items.iter().map(|item| &item.gold)));
    let empty = items.iter().filter(|item| item.predicted.trim().is_empty()).count();
    out.insert("empty_answer_share", empty as f64 / count);
    let chars = |text: &String| text.chars().count();
    let gold: usize = items.iter().map(|item| chars(&item.gold)).sum();
    let predicted: usize = items.iter().map(|item| chars(&item.predicted)).sum();
    if gold > 0 {
        out.insert("length_ratio", predicted as f64 / gold as f64);
    }
}

fn confusions<'a>(wrong: impl Iterator<Item = &'a ItemScore>) -> Vec<(String, String, usize)> {
    let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
    for item in wrong {
        *counts.entry((item.gold.clone(), item.predicted.clone())).or_default() += 1;
    }
    let mut list: Vec<_> = counts.into_iter().map(|((gold, predicted), count)| (gold, predicted, count)).collect();
    list.sort_by_key(|(_, _, count)| std::cmp::Reverse(*count));
    list
}

fn shortened(text: &str) -> String {
    const CHARS: usize = 200;
    text.chars().take(CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A trial with which nothing is wrong.
    fn healthy() -> Features {
        Features::from([
            ("rows", 1000.0),
            ("duplicate_share", 0.01),
            ("conflict_share", 0.0),
            ("quarantined_share", 0.0),
            ("leaked_share", 0.0),
            ("foreign_answer_share", 0.0),
            ("label_skew", 1.2),
            ("lora_r", 8.0),
            ("target_share", 1.0),
            ("diverged", 0.0),
            ("steps", 120.0),
            ("truncated_share", 0.0),
            ("supervised_share", 0.2),
            ("passes", 2.0),
            ("first_loss", 2.0),
            ("loss_drop", 0.4),
            ("loss_rise", 0.05),
            ("late_drop", 0.02),
            ("eval_loss_rise", 0.0),
            ("gain", 0.05),
            ("predicted_majority", 0.55),
            ("gold_majority", 0.5),
            ("empty_answer_share", 0.0),
            ("length_ratio", 1.0),
        ])
    }

    #[track_caller]
    fn check(changes: &[(&'static str, f64)], expected: &[&str]) {
        let mut features = healthy();
        features.extend(changes.iter().copied());
        let findings = DiagnosisRules::built_in().unwrap().findings(&features);
        let codes: Vec<&str> = findings.iter().map(|finding| finding.code.as_str()).collect();
        assert_eq!(codes, expected, "{changes:?}");
    }

    #[test]
    fn each_cause_is_found_and_a_healthy_trial_has_none() {
        check(&[], &[]);
        check(&[("diverged", 1.0)], &["diverged"]);
        check(&[("supervised_share", 0.0)], &["nothing_trained"]);
        check(&[("first_loss", 9.0), ("loss_drop", 0.8)], &["template_mismatch"]);
        check(&[("truncated_share", 0.1)], &["truncation"]);
        check(&[("leaked_share", 0.01)], &["leakage"]);
        check(&[("label_skew", 5.0)], &["label_imbalance"]);
        check(&[("predicted_majority", 0.98)], &["one_answer"]);
        check(&[("duplicate_share", 0.2)], &["duplicates"]);
        check(&[("conflict_share", 0.1)], &["conflicting_answers"]);
        check(&[("foreign_answer_share", 0.1)], &["answer_format"]);
        check(&[("loss_rise", 0.6)], &["rate_too_high"]);
        check(&[("eval_loss_rise", 0.2)], &["overfitting"]);
        check(&[("passes", 20.0)], &["too_many_epochs"]);
        check(&[("loss_drop", 0.01)], &["rate_too_low"]);
        check(&[("late_drop", 0.2), ("passes", 0.3)], &["too_few_steps"]);
        check(&[("gain", -0.1)], &["forgetting"]);
        check(&[("lora_r", 2.0), ("loss_drop", 0.1)], &["rank_too_small"]);
        check(&[("target_share", 0.28), ("loss_drop", 0.1)], &["few_targets"]);
        check(&[("length_ratio", 3.0)], &["answers_too_long"]);
        check(&[("length_ratio", 0.2)], &["answers_too_short"]);
        check(&[("empty_answer_share", 0.5)], &["empty_answers"]);
        check(&[("quarantined_share", 0.3)], &["unread_rows"]);
    }

    #[test]
    fn every_rule_looks_at_features_that_are_measured_and_is_tested_above() {
        let rules = DiagnosisRules::built_in().unwrap().rule;
        assert_eq!(rules.len(), 22, "a new rule needs its line in the test above");
        for rule in &rules {
            assert!(!rule.when.is_empty() && rule.when.iter().all(|(name, ..)| healthy().contains_key(name.as_str())));
            assert!(!rule.cause.is_empty() && !rule.advice.is_empty() && !rule.source.is_empty(), "{rule:?}");
        }
        assert!(
            DiagnosisRules::built_in().unwrap().findings(&Features::new()).is_empty(),
            "nothing is known, nothing is said"
        );
    }

    fn curve(losses: &[f64], evals: &[(usize, f64)]) -> Features {
        let mut points: Vec<MetricPoint> = losses
            .iter()
            .enumerate()
            .map(|(at, loss)| MetricPoint { step: at + 1, loss: *loss, ..MetricPoint::default() })
            .collect();
        for (at, loss) in evals {
            points[*at].eval_loss = Some(*loss);
        }
        let mut features = Features::new();
        curve_features(&points, &mut features);
        features
    }

    #[test]
    fn a_curve_becomes_features() {
        let falling: Vec<f64> = (0..40).map(|step| 2.0 - 0.03 * f64::from(step)).collect();
        let features = curve(&falling, &[(10, 1.5), (20, 1.2), (39, 1.5)]);
        assert!((features["loss_drop"] - 0.54).abs() < 0.05, "{features:?}");
        assert!(features["loss_rise"].abs() < 1e-9 && features["late_drop"] > 0.1, "{features:?}");
        assert!((features["eval_loss_rise"] - 0.25).abs() < 1e-9, "{features:?}");
        let rising: Vec<f64> = (0..40).map(|step| if step < 20 { 2.0 - 0.05 * f64::from(step) } else { 1.9 }).collect();
        assert!(curve(&rising, &[])["loss_rise"] > 0.5);
        assert!(curve(&[], &[]).is_empty());
    }

    #[test]
    fn answers_become_features() {
        let item = |gold: &str, predicted: &str| ItemScore {
            id: String::new(),
            predicted: predicted.to_owned(),
            gold: gold.to_owned(),
            score: 0.0,
            gold_logprob: None,
            gold_prob: None,
        };
        let items = [item("yes", "no"), item("no", "no"), item("yes", "no"), item("yes", "")];
        let mut features = Features::new();
        answer_features(&items, &mut features);
        assert_eq!((features["predicted_majority"], features["empty_answer_share"]), (0.75, 0.25));
        assert_eq!(confusions(items.iter().take(3))[0], ("yes".to_owned(), "no".to_owned(), 2));
    }
}
