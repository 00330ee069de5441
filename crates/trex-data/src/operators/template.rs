//! Finds the words that a pool's questions all begin and end with, so that filters judge the rows and not the template.

use trex_domain::Example;

use crate::DataError;
use crate::pool::Pool;

/// Share of rows that must have a word at its place for it to be part of the template.
const SHARED_BY: f64 = 0.9;
/// Below so many rows nothing is taken for a template.
const MIN_ROWS: usize = 5;

/// The words that nearly all questions of a pool begin and end with.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct QuestionTemplate {
    head: Vec<String>,
    /// The last word first.
    tail: Vec<String>,
}

impl QuestionTemplate {
    /// Finds it in some rows after another: each reading finds as many words as the candidates of one reading last.
    pub(super) fn of(rows: &Pool) -> Result<Self, DataError> {
        Ok(Self { head: shared_start(rows, words_of)?, tail: shared_start(rows, reversed_words_of)? })
    }

    /// The last turn of a row without it.
    ///
    /// A row that does not follow the template, or that consists of nothing else, is left whole. White space is folded.
    pub(super) fn own_part(&self, row: &Example) -> String {
        let words = words_of(row);
        let follows = |shared: &[String], words: &mut dyn Iterator<Item = &&str>| {
            shared.iter().all(|word| words.next().is_some_and(|own| *own == word))
        };
        let skipped = if follows(&self.head, &mut words.iter()) { self.head.len() } else { 0 };
        let left_out = if follows(&self.tail, &mut words.iter().rev()) { self.tail.len() } else { 0 };
        let end = words.len().saturating_sub(left_out);
        let part = words.get(skipped..end).filter(|part| !part.is_empty());
        part.unwrap_or(words.as_slice()).join(" ")
    }
}

fn words_of(row: &Example) -> Vec<&str> {
    row.question().split_whitespace().collect()
}

fn reversed_words_of(row: &Example) -> Vec<&str> {
    row.question().split_whitespace().rev().collect()
}

/// The longest run of first words that at least [`SHARED_BY`] of the rows have in common.
///
/// A run that so many rows share is, but for its end, a beginning of any row that follows it, so the first row that has
/// the most frequent first word tells what to count: one reading finds a candidate, a second counts how far it holds.
fn shared_start(rows: &Pool, words_of: fn(&Example) -> Vec<&str>) -> Result<Vec<String>, DataError> {
    let needed = SHARED_BY * rows.len() as f64;
    let mut shared: Vec<String> = Vec::new();
    if rows.len() < MIN_ROWS {
        return Ok(shared);
    }
    loop {
        let Some(candidate) = candidate(rows, words_of, &shared, needed)? else { return Ok(shared) };
        // Rows by how many words of the candidate they begin with.
        let mut counts = vec![0_usize; candidate.len() + 1];
        rows.for_each_portion(|_, rows| {
            for row in rows {
                let alike = candidate.iter().zip(words_of(row)).take_while(|(word, own)| word == own).count();
                if let Some(count) = counts.get_mut(alike) {
                    *count += 1;
                }
            }
            Ok(())
        })?;
        let mut rows_with = 0;
        let longest = counts.iter().enumerate().rev().find(|(_, count)| {
            rows_with += **count;
            rows_with as f64 >= needed
        });
        let length = longest.map_or(0, |(length, _)| length);
        if length <= shared.len() {
            return Ok(shared);
        }
        shared = candidate.into_iter().take(length).collect();
    }
}

/// A row that goes on after `shared` as most rows do; none where too few rows go on alike.
fn candidate(
    rows: &Pool,
    words_of: fn(&Example) -> Vec<&str>,
    shared: &[String],
    needed: f64,
) -> Result<Option<Vec<String>>, DataError> {
    // The word that more than half of the rows have next, if any has (Boyer and Moore, 1981).
    let mut majority: Option<(Vec<String>, usize)> = None;
    let mut num_following = 0_usize;
    rows.for_each_portion(|_, rows| {
        for row in rows {
            let words = words_of(row);
            let follows = words.len() > shared.len() && shared.iter().zip(&words).all(|(word, own)| word == own);
            if !follows {
                continue;
            }
            num_following += 1;
            majority = match majority.take() {
                Some((known, count))
                    if known.get(shared.len()).map(String::as_str) == words.get(shared.len()).copied() =>
                {
                    Some((known, count + 1))
                }
                Some((known, count)) if count > 0 => Some((known, count - 1)),
                _ => Some((words.iter().map(|word| (*word).to_owned()).collect(), 1)),
            };
        }
        Ok(())
    })?;
    Ok(majority.filter(|_| num_following as f64 >= needed).map(|(words, _)| words))
}

#[cfg(test)]
mod tests {
    use super::super::tests::open_row;
    use super::*;

    fn own_parts(rows: &[Example]) -> Vec<String> {
        let template = QuestionTemplate::of(&rows.to_vec().into()).unwrap();
        rows.iter().map(|row| template.own_part(row)).collect()
    }

    #[test]
    fn the_template_is_cut_off_on_both_sides() {
        let mut rows: Vec<_> = (0..20)
            .map(|row| open_row(row, &format!("Is this spam?\nText: word{row} more{row}\nAnswer:"), "x"))
            .collect();
        rows.push(open_row(20, "no template here", "x"));
        let parts = own_parts(&rows);
        assert_eq!(parts[3], "word3 more3");
        assert_eq!(parts[20], "no template here");
    }

    #[test]
    fn equal_questions_stay_whole() {
        let rows: Vec<_> = (0..6).map(|row| open_row(row, "all the same", "x")).collect();
        assert_eq!(own_parts(&rows)[0], "all the same");
    }
}
