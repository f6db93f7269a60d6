//! What comes in: logits, and what they are held against, of the logits' type and of fitting shape.

use super::arrays::{Array, Number, slow};
use crate::error::Error;
use crate::view::check_weights;
use crate::{Classes, Labels, Targets};
use numpy::PyArrayDescr;
use pyo3::prelude::*;
use std::ops::Range;

/// Logits of either type, the class axis last.
pub(super) enum Logits<'py> {
    F32(Input<'py, f32>),
    F64(Input<'py, f64>),
}

/// Logits of one type, and what they were before.
pub(super) struct Input<'py, T> {
    pub(super) array: Array<'py, T>,
    pub(super) given: Bound<'py, PyAny>,
    /// The class axis, counted from the front, where it was not the last one.
    pub(super) axis: Option<usize>,
}

impl<'py> Logits<'py> {
    /// Rows along `axis`; where there is none, points: rows of one.
    pub(super) fn of(given: &Bound<'py, PyAny>, name: &str, axis: Option<isize>) -> PyResult<Self> {
        if axis.is_none_or(|axis| axis == -1) {
            if let Some(array) = Array::<f32>::in_place(given).filter(|array| array.suits(axis)) {
                return Ok(Logits::F32(Input::new(array, given, None, axis)));
            }
            if let Some(array) = Array::<f64>::in_place(given).filter(|array| array.suits(axis)) {
                return Ok(Logits::F64(Input::new(array, given, None, axis)));
            }
        }
        let converted = slow(given.py(), "as_logits", (given, name, axis))?;
        let (array, moved): (Bound<'py, PyAny>, Option<usize>) = converted.extract()?;
        match Array::copy(array.clone()) {
            Ok(array) => Ok(Logits::F32(Input::new(array, given, moved, axis))),
            Err(_) => Ok(Logits::F64(Input::new(Array::copy(array)?, given, moved, axis))),
        }
    }
}

impl<'py, T: Number> Input<'py, T> {
    fn new(mut array: Array<'py, T>, given: &Bound<'py, PyAny>, moved: Option<usize>, axis: Option<isize>) -> Self {
        if axis.is_none() {
            array.fold(1);
        }
        Input { array, given: given.clone(), axis: moved }
    }
}

impl<'py, T: Number> Input<'py, T> {
    pub(super) fn py(&self) -> Python<'py> {
        self.given.py()
    }

    pub(super) fn dtype(&self) -> Bound<'py, PyArrayDescr> {
        numpy::dtype::<T>(self.py())
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

    /// An array of the logits' type, converted by the function of `xentrs._arrays` where it is not one yet.
    fn convert(&self, given: &Bound<'py, PyAny>, function: &str, name: &str) -> PyResult<Array<'py, T>> {
        match Array::in_place(given).filter(Array::is_flat) {
            Some(array) => Ok(array),
            None => Array::copy(slow(self.py(), function, (given, name, self.dtype()))?),
        }
    }

    /// Weights of a shape.
    pub(super) fn weights(
        &self,
        given: Option<&Bound<'py, PyAny>>,
        name: &'static str,
        shape: &[usize],
    ) -> PyResult<Option<Array<'py, T>>> {
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
    ) -> PyResult<Option<Array<'py, T>>> {
        let Some(given) = given else { return Ok(None) };
        let array = self.convert(given, "as_weights", name)?;
        let shape = self.array.shape();
        if array.shape() == shape {
            return Ok(Some(array));
        }
        if !shape.is_empty() && array.shape() == self.leading() {
            check_weights(name, array.data(), array.shape())?;
            let whole = slow(self.py(), "one_a_row", (array.object(), shape.to_vec()))?;
            return Ok(Some(Array::copy(whole)?));
        }
        Err(Error::Shape { name, expected: shape.to_vec(), got: array.shape().to_vec() }.into())
    }

    /// `pos_weight`: one for all, or one a label along the last axis.
    pub(super) fn pos_weight(&self, given: Option<&Bound<'py, PyAny>>) -> PyResult<Option<Array<'py, T>>> {
        let Some(given) = given else { return Ok(None) };
        let array = self.convert(given, "as_weights", "pos_weight")?;
        let last = self.array.shape().last().copied().unwrap_or(1);
        if array.shape().is_empty() || array.shape() == [last] {
            return Ok(Some(array));
        }
        Err(Error::Shape { name: "pos_weight", expected: vec![last], got: array.shape().to_vec() }.into())
    }

    /// Labels in [0, 1], one a point.
    pub(super) fn labels(&self, given: &Bound<'py, PyAny>) -> PyResult<Array<'py, T>> {
        let array = self.convert(given, "as_labels", "target")?;
        if array.shape() != self.array.shape() {
            let (expected, got) = (self.array.shape().to_vec(), array.shape().to_vec());
            return Err(Error::Shape { name: "target", expected, got }.into());
        }
        Ok(array)
    }

    /// Classes or distributions, one a row.
    pub(super) fn target(&self, given: &Bound<'py, PyAny>) -> PyResult<Target<'py, T>> {
        let target = match Target::in_place(given, self.axis) {
            Some(target) => target,
            None => {
                let array = slow(self.py(), "as_target", (given, self.leading().len(), self.axis, self.dtype()))?;
                match Array::copy(array.clone()) {
                    Ok(classes) => Target::I64(classes),
                    Err(_) => Target::Distributions(Array::copy(array)?),
                }
            }
        };
        let (expected, got) = match &target {
            Target::I32(classes) => (self.leading().to_vec(), classes.shape().to_vec()),
            Target::I64(classes) => (self.leading().to_vec(), classes.shape().to_vec()),
            Target::Distributions(rows) => (self.as_given(self.array.shape()), self.as_given(rows.shape())),
        };
        if expected != got {
            return Err(Error::Shape { name: "target", expected, got }.into());
        }
        Ok(target)
    }
}

/// What rows of logits are held against.
pub(super) enum Target<'py, T> {
    I32(Array<'py, i32>),
    I64(Array<'py, i64>),
    Distributions(Array<'py, T>),
}

impl<'py, T: Number> Target<'py, T> {
    fn in_place(given: &Bound<'py, PyAny>, axis: Option<usize>) -> Option<Self> {
        if let Some(classes) = Array::in_place(given).filter(Array::is_flat) {
            return Some(Target::I64(classes));
        }
        if let Some(classes) = Array::in_place(given).filter(Array::is_flat) {
            return Some(Target::I32(classes));
        }
        if axis.is_some() {
            return None;
        }
        Array::in_place(given).map(Target::Distributions)
    }

    pub(super) fn view(&self, classes: usize, ignore_index: Option<i64>) -> crate::Result<Targets<'_, T>> {
        Ok(match self {
            Target::I32(array) => Targets::Classes(Classes::new(Labels::I32(array.data()), classes, ignore_index)?),
            Target::I64(array) => Targets::Classes(Classes::new(Labels::I64(array.data()), classes, ignore_index)?),
            Target::Distributions(array) => Targets::Distributions(array.rows()?),
        })
    }

    pub(super) fn span(&self) -> Option<Range<usize>> {
        match self {
            Target::I32(array) => array.span(),
            Target::I64(array) => array.span(),
            Target::Distributions(array) => array.span(),
        }
    }
}
