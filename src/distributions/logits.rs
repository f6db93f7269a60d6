//! Rows of logits, whose softmax are the distributions.
//!
//! # Nearly equal, and far apart
//! `ln(q_k / p_k) = (y_k - z_k) - (m_y - m_z) + ln(1 + rest_z) - ln(1 + rest_y)` for `p = softmax(z)`,
//! `q = softmax(y)`. The first difference is computed together with its rounding error. So the logarithm has all its
//! digits where logits are nearly equal or differ by nearly a constant, and it is finite where the probabilities
//! underflow. From it follow `(q - p) / (q + p) = tanh(ln(q / p) / 2)` and `q - p`, as accurate.

use super::{AnyClassSum, Class, ClassSum, RowTerms, with_class_sum, zero_with};
use crate::math::{ATANH_LIMIT, Real, atanh_tail, subtract, tanh};
use crate::rows::{BLOCK, RowSum, Softmax};
use crate::simd::{Lanes, RowIo, Simd, inlined, read, short, write};

/// The softmax of one row.
#[derive(Clone, Copy)]
struct RowSoftmax<T> {
    sum: RowSum<T>,
    softmax: Softmax<T>,
    /// Whether one logit is +inf and has all the probability. It is replaced by 0, and the others by -inf.
    is_one: bool,
}

impl<T: Real> RowSoftmax<T> {
    #[inline(always)]
    fn of<S: Simd<T>>(s: S, row: &[T]) -> Self {
        let sum = RowSum::of(s, row);
        let is_one = sum.max == T::INFINITY;
        let sum = if is_one { RowSum { max: T::ZERO, rest: sum.rest } } else { sum };
        RowSoftmax { sum, softmax: sum.softmax(T::SCALE_UP.to_f64()), is_one }
    }

    /// The logits, with an infinite one replaced.
    #[inline(always)]
    fn finite<S: Simd<T>>(self, s: S, z: S::V) -> S::V {
        if self.is_one {
            let infinity = s.splat(T::INFINITY);
            S::V::select(z.eq(infinity), s.splat(T::ZERO), s.splat(-T::INFINITY))
        } else {
            z
        }
    }
}

/// Two rows, and `ln(1 + rest_z) - ln(1 + rest_y) - (m_y - m_z)`, in two parts.
#[derive(Clone, Copy)]
struct Pair<T> {
    p: RowSoftmax<T>,
    q: RowSoftmax<T>,
    shift: T,
    shift_rest: T,
}

impl<T: Real> Pair<T> {
    #[inline(always)]
    fn of<S: Simd<T>>(s: S, is_pair: bool, p: &[T], q: &[T]) -> Self {
        let p = RowSoftmax::of(s, p);
        let q = if is_pair { RowSoftmax::of(s, q) } else { p };
        let max_difference = q.sum.max.to_f64() - p.sum.max.to_f64();
        let all = (p.sum.log_partition() - q.sum.log_partition()) - max_difference;
        let shift = T::from_f64(all);
        Pair { p, q, shift, shift_rest: T::from_f64(all - shift.to_f64()) }
    }

    /// Whether either row has no softmax.
    #[inline(always)]
    fn is_undefined(self) -> bool {
        self.p.sum.rest.is_nan() || self.q.sum.rest.is_nan()
    }

    #[inline(always)]
    fn terms(self, excess: f64) -> RowTerms<f64> {
        RowTerms { excess, p_partition: self.p.sum.log_partition(), q_partition: self.q.sum.log_partition() }
    }

    #[inline(always)]
    fn class<S: Simd<T>>(self, s: S, z: S::V, y: S::V) -> Class<S::V> {
        let logits = [self.p.finite(s, z), self.q.finite(s, y)];
        let probabilities = [self.p.softmax.of(s, logits[0]), self.q.softmax.of(s, logits[1])];
        let maxima = [s.splat(self.p.sum.max), s.splat(self.q.sum.max)];
        class(s, logits, probabilities, maxima, [s.splat(self.shift), s.splat(self.shift_rest)])
    }
}

/// `max z - z_k`, 0 for the maximum.
#[inline(always)]
fn margin<T: Real, S: Simd<T>>(s: S, max: S::V, z: S::V) -> S::V {
    S::V::select(z.eq(max), s.splat(T::ZERO), max - z)
}

/// A register of classes, from their logits, their probabilities times 2^DIGITS, the largest logits of their rows, and
/// `ln(1 + rest_z) - ln(1 + rest_y) - (m_y - m_z)` in two parts.
#[inline(always)]
pub(super) fn class<T: Real, S: Simd<T>>(
    s: S,
    [z, y]: [S::V; 2],
    [p, q]: [S::V; 2],
    [z_max, y_max]: [S::V; 2],
    [shift, shift_rest]: [S::V; 2],
) -> Class<S::V> {
    let (zero, infinity) = (s.splat(T::ZERO), s.splat(T::INFINITY));
    // 1. y - z, and its rounding error
    let [logit_difference, lost] = subtract(s, y, z);
    // 2. ln(q / p); 0 for a class that has probability 0 in both rows
    let none = zero - infinity;
    let log_ratio = (logit_difference + shift) + (lost + shift_rest);
    let log_ratio = log_ratio.zero_where(z.max(y).eq(none));
    // 3. q - p; tanh is odd to the bit, so that swapped rows have the opposite difference
    let ratio = tanh(s, log_ratio * s.splat(T::from_f64(0.5)));
    let difference = (p + q) * ratio;
    // 4. q - p - p ln(q / p); near p = q by a series without the linear part
    let near = (ratio * ratio).lt(s.splat(T::from_f64(ATANH_LIMIT)));
    let close = ratio * (difference - p * atanh_tail(s, ratio));
    let excess = S::V::select(near, close, difference - p * log_ratio);
    let p_cost = margin(s, z_max, z);
    Class {
        p,
        q,
        difference,
        excess: S::V::select(p.eq(zero), q, excess),
        log_ratio,
        p_cost,
        p_term: zero_with(s, p, p * p_cost),
        q_cost: margin(s, y_max, y),
    }
}

