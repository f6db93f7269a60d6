//! Many rows of few classes: one row per lane, one class per register, so that no lane is idle.
//!
//! The form is margin-exact as in [`rows`](crate::rows), with a pivot in every lane:
//! `exp(z - m) = 2^(n - n_m) p / p_m`, where `exp(z) = 2^n p`. A quotient of equal numbers is exactly 1.

mod functions;
mod stats;
mod sums;

pub(crate) use stats::LaneStats;
pub use sums::LaneSums;
pub(crate) use sums::{Pivots, Watch};

use crate::math::Real;
use crate::simd::{AHEAD, Lanes, MAX_LANES, Simd, fold_registers, inlined, lanes_of};
use std::ops::Range;

/// Longer rows are faster along their registers.
pub(crate) const MAX_CLASSES: usize = 64;

/// Whether rows of this many classes go by lane.
#[inline(always)]
pub(crate) fn are_few(classes: usize) -> bool {
    (1..=MAX_CLASSES).contains(&classes)
}

/// Groups of rows that are summed before the first of them is finished, at most. Their quotients and logarithms are long
/// dependency chains, which then run in parallel.
pub(crate) const GROUPS: usize = 4;

/// The number of groups at a time. Wide rows have more numbers to wait for, and their tiles, logits and results would
/// leave the first-level cache.
#[inline(always)]
fn groups(classes: usize) -> usize {
    if classes < 32 { GROUPS } else { GROUPS / 2 }
}

/// The driver of all rows that go by lane. A group holds at most as many rows as a register has lanes.
/// `sweep(work, g, rows)` reads group `g` and returns its sums; after some [`groups`], `finish(work, g, rows, found)`
/// computes the results of each from its sums.
#[inline(always)]
pub(crate) fn for_groups<T: Real, S: Simd<T>, W, F: Copy>(
    _: S,
    [rows, classes]: [usize; 2],
    none: F,
    work: &mut W,
    sweep: impl Fn(&mut W, usize, Range<usize>) -> F,
    finish: impl Fn(&mut W, usize, Range<usize>, &F),
) {
    let (mut found, together) = ([none; GROUPS], groups(classes));
    for start in (0..rows).step_by(together * S::LANES) {
        let some = (rows - start).div_ceil(S::LANES).min(together);
        let group = |g| start + g * S::LANES..rows.min(start + (g + 1) * S::LANES);
        for (g, found) in found.iter_mut().take(some).enumerate() {
            *found = sweep(work, g, group(g));
        }
        for (g, found) in found.iter().take(some).enumerate() {
            finish(work, g, group(g), found);
        }
    }
}

/// A group of rows, transposed: one register per class. A group has at most as many rows as a register has lanes.
pub struct Tile<'a, T: Real, S: Simd<T>> {
    columns: &'a mut [S::Array],
    /// Space for the rows of an incomplete group.
    padded: &'a mut [T],
}

/// The length of the scratch buffer that [`GROUPS`] tiles need.
pub(crate) fn scratch_len(classes: usize) -> usize {
    (GROUPS + 1) * classes * MAX_LANES
}

impl<'a, T: Real, S: Simd<T>> Tile<'a, T, S> {
    /// A tile without classes.
    #[inline(always)]
    pub(crate) fn none() -> Self {
        Tile { columns: &mut [], padded: &mut [] }
    }

    /// The tile of one of the groups, in a scratch buffer of length [`scratch_len`].
    #[inline(always)]
    pub(crate) fn of(_: S, scratch: &'a mut [T], group: usize, classes: usize) -> Self {
        let (padded, groups) = scratch.split_at_mut(classes * S::LANES);
        Tile { columns: &mut S::registers_mut(groups).0[group * classes..][..classes], padded }
    }

    /// Transposes `count` rows, at most as many as a register has lanes. Their first elements are `stride` apart. As many
    /// numbers are prefetched, some groups ahead: a group has a register, and a cache line, for each class.
    #[inline(always)]
    pub(crate) fn load(&mut self, s: S, rows: &[T], stride: usize, count: usize) {
        let classes = self.classes();
        let (rows, stride) = if count == S::LANES {
            (rows, stride)
        } else {
            for (i, row) in self.padded.chunks_exact_mut(classes).take(count).enumerate() {
                row.copy_from_slice(&rows[i * stride..][..classes]);
            }
            self.padded[count * classes..].fill(T::ZERO);
            (&*self.padded, classes)
        };
        match classes {
            0 => {}
            1 => load_at::<1, _, _>(s, self.columns, rows, stride),
            2 => load_at::<2, _, _>(s, self.columns, rows, stride),
            3 => load_at::<3, _, _>(s, self.columns, rows, stride),
            _ => {
                for k in fours(classes) {
                    for column in k..k + 4 {
                        s.prefetch(rows, column * S::LANES + AHEAD);
                    }
                    load_at::<4, _, _>(s, &mut self.columns[k..], &rows[k..], stride);
                }
            }
        }
    }

