//! Labels that are independent of each other: sigmoid cross-entropy, its focal loss, hinge loss, binary cross-entropy.

use super::Given;
use super::arrays::{Array, Number};
use super::inputs::{Floats, Input, Logits, data, fork, reduction, span};
use super::outputs::{Output, Want, evaluate, evaluate_hess};
use crate::simd::Float;
use crate::{
    BinaryCrossEntropy, Domain, HingeLoss, PointHess, PointLoss, PointProblem, Problem, Reduction, SigmoidCrossEntropy,
    SigmoidFocalLoss, StoredPointProblem,
};
use pyo3::prelude::*;

/// The targets, and the options that are none of a kernel's.
#[derive(Clone, Copy)]
pub(super) struct PointArguments<'a, 'py> {
    pub(super) target: Given<'a, 'py>,
    pub(super) pos_weight: Option<Given<'a, 'py>>,
    pub(super) sample_weight: Option<Given<'a, 'py>>,
    pub(super) ignore_index: Option<i64>,
    pub(super) reduction: Given<'a, 'py>,
}

/// The same, in arrays that fit the logits.
struct Against<'py, S: Number> {
    target: Floats<'py, S>,
    pos_weight: Option<Array<'py, S::Real>>,
    sample_weight: Option<Array<'py, S::Real>>,
    ignored: Option<S::Real>,
}

impl<'a, 'py> PointArguments<'a, 'py> {
    #[inline(always)]
    fn read<S: Number>(&self, logits: &Input<'py, S>, domain: Domain) -> PyResult<Against<'py, S>> {
        let target = logits.labels(self.target, domain, self.ignore_index)?;
        let pos_weight = logits.pos_weight(self.pos_weight)?;
        let sample_weight = logits.point_weights(self.sample_weight, "sample_weight")?;
        let ignored = self.ignore_index.map(|ignored| S::Real::from_f64(ignored as f64));
        Ok(Against { target, pos_weight, sample_weight, ignored })
    }

    #[inline(always)]
    fn output<S: Number>(
        &self,
        logits: &Input<'py, S>,
        against: &Against<'py, S>,
        out: Option<Given<'a, 'py>>,
    ) -> PyResult<Output<'py, S>> {
        let given = [Some(self.target), self.pos_weight, self.sample_weight];
        let spans = [against.target.span(), span(&against.pos_weight), span(&against.sample_weight)];
        Output::of(logits, out, given, spans)
    }

    /// The loss that `make` makes of `pos_weight`, or the pair of loss and gradient.
    fn run<S: Number, L: PointLoss<S::Real> + Clone>(
        self,
        mut logits: Input<'py, S>,
        want: Want<'a, 'py>,
        make: impl FnOnce(Option<&[S::Real]>) -> crate::Result<L>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let against = self.read(&logits, L::TARGETS)?;
        against.fold(&mut logits);
        let output = want.output(|out| self.output(&logits, &against, out))?;
        let loss = make(data(&against.pos_weight))?;
        let (reduction, shape) = (reduction(self.reduction)?, logits.array.shape());
        match &against.target {
            Floats::Real(target) => evaluate(&logits, &against.problem(loss, target.data()), reduction, shape, output),
            Floats::Stored(target) => {
                evaluate(&logits, &against.stored_problem(loss, target.data()), reduction, shape, output)
            }
        }
    }

    /// Hands `f` the cross-entropy of logits that a linear layer makes of these inputs.
    pub(super) fn with_problem<S: Number, R>(
        self,
        x: &Input<'py, S>,
        label_smoothing: f64,
        f: impl FnOnce(&dyn Problem<S::Real>, Reduction) -> PyResult<R>,
    ) -> PyResult<R> {
        let against = self.read(x, SigmoidCrossEntropy::<S::Real>::TARGETS)?;
        let loss = SigmoidCrossEntropy::new(data(&against.pos_weight), label_smoothing)?;
        let reduction = reduction(self.reduction)?;
        match &against.target {
            Floats::Real(target) => f(&against.problem(loss, target.data()), reduction),
            Floats::Stored(target) => f(&against.stored_problem(loss, target.data()), reduction),
        }
    }

    /// The triple of loss, gradient and the diagonal of the Hessian.
    fn run_hess<S: Number, L: PointHess<S::Real> + Clone>(
        self,
        mut logits: Input<'py, S>,
        out: Option<Given<'a, 'py>>,
        make: impl FnOnce(Option<&[S::Real]>) -> crate::Result<L>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let against = self.read(&logits, L::TARGETS)?;
        against.fold(&mut logits);
        let output = self.output(&logits, &against, out)?;
        let loss = make(data(&against.pos_weight))?;
        let (reduction, shape) = (reduction(self.reduction)?, logits.array.shape());
        match &against.target {
            Floats::Real(target) => {
                evaluate_hess(&logits, &against.problem(loss, target.data()), reduction, shape, output)
            }
            Floats::Stored(target) => {
                evaluate_hess(&logits, &against.stored_problem(loss, target.data()), reduction, shape, output)
            }
        }
    }
}

