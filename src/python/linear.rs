//! A linear layer and the loss of its outputs.

use super::Given;
use super::arrays::{Array, Number, detached, slow};
use super::inputs::{Input, Logits, data, fork};
use super::outputs::{rounded, wrap};
use super::sigmoid_family::PointArguments;
use super::softmax_family::SoftmaxArguments;
use crate::error::Error;
use crate::linear;
use crate::{LinearGrads, LinearProblem, Problem, Reduction};
use pyo3::prelude::*;

/// The loss of a layer's outputs, of either kind.
#[derive(Clone, Copy)]
pub(super) struct LayerLoss<'a, 'py> {
    pub(super) kind: Given<'a, 'py>,
    pub(super) pos_weight: Option<Given<'a, 'py>>,
    /// With the targets and options that both kinds have.
    pub(super) softmax: SoftmaxArguments<'a, 'py>,
}

/// The arguments of `linear_cross_entropy`, but for the inputs.
#[derive(Clone, Copy)]
struct LinearArguments<'a, 'py> {
    weight: Given<'a, 'py>,
    bias: Option<Given<'a, 'py>>,
    loss: LayerLoss<'a, 'py>,
}

/// The gradients that are wanted, and where they go.
#[derive(Clone, Copy)]
struct Wanted<'a, 'py> {
    wrt: Given<'a, 'py>,
    out: Option<Given<'a, 'py>>,
}

/// A gradient: it is computed in `array`, and leaves in the type of the inputs unless the caller's `out` is of another.
struct Gradient<'py, S: Number> {
    array: Array<'py, S::Real>,
    is_rounded: bool,
    copy_to: Option<Bound<'py, PyAny>>,
}

impl<'py, S: Number> Gradient<'py, S> {
    fn new(x: &Input<'py, S>, shape: &[usize], out: Option<(Bound<'py, PyAny>, bool)>) -> PyResult<Self> {
        let is_wide = size_of::<S>() == size_of::<S::Real>();
        let (out, has_dtype) = out.map_or((None, true), |(out, has_dtype)| (Some(out), has_dtype));
        let is_rounded = has_dtype && !is_wide;
        if let Some(array) = out.as_ref().and_then(Array::in_place).filter(|array| array.is_flat() && !is_rounded) {
            return Ok(Gradient { array, is_rounded, copy_to: None });
        }
        Ok(Gradient { array: Array::empty(x.real_dtype(), shape)?, is_rounded, copy_to: out })
    }

    fn finish(self, x: &Input<'py, S>) -> PyResult<Bound<'py, PyAny>> {
        let array = match self.is_rounded {
            true => rounded(x, self.array.data(), self.array.shape())?,
            false => self.array.object().clone().into_any(),
        };
        match self.copy_to {
            Some(out) => slow(x.py(), "copy_to", (out, array)),
            None => Ok(array),
        }
    }
}

impl<'py> LayerLoss<'_, 'py> {
    /// Hands `f` the loss of the layer's outputs, and the shape of what is not reduced.
    pub(super) fn with_problem<S: Number, R>(
        &self,
        x: &Input<'py, S>,
        f: impl FnOnce(&dyn Problem<S::Real>, Reduction, &[usize]) -> PyResult<R>,
    ) -> PyResult<R> {
        let SoftmaxArguments { target, sample_weight, ignore_index, label_smoothing, reduction, .. } = self.softmax;
        if self.is_softmax()? {
            self.softmax.with_problem(x, |loss, reduction| f(loss, reduction, x.leading()))
        } else {
            PointArguments { target, pos_weight: self.pos_weight, sample_weight, ignore_index, reduction }.with_problem(
                x,
                label_smoothing,
                |loss, reduction| f(loss, reduction, &x.shape()),
            )
        }
    }

    /// Which kind it is; options of the other kind are refused.
    fn is_softmax(&self) -> PyResult<bool> {
        let is_softmax = match self.kind.extract::<&str>() {
            Ok("softmax") => true,
            Ok("sigmoid") => false,
            other => {
                let got =
                    other.map_or_else(|_| self.kind.repr().map(|got| got.to_string()), |got| Ok(format!("{got:?}")))?;
                return Err(Error::parameter("kind", "\"softmax\" or \"sigmoid\"", got).into());
            }
        };
        let SoftmaxArguments { class_weight, temperature, softcap, z_loss, .. } = self.softmax;
        let foreign: &[(&'static str, bool)] = match is_softmax {
            true => &[("pos_weight", self.pos_weight.is_some())],
            false => &[
                ("class_weight", class_weight.is_some()),
                ("temperature", temperature != 1.0),
                ("softcap", softcap.is_some()),
                ("z_loss", z_loss != 0.0),
            ],
        };
        match foreign.iter().find(|(_, is_given)| *is_given) {
            Some(&(name, _)) => {
                let kind = if is_softmax { "softmax" } else { "sigmoid" };
                let expected = "left alone, as an option of the other kind";
                Err(Error::parameter(name, expected, format!("it with kind={kind:?}")).into())
            }
            None => Ok(is_softmax),
        }
    }
}

