//! One row of logits: its maximum, the sum of its exponentials, and softmax, log-softmax and log-sum-exp from them.
//!
//! # The margin-exact form
//! `logsumexp(z) = m + ln(1 + rest)` with `m = max z` and `rest` the sum of `exp(z_k - m)` over all classes *but one
//! that attains the maximum*. Summed together with that class's 1, a rest below 1e-8 would vanish in float32; kept
//! apart, it keeps its digits at any margin, and so do `ln(1 + rest)`, the loss of a confident row, and
//! `rest / (1 + rest)`, the complement of its probability.
//!
//! # No subtraction, no rounding
//! `z - m` rounds, and an exponential turns an absolute error of its argument into a relative one: at a margin of 80
//! that is 4e-6 in float32. So nothing is subtracted: with `z = n ln 2 + r` and `m = n_m ln 2 + r_m`,
//! `exp(z - m) = 2^(n - n_m) exp(r) exp(-r_m)`, where whole numbers are subtracted and the last factor is a constant of
//! the row ([`Pivot`]).
//!
//! # References
//! M. Milakov and N. Gimelshein, *Online normalizer calculation for softmax*, 2018, arXiv:1805.02867 (one pass).
//! M. Dukhan and A. Ablavatski, *Two-pass softmax algorithm*, 2020, arXiv:2001.04438 (exponents kept apart).
//! P. Blanchard, D. J. Higham and N. J. Higham, *Accurately computing the log-sum-exp and softmax functions*, IMA J.
//! Numer. Anal. 41, 2021 (the maximum kept out of the sum).

use crate::math::{Exp, Real, exp_scaled};
use crate::simd::{AHEAD, Lanes, RowIo, Simd, fold};
use std::ops::Range;

/// Elements that are read twice, for their maximum and for their exponentials: they stay in the first-level cache, and
/// their single-precision partial sums stay short.
pub(crate) const BLOCK: usize = 1024;

/// What a row's softmax is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowSum<T> {
    /// The largest logit.
    pub(crate) max: T,
    /// The sum of `exp(z_k - max)` over every class but one that attains the maximum. NaN where no distribution is
    /// defined: a logit is NaN, all are -inf, or more than one is +inf.
    pub(crate) rest: f64,
}

impl<T: Real> RowSum<T> {
    /// Reads a row once, block by block.
    #[inline(always)]
    pub(crate) fn of<S: Simd<T>>(s: S, row: &[T]) -> Self {
        Self::sweep(s, &mut { row }).0
    }

    /// Reads a row once, block by block, and keeps its exponentials in `row`: times the factor that is returned, they are
    /// `exp(z - max)`.
    #[inline(always)]
    pub(crate) fn keeping<S: Simd<T>>(s: S, row: &mut RowIo<'_, T>) -> (Self, f64) {
        let (sum, pivot) = Self::sweep(s, row);
        (sum, pivot.factor / pivot.exp_of(sum.max))
    }

    /// The online form: the pivot is the maximum of the first block, later blocks may rise above it as far as
    /// [`HEADROOM`](Exp::HEADROOM), and `rest` counts in units of `exp(pivot)` until the end.
    #[inline(always)]
    fn sweep<S: Simd<T>, R: Exponentials<T>>(s: S, row: &mut R) -> (Self, Pivot<T>) {
        let len = row.logits().len();
        let (mut max, mut rest, mut pivot) = (-T::INFINITY, 0.0, Pivot::none());
        for start in (0..len).step_by(BLOCK) {
            let block = start..len.min(start + BLOCK);
            // 1. maximum of the block
            let block_max = largest(s, &row.logits()[block.clone()]);
            if block_max > max {
                // 2a. It is the row's new maximum, and the old one joins the rest. All that equal it are counted, not
                // summed: each is exp(max), and one of them is left out.
                rest += if max > -T::INFINITY { pivot.exp_of(max) } else { 0.0 };
                if block_max.to_f64() - pivot.max.to_f64() > T::HEADROOM {
                    let new = Pivot::at(block_max);
                    let change = new.exp_of(pivot.max);
                    row.rescale(s, start, T::from_f64(change * pivot.factor / new.factor));
                    rest *= change;
                    pivot = new;
                }
                max = block_max;
                let (sum, ties) = row.sum::<true, S>(s, block, max, pivot);
                rest += sum * pivot.factor + (ties - 1.0) * pivot.exp_of(max);
            } else {
                // 2b. The old one stands: the whole block belongs to the rest.
                rest += row.sum::<false, S>(s, block, max, pivot).0 * pivot.factor;
            }
        }
        // 3. from units of exp(pivot) to units of exp(max)
        rest /= pivot.exp_of(max);
        let undefined = max == -T::INFINITY || (max == T::INFINITY && rest != 0.0);
        (RowSum { max, rest: if undefined { f64::NAN } else { rest } }, pivot)
    }

