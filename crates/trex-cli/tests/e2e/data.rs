//! `trex data` and `trex recipe`: what a person asks of data before anything is trained.

use std::fs;

use crate::program::Program;

const ROWS: &str = "{\"text\":\"a fine film\",\"label\":\"good\"}\n{\"text\":broken}\n{\"text\":\"=1+1 is bad\",\"label\":\"bad\"}\n{\"text\":\"a fine film\",\"label\":\"good\"}\n{\"text\":\"write to ada@example.org\",\"label\":\"good\"}\n";

const RECIPE: &str = "name = \"r\"\nevaluation = [\"dev.jsonl\"]\n[[sources]]\npath = \"rows.jsonl\"\n[[operators]]\nop = \"redact_pii\"\n[[operators]]\nop = \"exact_dedup\"\n[[operators]]\nop = \"decontaminate\"\n";

fn program() -> Program {
    let program = Program::new();
    program.write("rows.jsonl", ROWS);
    program.write("dev.jsonl", "{\"text\":\"something else\",\"label\":\"bad\"}\n");
    program.write("r.toml", RECIPE);
    program
}

#[test]
fn a_profile_counts_and_draws() {
    let program = program();
    let profile = program.json(&["data", "profile", "rows.jsonl"]);
    assert_eq!(profile["rows"], serde_json::json!({ "in": 5, "kept": 4, "quarantined": 1 }));
    assert_eq!((&profile["exact_duplicates"], &profile["pii"]["email"]), (&1.into(), &1.into()));
    let page = program.succeed(&["data", "profile", "rows.jsonl", "--html"]).stdout;
    assert!(page.starts_with("<!doctype html>") && page.contains("<svg"), "{page}");
    let with_tokens = program.json(&["data", "profile", "rows.jsonl", "--model", "bundled"]);
    assert!(with_tokens["token_lengths"].as_array().is_some_and(|bars| !bars.is_empty()));
    program.refused(&["data", "profile", "rows.jsonl", "--answer", "lable"], 3, "data.missing_column");
    program.refused(&["data", "profile", "nowhere"], 3, "data.missing_file");
}

#[test]
fn quarantined_rows_are_listed_with_their_place() {
    let program = program();
    let listed = program.json(&["data", "quarantine", "rows.jsonl"]);
    assert_eq!((&listed["in"], &listed["quarantined"]), (&5.into(), &1.into()));
    assert_eq!((&listed["rows"][0]["line"], &listed["rows"][0]["byte_offset"]), (&2.into(), &38.into()));
    let csv = program.succeed(&["data", "quarantine", "rows.jsonl", "--csv"]).stdout;
    assert!(csv.starts_with("file,line,byte_offset,reason,excerpt"), "{csv}");
}

#[test]
fn rows_are_shown_as_they_are_trained() {
    let program = program();
    let view = program.json(&["data", "show", "rows.jsonl", "--as-trained", "2"]);
    let row = &view["rows"][0];
    assert!(row["prompt"].as_str().is_some_and(|text| text.contains("a fine film")), "{row}");
    assert!(row["trained"].as_str().is_some_and(|text| text.starts_with("good")), "{row}");
    assert!(row["trained_tokens"].as_u64().is_some_and(|count| count >= 2), "{row}");
    let text = program.succeed(&["data", "show", "rows.jsonl", "--as-trained", "1"]).stdout;
    assert!(text.contains("⟦good"), "{text}");
    let page = program.succeed(&["data", "show", "rows.jsonl", "--as-trained", "1", "--html"]).stdout;
    assert!(page.contains("<mark>good"), "{page}");
    program.write("bare.txt", "one line\nanother line\n");
    let as_answers = ["data", "show", "bare.txt", "--as-trained", "2", "--objective", "sft"];
    program.refused(&as_answers, 3, "data.nothing_trained");
    let filtered = program.json(&["data", "show", "rows.jsonl", "--filter", "bad"]);
    assert_eq!(filtered.as_array().map(Vec::len), Some(1));
}

#[test]
fn rows_are_written_for_other_tools() {
    let program = program();
    let done = program.json(&["data", "export", "rows.jsonl", "--out", "out.csv", "--format", "csv"]);
    assert_eq!(done["rows"]["kept"], 4);
    assert!(fs::read_to_string(program.path("out.csv")).unwrap().contains("\"'=1+1 is bad\""));
    program.json(&["data", "export", "rows.jsonl", "--out", "hub", "--format", "hf"]);
    assert_eq!(program.json(&["data", "profile", "hub"])["rows"]["kept"], 4);
    let refusal = program.refused(
        &["data", "export", "rows.jsonl", "--out", "x", "--format", "parket"],
        3,
        "data.unknown_format",
    );
    assert!(refusal.hint.contains("did you mean parquet?"), "{refusal:?}");
}

