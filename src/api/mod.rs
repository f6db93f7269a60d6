//! The public functions: they check the arguments, dispatch to an instruction set, share rows among threads, and reduce
//! the losses. No memory that the caller keeps is written before all checks have passed.

mod columns;
mod contrastive;
mod curvature;
mod distributions;
mod epoch;
mod evaluation;
mod functions;
mod gaussian;
mod grad_output;
mod linear_cross_entropy;
mod long_rows;
mod penalties;
mod points;
mod rows;
mod summed;
mod token_logprobs;

pub use columns::{BlockPlaces, ColumnBlock, ColumnPlaces, Columns, value_by_column};
pub use contrastive::{PairGrads, PairLoss, PairedRows, info_nce, siglip_loss};
pub use curvature::{Curvature, HessOptions, HessScale};
pub use distributions::{
    Measure, MeasureInput, MeasureKind, Variable, measure_value, measure_value_and_grads, weighted_measure_value,
    weighted_measure_value_and_grads,
};
pub use epoch::{CheckedEpoch, Epoch, Parameters};
pub use evaluation::{SoftmaxStats, Tally, softmax_stats};
pub use functions::{Function, apply, logsumexp};
pub use gaussian::{GaussianObjective, gaussian_value_and_grads};
pub use grad_output::{GradOutput, GradScale};
pub use linear_cross_entropy::{LinearGrads, LinearObjective, linear_value, linear_value_and_grads};
pub use penalties::{
    Groups, Neighbours, js_smoothness, js_smoothness_with_grad, parity_penalty, parity_penalty_with_grad,
};
pub use points::{PointNumbers, PointObjective};
pub use rows::{RowObjective, Targets};
pub use token_logprobs::TokenObjective;

#[cfg(feature = "python")]
pub(crate) use functions::apply_to;
#[cfg(feature = "python")]
pub(crate) use gaussian::gaussian_value_and_grads_of;
#[cfg(feature = "python")]
pub(crate) use penalties::{js_smoothness_with_grad_of, parity_penalty_with_grad_of};

use crate::error::{Error, Result};
use crate::losses::{Domain, OfSum};
use crate::math::Real;
use crate::memory;
use crate::parallel;
use crate::rows::RowSum;
use crate::simd::{Isa, Kernel, Simd};
use crate::storage::{Place, Places, Storage, StoredIo, StoredRows};
use crate::view::{Rows, RowsIo};

/// How the losses of rows or points are combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduction {
    /// No reduction: each loss times its sample weight.
    None,
    /// Their weighted mean; 0 if all weights are 0.
    Mean,
    /// Their weighted sum.
    Sum,
}

/// The loss after the reduction, in nats.
#[derive(Clone, Debug, PartialEq)]
pub enum Loss<T> {
    /// One number, accumulated in double precision.
    Scalar(f64),
    /// One loss per row or per point.
    Each(Vec<T>),
}

/// A loss with its targets, weights and options: a function of the logits, which [`value`] and [`value_and_grad`] evaluate.
pub trait Objective<T: Real>: Sync {
    /// The name of the logits in errors, and their domain.
    fn inputs(&self) -> (&'static str, Domain) {
        ("logits", Domain::Reals)
    }

    /// Checks the shapes of targets and weights against that of the logits, and the weights.
    ///
    /// # Errors
    /// The first error found.
    fn check(&self, rows: usize, classes: usize) -> Result<()>;

    /// Checks every target, if this takes a separate pass. It is needed only if a sum is NaN: an element whose target
    /// or input is outside its domain has a loss of NaN.
    ///
    /// # Errors
    /// The first target outside the domain.
    fn check_targets(&self, _: Isa) -> Result<()> {
        Ok(())
    }

    /// Whether the logits have a domain, which [`check_logits`](Self::check_logits) checks before the pass.
    fn has_domain(&self) -> bool {
        false
    }

