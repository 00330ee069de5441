//! Element-wise work of the CPU engine: plain loops that the compiler makes as wide as the processor allows.
//!
//! Sums run over sixteen lanes in a fixed order, so they depend on the data alone and on no number of threads.

#![expect(
    clippy::inline_always,
    reason = "a body must be compiled with the instructions of the function that calls it"
)]

use super::simd::Level;

/// Lanes of a sum.
const LANES: usize = 16;

/// Makes a function of a plain loop: compiled once per level, chosen at run time.
macro_rules! by_level {
    ($(#[$doc:meta])* $name:ident, $body:ident ( $($arg:ident : $type:ty),* ) $(-> $out:ty)?) => {
        $(#[$doc])*
        pub(crate) fn $name(level: Level, $($arg: $type),*) $(-> $out)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
                fn wide($($arg: $type),*) $(-> $out)? { $body($($arg),*) }
                #[target_feature(enable = "avx2,fma")]
                fn medium($($arg: $type),*) $(-> $out)? { $body($($arg),*) }
                match level {
                    Level::Avx512 | Level::Avx512Bf16 | Level::Amx => {
                        #[expect(unsafe_code, reason = "calls a function that needs AVX-512")]
                        // SAFETY: levels come from `Level::detect`, so the processor has the instructions.
                        return unsafe { wide($($arg),*) };
                    }
                    Level::Avx2 => {
                        #[expect(unsafe_code, reason = "calls a function that needs AVX2")]
                        // SAFETY: as above.
                        return unsafe { medium($($arg),*) };
                    }
                    Level::Portable => {}
                }
            }
            #[cfg(not(target_arch = "x86_64"))]
            let _level = level;
            $body($($arg),*)
        }
    };
}

/// `eˣ` to about two units in the last place for x in [-87, 88]; smaller x give a number below 2⁻¹²⁵.
///
/// Cody and Waite's reduction with the minimax polynomial of Cephes' `expf`.
#[expect(clippy::excessive_precision, reason = "constants as Cephes prints them")]
#[inline(always)]
fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5 · 2²³: adding it rounds to an integer in the low bits.
    let x = x.clamp(-87.0, 88.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * 0.693_359_375 + n * 2.121_944_40e-4;
    let mut p = 1.987_569_15e-4;
    for c in [1.398_199_95e-3, 8.333_451_9e-3, 4.166_579_6e-2, 1.666_666_55e-1, 5.000_000_12e-1] {
        p = p * r + c;
    }
    let value = p * r * r + r + 1.0;
    // The low bits of `shifted` hold n in two's complement.
    let scale = shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23;
    value * f32::from_bits(scale)
}

#[inline(always)]
fn lanes_sum(lanes: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    let mut lanes = lanes;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// Σ f(index) in lanes.
#[inline(always)]
fn sum_by(len: usize, f: impl Fn(usize) -> f32) -> f32 {
    let mut lanes = [0f32; LANES];
    let whole = len / LANES * LANES;
    let mut at = 0;
    while at < whole {
        for (lane, sum) in lanes.iter_mut().enumerate() {
            *sum += f(at + lane);
        }
        at += LANES;
    }
    for at in whole..len {
        lanes[at - whole] += f(at);
    }
    lanes_sum(lanes)
}

#[inline(always)]
fn max_of(x: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let chunks = x.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (top, x) in lanes.iter_mut().zip(chunk) {
            *top = if *x > *top { *x } else { *top };
        }
    }
    rest.iter().chain(&lanes.clone()).copied().fold(f32::NEG_INFINITY, f32::max)
}

#[inline(always)]
fn rms_norm_body(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) -> f32 {
    let r = 1.0 / (sum_by(x.len(), |i| x[i] * x[i]) / x.len() as f32 + eps).sqrt();
    for ((out, x), w) in out.iter_mut().zip(x).zip(weight) {
        *out = x * r * w;
    }
    r
}

by_level!(
    /// `out = x / rms(x) · w` for one row; returns 1/rms.
    rms_norm, rms_norm_body(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) -> f32
);

