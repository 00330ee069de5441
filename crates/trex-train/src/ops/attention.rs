//! Causal grouped-query attention over a [`crate::layout::TokenTree`], forward and backward, with or without a sliding
//! window.
//!
//! Scores of one head and one segment are computed, used and dropped; the backward pass computes them again, so no
//! matrix of tokens × tokens is ever stored.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp3, D, Device, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::kernels::{MatMut, MatRef, gemm};
use super::{is_fused, slice, with_slices};
use crate::layout::{Segment, TokenTree};

/// Number and width of heads, and what they see.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeadShape {
    /// Query heads.
    pub(crate) num_heads: usize,
    /// Key-value heads.
    pub(crate) num_kv_heads: usize,
    /// Width of a head.
    pub(crate) head_dim: usize,
    /// Factor on the scores.
    pub(crate) scale: f32,
    /// How many positions a token sees, its own among them; `None` for all.
    pub(crate) window: Option<usize>,
}

impl HeadShape {
    fn query_width(&self) -> usize {
        self.num_heads * self.head_dim
    }

    fn key_width(&self) -> usize {
        self.num_kv_heads * self.head_dim
    }

    /// The key-value head of a query head.
    pub(crate) fn kv_head(&self, head: usize) -> usize {
        head * self.num_kv_heads / self.num_heads
    }

    /// The first of the positions that the token at `position` sees.
    pub(crate) fn first_seen(&self, position: usize) -> usize {
        self.window.map_or(0, |window| (position + 1).saturating_sub(window))
    }
}

/// What the tokens of a batch see: its segments, and for devices without the fused operation a mask per window, made once.
#[derive(Debug)]
pub(crate) struct Sight {
    segments: Arc<Vec<Segment>>,
    /// (1, tokens, tokens) each.
    masks: Mutex<Vec<(Option<usize>, Tensor)>>,
}

impl Sight {
    /// Of a batch.
    pub(crate) fn of(tree: &TokenTree) -> Self {
        Self { segments: tree.segments(), masks: Mutex::default() }
    }

    /// The segments.
    pub(crate) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    fn mask(&self, tokens: usize, shape: HeadShape, device: &Device) -> Result<Tensor> {
        let mut masks = self.masks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, mask)) = masks.iter().find(|(window, _)| *window == shape.window) {
            return Ok(mask.clone());
        }
        let mask = Tensor::from_vec(dense_mask(tokens, &self.segments, shape), (1, tokens, tokens), device)?;
        masks.push((shape.window, mask.clone()));
        Ok(mask)
    }
}

struct Attention {
    segments: Arc<Vec<Segment>>,
    shape: HeadShape,
}

/// Returns `softmax(scale · Q Kᵀ) V` per head, shape (tokens, heads · `head_dim`), for rotated Q and K.
///
/// A token sees the ancestors of its segment and its own segment up to itself, of these the last `window` positions.
/// K and V are (tokens, kv heads · `head_dim`).
pub(crate) fn attention(q: &Tensor, k: &Tensor, v: &Tensor, sight: &Sight, shape: HeadShape) -> Result<Tensor> {
    if !is_fused(q) {
        return composed(q, k, v, sight, shape);
    }
    let op = Attention { segments: sight.segments.clone(), shape };
    q.contiguous()?.apply_op3(&k.contiguous()?, &v.contiguous()?, op)
}

fn composed(q: &Tensor, k: &Tensor, v: &Tensor, sight: &Sight, shape: HeadShape) -> Result<Tensor> {
    let tokens = q.dim(0)?;
    let group = shape.num_heads / shape.num_kv_heads;
    let heads = |x: &Tensor, count: usize| x.reshape((tokens, count, shape.head_dim))?.transpose(0, 1)?.contiguous();
    let repeat = |x: Tensor| {
        let wide = x.unsqueeze(1)?.broadcast_as((shape.num_kv_heads, group, tokens, shape.head_dim))?;
        wide.reshape((shape.num_heads, tokens, shape.head_dim))
    };
    let q = heads(q, shape.num_heads)?;
    let (k, v) = (repeat(heads(k, shape.num_kv_heads)?)?, repeat(heads(v, shape.num_kv_heads)?)?);
    let mask = sight.mask(tokens, shape, q.device())?;
    let scores = (q.matmul(&k.transpose(1, 2)?.contiguous()?)? * f64::from(shape.scale))?.broadcast_add(&mask)?;
    let exp = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?.detach())?.exp()?;
    let probs = exp.broadcast_div(&exp.sum_keepdim(D::Minus1)?)?;
    probs.matmul(&v)?.transpose(0, 1)?.reshape((tokens, shape.query_width()))
}

