//! Commands about models: the list, taking one in, and exports of what was trained.

use std::path::PathBuf;

use serde_json::Value;
use tauri::State;

use super::{check_node, on_workspace};
use crate::dropped::{checked, checked_new};
use crate::error::ShellError;
use crate::shell::Shell;

#[tauri::command(async)]
pub(crate) fn models(shell: State<'_, Shell>) -> Result<Value, ShellError> {
    shell.program()?.ask(&["model", "list"])
}

#[tauri::command(async)]
pub(crate) fn add_model(shell: State<'_, Shell>, source: String, name: String) -> Result<Value, ShellError> {
    let is_hub = source.starts_with("hub:");
    let source = if is_hub { source.into() } else { checked(&PathBuf::from(source))?.into_os_string() };
    let mut arguments = vec!["model".into(), "add".into(), source];
    if !name.is_empty() {
        arguments.push(format!("--name={name}").into());
    }
    shell.program()?.ask(&arguments)
}

/// Writes a trained node in another form, scored anew by `trex export`.
#[tauri::command(async)]
pub(crate) fn export_node(
    shell: State<'_, Shell>,
    workspace: PathBuf,
    id: String,
    format: String,
    out: PathBuf,
) -> Result<Value, ShellError> {
    check_node(&id)?;
    let mut arguments = on_workspace(["export".into(), id.into()], &checked(&workspace)?);
    arguments.push(format!("--format={format}").into());
    arguments.extend(["--out".into(), checked_new(&out)?.into_os_string()]);
    shell.program()?.ask(&arguments)
}

/// Trains a node again from nothing and compares the bytes.
#[tauri::command(async)]
pub(crate) fn reproduce_node(shell: State<'_, Shell>, workspace: PathBuf, id: String) -> Result<Value, ShellError> {
    check_node(&id)?;
    shell.program()?.ask(&on_workspace(["repro".into(), id.into()], &checked(&workspace)?))
}
