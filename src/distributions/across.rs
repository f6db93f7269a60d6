//! Rows of few classes, a row a lane, a class a register: all lanes are used, and no sum goes across a register.
//!
//! The formulas and the registers of classes are those of [`probabilities`] and [`logits`]; numbers of a row that are
//! double there are a register of rows here. Values alone and values with gradients come from one function, so that
//! they have the same bits. Code that does not depend on the [`ClassSum`] is compiled once, and takes several groups of
//! rows a call.

use super::{ClassSum, RowTerms, logits, probabilities};
use crate::columns::{self, Columns, GROUPS, class_sums};
use crate::math::{Real, log1p, subtract};
use crate::simd::{AHEAD, Kernel, Lanes, MAX_LANES, Mask, Simd};

/// One of two distributions, in some groups of rows: the numbers and, for logits, the exponentials.
pub(crate) struct Side<'k, T> {
    numbers: &'k mut [T],
    exponentials: &'k mut [T],
    /// Registers of each group: see [`Register`].
    registers: &'k mut [T],
    classes: usize,
}

/// A register that is kept for a group.
#[derive(Clone, Copy)]
enum Register {
    /// The largest logits.
    Max,
    /// `ln(1 + rest)`, NaN where no distribution is defined.
    LogPartition,
    /// The factor from exponentials to probabilities times 2^DIGITS.
    Scale,
    /// The factor of the gradients.
    Factor,
}

const REGISTERS: usize = 4;

/// Up to this number of classes several groups fit into the first-level cache.
const SMALL: usize = 32;

/// Number of groups of rows at a time.
pub(crate) fn groups(classes: usize) -> usize {
    (SMALL / classes).clamp(1, GROUPS)
}

impl<'k, T: Real> Side<'k, T> {
    /// Scratch elements for two sides.
    pub(crate) fn scratch_len(classes: usize) -> usize {
        2 * (2 * columns::scratch_len(classes) + GROUPS * REGISTERS * MAX_LANES)
    }

    /// Both sides, in scratch of that length.
    pub(crate) fn both(scratch: &'k mut [T], classes: usize) -> [Self; 2] {
        let columns = columns::scratch_len(classes);
        let (p, q) = scratch.split_at_mut(scratch.len() / 2);
        [p, q].map(|scratch| {
            let (numbers, rest) = scratch.split_at_mut(columns);
            let (exponentials, registers) = rest.split_at_mut(columns);
            Side { numbers, exponentials, registers, classes }
        })
    }

    /// Loads `count` rows with a distance of `stride`, at most as many as the [`groups`] have, and exponentiates
    /// logits.
    #[inline(always)]
    pub(crate) fn load<S: Simd<T>>(&mut self, s: S, (rows, stride): (&[T], usize), count: usize, are_logits: bool) {
        s.call(Load { side: self, rows, stride, count, are_logits });
    }

    /// Writes the gradients of `count` rows, one after the other. They are in the place of the numbers.
    #[inline(always)]
    pub(crate) fn store<S: Simd<T>>(&mut self, s: S, grads: &mut [T], count: usize) {
        s.call(Store { side: self, grads, count });
    }

    /// Sets the factor of the gradients of a group.
    #[inline(always)]
    pub(crate) fn scale_by<S: Simd<T>>(&mut self, s: S, group: usize, factor: S::V) {
        self.set(s, group, Register::Factor, factor);
    }

