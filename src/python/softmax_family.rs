//! Losses of rows: softmax cross-entropy, its focal loss, and cross-entropy of probabilities.

use super::arrays::{Arg, Array, Number};
use super::columns::{ColumnOutput, evaluate_by_column};
use super::inputs::{Extra, Input, Logits, data, match_dtype, span};
use super::options::{self, SoftmaxOptions, function, softmax_options};
use super::outputs::{Output, Want, evaluate, evaluate_curved};
use super::targets::{Floats, Target};
use super::via_numpy::{Numpy, via_numpy};
use super::weights::Use;
use crate::error::{Error, Fault};
use crate::math::Real;
use crate::simd::Float;
use crate::storage::Storage;
use crate::{
    CategoricalCrossEntropy, Labels, Objective, RowLoss, RowObjective, Rows, SoftmaxCrossEntropy, SoftmaxFocalLoss,
    Sparse, Targets, TopkKlDivergence,
};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

/// Targets and weights of rows: as passed, and as arrays that fit the logits.
struct Arguments<'a, 'py, S: Number> {
    given: [Option<Arg<'a, 'py>>; 3],
    target: Target<'py, S>,
    class_weight: Extra<'py, S::Real>,
    sample_weight: Extra<'py, S::Real>,
    log_prior: Option<(Arg<'a, 'py>, Box<Array<'py, S::Real>>)>,
    ignore_index: Option<i64>,
}

impl<'a, 'py, S: Number> Arguments<'a, 'py, S> {
    #[inline(always)]
    fn read(
        logits: &Input<'py, S>,
        target: Arg<'a, 'py>,
        class_weight: Option<Arg<'a, 'py>>,
        sample_weight: Option<Arg<'a, 'py>>,
        ignore_index: Option<i64>,
        [of_class, of_sample]: [Use; 2],
    ) -> PyResult<Self> {
        Ok(Arguments {
            given: [Some(target), class_weight, sample_weight],
            target: logits.target(target)?,
            class_weight: logits.weights(class_weight, "class_weight", &[logits.class_count()], of_class)?,
            sample_weight: logits.weights(sample_weight, "sample_weight", logits.leading(), of_sample)?,
            log_prior: None,
            ignore_index,
        })
    }

    /// Refuses what is no part of a distribution: a target must be pairs whose weights sum to at most 1. Rounding in the
    /// coarsest type that they may have come from is accepted.
    fn check_topk(&self, logits: &Input<'py, S>) -> PyResult<()> {
        let Target::Sparse(sparse) = &self.target else {
            let got = via_numpy(logits.py(), Numpy::DtypeOf, (self.given[0],))?;
            return Err(PyTypeError::new_err(format!(
                "target must be a tuple (classes, probabilities) of the most probable classes, got {got}"
            )));
        };
        let ((classes, weights), ignored) = (&**sparse, self.ignore_index);
        let pairs = weights.columns().max(1);
        let most = 1.0 + half::bf16::sum_tolerance(pairs);
        for (row, (classes, weights)) in classes.data().chunks(pairs).zip(weights.data().chunks(pairs)).enumerate() {
            let counted = classes.iter().zip(weights).filter(|(class, _)| Some(**class) != ignored);
            let sum = counted.fold(0.0, |sum: f64, (_, weight)| sum + weight.to_f64());
            if sum > most {
                let fault = Fault::Excess(sum);
                return Err(Error::Distribution { name: "target", row, fault }.into());
            }
        }
        Ok(())
    }

