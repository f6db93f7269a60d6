//! Elementary functions of arrays: softmax, sigmoid and others that the losses build on.

mod by_group;
mod by_lane;

use super::long_rows;
use crate::error::{Error, Result};
use crate::math::{self, Real};
use crate::parallel;
use crate::rows::{self, group};
use crate::simd::{Isa, Kernel, Simd, inlined};
use crate::storage::{Place, Storage, StoredIo, StoredRows};
use crate::tile;
use crate::view::{Rows, RowsIo};
use by_group::{LogSumExpByGroup, SoftmaxByGroup};
use by_lane::{LogSumExpByLane, SoftmaxByLane};

/// A function from an array to an array of the same shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// `exp(z) / sum exp(z)`, over each row.
    Softmax,
    /// `z - logsumexp(z)`, over each row.
    LogSoftmax,
    /// `1 / (1 + exp(-x))`, point by point.
    Sigmoid,
    /// `ln sigmoid(x)`, point by point.
    LogSigmoid,
    /// `ln(1 + exp(x))`, point by point.
    Softplus,
    /// `(exp(x) - exp(-x)) / (exp(x) + exp(-x))`, point by point.
    Tanh,
    /// `exp(x)`, point by point: infinite from 88.73 (float64: 709.79) on, subnormal below -87.34 (-708.4).
    Exp,
    /// `ln(x)`, point by point: -inf at 0, NaN below.
    Ln,
    /// `ln(1 + x)`, point by point: -inf at -1, NaN below.
    Log1p,
}

/// Applies a function to rows. The result is written in place or to a separate output, in the type of the rows or of
/// the computation.
///
/// ```
/// use xentrs::{Function, RowsIo, apply};
///
/// # fn main() -> xentrs::Result<()> {
/// let mut x = [-1.0f32, 0.0, 1.0];
/// apply(Function::Log1p, RowsIo::in_place(&mut x, 1, 3)?)?;
/// assert_eq!(x, [f32::NEG_INFINITY, 0.0, std::f32::consts::LN_2]);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// An unknown `XENTRS_ISA`. Then nothing is written.
pub fn apply<S: Storage, O: Place<S>>(function: Function, rows: RowsIo<'_, S, O>) -> Result<()> {
    apply_to(function, O::rows_io(rows))
}

pub(crate) fn apply_to<T: Real>(function: Function, rows: StoredIo<'_, T>) -> Result<()> {
    let (isa, elements, size) = (Isa::active()?, rows.rows() * rows.columns(), parallel::block_rows(rows.columns()));
    if elements == 0 {
        return Ok(());
    }
    let is_of_rows = matches!(function, Function::Softmax | Function::LogSoftmax);
    if is_of_rows && long_rows::are_split(rows.rows(), rows.columns()) {
        for row in rows.blocks(1) {
            row.filled(isa, |row| apply_to_long(isa, function, row));
        }
        return Ok(());
    }
    let blocks = rows.blocks(size);
    parallel::for_each(blocks, elements, |rows| {
        rows.filled(isa, |rows| {
            let classes = rows.columns();
            let is_by_group = is_of_rows && group::are_short_for_softmax::<T>(isa, classes);
            let is_by_lane = is_of_rows && !is_by_group && tile::are_few(classes);
            let scratch = match (is_by_lane, is_by_group) {
                (true, _) => tile::scratch_len(classes),
                (_, true) => 0,
                _ => rows.scratch_len(),
            };
            T::with_scratch(scratch, |scratch| match function {
                Function::Softmax if is_by_lane => T::dispatch(isa, SoftmaxByLane::<_, false> { rows, scratch }),
                Function::LogSoftmax if is_by_lane => T::dispatch(isa, SoftmaxByLane::<_, true> { rows, scratch }),
                Function::Softmax if is_by_group => T::dispatch(isa, SoftmaxByGroup::<_, false>(rows)),
                Function::LogSoftmax if is_by_group => T::dispatch(isa, SoftmaxByGroup::<_, true>(rows)),
                _ => T::dispatch(isa, Apply { function, rows, scratch }),
            })
        })
    });
    Ok(())
}

