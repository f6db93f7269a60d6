//! Targets in half precision, which are widened a block at a time.

use crate::simd::Isa;
use crate::storage::Storage;
use crate::view::Rows;
use std::fmt::Debug;

/// Rows of numbers that are stored in one type and computed with as `T`.
pub trait StoredRows<T>: Debug + Sync {
    /// How many rows there are, and how long a row is.
    fn shape(&self) -> [usize; 2];

    /// Hands `f` the rows from row `first` on, as numbers of type `T`. `f` runs once.
    fn widened(&self, isa: Isa, first: usize, rows: usize, f: &mut dyn FnMut(Rows<'_, T>));
}

impl<S: Storage> StoredRows<S::Real> for Rows<'_, S> {
    fn shape(&self) -> [usize; 2] {
        [self.rows(), self.classes()]
    }

    fn widened(&self, isa: Isa, first: usize, rows: usize, f: &mut dyn FnMut(Rows<'_, S::Real>)) {
        S::widened(isa, self.part(first, rows), f);
    }
}

/// What `f` makes of the rows from row `first` on.
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
