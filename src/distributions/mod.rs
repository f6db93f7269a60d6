//! Entropy, cross-entropy and divergences. One file each: formula, gradient, special values, kernel, oracle. This page
//! holds the trait that they implement.
//!
//! A [`ClassSum`] is a sum over classes of a function of `p_k` and `q_k`. It computes the terms of a register of
//! classes. The registers come from [`probabilities`] (rows that must be distributions), from [`logits`] (rows whose
//! softmax are the distributions), or, for rows of few classes, from [`by_lane`], a row a lane. So each formula stands
//! once and serves all three. Quantities that would cancel in it are passed in ([`Class`]): probabilities compute them
//! from the numbers themselves, logits from the margin-exact log-partition.

pub(crate) mod by_lane;
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

/// A [`ClassSum`] that is chosen at run time.
#[derive(Clone, Copy, Debug)]
pub(crate) enum AnyClassSum {
    Entropy(Entropy),
    CrossEntropy(CrossEntropy),
    KlDivergence(KlDivergence),
    JsDivergence(JsDivergence),
}

impl AnyClassSum {
    /// See [`ClassSum::PAIR`].
    #[inline(always)]
    pub(crate) fn is_pair(self) -> bool {
        !matches!(self, AnyClassSum::Entropy(_))
    }
}

/// Evaluates an expression with the [`ClassSum`], as a separate function. What does not depend on it stands around this
/// and is compiled once.
macro_rules! with_class_sum {
    ($s:ident, $any:expr, $class_sum:ident => $result:expr) => {
        match $any {
            AnyClassSum::Entropy($class_sum) => $s.call(inlined!(|$s| $result)),
            AnyClassSum::CrossEntropy($class_sum) => $s.call(inlined!(|$s| $result)),
            AnyClassSum::KlDivergence($class_sum) => $s.call(inlined!(|$s| $result)),
            AnyClassSum::JsDivergence($class_sum) => $s.call(inlined!(|$s| $result)),
        }
    };
}
pub(crate) use with_class_sum;

/// A register of classes: their probabilities in one or two distributions, and the functions of them that lose digits
/// when they are computed from rounded probabilities.
#[derive(Clone, Copy)]
pub(crate) struct Class<V> {
    /// The first distribution, times 2^DIGITS, so that no probability is subnormal. All sums of multiples of
    /// probabilities have this factor.
    pub(crate) p: V,
    /// The second distribution, likewise; equal to `p` where there is only one.
    pub(crate) q: V,
    /// `q - p`, accurate also where the two are nearly equal.
    pub(crate) difference: V,
    /// `p ln(p / q) - p + q`, as accurate; +inf where `p > 0 = q`.
    pub(crate) excess: V,
    /// `ln(q / p)`, as accurate; for logits also where the probabilities underflow.
    pub(crate) log_ratio: V,
    /// `-ln p`. For logits it lacks the row's `ln(1 + rest)`, which [`ClassSum::finish`] adds.
    pub(crate) p_cost: V,
    /// `p p_cost`; 0 where `p = 0`.
    pub(crate) p_term: V,
    /// `-ln q`, likewise.
    pub(crate) q_cost: V,
}

/// Terms of a row of logits, or of a register of rows, that are not part of the sum over classes; all 0 for
/// probabilities.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RowTerms<V> {
    /// `sum_k (q_k - p_k)`: the relative error of the rounded log-partitions.
    pub(crate) excess: V,
    /// `ln(1 + rest)` of `p`, which `p_cost` lacks.
    pub(crate) p_partition: V,
    /// `ln(1 + rest)` of `q`, which `q_cost` lacks.
    pub(crate) q_partition: V,
}

/// A function of one or two distributions that is a sum over classes.
///
/// Terms and slopes are 0 for classes with `p = q = 0`, with which the last, partial register of a row is filled.
pub(crate) trait ClassSum<T: Real>: Copy + Sync {
    /// Whether there is a second distribution.
    const PAIR: bool;

    /// The terms of the classes, in nats.
    fn term<S: Simd<T>>(self, s: S, class: Class<S::V>) -> S::V;

    /// The derivatives of the sum with respect to `p_k` and `q_k`, each a free variable.
    fn slopes<S: Simd<T>>(self, s: S, class: Class<S::V>) -> [S::V; 2];

    /// The derivatives times `p_k` and `q_k`, without infinite times zero. A multiple of `p_k` and `q_k` that is the
    /// same for all classes may be left out: the gradient with respect to the logits, `slope_k - p_k sum(slope)`, does
    /// not change.
    fn logit_slopes<S: Simd<T>>(self, s: S, class: Class<S::V>) -> [S::V; 2];

    /// The value of a row, in nats, from the sum over its classes.
    fn finish(self, sum: f64, row: RowTerms<f64>) -> f64;

    /// The same for a register of rows.
    fn finish_lanes<S: Simd<T>>(self, s: S, sum: S::V, rows: RowTerms<S::V>) -> S::V;
}

/// `v`; 0 where `p = 0`.
#[inline(always)]
fn zero_with<T: Real, S: Simd<T>>(s: S, p: S::V, v: S::V) -> S::V {
    use crate::simd::Lanes;
    let zero = s.splat(T::ZERO);
    v.zero_where(p.eq(zero))
}
