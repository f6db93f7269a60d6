//! Results: losses, and gradients in new arrays, in the caller's `out`, or in place of the logits.

use super::arrays::{Arg, Array, Number, Span, detached};
use super::inputs::{Input, Upstream};
use super::options::{choice, part};
use super::via_numpy::{Numpy, via_numpy};
use crate::storage::{Place as _, Places, StoredIo};
use crate::{Curvature, CurvedObjective, HessOptions, Isa, Loss, Objective, Reduction, RowsIo, api};
use numpy::{Element, IntoPyArray, PyArrayDescr, PyArrayMethods, PyUntypedArrayMethods};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyType, PyTypeMethods};
use std::ops::Range;

/// The place for a result of the shape of the logits: a new array, the caller's `out`, or the logits themselves.
pub(super) struct Output<'py, S: Number> {
    array: Place<'py, S>,
    over_logits: bool,
    /// Whether the array is discarded if the call fails.
    fresh: bool,
    /// The diagonal of the Hessian, if it is required too; in a box, as most calls do without.
    hess: Option<Box<WantHess<'py>>>,
    /// What the gradient is multiplied by.
    pub(super) upstream: Upstream<'py, S>,
    /// The caller's `out` if it cannot be written directly; the result is copied to it.
    copy_to: Option<Bound<'py, PyAny>>,
}

/// An array in the type of the logits or in single precision.
enum Place<'py, S: Number> {
    Stored(Array<'py, S>),
    Single(Array<'py, S::Single>),
}

impl<'py, S: Number> Place<'py, S> {
    /// The array, if it can be written directly.
    fn in_place(out: Arg<'_, 'py>, shape: &[usize]) -> Option<Self> {
        fn suits<T: super::arrays::Stored>(out: &Array<'_, T>, shape: &[usize]) -> bool {
            out.is_flat() && out.shape() == shape && out.is_writeable()
        }
        if let Some(array) = Array::in_place(out) {
            return suits(&array, shape).then_some(Place::Stored(array));
        }
        Array::in_place(out).filter(|array| suits(array, shape)).map(Place::Single)
    }

    fn object(&self) -> Bound<'py, PyAny> {
        match self {
            Place::Stored(array) => array.object().clone().into_any(),
            Place::Single(array) => array.object().clone().into_any(),
        }
    }

    fn places(&mut self) -> Places<'_, S::Real> {
        match self {
            Place::Stored(array) => S::places(array.data_mut()),
            Place::Single(array) => S::Single::places(array.data_mut()),
        }
    }

    fn addresses(&self) -> Range<usize> {
        match self {
            Place::Stored(array) => array.addresses(),
            Place::Single(array) => array.addresses(),
        }
    }
}

impl<'py, S: Number> Output<'py, S> {
    /// Checks `out` against all inputs: `given` are the arguments as passed, `spans` the memory that is read. Unreduced
    /// losses have the shape `losses`.
    #[inline(always)]
    pub(super) fn of<const N: usize>(
        logits: &Input<'py, S>,
        losses: &[usize],
        want: Want<'_, 'py>,
        given: [Option<Arg<'_, 'py>>; N],
        spans: [Option<Span>; N],
    ) -> PyResult<Self> {
        let (py, shape) = (logits.py(), logits.array.shape());
        let (hess, upstream) = (WantHess::of(want)?, logits.grad_output(want.grad_output, losses)?);
        let Some(out) = want.out else {
            let array = Place::Stored(Array::empty(logits.dtype(), shape)?);
            let output = Output { array, over_logits: false, fresh: true, hess, upstream, copy_to: None };
            return output.with_place_for_hess(logits, &given);
        };
        // A number was copied.
        let factors = want.grad_output.filter(|_| matches!(upstream, Upstream::Each(_)));
        let all_given = given.iter().chain([&factors]);
        let check = || {
            let others: Vec<_> = all_given.clone().copied().flatten().collect();
            via_numpy(py, Numpy::CheckOut, (out, &logits.given, others, logits.dtype(), logits.single_dtype()))
        };
        if logits.axis.is_none()
            && let Some(Span { addresses: source, copied: false }) = logits.array.span()
            && let Some(array) = Place::in_place(out, shape)
        {
            let target = array.addresses();
            let over_logits = target == source && logits.array.is_flat() && matches!(array, Place::Stored(_));
            let apart = |read: &Range<usize>| read.end <= target.start || target.end <= read.start;
            let spans = all_given.clone().zip(spans.into_iter().chain([upstream.span()]));
            let (mut are_apart, mut have_copies) = (over_logits || apart(&source), false);
            for span in spans.filter_map(|(given, span)| given.and(span)) {
                are_apart &= apart(&span.addresses);
                have_copies |= span.copied;
            }
            if are_apart {
                if have_copies {
                    check()?;
                }
                let output = Output { array, over_logits, fresh: false, hess, upstream, copy_to: None };
                return output.with_place_for_hess(logits, &given);
            }
        }
        let array = if check()?.is_truthy()? {
            Place::Stored(Array::empty(logits.dtype(), shape)?)
        } else {
            Place::Single(Array::empty(logits.single_dtype(), shape)?)
        };
        let copy_to = Some(out.clone());
        let output = Output { array, over_logits: false, fresh: true, hess, upstream, copy_to };
        output.with_place_for_hess(logits, &given)
    }

