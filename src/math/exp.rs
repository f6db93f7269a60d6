//! The exponential function.
//!
//! # Method
//! Cody and Waite's range reduction, `x = n ln 2 + r` with `|r| <= ln 2 / 2`, then a polynomial:
//! `exp(x) = 2^n (1 + r + r^2 q(r))`. `ln 2` is split in two so that `n` times its upper part is exact.
//!
//! # Precision
//! At most 1 ULP; measured over all of float32, 0.874 with FMA and 0.888 without. In sums, where a tenth of the time
//! counts more than the last bit of a term, [`exp_scaled`] is at most 1.05; measured 1.011 and 0.982. [`exp`]
//! underflows gradually; where a kernel needs only results up to 1, [`exp_scaled`] and [`exp_nonpositive`] flush to 0
//! what is below the smallest normal number, which spares them the slow arithmetic of subnormal numbers.
//!
//! # References
//! W. J. Cody and W. Waite, *Software Manual for the Elementary Functions*, 1980, chapter 6.
//! J.-M. Muller, *Elementary Functions*, 3rd edition, 2016, sections 3.2 and 11.2.

use crate::simd::{Float, Lanes, Simd, inlined};

/// The constants of a float type.
pub trait Exp: Float {
    /// `1 / ln 2`
    const LOG2_E: Self;
    /// `ln 2`, its upper bits: times any `n` that occurs the product is exact even without FMA.
    const LN_2_HI: Self;
    /// `ln 2 - LN_2_HI`
    const LN_2_LO: Self;
    /// Adding and subtracting it rounds to a whole number: `1.5 * 2^(digits - 1)`.
    const ROUND: Self;
    /// `ROUND` plus the bias of exponents: the low bits of `POWER + n` are the exponent field of `2^n`.
    const POWER: Self;
    /// `q(r) = (exp(r) - 1 - r) / r^2` as a polynomial.
    fn q<S: Simd<Self>>(s: S, r: S::V) -> S::V;
    /// The exponent of the smallest normal number.
    const MIN_EXPONENT: Self;
    /// `exp` is 0 at and below the first, infinite at and above the second, and neither needs an `n` that `LN_2_HI` was
    /// not made for.
    const EXP_RANGE: [Self; 2];
    /// Above it `z - m` is exact wherever `exp(z - m)` is a normal number, as `m / 2 <= z <= 2 m` then (Sterbenz);
    /// below it `n LN_2_HI` is exact for each such `z`, and the difference need not be formed.
    const PIVOT_LIMIT: f64;
    /// The distance above a pivot up to which exponentials and their sums are far from overflow.
    const HEADROOM: f64;
}

// Minimax on |r| <= ln 2 / 2 by the Remez exchange in 200-bit arithmetic, each coefficient rounded before the next ones
// are fitted; errors at r < 0, where a unit in the last place of 1 + w is half as large, count two to five times. Then
// the last bits were searched for the smallest worst error of the whole evaluation, roundings included, over every
// other float of 16 <= |x| < 87; over every float it is 1.013 ULP with FMA and 0.982 without (1.031 and 1.002 for the
// plain minimax). The polynomial alone: 2^-26.8. Evaluated by Estrin's scheme, whose short chains keep a wide processor
// busy.
impl Exp for f32 {
    const LOG2_E: Self = std::f32::consts::LOG2_E;
    const LN_2_HI: Self = 0.693_145_75; // 22713 / 2^15
    const LN_2_LO: Self = 1.428_606_8e-6;
    const ROUND: Self = 12_582_912.0; // 1.5 * 2^23
    const POWER: Self = 12_583_039.0; // + 127
    const MIN_EXPONENT: Self = -126.0;
    const EXP_RANGE: [Self; 2] = [-104.0, 89.0]; // ln 2^-150 = -103.97, ln 2^128 = 88.72
    const PIVOT_LIMIT: f64 = 256.0; // > 2 * 126 ln 2; n has 9 bits, LN_2_HI 15
    const HEADROOM: f64 = 40.0;

    #[inline(always)]
    fn q<S: Simd<Self>>(s: S, r: S::V) -> S::V {
        let [c0, c1, c2, c3, c4] = splats(s, [0.499_999_82, 0.166_665_3, 0.041_672_025, 0.008_368_92, 0.001_361_106_4]);
        let r2 = r * r;
        r2.mul_add(r2.mul_add(c4, r.mul_add(c3, c2)), r.mul_add(c1, c0))
    }
}

