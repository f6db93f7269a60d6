//! Positions of many classes, one after the other, a register of classes at a time.

use super::{GROWTH_LIMIT, between, growth, least_sure};
use crate::math::Real;
use crate::rows::{BLOCK, RowSum, row_total};
use crate::simd::{Lanes, RowIo, Simd, inlined, position, read, short, write};

/// A position of a sequence, during the evaluation of its pairs.
pub(crate) struct Position<'k, T> {
    logits: &'k mut [T],
    /// Times 2^DIGITS.
    probabilities: &'k mut [T],
    /// `2 g_k` for the neighbours before and after; 0 for neighbours that do not count.
    g: [&'k mut [T]; 2],
    /// `sum_k p_k 2 g_k`, likewise.
    mean_g: [f64; 2],
    /// Whether one of its neighbours counts.
    has_met: bool,
    sum: RowSum<T>,
}

impl<'k, T: Real> Position<'k, T> {
    /// Scratch elements per class.
    pub(crate) const SCRATCH: usize = 4;

    pub(crate) fn new(scratch: &'k mut [T], classes: usize) -> Self {
        let (logits, rest) = scratch.split_at_mut(classes);
        let (probabilities, rest) = rest.split_at_mut(classes);
        let (before, after) = rest.split_at_mut(classes);
        let sum = RowSum { max: T::ZERO, rest: f64::NAN };
        Position { logits, probabilities, g: [before, after], mean_g: [0.0; 2], has_met: false, sum }
    }

    /// Copies a row, as a separate function.
    #[inline(always)]
    pub(crate) fn load<const GRAD: bool, S: Simd<T>>(&mut self, s: S, row: &[T]) {
        s.call(inlined!(|s| self.load_inlined::<GRAD, S>(s, row)));
    }

    #[inline(always)]
    fn load_inlined<const GRAD: bool, S: Simd<T>>(&mut self, s: S, row: &[T]) {
        self.logits.copy_from_slice(row);
        self.sum = softmax(s, row, self.probabilities);
        if self.sum.max == T::INFINITY && !self.sum.rest.is_nan() {
            // That logit has all the probability: it is replaced by 0, and the others by -inf.
            let top = position(s, row, T::INFINITY);
            self.logits.fill(-T::INFINITY);
            self.probabilities.fill(T::ZERO);
            top.into_iter().for_each(|top| (self.logits[top], self.probabilities[top]) = (T::ZERO, T::SCALE_UP));
            self.sum = RowSum { max: T::ZERO, rest: 0.0 };
        }
        if GRAD {
            self.g.iter_mut().for_each(|g_k| g_k.fill(T::ZERO));
            (self.mean_g, self.has_met) = ([0.0; 2], false);
        }
    }

    /// `logsumexp(z) - logsumexp(z')`
    #[inline(always)]
    fn shift(&self, other: &Self) -> f64 {
        (self.sum.max.to_f64() - other.sum.max.to_f64()) + (self.sum.log_partition() - other.sum.log_partition())
    }

    /// The same, computed a second way for near neighbours, for which the log-sum-exps may be too inaccurate.
    #[inline(always)]
    fn small_shift<S: Simd<T>>(&self, s: S, other: &Self) -> Option<f64> {
        let sum = s.call(inlined!(|s| row_total(
            s,
            self.logits,
            -T::INFINITY,
            inlined!(|k, z| {
                let q = read(s, other.probabilities, k, T::ZERO);
                growth(s, [z, read(s, other.logits, k, -T::INFINITY)], q)
            }),
        )));
        let sum = sum / T::SCALE_UP.to_f64();
        (sum.abs() <= GROWTH_LIMIT).then(|| sum.ln_1p())
    }

    /// The divergence of two positions with a given difference of their log-sum-exps, in a function of its own.
    #[inline(always)]
    fn sweep<const GRAD: bool, S: Simd<T>>(&mut self, s: S, other: &mut Self, shift: f64, upstream: f64) -> f64 {
        s.call(inlined!(|s| swept::<GRAD, T, S>(s, self, other, [shift, upstream])))
    }