    /// The same, if the caller's place for the Hessian, if there is one, can take it.
    #[inline(always)]
    fn with_place_for_hess(self, logits: &Input<'py, S>, given: &[Option<Arg<'_, 'py>>]) -> PyResult<Self> {
        if let Some(WantHess { out: Some(place), .. }) = self.hess.as_deref() {
            let inputs: Vec<_> = given.iter().copied().flatten().collect();
            let arguments = (place, &logits.given, self.object(), inputs, self.dtype());
            via_numpy(logits.py(), Numpy::CheckHessOut, arguments)?;
        }
        Ok(self)
    }

    /// The dtype of the result.
    fn dtype(&self) -> Bound<'py, PyArrayDescr> {
        match &self.array {
            Place::Stored(array) => array.object().dtype(),
            Place::Single(array) => array.object().dtype(),
        }
    }

    /// The place for the gradient, as the caller sees it.
    fn object(&self) -> Bound<'py, PyAny> {
        self.copy_to.clone().unwrap_or_else(|| self.array.object())
    }

    /// The logits and the place for the result.
    pub(super) fn io<'a>(&'a mut self, logits: &'a Input<'py, S>) -> crate::Result<StoredIo<'a, S::Real>> {
        let (rows, fresh) = (&logits.array, self.fresh);
        Ok(match &mut self.array {
            Place::Stored(array) => S::rows_io(if self.over_logits {
                RowsIo::in_place(array.data_mut(), rows.row_count(), rows.columns())?
            } else {
                RowsIo::new(rows.rows()?, array.data_mut())?.fresh(fresh)
            }),
            Place::Single(array) => S::Single::rows_io(RowsIo::new(rows.rows()?, array.data_mut())?.fresh(fresh)),
        })
    }

    /// The result as a Python object.
    pub(super) fn finish(self, logits: &Input<'py, S>) -> PyResult<Bound<'py, PyAny>> {
        let py = logits.py();
        let array = restored(py, self.array.object(), logits.axis)?;
        match self.copy_to {
            Some(out) => via_numpy(py, Numpy::CopyTo, (out, array)),
            None => Ok(array),
        }
    }
}

/// An array with the last axis moved back to the original position of the class axis.
pub(super) fn restored<'py>(
    py: Python<'py>,
    array: Bound<'py, PyAny>,
    axis: Option<usize>,
) -> PyResult<Bound<'py, PyAny>> {
    match axis {
        Some(axis) => via_numpy(py, Numpy::RestoreAxis, (array, axis)),
        None => Ok(array),
    }
}

