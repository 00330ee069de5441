//! Copies of weights in the order in which the micro-kernels read them.

use half::bf16;

use super::simd::PANEL;

/// Length of [`transposed_panels`] for a matrix of `out` rows of `inner` columns.
pub(super) fn panels_len(out: usize, inner: usize) -> usize {
    out.div_ceil(PANEL) * inner * PANEL
}

/// Packs the transpose of `weight`, row-major (out, inner), as the right operand of `x Wᵀ`: panels of [`PANEL`] outputs.
#[cfg(test)]
pub(super) fn transposed_panels(weight: &[f32], out: usize, inner: usize) -> Vec<f32> {
    let mut panels = vec![0.0; panels_len(out, inner)];
    for (index, panel) in panels.chunks_mut(inner * PANEL).enumerate() {
        let first = index * PANEL;
        fill_transposed_panel(panel, &weight[first * inner..(first + PANEL).min(out) * inner], inner);
    }
    panels
}

/// Packs up to [`PANEL`] rows of width `inner`; missing rows become zero columns.
pub(super) fn fill_transposed_panel(panel: &mut [f32], rows: &[f32], inner: usize) {
    const STRIP: usize = 16;
    let count = rows.len() / inner;
    if count < PANEL {
        panel.fill(0.0);
    }
    // Strips keep what is read and what is written within the first cache.
    for from in (0..inner).step_by(STRIP) {
        let to = (from + STRIP).min(inner);
        for (column, row) in rows.chunks_exact(inner).enumerate() {
            for (step, x) in row[from..to].iter().enumerate() {
                panel[(from + step) * PANEL + column] = *x;
            }
        }
    }
}

/// Two neighbours along the inner dimension as one word; the first lies in the low half.
fn pair(low: f32, high: f32) -> u32 {
    u32::from(bf16::from_f32(low).to_bits()) | u32::from(bf16::from_f32(high).to_bits()) << 16
}

/// Packs the transpose of `weight` (out, inner) in pairs along `inner`, for `x Wᵀ`.
pub(super) fn transposed_pair_panels(weight: &[f32], out: usize, inner: usize) -> Vec<u32> {
    let pairs = inner.div_ceil(2);
    let mut panels = vec![0; out.div_ceil(PANEL) * pairs * PANEL];
    for (panel, words) in panels.chunks_mut(pairs * PANEL).enumerate() {
        for (column, row) in (panel * PANEL..out.min((panel + 1) * PANEL)).enumerate() {
            for (step, two) in weight[row * inner..(row + 1) * inner].chunks(2).enumerate() {
                words[step * PANEL + column] = pair(two[0], two.get(1).copied().unwrap_or(0.0));
            }
        }
    }
    panels
}

/// Packs `weight` (out, inner) in pairs along `out`, for `g W`.
pub(super) fn pair_panels(weight: &[f32], out: usize, inner: usize) -> Vec<u32> {
    let pairs = out.div_ceil(2);
    let mut panels = vec![0; inner.div_ceil(PANEL) * pairs * PANEL];
    for (panel, words) in panels.chunks_mut(pairs * PANEL).enumerate() {
        for step in 0..pairs {
            for (column, at) in (panel * PANEL..inner.min((panel + 1) * PANEL)).enumerate() {
                let high = if 2 * step + 1 < out { weight[(2 * step + 1) * inner + at] } else { 0.0 };
                words[step * PANEL + column] = pair(weight[2 * step * inner + at], high);
            }
        }
    }
    panels
}

/// Rounds rows of width `width` to pairs, an odd last one padded with zero.
#[cfg(test)]
pub(super) fn pairs_of_rows(x: &[f32], rows: usize, width: usize) -> Vec<u32> {
    let mut pairs = vec![0; rows * width.div_ceil(2)];
    for (out, row) in pairs.chunks_mut(width.div_ceil(2)).zip(x.chunks(width)) {
        super::math::round_to_pairs(super::simd::Level::detect(), row, out);
    }
    pairs
}
