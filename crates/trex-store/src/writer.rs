//! The one writer of a workspace: checks that events may follow, then writes them with the rows derived from them.

use std::collections::BTreeMap;

use rusqlite::TransactionBehavior;
use trex_domain::{Event, EventLog, Millis, RunId, RunState, StoredEvent};

use crate::database::Database;
use crate::lease::Lease;
use crate::projection::{self, Projection};
use crate::{RunSummary, StoreError, Workspace};

/// A workspace that is open for writing. Appending is through [`EventLog`]; dropping it gives the lease back.
#[derive(Debug)]
pub struct Writer {
    workspace: Workspace,
    // Before the lease, so that it is closed before another writer may come.
    database: Database,
    /// States as of the last commit.
    states: BTreeMap<RunId, RunState>,
    _lease: Lease,
}

/// A batch that may follow, with the bodies that will be stored.
struct Batch {
    events: Vec<StoredEvent>,
    bodies: Vec<String>,
    task: String,
    state: RunState,
}

impl Writer {
    pub(crate) fn new(workspace: Workspace, database: Database, lease: Lease) -> Self {
        Self { workspace, database, states: BTreeMap::new(), _lease: lease }
    }

    /// The folder.
    pub fn workspace(&self) -> &Workspace {
        &self.workspace
    }

    /// All runs, the newest first.
    pub fn runs(&self) -> Result<Vec<RunSummary>, StoreError> {
        self.database.runs()
    }

    /// The newest run, where there is one.
    pub fn latest_run(&self) -> Result<Option<RunSummary>, StoreError> {
        Ok(self.runs()?.into_iter().next())
    }

    /// The state of a run; an error where there is no such run.
    pub fn state(&self, run: RunId) -> Result<RunState, StoreError> {
        match self.states.get(&run) {
            Some(state) => Ok(state.clone()),
            None => self.database.state(run),
        }
    }

    /// The state that the next batch is checked against; empty for a new run.
    fn state_or_new(&self, run: RunId) -> Result<RunState, StoreError> {
        match self.state(run) {
            Err(StoreError::UnknownRun { .. }) => Ok(RunState::default()),
            known => known,
        }
    }

    /// Writes a batch in one transaction.
    fn commit(&mut self, run: RunId, before: &RunState, batch: &Batch) -> rusqlite::Result<()> {
        let connection = &mut self.database.connection;
        let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        projection::write_run(&tx, run, &batch.state, &batch.task)?;
        let run_text = run.to_string();
        let mut statement =
            tx.prepare_cached("INSERT INTO events (run_id, seq, at_ms, kind, body) VALUES (?1, ?2, ?3, ?4, ?5)")?;
        for (stored, body) in batch.events.iter().zip(&batch.bodies) {
            statement.execute((&run_text, stored.seq.cast_signed(), stored.at.0, stored.event.kind(), body))?;
        }
        drop(statement);
        let rows = Projection::from_state(&batch.state);
        rows.write_changes(&Projection::from_state(before), &tx, &run_text)?;
        tx.commit()
    }
}

impl EventLog for Writer {
    type Error = StoreError;

    /// Appends events in one durable transaction, or none of them. A run begins with its first event.
    ///
    /// What is returned, and folded into the state, is what a reader will get: the events after their way through JSON.
    fn append(&mut self, run: RunId, at: Millis, events: Vec<Event>) -> Result<Vec<StoredEvent>, StoreError> {
        if events.is_empty() {
            return Ok(Vec::new());
        }
        let before = self.state_or_new(run)?;
        let batch = checked_batch(run, at, &before, events)?;
        // Should the commit fail half-way, the state is read anew from what is on the disk.
        self.states.remove(&run);
        self.commit(run, &before, &batch)
            .map_err(|err| StoreError::sqlite("append events", &self.database.path, err))?;
        self.states.insert(run, batch.state);
        Ok(batch.events)
    }

    fn events(&self, run: RunId, after: u64) -> Result<Vec<StoredEvent>, StoreError> {
        self.database.events(run, after)
    }
}

fn checked_batch(run: RunId, at: Millis, before: &RunState, events: Vec<Event>) -> Result<Batch, StoreError> {
    let mut state = before.clone();
    let mut stored_events = Vec::with_capacity(events.len());
    let mut bodies = Vec::with_capacity(events.len());
    for event in events {
        let (event, body) = as_stored(&event)?;
        let stored = StoredEvent { seq: state.seq + 1, run, at, event };
        state.apply_stored(&stored).map_err(|source| StoreError::IllegalEvent { run, source })?;
        stored_events.push(stored);
        bodies.push(body);
    }
    let task =
        serde_json::to_string(&state.task).map_err(|source| StoreError::NotStorable { kind: "run_started", source })?;
    Ok(Batch { events: stored_events, bodies, task, state })
}

/// An event as it will be read, and its JSON. Text may change the last bit of a number, and has no form for NaN.
fn as_stored(event: &Event) -> Result<(Event, String), StoreError> {
    let not_storable = |source| StoreError::NotStorable { kind: event.kind(), source };
    let body = serde_json::to_string(event).map_err(not_storable)?;
    let read = serde_json::from_str(&body).map_err(not_storable)?;
    Ok((read, body))
}

