//! The Hugging Face files that a GGUF file carries in its metadata: configuration, tokenizer and chat template.
//!
//! Only what can be converted exactly is converted: Llama-shaped architectures with byte-level BPE whose way of splitting
//! text is known by name. Everything else is refused, never guessed. [`gguf_tokenizer_metadata`] goes the other way. Tensors are not read here; a file with a tensor
//! `rope_freqs.weight` scales its rotary frequencies in a way that the metadata does not say.

mod config;
mod metadata;
mod pre_tokenizer;
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
pub(crate) const ARCHITECTURES: [&str; 3] = ["llama", "qwen2", "qwen3"];

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

/// Converts the metadata of a GGUF file. `has_output_weight` says whether the file has a tensor `output.weight`; without
/// it the output head is the embedding.
pub fn hf_files_from_gguf(meta: &BTreeMap<String, MetaValue>, has_output_weight: bool) -> Result<HfFiles, ChatError> {
    let meta = Metadata::new(meta);
    let config_json = config::config_json(&meta, has_output_weight)?;
    let tokenizer = tokenizer::read_tokenizer(&meta)?;
    Ok(HfFiles {
        config_json,
        tokenizer_json: tokenizer.tokenizer_json()?,
        tokenizer_config_json: tokenizer.tokenizer_config_json(),
        chat_template_jinja: meta.optional_str("tokenizer.chat_template")?.map(str::to_owned),
        generation_config_json: config::generation_config_json(&meta)?,
    })
}
