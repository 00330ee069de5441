//! Splits by hash, so that a row keeps its split when others are added, and rows of one group never straddle.
//!
//! The key of a row is its group, or its normalised prompt where it has none. Writes nothing.

use std::collections::{BTreeSet, HashSet};
use std::hash::BuildHasherDefault;

use trex_domain::Example;

use crate::DataError;
use crate::minhash::KeyHasher;
use crate::pool::Pool;
use crate::text::{hash_of, normalise_key};

/// Share of the groups of a training file that is held out for search and select, where the task has no dev file.
pub const HELD_OUT_DEV_SHARE: f64 = 0.15;

/// Share of the groups of a training file that is held out for the sealed split, where the task has no test file.
pub const HELD_OUT_TEST_SHARE: f64 = 0.15;

/// Rows of a training file by where they go.
#[derive(Clone, Debug)]
pub(crate) struct HeldOut {
    /// The pool.
    pub(crate) train: Pool,
    /// For search and select; empty where not asked for.
    pub(crate) dev: Pool,
    /// For the sealed split; empty where not asked for.
    pub(crate) test: Pool,
}

/// What is held out of a training file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HoldOut {
    /// Rows for search and select.
    pub(crate) dev: bool,
    /// Rows for the sealed split.
    pub(crate) test: bool,
}

/// Holds rows out of a training file. A row of the test share stays in the pool where no test split is asked for.
pub(crate) fn hold_out(rows: &Pool, wanted: HoldOut, seed: u64) -> Result<HeldOut, DataError> {
    let parts = rows.facts(|row| {
        let position = position(seed, "held out", &split_key(row));
        let is_test = position < HELD_OUT_TEST_SHARE;
        let is_dev = !is_test && position < HELD_OUT_TEST_SHARE + HELD_OUT_DEV_SHARE;
        if is_test && wanted.test {
            Part::Test
        } else if is_dev && wanted.dev {
            Part::Dev
        } else {
            Part::Train
        }
    })?;
    let those_of = |part: Part| {
        let mut rows = rows.clone();
        rows.retain(|number| parts.get(number) == Some(&part));
        rows
    };
    Ok(HeldOut { train: those_of(Part::Train), dev: those_of(Part::Dev), test: those_of(Part::Test) })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Train,
    Dev,
    Test,
}

/// Halves the dev rows into search and select.
pub(crate) fn search_and_select(dev: &Pool, seed: u64) -> Result<(Pool, Pool), DataError> {
    let is_search = dev.facts(|row| position(seed, "halves", &split_key(row)) < 0.5)?;
    let (mut search, mut select) = (dev.clone(), dev.clone());
    search.retain(|number| is_search.get(number) == Some(&true));
    select.retain(|number| is_search.get(number) == Some(&false));
    Ok((search, select))
}

/// Puts rows in an order that depends on the seed and their ids only and keeps the first `limit`; 0 keeps all.
///
/// A smaller limit keeps a subset of what a larger one keeps.
pub(crate) fn shuffled_and_capped(rows: Pool, limit: usize, seed: u64) -> Result<Pool, DataError> {
    let mut order = drawn_order(&rows, seed)?;
    order.truncate(if limit == 0 { usize::MAX } else { limit });
    Ok(rows.reordered(&order))
}

/// The numbers of all rows in an order that depends on the seed and their ids only.
pub(crate) fn drawn_order(rows: &Pool, seed: u64) -> Result<Vec<u32>, DataError> {
    let keys = rows.facts(|row| {
        let first = digest(seed, "order", &row.id).first_chunk().copied().unwrap_or_default();
        u128::from_be_bytes(first)
    })?;
    let mut order: Vec<u32> = (0..u32::try_from(rows.len()).unwrap_or(u32::MAX)).collect();
    order.sort_by_key(|number| keys.get(*number as usize));
    Ok(order)
}

/// Prompts that some split has, as hashes.
pub(crate) type TakenPrompts = HashSet<u64, BuildHasherDefault<KeyHasher>>;

/// Keeps the first of rows with equal normalised prompt, and none whose prompt is in `taken`; adds the kept ones to it.
pub(crate) fn without_taken(mut rows: Pool, taken: &mut TakenPrompts) -> Result<Pool, DataError> {
    let prompts = rows.facts(|row| hash_of(&normalise_key(&row.prompt_text())))?;
    rows.retain(|number| prompts.get(number).is_some_and(|prompt| taken.insert(*prompt)));
    Ok(rows)
}

/// How many rows have the normalised prompt of an evaluation item.
pub fn count_leaks(rows: &[Example], evaluation: &[Example]) -> usize {
    let known: BTreeSet<String> = evaluation.iter().map(|item| normalise_key(&item.prompt_text())).collect();
    rows.iter().filter(|row| known.contains(&normalise_key(&row.prompt_text()))).count()
}

/// Where the group of a row lies in [0, 1) for the splits of a recipe.
pub(crate) fn group_position(seed: u64, row: &Example) -> f64 {
    position(seed, "recipe split", &split_key(row))
}

