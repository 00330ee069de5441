//! Tensor operations with a backward pass of their own.
//!
//! On the CPU each is one fused custom operation over `f32`. On other devices the same function composes stock
//! operations that have a backward pass; those compositions are also the oracle of the tests. Stock `rms_norm`, `rope`
//! and `softmax_last_dim` of the wider candle family cut the gradient silently and are never used.

mod attention;
mod cross_entropy;
mod frozen_linear;
mod gated;
pub(crate) mod kernels;
mod quantized_linear;
mod rms_norm;
mod rope;

pub(crate) use attention::{HeadShape, Sight, attention};
pub(crate) use cross_entropy::cross_entropy;
pub(crate) use frozen_linear::frozen_linear;
pub(crate) use gated::gated;
pub(crate) use quantized_linear::quantized_linear;
pub(crate) use rms_norm::rms_norm;
pub(crate) use rope::{RopeTable, rope};

use candle_core::{CpuStorage, DType, Device, Layout, Result, Storage, Tensor};
use rayon::prelude::*;

/// The nearest `f32`: everything is computed in single precision, settings come in double.
#[expect(clippy::cast_possible_truncation, reason = "rounding is what is asked for")]
pub(crate) fn single(value: f64) -> f32 {
    value as f32
}

/// Whether an operation on this operand is the fused one: on the CPU, unless a test asks for what cards compute.
fn is_fused(operand: &Tensor) -> bool {
    #[cfg(test)]
    if testing::takes_composed() {
        return false;
    }
    operand.device().is_cpu()
}

/// Whether every value of a floating tensor is a number.
pub(crate) fn is_finite(tensor: &Tensor) -> Result<bool> {
    with_slices([tensor], |[values]| Ok(values.par_iter().all(|x| x.is_finite())))
}

/// The elements of a contiguous `f32` operand.
pub(crate) fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let all = storage.as_slice::<f32>()?;
    let Some((start, end)) = layout.contiguous_offsets() else {
        candle_core::bail!("operand of shape {:?} is not contiguous", layout.shape());
    };
    all.get(start..end)
        .ok_or_else(|| candle_core::Error::Msg(format!("operand range {start}..{end} is outside its storage")))
}

/// Calls `f` with the elements of tensors as `f32`, row-major; those of other devices and formats are copied.
pub(crate) fn with_slices<const N: usize, R>(
    tensors: [&Tensor; N],
    f: impl FnOnce([&[f32]; N]) -> Result<R>,
) -> Result<R> {
    let mut ready = Vec::with_capacity(N);
    for tensor in tensors {
        ready.push(tensor.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.contiguous()?);
    }
    let guards: Vec<_> = ready.iter().map(Tensor::storage_and_layout).collect();
    let mut slices: [&[f32]; N] = [&[]; N];
    for (place, (storage, layout)) in slices.iter_mut().zip(&guards) {
        match &**storage {
            Storage::Cpu(storage) => *place = slice(storage, layout)?,
            _ => candle_core::bail!("operand is not on the CPU"),
        }
    }
    f(slices)
}

#[cfg(test)]
pub(crate) mod testing {
    //! Compares an operation's gradients with those of its composition and with finite differences.

    use std::cell::Cell;

    use candle_core::{Device, Tensor, Var};
    use rand::Rng as _;

    thread_local! {
        static COMPOSED: Cell<bool> = const { Cell::new(false) };
    }

    /// Whether this thread takes composed operations on the CPU too.
    pub(crate) fn takes_composed() -> bool {
        COMPOSED.get()
    }

    /// Runs `f` with the operations that cards take, on whatever device.
    pub(crate) fn as_on_a_card<R>(f: impl FnOnce() -> R) -> R {
        struct Back(bool);
        impl Drop for Back {
            fn drop(&mut self) {
                COMPOSED.set(self.0);
            }
        }
        let _back = Back(COMPOSED.replace(true));
        f()
    }

    /// A tensor of uniform values in [-1, 1).
    pub(crate) fn random(shape: &[usize], purpose: &str) -> Tensor {
        let mut rng = trex_domain::seeded_rng(7, purpose);
        let count = shape.iter().product();
        let unit = |bits: u64| (bits >> 40) as f32 / (1u64 << 23) as f32 - 1.0;
        let values: Vec<f32> = (0..count).map(|_| unit(rng.next_u64())).collect();
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    }

    /// Checks that both functions give the same value and the same gradients for all inputs.
    #[track_caller]
    pub(crate) fn check_same(
        inputs: &[Tensor],
        ours: impl Fn(&[Tensor]) -> candle_core::Result<Tensor>,
        oracle: impl Fn(&[Tensor]) -> candle_core::Result<Tensor>,
    ) {
        let run = |f: &dyn Fn(&[Tensor]) -> candle_core::Result<Tensor>| {
            let vars: Vec<Var> = inputs.iter().map(|t| Var::from_tensor(t).unwrap()).collect();
            let tensors: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
            let out = f(&tensors).unwrap();
            let weights = random(out.dims(), "weights");
            let loss = (&out * weights).unwrap().sum_all().unwrap();
            let grads = loss.backward().unwrap();
            let grads: Vec<Tensor> =
                vars.iter().map(|v| grads.get(v).expect("every input has a gradient").clone()).collect();
            (out, grads)
        };
        let (value, grads) = run(&ours);
        let (expected, expected_grads) = run(&oracle);
        assert_close(&value, &expected, "value");
        for (index, (grad, expected)) in grads.iter().zip(&expected_grads).enumerate() {
            assert_close(grad, expected, &format!("gradient {index}"));
        }
    }

    #[track_caller]
    pub(crate) fn assert_close(found: &Tensor, expected: &Tensor, what: &str) {
        assert_eq!(found.dims(), expected.dims(), "{what}");
        let found: Vec<f32> = found.flatten_all().unwrap().to_vec1().unwrap();
        let expected: Vec<f32> = expected.flatten_all().unwrap().to_vec1().unwrap();
        let largest = expected.iter().fold(1e-3f32, |top, x| top.max(x.abs()));
        for (index, (a, b)) in found.iter().zip(&expected).enumerate() {
            assert!((a - b).abs() <= 2e-5 * largest.max(1.0), "{what}[{index}]: {a} against {b}");
        }
    }
}
