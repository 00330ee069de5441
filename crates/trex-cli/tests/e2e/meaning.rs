//! What rows mean, as a person asks for it: search, semantic steps, losses of the base model, pages, and the history of a
//! recipe; with a tiny encoder of random weights in the place of the real one, and without any.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::Value;
use trex_testkit::{ModelServer, Reaction};

use crate::program::Program;

const ROWS: [&str; 5] = [
    "{\"instruction\":\"The capital of France is Paris\",\"output\":\"yes\"}",
    "{\"instruction\":\"the capital of france is paris\",\"output\":\"it is\"}",
    "{\"instruction\":\"17 is a prime number\",\"output\":\"yes, it is a prime\"}",
    "{\"instruction\":\"Water boils at 100 degrees\",\"output\":\"at sea level\"}",
    "{\"instruction\":\"Machine learning\",\"output\":\"a word\"}",
];

const DEDUP: &str = "name = \"r\"\n[[sources]]\npath = \"rows.jsonl\"\n[[operators]]\nop = \"semantic_dedup\"\n";

fn program() -> Program {
    let program = Program::new();
    program.write("rows.jsonl", ROWS.join("\n"));
    program.write("r.toml", DEDUP);
    program
}

/// Puts the tiny encoder where `cargo xtask setup` puts the real one.
fn add_encoder(program: &Program) {
    let tiny = Path::new(env!("CARGO_MANIFEST_DIR")).join("../trex-train/tests/golden/encoder");
    for file in ["config.json", "tokenizer.json", "sentence_bert_config.json", "model.safetensors"] {
        program.write(&format!("cache/all-minilm-l6-v2/{file}"), fs::read(tiny.join(file)).unwrap());
    }
}

/// The last line of a recipe run.
#[track_caller]
fn run(program: &Program, recipe: &str, more: &[&str]) -> Value {
    let args = [&["recipe", "run", recipe, "--workspace", "w", "--json"], more].concat();
    program.succeed(&args).lines().pop().unwrap()
}

#[test]
fn rows_are_found_by_meaning_or_by_words() {
    let program = program();
    let by_words = program.json(&["data", "search", "rows.jsonl", "prime number"]);
    assert_eq!((&by_words["by"], &by_words["hits"][0]["row"]["id"]), (&"words".into(), &"rows.jsonl/2".into()));
    let text = program.succeed(&["data", "search", "rows.jsonl", "prime number"]).stdout;
    assert!(text.starts_with("note: no embedding model") && text.contains("cargo xtask setup"), "{text}");
    add_encoder(&program);
    let args = ["data", "search", "rows.jsonl", "The capital of France is Paris\nyes", "--rows", "2"];
    let by_meaning = program.json(&args);
    assert_eq!((&by_meaning["by"], &by_meaning["hits"][0]["row"]["id"]), (&"meaning".into(), &"rows.jsonl/0".into()));
    assert!(by_meaning["hits"][0]["score"].as_f64().is_some_and(|score| score > 0.999), "{by_meaning}");
    assert_eq!(by_meaning["hits"].as_array().map(Vec::len), Some(2));
    assert_eq!(program.json(&args), by_meaning, "found in what was measured before");
}

#[test]
fn a_semantic_step_says_when_it_does_nothing() {
    let program = program();
    let without = run(&program, "r.toml", &[]);
    assert_eq!(without["outcome"]["rows"][0], 5);
    let skipped = without["outcome"]["traces"][0]["skipped"].as_str().unwrap();
    assert!(skipped.contains("no embedding model"), "{skipped}");
    let text = program.succeed(&["recipe", "run", "r.toml", "--workspace", "w"]).stdout;
    assert!(text.contains("note: semantic_dedup did nothing: no embedding model"), "{text}");
    add_encoder(&program);
    let with = run(&program, "r.toml", &[]);
    assert_eq!((&with["cached"], &with["outcome"]["rows"][0]), (&false.into(), &4.into()), "made anew with the model");
    assert_eq!(with["outcome"]["ledger"]["steps"][0]["dropped"]["prompt means nearly the same as an earlier one"], 1);
    assert_eq!(run(&program, "r.toml", &[])["cached"], true);
    let list = program.succeed(&["model", "list"]).stdout;
    assert!(list.contains("all-minilm-l6-v2\t") && list.contains("for semantic steps"), "{list}");
    let doctor = program.succeed(&["doctor", "--workspace", "w"]).stdout;
    assert!(doctor.contains("ok   embedding model: all-minilm-l6-v2"), "{doctor}");
    // A damaged model is not taken for a missing one.
    program.write("cache/all-minilm-l6-v2/config.json", "{}");
    program.refused(&["recipe", "run", "r.toml", "--workspace", "x"], 3, "model.bad_config");
}

