use std::collections::BTreeSet;

use trex_domain::{
    ErrorClass, EvalJob, Event, Job, NodeState, Phase, Problem as _, RunState, StopReason, StrategyKind, VariantId,
    Verdict,
};
use trex_engine::EngineError;
use trex_testkit::{hash, run_id, variant_id};

use crate::fakes::Surface;
use crate::researcher::{FakeResearcher, cleaned, plan, rates};
use crate::world::World;

const STRONG: Surface = Surface::Effect(0.45);

/// The place of the only event for which `wanted` holds.
#[track_caller]
fn only(events: &[Event], wanted: impl Fn(&Event) -> bool) -> usize {
    let places: Vec<_> = (0..events.len()).filter(|place| wanted(&events[*place])).collect();
    assert_eq!(places.len(), 1, "{places:?}");
    places[0]
}

#[test]
fn a_whole_run_goes_through_all_phases_and_delivers() {
    let mut world = World::new(STRONG);
    let state = world.start().unwrap();
    let events = world.events();
    assert_eq!(world.observer.events, events);
    assert!(matches!(events.last(), Some(Event::RunFinished { .. })));
    let phases = events.iter().filter_map(|event| match event {
        Event::PhaseStarted { phase } => Some(*phase),
        _ => None,
    });
    let in_order = [
        Phase::Import,
        Phase::Baseline,
        Phase::Research,
        Phase::Search,
        Phase::Finalists,
        Phase::Final,
        Phase::Deliver,
    ];
    assert_eq!(phases.collect::<Vec<_>>(), in_order);
    assert_eq!(state.verdict, Some(Verdict::Gain));
    assert_eq!(state.stopped, Some(StopReason::Exhausted));
    let comparison = state.final_comparison.unwrap();
    assert!(comparison.significant && comparison.effect.ci95[0] > 0.0 && comparison.effect.n == 50);

    let folder = world.workspace.path().join(state.delivered.as_deref().unwrap());
    let incumbent = state.incumbent.clone().unwrap();
    let adapter = state.trials[&(incumbent, 1, 0)].done.as_ref().unwrap().adapter;
    let exported = trex_fs::read(&folder.join("adapter/adapter")).unwrap();
    assert_eq!(trex_domain::ContentHash::of_bytes(&exported), adapter);
    assert!(!world.workspace.path().join("scratch").join(run_id(1).to_string()).exists());
}

#[test]
fn the_sealed_split_is_opened_once_and_after_the_search() {
    let mut world = World::new(STRONG);
    let state = world.start().unwrap();
    let events = world.events();
    let opened = only(&events, |event| matches!(event, Event::FinalOpened { .. }));
    assert!(only(&events, |event| matches!(event, Event::SearchStopped { .. })) < opened);
    assert_eq!(state.final_opened, 1);
    let trains_after = |event: &Event| matches!(event, Event::TrialStarted { .. });
    assert!(!events[opened..].iter().any(trains_after), "nothing is trained once the sealed split is open");
    // The last jobs but the check of what is delivered, and only they, read the sealed split: base and the three trainings of the
    // finalist.
    let sealed = world.settings.workspace.join("blobs");
    let sealed = state.data.as_ref().unwrap().blobs[3].path_in(&sealed);
    let reads = |job: &Job| matches!(job, Job::Eval(EvalJob { items, .. }) if *items == sealed);
    let jobs = world.executor.jobs.borrow();
    assert_eq!(jobs.iter().filter(|job| reads(job)).count(), 4);
    assert!(jobs[jobs.len() - 5..jobs.len() - 1].iter().all(reads));
}

