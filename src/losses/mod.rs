//! One file per loss: formula, kernel, oracle, tests. This page holds the two sockets that a loss plugs into.
//!
//! - [`RowLoss`]: mutually exclusive classes, the softmax family; one row of logits and its target.
//! - [`PointLoss`]: independent labels, the sigmoid family; one logit and its target, a register of them at a time.

mod logit_map;
mod row_weights;
mod sigmoid_cross_entropy;
mod softmax_cross_entropy;
mod softmax_focal_loss;

pub use sigmoid_cross_entropy::SigmoidCrossEntropy;
pub use softmax_cross_entropy::SoftmaxCrossEntropy;
pub use softmax_focal_loss::SoftmaxFocalLoss;

pub(crate) use logit_map::LogitMap;

use crate::columns::{ColumnSums, Columns};
use crate::math::Real;
use crate::simd::{Lanes, RowIo, Simd};
use crate::sparse::Pairs;

/// What a row of logits is held against.
#[derive(Clone, Copy, Debug)]
pub enum RowTarget<'a, T> {
    /// A class, checked to be one of the row's.
    Class(usize),
    /// A distribution over the row's classes.
    Distribution(&'a [T]),
    /// A distribution over few of the row's classes.
    Sparse(Pairs<'a, T>),
}

/// A loss of one row of logits.
pub trait RowLoss<T: Real>: Sync {
    /// What becomes of the logits before the loss sees them.
    #[inline(always)]
    fn logit_map(&self) -> LogitMap<T> {
        LogitMap::identity()
    }

    /// Whether a sparse target must be made dense first.
    fn wants_dense_targets(&self) -> bool {
        false
    }

    /// Whether [`weight`](Self::weight) is 1 for every class.
    fn classes_are_equal(&self) -> bool;

    /// What the row adds to the divisor of the mean.
    fn weight<S: Simd<T>>(&self, s: S, target: RowTarget<'_, T>) -> f64;

    /// The loss, in nats.
    fn value<S: Simd<T>>(&self, s: S, logits: &[T], target: RowTarget<'_, T>) -> f64;

    /// The loss, and `scale` times its gradient, which is written to the row.
    fn value_and_grad<S: Simd<T>>(&self, s: S, row: &mut RowIo<'_, T>, target: RowTarget<'_, T>, scale: f64) -> f64;

    /// Whether [`value_across`](Self::value_across) takes rows of so many classes.
    fn goes_across(&self, classes: usize) -> bool;

    /// Whether a group of rows needs the sums of its gaps.
    #[inline(always)]
    fn wants_gaps(&self) -> bool {
        false
    }

    /// The losses of a group of rows, from their sums.
    fn value_across<S: Simd<T>>(&self, s: S, group: &Group<S::V>) -> S::V;

    /// The losses, and their gradients over a divisor, which are made of the exponentials and written to the rows of `grad`.
    fn value_and_grad_across<S: Simd<T>>(
        &self,
        s: S,
        exponentials: &mut Columns<'_, T>,
        group: &Group<S::V>,
        divisor: T,
        grad: &mut [T],
    ) -> S::V;
}

/// A loss of one row of logits that tells the diagonal of its Hessian too.
pub trait CurvedRowLoss<T: Real>: RowLoss<T> {
    /// `scale` times the diagonal of the Hessian, which is written to `hess`.
    fn hess<S: Simd<T>>(&self, s: S, logits: &[T], target: RowTarget<'_, T>, scale: f64, hess: &mut [T]);
}

/// As many rows as a register has lanes, or fewer: the lanes left over count for nothing.
#[derive(Clone, Copy, Debug)]
pub struct Group<V> {
    pub(crate) rows: usize,
    /// The class of each row, a whole number; -1 where it is ignored.
    pub(crate) class: V,
    /// The weight of each row: that of its sample, or 0 where it is ignored.
    pub(crate) weight: V,
    /// `sum_k (max z - z_k)`, where the loss wants it.
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
        Group { rows: 0, class: zero, weight: zero, gaps: zero, sums: ColumnSums::none(s) }
    }
}

/// A loss of one logit.
pub trait PointLoss<T: Real>: Sync {
    /// The losses of a register of logits, in nats; `point` counts them from the start of a row.
    ///
    /// A logit of -inf with target 0 costs nothing: that is what a partial register is filled up with.
    fn value<S: Simd<T>>(&self, s: S, point: usize, logit: S::V, target: S::V) -> S::V;

    /// The losses and their derivatives.
    fn value_and_grad<S: Simd<T>>(&self, s: S, point: usize, logit: S::V, target: S::V) -> (S::V, S::V);
}
