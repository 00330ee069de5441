//! How much memory a training needs, part by part, from shapes alone.
//!
//! All values are 32-bit floats (4 bytes) except where it is said. With h = hidden size, i = feed-forward size, q and k =
//! width of all query and of all key heads, L layers, V classes, n trained values, T tokens of a micro-batch and S of them
//! with loss:
//!
//! | part | CPU engine | autograd |
//! |---|---|---|
//! | weights | 4 · parameters; projections 2 bytes in bfloat16; a quantised base as below | the same |
//! | dequantised | 4 · projections of one layer, and 8 MiB of the head | 4 · the largest matrix, head included |
//! | trained | 24 n: values, the backend's copy and gradient, the sum of gradients, two moments | the same |
//! | activations | 4 T L (2h + 2q + 2k + 2i + heads + 7r) | 4 T (L A + A) |
//! | logits | 4 · min(S, 128) · V, plus 8 T (h + i) for rows in work | 12 S V |
//!
//! A is what the graph keeps of one layer and token: (10h + 5q + 7k + 7i) with adapters on all projections,
//! (6h + 3q + 3k + 3i) without. A quantised base has the bytes of its blocks: those of [`Quantization::of_projections`]
//! for projections and of [`Quantization::of_vocabulary`] for all the rest, or the bytes of the model's files where it is
//! kept as stored; "dequantised" is what of it exists as floats at a time. With gradient checkpointing the activations of autograd are 4 T (L h + 2 A). The program
//! itself takes 12 MiB. Full training has no frozen weights beside the trained ones.
//!
//! `the_estimate_is_near_the_measured_peak` in trex-train holds the formula against measured peaks.

use crate::{LoraConfig, ModelFacts, ModuleKey, Precision, Quantization, TargetModules, TrainConfig, TrainMethod};

/// Bytes of a float.
const FLOAT: u64 = 4;

/// What the process takes before it loads anything.
const PROGRAM: u64 = 12 << 20;

/// Values kept per trained value.
const PER_TRAINED: u64 = 6;

/// Rows whose logits the CPU engine has at the same time.
const ENGINE_LOGIT_ROWS: u64 = 128;

/// Copies of the logits that autograd has at the same time.
const LOGIT_COPIES: u64 = 3;

/// What of a quantised head the CPU engine has as floats at the same time.
const ENGINE_HEAD: u64 = 8 << 20;

/// Who computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryBackend {
    /// The hand-written engine of the CPU.
    CpuEngine,
    /// Automatic differentiation.
    Autograd,
}

/// The largest micro-batch of a training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MicroBatch {
    /// Tokens that go through the model.
    pub tokens: u64,
    /// Tokens of them that carry loss.
    pub supervised: u64,
}

/// Bytes by part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryEstimate {
    /// Frozen weights.
    pub weights: u64,
    /// What of quantised weights exists as floats at the same time.
    pub dequantised: u64,
    /// Trained values with gradients and moments.
    pub trained: u64,
    /// What the backward pass needs of the forward pass.
    pub activations: u64,
    /// Logits and their gradients.
    pub logits: u64,
    /// The program itself.
    pub program: u64,
}

impl MemoryEstimate {
    /// All of it.
    pub fn total(&self) -> u64 {
        self.weights + self.dequantised + self.trained + self.activations + self.logits + self.program
    }
}

