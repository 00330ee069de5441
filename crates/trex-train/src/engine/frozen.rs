//! The frozen weights of the CPU engine, in the form in which its products read them.
//!
//! In single precision one row-major copy is kept; the forward order is packed one layer at a time into a workspace. In
//! bfloat16 both orders are kept packed, which takes the same room. A quantised base stays in its blocks; each pass takes
//! the floats of one layer out into the same workspace, in the order that it reads, and the products are those of single
//! precision to the last bit.

use rayon::prelude::*;

use super::blocks::{block_rows, room};
use super::few::{self, FewRoom, multiply_few};
use super::pack::{fill_transposed_panel, pair_panels, panels_len, transposed_pair_panels};
use super::product::{Factors, Left, Out, PairRows, Right, multiply, multiply_bf16};
use super::simd::{Level, PANEL};
use crate::TrainError;
use crate::blocks::{BlockMatrix, Matrix};

/// Number of weight stacks of a layer.
pub(super) const STACKS: usize = 4;

/// Linear layers that share their input, one below the other.
#[derive(Debug)]
pub(super) struct Stack {
    /// Inputs.
    pub(super) inner: usize,
    /// Outputs of each linear layer.
    pub(super) outs: Vec<usize>,
    /// Biases of all outputs, where there are any.
    pub(super) bias: Option<Vec<f32>>,
    store: Store,
}

#[derive(Debug)]
enum Store {
    /// Row-major, (out, inner).
    F32(Vec<f32>),
    /// Packed in pairs for `x Wᵀ`, one part after the other, and for `g W`.
    Bf16 { forward: Vec<Vec<u32>>, backward: Vec<u32> },
    /// Quantised, part by part.
    Blocks(Vec<BlockMatrix>),
}

impl Stack {
    /// Takes linear layers of equal input width, each of shape (out, inner).
    pub(super) fn new(weights: Vec<Matrix>, bf16: bool) -> Result<Self, TrainError> {
        let (mut inner, mut outs) = (0, Vec::with_capacity(weights.len()));
        for weight in &weights {
            let (out, width) = weight.shape()?;
            inner = width;
            outs.push(out);
        }
        let store = if weights.iter().any(|weight| matches!(weight, Matrix::Blocks(_))) {
            Store::Blocks(weights.into_iter().map(Matrix::into_blocks).collect::<Result<_, _>>()?)
        } else {
            let mut natural = Vec::with_capacity(inner * outs.iter().sum::<usize>());
            for weight in weights {
                natural.extend(weight.into_floats()?);
            }
            if bf16 { pack_pairs(&natural, &outs, inner) } else { Store::F32(natural) }
        };
        Ok(Self { inner, outs, bias: None, store })
    }

    /// The same with biases of all its outputs.
    pub(super) fn with_bias(self, bias: Option<Vec<f32>>) -> Self {
        Self { bias, ..self }
    }

    /// Takes new weights of one of its linear layers; only single precision can be changed.
    pub(super) fn set(&mut self, part: usize, values: &[f32]) {
        let Store::F32(natural) = &mut self.store else { return };
        let first = self.outs[..part].iter().sum::<usize>() * self.inner;
        natural[first..first + values.len()].copy_from_slice(values);
    }

    /// Outputs of all its linear layers.
    pub(super) fn out(&self) -> usize {
        self.outs.iter().sum()
    }

    /// Bytes that the weights take.
    pub(super) fn size_bytes(&self) -> usize {
        match &self.store {
            Store::F32(values) => 4 * values.len(),
            Store::Bf16 { forward, backward } => 4 * (forward.iter().map(Vec::len).sum::<usize>() + backward.len()),
            Store::Blocks(parts) => parts.iter().map(BlockMatrix::size_bytes).sum(),
        }
    }

