//! Rows of few classes, a row a lane, a class a register: no lane is idle, and no sum goes across a register.
//!
//! The formulas, and what a register of classes is, are those of [`probabilities`] and [`logits`]; what these know of a row
//! in double precision is here a register of rows. Values alone and values with gradients are one function, so that they
//! have the same bits.

use super::{Facts, Measure, logits, probabilities};
use crate::columns::{Columns, class_sums};
use crate::math::{Real, log1p, subtract};
use crate::simd::{Lanes, Mask, Simd};

/// What a pass over rows of probabilities has found.
pub(crate) struct Swept<V> {
    /// Their values, in nats.
    pub(crate) values: V,
    /// The sums of `p` and `q`; twice that of `p` where there is no `q`.
    sums: [V; 2],
    /// The least of the numbers, or 0.
    lowest: V,
}

impl<V: Copy> Swept<V> {
    /// Bit `i` tells that row `i` is no distribution: a number is negative, or a sum is off 1 by more than `tolerance`.
    #[inline(always)]
    pub(crate) fn wrong<T: Real, S: Simd<T, V = V>>(&self, s: S, tolerance: f64) -> u32
    where
        V: Lanes<T>,
    {
        let (one, tolerance) = (s.splat(T::ONE), s.splat(T::from_f64(tolerance)));
        let [p, q] = self.sums;
        self.lowest.lt(s.splat(T::ZERO)).bits()
            | tolerance.lt((p - one).abs()).bits()
            | tolerance.lt((q - one).abs()).bits()
    }
}

/// What sums of numbers times 2^DIGITS are without it.
#[inline(always)]
fn lowered<const N: usize, T: Real, S: Simd<T>>(s: S, mut sums: [S::V; N]) -> [S::V; N] {
    let lowered = s.splat(T::ONE / T::TO_NORMAL);
    for sum in &mut sums {
        *sum = *sum * lowered;
    }
    sums
}

/// The values of rows of probabilities. With `GRAD` the derivatives take the place of the probabilities; a row with a NaN
/// has neither. Where there is no second distribution, `q` is not looked at.
#[inline(always)]
pub(crate) fn of_probabilities<const GRAD: bool, T: Real, S: Simd<T>, M: Measure<T>>(
    s: S,
    measure: M,
    p: &mut Columns<'_, T>,
    q: &mut Columns<'_, T>,
) -> Swept<S::V> {
    let (zero, lifted, classes) = (s.splat(T::ZERO), s.splat(T::TO_NORMAL), p.classes());
    let mut lowest = zero;
    let sums = class_sums(
        s,
        classes,
        #[inline(always)]
        |k| {
            let p_k = p.column(s, k) * lifted;
            let q_k = if M::PAIR { q.column(s, k) * lifted } else { p_k };
            let at = probabilities::at(s, p_k, q_k);
            lowest = q_k.min(p_k.min(lowest));
            if GRAD {
                let [p_slope, q_slope] = measure.slopes(s, at);
                p.set_column(s, k, p_slope);
                if M::PAIR {
                    q.set_column(s, k, q_slope);
                }
            }
            [measure.term(s, at), p_k, q_k]
        },
    );
    let [sum, p_sum, q_sum] = lowered(s, sums);
    let values = measure.finish_across(s, sum, Facts { excess: zero, p_partition: zero, q_partition: zero });
    let both = p_sum + q_sum;
    let values = S::V::select(both.eq(both), values, s.splat(T::NAN));
    if GRAD {
        spoil(s, p, values);
        if M::PAIR {
            spoil(s, q, values);
        }
    }
    Swept { values, sums: [p_sum, q_sum], lowest }
}

/// Rows whose value is NaN have no gradient.
#[inline(always)]
fn spoil<T: Real, S: Simd<T>>(s: S, grad: &mut Columns<'_, T>, values: S::V) {
    let defined = values.eq(values);
    if defined.bits() != (1 << S::LANES) - 1 {
        grad.map(
            s,
            #[inline(always)]
            |_, g| S::V::select(defined, g, s.splat(T::NAN)),
        );
    }
}

/// Rows of logits, and their exponentials.
pub(crate) struct Softmax<'k, 'a, T> {
    pub(crate) logits: &'k mut Columns<'a, T>,
    pub(crate) exponentials: &'k mut Columns<'a, T>,
}

/// What the softmax of each row is made of.
#[derive(Clone, Copy)]
struct Soft<V> {
    max: V,
    /// NaN where no distribution is defined.
    log_partition: V,
    /// What makes probabilities times 2^DIGITS of exponentials.
    scale: V,
}