#[cfg(test)]
mod tests {
    use trex_domain::{ErrorClass, Problem as _};
    use trex_testkit::{FixedClock, START, TempWorkspace, finished_run, run_id, started};

    use super::*;

    fn new_writer(folder: &TempWorkspace) -> Writer {
        Workspace::init(folder.path(), &FixedClock::default()).unwrap();
        Workspace::open_writer(folder.path(), &FixedClock::default()).unwrap()
    }

    fn warning(letters: usize) -> Event {
        Event::Warned { code: "test.long".to_owned(), message: "x".repeat(letters) }
    }

    #[test]
    fn a_full_disk_leaves_the_list_as_it_was() {
        let folder = TempWorkspace::empty();
        let mut writer = new_writer(&folder);
        writer.append(run_id(1), START, vec![started(1)]).unwrap();
        let pragma = |writer: &Writer, pages: i64| {
            let sql = format!("PRAGMA max_page_count = {pages}");
            writer.database.connection.query_row(&sql, [], |row| row.get::<_, i64>(0)).unwrap();
        };
        pragma(&writer, 1);
        let err = writer.append(run_id(1), START, vec![warning(9), warning(100_000)]).unwrap_err();
        assert_eq!((err.code(), err.class()), ("store.disk_full", ErrorClass::Resource));
        assert!(err.hint().is_some());
        pragma(&writer, 1 << 20);
        assert_eq!(writer.events(run_id(1), 0).unwrap().len(), 1);
        let stored = writer.append(run_id(1), START, vec![warning(100_000)]).unwrap();
        assert_eq!(stored[0].seq, 2);
    }

    #[test]
    fn a_database_that_may_not_be_written_is_called_read_only() {
        let folder = TempWorkspace::empty();
        let mut writer = new_writer(&folder);
        writer.database.connection.pragma_update(None, "query_only", true).unwrap();
        let err = writer.append(run_id(1), START, vec![started(1)]).unwrap_err();
        assert_eq!((err.code(), err.class()), ("store.read_only", ErrorClass::Permanent));
        assert!(err.hint().is_some());
    }

    #[track_caller]
    fn check_rows(writer: &Writer, sql: &str, expected: &[&str]) {
        let mut statement = writer.database.connection.prepare(sql).unwrap();
        let rows: Vec<String> = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        assert_eq!(rows, expected, "{sql}");
    }

    #[test]
    fn derived_rows_follow_the_events() {
        let folder = TempWorkspace::empty();
        let mut writer = new_writer(&folder);
        for event in finished_run() {
            writer.append(run_id(1), START, vec![event]).unwrap();
        }
        check_rows(&writer, "SELECT name || ' ' || status || ' ' || seed FROM runs", &["sentiment finished 7"]);
        check_rows(
            &writer,
            "SELECT concat_ws(' ', node, parent, kind, value, finished) FROM nodes ORDER BY node",
            &["base base 0.56 1", "s1 base strategy 0", "s1.e1 s1 experiment 0.67 1"],
        );
        check_rows(
            &writer,
            "SELECT concat_ws(' ', variant, node, state, rung, key IS NULL) FROM variants ORDER BY variant",
            &["s1.e1.a s1.e1 evaluated 1 0", "s1.e1.b s1.e1 pruned 0 0", "s1.e1.c s1.e1 rejected 0 1"],
        );
        check_rows(
            &writer,
            "SELECT concat_ws(' ', variant, rung, seed, status, attempts, length(adapter)) FROM trials ORDER BY 1",
            &["s1.e1.a 0 0 scored 1 64", "s1.e1.a 1 0 scored 1 64", "s1.e1.b 0 0 scored 1 64"],
        );
        check_rows(
            &writer,
            "SELECT concat_ws(' ', subject, split, seed, rung, metric, value) FROM scores
             WHERE split <> 'search' ORDER BY 1",
            &[
                "base final 0 -1 accuracy 0.54",
                "base select 0 -1 accuracy 0.56",
                "base select 1 -1 accuracy 0.57",
                "s1.e1.a final 0 -1 accuracy 0.69",
                "s1.e1.a select 0 1 accuracy 0.67",
            ],
        );
    }

    #[test]
    fn each_commit_reaches_the_disk() {
        let folder = TempWorkspace::empty();
        let writer = new_writer(&folder);
        let pragma = |name: &str| -> String {
            let sql = format!("SELECT CAST({name} AS TEXT) FROM pragma_{name}");
            writer.database.connection.query_row(&sql, [], |row| row.get(0)).unwrap()
        };
        // 2 is FULL: https://www.sqlite.org/pragma.html#pragma_synchronous
        assert_eq!((pragma("synchronous"), pragma("journal_mode")), ("2".to_owned(), "wal".to_owned()));
        assert_eq!(pragma("foreign_keys"), "1");
    }
}
