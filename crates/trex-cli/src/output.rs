//! Where results and errors go: JSON or text on standard output, errors on standard error.

use std::io::{self, IsTerminal as _, Write as _};

use serde::Serialize;

use crate::error::{CliError, CommandError};

/// The way out of a command.
#[derive(Debug)]
pub(crate) struct Output {
    json: bool,
    out: io::Stdout,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { json, out: io::stdout() }
    }

    /// Whether JSON was asked for.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Whether a person looks at a terminal.
    pub(crate) fn is_terminal(&self) -> bool {
        !self.json && self.out.is_terminal()
    }

    /// Prints a result: the value as one line of JSON, or the text.
    pub(crate) fn result(&mut self, value: &impl Serialize, text: impl FnOnce() -> String) -> Result<(), CliError> {
        if self.json {
            let line = serde_json::to_string(value).map_err(CommandError::NotJson)?;
            return self.line(&line);
        }
        self.line(text().trim_end())
    }

    /// Prints a line.
    pub(crate) fn line(&mut self, text: &str) -> Result<(), CliError> {
        let mut out = self.out.lock();
        let written = out.write_all(text.as_bytes()).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush());
        match written {
            // A reader such as `head` that has seen enough is no failure of ours.
            Err(err) if err.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => written.map_err(|err| CommandError::Output(err).into()),
        }
    }

    /// Prints an error for people on standard error, and for scripts on standard output.
    pub(crate) fn error(&mut self, err: &CliError) {
        if self.json {
            self.line(&err.json().to_string()).ok();
        }
        writeln!(io::stderr(), "{}", err.text()).ok();
    }
}
