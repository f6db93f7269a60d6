//! Targets that fit the logits: classes, distributions, and labels of points.

use super::arrays::{Arg, Array, Number, Span, check_shape};
use super::inputs::Input;
use super::via_numpy::{Numpy, via_numpy};
use crate::losses::Domain;
use crate::storage::{Place, Places};
use crate::{Classes, Labels, PointNumbers};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

/// Floating-point numbers beside the logits, in the type of the computation or, if different, in the type of the logits.
pub(super) enum Floats<'py, S: Number> {
    Real(Array<'py, S::Real>),
    Stored(Array<'py, S>),
}

/// The targets of rows.
pub(super) enum Target<'py, S: Number> {
    Classes(ClassArray<'py>),
    Distributions(Floats<'py, S>),
    /// Classes and their weights, in a box, so that the other targets are smaller.
    Sparse(Box<(Array<'py, i64>, Array<'py, S::Real>)>),
}

/// Classes, one per row.
pub(super) enum ClassArray<'py> {
    I32(Array<'py, i32>),
    I64(Array<'py, i64>),
}

impl<'py, S: Number> Input<'py, S> {
    /// Classes, distributions or sparse distributions, one per row.
    pub(super) fn target(&self, arg: Arg<'_, 'py>) -> PyResult<Target<'py, S>> {
        let target = self.any_target(arg)?;
        match &target {
            Target::Classes(classes) => check_shape("target", self.leading(), classes.shape())?,
            Target::Distributions(rows) => {
                check_shape("target", &self.as_given(&self.shape()), &self.as_given(rows.shape()))?;
            }
            Target::Sparse(..) => {}
        }
        Ok(target)
    }

    /// Only classes, one per row.
    pub(super) fn classes(&self, arg: Arg<'_, 'py>) -> PyResult<ClassArray<'py>> {
        let Target::Classes(classes) = self.any_target(arg)? else {
            let got = via_numpy(self.py(), Numpy::DtypeOf, (arg,))?;
            return Err(PyTypeError::new_err(format!("target must be integers (classes), got {got}")));
        };
        check_shape("target", self.leading(), classes.shape())?;
        Ok(classes)
    }

    #[inline(always)]
    fn any_target(&self, arg: Arg<'_, 'py>) -> PyResult<Target<'py, S>> {
        match Target::in_place(arg, self.axis) {
            Some(target) => Ok(target),
            None => self.converted_target(arg),
        }
    }

    #[cold]
    fn converted_target(&self, arg: Arg<'_, 'py>) -> PyResult<Target<'py, S>> {
        if arg.is_instance_of::<PyTuple>()
            && let Some(target) = self.sparse_target(arg)?
        {
            return Ok(target);
        }
        let arguments = (arg, self.leading().len(), self.axis, self.real_dtype());
        let array = via_numpy(self.py(), Numpy::AsTarget, arguments)?;
        match Array::copy(&array) {
            Ok(classes) => Ok(Target::Classes(ClassArray::I64(classes))),
            Err(_) => Ok(Target::Distributions(Floats::Real(Array::copy(&array)?))),
        }
    }

    /// A pair `(classes, weights)`; `None` if the tuple is something else.
    fn sparse_target(&self, arg: Arg<'_, 'py>) -> PyResult<Option<Target<'py, S>>> {
        let pair = via_numpy(self.py(), Numpy::AsSparse, (arg, self.axis, self.real_dtype()))?;
        if pair.is_none() {
            return Ok(None);
        }
        let (classes, weights): (Bound<'py, PyAny>, Bound<'py, PyAny>) = pair.extract()?;
        let classes = Array::same_or_copy(&classes, &arg.get_item(0)?)?;
        let mut weights = Array::same_or_copy(&weights, &arg.get_item(1)?)?;
        let pairs = weights.shape().last().copied().unwrap_or(0);
        let expected = self.as_given(&[self.leading(), &[pairs]].concat());
        check_shape("target classes", &expected, &self.as_given(classes.shape()))?;
        check_shape("target weights", &expected, &self.as_given(weights.shape()))?;
        weights.fold(pairs);
        Ok(Some(Target::Sparse(Box::new((classes, weights)))))
    }

    /// Labels in a domain or equal to the ignored one, one per point.
    #[inline(always)]
    pub(super) fn labels(&self, arg: Arg<'_, 'py>, domain: Domain, ignored: Option<i64>) -> PyResult<Floats<'py, S>> {
        let mut labels = match Floats::in_place(arg).filter(Floats::is_flat) {
            Some(labels) => labels,
            None => {
                let lowest = if domain == Domain::Signs { -1 } else { 0 };
                let expected = domain.expected(ignored.is_some());
                let arguments = (arg, self.real_dtype(), lowest, expected, ignored);
                Floats::Real(Array::copy(&via_numpy(self.py(), Numpy::AsLabels, arguments)?)?)
            }
        };
        check_shape("target", &self.shape(), labels.shape())?;
        labels.fold(1);
        Ok(labels)
    }

    /// Labels that are 0 or 1, one per point.
    pub(super) fn binary_labels(&self, arg: Arg<'_, 'py>, name: &'static str) -> PyResult<Array<'py, S::Real>> {
        let labels = via_numpy(self.py(), Numpy::AsBinaryLabels, (arg, name, self.real_dtype()))?;
        Array::copy(&labels)?.of_shape(name, &self.shape())
    }
}

