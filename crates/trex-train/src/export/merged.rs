//! Merged models as Hugging Face folders: weights, configuration, tokenizer, template and card.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::merge::MergedModel;
use super::safetensors_file::{FloatType, PlannedTensor, shards, write_file};
use super::{ExportSource, Exported, copy_tokenizer};
use crate::TrainError;
use crate::trained::TrainedFile;

/// Writes the folder. Sums are computed in `f32` and rounded once.
pub(super) fn write(
    source: &ExportSource<'_>,
    dtype: Option<FloatType>,
    max_shard_bytes: u64,
    out: &Path,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Exported, TrainError> {
    let (config, trained) = source.load()?;
    let mut model = MergedModel::open(source.model_dir, &config, &trained, source.card.quantization)?;
    let dtype = dtype.unwrap_or_else(|| model.float_type());
    let tensors: Vec<PlannedTensor> = model.tensors().to_vec();
    let total = tensors.len();
    let files = shards(dtype, tensors, max_shard_bytes);
    let mut done = 0;
    for (index, tensors) in files.iter().enumerate() {
        let name = shard_name(index, files.len());
        write_file(&out.join(name), dtype, tensors, &mut |tensor| {
            let bytes =
                model.encoded(&tensor.name, |weight| Ok(dtype.encode(&weight.flatten_all()?.to_vec1::<f32>()?)));
            done += 1;
            progress(done, total);
            bytes
        })?;
    }
    model.check_effect(source.adapter)?;
    if files.len() > 1 {
        trex_fs::write_json(&out.join("model.safetensors.index.json"), &index(dtype, &files))?;
    }
    let base = read_object(&source.model_dir.join("config.json"))?;
    trex_fs::write_json(&out.join("config.json"), &merged_config(base.clone(), dtype))?;
    write_generation_config(source.model_dir, &base, out)?;
    copy_tokenizer(source.model_dir, out)?;
    let mut card = source.card.clone();
    if model.is_quantised() {
        card.notes.push(
            "The base was quantised: its weights were dequantised, what was trained came on top of those, and that is \
             what this folder holds."
                .to_owned(),
        );
    }
    let tags: &[&str] = if matches!(trained, TrainedFile::Weights(_)) { &["full"] } else { &["lora", "merged"] };
    trex_fs::write_atomic(&out.join("README.md"), card.markdown("transformers", tags).as_bytes())?;
    Ok(Exported { weights: out.to_owned(), encoding: dtype.torch_name().to_owned(), warnings: Vec::new() })
}

/// `model.safetensors`, or `model-00001-of-00003.safetensors`.
fn shard_name(index: usize, count: usize) -> String {
    if count <= 1 {
        return "model.safetensors".to_owned();
    }
    format!("model-{:05}-of-{count:05}.safetensors", index + 1)
}

/// `model.safetensors.index.json`.
fn index(dtype: FloatType, files: &[Vec<PlannedTensor>]) -> Value {
    let mut weight_map = BTreeMap::new();
    let mut total_parameters = 0u64;
    for (index, tensors) in files.iter().enumerate() {
        for tensor in tensors {
            weight_map.insert(tensor.name.clone(), shard_name(index, files.len()));
            total_parameters += tensor.shape.iter().map(|n| *n as u64).product::<u64>();
        }
    }
    let total_size = total_parameters * dtype.size_bytes();
    json!({
        "metadata": {"total_parameters": total_parameters, "total_size": total_size},
        "weight_map": weight_map,
    })
}

/// The base's configuration with the number format of what was written, and no word of a quantisation that is gone.
fn merged_config(mut config: Map<String, Value>, dtype: FloatType) -> Value {
    config.remove("quantization_config");
    let mut named = false;
    for key in ["torch_dtype", "dtype"] {
        if let Some(value) = config.get_mut(key) {
            *value = json!(dtype.torch_name());
            named = true;
        }
    }
    if !named {
        config.insert("torch_dtype".to_owned(), json!(dtype.torch_name()));
    }
    Value::Object(config)
}

/// The base's file, or what its `config.json` says of generation.
fn write_generation_config(model_dir: &Path, config: &Map<String, Value>, out: &Path) -> Result<(), TrainError> {
    let source = model_dir.join("generation_config.json");
    let target = out.join("generation_config.json");
    if source.is_file() {
        return Ok(trex_fs::write_atomic(&target, &trex_fs::read(&source)?)?);
    }
    let known = ["bos_token_id", "eos_token_id", "pad_token_id"].into_iter();
    let ids = known.filter_map(|key| Some((key.to_owned(), config.get(key).filter(|id| !id.is_null())?.clone())));
    let mut generation: Map<String, Value> = ids.collect();
    generation.insert("_from_model_config".to_owned(), json!(true));
    Ok(trex_fs::write_json(&target, &Value::Object(generation))?)
}

fn read_object(path: &Path) -> Result<Map<String, Value>, TrainError> {
    let bytes = trex_fs::read(path)?;
    serde_json::from_slice(&bytes).map_err(|source| TrainError::BadConfig { path: path.to_owned(), source })
}
