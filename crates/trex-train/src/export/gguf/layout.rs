//! How a GGUF file of each architecture names and arranges tensors, from the names and arrangement of Hugging Face.
//!
//! Names by `gguf-py/gguf/tensor_mapping.py`, arrangement by `convert_hf_to_gguf.py`, both of llama.cpp. Both directions
//! stand here, so that a round trip can be tested. Knows no file.

use std::path::Path;

use candle_core::Tensor;
use serde_json::Value;

use crate::TrainError;

/// A GGUF architecture whose tensors are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Architecture {
    Llama,
    Qwen2,
    Qwen3,
    Gemma3,
    Phi3,
}

/// `model_type` of `config.json` and the architecture of its GGUF files.
const MODEL_TYPES: [(&str, Architecture); 7] = [
    ("llama", Architecture::Llama),
    ("mistral", Architecture::Llama),
    ("qwen2", Architecture::Qwen2),
    ("qwen3", Architecture::Qwen3),
    ("gemma3_text", Architecture::Gemma3),
    ("gemma3", Architecture::Gemma3),
    ("phi3", Architecture::Phi3),
];

/// Module path below a layer and its name below `blk.N`.
type Names = &'static [(&'static str, &'static str)];

const COMMON: Names = &[
    ("self_attn.o_proj", "attn_output"),
    ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_norm", "attn_k_norm"),
    ("mlp.down_proj", "ffn_down"),
    ("input_layernorm", "attn_norm"),
];

const SEPARATE: Names = &[
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
];

const FUSED: Names = &[("self_attn.qkv_proj", "attn_qkv"), ("mlp.gate_up_proj", "ffn_up")];

const TWO_NORMS: Names = &[("post_attention_layernorm", "ffn_norm")];

const FOUR_NORMS: Names = &[
    ("post_attention_layernorm", "post_attention_norm"),
    ("pre_feedforward_layernorm", "ffn_norm"),
    ("post_feedforward_layernorm", "post_ffw_norm"),
];

const OUTSIDE: Names = &[("model.embed_tokens", "token_embd"), ("model.norm", "output_norm"), ("lm_head", "output")];

impl Architecture {
    /// As `general.architecture` names it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
            Self::Gemma3 => "gemma3",
            Self::Phi3 => "phi3",
        }
    }

    fn layer_names(self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let norms = if self == Self::Gemma3 { FOUR_NORMS } else { TWO_NORMS };
        let inputs = if self == Self::Phi3 { FUSED } else { SEPARATE };
        COMMON.iter().chain(inputs).chain(norms).copied()
    }
}

/// The arrangement of one model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) architecture: Architecture,
    pub(crate) num_heads: usize,
    pub(crate) num_kv_heads: usize,
}

impl Layout {
    /// Reads `config.json` of a model folder.
    pub(crate) fn of_folder(dir: &Path) -> Result<Self, TrainError> {
        let path = dir.join("config.json");
        let bytes = trex_fs::read(&path)?;
        let config = serde_json::from_slice(&bytes).map_err(|source| TrainError::BadConfig { path, source })?;
        Self::of_config(&config)
    }

    /// The arrangement of the model that this `config.json` describes.
    pub(crate) fn of_config(config: &Value) -> Result<Self, TrainError> {
        let class = config.pointer("/architectures/0").and_then(Value::as_str).unwrap_or_default();
        let by_class = class.trim_end_matches("ForCausalLM").to_lowercase();
        let model_type = config.get("model_type").and_then(Value::as_str).unwrap_or(&by_class);
        let found = MODEL_TYPES.iter().find(|(name, _)| *name == model_type);
        let (_, architecture) = found.ok_or_else(|| TrainError::NotExportable {
            what: "GGUF".to_owned(),
            why: format!("the tensors of model type {model_type:?} have no known GGUF form"),
        })?;
        let count = |name: &str| config.get(name).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
        let num_heads = count("num_attention_heads").unwrap_or(1);
        let num_kv_heads = count("num_key_value_heads").unwrap_or(num_heads);
        Ok(Self { architecture: *architecture, num_heads, num_kv_heads })
    }

