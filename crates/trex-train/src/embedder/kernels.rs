//! What an encoder does between its products. On the CPU each is one pass over plain slices; on other devices the same
//! function composes stock operations, which are the oracle of the tests. No backward passes: nothing here is trained.

use candle_core::{D, Result, Tensor};
use rayon::prelude::*;

use crate::engine::{Level, bias_gelu_row, softmax_row};
use crate::ops::kernels::{MatMut, MatRef, gemm};
use crate::ops::{single, with_slices};

/// Rows that one task handles.
const ROWS: usize = 64;

/// Scale and shift of a normalisation, each of shape (width).
#[derive(Clone, Debug)]
pub(super) struct Norm {
    pub(super) weight: Tensor,
    pub(super) bias: Tensor,
    pub(super) eps: f64,
}

/// `LayerNorm(x + bias + rest)` with `y = (x − mean) / √(variance + eps) · w + b` (Ba and others, 2016); `x` and `rest`
/// of shape (tokens, width), `bias` of shape (width).
pub(super) fn add_norm(x: &Tensor, bias: &Tensor, rest: &Tensor, norm: &Norm) -> Result<Tensor> {
    if !x.device().is_cpu() {
        return composed_add_norm(x, bias, rest, norm);
    }
    let eps = single(norm.eps);
    let out = with_slices([x, bias, rest, &norm.weight, &norm.bias], |[x, bias, rest, weight, shift]| {
        let width = bias.len();
        let mut out = vec![0f32; x.len()];
        let tasks = out.par_chunks_mut(ROWS * width).zip(x.par_chunks(ROWS * width)).zip(rest.par_chunks(ROWS * width));
        tasks.for_each(|((out, x), rest)| {
            let rows = out.chunks_exact_mut(width).zip(x.chunks_exact(width)).zip(rest.chunks_exact(width));
            for ((out, x), rest) in rows {
                for ((out, (x, rest)), bias) in out.iter_mut().zip(x.iter().zip(rest)).zip(bias) {
                    *out = x + bias + rest;
                }
                normalise(out, weight, shift, eps);
            }
        });
        Ok(out)
    })?;
    Tensor::from_vec(out, x.shape(), x.device())
}

fn normalise(row: &mut [f32], weight: &[f32], shift: &[f32], eps: f32) {
    let mean = row.iter().sum::<f32>() / row.len() as f32;
    let variance = row.iter().map(|x| (x - mean) * (x - mean)).sum::<f32>() / row.len() as f32;
    let scale = 1.0 / (variance + eps).sqrt();
    for ((x, weight), shift) in row.iter_mut().zip(weight).zip(shift) {
        *x = (*x - mean) * scale * weight + shift;
    }
}

fn composed_add_norm(x: &Tensor, bias: &Tensor, rest: &Tensor, norm: &Norm) -> Result<Tensor> {
    let x = (x.broadcast_add(bias)? + rest)?;
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
    let scaled = centred.broadcast_div(&(variance + norm.eps)?.sqrt()?)?;
    scaled.broadcast_mul(&norm.weight)?.broadcast_add(&norm.bias)
}

/// `GELU(x + bias)` with `GELU(x) = x/2 · (1 + erf(x/√2))` (Hendrycks and Gimpel, 2016); `x` of shape (tokens, inner).
pub(super) fn bias_gelu(x: &Tensor, bias: &Tensor) -> Result<Tensor> {
    if !x.device().is_cpu() {
        return x.broadcast_add(bias)?.gelu_erf();
    }
    let out = with_slices([x, bias], |[x, bias]| {
        let (width, level) = (bias.len(), Level::detect());
        let mut out = x.to_vec();
        out.par_chunks_mut(ROWS * width).for_each(|rows| {
            rows.chunks_exact_mut(width).for_each(|row| bias_gelu_row(level, row, bias));
        });
        Ok(out)
    })?;
    Tensor::from_vec(out, x.shape(), x.device())
}

/// Attention of each sequence to itself, all tokens to all: `softmax(q kᵀ / √d) v` per head (Vaswani and others, 2017).
///
/// `qkv` has shape (tokens, 3 · width): queries, keys and values of the sequences end to end, whose lengths sum to
/// `tokens`; `bias` has shape (3 · width); the result has shape (tokens, width).
pub(super) fn attention(qkv: &Tensor, bias: &Tensor, lengths: &[usize], num_heads: usize) -> Result<Tensor> {
    if !qkv.device().is_cpu() {
        return composed_attention(qkv, bias, lengths, num_heads);
    }
    let (tokens, wide) = qkv.dims2()?;
    let width = wide / 3;
    let out = with_slices([qkv, bias], |[qkv, bias]| {
        let mut out = vec![0f32; tokens * width];
        let mut sequences = Vec::with_capacity(lengths.len());
        let (mut rest, mut rest_qkv) = (out.as_mut_slice(), qkv);
        for length in lengths {
            let (out, later) = rest.split_at_mut(length * width);
            let (qkv, later_qkv) = rest_qkv.split_at(length * wide);
            sequences.push((out, qkv));
            (rest, rest_qkv) = (later, later_qkv);
        }
        sequences.into_par_iter().for_each(|(out, qkv)| attend(out, qkv, bias, num_heads));
        Ok(out)
    })?;
    Tensor::from_vec(out, (tokens, width), qkv.device())
}

