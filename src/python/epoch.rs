//! An epoch of stochastic gradient descent, which the interpreter may interrupt between steps.

use super::Given;
use super::arrays::{Array, Number, detached};
use super::inputs::{Input, Logits, data};
use super::linear::LayerLoss;
use super::softmax_family::SoftmaxArguments;
use crate::linear;
use crate::math::Real;
use crate::storage::Storage;
use crate::{Epoch, Momentum, Parameters};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

/// Elements of sums after which the interpreter is asked whether to go on: some milliseconds.
const ATTENTION: usize = 1 << 22;

/// Weight and bias, which `xentrs.optim` has checked: of the type of `x`, and free to write.
struct Places<'py, T> {
    weight: Array<'py, T>,
    bias: Option<Array<'py, T>>,
}

impl<'py, S: Number + Real + Storage<Real = S>> Places<'py, S> {
    fn of(given: &[Bound<'py, PyAny>]) -> PyResult<Self> {
        let place = |given: &Bound<'py, PyAny>| {
            Array::in_place(given)
                .filter(|array| array.is_flat() && array.is_writeable())
                .ok_or_else(|| PyTypeError::new_err("xentrs.optim must give writeable arrays of the dtype of x"))
        };
        let (weight, bias) = match given {
            [weight] => (weight, None),
            [weight, bias] => (weight, Some(bias)),
            _ => return Err(PyTypeError::new_err("xentrs.optim must give a weight, and maybe a bias")),
        };
        Ok(Places { weight: place(weight)?, bias: bias.map(place).transpose()? })
    }

    fn parameters(&mut self) -> Parameters<'_, S> {
        Parameters { weight: self.weight.data_mut(), bias: self.bias.as_mut().map(Array::data_mut) }
    }
}

/// What an epoch is made of, but for the loss.
struct Plan<'a, 'py> {
    params: Vec<Bound<'py, PyAny>>,
    /// As many as parameters, where there is momentum.
    velocity: Vec<Bound<'py, PyAny>>,
    order: Option<Given<'a, 'py>>,
    rates: Given<'a, 'py>,
    batch_size: usize,
    moment: Momentum,
    weight_decay: [f64; 2],
    /// A counter of steps, which stays right when the interpreter interrupts.
    steps: Given<'a, 'py>,
}

impl<'py> Plan<'_, 'py> {
    fn run<S: Number + Real + Storage<Real = S>>(self, x: Input<'py, S>, loss: LayerLoss<'_, 'py>) -> PyResult<f64> {
        let private = |given: &Bound<'py, PyAny>, name: &str| {
            Array::<i64>::in_place(given).ok_or_else(|| PyTypeError::new_err(format!("{name} must be int64")))
        };
        let mut model = Places::<S>::of(&self.params)?;
        let mut velocity = if self.velocity.is_empty() { None } else { Some(Places::<S>::of(&self.velocity)?) };
        let order = self.order.map(|order| private(order, "order")).transpose()?;
        let rates = Array::<f64>::copy(self.rates)?;
        let mut steps = private(self.steps, "steps")?;
        let (classes, py) = (model.weight.shape()[0], x.py());
        let x = x.with_outputs(classes);
        loss.with_problem(&x, |loss, _, _| {
            let Plan { batch_size, moment, weight_decay, .. } = self;
            let (rows, order) = (x.array.rows()?, data(&order));
            let epoch = Epoch { loss, x: rows, order, batch_size, rates: rates.data(), moment, weight_decay };
            let epoch = epoch.checked(classes)?;
            let work = linear::work(batch_size, rows.classes(), classes).max(1);
            let (mut model, mut velocity) = (model.parameters(), velocity.as_mut().map(Places::parameters));
            let (mut total, mut next) = (0.0, 0);
            while next < epoch.steps() {
                let some = next..epoch.steps().min(next + (ATTENTION / work).max(1));
                next = some.end;
                let count = some.len();
                total += detached(py, count.saturating_mul(work), || epoch.run(some, &mut model, velocity.as_mut()))?;
                steps.data_mut()[0] += count as i64;
                py.check_signals()?;
            }
            Ok(total)
        })
    }
}

#[pyfunction]
#[pyo3(signature = (
    x, params, velocity, target, kind, class_weight, pos_weight, sample_weight, ignore_index, label_smoothing, temperature,
    softcap, z_loss, order, rates, batch_size, momentum, nesterov, weight_decay, steps, /
))]
#[expect(clippy::too_many_arguments, reason = "the options of the loss and of the optimiser, as Python passes them")]
pub(super) fn linear_epoch<'py>(
    x: Given<'_, 'py>,
    params: Vec<Bound<'py, PyAny>>,
    velocity: Vec<Bound<'py, PyAny>>,
    target: Given<'_, 'py>,
    kind: Given<'_, 'py>,
    class_weight: Option<Given<'_, 'py>>,
    pos_weight: Option<Given<'_, 'py>>,
    sample_weight: Option<Given<'_, 'py>>,
    ignore_index: Option<i64>,
    label_smoothing: f64,
    temperature: f64,
    softcap: Option<f64>,
    z_loss: f64,
    order: Option<Given<'_, 'py>>,
    rates: Given<'_, 'py>,
    batch_size: usize,
    momentum: f64,
    nesterov: bool,
    weight_decay: [f64; 2],
    steps: Given<'_, 'py>,
) -> PyResult<f64> {
    // Which one makes no difference: an epoch adds up the losses of its rows by itself.
    let reduction = pyo3::types::PyString::new(x.py(), "mean").into_any();
    let softmax = SoftmaxArguments {
        target,
        class_weight,
        sample_weight,
        ignore_index,
        label_smoothing,
        temperature,
        softcap,
        z_loss,
        reduction: &reduction,
    };
    let moment = Momentum { momentum, nesterov };
    let loss = LayerLoss { kind, pos_weight, softmax };
    let plan = Plan { params, velocity, order, rates, batch_size, moment, weight_decay, steps };
    match Logits::of(x, "x", Some(-1))? {
        Logits::F32(x) => plan.run(x, loss),
        Logits::F64(x) => plan.run(x, loss),
        _ => Err(PyTypeError::new_err("xentrs.optim must give float32 or float64")),
    }
}
