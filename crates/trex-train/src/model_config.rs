//! The shape of a decoder, read from a Hugging Face `config.json`. Refuses what has no implementation here.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::TrainError;

/// Architectures that can be loaded and trained, as `config.json` names them.
pub(crate) const SUPPORTED_ARCHITECTURES: [&str; 2] = ["LlamaForCausalLM", "MistralForCausalLM"];

/// `config.json` as written.
#[derive(Debug, Deserialize)]
struct RawConfig {
    #[serde(default)]
    architectures: Vec<String>,
    model_type: Option<String>,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    vocab_size: usize,
    max_position_embeddings: usize,
    #[serde(default = "default_eps")]
    rms_norm_eps: f64,
    rope_theta: Option<f64>,
    rope_parameters: Option<RopeParameters>,
    rope_scaling: Option<serde_json::Value>,
    #[serde(default)]
    tie_word_embeddings: bool,
    sliding_window: Option<usize>,
}

/// Where transformers 5 keeps the rotary base.
#[derive(Debug, Deserialize)]
struct RopeParameters {
    rope_theta: Option<f64>,
    rope_type: Option<String>,
}

fn default_eps() -> f64 {
    1e-6
}

/// The shape of a Llama-family decoder.
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
}

impl ModelConfig {
    /// Reads and checks `config.json`.
    pub fn load(path: &Path) -> Result<Self, TrainError> {
        let bytes = trex_fs::read(path)?;
        let raw: RawConfig =
            serde_json::from_slice(&bytes).map_err(|source| TrainError::BadConfig { path: path.to_owned(), source })?;
        let architecture = raw.architectures.first().or(raw.model_type.as_ref()).cloned().unwrap_or_default();
        let supported = SUPPORTED_ARCHITECTURES.contains(&architecture.as_str())
            || (raw.architectures.is_empty() && matches!(architecture.as_str(), "llama" | "mistral"));
        if !supported {
            return Err(TrainError::UnknownArchitecture { architecture });
        }
        Self::from_raw(path, &raw)
    }

    fn from_raw(path: &Path, raw: &RawConfig) -> Result<Self, TrainError> {
        let reject = |field, value: String, why| {
            Err(TrainError::InconsistentConfig { path: path.to_owned(), field, value, why })
        };
        let num_kv_heads = raw.num_key_value_heads.unwrap_or(raw.num_attention_heads);
        let head_dim = raw.head_dim.unwrap_or(raw.hidden_size / raw.num_attention_heads.max(1));
        if raw.num_attention_heads == 0 || num_kv_heads == 0 || !raw.num_attention_heads.is_multiple_of(num_kv_heads) {
            return reject("num_key_value_heads", num_kv_heads.to_string(), "must divide num_attention_heads");
        }
        if head_dim == 0 || !head_dim.is_multiple_of(2) {
            return reject("head_dim", head_dim.to_string(), "must be even and above 0");
        }
        if raw.hidden_size == 0 || raw.num_hidden_layers == 0 || raw.vocab_size == 0 || raw.intermediate_size == 0 {
            return reject("hidden_size", raw.hidden_size.to_string(), "must be above 0 like layers and vocabulary");
        }
        let scaled = raw.rope_scaling.as_ref().is_some_and(|scaling| !scaling.is_null())
            || raw.rope_parameters.as_ref().and_then(|p| p.rope_type.as_deref()).is_some_and(|kind| kind != "default");
        if scaled {
            return reject("rope_scaling", "set".to_owned(), "is not implemented");
        }
        if raw.sliding_window.is_some_and(|window| window < raw.max_position_embeddings) {
            return reject("sliding_window", format!("{:?}", raw.sliding_window), "is not implemented");
        }
        let theta = raw.rope_theta.or(raw.rope_parameters.as_ref().and_then(|p| p.rope_theta)).unwrap_or(10_000.0);
        Ok(Self {
            hidden_size: raw.hidden_size,
            intermediate_size: raw.intermediate_size,
            num_layers: raw.num_hidden_layers,
            num_heads: raw.num_attention_heads,
            num_kv_heads,
            head_dim,
            vocab_size: raw.vocab_size,
            max_position: raw.max_position_embeddings,
            rms_norm_eps: raw.rms_norm_eps,
            rope_theta: theta,
            tie_word_embeddings: raw.tie_word_embeddings,
        })
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

    /// Every tensor that the weights must hold: Hugging Face name and shape.
    pub fn tensor_shapes(&self) -> Vec<(String, Vec<usize>)> {
        let (hidden, inner) = (self.hidden_size, self.intermediate_size);
        let mut shapes = vec![("model.embed_tokens.weight".to_owned(), vec![self.vocab_size, hidden])];
        for layer in 0..self.num_layers {
            let mut add =
                |name: &str, shape: Vec<usize>| shapes.push((format!("model.layers.{layer}.{name}.weight"), shape));
            for (name, (rows, columns)) in self.projection_shapes() {
                add(name, vec![rows, columns]);
            }
            add("input_layernorm", vec![hidden]);
            add("post_attention_layernorm", vec![hidden]);
        }
        shapes.push(("model.norm.weight".to_owned(), vec![hidden]));
        if !self.tie_word_embeddings {
            shapes.push(("lm_head.weight".to_owned(), vec![self.vocab_size, hidden]));
        }
        debug_assert!(inner > 0);
        shapes
    }

    /// Module path below the layer and (out, in) shape of every projection, in the order of the layer.
    pub fn projection_shapes(&self) -> [(&'static str, (usize, usize)); 7] {
        let (hidden, inner) = (self.hidden_size, self.intermediate_size);
        let (query, key) = self.qkv_sizes();
        [
            ("self_attn.q_proj", (query, hidden)),
            ("self_attn.k_proj", (key, hidden)),
            ("self_attn.v_proj", (key, hidden)),
            ("self_attn.o_proj", (hidden, query)),
            ("mlp.gate_proj", (inner, hidden)),
            ("mlp.up_proj", (inner, hidden)),
            ("mlp.down_proj", (hidden, inner)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(json: &str, code: &str) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        trex_fs::write_atomic(&path, json.as_bytes()).unwrap();
        let found = ModelConfig::load(&path).map_or_else(|err| trex_domain::Problem::code(&err), |_| "ok");
        assert_eq!(found, code, "{json}");
    }

    fn config(extra: &str) -> String {
        format!(
            r#"{{"hidden_size":8,"intermediate_size":16,"num_hidden_layers":1,"num_attention_heads":2,
                "vocab_size":10,"max_position_embeddings":32{extra}}}"#
        )
    }

    #[test]
    fn only_what_is_implemented_is_accepted() {
        check(&config(r#","architectures":["LlamaForCausalLM"]"#), "ok");
        check(&config(r#","model_type":"llama""#), "ok");
        check(&config(r#","architectures":["MambaForCausalLM"]"#), "model.unknown_architecture");
        check(&config(r#","model_type":"llama","num_key_value_heads":3"#), "model.inconsistent_config");
        check(&config(r#","model_type":"llama","head_dim":3"#), "model.inconsistent_config");
        check(&config(r#","model_type":"llama","rope_scaling":{"rope_type":"llama3"}"#), "model.inconsistent_config");
        check("{", "model.bad_config");
        check(r#"{"model_type":"llama"}"#, "model.bad_config");
    }
}
