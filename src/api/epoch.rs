//! One epoch of stochastic gradient descent for a linear model: a visit to each row of `X`, a step each batch.

use super::{GradScale, Objective, check_takes_logits};
use crate::error::{Error, Result};
use crate::linear::{self, AddColumns, Decay, Gather, Gradient, Momentum, SgdStep, Visits};
use crate::math::Real;
use crate::memory;
use crate::parallel;
use crate::simd::Isa;
use crate::view::{Rows, RowsIo};
use std::ops::Range;

/// The data and options of an epoch. Targets and weights of the loss are in the order of the visits.
#[derive(Clone, Copy)]
pub struct Epoch<'a, T: Real> {
    /// The loss of the logits `x weight^T + bias`; a loss of probabilities is refused.
    pub loss: &'a dyn Objective<T>,
    /// Samples, a row of features each.
    pub x: Rows<'a, T>,
    /// The row of each visit; the rows in their order where absent.
    pub order: Option<&'a [i64]>,
    /// Visits a step; the last step may have fewer.
    pub batch_size: usize,
    /// The learning rate of each step, for the gradient of the batch's summed loss divided by its number of rows.
    pub rates: &'a [f64],
    /// Momentum of the steps.
    pub moment: Momentum,
    /// The factors of the penalties `weight_decay ||.||^2 / 2` on weight and bias.
    pub weight_decay: [Decay<'a, T>; 2],
}

/// The parameters of a linear model, or their velocities.
#[derive(Debug)]
pub struct Parameters<'a, T> {
    /// A row of features a class.
    pub weight: &'a mut [T],
    /// One number a class, where there is a bias.
    pub bias: Option<&'a mut [T]>,
}

/// An epoch whose parts have been checked against each other.
pub struct CheckedEpoch<'a, T: Real> {
    epoch: Epoch<'a, T>,
    visits: Visits<'a, T>,
    isa: Isa,
    classes: usize,
}

impl<'a, T: Real> Epoch<'a, T> {
    /// Checks that all parts fit each other and a model of `classes` classes.
    ///
    /// # Errors
    /// [`Error::Parameter`] for batches of no rows and for a loss of probabilities, [`Error::Shape`] unless there is a
    /// rate a step and a decay a parameter, [`Error::Value`] for an order with a number that is no row, and the errors of the loss.
    pub fn checked(self, classes: usize) -> Result<CheckedEpoch<'a, T>> {
        let Epoch { loss, x, order, batch_size, rates, .. } = self;
        let (isa, visits) = (Isa::active()?, Visits { x, order });
        if batch_size == 0 {
            return Err(Error::parameter("batch_size", "positive", "0"));
        }
        let steps = visits.len().div_ceil(batch_size);
        if rates.len() != steps {
            return Err(Error::Shape { name: "learning_rate", expected: vec![steps], got: vec![rates.len()] });
        }
        for (decay, expected) in self.weight_decay.iter().zip([classes * x.columns(), classes]) {
            if let Decay::Each(decays) = decay
                && decays.len() != expected
            {
                return Err(Error::Shape { name: "weight_decay", expected: vec![expected], got: vec![decays.len()] });
            }
        }
        let is_row = |&row: &i64| (0..x.rows() as i64).contains(&row);
        let wrong =
            order.and_then(|order| order.iter().position(|row| !is_row(row)).map(|index| (order[index], index)));
        if let Some((got, index)) = wrong {
            return Err(Error::Value { name: "order", expected: "the number of a row", got: got as f64, index });
        }
        check_takes_logits(loss)?;
        loss.check(visits.len(), classes)?;
        loss.check_targets(isa)?;
        Ok(CheckedEpoch { epoch: self, visits, isa, classes })
    }
}

