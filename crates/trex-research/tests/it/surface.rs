//! The Playbook against random search and a fixed default, and with a warm start against without, on made-up response
//! surfaces at an equal number of trials.

use rand::{Rng, RngExt as _};
use trex_domain::{
    Cost, Millis, NodeId, Operator, PastExperiment, Recipe, RunId, SimilarTask, Strategy, StrategyKind, TaskFeatures,
    TaskKind, TrainConfig, Variant, VariantId, WarmStart, seeded_rng,
};

use crate::tree::{Tree, dirty, hash, score, task};

/// Trials per search.
const TRIALS: usize = 18;
/// Variants per batch.
const BATCH: usize = 3;

/// A surface with an optimum in learning rate and rank, and a gain or loss per operator.
struct Surface {
    rate: f64,
    rank: f64,
    operators: Vec<(&'static str, f64)>,
}

impl Surface {
    fn drawn(seed: u64) -> Self {
        let mut rng = seeded_rng(seed, "surface");
        let gains = [
            ("exact_dedup", 0.03),
            ("near_dedup", 0.03),
            ("resolve_conflicts", 0.03),
            ("neighbour_agreement", 0.04),
            ("topic_filter", 0.03),
            ("quality_filter", 0.01),
            ("length_filter", -0.01),
            ("stratified_sample", -0.04),
            ("label_balance", 0.02),
        ];
        let operators = gains.map(|(name, gain)| (name, gain * rng.random_range(0.0..1.5) - 0.01)).to_vec();
        Self { rate: 2e-4 * 3.0_f64.powf(rng.random_range(-1.5..2.5)), rank: rng.random_range(2.0..6.0), operators }
    }

    /// What a variant is worth without noise.
    fn value(&self, recipe: &Recipe, config: &TrainConfig) -> f64 {
        let rate = (config.learning_rate / self.rate).ln() / 3.0_f64.ln();
        let rank = (config.lora.r as f64).log2() - self.rank;
        let data: f64 = self.operators.iter().filter(|(name, _)| recipe.has(name)).map(|(_, gain)| gain).sum();
        0.5 + 0.2 * (-(rate / 1.5).powi(2)).exp() + 0.04 * (-(rank / 2.0).powi(2)).exp() + data
    }

