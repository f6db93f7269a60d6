//! Weights on their way to the type of the computation.
//!
//! A loss divided by the sum of its weights depends on their ratios alone. So weights of 1e-46 or 1e38, which single
//! precision or its sums cannot hold, are first multiplied by a power of two, in double precision. This changes no
//! digit of a ratio. Other results are proportional to their weights; if single precision cannot hold these, the call is
//! repeated in double precision ([`needs_double`](super::errors::needs_double)).

use crate::Reduction;
use crate::math::Real;
use std::ops::RangeInclusive;

/// What weights are used for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// The result is divided by their sum, so only their ratios matter.
    Ratios,
    /// The result is proportional to them, or depends on them in another way.
    AsTheyAre,
}

impl Use {
    /// The use of weights under a reduction, if the mean depends on ratios alone.
    pub(super) fn under(reduction: Reduction) -> Self {
        if reduction == Reduction::Mean { Use::Ratios } else { Use::AsTheyAre }
    }
}

/// The numbers that are multiplied with losses, and summed, without a thought: about 1e-12 to 1e12 in single precision.
fn plain<T: Real>() -> RangeInclusive<f64> {
    let exponent = -T::MIN_EXPONENT.to_f64() / 3.0;
    (-exponent).exp2()..=exponent.exp2()
}

/// The numbers whose products with most losses the type can hold in all digits: about 1e-30 to 1e19 in single precision.
/// Double precision is the widest type, and must do for all.
fn holds<T: Real>(w: f64) -> bool {
    let exponent = -T::MIN_EXPONENT.to_f64();
    let range = (-exponent * 0.8).exp2()..=(exponent * 0.5).exp2();
    w == 0.0 || range.contains(&w) || size_of::<T>() == size_of::<f64>()
}

/// Whether all weights are plain numbers or 0, whatever their use.
#[inline]
pub(super) fn are_plain<T: Real>(weights: &[T]) -> bool {
    let range = plain::<T>();
    let (least, most) = (T::from_f64(*range.start()), T::from_f64(*range.end()));
    // Without an early exit the loop has no branches.
    weights.iter().fold(true, |all, &w| all & ((w >= least && w <= most) || w == T::ZERO))
}

/// Whether numbers of any sign are plain or 0.
pub(super) fn are_plain_factors<T: Real>(factors: &[T]) -> bool {
    let range = plain::<T>();
    factors.iter().all(|x| *x == T::ZERO || range.contains(&x.to_f64().abs()))
}

/// Whether numbers of any sign can be multiplied with gradients as they are; no wider type holds infinities better.
pub(super) fn are_factors<T: Real>(wide: &[f64]) -> bool {
    wide.iter().all(|w| !w.is_finite() || holds::<T>(w.abs()))
}

/// Whether weights that are not negative can be used as they are.
pub(super) fn fit<T: Real>(weights: &[T], use_of: Use) -> bool {
    match use_of {
        Use::Ratios => {
            let largest = weights.iter().fold(0.0, |largest, w| w.to_f64().max(largest));
            largest == 0.0 || plain::<T>().contains(&largest)
        }
        Use::AsTheyAre => weights.iter().all(|w| holds::<T>(w.to_f64())),
    }
}

/// Narrows weights to the type of the computation. False if it cannot hold them.
///
/// Of ratios, a weight that is not 0 stays so: its row counts, even if its share of the sum is negligible.
pub(super) fn narrow<T: Real>(wide: &[f64], to: &mut [T], use_of: Use) -> bool {
    if use_of == Use::AsTheyAre {
        to.iter_mut().zip(wide).for_each(|(to, &w)| *to = T::from_f64(w));
        return wide.iter().all(|&w| holds::<T>(w));
    }
    let largest = wide.iter().copied().fold(0.0, f64::max);
    let exponent = if largest == 0.0 || plain::<T>().contains(&largest) { 0.0 } else { largest.log2().floor() };
    // Two factors: one alone might overflow.
    let half = (exponent / 2.0).floor();
    let (first, second) = ((-half).exp2(), (half - exponent).exp2());
    let least = T::MIN_EXPONENT.to_f64().exp2();
    for (to, &w) in to.iter_mut().zip(wide) {
        *to = if w == 0.0 { T::ZERO } else { T::from_f64((w * first * second).max(least)) };
    }
    true
}
