//! The hand-written CPU engine: forward and backward pass over reused buffers, for what people train on CPUs.
//!
//! It takes low-rank adapters on every supported family and all weights of a plain Llama; [`CpuEngine::refusal`] says
//! why it leaves anything else to [`crate::autograd`], against which the tests hold it. Work is shared out in blocks of
//! rows, heads and columns that depend on the batch alone, and every sum has a fixed order, so the number of threads
//! changes no bit. All buffers are kept between steps.

mod adapters;
#[cfg(target_arch = "x86_64")]
mod amx;
mod attention;
mod backward;
mod blocks;
mod dense;
mod few;
mod forward;
mod frozen;
mod full;
mod head;
mod inference;
mod math;
mod model;
mod pack;
mod peak;
mod product;
mod simd;

use trex_domain::LoraConfig;

use self::attention::{Scene, TreeRange};
use self::backward::Buffers;
use self::blocks::{Pool, room};
pub(crate) use self::dense::PackedLinear;
use self::forward::{Rooms, Ropes, Setting, Trace};
use self::full::Places;
use self::head::{Head, HeadBuffers, HeadGradients, PackedHead};
pub(crate) use self::math::{bias_gelu as bias_gelu_row, softmax as softmax_row};
use self::model::{LayerAdapters, Weights};
pub(crate) use self::peak::product_rates;
pub(crate) use self::simd::Level;
use crate::batch::TrainBatch;
use crate::decoder::Dropout;
use crate::layout::Segment;
use crate::ops::{HeadShape, single};
use crate::optimizer::{Gradients, Parameter};
use crate::step::{Needs, Objective, TrainStep, Weigh};
use crate::weights::FrozenWeights;
use crate::{Architecture, ModelConfig, Rope, TrainError, Variant};

/// A frozen model with adapters, ready for steps.
#[derive(Debug)]
pub(crate) struct CpuEngine {
    config: ModelConfig,
    level: Level,
    weights: Weights,
    packed_head: Option<PackedHead>,
    adapters: Vec<LayerAdapters>,
    /// Where the weights lie among the parameters, when they are trained themselves.
    trained: Option<Places>,
    rooms: Rooms,
    traces: Vec<Trace>,
    buffers: Buffers,
    head_buffers: HeadBuffers,
    pool: Pool,
}

impl CpuEngine {
    /// Why the engine leaves a job to autograd; `None` when it takes it.
    pub(crate) fn refusal(config: &ModelConfig, needs: Needs) -> Option<String> {
        let takes_all = needs.all_weights && is_plain_llama(config);
        let needs = Needs { all_weights: needs.all_weights && !takes_all, ..needs };
        needs.first().map(str::to_owned)
    }

    /// Takes the weights of a model and the adapters that are trained, named as in PEFT and scaled as `lora` says. Weights in
    /// blocks are multiplied in single precision.
    pub(crate) fn new(
        config: ModelConfig,
        weights: impl Into<FrozenWeights>,
        parameters: &[Parameter],
        lora: &LoraConfig,
        bf16: bool,
    ) -> Result<Self, TrainError> {
        let level = Level::detect();
        let weights: FrozenWeights = weights.into();
        let packs = bf16 && level.has_bf16() && weights.blocks.is_empty();
        let weights = Weights::new(&config, weights, packs)?;
        let head = weights.head().floats().filter(|_| packs);
        let packed_head = head.map(|head| PackedHead::new(head, config.vocab_size, config.hidden_size));
        let adapters = model::layer_adapters(&config, parameters, lora);
        let traces = (0..config.num_layers).map(|_| Trace::default()).collect();
        Ok(Self {
            config,
            level,
            weights,
            packed_head,
            adapters,
            trained: None,
            rooms: Rooms::default(),
            traces,
            buffers: Buffers::default(),
            head_buffers: HeadBuffers::default(),
            pool: Pool::default(),
        })
    }

    /// Takes a model whose weights are all trained; `parameters` hold every one of them under its name.
    pub(crate) fn with_all_weights(
        config: ModelConfig,
        weights: impl Into<FrozenWeights>,
        parameters: &[Parameter],
    ) -> Result<Self, TrainError> {
        let trained = Places::find(&config, parameters);
        let missing = || TrainError::MissingTensor { path: "parameters".into(), name: "a weight".to_owned() };
        Ok(Self {
            trained: Some(trained.ok_or_else(missing)?),
            ..Self::new(config, weights, &[], &LoraConfig::default(), false)?
        })
    }

    /// The shape of the model.
    pub(crate) fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Bytes that the frozen weights take.
    pub(crate) fn weights_bytes(&self) -> usize {
        self.weights.size_bytes()
    }
}

