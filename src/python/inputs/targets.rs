//! What logits are held against: classes, distributions, labels and answers.

use super::Input;
use crate::error::Error;
use crate::losses::Domain;
use crate::python::arrays::{Array, Number, slow};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use std::ops::Range;

impl<'py, S: Number> Input<'py, S> {
    /// Classes, distributions or sparse distributions, one a row.
    pub(in crate::python) fn target(&self, given: &Bound<'py, PyAny>) -> PyResult<Target<'py, S>> {
        let target = self.any_target(given)?;
        self.fitting(target)
    }

    /// Classes, one a row.
    pub(in crate::python) fn classes(&self, given: &Bound<'py, PyAny>) -> PyResult<Target<'py, S>> {
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

    /// Labels of a domain, or the ignored one, one a point.
    pub(in crate::python) fn labels(
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
    pub(in crate::python) fn answers(
        &self,
        given: &Bound<'py, PyAny>,
        name: &'static str,
    ) -> PyResult<Array<'py, S::Real>> {
        let answers = Array::copy(&slow(self.py(), "as_answers", (given, name, self.real_dtype()))?)?;
        if answers.shape() != &*self.shape() {
            return Err(Error::Shape { name, expected: self.shape().to_vec(), got: answers.shape().to_vec() }.into());
        }
        Ok(answers)
    }
}

/// Floating targets: of the type that is computed with, or of that of the logits where that is another.
pub(in crate::python) enum Floats<'py, S: Number> {
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

    pub(in crate::python) fn span(&self) -> Option<Range<usize>> {
        match self {
            Floats::Real(array) => array.span(),
            Floats::Stored(array) => array.span(),
        }
    }
}

/// What rows of logits are held against.
pub(in crate::python) enum Target<'py, S: Number> {
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
    pub(in crate::python) fn spans(&self) -> [Option<Range<usize>>; 2] {
        match self {
            Target::I32(array) => [array.span(), None],
            Target::I64(array) => [array.span(), None],
            Target::Distributions(floats) => [floats.span(), None],
            Target::Sparse(classes, weights) => [classes.span(), weights.span()],
        }
    }
}
