//! Finds rows whose answer disagrees with that of the most similar rows. Judges closed answers only, and all rows at once.

use std::collections::{BTreeMap, HashMap};

use rayon::prelude::*;
use trex_domain::Example;

use super::Outcome;
use super::compare::{key_of, label_spaces, original_id};
use crate::DataError;
use crate::pool::Pool;
use crate::text::{hash_of, words};

/// Words in a larger share of the rows are skipped: they say nothing and cost most.
const COMMON_SHARE: f64 = 0.2;
/// So many rows with a word are never too many.
const COMMON_MIN: usize = 10;

/// Drops rows with whose label less than `min_agreement` of their `neighbours` nearest rows agree.
///
/// Nearness is the cosine of TF-IDF vectors, weight (1 + ln tf) · ln(N / df), over prompts. Only rows of the same label
/// space ([`label_spaces`]) are asked, and no copies of a row or rows of its group. Rows without label stay, and so does
/// a row with less than half of the wanted neighbours: too few can judge it.
///
/// In memory are 16 bytes for every distinct word of every labelled row, 40 bytes a row, and the distinct words.
pub(super) fn agreement(rows: Pool, neighbours: usize, min_agreement: f64) -> Result<Outcome, DataError> {
    let spaces = label_spaces(&rows)?;
    let (index, juries) = read_labelled(&rows, &spaces)?;
    let disagrees = |sums: &mut Vec<f32>, row: usize| {
        let nearest = index.nearest(sums, row, neighbours, &juries);
        let label = |at: usize| juries.labels.get(at);
        let agreeing = nearest.iter().filter(|other| label(**other) == label(row)).count();
        let enough = 2 * nearest.len() >= neighbours && !nearest.is_empty();
        enough && (agreeing as f64) < min_agreement * nearest.len() as f64
    };
    let num_labelled = index.vectors.len();
    let sums = || vec![0.0; num_labelled];
    let verdicts: Vec<bool> = (0..num_labelled).into_par_iter().map_init(sums, disagrees).collect();
    let mut verdicts = verdicts.into_iter();
    let reason = |space: &Option<u8>| {
        let is_wrong = space.is_some() && verdicts.next().unwrap_or(false);
        is_wrong.then_some("most similar rows have another answer")
    };
    let reasons: Vec<_> = spaces.iter().map(reason).collect();
    Outcome::without(rows, &reasons)
}

/// Takes what is compared from the labelled rows.
fn read_labelled(rows: &Pool, spaces: &[Option<u8>]) -> Result<(TermIndex, Juries), DataError> {
    let mut terms = Numbers::default();
    let mut frequencies: Vec<Vec<(u32, u32)>> = Vec::new();
    let mut juries = Juries::default();
    rows.for_each_portion(|first, rows| {
        let keys: Vec<String> = rows.par_iter().map(key_of).collect();
        for (number, (row, key)) in (first..).zip(rows.iter().zip(&keys)) {
            let Some(space) = spaces.get(number).copied().flatten() else { continue };
            let mut counts: BTreeMap<u32, u32> = BTreeMap::new();
            for word in words(key) {
                *counts.entry(terms.of(word)).or_default() += 1;
            }
            frequencies.push(counts.into_iter().collect());
            juries.add(row, space);
        }
        Ok(())
    })?;
    Ok((TermIndex::new(frequencies, terms.known.len()), juries))
}

/// TF-IDF vectors of unit length and, for each term, the rows that have it.
struct TermIndex {
    /// `(term, weight)` by row.
    vectors: Vec<Vec<(u32, f32)>>,
    /// `(row, weight)` by term.
    postings: Vec<Vec<(u32, f32)>>,
}

impl TermIndex {
    /// Takes how often each term occurs in each row.
    fn new(frequencies: Vec<Vec<(u32, u32)>>, num_terms: usize) -> Self {
        let mut rows_with = vec![0_usize; num_terms];
        frequencies.iter().flatten().for_each(|(term, _)| rows_with[*term as usize] += 1);
        let num_rows = frequencies.len();
        let vectors: Vec<_> =
            frequencies.into_iter().map(|counts| unit_vector(&counts, &rows_with, num_rows)).collect();
        let mut postings = vec![Vec::new(); num_terms];
        for (row, vector) in (0_u32..).zip(&vectors) {
            for (term, weight) in vector {
                postings[*term as usize].push((row, *weight));
            }
        }
        Self { vectors, postings }
    }

