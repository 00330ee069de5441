//! Content-addressed storage: a file is named by the blake3 hash of its bytes and never changes.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use trex_domain::ContentHash;

use crate::{FsError, files};

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
    fn lines_round_trip() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = BlobStore::new(dir.path());
        let name = blobs.put_lines(&["a", "b"]).unwrap();
        assert_eq!(blobs.get_lines::<String>(&name).unwrap(), ["a", "b"]);
    }
}
