//! The traits of losses that take a group of rows of few classes at a time, one row per lane: [`ClassLanes`] for rows
//! with one class each, [`SoftLanes`] for rows with one distribution each.

use crate::math::Real;
use crate::simd::Simd;
use crate::tile::{LaneSums, Tile};

/// The kernels by lane that a loss has for one kind of target.
#[derive(Clone, Copy, Debug)]
pub enum LaneKernels<'k, C, D> {
    /// No kernels, or one row at a time is faster.
    None,
    /// Kernels of rows with one class each.
    Classes(&'k C),
    /// Kernels of rows with one distribution each. A class is converted to a distribution.
    Distributions(&'k D),
}

/// A group of rows, at most as many as a register has lanes. The remaining lanes have weight 0.
#[derive(Clone, Copy)]
pub struct Group<T: Real, S: Simd<T>> {
    pub(crate) rows: usize,
    /// The class of each row as an integer; -1 if the row is ignored or has a distribution.
    pub(crate) class: S::V,
    /// The sample weight of each row; 0 if the row does not count.
    pub(crate) weight: S::V,
    /// `U = sum_k u_k` for a distribution; 1 for a class.
    pub(crate) total: S::V,
    /// A second sum over the classes of each row, beside that of the exponentials; its meaning depends on the loss.
    pub(crate) cost: S::V,
    pub(crate) sums: LaneSums<T, S>,
}

impl<T: Real, S: Simd<T>> Group<T, S> {
    /// No rows.
    #[inline(always)]
    pub(crate) fn none(s: S) -> Self {
        let zero = s.splat(T::ZERO);
        Group { rows: 0, class: zero, weight: zero, total: zero, cost: zero, sums: LaneSums::none(s) }
    }
}

/// A loss of rows with one class each, by lane.
pub trait ClassLanes<T: Real>: Sync {
    /// Computes the sums that the loss needs of a group. The logits become exponentials.
    fn sweep<S: Simd<T>>(&self, s: S, logits: &mut Tile<'_, T, S>, group: &mut Group<T, S>);

    /// The losses of a group, weighted.
    fn value<S: Simd<T>>(&self, s: S, group: &Group<T, S>) -> S::V;

    /// The losses; writes their gradients, divided by `divisor`, to the rows of `grad`. The exponentials are
    /// overwritten.
    fn value_and_grad<S: Simd<T>>(
        &self,
        s: S,
        exponentials: &mut Tile<'_, T, S>,
        group: &Group<T, S>,
        divisor: T,
        grad: &mut [T],
    ) -> S::V;
}

/// A loss of rows with one distribution each, by lane.
pub trait SoftLanes<T: Real>: Sync {
    /// Whether [`sweep`](Self::sweep) needs a spare tile.
    const NEEDS_SPARE: bool = false;

    /// Turns distributions into the weights `u` of their classes. Returns their sum `U`.
    fn weigh<S: Simd<T>>(&self, s: S, targets: &mut Tile<'_, T, S>) -> S::V;

    /// Computes the sums that the loss needs of a group. The logits may become exponentials, and the weights may become
    /// those of the gradient.
    fn sweep<S: Simd<T>>(
        &self,
        s: S,
        logits: &mut Tile<'_, T, S>,
        weights: &mut Tile<'_, T, S>,
        spare: &mut Tile<'_, T, S>,
        group: &mut Group<T, S>,
    );

    /// The losses of a group, weighted.
    fn soft_value<S: Simd<T>>(&self, s: S, group: &Group<T, S>) -> S::V;

    /// The losses; writes their gradients, divided by `divisor`, to the rows of `grad`. The exponentials are
    /// overwritten.
    fn soft_value_and_grad<S: Simd<T>>(
        &self,
        s: S,
        exponentials: &mut Tile<'_, T, S>,
        weights: &Tile<'_, T, S>,
        group: &Group<T, S>,
        divisor: T,
        grad: &mut [T],
    ) -> S::V;
}

/// The lane kernels of a loss without lane kernels.
#[derive(Clone, Copy, Debug)]
pub enum NoLanes {}

impl<T: Real> ClassLanes<T> for NoLanes {
    #[inline(always)]
    fn sweep<S: Simd<T>>(&self, _: S, _: &mut Tile<'_, T, S>, _: &mut Group<T, S>) {
        match *self {}
    }

    #[inline(always)]
    fn value<S: Simd<T>>(&self, _: S, _: &Group<T, S>) -> S::V {
        match *self {}
    }

    #[inline(always)]
    fn value_and_grad<S: Simd<T>>(&self, _: S, _: &mut Tile<'_, T, S>, _: &Group<T, S>, _: T, _: &mut [T]) -> S::V {
        match *self {}
    }
}
