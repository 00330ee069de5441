//! Reads a file, an archive or a folder into rows of named texts, chunk by chunk. What a file is gets sniffed from its
//! content, never believed from its name.
//!
//! A row that cannot be read is set aside with its place and reason; it neither disappears nor stops the import. What the
//! columns mean is not decided here but by the schema. Memory is bounded by the size of a window, whatever the size of
//! the file.

mod columnar;
mod decode;
mod delimited;
mod documents;
mod header;
mod json;
mod sniff;
mod source;
mod text;

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use trex_domain::QuarantinedRow;

use crate::DataError;
use decode::Decoded;
use source::Part;

/// Characters of a bad row that are shown.
const EXCERPT_CHARS: usize = 200;

/// A row as it lies in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawRow {
    /// The file it lies in, as it is called in messages; `archive.zip/member.jsonl` in an archive.
    pub file: Arc<str>,
    /// Line where the row starts, from 1; number of the row in columnar files.
    pub line: u64,
    /// Byte offset where the row starts, from 0: in the file as it lies on disk, or in what is packed in it. In columnar
    /// files that of the row group, where it is known.
    pub byte_offset: u64,
    /// Number of the row, from 0, counting every row that was read, bad ones included.
    pub row: u64,
    /// Column → text. JSON values other than strings are kept as compact JSON; `null` leaves the column out.
    pub values: BTreeMap<Arc<str>, String>,
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

/// Some rows of a file, in order; `input = rows.len() + quarantined.len()`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawChunk {
    /// Rows that could be read.
    pub rows: Vec<RawRow>,
    /// Rows that could not.
    pub quarantined: Vec<QuarantinedRow>,
    /// All of them.
    pub input: usize,
}

/// Reads a file, an archive or a folder as a whole; [`TableReader`] does it in bounded memory.
pub fn read_table(path: &Path) -> Result<RawTable, DataError> {
    let mut reader = TableReader::open(path)?;
    let mut table = RawTable::default();
    while let Some(chunk) = reader.next_chunk()? {
        table.rows.extend(chunk.rows);
        table.quarantined.extend(chunk.quarantined);
        table.input += chunk.input;
    }
    table.format = reader.format();
    table.format_reason = reader.format_reason();
    table.fields = reader.fields();
    Ok(table)
}

/// Rows of a file, an archive or a folder, chunk by chunk.
///
/// Reads JSON lines, JSON arrays, CSV, TSV and plain text in UTF-8, UTF-16, GBK or Latin-1, Parquet, Arrow, each also in
/// `.gz`, `.zst` or `.zip`, and folders of them or of texts with labels.
pub struct TableReader {
    parts: VecDeque<Part>,
    current: Option<Box<dyn PartReader>>,
    sink: Sink,
    format: String,
    reasons: Vec<String>,
    num_files: usize,
    num_tables: usize,
}

/// Reads one file of a source.
trait PartReader {
    /// Adds rows; `false` where nothing is left.
    fn read_into(&mut self, sink: &mut Sink) -> Result<bool, DataError>;

    /// What is to be said at the end.
    fn remark(&self) -> Option<String> {
        None
    }
}

/// A file that was opened: how it is read, what it is and why.
struct Opened {
    reader: Box<dyn PartReader>,
    format: String,
    reason: String,
}

impl TableReader {
    /// Opens a source and sniffs what it is. A single file that cannot be read is an error; of several, each that cannot
    /// is set aside.
    pub fn open(path: &Path) -> Result<Self, DataError> {
        let listed = source::parts_of(path)?;
        let mut reader = Self {
            num_files: listed.parts.len(),
            parts: listed.parts.into(),
            current: None,
            sink: Sink::default(),
            format: String::new(),
            reasons: listed.remarks,
            num_tables: 0,
        };
        for (name, reason) in listed.refused {
            reader.sink.set_file_aside(&name, reason);
        }
        if let Some(documents) = listed.documents {
            reader.format = documents.format();
            reader.reasons.insert(0, documents.reason());
            reader.num_tables = 1;
            reader.current = Some(Box::new(documents));
            return Ok(reader);
        }
        reader.open_next()?;
        Ok(reader)
    }

    /// What the source was taken for, such as `tsv, no header`.
    pub fn format(&self) -> String {
        if self.num_files > 1 { format!("{}, {} files", self.format, self.num_files) } else { self.format.clone() }
    }

    /// Why.
    pub fn format_reason(&self) -> String {
        let remark = self.current.as_ref().and_then(|current| current.remark());
        self.reasons.iter().cloned().chain(remark).collect::<Vec<_>>().join("; ")
    }

    /// The columns that were seen so far, in the order of the file.
    pub fn fields(&self) -> Vec<String> {
        self.sink.fields.iter().map(ToString::to_string).collect()
    }

