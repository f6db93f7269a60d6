//! Logits, and arrays that fit them in type and shape.

use super::arrays::{Arg, Array, Number, Span, Stored, check_shape};
use super::errors::needs_double;
use super::targets::Floats;
use super::via_numpy::{Numpy, via_numpy};
use super::weights::{self, Use};
use crate::GradOutput;
use crate::math::Exp;
use crate::simd::Float;
use crate::view::check_weights;
use half::{bf16, f16};
use numpy::{PyArrayDescr, PyUntypedArrayMethods};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyFloat;
use std::borrow::Cow;
use std::cell::Cell;

/// Runs an expression for logits of any dtype.
macro_rules! match_dtype {
    ($logits:expr, $input:ident => $result:expr) => {
        match $logits {
            Logits::F32($input) => $result,
            Logits::F64($input) => $result,
            Logits::F16($input) => $result,
            Logits::Bf16($input) => $result,
        }
    };
}

pub(super) use match_dtype;

/// An array that most calls do without. It is in a box, so that they move a pointer in its place.
pub(super) type Extra<'py, T> = Option<Box<Array<'py, T>>>;

pub(super) fn data<'a, T: Stored>(array: &'a Extra<'_, T>) -> Option<&'a [T]> {
    array.as_deref().map(Array::data)
}

pub(super) fn span<T: Stored>(array: &Extra<'_, T>) -> Option<Span> {
    array.as_deref().and_then(Array::span)
}

/// Logits of any dtype, the class axis last.
pub(super) enum Logits<'py> {
    F32(Input<'py, f32>),
    F64(Input<'py, f64>),
    F16(Input<'py, f16>),
    Bf16(Input<'py, bf16>),
}

/// Logits of one dtype, and the argument they come from.
pub(super) struct Input<'py, S> {
    pub(super) array: Array<'py, S>,
    pub(super) given: Bound<'py, PyAny>,
    /// The class axis, counted from the front, if it was not the last axis.
    pub(super) axis: Option<usize>,
    /// The number of outputs of the linear layer, if the rows are its inputs.
    outputs: Option<usize>,
    /// The name of weights that the type of the computation cannot hold.
    unfit: Cell<Option<&'static str>>,
}

/// The upstream gradient: a number, or one for each loss.
pub(super) enum Upstream<'py, S: Number> {
    Number(f64),
    Each(Box<Array<'py, S::Real>>),
}

impl<S: Number> Upstream<'_, S> {
    pub(super) fn get(&self) -> GradOutput<'_, S::Real> {
        match self {
            Upstream::Number(number) => GradOutput::Number(*number),
            Upstream::Each(each) => GradOutput::Each(each.data()),
        }
    }

    /// The memory that is read, if it may be the caller's.
    pub(super) fn span(&self) -> Option<Span> {
        match self {
            Upstream::Number(_) => None,
            Upstream::Each(each) => each.span(),
        }
    }
}

impl<'py> Logits<'py> {
    /// Logits with rows along `axis`; without an axis points, which are rows of one.
    pub(super) fn of(arg: Arg<'_, 'py>, name: &str, axis: Option<isize>) -> PyResult<Self> {
        if axis.is_none_or(|axis| axis == -1)
            && let Some(logits) = Self::in_place(arg, arg, None, axis)
        {
            return Ok(logits);
        }
        let converted = via_numpy(arg.py(), Numpy::AsLogits, (arg, name, axis))?;
        let (array, moved): (Bound<'py, PyAny>, Option<usize>) = converted.extract()?;
        Self::in_place(&array, arg, moved, axis)
            .ok_or_else(|| PyTypeError::new_err("xentrs._arrays must give native C-ordered arrays"))
    }

    /// Two arrays of the same dtype, with rows along `axis`: the first as an input, and the converted second one.
    /// Either may be a single row. If they had different dtypes, the name of the coarser one.
    pub(super) fn pair(
        args: [Arg<'_, 'py>; 2],
        names: [&str; 2],
        axis: isize,
    ) -> PyResult<(Self, Bound<'py, PyAny>, Option<String>)> {
        let [first, second] = args;
        if axis == -1
            && let Some(logits) = Self::in_place(first, first, None, Some(axis))
            && match_dtype!(&logits, logits => logits.beside(second).is_some())
        {
            return Ok((logits, second.clone(), None));
        }
        let converted = via_numpy(first.py(), Numpy::AsPair, (first, second, names.to_vec(), axis))?;
        let (array, other, moved, coarser): (Bound<'py, PyAny>, Bound<'py, PyAny>, _, _) = converted.extract()?;
        Self::in_place(&array, first, moved, Some(axis))
            .map(|logits| (logits, other, coarser))
            .ok_or_else(|| PyTypeError::new_err("xentrs._arrays must give native C-ordered arrays"))
    }

    #[inline(always)]
    fn in_place(
        array: &Bound<'py, PyAny>,
        given: Arg<'_, 'py>,
        moved: Option<usize>,
        axis: Option<isize>,
    ) -> Option<Self> {
        if let Some(input) = Input::in_place(array, given, moved, axis) {
            return Some(Logits::F32(input));
        }
        if let Some(input) = Input::in_place(array, given, moved, axis) {
            return Some(Logits::F64(input));
        }
        if let Some(input) = Input::in_place(array, given, moved, axis) {
            return Some(Logits::F16(input));
        }
        Input::in_place(array, given, moved, axis).map(Logits::Bf16)
    }
}

impl<'py, S: Number> Input<'py, S> {
    #[inline(always)]
    fn in_place(
        array: &Bound<'py, PyAny>,
        given: Arg<'_, 'py>,
        moved: Option<usize>,
        axis: Option<isize>,
    ) -> Option<Self> {
        let mut array = if array.is(given) { Array::in_place(array) } else { Array::copy(array).ok() }
            .filter(|array| array.suits(axis))?;
        if axis.is_none() {
            array.fold(1);
        }
        Some(Input { array, given: given.clone(), axis: moved, outputs: None, unfit: Cell::new(None) })
    }

