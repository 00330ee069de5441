//! Dirt that is planted in training pools: which kinds, how much of each, and how a clean row is spoilt.
//!
//! Every dirty row has exactly one kind. Nothing here decides what a recipe should do about it.

use std::collections::{BTreeMap, BTreeSet};

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::words::{below, pick};

mod off_topic;

pub(crate) use self::off_topic::{buried_prompt, off_topic_row};

/// What can be wrong with a row of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DirtKind {
    /// Equals an earlier row.
    ExactDuplicate,
    /// A clean row's prompt with a small edit, and its answer.
    NearDuplicate,
    /// Another option, or the answer of another row.
    WrongLabel,
    /// A question of another domain with an answer that has nothing to do with the task.
    OffTopic,
    /// The right answer in capitals, in quotes, behind "Answer:" or with a full stop.
    Format,
    /// Prompt and answer of an evaluation item.
    Leak,
    /// No answer.
    EmptyAnswer,
    /// The question is buried in more than a hundred words of small talk.
    Overlong,
}

impl DirtKind {
    /// All kinds.
    pub const ALL: [Self; 8] = [
        Self::ExactDuplicate,
        Self::NearDuplicate,
        Self::WrongLabel,
        Self::OffTopic,
        Self::Format,
        Self::Leak,
        Self::EmptyAnswer,
        Self::Overlong,
    ];

    /// The stable name used in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ExactDuplicate => "exact_duplicate",
            Self::NearDuplicate => "near_duplicate",
            Self::WrongLabel => "wrong_label",
            Self::OffTopic => "off_topic",
            Self::Format => "format",
            Self::Leak => "leak",
            Self::EmptyAnswer => "empty_answer",
            Self::Overlong => "overlong",
        }
    }
}

/// Share of each kind among all rows of a pool, each in [0, 1); together below 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DirtRates(BTreeMap<DirtKind, f64>);

impl Default for DirtRates {
    /// 46 % in all: rates at which a recipe that cleans is measurably better than one that does not.
    fn default() -> Self {
        Self(BTreeMap::from([
            (DirtKind::ExactDuplicate, 0.08),
            (DirtKind::NearDuplicate, 0.05),
            (DirtKind::WrongLabel, 0.12),
            (DirtKind::OffTopic, 0.06),
            (DirtKind::Format, 0.08),
            (DirtKind::Leak, 0.03),
            (DirtKind::EmptyAnswer, 0.02),
            (DirtKind::Overlong, 0.02),
        ]))
    }
}

impl DirtRates {
    /// The share of rows of this kind.
    pub fn rate(&self, kind: DirtKind) -> f64 {
        self.0.get(&kind).copied().unwrap_or(0.0)
    }

    /// The share of dirty rows of any kind.
    pub fn total(&self) -> f64 {
        self.0.values().sum()
    }

    /// Rows of this kind in a pool of `num_rows`, rounded to the nearest whole number.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a small count")]
    pub fn num_rows(&self, kind: DirtKind, num_rows: usize) -> usize {
        (self.rate(kind) * num_rows as f64).round() as usize
    }
}

/// Which rows of a pool are dirty, by kind: the exact truth that a recipe is judged against.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DirtLedger(BTreeMap<DirtKind, BTreeSet<String>>);

impl DirtLedger {
    /// Ids of the rows of one kind.
    pub fn ids(&self, kind: DirtKind) -> impl Iterator<Item = &str> {
        self.0.get(&kind).into_iter().flatten().map(String::as_str)
    }

    /// Number of rows of one kind.
    pub fn count(&self, kind: DirtKind) -> usize {
        self.0.get(&kind).map_or(0, BTreeSet::len)
    }

    /// Number of dirty rows.
    pub fn total(&self) -> usize {
        self.0.values().map(BTreeSet::len).sum()
    }

    /// The kind of dirt of a row; nothing where the row is clean.
    pub fn kind_of(&self, id: &str) -> Option<DirtKind> {
        self.0.iter().find(|(_, ids)| ids.contains(id)).map(|(kind, _)| *kind)
    }

    pub(crate) fn record(&mut self, kind: DirtKind, id: String) {
        self.0.entry(kind).or_default().insert(id);
    }
}

/// The prompt with one small edit that leaves its meaning: a polite word before or behind, or a slip in its first word.
pub(crate) fn edited_prompt(rng: &mut ChaCha8Rng, prompt: &str) -> String {
    const BEFORE: [&str; 6] = ["please ,", "ok ,", "now ,", "well ,", "so ,", "hey ,"];
    const BEHIND: [&str; 4] = ["thanks", "please", "ok ?", "right ?"];
    match (below(rng, 3), slip_in_first_word(prompt)) {
        (0, _) => format!("{prompt} {}", pick(rng, &BEHIND)),
        (1, Some(slipped)) => slipped,
        _ => format!("{} {prompt}", pick(rng, &BEFORE)),
    }
}

/// Swaps the second and third letter of the first word; nothing where that changes nothing.
fn slip_in_first_word(prompt: &str) -> Option<String> {
    let mut letters: Vec<char> = prompt.chars().collect();
    let is_word = letters.len() > 3 && letters[..4].iter().all(char::is_ascii_alphabetic);
    if !is_word || letters[1] == letters[2] {
        return None;
    }
    letters.swap(1, 2);
    Some(letters.into_iter().collect())
}

/// The same answer written differently; never equal to the answer itself.
pub(crate) fn reformatted_answer(rng: &mut ChaCha8Rng, answer: &str) -> String {
    let mut first_up: Vec<char> = answer.chars().collect();
    if let Some(first) = first_up.first_mut() {
        first.make_ascii_uppercase();
    }
    let mut forms = vec![
        format!("\"{answer}\""),
        format!("Answer: {answer}"),
        format!("{answer}."),
        answer.to_ascii_uppercase(),
        first_up.into_iter().collect(),
    ];
    forms.retain(|form| form != answer);
    pick(rng, &forms).clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rng() -> ChaCha8Rng {
        trex_domain::seeded_rng(3, "dirt")
    }

    #[test]
    fn rates_leave_most_rows_clean() {
        let rates = DirtRates::default();
        assert!((rates.total() - 0.46).abs() < 1e-9);
        assert_eq!(rates.num_rows(DirtKind::WrongLabel, 1500), 180);
        assert_eq!(rates.num_rows(DirtKind::Leak, 50), 2);
    }

    #[test]
    fn spoilt_rows_differ_from_clean_ones() {
        let mut rng = rng();
        for text in ["fill in the gap", "a b", "12", "-3", ""] {
            for _ in 0..30 {
                assert_ne!(edited_prompt(&mut rng, text), text);
                assert_ne!(reformatted_answer(&mut rng, text), text);
                assert!(buried_prompt(&mut rng, text).split_whitespace().count() > 100);
            }
        }
    }

    #[test]
    fn a_name_is_what_json_says() {
        for kind in DirtKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
    }

    #[test]
    fn the_ledger_finds_a_row_again() {
        let mut ledger = DirtLedger::default();
        ledger.record(DirtKind::Leak, "a".to_owned());
        ledger.record(DirtKind::Leak, "b".to_owned());
        assert_eq!((ledger.total(), ledger.count(DirtKind::Leak), ledger.count(DirtKind::Format)), (2, 2, 0));
        assert_eq!(ledger.kind_of("b"), Some(DirtKind::Leak));
        assert_eq!(ledger.kind_of("c"), None);
        assert_eq!(ledger.ids(DirtKind::Leak).collect::<Vec<_>>(), ["a", "b"]);
    }
}
