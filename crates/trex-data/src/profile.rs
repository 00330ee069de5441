//! A dataset at a glance, in bounded memory: rows pass by once, in chunks. Counts only; changes and removes nothing.
//!
//! What would need all rows at hand is counted on a part of a large file, and the profile says so: near-duplicates among
//! the first rows, exact duplicates and conflicts on prompts drawn by hash, languages on rows drawn by hash.

mod counters;
mod html;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rayon::prelude::*;
use trex_domain::{DataProfile, Example, FieldMap, MeasuresAtHand, QuarantinedRow, RowCounts};

use crate::export::Rows;
use crate::language::language_of;
use crate::minhash::num_near_duplicates;
use crate::pii::{PiiKind, pii_kinds};
use crate::split::TakenPrompts;
use crate::text::{hash_of, normalise_key};
use crate::{DataError, ExampleReader, RawTable, SchemaGuess};
pub use html::profile_html;

use counters::{DuplicateCounter, Histogram, LabelCounter, SampledCounts};

/// Jaccard similarity from which two prompts count as nearly equal.
const NEAR_DUPLICATE: f64 = 0.8;

/// Rows that are compared for near-duplicates, and bytes of their prompts.
const MAX_NEAR_ROWS: usize = 50_000;
const MAX_NEAR_BYTES: usize = 48 << 20;

/// Longest rows that are named.
const MAX_LONGEST: usize = 5;

/// Quarantined rows that are shown.
const MAX_QUARANTINED: usize = 20;

/// Reasons that are told apart.
const MAX_REASONS: usize = 50;

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
    /// The quarantined rows, or the first of them.
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

    /// The facts of a source that was read; `quarantined` are its first bad rows.
    pub fn of_reader(reader: &ExampleReader, rows: RowCounts, quarantined: Vec<QuarantinedRow>) -> Self {
        Self {
            format: reader.format(),
            format_reason: reader.format_reason(),
            schema: format!("{}: {}", reader.schema().describe(), reader.schema().reason),
            fields: reader.fields(),
            rows,
            quarantined,
            has_answers: reader.has_answers(),
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

/// What a profile is asked for beyond the file.
#[derive(Default)]
pub struct ProfileOptions<'a> {
    /// Columns as the person names them.
    pub fields: FieldMap,
    /// Counts the tokens of an example, where a tokenizer is at hand.
    pub num_tokens: Option<&'a (dyn Fn(&Example) -> usize + Sync)>,
    /// Called after each chunk with the rows so far; `false` stops.
    pub progress: Option<&'a mut dyn FnMut(RowCounts) -> bool>,
}

/// Profiles a file, an archive or a folder with everything guessed.
pub fn profile_file(path: &Path) -> Result<DataProfile, DataError> {
    profile_source(path, ProfileOptions::default())
}

/// Profiles a file, an archive or a folder in bounded memory.
pub fn profile_source(path: &Path, mut options: ProfileOptions<'_>) -> Result<DataProfile, DataError> {
    let mut reader = ExampleReader::guessed(path, &options.fields)?;
    let mut profiler = Profiler::new(reader.has_answers(), None, options.num_tokens);
    while let Some(chunk) = reader.next_chunk()? {
        profiler.add(&chunk.examples);
        profiler.add_quarantined(&chunk.quarantined);
        let goes_on = options.progress.as_mut().is_none_or(|progress| progress(profiler.rows));
        if !goes_on {
            return Err(DataError::Cancelled);
        }
    }
    let facts = TableFacts::of_reader(&reader, profiler.rows, Vec::new());
    profiler.finish(reader.name(), &facts)
}

/// Profiles examples. With an evaluation list, rows that also occur there are counted as leaked.
pub fn profile_examples(
    name: &str,
    facts: &TableFacts,
    examples: &[Example],
    evaluation: Option<&[Example]>,
) -> Result<DataProfile, DataError> {
    let evaluation = evaluation.map(|items| items.iter().map(prompt_hash).collect());
    let mut profiler = Profiler::new(facts.has_answers, evaluation, None);
    profiler.add(examples);
    profiler.add_quarantined(&facts.quarantined);
    profiler.finish(name, facts)
}

/// Profiles rows that pass by.
pub fn profile_rows(name: &str, facts: &TableFacts, rows: &dyn Rows) -> Result<DataProfile, DataError> {
    let mut profiler = Profiler::new(facts.has_answers, None, None);
    rows.for_each_portion(&mut |rows| {
        profiler.add(rows);
        Ok(())
    })?;
    profiler.finish(name, facts)
}

/// What rows are compared with evaluation items by.
pub(crate) fn prompt_hash(row: &Example) -> u64 {
    hash_of(&normalise_key(&row.prompt_text()))
}

/// Sums up rows that pass by.
#[derive(Default)]
pub(crate) struct Profiler<'a> {
    has_answers: bool,
    evaluation: Option<TakenPrompts>,
    num_tokens: Option<&'a (dyn Fn(&Example) -> usize + Sync)>,
    rows: RowCounts,
    labels: LabelCounter,
    duplicates: DuplicateCounter,
    languages: SampledCounts,
    near_prompts: Vec<String>,
    near_bytes: usize,
    empty: usize,
    pii_rows: usize,
    pii: BTreeMap<String, usize>,
    lengths: Histogram,
    token_lengths: Histogram,
    longest: Vec<(String, usize)>,
    leaked: usize,
    reasons: BTreeMap<String, usize>,
    quarantined: Vec<QuarantinedRow>,
    samples: Vec<String>,
}

