//! `tokenizer.json` and `tokenizer_config.json` from GGUF metadata: byte-level BPE, and SentencePiece without a space
//! before the text.

use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use super::metadata::Metadata;
use super::pre_tokenizer::{PreTokenizer, byte_level};
use super::sentence_piece;
use crate::ChatError;

/// Kinds of tokens in `tokenizer.ggml.token_type` (`llama_token_type` of llama.cpp).
mod token_type {
    pub(super) const NORMAL: u64 = 1;
    pub(super) const UNKNOWN: u64 = 2;
    pub(super) const CONTROL: u64 = 3;
    pub(super) const USER_DEFINED: u64 = 4;
    pub(super) const UNUSED: u64 = 5;
}

/// How text becomes the characters that are merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Words of a pre-tokenizer as bytes.
    ByteLevel(PreTokenizer),
    /// Characters, a sign in place of spaces, and bytes for characters that are no token.
    SentencePiece,
}

/// The tokenizer of a GGUF file.
pub(super) struct GgufTokenizer<'m> {
    kind: Kind,
    /// Text and kind, by id.
    tokens: Vec<(&'m str, u64)>,
    /// Pairs of tokens, the most important first.
    merges: Vec<(String, String)>,
    /// Such as `bos_token` with its text.
    special_tokens: Vec<(&'static str, &'m str, u64)>,
    adds_bos: bool,
    max_length: Option<u64>,
}

pub(super) fn read_tokenizer<'m>(meta: &Metadata<'m>) -> Result<GgufTokenizer<'m>, ChatError> {
    let texts = meta.strings("tokenizer.ggml.tokens")?;
    let kinds = meta.integers("tokenizer.ggml.token_type")?;
    if kinds.len() != texts.len() {
        return Err(wrong("tokenizer.ggml.token_type", "as long as tokenizer.ggml.tokens"));
    }
    let tokens: Vec<(&str, u64)> = texts.iter().copied().zip(kinds).collect();
    let (kind, merges) = match meta.str("tokenizer.ggml.model")? {
        "gpt2" => (Kind::ByteLevel(read_pre_tokenizer(meta)?), read_merges(meta)?),
        "llama" => (Kind::SentencePiece, sentence_piece_merges(meta, &tokens)?),
        other => return Err(ChatError::UnsupportedTokenizer { name: other.to_owned() }),
    };
    let mut special_tokens = Vec::new();
    let names = [("bos_token", "bos"), ("eos_token", "eos"), ("unk_token", "unknown"), ("pad_token", "padding")];
    for (name, gguf_name) in names {
        let key = format!("tokenizer.ggml.{gguf_name}_token_id");
        if let Some(id) = meta.optional_u64(&key)? {
            let text = usize::try_from(id).ok().and_then(|index| texts.get(index));
            special_tokens.push((name, *text.ok_or_else(|| wrong(&key, "the id of a token"))?, id));
        }
    }
    let adds_bos = meta.optional_bool("tokenizer.ggml.add_bos_token")?.unwrap_or(kind.adds_bos());
    let architecture = meta.str("general.architecture")?;
    Ok(GgufTokenizer {
        kind,
        tokens,
        merges,
        special_tokens,
        adds_bos,
        max_length: meta.optional_u64(&format!("{architecture}.context_length"))?,
    })
}

fn read_pre_tokenizer(meta: &Metadata<'_>) -> Result<PreTokenizer, ChatError> {
    let name = meta.str("tokenizer.ggml.pre")?;
    PreTokenizer::from_name(name).ok_or_else(|| ChatError::UnsupportedPreTokenizer { name: name.to_owned() })
}

fn read_merges(meta: &Metadata<'_>) -> Result<Vec<(String, String)>, ChatError> {
    const KEY: &str = "tokenizer.ggml.merges";
    let pairs = meta.strings(KEY)?.into_iter().map(|merge| {
        let (left, right) = merge.split_once(' ').ok_or_else(|| wrong(KEY, "a list of two tokens each"))?;
        Ok((left.to_owned(), right.to_owned()))
    });
    pairs.collect()
}

fn sentence_piece_merges(meta: &Metadata<'_>, tokens: &[(&str, u64)]) -> Result<Vec<(String, String)>, ChatError> {
    // llama.cpp takes an absent key for true.
    if meta.optional_bool("tokenizer.ggml.add_space_prefix")?.unwrap_or(true) {
        return Err(ChatError::UnsupportedTokenizer { name: "llama with add_space_prefix".to_owned() });
    }
    let scores = meta.numbers("tokenizer.ggml.scores")?;
    if scores.len() != tokens.len() {
        return Err(wrong("tokenizer.ggml.scores", "as long as tokenizer.ggml.tokens"));
    }
    let all = tokens.iter().zip(scores).enumerate();
    let normal = all.filter(|(_, ((_, kind), _))| *kind == token_type::NORMAL);
    let normal: Vec<_> = normal.map(|(id, ((text, _), score))| (*text, id, score)).collect();
    Ok(sentence_piece::merges(&normal))
}

fn wrong(key: &str, expected: &'static str) -> ChatError {
    ChatError::WrongType { key: key.to_owned(), expected }
}

impl Kind {
    /// Whether texts begin with the BOS token where the file does not say.
    fn adds_bos(self) -> bool {
        match self {
            Self::ByteLevel(pre_tokenizer) => pre_tokenizer.adds_bos(),
            Self::SentencePiece => true,
        }
    }

    fn normalizer_json(self) -> Value {
        match self {
            Self::ByteLevel(pre_tokenizer) => pre_tokenizer.normalizer_json(),
            Self::SentencePiece => sentence_piece::normalizer_json(),
        }
    }

