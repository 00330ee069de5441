//! What is read from an open database; reader and writer share it. Writes nothing.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, Row};
use serde::Serialize;
use trex_domain::{Event, Millis, RunId, RunState, StoredEvent};

use crate::{DamageCause, StoreError};

/// Whether a run has ended. A run that is neither ended nor worked on by a live writer is interrupted; that is for the
/// caller to tell, because the database alone cannot know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// It has no verdict yet.
    Running,
    /// It has its verdict.
    Finished,
}

impl RunStatus {
    /// The stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Finished => "finished",
        }
    }

    fn from_name(name: &str) -> Self {
        // The table allows these two only.
        if name == "finished" { Self::Finished } else { Self::Running }
    }
}

/// A run at a glance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RunSummary {
    /// Id.
    pub id: RunId,
    /// Name of its task.
    pub name: String,
    /// Whether it has ended.
    pub status: RunStatus,
    /// Time of its first event.
    pub created: Millis,
    /// Time of its last event.
    pub updated: Millis,
    /// Its seed.
    pub seed: u64,
}

/// An open database with its path for messages.
#[derive(Debug)]
pub(crate) struct Database {
    pub(crate) path: PathBuf,
    pub(crate) connection: Connection,
}

impl Database {
    pub(crate) fn new(path: PathBuf, connection: Connection) -> Self {
        Self { path, connection }
    }

    /// All runs, the newest first.
    pub(crate) fn runs(&self) -> Result<Vec<RunSummary>, StoreError> {
        let sqlite = |err| StoreError::sqlite("list runs", &self.path, err);
        let sql = "SELECT id, name, status, created_ms, updated_ms, seed FROM runs ORDER BY created_ms DESC, id DESC";
        let mut statement = self.connection.prepare_cached(sql).map_err(sqlite)?;
        let mut rows = statement.query([]).map_err(sqlite)?;
        let mut runs = Vec::new();
        while let Some(row) = rows.next().map_err(sqlite)? {
            let id: String = row.get(0).map_err(sqlite)?;
            let id = id.parse().map_err(|err| damaged(&self.path, DamageCause::BadRunId(err)))?;
            runs.push(summary_from_row(id, row).map_err(sqlite)?);
        }
        Ok(runs)
    }

    /// Events of a run with `seq > after`, without a gap.
    pub(crate) fn events(&self, run: RunId, after: u64) -> Result<Vec<StoredEvent>, StoreError> {
        let sqlite = |err| StoreError::sqlite("read events", &self.path, err);
        let sql = "SELECT seq, at_ms, kind, body FROM events WHERE run_id = ?1 AND seq > ?2 ORDER BY seq";
        let mut statement = self.connection.prepare_cached(sql).map_err(sqlite)?;
        let after_number = i64::try_from(after).unwrap_or(i64::MAX);
        let mut rows = statement.query((run.to_string(), after_number)).map_err(sqlite)?;
        let mut events: Vec<StoredEvent> = Vec::new();
        while let Some(row) = rows.next().map_err(sqlite)? {
            let raw = RawEvent::from_row(row).map_err(sqlite)?;
            let expected = after + events.len() as u64 + 1;
            if raw.seq != expected {
                return Err(damaged(&self.path, DamageCause::MissingEvent { run, expected }));
            }
            events.push(self.event_from_raw(run, raw)?);
        }
        Ok(events)
    }

    /// The state of a run, folded from its events; an error where there is no such run.
    pub(crate) fn state(&self, run: RunId) -> Result<RunState, StoreError> {
        let events = self.events(run, 0)?;
        if events.is_empty() {
            return Err(StoreError::UnknownRun { path: self.path.clone(), run });
        }
        RunState::from_events(&events).map_err(|source| damaged(&self.path, DamageCause::Contradiction { run, source }))
    }

    fn event_from_raw(&self, run: RunId, raw: RawEvent) -> Result<StoredEvent, StoreError> {
        let RawEvent { seq, at, kind, body } = raw;
        let event: Event = serde_json::from_str(&body).map_err(|source| {
            if source.is_data() {
                return StoreError::UnknownEvent { run, seq, kind, source };
            }
            damaged(&self.path, DamageCause::EventNotJson { run, seq, source })
        })?;
        Ok(StoredEvent { seq, run, at, event })
    }
}

/// A row of the events table.
struct RawEvent {
    seq: u64,
    at: Millis,
    kind: String,
    body: String,
}

impl RawEvent {
    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        let seq: i64 = row.get(0)?;
        Ok(Self { seq: u64::try_from(seq).unwrap_or(0), at: Millis(row.get(1)?), kind: row.get(2)?, body: row.get(3)? })
    }
}

fn summary_from_row(id: RunId, row: &Row<'_>) -> rusqlite::Result<RunSummary> {
    let status: String = row.get(2)?;
    let seed: i64 = row.get(5)?;
    Ok(RunSummary {
        id,
        name: row.get(1)?,
        status: RunStatus::from_name(&status),
        created: Millis(row.get(3)?),
        updated: Millis(row.get(4)?),
        seed: seed.cast_unsigned(),
    })
}

fn damaged(path: &Path, cause: DamageCause) -> StoreError {
    StoreError::Damaged { path: path.to_owned(), cause }
}