/// Softmax or log-softmax of one row, on all threads.
fn apply_to_long<T: Real>(isa: Isa, function: Function, mut row: RowsIo<'_, T>) {
    let source = row.apart().map(|rows| rows.row(0));
    if function == Function::Softmax {
        let (sum, parts) = long_rows::keep(isa, source, row.target());
        long_rows::finish(isa, row.target(), &parts, sum, 1.0);
    } else {
        long_rows::log_softmax(isa, source, row.target());
    }
}

struct Apply<'k, T> {
    function: Function,
    rows: RowsIo<'k, T>,
    scratch: &'k mut [T],
}

impl<T: Real> Kernel<T> for Apply<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        /// Applies a function of lanes to all points.
        macro_rules! points {
            ($points:expr, $f:path) => {
                $points.flat().map(s, T::ZERO, inlined!(|_, x| $f(s, x)))
            };
        }
        let Apply { function, mut rows, scratch } = self;
        match function {
            // This is not `for_each`: its closure would be a separate function, without the instruction set.
            Function::Softmax => {
                for i in 0..rows.rows() {
                    rows::softmax(s, &mut rows.row(i, scratch));
                }
            }
            Function::LogSoftmax => {
                for i in 0..rows.rows() {
                    rows::log_softmax(s, &mut rows.row(i, scratch));
                }
            }
            Function::Sigmoid => points!(rows, math::sigmoid),
            Function::LogSigmoid => points!(rows, math::log_sigmoid),
            Function::Softplus => points!(rows, math::softplus),
            Function::Tanh => points!(rows, math::tanh),
            Function::Exp => points!(rows, math::exp),
            Function::Ln => points!(rows, math::ln),
            Function::Log1p => points!(rows, math::log1p),
        }
    }
}

/// `logsumexp(z)` of each row: NaN if a logit is NaN, else +inf if a logit is +inf, and -inf if all are -inf.
///
/// # Errors
/// [`Error::Shape`] unless `out` has one element per row; an unknown `XENTRS_ISA`. Then nothing is written.
pub fn logsumexp<S: Storage>(logits: Rows<'_, S>, out: &mut [S::Real]) -> Result<()> {
    logsumexp_of(S::rows(logits), out)
}

fn logsumexp_of<T: Real>(logits: StoredRows<'_, T>, out: &mut [T]) -> Result<()> {
    let (isa, rows, classes) = (Isa::active()?, logits.rows(), logits.columns());
    if out.len() != rows {
        return Err(Error::Shape { name: "out", expected: vec![rows], got: vec![out.len()] });
    }
    let size = parallel::block_rows(classes);
    if long_rows::are_split(rows, classes) {
        for (out, row) in out.iter_mut().zip(logits.blocks(1)) {
            *out = row.widened(isa, |row| {
                let row = row.row(0);
                T::from_f64(long_rows::sum(isa, row).logsumexp(row))
            });
        }
        return Ok(());
    }
    parallel::for_each(logits.blocks(size).zip(out.chunks_mut(size)), rows * classes, |(logits, out)| {
        logits.widened(isa, |logits| {
            if group::are_short(classes) {
                T::dispatch(isa, LogSumExpByGroup { logits, out })
            } else if tile::are_few(classes) {
                T::with_scratch(tile::scratch_len(classes), |scratch| {
                    T::dispatch(isa, LogSumExpByLane { logits, scratch, out })
                })
            } else {
                T::dispatch(isa, LogSumExp { logits, out })
            }
        })
    });
    Ok(())
}

struct LogSumExp<'k, T> {
    logits: Rows<'k, T>,
    out: &'k mut [T],
}

impl<T: Real> Kernel<T> for LogSumExp<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        for (i, out) in self.out.iter_mut().enumerate() {
            *out = rows::logsumexp(s, self.logits.row(i));
        }
    }
}