/// Estimates the peak memory of a training; the formula stands at the top of this file.
pub fn estimate_memory(
    model: &ModelFacts,
    config: &TrainConfig,
    backend: MemoryBackend,
    batch: MicroBatch,
) -> MemoryEstimate {
    let widths = Widths::of(model);
    let trains_all = config.method == TrainMethod::Full;
    let weights = if trains_all { 0 } else { widths.frozen_bytes(model, config, backend) };
    let num_trained = if trains_all { model.num_parameters } else { widths.adapters(model, &config.lora) };
    let per_layer = match backend {
        MemoryBackend::CpuEngine => widths.engine_floats(widths.ranks(model, &config.lora)),
        MemoryBackend::Autograd => widths.autograd_floats(trains_all),
    };
    let activations = match backend {
        MemoryBackend::CpuEngine => widths.layers * per_layer,
        MemoryBackend::Autograd if config.gradient_checkpointing => widths.layers * widths.hidden + 2 * per_layer,
        MemoryBackend::Autograd => (widths.layers + 1) * per_layer,
    };
    let classes = model.vocab_size as u64;
    let logits = match backend {
        MemoryBackend::CpuEngine => {
            batch.supervised.min(ENGINE_LOGIT_ROWS) * classes + 2 * batch.tokens * (widths.hidden + widths.inner)
        }
        MemoryBackend::Autograd => LOGIT_COPIES * batch.supervised * classes,
    };
    let dequantised = match backend {
        _ if config.quantization.is_none() => 0,
        MemoryBackend::CpuEngine => FLOAT * widths.projections() + ENGINE_HEAD,
        MemoryBackend::Autograd => FLOAT * widths.hidden * classes.max(widths.inner),
    };
    MemoryEstimate {
        weights,
        dequantised,
        trained: num_trained * PER_TRAINED * FLOAT,
        activations: batch.tokens * activations * FLOAT,
        logits: logits * FLOAT,
        program: PROGRAM,
    }
}

/// The adapters of a layer: name of the projection, and rank.
fn adapter_ranks(model: &ModelFacts, lora: &LoraConfig, layer: u64) -> Vec<(String, u64)> {
    let every = lora.target_modules == TargetModules::all();
    let names: Vec<String> = match lora.target_modules.names() {
        Ok(_) if every && !model.projections.is_empty() => model.projections.clone(),
        Ok(names) => names.into_iter().map(str::to_owned).collect(),
        Err(_unknown) => Vec::new(),
    };
    let with_rank = |name: String| {
        let rank = lora.rank_of(&ModuleKey::path(layer, &name)) as u64;
        (name, rank)
    };
    names.into_iter().map(with_rank).collect()
}

/// Widths of a model.
struct Widths {
    hidden: u64,
    inner: u64,
    query: u64,
    key: u64,
    heads: u64,
    layers: u64,
}

impl Widths {
    fn of(model: &ModelFacts) -> Self {
        let head = model.head_dim as u64;
        Self {
            hidden: model.hidden_size as u64,
            inner: model.intermediate_size as u64,
            query: model.num_heads as u64 * head,
            key: model.num_kv_heads as u64 * head,
            heads: model.num_heads as u64,
            layers: model.num_layers as u64,
        }
    }

    /// Values of the projections of one layer.
    fn projections(&self) -> u64 {
        self.hidden * (2 * self.query + 2 * self.key + 3 * self.inner)
    }

    /// Bytes of the frozen weights.
    fn frozen_bytes(&self, model: &ModelFacts, config: &TrainConfig, backend: MemoryBackend) -> u64 {
        let (parameters, projections) = (model.num_parameters, self.projections() * self.layers);
        let rest = parameters.saturating_sub(projections);
        let quantization = config.quantization;
        if let (Some(format), Some(vocabulary)) = (quantization.of_projections(), quantization.of_vocabulary()) {
            let bytes = |rows: u64, row: u64| format.bytes_of(rows * row, usize::try_from(row).unwrap_or(0));
            let (hidden, inner, query) = (self.hidden, self.inner, self.query);
            let from_hidden = bytes(query + 2 * self.key + 2 * inner, hidden);
            let layer = from_hidden + bytes(hidden, query) + bytes(hidden, inner);
            return self.layers * layer + vocabulary.bytes_of(rest, model.hidden_size);
        }
        if quantization == Quantization::AsStored {
            return model.weights_bytes.min(FLOAT * parameters);
        }
        let packed = config.precision == Precision::Bf16 && backend == MemoryBackend::CpuEngine;
        let saved = if packed { projections * FLOAT / 2 } else { 0 };
        parameters * FLOAT - saved.min(parameters * 2)
    }

    /// Values of all adapters.
    fn adapters(&self, model: &ModelFacts, lora: &LoraConfig) -> u64 {
        let ends = |name: &str| match name {
            "q_proj" | "o_proj" => self.hidden + self.query,
            "k_proj" | "v_proj" => self.hidden + self.key,
            "qkv_proj" => self.hidden + self.query + 2 * self.key,
            "gate_up_proj" => self.hidden + 2 * self.inner,
            _ => self.hidden + self.inner,
        };
        let of_layer =
            |layer| adapter_ranks(model, lora, layer).iter().map(|(name, rank)| ends(name) * rank).sum::<u64>();
        (0..self.layers).map(of_layer).sum()
    }

