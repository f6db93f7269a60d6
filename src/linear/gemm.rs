//! Products of matrices on the calling thread: the only file that names the crates of `gemm`. Those of the two real
//! types are called; the crate that stands before them brings complex numbers and half precision too.
//!
//! A matrix is a view with two strides, so that transposes and blocks need no copy. A result is cut into disjoint
//! blocks, which threads fill in parallel. Their size depends on the shape alone, and so do the bits.

use crate::memory;
use crate::simd::Float;
use crate::view::Rows;
use dyn_stack::{MemBuffer, StackReq};
use gemm_common::Parallelism;
use gemm_common::cache::CACHE_INFO;
use gemm_common::gemm::{CACHELINE_ALIGN, L2_SLAB};
use std::any::Any;
use std::cell::Cell;
use std::marker::PhantomData;
use std::ops::Range;

/// A matrix to read.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a, T> {
    data: *const T,
    shape: [usize; 2],
    strides: [usize; 2],
    numbers: PhantomData<&'a [T]>,
}

/// A matrix to write, or a block of one: it begins at row and column `start`.
pub(crate) struct MatrixMut<'a, T> {
    data: *mut T,
    start: [usize; 2],
    shape: [usize; 2],
    strides: [usize; 2],
    numbers: PhantomData<&'a mut [T]>,
}

// SAFETY: it stands for a part of a slice that is borrowed for `'a`, and a slice may be sent.
unsafe impl<T: Sync> Send for Matrix<'_, T> {}
// SAFETY: as above; a slice may be shared.
unsafe impl<T: Sync> Sync for Matrix<'_, T> {}
// SAFETY: as above; it is the only one with its numbers, since a matrix is only ever cut into disjoint blocks.
unsafe impl<T: Send> Send for MatrixMut<'_, T> {}

impl<'a, T: Float> Matrix<'a, T> {
    /// Rows with any stride.
    pub(crate) fn of(rows: Rows<'a, T>) -> Self {
        let (data, stride) = rows.from(0);
        let shape = [rows.rows(), rows.columns()];
        assert!(span(shape, [stride, 1]) <= data.len());
        Matrix { data: data.as_ptr(), shape, strides: [stride, 1], numbers: PhantomData }
    }

    /// Contiguous rows.
    pub(crate) fn packed(data: &'a [T], rows: usize, columns: usize) -> Self {
        Matrix::of(Rows::packed(data, rows, columns))
    }

    /// Its transpose.
    pub(crate) fn t(self) -> Self {
        let Matrix { shape: [rows, columns], strides: [row, column], .. } = self;
        Matrix { shape: [columns, rows], strides: [column, row], ..self }
    }

    /// Number of rows.
    pub(crate) fn len(self) -> usize {
        self.shape[0]
    }

    /// Number of columns.
    pub(crate) fn width(self) -> usize {
        self.shape[1]
    }

    /// Some of its rows.
    pub(crate) fn rows(self, rows: Range<usize>) -> Self {
        assert!(rows.start <= rows.end && rows.end <= self.shape[0], "rows of the matrix");
        let shape = [rows.len(), self.shape[1]];
        // SAFETY: the first number of a row that it has, or its own first.
        let data = unsafe { self.data.add(skipped(shape, rows.start * self.strides[0])) };
        Matrix { data, shape, ..self }
    }

    /// Some of its columns.
    pub(crate) fn columns(self, columns: Range<usize>) -> Self {
        self.t().rows(columns).t()
    }
}

impl<'a, T: Float> MatrixMut<'a, T> {
    /// Contiguous rows.
    pub(crate) fn packed(data: &'a mut [T], rows: usize, columns: usize) -> Self {
        assert!(span([rows, columns], [columns, 1]) <= data.len());
        let (shape, strides) = ([rows, columns], [columns, 1]);
        MatrixMut { data: data.as_mut_ptr(), start: [0, 0], shape, strides, numbers: PhantomData }
    }

