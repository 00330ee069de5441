//! The `trex` program that does the work: where it lies, and how it is asked. The window computes nothing itself, so
//! whatever a screen does, the command does too. No shell is involved; arguments go over as they are.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::error::ShellError;

/// Where the program is looked for where the environment does not say.
const NAME: &str = "trex";

/// The program and how it is started.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
    /// Whether the network is shut for everything it starts.
    offline: bool,
}

impl Program {
    /// `TREX_PROGRAM`, else the file beside this one, as it is installed.
    pub fn find() -> Result<Self, ShellError> {
        let named = std::env::var_os("TREX_PROGRAM").filter(|name| !name.is_empty()).map(PathBuf::from);
        let own = std::env::current_exe().ok();
        let beside = own.and_then(|own| Some(own.parent()?.join(format!("{NAME}{}", std::env::consts::EXE_SUFFIX))));
        let places: Vec<PathBuf> = named.map_or_else(|| beside.into_iter().collect(), |named| vec![named]);
        let found = places.iter().find(|path| path.is_file()).cloned();
        let path = found.ok_or_else(|| ShellError::no_program(&places))?;
        Ok(Self { path, offline: true })
    }

    /// The program at a place.
    pub fn at(path: PathBuf) -> Self {
        Self { path, offline: true }
    }

    /// Opens or shuts the network for what is started from now on.
    pub fn set_offline(&mut self, offline: bool) {
        self.offline = offline;
    }

    /// Asks for one JSON document.
    pub fn ask<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<Value, ShellError> {
        let output = self.output(arguments, true)?;
        document(&shown(arguments), &output, output.status.success())
    }

    /// The same for arguments that end with those of another command.
    pub fn ask_json_first<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<Value, ShellError> {
        let first = std::iter::once(OsStr::new("--json"));
        let all: Vec<&OsStr> = first.chain(arguments.iter().map(AsRef::as_ref)).collect();
        let output = self.output(&all, false)?;
        document(&shown(arguments), &output, output.status.success())
    }

    /// Asks for one JSON document of a command that says no with the exit code 1, as a comparison does.
    pub fn ask_whether<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<Value, ShellError> {
        let output = self.output(arguments, true)?;
        document(&shown(arguments), &output, output.status.success() || output.status.code() == Some(1))
    }

    /// Asks for text.
    pub fn ask_text<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<String, ShellError> {
        let output = self.output(arguments, false)?;
        if !output.status.success() {
            let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(ShellError::program_failed(&shown(arguments), &message));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Starts it so that it outlives this process, with what it prints in a file.
    pub fn start_detached(&self, arguments: &[OsString], log: &Path) -> Result<Child, ShellError> {
        let what = shown(arguments);
        if let Some(folder) = log.parent() {
            trex_fs::create_dir_all(folder)?;
        }
        let failed = |err: std::io::Error| ShellError::program_failed(&what, &err);
        let out = std::fs::File::create(log).map_err(failed)?;
        let errors = out.try_clone().map_err(failed)?;
        let mut command = self.command(arguments, true);
        command.stdin(Stdio::null()).stdout(out).stderr(errors);
        own_group(&mut command);
        command.spawn().map_err(failed)
    }

    /// Starts what goes on until nobody holds it any more, and waits for its first line.
    pub fn start_service(&self, arguments: &[OsString]) -> Result<Service, ShellError> {
        let what = shown(arguments);
        let failed = |err: std::io::Error| ShellError::program_failed(&what, &err);
        let mut command = self.command(arguments, true);
        // Its input ends with this process, however that ends, and it with its input.
        command.arg("--until-input-ends").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        own_group(&mut command);
        let mut child = command.spawn().map_err(failed)?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line).map_err(failed)?;
        }
        let service = Service { child, said: serde_json::from_str(&line).unwrap_or_default() };
        match service.said["type"].as_str() {
            Some("error") => Err(error_of(&what, &service.said)),
            Some(_) => Ok(service),
            None => Err(ShellError::odd_answer(&what, line.trim())),
        }
    }

    fn output<S: AsRef<OsStr>>(&self, arguments: &[S], json: bool) -> Result<std::process::Output, ShellError> {
        let output = self.command(arguments, json).stdin(Stdio::null()).output();
        output.map_err(|err| ShellError::program_failed(&shown(arguments), &err))
    }

