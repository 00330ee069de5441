//! The weights of a model as the CPU engine keeps them, and which models it takes.

use candle_core::Tensor;
use trex_domain::LoraConfig;

use super::adapters::{Module, StackAdapters, index_by_module};
use super::frozen::{Stack, Table};
use super::full::Places;
use crate::blocks::Matrix;
use crate::ops::single;
use crate::optimizer::Parameter;
use crate::weights::FrozenWeights;
use crate::{ModelConfig, TrainError};

/// One block: what is frozen.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) input_norm: Vec<f32>,
    /// Of the queries and keys of every head.
    pub(super) head_norms: Option<[Vec<f32>; 2]>,
    /// Of what attention adds to the residual stream.
    pub(super) attention_norm: Option<Vec<f32>>,
    /// Before the feed-forward part.
    pub(super) post_norm: Vec<f32>,
    /// Of what the feed-forward part adds.
    pub(super) output_norm: Option<Vec<f32>>,
    pub(super) qkv: Stack,
    pub(super) o: Stack,
    pub(super) gate_up: Stack,
    pub(super) down: Stack,
}

/// One block: what is trained.
#[derive(Clone, Debug)]
pub(super) struct LayerAdapters {
    pub(super) qkv: StackAdapters,
    pub(super) o: StackAdapters,
    pub(super) gate_up: StackAdapters,
    pub(super) down: StackAdapters,
}

impl LayerAdapters {
    fn all(&mut self) -> [&mut StackAdapters; 4] {
        [&mut self.qkv, &mut self.o, &mut self.gate_up, &mut self.down]
    }

    /// Takes new values.
    pub(super) fn take(&mut self, parameters: &[Parameter]) {
        self.all().into_iter().for_each(|adapters| adapters.take(parameters));
    }
}

/// All frozen weights.
#[derive(Debug)]
pub(super) struct Weights {
    /// (vocabulary, hidden).
    pub(super) embedding: Table,
    pub(super) layers: Vec<Layer>,
    pub(super) norm: Vec<f32>,
    /// The output projection where it is not the embedding.
    pub(super) head: Option<Table>,
}

impl Weights {
    /// Takes the weights of a model.
    pub(super) fn new(config: &ModelConfig, mut weights: FrozenWeights, bf16: bool) -> Result<Self, TrainError> {
        let floats = |tensor: Tensor| -> Result<Vec<f32>, TrainError> { Ok(tensor.flatten_all()?.to_vec1()?) };
        let embedding = Table::new(weights.take_matrix("model.embed_tokens.weight")?)?;
        let mut layers = Vec::with_capacity(config.num_layers);
        for layer in 0..config.num_layers {
            let variant = &config.variant;
            let mut stack = |names: &[(&str, (usize, usize))], has_bias: bool| -> Result<Stack, TrainError> {
                let mut matrices: Vec<Matrix> = Vec::with_capacity(names.len());
                let mut bias = Vec::new();
                for (name, _) in names {
                    matrices.push(weights.take_matrix(&format!("model.layers.{layer}.{name}.weight"))?);
                    if has_bias {
                        bias.extend(floats(weights.take(&format!("model.layers.{layer}.{name}.bias"))?)?);
                    }
                }
                Ok(Stack::new(matrices, bf16)?.with_bias(has_bias.then_some(bias)))
            };
            let [qkv, o, gate_up, down] = stacks(config);
            let (qkv, o) = (stack(&qkv, variant.qkv_bias)?, stack(&o, variant.output_bias)?);
            let (gate_up, down) = (stack(&gate_up, variant.mlp_bias)?, stack(&down, variant.mlp_bias)?);
            let mut norm = |name: &str| floats(weights.take(&format!("model.layers.{layer}.{name}.weight"))?);
            let input_norm = norm("input_layernorm")?;
            let (mut attention_norm, mut post_norm, mut output_norm) = (None, norm("post_attention_layernorm")?, None);
            if variant.sandwich_norms {
                attention_norm = Some(std::mem::replace(&mut post_norm, norm("pre_feedforward_layernorm")?));
                output_norm = Some(norm("post_feedforward_layernorm")?);
            }
            let mut head_norms = None;
            if variant.qk_norm {
                head_norms = Some([norm("self_attn.q_norm")?, norm("self_attn.k_norm")?]);
            }
            layers.push(Layer {
                input_norm,
                head_norms,
                attention_norm,
                post_norm,
                output_norm,
                qkv,
                o,
                gate_up,
                down,
            });
        }
        let norm = floats(weights.take("model.norm.weight")?)?;
        let is_tied = config.tie_word_embeddings;
        let head = if is_tied { None } else { Some(Table::new(weights.take_matrix("lm_head.weight")?)?) };
        Ok(Self { embedding, layers, norm, head })
    }

