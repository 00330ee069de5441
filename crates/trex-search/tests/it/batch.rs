//! Batches go up the rungs, whatever happens on the way.

use proptest::prelude::*;
use trex_domain::{
    Event, GivenOrder, Metric, NodeId, NodeState, Order, OrderRecord, Promotion, PruneReason, RunState, Score,
    SearchSettings, StopReason, StrategyKind, TrialStatus, VariantId,
};
use trex_search::{BatchStep, affordable_variants, rank, should_stop, tree_view};

use crate::fake::{Ran, Verified, World, apply, propose_batch, propose_strategy, run_batch, score, started};

/// Scores by variant, the same at every rung; everything passes.
struct Fixed(Vec<f64>);

fn place(variant: &VariantId) -> usize {
    usize::from(variant.as_str().bytes().last().unwrap() - b'a')
}

impl World for Fixed {
    fn verify(&mut self, _: &VariantId) -> Verified {
        Verified::Passed
    }

    fn run(&mut self, variant: &VariantId, rung: usize) -> Ran {
        Ran::Scored(self.0[place(variant)] + 0.01 * rung as f64)
    }

    fn select(&mut self, variant: &VariantId) -> f64 {
        self.0[place(variant)]
    }
}

fn batch_of(count: usize, search: SearchSettings) -> (RunState, NodeId) {
    let mut state = started(search);
    let strategy = propose_strategy(&mut state, 1, StrategyKind::Baseline, 0.5);
    let node = propose_batch(&mut state, &strategy, count);
    (state, node)
}

fn brief(step: &BatchStep) -> String {
    let letter = |id: &VariantId| char::from(b'a' + u8::try_from(place(id)).unwrap());
    match step {
        BatchStep::Verify(id) => format!("verify {}", letter(id)),
        BatchStep::Run { variant, rung, seed: 0 } => format!("run {}{rung}", letter(variant)),
        BatchStep::Run { .. } => "another seed".into(),
        BatchStep::Promote { variant, rung } => format!("promote {}{rung}", letter(variant)),
        BatchStep::Prune { variant, reason: PruneReason::Halving { place, of } } => {
            format!("prune {} {place}/{of}", letter(variant))
        }
        BatchStep::Prune { variant, reason } => format!("drop {}: {reason:?}", letter(variant)),
        BatchStep::ScoreSelect { variant } => format!("select {}", letter(variant)),
        BatchStep::Finished { winner } => format!("winner {:?}", winner.as_ref().map(letter)),
    }
}

#[track_caller]
fn check(search: SearchSettings, scores: &[f64], expected: &[&str]) {
    let (mut state, node) = batch_of(scores.len(), search);
    let steps = run_batch(&mut state, &node, &mut Fixed(scores.to_vec()));
    assert_eq!(steps.iter().map(brief).collect::<Vec<_>>(), expected);
}

#[test]
fn a_batch_of_three_is_thinned_to_its_best() {
    let expected = [
        "verify a",
        "verify b",
        "verify c",
        "run a0",
        "run b0",
        "run c0",
        "promote b1",
        "prune a 2/3",
        "prune c 3/3",
        "run b1",
        "promote b2",
        "run b2",
        "select b",
        "winner Some('b')",
    ];
    // a and c are equal: the earlier id stands first.
    check(SearchSettings { rungs: 3, ..SearchSettings::default() }, &[0.6, 0.7, 0.6], &expected);
}

#[test]
fn one_variant_goes_straight_up_and_one_rung_needs_no_halving() {
    let expected =
        ["verify a", "run a0", "promote a1", "run a1", "promote a2", "run a2", "select a", "winner Some('a')"];
    check(SearchSettings { rungs: 3, ..SearchSettings::default() }, &[0.6], &expected);
    let expected = ["verify a", "verify b", "run a0", "run b0", "select b", "winner Some('b')"];
    check(SearchSettings { rungs: 1, ..SearchSettings::default() }, &[0.6, 0.7], &expected);
    check(SearchSettings { rungs: 3, ..SearchSettings::default() }, &[], &["winner None"]);
}

