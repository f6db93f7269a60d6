//! Entropy and index of the maximum for a group of rows, from the sweep that sums their exponentials.

use super::{LaneSums, Watch};
use crate::math::{Real, log1p};
use crate::simd::{Lanes, Simd};

/// Statistics of a group of rows beside its sums.
#[derive(Clone, Copy)]
pub(crate) struct LaneStats<T: Real, S: Simd<T>> {
    /// `sum_k e_k (max z - z_k)`, with the summed exponentials `e_k`.
    margins: S::V,
    /// The first class that has the largest logit so far.
    top: S::V,
}

impl<T: Real, S: Simd<T>> LaneStats<T, S> {
    /// The statistics of no classes.
    #[inline(always)]
    pub(crate) fn none(s: S) -> Self {
        LaneStats { margins: s.splat(T::ZERO), top: s.splat(T::INFINITY) }
    }

    /// The index of the first class with the largest logit; -1 if no distribution is defined.
    #[inline(always)]
    pub(crate) fn top(&self, s: S, sums: &LaneSums<T, S>) -> S::V {
        S::V::select(sums.rest.eq(sums.rest), self.top, s.splat(-T::ONE))
    }

    /// `-sum_k p_k ln p_k = ln(1 + rest) + sum_k p_k (max z - z_k)`, two sums without a negative term.
    #[inline(always)]
    pub(crate) fn entropy(&self, s: S, sums: &LaneSums<T, S>) -> S::V {
        log1p(s, sums.rest) + self.margin(s, sums)
    }

    /// `sum_k p_k (max z - z_k)`, the mean margin.
    #[inline(always)]
    pub(crate) fn margin(&self, s: S, sums: &LaneSums<T, S>) -> S::V {
        sums.scale(s, self.margins)
    }
}

impl<T: Real, S: Simd<T>> Watch<T, S> for LaneStats<T, S> {
    #[inline(always)]
    fn class(&mut self, s: S, k: S::V, logits: S::V, max: S::V, exponentials: S::V) {
        let (zero, is_max) = (s.splat(T::ZERO), logits.eq(max));
        // A class of probability 0 contributes 0, even if its logit is -inf or the maximum is infinite.
        let is_impossible = exponentials.eq(zero);
        let margin = (max - logits).zero_where(is_impossible).zero_where(is_max);
        self.margins = exponentials.mul_add(margin, self.margins);
        self.top = S::V::select(is_max, k.min(self.top), self.top);
    }
}
