//! `trex show NODE`: why a node exists, what was expected, what happened, what it cost.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use trex_domain::{CandidateNumbers, NodeReport, NodeState, RunState, TreePart, VariantReport};
use trex_engine::{branch_start, why_best};

use crate::args::NodeArgs;
use crate::commands::report::latest;
use crate::error::{CliError, CommandError};
use crate::output::Output;

pub(crate) fn run(args: &NodeArgs, output: &mut Output) -> Result<(), CliError> {
    let latest = latest(&args.workspace)?.foreseen(&args.workspace.workspace);
    let report = latest.report(BTreeMap::new());
    let view = View { at_work: latest.at_work, state: &latest.state, why_best: why_best(&report) };
    let state = view.state;
    if let Some(node) = report.nodes.iter().find(|node| node.id.as_str() == args.node) {
        let decision = state.nodes.get(&node.id).and_then(|record| record.decision.clone());
        let warm_start = state.warm_start.as_ref().filter(|_| node.parent.is_none());
        let steering = steering(state, &args.node)?;
        let value = json!({"node": node, "decision": decision, "warm_start": warm_start, "steering": steering});
        return output.result(&value, || node_text(node, &view));
    }
    let variants = report.nodes.iter().flat_map(|node| &node.variants);
    let Some(variant) = variants.into_iter().find(|variant| variant.id.as_str() == args.node) else {
        return Err(CommandError::UnknownNode { name: args.node.clone() }.into());
    };
    let whole = state.variants.get(&variant.id).map(|record| &record.variant);
    let value = json!({
        "variant": variant,
        "recipe": whole.map(|v| &v.recipe),
        "config": whole.map(|v| &v.config),
        "steering": steering(state, &args.node)?,
    });
    output.result(&value, || {
        let why = view.why_best_of(variant).map(|why| format!("\n  {why}")).unwrap_or_default();
        variant_text(variant, &view) + &why
    })
}

/// What a person ordered of a node, and what a branch of it starts from; nothing of the base, about which there are no orders.
fn steering(state: &RunState, name: &str) -> Result<Option<Value>, CliError> {
    let Ok(part) = name.parse::<TreePart>() else { return Ok(None) };
    let start = branch_start(state, &part)?;
    Ok(Some(json!({
        "pinned": state.is_pinned(name),
        "forbidden": state.forbidden_by(name).map(|(by, reason)| json!({"by": by, "reason": reason})),
        "branch_from": {"variant": start.parent, "recipe": start.recipe, "config": start.config},
    })))
}

/// What a person ordered of a node, in lines.
fn steering_lines(state: &RunState, name: &str) -> Vec<String> {
    let pinned = state.is_pinned(name).then(|| "pinned by a person: it goes before others".to_owned());
    let forbidden = state.forbidden_by(name).map(|(by, reason)| {
        let what = if by.as_str() == name { String::new() } else { format!(" with {by}") };
        format!("forbidden by a person{what}: {reason}")
    });
    pinned.into_iter().chain(forbidden).collect()
}

/// What the texts of nodes and variants look up.
struct View<'a> {
    state: &'a RunState,
    at_work: bool,
    why_best: Option<String>,
}

impl View<'_> {
    /// Why the variant is not the best although it has the highest score, or is the best although it has not.
    fn why_best_of(&self, variant: &VariantReport) -> Option<&str> {
        let why = self.why_best.as_deref()?;
        let is_best = self.state.incumbent.as_ref() == Some(&variant.id);
        let is_highest = why.split(' ').next() == Some(variant.id.as_str());
        (is_best || is_highest).then_some(why)
    }

    fn state_of(&self, variant: &VariantReport) -> &'static str {
        let is_interrupted = variant.state == NodeState::Running && !self.at_work;
        if is_interrupted { "interrupted" } else { variant.state.as_str() }
    }
}

fn node_text(node: &NodeReport, view: &View<'_>) -> String {
    let mut lines = vec![format!("{}: {}", node.id, node.title)];
    lines.extend(steering_lines(view.state, node.id.as_str()));
    if let Some(strategy) = &node.strategy {
        lines.push(format!("kind: {}", strategy.kind.as_str()));
        lines.push(format!("hypothesis: {}", strategy.hypothesis));
        lines.push(format!("rationale: {}", strategy.rationale));
        lines.extend(strategy.evidence.iter().map(|fact| format!("evidence: {fact}")));
        lines.push(format!("expected effect: {:+.3}, prior {:.2}", strategy.expected_effect, strategy.prior));
    }
    if let Some((because, candidates)) = view.state.nodes.get(&node.id).and_then(|record| record.decision.as_ref()) {
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
    let taken = view.state.warm_start.iter().filter(|_| node.parent.is_none()).flat_map(trex_domain::WarmStart::lines);
    lines.extend(taken.map(|line| format!("warm start: {line}")));
    lines.extend(node.variants.iter().map(|variant| format!("\n{}", variant_text(variant, view))));
    let concerned = node.parent.is_none() || node.variants.iter().any(|variant| view.why_best_of(variant).is_some());
    lines.extend(view.why_best.iter().filter(|_| concerned).map(|why| format!("\n{why}")));
    lines.push(format!("cost: {:.1} s wall, {:.1} s processor", node.cost.wall_s, node.cost.cpu_s));
    lines.join("\n")
}

fn variant_text(variant: &VariantReport, view: &View<'_>) -> String {
    let mut lines = vec![format!("{} ({})", variant.id, view.state_of(variant)), format!("  why: {}", variant.why)];
    lines.extend(steering_lines(view.state, variant.id.as_str()).iter().map(|line| format!("  {line}")));
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
    let warnings = view.state.variants.get(&variant.id).into_iter().flat_map(|record| &record.warnings);
    lines.extend(warnings.map(|warning| format!("  warning: {warning}")));
    lines.extend(variant.note.iter().map(|note| format!("  note: {note}")));
    lines.join("\n")
}