    /// The place for the gradient, if one is required.
    #[inline(always)]
    fn output(&self, logits: &Input<'py, S>, want: Want<'a, 'py>) -> PyResult<Option<Output<'py, S>>> {
        want.output(|want| {
            let [target, class_weight, sample_weight] = self.given;
            let second = target.filter(|_| matches!(self.target, Target::Sparse(..)));
            let [first_span, second_span] = self.target.spans();
            let (prior, prior_span) = match &self.log_prior {
                Some((given, array)) => (Some(*given), array.span()),
                None => (None, None),
            };
            let spans = [first_span, second_span, span(&self.class_weight), span(&self.sample_weight), prior_span];
            Output::of(logits, logits.leading(), want, [target, second, class_weight, sample_weight, prior], spans)
        })
    }

    /// Calls `f` with the loss bound to these targets and weights.
    #[inline(always)]
    fn with_objective<L: RowLoss<S::Real>, R>(
        &self,
        logits: &Input<'py, S>,
        loss: L,
        f: impl FnOnce(&RowObjective<'_, S::Real, L>) -> PyResult<R>,
    ) -> PyResult<R> {
        let (classes, ignore_index) = (logits.class_count(), self.ignore_index);
        let target = match &self.target {
            Target::Classes(labels) => Targets::Classes(labels.checked(classes, ignore_index)?),
            Target::Distributions(Floats::Real(rows)) => Targets::Distributions(rows.rows()?),
            Target::Distributions(Floats::Stored(rows)) => Targets::Stored(S::rows(rows.rows()?)),
            Target::Sparse(pairs) => {
                let (labels, weights) = &**pairs;
                let weights = Rows::new("target", weights.data(), logits.array.row_count(), weights.columns())?;
                Targets::Sparse(Sparse::new(Labels::I64(labels.data()), weights, classes, ignore_index)?)
            }
        };
        f(&RowObjective { loss, target, sample_weight: data(&self.sample_weight) })
    }
}

impl<'a, 'py> SoftmaxOptions<'a, 'py> {
    #[inline(always)]
    fn arguments<S: Number>(
        self,
        logits: &Input<'py, S>,
        target: Arg<'a, 'py>,
        of_sample: Use,
    ) -> PyResult<Arguments<'a, 'py, S>> {
        // The weights of the classes are no factor of the z-loss.
        let of_class = if self.z_loss == 0.0 { of_sample } else { Use::AsTheyAre };
        let uses = [of_class, of_sample];
        let mut arguments =
            Arguments::read(logits, target, self.class_weight, self.sample_weight, self.ignore_index, uses)?;
        if let Some(given) = self.log_prior {
            arguments.log_prior = Some((given, logits.log_prior(given)?));
        }
        Ok(arguments)
    }

    #[inline(always)]
    fn loss<'w, S: Number>(
        self,
        logits: &Input<'py, S>,
        arguments: &'w Arguments<'_, 'py, S>,
    ) -> crate::Result<SoftmaxCrossEntropy<'w, S::Real>> {
        SoftmaxCrossEntropy::new(logits.class_count(), data(&arguments.class_weight), self.label_smoothing)?
            .of_logits(self.softcap, self.temperature)?
            .with_log_prior(arguments.log_prior.as_ref().map(|(_, array)| array.data()))?
            .with_z_loss(self.z_loss)
    }

    /// Calls `f` with the cross-entropy of the outputs of a linear layer with these inputs.
    pub(super) fn with_objective<S: Number, R>(
        self,
        x: &Input<'py, S>,
        target: Arg<'a, 'py>,
        of_sample: Use,
        f: impl FnOnce(&dyn Objective<S::Real>) -> PyResult<R>,
    ) -> PyResult<R> {
        let arguments = self.arguments(x, target, of_sample)?;
        arguments.with_objective(x, self.loss(x, &arguments)?, |objective| f(objective))
    }

    /// The same of logits that stand a class at a time, if they can be read so.
    fn evaluate_by_column<S: Number<Real = S> + Real>(
        self,
        logits: &Input<'py, S>,
        target: Arg<'a, 'py>,
        gamma: f64,
        reduction: Arg<'_, 'py>,
        want: Want<'a, 'py>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let reduction = options::reduction(reduction)?;
        let arguments = self.arguments(logits, target, Use::under(reduction))?;
        let given: Vec<_> = arguments.given.into_iter().flatten().collect();
        logits.warn_of_probabilities("logits")?;
        let Some(output) = ColumnOutput::of(logits, want, &given)? else { return Ok(None) };
        let loss = self.loss(logits, &arguments)?;
        if gamma == 0.0 {
            return arguments
                .with_objective(logits, loss, |objective| evaluate_by_column(logits, objective, reduction, output));
        }
        arguments.with_objective(logits, SoftmaxFocalLoss::new(loss, gamma)?, |objective| {
            evaluate_by_column(logits, objective, reduction, output)
        })
    }

    /// The loss, and the derivatives that are wanted, of logits as passed.
    fn of_logits(
        self,
        logits: Arg<'_, 'py>,
        axis: isize,
        target: Arg<'a, 'py>,
        gamma: f64,
        reduction: Arg<'_, 'py>,
        want: Want<'a, 'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let result = match Logits::by_column(logits, axis) {
            Some(Logits::F32(logits)) => self.evaluate_by_column(&logits, target, gamma, reduction, want)?,
            Some(Logits::F64(logits)) => self.evaluate_by_column(&logits, target, gamma, reduction, want)?,
            _ => None,
        };
        if let Some(result) = result {
            return Ok(result);
        }
        let logits = Logits::of(logits, "logits", Some(axis))?;
        match_dtype!(&logits, logits => self.evaluate(logits, target, gamma, reduction, want))
    }

