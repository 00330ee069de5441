//! Times scoring and greedy generation on made-up prompts, for `cargo xtask bench eval`. Not used by any run.
//!
//! Prompts are arithmetic sequences of token ids, as those of the peer's script, so both sides do the same work.

use std::path::Path;
use std::time::Instant;

use serde::Serialize;
use trex_domain::{Backend, LoraConfig, Precision, Quantization};

use crate::backend::{Numbers, load_weights};
use crate::batch::{push_root, row};
use crate::device::Placement;
use crate::engine::CpuEngine;
use crate::generate::greedy;
use crate::layout::TokenTree;
use crate::usage::peak_rss_bytes;
use crate::{ModelConfig, TrainError};

/// What is timed.
#[derive(Clone, Copy, Debug)]
pub struct EvalPlan {
    /// Prompts that go through the model together.
    pub prompts: usize,
    /// Tokens of a prompt.
    pub prompt_tokens: usize,
    /// Tokens at the beginning that all prompts share.
    pub shared_tokens: usize,
    /// Tokens that are generated after each prompt.
    pub new_tokens: usize,
    /// Times that everything is done.
    pub repeats: usize,
    /// Number format of the weights.
    pub precision: Precision,
}

/// What came of it: one number per repeat.
#[derive(Clone, Debug, Default, Serialize)]
pub struct EvalTimes {
    /// Tokens of all prompts, shared ones counted once per prompt.
    pub prompt_tokens: usize,
    /// Tokens of all prompts, shared ones counted once.
    pub computed_tokens: usize,
    /// Seconds for the log-likelihood of one token after every prompt, each prompt on its own.
    pub score_seconds: Vec<f64>,
    /// The same with the shared beginning computed once.
    pub shared_score_seconds: Vec<f64>,
    /// Seconds until all prompts have been read and the first token of each answer is known.
    pub prefill_seconds: Vec<f64>,
    /// Tokens that were generated in all.
    pub new_tokens: usize,
    /// Seconds from the prompts to the last generated token.
    pub generate_seconds: Vec<f64>,
    /// Largest resident memory in bytes.
    pub peak_rss_bytes: u64,
}

/// Scores and continues made-up prompts with the CPU engine.
pub fn measure_eval(model_dir: &Path, plan: &EvalPlan) -> Result<EvalTimes, TrainError> {
    let config = ModelConfig::load(&model_dir.join("config.json"))?;
    let numbers = Numbers { precision: plan.precision, quantization: Quantization::None };
    let tensors = load_weights(model_dir, &config, numbers, Backend::Auto, &Placement::cpu())?;
    let bf16 = numbers.bf16();
    let vocabulary = config.vocab_size;
    let mut engine = CpuEngine::new(config, tensors, &[], &LoraConfig::default(), bf16)?;
    let prompts = made_up_prompts(plan, vocabulary);
    let alone = tree_of(&prompts, 0);
    let shared = tree_of(&prompts, plan.shared_tokens.min(plan.prompt_tokens.saturating_sub(1)));
    let mut times = EvalTimes {
        prompt_tokens: plan.prompts * plan.prompt_tokens,
        computed_tokens: shared.0.tokens().len(),
        ..EvalTimes::default()
    };
    for _ in 0..plan.repeats {
        times.score_seconds.push(timed(|| score(&mut engine, &alone)));
        times.shared_score_seconds.push(timed(|| score(&mut engine, &shared)));
        times.prefill_seconds.push(timed(|| drop(greedy(&mut engine, &prompts, 1, &[]))));
        let start = Instant::now();
        let answers = greedy(&mut engine, &prompts, plan.new_tokens, &[])?;
        times.generate_seconds.push(start.elapsed().as_secs_f64());
        times.new_tokens = answers.iter().map(Vec::len).sum();
    }
    times.peak_rss_bytes = peak_rss_bytes();
    Ok(times)
}

fn timed(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64()
}

fn made_up_prompts(plan: &EvalPlan, vocabulary: usize) -> Vec<Vec<u32>> {
    let classes = vocabulary.saturating_sub(200).max(1);
    let id = |at: usize| row((at * 7919 + 13) % classes + 100.min(vocabulary / 2));
    let shared: Vec<u32> = (0..plan.shared_tokens.min(plan.prompt_tokens)).map(id).collect();
    let own = plan.prompt_tokens - shared.len();
    let prompt = |index: usize| {
        let first = plan.prompt_tokens + index * own;
        shared.iter().copied().chain((first..first + own).map(id)).collect()
    };
    (0..plan.prompts).map(prompt).collect()
}

/// The prompts as one tree whose first `shared` tokens stand once, and the last row of each.
fn tree_of(prompts: &[Vec<u32>], shared: usize) -> (TokenTree, Vec<u32>) {
    let mut tree = TokenTree::default();
    let root = push_root(&mut tree, prompts.first().map(Vec::as_slice), shared);
    let leaves: Vec<usize> = prompts.iter().map(|prompt| tree.push(root, &prompt[shared..])).collect();
    let rows = leaves.iter().map(|leaf| row(tree.last_row(*leaf).unwrap_or_default())).collect();
    (tree, rows)
}

fn score(engine: &mut CpuEngine, (tree, rows): &(TokenTree, Vec<u32>)) {
    let needed: Vec<(usize, u32)> = (0..rows.len()).map(|place| (place, 1)).collect();
    engine.log_probs(tree, rows, &needed);
}
