//! Stretched rotary frequencies in a GGUF file: keys where llama.cpp computes them, tensors where it reads them
//! (`convert_hf_to_gguf.py` of llama.cpp). Forms that llama.cpp would read differently are refused.

use serde_json::Value;
use trex_chat::MetaValue;

use super::layout::Architecture;
use super::metadata::Metadata;
use crate::model_config::RopeScaling;
use crate::ops::single;
use crate::{ModelConfig, TrainError};

/// What a file holds beside the weights.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct ScaledRope {
    /// Keys below the name of the architecture.
    pub(crate) metadata: Metadata,
    /// Names and values of tensors of one dimension.
    pub(crate) tensors: Vec<(&'static str, Vec<f32>)>,
}

/// How `config` stretches its frequencies; `raw` is its `config.json`.
pub(crate) fn scaled_rope(
    architecture: Architecture,
    raw: &Value,
    config: &ModelConfig,
) -> Result<ScaledRope, TrainError> {
    let kind = |name: &str| ("rope.scaling.type", MetaValue::Str(name.to_owned()));
    let number = |key, value| (key, MetaValue::F64(value));
    let length = |value: usize| ("rope.scaling.original_context_length", MetaValue::U64(value as u64));
    let (keys, tensors) = match &config.variant.rope.scaling {
        RopeScaling::None => (Vec::new(), Vec::new()),
        RopeScaling::Linear { factor } => (vec![kind("linear"), number("rope.scaling.factor", *factor)], Vec::new()),
        RopeScaling::Yarn(yarn) if yarn.is_usual() => {
            let keys = vec![
                kind("yarn"),
                number("rope.scaling.factor", yarn.factor),
                length(yarn.original_max_position),
                number("rope.scaling.yarn_beta_fast", yarn.beta_fast),
                number("rope.scaling.yarn_beta_slow", yarn.beta_slow),
            ];
            (keys, Vec::new())
        }
        RopeScaling::Llama3 { .. } if architecture == Architecture::Llama => (Vec::new(), divisors(config)),
        RopeScaling::LongRope { attention_factor, .. } if architecture == Architecture::Phi3 => {
            let factors = |name: &str| factors(raw, name);
            let tensors = vec![
                ("rope_factors_long.weight", factors("long_factor")?),
                ("rope_factors_short.weight", factors("short_factor")?),
            ];
            (vec![number("rope.scaling.attn_factor", *attention_factor)], tensors)
        }
        // What the import of such a file makes of its tensor.
        RopeScaling::LongRope { attention_factor, .. }
            if architecture == Architecture::Llama
                && (attention_factor - 1.0).abs() < f64::EPSILON
                && factors(raw, "long_factor")? == factors(raw, "short_factor")? =>
        {
            (Vec::new(), divisors(config))
        }
        other => {
            let why = format!("llama.cpp has no form for the rotary frequencies of the model ({other:?})");
            return Err(TrainError::NotExportable { what: "GGUF".to_owned(), why });
        }
    };
    let prefixed = |(key, value)| (format!("{}.{key}", architecture.name()), value);
    Ok(ScaledRope { metadata: keys.into_iter().map(prefixed).collect(), tensors })
}

/// What each plain frequency is divided by.
fn divisors(config: &ModelConfig) -> Vec<(&'static str, Vec<f32>)> {
    let plain = config.plain_frequencies().inverse;
    let stretched = config.frequencies().inverse;
    let values = plain.iter().zip(&stretched).map(|(plain, stretched)| single(plain / stretched)).collect();
    vec![("rope_freqs.weight", values)]
}

