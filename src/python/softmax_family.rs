//! Classes that exclude each other.

use super::inputs::{Floats, Input, Logits, Target, data, fork, reduction, span};
use super::outputs::{Output, Want, evaluate, evaluate_hess};
use super::{Given, arrays::Number};
use crate::math::Real;
use crate::{
    Classes, CurvedRowLoss, Labels, Problem, Reduction, RowLoss, RowProblem, Rows, SoftmaxCrossEntropy,
    SoftmaxFocalLoss, Sparse, StoredRowProblem, Targets,
};
use pyo3::prelude::*;

/// The targets and options that the losses of this family share.
#[derive(Clone, Copy)]
pub(super) struct SoftmaxArguments<'a, 'py> {
    pub(super) target: Given<'a, 'py>,
    pub(super) class_weight: Option<Given<'a, 'py>>,
    pub(super) sample_weight: Option<Given<'a, 'py>>,
    pub(super) ignore_index: Option<i64>,
    pub(super) label_smoothing: f64,
    pub(super) temperature: f64,
    pub(super) softcap: Option<f64>,
    pub(super) z_loss: f64,
    pub(super) reduction: Given<'a, 'py>,
}

/// Which one is asked for.
#[derive(Clone, Copy)]
enum Which {
    CrossEntropy,
    CrossEntropyHess,
    Focal(f64),
}

/// What is evaluated, but for the loss.
pub(super) struct Call<'k, 'py, S: Number> {
    pub(super) logits: &'k Input<'py, S>,
    pub(super) target: &'k Target<'py, S>,
    pub(super) sample_weight: Option<&'k [S::Real]>,
    pub(super) ignore_index: Option<i64>,
    pub(super) reduction: Reduction,
    pub(super) output: Option<Output<'py, S>>,
}

/// Runs an expression for a problem with targets of any kind.
macro_rules! pose {
    ($call:ident, $loss:ident, $problem:ident => $result:expr) => {{
        let (classes, sample_weight) = ($call.logits.class_count(), $call.sample_weight);
        let labels = |labels| Classes::new(labels, classes, $call.ignore_index).map(Targets::Classes);
        let target = match $call.target {
            Target::I32(array) => labels(Labels::I32(array.data()))?,
            Target::I64(array) => labels(Labels::I64(array.data()))?,
            Target::Distributions(Floats::Real(rows)) => Targets::Distributions(rows.rows()?),
            Target::Sparse(classes, weights) => $call.sparse(classes.data(), weights.data(), weights.columns())?,
            Target::Distributions(Floats::Stored(rows)) => {
                let $problem = StoredRowProblem { loss: $loss, target: rows.rows()?, sample_weight };
                return $result;
            }
        };
        let $problem = RowProblem { loss: $loss, target, sample_weight };
        $result
    }};
}

impl<'k, 'py, S: Number> Call<'k, 'py, S> {
    #[cold]
    fn sparse(&self, labels: &'k [i64], weights: &'k [S::Real], pairs: usize) -> PyResult<Targets<'k, S::Real>> {
        let (rows, classes) = (self.logits.array.row_count(), self.logits.class_count());
        let weights = Rows::new("target", weights, rows, pairs)?;
        Ok(Targets::Sparse(Sparse::new(Labels::I64(labels), weights, classes, self.ignore_index)?))
    }

    #[inline(always)]
    pub(super) fn evaluate(self, loss: impl RowLoss<S::Real> + Clone) -> PyResult<Bound<'py, PyAny>> {
        let shape = self.logits.leading();
        pose!(self, loss, problem => evaluate(self.logits, &problem, self.reduction, shape, self.output))
    }

    #[cold]
    fn evaluate_hess(mut self, loss: impl CurvedRowLoss<S::Real> + Clone) -> PyResult<Bound<'py, PyAny>> {
        let shape = self.logits.leading();
        let Some(output) = self.output.take() else { return self.evaluate(loss) };
        pose!(self, loss, problem => evaluate_hess(self.logits, &problem, self.reduction, shape, output))
    }
}

