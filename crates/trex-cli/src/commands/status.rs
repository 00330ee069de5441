//! `trex status`, `trex watch` and `trex tree`: look at a run without disturbing it.

use std::time::Duration;

use serde_json::json;
use trex_domain::{Event, RunState};
use trex_engine::{build_report, tree_text};
use trex_store::Workspace;

use crate::args::{WatchArgs, WorkspaceArgs};
use crate::commands::report::latest;
use crate::error::{CliError, CommandError};
use crate::observer::describe;
use crate::output::Output;

/// Time between two looks at the event log.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Columns of a drawn tree.
const WIDTH: usize = 120;

pub(crate) fn status(args: &WorkspaceArgs, output: &mut Output) -> Result<(), CliError> {
    let (run, state) = latest(args)?;
    let task = state.task()?;
    let phase = state.phase.map_or("none", trex_domain::Phase::as_str);
    let finished = state.verdict.is_some();
    let value = json!({
        "run": run,
        "task": task.name,
        "status": if finished { "finished" } else { "unfinished" },
        "phase": phase,
        "seed": state.seed,
        "trials": {"started": state.trials.len(), "budget": task.budget.trials},
        "incumbent": state.incumbent,
        "verdict": state.verdict,
        "cost": state.cost,
        "events": state.seq,
        "resumed": state.resumed,
    });
    output.result(&value, || status_text(&state, finished, phase))
}

fn status_text(state: &RunState, finished: bool, phase: &str) -> String {
    let name = state.task.as_ref().map_or("", |task| &task.name);
    let budget = state.task.as_ref().map_or(0, |task| task.budget.trials);
    let incumbent = state.incumbent.as_ref().map_or("the untouched base", |id| id.as_str());
    let next = if finished {
        "see `trex report`"
    } else {
        "`trex watch` follows it, `trex resume` goes on where nobody works on it"
    };
    format!(
        "{name}: {} in phase {phase}, {} of {budget} trials, best so far {incumbent}, {:.0} s; {next}",
        if finished { "finished" } else { "unfinished" },
        state.trials.len(),
        state.cost.wall_s
    )
}

pub(crate) fn watch(args: &WatchArgs, output: &mut Output) -> Result<(), CliError> {
    let reader = Workspace::open_reader(&args.workspace.workspace)?;
    let run = reader.latest_run()?.ok_or_else(|| CommandError::NoRun { path: args.workspace.workspace.clone() })?;
    let mut after = args.after;
    loop {
        let events = reader.events(run.id, after)?;
        for stored in &events {
            after = stored.seq;
            if output.is_json() {
                output.result(stored, String::new)?;
            } else if let Some(text) = describe(&stored.event) {
                output.line(&text)?;
            }
            if matches!(stored.event, Event::RunFinished { .. }) {
                return Ok(());
            }
        }
        if args.no_follow {
            return Ok(());
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

pub(crate) fn tree(args: &WorkspaceArgs, output: &mut Output) -> Result<(), CliError> {
    let (run, state) = latest(args)?;
    let colour = output.is_terminal();
    let nodes = build_report(&state, run, std::collections::BTreeMap::new()).nodes;
    output
        .result(&json!({"run": run, "incumbent": state.incumbent, "nodes": nodes}), || tree_text(&state, WIDTH, colour))
}
