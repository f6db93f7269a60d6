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
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
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
    }
}

/// Log-sum-exp of a block of rows.
pub(super) struct LogSumExpAcross<'k, T> {
    pub(super) logits: Rows<'k, T>,
    pub(super) scratch: &'k mut [T],
    pub(super) out: &'k mut [T],
}

impl<T: Real> Kernel<T> for LogSumExpAcross<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
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
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::functions::{Apply, Function, LogSumExp};
    use crate::columns::scratch_len;
    use crate::simd::Isa;

    const ROWS: usize = 4 * 16 + 3;

    /// Log-sum-exp, softmax and log-softmax of rows, taken together or one by one.
    fn all<T: Real>(isa: Isa, logits: &[T], classes: usize, across: bool) -> [Vec<T>; 3] {
        let (count, mut scratch) = (logits.len() / classes, vec![T::NAN; scratch_len(classes)]);
        let (scratch, rows) = (&mut scratch[..], Rows::packed(logits, count, classes));
        let (mut sums, mut p, mut log_p) = (vec![T::ZERO; count], logits.to_vec(), vec![T::ZERO; logits.len()]);
        if across {
            T::dispatch(isa, LogSumExpAcross { logits: rows, scratch, out: &mut sums });
            T::dispatch(isa, SoftmaxAcross::<_, false> { rows: RowsIo::over(&mut p, count, classes), scratch });
            T::dispatch(isa, SoftmaxAcross::<_, true> { rows: RowsIo::beside(rows, &mut log_p), scratch });
        } else {
            T::dispatch(isa, LogSumExp { logits: rows, out: &mut sums });
            let function = Function::Softmax;
            T::dispatch(isa, Apply { function, rows: RowsIo::over(&mut p, count, classes), scratch });
            let function = Function::LogSoftmax;
            T::dispatch(isa, Apply { function, rows: RowsIo::beside(rows, &mut log_p), scratch });
        }
        [sums, p, log_p]
    }

    fn check<T: Real>(tolerance: f64, edge: f64) {
        let special = [0.0, -0.0, edge, -edge, f64::NEG_INFINITY, f64::INFINITY, f64::NAN, 17.0, 1e4];
        for classes in 1..=64 {
            let number = |i: usize| match (i * 31 + classes) % 41 {
                0..3 => special[(i * 31 + classes) % special.len()],
                _ => ((i * 7919) % 1009) as f64 * 0.017 - 8.0,
            };
            let logits: Vec<T> = (0..ROWS * classes).map(|i| T::from_f64(number(i))).collect();
            for isa in Isa::available() {
                let truth = all(isa, &logits, classes, false);
                for count in [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 48, 63, 64, 65, ROWS] {
                    let ours = all(isa, &logits[..count * classes], classes, true);
                    for (i, (ours, truth)) in ours.iter().zip(&truth).enumerate() {
                        for (k, (a, b)) in ours.iter().zip(truth).enumerate() {
                            let (a, b) = (a.to_f64(), b.to_f64());
                            // The sum of a maximum and what may nearly cancel it errs by as much as they.
                            let size = if i == 0 { b.abs().max(edge) } else { b.abs() };
                            let same =
                                a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= tolerance * size + 1e-36;
                            assert!(same, "{} c={classes} {count} rows, {i} at {k}: {a:e} {b:e}", isa.name());
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn together_rows_are_what_they_are_one_by_one() {
        check::<f32>(1e-6, 88.0);
        check::<f64>(4e-15, 709.0);
    }
}
