//! An epoch of stochastic gradient descent; the interpreter may interrupt it between steps.

use super::arrays::{Arg, Array, Number, detached};
use super::inputs::{Input, Logits, data};
use super::linear::LayerLoss;
use super::options::{SoftmaxOptions, function, softmax_options};
use super::weights::Use;
use crate::linear;
use crate::math::Real;
use crate::storage::Storage;
use crate::{Decay, Epoch, Momentum, Parameters};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

/// The number of summed elements between two checks for signals of the interpreter: a few milliseconds of work.
const ATTENTION: usize = 1 << 22;

/// Weight and bias. `xentrs.optim` has checked that they have the type of `x` and are writeable.
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

/// An epoch without its loss.
struct Plan<'a, 'py> {
    params: Vec<Bound<'py, PyAny>>,
    /// One array per parameter, if there is momentum.
    velocity: Vec<Bound<'py, PyAny>>,
    order: Option<Arg<'a, 'py>>,
    rates: Arg<'a, 'py>,
    batch_size: usize,
    moment: Momentum,
    weight_decay: [f64; 2],
    /// One number a weight, in place of the first of these.
    decays: Option<Arg<'a, 'py>>,
    /// A counter of steps; it stays correct if the interpreter interrupts the epoch.
    steps: Arg<'a, 'py>,
}

impl<'py> Plan<'_, 'py> {
    fn run<S: Number + Real + Storage<Real = S>>(self, x: Input<'py, S>, loss: LayerLoss<'_, 'py>) -> PyResult<f64> {
        let private = |given: &Bound<'py, PyAny>, name: &str| {
            Array::<i64>::in_place(given).ok_or_else(|| PyTypeError::new_err(format!("{name} must be int64")))
        };
        let mut model = Places::<S>::of(&self.params)?;
        let mut velocity = if self.velocity.is_empty() { None } else { Some(Places::<S>::of(&self.velocity)?) };
        let order = self.order.map(|order| private(order, "order").map(Box::new)).transpose()?;
        let rates = Array::<f64>::copy(self.rates)?;
        let decays = self.decays.map(Array::<S>::copy).transpose()?;
        let mut steps = private(self.steps, "steps")?;
        let (classes, py) = (model.weight.shape().first().copied().unwrap_or(0), x.py());
        let x = x.with_outputs(classes);
        // The steps are proportional to the weights. What is too small for the type moves no parameter of the type.
        loss.with_objective(&x, Use::AsTheyAre, |loss| {
            let Plan { batch_size, moment, weight_decay, .. } = self;
            let (rows, order) = (x.array.rows()?, data(&order));
            let [same, bias] = weight_decay.map(Decay::Same);
            let weight_decay = [decays.as_ref().map_or(same, |decays| Decay::Each(decays.data())), bias];
            let epoch = Epoch { loss, x: rows, order, batch_size, rates: rates.data(), moment, weight_decay };
            let epoch = epoch.checked(classes)?;
            let work = linear::work(batch_size, rows.columns(), classes).max(1);
            let (mut model, mut velocity) = (model.parameters(), velocity.as_mut().map(Places::parameters));
            let (mut total, mut next) = (0.0, 0);
            while next < epoch.steps() {
                let some = next..epoch.steps().min(next + (ATTENTION / work).max(1));
                next = some.end;
                let count = some.len();
                total += detached(py, count.saturating_mul(work), || epoch.run(some, &mut model, velocity.as_mut()))?;
                if let Some(steps) = steps.data_mut().first_mut() {
                    *steps += count as i64;
                }
                py.check_signals()?;
            }
            Ok(total)
        })
    }
}

softmax_options! { function!
    fn linear_epoch(
        x: Arg<'a, 'py>,
        params: Vec<Bound<'py, PyAny>>,
        velocity: Vec<Bound<'py, PyAny>>,
        target: Arg<'a, 'py>,
        kind: Arg<'a, 'py>,
        pos_weight: Option<Arg<'a, 'py>>,
        ..options: SoftmaxOptions,
        order: Option<Arg<'a, 'py>>,
        rates: Arg<'a, 'py>,
        batch_size: usize,
        momentum: f64,
        nesterov: bool,
        weight_decay: [f64; 2],
        decays: Option<Arg<'a, 'py>>,
        steps: Arg<'a, 'py>,
    ) -> PyResult<f64> {
        let loss = LayerLoss::of(target, kind, pos_weight, options)?;
        let moment = Momentum { momentum, nesterov };
        let plan = Plan { params, velocity, order, rates, batch_size, moment, weight_decay, decays, steps };
        match Logits::of(x, "x", Some(-1))? {
            Logits::F32(x) => plan.run(x, loss),
            Logits::F64(x) => plan.run(x, loss),
            _ => Err(PyTypeError::new_err("xentrs.optim must give float32 or float64")),
        }
    }
}
