//! One row of logits: its maximum, the sum of its exponentials, and softmax, log-softmax and log-sum-exp from them. The
//! sums of short rows are finished a group at a time (`group`), and long rows in half precision are widened while they
//! are summed (`long`).
//!
//! # The margin-exact form
//! `logsumexp(z) = m + ln(1 + rest)` with `m = max z` and `rest` the sum of `exp(z_k - m)` over all classes *but one
//! that attains the maximum*. Added to that class's 1, a rest below 1e-8 would vanish in float32. Stored separately, it
//! keeps its digits at any margin. So do `ln(1 + rest)`, the loss of a confident row, and `rest / (1 + rest)`, the
//! complement of its probability.
//!
//! # No subtraction, no rounding
//! `z - m` rounds, and an exponential turns the absolute error of its argument into a relative error: 4e-6 in float32
//! at a margin of 80. So the logits are not subtracted. With `z = n ln 2 + r` and `m = n_m ln 2 + r_m`,
//! `exp(z - m) = 2^(n - n_m) exp(r) exp(-r_m)`: only integers are subtracted, and the last factor is a constant of the
//! row ([`Pivot`]).
//!
//! # Entropy from the same sweep
//! `H(softmax z) = ln(1 + rest) + sum_k p_k (m - z_k)`: no term is negative, so a confident row keeps the digits of its
//! small entropy. When the maximum rises by `d`, the partial sum of `exp(z_k) (m - z_k)` grows by `d` times the sum of
//! its exponentials.
//!
//! # References
//! M. Milakov and N. Gimelshein, *Online normalizer calculation for softmax*, 2018, arXiv:1805.02867 (one pass). M.
//! Dukhan and A. Ablavatski, *Two-pass softmax algorithm*, 2020, arXiv:2001.04438 (separate exponents). P. Blanchard,
//! D. J. Higham and N. J. Higham, *Accurately computing the log-sum-exp and softmax functions*, IMA J. Numer. Anal. 41,
//! 2021 (the maximum kept out of the sum).

pub(crate) mod group;
mod logit_map;
mod logits;
mod long;
mod sweep;

pub(crate) use logit_map::LogitMap;
pub use logits::{Logits, LogitsIo};
pub(crate) use long::{Before, HalfRow, LongRowKept, Pending};
pub(crate) use sweep::Watch;

use crate::math::Real;
use crate::simd::{Lanes, RowIo, Simd, fold, inlined, position, short};
use sweep::{EntropySum, Exponentials, Pivot, Sweep};

/// Elements of a block. It is read twice, for its maximum and for its exponentials, so it must stay in the first-level
/// cache. Short blocks also keep the partial sums in single precision short.
pub(crate) const BLOCK: usize = 1024;

/// Maximum and sum of exponentials of a row; its softmax follows from them.
#[derive(Clone, Copy, Debug)]
pub struct RowSum<T> {
    /// The largest logit.
    pub(crate) max: T,
    /// The sum of `exp(z_k - max)` over every class but one that attains the maximum. It is NaN if no distribution is
    /// defined: a logit is NaN, all logits are -inf, or more than one is +inf.
    pub(crate) rest: f64,
}

impl<T: Real> RowSum<T> {
    /// The sum of an empty row.
    pub(crate) fn none() -> Self {
        RowSum { max: -T::INFINITY, rest: 0.0 }
    }

    /// Sums a row in one pass, block by block, as a separate function.
    #[inline(always)]
    pub(crate) fn of<S: Simd<T>>(s: S, row: &[T]) -> Self {
        Self::of_part(s, &mut { row }).0.defined()
    }

    /// Sums a part of a row, as a separate function; [`joined`](Self::joined) combines the sums of all parts.
    #[inline(always)]
    pub(crate) fn of_part<S: Simd<T>>(s: S, part: &mut impl Exponentials<T>) -> (Self, Pivot<T>) {
        s.call(inlined!(|s| Sweep { row: part, watch: &mut () }.run(s)))
    }

