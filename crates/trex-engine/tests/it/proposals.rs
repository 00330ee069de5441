use trex_domain::{Event, NodeState, Operator, Problem as _, SearchAction, StrategyKind, VariantId, Verdict};
use trex_engine::{EngineError, actions_about};
use trex_testkit::variant_id;

use crate::fakes::Surface;
use crate::researcher::{FakeResearcher, Proposal, decontaminate, inadmissible, plan, rates};
use crate::world::World;

fn world_of(batches: Vec<Vec<Proposal>>) -> World {
    let mut world = World::new(Surface::Effect(0.4));
    world.researcher = FakeResearcher(vec![plan(StrategyKind::AdjustTraining, 0.5, batches)]);
    world
}

#[test]
fn duplicates_are_counted_and_never_run() {
    // Equal by proposal, equal by prepared bytes only, equal within the batch, equal to one of an earlier batch.
    let normalised = (3e-4, vec![Operator::Normalise, decontaminate()]);
    let mut second = rates(&[6e-4, 3e-4]);
    second.push(normalised);
    let mut world = world_of(vec![rates(&[3e-4, 3e-4, 9e-4]), second]);
    let state = world.start().unwrap();
    assert_eq!((state.duplicates_avoided, state.duplicates_run), (3, 0));
    for name in ["s1.e1.b", "s1.e2.b", "s1.e2.c"] {
        let record = &state.variants[&variant_id(name)];
        assert_eq!((record.state, record.duplicate_of.clone()), (NodeState::Cached, Some(variant_id("s1.e1.a"))));
        assert!(!world.trainings().keys().any(|training| training.starts_with(name)));
    }
}

#[test]
fn a_run_of_the_real_shape_avoids_all_its_duplicates() {
    let mut world = World::new(Surface::Effect(0.4));
    let state = world.start().unwrap();
    assert_eq!((state.duplicates_avoided, state.duplicates_run), (2, 0));
    let mut keys: Vec<_> = state.variants.values().filter_map(|record| record.key).collect();
    let num_keys = keys.len();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), num_keys, "what is verified is different from all else");
}

/// Runs one batch and checks that the variant at the place is rejected by the rule and never trained.
#[track_caller]
fn check_rejected(proposal: Proposal, rule: &str) {
    let mut batch = rates(&[8e-4]);
    batch.push(proposal);
    let mut world = world_of(vec![batch]);
    let state = world.start().unwrap();
    let bad = variant_id("s1.e1.b");
    let found = world.events().into_iter().find_map(|event| match event {
        Event::VariantRejected { variant, code, .. } if variant == bad => Some(code),
        _ => None,
    });
    assert_eq!(found.as_deref(), Some(rule));
    assert_eq!(state.variants[&bad].state, NodeState::Rejected);
    assert!(world.trainings().keys().all(|training| training.starts_with("s1.e1.a")), "{:?}", world.trainings());
    assert_eq!(state.verdict, Some(Verdict::Gain), "the good one is run all the same");
}

#[test]
fn rejected_variants_never_train() {
    let [bad_rate, contaminated, broken]: [Proposal; 3] = inadmissible().try_into().unwrap();
    check_rejected(bad_rate, "verify.configuration");
    check_rejected(contaminated, "verify.no_decontamination");
    check_rejected(broken, "fake.bad_recipe");
    check_rejected((3e-4, vec![Operator::Cap { rows: 0 }, decontaminate()]), "verify.label_coverage");
}

#[test]
fn a_batch_of_bad_proposals_costs_no_trial() {
    let mut world = world_of(vec![inadmissible()]);
    let state = world.start().unwrap();
    assert!(world.trainings().is_empty() && state.trials.is_empty());
    assert_eq!(state.verdict, Some(Verdict::NoRealGain));
}

#[test]
fn names_and_number_of_variants_are_given_by_the_engine() {
    // The fake names all its variants alike and proposes more than it is asked for.
    let mut world = world_of(vec![rates(&[1e-4, 2e-4, 3e-4, 4e-4, 5e-4]), rates(&[6e-4])]);
    let state = world.start().unwrap();
    let names: Vec<_> = state.variants.keys().map(VariantId::as_str).collect();
    assert_eq!(names, ["s1.e1.a", "s1.e1.b", "s1.e1.c", "s1.e2.a"]);
}

#[test]
fn a_full_disk_is_not_blamed_on_the_recipe() {
    let mut world = world_of(vec![rates(&[8e-4])]);
    world.data.is_full.set(true);
    let err = world.start().unwrap_err();
    assert!(matches!(err, EngineError::Data(_)), "{err}");
    assert_eq!((err.code(), err.class()), ("fake.disk_full", trex_domain::ErrorClass::Resource));
    // Whoever looks at the run afterwards is told what ended it, until it goes on.
    let failures = |world: &World| -> Vec<_> {
        let events = world.events().into_iter();
        events.filter_map(|event| if let Event::RunFailed(failure) = event { Some(failure) } else { None }).collect()
    };
    let [failure] = failures(&world).try_into().unwrap();
    assert_eq!((failure.code.as_str(), failure.message), ("fake.disk_full", err.to_string()));
    let state = world.resume().unwrap();
    assert_eq!((state.verdict, state.failure), (Some(Verdict::Gain), None));
    assert_eq!(failures(&world).len(), 1);
}

#[test]
fn every_action_of_the_search_is_recorded_with_its_candidates() {
    let mut world = World::new(Surface::Effect(0.4));
    let state = world.start().unwrap();
    let count = |action| state.actions.iter().filter(|one| one.action == action).count();
    let events = world.events();
    let happened = |is_it: fn(&Event) -> bool| events.iter().filter(|event| is_it(event)).count();
    assert_eq!(count(SearchAction::Expand), happened(|event| matches!(event, Event::ExperimentProposed { .. })));
    assert_eq!(count(SearchAction::Run), happened(|event| matches!(event, Event::TrialStarted { .. })));
    assert_eq!(count(SearchAction::Promote), happened(|event| matches!(event, Event::VariantPromoted { .. })));
    assert_eq!(count(SearchAction::Prune), happened(|event| matches!(event, Event::VariantPruned { .. })));
    assert_eq!(count(SearchAction::Stop), 1);
    for record in state.actions.iter().filter(|one| one.action == SearchAction::Prune) {
        let place = |name: &str| {
            let candidate = record.candidates.iter().find(|one| one.name == name);
            candidate.and_then(|one| one.numbers.get("place")).copied()
        };
        assert!(place(&record.subject).is_some_and(|place| place > 1.0), "{record:?}");
    }
    let about = actions_about(&state, "s1.e1.a").unwrap();
    assert!(about.iter().any(|one| one.action == SearchAction::Run && one.subject == "s1.e1.a"));
    assert!(actions_about(&state, "s99").is_none());
    assert_eq!(actions_about(&state, "base").unwrap().len(), 1);
}

#[test]
fn the_verdict_is_the_judgement() {
    let mut world = World::new(Surface::Effect(0.4));
    let state = world.start().unwrap();
    let judgement = state.judgement.unwrap();
    assert_eq!((state.verdict, judgement.gain), (Some(Verdict::Gain), true));
    let compared = state.nodes.values().filter(|node| node.comparison.is_some()).count();
    assert!(judgement.compared == compared && judgement.p < 0.05 && judgement.z > judgement.z_final, "{judgement:?}");
}
