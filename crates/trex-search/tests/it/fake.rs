//! A run whose trials are scored by a function of the variant instead of being trained.

use std::path::PathBuf;

use trex_domain::{
    Budget, ContentHash, Cost, DataSource, Event, FailureClass, FieldMap, Metric, ModelRef, NodeId, PromptSpec, Recipe,
    RowLedger, RunState, Score, SearchSettings, SplitSizes, SplitSource, Strategy, StrategyKind, TaskKind, TaskSpec,
    TrainConfig, TrainDone, TrialStatus, Variant, VariantId,
};
use trex_search::{BatchStep, next_in_batch};

pub(crate) fn hash(text: &str) -> ContentHash {
    ContentHash::of_bytes(text.as_bytes())
}

pub(crate) fn task(search: SearchSettings) -> TaskSpec {
    TaskSpec {
        device: trex_domain::DeviceChoice::Auto,
        name: "fake".into(),
        goal: "a goal".into(),
        kind: TaskKind::Choice,
        metric: Metric::Accuracy,
        model: ModelRef("bundled".into()),
        data: DataSource::Files {
            train: PathBuf::from("train.csv"),
            dev: SplitSource::HeldOut,
            test: SplitSource::HeldOut,
            fields: FieldMap::default(),
            terms: trex_domain::DataTerms::default(),
        },
        splits: SplitSizes::default(),
        prompt: PromptSpec {
            system: None,
            template: "{input}".into(),
            options: vec!["a".into(), "b".into()],
            max_new_tokens: 8,
        },
        generation: trex_domain::GenerationConfig::default(),
        train: TrainConfig { max_steps: 90, ..TrainConfig::default() },
        budget: Budget::default(),
        search,
    }
}

pub(crate) fn started(search: SearchSettings) -> RunState {
    let mut state = RunState::default();
    let task = Box::new(task(search));
    apply(&mut state, &Event::RunStarted { task, seed: 0, version: "0".into(), model: hash("model") });
    apply(&mut state, &Event::BaseScored { seed: 0, score: score("select", 0.5), cost: Cost::default() });
    state
}

#[track_caller]
pub(crate) fn apply(state: &mut RunState, event: &Event) {
    if let Err(err) = state.apply(event) {
        panic!("{err}: {event:?}");
    }
}

pub(crate) fn score(split: &str, value: f64) -> Score {
    Score {
        metric: Metric::Accuracy,
        value,
        ci95: [value - 0.05, value + 0.05],
        n: 100,
        split: split.into(),
        items: hash("items"),
        gold_prob: None,
    }
}

/// A score in the metric of the task.
fn score_of(state: &RunState, split: &str, value: f64) -> Score {
    Score { metric: state.task.as_ref().unwrap().metric, ..score(split, value) }
}

pub(crate) fn propose_strategy(state: &mut RunState, number: usize, kind: StrategyKind, prior: f64) -> NodeId {
    let node = NodeId::strategy(number);
    let strategy = Strategy {
        kind,
        title: kind.as_str().into(),
        hypothesis: String::new(),
        rationale: String::new(),
        evidence: Vec::new(),
        expected_effect: 0.0,
        expected_cost: 2.0,
        prior,
    };
    apply(state, &Event::StrategyProposed { node: node.clone(), strategy });
    node
}

pub(crate) fn propose_batch(state: &mut RunState, strategy: &NodeId, count: usize) -> NodeId {
    let node = strategy.experiment(state.experiments(strategy).count() + 1);
    let variant = |index| Variant {
        id: VariantId::new(&node, index),
        parent: None,
        diff: std::collections::BTreeMap::new(),
        why: String::new(),
        recipe: Recipe::default(),
        config: state.task.as_ref().unwrap().train.clone(),
    };
    let variants = (0..count).map(variant).collect();
    apply(state, &Event::ExperimentProposed { node: node.clone(), title: "batch".into(), variants });
    node
}

