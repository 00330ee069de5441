//! The chunks of a recipe run: split, filtered, and kept in a scratch folder until the run is done.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use trex_domain::{ContentHash, Example, OperatorCount, RowCounts};
use trex_fs::{FsError, ScratchFile, read_to_string, write_atomic};

use crate::operators::{StepTrace, expression};
use crate::pool::Pool;
use crate::split::group_position;
use crate::{DataError, ExampleChunk, RecipeFile};

/// Reasons that are told apart.
const MAX_REASONS: usize = 50;

/// Bytes that are hashed at a time.
const HASHED_BYTES: usize = 1 << 20;

/// Rows by where they go.
#[derive(Clone, Debug)]
pub(super) struct Rows {
    pub(super) train: Pool,
    pub(super) dev: Pool,
    pub(super) test: Pool,
}

impl Rows {
    /// None yet, in a file.
    pub(super) fn in_file(file: &Arc<ScratchFile>) -> Self {
        Self { train: Pool::in_file(file), dev: Pool::in_file(file), test: Pool::in_file(file) }
    }

    pub(super) fn append(&mut self, other: Self) -> Result<(), DataError> {
        self.train.append(other.train)?;
        self.dev.append(other.dev)?;
        self.test.append(other.test)
    }
}

/// The rows of one chunk by where they go.
#[derive(Clone, Debug, Default)]
pub(super) struct ChunkRows {
    pub(super) train: Vec<Example>,
    pub(super) dev: Vec<Example>,
    pub(super) test: Vec<Example>,
}

/// A chunk that the leading steps are through with; its rows lie in the file of the run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Done {
    pub(super) source_rows: RowCounts,
    pub(super) filtered: usize,
    pub(super) reasons: BTreeMap<String, usize>,
    pub(super) counts: Vec<OperatorCount>,
    pub(super) traces: Vec<StepTrace>,
    /// Where its rows begin, and behind them the next one's.
    start: u64,
    end: u64,
    /// The hash of what lies between.
    content: Option<ContentHash>,
    /// Lengths of the rows: train, dev, test.
    lengths: [Vec<u32>; 3],
}

/// Filters the rows of a chunk and deals them out to the splits by hash of their group.
pub(super) fn split_chunk(
    chunk: ExampleChunk,
    filter: Option<&str>,
    recipe: &RecipeFile,
) -> Result<(Done, ChunkRows), DataError> {
    let filter = filter.map(|pattern| expression("sources", pattern)).transpose()?;
    let mut rows = ChunkRows::default();
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
            &mut rows.test
        } else if position < recipe.split.test + recipe.split.dev {
            &mut rows.dev
        } else {
            &mut rows.train
        };
        split.push(row);
    }
    Ok((done, rows))
}

/// The scratch folder of a run: the rows in one file, and a small file for every chunk that says which are its own.
#[derive(Debug)]
pub(super) struct Chunks {
    folder: PathBuf,
    file: Arc<ScratchFile>,
}

impl Chunks {
    /// Goes on behind the last finished chunk of an earlier run, or begins.
    pub(super) fn open(folder: PathBuf) -> Result<Self, DataError> {
        let listed = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        let finished = listed.filter(|entry| entry.path().extension().is_some_and(|ending| ending == "json"));
        let ends = finished.filter_map(|entry| Some(read_done(&entry.path())?.end));
        let file = ScratchFile::go_on(&folder.join("rows"), ends.max().unwrap_or(0))?;
        Ok(Self { folder, file: Arc::new(file) })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn file(&self) -> &Arc<ScratchFile> {
        &self.file
    }

    /// A chunk of an earlier run; a damaged one counts as absent.
    pub(super) fn load(&self, source: usize, number: usize) -> Option<(Done, Rows)> {
        let done = read_done(&self.path(source, number))?;
        let is_whole = done.end <= self.file.len() && done.content == self.content_of(done.start, done.end).ok();
        if !is_whole {
            return None;
        }
        let mut start = done.start;
        let mut pools = Vec::with_capacity(done.lengths.len());
        for lengths in &done.lengths {
            pools.push(Pool::found(&self.file, start, lengths)?);
            start += Pool::num_bytes_of(lengths);
        }
        let [train, dev, test] = <[Pool; 3]>::try_from(pools).ok()?;
        (start == done.end).then_some((done, Rows { train, dev, test }))
    }

    pub(super) fn store(
        &self,
        source: usize,
        number: usize,
        mut done: Done,
        rows: ChunkRows,
    ) -> Result<(Done, Rows), DataError> {
        done.start = self.file.len();
        let mut stored = Rows::in_file(&self.file);
        stored.train.extend(rows.train)?;
        stored.dev.extend(rows.dev)?;
        stored.test.extend(rows.test)?;
        done.end = self.file.len();
        done.lengths = [&stored.train, &stored.dev, &stored.test]
            .map(|pool| pool.places().iter().map(|place| place.num_grains()).collect());
        self.file.flush()?;
        done.content = Some(self.content_of(done.start, done.end)?);
        let path = self.path(source, number);
        let text = serde_json::to_vec(&done).map_err(|source| FsError::NotJson { path: path.clone(), source })?;
        write_atomic(&path, &text)?;
        Ok((done, stored))
    }

    fn content_of(&self, start: u64, end: u64) -> Result<ContentHash, DataError> {
        let mut hasher = blake3::Hasher::new();
        let mut at = start;
        let mut bytes = vec![0; HASHED_BYTES];
        while at < end {
            let length = usize::try_from(end - at).unwrap_or(usize::MAX).min(HASHED_BYTES);
            let part = bytes.get_mut(..length).unwrap_or_default();
            self.file.read(at, part)?;
            hasher.update(part);
            at += length as u64;
        }
        Ok(ContentHash::from_digest(*hasher.finalize().as_bytes()))
    }

    fn path(&self, source: usize, number: usize) -> PathBuf {
        self.folder.join(format!("{source:03}-{number:06}.json"))
    }
}

fn read_done(path: &Path) -> Option<Done> {
    serde_json::from_str(&read_to_string(path).ok()?).ok()
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
