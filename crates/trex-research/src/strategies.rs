//! The Playbook's hypotheses for a task, with the facts of the profile as evidence. Proposes no configurations.
//!
//! Priors and expected effects are rules of thumb that order the first experiments; measured scores take over after that.

use trex_domain::{RowForm, SearchSettings, Strategy, StrategyKind, StrategyRequest};

use crate::facts::Facts;

/// Share of what is missing to a perfect score that a first sound fine-tuning brings, as a rule of thumb.
const FIRST_GAIN: f64 = 0.3;

/// All strategies for a task, the highest prior first.
pub(crate) fn strategies(request: &StrategyRequest<'_>) -> Vec<Strategy> {
    let facts = Facts::of(request);
    let cost = batch_cost(&request.task.search);
    let missing = facts.missing();
    let mut list = vec![
        baseline(request, &facts, missing),
        refine_data(&facts, missing),
        adjust_training(request, &facts, missing),
        construct_data(&facts, missing),
        fuse(missing),
    ];
    for strategy in &mut list {
        strategy.expected_cost = cost;
    }
    take_warm_start(request, &mut list);
    // Stable, so that equal priors keep the order above.
    list.sort_by(|a, b| b.prior.total_cmp(&a.prior));
    list
}

/// Moves priors towards what similar past tasks say, and names it as evidence.
fn take_warm_start(request: &StrategyRequest<'_>, list: &mut [Strategy]) {
    let Some(warm) = &request.state.warm_start else { return };
    for strategy in list {
        let prior = warm.shifted(strategy.kind, strategy.prior);
        if (prior - strategy.prior).abs() > 1e-9 {
            let tasks = warm.tasks.len();
            strategy
                .evidence
                .push(format!("similar past tasks ({tasks}): prior {prior:.2} instead of {:.2}", strategy.prior));
            strategy.prior = prior;
        }
    }
}

/// Cost of a batch that is halved up the rungs, in full-fidelity trials. A promoted variant goes on from its checkpoint.
fn batch_cost(settings: &SearchSettings) -> f64 {
    let share = |rung: usize| (settings.eta as f64).powi(-i32::try_from(settings.rungs - 1 - rung).unwrap_or(0));
    let mut alive = settings.batch;
    let mut cost = 0.0;
    for rung in 0..settings.rungs {
        let below = if rung == 0 { 0.0 } else { share(rung - 1) };
        cost += alive as f64 * (share(rung) - below);
        alive = alive.div_ceil(settings.eta.max(1));
    }
    cost
}

fn count(what: &str, rows: usize, facts: &Facts) -> String {
    format!("{what}: {rows} of {} ({:.1} %)", facts.rows, 100.0 * facts.share(rows))
}

fn score_line(facts: &Facts) -> String {
    facts.base.map_or("score of the untouched base: not measured".to_owned(), |base| {
        format!("score of the untouched base: {base:.3}")
    })
}

fn baseline(request: &StrategyRequest<'_>, facts: &Facts, missing: f64) -> Strategy {
    let config = &request.task.train;
    let rate = config.learning_rate;
    Strategy {
        kind: StrategyKind::Baseline,
        title: "standard recipe".to_owned(),
        hypothesis: "light cleaning and the right learning rate already bring most of the gain".to_owned(),
        rationale: format!(
            "the learning rate is the setting that matters most and its best value depends on model and data; {rate} is \
             where the task starts, and rates around it are tried, in a training too short for all rows also with more updates"
        ),
        evidence: vec![
            score_line(facts),
            format!("rows to train on: {}", facts.rows),
            format!("weights of the model: {}", request.model.num_parameters),
            format!("learning rate of the task: {rate}"),
        ],
        expected_effect: FIRST_GAIN * missing,
        expected_cost: 0.0,
        prior: 0.9,
    }
}

