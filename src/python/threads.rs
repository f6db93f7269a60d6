//! The number of threads that `with xentrs.threads(n)` sets: a context variable, as asynchronous Python code requires.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use std::num::NonZero;

/// The variable, of type `ContextVar[int]`; it is 0 outside every `threads(n)`.
pub(super) fn variable<'py>(py: Python<'py>) -> PyResult<&'py Bound<'py, PyAny>> {
    static VARIABLE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let variable = VARIABLE.get_or_try_init(py, || {
        let default = pyo3::types::PyDict::new(py);
        default.set_item("default", 0)?;
        let new = py.import("contextvars")?.getattr("ContextVar")?;
        Ok::<_, PyErr>(new.call(("xentrs.threads",), Some(&default))?.unbind())
    })?;
    Ok(variable.bind(py))
}

/// Runs `f` with the number of threads of the context, if it sets one.
pub(super) fn of_context<R>(py: Python<'_>, f: impl FnOnce() -> R) -> R {
    let get = || variable(py)?.call_method0(intern!(py, "get"))?.extract::<usize>();
    // Only `xentrs.threads` writes to the variable, and it checks what it writes.
    match get().ok().and_then(NonZero::new) {
        Some(n) => crate::with_num_threads(n, f),
        None => f(),
    }
}
