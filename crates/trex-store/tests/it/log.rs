use proptest::prelude::*;
use rusqlite::Connection;
use trex_domain::{Clock as _, ErrorClass, Event, EventLog as _, Problem as _, RunState};
use trex_store::{RunStatus, StoreError, Workspace, Writer};
use trex_testkit::{
    FixedClock, MemoryLog, START, SteppingClock, TempWorkspace, cost, finished_run, legal_events, run_id, score,
    started, task,
};

fn open(folder: &TempWorkspace) -> Writer {
    Workspace::open_writer(folder.path(), &FixedClock::default()).unwrap()
}

fn new_writer(folder: &TempWorkspace) -> Writer {
    Workspace::init(folder.path(), &FixedClock::default()).unwrap();
    open(folder)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn what_is_written_in_batches_folds_the_same_when_reopened(
        choices in proptest::collection::vec(any::<u64>(), 0..80),
        sizes in proptest::collection::vec(1..12_usize, 1..8),
    ) {
        let folder = TempWorkspace::empty();
        let clock = SteppingClock::default();
        let mut log = MemoryLog::new();
        let mut writer = new_writer(&folder);
        let mut events = legal_events(&choices);
        for size in sizes.into_iter().cycle() {
            if events.is_empty() {
                break;
            }
            let batch: Vec<_> = events.drain(..size.min(events.len())).collect();
            let at = clock.now();
            let stored = writer.append(run_id(1), at, batch).unwrap();
            log.append(run_id(1), at, stored.into_iter().map(|stored| stored.event).collect()).unwrap();
        }
        let live = writer.state(run_id(1)).unwrap();
        drop(writer);
        let reopened = open(&folder);
        let stored = reopened.events(run_id(1), 0).unwrap();
        prop_assert_eq!(&stored, &log.events(run_id(1), 0).unwrap());
        prop_assert_eq!(&reopened.state(run_id(1)).unwrap(), &live);
        prop_assert_eq!(&RunState::from_events(&stored).unwrap(), &live);
        prop_assert_eq!(log.state(run_id(1)), live);
    }
}

#[test]
fn an_illegal_event_writes_nothing_of_its_batch() {
    let folder = TempWorkspace::empty();
    let mut writer = new_writer(&folder);
    let stray = Event::FinalScored { variant: None, seed: 0, score: score("final", 0.5), cost: cost(1.0) };
    let err = writer.append(run_id(1), START, vec![started(1), stray.clone()]).unwrap_err();
    assert_eq!((err.code(), err.class()), ("store.illegal_event", ErrorClass::Bug));
    assert_eq!(writer.runs().unwrap(), []);
    assert_eq!(writer.state(run_id(1)).unwrap_err().code(), "store.unknown_run");
    writer.append(run_id(1), START, vec![started(1)]).unwrap();
    writer.append(run_id(1), START, vec![stray]).unwrap_err();
    assert_eq!(writer.append(run_id(1), START, vec![]).unwrap(), []);
    assert_eq!(writer.state(run_id(1)).unwrap().seq, 1);
}

#[test]
fn a_score_that_is_no_number_is_refused() {
    let folder = TempWorkspace::empty();
    let mut writer = new_writer(&folder);
    writer.append(run_id(1), START, vec![started(1)]).unwrap();
    let event = Event::BaseScored { seed: 0, score: score("search", f64::NAN), cost: cost(1.0) };
    assert_eq!(writer.append(run_id(1), START, vec![event]).unwrap_err().code(), "store.not_storable");
    assert_eq!(writer.events(run_id(1), 0).unwrap().len(), 1);
}

#[test]
fn a_reader_follows_while_the_writer_works() {
    let folder = TempWorkspace::empty();
    let mut writer = new_writer(&folder);
    let reader = Workspace::open_reader(folder.path()).unwrap();
    assert_eq!(reader.latest_run().unwrap(), None);
    let mut seen = 0;
    for event in finished_run() {
        writer.append(run_id(1), START, vec![event]).unwrap();
        let new = reader.events(run_id(1), seen).unwrap();
        assert_eq!(new.len(), 1);
        seen = new[0].seq;
    }
    assert_eq!(reader.state(run_id(1)).unwrap(), writer.state(run_id(1)).unwrap());
}

