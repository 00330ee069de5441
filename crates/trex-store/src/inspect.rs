//! Looks at a database before anything is done with it: is it ours, known and whole. Changes no byte of it, and works
//! where nothing can be changed: on read-only media, and in folders of other people.
//!
//! The file is opened by SQLite only, never by hand: closing a second handle would drop the locks that this process
//! holds on it (<https://www.sqlite.org/howtocorrupt.html>, section 2.2).

use std::fs;
use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::schema::{self, APPLICATION_ID, VERSION};
use crate::{DamageCause, StoreError};

/// Length of the header: <https://www.sqlite.org/fileformat.html#the_database_header>.
const HEADER_BYTES: u64 = 100;

/// Opens a database for reading after it passed every check.
pub(crate) fn open_checked(dir: &Path, path: &Path) -> Result<Connection, StoreError> {
    check_present(dir, path)?;
    let sqlite = |err| StoreError::sqlite("open", path, err);
    let connection = open_shared(path).or_else(|err| {
        let cannot_write = matches!(err.sqlite_error_code(), Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly));
        if cannot_write { open_alone(path).map_err(sqlite) } else { Err(sqlite(err)) }
    })?;
    if schema::application_id(&connection).map_err(sqlite)? != APPLICATION_ID {
        return Err(StoreError::NotAWorkspace { path: dir.to_owned() });
    }
    let found = schema::version(&connection).map_err(sqlite)?;
    if found > VERSION {
        return Err(StoreError::NewerVersion { path: path.to_owned(), found, known: VERSION });
    }
    check_whole(&connection, path)?;
    Ok(connection)
}

/// The usual way: readers and a writer share an index of the log in `workspace.db-shm`, which is made where it is absent.
fn open_shared(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    schema::configure_reader(&connection)?;
    // The first access is what needs the index.
    schema::version(&connection)?;
    Ok(connection)
}

/// For a folder where the index is absent and cannot be made. No writer is at work there, for it would have made it.
///
/// What is still in the log is read too: in exclusive mode the index is kept in memory (<https://www.sqlite.org/wal.html>,
/// "Use of WAL Without Shared-Memory"), and the file system layer without locks (<https://www.sqlite.org/vfs.html>) grants
/// that mode for a file that may not be written. An absent log would have to be made first, so a database without one is
/// opened as immutable.
fn open_alone(path: &Path) -> rusqlite::Result<Connection> {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let has_log = fs::metadata(&log).is_ok_and(|found| found.len() > 0);
    let without_locks = if cfg!(windows) { "vfs=win32-none" } else { "vfs=unix-none" };
    let how = if has_log { without_locks } else { "immutable=1" };
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let connection = Connection::open_with_flags(format!("file:{}?mode=ro&{how}", uri_path(path)), flags)?;
    if has_log {
        // What the log holds stays there.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        connection.query_row("PRAGMA locking_mode = EXCLUSIVE", [], |_| Ok(()))?;
    }
    schema::configure_reader(&connection)?;
    schema::version(&connection)?;
    Ok(connection)
}

/// A path as SQLite wants it in a URI: <https://www.sqlite.org/uri.html>, section 3.1.
fn uri_path(path: &Path) -> String {
    let text = path.to_string_lossy().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    if cfg!(windows) { format!("/{}", text.replace('\\', "/")) } else { text }
}

/// SQLite takes an empty file for an empty database; here it is one that lost its content.
fn check_present(dir: &Path, path: &Path) -> Result<(), StoreError> {
    match fs::metadata(path) {
        Ok(found) if found.is_file() && found.len() < HEADER_BYTES => {
            Err(StoreError::Damaged { path: path.to_owned(), cause: DamageCause::NotADatabase })
        }
        Ok(found) if found.is_file() => Ok(()),
        _ => Err(StoreError::NotAWorkspace { path: dir.to_owned() }),
    }
}

fn check_whole(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let checked = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
    let finding = checked.map_err(|err| StoreError::sqlite("check", path, err))?;
    if finding == "ok" {
        return Ok(());
    }
    Err(StoreError::Damaged { path: path.to_owned(), cause: DamageCause::Check { finding } })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use trex_domain::EventLog as _;
    use trex_testkit::{FixedClock, START, TempWorkspace, finished_run, run_id};

    use super::*;
    use crate::database::Database;
    use crate::{Workspace, Writer};

    fn filled() -> (TempWorkspace, Writer) {
        let folder = TempWorkspace::empty();
        let clock = FixedClock::default();
        Workspace::init(folder.path(), &clock).unwrap();
        let mut writer = Workspace::open_writer(folder.path(), &clock).unwrap();
        writer.append(run_id(1), START, finished_run()).unwrap();
        (folder, writer)
    }

    /// The files as they are at this moment, in a folder whose name a URI has to escape.
    fn copied(folder: &TempWorkspace, names: &[&str]) -> (TempWorkspace, PathBuf) {
        let copy = TempWorkspace::empty();
        for name in names {
            copy.write(&format!("50 % #1?/{name}"), fs::read(folder.path().join(name)).unwrap());
        }
        let path = copy.path().join("50 % #1?/workspace.db");
        (copy, path)
    }

    /// All events are read, and nothing in the folder is changed or added.
    #[track_caller]
    fn check_alone(path: &Path) {
        let files = || {
            let entries = fs::read_dir(path.parent().unwrap()).unwrap();
            let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
            files.sort();
            files.into_iter().map(|path| (fs::read(&path).unwrap(), path)).collect::<Vec<_>>()
        };
        let before = files();
        let connection = open_alone(path).unwrap();
        check_whole(&connection, path).unwrap();
        let database = Database::new(path.to_owned(), connection);
        assert_eq!(database.events(run_id(1), 0).unwrap().len(), finished_run().len());
        assert!(files() == before);
        drop(database);
        assert!(files() == before);
    }

    #[test]
    fn a_copy_without_a_log_is_read_alone() {
        let (folder, writer) = filled();
        drop(writer);
        let (_copy, path) = copied(&folder, &["workspace.db"]);
        check_alone(&path);
    }

    /// As a killed program leaves it: the events are in the log, and some are nowhere else.
    #[test]
    fn a_copy_with_a_log_is_read_alone_with_what_the_log_holds() {
        let (folder, _writer) = filled();
        let (_bare, path) = copied(&folder, &["workspace.db"]);
        let without_log = Database::new(path.clone(), open_alone(&path).unwrap());
        assert!(without_log.events(run_id(1), 0).map_or(true, |events| events.is_empty()), "the log is needed");
        let (_copy, path) = copied(&folder, &["workspace.db", "workspace.db-wal"]);
        check_alone(&path);
    }
}
