//! Finds rows whose answer disagrees with that of the most similar rows. Judges closed answers only, and all rows at once.

use std::collections::{BTreeMap, HashMap};

use rayon::prelude::*;
use trex_domain::Example;

use super::Outcome;
use super::compare::{key_of, label_spaces, original_id};
use crate::text::words;

/// Words in a larger share of the rows are skipped: they say nothing and cost most.
const COMMON_SHARE: f64 = 0.2;
/// So many rows with a word are never too many.
const COMMON_MIN: usize = 10;

/// Drops rows with whose label less than `min_agreement` of their `neighbours` nearest rows agree.
///
/// Nearness is the cosine of TF-IDF vectors, weight (1 + ln tf) · ln(N / df), over prompts. Only rows of the same label
/// space ([`label_spaces`]) are asked, and no copies of a row or rows of its group. Rows without label stay, and so does
/// a row with less than half of the wanted neighbours: too few can judge it.
pub(super) fn agreement(rows: Vec<Example>, neighbours: usize, min_agreement: f64) -> Outcome {
    let spaces = label_spaces(&rows);
    let labelled: Vec<&Example> =
        rows.iter().zip(&spaces).filter(|(_, space)| space.is_some()).map(|(row, _)| row).collect();
    let index = TermIndex::new(&labelled);
    let juries = Juries::new(&labelled, spaces.iter().flatten().copied().collect());
    let disagrees = |sums: &mut Vec<f32>, row: usize| {
        let nearest = index.nearest(sums, row, neighbours, &juries);
        let label = |at: usize| labelled.get(at).map(|row| row.answer.as_str());
        let agreeing = nearest.iter().filter(|other| label(**other) == label(row)).count();
        let enough = 2 * nearest.len() >= neighbours && !nearest.is_empty();
        enough && (agreeing as f64) < min_agreement * nearest.len() as f64
    };
    let sums = || vec![0.0; labelled.len()];
    let verdicts: Vec<bool> = (0..labelled.len()).into_par_iter().map_init(sums, disagrees).collect();
    let mut verdicts = verdicts.into_iter();
    let reason = |space: &Option<usize>| {
        let is_wrong = space.is_some() && verdicts.next().unwrap_or(false);
        is_wrong.then_some("most similar rows have another answer")
    };
    let reasons: Vec<_> = spaces.iter().map(reason).collect();
    Outcome::without(rows, &reasons)
}

/// TF-IDF vectors of unit length and, for each term, the rows that have it.
struct TermIndex {
    /// `(term, weight)` by row.
    vectors: Vec<Vec<(usize, f32)>>,
    /// `(row, weight)` by term.
    postings: Vec<Vec<(u32, f32)>>,
}

impl TermIndex {
    fn new(rows: &[&Example]) -> Self {
        let keys: Vec<String> = rows.par_iter().map(|row| key_of(row)).collect();
        let mut terms = Numbers::default();
        let mut frequencies: Vec<BTreeMap<usize, usize>> = Vec::with_capacity(keys.len());
        for key in &keys {
            let mut counts = BTreeMap::new();
            for word in words(key) {
                *counts.entry(terms.of(word)).or_default() += 1;
            }
            frequencies.push(counts);
        }
        let mut rows_with = vec![0_usize; terms.known.len()];
        frequencies.iter().flat_map(BTreeMap::keys).for_each(|term| rows_with[*term] += 1);
        let vectors: Vec<_> = frequencies.iter().map(|counts| unit_vector(counts, &rows_with, keys.len())).collect();
        let mut postings = vec![Vec::new(); terms.known.len()];
        for (row, vector) in (0_u32..).zip(&vectors) {
            for (term, weight) in vector {
                postings[*term].push((row, *weight));
            }
        }
        Self { vectors, postings }
    }

    /// The nearest rows that may judge a row, the most similar first, the earlier one of equals.
    ///
    /// `sums` has one zero per row, before and after.
    fn nearest(&self, sums: &mut [f32], row: usize, wanted: usize, juries: &Juries) -> Vec<usize> {
        for (term, weight) in &self.vectors[row] {
            for (other, other_weight) in &self.postings[*term] {
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
struct Juries {
    spaces: Vec<usize>,
    originals: Vec<usize>,
    groups: Vec<Option<usize>>,
}

impl Juries {
    fn new(rows: &[&Example], spaces: Vec<usize>) -> Self {
        let (mut originals, mut groups) = (Numbers::default(), Numbers::default());
        Self {
            spaces,
            originals: rows.iter().map(|row| originals.of(original_id(&row.id))).collect(),
            groups: rows.iter().map(|row| row.group.as_deref().map(|group| groups.of(group))).collect(),
        }
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
struct Numbers<'a> {
    known: HashMap<&'a str, usize>,
}

impl<'a> Numbers<'a> {
    fn of(&mut self, name: &'a str) -> usize {
        let next = self.known.len();
        *self.known.entry(name).or_insert(next)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a weight needs no more digits than f32 has")]
fn unit_vector(counts: &BTreeMap<usize, usize>, rows_with: &[usize], num_rows: usize) -> Vec<(usize, f32)> {
    let most = (COMMON_SHARE * num_rows as f64).max(COMMON_MIN as f64);
    let weight = |(term, count): (&usize, &usize)| {
        let rows = rows_with[*term] as f64;
        let weight = (1.0 + (*count as f64).ln()) * (num_rows as f64 / rows).ln();
        (rows <= most && weight > 0.0).then_some((*term, weight as f32))
    };
    let mut vector: Vec<(usize, f32)> = counts.iter().filter_map(weight).collect();
    let norm = vector.iter().map(|(_, weight)| weight * weight).sum::<f32>().sqrt();
    for (_, weight) in &mut vector {
        *weight /= norm;
    }
    vector
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

    #[test]
    fn answers_among_options_of_their_own_are_no_votes() {
        let mut rows = pool();
        for (index, row) in rows.iter_mut().enumerate() {
            row.options = vec![format!("a{index}"), format!("b{index}")];
            row.answer = format!("a{index}");
        }
        assert_eq!(agreement(rows, 5, 0.5).rows.len(), 40);
    }
}
