//! Micro-kernels of the CPU engine: tiles of a matrix product held in vector registers.
//!
//! A tile is up to [`TILE_ROWS`] rows by [`PANEL`] columns. The kernels take raw pointers; the only callers are the
//! bounds-checked functions of [`super::product`]. Every output element is one sum in the order of the inner dimension,
//! so how a product is cut into tiles and threads changes no bit.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{
    __m256, __m512, __m512bh, __m512i, __mmask16, _MM_HINT_T0, _mm_prefetch, _mm256_fmadd_ps, _mm256_loadu_ps,
    _mm256_set1_ps, _mm256_setzero_ps, _mm256_storeu_ps, _mm512_dpbf16_ps, _mm512_fmadd_ps, _mm512_loadu_si512,
    _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps,
};

use std::sync::OnceLock;

/// Columns of a tile and of a packed panel.
pub(super) const PANEL: usize = 32;

/// Inner steps for which the right operand is fetched ahead. It streams from the second cache, and the processor's own
/// prefetching stops at every page.
#[cfg(target_arch = "x86_64")]
const AHEAD: usize = 8;

/// Most rows of a tile.
pub(super) const TILE_ROWS: usize = 12;

/// The widest vector instructions that are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// Whatever the compiler makes of plain loops.
    Portable,
    /// AVX2 with fused multiply-add.
    Avx2,
    /// AVX-512.
    Avx512,
    /// AVX-512 with products of bfloat16.
    Avx512Bf16,
    /// The same with matrix tiles of bfloat16.
    Amx,
}

impl Level {
    /// What this processor has.
    pub(crate) fn detect() -> Self {
        static FOUND: OnceLock<Level> = OnceLock::new();
        *FOUND.get_or_init(Self::probe)
    }

    fn probe() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            let wide = std::arch::is_x86_feature_detected!("avx512f")
                && std::arch::is_x86_feature_detected!("avx512bw")
                && std::arch::is_x86_feature_detected!("avx512dq")
                && std::arch::is_x86_feature_detected!("avx512vl");
            let pairs = wide && std::arch::is_x86_feature_detected!("avx512bf16");
            if pairs && super::amx::is_there() {
                return Self::Amx;
            }
            if pairs {
                return Self::Avx512Bf16;
            }
            if wide {
                return Self::Avx512;
            }
            if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
                return Self::Avx2;
            }
        }
        Self::Portable
    }

    /// Whether products of bfloat16 have instructions of their own.
    pub(crate) fn has_bf16(self) -> bool {
        matches!(self, Self::Avx512Bf16 | Self::Amx)
    }
}

/// One term of a tile's sum: `a[i · a_row + k · a_step] · b[k · b_step + j]` over `k < len`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Term {
    pub(super) a: *const f32,
    pub(super) a_row: usize,
    pub(super) a_step: usize,
    pub(super) b: *const f32,
    pub(super) b_step: usize,
    pub(super) len: usize,
}

/// A term in bfloat16: `len` pairs along the inner dimension, `a` row-major with `a_row` pairs a row, `b` a packed panel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bf16Term {
    pub(super) a: *const u32,
    pub(super) a_row: usize,
    pub(super) b: *const u32,
    pub(super) len: usize,
}

/// Where a tile goes: `columns` of at most [`PANEL`] are written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    pub(super) c: *mut f32,
    pub(super) c_row: usize,
    pub(super) columns: usize,
    /// Whether the sum starts from what is there.
    pub(super) add: bool,
}

/// Computes one tile of `rows` rows.
///
/// # Safety
/// `level` is at most what the processor has; `rows` is 1 to [`TILE_ROWS`]; all elements that the terms and the target
/// name lie inside live allocations; nothing else touches the target meanwhile. Of `b` only `columns` columns are read.
#[expect(unsafe_code, reason = "numeric kernel")]
pub(super) unsafe fn tile(level: Level, rows: usize, terms: &[Term], target: Target) {
    macro_rules! by_rows {
        ($kernel:ident) => {
            // SAFETY: passed on from the caller.
            unsafe {
                match rows {
                    1 => $kernel::<1>(terms, target),
                    2 => $kernel::<2>(terms, target),
                    3 => $kernel::<3>(terms, target),
                    4 => $kernel::<4>(terms, target),
                    5 => $kernel::<5>(terms, target),
                    6 => $kernel::<6>(terms, target),
                    7 => $kernel::<7>(terms, target),
                    8 => $kernel::<8>(terms, target),
                    9 => $kernel::<9>(terms, target),
                    10 => $kernel::<10>(terms, target),
                    11 => $kernel::<11>(terms, target),
                    _ => $kernel::<12>(terms, target),
                }
            }
        };
    }
    match level {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 | Level::Avx512Bf16 | Level::Amx => by_rows!(tile_avx512),
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => by_rows!(tile_avx2),
        _ => by_rows!(tile_portable),
    }
}

