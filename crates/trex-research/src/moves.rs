//! What each strategy may try next, as lists of candidates in order of preference. Whether a candidate is new and
//! valid is checked elsewhere.

use trex_domain::{BalanceMode, Operator, Recipe, RowForm, SchedulerType, TrainConfig, TrainMethod, TrainObjective};

use crate::facts::Facts;
use crate::recipes::{MANDATORY, standard_recipe, with, with_all, without};

/// A whole configuration with its reason.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Candidate {
    pub(crate) recipe: Recipe,
    pub(crate) config: TrainConfig,
    pub(crate) why: String,
}

impl Candidate {
    fn new(recipe: Recipe, config: TrainConfig, why: impl Into<String>) -> Self {
        Self { recipe, config, why: why.into() }
    }
}

/// Steps of the learning rate around the best one, coarse before fine. Three is about half an order of magnitude.
const LR_FACTORS: [f64; 13] = [1.0, 3.0, 1.0 / 3.0, 10.0, 0.1, 1.7, 0.6, 30.0, 1.0 / 30.0, 1.3, 0.77, 5.5, 0.18];

/// Examples of a step below which it is not halved: gradients of fewer are mostly noise.
const FEWEST_ROWS: usize = 4;

/// Largest learning rate that is proposed.
const MAX_LR: f64 = 0.3;

/// Rounds to two significant digits, so that proposals read well and repeat exactly.
pub(crate) fn rounded(value: f64) -> f64 {
    format!("{value:.1e}").parse().unwrap_or(value)
}

/// The standard recipe over learning rates around the parent's.
pub(crate) fn baseline(recipe: &Recipe, config: &TrainConfig, facts: &Facts) -> Vec<Candidate> {
    let recipe = with_all(recipe, &standard_recipe(facts).operators);
    let candidate = |factor: &f64| {
        // The person's own value is kept to the last digit.
        let rate = if (*factor - 1.0).abs() < f64::EPSILON {
            config.learning_rate
        } else {
            rounded(config.learning_rate * factor)
        };
        let config = TrainConfig { learning_rate: rate, ..config.clone() };
        Candidate::new(recipe.clone(), config, format!("standard recipe at learning rate {rate}"))
    };
    let mut out: Vec<Candidate> =
        LR_FACTORS.iter().map(candidate).filter(|one| one.config.learning_rate <= MAX_LR).collect();
    if is_short(config, facts) {
        let more: Vec<Candidate> = out.iter().take(2).filter_map(with_more_updates).collect();
        // All advice at once first: what of it matters is for later batches to find.
        let strong = strong_refinements(facts);
        let all = more.first().filter(|_| !strong.is_empty()).map(|one| Candidate {
            recipe: with_all(&one.recipe, &strong),
            config: one.config.clone(),
            why: format!("{}, and everything that the profile asks for", one.why),
        });
        let second = out.len().min(1);
        out.splice(second..second, all);
        // Before a lower rate: what is trained too short wants more.
        let lower = out.iter().position(|one| one.config.learning_rate < config.learning_rate).unwrap_or(out.len());
        out.splice(lower..lower, more);
    }
    out
}

/// Whether a training ends before it has seen every row once.
fn is_short(config: &TrainConfig, facts: &Facts) -> bool {
    facts.form != RowForm::Text && config.max_steps * config.effective_batch_size() < facts.rows
}

/// More learning from the same examples, so at the same cost: twice the optimiser steps, at a rate that does not fall. Small
/// batches lose nothing per example (Marek and others, 2025, arXiv 2507.07101), and a decay halves the mean rate of a training
/// that is too short anyway (Hägele and others, 2024, arXiv 2405.18392, on constant rates).
fn with_more_updates(from: &Candidate) -> Option<Candidate> {
    let more = more_updates(&from.config)?;
    let config = TrainConfig { lr_scheduler_type: SchedulerType::ConstantWithWarmup, ..more };
    let why = format!("{}, constant, in twice the steps of half the examples", from.why);
    Some(Candidate { recipe: from.recipe.clone(), config, why })
}

/// Absent where steps would have fewer than [`FEWEST_ROWS`] examples.
fn more_updates(config: &TrainConfig) -> Option<TrainConfig> {
    let half = config.per_device_train_batch_size / 2;
    let more = TrainConfig { per_device_train_batch_size: half, max_steps: config.max_steps * 2, ..config.clone() };
    (half >= FEWEST_ROWS).then_some(more)
}

/// A data operator that may be added, with how strongly the profile asks for it.
struct Refinement {
    operator: Operator,
    weight: f64,
    why: String,
}

