//! Tokenizer files, chat templates, special tokens and loss masks.
//!
//! [`ChatModel`] turns conversations into token ids exactly as inference will, and says which of them a training example
//! may learn from: the answer and the token that ends the turn, nothing of the prompt. The crate also writes the Hugging
//! Face files that a GGUF file holds in its metadata ([`hf_files_from_gguf`]) and trains small tokenizers
//! ([`train_bpe`]). It knows no tensor. All functions block; a [`ChatModel`] may be used by several threads at a time.

mod bundled;
mod chat_model;
mod error;
mod example;
mod folder;
mod gguf;
mod python;
mod template;
mod text_tokenizer;
mod training;

pub use bundled::{BUNDLED_CHAT_TEMPLATE, BUNDLED_SPECIAL_TOKENS, bundled_tokenizer_config_json};
pub use chat_model::ChatModel;
pub use error::ChatError;
pub use example::Encoded;
pub use folder::chat_template;
pub use gguf::{GgufTensorFacts, HfFiles, MetaValue, gguf_tokenizer_metadata, hf_files_from_gguf};
pub use text_tokenizer::TextTokenizer;
pub use training::train_bpe;
