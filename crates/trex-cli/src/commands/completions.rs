//! `trex completions SHELL`.

use clap::CommandFactory as _;
use clap_complete::Shell;
use serde_json::json;

use crate::args::Cli;
use crate::error::CliError;
use crate::output::Output;

pub(crate) fn run(shell: Shell, output: &mut Output) -> Result<(), CliError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut visible(&Cli::command()), "trex", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    output.result(&json!({ "shell": shell.to_string(), "script": script }), || script.clone())
}

/// The command line without its hidden commands, which the generator would list with the others.
fn visible(whole: &clap::Command) -> clap::Command {
    clap::Command::new("trex")
        .about(whole.get_about().cloned().unwrap_or_default())
        .version(env!("CARGO_PKG_VERSION"))
        .args(whole.get_arguments().cloned())
        .subcommands(whole.get_subcommands().filter(|command| !command.is_hide_set()).cloned())
}
