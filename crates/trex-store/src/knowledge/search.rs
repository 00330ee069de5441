//! Passages for a question: by their words (BM25 of FTS5), by their meaning (cosine of vectors), and both lists as one.

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::sync::{MutexGuard, PoisonError};
use std::thread;

use rusqlite::Connection;
use trex_domain::{FoundPassage, Passage, Place};

use super::vectors::Matrix;
use super::{KnowledgeBase, column, number};
use crate::StoreError;

/// The constant of reciprocal rank fusion: Cormack, Clarke and Büttcher (SIGIR 2009) took 60 from a pilot study, and found
/// that its exact value hardly matters.
const FUSION_K: f64 = 60.0;

/// Places of each list that are fused.
const LIST_LENGTH: usize = 100;

/// Words of a question that are looked for; the rest of a long one adds little.
const MAX_WORDS: usize = 16;

/// A word in more passages than this is left out where another one is rarer: it tells little (its BM25 weight is small), and
/// ranking all its passages is what takes time.
const COMMON: usize = 3_000;

/// English words that nearly every passage has.
const STOP_WORDS: [&str; 40] = [
    "a", "an", "and", "are", "as", "at", "be", "by", "can", "do", "does", "for", "from", "has", "have", "how", "if",
    "in", "is", "it", "its", "not", "of", "on", "or", "that", "the", "their", "this", "to", "was", "we", "what",
    "when", "where", "which", "who", "why", "will", "with",
];

impl KnowledgeBase {
    /// The passages that fit a question best; `vector` is the question's own with the name of its model, without which words
    /// alone decide.
    pub fn search(
        &self,
        question: &str,
        vector: Option<(&str, &[f32])>,
        limit: usize,
    ) -> Result<Vec<FoundPassage>, StoreError> {
        let sqlite = self.sqlite("search");
        let connection = self.connection();
        let (by_words, by_meaning) = match vector {
            Some((model, vector)) => {
                let cached = self.matrix(&connection, model, vector.len()).map_err(&sqlite)?;
                // The two lists need nothing of each other.
                thread::scope(|scope| {
                    let matrix = cached.as_ref();
                    let nearest = scope.spawn(move || matrix.map(|matrix| matrix.nearest(vector, LIST_LENGTH)));
                    let by_words = by_words(&connection, question);
                    (by_words, nearest.join().unwrap_or_else(|panic| resume_unwind(panic)).unwrap_or_default())
                })
            }
            None => (by_words(&connection, question), Vec::new()),
        };
        let by_words = by_words.map_err(&sqlite)?;
        let mut found = Vec::new();
        for fused in fuse(&by_words, &by_meaning).into_iter().take(limit) {
            let (passage, document) = passage(&connection, fused.passage).map_err(&sqlite)?;
            let Fused { score, by_words, by_meaning, .. } = fused;
            found.push(FoundPassage { passage, document, score, by_words, by_meaning });
        }
        Ok(found)
    }

    /// The vectors of a model as the database holds them now.
    fn matrix(
        &self,
        connection: &Connection,
        model: &str,
        width: usize,
    ) -> rusqlite::Result<MutexGuard<'_, Option<Matrix>>> {
        let mut cached = self.matrix.lock().unwrap_or_else(PoisonError::into_inner);
        let current = match &*cached {
            Some(matrix) => matrix.is_current(connection, model, width)?,
            None => false,
        };
        if !current {
            *cached = Some(Matrix::read(connection, model, width)?);
        }
        Ok(cached)
    }
}

/// Passages by BM25; headings count twice.
fn by_words(connection: &Connection, question: &str) -> rusqlite::Result<Vec<i64>> {
    let words = telling_words(connection, question)?;
    if words.is_empty() {
        return Ok(Vec::new());
    }
    let any = words.join(" OR ");
    let sql = "SELECT rowid FROM passage_words WHERE passage_words MATCH ?1 ORDER BY bm25(passage_words, 2.0, 1.0), rowid LIMIT ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map((any, column(LIST_LENGTH)), |row| row.get(0))?;
    rows.collect()
}

