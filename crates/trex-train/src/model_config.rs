//! The shape of a decoder as plain data: whoever reads it needs no knowledge of the family that a model comes from.
//!
//! Parsing of `config.json` is below, in `model_config/parse.rs`. No tensor is known here.

mod parse;
mod rope;

use std::path::Path;

use serde::{Deserialize, Serialize};
use trex_domain::{DomainError, TargetModules};

use crate::TrainError;

pub use rope::{Rope, RopeFrequencies, RopeScaling, Yarn};

/// The families that can be loaded and trained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// `LlamaForCausalLM`.
    #[default]
    Llama,
    /// `MistralForCausalLM`.
    Mistral,
    /// `Qwen2ForCausalLM`.
    Qwen2,
    /// `Qwen3ForCausalLM`.
    Qwen3,
    /// `Gemma3ForCausalLM`, text only.
    Gemma3,
    /// `Phi3ForCausalLM`.
    Phi3,
}

impl Architecture {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Llama, Self::Mistral, Self::Qwen2, Self::Qwen3, Self::Gemma3, Self::Phi3];

    /// The class of transformers, as `architectures` of `config.json` names it.
    pub fn class_name(self) -> &'static str {
        match self {
            Self::Llama => "LlamaForCausalLM",
            Self::Mistral => "MistralForCausalLM",
            Self::Qwen2 => "Qwen2ForCausalLM",
            Self::Qwen3 => "Qwen3ForCausalLM",
            Self::Gemma3 => "Gemma3ForCausalLM",
            Self::Phi3 => "Phi3ForCausalLM",
        }
    }

    /// `model_type` of `config.json`.
    pub fn model_type(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Mistral => "mistral",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
            Self::Gemma3 => "gemma3_text",
            Self::Phi3 => "phi3",
        }
    }
}

/// The function of the gate in the feed-forward layer: `activation(gate) · up`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `x · sigmoid(x)`.
    #[default]
    Silu,
    /// `x / 2 · (1 + tanh(√(2/π) · (x + 0.044715 x³)))`.
    GeluTanh,
}

/// The shape of a decoder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelConfig {
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the feed-forward layer.
    pub intermediate_size: usize,
    /// Layers.
    pub num_layers: usize,
    /// Attention heads.
    pub num_heads: usize,
    /// Key-value heads; divides `num_heads`.
    pub num_kv_heads: usize,
    /// Width of a head; even.
    pub head_dim: usize,
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// Longest sequence in tokens.
    pub max_position: usize,
    /// Added to the mean square in RMSNorm.
    pub rms_norm_eps: f64,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Whether the output head is the embedding.
    pub tie_word_embeddings: bool,
    /// How the decoder differs from a plain Llama; the default is no difference, and is not written.
    #[serde(default, skip_serializing_if = "Variant::is_plain_llama")]
    pub variant: Variant,
}

/// What sets a decoder apart from a plain Llama, which is the default value.
///
/// A plain layer is `x += o(attention(norm(x)))`, then `x += down(silu(gate(norm(x))) · up(norm(x)))`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts about a layer, each with a name")]
pub struct Variant {
    /// Names files and tensors; computes nothing.
    pub architecture: Architecture,
    /// Query, key and value projections have biases.
    pub qkv_bias: bool,
    /// The output projection of attention has a bias.
    pub output_bias: bool,
    /// Gate, up and down projections have biases.
    pub mlp_bias: bool,
    /// q, k and v are one projection `qkv_proj`, rows in that order; gate and up are `gate_up_proj`.
    pub fused_projections: bool,
    /// Every head of the queries and keys is normalised (RMSNorm over `head_dim`) before it is rotated.
    pub qk_norm: bool,
    /// The outputs of attention and feed-forward layer are normalised before they are added to the residual stream.
    pub sandwich_norms: bool,
    /// Norm weights are stored less one in safetensors files. Loaded weights have the one added already.
    pub norm_offset: bool,
    /// Function of the gate.
    pub activation: Activation,
    /// Factor on the rows of the embedding, not on a tied head.
    pub embedding_scale: Option<f32>,
    /// Factor on the scores of attention where it is not `1/√head_dim`.
    pub attention_scale: Option<f64>,
    /// Rotation by positions, in the layers that see everything.
    pub rope: Rope,
    /// Layers that see the last positions only.
    pub local: Option<LocalLayers>,
}

