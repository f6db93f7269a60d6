//! Classes that exclude each other.

use super::inputs::{Floats, Input, Logits, Target, data, fork, reduction, span};
use super::outputs::{Output, Want, evaluate, evaluate_stored};
use super::{Given, arrays::Number};
use crate::{Classes, Labels, RowProblem, SoftmaxCrossEntropy, StoredRowProblem, Targets};
use pyo3::prelude::*;

/// The targets and options of `softmax_cross_entropy`.
#[derive(Clone, Copy)]
struct SoftmaxArguments<'a, 'py> {
    target: Given<'a, 'py>,
    class_weight: Option<Given<'a, 'py>>,
    sample_weight: Option<Given<'a, 'py>>,
    ignore_index: Option<i64>,
    label_smoothing: f64,
    reduction: Given<'a, 'py>,
}

impl<'a, 'py> SoftmaxArguments<'a, 'py> {
    fn run<S: Number>(self, logits: &Input<'py, S>, want: Want<'a, 'py>) -> PyResult<Bound<'py, PyAny>> {
        let classes = logits.array.columns();
        let target = logits.target(self.target)?;
        let class_weight = logits.weights(self.class_weight, "class_weight", &[classes])?;
        let sample_weight = logits.weights(self.sample_weight, "sample_weight", logits.leading())?;
        let output = want.output(|out| {
            let given = [Some(self.target), self.class_weight, self.sample_weight];
            let spans = [target.span(), span(&class_weight), span(&sample_weight)];
            Output::of(logits, out, given, spans)
        })?;
        let loss = SoftmaxCrossEntropy::new(classes, data(&class_weight), self.label_smoothing)?;
        let (sample_weight, shape) = (data(&sample_weight), logits.leading());
        let labels = |labels| Classes::new(labels, classes, self.ignore_index).map(Targets::Classes);
        let target = match &target {
            Target::I32(array) => labels(Labels::I32(array.data()))?,
            Target::I64(array) => labels(Labels::I64(array.data()))?,
            Target::Distributions(Floats::Real(rows)) => Targets::Distributions(rows.rows()?),
            Target::Distributions(Floats::Stored(rows)) => {
                let problem = StoredRowProblem { loss, target: rows.rows()?, sample_weight };
                return evaluate_stored(logits, &problem, reduction(self.reduction)?, shape, output);
            }
        };
        let problem = RowProblem { loss, target, sample_weight };
        evaluate(logits, &problem, reduction(self.reduction)?, shape, output)
    }
}

#[pyfunction]
#[pyo3(signature = (logits, target, class_weight, sample_weight, ignore_index, label_smoothing, axis, reduction, /))]
#[expect(clippy::too_many_arguments, reason = "the options of the loss, as Python passes them")]
pub(super) fn softmax_cross_entropy<'py>(
    logits: Given<'_, 'py>,
    target: Given<'_, 'py>,
    class_weight: Option<Given<'_, 'py>>,
    sample_weight: Option<Given<'_, 'py>>,
    ignore_index: Option<i64>,
    label_smoothing: f64,
    axis: isize,
    reduction: Given<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let arguments = SoftmaxArguments { target, class_weight, sample_weight, ignore_index, label_smoothing, reduction };
    fork!(Logits::of(logits, "logits", Some(axis))?, logits => arguments.run(&logits, Want::Loss))
}

#[pyfunction]
#[pyo3(signature = (
    logits, target, class_weight, sample_weight, ignore_index, label_smoothing, axis, reduction, out, /
))]
#[expect(clippy::too_many_arguments, reason = "the options of the loss, as Python passes them")]
pub(super) fn softmax_cross_entropy_with_grad<'py>(
    logits: Given<'_, 'py>,
    target: Given<'_, 'py>,
    class_weight: Option<Given<'_, 'py>>,
    sample_weight: Option<Given<'_, 'py>>,
    ignore_index: Option<i64>,
    label_smoothing: f64,
    axis: isize,
    reduction: Given<'_, 'py>,
    out: Option<Given<'_, 'py>>,
) -> PyResult<Bound<'py, PyAny>> {
    let arguments = SoftmaxArguments { target, class_weight, sample_weight, ignore_index, label_smoothing, reduction };
    fork!(Logits::of(logits, "logits", Some(axis))?, logits => arguments.run(&logits, Want::Gradient(out)))
}
