//! Commands about what is known: documents, insights, their net, and bundles for other labs. What may leave a machine, and
//! whether a bundle can be trusted, is for `trex kb` to say.

use std::ffi::OsString;
use std::path::PathBuf;

use serde_json::Value;
use tauri::State;

use crate::dropped::{checked, checked_new};
use crate::error::ShellError;
use crate::shell::Shell;

/// Hits of a search at most.
const MAX_HITS: u32 = 50;

/// Steps from a thing of the net at most.
const MAX_DEPTH: u32 = 6;

#[tauri::command(async)]
pub(crate) fn kb_list(shell: State<'_, Shell>) -> Result<Value, ShellError> {
    shell.program()?.ask(&["kb", "list"])
}

#[tauri::command(async)]
pub(crate) fn kb_search(shell: State<'_, Shell>, question: String, limit: u32) -> Result<Value, ShellError> {
    // A dash in front would be taken for an option; no question needs one.
    let question = question.trim_start_matches(['-', ' ']).to_owned();
    if question.is_empty() {
        return Err(ShellError::bad_input("question", "there are no words in it"));
    }
    shell.program()?.ask(&["kb", "search", &format!("--limit={}", limit.clamp(1, MAX_HITS)), &question])
}

#[tauri::command(async)]
pub(crate) fn kb_show(shell: State<'_, Shell>, id: String) -> Result<Value, ShellError> {
    shell.program()?.ask(&["kb", "show", check_hex(&id)?])
}

#[tauri::command(async)]
pub(crate) fn kb_add(shell: State<'_, Shell>, paths: Vec<PathBuf>) -> Result<Value, ShellError> {
    let mut arguments: Vec<OsString> = vec!["kb".into(), "add".into()];
    for path in &paths {
        arguments.push(checked(path)?.into_os_string());
    }
    shell.program()?.ask(&arguments)
}

#[tauri::command(async)]
pub(crate) fn kb_remove(shell: State<'_, Shell>, id: String) -> Result<Value, ShellError> {
    shell.program()?.ask(&["kb", "remove", check_hex(&id)?])
}

/// The whole net, or what is near one thing of it.
#[tauri::command(async)]
pub(crate) fn kb_graph(shell: State<'_, Shell>, from: Option<String>, depth: u32) -> Result<Value, ShellError> {
    let mut arguments = vec!["kb".to_owned(), "graph".to_owned(), format!("--depth={}", depth.clamp(1, MAX_DEPTH))];
    arguments.extend(from.map(|from| format!("--from={from}")));
    shell.program()?.ask(&arguments)
}

#[tauri::command(async)]
pub(crate) fn kb_learn(shell: State<'_, Shell>, workspace: PathBuf) -> Result<Value, ShellError> {
    let arguments: [OsString; 4] =
        ["kb".into(), "learn".into(), "--workspace".into(), checked(&workspace)?.into_os_string()];
    shell.program()?.ask(&arguments)
}

/// Every record that would leave, one a line, and how many.
#[tauri::command(async)]
pub(crate) fn kb_export_preview(shell: State<'_, Shell>, with_documents: bool) -> Result<String, ShellError> {
    let mut arguments = vec!["kb", "export", "preview.trexkb", "--preview"];
    if with_documents {
        arguments.push("--with-documents");
    }
    shell.program()?.ask_text(&arguments)
}

#[tauri::command(async)]
pub(crate) fn kb_export(
    shell: State<'_, Shell>,
    file: PathBuf,
    with_documents: bool,
    sign: Option<PathBuf>,
) -> Result<Value, ShellError> {
    let mut arguments: Vec<OsString> = vec!["kb".into(), "export".into(), checked_new(&file)?.into_os_string()];
    if with_documents {
        arguments.push("--with-documents".into());
    }
    if let Some(key) = sign {
        arguments.extend(["--sign".into(), checked(&key)?.into_os_string()]);
    }
    shell.program()?.ask(&arguments)
}

/// What is in a bundle, from whom, and whether it could be merged; changes nothing.
#[tauri::command(async)]
pub(crate) fn kb_import_preview(
    shell: State<'_, Shell>,
    file: PathBuf,
    trust: Option<String>,
) -> Result<String, ShellError> {
    let mut arguments = import_arguments(&file, trust.as_deref())?;
    arguments.push("--preview".into());
    shell.program()?.ask_text(&arguments)
}

#[tauri::command(async)]
pub(crate) fn kb_import(shell: State<'_, Shell>, file: PathBuf, trust: Option<String>) -> Result<Value, ShellError> {
    shell.program()?.ask(&import_arguments(&file, trust.as_deref())?)
}

fn import_arguments(file: &std::path::Path, trust: Option<&str>) -> Result<Vec<OsString>, ShellError> {
    let mut arguments: Vec<OsString> = vec!["kb".into(), "import".into(), checked(file)?.into_os_string()];
    if let Some(trust) = trust.map(str::trim).filter(|trust| !trust.is_empty()) {
        arguments.push(format!("--trust={trust}").into());
    }
    Ok(arguments)
}

/// Ids are hexadecimal, or their beginnings; anything else could be taken for an option.
fn check_hex(id: &str) -> Result<&str, ShellError> {
    let is_hex = !id.is_empty() && id.chars().all(|c| c.is_ascii_hexdigit());
    if is_hex { Ok(id) } else { Err(ShellError::bad_input("id", "not the id of something known")) }
}
