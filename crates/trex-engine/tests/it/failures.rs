use trex_domain::{
    ErrorClass, Event, FailureClass, NodeState, Problem as _, PruneReason, RunState, TrialStatus, Verdict,
};
use trex_engine::{EngineError, TreeLook, tree_text};
use trex_testkit::{Dies, START, run_id, stored, variant_id};

use crate::fakes::{DIVERGES, Fate, Surface};
use crate::researcher::{FakeResearcher, cleaned, plan, rates};
use crate::world::{World, settled};

const UNLUCKY: &str = "s1.e1.c-r0-s0";

fn world() -> World {
    let mut world = World::new(Surface::Effect(0.5));
    let batches = vec![rates(&[3e-4, 6e-4, 9e-4])];
    world.researcher = FakeResearcher(vec![plan(trex_domain::StrategyKind::AdjustTraining, 0.5, batches)]);
    world
}

/// Fails the job of that name with that class as long as it was asked for fewer than so many times.
fn fate(job: &'static str, class: FailureClass, times: usize) -> Fate {
    Box::new(move |name, earlier| (name == job && earlier < times).then_some(class))
}

fn undisturbed() -> RunState {
    settled(&world().start().unwrap())
}

/// A worker that dies so often, and in the end does not, leaves no trace in the result.
#[track_caller]
fn check_retried(job: &'static str, class: FailureClass, times: usize) -> World {
    let mut world = world();
    world.executor.fate = fate(job, class, times);
    let state = world.start().unwrap();
    assert_eq!(settled(&state), undisturbed());
    world
}

#[test]
fn a_training_that_dies_goes_on_from_its_checkpoint() {
    for class in [FailureClass::Crashed, FailureClass::Hung, FailureClass::OutOfMemory] {
        for times in [1, 2] {
            let world = check_retried(UNLUCKY, class, times);
            assert_eq!(world.trainings()[UNLUCKY], times + 1);
            assert_eq!(*world.executor.continued.borrow(), vec![UNLUCKY; times]);
            let interrupted = |event: &&Event| matches!(event, Event::TrialInterrupted { .. });
            assert_eq!(world.events().iter().filter(interrupted).count(), times);
        }
    }
}

#[test]
fn an_export_that_is_not_the_trained_model_is_refused_and_removed() {
    let mut world = world();
    world.exporter.spoils = true;
    let err = world.start().unwrap_err();
    assert_eq!(err.code(), "export.disagrees");
    assert!(err.to_string().contains("trained") && err.hint().is_some(), "{err}");
    assert!(!world.exporter.exported.borrow()[0].exists());
    world.exporter.spoils = false;
    assert_eq!(world.resume().unwrap().verdict, Some(Verdict::Gain));
}

#[test]
fn a_scoring_that_dies_is_tried_again() {
    check_retried("search base", FailureClass::Crashed, 2);
    check_retried("search 0.0009", FailureClass::Hung, 1);
    check_retried("final base", FailureClass::Crashed, 1);
}

/// The trial of `UNLUCKY` fails for good with the class; the variant is given up and the run goes on.
#[track_caller]
fn check_given_up(mut world: World, num_trainings: usize) {
    let state = world.start().unwrap();
    let variant = variant_id("s1.e1.c");
    assert_eq!(world.trainings()[UNLUCKY], num_trainings);
    assert_eq!(state.trials[&(variant.clone(), 0, 0)].status, TrialStatus::Failed);
    let record = &state.variants[&variant];
    assert_eq!(record.state, NodeState::Failed, "a failure is not shown as something that was merely worse");
    let pruned = |event: &Event| matches!(event, Event::VariantPruned { variant: id, .. } if *id == variant);
    assert!(!world.events().iter().any(pruned));
    let drawn = tree_text(&state, TreeLook { width: 200, colour: false, at_work: true });
    assert!(drawn.contains("! s1.e1.c failed"), "{drawn}");
    assert!(record.note.as_deref().is_some_and(|note| note.contains("in a fake")), "{:?}", record.note);
    assert!(state.verdict.is_some() && state.incumbent != Some(variant));
    let failed = |event: &&Event| matches!(event, Event::TrialFailed { .. });
    assert_eq!(world.events().iter().filter(failed).count(), 1);
}

#[test]
fn a_training_that_always_dies_is_given_up_after_three_deaths() {
    let mut world = world();
    world.executor.fate = fate(UNLUCKY, FailureClass::Crashed, usize::MAX);
    check_given_up(world, 3);
}