#[test]
fn the_spread_is_measured_on_the_base_and_on_a_trained_variant() {
    let mut world = World::new(STRONG);
    let state = world.start().unwrap();
    let (of, scores, sd) = &state.noise[0];
    assert_eq!((of.as_str(), scores.len()), ("base", 3));
    assert!(*sd > 0.0 && state.seed_sd() >= *sd);
    let incumbent = state.incumbent.unwrap();
    let measured: BTreeSet<_> = state.noise.iter().map(|(of, ..)| of.clone()).collect();
    assert_eq!(measured.len(), state.noise.len(), "nothing is measured twice");
    assert!(measured.contains(incumbent.as_str()));
    let first = state.node_order.iter().find_map(|id| state.nodes[id].winner.clone()).unwrap();
    assert!(measured.contains(first.as_str()), "the first winner is repeated before it is compared");
    assert!(state.noise.iter().all(|(_, scores, _)| scores.len() >= 2));
}

#[test]
fn a_prompt_without_seed_is_measured_once_and_said_so() {
    let mut world = World::new(STRONG);
    world.data.seeded_prompts = false;
    let state = world.start().unwrap();
    assert_eq!(state.base_scores.len(), 2);
    assert_eq!(state.warnings.len(), 1);
    assert_eq!(state.noise[0].1.len(), 1);
}

#[test]
fn the_incumbent_changes_only_where_the_difference_is_significant() {
    for size in [0.0, 0.05, 0.1, 0.2, 0.45] {
        let mut world = World::new(Surface::Effect(size));
        let state = world.start().unwrap();
        let mut incumbent = None;
        for event in world.events() {
            let Event::IncumbentCompared { candidate, incumbent: other, comparison, replaced } = event else {
                continue;
            };
            assert_eq!(other, incumbent);
            assert_eq!(replaced, comparison.significant);
            assert_eq!(replaced, comparison.effect.ci95[0] > 0.0);
            if replaced {
                incumbent = Some(candidate);
            }
        }
        let has_best = incumbent.is_some() || state.judgement.is_some_and(|judgement| judgement.gain);
        assert_eq!(state.incumbent, state.finalist.filter(|_| has_best), "the finalist is the last word");
        assert_eq!(state.insights.len(), state.nodes.values().filter(|node| node.comparison.is_some()).count());
    }
}

/// Whether it stands out or not, the best estimate is judged; without a gain it is delivered only where the tree had found one.
#[test]
fn the_best_of_search_and_select_together_is_taken_to_the_sealed_split() {
    let (mut without_incumbent, mut found_nevertheless) = (0, 0);
    for (size, seed) in [0.0, 0.05, 0.1, 0.15, 0.2].into_iter().flat_map(|size| (1..=6).map(move |seed| (size, seed))) {
        let mut world = World::new(Surface::Effect(size));
        world.seed = seed;
        let state = world.start().unwrap();
        let events = world.events();
        let chosen = only(&events, |event| matches!(event, Event::FinalistChosen { .. }));
        assert!(chosen < only(&events, |event| matches!(event, Event::FinalOpened { .. })));
        let pooled = |variant: &VariantId| {
            let search = state.trial_score(&(variant.clone(), 1, 0), "search").unwrap();
            let select = state.select_score(Some(variant)).unwrap();
            (search.value * search.n as f64 + select.value * select.n as f64) / (search.n + select.n) as f64
        };
        let winners: Vec<&VariantId> = state.nodes.values().filter_map(|node| node.winner.as_ref()).collect();
        let finalist = state.finalist.clone().unwrap();
        assert!(winners.iter().all(|winner| pooled(winner) <= pooled(&finalist)), "size {size}, seed {seed}");
        let judgement = state.judgement.unwrap();
        assert_eq!((judgement.compared, judgement.trainings), (winners.len(), 3));
        assert_eq!((state.final_scores.len(), state.final_repeats.len()), (2, 2));

        let replaced = events.iter().any(|event| matches!(event, Event::IncumbentCompared { replaced: true, .. }));
        let is_delivered = replaced || judgement.gain;
        assert_eq!(state.incumbent.is_some(), is_delivered);
        assert_eq!(world.exporter.exported.borrow().len(), usize::from(is_delivered));
        without_incumbent += usize::from(!replaced);
        found_nevertheless += usize::from(!replaced && judgement.gain);
    }
    assert!(
        found_nevertheless > 0 && found_nevertheless < without_incumbent,
        "{found_nevertheless} of {without_incumbent}"
    );
}

