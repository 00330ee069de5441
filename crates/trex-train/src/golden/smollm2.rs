//! SmolLM2-135M-Instruct with its real weights, where `cargo xtask setup` has put it.

use std::path::PathBuf;

use candle_core::Device;
use serde::Deserialize;

use super::{golden_dir, values};
use crate::batch::row;
use crate::decoder::Decoder;
use crate::gguf::GgufFile;
use crate::layout::TokenTree;
use crate::{ModelConfig, Variant};

#[derive(Deserialize)]
struct Golden {
    file: String,
    tokens: Vec<u32>,
    positions: Vec<usize>,
    /// The most likely tokens of each position with their logits.
    top: Vec<Vec<(u32, f32)>>,
}

/// The folder that the set-up fills.
fn folder() -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = variable("TREX_CACHE")
        .or_else(|| variable("XDG_CACHE_HOME").map(|dir| dir.join("trex")))
        .or_else(|| variable("HOME").map(|dir| dir.join(".cache/trex")))?;
    Some(cache.join("smollm2-135m-instruct"))
}

/// Its shape, which the file says in GGUF's words.
pub(crate) fn config() -> ModelConfig {
    ModelConfig {
        hidden_size: 576,
        intermediate_size: 1536,
        num_layers: 30,
        num_heads: 9,
        num_kv_heads: 3,
        head_dim: 64,
        vocab_size: 49_152,
        max_position: 8192,
        rms_norm_eps: 1e-5,
        rope_theta: 100_000.0,
        tie_word_embeddings: true,
        variant: Variant::default(),
    }
}

/// The folder where it holds the model; else says that a test is skipped.
pub(crate) fn present() -> Option<PathBuf> {
    let golden: Golden = serde_json::from_slice(&std::fs::read(golden_dir().join("smollm2.json")).unwrap()).unwrap();
    let dir = folder().filter(|dir| dir.join(&golden.file).is_file());
    if dir.is_none() {
        println!("skipped: 1 model (smollm2-135m-instruct); `cargo xtask setup` fetches it");
    }
    dir
}

#[test]
fn logits_of_smollm2_are_those_of_transformers() {
    let golden: Golden = serde_json::from_slice(&std::fs::read(golden_dir().join("smollm2.json")).unwrap()).unwrap();
    let Some(dir) = present() else { return };
    let file = GgufFile::open(&dir.join(&golden.file)).unwrap();
    let config = config();
    assert_eq!(file.tensors().len(), config.tensor_shapes().len());
    let model = Decoder::load(&dir, config, &Device::Cpu).unwrap();
    let mut tree = TokenTree::default();
    tree.push(None, &golden.tokens);
    let hidden = model.hidden(&tree, None).unwrap();
    let mut worst = 0f32;
    for (position, top) in golden.positions.iter().zip(&golden.top) {
        let logits = values(&model.logits(&hidden, &[row(*position)]).unwrap());
        let (first, best) = top[0];
        assert!(logits.iter().all(|x| *x <= logits[first as usize]), "position {position}: {first} ({best})");
        for (token, expected) in top {
            worst = worst.max((logits[*token as usize] - expected).abs());
        }
    }
    println!("logits off by at most {worst:.1e}");
    assert!(worst < 1e-3, "{worst}");
}
