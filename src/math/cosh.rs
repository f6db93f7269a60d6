//! `ln cosh(x / 2)` and `x tanh(x / 2) / 2 - ln cosh(x / 2)`, without exponential, logarithm or quotient.
//!
//! # Method
//! Both are even, and computed as `x^2` times a polynomial in `x^2`, for `|x|` up to 2. The nearest poles of
//! `tanh(x / 2)` are at `±i pi`.

use super::log::polynomial;
use crate::simd::{Float, Simd, inlined};

/// The constants of a float type.
pub trait Cosh: Float {
    /// `ln cosh(x / 2) / x^2` with `y = x^2` in `[0, 4]`, lowest power first.
    const POLYNOMIAL_LN_COSH: &'static [Self];
    /// `(x tanh(x / 2) / 2 - ln cosh(x / 2)) / x^2`, likewise.
    const POLYNOMIAL_JS_SHARE: &'static [Self];
}

// Minimax for the relative error, by the Remez exchange in 200-bit arithmetic with the first coefficient (of the second
// also the next) that of the series, which is exact, the others rounded to the type, in float32 each before the next
// ones are fitted. Errors: 2^-26.2 and 2^-56.1; 2^-26.0 and 2^-54.8 (one coefficient less: 2^-22.4 and 2^-51.3).
impl Cosh for f32 {
    const POLYNOMIAL_LN_COSH: &'static [Self] =
        &[0.125, -0.005_208_318_6, 0.000_347_147_87, -2.622_508_1e-5, 2.034_039_2e-6, -1.369_119_5e-7, 5.372_669e-9];
    const POLYNOMIAL_JS_SHARE: &'static [Self] = &[
        0.125,
        -0.015_625,
        0.001_736_051_8,
        -0.000_184_255_78,
        1.894_862_4e-5,
        -1.800_26e-6,
        1.342_089_5e-7,
        -5.385_067e-9,
    ];
}

impl Cosh for f64 {
    const POLYNOMIAL_LN_COSH: &'static [Self] = &[
        0.125,
        -0.005_208_333_333_333_246,
        0.000_347_222_222_220_217_06,
        -2.635_168_649_171_553e-5,
        2.135_692_173_344_843_2e-6,
        -1.803_228_261_731_411_3e-7,
        1.566_017_781_072_644e-8,
        -1.388_111_059_282_174_4e-9,
        1.248_255_628_288_749_7e-10,
        -1.128_018_844_197_971e-11,
        9.997_103_453_164_898e-13,
        -8.210_729_301_681_227e-14,
        5.637_046_313_148e-15,
        -2.738_394_407_136_974_3e-16,
        6.759_016_633_072_46e-18,
    ];
    const POLYNOMIAL_JS_SHARE: &'static [Self] = &[
        0.125,
        -0.015_625,
        0.001_736_111_111_109_001_4,
        -0.000_184_461_805_525_407_17,
        1.922_122_998_622_282_3e-5,
        -1.983_552_331_561_809_4e-6,
        2.035_845_926_457_851_5e-7,
        -2.082_445_532_615_942e-8,
        2.124_393_176_822_187_6e-9,
        -2.157_310_681_319_417_3e-10,
        2.159_092_339_962_787_8e-11,
        -2.067_331_618_896_263e-12,
        1.779_094_509_132_978_8e-13,
        -1.241_350_588_880_273_7e-14,
        5.984_256_998_367_949e-16,
        -1.443_634_952_560_501_4e-17,
    ];
}

/// The largest `|x|`.
pub(crate) const COSH_LIMIT: f64 = 2.0;

/// `ln cosh(x / 2)`, of `x^2`.
#[inline(always)]
pub(crate) fn ln_cosh_of_half<T: Cosh, S: Simd<T>>(s: S, square: S::V) -> S::V {
    s.function(inlined!(|s| { square * polynomial(s, T::POLYNOMIAL_LN_COSH, square) }))
}

/// `x tanh(x / 2) / 2 - ln cosh(x / 2)`, of `x^2`: the term of a class in a Jensen-Shannon divergence.
#[inline(always)]
pub(crate) fn js_share<T: Cosh, S: Simd<T>>(s: S, square: S::V) -> S::V {
    s.function(inlined!(|s| { square * polynomial(s, T::POLYNOMIAL_JS_SHARE, square) }))
}
