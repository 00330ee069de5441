use super::*;

fn parsed(json: &str) -> Result<ModelConfig, TrainError> {
    parse(Path::new("config.json"), json.as_bytes())
}

#[track_caller]
fn assert_close(found: f64, expected: f64) {
    assert!((found / expected - 1.0).abs() < 1e-12, "{found} against {expected}");
}

#[track_caller]
fn check(json: &str, code: &str) {
    let found = parsed(json).map_or_else(|err| trex_domain::Problem::code(&err), |_| "ok");
    assert_eq!(found, code, "{json}");
}

fn config(extra: &str) -> String {
    format!(
        r#"{{"hidden_size":8,"intermediate_size":16,"num_hidden_layers":3,"num_attention_heads":2,
            "vocab_size":10,"max_position_embeddings":32{extra}}}"#
    )
}

fn of(class: &str, extra: &str) -> ModelConfig {
    parsed(&config(&format!(r#","architectures":["{class}"],"num_key_value_heads":1,"head_dim":4{extra}"#))).unwrap()
}

#[test]
fn only_what_is_implemented_is_accepted() {
    check(&config(r#","architectures":["LlamaForCausalLM"]"#), "ok");
    check(&config(r#","model_type":"llama""#), "ok");
    check(&config(r#","architectures":["MambaForCausalLM"]"#), "model.unknown_architecture");
    check(r#"{"architectures":["MambaForCausalLM"]}"#, "model.unknown_architecture");
    check(&config(r#","model_type":"llama","num_key_value_heads":3"#), "model.inconsistent_config");
    check(&config(r#","model_type":"llama","head_dim":3"#), "model.inconsistent_config");
    check(&config(r#","model_type":"llama","rope_scaling":{"rope_type":"llama3"}"#), "model.inconsistent_config");
    check(&config(r#","model_type":"llama","rope_scaling":{"type":"linear","factor":0}"#), "model.inconsistent_config");
    check(&config(r#","model_type":"llama","rope_scaling":{"type":"dynamic","factor":4}"#), "model.not_implemented");
    check(&config(r#","model_type":"llama","rope_scaling":{"type":"yarn"}"#), "model.inconsistent_config");
    check(
        &config(r#","model_type":"llama","rope_scaling":{"type":"yarn","factor":4,"beta_fast":1}"#),
        "model.inconsistent_config",
    );
    check(&config(r#","model_type":"llama","hidden_act":"relu""#), "model.not_implemented");
    check(&config(r#","model_type":"llama","quantization_config":{"quant_method":"gptq"}"#), "model.not_implemented");
    check(&config(r#","model_type":"gemma3_text","final_logit_softcapping":30.0"#), "model.not_implemented");
    check(&config(r#","model_type":"qwen3","layer_types":["linear_attention"]"#), "model.not_implemented");
    check(&config(r#","model_type":"qwen3","layer_types":["full_attention"]"#), "model.inconsistent_config");
    check("{", "model.bad_config");
    check(r#"{"model_type":"llama"}"#, "model.bad_config");
}

#[test]
fn an_unknown_architecture_is_told_what_works() {
    let err = parsed(&config(r#","architectures":["MambaForCausalLM"]"#)).unwrap_err();
    let hint = trex_domain::Problem::hint(&err).unwrap();
    assert!(err.to_string().contains("MambaForCausalLM"), "{err}");
    for known in Architecture::ALL {
        assert!(hint.contains(known.class_name()), "{hint}");
    }
}

#[test]
fn a_plain_llama_has_no_variant() {
    let plain = of("LlamaForCausalLM", r#","rope_theta":5000.0,"attention_bias":false"#);
    assert_eq!(plain.variant, Variant::default());
    let renamed = of("LlamaForCausalLM", r#","rope_parameters":{"rope_type":"default","rope_theta":5000.0}"#);
    assert_eq!(renamed, plain);
}

#[test]
fn the_families_differ_where_they_should() {
    let qwen2 = of("Qwen2ForCausalLM", "").variant;
    assert!(qwen2.qkv_bias && !qwen2.output_bias && !qwen2.qk_norm && qwen2.local.is_none());
    let qwen3 = of("Qwen3ForCausalLM", r#","attention_bias":true"#).variant;
    assert!(qwen3.qkv_bias && qwen3.output_bias && qwen3.qk_norm);
    let phi3 = of("Phi3ForCausalLM", "");
    let names: Vec<_> = phi3.projection_shapes();
    assert_eq!(names[0], ("self_attn.qkv_proj", (16, 8)));
    assert_eq!(names[2], ("mlp.gate_up_proj", (32, 8)));
    let gemma = of("Gemma3ForCausalLM", r#","sliding_window":4,"query_pre_attn_scalar":16"#);
    assert!(gemma.tie_word_embeddings && gemma.variant.norm_offset && gemma.variant.sandwich_norms);
    assert_close(gemma.attention_scale(), 0.25);
    assert_eq!(gemma.variant.activation, Activation::GeluTanh);
    assert_close(gemma.rope_theta, 1e6);
    assert_eq!(gemma.tensor_shapes().len(), 1 + 3 * (7 + 6) + 1);
}

#[test]
fn windows_are_read_by_each_family_in_its_own_way() {
    let windows = |config: &ModelConfig| [0, 1, 2].map(|layer| config.layer_window(layer));
    assert_eq!(windows(&of("MistralForCausalLM", r#","sliding_window":8"#)), [Some(8); 3]);
    assert_eq!(windows(&of("MistralForCausalLM", r#","sliding_window":null"#)), [None; 3]);
    assert_eq!(windows(&of("LlamaForCausalLM", r#","sliding_window":8"#)), [None; 3]);
    assert_eq!(windows(&of("Qwen2ForCausalLM", r#","sliding_window":8"#)), [None; 3]);
    let qwen = of("Qwen2ForCausalLM", r#","sliding_window":8,"use_sliding_window":true,"max_window_layers":1"#);
    assert_eq!(windows(&qwen), [None, Some(8), Some(8)]);
    let gemma = of("Gemma3ForCausalLM", r#","sliding_window":8,"sliding_window_pattern":2"#);
    assert_eq!(windows(&gemma), [Some(8), None, Some(8)]);
    let kinds = r#","sliding_window":8,"layer_types":["full_attention","sliding_attention","full_attention"]"#;
    let gemma = of("Gemma3ForCausalLM", kinds);
    assert_eq!(windows(&gemma), [None, Some(8), None]);
    assert!(gemma.layer_has_local_rope(1) && !gemma.layer_has_local_rope(0));
}

#[test]
fn both_spellings_of_gemma_rope_are_read() {
    let old = of(
        "Gemma3ForCausalLM",
        r#","rope_theta":1e5,"rope_local_base_freq":5e3,
        "rope_scaling":{"rope_type":"linear","factor":8.0}"#,
    );
    let new = of(
        "Gemma3ForCausalLM",
        r#","rope_parameters":{
        "full_attention":{"rope_type":"linear","factor":8.0,"rope_theta":1e5},
        "sliding_attention":{"rope_type":"default","rope_theta":5e3}}"#,
    );
    assert_eq!(old, new);
    assert_close(old.frequencies().inverse[0], 0.125);
    assert_close(old.local_frequencies().unwrap().inverse[0], 1.0);
}

#[test]
fn longrope_is_limited_to_short_sequences() {
    let scaling = r#","max_position_embeddings":64,"original_max_position_embeddings":16,
        "rope_scaling":{"type":"longrope","short_factor":[1.0,2.0],"long_factor":[3.0,4.0]}"#;
    let json = config(&format!(r#","model_type":"phi3"{scaling}"#)).replacen(r#","max_position_embeddings":32"#, "", 1);
    let phi = parsed(&json).unwrap();
    assert_eq!(phi.max_position, 16);
    let frequencies = phi.frequencies();
    assert_close(frequencies.inverse[1], 0.01 / 2.0);
    assert_close(frequencies.attention_factor, 1.5f64.sqrt());
}

/// Expected values by `tests/golden/yarn.py`; transformers computes them in 32 bits.
#[test]
fn frequencies_of_yarn_are_those_of_transformers() {
    let cases: [(&str, [f64; 8], f64); 3] = [
        (
            r#""factor":4.0,"original_max_position_embeddings":2048"#,
            [1.0, 0.316_227_764, 0.1, 0.025_693_506, 0.006_25, 0.001_383_496_56, 0.000_25, 7.905_694_66e-5],
            1.138_629_436_111_989,
        ),
        (
            r#""factor":8.0,"original_max_position_embeddings":512,"beta_fast":16.0,"beta_slow":2.0,"attention_factor":1.5"#,
            [
                1.0,
                0.316_227_764,
                0.070_833_332_8,
                0.013_176_158_1,
                0.001_25,
                0.000_395_284_733,
                0.000_125,
                3.952_847_33e-5,
            ],
            1.5,
        ),
        (
            r#""factor":40.0,"original_max_position_embeddings":4096,"mscale":0.707,"mscale_all_dim":1.0"#,
            [1.0, 0.316_227_764, 0.1, 0.023_914_724_6, 0.005_125, 0.000_849_862_176, 2.5e-5, 7.905_694_47e-6],
            0.921_042_355_316_339_9,
        ),
    ];
    for (settings, inverse, attention_factor) in cases {
        let rope = format!(r#","rope_theta":10000.0,"rope_scaling":{{"rope_type":"yarn",{settings}}},"head_dim":16"#);
        let model = parsed(&config(&format!(r#","model_type":"qwen2","num_key_value_heads":1{rope}"#))).unwrap();
        let found = model.frequencies();
        for (found, expected) in found.inverse.iter().zip(inverse) {
            assert!((found / expected - 1.0).abs() < 1e-6, "{settings}: {found} against {expected}");
        }
        assert!((found.attention_factor - attention_factor).abs() < 1e-9, "{settings}");
    }
}
