//! An event log that refuses one append, as when the program or its disk dies at that moment. Works again afterwards.

use trex_domain::{DomainError, ErrorClass, Event, EventLog, Millis, Problem, RunId, StoredEvent};

use crate::MemoryLog;

/// Whether the events of the refused append are in the log all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dies {
    /// The transaction was not committed.
    BeforeStoring,
    /// It was, but the program did not live to hear of it.
    AfterStoring,
}

/// The error of a [`FailingLog`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FailingLogError {
    /// The planned death.
    #[error("the program dies here")]
    Planned,
    /// Events that the log would refuse in any case.
    #[error(transparent)]
    Domain(#[from] DomainError),
}

impl Problem for FailingLogError {
    fn code(&self) -> &'static str {
        match self {
            Self::Planned => "testkit.planned_death",
            Self::Domain(err) => err.code(),
        }
    }

    fn class(&self) -> ErrorClass {
        match self {
            Self::Planned => ErrorClass::Resource,
            Self::Domain(err) => err.class(),
        }
    }
}

/// A [`MemoryLog`] whose appends can be made to fail.
#[derive(Clone, Debug, Default)]
pub struct FailingLog {
    log: MemoryLog,
    planned: Option<(usize, Dies)>,
    num_appends: usize,
    lost: Vec<Event>,
}

impl FailingLog {
    /// A log that never fails.
    pub fn new() -> Self {
        Self::default()
    }

    /// Plans a death at the append with this number from here, counted from 0.
    pub fn die_at(&mut self, append: usize, dies: Dies) {
        self.planned = Some((self.num_appends + append, dies));
    }

    /// Appends so far, the refused ones included.
    pub fn num_appends(&self) -> usize {
        self.num_appends
    }

    /// Events that were refused and not stored, over all deaths.
    pub fn lost(&self) -> &[Event] {
        &self.lost
    }

    /// What is stored.
    pub fn stored(&self) -> &MemoryLog {
        &self.log
    }
}

impl EventLog for FailingLog {
    type Error = FailingLogError;

    fn append(&mut self, run: RunId, at: Millis, events: Vec<Event>) -> Result<Vec<StoredEvent>, FailingLogError> {
        let number = self.num_appends;
        self.num_appends += 1;
        let dies = self.planned.take_if(|(planned, _)| *planned == number).map(|(_, dies)| dies);
        if dies == Some(Dies::BeforeStoring) {
            self.lost.extend(events);
            return Err(FailingLogError::Planned);
        }
        let stored = self.log.append(run, at, events)?;
        if dies.is_some() { Err(FailingLogError::Planned) } else { Ok(stored) }
    }

    fn events(&self, run: RunId, after: u64) -> Result<Vec<StoredEvent>, FailingLogError> {
        Ok(self.log.events(run, after)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{START, run_id, started};

    #[track_caller]
    fn check(dies: Dies, num_stored: usize, num_lost: usize) {
        let mut log = FailingLog::new();
        let warning = Event::Warned { code: "x".to_owned(), message: "y".to_owned() };
        log.append(run_id(1), START, vec![started(1)]).unwrap();
        log.die_at(1, dies);
        log.append(run_id(1), START, vec![warning.clone()]).unwrap();
        assert!(matches!(log.append(run_id(1), START, vec![warning.clone()]), Err(FailingLogError::Planned)));
        log.append(run_id(1), START, vec![warning]).unwrap();
        assert_eq!(
            (log.stored().kinds(run_id(1)).len(), log.lost().len(), log.num_appends()),
            (num_stored, num_lost, 4)
        );
    }

    #[test]
    fn one_append_fails_before_or_after_it_is_stored() {
        check(Dies::BeforeStoring, 3, 1);
        check(Dies::AfterStoring, 4, 0);
    }
}
