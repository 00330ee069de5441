//! The gated activation `f(gate) · up` (Shazeer, 2020), with SiLU or the tanh form of GELU (Hendrycks & Gimpel, 2016).

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::{is_fused, slice, with_slices};
use crate::Activation;

/// Elements that one task handles.
const CHUNK: usize = 16 * 1024;

/// √(2/π).
const GELU_SLOPE: f32 = 0.797_884_6;
/// Factor of the cube in the tanh form.
const GELU_CUBE: f32 = 0.044_715;

struct Gated(Activation);

/// Returns `activation(gate) · up`; all of shape (tokens, inner).
pub(crate) fn gated(activation: Activation, gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    if !is_fused(gate) {
        return composed(activation, gate, up);
    }
    gate.contiguous()?.apply_op2(&up.contiguous()?, Gated(activation))
}

fn composed(activation: Activation, gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    match activation {
        Activation::Silu => gate.silu()? * up,
        // Candle's `gelu` is the tanh form.
        Activation::GeluTanh => gate.gelu()? * up,
    }
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

fn gelu_tanh(x: f32) -> f32 {
    (GELU_SLOPE * (x + GELU_CUBE * x * x * x)).tanh()
}

/// The activation.
fn value(activation: Activation, x: f32) -> f32 {
    match activation {
        Activation::Silu => x * sigmoid(x),
        Activation::GeluTanh => 0.5 * x * (1.0 + gelu_tanh(x)),
    }
}

/// Its derivative.
fn slope(activation: Activation, x: f32) -> f32 {
    match activation {
        Activation::Silu => {
            let s = sigmoid(x);
            s * (1.0 + x * (1.0 - s))
        }
        Activation::GeluTanh => {
            let t = gelu_tanh(x);
            0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * GELU_SLOPE * (1.0 + 3.0 * GELU_CUBE * x * x)
        }
    }
}

impl CustomOp2 for Gated {
    fn name(&self) -> &'static str {
        "gated"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let (gate, up) = (slice(s1, l1)?, slice(s2, l2)?);
        let mut out = vec![0f32; gate.len()];
        out.par_chunks_mut(CHUNK).zip(gate.par_chunks(CHUNK)).zip(up.par_chunks(CHUNK)).for_each(
            |((out, gate), up)| {
                for ((out, gate), up) in out.iter_mut().zip(gate).zip(up) {
                    *out = value(self.0, *gate) * up;
                }
            },
        );
        Ok((CpuStorage::F32(out), l1.shape().clone()))
    }

    fn bwd(
        &self,
        gate: &Tensor,
        up: &Tensor,
        _out: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (dgate, dup) = with_slices([gate, up, grad], |[gate, up, g]| {
            let mut dgate = vec![0f32; gate.len()];
            let mut dup = vec![0f32; gate.len()];
            let inputs = gate.par_chunks(CHUNK).zip(up.par_chunks(CHUNK)).zip(g.par_chunks(CHUNK));
            dgate.par_chunks_mut(CHUNK).zip(dup.par_chunks_mut(CHUNK)).zip(inputs).for_each(
                |((dgate, dup), ((gate, up), g))| {
                    for index in 0..gate.len() {
                        dup[index] = g[index] * value(self.0, gate[index]);
                        dgate[index] = g[index] * up[index] * slope(self.0, gate[index]);
                    }
                },
            );
            Ok((dgate, dup))
        })?;
        let dgate = Tensor::from_vec(dgate, gate.shape(), gate.device())?;
        Ok((Some(dgate), Some(Tensor::from_vec(dup, up.shape(), up.device())?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{check_same, random};

    #[test]
    fn equals_its_composition() {
        let inputs = [(random(&[4, 6], "gate") * 4.0).unwrap(), random(&[4, 6], "up")];
        for activation in [Activation::Silu, Activation::GeluTanh] {
            check_same(&inputs, |t| gated(activation, &t[0], &t[1]), |t| composed(activation, &t[0], &t[1]));
        }
    }
}
