//! The softmax family: one target a row.

use super::Problem;
use crate::columns::Columns;
use crate::error::{Error, Result};
use crate::losses::{Group, RowLoss, RowTarget};
use crate::math::Real;
use crate::parallel;
use crate::simd::{Isa, Kernel, MAX_LANES, Simd, write};
use crate::view::{Classes, Rows, RowsIo, check_weights};
use std::ops::Range;

/// What rows of logits are held against.
#[derive(Clone, Copy, Debug)]
pub enum Targets<'a, T> {
    /// A class a row.
    Classes(Classes<'a>),
    /// A distribution a row.
    Distributions(Rows<'a, T>),
}

/// A loss of the softmax family, with targets and weights.
#[derive(Clone, Copy, Debug)]
pub struct RowProblem<'a, T, L> {
    /// The loss of a row.
    pub loss: L,
    /// One target a row.
    pub target: Targets<'a, T>,
    /// One weight a row; 1 where absent.
    pub sample_weight: Option<&'a [T]>,
}

impl<T: Real, L: RowLoss<T>> RowProblem<'_, T, L> {
    #[inline(always)]
    fn target(&self, row: usize) -> Option<RowTarget<'_, T>> {
        match &self.target {
            Targets::Classes(classes) => classes.get(row).map(RowTarget::Class),
            Targets::Distributions(rows) => Some(RowTarget::Distribution(rows.row(row))),
        }
    }

    /// Whether rows are taken together, a row a lane.
    #[inline(always)]
    fn goes_across(&self, classes: usize) -> bool {
        matches!(self.target, Targets::Classes(_)) && self.loss.goes_across(classes)
    }

    /// The group of rows that begins with row `first`, whose logits begin at `logits`.
    #[inline(always)]
    fn group<S: Simd<T>>(&self, s: S, first: usize, rows: usize, logits: &[T], stride: usize) -> Group<T, S::V> {
        let (mut classes, mut weights, mut own) = ([0; MAX_LANES], [T::ZERO; MAX_LANES], [T::ZERO; MAX_LANES]);
        if let Targets::Classes(targets) = &self.target {
            targets.some(first, &mut classes[..rows], |i| weights[i] = T::ONE);
        }
        if let Some(sample_weight) = self.sample_weight {
            for (weight, &sample) in weights.iter_mut().zip(&sample_weight[first..first + rows]) {
                *weight = *weight * sample;
            }
        }
        for i in 0..rows {
            own[i] = logits[i * stride + classes[i]];
        }
        Group { rows, classes, weights, logit: s.load(&own[..S::LANES]) }
    }

    #[inline(always)]
    fn sample_weight(&self, row: usize) -> f64 {
        self.sample_weight.map_or(1.0, |weights| weights[row].to_f64())
    }
}

impl<T: Real, L: RowLoss<T>> Problem<T> for RowProblem<'_, T, L> {
    fn check(&self, rows: usize, classes: usize) -> Result<()> {
        let (expected, got) = match self.target {
            Targets::Classes(labels) => (vec![rows], vec![labels.rows()]),
            Targets::Distributions(target) => (vec![rows, classes], vec![target.rows(), target.classes()]),
        };
        if expected != got {
            return Err(Error::Shape { name: "target", expected, got });
        }
        self.sample_weight.map_or(Ok(()), |weights| check_weights("sample_weight", weights, &[rows]))
    }

    fn losses_per_row(&self, _: usize) -> usize {
        1
    }

    fn divisor(&self, isa: Isa, rows: usize, classes: usize) -> f64 {
        if let (Targets::Classes(labels), None, true) =
            (&self.target, self.sample_weight, self.loss.classes_are_equal())
        {
            return labels.count() as f64;
        }
        let size = parallel::block_rows(classes);
        let elements = if let Targets::Classes(_) = self.target { rows } else { rows * classes };
        let blocks = (0..rows.div_ceil(size)).map(|b| b * size..rows.min((b + 1) * size));
        parallel::sum(blocks, elements, |rows| T::dispatch(isa, RowWeights { problem: self, rows }))
    }

    fn value(&self, isa: Isa, first: usize, logits: Rows<'_, T>, each: Option<&mut [T]>) -> f64 {
        T::dispatch(isa, RowValues { problem: self, first, logits, each })
    }

    fn value_and_grad(&self, isa: Isa, first: usize, rows: RowsIo<'_, T>, divisor: f64, each: Option<&mut [T]>) -> f64 {
        T::with_scratch(rows.scratch_len(), |scratch| {
            T::dispatch(isa, RowGrads { problem: self, first, rows, scratch, divisor, each })
        })
    }
}

/// The weights of a block of rows, for the divisor; a row whose target is NaN counts as one whose target sums to 1.
struct RowWeights<'k, 'a, T, L> {
    problem: &'k RowProblem<'a, T, L>,
    rows: Range<usize>,
}

