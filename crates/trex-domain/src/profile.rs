//! What an import and a profile of a dataset say. Filled by `trex-data`; holds no data rows beyond short samples.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::OperatorCount;

/// Rows of an import; `input = kept + quarantined`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RowCounts {
    /// Rows that were read, good or bad.
    #[serde(rename = "in")]
    pub input: usize,
    /// Rows that became examples.
    pub kept: usize,
    /// Rows that were set aside with a reason.
    pub quarantined: usize,
}

/// A row that could not become an example.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct QuarantinedRow {
    /// File name.
    pub file: String,
    /// Line where the row starts, from 1.
    pub line: u64,
    /// Byte offset where the row starts, from 0, in the file as it lies on disk.
    pub byte_offset: u64,
    /// Why.
    pub reason: String,
    /// The first 200 characters.
    pub excerpt: String,
}

/// One bar of the length histogram: answers and prompts with `from <= characters < to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LengthBucket {
    /// First length in the bar.
    pub from: usize,
    /// First length above the bar.
    pub to: usize,
    /// Rows.
    pub rows: usize,
}

/// What models can tell of rows where they lie; part of the profile, so that a run that is resumed elsewhere proposes what
/// it would have proposed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct MeasuresAtHand {
    /// Whether texts can be compared by what they mean.
    pub embeddings: bool,
    /// Whether the base model's loss of each row can be had.
    pub losses: bool,
}

impl MeasuresAtHand {
    /// Whether there is nobody to ask.
    pub fn is_none(&self) -> bool {
        !self.embeddings && !self.losses
    }
}

/// A dataset at a glance.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DataProfile {
    /// The file or dataset.
    pub name: String,
    /// What the reader took it for, such as `tsv, no header`.
    pub format: String,
    /// Why the reader took it for that.
    pub format_reason: String,
    /// What the columns were taken for, such as `classification (text, label)`.
    pub schema: String,
    /// Names of the fields in the order of the file.
    pub fields: Vec<String>,
    /// Rows in, kept and quarantined.
    pub rows: RowCounts,
    /// Rows by answer, for closed answers (at most 50 distinct ones).
    pub labels: BTreeMap<String, usize>,
    /// Rows whose prompt and answer both occur earlier.
    pub exact_duplicates: usize,
    /// Rows whose prompt is at least 0.8 similar to an earlier one (estimated), exact ones included.
    pub near_duplicates: usize,
    /// Rows that were compared for near-duplicates: all, or the first ones of a large file.
    #[serde(default)]
    pub near_duplicates_among: usize,
    /// Whether exact duplicates and conflicting answers were counted on a part of the prompts, drawn by hash, and scaled.
    #[serde(default)]
    pub duplicates_estimated: bool,
    /// Rows whose prompt occurs with another answer too.
    pub conflicting_answers: usize,
    /// Rows with an empty prompt or answer among the kept.
    pub empty: usize,
    /// Rows that look like they carry personal data or a secret: e-mail addresses, phone, card and account numbers, network
    /// addresses, national ids, keys and tokens.
    pub pii_rows: usize,
    /// Rows by the kind of personal data that they seem to carry.
    #[serde(default)]
    pub pii: BTreeMap<String, usize>,
    /// Rows by language (ISO 639-3; `und` where it cannot be told), of the rows that were looked at.
    #[serde(default)]
    pub languages: BTreeMap<String, usize>,
    /// Characters of prompt and answer.
    pub lengths: Vec<LengthBucket>,
    /// Tokens of prompt and answer, where a tokenizer was at hand.
    #[serde(default)]
    pub token_lengths: Vec<LengthBucket>,
    /// Ids of the longest rows with their length in characters.
    pub longest: Vec<(String, usize)>,
    /// Rows of the training pool that also occur in an evaluation split; `None` where there is none to compare with.
    pub leaked: Option<usize>,
    /// What models can tell of the rows of a training pool.
    #[serde(default, skip_serializing_if = "MeasuresAtHand::is_none")]
    pub at_hand: MeasuresAtHand,
    /// Quarantined rows by reason, the first 50 reasons.
    #[serde(default)]
    pub quarantine_reasons: BTreeMap<String, usize>,
    /// The first quarantined rows, at most 20.
    pub quarantine_sample: Vec<QuarantinedRow>,
    /// Up to three example rows as "prompt → answer", shortened.
    pub samples: Vec<String>,
}

/// Where every row of a recipe run went.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RowLedger {
    /// Rows of the pool.
    pub rows_in: usize,
    /// Rows to train on.
    pub rows_out: usize,
    /// One entry per operator, in order.
    pub steps: Vec<OperatorCount>,
}

impl RowLedger {
    /// Whether each step balances and hands its rows to the next.
    pub fn balances(&self) -> bool {
        let mut rows = self.rows_in;
        for step in &self.steps {
            if step.rows_in != rows || !step.balances() {
                return false;
            }
            rows = step.rows_out;
        }
        rows == self.rows_out
    }
}
