//! Duplicates and contradictions. The first of equal rows is kept; nothing is merged or changed.

use rayon::prelude::*;

use super::Outcome;
use super::compare::{answer_key, question_key};
use crate::DataError;
use crate::keyed::{Keyed, numbered, repeats};
use crate::minhash::{self, PoolTexts};
use crate::pool::Pool;
use crate::text::hash_of;

/// Keeps the first of rows with equal question and answer keys; of pairs the worse answer counts too.
///
/// In memory are 16 bytes a row: a hash of its keys, and its number.
pub(super) fn exact(rows: Pool) -> Result<Outcome, DataError> {
    let keys = rows.facts(|row| {
        let rejected = row.rejected_answer();
        let marks = [question_key(row), answer_key(row), u8::from(rejected.is_some()).to_string()];
        let [question, answer, has_rejected] = marks.each_ref().map(String::as_str);
        Keyed::of_texts(&[question, answer, has_rejected, rejected.unwrap_or_default()])
    })?;
    let firsts = repeats(numbered(keys), rows.len());
    let reasons: Vec<_> =
        firsts.iter().map(|first| first.map(|_| "same prompt and answer as an earlier row")).collect();
    Outcome::without(rows, &reasons)
}

/// Keeps the first of rows with similar prompts; see [`minhash::near_duplicates_of`].
pub(super) fn near(rows: Pool, threshold: f64, shingle_words: usize) -> Result<Outcome, DataError> {
    let texts = PoolTexts { pool: &rows, text: question_key };
    let originals = minhash::near_duplicates_of(&texts, threshold, shingle_words)?;
    let reasons: Vec<_> =
        originals.iter().map(|original| original.map(|_| "prompt nearly equals an earlier one")).collect();
    drop(originals);
    Outcome::without(rows, &reasons)
}

/// A question and an answer of one row, as hashes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Said {
    question: u64,
    answer: u64,
    row: u32,
}

/// Drops contradicting rows: all of a question, or the minority where one answer has at least `min_share`.
///
/// In memory are 24 bytes a row: hashes of question and answer, and its number.
pub(super) fn resolve_conflicts(rows: Pool, min_share: f64) -> Result<Outcome, DataError> {
    let keys = rows.facts(|row| (hash_of(&question_key(row)), hash_of(&answer_key(row))))?;
    let mut said: Vec<Said> = (0..).zip(keys).map(|(row, (question, answer))| Said { question, answer, row }).collect();
    said.par_sort_unstable();
    let mut reasons = vec![None; rows.len()];
    for question in said.chunk_by(|left, right| left.question == right.question) {
        let answers = || question.chunk_by(|left, right| left.answer == right.answer);
        if answers().count() < 2 {
            continue;
        }
        let needed = min_share * question.len() as f64;
        // A share above one half has one winner at most.
        let winner = answers().find(|rows| rows.len() as f64 >= needed).and_then(|rows| rows.first());
        for one in question {
            let reason = match winner {
                Some(winner) if winner.answer == one.answer => None,
                Some(_) => Some("most rows with this prompt have another answer"),
                None => Some("prompt has different answers"),
            };
            if let Some(slot) = reasons.get_mut(one.row as usize) {
                *slot = reason;
            }
        }
    }
    Outcome::without(rows, &reasons)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{choice_row, ids, made, open_row};
    use super::*;

    #[test]
    fn exact_duplicates_need_the_same_answer() {
        let rows = vec![
            open_row(0, "What is 3+4?", "7"),
            open_row(1, "what is 3 + 4", "7."),
            open_row(2, "What is 3+4?", "8"),
            open_row(3, "What is 3*4?", "7"),
        ];
        assert_eq!(ids(&made(exact(rows.into())).rows), ["t/0", "t/2", "t/3"]);
    }

    #[test]
    fn one_prompt_with_other_options_is_another_question() {
        let mut rows: Vec<_> = (0..3).map(|row| choice_row(row, "heavier: {options}", "yes")).collect();
        rows[1].options = ["yes", "lead"].map(String::from).to_vec();
        rows[2].options.reverse();
        assert_eq!(ids(&made(exact(rows.into())).rows), ["t/0", "t/1"]);
    }

    #[test]
    fn a_majority_decides_a_conflict() {
        let pool = || {
            let answers = ["yes", "yes", "no", "yes"];
            answers.iter().enumerate().map(|(row, answer)| choice_row(row, "same", answer)).collect::<Vec<_>>()
        };
        assert_eq!(ids(&made(resolve_conflicts(pool().into(), 0.75)).rows), ["t/0", "t/1", "t/3"]);
        assert!(made(resolve_conflicts(pool().into(), 0.76)).rows.is_empty());
    }
}
