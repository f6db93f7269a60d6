//! Logits that stand a class at a time, read where they lie: arrays of few classes in Fortran order, or with the class
//! axis first. The derivatives get the layout of the logits.

use super::arrays::{Arg, Array, Number, detached};
use super::inputs::{Input, Logits, Upstream};
use super::outputs::{Want, WantHess, loss_grad, wrap};
use super::via_numpy::{Numpy, via_numpy};
use crate::math::Real;
use crate::{ColumnPlaces, Columns, CurvedObjective, HessOptions, Reduction};
use numpy::{PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::prelude::*;

/// Smaller arrays take as long to transpose as to recognise.
const LEAST_ELEMENTS: usize = 1 << 12;

/// The most classes, which are those of rows that go by lane.
const MOST_CLASSES: usize = 64;

impl<'py> Logits<'py> {
    /// Logits of few classes that stand a class at a time.
    #[inline]
    pub(super) fn by_column(arg: Arg<'_, 'py>, axis: isize) -> Option<Self> {
        let array = arg.cast::<PyUntypedArray>().ok().filter(|array| array.len() >= LEAST_ELEMENTS)?;
        let ndim = array.ndim();
        let axis = usize::try_from(if axis < 0 { axis + ndim as isize } else { axis }).ok()?;
        let (&classes, stride) = array.shape().get(axis).zip(array.strides().get(axis))?;
        let is_worth_it = (2..=MOST_CLASSES).contains(&classes);
        if ndim < 2 || !is_worth_it || stride.unsigned_abs() * classes != array.len() * array.dtype().itemsize() {
            return None;
        }
        let last = via_numpy(arg.py(), Numpy::ClassLast, (arg, axis)).ok()?;
        let moved = (axis + 1 != ndim).then_some(axis);
        Array::by_column(&last)
            .map(|array| Logits::F64(Input::of(array, arg, moved)))
            .or_else(|| Array::by_column(&last).map(|array| Logits::F32(Input::of(array, arg, moved))))
    }
}

/// The place for a derivative: a new array in the layout of the logits, or the caller's, if it has that layout.
struct Place<'py, S: Number> {
    array: Either<'py, S>,
    is_new: bool,
    copy_to: Option<Bound<'py, PyAny>>,
}

