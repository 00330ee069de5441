//! The registry of models: where they lie, how one enters, and what the rest must know of it.
//!
//! A model enters once: a GGUF file gets its tokenizer, template and shape written beside it as Hugging Face files, so everything after that reads one form. Weights are never changed and, where the file system allows, never copied.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::quantized::gguf_file::{self, Value};
use serde::{Deserialize, Serialize};
use trex_chat::{ChatModel, MetaValue};
use trex_domain::{ContentHash, ModelFacts};
use trex_fs::FsError;

use crate::weights::WeightFiles;
use crate::{ModelConfig, TrainError};

/// One entry of the registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelEntry {
    /// Folder with `config.json`, tokenizer and weights.
    pub dir: PathBuf,
    /// Where it came from: a path or `hub:ID`.
    pub source: String,
}

/// A file that lists models by name.
#[derive(Clone, Debug)]
pub struct ModelRegistry {
    root: PathBuf,
}

impl ModelRegistry {
    /// Uses `root/models.json` and keeps imported files below `root/models`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// All entries.
    pub fn entries(&self) -> Result<BTreeMap<String, ModelEntry>, TrainError> {
        let path = self.index_path();
        if !path.is_file() {
            return Ok(BTreeMap::new());
        }
        let bytes = trex_fs::read(&path)?;
        serde_json::from_slice(&bytes).map_err(|source| TrainError::BadConfig { path, source })
    }

    /// Takes a GGUF file or a Hugging Face folder in under `name`, after loading its shape and tokenizer once. What
    /// cannot be used leaves everything as it was.
    pub fn add(&self, name: &str, path: &Path, source: &str) -> Result<ModelFacts, TrainError> {
        let dir = if path.is_dir() { canonical(path)? } else { self.import_gguf(name, path)? };
        let facts = model_facts(name, &dir)?;
        let mut entries = self.entries()?;
        entries.insert(name.to_owned(), ModelEntry { dir, source: source.to_owned() });
        trex_fs::write_json(&self.index_path(), &entries)?;
        Ok(facts)
    }

    fn index_path(&self) -> PathBuf {
        self.root.join("models.json")
    }

    /// Makes the folder of a GGUF file beside the place where it belongs, and moves it there when it has proved good.
    fn import_gguf(&self, name: &str, path: &Path) -> Result<PathBuf, TrainError> {
        check_complete(&WeightFiles::Gguf(path.to_owned()))?;
        let models = self.root.join("models");
        let (dir, unfinished) = (models.join(name), models.join(format!(".unfinished-{name}")));
        trex_fs::remove_dir_all(&unfinished)?;
        let made = fill_gguf_folder(path, &unfinished).and_then(|()| model_facts(name, &unfinished));
        if let Err(err) = made {
            trex_fs::remove_dir_all(&unfinished)?;
            return Err(err);
        }
        trex_fs::remove_dir_all(&dir)?;
        std::fs::rename(&unfinished, &dir).map_err(|err| FsError::io("rename to", &dir, err))?;
        Ok(dir)
    }
}

fn fill_gguf_folder(path: &Path, dir: &Path) -> Result<(), TrainError> {
    write_hf_files(path, dir)?;
    let weights = dir.join("model.gguf");
    // A hard link costs nothing; another file system needs a copy.
    if std::fs::hard_link(path, &weights).is_err() {
        std::fs::copy(path, &weights).map_err(|err| FsError::io("copy to", &weights, err))?;
    }
    Ok(())
}

fn canonical(path: &Path) -> Result<PathBuf, TrainError> {
    Ok(path.canonicalize().map_err(|err| FsError::io("find", path, err))?)
}

/// Reads shape, tokenizer and names of a model folder; an error says what is missing or does not fit.
pub fn model_facts(name: &str, dir: &Path) -> Result<ModelFacts, TrainError> {
    for missing in ["config.json", "tokenizer.json"] {
        if !dir.join(missing).is_file() {
            return Err(TrainError::NotAModel { path: dir.to_owned(), missing });
        }
    }
    let config = ModelConfig::load(&dir.join("config.json"))?;
    let tokenizer = ChatModel::load(dir)?;
    tokenizer.check_fits(config.vocab_size)?;
    let files = WeightFiles::find(dir)?;
    check_complete(&files)?;
    Ok(ModelFacts {
        name: name.to_owned(),
        dir: dir.to_owned(),
        hash: model_hash(dir, &files)?,
        num_parameters: config.num_parameters(),
        hidden_size: config.hidden_size,
        intermediate_size: config.intermediate_size,
        num_layers: config.num_layers,
        num_heads: config.num_heads,
        num_kv_heads: config.num_kv_heads,
        head_dim: config.head_dim,
        vocab_size: config.vocab_size,
        max_position: config.max_position,
        license: license(dir),
    })
}