#[test]
fn originals_are_not_replaced() {
    let program = program();
    let before = fs::read(program.path("rows.jsonl")).unwrap();
    program.refused(&["data", "export", "rows.jsonl", "--out", "./rows.jsonl"], 3, "export.taken");
    program.write("train.jsonl", before.clone());
    program.write("same.toml", RECIPE.replace("rows.jsonl", "train.jsonl"));
    program.refused(&["recipe", "run", "same.toml", "--workspace", "w", "--out", "."], 3, "export.taken");
    assert_eq!(fs::read(program.path("train.jsonl")).unwrap(), before);
    program.json(&["data", "export", "rows.jsonl", "--format", "hf", "--out", "hub"]);
    program.refused(&["data", "export", "hub", "--format", "hf", "--out", "hub"], 3, "export.taken");
    fs::create_dir(program.path("mine")).unwrap();
    program.write("mine/README.md", "# My notes\n");
    program.refused(&["data", "export", "rows.jsonl", "--format", "hf", "--out", "mine"], 3, "export.taken");
    assert_eq!(fs::read_to_string(program.path("mine/README.md")).unwrap(), "# My notes\n");
}

#[test]
fn worse_answers_are_kept_unless_a_form_is_named_that_has_none() {
    let program = program();
    program.write("pairs.jsonl", "{\"prompt\":\"q\",\"chosen\":\"yes\",\"rejected\":\"no\"}\n");
    program.succeed(&["data", "export", "pairs.jsonl", "--out", "kept.jsonl"]);
    assert!(fs::read_to_string(program.path("kept.jsonl")).unwrap().contains("\"rejected\""));
    let said = program.succeed(&["data", "export", "pairs.jsonl", "--out", "x.jsonl", "--format", "messages"]).stdout;
    assert!(said.contains("--format preference keeps them"), "{said}");
    program.write("p.toml", "name = \"p\"\n[[sources]]\npath = \"pairs.jsonl\"\n[[operators]]\nop = \"exact_dedup\"\n");
    let run = ["recipe", "run", "p.toml", "--workspace", "w", "--out", "made"];
    program.succeed(&run);
    assert!(fs::read_to_string(program.path("made/train.jsonl")).unwrap().contains("\"rejected\""));
    let said = program.succeed(&[&run[..], &["--format", "messages"]].concat()).stdout;
    assert!(said.contains("--format preference keeps them"), "{said}");
}

#[test]
fn what_a_terminal_takes_for_commands_is_not_shown_as_it_is() {
    let program = program();
    program.write("esc.jsonl", "{\"prompt\":\"a\\u001b]0;title\\u0007b\",\"completion\":\"\\u001b[2Jc\"}\n");
    for command in [["data", "show", "esc.jsonl"], ["data", "profile", "esc.jsonl"]] {
        let text = program.succeed(&command).stdout;
        assert!(!text.contains(['\u{1b}', '\u{7}']), "{text:?}");
    }
}

#[test]
fn an_evaluation_item_that_cannot_be_read_stops_decontamination() {
    let program = program();
    let items = fs::read_to_string(program.path("dev.jsonl")).unwrap();
    program.write("dev.jsonl", format!("{items}{{\"text\": broken\n"));
    let refusal = program.refused(&["recipe", "run", "r.toml", "--workspace", "w"], 3, "data.unreadable_evaluation");
    assert!(refusal.message.contains("dev.jsonl:"), "{refusal:?}");
}

#[test]
fn a_recipe_is_checked_compared_and_run() {
    let program = program();
    let checked = program.json(&["recipe", "check", "r.toml"]);
    assert_eq!(checked["recipe"]["operators"][2]["ngram_words"], 8);
    program.write("other.toml", RECIPE.replace("exact_dedup", "near_dedup"));
    let changes = program.json(&["recipe", "diff", "r.toml", "other.toml"]);
    assert!(changes.to_string().contains("operators.near_dedup.threshold"), "{changes}");
    program.write("wrong.toml", RECIPE.replace("exact_dedup", "exact_dedupe"));
    let refusal = program.refused(&["recipe", "check", "wrong.toml"], 3, "recipe.unknown_operator");
    assert!(refusal.hint.contains("exact_dedup"), "{refusal:?}");

    let run = ["recipe", "run", "r.toml", "--workspace", "w", "--out", "made", "--json"];
    let done = program.succeed(&run);
    let last = done.lines().pop().unwrap();
    assert_eq!((&last["cached"], &last["outcome"]["rows"]), (&false.into(), &serde_json::json!([3, 0, 0])));
    assert_eq!(last["outcome"]["is_decontaminated"], true);
    let train = fs::read_to_string(program.path("made/train.jsonl")).unwrap();
    assert!(train.contains("write to [EMAIL]") && train.lines().count() == 3, "{train}");
    let again = program.succeed(&run).lines().pop().unwrap();
    assert_eq!((&again["cached"], &again["outcome"]), (&true.into(), &last["outcome"]));
    program.write("unchecked.toml", RECIPE.replace("evaluation = [\"dev.jsonl\"]\n", ""));
    program.refused(&["recipe", "run", "unchecked.toml", "--workspace", "w"], 3, "data.no_evaluation");
    assert!(program.succeed(&["recipe", "operators"]).stdout.contains("near_dedup"));
}