    /// The GGUF name of a tensor.
    pub(crate) fn gguf_name(self, name: &str) -> Result<String, TrainError> {
        let unknown = || TrainError::NotExportable {
            what: "GGUF".to_owned(),
            why: format!("tensor {name} has no name in architecture {}", self.architecture.name()),
        };
        let (module, ending) = name.rsplit_once('.').ok_or_else(unknown)?;
        if let Some((_, outside)) = OUTSIDE.iter().find(|(known, _)| *known == module) {
            return Ok(format!("{outside}.{ending}"));
        }
        let below = module.strip_prefix("model.layers.").and_then(|rest| rest.split_once('.'));
        let (layer, path) = below.ok_or_else(unknown)?;
        let mut names = self.architecture.layer_names();
        let (_, short) = names.find(|(known, _)| *known == path).ok_or_else(unknown)?;
        Ok(format!("blk.{layer}.{short}.{ending}"))
    }

    /// The module path behind a GGUF tensor name such as `blk.3.attn_q.weight`.
    pub(crate) fn module(self, gguf_name: &str) -> Option<String> {
        let module = gguf_name.strip_suffix(".weight")?;
        if let Some((outside, _)) = OUTSIDE.iter().find(|(_, known)| *known == module) {
            return Some((*outside).to_owned());
        }
        let (layer, short) = module.strip_prefix("blk.")?.split_once('.')?;
        let (path, _) = self.architecture.layer_names().find(|(_, known)| *known == short)?;
        Some(format!("model.layers.{layer}.{path}"))
    }

    /// A tensor as it stands in the file.
    pub(crate) fn tensor_to_gguf(self, name: &str, tensor: &Tensor) -> Result<Tensor, TrainError> {
        let tensor = match self.rotated_heads(name) {
            Some(heads) => permute(tensor, heads)?,
            None => tensor.clone(),
        };
        Ok((tensor + self.norm_offset(name))?)
    }

    /// Undoes [`Self::tensor_to_gguf`].
    pub(crate) fn tensor_from_gguf(self, name: &str, tensor: &Tensor) -> Result<Tensor, TrainError> {
        let tensor = (tensor - self.norm_offset(name))?;
        match self.rotated_heads(name) {
            Some(heads) => unpermute(&tensor, heads),
            None => Ok(tensor),
        }
    }

    /// Heads whose rows are reordered: llama.cpp keeps rotary pairs of this architecture side by side, Hugging Face in
    /// halves.
    pub(crate) fn rotated_heads(self, name: &str) -> Option<usize> {
        if self.architecture != Architecture::Llama {
            return None;
        }
        let is = |projection: &str| name.contains(projection);
        if is("self_attn.q_proj") {
            return Some(self.num_heads);
        }
        is("self_attn.k_proj").then_some(self.num_kv_heads)
    }

    /// Gemma multiplies by 1 + weight; its GGUF files hold the sum.
    fn norm_offset(self, name: &str) -> f64 {
        if self.architecture == Architecture::Gemma3 && name.ends_with("norm.weight") { 1.0 } else { 0.0 }
    }
}

/// Rows of each head from halves to pairs: `(heads, 2, half, …) → (heads, half, 2, …)`.
pub(crate) fn permute(tensor: &Tensor, heads: usize) -> Result<Tensor, TrainError> {
    swap_row_axes(tensor, heads, 2)
}

/// Undoes [`permute`].
pub(crate) fn unpermute(tensor: &Tensor, heads: usize) -> Result<Tensor, TrainError> {
    let rows = tensor.dims().first().copied().unwrap_or(0);
    swap_row_axes(tensor, heads, rows / heads.max(1) / 2)
}

