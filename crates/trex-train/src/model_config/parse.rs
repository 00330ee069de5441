//! Reads `config.json` of transformers (both spellings of renamed fields). Refuses by name what is not computed here,
//! rather than computing something close to it.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::{Activation, Architecture, LocalLayers, ModelConfig, Rope, RopeScaling, Variant, Yarn};
use crate::TrainError;

/// Far above every model; products of two stay below 2⁶⁴.
const MOST_IN_A_SIZE: usize = 1 << 28;

/// `config.json` as written.
#[derive(Debug, Deserialize)]
struct RawConfig {
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    vocab_size: usize,
    max_position_embeddings: usize,
    rms_norm_eps: Option<f64>,
    hidden_act: Option<String>,
    hidden_activation: Option<String>,
    rope_theta: Option<f64>,
    rope_local_base_freq: Option<f64>,
    rope_parameters: Option<Value>,
    rope_scaling: Option<Value>,
    partial_rotary_factor: Option<f64>,
    original_max_position_embeddings: Option<usize>,
    tie_word_embeddings: Option<bool>,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    mlp_bias: bool,
    #[expect(clippy::option_option, reason = "absent and null mean different things")]
    #[serde(default, deserialize_with = "present")]
    sliding_window: Option<Option<usize>>,
    use_sliding_window: Option<bool>,
    max_window_layers: Option<usize>,
    layer_types: Option<Vec<String>>,
    #[serde(alias = "_sliding_window_pattern")]
    sliding_window_pattern: Option<usize>,
    query_pre_attn_scalar: Option<f64>,
    attn_logit_softcapping: Option<f64>,
    final_logit_softcapping: Option<f64>,
    use_bidirectional_attention: Option<bool>,
    quantization_config: Option<Value>,
}

#[expect(clippy::option_option, reason = "the outer one says that the field is there")]
fn present<'de, D: serde::Deserializer<'de>>(value: D) -> Result<Option<Option<usize>>, D::Error> {
    Deserialize::deserialize(value).map(Some)
}

/// What says which family it is.
#[derive(Debug, Deserialize)]
struct RawNames {
    #[serde(default)]
    architectures: Option<Vec<String>>,
    model_type: Option<String>,
}

/// `rope_scaling`, or `rope_parameters` since transformers 5.
#[derive(Debug, Default, Deserialize)]
struct RawRope {
    rope_type: Option<String>,
    #[serde(rename = "type")]
    old_type: Option<String>,
    rope_theta: Option<f64>,
    partial_rotary_factor: Option<f64>,
    factor: Option<f64>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    original_max_position_embeddings: Option<usize>,
    short_factor: Option<Vec<f64>>,
    long_factor: Option<Vec<f64>>,
    attention_factor: Option<f64>,
    beta_fast: Option<f64>,
    beta_slow: Option<f64>,
    mscale: Option<f64>,
    mscale_all_dim: Option<f64>,
    truncate: Option<bool>,
}

/// What a class of transformers takes for fields that are absent.
struct Defaults {
    num_kv_heads: Option<usize>,
    head_dim: Option<usize>,
    rms_norm_eps: f64,
    rope_theta: f64,
    tied: bool,
    activation: &'static str,
    sliding_window: Option<usize>,
}

/// The defaults of the configuration classes of transformers 5.
fn defaults(architecture: Architecture) -> Defaults {
    let llama = Defaults {
        num_kv_heads: None,
        head_dim: None,
        rms_norm_eps: 1e-6,
        rope_theta: 10_000.0,
        tied: false,
        activation: "silu",
        sliding_window: None,
    };
    match architecture {
        Architecture::Llama => llama,
        Architecture::Mistral => Defaults { num_kv_heads: Some(8), sliding_window: Some(4096), ..llama },
        Architecture::Qwen2 => Defaults { num_kv_heads: Some(32), sliding_window: Some(4096), ..llama },
        Architecture::Qwen3 => {
            Defaults { num_kv_heads: Some(32), head_dim: Some(128), sliding_window: Some(4096), ..llama }
        }
        Architecture::Gemma3 => Defaults {
            num_kv_heads: Some(4),
            head_dim: Some(256),
            rope_theta: 1_000_000.0,
            tied: true,
            activation: "gelu_pytorch_tanh",
            sliding_window: Some(4096),
            ..llama
        },
        Architecture::Phi3 => Defaults { rms_norm_eps: 1e-5, ..llama },
    }
}

pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<ModelConfig, TrainError> {
    let bad = |source| TrainError::BadConfig { path: path.to_owned(), source };
    let names: RawNames = serde_json::from_slice(bytes).map_err(bad)?;
    let architecture = architecture(&names)?;
    let raw: RawConfig = serde_json::from_slice(bytes).map_err(bad)?;
    Parser { path, raw: &raw, architecture, defaults: defaults(architecture) }.config()
}

fn architecture(names: &RawNames) -> Result<Architecture, TrainError> {
    let class = names.architectures.as_ref().and_then(|classes| classes.first());
    let found = match (class, names.model_type.as_deref()) {
        (Some(class), _) => Architecture::ALL.into_iter().find(|known| known.class_name() == class),
        (None, Some(kind)) => Architecture::ALL.into_iter().find(|known| known.model_type() == kind),
        (None, None) => None,
    };
    let name = class.or(names.model_type.as_ref()).cloned().unwrap_or_default();
    found.ok_or(TrainError::UnknownArchitecture { architecture: name })
}

/// What is said of rotation.
struct RopeFields {
    rope: Rope,
    rope_theta: f64,
    /// Of local layers, where it differs.
    local_theta: Option<f64>,
    /// Longest sequence that is rotated as transformers does it.
    max_position: usize,
}

struct Parser<'a> {
    path: &'a Path,
    raw: &'a RawConfig,
    architecture: Architecture,
    defaults: Defaults,
}

