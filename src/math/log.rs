//! Logarithms.
//!
//! # Method
//! `u = m 2^k` with `m` in `[sqrt(1/2), sqrt(2))`, `f = m - 1`, `s = f / (2 + f)`: then
//! `ln(1 + f) = 2 atanh(s) = 2 s + s z P(z)` with `z = s^2 <= 0.0295`, and `2 s = f - s f`, so that only the small part
//! of the result has rounding errors.
//!
//! On `[0, 1]` no quotient and no exponent is needed: `ln(1 + x) = x - x^2 / 2 + x^3 R(x)`, a longer polynomial with
//! independent terms.
//!
//! # Precision
//! `ln` at most 1 ULP, `log1p` 1.6, on `[0, 1]` 1.35.
//!
//! # References
//! J.-M. Muller, *Elementary Functions*, 3rd edition, 2016, section 11.3 (the `atanh` form is that of FDLIBM).

use super::exp::{Exp, ldexp, splats};
use crate::simd::{Float, Lanes, Simd, inlined};

/// The constants of a float type.
pub trait Log: Float {
    /// `P(z) = (2 atanh(s) / s - 2) / z` for `z <= 0.0295`, lowest power first.
    const POLYNOMIAL_LOG: &'static [Self];
    /// The same for `z <= 0.04`.
    const POLYNOMIAL_LOG_QUOTIENT: &'static [Self];
    /// The same for `z <= 1/9`.
    const POLYNOMIAL_LOG_UNIT: &'static [Self];
    /// `R(x) = (ln(1 + x) - x + x^2 / 2) / x^3` on `[0, 1]`.
    fn log1p_tail<S: Simd<Self>>(s: S, x: S::V) -> S::V;
    /// The smallest normal number.
    const MIN_NORMAL: Self;
    /// `2^DIGITS` makes every subnormal number normal.
    const DIGITS: Self;
    /// `2^DIGITS`, which scales every subnormal number up to a normal one.
    const SCALE_UP: Self;
}

// Minimax for the relative error of 2 atanh, by the Remez exchange in 200-bit arithmetic, each coefficient rounded to
// the type before the next ones are fitted. Errors on z <= 0.0295: 2^-30.2 and 2^-59.5; on z <= 0.04: 2^-28.4 and
// 2^-62.6; on z <= 1/9: 2^-33.0 and 2^-59.4. R, for the relative error of log1p on [0, 1], by the same method: 2^-27.0
// and 2^-58.9 (one coefficient less: 2^-24.2 and 2^-56.3).
impl Log for f32 {
    const POLYNOMIAL_LOG: &'static [Self] = &[0.666_667_76, 0.399_775_68, 0.298_714_6];
    const POLYNOMIAL_LOG_QUOTIENT: &'static [Self] = &[0.666_669_5, 0.399_576_57, 0.303_644_98];
    const POLYNOMIAL_LOG_UNIT: &'static [Self] = &[0.666_666_75, 0.399_989_5, 0.286_152_18, 0.214_437_19, 0.242_463_44];
    const MIN_NORMAL: Self = Self::MIN_POSITIVE;
    const DIGITS: Self = 24.0;
    const SCALE_UP: Self = (1u32 << 24) as Self;

    #[inline(always)]
    fn log1p_tail<S: Simd<Self>>(s: S, x: S::V) -> S::V {
        let x2 = x * x;
        let low = cubic(s, [0.333_322_5, -0.249_750_78, 0.197_741_76, -0.155_69], x, x2);
        let high = cubic(s, [0.110_240_45, -0.060_909_12, 0.021_868_002, -0.003_675_639_4], x, x2);
        (x2 * x2).mul_add(high, low)
    }
}

