//! The softmax family: one target a row.

use super::Problem;
use crate::columns::{self, Columns, GROUPS};
use crate::error::{Error, Result};
use crate::losses::{Group, RowLoss, RowTarget};
use crate::math::Real;
use crate::parallel;
use crate::simd::{Isa, Kernel, Lanes, MAX_LANES, Simd, read, write};
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

    /// What [`Columns`] of rows taken together need.
    fn scratch_len(&self, classes: usize) -> usize {
        if self.goes_across(classes) { columns::scratch_len(classes) } else { 0 }
    }

    /// The rows from row `first` on, whose logits are made exponentials and summed.
    #[inline(always)]
    fn group<S: Simd<T>>(&self, s: S, first: usize, rows: usize, logits: &mut Columns<'_, T>) -> Group<S::V> {
        let (zero, one) = (s.splat(T::ZERO), s.splat(T::ONE));
        let class = match &self.target {
            Targets::Classes(classes) => classes.register(s, first, rows),
            Targets::Distributions(_) => zero - one,
        };
        let sample = match self.sample_weight {
            Some(weights) => read(s, &weights[..first + rows], first, T::ZERO),
            None => one,
        };
        Group { rows, class, weight: S::V::select(class.lt(zero), zero, sample), sums: logits.exponentiate(s, class) }
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

    fn has_domain(&self) -> bool {
        self.loss.has_domain()
    }

    fn check_logits(&self, isa: Isa, first: usize, logits: Rows<'_, T>) -> Result<()> {
        T::dispatch(isa, RowDomain { problem: self, first, logits })
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
        T::with_scratch(self.scratch_len(logits.classes()), |scratch| {
            T::dispatch(isa, RowValues { problem: self, first, logits, scratch, each })
        })
    }

    fn value_and_grad(&self, isa: Isa, first: usize, rows: RowsIo<'_, T>, divisor: f64, each: Option<&mut [T]>) -> f64 {
        let len = self.scratch_len(rows.classes()).max(rows.scratch_len());
        T::with_scratch(len, |scratch| {
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

/// Whether a block of rows that count lies in the domain of the loss: probabilities.
struct RowDomain<'k, 'a, T, L> {
    problem: &'k RowProblem<'a, T, L>,
    first: usize,
    logits: Rows<'k, T>,
}

impl<T: Real, L: RowLoss<T>> Kernel<T> for RowDomain<'_, '_, T, L> {
    type Output = Result<()>;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) -> Result<()> {
        let RowDomain { problem, first, logits } = self;
        for i in 0..logits.rows() {
            if let Some(target) = problem.target(first + i)
                && problem.sample_weight(first + i) != 0.0
                && let Some(k) = problem.loss.outside(s, logits.row(i), target)
            {
                let (got, index) = (logits.row(i)[k].to_f64(), (first + i) * logits.classes() + k);
                return Err(Error::Value { name: "p", expected: "in [0, 1]", got, index });
            }
        }
        Ok(())
    }
}

/// The losses of a block of rows.
struct RowValues<'k, 'a, T, L> {
    problem: &'k RowProblem<'a, T, L>,
    first: usize,
    logits: Rows<'k, T>,
    scratch: &'k mut [T],
    each: Option<&'k mut [T]>,
}

impl<T: Real, L: RowLoss<T>> Kernel<T> for RowValues<'_, '_, T, L> {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) -> f64 {
        let RowValues { problem, first, logits, scratch, mut each } = self;
        let (rows, classes) = (logits.rows(), logits.classes());
        let mut total = Total::new();
        // Few classes: as many rows at once as there are lanes.
        if problem.goes_across(classes) {
            let mut groups = [Group::none(s); GROUPS];
            for start in (0..rows).step_by(GROUPS * S::LANES) {
                let starts = (start..rows).step_by(S::LANES);
                // 1. sums of exponentials
                for (group, i) in groups.iter_mut().zip(starts.clone()) {
                    let (logits, stride) = logits.from(i);
                    let (mut columns, count) = (Columns::of(s, scratch, 0, classes), S::LANES.min(rows - i));
                    columns.load(s, logits, stride, count);
                    *group = problem.group(s, first + i, count, &mut columns);
                }
                // 2. losses
                for (group, i) in groups.iter().zip(starts) {
                    let losses = problem.loss.value_across(s, group);
                    if let Some(each) = &mut each {
                        write(s, losses, each, i);
                    }
                    total.add_register(s, losses);
                }
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
            let (divisor, mut groups) = (T::from_f64(divisor), [Group::none(s); GROUPS]);
            for start in (0..count).step_by(GROUPS * S::LANES) {
                let starts = (start..count).step_by(S::LANES);
                // 1. exponentials, kept, and their sums
                for (g, (group, i)) in groups.iter_mut().zip(starts.clone()).enumerate() {
                    let (logits, stride) = rows.from(i);
                    let (mut columns, count) = (Columns::of(s, scratch, g, classes), S::LANES.min(count - i));
                    columns.load(s, logits, stride, count);
                    *group = problem.group(s, first + i, count, &mut columns);
                }
                // 2. losses and gradients
                for (g, (group, i)) in groups.iter().zip(starts).enumerate() {
                    let mut columns = Columns::of(s, scratch, g, classes);
                    let grad = &mut rows.target()[i * classes..];
                    let losses = problem.loss.value_and_grad_across(s, &mut columns, group, divisor, grad);
                    if let Some(each) = &mut each {
                        write(s, losses, each, i);
                    }
                    total.add_register(s, losses);
                }
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