/// 0 where a row may look, minus infinity elsewhere.
fn dense_mask(tokens: usize, segments: &[Segment], shape: HeadShape) -> Vec<f32> {
    let mut mask = vec![f32::NEG_INFINITY; tokens * tokens];
    for segment in segments {
        // All rows of a sequence in order, so that a row's place is its position.
        let sequence: Vec<usize> =
            seen(segments, segment).into_iter().flat_map(|(start, len, _)| start..start + len).collect();
        for position in sequence.len() - segment.len..sequence.len() {
            for column in &sequence[shape.first_seen(position)..=position] {
                mask[sequence[position] * tokens + column] = 0.0;
            }
        }
    }
    mask
}

/// The rows that a segment sees: its ancestors', then its own, with their first column in the score matrix. A column is
/// the position of its token.
fn seen(segments: &[Segment], segment: &Segment) -> Vec<(usize, usize, usize)> {
    let mut column = 0;
    let own = std::iter::once(segment);
    let ranges = segment.ancestors.iter().map(|index| &segments[*index]).chain(own);
    ranges
        .map(|range| {
            let entry = (range.start, range.len, column);
            column += range.len;
            entry
        })
        .collect()
}

/// Probabilities of one segment and head: (len, columns), zero where the mask forbids.
fn probabilities(
    q: MatRef<'_>,
    k: &[f32],
    key: (usize, usize),
    ranges: &[(usize, usize, usize)],
    len: usize,
    shape: HeadShape,
) -> (Vec<f32>, usize) {
    let (key_offset, key_width) = key;
    let columns = ranges.iter().map(|(_, len, _)| len).sum();
    let mut scores = vec![0f32; len * columns];
    for (start, range_len, column) in ranges {
        let keys = MatRef::new(k, start * key_width + key_offset, key_width).transposed();
        let mut dst = MatMut { data: &mut scores, offset: *column, row_stride: columns };
        gemm(&mut dst, q, keys, [len, *range_len, shape.head_dim], shape.scale, false);
    }
    let before = columns - len;
    for (row, scores) in scores.chunks_mut(columns).enumerate() {
        let position = before + row;
        let (seen, later) = scores.split_at_mut(position + 1);
        let (earlier, visible) = seen.split_at_mut(shape.first_seen(position));
        let top = visible.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut sum = 0.0;
        for x in visible.iter_mut() {
            *x = (*x - top).exp();
            sum += *x;
        }
        let inverse = 1.0 / sum;
        for x in visible.iter_mut() {
            *x *= inverse;
        }
        earlier.fill(0.0);
        later.fill(0.0);
    }
    (scores, columns)
}

impl Attention {
    /// One head forward: (tokens, `head_dim`).
    fn head_forward(&self, head: usize, q: &[f32], k: &[f32], v: &[f32], tokens: usize) -> Vec<f32> {
        let (shape, dim) = (self.shape, self.shape.head_dim);
        let (query_width, key_width) = (shape.query_width(), shape.key_width());
        let key_offset = shape.kv_head(head) * dim;
        let mut out = vec![0f32; tokens * dim];
        for segment in self.segments.iter().filter(|segment| segment.len > 0) {
            let ranges = seen(&self.segments, segment);
            let queries = MatRef::new(q, segment.start * query_width + head * dim, query_width);
            let (probs, columns) = probabilities(queries, k, (key_offset, key_width), &ranges, segment.len, shape);
            for (index, (start, len, column)) in ranges.iter().enumerate() {
                let values = MatRef::new(v, start * key_width + key_offset, key_width);
                let mut dst = MatMut { data: &mut out, offset: segment.start * dim, row_stride: dim };
                gemm(&mut dst, MatRef::new(&probs, *column, columns), values, [segment.len, dim, *len], 1.0, index > 0);
            }
        }
        out
    }

