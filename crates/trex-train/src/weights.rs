//! Reads the weights of a model folder into `f32` tensors under Hugging Face names, and checks every one of them.

use std::collections::BTreeMap;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use candle_core::quantized::gguf_file;
use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;
use serde::Deserialize;

use crate::{ModelConfig, TrainError};

/// The files that hold the weights of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum WeightFiles {
    /// One or more safetensors files, sorted.
    Safetensors(Vec<PathBuf>),
    /// One GGUF file.
    Gguf(PathBuf),
}

impl WeightFiles {
    /// Finds the weights of a folder: `model.safetensors`, its sharded form, or a single `*.gguf`.
    pub(crate) fn find(dir: &Path) -> Result<Self, TrainError> {
        let single = dir.join("model.safetensors");
        if single.is_file() {
            return Ok(Self::Safetensors(vec![single]));
        }
        let index = dir.join("model.safetensors.index.json");
        if index.is_file() {
            return Ok(Self::Safetensors(shards(dir, &index)?));
        }
        let mut ggufs: Vec<_> = std::fs::read_dir(dir)
            .map_err(|err| trex_fs::FsError::io("list", dir, err))?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|ext| ext == "gguf"))
            .collect();
        ggufs.sort();
        match ggufs.into_iter().next() {
            Some(path) => Ok(Self::Gguf(path)),
            None => Err(TrainError::NotAModel { path: dir.to_owned(), missing: "model.safetensors or a GGUF file" }),
        }
    }

    /// All files.
    pub(crate) fn paths(&self) -> Vec<&Path> {
        match self {
            Self::Safetensors(paths) => paths.iter().map(PathBuf::as_path).collect(),
            Self::Gguf(path) => vec![path],
        }
    }
}

/// `model.safetensors.index.json`.
#[derive(Deserialize)]
struct ShardIndex {
    weight_map: BTreeMap<String, String>,
}

fn shards(dir: &Path, index: &Path) -> Result<Vec<PathBuf>, TrainError> {
    let bytes = trex_fs::read(index)?;
    let index: ShardIndex =
        serde_json::from_slice(&bytes).map_err(|source| TrainError::BadConfig { path: index.to_owned(), source })?;
    let names: std::collections::BTreeSet<_> = index.weight_map.into_values().collect();
    for name in &names {
        // A shard name is a plain file name: anything else could leave the folder.
        let is_plain = Path::new(name).file_name().is_some_and(|file| file == name.as_str());
        if !is_plain || !dir.join(name).is_file() {
            return Err(TrainError::NotAModel { path: dir.join(name), missing: "a shard of the index" });
        }
    }
    Ok(names.into_iter().map(|name| dir.join(name)).collect())
}

/// Loads every tensor that the configuration asks for, as `f32` on `device`.
///
/// Tensors that the configuration does not name are passed over.
pub(crate) fn load(dir: &Path, config: &ModelConfig, device: &Device) -> Result<BTreeMap<String, Tensor>, TrainError> {
    let files = WeightFiles::find(dir)?;
    let wanted = config.tensor_shapes();
    let mut tensors = match &files {
        WeightFiles::Safetensors(paths) => load_safetensors(paths, device)?,
        WeightFiles::Gguf(path) => load_gguf(path, config, &wanted, device)?,
    };
    let mut checked = BTreeMap::new();
    for (name, shape) in wanted {
        let tensor = tensors.remove(&name);
        let tensor = tensor.ok_or_else(|| TrainError::MissingTensor { path: dir.to_owned(), name: name.clone() })?;
        if tensor.dims() != shape {
            return Err(TrainError::WrongShape { name, found: tensor.dims().to_vec(), expected: shape });
        }
        check_finite(&name, &tensor)?;
        checked.insert(name, tensor);
    }
    Ok(checked)
}

