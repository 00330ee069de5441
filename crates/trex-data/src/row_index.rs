//! The rows of a source, laid out so that any page of them is there at once, also of those with a text in them.
//!
//! Made by one reading of the source, kept in a cache folder by content: rows as JSON lines, their texts as they are, and
//! where each ends. A page reads the places, the texts where there is a filter, and its own rows; a source that has not
//! been touched since is not even hashed again. A damaged index counts as absent. Ranks nothing: see [`crate::search_rows`].

use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use memchr::memmem::Finder;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use trex_domain::{ContentHash, Example, FieldMap, RowCounts};
use trex_fs::{FsError, StreamWriter, create_dir_all, read, read_part, read_to_string, rename_dir, write_json};

use crate::{DataError, ExampleReader};

/// Changes whenever rows or texts are laid out differently, or readers give other rows than before.
const VERSION: u32 = 1;

/// Bytes of texts that one task looks through.
const PART_BYTES: u64 = 1 << 20;

/// What the index knows of its source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexFacts {
    /// Rows in, kept and quarantined; the kept ones can be listed.
    pub rows: RowCounts,
    /// What the source was taken for.
    pub format: String,
    /// What its columns were taken for.
    pub schema: String,
}

/// Some rows of those that were asked for.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RowPage {
    /// Rows that fit the filter, on all pages.
    pub total: usize,
    /// The rows of this page.
    pub rows: Vec<Example>,
}

/// The rows of one source.
#[derive(Debug)]
pub struct RowIndex {
    folder: PathBuf,
    facts: IndexFacts,
    /// Where each row ends in the file of rows.
    row_ends: Vec<u64>,
    /// Where each text ends in the file of texts.
    text_ends: Vec<u64>,
}

