//! The errors of this crate: every one names the file, the line or the token.

use std::path::PathBuf;

use trex_domain::{ErrorClass, Problem};
use trex_fs::FsError;

/// What can go wrong with tokenizers and templates.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChatError {
    /// A file that must be there is not.
    #[error("file missing: {}", path.display())]
    FileMissing {
        /// The file.
        path: PathBuf,
    },
    /// The system refused.
    #[error(transparent)]
    File(#[from] FsError),
    /// A file that is not the expected JSON.
    #[error("{}: not the expected JSON", path.display())]
    NotJson {
        /// The file.
        path: PathBuf,
        /// Why, with the line.
        source: serde_json::Error,
    },
    /// A tokenizer file that cannot be used.
    #[error("{}: not a usable tokenizer", path.display())]
    BadTokenizer {
        /// The file.
        path: PathBuf,
        /// Why.
        source: tokenizers::Error,
    },
    /// A model folder without a chat template.
    #[error("no chat template in {}", folder.display())]
    NoTemplate {
        /// The model folder.
        folder: PathBuf,
    },
    /// A chat template that cannot be parsed or that failed on a conversation.
    #[error("{}:{line}: the chat template failed", path.display())]
    Template {
        /// The file that holds it.
        path: PathBuf,
        /// Line of the template, from 1; 0 where the engine does not say.
        line: usize,
        /// Why.
        source: minijinja::Error,
    },
    /// A template and a tokenizer that end no turn.
    #[error("nothing ends the model's turn: {} emits no special token after an answer and no eos_token is set", path.display())]
    NoEndOfTurn {
        /// The file that holds the template.
        path: PathBuf,
    },
    /// A special token that the tokenizer does not have.
    #[error("{name} is {token:?}, which {} does not have", path.display())]
    UnknownSpecialToken {
        /// Such as `eos_token`.
        name: &'static str,
        /// As configured.
        token: String,
        /// The tokenizer file.
        path: PathBuf,
    },
    /// A tokenizer with more tokens than the model has embeddings.
    #[error("the tokenizer has {tokenizer} tokens, the model {model} embeddings")]
    TokenizerMismatch {
        /// Highest token id plus one.
        tokenizer: usize,
        /// Rows of the embedding.
        model: usize,
    },
    /// A text that the tokenizer refused.
    #[error("the tokenizer refused a text of {num_bytes} bytes")]
    Encode {
        /// Its length.
        num_bytes: usize,
        /// Why.
        source: tokenizers::Error,
    },
    /// Token ids that the tokenizer refused.
    #[error("the tokenizer refused {num_tokens} tokens")]
    Decode {
        /// How many.
        num_tokens: usize,
        /// Why.
        source: tokenizers::Error,
    },
    /// A template that changes the answer, or so much of what comes before that the answer cannot be found.
    #[error("the answer cannot be found in what {} makes of the conversation", path.display())]
    TemplateRewrites {
        /// The file that holds the template.
        path: PathBuf,
    },
    /// An answer that leaves no room for a prompt.
    #[error("the answer alone has {num_tokens} tokens, max_length is {max_length}")]
    AnswerTooLong {
        /// Tokens of the answer with the end of the turn.
        num_tokens: usize,
        /// The limit.
        max_length: usize,
    },
    /// An example of which nothing could be learned.
    #[error("the answer is empty: no token would be trained on")]
    NoSupervisedTokens,
    /// Metadata without a key that is needed.
    #[error("the GGUF metadata has no {key}")]
    MissingKey {
        /// The key.
        key: String,
    },
    /// Metadata with a value of another type.
    #[error("the GGUF metadata has a {key} that is not {expected}")]
    WrongType {
        /// The key.
        key: String,
        /// What it should be.
        expected: &'static str,
    },
    /// An architecture that is not converted.
    #[error("GGUF architecture {name:?} is not supported")]
    UnsupportedArchitecture {
        /// As given.
        name: String,
    },
    /// A kind of tokenizer that is not converted.
    #[error("GGUF tokenizer model {name:?} is not supported")]
    UnsupportedTokenizer {
        /// As given.
        name: String,
    },
    /// A way of splitting text into words that is not known.
    #[error("GGUF pre-tokenizer {name:?} is not supported")]
    UnsupportedPreTokenizer {
        /// As given.
        name: String,
    },
    /// A vocabulary that cannot hold what it must.
    #[error("a vocabulary of {vocab_size} is too small, {needed} is the least")]
    VocabularyTooSmall {
        /// As wanted.
        vocab_size: usize,
        /// The bytes and the special tokens.
        needed: usize,
    },
    /// Tokenizer training that failed.
    #[error("cannot train the tokenizer")]
    Training(#[source] tokenizers::Error),
    /// A value that JSON cannot express.
    #[error("tokenizer has no JSON form")]
    NoJsonForm(#[source] serde_json::Error),
}

impl Problem for ChatError {
    fn code(&self) -> &'static str {
        match self {
            Self::FileMissing { .. } => "chat.file_missing",
            Self::File(err) => err.code(),
            Self::NotJson { .. } => "chat.not_json",
            Self::BadTokenizer { .. } => "chat.bad_tokenizer",
            Self::NoTemplate { .. } => "chat.no_template",
            Self::Template { .. } => "chat.template",
            Self::NoEndOfTurn { .. } => "chat.no_end_of_turn",
            Self::UnknownSpecialToken { .. } => "chat.unknown_special_token",
            Self::TokenizerMismatch { .. } => "chat.tokenizer_mismatch",
            Self::Encode { .. } => "chat.encode",
            Self::Decode { .. } => "chat.decode",
            Self::TemplateRewrites { .. } => "chat.template_rewrites",
            Self::AnswerTooLong { .. } => "chat.answer_too_long",
            Self::NoSupervisedTokens => "chat.no_supervised_tokens",
            Self::MissingKey { .. } => "chat.gguf_missing_key",
            Self::WrongType { .. } => "chat.gguf_wrong_type",
            Self::UnsupportedArchitecture { .. } => "chat.gguf_architecture",
            Self::UnsupportedTokenizer { .. } => "chat.gguf_tokenizer",
            Self::UnsupportedPreTokenizer { .. } => "chat.gguf_pre_tokenizer",
            Self::VocabularyTooSmall { .. } => "chat.vocabulary_too_small",
            Self::Training(_) => "chat.training",
            Self::NoJsonForm(_) => "chat.no_json_form",
        }
    }

    fn hint(&self) -> Option<String> {
        let text = match self {
            Self::File(err) => return err.hint(),
            Self::FileMissing { .. } => {
                "the folder must be a Hugging Face model with tokenizer.json; copy it from where the weights came from"
            }
            Self::NotJson { .. } | Self::BadTokenizer { .. } => "copy the file again from where the weights came from",
            Self::NoTemplate { .. } => {
                "add chat_template.jinja from the model's page, or use the instruct version of the model; \
                 no format is guessed, since a wrong one trains on text the model has never seen"
            }
            Self::Template { .. } => "check that the roles of the conversation are what the model's template accepts",
            Self::NoEndOfTurn { .. } => "set eos_token in tokenizer_config.json",
            Self::UnknownSpecialToken { .. } => "take tokenizer.json and tokenizer_config.json from the same model",
            Self::TokenizerMismatch { .. } => "take the tokenizer files from the same model as the weights",
            Self::TemplateRewrites { .. } => {
                "remove what the template strips (such as thinking blocks) from the answers"
            }
            Self::AnswerTooLong { .. } => "raise max_length or leave the example out",
            Self::NoSupervisedTokens => "leave the example out or give it an answer",
            Self::UnsupportedArchitecture { .. } => return Some(works(&crate::gguf::ARCHITECTURES)),
            Self::UnsupportedTokenizer { .. } => {
                "converted exactly are gpt2 (byte-level BPE) and llama (SentencePiece) without add_space_prefix; use the Hugging Face folder of the model instead"
            }
            Self::UnsupportedPreTokenizer { .. } => return Some(works(&crate::gguf::pre_tokenizer_names())),
            Self::VocabularyTooSmall { needed, .. } => return Some(format!("set it to {needed} or more")),
            _ => return None,
        };
        Some(text.to_owned())
    }

    fn class(&self) -> ErrorClass {
        match self {
            Self::File(err) => err.class(),
            Self::NoJsonForm(_) | Self::Decode { .. } => ErrorClass::Bug,
            _ => ErrorClass::Permanent,
        }
    }
}

fn works(names: &[&str]) -> String {
    format!("supported are {}; else use the Hugging Face folder of the model", names.join(", "))
}
