//! Drops rows that repeat evaluation items. Reads the evaluation splits and nothing of them leaves this file.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use rayon::prelude::*;
use trex_domain::Example;

use super::{LeakKeys, Outcome, key_of};
use crate::DataError;
use crate::minhash::{self, shingles};
use crate::text::words;

/// Share of pool prompts, and of evaluation items, above which an n-gram is the template's and says nothing.
const COMMON_SHARE: f64 = 0.02;
/// So many occurrences are never common, however few rows there are.
const COMMON_MIN: usize = 5;

/// Drops every row whose prompt equals that of an evaluation item or contains at least `max_overlap` of its n-grams.
///
/// An n-gram counts unless it occurs in more than max(5, 2 %) of the distinct prompts of the pool or in more than
/// max(5, 2 %) of the evaluation items: such ones are the template that all rows share. Items with fewer than
/// `ngram_words` words, or with template n-grams only, are compared by equality. Without evaluation items this is an
/// error: a check that had nothing to check must not pass.
pub(super) fn decontaminate(
    rows: Vec<Example>,
    evaluation: &[Example],
    ngram_words: usize,
    max_overlap: f64,
) -> Result<Outcome, DataError> {
    if evaluation.is_empty() {
        return Err(DataError::NoEvaluation);
    }
    let equal = LeakKeys::new(evaluation);
    let row_keys: Vec<String> = rows.par_iter().map(key_of).collect();
    let index = OverlapIndex::new(evaluation, &row_keys, ngram_words);
    let reason = |(row, key): (&Example, &String)| {
        if equal.has(row) {
            return Some("same prompt as an evaluation item");
        }
        index.overlaps(key, max_overlap).then_some("shares n-grams with an evaluation item")
    };
    let reasons: Vec<_> = rows.par_iter().zip(&row_keys).map(reason).collect();
    Ok(Outcome::without(rows, &reasons))
}

/// Drops every row whose prompt has a Jaccard similarity of at least `threshold` to that of an evaluation item.
///
/// Pairs are proposed by MinHash-LSH and checked exactly, as in near deduplication; without evaluation items this is an
/// error. A row with several questions (few-shot) is compared as a whole.
pub(super) fn near(
    rows: Vec<Example>,
    evaluation: &[Example],
    threshold: f64,
    shingle_words: usize,
) -> Result<Outcome, DataError> {
    if evaluation.is_empty() {
        return Err(DataError::NoEvaluation);
    }
    let items: Vec<String> = evaluation.iter().map(key_of).collect();
    let prompts: Vec<String> = rows.iter().map(key_of).collect();
    let like_item = minhash::near_any_of(&items, &prompts, threshold, shingle_words);
    let reasons: Vec<Option<&'static str>> =
        like_item.into_iter().map(|is_near| is_near.then_some("nearly equals an evaluation item")).collect();
    Ok(Outcome::without(rows, &reasons))
}

/// The n-grams of evaluation items that tell them apart, as hashes.
struct OverlapIndex {
    ngram_words: usize,
    /// Items by n-gram.
    items: HashMap<u64, Vec<usize>>,
    /// Number of n-grams of every item.
    sizes: Vec<usize>,
}

impl OverlapIndex {
    fn new(evaluation: &[Example], row_keys: &[String], ngram_words: usize) -> Self {
        let prompts: BTreeSet<&String> = row_keys.iter().collect();
        let prompts: Vec<&String> = prompts.into_iter().collect();
        let of_items: Vec<Vec<u64>> = evaluation.par_iter().map(|item| ngrams(&key_of(item), ngram_words)).collect();
        let of_prompts: Vec<Vec<u64>> = prompts.par_iter().map(|key| ngrams(key, ngram_words)).collect();
        let mut template = common(&of_items);
        template.extend(common(&of_prompts));
        let mut index = Self { ngram_words, items: HashMap::new(), sizes: Vec::with_capacity(of_items.len()) };
        for (item, grams) in of_items.iter().enumerate() {
            let telling = grams.iter().filter(|gram| !template.contains(gram));
            let mut size = 0;
            for gram in telling {
                index.items.entry(*gram).or_default().push(item);
                size += 1;
            }
            index.sizes.push(size);
        }
        index
    }

