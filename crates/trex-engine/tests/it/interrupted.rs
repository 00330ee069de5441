use std::collections::{BTreeMap, BTreeSet};

use rand::RngExt as _;
use trex_domain::{Event, FailureClass, RunState, SplitSizes, seeded_rng};
use trex_engine::EngineError;
use trex_testkit::Dies;

use crate::fakes::Surface;
use crate::world::{World, settled};

/// A world whose run is over soon and yet has every kind of event; one worker dies once.
fn world(policy: &str) -> World {
    let mut world = World::new(Surface::Effect(0.5));
    world.executor.fate =
        Box::new(|name, earlier| (name == "s2.e1.a-r0-s0" && earlier == 0).then_some(FailureClass::Crashed));
    for plan in &mut world.researcher.0 {
        plan.batches.truncate(1);
    }
    policy.clone_into(&mut world.task.search.policy);
    world.task.splits = SplitSizes { search: 30, select: 30, final_: 30 };
    world
}

/// A run that nothing disturbs.
struct Undisturbed {
    state: RunState,
    trainings: BTreeMap<String, usize>,
    num_scorings: usize,
    num_appends: usize,
}

fn undisturbed(world: &mut World) -> Undisturbed {
    let state = world.start().unwrap();
    Undisturbed {
        state: settled(&state),
        trainings: world.trainings(),
        num_scorings: world.num_scorings(),
        num_appends: world.log.num_appends(),
    }
}

/// Trainings and scorings whose result was lost, which are therefore done again.
fn repeated(lost: &[Event]) -> (BTreeMap<String, usize>, usize) {
    let mut trainings = BTreeMap::new();
    let mut num_scorings = 0;
    for event in lost {
        match event {
            Event::TrialTrained { variant, rung, seed, .. } | Event::TrialFailed { variant, rung, seed, .. } => {
                *trainings.entry(format!("{variant}-r{rung}-s{seed}")).or_default() += 1;
            }
            // What is delivered was scored before.
            Event::BaseScored { .. }
            | Event::TrialScored { reused: false, .. }
            | Event::FinalScored { .. }
            | Event::Delivered { .. } => num_scorings += 1,
            _ => {}
        }
    }
    (trainings, num_scorings)
}

/// Kills the run at each of these appends, each counted from the death before, and resumes it to its end.
#[track_caller]
fn check(world: &mut World, expected: &Undisturbed, deaths: &[(usize, Dies)]) {
    world.begin_anew();
    let mut num_deaths = 0;
    for (append, dies) in deaths {
        world.log.die_at(*append, *dies);
        match world.start_or_resume() {
            Err(EngineError::Log(_)) => num_deaths += 1,
            Err(err) => panic!("{deaths:?}: {err}"),
            Ok(_) => break,
        }
    }
    assert!(num_deaths > 0, "{deaths:?}: the run was never killed");
    let state = world.start_or_resume().unwrap();
    assert_eq!(settled(&state), expected.state, "{deaths:?}");
    let (repeated, num_rescored) = repeated(world.log.lost());
    let mut trainings = expected.trainings.clone();
    for (name, times) in repeated {
        *trainings.get_mut(&name).unwrap() += times;
    }
    assert_eq!(world.trainings(), trainings, "{deaths:?}: what was recorded is not trained again");
    assert_eq!(world.num_scorings(), expected.num_scorings + num_rescored, "{deaths:?}");
    let scratch = world.workspace.path().join("scratch");
    let left = std::fs::read_dir(scratch).map_or(0, Iterator::count);
    assert_eq!(left, 0, "{deaths:?}: nothing is left in the scratch folder");
}

/// Kills the run once at every second append, from one of the first two on: four tests share the work.
fn check_every_append(dies: Dies, first: usize) {
    let mut world = world("puct");
    let expected = undisturbed(&mut world);
    assert!(expected.num_appends > 60, "{}", expected.num_appends);
    for append in (first..expected.num_appends).step_by(2) {
        check(&mut world, &expected, &[(append, dies)]);
    }
}

#[test]
fn the_run_that_is_killed_has_every_kind_of_event() {
    let mut world = world("puct");
    world.log.die_at(20, Dies::AfterStoring);
    world.start().unwrap_err();
    world.resume().unwrap();
    let found: BTreeSet<_> = world.events().iter().map(Event::kind).collect();
    let mut all: BTreeSet<_> = trex_testkit::finished_run().iter().map(Event::kind).collect();
    all.extend(["run_resumed", "duplicate_avoided", "trial_interrupted", "trial_failed"]);
    assert_eq!(all.difference(&found).collect::<Vec<_>>(), Vec::<&&str>::new());
}

#[test]
fn a_death_before_an_even_append_changes_nothing() {
    check_every_append(Dies::BeforeStoring, 0);
}

#[test]
fn a_death_before_an_odd_append_changes_nothing() {
    check_every_append(Dies::BeforeStoring, 1);
}

#[test]
fn a_death_after_an_even_append_changes_nothing() {
    check_every_append(Dies::AfterStoring, 0);
}

#[test]
fn a_death_after_an_odd_append_changes_nothing() {
    check_every_append(Dies::AfterStoring, 1);
}

/// Kills runs several times at drawn places.
fn check_drawn_deaths(policy: &str, num_runs: usize, num_deaths: usize) {
    let mut world = world(policy);
    world.executor.always_checkpoints = true;
    let expected = undisturbed(&mut world);
    let mut rng = seeded_rng(11, policy);
    for _ in 0..num_runs {
        let places = expected.num_appends / num_deaths;
        let draw = |_| {
            let dies = if rng.random::<bool>() { Dies::BeforeStoring } else { Dies::AfterStoring };
            (rng.random_range(0..places), dies)
        };
        let deaths: Vec<_> = (0..num_deaths).map(draw).collect();
        check(&mut world, &expected, &deaths);
    }
}

#[test]
fn two_deaths_change_nothing() {
    check_drawn_deaths("puct", 30, 2);
}

#[test]
fn many_deaths_change_nothing() {
    check_drawn_deaths("puct", 5, 12);
}

#[test]
fn policies_that_draw_go_on_with_the_same_draws() {
    check_drawn_deaths("random", 12, 2);
    check_drawn_deaths("thompson", 12, 2);
}

#[test]
fn a_request_to_stop_is_obeyed_anywhere_and_changes_nothing() {
    let mut world = world("puct");
    world.task.budget.trials = 10;
    let expected = undisturbed(&mut world);
    let num_progress = world.observer.num_progress;
    for stop_at in 0..num_progress {
        world.begin_anew();
        world.observer.stop_at = Some(stop_at);
        let stopped = world.start();
        let num_heard = world.observer.num_progress;
        let Err(err) = stopped else { panic!("the request at {stop_at} was not heard") };
        assert!(matches!(err, EngineError::Stopped), "{stop_at}: {err}");
        assert_eq!(num_heard, stop_at + 1, "no job goes on after the request");
        let state = world.resume().unwrap();
        assert_eq!(settled(&state), expected.state, "{stop_at}");
        assert_eq!(state.resumed, 1);
        let again = world.trainings().values().sum::<usize>() - expected.trainings.values().sum::<usize>();
        assert!(again <= 1, "{stop_at}: {again} trainings were run again");
    }
}
