//! What comes in: logits, and what stands beside them, of their type and of fitting shape.

mod targets;

pub(super) use targets::{Floats, Target};

use super::Given;
use super::arrays::{Array, Number, Stored, slow};
use crate::Reduction;
use crate::error::Error;
use crate::view::check_weights;
use half::{bf16, f16};
use numpy::{PyArrayDescr, PyUntypedArrayMethods};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use std::borrow::Cow;
use std::ops::Range;

/// Runs an expression for logits of any type.
macro_rules! fork {
    ($logits:expr, $input:ident => $result:expr) => {
        match $logits {
            Logits::F32($input) => $result,
            Logits::F64($input) => $result,
            Logits::F16($input) => $result,
            Logits::Bf16($input) => $result,
        }
    };
}

pub(super) use fork;

pub(super) fn reduction(name: Given<'_, '_>) -> PyResult<Reduction> {
    let got = match name.extract::<&str>() {
        Ok("mean") => return Ok(Reduction::Mean),
        Ok("sum") => return Ok(Reduction::Sum),
        Ok("none") => return Ok(Reduction::None),
        Ok(other) => format!("{other:?}"),
        Err(_) => name.repr()?.to_string(),
    };
    Err(Error::parameter("reduction", "\"mean\", \"sum\" or \"none\"", got).into())
}

pub(super) fn data<'a, T: Stored>(array: &'a Option<Array<'_, T>>) -> Option<&'a [T]> {
    array.as_ref().map(Array::data)
}

pub(super) fn span<T: Stored>(array: &Option<Array<'_, T>>) -> Option<Range<usize>> {
    array.as_ref().and_then(Array::span)
}

