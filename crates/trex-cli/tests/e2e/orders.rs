//! A person's orders about the tree from outside: given while nothing works on the run, foreseen, taken, and obeyed.

use serde_json::json;

use crate::program::{Program, TINY};

/// Begins a run that ends while its strategies wait for a person.
fn with_strategies() -> Program {
    let program = Program::new();
    program.write("tiny.toml", TINY.replace("trials = 6", "trials = 9"));
    let stages = ["requirement=100", "training=100", "data=100", "evaluation=100", "strategy=80"];
    let autonomy: Vec<&str> = stages.iter().flat_map(|stage| ["--autonomy", stage]).collect();
    let run = [&["run", "tiny.toml", "--workspace", "w", "--review", "--review-wait", "0"], &autonomy[..]].concat();
    assert_eq!(program.run(&run).code, Some(4));
    program
}

#[test]
fn orders_are_foreseen_taken_and_obeyed() {
    let program = with_strategies();
    let on_w = |args: &[&'static str]| [args, &["--workspace", "w"]].concat();
    program.refused(&on_w(&["pin", "s77"]), 3, "order.unknown_node");
    program.refused(&on_w(&["unpin", "s1"]), 3, "order.not_pinned");
    program.refused(&on_w(&["allow", "s1"]), 3, "order.not_forbidden");
    assert_eq!(program.run(&on_w(&["pin", "base"])).code, Some(2), "the base is no part that is searched");
    program.succeed(&on_w(&["pin", "s2"]));
    let told = program.succeed(&on_w(&["forbid", "s1", "--reason", "we tried that"]));
    assert!(told.stdout.contains("`trex resume` goes on with it"), "{told:?}");
    program.refused(&on_w(&["branch", "s1", "--set", "config.seed=5"]), 3, "order.forbidden");
    program.refused(&on_w(&["branch", "s2", "--set", "config.lora.rank=5"]), 3, "review.bad_edit");
    let start = &program.json(&on_w(&["show", "s2"]))["steering"];
    assert_eq!((&start["pinned"], &start["branch_from"]["config"]["learning_rate"]), (&json!(true), &json!(2e-4)));
    let given = program.json(&on_w(&["branch", "s2", "--set", "config.learning_rate=0.0003"]));
    assert_eq!((&given["number"], &given["order"]), (&json!(3), &json!("branch")));

    let shown = program.succeed(&on_w(&["show", "s1"])).stdout;
    assert!(shown.contains("forbidden by a person: we tried that"), "{shown}");
    let tree = program.succeed(&on_w(&["tree"])).stdout;
    assert!(tree.contains(" s1 ⊘ ") && tree.contains(" s2 ⚑ ") && tree.contains("s2.e1.a proposed"), "{tree}");
    let why = program.succeed(&on_w(&["why", "s2.e1.a"])).stdout;
    assert!(why.contains("order 3: a person branched s2 with config.learning_rate = 0.0003"), "{why}");

    program.succeed(&on_w(&["review", "approve", "r1"]));
    program.succeed(&on_w(&["resume"]));
    let events = program.events("w");
    let proposed = events.iter().filter(|event| event["type"] == "experiment_proposed");
    let nodes: Vec<&str> = proposed.map(|event| event["node"].as_str().unwrap()).collect();
    assert_eq!(nodes[0], "s2.e1", "{nodes:?}");
    assert!(nodes.iter().all(|node| !node.starts_with("s1.")), "{nodes:?}");
    let ordered = events.iter().filter(|event| event["type"] == "ordered");
    assert!(ordered.clone().all(|event| event["refused"].is_null()) && ordered.count() == 3, "{events:?}");
    let made = program.json(&on_w(&["show", "s2.e1.a"]));
    assert_eq!(made["config"]["learning_rate"], json!(3e-4));
    assert!(made["variant"]["search"]["score"].is_number(), "it was trained and scored: {made}");
    program.refused(&on_w(&["pin", "s2"]), 3, "order.search_over");
}
