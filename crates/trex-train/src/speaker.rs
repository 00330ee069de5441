//! A loaded model that answers one conversation after the other, piece by piece: what a service on this machine is made of.
//! Unlike a job it stays in memory between questions. Opens no socket and keeps nothing of what was said.

use std::sync::Arc;

use rayon::ThreadPool;
use serde_json::Value;
use trex_chat::ChatModel;
use trex_domain::{EvalJob, GenerationConfig, Message};

use crate::answer::{Grammar, Guide};
use crate::inference::Inference;
use crate::sampling::Choice;
use crate::trainer::EventSink;
use crate::{ModelConfig, TrainError};

/// Shown where bytes are no character yet.
const UNFINISHED: char = '\u{FFFD}';

/// A question.
#[derive(Clone, Debug)]
pub struct Asked<'a> {
    /// The conversation up to the answer.
    pub messages: &'a [Message],
    /// Longest answer in tokens; what the model has room for where absent.
    pub max_new_tokens: Option<usize>,
    /// How tokens are chosen.
    pub generation: GenerationConfig,
    /// Seed of what is drawn.
    pub seed: u64,
    /// Words before which an answer ends.
    pub stop: &'a [String],
    /// The JSON schema that the answer keeps to.
    pub schema: Option<&'a Value>,
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The model ended its turn, or came to a word that ends it.
    Stop,
    /// It is as long as it may be.
    Length,
    /// Nobody listens any more.
    Cancelled,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// The whole text.
    pub text: String,
    /// Tokens of the conversation as the model reads it.
    pub prompt_tokens: usize,
    /// Tokens of the answer.
    pub completion_tokens: usize,
    /// Why it ended.
    pub ended: Ended,
}

/// A loaded model with its tokenizer and chat template.
pub struct Speaker {
    chat: Arc<ChatModel>,
    model: Inference,
    max_position: usize,
    pool: ThreadPool,
}

impl Speaker {
    /// Loads what a job of scoring would load: model, adapter, device, precision, threads. Its items are not read.
    pub fn open(job: &EvalJob, sink: &mut (dyn EventSink + Send)) -> Result<Self, TrainError> {
        let pool = crate::worker::pool(job.threads)?;
        let config = ModelConfig::load(&job.model_dir.join("config.json"))?;
        let chat = Arc::new(ChatModel::load(&job.model_dir)?);
        chat.check_fits(config.vocab_size)?;
        let max_position = config.max_position;
        let model = pool.install(|| Inference::open(job, config, sink))?;
        Ok(Self { chat, model, max_position, pool })
    }

    /// Tokens of a conversation and its answer together that the model has room for.
    pub fn room(&self) -> usize {
        self.max_position
    }

    /// Answers. `heard` is given each piece of text as soon as it is certain, and ends the answer by saying no.
    ///
    /// An error where the conversation leaves no room for an answer, or the schema has a part that cannot be kept to.
    pub fn answer(
        &mut self,
        asked: &Asked<'_>,
        heard: &mut (dyn FnMut(&str) -> bool + Send),
    ) -> Result<Said, TrainError> {
        let prompt = self.chat.encode_prompt(asked.messages)?;
        let left = self.max_position.saturating_sub(prompt.len());
        let most = asked.max_new_tokens.unwrap_or(left);
        if left == 0 || most > left {
            let tokens = prompt.len() + most;
            return Err(TrainError::TooLong { id: "the conversation".to_owned(), tokens, limit: self.max_position });
        }
        let choice = self.choice(asked, &prompt, most)?;
        let mut talk = Talk { stop: asked.stop, text: String::new(), said: 0, ended: None };
        let (chat, model, mut failed) = (&self.chat, &mut self.model, None);
        let tokens = self.pool.install(|| {
            let mut listen = |tokens: &[u32]| match chat.decode(tokens) {
                Ok(text) => talk.grow(text, heard),
                Err(err) => {
                    failed = Some(err);
                    false
                }
            };
            model.speak(&prompt, most, chat.eos_ids(), choice, &mut listen)
        })?;
        if let Some(err) = failed {
            return Err(err.into());
        }
        let by_itself = if tokens.len() >= most { Ended::Length } else { Ended::Stop };
        Ok(talk.end(heard, by_itself, (prompt.len(), tokens.len())))
    }

    fn choice(&self, asked: &Asked<'_>, prompt: &[u32], most: usize) -> Result<Choice, TrainError> {
        let Some(schema) = asked.schema else {
            return Ok(Choice::new(asked.generation, asked.seed, [("answer", prompt)].into_iter()));
        };
        let grammar = Grammar::of_schema(schema).map_err(|fault| TrainError::Schema { fault })?;
        let temperature = if asked.generation.do_sample { asked.generation.temperature } else { 0.0 };
        Ok(Choice::guided(Guide::new(grammar, self.chat.clone(), most, (temperature, asked.seed))?))
    }
}