impl<T: Real> CheckedEpoch<'_, T> {
    /// How many steps there are.
    pub fn steps(&self) -> usize {
        self.epoch.rates.len()
    }

    /// Takes some of the steps, and returns their part of the epoch's loss: the sum of the batches' losses, each before
    /// its step, divided by the number of visits of the epoch.
    ///
    /// # Errors
    /// [`Error::Shape`] for parameters that do not fit, [`Error::Parameter`] for velocities that do not fit them, and for
    /// steps beyond the last one. Then nothing is written.
    pub fn run(
        &self,
        steps: Range<usize>,
        model: &mut Parameters<'_, T>,
        mut velocity: Option<&mut Parameters<'_, T>>,
    ) -> Result<f64> {
        let (features, visits, size) = (self.epoch.x.columns(), self.visits.len(), self.epoch.batch_size);
        if steps.end > self.steps() {
            return Err(Error::parameter("steps", "those of the epoch", format!("{steps:?} of {}", self.steps())));
        }
        model.check(self.classes, features)?;
        if let Some(velocity) = &velocity {
            velocity.check(self.classes, features)?;
            if velocity.bias.is_some() != model.bias.is_some() {
                let (expected, got) = ("one of each parameter", "another number of them");
                return Err(Error::parameter("velocity", expected, got));
            }
        }
        let (mut batch, mut total) = (Batch::new(size.min(visits), features, self.classes), 0.0);
        for step in steps {
            // 1. the loss of the batch, and its gradient
            total += batch.evaluate(self, step * size..visits.min((step + 1) * size), model);
            // 2. a step down
            self.descend(self.epoch.rates[step], batch.gradients(self, step * size), model, velocity.as_deref_mut());
        }
        Ok(total / visits.max(1) as f64)
    }

    /// A step of the weight, and one of the bias.
    fn descend(
        &self,
        rate: f64,
        gradients: [Gradient<'_, T>; 2],
        model: &mut Parameters<'_, T>,
        velocity: Option<&mut Parameters<'_, T>>,
    ) {
        let (weight_velocity, bias_velocity) = match velocity {
            Some(Parameters { weight, bias }) => (Some(&mut **weight), bias.as_deref_mut()),
            None => (None, None),
        };
        let params = [Some(&mut *model.weight), model.bias.as_deref_mut()];
        let velocities = [weight_velocity, bias_velocity];
        for (((params, velocity), gradient), weight_decay) in
            params.into_iter().zip(velocities).zip(gradients).zip(self.epoch.weight_decay)
        {
            if let Some(params) = params {
                let moment = self.epoch.moment;
                T::dispatch(self.isa, SgdStep { rate, weight_decay, moment, gradient, params, velocity });
            }
        }
    }
}

impl<T: Real> Parameters<'_, T> {
    fn check(&self, classes: usize, features: usize) -> Result<()> {
        if self.weight.len() != classes * features {
            let (expected, got) = (vec![classes, features], vec![self.weight.len()]);
            return Err(Error::Shape { name: "weight", expected, got });
        }
        match &self.bias {
            Some(bias) if bias.len() != classes => {
                Err(Error::Shape { name: "bias", expected: vec![classes], got: vec![bias.len()] })
            }
            _ => Ok(()),
        }
    }
}

/// The largest number of parts of a batch, which does not depend on the number of threads.
const MOST_PARTS: usize = 4;

/// The gradient of one batch after another, in parts that threads share.
struct Batch<T> {
    parts: Vec<Part<T>>,
    bias_grad: Vec<T>,
}

/// The contribution of some rows to the gradient of a batch.
struct Part<T> {
    prefetched: Prefetched<T>,
    /// The logits of a block of rows, which are overwritten by their gradients.
    logits: Vec<T>,
    bias_sums: Vec<f64>,
    /// None where a batch is a single row: its gradient is the outer product of two vectors and is never stored.
    weight_grad: Option<Vec<T>>,
}

/// Rows of the next visits, one after the other. Fetching many at a time overlaps their memory latencies.
struct Prefetched<T> {
    x: Vec<T>,
    visits: Range<usize>,
    /// Capacity in rows.
    block: usize,
}

impl<T: Real> Batch<T> {
    fn new(rows: usize, features: usize, classes: usize) -> Self {
        let block = linear::block_rows::<T>(features, classes);
        let count = rows.div_ceil(block).clamp(1, MOST_PARTS);
        // A small batch fetches rows of later batches too, a part of a large one only its own.
        let block = if count == 1 { block } else { block.min(rows.div_ceil(count)) };
        let part = || Part {
            prefetched: Prefetched { x: memory::zeros(block * features), visits: 0..0, block },
            logits: memory::zeros(block.min(rows) * classes),
            bias_sums: memory::zeros(classes),
            weight_grad: (rows > 1).then(|| memory::zeros(classes * features)),
        };
        let parts = (0..count).map(|_| part()).collect();
        Batch { parts, bias_grad: memory::zeros(classes) }
    }

