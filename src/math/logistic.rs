//! The logistic function, its logarithm and the hyperbolic tangent, right to the last digits in both tails.

use super::exp::expm1_nonpositive;
use super::{Real, exp_nonpositive, log1p_unit};
use crate::simd::{Lanes, Simd};

/// Everything logistic at `x` from one exponential, `e = exp(-|x|)`, which never overflows and keeps the small tail.
#[derive(Clone, Copy)]
pub(crate) struct Logistic<V> {
    x: V,
    e: V,
}

impl<V> Logistic<V> {
    /// Evaluates the exponential.
    #[inline(always)]
    pub(crate) fn at<T: Real, S: Simd<T, V = V>>(s: S, x: V) -> Self
    where
        V: Lanes<T>,
    {
        Logistic { x, e: exp_nonpositive(s, s.splat(T::ZERO) - x.abs()) }
    }

    /// `ln(1 + exp(-|x|))`: what softplus has in common at `x` and at `-x`.
    #[inline(always)]
    pub(crate) fn log1p<T: Real, S: Simd<T, V = V>>(self, s: S) -> V
    where
        V: Lanes<T>,
    {
        log1p_unit(s, self.e)
    }

    /// `(sigmoid(x), sigmoid(-x))`, at most 2.9 ULP: neither is computed as one minus the other. Both are multiples of
    /// one reciprocal, whose errors cancel where the two do.
    #[inline(always)]
    pub(crate) fn sigmoids<T: Real, S: Simd<T, V = V>>(self, s: S) -> (V, V)
    where
        V: Lanes<T>,
    {
        let (large, small) = self.by_size(s);
        let negative = self.x.lt(s.splat(T::ZERO));
        (V::select(negative, small, large), V::select(negative, large, small))
    }

    /// The same two, the larger one first: `(sigmoid(|x|), sigmoid(-|x|))`.
    #[inline(always)]
    pub(crate) fn by_size<T: Real, S: Simd<T, V = V>>(self, s: S) -> (V, V)
    where
        V: Lanes<T>,
    {
        let one = s.splat(T::ONE);
        let large = one / (one + self.e);
        (large, self.e * large)
    }
}

/// `sigmoid(x) = 1 / (1 + exp(-x))`, at most 2.45 ULP: one quotient, which rounds once less than a pair of sigmoids
/// does.
#[inline(always)]
pub(crate) fn sigmoid<T: Real, S: Simd<T>>(s: S, x: S::V) -> S::V {
    let (one, e) = (s.splat(T::ONE), Logistic::at(s, x).e);
    S::V::select(x.lt(s.splat(T::ZERO)), e, one) / (one + e)
}

/// `softplus(x) = ln(1 + exp(x)) = max(x, 0) + ln(1 + exp(-|x|))`, at most 2.5 ULP.
#[inline(always)]
pub(crate) fn softplus<T: Real, S: Simd<T>>(s: S, x: S::V) -> S::V {
    x.max(s.splat(T::ZERO)) + Logistic::at(s, x).log1p(s)
}

/// `ln sigmoid(x) = -softplus(-x)`, at most 2.5 ULP.
#[inline(always)]
pub(crate) fn log_sigmoid<T: Real, S: Simd<T>>(s: S, x: S::V) -> S::V {
    let zero = s.splat(T::ZERO);
    zero - softplus(s, zero - x)
}

/// `tanh(x)`, at most 3 ULP.
#[inline(always)]
pub(crate) fn tanh<T: Real, S: Simd<T>>(s: S, x: S::V) -> S::V {
    let zero = s.splat(T::ZERO);
    // 1. t = exp(-2 |x|) - 1, in (-1, 0]; beyond -64 it is -1, and a NaN, on the right, stays.
    let t = expm1_nonpositive(s, s.splat(T::from_f64(-64.0)).max(zero - (x.abs() + x.abs())));
    // 2. tanh |x| = -t / (2 + t): nothing cancels. Then the sign, which a zero keeps too.
    let tanh = (zero - t) / (t + s.splat(T::ONE + T::ONE));
    S::V::select(zero.lt(x), tanh, S::V::select(x.eq(zero), x, zero - tanh))
}
