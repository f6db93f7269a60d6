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
//! # Entropy from the same sweep
//! `H(softmax z) = ln(1 + rest) + sum_k p_k (m - z_k)`: no term is negative, so a confident row keeps the digits of its
//! small entropy. When the maximum rises by `d`, what has been summed of `exp(z_k) (m - z_k)` grows by `d` times the sum of
//! those exponentials.
//!
//! # References
//! M. Milakov and N. Gimelshein, *Online normalizer calculation for softmax*, 2018, arXiv:1805.02867 (one pass).
//! M. Dukhan and A. Ablavatski, *Two-pass softmax algorithm*, 2020, arXiv:2001.04438 (exponents kept apart).
//! P. Blanchard, D. J. Higham and N. J. Higham, *Accurately computing the log-sum-exp and softmax functions*, IMA J.
//! Numer. Anal. 41, 2021 (the maximum kept out of the sum).

use crate::math::{Exp, Real, exp_scaled};
use crate::simd::{AHEAD, Kernel, Lanes, RowIo, Simd, fold, position};
use std::ops::Range;

/// Elements that are read twice, for their maximum and for their exponentials: they stay in the first-level cache, and
/// their single-precision partial sums stay short.
pub(crate) const BLOCK: usize = 1024;

/// What a row's softmax is made of.
#[derive(Clone, Copy, Debug)]
pub struct RowSum<T> {
    /// The largest logit.
    pub(crate) max: T,
    /// The sum of `exp(z_k - max)` over every class but one that attains the maximum. NaN where no distribution is
    /// defined: a logit is NaN, all are -inf, or more than one is +inf.
    pub(crate) rest: f64,
}

impl<T: Real> RowSum<T> {
    /// Of no logits.
    pub(crate) fn none() -> Self {
        RowSum { max: -T::INFINITY, rest: 0.0 }
    }

    /// Reads a row once, block by block.
    #[inline(always)]
    pub(crate) fn of<S: Simd<T>>(s: S, row: &[T]) -> Self {
        Self::of_part(s, row).defined()
    }

    /// The same, while `watch` sees each block.
    #[inline(always)]
    pub(crate) fn watched<S: Simd<T>>(s: S, row: &[T], watch: &mut impl Watch<T>) -> Self {
        Sweep { row: &mut { row }, watch }.run(s).0.defined()
    }

    /// Reads a part of a row: one of a row [`joined`](Self::joined) from such.
    #[inline(always)]
    pub(crate) fn of_part<S: Simd<T>>(s: S, part: &[T]) -> Self {
        // So many ask for it that it is a function of its own; below it is inlined.
        s.call(Sweep { row: &mut { part }, watch: &mut () }).0
    }

    /// The sum of a row, from those of its parts.
    pub(crate) fn joined(parts: impl Iterator<Item = Self>) -> Self {
        parts.fold(Self::none(), Self::and).defined()
    }

    /// The part with the lower maximum is brought to the unit of the other, and that maximum joins the rest.
    fn and(self, other: Self) -> Self {
        let (high, low) = if other.max > self.max { (other, self) } else { (self, other) };
        let one = if low.max == -T::INFINITY { 0.0 } else { 1.0 };
        RowSum { max: high.max, rest: high.rest + (one + low.rest) * (-high.gap(low.max)).exp() }
    }

    /// NaN where no distribution is defined, whatever the sum.
    #[inline(always)]
    fn defined(self) -> Self {
        let undefined = self.max == -T::INFINITY || (self.max == T::INFINITY && self.rest != 0.0);
        RowSum { rest: if undefined { f64::NAN } else { self.rest }, ..self }
    }

    /// Reads a row once, block by block, and keeps its exponentials in `row`: times the factor that is returned, they are
    /// `exp(z - max)`.
    #[inline(always)]
    pub(crate) fn keeping<S: Simd<T>>(s: S, row: &mut RowIo<'_, T>) -> (Self, f64) {
        let (sum, unit) = Self::keeping_part(s, row);
        (sum.defined(), unit)
    }

    /// The same, while `watch` sees each block.
    #[inline(always)]
    pub(crate) fn keeping_watched<S: Simd<T>>(s: S, row: &mut RowIo<'_, T>, watch: &mut impl Watch<T>) -> (Self, f64) {
        let (sum, pivot) = Sweep { row, watch }.run(s);
        (sum.defined(), pivot.factor / pivot.exp_of(sum.max))
    }

    /// The same of a part of a row.
    #[inline(always)]
    pub(crate) fn keeping_part<S: Simd<T>>(s: S, part: &mut RowIo<'_, T>) -> (Self, f64) {
        let (sum, pivot) = Sweep { row: part, watch: &mut () }.run(s);
        (sum, pivot.factor / pivot.exp_of(sum.max))
    }

