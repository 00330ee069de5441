//! Attention of the CPU engine: one task per tree and head, forward and backward, over strided views of one buffer.
//!
//! Scores of a few rows are computed, used and dropped. The backward pass computes them again from the kept logarithm
//! of their sum, so nothing of size tokens × tokens is stored.

use rayon::prelude::*;

use super::math;
use super::product::{Factors, Left, Out, Right, multiply};
use super::simd::Level;
use crate::layout::Segment;
use crate::ops::HeadShape;

/// Query rows that are treated together.
const ROWS: usize = 48;

/// Independent trees of a batch: first row, rows and segments of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TreeRange {
    pub(super) start: usize,
    pub(super) len: usize,
    /// Segments of the tree.
    pub(super) segments: Vec<usize>,
}

/// Cuts a batch into trees that lie in rows of their own; a batch that cannot be cut is one tree.
pub(super) fn trees(segments: &[Segment]) -> Vec<TreeRange> {
    let mut trees: Vec<TreeRange> = Vec::new();
    let mut roots: Vec<usize> = Vec::new();
    for (index, segment) in segments.iter().enumerate() {
        let root = segment.ancestors.first().copied().unwrap_or(index);
        if roots.last() != Some(&root) {
            if roots.contains(&root) {
                let len = segments.iter().map(|s| s.start + s.len).max().unwrap_or(0);
                return vec![TreeRange { start: 0, len, segments: (0..segments.len()).collect() }];
            }
            roots.push(root);
            trees.push(TreeRange { start: segment.start, len: 0, segments: Vec::new() });
        }
        if let Some(tree) = trees.last_mut() {
            tree.len = segment.start + segment.len - tree.start;
            tree.segments.push(index);
        }
    }
    trees
}

/// A batch as attention sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scene<'a> {
    pub(super) level: Level,
    pub(super) shape: HeadShape,
    pub(super) segments: &'a [Segment],
    pub(super) trees: &'a [TreeRange],
    /// Rows of the batch.
    pub(super) tokens: usize,
}

/// Rows that a tile of queries sees: (first row, rows, first column among the scores).
type Seen = Vec<(usize, usize, usize)>;

