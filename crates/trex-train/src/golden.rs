//! Tiny checkpoints of every family, held against transformers, PEFT and gguf-py (`tests/golden/make_families.py`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{Device, Tensor, Var};
use trex_domain::LoraConfig;

use crate::batch::row;
use crate::decoder::Decoder;
use crate::layout::TokenTree;
use crate::lora::{Adapter, LoraPair};
use crate::{ModelConfig, ops};

mod families;
mod gguf;
pub(crate) mod smollm2;

/// As in the script.
pub(crate) const SEQUENCES: [&[u32]; 2] =
    [&[3, 17, 42, 8, 8, 61, 5, 33, 70, 12, 29, 54, 2, 19], &[3, 17, 42, 8, 8, 61, 44, 7, 23, 66, 1]];
const COMMON: usize = 6;
/// Tokens at the end of each sequence that carry loss.
const SUPERVISED: [usize; 2] = [6, 4];

/// One checkpoint.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) dir: PathBuf,
    /// Of the adapters in the file.
    lora: LoraConfig,
    /// Numbers of the libraries.
    file: &'static str,
}

pub(crate) fn golden_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// All tensors of a safetensors file that are `f32` or bfloat16.
pub(crate) fn read_safetensors(path: &Path) -> BTreeMap<String, Tensor> {
    let tensors = candle_core::safetensors::load(path, &Device::Cpu).unwrap();
    let float = |tensor: Tensor| tensor.to_dtype(candle_core::DType::F32).unwrap();
    tensors.into_iter().map(|(name, tensor)| (name, float(tensor))).collect()
}

impl Case {
    /// Every family, and two of them again with adapters whose ranks differ by module.
    pub(crate) fn all() -> Vec<Self> {
        Self::families().into_iter().chain([Self::llama_ranks(), Self::phi3_ranks()]).collect()
    }

    pub(crate) fn families() -> Vec<Self> {
        let entries = std::fs::read_dir(golden_dir().join("families")).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        assert_eq!(names.len(), 9);
        names.iter().map(|name| Self::named(name)).collect()
    }

    pub(crate) fn named(name: &str) -> Self {
        let lora = LoraConfig { r: 2, lora_alpha: 4, ..LoraConfig::default() };
        Self { name: name.to_owned(), dir: golden_dir().join("families").join(name), lora, file: "golden.safetensors" }
    }

    /// Adapters whose rank and alpha differ by module, with the patterns of the script.
    fn with_patterns(name: &str, use_rslora: bool, ranks: &[(&str, usize)], alphas: &[(&str, usize)]) -> Self {
        let pattern =
            |entries: &[(&str, usize)]| entries.iter().map(|(key, value)| ((*key).to_owned(), *value)).collect();
        let plain = Self::named(name);
        let (rank_pattern, alpha_pattern) = (pattern(ranks), pattern(alphas));
        let lora = LoraConfig { use_rslora, rank_pattern, alpha_pattern, ..plain.lora };
        Self { name: format!("{name} with ranks by module"), lora, file: "ranks.safetensors", ..plain }
    }

    fn llama_ranks() -> Self {
        let ranks = [("layers.1.self_attn.q_proj", 1), ("mlp.down_proj", 5), ("q_proj", 3)];
        Self::with_patterns("llama", false, &ranks, &[("down_proj", 7), ("model.layers.0.mlp.up_proj", 2)])
    }

    fn phi3_ranks() -> Self {
        let ranks = [("qkv_proj", 6), ("1.mlp.gate_up_proj", 1)];
        Self::with_patterns("phi3", true, &ranks, &[("self_attn.o_proj", 9)])
    }

    pub(crate) fn config(&self) -> ModelConfig {
        ModelConfig::load(&self.dir.join("config.json")).unwrap()
    }

    pub(crate) fn model(&self) -> Decoder {
        Decoder::load(&self.dir, self.config(), &Device::Cpu).unwrap()
    }

    pub(crate) fn expected(&self) -> BTreeMap<String, Tensor> {
        read_safetensors(&self.dir.join(self.file))
    }

    /// The adapters whose gradients are in the file.
    pub(crate) fn adapter(&self) -> Adapter {
        Adapter::from_tensors(&self.dir, &self.config(), self.lora.clone(), &self.expected()).unwrap()
    }

    /// The model with those adapters as variables, sorted by PEFT's names.
    pub(crate) fn adapted(&self) -> (Decoder, Vec<(String, Var)>) {
        let mut adapter = self.adapter();
        let mut vars = Vec::new();
        for (module, pair) in &mut adapter.pairs {
            let (a, b) = (Var::from_tensor(&pair.a).unwrap(), Var::from_tensor(&pair.b).unwrap());
            *pair = LoraPair { a: a.as_tensor().clone(), b: b.as_tensor().clone() };
            let name = |letter| format!("base_model.model.{module}.lora_{letter}.weight");
            vars.extend([(name('A'), a), (name('B'), b)]);
        }
        let mut model = self.model();
        model.attach(&adapter);
        (model, vars)
    }
}

/// The sequences of the script less their last tokens, with their common beginning shared or not: a tree, and for each
/// sequence its rows.
pub(crate) fn batch(is_shared: bool) -> (TokenTree, [Vec<u32>; 2]) {
    let mut tree = TokenTree::default();
    let root = is_shared.then(|| tree.push(None, &SEQUENCES[0][..COMMON]));
    let rows = SEQUENCES.map(|tokens| {
        let read = &tokens[..tokens.len() - 1];
        let own = if is_shared { &read[COMMON..] } else { read };
        let segment = tree.push(root, own);
        let first = tree.first_row(segment);
        let common = if is_shared { 0..COMMON } else { 0..0 };
        common.chain(first..first + own.len()).map(row).collect()
    });
    (tree, rows)
}

/// The sequences with their beginning shared, the rows whose logits carry loss, and the tokens that follow them.
pub(crate) fn supervised() -> (TokenTree, Vec<u32>, Vec<u32>) {
    let (tree, rows) = batch(true);
    let mut needed = Vec::new();
    let mut targets = Vec::new();
    for ((tokens, rows), count) in SEQUENCES.iter().zip(&rows).zip(SUPERVISED) {
        needed.extend_from_slice(&rows[rows.len() - count..]);
        targets.extend_from_slice(&tokens[tokens.len() - count..]);
    }
    (tree, needed, targets)
}

/// Mean loss of the supervised tokens.
pub(crate) fn loss(model: &Decoder) -> Tensor {
    let (tree, needed, targets) = supervised();
    let logits = model.logits(&model.hidden(&tree, None).unwrap(), &needed).unwrap();
    ops::cross_entropy(&logits, &Arc::new(targets), 0.0).unwrap().mean_all().unwrap()
}

/// Logits of the first sequence, all rows.
pub(crate) fn first_logits(model: &Decoder) -> Tensor {
    let mut tree = TokenTree::default();
    tree.push(None, SEQUENCES[0]);
    let rows: Vec<u32> = (0..SEQUENCES[0].len()).map(row).collect();
    model.logits(&model.hidden(&tree, None).unwrap(), &rows).unwrap()
}

pub(crate) fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// Largest difference of two tensors of one shape.
#[track_caller]
pub(crate) fn difference(found: &Tensor, expected: &Tensor) -> f32 {
    assert_eq!(found.dims(), expected.dims());
    values(found).iter().zip(values(expected)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// Largest magnitude.
pub(crate) fn largest(tensor: &Tensor) -> f32 {
    values(tensor).iter().fold(0.0, |top: f32, x| top.max(x.abs()))
}
