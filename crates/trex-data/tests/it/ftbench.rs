//! The data sets of FT-Bench as they are published import without a setting.

use std::path::PathBuf;

use trex_data::{RawTable, profile_file, read_table};

/// The folder of the data sets, where this machine has them.
fn folder() -> Option<PathBuf> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/ftbench");
    let folder = std::env::var_os("TREX_FTBENCH_DIR").map_or(beside, PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    println!("skipped: no FT-Bench data at {}; set TREX_FTBENCH_DIR", folder.display());
    None
}

#[track_caller]
fn check(path: &str, format: &str, fields: &[&str], num_rows: usize) -> Option<RawTable> {
    let table = read_table(&folder()?.join(path)).expect(path);
    assert_eq!(table.format, format, "{path}: {}", table.format_reason);
    assert_eq!(table.fields, fields, "{path}");
    assert_eq!(table.quarantined, [], "{path}");
    assert_eq!((table.rows.len(), table.input), (num_rows, num_rows), "{path}");
    Some(table)
}

#[test]
fn sst2() {
    for (file, num_rows) in [("train", 6920), ("dev", 872), ("test", 1821)] {
        let Some(table) = check(&format!("sst2/{file}.tsv"), "tsv, no header", &["0", "1"], num_rows) else { return };
        assert!(table.rows.iter().all(|row| ["0", "1"].contains(&row.values["1"].as_str())));
    }
}

// The expected numbers of rows are those of Python's csv and json modules.
#[test]
fn aci_bench() {
    let sizes = [
        ("train", 67),
        ("valid", 20),
        ("clef_taskC_test3", 40),
        ("clinicalnlp_taskB_test1", 40),
        ("clinicalnlp_taskC_test2", 40),
    ];
    for (file, num_rows) in sizes {
        let fields = &["dataset", "encounter_id", "dialogue", "note"];
        if check(&format!("aci-bench/{file}.csv"), "csv, header", fields, num_rows).is_none() {
            return;
        }
    }
}

#[test]
fn json_data_sets() {
    let law = &["instruction", "question", "answer"];
    for file in ["1-2", "2-8", "3-3", "3-6"] {
        check(&format!("lawbench/{file}.json"), "json array", law, 500);
    }
    let fields = [
        "reaction_id",
        "level",
        "name",
        "reactants_smiles",
        "products_smiles",
        "conditions",
        "mechanism_step_nums",
        "mechanism",
    ];
    check("omebench/oMe_Gold.json", "json array", &fields, 196);
    let Some(folder) = folder() else { return };
    let template = read_table(&folder.join("omebench/oMe_Template.json")).unwrap();
    assert_eq!((template.rows.len(), template.quarantined.len()), (167, 0));
    for (file, num_rows) in [("en-valid", 236), ("en-test", 2183)] {
        let table = read_table(&folder.join(format!("cs-bench/{file}.jsonl"))).unwrap();
        assert_eq!(
            (table.format.as_str(), table.rows.len(), table.quarantined.len()),
            ("json array", num_rows, 0),
            "{file}"
        );
    }
}

#[test]
fn tomg_bench() {
    check("tomg-bench/chebi20-test.txt", "tsv, header", &["CID", "SMILES", "description"], 3300);
    check("tomg-bench/chebi20-validation.txt", "tsv, header", &["CID", "SMILES", "description"], 3301);
}

#[test]
fn profiles_guess_the_schema() {
    let Some(folder) = folder() else { return };
    let expected = [
        ("sst2/dev.tsv", "classification (0, 1): "),
        ("aci-bench/valid.csv", "input/output (dialogue, note): "),
        ("lawbench/3-3.json", "instruction (instruction, question, answer): "),
        ("cs-bench/en-valid.jsonl", "multiple choice (Question, A, B, C, D, Answer): "),
        ("omebench/oMe_Gold.json", "unknown: "),
        ("tomg-bench/chebi20-test.txt", "input/output (SMILES, description): "),
    ];
    for (path, schema) in expected {
        let profile = profile_file(&folder.join(path)).unwrap();
        assert!(profile.schema.starts_with(schema), "{path}: {}", profile.schema);
        assert_eq!(profile.rows.input, profile.rows.kept + profile.rows.quarantined, "{path}");
        assert!(profile.rows.kept > 0, "{path}");
    }
}

/// Every file of the folder, and every folder of files, imports without a setting and without a row that is set aside.
#[test]
fn everything_imports_without_a_setting() {
    let Some(folder) = folder() else { return };
    let (mut num_files, mut num_rows) = (0, 0);
    for entry in std::fs::read_dir(&folder).unwrap() {
        let dataset = entry.unwrap().path();
        for file in std::fs::read_dir(&dataset).unwrap() {
            let path = file.unwrap().path();
            let profile = profile_file(&path).unwrap();
            assert_eq!((profile.rows.quarantined, profile.rows.kept), (0, profile.rows.input), "{}", path.display());
            num_files += 1;
            num_rows += profile.rows.kept;
        }
    }
    assert_eq!(num_files, 18);
    assert!(num_rows > 20_000, "{num_rows}");
}

#[test]
fn a_folder_is_one_table_of_its_files() {
    let Some(folder) = folder() else { return };
    let profile = profile_file(&folder.join("sst2")).unwrap();
    assert_eq!(profile.format, "tsv, no header, 3 files");
    assert_eq!((profile.rows.kept, profile.rows.quarantined), (6920 + 872 + 1821, 0));
    assert!(profile.schema.starts_with("classification (0, 1): "), "{}", profile.schema);
}
