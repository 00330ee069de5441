//! Training of a byte-level BPE vocabulary for the small model that comes with TREX.
//!
//! Meant for vocabularies of some thousand tokens. Existing tokenizers are never changed.

use tokenizers::decoders::byte_level::ByteLevel;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::{AddedToken, Tokenizer};

use crate::ChatError;

/// Trains a tokenizer of at most `vocab_size` tokens and returns its `tokenizer.json`. Special tokens get the ids from 0,
/// the 256 bytes come next, so any text can be encoded. Digits stand alone. The same texts give the same bytes.
pub fn train_bpe(
    texts: impl Iterator<Item = String>,
    vocab_size: usize,
    special_tokens: &[&str],
) -> Result<String, ChatError> {
    let alphabet = ByteLevel::alphabet();
    let needed = alphabet.len() + special_tokens.len();
    if vocab_size < needed {
        return Err(ChatError::VocabularyTooSmall { vocab_size, needed });
    }
    let trainer = BpeTrainer::builder()
        .vocab_size(vocab_size)
        .min_frequency(2)
        .show_progress(false)
        .special_tokens(special_tokens.iter().map(|token| AddedToken::from(*token, true)).collect())
        .initial_alphabet(alphabet.into_iter().collect())
        .build();
    let mut trainer = TrainerWrapper::from(trainer);
    let texts: Vec<String> = texts.collect();
    let mut tokenizer = Tokenizer::new(BPE::default());
    let steps: Vec<PreTokenizerWrapper> = vec![Digits::new(true).into(), ByteLevel::new(false, true, true).into()];
    tokenizer.with_pre_tokenizer(Some(Sequence::new(steps)));
    tokenizer.with_decoder(Some(ByteLevel::new(false, true, true)));
    tokenizer.train(&mut trainer, texts.into_iter()).map_err(ChatError::Training)?;
    tokenizer.to_string(false).map_err(ChatError::Training)
}
