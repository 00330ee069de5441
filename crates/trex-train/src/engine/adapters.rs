//! Adapters of the CPU engine: the matrices in the orders in which its products read them, and their gradients.

use std::collections::BTreeMap;

use super::product::{Factors, Left, Out, Right, multiply};
use super::simd::Level;
use crate::optimizer::{Gradients, Parameter};

/// The adapter of one linear layer of a stack.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    /// Which linear layer of the stack.
    part: usize,
    /// First output of that layer within the stack.
    out_offset: usize,
    out: usize,
    rank: usize,
    /// First column of its thin activations within those of the stack.
    rank_offset: usize,
    scale: f32,
    /// Index of A among the parameters; B follows it.
    parameter: usize,
    /// B as PEFT keeps it: (out, r).
    b: Vec<f32>,
    /// Bᵀ: (r, out).
    b_t: Vec<f32>,
}

/// The adapters of a stack.
#[derive(Clone, Debug, Default)]
pub(super) struct StackAdapters {
    inner: usize,
    slots: Vec<Slot>,
    /// Sum of ranks.
    pub(super) rank: usize,
    /// All A, one below the other: (rank, inner).
    a: Vec<f32>,
    /// The transpose: (inner, rank).
    a_t: Vec<f32>,
}

/// What a linear layer's adapter is called and how it is scaled.
#[derive(Clone, Debug)]
pub(super) struct Module {
    pub(super) out: usize,
    /// Index of A among the parameters, where there is an adapter.
    pub(super) parameter: Option<usize>,
    /// The factor on the adapter's output.
    pub(super) scale: f32,
}

impl StackAdapters {
    /// Adapters of the given linear layers.
    pub(super) fn new(inner: usize, modules: &[Module], parameters: &[Parameter]) -> Self {
        let mut adapters = Self { inner, ..Self::default() };
        let mut out_offset = 0;
        for (part, module) in modules.iter().enumerate() {
            if let Some(parameter) = module.parameter {
                let rank = parameters[parameter].shape[0];
                adapters.slots.push(Slot {
                    part,
                    out_offset,
                    out: module.out,
                    rank,
                    rank_offset: adapters.rank,
                    scale: module.scale,
                    parameter,
                    b: vec![0.0; module.out * rank],
                    b_t: vec![0.0; module.out * rank],
                });
                adapters.rank += rank;
            }
            out_offset += module.out;
        }
        adapters.a = vec![0.0; adapters.rank * inner];
        adapters.a_t = vec![0.0; adapters.rank * inner];
        adapters.take(parameters);
        adapters
    }

    /// Takes new values.
    pub(super) fn take(&mut self, parameters: &[Parameter]) {
        for slot in &mut self.slots {
            let (a, b) = (&parameters[slot.parameter].values, &parameters[slot.parameter + 1].values);
            let first = slot.rank_offset * self.inner;
            self.a[first..first + a.len()].copy_from_slice(a);
            slot.b.copy_from_slice(b);
            transpose(b, slot.out, slot.rank, &mut slot.b_t);
        }
        transpose(&self.a, self.rank, self.inner, &mut self.a_t);
    }

    /// Width of the thin activations in memory; at least one, so that rows can be cut.
    pub(super) fn width(&self) -> usize {
        self.rank.max(1)
    }

    /// `thin = s · x Aᵀ` for rows of x.
    pub(super) fn down(&self, level: Level, x: &[f32], rows: usize, thin: &mut [f32]) {
        if self.rank == 0 {
            return;
        }
        let right = Right::Natural { data: &self.a_t, offset: 0, row: self.rank };
        let mut out = Out { data: thin, offset: 0, row: self.rank, rows, columns: self.rank, add: false };
        multiply(level, &mut out, &[Factors { left: Left::rows(x, 0, self.inner), right, len: self.inner }]);
        self.scale(thin);
    }

    fn scale(&self, thin: &mut [f32]) {
        for row in thin.chunks_mut(self.rank) {
            for slot in &self.slots {
                for x in &mut row[slot.rank_offset..slot.rank_offset + slot.rank] {
                    *x *= slot.scale;
                }
            }
        }
    }

    /// The term `thin Bᵀ` of one linear layer's output.
    pub(super) fn up<'a>(&'a self, part: usize, thin: &'a [f32]) -> Option<Factors<'a>> {
        let slot = self.slots.iter().find(|slot| slot.part == part)?;
        Some(Factors {
            left: Left::rows(thin, slot.rank_offset, self.rank),
            right: Right::Natural { data: &slot.b_t, offset: 0, row: slot.out },
            len: slot.rank,
        })
    }

