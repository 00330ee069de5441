//! The gates from outside: a run that waits, a person who decides in another terminal, and a run that goes on later.

use crate::program::Program;

const GATES: [&str; 9] = [
    "--review",
    "--autonomy",
    "requirement=100",
    "--autonomy",
    "training=100",
    "--autonomy",
    "data=100",
    "--autonomy",
    "evaluation=0",
];

#[test]
fn a_run_waits_for_a_person_and_takes_what_was_decided() {
    let program = Program::with_tiny_task();
    let strategies = ["--autonomy", "strategy=80", "--review-wait", "0"];
    let run = [&["run", "tiny.toml", "--workspace", "w"], &GATES[..], &strategies].concat();
    let refusal = program.run(&run);
    assert_eq!(refusal.code, Some(4), "{refusal:?}");
    assert!(refusal.stderr.contains("review.waits"), "{refusal:?}");
    let waiting = program.json(&["review", "list", "--workspace", "w"]);
    assert_eq!((waiting.as_array().map(Vec::len), &waiting[0]["stage"]), (Some(1), &"strategy".into()));
    assert_eq!(program.json(&["status", "--workspace", "w"])["waits_for"], serde_json::json!(["r1"]));
    let shown = program.json(&["review", "show", "r1", "--workspace", "w"]);
    assert!(shown["content"]["hypothesis"].is_string() && shown["risk"]["doubt"].is_number(), "{shown}");
    program.refused(&["review", "reject", "r1", "--workspace", "w"], 3, "review.no_reason");
    program.refused(&["review", "approve", "r9", "--workspace", "w"], 3, "review.unknown");
    program.refused(&["review", "edit", "r1", "--set", "node=s9", "--workspace", "w"], 3, "review.bad_edit");
    let reject = ["review", "reject", "r1", "--reason", "we tried that", "--minutes", "3", "--workspace", "w"];
    program.succeed(&reject);
    assert_eq!(program.json(&["review", "list", "--workspace", "w"])[0]["status"], "given");
    let held = program.run(&["resume", "--workspace", "w"]);
    assert_eq!(held.code, Some(4), "the sealed split waits as well: {held:?}");
    assert_eq!(program.json(&["review", "list", "--workspace", "w"])[0]["stage"], "evaluation");
    program.succeed(&["review", "approve", "r2", "--minutes", "1", "--workspace", "w"]);
    program.succeed(&["resume", "--workspace", "w"]);
    let all = program.json(&["review", "list", "--all", "--workspace", "w"]);
    let status: Vec<_> = all.as_array().unwrap().iter().map(|one| one["status"].as_str().unwrap()).collect();
    assert_eq!(status, ["rejected", "approved"]);
    let status = program.json(&["status", "--workspace", "w"]);
    assert!((status["cost"]["person_min"].as_f64().unwrap() - 4.0).abs() < 1e-9, "{status}");
}
