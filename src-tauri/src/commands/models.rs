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

/// What other programs of this machine keep.
#[tauri::command(async)]
pub(crate) fn models_found(shell: State<'_, Shell>) -> Result<Value, ShellError> {
    shell.program()?.ask(&["model", "found"])
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
    shell.program()?.ask_whether(&on_workspace(["repro".into(), id.into()], &checked(&workspace)?))
}

/// Both models on a file of the person's own prompts.
#[tauri::command(async)]
pub(crate) fn score_own(
    shell: State<'_, Shell>,
    workspace: PathBuf,
    id: String,
    file: PathBuf,
) -> Result<Value, ShellError> {
    check_node(&id)?;
    let arguments = ["score".into(), id.into(), checked(&file)?.into_os_string()];
    shell.program()?.ask(&on_workspace(arguments, &checked(&workspace)?))
}

/// What the untouched model and a trained node answer; `earlier` has the turns before, as `trex ask` keeps them in a file.
#[tauri::command(async)]
pub(crate) fn ask_models(
    shell: State<'_, Shell>,
    workspace: PathBuf,
    id: String,
    words: String,
    system: String,
    temperature: Option<f64>,
    earlier: Vec<Value>,
) -> Result<Value, ShellError> {
    check_node(&id)?;
    // A dash in front would be taken for an option; a blank before it changes no question.
    let words = if words.starts_with('-') { format!(" {words}") } else { words };
    let mut arguments = on_workspace(["ask".into(), id.into(), words.into()], &checked(&workspace)?);
    if !system.is_empty() {
        arguments.push(format!("--system={system}").into());
    }
    arguments.extend(temperature.map(|temperature| format!("--temperature={temperature}").into()));
    let room = tempfile::tempdir().map_err(|err| ShellError::window("no room for a conversation", &err))?;
    if !earlier.is_empty() {
        let file = room.path().join("conversation.jsonl");
        let mut lines: Vec<String> = earlier.iter().map(Value::to_string).collect();
        lines.push(String::new());
        trex_fs::write_atomic(&file, lines.join("\n").as_bytes())?;
        arguments.extend(["--conversation".into(), file.into_os_string()]);
    }
    shell.program()?.ask(&arguments)
}