/// A run never starts more trials than its budget has, and keeps enough to repeat its incumbent.
#[track_caller]
fn check_budget(world: &mut World, trials: usize, rungs: usize, finalist_seeds: usize) -> RunState {
    world.begin_anew();
    world.task.budget.trials = trials;
    world.task.search.rungs = rungs;
    world.task.search.finalist_seeds = finalist_seeds;
    let state = world.start().unwrap();
    let case = format!("{trials} trials, {rungs} rungs, {finalist_seeds} seeds");
    assert!(state.trials.len() <= trials, "{case}: {} trials", state.trials.len());
    assert_eq!(state.final_opened, 1, "{case}");
    if let Some(incumbent) = state.incumbent.as_ref().filter(|_| finalist_seeds > 0) {
        let scores = state.noise.iter().find(|(of, ..)| of == incumbent.as_str()).map(|(_, scores, _)| scores.len());
        assert_eq!(scores, Some(finalist_seeds + 1), "{case}");
    }
    state
}

#[test]
fn no_budget_is_ever_exceeded() {
    let mut world = World::new(STRONG);
    let mut most = 0;
    for (rungs, finalist_seeds) in [(1, 1), (2, 1), (3, 1), (2, 3), (2, 0)] {
        for trials in rungs + finalist_seeds.min(1) + finalist_seeds..=20 {
            most = most.max(check_budget(&mut world, trials, rungs, finalist_seeds).trials.len());
        }
    }
    assert_eq!(most, 20, "the largest budget is used up by some run");
}

/// The smallest budget that is taken tries something; one trial less is refused before anything is done.
#[test]
fn a_budget_that_reaches_for_no_variant_is_refused_at_once() {
    let mut world = World::new(STRONG);
    for (rungs, finalist_seeds, needed) in [(1, 0, 1), (1, 1, 3), (3, 1, 5), (1, 2, 4), (2, 3, 6)] {
        let state = check_budget(&mut world, needed, rungs, finalist_seeds);
        assert!(state.trials.len() >= rungs, "{rungs} rungs: {}", state.trials.len());
        if needed == 1 {
            continue;
        }
        world.begin_anew();
        world.task.budget.trials = needed - 1;
        let err = world.start().unwrap_err();
        assert_eq!((err.code(), err.class()), ("budget.too_few_trials", ErrorClass::Permanent));
        assert!(err.to_string().contains(&format!("at least {needed}")) && err.hint().is_some(), "{err}");
        assert!(world.events().is_empty() && world.executor.jobs.borrow().is_empty());
    }
}

#[test]
fn a_limit_on_processor_time_ends_the_search() {
    let mut world = World::new(STRONG);
    // With more repeats the search itself would be less than half of the whole.
    world.task.search.finalist_seeds = 1;
    let whole = world.start().unwrap().cost.cpu_s;
    world.begin_anew();
    world.task.budget.cpu_s = Some(whole / 2.0);
    let state = world.start().unwrap();
    assert!(matches!(state.stopped, Some(StopReason::Budget { .. })), "{:?}", state.stopped);
    assert!(state.cost.cpu_s < 0.8 * whole, "{} of {whole}", state.cost.cpu_s);
}

#[test]
fn a_target_or_a_plateau_ends_the_search() {
    let mut world = World::new(STRONG);
    world.task.search.target = Some(0.2);
    let state = world.start().unwrap();
    assert_eq!((state.stopped, state.trials.len()), (Some(StopReason::TargetReached), 0));
    let mut world = World::new(Surface::Null);
    world.task.search.plateau = 2;
    let state = world.start().unwrap();
    assert_eq!(state.stopped, Some(StopReason::Plateau { experiments: 2 }));
}

#[test]
fn equal_worlds_give_equal_runs() {
    let mut world = World::new(STRONG);
    let first = (world.start().unwrap(), world.events());
    let mut world = World::new(STRONG);
    assert_eq!((world.start().unwrap(), world.events()), first);
}

