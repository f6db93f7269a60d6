//! The sweep that sums a row: block by block, it sums the exponentials and, if required, keeps them.

use super::{BLOCK, RowSum};
use crate::math::{Exp, Real, exp_scaled};
use crate::simd::{AHEAD, Lanes, RowIo, Simd, fold, inlined, short};
use std::ops::Range;

/// One sweep over a row.
///
/// This is the online form. The pivot is the maximum of the first block; maxima of later blocks may exceed it by up to
/// [`HEADROOM`](Exp::HEADROOM). Until the end `rest` is in units of `exp(pivot)`.
pub(super) struct Sweep<'k, R, W> {
    pub(super) row: &'k mut R,
    pub(super) watch: &'k mut W,
}

impl<R, W> Sweep<'_, R, W> {
    #[inline(always)]
    pub(super) fn run<T: Real, S: Simd<T>>(self, s: S) -> (RowSum<T>, Pivot<T>)
    where
        R: Exponentials<T>,
        W: Watch<T>,
    {
        let Sweep { row, watch } = self;
        let (len, size) = (row.len(), short(s, BLOCK));
        let (mut max, mut rest, mut pivot) = (-T::INFINITY, 0.0, Pivot::none());
        for start in (0..len).step_by(size) {
            let block = start..len.min(start + size);
            // 1. the maximum of the block; its logits may be mapped first
            let block_max = row.enter(s, block.clone());
            watch.block(s, start, row.block(block.clone()), if block_max > max { block_max } else { max });
            if block_max > max {
                // 2a. It is the new maximum of the row, and the old maximum joins the rest. Logits equal to it are
                // counted, not summed: each contributes exp(max), and one of them is left out.
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
                // 2b. The old maximum remains: the whole block belongs to the rest.
                rest += row.sum::<false, S>(s, block, max, pivot).0 * pivot.factor;
            }
        }
        // 3. from units of exp(pivot) to units of exp(max)
        rest /= pivot.exp_of(max);
        (RowSum { max, rest }, pivot)
    }
}

/// The constants of a row that give `exp(z - max)` without a rounded subtraction.
///
/// `exp(z - max) = factor * 2^(n - exponent) * exp(r)` where `z - shift = n ln 2 + r`.
#[derive(Clone, Copy)]
pub(crate) struct Pivot<T> {
    max: T,
    /// 0, or the maximum itself if it is so large that `n ln 2` would be inexact. In that case every logit whose
    /// exponential does not underflow is within a factor of two of the maximum, so `z - max` is exact.
    shift: T,
    exponent: T,
    pub(super) factor: f64,
}

impl<T: Real> Pivot<T> {
    #[inline(always)]
    pub(super) fn at(max: T) -> Self {
        let m = max.to_f64();
        if m.abs() >= T::PIVOT_LIMIT {
            return Pivot { max, shift: max, exponent: T::ZERO, factor: 1.0 };
        }
        let n = (m * f64::LOG2_E).round_ties_even();
        let r = (m - n * f64::LN_2_HI) - n * f64::LN_2_LO;
        Pivot { max, shift: T::ZERO, exponent: T::from_f64(n), factor: (-r).exp() }
    }

    /// The pivot before any maximum: all logits so far are -inf, whose exponential is 0, or NaN.
    #[inline(always)]
    fn none() -> Self {
        Pivot { max: -T::INFINITY, shift: T::ZERO, exponent: T::ZERO, factor: 1.0 }
    }

    /// `exp(z - max) / factor`, as accurate as `exp`; 0 if the result is far below the normal numbers.
    #[inline(always)]
    pub(super) fn exp<S: Simd<T>>(self, s: S, z: S::V) -> S::V {
        exp_scaled(s, z - s.splat(self.shift), s.splat(self.exponent))
    }

    /// Whether logits need no shift, as is usual.
    #[inline(always)]
    pub(super) fn is_plain(self) -> bool {
        self.shift == T::ZERO
    }

    /// [`exp`](Self::exp) of logits that need no shift.
    #[inline(always)]
    pub(super) fn plain_exp<S: Simd<T>>(self, s: S, z: S::V) -> S::V {
        exp_scaled(s, z, s.splat(self.exponent))
    }

    /// The ratio of `exp(z - max)`, with the maximum of the whole row, to an exponential of this pivot.
    #[inline(always)]
    pub(crate) fn unit(self, max: T) -> f64 {
        self.factor / self.exp_of(max)
    }

