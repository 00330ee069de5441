//! What the engine's own products reach on large matrices: the yardstick for whole steps. For benchmarks only.

use std::collections::BTreeMap;
use std::time::Instant;

use rayon::prelude::*;

use super::blocks::block_rows;
use super::frozen::staged_width;
use super::pack::{fill_transposed_panel, panels_len, transposed_pair_panels};
use super::product::{Factors, Left, Out, PairRows, Right, multiply, multiply_bf16};
use super::simd::{Level, PANEL};

/// Products that are timed after a first one.
const REPEATS: u32 = 4;

/// GFLOP/s of products of square matrices of `size` rows on all threads, by number format.
pub(crate) fn product_rates(size: usize) -> BTreeMap<&'static str, f64> {
    let level = Level::detect();
    let stride = staged_width(size);
    let (a, w) = (vec![0.5f32; size * stride], vec![0.25f32; size * size]);
    let mut out = vec![0f32; size * size];
    let mut panels = vec![0f32; panels_len(size, size)];
    for (panel, rows) in panels.chunks_mut(size * PANEL).zip(w.chunks(size * PANEL)) {
        fill_transposed_panel(panel, rows, size);
    }
    let block = block_rows(size);
    let single = rate(size, || {
        out.par_chunks_mut(block * size).zip(a.par_chunks(block * stride)).for_each(|(out, a)| {
            let rows = a.len() / stride;
            let mut out = Out { data: out, offset: 0, row: size, rows, columns: size, add: false };
            let factors = Factors { left: Left::rows(a, 0, stride), right: Right::Panels(&panels), len: size };
            multiply(level, &mut out, &[factors]);
        });
    });
    let mut rates = BTreeMap::from([("f32", single)]);
    if level.has_bf16() {
        let words = size / 2;
        let stride = staged_width(words);
        let pairs = vec![0x3f00_3f00u32; size * stride];
        let panels = transposed_pair_panels(&w, size, size);
        let half = rate(size, || {
            out.par_chunks_mut(block * size).zip(pairs.par_chunks(block * stride)).for_each(|(out, pairs)| {
                let rows = pairs.len() / stride;
                let mut out = Out { data: out, offset: 0, row: size, rows, columns: size, add: false };
                multiply_bf16(level, &mut out, PairRows { data: pairs, row: stride, len: words }, &panels, None);
            });
        });
        rates.insert("bf16", half);
    }
    rates
}

fn rate(size: usize, mut product: impl FnMut()) -> f64 {
    product();
    let start = Instant::now();
    for _ in 0..REPEATS {
        product();
    }
    let flops = 2.0 * (size as f64).powi(3) * f64::from(REPEATS);
    flops / start.elapsed().as_secs_f64() / 1e9
}