/// The required derivatives.
#[derive(Clone, Copy)]
pub(super) struct Want<'a, 'py> {
    /// 0 for the loss alone, 1 for its gradient too, 2 for the diagonal of its Hessian too.
    pub(super) order: u8,
    /// The caller's place for the gradient.
    pub(super) out: Option<Arg<'a, 'py>>,
    /// What the gradient is multiplied by.
    pub(super) grad_output: Option<Arg<'a, 'py>>,
    /// `hess_out`, `hess_scale`, `hess_floor` and `curvature`, where the Hessian is wanted.
    pub(super) hess: Option<Arg<'a, 'py>>,
}

/// The diagonal of the Hessian that is wanted, and the caller's place for it.
pub(super) struct WantHess<'py> {
    pub(super) out: Option<Bound<'py, PyAny>>,
    pub(super) options: HessOptions,
}

impl<'py> WantHess<'py> {
    #[inline(always)]
    fn of(want: Want<'_, 'py>) -> PyResult<Option<Box<Self>>> {
        if want.order == 2 { Ok(Some(Box::new(Self::given(want)?))) } else { Ok(None) }
    }

    #[cold]
    pub(super) fn given(want: Want<'_, 'py>) -> PyResult<Self> {
        let Some(given) = want.hess else { return Ok(WantHess { out: None, options: HessOptions::EXACT }) };
        type Given<'py> = (Option<Bound<'py, PyAny>>, Bound<'py, PyAny>, Bound<'py, PyAny>, Bound<'py, PyAny>);
        let (out, scale, floor, curvature): Given<'py> = given.extract()?;
        let (scale, floor) = (part(&scale, "hess_scale")?, part(&floor, "hess_floor")?);
        let kinds = [("exact", Curvature::Exact), ("convex", Curvature::Convex), ("gradient", Curvature::Gradient)];
        let curvature = choice(&curvature, "curvature", "\"exact\", \"convex\" or \"gradient\"", &kinds)?;
        Ok(WantHess { out, options: HessOptions::new(curvature, scale, floor)? })
    }
}

impl<'a, 'py> Want<'a, 'py> {
    /// The place for the gradient, which `output` creates, if a gradient is required.
    #[inline(always)]
    pub(super) fn output<S: Number>(
        self,
        output: impl FnOnce(Self) -> PyResult<Output<'py, S>>,
    ) -> PyResult<Option<Output<'py, S>>> {
        if self.order == 0 { Ok(None) } else { output(self).map(Some) }
    }
}

/// The loss, or the pair of loss and gradient; an unreduced loss has the shape given.
pub(super) fn evaluate<'py, S: Number>(
    logits: &Input<'py, S>,
    objective: &dyn Objective<S::Real>,
    reduction: Reduction,
    shape: &[usize],
    output: Option<Output<'py, S>>,
) -> PyResult<Bound<'py, PyAny>> {
    let (py, elements) = (logits.py(), logits.array.len());
    let Some(mut output) = output else {
        let rows = logits.array.rows()?;
        return wrap(py, detached(py, elements, || crate::value(objective, rows, reduction))?, shape);
    };
    let upstream = std::mem::replace(&mut output.upstream, Upstream::Number(1.0));
    let grad_output = upstream.get();
    let rows = output.io(logits)?;
    let loss = detached(py, elements, || api::value_and_grad_of(objective, rows, reduction, grad_output))?;
    let loss = wrap(py, loss, shape)?;
    loss_grad(py, [loss, output.finish(logits)?])
}

/// Like [`evaluate`], or the triple of loss, gradient and diagonal of the Hessian.
pub(super) fn evaluate_curved<'py, S: Number>(
    logits: &Input<'py, S>,
    objective: &dyn CurvedObjective<S::Real>,
    reduction: Reduction,
    shape: &[usize],
    output: Option<Output<'py, S>>,
) -> PyResult<Bound<'py, PyAny>> {
    match output {
        Some(output) if output.hess.is_some() => evaluate_hess(logits, objective, reduction, shape, output),
        output => evaluate(logits, objective, reduction, shape, output),
    }
}

