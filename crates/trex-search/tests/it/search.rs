//! Whole searches on made-up surfaces: views from a real state, policies, stopping.

use std::collections::BTreeSet;

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use trex_domain::{
    Comparison, Effect, Event, NodeId, RunState, SearchSettings, StopReason, StrategyKind, VariantId, seeded_rng,
};
use trex_search::{policy, should_stop, tree_view};

use crate::fake::{Ran, Verified, World, apply, propose_batch, propose_strategy, run_batch, started};

const KINDS: [StrategyKind; 5] = [
    StrategyKind::Baseline,
    StrategyKind::RefineData,
    StrategyKind::AdjustTraining,
    StrategyKind::ConstructData,
    StrategyKind::Fuse,
];

/// Scores scatter around the strategy's mean.
struct Surface {
    means: Vec<f64>,
    rng: ChaCha8Rng,
}

impl Surface {
    fn draw(&mut self, variant: &VariantId) -> f64 {
        let strategy = variant.node().strategy_part().unwrap();
        let number: usize = strategy.as_str()[1..].parse().unwrap();
        self.means[number - 1] + 0.04 * (self.rng.random::<f64>() - 0.5)
    }
}

impl World for Surface {
    fn verify(&mut self, _: &VariantId) -> Verified {
        Verified::Passed
    }

    fn run(&mut self, variant: &VariantId, _: usize) -> Ran {
        Ran::Scored(self.draw(variant))
    }

    fn select(&mut self, variant: &VariantId) -> f64 {
        self.draw(variant)
    }
}

fn compare(state: &mut RunState, node: &NodeId) {
    let Some(candidate) = state.nodes[node].winner.clone() else { return };
    let before = state.select_score(state.incumbent.as_ref()).unwrap().value;
    let diff = state.nodes[node].value.unwrap() - before;
    let replaced = diff > 0.01;
    let effect = Effect { diff, ci95: [diff - 0.01, diff + 0.01], n: 100 };
    let comparison = Comparison { effect, seed_sd: 0.0, significant: replaced };
    let incumbent = state.incumbent.clone();
    apply(state, &Event::IncumbentCompared { candidate, incumbent, comparison, replaced });
}

/// Runs `rounds` experiments and returns the state.
fn search(name: &str, means: &[f64], rounds: usize, seed: u64) -> RunState {
    let settings = SearchSettings { batch: 2, rungs: 2, plateau: 100, ..SearchSettings::default() };
    let mut state = started(settings.clone());
    for (index, kind) in KINDS.iter().take(means.len()).enumerate() {
        propose_strategy(&mut state, index + 1, *kind, 0.3);
    }
    let mut world = Surface { means: means.to_vec(), rng: seeded_rng(seed, "surface") };
    for round in 0..rounds {
        let view = tree_view(&state, &BTreeSet::new());
        let mut rng = seeded_rng(seed, &format!("policy/{round}"));
        let choice = policy(name).unwrap().select(&view, &settings, &mut rng).unwrap();
        let node = propose_batch(&mut state, &choice.node, 2);
        run_batch(&mut state, &node, &mut world);
        compare(&mut state, &node);
    }
    state
}

fn spent_on(state: &RunState, strategy: usize) -> usize {
    state.experiments(&NodeId::strategy(strategy)).count()
}

#[test]
fn puct_spends_more_on_the_best_strategy_than_random_at_equal_budget() {
    let means = [0.55, 0.52, 0.70, 0.50];
    let spent = |name| (0..60).map(|seed| spent_on(&search(name, &means, 9, seed), 3)).sum::<usize>();
    let (puct, random) = (spent("puct"), spent("random"));
    assert!(puct as f64 > 1.2 * random as f64, "{puct} against {random}");
    // With one experiment per strategy the best is found for certain; random misses it in about one run of three.
    let found = |name| (0..60).filter(|seed| spent_on(&search(name, &means, 4, *seed), 3) > 0).count();
    assert_eq!(found("puct"), 60);
    assert!(found("random") < 55, "{}", found("random"));
}

#[test]
fn equal_strategies_and_a_whole_search_are_deterministic() {
    for name in ["puct", "uct", "greedy", "sequential", "thompson", "tpe", "asha", "random"] {
        let state = search(name, &[0.5, 0.5, 0.5], 6, 5);
        assert_eq!(state, search(name, &[0.5, 0.5, 0.5], 6, 5), "{name}");
        assert_eq!(state.nodes.values().filter(|node| node.finished).count(), 6);
    }
}

#[test]
fn a_fusion_waits_until_two_others_have_a_score() {
    let mut state = search("sequential", &[0.6, 0.5, 0.5, 0.5, 0.5], 1, 1);
    let fusion = |state: &RunState| tree_view(state, &BTreeSet::new()).strategies[4].exhausted;
    assert!(fusion(&state));
    let node = propose_batch(&mut state, &NodeId::strategy(2), 1);
    assert!(fusion(&state));
    let view = tree_view(&state, &BTreeSet::new());
    assert_eq!((view.strategies[1].visits, view.strategies[1].in_flight), (0, 1));
    run_batch(&mut state, &node, &mut Surface { means: vec![0.6, 0.5], rng: seeded_rng(1, "x") });
    assert!(!fusion(&state));
    let view = tree_view(&state, &BTreeSet::new());
    assert_eq!(view.recent, [StrategyKind::Baseline, StrategyKind::RefineData]);
    assert!((view.base - 0.5).abs() < 1e-12);
}

#[test]
fn the_search_stops_for_target_plateau_and_exhaustion() {
    let stop = |state: &RunState, exhausted: &BTreeSet<NodeId>| should_stop(state, &tree_view(state, exhausted));
    let none = BTreeSet::new();
    let mut state = search("puct", &[0.6, 0.5], 4, 1);
    assert_eq!(stop(&state, &none), None);
    assert_eq!(stop(&state, &[NodeId::strategy(1)].into()), None);
    assert_eq!(stop(&state, &[NodeId::strategy(1), NodeId::strategy(2)].into()), Some(StopReason::Exhausted));
    let experiments = state.since_gain;
    assert!(experiments >= 1);
    state.task.as_mut().unwrap().search.plateau = experiments;
    assert_eq!(stop(&state, &none), Some(StopReason::Plateau { experiments }));
    state.task.as_mut().unwrap().search.target = Some(0.9);
    assert_eq!(stop(&state, &none), Some(StopReason::Plateau { experiments }));
    state.task.as_mut().unwrap().search.target = Some(0.55);
    assert_eq!(stop(&state, &none), Some(StopReason::TargetReached));
}
