//! The module `xentrs._core`: one function a loss, each in five beats: fork over dtypes, borrow, detach, compute, wrap.
//!
//! What they mean is documented where users look for it, in `python/xentrs/losses.py`.

mod arrays;
mod errors;
mod inputs;
mod outputs;
mod threads;

use crate::error::Error;
use crate::{
    Classes, Function, Isa, Labels, PointProblem, Reduction, RowProblem, SigmoidCrossEntropy, SoftmaxCrossEntropy,
    StoredPointProblem, StoredRowProblem, Targets,
};
use arrays::{Array, Number, Stored, detached};
use inputs::{Floats, Input, Logits, Target};
use outputs::{Io, Output, Want, evaluate, evaluate_stored, fill, rounded};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::num::NonZero;
use std::ops::Range;

type Given<'a, 'py> = &'a Bound<'py, PyAny>;

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

fn reduction(name: Given<'_, '_>) -> PyResult<Reduction> {
    let got = match name.extract::<&str>() {
        Ok("mean") => return Ok(Reduction::Mean),
        Ok("sum") => return Ok(Reduction::Sum),
        Ok("none") => return Ok(Reduction::None),
        Ok(other) => format!("{other:?}"),
        Err(_) => name.repr()?.to_string(),
    };
    Err(Error::Parameter { name: "reduction", expected: "\"mean\", \"sum\" or \"none\"", got }.into())
}

/// The targets and options of `softmax_cross_entropy`.
#[derive(Clone, Copy)]
struct SoftmaxArguments<'a, 'py> {
    target: Given<'a, 'py>,
    class_weight: Option<Given<'a, 'py>>,
    sample_weight: Option<Given<'a, 'py>>,
    ignore_index: Option<i64>,
    label_smoothing: f64,
    reduction: Given<'a, 'py>,
}

impl<'a, 'py> SoftmaxArguments<'a, 'py> {
    fn run<S: Number>(self, logits: &Input<'py, S>, want: Want<'a, 'py>) -> PyResult<Bound<'py, PyAny>> {
        let classes = logits.array.columns();
        let target = logits.target(self.target)?;
        let class_weight = logits.weights(self.class_weight, "class_weight", &[classes])?;
        let sample_weight = logits.weights(self.sample_weight, "sample_weight", logits.leading())?;
        let output = want.output(|out| {
            let given = [Some(self.target), self.class_weight, self.sample_weight];
            let spans = [target.span(), span(&class_weight), span(&sample_weight)];
            Output::of(logits, out, given, spans)
        })?;
        let loss = SoftmaxCrossEntropy::new(classes, data(&class_weight), self.label_smoothing)?;
        let (sample_weight, shape) = (data(&sample_weight), logits.leading());
        let labels = |labels| Classes::new(labels, classes, self.ignore_index).map(Targets::Classes);
        let target = match &target {
            Target::I32(array) => labels(Labels::I32(array.data()))?,
            Target::I64(array) => labels(Labels::I64(array.data()))?,
            Target::Distributions(Floats::Real(rows)) => Targets::Distributions(rows.rows()?),
            Target::Distributions(Floats::Stored(rows)) => {
                let problem = StoredRowProblem { loss, target: rows.rows()?, sample_weight };
                return evaluate_stored(logits, &problem, reduction(self.reduction)?, shape, output);
            }
        };
        let problem = RowProblem { loss, target, sample_weight };
        evaluate(logits, &problem, reduction(self.reduction)?, shape, output)
    }
}

/// The targets and options of `sigmoid_cross_entropy`.
#[derive(Clone, Copy)]
struct SigmoidArguments<'a, 'py> {
    target: Given<'a, 'py>,
    pos_weight: Option<Given<'a, 'py>>,
    sample_weight: Option<Given<'a, 'py>>,
    reduction: Given<'a, 'py>,
}

impl<'a, 'py> SigmoidArguments<'a, 'py> {
    fn run<S: Number>(self, mut logits: Input<'py, S>, want: Want<'a, 'py>) -> PyResult<Bound<'py, PyAny>> {
        let target = logits.labels(self.target)?;
        let pos_weight = logits.pos_weight(self.pos_weight)?;
        let sample_weight = logits.point_weights(self.sample_weight, "sample_weight")?;
        if let Some(pos_weight) = &pos_weight {
            logits.array.fold(pos_weight.len());
        }
        let output = want.output(|out| {
            let given = [Some(self.target), self.pos_weight, self.sample_weight];
            let spans = [target.span(), span(&pos_weight), span(&sample_weight)];
            Output::of(&logits, out, given, spans)
        })?;
        let loss = SigmoidCrossEntropy::new(data(&pos_weight))?;
        let (sample_weight, shape) = (data(&sample_weight), logits.array.shape());
        let reduction = reduction(self.reduction)?;
        match &target {
            Floats::Real(target) => evaluate(
                &logits,
                &PointProblem { loss, target: target.data(), sample_weight },
                reduction,
                shape,
                output,
            ),
            Floats::Stored(target) => {
                let problem = StoredPointProblem { loss, target: target.data(), sample_weight };
                evaluate_stored(&logits, &problem, reduction, shape, output)
            }
        }
    }
}

fn data<'a, T: Stored>(array: &'a Option<Array<'_, T>>) -> Option<&'a [T]> {
    array.as_ref().map(Array::data)
}

fn span<T: Stored>(array: &Option<Array<'_, T>>) -> Option<Range<usize>> {
    array.as_ref().and_then(Array::span)
}

/// A function of `xentrs.losses` that maps an array to one of the same shape.
fn map<'py>(
    function: Function,
    x: Given<'_, 'py>,
    axis: Option<isize>,
    out: Option<Given<'_, 'py>>,
) -> PyResult<Bound<'py, PyAny>> {
    fn run<'py, S: Number>(
        function: Function,
        x: Input<'py, S>,
        out: Option<Given<'_, 'py>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let mut output = Output::of(&x, out, [], [])?;
        fill!(output, &x, rows => detached(x.py(), x.array.len(), || crate::apply(function, rows)))?;
        output.finish(x.py())
    }
    fork!(Logits::of(x, "x", axis)?, x => run(function, x, out))
}