/// What is found out about one row, on any thread.
struct RowFacts {
    prompt: u64,
    answer: u64,
    num_chars: usize,
    num_tokens: Option<usize>,
    is_empty: bool,
    is_leaked: bool,
    pii: BTreeSet<PiiKind>,
    language: Option<&'static str>,
}

impl<'a> Profiler<'a> {
    pub(crate) fn new(
        has_answers: bool,
        evaluation: Option<TakenPrompts>,
        num_tokens: Option<&'a (dyn Fn(&Example) -> usize + Sync)>,
    ) -> Self {
        Self { has_answers, evaluation, num_tokens, ..Self::default() }
    }

    /// From here on rows that also occur among these items are counted as leaked.
    pub(crate) fn compare_with(&mut self, evaluation: TakenPrompts) {
        self.evaluation = Some(evaluation);
    }

    pub(crate) fn add(&mut self, examples: &[Example]) {
        let languages = &self.languages;
        let facts: Vec<RowFacts> =
            examples.par_iter().with_min_len(32).map(|row| self.facts_of(row, languages)).collect();
        for (row, facts) in examples.iter().zip(facts) {
            self.add_row(row, &facts);
        }
        self.rows.input += examples.len();
        self.rows.kept += examples.len();
    }

    fn facts_of(&self, row: &Example, languages: &SampledCounts) -> RowFacts {
        let text = row.prompt_text();
        let key = normalise_key(&text);
        let prompt = hash_of(&key);
        let mut pii = pii_kinds(&text);
        pii.extend(pii_kinds(&row.answer));
        RowFacts {
            prompt,
            answer: hash_of(&normalise_key(&row.answer)),
            num_chars: num_chars(row),
            num_tokens: self.num_tokens.map(|count| count(row)),
            is_empty: text.trim().is_empty() || (self.has_answers && row.answer.is_empty()),
            is_leaked: self.evaluation.as_ref().is_some_and(|known| known.contains(&prompt)),
            pii,
            language: languages.is_drawn(hash_of(&row.id)).then(|| language_of(&text)),
        }
    }

    fn add_row(&mut self, row: &Example, facts: &RowFacts) {
        self.labels.add(row);
        self.duplicates.add(facts.prompt, facts.answer);
        if let Some(language) = facts.language {
            self.languages.add(hash_of(&row.id), language);
        }
        self.empty += usize::from(facts.is_empty);
        self.leaked += usize::from(facts.is_leaked);
        self.pii_rows += usize::from(!facts.pii.is_empty());
        for kind in &facts.pii {
            *self.pii.entry(kind.name().to_owned()).or_default() += 1;
        }
        self.lengths.add(facts.num_chars);
        if let Some(num_tokens) = facts.num_tokens {
            self.token_lengths.add(num_tokens);
        }
        self.add_longest(&row.id, facts.num_chars);
        if self.samples.len() < MAX_SAMPLES {
            self.samples.push(sample(row));
        }
        if self.near_prompts.len() < MAX_NEAR_ROWS && self.near_bytes < MAX_NEAR_BYTES {
            let prompt = row.prompt_text();
            self.near_bytes += prompt.len();
            self.near_prompts.push(prompt);
        }
    }

