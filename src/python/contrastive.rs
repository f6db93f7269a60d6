//! Losses of pairs of rows, which belong together if they have the same number.

use super::arrays::{Arg, Array, Number, detached};
use super::errors::refuse;
use super::inputs::{Input, Logits, Upstream, match_dtype};
use super::linear::Gradient;
use super::options;
use super::outputs::wrap;
use super::via_numpy::{Numpy, via_numpy};
use crate::error::Tuple;
use crate::linear;
use crate::{GradOutput, PairGrads, PairLoss, PairedRows, Reduction, Result};
use pyo3::prelude::*;

/// What both functions take.
struct Call<'a, 'py> {
    y: Arg<'a, 'py>,
    temperature: f64,
    reduction: Arg<'a, 'py>,
    order: u8,
    grad_output: Option<Arg<'a, 'py>>,
    out: Option<Arg<'a, 'py>>,
}

impl<'a, 'py> Call<'a, 'py> {
    /// The loss, or the tuple of the loss, both gradients, and the derivatives that `scalars` takes of the result.
    fn run<S: Number>(
        &self,
        x: &Input<'py, S>,
        scalars: fn(&PairLoss<S::Real>) -> Vec<f64>,
        f: impl Fn(
            &PairedRows<'_, S>,
            Option<PairGrads<'_, S::Real>>,
            Reduction,
            GradOutput<'_, S::Real>,
        ) -> Result<PairLoss<S::Real>>
        + Sync,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (py, &[n, d]) = (x.py(), x.array.shape()) else {
            return refuse("x", "of shape (n, d), a row of features each", format!("shape {}", Tuple(x.array.shape())));
        };
        let y = match x.beside(self.y) {
            Some(y) => y,
            None => Array::copy(&via_numpy(py, Numpy::AsOperand, (self.y, "y", x.dtype(), x.dtype()))?)?,
        };
        let y = y.of_shape("y", &[n, d])?;
        let reduction = options::reduction(self.reduction)?;
        let work = linear::work(n, d, n);
        let pairs = || Result::Ok(PairedRows { x: x.array.rows()?, y: y.rows()?, temperature: self.temperature });
        if self.order == 0 {
            let pairs = pairs()?;
            let loss = detached(py, work, || f(&pairs, None, reduction, GradOutput::ONE))?;
            return wrap(py, loss.loss, &[n]);
        }
        let (mut grads, upstream) = self.gradients(x, [n, d])?;
        let pairs = pairs()?;
        let grad_output = upstream.get();
        let [x_grad, y_grad] = grads.each_mut().map(|grad| grad.array.data_mut());
        let places = PairGrads { x: x_grad, y: y_grad };
        let result = detached(py, work, || f(&pairs, Some(places), reduction, grad_output))?;
        x.check_fit()?;
        let numbers = scalars(&result);
        let mut items = vec![wrap(py, result.loss, &[n])?];
        for grad in grads {
            items.push(grad.finish(x)?);
        }
        for number in numbers {
            items.push(number.into_pyobject(py)?.into_any());
        }
        Ok(pyo3::types::PyTuple::new(py, items)?.into_any())
    }

    /// Places for the gradients, and the upstream gradient.
    fn gradients<S: Number>(
        &self,
        x: &Input<'py, S>,
        shape: [usize; 2],
    ) -> PyResult<([Gradient<'py, S>; 2], Upstream<'py, S>)> {
        let upstream = x.grad_output(self.grad_output, &shape[..1])?;
        let mut outs: [Option<(Bound<'py, PyAny>, bool)>; 2] = [None, None];
        if let Some(out) = self.out {
            let inputs: Vec<_> = [Some(&x.given), Some(self.y), self.grad_output].into_iter().flatten().collect();
            let (names, shapes) = (["grad_x", "grad_y"], [shape, shape]);
            let arguments = (out, names, [true, true], shapes, inputs, x.dtype(), x.real_dtype());
            outs = via_numpy(x.py(), Numpy::CheckOuts, arguments)?.extract()?;
        }
        let [x_out, y_out] = outs;
        Ok(([Gradient::new(x, &shape, x_out)?, Gradient::new(x, &shape, y_out)?], upstream))
    }
}

#[pyfunction]
#[expect(clippy::too_many_arguments, reason = "the arguments of the loss, as Python passes them")]
pub(super) fn info_nce<'py>(
    x: Arg<'_, 'py>,
    y: Arg<'_, 'py>,
    temperature: f64,
    symmetric: bool,
    reduction: Arg<'_, 'py>,
    order: u8,
    grad_output: Option<Arg<'_, 'py>>,
    out: Option<Arg<'_, 'py>>,
) -> PyResult<Bound<'py, PyAny>> {
    let call = Call { y, temperature, reduction, order, grad_output, out };
    match_dtype!(Logits::of(x, "x", Some(-1))?, x => call.run(
        &x,
        |loss| vec![loss.temperature],
        |pairs, grads, reduction, grad_output| crate::info_nce(pairs, symmetric, grads, reduction, grad_output),
    ))
}

#[pyfunction]
#[expect(clippy::too_many_arguments, reason = "the arguments of the loss, as Python passes them")]
pub(super) fn siglip_loss<'py>(
    x: Arg<'_, 'py>,
    y: Arg<'_, 'py>,
    temperature: f64,
    bias: f64,
    reduction: Arg<'_, 'py>,
    order: u8,
    grad_output: Option<Arg<'_, 'py>>,
    out: Option<Arg<'_, 'py>>,
) -> PyResult<Bound<'py, PyAny>> {
    let call = Call { y, temperature, reduction, order, grad_output, out };
    match_dtype!(Logits::of(x, "x", Some(-1))?, x => call.run(
        &x,
        |loss| vec![loss.temperature, loss.bias],
        |pairs, grads, reduction, grad_output| crate::siglip_loss(pairs, bias, grads, reduction, grad_output),
    ))
}