    #[inline(always)]
    fn numbers<S: Simd<T>>(&mut self, s: S, group: usize) -> Columns<'_, T> {
        Columns::of(s, self.numbers, group, self.classes)
    }

    #[inline(always)]
    fn get<S: Simd<T>>(&self, s: S, group: usize, register: Register) -> S::V {
        s.load(&self.registers[(group * REGISTERS + register as usize) * MAX_LANES..][..S::LANES])
    }

    #[inline(always)]
    fn set<S: Simd<T>>(&mut self, s: S, group: usize, register: Register, v: S::V) {
        s.store(v, &mut self.registers[(group * REGISTERS + register as usize) * MAX_LANES..][..S::LANES]);
    }

    /// The softmax of a group of logits.
    #[inline(always)]
    fn softmax<S: Simd<T>>(&mut self, s: S, group: usize) -> Softmax<'_, T, S::V> {
        let [max, log_partition, scale] = [
            self.get(s, group, Register::Max),
            self.get(s, group, Register::LogPartition),
            self.get(s, group, Register::Scale),
        ];
        Softmax {
            logits: Columns::of(s, self.numbers, group, self.classes),
            exponentials: Columns::of(s, self.exponentials, group, self.classes),
            max,
            log_partition,
            scale,
        }
    }

    /// Computes the exponentials of a group of logits.
    #[inline(always)]
    fn exponentiate<S: Simd<T>>(&mut self, s: S, group: usize) {
        let (zero, infinity) = (s.splat(T::ZERO), s.splat(T::INFINITY));
        let mut logits = Columns::of(s, self.numbers, group, self.classes);
        let mut exponentials = Columns::of(s, self.exponentials, group, self.classes);
        exponentials.lanes().copy_from_slice(logits.lanes());
        let sums = exponentials.exponentiate(s, zero - s.splat(T::ONE));
        // A single logit of +inf has all the probability: it is replaced by 0, and the others by -inf.
        let is_one = sums.max.eq(infinity);
        if is_one.bits() != 0 {
            logits.map(
                s,
                #[inline(always)]
                |_, z| {
                    let seen = S::V::select(z.eq(infinity), zero, zero - infinity);
                    S::V::select(is_one, seen, z)
                },
            );
        }
        self.set(s, group, Register::Max, S::V::select(is_one, zero, sums.max));
        self.set(s, group, Register::LogPartition, log1p(s, sums.rest));
        self.set(s, group, Register::Scale, sums.scale(s, s.splat(T::SCALE_UP)));
    }
}

/// See [`Side::load`].
struct Load<'s, 'k, T> {
    side: &'s mut Side<'k, T>,
    rows: &'s [T],
    stride: usize,
    count: usize,
    are_logits: bool,
}

/// Bytes of a cache line.
const LINE: usize = 64;

impl<T: Real> Kernel<T> for Load<'_, '_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        let Load { side, rows, stride, count, are_logits } = self;
        for i in (0..count * stride).step_by(LINE / size_of::<T>()) {
            s.prefetch(rows, i + AHEAD);
        }
        for (group, i) in (0..count).step_by(S::LANES).enumerate() {
            side.numbers(s, group).load(s, &rows[i * stride..], stride, S::LANES.min(count - i));
            if are_logits {
                side.exponentiate(s, group);
            }
        }
    }
}

/// See [`Side::store`].
struct Store<'s, 'k, T> {
    side: &'s mut Side<'k, T>,
    grads: &'s mut [T],
    count: usize,
}

impl<T: Real> Kernel<T> for Store<'_, '_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        let Store { side, grads, count } = self;
        for (group, i) in (0..count).step_by(S::LANES).enumerate() {
            let factor = side.get(s, group, Register::Factor);
            let rows = S::LANES.min(count - i);
            let grads = &mut grads[i * side.classes..];
            side.numbers(s, group).store(
                s,
                grads,
                rows,
                #[inline(always)]
                |_, g| g * factor,
            );
        }
    }
}

/// The results of a pass over rows of probabilities.
pub(crate) struct Swept<V> {
    /// Their values, in nats.
    pub(crate) values: V,
    /// The sums of `p` and `q`; twice that of `p` where there is no `q`.
    sums: [V; 2],
    /// The smallest number, or 0.
    lowest: V,
}

impl<V: Copy> Swept<V> {
    /// Bit `i` is set if row `i` is no distribution: a number is negative, or a sum differs from 1 by more than
    /// `tolerance`.
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

/// Sums of numbers that were times 2^DIGITS, without that factor.
#[inline(always)]
fn scale_down<const N: usize, T: Real, S: Simd<T>>(s: S, mut sums: [S::V; N]) -> [S::V; N] {
    let scale_down = s.splat(T::ONE / T::SCALE_UP);
    for sum in &mut sums {
        *sum = *sum * scale_down;
    }
    sums
}

/// The values of a group of probabilities. With `GRAD` the derivatives replace the probabilities. Both are NaN for a
/// row with a NaN. Without a second distribution `q` is not read.
#[inline(always)]
pub(crate) fn of_probabilities<const GRAD: bool, T: Real, S: Simd<T>, M: ClassSum<T>>(
    s: S,
    class_sum: M,
    p: &mut Side<'_, T>,
    q: &mut Side<'_, T>,
    group: usize,
) -> Swept<S::V> {
    let (mut p, mut q) = (p.numbers(s, group), q.numbers(s, group));
    let (zero, scaled_up, classes) = (s.splat(T::ZERO), s.splat(T::SCALE_UP), p.classes());
    let mut lowest = zero;
    let sums = class_sums(
        s,
        classes,
        #[inline(always)]
        |k| {
            let p_k = p.column(s, k) * scaled_up;
            let q_k = if M::PAIR { q.column(s, k) * scaled_up } else { p_k };
            let class = probabilities::class(s, p_k, q_k);
            lowest = q_k.min(p_k.min(lowest));
            if GRAD {
                let [p_slope, q_slope] = class_sum.slopes(s, class);
                p.set_column(s, k, p_slope);
                if M::PAIR {
                    q.set_column(s, k, q_slope);
                }
            }
            [class_sum.term(s, class), p_k, q_k]
        },
    );
    let [sum, p_sum, q_sum] = scale_down(s, sums);
    let values = class_sum.finish_across(s, sum, RowTerms { excess: zero, p_partition: zero, q_partition: zero });
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

/// Sets the gradient of rows whose value is NaN to NaN.
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

/// The softmax of a group of logits.
struct Softmax<'k, T, V> {
    logits: Columns<'k, T>,
    exponentials: Columns<'k, T>,
    max: V,
    log_partition: V,
    scale: V,
}

impl<T: Real, V: Lanes<T>> Softmax<'_, T, V> {
    /// The logits of a class, and its probabilities times 2^DIGITS.
    #[inline(always)]
    fn class<S: Simd<T, V = V>>(&self, s: S, k: usize) -> (V, V) {
        (self.logits.column(s, k), s.splat(T::SCALE_UP).min(self.exponentials.column(s, k) * self.scale))
    }

