//! Files that are written piece by piece and read in parts, with paths in errors. What is to appear whole is written into
//! a folder of its own, which [`rename_dir`] puts in its place at the end.

use std::fs::File;
use std::io::{BufWriter, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use crate::{FsError, files};

/// Bytes that are collected before they are written.
const BUFFER_BYTES: usize = 1 << 20;

/// A file that grows.
#[derive(Debug)]
pub struct StreamWriter {
    path: PathBuf,
    file: BufWriter<File>,
    num_bytes: u64,
}

impl StreamWriter {
    /// Begins a file, or begins it anew.
    pub fn create(path: &Path) -> Result<Self, FsError> {
        let file = File::create(path).map_err(|err| FsError::io("create", path, err))?;
        Ok(Self { path: path.to_owned(), file: BufWriter::with_capacity(BUFFER_BYTES, file), num_bytes: 0 })
    }

    /// Adds bytes; returns the length of the file with them.
    pub fn push(&mut self, bytes: &[u8]) -> Result<u64, FsError> {
        self.file.write_all(bytes).map_err(|err| FsError::io("write", &self.path, err))?;
        self.num_bytes += bytes.len() as u64;
        Ok(self.num_bytes)
    }

    /// Writes what is left and waits for the disk.
    pub fn finish(mut self) -> Result<(), FsError> {
        let done = self.file.flush().and_then(|()| self.file.get_ref().sync_all());
        done.map_err(|err| FsError::io("write", &self.path, err))
    }
}

/// A file that grows under another name and appears whole. One that is not finished leaves nothing behind.
#[derive(Debug)]
pub struct NewFile {
    target: PathBuf,
    temporary: PathBuf,
    file: Option<BufWriter<File>>,
}

impl NewFile {
    /// Begins a file that is to lie at `path`.
    pub fn create(path: &Path) -> Result<Self, FsError> {
        crate::create_dir_all(path.parent().unwrap_or_else(|| Path::new(".")))?;
        let temporary = files::temporary_beside(path);
        let file = File::create(&temporary).map_err(|err| FsError::io("create", &temporary, err))?;
        let file = Some(BufWriter::with_capacity(BUFFER_BYTES, file));
        Ok(Self { target: path.to_owned(), temporary, file })
    }

    /// Waits for the disk and puts the file in its place.
    pub fn finish(mut self) -> Result<(), FsError> {
        if let Some(mut file) = self.file.take() {
            let done = file.flush().and_then(|()| file.get_ref().sync_all());
            done.map_err(|err| FsError::io("write", &self.temporary, err))?;
        }
        files::put_in_place(&self.temporary, &self.target)
    }
}

impl std::io::Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.file.as_mut().map_or(Ok(bytes.len()), |file| file.write(bytes))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.as_mut().map_or(Ok(()), std::io::Write::flush)
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        // It is gone already where it was put in its place.
        std::fs::remove_file(&self.temporary).ok();
    }
}

/// Reads `num_bytes` of a file from a place on; fewer than those are an error.
pub fn read_part(path: &Path, start: u64, num_bytes: usize) -> Result<Vec<u8>, FsError> {
    let failed = |err| FsError::io("read", path, err);
    let mut file = crate::open(path)?;
    file.seek(SeekFrom::Start(start)).map_err(failed)?;
    let mut bytes = Vec::with_capacity(num_bytes);
    let found = file.take(num_bytes as u64).read_to_end(&mut bytes).map_err(failed)?;
    if found < num_bytes {
        return Err(failed(std::io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(bytes)
}

/// Puts a finished folder in its place. One that somebody else has put there meanwhile stays.
pub fn rename_dir(from: &Path, to: &Path) -> Result<(), FsError> {
    if let Some(parent) = to.parent() {
        crate::create_dir_all(parent)?;
    }
    match std::fs::rename(from, to) {
        Ok(()) => Ok(()),
        Err(_taken) if to.is_dir() => crate::remove_dir_all(from),
        Err(err) => Err(FsError::io("rename to", to, err)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_file_appears_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("below").join("rows");
        let mut file = NewFile::create(&path).unwrap();
        file.write_all(b"half").unwrap();
        drop(file);
        assert_eq!(std::fs::read_dir(dir.path().join("below")).unwrap().count(), 0);
        let mut file = NewFile::create(&path).unwrap();
        file.write_all(b"whole").unwrap();
        assert!(!path.exists());
        file.finish().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"whole");
        assert_eq!(std::fs::read_dir(dir.path().join("below")).unwrap().count(), 1);
    }

    #[test]
    fn parts_of_what_was_streamed_are_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let (unfinished, place) = (dir.path().join("a"), dir.path().join("deep/b"));
        std::fs::create_dir(&unfinished).unwrap();
        let mut writer = StreamWriter::create(&unfinished.join("f")).unwrap();
        assert_eq!(writer.push(b"one").unwrap(), 3);
        assert_eq!(writer.push(b"two").unwrap(), 6);
        writer.finish().unwrap();
        rename_dir(&unfinished, &place).unwrap();
        assert_eq!(read_part(&place.join("f"), 2, 3).unwrap(), b"etw");
        assert!(read_part(&place.join("f"), 4, 3).unwrap_err().to_string().contains("deep/b/f"));
    }

    #[test]
    fn the_first_folder_of_a_name_stays() {
        let dir = tempfile::tempdir().unwrap();
        for (folder, text) in [("first", "1"), ("second", "2")] {
            std::fs::create_dir(dir.path().join(folder)).unwrap();
            std::fs::write(dir.path().join(folder).join("f"), text).unwrap();
            rename_dir(&dir.path().join(folder), &dir.path().join("place")).unwrap();
        }
        assert_eq!(std::fs::read_to_string(dir.path().join("place/f")).unwrap(), "1");
        assert!(!dir.path().join("second").exists());
    }
}
