//! The event log in memory, with the rules of the real one: legal events only, whole batches, no gaps. Not durable.

use std::collections::BTreeMap;

use trex_domain::{DomainError, Event, EventLog, Millis, RunId, RunState, StoredEvent};

/// A fake of the store's event log.
#[derive(Clone, Debug, Default)]
pub struct MemoryLog {
    runs: BTreeMap<RunId, (RunState, Vec<StoredEvent>)>,
}

impl MemoryLog {
    /// An empty log.
    pub fn new() -> Self {
        Self::default()
    }

    /// The folded state of a run; the empty state for a run that is not there.
    pub fn state(&self, run: RunId) -> RunState {
        self.runs.get(&run).map(|(state, _)| state.clone()).unwrap_or_default()
    }

    /// The runs in order of creation.
    pub fn runs(&self) -> Vec<RunId> {
        self.runs.keys().copied().collect()
    }

    /// The stable kinds of a run's events, in order: the shortest form to compare with.
    pub fn kinds(&self, run: RunId) -> Vec<&'static str> {
        let events = self.runs.get(&run).map(|(_, events)| events.as_slice()).unwrap_or_default();
        events.iter().map(|stored| stored.event.kind()).collect()
    }
}

impl EventLog for MemoryLog {
    type Error = DomainError;

    fn append(&mut self, run: RunId, at: Millis, events: Vec<Event>) -> Result<Vec<StoredEvent>, DomainError> {
        let mut state = self.state(run);
        let mut batch = Vec::with_capacity(events.len());
        for event in events {
            let stored = StoredEvent { seq: state.seq + 1, run, at, event };
            state.apply_stored(&stored)?;
            batch.push(stored);
        }
        if !batch.is_empty() {
            let entry = self.runs.entry(run).or_default();
            entry.0 = state;
            entry.1.extend_from_slice(&batch);
        }
        Ok(batch)
    }

    fn events(&self, run: RunId, after: u64) -> Result<Vec<StoredEvent>, DomainError> {
        let events = self.runs.get(&run).map(|(_, events)| events.as_slice()).unwrap_or_default();
        Ok(events.iter().filter(|stored| stored.seq > after).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{START, finished_run, run_id, started};

    #[test]
    fn a_batch_with_an_illegal_event_leaves_nothing() {
        let mut log = MemoryLog::new();
        assert!(log.append(run_id(1), START, vec![started(1), started(1)]).is_err());
        assert_eq!(log.runs(), []);
        let stored = log.append(run_id(1), START, finished_run()).unwrap();
        assert_eq!(log.events(run_id(1), 3).unwrap(), stored[3..]);
        assert!(log.state(run_id(1)).verdict.is_some());
        assert_eq!(log.kinds(run_id(1))[0], "run_started");
    }
}
