//! The functions underneath the losses, over arrays.

use super::with_losses;
use crate::error::{Error, Result};
use crate::math::{Real, log_sigmoid, sigmoid, softplus};
use crate::parallel;
use crate::rows;
use crate::simd::{Isa, Kernel, Simd};
use crate::view::{Rows, RowsIo};

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
}

/// Applies a function to rows: beside them or over them.
///
/// # Errors
/// An unknown `XENTRS_ISA`; nothing is written then.
pub fn apply<T: Real>(function: Function, rows: RowsIo<'_, T>) -> Result<()> {
    let (isa, elements, size) = (Isa::active()?, rows.rows() * rows.classes(), parallel::block_rows(rows.classes()));
    let blocks = rows.blocks(size);
    parallel::sum(blocks, elements, |rows| {
        T::with_scratch(rows.scratch_len(), |scratch| T::dispatch(isa, Apply { function, rows, scratch }))
    });
    Ok(())
}

struct Apply<'k, T> {
    function: Function,
    rows: RowsIo<'k, T>,
    scratch: &'k mut [T],
}

impl<T: Real> Kernel<T> for Apply<'_, T> {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) -> f64 {
        let Apply { function, mut rows, scratch } = self;
        match function {
            Function::Softmax => (0..rows.rows()).for_each(|i| rows::softmax(s, &mut rows.row(i, scratch))),
            Function::LogSoftmax => (0..rows.rows()).for_each(|i| rows::log_softmax(s, &mut rows.row(i, scratch))),
            Function::Sigmoid => rows.flat().map(
                s,
                T::ZERO,
                #[inline(always)]
                |_, x| sigmoid(s, x),
            ),
            Function::LogSigmoid => rows.flat().map(
                s,
                T::ZERO,
                #[inline(always)]
                |_, x| log_sigmoid(s, x),
            ),
            Function::Softplus => rows.flat().map(
                s,
                T::ZERO,
                #[inline(always)]
                |_, x| softplus(s, x),
            ),
        }
        0.0
    }
}

/// `logsumexp(z)` of each row: -inf for a row of -inf, +inf where a logit is, NaN where one is.
///
/// # Errors
/// [`Error::Shape`] unless `out` has one place a row; an unknown `XENTRS_ISA`. Nothing is written then.
pub fn logsumexp<T: Real>(logits: Rows<'_, T>, out: &mut [T]) -> Result<()> {
    let (isa, rows, classes) = (Isa::active()?, logits.rows(), logits.classes());
    if out.len() != rows {
        return Err(Error::Shape { name: "out", expected: vec![rows], got: vec![out.len()] });
    }
    let size = parallel::block_rows(classes);
    let blocks = with_losses(logits.blocks(size), Some(out), size);
    parallel::sum(blocks, rows * classes, |(_, logits, out)| T::dispatch(isa, LogSumExp { logits, out }));
    Ok(())
}

struct LogSumExp<'k, T> {
    logits: Rows<'k, T>,
    out: Option<&'k mut [T]>,
}

impl<T: Real> Kernel<T> for LogSumExp<'_, T> {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) -> f64 {
        for (i, out) in self.out.into_iter().flatten().enumerate() {
            *out = rows::logsumexp(s, self.logits.row(i));
        }
        0.0
    }
}
