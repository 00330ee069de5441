//! What a new task takes from similar past ones. Everything taken stands in the run's log, so that a run depends on its log
//! and not on what is known later. Proposes and shifts; measured scores of the run itself decide.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{KnownInsight, PastExperiment, SimilarTask, TaskFeatures};
use crate::{ContentHash, DomainError, Operator, Recipe, StrategyKind, TrainConfig};

/// Tasks that are less similar teach nothing. Another task of the same kind with the same model and metric lies at about
/// 0.7, with another model at about 0.5.
const MIN_SIMILARITY: f64 = 0.6;

/// Similar tasks that are looked at.
const MAX_TASKS: usize = 5;

/// Configurations that are proposed first: one batch of the default size.
const MAX_FIRST: usize = 3;

/// Rejections of a person that are taken along, those of the most similar task first.
const MAX_REJECTIONS: usize = 8;

/// Past trials that the surrogate sees; the best of each task first.
const MAX_OBSERVATIONS: usize = 40;

/// How far a prior moves towards what past tasks say, at full similarity.
const MAX_SHIFT: f64 = 0.5;

/// A past task that something was taken from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TakenTask {
    /// Its name by content.
    pub key: ContentHash,
    /// Its name.
    pub name: String,
    /// Its base model.
    pub model: String,
    /// From 0 to 1.
    pub similarity: f64,
    /// Trials that were looked at.
    pub experiments: usize,
    /// Where it was run.
    pub lab: String,
}

/// How a kind of strategy did in the past.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PriorShift {
    /// Its best gain over the best of all kinds, weighed by similarity; in [0, 1].
    pub share: f64,
    /// How much of the prior that replaces, in [0, 1].
    pub weight: f64,
}

/// A configuration that helped before and is tried first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FirstVariant {
    /// Kind of the strategy that found it.
    pub strategy: StrategyKind,
    /// Recipe, without what belongs to other data.
    pub recipe: Recipe,
    /// Training configuration, as it suits the new task.
    pub config: TrainConfig,
    /// What it gained there over the untouched base.
    pub gain: f64,
    /// Where it comes from, such as `s2.e1.a of sentiment`.
    pub from: String,
}

/// A past trial as the surrogate sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PriorObservation {
    /// Recipe.
    pub recipe: Recipe,
    /// Training configuration, as it suits the new task.
    pub config: TrainConfig,
    /// What it gained over the untouched base.
    pub gain: f64,
    /// Similarity of its task.
    pub similarity: f64,
}

/// What a run took from earlier ones.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WarmStart {
    /// The tasks, the most similar first.
    pub tasks: Vec<TakenTask>,
    /// How kinds of strategies did there.
    pub priors: BTreeMap<StrategyKind, PriorShift>,
    /// What is tried first.
    pub first: Vec<FirstVariant>,
    /// What the surrogate begins with.
    pub observations: Vec<PriorObservation>,
    /// What is known for such tasks, as sentences.
    pub insights: Vec<String>,
    /// What a person did not want there, as sentences.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rejections: Vec<String>,
}

impl WarmStart {
    /// What a task takes from others; none where none is similar enough or none of them was tried.
    pub fn of(
        train: &TrainConfig,
        similar: &[SimilarTask],
        insights: &[KnownInsight],
    ) -> Result<Option<Self>, DomainError> {
        let near = similar.iter().filter(|one| one.similarity >= MIN_SIMILARITY && !one.experiments.is_empty());
        let mut near: Vec<&SimilarTask> = near.collect();
        near.sort_by(|a, b| b.similarity.total_cmp(&a.similarity).then_with(|| a.key.cmp(&b.key)));
        near.truncate(MAX_TASKS);
        if near.is_empty() {
            return Ok(None);
        }
        Ok(Some(Self {
            tasks: near.iter().map(|one| taken(one)).collect(),
            priors: priors(&near),
            first: first(train, &near)?,
            observations: observations(train, &near),
            insights: insights.iter().map(|one| one.statement.clone()).collect(),
            rejections: rejections(&near),
        }))
    }