enum Either<'py, S> {
    Same(Array<'py, S>),
    Single(Array<'py, f32>),
}

impl<'py, S: Number<Real = S> + Real> Place<'py, S> {
    fn of(logits: &Input<'py, S>, axis: usize, out: Option<Arg<'_, 'py>>, is_single: bool) -> PyResult<Self> {
        let py = logits.py();
        let shape = [&[logits.class_count()], logits.leading()].concat();
        if let Some(out) = out {
            let last = via_numpy(py, Numpy::ClassLast, (out, axis))?;
            if !is_single && let Some(array) = Array::by_column(&last).filter(Array::is_writeable) {
                return Ok(Place { array: Either::Same(array), is_new: false, copy_to: Some(out.clone()) });
            }
            if is_single && let Some(array) = Array::by_column(&last).filter(Array::is_writeable) {
                return Ok(Place { array: Either::Single(array), is_new: false, copy_to: Some(out.clone()) });
            }
        }
        let array = match is_single {
            true => Either::Single(Array::empty(numpy::dtype::<f32>(py), &shape)?),
            false => Either::Same(Array::empty(logits.dtype(), &shape)?),
        };
        Ok(Place { array, is_new: true, copy_to: out.cloned() })
    }

    fn places(&mut self) -> ColumnPlaces<'_, S> {
        match &mut self.array {
            Either::Same(array) => ColumnPlaces::Same(array.data_mut()),
            Either::Single(array) => ColumnPlaces::Single(array.data_mut()),
        }
    }

    /// The result as a Python object.
    fn finish(self, py: Python<'py>, axis: usize) -> PyResult<Bound<'py, PyAny>> {
        let array = match (&self.array, self.copy_to) {
            (_, Some(out)) if !self.is_new => return Ok(out),
            (Either::Same(array), out) => (array.object().clone().into_any(), out),
            (Either::Single(array), out) => (array.object().clone().into_any(), out),
        };
        let (array, out) = array;
        let array = via_numpy(py, Numpy::ClassFrom, (array, axis))?;
        match out {
            Some(out) => via_numpy(py, Numpy::CopyTo, (out, array)),
            None => Ok(array),
        }
    }
}

/// The places for the derivatives that are wanted, and the upstream gradient.
pub(super) struct ColumnOutput<'py, S: Number<Real = S>> {
    grad: Option<Place<'py, S>>,
    hess: Option<(Place<'py, S>, HessOptions)>,
    upstream: Upstream<'py, S>,
}

impl<'py, S: Number<Real = S> + Real> ColumnOutput<'py, S> {
    /// None where the gradient is to be written over the logits.
    pub(super) fn of(logits: &Input<'py, S>, want: Want<'_, 'py>, given: &[Arg<'_, 'py>]) -> PyResult<Option<Self>> {
        let (py, shape) = (logits.py(), logits.leading());
        let axis = logits.axis.unwrap_or(shape.len());
        let upstream = logits.grad_output(want.grad_output, shape)?;
        logits.check_fit()?;
        let (mut grad, mut hess) = (None, None);
        if want.order > 0 {
            let inputs: Vec<_> = given.iter().copied().chain(want.grad_output).collect();
            let mut is_single = false;
            if let Some(out) = want.out {
                let arguments = (out, &logits.given, inputs.clone(), logits.dtype(), logits.single_dtype());
                is_single = !via_numpy(py, Numpy::CheckOut, arguments)?.is_truthy()?;
                if via_numpy(py, Numpy::Overlap, (out, &logits.given))?.is_truthy()? {
                    return Ok(None);
                }
            }
            if want.order == 2 {
                let WantHess { out, options } = WantHess::given(want)?;
                if let Some(out) = &out {
                    let dtype = if is_single { logits.single_dtype() } else { logits.dtype() };
                    via_numpy(py, Numpy::CheckHessOut, (out, &logits.given, want.out, inputs, dtype))?;
                }
                hess = Some((Place::of(logits, axis, out.as_ref(), is_single)?, options));
            }
            grad = Some(Place::of(logits, axis, want.out, is_single)?);
        }
        Ok(Some(ColumnOutput { grad, hess, upstream }))
    }
}

/// The loss, and the derivatives that are wanted; none where this objective is evaluated by rows alone.
pub(super) fn evaluate_by_column<'py, S: Number<Real = S> + Real>(
    logits: &Input<'py, S>,
    objective: &dyn CurvedObjective<S>,
    reduction: Reduction,
    output: ColumnOutput<'py, S>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let (py, shape, rows) = (logits.py(), logits.leading(), logits.array.row_count());
    let axis = logits.axis.unwrap_or(shape.len());
    let columns = Columns::new(logits.array.data(), rows, logits.class_count())?;
    let ColumnOutput { mut grad, mut hess, upstream } = output;
    // 1. the sweep
    let grad_output = if grad.is_some() { upstream.get() } else { crate::GradOutput::ONE };
    let places = grad.as_mut().map(Place::places);
    let hesses = hess.as_mut().map(|(hess, options)| (hess.places(), *options));
    let loss = detached(py, logits.array.len(), || {
        crate::value_by_column(objective, columns, places, hesses, reduction, grad_output)
    })?;
    let Some(loss) = loss else { return Ok(None) };
    // 2. results
    let loss = wrap(py, loss, shape)?;
    Ok(Some(match (grad, hess) {
        (None, _) => loss,
        (Some(grad), None) => loss_grad(py, [loss, grad.finish(py, axis)?])?,
        (Some(grad), Some((hess, _))) => loss_grad(py, [loss, grad.finish(py, axis)?, hess.finish(py, axis)?])?,
    }))
}
