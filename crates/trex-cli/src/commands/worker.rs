//! `trex worker`: one job from standard input, events to standard output.

use std::process::ExitCode;

pub(crate) fn run() -> ExitCode {
    let succeeded = trex_train::run_worker(std::io::stdin(), std::io::stdout());
    if succeeded { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
