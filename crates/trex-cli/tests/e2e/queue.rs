//! Several tasks in one queue: who goes first, that turns and interruptions change no result, and what is refused.

use std::time::Duration;

use serde_json::Value;

use crate::outcome::Outcome;
use crate::program::{Program, TINY, parse};

/// Numbers of the entries in the order in which they had the machine.
fn turns(lines: &[Value]) -> Vec<u64> {
    let begins = lines.iter().filter(|line| line["type"] == "queue_turn" && line["what"] == "begins");
    begins.map(|line| line["entry"]["id"].as_u64().unwrap()).collect()
}

fn states(program: &Program) -> Vec<String> {
    let queue = program.json(&["queue", "list"]);
    let entries = queue["entries"].as_array().unwrap();
    entries.iter().map(|entry| entry["state"].as_str().unwrap().to_owned()).collect()
}

fn with_tiny_tasks(workspaces: &[(&str, &str)]) -> Program {
    let program = Program::with_tiny_task();
    for (workspace, priority) in workspaces {
        let add = ["queue", "add", "tiny.toml", "--workspace", workspace, "--priority", priority];
        program.succeed(&[&add[..], &["--", "--seed", "2", "--threads", "1"]].concat());
    }
    program
}

#[test]
fn tasks_take_turns_and_come_to_the_result_that_they_have_alone() {
    let program = with_tiny_tasks(&[("low", "-1"), ("one", "0"), ("two", "0")]);
    program.succeed(&["run", "tiny.toml", "--workspace", "alone", "--seed", "2", "--threads", "1"]);
    let done = program.succeed(&["queue", "run", "--turn-minutes", "0.01", "--json"]);
    let turns = turns(&done.lines());
    // Whose turn is the third depends on how long the first two took.
    assert_eq!(turns[..2], [2, 3], "equal ones take turns: {turns:?}");
    assert!(turns.len() > 3, "nobody was interrupted: {turns:?}");
    assert_eq!(turns.last(), Some(&1), "the lowest goes last: {turns:?}");
    assert_eq!(turns.iter().filter(|id| **id == 1).count(), 1, "nobody interrupts the last one: {turns:?}");
    assert_eq!(states(&program), ["done", "done", "done"]);
    let alone = Outcome::of(&program, "alone");
    for workspace in ["low", "one", "two"] {
        alone.assert_equals(&Outcome::of(&program, workspace));
    }
    assert_eq!(program.json(&["queue", "clear"])["entries"], serde_json::json!([]));
}

#[test]
fn what_is_added_with_a_higher_priority_interrupts() {
    let program = with_tiny_tasks(&[("low", "0")]);
    program.write("long.toml", TINY.replace("trials = 6", "trials = 40").replace("\"tiny\"", "\"long\""));
    program.succeed(&["queue", "remove", "1"]);
    program.succeed(&["queue", "add", "long.toml", "--workspace", "low"]);
    let worker = program.command(&["queue", "run", "--json"]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    while !program.path("low/workspace.db").is_file() {
        std::thread::sleep(Duration::from_millis(20));
    }
    program.refused(&["queue", "run"], 4, "queue.at_work");
    let added = program.json(&["queue", "add", "tiny.toml", "--workspace", "high", "--priority", "3"]);
    assert_eq!((&added["id"], &added["at_work"]), (&3.into(), &true.into()));
    while states(&program).get(1).is_none_or(|state| state != "done") {
        std::thread::sleep(Duration::from_millis(100));
    }
    // The interrupted one has not ended; held, it leaves the queue without anything to do.
    program.succeed(&["queue", "hold", "2"]);
    let output = worker.wait_with_output().unwrap();
    let lines: Vec<Value> = String::from_utf8(output.stdout).unwrap().lines().map(parse).collect();
    assert_eq!(turns(&lines)[..2], [2, 3], "{lines:?}");
    assert_eq!(states(&program), ["held", "done"]);
    program.refused(&["run", "long.toml", "--workspace", "low"], 3, "run.unfinished");
    program.succeed(&["queue", "release", "2"]);
    assert_eq!(states(&program), ["waiting", "done"]);
}

/// The run of a queue that is killed goes on by itself; the next queue waits for it, and does not begin it a second time.
#[test]
fn a_killed_queue_is_gone_on_with() {
    let program = with_tiny_tasks(&[("one", "0")]);
    let mut worker = program.command(&["queue", "run"]).stderr(std::process::Stdio::null()).spawn().unwrap();
    while program.run(&["status", "--workspace", "one"]).code != Some(0) {
        std::thread::sleep(Duration::from_millis(50));
    }
    worker.kill().unwrap();
    worker.wait().unwrap();
    program.succeed(&["queue", "run"]);
    assert_eq!(states(&program), ["done"]);
    let starts = program.events("one").iter().filter(|event| event["type"] == "run_started").count();
    assert_eq!(starts, 1);
    let report = program.json(&["report", "--workspace", "one"]);
    assert_eq!(report["status"], "finished");
}

#[test]
fn what_cannot_run_is_refused_before_it_waits() {
    let program = with_tiny_tasks(&[("w", "0")]);
    program.write("bad.toml", TINY.replace("accuracy", "acuracy"));
    let add = |task, more: &'static [&'static str]| [&["queue", "add", task, "--workspace", "v"][..], more].concat();
    program.refused(&add("ftbench/mini-99", &[]), 3, "task.unknown");
    // `--json` behind the two dashes would be the run's.
    let done = program.run(&add("tiny.toml", &["--", "--sede", "3"]));
    assert!(done.code == Some(3) && done.stderr.contains("queue.bad_arguments"), "{done:?}");
    assert!(done.stderr.contains("--seed"), "{done:?}");
    assert_eq!(program.run(&add("bad.toml", &[])).code, Some(3));
    program.refused(&["queue", "add", "tiny.toml", "--workspace", "w"], 3, "queue.twice");
    program.refused(&["queue", "hold", "9"], 3, "queue.unknown");
    program.refused(&["queue", "move", "1", "--before", "9"], 3, "queue.unknown");
    program.refused(&["queue", "run", "--turn-minutes", "0"], 3, "queue.bad_turn");
    assert_eq!(states(&program), ["waiting"]);
    let done = program.succeed(&["queue", "list"]);
    assert!(done.stdout.contains("not worked off") && done.stdout.contains("priority 0"), "{done:?}");
}

/// A run that fails says why in the list, and the next one has its turn.
#[test]
fn a_failed_run_keeps_nobody_waiting() {
    let program = with_tiny_tasks(&[("one", "1"), ("two", "0")]);
    program.write("tiny.toml", TINY.replace("accuracy", "acuracy"));
    program.write("other.toml", TINY);
    program.succeed(&["queue", "remove", "2"]);
    program.succeed(&["queue", "add", "other.toml", "--workspace", "two"]);
    program.succeed(&["queue", "run"]);
    assert_eq!(states(&program), ["failed", "done"]);
    let queue = program.json(&["queue", "list"]);
    let note = queue["entries"][0]["note"].as_str().unwrap();
    assert!(note.contains("acuracy") || note.starts_with("error["), "{note}");
}
