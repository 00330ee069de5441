//! What the page can ask for. Every command checks its input, asks the engine or the `trex` program, and converts; none
//! owns a rule. They run on threads of their own, so the window is never blocked.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tauri::ipc::Channel;
use tauri::{AppHandle, Manager as _, Runtime, State};
use trex_store::Workspace;
use ts_rs::TS;

use crate::clock::now;
use crate::desk::Desk;
use crate::dropped::{Dropped, checked, checked_new, identify};
use crate::error::ShellError;
use crate::follow::{LogLine, StopFollowing, Update, follow, log_lines, view_at};
use crate::logs::write_bundle;
use crate::settings::Settings;
use crate::shell::Shell;
use crate::view::{RunView, status_of};

pub(crate) mod data;
pub(crate) mod knowledge;
pub(crate) mod models;
pub(crate) mod orders;
pub(crate) mod queue;
pub(crate) mod review;
pub(crate) mod scores;
pub(crate) mod serve;

/// What the first screen shows.
#[derive(Clone, Debug, Serialize, TS)]
pub struct HomeView {
    /// Workspaces that were open before, the newest first.
    pub workspaces: Vec<WorkspaceCard>,
    /// Built-in tasks that need no download.
    pub tasks: Vec<ExampleTask>,
    /// Where new workspaces go.
    #[ts(type = "string")]
    pub folder: PathBuf,
    /// Version of this window.
    pub version: String,
    /// Why no work can be done, where that is so.
    pub problem: Option<ShellError>,
}

/// A workspace and its newest run.
#[derive(Clone, Debug, Serialize, TS)]
pub struct WorkspaceCard {
    /// Its folder.
    #[ts(type = "string")]
    pub path: PathBuf,
    /// Last part of its path.
    pub name: String,
    /// Task of its newest run.
    pub task: Option<String>,
    /// `running`, `finished`, `failed`, `interrupted`, `empty`, or `unreadable`.
    pub status: String,
    /// Runs in it.
    #[ts(type = "number")]
    pub runs: usize,
}

/// A built-in task.
#[derive(Clone, Debug, Serialize, TS)]
pub struct ExampleTask {
    /// The name that `trex run` takes.
    pub name: String,
    /// A short title.
    pub title: String,
    /// The requirement in plain words.
    pub goal: String,
}

/// A run to begin.
#[derive(Clone, Debug, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct StartRequest {
    /// Folder of the workspace.
    #[ts(type = "string")]
    pub workspace: PathBuf,
    /// Name of a built-in task, or a task file.
    pub task: String,
    /// Seed of everything random.
    #[ts(type = "number")]
    pub seed: u64,
    /// Base model instead of the task's.
    pub model: Option<String>,
    /// Most trials instead of the task's.
    pub trials: Option<u32>,
    /// Begin anew although an unfinished run is there.
    pub new: bool,
}

#[tauri::command(async)]
pub(crate) fn settings(shell: State<'_, Shell>) -> Settings {
    shell.settings()
}

#[tauri::command(async)]
pub(crate) fn set_settings(shell: State<'_, Shell>, settings: Settings) -> Result<Settings, ShellError> {
    shell.change_settings(|known| *known = Settings { recent: known.recent.clone(), ..settings.checked() })
}

#[tauri::command(async)]
pub(crate) fn home<R: Runtime>(app: AppHandle<R>, shell: State<'_, Shell>) -> HomeView {
    let example = |task: trex_ftbench::MiniTask| ExampleTask {
        name: task.name(),
        title: task.title().to_owned(),
        goal: task.goal().to_owned(),
    };
    let place = app.path().document_dir().or_else(|_| app.path().home_dir()).unwrap_or_default();
    HomeView {
        workspaces: shell.settings().recent.iter().map(|path| workspace_card(path)).collect(),
        tasks: trex_ftbench::mini_tasks().into_iter().map(example).collect(),
        folder: shell.workspaces_folder().unwrap_or_else(|| place.join("TREX")),
        version: app.package_info().version.to_string(),
        problem: shell.program().err(),
    }
}

fn workspace_card(path: &Path) -> WorkspaceCard {
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    let card = |task, status: &str, runs| WorkspaceCard {
        path: path.to_owned(),
        name: name.clone(),
        task,
        status: status.to_owned(),
        runs,
    };
    let read = || -> Result<WorkspaceCard, trex_store::StoreError> {
        let reader = Workspace::open_reader(path)?;
        let runs = reader.runs()?;
        let Some(newest) = runs.first() else { return Ok(card(None, "empty", 0)) };
        let state = reader.state(newest.id)?;
        Ok(card(Some(newest.name.clone()), status_of(&state, reader.has_writer()), runs.len()))
    };
    read().unwrap_or_else(|_| card(None, if path.exists() { "empty" } else { "unreadable" }, 0))
}

