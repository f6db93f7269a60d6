//! Entropy of groups of rows, and the place of their maximum, from the sweep that sums their exponentials.

use super::{ColumnSums, Watch};
use crate::math::{Real, log1p};
use crate::simd::{Lanes, Simd};

/// How the probabilities of a group of rows are spread, and where they are largest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread<V> {
    /// `sum_k e_k (max z - z_k)`, with the exponentials as they were summed.
    gaps: V,
    /// The first class that has the largest logit so far.
    top: V,
}

impl<V: Copy> Spread<V> {
    /// Of no classes.
    #[inline(always)]
    pub(crate) fn none<T: Real, S: Simd<T, V = V>>(s: S) -> Self
    where
        V: Lanes<T>,
    {
        Spread { gaps: s.splat(T::ZERO), top: s.splat(T::INFINITY) }
    }

    /// The number of the first class with the largest logit; -1 where no distribution is defined.
    #[inline(always)]
    pub(crate) fn top<T: Real, S: Simd<T, V = V>>(self, s: S, sums: ColumnSums<V>) -> V
    where
        V: Lanes<T>,
    {
        V::select(sums.rest.eq(sums.rest), self.top, s.splat(-T::ONE))
    }

    /// `-sum_k p_k ln p_k = ln(1 + rest) + sum_k p_k (max z - z_k)`, two sums without a negative term.
    #[inline(always)]
    pub(crate) fn entropy<T: Real, S: Simd<T, V = V>>(self, s: S, sums: ColumnSums<V>) -> V
    where
        V: Lanes<T>,
    {
        log1p(s, sums.rest) + sums.scale(s, self.gaps)
    }
}

impl<T: Real, S: Simd<T>> Watch<T, S> for Spread<S::V> {
    #[inline(always)]
    fn class(&mut self, s: S, k: S::V, logits: S::V, max: S::V, exponentials: S::V) {
        let (zero, is_max) = (s.splat(T::ZERO), logits.eq(max));
        // What has no probability is nowhere, be it -inf or the maximum infinite.
        let is_nowhere = exponentials.eq(zero);
        let gap = S::V::select(is_max, zero, S::V::select(is_nowhere, zero, max - logits));
        self.gaps = exponentials.mul_add(gap, self.gaps);
        self.top = S::V::select(is_max, k.min(self.top), self.top);
    }
}
