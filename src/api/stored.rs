//! Floating targets in half precision: problems that widen theirs a block at a time, and hand the block to the problem
//! that it is then.

use super::{CurvedProblem, PointProblem, Problem, RowProblem, Targets, first_error};
use crate::error::{Error, Result};
use crate::losses::{CurvedRowLoss, Domain, PointHess, PointLoss, RowLoss};
use crate::parallel;
use crate::simd::{Float, Isa};
use crate::storage::Storage;
use crate::view::{Rows, RowsIo, check_weights};

/// [`RowProblem`] with distributions of a type that is not computed with.
#[derive(Clone, Copy, Debug)]
pub struct StoredRowProblem<'a, S: Storage, L> {
    /// The loss of a row.
    pub loss: L,
    /// One distribution a row.
    pub target: Rows<'a, S>,
    /// One weight a row; 1 where absent.
    pub sample_weight: Option<&'a [S::Real]>,
}

impl<S: Storage, L: RowLoss<S::Real> + Clone> StoredRowProblem<'_, S, L> {
    /// Hands `f` the problem of a block of rows.
    fn block<R>(&self, isa: Isa, first: usize, rows: usize, f: impl FnOnce(RowProblem<'_, S::Real, L>) -> R) -> R {
        S::widened(isa, self.target.part(first, rows), |target| {
            f(RowProblem {
                loss: self.loss.clone(),
                target: Targets::Distributions(target),
                sample_weight: self.sample_weight.map(|weights| &weights[first..first + rows]),
            })
        })
    }
}

impl<S: Storage, L: RowLoss<S::Real> + Clone> Problem<S::Real> for StoredRowProblem<'_, S, L> {
    fn check(&self, rows: usize, classes: usize) -> Result<()> {
        let (expected, got) = (vec![rows, classes], vec![self.target.rows(), self.target.classes()]);
        if expected != got {
            return Err(Error::Shape { name: "target", expected, got });
        }
        self.sample_weight.map_or(Ok(()), |weights| check_weights("sample_weight", weights, &[rows]))
    }

    fn has_domain(&self) -> bool {
        L::INPUTS.1 != Domain::Reals
    }

    fn check_logits(&self, isa: Isa, first: usize, logits: Rows<'_, S::Real>) -> Result<()> {
        let before = first * logits.classes();
        self.block(isa, first, logits.rows(), |problem| problem.check_logits(isa, 0, logits))
            .map_err(|error| error.moved(before))
    }

    fn counts(&self, _: Isa, row: usize, _: usize) -> bool {
        self.sample_weight.is_none_or(|weights| weights[row] != S::Real::ZERO)
    }

    fn losses_per_row(&self, _: usize) -> usize {
        1
    }

    fn divisor(&self, isa: Isa, rows: usize, classes: usize) -> f64 {
        let size = parallel::block_rows(classes);
        let blocks = (0..rows.div_ceil(size)).map(|b| (b * size, size.min(rows - b * size)));
        parallel::sum(blocks, rows * classes, |(first, rows)| {
            self.block(isa, first, rows, |problem| problem.divisor(isa, rows, classes))
        })
    }

    fn value(&self, isa: Isa, first: usize, logits: Rows<'_, S::Real>, each: Option<&mut [S::Real]>) -> f64 {
        self.block(isa, first, logits.rows(), |problem| problem.value(isa, 0, logits, each))
    }

    fn value_and_grad(
        &self,
        isa: Isa,
        first: usize,
        rows: RowsIo<'_, S::Real>,
        divisor: f64,
        each: Option<&mut [S::Real]>,
    ) -> f64 {
        self.block(isa, first, rows.rows(), |problem| problem.value_and_grad(isa, 0, rows, divisor, each))
    }
}

impl<S: Storage, L: CurvedRowLoss<S::Real> + Clone> CurvedProblem<S::Real> for StoredRowProblem<'_, S, L> {
    fn value_grad_hess(
        &self,
        isa: Isa,
        first: usize,
        rows: RowsIo<'_, S::Real>,
        hess: &mut [S::Real],
        divisor: f64,
        each: Option<&mut [S::Real]>,
    ) -> f64 {
        self.block(isa, first, rows.rows(), |problem| problem.value_grad_hess(isa, 0, rows, hess, divisor, each))
    }
}