    fn add_longest(&mut self, id: &str, num_chars: usize) {
        let at = self.longest.partition_point(|(_, chars)| *chars >= num_chars);
        if at < MAX_LONGEST {
            self.longest.insert(at, (id.to_owned(), num_chars));
            self.longest.truncate(MAX_LONGEST);
        }
    }

    pub(crate) fn add_quarantined(&mut self, rows: &[QuarantinedRow]) {
        self.rows.input += rows.len();
        self.rows.quarantined += rows.len();
        for row in rows {
            if self.reasons.len() < MAX_REASONS || self.reasons.contains_key(&row.reason) {
                *self.reasons.entry(row.reason.clone()).or_default() += 1;
            }
        }
        let free = MAX_QUARANTINED.saturating_sub(self.quarantined.len());
        self.quarantined.extend(rows.iter().take(free).cloned());
    }

    /// `facts` says how many rows the file had, which may be more than those that passed by (rows that were held out).
    pub(crate) fn finish(self, name: &str, facts: &TableFacts) -> Result<DataProfile, DataError> {
        Ok(DataProfile {
            name: name.to_owned(),
            format: facts.format.clone(),
            format_reason: facts.format_reason.clone(),
            schema: facts.schema.clone(),
            fields: facts.fields.clone(),
            rows: facts.rows,
            labels: self.labels.finish(self.rows.kept),
            exact_duplicates: self.duplicates.exact(),
            near_duplicates: num_near_duplicates(&self.near_prompts, NEAR_DUPLICATE)?,
            near_duplicates_among: self.near_prompts.len(),
            duplicates_estimated: self.duplicates.is_estimated(),
            conflicting_answers: self.duplicates.conflicting(),
            empty: self.empty,
            pii_rows: self.pii_rows,
            pii: self.pii,
            languages: self.languages.finish(),
            lengths: self.lengths.buckets(),
            token_lengths: self.token_lengths.buckets(),
            longest: self.longest,
            leaked: self.evaluation.map(|_| self.leaked),
            at_hand: MeasuresAtHand::default(),
            quarantine_reasons: self.reasons,
            quarantine_sample: self.quarantined,
            samples: self.samples,
        })
    }
}

pub(crate) fn num_chars(row: &Example) -> usize {
    row.prompt.iter().map(|turn| turn.content.chars().count()).sum::<usize>() + row.answer.chars().count()
}

fn sample(row: &Example) -> String {
    format!("{} → {}", shortened(row.question(), 120), shortened(&row.answer, 80))
}

/// On one line, at most so many characters.
pub(crate) fn shortened(text: &str, limit: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= limit {
        return line;
    }
    line.chars().take(limit.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use trex_domain::{LengthBucket, Message, Origin};

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
        let profile =
            profile_examples("t", &TableFacts::of_generated(6), &rows(), Some(&[row(9, "SHORT.", "")])).unwrap();
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

    fn histogram(rows: &[Example]) -> Vec<LengthBucket> {
        profile_examples("t", &TableFacts::default(), rows, None).unwrap().lengths
    }

    #[test]
    fn bars_are_half_open_and_without_gaps() {
        let rows = [row(0, "", ""), row(1, "a", ""), row(2, "ab", "c"), row(3, &"x".repeat(16), "")];
        let bars = histogram(&rows);
        let expected = [(0, 1, 1), (1, 2, 1), (2, 4, 1), (4, 8, 0), (8, 16, 0), (16, 32, 1)];
        assert_eq!(bars.iter().map(|bar| (bar.from, bar.to, bar.rows)).collect::<Vec<_>>(), expected);
        assert!(histogram(&[]).is_empty());
    }

    #[test]
    fn open_answers_have_no_label_counts() {
        let rows: Vec<Example> = (0..9).map(|number| row(number, "p", &format!("answer {number}"))).collect();
        let labels = profile_examples("t", &TableFacts::of_generated(9), &rows, None).unwrap().labels;
        assert!(labels.is_empty());
    }
}