impl<'a, 'py> SoftmaxArguments<'a, 'py> {
    fn cross_entropy<'w, T: Real>(
        &self,
        classes: usize,
        class_weight: Option<&'w [T]>,
    ) -> crate::Result<SoftmaxCrossEntropy<'w, T>> {
        SoftmaxCrossEntropy::new(classes, class_weight, self.label_smoothing)?
            .of_logits(self.softcap, self.temperature)?
            .with_z_loss(self.z_loss)
    }

    /// Hands `f` the cross-entropy of logits that a linear layer makes of these inputs.
    pub(super) fn with_problem<S: Number, R>(
        self,
        x: &Input<'py, S>,
        f: impl FnOnce(&dyn Problem<S::Real>, Reduction) -> PyResult<R>,
    ) -> PyResult<R> {
        let target = x.target(self.target)?;
        let class_weight = x.weights(self.class_weight, "class_weight", &[x.class_count()])?;
        let sample_weight = x.weights(self.sample_weight, "sample_weight", x.leading())?;
        let loss = self.cross_entropy(x.class_count(), data(&class_weight))?;
        let (reduction, sample_weight) = (reduction(self.reduction)?, data(&sample_weight));
        let ignore_index = self.ignore_index;
        let call = Call { logits: x, target: &target, sample_weight, ignore_index, reduction, output: None };
        pose!(call, loss, problem => f(&problem, reduction))
    }

    fn run<S: Number>(self, logits: &Input<'py, S>, which: Which, want: Want<'a, 'py>) -> PyResult<Bound<'py, PyAny>> {
        let classes = logits.class_count();
        let target = logits.target(self.target)?;
        let class_weight = logits.weights(self.class_weight, "class_weight", &[classes])?;
        let sample_weight = logits.weights(self.sample_weight, "sample_weight", logits.leading())?;
        let output = want.output(|out| {
            let second = matches!(target, Target::Sparse(..)).then_some(self.target);
            let given = [Some(self.target), second, self.class_weight, self.sample_weight];
            let [first, second] = target.spans();
            Output::of(logits, out, given, [first, second, span(&class_weight), span(&sample_weight)])
        })?;
        let loss = self.cross_entropy(classes, data(&class_weight))?;
        let call = Call {
            logits,
            target: &target,
            sample_weight: data(&sample_weight),
            ignore_index: self.ignore_index,
            reduction: reduction(self.reduction)?,
            output,
        };
        match which {
            Which::CrossEntropy => call.evaluate(loss),
            Which::CrossEntropyHess => call.evaluate_hess(loss),
            // Without focus it is cross-entropy.
            Which::Focal(0.0) => call.evaluate(loss),
            Which::Focal(gamma) => call.evaluate(SoftmaxFocalLoss::new(loss, gamma)?),
        }
    }
}

#[pyfunction]
#[pyo3(signature = (
    logits, target, class_weight, sample_weight, ignore_index, label_smoothing, temperature, softcap, z_loss, axis,
    reduction, /
))]
#[expect(clippy::too_many_arguments, reason = "the options of the loss, as Python passes them")]
pub(super) fn softmax_cross_entropy<'py>(
    logits: Given<'_, 'py>,
    target: Given<'_, 'py>,
    class_weight: Option<Given<'_, 'py>>,
    sample_weight: Option<Given<'_, 'py>>,
    ignore_index: Option<i64>,
    label_smoothing: f64,
    temperature: f64,
    softcap: Option<f64>,
    z_loss: f64,
    axis: isize,
    reduction: Given<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let arguments = SoftmaxArguments {
        target,
        class_weight,
        sample_weight,
        ignore_index,
        label_smoothing,
        temperature,
        softcap,
        z_loss,
        reduction,
    };
    let logits = Logits::of(logits, "logits", Some(axis))?;
    fork!(logits, logits => arguments.run(&logits, Which::CrossEntropy, Want::Loss))
}

