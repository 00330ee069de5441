//! What kind of file it is, from its first rows. The name only decides between readings that the content leaves open.

use serde::de::IgnoredAny;

use super::decode;
use super::delimited::{self, Dialect};
use super::header;

/// Records that are looked at.
pub(super) const SAMPLE_RECORDS: usize = 200;

/// Lines that are tried as JSON.
const SAMPLE_LINES: usize = 50;

/// A kind of file.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Format {
    JsonLines,
    JsonArray,
    JsonObjects,
    Delimited(Dialect),
    Text,
}

impl Format {
    /// Its name for people, such as `tsv, no header`.
    pub(super) fn describe(&self, encoding: &str) -> String {
        let name = match self {
            Self::JsonLines => "jsonl".to_owned(),
            Self::JsonArray => "json array".to_owned(),
            Self::JsonObjects => "json objects".to_owned(),
            Self::Delimited(dialect) => dialect.describe(),
            Self::Text => "plain text".to_owned(),
        };
        if encoding == "UTF-8" { name } else { format!("{name}, {encoding}") }
    }
}

/// What a file is that cannot be read as text, by its first bytes.
pub(super) fn binary_kind(bytes: &[u8]) -> Option<&'static str> {
    const SIGNATURES: [(&[u8], &str); 8] = [
        (b"\x1f\x8b", "a file that is packed too often"),
        (b"\x28\xb5\x2f\xfd", "a file that is packed too often"),
        (b"PK\x03\x04", "an archive within another source"),
        (b"BZh", "a bzip2 file"),
        (b"\xfd7zXZ", "an xz file"),
        (b"%PDF", "a PDF file"),
        (b"SQLite format 3", "an SQLite file"),
        (b"version https://git-lfs", "a Git LFS pointer without its content"),
    ];
    if let Some((_, kind)) = SIGNATURES.iter().find(|(signature, _)| bytes.starts_with(signature)) {
        return Some(kind);
    }
    let has_zeros = bytes.iter().take(8192).any(|byte| *byte == 0);
    (has_zeros && !decode::is_utf16(bytes)).then_some("a binary file")
}

/// The format of a text and the reason for it.
pub(super) fn format_of(text: &str, extension: &str) -> (Format, String) {
    if let Some((format, reason)) = json_format(text) {
        let is_named_otherwise = format == Format::JsonArray && extension == "jsonl";
        let remark = if is_named_otherwise { ", although its name says JSON lines" } else { "" };
        return (format, format!("{reason}{remark}"));
    }
    if let Some((mut dialect, reason)) = best_dialect(text, extension) {
        let (header, header_reason) =
            header::of_sample(&delimited::sample(text, &dialect, SAMPLE_RECORDS), dialect.columns);
        dialect.header = header;
        return (Format::Delimited(dialect), format!("{reason}; {header_reason}"));
    }
    (Format::Text, "neither JSON nor columns that hold from row to row".to_owned())
}

fn json_format(text: &str) -> Option<(Format, String)> {
    let trimmed = text.trim_start();
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).take(SAMPLE_LINES).collect();
    let num_opening = lines.iter().filter(|line| line.starts_with('{')).count();
    let num_objects = lines.iter().filter(|line| is_object(line)).count();
    if num_objects > 0 && num_opening * 2 >= lines.len() && !trimmed.starts_with('[') {
        return Some((Format::JsonLines, format!("{num_objects} of the first {} lines are JSON objects", lines.len())));
    }
    if opens_like_array(trimmed) {
        return Some((Format::JsonArray, "it starts like an array of JSON values".to_owned()));
    }
    let opens_object = trimmed.strip_prefix('{').is_some_and(|rest| rest.trim_start().starts_with(['"', '}']));
    opens_object.then(|| (Format::JsonObjects, "it starts like a JSON object over several lines".to_owned()))
}

fn is_object(line: &str) -> bool {
    line.starts_with('{') && serde_json::from_str::<IgnoredAny>(line).is_ok()
}

