//! Cross-entropy of token logits, per row, with optional label smoothing.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, D, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::{is_fused, single, slice, with_slices};

struct CrossEntropy {
    targets: Arc<Vec<u32>>,
    smoothing: f32,
}

/// Returns the loss of each row in nats, shape (rows), for logits of shape (rows, classes).
///
/// With smoothing s the target distribution is `(1 − s)` on the gold class plus `s / classes` everywhere.
pub(crate) fn cross_entropy(logits: &Tensor, targets: &Arc<Vec<u32>>, smoothing: f64) -> Result<Tensor> {
    if !is_fused(logits) {
        return composed(logits, targets, smoothing);
    }
    logits.contiguous()?.apply_op1(CrossEntropy { targets: targets.clone(), smoothing: single(smoothing) })
}

fn composed(logits: &Tensor, targets: &Arc<Vec<u32>>, smoothing: f64) -> Result<Tensor> {
    let (rows, _) = logits.dims2()?;
    let shifted = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?.detach())?;
    let log_probs = shifted.broadcast_sub(&shifted.exp()?.sum_keepdim(D::Minus1)?.log()?)?;
    let gold = Tensor::from_slice(targets, (rows, 1), logits.device())?;
    let nll = log_probs.gather(&gold, D::Minus1)?.neg()?.squeeze(1)?;
    if smoothing == 0.0 {
        return Ok(nll);
    }
    let uniform = log_probs.mean(D::Minus1)?.neg()?;
    (nll * (1.0 - smoothing))? + (uniform * smoothing)?
}

/// Log of the sum of exponentials, stable.
fn log_sum_exp(row: &[f32]) -> f32 {
    let top = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    top + row.iter().map(|x| (x - top).exp()).sum::<f32>().ln()
}

impl CustomOp1 for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross-entropy"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let logits = slice(storage, layout)?;
        let (rows, classes) = layout.shape().dims2()?;
        if self.targets.len() != rows || self.targets.iter().any(|t| *t as usize >= classes) {
            candle_core::bail!("cross-entropy: {rows} rows of {classes} classes, {} targets", self.targets.len());
        }
        let loss: Vec<f32> = logits
            .par_chunks(classes)
            .zip(self.targets.par_iter())
            .map(|(row, target)| {
                let log_z = log_sum_exp(row);
                let nll = log_z - row[*target as usize];
                if self.smoothing == 0.0 {
                    return nll;
                }
                let mean = row.iter().sum::<f32>() / classes as f32;
                (1.0 - self.smoothing) * nll + self.smoothing * (log_z - mean)
            })
            .collect();
        Ok((CpuStorage::F32(loss), Shape::from(rows)))
    }

    fn bwd(&self, logits: &Tensor, _loss: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let (_, classes) = logits.dims2()?;
        let out = with_slices([logits, grad], |[logits, grad]| {
            let mut out = vec![0f32; logits.len()];
            let rows = logits.par_chunks(classes).zip(grad.par_iter()).zip(self.targets.par_iter());
            out.par_chunks_mut(classes).zip(rows).for_each(|(out, ((row, grad), target))| {
                let log_z = log_sum_exp(row);
                let rest = self.smoothing / classes as f32;
                for (out, x) in out.iter_mut().zip(row) {
                    *out = grad * ((x - log_z).exp() - rest);
                }
                out[*target as usize] -= grad * (1.0 - self.smoothing);
            });
            Ok(out)
        })?;
        Ok(Some(Tensor::from_vec(out, logits.shape(), logits.device())?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{check_same, random};

    #[test]
    fn equals_its_composition() {
        let targets = Arc::new(vec![2, 0, 4]);
        for smoothing in [0.0, 0.1] {
            check_same(
                &[random(&[3, 5], "logits")],
                |t| cross_entropy(&t[0], &targets, smoothing),
                |t| composed(&t[0], &targets, smoothing),
            );
        }
    }

    #[test]
    fn a_target_outside_the_classes_is_an_error() {
        assert!(cross_entropy(&random(&[1, 5], "logits"), &Arc::new(vec![5]), 0.0).is_err());
    }
}