// Minimax for the relative error of exp by the same method, every weight 1 and the coefficients rounded once: error
// 2^-60.3 (degree 12; degree 11 gives 2^-56.3).
impl Exp for f64 {
    const LOG2_E: Self = std::f64::consts::LOG2_E;
    const LN_2_HI: Self = 0.693_147_180_601_954_5; // 33 bits
    const LN_2_LO: Self = -4.200_915_072_681_084_6e-11;
    const ROUND: Self = 6_755_399_441_055_744.0; // 1.5 * 2^52
    const POWER: Self = 6_755_399_441_056_767.0; // + 1023
    const MIN_EXPONENT: Self = -1022.0;
    const EXP_RANGE: [Self; 2] = [-746.0, 710.0]; // ln 2^-1075 = -745.13, ln 2^1024 = 709.78
    const PIVOT_LIMIT: f64 = 2048.0; // > 2 * 1022 ln 2; n has 12 bits, LN_2_HI 33
    const HEADROOM: f64 = 400.0;

    #[inline(always)]
    fn q<S: Simd<Self>>(s: S, r: S::V) -> S::V {
        let [c0, c1, c2, c3, c4, c5, c6, c7, c8, c9, c10] = splats(
            s,
            [
                0.5,
                0.166_666_666_666_666_82,
                0.041_666_666_666_666_095,
                0.008_333_333_333_316_983,
                0.001_388_888_888_911_621_8,
                0.000_198_412_698_965_121_65,
                2.480_158_692_597_650_4e-5,
                2.755_723_473_075_843_4e-6,
                2.755_758_207_356_707_3e-7,
                2.511_208_350_268_941e-8,
                2.082_664_431_000_749e-9,
            ],
        );
        let r2 = r * r;
        let r4 = r2 * r2;
        let low = r2.mul_add(r.mul_add(c3, c2), r.mul_add(c1, c0));
        let middle = r2.mul_add(r.mul_add(c7, c6), r.mul_add(c5, c4));
        let high = r2.mul_add(c10, r.mul_add(c9, c8));
        (r4 * r4).mul_add(high, r4.mul_add(middle, low))
    }
}

/// Each number in a register of its own.
#[inline(always)]
pub(super) fn splats<const N: usize, T: Float, S: Simd<T>>(s: S, xs: [T; N]) -> [S::V; N] {
    // A loop, not `map`: its closure would not always be inlined, and would then lack the instruction set.
    let mut registers = [s.splat(T::ZERO); N];
    for (register, x) in registers.iter_mut().zip(xs) {
        *register = s.splat(x);
    }
    registers
}

/// An argument reduced modulo `ln 2`.
struct Reduced<V> {
    /// `x - n LN_2_HI`, exact.
    high: V,
    /// `-n LN_2_LO`
    low: V,
    n: V,
    /// `n` plus the constant that rounded it.
    rounded: V,
}

/// `x = n ln 2 + high + low`, with `n` rounded by adding a constant whose last bit is 1.
#[inline(always)]
fn reduced<T: Exp, S: Simd<T>>(s: S, x: S::V, round: S::V) -> Reduced<S::V> {
    // 1. n = round(x / ln 2); |x| above 2^22 or 2^51 makes n inexact, where the caller's result underflows anyway.
    let rounded = x.mul_add(s.splat(T::LOG2_E), round);
    let n = rounded - round;
    // 2. n ln 2 in two parts
    Reduced { high: n.mul_add(s.splat(-T::LN_2_HI), x), low: n * s.splat(-T::LN_2_LO), n, rounded }
}

/// `w = exp(high + low) - 1 = high + (low + r^2 q(r))`, with rounding errors of `r` in the small terms alone.
#[inline(always)]
fn tight<T: Exp, S: Simd<T>>(s: S, x: &Reduced<S::V>) -> S::V {
    let r = x.high + x.low;
    x.high + (r * r).mul_add(T::q(s, r), x.low)
}

/// The same as `w = r + r^2 q(r)`: for sums, a tenth faster.
#[inline(always)]
fn plain<T: Exp, S: Simd<T>>(s: S, x: &Reduced<S::V>) -> S::V {
    let r = x.n.mul_add(s.splat(-T::LN_2_LO), x.high);
    (r * r).mul_add(T::q(s, r), r)
}

/// `(w, n)` with `exp(x) = (1 + w) 2^n` and `w` in `[sqrt(1/2) - 1, sqrt(2) - 1]`.
#[inline(always)]
pub(crate) fn exp_parts<T: Exp, S: Simd<T>>(s: S, x: S::V) -> (S::V, S::V) {
    s.function(inlined!(|s| {
        let x = reduced(s, x, s.splat(T::ROUND));
        (plain(s, &x), x.n)
    }))
}

