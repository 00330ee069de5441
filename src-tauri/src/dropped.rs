//! What a path is that a person dropped or chose: told from the file system, never from what the page says. Reads only
//! the first bytes; what is in the data is for `trex data profile` to say.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::error::ShellError;

/// What a path is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum DroppedKind {
    /// A folder with runs.
    Workspace,
    /// A GGUF file or a Hugging Face folder.
    Model,
    /// A PEFT adapter folder.
    Adapter,
    /// A task file.
    Task,
    /// A data recipe.
    Recipe,
    /// A paper or notes.
    Document,
    /// What another lab knows.
    Bundle,
    /// Rows, or a folder that may hold some.
    Data,
}

/// A path that is there, and what it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, TS)]
pub struct Dropped {
    /// The absolute path.
    #[ts(type = "string")]
    pub path: PathBuf,
    /// Its last part.
    pub name: String,
    /// What it is.
    pub kind: DroppedKind,
    /// Size of a file.
    #[ts(type = "number | null")]
    pub bytes: Option<u64>,
}

/// Looks at a path; an error where it is not absolute, not there, or neither a file nor a folder.
pub fn identify(path: &Path) -> Result<Dropped, ShellError> {
    let path = checked(path)?;
    let meta = path.metadata().map_err(|err| ShellError::bad_path(&path, &err.to_string()))?;
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    let kind = if meta.is_dir() { folder_kind(&path) } else { file_kind(&path) };
    Ok(Dropped { kind, name, bytes: meta.is_file().then_some(meta.len()), path })
}

/// A path from the page: absolute, there, and with all links followed.
pub(crate) fn checked(path: &Path) -> Result<PathBuf, ShellError> {
    if !path.is_absolute() {
        return Err(ShellError::bad_path(path, "not an absolute path"));
    }
    path.canonicalize().map_err(|err| ShellError::bad_path(path, &err.to_string()))
}

/// A folder from the page that need not be there yet.
pub(crate) fn checked_new(path: &Path) -> Result<PathBuf, ShellError> {
    let climbs = path.components().any(|part| matches!(part, std::path::Component::ParentDir));
    if !path.is_absolute() || climbs {
        return Err(ShellError::bad_path(path, "not an absolute path without `..`"));
    }
    Ok(path.to_owned())
}

fn folder_kind(path: &Path) -> DroppedKind {
    let has = |name: &str| path.join(name).is_file();
    if has("workspace.db") {
        DroppedKind::Workspace
    } else if has("adapter_config.json") {
        DroppedKind::Adapter
    } else if has("config.json") && (has("model.safetensors") || has("model.safetensors.index.json")) {
        DroppedKind::Model
    } else {
        DroppedKind::Data
    }
}

fn file_kind(path: &Path) -> DroppedKind {
    let ending = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    match ending.as_str() {
        "gguf" => DroppedKind::Model,
        "pdf" | "md" | "bib" | "html" | "htm" => DroppedKind::Document,
        "trexkb" => DroppedKind::Bundle,
        "toml" => toml_kind(path),
        _ => DroppedKind::Data,
    }
}

/// A recipe has sources or steps; a task has data.
fn toml_kind(path: &Path) -> DroppedKind {
    let text = trex_fs::read_to_string(path).unwrap_or_default();
    let is_recipe = text.lines().any(|line| {
        let line = line.trim_start();
        line.starts_with("[[source") || line.starts_with("[[step")
    });
    if is_recipe { DroppedKind::Recipe } else { DroppedKind::Task }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(files: &[(&str, &str)], target: &str, expected: DroppedKind) {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        assert_eq!(identify(&folder.path().join(target)).unwrap().kind, expected, "{target}");
    }

    #[test]
    fn paths_are_told_apart() {
        check(&[("w/workspace.db", "")], "w", DroppedKind::Workspace);
        check(&[("m/config.json", "{}"), ("m/model.safetensors", "")], "m", DroppedKind::Model);
        check(&[("m/adapter_config.json", "{}")], "m", DroppedKind::Adapter);
        check(&[("m.GGUF", "")], "m.GGUF", DroppedKind::Model);
        check(&[("d/train.csv", "a,b")], "d", DroppedKind::Data);
        check(&[("train.jsonl", "{}")], "train.jsonl", DroppedKind::Data);
        check(&[("p.pdf", "")], "p.pdf", DroppedKind::Document);
        check(&[("ours.trexkb", "")], "ours.trexkb", DroppedKind::Bundle);
        check(&[("r.toml", "[[sources]]\npath = \"x\"\n")], "r.toml", DroppedKind::Recipe);
        check(&[("t.toml", "name = \"x\"\n[data]\n")], "t.toml", DroppedKind::Task);
    }

    #[test]
    fn what_is_not_there_or_relative_is_refused() {
        for path in ["relative/file", "/no/such/file/anywhere", ""] {
            assert_eq!(identify(Path::new(path)).unwrap_err().code, "app.bad_path");
        }
        assert_eq!(checked_new(Path::new("/a/../b")).unwrap_err().code, "app.bad_path");
    }
}
