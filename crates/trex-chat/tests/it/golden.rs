//! Ids of llama.cpp and templates of transformers, from `tests/golden/make_golden.py`.

use std::collections::BTreeMap;

use serde::Deserialize;
use trex_chat::{ChatModel, GgufTensorFacts, MetaValue, hf_files_from_gguf};
use trex_domain::Message;

use crate::fixtures::{load, template};

#[derive(Deserialize)]
struct Golden {
    tokens: Vec<String>,
    token_types: Vec<i64>,
    merges: Vec<String>,
    texts: Vec<String>,
    ids: BTreeMap<String, Vec<Vec<u32>>>,
    conversations: BTreeMap<String, Vec<Message>>,
    rendered: Vec<Rendered>,
}

#[derive(Deserialize)]
struct Rendered {
    template: String,
    conversation: String,
    add_generation_prompt: bool,
    text: String,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("../golden/golden.json")).unwrap()
}

fn strings(texts: &[String]) -> MetaValue {
    MetaValue::Array(texts.iter().cloned().map(MetaValue::Str).collect())
}

/// The metadata of the file that `make_golden.py` writes.
pub(crate) fn metadata(pre: &str) -> BTreeMap<String, MetaValue> {
    let golden = golden();
    let id_of = |token: &str| MetaValue::U64(golden.tokens.iter().position(|text| text == token).unwrap() as u64);
    let text = |text: &str| MetaValue::Str(text.to_owned());
    let types = golden.token_types.iter().copied().map(MetaValue::I64).collect();
    let values = [
        ("general.architecture", text("llama")),
        ("llama.block_count", MetaValue::U64(1)),
        ("llama.context_length", MetaValue::U64(512)),
        ("llama.embedding_length", MetaValue::U64(32)),
        ("llama.feed_forward_length", MetaValue::U64(64)),
        ("llama.attention.head_count", MetaValue::U64(2)),
        ("llama.attention.layer_norm_rms_epsilon", MetaValue::F64(f64::from(1e-5_f32))),
        ("tokenizer.ggml.model", text("gpt2")),
        ("tokenizer.ggml.pre", text(pre)),
        ("tokenizer.ggml.tokens", strings(&golden.tokens)),
        ("tokenizer.ggml.token_type", MetaValue::Array(types)),
        ("tokenizer.ggml.merges", strings(&golden.merges)),
        ("tokenizer.ggml.bos_token_id", id_of("<|im_start|>")),
        ("tokenizer.ggml.eos_token_id", id_of("<|im_end|>")),
        ("tokenizer.chat_template", MetaValue::Str(template("chatml"))),
    ];
    values.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

pub(crate) fn model_from(meta: &BTreeMap<String, MetaValue>) -> ChatModel {
    let dir = tempfile::tempdir().unwrap();
    hf_files_from_gguf(meta, &GgufTensorFacts::default()).unwrap().write(dir.path()).unwrap();
    ChatModel::load(dir.path()).unwrap()
}

#[test]
fn ids_are_those_of_llama_cpp() {
    let golden = golden();
    assert_eq!(golden.ids.len(), 5);
    for (pre, expected) in &golden.ids {
        let model = model_from(&metadata(pre));
        assert_eq!(expected.len(), golden.texts.len());
        for (text, expected) in golden.texts.iter().zip(expected) {
            assert_eq!(&model.encode(text).unwrap(), expected, "{pre}: {text:?}");
            assert_eq!(&model.decode_with_special(expected).unwrap(), text, "{pre}");
        }
    }
}

#[test]
fn the_five_ways_of_splitting_differ() {
    let golden = golden();
    let ids: Vec<_> = golden.ids.values().collect();
    for (index, one) in ids.iter().enumerate() {
        assert!(ids[index + 1..].iter().all(|other| other != one));
    }
}

#[test]
fn templates_are_those_of_transformers() {
    let golden = golden();
    assert_eq!(golden.rendered.len(), 56);
    for expected in &golden.rendered {
        // The special tokens of the script are no tokens of ours; templates only see their text.
        let source = template(&expected.template).replace("bos_token", "'<|begin|>'").replace("eos_token", "'<|end|>'");
        let config = r#"{"eos_token": "<|im_end|>"}"#;
        let model = load(&source, config).unwrap();
        let messages = &golden.conversations[&expected.conversation];
        let text = model.render(messages, expected.add_generation_prompt).unwrap();
        assert_eq!(text, expected.text, "{} {}", expected.template, expected.conversation);
    }
}
