//! One of the two distributions of a row, and the place for its gradient.

use crate::math::Real;
use crate::simd::{RowIo, Simd, inlined};
use crate::view::{Rows, RowsIo};

/// One of the two distributions of a block of rows, as the kernels get it.
pub(super) enum Side<'k, T> {
    Each(RowsIo<'k, T>),
    Sum {
        row: &'k [T],
        total: &'k mut [f64],
    },
    /// No gradient is wanted.
    None(Rows<'k, T>),
}

impl<T: Real> Side<'_, T> {
    /// A row, and the place for its gradient: `scratch` where gradients are summed.
    #[inline(always)]
    pub(super) fn row<'r>(&'r mut self, i: usize, scratch: &'r mut [T]) -> RowIo<'r, T> {
        match self {
            Side::Each(rows) => rows.row(i, scratch),
            Side::Sum { row, .. } => RowIo::new(row, scratch),
            Side::None(rows) => RowIo::new(rows.row(i), scratch),
        }
    }

    /// The input from row `i` on, and the stride of the rows.
    #[inline(always)]
    pub(super) fn from(&self, i: usize) -> (&[T], usize) {
        match self {
            Side::Each(rows) => rows.from(i),
            Side::Sum { row, .. } => (row, 0),
            Side::None(rows) => rows.from(i),
        }
    }

    /// The places for the gradients from row `i` on: `scratch` where gradients are summed.
    #[inline(always)]
    pub(super) fn places<'r>(&'r mut self, i: usize, scratch: &'r mut [T]) -> &'r mut [T] {
        match self {
            Side::Each(rows) => {
                let classes = rows.columns();
                &mut rows.target()[i * classes..]
            }
            Side::Sum { .. } | Side::None(_) => scratch,
        }
    }

    /// Adds the gradient of a row to the sums, if gradients are summed.
    #[inline(always)]
    pub(super) fn add(&mut self, scratch: &[T]) {
        if let Side::Sum { total, .. } = self {
            for (total, grad) in total.iter_mut().zip(scratch) {
                *total += grad.to_f64();
            }
        }
    }
}

/// Multiplies the gradient of a row.
#[inline(always)]
pub(super) fn scale<T: Real, S: Simd<T>>(s: S, row: &mut RowIo<'_, T>, factor: f64) {
    if factor != 1.0 {
        s.call(inlined!(|s| {
            let factor = s.splat(T::from_f64(factor));
            RowIo::in_place(row.output()).map(s, T::ZERO, inlined!(|_, v| v * factor));
        }));
    }
}
