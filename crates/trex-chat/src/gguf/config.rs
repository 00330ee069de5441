//! `config.json` and `generation_config.json` from GGUF metadata.
//!
//! Keys as in transformers' `LlamaConfig`, `Qwen2Config` and `Qwen3Config`; keys of GGUF as in ggml's `docs/gguf.md`.

use serde_json::{Map, Value, json};

use super::ARCHITECTURES;
use super::metadata::Metadata;
use crate::ChatError;

/// Rotary base where the file names none (`docs/gguf.md` and transformers agree).
const DEFAULT_ROPE_THETA: f64 = 10_000.0;

pub(super) fn config_json(meta: &Metadata<'_>, has_output_weight: bool) -> Result<String, ChatError> {
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
        "attention_bias": false,
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
        "tie_word_embeddings": !has_output_weight,
        "vocab_size": meta.optional_u64(&key("vocab_size"))?.unwrap_or(num_tokens).max(num_tokens),
    });
    if let Some(scaling) = rope_scaling(meta, architecture)? {
        add(&mut config, "rope_scaling", scaling);
    }
    for (name, id) in special_ids(meta)? {
        add(&mut config, name, id);
    }
    Ok(format!("{config:#}\n"))
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
        _ => "LlamaForCausalLM",
    }
}

fn rope_scaling(meta: &Metadata<'_>, architecture: &str) -> Result<Option<Value>, ChatError> {
    let key = |name: &str| format!("{architecture}.rope.scaling.{name}");
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
