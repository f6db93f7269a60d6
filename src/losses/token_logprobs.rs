//! Log-probability of a token and entropy of the distribution it was drawn from, with the gradient of both.
//!
//! # Formula
//! For one row of logits `z`, `p = softmax(z)`, `m = max z`, `rest` the sum of `exp(z_k - m)` over every class but one
//! that attains the maximum, and the token `y`:
//!
//! ```text
//! logprob = ln p_y              = -(ln(1 + rest) + (m - z_y))
//! entropy = -sum_k p_k ln p_k   =   ln(1 + rest) + E          E = sum_k p_k (m - z_k)
//! ```
//!
//! Both are [`softmax_stats`](super::softmax_stats), from the same sweep. Softcap and temperature are applied to `z`
//! before ([`LogitMap`](crate::rows::LogitMap)).
//!
//! # Gradient
//! With the upstream gradients `a` of the log-probability and `b` of the entropy:
//!
//! ```text
//! a d logprob / d z_k + b d entropy / d z_k = a ([k = y] - p_k) - b p_k (ln p_k + entropy)
//!                                           = a [k = y] + p_k (b (m - z_k) - (a + b E))
//! ```
//!
//! The logarithm of the partition cancels in `ln p_k + entropy = E - (m - z_k)`, so it is left out. For the token, `1 -
//! p_y` comes from the complement. The second pass computes the exponentials again: it needs the logits besides, whose
//! place they would take.
//!
//! # Domain, shapes, units
//! `z` in `[-inf, inf]^c`, `y` in `[0, c)`; `a`, `b` finite, of any sign; log-probability and entropy are in nats.
//!
//! # Precision
//! No sum of the values has a negative term. The gradient is a difference of terms, and is accurate relative to their
//! sum, `|a| (p_k + [k = y] (1 - p_k)) + |b| p_k ((m - z_k) + E)`.
//!
//! # Special values
//! A class with a logit of -inf has probability 0: it adds nothing to the entropy, and its gradient is 0. As the token
//! it has log-probability -inf and the gradient `a`. One logit of +inf: the limit, entropy 0. If no distribution is
//! defined (a logit is NaN, all are -inf, several +inf), everything is NaN. Where `a = b = 0` the gradient is 0.
//!
//! # References
//! R. J. Williams, *Simple statistical gradient-following algorithms for connectionist reinforcement learning*, Machine
//! Learning 8, 1992 (the gradient of a log-probability, times a reward). J. Schulman et al., *Proximal policy
//! optimization algorithms*, 2017, arXiv:1707.06347, section 5 (the bonus for entropy).

use crate::math::Real;
use crate::rows::{LogitsIo, RowSum, Stats};
use crate::simd::{Lanes, Simd, inlined};
use crate::tile::LaneSums;

/// Log-probability and entropy of a row. Writes the gradient, given those with respect to both.
#[inline(always)]
pub(crate) fn token_with_grad<T: Real, S: Simd<T>>(
    s: S,
    mut logits: LogitsIo<'_, T>,
    token: usize,
    [a, b]: [f64; 2],
) -> [f64; 2] {
    // 1. one sweep, which keeps the mapped logits
    let logit = logits.at(s, token);
    let (sum, Stats { entropy, margin, .. }) = RowSum::with_stats(s, &mut logits);
    let logprob = 0.0 - (sum.log_partition() + sum.margin(logit));
    let undefined = entropy.is_nan();
    if undefined || [a, b] == [0.0; 2] {
        logits.row.output().fill(if undefined && [a, b] != [0.0; 2] { T::NAN } else { T::ZERO });
        return if undefined { [entropy; 2] } else { [logprob, entropy] };
    }
    // 2. the gradient of all classes
    let (zero, max, softmax) = (s.splat(T::ZERO), s.splat(sum.max), sum.softmax(1.0));
    let of_max = s.splat(T::from_f64(sum.probability(sum.max).0));
    let (slope, shift) = (s.splat(within::<T>(b)), s.splat(within::<T>(a + b * margin)));
    logits.map(
        s,
        T::ZERO,
        inlined!(|_, z| {
            let is_max = z.eq(max);
            let p = S::V::select(is_max, of_max, softmax.of(s, z));
            let above = slope * (max - z).zero_where(is_max) - shift;
            // The margin of a class of probability 0 may be infinite.
            (p * above).zero_where(p.eq(zero))
        }),
    );
    // 3. the gradient of the token, from the complement
    let (p, q) = sum.probability(logit);
    let turn = if p == 0.0 { 0.0 } else { b * p * (sum.margin(logit) - margin) };
    logits.set(token, a * q + turn);
    [logprob, entropy]
}

/// The number in the type of the computation, at most as large as the inverse of the smallest normal number.
#[inline(always)]
pub(crate) fn within<T: Real>(x: f64) -> T {
    let most = (-T::MIN_EXPONENT).to_f64().exp2();
    T::from_f64(x.clamp(-most, most))
}

/// The gradients of a group of rows, one row per lane.
pub(crate) struct TokenGrads<T: Real, S: Simd<T>> {
    sums: LaneSums<T, S>,
    class: S::V,
    slope: S::V,
    shift: S::V,
    token: S::V,
    /// Whether the gradient of a row is 0.
    is_zero: <S::V as Lanes<T>>::Mask,
}

impl<T: Real, S: Simd<T>> TokenGrads<T, S> {
    /// The gradients, given those with respect to log-probability and entropy; `margin` is the mean margin.
    #[inline(always)]
    pub(crate) fn of(s: S, class: S::V, sums: LaneSums<T, S>, margin: S::V, [a, b]: [S::V; 2]) -> Self {
        let zero = s.splat(T::ZERO);
        let (p, q) = sums.label(s);
        let turn = (b * p * (sums.margin(s) - margin)).zero_where(p.eq(zero));
        let none = (a.abs() + b.abs()).zero_where(class.lt(zero)); // a sum, as NaN is not 0
        TokenGrads { sums, class, slope: b, shift: a + b * margin, token: a * q + turn, is_zero: none.eq(zero) }
    }

    /// The gradient of class `k`, whose logit is `z`; 0 in a row without a token or upstream gradients.
    #[inline(always)]
    pub(crate) fn at(&self, s: S, k: S::V, z: S::V) -> S::V {
        let (zero, max) = (s.splat(T::ZERO), self.sums.max);
        let p = self.sums.of_logit(s, z).0;
        let above = self.slope * (max - z).zero_where(z.eq(max)) - self.shift;
        let others = (p * above).zero_where(p.eq(zero));
        S::V::select(k.eq(self.class), self.token, others).zero_where(self.is_zero)
    }
}
