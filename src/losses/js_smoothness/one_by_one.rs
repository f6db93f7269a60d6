//! Positions of many classes, one after the other, a register of classes at a time.

use super::{GROWTH, between, growth, least_sure};
use crate::math::Real;
use crate::rows::{BLOCK, RowSum, row_total};
use crate::simd::{Lanes, RowIo, Simd, inlined, position, read, write};

/// A position of a sequence, while its neighbours are looked at.
pub(crate) struct Position<'k, T> {
    logits: &'k mut [T],
    /// Times 2^DIGITS.
    probabilities: &'k mut [T],
    /// `2 g_k`, of the neighbours before and after it; 0 where these do not count.
    pulls: [&'k mut [T]; 2],
    /// `sum_k p_k 2 g_k`, of both.
    drifts: [f64; 2],
    /// Whether there was a neighbour that counts.
    has_met: bool,
    sum: RowSum<T>,
}

impl<'k, T: Real> Position<'k, T> {
    /// Numbers of scratch memory that a position of a class needs.
    pub(crate) const SCRATCH: usize = 4;

    pub(crate) fn new(scratch: &'k mut [T], classes: usize) -> Self {
        let (logits, rest) = scratch.split_at_mut(classes);
        let (probabilities, rest) = rest.split_at_mut(classes);
        let (before, after) = rest.split_at_mut(classes);
        let sum = RowSum { max: T::ZERO, rest: f64::NAN };
        Position { logits, probabilities, pulls: [before, after], drifts: [0.0; 2], has_met: false, sum }
    }

    /// Takes a row, which may be overwritten after.
    #[inline(always)]
    pub(crate) fn load<const GRAD: bool, S: Simd<T>>(&mut self, s: S, row: &[T]) {
        self.logits.copy_from_slice(row);
        self.sum = s.call(inlined!(|s| softmax(s, row, self.probabilities)));
        if self.sum.max == T::INFINITY && !self.sum.rest.is_nan() {
            // All probability is there: the same distribution in finite numbers.
            let top = position(s, row, T::INFINITY);
            self.logits.fill(-T::INFINITY);
            self.probabilities.fill(T::ZERO);
            top.into_iter().for_each(|top| (self.logits[top], self.probabilities[top]) = (T::ZERO, T::TO_NORMAL));
            self.sum = RowSum { max: T::ZERO, rest: 0.0 };
        }
        if GRAD {
            self.pulls.iter_mut().for_each(|pull| pull.fill(T::ZERO));
            (self.drifts, self.has_met) = ([0.0; 2], false);
        }
    }

    /// `logsumexp(z) - logsumexp(z')`
    #[inline(always)]
    fn shift(&self, other: &Self) -> f64 {
        (self.sum.max.to_f64() - other.sum.max.to_f64()) + (self.sum.log_partition() - other.sum.log_partition())
    }

    /// The same for near neighbours, whose sums may be too rough for it.
    #[inline(always)]
    fn small_shift<S: Simd<T>>(&self, s: S, other: &Self) -> Option<f64> {
        let sum = row_total(
            s,
            self.logits,
            -T::INFINITY,
            inlined!(|k, z| {
                let q = read(s, other.probabilities, k, T::ZERO);
                growth(s, [z, read(s, other.logits, k, -T::INFINITY)], q)
            }),
        );
        let sum = sum / T::TO_NORMAL.to_f64();
        (sum.abs() <= GROWTH).then(|| sum.ln_1p())
    }

    /// The divergence between two positions with a given difference of their log-sum-exps.
    #[inline(always)]
    fn sweep<const GRAD: bool, S: Simd<T>>(&mut self, s: S, other: &mut Self, shift: f64) -> f64 {
        s.call(inlined!(|s| swept::<GRAD, T, S>(s, self, other, shift)))
    }

