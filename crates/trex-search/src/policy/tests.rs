use proptest::prelude::*;
use trex_domain::{StrategyKind, seeded_rng};

use super::*;
use crate::StrategyView;

const KINDS: [StrategyKind; 4] =
    [StrategyKind::Baseline, StrategyKind::RefineData, StrategyKind::AdjustTraining, StrategyKind::ConstructData];

fn strategy(number: usize, prior: f64) -> StrategyView {
    StrategyView {
        node: NodeId::strategy(number),
        kind: KINDS[(number - 1) % 4],
        prior,
        visits: 0,
        in_flight: 0,
        best: None,
        mean: None,
        failures: 0,
        repaired: 0,
        values: Vec::new(),
        expected_effect: 0.0,
        exhausted: false,
        pinned: false,
        expected_cost: 2.0,
    }
}

fn visited(number: usize, visits: usize, best: f64, mean: f64) -> StrategyView {
    StrategyView { visits, best: Some(best), mean: Some(mean), values: vec![best; visits], ..strategy(number, 0.25) }
}

fn tree(strategies: Vec<StrategyView>) -> TreeView {
    TreeView { strategies, base: 0.5, since_gain: 0, recent: Vec::new() }
}

fn select(name: &str, view: &TreeView, seed: u64) -> Option<Choice> {
    policy(name).unwrap().select(view, &SearchSettings::default(), &mut seeded_rng(seed, "test"))
}

#[track_caller]
fn check(name: &str, view: &TreeView, expected: usize) {
    assert_eq!(select(name, view, 1).unwrap().node, NodeId::strategy(expected), "{name}");
}

#[test]
fn an_unknown_policy_is_answered_with_the_nearest() {
    let err = policy("pukt").err().unwrap();
    assert!(matches!(err, SearchError::UnknownPolicy { suggestion: Some("puct"), .. }), "{err:?}");
    for name in POLICY_NAMES {
        assert_eq!(policy(name).unwrap().name(), name);
    }
}

#[test]
fn unvisited_strategies_come_first_in_order_of_their_priors() {
    let view = tree(vec![strategy(1, 0.2), strategy(2, 0.6), strategy(3, 0.4)]);
    check("puct", &view, 2);
    check("uct", &view, 2);
    check("greedy", &view, 2);
    check("sequential", &view, 2);
    let view = tree(vec![visited(1, 1, 0.99, 0.99), strategy(2, 0.1), strategy(3, 0.4)]);
    check("puct", &view, 3);
    check("greedy", &view, 1);
    let numbers = select("puct", &view, 1).unwrap().candidates;
    assert_eq!(numbers.len(), 2, "progressive widening closes the first");
    assert!(numbers.iter().all(|one| one.rank.is_finite()), "{numbers:?}");
}

#[test]
fn the_better_strategy_is_chosen_and_virtual_loss_moves_the_next_elsewhere() {
    let mut view = tree(vec![visited(1, 2, 0.7, 0.66), visited(2, 2, 0.72, 0.7), visited(3, 2, 0.6, 0.6)]);
    check("puct", &view, 2);
    check("uct", &view, 2);
    view.strategies[1].in_flight = 2;
    check("puct", &view, 1);
}

#[test]
fn a_failing_strategy_is_worth_less_than_one_that_brings_the_base() {
    let failing = StrategyView { visits: 1, failures: 1, ..strategy(1, 0.25) };
    let view = tree(vec![failing, visited(2, 1, 0.5, 0.5), visited(3, 1, 0.4, 0.4)]);
    check("greedy", &view, 2);
    let numbers = select("greedy", &view, 1).unwrap().candidates;
    assert!((numbers[0].value - SearchSettings::default().failure_value).abs() < 1e-12, "{numbers:?}");
}

#[test]
fn widening_limits_a_favourite_and_is_lifted_when_nothing_else_is_left() {
    // 5 experiments: ⌈5^0.6⌉ = 3 per strategy.
    let mut view = tree(vec![visited(1, 3, 0.9, 0.9), visited(2, 2, 0.6, 0.6)]);
    check("puct", &view, 2);
    view.strategies[1].exhausted = true;
    check("puct", &view, 1);
    view.strategies[0].exhausted = true;
    for name in POLICY_NAMES {
        assert_eq!(select(name, &view, 1), None, "{name}");
    }
}

#[test]
fn what_is_pinned_is_chosen_while_it_is_open() {
    let mut view = tree(vec![visited(1, 3, 0.9, 0.9), visited(2, 2, 0.6, 0.6), visited(3, 2, 0.5, 0.5)]);
    view.strategies[2].pinned = true;
    for name in POLICY_NAMES {
        let choice = select(name, &view, 1).unwrap();
        assert_eq!((choice.node, choice.candidates.len()), (NodeId::strategy(3), 1), "{name}");
        assert!(choice.because.ends_with("; a person pinned it"), "{name}: {}", choice.because);
    }
    view.strategies[2].exhausted = true;
    check("greedy", &view, 1);
    assert!(!select("greedy", &view, 1).unwrap().because.contains("pinned"));
}

