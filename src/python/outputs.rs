//! What goes out: losses, and gradients in new arrays, in the caller's, or over the logits.

use super::arrays::{Array, Number, detached, slow};
use super::inputs::Input;
use crate::{Loss, Problem, Reduction, RowsIo};
use numpy::{IntoPyArray, PyArrayMethods};
use pyo3::prelude::*;
use std::ops::Range;

/// Where a result of the logits' shape is written: a new array, the caller's `out`, or over the logits.
pub(super) struct Output<'py, T> {
    array: Array<'py, T>,
    over_logits: bool,
    /// The caller's `out`, where it cannot be written in place: it gets a copy.
    copy_to: Option<Bound<'py, PyAny>>,
    axis: Option<usize>,
}

impl<'py, T: Number> Output<'py, T> {
    /// Checks `out`; `given` and `spans` are all inputs, as they were passed and as they are read.
    pub(super) fn of<const N: usize>(
        logits: &Input<'py, T>,
        out: Option<&Bound<'py, PyAny>>,
        given: [Option<&Bound<'py, PyAny>>; N],
        spans: [Option<Range<usize>>; N],
    ) -> PyResult<Self> {
        let (py, shape, axis) = (logits.py(), logits.array.shape(), logits.axis);
        let new = |copy_to| Ok(Output { array: Array::empty(py, shape)?, over_logits: false, copy_to, axis });
        let Some(out) = out else {
            return new(None);
        };
        if axis.is_none()
            && let Some(span) = logits.array.span()
            && let Some(array) = Array::<T>::in_place(out).filter(|out| out.is_flat() && out.shape() == shape)
            && array.object().try_readwrite().is_ok()
            && let Some(target) = array.span()
        {
            let over_logits = target == span && logits.array.is_flat();
            let apart = |span: &Range<usize>| span.end <= target.start || target.end <= span.start;
            // An input that was converted, or that shares memory, is looked at more closely below.
            let clear =
                given.iter().zip(&spans).all(|(given, span)| given.is_none() || span.as_ref().is_some_and(apart));
            if clear && (over_logits || apart(&span)) {
                return Ok(Output { array, over_logits, copy_to: None, axis });
            }
        }
        let inputs: Vec<_> = given.into_iter().flatten().collect();
        slow(py, "check_out", (out, &logits.given, inputs, logits.dtype()))?;
        new(Some(out.clone()))
    }

    /// The logits, and the place for the result.
    pub(super) fn io<'a>(&'a mut self, logits: &'a Input<'py, T>) -> crate::Result<RowsIo<'a, T>> {
        if self.over_logits {
            return RowsIo::in_place(self.array.data_mut(), logits.array.row_count(), logits.array.columns());
        }
        RowsIo::new(logits.array.rows()?, self.array.data_mut())
    }

    /// The result as the caller sees it.
    pub(super) fn finish(self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let array = self.array.object().clone().into_any();
        let array = match self.axis {
            Some(axis) => slow(py, "restore_axis", (array, axis))?,
            None => array,
        };
        match self.copy_to {
            Some(out) => slow(py, "copy_to", (out, array)),
            None => Ok(array),
        }
    }
}

/// What is asked for: the loss alone, or its gradient too, in an `out` where there is one.
pub(super) enum Want<'a, 'py> {
    Loss,
    Gradient(Option<&'a Bound<'py, PyAny>>),
}

impl<'a, 'py> Want<'a, 'py> {
    pub(super) fn output<T>(
        self,
        output: impl FnOnce(Option<&'a Bound<'py, PyAny>>) -> PyResult<Output<'py, T>>,
    ) -> PyResult<Option<Output<'py, T>>> {
        match self {
            Want::Loss => Ok(None),
            Want::Gradient(out) => output(out).map(Some),
        }
    }
}

/// The loss, or the pair of loss and gradient; an unreduced loss has the shape given.
pub(super) fn evaluate<'py, T: Number>(
    logits: &Input<'py, T>,
    problem: &impl Problem<T>,
    reduction: Reduction,
    shape: &[usize],
    output: Option<Output<'py, T>>,
) -> PyResult<Bound<'py, PyAny>> {
    let (py, elements) = (logits.py(), logits.array.len());
    let wrap = |loss| match loss {
        Loss::Scalar(loss) => Ok(loss.into_pyobject(py)?.into_any()),
        Loss::Each(losses) => numbers(py, losses, shape),
    };
    let Some(mut output) = output else {
        let rows = logits.array.rows()?;
        return wrap(detached(py, elements, || crate::value(problem, rows, reduction))?);
    };
    let rows = output.io(logits)?;
    let loss = wrap(detached(py, elements, || crate::value_and_grad(problem, rows, reduction))?)?;
    Ok((loss, output.finish(py)?).into_pyobject(py)?.into_any())
}

/// An array of a shape; a NumPy scalar where it has no axes.
pub(super) fn numbers<'py, T: Number>(
    py: Python<'py>,
    numbers: Vec<T>,
    shape: &[usize],
) -> PyResult<Bound<'py, PyAny>> {
    let array = numbers.into_pyarray(py).reshape(shape)?.into_any();
    if shape.is_empty() { array.get_item(()) } else { Ok(array) }
}