    /// `logsumexp(z) - max z = ln(1 + rest)`
    #[inline(always)]
    pub(crate) fn log_partition(self) -> f64 {
        self.rest.ln_1p()
    }

    /// `max z - z_k`, exact; 0 for the maximum even where it is infinite.
    #[inline(always)]
    pub(crate) fn gap(self, logit: T) -> f64 {
        if logit == self.max { 0.0 } else { self.max.to_f64() - logit.to_f64() }
    }

    /// The probability of one class, and one minus it without cancellation.
    #[inline(always)]
    pub(crate) fn probability(self, logit: T) -> (f64, f64) {
        let partition = 1.0 + self.rest;
        if logit == self.max {
            (1.0 / partition, self.rest / partition)
        } else {
            let p = (-self.gap(logit)).exp() / partition;
            (p, 1.0 - p)
        }
    }

    /// All probabilities of the row, times a factor, from its logits.
    #[inline(always)]
    pub(crate) fn softmax(self, factor: f64) -> Softmax<T> {
        let pivot = Pivot::at(self.max);
        Softmax { pivot, scale: self.scale(pivot.factor, factor) }
    }

    /// What makes probabilities, times a factor, of exponentials that are `unit` short of `exp(z - max)`.
    #[inline(always)]
    pub(crate) fn scale(self, unit: f64, factor: f64) -> Scale<T> {
        Scale { factor: T::from_f64(factor * unit / (1.0 + self.rest)), limit: T::from_f64(factor) }
    }
}

/// A factor, and what rounding must not exceed: a probability of 1.
#[derive(Clone, Copy)]
pub(crate) struct Scale<T> {
    factor: T,
    limit: T,
}

impl<T: Real> Scale<T> {
    #[inline(always)]
    pub(crate) fn of<S: Simd<T>>(self, s: S, exponentials: S::V) -> S::V {
        s.splat(self.limit).min(exponentials * s.splat(self.factor))
    }
}

/// Probabilities of a row, times a factor, a register at a time.
#[derive(Clone, Copy)]
pub(crate) struct Softmax<T> {
    pivot: Pivot<T>,
    scale: Scale<T>,
}

impl<T: Real> Softmax<T> {
    /// The probabilities of a register of logits.
    #[inline(always)]
    pub(crate) fn of<S: Simd<T>>(self, s: S, z: S::V) -> S::V {
        self.scale.of(s, self.pivot.exp(s, z))
    }
}

/// The constants of a row with which `exp(z - max)` needs no rounded subtraction.
///
/// `exp(z - max) = factor * 2^(n - exponent) * exp(r)` where `z - shift = n ln 2 + r`.
#[derive(Clone, Copy)]
struct Pivot<T> {
    max: T,
    /// 0, or, for a maximum so large that `n ln 2` would be inexact, the maximum itself: then every logit whose
    /// exponential does not underflow is within a factor of two of it, and `z - max` is exact.
    shift: T,
    exponent: T,
    factor: f64,
}