/// The words of a question that tell passages apart, quoted for FTS5 so that nothing in them is an operator.
fn telling_words(connection: &Connection, question: &str) -> rusqlite::Result<Vec<String>> {
    let mut words: Vec<String> = Vec::new();
    for word in question.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        let word = format!("\"{}\"", word.to_lowercase());
        if !words.contains(&word) && words.len() < MAX_WORDS {
            words.push(word);
        }
    }
    let is_stop = |word: &String| STOP_WORDS.contains(&word.trim_matches('"'));
    if !words.iter().all(is_stop) {
        words.retain(|word| !is_stop(word));
    }
    let mut counted = Vec::new();
    for word in words {
        counted.push((occurrences(connection, &word)?, word));
    }
    let rarest = counted.iter().map(|(count, _)| *count).filter(|count| *count > 0).min().unwrap_or(0);
    counted.retain(|(count, _)| *count < COMMON || *count == rarest);
    Ok(counted.into_iter().map(|(_, word)| word).collect())
}

/// Passages with a word, counted no further than it matters.
fn occurrences(connection: &Connection, word: &str) -> rusqlite::Result<usize> {
    let sql = "SELECT count(*) FROM (SELECT 1 FROM passage_words WHERE passage_words MATCH ?1 LIMIT ?2)";
    let count: i64 = connection.prepare_cached(sql)?.query_row((word, column(COMMON)), |row| row.get(0))?;
    Ok(number(count))
}

/// A passage of one list or both.
#[derive(Clone, Debug, PartialEq)]
struct Fused {
    passage: i64,
    score: f64,
    by_words: Option<usize>,
    by_meaning: Option<usize>,
}

/// Reciprocal rank fusion: the sum over lists of 1 / (60 + place), the best first; of equal ones the earlier passage.
fn fuse(by_words: &[i64], by_meaning: &[i64]) -> Vec<Fused> {
    let mut all: BTreeMap<i64, Fused> = BTreeMap::new();
    for (is_words, list) in [(true, by_words), (false, by_meaning)] {
        for (place, passage) in (1..).zip(list) {
            let empty = Fused { passage: *passage, score: 0.0, by_words: None, by_meaning: None };
            let fused = all.entry(*passage).or_insert(empty);
            fused.score += 1.0 / (FUSION_K + place as f64);
            *(if is_words { &mut fused.by_words } else { &mut fused.by_meaning }) = Some(place);
        }
    }
    let mut fused: Vec<Fused> = all.into_values().collect();
    fused.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.passage.cmp(&b.passage)));
    fused
}

/// A passage with the title of its document.
fn passage(connection: &Connection, id: i64) -> rusqlite::Result<(Passage, String)> {
    let sql = "SELECT name, page, heading, offset, text, title FROM passages JOIN documents ON documents.id = document
               WHERE passages.id = ?1";
    connection.prepare_cached(sql)?.query_row([id], |row| Ok((passage_of(row)?, row.get(5)?)))
}

/// A passage out of the columns name, page, heading, offset and text.
pub(super) fn passage_of(row: &rusqlite::Row<'_>) -> rusqlite::Result<Passage> {
    let name: String = row.get(0)?;
    let id = name
        .parse()
        .map_err(|err| rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(err)))?;
    let (page, offset): (Option<i64>, i64) = (row.get(1)?, row.get(3)?);
    let place = Place { page: page.map(number), heading: row.get(2)?, offset: number(offset) };
    Ok(Passage { id, place, text: row.get(4)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_lists_are_fused_by_their_reciprocal_ranks() {
        let fused = fuse(&[10, 20, 30], &[30, 40]);
        let order: Vec<i64> = fused.iter().map(|one| one.passage).collect();
        // 30: 1/63 + 1/61; 10: 1/61; 20 and 40: 1/62 each, the earlier first.
        assert_eq!(order, [30, 10, 20, 40]);
        assert!((fused[0].score - (1.0 / 63.0 + 1.0 / 61.0)).abs() < 1e-12);
        assert_eq!((fused[0].by_words, fused[0].by_meaning), (Some(3), Some(1)));
        assert!(fuse(&[], &[]).is_empty());
    }
}
