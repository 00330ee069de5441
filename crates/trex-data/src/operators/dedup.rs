//! Duplicates and contradictions. The first of equal rows is kept; nothing is merged or changed.

use std::collections::{BTreeMap, BTreeSet};

use trex_domain::Example;

use super::Outcome;
use super::compare::{answer_key, question_key};
use crate::minhash;

/// Keeps the first of rows with equal question and answer keys; of pairs the worse answer counts too.
pub(super) fn exact(rows: Vec<Example>) -> Outcome {
    let mut seen = BTreeSet::new();
    Outcome::filtered(rows, |row| {
        let is_new = seen.insert((question_key(row), answer_key(row), row.rejected_answer().map(str::to_owned)));
        (!is_new).then_some("same prompt and answer as an earlier row")
    })
}

/// Keeps the first of rows with similar prompts; see [`minhash::near_duplicates_of`].
pub(super) fn near(rows: Vec<Example>, threshold: f64, shingle_words: usize) -> Outcome {
    let prompts: Vec<String> = rows.iter().map(question_key).collect();
    let mut reasons = vec![None; rows.len()];
    for row in minhash::near_duplicate_rows_with(&prompts, threshold, shingle_words) {
        if let Some(reason) = reasons.get_mut(row) {
            *reason = Some("prompt nearly equals an earlier one");
        }
    }
    Outcome::without(rows, &reasons)
}

/// Drops contradicting rows: all of a question, or the minority where one answer has at least `min_share`.
pub(super) fn resolve_conflicts(rows: Vec<Example>, min_share: f64) -> Outcome {
    let keys: Vec<(String, String)> = rows.iter().map(|row| (question_key(row), answer_key(row))).collect();
    let mut answers: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
    for (question, answer) in &keys {
        *answers.entry(question).or_default().entry(answer).or_default() += 1;
    }
    let reason = |(question, answer): &(String, String)| {
        let counts = answers.get(question.as_str()).filter(|counts| counts.len() > 1)?;
        let needed = min_share * counts.values().sum::<usize>() as f64;
        let winner = counts.iter().find(|(_, count)| **count as f64 >= needed);
        match winner {
            Some((winner, _)) if winner == answer => None,
            Some(_) => Some("most rows with this prompt have another answer"),
            None => Some("prompt has different answers"),
        }
    };
    let reasons: Vec<_> = keys.iter().map(reason).collect();
    Outcome::without(rows, &reasons)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{choice_row, ids, open_row};
    use super::*;

    #[test]
    fn exact_duplicates_need_the_same_answer() {
        let rows = vec![
            open_row(0, "What is 3+4?", "7"),
            open_row(1, "what is 3 + 4", "7."),
            open_row(2, "What is 3+4?", "8"),
            open_row(3, "What is 3*4?", "7"),
        ];
        assert_eq!(ids(&exact(rows).rows), ["t/0", "t/2", "t/3"]);
    }

    #[test]
    fn one_prompt_with_other_options_is_another_question() {
        let mut rows: Vec<_> = (0..3).map(|row| choice_row(row, "heavier: {options}", "yes")).collect();
        rows[1].options = ["yes", "lead"].map(String::from).to_vec();
        rows[2].options.reverse();
        assert_eq!(ids(&exact(rows).rows), ["t/0", "t/1"]);
    }

    #[test]
    fn a_majority_decides_a_conflict() {
        let pool = || {
            let answers = ["yes", "yes", "no", "yes"];
            answers.iter().enumerate().map(|(row, answer)| choice_row(row, "same", answer)).collect::<Vec<_>>()
        };
        assert_eq!(ids(&resolve_conflicts(pool(), 0.75).rows), ["t/0", "t/1", "t/3"]);
        assert!(resolve_conflicts(pool(), 0.76).rows.is_empty());
    }
}
