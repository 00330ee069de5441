use std::fs;
use std::path::Path;

use rusqlite::Connection;
use trex_domain::{ErrorClass, EventLog as _, Problem as _};
use trex_store::{StoreError, Workspace};
use trex_testkit::{FixedClock, START, TempWorkspace, finished_run, run_id};

/// A workspace with one finished run.
fn filled() -> TempWorkspace {
    let folder = TempWorkspace::empty();
    let clock = FixedClock::default();
    Workspace::init(folder.path(), &clock).unwrap();
    let mut writer = Workspace::open_writer(folder.path(), &clock).unwrap();
    writer.append(run_id(1), START, finished_run()).unwrap();
    folder
}

fn database(folder: &TempWorkspace) -> std::path::PathBuf {
    folder.path().join("workspace.db")
}

/// Every way to open the workspace fails with this code and leaves the database as it is.
#[track_caller]
fn check_refused(dir: &Path, code: &str) -> StoreError {
    let database = dir.join("workspace.db");
    let before = fs::read(&database).ok();
    let clock = FixedClock::default();
    let err = Workspace::open_writer(dir, &clock).unwrap_err();
    assert_eq!((err.code(), err.class()), (code, ErrorClass::Permanent));
    assert!(err.hint().is_some(), "{err}");
    assert_eq!(Workspace::open_reader(dir).unwrap_err().code(), code);
    if before.is_some() {
        assert_eq!(Workspace::init(dir, &clock).unwrap_err().code(), code);
    }
    assert!(fs::read(&database).ok() == before, "the file was changed");
    err
}

#[test]
fn a_new_workspace_has_its_folders_and_stays_when_made_again() {
    let folder = TempWorkspace::empty();
    let dir = folder.path().join("deep/down");
    let clock = FixedClock::default();
    let workspace = Workspace::init(&dir, &clock).unwrap();
    for name in trex_testkit::FOLDERS {
        assert!(dir.join(name).is_dir(), "{name}");
    }
    assert!(workspace.blobs().is_dir() && workspace.prepared().is_dir());
    Workspace::open_writer(&dir, &clock).unwrap().append(run_id(1), START, finished_run()).unwrap();
    fs::remove_dir(workspace.recipes()).unwrap();
    Workspace::init(&dir, &clock).unwrap();
    assert!(workspace.recipes().is_dir());
    assert_eq!(Workspace::open_reader(&dir).unwrap().runs().unwrap().len(), 1);
}

#[test]
fn a_folder_without_a_workspace_is_told_so() {
    let folder = TempWorkspace::empty();
    let err = check_refused(folder.path(), "store.not_a_workspace");
    assert!(err.hint().unwrap().contains("trex init"));
    check_refused(&folder.path().join("nowhere"), "store.not_a_workspace");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_database_of_another_program_is_no_workspace() {
    let folder = TempWorkspace::empty();
    Connection::open(database(&folder)).unwrap().execute("CREATE TABLE bookmarks (url TEXT)", []).unwrap();
    check_refused(folder.path(), "store.not_a_workspace");
}

#[test]
fn a_newer_database_is_not_touched() {
    let folder = filled();
    Connection::open(database(&folder)).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let err = check_refused(folder.path(), "store.newer_version");
    assert!(err.to_string().contains("99") && err.hint().unwrap().contains("update"), "{err}");
}

/// The new version is still in the write-ahead log only, as a crash of the newer program leaves it.
#[test]
fn a_newer_version_in_the_log_is_seen() {
    let folder = filled();
    let connection = Connection::open(database(&folder)).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    let copy = TempWorkspace::empty();
    for name in ["workspace.db", "workspace.db-wal"] {
        fs::copy(folder.path().join(name), copy.path().join(name)).unwrap();
    }
    let log = fs::read(copy.path().join("workspace.db-wal")).unwrap();
    check_refused(copy.path(), "store.newer_version");
    assert!(fs::read(copy.path().join("workspace.db-wal")).unwrap() == log);
}

#[track_caller]
fn check_damage(change: impl FnOnce(&mut Vec<u8>)) {
    let folder = filled();
    let mut content = fs::read(database(&folder)).unwrap();
    change(&mut content);
    fs::write(database(&folder), content).unwrap();
    let err = check_refused(folder.path(), "store.damaged");
    assert!(err.to_string().contains("workspace.db"), "{err}");
    assert!(err.hint().unwrap().contains("backup"));
}

#[test]
fn damage_is_noticed_and_not_made_worse() {
    check_damage(|content| *content = b"this is not a database at all".repeat(99));
    check_damage(|content| content.truncate(content.len() / 2));
    check_damage(|content| content.truncate(4096));
    check_damage(|content| content.truncate(50));
    check_damage(Vec::clear);
    check_damage(|content| content[4096..].fill(0xA5));
    check_damage(|content| {
        let page = content.len() / 4096 / 2 * 4096;
        content[page..page + 200].fill(0xA5);
    });
}

#[test]
fn the_lock_refuses_writers_and_lets_readers_in() {
    let folder = filled();
    let clock = FixedClock::default();
    let writer = Workspace::open_writer(folder.path(), &clock).unwrap();
    let err = Workspace::open_writer(folder.path(), &clock).unwrap_err();
    assert_eq!((err.code(), err.class()), ("store.locked", ErrorClass::Resource));
    assert!(err.to_string().contains(&std::process::id().to_string()), "{err}");
    assert!(err.hint().unwrap().contains("trex watch"));
    assert_eq!(Workspace::open_reader(folder.path()).unwrap().runs().unwrap().len(), 1);
    drop(writer);
    Workspace::open_writer(folder.path(), &clock).unwrap();
}

#[test]
fn a_workspace_cannot_be_made_below_a_file() {
    let folder = TempWorkspace::empty();
    let file = folder.write("taken", "content");
    let err = Workspace::init(&file.join("workspace"), &FixedClock::default()).unwrap_err();
    assert!(err.to_string().contains("taken"), "{err}");
    assert_eq!(fs::read(file).unwrap(), b"content");
}