/// The compiled part of xentrs.
#[pymodule]
mod _core {
    use super::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        Isa::active()?;
        crate::parallel::environment()?;
        module.setattr("_threads", threads::variable(module.py())?)
    }

    #[pyfunction]
    #[pyo3(signature = (logits, target, class_weight, sample_weight, ignore_index, label_smoothing, axis, reduction, /))]
    #[expect(clippy::too_many_arguments, reason = "the options of the loss, as Python passes them")]
    fn softmax_cross_entropy<'py>(
        logits: Given<'_, 'py>,
        target: Given<'_, 'py>,
        class_weight: Option<Given<'_, 'py>>,
        sample_weight: Option<Given<'_, 'py>>,
        ignore_index: Option<i64>,
        label_smoothing: f64,
        axis: isize,
        reduction: Given<'_, 'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let arguments =
            SoftmaxArguments { target, class_weight, sample_weight, ignore_index, label_smoothing, reduction };
        fork!(Logits::of(logits, "logits", Some(axis))?, logits => arguments.run(&logits, Want::Loss))
    }

    #[pyfunction]
    #[pyo3(signature = (
        logits, target, class_weight, sample_weight, ignore_index, label_smoothing, axis, reduction, out, /
    ))]
    #[expect(clippy::too_many_arguments, reason = "the options of the loss, as Python passes them")]
    fn softmax_cross_entropy_with_grad<'py>(
        logits: Given<'_, 'py>,
        target: Given<'_, 'py>,
        class_weight: Option<Given<'_, 'py>>,
        sample_weight: Option<Given<'_, 'py>>,
        ignore_index: Option<i64>,
        label_smoothing: f64,
        axis: isize,
        reduction: Given<'_, 'py>,
        out: Option<Given<'_, 'py>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let arguments =
            SoftmaxArguments { target, class_weight, sample_weight, ignore_index, label_smoothing, reduction };
        fork!(Logits::of(logits, "logits", Some(axis))?, logits => arguments.run(&logits, Want::Gradient(out)))
    }

    #[pyfunction]
    #[pyo3(signature = (logits, target, pos_weight, sample_weight, reduction, /))]
    fn sigmoid_cross_entropy<'py>(
        logits: Given<'_, 'py>,
        target: Given<'_, 'py>,
        pos_weight: Option<Given<'_, 'py>>,
        sample_weight: Option<Given<'_, 'py>>,
        reduction: Given<'_, 'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let arguments = SigmoidArguments { target, pos_weight, sample_weight, reduction };
        fork!(Logits::of(logits, "logits", None)?, logits => arguments.run(logits, Want::Loss))
    }

    #[pyfunction]
    #[pyo3(signature = (logits, target, pos_weight, sample_weight, reduction, out, /))]
    fn sigmoid_cross_entropy_with_grad<'py>(
        logits: Given<'_, 'py>,
        target: Given<'_, 'py>,
        pos_weight: Option<Given<'_, 'py>>,
        sample_weight: Option<Given<'_, 'py>>,
        reduction: Given<'_, 'py>,
        out: Option<Given<'_, 'py>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let arguments = SigmoidArguments { target, pos_weight, sample_weight, reduction };
        fork!(Logits::of(logits, "logits", None)?, logits => arguments.run(logits, Want::Gradient(out)))
    }

    #[pyfunction]
    #[pyo3(signature = (x, axis, keepdims, /))]
    fn logsumexp<'py>(x: Given<'_, 'py>, axis: isize, keepdims: bool) -> PyResult<Bound<'py, PyAny>> {
        fork!(Logits::of(x, "x", Some(axis))?, x => {
            let rows = x.array.rows()?;
            let mut sums = vec![Default::default(); rows.rows()];
            detached(x.py(), x.array.len(), || crate::logsumexp(rows, &mut sums))?;
            rounded(&x, &sums, &x.reduced(keepdims))
        })
    }

    #[pyfunction]
    #[pyo3(signature = (x, axis, out, /))]
    fn softmax<'py>(x: Given<'_, 'py>, axis: isize, out: Option<Given<'_, 'py>>) -> PyResult<Bound<'py, PyAny>> {
        map(Function::Softmax, x, Some(axis), out)
    }

    #[pyfunction]
    #[pyo3(signature = (x, axis, out, /))]
    fn log_softmax<'py>(x: Given<'_, 'py>, axis: isize, out: Option<Given<'_, 'py>>) -> PyResult<Bound<'py, PyAny>> {
        map(Function::LogSoftmax, x, Some(axis), out)
    }

    #[pyfunction]
    #[pyo3(signature = (x, out, /))]
    fn sigmoid<'py>(x: Given<'_, 'py>, out: Option<Given<'_, 'py>>) -> PyResult<Bound<'py, PyAny>> {
        map(Function::Sigmoid, x, None, out)
    }

    #[pyfunction]
    #[pyo3(signature = (x, out, /))]
    fn log_sigmoid<'py>(x: Given<'_, 'py>, out: Option<Given<'_, 'py>>) -> PyResult<Bound<'py, PyAny>> {
        map(Function::LogSigmoid, x, None, out)
    }

    #[pyfunction]
    #[pyo3(signature = (x, out, /))]
    fn softplus<'py>(x: Given<'_, 'py>, out: Option<Given<'_, 'py>>) -> PyResult<Bound<'py, PyAny>> {
        map(Function::Softplus, x, None, out)
    }

    #[pyfunction]
    fn get_num_threads(py: Python<'_>) -> usize {
        threads::of_context(py, crate::num_threads)
    }

    #[pyfunction]
    #[pyo3(signature = (n, /))]
    fn set_num_threads(n: NonZero<usize>) {
        crate::set_num_threads(n);
    }

    #[pyfunction]
    fn build_info(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
        let info = PyDict::new(py);
        info.set_item("version", env!("CARGO_PKG_VERSION"))?;
        info.set_item("profile", if cfg!(debug_assertions) { "debug" } else { "release" })?;
        info.set_item("isa", Isa::active()?.name())?;
        info.set_item("isas_available", Isa::available().iter().map(|isa| isa.name()).collect::<Vec<_>>())?;
        info.set_item("num_threads", get_num_threads(py))?;
        Ok(info)
    }
}
