//! The logarithm of a quotient, computed without the quotient, and that logarithm without its linear part.
//!
//! # Method
//! `b' = b 2^k` is within a factor of 1.5 of `a`, with a whole number `k` from the exponents. With
//! `r = (a - b') / (a + b')`, at most 1/5, and `t = 2 atanh(r) / r - 2`, a polynomial in `r^2`:
//!
//! ```text
//! ln(a / b)               = k ln 2 + r (2 + t)
//! a ln(a / b) - a + b     = r ((a - b') + a t) + a k ln 2 + (b - b')
//! ```
//!
//! One division serves both. Where `a` and `b` are near each other `k` is 0: the last two terms of the second line are
//! exactly 0, nothing cancels, and small results keep their digits.

use super::exp::Exp;
use super::log::{Log, polynomial};
use crate::simd::{Lanes, Simd, inlined};

/// `a` over `b`, both 0 or normal and not negative.
#[derive(Clone, Copy)]
pub(crate) struct Quotient<V> {
    a: V,
    b: V,
    /// `a - b'`
    difference: V,
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
        Self::aligned_quotient(s, [a, b], minus, k, a + minus)
    }

    /// The same with a `difference` that is more accurate than `a - b`.
    #[inline(always)]
    pub(crate) fn with_difference<T: Exp + Log, S: Simd<T, V = V>>(s: S, a: V, b: V, difference: V) -> Self
    where
        V: Lanes<T>,
    {
        let (minus, k) = Self::aligned(s, a, b);
        Self::aligned_quotient(s, [a, b], minus, k, V::select(k.eq(s.splat(T::ZERO)), difference, a + minus))
    }

    /// `-b'` and `k`. A zero is replaced by the smallest normal number here, and only here.
    #[inline(always)]
    fn aligned<T: Exp + Log, S: Simd<T, V = V>>(s: S, a: V, b: V) -> (V, V)
    where
        V: Lanes<T>,
    {
        let least = s.splat(T::MIN_NORMAL);
        a.max(least).opposite(b.max(least))
    }

    #[inline(always)]
    fn aligned_quotient<T: Exp + Log, S: Simd<T, V = V>>(s: S, [a, b]: [V; 2], minus: V, k: V, difference: V) -> Self
    where
        V: Lanes<T>,
    {
        s.function(inlined!(|s| {
            let r = difference / (a - minus);
            let z = r * r;
            let t = polynomial(s, T::POLYNOMIAL_LOG_QUOTIENT, z) * z;
            Quotient { a, b, difference, rest: b + minus, k, r, t }
        }))
    }

    /// `ln(a / b)`, in float32 at most 1.8 epsilon off: -inf where `a` is 0, else +inf where `b` is.
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

    /// `a ln(a / b) - a + b`, in float32 at most 2.3 epsilon off, without FMA 7.5: `b` where `a` is 0, finite where
    /// `b` is.
    #[inline(always)]
    pub(crate) fn excess<T: Exp + Log, S: Simd<T, V = V>>(self, s: S) -> V
    where
        V: Lanes<T>,
    {
        let far = self.a.mul_add(self.k * s.splat(T::from_f64(std::f64::consts::LN_2)), self.rest);
        self.r.mul_add(self.a.mul_add(self.t, self.difference), far)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::math::Real;
    use crate::simd::{Float, Isa, Kernel, read, write};

    struct Pairs<'a, T>(&'a [T], &'a [T]);

    impl<T: Real> Kernel<T> for Pairs<'_, T> {
        type Output = [Vec<T>; 2];
        #[inline(always)]
        fn run<S: Simd<T>>(self, s: S) -> Self::Output {
            let mut out = [(); 2].map(|()| vec![T::NAN; self.0.len()]);
            for i in (0..self.0.len()).step_by(S::LANES) {
                let quotient = Quotient::of(s, read(s, self.0, i, T::ZERO), read(s, self.1, i, T::ZERO));
                write(s, quotient.ln(s), &mut out[0], i);
                write(s, quotient.excess(s), &mut out[1], i);
            }
            out
        }
    }

    /// Both functions, in float64 lines: `x - ln(1 + x)` with `x = b / a - 1` by its series where it would cancel.
    fn oracle(a: f64, b: f64) -> [f64; 2] {
        let x = (b - a) / a;
        let series = (2..200).rev().fold(0.0, |sum, n| (1.0 / f64::from(n) - sum) * x) * x;
        [-x.ln_1p(), a * if x.abs() < 0.7 { series } else { x - (b / a).ln() }]
    }

    /// The worst relative errors over pairs whose quotients take every size.
    fn worst<T: Real>(isa: Isa) -> [f64; 2] {
        let b = |i: u32| (1.0 + 0.618_034 * f64::from(i) % 1.0) * 2f64.powi((i % 25) as i32 - 24);
        let ratio = |i: u32| 1.0 + (f64::from(i % 2001) / 1000.0 - 1.0) * 2f64.powi((i % 23) as i32 - 20);
        let (a, b): (Vec<_>, Vec<_>) =
            (0..200_000).filter(|&i| ratio(i) > 0.0).map(|i| (T::from_f64(b(i) * ratio(i)), T::from_f64(b(i)))).unzip();
        let found = T::dispatch(isa, Pairs(&a, &b));
        let mut worst = [0.0; 2];
        for i in 0..a.len() {
            let truth = oracle(a[i].to_f64(), b[i].to_f64());
            for k in 0..2 {
                let error = (found[k][i].to_f64() - truth[k]).abs();
                worst[k] = f64::max(worst[k], if error == 0.0 { 0.0 } else { error / truth[k].abs() });
            }
        }
        worst
    }

    #[test]
    fn both_functions_keep_their_digits_near_and_far() {
        for isa in Isa::available() {
            let [ln, excess] = worst::<f32>(isa).map(|error| error / f64::from(f32::EPSILON));
            assert!(ln <= 3.0 && excess <= 8.0, "{}: {ln:.2} and {excess:.2} epsilon", isa.name());
            // The oracle itself errs as much.
            let [ln, excess] = worst::<f64>(isa).map(|error| error / f64::EPSILON);
            assert!(ln <= 8.0 && excess <= 16.0, "{}: {ln:.2} and {excess:.2} epsilon", isa.name());
        }
    }

    #[test]
    fn zeros_have_their_limits() {
        for isa in Isa::available() {
            let [ln, excess] = f32::dispatch(isa, Pairs(&[0.0, 0.0, 0.5], &[0.25, 0.0, 0.0]));
            assert_eq!(ln, [f32::NEG_INFINITY, f32::NEG_INFINITY, f32::INFINITY], "{}", isa.name());
            assert_eq!(excess[..2], [0.25, 0.0], "{}", isa.name());
            assert!(excess[2].is_finite(), "{}", isa.name());
        }
    }
}
