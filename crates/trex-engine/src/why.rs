//! What the search chose and what a person ordered, as far as it concerns a node: for `trex why`. Looks things up and decides
//! nothing.

use std::collections::BTreeSet;

use trex_domain::{ActionCandidate, ActionRecord, NodeId, OrderRecord, RunState, SearchAction};

/// The actions that concern a node or variant, in order: those done with it or below it, and, where it was a candidate, those
/// that went to another. `base` asks how the search ended. `None` where there is no such node.
pub fn actions_about<'a>(state: &'a RunState, name: &str) -> Option<Vec<&'a ActionRecord>> {
    let is_base = name == NodeId::base().as_str();
    let is_known = is_base
        || state.nodes.keys().any(|node| node.as_str() == name)
        || state.variants.keys().any(|variant| variant.as_str() == name);
    if !is_known {
        return None;
    }
    let below = format!("{name}.");
    let concerns = |record: &&ActionRecord| {
        if is_base {
            return record.action == SearchAction::Stop;
        }
        record.subject == name
            || record.subject.starts_with(&below)
            || record.candidates.iter().any(|candidate| candidate.name == name)
    };
    Some(state.actions.iter().filter(concerns).collect())
}

/// An action in a sentence and a table of its candidates; the chosen one is marked.
pub fn action_text(record: &ActionRecord) -> String {
    let mut text = format!("{} {}: {}\n", record.action.as_str(), record.subject, record.because);
    let names: BTreeSet<&str> =
        record.candidates.iter().flat_map(|one| one.numbers.keys().map(String::as_str)).collect();
    if names.is_empty() {
        return text;
    }
    let mut rows = vec![["", "candidate"].into_iter().chain(names.iter().copied()).map(str::to_owned).collect()];
    rows.extend(record.candidates.iter().map(|one| row(record, one, &names)));
    text.push_str(&table(&rows));
    text
}

/// What a person ordered, in a sentence.
pub fn order_text(record: &OrderRecord) -> String {
    let refused = record.refused.as_ref().map(|why| format!("; it was not carried out: {why}")).unwrap_or_default();
    format!("order {}: {}{refused}", record.given.number, record.given.words())
}

fn row(record: &ActionRecord, candidate: &ActionCandidate, names: &BTreeSet<&str>) -> Vec<String> {
    // An experiment is begun below the strategy that was chosen.
    let below = format!("{}.", candidate.name);
    let is_chosen = record.subject == candidate.name
        || (record.action == SearchAction::Expand && record.subject.starts_with(&below));
    let mark = if is_chosen { "→" } else { "" };
    let numbers = names.iter().map(|name| candidate.numbers.get(*name).map_or_else(String::new, |value| shown(*value)));
    [mark.to_owned(), candidate.name.clone()].into_iter().chain(numbers).collect()
}

/// Whole numbers without digits behind the point, others with three.
fn shown(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.3}") }
}

/// Columns of equal width, two spaces apart, the first two aligned to the left.
fn table(rows: &[Vec<String>]) -> String {
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().enumerate().map(|(column, cell)| {
            let width = width(column).unwrap_or(0);
            if column < 2 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        let line = cells.collect::<Vec<_>>().join("  ");
        text.push_str("  ");
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(name: &str, numbers: &[(&str, f64)]) -> ActionCandidate {
        ActionCandidate {
            name: name.to_owned(),
            numbers: numbers.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect(),
        }
    }

    #[test]
    fn the_chosen_candidate_is_marked_and_numbers_stand_in_columns() {
        let record = ActionRecord {
            action: SearchAction::Expand,
            subject: "s2.e1".to_owned(),
            because: "highest PUCT score 0.612".to_owned(),
            candidates: vec![
                candidate("s1", &[("visits", 10.0), ("value", 0.25)]),
                candidate("s2", &[("visits", 1.0), ("value", 0.5), ("rank", 0.612)]),
            ],
        };
        let expected = "expand s2.e1: highest PUCT score 0.612\n     candidate   rank  value  visits\n     s1                0.250      10\n  \
                        →  s2         0.612  0.500       1\n";
        assert_eq!(action_text(&record), expected);
        let without = ActionRecord { candidates: Vec::new(), ..record };
        assert_eq!(action_text(&without).lines().count(), 1);
    }
}
