//! Operators that compare what prompts mean, by the vectors of an embedding model. They know no model.
//!
//! All pairs are compared, which for n rows of width w takes n²·w steps; up to about a hundred thousand rows that is
//! less than making the vectors takes. The vectors are in memory, 4·w bytes a row (1,536 for all-MiniLM-L6-v2), twice as
//! much in `diverse_sample`.

use std::collections::BTreeMap;

use rayon::prelude::*;
use trex_domain::Vectors;

use super::compare::answer_key;
use super::{Context, Outcome};
use crate::DataError;
use crate::meaning::{dot, question_text, vectors_of};
use crate::pool::Pool;
use crate::text::hash_of;

/// Rows that are compared with those before at the same time.
const BLOCK: usize = 256;

/// What rounding may take from the cosine of two equal texts.
const ROUNDING: f32 = 1e-5;

fn vectors(texts: &[String], context: &Context<'_>) -> Result<Vectors, DataError> {
    let missing = DataError::NoEmbedder { operator: context.operator };
    vectors_of(texts, context.aids.embedder.ok_or(missing)?)
}

/// The vectors of all questions, which are asked for portion by portion.
fn question_vectors(rows: &Pool, context: &Context<'_>) -> Result<Vectors, DataError> {
    let (mut width, mut values) = (0, Vec::new());
    rows.for_each_portion(|_, rows| {
        let texts: Vec<String> = rows.iter().map(question_text).collect();
        let found = vectors(&texts, context)?;
        width = found.width();
        (0..found.len()).for_each(|row| values.extend_from_slice(found.row(row)));
        Ok(())
    })?;
    Vectors::new(width, values).ok_or(DataError::WrongVectors { expected: rows.len(), found: 0 })
}

/// The nearest number of single precision.
#[expect(clippy::cast_possible_truncation, reason = "vectors have no more digits")]
fn single(value: f64) -> f32 {
    value as f32
}

/// Keeps the first of rows whose questions have a cosine of at least `threshold`; of closed rows those with another
/// answer or other options stay: they say something else.
pub(super) fn dedup(rows: Pool, threshold: f64, context: &Context<'_>) -> Result<Outcome, DataError> {
    if rows.is_empty() {
        return Ok(Outcome::untouched(rows));
    }
    let vectors = question_vectors(&rows, context)?;
    let kinds = kinds_of(&rows)?;
    let least = single(threshold) - ROUNDING;
    let is_near = |left: usize, right: usize| dot(vectors.row(left), vectors.row(right)) >= least;
    let mut kept: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    let mut reasons = vec![None; rows.len()];
    let all: Vec<usize> = (0..rows.len()).collect();
    for block in all.chunks(BLOCK) {
        let has_near = |row: &usize| {
            let known = kinds.get(*row).and_then(|kind| kept.get(kind));
            known.is_some_and(|known| known.iter().any(|other| is_near(*row, *other)))
        };
        let repeats: Vec<bool> = block.par_iter().map(has_near).collect();
        // Rows of this block have not been compared with each other yet.
        let mut fresh: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (row, repeats) in block.iter().zip(repeats) {
            let (Some(kind), Some(reason)) = (kinds.get(*row), reasons.get_mut(*row)) else { continue };
            let known = fresh.entry(*kind).or_default();
            if repeats || known.iter().any(|other| is_near(*row, *other)) {
                *reason = Some("prompt means nearly the same as an earlier one");
            } else {
                known.push(*row);
            }
        }
        for (kind, mut rows) in fresh {
            kept.entry(kind).or_default().append(&mut rows);
        }
    }
    Outcome::without(rows, &reasons)
}

/// For every row a number that it shares with those which it may be a copy of: rows of the same options and answer;
/// all open rows have one.
fn kinds_of(rows: &Pool) -> Result<Vec<usize>, DataError> {
    let kinds = rows.facts(|row| {
        let mut options = row.options.clone();
        options.sort_unstable();
        let kind = format!("{}\n{}", options.join("\n"), answer_key(row));
        (!options.is_empty()).then(|| hash_of(&kind))
    })?;
    let mut numbers: BTreeMap<Option<u64>, usize> = BTreeMap::new();
    let number = |kind| {
        let next = numbers.len();
        *numbers.entry(kind).or_insert(next)
    };
    Ok(kinds.into_iter().map(number).collect())
}

