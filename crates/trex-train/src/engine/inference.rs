//! Scoring and greedy generation on the CPU engine: the forward pass alone, with keys and values kept per sequence.

use rayon::prelude::*;

use super::forward::{self, Ropes, Setting, Trace};
use super::{CpuEngine, attention, embed, head, math, scene};
use crate::batch::{push_root, shared_len};
use crate::layout::{Segment, TokenTree};

/// Keys and values of one sequence in one layer, rows of kv heads · `head_dim`.
#[derive(Clone, Debug, Default)]
struct CachedRows {
    keys: Vec<f32>,
    values: Vec<f32>,
}

/// Sequences in the making.
#[derive(Debug, Default)]
pub(crate) struct Caches {
    /// By sequence, then by layer.
    rows: Vec<Vec<CachedRows>>,
    /// Tokens of each sequence.
    lens: Vec<usize>,
}

impl CpuEngine {
    /// Log-probabilities in nats of tokens after rows of a tree: `needed` are (place among `rows`, token).
    pub(crate) fn log_probs(&mut self, tree: &TokenTree, rows: &[u32], needed: &[(usize, u32)]) -> Vec<f64> {
        let segments = tree.segments();
        let trees = attention::trees(&segments);
        let ropes = Ropes::new(&self.config, tree.positions());
        let scene = scene(&self.config, self.level, &segments, &trees, tree.tokens().len());
        let setting = Setting::new(&self.config, &ropes, scene, &self.pool);
        let wanted: Vec<usize> = rows.iter().map(|row| *row as usize).collect();
        embed(&self.weights, &self.config, tree.tokens(), &mut self.traces[0]);
        let last = forward::layers(
            &setting,
            &self.weights,
            &self.adapters,
            &mut self.rooms,
            &mut self.traces[..1],
            &wanted,
            &mut |setting, _, trace| forward::mix_trees(setting, trace),
        );
        let head = head(&self.weights, self.packed_head.as_ref(), &self.config);
        super::head::log_probs(&setting, &head, &last, needed, &mut self.head_buffers)
    }

    /// Runs prompts, keeps their keys and values and returns the first token of each answer.
    pub(crate) fn prefill(&mut self, prompts: &[Vec<u32>]) -> (Caches, Vec<u32>) {
        let shared = shared_len(prompts.iter().map(Vec::as_slice));
        let mut tree = TokenTree::default();
        let root = push_root(&mut tree, prompts.first().map(Vec::as_slice), shared);
        let leaves: Vec<usize> = prompts.iter().map(|prompt| tree.push(root, &prompt[shared..])).collect();
        let segments = tree.segments();
        let trees = attention::trees(&segments);
        let ropes = Ropes::new(&self.config, tree.positions());
        let scene = scene(&self.config, self.level, &segments, &trees, tree.tokens().len());
        let setting = Setting::new(&self.config, &ropes, scene, &self.pool);
        let mut caches = Caches {
            rows: vec![vec![CachedRows::default(); self.config.num_layers]; prompts.len()],
            lens: prompts.iter().map(Vec::len).collect(),
        };
        embed(&self.weights, &self.config, tree.tokens(), &mut self.traces[0]);
        let wanted: Vec<usize> = leaves.iter().map(|leaf| tree.last_row(*leaf).unwrap_or_default()).collect();
        let last = forward::layers(
            &setting,
            &self.weights,
            &self.adapters,
            &mut self.rooms,
            &mut self.traces[..1],
            &wanted,
            &mut |setting, layer, trace| {
                for (rows, leaf) in caches.rows.iter_mut().zip(&leaves) {
                    for segment in path(&segments, *leaf) {
                        let tokens = segment.start..segment.start + segment.len;
                        tokens.for_each(|token| keep(setting, trace, token, &mut rows[layer]));
                    }
                }
                forward::mix_trees(setting, trace);
            },
        );
        let head = head(&self.weights, self.packed_head.as_ref(), &self.config);
        let first = super::head::argmax(&setting, &head, &last, &mut self.head_buffers);
        (caches, first)
    }

