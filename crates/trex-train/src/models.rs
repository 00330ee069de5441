//! The registry of models: where they lie, how one enters, and what the rest must know of it.
//!
//! A model enters once: a GGUF file gets its tokenizer, template and shape written beside it as Hugging Face files, so everything after that reads one form. Weights are never changed and, where the file system allows, never copied.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use trex_chat::{ChatModel, GgufTensorFacts, MetaValue};
use trex_domain::{ContentHash, ModelFacts, TargetModules};
use trex_fs::FsError;

use crate::gguf::GgufFile;
use crate::mapped::map_file;
use crate::weights::{self, WeightFiles};
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

/// Looks whether the files of a model folder are there, without reading what a large model would take time to read.
pub fn check_model_files(dir: &Path) -> Result<(), TrainError> {
    find_files(dir).map(drop)
}

pub(crate) fn find_files(dir: &Path) -> Result<WeightFiles, TrainError> {
    for missing in ["config.json", "tokenizer.json"] {
        if !dir.join(missing).is_file() {
            return Err(TrainError::NotAModel { path: dir.to_owned(), missing });
        }
    }
    let files = WeightFiles::find(dir)?;
    for path in files.paths() {
        // A link may be there whose target is not.
        path.metadata().map_err(|err| FsError::io("find", path, err))?;
    }
    Ok(files)
}

/// Reads shape, tokenizer and names of a model folder; an error says what is missing or does not fit.
pub fn model_facts(name: &str, dir: &Path) -> Result<ModelFacts, TrainError> {
    let files = find_files(dir)?;
    let config = ModelConfig::load(&dir.join("config.json"))?;
    let tokenizer = ChatModel::load(dir)?;
    tokenizer.check_fits(config.vocab_size)?;
    check_complete(&files)?;
    let mut weights_bytes = 0;
    for path in files.paths() {
        weights_bytes += std::fs::metadata(path).map_err(|err| FsError::io("look at", path, err))?.len();
    }
    Ok(ModelFacts {
        name: name.to_owned(),
        dir: dir.to_owned(),
        hash: model_hash(dir, &files)?,
        num_parameters: config.num_parameters(),
        weights_bytes,
        hidden_size: config.hidden_size,
        intermediate_size: config.intermediate_size,
        num_layers: config.num_layers,
        num_heads: config.num_heads,
        num_kv_heads: config.num_kv_heads,
        head_dim: config.head_dim,
        vocab_size: config.vocab_size,
        max_position: config.max_position,
        license: license(dir),
        projections: config.target_names(&TargetModules::all())?.into_iter().map(str::to_owned).collect(),
    })
}

/// Notices a truncated or spoiled weight file without reading all of it.
fn check_complete(files: &WeightFiles) -> Result<(), TrainError> {
    match files {
        WeightFiles::Safetensors(paths) => {
            for path in paths {
                weights::parsed(path, &map_file(path)?)?;
            }
            Ok(())
        }
        WeightFiles::Gguf(path) => GgufFile::open(path).map(drop),
    }
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
    let file = GgufFile::open(path)?;
    let files = readable_gguf(&file)?;
    for (name, text) in files.files() {
        trex_fs::write_atomic(&dir.join(name), text.as_bytes())?;
    }
    if let Some(MetaValue::Str(license)) = file.metadata().get("general.license") {
        let card = format!("---\nlicense: {license}\n---\n");
        trex_fs::write_atomic(&dir.join("README.md"), card.as_bytes())?;
    }
    Ok(())
}

/// The Hugging Face files that a GGUF file stands for; an error where it cannot be used.
pub(crate) fn readable_gguf(file: &GgufFile) -> Result<trex_chat::HfFiles, TrainError> {
    Ok(trex_chat::hf_files_from_gguf(file.metadata(), &tensor_facts(file)?)?)
}

/// What the configuration says in Hugging Face files and tensors say in GGUF files.
fn tensor_facts(file: &GgufFile) -> Result<GgufTensorFacts, TrainError> {
    let has = |name: &str| file.tensors().contains_key(name);
    let values = |name: &str| -> Result<Option<Vec<f32>>, TrainError> {
        if !has(name) {
            return Ok(None);
        }
        Ok(Some(file.dequantized(name)?.flatten_all()?.to_vec1()?))
    };
    Ok(GgufTensorFacts {
        has_output_weight: has("output.weight"),
        has_attention_bias: has("blk.0.attn_q.bias"),
        has_mlp_bias: has("blk.0.ffn_up.bias"),
        rope_freqs: values("rope_freqs.weight")?,
        rope_factors_short: values("rope_factors_short.weight")?,
        rope_factors_long: values("rope_factors_long.weight")?,
    })
}