/// The text of an answer while it grows.
struct Talk<'a> {
    stop: &'a [String],
    text: String,
    /// Bytes that were heard.
    said: usize,
    ended: Option<Ended>,
}

impl Talk<'_> {
    /// Takes the whole text so far and hands on what can no longer change; whether the answer goes on.
    fn grow(&mut self, text: String, heard: &mut dyn FnMut(&str) -> bool) -> bool {
        self.text = text;
        if let Some(at) = self.stop_at() {
            self.text.truncate(at);
            self.ended = Some(Ended::Stop);
            self.say(self.text.len(), heard);
            return false;
        }
        let certain = self.certain();
        self.say(certain, heard);
        self.ended.is_none()
    }

    fn stop_at(&self) -> Option<usize> {
        self.stop.iter().filter(|word| !word.is_empty()).filter_map(|word| self.text.find(word.as_str())).min()
    }

    /// Bytes that neither an unfinished character nor the beginning of a stop word can take back.
    fn certain(&self) -> usize {
        let whole = self.text.trim_end_matches(UNFINISHED).len();
        let begins = |at: usize| {
            let rest = &self.text[at..whole];
            self.stop.iter().any(|word| word.starts_with(rest))
        };
        let longest = self.stop.iter().map(String::len).max().unwrap_or(0);
        let places = self.text[..whole].char_indices().map(|(at, _)| at).filter(|at| at + longest > whole);
        let held = places.into_iter().find(|at| begins(*at));
        held.unwrap_or(whole)
    }

    fn say(&mut self, until: usize, heard: &mut dyn FnMut(&str) -> bool) {
        // A tokenizer may join what it had written apart; what was said stays said.
        let Some(piece) = self.text.get(self.said..until).filter(|piece| !piece.is_empty()) else { return };
        if !heard(piece) {
            self.ended = Some(Ended::Cancelled);
        }
        self.said = until;
    }

    fn end(mut self, heard: &mut dyn FnMut(&str) -> bool, by_itself: Ended, (read, written): (usize, usize)) -> Said {
        if self.ended.is_none() {
            self.say(self.text.len(), heard);
        }
        let ended = self.ended.unwrap_or(by_itself);
        Said { text: self.text, prompt_tokens: read, completion_tokens: written, ended }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pieces that are heard of a text that grows in these steps, and why it ended.
    fn heard(stop: &[&str], steps: &[&str]) -> (Vec<String>, Option<Ended>) {
        let stop: Vec<String> = stop.iter().map(|word| (*word).to_owned()).collect();
        let mut talk = Talk { stop: &stop, text: String::new(), said: 0, ended: None };
        let mut pieces = Vec::new();
        let mut listen = |piece: &str| {
            pieces.push(piece.to_owned());
            true
        };
        for step in steps {
            if !talk.grow((*step).to_owned(), &mut listen) {
                break;
            }
        }
        let ended = talk.ended;
        drop(talk.end(&mut listen, Ended::Length, (0, 0)));
        (pieces, ended)
    }

    #[test]
    fn pieces_are_heard_as_soon_as_they_are_certain() {
        let check = |stop: &[&str], steps: &[&str], pieces: &[&str], ended: Option<Ended>| {
            let expected: Vec<String> = pieces.iter().map(|piece| (*piece).to_owned()).collect();
            assert_eq!(heard(stop, steps), (expected, ended), "{stop:?} {steps:?}");
        };
        check(&[], &["a", "ab"], &["a", "b"], None);
        check(&[], &["caf\u{FFFD}", "café"], &["caf", "é"], None);
        check(&["\n\n"], &["one\n", "one\ntwo"], &["one", "\ntwo"], None);
        check(&["\n\n"], &["one\n", "one\n\nmore"], &["one"], Some(Ended::Stop));
        check(&["END", "b"], &["a", "a bEND"], &["a", " "], Some(Ended::Stop));
    }

    #[test]
    fn nothing_is_said_to_somebody_who_has_gone() {
        let mut talk = Talk { stop: &[], text: String::new(), said: 0, ended: None };
        assert!(!talk.grow("a".to_owned(), &mut |_| false));
        let said = talk.end(&mut |_| panic!("nobody listens"), Ended::Stop, (3, 1));
        assert_eq!((said.ended, said.prompt_tokens, said.completion_tokens), (Ended::Cancelled, 3, 1));
    }
}