    /// A prior as past tasks shift it.
    pub fn shifted(&self, kind: StrategyKind, prior: f64) -> f64 {
        let Some(PriorShift { share, weight }) = self.priors.get(&kind) else { return prior };
        ((1.0 - weight) * prior + weight * share).clamp(0.01, 1.0)
    }

    /// What was taken, in lines for people.
    pub fn lines(&self) -> Vec<String> {
        let task = |one: &TakenTask| {
            let TakenTask { name, model, similarity, experiments, lab, .. } = one;
            format!("similar task {name} ({model}, lab {lab}): similarity {similarity:.2}, {experiments} trials")
        };
        let prior = |(kind, shift): (&StrategyKind, &PriorShift)| {
            let kind = kind.as_str();
            format!(
                "strategy {kind}: {:.2} of the best gain there, counts {:.2} of its prior",
                shift.share, shift.weight
            )
        };
        let first = |one: &FirstVariant| {
            let names: Vec<_> = one.recipe.operators.iter().map(Operator::name).collect();
            let (rate, names) = (one.config.learning_rate, names.join(", "));
            format!("tried first: {} (gain {:+.3} there), learning rate {rate}, {names}", one.from, one.gain)
        };
        let surrogate = format!("the surrogate begins with {} past trials", self.observations.len());
        let insights = self.insights.iter().map(|text| format!("known: {text}"));
        let insights = insights.chain(self.rejections.iter().map(|text| format!("not wanted: {text}")));
        let tasks = self.tasks.iter().map(task).chain(self.priors.iter().map(prior));
        tasks.chain(self.first.iter().map(first)).chain([surrogate]).chain(insights).collect()
    }
}

/// The newest of each task first.
fn rejections(near: &[&SimilarTask]) -> Vec<String> {
    let all = near.iter().flat_map(|one| one.rejections.iter().rev().map(|no| (&one.features.name, no)));
    let told = all.map(|(task, no)| format!("{} of {task}: {} because {}", no.stage.as_str(), no.question, no.reason));
    told.take(MAX_REJECTIONS).collect()
}

fn taken(one: &SimilarTask) -> TakenTask {
    TakenTask {
        key: one.key,
        name: one.features.name.clone(),
        model: one.features.model.clone(),
        similarity: one.similarity,
        experiments: one.experiments.len(),
        lab: one.lab.clone(),
    }
}

/// The gain to believe: that on the select split where it was measured, which is not the maximum of a batch.
fn honest_gain(one: &PastExperiment) -> Option<f64> {
    one.select_gain.or(one.gain).filter(|gain| gain.is_finite() && !one.failed)
}

fn priors(tasks: &[&SimilarTask]) -> BTreeMap<StrategyKind, PriorShift> {
    let mut sums: BTreeMap<StrategyKind, (f64, f64)> = BTreeMap::new();
    for task in tasks {
        let mut best: BTreeMap<StrategyKind, f64> = BTreeMap::new();
        for (kind, gain) in task.experiments.iter().filter_map(|one| Some((one.strategy, honest_gain(one)?))) {
            let known = best.entry(kind).or_insert(gain);
            *known = known.max(gain);
        }
        let most = best.values().copied().fold(0.0, f64::max);
        for (kind, gain) in best {
            let share = if most > 0.0 { (gain / most).clamp(0.0, 1.0) } else { 0.0 };
            let (sum, weights) = sums.entry(kind).or_default();
            *sum += task.similarity * share;
            *weights += task.similarity;
        }
    }
    let nearest = tasks.iter().map(|task| task.similarity).fold(0.0, f64::max);
    let shift = |(sum, weights): (f64, f64)| PriorShift { share: sum / weights, weight: MAX_SHIFT * nearest };
    sums.into_iter().map(|(kind, sums)| (kind, shift(sums))).collect()
}