    fn pre_tokenizer_json(self) -> Value {
        match self {
            Self::ByteLevel(pre_tokenizer) => pre_tokenizer.pre_tokenizer_json(),
            Self::SentencePiece => sentence_piece::pre_tokenizer_json(),
        }
    }

    fn decoder_json(self) -> Value {
        match self {
            Self::ByteLevel(_) => byte_level(true),
            Self::SentencePiece => sentence_piece::decoder_json(),
        }
    }

    fn ignores_merges(self) -> bool {
        matches!(self, Self::ByteLevel(pre_tokenizer) if pre_tokenizer.ignores_merges())
    }
}

impl GgufTokenizer<'_> {
    pub(super) fn tokenizer_json(&self) -> Result<String, ChatError> {
        let is_sentence_piece = self.kind == Kind::SentencePiece;
        let file = TokenizerFile {
            version: "1.0",
            truncation: None,
            padding: None,
            added_tokens: self.added_tokens(),
            normalizer: self.kind.normalizer_json(),
            pre_tokenizer: self.kind.pre_tokenizer_json(),
            post_processor: self.post_processor_json(),
            decoder: self.kind.decoder_json(),
            model: BpeModel {
                kind: "BPE",
                dropout: None,
                unk_token: self.special_token("unk_token").filter(|_| is_sentence_piece).map(|(text, _)| text),
                continuing_subword_prefix: None,
                end_of_word_suffix: None,
                fuse_unk: is_sentence_piece,
                byte_fallback: is_sentence_piece,
                ignore_merges: self.kind.ignores_merges(),
                vocab: Vocabulary(self.vocabulary()),
                merges: &self.merges,
            },
        };
        serde_json::to_string(&file).map_err(ChatError::NoJsonForm)
    }

    pub(super) fn tokenizer_config_json(&self) -> String {
        let mut config = json!({
            "add_bos_token": self.adds_bos,
            "clean_up_tokenization_spaces": false,
            "tokenizer_class": "PreTrainedTokenizerFast",
        });
        if let Some(map) = config.as_object_mut() {
            map.extend(self.special_tokens.iter().map(|(name, text, _)| ((*name).to_owned(), json!(text))));
            map.extend(self.max_length.map(|length| ("model_max_length".to_owned(), json!(length))));
        }
        format!("{config:#}\n")
    }

    /// All tokens but the fillers with which converters pad the vocabulary to the rows of the embedding.
    fn vocabulary(&self) -> Vec<(&str, usize)> {
        let tokens = self.tokens.iter().enumerate();
        let real = tokens.filter(|(id, (text, kind))| *kind != token_type::UNUSED || *text != format!("[PAD{id}]"));
        real.map(|(id, (text, _))| (*text, id)).collect()
    }

    /// Tokens that are recognised in a text before it is split.
    fn added_tokens(&self) -> Vec<Map<String, Value>> {
        let added = self.tokens.iter().enumerate().filter(|(_, (_, kind))| {
            matches!(*kind, token_type::UNKNOWN | token_type::CONTROL | token_type::USER_DEFINED)
        });
        let entry = |(id, (text, kind)): (usize, &(&str, u64))| {
            let flags = ["single_word", "lstrip", "rstrip", "normalized"];
            let mut entry: Map<String, Value> = flags.map(|flag| (flag.to_owned(), json!(false))).into_iter().collect();
            entry.insert("id".to_owned(), json!(id));
            entry.insert("content".to_owned(), json!(text));
            entry.insert("special".to_owned(), json!(*kind != token_type::USER_DEFINED));
            entry
        };
        added.map(entry).collect()
    }

    /// Text and id.
    fn special_token(&self, name: &str) -> Option<(&str, u64)> {
        let found = self.special_tokens.iter().find(|(known, _, _)| *known == name);
        found.map(|(_, text, id)| (*text, *id))
    }

    /// Adds the BOS token for programs that encode plain text.
    fn post_processor_json(&self) -> Value {
        let Some((text, id)) = self.special_token("bos_token").filter(|_| self.adds_bos) else {
            return if self.kind == Kind::SentencePiece { Value::Null } else { byte_level(true) };
        };
        let special = json!({ "SpecialToken": { "id": text, "type_id": 0 } });
        json!({
            "type": "TemplateProcessing",
            "single": [special, { "Sequence": { "id": "A", "type_id": 0 } }],
            "pair": [
                special,
                { "Sequence": { "id": "A", "type_id": 0 } },
                { "SpecialToken": { "id": text, "type_id": 1 } },
                { "Sequence": { "id": "B", "type_id": 1 } },
            ],
            "special_tokens": { text: { "id": text, "ids": [id], "tokens": [text] } },
        })
    }
}

/// `tokenizer.json`, in the order in which the library writes it.
#[derive(Serialize)]
struct TokenizerFile<'t> {
    version: &'static str,
    truncation: Option<()>,
    padding: Option<()>,
    added_tokens: Vec<Map<String, Value>>,
    normalizer: Value,
    pre_tokenizer: Value,
    post_processor: Value,
    decoder: Value,
    model: BpeModel<'t>,
}

#[derive(Serialize)]
struct BpeModel<'t> {
    #[serde(rename = "type")]
    kind: &'static str,
    dropout: Option<f32>,
    unk_token: Option<&'t str>,
    continuing_subword_prefix: Option<&'t str>,
    end_of_word_suffix: Option<&'t str>,
    fuse_unk: bool,
    byte_fallback: bool,
    ignore_merges: bool,
    vocab: Vocabulary<'t>,
    merges: &'t [(String, String)],
}

/// A map from text to id, written in order of id.
struct Vocabulary<'t>(Vec<(&'t str, usize)>);

impl Serialize for Vocabulary<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (text, id) in &self.0 {
            map.serialize_entry(text, id)?;
        }
        map.end()
    }
}