impl<T: Real> Pivot<T> {
    #[inline(always)]
    fn at(max: T) -> Self {
        let m = max.to_f64();
        if m.abs() >= T::PIVOT_LIMIT {
            return Pivot { max, shift: max, exponent: T::ZERO, factor: 1.0 };
        }
        let n = (m * f64::LOG2_E).round_ties_even();
        let r = (m - n * f64::LN_2_HI) - n * f64::LN_2_LO;
        Pivot { max, shift: T::ZERO, exponent: T::from_f64(n), factor: (-r).exp() }
    }

    /// Before there is a maximum: nothing but -inf, whose exponential is 0, and NaN.
    #[inline(always)]
    fn none() -> Self {
        Pivot { max: -T::INFINITY, shift: T::ZERO, exponent: T::ZERO, factor: 1.0 }
    }

    /// `exp(z - max) / factor`, as right as `exp` is; 0 where that is well below the normal numbers.
    #[inline(always)]
    fn exp<S: Simd<T>>(self, s: S, z: S::V) -> S::V {
        exp_scaled(s, z - s.splat(self.shift), s.splat(self.exponent))
    }

    /// `exp(z - max)` of a single one; 1 for the maximum, be it infinite.
    #[inline(always)]
    fn exp_of(self, z: T) -> f64 {
        if z == self.max { 1.0 } else { (z.to_f64() - self.max.to_f64()).exp() }
    }
}

/// A row whose exponentials are summed, and, where the gradient wants them again, kept.
trait Exponentials<T: Real> {
    fn logits(&self) -> &[T];

    /// The sum of `exp(z - pivot) / factor` over a block; with `SKIP_MAX` those equal to `max` are left out, and counted.
    fn sum<const SKIP_MAX: bool, S: Simd<T>>(
        &mut self,
        s: S,
        block: Range<usize>,
        max: T,
        pivot: Pivot<T>,
    ) -> (f64, f64);

    /// Moves what has been kept of the first `len` logits to another pivot.
    fn rescale<S: Simd<T>>(&mut self, s: S, len: usize, factor: T);
}

/// Summed only.
impl<T: Real> Exponentials<T> for &[T] {
    #[inline(always)]
    fn logits(&self) -> &[T] {
        self
    }

    #[inline(always)]
    fn sum<const SKIP_MAX: bool, S: Simd<T>>(
        &mut self,
        s: S,
        block: Range<usize>,
        max: T,
        pivot: Pivot<T>,
    ) -> (f64, f64) {
        let (zero, one, max, start) = (s.splat(T::ZERO), s.splat(T::ONE), s.splat(max), block.start);
        if SKIP_MAX {
            let [(a, m), (b, n)] = fold::<2, _, _, _>(
                s,
                &self[block],
                -T::INFINITY,
                (zero, zero),
                #[inline(always)]
                |(sum, ties), i, z| {
                    s.prefetch(self, start + i + AHEAD);
                    let is_max = z.eq(max);
                    (sum + S::V::select(is_max, zero, pivot.exp(s, z)), ties + S::V::select(is_max, one, zero))
                },
            );
            ((a + b).sum().to_f64(), (m + n).sum().to_f64())
        } else {
            let [a, b, c, d] = fold::<4, _, _, _>(
                s,
                &self[block],
                -T::INFINITY,
                zero,
                #[inline(always)]
                |sum, i, z| {
                    s.prefetch(self, start + i + AHEAD);
                    sum + pivot.exp(s, z)
                },
            );
            (((a + b) + (c + d)).sum().to_f64(), 0.0)
        }
    }

    #[inline(always)]
    fn rescale<S: Simd<T>>(&mut self, _: S, _: usize, _: T) {}
}

