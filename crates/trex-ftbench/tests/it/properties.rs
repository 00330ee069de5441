//! What holds for every task and every seed.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use trex_domain::{ContentHash, Example};
use trex_ftbench::{DirtKind, MiniData, MiniTask, mini_tasks};

/// Words of a clean prompt, its options listed.
const MAX_WORDS: usize = 48;

fn key(example: &Example) -> String {
    example.prompt_text().split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}

fn evaluation(data: &MiniData) -> impl Iterator<Item = &Example> {
    data.search.iter().chain(&data.select).chain(&data.final_)
}

fn clean_pool(data: &MiniData) -> impl Iterator<Item = &Example> {
    data.pool.iter().filter(|row| data.dirt.kind_of(&row.id).is_none())
}

fn dirty(data: &MiniData, kind: DirtKind) -> Vec<&Example> {
    let ids: BTreeSet<&str> = data.dirt.ids(kind).collect();
    data.pool.iter().filter(|row| ids.contains(row.id.as_str())).collect()
}

/// All rows are there and named by split and row.
fn check_sizes_and_ids(task: MiniTask, data: &MiniData) {
    let name = task.name();
    let sizes = [data.pool.len(), data.search.len(), data.select.len(), data.final_.len()];
    assert_eq!(sizes, [1500, 300, 400, 500], "{name}");
    for (split, rows) in
        [("pool", &data.pool), ("search", &data.search), ("select", &data.select), ("final", &data.final_)]
    {
        for (index, row) in rows.iter().enumerate() {
            assert_eq!(row.id, format!("mini-{}/{split}/{index}", task.number()));
            assert_eq!((row.origin.source.as_str(), row.origin.row), (name.as_str(), index as u64));
            assert_eq!(row.options.is_empty(), task.spec().kind == trex_domain::TaskKind::Generate, "{}", row.id);
        }
    }
}

/// No prompt occurs twice in the evaluation splits or in the clean pool, and no group lies in two splits.
fn check_separation(task: MiniTask, data: &MiniData) {
    let mut prompts = BTreeSet::new();
    for row in evaluation(data).chain(clean_pool(data)) {
        assert!(prompts.insert(key(row)), "{}: {}", row.id, row.prompt_text());
    }
    let mut homes: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for row in evaluation(data).chain(clean_pool(data)) {
        if let Some(group) = &row.group {
            homes.entry(group).or_default().insert(row.id.split('/').nth(1).expect("ids have three parts"));
        }
    }
    let straddling: Vec<_> = homes.iter().filter(|(_, splits)| splits.len() > 1).collect();
    assert!(straddling.is_empty(), "{}: {straddling:?}", task.name());
}

/// Gold answers are right and listed, another option is wrong, and prompts are short.
fn check_clean_rows(task: MiniTask, data: &MiniData) {
    for row in evaluation(data).chain(clean_pool(data)) {
        let place = format!("{} {} {:?}", row.id, row.prompt_text(), row.answer);
        assert!(task.check(row, &row.answer), "{place}");
        assert!(!task.check(row, ""), "{place}");
        for option in row.options.iter().filter(|option| **option != row.answer) {
            assert!(!task.check(row, option), "{option} {place}");
        }
        let listed = row.options.iter().filter(|option| **option == row.answer).count();
        assert_eq!(listed, usize::from(!row.options.is_empty()), "{place}");
        assert_eq!(row.answer.trim(), row.answer, "{place}");
        let rendered: usize = row.rendered_prompt(1).iter().map(|turn| turn.content.split_whitespace().count()).sum();
        assert!(rendered <= MAX_WORDS, "{rendered} words: {place}");
        assert!(row.prompt_text().is_ascii() && row.answer.is_ascii(), "{place}");
    }
}

