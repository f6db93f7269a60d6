//! Rows of few classes, taken together: a row a lane, a class a register.

use super::{Block, Place};
use crate::columns::{Columns, GROUPS};
use crate::losses::{GroupStats, SpreadSums};
use crate::math::Real;
use crate::simd::{Kernel, Lanes, MAX_LANES, Mask, Simd, read, write};

/// The statistics of a block of rows.
pub(super) struct BlockAcross<'k, T> {
    pub(super) block: Block<'k, T>,
    pub(super) scratch: &'k mut [T],
}

impl<T: Real> Kernel<T> for BlockAcross<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        let BlockAcross { block: Block { first, logits, target, sample_weight, mut place }, scratch } = self;
        let (rows, classes, mut groups) = (logits.rows(), logits.classes(), [SpreadSums::none(s); GROUPS]);
        for start in (0..rows).step_by(GROUPS * S::LANES) {
            let starts = (start..rows).step_by(S::LANES);
            // 1. sums of exponentials
            for (g, (group, i)) in groups.iter_mut().zip(starts.clone()).enumerate() {
                let ((logits, stride), count) = (logits.from(i), S::LANES.min(rows - i));
                let mut columns = Columns::of(s, scratch, g, classes);
                columns.load(s, logits, stride, count);
                *group = SpreadSums::of(s, &mut columns, target.register(s, first + i, count));
            }
            // 2. statistics
            for (g, (group, i)) in groups.iter().zip(starts).enumerate() {
                let sample = match sample_weight {
                    Some(weights) => read(s, &weights[..first + rows], first + i, T::ZERO),
                    None => s.splat(T::ONE),
                };
                let stats = group.stats(s, &Columns::of(s, scratch, g, classes));
                place.write(s, i, sample, group.class, stats);
            }
        }
    }
}

impl<T: Real> Place<'_, T> {
    /// Writes the statistics of a group of rows from row `i` on.
    #[inline(always)]
    fn write<S: Simd<T>>(&mut self, s: S, i: usize, sample: S::V, class: S::V, stats: GroupStats<S::V>) {
        let zero = s.splat(T::ZERO);
        // 1. numbers; a row that does not count has no loss
        let weight = S::V::select(class.lt(zero), zero, sample);
        write(s, S::V::select(weight.eq(zero), zero, stats.loss), self.loss, i);
        write(s, stats.logsumexp, self.logsumexp, i);
        write(s, stats.entropy, self.entropy, i);
        write(s, weight, self.weight, i);
        // 2. answers; an ignored row has none, where -1 is no number of a class
        let is_correct = S::V::select(class.lt(zero), s.splat(T::NAN), class).eq(stats.argmax).bits();
        for (lane, correct) in self.correct[i..].iter_mut().take(S::LANES).enumerate() {
            *correct = is_correct >> lane & 1 == 1;
        }
        let mut tops = [T::ZERO; MAX_LANES];
        s.store(stats.argmax, &mut tops[..S::LANES]);
        for (argmax, top) in self.argmax[i..].iter_mut().zip(&tops[..S::LANES]) {
            *argmax = top.to_f64() as i64;
        }
    }
}
