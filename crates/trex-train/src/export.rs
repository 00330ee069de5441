//! Writes what a person takes away: the adapter and the whole model, in the forms that other tools load.
//!
//! Every function fills a folder that exists and belongs to the export alone; making it appear at once, and scoring what
//! was written, is the caller's business. Weights go through memory one tensor at a time.

pub(crate) mod gguf;
mod merge;
mod merged;
mod modelfile;
mod peft;
mod safetensors_file;

use std::path::{Path, PathBuf};

use trex_domain::ModelCard;

pub use gguf::{GgufEncoding, write_base_gguf};
pub use peft::write_peft_folder;
pub use safetensors_file::FloatType;
pub(crate) use safetensors_file::SafetensorsFile;

use crate::lora::Adapter;
use crate::trained::TrainedFile;
use crate::{ModelConfig, TrainError};

/// Largest safetensors file before a model is cut into shards, as `save_pretrained` of transformers cuts them.
pub const MAX_SHARD_BYTES: u64 = 5_000_000_000;

/// Text files of a model folder that go along with every form.
const TOKENIZER_FILES: [&str; 7] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
];

/// What is exported.
#[derive(Clone, Copy, Debug)]
pub struct ExportSource<'a> {
    /// Folder of the base model.
    pub model_dir: &'a Path,
    /// A blob of this program with an adapter or all weights, a PEFT folder or a GGUF adapter.
    pub adapter: &'a Path,
    /// What the export is, for cards, names and metadata.
    pub card: &'a ModelCard,
}

impl ExportSource<'_> {
    fn load(&self) -> Result<(ModelConfig, TrainedFile), TrainError> {
        let config = ModelConfig::load(&self.model_dir.join("config.json"))?;
        let trained = TrainedFile::load(self.adapter, &config)?;
        Ok((config, trained))
    }

    /// The same where there must be an adapter.
    fn load_adapter(&self, what: &str) -> Result<(ModelConfig, Adapter), TrainError> {
        match self.load()? {
            (config, TrainedFile::Adapter(adapter)) => Ok((config, adapter)),
            (_, TrainedFile::Weights(_)) => {
                let why = "every weight was trained, so there is no adapter; the merged folder and GGUF hold them all";
                Err(TrainError::NotExportable { what: what.to_owned(), why: why.to_owned() })
            }
        }
    }
}

/// A form of export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportForm {
    /// PEFT adapter folder.
    Peft,
    /// Merged Hugging Face folder; in the number format of the base where none is given.
    Merged {
        /// Number format.
        dtype: Option<FloatType>,
        /// Largest file in bytes.
        max_shard_bytes: u64,
    },
    /// Merged GGUF file with an Ollama Modelfile.
    Gguf(GgufEncoding),
    /// GGUF adapter with an Ollama Modelfile.
    GgufLora,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// What an evaluation loads: the folder, or the GGUF file.
    pub weights: PathBuf,
    /// Number format, as it is called in that form.
    pub encoding: String,
    /// What a person should know.
    pub warnings: Vec<String>,
}

/// Writes one form into the folder `out`. `progress` gets tensors done and tensors in all.
pub fn export_model(
    source: &ExportSource<'_>,
    form: ExportForm,
    out: &Path,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Exported, TrainError> {
    trex_fs::create_dir_all(out)?;
    match form {
        ExportForm::Peft => peft::write(source, out),
        ExportForm::Merged { dtype, max_shard_bytes } => merged::write(source, dtype, max_shard_bytes, out, progress),
        ExportForm::Gguf(encoding) => {
            let file = gguf::write_merged(source, encoding, out, progress)?;
            finish_gguf(source, file, encoding.label(), out)
        }
        ExportForm::GgufLora => {
            let file = gguf::write_adapter(source, out)?;
            finish_gguf(source, file, GgufEncoding::F32.label(), out)
        }
    }
}

/// Modelfile and card beside a GGUF file.
fn finish_gguf(source: &ExportSource<'_>, file: PathBuf, encoding: &str, out: &Path) -> Result<Exported, TrainError> {
    let is_adapter = file.file_name().is_some_and(|name| name.to_string_lossy().ends_with("-LoRA.gguf"));
    let name = file.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let (modelfile, mut warnings) = modelfile::modelfile(source.model_dir, &name, is_adapter)?;
    let of_base = source.card.note_on_quantised_base().filter(|_| is_adapter);
    trex_fs::write_atomic(&out.join("Modelfile"), modelfile.as_bytes())?;
    let mut card = source.card.clone();
    card.notes.push(format!(
        "{name} is for llama.cpp and what is built on it; `ollama create NAME -f Modelfile` takes it in."
    ));
    card.notes.extend(of_base.clone());
    warnings.extend(of_base);
    let tags: &[&str] = if is_adapter { &["gguf", "lora"] } else { &["gguf"] };
    trex_fs::write_atomic(&out.join("README.md"), card.markdown("gguf", tags).as_bytes())?;
    Ok(Exported { weights: file, encoding: encoding.to_owned(), warnings })
}

/// Copies tokenizer files and writes the chat template as a file of its own, byte for byte.
fn copy_tokenizer(model_dir: &Path, out: &Path) -> Result<(), TrainError> {
    for name in TOKENIZER_FILES {
        let source = model_dir.join(name);
        if source.is_file() {
            trex_fs::write_atomic(&out.join(name), &trex_fs::read(&source)?)?;
        }
    }
    if let Some(template) = trex_chat::chat_template(model_dir)? {
        trex_fs::write_atomic(&out.join("chat_template.jinja"), template.as_bytes())?;
    }
    Ok(())
}
