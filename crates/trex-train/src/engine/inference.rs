//! Scoring and generation on the CPU engine: the forward pass alone, with keys and values kept per sequence.

use rayon::prelude::*;

use super::forward::{self, Ropes, Setting, Trace};
use super::head::{Head, HeadBuffers};
use super::{CpuEngine, attention, embed, head, math, scene};
use crate::TrainError;
use crate::batch::{push_root, shared_len};
use crate::generate::Decode;
use crate::layout::{Segment, TokenTree};
use crate::sampling::{Choice, pick_all};

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

/// What goes through the layers.
#[derive(Clone, Copy)]
struct Input<'a> {
    tokens: &'a [u32],
    positions: &'a [usize],
    /// How the tokens see each other; nothing where they see caches alone.
    segments: &'a [Segment],
    /// Rows whose output is wanted.
    wanted: &'a [usize],
}

/// What is made of the output: the batch, the end of the model, the rows wanted, buffers.
type Finish<'a, T> = &'a mut dyn FnMut(&Setting<'_>, &Head<'_>, &[f32], &mut HeadBuffers) -> T;

impl CpuEngine {
    /// Sets a batch up, runs it through all layers and hands the rows wanted to `finish`.
    fn run<T>(&mut self, input: Input<'_>, mix: forward::Mix<'_>, finish: Finish<'_, T>) -> T {
        let trees = attention::trees(input.segments);
        let ropes = Ropes::new(&self.config, input.positions);
        let scene = scene(&self.config, self.level, input.segments, &trees, input.tokens.len());
        let setting = Setting::new(&self.config, &ropes, scene, &self.pool);
        embed(&self.weights, &self.config, input.tokens, &mut self.traces[0]);
        let (rooms, traces) = (&mut self.rooms, &mut self.traces[..1]);
        let last = forward::layers(&setting, &self.weights, &self.adapters, rooms, traces, input.wanted, mix);
        let head = head(&self.weights, self.packed_head.as_ref(), &self.config);
        finish(&setting, &head, &last, &mut self.head_buffers)
    }

    /// Log-probabilities in nats of tokens after rows of a tree: `needed` are (place among `rows`, token).
    pub(crate) fn log_probs(&mut self, tree: &TokenTree, rows: &[u32], needed: &[(usize, u32)]) -> Vec<f64> {
        let segments = tree.segments();
        let wanted: Vec<usize> = rows.iter().map(|row| *row as usize).collect();
        let input = Input { tokens: tree.tokens(), positions: tree.positions(), segments: &segments, wanted: &wanted };
        let mix = &mut |setting: &Setting<'_>, _: usize, trace: &mut Trace| forward::mix_trees(setting, trace);
        self.run(input, mix, &mut |setting, head, last, buffers| {
            super::head::log_probs(setting, head, last, needed, buffers)
        })
    }
}

impl Decode for &mut CpuEngine {
    type Kept = Caches;

    fn prefill(&mut self, prompts: &[Vec<u32>], choice: &mut Choice) -> Result<(Caches, Vec<u32>), TrainError> {
        let shared = shared_len(prompts.iter().map(Vec::as_slice));
        let mut tree = TokenTree::default();
        let root = push_root(&mut tree, prompts.first().map(Vec::as_slice), shared);
        let leaves: Vec<usize> = prompts.iter().map(|prompt| tree.push(root, &prompt[shared..])).collect();
        let segments = tree.segments();
        let mut caches = Caches {
            rows: vec![vec![CachedRows::default(); self.config.num_layers]; prompts.len()],
            lens: prompts.iter().map(Vec::len).collect(),
        };
        let wanted: Vec<usize> = leaves.iter().map(|leaf| tree.last_row(*leaf).unwrap_or_default()).collect();
        let input = Input { tokens: tree.tokens(), positions: tree.positions(), segments: &segments, wanted: &wanted };
        let mix = &mut |setting: &Setting<'_>, layer: usize, trace: &mut Trace| {
            for (rows, leaf) in caches.rows.iter_mut().zip(&leaves) {
                for segment in path(&segments, *leaf) {
                    let tokens = segment.start..segment.start + segment.len;
                    tokens.for_each(|token| keep(setting, trace, token, &mut rows[layer]));
                }
            }
            forward::mix_trees(setting, trace);
        };
        let all: Vec<usize> = (0..prompts.len()).collect();
        let first = self
            .run(input, mix, &mut |setting, head, last, buffers| chosen(setting, head, last, buffers, &all, choice));
        Ok((caches, first))
    }

    fn advance(
        &mut self,
        caches: &mut Caches,
        active: &[usize],
        tokens: &[u32],
        choice: &mut Choice,
    ) -> Result<Vec<u32>, TrainError> {
        let positions: Vec<usize> = active.iter().map(|index| caches.lens[*index]).collect();
        let wanted: Vec<usize> = (0..tokens.len()).collect();
        let input = Input { tokens, positions: &positions, segments: &[], wanted: &wanted };
        let mix = &mut |setting: &Setting<'_>, layer: usize, trace: &mut Trace| {
            for (token, index) in active.iter().enumerate() {
                keep(setting, trace, token, &mut caches.rows[*index][layer]);
            }
            let rows: Vec<&CachedRows> = active.iter().map(|index| &caches.rows[*index][layer]).collect();
            mix_cached(setting, trace, &rows);
        };
        let next = self
            .run(input, mix, &mut |setting, head, last, buffers| chosen(setting, head, last, buffers, active, choice));
        for index in active {
            caches.lens[*index] += 1;
        }
        Ok(next)
    }
}

/// The next token of each of the `active` sequences after their rows of the last layer.
fn chosen(
    setting: &Setting<'_>,
    head: &Head<'_>,
    last: &[f32],
    buffers: &mut HeadBuffers,
    active: &[usize],
    choice: &mut Choice,
) -> Vec<u32> {
    match choice {
        Choice::MostLikely => super::head::argmax(setting, head, last, buffers),
        Choice::Choosers(choosers) => {
            pick_all(choosers, active, &super::head::logit_rows(setting, head, last, buffers))
        }
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
