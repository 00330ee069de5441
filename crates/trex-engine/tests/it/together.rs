//! Several workers at once come to what one comes to, wherever the run is killed or stopped.

use trex_domain::{Event, FailureClass, RunState, SplitSizes};
use trex_engine::EngineError;
use trex_testkit::Dies;

use crate::fakes::Surface;
use crate::world::{World, settled};

/// A world whose run is over soon; one worker dies once, in training, and another one in scoring.
fn world(workers: usize) -> World {
    let mut world = World::new(Surface::Effect(0.5));
    world.executor.fate = Box::new(|name, earlier| {
        let dies = ["s2.e1.a-r0-s0", "search 0.0003"].contains(&name) && earlier == 0;
        dies.then_some(FailureClass::Crashed)
    });
    for plan in &mut world.researcher.0 {
        plan.batches.truncate(1);
    }
    world.task.splits = SplitSizes { search: 30, select: 30, final_: 30 };
    world.task.device = trex_domain::DeviceChoice::Cpu;
    world.settings.workers = workers;
    world.settings.threads = 4;
    world
}

/// What a run came to, without forecasts: they rest on what was over at the moment, which is less where others are under way.
fn result(state: &RunState) -> RunState {
    let mut state = settled(state);
    for candidate in state.actions.iter_mut().flat_map(|action| &mut action.candidates) {
        candidate.numbers.retain(|name, _| !name.starts_with("forecast_"));
    }
    state
}

#[test]
fn several_workers_come_to_the_result_of_one() {
    let alone = result(&world(1).start().unwrap());
    for workers in [2, 3, 8] {
        let mut world = world(workers);
        assert_eq!(result(&world.start().unwrap()), alone, "{workers} workers");
        let jobs = world.executor.jobs.borrow();
        let threads = jobs.iter().map(trex_domain::Job::threads).min().unwrap();
        assert!(threads < 4, "{workers} workers share the threads");
    }
}

/// The most trials that were under way at a moment.
fn most_at_once(events: &[Event]) -> usize {
    let (mut open, mut most) = (0_usize, 0);
    for event in events {
        match event {
            Event::TrialStarted { .. } => open += 1,
            Event::TrialTrained { .. } | Event::TrialInterrupted { .. } | Event::TrialFailed { .. } => {
                open = open.saturating_sub(1);
            }
            _ => {}
        }
        most = most.max(open);
    }
    most
}

#[test]
fn as_many_are_under_way_as_workers_and_memory_allow() {
    let check = |workers: usize, machine_bytes: u64, device: &str, expected: usize| {
        let mut world = world(workers);
        world.executor.fate = Box::new(|_, _| None);
        world.task.device = device.parse().unwrap();
        world.settings.machine_bytes = machine_bytes;
        world.start().unwrap();
        assert_eq!(most_at_once(&world.events()), expected, "{workers} workers, {machine_bytes} bytes, {device}");
    };
    let mut measured = world(1);
    let memory = measured.start().unwrap().variants.values().map(|record| record.memory_bytes).max().unwrap();
    check(1, 1 << 34, "cpu", 1);
    check(2, 1 << 34, "cpu", 2);
    check(2, 1 << 34, "auto", 2);
    check(2, 1 << 34, "cuda", 1);
    check(3, memory * 5 / 2, "cpu", 2);
    check(3, memory * 3 / 2, "cpu", 1);
}

#[test]
fn a_death_anywhere_changes_nothing() {
    let mut world = world(2);
    let expected = result(&world.start().unwrap());
    let num_appends = world.log.num_appends();
    assert!(num_appends > 40, "{num_appends}");
    for append in 0..num_appends {
        let dies = if append % 2 == 0 { Dies::BeforeStoring } else { Dies::AfterStoring };
        world.begin_anew();
        world.log.die_at(append, dies);
        assert!(matches!(world.start_or_resume(), Err(EngineError::Log(_))), "{append}");
        let state = world.start_or_resume().unwrap();
        assert_eq!(result(&state), expected, "{append}");
        let scratch = world.workspace.path().join("scratch");
        assert_eq!(std::fs::read_dir(scratch).map_or(0, Iterator::count), 0, "{append}: scratch is empty");
    }
}

#[test]
fn a_request_to_stop_is_obeyed_anywhere_and_changes_nothing() {
    let mut world = world(2);
    world.task.budget.trials = 10;
    let expected = result(&world.start().unwrap());
    for stop_at in 0..world.observer.num_progress {
        world.begin_anew();
        world.observer.stop_at = Some(stop_at);
        assert!(matches!(world.start(), Err(EngineError::Stopped)), "{stop_at}");
        assert_eq!(world.observer.num_progress, stop_at + 1, "nothing is shown after the request");
        assert_eq!(result(&world.resume().unwrap()), expected, "{stop_at}");
    }
}
