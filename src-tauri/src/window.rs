//! The window itself: commands, files dropped on it, closing, further starts, the tray. Knows nothing of what is in a workspace.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;
use tauri::menu::{Menu, MenuItem};
use tauri::tray::TrayIconBuilder;
use tauri::{App, AppHandle, Builder, DragDropEvent, Emitter as _, Manager as _, Runtime, Window, WindowEvent};

use crate::commands::{self, data, knowledge, models, orders, queue, review, scores, serve};
use crate::desk::Tray;
use crate::dropped::{Dropped, DroppedKind, identify};
use crate::error::ShellError;
use crate::instance::Instance;
use crate::shell::Shell;

/// What the page hears of files that are dragged over the window: already while they hover, what they are.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Drag {
    Over { found: Vec<Dropped> },
    Left,
    Dropped { paths: Vec<PathBuf> },
}

/// Adds all commands; also to the mock runtime of the tests.
pub fn with_commands<R: Runtime>(builder: Builder<R>) -> Builder<R> {
    builder.invoke_handler(tauri::generate_handler![
        commands::settings,
        commands::set_settings,
        commands::home,
        commands::identify_path,
        commands::follow_workspace,
        commands::run_at,
        commands::run_log,
        commands::run_words,
        commands::show_node,
        commands::start_run,
        commands::resume_run,
        commands::stop_run,
        commands::quit,
        commands::doctor,
        commands::report_page,
        commands::why_node,
        commands::diagnose_node,
        commands::opened,
        commands::hide_window,
        commands::log_bundle,
        commands::outbound,
        commands::net_log,
        data::profile_data,
        data::profile_page,
        data::data_rows,
        data::rows_as_trained,
        data::quarantine,
        data::draft_task,
        data::forecast_task,
        data::recipe_operators,
        data::recipe_check,
        data::recipe_load,
        data::recipe_save,
        data::recipe_run,
        data::recipe_history,
        models::models,
        models::models_found,
        models::add_model,
        models::export_node,
        models::reproduce_node,
        models::ask_models,
        models::score_own,
        knowledge::kb_list,
        knowledge::kb_search,
        knowledge::kb_show,
        knowledge::kb_add,
        knowledge::kb_remove,
        knowledge::kb_graph,
        knowledge::kb_learn,
        knowledge::kb_export_preview,
        knowledge::kb_export,
        knowledge::kb_import_preview,
        knowledge::kb_import,
        orders::order,
        queue::queue_list,
        queue::queue_change,
        queue::queue_add,
        queue::queue_work,
        review::review_list,
        review::review_show,
        review::review_decide,
        scores::scoreboard,
        scores::bench_tables,
        serve::serve_start,
        serve::serve_stop,
        serve::serve_status,
    ])
}

/// Opens the window and returns when it is closed. The first argument may be a workspace to show, or a file to open. Where
/// a window is open already, that one is asked to do so.
pub fn run() -> anyhow::Result<()> {
    let context = tauri::generate_context!();
    let asked = std::env::args_os().nth(1).map(PathBuf::from).and_then(|path| path.canonicalize().ok());
    let folder = settings_folder(&context.config().identifier)?;
    let Some(instance) = Instance::first(&folder, asked.as_deref()) else { return Ok(()) };
    with_commands(tauri::Builder::default())
        .plugin(tauri_plugin_dialog::init())
        .plugin(tauri_plugin_notification::init())
        .plugin(tauri_plugin_window_state::Builder::default().build())
        .setup(move |app| Ok(set_up(app, &folder, asked, instance)?))
        .on_window_event(on_window_event)
        .run(context)
        .context("the window ended with an error")
}

/// `TREX_APP_CONFIG`, else the folder that the desktop has for settings.
fn settings_folder(identifier: &str) -> anyhow::Result<PathBuf> {
    if let Some(folder) = std::env::var_os("TREX_APP_CONFIG").filter(|folder| !folder.is_empty()) {
        return Ok(PathBuf::from(folder));
    }
    let folder = dirs::config_dir().context("no folder for settings")?;
    Ok(folder.join(identifier))
}

