//! `config.json` and `generation_config.json` from GGUF metadata.
//!
//! Keys as in transformers' `LlamaConfig`, `Qwen2Config`, `Qwen3Config`, `Gemma3TextConfig` and `Phi3Config`; keys of GGUF
//! as in ggml's `docs/gguf.md` and llama.cpp's `llama-arch.cpp`.

use serde_json::{Map, Value, json};

use super::metadata::Metadata;
use super::{ARCHITECTURES, GgufTensorFacts};
use crate::ChatError;

/// Rotary base where the file names none (`docs/gguf.md` and transformers agree).
const DEFAULT_ROPE_THETA: f64 = 10_000.0;

/// Rotary base of Gemma's local layers where the file names none (llama.cpp, `gemma3.cpp`).
const DEFAULT_LOCAL_ROPE_THETA: f64 = 10_000.0;

/// Every such layer of Gemma 3 sees everything where the file does not say (llama.cpp, `gemma3.cpp`).
const DEFAULT_GEMMA3_PERIOD: u64 = 6;

/// Layers of Gemma 3 27B, whose attention has a scale of its own that the metadata does not say.
const GEMMA3_27B_LAYERS: u64 = 62;

pub(super) fn config_json(meta: &Metadata<'_>, tensors: &GgufTensorFacts) -> Result<String, ChatError> {
    let architecture = meta.str("general.architecture")?;
    let key = |name: &str| format!("{architecture}.{name}");
    let num_experts = meta.optional_u64(&key("expert_count"))?.unwrap_or(0);
    if !ARCHITECTURES.contains(&architecture) || num_experts > 0 {
        let experts = if num_experts > 0 { " with experts" } else { "" };
        return Err(ChatError::UnsupportedArchitecture { name: format!("{architecture}{experts}") });
    }
    let hidden_size = meta.u64(&key("embedding_length"))?;
    let num_heads = meta.u64(&key("attention.head_count"))?;
    let head_dim = match meta.optional_u64(&key("attention.key_length"))? {
        Some(length) => length,
        None => hidden_size / num_heads.max(1),
    };
    let num_tokens = meta.strings("tokenizer.ggml.tokens")?.len() as u64;
    let rope_theta = meta.optional_f32(&key("rope.freq_base"))?.unwrap_or(DEFAULT_ROPE_THETA);
    let mut config = json!({
        "architectures": [class_name(architecture)],
        "attention_bias": tensors.has_attention_bias && architecture != "qwen2",
        "attention_dropout": 0.0,
        "head_dim": head_dim,
        "hidden_act": "silu",
        "hidden_size": hidden_size,
        "initializer_range": 0.02,
        "intermediate_size": meta.u64(&key("feed_forward_length"))?,
        "max_position_embeddings": meta.u64(&key("context_length"))?,
        "model_type": architecture,
        "num_attention_heads": num_heads,
        "num_hidden_layers": meta.u64(&key("block_count"))?,
        "num_key_value_heads": meta.optional_u64(&key("attention.head_count_kv"))?.unwrap_or(num_heads),
        "rms_norm_eps": meta
            .optional_f32(&key("attention.layer_norm_rms_epsilon"))?
            .ok_or_else(|| ChatError::MissingKey { key: key("attention.layer_norm_rms_epsilon") })?,
        "rope_theta": rope_theta,
        "tie_word_embeddings": !tensors.has_output_weight,
        "vocab_size": meta.optional_u64(&key("vocab_size"))?.unwrap_or(num_tokens).max(num_tokens),
    });
    if tensors.has_mlp_bias {
        add(&mut config, "mlp_bias", json!(true));
    }
    if let Some(scaling) = rope_scaling(meta, architecture, tensors)? {
        add(&mut config, "rope_scaling", scaling);
    }
    let extra = match architecture {
        "gemma3" => gemma3_fields(meta, hidden_size, num_heads, head_dim)?,
        "phi3" => phi3_fields(meta, head_dim)?,
        _ => {
            check_rotary_dim(meta, architecture, head_dim)?;
            Vec::new()
        }
    };
    for (name, value) in extra.into_iter().chain(special_ids(meta)?) {
        add(&mut config, name, value);
    }
    Ok(format!("{config:#}\n"))
}

