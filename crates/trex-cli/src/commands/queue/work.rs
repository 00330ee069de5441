//! `trex queue run`: starts the runs of the queue as processes of their own, one at a time, and stops them in order when it is
//! another one's turn. It may itself be killed at any moment: the next one finds what is unfinished.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use clap::Parser as _;
use serde_json::json;
use trex_domain::{Clock as _, Event, Millis, RunId};
use trex_engine::{QueueEnding, QueueEntry};
use trex_fs::FsError;
use trex_store::{Reader, Workspace};

use super::{QueueError, QueueFile};
use crate::args::queue::WorkArgs;
use crate::args::{Cli, Command as Subcommand, MachineArgs, RunArgs};
use crate::commands::stop::end_in_order;
use crate::error::CliError;
use crate::output::Output;
use crate::system::{self, SystemClock};

/// Time between two looks at the queue and at the process.
const LOOK_EVERY: Duration = Duration::from_millis(200);

const MS_PER_MINUTE: f64 = 60_000.0;

/// What an error of a run begins with in its output.
const ERROR: &str = "error[";

/// The command line of an entry that was not begun yet, or of one that is gone on with.
pub(super) fn arguments(task: Option<&str>, workspace: &Path, more: &[String]) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec!["trex".into()];
    match task {
        Some(task) => arguments.extend(["run".into(), task.into()]),
        None => arguments.push("resume".into()),
    }
    arguments.extend(["--workspace".into(), workspace.as_os_str().to_owned()]);
    arguments.extend(more.iter().map(OsString::from));
    arguments
}

pub(super) fn run(file: &QueueFile, args: &WorkArgs, output: &mut Output) -> Result<(), CliError> {
    if !(args.turn_minutes.is_finite() && args.turn_minutes > 0.0) {
        return Err(QueueError::BadTurn { minutes: args.turn_minutes }.into());
    }
    let _right = file.right_to_work()?;
    system::catch_stop_signals();
    file.change(|queue| {
        queue.recover();
        Ok(())
    })?;
    #[expect(clippy::cast_possible_truncation, reason = "a turn beyond the range of the type is as good as endless")]
    let slice_ms = (args.turn_minutes * MS_PER_MINUTE) as i64;
    while !system::stop_requested() {
        let queue = file.read()?;
        if let Some(id) = queue.next(SystemClock.now()).map(|entry| entry.id) {
            turn(file, id, slice_ms, output)?;
        } else if queue.is_waited_in() || args.stay {
            std::thread::sleep(LOOK_EVERY);
        } else {
            break;
        }
    }
    super::list(file, output)
}

/// How far a run is, for what its turn brought.
struct Mark<'a> {
    workspace: &'a Path,
    /// The newest run, and number of its last event.
    run: Option<(RunId, u64)>,
}

impl<'a> Mark<'a> {
    fn set(workspace: &'a Path) -> Result<Self, CliError> {
        let Some((reader, run)) = newest_run(workspace)? else { return Ok(Self { workspace, run: None }) };
        let last = reader.events(run, 0)?.last().map_or(0, |event| event.seq);
        Ok(Self { workspace, run: Some((run, last)) })
    }

    /// Whether something came of the run since then that it will not have to do again. A turn lasts until that, or runs whose
    /// steps are longer than a turn would interrupt each other for ever.
    fn is_passed(&self) -> Result<bool, CliError> {
        let Some((reader, run)) = newest_run(self.workspace)? else { return Ok(false) };
        let after = self.run.filter(|(known, _)| *known == run).map_or(0, |(_, last)| last);
        Ok(reader.events(run, after)?.iter().any(|stored| is_result(&stored.event)))
    }
}

fn newest_run(workspace: &Path) -> Result<Option<(Reader, RunId)>, CliError> {
    if !Workspace::at(workspace).database().is_file() {
        return Ok(None);
    }
    let reader = Workspace::open_reader(workspace)?;
    let run = reader.latest_run()?.map(|run| run.id);
    Ok(run.map(|run| (reader, run)))
}

fn is_result(event: &Event) -> bool {
    matches!(
        event,
        Event::DataImported { .. }
            | Event::BaseScored { .. }
            | Event::TrialTrained { .. }
            | Event::TrialScored { .. }
            | Event::TrialFailed { .. }
            | Event::FinalScored { .. }
    )
}

