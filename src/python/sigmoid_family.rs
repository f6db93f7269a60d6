//! Losses of points: sigmoid cross-entropy, its focal loss, hinge loss, binary cross-entropy.

use super::arrays::{Arg, Number};
use super::inputs::{Extra, Input, Logits, data, match_dtype, span};
use super::options::{SigmoidOptions, function, reduction, sigmoid_options};
use super::outputs::{Output, Want, evaluate, evaluate_curved};
use super::targets::Floats;
use super::weights::Use;
use crate::simd::Float;
use crate::{
    BinaryCrossEntropy, Domain, HingeLoss, Objective, PointHess, PointLoss, PointObjective, Reduction,
    SigmoidCrossEntropy, SigmoidFocalLoss,
};
use pyo3::prelude::*;

/// Targets and weights of points, as arrays that fit the logits.
struct Arguments<'py, S: Number> {
    target: Floats<'py, S>,
    pos_weight: Extra<'py, S::Real>,
    sample_weight: Extra<'py, S::Real>,
    ignored: Option<S::Real>,
}

impl<'py, S: Number> Arguments<'py, S> {
    #[inline(always)]
    fn read(
        logits: &Input<'py, S>,
        target: Arg<'_, 'py>,
        options: SigmoidOptions<'_, 'py>,
        domain: Domain,
        of_sample: Use,
    ) -> PyResult<Self> {
        let SigmoidOptions { pos_weight, sample_weight, .. } = options;
        Ok(Arguments {
            target: logits.labels(target, domain, options.ignore_index)?,
            pos_weight: logits.pos_weight(pos_weight)?,
            sample_weight: logits.point_weights(sample_weight, "sample_weight", of_sample)?,
            ignored: options.ignore_index.map(|ignored| S::Real::from_f64(ignored as f64)),
        })
    }

    /// Calls `f` with the loss bound to these targets and weights.
    #[inline(always)]
    fn with_objective<L: PointLoss<S::Real>, R>(
        &self,
        loss: L,
        f: impl FnOnce(&PointObjective<'_, S::Real, L>) -> PyResult<R>,
    ) -> PyResult<R> {
        let target = self.target.points()?;
        f(&PointObjective { loss, target, sample_weight: data(&self.sample_weight), ignored: self.ignored })
    }
}

/// The arguments of a call except the loss itself.
struct Call<'a, 'py> {
    target: Arg<'a, 'py>,
    options: SigmoidOptions<'a, 'py>,
    reduction: Arg<'a, 'py>,
    want: Want<'a, 'py>,
}

impl<'py> Call<'_, 'py> {
    /// Evaluates the loss that `make` creates from `pos_weight`.
    fn evaluate<S: Number, L: PointLoss<S::Real>>(
        self,
        logits: &mut Input<'py, S>,
        make: impl FnOnce(Option<&[S::Real]>) -> crate::Result<L>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.evaluate_by(logits, make, |logits, objective, reduction, output| {
            evaluate(logits, objective, reduction, logits.array.shape(), output)
        })
    }

    /// Like [`evaluate`](Self::evaluate), for a loss that has a Hessian.
    fn evaluate_curved<S: Number, L: PointHess<S::Real>>(
        self,
        logits: &mut Input<'py, S>,
        make: impl FnOnce(Option<&[S::Real]>) -> crate::Result<L>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.evaluate_by(logits, make, |logits, objective, reduction, output| {
            evaluate_curved(logits, objective, reduction, logits.array.shape(), output)
        })
    }

    #[inline(always)]
    fn evaluate_by<S: Number, L: PointLoss<S::Real>, R>(
        self,
        logits: &mut Input<'py, S>,
        make: impl FnOnce(Option<&[S::Real]>) -> crate::Result<L>,
        evaluate: impl FnOnce(
            &Input<'py, S>,
            &PointObjective<'_, S::Real, L>,
            Reduction,
            Option<Output<'py, S>>,
        ) -> PyResult<R>,
    ) -> PyResult<R> {
        let reduction = reduction(self.reduction)?;
        let arguments = Arguments::read(logits, self.target, self.options, L::TARGETS, Use::under(reduction))?;
        // The weights of positive labels repeat from row to row.
        if let Some(pos_weight) = &arguments.pos_weight {
            logits.array.fold(pos_weight.len());
        }
        let output = self.want.output(|want| {
            let given = [Some(self.target), self.options.pos_weight, self.options.sample_weight];
            let spans = [arguments.target.span(), span(&arguments.pos_weight), span(&arguments.sample_weight)];
            Output::of(logits, logits.array.shape(), want, given, spans)
        })?;
        logits.check_fit()?;
        let loss = make(data(&arguments.pos_weight))?;
        arguments.with_objective(loss, |objective| evaluate(logits, objective, reduction, output))
    }
}

