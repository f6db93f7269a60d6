//! What callers call: check, dispatch, share out, reduce. Nothing is written before everything has been checked.

mod functions;
mod points;
mod rows;
mod stored;

pub use functions::{Function, apply, logsumexp};
pub use points::PointProblem;
pub use rows::{RowProblem, Targets};
pub use stored::{StoredPointProblem, StoredRowProblem};

use crate::error::{Error, Result};
use crate::math::Real;
use crate::parallel;
use crate::simd::Isa;
use crate::storage::{Place, Storage};
use crate::view::{Rows, RowsIo};

/// What becomes of the losses of many rows or points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduction {
    /// Each is kept, times its sample weight.
    None,
    /// Their weighted mean; 0 where no weight is left.
    Mean,
    /// Their weighted sum.
    Sum,
}

/// The loss, as the reduction leaves it, in nats.
#[derive(Clone, Debug, PartialEq)]
pub enum Loss<T> {
    /// One number, accumulated in double precision.
    Scalar(f64),
    /// One a row, or one a point.
    Each(Vec<T>),
}

/// A loss with everything but the logits: what [`value`] and [`value_and_grad`] evaluate.
pub trait Problem<T: Real>: Sync {
    /// Holds everything against the shape of the logits.
    ///
    /// # Errors
    /// The first thing that is wrong.
    fn check(&self, isa: Isa, rows: usize, classes: usize) -> Result<()>;

    /// How many losses a row gives.
    fn losses_per_row(&self, classes: usize) -> usize;

    /// What the mean divides by.
    fn divisor(&self, isa: Isa, rows: usize, classes: usize) -> f64;

