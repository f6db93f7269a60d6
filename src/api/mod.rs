//! What callers call: check, dispatch, share out, reduce. Nothing that a caller sees is written before everything has been
//! checked.

mod distributions;
mod epoch;
mod evaluation;
mod functions;
mod gaussian;
mod linear_cross_entropy;
mod long_rows;
mod penalties;
mod points;
mod rows;
mod stored;

pub use distributions::{Form, Quantity, Question, Variable, measure, measure_and_grad};
pub use epoch::{CheckedEpoch, Epoch, Parameters};
pub use evaluation::{SoftmaxStats, Tally, softmax_stats};
pub use functions::{Function, apply, logsumexp};
pub use gaussian::{GaussianProblem, gaussian_value_and_grads};
pub use linear_cross_entropy::{LinearGrads, LinearProblem, linear_value, linear_value_and_grads};
pub use penalties::{
    Groups, Neighbours, js_smoothness, js_smoothness_with_grad, parity_penalty, parity_penalty_with_grad,
};
pub use points::{PointProblem, PointTargets};
pub use rows::{RowProblem, Targets};
pub use stored::StoredRows;

use crate::error::{Error, Result};
use crate::losses::{Domain, OfSum};
use crate::math::Real;
use crate::parallel;
use crate::rows::RowSum;
use crate::simd::{Isa, Kernel, Lanes, Mask, Simd, read};
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
    /// What the logits are called, and what they may be.
    fn inputs(&self) -> (&'static str, Domain) {
        ("logits", Domain::Reals)
    }

    /// Holds shapes and weights against the shape of the logits.
    ///
    /// # Errors
    /// The first thing that is wrong.
    fn check(&self, rows: usize, classes: usize) -> Result<()>;

    /// Reads every target, where that takes a pass of its own: an element whose target, or whose input, is outside its
    /// domain has a loss of NaN, so a sum that is none need not be asked.
    ///
    /// # Errors
    /// The first target that is none.
    fn check_targets(&self, _: Isa) -> Result<()> {
        Ok(())
    }

    /// Whether some numbers are no logits, and [`check_logits`](Self::check_logits) finds them.
    fn has_domain(&self) -> bool {
        false
    }

    /// Holds a block of rows, the first of which is row `first`, against the domain of the loss.
    ///
    /// # Errors
    /// [`Error::Value`](crate::Error::Value) for the first number outside.
    fn check_logits(&self, _isa: Isa, _first: usize, _logits: Rows<'_, T>) -> Result<()> {
        Ok(())
    }

    /// Whether each row is shared among all threads, so that rows are taken one by one.
    fn splits_rows(&self, _classes: usize) -> bool {
        false
    }

    /// Whether a row has a part in the loss; one that has none has gradient zero, whatever its logits are.
    fn counts(&self, _isa: Isa, _row: usize, _classes: usize) -> bool {
        true
    }

    /// How many losses a row gives.
    fn losses_per_row(&self, classes: usize) -> usize;

    /// What the mean divides by.
    fn divisor(&self, isa: Isa, rows: usize, classes: usize) -> f64;

    /// Its rows one by one, where all that is asked of each follows from the sum of its exponentials, so that its logits
    /// need not be there at once.
    fn summed(&self) -> Option<&dyn SummedRows<T>> {
        None
    }

    /// The summed losses of a block of rows, the first of which is row `first`; `each` gets them one by one.
    fn value(&self, isa: Isa, first: usize, logits: Rows<'_, T>, each: Option<&mut [T]>) -> f64;

    /// The same, and the gradient, divided.
    fn value_and_grad(&self, isa: Isa, first: usize, rows: RowsIo<'_, T>, divisor: f64, each: Option<&mut [T]>) -> f64;
}

/// Rows whose losses and gradients follow from the sums of their exponentials.
pub trait SummedRows<T>: Sync {
    /// The class of a row; none where the row does not count.
    fn class(&self, row: usize) -> Option<usize>;

    /// Loss and gradient of a row, by its sum, its class and the logit of that, times its weight.
    fn of_sum(&self, row: usize, sum: RowSum<T>, class: usize, logit: T) -> OfSum;
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
/// What [`Problem::check`] and [`Problem::check_targets`] find, logits outside their domain, and an unknown `XENTRS_ISA`.
pub fn value<S: Storage>(
    problem: &dyn Problem<S::Real>,
    logits: Rows<'_, S>,
    reduction: Reduction,
) -> Result<Loss<S::Real>> {
    let (isa, rows, classes) = (Isa::active()?, logits.rows(), logits.classes());
    problem.check(rows, classes)?;
    check_logits(problem, isa, logits)?;
    let divisor = divisor(problem, isa, reduction, rows, classes);
    if divisor == 0.0 {
        check_numbers(problem, isa, logits)?;
        return Ok(Loss::Scalar(0.0));
    }
    let size = parallel::block_rows(classes);
    reduce(problem, reduction, rows, classes, divisor, |each| {
        let blocks = with_losses(logits.blocks(size), each, size * problem.losses_per_row(classes));
        let total = parallel::sum(blocks, shared(problem, rows, classes), |(b, logits, each)| {
            S::widened(isa, logits, |logits| problem.value(isa, b * size, logits, each))
        });
        // One pass over the data: what is wrong with it, if anything, is asked only now.
        if total.is_nan() {
            check_numbers(problem, isa, logits)?;
        }
        Ok(total)
    })
}

/// The loss of all rows, and its gradient with respect to the logits: beside them or over them, in their type or in the one
/// that is computed with.
///
/// # Errors
/// As of [`value`]; nothing is written then, unless to a [fresh](RowsIo::fresh) place.
pub fn value_and_grad<S: Storage, O: Place<S>>(
    problem: &dyn Problem<S::Real>,
    mut logits: RowsIo<'_, S, O>,
    reduction: Reduction,
) -> Result<Loss<S::Real>> {
    let (isa, rows, classes) = (Isa::active()?, logits.rows(), logits.classes());
    let (divisor, unchecked) = before_writing(problem, isa, &logits, reduction)?;
    if divisor == 0.0 {
        logits.target().fill(O::default());
        return Ok(Loss::Scalar(0.0));
    }
    let size = parallel::block_rows(classes);
    reduce(problem, reduction, rows, classes, divisor, |each| {
        let blocks = with_losses(logits.blocks(size), each, size * problem.losses_per_row(classes));
        let total = parallel::sum(blocks, shared(problem, rows, classes), |(b, rows, each)| {
            O::filled(isa, rows, |rows| problem.value_and_grad(isa, b * size, rows, divisor, each))
        });
        check_if_nan(problem, isa, unchecked, total)
    })
}

/// The loss of all rows, its gradient, and the diagonal of its Hessian, which is written to `hess`.
///
/// # Errors
/// As of [`value_and_grad`], and [`Error::Shape`] where `hess` has not one place a logit.
pub fn value_grad_hess<S: Storage, O: Place<S>>(
    problem: &dyn CurvedProblem<S::Real>,
    mut logits: RowsIo<'_, S, O>,
    hess: &mut [O],
    reduction: Reduction,
) -> Result<Loss<S::Real>> {
    let (isa, rows, classes) = (Isa::active()?, logits.rows(), logits.classes());
    if hess.len() != rows * classes {
        return Err(Error::Shape { name: "hess", expected: vec![rows, classes], got: vec![hess.len()] });
    }
    let (divisor, unchecked) = before_writing(problem, isa, &logits, reduction)?;
    if divisor == 0.0 {
        logits.target().fill(O::default());
        hess.fill(O::default());
        return Ok(Loss::Scalar(0.0));
    }
    let size = parallel::block_rows(classes);
    reduce(problem, reduction, rows, classes, divisor, |each| {
        let blocks = logits.blocks(size).zip(hess.chunks_mut((size * classes).max(1)));
        let blocks = with_losses(blocks, each, size * problem.losses_per_row(classes));
        let total = parallel::sum(blocks, shared(problem, rows, classes), |(b, (rows, hess), each)| {
            O::filled(isa, rows, |rows| {
                O::results(isa, hess, |hess| problem.value_grad_hess(isa, b * size, rows, hess, divisor, each))
            })
        });
        check_if_nan(problem, isa, unchecked, total)
    })
}

/// Checks what must be known before anything is written: the divisor, and the logits where they, and what they are held
/// against, may be checked after the pass, as their place for results is a fresh one.
fn before_writing<'a, S: Storage, O: Place<S>>(
    problem: &dyn Problem<S::Real>,
    isa: Isa,
    logits: &RowsIo<'a, S, O>,
    reduction: Reduction,
) -> Result<(f64, Option<Rows<'a, S>>)> {
    let (rows, classes) = (logits.rows(), logits.classes());
    problem.check(rows, classes)?;
    check_logits(problem, isa, O::source(logits))?;
    let divisor = divisor(problem, isa, reduction, rows, classes);
    let unchecked = logits.apart().filter(|_| logits.is_fresh() && divisor != 0.0);
    if unchecked.is_none() {
        check_numbers(problem, isa, O::source(logits))?;
    }
    Ok((divisor, unchecked))
}

/// Checks what was not checked before, where the sum of the losses asks for it.
fn check_if_nan<S: Storage>(
    problem: &dyn Problem<S::Real>,
    isa: Isa,
    unchecked: Option<Rows<'_, S>>,
    total: f64,
) -> Result<f64> {
    match unchecked {
        Some(logits) if total.is_nan() => check_numbers(problem, isa, logits).map(|()| total),
        _ => Ok(total),
    }
}

/// Holds targets and logits against what the loss allows.
#[cold]
fn check_numbers<S: Storage>(problem: &dyn Problem<S::Real>, isa: Isa, logits: Rows<'_, S>) -> Result<()> {
    problem.check_targets(isa)?;
    let (name, domain) = problem.inputs();
    if domain == Domain::Reals {
        return Ok(());
    }
    let (rows, classes) = (logits.rows(), logits.classes());
    let size = parallel::block_rows(classes);
    first_error(rows, size, rows * classes, |first, rows| {
        S::widened(isa, logits.part(first, rows), |logits| {
            check_domain(isa, name, domain, None, logits.flat()).map_err(|error| error.moved(first * classes))
        })
    })
}

/// Refuses a loss whose inputs are not logits, which take any number: a layer's outputs are held against no domain.
fn check_takes_logits<T: Real>(problem: &dyn Problem<T>) -> Result<()> {
    let (name, domain) = problem.inputs();
    if domain == Domain::Reals && !problem.has_domain() {
        return Ok(());
    }
    Err(Error::Parameter { name: "loss", expected: "one of logits", got: format!("one whose {name} have a domain") })
}

/// Holds all rows against the domain of the loss, where it has one.
fn check_logits<S: Storage>(problem: &dyn Problem<S::Real>, isa: Isa, logits: Rows<'_, S>) -> Result<()> {
    if !problem.has_domain() {
        return Ok(());
    }
    let (rows, classes) = (logits.rows(), logits.classes());
    first_error(rows, parallel::block_rows(classes), rows * classes, |first, rows| {
        S::widened(isa, logits.part(first, rows), |rows| problem.check_logits(isa, first, rows))
    })
}

/// The first error in blocks of so many of `len` rows, which all threads look through.
fn first_error(
    len: usize,
    size: usize,
    elements: usize,
    check: impl Fn(usize, usize) -> Result<()> + Sync,
) -> Result<()> {
    let blocks = (0..len.div_ceil(size)).map(|b| (b * size, size.min(len - b * size)));
    let wrong = |(first, rows)| f64::from(u8::from(check(first, rows).is_err()));
    if parallel::sum(blocks.clone(), elements, wrong) != 0.0 {
        for (first, rows) in blocks {
            check(first, rows)?;
        }
    }
    Ok(())
}

/// Names the first number outside a domain that is not the ignored one.
fn check_domain<T: Real>(
    isa: Isa,
    name: &'static str,
    domain: Domain,
    ignored: Option<T>,
    numbers: &[T],
) -> Result<()> {
    match T::dispatch(isa, Outside { domain, ignored, numbers }) {
        Some(index) => {
            let (expected, got) = (domain.expected(ignored.is_some()), numbers[index].to_f64());
            Err(Error::Value { name, expected, got, index })
        }
        None => Ok(()),
    }
}

/// The place of the first number outside a domain.
struct Outside<'k, T> {
    domain: Domain,
    ignored: Option<T>,
    numbers: &'k [T],
}

