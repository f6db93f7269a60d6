//! A group of rows, each of one block, whose sums are finished together.
//!
//! Each row is read along its registers. What follows from its sums, two quotients and a logarithm or two, costs more
//! than a short row's exponentials. So the sums of a group are collected, one row per lane, and the rest is computed
//! for all rows at once, as for rows that go by lane ([`tile`](crate::tile)). For the same reason all maxima come
//! first: no exponential waits for the maximum of its row.

use super::BLOCK;
use crate::math::{Real, exp_scaled, log1p};
use crate::simd::{AHEAD, Isa, Lanes, MAX_LANES, Mask, RowIo, Simd, fold, inlined, lanes_of, short};
use crate::tile::{LaneSums, Pivots};
use crate::view::Rows;
use std::ops::Range;

/// The most classes of a row whose sums are collected.
const MAX_CLASSES: usize = BLOCK;

/// Shorter rows are faster by lane. Rows of 64 fill four registers of AVX-512, and take a seventh less by group.
const MIN_CLASSES: usize = 64;

/// The same where exponentials are all the work, of `softmax` and `log_softmax`: this many registers, but at least so many
/// classes. Losses have one border for all registers, as logits that stand a class at a time have their bits by lane.
const MIN_OF_SOFTMAX: [usize; 2] = [3, 32];

/// Whether rows of this many classes go by group.
pub(crate) fn are_short(classes: usize) -> bool {
    (MIN_CLASSES..=MAX_CLASSES).contains(&classes)
}

/// The same for `softmax` and `log_softmax`: from 48 classes of float32 with AVX-512 on, else from 32.
pub(crate) fn are_short_for_softmax<T: Real>(isa: Isa, classes: usize) -> bool {
    let [registers, least] = MIN_OF_SOFTMAX;
    (least.max(registers * isa.lanes::<T>())..=MAX_CLASSES).contains(&classes)
}

/// Whether rows of this many classes have several blocks.
pub(crate) fn are_long(classes: usize) -> bool {
    classes > MAX_CLASSES
}

/// The logits of a group. They are written by the sweep and read again at the end, so they must stay in the first-level
/// cache.
pub(crate) const MAX_ELEMENTS: usize = 4096;

/// The same for functions of the logits alone, whose results are as many numbers in another place, and where a group has
/// less to finish.
const MAX_ELEMENTS_OF_FUNCTION: usize = 2048;

/// The number of rows of a group.
#[inline(always)]
pub(crate) fn group_rows<T: Real, S: Simd<T>>(_: S, classes: usize) -> usize {
    (MAX_ELEMENTS / classes).min(S::LANES)
}

/// The number of rows of a group of `softmax`, `log_softmax` or `logsumexp`.
#[inline(always)]
pub(crate) fn function_group_rows<T: Real, S: Simd<T>>(_: S, classes: usize) -> usize {
    (MAX_ELEMENTS_OF_FUNCTION / classes).min(S::LANES)
}

/// The numbers of a row of a group in a scratch buffer, which may be empty.
#[inline(always)]
pub(crate) fn part<T>(scratch: &mut [T], lane: usize, classes: usize) -> &mut [T] {
    if scratch.is_empty() { scratch } else { &mut scratch[lane * classes..][..classes] }
}

/// The maxima of a group of rows: a register for each row, whose lanes are combined for all rows at once.
pub(crate) struct GroupMaxima<T: Real, S: Simd<T>>([S::Array; MAX_LANES]);

impl<T: Real, S: Simd<T>> GroupMaxima<T, S> {
    /// No rows.
    #[inline(always)]
    pub(crate) fn none(_: S) -> Self {
        GroupMaxima([S::Array::default(); MAX_LANES])
    }

    /// Reads a row; a NaN does not count.
    #[inline(always)]
    pub(crate) fn add(&mut self, s: S, lane: usize, row: &[T]) {
        let lowest = s.splat(-T::INFINITY);
        let [a, b] = fold::<2, _, _, _>(s, row, -T::INFINITY, lowest, inlined!(|max, _, z| z.max(max)));
        self.0[lane] = lanes_of(s, a.max(b));
    }