#[pyfunction]
#[pyo3(signature = (
    logits, target, class_weight, sample_weight, ignore_index, label_smoothing, temperature, softcap, z_loss, axis,
    reduction, out, /
))]
#[expect(clippy::too_many_arguments, reason = "the options of the loss, as Python passes them")]
pub(super) fn softmax_cross_entropy_with_grad<'py>(
    logits: Given<'_, 'py>,
    target: Given<'_, 'py>,
    class_weight: Option<Given<'_, 'py>>,
    sample_weight: Option<Given<'_, 'py>>,
    ignore_index: Option<i64>,
    label_smoothing: f64,
    temperature: f64,
    softcap: Option<f64>,
    z_loss: f64,
    axis: isize,
    reduction: Given<'_, 'py>,
    out: Option<Given<'_, 'py>>,
) -> PyResult<Bound<'py, PyAny>> {
    let arguments = SoftmaxArguments {
        target,
        class_weight,
        sample_weight,
        ignore_index,
        label_smoothing,
        temperature,
        softcap,
        z_loss,
        reduction,
    };
    let logits = Logits::of(logits, "logits", Some(axis))?;
    fork!(logits, logits => arguments.run(&logits, Which::CrossEntropy, Want::Gradient(out)))
}

#[pyfunction]
#[pyo3(signature = (
    logits, target, class_weight, sample_weight, ignore_index, label_smoothing, temperature, axis, reduction, out, /
))]
#[expect(clippy::too_many_arguments, reason = "the options of the loss, as Python passes them")]
pub(super) fn softmax_cross_entropy_with_hess<'py>(
    logits: Given<'_, 'py>,
    target: Given<'_, 'py>,
    class_weight: Option<Given<'_, 'py>>,
    sample_weight: Option<Given<'_, 'py>>,
    ignore_index: Option<i64>,
    label_smoothing: f64,
    temperature: f64,
    axis: isize,
    reduction: Given<'_, 'py>,
    out: Option<Given<'_, 'py>>,
) -> PyResult<Bound<'py, PyAny>> {
    let arguments = SoftmaxArguments {
        target,
        class_weight,
        sample_weight,
        ignore_index,
        label_smoothing,
        temperature,
        softcap: None,
        z_loss: 0.0,
        reduction,
    };
    let logits = Logits::of(logits, "logits", Some(axis))?;
    fork!(logits, logits => arguments.run(&logits, Which::CrossEntropyHess, Want::Gradient(out)))
}

#[pyfunction]
#[pyo3(signature = (
    logits, target, gamma, class_weight, sample_weight, ignore_index, label_smoothing, temperature, softcap, z_loss, axis,
    reduction, /
))]
#[expect(clippy::too_many_arguments, reason = "the options of the loss, as Python passes them")]
pub(super) fn softmax_focal_loss<'py>(
    logits: Given<'_, 'py>,
    target: Given<'_, 'py>,
    gamma: f64,
    class_weight: Option<Given<'_, 'py>>,
    sample_weight: Option<Given<'_, 'py>>,
    ignore_index: Option<i64>,
    label_smoothing: f64,
    temperature: f64,
    softcap: Option<f64>,
    z_loss: f64,
    axis: isize,
    reduction: Given<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let arguments = SoftmaxArguments {
        target,
        class_weight,
        sample_weight,
        ignore_index,
        label_smoothing,
        temperature,
        softcap,
        z_loss,
        reduction,
    };
    let logits = Logits::of(logits, "logits", Some(axis))?;
    fork!(logits, logits => arguments.run(&logits, Which::Focal(gamma), Want::Loss))
}

#[pyfunction]
#[pyo3(signature = (
    logits, target, gamma, class_weight, sample_weight, ignore_index, label_smoothing, temperature, softcap, z_loss, axis,
    reduction, out, /
))]
#[expect(clippy::too_many_arguments, reason = "the options of the loss, as Python passes them")]
pub(super) fn softmax_focal_loss_with_grad<'py>(
    logits: Given<'_, 'py>,
    target: Given<'_, 'py>,
    gamma: f64,
    class_weight: Option<Given<'_, 'py>>,
    sample_weight: Option<Given<'_, 'py>>,
    ignore_index: Option<i64>,
    label_smoothing: f64,
    temperature: f64,
    softcap: Option<f64>,
    z_loss: f64,
    axis: isize,
    reduction: Given<'_, 'py>,
    out: Option<Given<'_, 'py>>,
) -> PyResult<Bound<'py, PyAny>> {
    let arguments = SoftmaxArguments {
        target,
        class_weight,
        sample_weight,
        ignore_index,
        label_smoothing,
        temperature,
        softcap,
        z_loss,
        reduction,
    };
    let logits = Logits::of(logits, "logits", Some(axis))?;
    fork!(logits, logits => arguments.run(&logits, Which::Focal(gamma), Want::Gradient(out)))
}
