//! Commands about rows: profile, rows as they are and as the model sees them, tasks for them, and recipes.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tauri::State;

use crate::dropped::{checked, checked_new};
use crate::error::ShellError;
use crate::shell::Shell;

/// Rows on one page at most.
const MAX_ROWS: u32 = 500;

#[tauri::command(async)]
pub(crate) fn profile_data(shell: State<'_, Shell>, path: PathBuf, model: String) -> Result<Value, ShellError> {
    let model = format!("--model={model}");
    shell.program()?.ask(&words(["data", "profile", &model], &checked(&path)?))
}

#[tauri::command(async)]
pub(crate) fn profile_page(shell: State<'_, Shell>, path: PathBuf) -> Result<String, ShellError> {
    shell.program()?.ask_text(&words(["data", "profile", "--html"], &checked(&path)?))
}

#[tauri::command(async)]
pub(crate) fn data_rows(
    shell: State<'_, Shell>,
    path: PathBuf,
    page: u32,
    rows: u32,
    filter: String,
) -> Result<Value, ShellError> {
    let page = format!("--page={}", page.max(1));
    let rows = format!("--rows={}", rows.clamp(1, MAX_ROWS));
    let mut arguments = words(["data", "show", &page, &rows], &checked(&path)?);
    if !filter.is_empty() {
        arguments.push(format!("--filter={filter}").into());
    }
    shell.program()?.ask(&arguments)
}

#[tauri::command(async)]
pub(crate) fn rows_as_trained(
    shell: State<'_, Shell>,
    path: PathBuf,
    skip: u32,
    rows: u32,
    model: String,
) -> Result<Value, ShellError> {
    let rows = format!("--as-trained={}", rows.clamp(1, MAX_ROWS));
    let skip = format!("--skip={skip}");
    let model = format!("--model={model}");
    shell.program()?.ask(&words(["data", "show", &rows, &skip, &model], &checked(&path)?))
}

#[tauri::command(async)]
pub(crate) fn quarantine(shell: State<'_, Shell>, path: PathBuf, limit: u32) -> Result<Value, ShellError> {
    let limit = format!("--limit={}", limit.clamp(1, MAX_ROWS));
    shell.program()?.ask(&words(["data", "quarantine", &limit], &checked(&path)?))
}

/// A task file out of words, data and answers to open questions: what was understood, and the file where nothing is open.
/// The file itself is not kept; the page has its text.
#[tauri::command(async)]
pub(crate) fn draft_task(
    shell: State<'_, Shell>,
    words: String,
    data: Vec<PathBuf>,
    answers: Vec<(String, String)>,
) -> Result<Value, ShellError> {
    // A dash in front would be taken for an option.
    let words = words.trim_start_matches(['-', ' ']).to_owned();
    let folder = tempfile::tempdir().map_err(|err| ShellError::window("no room for a draft", &err))?;
    let file = folder.path().join("task.toml");
    let mut arguments: Vec<OsString> = vec!["new".into(), words.into(), "--out".into(), file.clone().into_os_string()];
    for path in &data {
        arguments.extend(["--data".into(), checked(path)?.into_os_string()]);
    }
    for (field, value) in &answers {
        arguments.push(format!("--answer={field}={value}").into());
    }
    let mut draft = shell.program()?.ask(&arguments)?;
    draft["text"] = trex_fs::read_to_string(&file).ok().map_or(Value::Null, Value::String);
    Ok(draft)
}

/// What a task as it stands in the editor would take on this machine; nothing of it is kept. A task without a file of its own
/// names its data by whole paths.
#[tauri::command(async)]
pub(crate) fn forecast_task(
    shell: State<'_, Shell>,
    path: Option<PathBuf>,
    text: String,
    workspace: PathBuf,
    seed: u64,
) -> Result<Value, ShellError> {
    let room = tempfile::tempdir().map_err(|err| ShellError::window("no room for a draft", &err))?;
    let draft = if let Some(path) = &path {
        draft_beside(path, &text)?
    } else {
        let draft = room.path().join("task.toml");
        trex_fs::write_atomic(&draft, text.as_bytes())?;
        draft
    };
    let seed = format!("--seed={seed}");
    let mut arguments = words(["forecast", &seed], &draft);
    arguments.extend(["--workspace".into(), checked_new(&workspace)?.into_os_string()]);
    let found = shell.program()?.ask(&arguments);
    if path.is_some() {
        std::fs::remove_file(&draft).ok();
    }
    found
}

#[tauri::command(async)]
pub(crate) fn recipe_operators(shell: State<'_, Shell>) -> Result<Value, ShellError> {
    shell.program()?.ask(&["recipe", "operators"])
}

/// Checks a recipe as it stands in the editor; nothing of it is kept.
#[tauri::command(async)]
pub(crate) fn recipe_check(shell: State<'_, Shell>, path: PathBuf, text: String) -> Result<Value, ShellError> {
    let draft = draft_beside(&path, &text)?;
    let checked = shell.program()?.ask(&words(["recipe", "check"], &draft));
    std::fs::remove_file(&draft).ok();
    checked
}

#[tauri::command(async)]
pub(crate) fn recipe_load(path: PathBuf) -> Result<String, ShellError> {
    Ok(trex_fs::read_to_string(&recipe_file(&checked(&path)?)?)?)
}

#[tauri::command(async)]
pub(crate) fn recipe_save(path: PathBuf, text: String) -> Result<(), ShellError> {
    Ok(trex_fs::write_atomic(&recipe_file(&checked_new(&path)?)?, text.as_bytes())?)
}

/// Carries a recipe out: what went in and came out of each step, and where the rows are.
#[tauri::command(async)]
pub(crate) fn recipe_run(
    shell: State<'_, Shell>,
    path: PathBuf,
    workspace: PathBuf,
    model: String,
) -> Result<Value, ShellError> {
    let workspace = checked_new(&workspace)?;
    let mut arguments = words(["recipe", "run"], &checked(&path)?);
    let out = workspace.join("exports").join("recipe-preview");
    arguments.extend(["--workspace".into(), workspace.into_os_string(), "--out".into(), out.into_os_string()]);
    arguments.push(format!("--model={model}").into());
    shell.program()?.ask(&arguments)
}

#[tauri::command(async)]
pub(crate) fn recipe_history(shell: State<'_, Shell>, path: PathBuf, workspace: PathBuf) -> Result<Value, ShellError> {
    let mut arguments = words(["recipe", "history"], &checked(&path)?);
    arguments.extend(["--workspace".into(), checked_new(&workspace)?.into_os_string()]);
    shell.program()?.ask(&arguments)
}

fn words<const N: usize>(command: [&str; N], path: &Path) -> Vec<OsString> {
    command.iter().map(OsString::from).chain([path.as_os_str().to_owned()]).collect()
}

/// Only recipes and tasks are read and written for the page, so it can reach no other file.
fn recipe_file(path: &Path) -> Result<PathBuf, ShellError> {
    let is_toml = path.extension().is_some_and(|ending| ending == "toml");
    if is_toml { Ok(path.to_owned()) } else { Err(ShellError::bad_path(path, "not a TOML file")) }
}

/// A draft lies beside its file, because the paths in it start there.
fn draft_beside(path: &Path, text: &str) -> Result<PathBuf, ShellError> {
    let path = recipe_file(&checked_new(path)?)?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let draft = path.with_file_name(format!(".{name}.draft.toml"));
    trex_fs::write_atomic(&draft, text.as_bytes())?;
    Ok(draft)
}
