//! Gaussian negative log-likelihood, whose targets are numbers.

use super::arrays::{Arg, Array, Number, detached};
use super::errors::refuse;
use super::inputs::{Input, Logits, Upstream, data, match_dtype, span};
use super::options;
use super::outputs::{Output, Want, evaluate, wrap};
use super::targets::Floats;
use super::via_numpy::{Numpy, via_numpy};
use super::weights::Use;
use crate::{Dispersion, GaussianNll, GaussianObjective, api};
use pyo3::prelude::*;

/// The arguments of `gaussian_nll` except the means.
#[derive(Clone, Copy)]
struct Arguments<'a, 'py> {
    target: Arg<'a, 'py>,
    var: Option<Arg<'a, 'py>>,
    log_var: Option<Arg<'a, 'py>>,
    full: bool,
    sample_weight: Option<Arg<'a, 'py>>,
    reduction: Arg<'a, 'py>,
    want: Want<'a, 'py>,
}

impl<'py> Arguments<'_, 'py> {
    fn evaluate<S: Number>(self, mean: Input<'py, S>) -> PyResult<Bound<'py, PyAny>> {
        let (name, dispersion, given) = match (self.var, self.log_var) {
            (Some(var), None) => ("var", Dispersion::Variance, var),
            (None, Some(log_var)) => ("log_var", Dispersion::LogVariance, log_var),
            (var, _) => {
                let got = if var.is_some() { "both" } else { "neither" };
                return refuse("var or log_var", "given, one of the two", got);
            }
        };
        let target = mean.broadcast(self.target, "target")?;
        let widths = mean.broadcast_or_single(given, name)?;
        let reduction = options::reduction(self.reduction)?;
        let sample_weight = mean.point_weights(self.sample_weight, "sample_weight", Use::under(reduction))?;
        let output = self.want.output(|want| {
            let given = [Some(self.target), Some(given), self.sample_weight];
            Output::of(&mean, mean.array.shape(), want, given, [target.span(), widths.span(), span(&sample_weight)])
        })?;
        mean.check_fit()?;
        let shape = mean.array.shape();
        let loss = GaussianNll { dispersion, full: self.full };
        let (target, dispersion, sample_weight) = (target.points()?, widths.points()?, data(&sample_weight));
        let objective = GaussianObjective { loss, target, dispersion, sample_weight };
        let Some(mut output) = output else {
            return evaluate(&mean, &objective, reduction, shape, None);
        };
        let (py, points) = (mean.py(), mean.array.len());
        // A copy may be a broadcast one. Its gradient is the sum over the elements to which a number was, which is rounded to
        // half precision last.
        let mut spread_grad = if widths.is_copied() {
            Floats::<S>::Real(Array::empty(mean.real_dtype(), widths.shape())?)
        } else {
            Floats::Stored(Array::empty(mean.dtype(), widths.shape())?)
        };
        let places = spread_grad.places();
        let upstream = std::mem::replace(&mut output.upstream, Upstream::Number(1.0));
        let grad_output = upstream.get();
        let rows = output.io(&mean)?;
        let evaluate = || api::gaussian_value_and_grads_of(&objective, rows, places, reduction, grad_output);
        let loss = detached(py, points, evaluate)?;
        let loss = wrap(py, loss, shape)?;
        let spread_grad = via_numpy(py, Numpy::SumTo, (spread_grad.object(), given, mean.dtype()))?;
        Ok((loss, output.finish(&mean)?, spread_grad).into_pyobject(py)?.into_any())
    }
}

#[pyfunction]
#[expect(clippy::too_many_arguments, reason = "the arguments of the loss, as Python passes them")]
pub(super) fn gaussian_nll<'py>(
    mean: Arg<'_, 'py>,
    target: Arg<'_, 'py>,
    var: Option<Arg<'_, 'py>>,
    log_var: Option<Arg<'_, 'py>>,
    full: bool,
    sample_weight: Option<Arg<'_, 'py>>,
    reduction: Arg<'_, 'py>,
    order: u8,
    grad_output: Option<Arg<'_, 'py>>,
    out: Option<Arg<'_, 'py>>,
) -> PyResult<Bound<'py, PyAny>> {
    let want = Want { order, out, grad_output, hess: None };
    let arguments = Arguments { target, var, log_var, full, sample_weight, reduction, want };
    match_dtype!(Logits::of(mean, "mean", None)?, mean => arguments.evaluate(mean))
}
