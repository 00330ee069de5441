//! `trex kb`, and what a run takes from the ones before it.

use serde_json::Value;

use crate::program::{Done, Program};

/// The program with a knowledge base of its own.
#[track_caller]
fn run(program: &Program, base: &str, args: &[&str]) -> Done {
    let output = program.command(args).env("TREX_KNOWLEDGE", program.path(base)).output().unwrap();
    Done::new(args, output)
}

#[track_caller]
fn json(program: &Program, base: &str, args: &[&str]) -> Vec<Value> {
    let done = run(program, base, &[args, &["--json"]].concat());
    assert_eq!(done.code, Some(0), "{done:?}");
    done.lines()
}

#[test]
fn documents_are_added_found_shown_and_removed() {
    let program = Program::new();
    program.write("papers/lora.md", "# LoRA\n## Method\nLow-rank adapters are added to frozen weights.\n");
    program.write("papers/refs.bib", "@misc{sgd, title={Stochastic descent}}");
    program.write("papers/broken.pdf", "%PDF-1.4 nothing");
    let added = &json(&program, "k.db", &["kb", "add", "papers"])[0];
    assert_eq!((added["documents"].as_array().unwrap().len(), added["failed"].as_array().unwrap().len()), (2, 1));
    let again = &json(&program, "k.db", &["kb", "add", "papers/lora.md"])[0];
    assert_eq!(again["documents"][0]["new"], false);

    let found = &json(&program, "k.db", &["kb", "search", "frozen", "weight"])[0];
    assert_eq!((&found["by"], found["passages"].as_array().unwrap().len()), (&"words".into(), 1));
    let id = found["passages"][0]["passage"]["id"].as_str().unwrap().to_owned();
    let shown = run(&program, "k.db", &["kb", "show", &id]).stdout;
    assert!(shown.contains("LoRA > Method") && shown.contains("frozen weights."), "{shown}");

    let list = &json(&program, "k.db", &["kb", "list"])[0];
    let paper = list["documents"].as_array().unwrap().iter().find(|one| one["title"] == "LoRA").unwrap();
    let hash = paper["hash"].as_str().unwrap()[..12].to_owned();
    let graph = run(&program, "k.db", &["kb", "graph"]).stdout;
    assert!(graph.contains(&format!("paper:{hash}")), "{graph}");
    assert_eq!(run(&program, "k.db", &["kb", "remove", &hash]).code, Some(0));
    assert!(run(&program, "k.db", &["kb", "search", "frozen"]).stdout.contains("nothing found"));

    assert_eq!(run(&program, "k.db", &["kb", "show", &hash]).code, Some(3));
    program.refused(&["kb", "list"], 3, "knowledge.off");
    program.refused(&["kb", "key", "tiny-missing-folder/key"], 3, "fs.not_found");
}

#[test]
fn a_run_learns_from_the_one_before_it_and_labs_share_what_they_know() {
    let program = Program::with_tiny_task();
    let train = |base: &str, workspace: &str, more: &[&str]| -> Vec<Value> {
        json(&program, base, &[&["run", "tiny.toml", "--workspace", workspace], more].concat())
    };
    let starts = |lines: &[Value]| lines.iter().filter(|line| line["type"] == "warm_started").count();
    assert_eq!(starts(&train("ours.db", "one", &[])), 0, "nothing is known yet");
    let two = train("ours.db", "two", &["--seed", "2"]);
    let helped =
        two.iter().any(|line| line["type"] == "warm_started" && line["warm_start"]["observations"] != Value::Null);
    assert!(helped, "{:?}", two.first());
    let shown = program.succeed(&["show", "base", "--workspace", "two"]).stdout;
    assert!(shown.contains("warm start: similar task tiny"), "{shown}");
    let report = program.succeed(&["report", "--workspace", "two"]).stdout;
    assert!(report.contains("Taken from similar past tasks"), "{report}");
    assert_eq!(starts(&train("ours.db", "three", &["--seed", "3", "--no-warm-start"])), 0);

    // What leaves is what the preview shows; no row of the data and no path is in it.
    let preview = run(&program, "ours.db", &["kb", "export", "b.trexkb", "--preview"]).stdout;
    assert!(preview.contains("lessons.jsonl: ") && !program.path("b.trexkb").exists(), "{preview}");
    let home = program.path("").display().to_string();
    assert!(!preview.contains(home.trim_end_matches('/')), "{preview}");
    let public = json(&program, "ours.db", &["kb", "key", "key"])[0]["public_key"].as_str().unwrap().to_owned();
    assert_eq!(run(&program, "ours.db", &["kb", "export", "b.trexkb", "--sign", "key"]).code, Some(0));

    let merged = json(&program, "theirs.db", &["kb", "import", "b.trexkb", "--trust", &public]).remove(0);
    assert_eq!(merged["merged"]["lessons_added"], 3);
    let again = json(&program, "theirs.db", &["kb", "import", "b.trexkb"]).remove(0);
    assert_eq!((&again["merged"]["lessons_added"], &again["merged"]["lessons_known"]), (&0.into(), &3.into()));
    let stranger = "00".repeat(32);
    assert_eq!(run(&program, "theirs.db", &["kb", "import", "b.trexkb", "--trust", &stranger]).code, Some(3));
    assert_eq!(starts(&train("theirs.db", "four", &["--seed", "4"])), 1, "what came with the bundle helps");

    // A workspace can teach again, which changes nothing.
    let before = json(&program, "ours.db", &["kb", "list"]);
    assert_eq!(run(&program, "ours.db", &["kb", "learn", "--workspace", "two"]).code, Some(0));
    assert_eq!(json(&program, "ours.db", &["kb", "list"]), before);
}