/// One entry has the machine until its run ends or gives way.
fn turn(file: &QueueFile, id: u64, slice_ms: i64, output: &mut Output) -> Result<(), CliError> {
    let begun = SystemClock.now();
    let Some(workspace) = file.read()?.entry(id).map(|entry| entry.workspace.clone()) else { return Ok(()) };
    if is_at_work(&workspace)? {
        return file.change(|queue| {
            queue.end(id, 0, QueueEnding::Busy, SystemClock.now());
            Ok(())
        });
    }
    let mark = Mark::set(&workspace)?;
    let entry = file.change(|queue| {
        queue.begin(id, mark.run.map(|(run, _)| run));
        Ok(queue.entry(id).cloned())
    })?;
    let Some(entry) = entry else { return Ok(()) };
    say(output, &entry, "begins")?;
    let (ending, took) = match start(&entry, output.is_json()) {
        Ok(run) => {
            let ending = wait(file, run, (id, begun), (slice_ms, &mark))?;
            (ending, since(begun))
        }
        Err(err) => (QueueEnding::Failed(err.told()), 0),
    };
    let entry = file.change(|queue| {
        queue.end(id, took, ending, SystemClock.now());
        Ok(queue.entry(id).cloned())
    })?;
    entry.map_or(Ok(()), |entry| say(output, &entry, "has had its turn"))
}

fn say(output: &mut Output, entry: &QueueEntry, what: &str) -> Result<(), CliError> {
    let value = json!({ "type": "queue_turn", "what": what, "entry": entry });
    output.result(&value, || format!("queue: {what}: {}", super::line(entry)))
}

fn since(begun: Millis) -> i64 {
    (SystemClock.now().0 - begun.0).max(0)
}

/// A run's process, and what it says of its errors.
struct Run {
    process: Child,
    errors: JoinHandle<Option<String>>,
}

/// Whether a program works in a workspace: one that a person started, or the run of a queue whose own program was killed.
fn is_at_work(workspace: &Path) -> Result<bool, CliError> {
    Ok(newest_run(workspace)?.is_some_and(|(reader, _)| reader.has_writer()))
}

/// Whether the newest run of the workspace is that of the entry; one that ended unseen tells its outcome once more.
fn has_own_run(entry: &QueueEntry) -> Result<bool, CliError> {
    let Some((reader, run)) = newest_run(&entry.workspace)?.filter(|(_, run)| Some(*run) != entry.run_before) else {
        return Ok(false);
    };
    Ok(reader.state(run)?.data.is_some())
}

/// A run that was begun is gone on with.
fn start(entry: &QueueEntry, json: bool) -> Result<Run, CliError> {
    let goes_on = entry.begun && has_own_run(entry)?;
    let arguments = match &entry.task {
        Some(task) if goes_on => arguments(None, &entry.workspace, &machine_arguments(entry, task)),
        task => arguments(task.as_deref(), &entry.workspace, &entry.arguments),
    };
    let program = std::env::current_exe().map_err(|err| FsError::io("find", "the trex program", err))?;
    let mut command = Command::new(&program);
    command.args(&arguments[1..]).stdin(Stdio::null()).stderr(Stdio::piped());
    command.args(json.then_some("--json"));
    // A Ctrl-C of the terminal comes to this program alone, which asks the run once.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut process = command.spawn().map_err(|err| FsError::io("start", &program, err))?;
    let stderr = process.stderr.take();
    Ok(Run { process, errors: std::thread::spawn(move || stderr.and_then(pass_on)) })
}

/// What of the arguments of a run its resumption takes: those about the machine.
fn machine_arguments(entry: &QueueEntry, task: &str) -> Vec<String> {
    // They were checked when the entry was added.
    let parsed = Cli::try_parse_from(arguments(Some(task), &entry.workspace, &entry.arguments)).ok();
    let Some(Subcommand::Run(RunArgs { machine, .. })) = parsed.map(|cli| cli.command) else { return Vec::new() };
    let MachineArgs { threads, workers, device, reserve_bytes } = machine;
    let mut more = vec![format!("--workers={workers}"), format!("--reserve-bytes={reserve_bytes}")];
    more.extend(threads.map(|threads| format!("--threads={threads}")));
    more.extend(device.map(|device| format!("--device={device}")));
    more
}