    /// One head backward: gradients of its queries, and of the keys and values that it used; each (tokens, `head_dim`).
    fn head_backward(&self, head: usize, [q, k, v, g]: [&[f32]; 4], tokens: usize) -> [Vec<f32>; 3] {
        let (shape, dim) = (self.shape, self.shape.head_dim);
        let (query_width, key_width) = (shape.query_width(), shape.key_width());
        let key_offset = shape.kv_head(head) * dim;
        let [mut dq, mut dk, mut dv] = [(); 3].map(|()| vec![0f32; tokens * dim]);
        for segment in self.segments.iter().filter(|segment| segment.len > 0) {
            let len = segment.len;
            let ranges = seen(&self.segments, segment);
            let queries = MatRef::new(q, segment.start * query_width + head * dim, query_width);
            let upstream = MatRef::new(g, segment.start * query_width + head * dim, query_width);
            let (probs, columns) = probabilities(queries, k, (key_offset, key_width), &ranges, len, shape);
            let mut dscores = vec![0f32; len * columns];
            for (start, range_len, column) in &ranges {
                let values = MatRef::new(v, start * key_width + key_offset, key_width).transposed();
                let mut dst = MatMut { data: &mut dscores, offset: *column, row_stride: columns };
                gemm(&mut dst, upstream, values, [len, *range_len, dim], 1.0, false);
                let mut dst = MatMut { data: &mut dv, offset: start * dim, row_stride: dim };
                gemm(
                    &mut dst,
                    MatRef::new(&probs, *column, columns).transposed(),
                    upstream,
                    [*range_len, dim, len],
                    1.0,
                    true,
                );
            }
            for (dscores, probs) in dscores.chunks_mut(columns).zip(probs.chunks(columns)) {
                let mean: f32 = dscores.iter().zip(probs).map(|(d, p)| d * p).sum();
                for (d, p) in dscores.iter_mut().zip(probs) {
                    *d = p * (*d - mean);
                }
            }
            for (index, (start, range_len, column)) in ranges.iter().enumerate() {
                let weights = MatRef::new(&dscores, *column, columns);
                let keys = MatRef::new(k, start * key_width + key_offset, key_width);
                let mut dst = MatMut { data: &mut dq, offset: segment.start * dim, row_stride: dim };
                gemm(&mut dst, weights, keys, [len, dim, *range_len], shape.scale, index > 0);
                let mut dst = MatMut { data: &mut dk, offset: start * dim, row_stride: dim };
                gemm(&mut dst, weights.transposed(), queries, [*range_len, dim, len], shape.scale, true);
            }
        }
        [dq, dk, dv]
    }
}

/// Writes head `head` of width `dim` into (tokens, `width`) rows, adding to what is there.
fn scatter(out: &mut [f32], head: usize, dim: usize, width: usize, rows: &[f32]) {
    for (out, row) in out.chunks_mut(width).zip(rows.chunks(dim)) {
        for (out, x) in out[head * dim..(head + 1) * dim].iter_mut().zip(row) {
            *out += x;
        }
    }
}