/// The best configurations of all tasks by gain and similarity, different ones.
fn first(train: &TrainConfig, tasks: &[&SimilarTask]) -> Result<Vec<FirstVariant>, DomainError> {
    let mut all: Vec<(f64, &SimilarTask, &PastExperiment)> = Vec::new();
    for similar in tasks {
        // Winners were scored twice; the rest were looked at once, on fewer items.
        let scored = similar.experiments.iter().filter_map(|one| Some((one.select_gain?, one)));
        let helped = scored.filter(|(gain, one)| *gain > 0.0 && !one.failed);
        all.extend(helped.map(|(gain, one)| (gain * similar.similarity, *similar, one)));
    }
    all.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| (a.2.run, &a.2.variant).cmp(&(b.2.run, &b.2.variant))));
    let mut seen = BTreeSet::new();
    let mut out = Vec::new();
    for (_, similar, one) in all {
        let (recipe, config) = (portable_recipe(&one.recipe), transplanted(&one.config, &similar.features, train));
        let is_new = seen.insert(ContentHash::of_value("trex.first.v1", &(&recipe, &config))?);
        if !is_new || config.validate().is_err() {
            continue;
        }
        let from = format!("{} of {}", one.variant, similar.features.name);
        let gain = honest_gain(one).unwrap_or_default();
        out.push(FirstVariant { strategy: one.strategy, recipe, config, gain, from });
        if out.len() == MAX_FIRST {
            break;
        }
    }
    Ok(out)
}

fn observations(train: &TrainConfig, tasks: &[&SimilarTask]) -> Vec<PriorObservation> {
    let mut out = Vec::new();
    for similar in tasks {
        let mut scored: Vec<_> = similar.experiments.iter().filter_map(|one| Some((one.gain?, one))).collect();
        scored.retain(|(gain, one)| gain.is_finite() && !one.failed);
        scored.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| (a.1.run, &a.1.variant).cmp(&(b.1.run, &b.1.variant))));
        out.extend(scored.into_iter().map(|(gain, one)| PriorObservation {
            recipe: one.recipe.clone(),
            config: transplanted(&one.config, &similar.features, train),
            gain,
            similarity: similar.similarity,
        }));
    }
    out.truncate(MAX_OBSERVATIONS);
    out
}

/// The settings of a past configuration that say how to learn, in the new task's frame: its method, objective, length,
/// precision and base stay, and the number of steps changes by the factor that it changed by there.
pub fn transplanted(past: &TrainConfig, there: &TaskFeatures, task: &TrainConfig) -> TrainConfig {
    let steps = task.max_steps as f64 * past.max_steps as f64 / there.max_steps.max(1) as f64;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small positive number, rounded")]
    let max_steps = (steps.round() as usize).clamp(1, task.max_steps.saturating_mul(2));
    let mut lora = task.lora.clone();
    if task.adapter.is_none() {
        (lora.r, lora.lora_alpha, lora.use_rslora) = (past.lora.r, past.lora.lora_alpha, past.lora.use_rslora);
    }
    lora.lora_dropout = past.lora.lora_dropout;
    TrainConfig {
        lora,
        learning_rate: past.learning_rate,
        lr_scheduler_type: past.lr_scheduler_type,
        lr_scheduler_kwargs: past.lr_scheduler_kwargs,
        warmup_ratio: past.warmup_ratio,
        max_steps,
        per_device_train_batch_size: past.per_device_train_batch_size,
        gradient_accumulation_steps: past.gradient_accumulation_steps,
        weight_decay: past.weight_decay,
        label_smoothing_factor: past.label_smoothing_factor,
        beta: past.beta,
        neftune_noise_alpha: past.neftune_noise_alpha,
        ..task.clone()
    }
}

/// The operators that know nothing of the data that they were chosen for.
fn portable_recipe(recipe: &Recipe) -> Recipe {
    let is_portable = |step: &&Operator| {
        !matches!(
            step,
            Operator::RegexDrop { .. }
                | Operator::RegexKeep { .. }
                | Operator::MapAnswer { .. }
                | Operator::TemplateRender { .. }
                | Operator::LengthFilter { .. }
                | Operator::TokenFilter { .. }
                | Operator::LanguageFilter { .. }
                | Operator::SemanticFilter { .. }
                | Operator::StratifiedSample { .. }
                | Operator::DiverseSample { .. }
                | Operator::Cap { .. }
        )
    };
    Recipe { operators: recipe.operators.iter().filter(is_portable).cloned().collect() }
}