fn swap_row_axes(tensor: &Tensor, heads: usize, outer: usize) -> Result<Tensor, TrainError> {
    let shape = tensor.dims().to_vec();
    let rows = shape.first().copied().unwrap_or(0);
    let rest = tensor.elem_count() / rows.max(1);
    let inner = rows / heads.max(1) / outer.max(1);
    let axes = tensor.reshape((heads, outer, inner, rest))?;
    Ok(axes.transpose(1, 2)?.contiguous()?.reshape(shape)?)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn layout(model_type: &str) -> Layout {
        Layout::of_config(&json!({"model_type": model_type, "num_attention_heads": 4, "num_key_value_heads": 2}))
            .unwrap()
    }

    #[track_caller]
    fn check(model_type: &str, name: &str, expected: &str) {
        let layout = layout(model_type);
        assert_eq!(layout.gguf_name(name).unwrap(), expected, "{model_type}");
        if let Some(module) = name.strip_suffix(".weight") {
            assert_eq!(layout.module(expected).unwrap(), module, "{model_type}");
        }
    }

    #[test]
    fn names_are_those_of_llama_cpp() {
        check("llama", "model.embed_tokens.weight", "token_embd.weight");
        check("llama", "lm_head.weight", "output.weight");
        check("mistral", "model.norm.weight", "output_norm.weight");
        check("llama", "model.layers.11.post_attention_layernorm.weight", "blk.11.ffn_norm.weight");
        check("llama", "model.layers.0.mlp.gate_proj.weight", "blk.0.ffn_gate.weight");
        check("qwen2", "model.layers.3.self_attn.q_proj.bias", "blk.3.attn_q.bias");
        check("qwen3", "model.layers.3.self_attn.k_norm.weight", "blk.3.attn_k_norm.weight");
        check("gemma3_text", "model.layers.3.post_attention_layernorm.weight", "blk.3.post_attention_norm.weight");
        check("gemma3_text", "model.layers.3.pre_feedforward_layernorm.weight", "blk.3.ffn_norm.weight");
        check("gemma3_text", "model.layers.3.post_feedforward_layernorm.weight", "blk.3.post_ffw_norm.weight");
        check("phi3", "model.layers.3.self_attn.qkv_proj.weight", "blk.3.attn_qkv.weight");
        check("phi3", "model.layers.3.mlp.gate_up_proj.weight", "blk.3.ffn_up.weight");
        check("phi3", "model.layers.3.self_attn.o_proj.weight", "blk.3.attn_output.weight");
        check("phi3", "model.layers.3.mlp.down_proj.weight", "blk.3.ffn_down.weight");
    }

    #[test]
    fn strange_tensors_and_models_are_refused() {
        let llama = layout("llama");
        for name in
            ["model.layers.0.mlp.experts.weight", "model.vision.weight", "x", "model.layers.0.mlp.gate_up_proj.weight"]
        {
            assert!(llama.gguf_name(name).is_err(), "{name}");
        }
        assert!(Layout::of_config(&json!({"model_type": "mamba"})).is_err());
        assert_eq!(
            Layout::of_config(&json!({"architectures": ["LlamaForCausalLM"]})).unwrap().architecture,
            Architecture::Llama
        );
    }

    #[test]
    fn rotary_rows_come_to_stand_in_pairs() {
        // One head of eight rows: halves 0‥3 and 4‥7 become the pairs (0, 4), (1, 5), ….
        let rows = Tensor::arange(0f32, 8.0, &Device::Cpu).unwrap().reshape((8, 1)).unwrap();
        let order: Vec<f32> = permute(&rows, 1).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        assert_eq!(order, [0.0, 4.0, 1.0, 5.0, 2.0, 6.0, 3.0, 7.0]);
    }

    proptest! {
        #[test]
        fn arrangement_can_be_undone(heads in 1usize..5, half in 1usize..5, columns in 1usize..4) {
            let rows = heads * half * 2;
            let tensor = Tensor::arange(0f32, (rows * columns) as f32, &Device::Cpu).unwrap().reshape((rows, columns)).unwrap();
            for model_type in ["llama", "qwen2", "gemma3_text"] {
                let layout = Layout { num_heads: heads, num_kv_heads: heads, ..layout(model_type) };
                for name in ["model.layers.0.self_attn.q_proj.weight", "model.layers.0.input_layernorm.weight"] {
                    let there = layout.tensor_to_gguf(name, &tensor).unwrap();
                    let back: Vec<Vec<f32>> = layout.tensor_from_gguf(name, &there).unwrap().to_vec2().unwrap();
                    prop_assert_eq!(back, tensor.to_vec2::<f32>().unwrap());
                }
            }
        }
    }
}
