//! The module `xentrs._core`: one function a loss, each in five beats: fork over dtypes, borrow, detach, compute, wrap.
//!
//! What they mean is documented where users look for it, in `python/xentrs/losses/`.

mod arrays;
mod continuous;
mod distributions;
mod epoch;
mod errors;
mod evaluation;
mod functions;
mod inputs;
mod linear;
mod outputs;
mod penalties;
mod probabilities;
mod sigmoid_family;
mod softmax_family;
mod threads;

use crate::Isa;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::num::NonZero;

type Given<'a, 'py> = &'a Bound<'py, PyAny>;

/// The compiled part of xentrs.
#[pymodule]
mod _core {
    use super::*;

    #[pymodule_export]
    use super::continuous::{gaussian_nll, gaussian_nll_with_grad};
    #[pymodule_export]
    use super::distributions::{
        cross_entropy, cross_entropy_with_grad, entropy, entropy_with_grad, js_divergence, js_divergence_with_grad,
        kl_divergence, kl_divergence_with_grad, perplexity, perplexity_with_grad,
    };
    #[pymodule_export]
    use super::epoch::linear_epoch;
    #[pymodule_export]
    use super::evaluation::{softmax_stats, tally};
    #[pymodule_export]
    use super::functions::{log_sigmoid, log_softmax, logsumexp, sigmoid, softmax, softplus};
    #[pymodule_export]
    use super::linear::{linear_cross_entropy, linear_cross_entropy_with_grad};
    #[pymodule_export]
    use super::penalties::{js_smoothness, js_smoothness_with_grad, parity_penalty, parity_penalty_with_grad};
    #[pymodule_export]
    use super::probabilities::{categorical_cross_entropy, categorical_cross_entropy_with_grad};
    #[pymodule_export]
    use super::sigmoid_family::{
        binary_cross_entropy, binary_cross_entropy_with_grad, hinge_loss, hinge_loss_with_grad, sigmoid_cross_entropy,
        sigmoid_cross_entropy_with_grad, sigmoid_cross_entropy_with_hess, sigmoid_focal_loss,
        sigmoid_focal_loss_with_grad, sigmoid_focal_loss_with_hess,
    };
    #[pymodule_export]
    use super::softmax_family::{
        softmax_cross_entropy, softmax_cross_entropy_with_grad, softmax_cross_entropy_with_hess, softmax_focal_loss,
        softmax_focal_loss_with_grad,
    };

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        Isa::active()?;
        crate::parallel::environment()?;
        module.setattr("_threads", threads::variable(module.py())?)
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
