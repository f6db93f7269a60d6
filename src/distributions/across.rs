//! Rows of few classes, a row a lane, a class a register: no lane is idle, and no sum goes across a register.
//!
//! The formulas, and what a register of classes is, are those of [`probabilities`] and [`logits`]; what these know of a row
//! in double precision is here a register of rows. Values alone and values with gradients are one function, so that they
//! have the same bits. What does not depend on the measure is compiled once for all of them, and takes several groups of rows
//! a call.

use super::{Facts, Measure, logits, probabilities};
use crate::math::{Real, log1p, subtract};
use crate::simd::{AHEAD, Lanes, MAX_LANES, Mask, Simd, inlined, load_at, store_at};
use crate::tile::{self, GROUPS, Tile, class_sums};

/// One of two distributions, in some groups of rows: their numbers and, of logits, their exponentials.
pub(crate) struct Side<'k, T> {
    numbers: &'k mut [T],
    exponentials: &'k mut [T],
    /// Registers of each group: see [`Register`].
    registers: &'k mut [T],
    classes: usize,
}

/// What is kept of a group.
#[derive(Clone, Copy)]
enum Register {
    /// The largest logits.
    Max,
    /// `ln(1 + rest)`, NaN where no distribution is defined.
    LogPartition,
    /// What makes probabilities times 2^DIGITS of exponentials.
    Scale,
    /// What gradients are multiplied by.
    Factor,
}

const REGISTERS: usize = 4;

/// Numbers of a group that still leave room for other groups in the first-level cache.
const SMALL: usize = 32;

/// Bytes of a line of the caches.
const LINE: usize = 64;

/// How many groups of rows are taken at a time.
pub(crate) fn groups(classes: usize) -> usize {
    (SMALL / classes).clamp(1, GROUPS)
}

impl<'k, T: Real> Side<'k, T> {
    /// How much scratch two sides need.
    pub(crate) fn scratch_len(classes: usize) -> usize {
        2 * (2 * tile::scratch_len(classes) + GROUPS * REGISTERS * MAX_LANES)
    }

    /// Both sides, in such a scratch.
    pub(crate) fn both(scratch: &'k mut [T], classes: usize) -> [Self; 2] {
        let columns = tile::scratch_len(classes);
        let (p, q) = scratch.split_at_mut(scratch.len() / 2);
        [p, q].map(|scratch| {
            let (numbers, rest) = scratch.split_at_mut(columns);
            let (exponentials, registers) = rest.split_at_mut(columns);
            Side { numbers, exponentials, registers, classes }
        })
    }

    /// Takes `count` rows that stand `stride` apart, at most as many as the [`groups`] have; logits get exponentials.
    #[inline(always)]
    pub(crate) fn load<S: Simd<T>>(&mut self, s: S, (rows, stride): (&[T], usize), count: usize, are_logits: bool) {
        s.call(inlined!(|s| self.load_groups(s, rows, stride, count, are_logits)));
    }

    /// Writes the gradients of `count` rows, one behind the other, which have taken the place of the numbers.
    #[inline(always)]
    pub(crate) fn store<S: Simd<T>>(&mut self, s: S, grads: &mut [T], count: usize) {
        s.call(inlined!(|s| self.store_groups(s, grads, count)));
    }

    /// Says what the gradients of a group are multiplied by.
    #[inline(always)]
    pub(crate) fn scale_by<S: Simd<T>>(&mut self, s: S, group: usize, factor: S::V) {
        self.set(s, group, Register::Factor, factor);
    }

