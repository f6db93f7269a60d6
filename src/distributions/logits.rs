//! Rows of logits, whose softmax are the distributions.
//!
//! # Nearly equal, and far apart
//! `ln(q_k / p_k) = (y_k - z_k) - (m_y - m_z) + ln(1 + rest_z) - ln(1 + rest_y)` for `p = softmax(z)`, `q = softmax(y)`. The
//! first difference is taken with what its rounding loses, so that logits that are nearly equal, or differ by nearly a
//! constant, have a logarithm with all its digits, and logits that are far apart have one where the probabilities
//! underflow. From it come `(q - p) / (q + p) = tanh(ln(q / p) / 2)`, and `q - p`, with the same digits.

use super::{At, Facts, Measure, zero_with};
use crate::math::{ATANH_LIMIT, Real, atanh_tail, subtract, tanh};
use crate::rows::{BLOCK, RowSum, Softmax};
use crate::simd::{Lanes, RowIo, Simd, inlined, read, write};

/// What the softmax of one row is made of.
#[derive(Clone, Copy)]
struct Side<T> {
    sum: RowSum<T>,
    softmax: Softmax<T>,
    /// Whether one logit is +inf, which then has all the probability: it counts as 0, and the others as -inf.
    is_one: bool,
}

impl<T: Real> Side<T> {
    #[inline(always)]
    fn of<S: Simd<T>>(s: S, row: &[T]) -> Self {
        let sum = RowSum::of(s, row);
        let is_one = sum.max == T::INFINITY;
        let sum = if is_one { RowSum { max: T::ZERO, rest: sum.rest } } else { sum };
        Side { sum, softmax: sum.softmax(T::TO_NORMAL.to_f64()), is_one }
    }

    /// The logits as they count.
    #[inline(always)]
    fn see<S: Simd<T>>(self, s: S, z: S::V) -> S::V {
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
    p: Side<T>,
    q: Side<T>,
    shift: T,
    shift_rest: T,
}

impl<T: Real> Pair<T> {
    #[inline(always)]
    fn of<S: Simd<T>, M: Measure<T>>(s: S, p: &[T], q: &[T]) -> Self {
        let p = Side::of(s, p);
        let q = if M::PAIR { Side::of(s, q) } else { p };
        let margin = q.sum.max.to_f64() - p.sum.max.to_f64();
        let all = (p.sum.log_partition() - q.sum.log_partition()) - margin;
        let shift = T::from_f64(all);
        Pair { p, q, shift, shift_rest: T::from_f64(all - shift.to_f64()) }
    }

    /// Whether either row has no softmax.
    #[inline(always)]
    fn is_undefined(self) -> bool {
        self.p.sum.rest.is_nan() || self.q.sum.rest.is_nan()
    }

    #[inline(always)]
    fn facts(self, excess: f64) -> Facts<f64> {
        Facts { excess, p_partition: self.p.sum.log_partition(), q_partition: self.q.sum.log_partition() }
    }

