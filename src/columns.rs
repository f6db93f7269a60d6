//! Many rows of few classes: a row a lane, a class a register, so that no lane is idle.
//!
//! The same margin-exact form as in [`rows`](crate::rows), with a pivot in every lane: `exp(z - m) = 2^(n - n_m) p / p_m`
//! where `exp(z) = 2^n p`; a quotient of equal numbers is exactly 1.

mod functions;
mod spread;
mod sums;

pub(crate) use spread::Spread;
pub(crate) use sums::{ColumnSums, Watch};

use crate::math::Real;
use crate::simd::{Lanes, MAX_LANES, Simd, fold};

/// Rows longer than this are faster taken one by one.
const MAX_CLASSES: usize = 64;

/// Whether rows of so many classes are taken together.
#[inline(always)]
pub(crate) fn are_few(classes: usize) -> bool {
    (1..=MAX_CLASSES).contains(&classes)
}

/// Groups that are summed before the first of them is finished: their quotients and logarithms, long chains all, do not
/// wait for each other.
pub(crate) const GROUPS: usize = 4;

/// A group of rows, as many as a register has lanes or fewer, transposed: a class a register.
pub struct Columns<'a, T> {
    lanes: &'a mut [T],
    /// Where an incomplete group is made complete.
    padded: &'a mut [T],
    classes: usize,
}

/// How much scratch [`Columns`] need, so many groups at a time.
pub(crate) fn scratch_len(classes: usize) -> usize {
    (GROUPS + 1) * classes * MAX_LANES
}

/// How much scratch [`Columns::several`] need, so many of them.
pub(crate) fn several_len(count: usize, classes: usize) -> usize {
    2 * count * classes * MAX_LANES
}

impl<'a, T: Real> Columns<'a, T> {
    /// The place of one of the groups in a scratch as long as [`scratch_len`] says.
    #[inline(always)]
    pub(crate) fn of<S: Simd<T>>(_: S, scratch: &'a mut [T], group: usize, classes: usize) -> Self {
        let len = classes * S::LANES;
        let (padded, groups) = scratch.split_at_mut(len);
        Columns { lanes: &mut groups[group * len..][..len], padded, classes }
    }

    /// The same where these are `SOFT`, else nothing.
    #[inline(always)]
    pub(crate) fn of_soft<const SOFT: bool, S: Simd<T>>(
        s: S,
        scratch: &'a mut [T],
        group: usize,
        classes: usize,
    ) -> Self {
        if SOFT { Self::of(s, scratch, group, classes) } else { Columns { lanes: &mut [], padded: &mut [], classes } }
    }

    /// The place of one group in such a scratch, or in one of no length, of nothing.
    #[inline(always)]
    pub(crate) fn of_any<S: Simd<T>>(s: S, scratch: &'a mut [T], classes: usize) -> Self {
        if scratch.is_empty() {
            Columns { lanes: &mut [], padded: &mut [], classes }
        } else {
            Self::of(s, scratch, 0, classes)
        }
    }

    /// Several of one group each, in a scratch at least as long as [`several_len`] says.
    #[inline(always)]
    pub(crate) fn several<const N: usize, S: Simd<T>>(_: S, mut scratch: &'a mut [T], classes: usize) -> [Self; N] {
        let len = classes * S::LANES;
        std::array::from_fn(|_| {
            let (padded, rest) = std::mem::take(&mut scratch).split_at_mut(len);
            let (lanes, rest) = rest.split_at_mut(len);
            scratch = rest;
            Columns { lanes, padded, classes }
        })
    }

    /// Transposes `count` rows, at most as many as there are lanes, that stand `stride` apart.
    #[inline(always)]
    pub(crate) fn load<S: Simd<T>>(&mut self, s: S, rows: &[T], stride: usize, count: usize) {
        let Columns { lanes, padded, classes } = self;
        if count == S::LANES {
            return load_all(s, lanes, rows, stride, *classes);
        }
        for (i, row) in padded.chunks_exact_mut(*classes).take(count).enumerate() {
            row.copy_from_slice(&rows[i * stride..][..*classes]);
        }
        padded[count * *classes..].fill(T::ZERO);
        load_all(s, lanes, padded, *classes, *classes);
    }

    /// All numbers, a class after the other.
    #[inline(always)]
    pub(crate) fn lanes(&mut self) -> &mut [T] {
        self.lanes
    }

    /// The largest number of each row, of those that are none NaN.
    #[inline(always)]
    fn maxima<S: Simd<T>>(&self, s: S) -> S::V {
        let [a, b] = fold::<2, _, _, _>(
            s,
            self.lanes,
            -T::INFINITY,
            s.splat(-T::INFINITY),
            #[inline(always)]
            |max, _, z| z.max(max),
        );
        a.max(b)
    }

    /// The sum of each row.
    #[inline(always)]
    pub(crate) fn totals<S: Simd<T>>(&self, s: S) -> S::V {
        let [a, b, c, d] = fold::<4, _, _, _>(
            s,
            self.lanes,
            T::ZERO,
            s.splat(T::ZERO),
            #[inline(always)]
            |sum, _, x| sum + x,
        );
        (a + b) + (c + d)
    }

    /// `sum_k (max z - z_k)` of each row, before its logits become exponentials.
    #[inline(always)]
    pub(crate) fn gaps<S: Simd<T>>(&self, s: S) -> S::V {
        let (zero, max) = (s.splat(T::ZERO), self.maxima(s));
        let [a, b, c, d] = fold::<4, _, _, _>(
            s,
            self.lanes,
            T::ZERO,
            zero,
            #[inline(always)]
            |sum, _, z| sum + S::V::select(z.eq(max), zero, max - z),
        );
        (a + b) + (c + d)
    }