fn scene<'a>(
    config: &ModelConfig,
    level: Level,
    segments: &'a [Segment],
    trees: &'a [TreeRange],
    tokens: usize,
) -> Scene<'a> {
    let shape = HeadShape {
        num_heads: config.num_heads,
        num_kv_heads: config.num_kv_heads,
        head_dim: config.head_dim,
        scale: single(config.attention_scale()),
        window: None,
    };
    Scene { level, shape, segments, trees, tokens }
}

/// Fills the input of the first layer.
fn embed(weights: &Weights, config: &ModelConfig, tokens: &[u32], trace: &mut Trace) {
    let hidden = config.hidden_size;
    let x = room(&mut trace.x, tokens.len() * hidden);
    for (token, row) in tokens.iter().zip(x.chunks_mut(hidden)) {
        weights.embedding.copy_row(*token as usize, row);
        if let Some(scale) = config.variant.embedding_scale {
            for x in row.iter_mut() {
                *x *= scale;
            }
        }
    }
}

fn head<'a>(weights: &'a Weights, packed: Option<&'a PackedHead>, config: &ModelConfig) -> Head<'a> {
    Head { norm: &weights.norm, weight: weights.head(), packed, vocabulary: config.vocab_size }
}

/// Whether nothing but the stock Llama block is asked for; how projections are cut and positions rotated is free.
fn is_plain_llama(config: &ModelConfig) -> bool {
    let variant = config.variant.clone();
    let free = Variant {
        architecture: Architecture::default(),
        fused_projections: false,
        attention_scale: None,
        rope: Rope::default(),
        ..variant
    };
    free == Variant::default()
}

impl TrainStep for CpuEngine {
    fn accumulate(
        &mut self,
        batch: &TrainBatch,
        objective: Objective,
        _dropout: Option<Dropout>,
        gradients: &mut Gradients,
    ) -> Result<f64, TrainError> {
        let segments = batch.tree.segments();
        let trees = attention::trees(&segments);
        let ropes = Ropes::new(&self.config, batch.tree.positions());
        let scene = scene(&self.config, self.level, &segments, &trees, batch.tree.tokens().len());
        let setting = Setting::new(&self.config, &ropes, scene, &self.pool);
        embed(&self.weights, &self.config, batch.tree.tokens(), &mut self.traces[0]);
        let wanted: Vec<usize> = batch.rows.iter().map(|row| *row as usize).collect();
        debug_assert!(wanted.is_sorted_by(|a, b| a < b), "rows of a batch are in order, each once");
        let last = forward::layers(
            &setting,
            &self.weights,
            &self.adapters,
            &mut self.rooms,
            &mut self.traces,
            &wanted,
            &mut |setting, _, trace| forward::mix_trees(setting, trace),
        );
        let head = head(&self.weights, self.packed_head.as_ref(), &self.config);
        let mut grad = vec![0.0; last.len()];
        let mut of_head = self.trained.as_ref().map(|places| gradients.two(places.head(), places.norm));
        let mut of_head = of_head.as_mut().map(|(weight, norm)| HeadGradients { weight, norm });
        let loss = head::loss(
            &setting,
            &head,
            &last,
            &batch.targets,
            objective,
            &mut self.head_buffers,
            &mut grad,
            of_head.as_mut(),
        );
        backward::layers(
            &setting,
            &self.weights,
            &self.adapters,
            &mut self.rooms,
            &self.traces,
            &wanted,
            grad,
            &mut self.buffers,
            self.trained.as_ref(),
            gradients,
        );
        if let Some(places) = &self.trained {
            let sums = &mut gradients.values[places.embedding];
            full::add_embedding(&setting, batch.tree.tokens(), &self.buffers.grad, sums);
        }
        Ok(loss)
    }

    fn accumulate_weighed(
        &mut self,
        _batch: &TrainBatch,
        _weigh: Weigh<'_>,
        _dropout: Option<Dropout>,
        _gradients: &mut Gradients,
    ) -> Result<f64, TrainError> {
        // `refusal` hands such jobs over before they come here.
        Err(candle_core::Error::Msg("the engine takes no losses on preference pairs".to_owned()).into())
    }

    fn row_losses(&mut self, batch: &TrainBatch) -> Result<Vec<f64>, TrainError> {
        let needed: Vec<(usize, u32)> = batch.targets.iter().copied().enumerate().collect();
        let log_probs = self.log_probs(&batch.tree, &batch.rows, &needed);
        Ok(log_probs.into_iter().map(|log_prob| -log_prob).collect())
    }

    fn set_parameters(&mut self, parameters: &[Parameter]) -> Result<(), TrainError> {
        if let Some(places) = &self.trained {
            self.weights.take(places, parameters);
            return Ok(());
        }
        for layer in &mut self.adapters {
            layer.take(parameters);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
