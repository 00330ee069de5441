//! The schema by version, how an older database is brought up to date, and what every connection is set to.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, MAIN_DB};
use rusqlite_migration::{M, Migrations};
use trex_fs::FsError;

use crate::StoreError;

/// Marks a database as this program's ("TREX"), in the header field that SQLite has for it.
pub(crate) const APPLICATION_ID: i64 = 0x5452_4558;

const STEPS: &[M<'static>] = &[M::up(include_str!("../migrations/01_runs_and_events.sql"))];

/// All migrations in order.
pub(crate) const MIGRATIONS: Migrations<'static> = Migrations::from_slice(STEPS);

/// The number of migrations; equals SQLite's `user_version` of a database that is up to date.
pub(crate) const VERSION: i64 = 1;

/// How long a connection waits for another one.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Settings of a connection that writes.
pub(crate) fn configure_writer(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)
}

/// Settings of a connection that only reads.
pub(crate) fn configure_reader(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "query_only", true)
}

/// The version of a database.
pub(crate) fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// Whose database it is.
pub(crate) fn application_id(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA application_id", [], |row| row.get(0))
}

/// Brings a database up to the newest of `migrations`; one that already has content is copied first.
pub(crate) fn migrate(connection: &mut Connection, path: &Path, migrations: &Migrations) -> Result<(), StoreError> {
    let sqlite = |err| StoreError::sqlite("read the version", path, err);
    let pending = migrations.pending_migrations(connection).map_err(|err| StoreError::migration(path, err))?;
    let current = version(connection).map_err(sqlite)?;
    if pending < 0 {
        let known = current + i64::from(pending);
        return Err(StoreError::NewerVersion { path: path.to_owned(), found: current, known });
    }
    if pending > 0 && current > 0 {
        back_up(connection, path, current)?;
    }
    migrations.to_latest(connection).map_err(|err| StoreError::migration(path, err))
}

/// Copies the database beside itself; the copy appears whole or not at all.
fn back_up(connection: &Connection, path: &Path, version: i64) -> Result<(), StoreError> {
    let target = beside(path, &format!(".backup-v{version}"));
    let unfinished = beside(path, ".backup-unfinished");
    remove_database(&unfinished)?;
    connection.backup(MAIN_DB, &unfinished, None).map_err(|err| StoreError::sqlite("back up", path, err))?;
    let fs_error = |err| StoreError::from(FsError::io("rename to", &target, err));
    fs::rename(&unfinished, &target).map_err(fs_error)
}

/// Removes a database file with what SQLite may have left beside it; absent files are fine.
pub(crate) fn remove_database(path: &Path) -> Result<(), StoreError> {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let file = beside(path, suffix);
        match fs::remove_file(&file) {
            Err(err) if err.kind() != std::io::ErrorKind::NotFound => {
                return Err(FsError::io("remove", file, err).into());
            }
            _ => {}
        }
    }
    Ok(())
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use trex_domain::Problem as _;
    use trex_testkit::TempWorkspace;

    use super::*;

    const NEXT: &[M<'static>] =
        &[M::up(include_str!("../migrations/01_runs_and_events.sql")), M::up("ALTER TABLE runs ADD COLUMN note TEXT;")];

    #[test]
    fn every_migration_is_valid() {
        MIGRATIONS.validate().unwrap();
        let mut connection = Connection::open_in_memory().unwrap();
        MIGRATIONS.to_latest(&mut connection).unwrap();
        assert_eq!(version(&connection).unwrap(), VERSION);
    }

    #[test]
    fn an_older_database_is_copied_before_it_changes() {
        let folder = TempWorkspace::empty();
        let path = folder.path().join("workspace.db");
        let mut connection = Connection::open(&path).unwrap();
        configure_writer(&connection).unwrap();
        migrate(&mut connection, &path, &MIGRATIONS).unwrap();
        connection.execute("INSERT INTO meta VALUES (1, 'w', 5, 1)", []).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().filter(is_backup).count(), 0);

        migrate(&mut connection, &path, &Migrations::from_slice(NEXT)).unwrap();
        assert_eq!(version(&connection).unwrap(), 2);
        let backup = Connection::open(folder.path().join("workspace.db.backup-v1")).unwrap();
        assert_eq!(version(&backup).unwrap(), 1);
        let kept: String = backup.query_row("SELECT workspace FROM meta", [], |row| row.get(0)).unwrap();
        assert_eq!(kept, "w");
        assert!(!folder.path().join("workspace.db.backup-unfinished").exists());

        let err = migrate(&mut connection, &path, &MIGRATIONS).unwrap_err();
        assert_eq!(err.code(), "store.newer_version");
        assert!(err.to_string().contains("format 2, this program knows up to 1"), "{err}");
    }

    fn is_backup(entry: &std::io::Result<fs::DirEntry>) -> bool {
        entry.as_ref().unwrap().file_name().to_string_lossy().contains("backup")
    }
}
