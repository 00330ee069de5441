//! A trained model served to other programs of this machine by `trex serve`, for as long as the window is open.

use std::path::PathBuf;

use serde_json::Value;
use tauri::State;

use super::{check_node, on_workspace};
use crate::dropped::checked;
use crate::error::ShellError;
use crate::shell::Shell;

/// Serves a node instead of what was served before; the answer says where.
#[tauri::command(async)]
pub(crate) fn serve_start(shell: State<'_, Shell>, workspace: PathBuf, id: String) -> Result<Value, ShellError> {
    check_node(&id)?;
    let arguments = on_workspace(["serve".into(), id.into()], &checked(&workspace)?);
    shell.serve(&arguments)
}

/// Ends it.
#[tauri::command(async)]
pub(crate) fn serve_stop(shell: State<'_, Shell>) {
    shell.serve_no_more();
}

/// What is served and where; nothing where nothing is.
#[tauri::command(async)]
pub(crate) fn serve_status(shell: State<'_, Shell>) -> Option<Value> {
    shell.served()
}
