//! What an experiment taught, in plain words. Judges no significance itself: that comes in with the effect.

use trex_domain::{Effect, Insight, NodeId, RunState, Variant};

/// Settings that are named in a statement; the others are counted.
const NAMED: usize = 4;

/// States what the winner of a finished experiment changed and what came of it; nothing where nothing won.
///
/// `effect` is the winner against the incumbent of that time, on the select split.
pub fn distil(state: &RunState, node: &NodeId, effect: Effect, significant: bool) -> Vec<Insight> {
    let record = state.nodes.get(node).and_then(|node| node.winner.as_ref()).and_then(|id| state.variants.get(id));
    let (Some(record), Some(task)) = (record, &state.task) else {
        return Vec::new();
    };
    let variant = &record.variant;
    let changes = changes(variant);
    let metric = task.metric;
    let size = effect.diff.abs();
    let [low, high] = effect.ci95;
    let numbers = format!("95 % interval {low:+.3} to {high:+.3}, {} items", effect.n);
    let outcome = match (significant, effect.diff > 0.0) {
        (true, true) => format!("raised {metric} by {size:.3} over the incumbent ({numbers})"),
        (true, false) => format!("lowered {metric} by {size:.3} against the incumbent ({numbers})"),
        (false, _) => {
            format!("changed {metric} by {:+.3} against the incumbent, which may be chance ({numbers})", effect.diff)
        }
    };
    let from = variant.parent.as_ref().map_or("the task's starting point".to_owned(), ToString::to_string);
    let statement = format!("{changes}, starting from {from}, {outcome}");
    let scope = format!("task {}, model {}", task.name, task.model.0);
    vec![Insight { statement, scope, effect, significant, node: node.clone() }]
}

fn changes(variant: &Variant) -> String {
    let mut parts: Vec<_> = variant.diff.iter().take(NAMED).map(|(name, change)| change_text(name, change)).collect();
    if variant.diff.len() > NAMED {
        parts.push(format!("{} more changes", variant.diff.len() - NAMED));
    }
    if parts.is_empty() { "an unchanged configuration".to_owned() } else { parts.join(", ") }
}

fn change_text(name: &str, (from, to): &(String, String)) -> String {
    let setting = name.strip_prefix("recipe.").unwrap_or(name);
    match (from.as_str(), to.as_str()) {
        ("off", "on") => format!("adding {setting}"),
        ("off", _) => format!("adding {setting} ({to})"),
        (_, "off") => format!("removing {setting}"),
        _ => format!("{setting} {to} instead of {from}"),
    }
}