    /// The nearest rows that may judge a row, the most similar first, the earlier one of equals.
    ///
    /// `sums` has one zero per row, before and after.
    fn nearest(&self, sums: &mut [f32], row: usize, wanted: usize, juries: &Juries) -> Vec<usize> {
        for (term, weight) in &self.vectors[row] {
            for (other, other_weight) in &self.postings[*term as usize] {
                sums[*other as usize] += weight * other_weight;
            }
        }
        let mut found: Vec<(usize, f32)> = Vec::new();
        for (other, sum) in sums.iter_mut().enumerate().filter(|(_, sum)| **sum > 0.0) {
            let cosine = std::mem::take(sum);
            if juries.may_judge(row, other) {
                found.push((other, cosine));
            }
        }
        let by_similarity = |a: &(usize, f32), b: &(usize, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        if found.len() > wanted {
            found.select_nth_unstable_by(wanted, by_similarity);
            found.truncate(wanted);
        }
        found.sort_unstable_by(by_similarity);
        found.into_iter().map(|(other, _)| other).collect()
    }
}

/// Who may judge whom, as numbers: it is asked for every pair.
#[derive(Default)]
struct Juries {
    spaces: Vec<u8>,
    originals: Vec<u64>,
    groups: Vec<Option<u64>>,
    labels: Vec<u64>,
}

impl Juries {
    fn add(&mut self, row: &Example, space: u8) {
        self.spaces.push(space);
        self.originals.push(hash_of(original_id(&row.id)));
        self.groups.push(row.group.as_deref().map(hash_of));
        self.labels.push(hash_of(&row.answer));
    }

    /// Whether the rows share a label space and are neither copies of one row nor of one group.
    fn may_judge(&self, left: usize, right: usize) -> bool {
        let same_group = self.groups[left].is_some() && self.groups[left] == self.groups[right];
        let one_family = same_group || self.originals[left] == self.originals[right];
        !one_family && self.spaces[left] == self.spaces[right]
    }
}

/// Numbers names from 0 in the order in which they come.
#[derive(Default)]
struct Numbers {
    known: HashMap<String, u32>,
}

impl Numbers {
    fn of(&mut self, name: &str) -> u32 {
        if let Some(number) = self.known.get(name) {
            return *number;
        }
        let next = u32::try_from(self.known.len()).unwrap_or(u32::MAX);
        self.known.insert(name.to_owned(), next);
        next
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a weight needs no more digits than f32 has")]
fn unit_vector(counts: &[(u32, u32)], rows_with: &[usize], num_rows: usize) -> Vec<(u32, f32)> {
    let most = (COMMON_SHARE * num_rows as f64).max(COMMON_MIN as f64);
    let weight = |(term, count): &(u32, u32)| {
        let rows = rows_with[*term as usize] as f64;
        let weight = (1.0 + f64::from(*count).ln()) * (num_rows as f64 / rows).ln();
        (rows <= most && weight > 0.0).then_some((*term, weight as f32))
    };
    let mut vector: Vec<(u32, f32)> = counts.iter().filter_map(weight).collect();
    let norm = vector.iter().map(|(_, weight)| weight * weight).sum::<f32>().sqrt();
    for (_, weight) in &mut vector {
        *weight /= norm;
    }
    vector
}

#[cfg(test)]
mod tests {
    use super::super::tests::{choice_row, ids, made, open_row};
    use super::*;

    fn pool() -> Vec<Example> {
        let topics = ["apple pear plum cherry", "hammer saw drill wrench"];
        let row = |index: usize| {
            let words: Vec<&str> = topics[index % 2].split(' ').collect();
            let prompt = format!("classify {} {} item{index}", words[index / 2 % 4], words[(index / 2 + 1) % 4]);
            choice_row(index, &prompt, ["yes", "no"][index % 2])
        };
        (0..40).map(row).collect()
    }

    #[test]
    fn a_wrong_label_among_its_like_is_dropped() {
        let mut rows = pool();
        rows[8].answer = "no".into();
        let outcome = made(agreement(rows.into(), 5, 0.5));
        assert_eq!(outcome.dropped.values().sum::<usize>(), 1);
        assert!(!ids(&outcome.rows).contains(&"t/8"));
    }

    #[test]
    fn rows_that_nobody_can_judge_stay() {
        let mut rows = pool();
        rows.push(choice_row(40, "something entirely different", "maybe"));
        rows.push(open_row(41, "apple pear", "open"));
        let outcome = made(agreement(rows.into(), 5, 0.5));
        assert_eq!(outcome.rows.len(), 42);
    }

    #[test]
    fn answers_among_options_of_their_own_are_no_votes() {
        let mut rows = pool();
        for (index, row) in rows.iter_mut().enumerate() {
            row.options = vec![format!("a{index}"), format!("b{index}")];
            row.answer = format!("a{index}");
        }
        assert_eq!(made(agreement(rows.into(), 5, 0.5)).rows.len(), 40);
    }
}
