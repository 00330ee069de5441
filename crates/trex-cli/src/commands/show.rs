//! `trex show NODE`: why a node exists, what was expected, what happened, what it cost.

use std::fmt::Write as _;

use serde_json::json;
use trex_domain::{NodeReport, RunState, VariantReport};
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
    let mut text = format!("{}: {}\n", node.id, node.title);
    if let Some(strategy) = &node.strategy {
        write!(
            text,
            "kind: {}\nhypothesis: {}\nrationale: {}\n",
            strategy.kind.as_str(),
            strategy.hypothesis,
            strategy.rationale
        )
        .expect("writing to a string cannot fail");
        for fact in &strategy.evidence {
            text += &format!("evidence: {fact}\n");
        }
        text += &format!("expected effect: {:+.3}, prior {:.2}\n", strategy.expected_effect, strategy.prior);
    }
    if let Some((because, candidates)) = state.nodes.get(&node.id).and_then(|record| record.decision.as_ref()) {
        text += &format!("why now: {because}\n");
        for one in candidates {
            text += &format!(
                "  {}: visits {}, value {:.3}, prior {:.2}, rank {:.3}\n",
                one.node, one.visits, one.value, one.prior, one.rank
            );
        }
    }
    if let Some(value) = node.value {
        text += &format!("value on select: {value:.3}\n");
    }
    if let Some(comparison) = &node.comparison {
        let [low, high] = comparison.effect.ci95;
        let verdict = if comparison.significant { "significant" } else { "not significant" };
        text += &format!("against the incumbent: {:+.3} [{low:+.3}, {high:+.3}], {verdict}\n", comparison.effect.diff);
    }
    for variant in &node.variants {
        text += &format!("\n{}", variant_text(variant, state));
    }
    text + &format!("cost: {:.1} s wall, {:.1} s processor\n", node.cost.wall_s, node.cost.cpu_s)
}

fn variant_text(variant: &VariantReport, state: &RunState) -> String {
    let mut text = format!("{} ({})\n  why: {}\n", variant.id, variant.state.as_str(), variant.why);
    for (setting, (from, to)) in &variant.diff {
        text += &format!("  {setting}: {from} → {to}\n");
    }
    for score in [&variant.search, &variant.select].into_iter().flatten() {
        text += &format!(
            "  {}: {:.3} [{:.3}, {:.3}] n={}\n",
            score.split, score.score, score.ci95[0], score.ci95[1], score.n
        );
    }
    if let (Some(first), Some(last)) = (variant.curve.first(), variant.curve.last()) {
        text += &format!("  loss: {:.3} at step {} → {:.3} at step {}\n", first.loss, first.step, last.loss, last.step);
    }
    for step in variant.ledger.iter().flat_map(|ledger| &ledger.steps) {
        text += &format!("  {}: {} → {} rows, {} changed\n", step.operator, step.rows_in, step.rows_out, step.changed);
    }
    if let Some(record) = state.variants.get(&variant.id) {
        for warning in &record.warnings {
            text += &format!("  warning: {warning}\n");
        }
    }
    if let Some(note) = &variant.note {
        text += &format!("  note: {note}\n");
    }
    text
}