/// One sequence.
fn attend(out: &mut [f32], qkv: &[f32], bias: &[f32], num_heads: usize) {
    let (wide, width) = (bias.len(), bias.len() / 3);
    let length = qkv.len() / wide;
    let head = width / num_heads;
    let (scale, level) = (1.0 / (head as f32).sqrt(), Level::detect());
    let mut biased = qkv.to_vec();
    for row in biased.chunks_exact_mut(wide) {
        for (x, bias) in row.iter_mut().zip(bias) {
            *x += bias;
        }
    }
    let mut scores = vec![0f32; length * length];
    for start in (0..num_heads).map(|number| number * head) {
        let part = |offset: usize| MatRef::new(&biased, offset + start, wide);
        let mut dst = MatMut { data: &mut scores, offset: 0, row_stride: length };
        gemm(&mut dst, part(0), part(width).transposed(), [length, length, head], 1.0, false);
        for row in scores.chunks_exact_mut(length) {
            softmax_row(level, row, scale);
        }
        let mut dst = MatMut { data: out, offset: start, row_stride: width };
        gemm(&mut dst, MatRef::new(&scores, 0, length), part(2 * width), [length, head, length], 1.0, false);
    }
}

fn composed_attention(qkv: &Tensor, bias: &Tensor, lengths: &[usize], num_heads: usize) -> Result<Tensor> {
    let qkv = qkv.broadcast_add(bias)?;
    let width = qkv.dim(1)? / 3;
    let mut start = 0;
    let mut outs = Vec::with_capacity(lengths.len());
    for length in lengths {
        let rows = qkv.narrow(0, start, *length)?;
        start += length;
        // (tokens, width) → (heads, tokens, head)
        let part = |at: usize| -> Result<Tensor> {
            let part = rows.narrow(1, at * width, width)?.contiguous()?;
            part.reshape((*length, num_heads, width / num_heads))?.transpose(0, 1)?.contiguous()
        };
        let (q, k, v) = (part(0)?, part(1)?, part(2)?);
        let scores = (q.matmul(&k.t()?)? / ((width / num_heads) as f64).sqrt())?;
        let scores = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?)?.exp()?;
        let shares = scores.broadcast_div(&scores.sum_keepdim(D::Minus1)?)?;
        outs.push(shares.matmul(&v)?.transpose(0, 1)?.contiguous()?.reshape((*length, width))?);
    }
    Tensor::cat(&outs, 0)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::ops::testing::{assert_close, random};

    #[test]
    fn normalisation_equals_its_composition() {
        let norm = Norm { weight: random(&[12], "weight"), bias: random(&[12], "bias"), eps: 1e-5 };
        let (x, rest, bias) = (random(&[70, 12], "x"), random(&[70, 12], "rest"), random(&[12], "b"));
        let ours = add_norm(&x, &bias, &rest, &norm).unwrap();
        assert_close(&ours, &composed_add_norm(&x, &bias, &rest, &norm).unwrap(), "norm");
    }

    #[test]
    fn gelu_equals_its_composition() {
        let x = (random(&[130, 8], "x") * 6.0).unwrap();
        let bias = random(&[8], "bias");
        let ours = bias_gelu(&x, &bias).unwrap();
        assert_close(&ours, &x.broadcast_add(&bias).unwrap().gelu_erf().unwrap(), "gelu");
    }

    #[test]
    fn attention_equals_its_composition() {
        let (qkv, bias) = ((random(&[10, 24], "qkv") * 3.0).unwrap(), random(&[24], "bias"));
        for lengths in [&[10][..], &[1, 4, 5], &[7, 2, 1]] {
            let ours = attention(&qkv, &bias, lengths, 2).unwrap();
            assert_close(&ours, &composed_attention(&qkv, &bias, lengths, 2).unwrap(), "attention");
        }
    }

    #[test]
    fn no_sequence_sees_another() {
        let bias = Tensor::zeros(12, candle_core::DType::F32, &Device::Cpu).unwrap();
        let (left, right) = (random(&[3, 12], "left"), random(&[5, 12], "right"));
        let both = attention(&Tensor::cat(&[&left, &right], 0).unwrap(), &bias, &[3, 5], 2).unwrap();
        assert_close(&both.narrow(0, 0, 3).unwrap(), &attention(&left, &bias, &[3], 2).unwrap(), "left");
        assert_close(&both.narrow(0, 3, 5).unwrap(), &attention(&right, &bias, &[5], 2).unwrap(), "right");
    }
}