    /// Feeds one token to each of the `active` sequences and returns the next ones.
    pub(crate) fn advance(&mut self, caches: &mut Caches, active: &[usize], tokens: &[u32]) -> Vec<u32> {
        let positions: Vec<usize> = active.iter().map(|index| caches.lens[*index]).collect();
        let ropes = Ropes::new(&self.config, &positions);
        let scene = scene(&self.config, self.level, &[], &[], tokens.len());
        let setting = Setting::new(&self.config, &ropes, scene, &self.pool);
        embed(&self.weights, &self.config, tokens, &mut self.traces[0]);
        let wanted: Vec<usize> = (0..tokens.len()).collect();
        let last = forward::layers(
            &setting,
            &self.weights,
            &self.adapters,
            &mut self.rooms,
            &mut self.traces[..1],
            &wanted,
            &mut |setting, layer, trace| {
                for (token, index) in active.iter().enumerate() {
                    keep(setting, trace, token, &mut caches.rows[*index][layer]);
                }
                let rows: Vec<&CachedRows> = active.iter().map(|index| &caches.rows[*index][layer]).collect();
                mix_cached(setting, trace, &rows);
            },
        );
        for index in active {
            caches.lens[*index] += 1;
        }
        let head = head(&self.weights, self.packed_head.as_ref(), &self.config);
        super::head::argmax(&setting, &head, &last, &mut self.head_buffers)
    }
}

/// A segment with its ancestors, from the root down.
fn path(segments: &[Segment], leaf: usize) -> impl Iterator<Item = &Segment> {
    let leaf = &segments[leaf];
    leaf.ancestors.iter().map(|index| &segments[*index]).chain(std::iter::once(leaf))
}

/// Appends the keys and values of one token.
fn keep(setting: &Setting<'_>, trace: &Trace, token: usize, rows: &mut CachedRows) {
    let (query_width, kv_width) = (setting.query_width(), setting.kv_width());
    let qkv = &trace.qkv[token * setting.qkv_width()..(token + 1) * setting.qkv_width()];
    rows.keys.extend_from_slice(&qkv[query_width..query_width + kv_width]);
    rows.values.extend_from_slice(&qkv[query_width + kv_width..]);
}

/// Attention of one token per sequence over its cache.
fn mix_cached(setting: &Setting<'_>, trace: &mut Trace, rows: &[&CachedRows]) {
    let (dim, tokens, kv_width) = (setting.shape.head_dim, rows.len(), setting.kv_width());
    let qkv = &trace.qkv;
    let mixed = super::blocks::room(&mut trace.mixed, tokens * setting.query_width());
    mixed.par_chunks_mut(dim).enumerate().for_each(|(task, out)| {
        let (head, token) = (task / tokens, task % tokens);
        let query = &qkv[token * setting.qkv_width() + head * dim..][..dim];
        let (offset, rows) = (setting.shape.kv_head(head) * dim, rows[token]);
        let cached = rows.keys.len() / kv_width;
        let first = setting.shape.first_seen(cached - 1);
        let mut scores = vec![0.0; cached - first];
        let from = first * kv_width + offset;
        let cached = math::Cached { keys: &rows.keys[from..], values: &rows.values[from..], stride: kv_width };
        math::attend_row(setting.level, query, cached, setting.shape.scale, &mut scores, out);
    });
}

/// Generates up to `max_new_tokens` tokens per prompt, always the most likely one; stops at `eos` (not returned).
pub(crate) fn greedy(
    engine: &mut CpuEngine,
    prompts: &[Vec<u32>],
    max_new_tokens: usize,
    eos: &[u32],
) -> Vec<Vec<u32>> {
    let (mut caches, mut next) = engine.prefill(prompts);
    let mut answers = vec![Vec::new(); prompts.len()];
    let mut active: Vec<usize> = (0..prompts.len()).collect();
    loop {
        active.retain(|index| answers[*index].len() < max_new_tokens && !eos.contains(&next[*index]));
        for index in &active {
            answers[*index].push(next[*index]);
        }
        active.retain(|index| answers[*index].len() < max_new_tokens);
        if active.is_empty() {
            return answers;
        }
        let tokens: Vec<u32> = active.iter().map(|index| next[*index]).collect();
        for (index, token) in active.iter().zip(engine.advance(&mut caches, &active, &tokens)) {
            next[*index] = token;
        }
    }
}
