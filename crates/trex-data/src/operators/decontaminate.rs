//! Drops rows that repeat evaluation items. Reads the evaluation splits and nothing of them leaves this file.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::BuildHasherDefault;

use rayon::prelude::*;

use super::{LeakKeys, Outcome, key_of};
use crate::DataError;
use crate::minhash::{self, KeyHasher, PoolTexts, shingles};
use crate::pool::Pool;
use crate::text::{hash_of, words};

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
///
/// In memory are about 20 bytes for every distinct prompt of the pool while n-grams are counted, and of every evaluation
/// item 20 bytes and 16 for each of its n-grams (about 40 while they are counted).
pub(super) fn decontaminate(
    rows: Pool,
    evaluation: &Pool,
    ngram_words: usize,
    max_overlap: f64,
) -> Result<Outcome, DataError> {
    if evaluation.is_empty() {
        return Err(DataError::NoEvaluation);
    }
    let equal = LeakKeys::new(evaluation)?;
    let index = OverlapIndex::new(evaluation, &rows, ngram_words)?;
    Outcome::filtered(rows, |row| {
        if equal.has(row) {
            return Some("same prompt as an evaluation item");
        }
        index.overlaps(&key_of(row), max_overlap).then_some("shares n-grams with an evaluation item")
    })
}

/// Drops every row whose prompt has a Jaccard similarity of at least `threshold` to that of an evaluation item.
///
/// Pairs are proposed by MinHash-LSH and checked exactly, as in near deduplication; without evaluation items this is an
/// error. A row with several questions (few-shot) is compared as a whole.
pub(super) fn near(rows: Pool, evaluation: &Pool, threshold: f64, shingle_words: usize) -> Result<Outcome, DataError> {
    if evaluation.is_empty() {
        return Err(DataError::NoEvaluation);
    }
    let items = PoolTexts { pool: evaluation, text: key_of };
    let prompts = PoolTexts { pool: &rows, text: key_of };
    let like_item = minhash::near_any_of(&items, &prompts, threshold, shingle_words)?;
    let reasons: Vec<Option<&'static str>> =
        like_item.into_iter().map(|is_near| is_near.then_some("nearly equals an evaluation item")).collect();
    Outcome::without(rows, &reasons)
}

/// The n-grams of evaluation items that tell them apart, as hashes.
struct OverlapIndex {
    ngram_words: usize,
    /// N-grams with the items that have them, sorted.
    grams: Vec<(u64, u32)>,
    /// Which n-grams may be among them: most that are asked for are not.
    filter: GramFilter,
    /// Number of n-grams of every item.
    sizes: Vec<u32>,
}

type GramCounts = HashMap<u64, u32, BuildHasherDefault<KeyHasher>>;

impl OverlapIndex {
    fn new(evaluation: &Pool, rows: &Pool, ngram_words: usize) -> Result<Self, DataError> {
        let mut grams: Vec<(u64, u32)> = Vec::new();
        let mut sizes = vec![0; evaluation.len()];
        evaluation.for_each_portion(|first, items| {
            let found: Vec<Vec<u64>> = items.par_iter().map(|item| ngrams(&key_of(item), ngram_words)).collect();
            for (item, found) in (first..).zip(found) {
                let item = u32::try_from(item).unwrap_or(u32::MAX);
                grams.extend(found.into_iter().map(|gram| (gram, item)));
            }
            Ok(())
        })?;
        grams.par_sort_unstable();
        let of_items = most_of(evaluation.len());
        // What is common among the items is left out already.
        let mut counts: GramCounts = grams
            .chunk_by(|left, right| left.0 == right.0)
            .filter(|items| items.len() as f64 <= of_items)
            .filter_map(|items| Some((items.first()?.0, 0)))
            .collect();
        let num_prompts = count_in_prompts(&mut counts, rows, ngram_words)?;
        let of_prompts = most_of(num_prompts);
        grams.retain(|(gram, _)| counts.get(gram).is_some_and(|count| f64::from(*count) <= of_prompts));
        grams.shrink_to_fit();
        for (_, item) in &grams {
            if let Some(size) = sizes.get_mut(*item as usize) {
                *size += 1;
            }
        }
        Ok(Self { ngram_words, filter: GramFilter::new(&grams), grams, sizes })
    }

    /// Whether the text with this key has at least `max_overlap` of the n-grams of one item.
    fn overlaps(&self, key: &str, max_overlap: f64) -> bool {
        let mut shared: BTreeMap<u32, usize> = BTreeMap::new();
        for gram in ngrams(key, self.ngram_words).into_iter().filter(|gram| self.filter.may_have(*gram)) {
            let start = self.grams.partition_point(|(known, _)| *known < gram);
            for (_, item) in self.grams.iter().skip(start).take_while(|(known, _)| *known == gram) {
                *shared.entry(*item).or_default() += 1;
            }
        }
        shared.iter().any(|(item, count)| {
            let size = self.sizes.get(*item as usize).copied().unwrap_or(u32::MAX);
            *count as f64 >= max_overlap * f64::from(size)
        })
    }
}

