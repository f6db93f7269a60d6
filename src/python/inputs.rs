//! What comes in: logits, and what they are held against, of the logits' type and of fitting shape.

use super::Given;
use super::arrays::{Array, Number, Stored, slow};
use crate::Reduction;
use crate::error::Error;
use crate::losses::Domain;
use crate::view::check_weights;
use half::{bf16, f16};
use numpy::{PyArrayDescr, PyUntypedArrayMethods};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
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
    Err(Error::Parameter { name: "reduction", expected: "\"mean\", \"sum\" or \"none\"", got }.into())
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

    /// Labels of a domain, or the ignored one, one a point.
    pub(super) fn labels(
        &self,
        given: &Bound<'py, PyAny>,
        domain: Domain,
        ignored: Option<i64>,
    ) -> PyResult<Floats<'py, S>> {
        let labels = match Floats::in_place(given).filter(Floats::is_flat) {
            Some(labels) => labels,
            None => {
                let lowest = if domain == Domain::Signs { -1 } else { 0 };
                let expected = domain.expected(ignored.is_some());
                let arguments = (given, self.real_dtype(), lowest, expected, ignored);
                Floats::Real(Array::copy(&slow(self.py(), "as_labels", arguments)?)?)
            }
        };
        if labels.shape() != &*self.shape() {
            let (expected, got) = (self.shape().to_vec(), labels.shape().to_vec());
            return Err(Error::Shape { name: "target", expected, got }.into());
        }
        Ok(labels)
    }

    /// Answers, one a point: 0 is no, 1 is yes.
    pub(super) fn answers(&self, given: &Bound<'py, PyAny>, name: &'static str) -> PyResult<Array<'py, S::Real>> {
        let answers = Array::copy(&slow(self.py(), "as_answers", (given, name, self.real_dtype()))?)?;
        if answers.shape() != &*self.shape() {
            return Err(Error::Shape { name, expected: self.shape().to_vec(), got: answers.shape().to_vec() }.into());
        }
        Ok(answers)
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

    /// Classes, distributions or sparse distributions, one a row.
    pub(super) fn target(&self, given: &Bound<'py, PyAny>) -> PyResult<Target<'py, S>> {
        let target = self.any_target(given)?;
        self.fitting(target)
    }

    /// Classes, one a row.
    pub(super) fn classes(&self, given: &Bound<'py, PyAny>) -> PyResult<Target<'py, S>> {
        let target = self.any_target(given)?;
        if let Target::Distributions(_) | Target::Sparse(..) = target {
            let got = slow(self.py(), "dtype_of", (given,))?;
            return Err(PyTypeError::new_err(format!("target must be integers (classes), got {got}")));
        }
        self.fitting(target)
    }

    fn any_target(&self, given: &Bound<'py, PyAny>) -> PyResult<Target<'py, S>> {
        if let Some(target) = Target::in_place(given, self.axis) {
            return Ok(target);
        }
        if given.is_instance_of::<PyTuple>()
            && let Some(target) = self.sparse_target(given)?
        {
            return Ok(target);
        }
        let array = slow(self.py(), "as_target", (given, self.leading().len(), self.axis, self.real_dtype()))?;
        match Array::copy(&array) {
            Ok(classes) => Ok(Target::I64(classes)),
            Err(_) => Ok(Target::Distributions(Floats::Real(Array::copy(&array)?))),
        }
    }

    fn fitting(&self, target: Target<'py, S>) -> PyResult<Target<'py, S>> {
        let (expected, got) = match &target {
            Target::I32(classes) => (self.leading().to_vec(), classes.shape().to_vec()),
            Target::I64(classes) => (self.leading().to_vec(), classes.shape().to_vec()),
            Target::Distributions(rows) => (self.as_given(&self.shape()), self.as_given(rows.shape())),
            Target::Sparse(..) => return Ok(target),
        };
        if expected != got {
            return Err(Error::Shape { name: "target", expected, got }.into());
        }
        Ok(target)
    }

    /// A pair `(classes, weights)`; None where the tuple is something else.
    #[cold]
    fn sparse_target(&self, given: &Bound<'py, PyAny>) -> PyResult<Option<Target<'py, S>>> {
        let pair = slow(self.py(), "as_sparse", (given, self.axis, self.real_dtype()))?;
        if pair.is_none() {
            return Ok(None);
        }
        let (classes, weights): (Bound<'py, PyAny>, Bound<'py, PyAny>) = pair.extract()?;
        // What passes through as it was is where the caller put it.
        let (first, second) = (given.get_item(0)?, given.get_item(1)?);
        let classes = if classes.is(&first) { Array::in_place(&classes) } else { None }
            .map_or_else(|| Array::copy(&classes), Ok)?;
        let mut weights = if weights.is(&second) { Array::in_place(&weights) } else { None }
            .map_or_else(|| Array::copy(&weights), Ok)?;
        let pairs = weights.shape().last().copied().unwrap_or(0);
        let expected = [self.leading(), &[pairs]].concat();
        for (name, shape) in [("target classes", classes.shape()), ("target weights", weights.shape())] {
            if shape != expected {
                let (expected, got) = (self.as_given(&expected), self.as_given(shape));
                return Err(Error::Shape { name, expected, got }.into());
            }
        }
        weights.fold(pairs);
        Ok(Some(Target::Sparse(classes, weights)))
    }
}

/// Floating targets: of the type that is computed with, or of that of the logits where that is another.
pub(super) enum Floats<'py, S: Number> {
    Real(Array<'py, S::Real>),
    Stored(Array<'py, S>),
}

impl<'py, S: Number> Floats<'py, S> {
    fn in_place(given: &Bound<'py, PyAny>) -> Option<Self> {
        Array::in_place(given).map(Floats::Real).or_else(|| Array::in_place(given).map(Floats::Stored))
    }

    fn is_flat(&self) -> bool {
        match self {
            Floats::Real(array) => array.is_flat(),
            Floats::Stored(array) => array.is_flat(),
        }
    }

    fn shape(&self) -> &[usize] {
        match self {
            Floats::Real(array) => array.shape(),
            Floats::Stored(array) => array.shape(),
        }
    }

    pub(super) fn span(&self) -> Option<Range<usize>> {
        match self {
            Floats::Real(array) => array.span(),
            Floats::Stored(array) => array.span(),
        }
    }
}

/// What rows of logits are held against.
pub(super) enum Target<'py, S: Number> {
    I32(Array<'py, i32>),
    I64(Array<'py, i64>),
    Distributions(Floats<'py, S>),
    /// Classes and their weights.
    Sparse(Array<'py, i64>, Array<'py, S::Real>),
}

impl<'py, S: Number> Target<'py, S> {
    #[inline(always)]
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
        Floats::in_place(given).map(Target::Distributions)
    }

    /// Where it stands; the second one is of the weights of a sparse one.
    pub(super) fn spans(&self) -> [Option<Range<usize>>; 2] {
        match self {
            Target::I32(array) => [array.span(), None],
            Target::I64(array) => [array.span(), None],
            Target::Distributions(floats) => [floats.span(), None],
            Target::Sparse(classes, weights) => [classes.span(), weights.span()],
        }
    }
}