/// The value of a row. Without a second distribution `q` is `p`.
#[inline(always)]
pub(crate) fn value<T: Real, S: Simd<T>>(s: S, class_sum: AnyClassSum, p: &[T], q: &[T]) -> f64 {
    let pair = Pair::of(s, class_sum.is_pair(), p, q);
    if pair.is_undefined() { f64::NAN } else { value_and_slopes(s, class_sum, pair, [p, q], false).0 }
}

/// The value of a row, and its gradient with respect to the logits.
#[inline(always)]
pub(crate) fn value_and_grad<T: Real, S: Simd<T>>(
    s: S,
    class_sum: AnyClassSum,
    p: &mut RowIo<'_, T>,
    mut q: Option<&mut RowIo<'_, T>>,
) -> f64 {
    let other = match &q {
        Some(q) => q.source(),
        None => p.source(),
    };
    // 1. log-partitions
    let pair = Pair::of(s, class_sum.is_pair(), p.source(), other);
    // 2. the value, and the sums of the slopes
    let (value, slopes) = value_and_slopes(s, class_sum, pair, [p.source(), other], true);
    // 3. slope_k - p_k sum(slope); NaN for a row without a softmax or with an infinite sum
    with_class_sum!(s, class_sum, class_sum => write_grads(s, class_sum, pair, slopes, p, q.as_deref_mut()));
    let undefined = pair.is_undefined();
    if undefined || !slopes[0].is_finite() {
        p.output().fill(T::NAN);
    }
    if let Some(q) = q
        && (undefined || !slopes[1].is_finite())
    {
        q.output().fill(T::NAN);
    }
    if undefined { f64::NAN } else { value }
}

#[inline(always)]
fn write_grads<T: Real, S: Simd<T>, M: ClassSum<T>>(
    s: S,
    class_sum: M,
    pair: Pair<T>,
    [p_slope, q_slope]: [f64; 2],
    p: &mut RowIo<'_, T>,
    mut q: Option<&mut RowIo<'_, T>>,
) {
    let (p_slope, q_slope) = (s.splat(T::from_f64(p_slope)), s.splat(T::from_f64(q_slope)));
    let scale_down = s.splat(T::ONE / T::SCALE_UP);
    for i in (0..p.source().len()).step_by(S::LANES) {
        let z = read(s, p.source(), i, -T::INFINITY);
        let y = match &q {
            Some(q) => read(s, q.source(), i, -T::INFINITY),
            None => z,
        };
        let class = pair.class(s, z, y);
        let [p_k, q_k] = class_sum.logit_slopes(s, class);
        write(s, (p_k - class.p * p_slope) * scale_down, p.output(), i);
        if let Some(q) = &mut q {
            write(s, (q_k - class.q * q_slope) * scale_down, q.output(), i);
        }
    }
}

/// The value of rows with a softmax and, if `with_slopes`, the sums of both slopes over the classes: in double precision
/// beyond a block.
#[inline(always)]
fn value_and_slopes<T: Real, S: Simd<T>>(
    s: S,
    class_sum: AnyClassSum,
    pair: Pair<T>,
    rows: [&[T]; 2],
    with_slopes: bool,
) -> (f64, [f64; 2]) {
    with_class_sum!(s, class_sum, class_sum => {
        let [sum, excess, p_slope, q_slope] = sums(s, class_sum, pair, rows, with_slopes);
        (ClassSum::<T>::finish(class_sum, sum, pair.terms(excess)), [p_slope, q_slope])
    })
}

/// The sums over the classes of the terms, the differences and, if `with_slopes`, both slopes.
#[inline(always)]
fn sums<T: Real, S: Simd<T>, M: ClassSum<T>>(
    s: S,
    class_sum: M,
    pair: Pair<T>,
    [p, q]: [&[T]; 2],
    with_slopes: bool,
) -> [f64; 4] {
    let mut totals = [0.0; 4];
    let size = short(s, BLOCK);
    for start in (0..p.len()).step_by(size) {
        let mut sums = [s.splat(T::ZERO); 4];
        for i in (start..p.len().min(start + size)).step_by(S::LANES) {
            let z = read(s, p, i, -T::INFINITY);
            let class = pair.class(s, z, if M::PAIR { read(s, q, i, -T::INFINITY) } else { z });
            sums[0] = sums[0] + class_sum.term(s, class);
            if M::PAIR {
                sums[1] = sums[1] + class.difference;
            }
            if with_slopes {
                let [p_slope, q_slope] = class_sum.logit_slopes(s, class);
                sums[2] = sums[2] + p_slope;
                sums[3] = sums[3] + q_slope;
            }
        }
        for k in 0..4 {
            totals[k] += sums[k].sum().to_f64() / T::SCALE_UP.to_f64();
        }
    }
    totals
}