#[tauri::command(async)]
pub(crate) fn identify_path(path: PathBuf) -> Result<Dropped, ShellError> {
    identify(&path)
}

/// Follows a workspace from now on, instead of the one before.
#[tauri::command(async)]
pub(crate) fn follow_workspace<R: Runtime>(
    app: AppHandle<R>,
    shell: State<'_, Shell>,
    workspace: PathBuf,
    updates: Channel<Update>,
) -> Result<(), ShellError> {
    let folder = checked_new(&workspace)?;
    let stop = shell.follow_instead(&folder);
    if folder.join("workspace.db").is_file() {
        shell.change_settings(|settings| settings.remember(&folder))?;
    }
    spawn_follower(folder, stop, updates, Desk::new(app))
}

fn spawn_follower<R: Runtime>(
    folder: PathBuf,
    stop: StopFollowing,
    updates: Channel<Update>,
    mut desk: Desk<R>,
) -> Result<(), ShellError> {
    let thread = std::thread::Builder::new().name("follow".to_owned());
    let send = move |update| {
        desk.tell(&update);
        updates.send(update).is_ok()
    };
    let follower = move || follow(&folder, &stop, send);
    thread.spawn(follower).map(drop).map_err(|err| ShellError::window("cannot follow the run", &err))
}

#[tauri::command(async)]
pub(crate) fn run_at(workspace: PathBuf, seq: u64) -> Result<RunView, ShellError> {
    view_at(&checked(&workspace)?, seq)
}

#[tauri::command(async)]
pub(crate) fn run_log(workspace: PathBuf, after: u64) -> Result<Vec<LogLine>, ShellError> {
    const LIMIT: usize = 5000;
    log_lines(&checked(&workspace)?, after, LIMIT)
}

#[tauri::command(async)]
pub(crate) fn run_words(shell: State<'_, Shell>, workspace: PathBuf, after: u64) -> Result<String, ShellError> {
    let arguments = ["watch".into(), "--no-follow".into(), "--after".into(), after.to_string().into()];
    shell.program()?.ask_text(&on_workspace(arguments, &checked(&workspace)?))
}

#[tauri::command(async)]
pub(crate) fn show_node(shell: State<'_, Shell>, workspace: PathBuf, id: String) -> Result<Value, ShellError> {
    check_node(&id)?;
    shell.program()?.ask(&on_workspace(["show".into(), id.into()], &checked(&workspace)?))
}

/// Why the search did what it did with a node.
#[tauri::command(async)]
pub(crate) fn why_node(shell: State<'_, Shell>, workspace: PathBuf, id: String) -> Result<String, ShellError> {
    check_node(&id)?;
    shell.program()?.ask_text(&on_workspace(["why".into(), id.into()], &checked(&workspace)?))
}

/// What is wrong with a variant, and what to try next.
#[tauri::command(async)]
pub(crate) fn diagnose_node(shell: State<'_, Shell>, workspace: PathBuf, id: String) -> Result<String, ShellError> {
    check_node(&id)?;
    shell.program()?.ask_text(&on_workspace(["diagnose".into(), id.into()], &checked(&workspace)?))
}

/// Names of nodes are letters, digits and dots; anything else could be taken for an option.
pub(crate) fn check_node(id: &str) -> Result<(), ShellError> {
    let is_name = !id.is_empty() && id.chars().all(|c| c.is_ascii_alphanumeric() || c == '.');
    if is_name { Ok(()) } else { Err(ShellError::bad_input("node", "not the name of a node")) }
}

#[tauri::command(async)]
pub(crate) fn start_run(shell: State<'_, Shell>, request: StartRequest) -> Result<(), ShellError> {
    let folder = checked_new(&request.workspace)?;
    let task = task_argument(&request.task)?;
    let mut arguments = on_workspace(["run".into(), task], &folder);
    arguments.extend(run_arguments(&request, &shell.settings()));
    shell.start(&folder, &arguments)?;
    shell.change_settings(|settings| settings.remember(&folder)).map(drop)
}

/// What `trex run` is told beside task and workspace.
fn run_arguments(request: &StartRequest, settings: &Settings) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec!["--seed".into(), request.seed.to_string().into()];
    if let Some(model) = request.model.as_ref().filter(|model| !model.is_empty()) {
        arguments.push(format!("--model={model}").into());
    }
    if let Some(trials) = request.trials {
        arguments.push(format!("--trials={trials}").into());
    }
    if request.new {
        arguments.push("--new".into());
    }
    arguments.extend(gates(settings));
    arguments
}

