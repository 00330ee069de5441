//! Files of a task become pool and splits.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use trex_data::{DataError, DataService, count_leaks, profile_file};
use trex_domain::{
    Budget, DataPort, DataSource, Example, FieldMap, ImportRequest, ImportedData, Message, Metric, ModelRef, Origin,
    PreparedRequest, Problem as _, PromptSpec, Recipe, SearchSettings, SplitSizes, SplitSource, TaskKind, TaskSpec,
    TrainConfig, TrainObjective,
};

fn task(train: PathBuf, dev: SplitSource, test: SplitSource) -> TaskSpec {
    let labels = [("0", "negative"), ("1", "positive")];
    let fields = FieldMap {
        input: Some("0".to_owned()),
        answer: Some("1".to_owned()),
        labels: labels.map(|(raw, answer)| (raw.to_owned(), answer.to_owned())).into(),
        ..FieldMap::default()
    };
    TaskSpec {
        device: trex_domain::DeviceChoice::Auto,
        name: "sentiment".to_owned(),
        goal: "tell positive from negative".to_owned(),
        kind: TaskKind::Choice,
        metric: Metric::Accuracy,
        model: ModelRef("bundled".to_owned()),
        data: DataSource::Files { train, dev, test, fields, terms: trex_domain::DataTerms::default() },
        splits: SplitSizes { search: 10, select: 20, final_: 0 },
        prompt: PromptSpec {
            system: None,
            template: "Pick {options}: {input}".to_owned(),
            options: vec!["negative".to_owned(), "positive".to_owned()],
            max_new_tokens: 4,
        },
        generation: trex_domain::GenerationConfig::default(),
        train: TrainConfig::default(),
        budget: Budget::default(),
        search: SearchSettings::default(),
    }
}

/// Writes rows `sentence number N of NAME TAB label` and returns the path.
fn write_rows(dir: &Path, file: &str, numbers: std::ops::Range<usize>) -> PathBuf {
    let mut text = String::new();
    for number in numbers {
        writeln!(text, "a sentence with the number {number}\t{}", number % 2).expect("a string takes all");
    }
    let path = dir.join(file);
    std::fs::create_dir_all(path.parent().expect("it lies in a folder")).expect("the folder is writable");
    std::fs::write(&path, text).expect("the folder is writable");
    path
}

struct Splits {
    pool: Vec<Example>,
    search: Vec<Example>,
    select: Vec<Example>,
    final_: Vec<Example>,
}

fn splits(service: &DataService, data: &ImportedData) -> Splits {
    let rows = |blob| service.blobs().get_lines(blob).expect("the blob was stored");
    Splits {
        pool: rows(&data.pool),
        search: rows(&data.search),
        select: rows(&data.select),
        final_: rows(&data.final_),
    }
}

fn import(dir: &TempDir, task: &TaskSpec, seed: u64) -> Result<(Splits, ImportedData), DataError> {
    let service = DataService::new(&dir.path().join("workspace"));
    let data = service.import_files(&ImportRequest { task, seed })?;
    Ok((splits(&service, &data), data))
}

fn prompts(rows: &[Example]) -> BTreeSet<String> {
    rows.iter().map(Example::prompt_text).collect()
}

#[test]
fn three_files_become_a_pool_and_three_disjoint_splits() {
    let dir = tempfile::tempdir().unwrap();
    let train = write_rows(dir.path(), "train.tsv", 0..60);
    let dev = write_rows(dir.path(), "dev.tsv", 100..200);
    // Ten rows of the dev file occur in the test file, three rows of the test file in the training file.
    let test = write_rows(dir.path(), "test.tsv", 190..230);
    std::fs::write(
        &test,
        std::fs::read_to_string(&test).unwrap()
            + &std::fs::read_to_string(&train).unwrap().lines().take(3).collect::<Vec<_>>().join("\n"),
    )
    .unwrap();
    let task = task(train, SplitSource::File(dev), SplitSource::File(test));
    let (splits, data) = import(&dir, &task, 1).unwrap();

    assert_eq!(data.rows, [60, 10, 20, 43]);
    assert!(data.seeded_prompts);
    let all = [&splits.search, &splits.select, &splits.final_].map(|rows| prompts(rows));
    assert_eq!(all.iter().map(BTreeSet::len).sum::<usize>(), all.iter().flatten().collect::<BTreeSet<_>>().len());
    assert_eq!(splits.pool[0].answer, "negative");
    assert_eq!(splits.pool[0].id, "train.tsv/0");

    let names: Vec<&str> = data.profiles.iter().map(|profile| profile.name.as_str()).collect();
    assert_eq!(names, ["train.tsv", "dev.tsv", "test.tsv"]);
    assert_eq!(data.profiles[0].leaked, Some(3));
    assert_eq!(count_leaks(&splits.pool, &splits.final_), 3);
    assert_eq!(data.profiles[0].labels, BTreeMap::from([("negative".to_owned(), 30), ("positive".to_owned(), 30)]));
    assert!(data.profiles[2].samples.is_empty() && !data.profiles[1].samples.is_empty());

    let (_, again) = import(&dir, &task, 1).unwrap();
    assert_eq!(again, data);
    let (_, other_seed) = import(&dir, &task, 2).unwrap();
    assert_eq!(other_seed.pool, data.pool);
    assert_ne!(other_seed.search, data.search);
}