/// [`PointProblem`] with targets of a type that is not computed with.
#[derive(Clone, Copy, Debug)]
pub struct StoredPointProblem<'a, S: Storage, L> {
    /// The loss of a point.
    pub loss: L,
    /// One target a point, in the domain of the loss, or the ignored one.
    pub target: &'a [S],
    /// One weight a point; 1 where absent.
    pub sample_weight: Option<&'a [S::Real]>,
    /// A point with this target has no loss, no weight and zero gradient, whatever its logit.
    pub ignored: Option<S::Real>,
}

impl<S: Storage, L: PointLoss<S::Real> + Clone> StoredPointProblem<'_, S, L> {
    /// Hands `f` the problem of a block of points.
    fn block<R>(&self, isa: Isa, first: usize, points: usize, f: impl FnOnce(PointProblem<'_, S::Real, L>) -> R) -> R {
        S::widened(isa, Rows::packed(&self.target[first..first + points], 1, points), |target| {
            f(PointProblem {
                loss: self.loss.clone(),
                target: target.row(0),
                sample_weight: self.sample_weight.map(|weights| &weights[first..first + points]),
                ignored: self.ignored,
            })
        })
    }
}

impl<S: Storage, L: PointLoss<S::Real> + Clone> Problem<S::Real> for StoredPointProblem<'_, S, L> {
    fn inputs(&self) -> (&'static str, Domain) {
        (L::NAME, L::INPUTS)
    }

    fn check(&self, rows: usize, classes: usize) -> Result<()> {
        if self.target.len() != rows * classes {
            return Err(Error::Shape { name: "target", expected: vec![rows, classes], got: vec![self.target.len()] });
        }
        self.sample_weight.map_or(Ok(()), |weights| check_weights("sample_weight", weights, &[rows, classes]))
    }

    fn check_targets(&self, isa: Isa) -> Result<()> {
        let len = self.target.len();
        first_error(len, parallel::block_rows(1), len, |first, points| {
            self.block(isa, first, points, |problem| problem.check_targets(isa)).map_err(|error| error.moved(first))
        })
    }

    fn counts(&self, isa: Isa, row: usize, classes: usize) -> bool {
        (self.sample_weight.is_none() && self.ignored.is_none())
            || self.block(isa, row * classes, classes, |problem| problem.counts(isa, 0, classes))
    }

    fn losses_per_row(&self, classes: usize) -> usize {
        classes
    }

    fn divisor(&self, isa: Isa, rows: usize, classes: usize) -> f64 {
        // The targets have a part in it only where one of them may be ignored.
        if self.ignored.is_none() {
            let problem =
                PointProblem { loss: self.loss.clone(), target: &[], sample_weight: self.sample_weight, ignored: None };
            return problem.divisor(isa, rows, classes);
        }
        let (len, size) = (rows * classes, parallel::block_rows(1));
        let blocks = (0..len.div_ceil(size)).map(|b| (b * size, size.min(len - b * size)));
        parallel::sum(blocks, len, |(first, points)| {
            self.block(isa, first, points, |problem| problem.divisor(isa, points, 1))
        })
    }

    fn value(&self, isa: Isa, first: usize, logits: Rows<'_, S::Real>, each: Option<&mut [S::Real]>) -> f64 {
        let classes = logits.classes();
        self.block(isa, first * classes, logits.rows() * classes, |problem| problem.value(isa, 0, logits, each))
    }

    fn value_and_grad(
        &self,
        isa: Isa,
        first: usize,
        rows: RowsIo<'_, S::Real>,
        divisor: f64,
        each: Option<&mut [S::Real]>,
    ) -> f64 {
        let classes = rows.classes();
        self.block(isa, first * classes, rows.rows() * classes, |problem| {
            problem.value_and_grad(isa, 0, rows, divisor, each)
        })
    }
}

impl<S: Storage, L: PointHess<S::Real> + Clone> CurvedProblem<S::Real> for StoredPointProblem<'_, S, L> {
    fn value_grad_hess(
        &self,
        isa: Isa,
        first: usize,
        rows: RowsIo<'_, S::Real>,
        hess: &mut [S::Real],
        divisor: f64,
        each: Option<&mut [S::Real]>,
    ) -> f64 {
        let classes = rows.classes();
        self.block(isa, first * classes, rows.rows() * classes, |problem| {
            problem.value_grad_hess(isa, 0, rows, hess, divisor, each)
        })
    }
}
