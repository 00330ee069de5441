//! What the Playbook proposes is varied, valid, new and the same every time.

use std::collections::BTreeSet;

use trex_domain::{
    ContentHash, DataProfile, Effect, MeasuresAtHand, Researcher as _, StrategyKind, StrategyRequest, TaskKind,
    TaskSpec, TrainMethod, TrainObjective, VariantId, variant_diff,
};
use trex_research::{Playbook, distil};

use crate::tree::{Tree, changed, clean, dirty, task};

fn tasks() -> Vec<(TaskSpec, DataProfile)> {
    let mut icl = task(TaskKind::Choice);
    icl.prompt.template = "Examples:\n{shots}\n{input} Pick one of {options}".into();
    let mut full = task(TaskKind::Generate);
    full.train.method = TrainMethod::Full;
    let empty = DataProfile::default();
    vec![
        (task(TaskKind::Choice), dirty()),
        (task(TaskKind::Choice), clean()),
        (task(TaskKind::Generate), clean()),
        (icl, dirty()),
        (full, empty),
    ]
}

#[test]
fn every_task_gets_strategies_of_several_kinds_with_evidence() {
    for (task, profile) in tasks() {
        let tree = Tree::new(task, profile, 0);
        let list = tree.strategies();
        let kinds: BTreeSet<_> = list.iter().map(|one| one.kind).collect();
        assert!(kinds.len() >= 4, "{kinds:?}");
        assert_eq!(list[0].kind, StrategyKind::Baseline);
        assert_eq!(list.last().unwrap().kind, StrategyKind::Fuse);
        for strategy in &list {
            assert!(strategy.prior > 0.0 && strategy.prior <= 1.0, "{strategy:?}");
            assert!(strategy.expected_cost > 0.0 && strategy.expected_effect.is_finite(), "{strategy:?}");
            assert!(!strategy.evidence.is_empty() && !strategy.rationale.is_empty(), "{strategy:?}");
        }
        assert_eq!(list, tree.strategies());
    }
}

#[test]
fn steps_that_ask_a_model_are_proposed_where_it_is_at_hand_and_rows_are_few() {
    let measured = ["semantic_dedup", "semantic_filter", "diverse_sample", "difficulty_filter"];
    let check = |embeddings: bool, losses: bool, rows: usize, expected: &[&str]| {
        let mut profile = dirty();
        profile.at_hand = MeasuresAtHand { embeddings, losses };
        profile.rows.kept = rows;
        let mut tree = Tree::new(task(TaskKind::Choice), profile, 0);
        let strategies = tree.propose_strategies();
        let variants: Vec<_> = strategies.iter().flat_map(|strategy| tree.variants(strategy, 60)).collect();
        let is_proposed = |name: &&str| variants.iter().any(|variant| variant.recipe.has(name));
        let found: Vec<&str> = measured.into_iter().filter(is_proposed).collect();
        assert_eq!(found, expected, "{embeddings} {losses} {rows}");
    };
    check(false, false, 900, &[]);
    check(true, false, 900, &measured[..3]);
    check(false, true, 900, &measured[3..]);
    check(true, true, 900, &measured);
    check(true, true, 1_000_000, &[]);
}

#[test]
fn no_operator_is_proposed_that_does_not_suit_the_rows() {
    use TrainObjective::{Dpo, Orpo, Pretrain, Sft};
    let check = |objective, kind, unfit: &[&str], needed: &[&str]| {
        let mut task = task(kind);
        task.train.objective = objective;
        task.prompt.template = "Examples: {input} {options}".to_owned();
        let mut tree = Tree::new(task, dirty(), 0);
        let mut proposed = 0;
        for strategy in tree.propose_strategies() {
            for variant in tree.variants(&strategy, 60) {
                proposed += 1;
                let named = |names: &[&str]| names.iter().filter(|name| variant.recipe.has(name)).count();
                assert_eq!((named(unfit), named(needed)), (0, needed.len()), "{:?}", variant.recipe);
            }
        }
        assert!(proposed > 30, "{proposed}");
    };
    let of_answers = ["neighbour_agreement", "label_balance", "shuffle_options", "few_shot_pack", "canonical_answer"];
    let of_prompts = ["near_dedup", "resolve_conflicts"];
    let for_pairs = [&of_answers[..], &of_prompts].concat();
    check(Dpo, TaskKind::Preference, &[&for_pairs[..], &["preference_pairs"]].concat(), &["decontaminate"]);
    check(Orpo, TaskKind::Choice, &for_pairs, &["decontaminate", "preference_pairs"]);
    let for_text = ["resolve_conflicts", "valid_answer", "normalise", "preference_pairs"];
    check(Pretrain, TaskKind::Text, &[&of_answers[..], &for_text].concat(), &["decontaminate"]);
    check(Sft, TaskKind::Choice, &["preference_pairs"], &["decontaminate"]);
}