impl<T: Real> Softmax<'_, '_, T> {
    #[inline(always)]
    fn sum<S: Simd<T>>(&mut self, s: S) -> Soft<S::V> {
        let (zero, infinity) = (s.splat(T::ZERO), s.splat(T::INFINITY));
        self.exponentials.lanes().copy_from_slice(self.logits.lanes());
        let sums = self.exponentials.exponentiate(s, zero - s.splat(T::ONE));
        // One logit of +inf has all the probability: it counts as 0, and the others as -inf.
        let is_one = sums.max.eq(infinity);
        if is_one.bits() != 0 {
            self.logits.map(
                s,
                #[inline(always)]
                |_, z| {
                    let seen = S::V::select(z.eq(infinity), zero, zero - infinity);
                    S::V::select(is_one, seen, z)
                },
            );
        }
        Soft {
            max: S::V::select(is_one, zero, sums.max),
            log_partition: log1p(s, sums.rest),
            scale: sums.scale(s, s.splat(T::TO_NORMAL)),
        }
    }

    /// The logits of a class, and its probabilities times 2^DIGITS.
    #[inline(always)]
    fn at<S: Simd<T>>(&self, s: S, k: usize, sums: Soft<S::V>) -> (S::V, S::V) {
        (self.logits.column(s, k), s.splat(T::TO_NORMAL).min(self.exponentials.column(s, k) * sums.scale))
    }

    /// Leaves the flow of a class, and its probability, where they are looked for when all flows have been summed.
    #[inline(always)]
    fn keep<S: Simd<T>>(&mut self, s: S, k: usize, flow: S::V, probability: S::V) {
        self.logits.set_column(s, k, flow);
        self.exponentials.set_column(s, k, probability);
    }

    /// `flow_k - p_k sum(flow)`, in the place of the logits; a row of infinite flow has no gradient.
    #[inline(always)]
    fn finish<S: Simd<T>>(&mut self, s: S, flow: S::V) {
        let (lowered, exponentials) = (s.splat(T::ONE / T::TO_NORMAL), &*self.exponentials);
        let flow = S::V::select(flow.abs().lt(s.splat(T::INFINITY)), flow, s.splat(T::NAN));
        self.logits.map(
            s,
            #[inline(always)]
            |k, flow_k| (flow_k - exponentials.column(s, k) * flow) * lowered,
        );
    }
}

/// The values of the softmax of rows of logits. With `GRAD` the gradients take the place of the logits. Where there is no
/// second distribution, `q` is not looked at.
#[inline(always)]
pub(crate) fn of_logits<const GRAD: bool, T: Real, S: Simd<T>, M: Measure<T>>(
    s: S,
    measure: M,
    mut p: Softmax<'_, '_, T>,
    mut q: Softmax<'_, '_, T>,
) -> S::V {
    let (zero, classes) = (s.splat(T::ZERO), p.logits.classes());
    // 1. log-partitions
    let p_soft = p.sum(s);
    let q_soft = if M::PAIR { q.sum(s) } else { p_soft };
    let maxima = [p_soft.max, q_soft.max];
    let shift = shift(s, p_soft, q_soft);
    // 2. the values, and the sums of the flows
    let sums = class_sums(
        s,
        classes,
        #[inline(always)]
        |k| {
            let (z, p_k) = p.at(s, k, p_soft);
            let (y, q_k) = if M::PAIR { q.at(s, k, q_soft) } else { (z, p_k) };
            let at = logits::at(s, [z, y], [p_k, q_k], maxima, shift);
            let [p_flow, q_flow] = if GRAD { measure.flows(s, at) } else { [zero; 2] };
            if GRAD {
                p.keep(s, k, p_flow, p_k);
                if M::PAIR {
                    q.keep(s, k, q_flow, q_k);
                }
            }
            [measure.term(s, at), if M::PAIR { at.difference } else { zero }, p_flow, q_flow]
        },
    );
    let [sum, excess, p_flow, q_flow] = lowered(s, sums);
    let facts = Facts { excess, p_partition: p_soft.log_partition, q_partition: q_soft.log_partition };
    let both = p_soft.log_partition + q_soft.log_partition;
    let undefined = s.splat(T::NAN);
    let is_defined = both.eq(both);
    // 3. flow_k - p_k sum(flow)
    if GRAD {
        p.finish(s, S::V::select(is_defined, p_flow, undefined));
        if M::PAIR {
            q.finish(s, S::V::select(is_defined, q_flow, undefined));
        }
    }
    S::V::select(is_defined, measure.finish_across(s, sum, facts), undefined)
}

/// `ln(1 + rest_z) - ln(1 + rest_y) - (m_y - m_z)`, in two parts.
#[inline(always)]
fn shift<T: Real, S: Simd<T>>(s: S, z: Soft<S::V>, y: Soft<S::V>) -> [S::V; 2] {
    let [partitions, lost] = subtract(s, z.log_partition, y.log_partition);
    let [margin, margin_lost] = subtract(s, y.max, z.max);
    let [shift, shift_lost] = subtract(s, partitions, margin);
    [shift, (lost - margin_lost) + shift_lost]
}