#[test]
fn a_scoring_that_always_dies_takes_down_its_trial_only() {
    let mut world = world();
    world.executor.fate = fate("search 0.0009", FailureClass::Crashed, usize::MAX);
    check_given_up(world, 1);
}

#[test]
fn a_variant_that_diverges_is_not_tried_again() {
    let mut world = world();
    world.researcher.0[0].batches = vec![rates(&[3e-4, 6e-4, DIVERGES])];
    check_given_up(world, 1);
    let mut world = self::world();
    world.executor.fate = fate(UNLUCKY, FailureClass::Config, usize::MAX);
    check_given_up(world, 1);
}

/// Older versions recorded that what had failed was pruned; such a run is shown, and goes on, as one of today.
#[test]
fn a_failure_that_an_older_version_pruned_is_a_failure() {
    let mut world = world();
    world.researcher.0[0].batches = vec![rates(&[3e-4, 6e-4, DIVERGES])];
    let state = world.start().unwrap();
    let mut events = world.events();
    let at = events.iter().position(|event| matches!(event, Event::TrialFailed { .. })).unwrap();
    let variant = variant_id("s1.e1.c");
    events.insert(at + 1, Event::VariantPruned { variant: variant.clone(), reason: PruneReason::Failed });
    let folded = RunState::from_events(&stored(run_id(1), START, events)).unwrap();
    assert_eq!(settled(&folded), settled(&state));
    assert_eq!(folded.variants[&variant].state, NodeState::Failed);
}

#[test]
fn resumes_do_not_count_as_deaths() {
    let mut world = world();
    world.executor.fate = fate(UNLUCKY, FailureClass::Crashed, 2);
    let unlucky = variant_id("s1.e1.c");
    let loses_it = |lost: &[Event]| matches!(lost, [Event::TrialTrained { variant, .. }] if *variant == unlucky);
    let mut append = 0;
    while !loses_it(world.log.lost()) {
        world.begin_anew();
        world.log.die_at(append, Dies::BeforeStoring);
        world.start().unwrap_err();
        append += 1;
    }
    for _ in 0..4 {
        // The resume, the start of the attempt, then its result.
        world.log.die_at(2, Dies::BeforeStoring);
        world.resume().unwrap_err();
    }
    assert_eq!(world.log.lost().len(), 5);
    assert_eq!(settled(&world.resume().unwrap()), undisturbed());
    assert_eq!(world.trainings()[UNLUCKY], 2 + 5 + 1);
}

/// A full disk ends the run so that it can be resumed once there is room.
#[track_caller]
fn check_full_disk(job: &'static str) {
    let mut world = world();
    world.executor.fate = fate(job, FailureClass::DiskFull, 1);
    let err = world.start().unwrap_err();
    assert!(matches!(err, EngineError::Job { class: FailureClass::DiskFull, .. }), "{err}");
    assert_eq!(err.class(), ErrorClass::Resource);
    assert_eq!(settled(&world.resume().unwrap()), undisturbed());
}

#[test]
fn a_full_disk_ends_the_run_and_resume_goes_on() {
    check_full_disk(UNLUCKY);
    check_full_disk("s1.e1.a-r0-s0");
    check_full_disk("search base");
    check_full_disk("search 0.0009");
    check_full_disk("final base");
}

#[test]
fn a_base_that_cannot_be_scored_ends_the_run_with_the_reason() {
    let mut world = world();
    world.executor.fate = fate("search base", FailureClass::Crashed, usize::MAX);
    let err = world.start().unwrap_err();
    assert_eq!((err.code(), err.class()), ("run.job_failed", ErrorClass::Transient));
    assert!(err.to_string().contains("base on search"), "{err}");
    assert_eq!(world.num_scorings(), 3);
}

#[test]
fn a_repeat_that_fails_leaves_the_winner_in_place() {
    check_repeats(&["-s1"], 2);
    // Without any repeat there is one score, which has no spread.
    check_repeats(&["-s1", "-s2"], 1);
}

/// Repeats on these seeds fail; so many spreads are measured nevertheless, that of the base among them.
#[track_caller]
fn check_repeats(failing: &'static [&'static str], spreads: usize) {
    let mut world = world();
    let fails = |name: &str| failing.iter().any(|seed| name.ends_with(seed));
    world.executor.fate = Box::new(move |name, _| fails(name).then_some(FailureClass::Diverged));
    let state = world.start().unwrap();
    assert_eq!(state.verdict, Some(Verdict::Gain));
    assert_eq!(state.noise.len(), spreads, "{:?}", state.noise);
    let failed = state.trials.values().filter(|trial| trial.status == TrialStatus::Failed).count();
    assert_eq!(failed, failing.len());
}