impl<T: Real, L: RowLoss<T>> Kernel<T> for RowWeights<'_, '_, T, L> {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) -> f64 {
        let RowWeights { problem, rows } = self;
        let mut total = 0.0;
        for row in rows {
            if let Some(target) = problem.target(row) {
                let weight = problem.loss.weight(s, target);
                total += problem.sample_weight(row) * if weight.is_nan() { 1.0 } else { weight };
            }
        }
        total
    }
}

/// The losses of a block of rows.
struct RowValues<'k, 'a, T, L> {
    problem: &'k RowProblem<'a, T, L>,
    first: usize,
    logits: Rows<'k, T>,
    each: Option<&'k mut [T]>,
}

impl<T: Real, L: RowLoss<T>> Kernel<T> for RowValues<'_, '_, T, L> {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) -> f64 {
        let RowValues { problem, first, logits, mut each } = self;
        let (rows, classes) = (logits.rows(), logits.classes());
        let mut total = Total::new();
        // Few classes: as many rows at once as there are lanes.
        if problem.goes_across(classes) {
            let mut columns = Columns::new(s, classes);
            for i in (0..rows).step_by(S::LANES) {
                let (logits, stride) = logits.from(i);
                let group = problem.group(s, first + i, S::LANES.min(rows - i), logits, stride);
                columns.load(s, logits, stride, group.rows);
                let losses = problem.loss.value_across(s, &mut columns, &group);
                if let Some(each) = &mut each {
                    write(s, losses, each, i);
                }
                total.add_register(s, losses);
            }
            return total.sum();
        }
        // Many: one by one.
        for i in 0..rows {
            let weight = problem.sample_weight(first + i);
            let loss = match problem.target(first + i) {
                Some(target) if weight != 0.0 => weight * problem.loss.value(s, logits.row(i), target),
                _ => 0.0,
            };
            if let Some(each) = &mut each {
                each[i] = T::from_f64(loss);
            }
            total.add(loss);
        }
        total.sum()
    }
}

/// The losses and gradients of a block of rows.
struct RowGrads<'k, 'a, T, L> {
    problem: &'k RowProblem<'a, T, L>,
    first: usize,
    rows: RowsIo<'k, T>,
    scratch: &'k mut [T],
    divisor: f64,
    each: Option<&'k mut [T]>,
}

impl<T: Real, L: RowLoss<T>> Kernel<T> for RowGrads<'_, '_, T, L> {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) -> f64 {
        let RowGrads { problem, first, mut rows, scratch, divisor, mut each } = self;
        let (count, classes) = (rows.rows(), rows.classes());
        let mut total = Total::new();
        // Few classes: as many rows at once as there are lanes.
        if problem.goes_across(classes) {
            let mut columns = Columns::new(s, classes);
            for i in (0..count).step_by(S::LANES) {
                let (logits, stride) = rows.from(i);
                let group = problem.group(s, first + i, S::LANES.min(count - i), logits, stride);
                columns.load(s, logits, stride, group.rows);
                let grad = &mut rows.target()[i * classes..];
                let losses = problem.loss.value_and_grad_across(s, &mut columns, &group, T::from_f64(divisor), grad);
                if let Some(each) = &mut each {
                    write(s, losses, each, i);
                }
                total.add_register(s, losses);
            }
            return total.sum();
        }
        // Many: one by one.
        for i in 0..count {
            let weight = problem.sample_weight(first + i);
            let mut row = rows.row(i, scratch);
            let loss = match problem.target(first + i) {
                Some(target) if weight != 0.0 => {
                    weight * problem.loss.value_and_grad(s, &mut row, target, weight / divisor)
                }
                _ => {
                    row.target().fill(T::ZERO);
                    0.0
                }
            };
            if let Some(each) = &mut each {
                each[i] = T::from_f64(loss);
            }
            total.add(loss);
        }
        total.sum()
    }
}

/// A sum of losses, single ones and registers of them, in double precision.
struct Total {
    lanes: [f64; MAX_LANES],
}

impl Total {
    #[inline(always)]
    fn new() -> Self {
        Total { lanes: [0.0; MAX_LANES] }
    }

    #[inline(always)]
    fn add(&mut self, loss: f64) {
        self.lanes[0] += loss;
    }

    #[inline(always)]
    fn add_register<T: Real, S: Simd<T>>(&mut self, s: S, losses: S::V) {
        let mut lanes = [T::ZERO; MAX_LANES];
        s.store(losses, &mut lanes[..S::LANES]);
        for (sum, loss) in self.lanes.iter_mut().zip(lanes) {
            *sum += loss.to_f64();
        }
    }

    #[inline(always)]
    fn sum(self) -> f64 {
        self.lanes.into_iter().fold(0.0, |sum, lane| sum + lane)
    }
}