#[test]
fn five_variants_keep_two_at_the_second_rung() {
    let (mut state, node) = batch_of(5, SearchSettings { rungs: 3, ..SearchSettings::default() });
    let steps = run_batch(&mut state, &node, &mut Fixed(vec![0.1, 0.5, 0.2, 0.4, 0.3]));
    let runs =
        |rung| steps.iter().filter(|step| matches!(step, BatchStep::Run { rung: at, .. } if *at == rung)).count();
    assert_eq!([runs(0), runs(1), runs(2)], [5, 2, 1]);
    let ranked = rank(&state, &state.nodes[&node].variants, 0);
    assert_eq!(ranked[0].0, VariantId::new(&node, 1));
    assert_eq!(ranked.len(), 5);
}

/// Everything may happen, as a list of numbers says.
struct Chance {
    dice: Vec<u8>,
    at: usize,
    deaths: usize,
}

impl Chance {
    fn roll(&mut self) -> u8 {
        self.at += 1;
        self.dice[self.at % self.dice.len()].wrapping_add(u8::try_from(self.at % 7).unwrap())
    }
}

impl World for Chance {
    fn verify(&mut self, _: &VariantId) -> Verified {
        match self.roll() % 6 {
            0 => Verified::Rejected,
            1 => Verified::Duplicate,
            _ => Verified::Passed,
        }
    }

    fn run(&mut self, _: &VariantId, _: usize) -> Ran {
        let roll = self.roll();
        match roll % 8 {
            0 => Ran::Failed,
            // A world in which every attempt dies never ends, whoever asks.
            1 | 2 if self.deaths < 20 => {
                self.deaths += 1;
                if roll % 8 == 1 { Ran::DiedTraining } else { Ran::DiedTrained }
            }
            // Few values, so that ties are common.
            _ => Ran::Scored(f64::from(roll % 5) / 10.0 + 0.4),
        }
    }

    fn select(&mut self, _: &VariantId) -> f64 {
        f64::from(self.roll()) / 255.0
    }
}

proptest! {
    #[test]
    fn every_batch_ends_by_legal_steps_and_its_winner_is_the_best_of_the_top_rung(
        count in 0usize..9,
        eta in 2usize..5,
        rungs in 1usize..5,
        dice in proptest::collection::vec(any::<u8>(), 1..40),
    ) {
        let search = SearchSettings { eta, rungs, ..SearchSettings::default() };
        let (mut state, node) = batch_of(count, search);
        let steps = run_batch(&mut state, &node, &mut Chance { dice, at: 0, deaths: 0 });
        let record = &state.nodes[&node];
        let top = rank(&state, &record.variants, rungs - 1);
        // A trial at the top rung is the last thing that happens to a variant, so none of them is pruned afterwards.
        prop_assert_eq!(record.winner.as_ref(), top.first().map(|(id, _)| id));
        prop_assert_eq!(record.value.is_some(), record.winner.is_some());
        let scored = |rung| rank(&state, &record.variants, rung).len();
        for rung in 1..rungs {
            let allowed = if scored(rung - 1) == 0 { 0 } else { scored(rung - 1).div_ceil(eta) };
            prop_assert!(scored(rung) <= allowed, "{} of {}", scored(rung), scored(rung - 1));
        }
        for id in &record.variants {
            let variant = &state.variants[id];
            let expected =
                [NodeState::Rejected, NodeState::Cached, NodeState::Pruned, NodeState::Evaluated, NodeState::Failed];
            prop_assert!(expected.contains(&variant.state), "{:?}", variant.state);
            let has_failed = state.trials.iter().any(|(key, trial)| key.0 == *id && trial.status == TrialStatus::Failed);
            prop_assert_eq!(variant.state == NodeState::Failed, has_failed);
            if variant.duplicate_of.is_some() {
                prop_assert!(state.trials.keys().all(|key| key.0 != *id), "a duplicate was run");
            }
        }
        let pruned_twice = steps.iter().filter(|step| matches!(step, BatchStep::Prune { .. })).count();
        prop_assert!(pruned_twice <= count);
    }
}