/// `[` and the start of a value; `[speaker] hello` is prose.
fn opens_like_array(text: &str) -> bool {
    let Some(inside) = text.strip_prefix('[').map(str::trim_start) else {
        return false;
    };
    if inside.starts_with('{') || inside.starts_with('"') || inside.starts_with('[') {
        return true;
    }
    // `[1] hello` is prose too; `[1, 2]` and `[]` are JSON.
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

/// Share of the records that must have the same number of columns before a table is taken to be cut by an unusual sign.
const RARE_SHARE: f64 = 0.9;

/// The most consistent way to cut the text into columns, when one is consistent enough.
fn best_dialect(text: &str, extension: &str) -> Option<(Dialect, String)> {
    let is_table_by_name = matches!(extension, "csv" | "tsv" | "tab" | "psv");
    let mut best: Option<(Dialect, f64, usize)> = None;
    for dialect in Dialect::candidates() {
        let records = delimited::sample(text, &dialect, SAMPLE_RECORDS);
        let (columns, share) = columns_of(&records);
        let is_better = best.as_ref().is_none_or(|(_, best_share, _)| share > *best_share);
        if columns >= 2 && is_better && is_plausible(&dialect, &records, share, is_table_by_name) {
            best = Some((Dialect { columns, ..dialect }, share, records.len()));
        }
    }
    let is_sure = best.as_ref().is_some_and(|(_, share, _)| *share >= RARE_SHARE);
    let rare = if is_sure { None } else { rare_dialect(text, is_table_by_name) };
    let best = rare.or(best);
    if let Some((dialect, share, num_records)) = best {
        let percent = 100.0 * share;
        let reason = format!(
            "{percent:.0} % of the first {num_records} records have {} columns separated by {}",
            dialect.columns,
            dialect.delimiter_name()
        );
        return Some((dialect, reason));
    }
    is_table_by_name.then(|| {
        let delimiter = if extension == "csv" { b',' } else { b'\t' };
        let dialect = Dialect { delimiter, has_quotes: delimiter == b',', columns: 1, header: None };
        (dialect, "one column, because its name says it is a table".to_owned())
    })
}

/// A sign that stands equally often in nearly every line, where no usual one does. Colons stand in prose, too.
fn rare_dialect(text: &str, is_table_by_name: bool) -> Option<(Dialect, f64, usize)> {
    let candidates = Dialect::rare_candidates().into_iter();
    candidates.filter(|dialect| is_table_by_name || dialect.delimiter != b':').find_map(|dialect| {
        let records = delimited::sample(text, &dialect, SAMPLE_RECORDS);
        let (columns, share) = columns_of(&records);
        let fits = records.len() >= 2 && columns >= 2 && share >= RARE_SHARE;
        fits.then_some((Dialect { columns, ..dialect }, share, records.len()))
    })
}

/// The most frequent number of columns and its share; the larger one of equals.
fn columns_of(records: &[Vec<String>]) -> (usize, f64) {
    let mut counts = std::collections::BTreeMap::<usize, usize>::new();
    for record in records {
        *counts.entry(record.len()).or_default() += 1;
    }
    let most = counts.iter().max_by_key(|(columns, count)| (**count, **columns));
    most.map_or((0, 0.0), |(columns, count)| (*columns, *count as f64 / records.len() as f64))
}

/// Prose has commas as well, but not equally many in every line.
fn is_plausible(dialect: &Dialect, records: &[Vec<String>], share: f64, is_table_by_name: bool) -> bool {
    if is_table_by_name {
        return share >= 0.5;
    }
    let is_few = records.len() < 10;
    if dialect.delimiter == b'\t' {
        return share >= if is_few { 0.6 } else { 0.9 };
    }
    let cells: Vec<&String> = records.iter().flat_map(|record| record.iter().skip(1)).collect();
    let num_after_space = cells.iter().filter(|cell| cell.starts_with(' ')).count();
    let reads_like_prose = num_after_space * 2 > cells.len();
    records.len() >= 2 && share >= if is_few { 0.6 } else { 0.9 } && !reads_like_prose
}