    /// Sums losses and gradients over some visits.
    fn evaluate(&mut self, on: &CheckedEpoch<'_, T>, visits: Range<usize>, model: &Parameters<'_, T>) -> f64 {
        // 1. parts of equal size
        let size = visits.len().div_ceil(self.parts.len());
        let some =
            |part: usize| visits.end.min(visits.start + part * size)..visits.end.min(visits.start + (part + 1) * size);
        let (weight, bias) = (&*model.weight, model.bias.as_deref());
        let work = linear::work(visits.len(), on.epoch.x.columns(), on.classes);
        let parts = self.parts.iter_mut().enumerate();
        let total = parallel::sum(parts, work, |(i, part)| part.evaluate(on, some(i), visits.len(), weight, bias));
        // 2. their sums, in order
        let (first, others) = self.parts.split_at_mut(1);
        for other in others {
            if let (Some(sums), Some(grad)) = (&mut first[0].weight_grad, &other.weight_grad) {
                sums.iter_mut().zip(grad).for_each(|(sum, &g)| *sum = *sum + g);
            }
            first[0].bias_sums.iter_mut().zip(&other.bias_sums).for_each(|(sum, g)| *sum += g);
        }
        for (grad, &sum) in self.bias_grad.iter_mut().zip(&first[0].bias_sums) {
            *grad = T::from_f64(sum);
        }
        total
    }

    /// The gradients of weight and bias.
    fn gradients(&self, on: &CheckedEpoch<'_, T>, first: usize) -> [Gradient<'_, T>; 2] {
        let (part, features) = (&self.parts[0], on.epoch.x.columns());
        let weight = match &part.weight_grad {
            Some(grad) => Gradient::Dense(grad),
            None => {
                let at = (first - part.prefetched.visits.start) * features;
                Gradient::Outer { grad: &part.logits, x: &part.prefetched.x[at..][..features] }
            }
        };
        [weight, Gradient::Dense(&self.bias_grad)]
    }
}

impl<T: Real> Part<T> {
    /// Sums losses and gradients over some of a batch's visits, a block of rows at a time.
    fn evaluate(
        &mut self,
        on: &CheckedEpoch<'_, T>,
        visits: Range<usize>,
        batch: usize,
        weight: &[T],
        bias: Option<&[T]>,
    ) -> f64 {
        let (isa, loss, classes, features) = (on.isa, on.epoch.loss, on.classes, on.epoch.x.columns());
        let weight = Rows::packed(weight, classes, features);
        let mut total = 0.0;
        self.bias_sums.fill(0.0);
        if let Some(grad) = &mut self.weight_grad {
            grad.fill(T::ZERO);
        }
        for first in visits.clone().step_by(self.prefetched.block) {
            let rows = self.prefetched.block.min(visits.end - first);
            // 1. Z = X W^T + b
            let (x, logits) = (self.prefetched.rows(on, first..first + rows), &mut self.logits[..rows * classes]);
            let x = Rows::packed(x, rows, features);
            linear::block_logits(isa, x, weight, bias, logits);
            // 2. the loss, and its gradient G, which replaces Z
            total += loss.value_and_grad(
                isa,
                first,
                RowsIo::over(logits, rows, classes),
                GradScale::over(batch as f64),
                None,
            );
            // 3. dW += G^T X, db += sum_i G_i
            if let Some(grad) = &mut self.weight_grad {
                linear::add_block_product(isa, x, logits, classes, grad);
            }
            let sums = &mut self.bias_sums;
            T::dispatch(isa, AddColumns { rows: logits, stride: classes, columns: 0..classes, sums });
        }
        total
    }
}

impl<T: Real> Prefetched<T> {
    /// The rows of some visits; zeros for a row that does not count, which may hold NaN.
    fn rows(&mut self, on: &CheckedEpoch<'_, T>, visits: Range<usize>) -> &[T] {
        let features = on.epoch.x.columns();
        if visits.end > self.visits.end {
            self.visits = visits.start..on.visits.len().min(visits.start + self.block);
            let x = &mut self.x[..self.visits.len() * features];
            T::dispatch(on.isa, Gather { visits: on.visits, first: visits.start, out: x });
            for (i, visit) in self.visits.clone().enumerate() {
                if !on.epoch.loss.counts(on.isa, visit, on.classes) {
                    x[i * features..][..features].fill(T::ZERO);
                }
            }
        }
        &self.x[(visits.start - self.visits.start) * features..][..visits.len() * features]
    }
}
