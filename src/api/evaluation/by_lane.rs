//! Rows of few classes by lane: one row per lane, one class per register.

use super::{Block, Place};
use crate::losses::{GroupSums, LaneRowStats};
use crate::math::Real;
use crate::simd::{Kernel, Lanes, Mask, Simd, inlined, lanes_of, write};
use crate::tile::{Tile, for_groups};
use std::ops::Range;

/// The statistics of a block of rows.
pub(super) struct BlockByLane<'k, T> {
    pub(super) block: Block<'k, T>,
    pub(super) scratch: &'k mut [T],
}

impl<T: Real> Kernel<T> for BlockByLane<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(mut self, s: S) {
        let Block { first, logits, target, .. } = self.block;
        let (count, classes) = (logits.rows(), logits.columns());
        for_groups(
            s,
            [count, classes],
            GroupSums::none(s),
            &mut self,
            // 1. sums of exponentials
            inlined!(|work, g, rows| {
                let (logits, stride) = logits.from(rows.start);
                let mut tile = Tile::of(s, work.scratch, g, classes);
                tile.load_called(s, logits, stride, rows.len());
                GroupSums::of(s, &mut tile, target.register(s, first + rows.start, rows.len()))
            }),
            // 2. statistics
            inlined!(|work, g, rows, sums| {
                let stats = sums.stats(s, &Tile::of(s, work.scratch, g, classes));
                work.block.place.write(s, rows, sums.class, stats);
            }),
        );
    }
}

impl<T: Real> Place<'_, T> {
    /// Writes the statistics of a group of rows.
    #[inline(always)]
    pub(super) fn write<S: Simd<T>>(&mut self, s: S, rows: Range<usize>, class: S::V, stats: LaneRowStats<S::V>) {
        let (zero, i) = (s.splat(T::ZERO), rows.start);
        // 1. numbers; an ignored row has no loss
        write(s, stats.loss.zero_where(class.lt(zero)), &mut self.loss[..rows.end], i);
        write(s, stats.logsumexp, &mut self.logsumexp[..rows.end], i);
        write(s, stats.entropy, &mut self.entropy[..rows.end], i);
        write(s, stats.confidence, &mut self.confidence[..rows.end], i);
        // 2. predictions; an ignored row has class -1 and is never correct
        let is_correct = S::V::select(class.lt(zero), s.splat(T::NAN), class).eq(stats.argmax).bits();
        for (lane, correct) in self.correct[rows.clone()].iter_mut().enumerate() {
            *correct = is_correct >> lane & 1 == 1;
        }
        for (argmax, top) in self.argmax[rows].iter_mut().zip(lanes_of(s, stats.argmax).as_ref()) {
            *argmax = top.to_f64() as i64;
        }
    }
}