impl CustomOp3 for Attention {
    fn name(&self) -> &'static str {
        "tree-attention"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (q, k, v) = (slice(s1, l1)?, slice(s2, l2)?, slice(s3, l3)?);
        let (tokens, width) = l1.shape().dims2()?;
        let (shape, dim) = (self.shape, self.shape.head_dim);
        if width != shape.query_width()
            || l2.shape().dims2()? != (tokens, shape.key_width())
            || l2.shape() != l3.shape()
        {
            candle_core::bail!(
                "tree-attention: q {:?}, k {:?}, v {:?}, heads {shape:?}",
                l1.shape(),
                l2.shape(),
                l3.shape()
            );
        }
        let heads: Vec<_> =
            (0..shape.num_heads).into_par_iter().map(|head| self.head_forward(head, q, k, v, tokens)).collect();
        let mut out = vec![0f32; q.len()];
        for (head, rows) in heads.iter().enumerate() {
            scatter(&mut out, head, dim, width, rows);
        }
        Ok((CpuStorage::F32(out), l1.shape().clone()))
    }

    fn bwd(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        _out: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let tokens = q.dim(0)?;
        let (shape, dim) = (self.shape, self.shape.head_dim);
        let [dq, dk, dv] = with_slices([q, k, v, grad], |inputs| {
            let heads: Vec<_> =
                (0..shape.num_heads).into_par_iter().map(|head| self.head_backward(head, inputs, tokens)).collect();
            let mut out = [vec![0f32; inputs[0].len()], vec![0f32; inputs[1].len()], vec![0f32; inputs[2].len()]];
            for (head, [dq, dk, dv]) in heads.iter().enumerate() {
                scatter(&mut out[0], head, dim, shape.query_width(), dq);
                scatter(&mut out[1], shape.kv_head(head), dim, shape.key_width(), dk);
                scatter(&mut out[2], shape.kv_head(head), dim, shape.key_width(), dv);
            }
            Ok(out)
        })?;
        let device = q.device();
        Ok((
            Some(Tensor::from_vec(dq, q.shape(), device)?),
            Some(Tensor::from_vec(dk, k.shape(), device)?),
            Some(Tensor::from_vec(dv, v.shape(), device)?),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{assert_close, check_same, random};

    fn sample_tree() -> TokenTree {
        let mut tree = TokenTree::default();
        let root = tree.push(None, &[1, 2, 3]);
        let item = tree.push(Some(root), &[4, 5]);
        tree.push(Some(item), &[6]);
        tree.push(Some(item), &[7, 8, 9]);
        tree.push(Some(root), &[10, 11]);
        tree.push(None, &[12, 13, 14, 15]);
        tree
    }

    #[test]
    fn equals_masked_dense_attention() {
        let tree = sample_tree();
        let (sight, tokens) = (Sight::of(&tree), tree.tokens().len());
        for window in [None, Some(1), Some(3), Some(100)] {
            let shape = HeadShape { num_heads: 4, num_kv_heads: 2, head_dim: 6, scale: 0.4, window };
            let inputs = [random(&[tokens, 24], "q"), random(&[tokens, 12], "k"), random(&[tokens, 12], "v")];
            check_same(
                &inputs,
                |t| attention(&t[0], &t[1], &t[2], &sight, shape),
                |t| composed(&t[0], &t[1], &t[2], &sight, shape),
            );
        }
    }

    #[test]
    fn a_sibling_is_never_seen() {
        let tree = sample_tree();
        let (sight, tokens) = (Sight::of(&tree), tree.tokens().len());
        let shape = HeadShape { num_heads: 2, num_kv_heads: 1, head_dim: 4, scale: 0.5, window: None };
        let (q, k, v) = (random(&[tokens, 8], "q"), random(&[tokens, 4], "k"), random(&[tokens, 4], "v"));
        let before = attention(&q, &k, &v, &sight, shape).unwrap();
        // Rows 6 to 8 are the second option; every row outside it must stay as it was.
        let zeros = Tensor::zeros((3, 4), candle_core::DType::F32, k.device()).unwrap();
        let changed =
            Tensor::cat(&[&v.narrow(0, 0, 6).unwrap(), &zeros, &v.narrow(0, 9, tokens - 9).unwrap()], 0).unwrap();
        let after = attention(&q, &k, &changed, &sight, shape).unwrap();
        assert_close(&after.narrow(0, 0, 6).unwrap(), &before.narrow(0, 0, 6).unwrap(), "before");
        assert_close(&after.narrow(0, 9, tokens - 9).unwrap(), &before.narrow(0, 9, tokens - 9).unwrap(), "after");
    }

    #[test]
    fn a_window_of_one_sees_its_own_value_only() {
        let tree = sample_tree();
        let (sight, tokens) = (Sight::of(&tree), tree.tokens().len());
        let shape = HeadShape { num_heads: 1, num_kv_heads: 1, head_dim: 4, scale: 0.5, window: Some(1) };
        let (q, k, v) = (random(&[tokens, 4], "q"), random(&[tokens, 4], "k"), random(&[tokens, 4], "v"));
        assert_close(&attention(&q, &k, &v, &sight, shape).unwrap(), &v, "value");
    }

    #[test]
    fn a_window_counts_positions_of_the_sequence_not_rows_of_the_batch() {
        let tree = sample_tree();
        let shape = HeadShape { num_heads: 1, num_kv_heads: 1, head_dim: 2, scale: 1.0, window: Some(3) };
        let tokens = tree.tokens().len();
        let mask = dense_mask(tokens, &tree.segments(), shape);
        let seen = |row: usize| -> Vec<usize> { (0..tokens).filter(|c| mask[row * tokens + c] == 0.0).collect() };
        // Row 6 begins the second option: its sequence is rows 0 to 4, then 6.
        assert_eq!(seen(6), [3, 4, 6]);
        assert_eq!(seen(7), [4, 6, 7]);
        // Row 9 begins the second item: its sequence is rows 0 to 2, then 9.
        assert_eq!(seen(9), [1, 2, 9]);
        assert_eq!(seen(12), [11, 12]);
    }
}
