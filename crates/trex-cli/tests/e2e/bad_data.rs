//! Wrong tasks and wrong data: each is refused with its code, the place and what to change, before anything is trained.

use std::fs;

use crate::program::{Program, Refusal};

/// A task of files that is through after one step of one trial.
const ROWS: &str = r#"
name = "rows"
goal = "Tell good from bad."
kind = "choice"
metric = "accuracy"

[data]
train = "train.csv"

[data.fields]
input = "text"
answer = "label"

[data.fields.labels]
"0" = "bad"
"1" = "good"

[prompt]
template = "{options}? {input}"
options = ["bad", "good"]

[train]
max_steps = 1
per_device_train_batch_size = 1
max_length = 64

[budget]
trials = 1

[search]
rungs = 1
batch = 1
base_seeds = 2
finalist_seeds = 0
"#;

const TOO_FEW: &str = "budget.too_few_trials";

/// So many rows with two labels.
fn rows(count: usize) -> String {
    let row = |number: usize| format!("the {number} is {},{}\n", ["low", "high"][number % 2], number % 2);
    "text,label\n".to_owned() + &(0..count).map(row).collect::<String>()
}

fn program() -> Program {
    let program = Program::new();
    program.write("train.csv", rows(60));
    program
}

/// Runs [`ROWS`] with one text replaced.
#[track_caller]
fn refused(program: &Program, from: &str, to: &str, code: &str) -> Refusal {
    assert!(ROWS.contains(from), "{from}");
    program.write("rows.toml", ROWS.replacen(from, to, 1));
    program.refused(&["run", "rows.toml", "--workspace", "w"], 3, code)
}

/// What is wrong with the task file itself is said before a folder is made.
#[track_caller]
fn check_task(from: &str, to: &str, code: &str, told: &str) {
    let program = program();
    let Refusal { message, hint } = refused(&program, from, to, code);
    assert!(format!("{message} {hint}").contains(told), "{message} / {hint}");
    assert!(!program.path("w").exists());
}

/// What is wrong with the data is said before the base is scored, and stands in the way of nothing.
#[track_caller]
fn check_data(program: &Program, from: &str, to: &str, code: &str, told: &str) {
    let Refusal { message, hint } = refused(program, from, to, code);
    assert!(format!("{message} {hint}").contains(told), "{message} / {hint}");
    let kinds: Vec<_> = program.events("w").iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect();
    assert_eq!(kinds, ["run_started", "phase_started", "run_failed"]);
    assert_eq!(fs::read_dir(program.path("w/exports")).unwrap().count(), 0);
}

#[test]
fn unknown_tasks_are_refused_with_a_suggestion() {
    let program = Program::new();
    let refusal = program.refused(&["run", "ftbench/mni-3", "--workspace", "w"], 3, "task.unknown");
    assert!(refusal.hint.contains("did you mean ftbench/mini-3?"), "{refusal:?}");
    let refusal = program.refused(&["run", "nowhere.toml", "--workspace", "w"], 3, "task.unreadable");
    assert!(refusal.message.contains("nowhere.toml"), "{refusal:?}");
    assert!(!program.path("w").exists());
}

#[test]
fn wrong_task_files_are_refused() {
    check_task("metric =", "metrik =", "task.unknown_key", "did you mean \"metric\"?");
    check_task("metric =", "metrik =", "task.unknown_key", "rows.toml:5:1");
    check_task("max_steps", "max_stepps", "task.unknown_key", "did you mean \"max_steps\"?");
    check_task("\"accuracy\"", "\"acuracy\"", "task.unknown_word", "did you mean \"accuracy\"?");
    check_task("trials = 1", "trials = \"one\"", "task.wrong_type", "budget.trials");
    check_task("trials = 1", "trials = 0", "task.out_of_range", "at least 1");
    check_task("[budget]", "[budget", "task.syntax", "rows.toml");
    check_task("goal = \"Tell good from bad.\"", "", "task.missing_key", "add goal");
    check_task("options = [\"bad\", \"good\"]", "options = []", "task.empty", "prompt.options");
    check_task("{input}", "input", "task.template_without_input", "{input}");
    check_task("train = \"train.csv\"", "builtin = \"x\"\ntrain = \"train.csv\"", "task.conflict", "data.train");
}

