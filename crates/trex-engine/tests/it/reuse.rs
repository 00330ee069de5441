//! What is not done twice: steps that another variant did, and scorings of the same weights on the same items.

use std::error::Error;

use trex_domain::{
    Effect, Insight, Job, NodeId, Recipe, Researcher, RunState, SchedulerType, Strategy, StrategyKind, StrategyRequest,
    TrainConfig, TrainJob, Variant, VariantDiff,
};
use trex_testkit::variant_id;

use crate::fakes::Surface;
use crate::researcher::decontaminate;
use crate::world::World;

/// One strategy whose experiments have one variant each, of these lengths.
struct Lengths {
    kind: SchedulerType,
    steps: Vec<usize>,
}

impl Researcher for Lengths {
    fn strategies(&self, _request: StrategyRequest<'_>) -> Result<Vec<Strategy>, Box<dyn Error + Send + Sync>> {
        Ok(vec![trex_testkit::strategy(StrategyKind::AdjustTraining, "train longer")])
    }

    fn variants(
        &self,
        request: StrategyRequest<'_>,
        strategy: &NodeId,
        _node: &NodeId,
        _count: usize,
    ) -> Result<Vec<Variant>, Box<dyn Error + Send + Sync>> {
        let Some(max_steps) = self.steps.get(request.state.experiments(strategy).count()) else {
            return Ok(Vec::new());
        };
        let config = TrainConfig {
            max_steps: *max_steps,
            lr_scheduler_type: self.kind,
            warmup_ratio: 2.0,
            ..request.task.train.clone()
        };
        Ok(vec![Variant {
            id: variant_id("s1.e1.a"),
            parent: None,
            diff: VariantDiff::new(),
            why: "it is in the table".to_owned(),
            recipe: Recipe { operators: vec![decontaminate()] },
            config,
        }])
    }

    fn distil(&self, _state: &RunState, _node: &NodeId, _effect: Effect, _significant: bool) -> Vec<Insight> {
        Vec::new()
    }
}

/// The state at the end, and the trainings of the second experiment by what their scratch folder is called.
fn run(kind: SchedulerType, steps: &[usize]) -> (RunState, Vec<(String, TrainJob)>) {
    let mut world = World::new(Surface::Effect(0.3));
    let researcher = Lengths { kind, steps: steps.to_vec() };
    let state = world.start_with(&researcher).unwrap();
    let jobs = world.executor.jobs.borrow();
    let trainings = jobs.iter().filter_map(|job| match job {
        Job::Train(job) => Some((job.scratch_dir.file_name()?.to_string_lossy().into_owned(), job.clone())),
        _ => None,
    });
    (state, trainings.filter(|(name, _)| name.starts_with("s1.e2")).collect())
}

#[test]
fn a_variant_that_only_trains_longer_goes_on_from_the_shorter_one() {
    // Rungs at a third and the whole of the steps: 4 and 12, then 8 and 24.
    let (state, jobs) = run(SchedulerType::ConstantWithWarmup, &[12, 24]);
    let shared = |name: &str| {
        let job = &jobs.iter().find(|(found, _)| found == name).unwrap().1;
        job.resume_config.as_ref().map(|config| config.max_steps)
    };
    assert_eq!((shared("s1.e2.a-r0-s0"), shared("s1.e2.a-r1-s0")), (Some(12), Some(12)));
    let trial = |rung: usize| &state.trials[&(variant_id("s1.e2.a"), rung, 0)];
    let from = |rung: usize| trial(rung).continues.as_ref().map(|one| (one.rung, one.steps));
    assert_eq!((from(0), from(1)), (Some((0, 4)), Some((1, 12))), "the lower rung did less than the shorter one");
    let checkpoint = state.trials[&(variant_id("s1.e1.a"), 1, 0)].done.as_ref().unwrap().checkpoint.to_string();
    let job = &jobs.iter().find(|(name, _)| name == "s1.e2.a-r1-s0").unwrap().1;
    assert!(job.resume_from.as_ref().unwrap().to_string_lossy().contains(&checkpoint));
    let note = state.variants[&variant_id("s1.e2.a")].note.clone().unwrap();
    assert_eq!(note, "goes on from s1.e1.a at step 12, up to which both are equal");
}

#[test]
fn a_schedule_that_depends_on_the_length_begins_anew() {
    let (state, jobs) = run(SchedulerType::Cosine, &[12, 24]);
    assert!(jobs.iter().all(|(_, job)| job.resume_config.is_none()));
    assert!(state.trials.values().all(|trial| trial.continues.is_none()));
    assert_eq!(state.variants[&variant_id("s1.e2.a")].note, None);
}

#[test]
fn the_same_weights_are_never_scored_twice_on_the_same_items() {
    let mut world = World::new(Surface::Effect(0.3));
    let state = world.start().unwrap();
    // What is delivered is read back from its folder, which is what that check is for.
    let delivered = state.trials[&(state.incumbent.clone().unwrap(), 1, 0)].done.as_ref().unwrap().adapter.to_string();
    for (name, times) in &*world.executor.scorings.borrow() {
        let is_check = name.starts_with("select") && name.contains(&delivered);
        assert_eq!(*times, 1 + usize::from(is_check), "{name}");
    }
}

#[test]
fn what_a_trial_will_cost_is_set_aside_until_it_is_over() {
    let mut world = World::new(Surface::Effect(0.3));
    let state = world.start().unwrap();
    let forecasts = state.trial_order.iter().filter(|key| state.trials[*key].reserved.cpu_s > 0.0).count();
    assert!(forecasts + 1 >= state.trials.len(), "the first has nothing to be told from");
    assert_eq!(state.reserved(), trex_domain::Cost::default(), "at the end all is settled");
    let error = state.forecast_error().unwrap();
    assert!(error.of > 5 && error.factor >= 1.0, "{error:?}");
    let mut running = RunState::default();
    let mut most: f64 = 0.0;
    for event in world.events() {
        running.apply(&event).unwrap();
        most = most.max(running.reserved().cpu_s);
    }
    assert!(most > 0.0);
}