    /// Makes the weights ready for a pass; `room` keeps what has to be packed.
    ///
    /// For few rows the forward pass reads the weights as they lie.
    pub(super) fn ready_for<'a>(&'a self, room: &'a mut Room, rows: usize) -> Ready<'a> {
        if rows > few::MOST_ROWS || matches!(self.store, Store::Bf16 { .. }) {
            return self.ready(room, true);
        }
        match self.ready(room, false) {
            Ready::Natural(weights) => Ready::Rows(weights),
            other => other,
        }
    }

    /// Makes the weights ready for a pass; `room` keeps what has to be packed.
    pub(super) fn ready<'a>(&'a self, room: &'a mut Room, forward: bool) -> Ready<'a> {
        let natural = match &self.store {
            Store::Bf16 { forward: panels, backward } => {
                return if forward { Ready::PairPanels(panels) } else { Ready::Pairs(backward) };
            }
            Store::Blocks(parts) => return self.taken_out(parts, &mut room.floats, forward),
            Store::F32(values) => values,
        };
        if !forward {
            return Ready::Natural(natural);
        }
        let mut first_row = 0;
        let mut offset = 0;
        room.floats.resize(self.panels_len(), 0.0);
        for out in &self.outs {
            let len = panels_len(*out, self.inner);
            let rows = &natural[first_row * self.inner..(first_row + out) * self.inner];
            room.floats[offset..offset + len]
                .par_chunks_mut(self.inner * PANEL)
                .zip(rows.par_chunks(self.inner * PANEL))
                .for_each(|(panel, rows)| fill_transposed_panel(panel, rows, self.inner));
            first_row += out;
            offset += len;
        }
        Ready::Panels(&room.floats)
    }

    fn panels_len(&self) -> usize {
        self.outs.iter().map(|out| panels_len(*out, self.inner)).sum()
    }

    /// Takes quantised weights out, a panel at a time: packed for the forward pass, row-major for the backward pass.
    fn taken_out<'a>(&self, parts: &[BlockMatrix], floats: &'a mut Vec<f32>, forward: bool) -> Ready<'a> {
        let (inner, panel_len) = (self.inner, self.inner * PANEL);
        // The larger of the two forms, so that going back and forth moves nothing.
        let mut rest = room(floats, self.panels_len());
        let (mut tasks, mut len) = (Vec::new(), 0);
        for part in parts {
            let (rows, _) = part.shape();
            let taken = if forward { panels_len(rows, inner) } else { rows * inner };
            let (own, others) = std::mem::take(&mut rest).split_at_mut(taken);
            tasks.extend(own.chunks_mut(panel_len).enumerate().map(|(panel, out)| (part, panel * PANEL, out)));
            (rest, len) = (others, len + taken);
        }
        tasks.into_par_iter().for_each_init(Vec::new, |natural, (part, first, out)| {
            if !forward {
                return part.copy_rows(first, out);
            }
            let rows = room(natural, PANEL.min(part.shape().0 - first) * inner);
            part.copy_rows(first, rows);
            fill_transposed_panel(out, rows, inner);
        });
        let floats = &floats[..len];
        if forward { Ready::Panels(floats) } else { Ready::Natural(floats) }
    }
}

/// A matrix of rows that are read one by one or in groups: embedding and output projection.
#[derive(Debug)]
pub(super) enum Table {
    /// Row-major.
    Floats { values: Vec<f32>, width: usize },
    /// Quantised.
    Blocks(BlockMatrix),
}

impl Table {
    /// Takes a matrix.
    pub(super) fn new(matrix: Matrix) -> Result<Self, TrainError> {
        let (_, width) = matrix.shape()?;
        Ok(match matrix {
            Matrix::Blocks(blocks) => Self::Blocks(blocks),
            Matrix::Floats(_) => Self::Floats { values: matrix.into_floats()?, width },
        })
    }

    /// All values, row-major, where they are floats.
    pub(super) fn floats(&self) -> Option<&[f32]> {
        match self {
            Self::Floats { values, .. } => Some(values),
            Self::Blocks(_) => None,
        }
    }

