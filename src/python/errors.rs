//! The one place where an error of the core becomes a Python exception.

use crate::error::Error;
use pyo3::PyErr;
use pyo3::exceptions::{PyIndexError, PyValueError};

impl From<Error> for PyErr {
    fn from(error: Error) -> PyErr {
        match error {
            Error::Label { .. } => PyIndexError::new_err(error.to_string()),
            _ => PyValueError::new_err(error.to_string()),
        }
    }
}
