//! Logarithms.
//!
//! # Method
//! `u = m 2^k` with `m` in `[sqrt(1/2), sqrt(2))`, `f = m - 1`, `s = f / (2 + f)`: then
//! `ln(1 + f) = 2 atanh(s) = 2 s + s z P(z)` with `z = s^2 <= 0.0295`, and `2 s = f - s f`, so that only the small
//! part of the result carries rounding errors.
//!
//! # Precision
//! At most 2 ULP.
//!
//! # References
//! J.-M. Muller, *Elementary Functions*, 3rd edition, 2016, section 11.3 (the `atanh` form is that of FDLIBM).

use super::exp::Exp;
use crate::simd::{Float, Lanes, Simd};

/// The constants of a float type.
pub trait Log: Float {
    /// `P(z) = (2 atanh(s) / s - 2) / z`, lowest power first.
    const POLYNOMIAL_LOG: &'static [Self];
}

// Minimax for the relative error of 2 atanh on z <= 0.0295, by the Remez exchange in 200-bit arithmetic, each
// coefficient rounded to the type before the next ones are fitted. Errors 2^-30.2 and 2^-59.5.
impl Log for f32 {
    const POLYNOMIAL_LOG: &'static [Self] = &[0.666_667_76, 0.399_775_68, 0.298_714_6];
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
}

/// `ln(1 + x)` for `x >= 0`, at most 2 ULP; `+inf` and NaN stay what they are.
#[inline(always)]
pub(crate) fn log1p<T: Exp + Log, S: Simd<T>>(s: S, x: S::V) -> S::V {
    let one = s.splat(T::ONE);
    // 1. u = 1 + x, and what the rounding lost of x (exact for x below 1, and lost on purpose above).
    let u = one + x;
    let lost = x - (u - one);
    // 2. u + lost = (1 + f) 2^k: for k = 0, f is x again to the last bit.
    let (m, k) = u.split();
    let f = (m - one) + lost.ldexp((s.splat(T::ZERO) - k).max(s.splat(T::MIN_EXPONENT)));
    // 3. 2 atanh(f / (2 + f)) + k ln 2, smallest terms first
    let ratio = f / (f + s.splat(T::ONE + T::ONE));
    let z = ratio * ratio;
    let (last, lower) = T::POLYNOMIAL_LOG.split_last().expect("a polynomial has coefficients");
    let p = lower.iter().rfold(s.splat(*last), |p, &c| p.mul_add(z, s.splat(c)));
    let small = k.mul_add(s.splat(T::LN_2_LO), ratio * (p * z - f));
    let ln = k.mul_add(s.splat(T::LN_2_HI), f + small);
    S::V::select(x.lt(s.splat(T::INFINITY)), ln, x)
}