/// Summed and kept.
impl<T: Real> Exponentials<T> for RowIo<'_, T> {
    #[inline(always)]
    fn logits(&self) -> &[T] {
        self.source()
    }

    #[inline(always)]
    fn sum<const SKIP_MAX: bool, S: Simd<T>>(
        &mut self,
        s: S,
        block: Range<usize>,
        max: T,
        pivot: Pivot<T>,
    ) -> (f64, f64) {
        let top = T::from_f64(pivot.exp_of(max) / pivot.factor);
        let (zero, one, max, top) = (s.splat(T::ZERO), s.splat(T::ONE), s.splat(max), s.splat(top));
        if SKIP_MAX {
            let [(a, m), (b, n)] = self.keep::<2, _, _>(
                s,
                block,
                -T::INFINITY,
                (zero, zero),
                #[inline(always)]
                |(sum, ties), z| {
                    let (is_max, e) = (z.eq(max), pivot.exp(s, z));
                    let ties = ties + S::V::select(is_max, one, zero);
                    ((sum + S::V::select(is_max, zero, e), ties), S::V::select(is_max, top, e))
                },
            );
            ((a + b).sum().to_f64(), (m + n).sum().to_f64())
        } else {
            let [a, b, c, d] = self.keep::<4, _, _>(
                s,
                block,
                -T::INFINITY,
                zero,
                #[inline(always)]
                |sum, z| {
                    let e = pivot.exp(s, z);
                    (sum + e, e)
                },
            );
            (((a + b) + (c + d)).sum().to_f64(), 0.0)
        }
    }

    #[inline(always)]
    fn rescale<S: Simd<T>>(&mut self, s: S, len: usize, factor: T) {
        let factor = s.splat(factor);
        RowIo::in_place(self.kept(len)).map(
            s,
            T::ZERO,
            #[inline(always)]
            |_, e| e * factor,
        );
    }
}

/// The largest element that is not NaN; -inf where there is none.
#[inline(always)]
fn largest<T: Real, S: Simd<T>>(s: S, xs: &[T]) -> T {
    let [a, b, c, d] = fold::<4, _, _, _>(
        s,
        xs,
        -T::INFINITY,
        s.splat(-T::INFINITY),
        #[inline(always)]
        |max, _, z| z.max(max),
    );
    a.max(b).max(c.max(d)).largest()
}

/// The sum of `f(k, register at k)` over a row, in double precision beyond a block; `f` makes nothing of `fill`.
#[inline(always)]
pub(crate) fn row_total<T: Real, S: Simd<T>>(s: S, row: &[T], fill: T, f: impl Fn(usize, S::V) -> S::V) -> f64 {
    let mut total = 0.0;
    for (b, block) in row.chunks(BLOCK).enumerate() {
        let zero = s.splat(T::ZERO);
        let [a, b, c, d] = fold::<4, _, _, _>(
            s,
            block,
            fill,
            zero,
            #[inline(always)]
            |sum, i, v| sum + f(b * BLOCK + i, v),
        );
        total += ((a + b) + (c + d)).sum().to_f64();
    }
    total
}

/// `logsumexp(z)`: -inf for a row of -inf, +inf where a logit is, NaN where one is.
#[inline(always)]
pub(crate) fn logsumexp<T: Real, S: Simd<T>>(s: S, row: &[T]) -> T {
    let sum = RowSum::of(s, row);
    if sum.max.to_f64().is_finite() {
        T::from_f64(sum.max.to_f64() + sum.log_partition())
    } else if row.iter().any(|z| z.partial_cmp(z).is_none()) {
        T::NAN
    } else {
        sum.max
    }
}

/// `softmax(z)`, written over or beside the row.
#[inline(always)]
pub(crate) fn softmax<T: Real, S: Simd<T>>(s: S, row: &mut RowIo<'_, T>) {
    let (sum, unit) = RowSum::keeping(s, row);
    let scale = sum.scale(unit, 1.0);
    row.finish(
        s,
        #[inline(always)]
        |e| scale.of(s, e),
    );
}

/// `log_softmax(z) = (z - max) - ln(1 + rest)`: two subtractions keep what one would lose where the maximum is large.
#[inline(always)]
pub(crate) fn log_softmax<T: Real, S: Simd<T>>(s: S, row: &mut RowIo<'_, T>) {
    let sum = RowSum::of(s, row.source());
    let (max, log_partition) = (s.splat(sum.max), s.splat(T::from_f64(sum.log_partition())));
    row.map(
        s,
        T::ZERO,
        #[inline(always)]
        |_, z| S::V::select(z.eq(max), s.splat(T::ZERO), z - max) - log_partition,
    );
}
