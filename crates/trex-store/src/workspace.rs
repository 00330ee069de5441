//! The workspace folder: where things lie, how it is made, and how its database is opened.

use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use trex_domain::{Clock, Millis, RunId};
use trex_fs::FsError;

use crate::database::Database;
use crate::inspect::open_checked;
use crate::lease::Lease;
use crate::schema::{self, APPLICATION_ID, MIGRATIONS, VERSION};
use crate::{Reader, StoreError, Writer};

/// Version of the folder's layout, as `meta.format` says.
const LAYOUT: i64 = 1;

/// A workspace folder. Holds nothing open; cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workspace {
    dir: PathBuf,
}

impl Workspace {
    /// Names a folder without looking at it.
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Makes a workspace. One that is there already stays as it is; folders that are missing are made.
    pub fn init(dir: &Path, clock: &dyn Clock) -> Result<Self, StoreError> {
        let workspace = Self::at(dir);
        trex_fs::create_dir_all(dir)?;
        let database = workspace.database();
        if database.exists() {
            open_checked(dir, &database)?;
        } else {
            let _lease = Lease::acquire(dir, clock)?;
            if !database.exists() {
                workspace.create_database(clock.now())?;
            }
        }
        workspace.create_folders()?;
        Ok(workspace)
    }

    /// Opens a workspace for writing and takes its lease; a second writer is refused with [`StoreError::Locked`].
    ///
    /// An older database is copied and brought up to date. A damaged or newer one is refused and not touched.
    pub fn open_writer(dir: &Path, clock: &dyn Clock) -> Result<Writer, StoreError> {
        let workspace = Self::at(dir);
        let path = workspace.database();
        drop(open_checked(dir, &path)?);
        let lease = Lease::acquire(dir, clock)?;
        workspace.create_folders()?;
        let sqlite = |err| StoreError::sqlite("open", &path, err);
        let mut connection = Connection::open(&path).map_err(sqlite)?;
        schema::configure_writer(&connection).map_err(sqlite)?;
        schema::migrate(&mut connection, &path, &MIGRATIONS)?;
        Ok(Writer::new(workspace, Database::new(path, connection), lease))
    }

    /// Opens a workspace for reading. Takes no lease, so it works while a writer is active.
    pub fn open_reader(dir: &Path) -> Result<Reader, StoreError> {
        let workspace = Self::at(dir);
        let path = workspace.database();
        let connection = open_checked(dir, &path)?;
        let found = schema::version(&connection).map_err(|err| StoreError::sqlite("open", &path, err))?;
        if found < VERSION {
            return Err(StoreError::OlderVersion { path, found, known: VERSION });
        }
        Ok(Reader::new(workspace, Database::new(path, connection)))
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The database file.
    pub fn database(&self) -> PathBuf {
        self.dir.join("workspace.db")
    }

    /// Content-addressed files: prepared data, checkpoints, adapters, item scores.
    pub fn blobs(&self) -> PathBuf {
        self.dir.join("blobs")
    }

    /// Data recipes of the person.
    pub fn recipes(&self) -> PathBuf {
        self.dir.join("recipes")
    }

    /// Deliverables.
    pub fn exports(&self) -> PathBuf {
        self.dir.join("exports")
    }

    /// Logs.
    pub fn logs(&self) -> PathBuf {
        self.dir.join("logs")
    }

    /// Checkpoints of trials that are under way.
    pub fn scratch(&self) -> PathBuf {
        self.dir.join("scratch")
    }

    /// The cache of prepared data.
    pub fn prepared(&self) -> PathBuf {
        self.dir.join("prepared")
    }

    fn create_folders(&self) -> Result<(), StoreError> {
        let folders = [self.blobs(), self.recipes(), self.exports(), self.logs(), self.scratch(), self.prepared()];
        for folder in folders {
            trex_fs::create_dir_all(&folder)?;
        }
        Ok(())
    }

    /// Makes the database under another name and renames it, so that it is never there by half.
    fn create_database(&self, now: Millis) -> Result<(), StoreError> {
        let unfinished = self.dir.join(".workspace.db.unfinished");
        schema::remove_database(&unfinished)?;
        let sqlite = |err| StoreError::sqlite("create tables", &unfinished, err);
        let mut connection = Connection::open(&unfinished).map_err(sqlite)?;
        schema::migrate(&mut connection, &unfinished, &MIGRATIONS)?;
        insert_meta(&connection, now).map_err(sqlite)?;
        connection.pragma_update(None, "application_id", APPLICATION_ID).map_err(sqlite)?;
        schema::configure_writer(&connection).map_err(sqlite)?;
        connection.close().map_err(|(_, err)| sqlite(err))?;
        let target = self.database();
        fs::rename(&unfinished, &target).map_err(|err| FsError::io("rename to", &target, err))?;
        sync_folder(&self.dir)
    }
}

fn insert_meta(connection: &Connection, now: Millis) -> rusqlite::Result<()> {
    let random: [u8; 10] = connection.query_row("SELECT randomblob(10)", [], |row| row.get(0))?;
    // A workspace id has the form of a run id: a UUIDv7.
    let id = RunId::from_parts(now, random).to_string();
    connection
        .execute("INSERT INTO meta (one, workspace, created_ms, format) VALUES (1, ?1, ?2, ?3)", (id, now.0, LAYOUT))?;
    Ok(())
}

/// Makes a rename durable. Folders cannot be synced on Windows, where the rename is.
fn sync_folder(dir: &Path) -> Result<(), StoreError> {
    if cfg!(unix) {
        trex_fs::open(dir)?.sync_all().map_err(|err| FsError::io("sync", dir, err))?;
    }
    Ok(())
}
