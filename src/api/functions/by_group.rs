//! Softmax, log-softmax and log-sum-exp of rows of one block: each row is read along its registers, and the sums of a
//! group of rows are finished by lane.

use crate::math::{Real, log1p};
use crate::rows::group::{GroupPivots, GroupSums, group_rows, largest, logsumexp};
use crate::simd::{Kernel, Lanes, Simd, inlined, lanes_of, write};
use crate::view::{Rows, RowsIo};

/// Softmax of a block of rows; with `LOG` its logarithm.
pub(super) struct SoftmaxByGroup<'k, T, const LOG: bool>(pub(super) RowsIo<'k, T>);

impl<T: Real, const LOG: bool> Kernel<T> for SoftmaxByGroup<'_, T, LOG> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        let mut io = self.0.streaming(false);
        let (count, classes) = (io.rows(), io.columns());
        let (size, zero, one) = (group_rows(s, classes), s.splat(T::ZERO), s.splat(T::ONE));
        for start in (0..count).step_by(size) {
            let rows = start..count.min(start + size);
            // 1. maxima
            let mut max = S::Array::default();
            for (lane, i) in rows.clone().enumerate() {
                max.as_mut()[lane] = largest(s, io.row(i, &mut []).source());
            }
            // 2. sums of exponentials; softmax keeps the exponentials
            let (pivots, mut sums) = (GroupPivots::of(s, &max), GroupSums::none(s));
            for (lane, i) in rows.clone().enumerate() {
                let mut row = io.row(i, &mut []);
                if LOG {
                    sums.add(s, lane, &pivots, row.source());
                } else {
                    sums.keep(s, lane, &pivots, &mut row);
                }
            }
            // 3. results
            let sums = sums.finish(s, &pivots, &max);
            let numbers = lanes_of(s, if LOG { log1p(s, sums.rest) } else { sums.scale(s, one) });
            for (lane, i) in rows.enumerate() {
                let mut row = io.row(i, &mut []);
                let (number, max) = (s.splat(numbers.as_ref()[lane]), s.splat(max.as_ref()[lane]));
                if LOG {
                    // Two subtractions keep the digits that one would lose if the maximum is large.
                    row.map(s, T::ZERO, inlined!(|_, z| S::V::select(z.eq(max), zero, z - max) - number));
                } else {
                    row.finish(s, inlined!(|_, e| one.min(e * number)));
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
        let (count, size) = (logits.rows(), group_rows(s, logits.columns()));
        for start in (0..count).step_by(size) {
            let rows = start..count.min(start + size);
            let mut max = S::Array::default();
            for (lane, i) in rows.clone().enumerate() {
                max.as_mut()[lane] = largest(s, logits.row(i));
            }
            let (pivots, mut sums) = (GroupPivots::of(s, &max), GroupSums::none(s));
            for (lane, i) in rows.clone().enumerate() {
                sums.add(s, lane, &pivots, logits.row(i));
            }
            let sums = sums.finish(s, &pivots, &max);
            write(s, logsumexp(s, &sums, &logits, start), &mut out[..rows.end], start);
        }
    }
}
