//! CSV (RFC 4180, with other delimiters too) and TSV. What columns mean is not decided here.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::decode::Decoded;
use super::{Consumed, Sink};

/// After so many unclosed quotes the rest of a file is set aside as one row: each costs a pass over the rest.
const MAX_UNCLOSED: usize = 50;

/// How a table is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Dialect {
    pub(super) delimiter: u8,
    /// Whether a field may stand in double quotes. In most TSV files a quote is a character like any other.
    pub(super) has_quotes: bool,
    /// Columns of a good record.
    pub(super) columns: usize,
    /// Column names, where the first record holds them.
    pub(super) header: Option<Vec<String>>,
}

impl Dialect {
    fn new(delimiter: u8, has_quotes: bool) -> Self {
        Self { delimiter, has_quotes, columns: 0, header: None }
    }

    /// The dialects that are tried; of equally good ones the first is taken.
    pub(super) fn candidates() -> [Self; 5] {
        let quoted = |delimiter| Self::new(delimiter, true);
        [Self::new(b'\t', false), quoted(b'\t'), quoted(b','), quoted(b';'), quoted(b'|')]
    }

    /// Dialects that are tried where none of those fits: Hive's start of heading, and signs that texts hold as well.
    pub(super) fn rare_candidates() -> [Self; 4] {
        [b'\x01', b'^', b'~', b':'].map(|delimiter| Self::new(delimiter, true))
    }

    pub(super) fn describe(&self) -> String {
        let header = if self.header.is_some() { "header" } else { "no header" };
        let quotes = if self.delimiter == b'\t' && self.has_quotes { ", quoted" } else { "" };
        match self.delimiter {
            b'\t' => format!("tsv{quotes}, {header}"),
            b',' => format!("csv, {header}"),
            other => format!("csv with {}, {header}", char::from(other).escape_default()),
        }
    }

    pub(super) fn delimiter_name(&self) -> &'static str {
        match self.delimiter {
            b'\t' => "tabs",
            b',' => "commas",
            b';' => "semicolons",
            b'|' => "bars",
            b'^' => "carets",
            b'~' => "tildes",
            b':' => "colons",
            _ => "a control character",
        }
    }
}

/// The first records of a text, which is the whole of it or its beginning.
pub(super) fn sample(text: &str, dialect: &Dialect, limit: usize) -> Vec<Vec<String>> {
    let mut records = Vec::new();
    let mut cutter = Cutter { text, dialect, is_final: true, num_unclosed: 0 };
    cutter.each_record(&mut |record| {
        records.push(record.fields);
        records.len() < limit
    });
    records
}

/// Reads records; those with another number of columns are set aside.
#[derive(Clone, Debug)]
pub(super) struct Records {
    dialect: Dialect,
    fields: Vec<Arc<str>>,
    is_header: bool,
    num_unclosed: usize,
}

impl Records {
    /// Records after the header, where there is one.
    pub(super) fn new(dialect: Dialect, sink: &mut Sink) -> Self {
        let names = dialect.header.clone().unwrap_or_else(|| (0..dialect.columns).map(|at| at.to_string()).collect());
        let fields = names.iter().map(|name| sink.field(name)).collect();
        Self { is_header: dialect.header.is_some(), dialect, fields, num_unclosed: 0 }
    }

    pub(super) fn read(&mut self, sink: &mut Sink, window: &Decoded, is_final: bool) -> Consumed {
        let text = window.text();
        let dialect = self.dialect.clone();
        let mut cutter = Cutter { text, dialect: &dialect, is_final, num_unclosed: self.num_unclosed };
        let end = cutter.each_record(&mut |record| {
            self.add(sink, window, record);
            true
        });
        self.num_unclosed = cutter.num_unclosed;
        Consumed::up_to(end)
    }

    fn add(&mut self, sink: &mut Sink, window: &Decoded, record: Record) {
        if std::mem::take(&mut self.is_header) {
            return;
        }
        if record.is_unclosed {
            sink.set_aside(window, record.range, "a quote is opened and never closed".to_owned());
        } else if record.fields.len() == self.fields.len() {
            let values: BTreeMap<Arc<str>, String> = self.fields.iter().cloned().zip(record.fields).collect();
            sink.keep(window, record.range, values);
        } else {
            let text = &window.text()[record.range.clone()];
            let reason = wrong_count_reason(text, record.fields.len(), self.fields.len());
            sink.set_aside(window, record.range, reason);
        }
    }
}

fn wrong_count_reason(record: &str, found: usize, expected: usize) -> String {
    let num_lines = record.lines().count();
    let span = if num_lines > 1 { format!(" over {num_lines} lines") } else { String::new() };
    format!("{found} columns{span} instead of {expected}")
}

