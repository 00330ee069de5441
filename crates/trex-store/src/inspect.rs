//! Looks at a database before anything is done with it: is it ours, known and whole. Changes no byte of it.
//!
//! The file is opened by SQLite only, never by hand: closing a second handle would drop the locks that this process
//! holds on it (<https://www.sqlite.org/howtocorrupt.html>, section 2.2).

use std::fs;
use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use crate::schema::{self, APPLICATION_ID, VERSION};
use crate::{DamageCause, StoreError};

/// Length of the header: <https://www.sqlite.org/fileformat.html#the_database_header>.
const HEADER_BYTES: u64 = 100;

/// Opens a database for reading after it passed every check.
pub(crate) fn open_checked(dir: &Path, path: &Path) -> Result<Connection, StoreError> {
    check_present(dir, path)?;
    let sqlite = |err| StoreError::sqlite("open", path, err);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(sqlite)?;
    schema::configure_reader(&connection).map_err(sqlite)?;
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