    /// Checks a block of rows, the first of which is row `first`, against the domain of the loss.
    ///
    /// # Errors
    /// [`Error::Value`](crate::Error::Value) for the first number outside.
    fn check_logits(&self, _isa: Isa, _first: usize, _logits: Rows<'_, T>) -> Result<()> {
        Ok(())
    }

    /// Whether each row is shared among all threads, one row after the other.
    fn splits_rows(&self, _classes: usize) -> bool {
        false
    }

    /// Whether a row counts. One that does not has gradient zero, whatever its logits are.
    fn counts(&self, _isa: Isa, _row: usize, _classes: usize) -> bool {
        true
    }

    /// The number of losses of a row.
    fn losses_per_row(&self, classes: usize) -> usize;

    /// The divisor of the mean.
    fn divisor(&self, isa: Isa, rows: usize, classes: usize) -> f64;

    /// The loss as a function of sums of exponentials, if these suffice: then the logits of a row need not be in memory
    /// all at once.
    fn summed(&self) -> Option<&dyn SummedRows<T>> {
        None
    }

    /// The sum of the losses of a block of rows, which starts at row `first`; `each` receives the individual losses.
    fn value(&self, isa: Isa, first: usize, logits: Rows<'_, T>, each: Option<&mut [T]>) -> f64;

    /// Like [`value`](Self::value), and writes the gradient, scaled.
    fn value_and_grad(
        &self,
        isa: Isa,
        first: usize,
        rows: RowsIo<'_, T>,
        scale: GradScale<'_, T>,
        each: Option<&mut [T]>,
    ) -> f64;
}

/// Rows whose losses and gradients follow from the sums of their exponentials.
pub trait SummedRows<T>: Sync {
    /// The class of a row; `None` if the row does not count.
    fn class(&self, row: usize) -> Option<usize>;

    /// Loss and gradient of a row, times its weight, from its sum, its class and the logit of the class.
    fn of_sum(&self, row: usize, sum: RowSum<T>, class: usize, logit: T) -> OfSum;
}

/// A loss that also gives the diagonal of its Hessian, which [`value_grad_hess`] evaluates.
pub trait CurvedObjective<T: Real>: Objective<T> {
    /// Like [`value_and_grad`](Objective::value_and_grad), and writes the diagonal of the Hessian, scaled.
    fn value_grad_hess(
        &self,
        isa: Isa,
        first: usize,
        rows: RowsIo<'_, T>,
        hess: (&mut [T], HessScale),
        scale: GradScale<'_, T>,
        each: Option<&mut [T]>,
    ) -> f64;

    /// Whether logits that stand a class at a time are read where they lie; with the Hessian that is wanted too.
    fn goes_by_column(&self, _classes: usize, _hess: Option<Curvature>) -> bool {
        false
    }

    /// The sum of the losses of a block of such rows; writes the derivatives that are wanted.
    fn by_column(&self, _: Isa, _first: usize, _: ColumnBlock<'_, T>, _: GradScale<'_, T>, _: Option<&mut [T]>) -> f64 {
        unreachable!("`goes_by_column` has been asked")
    }

