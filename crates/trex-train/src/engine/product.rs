//! Matrix products of the CPU engine: bounds-checked, single-threaded, without temporary copies.
//!
//! A product is a sum of terms that are accumulated in registers before anything is stored, so a low-rank adapter
//! costs `r` more steps of the inner loop and no pass over memory. Threads are the caller's business: it cuts rows or
//! columns.

#[cfg(target_arch = "x86_64")]
use super::amx::{self, AHEAD_BYTES, BLOCK_ROWS, STEP_PAIRS};
use super::few::Columns;
#[cfg(target_arch = "x86_64")]
use super::simd::{Bf16Term, tile_bf16};
use super::simd::{Level, PANEL, TILE_ROWS, Target, Term, tile};

/// Inner steps that are done before the next panel when an operand is not packed: keeps its rows in the second cache.
const NATURAL_BLOCK: usize = 256;

/// The left operand: element (i, k) is `data[offset + i · row + k · step]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Left<'a> {
    data: &'a [f32],
    offset: usize,
    row: usize,
    step: usize,
}

impl<'a> Left<'a> {
    /// Rows of a row-major matrix of width `row`, from column `offset` on.
    pub(super) fn rows(data: &'a [f32], offset: usize, row: usize) -> Self {
        Self { data, offset, row, step: 1 }
    }

    /// The transpose of a row-major matrix of width `step`, from column `offset` on.
    pub(super) fn transposed(data: &'a [f32], offset: usize, step: usize) -> Self {
        Self { data, offset, row: 1, step }
    }

    /// A product with this operand from row `first` on.
    pub(super) fn transposed_from<'b>(self, first: usize, right: Right<'b>, len: usize) -> Factors<'b>
    where
        'a: 'b,
    {
        Factors { left: Self { offset: self.offset + first * self.row, ..self }, right, len }
    }
}

/// The right operand.
#[derive(Clone, Copy, Debug)]
pub(super) enum Right<'a> {
    /// Panels of [`PANEL`] columns, the last one padded: element (k, j) of panel p is `data[(p · len + k) · PANEL + j]`.
    Panels(&'a [f32]),
    /// Row-major: element (k, j) is `data[offset + k · row + j]`.
    Natural {
        /// The elements.
        data: &'a [f32],
        /// Index of element (0, 0).
        offset: usize,
        /// Distance between rows.
        row: usize,
    },
}

/// One product of a sum.
#[derive(Clone, Copy, Debug)]
pub(super) struct Factors<'a> {
    /// (rows, len).
    pub(super) left: Left<'a>,
    /// (len, columns).
    pub(super) right: Right<'a>,
    /// Inner extent.
    pub(super) len: usize,
}

/// Where a product is written: row-major, `row` apart.
#[derive(Debug)]
pub(super) struct Out<'a> {
    pub(super) data: &'a mut [f32],
    /// Index of element (0, 0).
    pub(super) offset: usize,
    /// Distance between rows.
    pub(super) row: usize,
    /// Rows.
    pub(super) rows: usize,
    /// Columns.
    pub(super) columns: usize,
    /// Whether the sum starts from what is there.
    pub(super) add: bool,
}

fn last(offset: usize, rows: usize, row: usize, columns: usize, column: usize) -> usize {
    offset + (rows - 1) * row + (columns - 1) * column
}

impl<'a> Factors<'a> {
    /// The right operand where it lies row-major, to be read as a transposed left one.
    pub(super) fn right_rows(&self) -> Option<Left<'a>> {
        match self.right {
            Right::Natural { data, offset, row } => Some(Left { data, offset, row: 1, step: row }),
            Right::Panels(_) => None,
        }
    }

    /// The left operand, of `rows` rows, as columns.
    pub(super) fn left_columns<'b>(&self, level: Level, rows: usize, kept: &'b mut Vec<f32>) -> Columns<'b> {
        let left = self.left;
        debug_assert_eq!(left.step, 1, "rows of adapters lie row-major");
        Columns::new(level, &left.data[left.offset..], (rows, self.len, left.row), kept)
    }

    fn check(&self, rows: usize, columns: usize) {
        let left = self.left;
        assert!(last(left.offset, rows, left.row, self.len, left.step) < left.data.len(), "left operand is too short");
        match self.right {
            Right::Panels(data) => {
                assert!(columns.div_ceil(PANEL) * self.len * PANEL <= data.len(), "packed operand is too short");
            }
            Right::Natural { data, offset, row } => {
                assert!(last(offset, self.len, row, columns, 1) < data.len(), "right operand is too short");
            }
        }
    }

    /// The term of one panel and of the rows from `first_row` on, for inner steps `from..to`.
    fn term(&self, panel: usize, first_row: usize, from: usize, to: usize) -> Term {
        let a = self.left.data[self.left.offset + first_row * self.left.row + from * self.left.step..].as_ptr();
        let (b, b_step) = match self.right {
            Right::Panels(data) => (data[(panel * self.len + from) * PANEL..].as_ptr(), PANEL),
            Right::Natural { data, offset, row } => (data[offset + from * row + panel * PANEL..].as_ptr(), row),
        };
        Term { a, a_row: self.left.row, a_step: self.left.step, b, b_step, len: to - from }
    }
}

