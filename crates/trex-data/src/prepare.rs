//! Training data of a recipe, by content: the same pool, recipe, evaluation and seed give the same blob, made once.
//!
//! The cache is a folder of small JSON files beside the blobs. An entry that is damaged, of another version, or whose
//! blob is gone counts as absent: the data is made again.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use trex_domain::{ContentHash, Example, PreparedData, PreparedRequest, RowLedger};
use trex_fs::{BlobStore, ScratchFile, read_to_string, write_json};

use crate::DataError;
use crate::operators::{Aids, LeakKeys, run_recipe_on};
use crate::pool::Pool;

/// Changes whenever an operator gives other rows than before for the same input.
pub(crate) const OPERATORS_VERSION: u32 = 2;

/// Rows of at most so many bytes are worked on in memory.
const MAX_BYTES_IN_MEMORY: u64 = 48 << 20;

/// Runs the recipe of a request over its pool and stores the result, or finds it in the cache.
pub(crate) fn prepare(
    blobs: &BlobStore,
    places: &Places<'_>,
    request: PreparedRequest<'_>,
    aids: Aids<'_>,
) -> Result<PreparedData, DataError> {
    let entry_path = entry_path(places.index, &request, aids)?;
    if let Some(cached) = cached(blobs, &entry_path) {
        return Ok(cached);
    }
    let (mut pool, mut evaluation) = empty_pools(blobs, places.scratch, &request)?;
    blobs.for_each_line(&request.pool, |row: Example| pool.push(row))?;
    if pool.is_empty() {
        return Err(DataError::EmptyPool { pool: request.pool });
    }
    for split in request.evaluation {
        blobs.for_each_line(split, |row: Example| evaluation.push(row))?;
    }
    let (rows, ledger) = run_recipe_on(request.recipe, pool, &evaluation, request.seed, aids)?;
    if rows.is_empty() {
        return Err(empty_recipe(&ledger));
    }
    let prepared = describe(store_rows(blobs, &rows)?, &rows, ledger, &evaluation, request.seed)?;
    write_json(&entry_path, &Entry::from(prepared.clone()))?;
    Ok(prepared)
}

/// The folders of a preparation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Places<'a> {
    /// The entries of the cache.
    pub(crate) index: &'a Path,
    /// For what does not fit into memory.
    pub(crate) scratch: &'a Path,
}

/// Pools for the rows and the evaluation items: in memory, or in one file where the blobs are large.
fn empty_pools(blobs: &BlobStore, scratch: &Path, request: &PreparedRequest<'_>) -> Result<(Pool, Pool), DataError> {
    let num_bytes: u64 = [&request.pool].into_iter().chain(request.evaluation).map(|blob| blobs.num_bytes(blob)).sum();
    if num_bytes <= MAX_BYTES_IN_MEMORY {
        return Ok((Pool::default(), Pool::default()));
    }
    let file = new_scratch_file(scratch)?;
    Ok((Pool::in_file(&file), Pool::in_file(&file)))
}

/// A file that is removed with its last user.
pub(crate) fn new_scratch_file(scratch: &Path) -> Result<Arc<ScratchFile>, DataError> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    let name = format!("rows-{}-{number}", std::process::id());
    Ok(Arc::new(ScratchFile::create(&scratch.join(name))?))
}

/// Stores rows as a blob of JSON lines.
pub(crate) fn store_rows(blobs: &BlobStore, rows: &Pool) -> Result<ContentHash, DataError> {
    let mut writer = blobs.writer()?;
    rows.for_each_portion(|_, rows| Ok(rows.iter().try_for_each(|row| writer.push_line(row))?))?;
    Ok(writer.finish()?)
}

fn entry_path(index_dir: &Path, request: &PreparedRequest<'_>, aids: Aids<'_>) -> Result<PathBuf, DataError> {
    let parts = (OPERATORS_VERSION, request.pool, request.recipe, request.evaluation, request.seed);
    let models = aids.names_for(&request.recipe.operators);
    let key = if models.is_empty() {
        ContentHash::of_value("trex.prepared.v1", &parts)?
    } else {
        ContentHash::of_value("trex.prepared_by_models.v1", &(parts, models))?
    };
    Ok(index_dir.join(format!("{key}.json")))
}

fn cached(blobs: &BlobStore, entry_path: &Path) -> Option<PreparedData> {
    let text = read_to_string(entry_path).ok()?;
    let entry: Entry = serde_json::from_str(&text).ok()?;
    blobs.contains(&entry.data).then(|| entry.into())
}

