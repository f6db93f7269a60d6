//! Labels that are independent of each other.

use super::inputs::{Floats, Input, Logits, data, fork, reduction, span};
use super::outputs::{Output, Want, evaluate, evaluate_stored};
use super::{Given, arrays::Number};
use crate::{PointProblem, SigmoidCrossEntropy, StoredPointProblem};
use pyo3::prelude::*;

/// The targets and options of `sigmoid_cross_entropy`.
#[derive(Clone, Copy)]
struct SigmoidArguments<'a, 'py> {
    target: Given<'a, 'py>,
    pos_weight: Option<Given<'a, 'py>>,
    sample_weight: Option<Given<'a, 'py>>,
    reduction: Given<'a, 'py>,
}

impl<'a, 'py> SigmoidArguments<'a, 'py> {
    fn run<S: Number>(self, mut logits: Input<'py, S>, want: Want<'a, 'py>) -> PyResult<Bound<'py, PyAny>> {
        let target = logits.labels(self.target)?;
        let pos_weight = logits.pos_weight(self.pos_weight)?;
        let sample_weight = logits.point_weights(self.sample_weight, "sample_weight")?;
        if let Some(pos_weight) = &pos_weight {
            logits.array.fold(pos_weight.len());
        }
        let output = want.output(|out| {
            let given = [Some(self.target), self.pos_weight, self.sample_weight];
            let spans = [target.span(), span(&pos_weight), span(&sample_weight)];
            Output::of(&logits, out, given, spans)
        })?;
        let loss = SigmoidCrossEntropy::new(data(&pos_weight))?;
        let (sample_weight, shape) = (data(&sample_weight), logits.array.shape());
        let reduction = reduction(self.reduction)?;
        match &target {
            Floats::Real(target) => evaluate(
                &logits,
                &PointProblem { loss, target: target.data(), sample_weight },
                reduction,
                shape,
                output,
            ),
            Floats::Stored(target) => {
                let problem = StoredPointProblem { loss, target: target.data(), sample_weight };
                evaluate_stored(&logits, &problem, reduction, shape, output)
            }
        }
    }
}

#[pyfunction]
#[pyo3(signature = (logits, target, pos_weight, sample_weight, reduction, /))]
pub(super) fn sigmoid_cross_entropy<'py>(
    logits: Given<'_, 'py>,
    target: Given<'_, 'py>,
    pos_weight: Option<Given<'_, 'py>>,
    sample_weight: Option<Given<'_, 'py>>,
    reduction: Given<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let arguments = SigmoidArguments { target, pos_weight, sample_weight, reduction };
    fork!(Logits::of(logits, "logits", None)?, logits => arguments.run(logits, Want::Loss))
}

#[pyfunction]
#[pyo3(signature = (logits, target, pos_weight, sample_weight, reduction, out, /))]
pub(super) fn sigmoid_cross_entropy_with_grad<'py>(
    logits: Given<'_, 'py>,
    target: Given<'_, 'py>,
    pos_weight: Option<Given<'_, 'py>>,
    sample_weight: Option<Given<'_, 'py>>,
    reduction: Given<'_, 'py>,
    out: Option<Given<'_, 'py>>,
) -> PyResult<Bound<'py, PyAny>> {
    let arguments = SigmoidArguments { target, pos_weight, sample_weight, reduction };
    fork!(Logits::of(logits, "logits", None)?, logits => arguments.run(logits, Want::Gradient(out)))
}
