//! A linear layer and the loss of its outputs.

use super::arrays::{Arg, Array, Number, detached};
use super::errors::refuse;
use super::inputs::{Extra, Input, Logits, Upstream, data, match_dtype};
use super::options::{self, SigmoidOptions, SoftmaxOptions, choice, function, softmax_options};
use super::outputs::{rounded, wrap};
use super::token_logprobs::{Tokens, both};
use super::via_numpy::{Numpy, via_numpy};
use super::weights::Use;
use crate::error::Tuple;
use crate::linear;
use crate::{LinearGrads, LinearObjective, Loss, Objective, Reduction};
use pyo3::prelude::*;
use std::borrow::Cow;
use std::ops::Range;

/// The places for the gradients that are wanted, of input, weight and bias, and what multiplies them.
type Gradients<'py, S> = ([Option<Gradient<'py, S>>; 3], Upstream<'py, S>);

/// The loss of a layer's outputs, of the softmax or the sigmoid family, with its targets; or what is computed of tokens.
#[derive(Clone, Copy)]
pub(super) enum LayerLoss<'a, 'py> {
    Softmax(Arg<'a, 'py>, SoftmaxOptions<'a, 'py>),
    Sigmoid(Arg<'a, 'py>, SigmoidOptions<'a, 'py>),
    Tokens(Tokens<'a, 'py>),
}

/// Weight and bias, with the loss of the outputs.
struct Layer<'a, 'py> {
    weight: Arg<'a, 'py>,
    bias: Option<Arg<'a, 'py>>,
    loss: LayerLoss<'a, 'py>,
}

/// The required gradients and their places.
#[derive(Clone, Copy)]
struct Wanted<'a, 'py> {
    wrt: Arg<'a, 'py>,
    grad_output: Option<Arg<'a, 'py>>,
    out: Option<Arg<'a, 'py>>,
}

/// A gradient: it is computed in `array`, and returned in the type of the inputs unless the caller's `out` has another
/// type.
pub(super) struct Gradient<'py, S: Number> {
    pub(super) array: Array<'py, S::Real>,
    is_rounded: bool,
    copy_to: Option<Bound<'py, PyAny>>,
}

fn overlap(a: &Range<usize>, b: &Range<usize>) -> bool {
    a.start < b.end && b.start < a.end
}

impl<'py, S: Number> Gradient<'py, S> {
    pub(super) fn new(x: &Input<'py, S>, shape: &[usize], out: Option<(Bound<'py, PyAny>, bool)>) -> PyResult<Self> {
        let is_wide = size_of::<S>() == size_of::<S::Real>();
        let (out, has_dtype) = out.map_or((None, true), |(out, has_dtype)| (Some(out), has_dtype));
        let is_rounded = has_dtype && !is_wide;
        if let Some(array) = out.as_ref().and_then(Array::in_place).filter(|array| array.is_flat() && !is_rounded) {
            return Ok(Gradient { array, is_rounded, copy_to: None });
        }
        Ok(Gradient { array: Array::empty(x.real_dtype(), shape)?, is_rounded, copy_to: out })
    }

    pub(super) fn finish(self, x: &Input<'py, S>) -> PyResult<Bound<'py, PyAny>> {
        let array = match self.is_rounded {
            true => rounded(x, self.array.data(), self.array.shape())?,
            false => self.array.object().clone().into_any(),
        };
        match self.copy_to {
            Some(out) => via_numpy(x.py(), Numpy::CopyTo, (out, array)),
            None => Ok(array),
        }
    }
}