    /// `sum_k u_k (max z - z_k)` of each row; a class without weight costs nothing, be it -inf.
    #[inline(always)]
    pub(crate) fn weighted_gaps<S: Simd<T>>(&self, s: S, weights: &Columns<'_, T>) -> S::V {
        let (zero, max) = (s.splat(T::ZERO), self.maxima(s));
        let [a, b, c, d] = fold::<4, _, _, _>(
            s,
            self.lanes,
            T::ZERO,
            zero,
            #[inline(always)]
            |sum, i, z| {
                let u = s.load(&weights.lanes[i..i + S::LANES]);
                sum + S::V::select(z.eq(max), zero, S::V::select(u.eq(zero), zero, u * (max - z)))
            },
        );
        (a + b) + (c + d)
    }

    /// Every register `v` of class `k` becomes `f(k, v)`.
    #[inline(always)]
    pub(crate) fn map<S: Simd<T>>(&mut self, s: S, f: impl Fn(usize, S::V) -> S::V) {
        for (k, column) in self.lanes.chunks_exact_mut(S::LANES).enumerate() {
            s.store(f(k, s.load(column)), column);
        }
    }

    /// Multiplies the numbers of each class by its weight.
    #[inline(always)]
    pub(crate) fn weigh<S: Simd<T>>(&mut self, s: S, class_weight: &[T]) {
        self.map(
            s,
            #[inline(always)]
            |k, x| x * s.splat(class_weight[k]),
        );
    }

    /// The register of a class.
    #[inline(always)]
    pub(crate) fn column<S: Simd<T>>(&self, s: S, class: usize) -> S::V {
        s.load(&self.lanes[class * S::LANES..][..S::LANES])
    }

    /// Writes it.
    #[inline(always)]
    pub(crate) fn set_column<S: Simd<T>>(&mut self, s: S, class: usize, column: S::V) {
        s.store(column, &mut self.lanes[class * S::LANES..][..S::LANES]);
    }

    /// How many classes there are.
    #[inline(always)]
    pub(crate) fn classes(&self) -> usize {
        self.classes
    }

    /// Transposes back `count` rows, one behind the other, every register `v` of class `k` having become `f(k, v)`.
    #[inline(always)]
    pub(crate) fn store<S: Simd<T>>(&mut self, s: S, rows: &mut [T], count: usize, f: impl Fn(S::V, S::V) -> S::V) {
        let Columns { lanes, padded, classes } = self;
        if count == S::LANES {
            return store_all(s, lanes, rows, *classes, f);
        }
        store_all(s, lanes, padded, *classes, f);
        rows[..count * *classes].copy_from_slice(&padded[..count * *classes]);
    }
}

/// Makes columns of rows that stand `stride` apart.
#[inline(always)]
fn load_all<T: Real, S: Simd<T>>(s: S, lanes: &mut [T], rows: &[T], stride: usize, classes: usize) {
    if classes < 4 {
        for (k, column) in lanes.chunks_exact_mut(S::LANES).enumerate() {
            s.store(s.load_column(&rows[k..], stride), column);
        }
    } else {
        for k in fours(classes) {
            let four = &mut lanes[k * S::LANES..][..4 * S::LANES];
            for (j, v) in s.load_columns(&rows[k..], stride).into_iter().enumerate() {
                s.store(v, &mut four[j * S::LANES..][..S::LANES]);
            }
        }
    }
}

/// Makes rows, one behind the other, of columns.
#[inline(always)]
fn store_all<T: Real, S: Simd<T>>(s: S, lanes: &[T], rows: &mut [T], classes: usize, f: impl Fn(S::V, S::V) -> S::V) {
    if classes < 4 {
        for (k, column) in lanes.chunks_exact(S::LANES).enumerate() {
            s.store_column(f(whole(s, k), s.load(column)), &mut rows[k..], classes);
        }
    } else {
        for k in fours(classes) {
            let (four, mut columns) = (&lanes[k * S::LANES..][..4 * S::LANES], [s.splat(T::ZERO); 4]);
            for (j, column) in columns.iter_mut().enumerate() {
                *column = f(whole(s, k + j), s.load(&four[j * S::LANES..][..S::LANES]));
            }
            s.store_columns(columns, &mut rows[k..], classes);
        }
    }
}

/// The number of a class in every lane.
#[inline(always)]
fn whole<T: Real, S: Simd<T>>(s: S, k: usize) -> S::V {
    s.splat(T::from_f64(k as f64))
}

/// The starts of groups of four classes that cover all of at least four; the last two may overlap.
#[inline(always)]
fn fours(classes: usize) -> impl Iterator<Item = usize> {
    (0..classes.div_ceil(4)).map(move |i| (4 * i).min(classes - 4))
}

/// Classes whose terms are added up before they join the sum of all: so few roundings follow one another.
const PART: usize = 8;

/// Sums over the classes of each row of what `f` makes of each class.
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
        let mut lanes = [T::ZERO; MAX_LANES];
        s.store(register, &mut lanes[..S::LANES]);
        for (sum, x) in self.lanes.iter_mut().zip(lanes) {
            *sum += x.to_f64();
        }
    }

    #[inline(always)]
    pub(crate) fn sum(self) -> f64 {
        self.lanes.into_iter().fold(0.0, |sum, lane| sum + lane)
    }
}
