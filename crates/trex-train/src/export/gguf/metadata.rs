//! The metadata of a GGUF file beside its tokenizer: shape of the model, names, licence (ggml, `docs/gguf.md`).

use serde_json::Value;
use trex_chat::MetaValue;
use trex_domain::ModelCard;

use super::layout::{Architecture, Layout};
use super::name::FileName;
use crate::TrainError;

/// Key and value pairs in the order in which they are written.
pub(crate) type Metadata = Vec<(String, MetaValue)>;

fn text(text: &str) -> MetaValue {
    MetaValue::Str(text.to_owned())
}

/// `general.*`: what the model is called, where it comes from.
pub(crate) fn general(layout: Layout, kind: &str, name: &FileName, card: &ModelCard) -> Metadata {
    let mut meta = vec![
        ("general.architecture".to_owned(), text(layout.architecture.name())),
        ("general.type".to_owned(), text(kind)),
        ("general.name".to_owned(), text(&card.title())),
        ("general.basename".to_owned(), text(&name.base)),
        ("general.finetune".to_owned(), text(&name.fine_tune)),
        ("general.size_label".to_owned(), text(&name.size)),
        ("general.version".to_owned(), text(&name.version)),
    ];
    if let Some(license) = &card.license {
        meta.push(("general.license".to_owned(), text(license)));
    }
    meta.push(("general.base_model.count".to_owned(), MetaValue::U64(1)));
    meta.push(("general.base_model.0.name".to_owned(), text(&name.base_name)));
    if let Some((owner, _)) = card.hub_id() {
        let url = format!("https://huggingface.co/{}", card.base_model);
        meta.push(("general.base_model.0.organization".to_owned(), text(owner)));
        meta.push(("general.base_model.0.repo_url".to_owned(), text(&url)));
    }
    let tags = ["text-generation", "trex"].map(text).to_vec();
    meta.push(("general.tags".to_owned(), MetaValue::Array(tags)));
    meta
}

/// The shape of the model from its `config.json`, under the keys of its architecture.
pub(crate) fn hyper_parameters(layout: Layout, config: &Value) -> Result<Metadata, TrainError> {
    let architecture = layout.architecture;
    let whole = |name: &str| {
        config.get(name).and_then(Value::as_u64).ok_or_else(|| TrainError::NotExportable {
            what: "GGUF".to_owned(),
            why: format!("config.json has no {name}"),
        })
    };
    let heads = layout.num_heads as u64;
    let head_dim = whole("head_dim").or_else(|_| Ok::<_, TrainError>(whole("hidden_size")? / heads.max(1)))?;
    let eps = config.get("rms_norm_eps").and_then(Value::as_f64).unwrap_or(1e-6);
    // Where transformers 4 and 5 keep the rotary base; models with two kinds of layers have one for each.
    let places = ["/rope_theta", "/rope_parameters/rope_theta", "/rope_parameters/full_attention/rope_theta"];
    let theta = places.iter().find_map(|place| config.pointer(place)?.as_f64()).unwrap_or(10_000.0);
    let mut values = vec![
        ("vocab_size", MetaValue::U64(whole("vocab_size")?)),
        ("context_length", MetaValue::U64(whole("max_position_embeddings")?)),
        ("embedding_length", MetaValue::U64(whole("hidden_size")?)),
        ("block_count", MetaValue::U64(whole("num_hidden_layers")?)),
        ("feed_forward_length", MetaValue::U64(whole("intermediate_size")?)),
        ("attention.head_count", MetaValue::U64(heads)),
        ("attention.head_count_kv", MetaValue::U64(layout.num_kv_heads as u64)),
        ("attention.key_length", MetaValue::U64(head_dim)),
        ("attention.value_length", MetaValue::U64(head_dim)),
        ("attention.layer_norm_rms_epsilon", MetaValue::F64(eps)),
        ("rope.dimension_count", MetaValue::U64(head_dim)),
        ("rope.freq_base", MetaValue::F64(theta)),
    ];
    let window = config.get("sliding_window").and_then(Value::as_u64);
    if let Some(window) = window.filter(|_| matches!(architecture, Architecture::Gemma3 | Architecture::Phi3)) {
        values.push(("attention.sliding_window", MetaValue::U64(window)));
    }
    if architecture == Architecture::Phi3 {
        let original = config.get("original_max_position_embeddings").and_then(Value::as_u64);
        let original = original.map_or_else(|| whole("max_position_embeddings"), Ok)?;
        values.push(("rope.scaling.original_context_length", MetaValue::U64(original)));
    }
    let prefixed = |(key, value)| (format!("{}.{key}", architecture.name()), value);
    Ok(values.into_iter().map(prefixed).collect())
}
