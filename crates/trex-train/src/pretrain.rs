//! Makes a small model from nothing: full training of a Llama-shaped decoder on a stream of documents.
//!
//! Used for the bundled model only. Not a general pre-training tool: one process, one epoch, everything in memory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{Device, Tensor};
use half::bf16;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::json;
use trex_domain::TrainConfig;

use crate::autograd::parameter;
use crate::batch::TrainBatch;
use crate::decoder::initial_weights;
use crate::layout::TokenTree;
use crate::optimizer::{AdamW, Parameter};
use crate::step::Objective;
use crate::{ModelConfig, TrainError, backend};

/// How a pre-training runs.
#[derive(Clone, Debug)]
pub struct PretrainSettings {
    /// Shape of the model.
    pub config: ModelConfig,
    /// Seed of the initial weights.
    pub seed: u64,
    /// Folder of a model to go on from, with fresh moments; fresh weights where absent.
    pub start: Option<PathBuf>,
    /// Optimiser steps.
    pub steps: usize,
    /// Tokens per step.
    pub tokens_per_step: usize,
    /// Peak learning rate.
    pub learning_rate: f64,
}

/// What a step looked like.
#[derive(Clone, Copy, Debug)]
pub struct PretrainProgress {
    /// Step, from 1.
    pub step: usize,
    /// Mean loss per token in nats.
    pub loss: f64,
    /// Tokens so far.
    pub tokens: usize,
}

/// Trains on documents (token ids, beginning and end tokens included) and returns the weights in Hugging Face names.
///
/// Loss is on every token but the first of a document. The same settings and documents give the same bytes.
pub fn pretrain(
    settings: &PretrainSettings,
    documents: &mut dyn Iterator<Item = Result<Vec<u32>, TrainError>>,
    progress: &mut dyn FnMut(PretrainProgress),
) -> Result<BTreeMap<String, Tensor>, TrainError> {
    let device = Device::Cpu;
    let initial = match &settings.start {
        Some(dir) => crate::weights::load(dir, &settings.config, &device)?,
        None => initial_weights(&settings.config, settings.seed, &device)?,
    };
    let parameters: Vec<Parameter> =
        initial.iter().map(|(name, tensor)| parameter(name.clone(), tensor)).collect::<Result<_, _>>()?;
    let mut backend = backend::open_all(&settings.config, initial, &parameters)?;
    let mut optimizer = AdamW::new(parameters);
    let adam = TrainConfig { weight_decay: 0.1, adam_beta2: 0.95, max_grad_norm: 1.0, ..TrainConfig::default() };
    let mut tokens = 0;
    for step in 0..settings.steps {
        let batch = next_batch(documents, settings.tokens_per_step)?;
        let objective = Objective { divisor: batch.rows.len() as f64, label_smoothing: 0.0 };
        let mut gradients = optimizer.zero_gradients();
        let loss = backend.accumulate(&batch, objective, None, &mut gradients)?;
        let rate = learning_rate_at(step, settings);
        optimizer.step(&mut gradients, &adam, rate, step + 1);
        backend.set_parameters(&optimizer.parameters)?;
        tokens += batch.tree.tokens().len();
        if !loss.is_finite() {
            return Err(TrainError::Diverged { step: step + 1, loss });
        }
        progress(PretrainProgress { step: step + 1, loss, tokens });
    }
    let tensor = |p: Parameter| Ok((p.name, Tensor::from_vec(p.values, p.shape.as_slice(), &device)?));
    optimizer.parameters.into_iter().map(tensor).collect()
}

/// Warm-up over the first 3 %, then the peak, then a linear fall to zero over the last fifth.
///
/// A schedule of its own: the bundled model must come out the same whatever becomes of the schedules that people choose.
fn learning_rate_at(step: usize, settings: &PretrainSettings) -> f64 {
    let warmup = (0.03 * settings.steps as f64).ceil();
    let step = step as f64;
    if step < warmup {
        return settings.learning_rate * (step + 1.0) / (warmup + 1.0);
    }
    let progress = ((step - warmup) / (settings.steps as f64 - warmup).max(1.0)).clamp(0.0, 1.0);
    settings.learning_rate * ((1.0 - progress) / 0.2).min(1.0)
}

/// Takes documents until the batch is full.
fn next_batch(
    documents: &mut dyn Iterator<Item = Result<Vec<u32>, TrainError>>,
    size: usize,
) -> Result<TrainBatch, TrainError> {
    let mut tree = TokenTree::default();
    let (mut rows, mut targets) = (Vec::new(), Vec::new());
    while tree.tokens().len() < size {
        let Some(document) = documents.next().transpose()? else { break };
        if document.len() < 2 {
            continue;
        }
        let read = document.len() - 1;
        let segment = tree.push(None, &document[..read]);
        let first = tree.first_row(segment);
        rows.extend((first..first + read).map(crate::batch::row));
        targets.extend_from_slice(&document[1..]);
    }
    if rows.is_empty() {
        return Err(TrainError::NoRows { path: "documents".into() });
    }
    Ok(TrainBatch { tree, rows, targets: Arc::new(targets) })
}

/// Writes weights (bfloat16) and `config.json` in the plain Hugging Face layout.
pub fn write_hf_model(
    config: &ModelConfig,
    weights: &BTreeMap<String, Tensor>,
    eos: u32,
    pad: u32,
    out: &Path,
) -> Result<(), TrainError> {
    let mut buffers = Vec::with_capacity(weights.len());
    for (name, tensor) in weights {
        let values: Vec<f32> = tensor.flatten_all()?.to_vec1()?;
        let bytes: Vec<u8> = values.iter().flat_map(|x| bf16::from_f32(*x).to_le_bytes()).collect();
        buffers.push((name.clone(), tensor.dims().to_vec(), bytes));
    }
    let path = out.join("model.safetensors");
    let damaged = |source| TrainError::DamagedSafetensors { path: path.clone(), source };
    let mut views = Vec::with_capacity(buffers.len());
    for (name, shape, bytes) in &buffers {
        views.push((name, TensorView::new(Dtype::BF16, shape.clone(), bytes).map_err(damaged)?));
    }
    let metadata = std::iter::once(("format".to_owned(), "pt".to_owned())).collect();
    let bytes = safetensors::serialize(views, Some(metadata)).map_err(damaged)?;
    trex_fs::write_atomic(&path, &bytes)?;
    let json = json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads,
        "head_dim": config.head_dim,
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.max_position,
        "rms_norm_eps": config.rms_norm_eps,
        "rope_theta": config.rope_theta,
        "tie_word_embeddings": config.tie_word_embeddings,
        "attention_bias": false,
        "mlp_bias": false,
        "torch_dtype": "bfloat16",
        "eos_token_id": eos,
        "pad_token_id": pad,
    });
    Ok(trex_fs::write_json(&out.join("config.json"), &json)?)
}
