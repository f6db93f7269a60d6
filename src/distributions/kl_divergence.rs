//! Kullback-Leibler divergence: the cross-entropy of `p` and `q` minus the entropy of `p`.
//!
//! # Formula
//! ```text
//! KL(p || q) = sum_k p_k ln(p_k / q_k)
//!            = sum_k p_k h(x_k)          h(x) = x - ln(1 + x) >= 0,  x_k = (q_k - p_k) / p_k
//! ```
//!
//! The second sum is the first plus `sum_k (q_k - p_k)`, which is 0 for distributions. In the first, terms of both
//! signs cancel where `p` and `q` are nearly equal. In the second none is negative: it is never below 0, is 0 only for
//! equal distributions, keeps its digits, and hides the rounding of sums that are not exactly 1. `h` is evaluated
//! without its linear term ([`Quotient`](crate::math::Quotient)).
//!
//! For logits, all `p_k` and all `q_k` have the rounding error of their log-partition, and `D = sum_k (q_k - p_k)` is
//! not exactly 0. With `q` divided by `1 + D` the sum becomes `sum_k p_k h(x_k) - h(D)`, exactly.
//!
//! # Gradient
//! `dKL / dp_k = ln(p_k / q_k)` and `dKL / dq_k = 1 - p_k / q_k`, each a free variable of the second sum: 0 where
//! `p = q`. The derivatives of the first sum are 1 larger and 1 smaller, which makes no difference to a step that keeps
//! the sums. With respect to the logits: `p_k (ln(p_k / q_k) - KL)` and `q_k - p_k`.
//!
//! # Domain, units
//! `p_k, q_k >= 0`, each summing to 1; logits in `[-inf, inf]`. In nats.
//!
//! # Special values
//! A class with `p_k = 0` adds `q_k`, which is 0 in the first sum; `p_k > 0 = q_k` gives +inf. The derivatives there
//! are infinite: `dKL / dp_k = -inf` at `p_k = 0`, +inf at `q_k = 0`, where `dKL / dq_k = -inf`. A class with
//! `p_k = q_k = 0` has gradients 0. Where the value for logits is infinite, the gradient with respect to the logits of
//! `q` is finite, and that with respect to those of `p` is NaN.
//!
//! # References
//! S. Kullback and R. A. Leibler, *On information and sufficiency*, Annals of Mathematical Statistics 22, 1951.
//! I. Csiszár, *Why least squares and maximum entropy?*, Annals of Statistics 19, 1991 (the second sum, for any
//! measures).

use super::{Class, ClassSum, RowTerms, zero_with};
use crate::math::Real;
use crate::simd::{Lanes, Simd};

/// `KL(p || q)`
#[derive(Clone, Copy, Debug)]
pub(crate) struct KlDivergence;

impl<T: Real> ClassSum<T> for KlDivergence {
    const PAIR: bool = true;

    #[inline(always)]
    fn term<S: Simd<T>>(self, _: S, class: Class<S::V>) -> S::V {
        class.excess
    }

    #[inline(always)]
    fn slopes<S: Simd<T>>(self, s: S, class: Class<S::V>) -> [S::V; 2] {
        let zero = s.splat(T::ZERO);
        let neither = (class.p + class.q).eq(zero);
        [(zero - class.log_ratio).zero_where(neither), (class.difference / class.q).zero_where(neither)]
    }

    #[inline(always)]
    fn logit_slopes<S: Simd<T>>(self, s: S, class: Class<S::V>) -> [S::V; 2] {
        [zero_with(s, class.p, s.splat(T::ZERO) - class.p * class.log_ratio), class.difference]
    }

    #[inline(always)]
    fn finish(self, sum: f64, row: RowTerms<f64>) -> f64 {
        let d = row.excess;
        // h(D) without its linear part, which would cancel; the series is cut at D^5.
        let h = if d.abs() < 1e-3 { d * d * (0.5 - d * (1.0 / 3.0 - 0.25 * d)) } else { d - d.ln_1p() };
        let value = sum - h;
        // `max` would drop NaN.
        if value < 0.0 { 0.0 } else { value }
    }

    /// For few classes `D` is a few roundings at most, so that two terms of `h` are enough.
    #[inline(always)]
    fn finish_lanes<S: Simd<T>>(self, s: S, sum: S::V, rows: RowTerms<S::V>) -> S::V {
        let d = rows.excess;
        let h = d * d * (s.splat(T::from_f64(0.5)) - d * s.splat(T::from_f64(1.0 / 3.0)));
        s.splat(T::ZERO).max(sum - h)
    }
}