    /// [`load`](Self::load) as a separate function.
    #[inline(always)]
    pub(crate) fn load_called(&mut self, s: S, rows: &[T], stride: usize, count: usize) {
        s.call(inlined!(|s| self.load(s, rows, stride, count)));
    }

    /// Copies another tile with the same number of classes.
    #[inline(always)]
    pub(crate) fn copy_from(&mut self, other: &Tile<'_, T, S>) {
        self.columns.copy_from_slice(other.columns);
    }

    /// All numbers, one class after the other.
    #[inline(always)]
    pub(crate) fn numbers(&mut self) -> &mut [T] {
        S::numbers(self.columns)
    }

    /// The largest number of each row that is not NaN.
    #[inline(always)]
    fn maxima(&self, s: S) -> S::V {
        let lowest = s.splat(-T::INFINITY);
        let [a, b] = fold_registers::<2, _, _, _>(s, self.columns, lowest, inlined!(|max, _, z| z.max(max)));
        a.max(b)
    }

    /// The same, and the number of the class of each row.
    #[inline(always)]
    fn maxima_and_logit(&self, s: S, class: S::V) -> (S::V, S::V) {
        let (one, mut k) = (s.splat(T::ONE), s.splat(T::ZERO));
        let (mut max, mut logit) = (s.splat(-T::INFINITY), k);
        for column in &*self.columns {
            let z = s.load(column);
            max = z.max(max);
            logit = S::V::select(k.eq(class), z, logit);
            k = k + one;
        }
        (max, logit)
    }

    /// The sum of each row.
    #[inline(always)]
    pub(crate) fn totals(&self, s: S) -> S::V {
        let [a, b] = fold_registers::<2, _, _, _>(s, self.columns, s.splat(T::ZERO), inlined!(|sum, _, x| sum + x));
        a + b
    }

    /// The largest number of each row, none of which is negative, and the sum of its others.
    #[inline(always)]
    pub(crate) fn largest_and_rest(&self, s: S) -> (S::V, S::V) {
        let (mut largest, mut rest) = (s.splat(T::ZERO), s.splat(T::ZERO));
        for k in 0..self.classes() {
            let x = self.column(s, k);
            rest = rest + largest.min(x);
            largest = largest.max(x);
        }
        (largest, rest)
    }

    /// `sum_k (max z - z_k)` of each row, before its logits become exponentials.
    #[inline(always)]
    pub(crate) fn margins(&self, s: S) -> S::V {
        let (zero, max) = (s.splat(T::ZERO), self.maxima(s));
        let [a, b] = fold_registers::<2, _, _, _>(
            s,
            self.columns,
            zero,
            inlined!(|sum, _, z| sum + (max - z).zero_where(z.eq(max))),
        );
        a + b
    }

    /// `sum_k u_k (max z - z_k)` of each row. A class of weight 0 contributes 0, even at a logit of -inf.
    #[inline(always)]
    pub(crate) fn weighted_margins(&self, s: S, weights: &Tile<'_, T, S>) -> S::V {
        let (zero, max) = (s.splat(T::ZERO), self.maxima(s));
        let mut sum = zero;
        for (z, u) in self.columns.iter().zip(&*weights.columns) {
            let (z, u) = (s.load(z), s.load(u));
            sum = sum + (u * (max - z)).zero_where(u.eq(zero)).zero_where(z.eq(max));
        }
        sum
    }

    /// Replaces every register `v` of class `k` by `f(k, v)`.
    #[inline(always)]
    pub(crate) fn map(&mut self, s: S, mut f: impl FnMut(usize, S::V) -> S::V) {
        for (k, column) in self.columns.iter_mut().enumerate() {
            s.store(f(k, s.load(column)), column);
        }
    }

    /// Replaces every register `v` by `f(v, u)`, where `u` is the register of the same class in another tile.
    #[inline(always)]
    pub(crate) fn map_with(&mut self, s: S, other: &Tile<'_, T, S>, f: impl Fn(S::V, S::V) -> S::V) {
        for (column, other) in self.columns.iter_mut().zip(&*other.columns) {
            s.store(f(s.load(column), s.load(other)), column);
        }
    }

    /// Multiplies the numbers of each class by its weight.
    #[inline(always)]
    pub(crate) fn weigh(&mut self, s: S, class_weight: &[T]) {
        for (column, &weight) in self.columns.iter_mut().zip(class_weight) {
            s.store(s.load(column) * s.splat(weight), column);
        }
    }

    /// The register of a class.
    #[inline(always)]
    pub(crate) fn column(&self, s: S, class: usize) -> S::V {
        s.load(&self.columns[class])
    }

    /// Writes the register of a class.
    #[inline(always)]
    pub(crate) fn set_column(&mut self, s: S, class: usize, column: S::V) {
        s.store(column, &mut self.columns[class]);
    }

