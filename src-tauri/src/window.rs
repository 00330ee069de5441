//! The window itself: commands, files dropped on it, closing, the tray. Knows nothing of what is in a workspace.

use std::path::PathBuf;

use anyhow::Context as _;
use serde::Serialize;
use tauri::menu::{Menu, MenuItem};
use tauri::tray::TrayIconBuilder;
use tauri::{App, AppHandle, Builder, DragDropEvent, Emitter as _, Manager as _, Runtime, Window, WindowEvent};

use crate::commands::{self, data, models};
use crate::dropped::identify;
use crate::error::ShellError;
use crate::shell::Shell;

/// What the page hears of files that are dragged over the window.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Drag {
    Over,
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
        data::profile_data,
        data::profile_page,
        data::data_rows,
        data::rows_as_trained,
        data::quarantine,
        data::recipe_operators,
        data::recipe_check,
        data::recipe_load,
        data::recipe_save,
        data::recipe_run,
        data::recipe_history,
        models::models,
        models::add_model,
        models::export_node,
        models::reproduce_node,
    ])
}

/// Opens the window and returns when it is closed. The first argument may be a workspace to show.
pub fn run() -> anyhow::Result<()> {
    with_commands(tauri::Builder::default())
        .plugin(tauri_plugin_dialog::init())
        .plugin(tauri_plugin_window_state::Builder::default().build())
        .setup(|app| Ok(set_up(app)?))
        .on_window_event(on_window_event)
        .run(tauri::generate_context!())
        .context("the window ended with an error")
}

fn set_up<R: Runtime>(app: &mut App<R>) -> anyhow::Result<()> {
    let folder = match std::env::var_os("TREX_APP_CONFIG").filter(|folder| !folder.is_empty()) {
        Some(folder) => PathBuf::from(folder),
        None => app.path().app_config_dir().context("no folder for settings")?,
    };
    let shell = Shell::new(folder.join("settings.json"));
    if let Some(workspace) = std::env::args_os().nth(1).map(PathBuf::from).and_then(|path| path.canonicalize().ok()) {
        shell.change_settings(|settings| settings.remember(&workspace)).context("cannot write the settings")?;
    }
    app.manage(shell);
    // Where the desktop has no tray the window works without.
    if let Err(err) = tray(app.handle()) {
        eprintln!("no tray icon: {err}");
    }
    Ok(())
}

fn tray<R: Runtime>(app: &AppHandle<R>) -> tauri::Result<()> {
    let show = MenuItem::with_id(app, "show", "Show TREX", true, None::<&str>)?;
    let quit = MenuItem::with_id(app, "quit", "Close window, keep runs", true, None::<&str>)?;
    let menu = Menu::with_items(app, &[&show, &quit])?;
    let mut tray = TrayIconBuilder::with_id("trex").menu(&menu).tooltip("TREX");
    if let Some(icon) = app.default_window_icon() {
        tray = tray.icon(icon.clone());
    }
    tray.on_menu_event(|app, event| match event.id().as_ref() {
        "quit" => app.exit(0),
        _ => show_window(app),
    })
    .build(app)?;
    Ok(())
}

fn show_window<R: Runtime>(app: &AppHandle<R>) {
    for window in app.webview_windows().into_values() {
        // A window manager may refuse; there is nothing else to do then.
        window.show().and_then(|()| window.set_focus()).ok();
    }
}

fn on_window_event<R: Runtime>(window: &Window<R>, event: &WindowEvent) {
    match event {
        WindowEvent::DragDrop(DragDropEvent::Enter { .. }) => tell(window, &Drag::Over),
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