/// Counts in how many distinct prompts of a pool each n-gram occurs; returns the number of those prompts.
fn count_in_prompts(counts: &mut GramCounts, rows: &Pool, ngram_words: usize) -> Result<usize, DataError> {
    let mut prompts: HashSet<u64, BuildHasherDefault<KeyHasher>> = HashSet::default();
    rows.for_each_portion(|_, rows| {
        let found: Vec<(u64, Vec<u64>)> = rows
            .par_iter()
            .with_min_len(32)
            .map(|row| {
                let key = key_of(row);
                let mut grams = ngrams(&key, ngram_words);
                grams.retain(|gram| counts.contains_key(gram));
                (hash_of(&key), grams)
            })
            .collect();
        for (prompt, grams) in found {
            if !prompts.insert(prompt) {
                continue;
            }
            for gram in grams {
                if let Some(count) = counts.get_mut(&gram) {
                    *count += 1;
                }
            }
        }
        Ok(())
    })?;
    Ok(prompts.len())
}

/// The largest number of texts in which an n-gram is not common.
fn most_of(num_texts: usize) -> f64 {
    (COMMON_SHARE * num_texts as f64).max(COMMON_MIN as f64)
}

/// One bit for the hash of an n-gram, sixteen times as many bits as n-grams (Bloom, 1970, with one function).
struct GramFilter {
    bits: Vec<u64>,
}

impl GramFilter {
    fn new(grams: &[(u64, u32)]) -> Self {
        let mut filter = Self { bits: vec![0; (grams.len() / 4).next_power_of_two().max(1)] };
        for (gram, _) in grams {
            let (word, bit) = filter.place(*gram);
            if let Some(word) = filter.bits.get_mut(word) {
                *word |= bit;
            }
        }
        filter
    }

    fn may_have(&self, gram: u64) -> bool {
        let (word, bit) = self.place(gram);
        self.bits.get(word).is_some_and(|word| word & bit > 0)
    }

    fn place(&self, gram: u64) -> (usize, u64) {
        ((gram >> 6) as usize & (self.bits.len() - 1), 1 << (gram & 63))
    }
}

/// The distinct n-grams of a key; none where it is shorter than one.
fn ngrams(key: &str, length: usize) -> Vec<u64> {
    if words(key).count() < length { Vec::new() } else { shingles(key, length) }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{ids, made, open_row};
    use super::*;

    const ITEM: &str = "a farmer has seventeen sheep and all but nine of them run away one night how many are left";

    #[track_caller]
    fn check(prompts: &[&str], evaluation: &[&str], kept: &[&str]) {
        let rows = prompts.iter().enumerate().map(|(row, prompt)| open_row(row, prompt, "a")).collect::<Vec<_>>();
        let items: Vec<_> = evaluation.iter().enumerate().map(|(row, prompt)| open_row(row, prompt, "a")).collect();
        assert_eq!(ids(&made(decontaminate(rows.into(), &items.into(), 4, 0.6)).rows), kept);
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
        assert!(made(decontaminate(vec![row].into(), &items.to_vec().into(), 4, 0.6)).rows.is_empty());
    }

    #[test]
    fn a_template_that_all_rows_share_is_no_leak() {
        let prompt = |name: usize| {
            format!("please decide whether the following person is known to you person{name} answer yes or no")
        };
        let rows = (0..100).map(|name| open_row(name, &prompt(name), "yes")).collect::<Vec<_>>();
        let items: Vec<_> = (90..190).map(|name| open_row(name, &prompt(name), "yes")).collect();
        let outcome = made(decontaminate(rows.into(), &items.into(), 4, 0.6));
        assert_eq!(outcome.rows.len(), 90);
    }

    #[test]
    fn near_copies_of_items_go() {
        let near_copy = ITEM.replace("seventeen", "eighteen");
        let rows = vec![open_row(0, &near_copy, "a"), open_row(1, "something else about cows and sheep and dogs", "a")];
        let items = Pool::from(vec![open_row(0, ITEM, "a")]);
        assert_eq!(ids(&made(near(rows.clone().into(), &items, 0.6, 3)).rows), ["t/1"]);
        assert_eq!(made(near(rows.clone().into(), &items, 0.99, 3)).rows.len(), 2);
        assert!(matches!(near(rows.into(), &Pool::default(), 0.6, 3), Err(DataError::NoEvaluation)));
    }

    #[test]
    fn nothing_to_compare_with_is_an_error() {
        let result = decontaminate(vec![open_row(0, "q", "a")].into(), &Pool::default(), 4, 0.6);
        assert!(matches!(result, Err(DataError::NoEvaluation)));
    }
}
