//! A dataset at a glance. Counts only; changes and removes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rayon::prelude::*;
use trex_domain::{DataProfile, Example, LengthBucket, QuarantinedRow, RowCounts};

use crate::minhash::near_duplicate_rows;
use crate::pii::pii_kinds;
use crate::reader::file_name;
use crate::schema::guessed_examples;
use crate::text::normalise_key;
use crate::{DataError, RawTable, SchemaGuess, count_leaks, read_table};

/// Jaccard similarity from which two prompts count as nearly equal.
const NEAR_DUPLICATE: f64 = 0.8;

/// More distinct answers than this are open answers.
const MAX_LABELS: usize = 50;

/// Longest rows that are named.
const MAX_LONGEST: usize = 5;

/// Quarantined rows that are shown.
const MAX_QUARANTINED: usize = 20;

/// Examples that are shown.
const MAX_SAMPLES: usize = 3;

/// What is known of the file behind some examples.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableFacts {
    /// What the reader took it for.
    pub format: String,
    /// Why.
    pub format_reason: String,
    /// What the columns were taken for.
    pub schema: String,
    /// Column names.
    pub fields: Vec<String>,
    /// Rows in, kept and quarantined, by reader and schema together.
    pub rows: RowCounts,
    /// The quarantined rows.
    pub quarantined: Vec<QuarantinedRow>,
    /// Whether examples have answers at all; raw text has none.
    pub has_answers: bool,
}

impl TableFacts {
    /// The facts of a table of which `num_kept` rows became examples and the schema set `quarantined` aside.
    pub fn of_table(table: &RawTable, schema: &SchemaGuess, num_kept: usize, quarantined: &[QuarantinedRow]) -> Self {
        let mut all: Vec<QuarantinedRow> = table.quarantined.iter().chain(quarantined).cloned().collect();
        all.sort_by_key(|row| row.byte_offset);
        Self {
            format: table.format.clone(),
            format_reason: table.format_reason.clone(),
            schema: format!("{}: {}", schema.describe(), schema.reason),
            fields: table.fields.clone(),
            rows: RowCounts { input: table.input, kept: num_kept, quarantined: all.len() },
            quarantined: all,
            has_answers: schema.answer.is_some() || schema.is_chat(),
        }
    }

    /// The facts of examples that were generated.
    pub fn of_generated(num_rows: usize) -> Self {
        Self {
            format: "generated".to_owned(),
            format_reason: "the task makes its rows itself".to_owned(),
            rows: RowCounts { input: num_rows, kept: num_rows, quarantined: 0 },
            has_answers: true,
            ..Self::default()
        }
    }
}

/// Profiles a file with everything guessed.
pub fn profile_file(path: &Path) -> Result<DataProfile, DataError> {
    let table = read_table(path)?;
    let name = file_name(path);
    let (examples, quarantined, schema) = guessed_examples(&table, &name);
    let facts = TableFacts::of_table(&table, &schema, examples.len(), &quarantined);
    Ok(profile_examples(&name, &facts, &examples, None))
}

/// Profiles examples. With an evaluation list, rows that also occur there are counted as leaked.
pub fn profile_examples(
    name: &str,
    facts: &TableFacts,
    examples: &[Example],
    evaluation: Option<&[Example]>,
) -> DataProfile {
    let duplicates = Duplicates::of(examples);
    let prompts: Vec<String> = examples.iter().map(Example::prompt_text).collect();
    let is_empty = |row: &&Example| row.prompt_text().trim().is_empty() || (facts.has_answers && row.answer.is_empty());
    let has_pii = |row: &&Example| !pii_kinds(&row.prompt_text()).is_empty() || !pii_kinds(&row.answer).is_empty();
    DataProfile {
        name: name.to_owned(),
        format: facts.format.clone(),
        format_reason: facts.format_reason.clone(),
        schema: facts.schema.clone(),
        fields: facts.fields.clone(),
        rows: facts.rows,
        labels: labels(examples),
        exact_duplicates: duplicates.exact,
        near_duplicates: near_duplicate_rows(&prompts, NEAR_DUPLICATE).len(),
        conflicting_answers: duplicates.conflicting,
        empty: examples.iter().filter(is_empty).count(),
        pii_rows: examples.par_iter().filter(has_pii).count(),
        lengths: length_histogram(examples),
        longest: longest(examples),
        leaked: evaluation.map(|items| count_leaks(examples, items)),
        quarantine_sample: facts.quarantined.iter().take(MAX_QUARANTINED).cloned().collect(),
        samples: examples.iter().take(MAX_SAMPLES).map(sample).collect(),
    }
}

struct Duplicates {
    exact: usize,
    conflicting: usize,
}

impl Duplicates {
    /// Prompts and answers are compared in normalised form.
    fn of(examples: &[Example]) -> Self {
        let keys: Vec<(String, String)> =
            examples.par_iter().map(|row| (normalise_key(&row.prompt_text()), normalise_key(&row.answer))).collect();
        let mut answers: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        let mut exact = 0;
        for (prompt, answer) in &keys {
            let is_new = answers.entry(prompt).or_default().insert(answer);
            exact += usize::from(!is_new);
        }
        let has_conflict = |prompt: &str| answers.get(prompt).is_some_and(|answers| answers.len() > 1);
        Self { exact, conflicting: keys.iter().filter(|(prompt, _)| has_conflict(prompt)).count() }
    }
}