    /// Sums a row of any kind as a separate function: plain or mapped, its exponentials kept or not.
    #[inline(always)]
    pub(crate) fn sweep<S: Simd<T>>(s: S, row: &mut impl Exponentials<T>) -> (Self, Pivot<T>) {
        let (sum, pivot) = Self::of_part(s, row);
        (sum.defined(), pivot)
    }

    /// Like [`sweep`](Self::sweep), but inlined into a kernel of many rows; `watch` sees each block.
    #[inline(always)]
    pub(crate) fn sweep_inlined<S: Simd<T>>(
        s: S,
        row: &mut impl Exponentials<T>,
        watch: &mut impl Watch<T>,
    ) -> (Self, Pivot<T>) {
        let (sum, pivot) = Sweep { row, watch }.run(s);
        (sum.defined(), pivot)
    }

    /// The sum of a row from the sums of its parts.
    pub(crate) fn joined(parts: impl Iterator<Item = Self>) -> Self {
        parts.fold(Self::none(), Self::and).defined()
    }

    /// Combines two parts: the part with the lower maximum is rescaled to the higher one, and the lower maximum itself
    /// joins the rest.
    pub(crate) fn and(self, other: Self) -> Self {
        let (high, low) = if other.max > self.max { (other, self) } else { (self, other) };
        let one = if low.max == -T::INFINITY { 0.0 } else { 1.0 };
        RowSum { max: high.max, rest: high.rest + (one + low.rest) * (-high.margin(low.max)).exp() }
    }

    /// Sets `rest` to NaN if no distribution is defined.
    #[inline(always)]
    fn defined(self) -> Self {
        let undefined = self.max == -T::INFINITY || (self.max == T::INFINITY && self.rest != 0.0);
        RowSum { rest: if undefined { f64::NAN } else { self.rest }, ..self }
    }

    /// Computes the sum, the entropy and the index of the maximum in one pass, block by block.
    #[inline(always)]
    pub(crate) fn with_stats<S: Simd<T>, R: Exponentials<T>>(s: S, row: &mut R) -> (Self, Stats) {
        let mut entropy = EntropySum { row, block: 0, sum: 0.0 };
        let (sum, pivot) = Self::sweep_inlined(s, &mut entropy, &mut ());
        let EntropySum { row, block: start, sum: margins } = entropy;
        // A single infinite logit has probability 1 and margin 0.
        let margins = if sum.max == T::INFINITY { 0.0 } else { margins / pivot.exp_of(sum.max) };
        let margin = margins / (1.0 + sum.rest);
        let top = if sum.rest.is_nan() {
            None
        } else {
            position(s, row.block(start..row.len().min(start + BLOCK)), sum.max).map(|i| start + i)
        };
        (sum, Stats { top, entropy: sum.log_partition() + margin, margin })
    }

    /// `logsumexp(z) - max z = ln(1 + rest)`
    #[inline(always)]
    pub(crate) fn log_partition(self) -> f64 {
        self.rest.ln_1p()
    }

    /// `logsumexp(z)` of the same row: NaN if a logit is NaN, else +inf if a logit is +inf, and -inf if all are -inf.
    #[inline(always)]
    pub(crate) fn logsumexp(self, row: &[T]) -> f64 {
        let max = self.max.to_f64();
        if max.is_finite() {
            max + self.log_partition()
        } else if row.iter().any(|z| z.partial_cmp(z).is_none()) {
            f64::NAN
        } else {
            max
        }
    }

    /// `max z - z_k`, exact; 0 for the maximum, even an infinite one.
    #[inline(always)]
    pub(crate) fn margin(self, logit: T) -> f64 {
        if logit == self.max { 0.0 } else { self.max.to_f64() - logit.to_f64() }
    }

    /// The probability of one class and its complement, without cancellation.
    #[inline(always)]
    pub(crate) fn probability(self, logit: T) -> (f64, f64) {
        let partition = 1.0 + self.rest;
        if logit == self.max {
            (1.0 / partition, self.rest / partition)
        } else {
            let p = (-self.margin(logit)).exp() / partition;
            (p, 1.0 - p)
        }
    }

