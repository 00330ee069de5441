//! Reads GGUF adapters, ours and those of llama.cpp's `convert_lora_to_gguf.py`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::BufReader;
use std::path::Path;

use candle_core::quantized::gguf_file::{self, Value};
use candle_core::{DType, Device, Tensor};
use trex_domain::{LoraConfig, TargetModules};

use crate::export::gguf::layout::{Layout, unpermute};
use crate::lora::{Adapter, LoraPair, rescaled, target_modules};
use crate::{ModelConfig, TrainError};

/// Reads the adapter and checks names and shapes against the model.
pub(crate) fn load(path: &Path, config: &ModelConfig, device: &Device) -> Result<Adapter, TrainError> {
    let damaged = |source| TrainError::DamagedWeights { path: path.to_owned(), source };
    let mut reader = BufReader::new(trex_fs::open(path)?);
    let content = gguf_file::Content::read(&mut reader).map_err(damaged)?;
    let layout = layout_of(path, &content, config)?;
    let alpha = check_kind(path, &content)?;
    let names: BTreeSet<&str> = content.tensor_infos.keys().filter_map(|name| name.strip_suffix(".lora_a")).collect();
    let mut pairs = BTreeMap::new();
    for stored in names {
        let unknown = || TrainError::Mismatch { path: path.to_owned(), why: format!("{stored} names no layer") };
        let module = layout.module(stored).ok_or_else(unknown)?;
        let mut read = |ending: &str| -> Result<Tensor, TrainError> {
            let tensor = content.tensor(&mut reader, &format!("{stored}.{ending}"), &Device::Cpu);
            let tensor = tensor.and_then(|tensor| tensor.dequantize(&Device::Cpu)).map_err(damaged)?;
            Ok(tensor.to_dtype(DType::F32)?)
        };
        let (a, mut b) = (read("lora_a")?, read("lora_b")?);
        if let Some(heads) = layout.rotated_heads(&format!("{module}.weight")) {
            b = unpermute(&b, heads)?;
        }
        pairs.insert(module, LoraPair { a: a.to_device(device)?, b: b.to_device(device)? });
    }
    let lora = shape_of(path, &pairs, alpha)?;
    check_shapes(path, config, &lora, &pairs)?;
    for (module, pair) in &mut pairs {
        pair.b = rescaled(&pair.b, alpha / lora.rank_of(module) as f64 / lora.scale_of(module))?;
    }
    Ok(Adapter { config: lora, pairs })
}

fn layout_of(path: &Path, content: &gguf_file::Content, config: &ModelConfig) -> Result<Layout, TrainError> {
    let architecture = text(content, "general.architecture").unwrap_or_default();
    let described = serde_json::json!({
        "model_type": architecture,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads,
    });
    Layout::of_config(&described).map_err(|_unknown| TrainError::UnsupportedAdapter {
        path: path.to_owned(),
        why: format!("its architecture {architecture:?} is not known"),
    })
}

fn text<'c>(content: &'c gguf_file::Content, key: &str) -> Option<&'c str> {
    match content.metadata.get(key) {
        Some(Value::String(text)) => Some(text),
        _ => None,
    }
}

/// Checks that it is a LoRA adapter and returns its alpha.
fn check_kind(path: &Path, content: &gguf_file::Content) -> Result<f64, TrainError> {
    let refuse = |why: String| Err(TrainError::UnsupportedAdapter { path: path.to_owned(), why });
    for (key, expected) in [("general.type", "adapter"), ("adapter.type", "lora")] {
        let found = text(content, key).unwrap_or("nothing");
        if found != expected {
            return refuse(format!("{key} is {found}, not {expected}"));
        }
    }
    match content.metadata.get("adapter.lora.alpha") {
        Some(Value::F32(alpha)) if *alpha > 0.0 => Ok(f64::from(*alpha)),
        other => refuse(format!("adapter.lora.alpha is {other:?}, not a number above 0")),
    }
}

