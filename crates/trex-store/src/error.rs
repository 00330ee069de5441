//! The errors of the store, and how errors of SQLite and of files become them.

use std::error::Error;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;
use trex_domain::{DomainError, ErrorClass, Problem, RunId};
use trex_fs::FsError;

use crate::LeaseOwner;

/// What can go wrong with a workspace.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The folder holds no workspace.
    #[error("{} is not a workspace", path.display())]
    NotAWorkspace {
        /// The folder.
        path: PathBuf,
    },
    /// The file is another program's database.
    #[error("{} is not a knowledge base", path.display())]
    NotAKnowledgeBase {
        /// The file.
        path: PathBuf,
    },
    /// A value of the domain that cannot be kept.
    #[error(transparent)]
    Domain(DomainError),
    /// The database was written by a newer program.
    #[error("{} has format {found}, this program knows up to {known}", path.display())]
    NewerVersion {
        /// The database.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The newest known version.
        known: i64,
    },
    /// The database was written by an older program, and a reader cannot bring it up to date.
    #[error("{} has format {found}, reading needs {known}", path.display())]
    OlderVersion {
        /// The database.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The version that is read.
        known: i64,
    },
    /// The database is damaged.
    #[error("{} is damaged", path.display())]
    Damaged {
        /// The database.
        path: PathBuf,
        /// How it was noticed.
        #[source]
        cause: DamageCause,
    },
    /// Another process writes to the workspace.
    #[error("{} is in use by {}", path.display(), owner_text(owner.as_ref()))]
    Locked {
        /// The workspace folder.
        path: PathBuf,
        /// Who holds it, where that could be read.
        owner: Option<LeaseOwner>,
    },
    /// The folder or the database may not be written to.
    #[error("{} is read-only", path.display())]
    ReadOnly {
        /// The file or folder.
        path: PathBuf,
        /// What said so.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A write found no room.
    #[error("no room left to write {}", path.display())]
    DiskFull {
        /// The file or folder.
        path: PathBuf,
        /// What said so.
        source: Box<dyn Error + Send + Sync>,
    },
    /// Less room than is needed.
    #[error("{} has {free_bytes} bytes free, {needed_bytes} are needed", path.display())]
    TooLittleSpace {
        /// The folder.
        path: PathBuf,
        /// Bytes needed.
        needed_bytes: u64,
        /// Bytes free.
        free_bytes: u64,
    },
    /// Another connection kept the database locked for longer than the time allowed.
    #[error("{} is busy", path.display())]
    Busy {
        /// The database.
        path: PathBuf,
        /// What said so.
        source: rusqlite::Error,
    },
    /// An event that this program cannot read.
    #[error("event {seq} of run {run} is of the unknown form {kind:?}")]
    UnknownEvent {
        /// Run.
        run: RunId,
        /// Number of the event.
        seq: u64,
        /// Its kind.
        kind: String,
        /// Why.
        source: serde_json::Error,
    },
    /// An event that JSON cannot hold, such as one with a score that is not a number.
    #[error("event {kind} holds a value that cannot be stored")]
    NotStorable {
        /// Kind of event.
        kind: &'static str,
        /// Why.
        source: serde_json::Error,
    },
    /// An event that cannot follow what was recorded before.
    #[error("run {run} does not allow this event")]
    IllegalEvent {
        /// Run.
        run: RunId,
        /// Why.
        source: DomainError,
    },
    /// No such run.
    #[error("there is no run {run} in {}", path.display())]
    UnknownRun {
        /// The workspace database.
        path: PathBuf,
        /// As asked for.
        run: RunId,
    },
    /// The database could not be brought up to date.
    #[error("cannot bring {} up to date", path.display())]
    Migration {
        /// The database.
        path: PathBuf,
        /// Why.
        source: rusqlite_migration::Error,
    },
    /// Any other refusal of SQLite.
    #[error("cannot {action} in {}", path.display())]
    Sqlite {
        /// What was tried, such as `append events`.
        action: &'static str,
        /// The database.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// A file could not be read or written.
    #[error(transparent)]
    File(FsError),
}

/// How damage was noticed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DamageCause {
    /// It is too short to be one.
    #[error("the file is no database")]
    NotADatabase,
    /// SQLite could not read it.
    #[error("the database cannot be read")]
    Unreadable(#[source] rusqlite::Error),
    /// SQLite's own check found something.
    #[error("the integrity check says: {finding}")]
    Check {
        /// Its first finding.
        finding: String,
    },
    /// An event is missing.
    #[error("event {expected} of run {run} is missing")]
    MissingEvent {
        /// Run.
        run: RunId,
        /// The number that should have come.
        expected: u64,
    },
    /// An event is not JSON.
    #[error("event {seq} of run {run} is not JSON")]
    EventNotJson {
        /// Run.
        run: RunId,
        /// Number of the event.
        seq: u64,
        /// Why.
        source: serde_json::Error,
    },
    /// A record is not JSON of its kind.
    #[error("a record cannot be read")]
    RowNotJson(#[source] serde_json::Error),
    /// A run is filed under something that is no run id.
    #[error("a run has no valid id")]
    BadRunId(#[source] DomainError),
    /// The stored events contradict each other.
    #[error("the events of run {run} contradict each other")]
    Contradiction {
        /// Run.
        run: RunId,
        /// Where.
        source: DomainError,
    },
}

impl StoreError {
    /// Sorts an error of SQLite by what a person can do about it.
    pub(crate) fn sqlite(action: &'static str, path: &Path, source: rusqlite::Error) -> Self {
        let path = path.to_owned();
        match source.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::DiskFull { path, source: source.into() },
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => Self::ReadOnly { path, source: source.into() },
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
                Self::Damaged { path, cause: DamageCause::Unreadable(source) }
            }
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy { path, source },
            _ => Self::Sqlite { action, path, source },
        }
    }

    /// Sorts an error of a migration; an error of SQLite below it counts as such.
    pub(crate) fn migration(path: &Path, source: rusqlite_migration::Error) -> Self {
        match source {
            rusqlite_migration::Error::RusqliteError { err, .. } => Self::sqlite("bring up to date", path, err),
            source => Self::Migration { path: path.to_owned(), source },
        }
    }
}

impl From<FsError> for StoreError {
    fn from(err: FsError) -> Self {
        let path = if let FsError::Io { path, .. } = &err { path.clone() } else { PathBuf::new() };
        match err.code() {
            "fs.disk_full" => Self::DiskFull { path, source: err.into() },
            "fs.read_only" | "fs.permission_denied" => Self::ReadOnly { path, source: err.into() },
            _ => Self::File(err),
        }
    }
}

impl Problem for StoreError {
    fn code(&self) -> &'static str {
        match self {
            Self::NotAWorkspace { .. } => "store.not_a_workspace",
            Self::NotAKnowledgeBase { .. } => "store.not_a_knowledge_base",
            Self::Domain(err) => err.code(),
            Self::NewerVersion { .. } => "store.newer_version",
            Self::OlderVersion { .. } => "store.older_version",
            Self::Damaged { .. } => "store.damaged",
            Self::Locked { .. } => "store.locked",
            Self::ReadOnly { .. } => "store.read_only",
            Self::DiskFull { .. } | Self::TooLittleSpace { .. } => "store.disk_full",
            Self::Busy { .. } => "store.busy",
            Self::UnknownEvent { .. } => "store.unknown_event",
            Self::NotStorable { .. } => "store.not_storable",
            Self::IllegalEvent { .. } => "store.illegal_event",
            Self::UnknownRun { .. } => "store.unknown_run",
            Self::Migration { .. } => "store.migration",
            Self::Sqlite { .. } => "store.sqlite",
            Self::File(err) => err.code(),
        }
    }

    fn hint(&self) -> Option<String> {
        let text = match self {
            Self::NotAWorkspace { .. } => "make a workspace with `trex init`, or name the folder of one",
            Self::NotAKnowledgeBase { .. } => "name another file with TREX_KNOWLEDGE; nothing was changed",
            Self::Domain(err) => return err.hint(),
            Self::NewerVersion { .. } | Self::UnknownEvent { .. } => {
                "update trex: a newer version wrote this workspace; nothing was changed"
            }
            Self::OlderVersion { .. } => "go on with a run there once, with `trex resume`: that updates the workspace",
            Self::Damaged { .. } => {
                "nothing was changed; restore workspace.db from a copy (older ones may lie beside it as \
                 workspace.db.backup-v…), or begin a new workspace"
            }
            Self::Locked { .. } => "wait until it ends, or follow it with `trex watch`, which reads without the lock",
            Self::ReadOnly { .. } => "choose a workspace folder that you may write to",
            Self::DiskFull { .. } | Self::TooLittleSpace { .. } => {
                "free some space or move the workspace, then `trex resume`; nothing that was finished is lost"
            }
            Self::Busy { .. } => "close other programs that have workspace.db open, then try again",
            Self::UnknownRun { .. } => "check the run id and the workspace folder",
            Self::File(err) => return err.hint(),
            Self::NotStorable { .. } | Self::IllegalEvent { .. } | Self::Migration { .. } | Self::Sqlite { .. } => {
                return None;
            }
        };
        Some(text.to_owned())
    }

    fn class(&self) -> ErrorClass {
        match self {
            Self::Locked { .. } | Self::DiskFull { .. } | Self::TooLittleSpace { .. } => ErrorClass::Resource,
            Self::Busy { .. } => ErrorClass::Transient,
            Self::NotStorable { .. } | Self::IllegalEvent { .. } | Self::Migration { .. } | Self::Sqlite { .. } => {
                ErrorClass::Bug
            }
            Self::File(err) => err.class(),
            Self::Domain(err) => err.class(),
            _ => ErrorClass::Permanent,
        }
    }
}

