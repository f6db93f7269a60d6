//! Statistics of rows of one block: each row is read along its registers, and the sums of a group of rows are finished by
//! lane.

use super::Block;
use crate::losses::LaneRowStats;
use crate::math::{Real, log1p};
use crate::rows::group::{GroupMaxima, GroupSums, group_rows, logsumexp};
use crate::simd::{Kernel, Lanes, MAX_LANES, Simd, lanes_of, position};

/// The statistics of a block of rows.
pub(super) struct BlockByGroup<'k, T>(pub(super) Block<'k, T>);

impl<T: Real> Kernel<T> for BlockByGroup<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        let Block { first, logits, target, mut place, .. } = self.0;
        let (count, size) = (logits.rows(), group_rows(s, logits.columns()));
        for start in (0..count).step_by(size) {
            let rows = start..count.min(start + size);
            let class = target.register(s, first + start, rows.len());
            let classes = lanes_of(s, class);
            let none = S::Array::default();
            let (mut maxima, mut logit, mut margins, mut top) = (GroupMaxima::none(s), none, [none; MAX_LANES], none);
            // 1. maxima
            for (lane, i) in rows.clone().enumerate() {
                let row = logits.row(i);
                maxima.add(s, lane, row);
                // The logit of an ignored row, whose class is -1, is not used.
                logit.as_mut()[lane] = row[classes.as_ref()[lane].to_f64() as usize];
            }
            // 2. sums of exponentials, and where the maximum is
            let (pivots, mut sums) = (maxima.pivots(s), GroupSums::none(s));
            for (lane, i) in rows.clone().enumerate() {
                let row = logits.row(i);
                s.store(sums.add_with_margins(s, lane, &pivots, row), &mut margins[lane]);
                let at = position(s, row, pivots.max.as_ref()[lane]);
                top.as_mut()[lane] = T::from_f64(at.unwrap_or_default() as f64);
            }
            // 3. statistics
            let sums = sums.finish(s, &pivots, &logit);
            let log_partition = log1p(s, sums.rest);
            let stats = LaneRowStats {
                loss: log_partition + sums.margin(s),
                logsumexp: logsumexp(s, &sums, &logits, start),
                entropy: log_partition + sums.scale(s, s.sums(&margins)),
                argmax: S::V::select(sums.rest.eq(sums.rest), s.load(&top), s.splat(-T::ONE)),
                confidence: sums.confidence(s),
            };
            place.write(s, rows, class, stats);
        }
    }
}