    /// The summed losses of a block of rows, the first of which is row `first`; `each` gets them one by one.
    fn value(&self, isa: Isa, first: usize, logits: Rows<'_, T>, each: Option<&mut [T]>) -> f64;

    /// The same, and the gradient, divided.
    fn value_and_grad(&self, isa: Isa, first: usize, rows: RowsIo<'_, T>, divisor: f64, each: Option<&mut [T]>) -> f64;
}

/// A loss that tells the diagonal of its Hessian too: what [`value_grad_hess`] evaluates.
pub trait CurvedProblem<T: Real>: Problem<T> {
    /// What [`value_and_grad`](Problem::value_and_grad) does, and the diagonal of the Hessian, divided.
    fn value_grad_hess(
        &self,
        isa: Isa,
        first: usize,
        rows: RowsIo<'_, T>,
        hess: &mut [T],
        divisor: f64,
        each: Option<&mut [T]>,
    ) -> f64;
}

/// The loss of all rows.
///
/// # Errors
/// What [`Problem::check`] finds, and an unknown `XENTRS_ISA`.
pub fn value<S: Storage>(
    problem: &impl Problem<S::Real>,
    logits: Rows<'_, S>,
    reduction: Reduction,
) -> Result<Loss<S::Real>> {
    let (isa, rows, classes) = (Isa::active()?, logits.rows(), logits.classes());
    problem.check(isa, rows, classes)?;
    let divisor = divisor(problem, isa, reduction, rows, classes);
    if divisor == 0.0 {
        return Ok(Loss::Scalar(0.0));
    }
    let size = parallel::block_rows(classes);
    reduce(problem, reduction, rows, classes, divisor, |each| {
        let blocks = with_losses(logits.blocks(size), each, size * problem.losses_per_row(classes));
        parallel::sum(blocks, rows * classes, |(b, logits, each)| {
            S::widened(isa, logits, |logits| problem.value(isa, b * size, logits, each))
        })
    })
}

/// The loss of all rows, and its gradient with respect to the logits: beside them or over them, in their type or in the one
/// that is computed with.
///
/// # Errors
/// What [`Problem::check`] finds, and an unknown `XENTRS_ISA`; nothing is written then.
pub fn value_and_grad<S: Storage, O: Place<S>>(
    problem: &impl Problem<S::Real>,
    mut logits: RowsIo<'_, S, O>,
    reduction: Reduction,
) -> Result<Loss<S::Real>> {
    let (isa, rows, classes) = (Isa::active()?, logits.rows(), logits.classes());
    problem.check(isa, rows, classes)?;
    let divisor = divisor(problem, isa, reduction, rows, classes);
    if divisor == 0.0 {
        logits.target().fill(O::default());
        return Ok(Loss::Scalar(0.0));
    }
    let size = parallel::block_rows(classes);
    reduce(problem, reduction, rows, classes, divisor, |each| {
        let blocks = with_losses(logits.blocks(size), each, size * problem.losses_per_row(classes));
        parallel::sum(blocks, rows * classes, |(b, rows, each)| {
            O::filled(isa, rows, |rows| problem.value_and_grad(isa, b * size, rows, divisor, each))
        })
    })
}

/// The loss of all rows, its gradient, and the diagonal of its Hessian, which is written to `hess`.
///
/// # Errors
/// As of [`value_and_grad`], and [`Error::Shape`] where `hess` has not one place a logit.
pub fn value_grad_hess<S: Storage, O: Place<S>>(
    problem: &impl CurvedProblem<S::Real>,
    mut logits: RowsIo<'_, S, O>,
    hess: &mut [O],
    reduction: Reduction,
) -> Result<Loss<S::Real>> {
    let (isa, rows, classes) = (Isa::active()?, logits.rows(), logits.classes());
    if hess.len() != rows * classes {
        return Err(Error::Shape { name: "hess", expected: vec![rows, classes], got: vec![hess.len()] });
    }
    problem.check(isa, rows, classes)?;
    let divisor = divisor(problem, isa, reduction, rows, classes);
    if divisor == 0.0 {
        logits.target().fill(O::default());
        hess.fill(O::default());
        return Ok(Loss::Scalar(0.0));
    }
    let size = parallel::block_rows(classes);
    reduce(problem, reduction, rows, classes, divisor, |each| {
        let blocks = logits.blocks(size).zip(hess.chunks_mut((size * classes).max(1)));
        let blocks = with_losses(blocks, each, size * problem.losses_per_row(classes));
        parallel::sum(blocks, rows * classes, |(b, (rows, hess), each)| {
            O::filled(isa, rows, |rows| {
                O::results(isa, hess, |hess| problem.value_grad_hess(isa, b * size, rows, hess, divisor, each))
            })
        })
    })
}

fn divisor<T: Real>(problem: &impl Problem<T>, isa: Isa, reduction: Reduction, rows: usize, classes: usize) -> f64 {
    if reduction == Reduction::Mean { problem.divisor(isa, rows, classes) } else { 1.0 }
}

/// Runs `sum` with a place for every single loss, where they are wanted, and makes of it what the reduction says.
fn reduce<T: Real>(
    problem: &impl Problem<T>,
    reduction: Reduction,
    rows: usize,
    classes: usize,
    divisor: f64,
    sum: impl FnOnce(Option<&mut [T]>) -> f64,
) -> Result<Loss<T>> {
    if reduction == Reduction::None {
        let mut losses = vec![T::ZERO; rows * problem.losses_per_row(classes)];
        sum(Some(&mut losses));
        Ok(Loss::Each(losses))
    } else {
        Ok(Loss::Scalar(sum(None) / divisor))
    }
}

/// Numbers the blocks, and hands each its part of the losses.
fn with_losses<T, B>(
    blocks: impl ExactSizeIterator<Item = B>,
    losses: Option<&mut [T]>,
    size: usize,
) -> impl ExactSizeIterator<Item = (usize, B, Option<&mut [T]>)> {
    let mut rest = losses;
    blocks.enumerate().map(move |(b, block)| {
        let each = rest.take().map(|losses| {
            let (each, after) = losses.split_at_mut(size.min(losses.len()));
            rest = Some(after);
            each
        });
        (b, block, each)
    })
}
