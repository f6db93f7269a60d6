//! What can be wrong with a call, in one voice: what was expected, what came.

use std::fmt;

/// The result of everything that checks its input.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a call was refused. Nothing has been written when one of these is returned.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// An array or slice does not have the shape that the others ask for.
    Shape {
        /// The argument's name.
        name: &'static str,
        /// The shape it should have.
        expected: Vec<usize>,
        /// The shape it has.
        got: Vec<usize>,
    },
    /// A class outside `[0, classes)` that is not the ignored one.
    Label {
        /// The class that was found.
        label: i64,
        /// Where it was found, counted over all rows.
        row: usize,
        /// How many classes there are.
        classes: usize,
        /// The label that would have been ignored.
        ignore_index: Option<i64>,
    },
    /// A value of an array that lies outside what the argument allows.
    Value {
        /// The argument's name.
        name: &'static str,
        /// What the argument allows, as in "finite and non-negative".
        expected: &'static str,
        /// The value that was found.
        got: f64,
        /// Where it was found, counted over all elements.
        index: usize,
    },
    /// A row that is no distribution.
    Distribution {
        /// The argument's name.
        name: &'static str,
        /// Which row.
        row: usize,
        /// What is wrong with it.
        fault: Fault,
    },
    /// A number that lies outside what the argument allows.
    Parameter {
        /// The argument's name.
        name: &'static str,
        /// What the argument allows.
        expected: &'static str,
        /// What came.
        got: String,
    },
    /// Memory that the system did not give; see [`or_error`](crate::or_error).
    OutOfMemory {
        /// How much was asked for.
        bytes: usize,
    },
    /// An instruction set that this processor lacks, or that does not exist.
    Isa {
        /// The name that was asked for.
        got: String,
        /// The names that would work here.
        available: Vec<&'static str>,
    },
}

impl Error {
    /// An [`Error::Parameter`].
    #[cold]
    pub(crate) fn parameter(name: &'static str, expected: &'static str, got: impl Into<String>) -> Self {
        Error::Parameter { name, expected, got: got.into() }
    }

    /// The same error, with the index of an element counted from `first` elements further ahead.
    pub(crate) fn moved(self, first: usize) -> Self {
        match self {
            Error::Value { name, expected, got, index } => Error::Value { name, expected, got, index: first + index },
            other => other,
        }
    }
}

/// Refuses a number unless it `is_allowed`; `expected` says what is.
pub(crate) fn check_number(name: &'static str, x: f64, expected: &'static str, is_allowed: bool) -> Result<()> {
    if is_allowed { Ok(()) } else { Err(Error::parameter(name, expected, format!("{x:?}"))) }
}

/// Refuses a number outside [0, 1].
pub(crate) fn check_fraction(name: &'static str, x: f64) -> Result<()> {
    check_number(name, x, "in [0, 1]", (0.0..=1.0).contains(&x))
}

/// Refuses a number that is negative or not finite.
pub(crate) fn check_non_negative(name: &'static str, x: f64) -> Result<()> {
    check_number(name, x, "finite and non-negative", (0.0..f64::INFINITY).contains(&x))
}

/// Refuses a number that is not positive and finite.
pub(crate) fn check_positive(name: &'static str, x: f64) -> Result<()> {
    check_number(name, x, "positive and finite", x > 0.0 && x < f64::INFINITY)
}

/// What keeps a row from being a distribution.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// A negative number, and its class.
    Negative(f64, usize),
    /// A sum that is off 1 by more than rounding explains.
    Sum(f64),
    /// A sum of a part that is above 1 by more than rounding explains.
    Excess(f64),
    /// A sum that nothing can be divided by.
    Scale(f64),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Shape { name, expected, got } => {
                write!(f, "{name} must have shape {}, got {}", Tuple(expected), Tuple(got))
            }
            Error::Label { label, row, classes, ignore_index } => {
                write!(f, "target must be integers in [0, {classes})")?;
                if let Some(ignored) = ignore_index {
                    write!(f, " or ignore_index={ignored}")?;
                }
                write!(f, ", got {label} at row {row}")
            }
            Error::Value { name, expected, got, index } => {
                write!(f, "{name} must be {expected}, got {got:?} at index {index}")
            }
            Error::Distribution { name, row, fault: Fault::Negative(got, class) } => {
                write!(f, "{name} must be non-negative, got {got:?} at row {row}, class {class}")
            }
            Error::Distribution { name, row, fault: Fault::Sum(sum) } => {
                write!(f, "{name} must sum to 1, got {sum:?} at row {row}, off by {:.2e}", sum - 1.0)?;
                write!(f, "; normalize=True divides each row by its sum")
            }
            Error::Distribution { name, row, fault: Fault::Excess(sum) } => {
                write!(f, "{name} must sum to at most 1, got {sum:?} at row {row}")
            }
            Error::Distribution { name, row, fault: Fault::Scale(sum) } => {
                write!(f, "{name} must have a positive, finite sum, got {sum:?} at row {row}")
            }
            Error::Parameter { name, expected, got } => write!(f, "{name} must be {expected}, got {got}"),
            Error::OutOfMemory { bytes } => write!(f, "unable to allocate {bytes} bytes"),
            Error::Isa { got, available } => {
                write!(f, "XENTRS_ISA must be one of {}, got {got:?}", available.join(", "))
            }
        }
    }
}

impl std::error::Error for Error {}

/// A shape as Python writes it: `(3, 10)`, `(3,)`, `()`.
pub(crate) struct Tuple<'a>(pub(crate) &'a [usize]);

impl fmt::Display for Tuple<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [one] => write!(f, "({one},)"),
            many => {
                let sizes: Vec<String> = many.iter().map(usize::to_string).collect();
                write!(f, "({})", sizes.join(", "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_argument_expectation_and_what_came() {
        let label = Error::Label { label: 12, row: 3, classes: 10, ignore_index: Some(-100) };
        assert_eq!(label.to_string(), "target must be integers in [0, 10) or ignore_index=-100, got 12 at row 3");
        let shape = Error::Shape { name: "class_weight", expected: vec![10], got: vec![3, 1] };
        assert_eq!(shape.to_string(), "class_weight must have shape (10,), got (3, 1)");
        let value = Error::Value { name: "class_weight", expected: "finite and non-negative", got: -1.0, index: 2 };
        assert_eq!(value.to_string(), "class_weight must be finite and non-negative, got -1.0 at index 2");
    }
}
