//! `y = x Wᵀ` for a frozen W in blocks: forward and backward pass dequantise it anew, and nothing keeps the floats.
//!
//! The values are those of the dequantised matrix, so result and gradient are those of `frozen_linear` with it. On other
//! devices than the CPU the dequantised matrix is copied over each time.

use candle_core::backend::BackendStorage as _;
use candle_core::{CpuStorage, CudaStorage, CustomOp1, Device, Layout, MetalStorage, Result, Shape, Storage, Tensor};

use super::frozen_linear::sizes;
use crate::blocks::BlockMatrix;

struct QuantizedLinear(BlockMatrix);

/// Returns `x Wᵀ` for x of shape (tokens, in) and W of shape (out, in); the gradient reaches x only.
pub(crate) fn quantized_linear(x: &Tensor, weight: &BlockMatrix) -> Result<Tensor> {
    x.contiguous()?.apply_op1(QuantizedLinear(weight.clone()))
}

impl CustomOp1 for QuantizedLinear {
    fn name(&self) -> &'static str {
        "quantized-linear"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout) -> Result<(CpuStorage, Shape)> {
        let weight = self.0.dequantized(&Device::Cpu)?;
        let (s2, l2) = weight.storage_and_layout();
        let Storage::Cpu(s2) = &*s2 else { candle_core::bail!("dequantised weights are not on the CPU") };
        let (m, n, k) = sizes(l1, l2)?;
        Ok((s1.matmul(s2, (1, m, n, k), l1, &l2.transpose(0, 1)?)?, (m, n).into()))
    }

    fn cuda_fwd(&self, s1: &CudaStorage, l1: &Layout) -> Result<(CudaStorage, Shape)> {
        let weight = self.0.dequantized(&Device::Cuda(s1.device().clone()))?;
        let (s2, l2) = weight.storage_and_layout();
        let Storage::Cuda(s2) = &*s2 else { candle_core::bail!("dequantised weights are not on the CUDA device") };
        let (m, n, k) = sizes(l1, l2)?;
        Ok((s1.matmul(s2, (1, m, n, k), l1, &l2.transpose(0, 1)?)?, (m, n).into()))
    }

    fn metal_fwd(&self, s1: &MetalStorage, l1: &Layout) -> Result<(MetalStorage, Shape)> {
        let weight = self.0.dequantized(&Device::Metal(s1.device().clone()))?;
        let (s2, l2) = weight.storage_and_layout();
        let Storage::Metal(s2) = &*s2 else { candle_core::bail!("dequantised weights are not on the Metal device") };
        let (m, n, k) = sizes(l1, l2)?;
        Ok((s1.matmul(s2, (1, m, n, k), l1, &l2.transpose(0, 1)?)?, (m, n).into()))
    }

    fn bwd(&self, _x: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(grad.matmul(&self.0.dequantized(grad.device())?)?))
    }
}

#[cfg(test)]
mod tests {
    use trex_domain::BlockFormat;

    use super::*;
    use crate::ops::testing::{check_same, random};

    #[test]
    fn equals_the_product_with_the_dequantised_matrix() {
        let floats = BlockMatrix::from_floats(&random(&[5, 64], "w")).unwrap();
        for format in [BlockFormat::Q8_0, BlockFormat::Q4_0] {
            let blocks = floats.requantized(format).unwrap();
            let dequantized = blocks.dequantized(&Device::Cpu).unwrap();
            check_same(
                &[random(&[3, 64], "x")],
                |x| quantized_linear(&x[0], &blocks),
                |x| x[0].matmul(&dequantized.t()?),
            );
        }
    }

    #[test]
    fn a_wrong_width_names_both_shapes() {
        let blocks = BlockMatrix::from_floats(&random(&[5, 6], "w")).unwrap();
        let err = quantized_linear(&random(&[3, 4], "x"), &blocks).unwrap_err().to_string();
        assert!(err.contains("input width 4") && err.contains("(5, 6)"), "{err}");
    }
}