/// What must not straddle; the prefix keeps a group and a prompt of equal text apart.
fn split_key(row: &Example) -> String {
    match &row.group {
        Some(group) => format!("group/{group}"),
        None => format!("prompt/{}", normalise_key(&row.prompt_text())),
    }
}

/// A number in [0, 1) drawn by hash, even over keys.
fn position(seed: u64, purpose: &str, key: &str) -> f64 {
    let first = digest(seed, purpose, key).first_chunk().copied().unwrap_or_default();
    // 53 bits are what an f64 holds exactly.
    let bits = u64::from_le_bytes(first) >> 11;
    bits as f64 / (1_u64 << 53) as f64
}

fn digest(seed: u64, purpose: &str, key: &str) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.update(purpose.as_bytes());
    hasher.update(&[0]);
    hasher.update(key.as_bytes());
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use trex_domain::{Message, Origin};

    use super::*;

    fn row(number: usize, prompt: &str, group: Option<&str>) -> Example {
        Example {
            id: format!("t/{number}"),
            prompt: vec![Message::user(prompt)],
            answer: "a".to_owned(),
            options: Vec::new(),
            group: group.map(String::from),
            rejected: None,
            origin: Origin::default(),
        }
    }

    fn numbered(count: usize) -> Pool {
        (0..count).map(|number| row(number, &format!("question {number}"), None)).collect::<Vec<_>>().into()
    }

    fn ids(rows: &Pool) -> Vec<String> {
        rows.facts(|row| row.id.clone()).unwrap()
    }

    const BOTH: HoldOut = HoldOut { dev: true, test: true };

    #[test]
    fn shares_are_as_documented_and_a_split_depends_on_the_seed() {
        let parts = hold_out(&numbered(4000), BOTH, 7).unwrap();
        // Within four standard deviations of 4000 · 0.15: √(4000 · 0.15 · 0.85) ≈ 22.6.
        assert!(parts.dev.len().abs_diff(600) < 91 && parts.test.len().abs_diff(600) < 91);
        assert_ne!(ids(&parts.test), ids(&hold_out(&numbered(4000), BOTH, 8).unwrap().test));
        let (search, select) = search_and_select(&parts.dev, 7).unwrap();
        assert!(search.len().abs_diff(select.len()) < 100);
        assert_eq!(search.len() + select.len(), parts.dev.len());
    }

    #[test]
    fn what_is_not_wanted_stays_in_the_pool_and_the_rest_does_not_move() {
        let both = hold_out(&numbered(500), BOTH, 1).unwrap();
        let dev_only = hold_out(&numbered(500), HoldOut { dev: true, test: false }, 1).unwrap();
        assert_eq!(ids(&dev_only.dev), ids(&both.dev));
        assert_eq!(dev_only.train.len(), both.train.len() + both.test.len());
    }

    #[test]
    fn caps_are_nested_and_zero_means_all() {
        let ids = |limit| ids(&shuffled_and_capped(numbered(50), limit, 3).unwrap());
        assert_eq!(ids(0).len(), 50);
        assert_eq!(ids(10), ids(0)[..10]);
        assert_ne!(ids(0), (0..50).map(|number| format!("t/{number}")).collect::<Vec<_>>());
    }

    #[test]
    fn leaks_are_counted_by_normalised_prompt() {
        let pool = [row(0, "Is it RAINING?", None), row(1, "is it raining", None), row(2, "Is it snowing?", None)];
        assert_eq!(count_leaks(&pool, &[row(9, "is it raining!", None)]), 2);
        assert_eq!(count_leaks(&pool, &[]), 0);
    }

    proptest! {
        #[test]
        fn equal_groups_never_straddle(groups in proptest::collection::vec(0_u8..12, 1..80), seed in any::<u64>()) {
            let rows = groups.iter().enumerate().map(|(number, group)| {
                // Every third group number stands for rows without a group that share a prompt.
                let name = format!("g{group}");
                if group % 3 == 0 { row(number, &name, None) } else { row(number, &format!("{number}"), Some(&name)) }
            });
            let parts = hold_out(&rows.collect::<Vec<_>>().into(), BOTH, seed).unwrap();
            let (search, select) = search_and_select(&parts.dev, seed).unwrap();
            let mut place = BTreeMap::new();
            for (name, part) in [("train", parts.train), ("search", search), ("select", select), ("test", parts.test)] {
                for row in part.into_rows().unwrap() {
                    prop_assert_eq!(*place.entry(split_key(&row)).or_insert(name), name);
                }
            }
        }

        #[test]
        fn no_prompt_is_taken_twice(prompts in proptest::collection::vec("[ab]{1,2}", 0..40)) {
            let rows = prompts.iter().enumerate().map(|(number, prompt)| row(number, prompt, None)).collect::<Vec<_>>();
            let mut taken = TakenPrompts::from_iter([hash_of("a")]);
            let kept = without_taken(rows.into(), &mut taken).unwrap().into_rows().unwrap();
            let distinct: BTreeSet<String> = kept.iter().map(Example::prompt_text).collect();
            prop_assert_eq!(distinct.len(), kept.len());
            prop_assert!(!distinct.contains("a"));
        }
    }
}
