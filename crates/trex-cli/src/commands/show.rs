//! `trex show NODE`: why a node exists, what was expected, what happened, what it cost.

use serde_json::json;
use trex_domain::{CandidateNumbers, NodeReport, RunState, VariantReport};
use trex_engine::build_report;

use crate::args::NodeArgs;
use crate::commands::report::latest;
use crate::error::{CliError, CommandError};
use crate::output::Output;

pub(crate) fn run(args: &NodeArgs, output: &mut Output) -> Result<(), CliError> {
    let (run, state) = latest(&args.workspace)?;
    let report = build_report(&state, run, std::collections::BTreeMap::new());
    if let Some(node) = report.nodes.iter().find(|node| node.id.as_str() == args.node) {
        let decision = state.nodes.get(&node.id).and_then(|record| record.decision.clone());
        let value = json!({"node": node, "decision": decision});
        return output.result(&value, || node_text(node, &state));
    }
    let variants = report.nodes.iter().flat_map(|node| &node.variants);
    let Some(variant) = variants.into_iter().find(|variant| variant.id.as_str() == args.node) else {
        return Err(CommandError::UnknownNode { name: args.node.clone() }.into());
    };
    let whole = state.variants.get(&variant.id).map(|record| &record.variant);
    let value = json!({"variant": variant, "recipe": whole.map(|v| &v.recipe), "config": whole.map(|v| &v.config)});
    output.result(&value, || variant_text(variant, &state))
}

fn node_text(node: &NodeReport, state: &RunState) -> String {
    let mut lines = vec![format!("{}: {}", node.id, node.title)];
    if let Some(strategy) = &node.strategy {
        lines.push(format!("kind: {}", strategy.kind.as_str()));
        lines.push(format!("hypothesis: {}", strategy.hypothesis));
        lines.push(format!("rationale: {}", strategy.rationale));
        lines.extend(strategy.evidence.iter().map(|fact| format!("evidence: {fact}")));
        lines.push(format!("expected effect: {:+.3}, prior {:.2}", strategy.expected_effect, strategy.prior));
    }
    if let Some((because, candidates)) = state.nodes.get(&node.id).and_then(|record| record.decision.as_ref()) {
        lines.push(format!("why now: {because}"));
        let shown = |one: &CandidateNumbers| {
            let CandidateNumbers { node, visits, value, prior, rank } = one;
            format!("  {node}: visits {visits}, value {value:.3}, prior {prior:.2}, rank {rank:.3}")
        };
        lines.extend(candidates.iter().map(shown));
    }
    if let Some(value) = node.value {
        lines.push(format!("value on select: {value:.3}"));
    }
    if let Some(comparison) = &node.comparison {
        let [low, high] = comparison.effect.ci95;
        let verdict = if comparison.significant { "significant" } else { "not significant" };
        let diff = comparison.effect.diff;
        lines.push(format!("against the incumbent: {diff:+.3} [{low:+.3}, {high:+.3}], {verdict}"));
    }
    lines.extend(node.variants.iter().map(|variant| format!("\n{}", variant_text(variant, state))));
    lines.push(format!("cost: {:.1} s wall, {:.1} s processor", node.cost.wall_s, node.cost.cpu_s));
    lines.join("\n")
}

fn variant_text(variant: &VariantReport, state: &RunState) -> String {
    let mut lines = vec![format!("{} ({})", variant.id, variant.state.as_str()), format!("  why: {}", variant.why)];
    lines.extend(variant.diff.iter().map(|(setting, (from, to))| format!("  {setting}: {from} → {to}")));
    for score in [&variant.search, &variant.select].into_iter().flatten() {
        let [low, high] = score.ci95;
        lines.push(format!("  {}: {:.3} [{low:.3}, {high:.3}] n={}", score.split, score.score, score.n));
    }
    if let (Some(first), Some(last)) = (variant.curve.first(), variant.curve.last()) {
        lines
            .push(format!("  loss: {:.3} at step {} → {:.3} at step {}", first.loss, first.step, last.loss, last.step));
    }
    for step in variant.ledger.iter().flat_map(|ledger| &ledger.steps) {
        lines.push(format!("  {}: {} → {} rows, {} changed", step.operator, step.rows_in, step.rows_out, step.changed));
    }
    let warnings = state.variants.get(&variant.id).into_iter().flat_map(|record| &record.warnings);
    lines.extend(warnings.map(|warning| format!("  warning: {warning}")));
    lines.extend(variant.note.iter().map(|note| format!("  note: {note}")));
    lines.join("\n")
}