impl<T: Real> Kernel<T> for Outside<'_, T> {
    type Output = Option<usize>;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) -> Option<usize> {
        let zero = s.splat(T::ZERO);
        let mut i = 0;
        while i < self.numbers.len() {
            let mut x = read(s, self.numbers, i, T::ZERO);
            if let Some(ignored) = self.ignored {
                x = S::V::select(x.eq(s.splat(ignored)), zero, x);
            }
            let bits = self.domain.excludes(s, x).bits();
            if bits != 0 {
                return Some(i + bits.trailing_zeros() as usize);
            }
            i += S::LANES;
        }
        None
    }
}

/// The elements that threads share by rows.
fn shared<T: Real>(problem: &dyn Problem<T>, rows: usize, classes: usize) -> usize {
    if problem.splits_rows(classes) { 0 } else { rows * classes }
}

fn divisor<T: Real>(problem: &dyn Problem<T>, isa: Isa, reduction: Reduction, rows: usize, classes: usize) -> f64 {
    if reduction == Reduction::Mean { problem.divisor(isa, rows, classes) } else { 1.0 }
}

/// Runs `sum` with a place for every single loss, where they are wanted, and makes of it what the reduction says.
fn reduce<T: Real>(
    problem: &dyn Problem<T>,
    reduction: Reduction,
    rows: usize,
    classes: usize,
    divisor: f64,
    sum: impl FnOnce(Option<&mut [T]>) -> Result<f64>,
) -> Result<Loss<T>> {
    if reduction == Reduction::None {
        let mut losses = vec![T::ZERO; rows * problem.losses_per_row(classes)];
        sum(Some(&mut losses))?;
        Ok(Loss::Each(losses))
    } else {
        Ok(Loss::Scalar(sum(None)? / divisor))
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
