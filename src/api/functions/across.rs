//! Rows of few classes, taken together: a row a lane, a class a register.

use crate::columns::{ColumnSums, Columns, GROUPS};
use crate::math::Real;
use crate::simd::{Kernel, Simd, write};
use crate::view::{Rows, RowsIo};

/// Softmax of a block of rows, or, where it is `LOG`, its logarithm.
pub(super) struct SoftmaxAcross<'k, T, const LOG: bool> {
    pub(super) rows: RowsIo<'k, T>,
    pub(super) scratch: &'k mut [T],
}

impl<T: Real, const LOG: bool> Kernel<T> for SoftmaxAcross<'_, T, LOG> {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) -> f64 {
        let SoftmaxAcross { mut rows, scratch } = self;
        let (count, classes, none) = (rows.rows(), rows.classes(), s.splat(-T::ONE));
        let mut sums = [ColumnSums::none(s); GROUPS];
        for start in (0..count).step_by(GROUPS * S::LANES) {
            let starts = (start..count).step_by(S::LANES);
            // 1. sums of exponentials, which softmax keeps
            for (g, (sums, i)) in sums.iter_mut().zip(starts.clone()).enumerate() {
                let (logits, stride) = rows.from(i);
                let mut columns = Columns::of(s, scratch, g, classes);
                columns.load(s, logits, stride, S::LANES.min(count - i));
                *sums = if LOG { columns.sums::<false, S>(s, none, &mut ()) } else { columns.exponentiate(s, none) };
            }
            // 2. results
            for (g, (sums, i)) in sums.iter().zip(starts).enumerate() {
                let (mut columns, results) = (Columns::of(s, scratch, g, classes), &mut rows.target()[i * classes..]);
                if LOG {
                    columns.store_log_softmax(s, *sums, results, S::LANES.min(count - i));
                } else {
                    columns.store_softmax(s, *sums, results, S::LANES.min(count - i));
                }
            }
        }
        0.0
    }
}

/// Log-sum-exp of a block of rows.
pub(super) struct LogSumExpAcross<'k, T> {
    pub(super) logits: Rows<'k, T>,
    pub(super) scratch: &'k mut [T],
    pub(super) out: &'k mut [T],
}

impl<T: Real> Kernel<T> for LogSumExpAcross<'_, T> {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) -> f64 {
        let LogSumExpAcross { logits, scratch, out } = self;
        let (rows, classes, none) = (logits.rows(), logits.classes(), s.splat(-T::ONE));
        let mut sums = [ColumnSums::none(s); GROUPS];
        for start in (0..rows).step_by(GROUPS * S::LANES) {
            let starts = (start..rows).step_by(S::LANES);
            // 1. sums of exponentials
            for (g, (sums, i)) in sums.iter_mut().zip(starts.clone()).enumerate() {
                let (logits, stride) = logits.from(i);
                let mut columns = Columns::of(s, scratch, g, classes);
                columns.load(s, logits, stride, S::LANES.min(rows - i));
                *sums = columns.sums::<false, S>(s, none, &mut ());
            }
            // 2. their logarithms
            for (g, (sums, i)) in sums.iter().zip(starts).enumerate() {
                write(s, Columns::of(s, scratch, g, classes).logsumexp(s, *sums), out, i);
            }
        }
        0.0
    }
}