impl<'a, 'py> SigmoidOptions<'a, 'py> {
    /// The options of a loss that has only these two.
    fn of_weights(pos_weight: Option<Arg<'a, 'py>>, sample_weight: Option<Arg<'a, 'py>>) -> Self {
        SigmoidOptions { pos_weight, sample_weight, ignore_index: None, label_smoothing: 0.0 }
    }

    /// Calls `f` with the cross-entropy of the outputs of a linear layer with these inputs.
    pub(super) fn with_objective<S: Number, R>(
        self,
        x: &Input<'py, S>,
        target: Arg<'a, 'py>,
        of_sample: Use,
        f: impl FnOnce(&dyn Objective<S::Real>) -> PyResult<R>,
    ) -> PyResult<R> {
        let arguments = Arguments::read(x, target, self, SigmoidCrossEntropy::<S::Real>::TARGETS, of_sample)?;
        let loss = SigmoidCrossEntropy::new(data(&arguments.pos_weight), self.label_smoothing)?;
        arguments.with_objective(loss, |objective| f(objective))
    }
}

sigmoid_options! { function!
    fn sigmoid_cross_entropy(
        logits: Arg<'a, 'py>,
        target: Arg<'a, 'py>,
        ..options: SigmoidOptions,
        reduction: Arg<'a, 'py>,
        order: u8,
        grad_output: Option<Arg<'a, 'py>>,
        out: Option<Arg<'a, 'py>>,
        hess: Option<Arg<'a, 'py>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let call = Call { target, options, reduction, want: Want { order, out, grad_output, hess } };
        match_dtype!(&mut Logits::of(logits, "logits", None)?, logits => {
            call.evaluate_curved(logits, |pos_weight| SigmoidCrossEntropy::new(pos_weight, options.label_smoothing))
        })
    }
}

sigmoid_options! { function!
    fn sigmoid_focal_loss(
        logits: Arg<'a, 'py>,
        target: Arg<'a, 'py>,
        gamma: f64,
        gamma_neg: Option<f64>,
        clip: f64,
        alpha: Option<f64>,
        ..options: SigmoidOptions,
        reduction: Arg<'a, 'py>,
        order: u8,
        grad_output: Option<Arg<'a, 'py>>,
        out: Option<Arg<'a, 'py>>,
        hess: Option<Arg<'a, 'py>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let call = Call { target, options, reduction, want: Want { order, out, grad_output, hess } };
        match_dtype!(&mut Logits::of(logits, "logits", None)?, logits => {
            call.evaluate_curved(logits, |pos_weight| {
                SigmoidFocalLoss::new(gamma, alpha, pos_weight, options.label_smoothing)?.asymmetric(gamma_neg, clip)
            })
        })
    }
}

#[pyfunction]
#[expect(clippy::too_many_arguments, reason = "the arguments of the loss, as Python passes them")]
pub(super) fn hinge_loss<'py>(
    scores: Arg<'_, 'py>,
    target: Arg<'_, 'py>,
    squared: bool,
    sample_weight: Option<Arg<'_, 'py>>,
    reduction: Arg<'_, 'py>,
    order: u8,
    grad_output: Option<Arg<'_, 'py>>,
    out: Option<Arg<'_, 'py>>,
) -> PyResult<Bound<'py, PyAny>> {
    let options = SigmoidOptions::of_weights(None, sample_weight);
    let call = Call { target, options, reduction, want: Want { order, out, grad_output, hess: None } };
    match_dtype!(&mut Logits::of(scores, "scores", None)?, scores => call.evaluate(scores, |_| Ok(HingeLoss { squared })))
}

#[pyfunction]
#[expect(clippy::too_many_arguments, reason = "the arguments of the loss, as Python passes them")]
pub(super) fn binary_cross_entropy<'py>(
    p: Arg<'_, 'py>,
    target: Arg<'_, 'py>,
    pos_weight: Option<Arg<'_, 'py>>,
    sample_weight: Option<Arg<'_, 'py>>,
    eps: f64,
    reduction: Arg<'_, 'py>,
    order: u8,
    grad_output: Option<Arg<'_, 'py>>,
    out: Option<Arg<'_, 'py>>,
) -> PyResult<Bound<'py, PyAny>> {
    let options = SigmoidOptions::of_weights(pos_weight, sample_weight);
    let call = Call { target, options, reduction, want: Want { order, out, grad_output, hess: None } };
    match_dtype!(&mut Logits::of(p, "p", None)?, p => {
        call.evaluate(p, |pos_weight| BinaryCrossEntropy::new(pos_weight, eps))
    })
}
