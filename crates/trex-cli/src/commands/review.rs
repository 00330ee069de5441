//! `trex review`: what a run holds for a person, and the person's word on it.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use trex_domain::{Clock as _, Millis, ReviewId, ReviewVerdict};
use trex_engine::{PersonsWord, ReviewBox, ReviewEntry, ReviewStatus, decide_review, review_entries};

use crate::args::WorkspaceArgs;
use crate::args::review::{OneReview, ReviewArgs, ReviewCommand, WordArgs};
use crate::commands::report::{Latest, latest};
use crate::error::{CliError, CommandError};
use crate::output::Output;
use crate::system::SystemClock;

pub(crate) fn run(args: &ReviewArgs, output: &mut Output) -> Result<(), CliError> {
    match &args.command {
        ReviewCommand::List { workspace, all } => list(workspace, *all, output),
        ReviewCommand::Show(one) => show(one, output),
        ReviewCommand::Approve(word) => decide(word, ReviewVerdict::Approve, output),
        ReviewCommand::Edit { word, set } => decide(word, ReviewVerdict::Edit { changes: changes(set)? }, output),
        ReviewCommand::Reject(word) => decide(word, ReviewVerdict::Reject, output),
    }
}

fn list(workspace: &WorkspaceArgs, all: bool, output: &mut Output) -> Result<(), CliError> {
    let latest = latest(workspace)?;
    let mut entries = review_entries(&latest.state, latest.run, &ReviewBox::of(&workspace.workspace));
    entries.retain(|entry| all || matches!(entry.status, ReviewStatus::Waiting | ReviewStatus::Given));
    output.result(&entries, || {
        let lines: Vec<String> = entries.iter().map(line).collect();
        match (lines.is_empty(), latest.state.gates.is_some()) {
            (false, _) => lines.join("\n"),
            (true, true) => "nothing waits for a person".to_owned(),
            (true, false) => "nothing waits for a person: this run was begun without --review".to_owned(),
        }
    })
}

fn line(entry: &ReviewEntry) -> String {
    let request = &entry.request;
    let until = entry.expires_at.map(|at| format!(", until {}", at.to_utc_text())).unwrap_or_default();
    let status = entry.status.as_str();
    format!(
        "{:<4}{:<12}{status:<10}risk {:.2}{until}  {}",
        request.id,
        request.stage.as_str(),
        request.score,
        request.question
    )
}

fn show(one: &OneReview, output: &mut Output) -> Result<(), CliError> {
    let latest = latest(&one.workspace)?;
    let found = found(&one.workspace.workspace, &latest, one.id)?;
    // A workspace that may not be written is shown all the same; the minutes are then not counted from here.
    ReviewBox::of(&one.workspace.workspace).mark_seen(latest.run, one.id, SystemClock.now()).ok();
    output.result(&found, || text(&found))
}

fn found(workspace: &Path, latest: &Latest, id: ReviewId) -> Result<ReviewEntry, CliError> {
    let entries = review_entries(&latest.state, latest.run, &ReviewBox::of(workspace));
    let entry = entries.into_iter().find(|entry| entry.request.id == id);
    Ok(entry.ok_or(trex_engine::EngineError::UnknownReview { id })?)
}

fn text(entry: &ReviewEntry) -> String {
    let request = &entry.request;
    let risk = &request.risk;
    let mut lines = vec![
        line(entry),
        format!("asked: {}", entry.asked_at.to_utc_text()),
        format!(
            "risk: {:.2} of cost {:.2}, novelty {:.2}, doubt {:.2}, irreversibility {:.2}",
            request.score, risk.cost, risk.novelty, risk.doubt, risk.irreversibility
        ),
    ];
    if let Some(decision) = &entry.decision {
        let reason = decision.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        lines.push(format!("{}{reason} ({:.1} person-minutes)", decision.verdict.as_str(), decision.person_min));
    }
    let mut leaves = Vec::new();
    flatten("", &entry.content, &mut leaves);
    lines.extend(leaves.into_iter().map(|(name, value)| {
        let may_change = entry.editable.iter().any(|root| name.split('.').next() == Some(root));
        format!("  {}{name} = {value}", if may_change { "" } else { "# " })
    }));
    lines.join("\n")
}

/// Every setting under the name that `--set` takes.
fn flatten(name: &str, value: &Value, out: &mut Vec<(String, String)>) {
    let Value::Object(map) = value else {
        return out.push((name.to_owned(), value.to_string()));
    };
    for (key, entry) in map {
        let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
        flatten(&name, entry, out);
    }
}

/// Settings with their new values, as `--set` takes them.
pub(crate) fn changes(set: &[String]) -> Result<BTreeMap<String, Value>, CliError> {
    let change = |text: &String| {
        let (name, value) = text.split_once('=').ok_or_else(|| CommandError::BadChange { text: text.clone() })?;
        let value = value.trim();
        let json = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
        Ok((name.trim().to_owned(), json))
    };
    set.iter().map(change).collect()
}

fn decide(word: &WordArgs, verdict: ReviewVerdict, output: &mut Output) -> Result<(), CliError> {
    let (id, workspace) = (word.review.id, &word.review.workspace);
    let latest = latest(workspace)?;
    let desk = ReviewBox::of(&workspace.workspace);
    let persons = PersonsWord { verdict, reason: word.reason.clone(), minutes: word.minutes };
    let now: Millis = SystemClock.now();
    let decision = decide_review(&latest.state, latest.run, &desk, id, persons, now)?;
    let found = found(&workspace.workspace, &latest, id)?;
    output.result(&found, || {
        let next = if latest.at_work { "the run takes it at once" } else { "`trex resume` goes on with it" };
        format!("{id} is {}; {next}", decision.verdict.as_str())
    })
}
