//! What a minimiser gets for the diagonal of the Hessian: which numbers, and in which range.

use crate::error::{Result, check_non_negative, check_positive};

/// The numbers that stand for the diagonal of the Hessian. For cross-entropy the first two are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Curvature {
    /// The second derivatives, which a focal loss has below 0 too.
    Exact,
    /// Those of cross-entropy with the weights that the gradient has: never negative.
    Convex,
    /// The size of the gradient: a step of Newton's method is then at most 1.
    Gradient,
}

/// How the diagonal of the Hessian is written.
#[derive(Clone, Copy, Debug)]
pub struct HessOptions {
    pub(super) curvature: Curvature,
    pub(super) scale: f64,
    pub(super) floor: Option<f64>,
}

impl HessOptions {
    /// The second derivatives as they are.
    pub const EXACT: Self = HessOptions { curvature: Curvature::Exact, scale: 1.0, floor: None };

    /// `scale` is a factor of all numbers, `floor` the least number of a row or point that counts, after scaling.
    ///
    /// # Errors
    /// [`Error::Parameter`](crate::Error::Parameter) unless the scale is positive and the floor is not negative, both
    /// finite.
    pub fn new(curvature: Curvature, scale: f64, floor: Option<f64>) -> Result<Self> {
        check_positive("hess_scale", scale)?;
        floor.map_or(Ok(()), |floor| check_non_negative("hess_floor", floor))?;
        Ok(HessOptions { curvature, scale, floor })
    }

    /// What stands in front of the Hessians of losses that are divided by `divisor`.
    pub(super) fn over(&self, divisor: f64) -> HessScale {
        HessScale { divisor: divisor / self.scale, is_convex: self.curvature == Curvature::Convex }
    }
}

/// The divisor of Hessians, and whether they are those of cross-entropy with the weights of the gradient.
#[derive(Clone, Copy, Debug)]
pub struct HessScale {
    pub(super) divisor: f64,
    pub(super) is_convex: bool,
}
