//! Functions of distributions: entropy, perplexity, cross-entropy and divergences.

use super::arrays::{Arg, Array, Number, check_shape, detached};
use super::errors::refuse;
use super::inputs::{Input, Logits, Upstream, data, match_dtype};
use super::options::part;
use super::outputs::{numbers, restored};
use crate::{Measure, MeasureInput, MeasureKind, Rows, Variable, memory};
use half::{bf16, f16};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// `base`, `axis`, `normalize` and `from_logits`.
type Options<'py> = (Bound<'py, PyAny>, Bound<'py, PyAny>, Bound<'py, PyAny>, Bound<'py, PyAny>);

/// What a divergence takes besides: the temperature of logits, and a weight for each row.
type More<'py> = (Bound<'py, PyAny>, Option<Bound<'py, PyAny>>);

/// Whether gradients are required, and the upstream gradient.
type Grad<'a, 'py> = (bool, Option<Arg<'a, 'py>>);

/// The value of each row and, if required, the gradients.
fn evaluate<'py>(
    kind: MeasureKind,
    p: Arg<'_, 'py>,
    q: Option<Arg<'_, 'py>>,
    (base, axis, normalize, from_logits): Options<'py>,
    more: Option<More<'py>>,
    grad: Grad<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let (base, axis) = (part(&base, "base")?, part(&axis, "axis")?);
    let (normalize, from_logits) = (part(&normalize, "normalize")?, part(&from_logits, "from_logits")?);
    let (temperature, sample_weight) = match more {
        Some((temperature, sample_weight)) => (part(&temperature, "temperature")?, sample_weight),
        None => (1.0, None),
    };
    let input = match (normalize, from_logits) {
        (false, false) => MeasureInput::Probabilities,
        (true, false) => MeasureInput::Unnormalized,
        (false, true) => MeasureInput::Logits,
        (true, true) => {
            let expected = "False where from_logits is True: a softmax sums to 1";
            return refuse("normalize", expected, "True");
        }
    };
    let mut measure = Measure::new(kind, input, base)?.with_temperature(temperature)?;
    let (p, q) = match q {
        Some(q) => {
            let (p, q, coarsest) = Logits::pair([p, q], ["p", "q"], axis)?;
            measure = match coarsest.as_deref() {
                Some("float16") => measure.of_stored::<f16>(),
                Some("bfloat16") => measure.of_stored::<bf16>(),
                _ => measure,
            };
            (p, Some(q))
        }
        None => (Logits::of(p, "p", Some(axis))?, None),
    };
    match_dtype!(p, p => {
        let q = q.as_ref().and_then(|q| p.beside(q));
        run(&measure, &p, q, sample_weight.as_ref(), grad).map_err(|error| {
            let meant = kind == MeasureKind::CrossEntropy && !from_logits;
            if meant { hint(p.py(), error) } else { error }
        })
    })
}

/// Adds a hint to what is wrong with an input: `cross_entropy` is often called by mistake instead of a loss.
fn hint(py: Python<'_>, error: PyErr) -> PyErr {
    if !error.is_instance_of::<PyValueError>(py) {
        return error;
    }
    PyValueError::new_err(format!("{}; for logits and labels use softmax_cross_entropy", error.value(py)))
}

