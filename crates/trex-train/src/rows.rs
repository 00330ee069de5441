//! Rows of training data as token ids, with the loss mask as two numbers per sequence.
//!
//! What a row is depends on the objective: a prompt with its answer, a prompt with two answers, or a block of raw text.
//! Makes no batches and draws no order.

use std::path::Path;

use trex_chat::{ChatError, ChatModel, Encoded};
use trex_domain::{Example, TrainObjective};

use crate::TrainError;

/// One sequence of tokens: read from the start, with loss from `first_loss` on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sequence {
    pub(crate) tokens: Vec<u32>,
    /// First token that is predicted under loss; at least 1.
    pub(crate) first_loss: usize,
    /// First token of the answer; at least `first_loss`.
    pub(crate) answer: usize,
}

impl Sequence {
    /// A prompt and its answer, loss on the answer.
    pub(crate) fn answer(prompt: &[u32], answer: &[u32]) -> Self {
        Self { tokens: [prompt, answer].concat(), first_loss: prompt.len(), answer: prompt.len() }
    }

    /// A text, loss on everything that can be predicted.
    fn text(tokens: Vec<u32>) -> Self {
        Self { tokens, first_loss: 1, answer: 1 }
    }

    /// The same with loss on the prompt too.
    fn with_loss_on_all(self) -> Self {
        Self { first_loss: 1, ..self }
    }

    /// What carries no loss and may be shared.
    pub(crate) fn prompt(&self) -> &[u32] {
        &self.tokens[..self.first_loss]
    }

    /// Tokens with loss.
    pub(crate) fn num_losses(&self) -> usize {
        self.tokens.len() - self.first_loss
    }
}

/// What one place of a batch holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// An answer; an answer and a rejected one; the texts of a block.
    pub(crate) sequences: Vec<Sequence>,
    /// Whether a prompt lost its beginning.
    pub(crate) truncated: bool,
}

impl Row {
    /// Tokens that go through the model, at most.
    pub(crate) fn num_tokens(&self) -> usize {
        self.sequences.iter().map(|sequence| sequence.tokens.len() - 1).sum()
    }

    /// Tokens with loss.
    pub(crate) fn num_losses(&self) -> usize {
        self.sequences.iter().map(Sequence::num_losses).sum()
    }
}

/// How examples become rows.
#[derive(Clone, Copy)]
pub(crate) struct Encoding<'a> {
    pub(crate) chat: &'a ChatModel,
    pub(crate) objective: TrainObjective,
    /// Most tokens of a sequence or block.
    pub(crate) limit: usize,
    /// Seed of the option order.
    pub(crate) seed: u64,
}

impl Encoding<'_> {
    /// Reads a file of examples; fails where it has none, or none with anything to predict.
    pub(crate) fn read(&self, path: &Path) -> Result<Vec<Row>, TrainError> {
        let examples: Vec<Example> = trex_fs::read_lines(path)?;
        if examples.is_empty() {
            return Err(TrainError::NoRows { path: path.to_owned() });
        }
        let rows = self.rows(&examples)?;
        if rows.iter().all(|row| row.num_losses() == 0) {
            return Err(TrainError::NothingSupervised { path: path.to_owned(), rows: examples.len() });
        }
        Ok(rows)
    }

    pub(crate) fn rows(&self, examples: &[Example]) -> Result<Vec<Row>, TrainError> {
        if self.objective == TrainObjective::Pretrain {
            let texts = examples.iter().map(|example| self.text_tokens(example));
            return Ok(blocks(texts.collect::<Result<Vec<_>, _>>()?, self.limit));
        }
        examples.iter().map(|example| self.row(example)).collect()
    }

    fn row(&self, example: &Example) -> Result<Row, TrainError> {
        let chosen = self.encode(example, &example.answer)?;
        let sequence = |encoded: &Encoded| Sequence::answer(&encoded.prompt, &encoded.completion);
        if !self.objective.is_preference() {
            return Ok(Row { sequences: vec![sequence(&chosen)], truncated: chosen.truncated });
        }
        let rejected = example.rejected_answer();
        let rejected = rejected.ok_or_else(|| TrainError::NoRejected { id: example.id.clone() })?;
        let rejected = self.encode(example, rejected)?;
        let mut sequences = vec![sequence(&chosen), sequence(&rejected)];
        if self.objective == TrainObjective::Orpo {
            // ORPO's cross-entropy is over prompt and answer, as in TRL.
            sequences[0] = sequence(&chosen).with_loss_on_all();
        }
        Ok(Row { sequences, truncated: chosen.truncated || rejected.truncated })
    }

    fn encode(&self, example: &Example, answer: &str) -> Result<Encoded, TrainError> {
        let prompt = example.rendered_prompt(self.seed);
        self.chat.encode_example(&prompt, answer, self.limit).map_err(|err| match err {
            ChatError::AnswerTooLong { num_tokens, max_length } => {
                TrainError::TooLong { id: example.id.clone(), tokens: num_tokens + 1, limit: max_length }
            }
            err => err.into(),
        })
    }

    /// Raw text between the token that begins a text, where there is one, and the one that ends it.
    fn text_tokens(&self, example: &Example) -> Result<Vec<u32>, TrainError> {
        let text = self.chat.encode(&example.raw_text())?;
        if text.is_empty() {
            return Ok(text);
        }
        let bos = self.chat.bos_id().filter(|bos| text.first() != Some(bos));
        let end = self.chat.eos_ids().first().copied();
        Ok(bos.into_iter().chain(text).chain(end).collect())
    }
}

/// Lays texts end to end and cuts the whole into blocks of `size` tokens; every piece of a text is a sequence of its own.
///
/// Pieces of one token predict nothing and are left out.
fn blocks(texts: Vec<Vec<u32>>, size: usize) -> Vec<Row> {
    let mut rows = Vec::new();
    let (mut block, mut room) = (Vec::new(), size);
    for text in texts {
        let mut rest = text.as_slice();
        while !rest.is_empty() {
            let (piece, later) = rest.split_at(rest.len().min(room));
            if piece.len() > 1 {
                block.push(Sequence::text(piece.to_vec()));
            }
            room -= piece.len();
            rest = later;
            if room == 0 {
                rows.push(Row { sequences: std::mem::take(&mut block), truncated: false });
                room = size;
            }
        }
    }
    rows.push(Row { sequences: block, truncated: false });
    rows.retain(|row| !row.sequences.is_empty());
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_fill_blocks_and_every_piece_stands_alone() {
        let rows = blocks(vec![vec![1, 2, 3], vec![4, 5, 6, 7, 8, 9], vec![10]], 5);
        let pieces: Vec<Vec<&[u32]>> =
            rows.iter().map(|row| row.sequences.iter().map(|s| s.tokens.as_slice()).collect()).collect();
        assert_eq!(pieces, [vec![&[1, 2, 3][..], &[4, 5]], vec![&[6, 7, 8, 9]]]);
        assert!(rows.iter().flat_map(|row| &row.sequences).all(|s| s.num_losses() == s.tokens.len() - 1));
        assert_eq!((rows[0].num_tokens(), rows[0].num_losses()), (3, 3));
    }

    #[test]
    fn loss_on_all_keeps_the_place_of_the_answer() {
        let sequence = Sequence::answer(&[1, 2, 3], &[4, 5]);
        assert_eq!((sequence.num_losses(), sequence.prompt().len()), (2, 3));
        let all = sequence.with_loss_on_all();
        assert_eq!((all.num_losses(), all.answer, all.prompt().len()), (4, 3, 1));
    }
}
