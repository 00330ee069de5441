//! Turns rows of training data into token trees: one forward pass without padding, a common beginning computed once.
//!
//! This is what other trainers call packing: sequences lie end to end, and none sees another.

use std::ops::Range;
use std::sync::Arc;

use crate::layout::{TokenTree, common_prefix};
use crate::rows::{Row, Sequence};

/// Fewest shared tokens that are worth a root of their own.
const WORTH_SHARING: usize = 4;

/// A micro-batch for training.
#[derive(Debug)]
pub(crate) struct TrainBatch {
    pub(crate) tree: TokenTree,
    /// Rows whose next token carries loss, in order, each once.
    pub(crate) rows: Vec<u32>,
    /// The next token of each of those rows.
    pub(crate) targets: Arc<Vec<u32>>,
}

/// A micro-batch with the place of every sequence in it.
#[derive(Debug)]
pub(crate) struct LaidOut {
    pub(crate) batch: TrainBatch,
    /// In the order of rows and of the sequences of each.
    pub(crate) places: Vec<SequencePlace>,
}

/// Where a sequence lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SequencePlace {
    /// Number of its row in the micro-batch.
    pub(crate) row: usize,
    /// Its rows among the rows with loss.
    pub(crate) losses: Range<usize>,
    /// Of those, the first that predicts the answer.
    pub(crate) answer: usize,
    /// First row of the tokens that are its own.
    pub(crate) start: usize,
}

/// Whether common beginnings are computed once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// They are: the numbers are the same.
    Prefixes,
    /// Every sequence stands alone, because its tokens get noise of their own.
    Nothing,
}

/// Lays rows out.
pub(crate) fn train_batch(rows: &[&Row], sharing: Sharing) -> LaidOut {
    let common = |sequences: &mut dyn Iterator<Item = &Sequence>| match sharing {
        Sharing::Prefixes => shared_len(sequences.map(Sequence::prompt).collect::<Vec<_>>().into_iter()),
        Sharing::Nothing => 0,
    };
    let shared = common(&mut rows.iter().flat_map(|row| &row.sequences));
    let mut builder = Builder::default();
    let first = rows.first().and_then(|row| row.sequences.first());
    let root = push_root(&mut builder.tree, first.map(Sequence::prompt), shared);
    for (number, row) in rows.iter().enumerate() {
        let own = if row.sequences.len() > 1 { common(&mut row.sequences.iter()).max(shared) } else { shared };
        let mut parent = root;
        if own > shared {
            parent = Some(builder.tree.push(root, &row.sequences[0].tokens[shared..own]));
        }
        for sequence in &row.sequences {
            builder.push(parent, sequence, own, number);
        }
    }
    builder.finish()
}

#[derive(Default)]
struct Builder {
    tree: TokenTree,
    rows: Vec<u32>,
    targets: Vec<u32>,
    places: Vec<SequencePlace>,
}

impl Builder {
    /// Adds a sequence whose first `shared` tokens are those of `parent` and above.
    fn push(&mut self, parent: Option<usize>, sequence: &Sequence, shared: usize, number: usize) {
        // The last token is predicted, never read.
        let read = &sequence.tokens[shared..sequence.tokens.len() - 1];
        let segment = self.tree.push(parent, read);
        let start = self.tree.first_row(segment);
        let first = start + sequence.first_loss - shared - 1;
        let losses = self.rows.len()..self.rows.len() + sequence.num_losses();
        self.rows.extend((0..losses.len()).map(|offset| row(first + offset)));
        self.targets.extend_from_slice(&sequence.tokens[sequence.first_loss..]);
        let answer = losses.start + sequence.answer - sequence.first_loss;
        self.places.push(SequencePlace { row: number, losses, answer, start });
    }

    fn finish(self) -> LaidOut {
        let batch = TrainBatch { tree: self.tree, rows: self.rows, targets: Arc::new(self.targets) };
        LaidOut { batch, places: self.places }
    }
}

/// Cuts rows of the given lengths into micro-batches of at most `size` rows and, where it is not 0, `budget` tokens.
pub(crate) fn micro_batches(lengths: &[usize], size: usize, budget: usize) -> Vec<Range<usize>> {
    let mut cuts = Vec::new();
    let (mut start, mut tokens) = (0, 0);
    for (index, length) in lengths.iter().enumerate() {
        let is_full = index - start >= size || (budget > 0 && tokens + length > budget);
        if index > start && is_full {
            cuts.push(start..index);
            (start, tokens) = (index, 0);
        }
        tokens += length;
    }
    if start < lengths.len() {
        cuts.push(start..lengths.len());
    }
    cuts
}