impl Scene<'_> {
    fn query_width(&self) -> usize {
        self.shape.num_heads * self.shape.head_dim
    }

    fn kv_width(&self) -> usize {
        self.shape.num_kv_heads * self.shape.head_dim
    }

    /// Width of a row of queries, keys and values.
    fn width(&self) -> usize {
        self.query_width() + 2 * self.kv_width()
    }

    fn scale(&self) -> f32 {
        self.shape.scale
    }

    /// First columns of queries, keys and values of a head.
    fn offsets(&self, head: usize) -> [usize; 3] {
        let (dim, kv) = (self.shape.head_dim, self.shape.kv_head(head));
        [head * dim, self.query_width() + kv * dim, self.query_width() + self.kv_width() + kv * dim]
    }

    /// Tiles of a tree: (first row, rows, what they see, columns before their own segment).
    fn tiles(&self, tree: &TreeRange) -> Vec<(usize, usize, Seen, usize)> {
        let mut tiles = Vec::new();
        for segment in tree.segments.iter().map(|index| &self.segments[*index]) {
            for first in (0..segment.len).step_by(ROWS) {
                let rows = ROWS.min(segment.len - first);
                let mut seen = Seen::new();
                let mut column = 0;
                for ancestor in segment.ancestors.iter().map(|index| &self.segments[*index]).filter(|s| s.len > 0) {
                    seen.push((ancestor.start, ancestor.len, column));
                    column += ancestor.len;
                }
                let before = column + first;
                seen.push((segment.start, first + rows, column));
                tiles.push((segment.start + first, rows, seen, before));
            }
        }
        tiles
    }

    /// Columns `offset..offset + head_dim` of the rows of a tree, transposed: (`head_dim`, rows).
    fn transposed(&self, data: &[f32], offset: usize, tree: &TreeRange, out: &mut Vec<f32>) {
        let (dim, width) = (self.shape.head_dim, self.width());
        out.resize(dim * tree.len, 0.0);
        for (row, values) in data[tree.start * width..(tree.start + tree.len) * width].chunks(width).enumerate() {
            for (at, x) in values[offset..offset + dim].iter().enumerate() {
                out[at * tree.len + row] = *x;
            }
        }
    }

    /// Mixes values: `qkv` is (tokens, width), rotated; `out` is (heads, tokens, `head_dim`), `log_z` (heads, tokens).
    pub(super) fn forward(&self, qkv: &[f32], out: &mut [f32], log_z: &mut [f32]) {
        let dim = self.shape.head_dim;
        let mut tasks = Vec::new();
        let heads = out.chunks_mut(self.tokens * dim).zip(log_z.chunks_mut(self.tokens));
        for (head, (mut out, mut log_z)) in heads.enumerate() {
            for tree in self.trees {
                let (own_out, rest_out) = out.split_at_mut(tree.len * dim);
                let (own_z, rest_z) = log_z.split_at_mut(tree.len);
                (out, log_z) = (rest_out, rest_z);
                tasks.push((head, tree, own_out, own_z));
            }
        }
        tasks.into_par_iter().for_each(|(head, tree, out, log_z)| self.forward_task(qkv, head, tree, out, log_z));
    }

    fn forward_task(&self, qkv: &[f32], head: usize, tree: &TreeRange, out: &mut [f32], log_z: &mut [f32]) {
        let (dim, width) = (self.shape.head_dim, self.width());
        let [query, key, value] = self.offsets(head);
        let (mut keys, mut scores) = (Vec::new(), Vec::new());
        self.transposed(qkv, key, tree, &mut keys);
        for (first, rows, seen, before) in self.tiles(tree) {
            let columns = before + rows;
            self.scores(&keys, tree, (qkv, first * width + query, width), rows, &seen, columns, &mut scores);
            for (row, scores) in scores.chunks_mut(columns).enumerate() {
                let (seen, later) = scores.split_at_mut(before + row + 1);
                let (earlier, visible) = seen.split_at_mut(self.shape.first_seen(before + row));
                log_z[first - tree.start + row] = math::softmax(self.level, visible, self.scale());
                earlier.fill(0.0);
                later.fill(0.0);
            }
            for (index, (start, len, column)) in seen.iter().enumerate() {
                let mut out =
                    Out { data: out, offset: (first - tree.start) * dim, row: dim, rows, columns: dim, add: index > 0 };
                let right = Right::Natural { data: qkv, offset: start * width + value, row: width };
                multiply(
                    self.level,
                    &mut out,
                    &[Factors { left: Left::rows(&scores, *column, columns), right, len: *len }],
                );
            }
        }
    }

    /// Raw products of some rows with transposed columns of a tree: (rows, columns).
    #[expect(clippy::too_many_arguments, reason = "the operands of a product, used in two places")]
    fn scores(
        &self,
        transposed: &[f32],
        tree: &TreeRange,
        (left, offset, stride): (&[f32], usize, usize),
        rows: usize,
        seen: &Seen,
        columns: usize,
        scores: &mut Vec<f32>,
    ) {
        scores.resize(rows * columns, 0.0);
        for (start, len, column) in seen {
            let mut out = Out { data: scores, offset: *column, row: columns, rows, columns: *len, add: false };
            let right = Right::Natural { data: transposed, offset: start - tree.start, row: tree.len };
            let left = Left::rows(left, offset, stride);
            multiply(self.level, &mut out, &[Factors { left, right, len: self.shape.head_dim }]);
        }
    }

    /// Gradients of queries, keys and values per query head: `grads` is (heads, tokens, 3 · `head_dim`).
    ///
    /// `g` is the gradient of the mixed values, (tokens, heads · `head_dim`); rows for which `skip` is set have none.
    pub(super) fn backward(&self, kept: &Kept<'_>, g: &[f32], skip: &[bool], grads: &mut [f32]) {
        let dim = self.shape.head_dim;
        let mut tasks = Vec::new();
        for (head, mut grads) in grads.chunks_mut(self.tokens * 3 * dim).enumerate() {
            for tree in self.trees {
                let (own, rest) = grads.split_at_mut(tree.len * 3 * dim);
                grads = rest;
                tasks.push((head, tree, own));
            }
        }
        tasks.into_par_iter().for_each(|(head, tree, grads)| self.backward_task(kept, g, skip, head, tree, grads));
    }

    fn backward_task(
        &self,
        kept: &Kept<'_>,
        g: &[f32],
        skip: &[bool],
        head: usize,
        tree: &TreeRange,
        grads: &mut [f32],
    ) {
        let (dim, width, g_width) = (self.shape.head_dim, self.width(), self.query_width());
        let [query, key, value] = self.offsets(head);
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        let (mut probs, mut dscores) = (Vec::new(), Vec::new());
        self.transposed(kept.qkv, key, tree, &mut keys);
        self.transposed(kept.qkv, value, tree, &mut values);
        grads.fill(0.0);
        for (first, rows, seen, before) in self.tiles(tree) {
            if skip[first..first + rows].iter().all(|skip| *skip) {
                continue;
            }
            let columns = before + rows;
            self.scores(&keys, tree, (kept.qkv, first * width + query, width), rows, &seen, columns, &mut probs);
            self.scores(&values, tree, (g, first * g_width + query, g_width), rows, &seen, columns, &mut dscores);
            for (row, (probs, dscores)) in probs.chunks_mut(columns).zip(dscores.chunks_mut(columns)).enumerate() {
                let token = first + row;
                let upstream = &g[token * g_width + query..][..dim];
                let mixed = &kept.mixed[(head * self.tokens + token) * dim..][..dim];
                let mean = math::dot(self.level, upstream, mixed);
                let visible = self.shape.first_seen(before + row)..before + row + 1;
                let log_z = kept.log_z[head * self.tokens + token];
                math::score_gradient(
                    self.level,
                    &mut probs[visible.clone()],
                    &mut dscores[visible.clone()],
                    self.scale(),
                    log_z,
                    mean,
                );
                for rows in [probs, dscores] {
                    rows[..visible.start].fill(0.0);
                    rows[visible.end..].fill(0.0);
                }
            }
            for (index, (start, len, column)) in seen.iter().enumerate() {
                let local = (start - tree.start) * 3 * dim;
                let mut add = |offset, rows, add, factors| {
                    let mut out = Out { data: grads, offset, row: 3 * dim, rows, columns: dim, add };
                    multiply(self.level, &mut out, &[factors]);
                };
                let natural = |data, offset, row| Right::Natural { data, offset, row };
                let keys = natural(kept.qkv, start * width + key, width);
                let rows_left = Left::rows(&dscores, *column, columns);
                let own = (first - tree.start) * 3 * dim;
                add(own, rows, index > 0, Factors { left: rows_left, right: keys, len: *len });
                let queries = natural(kept.qkv, first * width + query, width);
                let left = Left::transposed(&dscores, *column, columns);
                add(local + dim, *len, true, Factors { left, right: queries, len: rows });
                let upstream = natural(g, first * g_width + query, g_width);
                let left = Left::transposed(&probs, *column, columns);
                add(local + 2 * dim, *len, true, Factors { left, right: upstream, len: rows });
            }
        }
    }
}

/// What the forward pass kept of a layer's attention.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kept<'a> {
    /// (tokens, width), rotated.
    pub(super) qkv: &'a [f32],
    /// (heads, tokens, `head_dim`).
    pub(super) mixed: &'a [f32],
    /// (heads, tokens).
    pub(super) log_z: &'a [f32],
}
