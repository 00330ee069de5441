//! Commands about decisions that a run holds for a person. What waits, and what a word on it changes, is for `trex review`
//! to say.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;
use tauri::State;
use ts_rs::TS;

use super::on_workspace;
use crate::dropped::checked;
use crate::error::ShellError;
use crate::shell::Shell;

/// A person's word.
#[derive(Clone, Debug, Deserialize, TS)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Word {
    /// Let it pass as it is.
    Approve,
    /// Let it pass with other values.
    Edit {
        /// Setting and new value as JSON.
        changes: Vec<(String, String)>,
    },
    /// Do not let it pass.
    Reject,
}

#[tauri::command(async)]
pub(crate) fn review_list(shell: State<'_, Shell>, workspace: PathBuf) -> Result<Value, ShellError> {
    let arguments = ["review".into(), "list".into(), "--all".into()];
    shell.program()?.ask(&on_workspace(arguments, &checked(&workspace)?))
}

/// Also notes that a person looks at it, from which the minutes are counted.
#[tauri::command(async)]
pub(crate) fn review_show(shell: State<'_, Shell>, workspace: PathBuf, id: String) -> Result<Value, ShellError> {
    shell.program()?.ask(&of_review("show", &id, &checked(&workspace)?)?)
}

#[tauri::command(async)]
pub(crate) fn review_decide(
    shell: State<'_, Shell>,
    workspace: PathBuf,
    id: String,
    word: Word,
    reason: String,
) -> Result<Value, ShellError> {
    let workspace = checked(&workspace)?;
    let (verb, changes) = match word {
        Word::Approve => ("approve", Vec::new()),
        Word::Edit { changes } => ("edit", changes),
        Word::Reject => ("reject", Vec::new()),
    };
    let mut arguments = of_review(verb, &id, &workspace)?;
    arguments.extend(changes.into_iter().map(|(name, value)| format!("--set={name}={value}").into()));
    if !reason.trim().is_empty() {
        arguments.push(format!("--reason={}", reason.trim()).into());
    }
    shell.program()?.ask(&arguments)
}

/// Names of reviews are an `r` and a number; anything else could be taken for an option.
fn of_review(verb: &str, id: &str, workspace: &Path) -> Result<Vec<OsString>, ShellError> {
    let digits = id.strip_prefix('r').unwrap_or_default();
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(ShellError::bad_input("review", "not the name of a review"));
    }
    Ok(on_workspace(["review".into(), verb.into(), id.into()], workspace))
}