    /// Its rows in the whole matrix.
    pub(crate) fn rows(&self) -> Range<usize> {
        self.start[0]..self.start[0] + self.shape[0]
    }

    /// Its columns in the whole matrix.
    pub(crate) fn columns(&self) -> Range<usize> {
        self.start[1]..self.start[1] + self.shape[1]
    }

    /// Disjoint blocks, which threads may fill in parallel. The longer side is cut: each block reads all of the operand
    /// along the shorter one.
    pub(crate) fn blocks(self) -> Vec<Self> {
        let side = usize::from(self.shape[1] > self.shape[0]);
        let len = self.shape[side];
        let even = len.div_ceil(MIN_BLOCKS.max(len.div_ceil(BLOCK))).max(1);
        let size = if even > WHOLE { even.next_multiple_of(WHOLE) } else { even };
        memory::list((0..len).step_by(size).map(|first| self.cut(side, first..len.min(first + size))))
    }

    /// Some of its columns.
    pub(crate) fn some_columns(&mut self, columns: Range<usize>) -> MatrixMut<'_, T> {
        self.cut(1, columns)
    }

    /// A part along one side. Parts that are alive at the same time must be disjoint.
    fn cut(&self, side: usize, part: Range<usize>) -> Self {
        assert!(part.start <= part.end && part.end <= self.shape[side], "a part of the matrix");
        let (mut start, mut shape) = (self.start, self.shape);
        start[side] += part.start;
        shape[side] = part.len();
        // SAFETY: the first number of a row or column that it has, or its own first.
        let data = unsafe { self.data.add(skipped(shape, part.start * self.strides[side])) };
        MatrixMut { data, start, shape, strides: self.strides, numbers: PhantomData }
    }

    /// Sets it to `lhs rhs`; if `adds`, adds that to it.
    pub(crate) fn product(&mut self, lhs: Matrix<'_, T>, rhs: Matrix<'_, T>, adds: bool) {
        let ([rows, columns], between) = (self.shape, lhs.shape[1]);
        assert!(lhs.shape[0] == rows && rhs.shape == [between, columns], "matrices that fit");
        if between > TERMS && (rows == 1 || columns == 1) {
            let mut part = memory::zeros(rows * columns);
            for first in (0..between).step_by(TERMS) {
                let terms = first..between.min(first + TERMS);
                let (lhs, rhs) = (lhs.columns(terms.clone()), rhs.rows(terms));
                MatrixMut::packed(&mut part, rows, columns).product(lhs, rhs, false);
                self.add(&part, adds || first > 0);
            }
            return;
        }
        if rows == 0 || columns == 0 || (between == 0 && adds) {
            return;
        }
        expect_memory((rows + columns + PACKED) * between.min(DEEP) * size_of::<T>());
        let kernel = kernel::<T>();
        // The kernel prefers results whose columns are contiguous, and the transposed product is as good.
        let ([rows, columns], [row, column], lhs, rhs) = if self.strides[1] < self.strides[0] {
            ([columns, rows], [self.strides[1], self.strides[0]], rhs.t(), lhs.t())
        } else {
            ([rows, columns], self.strides, lhs, rhs)
        };
        let stride = |stride: usize| stride as isize;
        // SAFETY: the constructors have checked that all numbers of the shapes lie inside borrowed slices. `self` is
        // borrowed for writing, so that no other view of its numbers is alive.
        unsafe {
            kernel(
                rows,
                columns,
                between,
                self.data,
                stride(column),
                stride(row),
                adds,
                lhs.data,
                stride(lhs.strides[1]),
                stride(lhs.strides[0]),
                rhs.data,
                stride(rhs.strides[1]),
                stride(rhs.strides[0]),
                T::ONE,
                T::ONE,
                false,
                false,
                false,
                Parallelism::None,
            );
        }
    }

    /// Sets a row or a column; if `adds`, adds to it.
    fn add(&mut self, part: &[T], adds: bool) {
        let stride = if self.shape[0] == 1 { self.strides[1] } else { self.strides[0] };
        assert!(self.shape.contains(&1) && self.shape[0] * self.shape[1] == part.len(), "a vector that fits");
        for (i, &x) in part.iter().enumerate() {
            // SAFETY: the matrix is one row or one column, with `part.len()` numbers.
            unsafe {
                let to = self.data.add(i * stride);
                *to = if adds { *to + x } else { x };
            }
        }
    }
}