    /// Raises the diagonals of a block of rows to a least number, but for what does not count.
    fn raise(&self, isa: Isa, first: usize, classes: usize, hess: &mut [T], least: T);
}

/// The loss of all rows.
///
/// # Errors
/// The errors of [`Objective::check`] and [`Objective::check_targets`], logits outside their domain, an unknown
/// `XENTRS_ISA`.
pub fn value<S: Storage>(
    objective: &dyn Objective<S::Real>,
    logits: Rows<'_, S>,
    reduction: Reduction,
) -> Result<Loss<S::Real>> {
    value_of(objective, S::rows(logits), reduction)
}

pub(crate) fn value_of<T: Real>(
    objective: &dyn Objective<T>,
    logits: StoredRows<'_, T>,
    reduction: Reduction,
) -> Result<Loss<T>> {
    let (isa, rows, classes) = (Isa::active()?, logits.rows(), logits.columns());
    objective.check(rows, classes)?;
    if classes == 0 {
        return Ok(of_nothing(objective, reduction, rows));
    }
    check_logits(objective, isa, logits)?;
    let divisor = divisor(objective, isa, reduction, rows, classes);
    if divisor == 0.0 {
        check_numbers(objective, isa, logits)?;
        return Ok(Loss::Scalar(0.0));
    }
    let size = summed::block_rows(objective, rows, classes);
    let summed = summed::of_values(objective, &logits);
    reduce(objective, reduction, rows, classes, divisor, |each| {
        let blocks = with_losses(logits.blocks(size), each, size * objective.losses_per_row(classes));
        let total = parallel::sum(blocks, shared(objective, rows, classes), |(b, logits, each)| match summed {
            Some(summed) => summed::value(isa, summed, b * size, logits, each),
            None => logits.widened(isa, |logits| objective.value(isa, b * size, logits, each)),
        });
        // The data is read only once: it is checked only if the sum is NaN.
        if total.is_nan() {
            check_numbers(objective, isa, logits)?;
        }
        Ok(total)
    })
}

/// The loss of all rows, and its gradient with respect to the logits, times `grad_output`. The gradient is written in
/// place or to a separate output, in the type of the logits or of the computation.
///
/// # Errors
/// The errors of [`value`], and [`Error::Shape`] unless `grad_output` fits the losses. On an error nothing is written,
/// except to a [fresh](RowsIo::fresh) output.
pub fn value_and_grad<S: Storage, O: Place<S>>(
    objective: &dyn Objective<S::Real>,
    logits: RowsIo<'_, S, O>,
    reduction: Reduction,
    grad_output: GradOutput<'_, S::Real>,
) -> Result<Loss<S::Real>> {
    value_and_grad_of(objective, O::rows_io(logits), reduction, grad_output)
}

pub(crate) fn value_and_grad_of<T: Real>(
    objective: &dyn Objective<T>,
    mut logits: StoredIo<'_, T>,
    reduction: Reduction,
    grad_output: GradOutput<'_, T>,
) -> Result<Loss<T>> {
    let (isa, rows, classes) = (Isa::active()?, logits.rows(), logits.columns());
    grad_output.check(rows * objective.losses_per_row(classes))?;
    if grad_output.is_zero() || classes == 0 {
        let loss = value_of(objective, logits.source(), reduction)?;
        logits.target().clear();
        return Ok(loss);
    }
    let (divisor, unchecked) = before_writing(objective, isa, &logits, reduction)?;
    if divisor == 0.0 {
        logits.target().clear();
        return Ok(Loss::Scalar(0.0));
    }
    let scale = grad_output.over(divisor);
    let size = summed::block_rows(objective, rows, classes);
    let summed = summed::of_grads(objective, &logits);
    reduce(objective, reduction, rows, classes, divisor, |each| {
        let blocks = with_losses(logits.blocks(size), each, size * objective.losses_per_row(classes));
        let total = parallel::sum(blocks, shared(objective, rows, classes), |(b, rows, each)| match summed {
            Some(summed) => summed::value_and_grad(isa, summed, b * size, rows, scale, each),
            None => rows.filled(isa, |rows| objective.value_and_grad(isa, b * size, rows, scale, each)),
        });
        check_if_nan(objective, isa, unchecked, total)
    })
}

/// The loss of all rows, its gradient, and the diagonal of its Hessian, or what stands for it, which is written to
/// `hess`.
///
/// # Errors
/// The errors of [`value_and_grad`], and [`Error::Shape`] unless `hess` has one element per logit.
pub fn value_grad_hess<S: Storage, O: Place<S>>(
    objective: &dyn CurvedObjective<S::Real>,
    logits: RowsIo<'_, S, O>,
    hess: &mut [O],
    reduction: Reduction,
    options: HessOptions,
) -> Result<Loss<S::Real>> {
    value_grad_hess_of(objective, O::rows_io(logits), O::places(hess), reduction, options)
}

pub(crate) fn value_grad_hess_of<T: Real>(
    objective: &dyn CurvedObjective<T>,
    mut logits: StoredIo<'_, T>,
    mut hess: Places<'_, T>,
    reduction: Reduction,
    options: HessOptions,
) -> Result<Loss<T>> {
    let (isa, rows, classes) = (Isa::active()?, logits.rows(), logits.columns());
    if hess.len() != rows * classes {
        return Err(Error::Shape { name: "hess", expected: vec![rows, classes], got: vec![hess.len()] });
    }
    if classes == 0 {
        return value_of(objective, logits.source(), reduction);
    }
    let (divisor, unchecked) = before_writing(objective, isa, &logits, reduction)?;
    if divisor == 0.0 {
        logits.target().clear();
        hess.clear();
        return Ok(Loss::Scalar(0.0));
    }
    let size = summed::block_rows(objective, rows, classes);
    let (scale, hess_scale) = (GradScale::over(divisor), options.over(divisor));
    let block = |isa, first: usize, mut rows: RowsIo<'_, T>, hess: &mut [T], each: Option<&mut [T]>| {
        let total = if options.curvature == Curvature::Gradient {
            let total = objective.value_and_grad(isa, first, rows.again(), scale, each);
            let factor = T::from_f64(options.scale);
            let size = |x: T| if x < T::ZERO { -x } else { x };
            hess.iter_mut().zip(rows.target()).for_each(|(hess, grad)| *hess = size(*grad) * factor);
            total
        } else {
            objective.value_grad_hess(isa, first, rows, (hess, hess_scale), scale, each)
        };
        if let Some(least) = options.floor {
            objective.raise(isa, first, classes, hess, T::from_f64(least));
        }
        total
    };
    reduce(objective, reduction, rows, classes, divisor, |each| {
        let blocks = logits.blocks(size).map(|rows| {
            let hess = hess.take(rows.rows() * classes);
            (rows, hess)
        });
        let blocks = with_losses(blocks, each, size * objective.losses_per_row(classes));
        let total = parallel::sum(blocks, shared(objective, rows, classes), |(b, (rows, hess), each)| {
            rows.filled(isa, |rows| hess.results(isa, |hess| block(isa, b * size, rows, hess, each)))
        });
        check_if_nan(objective, isa, unchecked, total)
    })
}