/// Heights of the tiles of `rows` rows, as even as possible.
fn tiles(rows: usize) -> impl Iterator<Item = (usize, usize)> + Clone {
    let count = rows.div_ceil(TILE_ROWS).max(1);
    (0..count).map(move |index| {
        let (first, end) = (index * rows / count, (index + 1) * rows / count);
        (first, end - first)
    })
}

/// Computes `out = Σ left · right` (or adds to `out`) over the terms.
///
/// # Panics
/// When a matrix does not lie inside its slice: a defect of the caller, never of input.
pub(super) fn multiply(level: Level, out: &mut Out<'_>, terms: &[Factors<'_>]) {
    if out.rows == 0 || out.columns == 0 {
        return;
    }
    assert!(last(out.offset, out.rows, out.row, out.columns, 1) < out.data.len(), "the result is too short");
    assert!(out.rows == 1 || out.row >= out.columns, "rows of the result overlap");
    let used = terms.iter().filter(|term| term.len > 0);
    used.clone().for_each(|term| term.check(out.rows, out.columns));
    // A narrow operand lies as closely as a panel.
    let blocked = matches!(
        terms,
        [Factors { right: Right::Natural { row, .. }, len, .. }, ..] if *len > NATURAL_BLOCK && *row > PANEL
    );
    if blocked {
        multiply_blocked(level, out, terms);
        return;
    }
    for panel in 0..out.columns.div_ceil(PANEL) {
        for (row, height) in tiles(out.rows) {
            let mut list = [EMPTY; 3];
            let mut count = 0;
            for term in terms.iter().filter(|term| term.len > 0) {
                list[count] = term.term(panel, row, 0, term.len);
                count += 1;
            }
            store(level, out, &list[..count], panel, (row, height), out.add);
        }
    }
}

const EMPTY: Term = Term { a: std::ptr::null(), a_row: 0, a_step: 0, b: std::ptr::null(), b_step: 0, len: 0 };

/// The first term in blocks of inner steps, over all panels each; then the other terms.
fn multiply_blocked(level: Level, out: &mut Out<'_>, terms: &[Factors<'_>]) {
    let Some((first, rest)) = terms.split_first() else { return };
    let panels = out.columns.div_ceil(PANEL);
    for from in (0..first.len).step_by(NATURAL_BLOCK) {
        let to = (from + NATURAL_BLOCK).min(first.len);
        for panel in 0..panels {
            for (row, height) in tiles(out.rows) {
                let add = out.add || from > 0;
                store(level, out, &[first.term(panel, row, from, to)], panel, (row, height), add);
            }
        }
    }
    for term in rest.iter().filter(|term| term.len > 0) {
        for panel in 0..panels {
            for (row, height) in tiles(out.rows) {
                store(level, out, &[term.term(panel, row, 0, term.len)], panel, (row, height), true);
            }
        }
    }
}

fn target(out: &mut Out<'_>, panel: usize, row: usize, add: bool) -> Target {
    let columns = (out.columns - panel * PANEL).min(PANEL);
    let c = out.data[out.offset + row * out.row + panel * PANEL..].as_mut_ptr();
    Target { c, c_row: out.row, columns, add }
}

fn store(level: Level, out: &mut Out<'_>, terms: &[Term], panel: usize, (row, height): (usize, usize), add: bool) {
    let target = target(out, panel, row, add);
    #[expect(unsafe_code, reason = "calls a numeric kernel")]
    // SAFETY: `multiply` has checked that every operand and the result lie inside their slices for all rows, columns
    // and steps; `out` is borrowed mutably, so nothing else touches it; the level was detected.
    unsafe {
        tile(level, height, terms, target);
    }
}

