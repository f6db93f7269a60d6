//! One file per loss: formula, kernel, oracle, tests. This page holds the two sockets that a loss plugs into.
//!
//! - [`RowLoss`]: mutually exclusive classes, the softmax family; one row of logits and its target.
//! - [`PointLoss`]: independent labels, the sigmoid family; one logit and its target, a register of them at a time.

mod sigmoid_cross_entropy;
mod softmax_cross_entropy;

pub use sigmoid_cross_entropy::SigmoidCrossEntropy;
pub use softmax_cross_entropy::SoftmaxCrossEntropy;

use crate::math::Real;
use crate::simd::{RowIo, Simd};

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
    /// What the row adds to the divisor of the mean.
    fn weight<S: Simd<T>>(&self, s: S, target: RowTarget<'_, T>) -> f64;

    /// The loss, in nats.
    fn value<S: Simd<T>>(&self, s: S, logits: &[T], target: RowTarget<'_, T>) -> f64;

    /// The loss, and `scale` times its gradient, which is written to the row.
    fn value_and_grad<S: Simd<T>>(&self, s: S, row: &mut RowIo<'_, T>, target: RowTarget<'_, T>, scale: f64) -> f64;
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
