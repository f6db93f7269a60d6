//! Points of float64 where functions go wrong: everywhere, and near the places where a method changes hands.

use std::f64::consts::{FRAC_1_SQRT_2, LN_2};

/// A number that looks random and is the same in every run (G. Steele, D. Lea, C. Flood, *SplitMix*, 2014).
fn random(i: u64) -> u64 {
    let z = (i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The `i`th point of the sample.
pub(super) fn point(i: u64) -> f64 {
    let (bits, other) = (random(2 * i), random(2 * i + 1));
    let uniform = other as f64 / 2f64.powi(64);
    let sign = if bits & 1 == 0 { 1.0 } else { -1.0 };
    let few = (bits >> 1) % 64;
    match i % 10 {
        // Every exponent alike: subnormal numbers, infinities and NaN occur.
        0 => f64::from_bits(bits),
        // The magnitudes where most functions are neither 0 nor x nor 1.
        1 => sign * 2f64.powf(75.0 * uniform - 65.0),
        // The whole range of exp, and where it leaves the normal numbers.
        2 => sign * 750.0 * uniform,
        3 => sign * (700.0 + 50.0 * uniform),
        4 => sign * 40.0 * uniform,
        5 => sign * uniform,
        // 1 and -1, from afar to the next neighbour.
        6 => sign * (1.0 + (uniform - 0.5) * 2f64.powi(-(few as i32))),
        // Where exp changes n: odd multiples of ln 2 / 2 and their neighbours.
        7 => f64::from_bits((sign * (other % 1076) as f64 * LN_2 + LN_2 / 2.0).to_bits() + few - 32),
        // Where ln and log1p change k: sqrt(1/2) 2^k, for log1p less 1.
        8 => f64::from_bits(FRAC_1_SQRT_2.to_bits() + few - 32 + ((other % 1022) << 52)),
        _ => 2f64.powi((other % 54) as i32) * (FRAC_1_SQRT_2 + (uniform - 0.5) * 2f64.powi(-(few as i32))) - 1.0,
    }
}