#[test]
fn a_researcher_without_ideas_ends_the_run_in_order() {
    let mut world = World::new(STRONG);
    world.researcher = FakeResearcher(Vec::new());
    let state = world.start().unwrap();
    assert_eq!((state.stopped, state.verdict), (Some(StopReason::Exhausted), Some(Verdict::NoRealGain)));
    assert_eq!((state.final_scores.len(), state.final_comparison), (1, None));
    assert!(world.exporter.exported.borrow().is_empty());
}

/// Runs on 40 seeds and returns how many of them say that there was a gain.
fn num_gains(surface: Surface) -> usize {
    let mut world = World::new(surface);
    world.researcher = FakeResearcher(vec![
        plan(StrategyKind::AdjustTraining, 0.5, vec![rates(&[3e-4, 6e-4, 9e-4])]),
        plan(StrategyKind::RefineData, 0.4, vec![cleaned(&[2e-4, 5e-4, 8e-4])]),
    ]);
    let mut gains = 0;
    for seed in 0..40 {
        world.begin_anew();
        world.seed = seed;
        let state = world.start().unwrap();
        assert!(state.trials.len() >= 8, "seed {seed}: both batches were run");
        gains += usize::from(state.verdict == Some(Verdict::Gain));
    }
    gains
}

#[test]
fn where_nothing_helps_no_gain_is_claimed() {
    let gains = num_gains(Surface::Null);
    assert!(gains <= 2, "{gains} of 40 runs claim a gain");
}

#[test]
fn a_strong_effect_is_found() {
    let gains = num_gains(Surface::Effect(0.4));
    assert!(gains >= 36, "{gains} of 40 runs found the gain");
}

#[test]
fn a_run_of_another_model_is_not_resumed() {
    let mut world = World::new(STRONG);
    world.log.die_at(10, trex_testkit::Dies::BeforeStoring);
    world.start().unwrap_err();
    let before = world.events();
    world.settings.model.hash = hash("another model");
    let err = world.resume().unwrap_err();
    assert!(matches!(err, EngineError::ModelChanged { .. }), "{err}");
    assert!(err.hint().is_some());
    assert_eq!(world.events(), before);
}

#[test]
fn a_finished_run_is_left_as_it_is() {
    let mut world = World::new(STRONG);
    let state = world.start().unwrap();
    let (events, jobs) = (world.events(), world.executor.jobs.borrow().len());
    assert_eq!(world.resume().unwrap(), state);
    assert_eq!(world.events(), events);
    assert_eq!((world.executor.jobs.borrow().len(), world.exporter.exported.borrow().len()), (jobs, 1));
}

#[test]
fn a_run_that_was_never_begun_cannot_be_resumed() {
    let err = World::new(STRONG).resume().unwrap_err();
    assert!(matches!(err, EngineError::UnknownRun { .. }), "{err}");
    assert_eq!(err.code(), "run.unknown");
}

#[test]
fn an_invalid_task_is_refused_before_anything_is_recorded() {
    let mut world = World::new(STRONG);
    world.task.search.eta = 1;
    let err = world.start().unwrap_err();
    assert_eq!(err.code(), "config.out_of_range");
    assert!(world.events().is_empty());
}

#[test]
fn halving_keeps_the_best_third_of_a_batch() {
    let mut world = World::new(Surface::Effect(0.5));
    world.researcher = FakeResearcher(vec![plan(StrategyKind::AdjustTraining, 0.5, vec![rates(&[1e-5, 1e-3, 2e-5])])]);
    let state = world.start().unwrap();
    let states = ["s1.e1.a", "s1.e1.b", "s1.e1.c"].map(|name| state.variants[&variant_id(name)].state);
    assert_eq!(states, [NodeState::Pruned, NodeState::Evaluated, NodeState::Pruned]);
    assert_eq!(state.nodes[&trex_testkit::node_id("s1.e1")].winner, Some(variant_id("s1.e1.b")));
}