    /// The function from logits to probabilities, times a factor.
    #[inline(always)]
    pub(crate) fn softmax(self, factor: f64) -> Softmax<T> {
        let pivot = Pivot::at(self.max);
        Softmax { pivot, scale: self.scale_of(pivot.factor, factor) }
    }

    /// `(z - max) - ln(1 + rest)` of the row or of a part of it. Two subtractions keep the digits that one would lose
    /// if the maximum is large.
    #[inline(always)]
    pub(crate) fn log_softmax<S: Simd<T>>(self, s: S, row: &mut RowIo<'_, T>) {
        let (max, log_partition) = (s.splat(self.max), s.splat(T::from_f64(self.log_partition())));
        row.finish_source(
            s,
            T::ZERO,
            inlined!(|_, z| S::V::select(z.eq(max), s.splat(T::ZERO), z - max) - log_partition),
        );
    }

    /// The scale that turns the exponentials kept by a sweep into probabilities times `factor`.
    #[inline(always)]
    pub(crate) fn scale(self, pivot: Pivot<T>, factor: f64) -> Scale<T> {
        self.scale_of(pivot.unit(self.max), factor)
    }

    /// The scale that turns `exp(z - max) / unit` into probabilities times `factor`.
    #[inline(always)]
    pub(crate) fn scale_of(self, unit: f64, factor: f64) -> Scale<T> {
        // The other sign has no limit: no probability is far above 1.
        let limit = if factor < 0.0 { f64::INFINITY } else { factor };
        Scale { factor: T::from_f64(factor * unit / (1.0 + self.rest)), limit: T::from_f64(limit) }
    }
}

/// Statistics of a row beside its sum.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stats {
    /// The first index of the maximum; `None` if no distribution is defined.
    pub(crate) top: Option<usize>,
    /// `-sum_k p_k ln p_k = ln(1 + rest) + sum_k p_k (max - z_k)`, two sums without a negative term.
    pub(crate) entropy: f64,
    /// `sum_k p_k (max - z_k)`, the mean margin.
    pub(crate) margin: f64,
}

/// A factor, and the upper limit of the result: the value for a probability of 1, which rounding must not exceed.
/// Negative results have none.
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

/// The probabilities of a row, times a factor, one register at a time.
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

/// The sum of `f(k, register at k)` over a row, in double precision beyond a block. `f` must return 0 for `fill`.
#[inline(always)]
pub(crate) fn row_total<T: Real, S: Simd<T>>(s: S, row: &[T], fill: T, f: impl Fn(usize, S::V) -> S::V) -> f64 {
    let mut total = 0.0;
    let len = short(s, BLOCK);
    for (b, block) in row.chunks(len).enumerate() {
        let zero = s.splat(T::ZERO);
        let [a, b, c, d] = fold::<4, _, _, _>(s, block, fill, zero, inlined!(|sum, i, v| sum + f(b * len + i, v)));
        total += ((a + b) + (c + d)).sum().to_f64();
    }
    total
}

/// `logsumexp(z)`: NaN if a logit is NaN, else +inf if a logit is +inf, and -inf if all are -inf.
#[inline(always)]
pub(crate) fn logsumexp<T: Real, S: Simd<T>>(s: S, row: &[T]) -> T {
    T::from_f64(RowSum::of(s, row).logsumexp(row))
}

/// Writes `softmax(z)`, in place or to a separate output.
#[inline(always)]
pub(crate) fn softmax<T: Real, S: Simd<T>>(s: S, row: &mut RowIo<'_, T>) {
    let (sum, pivot) = RowSum::sweep_inlined(s, row, &mut ());
    let scaled = sum.scale(pivot, 1.0);
    row.finish(s, inlined!(|_, e| scaled.of(s, e)));
}

/// Writes `log_softmax(z)`, in place or to a separate output.
#[inline(always)]
pub(crate) fn log_softmax<T: Real, S: Simd<T>>(s: S, row: &mut RowIo<'_, T>) {
    RowSum::of(s, row.source()).log_softmax(s, row);
}