    /// Takes new values of all weights.
    pub(super) fn take(&mut self, places: &Places, parameters: &[Parameter]) {
        let copy = |from: usize, to: &mut Vec<f32>| to.copy_from_slice(&parameters[from].values);
        self.embedding.set(&parameters[places.embedding].values);
        copy(places.norm, &mut self.norm);
        if let (Some(place), Some(head)) = (places.head, &mut self.head) {
            head.set(&parameters[place].values);
        }
        for (layer, places) in self.layers.iter_mut().zip(&places.layers) {
            copy(places.input_norm, &mut layer.input_norm);
            copy(places.post_norm, &mut layer.post_norm);
            let stacks = [
                (&mut layer.qkv, &places.qkv),
                (&mut layer.o, &places.o),
                (&mut layer.gate_up, &places.gate_up),
                (&mut layer.down, &places.down),
            ];
            for (stack, places) in stacks {
                for (part, place) in places.iter().enumerate() {
                    stack.set(part, &parameters[*place].values);
                }
            }
        }
    }

    /// The output projection, (vocabulary, hidden).
    pub(super) fn head(&self) -> &Table {
        self.head.as_ref().unwrap_or(&self.embedding)
    }

    /// Bytes of all weights.
    pub(super) fn size_bytes(&self) -> usize {
        let layer = |layer: &Layer| {
            [&layer.qkv, &layer.o, &layer.gate_up, &layer.down].map(Stack::size_bytes).iter().sum::<usize>()
        };
        self.embedding.size_bytes()
            + self.head.as_ref().map_or(0, Table::size_bytes)
            + self.layers.iter().map(layer).sum::<usize>()
    }
}

/// The adapters of all layers.
pub(super) fn layer_adapters(config: &ModelConfig, parameters: &[Parameter], lora: &LoraConfig) -> Vec<LayerAdapters> {
    let index = index_by_module(parameters);
    let layer = |number: usize| {
        let [qkv, o, gate_up, down] = stacks(config).map(|projections| {
            let inner = projections.first().map_or(0, |(_, (_, inner))| *inner);
            let module = |(path, (out, _)): &(&str, (usize, usize))| {
                let path = format!("model.layers.{number}.{path}");
                Module { out: *out, parameter: index.get(&path).copied(), scale: single(lora.scale_of(&path)) }
            };
            StackAdapters::new(inner, &projections.iter().map(module).collect::<Vec<_>>(), parameters)
        });
        LayerAdapters { qkv, o, gate_up, down }
    };
    (0..config.num_layers).map(layer).collect()
}

/// Module path and (out, in) of the projections of each stack of a layer.
pub(super) fn stacks(config: &ModelConfig) -> [Vec<(&'static str, (usize, usize))>; 4] {
    let shapes = config.projection_shapes();
    let of = |names: &[&str]| {
        shapes.iter().filter(|(path, _)| names.iter().any(|name| path.ends_with(name))).copied().collect()
    };
    [
        of(&[".q_proj", ".k_proj", ".v_proj", ".qkv_proj"]),
        of(&[".o_proj"]),
        of(&[".gate_proj", ".up_proj", ".gate_up_proj"]),
        of(&[".down_proj"]),
    ]
}