    /// The largest logit, and the exponential that is kept for it.
    #[inline(always)]
    fn tops(self, max: T) -> [T; 2] {
        [max, T::from_f64(self.exp_of(max) / self.factor)]
    }

    /// `exp(z - max)` of a single logit; 1 for the maximum, even an infinite one.
    #[inline(always)]
    pub(super) fn exp_of(self, z: T) -> f64 {
        if z == self.max { 1.0 } else { (z.to_f64() - self.max.to_f64()).exp() }
    }
}

/// An observer that sees the logits of a row block by block, in the same sweep: while they are in the first-level
/// cache, and before their exponentials may overwrite them.
pub(crate) trait Watch<T: Real> {
    /// Sees the logits of a block that begins at `start`; `max` is the largest logit so far, this block included.
    fn block<S: Simd<T>>(&mut self, s: S, start: usize, logits: &[T], max: T);
}

/// No observer.
impl<T: Real> Watch<T> for () {
    #[inline(always)]
    fn block<S: Simd<T>>(&mut self, _: S, _: usize, _: &[T], _: T) {}
}

/// A row whose exponentials are summed and, if the gradient needs them again, kept.
pub(crate) trait Exponentials<T: Real> {
    /// The number of logits.
    fn len(&self) -> usize;

    /// The logits of the current block of the sweep.
    fn block(&self, block: Range<usize>) -> &[T];

    /// Enters a block, and returns its largest logit.
    #[inline(always)]
    fn enter<S: Simd<T>>(&mut self, s: S, block: Range<usize>) -> T {
        largest(s, self.block(block))
    }

    /// Called when the maximum rises in the block that begins at `start`; `rest` is the sum of the exponentials of all
    /// earlier logits.
    #[inline(always)]
    fn rise(&mut self, _start: usize, _from: T, _to: T, _rest: f64) {}

    /// The sum of `exp(z - pivot) / factor` over a block. With `SKIP_MAX` logits equal to `max` are counted instead of
    /// summed.
    fn sum<const SKIP_MAX: bool, S: Simd<T>>(
        &mut self,
        s: S,
        block: Range<usize>,
        max: T,
        pivot: Pivot<T>,
    ) -> (f64, f64);

    /// Rescales the kept exponentials of the first `len` logits to another pivot.
    #[inline(always)]
    fn rescale<S: Simd<T>>(&mut self, _: S, _len: usize, _from: Pivot<T>, _to: Pivot<T>) {}
}

/// A row whose exponentials are only summed.
impl<T: Real> Exponentials<T> for &[T] {
    #[inline(always)]
    fn len(&self) -> usize {
        <[T]>::len(self)
    }

    #[inline(always)]
    fn block(&self, block: Range<usize>) -> &[T] {
        &self[block]
    }

    #[inline(always)]
    fn sum<const SKIP_MAX: bool, S: Simd<T>>(
        &mut self,
        s: S,
        block: Range<usize>,
        max: T,
        pivot: Pivot<T>,
    ) -> (f64, f64) {
        let start = block.start;
        sum_of::<SKIP_MAX, T, S, T>(s, &self[block], &self[start..], max, pivot)
    }
}

/// [`Exponentials::sum`] for the logits of a block, as a separate function: a block is long, and many loops sum one.
/// `memory` starts at the same element and is prefetched.
#[inline(always)]
pub(super) fn sum_of<const SKIP_MAX: bool, T: Real, S: Simd<T>, M>(
    s: S,
    block: &[T],
    memory: &[M],
    max: T,
    pivot: Pivot<T>,
) -> (f64, f64) {
    s.call(inlined!(|s| if pivot.is_plain() {
        sum_with::<SKIP_MAX, T, S, M>(s, block, memory, max, inlined!(|z| pivot.plain_exp(s, z)))
    } else {
        sum_with::<SKIP_MAX, T, S, M>(s, block, memory, max, inlined!(|z| pivot.exp(s, z)))
    }))
}