    /// Whether the text with this key has at least `max_overlap` of the n-grams of one item.
    fn overlaps(&self, key: &str, max_overlap: f64) -> bool {
        let mut shared: BTreeMap<usize, usize> = BTreeMap::new();
        for item in ngrams(key, self.ngram_words).iter().filter_map(|gram| self.items.get(gram)).flatten() {
            *shared.entry(*item).or_default() += 1;
        }
        shared.iter().any(|(item, count)| {
            let size = self.sizes.get(*item).copied().unwrap_or(usize::MAX);
            *count as f64 >= max_overlap * size as f64
        })
    }
}

/// The distinct n-grams of a key; none where it is shorter than one.
fn ngrams(key: &str, length: usize) -> Vec<u64> {
    if words(key).count() < length { Vec::new() } else { shingles(key, length) }
}

/// The n-grams that occur in more than max(5, 2 %) of the texts.
fn common(texts: &[Vec<u64>]) -> HashSet<u64> {
    let most = (COMMON_SHARE * texts.len() as f64).max(COMMON_MIN as f64);
    let mut counts: HashMap<u64, usize> = HashMap::new();
    for gram in texts.iter().flatten() {
        *counts.entry(*gram).or_default() += 1;
    }
    counts.retain(|_, count| *count as f64 > most);
    counts.into_keys().collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{ids, open_row};
    use super::*;

    const ITEM: &str = "a farmer has seventeen sheep and all but nine of them run away one night how many are left";

    #[track_caller]
    fn check(prompts: &[&str], evaluation: &[&str], kept: &[&str]) {
        let rows = prompts.iter().enumerate().map(|(row, prompt)| open_row(row, prompt, "a")).collect();
        let items: Vec<_> = evaluation.iter().enumerate().map(|(row, prompt)| open_row(row, prompt, "a")).collect();
        assert_eq!(ids(&decontaminate(rows, &items, 4, 0.6).unwrap().rows), kept);
    }

    #[test]
    fn equal_and_overlapping_prompts_are_dropped() {
        let paraphrase = ITEM.replace("a farmer", "An old Farmer,");
        let other = "a farmer has twelve cows and sells three of them at the market how many cows remain with him";
        check(&["short one", ITEM, &paraphrase, other], &[ITEM, "Short one?"], &["t/3"]);
    }

    #[test]
    fn short_items_are_compared_by_equality() {
        check(&["two words", "two words more here"], &["Two words!"], &["t/1"]);
    }

    #[test]
    fn few_shot_rows_are_searched_for_each_question() {
        let mut row = open_row(0, "another question", "a");
        let shot = [trex_domain::Message::user("Leaked?"), trex_domain::Message::assistant("yes")];
        row.prompt.splice(0..0, shot);
        let items = [open_row(0, "leaked", "yes")];
        assert!(decontaminate(vec![row], &items, 4, 0.6).unwrap().rows.is_empty());
    }

    #[test]
    fn a_template_that_all_rows_share_is_no_leak() {
        let prompt = |name: usize| {
            format!("please decide whether the following person is known to you person{name} answer yes or no")
        };
        let rows = (0..100).map(|name| open_row(name, &prompt(name), "yes")).collect();
        let items: Vec<_> = (90..190).map(|name| open_row(name, &prompt(name), "yes")).collect();
        let outcome = decontaminate(rows, &items, 4, 0.6).unwrap();
        assert_eq!(outcome.rows.len(), 90);
    }

    #[test]
    fn near_copies_of_items_go() {
        let near_copy = ITEM.replace("seventeen", "eighteen");
        let rows = vec![open_row(0, &near_copy, "a"), open_row(1, "something else about cows and sheep and dogs", "a")];
        let items = [open_row(0, ITEM, "a")];
        assert_eq!(ids(&near(rows.clone(), &items, 0.6, 3).unwrap().rows), ["t/1"]);
        assert_eq!(near(rows.clone(), &items, 0.99, 3).unwrap().rows.len(), 2);
        assert!(matches!(near(rows, &[], 0.6, 3), Err(DataError::NoEvaluation)));
    }

    #[test]
    fn nothing_to_compare_with_is_an_error() {
        let result = decontaminate(vec![open_row(0, "q", "a")], &[], 4, 0.6);
        assert!(matches!(result, Err(DataError::NoEvaluation)));
    }
}
