//! A file for what does not fit into memory: bytes go to its end and are read back from any place. Nothing in it has to
//! outlive a crash, so nothing is synced; who goes on with one after a crash checks what it reads.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::FsError;

/// Bytes that are collected before they are written.
const BUFFER_BYTES: usize = 1 << 20;

/// A file that grows and is read in parts. Any number of threads may use one.
#[derive(Debug)]
pub struct ScratchFile {
    path: PathBuf,
    is_kept: bool,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    file: File,
    /// Bytes that are on the disk.
    written: u64,
    /// What comes behind them.
    pending: Vec<u8>,
}

impl ScratchFile {
    /// Begins a file anew; it is removed when the value goes.
    pub fn create(path: &Path) -> Result<Self, FsError> {
        Self::open(path, 0, false)
    }

    /// Goes on with a file behind its first `length` bytes, or begins one; it stays. A file that is shorter is begun anew.
    pub fn go_on(path: &Path, length: u64) -> Result<Self, FsError> {
        Self::open(path, length, true)
    }

    fn open(path: &Path, length: u64, is_kept: bool) -> Result<Self, FsError> {
        if let Some(folder) = path.parent() {
            crate::create_dir_all(folder)?;
        }
        let failed = |action| move |err| FsError::io(action, path, err);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let file = file.map_err(failed("create"))?;
        let found = file.metadata().map_err(failed("read"))?.len();
        let written = if found < length { 0 } else { length };
        file.set_len(written).map_err(failed("write"))?;
        let inner = Mutex::new(Inner { file, written, pending: Vec::new() });
        Ok(Self { path: path.to_owned(), is_kept, inner })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its length.
    pub fn len(&self) -> u64 {
        let inner = self.lock();
        inner.written + inner.pending.len() as u64
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds bytes at the end; returns where they begin.
    pub fn append(&self, bytes: &[u8]) -> Result<u64, FsError> {
        let mut inner = self.lock();
        let start = inner.written + inner.pending.len() as u64;
        inner.pending.extend_from_slice(bytes);
        if inner.pending.len() >= BUFFER_BYTES {
            self.flush_inner(&mut inner)?;
        }
        Ok(start)
    }

    /// Hands what was added to the system, so that other programs and a later opening see it.
    pub fn flush(&self) -> Result<(), FsError> {
        self.flush_inner(&mut self.lock())
    }

    /// Fills `bytes` from a place on.
    pub fn read(&self, start: u64, bytes: &mut [u8]) -> Result<(), FsError> {
        let mut inner = self.lock();
        if start + bytes.len() as u64 > inner.written {
            self.flush_inner(&mut inner)?;
        }
        let found = inner.file.seek(SeekFrom::Start(start)).and_then(|_| inner.file.read_exact(bytes));
        found.map_err(|err| FsError::io("read", &self.path, err))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // The counts change after the file does, so they hold after a panic as well.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn flush_inner(&self, inner: &mut Inner) -> Result<(), FsError> {
        if inner.pending.is_empty() {
            return Ok(());
        }
        let Inner { file, written, pending } = inner;
        let done = file.seek(SeekFrom::Start(*written)).and_then(|_| file.write_all(pending));
        done.map_err(|err| FsError::io("write", &self.path, err))?;
        *written += pending.len() as u64;
        pending.clear();
        Ok(())
    }
}

impl Drop for ScratchFile {
    fn drop(&mut self) {
        if !self.is_kept {
            // What is left behind costs room and nothing else.
            std::fs::remove_file(&self.path).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(file: &ScratchFile, start: u64, expected: &[u8]) {
        let mut bytes = vec![0; expected.len()];
        file.read(start, &mut bytes).unwrap();
        assert_eq!(bytes, expected);
    }

    #[test]
    fn what_was_added_is_read_from_any_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/rows");
        let file = ScratchFile::create(&path).unwrap();
        assert_eq!(file.append(b"one").unwrap(), 0);
        assert_eq!(file.append(b"two").unwrap(), 3);
        check(&file, 2, b"etw");
        let large = vec![7; BUFFER_BYTES];
        assert_eq!(file.append(&large).unwrap(), 6);
        check(&file, 0, b"onetwo");
        check(&file, 6, &large);
        assert_eq!(file.len(), 6 + BUFFER_BYTES as u64);
        assert!(file.read(file.len() - 1, &mut [0; 2]).unwrap_err().to_string().contains("rows"));
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn a_kept_file_goes_on_where_it_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows");
        let file = ScratchFile::go_on(&path, 0).unwrap();
        file.append(b"finished, unfinished").unwrap();
        file.flush().unwrap();
        drop(file);
        let file = ScratchFile::go_on(&path, 9).unwrap();
        file.append(b"again").unwrap();
        check(&file, 0, b"finished,again"[..8].as_ref());
        assert_eq!(file.len(), 14);
        drop(file);
        assert!(ScratchFile::go_on(&path, 99).unwrap().is_empty(), "what is missing cannot be gone on with");
    }
}