/// Cleaning operators in order of what the profile says.
fn refinements(facts: &Facts) -> Vec<Refinement> {
    let make = |operator, weight, why: String| Refinement { operator, weight, why };
    let share = |rows| format!("{:.1} % of rows", 100.0 * facts.share(rows));
    let mut list = vec![
        make(
            Operator::ExactDedup,
            facts.share(facts.exact_duplicates),
            format!("{} repeat an earlier row", share(facts.exact_duplicates)),
        ),
        make(
            Operator::NearDedup { threshold: 0.8, shingle_words: 3 },
            0.9 * facts.share(facts.near_duplicates),
            format!("{} nearly repeat an earlier prompt", share(facts.near_duplicates)),
        ),
        make(
            Operator::ResolveConflicts { min_share: 0.6 },
            1.5 * facts.share(facts.conflicts),
            format!("{} have a prompt that occurs with another answer", share(facts.conflicts)),
        ),
        make(
            Operator::TopicFilter { min_known_share: 0.5, min_rows: 15 },
            0.06,
            "off-topic rows cannot be seen in the profile, and they cost steps".to_owned(),
        ),
        make(
            Operator::QualityFilter { max_repetition: 0.4, max_symbol_ratio: 0.4 },
            0.04 + facts.share(facts.quarantined),
            format!("{} could not be read, so others may be damaged", share(facts.quarantined)),
        ),
        make(Operator::Normalise, 0.02, "equal text may be written in different bytes".to_owned()),
    ];
    if facts.is_closed {
        // Conflicts are the visible part of label noise: a wrong label mostly has no twin that contradicts it.
        list.push(make(
            Operator::NeighbourAgreement { neighbours: 7, min_agreement: 0.3 },
            0.08 + facts.share(facts.conflicts),
            "answers against those of similar prompts are probably wrong".to_owned(),
        ));
    }
    if let Some((min_chars, max_chars)) = facts.usual_lengths {
        let why = format!("99 % of rows have {min_chars} to {max_chars} characters");
        list.push(make(Operator::LengthFilter { min_chars, max_chars }, 0.03, why));
    }
    list.extend(measured_refinements(facts));
    list.retain(|one| suits(&one.operator, facts.form));
    list.sort_by(|a, b| b.weight.total_cmp(&a.weight));
    list
}

/// Those that the profile asks for.
fn strong_refinements(facts: &Facts) -> Vec<Operator> {
    refinements(facts).into_iter().filter(|one| one.weight >= 0.05).map(|one| one.operator).collect()
}

/// Cleaning operators that ask a model, where one is at hand.
fn measured_refinements(facts: &Facts) -> Vec<Refinement> {
    let mut list = Vec::new();
    if facts.at_hand.embeddings {
        let share = facts.share(facts.near_duplicates);
        list.push(Refinement {
            operator: Operator::SemanticDedup { threshold: 0.95 },
            weight: 0.4 * share,
            why: format!("{:.1} % of rows repeat in words, and others may in meaning", 100.0 * share),
        });
        if !facts.goal.trim().is_empty() {
            list.push(Refinement {
                operator: Operator::SemanticFilter { like: vec![facts.goal.clone()], min_similarity: 0.1, drop: false },
                weight: 0.01,
                why: "rows whose meaning is far from the goal are probably off-topic".to_owned(),
            });
        }
    }
    if facts.at_hand.losses {
        list.push(Refinement {
            operator: Operator::DifficultyFilter { drop_easiest: 0.0, drop_hardest: 0.05 },
            weight: 0.02 + 0.5 * facts.share(facts.conflicts),
            why: "what the base model finds hardest is often wrong".to_owned(),
        });
    }
    list
}

/// Whether a cleaning operator does to such rows what it is for.
///
/// Several pairs of one prompt are no repetition and no contradiction, and the white space of raw text is part of it.
fn suits(operator: &Operator, form: RowForm) -> bool {
    match form {
        RowForm::Answers => true,
        RowForm::Pairs => !matches!(
            operator,
            Operator::NearDedup { .. } | Operator::SemanticDedup { .. } | Operator::ResolveConflicts { .. }
        ),
        RowForm::Text => !matches!(operator, Operator::Normalise | Operator::ResolveConflicts { .. }),
    }
}

/// Cleaning: everything the profile asks for, then halves of it, then one operator more, less or changed.
pub(crate) fn refine_data(recipe: &Recipe, config: &TrainConfig, facts: &Facts) -> Vec<Candidate> {
    let start = with_all(recipe, &standard_recipe(facts).operators);
    let list = refinements(facts);
    let operators = |names: &[&str]| -> Vec<Operator> {
        list.iter().map(|one| one.operator.clone()).filter(|one| names.contains(&one.name())).collect()
    };
    let repeats = operators(&["resolve_conflicts", "exact_dedup", "near_dedup"]);
    let noise = operators(&["resolve_conflicts", "exact_dedup", "topic_filter", "neighbour_agreement"]);
    let strong = strong_refinements(facts);
    let mut out = vec![
        Candidate::new(with_all(&start, &strong), config.clone(), "everything that the profile asks for"),
        Candidate::new(with_all(&start, &repeats), config.clone(), "repeated rows and conflicts only"),
        Candidate::new(with_all(&start, &noise), config.clone(), "probably wrong and off-topic rows too"),
    ];
    let added = list.iter().filter(|one| !start.has(one.operator.name()));
    out.extend(added.map(|one| Candidate::new(with(&start, one.operator.clone()), config.clone(), one.why.clone())));
    out.extend(changed_thresholds(&start, config));
    out.extend(removed_operators(&start, config));
    out
}