fn load_safetensors(paths: &[PathBuf], device: &Device) -> Result<BTreeMap<String, Tensor>, TrainError> {
    let mut tensors = BTreeMap::new();
    for path in paths {
        trex_fs::open(path)?;
        let loaded = candle_core::safetensors::load(path, device);
        let loaded = loaded.map_err(|source| TrainError::DamagedWeights { path: path.clone(), source })?;
        let sorted: BTreeMap<_, _> = loaded.into_iter().collect();
        for (name, tensor) in sorted {
            if !tensor.dtype().is_float() {
                return Err(TrainError::UnsupportedDtype { name, dtype: format!("{:?}", tensor.dtype()) });
            }
            tensors.insert(name, tensor.to_dtype(DType::F32)?);
        }
    }
    Ok(tensors)
}

fn load_gguf(
    path: &Path,
    config: &ModelConfig,
    wanted: &[(String, Vec<usize>)],
    device: &Device,
) -> Result<BTreeMap<String, Tensor>, TrainError> {
    let damaged = |source| TrainError::DamagedWeights { path: path.to_owned(), source };
    let mut reader = BufReader::new(trex_fs::open(path)?);
    let content = gguf_file::Content::read(&mut reader).map_err(damaged)?;
    let mut tensors = BTreeMap::new();
    for (name, _) in wanted {
        let stored = gguf_name(name);
        if !content.tensor_infos.contains_key(&stored) {
            return Err(TrainError::MissingTensor { path: path.to_owned(), name: name.clone() });
        }
        let tensor = content.tensor(&mut reader, &stored, device).and_then(|tensor| tensor.dequantize(device));
        let tensor = unpermute(name, tensor.map_err(damaged)?, config)?;
        tensors.insert(name.clone(), tensor);
    }
    Ok(tensors)
}

/// The name of a tensor in a GGUF file of the `llama` architecture (llama.cpp, `gguf-py/gguf/tensor_mapping.py`).
fn gguf_name(name: &str) -> String {
    match name {
        "model.embed_tokens.weight" => return "token_embd.weight".to_owned(),
        "model.norm.weight" => return "output_norm.weight".to_owned(),
        "lm_head.weight" => return "output.weight".to_owned(),
        _ => {}
    }
    let renames = [
        ("model.layers.", "blk."),
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.o_proj", "attn_output"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
        ("input_layernorm", "attn_norm"),
        ("post_attention_layernorm", "ffn_norm"),
    ];
    renames.into_iter().fold(name.to_owned(), |name, (from, to)| name.replace(from, to))
}

/// Undoes the row order of query and key weights: llama.cpp keeps rotary pairs side by side, Hugging Face in halves.
fn unpermute(name: &str, weight: Tensor, config: &ModelConfig) -> Result<Tensor, TrainError> {
    let heads = match name {
        _ if name.contains("q_proj") => config.num_heads,
        _ if name.contains("k_proj") => config.num_kv_heads,
        _ => return Ok(weight),
    };
    let (out, inner) = weight.dims2()?;
    if out != heads * config.head_dim {
        return Ok(weight);
    }
    let pairs = weight.reshape((heads, out / heads / 2, 2, inner))?;
    Ok(pairs.transpose(1, 2)?.contiguous()?.reshape((out, inner))?)
}

fn check_finite(name: &str, tensor: &Tensor) -> Result<(), TrainError> {
    if !tensor.device().is_cpu() {
        return Ok(());
    }
    let finite = crate::ops::with_slices([tensor], |[values]| Ok(values.par_iter().all(|x| x.is_finite())))?;
    if finite { Ok(()) } else { Err(TrainError::NotFinite { name: name.to_owned() }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gguf_names_follow_llama_cpp() {
        let check = |name, expected| assert_eq!(gguf_name(name), expected);
        check("model.embed_tokens.weight", "token_embd.weight");
        check("model.layers.3.self_attn.o_proj.weight", "blk.3.attn_output.weight");
        check("model.layers.11.post_attention_layernorm.weight", "blk.11.ffn_norm.weight");
        check("model.layers.0.input_layernorm.weight", "blk.0.attn_norm.weight");
    }
}