#[test]
fn a_weak_batch_ends_early_under_asynchronous_promotion() {
    let search =
        SearchSettings { promotion: Promotion::Asynchronous, rungs: 3, min_reach: 0.0, ..SearchSettings::default() };
    let (mut state, first) = batch_of(3, search);
    run_batch(&mut state, &first, &mut Fixed(vec![0.7, 0.69, 0.68]));
    let second = propose_batch(&mut state, &NodeId::strategy(1), 3);
    let steps = run_batch(&mut state, &second, &mut Fixed(vec![0.5, 0.4, 0.3]));
    assert_eq!(steps.last().map(brief).as_deref(), Some("winner None"));
    let outclassed =
        BatchStep::Prune { variant: VariantId::new(&second, 0), reason: PruneReason::Outclassed { place: 4, of: 6 } };
    assert!(steps.contains(&outclassed), "{steps:?}");
    // It was no failure: its best score is carried up by what the first batch gained.
    let view = tree_view(&state, &std::collections::BTreeSet::new());
    assert_eq!((view.strategies[0].visits, view.strategies[0].failures), (2, 0));
    assert!((view.strategies[0].values[1] - 0.52).abs() < 1e-9, "{:?}", view.strategies[0].values);
}

#[test]
fn a_variant_that_will_hardly_reach_the_best_ends() {
    let (mut state, first) = batch_of(1, SearchSettings { rungs: 3, ..SearchSettings::default() });
    run_batch(&mut state, &first, &mut Fixed(vec![0.7]));
    state.incumbent = Some(VariantId::new(&first, 0));
    let best = |state: &mut RunState, score: f64| {
        let node = propose_batch(state, &NodeId::strategy(1), 1);
        let steps = run_batch(state, &node, &mut Fixed(vec![score]));
        steps.iter().any(|step| matches!(step, BatchStep::Prune { reason: PruneReason::Hopeless { .. }, .. }))
    };
    assert!(!best(&mut state, 0.3), "one gain says nothing");
    assert!(!best(&mut state, 0.3), "nor do two");
    assert!(best(&mut state, 0.3));
    assert!(!best(&mut state, 0.71));
    state.task.as_mut().unwrap().search.min_reach = 0.0;
    assert!(!best(&mut state, 0.3), "the setting turns it off");
}

#[test]
fn a_failure_that_was_made_good_is_worth_more_than_one_that_was_not() {
    struct Breaks(bool);
    impl World for Breaks {
        fn verify(&mut self, _: &VariantId) -> Verified {
            Verified::Passed
        }
        fn run(&mut self, _: &VariantId, _: usize) -> Ran {
            if self.0 { Ran::Failed } else { Ran::Scored(0.6) }
        }
        fn select(&mut self, _: &VariantId) -> f64 {
            0.6
        }
    }
    let (mut state, first) = batch_of(1, SearchSettings { rungs: 3, ..SearchSettings::default() });
    run_batch(&mut state, &first, &mut Breaks(true));
    let counts = |state: &RunState| {
        let view = tree_view(state, &std::collections::BTreeSet::new());
        (view.strategies[0].failures, view.strategies[0].repaired)
    };
    assert_eq!(counts(&state), (1, 0));
    let second = propose_batch(&mut state, &NodeId::strategy(1), 1);
    run_batch(&mut state, &second, &mut Breaks(false));
    assert_eq!(counts(&state), (0, 1));
}

#[test]
fn where_less_is_better_the_lowest_score_wins_and_reaches_the_target() {
    let search = SearchSettings { rungs: 2, eta: 3, target: Some(1.0), ..SearchSettings::default() };
    let mut state = started(search);
    state.task.as_mut().unwrap().metric = Metric::BitsPerByte;
    let base = Score { metric: Metric::BitsPerByte, ..score("select", 1.5) };
    state.base_scores.insert(("select".to_owned(), 0), base);
    let strategy = propose_strategy(&mut state, 1, StrategyKind::Baseline, 0.5);
    let node = propose_batch(&mut state, &strategy, 3);
    let steps = run_batch(&mut state, &node, &mut Fixed(vec![1.2, 0.9, 1.1]));
    assert_eq!(steps.last().map(brief).as_deref(), Some("winner Some('b')"));
    let view = tree_view(&state, &std::collections::BTreeSet::new());
    assert_eq!((view.base, view.strategies[0].best), (-1.5, Some(-0.9)));
    assert_eq!(should_stop(&state, &view), None, "the base is above the target and no best variant was named");
    state.incumbent = Some(VariantId::new(&node, 1));
    assert_eq!(should_stop(&state, &view), Some(StopReason::TargetReached));
}

