//! Targets in half precision, which are widened one block at a time.

use crate::simd::Isa;
use crate::storage::Storage;
use crate::view::Rows;
use std::fmt::Debug;

/// Rows of numbers whose storage type may differ from `T`, the type of the computation.
pub trait StoredRows<T>: Debug + Sync {
    /// The number of rows and the length of a row.
    fn shape(&self) -> [usize; 2];

    /// Calls `f` once, with `rows` rows from row `first` on, as numbers of type `T`.
    fn widened(&self, isa: Isa, first: usize, rows: usize, f: &mut dyn FnMut(Rows<'_, T>));
}

impl<S: Storage> StoredRows<S::Real> for Rows<'_, S> {
    fn shape(&self) -> [usize; 2] {
        [self.rows(), self.columns()]
    }

    fn widened(&self, isa: Isa, first: usize, rows: usize, f: &mut dyn FnMut(Rows<'_, S::Real>)) {
        S::widened(isa, self.part(first, rows), f);
    }
}

/// Calls `f` with `rows` rows from row `first` on, and returns its result.
pub(super) fn widened<T, R>(
    stored: &dyn StoredRows<T>,
    isa: Isa,
    first: usize,
    rows: usize,
    f: impl FnOnce(Rows<'_, T>) -> R,
) -> R {
    let (mut f, mut result) = (Some(f), None);
    stored.widened(isa, first, rows, &mut |rows| result = f.take().map(|f| f(rows)));
    result.expect("rows are handed over once")
}