struct Record {
    range: Range<usize>,
    fields: Vec<String>,
    is_unclosed: bool,
}

/// Cuts a window into records.
struct Cutter<'a> {
    text: &'a str,
    dialect: &'a Dialect,
    /// Whether a record that reaches the end is whole.
    is_final: bool,
    num_unclosed: usize,
}

impl Cutter<'_> {
    /// Calls `visit` with every record that is not blank until it returns `false`; returns where the last one ends.
    fn each_record(&mut self, visit: &mut dyn FnMut(Record) -> bool) -> usize {
        if !self.dialect.has_quotes {
            return self.each_line(visit);
        }
        let mut start = 0;
        loop {
            match self.quoted_from(start, visit) {
                Cut::End(at) => return at,
                Cut::Again(at) => start = at,
            }
        }
    }

    fn each_line(&self, visit: &mut dyn FnMut(Record) -> bool) -> usize {
        let mut start = 0;
        for line in self.text.split_inclusive('\n') {
            if !line.ends_with('\n') && !self.is_final {
                break;
            }
            let content = line.trim_end_matches(['\n', '\r']);
            let range = start..start + content.len();
            start += line.len();
            if content.trim_matches(' ').is_empty() {
                continue;
            }
            let fields = content.split(char::from(self.dialect.delimiter)).map(String::from).collect();
            if !visit(Record { range, fields, is_unclosed: false }) {
                break;
            }
        }
        start
    }

    /// Reads on from `start`, up to a record that the window cuts off or a quote that is never closed: such a quote costs
    /// its line only.
    fn quoted_from(&mut self, start: usize, visit: &mut dyn FnMut(Record) -> bool) -> Cut {
        let text = self.text;
        let mut builder = csv::ReaderBuilder::new();
        let mut reader = builder
            .has_headers(false)
            .flexible(true)
            .delimiter(self.dialect.delimiter)
            .from_reader(&text.as_bytes()[start..]);
        let mut record = csv::StringRecord::new();
        let trimmed_len = text.trim_end_matches(['\n', '\r']).len();
        let mut done = start;
        while matches!(reader.read_record(&mut record), Ok(true)) {
            let begin = record.position().map_or(0, csv::Position::byte);
            let end = start + usize::try_from(reader.position().byte()).unwrap_or(text.len());
            if end >= text.len() && !self.is_final {
                return Cut::End(done);
            }
            let range = trimmed_range(text, start, begin, reader.position().byte());
            let is_unclosed = range.end == trimmed_len && ends_in_quotes(&text[range.clone()], self.dialect.delimiter);
            let fields = record.iter().map(String::from).collect();
            let first_line_end = text[range.clone()].find('\n').map(|at| range.start + at + 1);
            if let (true, true, Some(next)) = (is_unclosed, self.num_unclosed < MAX_UNCLOSED, first_line_end) {
                self.num_unclosed += 1;
                let line = range.start..next - 1;
                return if visit(Record { range: line, fields, is_unclosed }) {
                    Cut::Again(next)
                } else {
                    Cut::End(next)
                };
            }
            done = end;
            if !visit(Record { range, fields, is_unclosed }) {
                return Cut::End(done);
            }
        }
        // Blank lines at the end are no record.
        Cut::End(if self.is_final { text.len() } else { done })
    }
}

/// Where the cutting of quoted records stopped.
enum Cut {
    End(usize),
    Again(usize),
}

/// The range of a record in the text without the line breaks around it.
fn trimmed_range(text: &str, start: usize, begin: u64, end: u64) -> Range<usize> {
    let place = |offset: u64| usize::try_from(offset).map_or(text.len(), |offset| (start + offset).min(text.len()));
    let (begin, end) = (place(begin), place(end));
    let record = text.get(begin..end).unwrap_or_default();
    let begin = begin + (record.len() - record.trim_start_matches(['\n', '\r']).len());
    let record = record.trim_matches(['\n', '\r']);
    begin..begin + record.len()
}

/// Whether a quoted field is still open at the end of a record.
fn ends_in_quotes(record: &str, delimiter: u8) -> bool {
    let (mut in_quotes, mut at_field_start) = (false, true);
    let mut bytes = record.bytes().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' if in_quotes && bytes.peek() == Some(&b'"') => {
                bytes.next();
            }
            b'"' if in_quotes => in_quotes = false,
            b'"' if at_field_start => in_quotes = true,
            _ => {}
        }
        at_field_start = byte == delimiter && !in_quotes;
    }
    in_quotes
}