fn changed_thresholds(recipe: &Recipe, config: &TrainConfig) -> Vec<Candidate> {
    let others = recipe.operators.iter().flat_map(other_thresholds);
    let candidate = |operator: Operator| {
        let why = format!("another threshold for {}, which is part of the best recipe so far", operator.name());
        Candidate::new(with(recipe, operator), config.clone(), why)
    };
    others.map(candidate).collect()
}

fn other_thresholds(operator: &Operator) -> Vec<Operator> {
    match *operator {
        Operator::NearDedup { shingle_words, .. } => {
            [0.7, 0.9, 0.6].map(|threshold| Operator::NearDedup { threshold, shingle_words }).to_vec()
        }
        Operator::ResolveConflicts { .. } => {
            [0.75, 1.0].map(|min_share| Operator::ResolveConflicts { min_share }).to_vec()
        }
        Operator::TopicFilter { min_rows, .. } => {
            [0.7, 0.3, 0.85].map(|min_known_share| Operator::TopicFilter { min_known_share, min_rows }).to_vec()
        }
        Operator::NeighbourAgreement { neighbours, .. } => {
            [0.45, 0.2, 0.6].map(|min_agreement| Operator::NeighbourAgreement { neighbours, min_agreement }).to_vec()
        }
        Operator::DifficultyFilter { drop_easiest, .. } => [0.1, 0.2]
            .map(|drop_hardest| Operator::DifficultyFilter { drop_easiest, drop_hardest })
            .into_iter()
            .chain([Operator::DifficultyFilter { drop_easiest: 0.2, drop_hardest: 0.0 }])
            .collect(),
        Operator::SemanticDedup { .. } => [0.9, 0.98].map(|threshold| Operator::SemanticDedup { threshold }).to_vec(),
        Operator::QualityFilter { .. } => {
            [0.25, 0.6].map(|share| Operator::QualityFilter { max_repetition: share, max_symbol_ratio: share }).to_vec()
        }
        _ => Vec::new(),
    }
}

/// Ablations: the recipe without one of its operators.
fn removed_operators(recipe: &Recipe, config: &TrainConfig) -> Vec<Candidate> {
    let removable = recipe.operators.iter().map(Operator::name).filter(|name| !MANDATORY.contains(name));
    let candidate = |name: &'static str| {
        Candidate::new(without(recipe, name), config.clone(), format!("whether {name} earns its place"))
    };
    removable.map(candidate).collect()
}

/// Makes the data that is there say more.
pub(crate) fn construct_data(recipe: &Recipe, config: &TrainConfig, facts: &Facts) -> Vec<Candidate> {
    let start = with_all(recipe, &standard_recipe(facts).operators);
    let mut out = Vec::new();
    let mut add = |operators: &[Operator], why: String| {
        out.push(Candidate::new(with_all(&start, operators), config.clone(), why));
    };
    if facts.is_closed && facts.skew > 1.2 {
        let skew = facts.skew;
        for (mode, max_ratio) in balance_steps(skew) {
            let way = if mode == BalanceMode::Up { "repeated" } else { "thinned" };
            add(
                &[Operator::LabelBalance { mode, max_ratio }],
                format!("the commonest answer is {skew:.1} times the rarest; rows are {way} to a ratio of {max_ratio}"),
            );
        }
    }
    if facts.lists_options {
        add(&[Operator::ShuffleOptions], "answers should not depend on the order of the options".to_owned());
    }
    if facts.shows_examples {
        for shots in [2, 4, 1, 8] {
            add(&[Operator::FewShotPack { shots }], format!("prompts with {shots} solved examples, as in use"));
        }
    }
    // A training that does not come to all rows anyway sees as many different ones of a part of them.
    if is_short(config, facts) {
        return out;
    }
    for percent in [50, 75, 25] {
        let rows = (facts.rows * percent / 100).max(1);
        add(
            &[Operator::StratifiedSample { rows }],
            format!("{percent} % of rows with every answer's share kept: more passes over fewer rows"),
        );
    }
    if facts.at_hand.embeddings {
        let rows = (facts.rows / 2).max(1);
        add(
            &[Operator::DiverseSample { rows }],
            "half of the rows, as different in meaning as can be: more passes over fewer rows".to_owned(),
        );
    }
    out
}

