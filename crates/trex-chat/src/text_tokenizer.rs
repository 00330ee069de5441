//! The tokenizer of a model that reads plain texts, such as an encoder: with the tokens that frame a text, cut to a
//! length. Knows no conversation and no template.

use std::path::Path;

use tokenizers::{Tokenizer, TruncationParams};

use crate::ChatError;
use crate::folder::read_tokenizer;

/// Bytes per token that are looked at, at most: WordPiece takes words of up to 100 characters as one token, so what
/// lies behind could not count.
const MAX_BYTES_PER_TOKEN: usize = 512;

/// Texts to token ids. May be shared between threads.
#[derive(Debug)]
pub struct TextTokenizer {
    tokenizer: Tokenizer,
    max_tokens: usize,
    vocab_size: usize,
}

impl TextTokenizer {
    /// Reads `tokenizer.json` of a folder; texts are cut to `max_tokens`, the framing tokens included.
    pub fn load(folder: &Path, max_tokens: usize) -> Result<Self, ChatError> {
        let path = folder.join("tokenizer.json");
        let mut tokenizer = read_tokenizer(&path)?;
        let truncation = TruncationParams { max_length: max_tokens, ..TruncationParams::default() };
        let cut = tokenizer.with_truncation(Some(truncation));
        cut.map_err(|source| ChatError::BadTokenizer { path, source })?;
        let vocab_size = tokenizer.get_vocab(true).into_values().max().map_or(0, |id| id as usize + 1);
        Ok(Self { tokenizer, max_tokens, vocab_size })
    }

    /// Highest token id plus one.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// Token ids of a text between the tokens that frame one; at most as many as were asked for.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, ChatError> {
        let seen = text.floor_char_boundary(self.max_tokens.saturating_mul(MAX_BYTES_PER_TOKEN));
        let encoding = self.tokenizer.encode_fast(&text[..seen], true);
        let encoding = encoding.map_err(|source| ChatError::Encode { num_bytes: text.len(), source })?;
        Ok(encoding.get_ids().to_vec())
    }
}