#[inline(always)]
fn rms_norm_backward_body(x: &[f32], weight: &[f32], eps: f32, grad: &[f32], dx: &mut [f32]) {
    let len = x.len();
    let r = 1.0 / (sum_by(len, |i| x[i] * x[i]) / len as f32 + eps).sqrt();
    let dot = sum_by(len, |i| x[i] * grad[i] * weight[i]);
    let pull = dot * r * r * r / len as f32;
    for (((dx, x), g), w) in dx.iter_mut().zip(x).zip(grad).zip(weight) {
        *dx += r * g * w - x * pull;
    }
}

by_level!(
    /// Adds the gradient of [`rms_norm`] with respect to `x` to `dx`.
    rms_norm_backward, rms_norm_backward_body(x: &[f32], weight: &[f32], eps: f32, grad: &[f32], dx: &mut [f32])
);

#[inline(always)]
fn norm_weight_gradient_body(x: &[f32], eps: f32, grad: &[f32], sums: &mut [f32]) {
    let r = 1.0 / (sum_by(x.len(), |i| x[i] * x[i]) / x.len() as f32 + eps).sqrt();
    for ((sum, x), g) in sums.iter_mut().zip(x).zip(grad) {
        *sum += x * r * g;
    }
}

by_level!(
    /// Adds the gradient of [`rms_norm`] with respect to the weight, of one row.
    norm_weight_gradient, norm_weight_gradient_body(x: &[f32], eps: f32, grad: &[f32], sums: &mut [f32])
);

#[inline(always)]
fn swiglu_body(gate: &[f32], up: &[f32], out: &mut [f32]) {
    for ((out, gate), up) in out.iter_mut().zip(gate).zip(up) {
        *out = gate / (1.0 + exp(-gate)) * up;
    }
}

by_level!(
    /// `silu(gate) · up`.
    swiglu, swiglu_body(gate: &[f32], up: &[f32], out: &mut [f32])
);

#[inline(always)]
fn swiglu_backward_body(gate: &[f32], up: &[f32], grad: &[f32], dgate: &mut [f32], dup: &mut [f32]) {
    let inputs = gate.iter().zip(up).zip(grad);
    for ((dgate, dup), ((gate, up), g)) in dgate.iter_mut().zip(dup).zip(inputs) {
        let s = 1.0 / (1.0 + exp(-gate));
        *dup = g * gate * s;
        *dgate = g * up * s * (1.0 + gate * (1.0 - s));
    }
}

by_level!(
    /// Gradients of [`swiglu`].
    swiglu_backward,
    swiglu_backward_body(gate: &[f32], up: &[f32], grad: &[f32], dgate: &mut [f32], dup: &mut [f32])
);

/// √(2/π).
const GELU_SLOPE: f32 = 0.797_884_6;

/// Factor of the cube in the tanh form of GELU.
const GELU_CUBE: f32 = 0.044_715;

/// tanh(√(2/π) · (x + 0.044715 x³)).
#[inline(always)]
fn gelu_tanh(x: f32) -> f32 {
    1.0 - 2.0 / (exp(2.0 * GELU_SLOPE * (x + GELU_CUBE * x * x * x)) + 1.0)
}

#[inline(always)]
fn geglu_body(gate: &[f32], up: &[f32], out: &mut [f32]) {
    for ((out, gate), up) in out.iter_mut().zip(gate).zip(up) {
        *out = 0.5 * gate * (1.0 + gelu_tanh(*gate)) * up;
    }
}

by_level!(
    /// `gelu(gate) · up` with the tanh form of GELU.
    geglu, geglu_body(gate: &[f32], up: &[f32], out: &mut [f32])
);

#[inline(always)]
fn geglu_backward_body(gate: &[f32], up: &[f32], grad: &[f32], dgate: &mut [f32], dup: &mut [f32]) {
    let inputs = gate.iter().zip(up).zip(grad);
    for ((dgate, dup), ((gate, up), g)) in dgate.iter_mut().zip(dup).zip(inputs) {
        let t = gelu_tanh(*gate);
        let bend = GELU_SLOPE * (1.0 + 3.0 * GELU_CUBE * gate * gate);
        *dup = g * 0.5 * gate * (1.0 + t);
        *dgate = g * up * (0.5 * (1.0 + t) + 0.5 * gate * (1.0 - t * t) * bend);
    }
}

