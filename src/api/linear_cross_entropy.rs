//! The loss of a linear layer's outputs, and its gradients with respect to the layer's inputs, weight and bias. This
//! module distributes the tiles and blocks of [`linear`] among threads, and fixes the order of their sums.
//!
//! Blocks, tiles and their parts depend on the shape alone, and so do the bits of every result. A row that does not
//! count is left out of all products, so that a NaN in it reaches no gradient.

mod blocks;
mod strips;
mod tiles;

use super::{GradOutput, GradScale, Loss, Objective, Reduction, check_takes_logits, divisor, reduce};
use crate::error::{Error, Result};
use crate::linear::{self, Strips};
use crate::math::Real;
use crate::memory;
use crate::simd::{Float, Isa};
use crate::storage::{Storage, StoredRows};
use crate::view::{Rows, RowsIo};

/// A linear layer, and the loss of its outputs.
#[derive(Clone, Copy)]
pub struct LinearObjective<'a, S: Storage> {
    /// The loss of the logits `x weight^T + bias`, with its targets; a loss of probabilities is refused.
    pub loss: &'a dyn Objective<S::Real>,
    /// Inputs, one row of features each.
    pub x: Rows<'a, S>,
    /// One row of features per class.
    pub weight: Rows<'a, S>,
    /// One number per class; all 0 if absent.
    pub bias: Option<&'a [S::Real]>,
}

impl<'a, S: Storage> LinearObjective<'a, S> {
    fn layer(&self) -> Layer<'a, S::Real> {
        let LinearObjective { loss, x, weight, bias } = *self;
        Layer { loss, x: S::rows(x), weight: S::rows(weight), bias }
    }
}

/// The same, of any storage type.
struct Layer<'a, T> {
    loss: &'a dyn Objective<T>,
    x: StoredRows<'a, T>,
    weight: StoredRows<'a, T>,
    bias: Option<&'a [T]>,
}

/// Places for the required gradients, each with the shape of its argument, one row after the other.
#[derive(Debug, Default)]
pub struct LinearGrads<'a, T> {
    /// Of the inputs.
    pub x: Option<&'a mut [T]>,
    /// Of the weight.
    pub weight: Option<&'a mut [T]>,
    /// Of the bias.
    pub bias: Option<&'a mut [T]>,
}

impl<T> LinearGrads<'_, T> {
    fn are_wanted(&self) -> bool {
        self.x.is_some() || self.weight.is_some() || self.bias.is_some()
    }
}

/// The loss of all rows.
///
/// # Errors
/// [`Error::Shape`] unless weight and bias fit `x`, [`Error::Parameter`] for a loss of probabilities, and the errors of
/// [`value`](super::value).
pub fn linear_value<S: Storage>(objective: &LinearObjective<'_, S>, reduction: Reduction) -> Result<Loss<S::Real>> {
    linear_value_and_grads(objective, LinearGrads::default(), reduction, GradOutput::ONE)
}

/// The loss of all rows, and its gradients, times `grad_output`.
///
/// # Errors
/// The errors of [`linear_value`], and [`Error::Shape`] for a gradient of another shape, or a `grad_output` that does
/// not fit the losses. Then nothing is written.
pub fn linear_value_and_grads<S: Storage>(
    objective: &LinearObjective<'_, S>,
    grads: LinearGrads<'_, S::Real>,
    reduction: Reduction,
    grad_output: GradOutput<'_, S::Real>,
) -> Result<Loss<S::Real>> {
    evaluate(&objective.layer(), grads, reduction, grad_output)
}

