//! `trex queue`: several tasks that share this machine. Which of them has it is decided by the engine; here lies the file, and
//! the processes are started and stopped.

mod work;

use std::fs::TryLockError;
use std::path::{Path, PathBuf};

use clap::Parser as _;
use serde_json::{Value, json};
use trex_domain::{ErrorClass, Problem};
use trex_engine::{Queue, QueueEntry, QueueState};
use trex_fs::FsError;

use crate::args::queue::{AddArgs, QueueArgs, QueueCommand};
use crate::args::{Cli, Command};
use crate::commands::run::{resolve_task, unfinished};
use crate::error::{CliError, CommandError};
use crate::output::Output;
use crate::system;

/// What can be wrong about the queue.
#[derive(Debug, thiserror::Error)]
pub(crate) enum QueueError {
    /// A number that no entry has.
    #[error("the queue has no entry {id}")]
    Unknown {
        /// As given.
        id: u64,
    },
    /// Another program works it off.
    #[error("the queue {} is worked off already", path.display())]
    AtWork {
        /// The file.
        path: PathBuf,
    },
    /// Arguments that `trex run` does not take.
    #[error("`trex run` does not take these arguments: {why}")]
    BadArguments {
        /// What the parser of arguments says.
        why: String,
    },
    /// A workspace that waits for its turn already.
    #[error("{} is in the queue already, as entry {id}", path.display())]
    Twice {
        /// The workspace.
        path: PathBuf,
        /// The entry.
        id: u64,
    },
    /// A turn that is no time.
    #[error("a turn of {minutes} minutes is no turn")]
    BadTurn {
        /// As given.
        minutes: f64,
    },
}

impl Problem for QueueError {
    fn code(&self) -> &'static str {
        match self {
            Self::Unknown { .. } => "queue.unknown",
            Self::AtWork { .. } => "queue.at_work",
            Self::BadArguments { .. } => "queue.bad_arguments",
            Self::Twice { .. } => "queue.twice",
            Self::BadTurn { .. } => "queue.bad_turn",
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Unknown { .. } => "`trex queue list` shows the numbers".to_owned(),
            Self::AtWork { .. } => "what is added is taken up by it; `trex queue list` shows how far it is".to_owned(),
            Self::BadArguments { .. } => "`trex run --help` lists them; they stand after --".to_owned(),
            Self::Twice { id, .. } => {
                format!("give another folder with --workspace, or `trex queue remove {id}` first")
            }
            Self::BadTurn { .. } => "give a number above 0 with --turn-minutes".to_owned(),
        })
    }

    fn class(&self) -> ErrorClass {
        match self {
            Self::AtWork { .. } => ErrorClass::Resource,
            _ => ErrorClass::Permanent,
        }
    }
}

/// The file of the queue, which several programs change.
pub(super) struct QueueFile {
    path: PathBuf,
}

impl QueueFile {
    /// What `TREX_QUEUE` names, else `queue.json` in the cache folder.
    fn of_machine() -> Result<Self, CliError> {
        let named = std::env::var_os("TREX_QUEUE").filter(|value| !value.is_empty());
        let path =
            named.map_or_else(|| system::cache_dir().map(|dir| dir.join("queue.json")), |path| Ok(path.into()))?;
        trex_fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
        Ok(Self { path })
    }

    fn read(&self) -> Result<Queue, CliError> {
        if !self.path.exists() {
            return Ok(Queue::default());
        }
        let text = trex_fs::read_to_string(&self.path)?;
        Ok(serde_json::from_str(&text).map_err(|source| CommandError::BadJson { path: self.path.clone(), source })?)
    }

    /// Changes it while no other program does.
    fn change<T>(&self, change: impl FnOnce(&mut Queue) -> Result<T, CliError>) -> Result<T, CliError> {
        let (lock, path) = self.lock_file("lock")?;
        lock.lock().map_err(|err| FsError::io("lock", path, err))?;
        let mut queue = self.read()?;
        let done = change(&mut queue)?;
        trex_fs::write_json(&self.path, &queue)?;
        Ok(done)
    }

    /// A file beside it that is locked; the system unlocks it when the program ends in whatever way.
    fn lock_file(&self, ending: &str) -> Result<(std::fs::File, PathBuf), FsError> {
        let path = self.path.with_extension(ending);
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&path);
        file.map(|file| (file, path.clone())).map_err(|err| FsError::io("open", &path, err))
    }

    /// The right to work the queue off, as long as it is kept.
    fn right_to_work(&self) -> Result<std::fs::File, CliError> {
        let (lock, path) = self.lock_file("work")?;
        match lock.try_lock() {
            Ok(()) => Ok(lock),
            Err(TryLockError::WouldBlock) => Err(QueueError::AtWork { path: self.path.clone() }.into()),
            Err(TryLockError::Error(err)) => Err(FsError::io("lock", path, err).into()),
        }
    }
}