    fn evaluate<S: Number>(
        self,
        logits: &Input<'py, S>,
        target: Arg<'a, 'py>,
        gamma: f64,
        reduction: Arg<'_, 'py>,
        want: Want<'a, 'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let reduction = options::reduction(reduction)?;
        let arguments = self.arguments(logits, target, Use::under(reduction))?;
        let (output, shape) = (arguments.output(logits, want)?, logits.leading());
        logits.check_fit()?;
        logits.warn_of_probabilities("logits")?;
        let loss = self.loss(logits, &arguments)?;
        if gamma == 0.0 {
            return arguments.with_objective(logits, loss, |objective| {
                evaluate_curved(logits, objective, reduction, shape, output)
            });
        }
        arguments.with_objective(logits, SoftmaxFocalLoss::new(loss, gamma)?, |objective| {
            evaluate_curved(logits, objective, reduction, shape, output)
        })
    }
}

softmax_options! { function!
    fn softmax_cross_entropy(
        logits: Arg<'a, 'py>,
        target: Arg<'a, 'py>,
        ..options: SoftmaxOptions,
        axis: isize,
        reduction: Arg<'a, 'py>,
        order: u8,
        grad_output: Option<Arg<'a, 'py>>,
        out: Option<Arg<'a, 'py>>,
        hess: Option<Arg<'a, 'py>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        // Cross-entropy is the focal loss with gamma = 0.
        options.of_logits(logits, axis, target, 0.0, reduction, Want { order, out, grad_output, hess })
    }
}

softmax_options! { function!
    fn softmax_focal_loss(
        logits: Arg<'a, 'py>,
        target: Arg<'a, 'py>,
        gamma: f64,
        ..options: SoftmaxOptions,
        axis: isize,
        reduction: Arg<'a, 'py>,
        order: u8,
        grad_output: Option<Arg<'a, 'py>>,
        out: Option<Arg<'a, 'py>>,
        hess: Option<Arg<'a, 'py>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        options.of_logits(logits, axis, target, gamma, reduction, Want { order, out, grad_output, hess })
    }
}

#[pyfunction]
#[expect(clippy::too_many_arguments, reason = "the arguments of the loss, as Python passes them")]
pub(super) fn categorical_cross_entropy<'py>(
    p: Arg<'_, 'py>,
    target: Arg<'_, 'py>,
    class_weight: Option<Arg<'_, 'py>>,
    sample_weight: Option<Arg<'_, 'py>>,
    ignore_index: Option<i64>,
    eps: f64,
    axis: isize,
    reduction: Arg<'_, 'py>,
    order: u8,
    grad_output: Option<Arg<'_, 'py>>,
    out: Option<Arg<'_, 'py>>,
) -> PyResult<Bound<'py, PyAny>> {
    match_dtype!(Logits::of(p, "p", Some(axis))?, p => {
        let reduction = options::reduction(reduction)?;
        let uses = [Use::under(reduction); 2];
        let arguments = Arguments::read(&p, target, class_weight, sample_weight, ignore_index, uses)?;
        let output = arguments.output(&p, Want { order, out, grad_output, hess: None })?;
        p.check_fit()?;
        let loss = CategoricalCrossEntropy::new(p.class_count(), data(&arguments.class_weight), eps)?;
        arguments.with_objective(&p, loss, |objective| evaluate(&p, objective, reduction, p.leading(), output))
    })
}

#[pyfunction]
#[expect(clippy::too_many_arguments, reason = "the arguments of the loss, as Python passes them")]
pub(super) fn topk_kl_divergence<'py>(
    logits: Arg<'_, 'py>,
    target: Arg<'_, 'py>,
    sample_weight: Option<Arg<'_, 'py>>,
    ignore_index: Option<i64>,
    temperature: f64,
    softcap: Option<f64>,
    axis: isize,
    reduction: Arg<'_, 'py>,
    order: u8,
    grad_output: Option<Arg<'_, 'py>>,
    out: Option<Arg<'_, 'py>>,
) -> PyResult<Bound<'py, PyAny>> {
    match_dtype!(Logits::of(logits, "logits", Some(axis))?, logits => {
        let reduction = options::reduction(reduction)?;
        let uses = [Use::under(reduction); 2];
        let arguments = Arguments::read(&logits, target, None, sample_weight, ignore_index, uses)?;
        arguments.check_topk(&logits)?;
        let output = arguments.output(&logits, Want { order, out, grad_output, hess: None })?;
        logits.check_fit()?;
        logits.warn_of_probabilities("logits")?;
        let loss = TopkKlDivergence::new(softcap, temperature)?;
        arguments.with_objective(&logits, loss, |objective| {
            evaluate(&logits, objective, reduction, logits.leading(), output)
        })
    })
}
