//! Turns encoded examples into token trees: one forward pass without padding, the common beginning computed once.

use std::sync::Arc;

use trex_chat::Encoded;

use crate::layout::{TokenTree, common_prefix};

/// Fewest shared tokens that are worth a root of their own.
const WORTH_SHARING: usize = 4;

/// A micro-batch for training.
#[derive(Debug)]
pub(crate) struct TrainBatch {
    pub(crate) tree: TokenTree,
    /// Rows whose next token carries loss.
    pub(crate) rows: Vec<u32>,
    /// The next token of each of those rows.
    pub(crate) targets: Arc<Vec<u32>>,
}

/// Lays examples out; every example has at least one prompt token and one completion token.
pub(crate) fn train_batch(examples: &[&Encoded]) -> TrainBatch {
    let shared = shared_len(examples.iter().map(|example| example.prompt.as_slice()));
    let mut tree = TokenTree::default();
    let root = push_root(&mut tree, examples.first().map(|example| example.prompt.as_slice()), shared);
    let (mut rows, mut targets) = (Vec::new(), Vec::new());
    for example in examples {
        // The last completion token is predicted, never read.
        let read = &example.completion[..example.completion.len() - 1];
        let tokens: Vec<u32> = example.prompt[shared..].iter().chain(read).copied().collect();
        let segment = tree.push(root, &tokens);
        let first = tree.first_row(segment) + (example.prompt.len() - shared) - 1;
        rows.extend((0..example.completion.len()).map(|offset| row(first + offset)));
        targets.extend_from_slice(&example.completion);
    }
    TrainBatch { tree, rows, targets: Arc::new(targets) }
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

    fn encoded(prompt: &[u32], completion: &[u32]) -> Encoded {
        Encoded { prompt: prompt.to_vec(), completion: completion.to_vec(), truncated: false }
    }

    #[test]
    fn rows_predict_exactly_the_completions() {
        let (a, b) = (encoded(&[1, 2, 3, 4, 5], &[8, 9]), encoded(&[1, 2, 3, 4, 6, 7], &[10]));
        let batch = train_batch(&[&a, &b]);
        assert_eq!(batch.tree.tokens(), [1, 2, 3, 4, 5, 8, 6, 7]);
        assert_eq!(batch.tree.positions(), [0, 1, 2, 3, 4, 5, 4, 5]);
        assert_eq!(batch.rows, [4, 5, 7]);
        assert_eq!(*batch.targets, [8, 9, 10]);
    }

    #[test]
    fn equal_prompts_keep_their_last_token_apart() {
        let (a, b) = (encoded(&[1, 2, 3, 4, 5], &[8]), encoded(&[1, 2, 3, 4, 5], &[9]));
        let batch = train_batch(&[&a, &b]);
        assert_eq!(batch.tree.tokens(), [1, 2, 3, 4, 5, 5]);
        assert_eq!(batch.rows, [4, 5]);
    }

    #[test]
    fn unrelated_prompts_share_nothing() {
        let (a, b) = (encoded(&[1, 2], &[8]), encoded(&[3, 4], &[9]));
        assert_eq!(train_batch(&[&a, &b]).tree.positions(), [0, 1, 0, 1]);
    }
}