    fn command<S: AsRef<OsStr>>(&self, arguments: &[S], json: bool) -> Command {
        let mut command = Command::new(&self.path);
        command.args(arguments);
        if json {
            command.arg("--json");
        }
        if self.offline {
            command.env("TREX_OFFLINE", "1");
        }
        command
    }
}

/// A program that serves until this is dropped.
#[derive(Debug)]
pub struct Service {
    child: Child,
    said: Value,
}

impl Service {
    /// Its first line.
    pub fn said(&self) -> &Value {
        &self.said
    }

    /// Whether it serves no more.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It keeps nothing that could be half written.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The last line as JSON.
fn document(what: &str, output: &std::process::Output, is_fine: bool) -> Result<Value, ShellError> {
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().rev().find(|line| !line.trim().is_empty());
    match last.and_then(|line| serde_json::from_str::<Value>(line).ok()) {
        Some(value) if value["type"] == "error" => Err(error_of(what, &value)),
        Some(value) if is_fine => Ok(value),
        _ => Err(ShellError::odd_answer(what, text.trim())),
    }
}

/// Its own process group, so that a Ctrl-C in the terminal of the window does not reach it.
#[cfg(unix)]
fn own_group(command: &mut Command) {
    std::os::unix::process::CommandExt::process_group(command, 0);
}

#[cfg(windows)]
fn own_group(command: &mut Command) {
    const CREATE_NEW_PROCESS_GROUP: u32 = 0x200;
    std::os::windows::process::CommandExt::creation_flags(command, CREATE_NEW_PROCESS_GROUP);
}

/// The first two words, which name the command; the rest may be private.
fn shown<S: AsRef<OsStr>>(arguments: &[S]) -> String {
    let words = arguments.iter().take(2).map(|word| word.as_ref().to_string_lossy().into_owned());
    words.collect::<Vec<_>>().join(" ")
}

/// An error line of the program.
pub(crate) fn error_of(what: &str, line: &Value) -> ShellError {
    serde_json::from_value(line.clone()).unwrap_or_else(|_| ShellError::odd_answer(what, &line.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    fn program(script: &str) -> (tempfile::TempDir, Program) {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trex");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        (folder, Program::at(path))
    }

    #[cfg(unix)]
    #[test]
    fn an_answer_is_the_last_line() {
        let (_folder, program) = program("echo '{\"type\":\"progress\"}'; echo \"{\\\"arguments\\\":\\\"$*\\\"}\"");
        assert_eq!(program.ask(&["model", "list"]).unwrap()["arguments"], "model list --json");
    }

    #[cfg(unix)]
    #[test]
    fn a_comparison_may_say_no() {
        let (_folder, program) = program("echo '{\"identical\":false}'; exit 1");
        assert_eq!(program.ask_whether(&["repro"]).unwrap()["identical"], false);
        assert_eq!(program.ask(&["repro"]).unwrap_err().code, "app.odd_answer");
    }

    #[cfg(unix)]
    #[test]
    fn an_error_keeps_code_and_hint() {
        let line = r#"{"type":"error","code":"data.empty","message":"no rows","causes":["x"],"hint":"add some"}"#;
        let (_folder, program) = program(&format!("echo '{line}'; exit 3"));
        let err = program.ask(&["data", "profile"]).unwrap_err();
        assert_eq!((err.code.as_str(), err.hint.as_deref()), ("data.empty", Some("add some")));
    }

    #[cfg(unix)]
    #[test]
    fn rubbish_and_silence_are_errors() {
        for script in ["echo hello", "exit 0", "exit 1"] {
            let (_folder, program) = program(script);
            assert_eq!(program.ask(&["status"]).unwrap_err().code, "app.odd_answer");
        }
    }

    #[cfg(unix)]
    #[test]
    fn the_network_is_shut_unless_it_was_opened() {
        let (_folder, mut program) = program("echo \"{\\\"offline\\\":\\\"$TREX_OFFLINE\\\"}\"");
        assert_eq!(program.ask(&["status"]).unwrap()["offline"], "1");
        program.set_offline(false);
        let inherited = std::env::var("TREX_OFFLINE").unwrap_or_default();
        assert_eq!(program.ask(&["status"]).unwrap()["offline"], inherited);
    }
}
