//! One epoch of stochastic gradient descent for a linear model: a visit to each row of `X`, a step each batch.

use super::{Problem, check_takes_logits};
use crate::error::{Error, Result};
use crate::linear::{self, AddColumns, Descent, Gather, Moment, Slope, Visits};
use crate::math::Real;
use crate::parallel;
use crate::simd::Isa;
use crate::view::{Rows, RowsIo};
use std::ops::Range;

/// What an epoch goes over. The targets and weights of the loss are in the order of the visits.
#[derive(Clone, Copy)]
pub struct Epoch<'a, T: Real> {
    /// The loss of the logits `x weight^T + bias`: one of those that take any number.
    pub loss: &'a dyn Problem<T>,
    /// A row of features each.
    pub x: Rows<'a, T>,
    /// The row of each visit; as they stand where absent.
    pub order: Option<&'a [i64]>,
    /// Visits a step; the last step takes what is left.
    pub batch_size: usize,
    /// The length of each step, in parameters per gradient of the batch's summed loss over its number of rows.
    pub rates: &'a [f64],
    /// What of the steps before goes into each.
    pub moment: Moment,
    /// The factors of the penalty `weight_decay ||.||^2 / 2`: that on the weight, and that on the bias.
    pub weight_decay: [f64; 2],
}

/// The parameters of a linear model, or their velocities.
#[derive(Debug)]
pub struct Parameters<'a, T> {
    /// A row of features a class.
    pub weight: &'a mut [T],
    /// One number a class, where there is a bias.
    pub bias: Option<&'a mut [T]>,
}

/// An epoch whose parts fit each other.
pub struct CheckedEpoch<'a, T: Real> {
    epoch: Epoch<'a, T>,
    visits: Visits<'a, T>,
    isa: Isa,
    classes: usize,
}

impl<'a, T: Real> Epoch<'a, T> {
    /// Holds everything against everything, for so many classes.
    ///
    /// # Errors
    /// [`Error::Parameter`] for batches of no rows and for a loss of probabilities, [`Error::Shape`] unless there is a rate a
    /// step, [`Error::Value`] for an order that names what is no row, and what the loss finds.
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