impl<S: Number> Against<'_, S> {
    /// Makes rows of the points, as long as the weights of positive labels, which repeat from row to row.
    #[inline(always)]
    fn fold(&self, logits: &mut Input<'_, S>) {
        if let Some(pos_weight) = &self.pos_weight {
            logits.array.fold(pos_weight.len());
        }
    }

    #[inline(always)]
    fn problem<'k, L>(&'k self, loss: L, target: &'k [S::Real]) -> PointProblem<'k, S::Real, L> {
        PointProblem { loss, target, sample_weight: data(&self.sample_weight), ignored: self.ignored }
    }

    fn stored_problem<'k, L>(&'k self, loss: L, target: &'k [S]) -> StoredPointProblem<'k, S, L> {
        StoredPointProblem { loss, target, sample_weight: data(&self.sample_weight), ignored: self.ignored }
    }
}

#[pyfunction]
#[pyo3(signature = (logits, target, pos_weight, sample_weight, ignore_index, label_smoothing, reduction, /))]
pub(super) fn sigmoid_cross_entropy<'py>(
    logits: Given<'_, 'py>,
    target: Given<'_, 'py>,
    pos_weight: Option<Given<'_, 'py>>,
    sample_weight: Option<Given<'_, 'py>>,
    ignore_index: Option<i64>,
    label_smoothing: f64,
    reduction: Given<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let arguments = PointArguments { target, pos_weight, sample_weight, ignore_index, reduction };
    fork!(Logits::of(logits, "logits", None)?, logits => {
        arguments.run(logits, Want::Loss, |pos_weight| SigmoidCrossEntropy::new(pos_weight, label_smoothing))
    })
}

#[pyfunction]
#[pyo3(signature = (logits, target, pos_weight, sample_weight, ignore_index, label_smoothing, reduction, out, /))]
#[expect(clippy::too_many_arguments, reason = "the options of the loss, as Python passes them")]
pub(super) fn sigmoid_cross_entropy_with_grad<'py>(
    logits: Given<'_, 'py>,
    target: Given<'_, 'py>,
    pos_weight: Option<Given<'_, 'py>>,
    sample_weight: Option<Given<'_, 'py>>,
    ignore_index: Option<i64>,
    label_smoothing: f64,
    reduction: Given<'_, 'py>,
    out: Option<Given<'_, 'py>>,
) -> PyResult<Bound<'py, PyAny>> {
    let arguments = PointArguments { target, pos_weight, sample_weight, ignore_index, reduction };
    fork!(Logits::of(logits, "logits", None)?, logits => {
        arguments.run(logits, Want::Gradient(out), |pos_weight| SigmoidCrossEntropy::new(pos_weight, label_smoothing))
    })
}

#[pyfunction]
#[pyo3(signature = (logits, target, pos_weight, sample_weight, ignore_index, label_smoothing, reduction, out, /))]
#[expect(clippy::too_many_arguments, reason = "the options of the loss, as Python passes them")]
pub(super) fn sigmoid_cross_entropy_with_hess<'py>(
    logits: Given<'_, 'py>,
    target: Given<'_, 'py>,
    pos_weight: Option<Given<'_, 'py>>,
    sample_weight: Option<Given<'_, 'py>>,
    ignore_index: Option<i64>,
    label_smoothing: f64,
    reduction: Given<'_, 'py>,
    out: Option<Given<'_, 'py>>,
) -> PyResult<Bound<'py, PyAny>> {
    let arguments = PointArguments { target, pos_weight, sample_weight, ignore_index, reduction };
    fork!(Logits::of(logits, "logits", None)?, logits => {
        arguments.run_hess(logits, out, |pos_weight| SigmoidCrossEntropy::new(pos_weight, label_smoothing))
    })
}

#[pyfunction]
#[pyo3(signature = (
    logits, target, gamma, alpha, pos_weight, sample_weight, ignore_index, label_smoothing, reduction, /
))]
#[expect(clippy::too_many_arguments, reason = "the options of the loss, as Python passes them")]
pub(super) fn sigmoid_focal_loss<'py>(
    logits: Given<'_, 'py>,
    target: Given<'_, 'py>,
    gamma: f64,
    alpha: Option<f64>,
    pos_weight: Option<Given<'_, 'py>>,
    sample_weight: Option<Given<'_, 'py>>,
    ignore_index: Option<i64>,
    label_smoothing: f64,
    reduction: Given<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let arguments = PointArguments { target, pos_weight, sample_weight, ignore_index, reduction };
    fork!(Logits::of(logits, "logits", None)?, logits => {
        arguments.run(logits, Want::Loss, |pos_weight| SigmoidFocalLoss::new(gamma, alpha, pos_weight, label_smoothing))
    })
}

