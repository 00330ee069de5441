//! Rows in forms that other tools read, for `trex data export` and `trex recipe run`. Replaces nothing that is read.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use trex_data::{
    CARD_MARK, ExportFormat, HfFolder, SchemaKind, axolotl_block, dataset_info_entry, hf_folder_files, write_export,
    write_hf_folder,
};
use trex_domain::nearest;

use crate::error::{CliError, CommandError};

/// A folder instead of a file.
pub(crate) const HUB_FOLDER: &str = "hf";

/// The form that keeps the worse answers of pairs.
const WITH_REJECTED: &str = "preference";

/// The form that keeps all of rows whose schema is described so.
pub(crate) fn usual_format(schema: &str) -> &'static str {
    if has_pairs(schema) { WITH_REJECTED } else { "messages" }
}

fn has_pairs(schema: &str) -> bool {
    schema.starts_with(SchemaKind::Preference.as_str())
}

/// The ending of a file of this form.
pub(crate) fn extension_of(format: &str) -> &'static str {
    ExportFormat::ALL.iter().find(|(name, _)| *name == format).map_or("jsonl", |(_, form)| form.extension())
}

/// Refuses to replace what is read: a file of the sources, one that lies in a folder of them, or a card of somebody else.
pub(crate) fn check_spared(out: &Path, format: &str, sources: &[PathBuf]) -> Result<(), CliError> {
    let targets = if format == HUB_FOLDER { hf_folder_files(out) } else { vec![out.to_owned()] };
    let sources: Vec<PathBuf> = sources.iter().filter_map(|source| source.canonicalize().ok()).collect();
    for path in targets {
        // What is not there cannot be replaced.
        let Ok(real) = path.canonicalize() else { continue };
        if sources.iter().any(|source| real.starts_with(source)) {
            return Err(CommandError::OutputTaken { path, what: "what is read" }.into());
        }
        let is_card = path.extension().is_some_and(|extension| extension == "md");
        if is_card && !trex_fs::read_to_string(&path).is_ok_and(|text| text.contains(CARD_MARK)) {
            return Err(CommandError::OutputTaken { path, what: "no card that TREX wrote" }.into());
        }
    }
    Ok(())
}

/// Writes the training rows of a folder in a form, beside entries for other tools where these read it, and a note where the
/// form has no place for all of rows whose schema is described so.
pub(crate) fn write_form(out: &Path, format: &str, schema: &str, folder: &HfFolder<'_>) -> Result<Value, CliError> {
    let mut written = written(out, format, folder)?;
    if has_pairs(schema) && format != WITH_REJECTED {
        let note = "this form has no place for rejected answers, which are left out; --format preference keeps them";
        written["note"] = note.into();
    }
    Ok(written)
}

fn written(out: &Path, format: &str, folder: &HfFolder<'_>) -> Result<Value, CliError> {
    if format == HUB_FOLDER {
        return Ok(json!({ "files": write_hf_folder(out, folder)? }));
    }
    let known = ExportFormat::ALL;
    let Some((_, form)) = known.iter().find(|(name, _)| *name == format) else {
        let nearest = nearest(format, known.iter().map(|(name, _)| *name).chain([HUB_FOLDER])).map(str::to_owned);
        return Err(CommandError::UnknownFormat { name: format.to_owned(), nearest }.into());
    };
    write_export(out, folder.train, *form)?;
    let file = out.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    Ok(json!({
        "files": [out],
        "dataset_info": dataset_info_entry(folder.name, &file, *form),
        "axolotl": axolotl_block(&out.display().to_string(), *form),
    }))
}

/// What was written, for people.
pub(crate) fn written_text(written: &Value) -> String {
    let mut text = String::new();
    for file in written["files"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        writeln!(text, "{file}").expect("writing to a string cannot fail");
    }
    if let Some(note) = written["note"].as_str() {
        writeln!(text, "note: {note}").expect("writing to a string cannot fail");
    }
    for (what, key) in [("for dataset_info.json of LLaMA-Factory", "dataset_info"), ("for Axolotl", "axolotl")] {
        if let Some(block) = written[key].as_str() {
            writeln!(text, "\n{what}:\n{}", block.trim_end()).expect("writing to a string cannot fail");
        }
    }
    text
}
