//! Losses of probabilities, not of logits.

use super::inputs::{Floats, Input, Logits, Target, data, fork, reduction, span};
use super::outputs::{Output, Want, evaluate, evaluate_stored};
use super::{Given, arrays::Number};
use crate::{CategoricalCrossEntropy, Classes, Labels, RowProblem, StoredRowProblem, Targets};
use pyo3::prelude::*;

/// The targets and options of `categorical_cross_entropy`.
#[derive(Clone, Copy)]
struct CategoricalArguments<'a, 'py> {
    target: Given<'a, 'py>,
    class_weight: Option<Given<'a, 'py>>,
    sample_weight: Option<Given<'a, 'py>>,
    ignore_index: Option<i64>,
    eps: f64,
    reduction: Given<'a, 'py>,
}

impl<'a, 'py> CategoricalArguments<'a, 'py> {
    fn run<S: Number>(self, p: &Input<'py, S>, want: Want<'a, 'py>) -> PyResult<Bound<'py, PyAny>> {
        let classes = p.array.columns();
        let target = p.target(self.target)?;
        let class_weight = p.weights(self.class_weight, "class_weight", &[classes])?;
        let sample_weight = p.weights(self.sample_weight, "sample_weight", p.leading())?;
        let output = want.output(|out| {
            let given = [Some(self.target), self.class_weight, self.sample_weight];
            let spans = [target.span(), span(&class_weight), span(&sample_weight)];
            Output::of(p, out, given, spans)
        })?;
        let loss = CategoricalCrossEntropy::new(classes, data(&class_weight), self.eps)?;
        let (sample_weight, shape) = (data(&sample_weight), p.leading());
        let labels = |labels| Classes::new(labels, classes, self.ignore_index).map(Targets::Classes);
        let target = match &target {
            Target::I32(array) => labels(Labels::I32(array.data()))?,
            Target::I64(array) => labels(Labels::I64(array.data()))?,
            Target::Distributions(Floats::Real(rows)) => Targets::Distributions(rows.rows()?),
            Target::Distributions(Floats::Stored(rows)) => {
                let problem = StoredRowProblem { loss, target: rows.rows()?, sample_weight };
                return evaluate_stored(p, &problem, reduction(self.reduction)?, shape, output);
            }
        };
        let problem = RowProblem { loss, target, sample_weight };
        evaluate(p, &problem, reduction(self.reduction)?, shape, output)
    }
}

#[pyfunction]
#[pyo3(signature = (p, target, class_weight, sample_weight, ignore_index, eps, axis, reduction, /))]
#[expect(clippy::too_many_arguments, reason = "the options of the loss, as Python passes them")]
pub(super) fn categorical_cross_entropy<'py>(
    p: Given<'_, 'py>,
    target: Given<'_, 'py>,
    class_weight: Option<Given<'_, 'py>>,
    sample_weight: Option<Given<'_, 'py>>,
    ignore_index: Option<i64>,
    eps: f64,
    axis: isize,
    reduction: Given<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let arguments = CategoricalArguments { target, class_weight, sample_weight, ignore_index, eps, reduction };
    fork!(Logits::of(p, "p", Some(axis))?, p => arguments.run(&p, Want::Loss))
}

#[pyfunction]
#[pyo3(signature = (p, target, class_weight, sample_weight, ignore_index, eps, axis, reduction, out, /))]
#[expect(clippy::too_many_arguments, reason = "the options of the loss, as Python passes them")]
pub(super) fn categorical_cross_entropy_with_grad<'py>(
    p: Given<'_, 'py>,
    target: Given<'_, 'py>,
    class_weight: Option<Given<'_, 'py>>,
    sample_weight: Option<Given<'_, 'py>>,
    ignore_index: Option<i64>,
    eps: f64,
    axis: isize,
    reduction: Given<'_, 'py>,
    out: Option<Given<'_, 'py>>,
) -> PyResult<Bound<'py, PyAny>> {
    let arguments = CategoricalArguments { target, class_weight, sample_weight, ignore_index, eps, reduction };
    fork!(Logits::of(p, "p", Some(axis))?, p => arguments.run(&p, Want::Gradient(out)))
}
