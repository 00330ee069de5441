//! Forecasts on workers that take known times, and beside a whole run on fakes.

use std::cell::Cell;
use std::sync::atomic::{AtomicI64, Ordering};

use trex_domain::{Clock, Executor, Job, JobControl, JobOutcome, Millis, TaskSpec};
use trex_engine::{EngineError, Forecast, ForecastRequest, forecast};
use trex_search::plan_run;

use crate::fakes::{FakeExecutor, Surface};
use crate::world::World;

/// A clock that goes on when a worker works.
#[derive(Debug, Default)]
struct WorkClock(AtomicI64);

impl Clock for WorkClock {
    fn now(&self) -> Millis {
        Millis(self.0.load(Ordering::Relaxed))
    }
}

const TRAINING_MS: i64 = 400;
const STEP_MS: i64 = 50;
const SCORING_MS: i64 = 300;
const ITEM_MS: i64 = 20;

/// Fakes that take their time.
struct Timed<'a> {
    inner: &'a FakeExecutor,
    clock: &'a WorkClock,
}

impl Executor for Timed<'_> {
    fn run(&self, job: &Job, control: &mut dyn JobControl) -> JobOutcome {
        let units = |count: usize| i64::try_from(count).unwrap();
        let took = match job {
            Job::Train(job) => TRAINING_MS + STEP_MS * units(job.stop_step),
            Job::Eval(job) => SCORING_MS + ITEM_MS * units(job.take),
            Job::DryRun(_) | Job::Embed(_) | Job::Answer(_) => 0,
        };
        self.clock.0.fetch_add(took, Ordering::Relaxed);
        self.inner.run(job, control)
    }
}

fn forecast_of(world: &World, goes_on: &dyn Fn() -> bool) -> Result<Forecast, EngineError> {
    let clock = WorkClock::default();
    let executor = Timed { inner: &world.executor, clock: &clock };
    let request = ForecastRequest { task: &world.task, seed: 1, settings: &world.settings, clock: &clock, goes_on };
    forecast(&request, &world.data, &executor)
}

/// The finished jobs of a run, as the same counts as its plan.
fn done(world: &World, task: &TaskSpec) -> (usize, usize, usize) {
    let jobs = world.executor.jobs.borrow();
    let trained = jobs.iter().filter_map(|job| match job {
        Job::Train(job) if job.resume_from.is_some() => Some(job.stop_step - task.rung_steps(job.total_steps, 0)),
        Job::Train(job) => Some(job.stop_step),
        _ => None,
    });
    let steps: Vec<usize> = trained.collect();
    let items = jobs.iter().filter_map(|job| if let Job::Eval(job) = job { Some(job.take) } else { None }).sum();
    (steps.len(), steps.iter().sum(), items)
}

#[test]
fn time_is_what_was_measured_times_what_a_run_has_before_it() {
    let world = World::new(Surface::Null);
    let found = forecast_of(&world, &|| true).unwrap();
    let time = found.time.unwrap();
    let near = |a: f64, b: f64| (a - b).abs() < 1e-6;
    assert!(near(time.step_s, 0.05) && near(time.item_s, 0.02), "{time:?}");
    let plan = plan_run(&world.task, found.rows, true);
    let parts =
        [(plan.trainings, TRAINING_MS), (plan.steps, STEP_MS), (plan.scorings, SCORING_MS), (plan.items, ITEM_MS)];
    let expected: f64 = parts.iter().map(|(count, ms)| *count as f64 * *ms as f64 / 1000.0).sum();
    assert!(near(time.run_s, expected), "{time:?}, {expected}");
    assert_eq!((time.trials, time.limit_s), (plan.trials, None));
}

/// A run whose batches are narrower scores a little more on the top rung, and its export once.
#[test]
fn a_whole_run_is_near_its_plan() {
    let mut world = World::new(Surface::Effect(0.3));
    // Where the finalist is the first winner, a repeat that is planned for has been made already; one more would be much of so few.
    (world.task.budget.trials, world.task.search.finalist_seeds) = (14, 1);
    let plan = plan_run(&world.task, forecast_of(&world, &|| true).unwrap().rows, true);
    world.begin_anew();
    world.start().unwrap();
    let (trainings, steps, items) = done(&world, &world.task);
    let near = |done: usize, planned: usize| (done as f64 / planned as f64 - 1.0).abs() < 0.1;
    let found = format!("{trainings} trainings, {steps} steps, {items} items of {plan:?}");
    assert!(near(trainings, plan.trainings) && near(steps, plan.steps) && near(items, plan.items), "{found}");
}

#[test]
fn what_does_not_fit_is_refused_and_nothing_is_trained() {
    let mut world = World::new(Surface::Null);
    world.settings.machine_bytes = 1 << 20;
    let found = forecast_of(&world, &|| true).unwrap();
    assert_eq!(found.refused.unwrap().code, "verify.memory");
    assert!(found.time.is_none() && found.memory.needed_bytes > found.memory.available_bytes);
    assert!(world.executor.jobs.borrow().is_empty());
}

#[test]
fn a_forecast_can_be_stopped() {
    let world = World::new(Surface::Null);
    let asked = Cell::new(0);
    let goes_on = || {
        asked.set(asked.get() + 1);
        asked.get() < 2
    };
    assert!(matches!(forecast_of(&world, &goes_on), Err(EngineError::Stopped)));
    assert_eq!(world.executor.jobs.borrow().len(), 1);
}
