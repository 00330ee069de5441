//! Proposes numeric settings by a Gaussian process over the trials so far, whose mathematics are in `trex-search`.
//!
//! Scores of different rungs are made comparable by adding the mean gain that variants had from there to the top, and each has
//! the noise of its items and of that gain; where search and select are known, both count. Recipes are part of the distance, so
//! trials under another recipe inform less. Trials of similar past tasks are seen as noisier ones,
//! until the task has enough of its own.

use rand::{Rng, RngExt as _};
use trex_domain::{PriorObservation, Recipe, RunState, SchedulerType, Score, TrainConfig, TrainMethod, VariantId};
use trex_search::{Measured, NOISE, Observation, Process, carried, gains_to_top};

use crate::moves::{Candidate, rounded};

/// Scored variants that are needed before the surrogate says anything.
pub(crate) const MIN_SCORED: usize = 4;

/// Candidates drawn per proposal.
const DRAWS: usize = 256;

/// Weights of the uncertainty for the members of a batch: a safe one, a balanced one, a bold one.
const BOLDNESS: [f64; 3] = [0.3, 1.0, 2.0];

/// How far a proposal lies from what was tried at least, where 1 is a moderate change. Half of one moves scores by less than
/// items and seeds do.
const MIN_DISTANCE: f64 = 0.5;

/// What a trial of another task is worth less than one of this task: so much more noise at full similarity, and as much
/// again for what is missing to it.
const FOREIGN_NOISE: f64 = 1.0;

/// Proposes `count` changes of `start` under its recipe; empty while too few variants are scored.
pub(crate) fn propose(
    state: &RunState,
    recipe: &Recipe,
    start: &TrainConfig,
    task: &TrainConfig,
    count: usize,
    rng: &mut impl Rng,
) -> Vec<Candidate> {
    let mut seen = observations(state);
    let mut tried: Vec<Vec<f64>> = seen.iter().map(|one| one.features.clone()).collect();
    tried.push(features(recipe, start));
    // Other tasks speak until this one can: their optimum lies elsewhere, and is as noisy as this one's.
    if seen.len() < MIN_SCORED {
        seen.extend(observations_elsewhere(state));
    }
    if seen.len() < MIN_SCORED {
        return Vec::new();
    }
    let mut out: Vec<Candidate> = Vec::new();
    for place in 0..count {
        let Some(process) = Process::fit(&seen) else { break };
        let boldness = BOLDNESS.get(place % BOLDNESS.len()).copied().unwrap_or(1.0);
        let pool: Vec<TrainConfig> = (0..DRAWS).map(|_| drawn(start, task, rng)).collect();
        let score = |config: &TrainConfig| {
            let (mean, sd) = process.predict(&features(recipe, config));
            (mean, sd, mean + boldness * sd)
        };
        let fresh = pool.into_iter().filter(|config| is_news(&tried, &features(recipe, config)));
        let scored = fresh.map(|config| (score(&config), config));
        let Some(((mean, sd, _), config)) = scored.max_by(|a, b| a.0.2.total_cmp(&b.0.2)) else { break };
        // The next one is chosen as if this one had brought what is expected of it.
        seen.push(Observation { features: features(recipe, &config), score: mean, noise: NOISE });
        tried.push(features(recipe, &config));
        let why = format!("the surrogate over {} variants expects {mean:.3} ± {sd:.3}", seen.len() - 1 - place);
        out.push(Candidate { recipe: recipe.clone(), config, why });
    }
    out
}

/// Whether a point lies far enough from all that was tried, or is to be, for a difference of scores to say anything.
fn is_news(tried: &[Vec<f64>], at: &[f64]) -> bool {
    let distance = |one: &Vec<f64>| one.iter().zip(at).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
    tried.iter().all(|one| distance(one) >= MIN_DISTANCE)
}

/// Scores of all variants, carried up to the top rung.
fn observations(state: &RunState) -> Vec<Observation> {
    let top = state.task.as_ref().map_or(0, trex_domain::TaskSpec::top_rung);
    let gains: Vec<Vec<f64>> = (0..=top).map(|rung| gains_to_top(state, rung)).collect();
    let measure = |id: &VariantId| {
        let search = |rung: usize| state.trial_score(&(id.clone(), rung, 0), "search");
        let (rung, search) = (0..=top).rev().find_map(|rung| Some((rung, search(rung)?)))?;
        let variant = &state.variants.get(id)?.variant;
        let (score, se) = match state.select_score(Some(id)) {
            Some(select) => pooled(search, select),
            None => carried(search.merit(), standard_error(search), gains.get(rung)?),
        };
        Some(Measured { features: features(&variant.recipe, &variant.config), score, se })
    };
    trex_search::observations(state.variants.keys().filter_map(measure).collect())
}

/// Two scores of the same weights on different items, weighted by these.
fn pooled(a: &Score, b: &Score) -> (f64, f64) {
    let (items, more) = (a.n as f64, b.n as f64);
    let share = items / (items + more).max(1.0);
    let score = share * a.merit() + (1.0 - share) * b.merit();
    (score, (share * standard_error(a)).hypot((1.0 - share) * standard_error(b)))
}

/// A 95 % interval is four standard errors wide, but for a fiftieth.
fn standard_error(score: &Score) -> f64 {
    (score.ci95[1] - score.ci95[0]) / 3.92
}