fn balance_steps(skew: f64) -> Vec<(BalanceMode, f64)> {
    let mut steps = vec![(BalanceMode::Up, 1.0)];
    if skew > 2.0 {
        steps.push((BalanceMode::Up, 2.0));
    }
    steps.push((BalanceMode::Down, if skew > 3.0 { 3.0 } else { 1.0 }));
    if skew > 4.0 {
        steps.push((BalanceMode::Up, 4.0));
        steps.push((BalanceMode::Down, 1.5));
    }
    steps
}

/// Changes of the training scheme that are worth a try before anything is known of the surface.
pub(crate) fn adjust_training(
    recipe: &Recipe,
    start: &TrainConfig,
    task: &TrainConfig,
    facts: &Facts,
) -> Vec<Candidate> {
    let mut out = Vec::new();
    let mut add = |why: &str, change: &dyn Fn(&mut TrainConfig)| {
        let mut config = start.clone();
        change(&mut config);
        if config != *start {
            out.push(Candidate::new(recipe.clone(), config, why));
        }
    };
    let has_adapter = start.method == TrainMethod::Lora;
    // Twice the task's own number is the limit of steps, here and below.
    let more = more_updates(start).filter(|config| config.max_steps <= task.max_steps * 2);
    let is_short = is_short(start, facts);
    let flat = "a constant learning rate";
    if is_short {
        add(flat, &|config| config.lr_scheduler_type = SchedulerType::ConstantWithWarmup);
    }
    if let Some(more) = more {
        add("twice the steps of half the examples: more updates at the same cost", &|config| *config = more.clone());
    }
    if has_adapter {
        add("four times the rank at the same scale: is the adapter too small?", &|config| {
            config.lora.r = (config.lora.r * 4).min(128);
            config.lora.lora_alpha = (config.lora.lora_alpha * 4).min(256);
        });
    }
    if start.objective.is_preference() {
        add("a third of beta: further away from where it starts", &|config| config.beta = rounded(config.beta / 3.0));
        add("three times beta: closer to where it starts", &|config| config.beta = rounded(config.beta * 3.0));
    }
    add("half the batch at the same number of steps: cheaper, and noisier steps may generalise better", &|config| {
        config.per_device_train_batch_size = (config.per_device_train_batch_size / 2).max(1);
    });
    if !is_short {
        add(flat, &|config| config.lr_scheduler_type = SchedulerType::ConstantWithWarmup);
    }
    add("a linear schedule", &|config| config.lr_scheduler_type = SchedulerType::Linear);
    // More steps of as many examples buy score with money.
    add("more steps: is it still learning?", &|config| {
        config.max_steps = (config.max_steps * 3 / 2).min(task.max_steps * 2);
    });
    if facts.is_closed {
        add("label smoothing against wrong labels", &|config| config.label_smoothing_factor = 0.1);
    }
    if start.objective == TrainObjective::Dpo {
        add("a tenth of the pairs may be the wrong way round", &|config| config.label_smoothing_factor = 0.1);
    }
    if has_adapter {
        add("rank-stabilised scale with twice the rank", &|config| {
            config.lora.use_rslora = true;
            config.lora.r = (config.lora.r * 2).min(128);
        });
        add("twice the adapter's scale", &|config| config.lora.lora_alpha = (config.lora.lora_alpha * 2).min(512));
    }
    add("weight decay", &|config| config.weight_decay = 0.01);
    if has_adapter {
        add("dropout on the adapter's input", &|config| config.lora.lora_dropout = 0.05);
        add("half the rank", &|config| config.lora.r = (config.lora.r / 2).max(1));
    }
    out
}

/// Joins of two branches: `branches` are the best variants of strategies, best first.
pub(crate) fn fuse(branches: &[(&Recipe, &TrainConfig, String)]) -> Vec<Candidate> {
    let mut out = Vec::new();
    for (place, (recipe_a, config_a, name_a)) in branches.iter().enumerate() {
        for (recipe_b, config_b, name_b) in branches.iter().skip(place + 1) {
            let union = with_all(recipe_a, &recipe_b.operators);
            let mut add = |recipe: &Recipe, config: &TrainConfig, why: String| {
                out.push(Candidate::new(recipe.clone(), config.clone(), why));
            };
            add(recipe_b, config_a, format!("data recipe of {name_b} with the training of {name_a}"));
            add(recipe_a, config_b, format!("data recipe of {name_a} with the training of {name_b}"));
            add(&union, config_a, format!("operators of {name_a} and {name_b} with the training of {name_a}"));
            add(&union, config_b, format!("operators of {name_a} and {name_b} with the training of {name_b}"));
        }
    }
    out
}
