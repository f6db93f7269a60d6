//! Sums of the exponentials of a group of rows, and the probabilities that follow from them.

use super::Tile;
use crate::math::{Real, exp_parts, exp_scaled_late};
use crate::simd::{Lanes, Simd, inlined};

/// Maximum and sum of exponentials of the row in each lane; see [`RowSum`](crate::rows::RowSum).
#[derive(Clone, Copy)]
pub struct LaneSums<T: Real, S: Simd<T>> {
    /// The largest logit of each row.
    pub(crate) max: S::V,
    /// The sum of `exp(z_k - max)` over every class but one that attains the maximum.
    pub(crate) rest: S::V,
    /// The factor between an exponential of the tile and `exp(z - max)`. It is the exponential of the largest logit.
    unit: S::V,
    /// See [`Pivots`].
    shift: S::V,
    exponent: S::V,
    /// The logit of the class of each row.
    logit: S::V,
}

impl<T: Real, S: Simd<T>> Tile<'_, T, S> {
    /// Turns logits into their exponentials and sums them; `class` is the class of each row, if it has one.
    #[inline(always)]
    pub(crate) fn exponentiate(&mut self, s: S, class: Option<S::V>) -> LaneSums<T, S> {
        self.sums::<true>(s, class, &mut ())
    }

    /// [`exponentiate`](Self::exponentiate) as a separate function.
    #[inline(always)]
    pub(crate) fn exponentiate_called(&mut self, s: S, class: S::V) -> LaneSums<T, S> {
        s.call(inlined!(|s| self.exponentiate(s, Some(class))))
    }

    /// Turns logits into their exponentials, and returns what these are multiplied by to be probabilities. The maximum is
    /// a term of the total like others: that no digit of a small rest is lost matters to losses alone.
    #[inline(always)]
    pub(crate) fn exponentiate_all(&mut self, s: S) -> S::V {
        let pivots = Pivots::of(s, self.maxima(s));
        let total = if pivots.are_small(s) {
            let mut total = s.splat(T::ZERO);
            self.map(
                s,
                inlined!(|_, z| {
                    let e = exp_scaled_late(s, z, pivots.exponent);
                    total = total + e;
                    e
                }),
            );
            total
        } else {
            s.call(inlined!(|s| {
                let mut total = s.splat(T::ZERO);
                self.map(
                    s,
                    inlined!(|_, z| {
                        let e = exp_scaled_late(s, z - pivots.shift, pivots.exponent);
                        let e = S::V::select(z.eq(pivots.max), pivots.unit, e);
                        total = total + e;
                        e
                    }),
                );
                pivots.defined(s, total)
            }))
        };
        s.splat(T::ONE) / total
    }

    /// Sums the exponentials of the logits. With `KEPT` the exponentials replace the logits. `watch` sees both.
    #[inline(always)]
    pub(crate) fn sums<const KEPT: bool>(
        &mut self,
        s: S,
        class: Option<S::V>,
        watch: &mut impl Watch<T, S>,
    ) -> LaneSums<T, S> {
        // 1. maxima, and the logit of the class of each row
        let (max, logit) = match class {
            Some(class) => self.maxima_and_logit(s, class),
            None => (self.maxima(s), s.splat(T::ZERO)),
        };
        let pivots = Pivots::of(s, max);
        // 2. exponentials and their sums. Usually no row is shifted, so the exponentials do not
        // wait for the maxima.
        let (sum, others) = if pivots.are_small(s) {
            pivots.sum::<KEPT, T, S>(s, self.columns_mut(), None, watch)
        } else {
            s.call(inlined!(|s| pivots.sum::<KEPT, T, S>(s, self.columns_mut(), Some(pivots.shift), watch)))
        };
        LaneSums::of(s, pivots, sum, others, logit)
    }
}

/// An observer of the sweep that sums the exponentials of a group of rows.
pub(crate) trait Watch<T: Real, S: Simd<T>> {
    /// Sees the logits of class `k`, the largest logit of each row, and the exponentials of class `k`.
    fn class(&mut self, s: S, k: S::V, logits: S::V, max: S::V, exponentials: S::V);
}

/// No observer.
impl<T: Real, S: Simd<T>> Watch<T, S> for () {
    #[inline(always)]
    fn class(&mut self, _: S, _: S::V, _: S::V, _: S::V, _: S::V) {}
}

/// The maxima of rows, with their exponentials as `unit 2^exponent`; see [`rows`](crate::rows).
#[derive(Clone, Copy)]
pub(crate) struct Pivots<V> {
    pub(crate) max: V,
    /// 0, or the maximum if it is large.
    pub(crate) shift: V,
    pub(crate) exponent: V,
    pub(crate) unit: V,
}

impl<V: Copy> Pivots<V> {
    /// An infinite maximum counts as 0, and every smaller logit as -inf.
    #[inline(always)]
    pub(crate) fn of<T: Real, S: Simd<T, V = V>>(s: S, max: V) -> Self
    where
        V: Lanes<T>,
    {
        let size = max.abs();
        let shift = max.zero_where(size.lt(s.splat(T::from_f64(T::PIVOT_LIMIT))));
        let (w, exponent) = exp_parts(s, (max - shift).zero_unless(size.lt(s.splat(T::INFINITY))));
        Pivots { max, shift, exponent, unit: w + s.splat(T::ONE) }
    }

    /// Whether no row needs a shift, as is usual.
    #[inline(always)]
    pub(crate) fn are_small<T: Real, S: Simd<T, V = V>>(&self, s: S) -> bool
    where
        V: Lanes<T>,
    {
        s.all(self.max.abs().lt(s.splat(T::from_f64(T::PIVOT_LIMIT))))
    }