    /// Reads a row once, block by block, for its entropy and the place of its maximum too.
    #[inline(always)]
    pub(crate) fn spreading<S: Simd<T>>(s: S, row: &[T]) -> (Self, Spread) {
        let mut spreading = Spreading { row, block: 0, sum: 0.0 };
        let (sum, pivot) = Sweep { row: &mut spreading, watch: &mut () }.run(s);
        let sum = sum.defined();
        let Spreading { block: start, sum: gaps, .. } = spreading;
        // One infinite logit has all the probability, and nothing is apart from it.
        let gaps = if sum.max == T::INFINITY { 0.0 } else { gaps / pivot.exp_of(sum.max) };
        let top = if sum.rest.is_nan() {
            None
        } else {
            let block = &row[start..row.len().min(start + BLOCK)];
            position(s, block, sum.max).map(|i| start + i)
        };
        (sum, Spread { top, entropy: sum.log_partition() + gaps / (1.0 + sum.rest) })
    }

    /// `logsumexp(z) - max z = ln(1 + rest)`
    #[inline(always)]
    pub(crate) fn log_partition(self) -> f64 {
        self.rest.ln_1p()
    }

    /// `logsumexp(z)` of the row that was summed: -inf for a row of -inf, +inf where a logit is, NaN where one is.
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

    /// `(z - max) - ln(1 + rest)` of all or some of the row: two subtractions keep what one would lose where the maximum is
    /// large.
    #[inline(always)]
    pub(crate) fn log_softmax<S: Simd<T>>(self, s: S, row: &mut RowIo<'_, T>) {
        let (max, log_partition) = (s.splat(self.max), s.splat(T::from_f64(self.log_partition())));
        row.map(
            s,
            T::ZERO,
            #[inline(always)]
            |_, z| S::V::select(z.eq(max), s.splat(T::ZERO), z - max) - log_partition,
        );
    }

    /// What makes probabilities, times a factor, of exponentials that are `unit` short of `exp(z - max)`.
    #[inline(always)]
    pub(crate) fn scale(self, unit: f64, factor: f64) -> Scale<T> {
        Scale { factor: T::from_f64(factor * unit / (1.0 + self.rest)), limit: T::from_f64(factor) }
    }
}

/// One sweep over a row.
///
/// The online form: the pivot is the maximum of the first block, later blocks may rise above it as far as
/// [`HEADROOM`](Exp::HEADROOM), and `rest` counts in units of `exp(pivot)` until the end.
struct Sweep<'k, R, W> {
    row: &'k mut R,
    watch: &'k mut W,
}

