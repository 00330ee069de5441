//! A person's own prompts: both models answer all of them, rows that cannot be used are counted, and so are rows that were
//! trained on.

use serde_json::json;

use crate::exports::trained_variant;
use crate::program::{Program, files_below};

const TASK: &str = r#"
name = "sizes"
goal = "Say whether it is large or small."
kind = "choice"
metric = "accuracy"

[data]
train = "rows.csv"

[prompt]
options = ["large", "small"]

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

/// Rows of a table, from this number on.
fn rows(from: usize, count: usize) -> String {
    let row = |number: usize| {
        let size = if number.is_multiple_of(2) { "large" } else { "small" };
        format!("case {number}: what is animal {},{size}\n", number * 7)
    };
    (from..from + count).map(row).collect()
}

#[test]
fn both_models_are_scored_on_prompts_of_the_person() {
    let program = Program::new();
    program.write("rows.csv", format!("text,label\n{}", rows(0, 80)));
    program.write("task.toml", TASK);
    program.succeed(&["run", "task.toml", "--workspace", "w"]);
    let node = trained_variant(&program);
    let before = files_below(&program.path("w"));
    let mine = [&rows(1000, 6), &rows(0, 80)[..], "case without a label,\n"].concat();
    program.write("mine.csv", format!("text,label\n{mine}"));
    let found = program.json(&["score", &node, "mine.csv", "--workspace", "w"]);
    assert_eq!((&found["node"], &found["metric"]), (&json!(node), &json!("accuracy")));
    let items = found["items"].as_array().unwrap();
    assert_eq!((items.len(), &found["set_aside"]), (86, &json!(1)), "{found}");
    let mean = |key: &str| items.iter().map(|item| item[key].as_f64().unwrap()).sum::<f64>() / items.len() as f64;
    let value = |of: &str| found[of]["value"].as_f64().unwrap();
    assert!((mean("base_score") - value("base")).abs() < 1e-9, "{found}");
    assert!((mean("tuned_score") - value("tuned")).abs() < 1e-9, "{found}");
    let gain = &found["gain"]["effect"];
    assert!((gain["diff"].as_f64().unwrap() - (value("tuned") - value("base"))).abs() < 1e-9, "{found}");
    // Of the 80 rows of the run some were held out, and nothing was trained on them.
    let trained_on = found["trained_on"].as_u64().unwrap();
    assert!((30..80).contains(&trained_on), "{trained_on}");
    let told = program.succeed(&["score", &node, "mine.csv", "--workspace", "w"]).stdout;
    assert!(told.contains(&format!("{trained_on} items are among the rows")) && told.contains("n=86"), "{told}");
    let names =
        |files: &[(std::path::PathBuf, Vec<u8>)]| files.iter().map(|(path, _)| path.clone()).collect::<Vec<_>>();
    assert_eq!(names(&files_below(&program.path("w"))), names(&before), "nothing is kept");

    program.write("empty.csv", "text,label\ncase without a label,\n");
    let refusal = program.refused(&["score", &node, "empty.csv", "--workspace", "w"], 3, "data.labels_unknown");
    assert!(refusal.message.contains("empty.csv"), "{refusal:?}");
    program.refused(&["score", "base", "mine.csv", "--workspace", "w"], 3, "export.nothing");
}
