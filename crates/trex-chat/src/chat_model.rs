//! A tokenizer with its chat template: text to ids, ids to text, and what ends a turn.

use std::path::{Path, PathBuf};

use tokenizers::Tokenizer;
use trex_domain::{Message, Millis};

use crate::ChatError;
use crate::folder::{Folder, read_folder};
use crate::template::Template;

/// 26 July 2024: the date that the templates of Llama 3 fall back to when they are told none.
const DEFAULT_TODAY: Millis = Millis(1_721_952_000_000);

/// The conversation that shows how a template ends a turn.
const PROBE_QUESTION: &str = "Question";
const PROBE_ANSWER: &str = "Answer";

/// Tokenizer and chat template of a model. May be shared between threads.
pub struct ChatModel {
    tokenizer: Tokenizer,
    tokenizer_path: PathBuf,
    template: Template,
    turn_end: TurnEnd,
    vocab_size: usize,
    eos_ids: Vec<u32>,
    bos_id: Option<u32>,
    pad_id: Option<u32>,
}

/// How the model's turn ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TurnEnd {
    /// What the template writes after the last answer.
    pub(crate) tail: String,
    /// What of it, or instead of it, is trained on: ends with the token below.
    pub(crate) supervised: String,
    /// Text of the token that ends the turn.
    pub(crate) token: String,
    /// Its id.
    pub(crate) id: u32,
}

impl ChatModel {
    /// Reads a Hugging Face model folder: `tokenizer.json` and a chat template must be there, `tokenizer_config.json`,
    /// `special_tokens_map.json` and `generation_config.json` may be.
    pub fn load(folder: &Path) -> Result<Self, ChatError> {
        let Folder { tokenizer, tokenizer_path, special_tokens, template, template_path, generation_eos_ids } =
            read_folder(folder)?;
        let id_of = |name| special_tokens.get(name).and_then(|token| tokenizer.token_to_id(token));
        let (bos_id, pad_id, eos_id) = (id_of("bos_token"), id_of("pad_token"), id_of("eos_token"));
        let eos_token = special_tokens.get("eos_token").cloned();
        if let (Some(token), None) = (&eos_token, eos_id) {
            return Err(ChatError::UnknownSpecialToken {
                name: "eos_token",
                token: token.clone(),
                path: tokenizer_path,
            });
        }
        let template = Template::parse(&template, template_path, special_tokens, DEFAULT_TODAY)?;
        let turn_end = find_turn_end(&tokenizer, &template, eos_token.zip(eos_id))?;
        let mut eos_ids = Vec::new();
        for id in eos_id.into_iter().chain([turn_end.id]).chain(generation_eos_ids) {
            if !eos_ids.contains(&id) {
                eos_ids.push(id);
            }
        }
        let vocab_size = tokenizer.get_vocab(true).into_values().max().map_or(0, |id| id as usize + 1);
        Ok(Self { tokenizer, tokenizer_path, template, turn_end, vocab_size, eos_ids, bos_id, pad_id })
    }

    /// Another day for templates that write the date into the prompt. Without this it is always 26 July 2024, so that
    /// the same example gives the same tokens tomorrow.
    #[must_use]
    pub fn with_today(mut self, today: Millis) -> Self {
        self.template.set_today(today);
        self
    }

    /// The tokenizer file.
    pub fn tokenizer_path(&self) -> &Path {
        &self.tokenizer_path
    }

    /// Highest token id plus one.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// Ids that end generation: of `eos_token`, of the token that ends a turn, of `generation_config.json`.
    /// Each stands once; never empty.
    pub fn eos_ids(&self) -> &[u32] {
        &self.eos_ids
    }

    /// Id of the token that ends the model's turn; the last id of every completion.
    pub fn end_of_turn_id(&self) -> u32 {
        self.turn_end.id
    }

    /// Id of the token that begins a text, where the tokenizer has one.
    pub fn bos_id(&self) -> Option<u32> {
        self.bos_id
    }

    /// Id of the token that fills up rows, where the tokenizer has one.
    pub fn pad_id(&self) -> Option<u32> {
        self.pad_id
    }

    /// Fails if the tokenizer has more tokens than the model has rows in its embedding. Fewer are usual: rows are rounded up.
    pub fn check_fits(&self, vocab_of_model: usize) -> Result<(), ChatError> {
        if self.vocab_size > vocab_of_model {
            return Err(ChatError::TokenizerMismatch { tokenizer: self.vocab_size, model: vocab_of_model });
        }
        Ok(())
    }

    /// Token ids of a text. Nothing is added; special tokens that are written in the text are recognised.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, ChatError> {
        encode(&self.tokenizer, text)
    }

    /// Text of token ids, special tokens left out. Bytes that are no UTF-8 become U+FFFD.
    pub fn decode(&self, ids: &[u32]) -> Result<String, ChatError> {
        let text = self.tokenizer.decode(ids, true);
        text.map_err(|source| ChatError::Decode { num_tokens: ids.len(), source })
    }

    /// Text of token ids with special tokens written out.
    pub fn decode_with_special(&self, ids: &[u32]) -> Result<String, ChatError> {
        let text = self.tokenizer.decode(ids, false);
        text.map_err(|source| ChatError::Decode { num_tokens: ids.len(), source })
    }

    /// What the template makes of a conversation; with a generation prompt the model is asked to speak next.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String, ChatError> {
        self.template.render(messages, add_generation_prompt)
    }

    pub(crate) fn turn_end(&self) -> &TurnEnd {
        &self.turn_end
    }

    pub(crate) fn template_path(&self) -> &PathBuf {
        self.template.path()
    }
}

fn encode(tokenizer: &Tokenizer, text: &str) -> Result<Vec<u32>, ChatError> {
    let encoding = tokenizer.encode_fast(text, false);
    let encoding = encoding.map_err(|source| ChatError::Encode { num_bytes: text.len(), source })?;
    Ok(encoding.get_ids().to_vec())
}

/// The first special token that the template writes after an answer; `eos` where it writes none.
fn find_turn_end(tokenizer: &Tokenizer, template: &Template, eos: Option<(String, u32)>) -> Result<TurnEnd, ChatError> {
    let probe = [Message::user(PROBE_QUESTION), Message::assistant(PROBE_ANSWER)];
    let rendered = template.render(&probe, false)?;
    let Some((_, tail)) = rendered.rsplit_once(PROBE_ANSWER) else {
        return Err(ChatError::TemplateRewrites { path: template.path().clone() });
    };
    for id in encode(tokenizer, tail)? {
        let special = tokenizer.id_to_token(id).filter(|token| is_special(tokenizer, token));
        if let Some(token) = special
            && let Some(at) = tail.find(&token)
        {
            let supervised = tail[..at + token.len()].to_owned();
            return Ok(TurnEnd { tail: tail.to_owned(), supervised, token, id });
        }
    }
    let Some((token, id)) = eos else {
        return Err(ChatError::NoEndOfTurn { path: template.path().clone() });
    };
    Ok(TurnEnd { tail: tail.to_owned(), supervised: token.clone(), token, id })
}

fn is_special(tokenizer: &Tokenizer, token: &str) -> bool {
    tokenizer.get_added_vocabulary().is_special_token(token)
}
