//! The queue of tasks. Who goes first is for `trex queue` to say; here it is shown and changed.

use serde::Deserialize;
use serde_json::Value;
use tauri::State;
use ts_rs::TS;

use super::{StartRequest, run_arguments, task_argument};
use crate::dropped::checked_new;
use crate::error::ShellError;
use crate::shell::Shell;

/// What a person wants of the queue.
#[derive(Clone, Debug, Deserialize, TS)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum QueueWish {
    /// Keep an entry from its turns.
    Hold {
        /// Its number.
        #[ts(type = "number")]
        id: u64,
    },
    /// Let it have them again.
    Release {
        /// Its number.
        #[ts(type = "number")]
        id: u64,
    },
    /// Take it out.
    Remove {
        /// Its number.
        #[ts(type = "number")]
        id: u64,
    },
    /// Give it another priority.
    Priority {
        /// Its number.
        #[ts(type = "number")]
        id: u64,
        /// Higher goes first.
        priority: i32,
    },
    /// Put it before another one, or at the end.
    Move {
        /// Its number.
        #[ts(type = "number")]
        id: u64,
        /// The other one's.
        #[ts(type = "number | null")]
        before: Option<u64>,
    },
    /// Take out all that is done.
    Clear,
}

#[tauri::command(async)]
pub(crate) fn queue_list(shell: State<'_, Shell>) -> Result<Value, ShellError> {
    shell.program()?.ask(&["queue", "list"])
}

/// Changes the queue and returns it as it is then.
#[tauri::command(async)]
pub(crate) fn queue_change(shell: State<'_, Shell>, wish: QueueWish) -> Result<Value, ShellError> {
    let program = shell.program()?;
    let words = |verb: &str, id: u64| vec!["queue".to_owned(), verb.to_owned(), id.to_string()];
    program.ask(&match wish {
        QueueWish::Hold { id } => words("hold", id),
        QueueWish::Release { id } => words("release", id),
        QueueWish::Remove { id } => words("remove", id),
        QueueWish::Priority { id, priority } => [words("priority", id), vec![priority.to_string()]].concat(),
        QueueWish::Move { id, before } => {
            let before = before.map(|before| format!("--before={before}"));
            [words("move", id), before.into_iter().collect()].concat()
        }
        QueueWish::Clear => vec!["queue".to_owned(), "clear".to_owned()],
    })?;
    program.ask(&["queue", "list"])
}

/// Puts a run in the queue that `start_run` would start at once.
#[tauri::command(async)]
pub(crate) fn queue_add(shell: State<'_, Shell>, request: StartRequest, priority: i32) -> Result<Value, ShellError> {
    let folder = checked_new(&request.workspace)?;
    let mut arguments = vec!["queue".into(), "add".into(), task_argument(&request.task)?];
    arguments.extend(["--workspace".into(), folder.clone().into_os_string()]);
    arguments.extend([format!("--priority={priority}").into(), "--".into()]);
    arguments.extend(run_arguments(&request, &shell.settings()));
    // `--json` would go to the run behind the two dashes.
    let added = shell.program()?.ask_json_first(&arguments)?;
    shell.change_settings(|settings| settings.remember(&folder))?;
    Ok(added)
}

/// Has the queue worked off by a program that outlives the window; where one does already, it goes on.
#[tauri::command(async)]
pub(crate) fn queue_work(shell: State<'_, Shell>) -> Result<(), ShellError> {
    shell.start_queue(&["queue".into(), "run".into()])
}
