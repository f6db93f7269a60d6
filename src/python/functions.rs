//! Elementary functions that the losses build on.

use super::arrays::{Arg, Number, detached};
use super::inputs::{Input, Logits, match_dtype};
use super::outputs::{Output, Want, rounded};
use crate::{Function, api, memory};
use pyo3::prelude::*;

/// A function of `xentrs.losses` that maps an array to one of the same shape.
fn map<'py>(
    function: Function,
    x: Arg<'_, 'py>,
    axis: Option<isize>,
    out: Option<Arg<'_, 'py>>,
) -> PyResult<Bound<'py, PyAny>> {
    fn run<'py, S: Number>(
        function: Function,
        x: &Input<'py, S>,
        out: Option<Arg<'_, 'py>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let mut output = Output::of(x, &[], Want { order: 1, out, grad_output: None, hess: None }, [], [])?;
        let rows = output.io(x)?;
        detached(x.py(), x.array.len(), || api::apply_to(function, rows))?;
        output.finish(x)
    }
    match_dtype!(&Logits::of(x, "x", axis)?, x => run(function, x, out))
}

#[pyfunction]
pub(super) fn logsumexp<'py>(x: Arg<'_, 'py>, axis: isize, keepdims: bool) -> PyResult<Bound<'py, PyAny>> {
    match_dtype!(Logits::of(x, "x", Some(axis))?, x => {
        let rows = x.array.rows()?;
        let sums = detached(x.py(), x.array.len(), || {
            let mut sums = memory::zeros(rows.rows());
            crate::logsumexp(rows, &mut sums).map(|()| sums)
        })?;
        rounded(&x, &sums, &x.reduced(keepdims))
    })
}

#[pyfunction]
pub(super) fn softmax<'py>(x: Arg<'_, 'py>, axis: isize, out: Option<Arg<'_, 'py>>) -> PyResult<Bound<'py, PyAny>> {
    map(Function::Softmax, x, Some(axis), out)
}

#[pyfunction]
pub(super) fn log_softmax<'py>(x: Arg<'_, 'py>, axis: isize, out: Option<Arg<'_, 'py>>) -> PyResult<Bound<'py, PyAny>> {
    map(Function::LogSoftmax, x, Some(axis), out)
}

#[pyfunction]
pub(super) fn sigmoid<'py>(x: Arg<'_, 'py>, out: Option<Arg<'_, 'py>>) -> PyResult<Bound<'py, PyAny>> {
    map(Function::Sigmoid, x, None, out)
}

#[pyfunction]
pub(super) fn log_sigmoid<'py>(x: Arg<'_, 'py>, out: Option<Arg<'_, 'py>>) -> PyResult<Bound<'py, PyAny>> {
    map(Function::LogSigmoid, x, None, out)
}

#[pyfunction]
pub(super) fn softplus<'py>(x: Arg<'_, 'py>, out: Option<Arg<'_, 'py>>) -> PyResult<Bound<'py, PyAny>> {
    map(Function::Softplus, x, None, out)
}