/// A product on this processor: `dst = alpha dst + beta lhs rhs`. Its arguments: the shape, each matrix with the strides
/// of its columns and rows, whether `dst` is read, `alpha`, `beta`, three flags of complex numbers, and the threads.
#[rustfmt::skip]
type Kernel<T> = unsafe fn(
    usize, usize, usize,
    *mut T, isize, isize, bool,
    *const T, isize, isize,
    *const T, isize, isize,
    T, T,
    bool, bool, bool, Parallelism,
);

/// The product of numbers of this type.
fn kernel<T: Float>() -> Kernel<T> {
    let kernels: [&dyn Any; 2] = [&gemm_f32::gemm::f32::get_gemm_fn(), &gemm_f64::gemm::f64::get_gemm_fn()];
    let of_type = kernels.iter().find_map(|kernel| kernel.downcast_ref::<Kernel<T>>());
    #[expect(clippy::expect_used, reason = "`Float` has no other types")]
    *of_type.expect("numbers are f32 or f64")
}

/// Rows or columns of a block. The crate copies some 512 terms of each of them, into memory that it asks for in every call
/// and that older versions of glibc find again only after ten calls or more: blocks of 1024 took 23 MiB a thread, and
/// more time. See docs/decisions/linear.md.
const BLOCK: usize = 192;

/// A block is a multiple of this many rows or columns, the largest register, where it is larger: then one of the factors
/// need not be copied.
const WHOLE: usize = 16;

/// Length of a sum where the result is a vector. The crate does not sum in blocks there, and a sum of 70000 numbers in
/// single precision, one after the other, has a relative error of 4e-5.
const TERMS: usize = 1024;

/// The crate copies factors, at most so many terms of each row and column at a time, and some more columns than there are.
/// It aborts where there is no memory for them, so that is looked at before.
const DEEP: usize = 512;
const PACKED: usize = 1 << 10;

/// The least number of blocks of a matrix.
const MIN_BLOCKS: usize = 4;

/// Unwinds unless there is memory for the copies of a product. A thread's first product also gets what the crate keeps for each
/// thread, as many bytes as the second-level cache has; by itself the crate aborts where they are refused.
fn expect_memory(copies: usize) {
    thread_local! { static IS_FIRST: Cell<bool> = const { Cell::new(true) } }
    if IS_FIRST.get() {
        let bytes = CACHE_INFO[1].cache_bytes;
        match MemBuffer::try_new(StackReq::new_aligned::<u8>(bytes, CACHELINE_ALIGN)) {
            Ok(slab) => L2_SLAB.set(slab),
            Err(_) => memory::fail(bytes),
        }
        IS_FIRST.set(false);
    }
    memory::expect(copies);
}

/// Length of the slice that a matrix spans.
fn span([rows, columns]: [usize; 2], [row, column]: [usize; 2]) -> usize {
    if rows == 0 || columns == 0 { 0 } else { (rows - 1) * row + (columns - 1) * column + 1 }
}