    /// The pivots of all rows.
    #[inline(always)]
    pub(crate) fn pivots(&self, s: S) -> GroupPivots<T, S> {
        let all = Pivots::of(s, s.maxima(&self.0));
        GroupPivots { all, max: lanes_of(s, all.max), exponent: lanes_of(s, all.exponent), are_small: all.are_small(s) }
    }
}

/// The maxima of a group of rows, with their pivots.
pub(crate) struct GroupPivots<T: Real, S: Simd<T>> {
    all: Pivots<S::V>,
    pub(crate) max: S::Array,
    exponent: S::Array,
    /// See [`Pivots::are_small`].
    are_small: bool,
}

impl<T: Real, S: Simd<T>> GroupPivots<T, S> {
    #[inline(always)]
    fn row(&self, s: S, lane: usize) -> RowPivot<S::V> {
        RowPivot { max: s.splat(self.max.as_ref()[lane]), exponent: s.splat(self.exponent.as_ref()[lane]) }
    }
}

/// The sums of a group of rows.
pub(crate) struct GroupSums<T: Real, S: Simd<T>> {
    /// The exponentials below the maximum, in units of the pivot: a register for each row, whose lanes are added up for
    /// all rows at once.
    sums: [S::Array; MAX_LANES],
    /// The number of classes that attain the maximum.
    ties: S::Array,
}

impl<T: Real, S: Simd<T>> GroupSums<T, S> {
    /// No rows.
    #[inline(always)]
    pub(crate) fn none(s: S) -> Self {
        GroupSums { sums: [S::Array::default(); MAX_LANES], ties: lanes_of(s, s.splat(T::ONE)) }
    }

    /// Sums a row of logits.
    #[inline(always)]
    pub(crate) fn add(&mut self, s: S, lane: usize, pivots: &GroupPivots<T, S>, row: &[T]) {
        self.add_with(s, lane, pivots, row, inlined!(|more, _, _| more));
    }

    /// Like [`add`](Self::add), and returns `sum_k e_k (max z - z_k)`, with the summed exponentials `e_k`, as a register
    /// whose lanes are to be added up.
    #[inline(always)]
    pub(crate) fn add_with_margins(&mut self, s: S, lane: usize, pivots: &GroupPivots<T, S>, row: &[T]) -> S::V {
        let (zero, max) = (s.splat(T::ZERO), pivots.row(s, lane).max);
        // A class of probability 0 contributes 0, even if its logit is -inf or the maximum is infinite.
        self.add_with(s, lane, pivots, row, inlined!(|more, z, e| e.mul_add((max - z).zero_where(e.eq(zero)), more)))
    }

    /// Like [`add`](Self::add), and folds `f(more, logits, exponentials below the maximum)` over the row.
    #[inline(always)]
    fn add_with(
        &mut self,
        s: S,
        lane: usize,
        pivots: &GroupPivots<T, S>,
        row: &[T],
        f: impl Fn(S::V, S::V, S::V) -> S::V,
    ) -> S::V {
        let pivot = pivots.row(s, lane);
        let (sum, ties, more) = if pivots.are_small {
            pivot.sum(s, row, inlined!(|z| exp_scaled(s, z, pivot.exponent)), f)
        } else {
            s.call(inlined!(|s| pivot.sum(s, row, inlined!(|z| pivot.shifted(s, z)), f)))
        };
        self.set(s, lane, sum, ties);
        more
    }

    /// Like [`add`](Self::add), and keeps the exponentials.
    #[inline(always)]
    pub(crate) fn keep(&mut self, s: S, lane: usize, pivots: &GroupPivots<T, S>, row: &mut RowIo<'_, T>) {
        let pivot = pivots.row(s, lane);
        let (sum, ties, _) = if pivots.are_small {
            pivot.keep(s, row, inlined!(|z| exp_scaled(s, z, pivot.exponent)))
        } else {
            s.call(inlined!(|s| pivot.keep(s, row, inlined!(|z| pivot.shifted(s, z)))))
        };
        self.set(s, lane, sum, ties);
    }

