//! What a run takes from earlier ones before its search begins, and what it gives to later ones as it goes. Both pass
//! through the event log: what is taken is an event, what is given is folded from the events. Trouble with the knowledge
//! base never ends a run; it is said once.

use trex_domain::{
    DataPort, Event, EventLog, Executor, Exporter, KnowledgeError, KnownInsight, Lesson, Memory, Researcher,
    SimilarTask, TaskFeatures, WarmStart,
};

use super::Driver;
use crate::{EngineError, PortError};

/// Similar tasks that are asked for.
const NUM_TASKS: usize = 8;

/// Insights that are taken along.
const NUM_INSIGHTS: usize = 5;

/// How a process stands with the memory. Not part of the state: asking and teaching again change nothing.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Whether it was asked.
    asked: bool,
    /// Finished experiments, and whether the run had ended, when it was taught last.
    taught: (usize, bool),
    /// Whether trouble was told.
    told: bool,
}

impl<L: EventLog, D: DataPort, X: Executor, R: Researcher, E: Exporter> Driver<'_, L, D, X, R, E> {
    /// What similar past tasks have to give, once, before strategies are asked for.
    pub(super) fn recall(&mut self) -> Result<Option<Event>, EngineError> {
        let is_wanted = self.settings.warm_start && self.state.warm_start.is_none() && !self.memory.asked;
        let (Some(memory), true) = (&self.settings.memory, is_wanted) else { return Ok(None) };
        self.memory.asked = true;
        let Some(features) = TaskFeatures::of(&self.state) else { return Ok(None) };
        match known(&**memory, &features) {
            Ok((similar, insights)) => {
                let warm_start = WarmStart::of(&self.state.task()?.train, &similar, &insights)?;
                Ok(warm_start.map(|warm_start| Event::WarmStarted { warm_start: Box::new(warm_start) }))
            }
            Err(err) => Ok(Some(trouble("nothing was taken from earlier runs", &err))),
        }
    }

    /// Hands on what the run has taught, whenever an experiment or the run has ended.
    pub(super) fn teach(&mut self) -> Result<(), EngineError> {
        let Some(memory) = self.settings.memory.clone() else { return Ok(()) };
        let finished = self.state.nodes.values().filter(|node| node.finished).count();
        let now = (finished, self.state.verdict.is_some());
        if now == self.memory.taught {
            return Ok(());
        }
        self.memory.taught = now;
        let events = self.ports.log.events(self.run, 0).map_err(|err| EngineError::Log(PortError::new(err)))?;
        let Some(lesson) = Lesson::of(&events)? else { return Ok(()) };
        match memory.learn(&lesson) {
            Err(err) if !self.memory.told => {
                self.memory.told = true;
                self.record(vec![trouble("later runs may not learn from this one", &err)])
            }
            _ => Ok(()),
        }
    }
}

fn known(
    memory: &dyn Memory,
    features: &TaskFeatures,
) -> Result<(Vec<SimilarTask>, Vec<KnownInsight>), KnowledgeError> {
    Ok((memory.similar_tasks(features, NUM_TASKS)?, memory.insights(features, NUM_INSIGHTS)?))
}

fn trouble(what: &str, err: &KnowledgeError) -> Event {
    Event::Warned { code: err.code().to_owned(), message: format!("{what}: {err}") }
}