by_level!(
    /// Gradients of [`geglu`].
    geglu_backward,
    geglu_backward_body(gate: &[f32], up: &[f32], grad: &[f32], dgate: &mut [f32], dup: &mut [f32])
);

/// The error function to 1.5e-7 (Abramowitz and Stegun, 7.1.26).
#[expect(clippy::excessive_precision, reason = "constants as the handbook prints them")]
#[inline(always)]
fn erf(x: f32) -> f32 {
    let t = 1.0 / (1.0 + 0.327_591_1 * x.abs());
    let mut sum = 1.061_405_429;
    for c in [-1.453_152_027, 1.421_413_741, -0.284_496_736, 0.254_829_592] {
        sum = sum * t + c;
    }
    (1.0 - sum * t * exp(-x * x)).copysign(x)
}

#[inline(always)]
fn bias_gelu_body(row: &mut [f32], bias: &[f32]) {
    for (x, bias) in row.iter_mut().zip(bias) {
        let value = *x + bias;
        *x = 0.5 * value * (1.0 + erf(value * std::f32::consts::FRAC_1_SQRT_2));
    }
}

by_level!(
    /// `GELU(row + bias)` in place, with `GELU(x) = x/2 · (1 + erf(x/√2))` (Hendrycks and Gimpel, 2016).
    bias_gelu, bias_gelu_body(row: &mut [f32], bias: &[f32])
);

#[inline(always)]
fn softmax_body(row: &mut [f32], scale: f32) -> f32 {
    let top = max_of(row);
    for x in row.iter_mut() {
        *x = exp((*x - top) * scale);
    }
    let sum = sum_by(row.len(), |i| row[i]);
    let inverse = 1.0 / sum;
    for x in row.iter_mut() {
        *x *= inverse;
    }
    top * scale + sum.ln()
}

by_level!(
    /// `softmax(scale · row)` in place; returns the logarithm of the sum of exponentials. `scale` is above 0.
    softmax, softmax_body(row: &mut [f32], scale: f32) -> f32
);

#[inline(always)]
fn score_gradient_body(probs: &mut [f32], grads: &mut [f32], scale: f32, log_z: f32, mean: f32) {
    for (p, d) in probs.iter_mut().zip(grads) {
        *p = exp(*p * scale - log_z);
        *d = *p * (*d - mean) * scale;
    }
}

by_level!(
    /// Turns raw scores into probabilities, and gradients of probabilities into gradients of raw scores.
    score_gradient, score_gradient_body(probs: &mut [f32], grads: &mut [f32], scale: f32, log_z: f32, mean: f32)
);

#[inline(always)]
fn dot_body(a: &[f32], b: &[f32]) -> f32 {
    let len = a.len().min(b.len());
    let (a, b) = (&a[..len], &b[..len]);
    sum_by(len, |i| a[i] * b[i])
}

by_level!(
    /// Σ a·b.
    dot, dot_body(a: &[f32], b: &[f32]) -> f32
);

#[inline(always)]
fn log_sum_exp_body(row: &[f32]) -> f32 {
    let top = max_of(row);
    top + sum_by(row.len(), |i| exp(row[i] - top)).ln()
}

by_level!(
    /// `log Σ eˣ`.
    log_sum_exp, log_sum_exp_body(row: &[f32]) -> f32
);

#[inline(always)]
fn gradient_of_cross_entropy_body(row: &mut [f32], log_z: f32, scale: f32, floor: f32) {
    for x in row {
        *x = scale * (exp(*x - log_z) - floor);
    }
}

by_level!(
    /// Overwrites logits by `scale · (softmax − floor)`; the gold class is the caller's to lower.
    gradient_of_cross_entropy,
    gradient_of_cross_entropy_body(row: &mut [f32], log_z: f32, scale: f32, floor: f32)
);

#[inline(always)]
fn rotate_body(x: &mut [f32], cos: &[f32], sin: &[f32], direction: f32) {
    let (low, rest) = x.split_at_mut(cos.len());
    for (((a, b), c), s) in low.iter_mut().zip(rest).zip(cos).zip(sin) {
        let s = s * direction;
        let (x, y) = (*a, *b);
        *a = x * c - y * s;
        *b = y * c + x * s;
    }
}

