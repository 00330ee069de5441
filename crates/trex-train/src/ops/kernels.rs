//! A bounds-checked door to the strided matrix product of the `gemm` crate. Single-threaded: callers run over heads in parallel.

/// A strided matrix inside a slice.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MatRef<'a> {
    data: &'a [f32],
    offset: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a> MatRef<'a> {
    /// The matrix whose element (i, j) is `data[offset + i · row_stride + j]`.
    pub(crate) fn new(data: &'a [f32], offset: usize, row_stride: usize) -> Self {
        Self { data, offset, row_stride, col_stride: 1 }
    }

    /// The same elements with rows and columns exchanged.
    pub(crate) fn transposed(self) -> Self {
        Self { row_stride: self.col_stride, col_stride: self.row_stride, ..self }
    }

    fn holds(&self, rows: usize, cols: usize) -> bool {
        last_index(self.offset, rows, self.row_stride, cols, self.col_stride) < self.data.len()
    }
}

/// Where a product is written: row-major with a stride.
#[derive(Debug)]
pub(crate) struct MatMut<'a> {
    /// The elements.
    pub(crate) data: &'a mut [f32],
    /// Index of element (0, 0).
    pub(crate) offset: usize,
    /// Distance between rows.
    pub(crate) row_stride: usize,
}

fn last_index(offset: usize, rows: usize, row_stride: usize, cols: usize, col_stride: usize) -> usize {
    offset + (rows - 1) * row_stride + (cols - 1) * col_stride
}

/// Computes `dst = scale · lhs rhs`, or adds to `dst`; `lhs` is (m, k), `rhs` is (k, n), `dst` is (m, n).
///
/// # Panics
/// When a matrix does not lie inside its slice: a defect of the caller, never of input.
pub(crate) fn gemm(dst: &mut MatMut<'_>, lhs: MatRef<'_>, rhs: MatRef<'_>, size: [usize; 3], scale: f32, add: bool) {
    let [m, n, k] = size;
    if m == 0 || n == 0 || k == 0 {
        return;
    }
    assert!(lhs.holds(m, k) && rhs.holds(k, n), "an operand of {size:?} is outside its slice");
    assert!(
        last_index(dst.offset, m, dst.row_stride, n, 1) < dst.data.len(),
        "the result of {size:?} is outside its slice"
    );
    assert!(m == 1 || dst.row_stride >= n, "rows of the result overlap");
    let stride = |n: usize| isize::try_from(n).expect("strides of slices fit");
    #[expect(unsafe_code, reason = "the product of the gemm crate takes pointers")]
    // SAFETY: the assertions above keep every element that is read or written inside its slice; `dst` is borrowed
    // mutably, so it overlaps neither operand, and its rows do not overlap each other.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            dst.data.as_mut_ptr().add(dst.offset),
            1,
            stride(dst.row_stride),
            add,
            lhs.data.as_ptr().add(lhs.offset),
            stride(lhs.col_stride),
            stride(lhs.row_stride),
            rhs.data.as_ptr().add(rhs.offset),
            stride(rhs.col_stride),
            stride(rhs.row_stride),
            1.0,
            scale,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn safe(lhs: &[f32], rhs: &[f32], [m, n, k]: [usize; 3]) -> Vec<f32> {
        let cell = |i: usize, j: usize| (0..k).map(|x| lhs[i * k + x] * rhs[x * n + j]).sum::<f32>();
        (0..m * n).map(|at| cell(at / n, at % n)).collect()
    }

    proptest! {
        #[test]
        fn equals_the_safe_path(m in 1usize..9, n in 1usize..9, k in 1usize..9, pad in 0usize..3, add in any::<bool>()) {
            let lhs: Vec<f32> = (0..m * k).map(|i| i as f32 * 0.25 - 1.0).collect();
            let rhs: Vec<f32> = (0..k * n).map(|i| 1.0 - i as f32 * 0.5).collect();
            let transposed: Vec<f32> = (0..k * n).map(|at| rhs[at % k * n + at / k]).collect();
            let mut out = vec![1f32; pad + m * (n + pad)];
            let mut dst = MatMut { data: &mut out, offset: pad, row_stride: n + pad };
            gemm(&mut dst, MatRef::new(&lhs, 0, k), MatRef::new(&transposed, 0, k).transposed(), [m, n, k], 2.0, add);
            for (at, expected) in safe(&lhs, &rhs, [m, n, k]).into_iter().enumerate() {
                let found = out[pad + at / n * (n + pad) + at % n];
                prop_assert!((found - 2.0 * expected - f32::from(add)).abs() < 1e-4);
            }
        }
    }

    #[test]
    #[should_panic(expected = "outside its slice")]
    fn an_operand_outside_its_slice_panics() {
        let mut out = vec![0f32; 4];
        let mut dst = MatMut { data: &mut out, offset: 0, row_stride: 2 };
        gemm(&mut dst, MatRef::new(&[1.0; 3], 0, 2), MatRef::new(&[1.0; 4], 0, 2), [2, 2, 2], 1.0, false);
    }
}
