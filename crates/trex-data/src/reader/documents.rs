//! Folders and archives of texts, one row per text, with labels from files beside them, from one table or from the names
//! of their folders. Judges no label.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::decode::TextWindows;
use super::source::Part;
use super::{PartReader, RawRow, Sink, extension_of, open_part, sniff};
use crate::DataError;

const TEXTS: [&str; 4] = ["txt", "md", "markdown", "text"];
const LABELS: [&str; 6] = ["label", "labels", "lab", "cls", "class", "cat"];
const TABLES: [&str; 6] = ["csv", "tsv", "jsonl", "json", "ndjson", "parquet"];

/// Names of a table that holds the labels of the texts beside it.
const LABEL_TABLES: [&str; 7] = ["labels", "label", "metadata", "annotations", "index", "gold", "targets"];

/// Columns of such a table that name the text.
const FILE_COLUMNS: [&str; 8] = ["file", "filename", "path", "document", "doc", "name", "id", "text_file"];

/// Texts that are read in one go.
const TEXTS_PER_CHUNK: usize = 256;

/// Texts with what is known of them.
pub(super) struct Documents {
    texts: std::vec::IntoIter<Text>,
    num_texts: usize,
    labels_from: String,
    /// Rows of the label table by the name of their text.
    table: BTreeMap<String, BTreeMap<Arc<str>, String>>,
    /// A label file or table that could not be read.
    unreadable: Vec<(String, String)>,
}

struct Text {
    part: Part,
    folder: Option<String>,
    sibling: Option<Part>,
}

/// Texts with labels, or the parts as they came where they are something else.
pub(super) fn of_parts(parts: Vec<Part>) -> Result<Documents, Vec<Part>> {
    let is_text = |part: &&Part| TEXTS.contains(&part.extension().as_str());
    let num_texts = parts.iter().filter(is_text).count();
    let siblings = sibling_labels(&parts);
    let label_table = parts.iter().find(|part| is_label_table(part)).cloned();
    let num_tables = parts.iter().filter(|part| TABLES.contains(&part.extension().as_str())).count();
    let is_only_texts = num_texts + siblings.len() + usize::from(label_table.is_some()) == parts.len();
    let has_other_tables = num_tables > siblings.len() + usize::from(label_table.is_some());
    if num_texts == 0 || !is_only_texts || has_other_tables || !parts.iter().filter(is_text).take(3).all(is_prose) {
        return Err(parts);
    }
    let folders: Vec<Option<String>> = parts.iter().filter(is_text).map(|part| folder_of(&part.name)).collect();
    let mut distinct = folders.clone();
    distinct.sort();
    distinct.dedup();
    let has_class_folders = distinct.len() >= 2 && distinct.iter().all(Option::is_some);
    let labels_from = match (&label_table, siblings.is_empty(), has_class_folders) {
        (Some(table), ..) => format!("labels from {}", table.name),
        (None, false, _) => "labels from the files beside the texts".to_owned(),
        (None, true, true) => "labels from the names of the folders".to_owned(),
        (None, true, false) => "no labels".to_owned(),
    };
    let mut unreadable = Vec::new();
    let table = match label_table.as_ref().map(rows_by_text) {
        Some(Ok(rows)) => rows,
        Some(Err(err)) => {
            unreadable.push((label_table.map_or_else(String::new, |part| part.name), err.to_string()));
            BTreeMap::new()
        }
        None => BTreeMap::new(),
    };
    let texts: Vec<Text> = parts
        .into_iter()
        .filter(|part| TEXTS.contains(&part.extension().as_str()))
        .zip(folders)
        .map(|(part, folder)| Text {
            sibling: siblings.get(stem_of(&part.name)).cloned(),
            folder: folder.filter(|_| has_class_folders),
            part,
        })
        .collect();
    Ok(Documents { num_texts, texts: texts.into_iter(), labels_from, table, unreadable })
}

/// Files beside a text that hold its label, by the name of the text without its ending.
fn sibling_labels(parts: &[Part]) -> BTreeMap<String, Part> {
    let texts: Vec<&str> = parts
        .iter()
        .filter(|part| TEXTS.contains(&part.extension().as_str()))
        .map(|part| stem_of(&part.name))
        .collect();
    let is_label = |part: &&Part| {
        let extension = part.extension();
        LABELS.contains(&extension.as_str()) || extension == "json"
    };
    let beside = parts.iter().filter(is_label).filter(|part| texts.contains(&stem_of(&part.name)));
    beside.map(|part| (stem_of(&part.name).to_owned(), part.clone())).collect()
}

fn is_label_table(part: &Part) -> bool {
    let file = part.name.rsplit('/').next().unwrap_or(&part.name).to_lowercase();
    let stem = file.split('.').next().unwrap_or_default();
    TABLES.contains(&part.extension().as_str()) && LABEL_TABLES.contains(&stem)
}

/// A text that is a table by its content belongs to no folder of texts.
fn is_prose(part: &Part) -> bool {
    let Ok(content) = part.open() else { return true };
    if sniff::binary_kind(&content.head).is_some() {
        return false;
    }
    let window = TextWindows::new(content.input).window();
    matches!(sniff::format_of(window.text(), &part.extension()).0, sniff::Format::Text)
}

