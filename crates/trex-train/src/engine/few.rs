//! Products of few rows, as in generation: the weights are read once, in the order in which they lie, and never packed.
//!
//! `out = x Wᵀ` is computed as `outᵀ = W xᵀ`: the rows of x are transposed, which is little, and become the columns of
//! the right operand. Every sum has the same steps in the same order as the packed product, so where the instructions
//! are the same, so are the bits. Memory is what bounds such a product; packing would read and write the weights once
//! more than needed.

use rayon::prelude::*;

use super::blocks::room;
use super::product::{Factors, Left, Out, Right, multiply};
use super::simd::{Level, PANEL};

/// Most rows for which this pays.
pub(super) const MOST_ROWS: usize = PANEL;

/// Rows of the weights that one task multiplies.
const TASK_ROWS: usize = 48;

/// Room for the transposed operands and result; contents are whatever the last product left.
#[derive(Debug, Default)]
pub(super) struct FewRoom {
    columns: Vec<f32>,
    thin: Vec<f32>,
    result: Vec<f32>,
}

/// Rows of x as columns: (len, lanes), those beyond `count` zero.
#[derive(Clone, Copy, Debug)]
pub(super) struct Columns<'a> {
    data: &'a [f32],
    len: usize,
    count: usize,
    lanes: usize,
}

impl<'a> Columns<'a> {
    /// Transposes `count` rows of `len` elements that lie `stride` apart.
    pub(super) fn new(
        level: Level,
        rows: &[f32],
        (count, len, stride): (usize, usize, usize),
        kept: &'a mut Vec<f32>,
    ) -> Self {
        let lanes = lanes(level, count);
        let data = room(kept, len * lanes);
        for (step, out) in data.chunks_mut(lanes).enumerate() {
            for (row, out) in out.iter_mut().enumerate() {
                *out = if row < count { rows[row * stride + step] } else { 0.0 };
            }
        }
        Self { data, len, count, lanes }
    }

    fn right(&self) -> Right<'a> {
        Right::Natural { data: self.data, offset: 0, row: self.lanes }
    }
}

/// Width of the transposed rows: one vector where the level has narrow tiles and they fit.
fn lanes(level: Level, count: usize) -> usize {
    let narrow = matches!(level, Level::Avx512 | Level::Avx512Bf16 | Level::Amx);
    if narrow && count <= PANEL / 2 { PANEL / 2 } else { PANEL }
}

/// Computes (or adds to) `outᵀ`, (rows of the weights, lanes), on the calling thread; `weights` are row-major.
pub(super) fn multiply_columns(
    level: Level,
    weights: &[f32],
    x: Columns<'_>,
    extra: Option<Factors<'_>>,
    (out, add): (&mut [f32], bool),
) {
    let main = Factors { left: Left::rows(weights, 0, x.len), right: x.right(), len: x.len };
    let rows = out.len() / x.lanes;
    let mut out = Out { data: out, offset: 0, row: x.lanes, rows, columns: x.lanes, add };
    match extra {
        Some(extra) => multiply(level, &mut out, &[main, extra]),
        None => multiply(level, &mut out, &[main]),
    }
}

/// `out = x Wᵀ + extra` (or added to `out`) by all threads; `weights` are row-major, (columns of `out`, len).
///
/// `extra` is what an adapter adds: its left operand has the rows of x, its right one lies row-major.
pub(super) fn multiply_few(
    level: Level,
    out: &mut Out<'_>,
    weights: &[f32],
    (x, stride): (&[f32], usize),
    extra: Option<Factors<'_>>,
    kept: &mut FewRoom,
) {
    let len = weights.len() / out.columns;
    let FewRoom { columns, thin, result } = kept;
    let columns = Columns::new(level, x, (out.rows, len, stride), columns);
    let thin = extra.as_ref().and_then(|extra| Some((extra.right_rows()?, extra.left_columns(level, out.rows, thin))));
    let lanes = columns.lanes;
    let result = room(result, out.columns * lanes);
    if out.add {
        transpose_from(out, result, lanes);
    }
    let tasks = result.par_chunks_mut(TASK_ROWS * lanes).zip(weights.par_chunks(TASK_ROWS * len)).enumerate();
    tasks.for_each(|(task, (result, weights))| {
        let extra = thin.map(|(up, thin)| up.transposed_from(task * TASK_ROWS, thin.right(), thin.len));
        multiply_columns(level, weights, columns, extra, (result, out.add));
    });
    transpose_into(result, lanes, out);
}

