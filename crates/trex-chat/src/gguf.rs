//! The Hugging Face files that a GGUF file carries in its metadata: configuration, tokenizer and chat template.
//!
//! Only what can be converted exactly is converted: architectures that are trained here, with byte-level BPE whose way of
//! splitting text is known by name, or with SentencePiece that puts no space before a text. Everything else is refused,
//! never guessed. [`gguf_tokenizer_metadata`] goes the other way. Tensors are not read here: what they say about the
//! configuration comes as [`GgufTensorFacts`].

mod config;
mod metadata;
mod pre_tokenizer;
mod sentence_piece;
mod tokenizer;
mod write;

use std::collections::BTreeMap;
use std::path::Path;

pub use metadata::MetaValue;
pub(crate) use pre_tokenizer::pre_tokenizer_names;
pub use write::gguf_tokenizer_metadata;

use crate::ChatError;
use metadata::Metadata;

/// Architectures that are converted, as `general.architecture` names them.
pub(crate) const ARCHITECTURES: [&str; 5] = ["llama", "qwen2", "qwen3", "gemma3", "phi3"];

/// What the tensors of a GGUF file say about the configuration.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GgufTensorFacts {
    /// Has `output.weight`; without it the output head is the embedding.
    pub has_output_weight: bool,
    /// Has `blk.0.attn_q.bias`.
    pub has_attention_bias: bool,
    /// Has `blk.0.ffn_up.bias`.
    pub has_mlp_bias: bool,
    /// Values of `rope_freqs.weight`: what each rotary frequency is divided by (Llama 3.1).
    pub rope_freqs: Option<Vec<f32>>,
    /// The same for short sequences, `rope_factors_short.weight` (Phi-3).
    pub rope_factors_short: Option<Vec<f32>>,
    /// The same for long sequences, `rope_factors_long.weight` (Phi-3).
    pub rope_factors_long: Option<Vec<f32>>,
}

/// The text files of a Hugging Face model folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HfFiles {
    /// `config.json`.
    pub config_json: String,
    /// `tokenizer.json`.
    pub tokenizer_json: String,
    /// `tokenizer_config.json`.
    pub tokenizer_config_json: String,
    /// `chat_template.jinja`; base models have none.
    pub chat_template_jinja: Option<String>,
    /// `generation_config.json`.
    pub generation_config_json: String,
}

impl HfFiles {
    /// Names and contents, in order of name.
    pub fn files(&self) -> Vec<(&'static str, &str)> {
        let template = self.chat_template_jinja.as_deref().map(|text| ("chat_template.jinja", text));
        template
            .into_iter()
            .chain([
                ("config.json", self.config_json.as_str()),
                ("generation_config.json", &self.generation_config_json),
                ("tokenizer.json", &self.tokenizer_json),
                ("tokenizer_config.json", &self.tokenizer_config_json),
            ])
            .collect()
    }

    /// Writes them into a folder, which is created.
    pub fn write(&self, folder: &Path) -> Result<(), ChatError> {
        for (name, text) in self.files() {
            trex_fs::write_atomic(&folder.join(name), text.as_bytes())?;
        }
        Ok(())
    }
}

/// Converts the metadata of a GGUF file.
pub fn hf_files_from_gguf(meta: &BTreeMap<String, MetaValue>, tensors: &GgufTensorFacts) -> Result<HfFiles, ChatError> {
    let meta = Metadata::new(meta);
    let config_json = config::config_json(&meta, tensors)?;
    let tokenizer = tokenizer::read_tokenizer(&meta)?;
    Ok(HfFiles {
        config_json,
        tokenizer_json: tokenizer.tokenizer_json()?,
        tokenizer_config_json: tokenizer.tokenizer_config_json(),
        chat_template_jinja: meta.optional_str("tokenizer.chat_template")?.map(str::to_owned),
        generation_config_json: config::generation_config_json(&meta)?,
    })
}
