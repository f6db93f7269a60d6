//! What one distribution has, and what two have between them.

use super::Given;
use super::arrays::{Array, Number, detached, slow};
use super::inputs::{Input, Logits, fork};
use super::outputs::rounded;
use crate::error::Error;
use crate::{Measure, MeasureInput, MeasureKind, Rows, Variable};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// Base, axis, normalize, from_logits.
type Options = (Option<f64>, isize, bool, bool);

/// The value of each row, and, where they are wanted, the gradients.
fn answer<'py>(
    quantity: MeasureKind,
    p: Given<'_, 'py>,
    q: Option<Given<'_, 'py>>,
    (base, axis, normalize, from_logits): Options,
    gradients: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let input = match (normalize, from_logits) {
        (false, false) => MeasureInput::Probabilities,
        (true, false) => MeasureInput::Unnormalized,
        (false, true) => MeasureInput::Logits,
        (true, true) => {
            let expected = "False where from_logits is True: a softmax sums to 1";
            return Err(Error::parameter("normalize", expected, "True").into());
        }
    };
    let measure = Measure::new(quantity, input, base)?;
    let (p, q) = match q {
        Some(q) => Logits::pair([p, q], ["p", "q"], axis).map(|(p, q)| (p, Some(q)))?,
        None => (Logits::of(p, "p", Some(axis))?, None),
    };
    fork!(p, p => {
        let q = q.as_ref().and_then(|q| p.beside(q));
        run(&measure, &p, q, gradients).map_err(|error| {
            let meant = quantity == MeasureKind::CrossEntropy && !from_logits;
            if meant { hint(p.py(), error) } else { error }
        })
    })
}

/// A cross-entropy is often asked for where a loss is meant.
fn hint(py: Python<'_>, error: PyErr) -> PyErr {
    PyValueError::new_err(format!("{}; for logits and labels use softmax_cross_entropy", error.value(py)))
}

fn run<'py, S: Number>(
    measure: &Measure,
    p: &Input<'py, S>,
    q: Option<Array<'py, S>>,
    gradients: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let (py, classes) = (p.py(), p.array.columns());
    // 1. rows of both: as many as the one has that has more dimensions
    let (p_shape, q_shape) = (p.array.shape(), q.as_ref().map_or(p.array.shape(), Array::shape));
    let fits = p_shape == q_shape || p_shape == [classes] && q_shape.last() == Some(&classes) || q_shape == [classes];
    if !fits {
        return Err(Error::Shape { name: "q", expected: p_shape.to_vec(), got: q_shape.to_vec() }.into());
    }
    let shape = if p_shape.len() >= q_shape.len() { p_shape } else { q_shape };
    let leading = &shape[..shape.len() - 1];
    let rows = leading.iter().product();
    let (p_rows, q_rows) = (rows_of("p", &p.array, rows)?, q.as_ref().map(|q| rows_of("q", q, rows)).transpose()?);
    // 2. their values
    let mut values = vec![Default::default(); rows];
    if !gradients {
        detached(py, rows * classes, || crate::measure_value(measure, p_rows, q_rows, &mut values))?;
        return rounded(p, &values, leading);
    }
    // 3. and gradients
    let mut p_grad = Array::<S>::empty(p.dtype(), p_shape)?;
    let mut q_grad = q.as_ref().map(|q| Array::<S>::empty(p.dtype(), q.shape())).transpose()?;
    let (p_place, q_place) = (p_grad.data_mut(), q_grad.as_mut().map(Array::data_mut));
    detached(py, rows * classes, || {
        let q = q_rows.zip(q_place).map(|(rows, grad)| Variable { rows, grad });
        crate::measure_value_and_grads(measure, Variable { rows: p_rows, grad: p_place }, q, &mut values)
    })?;
    let value = rounded(p, &values, leading)?;
    let restored = |grad: &Array<'py, S>| {
        let array = grad.object().clone().into_any();
        match p.axis {
            Some(axis) if grad.shape().len() > 1 => slow(py, "restore_axis", (array, axis)),
            _ => Ok(array),
        }
    };
    let p_grad = restored(&p_grad)?;
    match q_grad {
        Some(q_grad) => Ok((value, p_grad, restored(&q_grad)?).into_pyobject(py)?.into_any()),
        None => Ok((value, p_grad).into_pyobject(py)?.into_any()),
    }
}

