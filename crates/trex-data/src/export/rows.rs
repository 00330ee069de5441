//! Rows as an export reads them: at hand, or from where they lie, as often as they are asked for, so that none is held.

use std::fmt::Debug;
use std::path::PathBuf;

use trex_domain::{ContentHash, Example, FieldMap};
use trex_fs::BlobStore;

use crate::{DataError, ExampleReader};

/// Rows that pass by together.
const PORTION_ROWS: usize = 4096;

/// Rows that can be read again and again, and are the same each time.
pub trait Rows: Debug {
    /// Their number.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Hands on all rows, some at a time.
    fn for_each_portion(&self, each: &mut dyn FnMut(&[Example]) -> Result<(), DataError>) -> Result<(), DataError>;
}

impl Rows for &[Example] {
    fn len(&self) -> usize {
        <[Example]>::len(self)
    }

    fn for_each_portion(&self, each: &mut dyn FnMut(&[Example]) -> Result<(), DataError>) -> Result<(), DataError> {
        self.chunks(PORTION_ROWS).try_for_each(each)
    }
}

/// The rows of a blob.
#[derive(Clone, Debug)]
pub struct BlobRows {
    /// Where blobs lie.
    pub blobs: BlobStore,
    /// Its name.
    pub name: ContentHash,
    /// Its rows.
    pub len: usize,
}

impl Rows for BlobRows {
    fn len(&self) -> usize {
        self.len
    }

    fn for_each_portion(&self, each: &mut dyn FnMut(&[Example]) -> Result<(), DataError>) -> Result<(), DataError> {
        let mut portion = Vec::new();
        self.blobs.for_each_line(&self.name, |row: Example| {
            portion.push(row);
            if portion.len() < PORTION_ROWS {
                return Ok(());
            }
            let done = each(&portion);
            portion.clear();
            done
        })?;
        each(&portion)
    }
}

/// The rows of a source, without those that cannot be read.
#[derive(Clone, Debug)]
pub struct SourceRows {
    /// A file, an archive or a folder.
    pub path: PathBuf,
    /// Columns as the person names them.
    pub fields: FieldMap,
    /// Its rows, as an earlier reading counted them.
    pub len: usize,
}

impl Rows for SourceRows {
    fn len(&self) -> usize {
        self.len
    }

    fn for_each_portion(&self, each: &mut dyn FnMut(&[Example]) -> Result<(), DataError>) -> Result<(), DataError> {
        let mut reader = ExampleReader::guessed(&self.path, &self.fields)?;
        while let Some(chunk) = reader.next_chunk()? {
            each(&chunk.examples)?;
        }
        Ok(())
    }
}