    /// Takes new values; only floats can be changed.
    pub(super) fn set(&mut self, new: &[f32]) {
        if let Self::Floats { values, .. } = self {
            values.copy_from_slice(new);
        }
    }

    /// Copies one row.
    pub(super) fn copy_row(&self, row: usize, out: &mut [f32]) {
        match self {
            Self::Floats { values, width } => out.copy_from_slice(&values[row * width..(row + 1) * width]),
            Self::Blocks(blocks) => blocks.copy_rows(row, out),
        }
    }

    /// `count` rows from `first` on, row-major; `scratch` holds them where they have to be taken out.
    pub(super) fn rows<'a>(&'a self, first: usize, count: usize, scratch: &'a mut Vec<f32>) -> &'a [f32] {
        match self {
            Self::Floats { values, width } => &values[first * width..(first + count) * width],
            Self::Blocks(blocks) => {
                let out = room(scratch, count * blocks.shape().1);
                blocks.copy_rows(first, out);
                out
            }
        }
    }

    /// Like [`Self::rows`], taken out by all threads.
    pub(super) fn rows_on_all_threads<'a>(
        &'a self,
        first: usize,
        count: usize,
        scratch: &'a mut Vec<f32>,
    ) -> &'a [f32] {
        let Self::Blocks(blocks) = self else { return self.rows(first, count, scratch) };
        let width = blocks.shape().1;
        let out = room(scratch, count * width);
        let tasks = out.par_chunks_mut(PANEL * width).enumerate();
        tasks.for_each(|(task, out)| blocks.copy_rows(first + task * PANEL, out));
        out
    }

    /// Bytes that it takes.
    pub(super) fn size_bytes(&self) -> usize {
        match self {
            Self::Floats { values, .. } => 4 * values.len(),
            Self::Blocks(blocks) => blocks.size_bytes(),
        }
    }
}

fn pack_pairs(natural: &[f32], outs: &[usize], inner: usize) -> Store {
    let mut first = 0;
    let mut forward = Vec::with_capacity(outs.len());
    for out in outs {
        forward.push(transposed_pair_panels(&natural[first * inner..(first + out) * inner], *out, inner));
        first += out;
    }
    Store::Bf16 { forward, backward: pair_panels(natural, first, inner) }
}

/// Where one stack of the current layer is packed or taken out.
#[derive(Debug, Default)]
pub(super) struct Room {
    floats: Vec<f32>,
}

