//! Generation for a batch of prompts, with keys and values kept per sequence: the loop, and candle's side of it.

use candle_core::Tensor;
use rayon::prelude::*;

use crate::TrainError;
use crate::batch::{push_root, row, shared_len};
use crate::decoder::Decoder;
use crate::layout::{Segment, TokenTree};
use crate::ops::{self, HeadShape, Sight, with_slices};
use crate::sampling::{Choice, pick_all};

/// Prompts that are decoded together.
pub(crate) const BATCH: usize = 32;

/// Keys and values of one sequence in one layer, rows of kv heads · `head_dim`.
#[derive(Clone, Debug, Default)]
struct Rows {
    keys: Vec<f32>,
    values: Vec<f32>,
}

/// One sequence in the making.
pub(crate) struct Sequence {
    /// By layer.
    cache: Vec<Rows>,
    /// Tokens in the cache.
    len: usize,
}

/// A model that writes sequences token by token.
pub(crate) trait Decode {
    /// What it keeps of the sequences.
    type Kept;

    /// Runs prompts and returns what is kept of them, with the first token of each answer.
    fn prefill(&mut self, prompts: &[Vec<u32>], choice: &mut Choice) -> Result<(Self::Kept, Vec<u32>), TrainError>;

    /// Feeds one token to each of the `active` sequences, whose numbers rise, and returns the next ones.
    fn advance(
        &mut self,
        kept: &mut Self::Kept,
        active: &[usize],
        tokens: &[u32],
        choice: &mut Choice,
    ) -> Result<Vec<u32>, TrainError>;
}

/// Generates up to `max_new_tokens` tokens per prompt; stops at `eos` (not returned).
pub(crate) fn generate(
    model: impl Decode,
    prompts: &[Vec<u32>],
    max_new_tokens: usize,
    eos: &[u32],
    choice: Choice,
) -> Result<Vec<Vec<u32>>, TrainError> {
    generate_heard(model, prompts, max_new_tokens, eos, choice, &mut |_| true)
}

/// As [`generate`]; `heard` is given each answer so far whenever it has grown, and ends it by saying no.
pub(crate) fn generate_heard(
    mut model: impl Decode,
    prompts: &[Vec<u32>],
    max_new_tokens: usize,
    eos: &[u32],
    mut choice: Choice,
    heard: &mut dyn FnMut(&[u32]) -> bool,
) -> Result<Vec<Vec<u32>>, TrainError> {
    let (mut kept, mut next) = model.prefill(prompts, &mut choice)?;
    let mut answers = vec![Vec::new(); prompts.len()];
    let mut active: Vec<usize> = (0..prompts.len()).collect();
    loop {
        active.retain(|index| answers[*index].len() < max_new_tokens && !eos.contains(&next[*index]));
        for index in &active {
            answers[*index].push(next[*index]);
        }
        active.retain(|index| heard(&answers[*index]) && answers[*index].len() < max_new_tokens);
        if active.is_empty() {
            return Ok(answers);
        }
        let tokens: Vec<u32> = active.iter().map(|index| next[*index]).collect();
        for (index, token) in active.iter().zip(model.advance(&mut kept, &active, &tokens, &mut choice)?) {
            next[*index] = token;
        }
    }
}

/// As [`generate`], always with the most likely token; of equally likely ones the lowest id is taken.
pub(crate) fn greedy(
    model: impl Decode,
    prompts: &[Vec<u32>],
    max_new_tokens: usize,
    eos: &[u32],
) -> Result<Vec<Vec<u32>>, TrainError> {
    generate(model, prompts, max_new_tokens, eos, Choice::MostLikely)
}

impl Decode for &Decoder {
    type Kept = Vec<Sequence>;

    fn prefill(&mut self, prompts: &[Vec<u32>], choice: &mut Choice) -> Result<(Vec<Sequence>, Vec<u32>), TrainError> {
        let (sequences, logits) = prefill(self, prompts)?;
        let all: Vec<usize> = (0..prompts.len()).collect();
        Ok((sequences, chosen(&logits, &all, choice)?))
    }

    fn advance(
        &mut self,
        kept: &mut Vec<Sequence>,
        active: &[usize],
        tokens: &[u32],
        choice: &mut Choice,
    ) -> Result<Vec<u32>, TrainError> {
        chosen(&decode_step(self, kept, active, tokens)?, active, choice)
    }
}

fn chosen(logits: &Tensor, active: &[usize], choice: &mut Choice) -> Result<Vec<u32>, TrainError> {
    match choice {
        Choice::MostLikely => argmax(logits),
        Choice::Choosers(choosers) => Ok(pick_all(choosers, active, &logits.to_vec2::<f32>()?)),
    }
}

