//! One process of `trex run` or `trex resume`: read line by line, killed with or without its worker, or only its worker.

#![cfg(unix)]

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdout, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::Value;

use crate::program::{Program, parse};

/// A process in a group of its own.
pub(crate) struct Life {
    child: Child,
    lines: BufReader<ChildStdout>,
    /// What it printed that was read so far.
    pub(crate) read: Vec<Value>,
}

impl Life {
    /// Starts the program; `--json` is added, and standard error goes to the file `stderr.txt`.
    pub(crate) fn start(program: &Program, args: &[&str]) -> Self {
        let stderr = File::options().create(true).append(true).open(program.path("stderr.txt")).unwrap();
        let mut command = program.command(args);
        let mut child = command.arg("--json").process_group(0).stdout(Stdio::piped()).stderr(stderr).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines, read: Vec::new() }
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// The next line; `None` at the end. A line that a kill cut off is no line.
    pub(crate) fn next_line(&mut self) -> Option<&Value> {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        if !line.ends_with('\n') {
            return None;
        }
        self.read.push(parse(&line));
        self.read.last()
    }

    /// Reads on to a line with this property; `false` where none comes.
    pub(crate) fn read_until(&mut self, is_wanted: impl Fn(&Value) -> bool) -> bool {
        while let Some(line) = self.next_line() {
            if is_wanted(line) {
                return true;
            }
        }
        false
    }

    /// The worker at work, where there is one.
    pub(crate) fn worker(&self) -> Option<Pid> {
        let pid = self.pid().as_raw_nonzero();
        // Every thread of the process may have started it; the main thread does.
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
        children.split_whitespace().find_map(|pid| Pid::from_raw(pid.parse().ok()?)).filter(|pid| is_alive(*pid))
    }

    /// Kills the worker at work; `false` where there is none.
    pub(crate) fn kill_worker(&self) -> bool {
        self.worker().is_some_and(|pid| kill_process(pid, Signal::KILL).is_ok())
    }

    /// Kills the program alone; its worker has to notice by itself.
    pub(crate) fn kill(self) -> ExitStatus {
        kill_process(self.pid(), Signal::KILL).unwrap();
        self.end()
    }

    /// Kills the program and its worker at once, as a machine that loses power does.
    pub(crate) fn kill_both(self) -> ExitStatus {
        let worker = self.worker();
        kill_process(self.pid(), Signal::KILL).unwrap();
        if let Some(pid) = worker {
            kill_process(pid, Signal::KILL).ok();
        }
        self.end()
    }

    /// Presses Ctrl-C: a terminal sends it to the whole group of the program.
    pub(crate) fn interrupt(&self) {
        kill_process_group(self.pid(), Signal::INT).unwrap();
    }

    /// Stops the program in its tracks; its lock stays.
    pub(crate) fn freeze(&self) {
        kill_process(self.pid(), Signal::STOP).unwrap();
    }

    /// Reads what is left and waits for the end.
    pub(crate) fn end(mut self) -> ExitStatus {
        self.read_to_end();
        self.child.wait().unwrap()
    }

    /// Reads what is left.
    pub(crate) fn read_to_end(&mut self) {
        while self.next_line().is_some() {}
    }
}

/// Whether a process is there and no zombie.
pub(crate) fn is_alive(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    // The state follows the name, which is in brackets and may itself hold any letter.
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}
