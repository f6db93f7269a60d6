//! Jensen-Shannon divergence: the information of an outcome about which of two distributions it was drawn from.
//!
//! # Formula
//! For the weight `w` of `p`, `v = 1 - w` of `q`, and the mixture `m = w p + v q`:
//!
//! ```text
//! JS(p, q) = H(m) - w H(p) - v H(q) = w KL(p || m) + v KL(q || m)
//!          = sum_k w g(p_k, m_k) + v g(q_k, m_k)     g(a, b) = a ln(a / b) - a + b >= 0
//! ```
//!
//! The linear parts of `g` cancel exactly, `w (m_k - p_k) + v (m_k - q_k) = 0`, and no term of the sum is negative. `g`
//! is evaluated without its linear part ([`Quotient`]), from `p - m = -v (q - p)` and `q - m = w (q - p)`. So the
//! divergence keeps its digits where the two are nearly equal. With `w = 1/2` each step treats both alike, and the
//! result is symmetric to the bit.
//!
//! For logits, `D = sum_k (q_k - p_k)` is not exactly 0 (see [`kl_divergence`](super::kl_divergence)). It adds
//! `w v D^2 / 2` to second order, which is subtracted.
//!
//! # Gradient
//! `dJS / dp_k = w ln(p_k / m_k)` and `dJS / dq_k = v ln(q_k / m_k)`, each a free variable.
//! With respect to the logits: `w p_k (ln(p_k / m_k) - KL(p || m))`, and alike for `q`.
//!
//! # Domain, units
//! `w` in `[0, 1]`; `p_k, q_k >= 0`, each summing to 1; logits in `[-inf, inf]`. In nats:
//! `0 <= JS <= -w ln w - v ln v`, which is `ln 2` for `w = 1/2`.
//!
//! # Special values
//! Always finite. `dJS / dp_k = -inf` where `p_k = 0 < q_k`. A class with `p_k = q_k = 0` has gradients 0. For `w = 0`
//! and `w = 1` the divergence and its gradients are 0.
//!
//! # References
//! J. Lin, *Divergence measures based on the Shannon entropy*, IEEE Transactions on Information Theory 37, 1991.

use super::{Class, ClassSum, RowTerms, zero_with};
use crate::math::{Quotient, Real};
use crate::simd::{Lanes, Simd};

/// `JS(p, q)`
#[derive(Clone, Copy, Debug)]
pub(crate) struct JsDivergence {
    weight: f64,
    /// The largest possible divergence.
    most: f64,
}

impl JsDivergence {
    /// `weight` is that of `p`, in [0, 1].
    pub(crate) fn new(weight: f64) -> Self {
        let (w, v) = (weight, 1.0 - weight);
        JsDivergence { weight, most: if w == 0.0 || v == 0.0 { 0.0 } else { -(w * w.ln() + v * v.ln()) } }
    }

    /// `p` and `q` over the mixture, with differences that are accurate where they are small.
    #[inline(always)]
    fn shares<T: Real, S: Simd<T>>(self, s: S, class: Class<S::V>) -> [Quotient<S::V>; 2] {
        let (m, (w, v), zero) = (self.mixture(s, class.p, class.q), self.weights(s), s.splat(T::ZERO));
        [
            Quotient::with_difference(s, class.p, m, zero - v * class.difference),
            Quotient::with_difference(s, class.q, m, w * class.difference),
        ]
    }

    /// The mixture. Halves are exact, so that for `w = 1/2` the sum does not depend on the order.
    #[inline(always)]
    fn mixture<T: Real, S: Simd<T>>(self, s: S, p: S::V, q: S::V) -> S::V {
        let (w, v) = self.weights(s);
        w * p + v * q
    }

    #[inline(always)]
    fn weights<T: Real, S: Simd<T>>(self, s: S) -> (S::V, S::V) {
        (s.splat(T::from_f64(self.weight)), s.splat(T::from_f64(1.0 - self.weight)))
    }

    /// Whether the mixture is one of the two distributions.
    #[inline(always)]
    fn is_pure(self) -> bool {
        self.weight == 0.0 || self.weight == 1.0
    }
}

impl<T: Real> ClassSum<T> for JsDivergence {
    const PAIR: bool = true;

    #[inline(always)]
    fn term<S: Simd<T>>(self, s: S, class: Class<S::V>) -> S::V {
        if self.is_pure() {
            return class.difference * s.splat(T::ZERO);
        }
        let (m, [p, q], (w, v)) = (self.mixture(s, class.p, class.q), self.shares(s, class), self.weights(s));
        zero_with(s, m, w * p.excess(s) + v * q.excess(s))
    }

    #[inline(always)]
    fn slopes<S: Simd<T>>(self, s: S, class: Class<S::V>) -> [S::V; 2] {
        if self.is_pure() {
            return [class.difference * s.splat(T::ZERO); 2];
        }
        let (m, [p, q], (w, v)) = (class.p + class.q, self.shares(s, class), self.weights(s));
        [zero_with(s, m, w * p.ln(s)), zero_with(s, m, v * q.ln(s))]
    }

    #[inline(always)]
    fn logit_slopes<S: Simd<T>>(self, s: S, class: Class<S::V>) -> [S::V; 2] {
        let [p, q] = self.slopes(s, class);
        [zero_with(s, class.p, class.p * p), zero_with(s, class.q, class.q * q)]
    }

    #[inline(always)]
    fn finish(self, sum: f64, row: RowTerms<f64>) -> f64 {
        let (w, v) = (self.weight, 1.0 - self.weight);
        let value = sum - 0.5 * w * v * row.excess * row.excess;
        // `clamp` may drop NaN.
        if value < 0.0 {
            0.0
        } else if value > self.most {
            self.most
        } else {
            value
        }
    }

    #[inline(always)]
    fn finish_lanes<S: Simd<T>>(self, s: S, sum: S::V, rows: RowTerms<S::V>) -> S::V {
        let (w, v) = (self.weight, 1.0 - self.weight);
        let value = sum - s.splat(T::from_f64(0.5 * w * v)) * rows.excess * rows.excess;
        s.splat(T::from_f64(self.most)).min(s.splat(T::ZERO).max(value))
    }
}