impl Log for f64 {
    const POLYNOMIAL_LOG: &'static [Self] = &[
        0.666_666_666_666_673_5,
        0.399_999_999_994_093_5,
        0.285_714_287_436_886_15,
        0.222_221_984_284_427_08,
        0.181_835_724_011_387_1,
        0.153_138_305_011_132_2,
        0.147_982_801_888_496_72,
    ];
    const POLYNOMIAL_LOG_QUOTIENT: &'static [Self] = &[
        0.666_666_666_666_666,
        0.400_000_000_000_566_8,
        0.285_714_285_558_255_93,
        0.222_222_242_970_336_66,
        0.181_816_658_270_439_08,
        0.153_911_139_847_201_64,
        0.131_735_581_650_373_36,
        0.138_433_603_174_604_92,
    ];
    const POLYNOMIAL_LOG_UNIT: &'static [Self] = &[
        0.666_666_666_666_663_1,
        0.400_000_000_001_558_94,
        0.285_714_285_480_142_9,
        0.222_222_239_604_089_9,
        0.181_817_442_303_728_48,
        0.153_865_538_994_655_7,
        0.133_010_464_958_656_48,
        0.121_055_566_437_359_07,
        0.083_422_178_062_251_51,
        0.170_150_039_663_635_12,
    ];
    const MIN_NORMAL: Self = Self::MIN_POSITIVE;
    const DIGITS: Self = 53.0;
    const SCALE_UP: Self = (1u64 << 53) as Self;

    #[inline(always)]
    fn log1p_tail<S: Simd<Self>>(s: S, x: S::V) -> S::V {
        let [a, b, c, d, e] = [
            [0.333_333_333_333_271_6, -0.249_999_999_993_151_5, 0.199_999_999_693_297_35, -0.166_666_659_030_815_46],
            [0.142_857_021_401_667_8, -0.124_998_663_951_470_36, 0.111_100_412_460_601_58, -0.099_935_372_976_217_32],
            [0.090_606_834_089_021_11, -0.082_217_004_041_973_48, 0.073_615_878_934_254_68, -0.063_464_769_398_704_24],
            [
                0.050_885_204_946_394_064,
                -0.036_417_527_470_511_29,
                0.022_265_748_115_623_183,
                -0.011_101_899_532_593_025,
            ],
            [
                0.004_278_297_014_729_379,
                -0.001_184_707_666_817_01,
                0.000_208_498_854_568_237_7,
                -1.744_422_122_998_781e-5,
            ],
        ];
        let x2 = x * x;
        let x4 = x2 * x2;
        let low = x4.mul_add(cubic(s, b, x, x2), cubic(s, a, x, x2));
        let middle = x4.mul_add(cubic(s, d, x, x2), cubic(s, c, x, x2));
        let x8 = x4 * x4;
        x8.mul_add(x8.mul_add(cubic(s, e, x, x2), middle), low)
    }
}

/// A polynomial by Horner's scheme, lowest power first.
#[inline(always)]
pub(super) fn polynomial<T: Float, S: Simd<T>>(s: S, coefficients: &[T], z: S::V) -> S::V {
    #[expect(clippy::expect_used, reason = "all polynomials are constants of this folder")]
    let (last, lower) = coefficients.split_last().expect("a polynomial has coefficients");
    let mut p = s.splat(*last);
    // A loop, not a fold: its closure would not always be inlined, and would then lack the instruction set.
    for &c in lower.iter().rev() {
        p = p.mul_add(z, s.splat(c));
    }
    p
}

/// Four terms of a polynomial by Estrin's scheme, lowest power first.
#[inline(always)]
fn cubic<T: Float, S: Simd<T>>(s: S, coefficients: [T; 4], x: S::V, x2: S::V) -> S::V {
    let [c0, c1, c2, c3] = splats(s, coefficients);
    x2.mul_add(x.mul_add(c3, c2), x.mul_add(c1, c0))
}

/// `ln(1 + f) + k ln 2` for `1 + f` in `[sqrt(1/2), sqrt(2))`.
#[inline(always)]
fn ln_parts<T: Exp + Log, S: Simd<T>>(s: S, f: S::V, k: S::V) -> S::V {
    // 2 atanh(f / (2 + f)) + k ln 2, smallest terms first
    let ratio = f / (f + s.splat(T::ONE + T::ONE));
    let z = ratio * ratio;
    let p = polynomial(s, T::POLYNOMIAL_LOG, z);
    let small = k.mul_add(s.splat(T::LN_2_LO), ratio * (p * z - f));
    k.mul_add(s.splat(T::LN_2_HI), f + small)
}

/// The limit of `r^2` for [`atanh_tail`], where `(1 + r) / (1 - r)` is within `[1/2, 2]`.
pub(crate) const ATANH_LIMIT: f64 = 0.111;

/// `t = 2 atanh(r) / r - 2` for `r^2` below [`ATANH_LIMIT`]. It gives logarithms without the first terms of their
/// series, which would cancel in a difference: with `x = 2 r / (1 - r)`, that is `r = x / (2 + x)`,
///
/// ```text
/// ln(1 + x)               = r (2 + t)
/// x - ln(1 + x)           = r (x - t)
/// (1 + x) ln(1 + x) - x   = r (x + (1 + x) t)
/// ```
#[inline(always)]
pub(crate) fn atanh_tail<T: Log, S: Simd<T>>(s: S, r: S::V) -> S::V {
    s.function(inlined!(|s| {
        let z = r * r;
        polynomial(s, T::POLYNOMIAL_LOG_UNIT, z) * z
    }))
}

