//! The `trex` command: every use case of TREX without a window, and the worker process.
//!
//! Parses arguments, wires adapters to the engine's ports, prints. Owns no rule.

mod args;
mod commands;
mod error;
mod measures;
mod observer;
mod output;
mod researcher;
mod system;
mod wiring;
mod worker_program;

use std::process::ExitCode;

use clap::Parser as _;

use crate::args::{Cli, Command};
use crate::error::CliError;
use crate::output::Output;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut output = Output::new(cli.json);
    match dispatch(cli, &mut output) {
        Ok(code) => code,
        Err(err) => {
            output.error(&err);
            err.exit_code()
        }
    }
}

fn dispatch(cli: Cli, output: &mut Output) -> Result<ExitCode, CliError> {
    match cli.command {
        Command::Init(args) => commands::init::run(&args, output)?,
        Command::New(args) => commands::new::run(&args, output)?,
        Command::Run(args) => commands::run::run(&args, output)?,
        Command::Forecast(args) => commands::forecast::run(&args, output)?,
        Command::Resume(args) => commands::run::resume(&args, output)?,
        Command::Queue(args) => commands::queue::run(&args, output)?,
        Command::Stop(args) => commands::stop::run(&args, output)?,
        Command::Status(args) => commands::status::status(&args, output)?,
        Command::Watch(args) => commands::status::watch(&args, output)?,
        Command::Tree(args) => commands::status::tree(&args, output)?,
        Command::Show(args) => commands::show::run(&args, output)?,
        Command::Diagnose(args) => commands::diagnose::run(&args, output)?,
        Command::Why(args) => commands::why::run(&args, output)?,
        Command::Pin(args) => commands::orders::pin(&args, output)?,
        Command::Unpin(args) => commands::orders::unpin(&args, output)?,
        Command::Forbid(args) => commands::orders::forbid(&args, output)?,
        Command::Allow(args) => commands::orders::allow(&args, output)?,
        Command::Branch(args) => commands::orders::branch(&args, output)?,
        Command::Report(args) => commands::report::run(&args, output)?,
        Command::Repro(args) => return commands::repro::run(&args, output),
        Command::Ask(args) => commands::ask::run(&args, output)?,
        Command::Score(args) => commands::score::run(&args, output)?,
        Command::Serve(args) => commands::serve::run(&args, output)?,
        Command::Export(args) => commands::export::run(&args, output)?,
        Command::Config(args) => commands::config::run(&args, output)?,
        Command::Probe(args) => commands::probe::run(&args, output)?,
        Command::BaseGguf(args) => commands::probe::base_gguf(&args, output)?,
        Command::Model(args) => commands::model::run(&args, output)?,
        Command::Data(args) => commands::data::run(&args, output)?,
        Command::Recipe(args) => commands::recipe::run(&args, output)?,
        Command::Researcher(args) => commands::researcher::run(&args, output)?,
        Command::Net(args) => commands::net::run(&args, output)?,
        Command::Review(args) => commands::review::run(&args, output)?,
        Command::Kb(args) => commands::kb::run(&args, output)?,
        Command::Bench(args) => commands::bench::run(&args, output)?,
        Command::Doctor(args) => commands::doctor::run(&args, output)?,
        Command::Completions { shell } => commands::completions::run(shell, output)?,
        Command::Worker => return Ok(commands::worker::run()),
        Command::Measure(args) => commands::measure::run(&args, output)?,
        Command::MakeModel(args) => commands::make_model::run(&args, output)?,
    }
    Ok(ExitCode::SUCCESS)
}
