//! `y = x Wᵀ` for a frozen W: no gradient for W is computed or stored.
//!
//! A stock matrix product computes both gradients as soon as one side is tracked, which costs half as much again and keeps a copy of the model.

use candle_core::backend::BackendStorage as _;
use candle_core::{CpuStorage, CudaStorage, CustomOp2, Layout, MetalStorage, Result, Shape, Tensor};

struct FrozenLinear;

/// Returns `x Wᵀ` for x of shape (tokens, in) and W of shape (out, in); the gradient reaches x only.
pub(crate) fn frozen_linear(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    x.contiguous()?.apply_op2(weight, FrozenLinear)
}

pub(super) fn sizes(l1: &Layout, l2: &Layout) -> Result<(usize, usize, usize)> {
    let (tokens, inner) = l1.shape().dims2()?;
    let (out, weight_inner) = l2.shape().dims2()?;
    if inner != weight_inner {
        candle_core::bail!("frozen-linear: input width {inner}, weight of shape ({out}, {weight_inner})");
    }
    Ok((tokens, out, inner))
}

impl CustomOp2 for FrozenLinear {
    fn name(&self) -> &'static str {
        "frozen-linear"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let (m, n, k) = sizes(l1, l2)?;
        Ok((s1.matmul(s2, (1, m, n, k), l1, &l2.transpose(0, 1)?)?, (m, n).into()))
    }

    fn cuda_fwd(&self, s1: &CudaStorage, l1: &Layout, s2: &CudaStorage, l2: &Layout) -> Result<(CudaStorage, Shape)> {
        let (m, n, k) = sizes(l1, l2)?;
        Ok((s1.matmul(s2, (1, m, n, k), l1, &l2.transpose(0, 1)?)?, (m, n).into()))
    }

    fn metal_fwd(
        &self,
        s1: &MetalStorage,
        l1: &Layout,
        s2: &MetalStorage,
        l2: &Layout,
    ) -> Result<(MetalStorage, Shape)> {
        let (m, n, k) = sizes(l1, l2)?;
        Ok((s1.matmul(s2, (1, m, n, k), l1, &l2.transpose(0, 1)?)?, (m, n).into()))
    }

    fn bwd(
        &self,
        _x: &Tensor,
        weight: &Tensor,
        _y: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((Some(grad.matmul(weight)?), None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{check_same, random};

    #[test]
    fn equals_the_stock_product() {
        let weight = random(&[5, 4], "w");
        let oracle_weight = weight.clone();
        check_same(&[random(&[3, 4], "x")], |x| frozen_linear(&x[0], &weight), |x| x[0].matmul(&oracle_weight.t()?));
    }

    #[test]
    fn a_wrong_width_names_both_shapes() {
        let err = frozen_linear(&random(&[3, 4], "x"), &random(&[5, 6], "w")).unwrap_err().to_string();
        assert!(err.contains("input width 4") && err.contains("(5, 6)"), "{err}");
    }
}
