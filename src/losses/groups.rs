//! The socket of losses that take several rows of few classes at a time, a row a lane.

use crate::columns::{ColumnSums, Columns};
use crate::math::Real;
use crate::simd::{Lanes, Simd};

/// As many rows as a register has lanes, or fewer: the lanes left over count for nothing.
#[derive(Clone, Copy, Debug)]
pub struct Group<V> {
    pub(crate) rows: usize,
    /// The class of each row, a whole number; -1 where it is ignored, or has a distribution.
    pub(crate) class: V,
    /// The weight of each row: that of its sample, or 0 where it is ignored.
    pub(crate) weight: V,
    /// `sum_k u_k` of a distribution; 1 of a class.
    pub(crate) total: V,
    /// `sum_k u_k (max z - z_k)` of a distribution, or `sum_k u_k cost_k`; of a class `sum_k (max z - z_k)`, where the loss
    /// wants it.
    pub(crate) gaps: V,
    pub(crate) sums: ColumnSums<V>,
}

impl<V: Copy> Group<V> {
    /// No rows.
    #[inline(always)]
    pub(crate) fn none<T: Real, S: Simd<T, V = V>>(s: S) -> Self
    where
        V: Lanes<T>,
    {
        let zero = s.splat(T::ZERO);
        let sums = ColumnSums::none(s);
        Group { rows: 0, class: zero, weight: zero, total: zero, gaps: zero, sums }
    }
}

/// A loss of groups of rows: with classes, or, where these are soft, with distributions, which are made weights of the
/// classes. One that takes no groups leaves all as it is here.
pub trait GroupLoss<T: Real>: Sync {
    /// Whether [`value_across`](Self::value_across) takes rows with classes, of so many.
    #[inline(always)]
    fn goes_across(&self, _classes: usize) -> bool {
        false
    }

    /// Whether a group of rows needs the sums of its gaps.
    #[inline(always)]
    fn wants_gaps(&self) -> bool {
        false
    }

    /// Whether [`weigh_across`](Self::weigh_across) takes distributions over so many classes.
    #[inline(always)]
    fn weighs_across(&self, _classes: usize) -> bool {
        false
    }

    /// Whether a class is taken as a distribution where rows go across.
    #[inline(always)]
    fn spreads_classes(&self) -> bool {
        false
    }

    /// Whether the loss is made of exponentials; else [`costs_across`](Self::costs_across) tells it of rows that go across.
    #[inline(always)]
    fn sums_exponentials(&self) -> bool {
        true
    }

    /// `sum_k u_k cost_k` of a group of rows.
    #[inline(always)]
    fn costs_across<S: Simd<T>>(&self, s: S, _inputs: &Columns<'_, T>, _weights: &Columns<'_, T>) -> S::V {
        s.splat(T::NAN)
    }

    /// Whether [`reweigh_across`](Self::reweigh_across) does anything.
    #[inline(always)]
    fn reweighs(&self) -> bool {
        false
    }

    /// Makes of the weights of a group of rows, whose logits have been summed, others, and of their total and their gaps.
    #[inline(always)]
    fn reweigh_across<S: Simd<T>>(
        &self,
        _: S,
        _logits: &Columns<'_, T>,
        _exponentials: &Columns<'_, T>,
        _weights: &mut Columns<'_, T>,
        _: &mut Group<S::V>,
    ) {
    }

    /// Makes of the distributions of a group of rows the weights `u` of their classes, and tells the sums of these.
    #[inline(always)]
    fn weigh_across<S: Simd<T>>(&self, s: S, _targets: &mut Columns<'_, T>) -> S::V {
        s.splat(T::NAN)
    }

    /// The losses of a group of rows, from their sums; asked for only where [`goes_across`](Self::goes_across) holds.
    #[inline(always)]
    fn value_across<S: Simd<T>>(&self, s: S, _: &Group<S::V>) -> S::V {
        s.splat(T::NAN)
    }

    /// The losses, and their gradients over a divisor, which are made of the exponentials and written to the rows of `grad`.
    #[inline(always)]
    fn value_and_grad_across<S: Simd<T>>(
        &self,
        s: S,
        _exponentials: &mut Columns<'_, T>,
        group: &Group<S::V>,
        _divisor: T,
        grad: &mut [T],
    ) -> S::V {
        grad.fill(T::NAN);
        self.value_across(s, group)
    }

    /// The same as [`value_across`](Self::value_across), of rows with distributions.
    #[inline(always)]
    fn soft_value_across<S: Simd<T>>(&self, s: S, _: &Group<S::V>) -> S::V {
        s.splat(T::NAN)
    }

    /// The same as [`value_and_grad_across`](Self::value_and_grad_across), of rows with distributions, and the weights that these
    /// give the classes.
    #[inline(always)]
    fn soft_value_and_grad_across<S: Simd<T>>(
        &self,
        s: S,
        _exponentials: &mut Columns<'_, T>,
        _weights: &Columns<'_, T>,
        group: &Group<S::V>,
        _divisor: T,
        grad: &mut [T],
    ) -> S::V {
        grad.fill(T::NAN);
        self.soft_value_across(s, group)
    }
}
