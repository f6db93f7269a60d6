//! One file per loss: formula, kernel, oracle, tests. This page holds the two sockets that a loss plugs into.
//!
//! - [`RowLoss`]: mutually exclusive classes, the softmax family; one row of logits and its target.
//! - [`PointLoss`]: independent labels, the sigmoid family; one logit and its target, a register of them at a time.

mod categorical_cross_entropy;
mod js_smoothness;
mod parity_penalty;
mod sigmoid_cross_entropy;
mod softmax_cross_entropy;
mod softmax_stats;

pub use categorical_cross_entropy::CategoricalCrossEntropy;
pub(crate) use js_smoothness::Position;
pub use parity_penalty::Link;
pub(crate) use parity_penalty::{Chosen, GroupSum, penalty};
pub use sigmoid_cross_entropy::SigmoidCrossEntropy;
pub use softmax_cross_entropy::SoftmaxCrossEntropy;
pub(crate) use softmax_stats::{RowStats, row_stats};

use crate::columns::{ColumnSums, Columns};
use crate::math::Real;
use crate::rows::row_total;
use crate::simd::{Lanes, RowIo, Simd, read};

/// What a row of logits is held against.
#[derive(Clone, Copy, Debug)]
pub enum RowTarget<'a, T> {
    /// A class, checked to be one of the row's.
    Class(usize),
    /// A distribution over the row's classes.
    Distribution(&'a [T]),
}

/// A loss of one row of logits.
pub trait RowLoss<T: Real>: Sync {
    /// Whether [`weight`](Self::weight) is 1 for every class.
    fn classes_are_equal(&self) -> bool;

    /// What the row adds to the divisor of the mean.
    fn weight<S: Simd<T>>(&self, s: S, target: RowTarget<'_, T>) -> f64;

    /// The loss, in nats.
    fn value<S: Simd<T>>(&self, s: S, logits: &[T], target: RowTarget<'_, T>) -> f64;

    /// The loss, and `scale` times its gradient, which is written to the row.
    fn value_and_grad<S: Simd<T>>(&self, s: S, row: &mut RowIo<'_, T>, target: RowTarget<'_, T>, scale: f64) -> f64;

    /// Whether some numbers are no logits of this loss, and [`outside`](Self::outside) finds them.
    #[inline(always)]
    fn has_domain(&self) -> bool {
        false
    }

    /// The place of the first number of a row that is read and lies outside the domain; NaN does not.
    #[inline(always)]
    fn outside<S: Simd<T>>(&self, _: S, _logits: &[T], _target: RowTarget<'_, T>) -> Option<usize> {
        None
    }

    /// Whether [`value_across`](Self::value_across) takes rows of so many classes.
    #[inline(always)]
    fn goes_across(&self, _classes: usize) -> bool {
        false
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
}

/// `sum_k w_k t_k`: what a row adds to the divisor of the mean.
#[inline(always)]
pub(crate) fn total_weight<T: Real, S: Simd<T>>(s: S, target: RowTarget<'_, T>, class_weight: Option<&[T]>) -> f64 {
    match (target, class_weight) {
        (RowTarget::Class(_), None) => 1.0,
        (RowTarget::Class(y), Some(w)) => w[y].to_f64(),
        (RowTarget::Distribution(t), None) => row_total(
            s,
            t,
            T::ZERO,
            #[inline(always)]
            |_, t| t,
        ),
        (RowTarget::Distribution(t), Some(w)) => row_total(
            s,
            t,
            T::ZERO,
            #[inline(always)]
            |k, t| t * read(s, w, k, T::ZERO),
        ),
    }
}

/// As many rows as a register has lanes, or fewer: the lanes left over count for nothing.
#[derive(Clone, Copy, Debug)]
pub struct Group<V> {
    pub(crate) rows: usize,
    /// The class of each row, a whole number; -1 where it is ignored.
    pub(crate) class: V,
    /// The weight of each row: that of its sample, or 0 where it is ignored.
    pub(crate) weight: V,
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
        Group { rows: 0, class: zero, weight: zero, sums: ColumnSums::none(s) }
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
