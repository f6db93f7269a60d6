//! The logistic function, its logarithm and the hyperbolic tangent, right to the last digits in both tails.

use super::exp::expm1_nonpositive;
use super::log::polynomial;
use super::{Real, exp_nonpositive, log1p_unit};
use crate::simd::{Float, Lanes, Simd, inlined};

/// The constants of a float type.
pub trait Tanh: Float {
    /// `P(y) = (tanh(x) / x - 1) / y` with `y = x^2` in `[0, 1]`, lowest power first.
    const POLYNOMIAL_TANH: &'static [Self];
}

// Minimax for the relative error of tanh, by the Remez exchange in 200-bit arithmetic, each coefficient rounded to the
// type before the next ones are fitted. Errors: 2^-26.7 and 2^-54.7 (one coefficient less: 2^-24.1 and 2^-52.6).
impl Tanh for f32 {
    const POLYNOMIAL_TANH: &'static [Self] =
        &[-0.333_332_96, 0.133_323_46, -0.053_879_846, 0.021_486_69, -0.007_946_066, 0.002_301_189_8, -0.000_358_313_8];
}

impl Tanh for f64 {
    const POLYNOMIAL_TANH: &'static [Self] = &[
        -0.333_333_333_333_329_43,
        0.133_333_333_332_926_93,
        -0.053_968_253_953_367_34,
        0.021_869_488_258_830_73,
        -0.008_863_232_441_813_319,
        0.003_592_105_542_711_337_6,
        -0.001_455_721_047_802_236_4,
        0.000_589_617_824_649_296_3,
        -0.000_238_041_967_917_678_12,
        9.476_519_214_170_55e-5,
        -3.608_333_086_609_832e-5,
        1.233_884_664_327_330_2e-5,
        -3.418_472_287_588_815_3e-6,
        6.541_576_945_166_441e-7,
        -6.265_244_924_510_583e-8,
    ];
}

/// The logistic functions at `x`, from one exponential `e = exp(-|x|)`, which never overflows and keeps the small tail.
#[derive(Clone, Copy)]
pub(crate) struct Logistic<V> {
    x: V,
    e: V,
}

impl<V: Copy> Logistic<V> {
    /// The functions at `x`.
    #[inline(always)]
    pub(crate) fn at<T: Real, S: Simd<T, V = V>>(s: S, x: V) -> Self
    where
        V: Lanes<T>,
    {
        Logistic { x, e: Self::exponential(s, x) }
    }

    /// The same from `x` and its [`exponential`](Self::exponential).
    #[inline(always)]
    pub(crate) fn of(x: V, e: V) -> Self {
        Logistic { x, e }
    }

    /// `exp(-|x|)`
    #[inline(always)]
    pub(crate) fn exponential<T: Real, S: Simd<T, V = V>>(s: S, x: V) -> V
    where
        V: Lanes<T>,
    {
        exp_nonpositive(s, s.splat(T::ZERO) - x.abs())
    }

    /// `ln(1 + exp(-|x|))`, the common term of softplus at `x` and at `-x`.
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

/// `sigmoid(x) = 1 / (1 + exp(-x))`, at most 2.45 ULP: one quotient, with one rounding less than a pair of sigmoids.
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
    s.function(inlined!(|s| {
        let zero = s.splat(T::ZERO);
        // 1. t = exp(-2 |x|) - 1, in [-1, 0]; it is -1 beyond -64, and a NaN, on the right, stays.
        let t = expm1_nonpositive(s, s.splat(T::from_f64(-64.0)).max(zero - (x.abs() + x.abs())));
        // 2. tanh |x| = -t / (2 + t), without cancellation; then the sign, also of a zero.
        let tanh = (zero - t) / (t + s.splat(T::ONE + T::ONE));
        S::V::select(zero.lt(x), tanh, S::V::select(x.eq(zero), x, zero - tanh))
    }))
}

/// `tanh(x)` and its derivative `1 - tanh^2(x)` for `x` in `[-1, 1]`: no exponential, no quotient. The
/// first at most 3 ULP.
#[inline(always)]
pub(crate) fn tanh_unit<T: Real, S: Simd<T>>(s: S, x: S::V) -> (S::V, S::V) {
    s.function(inlined!(|s| {
        let y = x * x;
        let tanh = (x * y).mul_add(polynomial(s, T::POLYNOMIAL_TANH, y), x);
        (tanh, s.splat(T::ONE) - tanh * tanh)
    }))
}

/// `tanh(x)` and its derivative `sech^2(x)`, which keeps its digits where `1 - tanh^2` would lose them;
/// within `[-1, 1]` those of [`tanh_unit`]. The first at most 3 ULP.
#[inline(always)]
pub(crate) fn tanh_with_slope<T: Real, S: Simd<T>>(s: S, x: S::V) -> (S::V, S::V) {
    s.function(inlined!(|s| {
        let (zero, one) = (s.splat(T::ZERO), s.splat(T::ONE));
        // 1. beyond [-1, 1]: (1 - e) / (1 + e) and 4 e / (1 + e)^2 with e = exp(-2 |x|), at most 0.14
        let logistic = Logistic::at(s, x + x);
        let (large, small) = logistic.by_size(s);
        let size = (one - logistic.e) * large;
        let slope = large * small * s.splat(T::from_f64(4.0));
        // 2. within
        let (near, near_slope) = tanh_unit(s, x);
        let is_far = one.lt(x.abs());
        let tanh = S::V::select(x.lt(zero), zero - size, size);
        (S::V::select(is_far, tanh, near), S::V::select(is_far, slope, near_slope))
    }))
}
