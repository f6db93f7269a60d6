//! Log-sum-exp, softmax and log-softmax of groups of rows.

use super::{ColumnSums, Columns};
use crate::math::{Real, log1p};
use crate::simd::{Lanes, Mask, Simd, fold};

impl<T: Real> Columns<'_, T> {
    /// `logsumexp(z)` of each row, these being the logits that were summed: -inf for a row of -inf, +inf where a logit is,
    /// NaN where one is.
    #[inline(always)]
    pub(crate) fn logsumexp<S: Simd<T>>(&self, s: S, sums: ColumnSums<S::V>) -> S::V {
        let (zero, infinity) = (s.splat(T::ZERO), s.splat(T::INFINITY));
        let (lse, is_finite) = (sums.max + log1p(s, sums.rest), sums.max.abs().lt(infinity));
        if is_finite.bits() == (1 << S::LANES) - 1 {
            return lse;
        }
        // An infinite maximum is what it is, but for a NaN beside it.
        let [nan] = fold::<1, _, _, _>(
            s,
            self.lanes,
            T::ZERO,
            zero,
            #[inline(always)]
            |nan, _, x| nan + S::V::select(x.eq(x), zero, x),
        );
        S::V::select(is_finite, lse, sums.max + nan)
    }

    /// Writes `softmax(z)` to `count` rows, these being the exponentials.
    #[inline(always)]
    pub(crate) fn store_softmax<S: Simd<T>>(&mut self, s: S, sums: ColumnSums<S::V>, rows: &mut [T], count: usize) {
        let one = s.splat(T::ONE);
        let scale = sums.scale(s, one);
        self.store(
            s,
            rows,
            count,
            #[inline(always)]
            |_, e| one.min(e * scale),
        );
    }

    /// Writes `log_softmax(z)` to `count` rows, these being the logits: `(z - max) - ln(1 + rest)`, two subtractions that keep
    /// what one would lose where the maximum is large.
    #[inline(always)]
    pub(crate) fn store_log_softmax<S: Simd<T>>(&mut self, s: S, sums: ColumnSums<S::V>, rows: &mut [T], count: usize) {
        let (zero, max, log_partition) = (s.splat(T::ZERO), sums.max, log1p(s, sums.rest));
        self.store(
            s,
            rows,
            count,
            #[inline(always)]
            |_, z| S::V::select(z.eq(max), zero, z - max) - log_partition,
        );
    }
}
