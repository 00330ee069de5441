//! What runs take from earlier ones and give to later ones, with a memory that keeps lessons in a list.

use std::sync::{Arc, Mutex};

use trex_domain::{
    ErrorClass, Event, FoundPassage, Knowledge, KnowledgeError, KnownInsight, Lesson, Memory, Problem, RunState,
    SimilarTask, StrategyKind, TaskFeatures, similarity,
};

use crate::fakes::Surface;
use crate::researcher::{FakeResearcher, plan, rates};
use crate::world::{World, settled};

#[derive(Debug, Default)]
struct Lessons {
    learned: Mutex<Vec<Lesson>>,
    is_broken: bool,
}

#[derive(Debug, thiserror::Error)]
#[error("the list is lost")]
struct Lost;

impl Problem for Lost {
    fn code(&self) -> &'static str {
        "fake.lost"
    }

    fn class(&self) -> ErrorClass {
        ErrorClass::Permanent
    }
}

impl Lessons {
    fn check(&self) -> Result<(), KnowledgeError> {
        if self.is_broken { Err(Box::new(Lost)) } else { Ok(()) }
    }
}

impl Knowledge for Lessons {
    fn passages(&self, _question: &str, _limit: usize) -> Result<Vec<FoundPassage>, KnowledgeError> {
        Ok(Vec::new())
    }

    fn insights(&self, _task: &TaskFeatures, _limit: usize) -> Result<Vec<KnownInsight>, KnowledgeError> {
        Ok(Vec::new())
    }

    fn similar_tasks(&self, task: &TaskFeatures, _limit: usize) -> Result<Vec<SimilarTask>, KnowledgeError> {
        self.check()?;
        let similar = |lesson: &Lesson| SimilarTask {
            key: lesson.task.key().unwrap(),
            similarity: similarity(task, &lesson.task, None),
            features: lesson.task.clone(),
            lab: "here".to_owned(),
            experiments: lesson.experiments.clone(),
            rejections: lesson.rejections.clone(),
        };
        Ok(self.learned.lock().unwrap().iter().map(similar).collect())
    }
}

impl Memory for Lessons {
    fn learn(&self, lesson: &Lesson) -> Result<(), KnowledgeError> {
        self.check()?;
        let mut learned = self.learned.lock().unwrap();
        learned.retain(|one| one.run != lesson.run);
        learned.push(lesson.clone());
        Ok(())
    }
}

/// Three batches of learning rates, the best of which (1e-3) comes last.
fn world(seed: u64, memory: Arc<Lessons>) -> World {
    let mut world = World::new(Surface::Effect(0.45));
    let batches = vec![rates(&[2e-5, 3e-5, 5e-5]), rates(&[1e-4, 2e-4, 3e-4]), rates(&[8e-4, 1e-3, 1.2e-3])];
    world.researcher = FakeResearcher(vec![plan(StrategyKind::AdjustTraining, 0.5, batches)]);
    world.seed = seed;
    world.settings.memory = Some(memory);
    world
}

/// Trials that were started before a winner reached a gain over the base on the select split.
fn trials_until(events: &[Event], state: &RunState, gain: f64) -> Option<usize> {
    let base = state.select_score(None).unwrap().value;
    let reached = events.iter().position(
        |event| matches!(event, Event::ExperimentFinished { value: Some(value), .. } if value - base >= gain - 1e-9),
    )?;
    Some(events[..reached].iter().filter(|event| matches!(event, Event::TrialStarted { .. })).count())
}

#[test]
fn a_second_task_reaches_the_first_ones_gain_in_fewer_trials() {
    let memory = Arc::new(Lessons::default());
    let mut first = world(1, memory.clone());
    let cold = first.start().unwrap();
    assert_eq!(cold.warm_start, None);
    let best = cold.select_score(cold.incumbent.as_ref()).unwrap().value - cold.select_score(None).unwrap().value;
    // Four fifths: a select split of forty items is a rough measure.
    let wanted = 0.8 * best;
    let needed = trials_until(&first.events(), &cold, wanted).unwrap();

    let mut second = world(2, memory.clone());
    let warm = second.start().unwrap();
    let taken = warm.warm_start.clone().unwrap();
    assert!((taken.first[0].config.learning_rate - 1e-3).abs() < 3e-4, "{taken:?}");
    assert!(taken.tasks[0].similarity > 0.9 && !taken.observations.is_empty());
    let with_help = trials_until(&second.events(), &warm, wanted).unwrap();
    assert!(2 * with_help <= needed, "{with_help} of {needed} trials");

    let mut third = world(2, memory);
    third.settings.warm_start = false;
    let without = third.start().unwrap();
    assert_eq!(without.warm_start, None);
    assert!(trials_until(&third.events(), &without, wanted).unwrap() > with_help);
}

#[test]
fn every_finished_experiment_is_taught_and_the_end() {
    let memory = Arc::new(Lessons::default());
    let state = world(1, memory.clone()).start().unwrap();
    let learned = memory.learned.lock().unwrap();
    assert_eq!(learned.len(), 1);
    assert_eq!((learned[0].verdict, learned[0].seed), (state.verdict, 1));
    assert_eq!(learned[0].experiments.len(), 9);
    assert!(!learned[0].evidence.is_empty());
}

#[test]
fn what_was_taken_stays_taken_when_a_run_is_resumed() {
    let memory = Arc::new(Lessons::default());
    world(1, memory.clone()).start().unwrap();
    let known = memory.learned.lock().unwrap().clone();
    let undisturbed = world(2, memory.clone()).start().unwrap();
    // The list as it was before that run.
    *memory.learned.lock().unwrap() = known;
    let mut stopped = world(2, memory.clone());
    stopped.observer.stop_at = Some(30);
    assert!(stopped.start().is_err());
    // What is learned in the meantime changes nothing.
    memory.learned.lock().unwrap().clear();
    stopped.observer.stop_at = None;
    let resumed = stopped.resume().unwrap();
    assert!(resumed.warm_start.is_some());
    assert_eq!(settled(&resumed), settled(&undisturbed));
}

#[test]
fn trouble_with_the_memory_is_told_and_ends_nothing() {
    let memory = Arc::new(Lessons { is_broken: true, ..Lessons::default() });
    let mut world = world(1, memory);
    let state = world.start().unwrap();
    assert!(state.verdict.is_some() && state.warm_start.is_none());
    let told = |event: &&Event| matches!(event, Event::Warned { code, .. } if code == "fake.lost");
    assert_eq!(world.events().iter().filter(told).count(), 2, "{:?}", state.warnings);
}
