//! The one error of the shell, in the form that the page shows: what happened, its stable code, what to do. Errors of the
//! `trex` program come through unchanged; the page translates by code and never parses text.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use trex_domain::Problem;
use ts_rs::TS;

/// What the page shows of an error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS, thiserror::Error)]
#[error("{message}")]
pub struct ShellError {
    /// Stable code.
    pub code: String,
    /// What happened, in a sentence.
    pub message: String,
    /// Causes, outermost first.
    #[serde(default)]
    pub causes: Vec<String>,
    /// What to do about it.
    pub hint: Option<String>,
}

impl ShellError {
    fn new(code: &str, message: String, hint: Option<&str>) -> Self {
        Self { code: code.to_owned(), message, causes: Vec::new(), hint: hint.map(str::to_owned) }
    }

    /// There is no `trex` program to do the work.
    pub(crate) fn no_program(looked_at: &[PathBuf]) -> Self {
        let places: Vec<String> = looked_at.iter().map(|path| path.display().to_string()).collect();
        let message = format!("the trex program is missing; looked at {}", places.join(", "));
        Self::new("app.no_program", message, Some("install TREX again, or set TREX_PROGRAM to the file"))
    }

    /// The program could not be started, or was ended by something else.
    pub(crate) fn program_failed(what: &str, err: &dyn std::fmt::Display) -> Self {
        Self::new("app.program_failed", format!("trex {what} could not be run: {err}"), None)
    }

    /// The program wrote something that is not what this window understands.
    pub(crate) fn odd_answer(what: &str, answer: &str) -> Self {
        let start: String = answer.chars().take(200).collect();
        let message = format!("trex {what} answered in a way that this window does not understand: {start}");
        Self::new("app.odd_answer", message, Some("window and program are of different versions; install TREX again"))
    }

    /// A path from the page that is not allowed or not there.
    pub(crate) fn bad_path(path: &Path, why: &str) -> Self {
        let hint = "choose a file or a folder on this machine";
        Self::new("app.bad_path", format!("{}: {why}", path.display()), Some(hint))
    }

    /// An input of the page that is out of range.
    pub(crate) fn bad_input(what: &str, why: &str) -> Self {
        Self::new("app.bad_input", format!("{what}: {why}"), None)
    }

    /// A folder holds no workspace with a run.
    pub(crate) fn no_run(path: &Path) -> Self {
        let hint = "start a task in it first";
        Self::new("app.no_run", format!("{} holds no run", path.display()), Some(hint))
    }

    /// A part of the window's own machinery gave up.
    pub(crate) fn window(what: &str, err: &dyn std::fmt::Display) -> Self {
        Self::new("app.window", format!("{what}: {err}"), None)
    }
}

impl<P: Problem> From<P> for ShellError {
    fn from(err: P) -> Self {
        let mut causes = Vec::new();
        let mut source = std::error::Error::source(&err);
        while let Some(cause) = source {
            causes.push(cause.to_string());
            source = cause.source();
        }
        Self { code: err.code().to_owned(), message: err.to_string(), causes, hint: err.hint() }
    }
}
