//! One file per loss: formula, kernel, oracle, tests. This page holds the two sockets that a loss plugs into.
//!
//! - [`RowLoss`]: mutually exclusive classes, the softmax family; one row of logits and its target.
//! - [`PointLoss`]: independent labels, the sigmoid family; one logit and its target, a register of them at a time.
//!
//! [`GaussianNll`], with two predictions a point, has neither: `api/gaussian.rs` calls it.

mod gaussian_nll;
mod sigmoid_cross_entropy;
mod softmax_cross_entropy;

pub use gaussian_nll::{GaussianNll, Spread};
pub use sigmoid_cross_entropy::SigmoidCrossEntropy;
pub use softmax_cross_entropy::SoftmaxCrossEntropy;

use crate::columns::Columns;
use crate::math::Real;
use crate::simd::{MAX_LANES, RowIo, Simd};

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

    /// Whether [`value_across`](Self::value_across) takes rows of so many classes.
    fn goes_across(&self, classes: usize) -> bool;

    /// The losses of a group of rows.
    fn value_across<S: Simd<T>>(&self, s: S, columns: &mut Columns<S::V>, group: &Group<T, S::V>) -> S::V;

    /// The losses, and their gradients over a divisor, which are written to the rows of `grad`.
    fn value_and_grad_across<S: Simd<T>>(
        &self,
        s: S,
        columns: &mut Columns<S::V>,
        group: &Group<T, S::V>,
        divisor: T,
        grad: &mut [T],
    ) -> S::V;
}

/// As many rows as a register has lanes, or fewer: the lanes left over count for nothing.
#[derive(Clone, Copy, Debug)]
pub struct Group<T, V> {
    pub(crate) rows: usize,
    pub(crate) classes: [usize; MAX_LANES],
    /// The weight of each row: that of its sample, or 0 where it is ignored.
    pub(crate) weights: [T; MAX_LANES],
    /// The logit of each row's class.
    pub(crate) logit: V,
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
