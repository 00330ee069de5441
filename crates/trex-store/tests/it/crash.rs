use std::env;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use trex_domain::{Event, EventLog as _, RunState, StoredEvent};
use trex_store::{Workspace, Writer};
use trex_testkit::{FixedClock, START, TempWorkspace, run_id, started};

const CHILD_FOLDER: &str = "TREX_STORE_CRASH_TEST_FOLDER";
const ACKNOWLEDGED: &str = "acknowledged batch ";

fn new_workspace() -> TempWorkspace {
    let folder = TempWorkspace::empty();
    Workspace::init(folder.path(), &FixedClock::default()).unwrap();
    let mut writer = open(folder.path());
    writer.append(run_id(1), START, vec![started(1)]).unwrap();
    folder
}

fn open(dir: &Path) -> Writer {
    Workspace::open_writer(dir, &FixedClock::default()).unwrap()
}

/// Batch `number` has as many events as [`batch_size`] says, and each names its batch.
fn append_batch(writer: &mut Writer, number: usize) {
    let event = Event::Warned { code: number.to_string(), message: "m".repeat(300) };
    writer.append(run_id(1), START, vec![event; batch_size(number)]).unwrap();
}

fn batch_size(number: usize) -> usize {
    1 + number % 7
}

/// Checks that the events are whole batches in order and returns how many.
#[track_caller]
fn num_whole_batches(events: &[StoredEvent]) -> usize {
    RunState::from_events(events).unwrap();
    let mut rest = &events[1..];
    let mut number = 0;
    while !rest.is_empty() {
        let size = batch_size(number);
        assert!(rest.len() >= size, "batch {number} has {} of {size} events", rest.len());
        let (batch, after) = rest.split_at(size);
        for stored in batch {
            assert!(matches!(&stored.event, Event::Warned { code, .. } if *code == number.to_string()));
        }
        rest = after;
        number += 1;
    }
    number
}

/// Runs this same test in a child process that appends until it is killed.
#[test]
fn a_kill_leaves_whole_batches_and_no_lock() {
    if let Some(dir) = env::var_os(CHILD_FOLDER) {
        append_forever(Path::new(&dir));
    }
    for num_batches_before_kill in [1, 5, 23] {
        let folder = new_workspace();
        let num_acknowledged = kill_child_after(folder.path(), num_batches_before_kill);
        let mut writer = open(folder.path());
        let num_batches = num_whole_batches(&writer.events(run_id(1), 0).unwrap());
        assert!(num_batches >= num_acknowledged, "{num_batches} of {num_acknowledged} acknowledged batches");
        append_batch(&mut writer, num_batches);
        assert_eq!(num_whole_batches(&writer.events(run_id(1), 0).unwrap()), num_batches + 1);
    }
}

#[expect(clippy::infinite_loop, reason = "the parent kills this process")]
fn append_forever(dir: &Path) {
    let mut writer = open(dir);
    let mut number = 0;
    loop {
        append_batch(&mut writer, number);
        println!("\n{ACKNOWLEDGED}{number}");
        number += 1;
    }
}

/// Starts the child, kills it after so many batches and returns how many it had acknowledged.
fn kill_child_after(dir: &Path, num_batches: usize) -> usize {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["crash::a_kill_leaves_whole_batches_and_no_lock", "--exact", "--nocapture"])
        .env(CHILD_FOLDER, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut acknowledged = lines.filter(|line| line.starts_with(ACKNOWLEDGED));
    let num_before = acknowledged.by_ref().take(num_batches).count();
    assert_eq!(num_before, num_batches, "the child ended by itself");
    child.kill().unwrap();
    child.wait().unwrap();
    num_before + acknowledged.count()
}

/// A crash of the machine may leave the write-ahead log cut anywhere.
#[test]
fn a_log_that_is_cut_anywhere_leaves_whole_batches() {
    const NUM_BATCHES: usize = 12;
    let folder = new_workspace();
    let mut writer = open(folder.path());
    for number in 0..NUM_BATCHES {
        append_batch(&mut writer, number);
    }
    let base = fs::read(folder.path().join("workspace.db")).unwrap();
    let log = fs::read(folder.path().join("workspace.db-wal")).unwrap();
    let mut found = Vec::new();
    for cut in (0..log.len()).step_by(7_001).chain([log.len()]) {
        let copy = TempWorkspace::empty();
        copy.write("workspace.db", &base);
        copy.write("workspace.db-wal", &log[..cut]);
        let events = open(copy.path()).events(run_id(1), 0).unwrap();
        found.push(if events.is_empty() { 0 } else { num_whole_batches(&events) });
    }
    assert!(found.is_sorted(), "{found:?}");
    assert_eq!(found.last(), Some(&NUM_BATCHES));
    assert!(found.len() > 20 && found.contains(&(NUM_BATCHES / 2)), "{found:?}");
}