/// Rows as pairs of bfloat16 along the inner dimension.
#[derive(Clone, Copy, Debug)]
pub(super) struct PairRows<'a> {
    /// Row-major.
    pub(super) data: &'a [u32],
    /// Distance between rows.
    pub(super) row: usize,
    /// Pairs in a row.
    pub(super) len: usize,
}

/// Like [`multiply`] with a first term in bfloat16, accumulated in `f32`: `pairs` is (rows, len), `panels` are packed.
///
/// # Panics
/// As [`multiply`], and on a processor without AVX512-BF16.
#[cfg(target_arch = "x86_64")]
pub(super) fn multiply_bf16(
    level: Level,
    out: &mut Out<'_>,
    pairs: PairRows<'_>,
    panels: &[u32],
    extra: Option<Factors<'_>>,
) {
    assert!(level.has_bf16(), "this processor has no products of bfloat16");
    if out.rows == 0 || out.columns == 0 {
        return;
    }
    let (len, stride) = (pairs.len, pairs.row);
    let extra = extra.filter(|term| term.len > 0);
    assert!(last(out.offset, out.rows, out.row, out.columns, 1) < out.data.len(), "the result is too short");
    assert!(out.rows == 1 || out.row >= out.columns, "rows of the result overlap");
    assert!((out.rows - 1) * stride + len <= pairs.data.len(), "left operand is too short");
    assert!(out.columns.div_ceil(PANEL) * len * PANEL <= panels.len(), "packed operand is too short");
    if let Some(term) = &extra {
        term.check(out.rows, out.columns);
    }
    if level == Level::Amx {
        multiply_tiles(level, out, pairs, panels, extra);
        return;
    }
    for panel in 0..out.columns.div_ceil(PANEL) {
        for (row, height) in tiles(out.rows) {
            let term = extra.as_ref().map(|term| term.term(panel, row, 0, term.len));
            store_pairs(out, pairs, panels, (panel, 0), (row, height), term.as_slice(), out.add);
        }
    }
}

/// Other processors have no such products, and nothing packs weights for them.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn multiply_bf16(level: Level, _: &mut Out<'_>, _: PairRows<'_>, _: &[u32], _: Option<Factors<'_>>) {
    assert!(level.has_bf16(), "this processor has no products of bfloat16");
}

/// Stores one tile of a product of pairs from inner step `from` on, with more terms.
#[cfg(target_arch = "x86_64")]
fn store_pairs(
    out: &mut Out<'_>,
    pairs: PairRows<'_>,
    panels: &[u32],
    (panel, from): (usize, usize),
    (row, height): (usize, usize),
    terms: &[Term],
    add: bool,
) {
    let first = Bf16Term {
        a: pairs.data[row * pairs.row + from..].as_ptr(),
        a_row: pairs.row,
        b: panels[(panel * pairs.len + from) * PANEL..].as_ptr(),
        len: pairs.len - from,
    };
    let target = target(out, panel, row, add);
    #[expect(unsafe_code, reason = "calls a numeric kernel")]
    // SAFETY: `multiply_bf16` has checked that every element lies inside its slice, and the level.
    unsafe {
        tile_bf16(height, first, terms, target);
    }
}

/// [`multiply_bf16`] on matrix tiles; what is left of the inner dimension and the extra term are added by vectors.
#[cfg(target_arch = "x86_64")]
fn multiply_tiles(level: Level, out: &mut Out<'_>, pairs: PairRows<'_>, panels: &[u32], extra: Option<Factors<'_>>) {
    let steps = pairs.len / STEP_PAIRS;
    let whole = steps * STEP_PAIRS;
    for panel in 0..out.columns.div_ceil(PANEL) {
        for first in (0..if steps > 0 { out.rows } else { 0 }).step_by(BLOCK_ROWS) {
            let rows = (out.rows - first).min(BLOCK_ROWS);
            tile_block(out, pairs, panels, panel, (first, rows), steps);
        }
        if whole == pairs.len && extra.is_none() {
            continue;
        }
        for (row, height) in tiles(out.rows) {
            let term = extra.as_ref().map(|term| term.term(panel, row, 0, term.len));
            let add = out.add || steps > 0;
            if whole < pairs.len {
                store_pairs(out, pairs, panels, (panel, whole), (row, height), term.as_slice(), add);
            } else {
                store(level, out, term.as_slice(), panel, (row, height), add);
            }
        }
    }
}

