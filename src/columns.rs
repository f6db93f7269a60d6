//! Many rows of few classes: a row a lane, a class a register, so that no lane is idle.
//!
//! The same margin-exact form as in [`rows`](crate::rows), with a pivot in every lane: `exp(z - m) = 2^(n - n_m) p / p_m`
//! where `exp(z) = 2^n p`; a quotient of equal numbers is exactly 1.

use crate::math::{Real, exp_parts, exp_scaled};
use crate::simd::{Lanes, MAX_LANES, Simd};

/// Rows longer than this are faster taken one by one.
pub(crate) const MAX_CLASSES: usize = 64;

/// As many rows as a register has lanes.
pub struct Columns<V> {
    columns: [V; MAX_CLASSES],
    classes: usize,
}

/// What the softmax of every lane's row is made of; see [`RowSum`](crate::rows::RowSum).
#[derive(Clone, Copy)]
pub(crate) struct ColumnSums<V> {
    /// The largest logit of each row.
    pub(crate) max: V,
    /// The sum of `exp(z_k - max)` over every class but one that attains the maximum.
    pub(crate) rest: V,
    /// What the exponentials are times `exp(z - max)`.
    unit: V,
    shift: V,
    exponent: V,
}

impl<V: Copy> Columns<V> {
    /// Room for rows of so many classes.
    #[inline(always)]
    pub(crate) fn new<T: Real, S: Simd<T, V = V>>(s: S, classes: usize) -> Self
    where
        V: Lanes<T>,
    {
        Columns { columns: [s.splat(T::ZERO); MAX_CLASSES], classes }
    }

    /// Transposes `count` rows, at most as many as there are lanes, that stand `stride` apart.
    #[inline(always)]
    pub(crate) fn load<T: Real, S: Simd<T, V = V>>(&mut self, s: S, rows: &[T], stride: usize, count: usize)
    where
        V: Lanes<T>,
    {
        if count == S::LANES {
            return self.load_all(s, rows, stride);
        }
        let (classes, mut padded) = (self.classes, [T::ZERO; MAX_CLASSES * MAX_LANES]);
        for i in 0..count {
            padded[i * classes..][..classes].copy_from_slice(&rows[i * stride..][..classes]);
        }
        self.load_all(s, &padded, classes);
    }

    #[inline(always)]
    fn load_all<T: Real, S: Simd<T, V = V>>(&mut self, s: S, rows: &[T], stride: usize)
    where
        V: Lanes<T>,
    {
        if self.classes < 4 {
            for (k, column) in self.columns[..self.classes].iter_mut().enumerate() {
                *column = s.load_column(&rows[k..], stride);
            }
        } else {
            for k in fours(self.classes) {
                self.columns[k..k + 4].copy_from_slice(&s.load_columns(&rows[k..], stride));
            }
        }
    }

    /// Transposes back `count` rows, one behind the other, every register `v` having become `f(v)`.
    #[inline(always)]
    pub(crate) fn store<T: Real, S: Simd<T, V = V>>(&self, s: S, rows: &mut [T], count: usize, f: impl Fn(V) -> V)
    where
        V: Lanes<T>,
    {
        if count == S::LANES {
            self.store_all(s, rows, f);
        } else {
            let mut padded = [T::ZERO; MAX_CLASSES * MAX_LANES];
            self.store_all(s, &mut padded, f);
            rows[..count * self.classes].copy_from_slice(&padded[..count * self.classes]);
        }
    }

    #[inline(always)]
    fn store_all<T: Real, S: Simd<T, V = V>>(&self, s: S, rows: &mut [T], f: impl Fn(V) -> V)
    where
        V: Lanes<T>,
    {
        let Columns { columns, classes } = self;
        if *classes < 4 {
            for (k, &column) in columns[..*classes].iter().enumerate() {
                s.store_column(f(column), &mut rows[k..], *classes);
            }
        } else {
            for k in fours(*classes) {
                let four = [f(columns[k]), f(columns[k + 1]), f(columns[k + 2]), f(columns[k + 3])];
                s.store_columns(four, &mut rows[k..], *classes);
            }
        }
    }

    /// Turns logits into their exponentials, and sums them.
    #[inline(always)]
    pub(crate) fn exponentiate<T: Real, S: Simd<T, V = V>>(&mut self, s: S) -> ColumnSums<V>
    where
        V: Lanes<T>,
    {
        let (zero, one, infinity) = (s.splat(T::ZERO), s.splat(T::ONE), s.splat(T::INFINITY));
        let logits = &mut self.columns[..self.classes];
        // 1. maxima
        let mut max = zero - infinity;
        for z in logits.iter() {
            max = z.max(max);
        }
        // 2. pivots: see rows::Pivot; an infinite maximum counts as 0, and all that is less as -inf
        let size = max.abs();
        let shift = V::select(size.lt(s.splat(T::from_f64(T::PIVOT_LIMIT))), zero, max);
        let (w, exponent) = exp_parts(s, V::select(size.lt(infinity), max - shift, zero));
        let unit = w + one;
        // 3. exponentials; those equal to the maximum are counted, not summed, and one of them is left out
        let (mut sum, mut others) = (zero, zero - one);
        for z in logits {
            let is_max = z.eq(max);
            let e = exp_scaled(s, *z - shift, exponent);
            sum = sum + V::select(is_max, zero, e);
            others = others + V::select(is_max, one, zero);
            *z = V::select(is_max, unit, e);
        }
        // 4. one infinite logit has all the probability; several, or none but -inf, have no distribution
        let rest = sum / unit + others;
        let one_infinite =
            V::select(max.eq(infinity), V::select(rest.eq(zero), zero, s.splat(T::NAN)), s.splat(T::NAN));
        let rest = V::select(size.lt(infinity), rest, one_infinite);
        ColumnSums { max, rest, unit, shift, exponent }
    }
}

impl<V: Copy> ColumnSums<V> {
    /// `max z - z_k` of one logit in each row; 0 for the maximum even where it is infinite.
    #[inline(always)]
    pub(crate) fn gap<T: Real, S: Simd<T, V = V>>(self, s: S, logit: V) -> V
    where
        V: Lanes<T>,
    {
        V::select(logit.eq(self.max), s.splat(T::ZERO), self.max - logit)
    }

    /// What makes probabilities, times a factor, of exponentials.
    #[inline(always)]
    pub(crate) fn scale<T: Real, S: Simd<T, V = V>>(self, s: S, factor: V) -> V
    where
        V: Lanes<T>,
    {
        factor / (self.unit * (s.splat(T::ONE) + self.rest))
    }

    /// One minus the probability of one logit in each row, without cancellation.
    #[inline(always)]
    pub(crate) fn complement<T: Real, S: Simd<T, V = V>>(self, s: S, logit: V) -> V
    where
        V: Lanes<T>,
    {
        let one = s.splat(T::ONE);
        let e = exp_scaled(s, logit - self.shift, self.exponent);
        let other = one - e * self.scale(s, one);
        V::select(logit.eq(self.max), self.rest / (one + self.rest), other)
    }
}

/// The starts of groups of four classes that cover all of at least four; the last two may overlap.
#[inline(always)]
fn fours(classes: usize) -> impl Iterator<Item = usize> {
    (0..classes.div_ceil(4)).map(move |i| (4 * i).min(classes - 4))
}