    /// The registers of all classes.
    #[inline(always)]
    pub(crate) fn columns(&self) -> &[S::Array] {
        self.columns
    }

    /// The registers of all classes, mutable.
    #[inline(always)]
    pub(crate) fn columns_mut(&mut self) -> &mut [S::Array] {
        self.columns
    }

    /// The number of classes.
    #[inline(always)]
    pub(crate) fn classes(&self) -> usize {
        self.columns.len()
    }

    /// Replaces every register `v` of class `k` by `f(k, v)`, and transposes `count` rows back, one after the other.
    #[inline(always)]
    pub(crate) fn store(&mut self, s: S, rows: &mut [T], count: usize, f: impl Fn(S::V, S::V) -> S::V) {
        let (classes, is_whole) = (self.classes(), count == S::LANES);
        let out = if is_whole { &mut *rows } else { &mut *self.padded };
        match classes {
            0 => {}
            1 => store_at::<1, _, _>(s, self.columns, 0, out, &f),
            2 => store_at::<2, _, _>(s, self.columns, 0, out, &f),
            3 => store_at::<3, _, _>(s, self.columns, 0, out, &f),
            _ => {
                for k in fours(classes) {
                    for column in k..k + 4 {
                        s.prefetch_to_write(out, column * S::LANES + AHEAD);
                    }
                    store_at::<4, _, _>(s, self.columns, k, &mut out[k..], &f);
                }
            }
        }
        if !is_whole {
            rows[..count * classes].copy_from_slice(&self.padded[..count * classes]);
        }
    }

    /// Transposes `count` rows back, as a separate function.
    #[inline(always)]
    pub(crate) fn store_called(&mut self, s: S, rows: &mut [T], count: usize) {
        s.call(inlined!(|s| self.store(s, rows, count, inlined!(|_, v| v))));
    }
}

/// Loads the first `C` columns of rows that are `stride` apart.
#[inline(always)]
fn load_at<const C: usize, T: Real, S: Simd<T>>(s: S, columns: &mut [S::Array], rows: &[T], stride: usize) {
    if let Some(columns) = columns.first_chunk_mut::<C>() {
        for (column, v) in columns.iter_mut().zip(s.load_columns::<C>(rows, stride)) {
            s.store(v, column);
        }
    }
}

/// Writes `f(k, v)` of `C` classes, from class `k` on, to all rows.
#[inline(always)]
fn store_at<const C: usize, T: Real, S: Simd<T>>(
    s: S,
    columns: &[S::Array],
    k: usize,
    rows: &mut [T],
    f: &impl Fn(S::V, S::V) -> S::V,
) {
    if let Some(some) = columns[k..].first_chunk::<C>() {
        let (mut results, mut class) = ([s.splat(T::ZERO); C], s.splat(T::from_f64(k as f64)));
        for (v, column) in results.iter_mut().zip(some) {
            *v = f(class, s.load(column));
            class = class + s.splat(T::ONE);
        }
        s.store_columns(results, rows, columns.len());
    }
}

/// The starts of groups of four that cover at least four classes; the last two groups may overlap.
#[inline(always)]
fn fours(classes: usize) -> impl Iterator<Item = usize> {
    (0..classes.div_ceil(4)).map(move |i| (4 * i).min(classes - 4))
}

/// Classes whose terms are added up before they join the total: this keeps chains of rounded additions short.
const PART: usize = 8;

/// The sums of `f(k)` over the classes `k` of each row.
#[inline(always)]
pub(crate) fn class_sums<const N: usize, T: Real, S: Simd<T>>(
    s: S,
    classes: usize,
    mut f: impl FnMut(usize) -> [S::V; N],
) -> [S::V; N] {
    let mut all = [s.splat(T::ZERO); N];
    for start in (0..classes).step_by(PART) {
        let mut sums = [s.splat(T::ZERO); N];
        for k in start..classes.min(start + PART) {
            for (sum, term) in sums.iter_mut().zip(f(k)) {
                *sum = *sum + term;
            }
        }
        for (all, sum) in all.iter_mut().zip(sums) {
            *all = *all + sum;
        }
    }
    all
}

/// A sum of registers, in double precision.
pub(crate) struct Total {
    lanes: [f64; MAX_LANES],
}

impl Total {
    #[inline(always)]
    pub(crate) fn new() -> Self {
        Total { lanes: [0.0; MAX_LANES] }
    }

    #[inline(always)]
    pub(crate) fn add<T: Real, S: Simd<T>>(&mut self, s: S, register: S::V) {
        for (sum, x) in self.lanes.iter_mut().zip(lanes_of(s, register).as_ref()) {
            *sum += x.to_f64();
        }
    }

    #[inline(always)]
    pub(crate) fn sum(self) -> f64 {
        self.lanes.into_iter().fold(0.0, |sum, lane| sum + lane)
    }
}