    #[inline(always)]
    fn set(&mut self, s: S, lane: usize, sum: S::V, ties: u32) {
        s.store(sum, &mut self.sums[lane]);
        self.ties.as_mut()[lane] = T::from_f64(f64::from(ties));
    }

    /// The sums of all rows, one row per lane; `logit` is that of the class of each row.
    #[inline(always)]
    pub(crate) fn finish(&self, s: S, pivots: &GroupPivots<T, S>, logit: &S::Array) -> LaneSums<T, S> {
        let others = s.load(&self.ties) - s.splat(T::ONE);
        LaneSums::of(s, pivots.all, s.sums(&self.sums), others, s.load(logit))
    }
}

/// The totals of the exponentials of a group of rows, the maxima included.
pub(crate) struct GroupTotals<T: Real, S: Simd<T>>([S::Array; MAX_LANES]);

impl<T: Real, S: Simd<T>> GroupTotals<T, S> {
    /// No rows.
    #[inline(always)]
    pub(crate) fn none(_: S) -> Self {
        GroupTotals([S::Array::default(); MAX_LANES])
    }

    /// Adds up the exponentials of a row of logits, and keeps them.
    #[inline(always)]
    pub(crate) fn keep(&mut self, s: S, lane: usize, pivots: &GroupPivots<T, S>, row: &mut RowIo<'_, T>) {
        let pivot = pivots.row(s, lane);
        let total = if pivots.are_small {
            keep_all(s, row, inlined!(|z| exp_scaled(s, z, pivot.exponent)))
        } else {
            s.call(inlined!(|s| keep_all(s, row, inlined!(|z| pivot.shifted(s, z)))))
        };
        s.store(total, &mut self.0[lane]);
    }

    /// What the exponentials of each row are multiplied by to be probabilities.
    #[inline(always)]
    pub(crate) fn scales(&self, s: S, pivots: &GroupPivots<T, S>) -> S::V {
        let totals = s.sums(&self.0);
        s.splat(T::ONE) / if pivots.are_small { totals } else { pivots.all.defined(s, totals) }
    }
}

/// Adds up the exponentials of a row, and keeps them.
#[inline(always)]
fn keep_all<T: Real, S: Simd<T>>(s: S, row: &mut RowIo<'_, T>, exp: impl Fn(S::V) -> S::V) -> S::V {
    sum_blocks(
        s,
        row.source().len(),
        inlined!(|block| {
            let [a, b] = row.keep::<2, _, _>(
                s,
                block,
                -T::INFINITY,
                s.splat(T::ZERO),
                inlined!(|sum, z| {
                    let e = exp(z);
                    (sum + e, e)
                }),
                inlined!(|_| {}),
            );
            [(a, 0, a), (b, 0, b)]
        }),
    )
    .0
}

/// The pivot of a row in all lanes.
#[derive(Clone, Copy)]
struct RowPivot<V> {
    max: V,
    exponent: V,
}

impl<V: Copy> RowPivot<V> {
    /// The exponential of a logit of a row whose maximum may be large or infinite.
    #[inline(always)]
    fn shifted<T: Real, S: Simd<T, V = V>>(self, s: S, z: V) -> V
    where
        V: Lanes<T>,
    {
        let Pivots { shift, exponent, unit, .. } = Pivots::of(s, self.max);
        V::select(z.eq(self.max), unit, exp_scaled(s, z - shift, exponent))
    }