/// Keeps the rows whose question resembles one of some texts, or drops them.
pub(super) fn filter(
    rows: Pool,
    like: &[String],
    min_similarity: f64,
    is_dropping: bool,
    context: &Context<'_>,
) -> Result<Outcome, DataError> {
    if rows.is_empty() {
        return Ok(Outcome::untouched(rows));
    }
    let wanted = vectors(like, context)?;
    let vectors = question_vectors(&rows, context)?;
    let least = single(min_similarity);
    let reason = |row: usize| {
        let resembles = (0..wanted.len()).any(|text| dot(vectors.row(row), wanted.row(text)) >= least);
        match (resembles, is_dropping) {
            (true, true) => Some("means nearly what is unwanted"),
            (false, false) => Some("means something else than what is wanted"),
            _ => None,
        }
    };
    let reasons: Vec<_> = (0..rows.len()).into_par_iter().map(reason).collect();
    Outcome::without(rows, &reasons)
}

/// Chooses rows by the greedy k-center rule: the one nearest to the mean, then always the one that is least like all
/// chosen ones. Of equal ones the first by hash of text and id is taken, so the order of the rows does not matter.
pub(super) fn diverse(rows: Pool, wanted: usize, context: &Context<'_>) -> Result<Outcome, DataError> {
    if rows.is_empty() || (context.aids.embedder.is_some() && rows.len() <= wanted) {
        return Ok(Outcome::untouched(rows));
    }
    let keys = rows.facts(|row| (hash_of(&question_text(row)), hash_of(&row.id)))?;
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by_key(|row| keys.get(*row));
    let chosen = centers(&question_vectors(&rows, context)?.gather(&order), wanted);
    let mut reasons = vec![Some("nearer in meaning to the chosen rows than others"); rows.len()];
    for place in chosen {
        if let Some(reason) = order.get(place).and_then(|row| reasons.get_mut(*row)) {
            *reason = None;
        }
    }
    Outcome::without(rows, &reasons)
}

/// The numbers of the chosen vectors.
fn centers(vectors: &Vectors, wanted: usize) -> Vec<usize> {
    let Some(mut next) = most_central(vectors) else { return Vec::new() };
    let mut chosen = Vec::with_capacity(wanted);
    // The cosine of each row with the chosen one that is most like it.
    let mut nearest = vec![f32::NEG_INFINITY; vectors.len()];
    while chosen.len() < wanted.min(vectors.len()) {
        chosen.push(next);
        nearest.par_iter_mut().enumerate().for_each(|(row, cosine)| {
            *cosine = cosine.max(dot(vectors.row(row), vectors.row(next)));
        });
        if let Some(chosen) = nearest.get_mut(next) {
            *chosen = f32::INFINITY;
        }
        let farthest = nearest.iter().enumerate().min_by(|left, right| left.1.total_cmp(right.1));
        next = farthest.map_or(next, |(row, _)| row);
    }
    chosen
}

fn most_central(vectors: &Vectors) -> Option<usize> {
    let mut mean = vec![0f64; vectors.width()];
    for row in 0..vectors.len() {
        mean.iter_mut().zip(vectors.row(row)).for_each(|(sum, value)| *sum += f64::from(*value));
    }
    let likeness =
        |row: usize| -> f64 { vectors.row(row).iter().zip(&mean).map(|(value, mean)| f64::from(*value) * mean).sum() };
    let likenesses: Vec<f64> = (0..vectors.len()).map(likeness).collect();
    // The first of equal ones.
    likenesses.iter().enumerate().rev().max_by(|left, right| left.1.total_cmp(right.1)).map(|(row, _)| row)
}

#[cfg(test)]
mod tests {
    use super::super::Aids;
    use super::super::tests::{choice_row, context, ids, made, open_row};
    use super::*;
    use crate::meaning::tests::WordCounts;

