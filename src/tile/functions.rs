//! Log-sum-exp, softmax and log-softmax of a group of rows.

use super::{LaneSums, Tile};
use crate::math::{Real, log1p};
use crate::simd::{Lanes, Simd, fold_registers, inlined};

impl<T: Real, S: Simd<T>> Tile<'_, T, S> {
    /// `logsumexp(z)` of each row, from its logits and their sums: NaN if a logit is NaN, else +inf if a logit is +inf,
    /// and -inf if all are -inf.
    #[inline(always)]
    pub(crate) fn logsumexp(&self, s: S, sums: &LaneSums<T, S>) -> S::V {
        let (zero, infinity) = (s.splat(T::ZERO), s.splat(T::INFINITY));
        let (lse, is_finite) = (sums.max + log1p(s, sums.rest), sums.max.abs().lt(infinity));
        if s.all(is_finite) {
            return lse;
        }
        // An infinite maximum is the result, unless the row contains a NaN.
        let [nan] =
            fold_registers::<1, _, _, _>(s, self.columns(), zero, inlined!(|nan, _, x| nan + x.zero_where(x.eq(x))));
        S::V::select(is_finite, lse, sums.max + nan)
    }

    /// Writes `softmax(z)` to `count` rows, from the exponentials and their scale.
    #[inline(always)]
    pub(crate) fn store_softmax(&mut self, s: S, scale: S::V, rows: &mut [T], count: usize) {
        let one = s.splat(T::ONE);
        self.store(s, rows, count, inlined!(|_, e| one.min(e * scale)));
    }

    /// Writes `log_softmax(z)` to `count` rows, from the logits: `(z - max) - ln(1 + rest)`. Two subtractions keep the
    /// digits that one would lose if the maximum is large.
    #[inline(always)]
    pub(crate) fn store_log_softmax(&mut self, s: S, [max, rest]: [S::V; 2], rows: &mut [T], count: usize) {
        let log_partition = log1p(s, rest);
        self.store(s, rows, count, inlined!(|_, z| (z - max).zero_where(z.eq(max)) - log_partition));
    }
}