    /// Logits made of an array whose class axis is the last.
    pub(super) fn of(array: Array<'py, S>, given: Arg<'_, 'py>, axis: Option<usize>) -> Self {
        Input { array, given: given.clone(), axis, outputs: None, unfit: Cell::new(None) }
    }

    /// Warns where probabilities were given for logits: all rows, of which there are several, are distributions. Two
    /// numbers of the first nearly always tell that they are not.
    #[inline]
    pub(super) fn warn_of_probabilities(&self, name: &str) -> PyResult<()> {
        let row = || self.array.first_row();
        let sum = || row().map(Into::into).sum::<f64>();
        if self.array.row_count() > 1 && row().all(|z| (0.0..=1.0).contains(&z.into())) && (sum() - 1.0).abs() < 0.01 {
            let axis = self.axis.map_or(-1, |axis| axis as isize);
            via_numpy(self.py(), Numpy::WarnOfProbabilities, (&self.given, name, axis))?;
        }
        Ok(())
    }

    pub(super) fn py(&self) -> Python<'py> {
        self.given.py()
    }

    /// Another array of rows of the same type, if it can be read in place.
    pub(super) fn beside(&self, other: Arg<'_, 'py>) -> Option<Array<'py, S>> {
        Array::in_place(other).filter(|array| array.suits(Some(-1)))
    }

    pub(super) fn dtype(&self) -> Bound<'py, PyArrayDescr> {
        self.array.object().dtype()
    }

    /// The dtype of derivatives in single precision.
    pub(super) fn single_dtype(&self) -> Bound<'py, PyArrayDescr> {
        numpy::dtype::<S::Single>(self.py())
    }

    /// The dtype of the computation.
    pub(super) fn real_dtype(&self) -> Bound<'py, PyArrayDescr> {
        numpy::dtype::<S::Real>(self.py())
    }

    /// The same array as the inputs of a linear layer; targets and weights must fit the logits of the layer.
    pub(super) fn with_outputs(self, classes: usize) -> Self {
        Input { outputs: Some(classes), ..self }
    }

    /// The shape of the logits.
    pub(super) fn shape(&self) -> Cow<'_, [usize]> {
        match self.outputs {
            Some(classes) => [self.leading(), &[classes]].concat().into(),
            None => self.array.shape().into(),
        }
    }

    /// The length of the class axis, the last one.
    pub(super) fn class_count(&self) -> usize {
        self.outputs.unwrap_or(self.array.columns())
    }

    /// The shape without the class axis.
    pub(super) fn leading(&self) -> &[usize] {
        let shape = self.array.shape();
        shape.split_last().map_or(shape, |(_, leading)| leading)
    }

    /// The shape after a reduction over the class axis.
    pub(super) fn reduced(&self, keepdims: bool) -> Vec<usize> {
        if keepdims { self.as_given(&[self.leading(), &[1]].concat()) } else { self.leading().to_vec() }
    }

    /// A shape with the class axis moved back to its original position.
    pub(super) fn as_given(&self, shape: &[usize]) -> Vec<usize> {
        let mut shape = shape.to_vec();
        if let Some(axis) = self.axis
            && let Some(classes) = shape.pop()
        {
            shape.insert(axis.min(shape.len()), classes);
        }
        shape
    }

    /// Another array, broadcast to the shape of the logits.
    pub(super) fn broadcast(&self, arg: Arg<'_, 'py>, name: &str) -> PyResult<Floats<'py, S>> {
        self.of_this_shape(arg, Numpy::AsBeside, name)
    }

    /// Like [`broadcast`](Self::broadcast), but a single number, which has no axes, is left as it is.
    pub(super) fn broadcast_or_single(&self, arg: Arg<'_, 'py>, name: &str) -> PyResult<Floats<'py, S>> {
        self.of_this_shape(arg, Numpy::AsBesideOrSingle, name)
    }

    fn of_this_shape(&self, arg: Arg<'_, 'py>, function: Numpy, name: &str) -> PyResult<Floats<'py, S>> {
        let shape = self.shape();
        let mut numbers = match Floats::in_place(arg).filter(|numbers| numbers.is_flat() && numbers.shape() == &*shape)
        {
            Some(numbers) => numbers,
            None => {
                let arguments = (arg, name, self.real_dtype(), shape.to_vec(), self.dtype());
                Floats::copy(&via_numpy(self.py(), function, arguments)?)?
            }
        };
        numbers.fold(1);
        Ok(numbers)
    }

    /// Weights of a shape; see [`as_weights`](Self::as_weights).
    pub(super) fn weights(
        &self,
        arg: Option<Arg<'_, 'py>>,
        name: &'static str,
        shape: &[usize],
        use_of: Use,
    ) -> PyResult<Extra<'py, S::Real>> {
        arg.map(|arg| self.as_weights(arg, name, use_of)?.of_shape(name, shape).map(Box::new)).transpose()
    }

    /// Weights of a shape in double precision.
    pub(super) fn wide_weights(
        &self,
        arg: Option<Arg<'_, 'py>>,
        name: &'static str,
        shape: &[usize],
    ) -> PyResult<Extra<'py, f64>> {
        arg.map(|arg| self.in_double(arg, name)?.of_shape(name, shape).map(Box::new)).transpose()
    }

    /// Weights of points, in the shape of the logits, or without its last axis: then one per row.
    pub(super) fn point_weights(
        &self,
        arg: Option<Arg<'_, 'py>>,
        name: &'static str,
        use_of: Use,
    ) -> PyResult<Extra<'py, S::Real>> {
        let Some(arg) = arg else { return Ok(None) };
        let (array, shape) = (self.as_weights(arg, name, use_of)?, self.shape());
        if array.shape() != &*shape && !shape.is_empty() && array.shape() == self.leading() {
            check_weights(name, array.data(), array.shape())?;
            let whole = via_numpy(self.py(), Numpy::OneARow, (array.object(), shape.to_vec()))?;
            return Ok(Some(Array::copy(&whole)?.into()));
        }
        Ok(Some(array.of_shape(name, &shape)?.into()))
    }

    /// `pos_weight`: one number for all labels, or one per label along the last axis.
    pub(super) fn pos_weight(&self, arg: Option<Arg<'_, 'py>>) -> PyResult<Extra<'py, S::Real>> {
        let Some(arg) = arg else { return Ok(None) };
        let array = self.as_weights(arg, "pos_weight", Use::AsTheyAre)?;
        if !array.shape().is_empty() {
            check_shape("pos_weight", &[self.shape().last().copied().unwrap_or(1)], array.shape())?;
        }
        Ok(Some(array.into()))
    }

    /// Weights in the type of the computation. Those of which only the ratios matter may be multiplied by a power of
    /// two, if the type cannot hold them or their products.
    #[inline]
    fn as_weights(&self, arg: Arg<'_, 'py>, name: &'static str, use_of: Use) -> PyResult<Array<'py, S::Real>> {
        match Array::<S::Real>::in_place(arg).filter(Array::is_flat) {
            Some(array) if weights::are_plain(array.data()) => Ok(array),
            _ => self.checked_weights(arg, name, use_of),
        }
    }

    #[cold]
    #[inline(never)]
    fn checked_weights(&self, arg: Arg<'_, 'py>, name: &'static str, use_of: Use) -> PyResult<Array<'py, S::Real>> {
        if let Some(array) = Array::<S::Real>::in_place(arg).filter(Array::is_flat) {
            check_weights(name, array.data(), array.shape())?;
            if weights::fit(array.data(), use_of) {
                return Ok(array);
            }
        }
        let wide = self.in_double(arg, name)?;
        check_weights(name, wide.data(), wide.shape())?;
        let mut narrow = Array::empty(self.real_dtype(), wide.shape())?;
        if !weights::narrow::<S::Real>(wide.data(), narrow.data_mut(), use_of) {
            self.unfit.set(Some(name));
        }
        Ok(narrow)
    }

    /// One number a class, in the type of the computation, at most as large as the inverse of its smallest normal number.
    #[cold]
    pub(super) fn log_prior(&self, arg: Arg<'_, 'py>) -> PyResult<Box<Array<'py, S::Real>>> {
        let (name, shape) = ("log_prior", [self.class_count()]);
        if let Some(array) = Array::in_place(arg).filter(Array::is_flat) {
            return Ok(array.of_shape(name, &shape)?.into());
        }
        let wide = self.in_double(arg, name)?.of_shape(name, &shape)?;
        let (mut narrow, most) = (Array::empty(self.real_dtype(), &shape)?, (-S::Real::MIN_EXPONENT).to_f64().exp2());
        for (to, &x) in narrow.data_mut().iter_mut().zip(wide.data()) {
            *to = S::Real::from_f64(if x < f64::INFINITY { x.min(most) } else { x });
        }
        Ok(narrow.into())
    }

    fn in_double(&self, arg: Arg<'_, 'py>, name: &str) -> PyResult<Array<'py, f64>> {
        match Array::in_place(arg).filter(Array::is_flat) {
            Some(array) => Ok(array),
            None => {
                let double = numpy::dtype::<f64>(self.py());
                Array::copy(&via_numpy(self.py(), Numpy::AsWeights, (arg, name, double))?)
            }
        }
    }

    /// The upstream gradient of losses of a shape.
    #[inline(always)]
    pub(super) fn grad_output(&self, arg: Option<Arg<'_, 'py>>, shape: &[usize]) -> PyResult<Upstream<'py, S>> {
        match arg {
            None => Ok(Upstream::Number(1.0)),
            Some(arg) => self.upstream(arg, "grad_output", shape),
        }
    }

    /// An upstream gradient of this name.
    #[inline(never)]
    pub(super) fn upstream(
        &self,
        arg: Arg<'_, 'py>,
        name: &'static str,
        shape: &[usize],
    ) -> PyResult<Upstream<'py, S>> {
        let number = match arg.cast::<PyFloat>() {
            Ok(number) => number.value(),
            Err(_) => {
                let each = Array::<S::Real>::in_place(arg).filter(|each| each.is_flat() && each.shape() == shape);
                if let Some(each) = each.filter(|each| !shape.is_empty() && weights::are_plain_factors(each.data())) {
                    return Ok(Upstream::Each(Box::new(each)));
                }
                let wide =
                    Array::<f64>::copy(&via_numpy(self.py(), Numpy::AsGradOutput, (arg, name, shape.to_vec()))?)?;
                if !wide.shape().is_empty() {
                    let mut each = Array::empty(self.real_dtype(), shape)?;
                    each.data_mut().iter_mut().zip(wide.data()).for_each(|(to, &x)| *to = S::Real::from_f64(x));
                    self.check_factors(wide.data(), name);
                    return Ok(Upstream::Each(Box::new(each)));
                }
                // Without axes it has one number.
                wide.data().first().copied().unwrap_or(1.0)
            }
        };
        self.check_factors(&[number], name);
        Ok(Upstream::Number(number))
    }

    fn check_factors(&self, wide: &[f64], name: &'static str) {
        if !weights::are_factors::<S::Real>(wide) {
            self.unfit.set(Some(name));
        }
    }

    /// Refuses weights that the type of the computation cannot hold: the call must be repeated in double precision.
    pub(super) fn check_fit(&self) -> PyResult<()> {
        self.unfit.get().map_or(Ok(()), |name| Err(needs_double(name)))
    }

    /// Integers of a shape.
    pub(super) fn integers(
        &self,
        arg: Option<Arg<'_, 'py>>,
        name: &'static str,
        shape: &[usize],
    ) -> PyResult<Extra<'py, i64>> {
        let Some(arg) = arg else { return Ok(None) };
        let array = match Array::in_place(arg).filter(Array::is_flat) {
            Some(array) => array,
            None => Array::copy(&via_numpy(self.py(), Numpy::AsIntegers, (arg, name))?)?,
        };
        Ok(Some(array.of_shape(name, shape)?.into()))
    }
}