fn evaluate<T: Real>(
    objective: &Layer<'_, T>,
    mut grads: LinearGrads<'_, T>,
    reduction: Reduction,
    grad_output: GradOutput<'_, T>,
) -> Result<Loss<T>> {
    let isa = Isa::active()?;
    objective.check(isa, &grads)?;
    let [rows, features, classes] = objective.shape();
    if features == 0 {
        // No array bounds the logits: they count as if they were one.
        memory::expect(rows.saturating_mul(classes).saturating_mul(size_of::<T>()));
    }
    grad_output.check(rows * objective.loss.losses_per_row(classes))?;
    let divisor = divisor(objective.loss, isa, reduction, rows, classes);
    if divisor == 0.0 || rows == 0 || grad_output.is_zero() {
        for grad in [&mut grads.x, &mut grads.weight, &mut grads.bias].into_iter().flatten() {
            grad.fill(T::ZERO);
        }
        grads = LinearGrads::default();
    }
    if divisor == 0.0 {
        return Ok(Loss::Scalar(0.0));
    }
    reduce(objective.loss, reduction, rows, classes, divisor, |each| {
        let evaluation =
            Evaluation { objective, isa, scale: grad_output.over(divisor), wants_grads: grads.are_wanted() };
        if rows == 0 {
            return Ok(0.0);
        }
        if linear::is_small::<T>(features, classes) {
            return Ok(evaluation.in_blocks(grads, each));
        }
        Ok(match (objective.loss.summed(), Strips::of::<T>(rows, features, classes)) {
            (Some(summed), Some(strips)) => evaluation.in_strips(summed, strips, grads, each),
            _ => evaluation.in_tiles(linear::tile_rows::<T>(rows, features, classes), grads, each),
        })
    })
}

impl<T: Real> Layer<'_, T> {
    /// Rows, features, classes.
    fn shape(&self) -> [usize; 3] {
        [self.x.rows(), self.x.columns(), self.weight.rows()]
    }

    fn check(&self, isa: Isa, grads: &LinearGrads<'_, T>) -> Result<()> {
        let [rows, features, classes] = self.shape();
        let fits = |name, expected: Vec<usize>, got: Vec<usize>| match expected == got {
            true => Ok(()),
            false => Err(Error::Shape { name, expected, got }),
        };
        fits("weight", vec![classes, features], vec![classes, self.weight.columns()])?;
        fits("bias", vec![classes], vec![self.bias.map_or(classes, <[_]>::len)])?;
        let len = |grad: &Option<&mut [T]>, len| grad.as_ref().map_or(len, |grad| grad.len());
        fits("grad_x", vec![rows * features], vec![len(&grads.x, rows * features)])?;
        fits("grad_weight", vec![classes * features], vec![len(&grads.weight, classes * features)])?;
        fits("grad_bias", vec![classes], vec![len(&grads.bias, classes)])?;
        check_takes_logits(self.loss)?;
        self.loss.check(rows, classes)?;
        self.loss.check_targets(isa)
    }
}

/// An objective, and the settings of its evaluation.
struct Evaluation<'k, 'a, T> {
    objective: &'k Layer<'a, T>,
    isa: Isa,
    scale: GradScale<'k, T>,
    wants_grads: bool,
}

impl<T: Real> Evaluation<'_, '_, T> {
    /// Whether a row is left out.
    fn is_left_out(&self, row: usize) -> bool {
        !self.objective.loss.counts(self.isa, row, self.objective.weight.rows())
    }

    /// The losses of rows with these logits. If gradients are required, they overwrite the logits.
    fn losses(&self, first: usize, logits: &mut [T], each: Option<&mut [T]>) -> f64 {
        let (loss, classes) = (self.objective.loss, self.objective.weight.rows());
        let rows = logits.len().checked_div(classes).unwrap_or(0);
        if self.wants_grads {
            loss.value_and_grad(self.isa, first, RowsIo::over(logits, rows, classes), self.scale, each)
        } else {
            loss.value(self.isa, first, Rows::packed(logits, rows, classes), each)
        }
    }
}

fn copy_rows<T: Float>(rows: Rows<'_, T>, to: &mut [T]) {
    for (i, to) in to.chunks_exact_mut(rows.columns().max(1)).enumerate() {
        to.copy_from_slice(rows.row(i));
    }
}

fn round<T: Float>(from: &[f64], to: &mut [T]) {
    for (to, &x) in to.iter_mut().zip(from) {
        *to = T::from_f64(x);
    }
}

#[cfg(test)]
mod tests;
