//! The upstream gradient of the chain rule, and what it makes of the divisor of the mean: [`GradScale`] stands in front
//! of every gradient.

use crate::error::{Error, Result};
use crate::math::Real;
use crate::simd::{Lanes, Simd, read};
use std::ops::Range;

/// What gradients are multiplied by, in the same sweep: the gradient of a later function with respect to the loss. It
/// may be negative. The loss itself does not depend on it.
///
/// A row or point whose gradient is multiplied by 0 has gradient 0, and so has one that does not count; else NaN and
/// infinities are multiplied as other numbers are.
#[derive(Clone, Copy, Debug)]
pub enum GradOutput<'a, T> {
    /// One number for all.
    Number(f64),
    /// One number for each loss: for each row, or for each point in the sigmoid family.
    Each(&'a [T]),
}

impl<'a, T: Real> GradOutput<'a, T> {
    /// The gradient as it is.
    pub const ONE: Self = GradOutput::Number(1.0);

    /// Whether all gradients are 0.
    pub(super) fn is_zero(&self) -> bool {
        matches!(self, GradOutput::Number(0.0))
    }

    /// One number of each of `losses` losses, if it is not one for all.
    ///
    /// # Errors
    /// [`Error::Shape`] unless there are as many.
    pub(super) fn check(&self, losses: usize) -> Result<()> {
        match self {
            GradOutput::Each(each) if each.len() != losses => {
                Err(Error::Shape { name: "grad_output", expected: vec![losses], got: vec![each.len()] })
            }
            _ => Ok(()),
        }
    }

    /// What stands in front of the gradients of losses that are divided by `divisor`.
    pub(super) fn over(self, divisor: f64) -> GradScale<'a, T> {
        match self {
            GradOutput::Number(1.0) => GradScale::over(divisor),
            GradOutput::Number(number) => GradScale::over(divisor / number),
            GradOutput::Each(each) => GradScale { divisor, each: Some(each) },
        }
    }

    /// The factor of a loss.
    #[inline(always)]
    pub(super) fn at(&self, index: usize) -> f64 {
        match self {
            GradOutput::Number(number) => *number,
            GradOutput::Each(each) => each[index].to_f64(),
        }
    }

    /// The factors of a register of losses.
    #[inline(always)]
    pub(super) fn register<S: Simd<T>>(&self, s: S, first: usize) -> S::V {
        match self {
            GradOutput::Number(number) => s.splat(T::from_f64(*number)),
            GradOutput::Each(each) => read(s, each, first, T::ZERO),
        }
    }

    /// Those of the losses from `first` on.
    pub(super) fn from(self, first: usize) -> Self {
        match self {
            GradOutput::Number(_) => self,
            GradOutput::Each(each) => GradOutput::Each(&each[first..]),
        }
    }
}

/// What stands in front of the gradients of a call: an upstream gradient for each row or point, if there is one, divided
/// by the divisor of the mean. A single upstream gradient is part of the divisor, which then may have any sign.
#[derive(Clone, Copy, Debug)]
pub struct GradScale<'a, T> {
    divisor: f64,
    each: Option<&'a [T]>,
}

impl<T: Real> GradScale<'_, T> {
    /// Gradients that are only divided.
    pub(super) fn over(divisor: f64) -> Self {
        GradScale { divisor, each: None }
    }

    /// The divisor of all gradients.
    #[inline(always)]
    pub(super) fn divisor(&self) -> f64 {
        self.divisor
    }

    /// The same, with gradients that are also divided by `divisor`.
    #[inline(always)]
    pub(super) fn divided(self, divisor: f64) -> Self {
        GradScale { divisor: self.divisor * divisor, ..self }
    }

    /// The same for `len` rows or points from number `first` on.
    #[inline(always)]
    pub(super) fn part(self, first: usize, len: usize) -> Self {
        GradScale { each: self.each.map(|each| &each[first..first + len]), ..self }
    }

    /// A gradient of a row, scaled; 0 stays 0.
    #[inline(always)]
    pub(super) fn of(&self, row: usize, gradient: f64) -> f64 {
        match self.each {
            _ if gradient == 0.0 => 0.0,
            None => gradient / self.divisor,
            Some(each) => gradient * each[row].to_f64() / self.divisor,
        }
    }

    /// Whether the gradient of a row is multiplied by 0.
    #[inline(always)]
    pub(super) fn is_zero(&self, row: usize) -> bool {
        self.each.is_some_and(|each| each[row] == T::ZERO)
    }

    /// The upstream gradients of some rows, if they differ.
    #[inline(always)]
    pub(super) fn register<S: Simd<T>>(&self, s: S, rows: Range<usize>) -> Option<S::V> {
        self.each.map(|each| read(s, &each[..rows.end], rows.start, T::ZERO))
    }

    /// The factor of a sum over points, each of which has been multiplied by its own.
    pub(super) fn last(&self) -> f64 {
        let scale = 1.0 / self.divisor;
        if T::from_f64(scale).to_f64().is_finite() { scale } else { 1.0 }
    }

    /// The factor of all points, and that of each, which comes before a point that does not count is set to 0.
    #[inline(always)]
    pub(super) fn of_points<S: Simd<T>>(&self, s: S) -> PointScale<'_, T, S> {
        let scale = T::from_f64(1.0 / self.divisor);
        // 0 times infinity would not be 0.
        if scale.to_f64().is_finite() {
            PointScale { each: self.each, all: None, last: s.splat(scale) }
        } else {
            PointScale { each: self.each, all: Some(s.splat(scale)), last: s.splat(T::ONE) }
        }
    }
}

/// The scale of points in registers.
#[derive(Clone, Copy)]
pub(super) struct PointScale<'k, T: Real, S: Simd<T>> {
    each: Option<&'k [T]>,
    all: Option<S::V>,
    /// The factor of the weighted derivatives.
    pub(super) last: S::V,
}

impl<T: Real, S: Simd<T>> PointScale<'_, T, S> {
    /// Multiplies derivatives by the upstream gradients, before they are weighted.
    #[inline(always)]
    pub(super) fn first(&self, s: S, upstream: impl FnOnce(&[T]) -> S::V, v: S::V) -> S::V {
        let (mut v, zero) = (v, s.splat(T::ZERO));
        if let Some(all) = self.all {
            v = v * all;
        }
        match self.each {
            None => v,
            Some(each) => {
                let upstream = upstream(each);
                (v * upstream).zero_where(upstream.eq(zero))
            }
        }
    }
}