impl<'a, 'py> LinearArguments<'a, 'py> {
    fn run<S: Number>(self, x: Input<'py, S>, wanted: Option<Wanted<'a, 'py>>) -> PyResult<Bound<'py, PyAny>> {
        let weight = self.weight(&x)?;
        let x = x.with_outputs(weight.shape()[0]);
        let bias = self.bias(&x)?;
        let wanted = wanted.map(|wanted| self.gradients(&x, &weight, wanted)).transpose()?;
        self.loss.with_problem(&x, |loss, reduction, shape| {
            let weight = weight.rows()?;
            let problem = LinearProblem { loss, x: x.array.rows()?, weight, bias: data(&bias) };
            evaluate(&x, &problem, reduction, shape, wanted)
        })
    }

    /// The weight: a row of features a class, of the inputs' type.
    fn weight<S: Number>(&self, x: &Input<'py, S>) -> PyResult<Array<'py, S>> {
        let weight = match x.beside(self.weight) {
            Some(weight) => weight,
            None => Array::copy(&slow(x.py(), "as_operand", (self.weight, "weight", x.dtype(), x.dtype()))?)?,
        };
        let &[_, _] = weight.shape() else {
            let (expected, got) = ("of shape (c, d), a row of features a class", format!("{:?}", weight.shape()));
            return Err(Error::parameter("weight", expected, format!("shape {got}")).into());
        };
        let expected = vec![weight.shape()[0], x.array.columns()];
        if weight.shape() != expected {
            return Err(Error::Shape { name: "weight", expected, got: weight.shape().to_vec() }.into());
        }
        Ok(weight)
    }

    /// The bias: one number a class, of the inputs' type, or of the one computed with.
    fn bias<S: Number>(&self, x: &Input<'py, S>) -> PyResult<Option<Array<'py, S::Real>>> {
        let Some(given) = self.bias else { return Ok(None) };
        let bias = match Array::in_place(given).filter(Array::is_flat) {
            Some(bias) => bias,
            None => Array::copy(&slow(x.py(), "as_operand", (given, "bias", x.dtype(), x.real_dtype()))?)?,
        };
        if bias.shape() != [x.class_count()] {
            return Err(
                Error::Shape { name: "bias", expected: vec![x.class_count()], got: bias.shape().to_vec() }.into()
            );
        }
        Ok(Some(bias))
    }

    /// Places for the gradients that are wanted; a bias that is not there has none.
    fn gradients<S: Number>(
        &self,
        x: &Input<'py, S>,
        weight: &Array<'py, S>,
        wanted: Wanted<'a, 'py>,
    ) -> PyResult<[Option<Gradient<'py, S>>; 3]> {
        let bias = [x.class_count()];
        let shapes = [x.array.shape(), weight.shape(), &bias];
        let SoftmaxArguments { target, class_weight, sample_weight, .. } = self.loss.softmax;
        let inputs = [
            Some(&x.given),
            Some(self.weight),
            self.bias,
            Some(target),
            class_weight,
            sample_weight,
            self.loss.pos_weight,
        ];
        let inputs: Vec<_> = inputs.into_iter().flatten().collect();
        let is_wanted: [bool; 3] = slow(x.py(), "as_wrt", (wanted.wrt, self.bias.is_some()))?.extract()?;
        let arguments = (wanted.out, is_wanted, shapes.map(<[_]>::to_vec), inputs, x.dtype(), x.real_dtype());
        let outs: [Option<(Bound<'py, PyAny>, bool)>; 3] = match wanted.out {
            Some(_) => slow(x.py(), "check_outs", arguments)?.extract()?,
            None => [None, None, None],
        };
        let mut gradients = [None, None, None];
        for (i, out) in outs.into_iter().enumerate().filter(|(i, _)| is_wanted[*i]) {
            gradients[i] = Some(Gradient::new(x, shapes[i], out)?);
        }
        Ok(gradients)
    }
}

/// The loss, or the tuple of loss and gradients.
fn evaluate<'py, S: Number>(
    x: &Input<'py, S>,
    problem: &LinearProblem<'_, S>,
    reduction: Reduction,
    shape: &[usize],
    gradients: Option<[Option<Gradient<'py, S>>; 3]>,
) -> PyResult<Bound<'py, PyAny>> {
    let (py, work) = (x.py(), linear::work(problem.x.rows(), problem.x.classes(), problem.weight.rows()));
    let Some(mut gradients) = gradients else {
        return wrap(py, detached(py, work, || crate::linear_value(problem, reduction))?, shape);
    };
    let [x_grad, weight, bias] = gradients.each_mut().map(|grad| grad.as_mut().map(|grad| grad.array.data_mut()));
    let grads = LinearGrads { x: x_grad, weight, bias };
    let loss = wrap(py, detached(py, work, || crate::linear_value_and_grads(problem, grads, reduction))?, shape)?;
    let [x_grad, weight, bias] = gradients.map(|grad| grad.map(|grad| grad.finish(x)).transpose());
    Ok((loss, x_grad?, weight?, bias?).into_pyobject(py)?.into_any())
}

#[pyfunction]
#[pyo3(signature = (
    x, weight, target, bias, kind, class_weight, pos_weight, sample_weight, ignore_index, label_smoothing, temperature,
    softcap, z_loss, reduction, /
))]
#[expect(clippy::too_many_arguments, reason = "the options of the loss, as Python passes them")]
pub(super) fn linear_cross_entropy<'py>(
    x: Given<'_, 'py>,
    weight: Given<'_, 'py>,
    target: Given<'_, 'py>,
    bias: Option<Given<'_, 'py>>,
    kind: Given<'_, 'py>,
    class_weight: Option<Given<'_, 'py>>,
    pos_weight: Option<Given<'_, 'py>>,
    sample_weight: Option<Given<'_, 'py>>,
    ignore_index: Option<i64>,
    label_smoothing: f64,
    temperature: f64,
    softcap: Option<f64>,
    z_loss: f64,
    reduction: Given<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let softmax = SoftmaxArguments {
        target,
        class_weight,
        sample_weight,
        ignore_index,
        label_smoothing,
        temperature,
        softcap,
        z_loss,
        reduction,
    };
    let loss = LayerLoss { kind, pos_weight, softmax };
    let arguments = LinearArguments { weight, bias, loss };
    fork!(Logits::of(x, "x", Some(-1))?, x => arguments.run(x, None))
}

