//! A rich run for the tests of this crate, made by applying events as a real run does. Scores and costs are invented.

use std::collections::BTreeMap;

use trex_domain::{
    Budget, Comparison, ContentHash, Cost, DataProfile, DataSource, Effect, Event, FailureClass, FieldMap, Insight,
    Metric, MetricPoint, Millis, ModelRef, NodeId, Operator, OperatorCount, Phase, PromptSpec, PruneReason, Recipe,
    Report, RowCounts, RowLedger, RunId, RunState, Score, SearchSettings, SplitSizes, SplitSource, StopReason,
    StoredEvent, Strategy, StrategyKind, TaskKind, TaskSpec, TrainConfig, TrainDone, Variant, VariantDiff, VariantId,
    Verdict,
};

use super::build_report;

pub(crate) fn hash(name: &str) -> ContentHash {
    ContentHash::of_bytes(name.as_bytes())
}

pub(crate) fn id(name: &str) -> VariantId {
    name.parse().unwrap()
}

fn node(name: &str) -> NodeId {
    name.parse().unwrap()
}

fn task() -> TaskSpec {
    TaskSpec {
        device: trex_domain::DeviceChoice::Auto,
        name: "sst2".to_owned(),
        goal: "Tell whether a sentence of a film review is positive or negative.".to_owned(),
        kind: TaskKind::Choice,
        metric: Metric::Accuracy,
        model: ModelRef("bundled".to_owned()),
        data: DataSource::Files {
            train: "data/train.tsv".into(),
            dev: SplitSource::HeldOut,
            test: SplitSource::File("data/test.tsv".into()),
            fields: FieldMap::default(),
            terms: trex_domain::DataTerms::default(),
        },
        splits: SplitSizes::default(),
        prompt: PromptSpec {
            system: None,
            template: "{input}".to_owned(),
            options: vec!["negative".to_owned(), "positive".to_owned()],
            max_new_tokens: 8,
        },
        generation: trex_domain::GenerationConfig::default(),
        train: TrainConfig::default(),
        budget: Budget { wall_s: Some(3600.0), ..Budget::default() },
        search: SearchSettings { rungs: 3, ..SearchSettings::default() },
    }
}

fn score(split: &str, value: f64, half: f64, n: usize) -> Score {
    let round = |value: f64| (value * 1000.0).round() / 1000.0;
    Score {
        metric: Metric::Accuracy,
        value,
        ci95: [round(value - half), round(value + half)],
        n,
        split: split.to_owned(),
        items: hash(split),
        gold_prob: None,
    }
}

fn cost(cpu_s: f64) -> Cost {
    Cost { wall_s: cpu_s / 2.0, cpu_s, ..Cost::default() }
}

fn strategy(kind: StrategyKind, title: &str, prior: f64) -> Strategy {
    Strategy {
        kind,
        title: title.to_owned(),
        hypothesis: "a higher learning rate reaches the plateau within the steps".to_owned(),
        rationale: "the loss still falls at the last step".to_owned(),
        evidence: vec!["rows: 2000".to_owned(), "exact duplicates: 40".to_owned()],
        expected_effect: 0.1,
        expected_cost: 1.0,
        prior,
    }
}

fn variant(name: &str, parent: Option<&str>, changes: &[(&str, &str, &str)]) -> Variant {
    let diff: VariantDiff = changes
        .iter()
        .map(|(setting, from, to)| ((*setting).to_owned(), ((*from).to_owned(), (*to).to_owned())))
        .collect();
    Variant {
        id: id(name),
        parent: parent.map(id),
        diff,
        why: "the curve says so".to_owned(),
        recipe: Recipe {
            operators: vec![
                Operator::Normalise,
                Operator::ExactDedup,
                Operator::Decontaminate { ngram_words: 8, max_overlap: 0.5 },
            ],
        },
        config: TrainConfig::default(),
    }
}