/// Like [`tile`] with a first term in bfloat16.
///
/// # Safety
/// As for [`tile`]; the processor has AVX512-BF16.
#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "numeric kernel")]
pub(super) unsafe fn tile_bf16(rows: usize, first: Bf16Term, terms: &[Term], target: Target) {
    // SAFETY: passed on from the caller.
    unsafe {
        match rows {
            1 => tile_bf16_avx512::<1>(first, terms, target),
            2 => tile_bf16_avx512::<2>(first, terms, target),
            3 => tile_bf16_avx512::<3>(first, terms, target),
            4 => tile_bf16_avx512::<4>(first, terms, target),
            5 => tile_bf16_avx512::<5>(first, terms, target),
            6 => tile_bf16_avx512::<6>(first, terms, target),
            7 => tile_bf16_avx512::<7>(first, terms, target),
            8 => tile_bf16_avx512::<8>(first, terms, target),
            9 => tile_bf16_avx512::<9>(first, terms, target),
            10 => tile_bf16_avx512::<10>(first, terms, target),
            11 => tile_bf16_avx512::<11>(first, terms, target),
            _ => tile_bf16_avx512::<12>(first, terms, target),
        }
    }
}

/// Accumulators of an AVX-512 tile: `M` rows of `V` vectors.
#[cfg(target_arch = "x86_64")]
type Wide<const M: usize, const V: usize> = [[__m512; V]; M];

#[cfg(target_arch = "x86_64")]
fn masks(columns: usize) -> [__mmask16; 2] {
    let mask = |count: usize| if count >= 16 { u16::MAX } else { (1u16 << count) - 1 };
    [mask(columns), mask(columns.saturating_sub(16))]
}

/// # Safety
/// See [`tile`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
#[expect(unsafe_code, reason = "numeric kernel")]
#[inline]
unsafe fn start_avx512<const M: usize, const V: usize>(target: Target, mask: [__mmask16; 2]) -> Wide<M, V> {
    let mut acc = [[_mm512_setzero_ps(); V]; M];
    if target.add {
        for (row, acc) in acc.iter_mut().enumerate() {
            // SAFETY: the target holds `rows` rows of `columns` columns; masked lanes are not touched.
            unsafe {
                let c = target.c.add(row * target.c_row);
                for (lane, acc) in acc.iter_mut().enumerate() {
                    *acc = _mm512_maskz_loadu_ps(mask[lane], c.wrapping_add(16 * lane));
                }
            }
        }
    }
    acc
}

/// # Safety
/// See [`tile`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
#[expect(unsafe_code, reason = "numeric kernel")]
#[inline]
unsafe fn finish_avx512<const M: usize, const V: usize>(acc: &Wide<M, V>, target: Target, mask: [__mmask16; 2]) {
    for (row, acc) in acc.iter().enumerate() {
        // SAFETY: as in `start_avx512`.
        unsafe {
            let c = target.c.add(row * target.c_row);
            for (lane, acc) in acc.iter().enumerate() {
                _mm512_mask_storeu_ps(c.wrapping_add(16 * lane), mask[lane], *acc);
            }
        }
    }
}

/// # Safety
/// See [`tile`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
#[expect(unsafe_code, reason = "numeric kernel")]
#[inline]
unsafe fn add_term_avx512<const M: usize, const V: usize>(
    start: Wide<M, V>,
    term: &Term,
    mask: [__mmask16; 2],
) -> Wide<M, V> {
    // By value: sums behind a reference could be what the operands point at, and would go through memory each step.
    let mut acc = start;
    let (mut a, mut b) = (term.a, term.b);
    for _ in 0..term.len {
        // SAFETY: the caller names only elements of live allocations.
        unsafe {
            let mut columns = [_mm512_setzero_ps(); V];
            for (lane, columns) in columns.iter_mut().enumerate() {
                *columns = _mm512_maskz_loadu_ps(mask[lane], b.wrapping_add(16 * lane));
                _mm_prefetch::<_MM_HINT_T0>(b.wrapping_add(AHEAD * term.b_step + 16 * lane).cast());
            }
            for (row, acc) in acc.iter_mut().enumerate() {
                let x = _mm512_set1_ps(*a.add(row * term.a_row));
                for (acc, columns) in acc.iter_mut().zip(columns) {
                    *acc = _mm512_fmadd_ps(x, columns, *acc);
                }
            }
        }
        a = a.wrapping_add(term.a_step);
        b = b.wrapping_add(term.b_step);
    }
    acc
}

/// # Safety
/// See [`tile`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
#[expect(unsafe_code, reason = "numeric kernel")]
unsafe fn tile_avx512<const M: usize>(terms: &[Term], target: Target) {
    // SAFETY: passed on from the caller. Products of adapters have few columns, which fit into one vector.
    unsafe {
        if target.columns <= 16 {
            sum_avx512::<M, 1>(terms, target);
        } else {
            sum_avx512::<M, 2>(terms, target);
        }
    }
}

/// # Safety
/// See [`tile`]; the columns fit into `V` vectors.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
#[expect(unsafe_code, reason = "numeric kernel")]
#[inline]
unsafe fn sum_avx512<const M: usize, const V: usize>(terms: &[Term], target: Target) {
    let mask = masks(target.columns);
    // SAFETY: passed on from the caller.
    unsafe {
        let mut acc = start_avx512::<M, V>(target, mask);
        for term in terms {
            acc = add_term_avx512(acc, term, mask);
        }
        finish_avx512(&acc, target, mask);
    }
}

