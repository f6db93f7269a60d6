//! The softmax family: one target a row.

mod across;
mod long;
mod one_by_one;

use super::stored::{StoredRows, widened};
use super::{CurvedProblem, Problem, SummedRows};
use crate::columns;
use crate::error::{Error, Result};
use crate::losses::{CurvedRowLoss, OfSum, RowLoss, RowTarget};
use crate::math::Real;
use crate::parallel;
use crate::rows::RowSum;
use crate::simd::{Isa, Kernel, Simd};
use crate::sparse::Sparse;
use crate::view::{Classes, Rows, RowsIo, check_weights};
use across::{GradsAcross, ValuesAcross, WeightsAcross};
use one_by_one::{RowGrads, RowHesses, RowValues, Scratch};
use std::ops::Range;

/// The targets of rows of logits.
#[derive(Clone, Copy, Debug)]
pub enum Targets<'a, T> {
    /// A class a row.
    Classes(Classes<'a>),
    /// A distribution a row.
    Distributions(Rows<'a, T>),
    /// A distribution over few classes a row.
    Sparse(Sparse<'a, T>),
    /// A distribution a row, in half precision.
    Stored(&'a dyn StoredRows<T>),
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
            Targets::Sparse(sparse) => Some(RowTarget::Sparse(sparse.row(row))),
            Targets::Stored(_) => unreachable!("a block of them is widened first"),
        }
    }

    #[inline(always)]
    fn sample_weight(&self, row: usize) -> f64 {
        self.sample_weight.map_or(1.0, |weights| weights[row].to_f64())
    }
}

impl<T: Real, L: RowLoss<T> + Clone> RowProblem<'_, T, L> {
    /// Hands `f` the problem of the rows from row `first` on, whose targets are widened.
    #[cold]
    fn block<R>(
        &self,
        stored: &dyn StoredRows<T>,
        isa: Isa,
        first: usize,
        rows: usize,
        f: impl FnOnce(RowProblem<'_, T, L>) -> R,
    ) -> R {
        widened(stored, isa, first, rows, |target| {
            f(RowProblem {
                loss: self.loss.clone(),
                target: Targets::Distributions(target),
                sample_weight: self.sample_weight.map(|weights| &weights[first..first + rows]),
            })
        })
    }
}

impl<T: Real, L: RowLoss<T> + Clone> Problem<T> for RowProblem<'_, T, L> {
    fn check(&self, rows: usize, classes: usize) -> Result<()> {
        let (expected, got) = match self.target {
            Targets::Classes(labels) => (vec![rows], vec![labels.rows()]),
            Targets::Distributions(target) => (vec![rows, classes], vec![target.rows(), target.classes()]),
            Targets::Sparse(target) => (vec![rows, target.pairs()], vec![target.rows(), target.pairs()]),
            Targets::Stored(target) => (vec![rows, classes], target.shape().to_vec()),
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
        if let Targets::Stored(stored) = self.target {
            let before = first * logits.classes();
            return self
                .block(stored, isa, first, logits.rows(), |problem| problem.check_logits(isa, 0, logits))
                .map_err(|error| error.moved(before));
        }
        T::dispatch(isa, RowDomain { problem: self, first, logits })
    }

    fn splits_rows(&self, classes: usize) -> bool {
        self.labels_of_long_rows(classes).is_some()
    }

    fn counts(&self, _: Isa, row: usize, _: usize) -> bool {
        let has_target = matches!(self.target, Targets::Stored(_)) || self.target(row).is_some();
        has_target && self.sample_weight(row) != 0.0
    }

    fn losses_per_row(&self, _: usize) -> usize {
        1
    }

    fn divisor(&self, isa: Isa, rows: usize, classes: usize) -> f64 {
        if let (Targets::Classes(labels), None, true) =
            (&self.target, self.sample_weight, self.loss.class_weight().is_none())
        {
            return labels.count() as f64;
        }
        let size = parallel::block_rows(classes);
        let elements = match self.target {
            Targets::Classes(_) => rows,
            Targets::Distributions(_) | Targets::Stored(_) => rows * classes,
            Targets::Sparse(sparse) => rows * sparse.pairs(),
        };
        let blocks = (0..rows.div_ceil(size)).map(|b| b * size..rows.min((b + 1) * size));
        let scratch = if columns::are_few(classes) { columns::scratch_len(classes) } else { 0 };
        parallel::sum(blocks, elements, |rows| match self.target {
            Targets::Stored(stored) => {
                let count = rows.len();
                self.block(stored, isa, rows.start, count, |problem| problem.divisor(isa, count, classes))
            }
            _ => T::with_scratch(scratch, |scratch| T::dispatch(isa, RowWeights { problem: self, rows, scratch })),
        })
    }

    fn summed(&self) -> Option<&dyn SummedRows<T>> {
        (matches!(self.target, Targets::Classes(_)) && self.loss.follows_from_sum()).then_some(self)
    }

    fn value(&self, isa: Isa, first: usize, logits: Rows<'_, T>, each: Option<&mut [T]>) -> f64 {
        if let Targets::Stored(stored) = self.target {
            return self.block(stored, isa, first, logits.rows(), |problem| problem.value(isa, 0, logits, each));
        }
        if let Some(labels) = self.labels_of_long_rows(logits.classes()) {
            return self.long_values(isa, labels, first, logits, each);
        }
        if self.goes_across(logits.classes()) {
            return T::with_scratch(self.across_len(logits.classes()), |scratch| match self.is_soft() {
                false => T::dispatch(isa, ValuesAcross::<_, _, false> { problem: self, first, logits, scratch, each }),
                true => T::dispatch(isa, ValuesAcross::<_, _, true> { problem: self, first, logits, scratch, each }),
            });
        }
        T::with_scratch(Scratch::len(self, logits.classes(), 0), |scratch| {
            T::dispatch(isa, RowValues { problem: self, first, logits, scratch, each })
        })
    }

    fn value_and_grad(&self, isa: Isa, first: usize, rows: RowsIo<'_, T>, divisor: f64, each: Option<&mut [T]>) -> f64 {
        if let Targets::Stored(stored) = self.target {
            let count = rows.rows();
            return self
                .block(stored, isa, first, count, |problem| problem.value_and_grad(isa, 0, rows, divisor, each));
        }
        if let Some(labels) = self.labels_of_long_rows(rows.classes()) {
            return self.long_grads(isa, labels, first, rows, divisor, each);
        }
        if self.goes_across(rows.classes()) {
            return T::with_scratch(self.across_len(rows.classes()), |scratch| match self.is_soft() {
                false => {
                    T::dispatch(isa, GradsAcross::<_, _, false> { problem: self, first, rows, scratch, divisor, each })
                }
                true => {
                    T::dispatch(isa, GradsAcross::<_, _, true> { problem: self, first, rows, scratch, divisor, each })
                }
            });
        }
        T::with_scratch(Scratch::len(self, rows.classes(), rows.scratch_len()), |scratch| {
            T::dispatch(isa, RowGrads { problem: self, first, rows, scratch, divisor, each })
        })
    }
}

impl<T: Real, L: RowLoss<T>> SummedRows<T> for RowProblem<'_, T, L> {
    fn class(&self, row: usize) -> Option<usize> {
        match self.target(row) {
            Some(RowTarget::Class(class)) if self.sample_weight(row) != 0.0 => Some(class),
            _ => None,
        }
    }

    fn of_sum(&self, row: usize, sum: RowSum<T>, class: usize, logit: T) -> OfSum {
        let (weight, OfSum { loss, others, own }) = (self.sample_weight(row), self.loss.of_sum(sum, class, logit));
        OfSum { loss: weight * loss, others: weight * others, own: weight * own }
    }
}

