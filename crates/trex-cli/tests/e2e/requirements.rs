//! `trex new` and `trex bench requirements`, as people and scripts use them.

use serde_json::Value;

use crate::program::Program;

fn reviews(program: &Program) {
    let rows: Vec<String> = (0..120)
        .map(|row| format!("review number {row} of a film,{}\n", if row % 2 == 0 { "positive" } else { "negative" }))
        .collect();
    program.write("reviews.csv", format!("text,label\n{}", rows.concat()));
}

#[test]
fn words_and_data_become_a_task_file_that_says_where_each_field_is_from() {
    let program = Program::new();
    reviews(&program);
    let words = "Tell whether a review is positive or negative, by accuracy, in at most 20 trials and 2 hours";
    let made = program.json(&["new", words, "--data", "reviews.csv"]);
    assert_eq!(made["settled"], true, "{made}");
    assert_eq!(
        (&made["draft"]["metric"]["origin"], &made["draft"]["kind"]["value"]),
        (&"said".into(), &"choice".into())
    );
    let text = std::fs::read_to_string(program.path("task.toml")).unwrap();
    for line in [
        "metric = \"accuracy\"  # said: accuracy; higher is better, from 0 to 1",
        "trials = 20  # said",
        "wall_s = 7200.0",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    // The file is one that a run takes: it only lacks the budget of time for this test.
    program.refused(&["run", "task.toml", "--workspace", "w", "--model", "no-such-model"], 3, "model.unknown");
    program.refused(&["new", words, "--data", "reviews.csv"], 3, "export.exists");
}

#[test]
fn nothing_is_written_before_what_is_optimised_is_settled() {
    let program = Program::new();
    reviews(&program);
    let args = ["new", "Make it better at this.", "--data", "reviews.csv"];
    let open = program.json(&args);
    let fields: Vec<_> =
        open["draft"]["questions"].as_array().unwrap().iter().map(|one| one["field"].clone()).collect();
    assert_eq!((fields, open["settled"].as_bool()), (vec!["kind".into(), "metric".into()], Some(false)));
    assert!(!program.path("task.toml").exists());
    program.refused(&[args.as_slice(), &["--answer", "metric=beauty"]].concat(), 3, "requirement.bad_answer");
    let settled =
        program.json(&[args.as_slice(), &["--answer", "metric=macro_f1", "--answer", "kind=choice"]].concat());
    assert_eq!((settled["settled"].as_bool(), &settled["draft"]["metric"]["value"]), (Some(true), &"macro_f1".into()));
    assert!(program.path("task.toml").exists());
    // A contradiction is not settled by taking what is proposed.
    let both = ["new", "Classify as a or b, by accuracy and by macro F1", "--accept", "--out", "other.toml"];
    assert_eq!(program.json(&both)["draft"]["problems"][0]["code"], "several_metrics");
    assert!(!program.path("other.toml").exists());
}

#[test]
fn the_reading_of_requirements_is_measured() {
    let program = Program::new();
    let measured = program.json(&["bench", "requirements"]);
    let share = |part: &str| {
        let all = measured["shares"].as_array().unwrap().iter();
        let found = all.clone().find(|one| one["part"] == part && one["field"] == "all fields").unwrap();
        (found["share"]["value"].as_f64().unwrap(), found["share"]["n"].as_u64().unwrap())
    };
    assert!(share("tune").0 > 0.99, "{measured}");
    assert!(share("held").0 > 0.7 && share("held").1 > 60, "{measured}");
}

#[test]
fn a_variant_is_diagnosed_and_every_finding_has_its_numbers() {
    let program = Program::with_tiny_task();
    program.succeed(&["run", "tiny.toml", "--workspace", "w"]);
    let found = program.json(&["diagnose", "s1.e1.a", "--workspace", "w"]);
    assert!(
        found["features"]["first_loss"].as_f64().unwrap() > 0.0 && found["features"]["passes"].as_f64().is_some(),
        "{found}"
    );
    // One row in eight of this task repeats an earlier one.
    let duplicates =
        found["findings"].as_array().unwrap().iter().find(|finding| finding["code"] == "duplicates").unwrap();
    assert!(duplicates["because"]["duplicate_share"].as_f64().unwrap() > 0.05, "{found}");
    program.refused(&["diagnose", "s9.e9.z", "--workspace", "w"], 3, "run.unknown_node");
}

#[test]
fn a_forecast_is_made_of_the_tasks_own_rows_and_leaves_nothing() {
    let program = Program::with_tiny_task();
    let found = program.json(&["forecast", "tiny.toml", "--workspace", "w"]);
    assert_eq!((&found["rows"][1], &found["refused"], &found["time"]["trials"]), (&40.into(), &Value::Null, &5.into()));
    let time = &found["time"];
    let [step_s, trial_s, run_s] = ["step_s", "trial_s", "run_s"].map(|key| time[key].as_f64().unwrap());
    assert!(0.0 < step_s && step_s < trial_s && trial_s < run_s, "{time}");
    let needed = found["memory"]["needed_bytes"].as_u64().unwrap();
    assert!(needed > 12 << 20, "{found}");
    let left = std::fs::read_dir(program.path("cache/forecast")).unwrap().count();
    assert_eq!((left, program.path("w").exists()), (0, false));
    let text = program.succeed(&["forecast", "tiny.toml", "--trials", "5"]).stdout;
    assert!(text.contains("time     about"), "{text}");
    program.refused(&["forecast", "tiny.toml", "--model", "no-such-model"], 3, "model.unknown");
}