/// Runs every check that must precede writing. If the output is a fresh array, the checks of numbers are deferred until
/// after the pass, and the unchecked rows are returned.
fn before_writing<'a, T: Real>(
    objective: &dyn Objective<T>,
    isa: Isa,
    logits: &StoredIo<'a, T>,
    reduction: Reduction,
) -> Result<(f64, Option<StoredRows<'a, T>>)> {
    let (rows, classes) = (logits.rows(), logits.columns());
    objective.check(rows, classes)?;
    check_logits(objective, isa, logits.source())?;
    let divisor = divisor(objective, isa, reduction, rows, classes);
    let unchecked = logits.apart().filter(|_| logits.is_fresh() && divisor != 0.0);
    if unchecked.is_none() {
        check_numbers(objective, isa, logits.source())?;
    }
    Ok((divisor, unchecked))
}

/// Runs the deferred checks if the sum of the losses is NaN.
fn check_if_nan<T: Real>(
    objective: &dyn Objective<T>,
    isa: Isa,
    unchecked: Option<StoredRows<'_, T>>,
    total: f64,
) -> Result<f64> {
    match unchecked {
        Some(logits) if total.is_nan() => check_numbers(objective, isa, logits).map(|()| total),
        _ => Ok(total),
    }
}

/// Checks targets and logits against the domain of the loss.
#[cold]
fn check_numbers<T: Real>(objective: &dyn Objective<T>, isa: Isa, logits: StoredRows<'_, T>) -> Result<()> {
    objective.check_targets(isa)?;
    let (name, domain) = objective.inputs();
    if domain == Domain::Reals {
        return Ok(());
    }
    let (rows, classes) = (logits.rows(), logits.columns());
    let size = parallel::block_rows(classes);
    first_error(rows, size, rows * classes, |first, rows| {
        logits.part(first, rows).widened(isa, |logits| {
            let check = |numbers: &[T]| check_domain(isa, name, domain, None, numbers);
            logits.with_flat(check).map_err(|error| error.moved(first * classes))
        })
    })
}

