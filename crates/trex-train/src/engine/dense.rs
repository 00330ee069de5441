//! A frozen linear layer by itself, for models that are no decoder: packed once, read by the kernels of the engine.

use candle_core::Tensor;
use rayon::prelude::*;

use super::pack::{fill_transposed_panel, panels_len};
use super::product::{Factors, Left, Out, Right, multiply};
use super::simd::{Level, PANEL};

/// Rows of one task: whole tiles, and with their results they stay in the second cache.
const ROWS: usize = 96;

/// The weight of `x Wᵀ` in the order of the kernels.
#[derive(Debug)]
pub(crate) struct PackedLinear {
    panels: Vec<f32>,
    inner: usize,
    out: usize,
}

impl PackedLinear {
    /// Packs a weight of shape (out, inner) that lies on the CPU.
    pub(crate) fn new(weight: &Tensor) -> candle_core::Result<Self> {
        let (out, inner) = weight.dims2()?;
        let natural = weight.flatten_all()?.to_vec1::<f32>()?;
        let mut panels = vec![0.0; panels_len(out, inner)];
        panels
            .par_chunks_mut(inner * PANEL)
            .zip(natural.par_chunks(inner * PANEL))
            .for_each(|(panel, rows)| fill_transposed_panel(panel, rows, inner));
        Ok(Self { panels, inner, out })
    }

    /// `x Wᵀ` with `x` of shape (tokens, inner), row by row; the result has shape (tokens, out).
    pub(crate) fn product(&self, x: &[f32]) -> Vec<f32> {
        let (inner, columns, level) = (self.inner, self.out, Level::detect());
        let mut result = vec![0f32; x.len() / inner * columns];
        result.par_chunks_mut(ROWS * columns).zip(x.par_chunks(ROWS * inner)).for_each(|(data, x)| {
            let rows = x.len() / inner;
            let mut out = Out { data, offset: 0, row: columns, rows, columns, add: false };
            let factors = Factors { left: Left::rows(x, 0, inner), right: Right::Panels(&self.panels), len: inner };
            multiply(level, &mut out, &[factors]);
        });
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{assert_close, random};

    #[test]
    fn the_product_is_that_of_candle() {
        for (tokens, inner, out) in [(1, 3, 2), (200, 40, 70), (97, 64, 32), (5, 300, 33)] {
            let (x, weight) = (random(&[tokens, inner], "x"), random(&[out, inner], "weight"));
            let packed = PackedLinear::new(&weight).unwrap();
            let ours = packed.product(&x.flatten_all().unwrap().to_vec1::<f32>().unwrap());
            let ours = Tensor::from_vec(ours, (tokens, out), x.device()).unwrap();
            assert_close(&ours, &x.matmul(&weight.t().unwrap()).unwrap(), "product");
        }
    }
}