/// How much a run decides without a person.
fn gates(settings: &Settings) -> Vec<OsString> {
    if !settings.review {
        return Vec::new();
    }
    let stages = settings.autonomy.iter().map(|(stage, percent)| format!("--autonomy={stage}={percent}").into());
    std::iter::once("--review".into()).chain(stages).collect()
}

/// A built-in task by name, or a file that is there.
fn task_argument(task: &str) -> Result<OsString, ShellError> {
    if trex_ftbench::mini_task(task).is_ok() {
        return Ok(task.into());
    }
    Ok(checked(Path::new(task))?.into_os_string())
}

#[tauri::command(async)]
pub(crate) fn resume_run(shell: State<'_, Shell>, workspace: PathBuf) -> Result<(), ShellError> {
    let folder = checked(&workspace)?;
    shell.start(&folder, &on_workspace(["resume".into()], &folder))
}

#[tauri::command(async)]
pub(crate) fn stop_run(shell: State<'_, Shell>, workspace: PathBuf) -> Result<Value, ShellError> {
    shell.program()?.ask(&on_workspace(["stop".into()], &checked(&workspace)?))
}

/// Ends the window; asks the run that is shown to stop first where the person wants that.
#[tauri::command(async)]
pub(crate) fn quit<R: Runtime>(app: AppHandle<R>, shell: State<'_, Shell>, stop_run: bool) -> Result<(), ShellError> {
    if let Some(folder) = shell.followed().filter(|_| stop_run) {
        shell.program()?.ask(&on_workspace(["stop".into()], &folder))?;
    }
    app.exit(0);
    Ok(())
}

/// What the window was started with; once, and only where it was not a workspace.
#[tauri::command(async)]
pub(crate) fn opened(shell: State<'_, Shell>) -> Option<PathBuf> {
    shell.take_opened()
}

/// Hides the window; the tray, or starting it again, shows it.
#[tauri::command(async)]
pub(crate) fn hide_window<R: Runtime>(window: tauri::WebviewWindow<R>) -> Result<(), ShellError> {
    window.hide().map_err(|err| ShellError::window("the window cannot be hidden", &err))
}

/// One file with what is needed to understand a failure.
#[tauri::command(async)]
pub(crate) fn log_bundle<R: Runtime>(
    app: AppHandle<R>,
    shell: State<'_, Shell>,
    workspace: Option<PathBuf>,
    out: PathBuf,
) -> Result<(), ShellError> {
    let folder = workspace.as_deref().map(checked).transpose()?;
    let version = app.package_info().version.to_string();
    write_bundle(&shell.program()?, &version, folder.as_deref(), &checked_new(&out)?)
}

/// The questions that went to language models in a workspace, with tokens and seconds.
#[tauri::command(async)]
pub(crate) fn outbound(shell: State<'_, Shell>, workspace: PathBuf) -> Result<Value, ShellError> {
    shell.program()?.ask(&on_workspace(["researcher".into(), "calls".into()], &checked(&workspace)?))
}

/// The newest attempts of this machine to reach the network, refused ones too.
#[tauri::command(async)]
pub(crate) fn net_log(shell: State<'_, Shell>, last: u32) -> Result<Value, ShellError> {
    const MOST: u32 = 500;
    let last = format!("--last={}", last.clamp(1, MOST));
    shell.program()?.ask(&["net", "log", &last])
}

#[tauri::command(async)]
pub(crate) fn doctor(shell: State<'_, Shell>) -> Result<Value, ShellError> {
    shell.program()?.ask(&["doctor"])
}

/// The report page of the newest run, as one HTML document.
#[tauri::command(async)]
pub(crate) fn report_page(shell: State<'_, Shell>, workspace: PathBuf) -> Result<String, ShellError> {
    let arguments = ["report".into(), "--html".into()];
    shell.program()?.ask_text(&on_workspace(arguments, &checked(&workspace)?))
}

pub(crate) fn on_workspace<const N: usize>(arguments: [OsString; N], workspace: &Path) -> Vec<OsString> {
    let mut arguments = Vec::from(arguments);
    arguments.extend(["--workspace".into(), workspace.as_os_str().to_owned()]);
    arguments
}

/// Whether a program works in a workspace at this moment.
pub(crate) fn is_at_work(folder: &Path) -> bool {
    Workspace::open_reader(folder).is_ok_and(|reader| reader.has_writer())
}

/// Where a started program writes what it says; the name begins with the time, so the newest is the last one.
pub(crate) fn log_file(folder: &Path, command: &str) -> PathBuf {
    Workspace::at(folder).logs().join(format!("{:015}-{command}.jsonl", now().0))
}
