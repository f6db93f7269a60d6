//! A difference, and its rounding error.
//!
//! # References
//! D. E. Knuth, *The Art of Computer Programming*, volume 2, section 4.2.2, theorem B.

use crate::simd::{Float, Lanes, Simd};

/// `a - b` in two parts, whose sum is exact; the second is 0 where the first is infinite.
#[inline(always)]
pub(crate) fn subtract<T: Float, S: Simd<T>>(s: S, a: S::V, b: S::V) -> [S::V; 2] {
    let difference = a - b;
    let from_a = difference + b;
    let lost = (a - from_a) - (b - (from_a - difference));
    [difference, S::V::select(difference.abs().lt(s.splat(T::INFINITY)), lost, s.splat(T::ZERO))]
}