fn ledger() -> RowLedger {
    let step = |operator: &str, rows_in, rows_out, changed, reason: Option<(&str, usize)>| OperatorCount {
        operator: operator.to_owned(),
        rows_in,
        rows_out,
        changed,
        added: 0,
        dropped: reason.into_iter().map(|(reason, count)| (reason.to_owned(), count)).collect(),
        ..OperatorCount::default()
    };
    RowLedger {
        rows_in: 2000,
        rows_out: 1948,
        steps: vec![
            step("normalise", 2000, 2000, 17, None),
            step("exact_dedup", 2000, 1960, 0, Some(("exact duplicate", 40))),
            step("decontaminate", 1960, 1948, 0, Some(("overlaps an evaluation item", 12))),
        ],
    }
}

fn curve(steps: usize, floor: f64, speed: f64) -> Vec<MetricPoint> {
    let point = |step: usize| {
        let wave = 0.02 * (step as f64 * 1.7).sin();
        MetricPoint {
            step,
            loss: ((floor + (1.4 - floor) * (-(step as f64) * speed).exp() + wave) * 1e4).round() / 1e4,
            learning_rate: 5e-4,
            grad_norm: 0.7,
            ..MetricPoint::default()
        }
    };
    (2..=steps).step_by(2).map(point).collect()
}

/// The events of one trial that works: started, trained, scored on the search split.
fn trial(name: &str, rung: usize, value: f64, floor: f64) -> Vec<Event> {
    let (steps, items) = [(14, 34), (40, 100), (120, 300)][rung];
    let variant = id(name);
    let done = TrainDone {
        adapter: hash(&format!("{name} {rung}")),
        checkpoint: hash(&format!("{name} {rung} checkpoint")),
        steps,
        curve: curve(steps, floor, 0.045),
        tokens: 40_000,
        supervised_tokens: 4_000,
        truncated: 3,
        peak_rss_bytes: 900_000_000,
        cost: cost(steps as f64 * 1.5),
    };
    let half = 1.9 * (value * (1.0 - value) / f64::from(items)).sqrt();
    let score = score("search", value, half, usize::try_from(items).unwrap());
    vec![
        Event::TrialStarted {
            variant: variant.clone(),
            rung,
            seed: 0,
            attempt: 1,
            continues: None,
            reserved: Cost::default(),
        },
        Event::TrialTrained { variant: variant.clone(), rung, seed: 0, done },
        Event::TrialScored { variant, rung, seed: 0, score, reused: false, cost: cost(4.0) },
    ]
}

fn verified(name: &str) -> Event {
    Event::VariantVerified {
        variant: id(name),
        data: hash("data"),
        ledger: ledger(),
        key: hash(name),
        memory_bytes: 700_000_000,
        warnings: if name == "s2.e1.a" { vec!["3 rows are cut to 512 tokens".to_owned()] } else { Vec::new() },
    }
}

fn promoted(name: &str, rung: usize) -> Event {
    Event::VariantPromoted { variant: id(name), rung }
}

fn select(name: &str, value: f64) -> Event {
    let score = score("select", value, 0.04, 400);
    Event::TrialScored { variant: id(name), rung: 2, seed: 0, score, reused: false, cost: cost(6.0) }
}

fn comparison(diff: f64, low: f64, high: f64, n: usize) -> Comparison {
    Comparison { effect: Effect { diff, ci95: [low, high], n }, seed_sd: 0.008, significant: low > 0.0 }
}

