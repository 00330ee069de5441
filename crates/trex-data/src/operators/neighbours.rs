//! Finds rows whose answer disagrees with that of the most similar rows. Judges closed answers only, and all rows at once.

use std::collections::{BTreeMap, HashMap};

use rayon::prelude::*;
use trex_domain::Example;

use super::Outcome;
use super::compare::{key_of, same_family};
use crate::text::words;

/// Words in a larger share of the rows are skipped: they say nothing and cost most.
const COMMON_SHARE: f64 = 0.2;
/// So many rows with a word are never too many.
const COMMON_MIN: usize = 10;

/// Drops closed rows with whose answer less than `min_agreement` of their `neighbours` nearest rows agree.
///
/// Nearness is the cosine of TF-IDF vectors, weight (1 + ln tf) · ln(N / df), over prompts. Copies of a row and rows of
/// its group are not asked. A row with less than half of the wanted neighbours is kept: too few can judge it.
pub(super) fn agreement(rows: Vec<Example>, neighbours: usize, min_agreement: f64) -> Outcome {
    let closed: Vec<&Example> = rows.iter().filter(|row| !row.options.is_empty()).collect();
    let index = TermIndex::new(&closed);
    let disagrees = |scores: &mut Scores, row: usize| {
        let nearest = index.nearest(scores, row, neighbours, &closed);
        let answer = |at: usize| closed.get(at).map(|row| row.answer.as_str());
        let agreeing = nearest.iter().filter(|other| answer(**other) == answer(row)).count();
        let enough = 2 * nearest.len() >= neighbours && !nearest.is_empty();
        enough && (agreeing as f64) < min_agreement * nearest.len() as f64
    };
    let scores = || Scores::new(closed.len());
    let verdicts: Vec<bool> = (0..closed.len()).into_par_iter().map_init(scores, disagrees).collect();
    let mut verdicts = verdicts.into_iter();
    Outcome::filtered(rows, |row| {
        let is_closed = !row.options.is_empty();
        let is_wrong = is_closed && verdicts.next().unwrap_or(false);
        is_wrong.then_some("most similar rows have another answer")
    })
}

/// TF-IDF vectors of unit length and, for each term, the rows that have it.
struct TermIndex {
    vectors: Vec<Vec<(usize, f64)>>,
    postings: Vec<Vec<(usize, f64)>>,
}

impl TermIndex {
    fn new(rows: &[&Example]) -> Self {
        let keys: Vec<String> = rows.par_iter().map(|row| key_of(row)).collect();
        let mut terms: HashMap<&str, usize> = HashMap::new();
        let mut frequencies: Vec<BTreeMap<usize, usize>> = Vec::with_capacity(keys.len());
        for key in &keys {
            let mut counts = BTreeMap::new();
            for word in words(key) {
                let next = terms.len();
                *counts.entry(*terms.entry(word).or_insert(next)).or_default() += 1;
            }
            frequencies.push(counts);
        }
        let mut rows_with = vec![0_usize; terms.len()];
        frequencies.iter().flat_map(BTreeMap::keys).for_each(|term| rows_with[*term] += 1);
        let vectors: Vec<_> = frequencies.iter().map(|counts| unit_vector(counts, &rows_with, keys.len())).collect();
        let mut postings = vec![Vec::new(); terms.len()];
        for (row, vector) in vectors.iter().enumerate() {
            vector.iter().for_each(|(term, weight)| postings[*term].push((row, *weight)));
        }
        Self { vectors, postings }
    }

    /// The nearest rows of other families, the most similar first, the earlier one of equals.
    fn nearest(&self, scores: &mut Scores, row: usize, wanted: usize, rows: &[&Example]) -> Vec<usize> {
        for (term, weight) in &self.vectors[row] {
            self.postings[*term].iter().for_each(|(other, other_weight)| scores.add(*other, weight * other_weight));
        }
        let mut found = scores.take();
        found.retain(|(other, _)| !same_family(rows[row], rows[*other]));
        let by_similarity = |a: &(usize, f64), b: &(usize, f64)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        if found.len() > wanted {
            found.select_nth_unstable_by(wanted, by_similarity);
            found.truncate(wanted);
        }
        found.sort_unstable_by(by_similarity);
        found.into_iter().map(|(other, _)| other).collect()
    }
}

fn unit_vector(counts: &BTreeMap<usize, usize>, rows_with: &[usize], num_rows: usize) -> Vec<(usize, f64)> {
    let most = (COMMON_SHARE * num_rows as f64).max(COMMON_MIN as f64);
    let weight = |(term, count): (&usize, &usize)| {
        let rows = rows_with[*term] as f64;
        let weight = (1.0 + (*count as f64).ln()) * (num_rows as f64 / rows).ln();
        (rows <= most && weight > 0.0).then_some((*term, weight))
    };
    let mut vector: Vec<(usize, f64)> = counts.iter().filter_map(weight).collect();
    let norm = vector.iter().map(|(_, weight)| weight * weight).sum::<f64>().sqrt();
    vector.iter_mut().for_each(|(_, weight)| *weight /= norm);
    vector
}

/// Dot products of one row with all others; reused, so a row costs only what it touches.
struct Scores {
    sums: Vec<f64>,
    touched: Vec<usize>,
}

impl Scores {
    fn new(num_rows: usize) -> Self {
        Self { sums: vec![0.0; num_rows], touched: Vec::new() }
    }

    fn add(&mut self, row: usize, product: f64) {
        let Some(sum) = self.sums.get_mut(row) else { return };
        if *sum == 0.0 {
            self.touched.push(row);
        }
        *sum += product;
    }

    /// All rows with their sums; starts over.
    fn take(&mut self) -> Vec<(usize, f64)> {
        let sums = &mut self.sums;
        self.touched.drain(..).map(|row| (row, std::mem::take(&mut sums[row]))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{choice_row, ids, open_row};
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
        let outcome = agreement(rows, 5, 0.5);
        assert_eq!(outcome.dropped.values().sum::<usize>(), 1);
        assert!(!ids(&outcome.rows).contains(&"t/8"));
    }

    #[test]
    fn rows_that_nobody_can_judge_stay() {
        let mut rows = pool();
        rows.push(choice_row(40, "something entirely different", "maybe"));
        rows.push(open_row(41, "apple pear", "open"));
        let outcome = agreement(rows, 5, 0.5);
        assert_eq!(outcome.rows.len(), 42);
    }
}