#[test]
fn evidence_holds_the_numbers_of_the_profile_and_dirt_raises_the_prior_of_cleaning() {
    let refine = |profile| {
        let list = Tree::new(task(TaskKind::Choice), profile, 0).strategies();
        list.into_iter().find(|one| one.kind == StrategyKind::RefineData).unwrap()
    };
    let (dirty, clean) = (refine(dirty()), refine(clean()));
    assert!(dirty.evidence.contains(&"exact duplicates: 80 of 1000 (8.0 %)".to_owned()), "{:?}", dirty.evidence);
    assert!(dirty.prior > clean.prior + 0.1);
}

#[test]
fn the_cost_of_a_batch_counts_its_halving() {
    let mut with_rungs = task(TaskKind::Choice);
    with_rungs.search.rungs = 3;
    // 3 variants to 1/9, one from 1/9 to 1/3, one from 1/3 to 1.
    let list = Tree::new(with_rungs, clean(), 0).strategies();
    assert!((list[0].expected_cost - (3.0 / 9.0 + 2.0 / 9.0 + 2.0 / 3.0)).abs() < 1e-9, "{}", list[0].expected_cost);
}

#[test]
fn the_first_batch_tries_three_learning_rates_on_the_standard_recipe() {
    let mut tree = Tree::new(task(TaskKind::Choice), dirty(), 0);
    let nodes = tree.propose_strategies();
    let batch = tree.variants(&nodes[0], 3);
    let rates: Vec<_> = batch.iter().map(|one| one.config.learning_rate).collect();
    assert_eq!(rates, [2e-4, 6e-4, 6.7e-5]);
    let names: Vec<_> = batch[0].recipe.operators.iter().map(trex_domain::Operator::name).collect();
    assert_eq!(names, ["canonical_answer", "valid_answer", "decontaminate"]);
    assert_eq!(batch[1].parent, None);
    assert_eq!(changed(&batch[1])["learning_rate"], "0.0006");
    assert_eq!(changed(&batch[1])["recipe.valid_answer"], "on");
    assert_eq!(batch[2].id, VariantId::new(&nodes[0].experiment(1), 2));
}

#[test]
fn deeper_batches_start_from_the_best_winner_of_the_strategy_or_of_the_tree() {
    let mut tree = Tree::new(task(TaskKind::Choice), dirty(), 0);
    let nodes = tree.propose_strategies();
    let batch = tree.variants(&nodes[0], 3);
    let second = batch[1].id.clone();
    // A higher learning rate is better here.
    tree.run(&nodes[0], batch, &mut |variant| [0.5 + 100.0 * variant.config.learning_rate; 2]);
    let deeper = tree.variants(&nodes[0], 3);
    assert!(deeper.iter().all(|one| one.parent.as_ref() == Some(&second)), "{deeper:?}");
    assert!(deeper.iter().any(|one| one.config.learning_rate > 1e-3), "{deeper:?}");
    // No incumbent: nothing is beyond doubt better than the base, and the best there is serves all the same.
    let other = tree.variants(&nodes[1], 1);
    assert_eq!(other[0].parent.as_ref(), Some(&second));
    assert!((other[0].config.learning_rate - 6e-4).abs() < 1e-12);
    let winner = other[0].id.clone();
    tree.run(&nodes[1], other, &mut |_| [0.9; 2]);
    assert_eq!(tree.variants(&nodes[0], 1)[0].parent.as_ref(), Some(&winner), "a better one of another strategy");
}

