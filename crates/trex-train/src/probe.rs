//! What a model says to given prompts, as numbers: for comparing exports with other programs. Scores nothing.

use std::path::{Path, PathBuf};

use candle_core::Device;
use serde::{Deserialize, Serialize};
use trex_chat::ChatModel;
use trex_domain::{Message, Quantization};

use crate::decoder::Decoder;
use crate::layout::TokenTree;
use crate::trained::TrainedFile;
use crate::weights::load_frozen;
use crate::{ModelConfig, TrainError, generate};

/// What to ask.
#[derive(Clone, Debug)]
pub struct Probe {
    /// Model folder.
    pub model_dir: PathBuf,
    /// Blob of an adapter or of all weights, PEFT folder or GGUF adapter.
    pub adapter: Option<PathBuf>,
    /// Number format in which the base is kept, as an adapter was trained on it; a blob of all weights is read as it is.
    pub quantization: Quantization,
    /// Questions; each becomes the person's turn of a conversation.
    pub questions: Vec<String>,
    /// Longest continuation in tokens.
    pub max_new_tokens: usize,
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProbeAnswer {
    /// The prompt as the chat template renders it.
    pub prompt: String,
    /// Its token ids.
    pub ids: Vec<u32>,
    /// Logits after the last token, one per token of the vocabulary.
    pub logits: Vec<f32>,
    /// Log-probability of every token of the prompt but the first, in nats.
    pub log_probs: Vec<f32>,
    /// Token ids of the greedy continuation, without what ends it.
    pub greedy_ids: Vec<u32>,
    /// The same as text.
    pub greedy_text: String,
}

/// Runs the prompts, one at a time.
pub fn probe(probe: &Probe) -> Result<Vec<ProbeAnswer>, TrainError> {
    let device = Device::Cpu;
    let config = ModelConfig::load(&probe.model_dir.join("config.json"))?;
    let chat = ChatModel::load(&probe.model_dir)?;
    let load = |path: &PathBuf| TrainedFile::load(path, &config);
    let base = |config: ModelConfig| {
        let weights = load_frozen(&probe.model_dir, &config, probe.quantization)?;
        Decoder::frozen(config, weights, &device)
    };
    let model = match probe.adapter.as_ref().map(load).transpose()? {
        None => base(config)?,
        Some(TrainedFile::Weights(weights)) => Decoder::frozen(config, weights, &device)?,
        Some(TrainedFile::Adapter(adapter)) => {
            let mut model = base(config)?;
            model.attach(&adapter);
            model
        }
    };
    let answer = |question: &String| answer(&model, &chat, question, probe.max_new_tokens, &probe.model_dir);
    probe.questions.iter().map(answer).collect()
}

fn answer(
    model: &Decoder,
    chat: &ChatModel,
    question: &str,
    max_new_tokens: usize,
    dir: &Path,
) -> Result<ProbeAnswer, TrainError> {
    let prompt = chat.render(&[Message::user(question)], true)?;
    let ids = chat.encode(&prompt)?;
    if ids.is_empty() {
        return Err(TrainError::NoRows { path: dir.to_owned() });
    }
    let mut tree = TokenTree::default();
    tree.push(None, &ids);
    let hidden = model.hidden(&tree, None)?;
    let rows: Vec<u32> = (0..ids.len()).map(crate::batch::row).collect();
    let logits: Vec<Vec<f32>> = model.logits(&hidden, &rows)?.to_vec2()?;
    let log_probs = logits.iter().zip(&ids[1..]).map(|(row, next)| log_prob(row, *next as usize)).collect();
    let greedy = generate::greedy(model, std::slice::from_ref(&ids), max_new_tokens, chat.eos_ids())?;
    let greedy_ids = greedy.into_iter().next().unwrap_or_default();
    Ok(ProbeAnswer {
        prompt,
        logits: logits.into_iter().next_back().unwrap_or_default(),
        log_probs,
        greedy_text: chat.decode(&greedy_ids)?,
        greedy_ids,
        ids,
    })
}

fn log_prob(logits: &[f32], token: usize) -> f32 {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|x| f64::from(x - top).exp()).sum();
    #[expect(clippy::cast_possible_truncation, reason = "a log-probability of f32 logits")]
    let log_prob = (f64::from(logits.get(token).copied().unwrap_or(f32::NAN) - top) - sum.ln()) as f32;
    log_prob
}