impl Variant {
    fn is_plain_llama(&self) -> bool {
        *self == Self::default()
    }
}

/// Layers with a sliding window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LocalLayers {
    /// A token sees the last `window` positions, its own among them; at least 1.
    pub window: usize,
    /// Numbers of these layers, ascending.
    pub layers: Vec<usize>,
    /// Base of their rotary frequencies where it differs; they are not scaled then.
    pub rope_theta: Option<f64>,
}

/// A projection of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Projection {
    /// Module path below the layer, such as `self_attn.q_proj`.
    pub(crate) path: &'static str,
    /// (out, in).
    pub(crate) shape: (usize, usize),
    /// Whether it has a bias of shape (out).
    pub(crate) has_bias: bool,
}

impl ModelConfig {
    /// Reads and checks `config.json`.
    pub fn load(path: &Path) -> Result<Self, TrainError> {
        let bytes = trex_fs::read(path)?;
        parse::parse(path, &bytes)
    }

    /// Number of weights, embeddings and norms included.
    pub fn num_parameters(&self) -> u64 {
        let tensors = self.tensor_shapes();
        tensors.iter().map(|(_, shape)| shape.iter().map(|n| *n as u64).product::<u64>()).sum()
    }

    /// Width of query, key and value rows.
    pub fn qkv_sizes(&self) -> (usize, usize) {
        (self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim)
    }

    /// Factor on the scores of attention.
    pub fn attention_scale(&self) -> f64 {
        self.variant.attention_scale.unwrap_or_else(|| (self.head_dim as f64).sqrt().recip())
    }

    /// How many positions a token of this layer sees, its own among them; `None` where it sees all.
    pub fn layer_window(&self, layer: usize) -> Option<usize> {
        let local = self.variant.local.as_ref()?;
        local.layers.binary_search(&layer).is_ok().then_some(local.window)
    }

    /// Whether this layer rotates by [`Self::local_frequencies`] rather than by [`Self::frequencies`].
    pub fn layer_has_local_rope(&self, layer: usize) -> bool {
        self.layer_window(layer).is_some() && self.local_frequencies().is_some()
    }

    /// Rotary frequencies.
    pub fn frequencies(&self) -> RopeFrequencies {
        self.variant.rope.frequencies(self.head_dim, self.rope_theta)
    }

    /// The same before they are stretched.
    pub(crate) fn plain_frequencies(&self) -> RopeFrequencies {
        let rope = Rope { scaling: RopeScaling::None, ..self.variant.rope };
        rope.frequencies(self.head_dim, self.rope_theta)
    }

    /// Rotary frequencies of windowed layers where these have their own.
    pub fn local_frequencies(&self) -> Option<RopeFrequencies> {
        let theta = self.variant.local.as_ref()?.rope_theta?;
        let rope = Rope { scaling: RopeScaling::None, ..self.variant.rope };
        Some(rope.frequencies(self.head_dim, theta))
    }

    /// Every tensor that the weights must hold: Hugging Face name and shape.
    pub fn tensor_shapes(&self) -> Vec<(String, Vec<usize>)> {
        let hidden = self.hidden_size;
        let mut shapes = vec![("model.embed_tokens.weight".to_owned(), vec![self.vocab_size, hidden])];
        for layer in 0..self.num_layers {
            let mut add = |name: &str, shape: Vec<usize>| shapes.push((format!("model.layers.{layer}.{name}"), shape));
            for projection in self.projections() {
                let (rows, columns) = projection.shape;
                add(&format!("{}.weight", projection.path), vec![rows, columns]);
                if projection.has_bias {
                    add(&format!("{}.bias", projection.path), vec![rows]);
                }
            }
            for (name, width) in self.norms() {
                add(&format!("{name}.weight"), vec![width]);
            }
        }
        shapes.push(("model.norm.weight".to_owned(), vec![hidden]));
        if !self.tie_word_embeddings {
            shapes.push(("lm_head.weight".to_owned(), vec![self.vocab_size, hidden]));
        }
        shapes
    }

    /// Module path below the layer and (out, in) shape of every projection, in the order of the layer.
    pub fn projection_shapes(&self) -> Vec<(&'static str, (usize, usize))> {
        self.projections().into_iter().map(|projection| (projection.path, projection.shape)).collect()
    }

