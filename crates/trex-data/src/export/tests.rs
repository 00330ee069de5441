//! What is written is read back, and no field of a CSV file is a formula.

use proptest::prelude::*;

use super::*;
use crate::operators::tests::{choice_row, open_row};
use crate::{ExampleReader, TableFacts, profile_examples};

fn rows() -> Vec<Example> {
    let mut rows = vec![open_row(0, "What is\n\"that\"?", "a, b"), open_row(1, "=cmd|' /C calc'!A0", "-1")];
    rows[0].prompt.insert(0, Message::system("Be brief."));
    rows
}

#[track_caller]
fn read_back(format: ExportFormat, rows: &[Example]) -> Vec<Example> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(format!("rows.{}", format.extension()));
    write_export(&path, &rows, format).unwrap();
    let mut reader = ExampleReader::guessed(&path, &trex_domain::FieldMap::default()).unwrap();
    let mut examples = Vec::new();
    while let Some(chunk) = reader.next_chunk().unwrap() {
        assert_eq!(chunk.quarantined, []);
        examples.extend(chunk.examples);
    }
    examples
}

#[test]
fn conversations_are_read_back_as_they_were() {
    use ExportFormat::{Messages, Parquet, PromptCompletion, ShareGpt};
    for format in [Messages, ShareGpt, Parquet, PromptCompletion] {
        let read = read_back(format, &rows());
        for (read, row) in read.iter().zip(rows()) {
            assert_eq!((&read.prompt, &read.answer), (&row.prompt, &row.answer), "{format:?}");
        }
        assert_eq!(read.len(), 2);
    }
}