impl<'a, 'py> LayerLoss<'a, 'py> {
    /// The loss of the kind `kind`; options of the other kind are an error.
    pub(super) fn of(
        target: Arg<'a, 'py>,
        kind: Arg<'_, 'py>,
        pos_weight: Option<Arg<'a, 'py>>,
        options: SoftmaxOptions<'a, 'py>,
    ) -> PyResult<Self> {
        let kinds = [("softmax", true), ("sigmoid", false)];
        let is_softmax = choice(kind, "kind", "\"softmax\" or \"sigmoid\"", &kinds)?;
        let foreign: &[(&'static str, bool)] = match is_softmax {
            true => &[("pos_weight", pos_weight.is_some())],
            false => &[
                ("class_weight", options.class_weight.is_some()),
                ("temperature", options.temperature != 1.0),
                ("softcap", options.softcap.is_some()),
                ("log_prior", options.log_prior.is_some()),
                ("z_loss", options.z_loss != 0.0),
            ],
        };
        if let Some(&(name, _)) = foreign.iter().find(|(_, is_given)| *is_given) {
            let kind = if is_softmax { "softmax" } else { "sigmoid" };
            return refuse(name, "left alone, as an option of the other kind", format!("it with kind={kind:?}"));
        }
        if is_softmax {
            return Ok(LayerLoss::Softmax(target, options));
        }
        let SoftmaxOptions { sample_weight, ignore_index, label_smoothing, .. } = options;
        Ok(LayerLoss::Sigmoid(target, SigmoidOptions { pos_weight, sample_weight, ignore_index, label_smoothing }))
    }

    /// The arrays among the arguments.
    fn args(self) -> [Option<Arg<'a, 'py>>; 4] {
        match self {
            LayerLoss::Softmax(target, SoftmaxOptions { class_weight, sample_weight, log_prior, .. }) => {
                [Some(target), class_weight, sample_weight, log_prior]
            }
            LayerLoss::Sigmoid(target, SigmoidOptions { pos_weight, sample_weight, .. }) => {
                [Some(target), pos_weight, sample_weight, None]
            }
            LayerLoss::Tokens(tokens) => tokens.args(),
        }
    }

    /// The shape of losses that are not reduced.
    fn shape<'x, S: Number>(&self, x: &'x Input<'py, S>) -> Cow<'x, [usize]> {
        match self {
            LayerLoss::Softmax(..) | LayerLoss::Tokens(..) => x.leading().into(),
            LayerLoss::Sigmoid(..) => x.shape(),
        }
    }

    /// The loss as a Python object, or the pair of both results of tokens.
    fn wrap<S: Number>(&self, x: &Input<'py, S>, loss: Loss<S::Real>) -> PyResult<Bound<'py, PyAny>> {
        match self {
            LayerLoss::Tokens(..) => Ok(both(x.py(), loss, x.leading())?.into_pyobject(x.py())?.into_any()),
            _ => wrap(x.py(), loss, &self.shape(x)),
        }
    }

    /// Calls `f` with the loss of the layer's outputs.
    pub(super) fn with_objective<S: Number, R>(
        self,
        x: &Input<'py, S>,
        of_sample: Use,
        f: impl FnOnce(&dyn Objective<S::Real>) -> PyResult<R>,
    ) -> PyResult<R> {
        match self {
            LayerLoss::Softmax(target, options) => options.with_objective(x, target, of_sample, f),
            LayerLoss::Sigmoid(target, options) => options.with_objective(x, target, of_sample, f),
            LayerLoss::Tokens(tokens) => tokens.with_objective(x, |objective| f(objective)),
        }
    }
}

impl<'a, 'py> Layer<'a, 'py> {
    fn run<S: Number>(
        self,
        x: Input<'py, S>,
        reduction: Reduction,
        wanted: Option<Wanted<'a, 'py>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let weight = self.weight(&x)?;
        let x = x.with_outputs(weight.shape().first().copied().unwrap_or(0));
        let bias = self.bias(&x)?;
        let wanted = wanted.map(|wanted| self.gradients(&x, &weight, wanted)).transpose()?;
        self.loss.with_objective(&x, Use::under(reduction), |loss| {
            x.check_fit()?;
            let objective = LinearObjective { loss, x: x.array.rows()?, weight: weight.rows()?, bias: data(&bias) };
            evaluate(&x, &objective, reduction, &self.loss, wanted)
        })
    }

    /// The weight: one row of features per class, in the type of the inputs.
    fn weight<S: Number>(&self, x: &Input<'py, S>) -> PyResult<Array<'py, S>> {
        let weight = match x.beside(self.weight) {
            Some(weight) => weight,
            None => Array::copy(&via_numpy(x.py(), Numpy::AsOperand, (self.weight, "weight", x.dtype(), x.dtype()))?)?,
        };
        let &[classes, _] = weight.shape() else {
            let expected = "of shape (c, d), a row of features a class";
            return refuse("weight", expected, format!("shape {}", Tuple(weight.shape())));
        };
        weight.of_shape("weight", &[classes, x.array.columns()])
    }

    /// The bias: one number per class, in the type of the inputs or of the computation.
    fn bias<S: Number>(&self, x: &Input<'py, S>) -> PyResult<Extra<'py, S::Real>> {
        let Some(arg) = self.bias else { return Ok(None) };
        let bias = match Array::in_place(arg).filter(Array::is_flat) {
            Some(bias) => bias,
            None => Array::copy(&via_numpy(x.py(), Numpy::AsOperand, (arg, "bias", x.dtype(), x.real_dtype()))?)?,
        };
        Ok(Some(bias.of_shape("bias", &[x.class_count()])?.into()))
    }

    /// Places for the required gradients; there is none for an absent bias.
    fn gradients<S: Number>(
        &self,
        x: &Input<'py, S>,
        weight: &Array<'py, S>,
        wanted: Wanted<'a, 'py>,
    ) -> PyResult<Gradients<'py, S>> {
        let bias = [x.class_count()];
        let shapes = [x.array.shape(), weight.shape(), &bias];
        let upstream = x.grad_output(wanted.grad_output, &self.loss.shape(x))?;
        let inputs =
            [Some(&x.given), Some(self.weight), self.bias, wanted.grad_output].into_iter().chain(self.loss.args());
        let inputs: Vec<_> = inputs.flatten().collect();
        let is_wanted: [bool; 3] = via_numpy(x.py(), Numpy::AsWrt, (wanted.wrt, self.bias.is_some()))?.extract()?;
        let names = ["grad_x", "grad_weight", "grad_bias"];
        let arguments = (wanted.out, names, is_wanted, shapes.map(<[_]>::to_vec), inputs, x.dtype(), x.real_dtype());
        let outs: [Option<(Bound<'py, PyAny>, bool)>; 3] = match wanted.out {
            Some(_) => via_numpy(x.py(), Numpy::CheckOuts, arguments)?.extract()?,
            None => [None, None, None],
        };
        let mut gradients = [None, None, None];
        let wanted = gradients.iter_mut().zip(shapes).zip(outs).zip(is_wanted).filter(|(_, is_wanted)| *is_wanted);
        for (((kept, shape), out), _) in wanted {
            let gradient = Gradient::new(x, shape, out)?;
            // What `xentrs._arrays` was told of an input need not be what was read of it.
            let place = gradient.array.addresses();
            if [x.array.addresses(), weight.addresses()].iter().any(|read| overlap(read, &place)) {
                return refuse("out", "apart from the inputs", "an array that overlaps one");
            }
            *kept = Some(gradient);
        }
        Ok((gradients, upstream))
    }
}

/// The loss, or the tuple of loss and gradients.
fn evaluate<'py, S: Number>(
    x: &Input<'py, S>,
    objective: &LinearObjective<'_, S>,
    reduction: Reduction,
    kind: &LayerLoss<'_, 'py>,
    gradients: Option<Gradients<'py, S>>,
) -> PyResult<Bound<'py, PyAny>> {
    let (py, work) = (x.py(), linear::work(objective.x.rows(), objective.x.columns(), objective.weight.rows()));
    let Some((mut gradients, upstream)) = gradients else {
        return kind.wrap(x, detached(py, work, || crate::linear_value(objective, reduction))?);
    };
    let [x_grad, weight, bias] = gradients.each_mut().map(|grad| grad.as_mut().map(|grad| grad.array.data_mut()));
    let grads = LinearGrads { x: x_grad, weight, bias };
    let grad_output = upstream.get();
    let run = || crate::linear_value_and_grads(objective, grads, reduction, grad_output);
    let loss = kind.wrap(x, detached(py, work, run)?)?;
    let [x_grad, weight, bias] = gradients.map(|grad| grad.map(|grad| grad.finish(x)).transpose());
    Ok((loss, x_grad?, weight?, bias?).into_pyobject(py)?.into_any())
}

softmax_options! { function!
    fn linear_cross_entropy(
        x: Arg<'a, 'py>,
        weight: Arg<'a, 'py>,
        target: Arg<'a, 'py>,
        bias: Option<Arg<'a, 'py>>,
        kind: Arg<'a, 'py>,
        pos_weight: Option<Arg<'a, 'py>>,
        ..options: SoftmaxOptions,
        reduction: Arg<'a, 'py>,
        order: u8,
        wrt: Arg<'a, 'py>,
        grad_output: Option<Arg<'a, 'py>>,
        out: Option<Arg<'a, 'py>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let layer = Layer { weight, bias, loss: LayerLoss::of(target, kind, pos_weight, options)? };
        let wanted = (order > 0).then_some(Wanted { wrt, grad_output, out });
        match_dtype!(Logits::of(x, "x", Some(-1))?, x => layer.run(x, options::reduction(reduction)?, wanted))
    }
}

#[pyfunction]
#[expect(clippy::too_many_arguments, reason = "the arguments of the function, as Python passes them")]
pub(super) fn linear_token_logprobs<'py>(
    x: Arg<'_, 'py>,
    weight: Arg<'_, 'py>,
    token: Arg<'_, 'py>,
    bias: Option<Arg<'_, 'py>>,
    grad_logprob: Arg<'_, 'py>,
    grad_entropy: Arg<'_, 'py>,
    temperature: f64,
    softcap: Option<f64>,
    log_prior: Option<Arg<'_, 'py>>,
    ignore_index: Option<i64>,
    order: u8,
    wrt: Arg<'_, 'py>,
    out: Option<Arg<'_, 'py>>,
) -> PyResult<Bound<'py, PyAny>> {
    let tokens =
        Tokens { token, upstream: [grad_logprob, grad_entropy], temperature, softcap, log_prior, ignore_index };
    let layer = Layer { weight, bias, loss: LayerLoss::Tokens(tokens) };
    let wanted = (order > 0).then_some(Wanted { wrt, grad_output: None, out });
    match_dtype!(Logits::of(x, "x", Some(-1))?, x => layer.run(x, Reduction::None, wanted))
}
