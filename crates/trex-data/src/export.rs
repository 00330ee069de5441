//! Rows as files that other tools load: JSON lines, CSV, Parquet, a Hugging Face dataset folder, and the entries with which
//! LLaMA-Factory and Axolotl find them. Changes no row.

mod card;
mod parquet_file;
mod rows;

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::json;
use trex_domain::{Example, Message, Role};
use trex_fs::{FsError, NewFile, write_atomic};

use crate::DataError;

pub use card::{CARD_MARK, HfFolder};
pub use rows::{BlobRows, Rows, SourceRows};

/// A form of training data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportFormat {
    /// JSON lines with `messages`, the answer as the last.
    Messages,
    /// JSON lines with `prompt` and `completion`; several turns are written as messages.
    PromptCompletion,
    /// JSON lines with `prompt`, `chosen` and `rejected`, of rows with two options.
    Preference,
    /// JSON lines of ShareGPT: `conversations` with `from` and `value`.
    ShareGpt,
    /// CSV with `prompt` and `answer`, safe to open in a spreadsheet.
    Csv,
    /// Parquet with `messages`.
    Parquet,
}

impl ExportFormat {
    /// All forms with the names that commands use.
    pub const ALL: [(&'static str, Self); 6] = [
        ("messages", Self::Messages),
        ("prompt-completion", Self::PromptCompletion),
        ("preference", Self::Preference),
        ("sharegpt", Self::ShareGpt),
        ("csv", Self::Csv),
        ("parquet", Self::Parquet),
    ];

    /// The ending of its files.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Parquet => "parquet",
            _ => "jsonl",
        }
    }
}

/// Writes rows in one form, some at a time. The file appears whole, or not at all.
pub fn write_export(path: &Path, rows: &dyn Rows, format: ExportFormat) -> Result<(), DataError> {
    let mut file = NewFile::create(path)?;
    if format == ExportFormat::Parquet {
        parquet_file::write_parquet(&mut file, rows)?;
    } else {
        let mut push = |content: &[u8]| file.write_all(content).map_err(|err| FsError::io("write", path, err));
        if format == ExportFormat::Csv {
            push(CSV_HEAD.as_bytes())?;
        }
        rows.for_each_portion(&mut |rows| {
            let content = if format == ExportFormat::Csv { csv_text(rows).into_bytes() } else { lines(rows, format)? };
            Ok(push(&content)?)
        })?;
    }
    Ok(file.finish()?)
}

fn lines(rows: &[Example], format: ExportFormat) -> Result<Vec<u8>, DataError> {
    let mut text = String::new();
    for row in rows {
        let value = match format {
            ExportFormat::PromptCompletion => prompt_completion(row),
            ExportFormat::Preference => preference(row)?,
            ExportFormat::ShareGpt => {
                let turns: Vec<_> = conversation(row).iter().map(sharegpt_turn).collect();
                json!({ "conversations": turns })
            }
            _ => json!({ "messages": conversation(row) }),
        };
        writeln!(text, "{value}").ok();
    }
    Ok(text.into_bytes())
}

/// The prompt as a model reads it; where options are listed in an order that is drawn, as seed 0 draws it.
fn prompt(row: &Example) -> Vec<Message> {
    row.rendered_prompt(0)
}

/// Prompt and answer as one conversation.
fn conversation(row: &Example) -> Vec<Message> {
    prompt(row).into_iter().chain([Message::assistant(row.answer.clone())]).collect()
}

fn sharegpt_turn(turn: &Message) -> serde_json::Value {
    let from = match turn.role {
        Role::System => "system",
        Role::User => "human",
        Role::Assistant => "gpt",
    };
    json!({ "from": from, "value": turn.content })
}

fn prompt_completion(row: &Example) -> serde_json::Value {
    match &prompt(row)[..] {
        [question] => json!({ "prompt": question.content, "completion": row.answer }),
        turns => json!({ "prompt": turns, "completion": [Message::assistant(row.answer.clone())] }),
    }
}

fn preference(row: &Example) -> Result<serde_json::Value, DataError> {
    let rejected = row.rejected_answer().ok_or_else(|| DataError::NoPair { row: row.id.clone() })?;
    let answer = |text: &str| [Message::assistant(text)];
    Ok(json!({ "prompt": prompt(row), "chosen": answer(&row.answer), "rejected": answer(rejected) }))
}

/// The first line of a CSV file.
const CSV_HEAD: &str = "id,prompt,answer\r\n";

/// Lines of CSV after RFC 4180. A field that a spreadsheet would take for a formula begins with an apostrophe (OWASP, "CSV
/// injection").
fn csv_text(rows: &[Example]) -> String {
    let mut text = String::new();
    for row in rows {
        let prompt = Example { prompt: prompt(row), ..row.clone() }.prompt_text();
        let fields = [&row.id, &prompt, &row.answer].map(|field| csv_field(field));
        writeln!(text, "{}\r", fields.join(",")).ok();
    }
    text
}

