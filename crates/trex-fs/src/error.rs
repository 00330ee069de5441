//! The errors of file access: every one names the path.

use std::io;
use std::path::PathBuf;

use trex_domain::{ContentHash, ErrorClass, Problem};

/// What can go wrong with a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FsError {
    /// The system refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried, such as `read`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line that is not JSON of the expected form.
    #[error("{}:{line}: not the expected JSON", path.display())]
    BadLine {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Why.
        source: serde_json::Error,
    },
    /// A blob whose content no longer has its name.
    #[error("blob {name} is damaged: its content is {found}")]
    DamagedBlob {
        /// Its name.
        name: ContentHash,
        /// The hash of what is there.
        found: ContentHash,
    },
    /// A value that JSON cannot express.
    #[error("value for {} has no JSON form", path.display())]
    NotJson {
        /// The file it was meant for.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
}

impl FsError {
    /// Wraps an I/O error with what was tried on which path.
    pub fn io(action: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Io { action, path: path.into(), source }
    }

    fn io_kind(&self) -> Option<io::ErrorKind> {
        match self {
            Self::Io { source, .. } => Some(source.kind()),
            _ => None,
        }
    }

    /// Whether nothing was to be changed.
    fn is_look(&self) -> bool {
        matches!(self, Self::Io { action: "read" | "open" | "list" | "find" | "map", .. })
    }

    /// Whether the disk (or the quota) is full.
    pub fn is_disk_full(&self) -> bool {
        matches!(self.io_kind(), Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    }
}

impl Problem for FsError {
    fn code(&self) -> &'static str {
        match self {
            Self::Io { .. } if self.is_disk_full() => "fs.disk_full",
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => "fs.not_found",
                io::ErrorKind::PermissionDenied => "fs.permission_denied",
                io::ErrorKind::ReadOnlyFilesystem => "fs.read_only",
                _ => "fs.io",
            },
            Self::BadLine { .. } => "fs.bad_line",
            Self::DamagedBlob { .. } => "fs.damaged_blob",
            Self::NotJson { .. } => "fs.not_json",
        }
    }

    fn hint(&self) -> Option<String> {
        let text = match self.code() {
            "fs.disk_full" => {
                "free some space or move the workspace, then `trex resume`; nothing that was finished is lost"
            }
            "fs.not_found" => "check the path",
            "fs.permission_denied" if self.is_look() => {
                "change the rights of the file, or choose one that you may read"
            }
            "fs.permission_denied" | "fs.read_only" => "choose a place that you may write to",
            "fs.io" if self.io_kind() == Some(io::ErrorKind::NotADirectory) => {
                "a part of the path is a file and no folder; choose another path"
            }
            "fs.damaged_blob" => "restore the workspace from a copy, or start a new run",
            _ => return None,
        };
        Some(text.to_owned())
    }

    fn class(&self) -> ErrorClass {
        if self.is_disk_full() { ErrorClass::Resource } else { ErrorClass::Permanent }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_not_read_is_not_told_where_to_write() {
        let hint = |action| FsError::io(action, "x", io::ErrorKind::PermissionDenied.into()).hint().unwrap();
        assert!(hint("read").contains("read") && !hint("read").contains("write"));
        // The file may be an export as well as a part of a workspace.
        assert!(hint("write").contains("write") && !hint("write").contains("workspace"));
    }
}