#[test]
fn splits_without_a_file_are_held_out() {
    let dir = tempfile::tempdir().unwrap();
    let train = write_rows(dir.path(), "all.tsv", 0..400);
    let (splits, data) = import(&dir, &task(train, SplitSource::HeldOut, SplitSource::HeldOut), 5).unwrap();
    assert_eq!(data.rows[1..3], [10, 20]);
    let evaluation = [&splits.search[..], &splits.select, &splits.final_].concat();
    assert_eq!(count_leaks(&splits.pool, &evaluation), 0);
    assert!(splits.pool.len() > 200 && splits.final_.len() > 30);
    assert_eq!(data.profiles.len(), 1);
    assert_eq!(data.profiles[0].rows.kept, 400);
    assert_eq!(data.profiles[0].labels.values().sum::<usize>(), splits.pool.len());
}

#[test]
fn files_of_one_name_have_rows_of_different_ids() {
    let dir = tempfile::tempdir().unwrap();
    let [train, dev, test] = [("a", 0..50), ("b", 50..150), ("c", 150..200)]
        .map(|(folder, numbers)| write_rows(dir.path(), &format!("{folder}/rows.tsv"), numbers));
    let (splits, _) = import(&dir, &task(train, SplitSource::File(dev), SplitSource::File(test)), 1).unwrap();
    assert_eq!(splits.pool[0].id, "train-rows.tsv/0");
    let all = [splits.pool, splits.search, splits.select, splits.final_].concat();
    assert_eq!(all.iter().map(|row| &row.id).collect::<BTreeSet<_>>().len(), all.len());
}

#[track_caller]
fn check_empty(dir: &TempDir, task: &TaskSpec, split: &str, words: &str) {
    let err = import(dir, task, 1).err().expect("a split is empty");
    assert_eq!(err.code(), "data.empty_split", "{err}");
    assert!(
        err.to_string().starts_with(&format!("the {split} split is empty")) && err.to_string().contains(words),
        "{err}"
    );
    assert!(err.hint().is_some());
}

#[test]
fn an_empty_split_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let train = write_rows(dir.path(), "train.tsv", 0..60);
    let test = write_rows(dir.path(), "test.tsv", 60..90);
    let file = |path: &PathBuf| SplitSource::File(path.clone());
    check_empty(
        &dir,
        &task(train.clone(), file(&test), file(&test)),
        "search",
        "all occur in another evaluation split",
    );
    let few = write_rows(dir.path(), "few.tsv", 0..2);
    check_empty(&dir, &task(few, file(&train), SplitSource::HeldOut), "final", "few.tsv has 2 rows");
    let builtin = TaskSpec {
        data: DataSource::Builtin { name: "ftbench/mini-1".to_owned() },
        ..task(train, file(&test), file(&test))
    };
    assert_eq!(import(&dir, &builtin, 1).err().unwrap().code(), "data.not_files");
}

#[test]
fn every_row_of_a_profiled_file_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rows.jsonl");
    let text = "{\"text\":\"good\",\"label\":\"a\"}\n{\"text\":\n{\"label\":\"b\"}\n{\"text\":\"write ada@example.org\",\"label\":\"a\"}\n";
    std::fs::write(&path, text).unwrap();
    let profile = profile_file(&path).unwrap();
    assert_eq!((profile.rows.input, profile.rows.kept, profile.rows.quarantined), (4, 2, 2));
    let lines: Vec<u64> = profile.quarantine_sample.iter().map(|row| row.line).collect();
    assert_eq!((lines, profile.pii_rows, profile.format.as_str()), (vec![2, 3], 1, "jsonl"));
    assert_eq!(profile.samples, ["good → a", "write ada@example.org → a"]);
}

fn generated(name: &str, count: usize) -> Vec<Example> {
    let row = |number| Example {
        id: format!("{name}/{number}"),
        prompt: vec![Message::user(format!("{name} asks {number}"))],
        answer: "yes".to_owned(),
        options: vec!["yes".to_owned(), "no".to_owned()],
        group: None,
        rejected: None,
        origin: Origin { source: name.to_owned(), row: number as u64, changed_by: Vec::new() },
    };
    (0..count).map(row).collect()
}

