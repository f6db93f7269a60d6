//! Entropy: how much is not known before the outcome is.
//!
//! # Formula
//! ```text
//! H(p) = -sum_k p_k ln p_k
//!      = ln(1 + rest) + sum_k p_k (m - z_k)        for p = softmax(z), m = max z
//! ```
//!
//! No term of either sum is negative, so nothing cancels: the entropy of a confident distribution keeps its digits. Its
//! exponential is the perplexity: as many equally likely outcomes would be as uncertain.
//!
//! # Gradient
//! `dH / dp_k = -(ln p_k + 1)`, each `p_k` a free variable; +inf at `p_k = 0`, where the curve is vertical.
//! `dH / dz_k = p_k (G_k - sum_j p_j G_j)` with `G_k = m - z_k`: what `-ln p_k` and `H` have in common is never added.
//!
//! # Domain, units
//! `p_k >= 0`, summing to 1; `z_k` in `[-inf, inf]`. In nats: `0 <= H <= ln c`.
//!
//! # Special values
//! `0 ln 0 = 0`. A logit of -inf is a class of probability 0, whose gradient is 0.
//!
//! # References
//! C. E. Shannon, *A mathematical theory of communication*, Bell System Technical Journal 27, 1948, section 6.

use super::{At, Facts, Measure};
use crate::math::Real;
use crate::simd::Simd;

/// `H(p)`
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entropy;

impl<T: Real> Measure<T> for Entropy {
    const PAIR: bool = false;

    #[inline(always)]
    fn term<S: Simd<T>>(self, _: S, at: At<S::V>) -> S::V {
        at.p_term
    }

    #[inline(always)]
    fn slopes<S: Simd<T>>(self, s: S, at: At<S::V>) -> [S::V; 2] {
        [at.p_cost - s.splat(T::ONE), s.splat(T::ZERO)]
    }

    #[inline(always)]
    fn flows<S: Simd<T>>(self, s: S, at: At<S::V>) -> [S::V; 2] {
        [self.term(s, at), s.splat(T::ZERO)]
    }

    #[inline(always)]
    fn finish(self, sum: f64, row: Facts<f64>) -> f64 {
        sum + row.p_partition
    }

    #[inline(always)]
    fn finish_across<S: Simd<T>>(self, _: S, sum: S::V, rows: Facts<S::V>) -> S::V {
        sum + rows.p_partition
    }
}
