//! `trex repro NODE`: trains a node again from nothing and compares the bytes.

use std::process::ExitCode;

use trex_engine::reproduce;

use crate::args::{MachineArgs, NodeArgs};
use crate::commands::report::latest;
use crate::error::CliError;
use crate::output::Output;
use crate::wiring;

pub(crate) fn run(args: &NodeArgs, output: &mut Output) -> Result<ExitCode, CliError> {
    let state = latest(&args.workspace)?.state;
    let model = wiring::find_model(&state.task()?.model.0)?;
    let machine = MachineArgs { threads: None, device: None, reserve_bytes: 0, workers: 1 };
    let dir = &args.workspace.workspace;
    let settings = wiring::run_settings(dir, model, &machine);
    let workers = wiring::workers(&settings, state.task()?)?;
    let scratch = dir.join("scratch").join(format!("repro-{}", std::process::id()));
    let found = reproduce(&state, &args.node, &settings, &workers, scratch)?;
    output.result(&found, || {
        let verdict = if found.identical { "identical" } else { "different" };
        format!(
            "{} at rung {}: {verdict}\nrecorded {}\nrepeated {}",
            found.variant, found.rung, found.recorded, found.repeated
        )
    })?;
    Ok(if found.identical { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