    /// Ranks of the adapters of a layer, added up; of the layer that has most.
    fn ranks(&self, model: &ModelFacts, lora: &LoraConfig) -> u64 {
        let of_layer = |layer| adapter_ranks(model, lora, layer).iter().map(|(_, rank)| rank).sum::<u64>();
        (0..self.layers).map(of_layer).max().unwrap_or(0)
    }

    /// What the engine's trace of one layer holds per token.
    fn engine_floats(&self, ranks: u64) -> u64 {
        2 * self.hidden + 2 * self.query + 2 * self.key + 2 * self.inner + self.heads + ranks
    }

    /// What autograd's graph of one layer holds per token.
    fn autograd_floats(&self, trains_all: bool) -> u64 {
        if trains_all {
            return 6 * self.hidden + 3 * self.query + 3 * self.key + 3 * self.inner;
        }
        10 * self.hidden + 5 * self.query + 7 * self.key + 7 * self.inner
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ContentHash;

    fn model() -> ModelFacts {
        ModelFacts {
            name: "m".into(),
            dir: "m".into(),
            hash: ContentHash::of_bytes(b"m"),
            num_parameters: 134_515_008,
            weights_bytes: 98_362_432,
            hidden_size: 576,
            intermediate_size: 1536,
            num_layers: 30,
            num_heads: 9,
            num_kv_heads: 3,
            head_dim: 64,
            vocab_size: 49_152,
            max_position: 8192,
            license: None,
            projections: Vec::new(),
        }
    }

    #[test]
    fn a_quantised_base_has_the_bytes_of_its_blocks() {
        let batch = MicroBatch { tokens: 1024, supervised: 256 };
        let of = |quantization, backend| {
            let config = TrainConfig { quantization, ..TrainConfig::default() };
            estimate_memory(&model(), &config, backend, batch)
        };
        let plain = of(Quantization::None, MemoryBackend::CpuEngine);
        let eight = of(Quantization::Q8_0, MemoryBackend::CpuEngine);
        // 34 bytes for 32 values.
        assert_eq!((plain.dequantised, eight.weights), (0, 134_515_008 / 32 * 34));
        // Rows of 576 values take 22 bytes for 32, those of 1536 take 144 for 256, the vocabulary has eight bits.
        let (narrow, wide) = (30u64 * 576 * (2 * 576 + 2 * 192 + 2 * 1536), 30u64 * 576 * 1536);
        let four = of(Quantization::Q4K, MemoryBackend::CpuEngine);
        let rest = 134_515_008 - narrow - wide;
        assert_eq!(four.weights, narrow / 32 * 22 + wide / 256 * 144 + rest / 32 * 34);
        assert_eq!(of(Quantization::AsStored, MemoryBackend::CpuEngine).weights, 98_362_432);
        assert_eq!(four.dequantised, 4 * 576 * 6144 + (8 << 20));
        assert_eq!(of(Quantization::Q4K, MemoryBackend::Autograd).dequantised, 4 * 576 * 49_152);
        assert_eq!((four.activations, four.trained, four.logits), (plain.activations, plain.trained, plain.logits));
    }

    /// Adapters of rank 8 on all projections of this model have 2 442 240 values (PEFT prints the same).
    #[test]
    fn parts_are_what_the_shapes_say() {
        let batch = MicroBatch { tokens: 1024, supervised: 256 };
        let lora = TrainConfig::default();
        let engine = estimate_memory(&model(), &lora, MemoryBackend::CpuEngine, batch);
        assert_eq!(engine.trained, 2_442_240 * 24);
        assert_eq!(engine.weights, 134_515_008 * 4);
        let graph = estimate_memory(&model(), &lora, MemoryBackend::Autograd, batch);
        assert!(graph.activations > 2 * engine.activations);
        let again = TrainConfig { gradient_checkpointing: true, ..lora.clone() };
        let again = estimate_memory(&model(), &again, MemoryBackend::Autograd, batch);
        assert!(again.activations * 8 < graph.activations);
        let full = TrainConfig { method: TrainMethod::Full, ..lora };
        let full = estimate_memory(&model(), &full, MemoryBackend::Autograd, batch);
        assert_eq!((full.weights, full.trained), (0, 134_515_008 * 24));
    }
}