/// Every kind of dirt is there in the declared number and is what it claims to be.
fn check_dirt(task: MiniTask, data: &MiniData) {
    for kind in DirtKind::ALL {
        let expected = task.dirt_rates().num_rows(kind, data.pool.len());
        assert_eq!(data.dirt.count(kind), expected, "{} {kind:?}", task.name());
        assert_eq!(dirty(data, kind).len(), expected, "{} {kind:?}", task.name());
    }
    let evaluated: BTreeSet<_> = evaluation(data).map(|row| (row.prompt_text(), row.answer.clone())).collect();
    assert!(dirty(data, DirtKind::Leak).iter().all(|row| evaluated.contains(&(row.prompt_text(), row.answer.clone()))));
    let evaluated: BTreeSet<_> = evaluation(data).map(key).collect();
    for row in data.pool.iter().filter(|row| data.dirt.kind_of(&row.id) != Some(DirtKind::Leak)) {
        assert!(!evaluated.contains(&key(row)), "{} leaks", row.id);
    }
    let clean: BTreeMap<_, _> = clean_pool(data).map(|row| (row.prompt_text(), row)).collect();
    for row in dirty(data, DirtKind::ExactDuplicate) {
        let first = clean[&row.prompt_text()];
        assert!(first.answer == row.answer && first.origin.row < row.origin.row, "{}", row.id);
    }
    for kind in [DirtKind::NearDuplicate, DirtKind::OffTopic, DirtKind::Overlong, DirtKind::WrongLabel] {
        assert!(dirty(data, kind).iter().all(|row| !clean.contains_key(&row.prompt_text())), "{kind:?}");
    }
    let is_right = |row: &&Example| task.check(row, &row.answer);
    assert!(!dirty(data, DirtKind::WrongLabel).iter().any(is_right), "{}", task.name());
    assert!(!dirty(data, DirtKind::OffTopic).iter().any(is_right), "{}", task.name());
    assert!(dirty(data, DirtKind::EmptyAnswer).iter().all(|row| row.answer.is_empty()));
    assert!(dirty(data, DirtKind::Overlong).iter().all(|row| row.prompt_text().split_whitespace().count() > 100));
    assert!(
        dirty(data, DirtKind::Format).iter().all(|row| !row.answer.is_empty() && !row.options.contains(&row.answer))
    );
}

/// The labels of a fixed answer space have nearly the same shares in every split, and none is missing.
fn check_balance(task: MiniTask, data: &MiniData) {
    let labels = task.spec().prompt.options;
    let share = |rows: &[&Example], label: &str| {
        rows.iter().filter(|row| row.answer == label).count() as f64 / rows.len() as f64
    };
    let all: Vec<&Example> = evaluation(data).collect();
    let pool: Vec<&Example> = clean_pool(data).collect();
    for label in &labels {
        let whole = share(&all, label);
        assert!(whole > 0.04, "{} {label} {whole}", task.name());
        for rows in [&data.search, &data.select, &data.final_] {
            let part = share(&rows.iter().collect::<Vec<_>>(), label);
            assert!((part - whole).abs() < 0.1, "{} {label} {part} {whole}", task.name());
        }
        assert!((share(&pool, label) - whole).abs() < 0.1, "{} {label}", task.name());
    }
}

fn hash(data: &MiniData) -> ContentHash {
    let rows = [&data.pool, &data.search, &data.select, &data.final_];
    ContentHash::of_value("ftbench.test", &(rows, &data.dirt)).expect("rows have a JSON form")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_task_keeps_its_promises(seed in any::<u64>()) {
        for task in mini_tasks() {
            let data = task.generate(seed);
            check_sizes_and_ids(task, &data);
            check_separation(task, &data);
            check_clean_rows(task, &data);
            check_dirt(task, &data);
            check_balance(task, &data);
        }
    }

    #[test]
    fn equal_seeds_give_equal_rows(seed in any::<u64>()) {
        for task in mini_tasks() {
            let first = hash(&task.generate(seed));
            prop_assert_eq!(first, hash(&task.generate(seed)), "{}", task.name());
            prop_assert_ne!(first, hash(&task.generate(seed.wrapping_add(1))), "{}", task.name());
        }
    }
}