    /// The totals of the exponentials of all classes, but NaN where no distribution is defined: where the maximum is -inf,
    /// or several logits are +inf, each of which has contributed 1.
    #[inline(always)]
    pub(crate) fn defined<T: Real, S: Simd<T, V = V>>(&self, s: S, total: V) -> V
    where
        V: Lanes<T>,
    {
        let (one, infinity, nan) = (s.splat(T::ONE), s.splat(T::INFINITY), s.splat(T::NAN));
        let one_infinite = V::select(total.eq(one), V::select(self.max.eq(infinity), one, nan), nan);
        V::select(self.max.abs().lt(infinity), total, one_infinite)
    }

    /// Returns `(sum, others)`: the sum of the exponentials below the maximum, and the number of classes that attain the
    /// maximum less one.
    #[inline(always)]
    fn sum<const KEPT: bool, T: Real, S: Simd<T, V = V>>(
        self,
        s: S,
        columns: &mut [S::Array],
        shift: Option<V>,
        watch: &mut impl Watch<T, S>,
    ) -> (V, V)
    where
        V: Lanes<T>,
    {
        let (zero, one) = (s.splat(T::ZERO), s.splat(T::ONE));
        let (mut sum, mut others, mut k) = (zero, zero - one, zero);
        for column in columns {
            let z = s.load(column);
            let is_max = z.eq(self.max);
            let shifted = match shift {
                Some(shift) => z - shift,
                None => z,
            };
            let e = exp_scaled_late(s, shifted, self.exponent);
            sum = sum.add_unless(is_max, e);
            others = others.add_where(is_max, one);
            let e = V::select(is_max, self.unit, e);
            watch.class(s, k, z, self.max, e);
            if KEPT {
                s.store(e, column);
            }
            k = k + one;
        }
        (sum, others)
    }
}

impl<T: Real, S: Simd<T>> LaneSums<T, S> {
    /// The sums from the exponentials below the maximum, in units of the pivot, and the number of classes that attain
    /// the maximum less one; `logit` is that of the class of each row.
    #[inline(always)]
    pub(crate) fn of(s: S, pivots: Pivots<S::V>, sum: S::V, others: S::V, logit: S::V) -> Self {
        let Pivots { max, shift, exponent, unit } = pivots;
        let (zero, infinity, nan) = (s.splat(T::ZERO), s.splat(T::INFINITY), s.splat(T::NAN));
        let rest = sum / unit + others;
        // A single infinite logit has probability 1; with several, or with -inf alone, no distribution is defined.
        let one_infinite = S::V::select(max.eq(infinity), nan.zero_where(rest.eq(zero)), nan);
        let rest = S::V::select(max.abs().lt(infinity), rest, one_infinite);
        LaneSums { max, rest, unit, shift, exponent, logit }
    }

    /// The sums of no rows.
    #[inline(always)]
    pub(crate) fn none(s: S) -> Self {
        let zero = s.splat(T::ZERO);
        LaneSums { max: zero, rest: zero, unit: zero, shift: zero, exponent: zero, logit: zero }
    }

    /// The exponential of the largest logit of each row.
    #[inline(always)]
    pub(crate) fn exponential_of_max(&self) -> S::V {
        self.unit
    }

    /// The exponential of the logit of each row's class if that is the largest one, else NaN.
    #[inline(always)]
    pub(crate) fn exponential_of_label(&self, s: S) -> S::V {
        S::V::select(self.logit.eq(self.max), self.unit, s.splat(T::NAN))
    }

    /// `max z - z_y` for the class `y` of each row; 0 for the maximum, even an infinite one.
    #[inline(always)]
    pub(crate) fn margin(&self, s: S) -> S::V {
        S::V::select(self.logit.eq(self.max), s.splat(T::ZERO), self.max - self.logit)
    }

    /// The scale that turns exponentials into probabilities times `factor`.
    #[inline(always)]
    pub(crate) fn scale(&self, s: S, factor: S::V) -> S::V {
        factor / (self.unit * (s.splat(T::ONE) + self.rest))
    }

    /// The largest probability of each row.
    #[inline(always)]
    pub(crate) fn confidence(&self, s: S) -> S::V {
        let one = s.splat(T::ONE);
        one / (one + self.rest)
    }

    /// The probability of the class with exponential `e`, and its complement, which does not cancel for the maximum.
    #[inline(always)]
    pub(crate) fn probability(&self, s: S, e: S::V) -> (S::V, S::V) {
        let one = s.splat(T::ONE);
        let partition = one + self.rest;
        let (p, is_max) = (e / (self.unit * partition), e.eq(self.unit));
        (S::V::select(is_max, one / partition, one.min(p)), S::V::select(is_max, self.rest / partition, one - p))
    }

    /// The probability of the class of each row and its complement, neither by a subtraction from 1.
    #[inline(always)]
    pub(crate) fn label(&self, s: S) -> (S::V, S::V) {
        self.of_logit(s, self.logit)
    }

    /// The probability of a class with this logit and its complement, neither by a subtraction from 1.
    #[inline(always)]
    pub(crate) fn of_logit(&self, s: S, logit: S::V) -> (S::V, S::V) {
        let (one, is_max) = (s.splat(T::ONE), logit.eq(self.max));
        let partition = one + self.rest;
        let own = exp_scaled_late(s, logit - self.shift, self.exponent) / self.unit;
        let own = S::V::select(is_max, one, own);
        (own / partition, S::V::select(is_max, self.rest, partition - own) / partition)
    }
}