by_level!(
    /// Rotates one head by one position; direction −1 rotates back.
    rotate, rotate_body(x: &mut [f32], cos: &[f32], sin: &[f32], direction: f32)
);

#[inline(always)]
fn add_body(out: &mut [f32], x: &[f32]) {
    for (out, x) in out.iter_mut().zip(x) {
        *out += x;
    }
}

by_level!(
    /// `out += x`.
    add, add_body(out: &mut [f32], x: &[f32])
);

/// Cached rows of keys and values of one head, `stride` apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cached<'a> {
    pub(super) keys: &'a [f32],
    pub(super) values: &'a [f32],
    pub(super) stride: usize,
}

#[inline(always)]
fn attend_row_body(query: &[f32], cached: Cached<'_>, scale: f32, scores: &mut [f32], out: &mut [f32]) {
    let dim = query.len();
    for (score, key) in scores.iter_mut().zip(cached.keys.chunks(cached.stride)) {
        let key = &key[..dim];
        *score = sum_by(dim, |i| query[i] * key[i]);
    }
    softmax_body(scores, scale);
    out.fill(0.0);
    for (weight, value) in scores.iter().zip(cached.values.chunks(cached.stride)) {
        for (out, x) in out.iter_mut().zip(&value[..dim]) {
            *out += weight * x;
        }
    }
}

by_level!(
    /// Attention of one head of one token over cached rows; `scores` has one place per row.
    attend_row, attend_row_body(query: &[f32], cached: Cached<'_>, scale: f32, scores: &mut [f32], out: &mut [f32])
);

/// Nearest bfloat16, ties to even; NaN is not treated, since activations were checked by the loss.
#[inline(always)]
fn bf16_bits(x: f32) -> u32 {
    let bits = x.to_bits();
    (bits + 0x7fff + (bits >> 16 & 1)) >> 16
}

#[inline(always)]
fn round_to_pairs_body(x: &[f32], out: &mut [u32]) {
    let (pairs, rest) = x.as_chunks::<2>();
    for (out, [low, high]) in out.iter_mut().zip(pairs) {
        *out = bf16_bits(*low) | bf16_bits(*high) << 16;
    }
    if let ([x], Some(out)) = (rest, out.last_mut()) {
        *out = bf16_bits(*x);
    }
}

by_level!(
    /// Rounds a row to pairs of bfloat16, an odd last one padded with zero.
    round_to_pairs, round_to_pairs_body(x: &[f32], out: &mut [u32])
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponentials_are_within_two_units_in_the_last_place() {
        let mut worst = 0f64;
        for step in -8700..8800 {
            let x = step as f32 * 0.01;
            let exact = f64::from(x).exp();
            worst = worst.max((f64::from(exp(x)) - exact).abs() / exact);
        }
        assert!(worst < 2.5e-7, "{worst}");
        assert!(exp(-1000.0) < 1e-37 && exp(f32::NEG_INFINITY) < 1e-37);
    }

    #[test]
    fn every_level_gives_the_softmax() {
        for level in [Level::Portable, Level::detect()] {
            for len in [1, 15, 16, 33, 100] {
                let row: Vec<f32> = (0..len).map(|i| (i * 7 % 13) as f32 * 0.5).collect();
                let mut found = row.clone();
                let log_z = softmax(level, &mut found, 0.5);
                let sum: f64 = row.iter().map(|x| (0.5 * f64::from(*x)).exp()).sum();
                assert!((f64::from(log_z) - sum.ln()).abs() < 1e-5);
                for (found, x) in found.iter().zip(&row) {
                    assert!((f64::from(*found) - (0.5 * f64::from(*x)).exp() / sum).abs() < 1e-6);
                }
            }
        }
    }

    #[test]
    fn rounding_is_to_nearest_even() {
        for x in [0.0f32, 1.0, -1.003_906_2, 1.001_953_1, 3.25, -2.5e-8] {
            let mut out = [0];
            round_to_pairs(Level::detect(), &[x, -x], &mut out);
            let expected = |x: f32| u32::from(half::bf16::from_f32(x).to_bits());
            assert_eq!(out[0], expected(x) | expected(-x) << 16, "{x}");
        }
    }
}