/// A dry run that fails for good rejects its variant with rule, values and fix; no trial is begun for it.
#[track_caller]
fn check_rejected(class: FailureClass, code: &str, num_dry_runs: usize) {
    let mut world = world();
    world.executor.fate = fate("dry s1.e1.a", class, usize::MAX);
    let state = world.start().unwrap();
    let variant = variant_id("s1.e1.a");
    assert_eq!(state.variants[&variant].state, NodeState::Rejected);
    assert!(state.trials.keys().all(|key| key.0 != variant), "it costs no trial");
    let found = world.events().into_iter().find_map(|event| match event {
        Event::VariantRejected { variant: id, code, reason } if id == variant => Some((code, reason)),
        _ => None,
    });
    let (found, reason) = found.unwrap();
    assert_eq!(found, code);
    assert!(reason.contains("in a fake") && reason.contains("; "), "{reason}");
    let is_ours = |job: &&trex_domain::Job| matches!(job, trex_domain::Job::DryRun(job) if job.scratch_dir.ends_with("s1.e1.a-dry"));
    assert_eq!(world.executor.jobs.borrow().iter().filter(is_ours).count(), num_dry_runs);
    assert!(state.verdict.is_some());
}

#[test]
fn what_fails_in_the_dry_run_is_rejected_and_costs_no_trial() {
    check_rejected(FailureClass::Config, "verify.dry_run", 1);
    check_rejected(FailureClass::Diverged, "verify.not_finite", 1);
    check_rejected(FailureClass::OutOfMemory, "verify.memory", 3);
    check_rejected(FailureClass::Crashed, "verify.dry_run", 3);
}

#[test]
fn a_dry_run_that_failed_is_not_made_again_for_an_equal_shape() {
    let mut world = world();
    world.executor.fate = fate("dry s1.e1.a", FailureClass::OutOfMemory, usize::MAX);
    let batch = rates(&[3e-4, 6e-4]).into_iter().chain(cleaned(&[9e-4])).collect();
    world.researcher.0[0].batches = vec![batch];
    let state = world.start().unwrap();
    let made = world.executor.jobs.borrow().iter().filter_map(dry_run_of).collect::<Vec<_>>();
    assert_eq!(made, ["s1.e1.a-dry", "s1.e1.a-dry", "s1.e1.a-dry", "s1.e1.c-dry"], "three attempts, then other rows");
    let rejection = |name: &str| {
        world.events().into_iter().find_map(|event| match event {
            Event::VariantRejected { variant, code, reason } if variant == variant_id(name) => Some((code, reason)),
            _ => None,
        })
    };
    let (first, again) = (rejection("s1.e1.a").unwrap(), rejection("s1.e1.b").unwrap());
    assert_eq!((first.0.as_str(), again.0.as_str()), ("verify.memory", "verify.memory"));
    assert!(!first.1.contains("known from") && again.1.contains("known from the dry run of s1.e1.a"), "{again:?}");
    assert!(again.1.contains("per_device_train_batch_size"), "{again:?}");
    assert!(rejection("s1.e1.c").is_none());
    let shapes: Vec<_> = state.failed_dry_runs.values().map(|(of, failure)| (of.clone(), failure.class)).collect();
    assert_eq!(shapes, [(variant_id("s1.e1.a"), FailureClass::OutOfMemory)]);
}

/// Name of the folder of a dry run.
fn dry_run_of(job: &trex_domain::Job) -> Option<String> {
    match job {
        trex_domain::Job::DryRun(job) => Some(job.scratch_dir.file_name()?.to_str()?.to_owned()),
        _ => None,
    }
}

#[test]
fn a_dry_run_that_dies_is_made_again() {
    check_retried("dry s1.e1.a", FailureClass::Crashed, 2);
}

#[test]
fn a_dry_run_that_takes_too_much_memory_rejects_all_that_it_stands_for() {
    let mut world = world();
    world.settings.machine_bytes = 1 << 30;
    world.executor.peak_rss_bytes.set(1 << 30);
    let state = world.start().unwrap();
    assert!(state.trials.is_empty() && !state.dry_runs.is_empty());
    let rejected = |event: &&Event| matches!(event, Event::VariantRejected { code, .. } if code == "verify.memory");
    assert_eq!(world.events().iter().filter(rejected).count(), 3, "one dry run stands for rates that differ");
    let made = |event: &&Event| matches!(event, Event::DryRun { .. });
    assert_eq!(world.events().iter().filter(made).count(), 1);
}
