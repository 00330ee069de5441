//! `trex diagnose NODE`: what is wrong with a trial, by the rules of the Playbook, and what to try next.

use trex_domain::{ItemScore, RunState, VariantId};
use trex_fs::BlobStore;
use trex_research::{Diagnosis, DiagnosisRules, diagnose};

use crate::args::NodeArgs;
use crate::commands::report::latest;
use crate::error::{CliError, CommandError};
use crate::output::Output;

pub(crate) fn run(args: &NodeArgs, output: &mut Output) -> Result<(), CliError> {
    let state = latest(&args.workspace)?.state;
    let unknown = || CommandError::UnknownNode { name: args.node.clone() };
    let id = variant_of(&state, &args.node).ok_or_else(unknown)?;
    let items = search_items(&state, &id, &BlobStore::new(args.workspace.workspace.join("blobs")))?;
    let diagnosis = diagnose(&state, &id, &items, &DiagnosisRules::built_in()?).ok_or_else(unknown)?;
    output.result(&diagnosis, || text(&diagnosis))
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
