//! The module `xentrs._core`: one function per loss. Each matches the dtype of the logits, converts the other arguments
//! to arrays that fit them, binds the loss to targets and weights, evaluates it without the GIL, and returns the
//! results as Python objects.
//!
//! `order` selects the derivatives that a function returns: 0 for the loss alone, 1 for its gradient too, 2 for the
//! diagonal of the Hessian too. `out` is the caller's place for the gradient. Everything else is documented in
//! `python/xentrs/losses/`.

mod arrays;
mod columns;
mod contrastive;
mod distributions;
mod epoch;
mod errors;
mod evaluation;
mod functions;
mod gaussian;
mod inputs;
mod linear;
mod options;
mod outputs;
mod penalties;
mod sigmoid_family;
mod softmax_family;
mod targets;
mod threads;
mod token_logprobs;
mod via_numpy;
mod weights;
mod xla;

use crate::Isa;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::num::NonZero;

/// The compiled part of xentrs.
#[pymodule]
mod _core {
    use super::*;

    #[pymodule_export]
    use super::contrastive::{info_nce, siglip_loss};
    #[pymodule_export]
    use super::distributions::{cross_entropy, entropy, js_divergence, kl_divergence, perplexity};
    #[pymodule_export]
    use super::epoch::linear_epoch;
    #[pymodule_export]
    use super::evaluation::{softmax_stats, tally};
    #[pymodule_export]
    use super::functions::{log_sigmoid, log_softmax, logsumexp, sigmoid, softmax, softplus};
    #[pymodule_export]
    use super::gaussian::gaussian_nll;
    #[pymodule_export]
    use super::linear::{linear_cross_entropy, linear_token_logprobs};
    #[pymodule_export]
    use super::penalties::{js_smoothness, parity_penalty};
    #[pymodule_export]
    use super::sigmoid_family::{binary_cross_entropy, hinge_loss, sigmoid_cross_entropy, sigmoid_focal_loss};
    #[pymodule_export]
    use super::softmax_family::{
        categorical_cross_entropy, softmax_cross_entropy, softmax_focal_loss, topk_kl_divergence,
    };
    #[pymodule_export]
    use super::token_logprobs::token_logprobs;

    #[pymodule_export]
    use super::xla::xla_handlers;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        Isa::active()?;
        crate::parallel::environment()?;
        module.setattr("_most_threads", crate::parallel::MOST_THREADS)?;
        #[cfg(quick)]
        module.setattr("_panic", wrap_pyfunction!(super::panic, module)?)?;
        module.setattr("_threads", threads::variable(module.py())?)
    }

    #[pyfunction]
    fn get_num_threads(py: Python<'_>) -> usize {
        threads::of_context(py, crate::num_threads)
    }

    #[pyfunction]
    fn set_num_threads(n: NonZero<usize>) {
        crate::set_num_threads(n);
    }

    #[pyfunction]
    fn build_info(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
        let info = PyDict::new(py);
        info.set_item("version", env!("CARGO_PKG_VERSION"))?;
        info.set_item("profile", env!("XENTRS_PROFILE"))?;
        info.set_item("isa", Isa::active()?.name())?;
        info.set_item("isas_available", Isa::available().iter().map(|isa| isa.name()).collect::<Vec<_>>())?;
        info.set_item("num_threads", get_num_threads(py))?;
        Ok(info)
    }
}

/// A bug on purpose, amid the work that threads share.
#[cfg(quick)]
#[pyfunction]
#[expect(clippy::panic, reason = "a test sees that it arrives as an exception")]
fn panic(py: Python<'_>) -> PyResult<()> {
    let (blocks, elements) = (64, crate::parallel::PARALLEL_ELEMENTS);
    let block = |i| {
        if i == blocks / 2 {
            panic!("on purpose")
        }
    };
    let work = || {
        crate::parallel::for_each(0..blocks, elements, block);
        Ok(())
    };
    Ok(arrays::detached(py, elements, work)?)
}
