//! Content-addressed storage: a file is named by the blake3 hash of its bytes and never changes.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use trex_domain::ContentHash;

use crate::{FsError, StreamWriter, files};

/// Bytes of a blob that are read at a time.
const LINE_BUFFER_BYTES: usize = 1 << 20;

/// A folder of blobs. Cheap to clone; several processes may use one folder at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobStore {
    root: PathBuf,
}

impl BlobStore {
    /// Uses this folder; it is created on the first write.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where a blob lies, whether it exists or not.
    pub fn path(&self, name: &ContentHash) -> PathBuf {
        name.path_in(&self.root)
    }

    /// Whether the blob is there.
    pub fn contains(&self, name: &ContentHash) -> bool {
        self.path(name).is_file()
    }

    /// The size of a blob; 0 where it is not there.
    pub fn num_bytes(&self, name: &ContentHash) -> u64 {
        std::fs::metadata(self.path(name)).map_or(0, |facts| facts.len())
    }

    /// Stores bytes; equal bytes are stored once.
    pub fn put(&self, content: &[u8]) -> Result<ContentHash, FsError> {
        let name = ContentHash::of_bytes(content);
        if !self.contains(&name) {
            files::write_atomic(&self.path(&name), content)?;
        }
        Ok(name)
    }

    /// Stores values as JSON lines.
    pub fn put_lines<T: Serialize>(&self, values: &[T]) -> Result<ContentHash, FsError> {
        let mut content = Vec::new();
        for value in values {
            serde_json::to_writer(&mut content, value)
                .map_err(|source| FsError::NotJson { path: self.root.clone(), source })?;
            content.push(b'\n');
        }
        self.put(&content)
    }

    /// Begins a blob that is written piece by piece; its name is known at the end.
    pub fn writer(&self) -> Result<BlobWriter<'_>, FsError> {
        files::create_dir_all(&self.root)?;
        let path = files::temporary_beside(&self.root.join("stream"));
        let file = StreamWriter::create(&path)?;
        Ok(BlobWriter { store: self, path, file: Some(file), hasher: blake3::Hasher::new() })
    }

    /// Hands the lines of a blob on one by one and checks its content against its name at the end, so what was made of the
    /// lines must not be used where this fails.
    pub fn for_each_line<T, E>(&self, name: &ContentHash, mut each: impl FnMut(T) -> Result<(), E>) -> Result<(), E>
    where
        T: DeserializeOwned,
        E: From<FsError>,
    {
        let path = self.path(name);
        let mut reader = BufReader::with_capacity(LINE_BUFFER_BYTES, files::open(&path)?);
        let mut hasher = blake3::Hasher::new();
        let mut content = Vec::new();
        for line in 1.. {
            content.clear();
            let length = reader.read_until(b'\n', &mut content).map_err(|err| FsError::io("read", &path, err))?;
            if length == 0 {
                break;
            }
            hasher.update(&content);
            let text = content.strip_suffix(b"\n").unwrap_or(&content);
            if text.is_empty() {
                continue;
            }
            let value = serde_json::from_slice(text);
            each(value.map_err(|source| FsError::BadLine { path: path.clone(), line, source })?)?;
        }
        let found = ContentHash::from_digest(*hasher.finalize().as_bytes());
        if found != *name {
            return Err(FsError::DamagedBlob { name: *name, found }.into());
        }
        Ok(())
    }

    /// Reads a blob and checks its content against its name.
    pub fn get(&self, name: &ContentHash) -> Result<Vec<u8>, FsError> {
        let content = files::read(&self.path(name))?;
        let found = ContentHash::of_bytes(&content);
        if found != *name {
            return Err(FsError::DamagedBlob { name: *name, found });
        }
        Ok(content)
    }

    /// Reads a blob of JSON lines, checked.
    pub fn get_lines<T: DeserializeOwned>(&self, name: &ContentHash) -> Result<Vec<T>, FsError> {
        let content = self.get(name)?;
        let path = self.path(name);
        let lines = content.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty());
        lines
            .map(|(index, line)| {
                serde_json::from_slice(line).map_err(|source| FsError::BadLine {
                    path: path.clone(),
                    line: index + 1,
                    source,
                })
            })
            .collect()
    }
}