#[test]
fn options_of_a_prompt_are_written_out() {
    use ExportFormat::{Messages, Parquet, PromptCompletion, ShareGpt};
    let mut row = choice_row(0, "Choose: {options}", "yes");
    row.options = vec!["no".to_owned(), "yes".to_owned()];
    for format in [Messages, ShareGpt, Parquet, PromptCompletion] {
        let read = read_back(format, std::slice::from_ref(&row));
        assert_eq!(read[0].prompt, row.rendered_prompt(0), "{format:?}");
        assert!(read[0].prompt_text().contains("no") && read[0].prompt_text().contains("yes"), "{format:?}");
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rows.csv");
    let rows = [row];
    write_export(&path, &&rows[..], ExportFormat::Csv).unwrap();
    assert!(!trex_fs::read_to_string(&path).unwrap().contains("{options}"));
}

#[test]
fn rows_of_a_blob_and_of_a_source_are_written_like_those_at_hand() {
    let dir = tempfile::tempdir().unwrap();
    let many: Vec<Example> = (0..9000).map(|row| open_row(row, &format!("question {row}"), "a")).collect();
    let blobs = trex_fs::BlobStore::new(dir.path().join("blobs"));
    let blob = BlobRows { name: blobs.put_lines(&many).unwrap(), blobs, len: many.len() };
    for (name, format) in ExportFormat::ALL.into_iter().filter(|(name, _)| *name != "preference") {
        let (left, right) = (dir.path().join(name), dir.path().join(format!("{name}-again")));
        write_export(&left, &many.as_slice(), format).unwrap();
        write_export(&right, &blob, format).unwrap();
        assert_eq!(std::fs::read(&left).unwrap(), std::fs::read(&right).unwrap(), "{name}");
    }
    let path = dir.path().join("messages");
    let source = SourceRows { path, fields: trex_domain::FieldMap::default(), len: many.len() };
    let copy = dir.path().join("copy");
    write_export(&copy, &source, ExportFormat::Messages).unwrap();
    assert_eq!(std::fs::read(&copy).unwrap(), std::fs::read(&source.path).unwrap());
}

#[test]
fn pairs_are_read_back_and_rows_without_one_are_named() {
    let mut pair = choice_row(0, "q", "yes");
    pair.options.truncate(2);
    let read = read_back(ExportFormat::Preference, std::slice::from_ref(&pair));
    assert_eq!((&read[0].prompt, &read[0].options), (&pair.prompt, &pair.options));
    let dir = tempfile::tempdir().unwrap();
    let err = write_export(&dir.path().join("x"), &rows().as_slice(), ExportFormat::Preference).unwrap_err();
    assert!(matches!(err, DataError::NoPair { row } if row == "t/0"));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is left of it");
}

#[test]
fn a_dataset_folder_names_its_splits_and_says_what_is_personal() {
    let rows = [rows(), vec![open_row(2, "write to ada@example.org", "done")]].concat();
    let mut profile = profile_examples("n", &TableFacts::of_generated(3), &rows, None).unwrap();
    // A few of a hundred rows are taken for another language than they have.
    profile.languages =
        [("eng".to_owned(), 95), ("deu".to_owned(), 5), ("afr".to_owned(), 2), ("und".to_owned(), 40)].into();
    let dir = tempfile::tempdir().unwrap();
    let folder = HfFolder {
        name: "my \"set\"",
        train: &rows.as_slice(),
        dev: &&rows[..1],
        test: &&rows[..0],
        profile: &profile,
        outcome: None,
        recipe: None,
        license: None,
    };
    let written = write_hf_folder(dir.path(), &folder).unwrap();
    assert_eq!(written.len(), 3);
    let card = std::fs::read_to_string(dir.path().join("README.md")).unwrap();
    assert!(card.starts_with("---\npretty_name: \"my \\\"set\\\"\"\nlicense: \"unknown\"\n"), "{card}");
    assert!(card.contains("  - split: validation\n    path: data/validation-00000-of-00001.parquet"), "{card}");
    assert!(card.contains("language:\n- deu\n- eng\ntask"), "{card}");
    assert!(!card.contains("split: test") && card.contains("- email: 1 rows"), "{card}");
    let mut reader = ExampleReader::guessed(dir.path(), &trex_domain::FieldMap::default()).unwrap();
    let mut num_rows = 0;
    while let Some(chunk) = reader.next_chunk().unwrap() {
        num_rows += chunk.examples.len();
    }
    assert_eq!(num_rows, 4);
}

#[test]
fn entries_for_other_tools_are_of_their_form() {
    let entry: serde_json::Value =
        serde_json::from_str(&dataset_info_entry("mine", "train.jsonl", ExportFormat::Messages)).unwrap();
    assert_eq!(entry["mine"]["tags"]["role_tag"], "role");
    let block = axolotl_block("train.jsonl", ExportFormat::Messages);
    assert!(block.contains("  - path: \"train.jsonl\"\n    ds_type: json\n    type: chat_template\n"), "{block}");
    for (format, kind, answer) in
        [(ExportFormat::Csv, "csv", "answer"), (ExportFormat::PromptCompletion, "json", "completion")]
    {
        let entry: serde_json::Value = serde_json::from_str(&dataset_info_entry("mine", "train", format)).unwrap();
        assert_eq!((&entry["mine"]["columns"]["response"], &entry["mine"]["formatting"]), (&answer.into(), &().into()));
        let block = axolotl_block("train", format);
        assert!(
            block.contains(&format!("ds_type: {kind}")) && block.contains(&format!("field_output: {answer}")),
            "{block}"
        );
    }
}

proptest! {
    #[test]
    fn no_field_of_a_csv_file_is_a_formula(text in "[=+@\\-\t\r\n \"',a＝]{0,12}") {
        let csv = CSV_HEAD.to_owned() + &csv_text(&[open_row(0, &text, &text)]);
        let mut reader = csv::Reader::from_reader(csv.as_bytes());
        for record in reader.records() {
            let record = record.unwrap();
            for field in &record {
                prop_assert!(!field.trim_start_matches(' ').starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝']), "{field:?}");
            }
            prop_assert!(record[1].ends_with(&text));
        }
    }
}
