//! Losses of probabilities, not of logits.

use super::inputs::{Input, Logits, Target, data, fork, reduction, span};
use super::outputs::{Output, Want};
use super::softmax_family::Call;
use super::{Given, arrays::Number};
use crate::CategoricalCrossEntropy;
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
            let second = matches!(target, Target::Sparse(..)).then_some(self.target);
            let given = [Some(self.target), second, self.class_weight, self.sample_weight];
            let [first, second] = target.spans();
            Output::of(p, out, given, [first, second, span(&class_weight), span(&sample_weight)])
        })?;
        let loss = CategoricalCrossEntropy::new(classes, data(&class_weight), self.eps)?;
        let (ignore_index, reduction) = (self.ignore_index, reduction(self.reduction)?);
        Call { logits: p, target: &target, sample_weight: data(&sample_weight), ignore_index, reduction, output }
            .evaluate(loss)
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
