//! The port to what writes texts for rows: a language model, here or elsewhere. Judges no text.
//!
//! What is taken of what was written is the business of the operators that ask.

use std::fmt::Debug;

use serde::{Deserialize, Serialize};

use crate::{ContentHash, GenerationConfig, MeasureError, Message};

/// A text that is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WritingRequest {
    /// Names the random stream: equal requests with equal settings give equal texts, in any company.
    pub id: String,
    /// The conversation so far, as it is; the last turn is the question.
    pub messages: Vec<Message>,
}

/// How texts are written.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct WritingSettings {
    /// Longest text in tokens.
    pub max_new_tokens: usize,
    /// What logits are divided by before a token is drawn; 0 takes the most likely one.
    pub temperature: f64,
    /// Seed of the draws.
    pub seed: u64,
}

impl WritingSettings {
    /// The same under the names of transformers.
    pub fn generation(&self) -> GenerationConfig {
        if self.temperature > 0.0 {
            return GenerationConfig { do_sample: true, temperature: self.temperature, ..GenerationConfig::default() };
        }
        GenerationConfig::default()
    }
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrittenText {
    /// The text; empty where there was no room for any.
    pub text: String,
    /// Whether the model ended it. One that became too long, or found no room behind its prompt, is cut off.
    pub is_whole: bool,
}

/// Writes texts.
pub trait TextWriter: Debug + Send + Sync {
    /// Names the model by content: the same name, request and settings give the same text.
    fn name(&self) -> ContentHash;

    /// One text per request, in order.
    fn write(&self, requests: &[WritingRequest], settings: &WritingSettings) -> Result<Vec<WrittenText>, MeasureError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_temperature_nothing_is_drawn() {
        let settings = |temperature| WritingSettings { max_new_tokens: 8, temperature, seed: 1 };
        assert!(settings(0.0).generation().is_plain_greedy());
        let drawn = settings(0.7).generation();
        assert!(drawn.do_sample && (drawn.temperature - 0.7).abs() < 1e-12);
        assert!(drawn.validate().is_ok());
    }
}
