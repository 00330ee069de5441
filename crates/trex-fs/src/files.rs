//! Reading and atomic writing, with paths in errors.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;
use serde::de::DeserializeOwned;
use trex_domain::ContentHash;

use crate::FsError;

/// Opens a file for reading.
pub fn open(path: &Path) -> Result<File, FsError> {
    File::open(path).map_err(|err| FsError::io("open", path, err))
}

/// Reads a whole file.
pub fn read(path: &Path) -> Result<Vec<u8>, FsError> {
    fs::read(path).map_err(|err| FsError::io("read", path, err))
}

/// Names a file by its content, which passes by in pieces.
pub fn hash_file(path: &Path) -> Result<ContentHash, FsError> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(open(path)?).map_err(|err| FsError::io("read", path, err))?;
    Ok(ContentHash::from_digest(*hasher.finalize().as_bytes()))
}

/// Reads a whole UTF-8 file.
pub fn read_to_string(path: &Path) -> Result<String, FsError> {
    fs::read_to_string(path).map_err(|err| FsError::io("read", path, err))
}

/// Creates a folder with its parents.
pub fn create_dir_all(path: &Path) -> Result<(), FsError> {
    fs::create_dir_all(path).map_err(|err| FsError::io("create folder", path, err))
}

/// Removes a folder with all it holds; one that is absent is fine.
pub fn remove_dir_all(path: &Path) -> Result<(), FsError> {
    match fs::remove_dir_all(path) {
        Err(err) if err.kind() != std::io::ErrorKind::NotFound => Err(FsError::io("remove folder", path, err)),
        _ => Ok(()),
    }
}

/// Removes a file; one that is absent is fine.
pub fn remove_file(path: &Path) -> Result<(), FsError> {
    match fs::remove_file(path) {
        Err(err) if err.kind() != std::io::ErrorKind::NotFound => Err(FsError::io("remove", path, err)),
        _ => Ok(()),
    }
}

/// Reads a file of one JSON value per line; empty lines are passed over.
pub fn read_lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, FsError> {
    let text = read_to_string(path)?;
    let mut values = Vec::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let value = serde_json::from_str(line);
        values.push(value.map_err(|source| FsError::BadLine { path: path.to_owned(), line: index + 1, source })?);
    }
    Ok(values)
}

/// Writes a file so that it is complete or, after a crash, as it was before.
pub fn write_atomic(path: &Path, content: &[u8]) -> Result<(), FsError> {
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    create_dir_all(folder)?;
    let temporary = temporary_beside(path);
    let written = write_synced(&temporary, content).and_then(|()| put_in_place(&temporary, path));
    if written.is_err() {
        fs::remove_file(&temporary).ok();
    }
    written
}

/// Writes a value as indented JSON, atomically.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<(), FsError> {
    let mut text =
        serde_json::to_string_pretty(value).map_err(|source| FsError::NotJson { path: path.to_owned(), source })?;
    text.push('\n');
    write_atomic(path, text.as_bytes())
}

fn write_synced(path: &Path, content: &[u8]) -> Result<(), FsError> {
    let mut file = File::create(path).map_err(|err| FsError::io("create", path, err))?;
    file.write_all(content).map_err(|err| FsError::io("write", path, err))?;
    file.sync_all().map_err(|err| FsError::io("sync", path, err))
}

/// Puts a file that was written and synced in its place.
pub(crate) fn put_in_place(temporary: &Path, path: &Path) -> Result<(), FsError> {
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    create_dir_all(folder)?;
    fs::rename(temporary, path).map_err(|err| FsError::io("rename to", path, err))?;
    sync_folder(folder)
}

/// Makes a rename durable. Folders cannot be synced on Windows, where the rename is.
fn sync_folder(folder: &Path) -> Result<(), FsError> {
    if cfg!(unix) {
        let folder_or_here = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        return open(folder_or_here)?.sync_all().map_err(|err| FsError::io("sync", folder, err));
    }
    Ok(())
}

/// A name in the same folder that no other thread or process uses.
pub(crate) fn temporary_beside(path: &Path) -> PathBuf {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    path.with_file_name(format!(".{name}.{}-{number}.tmp", std::process::id()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_no_rubbish_and_names_the_path() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("taken");
        fs::create_dir(&target).unwrap();
        fs::write(target.join("x"), "x").unwrap();
        let err = write_atomic(&target, b"new").unwrap_err();
        assert!(err.to_string().contains("taken"), "{err}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_has_the_name_of_its_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows");
        let content = vec![7; 3 << 16];
        write_atomic(&path, &content).unwrap();
        assert_eq!(hash_file(&path).unwrap(), ContentHash::of_bytes(&content));
        assert!(hash_file(&dir.path().join("absent")).unwrap_err().to_string().contains("absent"));
    }

    #[test]
    fn json_lines_name_the_bad_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows.jsonl");
        write_atomic(&path, b"1\n\n2\nx\n").unwrap();
        assert!(read_lines::<u32>(&path).unwrap_err().to_string().contains("rows.jsonl:4"));
        write_atomic(&path, b"1\n\n2\n").unwrap();
        assert_eq!(read_lines::<u32>(&path).unwrap(), [1, 2]);
    }
}