/// # Safety
/// See [`tile_bf16`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
#[expect(unsafe_code, reason = "numeric kernel")]
unsafe fn tile_bf16_avx512<const M: usize>(first: Bf16Term, terms: &[Term], target: Target) {
    let mask = masks(target.columns);
    // SAFETY: passed on from the caller; packed panels are whole, so their loads need no mask. `__m512bh` and `__m512i`
    // are the same 512 bits.
    unsafe {
        let mut acc = start_avx512::<M, 2>(target, mask);
        let (mut a, mut b) = (first.a, first.b);
        for _ in 0..first.len {
            let b0 = std::mem::transmute::<__m512i, __m512bh>(_mm512_loadu_si512(b.cast()));
            let b1 = std::mem::transmute::<__m512i, __m512bh>(_mm512_loadu_si512(b.add(16).cast()));
            _mm_prefetch::<_MM_HINT_T0>(b.wrapping_add(AHEAD * PANEL).cast());
            _mm_prefetch::<_MM_HINT_T0>(b.wrapping_add(AHEAD * PANEL + 16).cast());
            for (row, acc) in acc.iter_mut().enumerate() {
                let pair = _mm512_set1_epi32((*a.add(row * first.a_row)).cast_signed());
                let x = std::mem::transmute::<__m512i, __m512bh>(pair);
                acc[0] = _mm512_dpbf16_ps(acc[0], x, b0);
                acc[1] = _mm512_dpbf16_ps(acc[1], x, b1);
            }
            a = a.wrapping_add(1);
            b = b.wrapping_add(PANEL);
        }
        for term in terms {
            acc = add_term_avx512(acc, term, mask);
        }
        finish_avx512(&acc, target, mask);
    }
}

/// # Safety
/// See [`tile`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
#[expect(unsafe_code, reason = "numeric kernel")]
unsafe fn tile_avx2<const M: usize>(terms: &[Term], target: Target) {
    // SAFETY: passed on from the caller. Narrow tiles go through the portable kernel, so that no lane beyond the last
    // column is read or written.
    unsafe {
        if target.columns < PANEL {
            return tile_portable::<M>(terms, target);
        }
        for first in (0..M).step_by(3) {
            match M - first {
                1 => strip_avx2::<1>(first, terms, target),
                2 => strip_avx2::<2>(first, terms, target),
                _ => strip_avx2::<3>(first, terms, target),
            }
        }
    }
}

/// Up to three rows of a whole tile: twelve accumulators.
///
/// # Safety
/// See [`tile`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
#[expect(unsafe_code, reason = "numeric kernel")]
unsafe fn strip_avx2<const M: usize>(first: usize, terms: &[Term], target: Target) {
    let mut acc: [[__m256; 4]; M] = [[_mm256_setzero_ps(); 4]; M];
    // SAFETY: passed on from the caller.
    unsafe {
        let c = |row: usize, lane: usize| target.c.add((first + row) * target.c_row + 8 * lane);
        if target.add {
            for (row, acc) in acc.iter_mut().enumerate() {
                for (lane, acc) in acc.iter_mut().enumerate() {
                    *acc = _mm256_loadu_ps(c(row, lane));
                }
            }
        }
        for term in terms {
            for step in 0..term.len {
                let b = term.b.add(step * term.b_step);
                let b = [0, 1, 2, 3].map(|lane| _mm256_loadu_ps(b.add(8 * lane)));
                for (row, acc) in acc.iter_mut().enumerate() {
                    let x = _mm256_set1_ps(*term.a.add((first + row) * term.a_row + step * term.a_step));
                    for (acc, b) in acc.iter_mut().zip(b) {
                        *acc = _mm256_fmadd_ps(x, b, *acc);
                    }
                }
            }
        }
        for (row, acc) in acc.iter().enumerate() {
            for (lane, acc) in acc.iter().enumerate() {
                _mm256_storeu_ps(c(row, lane), *acc);
            }
        }
    }
}

/// # Safety
/// See [`tile`].
#[expect(unsafe_code, reason = "numeric kernel")]
unsafe fn tile_portable<const M: usize>(terms: &[Term], target: Target) {
    for row in 0..M {
        let mut acc = [0f32; PANEL];
        // SAFETY: only `columns` columns of live allocations are touched.
        unsafe {
            let c = target.c.add(row * target.c_row);
            if target.add {
                for (column, acc) in acc[..target.columns].iter_mut().enumerate() {
                    *acc = *c.add(column);
                }
            }
            for term in terms {
                for step in 0..term.len {
                    let x = *term.a.add(row * term.a_row + step * term.a_step);
                    let b = term.b.add(step * term.b_step);
                    for (column, acc) in acc[..target.columns].iter_mut().enumerate() {
                        *acc += x * *b.add(column);
                    }
                }
            }
            for (column, acc) in acc[..target.columns].iter().enumerate() {
                *c.add(column) = *acc;
            }
        }
    }
}