    /// The sum of the exponentials below the maximum, the number of logits that attain it, and the fold of
    /// `f(more, logits, exponentials below the maximum)`.
    #[inline(always)]
    fn sum<T: Real, S: Simd<T, V = V>>(
        self,
        s: S,
        row: &[T],
        exp: impl Fn(V) -> V,
        f: impl Fn(V, V, V) -> V,
    ) -> (V, u32, V)
    where
        V: Lanes<T>,
    {
        let zero = s.splat(T::ZERO);
        sum_blocks(
            s,
            row.len(),
            inlined!(|block| {
                let (block, memory) = (&row[block.clone()], &row[block.start..]);
                fold::<2, _, _, _>(
                    s,
                    block,
                    -T::INFINITY,
                    (zero, 0, zero),
                    inlined!(|(sum, ties, more), i, z| {
                        s.prefetch(memory, i + AHEAD);
                        let is_max = z.eq(self.max);
                        let e = exp(z).zero_where(is_max);
                        (sum + e, ties + is_max.count(), f(more, z, e))
                    }),
                )
            }),
        )
    }

    /// Like [`sum`](Self::sum), and keeps the exponentials.
    #[inline(always)]
    fn keep<T: Real, S: Simd<T, V = V>>(self, s: S, row: &mut RowIo<'_, T>, exp: impl Fn(V) -> V) -> (V, u32, V)
    where
        V: Lanes<T>,
    {
        let zero = s.splat(T::ZERO);
        sum_blocks(
            s,
            row.source().len(),
            inlined!(|block| {
                row.keep::<2, _, _>(
                    s,
                    block,
                    -T::INFINITY,
                    (zero, 0, zero),
                    inlined!(|(sum, ties, more), z| {
                        let (is_max, e) = (z.eq(self.max), exp(z));
                        ((sum + e.zero_where(is_max), ties + is_max.count(), more), e)
                    }),
                    inlined!(|_| {}),
                )
            }),
        )
    }
}

/// Adds up the sums of the blocks of a row: one block, or two where registers are narrow.
#[inline(always)]
fn sum_blocks<T: Real, S: Simd<T>>(
    s: S,
    len: usize,
    mut sums: impl FnMut(Range<usize>) -> [(S::V, u32, S::V); 2],
) -> (S::V, u32, S::V) {
    let (zero, size, mut start) = (s.splat(T::ZERO), short(s, BLOCK), 0);
    let mut all = (zero, 0, zero);
    loop {
        let end = if size < MAX_CLASSES { len.min(start + size) } else { len };
        let [(a, m, x), (b, n, y)] = sums(start..end);
        all = (all.0 + (a + b), all.1 + m + n, all.2 + (x + y));
        if end == len {
            return all;
        }
        start = end;
    }
}

/// `sum_k (max z - z_k)` of a row.
#[inline(always)]
pub(crate) fn margins<T: Real, S: Simd<T>>(s: S, row: &[T], max: T) -> T {
    let (zero, top) = (s.splat(T::ZERO), s.splat(max));
    sum_blocks(
        s,
        row.len(),
        inlined!(|block| {
            fold::<2, _, _, _>(
                s,
                &row[block],
                max,
                (zero, 0, zero),
                inlined!(|(sum, ..), _, z| (sum + (top - z).zero_where(z.eq(top)), 0, zero)),
            )
        }),
    )
    .0
    .sum()
}

/// `logsumexp(z)` of a group of rows that begins at row `first`: NaN if a logit is NaN, else +inf if a logit is +inf, and
/// -inf if all are -inf.
#[inline(always)]
pub(crate) fn logsumexp<T: Real, S: Simd<T>>(s: S, sums: &LaneSums<T, S>, logits: &Rows<'_, T>, first: usize) -> S::V {
    let (lse, is_finite) = (sums.max + log1p(s, sums.rest), sums.max.abs().lt(s.splat(T::INFINITY)));
    if s.all(is_finite) {
        return lse;
    }
    // An infinite maximum is the result, unless the row contains a NaN.
    let (max, mut lanes) = (lanes_of(s, sums.max), lanes_of(s, lse));
    for (lane, i) in (first..logits.rows()).take(S::LANES).enumerate() {
        let max = max.as_ref()[lane];
        if max.to_f64().is_infinite() {
            let has_nan = logits.row(i).iter().any(|z| z.to_f64().is_nan());
            lanes.as_mut()[lane] = if has_nan { T::NAN } else { max };
        }
    }
    s.load(&lanes)
}
