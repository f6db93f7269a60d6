//! Entropy: the mean information of an outcome.
//!
//! # Formula
//! ```text
//! H(p) = -sum_k p_k ln p_k
//!      = ln(1 + rest) + sum_k p_k (m - z_k)        for p = softmax(z), m = max z
//! ```
//!
//! No term of either sum is negative, so nothing cancels: the entropy of a confident distribution keeps its digits. Its
//! exponential is the perplexity, the number of equally likely outcomes with the same entropy.
//!
//! # Gradient
//! `dH / dp_k = -(ln p_k + 1)`, each `p_k` a free variable; +inf at `p_k = 0`, where the curve is vertical.
//! `dH / dz_k = p_k (G_k - sum_j p_j G_j)` with `G_k = m - z_k`: the common part of `-ln p_k` and `H` is never added.
//!
//! # Domain, units
//! `p_k >= 0`, summing to 1; `z_k` in `[-inf, inf]`. In nats: `0 <= H <= ln c`.
//!
//! # Special values
//! `0 ln 0 = 0`. A logit of -inf is a class of probability 0, whose gradient is 0.
//!
//! # References
//! C. E. Shannon, *A mathematical theory of communication*, Bell System Technical Journal 27, 1948, section 6.

use super::{Class, ClassSum, RowTerms};
use crate::math::Real;
use crate::simd::Simd;

/// `H(p)`
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entropy;

impl<T: Real> ClassSum<T> for Entropy {
    const PAIR: bool = false;

    #[inline(always)]
    fn term<S: Simd<T>>(self, _: S, class: Class<S::V>) -> S::V {
        class.p_term
    }

    #[inline(always)]
    fn slopes<S: Simd<T>>(self, s: S, class: Class<S::V>) -> [S::V; 2] {
        [class.p_cost - s.splat(T::ONE), s.splat(T::ZERO)]
    }

    #[inline(always)]
    fn logit_slopes<S: Simd<T>>(self, s: S, class: Class<S::V>) -> [S::V; 2] {
        [self.term(s, class), s.splat(T::ZERO)]
    }

    #[inline(always)]
    fn finish(self, sum: f64, row: RowTerms<f64>) -> f64 {
        sum + row.p_partition
    }

    #[inline(always)]
    fn finish_lanes<S: Simd<T>>(self, _: S, sum: S::V, rows: RowTerms<S::V>) -> S::V {
        sum + rows.p_partition
    }
}
