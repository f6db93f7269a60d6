//! The logarithm of a quotient that is never formed, and what is left of it when its linear part is taken off.
//!
//! # Method
//! `b' = b 2^k` is within a factor of 1.5 of `a`, for a whole `k` that the exponents tell. With `r = (a - b') / (a + b')`, at
//! most 1/5, and `t = 2 atanh(r) / r - 2`, a polynomial in `r^2`:
//!
//! ```text
//! ln(a / b)               = k ln 2 + r (2 + t)
//! a ln(a / b) - a + b     = r ((a - b') + a t) + a k ln 2 + (b - b')
//! ```
//!
//! One division makes both. Where `a` and `b` are near each other `k` is 0: the last two terms of the second line are 0 to the
//! last bit, nothing is left to cancel, and what is small keeps its digits.

use super::exp::Exp;
use super::log::{Log, polynomial};
use crate::simd::{Lanes, Simd};

/// `a` over `b`, both 0 or normal and not negative.
#[derive(Clone, Copy)]
pub(crate) struct Quotient<V> {
    a: V,
    b: V,
    /// `a - b'`
    gap: V,
    /// `b - b'`
    rest: V,
    k: V,
    r: V,
    t: V,
}

impl<V: Copy> Quotient<V> {
    #[inline(always)]
    pub(crate) fn of<T: Exp + Log, S: Simd<T, V = V>>(s: S, a: V, b: V) -> Self
    where
        V: Lanes<T>,
    {
        let (minus, k) = Self::aligned(s, a, b);
        Self::with_gap(s, [a, b], minus, k, a + minus)
    }

    /// The same where `a - b` is known better than `a` and `b` are.
    #[inline(always)]
    pub(crate) fn with_difference<T: Exp + Log, S: Simd<T, V = V>>(s: S, a: V, b: V, difference: V) -> Self
    where
        V: Lanes<T>,
    {
        let (minus, k) = Self::aligned(s, a, b);
        Self::with_gap(s, [a, b], minus, k, V::select(k.eq(s.splat(T::ZERO)), difference, a + minus))
    }

    /// `-b'` and `k`. A zero counts as the smallest normal number here, and here only.
    #[inline(always)]
    fn aligned<T: Exp + Log, S: Simd<T, V = V>>(s: S, a: V, b: V) -> (V, V)
    where
        V: Lanes<T>,
    {
        let least = s.splat(T::MIN_NORMAL);
        a.max(least).opposite(b.max(least))
    }

    #[inline(always)]
    fn with_gap<T: Exp + Log, S: Simd<T, V = V>>(s: S, [a, b]: [V; 2], minus: V, k: V, gap: V) -> Self
    where
        V: Lanes<T>,
    {
        let r = gap / (a - minus);
        let z = r * r;
        let t = polynomial(s, T::POLYNOMIAL_LOG_QUOTIENT, z) * z;
        Quotient { a, b, gap, rest: b + minus, k, r, t }
    }

    /// `ln(a / b)`, at most 3 ULP: -inf where `a` is 0, else +inf where `b` is.
    #[inline(always)]
    pub(crate) fn ln<T: Exp + Log, S: Simd<T, V = V>>(self, s: S) -> V
    where
        V: Lanes<T>,
    {
        let (zero, infinity, two) = (s.splat(T::ZERO), s.splat(T::INFINITY), s.splat(T::ONE + T::ONE));
        let small = self.k.mul_add(s.splat(T::LN_2_LO), self.r * (two + self.t));
        let ln = self.k.mul_add(s.splat(T::LN_2_HI), small);
        V::select(self.a.eq(zero), zero - infinity, V::select(self.b.eq(zero), infinity, ln))
    }

    /// `a ln(a / b) - a + b`, never below 0 but by rounding: `b` where `a` is 0, finite where `b` is.
    #[inline(always)]
    pub(crate) fn excess<T: Exp + Log, S: Simd<T, V = V>>(self, s: S) -> V
    where
        V: Lanes<T>,
    {
        let far = self.a.mul_add(self.k * s.splat(T::from_f64(std::f64::consts::LN_2)), self.rest);
        self.r.mul_add(self.a.mul_add(self.t, self.gap), far)
    }
}
