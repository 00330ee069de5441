//! A person's orders about the tree. What one changes is for `trex pin`, `unpin`, `forbid`, `allow` and `branch` to say.

use std::path::PathBuf;

use serde::Deserialize;
use serde_json::Value;
use tauri::State;
use ts_rs::TS;

use super::{check_node, on_workspace};
use crate::dropped::checked;
use crate::error::ShellError;
use crate::shell::Shell;

/// What a person wants of a node.
#[derive(Clone, Debug, Deserialize, TS)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Wish {
    /// It goes before others.
    Pin,
    /// It does not any more.
    Unpin,
    /// It is not gone on with.
    Forbid {
        /// Why; empty where nothing is said.
        reason: String,
    },
    /// It may be gone on with again.
    Allow,
    /// A variant that differs from it is trained next.
    Branch {
        /// Setting and new value as JSON.
        changes: Vec<(String, String)>,
        /// Why; empty where nothing is said.
        reason: String,
    },
}

#[tauri::command(async)]
pub(crate) fn order(shell: State<'_, Shell>, workspace: PathBuf, id: String, wish: Wish) -> Result<Value, ShellError> {
    check_node(&id)?;
    let (verb, changes, reason) = match wish {
        Wish::Pin => ("pin", Vec::new(), String::new()),
        Wish::Unpin => ("unpin", Vec::new(), String::new()),
        Wish::Forbid { reason } => ("forbid", Vec::new(), reason),
        Wish::Allow => ("allow", Vec::new(), String::new()),
        Wish::Branch { changes, reason } => ("branch", changes, reason),
    };
    let mut arguments = on_workspace([verb.into(), id.into()], &checked(&workspace)?);
    arguments.extend(changes.into_iter().map(|(name, value)| format!("--set={name}={value}").into()));
    if !reason.trim().is_empty() {
        arguments.push(format!("--reason={}", reason.trim()).into());
    }
    shell.program()?.ask(&arguments)
}