/// Hands on what a process says, and keeps its last error.
fn pass_on(stderr: ChildStderr) -> Option<String> {
    let mut error = None;
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        // Nobody may listen any more; the run goes on all the same.
        writeln!(std::io::stderr(), "{line}").ok();
        if line.starts_with(ERROR) {
            error = Some(line);
        }
    }
    error
}

fn wait(
    file: &QueueFile,
    mut run: Run,
    (id, begun): (u64, Millis),
    (slice_ms, mark): (i64, &Mark<'_>),
) -> Result<QueueEnding, CliError> {
    let mut asked = false;
    let status = loop {
        if let Some(status) = run.process.try_wait().map_err(|err| FsError::io("wait for", "the run", err))? {
            break status;
        }
        let gives_way = || {
            let (queue, now) = (file.read()?, SystemClock.now());
            let gives_way = |turn_ms| queue.gives_way(id, turn_ms, slice_ms, now);
            // Equals wait until something came of the turn; nobody else does.
            Ok::<_, CliError>(gives_way(0) || (gives_way(since(begun)) && mark.is_passed()?))
        };
        if !asked && (system::stop_requested() || gives_way()?) {
            end_in_order(&mut run.process);
            asked = true;
        }
        std::thread::sleep(LOOK_EVERY);
    };
    let error = run.errors.join().ok().flatten();
    Ok(ending(status, asked, error))
}

/// By the exit codes that `trex --help` lists.
fn ending(status: ExitStatus, asked: bool, error: Option<String>) -> QueueEnding {
    let why = error.unwrap_or_else(|| format!("the run ended with {status}"));
    match status.code() {
        Some(0) => QueueEnding::Done,
        Some(6) => QueueEnding::Stopped { asked },
        // Ended by a signal while it was asked to stop: what it had written down is whole.
        None if asked => QueueEnding::Stopped { asked },
        Some(4 | 5) | None => QueueEnding::MayPass(why),
        Some(_) => QueueEnding::Failed(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_run_or_gone_on_with() {
        let more = ["--seed".to_owned(), "3".to_owned()];
        let words = |task| -> Vec<String> {
            let arguments = arguments(task, Path::new("/w"), if task.is_some() { &more } else { &[] });
            arguments.iter().map(|word| word.to_string_lossy().into_owned()).collect()
        };
        assert_eq!(words(Some("a.toml")), ["trex", "run", "a.toml", "--workspace", "/w", "--seed", "3"]);
        assert_eq!(words(None), ["trex", "resume", "--workspace", "/w"]);
    }

    #[test]
    fn a_run_goes_on_with_what_was_said_about_the_machine() {
        let mut queue = trex_engine::Queue::default();
        let more = ["--seed", "3", "--threads", "1", "--device", "cpu"].map(str::to_owned).to_vec();
        let id = queue.add(Some("ftbench/mini-1".to_owned()), "/w".into(), more, 0);
        let machine = machine_arguments(queue.entry(id).unwrap(), "ftbench/mini-1");
        assert_eq!(machine, ["--workers=1", "--reserve-bytes=268435456", "--threads=1", "--device=cpu"]);
        Cli::try_parse_from(arguments(None, Path::new("/w"), &machine)).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn exit_codes_say_how_a_run_ended() {
        use std::os::unix::process::ExitStatusExt as _;
        let of = |code: i32, asked| ending(ExitStatus::from_raw(code << 8), asked, Some("error[x]: y".to_owned()));
        let why = || "error[x]: y".to_owned();
        assert_eq!(of(0, true), QueueEnding::Done);
        assert_eq!(of(6, true), QueueEnding::Stopped { asked: true });
        assert_eq!(of(6, false), QueueEnding::Stopped { asked: false });
        assert_eq!(of(3, false), QueueEnding::Failed(why()));
        assert_eq!(of(4, false), QueueEnding::MayPass(why()));
        let killed = |asked| ending(ExitStatus::from_raw(9), asked, None);
        assert_eq!(killed(true), QueueEnding::Stopped { asked: true });
        assert!(matches!(killed(false), QueueEnding::MayPass(_)));
    }
}