    /// The next rows; none at the end. A chunk may be empty.
    pub fn next_chunk(&mut self) -> Result<Option<RawChunk>, DataError> {
        loop {
            let Some(current) = &mut self.current else {
                return Ok(self.sink.take_rest());
            };
            let has_more = current.read_into(&mut self.sink)?;
            if !has_more {
                let remark = current.remark();
                self.reasons.extend(remark);
                self.current = None;
                self.open_next()?;
            }
            if self.sink.chunk.input > 0 {
                return Ok(Some(std::mem::take(&mut self.sink.chunk)));
            }
        }
    }

    fn open_next(&mut self) -> Result<(), DataError> {
        while let Some(part) = self.parts.pop_front() {
            self.sink.file = part.name.as_str().into();
            match open_part(&part, &mut self.sink) {
                Ok(opened) => {
                    if self.num_tables == 0 {
                        self.format = opened.format;
                        self.reasons.insert(0, opened.reason);
                    } else if opened.format != self.format {
                        self.reasons.push(format!("{} is {}", part.name, opened.format));
                    }
                    self.num_tables += 1;
                    self.current = Some(opened.reader);
                    return Ok(());
                }
                Err(err) if self.num_files == 1 => return Err(err),
                Err(err) => self.sink.set_file_aside(&part.name, err.to_string()),
            }
        }
        if self.num_tables == 0 { Err(DataError::NothingReadable { num_files: self.num_files }) } else { Ok(()) }
    }
}

impl std::fmt::Debug for TableReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TableReader")
            .field("format", &self.format)
            .field("fields", &self.sink.fields)
            .finish_non_exhaustive()
    }
}

fn open_part(part: &Part, sink: &mut Sink) -> Result<Opened, DataError> {
    let content = part.open()?;
    if let Some(found) = columnar::kind_of(&content.head) {
        return columnar::open(part, &content, found);
    }
    if let Some(found) = sniff::binary_kind(&content.head) {
        return Err(DataError::UnsupportedFormat { path: part.path.clone(), found });
    }
    text::open(part, content, sink)
}

/// The last part of a path, which is how files are called in messages.
pub(crate) fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}

/// The files of a source on the disk with their names, in order: what its content consists of.
pub(crate) fn files_of(path: &Path) -> Result<Vec<(String, std::path::PathBuf)>, DataError> {
    source::files_of(path)
}

/// The ending of a name, without the point.
fn extension_of(name: &str) -> &str {
    let file = name.rsplit('/').next().unwrap_or(name);
    file.rsplit_once('.').map_or("", |(_, extension)| extension)
}

/// How much of a window a parser is done with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Consumed {
    up_to: usize,
}

impl Consumed {
    fn up_to(at: usize) -> Self {
        Self { up_to: at }
    }
}

/// Collects rows with their places; a row with bytes that could not be decoded is set aside whatever its format.
#[derive(Default)]
struct Sink {
    file: Arc<str>,
    fields: Vec<Arc<str>>,
    num_rows: u64,
    chunk: RawChunk,
}

impl Sink {
    /// The one copy of a column's name; notes the column where it is new.
    fn field(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.fields.iter().find(|known| ***known == *name) {
            return known.clone();
        }
        let name: Arc<str> = name.into();
        self.fields.push(name.clone());
        name
    }

    /// Adds a good row that lies at this range of the text.
    fn keep(&mut self, window: &Decoded, range: Range<usize>, values: BTreeMap<Arc<str>, String>) {
        if window.is_damaged(&range) {
            let reason = format!("bytes that are not {}", window.encoding());
            return self.set_aside(window, range, reason);
        }
        let place = window.place(range.start);
        self.keep_at(place.line, place.byte_offset, values);
    }

    /// Adds a good row that lies here.
    fn keep_at(&mut self, line: u64, byte_offset: u64, values: BTreeMap<Arc<str>, String>) {
        let row = self.next_row();
        self.chunk.rows.push(RawRow { file: self.file.clone(), line, byte_offset, row, values });
    }

    /// Adds a bad row.
    fn set_aside(&mut self, window: &Decoded, range: Range<usize>, reason: String) {
        let place = window.place(range.start);
        let excerpt = window.text().get(range).unwrap_or_default().chars().take(EXCERPT_CHARS).collect();
        self.set_aside_at(place.line, place.byte_offset, reason, excerpt);
    }

    /// Adds a bad row that lies here.
    fn set_aside_at(&mut self, line: u64, byte_offset: u64, reason: String, excerpt: String) {
        self.next_row();
        let file = self.file.to_string();
        self.chunk.quarantined.push(QuarantinedRow { file, line, byte_offset, reason, excerpt });
    }

    /// A file of several that gives no rows counts as one bad row.
    fn set_file_aside(&mut self, name: &str, reason: String) {
        let before = std::mem::replace(&mut self.file, name.into());
        self.set_aside_at(1, 0, reason, String::new());
        self.file = before;
    }

    fn next_row(&mut self) -> u64 {
        let row = self.num_rows;
        self.num_rows += 1;
        self.chunk.input += 1;
        row
    }

    /// What was set aside after the last file.
    fn take_rest(&mut self) -> Option<RawChunk> {
        (self.chunk.input > 0).then(|| std::mem::take(&mut self.chunk))
    }
}

#[cfg(test)]
mod tests;