/// A training that does not come to all rows begins with all advice at once.
#[test]
fn short_trainings_are_given_more_updates_of_as_many_examples() {
    let mut short = task(TaskKind::Choice);
    (short.train.max_steps, short.train.per_device_train_batch_size) = (10, 8);
    let mut tree = Tree::new(short.clone(), dirty(), 0);
    let nodes = tree.propose_strategies();
    let batch = tree.variants(&nodes[0], 3);
    assert_eq!(batch[0].config, short.train, "the task's own settings come first");
    let advice = &batch[1].config;
    assert_eq!((advice.max_steps, advice.per_device_train_batch_size), (20, 4));
    assert_eq!(advice.lr_scheduler_type, trex_domain::SchedulerType::ConstantWithWarmup);
    assert!(batch[1].recipe.operators.len() > batch[0].recipe.operators.len(), "{:?}", batch[1].recipe);
    assert!((batch[2].config.learning_rate - 3.0 * short.train.learning_rate).abs() < 1e-9);
    let construct = tree.strategies().iter().position(|one| one.kind == StrategyKind::ConstructData).unwrap();
    let thinned = |one: &trex_domain::Variant| one.recipe.has("stratified_sample");
    assert!(!tree.variants(&nodes[construct], 9).iter().any(thinned), "fewer rows bring no more passes");
}

#[test]
fn the_surrogate_speaks_once_four_variants_are_scored() {
    let mut tree = Tree::new(task(TaskKind::Choice), dirty(), 0);
    let nodes = tree.propose_strategies();
    let list = tree.strategies();
    let place = list.iter().position(|one| one.kind == StrategyKind::AdjustTraining).unwrap();
    let by_surrogate = |tree: &Tree| {
        let batch = tree.variants(&nodes[place], 3);
        batch.iter().filter(|one| one.why.contains("surrogate")).count()
    };
    assert_eq!(by_surrogate(&tree), 0);
    for count in [3, 1] {
        let batch = tree.variants(&nodes[0], count);
        tree.run(&nodes[0], batch, &mut |variant| [0.5 + 100.0 * variant.config.learning_rate; 2]);
    }
    assert_eq!(by_surrogate(&tree), 2);
}

#[test]
fn a_fusion_waits_for_two_branches_and_joins_their_parts() {
    let mut tree = Tree::new(task(TaskKind::Choice), dirty(), 0);
    let nodes = tree.propose_strategies();
    let fusion = nodes.last().unwrap().clone();
    let measure = &mut |variant: &trex_domain::Variant| [0.6 + 0.01 * variant.recipe.operators.len() as f64; 2];
    let batch = tree.variants(&nodes[0], 2);
    tree.run(&nodes[0], batch, measure);
    assert!(tree.variants(&fusion, 3).is_empty());
    let list = tree.strategies();
    let place = |kind| list.iter().position(|one| one.kind == kind).unwrap();
    let (adjust, refine) =
        (nodes[place(StrategyKind::AdjustTraining)].clone(), nodes[place(StrategyKind::RefineData)].clone());
    for node in [&adjust, &refine] {
        let batch = tree.variants(node, 2);
        tree.run(node, batch, measure);
    }
    let joined = tree.variants(&fusion, 3);
    let best = |node: &trex_domain::NodeId| {
        let (_, record) = tree.state.experiments(node).next().unwrap();
        tree.state.variants[record.winner.as_ref().unwrap()].variant.clone()
    };
    let (training, data) = (best(&adjust), best(&refine));
    assert!(joined.iter().any(|one| one.recipe == data.recipe && one.config == training.config), "{joined:?}");
}

