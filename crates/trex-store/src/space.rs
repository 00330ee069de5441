//! What may be written and how much, for the check before work begins. Reserves and writes nothing.

use std::path::Path;

use trex_fs::FsError;

use crate::{StoreError, Workspace};

/// Bytes that this user may still write on the file system of `path` (or of its nearest parent that exists).
#[cfg(unix)]
pub fn free_bytes(path: &Path) -> Result<u64, StoreError> {
    let existing = path.ancestors().find(|path| path.exists()).unwrap_or_else(|| Path::new("."));
    let stats =
        rustix::fs::statvfs(existing).map_err(|err| FsError::io("read the free space of", existing, err.into()))?;
    Ok(stats.f_bavail.saturating_mul(stats.f_frsize))
}

/// Bytes that this user may still write; not known on this platform.
#[cfg(not(unix))]
pub fn free_bytes(path: &Path) -> Result<u64, StoreError> {
    Err(FsError::io("read the free space of", path, std::io::ErrorKind::Unsupported.into()).into())
}

/// Returns the free bytes, or [`StoreError::TooLittleSpace`] where fewer than `needed_bytes` are free.
pub fn require_free_bytes(path: &Path, needed_bytes: u64) -> Result<u64, StoreError> {
    let free_bytes = free_bytes(path)?;
    if free_bytes < needed_bytes {
        return Err(StoreError::TooLittleSpace { path: path.to_owned(), needed_bytes, free_bytes });
    }
    Ok(free_bytes)
}

/// Whether this user may begin or go on with a run in a workspace folder that is there: [`StoreError::ReadOnly`] names what
/// may not be written.
#[cfg(unix)]
pub fn check_writable(dir: &Path) -> Result<(), StoreError> {
    use rustix::fs::{Access, access};

    let workspace = Workspace::at(dir);
    let parts = [dir.to_owned(), workspace.database(), workspace.blobs(), workspace.scratch(), workspace.exports()];
    for part in parts.iter().filter(|part| part.exists()) {
        access(part, Access::WRITE_OK).map_err(|err| FsError::io("write to", part, err.into()))?;
    }
    Ok(())
}

/// Whether this user may begin or go on with a run in a workspace folder that is there.
#[cfg(not(unix))]
pub fn check_writable(dir: &Path) -> Result<(), StoreError> {
    let database = Workspace::at(dir).database();
    let metadata = database.metadata().map_err(|err| FsError::io("find", &database, err))?;
    if metadata.permissions().readonly() {
        return Err(FsError::io("write to", database, std::io::ErrorKind::PermissionDenied.into()).into());
    }
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use trex_domain::{ErrorClass, Problem as _};
    use trex_testkit::TempWorkspace;

    use super::*;

    #[test]
    fn too_little_space_names_both_numbers() {
        let folder = TempWorkspace::empty();
        let free = require_free_bytes(&folder.path().join("not/there/yet"), 1).unwrap();
        assert!(free > 0);
        let err = require_free_bytes(folder.path(), u64::MAX).unwrap_err();
        assert_eq!((err.code(), err.class()), ("store.disk_full", ErrorClass::Resource));
        assert!(err.to_string().contains(&u64::MAX.to_string()) && err.to_string().contains("bytes free"), "{err}");
        assert!(err.hint().is_some());
    }
}
