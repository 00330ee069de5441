//! `y = x Wᵀ` for a frozen W: no gradient for W is computed or stored.
//!
//! A stock matrix product computes both gradients as soon as one side is tracked, which costs half as much again and keeps a copy of the model.
//! On cards W may lie in half precision. x, y and their gradients are `f32` all the same; only the two products, forward
//! and backward, read operands that are rounded to the format of W, and the device sums in single precision.
//!
//! Half precision (f16) ends at 65504 and loses what is smaller than 6e-8, which is why other trainers scale the loss.
//! Here every row that enters an f16 product is divided by its largest magnitude first, and the result is multiplied by it
//! again, forward and backward. So neither large activations nor small gradients leave the range, and the loss needs no
//! scale.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CudaStorage, CustomOp2, D, DType, Layout, MetalStorage, Result, Shape, Tensor};

/// Rows below this are zero for an f16 product; keeps the division finite.
const SMALLEST_PEAK: f64 = 1e-30;

struct FrozenLinear;

/// Returns `x Wᵀ` for x of shape (tokens, in), `f32`, and W of shape (out, in), `f32`, bfloat16 or f16; the gradient
/// reaches x only.
pub(crate) fn frozen_linear(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let x = x.contiguous()?;
    if weight.dtype() != DType::F16 {
        return x.apply_op2(weight, FrozenLinear);
    }
    let peaks = peaks(&x)?;
    x.broadcast_div(&peaks)?.apply_op2(weight, FrozenLinear)?.broadcast_mul(&peaks)
}

/// The largest magnitude of each row, (rows, 1); a constant for gradients.
fn peaks(x: &Tensor) -> Result<Tensor> {
    x.detach().abs()?.max_keepdim(D::Minus1)?.maximum(SMALLEST_PEAK)
}

/// `x Wᵀ` on any device, in the number format of W; the result has that of x.
fn product<S: BackendStorage>(x: &S, l1: &Layout, weight: &S, l2: &Layout) -> Result<(S, Shape)> {
    let (m, n, k) = sizes(l1, l2)?;
    let (dtype, half) = (x.dtype(), weight.dtype());
    let transposed = l2.transpose(0, 1)?;
    if dtype == half {
        return Ok((x.matmul(weight, (1, m, n, k), l1, &transposed)?, (m, n).into()));
    }
    let rounded = x.to_dtype(l1, half)?;
    let out = rounded.matmul(weight, (1, m, n, k), &Layout::contiguous((m, k)), &transposed)?;
    Ok((out.to_dtype(&Layout::contiguous((m, n)), dtype)?, (m, n).into()))
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
        product(s1, l1, s2, l2)
    }

    fn cuda_fwd(&self, s1: &CudaStorage, l1: &Layout, s2: &CudaStorage, l2: &Layout) -> Result<(CudaStorage, Shape)> {
        product(s1, l1, s2, l2)
    }

    fn metal_fwd(
        &self,
        s1: &MetalStorage,
        l1: &Layout,
        s2: &MetalStorage,
        l2: &Layout,
    ) -> Result<(MetalStorage, Shape)> {
        product(s1, l1, s2, l2)
    }

    fn bwd(
        &self,
        _x: &Tensor,
        weight: &Tensor,
        _y: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let grad = grad.contiguous()?;
        let back = |grad: &Tensor| grad.to_dtype(weight.dtype())?.matmul(weight)?.to_dtype(grad.dtype());
        if weight.dtype() != DType::F16 {
            return Ok((Some(back(&grad)?), None));
        }
        let peaks = peaks(&grad)?;
        Ok((Some(back(&grad.broadcast_div(&peaks)?)?.broadcast_mul(&peaks)?), None))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;
    use crate::ops::testing::{check_same, random};

    #[test]
    fn equals_the_stock_product() {
        let weight = random(&[5, 4], "w");
        let oracle_weight = weight.clone();
        check_same(&[random(&[3, 4], "x")], |x| frozen_linear(&x[0], &weight), |x| x[0].matmul(&oracle_weight.t()?));
    }

    /// Value and gradient of the input, for an upstream gradient of the given size.
    fn run(x: &Tensor, weight: &Tensor, upstream: f64) -> [Vec<f32>; 2] {
        let x = Var::from_tensor(x).unwrap();
        let out = frozen_linear(x.as_tensor(), weight).unwrap();
        assert_eq!(out.dtype(), DType::F32);
        let loss = ((&out * random(out.dims(), "g")).unwrap() * upstream).unwrap().sum_all().unwrap();
        let grads = loss.backward().unwrap();
        let grad = grads.get(&x).unwrap();
        assert_eq!(grad.dtype(), DType::F32);
        [&out, grad].map(|tensor| tensor.flatten_all().unwrap().to_vec1().unwrap())
    }

    /// How far values are off, over the largest.
    fn distance(found: &[f32], expected: &[f32]) -> f32 {
        let top = expected.iter().fold(0f32, |top, x| top.max(x.abs()));
        found.iter().zip(expected).fold(0f32, |off, (a, b)| off.max((a - b).abs())) / top
    }

    /// The product with a rounded weight, beside that of the same weight in single precision.
    #[track_caller]
    fn check_rounded(dtype: DType, size: f64, upstream: f64, limit: f32) {
        let half = random(&[24, 40], "w").to_dtype(dtype).unwrap();
        let x = (random(&[7, 40], "x") * size).unwrap();
        let found = run(&x, &half, upstream);
        let expected = run(&x, &half.to_dtype(DType::F32).unwrap(), upstream);
        for (found, expected) in found.iter().zip(&expected) {
            let off = distance(found, expected);
            assert!(off <= limit, "{dtype:?}, inputs of {size:e}, gradients of {upstream:e}: off by {off}");
        }
    }

    #[test]
    fn half_precision_rounds_and_no_more() {
        // Of one rounding of each operand and of the result: 2⁻⁸ for bfloat16, 2⁻¹¹ for f16.
        check_rounded(DType::BF16, 1.0, 1.0, 8e-3);
        check_rounded(DType::F16, 1.0, 1.0, 1e-3);
    }

    /// Values that f16 cannot express, up and down, come through without a scale of the loss.
    #[test]
    fn no_size_of_inputs_or_gradients_leaves_the_range() {
        for size in [1e-12, 1e-6, 1e6, 1e12] {
            check_rounded(DType::F16, size, 1.0, 1e-3);
            check_rounded(DType::F16, 1.0, size, 1e-3);
            check_rounded(DType::BF16, size, size, 8e-3);
        }
        let plain = Tensor::new(&[1e-9f32, 1e6], &Device::Cpu).unwrap().to_dtype(DType::F16).unwrap();
        assert_eq!(plain.to_dtype(DType::F32).unwrap().to_vec1::<f32>().unwrap(), [0.0, f32::INFINITY]);
    }

    #[test]
    fn a_row_of_zeros_gives_zeros_in_half_precision() {
        let weight = random(&[5, 4], "w").to_dtype(DType::F16).unwrap();
        let zeros = Tensor::zeros((2, 4), DType::F32, &Device::Cpu).unwrap();
        let [value, grad] = run(&zeros, &weight, 1.0);
        assert!(value.iter().all(|x| *x == 0.0) && grad.iter().all(|x| x.is_finite()));
    }

    #[test]
    fn a_wrong_width_names_both_shapes() {
        let err = frozen_linear(&random(&[3, 4], "x"), &random(&[5, 6], "w")).unwrap_err().to_string();
        assert!(err.contains("input width 4") && err.contains("(5, 6)"), "{err}");
    }
}