/// A blob under way. One that is not finished leaves nothing behind.
#[derive(Debug)]
pub struct BlobWriter<'a> {
    store: &'a BlobStore,
    path: PathBuf,
    file: Option<StreamWriter>,
    hasher: blake3::Hasher,
}

impl BlobWriter<'_> {
    /// Adds a value as a line of JSON.
    pub fn push_line(&mut self, value: &impl Serialize) -> Result<(), FsError> {
        let mut line =
            serde_json::to_vec(value).map_err(|source| FsError::NotJson { path: self.store.root.clone(), source })?;
        line.push(b'\n');
        self.push(&line)
    }

    /// Adds bytes.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), FsError> {
        self.hasher.update(bytes);
        match &mut self.file {
            Some(file) => file.push(bytes).map(|_length| ()),
            None => Ok(()),
        }
    }

    /// Puts the blob in its place and names it; equal content is stored once.
    pub fn finish(mut self) -> Result<ContentHash, FsError> {
        if let Some(file) = self.file.take() {
            file.finish()?;
        }
        let name = ContentHash::from_digest(*self.hasher.finalize().as_bytes());
        if !self.store.contains(&name) {
            files::put_in_place(&self.path, &self.store.path(&name))?;
        }
        Ok(name)
    }
}

impl Drop for BlobWriter<'_> {
    fn drop(&mut self) {
        // It is gone already where it was put in its place.
        std::fs::remove_file(&self.path).ok();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn what_is_put_is_got(content in proptest::collection::vec(any::<u8>(), 0..200)) {
            let dir = tempfile::tempdir().unwrap();
            let blobs = BlobStore::new(dir.path());
            let name = blobs.put(&content).unwrap();
            prop_assert_eq!(blobs.put(&content).unwrap(), name);
            prop_assert_eq!(blobs.get(&name).unwrap(), content);
        }
    }

    #[test]
    fn damage_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = BlobStore::new(dir.path());
        let name = blobs.put(b"weights").unwrap();
        std::fs::write(blobs.path(&name), b"weight!").unwrap();
        assert!(matches!(blobs.get(&name), Err(FsError::DamagedBlob { .. })));
    }

    #[test]
    fn a_streamed_blob_is_the_one_that_is_put_whole() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = BlobStore::new(dir.path().join("blobs"));
        let values = ["a", "b", "c"];
        for _ in 0..2 {
            let mut writer = blobs.writer().unwrap();
            for value in &values {
                writer.push_line(value).unwrap();
            }
            assert_eq!(writer.finish().unwrap(), blobs.put_lines(&values).unwrap());
        }
        blobs.writer().unwrap().push(b"unfinished").unwrap();
        let left: Vec<_> = std::fs::read_dir(blobs.root()).unwrap().collect();
        assert_eq!(left.len(), 1, "one blob and nothing unfinished: {left:?}");
    }

    #[test]
    fn lines_are_handed_on_and_damage_is_noticed_at_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = BlobStore::new(dir.path());
        let name = blobs.put(b"\"a\"\n\n\"b\"").unwrap();
        let read = |name: &ContentHash| {
            let mut found = Vec::new();
            blobs
                .for_each_line(name, |line: String| {
                    found.push(line);
                    Ok::<(), FsError>(())
                })
                .map(|()| found)
        };
        assert_eq!(read(&name).unwrap(), ["a", "b"]);
        std::fs::write(blobs.path(&name), b"\"a\"\n\"c\"").unwrap();
        assert!(matches!(read(&name), Err(FsError::DamagedBlob { .. })));
        std::fs::write(blobs.path(&name), b"\"a\"\nb").unwrap();
        assert!(matches!(read(&name), Err(FsError::BadLine { line: 2, .. })));
    }

    #[test]
    fn lines_round_trip() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = BlobStore::new(dir.path());
        let name = blobs.put_lines(&["a", "b"]).unwrap();
        assert_eq!(blobs.get_lines::<String>(&name).unwrap(), ["a", "b"]);
    }
}
