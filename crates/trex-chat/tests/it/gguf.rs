//! Files made from GGUF metadata, and what is refused.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use trex_chat::{GgufTensorFacts, MetaValue, hf_files_from_gguf};
use trex_domain::Problem as _;

use crate::golden::{metadata, model_from};

fn text(text: &str) -> MetaValue {
    MetaValue::Str(text.to_owned())
}

fn changed(key: &str, value: Option<MetaValue>) -> BTreeMap<String, MetaValue> {
    let mut meta = metadata("smollm");
    meta.remove(key);
    meta.extend(value.map(|value| (key.to_owned(), value)));
    meta
}

#[track_caller]
fn check_refused(key: &str, value: Option<MetaValue>, code: &str, named: &str) {
    let err = hf_files_from_gguf(&changed(key, value), &GgufTensorFacts::default()).unwrap_err();
    assert_eq!(err.code(), code, "{err}");
    let told = format!("{err} {}", err.hint().unwrap_or_default());
    assert!(told.contains(named), "{told}");
}

#[test]
fn what_cannot_be_exact_is_refused() {
    check_refused("tokenizer.ggml.pre", Some(text("tekken")), "chat.gguf_pre_tokenizer", "tekken");
    check_refused("tokenizer.ggml.pre", Some(text("tekken")), "chat.gguf_pre_tokenizer", "smollm, llama-bpe");
    check_refused("tokenizer.ggml.pre", None, "chat.gguf_missing_key", "tokenizer.ggml.pre");
    check_refused("tokenizer.ggml.model", Some(text("llama")), "chat.gguf_tokenizer", "add_space_prefix");
    check_refused("tokenizer.ggml.model", Some(text("bert")), "chat.gguf_tokenizer", "bert");
    check_refused("llama.rope.dimension_count", Some(MetaValue::U64(8)), "chat.gguf_wrong_type", "dimension_count");
    check_refused("general.architecture", Some(text("mamba")), "chat.gguf_architecture", "mamba");
    check_refused("llama.expert_count", Some(MetaValue::U64(8)), "chat.gguf_architecture", "experts");
    check_refused("llama.block_count", None, "chat.gguf_missing_key", "llama.block_count");
    check_refused("llama.block_count", Some(text("3")), "chat.gguf_wrong_type", "llama.block_count");
    check_refused("llama.block_count", Some(MetaValue::I64(-1)), "chat.gguf_wrong_type", "llama.block_count");
    check_refused("tokenizer.ggml.token_type", Some(MetaValue::Array(vec![])), "chat.gguf_wrong_type", "token_type");
    check_refused("tokenizer.ggml.eos_token_id", Some(MetaValue::U64(1 << 40)), "chat.gguf_wrong_type", "eos_token_id");
    check_refused(
        "tokenizer.ggml.tokens",
        Some(MetaValue::Array(vec![MetaValue::Bool(true)])),
        "chat.gguf_wrong_type",
        "texts",
    );
}

#[test]
fn the_configuration_has_the_names_of_transformers() {
    let mut meta = metadata("smollm");
    meta.insert("llama.rope.freq_base".to_owned(), MetaValue::F64(100_000.0));
    let files = hf_files_from_gguf(&meta, &GgufTensorFacts::default()).unwrap();
    let config: Value = serde_json::from_str(&files.config_json).unwrap();
    let expected = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 32, "intermediate_size": 64,
        "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 16,
        "rms_norm_eps": 1e-5, "rope_theta": 100_000.0, "max_position_embeddings": 512, "tie_word_embeddings": true,
    });
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&config[key], value, "{key}");
    }
    let num_tokens = model_from(&meta).vocab_size();
    let rows = usize::try_from(config["vocab_size"].as_u64().unwrap()).unwrap();
    assert!(rows.is_multiple_of(32) && rows > num_tokens, "fillers are rows of the embedding, not tokens");
    let untied: Value = serde_json::from_str(
        &hf_files_from_gguf(&meta, &GgufTensorFacts { has_output_weight: true, ..Default::default() })
            .unwrap()
            .config_json,
    )
    .unwrap();
    assert_eq!(untied["tie_word_embeddings"], false);
}