/// Trials of similar past tasks: their gain over the base there, from the base here.
fn observations_elsewhere(state: &RunState) -> Vec<Observation> {
    let Some(warm) = &state.warm_start else { return Vec::new() };
    let base: Vec<f64> =
        state.base_scores.iter().filter(|((split, _), _)| split == "search").map(|(_, score)| score.merit()).collect();
    if base.is_empty() {
        return Vec::new();
    }
    let base = base.iter().sum::<f64>() / base.len() as f64;
    let observe = |one: &PriorObservation| Observation {
        features: features(&one.recipe, &one.config),
        score: base + one.gain,
        noise: NOISE + FOREIGN_NOISE * (2.0 - one.similarity),
    };
    warm.observations.iter().map(observe).collect()
}

/// Settings on scales on which a distance of 1 is a moderate change.
fn features(recipe: &Recipe, config: &TrainConfig) -> Vec<f64> {
    let log2 = |value: usize| (value.max(1) as f64).log2();
    let flag = |is_on: bool, weight: f64| if is_on { weight } else { 0.0 };
    let schedule = config.lr_scheduler_type;
    let is_flat = matches!(schedule, SchedulerType::Constant | SchedulerType::ConstantWithWarmup);
    let mut out = vec![
        config.learning_rate.ln() / 3.0_f64.ln(),
        log2(config.lora.r) / 2.0,
        (log2(config.lora.lora_alpha) - log2(config.lora.r)) / 2.0,
        log2(config.effective_batch_size()) / 1.5,
        log2(config.max_steps),
        config.label_smoothing_factor / 0.2,
        config.warmup_ratio / 0.2,
        config.weight_decay / 0.1,
        config.lora.lora_dropout / 0.2,
        flag(is_flat, 0.5),
        flag(schedule == SchedulerType::Linear, 0.3),
        flag(schedule == SchedulerType::WarmupStableDecay, 0.4),
        flag(config.lora.use_rslora, 0.7),
    ];
    out.extend(OPERATORS.iter().map(|name| flag(recipe.has(name), 0.5)));
    out
}

/// Operators that tell recipes apart.
const OPERATORS: [&str; 12] = [
    "normalise",
    "length_filter",
    "exact_dedup",
    "near_dedup",
    "resolve_conflicts",
    "quality_filter",
    "topic_filter",
    "neighbour_agreement",
    "label_balance",
    "stratified_sample",
    "few_shot_pack",
    "shuffle_options",
];

/// A change of one to three settings.
fn drawn(start: &TrainConfig, task: &TrainConfig, rng: &mut impl Rng) -> TrainConfig {
    let mut config = start.clone();
    for _ in 0..rng.random_range(1..=3) {
        change_one(&mut config, task, rng);
    }
    config
}

fn change_one(config: &mut TrainConfig, task: &TrainConfig, rng: &mut impl Rng) {
    let has_adapter = config.method == TrainMethod::Lora;
    // In fortieths: what moves scores is drawn often, what mostly moves them less than the noise of the items seldom.
    match rng.random_range(0..40) {
        0..=13 => config.learning_rate = drawn_rate(config.learning_rate, rng),
        14..=20 => regroup(config, task, rng),
        21..=26 => {
            let kinds = [
                SchedulerType::Cosine,
                SchedulerType::Linear,
                SchedulerType::WarmupStableDecay,
                SchedulerType::ConstantWithWarmup,
            ];
            config.lr_scheduler_type = *pick(&kinds, rng);
        }
        27..=29 => {
            let share = *pick(&[0.75, 1.0, 1.5, 2.0], rng);
            config.max_steps = scaled(task.max_steps, share);
        }
        30..=34 if has_adapter => {
            let ratio = config.lora.lora_alpha as f64 / config.lora.r as f64;
            config.lora.r = *pick(&[4, 8, 16, 32, 64], rng);
            config.lora.lora_alpha = scaled(config.lora.r, ratio);
        }
        35..=36 if has_adapter => config.lora.lora_alpha = scaled(config.lora.r, *pick(&[1.0, 2.0, 4.0], rng)),
        37 => config.label_smoothing_factor = *pick(&[0.0, 0.05, 0.1], rng),
        38 => config.warmup_ratio = *pick(&[0.0, 0.05, 0.1, 0.2], rng),
        _ => config.weight_decay = *pick(&[0.0, 0.01, 0.05], rng),
    }
}

/// The same examples in more or in fewer steps.
fn regroup(config: &mut TrainConfig, task: &TrainConfig, rng: &mut impl Rng) {
    let (rows, steps) = (config.per_device_train_batch_size, config.max_steps);
    if rng.random::<bool>() && rows > 1 {
        config.per_device_train_batch_size = rows / 2;
        config.max_steps = (steps * 2).min(task.max_steps * 2);
    } else {
        config.per_device_train_batch_size = rows * 2;
        config.max_steps = (steps / 2).max(1);
    }
}

fn drawn_rate(rate: f64, rng: &mut impl Rng) -> f64 {
    let factor = (rng.random_range(-2.0..2.0) * 3.0_f64.ln()).exp();
    rounded((rate * factor).clamp(1e-6, 0.3))
}

/// `whole · share`, rounded, at least 1.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small, positive and rounded")]
fn scaled(whole: usize, share: f64) -> usize {
    ((whole as f64 * share).round() as usize).max(1)
}

fn pick<'a, T>(list: &'a [T], rng: &mut impl Rng) -> &'a T {
    &list[rng.random_range(0..list.len())]
}
