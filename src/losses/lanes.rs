//! The sockets of losses that take a group of rows of few classes at a time, a row a lane: [`ClassLanes`] for rows with a
//! class each, [`SoftLanes`] for rows with a distribution each.

use crate::math::Real;
use crate::simd::Simd;
use crate::tile::{LaneSums, Tile};

/// The kernels by lane that a loss has for one kind of target.
#[derive(Clone, Copy, Debug)]
pub enum LaneKernels<'k, C, D> {
    /// None, or a row at a time is faster.
    None,
    /// Those of rows with a class each.
    Classes(&'k C),
    /// Those of rows with a distribution each. A class is made one.
    Distributions(&'k D),
}

/// As many rows as a register has lanes, or fewer. The lanes left over have weight 0.
#[derive(Clone, Copy)]
pub struct Group<T: Real, S: Simd<T>> {
    pub(crate) rows: usize,
    /// The class of each row, a whole number; -1 where it is ignored, or has a distribution.
    pub(crate) class: S::V,
    /// The weight of each row: that of its sample, or 0 where it does not count.
    pub(crate) weight: S::V,
    /// `U = sum_k u_k` of a distribution; 1 of a class.
    pub(crate) total: S::V,
    /// What the loss has summed over the classes of each row beside the exponentials.
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

/// A loss of rows with a class each, by lane.
pub trait ClassLanes<T: Real>: Sync {
    /// Sums what the loss needs to know of a group, whose logits become exponentials.
    fn sweep<S: Simd<T>>(&self, s: S, logits: &mut Tile<'_, T, S>, group: &mut Group<T, S>);

    /// The losses of a group, weighted.
    fn value<S: Simd<T>>(&self, s: S, group: &Group<T, S>) -> S::V;

    /// The losses, and their gradients over a divisor, which are made of the exponentials and written to the rows of `grad`.
    fn value_and_grad<S: Simd<T>>(
        &self,
        s: S,
        exponentials: &mut Tile<'_, T, S>,
        group: &Group<T, S>,
        divisor: T,
        grad: &mut [T],
    ) -> S::V;
}

/// A loss of rows with a distribution each, by lane.
pub trait SoftLanes<T: Real>: Sync {
    /// Whether [`sweep`](Self::sweep) needs a spare tile.
    const NEEDS_SPARE: bool = false;

    /// Turns distributions into the weights `u` of their classes. Returns `U`, the sum of these.
    fn weigh<S: Simd<T>>(&self, s: S, targets: &mut Tile<'_, T, S>) -> S::V;

    /// Sums what the loss needs to know of a group. Its logits may become exponentials, its weights those of the gradient.
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

    /// The losses, and their gradients over a divisor, which are made of the exponentials and written to the rows of `grad`.
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

/// The lane kernels of a loss that has none.
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