/// What happens to the jobs of a batch.
pub(crate) trait World {
    fn verify(&mut self, variant: &VariantId) -> Verified;
    fn run(&mut self, variant: &VariantId, rung: usize) -> Ran;
    fn select(&mut self, variant: &VariantId) -> f64;
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Verified {
    Passed,
    Rejected,
    Duplicate,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Ran {
    Scored(f64),
    Failed,
    /// The program died in training.
    DiedTraining,
    /// The program died between training and scoring.
    DiedTrained,
}

/// Carries steps out until the batch is through; returns all steps. Fails when it does not end or a step is illegal.
#[track_caller]
pub(crate) fn run_batch(state: &mut RunState, node: &NodeId, world: &mut dyn World) -> Vec<BatchStep> {
    let mut steps = Vec::new();
    for _ in 0..2000 {
        let step = next_in_batch(state, node);
        assert_eq!(step, next_in_batch(state, node), "the same state gave two steps");
        steps.push(step.clone());
        match step {
            BatchStep::Verify(variant) => verify(state, variant, world),
            BatchStep::Run { variant, rung, seed } => run(state, &variant, rung, seed, world),
            BatchStep::Promote { variant, rung } => apply(state, &Event::VariantPromoted { variant, rung }),
            BatchStep::Prune { variant, reason } => apply(state, &Event::VariantPruned { variant, reason }),
            BatchStep::ScoreSelect { variant } => {
                let rung = state.task.as_ref().unwrap().top_rung();
                let score = score_of(state, "select", world.select(&variant));
                let cost = Cost::default();
                apply(state, &Event::TrialScored { variant, rung, seed: 0, score, reused: false, cost });
            }
            BatchStep::Finished { winner } => {
                let value = winner.as_ref().and_then(|id| state.select_score(Some(id))).map(|score| score.value);
                apply(state, &Event::ExperimentFinished { node: node.clone(), winner: winner.clone(), value });
                assert_eq!(next_in_batch(state, node), BatchStep::Finished { winner });
                return steps;
            }
        }
    }
    panic!("the batch does not end: {:?}", &steps[..20]);
}

fn verify(state: &mut RunState, variant: VariantId, world: &mut dyn World) {
    let event = match world.verify(&variant) {
        Verified::Passed => Event::VariantVerified {
            key: hash(variant.as_str()),
            variant,
            data: hash("data"),
            ledger: RowLedger::default(),
            memory_bytes: 1,
            warnings: Vec::new(),
        },
        Verified::Rejected => Event::VariantRejected { variant, code: "x.y".into(), reason: "no".into() },
        Verified::Duplicate => Event::DuplicateAvoided { of: VariantId::new(&NodeId::strategy(1), 0), variant },
    };
    apply(state, &event);
}

fn run(state: &mut RunState, variant: &VariantId, rung: usize, seed: u64, world: &mut dyn World) {
    let key = (variant.clone(), rung, seed);
    let before = state.trials.get(&key).map(|trial| (trial.status, trial.attempts));
    let attempt = before.map_or(1, |(_, attempts)| attempts + 1);
    let outcome = world.run(variant, rung);
    if before.map(|(status, _)| status) != Some(TrialStatus::Trained) {
        apply(
            state,
            &Event::TrialStarted {
                variant: variant.clone(),
                rung,
                seed,
                attempt,
                continues: None,
                reserved: Cost::default(),
            },
        );
        if outcome == Ran::DiedTraining {
            return;
        }
        if outcome == Ran::Failed {
            let class = FailureClass::Diverged;
            let message = "loss is not a number".into();
            return apply(state, &Event::TrialFailed { variant: variant.clone(), rung, seed, class, message });
        }
        let task = state.task.as_ref().unwrap();
        let done = trained(task.rung_steps(task.train.max_steps, rung));
        apply(state, &Event::TrialTrained { variant: variant.clone(), rung, seed, done });
    }
    if let Ran::Scored(value) = outcome {
        let (score, cost) = (score_of(state, "search", value), Cost::default());
        apply(state, &Event::TrialScored { variant: variant.clone(), rung, seed, score, reused: false, cost });
    }
}

fn trained(steps: usize) -> TrainDone {
    TrainDone {
        adapter: hash("adapter"),
        checkpoint: hash("checkpoint"),
        steps,
        curve: Vec::new(),
        tokens: 1,
        supervised_tokens: 1,
        truncated: 0,
        peak_rss_bytes: 1,
        cost: Cost { wall_s: steps as f64, cpu_s: 2.0 * steps as f64, ..Cost::default() },
    }
}
