//! GGUF metadata made from Hugging Face folders: the way back gives the same tokenizer.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;
use trex_chat::{GgufTensorFacts, MetaValue, chat_template, gguf_tokenizer_metadata, hf_files_from_gguf};
use trex_domain::Problem as _;

use crate::fixtures::{folder, write};
use crate::golden::{metadata, model_from};

/// Metadata → folder → metadata, with the keys of the model's shape put back.
fn there_and_back(meta: &BTreeMap<String, MetaValue>) -> BTreeMap<String, MetaValue> {
    let dir = tempfile::tempdir().unwrap();
    hf_files_from_gguf(meta, &GgufTensorFacts::default()).unwrap().write(dir.path()).unwrap();
    let MetaValue::Array(tokens) = &meta["tokenizer.ggml.tokens"] else { panic!("no tokens") };
    let mut back = gguf_tokenizer_metadata(dir.path(), tokens.len()).unwrap();
    back.extend(meta.iter().filter(|(key, _)| !key.starts_with("tokenizer.")).map(|(k, v)| (k.clone(), v.clone())));
    back
}

#[test]
fn a_tokenizer_survives_the_way_through_gguf() {
    for pre in ["smollm", "llama-bpe", "qwen2", "gpt-2", "default"] {
        let meta = metadata(pre);
        let back = there_and_back(&meta);
        for key in ["tokens", "token_type", "merges", "pre", "model", "bos_token_id", "eos_token_id"] {
            let key = format!("tokenizer.ggml.{key}");
            assert_eq!(back[&key], meta[&key], "{pre}: {key}");
        }
        assert_eq!(back["tokenizer.chat_template"], meta["tokenizer.chat_template"]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn any_text_has_the_same_ids_after_the_way_through_gguf(text in "\\PC{0,60}") {
        for pre in ["smollm", "qwen2"] {
            let meta = metadata(pre);
            let (before, after) = (model_from(&meta), model_from(&there_and_back(&meta)));
            prop_assert_eq!(before.encode(&text).unwrap(), after.encode(&text).unwrap());
        }
    }
}

#[test]
fn splittings_without_a_name_are_refused() {
    let dir = folder(&[("chat_template.jinja", "{{ messages }}"), ("tokenizer_config.json", "{}")]);
    let path = dir.path().join("tokenizer.json");
    let mut file: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    file["pre_tokenizer"] = json!({"type": "Whitespace"});
    write(dir.path(), "tokenizer.json", &file.to_string());
    let err = gguf_tokenizer_metadata(dir.path(), 1000).unwrap_err();
    assert_eq!(err.code(), "chat.gguf_pre_tokenizer");
    assert!(err.to_string().contains("Whitespace"), "{err}");
}

#[test]
fn more_tokens_than_rows_are_refused() {
    let template = "{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}";
    let dir = folder(&[("chat_template.jinja", template)]);
    assert_eq!(gguf_tokenizer_metadata(dir.path(), 10).unwrap_err().code(), "chat.tokenizer_mismatch");
}

#[test]
fn byte_fall_back_gets_scores_in_the_order_of_merges() {
    let dir = tempfile::tempdir().unwrap();
    let vocab = json!({"<unk>": 0, "</s>": 1, "<0x0A>": 2, "a": 3, "b": 4, "c": 5, "ab": 6, "abc": 7, "bc": 8});
    let added = |id: u32, text: &str| {
        json!({"id": id, "content": text, "single_word": false, "lstrip": false, "rstrip": false,
               "normalized": false, "special": true})
    };
    let file = json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [added(0, "<unk>"), added(1, "</s>")],
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}]},
        "pre_tokenizer": null, "post_processor": null, "decoder": null,
        "model": {"type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
                  "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
                  "vocab": vocab, "merges": [["a", "b"], ["b", "c"], ["ab", "c"], ["a", "bc"]]},
    });
    write(dir.path(), "tokenizer.json", &file.to_string());
    write(dir.path(), "tokenizer_config.json", r#"{"eos_token": "</s>", "unk_token": "<unk>"}"#);
    write(dir.path(), "chat_template.jinja", "{% for m in messages %}{{ m.content }}</s>{% endfor %}");
    let meta = gguf_tokenizer_metadata(dir.path(), 10).unwrap();
    let floats = |values: [f64; 10]| MetaValue::Array(values.map(MetaValue::F64).to_vec());
    assert_eq!(meta["tokenizer.ggml.scores"], floats([-4.0, -4.0, -4.0, -4.0, -4.0, -4.0, 0.0, -2.0, -1.0, -4.0]));
    let kinds = MetaValue::Array([3, 3, 6, 1, 1, 1, 1, 1, 1, 5].map(MetaValue::I64).to_vec());
    assert_eq!(meta["tokenizer.ggml.token_type"], kinds);
    assert_eq!(meta["tokenizer.ggml.add_space_prefix"], MetaValue::Bool(true));
    assert_eq!(meta["tokenizer.ggml.model"], MetaValue::Str("llama".to_owned()));
}

#[test]
fn the_template_is_given_back_byte_for_byte() {
    let text = "{% for m in messages %}\n{{ m.content }}{% endfor %}\n\n";
    let own = folder(&[("chat_template.jinja", text)]);
    assert_eq!(chat_template(own.path()).unwrap().as_deref(), Some(text));
    let config = json!({ "chat_template": text }).to_string();
    let inside = folder(&[("tokenizer_config.json", &config)]);
    assert_eq!(chat_template(inside.path()).unwrap().as_deref(), Some(text));
    assert_eq!(chat_template(folder(&[]).path()).unwrap(), None);
}
