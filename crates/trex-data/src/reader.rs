//! Reads one file into rows of named texts. What the file is gets sniffed from its content, never believed from its name.
//!
//! A row that cannot be read is set aside with its place and reason; it neither disappears nor stops the import. What the
//! columns mean is not decided here but by the schema.

mod decode;
mod delimited;
mod header;
mod json;
mod sniff;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::path::Path;

use trex_domain::{QuarantinedRow, nearest};
use trex_fs::FsError;

use crate::DataError;
use decode::Decoded;
use sniff::Format;

/// Characters of a bad row that are shown.
const EXCERPT_CHARS: usize = 200;

/// A row as it lies in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawRow {
    /// Line where the row starts, from 1.
    pub line: u64,
    /// Byte offset where the row starts, from 0, in the file as it lies on disk.
    pub byte_offset: u64,
    /// Number of the row, from 0, counting every row that was read, bad ones included.
    pub row: u64,
    /// Column → text. JSON values other than strings are kept as compact JSON; `null` leaves the column out.
    pub values: BTreeMap<String, String>,
}

/// A file as rows and columns; `input = rows.len() + quarantined.len()`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawTable {
    /// What the file was taken for, such as `tsv, no header`.
    pub format: String,
    /// Why.
    pub format_reason: String,
    /// Column names in the order of the file; `0`, `1`, … where there is no header.
    pub fields: Vec<String>,
    /// Rows that could be read.
    pub rows: Vec<RawRow>,
    /// Rows that could not.
    pub quarantined: Vec<QuarantinedRow>,
    /// All of them.
    pub input: usize,
}

/// Reads a file: JSON lines, a JSON array, CSV, TSV or plain text in UTF-8, UTF-16, GBK or Latin-1.
pub fn read_table(path: &Path) -> Result<RawTable, DataError> {
    let bytes = read_bytes(path)?;
    let has_content = bytes.iter().any(|byte| !byte.is_ascii_whitespace() && *byte != 0);
    if !has_content {
        return Err(DataError::EmptyFile { path: path.to_owned() });
    }
    if let Some(found) = sniff::binary_kind(&bytes) {
        return Err(DataError::UnsupportedFormat { path: path.to_owned(), found });
    }
    let source = Decoded::from_bytes(bytes);
    if source.text().trim().is_empty() {
        return Err(DataError::EmptyFile { path: path.to_owned() });
    }
    let extension = path.extension().map(|text| text.to_string_lossy().to_lowercase()).unwrap_or_default();
    let (format, reason) = sniff::format_of(source.text(), &extension);
    let mut collector = Collector::new(&source, file_name(path));
    let remark = match &format {
        Format::JsonLines => json::read_lines(&mut collector),
        Format::JsonArray => json::read_array(&mut collector),
        Format::JsonObjects => json::read_objects(&mut collector),
        Format::Delimited(dialect) => delimited::read(&mut collector, dialect),
        Format::Text => read_text(&mut collector),
    };
    let mut table = collector.table;
    table.format = format.describe(source.encoding());
    table.format_reason = [Some(reason), remark].into_iter().flatten().collect::<Vec<_>>().join("; ");
    Ok(table)
}

/// The last part of a path, which is how files are called in messages.
pub(crate) fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}

fn read_bytes(path: &Path) -> Result<Vec<u8>, DataError> {
    if path.is_dir() {
        return Err(DataError::IsFolder { path: path.to_owned() });
    }
    trex_fs::read(path).map_err(|source| match &source {
        FsError::Io { source: err, .. } if err.kind() == io::ErrorKind::NotFound => {
            DataError::MissingFile { path: path.to_owned(), nearest: nearest_file(path), source }
        }
        _ => DataError::Fs(source),
    })
}

/// A file beside the missing one with a similar name.
fn nearest_file(path: &Path) -> Option<String> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut names: Vec<String> =
        folder.read_dir().ok()?.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    nearest(&file_name(path), names.iter().map(String::as_str)).map(String::from)
}

/// Every line with something on it is a row with the one column `text`.
fn read_text(collector: &mut Collector<'_>) -> Option<String> {
    collector.table.fields = vec!["text".to_owned()];
    for range in collector.source.line_ranges() {
        let line = &collector.source.text()[range.clone()];
        if line.trim().is_empty() {
            continue;
        }
        let values = BTreeMap::from([("text".to_owned(), line.trim().to_owned())]);
        collector.keep(range, values);
    }
    None
}

/// Collects rows with their places; a row with bytes that could not be decoded is set aside whatever its format.
struct Collector<'a> {
    source: &'a Decoded,
    file: String,
    known_fields: BTreeSet<String>,
    table: RawTable,
}

impl<'a> Collector<'a> {
    fn new(source: &'a Decoded, file: String) -> Self {
        Self { source, file, known_fields: BTreeSet::new(), table: RawTable::default() }
    }

    /// Notes a column, once.
    fn know_field(&mut self, name: &str) {
        if self.known_fields.insert(name.to_owned()) {
            self.table.fields.push(name.to_owned());
        }
    }

    /// Adds a good row that lies at this range of the text.
    fn keep(&mut self, range: Range<usize>, values: BTreeMap<String, String>) {
        if self.source.is_damaged(&range) {
            let reason = format!("bytes that are not {}", self.source.encoding());
            return self.set_aside(range, reason);
        }
        let place = self.source.place(range.start);
        let row = self.table.input as u64;
        self.table.rows.push(RawRow { line: place.line, byte_offset: place.byte_offset, row, values });
        self.table.input += 1;
    }

    /// Adds a bad row.
    fn set_aside(&mut self, range: Range<usize>, reason: String) {
        let place = self.source.place(range.start);
        let excerpt = self.source.text().get(range).unwrap_or_default().chars().take(EXCERPT_CHARS).collect();
        self.table.quarantined.push(QuarantinedRow {
            file: self.file.clone(),
            line: place.line,
            byte_offset: place.byte_offset,
            reason,
            excerpt,
        });
        self.table.input += 1;
    }
}

#[cfg(test)]
mod tests;
