//! `trex diagnose NODE`: what is wrong with a trial, by the rules of the Playbook, and what to try next.

use serde_json::json;
use trex_domain::{ItemScore, RunState, Stage, VariantId};
use trex_fs::BlobStore;
use trex_research::{Answered, DiagnoseAnswer, Diagnosis, DiagnosisRules, Limits, diagnose, diagnose_with};

use crate::args::DiagnoseArgs;
use crate::commands::report::latest;
use crate::error::{CliError, CommandError};
use crate::output::Output;
use crate::researcher;

pub(crate) fn run(args: &DiagnoseArgs, output: &mut Output) -> Result<(), CliError> {
    let mut settings = researcher::settings_for_run(args.researcher.as_deref())?;
    // Wrong answers are shown to a model elsewhere only where it is named for this.
    settings.stages.extend(args.researcher.clone().map(|name| (Stage::Diagnose, vec![name])));
    let args = &args.node;
    let state = latest(&args.workspace)?.state;
    let unknown = || CommandError::UnknownNode { name: args.node.clone() };
    let id = variant_of(&state, &args.node).ok_or_else(unknown)?;
    let items = search_items(&state, &id, &BlobStore::new(args.workspace.workspace.join("blobs")))?;
    let diagnosis = diagnose(&state, &id, &items, &DiagnosisRules::built_in()?).ok_or_else(unknown)?;
    let asker = researcher::asker(Some(&args.workspace.workspace), settings)?;
    let cause = diagnose_with(&asker, Limits::of(&state), &state, &diagnosis);
    let mut value = json!(diagnosis);
    value["cause"] = json!({"by": cause.by, "answer": cause.answer});
    output.result(&value, || format!("{}{}", text(&diagnosis), cause_text(&cause)))
}

/// A variant by its name, or the winner of an experiment.
fn variant_of(state: &RunState, name: &str) -> Option<VariantId> {
    let by_name = state.variants.keys().find(|id| id.as_str() == name).cloned();
    let winner = || state.nodes.iter().find(|(id, _)| id.as_str() == name).and_then(|(_, node)| node.winner.clone());
    by_name.or_else(winner)
}

/// Answers on the search split at the highest rung that was scored; none of another split.
fn search_items(state: &RunState, id: &VariantId, blobs: &BlobStore) -> Result<Vec<ItemScore>, CliError> {
    let mut own = state.trials.iter().rev().filter(|((variant, _, seed), _)| variant == id && *seed == 0);
    match own.find_map(|(_, trial)| trial.scores.get("search")) {
        Some(score) => Ok(blobs.get_lines(&score.items)?),
        None => Ok(Vec::new()),
    }
}

/// What a model says; the Playbook's word is in the list of findings already.
fn cause_text(cause: &Answered<Option<DiagnoseAnswer>>) -> String {
    let said = cause.answer.as_ref().filter(|_| cause.by != trex_research::PLAYBOOK);
    said.map_or_else(String::new, |answer| {
        format!("\n  {} takes it for {:?}: {}\n    try: {}", cause.by, answer.cause, answer.explanation, answer.next)
    })
}

fn text(diagnosis: &Diagnosis) -> String {
    let mut lines = vec![format!("{} at rung {}", diagnosis.variant, diagnosis.rung)];
    if diagnosis.findings.is_empty() {
        lines.push("  no rule finds anything wrong".to_owned());
    }
    for finding in &diagnosis.findings {
        let numbers: Vec<String> = finding.because.iter().map(|(name, value)| format!("{name} {value:.3}")).collect();
        lines.push(format!("  {}: {} ({})", finding.code, finding.cause, numbers.join(", ")));
        lines.push(format!("    try: {}", finding.advice));
        lines.push(format!("    source: {}", finding.source));
    }
    for (gold, predicted, count) in diagnosis.confusions.iter().take(5) {
        lines.push(format!("  {count} times {predicted:?} instead of {gold:?}"));
    }
    lines.join("\n")
}