fn run<'py, S: Number>(
    measure: &Measure,
    p: &Input<'py, S>,
    q: Option<Array<'py, S>>,
    sample_weight: Option<Arg<'_, 'py>>,
    (with_grad, grad_output): Grad<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let (py, classes) = (p.py(), p.array.columns());
    // 1. rows of both: as many as the array with more dimensions has
    let (p_shape, q_shape) = (p.array.shape(), q.as_ref().map_or(p.array.shape(), Array::shape));
    let fits = p_shape == q_shape || p_shape == [classes] && q_shape.last() == Some(&classes) || q_shape == [classes];
    if !fits {
        check_shape("q", p_shape, q_shape)?;
    }
    let shape = if p_shape.len() >= q_shape.len() { p_shape } else { q_shape };
    let leading = shape.split_last().map_or(shape, |(_, leading)| leading);
    let rows = leading.iter().product();
    let weights = p.wide_weights(sample_weight, "sample_weight", leading)?;
    let upstream = if with_grad { p.grad_output(grad_output, leading)? } else { Upstream::Number(1.0) };
    let (p_rows, q_rows) = (rows_of("p", &p.array, rows)?, q.as_ref().map(|q| rows_of("q", q, rows)).transpose()?);
    let weights = data(&weights);
    // 2. their values
    let mut values = crate::or_error(|| Ok(memory::zeros(rows)))?;
    if !with_grad {
        detached(py, rows * classes, || crate::weighted_measure_value(measure, p_rows, q_rows, weights, &mut values))?;
        return numbers(py, values, leading);
    }
    // 3. and gradients
    let grad_output = upstream.get();
    let mut p_grad = Array::<S>::empty(p.dtype(), p_shape)?;
    let mut q_grad = q.as_ref().map(|q| Array::<S>::empty(p.dtype(), q.shape())).transpose()?;
    let (p_place, q_place) = (p_grad.data_mut(), q_grad.as_mut().map(Array::data_mut));
    detached(py, rows * classes, || {
        let q = q_rows.zip(q_place).map(|(rows, grad)| Variable { rows, grad });
        let p = Variable { rows: p_rows, grad: p_place };
        crate::weighted_measure_value_and_grads(measure, p, q, weights, &mut values, grad_output)
    })?;
    let value = numbers(py, values, leading)?;
    let as_given = |grad: &Array<'py, S>| {
        restored(py, grad.object().clone().into_any(), p.axis.filter(|_| grad.shape().len() > 1))
    };
    let p_grad = as_given(&p_grad)?;
    match q_grad {
        Some(q_grad) => Ok((value, p_grad, as_given(&q_grad)?).into_pyobject(py)?.into_any()),
        None => Ok((value, p_grad).into_pyobject(py)?.into_any()),
    }
}

/// The rows of an array; a single row is repeated as often as needed.
fn rows_of<'a, S: Number>(name: &'static str, array: &'a Array<'_, S>, rows: usize) -> crate::Result<Rows<'a, S>> {
    if array.row_count() == rows || array.shape().len() > 1 {
        return array.rows();
    }
    let data = if rows == 0 { &[] } else { array.data() };
    Rows::with_stride(name, data, rows, array.columns(), 0)
}

#[pyfunction]
pub(super) fn entropy<'py>(
    p: Arg<'_, 'py>,
    options: Options<'py>,
    with_grad: bool,
    grad_output: Option<Arg<'_, 'py>>,
) -> PyResult<Bound<'py, PyAny>> {
    evaluate(MeasureKind::Entropy, p, None, options, None, (with_grad, grad_output))
}

#[pyfunction]
pub(super) fn perplexity<'py>(
    p: Arg<'_, 'py>,
    options: Options<'py>,
    with_grad: bool,
    grad_output: Option<Arg<'_, 'py>>,
) -> PyResult<Bound<'py, PyAny>> {
    evaluate(MeasureKind::Perplexity, p, None, options, None, (with_grad, grad_output))
}

#[pyfunction]
pub(super) fn cross_entropy<'py>(
    p: Arg<'_, 'py>,
    q: Arg<'_, 'py>,
    options: Options<'py>,
    with_grad: bool,
    grad_output: Option<Arg<'_, 'py>>,
) -> PyResult<Bound<'py, PyAny>> {
    evaluate(MeasureKind::CrossEntropy, p, Some(q), options, None, (with_grad, grad_output))
}

#[pyfunction]
pub(super) fn kl_divergence<'py>(
    p: Arg<'_, 'py>,
    q: Arg<'_, 'py>,
    options: Options<'py>,
    more: More<'py>,
    with_grad: bool,
    grad_output: Option<Arg<'_, 'py>>,
) -> PyResult<Bound<'py, PyAny>> {
    evaluate(MeasureKind::KlDivergence, p, Some(q), options, Some(more), (with_grad, grad_output))
}

#[pyfunction]
pub(super) fn js_divergence<'py>(
    p: Arg<'_, 'py>,
    q: Arg<'_, 'py>,
    weight: f64,
    options: Options<'py>,
    more: More<'py>,
    with_grad: bool,
    grad_output: Option<Arg<'_, 'py>>,
) -> PyResult<Bound<'py, PyAny>> {
    evaluate(MeasureKind::JsDivergence { weight }, p, Some(q), options, Some(more), (with_grad, grad_output))
}