fn transpose_from(out: &Out<'_>, result: &mut [f32], lanes: usize) {
    for (column, lane) in result.chunks_mut(lanes).enumerate() {
        for (row, value) in lane.iter_mut().enumerate() {
            *value = if row < out.rows { out.data[out.offset + row * out.row + column] } else { 0.0 };
        }
    }
}

fn transpose_into(result: &[f32], lanes: usize, out: &mut Out<'_>) {
    for row in 0..out.rows {
        let values = &mut out.data[out.offset + row * out.row..][..out.columns];
        for (value, lane) in values.iter_mut().zip(result.chunks(lanes)) {
            *value = lane[row];
        }
    }
}

/// Writes a transposed result of [`multiply_columns`] into rows that lie `row` apart.
pub(super) fn store_rows(result: &[f32], x: Columns<'_>, row: usize, out: &mut [f32]) {
    for (index, values) in out.chunks_mut(row).take(x.count).enumerate() {
        for (value, lane) in values.iter_mut().zip(result.chunks(x.lanes)) {
            *value = lane[index];
        }
    }
}

impl Columns<'_> {
    /// Width of a transposed result.
    pub(super) fn lanes(&self) -> usize {
        self.lanes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values(count: usize, seed: u32) -> Vec<f32> {
        let mut state = seed;
        (0..count)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 / 16_777_216.0 - 0.5
            })
            .collect()
    }

    fn packed(level: Level, weights: &[f32], x: &[f32], extra: Option<Factors<'_>>, mut out: Out<'_>) {
        let len = weights.len() / out.columns;
        let panels = super::super::pack::transposed_panels(weights, out.columns, len);
        let main = Factors { left: Left::rows(x, 0, len), right: Right::Panels(&panels), len };
        match extra {
            Some(extra) => multiply(level, &mut out, &[main, extra]),
            None => multiply(level, &mut out, &[main]),
        }
    }

    fn out(data: &mut [f32], rows: usize, columns: usize, add: bool) -> Out<'_> {
        Out { data, offset: 0, row: columns, rows, columns, add }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
        #[test]
        fn few_rows_give_the_numbers_of_the_packed_product(
            rows in 1usize..=MOST_ROWS, columns in 1usize..130, len in 1usize..600, rank in 0usize..5, add in any::<bool>(),
        ) {
            let (x, weights) = (values(rows * len, 1), values(columns * len, 2));
            let (thin, up) = (values(rows * rank.max(1), 3), values(rank.max(1) * columns, 4));
            let extra = (rank > 0).then(|| Factors {
                left: Left::rows(&thin, 0, rank),
                right: Right::Natural { data: &up, offset: 0, row: columns },
                len: rank,
            });
            for level in [Level::Portable, Level::detect()] {
                let start = values(rows * columns, 5);
                let (mut expected, mut found) = (start.clone(), start);
                packed(level, &weights, &x, extra, out(&mut expected, rows, columns, add));
                let mut kept = FewRoom::default();
                multiply_few(level, &mut out(&mut found, rows, columns, add), &weights, (&x, len), extra, &mut kept);
                if matches!(level, Level::Avx2) {
                    // Narrow tiles there are not fused.
                    let far = expected.iter().zip(&found).any(|(x, y)| (x - y).abs() > 1e-4);
                    prop_assert!(!far, "{level:?}");
                } else {
                    prop_assert_eq!(&expected, &found, "{:?}", level);
                }
            }
        }
    }
}
