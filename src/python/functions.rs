//! The functions underneath the losses.

use super::Given;
use super::arrays::{Number, detached};
use super::inputs::{Input, Logits, fork};
use super::outputs::{Io, Output, fill, rounded};
use crate::Function;
use pyo3::prelude::*;

/// A function of `xentrs.losses` that maps an array to one of the same shape.
fn map<'py>(
    function: Function,
    x: Given<'_, 'py>,
    axis: Option<isize>,
    out: Option<Given<'_, 'py>>,
) -> PyResult<Bound<'py, PyAny>> {
    fn run<'py, S: Number>(
        function: Function,
        x: Input<'py, S>,
        out: Option<Given<'_, 'py>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let mut output = Output::of(&x, out, [], [])?;
        fill!(output, &x, rows => detached(x.py(), x.array.len(), || crate::apply(function, rows)))?;
        output.finish(x.py())
    }
    fork!(Logits::of(x, "x", axis)?, x => run(function, x, out))
}

#[pyfunction]
#[pyo3(signature = (x, axis, keepdims, /))]
pub(super) fn logsumexp<'py>(x: Given<'_, 'py>, axis: isize, keepdims: bool) -> PyResult<Bound<'py, PyAny>> {
    fork!(Logits::of(x, "x", Some(axis))?, x => {
        let rows = x.array.rows()?;
        let mut sums = vec![Default::default(); rows.rows()];
        detached(x.py(), x.array.len(), || crate::logsumexp(rows, &mut sums))?;
        rounded(&x, &sums, &x.reduced(keepdims))
    })
}

#[pyfunction]
#[pyo3(signature = (x, axis, out, /))]
pub(super) fn softmax<'py>(x: Given<'_, 'py>, axis: isize, out: Option<Given<'_, 'py>>) -> PyResult<Bound<'py, PyAny>> {
    map(Function::Softmax, x, Some(axis), out)
}

#[pyfunction]
#[pyo3(signature = (x, axis, out, /))]
pub(super) fn log_softmax<'py>(
    x: Given<'_, 'py>,
    axis: isize,
    out: Option<Given<'_, 'py>>,
) -> PyResult<Bound<'py, PyAny>> {
    map(Function::LogSoftmax, x, Some(axis), out)
}

#[pyfunction]
#[pyo3(signature = (x, out, /))]
pub(super) fn sigmoid<'py>(x: Given<'_, 'py>, out: Option<Given<'_, 'py>>) -> PyResult<Bound<'py, PyAny>> {
    map(Function::Sigmoid, x, None, out)
}

#[pyfunction]
#[pyo3(signature = (x, out, /))]
pub(super) fn log_sigmoid<'py>(x: Given<'_, 'py>, out: Option<Given<'_, 'py>>) -> PyResult<Bound<'py, PyAny>> {
    map(Function::LogSigmoid, x, None, out)
}

#[pyfunction]
#[pyo3(signature = (x, out, /))]
pub(super) fn softplus<'py>(x: Given<'_, 'py>, out: Option<Given<'_, 'py>>) -> PyResult<Bound<'py, PyAny>> {
    map(Function::Softplus, x, None, out)
}
