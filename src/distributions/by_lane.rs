//! Rows of few classes, a row a lane, a class a register: all lanes are used, and no sum goes across a register.
//!
//! The formulas and the registers of classes are those of [`probabilities`] and [`logits`]; numbers of a row that are
//! double there are a register of rows here. Values alone and values with gradients come from one function, so that
//! they have the same bits. Code that does not depend on the [`ClassSum`] is compiled once, and takes several groups of
//! rows a call.

use super::{AnyClassSum, ClassSum, RowTerms, logits, probabilities, with_class_sum};
use crate::math::{Real, log1p, subtract};
use crate::simd::{AHEAD, Lanes, MAX_LANES, Mask, Simd, inlined, load_at, store_at};
use crate::tile::{self, GROUPS, Tile, class_sums};

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

/// Bytes of a cache line.
const LINE: usize = 64;

/// Number of groups of rows at a time.
pub(crate) fn groups(classes: usize) -> usize {
    (SMALL / classes).clamp(1, GROUPS)
}

impl<'k, T: Real> Side<'k, T> {
    /// Scratch elements for two sides.
    pub(crate) fn scratch_len(classes: usize) -> usize {
        2 * (2 * tile::scratch_len(classes) + GROUPS * REGISTERS * MAX_LANES)
    }

    /// Both sides, in scratch of that length.
    pub(crate) fn both(scratch: &'k mut [T], classes: usize) -> [Self; 2] {
        let columns = tile::scratch_len(classes);
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
        s.call(inlined!(|s| self.load_groups(s, rows, stride, count, are_logits)));
    }

    /// Writes the gradients of `count` rows, one after the other. They are in the place of the numbers.
    #[inline(always)]
    pub(crate) fn store<S: Simd<T>>(&mut self, s: S, grads: &mut [T], count: usize) {
        s.call(inlined!(|s| self.store_groups(s, grads, count)));
    }

    /// Sets the factor of the gradients of a group.
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

    /// Computes the exponentials of a group of logits.
    #[inline(always)]
    fn exponentiate<S: Simd<T>>(&mut self, s: S, group: usize) {
        let (zero, infinity) = (s.splat(T::ZERO), s.splat(T::INFINITY));
        let mut logits = Tile::of(s, self.numbers, group, self.classes);
        let mut exponentials = Tile::of(s, self.exponentials, group, self.classes);
        exponentials.copy_from(&logits);
        let sums = exponentials.exponentiate(s, None);
        // A single logit of +inf has all the probability: it is replaced by 0, and the others by -inf.
        let is_one = sums.max.eq(infinity);
        if is_one.bits() != 0 {
            logits.map(
                s,
                inlined!(|_, z| {
                    let seen = (zero - infinity).zero_where(z.eq(infinity));
                    S::V::select(is_one, seen, z)
                }),
            );
        }
        self.set(s, group, Register::Max, sums.max.zero_where(is_one));
        self.set(s, group, Register::LogPartition, log1p(s, sums.rest));
        self.set(s, group, Register::Scale, sums.scale(s, s.splat(T::SCALE_UP)));
    }
}

/// The results of a pass over a group of rows.
#[derive(Clone, Copy)]
pub(crate) struct Swept<V> {
    /// Their values, in nats.
    pub(crate) values: V,
    /// The sums of `p` and `q`; twice that of `p` where there is no `q`; 1 for logits.
    sums: [V; 2],
    /// The smallest probability, or 0.
    lowest: V,
}

impl<V: Copy> Swept<V> {
    /// The results of rows that are distributions in any case.
    #[inline(always)]
    fn valid<T: Real, S: Simd<T, V = V>>(s: S, values: V) -> Self
    where
        V: Lanes<T>,
    {
        Swept { values, sums: [s.splat(T::ONE); 2], lowest: s.splat(T::ZERO) }
    }

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

/// The values of some groups of rows. With `GRAD` the gradients replace the numbers. Without a second distribution `q`
/// is not read.
#[inline(always)]
pub(crate) fn evaluate<const GRAD: bool, T: Real, S: Simd<T>>(
    s: S,
    class_sum: AnyClassSum,
    are_logits: bool,
    [p, q]: &mut [Side<'_, T>; 2],
    groups: usize,
) -> [Swept<S::V>; GROUPS] {
    let mut swept = [Swept::valid(s, s.splat(T::ZERO)); GROUPS];
    with_class_sum!(s, class_sum, class_sum => {
        for (group, swept) in swept.iter_mut().enumerate().take(groups) {
            *swept = if are_logits {
                Swept::valid(s, of_logits::<GRAD, T, S, _>(s, class_sum, p, q, group))
            } else {
                of_probabilities::<GRAD, T, S, _>(s, class_sum, p, q, group)
            };
        }
    });
    swept
}

/// The values of a group of probabilities. With `GRAD` the derivatives replace the probabilities. Both are NaN for a
/// row with a NaN. Without a second distribution `q` is not read.
#[inline(always)]
fn of_probabilities<const GRAD: bool, T: Real, S: Simd<T>, M: ClassSum<T>>(
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
        inlined!(|k| {
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
        }),
    );
    let [sum, p_sum, q_sum] = scale_down(s, sums);
    let values = class_sum.finish_lanes(s, sum, RowTerms { excess: zero, p_partition: zero, q_partition: zero });
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
fn spoil<T: Real, S: Simd<T>>(s: S, grad: &mut Tile<'_, T, S>, values: S::V) {
    let defined = values.eq(values);
    if !s.all(defined) {
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
    fn class(&self, s: S, k: usize) -> (S::V, S::V) {
        (self.logits.column(s, k), s.splat(T::SCALE_UP).min(self.exponentials.column(s, k) * self.scale))
    }

    /// Stores the slope of a class and its probability for [`finish`](Self::finish).
    #[inline(always)]
    fn keep(&mut self, s: S, k: usize, slope: S::V, probability: S::V) {
        self.logits.set_column(s, k, slope);
        self.exponentials.set_column(s, k, probability);
    }

    /// Replaces the logits by `slope_k - p_k sum(slope)`, given the sum; NaN where that is not finite.
    #[inline(always)]
    fn finish(&mut self, s: S, slope: S::V) {
        let scale_down = s.splat(T::ONE / T::SCALE_UP);
        let slope = S::V::select(slope.abs().lt(s.splat(T::INFINITY)), slope, s.splat(T::NAN));
        self.logits.map_with(s, &self.exponentials, inlined!(|slope_k, p_k| (slope_k - p_k * slope) * scale_down));
    }
}

/// The values of the softmax of a group of logits. With `GRAD` the gradients replace the logits. Without a second
/// distribution `q` is not read.
#[inline(always)]
fn of_logits<const GRAD: bool, T: Real, S: Simd<T>, M: ClassSum<T>>(
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
        inlined!(|k| {
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
        }),
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
    S::V::select(is_defined, class_sum.finish_lanes(s, sum, facts), undefined)
}

/// `ln(1 + rest_z) - ln(1 + rest_y) - (m_y - m_z)`, in two parts.
#[inline(always)]
fn shift<T: Real, S: Simd<T>>(s: S, [z_max, z]: [S::V; 2], [y_max, y]: [S::V; 2]) -> [S::V; 2] {
    let [partitions, lost] = subtract(s, z, y);
    let [margin, margin_lost] = subtract(s, y_max, z_max);
    let [shift, shift_lost] = subtract(s, partitions, margin);
    [shift, (lost - margin_lost) + shift_lost]
}
