//! Counters whose memory does not grow with the number of rows.

use std::collections::{BTreeMap, HashMap, HashSet};

use trex_domain::{Example, LengthBucket};

/// More distinct answers than this are open answers.
const MAX_LABELS: usize = 50;

/// A longer answer than this, in characters, is no label.
const MAX_LABEL_CHARS: usize = 60;

/// Distinct prompts that are remembered. Beyond, only those whose hash ends in enough zeros are, and counts are scaled:
/// adaptive sampling (Flajolet, "On adaptive sampling", 1990).
const MAX_PROMPTS: usize = 1 << 20;

/// Rows whose language is looked at, at most.
const MAX_SAMPLED: usize = 10_000;

/// Whether a hash is drawn at a level: a share of 2^-level of all are.
fn is_drawn_at(hash: u64, level: u32) -> bool {
    hash.trailing_zeros() >= level
}

/// Rows by answer: where options are declared, or where few short answers repeat.
#[derive(Debug, Default)]
pub(super) struct LabelCounter {
    counts: BTreeMap<String, usize>,
    has_options: bool,
    is_open: bool,
    has_long: bool,
}

impl LabelCounter {
    pub(super) fn add(&mut self, row: &Example) {
        self.has_options |= !row.options.is_empty();
        if self.is_open {
            return;
        }
        if let Some(count) = self.counts.get_mut(&row.answer) {
            *count += 1;
            return;
        }
        self.has_long |= row.answer.is_empty() || row.answer.chars().count() > MAX_LABEL_CHARS;
        self.counts.insert(row.answer.clone(), 1);
        if self.counts.len() > MAX_LABELS {
            self.is_open = true;
            self.counts.clear();
        }
    }

    pub(super) fn finish(self, num_rows: usize) -> BTreeMap<String, usize> {
        let looks_closed = self.counts.len() * 2 <= num_rows && !self.has_long;
        if self.is_open || !(self.has_options || looks_closed) { BTreeMap::new() } else { self.counts }
    }
}

/// Rows that repeat an earlier one, and rows whose prompt has other answers too. Prompts and answers are hashes of their
/// normalised form; of the at most 2^32 pairs of a large file none is expected to collide.
#[derive(Debug, Default)]
pub(super) struct DuplicateCounter {
    prompts: HashMap<u64, Prompt>,
    pairs: HashSet<(u64, u64)>,
    level: u32,
    exact: HashMap<u64, usize>,
}

#[derive(Debug)]
struct Prompt {
    answer: u64,
    rows: usize,
    is_contested: bool,
}

impl DuplicateCounter {
    pub(super) fn add(&mut self, prompt: u64, answer: u64) {
        if !is_drawn_at(prompt, self.level) {
            return;
        }
        let known = self.prompts.entry(prompt).or_insert(Prompt { answer, rows: 0, is_contested: false });
        known.rows += 1;
        known.is_contested |= known.answer != answer;
        if !self.pairs.insert((prompt, answer)) {
            *self.exact.entry(prompt).or_default() += 1;
        }
        while self.pairs.len() > MAX_PROMPTS {
            self.level += 1;
            let level = self.level;
            self.prompts.retain(|prompt, _| is_drawn_at(*prompt, level));
            self.pairs.retain(|(prompt, _)| is_drawn_at(*prompt, level));
            self.exact.retain(|prompt, _| is_drawn_at(*prompt, level));
        }
    }

    pub(super) fn exact(&self) -> usize {
        self.exact.values().sum::<usize>() << self.level
    }

    pub(super) fn conflicting(&self) -> usize {
        let contested = self.prompts.values().filter(|prompt| prompt.is_contested);
        contested.map(|prompt| prompt.rows).sum::<usize>() << self.level
    }

    pub(super) fn is_estimated(&self) -> bool {
        self.level > 0
    }
}

/// Rows by name, on a part of the rows that is drawn by hash.
#[derive(Debug, Default)]
pub(super) struct SampledCounts {
    drawn: Vec<(u64, &'static str)>,
    level: u32,
}

impl SampledCounts {
    pub(super) fn is_drawn(&self, hash: u64) -> bool {
        is_drawn_at(hash, self.level)
    }

    pub(super) fn add(&mut self, hash: u64, name: &'static str) {
        if !self.is_drawn(hash) {
            return;
        }
        self.drawn.push((hash, name));
        while self.drawn.len() > MAX_SAMPLED {
            self.level += 1;
            let level = self.level;
            self.drawn.retain(|(hash, _)| is_drawn_at(*hash, level));
        }
    }

    pub(super) fn finish(self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for (_, name) in self.drawn {
            *counts.entry(name.to_owned()).or_default() += 1;
        }
        counts
    }
}

/// Lengths in bars from one power of two to the next.
#[derive(Debug, Default)]
pub(super) struct Histogram {
    bars: BTreeMap<u32, usize>,
}

impl Histogram {
    pub(super) fn add(&mut self, length: usize) {
        // The bar of length n is ⌊log₂ n⌋ + 1, and 0 for nothing.
        *self.bars.entry(usize::BITS - length.leading_zeros()).or_default() += 1;
    }

    /// From the first bar that holds rows to the last.
    pub(super) fn buckets(&self) -> Vec<LengthBucket> {
        let (Some((first, _)), Some((last, _))) = (self.bars.first_key_value(), self.bars.last_key_value()) else {
            return Vec::new();
        };
        let start = |bar: u32| if bar == 0 { 0 } else { 1_usize << (bar - 1) };
        let bucket = |bar: u32| LengthBucket {
            from: start(bar),
            to: 1_usize << bar,
            rows: self.bars.get(&bar).copied().unwrap_or_default(),
        };
        (*first..=*last).map(bucket).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::hash_of;

    #[test]
    fn estimates_are_near_the_truth_and_memory_is_bounded() {
        let mut counter = DuplicateCounter::default();
        let num_prompts = 3 * MAX_PROMPTS as u64;
        // Every tenth prompt occurs twice with one answer, every twentieth also with another.
        for prompt in 0..num_prompts {
            let hash = hash_of(&prompt.to_string());
            counter.add(hash, 1);
            if prompt % 10 == 0 {
                counter.add(hash, 1);
            }
            if prompt % 20 == 0 {
                counter.add(hash, 2);
            }
        }
        assert!(counter.is_estimated() && counter.pairs.len() <= MAX_PROMPTS);
        let near = |found: usize, expected: u64| (found as f64 / expected as f64 - 1.0).abs() < 0.02;
        assert!(near(counter.exact(), num_prompts / 10), "{}", counter.exact());
        assert!(near(counter.conflicting(), 3 * num_prompts / 20), "{}", counter.conflicting());
    }

    #[test]
    fn small_files_are_counted_exactly() {
        let mut counter = DuplicateCounter::default();
        for (prompt, answer) in [(8, 1), (8, 1), (8, 2), (9, 1)] {
            counter.add(prompt, answer);
        }
        assert_eq!((counter.exact(), counter.conflicting(), counter.is_estimated()), (1, 3, false));
    }
}
