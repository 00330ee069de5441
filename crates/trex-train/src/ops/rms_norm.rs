//! Root-mean-square normalisation: `y = x / sqrt(mean(x²) + eps) · w` (Zhang & Sennrich, 2019).

use candle_core::{CpuStorage, CustomOp2, D, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::{is_fused, single, slice, with_slices};

struct RmsNorm {
    eps: f32,
    /// Whether the scale is trained: its gradient is not computed otherwise.
    trained_scale: bool,
}

/// Normalises each row of x, shape (tokens, width), and scales it by w, shape (width).
pub(crate) fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    if !is_fused(x) {
        return composed(x, weight, eps);
    }
    let op = RmsNorm { eps: single(eps), trained_scale: weight.track_op() };
    x.contiguous()?.apply_op2(weight, op)
}

fn composed(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    let mean = x.sqr()?.mean_keepdim(D::Minus1)?;
    x.broadcast_div(&(mean + eps)?.sqrt()?)?.broadcast_mul(weight)
}

fn inverse_rms(row: &[f32], eps: f32) -> f32 {
    let mean = row.iter().map(|x| x * x).sum::<f32>() / row.len() as f32;
    1.0 / (mean + eps).sqrt()
}

impl CustomOp2 for RmsNorm {
    fn name(&self) -> &'static str {
        "rms-norm"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, w) = (slice(s1, l1)?, slice(s2, l2)?);
        let width = w.len();
        let mut out = vec![0f32; x.len()];
        out.par_chunks_mut(width).zip(x.par_chunks(width)).for_each(|(out, row)| {
            let scale = inverse_rms(row, self.eps);
            for ((out, x), w) in out.iter_mut().zip(row).zip(w) {
                *out = x * scale * w;
            }
        });
        Ok((CpuStorage::F32(out), l1.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, weight: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (dx, dw) = with_slices([x, weight, grad], |[x, w, g]| {
            let width = w.len();
            let mut dx = vec![0f32; x.len()];
            // With r = 1/rms: dx = r·(g·w) − x·r³/width·Σ(g·w·x).
            dx.par_chunks_mut(width).zip(x.par_chunks(width)).zip(g.par_chunks(width)).for_each(|((dx, row), g)| {
                let r = inverse_rms(row, self.eps);
                let dot: f32 = row.iter().zip(g).zip(w).map(|((x, g), w)| x * g * w).sum();
                let pull = dot * r * r * r / width as f32;
                for (((dx, x), g), w) in dx.iter_mut().zip(row).zip(g).zip(w) {
                    *dx = r * g * w - x * pull;
                }
            });
            let mut dw = Vec::new();
            if self.trained_scale {
                dw = vec![0f32; width];
                for (row, g) in x.chunks(width).zip(g.chunks(width)) {
                    let r = inverse_rms(row, self.eps);
                    for ((dw, x), g) in dw.iter_mut().zip(row).zip(g) {
                        *dw += x * r * g;
                    }
                }
            }
            Ok((dx, dw))
        })?;
        let dx = Tensor::from_vec(dx, x.shape(), x.device())?;
        let dw = if self.trained_scale { Some(Tensor::from_vec(dw, weight.shape(), x.device())?) } else { None };
        Ok((Some(dx), dw))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{check_same, random};

    #[test]
    fn equals_its_composition() {
        let inputs = [random(&[6, 8], "x"), random(&[8], "w")];
        check_same(&inputs, |t| rms_norm(&t[0], &t[1], 1e-5), |t| composed(&t[0], &t[1], 1e-5));
    }
}