pub(crate) fn run(args: &QueueArgs, output: &mut Output) -> Result<(), CliError> {
    let file = QueueFile::of_machine()?;
    match &args.command {
        QueueCommand::Add(args) => add(&file, args, output),
        QueueCommand::List => list(&file, output),
        QueueCommand::Run(args) => work::run(&file, args, output),
        QueueCommand::Priority { id, priority } => change(&file, *id, output, |entry| entry.priority = *priority),
        QueueCommand::Hold { id } => change(&file, *id, output, |entry| {
            if matches!(entry.state, QueueState::Waiting | QueueState::Running) {
                entry.state = QueueState::Held;
            }
        }),
        QueueCommand::Release { id } => change(&file, *id, output, |entry| {
            if matches!(entry.state, QueueState::Held | QueueState::Failed) {
                (entry.state, entry.attempts, entry.not_before) = (QueueState::Waiting, 0, None);
            }
        }),
        QueueCommand::Move { id, before } => {
            let moved = file.change(|queue| Ok(queue.put_before(*id, *before)))?;
            if !moved {
                let missing = file.read()?.entry(*id).map_or(*id, |_| before.unwrap_or(*id));
                return Err(QueueError::Unknown { id: missing }.into());
            }
            list(&file, output)
        }
        QueueCommand::Remove { id } => {
            let entry = file.change(|queue| {
                let at = queue.entries.iter().position(|entry| entry.id == *id);
                Ok(queue.entries.remove(at.ok_or(QueueError::Unknown { id: *id })?))
            })?;
            output.result(&entry, || format!("taken out: {}", line(&entry)))
        }
        QueueCommand::Clear => {
            file.change(|queue| {
                queue.entries.retain(|entry| entry.state != QueueState::Done);
                Ok(())
            })?;
            list(&file, output)
        }
    }
}

fn add(file: &QueueFile, args: &AddArgs, output: &mut Output) -> Result<(), CliError> {
    let dir = &args.workspace.workspace;
    let workspace = std::path::absolute(dir).map_err(|err| FsError::io("find", dir, err))?;
    let task = args.absolute_task().map_err(|err| FsError::io("find", &workspace, err))?;
    // What `trex run` or `trex resume` would refuse at the start is refused now and not at night.
    let arguments = work::arguments(task.as_deref(), &workspace, &args.arguments);
    let parsed = Cli::try_parse_from(&arguments).map_err(|err| QueueError::BadArguments { why: err.to_string() })?;
    if let Command::Run(run) = parsed.command {
        resolve_task(&run.task)?.validate()?;
        if let Some(name) = unfinished(&workspace)?.filter(|_| !run.new) {
            return Err(CommandError::UnfinishedRun { path: workspace, name }.into());
        }
    } else {
        unfinished(&workspace)?.ok_or_else(|| CommandError::NoRun { path: workspace.clone() })?;
    }
    let id = file.change(|queue| {
        let is_open = |entry: &&QueueEntry| entry.workspace == workspace && entry.state != QueueState::Done;
        if let Some(entry) = queue.entries.iter().find(is_open) {
            return Err(QueueError::Twice { path: workspace.clone(), id: entry.id }.into());
        }
        Ok(queue.add(task, workspace.clone(), args.arguments.clone(), args.priority))
    })?;
    let at_work = file.right_to_work().is_err();
    output.result(&json!({ "type": "queued", "id": id, "at_work": at_work }), || {
        let next = if at_work { "" } else { "; `trex queue run` works it off" };
        format!("queued as {id}{next}")
    })
}

fn change(
    file: &QueueFile,
    id: u64,
    output: &mut Output,
    change: impl FnOnce(&mut QueueEntry),
) -> Result<(), CliError> {
    let entry = file.change(|queue| {
        let entry = queue.entry_mut(id).ok_or(QueueError::Unknown { id })?;
        change(entry);
        Ok(entry.clone())
    })?;
    output.result(&entry, || line(&entry))
}

fn list(file: &QueueFile, output: &mut Output) -> Result<(), CliError> {
    let queue = file.read()?;
    let at_work = file.right_to_work().is_err();
    let value: Value = json!({ "type": "queue", "at_work": at_work, "entries": queue.entries });
    output.result(&value, || {
        let head = if at_work { "is worked off" } else { "is not worked off at the moment" };
        let lines = queue.entries.iter().map(|entry| format!("\n{}", line(entry)));
        format!("the queue {head}; it has {} entries{}", queue.entries.len(), lines.collect::<String>())
    })
}

/// An entry in a line.
fn line(entry: &QueueEntry) -> String {
    const MS_PER_S: i64 = 1_000;
    let state = match entry.state {
        QueueState::Waiting => "waits",
        QueueState::Running => "runs",
        QueueState::Held => "is held",
        QueueState::Done => "is done",
        QueueState::Failed => "failed",
    };
    let task = entry.task.as_deref().unwrap_or("the unfinished run");
    let note = entry.note.as_ref().map_or_else(String::new, |note| format!(": {note}"));
    let (id, priority, workspace) = (entry.id, entry.priority, entry.workspace.display());
    format!(
        "{id:>3}  {state}, priority {priority}, {} s so far: {task} in {workspace}{note}",
        entry.served_ms / MS_PER_S
    )
}