fn refine_data(facts: &Facts, missing: f64) -> Strategy {
    let mut evidence = vec![
        count("exact duplicates", facts.exact_duplicates, facts),
        count("near duplicates, exact ones included", facts.near_duplicates, facts),
        count("rows whose prompt occurs with another answer", facts.conflicts, facts),
        count("rows that could not be read", facts.quarantined, facts),
    ];
    evidence.push(facts.leaked.map_or("rows that also occur in an evaluation split: not known".to_owned(), |rows| {
        count("rows that also occur in an evaluation split", rows, facts)
    }));
    if let Some(rows) = facts.foreign_answers {
        evidence.push(count("rows whose answer is not an option as written", rows, facts));
    }
    let dirt = facts.dirt();
    let rationale = if dirt > 0.02 {
        format!("about {:.0} % of rows repeat, contradict or leak; every step on them is lost or harmful", 100.0 * dirt)
    } else {
        "the profile shows few defects, but off-topic rows and lone wrong labels do not show in it".to_owned()
    };
    Strategy {
        kind: StrategyKind::RefineData,
        title: "cleaner data".to_owned(),
        hypothesis: "dropping repeated, contradictory and off-topic rows raises the score at equal steps".to_owned(),
        rationale,
        evidence,
        expected_effect: (0.02 + 0.3 * dirt) * missing,
        expected_cost: 0.0,
        prior: (0.3 + dirt).min(0.8),
    }
}

fn adjust_training(request: &StrategyRequest<'_>, facts: &Facts, missing: f64) -> Strategy {
    let config = &request.task.train;
    let (steps, batch, rows) = (config.max_steps, config.effective_batch_size(), facts.rows);
    let shown = if facts.form == RowForm::Text {
        format!("{steps} steps of {batch} blocks of {} tokens are taken from {rows} texts", config.max_length)
    } else {
        let passes = (steps * batch) as f64 / rows.max(1) as f64;
        format!("{steps} steps of {batch} examples pass {rows} rows {passes:.1} times")
    };
    Strategy {
        kind: StrategyKind::AdjustTraining,
        title: "training scheme".to_owned(),
        hypothesis: "rank, scale, batch, schedule and regularisation suit this task better with other values"
            .to_owned(),
        rationale: format!(
            "{shown}; with few passes over the data capacity and speed count, with many regularisation does"
        ),
        evidence: vec![
            format!("rank and alpha of the task: {} and {}", config.lora.r, config.lora.lora_alpha),
            shown.clone(),
            score_line(facts),
        ],
        expected_effect: 0.1 * missing,
        expected_cost: 0.0,
        prior: 0.4,
    }
}

fn construct_data(facts: &Facts, missing: f64) -> Strategy {
    let skewness = (facts.skew.ln() / 5.0_f64.ln()).clamp(0.0, 1.0);
    let extra = f64::from(u8::from(facts.shows_examples)) + f64::from(u8::from(facts.lists_options));
    let rationale = if facts.skew > 1.5 {
        format!("the commonest answer has {:.1} times the rows of the rarest, which is then hardly learned", facts.skew)
    } else if facts.shows_examples {
        "the task gives solved examples in its prompts, so training prompts should, too".to_owned()
    } else if facts.lists_options {
        "prompts list their options, and a model easily learns their order instead of their meaning".to_owned()
    } else {
        "labels are even, so only the number of passes over the rows can be changed here".to_owned()
    };
    Strategy {
        kind: StrategyKind::ConstructData,
        title: "balanced and restated data".to_owned(),
        hypothesis: "showing rare answers more often and prompts as they occur in use raises the score".to_owned(),
        rationale,
        evidence: vec![
            format!("commonest over rarest answer: {:.2}", facts.skew),
            format!("prompts show solved examples: {}", if facts.shows_examples { "yes" } else { "no" }),
            format!("prompts list their options: {}", if facts.lists_options { "yes" } else { "no" }),
        ],
        expected_effect: (0.01 + 0.1 * skewness + 0.03 * extra) * missing,
        expected_cost: 0.0,
        prior: (0.1 + 0.3 * skewness + 0.1 * extra).min(0.7),
    }
}

fn fuse(missing: f64) -> Strategy {
    Strategy {
        kind: StrategyKind::Fuse,
        title: "best of two branches".to_owned(),
        hypothesis: "the best data recipe and the best training scheme help together".to_owned(),
        rationale: "what helps data and what helps training act on different causes, so effects mostly add up; it can \
                    be tried once two other strategies have a score"
            .to_owned(),
        evidence: vec!["needs scores of two other strategies: none at the start".to_owned()],
        expected_effect: 0.05 * missing,
        expected_cost: 0.0,
        prior: 0.05,
    }
}
