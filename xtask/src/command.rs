//! Running other programs: shown before they start, never with a stdin to wait on. Knows no program by name but cargo.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// A command that runs in `folder` and reads nothing. A run that it starts takes nothing from earlier runs on this machine, so
/// that benchmarks and the demo repeat.
pub(crate) fn command(program: impl AsRef<OsStr>, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder).stdin(Stdio::null()).env("TREX_KNOWLEDGE", "off");
    command
}

/// The cargo that runs this program.
pub(crate) fn cargo(folder: &Path, arguments: &[&str]) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = command(program, folder);
    command.args(arguments);
    command
}

/// Shows a command, runs it to its end with its output shown, and fails where it does.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let line = shown(command);
    println!("$ {line}");
    let status = command.status().with_context(|| format!("cannot start `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed with {status}");
    }
    Ok(())
}

/// Runs a command silently and returns what it wrote to stdout; `None` where it is absent or fails.
pub(crate) fn answer(command: &mut Command) -> Option<String> {
    let output = command.stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_command_is_named() {
        let err = run(&mut cargo(Path::new("."), &["no-such-subcommand-of-cargo"])).unwrap_err().to_string();
        assert!(err.contains("no-such-subcommand-of-cargo` failed"), "{err}");
    }

    #[test]
    fn an_absent_program_has_no_answer() {
        assert_eq!(answer(&mut command("no-such-program-anywhere", Path::new("."))), None);
        assert!(answer(&mut cargo(Path::new("."), &["--version"])).is_some_and(|text| text.starts_with("cargo ")));
    }
}