    /// `thin = s · g B` for gradients g of the whole stack's output, rows of width `width`.
    pub(super) fn back_down(&self, level: Level, g: &[f32], width: usize, rows: usize, thin: &mut [f32]) {
        for slot in &self.slots {
            let right = Right::Natural { data: &slot.b, offset: 0, row: slot.rank };
            let left = Left::rows(g, slot.out_offset, width);
            let mut out =
                Out { data: thin, offset: slot.rank_offset, row: self.rank, rows, columns: slot.rank, add: false };
            multiply(level, &mut out, &[Factors { left, right, len: slot.out }]);
        }
        if self.rank > 0 {
            self.scale(thin);
        }
    }

    /// The term `thin A` of the gradient of the stack's input.
    pub(super) fn back_up<'a>(&'a self, thin: &'a [f32]) -> Option<Factors<'a>> {
        (self.rank > 0).then(|| Factors {
            left: Left::rows(thin, 0, self.rank),
            right: Right::Natural { data: &self.a, offset: 0, row: self.inner },
            len: self.rank,
        })
    }

    /// Numbers in the gradients of all its matrices.
    pub(super) fn gradient_len(&self) -> usize {
        self.rank * self.inner + self.slots.iter().map(|slot| slot.rank * slot.out).sum::<usize>()
    }

    /// Writes the gradients of some rows: first A of all slots, (rank, inner), then Bᵀ of each, (r, out).
    ///
    /// `forward` are the thin activations of the forward pass, `backward` those of the gradients.
    pub(super) fn gradient(&self, level: Level, rows: &GradientRows<'_>, sums: &mut [f32]) {
        if self.rank == 0 {
            return;
        }
        let (a, mut rest) = sums.split_at_mut(self.rank * self.inner);
        let mut out = Out { data: a, offset: 0, row: self.inner, rows: self.rank, columns: self.inner, add: false };
        let right = Right::Natural { data: rows.x, offset: 0, row: self.inner };
        let left = Left::transposed(rows.backward, 0, self.rank);
        multiply(level, &mut out, &[Factors { left, right, len: rows.count }]);
        for slot in &self.slots {
            let (b_t, after) = rest.split_at_mut(slot.rank * slot.out);
            rest = after;
            let mut out = Out { data: b_t, offset: 0, row: slot.out, rows: slot.rank, columns: slot.out, add: false };
            let right = Right::Natural { data: rows.g, offset: slot.out_offset, row: rows.g_width };
            let left = Left::transposed(rows.forward, slot.rank_offset, self.rank);
            multiply(level, &mut out, &[Factors { left, right, len: rows.count }]);
        }
    }

    /// Adds finished sums, in the order of [`Self::gradient`], to the gradients of the parameters.
    pub(super) fn hand_over(&self, sums: &[f32], gradients: &mut Gradients) {
        let mut rest = &sums[self.rank * self.inner..];
        for slot in &self.slots {
            let a = &sums[slot.rank_offset * self.inner..(slot.rank_offset + slot.rank) * self.inner];
            gradients.values[slot.parameter].iter_mut().zip(a).for_each(|(sum, x)| *sum += x);
            let (b_t, after) = rest.split_at(slot.rank * slot.out);
            rest = after;
            let b = &mut gradients.values[slot.parameter + 1];
            for (rank, row) in b_t.chunks(slot.out).enumerate() {
                for (out, x) in row.iter().enumerate() {
                    b[out * slot.rank + rank] += x;
                }
            }
        }
    }
}

/// Rows from which gradients of adapters are made.
#[derive(Debug)]
pub(super) struct GradientRows<'a> {
    /// Inputs of the stack, (count, inner).
    pub(super) x: &'a [f32],
    /// Gradients of the outputs of the stack, rows of width `g_width`.
    pub(super) g: &'a [f32],
    pub(super) g_width: usize,
    /// `s · x Aᵀ`.
    pub(super) forward: &'a [f32],
    /// `s · g B`.
    pub(super) backward: &'a [f32],
    pub(super) count: usize,
}

/// Where the adapter of each module lies among the parameters, by module path.
pub(super) fn index_by_module(parameters: &[Parameter]) -> BTreeMap<String, usize> {
    let module = |name: &str| {
        let inner = name.strip_prefix("base_model.model.")?.strip_suffix(".lora_A.weight")?;
        Some(inner.to_owned())
    };
    parameters.iter().enumerate().filter_map(|(index, p)| Some((module(&p.name)?, index))).collect()
}

fn transpose(x: &[f32], rows: usize, columns: usize, out: &mut [f32]) {
    for (row, values) in x.chunks(columns.max(1)).take(rows).enumerate() {
        for (column, value) in values.iter().enumerate() {
            out[column * rows + row] = *value;
        }
    }
}