/// `x 2^n` for a whole number `n` between the exponents of the smallest and the largest normal number.
#[inline(always)]
pub(super) fn ldexp<T: Exp, S: Simd<T>>(s: S, x: S::V, n: S::V) -> S::V {
    x * (n + s.splat(T::POWER)).to_power()
}

/// `exp(x)`: overflows to infinity, underflows gradually to 0. At most 1 ULP.
#[inline(always)]
pub(crate) fn exp<T: Exp, S: Simd<T>>(s: S, x: S::V) -> S::V {
    s.function(inlined!(|s| {
        // 1. Clamp to where the result is 0 or infinite; a NaN, on the right, stays.
        let ([lowest, highest], round) = (splats(s, T::EXP_RANGE), s.splat(T::ROUND));
        let x = reduced(s, lowest.max(highest.min(x)), round);
        // 2. 2^n may not be a normal number, so it has two factors. The first product is exact: the result is rounded
        // once.
        let half = x.n.mul_add(s.splat(T::from_f64(0.5)), round) - round;
        ldexp(s, ldexp(s, tight(s, &x) + s.splat(T::ONE), half), x.n - half)
    }))
}

/// `exp(x) / 2^exponent` for whole `exponent`, where the result is at most 2; 0 where it is well below the normal
/// numbers. At most 1.05 ULP: for sums.
#[inline(always)]
pub(crate) fn exp_scaled<T: Exp, S: Simd<T>>(s: S, x: S::V, exponent: S::V) -> S::V {
    // The exponent field of what is flushed is 0, and no less; a NaN, on the right, stays.
    let lowest = (exponent + s.splat(T::MIN_EXPONENT - T::ONE)) * s.splat(T::LN_2_HI + T::LN_2_LO);
    let x = reduced(s, lowest.max(x), s.splat(T::POWER) - exponent);
    let power = x.rounded.to_power();
    plain(s, &x).mul_add(power, power)
}

/// The same for an exponent that is computed last: only the scaling depends on it.
#[inline(always)]
pub(crate) fn exp_scaled_late<T: Exp, S: Simd<T>>(s: S, x: S::V, exponent: S::V) -> S::V {
    let x = reduced(s, x, s.splat(T::POWER));
    scaled(s, plain(s, &x), x.rounded - exponent)
}

/// `exp(x)` for `x <= 0`; 0 where the result is below the normal numbers. At most 1 ULP.
#[inline(always)]
pub(crate) fn exp_nonpositive<T: Exp, S: Simd<T>>(s: S, x: S::V) -> S::V {
    s.function(inlined!(|s| {
        let x = reduced(s, x, s.splat(T::POWER));
        scaled(s, tight(s, &x), x.rounded)
    }))
}

/// `exp(x + y)` for `x + y <= 0`, without rounding the sum (`y` may lose digits where it is not small beside 1); 0
/// where the result is below the normal numbers.
#[inline(always)]
pub(crate) fn exp_nonpositive_sum<T: Exp, S: Simd<T>>(s: S, x: S::V, y: S::V) -> S::V {
    s.function(inlined!(|s| {
        let rounded = (x + y).mul_add(s.splat(T::LOG2_E), s.splat(T::POWER));
        let n = rounded - s.splat(T::POWER);
        let (high, low) = (n.mul_add(s.splat(-T::LN_2_HI), x), n.mul_add(s.splat(-T::LN_2_LO), y));
        scaled(s, tight(s, &Reduced { high, low, n, rounded }), rounded)
    }))
}

/// `(1 + w) 2^n`, or 0 below the normal numbers, from `POWER + n`, whose low bits are the exponent of `2^n`.
#[inline(always)]
fn scaled<T: Exp, S: Simd<T>>(s: S, w: S::V, rounded: S::V) -> S::V {
    let power = rounded.to_power();
    w.mul_add(power, power).zero_where_lt(rounded, s.splat(T::POWER + T::MIN_EXPONENT))
}

/// `exp(x) - 1` for `x` in `[-64, 0]`.
#[inline(always)]
pub(super) fn expm1_nonpositive<T: Exp, S: Simd<T>>(s: S, x: S::V) -> S::V {
    // (1 + w) 2^n - 1 = w 2^n + (2^n - 1), where only w is rounded; for n = 0 it is exactly w.
    let (w, n) = exp_parts(s, x);
    let one = s.splat(T::ONE);
    let power = ldexp(s, one, n);
    w.mul_add(power, power - one)
}
