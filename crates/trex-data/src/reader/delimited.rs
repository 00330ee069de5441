//! CSV (RFC 4180, with other delimiters too) and TSV. What columns mean is not decided here.

use std::collections::BTreeMap;
use std::ops::Range;

use super::Collector;

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
    /// The dialects that are tried; of equally good ones the first is taken.
    pub(super) fn candidates() -> [Self; 5] {
        let dialect = |delimiter, has_quotes| Self { delimiter, has_quotes, columns: 0, header: None };
        [dialect(b'\t', false), dialect(b'\t', true), dialect(b',', true), dialect(b';', true), dialect(b'|', true)]
    }

    pub(super) fn describe(&self) -> String {
        let header = if self.header.is_some() { "header" } else { "no header" };
        let quotes = if self.delimiter == b'\t' && self.has_quotes { ", quoted" } else { "" };
        match self.delimiter {
            b'\t' => format!("tsv{quotes}, {header}"),
            b',' => format!("csv, {header}"),
            other => format!("csv with {}, {header}", char::from(other)),
        }
    }

    pub(super) fn delimiter_name(&self) -> &'static str {
        match self.delimiter {
            b'\t' => "tabs",
            b',' => "commas",
            b';' => "semicolons",
            _ => "bars",
        }
    }
}

/// The first records.
pub(super) fn sample(text: &str, dialect: &Dialect, limit: usize) -> Vec<Vec<String>> {
    let mut records = Vec::new();
    each_record(text, dialect, &mut |record| {
        records.push(record.fields);
        records.len() < limit
    });
    records
}

/// Reads all records; those with another number of columns are set aside.
pub(super) fn read(collector: &mut Collector<'_>, dialect: &Dialect) -> Option<String> {
    let fields = dialect.header.clone().unwrap_or_else(|| (0..dialect.columns).map(|at| at.to_string()).collect());
    collector.table.fields.clone_from(&fields);
    let text = collector.source.text();
    let mut is_header = dialect.header.is_some();
    each_record(text, dialect, &mut |record| {
        if std::mem::take(&mut is_header) {
            return true;
        }
        if record.is_unclosed {
            collector.set_aside(record.range, "a quote is opened and never closed".to_owned());
        } else if record.fields.len() == fields.len() {
            let values: BTreeMap<String, String> = fields.iter().cloned().zip(record.fields).collect();
            collector.keep(record.range, values);
        } else {
            let reason = wrong_count_reason(&text[record.range.clone()], record.fields.len(), fields.len());
            collector.set_aside(record.range, reason);
        }
        true
    });
    None
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

/// Calls `visit` with every record that is not blank until it returns `false`.
fn each_record(text: &str, dialect: &Dialect, visit: &mut dyn FnMut(Record) -> bool) {
    if dialect.has_quotes {
        return each_quoted_record(text, dialect.delimiter, visit);
    }
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let content = line.trim_end_matches(['\n', '\r']);
        let range = start..start + content.len();
        start += line.len();
        if content.trim_matches(' ').is_empty() {
            continue;
        }
        let fields = content.split(char::from(dialect.delimiter)).map(String::from).collect();
        if !visit(Record { range, fields, is_unclosed: false }) {
            return;
        }
    }
}

fn each_quoted_record(text: &str, delimiter: u8, visit: &mut dyn FnMut(Record) -> bool) {
    let mut start = 0;
    for attempt in 0..=MAX_UNCLOSED {
        let may_resume = attempt < MAX_UNCLOSED;
        match quoted_records_from(text, start, delimiter, may_resume, visit) {
            Some(next) => start = next,
            None => return,
        }
    }
}

/// Reads on from `start`. Returns where to start again when a quote was never closed: such a quote costs its line only.
fn quoted_records_from(
    text: &str,
    start: usize,
    delimiter: u8,
    may_resume: bool,
    visit: &mut dyn FnMut(Record) -> bool,
) -> Option<usize> {
    let mut builder = csv::ReaderBuilder::new();
    let mut reader =
        builder.has_headers(false).flexible(true).delimiter(delimiter).from_reader(&text.as_bytes()[start..]);
    let mut record = csv::StringRecord::new();
    while matches!(reader.read_record(&mut record), Ok(true)) {
        let begin = record.position().map_or(0, csv::Position::byte);
        let range = trimmed_range(text, start, begin, reader.position().byte());
        let is_unclosed =
            range.end == text.trim_end_matches(['\n', '\r']).len() && ends_in_quotes(&text[range.clone()], delimiter);
        let fields = record.iter().map(String::from).collect();
        let first_line_end = text[range.clone()].find('\n').map(|at| range.start + at + 1);
        if let (true, true, Some(next)) = (is_unclosed, may_resume, first_line_end) {
            let line = range.start..next - 1;
            return visit(Record { range: line, fields, is_unclosed }).then_some(next);
        }
        if !visit(Record { range, fields, is_unclosed }) {
            return None;
        }
    }
    None
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