fn owner_text(owner: Option<&LeaseOwner>) -> String {
    match owner {
        Some(owner) => format!("`{}` (process {} on {})", owner.command, owner.pid, owner.host),
        None => "another process".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use rusqlite::ffi;

    use super::*;

    #[track_caller]
    fn check_sqlite(code: i32, expected: &str, class: ErrorClass) {
        let source = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
        let err = StoreError::sqlite("append events", Path::new("w/workspace.db"), source);
        assert_eq!((err.code(), err.class()), (expected, class));
        assert!(err.to_string().contains("w/workspace.db"), "{err}");
        assert_eq!(err.hint().is_some(), expected != "store.sqlite");
        assert!(err.source().is_some());
    }

    #[test]
    fn errors_of_sqlite_are_sorted() {
        check_sqlite(ffi::SQLITE_FULL, "store.disk_full", ErrorClass::Resource);
        check_sqlite(ffi::SQLITE_READONLY, "store.read_only", ErrorClass::Permanent);
        check_sqlite(ffi::SQLITE_READONLY_DIRECTORY, "store.read_only", ErrorClass::Permanent);
        check_sqlite(ffi::SQLITE_NOTADB, "store.damaged", ErrorClass::Permanent);
        check_sqlite(ffi::SQLITE_CORRUPT, "store.damaged", ErrorClass::Permanent);
        check_sqlite(ffi::SQLITE_BUSY, "store.busy", ErrorClass::Transient);
        check_sqlite(ffi::SQLITE_MISUSE, "store.sqlite", ErrorClass::Bug);
    }

    #[track_caller]
    fn check_file(kind: io::ErrorKind, expected: &str) {
        let err = StoreError::from(FsError::io("write", "w/blobs", kind.into()));
        assert_eq!(err.code(), expected);
        assert!(format!("{err}").contains("w/blobs"), "{err}");
    }

    #[test]
    fn errors_of_files_are_sorted() {
        check_file(io::ErrorKind::StorageFull, "store.disk_full");
        check_file(io::ErrorKind::ReadOnlyFilesystem, "store.read_only");
        check_file(io::ErrorKind::PermissionDenied, "store.read_only");
        check_file(io::ErrorKind::NotADirectory, "fs.io");
    }
}
