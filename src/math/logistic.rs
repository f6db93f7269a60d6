//! The logistic function and its logarithm, right to the last digits in both tails.

use super::{Real, exp_nonpositive, log1p};
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
        log1p(s, self.e)
    }

    /// `(sigmoid(x), sigmoid(-x))`: neither is computed as one minus the other.
    #[inline(always)]
    pub(crate) fn sigmoids<T: Real, S: Simd<T, V = V>>(self, s: S) -> (V, V)
    where
        V: Lanes<T>,
    {
        let one = s.splat(T::ONE);
        let large = one / (one + self.e);
        let small = self.e * large;
        let negative = self.x.lt(s.splat(T::ZERO));
        (V::select(negative, small, large), V::select(negative, large, small))
    }
}

/// `sigmoid(x) = 1 / (1 + exp(-x))`, at most 3 ULP.
#[inline(always)]
pub(crate) fn sigmoid<T: Real, S: Simd<T>>(s: S, x: S::V) -> S::V {
    Logistic::at(s, x).sigmoids(s).0
}

/// `softplus(x) = ln(1 + exp(x)) = max(x, 0) + ln(1 + exp(-|x|))`, at most 3 ULP.
#[inline(always)]
pub(crate) fn softplus<T: Real, S: Simd<T>>(s: S, x: S::V) -> S::V {
    x.max(s.splat(T::ZERO)) + Logistic::at(s, x).log1p(s)
}

/// `ln sigmoid(x) = -softplus(-x)`, at most 3 ULP.
#[inline(always)]
pub(crate) fn log_sigmoid<T: Real, S: Simd<T>>(s: S, x: S::V) -> S::V {
    let zero = s.splat(T::ZERO);
    zero - softplus(s, zero - x)
}