#[test]
fn stagnation_prefers_a_kind_that_was_not_tried_last() {
    let mut view = tree(vec![visited(1, 1, 0.6, 0.6), visited(2, 1, 0.9, 0.9), visited(3, 1, 0.55, 0.55)]);
    check("puct", &view, 2);
    view.recent = vec![StrategyKind::RefineData, StrategyKind::RefineData];
    view.since_gain = 1;
    check("puct", &view, 2);
    view.since_gain = 2;
    check("puct", &view, 1);
    assert!(select("puct", &view, 1).unwrap().because.contains("another kind"));
    view.recent = vec![StrategyKind::Baseline, StrategyKind::AdjustTraining];
    check("greedy", &view, 2);
    view.strategies.retain(|one| one.kind == StrategyKind::Baseline);
    check("puct", &view, 1);
}

#[test]
fn equal_candidates_without_priors_crash_nothing() {
    let equal: Vec<_> = (1..=4).map(|n| StrategyView { prior: 0.0, ..visited(n, 1, 0.5, 0.5) }).collect();
    for name in POLICY_NAMES {
        let choice = select(name, &tree(equal.clone()), 3).unwrap();
        assert!(choice.candidates.iter().all(|one| one.rank.is_finite() && (one.value - 0.5).abs() < 1e-12));
        assert_eq!(select(name, &tree(Vec::new()), 3), None);
    }
}

/// Plays `rounds` experiments with noisy rewards and returns how many went to the best strategy.
fn play(name: &str, means: &[f64], rounds: usize, seed: u64) -> usize {
    let mut rng = seeded_rng(seed, "surface");
    let mut draws = seeded_rng(seed, "policy");
    let settings = SearchSettings { widening_alpha: 1.0, ..SearchSettings::default() };
    let mut rewards: Vec<Vec<f64>> = vec![Vec::new(); means.len()];
    for _ in 0..rounds {
        let mut strategies: Vec<_> = (1..=means.len()).map(|number| strategy(number, 0.25)).collect();
        for (view, seen) in strategies.iter_mut().zip(&rewards).filter(|(_, seen)| !seen.is_empty()) {
            view.visits = seen.len();
            view.best = seen.iter().copied().max_by(f64::total_cmp);
            view.values.clone_from(seen);
            view.mean = Some(seen.iter().sum::<f64>() / seen.len() as f64);
        }
        let choice = policy(name).unwrap().select(&tree(strategies), &settings, &mut draws).unwrap();
        let arm = (1..=means.len()).find(|number| NodeId::strategy(*number) == choice.node).unwrap() - 1;
        rewards[arm].push(means[arm] + 0.02 * standard_normal(&mut rng));
    }
    rewards[0].len()
}

#[test]
fn informed_policies_spend_more_on_the_best_strategy_than_random_does() {
    let means = [0.60, 0.56, 0.53, 0.50];
    let mean = |name| (0..200).map(|seed| play(name, &means, 10, seed)).sum::<usize>() as f64 / 200.0;
    let random = mean("random");
    assert!((random - 2.5).abs() < 0.3, "{random}");
    for name in ["puct", "uct", "greedy", "thompson", "tpe"] {
        assert!(mean(name) > random + 1.0, "{name}: {} against {random}", mean(name));
    }
    assert!(mean("puct") > 5.0, "{}", mean("puct"));
}

proptest! {
    #[test]
    fn every_policy_chooses_an_open_strategy_and_chooses_it_again(
        rows in proptest::collection::vec((0usize..4, 0usize..3, 0usize..3, 0.0f64..1.0, any::<bool>()), 0..8),
        since_gain in 0usize..4,
        seed in any::<u64>(),
    ) {
        let strategies: Vec<_> = rows.iter().enumerate().map(|(index, (good, bad, flying, best, exhausted))| {
            let score = (*good > 0).then_some(*best);
            StrategyView {
                visits: good + bad, failures: *bad, in_flight: *flying, best: score,
                mean: score.map(|score| score * 0.9), values: vec![*best; *good], exhausted: *exhausted, ..strategy(index + 1, *best)
            }
        }).collect();
        let mut view = tree(strategies);
        view.since_gain = since_gain;
        view.recent = vec![StrategyKind::RefineData, StrategyKind::Baseline];
        for name in POLICY_NAMES {
            let choice = select(name, &view, seed);
            prop_assert_eq!(&choice, &select(name, &view, seed));
            let open = view.strategies.iter().filter(|one| !one.exhausted).count();
            prop_assert_eq!(choice.is_some(), open > 0);
            if let Some(choice) = choice {
                prop_assert!(view.strategies.iter().any(|one| one.node == choice.node && !one.exhausted));
                prop_assert!(choice.candidates.iter().any(|one| one.node == choice.node));
            }
        }
    }
}
