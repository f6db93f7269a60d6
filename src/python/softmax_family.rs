//! Losses of rows: softmax cross-entropy, its focal loss, and cross-entropy of probabilities.

use super::arrays::{Arg, Array, Number};
use super::inputs::{Input, Logits, data, match_dtype, span};
use super::options::{self, SoftmaxOptions, function, softmax_options};
use super::outputs::{Output, Want, evaluate, evaluate_curved};
use super::targets::{Floats, Target};
use super::weights::Use;
use crate::{
    CategoricalCrossEntropy, Labels, Objective, RowLoss, RowObjective, Rows, SoftmaxCrossEntropy, SoftmaxFocalLoss,
    Sparse, Targets,
};
use pyo3::prelude::*;

/// Targets and weights of rows: as passed, and as arrays that fit the logits.
struct Arguments<'a, 'py, S: Number> {
    given: [Option<Arg<'a, 'py>>; 3],
    target: Target<'py, S>,
    class_weight: Option<Array<'py, S::Real>>,
    sample_weight: Option<Array<'py, S::Real>>,
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
            ignore_index,
        })
    }

    /// The place for the gradient, if one is required.
    #[inline(always)]
    fn output(&self, logits: &Input<'py, S>, want: Want<'a, 'py>) -> PyResult<Option<Output<'py, S>>> {
        want.output(|want| {
            let [target, class_weight, sample_weight] = self.given;
            let second = target.filter(|_| matches!(self.target, Target::Sparse(..)));
            let [first_span, second_span] = self.target.spans();
            let spans = [first_span, second_span, span(&self.class_weight), span(&self.sample_weight)];
            Output::of(logits, logits.leading(), want, [target, second, class_weight, sample_weight], spans)
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
        let stored;
        let target = match &self.target {
            Target::Classes(labels) => Targets::Classes(labels.checked(classes, ignore_index)?),
            Target::Distributions(Floats::Real(rows)) => Targets::Distributions(rows.rows()?),
            Target::Distributions(Floats::Stored(rows)) => {
                stored = rows.rows()?;
                Targets::Stored(&stored)
            }
            Target::Sparse(labels, weights) => {
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
        Arguments::read(logits, target, self.class_weight, self.sample_weight, self.ignore_index, uses)
    }

    #[inline(always)]
    fn loss<'w, S: Number>(
        self,
        logits: &Input<'py, S>,
        arguments: &'w Arguments<'_, 'py, S>,
    ) -> crate::Result<SoftmaxCrossEntropy<'w, S::Real>> {
        SoftmaxCrossEntropy::new(logits.class_count(), data(&arguments.class_weight), self.label_smoothing)?
            .of_logits(self.softcap, self.temperature)?
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
            evaluate(logits, objective, reduction, shape, output)
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
    ) -> PyResult<Bound<'py, PyAny>> {
        let logits = Logits::of(logits, "logits", Some(axis))?;
        // Cross-entropy is the focal loss with gamma = 0.
        let want = Want { order, out, grad_output };
        match_dtype!(logits, logits => options.evaluate(&logits, target, 0.0, reduction, want))
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
    ) -> PyResult<Bound<'py, PyAny>> {
        let logits = Logits::of(logits, "logits", Some(axis))?;
        let want = Want { order, out, grad_output };
        match_dtype!(logits, logits => options.evaluate(&logits, target, gamma, reduction, want))
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
        let output = arguments.output(&p, Want { order, out, grad_output })?;
        p.check_fit()?;
        let loss = CategoricalCrossEntropy::new(p.class_count(), data(&arguments.class_weight), eps)?;
        arguments.with_objective(&p, loss, |objective| evaluate(&p, objective, reduction, p.leading(), output))
    })
}