#[test]
fn runs_are_listed_with_the_newest_first() {
    let folder = TempWorkspace::empty();
    let mut writer = new_writer(&folder);
    let clock = SteppingClock::default();
    writer.append(run_id(1), clock.now(), finished_run()).unwrap();
    writer.append(run_id(2), clock.now(), vec![started(u64::MAX)]).unwrap();
    let warned = Event::Warned { code: "test.warned".to_owned(), message: "late".to_owned() };
    writer.append(run_id(1), clock.now(), vec![warned]).unwrap();
    let runs = writer.runs().unwrap();
    assert_eq!(runs.iter().map(|run| run.id).collect::<Vec<_>>(), [run_id(2), run_id(1)]);
    assert_eq!((runs[0].status, runs[0].seed), (RunStatus::Running, u64::MAX));
    assert_eq!((runs[1].status, runs[1].name.as_str()), (RunStatus::Finished, "sentiment"));
    assert_eq!(runs[1].updated.0 - runs[1].created.0, 2_000);
    let reader = Workspace::open_reader(folder.path()).unwrap();
    assert_eq!(reader.latest_run().unwrap(), runs.into_iter().next());
}

#[test]
fn the_database_itself_refuses_to_change_the_past() {
    let folder = TempWorkspace::empty();
    let mut writer = new_writer(&folder);
    writer.append(run_id(1), START, finished_run()).unwrap();
    let connection = Connection::open(folder.path().join("workspace.db")).unwrap();
    for sql in [
        "UPDATE events SET body = '{}' WHERE seq = 2",
        "DELETE FROM events",
        "INSERT OR REPLACE INTO events SELECT run_id, 2, 0, 'x', '{}' FROM runs",
        "INSERT INTO events SELECT run_id, max(seq) + 2, 0, 'x', '{}' FROM events",
        "INSERT INTO events VALUES ('nobody', 1, 0, 'x', '{}')",
    ] {
        connection.execute(sql, []).expect_err(sql);
    }
}

/// Plays a program of the future that writes an event which this one does not know.
#[test]
fn an_event_of_a_newer_program_is_named() {
    let folder = TempWorkspace::empty();
    let mut writer = new_writer(&folder);
    writer.append(run_id(1), START, vec![started(1)]).unwrap();
    drop(writer);
    let connection = Connection::open(folder.path().join("workspace.db")).unwrap();
    let body = r#"{"type":"planet_trained","planet":"mars"}"#;
    connection.execute("INSERT INTO events SELECT run_id, 2, at_ms, 'planet_trained', ?1 FROM events", [body]).unwrap();
    let mut writer = open(&folder);
    let err = writer.append(run_id(1), START, vec![Event::RunResumed { times: 1 }]).unwrap_err();
    assert_eq!(err.code(), "store.unknown_event");
    assert!(err.to_string().contains("planet_trained") && err.to_string().contains("event 2"), "{err}");
    assert!(err.hint().unwrap().contains("update trex"));
    assert!(matches!(writer.state(run_id(1)), Err(StoreError::UnknownEvent { .. })));
    assert_eq!(writer.runs().unwrap().len(), 1);
}

#[test]
fn the_stored_task_is_the_approved_one() {
    let folder = TempWorkspace::empty();
    let mut writer = new_writer(&folder);
    writer.append(run_id(1), START, vec![started(1)]).unwrap();
    let connection = Connection::open(folder.path().join("workspace.db")).unwrap();
    let text: String = connection.query_row("SELECT task FROM runs", [], |row| row.get(0)).unwrap();
    let stored: trex_domain::TaskSpec = serde_json::from_str(&text).unwrap();
    assert_eq!(stored, task());
}
