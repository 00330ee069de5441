//! `trex bench requirements`: how much of written requirements is read as it was meant.

use std::collections::BTreeMap;

use serde_json::json;
use trex_research::requirements::{Rules, Share, analyse, requirement_cases};

use crate::error::CliError;
use crate::output::Output;

/// Counts by part and field, and what was wrong where that is asked for.
pub(super) fn run(list_wrong: bool, output: &mut Output) -> Result<(), CliError> {
    let rules = Rules::built_in()?;
    let mut counts: BTreeMap<(String, String), (usize, usize)> = BTreeMap::new();
    let mut wrong = Vec::new();
    for case in requirement_cases()? {
        let draft = analyse(&case.text, &case.given(), &rules);
        for (field, right) in case.judged(&draft) {
            for name in [field.clone(), "all fields".to_owned()] {
                let count = counts.entry((case.part.clone(), name)).or_default();
                count.0 += usize::from(right);
                count.1 += 1;
            }
            if !right {
                wrong.push(format!("{}: {field}", case.id));
            }
        }
    }
    let shares: Vec<_> =
        counts.iter().map(|((part, field), (right, n))| (part, field, Share::of(*right, *n))).collect();
    let value: Vec<_> =
        shares.iter().map(|(part, field, share)| json!({"part": part, "field": field, "share": share})).collect();
    output.result(&json!({"reader": "playbook", "shares": value, "wrong": wrong}), || {
        let line = |(part, field, share): &(&String, &String, Share)| {
            let [low, high] = share.ci95;
            format!("{part:<6}{field:<18}{:.3} [{low:.3}, {high:.3}] n={}", share.value, share.n)
        };
        let mut lines: Vec<String> = shares.iter().map(line).collect();
        if list_wrong {
            lines.extend(wrong.iter().map(|one| format!("wrong  {one}")));
        }
        lines.join("\n")
    })
}