/// Runs the prompts and returns their caches with the logits after each.
fn prefill(model: &Decoder, prompts: &[Vec<u32>]) -> Result<(Vec<Sequence>, Tensor), TrainError> {
    let shared = shared_len(prompts.iter().map(Vec::as_slice));
    let mut tree = TokenTree::default();
    let root = push_root(&mut tree, prompts.first().map(Vec::as_slice), shared);
    let leaves: Vec<usize> = prompts.iter().map(|prompt| tree.push(root, &prompt[shared..])).collect();
    let sight = Sight::of(&tree);
    let layers = model.config().num_layers;
    let new = |prompt: &Vec<u32>| Sequence { cache: vec![Rows::default(); layers], len: prompt.len() };
    let mut sequences: Vec<Sequence> = prompts.iter().map(new).collect();
    let shape = model.head_shape();
    let mut attend = |layer: usize, q: &Tensor, k: &Tensor, v: &Tensor| {
        with_slices([k, v], |[keys, values]| {
            let width = shape.num_kv_heads * shape.head_dim;
            for (sequence, leaf) in sequences.iter_mut().zip(&leaves) {
                let rows = &mut sequence.cache[layer];
                for segment in path(sight.segments(), *leaf) {
                    let range = segment.start * width..(segment.start + segment.len) * width;
                    rows.keys.extend_from_slice(&keys[range.clone()]);
                    rows.values.extend_from_slice(&values[range]);
                }
            }
            Ok(())
        })?;
        ops::attention(q, k, v, &sight, model.layer_shape(layer))
    };
    let hidden = model.run(tree.tokens(), tree.positions(), &mut attend, None)?;
    let last: Vec<u32> = leaves.iter().map(|leaf| row(tree.last_row(*leaf).unwrap_or_default())).collect();
    let logits = model.logits(&hidden, &last)?;
    Ok((sequences, logits))
}

/// A segment with its ancestors, from the root down.
fn path(segments: &[Segment], leaf: usize) -> impl Iterator<Item = &Segment> {
    let leaf = &segments[leaf];
    leaf.ancestors.iter().map(|index| &segments[*index]).chain(std::iter::once(leaf))
}

/// Feeds one token to each active sequence and returns the logits after it.
fn decode_step(
    model: &Decoder,
    sequences: &mut [Sequence],
    active: &[usize],
    tokens: &[u32],
) -> Result<Tensor, TrainError> {
    let positions: Vec<usize> = active.iter().map(|index| sequences[*index].len).collect();
    let shape = model.head_shape();
    let mut attend = |layer: usize, q: &Tensor, k: &Tensor, v: &Tensor| {
        let width = shape.num_kv_heads * shape.head_dim;
        let out = with_slices([q, k, v], |[queries, keys, values]| {
            for (row, index) in active.iter().enumerate() {
                let rows = &mut sequences[*index].cache[layer];
                rows.keys.extend_from_slice(&keys[row * width..(row + 1) * width]);
                rows.values.extend_from_slice(&values[row * width..(row + 1) * width]);
            }
            let query_width = shape.num_heads * shape.head_dim;
            let mut out = vec![0f32; queries.len()];
            out.par_chunks_mut(query_width).zip(queries.par_chunks(query_width)).zip(active.par_iter()).for_each(
                |((out, query), index)| {
                    attend_one(out, query, &sequences[*index].cache[layer], model.layer_shape(layer));
                },
            );
            Ok(out)
        })?;
        Tensor::from_vec(out, q.shape(), q.device())
    };
    let hidden = model.run(tokens, &positions, &mut attend, None)?;
    for index in active {
        sequences[*index].len += 1;
    }
    model.project(&hidden)
}

/// Attention of one token over the rows of its sequence that it sees; the last row is its own.
fn attend_one(out: &mut [f32], query: &[f32], rows: &Rows, shape: HeadShape) {
    let (dim, width) = (shape.head_dim, shape.num_kv_heads * shape.head_dim);
    let hidden = shape.first_seen((rows.keys.len() / width).saturating_sub(1)) * width;
    let (keys, values) = (&rows.keys[hidden..], &rows.values[hidden..]);
    for (head, (out, query)) in out.chunks_mut(dim).zip(query.chunks(dim)).enumerate() {
        let offset = head * shape.num_kv_heads / shape.num_heads * dim;
        let dot =
            |key: &[f32]| key[offset..offset + dim].iter().zip(query).map(|(a, b)| a * b).sum::<f32>() * shape.scale;
        let scores: Vec<f32> = keys.chunks(width).map(dot).collect();
        let top = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let weights: Vec<f32> = scores.iter().map(|score| (score - top).exp()).collect();
        let inverse = 1.0 / weights.iter().sum::<f32>();
        for (weight, value) in weights.iter().zip(values.chunks(width)) {
            for (out, x) in out.iter_mut().zip(&value[offset..offset + dim]) {
                *out += weight * inverse * x;
            }
        }
    }
}

fn argmax(logits: &Tensor) -> Result<Vec<u32>, TrainError> {
    let classes = logits.dim(1)?;
    let best = |row: &[f32]| {
        let mut best = 0;
        for (index, x) in row.iter().enumerate() {
            if *x > row[best] {
                best = index;
            }
        }
        crate::batch::row(best)
    };
    Ok(with_slices([logits], |[logits]| Ok(logits.chunks(classes).map(best).collect()))?)
}
