//! Softmax, log-softmax and log-sum-exp of rows of one block: each row is read along its registers, and the sums of a
//! group of rows are finished by lane.

use crate::math::{Real, log1p};
use crate::rows::group::{GroupMaxima, GroupSums, GroupTotals, function_group_rows, logsumexp};
use crate::simd::{Kernel, Lanes, Simd, inlined, lanes_of, write};
use crate::view::{Rows, RowsIo};

/// Softmax of a block of rows; with `LOG` its logarithm.
pub(super) struct SoftmaxByGroup<'k, T, const LOG: bool>(pub(super) RowsIo<'k, T>);

impl<T: Real, const LOG: bool> Kernel<T> for SoftmaxByGroup<'_, T, LOG> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        let mut io = self.0;
        let (count, classes) = (io.rows(), io.columns());
        let (size, one) = (function_group_rows(s, classes), s.splat(T::ONE));
        for start in (0..count).step_by(size) {
            let rows = start..count.min(start + size);
            // 1. maxima
            let mut maxima = GroupMaxima::none(s);
            for (lane, i) in rows.clone().enumerate() {
                maxima.add(s, lane, io.short_row(i).source());
            }
            let pivots = maxima.pivots(s);
            if LOG {
                // 2. sums of exponentials
                let mut sums = GroupSums::none(s);
                for (lane, i) in rows.clone().enumerate() {
                    sums.add(s, lane, &pivots, io.short_row(i).source());
                }
                // 3. results
                let sums = sums.finish(s, &pivots, &pivots.max);
                let log_partitions = lanes_of(s, log1p(s, sums.rest));
                for (lane, i) in rows.enumerate() {
                    let (max, log_partition) =
                        (s.splat(pivots.max.as_ref()[lane]), s.splat(log_partitions.as_ref()[lane]));
                    // Two subtractions keep the digits that one would lose if the maximum is large.
                    io.short_row(i).finish_source(
                        s,
                        T::ZERO,
                        inlined!(|_, z| (z - max).zero_where(z.eq(max)) - log_partition),
                    );
                }
            } else {
                // 2. exponentials, which are kept, and their totals
                let mut totals = GroupTotals::none(s);
                for (lane, i) in rows.clone().enumerate() {
                    totals.keep(s, lane, &pivots, &mut io.short_row(i));
                }
                // 3. results
                let scales = lanes_of(s, totals.scales(s, &pivots));
                for (lane, i) in rows.enumerate() {
                    let scale = s.splat(scales.as_ref()[lane]);
                    io.short_row(i).finish(s, inlined!(|_, e| one.min(e * scale)));
                }
            }
        }
    }
}

/// Log-sum-exp of a block of rows.
pub(super) struct LogSumExpByGroup<'k, T> {
    pub(super) logits: Rows<'k, T>,
    pub(super) out: &'k mut [T],
}

impl<T: Real> Kernel<T> for LogSumExpByGroup<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        let LogSumExpByGroup { logits, out } = self;
        let (count, size) = (logits.rows(), function_group_rows(s, logits.columns()));
        for start in (0..count).step_by(size) {
            let rows = start..count.min(start + size);
            let mut maxima = GroupMaxima::none(s);
            for (lane, i) in rows.clone().enumerate() {
                maxima.add(s, lane, logits.row(i));
            }
            let (pivots, mut sums) = (maxima.pivots(s), GroupSums::none(s));
            for (lane, i) in rows.clone().enumerate() {
                sums.add(s, lane, &pivots, logits.row(i));
            }
            let sums = sums.finish(s, &pivots, &pivots.max);
            write(s, logsumexp(s, &sums, &logits, start), &mut out[..rows.end], start);
        }
    }
}