/// Extends `ln`, which is right for positive, finite `u`, to every `u`.
#[inline(always)]
fn with_limits<T: Float, S: Simd<T>>(s: S, u: S::V, ln: S::V) -> S::V {
    let (zero, infinity) = (s.splat(T::ZERO), s.splat(T::INFINITY));
    let at_most_zero = S::V::select(u.eq(zero), zero - infinity, s.splat(T::NAN));
    S::V::select(zero.lt(u), S::V::select(u.lt(infinity), ln, u), at_most_zero)
}

/// `ln(x)`, at most 1 ULP: subnormal numbers too; -inf at 0, NaN below.
#[inline(always)]
pub(crate) fn ln<T: Exp + Log, S: Simd<T>>(s: S, x: S::V) -> S::V {
    s.function(inlined!(|s| {
        // 1. A subnormal number is scaled up to a normal one, whose exponent can be read.
        let subnormal = x.lt(s.splat(T::MIN_NORMAL));
        let u = S::V::select(subnormal, x * s.splat(T::SCALE_UP), x);
        // 2. u = (1 + f) 2^k
        let (m, k) = u.split();
        let k = k - s.splat(T::DIGITS).zero_unless(subnormal);
        with_limits(s, x, ln_parts(s, m - s.splat(T::ONE), k))
    }))
}

/// `ln(x)`, at most 1 ULP, from `x 2^DIGITS`, which is normal for every positive `x`; finite at 0.
#[inline(always)]
pub(crate) fn ln_scaled_up<T: Exp + Log, S: Simd<T>>(s: S, x_scaled: S::V) -> S::V {
    s.function(inlined!(|s| {
        let (m, k) = x_scaled.split();
        ln_parts(s, m - s.splat(T::ONE), k - s.splat(T::DIGITS))
    }))
}

/// `ln(1 + x)`, at most 1.6 ULP: -inf at -1, NaN below.
#[inline(always)]
pub(crate) fn log1p<T: Exp + Log, S: Simd<T>>(s: S, x: S::V) -> S::V {
    s.function(inlined!(|s| {
        let (zero, one) = (s.splat(T::ZERO), s.splat(T::ONE));
        // 1. u = 1 + x and its rounding error, which is exact for |x| below 1, and ignored above.
        let u = one + x;
        let lost = x - (u - one);
        // 2. u + lost = (1 + f) 2^k; for k = 0, f is exactly x.
        let (m, k) = u.split();
        let f = (m - one) + ldexp(s, lost, (zero - k).max(s.splat(T::MIN_EXPONENT)));
        // 3. A zero keeps its sign.
        S::V::select(x.eq(zero), x, with_limits(s, u, ln_parts(s, f, k)))
    }))
}

/// `ln(u + lost)` for `u` in `[0, 1]`, at most 1.6 ULP; `lost` is the rounding error of a `u` from 1/2 on, 0 below. It
/// is `ln(u)` for `lost = 0`, and `ln(1 - p)` for `u = 1 - p`, to the same bits as [`ln`] and [`log1p`].
#[inline(always)]
pub(crate) fn ln_share<T: Exp + Log, S: Simd<T>>(s: S, u: S::V, lost: S::V) -> S::V {
    s.function(inlined!(|s| {
        let one = s.splat(T::ONE);
        let (m, k) = (u * s.splat(T::SCALE_UP)).split();
        let k = k - s.splat(T::DIGITS);
        // From 1/2 on, where k is 0 or -1, 2^-k is 1 - k.
        with_limits(s, u, ln_parts(s, (m - one) + lost * (one - k), k))
    }))
}

/// `ln(1 + x)` for `x` in `[0, 1]`, at most 1.35 ULP.
#[inline(always)]
pub(crate) fn log1p_unit<T: Log, S: Simd<T>>(s: S, x: S::V) -> S::V {
    s.function(inlined!(|s| {
        // x + (x^3 R(x) - x^2 / 2) has the smallest error of several ways, with and without FMA.
        let x2 = x * x;
        x + (x2 * x).mul_add(T::log1p_tail(s, x), x2 * s.splat(T::from_f64(-0.5)))
    }))
}
