//! Names, specifications and declared shares.

use std::collections::BTreeMap;

use trex_domain::{DataSource, Problem as _, TaskKind};
use trex_ftbench::{MiniTask, mini_task, mini_tasks};

#[test]
fn ten_tasks_are_found_by_name() {
    let names: Vec<String> = mini_tasks().iter().map(MiniTask::name).collect();
    let expected: Vec<String> = (1..=10).map(|number| format!("ftbench/mini-{number}")).collect();
    assert_eq!(names, expected);
    for name in names {
        assert_eq!(mini_task(&name).map(|task| task.name()).ok(), Some(name));
    }
}

#[test]
fn an_unknown_name_gets_a_suggestion() {
    let Err(error) = mini_task("ftbench/mini7") else { panic!("found") };
    assert_eq!(error.to_string(), "no FT-Bench task is named \"ftbench/mini7\"");
    assert_eq!(error.code(), "ftbench.unknown_task");
    assert!(error.hint().unwrap().contains("ftbench/mini-7"));
}

#[test]
fn specifications_are_valid_and_complete() {
    for task in mini_tasks() {
        let spec = task.spec();
        spec.validate().unwrap();
        assert_eq!(spec.data, DataSource::Builtin { name: task.name() });
        assert_eq!((spec.splits.search, spec.splits.select, spec.splits.final_), (300, 400, 0));
        assert!(!task.title().is_empty() && !task.goal().is_empty());
        assert!(spec.kind == TaskKind::Choice || spec.prompt.options.is_empty(), "{}", task.name());
    }
}

#[track_caller]
fn check_shares(name: &str, declared: &[(&str, f64)]) {
    let data = mini_task(name).expect("a known name").generate(7);
    let rows = [&data.search[..], &data.select, &data.final_].concat();
    let mut counts = BTreeMap::new();
    for row in &rows {
        *counts.entry(row.answer.as_str()).or_insert(0.0) += 1.0;
    }
    for (label, share) in declared {
        let found = counts[label] / rows.len() as f64;
        assert!((found - share).abs() < 0.04, "{name} {label} {found}");
    }
}

#[test]
fn labels_come_with_their_declared_shares() {
    let skewed = [("billing", 0.35), ("login", 0.25), ("shipping", 0.2), ("refund", 0.12), ("other", 0.08)];
    check_shares("ftbench/mini-2", &skewed);
    check_shares("ftbench/mini-5", &["buy", "cancel", "track", "complain"].map(|label| (label, 0.25)));
}