#[test]
fn other_architectures_use_their_own_keys() {
    let renamed = |name: &str| -> BTreeMap<String, MetaValue> {
        let mut meta: BTreeMap<_, _> = metadata("qwen2")
            .into_iter()
            .map(|(key, value)| (key.replacen("llama.", &format!("{name}."), 1), value))
            .collect();
        meta.insert("general.architecture".to_owned(), text(name));
        meta.insert(format!("{name}.attention.key_length"), MetaValue::U64(24));
        meta.insert(format!("{name}.attention.head_count_kv"), MetaValue::U64(1));
        meta.insert(format!("{name}.rope.scaling.type"), text("yarn"));
        meta.insert(format!("{name}.rope.scaling.factor"), MetaValue::F64(4.0));
        meta
    };
    for (name, class) in [("qwen2", "Qwen2ForCausalLM"), ("qwen3", "Qwen3ForCausalLM")] {
        let files = hf_files_from_gguf(&renamed(name), &GgufTensorFacts::default()).unwrap();
        let config: Value = serde_json::from_str(&files.config_json).unwrap();
        assert_eq!(config["architectures"], json!([class]));
        assert_eq!((&config["head_dim"], &config["num_key_value_heads"]), (&json!(24), &json!(1)));
        assert_eq!(config["rope_scaling"], json!({ "rope_type": "yarn", "factor": 4.0 }));
    }
}

/// The configuration of the sample metadata under another architecture, with these further keys.
fn config_of(name: &str, extra: &[(&str, MetaValue)], tensors: &GgufTensorFacts) -> Value {
    let renamed = |key: String| key.replacen("llama.", &format!("{name}."), 1);
    let mut meta: BTreeMap<_, _> = metadata("qwen2").into_iter().map(|(key, value)| (renamed(key), value)).collect();
    meta.insert("general.architecture".to_owned(), text(name));
    meta.extend(extra.iter().map(|(key, value)| (format!("{name}.{key}"), value.clone())));
    serde_json::from_str(&hf_files_from_gguf(&meta, tensors).unwrap().config_json).unwrap()
}

#[test]
fn gemma3_gets_what_its_metadata_leaves_out() {
    let extra = [
        ("block_count", MetaValue::U64(7)),
        ("attention.key_length", MetaValue::U64(24)),
        ("attention.sliding_window", MetaValue::U64(512)),
        ("rope.freq_base", MetaValue::F64(1e6)),
        ("rope.scaling.type", text("linear")),
        ("rope.scaling.factor", MetaValue::F64(8.0)),
    ];
    let config = config_of("gemma3", &extra, &GgufTensorFacts::default());
    assert_eq!(
        (&config["architectures"][0], &config["model_type"]),
        (&json!("Gemma3ForCausalLM"), &json!("gemma3_text"))
    );
    assert_eq!((&config["query_pre_attn_scalar"], &config["sliding_window"]), (&json!(24), &json!(512)));
    assert_eq!((&config["rope_theta"], &config["rope_local_base_freq"]), (&json!(1e6), &json!(1e4)));
    assert_eq!(config["rope_scaling"], json!({ "rope_type": "linear", "factor": 8.0 }));
    let kinds: Vec<_> = config["layer_types"].as_array().unwrap().iter().map(|kind| kind == "full_attention").collect();
    assert_eq!(kinds, [false, false, false, false, false, true, false]);
    let largest =
        config_of("gemma3", &[("block_count", MetaValue::U64(62)), extra[2].clone()], &GgufTensorFacts::default());
    assert_eq!(largest["query_pre_attn_scalar"], 16, "hidden size by heads in the 27B model");
}

#[test]
fn phi3_gets_its_rotary_factors_from_tensors() {
    let tensors = GgufTensorFacts {
        rope_factors_short: Some(vec![1.0, 1.5]),
        rope_factors_long: Some(vec![2.0, 2.5]),
        ..Default::default()
    };
    let extra = [
        ("rope.dimension_count", MetaValue::U64(4)),
        ("rope.scaling.original_context_length", MetaValue::U64(128)),
        ("attention.sliding_window", MetaValue::U64(64)),
    ];
    let config = config_of("phi3", &extra, &tensors);
    assert_eq!((&config["partial_rotary_factor"], &config["sliding_window"]), (&json!(0.25), &json!(64)));
    assert_eq!(config["original_max_position_embeddings"], 128);
    let expected = json!({ "rope_type": "longrope", "short_factor": [1.0, 1.5], "long_factor": [2.0, 2.5] });
    assert_eq!(config["rope_scaling"], expected);
    let plain = config_of("phi3", &[("attention.sliding_window", MetaValue::U64(0))], &GgufTensorFacts::default());
    assert_eq!((&plain["sliding_window"], &plain["partial_rotary_factor"]), (&Value::Null, &json!(1.0)));
}