fn set_up<R: Runtime>(
    app: &mut App<R>,
    folder: &Path,
    asked: Option<PathBuf>,
    instance: Instance,
) -> anyhow::Result<()> {
    let shell = Shell::new(folder.join("settings.json"));
    if let Some(path) = asked {
        open(&shell, path).context("cannot write the settings")?;
    }
    app.manage(shell);
    let handle = app.handle().clone();
    instance.listen(move |path| come(&handle, path)).context("cannot listen for further starts")?;
    // Where the desktop has no tray the window works without.
    match tray(app.handle()) {
        Ok(tray) => {
            app.manage(tray);
        }
        Err(err) => eprintln!("no tray icon: {err}"),
    }
    Ok(())
}

/// A workspace becomes the newest one; anything else waits for the page to ask.
fn open(shell: &Shell, path: PathBuf) -> Result<(), ShellError> {
    if identify(&path)?.kind == DroppedKind::Workspace {
        return shell.change_settings(|settings| settings.remember(&path)).map(drop);
    }
    shell.set_opened(path);
    Ok(())
}

/// Another start asked for this window.
fn come<R: Runtime>(app: &AppHandle<R>, path: Option<PathBuf>) {
    show_window(app);
    if let Some(path) = path {
        app.emit("drag", Drag::Dropped { paths: vec![path] }).ok();
    }
}

fn tray<R: Runtime>(app: &AppHandle<R>) -> tauri::Result<Tray<R>> {
    let status = MenuItem::with_id(app, "status", "No run is open", false, None::<&str>)?;
    let show = MenuItem::with_id(app, "show", "Show TREX", true, None::<&str>)?;
    let quit = MenuItem::with_id(app, "quit", "Close window, keep runs", true, None::<&str>)?;
    let menu = Menu::with_items(app, &[&status, &show, &quit])?;
    let mut tray = TrayIconBuilder::with_id("trex").menu(&menu).tooltip("TREX");
    if let Some(icon) = app.default_window_icon() {
        tray = tray.icon(icon.clone());
    }
    let icon = tray
        .on_menu_event(|app, event| match event.id().as_ref() {
            "quit" => app.exit(0),
            _ => show_window(app),
        })
        .build(app)?;
    Ok(Tray { icon, status })
}

fn show_window<R: Runtime>(app: &AppHandle<R>) {
    for window in app.webview_windows().into_values() {
        // A window manager may refuse; there is nothing else to do then.
        window.unminimize().and_then(|()| window.show()).and_then(|()| window.set_focus()).ok();
    }
}

fn on_window_event<R: Runtime>(window: &Window<R>, event: &WindowEvent) {
    match event {
        WindowEvent::DragDrop(DragDropEvent::Enter { paths, .. }) => {
            tell(window, &Drag::Over { found: paths.iter().filter_map(|path| identify(path).ok()).collect() });
        }
        WindowEvent::DragDrop(DragDropEvent::Leave) => tell(window, &Drag::Left),
        WindowEvent::DragDrop(DragDropEvent::Drop { paths, .. }) => {
            tell(window, &Drag::Dropped { paths: paths.clone() });
        }
        WindowEvent::CloseRequested { api, .. } => {
            let shell = window.state::<Shell>();
            if shell.followed().is_some_and(|folder| commands::is_at_work(&folder)) {
                api.prevent_close();
                window.emit("close-asked", ()).ok();
            }
        }
        _ => {}
    }
}

/// The page asks again about every path, so a path that is gone by then is an error there.
fn tell<R: Runtime>(window: &Window<R>, drag: &Drag) {
    if let Drag::Dropped { paths } = drag {
        let odd: Vec<ShellError> = paths.iter().filter_map(|path| identify(path).err()).collect();
        if !odd.is_empty() {
            window.emit("drop-refused", odd).ok();
        }
    }
    window.emit("drag", drag).ok();
}