#[test]
fn losses_are_measured_by_the_model_that_is_named() {
    let program = program();
    let recipe = DEDUP.replace("semantic_dedup", "difficulty_filter") + "drop_easiest = 0.4\ndrop_hardest = 0.0\n";
    program.write("hard.toml", &recipe);
    program.refused(&["recipe", "run", "hard.toml", "--workspace", "w"], 3, "data.no_losses");
    let made = run(&program, "hard.toml", &["--model", "bundled"]);
    assert_eq!(made["outcome"]["rows"][0], 3);
    assert_eq!(made["outcome"]["ledger"]["steps"][0]["dropped"]["easy for the base model"], 2);
    // The losses of the same rows, as a file, leave the same rows.
    let entries = fs::read_dir(program.path("w/prepared")).unwrap().map(|entry| entry.unwrap().path());
    let path = entries.into_iter().find(|path| path.to_string_lossy().contains("losses-")).unwrap();
    let measured: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let losses = measured["losses"].as_array().unwrap();
    assert!(losses.iter().all(|loss| loss.as_f64().is_some_and(|loss| loss > 0.0)), "{losses:?}");
    let mut lines = String::new();
    for (row, loss) in losses.iter().enumerate() {
        writeln!(lines, "{{\"id\":\"rows.jsonl/{row}\",\"loss\":{loss}}}").unwrap();
    }
    program.write("losses.jsonl", lines);
    let given = run(&program, "hard.toml", &["--losses", "losses.jsonl"]);
    assert_eq!((&given["cached"], &given["outcome"]["train"]), (&false.into(), &made["outcome"]["train"]));
}

#[test]
fn texts_are_written_by_the_model_that_is_named() {
    let program = program();
    let recipe = DEDUP.replace("semantic_dedup", "rejected_synthesis") + "samples = 2\nmax_new_tokens = 12\n";
    program.write("pairs.toml", &recipe);
    program.refused(&["recipe", "run", "pairs.toml", "--workspace", "w"], 3, "data.no_writer");
    let made = run(&program, "pairs.toml", &["--writer", "bundled", "--out", "pairs"]);
    let step = &made["outcome"]["ledger"]["steps"][0];
    let count = |key: &str| step[key].as_u64().unwrap_or(0);
    let num_rejected: u64 = step["rejected"].as_object().into_iter().flatten().filter_map(|(_, n)| n.as_u64()).sum();
    assert!(count("changed") > 0 && count("written") == count("changed") + num_rejected, "{step}");
    let models = made["outcome"]["models"][0].as_str().unwrap();
    assert!(models.starts_with("writer/"), "{models}");
    assert_eq!(run(&program, "pairs.toml", &["--writer", "bundled"])["cached"], true);
    let args = ["recipe", "run", "pairs.toml", "--workspace", "other", "--model", "bundled"];
    let text = program.succeed(&args).stdout;
    assert!(text.contains(&format!("{} texts written, {} taken", count("written"), count("changed"))), "{text}");
    let rows = fs::read_to_string(program.path("pairs/train.jsonl")).unwrap();
    assert_eq!(rows.lines().count(), ROWS.len(), "{rows}");
    let server = ModelServer::start(vec![Reaction::Says("quite another thing".to_owned())]);
    let asked = run(&program, "pairs.toml", &["--writer", server.address()]);
    let step = &asked["outcome"]["ledger"]["steps"][0];
    assert_eq!((&step["changed"], &step["written"]), (&5.into(), &5.into()), "{step}");
    assert_eq!(server.heard().len(), 5);
    let elsewhere = ["recipe", "run", "pairs.toml", "--workspace", "w", "--writer", "openai:gpt"];
    program.refused(&elsewhere, 3, "net.offline");
}

#[test]
fn pages_hold_the_rows_of_a_filter() {
    let program = program();
    let page = |number: &str| {
        let args = ["data", "show", "rows.jsonl", "--filter", "is", "--rows", "2", "--page", number];
        program.json(&args)
    };
    let first = page("1");
    assert_eq!(
        (&first["total"], &first["pages"], &first["rows"][0]["id"]),
        (&3.into(), &2.into(), &"rows.jsonl/0".into())
    );
    assert_eq!(page("2")["rows"].as_array().map(Vec::len), Some(1));
    assert_eq!(page("3")["rows"].as_array().map(Vec::len), Some(0));
    let text = program.succeed(&["data", "show", "rows.jsonl", "--page", "2", "--rows", "3"]).stdout;
    assert!(text.contains("rows.jsonl/3") && text.trim_end().ends_with("page 2 of 2, 5 rows of 5"), "{text}");
    program.write("rows.jsonl", ROWS[2]);
    assert_eq!(page("1")["total"], 1, "another content has another index");
}

#[test]
fn the_versions_of_a_recipe_are_kept() {
    let program = program();
    let before = program.succeed(&["recipe", "history", "r.toml", "--workspace", "w"]).stdout;
    assert!(before.contains("holds no run of a recipe named \"r\""), "{before}");
    run(&program, "r.toml", &[]);
    program.write("r.toml", DEDUP.replace("semantic_dedup", "exact_dedup"));
    run(&program, "r.toml", &[]);
    let versions = program.json(&["recipe", "history", "r.toml", "--workspace", "w"]);
    assert_eq!(versions.as_array().map(Vec::len), Some(2), "{versions}");
    let text = program.succeed(&["recipe", "history", "r", "--workspace", "w"]).stdout;
    assert!(text.contains("~ operators.order: semantic_dedup → exact_dedup"), "{text}");
}
