//! The pre-training text of the bundled base model: an endless, deterministic stream of short documents.
//!
//! About 40 % is plain text (the invented world of task 1, little stories, numbers), about 60 % conversations that
//! practise the skills of all ten mini tasks with other words, easier cases and a few wrong answers, so that the base is
//! above chance and fine-tuning has something left to gain. No document contains a prompt of a mini task. The stream
//! holds no evaluation split and does no tokenising.
//!
//! A document depends on the seed and its index only, so any part of the stream can be made on its own, on any thread.

use rand_chacha::ChaCha8Rng;
use trex_domain::{Message, seeded_rng};

use crate::words::{below, between, weighted};

mod chat;
mod choice;
mod code;
mod label;
mod language;
mod math;
mod numbers;
mod order;
mod policy;
mod shots;
mod story;
mod table;
mod world;
mod writing;

/// Share of plain text, in percent.
const TEXT_PERCENT: usize = 40;

/// One document of 15 to 90 words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CorpusDoc {
    /// Running text.
    Text(String),
    /// Turns of a conversation; the last one is the assistant's.
    Chat(Vec<Message>),
}

impl CorpusDoc {
    /// All text of the document, turns joined by line breaks.
    pub fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Chat(turns) => turns.iter().map(|turn| turn.content.as_str()).collect::<Vec<_>>().join("\n"),
        }
    }
}

/// The endless stream of one seed.
#[derive(Clone, Debug)]
pub struct Corpus {
    seed: u64,
    next: u64,
}

impl Iterator for Corpus {
    type Item = CorpusDoc;

    fn next(&mut self) -> Option<CorpusDoc> {
        let doc = corpus_doc(self.seed, self.next);
        self.next += 1;
        Some(doc)
    }
}

/// Returns the stream of a seed from its first document on.
pub fn corpus(seed: u64) -> Corpus {
    Corpus { seed, next: 0 }
}

/// Returns one document of the stream of `seed`, counted from 0.
pub fn corpus_doc(seed: u64, index: u64) -> CorpusDoc {
    let mut rng = seeded_rng(seed, &format!("corpus/{index}"));
    if below(&mut rng, 100) < TEXT_PERCENT {
        CorpusDoc::Text(text(&mut rng))
    } else {
        CorpusDoc::Chat(chat::conversation(&mut rng))
    }
}

fn text(rng: &mut ChaCha8Rng) -> String {
    match weighted(rng, &[5, 3, 2, 3, 3]) {
        0 => world::profile(rng),
        1 => passage(rng, world::sentence),
        2 => passage(rng, world::sharing),
        3 => story::story(rng),
        _ => passage(rng, numbers::sentence),
    }
}

/// Sentences until at least 20 to 50 words are there; a sentence has at most 20 words.
fn passage(rng: &mut ChaCha8Rng, sentence: fn(&mut ChaCha8Rng) -> String) -> String {
    let wanted = usize::try_from(between(rng, 20, 50)).unwrap_or(20);
    let mut text = sentence(rng);
    while num_words(&text) < wanted {
        text = format!("{text} {}", sentence(rng));
    }
    text
}

fn num_words(text: &str) -> usize {
    text.split_whitespace().count()
}

#[cfg(test)]
mod tests;
