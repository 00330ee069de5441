//! Rows as a training gets them, for people to look at. Trains nothing.

use trex_chat::ChatModel;
use trex_domain::{Example, TrainObjective};

use crate::TrainError;
use crate::rows::Encoding;

/// What one place of a batch holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrainedRow {
    /// An answer; a better and a worse one, in this order; the texts of a block.
    pub sequences: Vec<TrainedSequence>,
    /// Whether a prompt lost its beginning.
    pub truncated: bool,
}

/// One run of tokens that no other one sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrainedSequence {
    /// All of them.
    pub tokens: Vec<u32>,
    /// How many at the start are read and carry no loss.
    pub num_read: usize,
}

/// Encodes examples by the code of the training; of raw text they are blocks, which need not begin where a text does.
pub fn rows_as_trained(
    chat: &ChatModel,
    examples: &[Example],
    objective: TrainObjective,
    max_length: usize,
) -> Result<Vec<TrainedRow>, TrainError> {
    let rows = Encoding { chat, objective, limit: max_length, seed: 0 }.rows(examples)?;
    let shown = rows.into_iter().map(|row| TrainedRow {
        sequences: row
            .sequences
            .into_iter()
            .map(|sequence| TrainedSequence { num_read: sequence.first_loss, tokens: sequence.tokens })
            .collect(),
        truncated: row.truncated,
    });
    Ok(shown.collect())
}