fn describe(
    data: ContentHash,
    rows: &Pool,
    ledger: RowLedger,
    evaluation: &Pool,
    seed: u64,
) -> Result<PreparedData, DataError> {
    let leaks = LeakKeys::new(evaluation)?;
    let mut labels: BTreeSet<String> = BTreeSet::new();
    let (mut longest_chars, mut total_chars) = (0, 0);
    let (mut leaked, mut pairs, mut texts) = (0, 0, 0);
    rows.for_each_portion(|_, rows| {
        for row in rows {
            if !row.options.is_empty() && !labels.contains(&row.answer) {
                labels.insert(row.answer.clone());
            }
            let length = num_chars(row, seed);
            longest_chars = longest_chars.max(length);
            total_chars += length;
            leaked += usize::from(leaks.has(row));
            pairs += usize::from(row.rejected_answer().is_some());
            texts += usize::from(row.is_text());
        }
        Ok(())
    })?;
    Ok(PreparedData {
        data,
        rows: rows.len(),
        labels: labels.into_iter().collect(),
        longest_chars,
        mean_chars: total_chars as f64 / rows.len().max(1) as f64,
        leaked,
        pairs,
        texts,
        ledger,
    })
}

/// Characters of the prompt, options written out, and the answer.
fn num_chars(row: &Example, seed: u64) -> usize {
    let prompt = row.rendered_prompt(seed);
    prompt.iter().map(|turn| turn.content.chars().count()).sum::<usize>() + row.answer.chars().count()
}

fn empty_recipe(ledger: &RowLedger) -> DataError {
    let dropped = ledger.steps.iter().map(|step| (step.dropped.values().sum::<usize>(), &step.operator));
    // The first of equal ones: what came later had less to choose from.
    let most = dropped.rev().max_by_key(|(count, _)| *count);
    let (dropped, operator) = most.map_or((0, String::new()), |(count, operator)| (count, operator.clone()));
    DataError::RecipeEmpty { operator, dropped, rows_in: ledger.rows_in }
}

/// [`PreparedData`] as a file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    data: ContentHash,
    rows: usize,
    labels: Vec<String>,
    longest_chars: usize,
    mean_chars: f64,
    leaked: usize,
    pairs: usize,
    texts: usize,
    ledger: RowLedger,
}

impl From<PreparedData> for Entry {
    fn from(prepared: PreparedData) -> Self {
        let PreparedData { data, rows, labels, longest_chars, mean_chars, leaked, pairs, texts, ledger } = prepared;
        Self { data, rows, labels, longest_chars, mean_chars, leaked, pairs, texts, ledger }
    }
}

impl From<Entry> for PreparedData {
    fn from(entry: Entry) -> Self {
        let Entry { data, rows, labels, longest_chars, mean_chars, leaked, pairs, texts, ledger } = entry;
        Self { data, rows, labels, longest_chars, mean_chars, leaked, pairs, texts, ledger }
    }
}

#[cfg(test)]
mod tests {
    use trex_domain::{Operator, Problem as _, Recipe};

    use super::*;
    use crate::meaning::tests::WordCounts;
    use crate::operators::tests::{choice_row, open_row};

    struct Fixture {
        dir: tempfile::TempDir,
        blobs: BlobStore,
        pool: ContentHash,
        evaluation: [ContentHash; 1],
    }

