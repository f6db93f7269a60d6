//! Calls into `xentrs._arrays`, which converts arguments that cannot be read in place with NumPy.

use pyo3::call::PyCallArgs;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

/// Declares the functions of `xentrs._arrays`; `tests/test_house.py` checks that each exists there.
macro_rules! functions {
    ($($function:ident = $name:literal),+ $(,)?) => {
        #[derive(Clone, Copy)]
        pub(super) enum Numpy {
            $($function),+
        }

        impl Numpy {
            fn name(self) -> &'static str {
                match self {
                    $(Numpy::$function => $name),+
                }
            }
        }
    };
}

functions! {
    AsBeside = "as_beside",
    AsBesideOrSingle = "as_beside_or_single",
    AsBinaryLabels = "as_binary_labels",
    AsGradOutput = "as_grad_output",
    AsGroups = "as_groups",
    AsIntegers = "as_integers",
    AsLabels = "as_labels",
    AsLogits = "as_logits",
    AsOperand = "as_operand",
    AsPair = "as_pair",
    AsSparse = "as_sparse",
    AsTarget = "as_target",
    AsWeights = "as_weights",
    AsWrt = "as_wrt",
    CheckHessOut = "check_hess_out",
    ClassFrom = "class_from",
    ClassLast = "class_last",
    CheckOut = "check_out",
    CheckOuts = "check_outs",
    CopyTo = "copy_to",
    DtypeOf = "dtype_of",
    OneARow = "one_a_row",
    Overlap = "overlap",
    RestoreAxis = "restore_axis",
    SumTo = "sum_to",
    WarnOfProbabilities = "warn_of_probabilities",
}

/// Calls a function of `xentrs._arrays`.
#[cold]
pub(super) fn via_numpy<'py>(
    py: Python<'py>,
    function: Numpy,
    args: impl PyCallArgs<'py>,
) -> PyResult<Bound<'py, PyAny>> {
    static MODULE: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    let module = MODULE.get_or_try_init(py, || py.import("xentrs._arrays").map(Bound::unbind))?;
    module.bind(py).getattr(function.name())?.call1(args)
}
