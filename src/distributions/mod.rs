//! What a distribution has and what two have between them: entropy, cross-entropy, divergences. One file each: formula,
//! gradient, special values, kernel, oracle. This page holds the socket they plug into.
//!
//! A [`Measure`] is a sum over classes of a function of `p_k` and `q_k`. It says what a register of classes adds; where
//! the registers come from is the business of [`probabilities`] (numbers that must be distributions), of [`logits`]
//! (whose softmax is), and, a row a lane, of [`across`] for rows of few classes of either. So each formula stands once, and
//! is right for all: whatever would cancel in it is handed to it ready-made ([`At`]), by probabilities from the numbers
//! themselves, by logits from the margin-exact log-partition.

pub(crate) mod across;
mod cross_entropy;
mod entropy;
mod js_divergence;
mod kl_divergence;
pub(crate) mod logits;
pub(crate) mod probabilities;
#[cfg(test)]
mod tests;

pub(crate) use cross_entropy::CrossEntropy;
pub(crate) use entropy::Entropy;
pub(crate) use js_divergence::JsDivergence;
pub(crate) use kl_divergence::KlDivergence;

use crate::math::Real;
use crate::simd::Simd;

/// A register of classes: their probabilities in one or two distributions, and what must not be computed from rounded ones.
#[derive(Clone, Copy)]
pub(crate) struct At<V> {
    /// The first distribution, times 2^DIGITS, so that no probability is subnormal. Whatever is a sum of multiples of
    /// probabilities is so much larger.
    pub(crate) p: V,
    /// The second, likewise; the first again where there is but one.
    pub(crate) q: V,
    /// `q - p`, right to the last digits where the two are nearly equal.
    pub(crate) difference: V,
    /// `p ln(p / q) - p + q`, as right; +inf where `p > 0 = q`.
    pub(crate) excess: V,
    /// `ln(q / p)`, as right: also where logits tell apart what as probabilities would underflow.
    pub(crate) log_ratio: V,
    /// `-ln p`. Of logits it lacks the row's `ln(1 + rest)`, which [`Measure::finish`] gets.
    pub(crate) p_cost: V,
    /// `p` times it, 0 where `p` is.
    pub(crate) p_term: V,
    /// `-ln q`, likewise.
    pub(crate) q_cost: V,
}

/// What a row of logits knows beyond the sum over its classes, or a register of rows; all 0 for probabilities.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Facts<V> {
    /// `sum_k (q_k - p_k)`: how far the rounded log-partitions are off.
    pub(crate) excess: V,
    /// What `p_cost` lacks.
    pub(crate) p_partition: V,
    /// What `q_cost` lacks.
    pub(crate) q_partition: V,
}

/// A function of one distribution, or of two, that is a sum over classes.
///
/// All of them are 0 for a register of classes that neither distribution has: the filler of a partial one.
pub(crate) trait Measure<T: Real>: Copy + Sync {
    /// Whether there is a second distribution.
    const PAIR: bool;

    /// What the classes add, in nats.
    fn term<S: Simd<T>>(self, s: S, at: At<S::V>) -> S::V;

    /// The derivatives of the sum with respect to `p_k` and `q_k`, each a free variable.
    fn slopes<S: Simd<T>>(self, s: S, at: At<S::V>) -> [S::V; 2];

    /// The derivatives times `p_k` and `q_k`, but for a multiple of these that is the same for all classes; never infinite
    /// times zero. Softmax makes `flow_k - p_k sum(flow)` the gradient with respect to the logits, whatever the multiple.
    fn flows<S: Simd<T>>(self, s: S, at: At<S::V>) -> [S::V; 2];

    /// The value of a row, in nats, from the sum over its classes.
    fn finish(self, sum: f64, row: Facts<f64>) -> f64;

    /// The same of a register of rows.
    fn finish_across<S: Simd<T>>(self, s: S, sum: S::V, rows: Facts<S::V>) -> S::V;
}

/// `v`, but 0 where `p` is.
#[inline(always)]
fn zero_with<T: Real, S: Simd<T>>(s: S, p: S::V, v: S::V) -> S::V {
    use crate::simd::Lanes;
    let zero = s.splat(T::ZERO);
    S::V::select(p.eq(zero), zero, v)
}
