//! Ids of llama.cpp for a SentencePiece vocabulary, from `tests/golden/make_sentence_piece.py`.

use std::collections::BTreeMap;

use serde::Deserialize;
use trex_chat::{GgufTensorFacts, MetaValue, hf_files_from_gguf};
use trex_domain::Problem as _;

use crate::golden::model_from;

#[derive(Deserialize)]
struct Golden {
    tokens: Vec<String>,
    token_types: Vec<i64>,
    scores: Vec<f64>,
    texts: Vec<String>,
    ids: Vec<Vec<u32>>,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("../golden/sentence_piece.json")).unwrap()
}

fn metadata(golden: &Golden) -> BTreeMap<String, MetaValue> {
    let text = |text: &str| MetaValue::Str(text.to_owned());
    let mut meta = crate::golden::metadata("default");
    meta.retain(|key, _| !key.starts_with("tokenizer.ggml."));
    let values = [
        ("tokenizer.ggml.model", text("llama")),
        ("tokenizer.ggml.tokens", MetaValue::Array(golden.tokens.iter().map(|token| text(token)).collect())),
        (
            "tokenizer.ggml.token_type",
            MetaValue::Array(golden.token_types.iter().copied().map(MetaValue::I64).collect()),
        ),
        ("tokenizer.ggml.scores", MetaValue::Array(golden.scores.iter().copied().map(MetaValue::F64).collect())),
        ("tokenizer.ggml.bos_token_id", MetaValue::U64(2)),
        ("tokenizer.ggml.eos_token_id", MetaValue::U64(1)),
        ("tokenizer.ggml.unknown_token_id", MetaValue::U64(3)),
        ("tokenizer.ggml.add_space_prefix", MetaValue::Bool(false)),
    ];
    meta.extend(values.map(|(key, value)| (key.to_owned(), value)));
    meta
}

#[test]
fn sentence_piece_ids_are_those_of_llama_cpp() {
    let golden = golden();
    let model = model_from(&metadata(&golden));
    assert!(golden.texts.len() > 60 && golden.texts.len() == golden.ids.len());
    let is_byte = |id: &&u32| golden.token_types[**id as usize] == 6;
    assert!(golden.ids.iter().flatten().filter(is_byte).count() > 50, "characters that are no token are tested");
    for (text, expected) in golden.texts.iter().zip(&golden.ids) {
        assert_eq!(&model.encode(text).unwrap(), expected, "{text:?}");
        assert_eq!(&model.decode_with_special(expected).unwrap(), text);
    }
}

#[test]
fn a_space_before_the_text_is_refused() {
    let mut meta = metadata(&golden());
    for value in [None, Some(MetaValue::Bool(true))] {
        meta.remove("tokenizer.ggml.add_space_prefix");
        meta.extend(value.map(|value| ("tokenizer.ggml.add_space_prefix".to_owned(), value)));
        let err = hf_files_from_gguf(&meta, &GgufTensorFacts::default()).unwrap_err();
        assert_eq!(err.code(), "chat.gguf_tokenizer");
        assert!(err.to_string().contains("add_space_prefix"), "{err}");
    }
    meta.insert("tokenizer.ggml.add_space_prefix".to_owned(), MetaValue::Bool(false));
    meta.insert("tokenizer.ggml.scores".to_owned(), MetaValue::Array(Vec::new()));
    let err = hf_files_from_gguf(&meta, &GgufTensorFacts::default()).unwrap_err();
    assert_eq!(err.code(), "chat.gguf_wrong_type");
}
