//! How text is split into words before BPE, by the names of `tokenizer.ggml.pre`.
//!
//! The names and expressions are those of llama.cpp's `llama-vocab.cpp`, in the form that the models' own
//! `tokenizer.json` gives them. `default` is what llama.cpp does for files whose converter did not know better.

use serde_json::{Value, json};

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PreTokenizer {
    SmolLm,
    Llama3,
    Qwen2,
    Gpt2,
    LlamaCppDefault,
}

const TABLE: [(&str, PreTokenizer); 9] = [
    ("smollm", PreTokenizer::SmolLm),
    ("llama-bpe", PreTokenizer::Llama3),
    ("llama3", PreTokenizer::Llama3),
    ("llama-v3", PreTokenizer::Llama3),
    ("qwen2", PreTokenizer::Qwen2),
    ("deepseek-r1-qwen", PreTokenizer::Qwen2),
    ("gpt-2", PreTokenizer::Gpt2),
    ("gpt2", PreTokenizer::Gpt2),
    ("default", PreTokenizer::LlamaCppDefault),
];

/// Names that are known.
pub(crate) fn pre_tokenizer_names() -> Vec<&'static str> {
    TABLE.iter().map(|(name, _)| *name).collect()
}

impl PreTokenizer {
    pub(super) fn from_name(name: &str) -> Option<Self> {
        TABLE.iter().find(|(known, _)| *known == name).map(|(_, found)| *found)
    }

    /// The name of the splitting that a `tokenizer.json` describes; nothing where no name is known to mean exactly that.
    pub(super) fn name_of(pre_tokenizer: &Value, normalizer: &Value) -> Option<&'static str> {
        let wanted = steps(pre_tokenizer);
        let fits = |kind: Self| steps(&kind.pre_tokenizer_json()) == wanted && kind.normalizer_json() == *normalizer;
        TABLE.iter().find(|(_, kind)| fits(*kind)).map(|(name, _)| *name)
    }

    /// The `pre_tokenizer` of `tokenizer.json`.
    pub(super) fn pre_tokenizer_json(self) -> Value {
        let mut steps = match self {
            Self::SmolLm => vec![json!({ "type": "Digits", "individual_digits": true })],
            Self::Llama3 => vec![split(LLAMA3)],
            Self::Qwen2 => vec![split(QWEN2)],
            Self::Gpt2 => Vec::new(),
            Self::LlamaCppDefault => [r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"].map(split).to_vec(),
        };
        let splits_itself = matches!(self, Self::SmolLm | Self::Gpt2);
        steps.push(byte_level(splits_itself));
        json!({ "type": "Sequence", "pretokenizers": steps })
    }

    /// The `normalizer` of `tokenizer.json`.
    pub(super) fn normalizer_json(self) -> Value {
        if self == Self::Qwen2 { json!({ "type": "NFC" }) } else { Value::Null }
    }

    /// Whether a word that is a token is taken as it is, without merging.
    pub(super) fn ignores_merges(self) -> bool {
        self == Self::Llama3
    }

    /// Whether texts begin with the BOS token where the file does not say.
    pub(super) fn adds_bos(self) -> bool {
        self == Self::Llama3
    }
}

/// The step from text to bytes; also the decoder.
pub(super) fn byte_level(use_regex: bool) -> Value {
    json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex })
}

/// The steps of a pre-tokenizer without what changes no token.
fn steps(pre_tokenizer: &Value) -> Vec<Value> {
    let listed = pre_tokenizer.get("pretokenizers").and_then(Value::as_array);
    let mut steps = listed.map_or_else(|| vec![pre_tokenizer.clone()], Clone::clone);
    for step in steps.iter_mut().filter_map(Value::as_object_mut) {
        // Only the places of tokens in the text depend on it.
        step.remove("trim_offsets");
    }
    steps
}

fn split(expression: &str) -> Value {
    json!({ "type": "Split", "pattern": { "Regex": expression }, "behavior": "Isolated", "invert": false })
}