    /// Stores the slope of a class and its probability for [`finish`](Self::finish).
    #[inline(always)]
    fn keep<S: Simd<T, V = V>>(&mut self, s: S, k: usize, slope: V, probability: V) {
        self.logits.set_column(s, k, slope);
        self.exponentials.set_column(s, k, probability);
    }

    /// Replaces the logits by `slope_k - p_k sum(slope)`, given the sum; NaN where that is not finite.
    #[inline(always)]
    fn finish<S: Simd<T, V = V>>(&mut self, s: S, slope: V) {
        let (scale_down, exponentials) = (s.splat(T::ONE / T::SCALE_UP), &self.exponentials);
        let slope = V::select(slope.abs().lt(s.splat(T::INFINITY)), slope, s.splat(T::NAN));
        self.logits.map(
            s,
            #[inline(always)]
            |k, slope_k| (slope_k - exponentials.column(s, k) * slope) * scale_down,
        );
    }
}

/// The values of the softmax of a group of logits. With `GRAD` the gradients replace the logits. Without a second
/// distribution `q` is not read.
#[inline(always)]
pub(crate) fn of_logits<const GRAD: bool, T: Real, S: Simd<T>, M: ClassSum<T>>(
    s: S,
    class_sum: M,
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
    // 2. the values, and the sums of the slopes
    let sums = class_sums(
        s,
        classes,
        #[inline(always)]
        |k| {
            let (z, p_k) = p.class(s, k);
            let (y, q_k) = if M::PAIR { q.class(s, k) } else { (z, p_k) };
            let class = logits::class(s, [z, y], [p_k, q_k], [z_max, y_max], shift);
            let [p_slope, q_slope] = if GRAD { class_sum.logit_slopes(s, class) } else { [zero; 2] };
            if GRAD {
                p.keep(s, k, p_slope, p_k);
                if M::PAIR {
                    q.keep(s, k, q_slope, q_k);
                }
            }
            [class_sum.term(s, class), if M::PAIR { class.difference } else { zero }, p_slope, q_slope]
        },
    );
    let [sum, excess, p_slope, q_slope] = scale_down(s, sums);
    let facts = RowTerms { excess, p_partition, q_partition };
    let both = p_partition + q_partition;
    let undefined = s.splat(T::NAN);
    let is_defined = both.eq(both);
    // 3. slope_k - p_k sum(slope)
    if GRAD {
        p.finish(s, S::V::select(is_defined, p_slope, undefined));
        if M::PAIR {
            q.finish(s, S::V::select(is_defined, q_slope, undefined));
        }
    }
    S::V::select(is_defined, class_sum.finish_across(s, sum, facts), undefined)
}

/// `ln(1 + rest_z) - ln(1 + rest_y) - (m_y - m_z)`, in two parts.
#[inline(always)]
fn shift<T: Real, S: Simd<T>>(s: S, [z_max, z]: [S::V; 2], [y_max, y]: [S::V; 2]) -> [S::V; 2] {
    let [partitions, lost] = subtract(s, z, y);
    let [margin, margin_lost] = subtract(s, y_max, z_max);
    let [shift, shift_lost] = subtract(s, partitions, margin);
    [shift, (lost - margin_lost) + shift_lost]
}