    /// The divergence of two positions; with `GRAD` also `g` and its means for their gradients, times `upstream`.
    #[inline(always)]
    pub(crate) fn divergence<const GRAD: bool, S: Simd<T>>(&mut self, s: S, other: &mut Self, upstream: f64) -> f64 {
        let mut divergence = self.sweep::<GRAD, S>(s, other, self.shift(other), upstream);
        if divergence > 0.0
            && divergence < least_sure::<T>()
            && let Some(shift) = self.small_shift(s, other)
        {
            divergence = self.sweep::<GRAD, S>(s, other, shift, upstream);
        }
        (self.has_met, other.has_met) = (true, true);
        // An undefined distribution makes both gradients NaN.
        if divergence.is_nan() {
            (self.mean_g[1], other.mean_g[0]) = (divergence, divergence);
        }
        // Clamped to the range of the divergence; a NaN stays.
        divergence.clamp(0.0, std::f64::consts::LN_2)
    }

    /// Writes `scale` times the gradient of this position, whose pairs have been evaluated.
    #[inline(always)]
    pub(crate) fn gradient<S: Simd<T>>(&self, s: S, scale: f64, out: &mut [T]) {
        if !self.has_met {
            return out.fill(T::ZERO);
        }
        let mean = self.mean_g[0] + self.mean_g[1];
        let scale = s.splat(T::from_f64(0.5 * scale / T::SCALE_UP.to_f64()));
        let (mean_g, [before, after]) = (s.splat(T::from_f64(mean)), &self.g);
        RowIo::new(self.probabilities, out).map(
            s,
            T::ZERO,
            inlined!(|k, p| scale * p * ((read(s, before, k, T::ZERO) + read(s, after, k, T::ZERO)) - mean_g)),
        );
        // The gradient of a class with more than half the probability is minus the sum of the others.
        if self.sum.rest < 1.0
            && let Some(top) = position(s, self.logits, self.sum.max)
        {
            out[top] = T::ZERO;
            let others = row_total(s, out, T::ZERO, inlined!(|_, g| g));
            out[top] = T::from_f64(0.0 * mean - others);
        }
    }
}

/// The softmax of a row, times 2^DIGITS, from exponentials that are taken once.
#[inline(always)]
fn softmax<T: Real, S: Simd<T>>(s: S, row: &[T], probabilities: &mut [T]) -> RowSum<T> {
    let mut row = RowIo::new(row, probabilities);
    let (sum, pivot) = RowSum::sweep(s, &mut row);
    let scale = sum.scale(pivot, T::SCALE_UP.to_f64());
    row.finish(s, inlined!(|_, e| scale.of(s, e)));
    sum
}

/// The divergence of two positions with a given difference of their log-sum-exps, and with `GRAD` also `g` and its
/// means, times `upstream`.
#[inline(always)]
fn swept<const GRAD: bool, T: Real, S: Simd<T>>(
    s: S,
    one: &mut Position<'_, T>,
    other: &mut Position<'_, T>,
    [shift, upstream]: [f64; 2],
) -> f64 {
    let upstream = s.splat(T::from_f64(upstream));
    let (zero, len) = (s.splat(T::ZERO), one.logits.len());
    let high = T::from_f64(shift);
    let (high, low) = (s.splat(high), s.splat(T::from_f64(shift - high.to_f64())));
    let mut totals = [0.0; 3];
    let size = short(s, BLOCK);
    for start in (0..len).step_by(size) {
        let mut sums = [zero; 3];
        for k in (start..len.min(start + size)).step_by(S::LANES) {
            let logits = [read(s, one.logits, k, -T::INFINITY), read(s, other.logits, k, -T::INFINITY)];
            let (p, q) = (read(s, one.probabilities, k, T::ZERO), read(s, other.probabilities, k, T::ZERO));
            let (divergence, [g, h]) = between::<GRAD, T, S>(s, logits, [p, q], [high, low]);
            sums[0] = sums[0] + divergence;
            if GRAD {
                let (g, h) = (g * upstream, h * upstream);
                write(s, g, one.g[1], k);
                write(s, h, other.g[0], k);
                sums[1] = p.mul_add(g, sums[1]);
                sums[2] = q.mul_add(h, sums[2]);
            }
        }
        for (total, sum) in totals.iter_mut().zip(sums) {
            *total += sum.sum().to_f64();
        }
    }
    let [divergence, mean, other_mean] = totals;
    if GRAD {
        (one.mean_g[1], other.mean_g[0]) = (mean / T::SCALE_UP.to_f64(), other_mean / T::SCALE_UP.to_f64());
    }
    0.5 * divergence / T::SCALE_UP.to_f64()
}
