//! Training examples as token ids, with the mask as the cut between prompt and completion.
//!
//! The mask comes from rendering the conversation twice, without and with the answer; it does not trust marks in the
//! template. Packing, padding and batches are made elsewhere.

use trex_domain::Message;

use crate::{ChatError, ChatModel};

/// A training example as token ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// What the model sees and is not trained on: the same ids that inference starts from.
    pub prompt: Vec<u32>,
    /// What it is trained to say: the answer and the token that ends the turn. Never empty.
    pub completion: Vec<u32>,
    /// Whether the beginning of the prompt was cut off.
    pub truncated: bool,
}

impl ChatModel {
    /// Token ids from which inference continues: the conversation with the generation prompt.
    pub fn encode_prompt(&self, prompt: &[Message]) -> Result<Vec<u32>, ChatError> {
        let text = self.render(prompt, true)?;
        self.encode_prompt_text(&text)
    }

    /// Token ids of an answer after a question, exactly as [`Self::encode_example`] has them as completion. The last is
    /// the end of the turn.
    pub fn encode_completion(&self, answer: &str) -> Result<Vec<u32>, ChatError> {
        let prompt = [Message::user("Question")];
        let prompt_text = self.render(&prompt, true)?;
        self.encode(&self.completion_text(&prompt, &prompt_text, answer)?)
    }

    /// Encodes one example of at most `max_length` tokens. A prompt that is too long loses its beginning (after the BOS
    /// token, if it starts with one); an answer is never cut.
    pub fn encode_example(&self, prompt: &[Message], answer: &str, max_length: usize) -> Result<Encoded, ChatError> {
        let prompt_text = self.render(prompt, true)?;
        let completion = self.encode(&self.completion_text(prompt, &prompt_text, answer)?)?;
        let prompt_ids = self.encode_prompt_text(&prompt_text)?;
        // At least one token must come before the first one that is predicted.
        if completion.len() >= max_length {
            return Err(ChatError::AnswerTooLong { num_tokens: completion.len(), max_length });
        }
        let room = max_length - completion.len();
        if prompt_ids.len() <= room {
            return Ok(Encoded { prompt: prompt_ids, completion, truncated: false });
        }
        Ok(Encoded { prompt: self.last_of_prompt(&prompt_ids, room), completion, truncated: true })
    }

    /// The template writes the BOS token, never the tokenizer; a template that repeats it is corrected.
    fn encode_prompt_text(&self, text: &str) -> Result<Vec<u32>, ChatError> {
        let mut ids = self.encode(text)?;
        let num_bos = ids.iter().take_while(|id| Some(**id) == self.bos_id()).count();
        ids.drain(..num_bos.saturating_sub(1));
        Ok(ids)
    }

    fn last_of_prompt(&self, ids: &[u32], room: usize) -> Vec<u32> {
        let bos = ids.first().copied().filter(|id| Some(*id) == self.bos_id() && room > 1);
        let num_kept = room - bos.iter().len();
        bos.into_iter().chain(ids[ids.len() - num_kept..].iter().copied()).collect()
    }

    /// The text that is trained on: what the template makes of the answer, up to and including the end of the turn.
    fn completion_text(&self, prompt: &[Message], prompt_text: &str, answer: &str) -> Result<String, ChatError> {
        if answer.trim().is_empty() {
            return Err(ChatError::NoSupervisedTokens);
        }
        let conversation: Vec<Message> = prompt.iter().cloned().chain([Message::assistant(answer)]).collect();
        let full_text = self.render(&conversation, false)?;
        let body = match self.body_of(full_text.strip_prefix(prompt_text), answer) {
            Some(body) => body,
            None => self.body_after_rewriting(prompt, prompt_text, &full_text, answer)?,
        };
        Ok(format!("{body}{}", self.turn_end().supervised))
    }

    /// For templates that write earlier turns differently once an answer follows: the text after the last header of an
    /// assistant turn, else the answer as it stands at the end.
    fn body_after_rewriting<'t>(
        &self,
        prompt: &[Message],
        prompt_text: &str,
        full_text: &'t str,
        answer: &'t str,
    ) -> Result<&'t str, ChatError> {
        let without_header = self.render(prompt, false)?;
        let header = prompt_text.strip_prefix(without_header.as_str()).filter(|header| !header.is_empty());
        let after_header = header.and_then(|header| full_text.rsplit_once(header)).map(|(_, rest)| rest);
        if let Some(body) = self.body_of(after_header, answer) {
            return Ok(body);
        }
        if self.body_of(Some(full_text), answer).is_some() {
            return Ok(answer.trim());
        }
        Err(ChatError::TemplateRewrites { path: self.template_path().clone() })
    }

    /// `rest` up to the end of the turn, if it ends with the answer.
    fn body_of<'t>(&self, rest: Option<&'t str>, answer: &str) -> Option<&'t str> {
        let rest = rest?;
        let end = self.turn_end();
        let at_last_token = || rest.rsplit_once(end.token.as_str()).map(|(body, _)| body);
        let body = rest.strip_suffix(end.tail.as_str()).or_else(at_last_token)?;
        body.trim_end().ends_with(answer.trim()).then_some(body)
    }
}