    fn fixture() -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        let blobs = BlobStore::new(dir.path().join("blobs"));
        let mut pool: Vec<_> =
            (0..9).map(|row| choice_row(row, &format!("prompt {row}"), ["yes", "no"][row % 2])).collect();
        pool.push(open_row(9, "an open question", "ä"));
        let pool = blobs.put_lines(&pool).unwrap();
        let evaluation = [blobs.put_lines(&[choice_row(0, "Prompt 3!", "no")]).unwrap()];
        Fixture { dir, blobs, pool, evaluation }
    }

    impl Fixture {
        fn run(&self, operators: &[Operator], seed: u64) -> Result<PreparedData, DataError> {
            let recipe = Recipe { operators: operators.to_vec() };
            let request = PreparedRequest { pool: self.pool, evaluation: &self.evaluation, recipe: &recipe, seed };
            self.prepare(request, Aids::default())
        }

        fn prepare(&self, request: PreparedRequest<'_>, aids: Aids<'_>) -> Result<PreparedData, DataError> {
            let (index, scratch) = (self.dir.path().join("index"), self.dir.path().join("scratch"));
            prepare(&self.blobs, &Places { index: &index, scratch: &scratch }, request, aids)
        }

        fn entries(&self) -> Vec<(PathBuf, String)> {
            let files = std::fs::read_dir(self.dir.path().join("index")).unwrap();
            let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
            paths.sort();
            paths.into_iter().map(|path| (path.clone(), std::fs::read_to_string(path).unwrap())).collect()
        }
    }

    #[test]
    fn the_result_is_described_and_leaks_are_counted() {
        let fixture = fixture();
        let prepared = fixture.run(&[], 1).unwrap();
        assert_eq!((prepared.rows, prepared.leaked, prepared.longest_chars), (10, 1, 17));
        assert_eq!(prepared.labels, ["no", "yes"]);
        assert!((prepared.mean_chars - f64::from(9 * 8 + 5 * 3 + 4 * 2 + 17) / 10.0).abs() < 1e-12);
        let clean = fixture.run(&[Operator::Decontaminate { ngram_words: 8, max_overlap: 0.5 }], 1).unwrap();
        assert_eq!((clean.rows, clean.leaked), (9, 0));
        assert!(clean.ledger.balances());
        assert_eq!(fixture.blobs.get_lines::<Example>(&clean.data).unwrap().len(), 9);
    }

    #[test]
    fn a_second_call_reads_the_entry_and_rewrites_nothing() {
        let fixture = fixture();
        let first = fixture.run(&[Operator::Shuffle], 1).unwrap();
        let (path, text) = fixture.entries().remove(0);
        // White space at the end would be gone if the entry were written again.
        std::fs::write(&path, format!("{text}\n\n")).unwrap();
        assert_eq!(fixture.run(&[Operator::Shuffle], 1).unwrap(), first);
        assert_eq!(fixture.entries(), [(path, format!("{text}\n\n"))]);
        fixture.run(&[Operator::Shuffle], 2).unwrap();
        fixture.run(&[], 1).unwrap();
        assert_eq!(fixture.entries().len(), 3);
    }

    #[test]
    fn a_deleted_blob_or_a_damaged_entry_is_made_again() {
        let fixture = fixture();
        let first = fixture.run(&[Operator::Shuffle], 1).unwrap();
        std::fs::remove_file(fixture.blobs.path(&first.data)).unwrap();
        assert_eq!(fixture.run(&[Operator::Shuffle], 1).unwrap(), first);
        assert!(fixture.blobs.contains(&first.data));
        let (path, text) = fixture.entries().remove(0);
        std::fs::write(&path, &text[..text.len() / 2]).unwrap();
        assert_eq!(fixture.run(&[Operator::Shuffle], 1).unwrap(), first);
        assert_eq!(fixture.entries(), [(path, text)]);
    }

    #[test]
    fn the_models_that_were_asked_are_part_of_the_name() {
        let fixture = fixture();
        let run = |operators: Vec<Operator>, aids| {
            let recipe = Recipe { operators };
            let request = PreparedRequest { pool: fixture.pool, evaluation: &[], recipe: &recipe, seed: 1 };
            fixture.prepare(request, aids)
        };
        let dedup = || vec![Operator::SemanticDedup { threshold: 0.95 }];
        let known = Aids { embedder: Some(&WordCounts), ..Aids::default() };
        assert_eq!(run(dedup(), Aids::default()).unwrap_err().code(), "data.no_embedder");
        run(dedup(), known).unwrap();
        assert_eq!(run(dedup(), Aids::default()).unwrap_err().code(), "data.no_embedder", "not found in the cache");
        run(Vec::new(), known).unwrap();
        run(Vec::new(), Aids::default()).unwrap();
        assert_eq!(fixture.entries().len(), 2, "a recipe that asks no model has one name");
    }

    #[test]
    fn a_recipe_that_leaves_nothing_names_the_step() {
        let fixture = fixture();
        let drop_open = Operator::RegexDrop { pattern: "open".into() };
        let err = fixture.run(&[drop_open, Operator::LengthFilter { min_chars: 900, max_chars: 1000 }], 1).unwrap_err();
        assert_eq!(err.code(), "data.recipe_empty");
        assert_eq!(err.to_string(), "the recipe leaves no rows of 10; length_filter dropped most: 9");
        assert!(!fixture.dir.path().join("index").exists());
    }

    #[test]
    fn an_empty_pool_is_named_as_such() {
        let mut fixture = fixture();
        fixture.pool = fixture.blobs.put(b"").unwrap();
        assert_eq!(fixture.run(&[], 1).unwrap_err().code(), "data.empty_pool");
    }
}