/// The configuration that gives the file's scale, which is alpha / rank, with the rank of each pair.
fn shape_of(path: &Path, pairs: &BTreeMap<String, LoraPair>, alpha: f64) -> Result<LoraConfig, TrainError> {
    let rank_of = |pair: &LoraPair| pair.a.dims().first().copied().unwrap_or(0);
    let ranks: BTreeMap<&str, usize> = pairs.iter().map(|(module, pair)| (module.as_str(), rank_of(pair))).collect();
    let Some(rank) = most_frequent(ranks.values().copied()) else {
        let why = "it has no pair of matrices".to_owned();
        return Err(TrainError::UnsupportedAdapter { path: path.to_owned(), why });
    };
    let (lora_alpha, use_rslora) = whole_alpha(alpha, rank).ok_or_else(|| TrainError::UnsupportedAdapter {
        path: path.to_owned(),
        why: format!("its alpha {alpha} is not a whole number, with or without the factor √r"),
    })?;
    let names: BTreeSet<String> = pairs.keys().map(|module| last_part(module).to_owned()).collect();
    Ok(LoraConfig {
        r: rank,
        lora_alpha,
        lora_dropout: 0.0,
        target_modules: TargetModules::List(names.into_iter().collect()),
        use_rslora,
        rank_pattern: pattern_of(&ranks, rank),
        alpha_pattern: BTreeMap::new(),
    })
}

/// The value that stands there most often; of several the largest.
fn most_frequent(values: impl Iterator<Item = usize>) -> Option<usize> {
    let mut counts = BTreeMap::<usize, usize>::new();
    for value in values {
        *counts.entry(value).or_default() += 1;
    }
    counts.into_iter().max_by_key(|(value, count)| (*count, *value)).map(|(value, _)| value)
}

/// Ranks that differ from the general one: by name of the projection where all layers agree, else by path.
fn pattern_of(ranks: &BTreeMap<&str, usize>, general: usize) -> BTreeMap<String, usize> {
    let mut by_name = BTreeMap::<&str, BTreeSet<usize>>::new();
    for (module, rank) in ranks {
        by_name.entry(last_part(module)).or_default().insert(*rank);
    }
    let differing = ranks.iter().filter(|(_, rank)| **rank != general);
    let key = |module: &str| {
        let agree = by_name.get(last_part(module)).is_some_and(|ranks| ranks.len() == 1);
        if agree { last_part(module) } else { module }.to_owned()
    };
    differing.map(|(module, rank)| (key(module), *rank)).collect()
}

fn last_part(module: &str) -> &str {
    module.rsplit('.').next().unwrap_or(module)
}

/// Alpha as a whole number: itself, or divided by √r, as rank-stabilised adapters are written.
fn whole_alpha(alpha: f64, rank: usize) -> Option<(usize, bool)> {
    let whole = |value: f64| {
        let near = (value - value.round()).abs() <= 1e-4 * value && value.round() >= 1.0;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "rounded and at least 1")]
        near.then_some(value.round() as usize)
    };
    whole(alpha).map(|alpha| (alpha, false)).or_else(|| Some((whole(alpha / (rank as f64).sqrt())?, true)))
}

fn check_shapes(
    path: &Path,
    config: &ModelConfig,
    lora: &LoraConfig,
    pairs: &BTreeMap<String, LoraPair>,
) -> Result<(), TrainError> {
    let wanted = target_modules(config, lora)?;
    for (module, (out, inner)) in &wanted {
        let missing = || TrainError::MissingTensor { path: path.to_owned(), name: format!("{module} lora_a") };
        let pair = pairs.get(module).ok_or_else(missing)?;
        let (a, b) = (pair.a.dims(), pair.b.dims());
        let rank = lora.rank_of(module);
        if a != [rank, *inner] || b != [*out, rank] {
            let why = format!("{module} has A {a:?} and B {b:?}, this model needs A (r, {inner}) and B ({out}, r)");
            return Err(TrainError::Mismatch { path: path.to_owned(), why });
        }
    }
    if wanted.len() != pairs.len() {
        let why = format!("it adapts {} layers, this model has {} of those names", pairs.len(), wanted.len());
        return Err(TrainError::Mismatch { path: path.to_owned(), why });
    }
    Ok(())
}
