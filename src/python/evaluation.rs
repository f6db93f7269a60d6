//! Evaluation: statistics of rows, and exact sums of them.

use super::arrays::{Arg, Number, detached};
use super::inputs::{Input, Logits, data, match_dtype};
use super::outputs::numbers;
use crate::{ExactSum, Isa, SoftmaxStats, Tally};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyInt, PyTuple};

#[pyfunction]
pub(super) fn softmax_stats<'py>(
    logits: Arg<'_, 'py>,
    target: Arg<'_, 'py>,
    sample_weight: Option<Arg<'_, 'py>>,
    ignore_index: Option<i64>,
    axis: isize,
) -> PyResult<Bound<'py, PyTuple>> {
    fn run<'py, S: Number>(
        logits: &Input<'py, S>,
        target: Arg<'_, 'py>,
        sample_weight: Option<Arg<'_, 'py>>,
        ignore_index: Option<i64>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        logits.warn_of_probabilities("logits")?;
        let (py, shape) = (logits.py(), logits.leading());
        let classes = logits.classes(target)?;
        let sample_weight = logits.wide_weights(sample_weight, "sample_weight", shape)?;
        let classes = classes.checked(logits.array.columns(), ignore_index)?;
        let (rows, weights) = (logits.array.rows()?, data(&sample_weight));
        let SoftmaxStats { loss, logsumexp, entropy, correct, argmax, weight, confidence } =
            detached(py, logits.array.len(), || crate::softmax_stats(rows, classes, weights))?;
        PyTuple::new(
            py,
            [
                numbers(py, loss, shape)?,
                numbers(py, logsumexp, shape)?,
                numbers(py, entropy, shape)?,
                numbers(py, correct, shape)?,
                numbers(py, argmax, shape)?,
                numbers(py, weight, shape)?,
                numbers(py, confidence, shape)?,
            ],
        )
    }
    match_dtype!(Logits::of(logits, "logits", Some(axis))?, logits => run(&logits, target, sample_weight, ignore_index))
}

/// The fields of a [`Tally`], its sums as integers in units of `2^-1074`.
#[pyfunction]
#[pyo3(name = "_tally")]
pub(super) fn tally<'py>(
    loss: Arg<'_, 'py>,
    weight: Arg<'_, 'py>,
    correct: Arg<'_, 'py>,
) -> PyResult<Bound<'py, PyTuple>> {
    fn run<'py, S: Number>(
        loss: &Input<'py, S>,
        weight: Arg<'_, 'py>,
        correct: Arg<'_, 'py>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let py = loss.py();
        let weight = loss.wide_weights(Some(weight), "weight", loss.array.shape())?;
        let isa = Isa::active()?;
        let correct = loss.binary_labels(correct, "correct")?;
        let (weight, correct) = (data(&weight).unwrap_or_default(), correct.data());
        let rows = loss.array.rows()?;
        let tally = detached(py, loss.array.len(), || {
            S::rows(rows).widened(isa, |loss| Tally::of(loss.flat(), weight, correct))
        })?;
        let int = |sum: &ExactSum| {
            let bytes = PyBytes::new(py, &sum.to_le_bytes());
            py.get_type::<PyInt>().call_method1("from_bytes", (bytes, "little"))
        };
        let count = |n: usize| Ok::<_, PyErr>(n.into_pyobject(py)?.into_any());
        let Tally { loss, weight, correct, rows, infinite, nan } = &tally;
        PyTuple::new(py, [int(loss)?, int(weight)?, int(correct)?, count(*rows)?, count(*infinite)?, count(*nan)?])
    }
    match_dtype!(Logits::of(loss, "loss", None)?, loss => run(&loss, weight, correct))
}