impl RowIndex {
    /// Opens the index of a source below a cache folder, or makes it; `progress` hears the rows that were read and may
    /// stop it.
    pub fn open(
        source: &Path,
        fields: &FieldMap,
        cache: &Path,
        progress: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Self, DataError> {
        let root = cache.join("rows");
        let content = known_content(source, &root)?;
        // The name of the file is part of the ids of the rows.
        let name = crate::reader::file_name(source);
        let key = ContentHash::of_value("trex.row_index.v1", &(VERSION, content, name, fields))?;
        let folder = root.join(key.to_string());
        if let Some(index) = Self::load(&folder) {
            return Ok(index);
        }
        trex_fs::remove_dir_all(&folder)?;
        let unfinished = root.join(format!(".unfinished-{key}-{}", std::process::id()));
        create_dir_all(&unfinished)?;
        let made = make(source, fields, &unfinished, progress);
        if let Err(err) = made {
            trex_fs::remove_dir_all(&unfinished)?;
            return Err(err);
        }
        rename_dir(&unfinished, &folder)?;
        Self::load(&folder)
            .ok_or_else(|| DataError::Fs(FsError::io("read back", &folder, std::io::ErrorKind::InvalidData.into())))
    }

    /// The index in a folder; none where it is not whole.
    fn load(folder: &Path) -> Option<Self> {
        let facts: IndexFacts = serde_json::from_str(&read_to_string(&folder.join("facts.json")).ok()?).ok()?;
        let ends = |name: &str, of: &str| -> Option<Vec<u64>> {
            let bytes = read(&folder.join(name)).ok()?;
            let (words, rest) = bytes.as_chunks::<8>();
            let ends: Vec<u64> = words.iter().map(|word| u64::from_le_bytes(*word)).collect();
            let num_bytes = folder.join(of).metadata().ok()?.len();
            let is_whole = rest.is_empty() && ends.len() == facts.rows.kept && ends.is_sorted();
            (is_whole && ends.last().copied().unwrap_or(0) == num_bytes).then_some(ends)
        };
        let (row_ends, text_ends) = (ends("row_ends", "rows.jsonl")?, ends("text_ends", "texts")?);
        Some(Self { folder: folder.to_owned(), facts, row_ends, text_ends })
    }

    /// What is known of the source.
    pub fn facts(&self) -> &IndexFacts {
        &self.facts
    }

    /// Rows `skip` to below `skip + count` of those with `filter` in their prompt or answer; of all where it is absent.
    pub fn page(&self, filter: Option<&str>, skip: usize, count: usize) -> Result<RowPage, DataError> {
        let Some(filter) = filter.filter(|text| !text.is_empty()) else {
            let total = self.row_ends.len();
            let wanted: Vec<usize> = (0..total).skip(skip).take(count).collect();
            return Ok(RowPage { total, rows: self.rows(&wanted)? });
        };
        let matching = self.matching(filter)?;
        let wanted: Vec<usize> = matching.iter().copied().skip(skip).take(count).collect();
        Ok(RowPage { total: matching.len(), rows: self.rows(&wanted)? })
    }

    /// The numbers of the rows with a text in them, in order.
    fn matching(&self, filter: &str) -> Result<Vec<usize>, DataError> {
        let finder = Finder::new(filter);
        let path = self.folder.join("texts");
        let found: Vec<Vec<usize>> = self
            .parts()
            .into_par_iter()
            .map(|(first, last)| {
                let start = end_before(&self.text_ends, first);
                let ends = self.text_ends.get(first..last).unwrap_or_default();
                let num_bytes = ends.last().map_or(0, |end| end - start);
                let bytes = read_part(&path, start, usize::try_from(num_bytes).unwrap_or(0))?;
                Ok(rows_with(&finder, &bytes, start, ends).into_iter().map(|row| first + row).collect())
            })
            .collect::<Result<_, FsError>>()?;
        Ok(found.concat())
    }

    /// Runs of whole rows whose texts have about [`PART_BYTES`]; half open.
    fn parts(&self) -> Vec<(usize, usize)> {
        let mut parts = Vec::new();
        let mut first = 0;
        while first < self.text_ends.len() {
            let limit = end_before(&self.text_ends, first) + PART_BYTES;
            let last = self.text_ends.partition_point(|end| *end <= limit).max(first + 1);
            parts.push((first, last));
            first = last;
        }
        parts
    }

    fn rows(&self, wanted: &[usize]) -> Result<Vec<Example>, DataError> {
        let path = self.folder.join("rows.jsonl");
        let mut rows = Vec::with_capacity(wanted.len());
        for number in wanted {
            let start = end_before(&self.row_ends, *number);
            let num_bytes = self.row_ends.get(*number).map_or(0, |end| end - start);
            let line = read_part(&path, start, usize::try_from(num_bytes).unwrap_or(0))?;
            let row = serde_json::from_slice(&line);
            rows.push(row.map_err(|source| FsError::NotJson { path: path.clone(), source })?);
        }
        Ok(rows)
    }
}

fn end_before(ends: &[u64], number: usize) -> u64 {
    number.checked_sub(1).and_then(|before| ends.get(before)).copied().unwrap_or(0)
}

/// The rows of a run with the text in them: `bytes` begin at `start`, row n ends at `ends[n]`.
///
/// A text is never found across two rows, nor across prompt and answer: a byte that no text holds lies between them.
fn rows_with(finder: &Finder<'_>, bytes: &[u8], start: u64, ends: &[u64]) -> Vec<usize> {
    let mut rows = Vec::new();
    let mut from = 0;
    while let Some(at) = bytes.get(from..).and_then(|rest| finder.find(rest)) {
        let place = start + (from + at) as u64;
        let row = ends.partition_point(|end| *end <= place);
        let Some(end) = ends.get(row) else { break };
        rows.push(row);
        from = usize::try_from(end - start).unwrap_or(bytes.len());
    }
    rows
}

/// No UTF-8 text holds this byte.
const BETWEEN: u8 = 0xff;

fn make(
    source: &Path,
    fields: &FieldMap,
    folder: &Path,
    progress: &mut dyn FnMut(usize) -> bool,
) -> Result<(), DataError> {
    let mut reader = ExampleReader::guessed(source, fields)?;
    let mut rows = StreamWriter::create(&folder.join("rows.jsonl"))?;
    let mut texts = StreamWriter::create(&folder.join("texts"))?;
    let mut row_ends = StreamWriter::create(&folder.join("row_ends"))?;
    let mut text_ends = StreamWriter::create(&folder.join("text_ends"))?;
    let mut counts = RowCounts::default();
    while let Some(chunk) = reader.next_chunk()? {
        counts.input += chunk.input;
        counts.kept += chunk.examples.len();
        counts.quarantined += chunk.quarantined.len();
        let lines: Vec<Result<Vec<u8>, serde_json::Error>> =
            chunk.examples.par_iter().map(serde_json::to_vec).collect();
        for (row, line) in chunk.examples.iter().zip(lines) {
            let mut line = line.map_err(|source| FsError::NotJson { path: folder.join("rows.jsonl"), source })?;
            line.push(b'\n');
            row_ends.push(&rows.push(&line)?.to_le_bytes())?;
            let text = [row.prompt_text().as_bytes(), &[BETWEEN], row.answer.as_bytes(), &[BETWEEN]].concat();
            text_ends.push(&texts.push(&text)?.to_le_bytes())?;
        }
        if !progress(counts.input) {
            return Err(DataError::Cancelled);
        }
    }
    for writer in [rows, texts, row_ends, text_ends] {
        writer.finish()?;
    }
    let schema = format!("{}: {}", reader.schema().describe(), reader.schema().reason);
    Ok(write_json(&folder.join("facts.json"), &IndexFacts { rows: counts, format: reader.format(), schema })?)
}

/// The hash of a source. Where path, lengths and times are those of an earlier call, its answer is taken: hashing some
/// hundred megabytes takes longer than showing a page of them.
fn known_content(source: &Path, root: &Path) -> Result<ContentHash, DataError> {
    let mut stamps = Vec::new();
    for (name, file) in crate::reader::files_of(source)? {
        let failed = |err| FsError::io("look at", &file, err);
        let metadata = file.metadata().map_err(failed)?;
        let changed = metadata.modified().map_err(failed)?.duration_since(UNIX_EPOCH).unwrap_or_default();
        let place = std::fs::canonicalize(&file).map_err(failed)?;
        stamps.push((name, place.to_string_lossy().into_owned(), metadata.len(), changed.as_nanos().to_string()));
    }
    let entry = root.join("known").join(format!("{}.json", ContentHash::of_value("trex.stamps.v1", &stamps)?));
    if let Some(known) = read_to_string(&entry).ok().and_then(|text| serde_json::from_str(&text).ok()) {
        return Ok(known);
    }
    let content = crate::recipe_run::content_hash(source)?;
    write_json(&entry, &content)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use proptest::prelude::*;

    use super::*;

    /// The index of a JSONL file, its folder, and the rows as the reader gives them.
    fn index_of(dir: &Path, text: &str) -> (RowIndex, Vec<Example>) {
        let path = dir.join("rows.jsonl");
        std::fs::write(&path, text).unwrap();
        let index = open(dir).unwrap();
        let mut reader = ExampleReader::guessed(&path, &FieldMap::default()).unwrap();
        let mut rows = Vec::new();
        while let Some(chunk) = reader.next_chunk().unwrap() {
            rows.extend(chunk.examples);
        }
        (index, rows)
    }

    fn open(dir: &Path) -> Result<RowIndex, DataError> {
        RowIndex::open(&dir.join("rows.jsonl"), &FieldMap::default(), &dir.join("cache"), &mut |_| true)
    }

    fn lines(count: usize) -> String {
        let mut text = String::new();
        for number in 0..count {
            let word = ["red", "blue", "grün"][number % 3];
            writeln!(text, "{{\"instruction\":\"say {word} {number}\",\"output\":\"{word}\\n{}\"}}", number % 7)
                .unwrap();
        }
        text
    }

    #[track_caller]
    fn check_page(index: &RowIndex, rows: &[Example], filter: Option<&str>, skip: usize, count: usize) {
        let fits =
            |row: &&Example| filter.is_none_or(|text| row.prompt_text().contains(text) || row.answer.contains(text));
        let expected: Vec<Example> = rows.iter().filter(fits).skip(skip).take(count).cloned().collect();
        let total = rows.iter().filter(fits).count();
        assert_eq!(index.page(filter, skip, count).unwrap(), RowPage { total, rows: expected }, "{filter:?} {skip}");
    }

    #[test]
    fn pages_are_those_of_a_scan() {
        let dir = tempfile::tempdir().unwrap();
        let (index, rows) = index_of(dir.path(), &lines(500));
        assert_eq!((index.facts().rows.kept, rows.len()), (500, 500));
        for filter in [None, Some("grün"), Some("say"), Some("\n3"), Some("red 12"), Some("nowhere"), Some("")] {
            for (skip, count) in [(0, 5), (160, 20), (490, 20), (9000, 3), (0, 0)] {
                check_page(&index, &rows, filter, skip, count);
            }
        }
        // The end of a prompt with the beginning of its answer, and of an answer with the next prompt.
        assert_eq!(index.page(Some("0red"), 0, 5).unwrap().total, 0);
        assert_eq!(index.page(Some("0say"), 0, 5).unwrap().total, 0);
    }

    #[test]
    fn an_index_is_made_once_per_content() {
        let dir = tempfile::tempdir().unwrap();
        let (first, _) = index_of(dir.path(), &lines(20));
        let mut heard = 0;
        let mut listen = |_| {
            heard += 1;
            true
        };
        let path = dir.path().join("rows.jsonl");
        RowIndex::open(&path, &FieldMap::default(), &dir.path().join("cache"), &mut listen).unwrap();
        assert_eq!(heard, 0, "nothing was read again");
        let (other, rows) = index_of(dir.path(), &lines(21));
        assert_ne!(first.folder, other.folder);
        assert_eq!(other.page(None, 0, 100).unwrap().rows, rows);
    }

    #[test]
    fn a_damaged_or_stopped_index_is_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let (index, rows) = index_of(dir.path(), &lines(20));
        let texts = index.folder.join("texts");
        let bytes = std::fs::read(&texts).unwrap();
        std::fs::write(&texts, &bytes[..bytes.len() - 3]).unwrap();
        check_page(&open(dir.path()).unwrap(), &rows, Some("blue"), 0, 50);
        std::fs::remove_dir_all(&index.folder).unwrap();
        let path = dir.path().join("rows.jsonl");
        let stopped = RowIndex::open(&path, &FieldMap::default(), &dir.path().join("cache"), &mut |_| false);
        assert!(matches!(stopped, Err(DataError::Cancelled)));
        let left: Vec<_> = std::fs::read_dir(dir.path().join("cache/rows")).unwrap().collect();
        assert_eq!(left.len(), 1, "only what is known of contents: {left:?}");
        check_page(&open(dir.path()).unwrap(), &rows, None, 0, 50);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_text_is_found_where_it_is(texts in proptest::collection::vec("[ab ]{0,6}", 1..30), needle in "[ab ]{1,3}") {
            let mut bytes = Vec::new();
            let ends: Vec<u64> = texts
                .iter()
                .map(|text| {
                    bytes.extend(text.as_bytes());
                    bytes.push(BETWEEN);
                    100 + bytes.len() as u64
                })
                .collect();
            let expected: Vec<usize> = (0..texts.len()).filter(|row| texts[*row].contains(&needle)).collect();
            prop_assert_eq!(rows_with(&Finder::new(&needle), &bytes, 100, &ends), expected);
        }
    }
}