/// Weights of a stack as one pass reads them.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ready<'a> {
    /// Forward: packed, part after part.
    Panels(&'a [f32]),
    /// Forward for few rows: row-major.
    Rows(&'a [f32]),
    /// Forward in bfloat16, part by part.
    PairPanels(&'a [Vec<u32>]),
    /// Backward: row-major.
    Natural(&'a [f32]),
    /// Backward in bfloat16.
    Pairs(&'a [u32]),
}

/// Room for rows in the form in which a product reads them.
#[derive(Debug, Default)]
pub(super) struct Staging {
    floats: Vec<f32>,
    pairs: Vec<u32>,
}

/// Elements of a line of the first cache.
const LINE: usize = 16;

/// Distance between staged rows of `width` elements of four bytes.
///
/// A tile reads the same column of a dozen rows at a time. Rows whose distance is a multiple of eight lines would all lie
/// in a few sets of the cache and push each other out.
pub(super) fn staged_width(width: usize) -> usize {
    let lines = width.div_ceil(LINE);
    if lines.is_multiple_of(8) { (lines + 1) * LINE } else { width }
}

/// Rows that go into a product.
#[derive(Debug)]
pub(super) struct Input<'a> {
    /// Rows of `width` elements, `stride` apart; those of the other format are absent.
    floats: &'a [f32],
    pairs: &'a [u32],
    width: usize,
    stride: usize,
}

impl<'a> Input<'a> {
    /// Prepares rows; they are rounded only where the weights are.
    pub(super) fn new(
        level: Level,
        ready: &Ready<'_>,
        rows: &'a [f32],
        width: usize,
        staging: &'a mut Staging,
    ) -> Self {
        if matches!(ready, Ready::PairPanels(_) | Ready::Pairs(_)) {
            let words = width.div_ceil(2);
            let stride = staged_width(words);
            let pairs = room(&mut staging.pairs, rows.len() / width * stride);
            for (out, row) in pairs.chunks_mut(stride).zip(rows.chunks(width)) {
                super::math::round_to_pairs(level, row, &mut out[..words]);
            }
            return Self { floats: &[], pairs, width, stride };
        }
        let stride = staged_width(width);
        if stride == width {
            return Self { floats: rows, pairs: &[], width, stride };
        }
        let floats = room(&mut staging.floats, rows.len() / width * stride);
        for (out, row) in floats.chunks_mut(stride).zip(rows.chunks(width)) {
            out[..width].copy_from_slice(row);
        }
        Self { floats, pairs: &[], width, stride }
    }
}

impl Ready<'_> {
    /// Rows of a block of a forward pass over `rows`.
    pub(super) fn block_rows(&self, rows: usize) -> usize {
        if matches!(self, Self::Rows(_)) { rows.max(1) } else { block_rows(rows) }
    }

    /// `out = x Wᵀ + extra` for part `part` of a stack (forward forms).
    pub(super) fn forward(
        &self,
        level: Level,
        stack: &Stack,
        part: usize,
        (x, kept): (&Input<'_>, &mut FewRoom),
        extra: Option<Factors<'_>>,
        out: &mut Out<'_>,
    ) {
        match self {
            Self::Rows(weights) => {
                let first = stack.outs[..part].iter().sum::<usize>() * stack.inner;
                let own = &weights[first..first + stack.outs[part] * stack.inner];
                multiply_few(level, out, own, (x.floats, x.stride), extra, kept);
            }
            Self::PairPanels(panels) => with_pairs(level, x, &panels[part], extra, out),
            Self::Panels(panels) => {
                let before: usize = stack.outs[..part].iter().map(|out| panels_len(*out, stack.inner)).sum();
                let right = Right::Panels(&panels[before..]);
                with_floats(level, x, right, extra, out);
            }
            Self::Natural(_) | Self::Pairs(_) => unreachable!("weights were made ready for the other direction"),
        }
    }

    /// `out = g W + extra` over the whole stack (backward forms).
    pub(super) fn backward(
        &self,
        level: Level,
        stack: &Stack,
        g: &Input<'_>,
        extra: Option<Factors<'_>>,
        out: &mut Out<'_>,
    ) {
        match self {
            Self::Pairs(panels) => with_pairs(level, g, panels, extra, out),
            Self::Natural(data) => {
                let right = Right::Natural { data, offset: 0, row: stack.inner };
                with_floats(level, g, right, extra, out);
            }
            Self::Panels(_) | Self::PairPanels(_) | Self::Rows(_) => {
                unreachable!("weights were made ready for the other direction")
            }
        }
    }
}

fn with_floats(level: Level, x: &Input<'_>, right: Right<'_>, extra: Option<Factors<'_>>, out: &mut Out<'_>) {
    let main = Factors { left: Left::rows(x.floats, 0, x.stride), right, len: x.width };
    match extra {
        Some(extra) => multiply(level, out, &[main, extra]),
        None => multiply(level, out, &[main]),
    }
}

fn with_pairs(level: Level, x: &Input<'_>, panels: &[u32], extra: Option<Factors<'_>>, out: &mut Out<'_>) {
    let pairs = PairRows { data: x.pairs, row: x.stride, len: x.width.div_ceil(2) };
    multiply_bf16(level, out, pairs, panels, extra);
}