    /// The divergence between two positions; with `GRAD` both get what they need for their gradients.
    #[inline(always)]
    pub(crate) fn divergence<const GRAD: bool, S: Simd<T>>(&mut self, s: S, other: &mut Self) -> f64 {
        let mut divergence = self.sweep::<GRAD, S>(s, other, self.shift(other));
        if divergence > 0.0
            && divergence < least_sure::<T>()
            && let Some(shift) = self.small_shift(s, other)
        {
            divergence = self.sweep::<GRAD, S>(s, other, shift);
        }
        (self.has_met, other.has_met) = (true, true);
        // An undefined distribution spoils both gradients.
        if divergence.is_nan() {
            (self.drifts[1], other.drifts[0]) = (divergence, divergence);
        }
        // Rounding must not leave the range; a NaN stays.
        divergence.clamp(0.0, std::f64::consts::LN_2)
    }

    /// `scale` times the gradient of this position's divergences, once both neighbours have been looked at.
    #[inline(always)]
    pub(crate) fn gradient<S: Simd<T>>(&self, s: S, scale: f64, out: &mut [T]) {
        if !self.has_met {
            return out.fill(T::ZERO);
        }
        let drift = self.drifts[0] + self.drifts[1];
        let scale = s.splat(T::from_f64(0.5 * scale / T::TO_NORMAL.to_f64()));
        let (drifts, [before, after]) = (s.splat(T::from_f64(drift)), &self.pulls);
        RowIo::new(self.probabilities, out).map(
            s,
            T::ZERO,
            inlined!(|k, p| scale * p * ((read(s, before, k, T::ZERO) + read(s, after, k, T::ZERO)) - drifts)),
        );
        // A class with most of the probability, from the complement.
        if self.sum.rest < 1.0
            && let Some(top) = position(s, self.logits, self.sum.max)
        {
            out[top] = T::ZERO;
            let others = row_total(s, out, T::ZERO, inlined!(|_, g| g));
            out[top] = T::from_f64(0.0 * drift - others);
        }
    }
}

/// The softmax of a row, times 2^DIGITS, from exponentials that are taken once.
#[inline(always)]
fn softmax<T: Real, S: Simd<T>>(s: S, row: &[T], probabilities: &mut [T]) -> RowSum<T> {
    let mut row = RowIo::new(row, probabilities);
    let (sum, pivot) = RowSum::sweep(s, &mut row);
    let scale = sum.scale(pivot, T::TO_NORMAL.to_f64());
    row.finish(s, inlined!(|_, e| scale.of(s, e)));
    sum
}

/// The divergence between two positions with a given difference of their log-sum-exps, and with `GRAD` what their gradients
/// need.
#[inline(always)]
fn swept<const GRAD: bool, T: Real, S: Simd<T>>(
    s: S,
    one: &mut Position<'_, T>,
    other: &mut Position<'_, T>,
    shift: f64,
) -> f64 {
    let (zero, len) = (s.splat(T::ZERO), one.logits.len());
    let high = T::from_f64(shift);
    let (high, low) = (s.splat(high), s.splat(T::from_f64(shift - high.to_f64())));
    let mut totals = [0.0; 3];
    for start in (0..len).step_by(BLOCK) {
        let mut sums = [zero; 3];
        for k in (start..len.min(start + BLOCK)).step_by(S::LANES) {
            let logits = [read(s, one.logits, k, -T::INFINITY), read(s, other.logits, k, -T::INFINITY)];
            let (p, q) = (read(s, one.probabilities, k, T::ZERO), read(s, other.probabilities, k, T::ZERO));
            let (divergence, [g, h]) = between::<GRAD, T, S>(s, logits, [p, q], [high, low]);
            sums[0] = sums[0] + divergence;
            if GRAD {
                write(s, g, one.pulls[1], k);
                write(s, h, other.pulls[0], k);
                sums[1] = p.mul_add(g, sums[1]);
                sums[2] = q.mul_add(h, sums[2]);
            }
        }
        for (total, sum) in totals.iter_mut().zip(sums) {
            *total += sum.sum().to_f64();
        }
    }
    let [divergence, drift, other_drift] = totals;
    if GRAD {
        (one.drifts[1], other.drifts[0]) = (drift / T::TO_NORMAL.to_f64(), other_drift / T::TO_NORMAL.to_f64());
    }
    0.5 * divergence / T::TO_NORMAL.to_f64()
}
