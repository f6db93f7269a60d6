//! The only place where an error of the core becomes a Python exception.

use crate::error::Error;
use pyo3::exceptions::{PyIndexError, PyMemoryError, PyValueError};
use pyo3::{PyErr, PyResult, import_exception};

import_exception!(xentrs._arrays, NeedsConversion);

/// The largest rounding error of a probability, of all types: a few units in the last place of bfloat16.
const LARGEST_ROUNDING: f64 = 1.0 / 16.0;

impl From<Error> for PyErr {
    fn from(error: Error) -> PyErr {
        match error {
            Error::Label { .. } => PyIndexError::new_err(error.to_string()),
            Error::OutOfMemory { .. } => PyMemoryError::new_err(error.to_string()),
            // A probability that rounding may have put outside.
            Error::Value { name: name @ ("p" | "target"), expected, got, .. }
                if expected.starts_with("in [0, 1]") && (-LARGEST_ROUNDING..=1.0 + LARGEST_ROUNDING).contains(&got) =>
            {
                NeedsConversion::new_err((error.to_string(), "to_unit", name))
            }
            _ => PyValueError::new_err(error.to_string()),
        }
    }
}

/// The error for weights that single precision cannot hold.
#[cold]
pub(super) fn needs_double(name: &'static str) -> PyErr {
    NeedsConversion::new_err((format!("{name} must be within the range of float32"), "to_double", name))
}

/// Refuses a parameter.
#[cold]
pub(super) fn refuse<R>(name: &'static str, expected: &'static str, got: impl Into<String>) -> PyResult<R> {
    Err(Error::Parameter { name, expected, got: got.into() }.into())
}
