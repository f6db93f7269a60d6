//! Targets that are numbers.

use super::Given;
use super::arrays::{Array, Number, detached, slow};
use super::inputs::{Input, Logits, data, fork, reduction, span};
use super::outputs::{Io, Output, Want, evaluate, fill, in_type_of, wrap};
use crate::error::Error;
use crate::{Dispersion, GaussianNll, GaussianProblem};
use pyo3::prelude::*;

/// The arguments of `gaussian_nll`.
#[derive(Clone, Copy)]
struct GaussianArguments<'a, 'py> {
    target: Given<'a, 'py>,
    var: Option<Given<'a, 'py>>,
    log_var: Option<Given<'a, 'py>>,
    full: bool,
    sample_weight: Option<Given<'a, 'py>>,
    reduction: Given<'a, 'py>,
}

impl<'a, 'py> GaussianArguments<'a, 'py> {
    fn run<S: Number>(self, mean: Input<'py, S>, want: Want<'a, 'py>) -> PyResult<Bound<'py, PyAny>> {
        let (name, dispersion, given) = match (self.var, self.log_var) {
            (Some(var), None) => ("var", Dispersion::Variance, var),
            (None, Some(log_var)) => ("log_var", Dispersion::LogVariance, log_var),
            (var, _) => {
                let got = if var.is_some() { "both" } else { "neither" };
                return Err(Error::parameter("var or log_var", "given, one of the two", got).into());
            }
        };
        let target = mean.broadcast(self.target, "target")?;
        let widths = mean.broadcast_or_single(given, name)?;
        let sample_weight = mean.point_weights(self.sample_weight, "sample_weight")?;
        let output = want.output(|out| {
            let given = [Some(self.target), Some(given), self.sample_weight];
            Output::of(&mean, out, given, [target.span(), widths.span(), span(&sample_weight)])
        })?;
        let (reduction, shape) = (reduction(self.reduction)?, mean.array.shape());
        let loss = GaussianNll { dispersion, full: self.full };
        let (target, sample_weight) = (target.data(), data(&sample_weight));
        let problem = GaussianProblem { loss, target, dispersion: widths.data(), sample_weight };
        let Some(mut output) = output else {
            return evaluate(&mean, &problem, reduction, shape, None);
        };
        let (py, points) = (mean.py(), mean.array.len());
        let mut spread_grad = Array::<S::Real>::empty(mean.real_dtype(), widths.shape())?;
        let places = spread_grad.data_mut();
        let loss = fill!(output, &mean, rows => detached(py, points, || {
            crate::gaussian_value_and_grads(&problem, rows, places, reduction)
        }))?;
        let loss = wrap(py, loss, shape)?;
        // The gradient of what was broadcast is the sum over the places it went to.
        let spread_grad = slow(py, "sum_to", (in_type_of(&mean, spread_grad)?, given))?;
        Ok((loss, output.finish(py)?, spread_grad).into_pyobject(py)?.into_any())
    }
}

#[pyfunction]
#[pyo3(signature = (mean, target, var, log_var, full, sample_weight, reduction, /))]
pub(super) fn gaussian_nll<'py>(
    mean: Given<'_, 'py>,
    target: Given<'_, 'py>,
    var: Option<Given<'_, 'py>>,
    log_var: Option<Given<'_, 'py>>,
    full: bool,
    sample_weight: Option<Given<'_, 'py>>,
    reduction: Given<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let arguments = GaussianArguments { target, var, log_var, full, sample_weight, reduction };
    fork!(Logits::of(mean, "mean", None)?, mean => arguments.run(mean, Want::Loss))
}

#[pyfunction]
#[pyo3(signature = (mean, target, var, log_var, full, sample_weight, reduction, out, /))]
#[expect(clippy::too_many_arguments, reason = "the options of the loss, as Python passes them")]
pub(super) fn gaussian_nll_with_grad<'py>(
    mean: Given<'_, 'py>,
    target: Given<'_, 'py>,
    var: Option<Given<'_, 'py>>,
    log_var: Option<Given<'_, 'py>>,
    full: bool,
    sample_weight: Option<Given<'_, 'py>>,
    reduction: Given<'_, 'py>,
    out: Option<Given<'_, 'py>>,
) -> PyResult<Bound<'py, PyAny>> {
    let arguments = GaussianArguments { target, var, log_var, full, sample_weight, reduction };
    fork!(Logits::of(mean, "mean", None)?, mean => arguments.run(mean, Want::Gradient(out)))
}
