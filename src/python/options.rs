//! The options of a family of losses, listed once: as a struct, and as arguments of the functions that take them.

use super::arrays::Arg;
use super::errors::refuse;
use crate::Reduction;
use pyo3::intern;
use pyo3::prelude::*;

/// Calls a macro with the options of `softmax_cross_entropy`.
macro_rules! softmax_options {
    ($macro:ident! $($rest:tt)+) => {
        $macro! {
            [
                class_weight: Option<Arg<'a, 'py>>,
                sample_weight: Option<Arg<'a, 'py>>,
                ignore_index: Option<i64>,
                label_smoothing: f64,
                temperature: f64,
                softcap: Option<f64>,
                log_prior: Option<Arg<'a, 'py>>,
                z_loss: f64,
            ]
            $($rest)+
        }
    };
}

/// Calls a macro with the options of `sigmoid_cross_entropy`.
macro_rules! sigmoid_options {
    ($macro:ident! $($rest:tt)+) => {
        $macro! {
            [
                pos_weight: Option<Arg<'a, 'py>>,
                sample_weight: Option<Arg<'a, 'py>>,
                ignore_index: Option<i64>,
                label_smoothing: f64,
            ]
            $($rest)+
        }
    };
}

macro_rules! declare {
    ([$($option:ident: $type:ty,)+] $(#[$doc:meta])* struct $name:ident;) => {
        $(#[$doc])*
        #[derive(Clone, Copy)]
        pub(super) struct $name<'a, 'py> {
            $(pub(super) $option: $type,)+
        }
    };
}

/// Defines a compiled function with options among its arguments; its body gets the options as a struct. Python passes
/// each option as a separate argument: one tuple for all options makes the smallest call 8 % slower.
macro_rules! function {
    (
        [$($option:ident: $type:ty,)+]
        fn $name:ident($($first:ident: $first_type:ty,)+ ..$options:ident: $struct:ident, $($last:ident: $last_type:ty),+ $(,)?)
            -> $result:ty $body:block
    ) => {
        #[pyfunction]
        #[expect(clippy::too_many_arguments, reason = "the arguments of the loss, as Python passes them")]
        pub(super) fn $name<'a, 'py>(
            $($first: $first_type,)+
            $($option: $type,)+
            $($last: $last_type,)+
        ) -> $result {
            let $options = $struct { $($option),+ };
            $body
        }
    };
}

pub(super) use {function, sigmoid_options, softmax_options};

softmax_options! { declare!
    /// The options of `softmax_cross_entropy`.
    struct SoftmaxOptions;
}

sigmoid_options! { declare!
    /// The options of `sigmoid_cross_entropy`.
    struct SigmoidOptions;
}

#[inline]
pub(super) fn reduction(arg: Arg<'_, '_>) -> PyResult<Reduction> {
    // A string literal of Python code is interned: there is only one object.
    if arg.is(intern!(arg.py(), "mean")) {
        return Ok(Reduction::Mean);
    }
    let choices = [("mean", Reduction::Mean), ("sum", Reduction::Sum), ("none", Reduction::None)];
    choice(arg, "reduction", "\"mean\", \"sum\" or \"none\"", &choices)
}

/// An option that is a part of a tuple. An error tells its name by a note, as that of an argument does.
pub(super) fn part<'a, 'py, T: FromPyObject<'a, 'py>>(part: &'a Bound<'py, PyAny>, name: &str) -> PyResult<T> {
    part.extract().map_err(|error: T::Error| {
        let error: PyErr = error.into();
        match error.add_note(part.py(), format!("while processing '{name}'")) {
            Ok(()) => error,
            Err(other) => other,
        }
    })
}

/// The value that a word stands for.
pub(super) fn choice<T: Copy>(
    arg: Arg<'_, '_>,
    name: &'static str,
    expected: &'static str,
    choices: &[(&str, T)],
) -> PyResult<T> {
    let got = match arg.extract::<&str>() {
        Ok(word) => match choices.iter().find(|choice| choice.0 == word) {
            Some(choice) => return Ok(choice.1),
            None => format!("{word:?}"),
        },
        Err(_) => arg.repr()?.to_string(),
    };
    refuse(name, expected, got)
}