type Fields = Vec<(&'static str, Value)>;

/// What only `Gemma3TextConfig` has.
fn gemma3_fields(meta: &Metadata<'_>, hidden: u64, heads: u64, head_dim: u64) -> Result<Fields, ChatError> {
    check_rotary_dim(meta, "gemma3", head_dim)?;
    let num_layers = meta.u64("gemma3.block_count")?;
    let scalar = if num_layers == GEMMA3_27B_LAYERS { hidden / heads.max(1) } else { head_dim };
    let period_key = "gemma3.attention.sliding_window_pattern";
    let period = meta.optional_u64(period_key)?.unwrap_or(DEFAULT_GEMMA3_PERIOD);
    // A file may claim any number of layers; the list is as long as the model that its tensors make is checked to be.
    let listed = num_layers.min(10_000);
    let is_full = |layer: u64| period > 0 && (layer + 1).is_multiple_of(period);
    let kinds = (0..listed).map(|layer| if is_full(layer) { "full_attention" } else { "sliding_attention" });
    let local_theta = meta.optional_f32("gemma3.rope.freq_base_swa")?.unwrap_or(DEFAULT_LOCAL_ROPE_THETA);
    let mut fields = vec![
        ("model_type", json!("gemma3_text")),
        ("hidden_activation", json!("gelu_pytorch_tanh")),
        ("query_pre_attn_scalar", json!(scalar)),
        ("sliding_window", json!(meta.u64("gemma3.attention.sliding_window")?)),
        ("layer_types", kinds.collect()),
        ("rope_local_base_freq", json!(local_theta)),
    ];
    for (name, key) in [
        ("attn_logit_softcapping", "gemma3.attn_logit_softcapping"),
        ("final_logit_softcapping", "gemma3.final_logit_softcapping"),
    ] {
        if let Some(cap) = meta.optional_f32(key)?.filter(|cap| *cap != 0.0) {
            fields.push((name, json!(cap)));
        }
    }
    Ok(fields)
}

/// What only `Phi3Config` has.
fn phi3_fields(meta: &Metadata<'_>, head_dim: u64) -> Result<Fields, ChatError> {
    let window = meta.optional_u64("phi3.attention.sliding_window")?.filter(|window| *window > 0);
    let rotated = meta.optional_u64("phi3.rope.dimension_count")?.unwrap_or(head_dim);
    let mut fields = vec![
        ("sliding_window", json!(window)),
        ("partial_rotary_factor", json!(rotated as f64 / head_dim.max(1) as f64)),
    ];
    if let Some(length) = meta.optional_u64("phi3.rope.scaling.original_context_length")? {
        fields.push(("original_max_position_embeddings", json!(length)));
    }
    Ok(fields)
}

/// Whole heads are rotated in these families.
fn check_rotary_dim(meta: &Metadata<'_>, architecture: &str, head_dim: u64) -> Result<(), ChatError> {
    let key = format!("{architecture}.rope.dimension_count");
    match meta.optional_u64(&key)? {
        Some(rotated) if rotated != head_dim => Err(ChatError::WrongType { key, expected: "the width of a head" }),
        _ => Ok(()),
    }
}

pub(super) fn generation_config_json(meta: &Metadata<'_>) -> Result<String, ChatError> {
    let mut config: Map<String, Value> =
        special_ids(meta)?.into_iter().map(|(name, id)| (name.to_owned(), id)).collect();
    let eos = meta.optional_u64("tokenizer.ggml.eos_token_id")?;
    let end_of_turn = meta.optional_u64("tokenizer.ggml.eot_token_id")?.filter(|id| Some(*id) != eos);
    if let (Some(eos), Some(end_of_turn)) = (eos, end_of_turn) {
        config.insert("eos_token_id".to_owned(), json!([eos, end_of_turn]));
    }
    Ok(format!("{:#}\n", Value::Object(config)))
}

fn class_name(architecture: &str) -> &'static str {
    match architecture {
        "qwen2" => "Qwen2ForCausalLM",
        "qwen3" => "Qwen3ForCausalLM",
        "gemma3" => "Gemma3ForCausalLM",
        "phi3" => "Phi3ForCausalLM",
        _ => "LlamaForCausalLM",
    }
}

fn rope_scaling(
    meta: &Metadata<'_>,
    architecture: &str,
    tensors: &GgufTensorFacts,
) -> Result<Option<Value>, ChatError> {
    let key = |name: &str| format!("{architecture}.rope.scaling.{name}");
    if let Some(divisors) = &tensors.rope_freqs {
        // The factors that transformers would compute from the `llama3` settings, which the file does not keep.
        return Ok(Some(json!({
            "rope_type": "longrope",
            "short_factor": divisors,
            "long_factor": divisors,
            "attention_factor": 1.0,
            "original_max_position_embeddings": meta.u64(&format!("{architecture}.context_length"))?,
        })));
    }
    if let (Some(short), Some(long)) = (&tensors.rope_factors_short, &tensors.rope_factors_long) {
        return Ok(Some(json!({ "rope_type": "longrope", "short_factor": short, "long_factor": long })));
    }
    let kind = meta.optional_str(&key("type"))?.unwrap_or("none");
    if kind == "none" {
        return Ok(None);
    }
    let mut scaling = json!({ "rope_type": kind, "factor": meta.optional_f32(&key("factor"))?.unwrap_or(1.0) });
    if let Some(length) = meta.optional_u64(&key("original_context_length"))? {
        add(&mut scaling, "original_max_position_embeddings", json!(length));
    }
    Ok(Some(scaling))
}

fn special_ids(meta: &Metadata<'_>) -> Result<Vec<(&'static str, Value)>, ChatError> {
    let names = [("bos_token_id", "bos"), ("eos_token_id", "eos"), ("pad_token_id", "padding")];
    let mut ids = Vec::new();
    for (name, gguf_name) in names {
        if let Some(id) = meta.optional_u64(&format!("tokenizer.ggml.{gguf_name}_token_id"))? {
            ids.push((name, json!(id)));
        }
    }
    Ok(ids)
}

fn add(object: &mut Value, name: &str, value: Value) {
    if let Some(map) = object.as_object_mut() {
        map.insert(name.to_owned(), value);
    }
}
