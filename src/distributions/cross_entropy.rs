//! Cross-entropy: what outcomes drawn from `p` cost whoever expects `q`.
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
//! A term with `p_k = 0` is 0 even where `q_k = 0`; `p_k > 0 = q_k` costs +inf, with `dH / dq_k = -inf`. A class that
//! neither distribution has takes no part: its gradients are 0. Of logits, the gradient to those of `q` is finite even
//! where the value is not; that to those of `p` is NaN then.
//!
//! # References
//! C. M. Bishop, *Pattern Recognition and Machine Learning*, 2006, section 1.6.

use super::{At, Facts, Measure, zero_with};
use crate::math::Real;
use crate::simd::{Lanes, Simd};

/// `H(p, q)`
#[derive(Clone, Copy, Debug)]
pub(crate) struct CrossEntropy;

impl<T: Real> Measure<T> for CrossEntropy {
    const PAIR: bool = true;

    #[inline(always)]
    fn term<S: Simd<T>>(self, s: S, at: At<S::V>) -> S::V {
        zero_with(s, at.p, at.p * at.q_cost)
    }

    #[inline(always)]
    fn slopes<S: Simd<T>>(self, s: S, at: At<S::V>) -> [S::V; 2] {
        let zero = s.splat(T::ZERO);
        let nobody = (at.p + at.q).eq(zero);
        [S::V::select(nobody, zero, at.q_cost), zero_with(s, at.p, zero - at.p / at.q)]
    }

    /// `q (1 - p / q)`
    #[inline(always)]
    fn flows<S: Simd<T>>(self, s: S, at: At<S::V>) -> [S::V; 2] {
        [self.term(s, at), at.difference]
    }

    #[inline(always)]
    fn finish(self, sum: f64, row: Facts<f64>) -> f64 {
        sum + row.q_partition
    }

    #[inline(always)]
    fn finish_across<S: Simd<T>>(self, _: S, sum: S::V, rows: Facts<S::V>) -> S::V {
        sum + rows.q_partition
    }
}