impl<'py, S: Number> Floats<'py, S> {
    pub(super) fn in_place(arg: Arg<'_, 'py>) -> Option<Self> {
        Array::in_place(arg).map(Floats::Real).or_else(|| Array::in_place(arg).map(Floats::Stored))
    }

    /// Numbers that `xentrs._arrays` has made, in either type.
    pub(super) fn copy(object: &Bound<'py, PyAny>) -> PyResult<Self> {
        Array::copy(object).map(Floats::Real).or_else(|_| Array::copy(object).map(Floats::Stored))
    }

    pub(super) fn is_flat(&self) -> bool {
        match self {
            Floats::Real(array) => array.is_flat(),
            Floats::Stored(array) => array.is_flat(),
        }
    }

    pub(super) fn shape(&self) -> &[usize] {
        match self {
            Floats::Real(array) => array.shape(),
            Floats::Stored(array) => array.shape(),
        }
    }

    /// The numbers of points.
    #[inline(always)]
    pub(super) fn points(&self) -> crate::Result<PointNumbers<'_, S::Real>> {
        Ok(match self {
            Floats::Real(points) => PointNumbers::Real(points.data()),
            Floats::Stored(points) => PointNumbers::Stored(S::rows(points.rows()?)),
        })
    }

    /// See [`Array::fold`].
    pub(super) fn fold(&mut self, columns: usize) {
        match self {
            Floats::Real(array) => array.fold(columns),
            Floats::Stored(array) => array.fold(columns),
        }
    }

    /// See [`Array::is_copied`].
    pub(super) fn is_copied(&self) -> bool {
        match self {
            Floats::Real(array) => array.is_copied(),
            Floats::Stored(array) => array.is_copied(),
        }
    }

    /// The same array, to write results to.
    pub(super) fn places(&mut self) -> Places<'_, S::Real> {
        match self {
            Floats::Real(array) => <S::Real as Place<S>>::places(array.data_mut()),
            Floats::Stored(array) => S::places(array.data_mut()),
        }
    }

    pub(super) fn object(&self) -> Bound<'py, PyAny> {
        match self {
            Floats::Real(array) => array.object().clone().into_any(),
            Floats::Stored(array) => array.object().clone().into_any(),
        }
    }

    pub(super) fn span(&self) -> Option<Span> {
        match self {
            Floats::Real(array) => array.span(),
            Floats::Stored(array) => array.span(),
        }
    }
}

impl<'py, S: Number> Target<'py, S> {
    #[inline(always)]
    fn in_place(arg: Arg<'_, 'py>, axis: Option<usize>) -> Option<Self> {
        if let Some(classes) = Array::in_place(arg).filter(Array::is_flat) {
            return Some(Target::Classes(ClassArray::I64(classes)));
        }
        if let Some(classes) = Array::in_place(arg).filter(Array::is_flat) {
            return Some(Target::Classes(ClassArray::I32(classes)));
        }
        if axis.is_some() {
            return None;
        }
        Floats::in_place(arg).map(Target::Distributions)
    }

    /// The memory that is read; the second span is for the weights of a sparse target.
    pub(super) fn spans(&self) -> [Option<Span>; 2] {
        match self {
            Target::Classes(classes) => [classes.span(), None],
            Target::Distributions(floats) => [floats.span(), None],
            Target::Sparse(pairs) => [pairs.0.span(), pairs.1.span()],
        }
    }
}

impl ClassArray<'_> {
    fn shape(&self) -> &[usize] {
        match self {
            ClassArray::I32(array) => array.shape(),
            ClassArray::I64(array) => array.shape(),
        }
    }

    /// The memory that is read.
    pub(super) fn span(&self) -> Option<Span> {
        match self {
            ClassArray::I32(array) => array.span(),
            ClassArray::I64(array) => array.span(),
        }
    }

    /// Checks every label.
    #[inline(always)]
    pub(super) fn checked(&self, classes: usize, ignore_index: Option<i64>) -> crate::Result<Classes<'_>> {
        let labels = match self {
            ClassArray::I32(array) => Labels::I32(array.data()),
            ClassArray::I64(array) => Labels::I64(array.data()),
        };
        Classes::new(labels, classes, ignore_index)
    }
}