impl<T: Real, L: CurvedRowLoss<T> + Clone> CurvedProblem<T> for RowProblem<'_, T, L> {
    fn value_grad_hess(
        &self,
        isa: Isa,
        first: usize,
        rows: RowsIo<'_, T>,
        hess: &mut [T],
        divisor: f64,
        each: Option<&mut [T]>,
    ) -> f64 {
        if let Targets::Stored(stored) = self.target {
            let count = rows.rows();
            return self.block(stored, isa, first, count, |problem| {
                problem.value_grad_hess(isa, 0, rows, hess, divisor, each)
            });
        }
        // The Hessian first: the gradient may be written over the logits.
        T::with_scratch(Scratch::len(self, rows.classes(), 0), |scratch| {
            T::dispatch(isa, RowHesses { problem: self, first, logits: rows.source(), scratch, hess, divisor });
        });
        self.value_and_grad(isa, first, rows, divisor, each)
    }
}

/// The weights of a block of rows, for the divisor; a row whose target is NaN counts as one whose target sums to 1.
struct RowWeights<'k, 'a, T, L> {
    problem: &'k RowProblem<'a, T, L>,
    rows: Range<usize>,
    /// As long as [`Columns`](columns::Columns) of the targets want it.
    scratch: &'k mut [T],
}

impl<T: Real, L: RowLoss<T>> Kernel<T> for RowWeights<'_, '_, T, L> {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) -> f64 {
        let RowWeights { problem, rows, scratch } = self;
        // Nothing is done but a sum: transposing pays where rows are as short as two registers.
        if let Targets::Distributions(targets) = problem.target
            && (1..=2 * S::LANES).contains(&targets.classes())
        {
            let class_weight = problem.loss.class_weight();
            let sample_weight = problem.sample_weight.map(
                #[inline(always)]
                |weights| &weights[rows.clone()],
            );
            let targets = targets.part(rows.start, rows.len());
            return s.call(WeightsAcross { targets, class_weight, sample_weight, scratch });
        }
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
        // All rows at once, where all is read; which of them count is asked where something is wrong.
        if matches!(problem.target, Targets::Distributions(_))
            && logits.is_flat()
            && problem.loss.outside(s, logits.flat(), RowTarget::Distribution(&[])).is_none()
        {
            return Ok(());
        }
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

/// The place of the gradient of a row.
#[inline(always)]
fn target_row<'r, T: Real>(rows: &'r mut RowsIo<'_, T>, i: usize) -> &'r mut [T] {
    let classes = rows.classes();
    &mut rows.target()[i * classes..][..classes]
}