/// Orders about parts of the tree, given at once.
fn ordered(state: &mut RunState, orders: &[(&str, Order)]) {
    for (number, (node, order)) in (state.last_order() + 1..).zip(orders) {
        let given = GivenOrder { number, node: node.parse().unwrap(), order: order.clone() };
        apply(state, &Event::Ordered(OrderRecord { given, refused: None }));
    }
}

fn forbid(reason: &str) -> Order {
    Order::Forbid { reason: Some(reason.to_owned()) }
}

#[test]
fn what_is_pinned_goes_up_before_others_and_what_is_forbidden_never_runs_again() {
    let (mut state, node) = batch_of(3, SearchSettings { rungs: 2, ..SearchSettings::default() });
    ordered(&mut state, &[("s1.e1.c", Order::Pin), ("s1.e1.b", forbid("no"))]);
    let steps = run_batch(&mut state, &node, &mut Fixed(vec![0.6, 0.9, 0.5]));
    let expected = [
        "verify a",
        "verify b",
        "verify c",
        "drop b: Forbidden { reason: \"no\" }",
        "run a0",
        "run c0",
        "promote c1",
        "prune a 2/2",
        "run c1",
        "select c",
        "winner Some('c')",
    ];
    assert_eq!(steps.iter().map(brief).collect::<Vec<_>>(), expected, "a is better, and c has its place");
}

#[test]
fn a_forbidden_experiment_ends_without_a_trial() {
    for part in ["s1", "s1.e1"] {
        let (mut state, node) = batch_of(2, SearchSettings::default());
        ordered(&mut state, &[(part, forbid("no"))]);
        let steps = run_batch(&mut state, &node, &mut Fixed(vec![0.6, 0.9]));
        assert!(steps.iter().all(|step| !matches!(step, BatchStep::Run { .. })), "{part}: {steps:?}");
        assert_eq!(steps.last(), Some(&BatchStep::Finished { winner: None }));
    }
}

#[test]
fn a_batch_under_way_keeps_its_trials() {
    let (mut state, _) = batch_of(2, SearchSettings { rungs: 2, finalist_seeds: 1, ..SearchSettings::default() });
    let mut check = |trials: usize, expected: usize| {
        state.task.as_mut().unwrap().budget.trials = trials;
        assert_eq!(affordable_variants(&state), expected, "{trials}");
    };
    // Two variants on two rungs take 3 trials, repeats of two seeds 2, and one more variant takes 2.
    check(6, 0);
    check(7, 1);
    check(8, 2);
}

#[test]
fn below_the_top_the_probability_of_the_gold_answers_counts_where_all_have_one() {
    let (mut state, node) = batch_of(3, SearchSettings { rungs: 2, ..SearchSettings::default() });
    run_batch(&mut state, &node, &mut Fixed(vec![0.7, 0.6, 0.5]));
    let ids = state.nodes[&node].variants.clone();
    let order = |state: &RunState, rung: usize| -> Vec<usize> {
        trex_search::rank(state, &ids, rung).iter().map(|(id, _)| place(id)).collect()
    };
    assert_eq!(order(&state, 0), [0, 1, 2]);
    for (at, id) in ids.iter().enumerate() {
        assert_eq!(order(&state, 0), [0, 1, 2], "one without it, and scores count");
        let trial = state.trials.get_mut(&(id.clone(), 0, 0)).unwrap();
        trial.scores.get_mut("search").unwrap().gold_prob = Some(0.1 * (at + 1) as f64);
    }
    assert_eq!(order(&state, 0), [2, 1, 0]);
    assert_eq!(order(&state, 1), [0], "at the top the score counts");
}