#[pyfunction]
#[pyo3(signature = (
    logits, target, gamma, alpha, pos_weight, sample_weight, ignore_index, label_smoothing, reduction, out, /
))]
#[expect(clippy::too_many_arguments, reason = "the options of the loss, as Python passes them")]
pub(super) fn sigmoid_focal_loss_with_grad<'py>(
    logits: Given<'_, 'py>,
    target: Given<'_, 'py>,
    gamma: f64,
    alpha: Option<f64>,
    pos_weight: Option<Given<'_, 'py>>,
    sample_weight: Option<Given<'_, 'py>>,
    ignore_index: Option<i64>,
    label_smoothing: f64,
    reduction: Given<'_, 'py>,
    out: Option<Given<'_, 'py>>,
) -> PyResult<Bound<'py, PyAny>> {
    let arguments = PointArguments { target, pos_weight, sample_weight, ignore_index, reduction };
    fork!(Logits::of(logits, "logits", None)?, logits => {
        arguments.run(logits, Want::Gradient(out), |pos_weight| SigmoidFocalLoss::new(gamma, alpha, pos_weight, label_smoothing))
    })
}

#[pyfunction]
#[pyo3(signature = (
    logits, target, gamma, alpha, pos_weight, sample_weight, ignore_index, label_smoothing, reduction, out, /
))]
#[expect(clippy::too_many_arguments, reason = "the options of the loss, as Python passes them")]
pub(super) fn sigmoid_focal_loss_with_hess<'py>(
    logits: Given<'_, 'py>,
    target: Given<'_, 'py>,
    gamma: f64,
    alpha: Option<f64>,
    pos_weight: Option<Given<'_, 'py>>,
    sample_weight: Option<Given<'_, 'py>>,
    ignore_index: Option<i64>,
    label_smoothing: f64,
    reduction: Given<'_, 'py>,
    out: Option<Given<'_, 'py>>,
) -> PyResult<Bound<'py, PyAny>> {
    let arguments = PointArguments { target, pos_weight, sample_weight, ignore_index, reduction };
    fork!(Logits::of(logits, "logits", None)?, logits => {
        arguments.run_hess(logits, out, |pos_weight| SigmoidFocalLoss::new(gamma, alpha, pos_weight, label_smoothing))
    })
}

#[pyfunction]
#[pyo3(signature = (scores, target, squared, sample_weight, reduction, /))]
pub(super) fn hinge_loss<'py>(
    scores: Given<'_, 'py>,
    target: Given<'_, 'py>,
    squared: bool,
    sample_weight: Option<Given<'_, 'py>>,
    reduction: Given<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let arguments = PointArguments { target, pos_weight: None, sample_weight, ignore_index: None, reduction };
    fork!(Logits::of(scores, "scores", None)?, logits => {
        arguments.run(logits, Want::Loss, |_| Ok(HingeLoss { squared }))
    })
}

#[pyfunction]
#[pyo3(signature = (scores, target, squared, sample_weight, reduction, out, /))]
pub(super) fn hinge_loss_with_grad<'py>(
    scores: Given<'_, 'py>,
    target: Given<'_, 'py>,
    squared: bool,
    sample_weight: Option<Given<'_, 'py>>,
    reduction: Given<'_, 'py>,
    out: Option<Given<'_, 'py>>,
) -> PyResult<Bound<'py, PyAny>> {
    let arguments = PointArguments { target, pos_weight: None, sample_weight, ignore_index: None, reduction };
    fork!(Logits::of(scores, "scores", None)?, logits => {
        arguments.run(logits, Want::Gradient(out), |_| Ok(HingeLoss { squared }))
    })
}

#[pyfunction]
#[pyo3(signature = (p, target, pos_weight, sample_weight, eps, reduction, /))]
pub(super) fn binary_cross_entropy<'py>(
    p: Given<'_, 'py>,
    target: Given<'_, 'py>,
    pos_weight: Option<Given<'_, 'py>>,
    sample_weight: Option<Given<'_, 'py>>,
    eps: f64,
    reduction: Given<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let arguments = PointArguments { target, pos_weight, sample_weight, ignore_index: None, reduction };
    fork!(Logits::of(p, "p", None)?, logits => {
        arguments.run(logits, Want::Loss, |pos_weight| BinaryCrossEntropy::new(pos_weight, eps))
    })
}

#[pyfunction]
#[pyo3(signature = (p, target, pos_weight, sample_weight, eps, reduction, out, /))]
pub(super) fn binary_cross_entropy_with_grad<'py>(
    p: Given<'_, 'py>,
    target: Given<'_, 'py>,
    pos_weight: Option<Given<'_, 'py>>,
    sample_weight: Option<Given<'_, 'py>>,
    eps: f64,
    reduction: Given<'_, 'py>,
    out: Option<Given<'_, 'py>>,
) -> PyResult<Bound<'py, PyAny>> {
    let arguments = PointArguments { target, pos_weight, sample_weight, ignore_index: None, reduction };
    fork!(Logits::of(p, "p", None)?, logits => {
        arguments.run(logits, Want::Gradient(out), |pos_weight| BinaryCrossEntropy::new(pos_weight, eps))
    })
}
