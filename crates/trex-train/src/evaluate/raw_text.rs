//! Bits per byte of raw texts: what a model needs to tell a text, over its length in bytes of UTF-8.
//!
//! A text longer than the window is read in windows that follow each other, as lm-evaluation-harness does for its rolling
//! log-likelihoods: every token is predicted once, and the first of a window sees one token before it. The first token of
//! a text is predicted from the token that begins a text, or else from the one that ends it.

use trex_domain::{Example, ItemScore};

use super::{EvalRun, TOKENS_PER_PASS};
use crate::TrainError;
use crate::batch::row;
use crate::layout::TokenTree;
use crate::trainer::EventSink;

/// Characters of a text that stand for it in the item scores.
const SHOWN_CHARS: usize = 80;

/// A piece of a text: each token but the last is read, each but the first predicted.
struct Window {
    /// Number of its text.
    text: usize,
    tokens: Vec<u32>,
}

impl EvalRun<'_> {
    /// Scores raw texts.
    pub(super) fn read(&self, items: &[Example], sink: &mut dyn EventSink) -> Result<Vec<ItemScore>, TrainError> {
        let size = self.model.borrow().config().max_position.min(TOKENS_PER_PASS);
        let mut open: Vec<Window> = Vec::new();
        for (text, item) in items.iter().enumerate() {
            let tokens = self.with_context(&item.raw_text())?;
            open.extend(windows(&tokens, size).map(|tokens| Window { text, tokens: tokens.to_vec() }));
        }
        let mut nats = vec![0.0; items.len()];
        let mut rest = open.as_slice();
        while !rest.is_empty() {
            let (pass, later) = rest.split_at(pass_len(rest));
            for (window, log_prob) in pass.iter().zip(self.window_log_probs(pass)?) {
                nats[window.text] += log_prob;
            }
            rest = later;
            let done = rest.first().map_or(items.len(), |window| window.text);
            self.report(sink, done, items.len())?;
        }
        Ok(items.iter().zip(nats).map(|(item, nats)| text_score(item, nats)).collect())
    }

    /// The tokens of a text behind the one that the first is predicted from.
    fn with_context(&self, text: &str) -> Result<Vec<u32>, TrainError> {
        let tokens = self.tokenizer.encode(text)?;
        let bos = self.tokenizer.bos_id();
        let context = bos.or_else(|| self.tokenizer.eos_ids().first().copied());
        let context = context.filter(|_| bos.is_none() || tokens.first().copied() != bos);
        Ok(context.into_iter().chain(tokens).collect())
    }

    /// Summed log-probability of the predicted tokens of every window, in one forward pass.
    fn window_log_probs(&self, windows: &[Window]) -> Result<Vec<f64>, TrainError> {
        let mut tree = TokenTree::default();
        let mut needed = Vec::new();
        for window in windows {
            let (_, read) = window.tokens.split_last().unwrap_or((&0, &[]));
            let segment = tree.push(None, read);
            let first = tree.first_row(segment);
            needed.extend(window.tokens.iter().skip(1).enumerate().map(|(offset, token)| (first + offset, *token)));
        }
        let rows: Vec<u32> = (0..tree.tokens().len()).map(row).collect();
        let mut found = self.model.borrow_mut().log_probs(&tree, &rows, &needed)?.into_iter();
        let sums = windows.iter().map(|window| found.by_ref().take(window.tokens.len() - 1).sum());
        Ok(sums.collect())
    }
}

/// Windows of at most `size` read tokens; each begins with the last token of the one before.
fn windows(tokens: &[u32], size: usize) -> impl Iterator<Item = &[u32]> {
    let starts = (0..tokens.len().saturating_sub(1)).step_by(size.max(1));
    starts.map(move |start| &tokens[start..tokens.len().min(start + size + 1)])
}

/// How many windows from the start fit into one pass; at least one.
fn pass_len(windows: &[Window]) -> usize {
    let mut tokens = 0;
    let fitting = windows.iter().take_while(|window| {
        tokens += window.tokens.len() - 1;
        tokens <= TOKENS_PER_PASS
    });
    fitting.count().max(1)
}

fn text_score(item: &Example, nats: f64) -> ItemScore {
    let text = item.raw_text();
    ItemScore {
        id: item.id.clone(),
        predicted: String::new(),
        gold: text.chars().take(SHOWN_CHARS).collect(),
        score: -nats / std::f64::consts::LN_2 / text.len().max(1) as f64,
        gold_logprob: Some(nats),
        gold_prob: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_but_the_first_is_predicted_once() {
        let tokens: Vec<u32> = (0..10).collect();
        let found: Vec<&[u32]> = windows(&tokens, 4).collect();
        assert_eq!(found, [&[0, 1, 2, 3, 4][..], &[4, 5, 6, 7, 8], &[8, 9]]);
        assert_eq!(windows(&tokens, 100).count(), 1);
        assert_eq!(windows(&tokens[..9], 4).count(), 2);
        assert_eq!(windows(&tokens[..1], 4).count(), 0);
    }
}
