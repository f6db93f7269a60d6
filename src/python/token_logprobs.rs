//! Log-probabilities of tokens and entropies.

use super::arrays::{Arg, Number, detached};
use super::inputs::{Extra, Input, Logits, Upstream, data, match_dtype, span};
use super::outputs::{Output, Want, numbers};
use super::targets::ClassArray;
use crate::memory;
use crate::{GradOutput, Loss, Reduction, TokenObjective, api};
use numpy::Element;
use pyo3::prelude::*;
use pyo3::types::PyFloat;

/// Tokens, upstream gradients and options, as Python passes them.
#[derive(Clone, Copy)]
pub(super) struct Tokens<'a, 'py> {
    pub(super) token: Arg<'a, 'py>,
    /// Of the log-probability and of the entropy.
    pub(super) upstream: [Arg<'a, 'py>; 2],
    pub(super) temperature: f64,
    pub(super) softcap: Option<f64>,
    pub(super) log_prior: Option<Arg<'a, 'py>>,
    pub(super) ignore_index: Option<i64>,
}

/// Tokens and upstream gradients that fit the logits.
struct Read<'py, S: Number> {
    classes: ClassArray<'py>,
    upstream: [Upstream<'py, S>; 2],
    log_prior: Extra<'py, S::Real>,
}

impl<'a, 'py> Tokens<'a, 'py> {
    /// The arrays among the arguments.
    pub(super) fn args(self) -> [Option<Arg<'a, 'py>>; 4] {
        let [logprob, entropy] = self.upstream.map(|given| (!given.is_exact_instance_of::<PyFloat>()).then_some(given));
        [Some(self.token), logprob, entropy, self.log_prior]
    }

    fn read<S: Number>(self, logits: &Input<'py, S>) -> PyResult<Read<'py, S>> {
        let [logprob, entropy] = self.upstream;
        Ok(Read {
            classes: logits.classes(self.token).map_err(|error| of_token(logits.py(), error))?,
            upstream: [
                logits.upstream(logprob, "grad_logprob", logits.leading())?,
                logits.upstream(entropy, "grad_entropy", logits.leading())?,
            ],
            log_prior: self.log_prior.map(|given| logits.log_prior(given)).transpose()?,
        })
    }

    fn objective<'r, S: Number>(
        self,
        logits: &Input<'py, S>,
        read: &'r Read<'py, S>,
    ) -> PyResult<TokenObjective<'r, S::Real>> {
        let classes = read.classes.checked(logits.class_count(), self.ignore_index);
        let classes = classes.map_err(|error| of_token(logits.py(), error.into()))?;
        let upstream = read.upstream.each_ref().map(Upstream::get);
        let objective = TokenObjective::new(classes, self.softcap, self.temperature, upstream)?;
        Ok(objective.with_log_prior(data(&read.log_prior), logits.class_count())?)
    }

    /// Calls `f` with the objective.
    pub(super) fn with_objective<S: Number, R>(
        self,
        logits: &Input<'py, S>,
        f: impl FnOnce(&TokenObjective<'_, S::Real>) -> PyResult<R>,
    ) -> PyResult<R> {
        let read = self.read(logits)?;
        f(&self.objective(logits, &read)?)
    }

    fn run<S: Number>(self, logits: &Input<'py, S>, want: Want<'a, 'py>) -> PyResult<Bound<'py, PyAny>> {
        let (py, shape, elements) = (logits.py(), logits.leading(), logits.array.len());
        let read = self.read(logits)?;
        let output = want.output(|want| {
            let [logprob, entropy] = read.upstream.each_ref().map(Upstream::span);
            let spans = [read.classes.span(), logprob, entropy, span(&read.log_prior)];
            Output::of(logits, shape, want, self.args(), spans)
        })?;
        logits.warn_of_probabilities("logits")?;
        let objective = self.objective(logits, &read)?;
        let Some(mut output) = output else {
            let rows = logits.array.rows()?;
            let loss = detached(py, elements, || crate::value(&objective, rows, Reduction::None))?;
            return Ok(both(py, loss, shape)?.into_pyobject(py)?.into_any());
        };
        let rows = output.io(logits)?;
        let evaluate = || api::value_and_grad_of(&objective, rows, Reduction::None, GradOutput::ONE);
        let loss = detached(py, elements, evaluate)?;
        let (logprob, entropy) = both(py, loss, shape)?;
        Ok((logprob, entropy, output.finish(logits)?).into_pyobject(py)?.into_any())
    }
}

/// Both results of each row, which follow each other, as two arrays.
pub(super) fn both<'py, T: Element + Copy>(
    py: Python<'py>,
    loss: Loss<T>,
    shape: &[usize],
) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
    let Loss::Each(each) = loss else {
        unreachable!("the results of tokens are not reduced");
    };
    let every_second = |first| crate::or_error(|| Ok(memory::list(each.iter().copied().skip(first).step_by(2))));
    Ok((numbers(py, every_second(0)?, shape)?, numbers(py, every_second(1)?, shape)?))
}

/// The error of a target, which is called a token here.
#[cold]
fn of_token(py: Python<'_>, error: PyErr) -> PyErr {
    let message = error.value(py).to_string();
    match message.strip_prefix("target") {
        Some(rest) => {
            // There are no weights.
            let rest = rest.replace("target.", "token.").replace(", or give what is masked a sample_weight of 0", "");
            PyErr::from_type(error.get_type(py), format!("token{rest}"))
        }
        None => error,
    }
}

#[pyfunction]
#[expect(clippy::too_many_arguments, reason = "the arguments of the function, as Python passes them")]
pub(super) fn token_logprobs<'py>(
    logits: Arg<'_, 'py>,
    token: Arg<'_, 'py>,
    grad_logprob: Arg<'_, 'py>,
    grad_entropy: Arg<'_, 'py>,
    temperature: f64,
    softcap: Option<f64>,
    log_prior: Option<Arg<'_, 'py>>,
    ignore_index: Option<i64>,
    axis: isize,
    order: u8,
    out: Option<Arg<'_, 'py>>,
) -> PyResult<Bound<'py, PyAny>> {
    let tokens =
        Tokens { token, upstream: [grad_logprob, grad_entropy], temperature, softcap, log_prior, ignore_index };
    match_dtype!(Logits::of(logits, "logits", Some(axis))?, logits => tokens.run(&logits, Want { order, out, grad_output: None, hess: None }))
}