fn factors(raw: &Value, name: &str) -> Result<Vec<f32>, TrainError> {
    let places = ["rope_scaling", "rope_parameters"];
    let found = places.iter().find_map(|place| raw.get(place)?.get(name)?.as_array());
    let values = found.map(|values| values.iter().filter_map(Value::as_f64).map(single).collect());
    values
        .ok_or_else(|| TrainError::NotExportable { what: "GGUF".to_owned(), why: format!("config.json has no {name}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(model_type: &str, scaling: &str) -> (Value, ModelConfig) {
        let json = format!(
            r#"{{"model_type":"{model_type}","vocab_size":32,"hidden_size":8,"intermediate_size":16,
            "num_hidden_layers":1,"num_attention_heads":1,"num_key_value_heads":1,"head_dim":8,"pad_token_id":0,
            "max_position_embeddings":64,"original_max_position_embeddings":16,"rope_theta":100.0,"rope_scaling":{scaling}}}"#
        );
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        std::fs::write(&path, &json).unwrap();
        (serde_json::from_str(&json).unwrap(), ModelConfig::load(&path).unwrap())
    }

    fn written(architecture: Architecture, model_type: &str, scaling: &str) -> Result<ScaledRope, TrainError> {
        let (raw, config) = config(model_type, scaling);
        scaled_rope(architecture, &raw, &config)
    }

    #[test]
    fn frequencies_of_llama_3_become_divisors() {
        let scaling = r#"{"rope_type":"llama3","factor":8.0,"low_freq_factor":1.0,"high_freq_factor":4.0,
            "original_max_position_embeddings":16}"#;
        let found = written(Architecture::Llama, "llama", scaling).unwrap();
        // By hand, after `generate_extra_tensors` of llama.cpp: 1 / ((1 - s) / 8 + s) with s = (16 / 2π - 1) / (4 - 1); the
        // other wavelengths are above 16.
        let expected = [1.735_941, 8.0, 8.0, 8.0];
        let [("rope_freqs.weight", values)] = &found.tensors[..] else { panic!("{found:?}") };
        for (value, expected) in values.iter().zip(expected) {
            assert!((value - expected).abs() < 1e-3, "{values:?}");
        }
        assert_eq!(found.metadata, []);
        // No other architecture of llama.cpp reads them.
        assert!(written(Architecture::Qwen2, "qwen2", scaling).is_err());
    }

    #[test]
    fn settings_that_llama_cpp_computes_with_become_keys() {
        let key = |name: &str| format!("qwen2.rope.scaling.{name}");
        let text = |text: &str| MetaValue::Str(text.to_owned());
        let linear = written(Architecture::Qwen2, "qwen2", r#"{"type":"linear","factor":4.0}"#).unwrap();
        assert_eq!(linear.metadata, [(key("type"), text("linear")), (key("factor"), MetaValue::F64(4.0))]);
        let yarn = r#"{"type":"yarn","factor":4.0,"original_max_position_embeddings":16}"#;
        let yarn = written(Architecture::Qwen2, "qwen2", yarn).unwrap();
        let expected = [
            (key("type"), text("yarn")),
            (key("factor"), MetaValue::F64(4.0)),
            (key("original_context_length"), MetaValue::U64(16)),
            (key("yarn_beta_fast"), MetaValue::F64(32.0)),
            (key("yarn_beta_slow"), MetaValue::F64(1.0)),
        ];
        assert_eq!(yarn.metadata, expected);
        let other = r#"{"type":"yarn","factor":4.0,"attention_factor":2.0,"original_max_position_embeddings":16}"#;
        assert!(written(Architecture::Qwen2, "qwen2", other).is_err());
    }

    #[test]
    fn both_lists_of_factors_of_phi_are_kept() {
        let scaling = r#"{"type":"longrope","short_factor":[1.0,1.5,2.0,2.5],"long_factor":[3.0,4.0,5.0,6.0]}"#;
        let found = written(Architecture::Phi3, "phi3", scaling).unwrap();
        let expected = vec![
            ("rope_factors_long.weight", vec![3.0, 4.0, 5.0, 6.0]),
            ("rope_factors_short.weight", vec![1.0, 1.5, 2.0, 2.5]),
        ];
        assert_eq!(found.tensors, expected);
        assert_eq!(found.metadata[0].0, "phi3.rope.scaling.attn_factor");
    }
}