/// Rows by answer: where options are declared, or where few short answers repeat.
fn labels(examples: &[Example]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::<String, usize>::new();
    for row in examples {
        *counts.entry(row.answer.clone()).or_default() += 1;
    }
    let has_options = examples.iter().any(|row| !row.options.is_empty());
    let looks_closed = counts.len() * 2 <= examples.len()
        && counts.keys().all(|label| !label.is_empty() && label.chars().count() <= 60);
    if counts.len() > MAX_LABELS || !(has_options || looks_closed) {
        return BTreeMap::new();
    }
    counts
}

fn num_chars(row: &Example) -> usize {
    row.prompt.iter().map(|turn| turn.content.chars().count()).sum::<usize>() + row.answer.chars().count()
}

/// Bars from one power of two to the next, from the first that holds rows to the last.
fn length_histogram(examples: &[Example]) -> Vec<LengthBucket> {
    let mut bars = BTreeMap::<u32, usize>::new();
    for row in examples {
        // The bar of length n is ⌊log₂ n⌋ + 1, and 0 for nothing.
        *bars.entry(usize::BITS - num_chars(row).leading_zeros()).or_default() += 1;
    }
    let (Some((first, _)), Some((last, _))) = (bars.first_key_value(), bars.last_key_value()) else {
        return Vec::new();
    };
    let start = |bar: u32| if bar == 0 { 0 } else { 1_usize << (bar - 1) };
    let bucket = |bar: u32| LengthBucket {
        from: start(bar),
        to: 1_usize << bar,
        rows: bars.get(&bar).copied().unwrap_or_default(),
    };
    (*first..=*last).map(bucket).collect()
}

fn longest(examples: &[Example]) -> Vec<(String, usize)> {
    let mut lengths: Vec<(&str, usize)> = examples.iter().map(|row| (row.id.as_str(), num_chars(row))).collect();
    lengths.sort_by_key(|(_, chars)| std::cmp::Reverse(*chars));
    lengths.into_iter().take(MAX_LONGEST).map(|(id, chars)| (id.to_owned(), chars)).collect()
}

fn sample(row: &Example) -> String {
    format!("{} → {}", shortened(row.question(), 120), shortened(&row.answer, 80))
}

/// On one line, at most so many characters.
fn shortened(text: &str, limit: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= limit {
        return line;
    }
    line.chars().take(limit.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use trex_domain::{Message, Origin};

    use super::*;

    fn row(number: usize, prompt: &str, answer: &str) -> Example {
        Example {
            id: format!("t/{number}"),
            prompt: vec![Message::user(prompt)],
            answer: answer.to_owned(),
            options: Vec::new(),
            group: None,
            rejected: None,
            origin: Origin::default(),
        }
    }

    fn rows() -> Vec<Example> {
        let texts = [
            ("the quick brown fox jumps over the lazy dog near the river bank today", "yes"),
            ("The quick brown fox jumps over the lazy dog near the river bank today!", "yes"),
            ("the quick brown fox jumps over the lazy dog near the river bank today", "no"),
            ("write to ada@example.org about something else entirely", "no"),
            ("", "no"),
            ("short", "yes"),
        ];
        texts.iter().enumerate().map(|(number, (prompt, answer))| row(number, prompt, answer)).collect()
    }

    #[test]
    fn every_number_of_a_profile_is_counted() {
        let profile = profile_examples("t", &TableFacts::of_generated(6), &rows(), Some(&[row(9, "SHORT.", "")]));
        assert_eq!(profile.labels, BTreeMap::from([("no".to_owned(), 3), ("yes".to_owned(), 3)]));
        assert_eq!(profile.exact_duplicates, 1);
        assert_eq!(profile.near_duplicates, 2);
        assert_eq!(profile.conflicting_answers, 3);
        assert_eq!(profile.empty, 1);
        assert_eq!(profile.pii_rows, 1);
        assert_eq!(profile.leaked, Some(1));
        assert_eq!(profile.samples.len(), 3);
        assert_eq!(profile.longest[0], ("t/1".to_owned(), 73));
        assert_eq!(profile.lengths.iter().map(|bar| bar.rows).sum::<usize>(), 6);
    }

    #[test]
    fn bars_are_half_open_and_without_gaps() {
        let rows = [row(0, "", ""), row(1, "a", ""), row(2, "ab", "c"), row(3, &"x".repeat(16), "")];
        let bars = length_histogram(&rows);
        let expected = [(0, 1, 1), (1, 2, 1), (2, 4, 1), (4, 8, 0), (8, 16, 0), (16, 32, 1)];
        assert_eq!(bars.iter().map(|bar| (bar.from, bar.to, bar.rows)).collect::<Vec<_>>(), expected);
        assert!(length_histogram(&[]).is_empty());
    }

    #[test]
    fn open_answers_have_no_label_counts() {
        let rows: Vec<Example> = (0..9).map(|number| row(number, "p", &format!("answer {number}"))).collect();
        assert!(labels(&rows).is_empty());
    }
}