    #[inline(always)]
    fn numbers<S: Simd<T>>(&mut self, s: S, group: usize) -> Tile<'_, T, S> {
        Tile::of(s, self.numbers, group, self.classes)
    }

    #[inline(always)]
    fn get<S: Simd<T>>(&self, s: S, group: usize, register: Register) -> S::V {
        load_at(s, self.registers, (group * REGISTERS + register as usize) * MAX_LANES)
    }

    #[inline(always)]
    fn set<S: Simd<T>>(&mut self, s: S, group: usize, register: Register, v: S::V) {
        store_at(s, v, self.registers, (group * REGISTERS + register as usize) * MAX_LANES);
    }

    /// The softmax of a group of logits.
    #[inline(always)]
    fn softmax<S: Simd<T>>(&mut self, s: S, group: usize) -> Softmax<'_, T, S> {
        let [max, log_partition, scale] = [
            self.get(s, group, Register::Max),
            self.get(s, group, Register::LogPartition),
            self.get(s, group, Register::Scale),
        ];
        Softmax {
            logits: Tile::of(s, self.numbers, group, self.classes),
            exponentials: Tile::of(s, self.exponentials, group, self.classes),
            max,
            log_partition,
            scale,
        }
    }

    #[inline(always)]
    fn load_groups<S: Simd<T>>(&mut self, s: S, rows: &[T], stride: usize, count: usize, are_logits: bool) {
        for i in (0..count * stride).step_by(LINE / size_of::<T>()) {
            s.prefetch(rows, i + AHEAD);
        }
        for (group, i) in (0..count).step_by(S::LANES).enumerate() {
            self.numbers(s, group).load(s, &rows[i * stride..], stride, S::LANES.min(count - i));
            if are_logits {
                self.exponentiate(s, group);
            }
        }
    }

    #[inline(always)]
    fn store_groups<S: Simd<T>>(&mut self, s: S, grads: &mut [T], count: usize) {
        for (group, i) in (0..count).step_by(S::LANES).enumerate() {
            let factor = self.get(s, group, Register::Factor);
            let (rows, grads) = (S::LANES.min(count - i), &mut grads[i * self.classes..]);
            self.numbers(s, group).store(s, grads, rows, inlined!(|_, g| g * factor));
        }
    }

    /// Makes exponentials of a group of logits.
    #[inline(always)]
    fn exponentiate<S: Simd<T>>(&mut self, s: S, group: usize) {
        let (zero, infinity) = (s.splat(T::ZERO), s.splat(T::INFINITY));
        let mut logits = Tile::of(s, self.numbers, group, self.classes);
        let mut exponentials = Tile::of(s, self.exponentials, group, self.classes);
        exponentials.copy_from(&logits);
        let sums = exponentials.exponentiate(s, zero - s.splat(T::ONE));
        // One logit of +inf has all the probability: it counts as 0, and the others as -inf.
        let is_one = sums.max.eq(infinity);
        if is_one.bits() != 0 {
            logits.map(
                s,
                inlined!(|_, z| {
                    let seen = S::V::select(z.eq(infinity), zero, zero - infinity);
                    S::V::select(is_one, seen, z)
                }),
            );
        }
        self.set(s, group, Register::Max, S::V::select(is_one, zero, sums.max));
        self.set(s, group, Register::LogPartition, log1p(s, sums.rest));
        self.set(s, group, Register::Scale, sums.scale(s, s.splat(T::TO_NORMAL)));
    }
}

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

/// The values of a group of probabilities. With `GRAD` the derivatives take the place of the probabilities; a row with a NaN
/// has neither. Where there is no second distribution, `q` is not looked at.
#[inline(always)]
pub(crate) fn of_probabilities<const GRAD: bool, T: Real, S: Simd<T>, M: Measure<T>>(
    s: S,
    measure: M,
    p: &mut Side<'_, T>,
    q: &mut Side<'_, T>,
    group: usize,
) -> Swept<S::V> {
    let (mut p, mut q) = (p.numbers(s, group), q.numbers(s, group));
    let (zero, lifted, classes) = (s.splat(T::ZERO), s.splat(T::TO_NORMAL), p.classes());
    let mut lowest = zero;
    let sums = class_sums(
        s,
        classes,
        inlined!(|k| {
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
        }),
    );
    let [sum, p_sum, q_sum] = lowered(s, sums);
    let values = measure.finish_across(s, sum, Facts { excess: zero, p_partition: zero, q_partition: zero });
    let both = p_sum + q_sum;
    let values = S::V::select(both.eq(both), values, s.splat(T::NAN));
    if GRAD {
        spoil(s, &mut p, values);
        if M::PAIR {
            spoil(s, &mut q, values);
        }
    }
    Swept { values, sums: [p_sum, q_sum], lowest }
}