/// Numbers of a matrix that stand before a part of it. A part without numbers may lie beyond those that the matrix has.
fn skipped(shape: [usize; 2], before: usize) -> usize {
    if shape.contains(&0) { 0 } else { before }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(len: usize) -> Vec<f64> {
        (0..len).map(|i| ((i * 37 % 101) as f64 - 50.0) / 8.0).collect()
    }

    #[test]
    #[cfg_attr(miri, ignore = "a sum of 100 000 numbers takes it minutes")]
    fn a_long_sum_keeps_its_digits_where_the_result_is_a_vector() {
        let k = 100_000;
        let (a, b) = (vec![0.1f32; k], vec![1.0f32; k * 2]);
        let mut dst = [f32::NAN; 2];
        MatrixMut::packed(&mut dst, 1, 2).product(Matrix::packed(&a, 1, k), Matrix::packed(&b, k, 2), false);
        assert!(dst.iter().all(|x| (x / 1e4 - 1.0).abs() < 1e-5), "{dst:?}");
    }

    /// What the crate copies of a block is as large as its cut side allows, whatever caches the processor reports.
    #[test]
    fn blocks_are_narrow_and_end_with_whole_registers() {
        for (rows, columns) in [(192, 50_257), (50_257, 768), (192, 768), (1000, 70), (3, 5), (1, 1), (17, 4096)] {
            let mut dst = vec![0f32; rows * columns];
            let (side, mut end) = (usize::from(columns > rows), 0);
            for block in MatrixMut::packed(&mut dst, rows, columns).blocks() {
                let [cut, other] =
                    if side == 0 { [block.rows(), block.columns()] } else { [block.columns(), block.rows()] };
                assert_eq!((cut.start, other.len()), (end, rows.min(columns)), "{rows} {columns}");
                assert!(cut.len() <= BLOCK, "{rows} {columns}: {cut:?}");
                let is_last = cut.end == rows.max(columns);
                assert!(is_last || cut.len() < WHOLE || cut.len().is_multiple_of(WHOLE), "{rows} {columns}: {cut:?}");
                end = cut.end;
            }
            assert_eq!(end, rows.max(columns));
        }
    }

    /// Products of whole numbers of eighths are exact, in any order.
    #[test]
    fn blocks_fill_the_whole_product_and_nothing_else() {
        // Of few terms the crate clears a list of 100 000 blocks in each product, for which Miri takes seconds.
        let (tall, wide, few, many) = if cfg!(miri) { (3, 10, 64, 1030) } else { (3000, 5000, 2, 2500) };
        for (m, n, k) in [
            (1, 1, 1),
            (5, 7, few + 1),
            (tall, 2, few + 2),
            (3, wide, few),
            (tall.min(33), 65, 17),
            (1, 3, many),
            (3, 1, many),
            (4, 4, 0),
            (0, 3, 2),
            (3, 0, 2),
            (0, 1, many),
            (1, 0, many),
        ] {
            let (a, b) = (numbers(m * (k + 2)), numbers(k * n));
            let rows =
                Rows::with_stride("a", &a[..if m == 0 { 0 } else { (m - 1) * (k + 2) + k }], m, k, k + 2).unwrap();
            let (lhs, rhs) = (Matrix::of(rows), Matrix::of(Rows::packed(&b, k, n)));
            let truth = |i: usize, j: usize| (0..k).map(|p| a[i * (k + 2) + p] * b[p * n + j]).sum::<f64>();
            for adds in [false, true] {
                let mut dst = vec![if adds { 1.0 } else { f64::NAN }; m * n];
                for mut block in MatrixMut::packed(&mut dst, m, n).blocks() {
                    let (rows, columns) = (block.rows(), block.columns());
                    block.product(lhs.rows(rows), rhs.columns(columns), adds);
                }
                for (at, &got) in dst.iter().enumerate() {
                    assert_eq!(got, truth(at / n, at % n) + f64::from(u8::from(adds)), "{m} {n} {k} {at}");
                }
            }
            // The transposed product, in transposed roles, a few columns at a time.
            let mut dst = vec![0.0; m * n];
            let mut whole = MatrixMut::packed(&mut dst, n, m);
            for j in 0..m {
                whole.some_columns(j..j + 1).product(rhs.t(), lhs.rows(j..j + 1).t(), true);
            }
            assert!((0..m * n).all(|at| dst[at] == truth(at % m, at / m)));
        }
    }
}
