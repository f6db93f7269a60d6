//! Penalties on predictions.

use super::Given;
use super::arrays::{Array, Number, detached, slow};
use super::inputs::{Input, Logits, data, fork, reduction, span};
use super::outputs::{Io, Output, Want, fill, wrap};
use crate::error::Error;
use crate::{Classes, Groups, Labels, Link, Neighbours};
use pyo3::prelude::*;

/// The options of `js_smoothness`.
#[derive(Clone, Copy)]
struct SmoothnessArguments<'a, 'py> {
    segments: Option<Given<'a, 'py>>,
    reduction: Given<'a, 'py>,
}

impl<'a, 'py> SmoothnessArguments<'a, 'py> {
    fn run<S: Number>(self, logits: &Input<'py, S>, want: Want<'a, 'py>) -> PyResult<Bound<'py, PyAny>> {
        let (py, elements, positions) = (logits.py(), logits.array.len(), logits.leading());
        let Some(&length) = positions.last() else {
            let expected = "of at least two dimensions (length, c)";
            return Err(Error::parameter("logits", expected, "one").into());
        };
        let segments = logits.integers(self.segments, "segments", positions)?;
        let output = want.output(|out| Output::of(logits, out, [self.segments], [span(&segments)]))?;
        let neighbours = Neighbours { length, segments: data(&segments) };
        let reduction = reduction(self.reduction)?;
        let mut pairs = positions.to_vec();
        pairs[positions.len() - 1] = length.saturating_sub(1);
        let Some(mut output) = output else {
            let rows = logits.array.rows()?;
            return wrap(py, detached(py, elements, || crate::js_smoothness(rows, neighbours, reduction))?, &pairs);
        };
        let loss = fill!(output, logits, rows => {
            detached(py, elements, || crate::js_smoothness_with_grad(rows, neighbours, reduction))
        })?;
        Ok((wrap(py, loss, &pairs)?, output.finish(py)?).into_pyobject(py)?.into_any())
    }
}

#[pyfunction]
#[pyo3(signature = (logits, segments, reduction, /))]
pub(super) fn js_smoothness<'py>(
    logits: Given<'_, 'py>,
    segments: Option<Given<'_, 'py>>,
    reduction: Given<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let arguments = SmoothnessArguments { segments, reduction };
    fork!(Logits::of(logits, "logits", Some(-1))?, logits => arguments.run(&logits, Want::Loss))
}

#[pyfunction]
#[pyo3(signature = (logits, segments, reduction, out, /))]
pub(super) fn js_smoothness_with_grad<'py>(
    logits: Given<'_, 'py>,
    segments: Option<Given<'_, 'py>>,
    reduction: Given<'_, 'py>,
    out: Option<Given<'_, 'py>>,
) -> PyResult<Bound<'py, PyAny>> {
    let arguments = SmoothnessArguments { segments, reduction };
    fork!(Logits::of(logits, "logits", Some(-1))?, logits => arguments.run(&logits, Want::Gradient(out)))
}

/// The options of `parity_penalty`.
#[derive(Clone, Copy)]
struct ParityArguments<'a, 'py> {
    group: Given<'a, 'py>,
    target: Option<Given<'a, 'py>>,
    link: Given<'a, 'py>,
}

impl<'a, 'py> ParityArguments<'a, 'py> {
    fn run<S: Number>(self, logits: &Input<'py, S>, want: Want<'a, 'py>) -> PyResult<Bound<'py, PyAny>> {
        let (py, shape) = (logits.py(), logits.array.shape());
        if shape.len() != 1 {
            let got = format!("{}", shape.len());
            return Err(Error::parameter("logits", "of one dimension (n,)", got).into());
        }
        let (codes, count): (Bound<'py, PyAny>, usize) = slow(py, "as_groups", (self.group,))?.extract()?;
        let codes = Array::<i64>::copy(&codes)?;
        if codes.shape() != shape {
            return Err(Error::Shape { name: "group", expected: shape.to_vec(), got: codes.shape().to_vec() }.into());
        }
        let target = self.target.map(|target| logits.answers(target, "target")).transpose()?;
        let link = match self.link.extract::<&str>() {
            Ok("sigmoid") => Link::Sigmoid,
            Ok("identity") => Link::Identity,
            got => {
                let got = got.map_or_else(|_| self.link.repr().map(|r| r.to_string()), |got| Ok(format!("{got:?}")))?;
                return Err(Error::parameter("link", "\"sigmoid\" or \"identity\"", got).into());
            }
        };
        let given = [Some(self.group), self.target];
        // Both were copied, so that `out` is held against them as they were passed.
        let output = want.output(|out| Output::of(logits, out, given, [None, None]))?;
        let group = Classes::new(Labels::I64(codes.data()), count, None)?;
        let (groups, elements) = (Groups { group, count, target: data(&target) }, logits.array.len());
        let Some(mut output) = output else {
            let rows = logits.array.rows()?;
            let penalty = detached(py, elements, || crate::parity_penalty(rows, groups, link))?;
            return Ok(penalty.into_pyobject(py)?.into_any());
        };
        let penalty = fill!(output, logits, rows => {
            detached(py, elements, || crate::parity_penalty_with_grad(rows, groups, link))
        })?;
        Ok((penalty, output.finish(py)?).into_pyobject(py)?.into_any())
    }
}

#[pyfunction]
#[pyo3(signature = (logits, group, target, link, /))]
pub(super) fn parity_penalty<'py>(
    logits: Given<'_, 'py>,
    group: Given<'_, 'py>,
    target: Option<Given<'_, 'py>>,
    link: Given<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let arguments = ParityArguments { group, target, link };
    fork!(Logits::of(logits, "logits", None)?, logits => arguments.run(&logits, Want::Loss))
}

#[pyfunction]
#[pyo3(signature = (logits, group, target, link, out, /))]
pub(super) fn parity_penalty_with_grad<'py>(
    logits: Given<'_, 'py>,
    group: Given<'_, 'py>,
    target: Option<Given<'_, 'py>>,
    link: Given<'_, 'py>,
    out: Option<Given<'_, 'py>>,
) -> PyResult<Bound<'py, PyAny>> {
    let arguments = ParityArguments { group, target, link };
    fork!(Logits::of(logits, "logits", None)?, logits => arguments.run(&logits, Want::Gradient(out)))
}