/// Rows whose value is NaN have no gradient.
#[inline(always)]
fn spoil<T: Real, S: Simd<T>>(s: S, grad: &mut Tile<'_, T, S>, values: S::V) {
    let defined = values.eq(values);
    if defined.bits() != (1 << S::LANES) - 1 {
        grad.map(s, inlined!(|_, g| S::V::select(defined, g, s.splat(T::NAN))));
    }
}

/// The softmax of a group of logits.
struct Softmax<'k, T: Real, S: Simd<T>> {
    logits: Tile<'k, T, S>,
    exponentials: Tile<'k, T, S>,
    max: S::V,
    log_partition: S::V,
    scale: S::V,
}

impl<T: Real, S: Simd<T>> Softmax<'_, T, S> {
    /// The logits of a class, and its probabilities times 2^DIGITS.
    #[inline(always)]
    fn at(&self, s: S, k: usize) -> (S::V, S::V) {
        (self.logits.column(s, k), s.splat(T::TO_NORMAL).min(self.exponentials.column(s, k) * self.scale))
    }

    /// Leaves the flow of a class, and its probability, where they are looked for when all flows have been summed.
    #[inline(always)]
    fn keep(&mut self, s: S, k: usize, flow: S::V, probability: S::V) {
        self.logits.set_column(s, k, flow);
        self.exponentials.set_column(s, k, probability);
    }

    /// `flow_k - p_k sum(flow)`, in the place of the logits; a row of infinite flow has no gradient.
    #[inline(always)]
    fn finish(&mut self, s: S, flow: S::V) {
        let lowered = s.splat(T::ONE / T::TO_NORMAL);
        let flow = S::V::select(flow.abs().lt(s.splat(T::INFINITY)), flow, s.splat(T::NAN));
        self.logits.map_with(s, &self.exponentials, inlined!(|flow_k, p_k| (flow_k - p_k * flow) * lowered));
    }
}

/// The values of the softmax of a group of logits. With `GRAD` the gradients take the place of the logits. Where there is no
/// second distribution, `q` is not looked at.
#[inline(always)]
pub(crate) fn of_logits<const GRAD: bool, T: Real, S: Simd<T>, M: Measure<T>>(
    s: S,
    measure: M,
    p: &mut Side<'_, T>,
    q: &mut Side<'_, T>,
    group: usize,
) -> S::V {
    let (zero, classes) = (s.splat(T::ZERO), p.classes);
    let (mut p, mut q) = (p.softmax(s, group), q.softmax(s, group));
    // 1. log-partitions
    let p_facts = [p.max, p.log_partition];
    let q_facts = if M::PAIR { [q.max, q.log_partition] } else { p_facts };
    let ([z_max, p_partition], [y_max, q_partition]) = (p_facts, q_facts);
    let shift = shift(s, p_facts, q_facts);
    // 2. the values, and the sums of the flows
    let sums = class_sums(
        s,
        classes,
        inlined!(|k| {
            let (z, p_k) = p.at(s, k);
            let (y, q_k) = if M::PAIR { q.at(s, k) } else { (z, p_k) };
            let at = logits::at(s, [z, y], [p_k, q_k], [z_max, y_max], shift);
            let [p_flow, q_flow] = if GRAD { measure.flows(s, at) } else { [zero; 2] };
            if GRAD {
                p.keep(s, k, p_flow, p_k);
                if M::PAIR {
                    q.keep(s, k, q_flow, q_k);
                }
            }
            [measure.term(s, at), if M::PAIR { at.difference } else { zero }, p_flow, q_flow]
        }),
    );
    let [sum, excess, p_flow, q_flow] = lowered(s, sums);
    let facts = Facts { excess, p_partition, q_partition };
    let both = p_partition + q_partition;
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
fn shift<T: Real, S: Simd<T>>(s: S, [z_max, z]: [S::V; 2], [y_max, y]: [S::V; 2]) -> [S::V; 2] {
    let [partitions, lost] = subtract(s, z, y);
    let [margin, margin_lost] = subtract(s, y_max, z_max);
    let [shift, shift_lost] = subtract(s, partitions, margin);
    [shift, (lost - margin_lost) + shift_lost]
}