    #[inline(always)]
    fn at<S: Simd<T>>(self, s: S, z: S::V, y: S::V) -> At<S::V> {
        let logits = [self.p.see(s, z), self.q.see(s, y)];
        let probabilities = [self.p.softmax.of(s, logits[0]), self.q.softmax.of(s, logits[1])];
        let maxima = [s.splat(self.p.sum.max), s.splat(self.q.sum.max)];
        at(s, logits, probabilities, maxima, [s.splat(self.shift), s.splat(self.shift_rest)])
    }
}

/// `max z - z_k`, 0 for the maximum.
#[inline(always)]
fn gap<T: Real, S: Simd<T>>(s: S, max: S::V, z: S::V) -> S::V {
    S::V::select(z.eq(max), s.splat(T::ZERO), max - z)
}

/// A register of classes, from both their logits and their probabilities times 2^DIGITS, the largest logits of their rows,
/// and `ln(1 + rest_z) - ln(1 + rest_y) - (m_y - m_z)` in two parts.
#[inline(always)]
pub(super) fn at<T: Real, S: Simd<T>>(
    s: S,
    [z, y]: [S::V; 2],
    [p, q]: [S::V; 2],
    [z_max, y_max]: [S::V; 2],
    [shift, shift_rest]: [S::V; 2],
) -> At<S::V> {
    let (zero, infinity) = (s.splat(T::ZERO), s.splat(T::INFINITY));
    // 1. y - z, and what its rounding loses
    let [gap_of_logits, lost] = subtract(s, y, z);
    // 2. ln(q / p); a class that neither row has is one of equal probabilities
    let none = zero - infinity;
    let log_ratio = (gap_of_logits + shift) + (lost + shift_rest);
    let log_ratio = S::V::select(z.max(y).eq(none), zero, log_ratio);
    // 3. what follows from it; tanh is odd to the bit, so swapped rows have the opposite difference
    let ratio = tanh(s, log_ratio * s.splat(T::from_f64(0.5)));
    let difference = (p + q) * ratio;
    // 4. q - p - p ln(q / p), where they are near each other without the linear part
    let near = (ratio * ratio).lt(s.splat(T::from_f64(ATANH_LIMIT)));
    let close = ratio * (difference - p * atanh_tail(s, ratio));
    let excess = S::V::select(near, close, difference - p * log_ratio);
    let p_cost = gap(s, z_max, z);
    At {
        p,
        q,
        difference,
        excess: S::V::select(p.eq(zero), q, excess),
        log_ratio,
        p_cost,
        p_term: zero_with(s, p, p * p_cost),
        q_cost: gap(s, y_max, y),
    }
}

/// The value of a row. Where there is no second distribution, `q` is `p`.
#[inline(always)]
pub(crate) fn value<T: Real, S: Simd<T>, M: Measure<T>>(s: S, measure: M, p: &[T], q: &[T]) -> f64 {
    let pair = Pair::of::<S, M>(s, p, q);
    if pair.is_undefined() {
        return f64::NAN;
    }
    let [sum, excess, ..] = sums(s, measure, pair, p, q, false);
    measure.finish(sum, pair.facts(excess))
}

/// The value of a row, and its gradient with respect to the logits.
#[inline(always)]
pub(crate) fn value_and_grad<T: Real, S: Simd<T>, M: Measure<T>>(
    s: S,
    measure: M,
    p: &mut RowIo<'_, T>,
    mut q: Option<&mut RowIo<'_, T>>,
) -> f64 {
    let other = match &q {
        Some(q) => q.source(),
        None => p.source(),
    };
    // 1. log-partitions
    let pair = Pair::of::<S, M>(s, p.source(), other);
    // 2. the value, and the sums of the flows
    let [sum, excess, p_flow, q_flow] = sums(s, measure, pair, p.source(), other, true);
    // 3. flow_k - p_k sum(flow); a row without a softmax, or of infinite flow, has no gradient
    let undefined = pair.is_undefined();
    let spoil = [undefined || !p_flow.is_finite(), undefined || !q_flow.is_finite()];
    let (p_flow, q_flow) = (s.splat(T::from_f64(p_flow)), s.splat(T::from_f64(q_flow)));
    let lowered = s.splat(T::ONE / T::TO_NORMAL);
    for i in (0..p.source().len()).step_by(S::LANES) {
        let z = read(s, p.source(), i, -T::INFINITY);
        let y = match &q {
            Some(q) => read(s, q.source(), i, -T::INFINITY),
            None => z,
        };
        let at = pair.at(s, z, y);
        let [p_k, q_k] = measure.flows(s, at);
        write(s, (p_k - at.p * p_flow) * lowered, p.output(), i);
        if let Some(q) = &mut q {
            write(s, (q_k - at.q * q_flow) * lowered, q.output(), i);
        }
    }
    if spoil[0] {
        p.output().fill(T::NAN);
    }
    if let Some(q) = q
        && spoil[1]
    {
        q.output().fill(T::NAN);
    }
    if undefined { f64::NAN } else { measure.finish(sum, pair.facts(excess)) }
}

/// The sums over the classes of terms, of differences, and, where they are wanted, of both flows: in double precision
/// beyond a block. A function of its own, which values and gradients share.
#[inline(always)]
fn sums<T: Real, S: Simd<T>, M: Measure<T>>(
    s: S,
    measure: M,
    pair: Pair<T>,
    p: &[T],
    q: &[T],
    flows: bool,
) -> [f64; 4] {
    s.call(inlined!(|s| sums_inlined(s, measure, pair, p, q, flows)))
}

#[inline(always)]
fn sums_inlined<T: Real, S: Simd<T>, M: Measure<T>>(
    s: S,
    measure: M,
    pair: Pair<T>,
    p: &[T],
    q: &[T],
    flows: bool,
) -> [f64; 4] {
    let mut totals = [0.0; 4];
    for start in (0..p.len()).step_by(BLOCK) {
        let mut sums = [s.splat(T::ZERO); 4];
        for i in (start..p.len().min(start + BLOCK)).step_by(S::LANES) {
            let z = read(s, p, i, -T::INFINITY);
            let at = pair.at(s, z, if M::PAIR { read(s, q, i, -T::INFINITY) } else { z });
            sums[0] = sums[0] + measure.term(s, at);
            if M::PAIR {
                sums[1] = sums[1] + at.difference;
            }
            if flows {
                let [p_flow, q_flow] = measure.flows(s, at);
                sums[2] = sums[2] + p_flow;
                sums[3] = sums[3] + q_flow;
            }
        }
        for k in 0..4 {
            totals[k] += sums[k].sum().to_f64() / T::TO_NORMAL.to_f64();
        }
    }
    totals
}