/// Notices a truncated weight file without reading all of it.
fn check_complete(files: &WeightFiles) -> Result<(), TrainError> {
    for path in files.paths() {
        let size = trex_fs::open(path)?.metadata().map_err(|err| FsError::io("measure", path, err))?.len();
        match files {
            WeightFiles::Safetensors(_) => {
                let map = map_file(path)?;
                safetensors::SafeTensors::deserialize(&map)
                    .map_err(|source| TrainError::DamagedSafetensors { path: path.to_owned(), source })?;
            }
            WeightFiles::Gguf(_) => {
                let damaged = |source| TrainError::DamagedWeights { path: path.to_owned(), source };
                let mut reader = std::io::BufReader::new(trex_fs::open(path)?);
                let content = gguf_file::Content::read(&mut reader).map_err(damaged)?;
                let mut end = content.tensor_data_offset;
                for info in content.tensor_infos.values().map(|info| {
                    let bytes = info.shape.elem_count() / info.ggml_dtype.block_size() * info.ggml_dtype.type_size();
                    content.tensor_data_offset + info.offset + bytes as u64
                }) {
                    end = end.max(info);
                }
                if end > size {
                    let text = format!("its tensors need {end} bytes, the file has {size}");
                    return Err(damaged(candle_core::Error::Msg(text)));
                }
            }
        }
    }
    Ok(())
}

fn map_file(path: &Path) -> Result<memmap2::Mmap, TrainError> {
    let file = trex_fs::open(path)?;
    #[expect(unsafe_code, reason = "mapping a file is the one way to check it without reading gigabytes")]
    // SAFETY: the map is read only and dropped within the caller; a file that another process truncates meanwhile
    // would fault, which is the accepted risk of every reader of mapped weights.
    let map = unsafe { memmap2::Mmap::map(&file) };
    Ok(map.map_err(|err| FsError::io("map", path, err))?)
}

/// Names a model by weights, shape and tokenizer, so a change of any of them is another model.
fn model_hash(dir: &Path, files: &WeightFiles) -> Result<ContentHash, TrainError> {
    let mut parts: Vec<(&str, ContentHash)> = Vec::new();
    for name in ["config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"] {
        let path = dir.join(name);
        if path.is_file() {
            parts.push((name, ContentHash::of_bytes(&trex_fs::read(&path)?)));
        }
    }
    for path in files.paths() {
        parts.push(("weights", ContentHash::of_bytes(&map_file(path)?)));
    }
    Ok(ContentHash::of_value("trex.model.v1", &parts)?)
}

/// The `license:` line of a model card, where there is one.
fn license(dir: &Path) -> Option<String> {
    let card = trex_fs::read_to_string(&dir.join("README.md")).ok()?;
    let front = card.strip_prefix("---")?.split("\n---").next()?;
    front.lines().find_map(|line| line.strip_prefix("license:")).map(|text| text.trim().to_owned())
}

/// Writes `config.json`, tokenizer and template of a GGUF file into a folder.
fn write_hf_files(path: &Path, dir: &Path) -> Result<(), TrainError> {
    let damaged = |source| TrainError::DamagedWeights { path: path.to_owned(), source };
    let mut reader = std::io::BufReader::new(trex_fs::open(path)?);
    let content = gguf_file::Content::read(&mut reader).map_err(damaged)?;
    let meta: BTreeMap<String, MetaValue> =
        content.metadata.iter().map(|(key, value)| (key.clone(), meta_value(value))).collect();
    let has_head = content.tensor_infos.contains_key("output.weight");
    let files = trex_chat::hf_files_from_gguf(&meta, has_head)?;
    for (name, text) in files.files() {
        trex_fs::write_atomic(&dir.join(name), text.as_bytes())?;
    }
    if let Some(Value::String(license)) = content.metadata.get("general.license") {
        let card = format!("---\nlicense: {license}\n---\n");
        trex_fs::write_atomic(&dir.join("README.md"), card.as_bytes())?;
    }
    Ok(())
}

fn meta_value(value: &Value) -> MetaValue {
    match value {
        Value::U8(x) => MetaValue::U64(u64::from(*x)),
        Value::U16(x) => MetaValue::U64(u64::from(*x)),
        Value::U32(x) => MetaValue::U64(u64::from(*x)),
        Value::U64(x) => MetaValue::U64(*x),
        Value::I8(x) => MetaValue::I64(i64::from(*x)),
        Value::I16(x) => MetaValue::I64(i64::from(*x)),
        Value::I32(x) => MetaValue::I64(i64::from(*x)),
        Value::I64(x) => MetaValue::I64(*x),
        Value::F32(x) => MetaValue::F64(f64::from(*x)),
        Value::F64(x) => MetaValue::F64(*x),
        Value::Bool(x) => MetaValue::Bool(*x),
        Value::String(x) => MetaValue::Str(x.clone()),
        Value::Array(values) => MetaValue::Array(values.iter().map(meta_value).collect()),
    }
}
