//! Arguments of `trex queue`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::args::WorkspaceArgs;

pub(crate) const QUEUE_HELP: &str = "\
One queue for all workspaces of this machine: queue.json in the cache folder, or the file that TREX_QUEUE names. A task of higher
priority goes first and does not wait for others to end; tasks of equal priority take turns. A run that gives way is stopped in
order and gone on with at its next turn, so it comes to the same result as alone.

  trex queue add ftbench/mini-1 --workspace one
  trex queue add task.toml --workspace two --priority 5 -- --seed 3 --trials 20
  trex queue run                                       works until nothing waits any more
  trex queue hold 1                                    keeps it from its turns; `release` takes that back";

#[derive(Debug, Args)]
pub(crate) struct QueueArgs {
    #[command(subcommand)]
    pub(crate) command: QueueCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum QueueCommand {
    /// Put a task at the end of the queue.
    Add(AddArgs),
    /// List the queue.
    List,
    /// Work the queue off, until nothing waits any more.
    Run(WorkArgs),
    /// Give an entry another priority.
    Priority {
        /// Its number.
        id: u64,
        /// Higher goes first.
        #[arg(allow_negative_numbers = true)]
        priority: i32,
    },
    /// Put an entry before another one in the list, or at its end.
    Move {
        /// Its number.
        id: u64,
        /// Number of the other one.
        #[arg(long)]
        before: Option<u64>,
    },
    /// Keep an entry from its turns; its run is stopped in order where it is under way.
    Hold {
        /// Its number.
        id: u64,
    },
    /// Let a held or failed entry have its turns again.
    Release {
        /// Its number.
        id: u64,
    },
    /// Take an entry out; its run stays in its workspace, and is stopped in order where it is under way.
    Remove {
        /// Its number.
        id: u64,
    },
    /// Take out everything that is done.
    Clear,
}

#[derive(Debug, Args)]
pub(crate) struct AddArgs {
    /// A built-in task or a TOML file; without one the unfinished run of the workspace is gone on with.
    pub(crate) task: Option<String>,
    #[command(flatten)]
    pub(crate) workspace: WorkspaceArgs,
    /// Higher goes first.
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    pub(crate) priority: i32,
    /// Further arguments of `trex run`.
    #[arg(last = true)]
    pub(crate) arguments: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct WorkArgs {
    /// Minutes after which a run gives way to one of equal priority, but not before something came of its turn; may have a
    /// fraction.
    #[arg(long, default_value_t = 30.0)]
    pub(crate) turn_minutes: f64,
    /// Wait for further tasks when nothing waits any more.
    #[arg(long)]
    pub(crate) stay: bool,
}

impl AddArgs {
    /// The task as it can be found from everywhere.
    pub(crate) fn absolute_task(&self) -> std::io::Result<Option<String>> {
        let Some(task) = &self.task else { return Ok(None) };
        let path = PathBuf::from(task);
        if !path.is_file() {
            return Ok(Some(task.clone()));
        }
        std::path::absolute(path).map(|path| Some(path.to_string_lossy().into_owned()))
    }
}