#[inline(always)]
fn sum_with<const SKIP_MAX: bool, T: Real, S: Simd<T>, M>(
    s: S,
    block: &[T],
    memory: &[M],
    max: T,
    exp: impl Fn(S::V) -> S::V,
) -> (f64, f64) {
    let (zero, one, max) = (s.splat(T::ZERO), s.splat(T::ONE), s.splat(max));
    if SKIP_MAX {
        let [(a, m), (b, n)] = fold::<2, _, _, _>(
            s,
            block,
            -T::INFINITY,
            (zero, zero),
            inlined!(|(sum, ties), i, z| {
                s.prefetch(memory, i + AHEAD);
                let is_max = z.eq(max);
                (sum + exp(z).zero_where(is_max), ties + one.zero_unless(is_max))
            }),
        );
        ((a + b).sum().to_f64(), (m + n).sum().to_f64())
    } else {
        let [a, b, c, d] = fold::<4, _, _, _>(
            s,
            block,
            -T::INFINITY,
            zero,
            inlined!(|sum, i, z| {
                s.prefetch(memory, i + AHEAD);
                sum + exp(z)
            }),
        );
        (((a + b) + (c + d)).sum().to_f64(), 0.0)
    }
}

/// A row whose exponentials are summed twice: plain, and times their margins, the distances from the maximum.
pub(super) struct EntropySum<'a, R> {
    pub(super) row: &'a mut R,
    /// The start of the block that first attains the maximum.
    pub(super) block: usize,
    /// `sum_k exp(z_k - pivot) (max - z_k)`, with the largest logit so far as `max`.
    pub(super) sum: f64,
}

/// An upper limit of margins: beyond it all exponentials are 0, as it exceeds `HEADROOM` plus the exponent range of
/// normal numbers. It is finite, so that 0 times it is 0.
const FAR: f64 = 4096.0;

impl<T: Real, R: Exponentials<T>> Exponentials<T> for EntropySum<'_, R> {
    #[inline(always)]
    fn len(&self) -> usize {
        self.row.len()
    }

    #[inline(always)]
    fn block(&self, block: Range<usize>) -> &[T] {
        self.row.block(block)
    }

    #[inline(always)]
    fn enter<S: Simd<T>>(&mut self, s: S, block: Range<usize>) -> T {
        self.row.enter(s, block)
    }

    #[inline(always)]
    fn rise(&mut self, start: usize, from: T, to: T, rest: f64) {
        self.block = start;
        // The margin of every earlier exponential grows by the rise of the maximum.
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
        // A map has prefetched the logits that it is given.
        let (row, memory) = (self.row.block(block.clone()), self.row.block(block.start..self.row.len()));
        let [sum, ties, gaps] = if pivot.is_plain() {
            sum_with_margins::<SKIP_MAX, T, S>(s, row, memory, max, inlined!(|z| pivot.plain_exp(s, z)))
        } else {
            s.call(inlined!(|s| {
                sum_with_margins::<SKIP_MAX, T, S>(s, row, memory, max, inlined!(|z| pivot.exp(s, z)))
            }))
        };
        self.sum += gaps.sum().to_f64() * pivot.factor;
        (sum.sum().to_f64(), ties.sum().to_f64())
    }

    #[inline(always)]
    fn rescale<S: Simd<T>>(&mut self, _: S, _: usize, from: Pivot<T>, to: Pivot<T>) {
        self.sum *= to.exp_of(from.max);
    }
}

/// The sums of the exponentials of a block, of the logits that equal `max`, and of the exponentials times the margins.
/// `memory` starts at the same element and is prefetched.
#[inline(always)]
fn sum_with_margins<const SKIP_MAX: bool, T: Real, S: Simd<T>>(
    s: S,
    block: &[T],
    memory: &[T],
    max: T,
    exp: impl Fn(S::V) -> S::V,
) -> [S::V; 3] {
    let (zero, one, max, far) = (s.splat(T::ZERO), s.splat(T::ONE), s.splat(max), s.splat(T::from_f64(FAR)));
    // `min` drops a NaN on its left side; the exponential is NaN already.
    if SKIP_MAX {
        let [(a, m, g), (b, n, h)] = fold::<2, _, _, _>(
            s,
            block,
            -T::INFINITY,
            (zero, zero, zero),
            inlined!(|(sum, ties, gaps), i, z| {
                s.prefetch(memory, i + AHEAD);
                let is_max = z.eq(max);
                let e = exp(z).zero_where(is_max);
                (sum + e, ties + one.zero_unless(is_max), e.mul_add((max - z).min(far), gaps))
            }),
        );
        [a + b, m + n, g + h]
    } else {
        let [(a, e), (b, f), (c, g), (d, h)] = fold::<4, _, _, _>(
            s,
            block,
            -T::INFINITY,
            (zero, zero),
            inlined!(|(sum, gaps), i, z| {
                s.prefetch(memory, i + AHEAD);
                let e = exp(z);
                (sum + e, e.mul_add((max - z).min(far), gaps))
            }),
        );
        [(a + b) + (c + d), zero, (e + f) + (g + h)]
    }
}