#[pyfunction]
#[pyo3(signature = (
    x, weight, target, bias, kind, class_weight, pos_weight, sample_weight, ignore_index, label_smoothing, temperature,
    softcap, z_loss, reduction, wrt, out, /
))]
#[expect(clippy::too_many_arguments, reason = "the options of the loss, as Python passes them")]
pub(super) fn linear_cross_entropy_with_grad<'py>(
    x: Given<'_, 'py>,
    weight: Given<'_, 'py>,
    target: Given<'_, 'py>,
    bias: Option<Given<'_, 'py>>,
    kind: Given<'_, 'py>,
    class_weight: Option<Given<'_, 'py>>,
    pos_weight: Option<Given<'_, 'py>>,
    sample_weight: Option<Given<'_, 'py>>,
    ignore_index: Option<i64>,
    label_smoothing: f64,
    temperature: f64,
    softcap: Option<f64>,
    z_loss: f64,
    reduction: Given<'_, 'py>,
    wrt: Given<'_, 'py>,
    out: Option<Given<'_, 'py>>,
) -> PyResult<Bound<'py, PyAny>> {
    let softmax = SoftmaxArguments {
        target,
        class_weight,
        sample_weight,
        ignore_index,
        label_smoothing,
        temperature,
        softcap,
        z_loss,
        reduction,
    };
    let loss = LayerLoss { kind, pos_weight, softmax };
    let arguments = LinearArguments { weight, bias, loss };
    fork!(Logits::of(x, "x", Some(-1))?, x => arguments.run(x, Some(Wanted { wrt, out })))
}