fn beginning() -> Vec<Event> {
    let profile = DataProfile {
        name: "train.tsv".to_owned(),
        format: "tsv with header".to_owned(),
        rows: RowCounts { input: 2003, kept: 2000, quarantined: 3 },
        labels: BTreeMap::from([("negative".to_owned(), 890), ("positive".to_owned(), 1110)]),
        exact_duplicates: 40,
        leaked: Some(12),
        ..DataProfile::default()
    };
    let base = |split: &str, seed, value, half, n| Event::BaseScored {
        seed,
        score: score(split, value, half, n),
        cost: cost(3.0),
    };
    vec![
        Event::RunStarted { task: Box::new(task()), seed: 1, version: "0.1.0".to_owned(), model: hash("model") },
        Event::PhaseStarted { phase: Phase::Import },
        Event::DataImported {
            pool: hash("pool"),
            search: hash("search"),
            select: hash("select"),
            final_: hash("final"),
            rows: [2000, 300, 400, 500],
            seeded_prompts: false,
            profiles: vec![profile],
        },
        Event::PhaseStarted { phase: Phase::Baseline },
        base("search", 0, 0.51, 0.055, 300),
        base("select", 0, 0.52, 0.048, 400),
        Event::NoiseMeasured { of: "base".to_owned(), scores: vec![0.52, 0.51, 0.525], sd: 0.0076 },
        Event::PhaseStarted { phase: Phase::Research },
        Event::StrategyProposed {
            node: node("s1"),
            strategy: strategy(StrategyKind::AdjustTraining, "Find the learning rate", 0.6),
        },
        Event::StrategyProposed {
            node: node("s2"),
            strategy: strategy(StrategyKind::RefineData, "Drop rows that contradict <each other> & repeats", 0.4),
        },
        Event::PhaseStarted { phase: Phase::Search },
    ]
}

fn first_experiment() -> Vec<Event> {
    let failed = "loss diverged at step 6: 41.2 after 1.4";
    let mut events = vec![
        Event::Decided { node: node("s1"), because: "highest prior".to_owned(), candidates: Vec::new() },
        Event::ExperimentProposed {
            node: node("s1.e1"),
            title: "Learning rate over two decades".to_owned(),
            variants: vec![
                variant("s1.e1.a", None, &[("learning_rate", "0.0002", "0.0005")]),
                variant("s1.e1.b", None, &[]),
                variant("s1.e1.c", None, &[("learning_rate", "0.0002", "0.02")]),
            ],
        },
        verified("s1.e1.a"),
        verified("s1.e1.b"),
        verified("s1.e1.c"),
    ];
    events.extend(trial("s1.e1.a", 0, 0.62, 0.42));
    events.extend(trial("s1.e1.b", 0, 0.58, 0.55));
    events.extend([
        Event::TrialStarted {
            variant: id("s1.e1.c"),
            rung: 0,
            seed: 0,
            attempt: 1,
            continues: None,
            reserved: Cost::default(),
        },
        Event::TrialFailed {
            variant: id("s1.e1.c"),
            rung: 0,
            seed: 0,
            class: FailureClass::Diverged,
            message: failed.to_owned(),
        },
        promoted("s1.e1.a", 1),
        promoted("s1.e1.b", 1),
    ]);
    events.extend(trial("s1.e1.a", 1, 0.73, 0.42));
    events.extend(trial("s1.e1.b", 1, 0.66, 0.55));
    events.extend([
        Event::VariantPruned { variant: id("s1.e1.b"), reason: PruneReason::Halving { place: 2, of: 2 } },
        promoted("s1.e1.a", 2),
    ]);
    events.extend(trial("s1.e1.a", 2, 0.8, 0.42));
    events.extend([
        select("s1.e1.a", 0.79),
        Event::ExperimentFinished { node: node("s1.e1"), winner: Some(id("s1.e1.a")), value: Some(0.79) },
        Event::IncumbentCompared {
            candidate: id("s1.e1.a"),
            incumbent: None,
            comparison: comparison(0.27, 0.215, 0.325, 400),
            replaced: true,
        },
        Event::InsightDistilled {
            insight: Insight {
                statement: "A learning rate of 5e-4 beats 2e-4 at 120 steps".to_owned(),
                scope: "bundled model, 2000 rows".to_owned(),
                effect: Effect { diff: 0.27, ci95: [0.215, 0.325], n: 400 },
                significant: true,
                node: node("s1.e1"),
            },
        },
    ]);
    events
}