    fn known(operator: &'static str) -> Context<'static> {
        Context { aids: Aids { embedder: Some(&WordCounts), ..Aids::default() }, ..context(operator) }
    }

    #[test]
    fn the_first_wording_stays() {
        let rows = vec![
            open_row(0, "how far is the moon", "a"),
            open_row(1, "the moon is how far", "b"),
            open_row(2, "who painted this picture", "c"),
            open_row(3, "How far is the moon", "d"),
        ];
        let outcome = made(dedup(rows.into(), 0.95, &known("semantic_dedup")));
        assert_eq!(ids(&outcome.rows), ["t/0", "t/2"]);
        assert_eq!(outcome.dropped["prompt means nearly the same as an earlier one"], 2);
    }

    #[test]
    fn rows_of_another_label_are_no_copies() {
        let rows = vec![
            choice_row(0, "is the sky blue", "yes"),
            choice_row(1, "is blue the sky", "no"),
            choice_row(2, "the sky is blue", "yes"),
            open_row(3, "is the sky blue", "yes"),
        ];
        assert_eq!(ids(&made(dedup(rows.into(), 0.95, &known("semantic_dedup"))).rows), ["t/0", "t/1", "t/3"]);
    }

    #[test]
    fn copies_are_found_within_and_across_blocks() {
        let rows: Vec<_> = (0..3 * BLOCK)
            .map(|row| {
                let number = row % (BLOCK + 7);
                let word = |at: usize| format!("w{}", number * 31 + at);
                open_row(row, &(0..6).map(word).collect::<Vec<_>>().join(" "), "a")
            })
            .collect();
        let outcome = made(dedup(rows.into(), 1.0, &known("semantic_dedup")));
        let kept: Vec<u64> = outcome.rows.iter().map(|row| row.origin.row).collect();
        assert!(kept.iter().all(|row| *row < BLOCK as u64 + 7), "{kept:?}");
        assert!(kept.len() > BLOCK, "{}", kept.len());
    }

    #[test]
    fn rows_that_resemble_a_text_are_kept_or_dropped() {
        let rows = vec![open_row(0, "the red house", "a"), open_row(1, "seven minus four", "b")];
        let like = ["red house on the hill".to_owned(), "blue".to_owned()];
        let run = |is_dropping| made(filter(rows.clone().into(), &like, 0.4, is_dropping, &known("semantic_filter")));
        assert_eq!(ids(&run(false).rows), ["t/0"]);
        assert_eq!(ids(&run(true).rows), ["t/1"]);
    }

    #[test]
    fn chosen_rows_are_far_apart() {
        let topics = ["apple pear plum", "hammer saw drill", "cat dog horse"];
        let rows: Vec<_> = (0..30).map(|row| open_row(row, &format!("{} n{row}", topics[row % 3]), "a")).collect();
        let outcome = made(diverse(rows.clone().into(), 3, &known("diverse_sample")));
        let mut found: Vec<u64> = outcome.rows.iter().map(|row| row.origin.row % 3).collect();
        found.sort_unstable();
        assert_eq!(found, [0, 1, 2]);
        assert_eq!(outcome.dropped.values().sum::<usize>(), 27);
        assert_eq!(made(diverse(rows.into(), 30, &known("diverse_sample"))).rows.len(), 30);
    }

    #[test]
    fn without_a_model_nothing_is_guessed() {
        let rows = vec![open_row(0, "a", "a"), open_row(1, "b", "a")];
        let bare = context("semantic_dedup");
        assert!(matches!(
            dedup(rows.clone().into(), 0.9, &bare),
            Err(DataError::NoEmbedder { operator: "semantic_dedup" })
        ));
        assert!(matches!(diverse(rows.clone().into(), 5, &bare), Err(DataError::NoEmbedder { .. })));
        assert!(matches!(filter(rows.into(), &["a".to_owned()], 0.3, false, &bare), Err(DataError::NoEmbedder { .. })));
    }
}