/// Logits of any type, the class axis last.
pub(super) enum Logits<'py> {
    F32(Input<'py, f32>),
    F64(Input<'py, f64>),
    F16(Input<'py, f16>),
    Bf16(Input<'py, bf16>),
}

/// Logits of one type, and what they were before.
pub(super) struct Input<'py, S> {
    pub(super) array: Array<'py, S>,
    pub(super) given: Bound<'py, PyAny>,
    /// The class axis, counted from the front, where it was not the last one.
    pub(super) axis: Option<usize>,
    /// How many logits a linear layer makes of each row, where these are its inputs.
    outputs: Option<usize>,
}

impl<'py> Logits<'py> {
    /// Rows along `axis`; where there is none, points: rows of one.
    pub(super) fn of(given: &Bound<'py, PyAny>, name: &str, axis: Option<isize>) -> PyResult<Self> {
        if axis.is_none_or(|axis| axis == -1)
            && let Some(logits) = Self::in_place(given, given, None, axis)
        {
            return Ok(logits);
        }
        let converted = slow(given.py(), "as_logits", (given, name, axis))?;
        let (array, moved): (Bound<'py, PyAny>, Option<usize>) = converted.extract()?;
        Self::in_place(&array, given, moved, axis)
            .ok_or_else(|| PyTypeError::new_err("xentrs._arrays must give native C-ordered arrays"))
    }

    /// Two arrays of one type, with rows along `axis`: the first, and what becomes of the second. Either may be a single row.
    pub(super) fn pair(
        given: [&Bound<'py, PyAny>; 2],
        names: [&str; 2],
        axis: isize,
    ) -> PyResult<(Self, Bound<'py, PyAny>)> {
        let [first, second] = given;
        if axis == -1
            && let Some(logits) = Self::in_place(first, first, None, Some(axis))
            && fork!(&logits, logits => logits.beside(second).is_some())
        {
            return Ok((logits, second.clone()));
        }
        let converted = slow(first.py(), "as_pair", (first, second, names.to_vec(), axis))?;
        let (array, other, moved): (Bound<'py, PyAny>, Bound<'py, PyAny>, Option<usize>) = converted.extract()?;
        Self::in_place(&array, first, moved, Some(axis))
            .map(|logits| (logits, other))
            .ok_or_else(|| PyTypeError::new_err("xentrs._arrays must give native C-ordered arrays"))
    }

    #[inline(always)]
    fn in_place(
        array: &Bound<'py, PyAny>,
        given: &Bound<'py, PyAny>,
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
        given: &Bound<'py, PyAny>,
        moved: Option<usize>,
        axis: Option<isize>,
    ) -> Option<Self> {
        let mut array = if array.is(given) { Array::in_place(array) } else { Array::copy(array).ok() }
            .filter(|array| array.suits(axis))?;
        if axis.is_none() {
            array.fold(1);
        }
        Some(Input { array, given: given.clone(), axis: moved, outputs: None })
    }

    pub(super) fn py(&self) -> Python<'py> {
        self.given.py()
    }

    /// Another array of rows of the same type, where it can be read in place.
    pub(super) fn beside(&self, other: &Bound<'py, PyAny>) -> Option<Array<'py, S>> {
        Array::in_place(other).filter(|array| array.suits(Some(-1)))
    }

    pub(super) fn dtype(&self) -> Bound<'py, PyArrayDescr> {
        self.array.object().dtype()
    }

    /// The dtype of what they are computed with.
    pub(super) fn real_dtype(&self) -> Bound<'py, PyArrayDescr> {
        numpy::dtype::<S::Real>(self.py())
    }

    /// The same as inputs of a linear layer, whose logits are what targets and weights fit.
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
        &shape[..shape.len() - 1]
    }

    /// The shape of what is left when the class axis is reduced.
    pub(super) fn reduced(&self, keepdims: bool) -> Vec<usize> {
        let one: &[usize] = if keepdims { &[1] } else { &[] };
        if keepdims { self.as_given(&[self.leading(), one].concat()) } else { self.leading().to_vec() }
    }

    /// A shape with the class axis put back to where it was.
    fn as_given(&self, shape: &[usize]) -> Vec<usize> {
        let mut shape = shape.to_vec();
        if let Some(axis) = self.axis
            && let Some(classes) = shape.pop()
        {
            shape.insert(axis.min(shape.len()), classes);
        }
        shape
    }

    /// An array of the type computed with, converted by the function of `xentrs._arrays` where it is not one yet.
    fn convert(&self, given: &Bound<'py, PyAny>, function: &str, name: &str) -> PyResult<Array<'py, S::Real>> {
        match Array::in_place(given).filter(Array::is_flat) {
            Some(array) => Ok(array),
            None => Array::copy(&slow(self.py(), function, (given, name, self.real_dtype()))?),
        }
    }

    /// An array of the shape of this one, repeated to it where it has another.
    pub(super) fn broadcast(&self, given: &Bound<'py, PyAny>, name: &str) -> PyResult<Array<'py, S::Real>> {
        self.of_this_shape(given, "as_beside", name)
    }

    /// The same, but a single number, which has no axes, stays one.
    pub(super) fn broadcast_or_single(&self, given: &Bound<'py, PyAny>, name: &str) -> PyResult<Array<'py, S::Real>> {
        self.of_this_shape(given, "as_beside_or_single", name)
    }

    /// An array of the shape of this one, made by the function of `xentrs._arrays` where it is not one yet.
    fn of_this_shape(&self, given: &Bound<'py, PyAny>, function: &str, name: &str) -> PyResult<Array<'py, S::Real>> {
        let shape = self.shape();
        match Array::in_place(given).filter(|array| array.is_flat() && array.shape() == &*shape) {
            Some(array) => Ok(array),
            None => Array::copy(&slow(self.py(), function, (given, name, self.real_dtype(), shape.to_vec()))?),
        }
    }

    /// Weights of a shape.
    pub(super) fn weights(
        &self,
        given: Option<&Bound<'py, PyAny>>,
        name: &'static str,
        shape: &[usize],
    ) -> PyResult<Option<Array<'py, S::Real>>> {
        let Some(given) = given else { return Ok(None) };
        let array = self.convert(given, "as_weights", name)?;
        if array.shape() != shape {
            return Err(Error::Shape { name, expected: shape.to_vec(), got: array.shape().to_vec() }.into());
        }
        Ok(Some(array))
    }

    /// Weights of points: of the logits' shape, or that without the last axis, one a row.
    pub(super) fn point_weights(
        &self,
        given: Option<&Bound<'py, PyAny>>,
        name: &'static str,
    ) -> PyResult<Option<Array<'py, S::Real>>> {
        let Some(given) = given else { return Ok(None) };
        let array = self.convert(given, "as_weights", name)?;
        let shape = self.shape();
        if array.shape() == &*shape {
            return Ok(Some(array));
        }
        if !shape.is_empty() && array.shape() == self.leading() {
            check_weights(name, array.data(), array.shape())?;
            let whole = slow(self.py(), "one_a_row", (array.object(), shape.to_vec()))?;
            return Ok(Some(Array::copy(&whole)?));
        }
        Err(Error::Shape { name, expected: shape.to_vec(), got: array.shape().to_vec() }.into())
    }

    /// `pos_weight`: one for all, or one a label along the last axis.
    pub(super) fn pos_weight(&self, given: Option<&Bound<'py, PyAny>>) -> PyResult<Option<Array<'py, S::Real>>> {
        let Some(given) = given else { return Ok(None) };
        let array = self.convert(given, "as_weights", "pos_weight")?;
        let last = self.shape().last().copied().unwrap_or(1);
        if array.shape().is_empty() || array.shape() == [last] {
            return Ok(Some(array));
        }
        Err(Error::Shape { name: "pos_weight", expected: vec![last], got: array.shape().to_vec() }.into())
    }

    /// Integers of a shape: segments.
    pub(super) fn integers(
        &self,
        given: Option<&Bound<'py, PyAny>>,
        name: &'static str,
        shape: &[usize],
    ) -> PyResult<Option<Array<'py, i64>>> {
        let Some(given) = given else { return Ok(None) };
        let array = match Array::in_place(given).filter(Array::is_flat) {
            Some(array) => array,
            None => Array::copy(&slow(self.py(), "as_integers", (given, name))?)?,
        };
        if array.shape() != shape {
            return Err(Error::Shape { name, expected: shape.to_vec(), got: array.shape().to_vec() }.into());
        }
        Ok(Some(array))
    }
}