/// Length of the beginning that all prompts share, short of every prompt's last token; 0 when it is not worth it.
pub(crate) fn shared_len<'a>(prompts: impl Iterator<Item = &'a [u32]> + Clone) -> usize {
    let longest = prompts.clone().map(|prompt| prompt.len().saturating_sub(1)).min().unwrap_or(0);
    let shared = common_prefix(prompts).min(longest);
    if shared < WORTH_SHARING { 0 } else { shared }
}

/// Adds the shared beginning as a root, when there is one.
pub(crate) fn push_root(tree: &mut TokenTree, first: Option<&[u32]>, shared: usize) -> Option<usize> {
    first.filter(|_| shared > 0).map(|prompt| tree.push(None, &prompt[..shared]))
}

/// A row number as tensors index it.
pub(crate) fn row(index: usize) -> u32 {
    u32::try_from(index).expect("a batch has fewer than 2³² tokens")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(prompt: &[u32], answer: &[u32]) -> Row {
        Row { sequences: vec![Sequence::answer(prompt, answer)], truncated: false }
    }

    fn lay(rows: &[Row]) -> LaidOut {
        train_batch(&rows.iter().collect::<Vec<_>>(), Sharing::Prefixes)
    }

    #[test]
    fn rows_predict_exactly_the_completions() {
        let laid = lay(&[answered(&[1, 2, 3, 4, 5], &[8, 9]), answered(&[1, 2, 3, 4, 6, 7], &[10])]);
        assert_eq!(laid.batch.tree.tokens(), [1, 2, 3, 4, 5, 8, 6, 7]);
        assert_eq!(laid.batch.tree.positions(), [0, 1, 2, 3, 4, 5, 4, 5]);
        assert_eq!(laid.batch.rows, [4, 5, 7]);
        assert_eq!(*laid.batch.targets, [8, 9, 10]);
        assert_eq!(laid.places[1], SequencePlace { row: 1, losses: 2..3, answer: 2, start: 6 });
    }

    #[test]
    fn equal_prompts_keep_their_last_token_apart() {
        let batch = lay(&[answered(&[1, 2, 3, 4, 5], &[8]), answered(&[1, 2, 3, 4, 5], &[9])]).batch;
        assert_eq!(batch.tree.tokens(), [1, 2, 3, 4, 5, 5]);
        assert_eq!(batch.rows, [4, 5]);
    }

    #[test]
    fn unrelated_prompts_share_nothing() {
        let batch = lay(&[answered(&[1, 2], &[8]), answered(&[3, 4], &[9])]).batch;
        assert_eq!(batch.tree.positions(), [0, 1, 0, 1]);
    }

    #[test]
    fn the_answers_of_a_pair_share_their_prompt() {
        let pair = |prompt: &[u32]| Row {
            sequences: vec![Sequence::answer(prompt, &[8, 9]), Sequence::answer(prompt, &[7])],
            truncated: false,
        };
        let laid = lay(&[pair(&[1, 2, 3, 4, 5, 6]), pair(&[20, 21, 22, 23, 24, 25])]);
        assert_eq!(laid.batch.tree.tokens(), [1, 2, 3, 4, 5, 6, 8, 6, 20, 21, 22, 23, 24, 25, 8, 25]);
        assert_eq!(laid.batch.rows, [5, 6, 7, 13, 14, 15]);
        let losses: Vec<_> = laid.places.iter().map(|place| place.losses.clone()).collect();
        assert_eq!(losses, [0..2, 2..3, 3..5, 5..6]);
    }

    #[test]
    fn micro_batches_keep_to_rows_and_tokens() {
        let check = |size, budget, expected: &[Range<usize>]| {
            assert_eq!(micro_batches(&[5, 5, 9, 2, 2, 2], size, budget), expected);
        };
        check(2, 0, &[0..2, 2..4, 4..6]);
        check(7, 0, std::slice::from_ref(&(0..6)));
        check(6, 10, &[0..2, 2..3, 3..6]);
        check(6, 1, &[0..1, 1..2, 2..3, 3..4, 4..5, 5..6]);
    }
}