/// Runs experiments on all strategies in turn until nothing is left or `rounds` are through; checks every proposal.
fn explore(task: &TaskSpec, profile: &DataProfile, seed: u64, rounds: usize) -> Vec<String> {
    let mut tree = Tree::new(task.clone(), profile.clone(), seed);
    let nodes = tree.propose_strategies();
    let mut proposed = BTreeSet::new();
    let mut log = Vec::new();
    for round in 0..rounds {
        let strategy = &nodes[round % nodes.len()];
        let batch = tree.variants(strategy, 3);
        assert_eq!(batch, tree.variants(strategy, 3), "the same request gave two answers");
        for variant in &batch {
            variant.config.validate().unwrap();
            assert!(variant.recipe.has("decontaminate"), "{variant:?}");
            assert!(!variant.why.is_empty());
            let content = ContentHash::of_value("test", &(&variant.recipe, &variant.config)).unwrap();
            assert!(proposed.insert(content), "proposed twice: {variant:?}");
            let parent = variant.parent.as_ref().map(|id| tree.state.variants[id].variant.clone());
            let (recipe, config) =
                parent.map_or((trex_domain::Recipe::default(), task.train.clone()), |one| (one.recipe, one.config));
            let diff = variant_diff((&recipe, &config), (&variant.recipe, &variant.config)).unwrap();
            assert_eq!(diff, variant.diff);
            assert!(!diff.is_empty(), "{variant:?}");
            log.push(format!("{} {:?}", variant.id, variant.diff));
        }
        let bump = |one: &trex_domain::Variant| 0.5 + (one.config.learning_rate.ln() / 7.0).sin().abs() / 4.0;
        tree.run(strategy, batch, &mut |variant| [bump(variant), bump(variant) - 0.01]);
    }
    log
}

#[test]
fn proposals_are_valid_new_and_deterministic_over_many_rounds() {
    for (task, profile) in tasks() {
        let log = explore(&task, &profile, 3, 40);
        assert!(log.len() > 60, "{}", log.len());
        assert_eq!(log, explore(&task, &profile, 3, 40));
    }
}

#[test]
fn a_node_that_is_no_strategy_is_an_error() {
    let tree = Tree::new(task(TaskKind::Choice), clean(), 0);
    let node = trex_domain::NodeId::strategy(7);
    let model = trex_domain::ModelFacts {
        name: String::new(),
        dir: std::path::PathBuf::new(),
        hash: crate::tree::hash("m"),
        num_parameters: 1,
        weights_bytes: 4,
        hidden_size: 1,
        intermediate_size: 1,
        num_layers: 1,
        num_heads: 1,
        num_kv_heads: 1,
        head_dim: 1,
        vocab_size: 1,
        max_position: 1,
        license: None,
        projections: Vec::new(),
    };
    let task = tree.state.task.as_ref().unwrap();
    let request = StrategyRequest { task, profile: &tree.profile, model: &model, state: &tree.state };
    let err = Playbook.variants(request, &node, &node.experiment(1), 1).unwrap_err();
    assert_eq!(err.to_string(), "s7 is not a strategy of this run");
}

#[test]
fn an_insight_says_what_changed_and_whether_it_may_be_chance() {
    let mut tree = Tree::new(task(TaskKind::Choice), dirty(), 0);
    let nodes = tree.propose_strategies();
    let batch = tree.variants(&nodes[0], 1);
    tree.run(&nodes[0], batch, &mut |_| [0.6, 0.6]);
    let effect = Effect { diff: 0.05, ci95: [0.01, 0.09], n: 400 };
    let node = nodes[0].experiment(1);
    let insights = distil(&tree.state, &node, effect, true);
    let expected = "adding canonical_answer, adding decontaminate (max_overlap 0.7, ngram_words 8), adding valid_answer, \
                    starting from the task's starting point, raised accuracy by 0.050 over the incumbent \
                    (95 % interval +0.010 to +0.090, 400 items)";
    assert_eq!(insights[0].statement, expected);
    let chance = distil(&tree.state, &node, Effect { diff: -0.01, ci95: [-0.05, 0.03], n: 400 }, false);
    assert!(chance[0].statement.contains("-0.010 against the incumbent, which may be chance"), "{chance:?}");
    assert!(distil(&tree.state, &nodes[1].experiment(1), effect, true).is_empty());
}