/// The rows of an array; a single one, as often as it is needed.
fn rows_of<'a, S: Number>(name: &'static str, array: &'a Array<'_, S>, rows: usize) -> crate::Result<Rows<'a, S>> {
    if array.row_count() == rows || array.shape().len() > 1 {
        return array.rows();
    }
    let data = if rows == 0 { &[] } else { array.data() };
    Rows::with_stride(name, data, rows, array.columns(), 0)
}

#[pyfunction]
#[pyo3(signature = (p, options, /))]
pub(super) fn entropy<'py>(p: Given<'_, 'py>, options: Options) -> PyResult<Bound<'py, PyAny>> {
    answer(MeasureKind::Entropy, p, None, options, false)
}

#[pyfunction]
#[pyo3(signature = (p, options, /))]
pub(super) fn entropy_with_grad<'py>(p: Given<'_, 'py>, options: Options) -> PyResult<Bound<'py, PyAny>> {
    answer(MeasureKind::Entropy, p, None, options, true)
}

#[pyfunction]
#[pyo3(signature = (p, options, /))]
pub(super) fn perplexity<'py>(p: Given<'_, 'py>, options: Options) -> PyResult<Bound<'py, PyAny>> {
    answer(MeasureKind::Perplexity, p, None, options, false)
}

#[pyfunction]
#[pyo3(signature = (p, options, /))]
pub(super) fn perplexity_with_grad<'py>(p: Given<'_, 'py>, options: Options) -> PyResult<Bound<'py, PyAny>> {
    answer(MeasureKind::Perplexity, p, None, options, true)
}

#[pyfunction]
#[pyo3(signature = (p, q, options, /))]
pub(super) fn cross_entropy<'py>(
    p: Given<'_, 'py>,
    q: Given<'_, 'py>,
    options: Options,
) -> PyResult<Bound<'py, PyAny>> {
    answer(MeasureKind::CrossEntropy, p, Some(q), options, false)
}

#[pyfunction]
#[pyo3(signature = (p, q, options, /))]
pub(super) fn cross_entropy_with_grad<'py>(
    p: Given<'_, 'py>,
    q: Given<'_, 'py>,
    options: Options,
) -> PyResult<Bound<'py, PyAny>> {
    answer(MeasureKind::CrossEntropy, p, Some(q), options, true)
}

#[pyfunction]
#[pyo3(signature = (p, q, options, /))]
pub(super) fn kl_divergence<'py>(
    p: Given<'_, 'py>,
    q: Given<'_, 'py>,
    options: Options,
) -> PyResult<Bound<'py, PyAny>> {
    answer(MeasureKind::KlDivergence, p, Some(q), options, false)
}

#[pyfunction]
#[pyo3(signature = (p, q, options, /))]
pub(super) fn kl_divergence_with_grad<'py>(
    p: Given<'_, 'py>,
    q: Given<'_, 'py>,
    options: Options,
) -> PyResult<Bound<'py, PyAny>> {
    answer(MeasureKind::KlDivergence, p, Some(q), options, true)
}

#[pyfunction]
#[pyo3(signature = (p, q, weight, options, /))]
pub(super) fn js_divergence<'py>(
    p: Given<'_, 'py>,
    q: Given<'_, 'py>,
    weight: f64,
    options: Options,
) -> PyResult<Bound<'py, PyAny>> {
    answer(MeasureKind::JsDivergence { weight }, p, Some(q), options, false)
}

#[pyfunction]
#[pyo3(signature = (p, q, weight, options, /))]
pub(super) fn js_divergence_with_grad<'py>(
    p: Given<'_, 'py>,
    q: Given<'_, 'py>,
    weight: f64,
    options: Options,
) -> PyResult<Bound<'py, PyAny>> {
    answer(MeasureKind::JsDivergence { weight }, p, Some(q), options, true)
}
