//! The chunks of a recipe run: split, filtered, and kept in a scratch folder until the run is done.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use trex_domain::{ContentHash, Example, OperatorCount, RowCounts};
use trex_fs::{FsError, read_to_string, write_atomic};

use crate::operators::{StepTrace, expression};
use crate::split::group_position;
use crate::{DataError, ExampleChunk, RecipeFile};

/// Reasons that are told apart.
const MAX_REASONS: usize = 50;

/// Rows by where they go.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Rows {
    pub(super) train: Vec<Example>,
    pub(super) dev: Vec<Example>,
    pub(super) test: Vec<Example>,
}

impl Rows {
    pub(super) fn extend(&mut self, other: Self) {
        self.train.extend(other.train);
        self.dev.extend(other.dev);
        self.test.extend(other.test);
    }
}

/// A chunk that the leading steps are through with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Done {
    pub(super) rows: Rows,
    pub(super) source_rows: RowCounts,
    pub(super) filtered: usize,
    pub(super) reasons: BTreeMap<String, usize>,
    pub(super) counts: Vec<OperatorCount>,
    pub(super) traces: Vec<StepTrace>,
}

/// Filters the rows of a chunk and deals them out to the splits by hash of their group.
pub(super) fn split_chunk(chunk: ExampleChunk, filter: Option<&str>, recipe: &RecipeFile) -> Result<Done, DataError> {
    let filter = filter.map(|pattern| expression("sources", pattern)).transpose()?;
    let mut done = Done {
        source_rows: RowCounts { input: chunk.input, kept: chunk.examples.len(), quarantined: chunk.quarantined.len() },
        ..Done::default()
    };
    for row in chunk.quarantined {
        if done.reasons.len() < MAX_REASONS || done.reasons.contains_key(&row.reason) {
            *done.reasons.entry(row.reason).or_default() += 1;
        }
    }
    for row in chunk.examples {
        if filter.as_ref().is_some_and(|filter| !filter.is_match(&row.prompt_text())) {
            done.filtered += 1;
            continue;
        }
        let position = group_position(recipe.seed, &row);
        let split = if position < recipe.split.test {
            &mut done.rows.test
        } else if position < recipe.split.test + recipe.split.dev {
            &mut done.rows.dev
        } else {
            &mut done.rows.train
        };
        split.push(row);
    }
    Ok(done)
}

/// The scratch folder of a run.
#[derive(Clone, Debug)]
pub(super) struct Chunks {
    folder: PathBuf,
}

impl Chunks {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A chunk of an earlier run; a damaged one counts as absent.
    pub(super) fn load(&self, source: usize, number: usize) -> Option<Done> {
        serde_json::from_str(&read_to_string(&self.path(source, number)).ok()?).ok()
    }

    pub(super) fn store(&self, source: usize, number: usize, done: &Done) -> Result<(), DataError> {
        let path = self.path(source, number);
        let text = serde_json::to_vec(done).map_err(|source| FsError::NotJson { path: path.clone(), source })?;
        Ok(write_atomic(&path, &text)?)
    }

    fn path(&self, source: usize, number: usize) -> PathBuf {
        self.folder.join(format!("{source:03}-{number:06}.json"))
    }
}

/// The hash of a file, or of the names and contents of all files below a folder.
pub(crate) fn content_hash(path: &Path) -> Result<ContentHash, DataError> {
    let listed = crate::reader::files_of(path)?;
    let mut hasher = blake3::Hasher::new();
    for (name, file) in listed {
        hasher.update(&(name.len() as u64).to_le_bytes());
        hasher.update(name.as_bytes());
        let mut inner = blake3::Hasher::new();
        inner.update_reader(trex_fs::open(&file)?).map_err(|err| FsError::io("read", &file, err))?;
        hasher.update(inner.finalize().as_bytes());
    }
    Ok(ContentHash::of_bytes(hasher.finalize().as_bytes()))
}
