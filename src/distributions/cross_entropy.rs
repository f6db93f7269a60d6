//! Cross-entropy: the mean surprise, under the prediction `q`, of outcomes drawn from `p`.
//!
//! # Formula
//! ```text
//! H(p, q) = -sum_k p_k ln q_k = H(p) + KL(p || q)
//!         = ln(1 + rest) + sum_k p_k (m - y_k)      for q = softmax(y), m = max y
//! ```
//!
//! # Gradient
//! `dH / dp_k = -ln q_k` and `dH / dq_k = -p_k / q_k`, each a free variable.
//! With respect to the logits `z` of `p`: `p_k (G_k - sum_j p_j G_j)` with `G_k = m - y_k`; to the logits `y` of `q`:
//! `q_k - p_k`, which is formed from the ratio of the two where they are nearly equal.
//!
//! # Domain, units
//! `p_k, q_k >= 0`, each summing to 1; logits in `[-inf, inf]`. In nats; no less than `H(p)`.
//!
//! # Special values
//! A term with `p_k = 0` is 0 even where `q_k = 0`. Where `p_k > 0 = q_k` the value is +inf and `dH / dq_k = -inf`. A
//! class with `p_k = q_k = 0` has gradients 0. Where the value for logits is infinite, the gradient with respect to the
//! logits of `q` is finite, and that with respect to those of `p` is NaN.
//!
//! # References
//! C. M. Bishop, *Pattern Recognition and Machine Learning*, 2006, section 1.6.

use super::{Class, ClassSum, RowTerms, zero_with};
use crate::math::Real;
use crate::simd::{Lanes, Simd};

/// `H(p, q)`
#[derive(Clone, Copy, Debug)]
pub(crate) struct CrossEntropy;

impl<T: Real> ClassSum<T> for CrossEntropy {
    const PAIR: bool = true;

    #[inline(always)]
    fn term<S: Simd<T>>(self, s: S, class: Class<S::V>) -> S::V {
        zero_with(s, class.p, class.p * class.q_cost)
    }

    #[inline(always)]
    fn slopes<S: Simd<T>>(self, s: S, class: Class<S::V>) -> [S::V; 2] {
        let zero = s.splat(T::ZERO);
        let neither = (class.p + class.q).eq(zero);
        [class.q_cost.zero_where(neither), zero_with(s, class.p, zero - class.p / class.q)]
    }

    /// The second is `q (1 - p / q)`.
    #[inline(always)]
    fn logit_slopes<S: Simd<T>>(self, s: S, class: Class<S::V>) -> [S::V; 2] {
        [self.term(s, class), class.difference]
    }

    #[inline(always)]
    fn finish(self, sum: f64, row: RowTerms<f64>) -> f64 {
        sum + row.q_partition
    }

    #[inline(always)]
    fn finish_lanes<S: Simd<T>>(self, _: S, sum: S::V, rows: RowTerms<S::V>) -> S::V {
        sum + rows.q_partition
    }
}
