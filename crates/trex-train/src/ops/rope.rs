//! Rotary position embedding in the half-split layout of Hugging Face (Su et al., 2021).

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, D, Device, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::{single, slice};

/// Cosines and sines for the positions of one batch.
#[derive(Clone, Debug)]
pub(crate) struct RopeTable {
    /// (tokens, `head_dim` / 2), row-major.
    cos: Arc<Vec<f32>>,
    /// Like `cos`.
    sin: Arc<Vec<f32>>,
    half: usize,
}

impl RopeTable {
    /// Computes `cos(p · theta^(-2i/d))` and the sines for every position p and pair i.
    pub(crate) fn new(positions: &[usize], head_dim: usize, theta: f64) -> Self {
        let half = head_dim / 2;
        let inverse: Vec<f64> = (0..half).map(|i| theta.powf(-2.0 * i as f64 / head_dim as f64)).collect();
        let angles = || positions.iter().flat_map(|p| inverse.iter().map(move |f| *p as f64 * f));
        Self {
            cos: Arc::new(angles().map(|angle| single(angle.cos())).collect()),
            sin: Arc::new(angles().map(|angle| single(angle.sin())).collect()),
            half,
        }
    }
}

struct Rope {
    table: RopeTable,
    /// 1 rotates forward, −1 backward.
    direction: f32,
}

/// Rotates x of shape (tokens, heads · `head_dim`) by the positions of the table.
pub(crate) fn rope(x: &Tensor, table: &RopeTable) -> Result<Tensor> {
    if !x.device().is_cpu() {
        return composed(x, table);
    }
    x.contiguous()?.apply_op1(Rope { table: table.clone(), direction: 1.0 })
}

fn composed(x: &Tensor, table: &RopeTable) -> Result<Tensor> {
    let (tokens, width) = x.dims2()?;
    let half = table.half;
    let part = |values: &Arc<Vec<f32>>, device: &Device| {
        Tensor::from_slice(values, (tokens, 1, half), device)?.to_dtype(x.dtype())
    };
    let (cos, sin) = (part(&table.cos, x.device())?, part(&table.sin, x.device())?);
    let x = x.reshape((tokens, width / (2 * half), 2 * half))?;
    let (a, b) = (x.narrow(D::Minus1, 0, half)?, x.narrow(D::Minus1, half, half)?);
    let first = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
    let second = (b.broadcast_mul(&cos)? + a.broadcast_mul(&sin)?)?;
    Tensor::cat(&[first, second], D::Minus1)?.reshape((tokens, width))
}

impl CustomOp1 for Rope {
    fn name(&self) -> &'static str {
        "rope"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = slice(storage, layout)?;
        let (tokens, width) = layout.shape().dims2()?;
        let half = self.table.half;
        if self.table.cos.len() != tokens * half || width % (2 * half) != 0 {
            candle_core::bail!("rope: input ({tokens}, {width}), table for {} values", self.table.cos.len());
        }
        let mut out = vec![0f32; x.len()];
        out.par_chunks_mut(width).zip(x.par_chunks(width)).enumerate().for_each(|(token, (out, x))| {
            let cos = &self.table.cos[token * half..(token + 1) * half];
            let sin = &self.table.sin[token * half..(token + 1) * half];
            for (out, x) in out.chunks_mut(2 * half).zip(x.chunks(2 * half)) {
                for i in 0..half {
                    let (c, s) = (cos[i], sin[i] * self.direction);
                    out[i] = x[i] * c - x[half + i] * s;
                    out[half + i] = x[half + i] * c + x[i] * s;
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
        let table = RopeTable::new(&[0, 1, 2, 7], 4, 10_000.0);
        check_same(&[random(&[4, 12], "x")], |t| rope(&t[0], &table), |t| composed(&t[0], &table));
    }
}