#[test]
fn llama_gets_rotary_factors_and_biases_from_tensors() {
    let tensors = GgufTensorFacts {
        has_attention_bias: true,
        has_mlp_bias: true,
        rope_freqs: Some(vec![1.0, 8.0]),
        ..Default::default()
    };
    let config = config_of("llama", &[], &tensors);
    assert_eq!((&config["attention_bias"], &config["mlp_bias"]), (&json!(true), &json!(true)));
    assert_eq!(config["rope_scaling"]["short_factor"], config["rope_scaling"]["long_factor"]);
    assert_eq!(config["rope_scaling"]["attention_factor"], 1.0);
    assert_eq!(config_of("qwen2", &[], &tensors)["attention_bias"], false, "its biases go without saying");
}

#[test]
fn both_ends_of_generation_are_written() {
    let files = hf_files_from_gguf(
        &changed("tokenizer.ggml.eot_token_id", Some(MetaValue::U64(0))),
        &GgufTensorFacts::default(),
    )
    .unwrap();
    let generation: Value = serde_json::from_str(&files.generation_config_json).unwrap();
    let eos = metadata("smollm")["tokenizer.ggml.eos_token_id"].clone();
    assert_eq!(MetaValue::U64(generation["eos_token_id"][0].as_u64().unwrap()), eos);
    assert_eq!(generation["eos_token_id"][1], 0);
    let names: Vec<_> = files.files().into_iter().map(|(name, _)| name).collect();
    let expected =
        ["chat_template.jinja", "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"];
    assert_eq!(names, expected);
}

#[test]
fn a_base_model_has_no_template() {
    let files = hf_files_from_gguf(&changed("tokenizer.chat_template", None), &GgufTensorFacts::default()).unwrap();
    assert_eq!(files.chat_template_jinja, None);
    assert_eq!(files.files().len(), 4);
}

#[test]
fn kinds_of_tokens_decide_what_is_special() {
    let model = model_from(&metadata("smollm"));
    let ids = model.encode("<tool>a<|eot_id|>").unwrap();
    assert_eq!(ids.len(), 3);
    assert_eq!(model.decode(&ids).unwrap(), "<tool>a");
    assert_eq!(
        model.encode("[PAD700]").unwrap(),
        ["[", "P", "A", "D", "7", "0", "0", "]"].map(|part| model.encode(part).unwrap()).concat()
    );
}

#[test]
fn qwen2_composes_accents() {
    let model = model_from(&metadata("qwen2"));
    assert_eq!(model.encode("cafe\u{301}").unwrap(), model.encode("caf\u{e9}").unwrap());
    let model = model_from(&metadata("gpt-2"));
    assert_ne!(model.encode("cafe\u{301}").unwrap(), model.encode("caf\u{e9}").unwrap());
}

#[test]
fn llama3_files_add_bos_for_plain_text() {
    let files = hf_files_from_gguf(&metadata("llama-bpe"), &GgufTensorFacts::default()).unwrap();
    let tokenizer: tokenizers::Tokenizer = files.tokenizer_json.parse().unwrap();
    let ids = tokenizer.encode("a", true).unwrap().get_ids().to_vec();
    let bos = tokenizer.token_to_id("<|im_start|>").unwrap();
    assert_eq!(ids, [bos, tokenizer.token_to_id("a").unwrap()]);
    let files = hf_files_from_gguf(&metadata("smollm"), &GgufTensorFacts::default()).unwrap();
    let tokenizer: tokenizers::Tokenizer = files.tokenizer_json.parse().unwrap();
    assert_eq!(tokenizer.encode("a", true).unwrap().get_ids(), [tokenizer.token_to_id("a").unwrap()]);
}
