//! What two rows are compared by: question, answer, family and the ways in which a row can leak. Drops nothing itself.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::BuildHasherDefault;

use trex_domain::{Example, Message, Role};

use crate::DataError;
use crate::minhash::KeyHasher;
use crate::pool::Pool;
use crate::text::{hash_of, normalise_key};

/// Share of the closed rows that must have a set of options for it to be a label space.
const LABEL_SPACE_SHARE: f64 = 0.05;

/// The key of a whole prompt.
pub(crate) fn key_of(row: &Example) -> String {
    normalise_key(&row.prompt_text())
}

/// The key of a question: that of the prompt, and of the options where the prompt lists them in a drawn order.
///
/// Without the options, "which is heavier? {options}" would be one question over and over.
pub(super) fn question_key(row: &Example) -> String {
    let prompt = key_of(row);
    if !row.has_seeded_prompt() {
        return prompt;
    }
    let options: BTreeSet<&str> = row.options.iter().map(String::as_str).collect();
    options.into_iter().fold(prompt, |key, option| key + "\n" + option)
}

/// The key of an answer: as it is where it is one of the options, else folded; never empty for a non-empty answer.
pub(super) fn answer_key(row: &Example) -> String {
    if row.options.contains(&row.answer) {
        return row.answer.clone();
    }
    normalise_key(&row.answer)
}

/// For every row the number of its label space: the set of options that it shares with at least 5 % of the closed rows.
///
/// `None` where the answer is open, or where the options are the row's own, as in multiple choice: such an answer is no
/// label that could be counted or voted on.
/// In memory are a hash of eight bytes and then two bytes a row.
pub(super) fn label_spaces(rows: &Pool) -> Result<Vec<Option<u8>>, DataError> {
    let sets = rows.facts(|row| {
        let options: BTreeSet<&str> = row.options.iter().map(String::as_str).collect();
        let key = options.into_iter().fold(String::new(), |key, option| key + option + "\n");
        if key.is_empty() { 0 } else { hash_of(&key).max(1) }
    })?;
    let mut sorted: Vec<u64> = sets.iter().filter(|set| **set > 0).copied().collect();
    sorted.sort_unstable();
    let least = LABEL_SPACE_SHARE * sorted.len() as f64;
    // At most twenty, since each has a twentieth of the rows.
    let frequent = sorted.chunk_by(|left, right| left == right).filter(|rows| rows.len() as f64 >= least);
    let numbers: BTreeMap<u64, u8> = frequent.filter_map(|rows| rows.first().copied()).zip(0..).collect();
    Ok(sets.iter().map(|set| numbers.get(set).copied()).collect())
}

/// The id without the `+1` that operators give to copies.
pub(super) fn original_id(id: &str) -> &str {
    match id.rsplit_once('+') {
        Some((original, digits)) if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => original,
        _ => id,
    }
}

/// The prompts of evaluation items, to find rows that repeat one.
///
/// In memory is a hash of eight bytes for each, about twenty with the table.
pub(crate) struct LeakKeys {
    keys: HashSet<u64, BuildHasherDefault<KeyHasher>>,
}

impl LeakKeys {
    /// The keys of all items.
    pub(crate) fn new(evaluation: &Pool) -> Result<Self, DataError> {
        Ok(Self { keys: evaluation.facts(|item| hash_of(&key_of(item)))?.into_iter().collect() })
    }

    /// Whether the prompt of the row equals that of an item.
    ///
    /// Of a row with several questions (few-shot), each single one counts together with its system turns.
    pub(crate) fn has(&self, row: &Example) -> bool {
        let has = |key: &String| self.keys.contains(&hash_of(key));
        has(&key_of(row)) || single_questions(row).iter().any(has)
    }
}

fn single_questions(row: &Example) -> Vec<String> {
    let of_role = |role: Role| row.prompt.iter().filter(move |turn| turn.role == role);
    let questions: Vec<&Message> = of_role(Role::User).collect();
    if questions.len() < 2 {
        return Vec::new();
    }
    let system: Vec<&str> = of_role(Role::System).map(|turn| turn.content.as_str()).collect();
    let system = system.join("\n");
    questions.iter().map(|turn| normalise_key(&format!("{system}\n{}", turn.content))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{choice_row, open_row};
    use super::*;

    #[test]
    fn options_of_single_rows_are_no_label_space() {
        let mut rows: Vec<_> = (0..60).map(|row| choice_row(row, "q", "yes")).collect();
        rows[0] = open_row(0, "q", "a");
        rows[1].options.reverse();
        rows[2].options = vec!["own".to_owned(), "of this row".to_owned()];
        let spaces = label_spaces(&rows.into()).unwrap();
        assert_eq!(spaces[..4], [None, Some(0), None, Some(0)]);
    }

    #[test]
    fn only_a_number_after_a_plus_is_a_copy() {
        assert_eq!(original_id("a/1+12"), "a/1");
        assert_eq!(original_id("c++"), "c++");
        assert_eq!(original_id("a+b"), "a+b");
    }
}
