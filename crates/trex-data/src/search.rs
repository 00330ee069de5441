//! Rows that fit a question best: by what they mean where there is an embedding model, else by the words that they share
//! with it. Keeps no index.

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;
use serde::Serialize;
use trex_domain::{Embedder, Example};

use crate::DataError;
use crate::meaning::{dot, question_text, vectors_of};
use crate::text::{normalise_key, words};

/// What rows were compared by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SearchedBy {
    /// Cosine of embeddings.
    Meaning,
    /// Shared words, rare ones counting more.
    Words,
}

/// A row that was found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SearchHit {
    /// Its number among the rows that were searched.
    pub row: usize,
    /// Cosine, or share of the question's words by weight.
    pub score: f64,
}

/// The best rows for a query, the best first, the earlier of equal ones first.
pub fn search_rows(
    rows: &[Example],
    query: &str,
    count: usize,
    embedder: Option<&dyn Embedder>,
) -> Result<(SearchedBy, Vec<SearchHit>), DataError> {
    let texts: Vec<String> = rows.iter().map(searched_text).collect();
    let (by, scores) = match embedder {
        Some(embedder) => (SearchedBy::Meaning, scores_by_meaning(&texts, query, embedder)?),
        None => (SearchedBy::Words, scores_by_words(&texts, query)),
    };
    let mut hits: Vec<SearchHit> =
        scores.into_iter().enumerate().map(|(row, score)| SearchHit { row, score }).collect();
    if by == SearchedBy::Words {
        hits.retain(|hit| hit.score > 0.0);
    }
    hits.sort_by(|left, right| right.score.total_cmp(&left.score).then(left.row.cmp(&right.row)));
    hits.truncate(count);
    Ok((by, hits))
}

/// What a row asks and what is answered.
fn searched_text(row: &Example) -> String {
    format!("{}\n{}", question_text(row), row.answer)
}

fn scores_by_meaning(texts: &[String], query: &str, embedder: &dyn Embedder) -> Result<Vec<f64>, DataError> {
    // The texts by themselves, so that their vectors are found again whatever is asked next.
    let vectors = vectors_of(texts, embedder)?;
    let asked = vectors_of(&[query.to_owned()], embedder)?;
    Ok((0..texts.len()).into_par_iter().map(|row| f64::from(dot(vectors.row(row), asked.row(0)))).collect())
}

/// The share of the query's words that a text has, each weighted with ln(1 + N / rows that have it).
fn scores_by_words(texts: &[String], query: &str) -> Vec<f64> {
    let key = normalise_key(query);
    let asked: BTreeSet<&str> = words(&key).collect();
    let found: Vec<Vec<&str>> = texts
        .par_iter()
        .map(|text| {
            let key = normalise_key(text);
            let there: BTreeSet<&str> = words(&key).collect();
            asked.iter().copied().filter(|word| there.contains(word)).collect()
        })
        .collect();
    let mut rows_with: BTreeMap<&str, usize> = asked.iter().map(|word| (*word, 0)).collect();
    for word in found.iter().flatten() {
        *rows_with.entry(word).or_default() += 1;
    }
    let weight = |word: &str| (1.0 + texts.len() as f64 / rows_with.get(word).map_or(1.0, |n| *n as f64).max(1.0)).ln();
    let whole: f64 = asked.iter().map(|word| weight(word)).sum();
    found
        .iter()
        .map(|words| words.iter().map(|word| weight(word)).sum::<f64>() / whole.max(f64::MIN_POSITIVE))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meaning::tests::WordCounts;
    use crate::operators::tests::open_row;

    fn rows() -> Vec<Example> {
        vec![
            open_row(0, "How do plants make sugar?", "By photosynthesis."),
            open_row(1, "How do I sort a list in Python?", "With sorted()."),
            open_row(2, "Which plants live in deserts?", "Cacti."),
        ]
    }

    #[track_caller]
    fn check(query: &str, embedder: Option<&dyn Embedder>, expected: &[usize]) {
        let (by, hits) = search_rows(&rows(), query, 2, embedder).unwrap();
        assert_eq!(by, if embedder.is_some() { SearchedBy::Meaning } else { SearchedBy::Words });
        assert_eq!(hits.iter().map(|hit| hit.row).collect::<Vec<_>>(), expected, "{hits:?}");
        assert!(hits.is_sorted_by(|left, right| left.score >= right.score));
    }

    #[test]
    fn the_nearest_rows_come_first() {
        check("sort a list", Some(&WordCounts), &[1, 0]);
        check("sort a list", None, &[1]);
        check("plants deserts", None, &[2, 0]);
        check("nothing of this kind", None, &[]);
        assert!(search_rows(&[], "x", 3, Some(&WordCounts)).unwrap().1.is_empty());
    }
}
