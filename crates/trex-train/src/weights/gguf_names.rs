//! How GGUF files name tensors, and how their rows lie: llama.cpp's `gguf-py/gguf/tensor_mapping.py` and
//! `convert_hf_to_gguf.py`. Reads no file.

use candle_core::Tensor;

use crate::{Architecture, ModelConfig, TrainError};

/// Module paths below a layer, Hugging Face first.
const PROJECTIONS: [(&str, &str); 9] = [
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.qkv_proj", "attn_qkv"),
    ("self_attn.o_proj", "attn_output"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.gate_up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
];

const HEAD_NORMS: [(&str, &str); 2] = [("self_attn.q_norm", "attn_q_norm"), ("self_attn.k_norm", "attn_k_norm")];

/// Two norms, each before a sublayer.
const PLAIN_NORMS: [(&str, &str); 2] = [("input_layernorm", "attn_norm"), ("post_attention_layernorm", "ffn_norm")];

/// Norms before and after each sublayer.
const SANDWICH_NORMS: [(&str, &str); 4] = [
    ("input_layernorm", "attn_norm"),
    ("post_attention_layernorm", "post_attention_norm"),
    ("pre_feedforward_layernorm", "ffn_norm"),
    ("post_feedforward_layernorm", "post_ffw_norm"),
];

/// The name of a tensor in a GGUF file.
pub(super) fn gguf_name(config: &ModelConfig, name: &str) -> String {
    match name {
        "model.embed_tokens.weight" => return "token_embd.weight".to_owned(),
        "model.norm.weight" => return "output_norm.weight".to_owned(),
        "lm_head.weight" => return "output.weight".to_owned(),
        _ => {}
    }
    let norms: &[_] = if config.variant.sandwich_norms { &SANDWICH_NORMS } else { &PLAIN_NORMS };
    let renamed = || {
        let (layer, rest) = name.strip_prefix("model.layers.")?.split_once('.')?;
        let (module, kind) = rest.rsplit_once('.')?;
        let known = PROJECTIONS.iter().chain(&HEAD_NORMS).chain(norms);
        let (_, gguf) = known.into_iter().find(|(hugging_face, _)| *hugging_face == module)?;
        Some(format!("blk.{layer}.{gguf}.{kind}"))
    };
    renamed().unwrap_or_else(|| name.to_owned())
}

/// Number of heads whose rows are in the order of llama.cpp: rotary pairs side by side instead of in halves. That is so
/// for queries and keys of files with the architecture `llama`, which Mistral has too.
pub(super) fn rows_are_permuted(config: &ModelConfig, name: &str) -> Option<usize> {
    let is_llama = matches!(config.variant.architecture, Architecture::Llama | Architecture::Mistral);
    match name {
        _ if !is_llama => None,
        _ if name.contains("self_attn.q_proj") => Some(config.num_heads),
        _ if name.contains("self_attn.k_proj") => Some(config.num_kv_heads),
        _ => None,
    }
}

/// Puts the rows of a weight (out, in) or bias (out) into the order of Hugging Face.
pub(super) fn unpermuted(tensor: &Tensor, heads: usize) -> Result<Tensor, TrainError> {
    let rows = tensor.dim(0)?;
    let pairs = tensor.reshape((heads, rows / heads / 2, 2, ()))?;
    Ok(pairs.transpose(1, 2)?.contiguous()?.reshape(tensor.shape())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::Case;

    #[track_caller]
    fn check(case: &str, name: &str, expected: &str) {
        assert_eq!(gguf_name(&Case::named(case).config(), name), expected);
    }

    #[test]
    fn gguf_names_follow_llama_cpp() {
        check("llama", "model.embed_tokens.weight", "token_embd.weight");
        check("llama", "model.layers.3.self_attn.o_proj.weight", "blk.3.attn_output.weight");
        check("llama", "model.layers.11.post_attention_layernorm.weight", "blk.11.ffn_norm.weight");
        check("llama", "model.layers.0.input_layernorm.weight", "blk.0.attn_norm.weight");
        check("qwen2", "model.layers.0.self_attn.q_proj.bias", "blk.0.attn_q.bias");
        check("qwen3", "model.layers.0.self_attn.k_norm.weight", "blk.0.attn_k_norm.weight");
        check("gemma3", "model.layers.1.post_attention_layernorm.weight", "blk.1.post_attention_norm.weight");
        check("gemma3", "model.layers.1.pre_feedforward_layernorm.weight", "blk.1.ffn_norm.weight");
        check("phi3", "model.layers.1.mlp.gate_up_proj.weight", "blk.1.ffn_up.weight");
    }
}