#[cfg(test)]
mod tests {
    use super::super::features::tests::features;
    use super::*;
    use crate::{Millis, NodeId, RunId, VariantDiff, VariantId};

    fn experiment(number: usize, strategy: StrategyKind, rate: f64, gain: f64) -> PastExperiment {
        PastExperiment {
            run: RunId::from_parts(Millis(1), [1; 10]),
            variant: VariantId::new(&NodeId::strategy(1).experiment(number), 0),
            key: ContentHash::of_bytes(rate.to_string().as_bytes()),
            strategy,
            recipe: Recipe { operators: vec![Operator::ExactDedup, Operator::Cap { rows: 10 }] },
            config: TrainConfig { learning_rate: rate, max_steps: 240, max_length: 64, ..TrainConfig::default() },
            diff: VariantDiff::new(),
            rung: 1,
            gain: Some(gain),
            select_gain: Some(gain),
            failed: false,
        }
    }

    fn similar(similarity: f64, experiments: Vec<PastExperiment>) -> SimilarTask {
        SimilarTask {
            key: ContentHash::of_bytes(b"task"),
            features: features(),
            similarity,
            lab: "here".to_owned(),
            experiments,
            rejections: Vec::new(),
        }
    }

    fn taken_from(similarity: f64, experiments: Vec<PastExperiment>) -> Option<WarmStart> {
        WarmStart::of(&TrainConfig::default(), &[similar(similarity, experiments)], &[]).unwrap()
    }

    #[test]
    fn tasks_of_another_sort_teach_nothing() {
        let tried = || vec![experiment(1, StrategyKind::Baseline, 1e-3, 0.1)];
        assert_eq!(taken_from(0.5, tried()), None);
        assert_eq!(taken_from(0.9, Vec::new()), None);
        assert!(taken_from(0.9, tried()).is_some());
    }

    #[test]
    fn what_helped_most_comes_first_in_the_frame_of_the_new_task() {
        let tried = vec![
            experiment(1, StrategyKind::Baseline, 1e-4, 0.05),
            experiment(2, StrategyKind::RefineData, 1e-3, 0.2),
            experiment(3, StrategyKind::RefineData, 1e-3, 0.2),
            experiment(4, StrategyKind::AdjustTraining, 1e-2, -0.1),
            PastExperiment { failed: true, ..experiment(5, StrategyKind::AdjustTraining, 0.5, 0.9) },
        ];
        let warm = taken_from(1.0, tried).unwrap();
        let rates: Vec<f64> = warm.first.iter().map(|one| one.config.learning_rate).collect();
        assert_eq!(rates, [1e-3, 1e-4], "equal ones once, and nothing that hurt or failed");
        let best = &warm.first[0];
        // 240 of 120 steps there are twice the steps here; the length is the new task's.
        assert_eq!((best.config.max_steps, best.config.max_length), (240, TrainConfig::default().max_length));
        assert_eq!(best.recipe.operators, [Operator::ExactDedup]);
        assert_eq!(warm.observations.len(), 4);
    }

    #[test]
    fn priors_move_towards_what_past_tasks_say_and_no_further() {
        let tried =
            vec![experiment(1, StrategyKind::Baseline, 1e-4, 0.05), experiment(2, StrategyKind::RefineData, 1e-3, 0.2)];
        let warm = taken_from(0.8, tried).unwrap();
        assert!((warm.shifted(StrategyKind::RefineData, 0.3) - (0.6 * 0.3 + 0.4)).abs() < 1e-9);
        assert!(warm.shifted(StrategyKind::Baseline, 0.9) < 0.9);
        assert!((warm.shifted(StrategyKind::Fuse, 0.2) - 0.2).abs() < 1e-12, "never tried, so nothing is known");
        assert!(warm.lines().iter().any(|line| line.contains("s1.e2.a of sentiment")), "{:?}", warm.lines());
    }
}
