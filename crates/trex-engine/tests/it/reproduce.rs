use trex_domain::{Job, Problem as _};
use trex_engine::{EngineError, reproduce};

use crate::fakes::{FakeExecutor, Surface};
use crate::world::World;

const SURFACE: Surface = Surface::Effect(0.4);

#[test]
fn a_winner_is_trained_again_from_nothing_to_the_same_bytes() {
    let mut world = World::new(SURFACE);
    let state = world.start().unwrap();
    let incumbent = state.incumbent.clone().unwrap();
    let scratch = world.workspace.path().join("again");
    // Rubbish of an earlier attempt must not be taken for a checkpoint.
    world.workspace.write("again/checkpoints/checkpoint", "stale");
    for name in [incumbent.as_str(), incumbent.node().as_str()] {
        let executor = FakeExecutor::new(SURFACE);
        let again = reproduce(&state, name, &world.settings, &executor, scratch.clone()).unwrap();
        assert!(again.identical && again.recorded == again.repeated);
        assert_eq!((again.variant.clone(), again.rung), (incumbent.clone(), 1));
        assert!(executor.continued.borrow().is_empty());
        assert!(!scratch.exists());
        let jobs = executor.jobs.borrow();
        let Job::Train(job) = &jobs[0] else { panic!("{jobs:?}") };
        assert_eq!((jobs.len(), job.resume_from.clone()), (1, None));
    }
}

#[test]
fn another_result_is_said_to_be_another() {
    let mut world = World::new(SURFACE);
    let mut state = world.start().unwrap();
    let incumbent = state.incumbent.clone().unwrap();
    let trial = state.trials.get_mut(&(incumbent.clone(), 1, 0)).unwrap();
    trial.done.as_mut().unwrap().adapter = trex_testkit::hash("other weights");
    let scratch = world.workspace.path().join("again");
    let again = reproduce(&state, incumbent.as_str(), &world.settings, &world.executor, scratch).unwrap();
    assert!(!again.identical && again.recorded != again.repeated);
}

#[test]
fn what_was_never_trained_cannot_be_repeated() {
    let mut world = World::new(SURFACE);
    let state = world.start().unwrap();
    let check = |name: &str, code: &str| {
        let scratch = world.workspace.path().join("again");
        let err = reproduce(&state, name, &world.settings, &world.executor, scratch).unwrap_err();
        assert_eq!(err.code(), code, "{name}: {err}");
    };
    check("s9.e9.a", "run.nothing_to_reproduce");
    check("s4.e1.a", "run.nothing_to_reproduce");
    check("s4.e1", "run.nothing_to_reproduce");
    check("s1", "run.nothing_to_reproduce");
    check("base", "run.nothing_to_reproduce");
    check("nonsense", "domain.bad_node_id");
}

#[test]
fn a_worker_that_dies_is_reported() {
    let mut world = World::new(SURFACE);
    let state = world.start().unwrap();
    world.executor.fate = Box::new(|_, _| Some(trex_domain::FailureClass::Crashed));
    let name = state.incumbent.clone().unwrap();
    let scratch = world.workspace.path().join("again");
    let err = reproduce(&state, name.as_str(), &world.settings, &world.executor, scratch.clone()).unwrap_err();
    assert!(matches!(err, EngineError::Job { .. }), "{err}");
    assert!(!scratch.exists());
}