fn second_experiment() -> Vec<Event> {
    let changes = [("learning_rate", "0.0005", "0.001"), ("lora.r", "8", "16")];
    let mut events = vec![
        Event::ExperimentProposed {
            node: node("s2.e1"),
            title: "Stricter cleaning".to_owned(),
            variants: vec![
                variant("s2.e1.a", Some("s1.e1.a"), &changes),
                variant("s2.e1.b", Some("s1.e1.a"), &[("recipe.near_dedup", "off", "0.99")]),
                variant("s2.e1.c", Some("s1.e1.a"), &[("recipe.topic_filter", "off", "0.9")]),
            ],
        },
        verified("s2.e1.a"),
        Event::DuplicateAvoided { variant: id("s2.e1.b"), of: id("s1.e1.a") },
        Event::VariantRejected {
            variant: id("s2.e1.c"),
            code: "verify.too_few_rows".to_owned(),
            reason: "11 of 2000 rows are left; lower min_known_share".to_owned(),
        },
    ];
    events.extend(trial("s2.e1.a", 0, 0.64, 0.47));
    events.push(promoted("s2.e1.a", 1));
    events.extend(trial("s2.e1.a", 1, 0.7, 0.47));
    events.push(promoted("s2.e1.a", 2));
    events.extend(trial("s2.e1.a", 2, 0.75, 0.47));
    events.extend([
        select("s2.e1.a", 0.74),
        Event::ExperimentFinished { node: node("s2.e1"), winner: Some(id("s2.e1.a")), value: Some(0.74) },
        Event::IncumbentCompared {
            candidate: id("s2.e1.a"),
            incumbent: Some(id("s1.e1.a")),
            comparison: comparison(-0.05, -0.092, -0.008, 400),
            replaced: false,
        },
    ]);
    events
}

fn ending() -> Vec<Event> {
    let sealed = |variant: Option<VariantId>, value, ci95| {
        let score = Score { ci95, ..score("final", value, 0.04, 500) };
        Event::FinalScored { variant, seed: 0, score, cost: cost(8.0) }
    };
    vec![
        Event::SearchStopped { reason: StopReason::Exhausted },
        Event::PhaseStarted { phase: Phase::Finalists },
        Event::NoiseMeasured { of: "s1.e1.a".to_owned(), scores: vec![0.79, 0.8], sd: 0.0071 },
        Event::PhaseStarted { phase: Phase::Final },
        Event::FinalOpened { times: 1, reason: "end of the run".to_owned() },
        sealed(None, 0.52, [0.476, 0.563]),
        sealed(Some(id("s1.e1.a")), 0.81, [0.774, 0.843]),
        Event::Warned { code: "data.leak".to_owned(), message: "12 rows leaked and were dropped".to_owned() },
        Event::Delivered { folder: "runs/sample/deliver".to_owned() },
        Event::RunFinished {
            verdict: Verdict::Gain,
            comparison: Some(comparison(0.29, 0.238, 0.341, 500)),
            wall_s: 700.0,
        },
    ]
}

fn fold(parts: Vec<Vec<Event>>) -> RunState {
    let run = RunId::from_parts(Millis(1_700_000_000_000), [7; 10]);
    let events: Vec<_> = parts
        .into_iter()
        .flatten()
        .zip(1_u32..)
        .map(|(event, seq)| StoredEvent {
            seq: u64::from(seq),
            run,
            at: Millis(1_700_000_000_000 + i64::from(seq) * 8_000),
            event,
        })
        .collect();
    RunState::from_events(&events).unwrap()
}

/// A finished run: two strategies with one experiment each, a duplicate, a rejected and a failed variant, a gain.
pub(crate) fn sample_state() -> RunState {
    fold(vec![beginning(), first_experiment(), second_experiment(), ending()])
}

/// The same run while the first variant of the second experiment trains.
pub(crate) fn running_state() -> RunState {
    let mut second = second_experiment();
    second.truncate(5);
    fold(vec![beginning(), first_experiment(), second])
}

/// The report of [`sample_state`].
pub(crate) fn sample_report() -> Report {
    let files = BTreeMap::from([
        ("adapter".to_owned(), "runs/sample/deliver/adapter".to_owned()),
        ("report".to_owned(), "runs/sample/deliver/report.html".to_owned()),
    ]);
    build_report(&sample_state(), RunId::from_parts(Millis(1_700_000_000_000), [7; 10]), files)
}
