//! A tiny encoder and all-MiniLM-L6-v2 against sentence-transformers (`tests/golden/make_encoder.py`).

use serde::Deserialize;
use trex_domain::Problem as _;

use super::*;
use crate::golden::golden_dir;

#[derive(Deserialize)]
struct Case {
    text: String,
    ids: Vec<u32>,
    /// The vector, or its beginning.
    vector: Vec<f32>,
}

#[derive(Deserialize)]
struct MiniLm {
    cases: Vec<Case>,
    cosines: Vec<Vec<f32>>,
}

fn tiny() -> PathBuf {
    golden_dir().join("encoder")
}

fn cases() -> Vec<Case> {
    serde_json::from_slice(&std::fs::read(tiny().join("golden.json")).unwrap()).unwrap()
}

fn texts(cases: &[Case]) -> Vec<String> {
    cases.iter().map(|case| case.text.clone()).collect()
}

/// The largest difference between a golden vector and its beginning here, after token ids were found equal.
#[track_caller]
fn check(model: &TextEmbedder, cases: &[Case], limit: f32) -> Vectors {
    for case in cases {
        assert_eq!(model.tokenizer.encode(&case.text).unwrap(), case.ids, "{:?}", case.text);
    }
    let vectors = model.embed(&texts(cases), &mut |_, _| true).unwrap();
    for (index, case) in cases.iter().enumerate() {
        let found = vectors.row(index);
        let worst = found.iter().zip(&case.vector).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < limit, "{:?}: off by {worst:e}", case.text);
        let length: f32 = found.iter().map(|x| x * x).sum();
        assert!((length - 1.0).abs() < 1e-5, "{length}");
    }
    vectors
}

#[test]
fn vectors_are_those_of_sentence_transformers() {
    let model = TextEmbedder::load(&tiny()).unwrap();
    check(&model, &cases(), 2e-6);
}

#[test]
fn vectors_of_minilm_are_those_of_sentence_transformers() {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = variable("TREX_CACHE")
        .or_else(|| variable("XDG_CACHE_HOME").map(|dir| dir.join("trex")))
        .or_else(|| variable("HOME").map(|dir| dir.join(".cache/trex")));
    let Some(dir) = cache.map(|dir| dir.join("all-minilm-l6-v2")).filter(|dir| dir.is_dir()) else {
        println!("skipped: 1 model (all-minilm-l6-v2); `cargo xtask setup` fetches it");
        return;
    };
    let golden: MiniLm = serde_json::from_slice(&std::fs::read(golden_dir().join("minilm.json")).unwrap()).unwrap();
    let model = TextEmbedder::load(&dir).unwrap();
    let vectors = check(&model, &golden.cases, 5e-6);
    for (left, row) in golden.cosines.iter().enumerate() {
        for (right, expected) in row.iter().enumerate() {
            let cosine: f32 = vectors.row(left).iter().zip(vectors.row(right)).map(|(a, b)| a * b).sum();
            assert!((cosine - expected).abs() < 1e-5, "{left}, {right}: {cosine} against {expected}");
        }
    }
    let facts = embedder_facts(&dir).unwrap();
    assert_eq!((facts.width, facts.max_tokens, facts.num_parameters), (384, 256, 22_565_376));
}

#[test]
fn a_text_has_its_vector_in_any_company() {
    let model = TextEmbedder::load(&tiny()).unwrap();
    let alone = check(&model, &cases(), 2e-6);
    // So many that batches are cut, in an order that mixes the lengths.
    let num = cases().len();
    let many: Vec<String> = (0..40 * num).map(|index| cases()[index * 7 % num].text.clone()).collect();
    let mut heard = Vec::new();
    let together = model.embed(&many, &mut |texts, _| {
        heard.push(texts);
        true
    });
    let together = together.unwrap();
    assert!(heard.len() > 1 && heard.is_sorted() && heard.last() == Some(&many.len()), "{heard:?}");
    for index in 0..many.len() {
        let pairs = together.row(index).iter().zip(alone.row(index * 7 % num));
        assert!(pairs.clone().all(|(a, b)| (a - b).abs() < 2e-6), "{index}");
    }
    assert!(model.embed(&[], &mut |_, _| true).unwrap().is_empty());
}

#[test]
fn a_stop_is_obeyed_between_batches() {
    let model = TextEmbedder::load(&tiny()).unwrap();
    let err = model.embed(&texts(&cases()), &mut |_, _| false).unwrap_err();
    assert_eq!(err.code(), "train.cancelled");
}

/// A copy of the tiny encoder with one file spoiled.
fn spoiled(name: &str, change: impl FnOnce(Vec<u8>) -> Vec<u8>) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("1_Pooling")).unwrap();
    for file in
        ["config.json", "tokenizer.json", "model.safetensors", "sentence_bert_config.json", "1_Pooling/config.json"]
    {
        std::fs::copy(tiny().join(file), dir.path().join(file)).unwrap();
    }
    let path = dir.path().join(name);
    std::fs::write(&path, change(std::fs::read(&path).unwrap())).unwrap();
    dir
}

#[track_caller]
fn check_refused(name: &str, from: &str, to: &str, code: &str) {
    let change = |bytes: Vec<u8>| {
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.contains(from), "{name} has no {from}");
        text.replace(from, to).into_bytes()
    };
    let dir = spoiled(name, change);
    assert_eq!(TextEmbedder::load(dir.path()).unwrap_err().code(), code, "{name}: {from} → {to}");
}

#[test]
fn other_encoders_are_refused_by_name() {
    check_refused("config.json", "\"bert\"", "\"roberta\"", "model.not_implemented");
    check_refused("config.json", "\"gelu\"", "\"relu\"", "model.not_implemented");
    check_refused("1_Pooling/config.json", "cls_token\": false", "cls_token\": true", "model.not_implemented");
    check_refused("config.json", "\"hidden_size\": 32", "\"hidden_size\": 33", "model.inconsistent_config");
    check_refused("config.json", "\"hidden_size\": 32", "\"hidden_size\": 64", "model.wrong_shape");
    check_refused("config.json", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3", "model.missing_tensor");
    check_refused("config.json", "\"vocab_size\": 124", "\"vocab_size\": 9", "chat.tokenizer_mismatch");
    check_refused("config.json", "\"hidden_size\": 32", "\"hidden_size\": \"x\"", "model.bad_config");
    check_refused("sentence_bert_config.json", "24", "2", "model.inconsistent_config");
    check_refused("config.json", "layers\": 2", "layers\": 2000000000", "model.inconsistent_config");
    check_refused("config.json", "\"vocab_size\": 124", "\"vocab_size\": 9e18", "model.bad_config");
    check_refused("config.json", "\"vocab_size\": 124", "\"vocab_size\": 900000000000", "model.inconsistent_config");
}

#[test]
fn damaged_weights_are_noticed() {
    let dir = spoiled("model.safetensors", |bytes| bytes[..bytes.len() / 2].to_vec());
    assert_eq!(TextEmbedder::load(dir.path()).unwrap_err().code(), "model.damaged");
    let whole = embedder_facts(&tiny()).unwrap();
    assert_eq!(embedder_facts(&tiny()).unwrap(), whole);
    let other = spoiled("sentence_bert_config.json", |_| br#"{"max_seq_length": 12}"#.to_vec());
    assert_ne!(embedder_facts(other.path()).unwrap().hash, whole.hash);
}