impl<T: Real, R: Exponentials<T>, W: Watch<T>> Kernel<T> for Sweep<'_, R, W> {
    type Output = (RowSum<T>, Pivot<T>);
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) -> Self::Output {
        let Sweep { row, watch } = self;
        let len = row.logits().len();
        let (mut max, mut rest, mut pivot) = (-T::INFINITY, 0.0, Pivot::none());
        for start in (0..len).step_by(BLOCK) {
            let block = start..len.min(start + BLOCK);
            // 1. maximum of the block
            let block_max = largest(s, &row.logits()[block.clone()]);
            watch.block(s, start, &row.logits()[block.clone()], if block_max > max { block_max } else { max });
            if block_max > max {
                // 2a. It is the row's new maximum, and the old one joins the rest. All that equal it are counted, not
                // summed: each is exp(max), and one of them is left out.
                rest += if max > -T::INFINITY { pivot.exp_of(max) } else { 0.0 };
                row.rise(start, max, block_max, rest);
                if block_max.to_f64() - pivot.max.to_f64() > T::HEADROOM {
                    let new = Pivot::at(block_max);
                    row.rescale(s, start, pivot, new);
                    rest *= new.exp_of(pivot.max);
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
        (RowSum { max, rest }, pivot)
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

    /// The exponentials that were kept of a row become `sign` times this much of them, less `spread`.
    #[inline(always)]
    pub(crate) fn finish<S: Simd<T>>(self, s: S, row: &mut RowIo<'_, T>, sign: f64, spread: f64) {
        if sign == 1.0 && spread == 0.0 {
            return row.finish(
                s,
                #[inline(always)]
                |e| self.of(s, e),
            );
        }
        let (sign, spread) = (s.splat(T::from_f64(sign)), s.splat(T::from_f64(spread)));
        row.finish(
            s,
            #[inline(always)]
            |e| sign * self.of(s, e) - spread,
        );
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

/// Whoever wants to see the logits of a row, block by block, in the same sweep: while they are in the first-level cache,
/// and before their exponentials may overwrite them.
pub(crate) trait Watch<T: Real> {
    /// The logits from `start` on; `max` is the largest so far, these included.
    fn block<S: Simd<T>>(&mut self, s: S, start: usize, logits: &[T], max: T);
}

/// Nobody.
impl<T: Real> Watch<T> for () {
    #[inline(always)]
    fn block<S: Simd<T>>(&mut self, _: S, _: usize, _: &[T], _: T) {}
}

/// What a row's statistics want beside its sum.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    /// The first place of the maximum; none where no distribution is defined.
    pub(crate) top: Option<usize>,
    /// `-sum_k p_k ln p_k = ln(1 + rest) + sum_k p_k (max - z_k)`, two sums without a negative term.
    pub(crate) entropy: f64,
}

/// A row whose exponentials are summed, and, where the gradient wants them again, kept.
trait Exponentials<T: Real> {
    fn logits(&self) -> &[T];

    /// The maximum rises in the block that begins at `start`; the exponentials of all logits before it sum to `rest`.
    #[inline(always)]
    fn rise(&mut self, _start: usize, _from: T, _to: T, _rest: f64) {}

    /// The sum of `exp(z - pivot) / factor` over a block; with `SKIP_MAX` those equal to `max` are left out, and counted.
    fn sum<const SKIP_MAX: bool, S: Simd<T>>(
        &mut self,
        s: S,
        block: Range<usize>,
        max: T,
        pivot: Pivot<T>,
    ) -> (f64, f64);

    /// Moves what has been kept of the first `len` logits to another pivot.
    #[inline(always)]
    fn rescale<S: Simd<T>>(&mut self, _: S, _len: usize, _from: Pivot<T>, _to: Pivot<T>) {}
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
}

/// Summed, and once more times their distance from the maximum.
struct Spreading<'a, T> {
    row: &'a [T],
    /// Where the block begins that the maximum was first met in.
    block: usize,
    /// `sum_k exp(z_k - pivot) (max - z_k)`, with the maximum so far.
    sum: f64,
}

/// Beyond this distance from the maximum all exponentials are 0: at least `HEADROOM` and the exponents of normal numbers.
/// Not infinite, so that 0 times it is 0.
const FAR: f64 = 4096.0;

impl<T: Real> Exponentials<T> for Spreading<'_, T> {
    #[inline(always)]
    fn logits(&self) -> &[T] {
        self.row
    }

    #[inline(always)]
    fn rise(&mut self, start: usize, from: T, to: T, rest: f64) {
        self.block = start;
        // Every exponential so far is now further from the maximum, by as much as it rises.
        if from > -T::INFINITY {
            self.sum += rest * (to.to_f64() - from.to_f64()).min(FAR);
        }
    }

    #[inline(always)]
    fn sum<const SKIP_MAX: bool, S: Simd<T>>(
        &mut self,
        s: S,
        block: Range<usize>,
        max: T,
        pivot: Pivot<T>,
    ) -> (f64, f64) {
        let (zero, one, far) = (s.splat(T::ZERO), s.splat(T::ONE), s.splat(T::from_f64(FAR)));
        let (max, start, row) = (s.splat(max), block.start, self.row);
        // A NaN, on the left, is passed over: its exponential is one already.
        let (sum, ties, gaps);
        if SKIP_MAX {
            let [(a, m, g), (b, n, h)] = fold::<2, _, _, _>(
                s,
                &row[block],
                -T::INFINITY,
                (zero, zero, zero),
                #[inline(always)]
                |(sum, ties, gaps), i, z| {
                    s.prefetch(row, start + i + AHEAD);
                    let is_max = z.eq(max);
                    let e = S::V::select(is_max, zero, pivot.exp(s, z));
                    (sum + e, ties + S::V::select(is_max, one, zero), e.mul_add((max - z).min(far), gaps))
                },
            );
            (sum, ties, gaps) = (a + b, m + n, g + h);
        } else {
            let [(a, e), (b, f), (c, g), (d, h)] = fold::<4, _, _, _>(
                s,
                &row[block],
                -T::INFINITY,
                (zero, zero),
                #[inline(always)]
                |(sum, gaps), i, z| {
                    s.prefetch(row, start + i + AHEAD);
                    let e = pivot.exp(s, z);
                    (sum + e, e.mul_add((max - z).min(far), gaps))
                },
            );
            (sum, ties, gaps) = ((a + b) + (c + d), zero, (e + f) + (g + h));
        }
        self.sum += gaps.sum().to_f64() * pivot.factor;
        (sum.sum().to_f64(), ties.sum().to_f64())
    }

    #[inline(always)]
    fn rescale<S: Simd<T>>(&mut self, _: S, _: usize, from: Pivot<T>, to: Pivot<T>) {
        self.sum *= to.exp_of(from.max);
    }
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
    fn rescale<S: Simd<T>>(&mut self, s: S, len: usize, from: Pivot<T>, to: Pivot<T>) {
        let factor = s.splat(T::from_f64(to.exp_of(from.max) * from.factor / to.factor));
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
    T::from_f64(RowSum::of(s, row).logsumexp(row))
}

/// `softmax(z)`, written over or beside the row.
#[inline(always)]
pub(crate) fn softmax<T: Real, S: Simd<T>>(s: S, row: &mut RowIo<'_, T>) {
    let (sum, unit) = RowSum::keeping(s, row);
    sum.scale(unit, 1.0).finish(s, row, 1.0, 0.0);
}

/// `log_softmax(z)`, written over or beside the row.
#[inline(always)]
pub(crate) fn log_softmax<T: Real, S: Simd<T>>(s: S, row: &mut RowIo<'_, T>) {
    RowSum::of(s, row.source()).log_softmax(s, row);
}
