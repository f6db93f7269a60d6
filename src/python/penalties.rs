//! Penalties on predictions.

use super::arrays::{Arg, Array, Number, detached};
use super::errors::refuse;
use super::inputs::{Input, Logits, Upstream, data, match_dtype, span};
use super::options::{self, choice};
use super::outputs::{Output, Want, loss_grad, wrap};
use super::via_numpy::{Numpy, via_numpy};
use crate::{Classes, Groups, Labels, Link, Neighbours, api};
use pyo3::prelude::*;

fn smoothness<'py, S: Number>(
    logits: &Input<'py, S>,
    segments: Option<Arg<'_, 'py>>,
    reduction: Arg<'_, 'py>,
    want: Want<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let (py, elements, positions) = (logits.py(), logits.array.len(), logits.leading());
    let Some(&length) = positions.last() else {
        return refuse("logits", "of at least two dimensions (length, c)", "one");
    };
    let array = logits.integers(segments, "segments", positions)?;
    let mut pairs = positions.to_vec();
    if let Some(last) = pairs.last_mut() {
        *last = length.saturating_sub(1);
    }
    let output = want.output(|want| Output::of(logits, &pairs, want, [segments], [span(&array)]))?;
    logits.check_fit()?;
    let reduction = options::reduction(reduction)?;
    let neighbours = Neighbours { length, segments: data(&array) };
    let Some(mut output) = output else {
        let rows = logits.array.rows()?;
        return wrap(py, detached(py, elements, || crate::js_smoothness(rows, neighbours, reduction))?, &pairs);
    };
    let upstream = std::mem::replace(&mut output.upstream, Upstream::Number(1.0));
    let grad_output = upstream.get();
    let rows = output.io(logits)?;
    let evaluate = || api::js_smoothness_with_grad_of(rows, neighbours, reduction, grad_output);
    let loss = detached(py, elements, evaluate)?;
    loss_grad(py, [wrap(py, loss, &pairs)?, output.finish(logits)?])
}

#[pyfunction]
pub(super) fn js_smoothness<'py>(
    logits: Arg<'_, 'py>,
    segments: Option<Arg<'_, 'py>>,
    reduction: Arg<'_, 'py>,
    order: u8,
    grad_output: Option<Arg<'_, 'py>>,
    out: Option<Arg<'_, 'py>>,
) -> PyResult<Bound<'py, PyAny>> {
    let logits = Logits::of(logits, "logits", Some(-1))?;
    let want = Want { order, out, grad_output, hess: None };
    match_dtype!(logits, logits => smoothness(&logits, segments, reduction, want))
}

fn parity<'py, S: Number>(
    logits: &Input<'py, S>,
    group: Arg<'_, 'py>,
    target: Option<Arg<'_, 'py>>,
    link: Arg<'_, 'py>,
    want: Want<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let (py, shape) = (logits.py(), logits.array.shape());
    if shape.len() != 1 {
        return refuse("logits", "of one dimension (n,)", shape.len().to_string());
    }
    let (codes, count): (Bound<'py, PyAny>, usize) = via_numpy(py, Numpy::AsGroups, (group,))?.extract()?;
    let codes = Array::<i64>::copy(&codes)?.of_shape("group", shape)?;
    let labels = target.map(|target| logits.binary_labels(target, "target").map(Box::new)).transpose()?;
    let links = [("sigmoid", Link::Sigmoid), ("identity", Link::Identity)];
    let link = choice(link, "link", "\"sigmoid\" or \"identity\"", &links)?;
    let spans = [codes.span(), span(&labels)];
    let output = want.output(|want| Output::of(logits, &[], want, [Some(group), target], spans))?;
    logits.check_fit()?;
    let group = Classes::new(Labels::I64(codes.data()), count, None)?;
    let (groups, elements) = (Groups { group, count, target: data(&labels) }, logits.array.len());
    let Some(mut output) = output else {
        let rows = logits.array.rows()?;
        let penalty = detached(py, elements, || crate::parity_penalty(rows, groups, link))?;
        return Ok(penalty.into_pyobject(py)?.into_any());
    };
    let Upstream::Number(factor) = output.upstream else { unreachable!("a penalty without axes has one number") };
    let rows = output.io(logits)?;
    let penalty = detached(py, elements, || api::parity_penalty_with_grad_of(rows, groups, link, factor))?;
    loss_grad(py, [penalty.into_pyobject(py)?.into_any(), output.finish(logits)?])
}

#[pyfunction]
pub(super) fn parity_penalty<'py>(
    logits: Arg<'_, 'py>,
    group: Arg<'_, 'py>,
    target: Option<Arg<'_, 'py>>,
    link: Arg<'_, 'py>,
    order: u8,
    grad_output: Option<Arg<'_, 'py>>,
    out: Option<Arg<'_, 'py>>,
) -> PyResult<Bound<'py, PyAny>> {
    let logits = Logits::of(logits, "logits", None)?;
    match_dtype!(logits, logits => parity(&logits, group, target, link, Want { order, out, grad_output, hess: None }))
}