/// One block of the result on matrix tiles.
#[cfg(target_arch = "x86_64")]
fn tile_block(
    out: &mut Out<'_>,
    pairs: PairRows<'_>,
    panels: &[u32],
    panel: usize,
    (first, rows): (usize, usize),
    steps: usize,
) {
    // The next panel, shared out among the blocks that read this one.
    let ahead = (panel + 1) * pairs.len * PANEL + first / BLOCK_ROWS * steps * (AHEAD_BYTES / size_of::<u32>());
    let columns = (out.columns - panel * PANEL).min(PANEL);
    let at = out.offset + first * out.row + panel * PANEL;
    let mut block = amx::Block {
        a: pairs.data[first * pairs.row..].as_ptr(),
        a_row: pairs.row,
        b: panels[panel * pairs.len * PANEL..].as_ptr(),
        steps,
        c: out.data[at..].as_mut_ptr(),
        c_row: out.row,
        rows,
        add: out.add,
        ahead: panels.as_ptr().wrapping_add(ahead),
    };
    // Tiles are whole, so a narrow last panel goes through a copy.
    let mut whole = [0f32; BLOCK_ROWS * PANEL];
    if columns < PANEL {
        (block.c, block.c_row) = (whole.as_mut_ptr(), PANEL);
        if out.add {
            for (copy, row) in whole.chunks_mut(PANEL).zip(0..rows) {
                copy[..columns].copy_from_slice(&out.data[at + row * out.row..][..columns]);
            }
        }
    }
    #[expect(unsafe_code, reason = "calls a numeric kernel")]
    // SAFETY: `multiply_bf16` has checked that every element lies inside its slice, and the level; a narrow panel writes
    // into the copy, which has room for a whole block.
    unsafe {
        amx::multiply(&block);
    }
    if columns < PANEL {
        for (copy, row) in whole.chunks(PANEL).zip(0..rows) {
            out.data[at + row * out.row..][..columns].copy_from_slice(&copy[..columns]);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn levels() -> Vec<Level> {
        let best = Level::detect();
        let mut levels = vec![Level::Portable];
        if best != Level::Portable {
            levels.push(Level::Avx2);
        }
        if matches!(best, Level::Avx512 | Level::Avx512Bf16) {
            levels.push(Level::Avx512);
        }
        levels
    }

    fn ramp(count: usize, seed: usize) -> Vec<f32> {
        (0..count).map(|i| ((i * 37 + seed * 11) % 17) as f32 / 8.0 - 1.0).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
        #[test]
        fn every_level_equals_the_plain_sum(
            rows in 1usize..30, columns in 1usize..70, len in 1usize..300, extra in 0usize..5, add in any::<bool>(),
        ) {
            let (a, b) = (ramp(rows * len, 1), ramp(len * columns, 2));
            let (t, u) = (ramp(rows * extra.max(1), 3), ramp(extra.max(1) * columns, 4));
            let panels = super::super::pack::transposed_panels(&transpose(&b, len, columns), columns, len);
            for level in levels() {
                for packed in [false, true] {
                    let mut data = vec![0.5; rows * columns];
                    let right = if packed {
                        Right::Panels(&panels)
                    } else {
                        Right::Natural { data: &b, offset: 0, row: columns }
                    };
                    let terms = [
                        Factors { left: Left::rows(&a, 0, len), right, len },
                        Factors {
                            left: Left::transposed(&t, 0, rows),
                            right: Right::Natural { data: &u, offset: 0, row: columns },
                            len: extra,
                        },
                    ];
                    let mut out = Out { data: &mut data, offset: 0, row: columns, rows, columns, add };
                    multiply(level, &mut out, &terms);
                    for row in 0..rows {
                        for column in 0..columns {
                            let mut sum = if add { 0.5f64 } else { 0.0 };
                            for k in 0..len {
                                sum += f64::from(a[row * len + k]) * f64::from(b[k * columns + column]);
                            }
                            for k in 0..extra {
                                sum += f64::from(t[k * rows + row]) * f64::from(u[k * columns + column]);
                            }
                            let found = f64::from(data[row * columns + column]);
                            prop_assert!((found - sum).abs() < 1e-3, "{level:?} {packed} {found} {sum}");
                        }
                    }
                }
            }
        }
    }

    fn transpose(x: &[f32], rows: usize, columns: usize) -> Vec<f32> {
        (0..rows * columns).map(|at| x[at % rows * columns + at / rows]).collect()
    }

    #[test]
    #[should_panic(expected = "right operand is too short")]
    fn an_operand_outside_its_slice_panics() {
        let mut data = [0.0; 4];
        let mut out = Out { data: &mut data, offset: 0, row: 2, rows: 2, columns: 2, add: false };
        let right = Right::Natural { data: &[1.0; 3], offset: 0, row: 2 };
        multiply(Level::Portable, &mut out, &[Factors { left: Left::rows(&[1.0; 4], 0, 2), right, len: 2 }]);
    }

    /// Levels with products of pairs.
    fn levels_of_pairs() -> Vec<Level> {
        match Level::detect() {
            Level::Amx => vec![Level::Avx512Bf16, Level::Amx],
            level if level.has_bf16() => vec![level],
            _ => Vec::new(),
        }
    }

    #[cfg(target_arch = "x86_64")]
    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
        #[test]
        fn bfloat16_products_are_those_of_rounded_operands(
            rows in 1usize..70, columns in 1usize..70, len in 1usize..150, extra in 0usize..5, add in any::<bool>(),
        ) {
            use half::bf16;
            let (a, w) = (ramp(rows * len, 5), ramp(columns * len, 6));
            let (t, u) = (ramp(rows * extra.max(1), 3), ramp(extra.max(1) * columns, 4));
            let pairs = super::super::pack::pairs_of_rows(&a, rows, len);
            let panels = super::super::pack::transposed_pair_panels(&w, columns, len);
            let round = |x: f32| f64::from(bf16::from_f32(x).to_f32());
            for level in levels_of_pairs() {
                let mut data = vec![0.5; rows * columns];
                let words = len.div_ceil(2);
                let term = Factors {
                    left: Left::rows(&t, 0, extra.max(1)),
                    right: Right::Natural { data: &u, offset: 0, row: columns },
                    len: extra,
                };
                let mut out = Out { data: &mut data, offset: 0, row: columns, rows, columns, add };
                multiply_bf16(level, &mut out, PairRows { data: &pairs, row: words, len: words }, &panels, Some(term));
                for (at, found) in data.iter().enumerate() {
                    let (row, column) = (at / columns, at % columns);
                    let start = if add { 0.5 } else { 0.0 };
                    let main: f64 = (0..len).map(|k| round(a[row * len + k]) * round(w[column * len + k])).sum();
                    let more: f64 =
                        (0..extra).map(|k| f64::from(t[row * extra + k]) * f64::from(u[k * columns + column])).sum();
                    let sum = start + main + more;
                    prop_assert!((f64::from(*found) - sum).abs() < 1e-3, "{level:?} {found} {sum}");
                }
            }
        }
    }

    #[cfg(target_arch = "x86_64")]
    proptest! {
        #[test]
        fn how_a_product_of_pairs_is_cut_changes_no_bit(rows in 2usize..70, cut in 1usize..69, len in 1usize..100) {
            let cut = cut.min(rows - 1);
            let columns = 40;
            let values = |count: usize, seed: u32| -> Vec<f32> {
                let mut state = seed;
                (0..count)
                    .map(|_| {
                        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        (state >> 8) as f32 / 16_777_216.0 - 0.5
                    })
                    .collect()
            };
            let (a, w) = (values(rows * len, 7), values(columns * len, 8));
            let words = len.div_ceil(2);
            let pairs = super::super::pack::pairs_of_rows(&a, rows, len);
            let panels = super::super::pack::transposed_pair_panels(&w, columns, len);
            for level in levels_of_pairs() {
                let run = |from: usize, to: usize| {
                    let mut data = vec![0.0; (to - from) * columns];
                    let mut out =
                        Out { data: &mut data, offset: 0, row: columns, rows: to - from, columns, add: false };
                    let part = PairRows { data: &pairs[from * words..], row: words, len: words };
                    multiply_bf16(level, &mut out, part, &panels, None);
                    data
                };
                let parts = [run(0, cut), run(cut, rows)].concat();
                prop_assert_eq!(parts, run(0, rows), "{:?}", level);
            }
        }
    }
}