/// Refuses a loss whose inputs have a domain: `linear_cross_entropy` cannot check logits that it never stores.
fn check_takes_logits<T: Real>(objective: &dyn Objective<T>) -> Result<()> {
    let (name, domain) = objective.inputs();
    if domain == Domain::Reals && !objective.has_domain() {
        return Ok(());
    }
    Err(Error::parameter("loss", "one of logits", format!("one whose {name} have a domain")))
}

/// Checks all rows against the domain of the loss, if it has one.
fn check_logits<T: Real>(objective: &dyn Objective<T>, isa: Isa, logits: StoredRows<'_, T>) -> Result<()> {
    if !objective.has_domain() {
        return Ok(());
    }
    let (rows, classes) = (logits.rows(), logits.columns());
    first_error(rows, parallel::block_rows(classes), rows * classes, |first, rows| {
        logits.part(first, rows).widened(isa, |rows| objective.check_logits(isa, first, rows))
    })
}

/// Checks `len` rows or points in blocks of `size`; the error of the first faulty block is returned.
fn first_error(
    len: usize,
    size: usize,
    elements: usize,
    check: impl Fn(usize, usize) -> Result<()> + Sync,
) -> Result<()> {
    let blocks = (0..len.div_ceil(size)).map(|b| (b * size, size.min(len - b * size)));
    parallel::try_for_each(blocks, elements, |(first, rows)| check(first, rows))
}

/// Returns an error for the first number outside a domain, the ignored one excepted.
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

/// The index of the first number outside a domain.
struct Outside<'k, T> {
    domain: Domain,
    ignored: Option<T>,
    numbers: &'k [T],
}

impl<T: Real> Kernel<T> for Outside<'_, T> {
    type Output = Option<usize>;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) -> Option<usize> {
        self.domain.first_outside(s, self.ignored, self.numbers)
    }
}

/// The loss of rows without classes, however many they are: no row is looked at.
fn of_nothing<T: Real>(objective: &dyn Objective<T>, reduction: Reduction, rows: usize) -> Loss<T> {
    match reduction {
        Reduction::None => Loss::Each(memory::zeros(rows * objective.losses_per_row(0))),
        Reduction::Mean | Reduction::Sum => Loss::Scalar(0.0),
    }
}

/// The number of elements that threads share by rows; 0 if each row is shared.
fn shared<T: Real>(objective: &dyn Objective<T>, rows: usize, classes: usize) -> usize {
    if objective.splits_rows(classes) { 0 } else { rows * classes }
}

fn divisor<T: Real>(objective: &dyn Objective<T>, isa: Isa, reduction: Reduction, rows: usize, classes: usize) -> f64 {
    if reduction == Reduction::Mean { objective.divisor(isa, rows, classes) } else { 1.0 }
}

/// Runs `sum`, with a place for the individual losses if there is no reduction, and applies the reduction.
fn reduce<T: Real>(
    objective: &dyn Objective<T>,
    reduction: Reduction,
    rows: usize,
    classes: usize,
    divisor: f64,
    sum: impl FnOnce(Option<&mut [T]>) -> Result<f64>,
) -> Result<Loss<T>> {
    if reduction == Reduction::None {
        let mut losses = memory::zeros(rows * objective.losses_per_row(classes));
        sum(Some(&mut losses))?;
        Ok(Loss::Each(losses))
    } else {
        Ok(Loss::Scalar(sum(None)? / divisor))
    }
}

/// Numbers the blocks, and gives each its part of the losses.
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