/// A row whose exponentials are summed and kept.
impl<T: Real> Exponentials<T> for RowIo<'_, T> {
    #[inline(always)]
    fn len(&self) -> usize {
        self.source().len()
    }

    #[inline(always)]
    fn block(&self, block: Range<usize>) -> &[T] {
        &self.source()[block]
    }

    #[inline(always)]
    fn sum<const SKIP_MAX: bool, S: Simd<T>>(
        &mut self,
        s: S,
        block: Range<usize>,
        max: T,
        pivot: Pivot<T>,
    ) -> (f64, f64) {
        keep_of::<SKIP_MAX, T, S>(s, self, block, max, pivot)
    }

    #[inline(always)]
    fn rescale<S: Simd<T>>(&mut self, s: S, len: usize, from: Pivot<T>, to: Pivot<T>) {
        let factor = s.splat(T::from_f64(to.exp_of(from.max) * from.factor / to.factor));
        RowIo::in_place(self.kept(len)).map(s, T::ZERO, inlined!(|_, e| e * factor));
    }
}

/// [`Exponentials::sum`] for the logits of a block, whose exponentials are kept, as a separate function.
#[inline(always)]
fn keep_of<const SKIP_MAX: bool, T: Real, S: Simd<T>>(
    s: S,
    row: &mut RowIo<'_, T>,
    block: Range<usize>,
    max: T,
    pivot: Pivot<T>,
) -> (f64, f64) {
    s.call(inlined!(|s| if pivot.is_plain() {
        keep_plain::<SKIP_MAX, T, S>(s, row, block, max, pivot, inlined!(|_| {}))
    } else {
        keep_with::<SKIP_MAX, T, S>(s, row, block, pivot.tops(max), inlined!(|z| pivot.exp(s, z)), inlined!(|_| {}))
    }))
}

/// The same for a row that needs no shift, inlined. `after(n)` is called after every `n` registers.
#[inline(always)]
pub(super) fn keep_plain<const SKIP_MAX: bool, T: Real, S: Simd<T>>(
    s: S,
    row: &mut RowIo<'_, T>,
    block: Range<usize>,
    max: T,
    pivot: Pivot<T>,
    after: impl FnMut(usize),
) -> (f64, f64) {
    keep_with::<SKIP_MAX, T, S>(s, row, block, pivot.tops(max), inlined!(|z| pivot.plain_exp(s, z)), after)
}

/// The same with the exponential function; an exponential of `top` is kept for logits equal to `max`.
#[inline(always)]
fn keep_with<const SKIP_MAX: bool, T: Real, S: Simd<T>>(
    s: S,
    row: &mut RowIo<'_, T>,
    block: Range<usize>,
    [max, top]: [T; 2],
    exp: impl Fn(S::V) -> S::V,
    after: impl FnMut(usize),
) -> (f64, f64) {
    let (zero, one, max, top) = (s.splat(T::ZERO), s.splat(T::ONE), s.splat(max), s.splat(top));
    if SKIP_MAX {
        let [(a, m), (b, n)] = row.keep::<2, _, _>(
            s,
            block,
            -T::INFINITY,
            (zero, zero),
            inlined!(|(sum, ties), z| {
                let (is_max, e) = (z.eq(max), exp(z));
                let ties = ties + one.zero_unless(is_max);
                ((sum + e.zero_where(is_max), ties), S::V::select(is_max, top, e))
            }),
            after,
        );
        ((a + b).sum().to_f64(), (m + n).sum().to_f64())
    } else {
        let [a, b, c, d] = row.keep::<4, _, _>(
            s,
            block,
            -T::INFINITY,
            zero,
            inlined!(|sum, z| {
                let e = exp(z);
                (sum + e, e)
            }),
            after,
        );
        (((a + b) + (c + d)).sum().to_f64(), 0.0)
    }
}

/// The largest element that is not NaN; -inf if there is none.
#[inline(always)]
pub(crate) fn largest<T: Real, S: Simd<T>>(s: S, xs: &[T]) -> T {
    let [a, b, c, d] = fold::<4, _, _, _>(s, xs, -T::INFINITY, s.splat(-T::INFINITY), inlined!(|max, _, z| z.max(max)));
    a.max(b).max(c.max(d)).largest()
}
