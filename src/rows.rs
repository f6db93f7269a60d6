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
use crate::simd::{Lanes, RowIo, Simd, fold, position};

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
        let (mut max, mut rest) = (-T::INFINITY, 0.0);
        let mut pivot = Pivot::at(T::ZERO);
        for block in row.chunks(BLOCK) {
            // 1. maximum of the block
            let block_max = largest(s, block);
            if block_max > max {
                // 2a. It is the row's new maximum: what was summed is rescaled, and the old maximum joins it.
                if max > -T::INFINITY {
                    rest = (1.0 + rest) * (max.to_f64() - block_max.to_f64()).exp();
                }
                max = block_max;
                pivot = Pivot::at(max);
                rest += sum_exp::<true, T, S>(s, block, max, pivot);
            } else if max > -T::INFINITY {
                // 2b. The old one stands: the whole block belongs to the rest.
                rest += sum_exp::<false, T, S>(s, block, max, pivot);
            } else if block.iter().any(|z| z.partial_cmp(z).is_none()) {
                // 2c. Nothing but -inf and NaN so far.
                rest = f64::NAN;
            }
        }
        let undefined = max == -T::INFINITY || (max == T::INFINITY && rest != 0.0);
        RowSum { max, rest: if undefined { f64::NAN } else { rest } }
    }

    /// `logsumexp(z) - max z = ln(1 + rest)`
    #[inline(always)]
    pub(crate) fn log_partition(self) -> f64 {
        self.rest.ln_1p()
    }

    /// The one class that is +inf and so has probability 1, where there is one.
    #[inline(always)]
    pub(crate) fn infinite_class<S: Simd<T>>(self, s: S, row: &[T]) -> Option<usize> {
        if self.max == T::INFINITY && self.rest == 0.0 { position(s, row, self.max) } else { None }
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

    /// All probabilities of the row, times a factor.
    #[inline(always)]
    pub(crate) fn softmax(self, factor: f64) -> Softmax<T> {
        let pivot = Pivot::at(self.max);
        let limit = T::from_f64(factor);
        Softmax { pivot, factor: T::from_f64(factor * pivot.factor / (1.0 + self.rest)), limit }
    }
}

/// Probabilities of a row, times a factor, a register at a time.
#[derive(Clone, Copy)]
pub(crate) struct Softmax<T> {
    pivot: Pivot<T>,
    factor: T,
    /// The factor of a probability of 1, which rounding must not exceed.
    limit: T,
}

impl<T: Real> Softmax<T> {
    /// The probabilities of a register of logits.
    #[inline(always)]
    pub(crate) fn of<S: Simd<T>>(self, s: S, z: S::V) -> S::V {
        s.splat(self.limit).min(self.pivot.exp(s, z) * s.splat(self.factor))
    }
}

/// The constants of a row with which `exp(z - max)` needs no rounded subtraction.
///
/// `exp(z - max) = factor * 2^(n - exponent) * exp(r)` where `z - shift = n ln 2 + r`.
#[derive(Clone, Copy)]
struct Pivot<T> {
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
            return Pivot { shift: max, exponent: T::ZERO, factor: 1.0 };
        }
        let n = (m * f64::LOG2_E).round_ties_even();
        let r = (m - n * f64::LN_2_HI) - n * f64::LN_2_LO;
        Pivot { shift: T::ZERO, exponent: T::from_f64(n), factor: (-r).exp() }
    }

    /// `exp(z - max) / factor`, at most 1 ULP; 0 where that is below the normal numbers.
    #[inline(always)]
    fn exp<S: Simd<T>>(self, s: S, z: S::V) -> S::V {
        exp_scaled(s, z - s.splat(self.shift), s.splat(self.exponent))
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

/// The sum of `exp(z - max)` over a block; with `SKIP_MAX`, over all of it but one element that equals `max`.
#[inline(always)]
fn sum_exp<const SKIP_MAX: bool, T: Real, S: Simd<T>>(s: S, block: &[T], max: T, pivot: Pivot<T>) -> f64 {
    let (zero, one, max) = (s.splat(T::ZERO), s.splat(T::ONE), s.splat(max));
    if SKIP_MAX {
        // Elements equal to the maximum are counted, not summed: each is 1, and one of them is left out.
        let [(a, m), (b, n)] = fold::<2, _, _, _>(
            s,
            block,
            -T::INFINITY,
            (zero, zero),
            #[inline(always)]
            |(sum, ties), _, z| {
                let is_max = z.eq(max);
                (sum + S::V::select(is_max, zero, pivot.exp(s, z)), ties + S::V::select(is_max, one, zero))
            },
        );
        (a + b).sum().to_f64() * pivot.factor + ((m + n).sum().to_f64() - 1.0)
    } else {
        row_total(
            s,
            block,
            -T::INFINITY,
            #[inline(always)]
            |_, z| pivot.exp(s, z),
        ) * pivot.factor
    }
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
    let sum = RowSum::of(s, row.source());
    let top = position(s, row.source(), sum.max);
    let softmax = sum.softmax(1.0);
    row.map(
        s,
        T::ZERO,
        #[inline(always)]
        |_, z| softmax.of(s, z),
    );
    if let Some(top) = top {
        row.target()[top] = T::from_f64(sum.probability(sum.max).0);
    }
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