/// The triple of loss, gradient and diagonal of the Hessian, which has the gradient's type.
#[cold]
#[inline(never)]
fn evaluate_hess<'py, S: Number>(
    logits: &Input<'py, S>,
    objective: &dyn CurvedObjective<S::Real>,
    reduction: Reduction,
    shape: &[usize],
    mut output: Output<'py, S>,
) -> PyResult<Bound<'py, PyAny>> {
    let (py, elements, dtype) = (logits.py(), logits.array.len(), output.dtype());
    let hess = output.hess.take();
    let options = hess.as_ref().map_or(HessOptions::EXACT, |hess| hess.options);
    let place = hess.and_then(|hess| hess.out);
    let in_place = place.as_ref().filter(|_| logits.axis.is_none());
    let in_place = in_place.and_then(|place| Place::<S>::in_place(place, logits.array.shape()));
    let is_copied = in_place.is_none();
    let mut hess = match (in_place, &output.array) {
        (Some(place), _) => place,
        (None, Place::Stored(_)) => Place::Stored(Array::empty(dtype, logits.array.shape())?),
        (None, Place::Single(_)) => Place::Single(Array::empty(dtype, logits.array.shape())?),
    };
    let (rows, places) = (output.io(logits)?, hess.places());
    let loss = detached(py, elements, || api::value_grad_hess_of(objective, rows, places, reduction, options))?;
    let hess = restored(py, hess.object(), logits.axis)?;
    let hess = match place {
        Some(place) if is_copied => via_numpy(py, Numpy::CopyTo, (place, hess))?,
        _ => hess,
    };
    loss_grad(py, [wrap(py, loss, shape)?, output.finish(logits)?, hess])
}

/// `LossGrad` of two items, `LossGradHess` of three: as their classes make them of a tuple, without the tuple and the call.
pub(super) fn loss_grad<'py, const N: usize>(
    py: Python<'py>,
    items: [Bound<'py, PyAny>; N],
) -> PyResult<Bound<'py, PyAny>> {
    const NAMES: [&str; 2] = ["LossGrad", "LossGradHess"];
    static CLASSES: [PyOnceLock<Py<PyType>>; 2] = [const { PyOnceLock::new() }; 2];
    #[expect(clippy::indexing_slicing, reason = "there are two or three items")]
    let class = CLASSES[N - 2].import(py, "xentrs.losses.results", NAMES[N - 2])?;
    // SAFETY: the class is a tuple's without fields of its own, and its new object has place for N items, none of which is
    // set, and no other owner. Each item is given away once.
    unsafe {
        let tuple = Bound::from_owned_ptr_or_err(py, ffi::PyType_GenericAlloc(class.as_type_ptr(), N as isize))?;
        for (i, item) in (0..).zip(items) {
            ffi::PyTuple_SetItem(tuple.as_ptr(), i, item.into_ptr());
        }
        Ok(tuple)
    }
}

/// A loss as a Python object.
pub(super) fn wrap<'py, T: Element>(py: Python<'py>, loss: Loss<T>, shape: &[usize]) -> PyResult<Bound<'py, PyAny>> {
    match loss {
        Loss::Scalar(loss) => Ok(loss.into_pyobject(py)?.into_any()),
        Loss::Each(losses) => numbers(py, losses, shape),
    }
}

/// An array of a shape; a NumPy scalar if the shape has no axes.
pub(super) fn numbers<'py, T: Element>(
    py: Python<'py>,
    numbers: Vec<T>,
    shape: &[usize],
) -> PyResult<Bound<'py, PyAny>> {
    or_scalar(numbers.into_pyarray(py).reshape(shape)?.into_any(), shape)
}

/// Like [`numbers`], in the type of the logits.
pub(super) fn rounded<'py, S: Number>(
    logits: &Input<'py, S>,
    numbers: &[S::Real],
    shape: &[usize],
) -> PyResult<Bound<'py, PyAny>> {
    let mut array = Array::<S>::empty(logits.dtype(), shape)?;
    S::places(array.data_mut()).write(Isa::active()?, numbers);
    or_scalar(array.object().clone().into_any(), shape)
}

fn or_scalar<'py>(array: Bound<'py, PyAny>, shape: &[usize]) -> PyResult<Bound<'py, PyAny>> {
    if shape.is_empty() { array.get_item(()) } else { Ok(array) }
}