    /// Takes some of the steps, and tells what they add to the loss of the epoch: the sum over its visits, each batch's
    /// before its step, divided by their number.
    ///
    /// # Errors
    /// [`Error::Shape`] where parameters do not fit, [`Error::Parameter`] where velocities do not belong to them; nothing is
    /// written then.
    pub fn run(
        &self,
        steps: Range<usize>,
        model: &mut Parameters<'_, T>,
        mut velocity: Option<&mut Parameters<'_, T>>,
    ) -> Result<f64> {
        let (features, visits, size) = (self.epoch.x.classes(), self.visits.len(), self.epoch.batch_size);
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
            self.descend(self.epoch.rates[step], batch.slopes(self, step * size), model, velocity.as_deref_mut());
        }
        Ok(total / visits.max(1) as f64)
    }

    /// A step of the weight, and one of the bias.
    fn descend(
        &self,
        rate: f64,
        slopes: [Slope<'_, T>; 2],
        model: &mut Parameters<'_, T>,
        velocity: Option<&mut Parameters<'_, T>>,
    ) {
        let (weight_velocity, bias_velocity) = match velocity {
            Some(Parameters { weight, bias }) => (Some(&mut **weight), bias.as_deref_mut()),
            None => (None, None),
        };
        let params = [Some(&mut *model.weight), model.bias.as_deref_mut()];
        let velocities = [weight_velocity, bias_velocity];
        for (((params, velocity), slope), weight_decay) in
            params.into_iter().zip(velocities).zip(slopes).zip(self.epoch.weight_decay)
        {
            if let Some(params) = params {
                let moment = self.epoch.moment;
                T::dispatch(self.isa, Descent { rate, weight_decay, moment, slope, params, velocity });
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

/// Into so many parts a batch of more than one block is cut at most, whatever the number of threads.
const MOST_PARTS: usize = 4;

/// The gradient of one batch after another, in parts that threads share.
struct Batch<T> {
    parts: Vec<Part<T>>,
    bias_grad: Vec<T>,
}

/// What some rows of a batch add to its gradient.
struct Part<T> {
    ahead: Ahead<T>,
    /// The logits of a block of rows, in whose place the gradients of these come.
    logits: Vec<T>,
    bias_sums: Vec<f64>,
    /// None where a batch is a single row: its gradient is the product of two vectors, and is not written anywhere.
    weight_grad: Option<Vec<T>>,
}

/// Rows of visits to come, one behind the other: fetched many at a time, they wait for the memory together.
struct Ahead<T> {
    x: Vec<T>,
    visits: Range<usize>,
    /// How many rows there is room for.
    block: usize,
}

impl<T: Real> Batch<T> {
    fn new(rows: usize, features: usize, classes: usize) -> Self {
        let block = linear::block_rows::<T>(features, classes);
        let count = rows.div_ceil(block).clamp(1, MOST_PARTS);
        // Rows are fetched ahead of a small batch, but not beyond a part of a large one.
        let block = if count == 1 { block } else { block.min(rows.div_ceil(count)) };
        let part = || Part {
            ahead: Ahead { x: vec![T::ZERO; block * features], visits: 0..0, block },
            logits: vec![T::ZERO; block.min(rows) * classes],
            bias_sums: vec![0.0; classes],
            weight_grad: (rows > 1).then(|| vec![T::ZERO; classes * features]),
        };
        let parts = (0..count).map(|_| part()).collect();
        Batch { parts, bias_grad: vec![T::ZERO; classes] }
    }

    /// Sums losses and gradients over some visits.
    fn evaluate(&mut self, on: &CheckedEpoch<'_, T>, visits: Range<usize>, model: &Parameters<'_, T>) -> f64 {
        // 1. parts of equal size
        let size = visits.len().div_ceil(self.parts.len());
        let some =
            |part: usize| visits.end.min(visits.start + part * size)..visits.end.min(visits.start + (part + 1) * size);
        let (weight, bias) = (&*model.weight, model.bias.as_deref());
        let work = linear::work(visits.len(), on.epoch.x.classes(), on.classes);
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

    /// What the weight and the bias go down.
    fn slopes(&self, on: &CheckedEpoch<'_, T>, first: usize) -> [Slope<'_, T>; 2] {
        let (part, features) = (&self.parts[0], on.epoch.x.classes());
        let weight = match &part.weight_grad {
            Some(grad) => Slope::Dense(grad),
            None => {
                let at = (first - part.ahead.visits.start) * features;
                Slope::Outer { grad: &part.logits, x: &part.ahead.x[at..][..features] }
            }
        };
        [weight, Slope::Dense(&self.bias_grad)]
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
        let (isa, loss, classes, features) = (on.isa, on.epoch.loss, on.classes, on.epoch.x.classes());
        let weight = Rows::packed(weight, classes, features);
        let mut total = 0.0;
        self.bias_sums.fill(0.0);
        if let Some(grad) = &mut self.weight_grad {
            grad.fill(T::ZERO);
        }
        for first in visits.clone().step_by(self.ahead.block) {
            let rows = self.ahead.block.min(visits.end - first);
            // 1. Z = X W^T + b
            let (x, logits) = (self.ahead.rows(on, first..first + rows), &mut self.logits[..rows * classes]);
            let x = Rows::packed(x, rows, features);
            linear::block_logits(isa, x, weight, bias, logits);
            // 2. the loss, and in the place of Z its gradient G
            total += loss.value_and_grad(isa, first, RowsIo::over(logits, rows, classes), batch as f64, None);
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

impl<T: Real> Ahead<T> {
    /// The rows of some visits, but zeros for one that counts for nothing, whatever it holds.
    fn rows(&mut self, on: &CheckedEpoch<'_, T>, visits: Range<usize>) -> &[T] {
        let features = on.epoch.x.classes();
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
