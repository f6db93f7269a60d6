//! The only place where an error of the core becomes a Python exception.

use crate::error::Error;
use pyo3::exceptions::{PyIndexError, PyValueError};
use pyo3::{PyErr, PyResult};

impl From<Error> for PyErr {
    fn from(error: Error) -> PyErr {
        match error {
            Error::Label { .. } => PyIndexError::new_err(error.to_string()),
            _ => PyValueError::new_err(error.to_string()),
        }
    }
}

/// Refuses a parameter.
#[cold]
pub(super) fn refuse<R>(name: &'static str, expected: &'static str, got: impl Into<String>) -> PyResult<R> {
    Err(Error::Parameter { name, expected, got: got.into() }.into())
}