    /// Names of the projections that get an adapter, in the order of the layer. Fails if one is not in this model.
    pub fn target_names(&self, targets: &TargetModules) -> Result<Vec<&'static str>, TrainError> {
        let own: Vec<&'static str> =
            self.projections().iter().filter_map(|found| found.path.rsplit('.').next()).collect();
        let wanted = match targets {
            TargetModules::Keyword(word) if word == "all-linear" => return Ok(own),
            other => other.names()?,
        };
        if let Some(name) = wanted.iter().find(|name| !own.contains(name)) {
            return Err(DomainError::UnknownTargetModule { name: (*name).to_owned() }.into());
        }
        Ok(own.into_iter().filter(|name| wanted.contains(name)).collect())
    }

    /// The projections of a layer, in its order.
    pub(crate) fn projections(&self) -> Vec<Projection> {
        let (hidden, inner) = (self.hidden_size, self.intermediate_size);
        let (query, key) = self.qkv_sizes();
        let variant = &self.variant;
        let attention = |path, rows| Projection { path, shape: (rows, hidden), has_bias: variant.qkv_bias };
        let feed_forward = |path, shape| Projection { path, shape, has_bias: variant.mlp_bias };
        let output = Projection { path: "self_attn.o_proj", shape: (hidden, query), has_bias: variant.output_bias };
        let down = feed_forward("mlp.down_proj", (hidden, inner));
        if variant.fused_projections {
            let qkv = attention("self_attn.qkv_proj", query + 2 * key);
            return vec![qkv, output, feed_forward("mlp.gate_up_proj", (2 * inner, hidden)), down];
        }
        vec![
            attention("self_attn.q_proj", query),
            attention("self_attn.k_proj", key),
            attention("self_attn.v_proj", key),
            output,
            feed_forward("mlp.gate_proj", (inner, hidden)),
            feed_forward("mlp.up_proj", (inner, hidden)),
            down,
        ]
    }

    /// Module path below the layer and width of its norms.
    pub(crate) fn norms(&self) -> Vec<(&'static str, usize)> {
        let hidden = self.hidden_size;
        let mut norms = vec![("input_layernorm", hidden), ("post_attention_layernorm", hidden)];
        if self.variant.sandwich_norms {
            norms.extend([("pre_feedforward_layernorm", hidden), ("post_feedforward_layernorm", hidden)]);
        }
        if self.variant.qk_norm {
            norms.extend([("self_attn.q_norm", self.head_dim), ("self_attn.k_norm", self.head_dim)]);
        }
        norms
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::Case;

    #[test]
    fn a_plain_llama_is_written_as_before_there_were_variants() {
        let config = ModelConfig {
            hidden_size: 16,
            intermediate_size: 24,
            num_layers: 2,
            num_heads: 4,
            num_kv_heads: 2,
            head_dim: 4,
            vocab_size: 20,
            max_position: 64,
            rms_norm_eps: 1e-5,
            rope_theta: 10_000.0,
            tie_word_embeddings: true,
            variant: Variant::default(),
        };
        let json = serde_json::to_value(&config).unwrap();
        assert_eq!(json.as_object().unwrap().len(), 11);
        assert_eq!(serde_json::from_value::<ModelConfig>(json).unwrap(), config);
    }

    #[test]
    fn adapters_sit_on_the_projections_that_a_model_has() {
        let list = |names: &[&str]| TargetModules::List(names.iter().map(|name| (*name).to_owned()).collect());
        let all = TargetModules::Keyword("all-linear".to_owned());
        let (split, fused) = (Case::named("llama").config(), Case::named("phi3").config());
        assert_eq!(split.target_names(&all).unwrap().len(), 7);
        assert_eq!(split.target_names(&list(&["v_proj", "q_proj"])).unwrap(), ["q_proj", "v_proj"]);
        assert_eq!(fused.target_names(&all).unwrap(), ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]);
        assert_eq!(fused.target_names(&list(&["qkv_proj"])).unwrap(), ["qkv_proj"]);
        let err = fused.target_names(&list(&["v_proj", "o_proj"])).unwrap_err();
        assert_eq!(trex_domain::Problem::code(&err), "config.unknown_target_module");
    }
}