#[test]
fn generated_rows_are_stored_as_they_are_and_prepared() {
    let dir = tempfile::tempdir().unwrap();
    let service = DataService::new(dir.path());
    let [pool, search, select, final_] =
        [("pool", 30), ("search", 3), ("select", 4), ("final", 5)].map(|(name, count)| generated(name, count));
    let data = service.import_generated("mini", &pool, &search, &select, &final_).unwrap();
    assert_eq!(data.rows, [30, 3, 4, 5]);
    assert!(!data.seeded_prompts);
    assert_eq!((data.profiles[0].name.as_str(), data.profiles[0].leaked), ("mini", Some(0)));
    assert_eq!(splits(&service, &data).select, select);
    let evaluation = [data.search, data.select, data.final_];
    let request = PreparedRequest { pool: data.pool, evaluation: &evaluation, recipe: &Recipe::default(), seed: 1 };
    let prepared = DataPort::prepare(&service, request).unwrap();
    assert_eq!((prepared.rows, prepared.leaked), (30, 0));
    let err = service.import_generated("mini", &pool, &search, &[], &final_).unwrap_err();
    assert_eq!(err.code(), "data.empty_split");
}

/// A task of one file with pairs or texts, from which evaluation items are held out.
fn task_of(train: PathBuf, kind: TaskKind, objective: TrainObjective) -> TaskSpec {
    TaskSpec {
        kind,
        data: DataSource::Files {
            train,
            dev: SplitSource::HeldOut,
            test: SplitSource::HeldOut,
            fields: FieldMap::default(),
            terms: trex_domain::DataTerms::default(),
        },
        splits: SplitSizes::default(),
        prompt: PromptSpec::default(),
        train: TrainConfig { objective, ..TrainConfig::default() },
        ..task(PathBuf::new(), SplitSource::HeldOut, SplitSource::HeldOut)
    }
}

#[test]
fn pairs_become_rows_with_a_better_and_a_worse_answer() {
    let dir = tempfile::tempdir().unwrap();
    let pair = |number: usize| {
        format!("{{\"prompt\":\"question {number}\",\"chosen\":\"good {number}\",\"rejected\":\"bad\"}}\n")
    };
    let path = dir.path().join("pairs.jsonl");
    std::fs::write(&path, (0..200).map(pair).collect::<String>()).unwrap();
    let task = task_of(path.clone(), TaskKind::Preference, TrainObjective::Dpo);
    let (splits, data) = import(&dir, &task, 1).unwrap();
    for rows in [&splits.pool, &splits.search, &splits.select, &splits.final_] {
        assert!(rows.iter().all(|row| row.rejected_answer() == Some("bad") && row.answer.starts_with("good")));
    }
    let service = DataService::new(&dir.path().join("workspace"));
    let evaluation = [data.search, data.select, data.final_];
    let recipe = Recipe::default();
    let request = PreparedRequest { pool: data.pool, evaluation: &evaluation, recipe: &recipe, seed: 1 };
    let prepared = service.prepare(request).unwrap();
    assert_eq!((prepared.pairs, prepared.texts), (prepared.rows, 0));
    let rows = write_rows(dir.path(), "rows.tsv", 0..60);
    let err = import(&dir, &task_of(rows, TaskKind::Preference, TrainObjective::Orpo), 1).err().unwrap();
    assert_eq!(err.code(), "data.no_pairs");
}

#[test]
fn raw_text_is_read_as_paragraphs_files_or_a_column() {
    let dir = tempfile::tempdir().unwrap();
    let check = |path: PathBuf, expected: usize, first: &str| {
        let (splits, _) = import(&dir, &task_of(path, TaskKind::Text, TrainObjective::Pretrain), 1).unwrap();
        let mut rows = [splits.pool, splits.search, splits.select, splits.final_].concat();
        assert!(rows.iter().all(Example::is_text));
        rows.sort_by_key(|row| row.origin.row);
        assert_eq!((rows.len(), rows[0].raw_text().as_str()), (expected, first));
    };
    let book = dir.path().join("book.txt");
    let paragraph = |n: usize| format!("paragraph {n}\ngoes on\n\n");
    std::fs::write(&book, (0..80).map(paragraph).collect::<String>()).unwrap();
    check(book, 80, "paragraph 0\ngoes on");
    let lines = dir.path().join("lines.txt");
    let line = |n: usize| format!("line {n}\n");
    std::fs::write(&lines, (0..80).map(line).collect::<String>()).unwrap();
    check(lines, 80, "line 0");
    let folder = dir.path().join("texts");
    std::fs::create_dir(&folder).unwrap();
    for n in 100..180 {
        std::fs::write(folder.join(format!("{n}.txt")), format!("text {n}\n\nwith {{input}} two paragraphs\n"))
            .unwrap();
    }
    check(folder, 80, "text 100\n\nwith {input} two paragraphs");
    let table = dir.path().join("table.jsonl");
    let row = |n: usize| format!("{{\"url\":\"u{n}\",\"text\":\"document {n}\",\"label\":1}}\n");
    std::fs::write(&table, (0..80).map(row).collect::<String>()).unwrap();
    check(table, 80, "document 0");
    let bare = dir.path().join("bare.csv");
    std::fs::write(&bare, "a,b\n1,2\n3,4\n").unwrap();
    let err = import(&dir, &task_of(bare, TaskKind::Text, TrainObjective::Pretrain), 1).err().unwrap();
    assert_eq!(err.code(), "data.no_column");
}
