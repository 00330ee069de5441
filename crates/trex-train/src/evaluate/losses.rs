//! How likely a model finds the gold answers of rows: one forward pass, nothing is chosen or written.

use trex_chat::ChatError;
use trex_domain::{Example, ItemScore};

use super::{EvalRun, TOKENS_PER_PASS};
use crate::TrainError;
use crate::batch::row;
use crate::layout::TokenTree;
use crate::trainer::EventSink;

/// A row as tokens, and the first of them that is predicted under loss; at least 1.
struct Row {
    tokens: Vec<u32>,
    first: usize,
}

impl EvalRun<'_> {
    /// Scores every row with e^-loss, the mean over the tokens of its answer; its sum stands beside it.
    pub(super) fn losses(
        &self,
        items: &[Example],
        max_length: usize,
        sink: &mut dyn EventSink,
    ) -> Result<Vec<ItemScore>, TrainError> {
        let limit = max_length.min(self.model.borrow().config().max_position);
        let rows = items.iter().map(|item| self.encoded(item, limit)).collect::<Result<Vec<_>, _>>()?;
        // Rows of one length beside each other, so that a pass is full; ties keep their order.
        let mut order: Vec<usize> = (0..rows.len()).collect();
        order.sort_by_key(|index| rows[*index].tokens.len());
        let mut sums = vec![0.0; rows.len()];
        let (mut rest, mut done) = (order.as_slice(), 0);
        while !rest.is_empty() {
            let mut tokens = 0;
            let fitting = rest.iter().take_while(|index| {
                tokens += rows[**index].tokens.len();
                tokens <= TOKENS_PER_PASS
            });
            let (pass, later) = rest.split_at(fitting.count().max(1));
            let found = self.sums_of(&pass.iter().map(|index| &rows[*index]).collect::<Vec<_>>())?;
            for (index, sum) in pass.iter().zip(found) {
                sums[*index] = sum;
            }
            done += pass.len();
            rest = later;
            self.report(sink, done, items.len())?;
        }
        let score = |((item, encoded), sum): ((&Example, &Row), f64)| ItemScore {
            id: item.id.clone(),
            predicted: String::new(),
            gold: item.answer.clone(),
            score: (sum / (encoded.tokens.len() - encoded.first) as f64).exp().min(1.0),
            gold_logprob: Some(sum),
            gold_prob: None,
        };
        Ok(items.iter().zip(&rows).zip(sums).map(score).collect())
    }

    fn encoded(&self, item: &Example, limit: usize) -> Result<Row, TrainError> {
        let prompt = item.rendered_prompt(self.job.seed);
        let encoded = self.tokenizer.encode_example(&prompt, &item.answer, limit).map_err(|err| match err {
            ChatError::AnswerTooLong { num_tokens, max_length } => {
                TrainError::TooLong { id: item.id.clone(), tokens: num_tokens + 1, limit: max_length }
            }
            err => err.into(),
        })?;
        let (first, tokens) = (encoded.prompt.len().max(1), [encoded.prompt, encoded.completion].concat());
        // An answer of one token after nothing at all: there is no state to predict it from.
        if tokens.len() <= first {
            return Err(ChatError::NoSupervisedTokens.into());
        }
        Ok(Row { tokens, first })
    }

    /// The summed log-likelihood of each answer, all rows in one pass.
    fn sums_of(&self, rows: &[&Row]) -> Result<Vec<f64>, TrainError> {
        let mut tree = TokenTree::default();
        let (mut wanted, mut needed) = (Vec::new(), Vec::new());
        for encoded in rows {
            // The last token predicts nothing.
            let segment = tree.push(None, &encoded.tokens[..encoded.tokens.len() - 1]);
            let start = tree.first_row(segment);
            for at in encoded.first..encoded.tokens.len() {
                needed.push((wanted.len(), encoded.tokens[at]));
                wanted.push(row(start + at - 1));
            }
        }
        let log_probs = self.model.borrow_mut().log_probs(&tree, &wanted, &needed)?;
        let mut terms = log_probs.into_iter();
        Ok(rows.iter().map(|row| terms.by_ref().take(row.tokens.len() - row.first).sum()).collect())
    }
}
