//! Texts after prompts, for whoever judges them elsewhere. Scores nothing, and lets no single prompt end the job.

use trex_domain::{Example, GenerationConfig, ItemScore};

use super::EvalRun;
use crate::sampling::Choice;
use crate::trainer::EventSink;
use crate::{TrainError, generate};

/// How long texts may become.
pub(super) struct Length {
    /// Tokens of a text.
    pub(super) max_new_tokens: usize,
    /// Tokens of a text and its prompt.
    pub(super) max_length: usize,
}

impl EvalRun<'_> {
    /// Writes one text for every item; prompts are taken as they are.
    ///
    /// Prompts of one length stand beside each other, so that texts of a batch begin together; what is drawn does not
    /// depend on that.
    pub(super) fn write(
        &self,
        items: &[Example],
        length: &Length,
        generation: GenerationConfig,
        sink: &mut dyn EventSink,
    ) -> Result<Vec<ItemScore>, TrainError> {
        generation.validate()?;
        let room = length.max_length.min(self.model.borrow().config().max_position);
        let prompts = items.iter().map(|item| Ok(self.tokenizer.encode_prompt(&item.prompt)?));
        let prompts = prompts.collect::<Result<Vec<Vec<u32>>, TrainError>>()?;
        let fits = |index: &usize| prompts[*index].len() + length.max_new_tokens <= room;
        let mut order: Vec<usize> = (0..items.len()).filter(fits).collect();
        order.sort_by_key(|index| prompts[*index].len());
        let mut scores: Vec<ItemScore> = items.iter().map(|item| score(item, String::new(), false)).collect();
        let mut done = items.len() - order.len();
        for batch in order.chunks(generate::BATCH) {
            let of_batch: Vec<Vec<u32>> = batch.iter().map(|index| prompts[*index].clone()).collect();
            let ids = batch.iter().map(|index| items[*index].id.as_str());
            let choice = Choice::new(generation, self.job.seed, ids.zip(of_batch.iter().map(Vec::as_slice)));
            let eos = self.tokenizer.eos_ids();
            let texts = self.model.borrow_mut().generate(&of_batch, length.max_new_tokens, eos, choice)?;
            for (index, tokens) in batch.iter().zip(texts) {
                let text = self.tokenizer.decode(&tokens)?.trim().to_owned();
                scores[*index] = score(&items[*index], text, tokens.len() < length.max_new_tokens);
            }
            done += batch.len();
            self.report(sink, done, items.len())?;
        }
        Ok(scores)
    }
}

fn score(item: &Example, text: String, is_whole: bool) -> ItemScore {
    ItemScore {
        id: item.id.clone(),
        predicted: text,
        gold: item.answer.clone(),
        score: f64::from(u8::from(is_whole)),
        gold_logprob: None,
        gold_prob: None,
    }
}
