//! What the tests of tasks 6 to 10 ask of every generator. Holds no task of its own.

use std::collections::{BTreeMap, BTreeSet};

use trex_domain::seeded_rng;

use crate::generator::{Generator, RawItem};

const NUM_DRAWS: usize = 4_000;
const MIN_DISTINCT: usize = 2_500;
const MAX_WORDS: usize = 48;

/// The first `count` items of a seed.
pub(crate) fn items(task: &dyn Generator, seed: u64, count: usize) -> Vec<RawItem> {
    let mut rng = seeded_rng(seed, "mini task test");
    (0..count).map(|_| task.item(&mut rng)).collect()
}

/// Determinism, variety, length, options, and a check that says yes to gold and no to everything else.
#[track_caller]
pub(crate) fn check_generator(task: &dyn Generator) {
    assert_eq!(items(task, 3, 200), items(task, 3, 200), "the same seed gives the same items");
    assert_ne!(items(task, 3, 200), items(task, 4, 200), "the seed matters");
    let drawn = items(task, 0, NUM_DRAWS);
    let distinct: BTreeSet<_> = drawn.iter().map(|item| &item.prompt).collect();
    assert!(distinct.len() >= MIN_DISTINCT, "only {} distinct prompts", distinct.len());
    check_groups(&drawn);
    for (item, other) in drawn.iter().zip(drawn.iter().skip(1)) {
        check_item(task, item);
        if item.answer != other.answer {
            assert!(!task.check(&item.prompt, &other.answer), "{} took {}", item.prompt, other.answer);
        }
    }
}

#[track_caller]
fn check_item(task: &dyn Generator, item: &RawItem) {
    let RawItem { prompt, answer, options, .. } = item;
    assert!(prompt.split_whitespace().count() <= MAX_WORDS, "{prompt}");
    assert_eq!(*prompt, prompt.to_lowercase());
    assert!(task.check(prompt, answer), "{prompt} -> {answer}");
    let rendered = prompt.replace("{options}", &options.join(", "));
    assert!(task.check(&rendered, answer), "{rendered} -> {answer}");
    assert!(!task.check(prompt, ""));
    assert!(!task.check(prompt, &format!("{answer} {answer}")), "{prompt} -> {answer} twice");
    assert!(!task.check("an unrelated line", answer));
    assert_eq!(options.is_empty(), !prompt.contains("{options}"));
    assert!(options.is_empty() || options.contains(answer));
    assert_eq!(options.is_empty(), task.info().options.is_empty());
}

/// Equal prompts have equal answers and groups.
#[track_caller]
fn check_groups(drawn: &[RawItem]) {
    let mut by_prompt = BTreeMap::new();
    for item in drawn {
        let first = by_prompt.entry(&item.prompt).or_insert(item);
        assert_eq!(*first, item);
    }
}