/// The folder that a file lies in, for files that lie in one.
fn folder_of(name: &str) -> Option<String> {
    let (folders, _) = name.rsplit_once('/')?;
    folders.rsplit('/').next().filter(|folder| extension_of(folder) != "zip").map(String::from)
}

fn stem_of(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(stem, _)| stem)
}

fn rows_by_text(part: &Part) -> Result<BTreeMap<String, BTreeMap<Arc<str>, String>>, DataError> {
    let mut sink = Sink { file: part.name.as_str().into(), ..Sink::default() };
    let mut opened = open_part(part, &mut sink)?;
    let mut rows: Vec<RawRow> = Vec::new();
    loop {
        let has_more = opened.reader.read_into(&mut sink)?;
        rows.append(&mut std::mem::take(&mut sink.chunk).rows);
        if !has_more {
            break;
        }
    }
    let is_name = |column: &&Arc<str>| FILE_COLUMNS.contains(&crate::schema::plain_name(column).as_str());
    let column = sink.fields.iter().find(is_name).or(sink.fields.first()).cloned();
    let Some(column) = column else { return Ok(BTreeMap::new()) };
    let keyed = rows.into_iter().filter_map(|mut row| Some((row.values.remove(&column)?, row.values)));
    Ok(keyed.collect())
}

impl Documents {
    pub(super) fn format(&self) -> String {
        format!("{} texts", self.num_texts)
    }

    pub(super) fn reason(&self) -> String {
        format!("a folder of texts, {}", self.labels_from)
    }

    fn add(&self, sink: &mut Sink, text: &Text) {
        sink.file = text.part.name.as_str().into();
        let mut values = BTreeMap::new();
        match whole_text(&text.part) {
            Ok(content) => values.insert(sink.field("text"), content),
            Err(reason) => return sink.set_aside_at(1, 0, reason, String::new()),
        };
        values.insert(sink.field("file"), text.part.name.clone());
        if let Some(folder) = &text.folder {
            values.insert(sink.field("label"), folder.clone());
        }
        for (name, value) in self.row_of(&text.part.name).into_iter().flatten() {
            let name: &str = if matches!(&**name, "text" | "file") { "table_text" } else { name };
            values.insert(sink.field(name), value.clone());
        }
        if let Some(sibling) = &text.sibling
            && let Err(reason) = add_sibling(sink, sibling, &mut values)
        {
            return sink.set_aside_at(1, 0, reason, String::new());
        }
        sink.keep_at(1, 0, values);
    }

    /// The row of the label table for a text: by its path, its file name or its name without ending.
    fn row_of(&self, name: &str) -> Option<&BTreeMap<Arc<str>, String>> {
        let file = name.rsplit('/').next().unwrap_or(name);
        [name, file, stem_of(file)].iter().find_map(|key| self.table.get(*key))
    }
}

/// The label beside a text: a text, or a JSON object whose entries become columns.
fn add_sibling(sink: &mut Sink, part: &Part, values: &mut BTreeMap<Arc<str>, String>) -> Result<(), String> {
    let content = whole_text(part).map_err(|reason| format!("{}: {reason}", part.name))?;
    if part.extension() != "json" {
        values.insert(sink.field("label"), content);
        return Ok(());
    }
    let object: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(&content).map_err(|err| format!("{} is no JSON object: {err}", part.name))?;
    for (name, value) in object {
        match value {
            serde_json::Value::Null => None,
            serde_json::Value::String(text) => values.insert(sink.field(&name), text),
            other => values.insert(sink.field(&name), other.to_string()),
        };
    }
    Ok(())
}

fn whole_text(part: &Part) -> Result<String, String> {
    let content = part.open().map_err(|err| err.to_string())?;
    if let Some(kind) = sniff::binary_kind(&content.head) {
        return Err(format!("it is {kind}"));
    }
    let mut windows = TextWindows::new(content.input);
    let mut window = windows.window();
    while !window.is_last() {
        if !windows.grow() {
            return Err("a text of more than 32 MiB".to_owned());
        }
        window = windows.window();
    }
    if let Some(err) = windows.take_failure() {
        return Err(format!("it cannot be read to its end: {err}"));
    }
    if window.has_damage() {
        return Err(format!("bytes that are not {}", window.encoding()));
    }
    match window.text().trim() {
        "" => Err("it is empty".to_owned()),
        text => Ok(text.to_owned()),
    }
}

impl PartReader for Documents {
    fn read_into(&mut self, sink: &mut Sink) -> Result<bool, DataError> {
        for (name, reason) in std::mem::take(&mut self.unreadable) {
            sink.set_file_aside(&name, reason);
        }
        let texts: Vec<Text> = self.texts.by_ref().take(TEXTS_PER_CHUNK).collect();
        for text in &texts {
            self.add(sink, text);
        }
        Ok(texts.len() == TEXTS_PER_CHUNK)
    }
}
