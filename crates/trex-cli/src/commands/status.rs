//! `trex status`, `trex watch` and `trex tree`: look at a run without disturbing it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;
use trex_domain::{Event, RunFailure, RunState};
use trex_engine::{TreeLook, tree_text, why_best};
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
    let latest = latest(args)?;
    let (run, status, state) = (latest.run, latest.status(), &latest.state);
    let task = state.task()?;
    let phase = state.phase.map_or("none", trex_domain::Phase::as_str);
    let value = json!({
        "run": run,
        "task": task.name,
        "status": status,
        "phase": phase,
        "seed": state.seed,
        "trials": {"started": state.trials.len(), "budget": task.budget.trials},
        "incumbent": state.incumbent,
        "verdict": state.verdict,
        "cost": state.cost,
        "cost_by_phase": state.cost_by_phase,
        "reserved": state.reserved(),
        "forecast_error": state.forecast_error(),
        "events": state.seq,
        "resumed": state.resumed,
        "waits_for": state.pending_reviews().map(|review| review.request.id).collect::<Vec<_>>(),
        "error": state.failure,
    });
    output.result(&value, || status_text(state, status, phase))
}

fn status_text(state: &RunState, status: &str, phase: &str) -> String {
    let name = state.task.as_ref().map_or("", |task| &task.name);
    let budget = state.task.as_ref().map_or(0, |task| task.budget.trials);
    let incumbent = state.incumbent.as_ref().map_or("the untouched base", |id| id.as_str());
    let next = match (status, &state.failure) {
        ("finished", _) => "see `trex report`".to_owned(),
        ("running", _) if state.pending_reviews().next().is_some() => waiting_text(state),
        ("running", _) => "`trex watch` follows it".to_owned(),
        (_, Some(failure)) => failure_text(failure, state.data.is_some()),
        _ => "nobody works on it, `trex resume` goes on".to_owned(),
    };
    let forecasts = state.forecast_error().map_or_else(String::new, |error| {
        format!(", forecasts of {} trials off by a factor of {:.2}", error.of, error.factor)
    });
    format!(
        "{name}: {status} in phase {phase}, {} of {budget} trials, best so far {incumbent}, {:.0} s{forecasts}; {next}",
        state.trials.len(),
        state.cost.wall_s
    )
}

/// What the run waits for.
fn waiting_text(state: &RunState) -> String {
    let ids: Vec<String> = state.pending_reviews().map(|review| review.request.id.to_string()).collect();
    format!("it waits for a person's decision on {}; see `trex review list`", ids.join(", "))
}

/// What ended the run and what to do. Without data nothing is lost by beginning anew, which takes a changed task file.
fn failure_text(failure: &RunFailure, has_data: bool) -> String {
    let hint = failure.hint.as_ref().map(|hint| format!("\n  hint: {hint}")).unwrap_or_default();
    let next = if has_data {
        "once that is mended, `trex resume` goes on"
    } else {
        "once that is mended, give `trex run` again; `trex resume` does where the task file stays as it is"
    };
    format!("it ended with\nerror[{}]: {}{hint}\n  next: {next}", failure.code, failure.message)
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
        // A run that was resumed since has events after its failure.
        if events.last().is_some_and(|stored| matches!(stored.event, Event::RunFailed(_))) {
            return Ok(());
        }
        if args.no_follow {
            return Ok(());
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

pub(crate) fn tree(args: &WorkspaceArgs, output: &mut Output) -> Result<(), CliError> {
    let latest = latest(args)?.foreseen(&args.workspace);
    let report = latest.report(BTreeMap::new());
    let value = json!({
        "run": latest.run,
        "status": latest.status(),
        "incumbent": latest.state.incumbent,
        "nodes": report.nodes,
        "pinned": latest.state.pinned,
        "forbidden": latest.state.forbidden,
    });
    let look = TreeLook { width: WIDTH, colour: output.is_terminal(), at_work: latest.at_work };
    output.result(&value, || {
        let why = why_best(&report).map(|why| format!("\n{why}\n")).unwrap_or_default();
        tree_text(&latest.state, look) + &why
    })
}
