//! Times optimiser steps on made-up tokens, for `cargo xtask bench train`. Not used by any run.
//!
//! The tokens, the supervised share and the optimiser are those of the peer script of the benchmark, so the losses can be
//! compared with it as well as the times.

mod eval;

pub use self::eval::{EvalPlan, EvalTimes, measure_eval};

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use candle_core::Device;
use serde::Serialize;
use trex_domain::{Backend, LoraConfig, Precision, Quantization, SchedulerType, TrainConfig};

use crate::autograd::{Autograd, adapter_parameters};
use crate::backend::{Numbers, load_weights};
use crate::batch::{TrainBatch, row};
use crate::decoder::Decoder;
use crate::device::Placement;
use crate::engine::CpuEngine;
use crate::layout::TokenTree;
use crate::lora::Adapter;
use crate::optimizer::AdamW;
use crate::step::{Objective, TrainStep};
use crate::usage::peak_rss_bytes;
use crate::{ModelConfig, TrainError};

/// What is timed.
#[derive(Clone, Copy, Debug)]
pub struct StepPlan {
    /// Sequences of a batch.
    pub batch: usize,
    /// Tokens of a sequence.
    pub seq: usize,
    /// Optimiser steps.
    pub steps: usize,
    /// Rank of the adapters on all linear layers.
    pub rank: usize,
    /// Share of each sequence, from its end, that carries loss.
    pub supervised: f64,
    /// Number format.
    pub precision: Precision,
    /// Number format of the frozen base.
    pub quantization: Quantization,
    /// Who computes.
    pub backend: Backend,
}

/// What came of it.
#[derive(Clone, Debug, Serialize)]
pub struct StepTimes {
    /// Loss of each step in nats.
    pub losses: Vec<f64>,
    /// Seconds of each step, optimiser included.
    pub seconds: Vec<f64>,
    /// Tokens of a step.
    pub tokens: usize,
    /// Trained numbers.
    pub trainable: usize,
    /// Largest resident memory in bytes.
    pub peak_rss_bytes: u64,
    /// Largest resident memory up to when the weights were loaded, in bytes.
    pub loaded_rss_bytes: u64,
    /// Bytes of the frozen weights, where the engine holds them.
    pub weights_bytes: usize,
}

/// Trains for some steps on the same batch and times each.
pub fn measure_steps(model_dir: &Path, plan: &StepPlan) -> Result<StepTimes, TrainError> {
    let config = ModelConfig::load(&model_dir.join("config.json"))?;
    let lora = LoraConfig { r: plan.rank, lora_alpha: 2 * plan.rank, ..LoraConfig::default() };
    let adapter = Adapter::new(&config, &lora, 0, &Device::Cpu)?;
    let mut optimizer = AdamW::new(adapter_parameters(&adapter)?);
    let numbers = Numbers { precision: plan.precision, quantization: plan.quantization };
    let weights = load_weights(model_dir, &config, numbers, plan.backend, &Placement::cpu())?;
    let loaded_rss_bytes = peak_rss_bytes();
    let mut weights_bytes = 0;
    let mut backend: Box<dyn TrainStep> = if plan.backend == Backend::Autograd {
        Box::new(Autograd::with_adapter(Decoder::frozen(config.clone(), weights, &Device::Cpu)?, &adapter)?)
    } else {
        let engine = CpuEngine::new(config.clone(), weights, &optimizer.parameters, &lora, numbers.bf16())?;
        weights_bytes = engine.weights_bytes();
        Box::new(engine)
    };
    let settings = TrainConfig {
        learning_rate: 2e-4,
        lr_scheduler_type: SchedulerType::Constant,
        warmup_ratio: 0.0,
        max_grad_norm: 0.0,
        ..TrainConfig::default()
    };
    let batch = made_up_batch(plan, config.vocab_size);
    let objective = Objective { divisor: batch.rows.len() as f64, label_smoothing: 0.0 };
    let (mut losses, mut seconds) = (Vec::new(), Vec::new());
    for step in 0..plan.steps {
        let start = Instant::now();
        let mut gradients = optimizer.zero_gradients();
        losses.push(backend.accumulate(&batch, objective, None, &mut gradients)?);
        optimizer.step(&mut gradients, &settings, settings.learning_rate, step + 1);
        backend.set_parameters(&optimizer.parameters)?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    let trainable = optimizer.parameters.iter().map(|parameter| parameter.values.len()).sum();
    let tokens = plan.batch * plan.seq;
    let peak_rss_bytes = peak_rss_bytes();
    Ok(StepTimes { losses, seconds, tokens, trainable, peak_rss_bytes, loaded_rss_bytes, weights_bytes })
}

/// What products of square matrices of 2048 rows reach on all threads, in GFLOP/s by number format.
pub fn measure_products() -> BTreeMap<&'static str, f64> {
    crate::engine::product_rates(2048)
}

fn made_up_batch(plan: &StepPlan, vocabulary: usize) -> TrainBatch {
    let classes = vocabulary.saturating_sub(200).max(1);
    let ids: Vec<u32> =
        (0..plan.batch * plan.seq).map(|i| row((i * 7919 + 13) % classes + 100.min(vocabulary / 2))).collect();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a sequence")]
    let first = ((1.0 - plan.supervised) * plan.seq as f64) as usize;
    let mut tree = TokenTree::default();
    let (mut rows, mut targets) = (Vec::new(), Vec::new());
    for (index, sequence) in ids.chunks(plan.seq).enumerate() {
        tree.push(None, sequence);
        for at in first..plan.seq - 1 {
            rows.push(row(index * plan.seq + at));
            targets.push(sequence[at + 1]);
        }
    }
    TrainBatch { tree, rows, targets: Arc::new(targets) }
}