/// One field in quotes, harmless to spreadsheets.
pub(crate) fn csv_field(field: &str) -> String {
    let is_formula =
        field.trim_start_matches(' ').starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']);
    let guard = if is_formula { "'" } else { "" };
    format!("\"{guard}{}\"", field.replace('"', "\"\""))
}

/// Quarantined rows as CSV, harmless to spreadsheets.
pub fn quarantine_csv(rows: &[trex_domain::QuarantinedRow]) -> String {
    let mut text = "file,line,byte_offset,reason,excerpt\r\n".to_owned();
    for row in rows {
        let (file, reason, excerpt) = (csv_field(&row.file), csv_field(&row.reason), csv_field(&row.excerpt));
        writeln!(text, "{file},{},{},{reason},{excerpt}\r", row.line, row.byte_offset).ok();
    }
    text
}

/// The files that [`write_hf_folder`] may write below a folder.
pub fn hf_folder_files(folder: &Path) -> Vec<PathBuf> {
    let splits = card::SPLITS.map(|split| folder.join(card::file_of(split)));
    splits.into_iter().chain([folder.join(CARD_FILE)]).collect()
}

/// The card of a dataset folder.
const CARD_FILE: &str = "README.md";

/// Writes a Hugging Face dataset folder: Parquet files for the splits that have rows, and a card.
pub fn write_hf_folder(folder: &Path, content: &HfFolder<'_>) -> Result<Vec<PathBuf>, DataError> {
    let mut written = Vec::new();
    for (split, rows) in content.splits() {
        if !rows.is_empty() {
            let path = folder.join(card::file_of(split));
            write_export(&path, rows, ExportFormat::Parquet)?;
            written.push(path);
        }
    }
    let readme = folder.join(CARD_FILE);
    write_atomic(&readme, card::card(content).as_bytes())?;
    written.push(readme);
    Ok(written)
}

/// The entry of `dataset_info.json` with which LLaMA-Factory finds a file of conversations.
pub fn dataset_info_entry(name: &str, file: &str, format: ExportFormat) -> String {
    let entry = match format {
        ExportFormat::ShareGpt => json!({
            "file_name": file,
            "formatting": "sharegpt",
            "columns": { "messages": "conversations" },
            "tags": { "role_tag": "from", "content_tag": "value", "user_tag": "human", "assistant_tag": "gpt", "system_tag": "system" },
        }),
        ExportFormat::PromptCompletion => json!({
            "file_name": file,
            "columns": { "prompt": "prompt", "response": "completion" },
        }),
        ExportFormat::Csv => json!({
            "file_name": file,
            "columns": { "prompt": "prompt", "response": "answer" },
        }),
        ExportFormat::Preference => json!({
            "file_name": file,
            "ranking": true,
            "formatting": "sharegpt",
            "columns": { "messages": "prompt", "chosen": "chosen", "rejected": "rejected" },
            "tags": { "role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant", "system_tag": "system" },
        }),
        _ => json!({
            "file_name": file,
            "formatting": "sharegpt",
            "columns": { "messages": "messages" },
            "tags": { "role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant", "system_tag": "system" },
        }),
    };
    format!("{:#}\n", json!({ name: entry }))
}

/// The `datasets:` block of an Axolotl configuration for a file of conversations. JSON strings are YAML strings.
pub fn axolotl_block(file: &str, format: ExportFormat) -> String {
    let path = serde_json::Value::String(file.to_owned());
    let (kind, rest) = match format {
        ExportFormat::ShareGpt => (
            "chat_template",
            "    field_messages: conversations\n    message_property_mappings:\n      role: from\n      content: value\n",
        ),
        ExportFormat::Preference => ("chat_template.default", "    field_messages: prompt\n"),
        ExportFormat::PromptCompletion => return axolotl_columns(&path, "json", "completion"),
        ExportFormat::Csv => return axolotl_columns(&path, "csv", "answer"),
        _ => ("chat_template", "    field_messages: messages\n"),
    };
    let ds_type = if format == ExportFormat::Parquet { "parquet" } else { "json" };
    format!(
        "datasets:\n  - path: {path}\n    ds_type: {ds_type}\n    type: {kind}\n{rest}    roles_to_train: [\"assistant\"]\n    train_on_eos: turn\n"
    )
}

/// The block for a file with a column of prompts and one of answers, which Axolotl joins by a format of its own.
fn axolotl_columns(path: &serde_json::Value, ds_type: &str, answer: &str) -> String {
    format!(
        "datasets:\n  - path: {path}\n    ds_type: {ds_type}\n    type:\n      field_instruction: prompt\n      field_output: {answer}\n      format: \"{{instruction}}\"\n      no_input_format: \"{{instruction}}\"\n"
    )
}

#[cfg(test)]
mod tests;
