//! Kullback-Leibler divergence: what outcomes drawn from `p` cost whoever expects `q`, beyond what they cost anyway.
//!
//! # Formula
//! ```text
//! KL(p || q) = sum_k p_k ln(p_k / q_k)
//!            = sum_k p_k h(x_k)          h(x) = x - ln(1 + x) >= 0,  x_k = (q_k - p_k) / p_k
//! ```
//!
//! The second sum is the first plus `sum_k (q_k - p_k)`, which is 0 for distributions. In the first, terms of both signs
//! cancel where `p` and `q` are nearly equal; in the second none is negative, so it is never below 0, is 0 for equal
//! distributions alone, and keeps its digits. Nor do sums that are off 1 by rounding show in it. `h` is evaluated without
//! its linear term ([`Quotient`](crate::math::Quotient)).
//!
//! Of logits the `p_k` and `q_k` share the rounding error of their log-partitions, and `D = sum_k (q_k - p_k)` is not quite
//! 0. With `q` scaled back by `1 + D` the sum becomes `sum_k p_k h(x_k) - h(D)`, exactly.
//!
//! # Gradient
//! `dKL / dp_k = ln(p_k / q_k)` and `dKL / dq_k = 1 - p_k / q_k`, each a free variable of the second sum: 0 where `p = q`.
//! The first sum would have 1 more in the one and 1 less in the other, which is the same to every step that keeps the sums.
//! With respect to the logits: `p_k (ln(p_k / q_k) - KL)` and `q_k - p_k`.
//!
//! # Domain, units
//! `p_k, q_k >= 0`, each summing to 1; logits in `[-inf, inf]`. In nats.
//!
//! # Special values
//! `p_k = 0` adds `q_k`, that is 0 to the first sum; `p_k > 0 = q_k`: +inf. There the derivatives are infinite:
//! `dKL / dp_k = -inf` at `p_k = 0`, +inf at `q_k = 0`, where `dKL / dq_k = -inf`. A class that neither distribution has
//! takes no part: its gradients are 0. Of logits, the gradient to those of `q` is finite even where the value is not; that
//! to those of `p` is NaN then.
//!
//! # References
//! S. Kullback and R. A. Leibler, *On information and sufficiency*, Annals of Mathematical Statistics 22, 1951.
//! I. Csiszár, *Why least squares and maximum entropy?*, Annals of Statistics 19, 1991 (the second sum, for any measures).

use super::{At, Facts, Measure, zero_with};
use crate::math::Real;
use crate::simd::{Lanes, Simd};

/// `KL(p || q)`
#[derive(Clone, Copy, Debug)]
pub(crate) struct KlDivergence;

impl<T: Real> Measure<T> for KlDivergence {
    const PAIR: bool = true;

    #[inline(always)]
    fn term<S: Simd<T>>(self, _: S, at: At<S::V>) -> S::V {
        at.excess
    }

    #[inline(always)]
    fn slopes<S: Simd<T>>(self, s: S, at: At<S::V>) -> [S::V; 2] {
        let zero = s.splat(T::ZERO);
        let nobody = (at.p + at.q).eq(zero);
        [S::V::select(nobody, zero, zero - at.log_ratio), S::V::select(nobody, zero, at.difference / at.q)]
    }

    #[inline(always)]
    fn flows<S: Simd<T>>(self, s: S, at: At<S::V>) -> [S::V; 2] {
        [zero_with(s, at.p, s.splat(T::ZERO) - at.p * at.log_ratio), at.difference]
    }

    #[inline(always)]
    fn finish(self, sum: f64, row: Facts<f64>) -> f64 {
        let d = row.excess;
        // h(D), whose linear part must not be taken off; what the series leaves out is below D^5.
        let h = if d.abs() < 1e-3 { d * d * (0.5 - d * (1.0 / 3.0 - 0.25 * d)) } else { d - d.ln_1p() };
        let value = sum - h;
        // Not `max`, which drops NaN.
        if value < 0.0 { 0.0 } else { value }
    }

    /// Of few classes `D` is never above some roundings: two terms of `h` do.
    #[inline(always)]
    fn finish_across<S: Simd<T>>(self, s: S, sum: S::V, rows: Facts<S::V>) -> S::V {
        let d = rows.excess;
        let h = d * d * (s.splat(T::from_f64(0.5)) - d * s.splat(T::from_f64(1.0 / 3.0)));
        s.splat(T::ZERO).max(sum - h)
    }
}
