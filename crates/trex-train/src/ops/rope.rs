//! Rotary position embedding in the half-split layout of Hugging Face (Su et al., 2021).

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, D, Device, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::{is_fused, single, slice};
use crate::RopeFrequencies;

/// Cosines and sines for the positions of one batch.
#[derive(Clone, Debug)]
pub(crate) struct RopeTable {
    /// (tokens, pairs), row-major.
    cos: Arc<Vec<f32>>,
    /// Like `cos`.
    sin: Arc<Vec<f32>>,
    /// Pairs of columns that are rotated; the columns of a head behind them stay as they are.
    pairs: usize,
    head_dim: usize,
}

impl RopeTable {
    /// Computes `factor · cos(p · f_i)` and the sines for every position p and frequency f_i.
    pub(crate) fn new(positions: &[usize], head_dim: usize, frequencies: &RopeFrequencies) -> Self {
        let factor = frequencies.attention_factor;
        let angles = || positions.iter().flat_map(|p| frequencies.inverse.iter().map(move |f| *p as f64 * f));
        Self {
            cos: Arc::new(angles().map(|angle| single(factor * angle.cos())).collect()),
            sin: Arc::new(angles().map(|angle| single(factor * angle.sin())).collect()),
            pairs: frequencies.inverse.len(),
            head_dim,
        }
    }

    /// Cosines and sines, each (tokens, pairs), row-major.
    pub(crate) fn values(&self) -> (&[f32], &[f32]) {
        (&self.cos, &self.sin)
    }

    /// Pairs of columns of a head that are rotated: column i with column i + pairs.
    pub(crate) fn pairs(&self) -> usize {
        self.pairs
    }
}

struct Rope {
    table: RopeTable,
    /// 1 rotates forward, −1 backward.
    direction: f32,
}

/// Rotates x of shape (tokens, heads · `head_dim`) by the positions of the table.
pub(crate) fn rope(x: &Tensor, table: &RopeTable) -> Result<Tensor> {
    if !is_fused(x) {
        return composed(x, table);
    }
    x.contiguous()?.apply_op1(Rope { table: table.clone(), direction: 1.0 })
}

fn composed(x: &Tensor, table: &RopeTable) -> Result<Tensor> {
    let (tokens, width) = x.dims2()?;
    let (pairs, head_dim) = (table.pairs, table.head_dim);
    let part = |values: &Arc<Vec<f32>>, device: &Device| Tensor::from_slice(values, (tokens, 1, pairs), device);
    let (cos, sin) = (part(&table.cos, x.device())?, part(&table.sin, x.device())?);
    let x = x.reshape((tokens, width / head_dim, head_dim))?;
    let (a, b) = (x.narrow(D::Minus1, 0, pairs)?, x.narrow(D::Minus1, pairs, pairs)?);
    let first = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
    let second = (b.broadcast_mul(&cos)? + a.broadcast_mul(&sin)?)?;
    let mut parts = vec![first, second];
    if 2 * pairs < head_dim {
        parts.push(x.narrow(D::Minus1, 2 * pairs, head_dim - 2 * pairs)?);
    }
    Tensor::cat(&parts, D::Minus1)?.reshape((tokens, width))
}

impl CustomOp1 for Rope {
    fn name(&self) -> &'static str {
        "rope"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = slice(storage, layout)?;
        let (tokens, width) = layout.shape().dims2()?;
        let (pairs, head_dim) = (self.table.pairs, self.table.head_dim);
        if self.table.cos.len() != tokens * pairs || width % head_dim != 0 || 2 * pairs > head_dim {
            candle_core::bail!("rope: input ({tokens}, {width}), table for {} values", self.table.cos.len());
        }
        let mut out = x.to_vec();
        out.par_chunks_mut(width).zip(x.par_chunks(width)).enumerate().for_each(|(token, (out, x))| {
            let cos = &self.table.cos[token * pairs..(token + 1) * pairs];
            let sin = &self.table.sin[token * pairs..(token + 1) * pairs];
            for (out, x) in out.chunks_mut(head_dim).zip(x.chunks(head_dim)) {
                for i in 0..pairs {
                    let (c, s) = (cos[i], sin[i] * self.direction);
                    out[i] = x[i] * c - x[pairs + i] * s;
                    out[pairs + i] = x[pairs + i] * c + x[i] * s;
                }
            }
        });
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    fn bwd(&self, _x: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let back = Self { table: self.table.clone(), direction: -self.direction };
        Ok(Some(grad.contiguous()?.apply_op1_no_bwd(&back)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{check_same, random};

    #[test]
    fn equals_its_composition() {
        for (pairs, attention_factor) in [(3, 1.0), (2, 1.25)] {
            let inverse = (0..pairs).map(|pair| 0.5f64.powi(pair)).collect();
            let frequencies = RopeFrequencies { inverse, attention_factor };
            let table = RopeTable::new(&[0, 1, 2, 7], 6, &frequencies);
            check_same(&[random(&[4, 12], "x")], |t| rope(&t[0], &table), |t| composed(&t[0], &table));
        }
    }
}
