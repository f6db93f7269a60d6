//! Rows of few classes by lane: one row per lane, one class per register.

use crate::math::Real;
use crate::simd::{Kernel, Simd, inlined, write};
use crate::tile::{LaneSums, Tile, for_groups};
use crate::view::{Rows, RowsIo};

/// Softmax of a block of rows; with `LOG` its logarithm.
pub(super) struct SoftmaxByLane<'k, T, const LOG: bool> {
    pub(super) rows: RowsIo<'k, T>,
    pub(super) scratch: &'k mut [T],
}

impl<T: Real, const LOG: bool> Kernel<T> for SoftmaxByLane<'_, T, LOG> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(mut self, s: S) {
        let (count, classes) = (self.rows.rows(), self.rows.columns());
        for_groups(
            s,
            [count, classes],
            [s.splat(T::ZERO); 2],
            &mut self,
            // 1. sums of exponentials; softmax keeps the exponentials
            inlined!(|work, g, rows| {
                let (logits, stride) = work.rows.from(rows.start);
                let mut tile = Tile::of(s, work.scratch, g, classes);
                tile.load(s, logits, stride, rows.len());
                if LOG {
                    let sums = tile.sums::<false>(s, None, &mut ());
                    [sums.max, sums.rest]
                } else {
                    [tile.exponentiate_all(s); 2]
                }
            }),
            // 2. results
            inlined!(|work, g, rows, &[first, rest]| {
                let mut tile = Tile::of(s, work.scratch, g, classes);
                let results = &mut work.rows.target()[rows.start * classes..];
                if LOG {
                    tile.store_log_softmax(s, [first, rest], results, rows.len());
                } else {
                    tile.store_softmax(s, first, results, rows.len());
                }
            }),
        );
    }
}

/// Log-sum-exp of a block of rows.
pub(super) struct LogSumExpByLane<'k, T> {
    pub(super) logits: Rows<'k, T>,
    pub(super) scratch: &'k mut [T],
    pub(super) out: &'k mut [T],
}

impl<T: Real> Kernel<T> for LogSumExpByLane<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(mut self, s: S) {
        let (count, classes) = (self.logits.rows(), self.logits.columns());
        for_groups(
            s,
            [count, classes],
            LaneSums::none(s),
            &mut self,
            inlined!(|work, g, rows| {
                let (logits, stride) = work.logits.from(rows.start);
                let mut tile = Tile::of(s, work.scratch, g, classes);
                tile.load_called(s, logits, stride, rows.len());
                tile.sums::<false>(s, None, &mut ())
            }),
            inlined!(|work, g, rows, sums| {
                let lse = Tile::of(s, work.scratch, g, classes).logsumexp(s, sums);
                write(s, lse, work.out, rows.start);
            }),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::functions::{Apply, Function, LogSumExp, LogSumExpByGroup, SoftmaxByGroup};
    use crate::simd::Isa;
    use crate::tile::scratch_len;

    const ROWS: usize = 4 * 16 + 3;

    #[derive(Clone, Copy, PartialEq)]
    enum Way {
        Lane,
        Group,
        Row,
    }

    /// Log-sum-exp, softmax and log-softmax of rows.
    fn all<T: Real>(isa: Isa, logits: &[T], classes: usize, way: Way) -> [Vec<T>; 3] {
        let (count, mut scratch) = (logits.len() / classes, vec![T::NAN; scratch_len(classes)]);
        let (scratch, rows) = (&mut scratch[..], Rows::packed(logits, count, classes));
        let (mut sums, mut p, mut log_p) = (vec![T::ZERO; count], logits.to_vec(), vec![T::ZERO; logits.len()]);
        if way == Way::Lane {
            T::dispatch(isa, LogSumExpByLane { logits: rows, scratch, out: &mut sums });
            T::dispatch(isa, SoftmaxByLane::<_, false> { rows: RowsIo::over(&mut p, count, classes), scratch });
            T::dispatch(isa, SoftmaxByLane::<_, true> { rows: RowsIo::beside(rows, &mut log_p), scratch });
        } else if way == Way::Group {
            T::dispatch(isa, LogSumExpByGroup { logits: rows, out: &mut sums });
            T::dispatch(isa, SoftmaxByGroup::<_, false>(RowsIo::over(&mut p, count, classes)));
            T::dispatch(isa, SoftmaxByGroup::<_, true>(RowsIo::beside(rows, &mut log_p)));
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
                let truth = all(isa, &logits, classes, Way::Row);
                for count in [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 48, 63, 64, 65, ROWS] {
                    let logits = &logits[..count * classes];
                    let both = [Way::Lane, Way::Group].map(|way| all(isa, logits, classes, way));
                    for (i, (ours, truth)) in both.iter().flat_map(|ours| ours.iter().zip(&truth).enumerate()) {
                        for (k, (a, b)) in ours.iter().zip(truth).enumerate() {
                            let (a, b) = (a.to_f64(), b.to_f64());
                            // log-sum-exp = maximum + ln(1 + rest): if the terms nearly cancel, the error is relative
                            // to their size.
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
    fn rows_by_lane_and_by_group_agree_with_rows_by_row() {
        check::<f32>(1e-6, 88.0);
        check::<f64>(4e-15, 709.0);
    }
}