    fn measured(&self, variant: &Variant, rng: &mut impl Rng) -> [f64; 2] {
        let value = self.value(&variant.recipe, &variant.config);
        // The mean of twelve uniform draws is nearly normal; its standard deviation is 1/12.
        let mut noise = |sd: f64| {
            let mean = (0..12).map(|_| rng.random::<f64>()).sum::<f64>() / 12.0;
            sd * 12.0 * (mean - 0.5)
        };
        [value + noise(0.02), value + noise(0.015)]
    }
}

fn found(surface: &Surface, tree: &Tree) -> f64 {
    let best = tree.best().unwrap();
    surface.value(&best.recipe, &best.config)
}

/// Strategies in turn; a strategy's turn is over when it has nothing left.
fn playbook(surface: &Surface, seed: u64) -> f64 {
    searched(surface, Tree::new(task(TaskKind::Choice), dirty(), seed), seed).0
}

/// The value that was found, the tree, and after each batch the trials so far with the value found until then.
fn searched(surface: &Surface, mut tree: Tree, seed: u64) -> (f64, Tree, Vec<(usize, f64)>) {
    let mut steps = Vec::new();
    let nodes = tree.propose_strategies();
    let mut rng = seeded_rng(seed, "noise");
    let mut left = TRIALS;
    for node in nodes.iter().cycle().take(60) {
        let batch = tree.variants(node, BATCH.min(left));
        if batch.is_empty() {
            continue;
        }
        left -= batch.len();
        tree.run(node, batch, &mut |variant| surface.measured(variant, &mut rng));
        let best = tree.best().map(|variant| variant.id.clone());
        tree.set_incumbent(best);
        steps.push((TRIALS - left, found(surface, &tree)));
        if left == 0 {
            break;
        }
    }
    assert_eq!(left, 0);
    (found(surface, &tree), tree, steps)
}

fn random_variant(id: VariantId, rng: &mut impl Rng) -> Variant {
    let all = [
        Operator::ExactDedup,
        Operator::NearDedup { threshold: 0.8, shingle_words: 3 },
        Operator::ResolveConflicts { min_share: 0.6 },
        Operator::NeighbourAgreement { neighbours: 7, min_agreement: 0.3 },
        Operator::TopicFilter { min_known_share: 0.5, min_rows: 3 },
        Operator::QualityFilter { max_repetition: 0.4, max_symbol_ratio: 0.4 },
        Operator::LengthFilter { min_chars: 10, max_chars: 200 },
        Operator::StratifiedSample { rows: 500 },
        Operator::LabelBalance { mode: trex_domain::BalanceMode::Up, max_ratio: 1.0 },
    ];
    let operators = all.into_iter().filter(|_| rng.random_bool(0.5)).collect();
    let mut config = TrainConfig::default();
    config.learning_rate *= 3.0_f64.powf(rng.random_range(-3.0..3.0));
    config.lora.r = 1 << rng.random_range(2..=6);
    Variant {
        id,
        parent: None,
        diff: trex_domain::VariantDiff::new(),
        why: String::new(),
        recipe: Recipe { operators },
        config,
    }
}

/// The same protocol of batches and two scores, with variants drawn at random.
fn random(surface: &Surface, seed: u64) -> f64 {
    let mut tree = Tree::new(task(TaskKind::Choice), dirty(), seed);
    let strategy: Strategy = tree.strategies().remove(0);
    assert_eq!(strategy.kind, StrategyKind::Baseline);
    let node = NodeId::strategy(1);
    tree.apply(&trex_domain::Event::StrategyProposed { node: node.clone(), strategy });
    let mut rng = seeded_rng(seed, "noise");
    let mut draws = seeded_rng(seed, "random search");
    for _ in 0..TRIALS / BATCH {
        let experiment = tree.next_node(&node);
        let batch = (0..BATCH).map(|i| random_variant(VariantId::new(&experiment, i), &mut draws)).collect();
        tree.run(&node, batch, &mut |variant| surface.measured(variant, &mut rng));
    }
    found(surface, &tree)
}

#[test]
fn the_playbook_beats_random_search_and_a_fixed_default() {
    const SEEDS: u64 = 100;
    let mut sums = [0.0; 3];
    let mut wins = 0;
    for seed in 0..SEEDS {
        let surface = Surface::drawn(seed);
        let default = surface.value(&Recipe::default(), &TrainConfig::default());
        let results = [playbook(&surface, seed), random(&surface, seed), default];
        wins += u64::from(results[0] > results[1]);
        for (sum, result) in sums.iter_mut().zip(results) {
            *sum += result / SEEDS as f64;
        }
    }
    let [playbook, random, default] = sums;
    assert!(playbook > random + 0.01, "playbook {playbook:.4}, random {random:.4}, default {default:.4}, wins {wins}");
    assert!(playbook > default + 0.08, "playbook {playbook:.4}, default {default:.4}");
    assert!(wins > SEEDS * 6 / 10, "{wins} of {SEEDS}");
}

/// What a tree would teach: each variant with its gains over the base score of 0.5.
fn taught(tree: &Tree) -> SimilarTask {
    let features = features();
    let experiments = tree.state.variants.iter().filter_map(|(id, record)| {
        let search = tree.state.trial_score(&(id.clone(), 0, 0), "search")?.value;
        let node = &tree.state.nodes[&id.node()];
        let strategy = tree.state.nodes[&node.parent].strategy.as_ref()?;
        Some(PastExperiment {
            run: RunId::from_parts(Millis(1), [1; 10]),
            variant: id.clone(),
            key: hash(id.as_str()),
            strategy: strategy.kind,
            recipe: record.variant.recipe.clone(),
            config: record.variant.config.clone(),
            diff: trex_domain::VariantDiff::new(),
            rung: 0,
            gain: Some(search - 0.5),
            select_gain: node.value.filter(|_| node.winner.as_ref() == Some(id)).map(|value| value - 0.5),
            failed: false,
        })
    });
    SimilarTask {
        key: hash("task"),
        similarity: 0.95,
        lab: "here".to_owned(),
        experiments: experiments.collect(),
        rejections: Vec::new(),
        features,
    }
}

fn features() -> TaskFeatures {
    let task = task(TaskKind::Choice);
    TaskFeatures {
        name: task.name,
        goal: task.goal,
        kind: task.kind,
        metric: task.metric,
        objective: task.train.objective,
        model: task.model.0,
        model_hash: hash("model"),
        max_steps: task.train.max_steps,
        lists_options: false,
        data: trex_domain::DatasetFacts::of(hash("pool"), &dirty()),
    }
}

/// Trials until a value was found.
fn trials_until(steps: &[(usize, f64)], wanted: f64) -> usize {
    steps.iter().find(|(_, value)| *value >= wanted).map_or(TRIALS + BATCH, |(trials, _)| *trials)
}

/// A second search of the same surface, with other noise: a past task that is as similar as one gets.
#[test]
fn a_warm_start_reaches_the_cold_ones_value_with_half_of_the_trials() {
    const SEEDS: u64 = 40;
    let mut trials = [0, 0];
    let mut values = [0.0, 0.0];
    for seed in 0..SEEDS {
        let surface = Surface::drawn(seed);
        let start = |seed| Tree::new(task(TaskKind::Choice), dirty(), seed);
        let (_, past, _) = searched(&surface, start(seed + 1000), seed + 1000);
        let (cold, _, cold_steps) = searched(&surface, start(seed), seed);
        let mut tree = start(seed);
        let base = trex_domain::Event::BaseScored { seed: 0, score: score("search", 0.5), cost: Cost::default() };
        tree.apply(&base);
        tree.state.warm_start = WarmStart::of(&TrainConfig::default(), &[taught(&past)], &[]).unwrap();
        assert!(tree.state.warm_start.is_some());
        let (warm, tree, warm_steps) = searched(&surface, tree, seed);
        let evidence = tree.strategies().iter().flat_map(|one| one.evidence.clone()).collect::<Vec<_>>();
        assert!(evidence.iter().any(|line| line.contains("similar past tasks")), "{evidence:?}");
        // Nine tenths of what the cold search gained over the base of 0.5.
        let wanted = 0.5 + 0.9 * (cold - 0.5);
        trials[0] += trials_until(&cold_steps, wanted);
        trials[1] += trials_until(&warm_steps, wanted);
        values[0] += cold / SEEDS as f64;
        values[1] += warm / SEEDS as f64;
    }
    assert!(2 * trials[1] <= trials[0], "warm {} and cold {} trials", trials[1], trials[0]);
    assert!(values[1] >= values[0] - 0.002, "warm {:.4} and cold {:.4}", values[1], values[0]);
}
