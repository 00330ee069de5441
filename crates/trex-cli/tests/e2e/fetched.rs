//! Rows from the hub, all the way: fetched from a hub on the loopback device, compared with evaluation items, trained on.

use std::fmt::Write as _;
use std::fs;

use serde_json::Value;
use trex_testkit::HubServer;

use crate::program::{Done, Program};

/// Rows of the data set that have nothing of an evaluation item in them.
const CLEAN: usize = 60;

/// Rows that share much with an evaluation item: the same, nearly the same, with much of one in them, and nearly one that is
/// too short for shared runs of words.
const LEAKED: [&str; 4] = [
    "does the small grey mouse of the miller like the old yellow cheese from the cellar",
    "does the small grey mouse of the miller like the old yellow cheese from the kitchen",
    "well now, one more: the brown horse of the smith sleeps in the new barn by the river tonight, or so they say",
    "is the moon made of green cheese then",
];

/// Evaluation items.
const ITEMS: [&str; 3] = [
    "does the small grey mouse of the miller like the old yellow cheese from the cellar",
    "the brown horse of the smith sleeps in the new barn by the river tonight",
    "is the moon made of green cheese",
];

const TASK: &str = r#"
name = "fetched"
goal = "Say whether it is large or small."
kind = "choice"
metric = "accuracy"

[data]
train = "made/train.jsonl"
license = "cc-by-4.0"

[prompt]
options = ["large", "small"]

[splits]
search = 12
select = 12
final = 12

[train]
learning_rate = 2e-4
max_steps = 4
per_device_train_batch_size = 4
max_length = 96

[budget]
trials = 2

[search]
rungs = 1
batch = 1
base_seeds = 2
finalist_seeds = 0
"#;

fn row(text: &str, answer: &str) -> String {
    format!("{}\n", serde_json::json!({"prompt": text, "completion": answer}))
}

/// The data set: clean rows, one of them twice, and the leaked ones.
fn rows() -> String {
    let animals = ["whale", "wren", "elephant", "ant", "bear", "bee"];
    let mut rows = String::new();
    for number in 0..CLEAN {
        let animal = animals[number % animals.len()];
        let answer = if number % 2 == 0 { "large" } else { "small" };
        write!(rows, "{}", row(&format!("case {number}: what is animal {animal} number {}", number * 7), answer))
            .unwrap();
    }
    rows += &row("case 0: what is animal whale number 0", "large");
    for text in LEAKED {
        rows += &row(text, "small");
    }
    rows
}

fn fetch(program: &Program, hub: &HubServer, offline: &str) -> Done {
    let args = [
        "net",
        "fetch",
        "owner/name",
        "--only",
        "train",
        "--evaluation",
        "items.jsonl",
        "--out",
        "fetched.toml",
        "--json",
    ];
    let mut command = program.command(&args);
    command.env("HF_ENDPOINT", hub.address()).env("HF_HUB_OFFLINE", offline).env_remove("TREX_OFFLINE");
    Done::new(&args, command.output().unwrap())
}

#[test]
fn rows_of_the_hub_are_compared_with_evaluation_items_before_they_are_trained_on() {
    let program = Program::new();
    let rows = rows();
    let hub = HubServer::start(&[("data/train.jsonl", &rows), ("data/test.jsonl", "{}\n"), ("load.py", "import os")]);
    program.write("items.jsonl", ITEMS.map(|text| row(text, "small")).concat());
    program.write("task.toml", TASK);

    assert_eq!(fetch(&program, &hub, "1").code, Some(3), "offline nothing is fetched");
    assert_eq!(hub.connections(), 0);
    assert!(!program.path("fetched.toml").exists());
    let done = fetch(&program, &hub, "0");
    assert_eq!(done.code, Some(0), "{done:?}");
    let fetched = &done.lines()[0]["dataset"];
    assert_eq!((&fetched["licence"], &fetched["files"].as_array().map(Vec::len)), (&"cc-by-4.0".into(), &Some(1)));

    let run = ["recipe", "run", "fetched.toml", "--workspace", "w", "--out", "made", "--json"];
    let outcome = program.succeed(&run).lines().pop().unwrap()["outcome"].clone();
    assert_eq!((&outcome["rows"][0], &outcome["is_decontaminated"]), (&CLEAN.into(), &true.into()), "{outcome}");
    let dropped = |step: usize| -> u64 {
        let dropped = outcome["ledger"]["steps"][step]["dropped"].as_object().cloned().unwrap_or_default();
        dropped.values().filter_map(Value::as_u64).sum()
    };
    assert_eq!((dropped(0), dropped(1) + dropped(2)), (1, LEAKED.len() as u64), "{outcome}");
    assert!(dropped(1) > 0 && dropped(2) > 0, "words in a row and near-duplicates are both looked for: {outcome}");
    let train = fs::read_to_string(program.path("made/train.jsonl")).unwrap();
    assert!(!["mouse", "smith", "moon"].iter().any(|word| train.contains(word)), "{train}");
    let card = fs::read_dir(program.path("made")).unwrap().map(|one| one.unwrap().path());
    let told: String = card.filter_map(|path| fs::read_to_string(path).ok()).collect();
    assert!(told.contains("cc-by-4.0"), "the licence goes with the rows");

    program.succeed(&["run", "task.toml", "--workspace", "w"]);
    let events = program.events("w");
    let imported = events.iter().find(|event| event["type"] == "data_imported").unwrap();
    let rows: u64 = imported["rows"].as_array().unwrap().iter().filter_map(Value::as_u64).sum();
    assert_eq!(rows, CLEAN as u64, "every row that was left serves, as a training row or as an item");
    assert!(events.iter().any(|event| event["type"] == "trial_trained"));
    assert!(events.iter().any(|event| event["type"] == "run_finished"));
    let attempts = program.json(&["net", "log"]);
    assert!(attempts.as_array().unwrap().iter().any(|one| one["url"].as_str().unwrap().ends_with("data/train.jsonl")));
}