#[test]
fn missing_files_and_columns_are_refused() {
    let program = program();
    check_data(&program, "\"train.csv\"", "\"trian.csv\"", "data.missing_file", "did you mean \"train.csv\"?");
    check_data(&program, "\"train.csv\"", "\"train.csv\"\ntest = \"z.csv\"", "data.missing_file", "z.csv");
    check_data(&program, "answer = \"label\"", "answer = \"lable\"", "data.missing_column", "did you mean \"label\"?");
    check_data(&program, "input = \"text\"", "input = \"zzz\"", "data.missing_column", "\"text\", \"label\"");
    check_data(&program, "{options}?", "{optoins}?", "data.unknown_placeholder", "optoins");
    check_data(&program, "train = \"train.csv\"", "builtin = \"ftbench/mini-77\"", "ftbench.unknown_task", "mini-7");
}

#[test]
fn labels_and_splits_that_do_not_fit_are_refused() {
    let program = program();
    check_data(&program, "\"0\" = \"bad\"\n\"1\" = \"good\"", "", "data.labels_unknown", "[data.fields.labels]");
    check_data(
        &program,
        "options = [\"bad\", \"good\"]",
        "options = [\"bad\", \"good\", \"fair\"]",
        "data.labels_missing",
        "fair",
    );
    program.write("none.csv", "");
    check_data(&program, "\"train.csv\"", "\"train.csv\"\ndev = \"none.csv\"", "data.empty_file", "none.csv");
    program.write("none.csv", "text,label\n");
    check_data(&program, "\"train.csv\"", "\"train.csv\"\ndev = \"none.csv\"", "data.empty_split", "data.dev");
    program.write("train.csv", rows(2));
    check_data(&program, "\"train.csv\"", "\"train.csv\"", "data.empty_split", "more rows");
}

/// By path, by another path to the same file, and by content.
#[test]
fn a_file_that_serves_twice_is_refused() {
    let program = program();
    let train = "\"train.csv\"";
    for dev in ["train.csv", "./train.csv", "copy.csv"] {
        program.write("copy.csv", rows(60));
        check_data(&program, train, &format!("{train}\ndev = {dev:?}"), "data.same_file", "data.dev and data.train");
    }
    check_data(&program, train, &format!("{train}\ntest = \"copy.csv\""), "data.same_file", "data.test and data.train");
    program.write("dev.csv", rows(40));
    program.write("test.csv", rows(40));
    let both = format!("{train}\ndev = \"dev.csv\"\ntest = \"test.csv\"");
    check_data(&program, train, &both, "data.same_file", "data.test and data.dev");
}

/// After the mistake is mended the same command works: a run that never got its data is in nobody's way.
#[test]
fn a_mended_task_runs_in_the_same_workspace() {
    let program = program();
    check_data(&program, "answer = \"label\"", "answer = \"lable\"", "data.missing_column", "label");
    program.write("rows.toml", ROWS);
    program.succeed(&["run", "rows.toml", "--workspace", "w"]);
    let report = program.json(&["report", "--workspace", "w"]);
    assert_eq!((&report["status"], &report["trials"]), (&"finished".into(), &1.into()));
}

#[test]
fn a_budget_that_reaches_for_no_variant_is_refused_before_the_baseline() {
    let program = program();
    let refusal = program.refused(&["run", "ftbench/mini-3", "--trials", "4", "--workspace", "w"], 3, TOO_FEW);
    assert!(refusal.message.contains("at least 6") && refusal.hint.contains("--trials"), "{refusal:?}");
    program.write("rows.toml", ROWS.replacen("rungs = 1", "rungs = 2", 1));
    let refusal = program.refused(&["run", "rows.toml", "--workspace", "w"], 3, TOO_FEW);
    assert!(refusal.message.contains("budget.trials is 1") && refusal.message.contains("at least 2"), "{refusal:?}");
    assert!(!program.path("w").exists(), "nothing is begun");
    program.succeed(&["run", "rows.toml", "--trials", "2", "--workspace", "w"]);
}