impl Parser<'_> {
    fn config(&self) -> Result<ModelConfig, TrainError> {
        let raw = self.raw;
        self.check_unsupported()?;
        let num_kv_heads = raw.num_key_value_heads.or(self.defaults.num_kv_heads).unwrap_or(raw.num_attention_heads);
        let head_dim = raw.head_dim.or(self.defaults.head_dim);
        let head_dim = head_dim.unwrap_or(raw.hidden_size / raw.num_attention_heads.max(1));
        let RopeFields { rope, rope_theta, local_theta, max_position } = self.rope(head_dim)?;
        let config = ModelConfig {
            hidden_size: raw.hidden_size,
            intermediate_size: raw.intermediate_size,
            num_layers: raw.num_hidden_layers,
            num_heads: raw.num_attention_heads,
            num_kv_heads,
            head_dim,
            vocab_size: raw.vocab_size,
            max_position,
            rms_norm_eps: raw.rms_norm_eps.unwrap_or(self.defaults.rms_norm_eps),
            rope_theta,
            tie_word_embeddings: raw.tie_word_embeddings.unwrap_or(self.defaults.tied),
            variant: self.variant(rope, local_theta)?,
        };
        self.check_sizes(&config)?;
        Ok(config)
    }

    fn variant(&self, rope: Rope, local_theta: Option<f64>) -> Result<Variant, TrainError> {
        use Architecture::{Gemma3, Llama, Phi3, Qwen2, Qwen3};
        let is_gemma = self.architecture == Gemma3;
        // Mistral and Phi-3 have no such setting, Qwen2 always has biases on q, k and v.
        let attention_bias = self.raw.attention_bias && matches!(self.architecture, Llama | Qwen3 | Gemma3);
        let attention_scale = is_gemma.then(|| self.raw.query_pre_attn_scalar.unwrap_or(256.0));
        if let Some(scalar) = attention_scale.filter(|scalar| *scalar <= 0.0) {
            return self.reject("query_pre_attn_scalar", scalar.to_string(), "must be above 0");
        }
        Ok(Variant {
            architecture: self.architecture,
            qkv_bias: attention_bias || self.architecture == Qwen2,
            output_bias: attention_bias,
            mlp_bias: self.raw.mlp_bias && self.architecture == Llama,
            fused_projections: self.architecture == Phi3,
            qk_norm: matches!(self.architecture, Qwen3 | Gemma3),
            sandwich_norms: is_gemma,
            norm_offset: is_gemma,
            activation: self.activation()?,
            embedding_scale: is_gemma.then(|| crate::ops::single((self.raw.hidden_size as f64).sqrt())),
            attention_scale: attention_scale.map(|scalar| scalar.sqrt().recip()),
            rope,
            local: self.local_layers(local_theta)?,
        })
    }

    fn activation(&self) -> Result<Activation, TrainError> {
        let name = match self.architecture {
            Architecture::Gemma3 => self.raw.hidden_activation.as_deref().or(self.raw.hidden_act.as_deref()),
            _ => self.raw.hidden_act.as_deref(),
        };
        match name.unwrap_or(self.defaults.activation) {
            "silu" | "swish" => Ok(Activation::Silu),
            "gelu_pytorch_tanh" => Ok(Activation::GeluTanh),
            other => self.not_implemented("hidden_act", other.to_owned(), "silu, gelu_pytorch_tanh"),
        }
    }

    fn local_layers(&self, rope_theta: Option<f64>) -> Result<Option<LocalLayers>, TrainError> {
        let raw = self.raw;
        let is_local = |layer: usize| match (self.architecture, &raw.layer_types) {
            (Architecture::Llama, _) => false,
            (Architecture::Mistral | Architecture::Phi3, _) => true,
            (_, Some(kinds)) => kinds.get(layer).is_some_and(|kind| kind == "sliding_attention"),
            (Architecture::Gemma3, None) => !(layer + 1).is_multiple_of(raw.sliding_window_pattern.unwrap_or(6).max(1)),
            (Architecture::Qwen2 | Architecture::Qwen3, None) => layer >= raw.max_window_layers.unwrap_or(28),
        };
        self.check_layer_types()?;
        let is_qwen = matches!(self.architecture, Architecture::Qwen2 | Architecture::Qwen3);
        let is_off = is_qwen && !raw.use_sliding_window.unwrap_or(false);
        let window = raw.sliding_window.unwrap_or(self.defaults.sliding_window).filter(|_| !is_off);
        let layers: Vec<usize> = (0..raw.num_hidden_layers).filter(|layer| is_local(*layer)).collect();
        if layers.is_empty() {
            return Ok(None);
        }
        match window {
            Some(0) => self.reject("sliding_window", "0".to_owned(), "must be above 0"),
            // A window that no sequence outgrows hides nothing.
            Some(window) if window >= raw.max_position_embeddings && rope_theta.is_none() => Ok(None),
            Some(window) => Ok(Some(LocalLayers { window, layers, rope_theta })),
            None if self.architecture == Architecture::Gemma3 => {
                self.reject("sliding_window", "null".to_owned(), "is needed by the local layers")
            }
            None => Ok(None),
        }
    }

    fn check_layer_types(&self) -> Result<(), TrainError> {
        let Some(kinds) = &self.raw.layer_types else { return Ok(()) };
        if let Some(kind) = kinds.iter().find(|kind| !["full_attention", "sliding_attention"].contains(&kind.as_str()))
        {
            return self.not_implemented("layer_types", kind.clone(), "full_attention, sliding_attention");
        }
        if kinds.len() != self.raw.num_hidden_layers {
            return self.reject("layer_types", format!("{} long", kinds.len()), "must have one entry per layer");
        }
        Ok(())
    }

    fn rope(&self, head_dim: usize) -> Result<RopeFields, TrainError> {
        let by_layer = |kind: &str| self.raw.rope_parameters.as_ref().and_then(|all| all.get(kind)).cloned();
        let read = |value: Option<Value>| -> Result<RawRope, TrainError> {
            let value = value.filter(|value| !value.is_null());
            let read = value.map(serde_json::from_value).transpose();
            Ok(read.map_err(|source| TrainError::BadConfig { path: self.path.to_owned(), source })?.unwrap_or_default())
        };
        let scaling = self.raw.rope_scaling.clone().filter(|value| !value.is_null());
        let global = by_layer("full_attention").or_else(|| self.raw.rope_parameters.clone());
        let global = read(scaling.or(global))?;
        let local = read(by_layer("sliding_attention"))?;
        let theta = global.rope_theta.or(self.raw.rope_theta).unwrap_or(self.defaults.rope_theta);
        let is_gemma = self.architecture == Architecture::Gemma3;
        let local_theta = local.rope_theta.or(self.raw.rope_local_base_freq).unwrap_or(10_000.0);
        if !(theta > 1.0 && local_theta > 1.0) {
            return self.reject("rope_theta", theta.to_string(), "must be above 1");
        }
        if local.kind().is_some_and(|kind| kind != "default") {
            return self.not_implemented("rope_parameters.sliding_attention", format!("{local:?}"), "default");
        }
        let rotary_dim = self.rotary_dim(&global, head_dim)?;
        let scaling = self.rope_scaling(&global, rotary_dim.unwrap_or(head_dim) / 2)?;
        let mut max_position = self.raw.max_position_embeddings;
        if matches!(scaling, RopeScaling::LongRope { .. }) && global.long_factor != global.short_factor {
            // Longer sequences would need the other factors, for all of their tokens.
            max_position = max_position.min(self.original_max_position(&global));
        }
        Ok(RopeFields {
            rope: Rope { rotary_dim, scaling },
            rope_theta: theta,
            local_theta: is_gemma.then_some(local_theta),
            max_position,
        })
    }

    fn rotary_dim(&self, rope: &RawRope, head_dim: usize) -> Result<Option<usize>, TrainError> {
        let share = rope.partial_rotary_factor.or(self.raw.partial_rotary_factor).unwrap_or(1.0);
        if self.architecture != Architecture::Phi3 || (share - 1.0).abs() < f64::EPSILON {
            return Ok(None);
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "rounded down, as transformers does"
        )]
        let columns = (head_dim as f64 * share) as usize;
        if columns == 0 || columns > head_dim || !columns.is_multiple_of(2) {
            return self.reject("partial_rotary_factor", share.to_string(), "must rotate an even part of a head");
        }
        Ok(Some(columns))
    }

    fn rope_scaling(&self, rope: &RawRope, pairs: usize) -> Result<RopeScaling, TrainError> {
        let number = |field: &'static str, value: Option<f64>| match value {
            Some(value) if value > 0.0 && value.is_finite() => Ok(value),
            other => self.reject(field, format!("{other:?}"), "must be a number above 0"),
        };
        let is_phi = self.architecture == Architecture::Phi3;
        match rope.kind().unwrap_or("default") {
            "default" => Ok(RopeScaling::None),
            "linear" => Ok(RopeScaling::Linear { factor: number("rope_scaling.factor", rope.factor)? }),
            "llama3" => {
                let low_freq_factor = number("rope_scaling.low_freq_factor", rope.low_freq_factor)?;
                let high_freq_factor = number("rope_scaling.high_freq_factor", rope.high_freq_factor)?;
                if high_freq_factor <= low_freq_factor {
                    let value = high_freq_factor.to_string();
                    return self.reject("rope_scaling.high_freq_factor", value, "must be above low_freq_factor");
                }
                let original = rope.original_max_position_embeddings.filter(|length| *length > 0);
                let Some(original_max_position) = original else {
                    let field = "rope_scaling.original_max_position_embeddings";
                    return self.reject(field, format!("{original:?}"), "must be above 0");
                };
                let factor = number("rope_scaling.factor", rope.factor)?;
                Ok(RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_position })
            }
            // Older Phi-3 files call it "su" or "yarn".
            "su" | "yarn" if is_phi => self.long_rope(rope, pairs),
            "longrope" => self.long_rope(rope, pairs),
            "yarn" => self.yarn(rope, number("rope_scaling.factor", rope.factor)?),
            other => self.not_implemented("rope_scaling", other.to_owned(), "default, linear, llama3, yarn, longrope"),
        }
    }

    /// Defaults and the factor on cosines and sines as in transformers' `_compute_yarn_parameters`.
    fn yarn(&self, rope: &RawRope, factor: f64) -> Result<RopeScaling, TrainError> {
        let (beta_fast, beta_slow) = (rope.beta_fast.unwrap_or(32.0), rope.beta_slow.unwrap_or(1.0));
        if !(beta_slow > 0.0 && beta_fast > beta_slow) {
            return self.reject(
                "rope_scaling.beta_fast",
                beta_fast.to_string(),
                "must be above beta_slow, both above 0",
            );
        }
        let original = rope.original_max_position_embeddings.unwrap_or(self.raw.max_position_embeddings);
        if original == 0 {
            let field = "rope_scaling.original_max_position_embeddings";
            return self.reject(field, original.to_string(), "must be above 0");
        }
        let default = match (rope.mscale, rope.mscale_all_dim) {
            (Some(one), Some(all)) if one != 0.0 && all != 0.0 => {
                Yarn::magnitude(factor, one) / Yarn::magnitude(factor, all)
            }
            _ => Yarn::magnitude(factor, 1.0),
        };
        Ok(RopeScaling::Yarn(Yarn {
            factor,
            beta_fast,
            beta_slow,
            original_max_position: original,
            attention_factor: rope.attention_factor.unwrap_or(default),
            truncate: rope.truncate.unwrap_or(true),
        }))
    }

    /// The factors of short sequences, for which alone `max_position` leaves room.
    fn long_rope(&self, rope: &RawRope, pairs: usize) -> Result<RopeScaling, TrainError> {
        let short_factors = rope.short_factor.clone().unwrap_or_default();
        if short_factors.len() != pairs || short_factors.iter().any(|factor| *factor <= 0.0) {
            let value = format!("{} long", short_factors.len());
            return self.reject("rope_scaling.short_factor", value, "must hold one factor above 0 per rotated pair");
        }
        let original = self.original_max_position(rope);
        if original < 2 {
            return self.reject("original_max_position_embeddings", original.to_string(), "must be above 1");
        }
        let stretch = rope.factor.unwrap_or(self.raw.max_position_embeddings as f64 / original as f64);
        let default = if stretch <= 1.0 { 1.0 } else { (1.0 + stretch.ln() / (original as f64).ln()).sqrt() };
        Ok(RopeScaling::LongRope { short_factors, attention_factor: rope.attention_factor.unwrap_or(default) })
    }

    fn original_max_position(&self, rope: &RawRope) -> usize {
        rope.original_max_position_embeddings.or(self.raw.original_max_position_embeddings).unwrap_or(4096)
    }

    fn check_unsupported(&self) -> Result<(), TrainError> {
        let raw = self.raw;
        for (field, cap) in [
            ("attn_logit_softcapping", raw.attn_logit_softcapping),
            ("final_logit_softcapping", raw.final_logit_softcapping),
        ] {
            if let Some(cap) = cap.filter(|_| self.architecture == Architecture::Gemma3) {
                return self.not_implemented(field, cap.to_string(), "null");
            }
        }
        if raw.use_bidirectional_attention == Some(true) {
            return self.not_implemented("use_bidirectional_attention", "true".to_owned(), "false");
        }
        if let Some(quantization) = raw.quantization_config.as_ref().filter(|value| !value.is_null()) {
            let method = quantization.get("quant_method").and_then(Value::as_str).unwrap_or("set").to_owned();
            // Left behind by transformers where it has read a GGUF file; the weights beside it are plain.
            if method == "gguf" {
                return Ok(());
            }
            return self.not_implemented("quantization_config", method, "plain safetensors, or a quantised GGUF file");
        }
        Ok(())
    }

    fn check_sizes(&self, config: &ModelConfig) -> Result<(), TrainError> {
        let divides = config.num_kv_heads > 0 && config.num_heads.is_multiple_of(config.num_kv_heads);
        if config.num_heads == 0 || !divides {
            let value = config.num_kv_heads.to_string();
            return self.reject("num_key_value_heads", value, "must divide num_attention_heads");
        }
        if config.head_dim == 0 || !config.head_dim.is_multiple_of(2) {
            return self.reject("head_dim", config.head_dim.to_string(), "must be even and above 0");
        }
        let sizes = [
            ("hidden_size", config.hidden_size),
            ("intermediate_size", config.intermediate_size),
            ("num_hidden_layers", config.num_layers),
            ("vocab_size", config.vocab_size),
            ("max_position_embeddings", config.max_position),
            ("num_attention_heads", config.num_heads),
            ("head_dim", config.head_dim),
        ];
        match sizes.into_iter().find(|(_, size)| *size == 0 || *size > MOST_IN_A_SIZE) {
            Some((field, size)) => self.reject(field, size.to_string(), "must be above 0 and below 2^28"),
            None if config.num_layers > 10_000 => {
                self.reject("num_hidden_layers", config.num_layers.to_string(), "is more than any model has")
            }
            None => Ok(()),
        }
    }

    fn reject<T>(&self, field: &'static str, value: String, why: &'static str) -> Result<T, TrainError> {
        Err(TrainError::InconsistentConfig { path: self.path.to_owned(), field, value, why })
    }

    fn not_implemented<T>(&self, field: &'static str, value: String, known: &'static str) -> Result<T, TrainError> {
        Err(TrainError::NotImplemented { path: self.path.to_owned(), field, value, known })
    }
}

impl RawRope {
    fn kind(&self) -> Option<&str> {
        self.rope_type.as_deref().or(self.old_type.as_deref())
    }
}

#[cfg(test)]
mod tests;
