//! Losses and gradients of XLA's buffers.
//!
//! An operand has the axes that its argument has, and in front of them those of `jax.vmap`, each of which has length 1
//! where the operand does not vary. A batch is computed one by one, each with its own mean; where it only adds rows, all
//! at once.

use super::{Buffer, Call, Dtype, Fault, INVALID_ARGUMENT, Place, unfit};
use crate::python::arrays::Number;
use crate::python::weights::{self, Use};
use crate::simd::Float;
use crate::view::check_weights;
use crate::{
    Classes, GradOutput, Labels, Loss, Objective, PointLoss, PointNumbers, PointObjective, Reduction, RowLoss,
    RowObjective, Rows, RowsIo, SigmoidCrossEntropy, SigmoidFocalLoss, SoftmaxCrossEntropy, SoftmaxFocalLoss, Sparse,
    Targets,
};
use half::{bf16, f16};
use std::borrow::Cow;
use std::ffi::c_int;

/// Computes the results that a call asks for.
pub(super) fn compute(mut call: Call<'_>) -> Result<(), Fault> {
    let options = Options::of(&call)?;
    let operands = Operands::of(&call)?;
    let mut results = Results::of(&mut call)?;
    match operands.logits.dtype {
        f32::CODE => options.compute::<f32>(operands, &mut results),
        f64::CODE => options.compute::<f64>(operands, &mut results),
        f16::CODE => options.compute::<f16>(operands, &mut results),
        bf16::CODE => options.compute::<bf16>(operands, &mut results),
        other => Err(unfit(format!("logits are of XLA's type {other}"))),
    }
}

/// What is known when a program is compiled.
struct Options<'a> {
    loss: &'a str,
    reduction: Reduction,
    /// The number of axes of the logits without those of a batch.
    rank: usize,
    ignore_index: Option<i64>,
    label_smoothing: f64,
    temperature: f64,
    softcap: Option<f64>,
    z_loss: f64,
    gamma: f64,
    alpha: Option<f64>,
}

impl<'a> Options<'a> {
    fn of(call: &Call<'a>) -> Result<Self, Fault> {
        let reduction = match call.word("reduction")? {
            "mean" => Reduction::Mean,
            "sum" => Reduction::Sum,
            "none" => Reduction::None,
            other => return Err(unfit(format!("reduction is {other}"))),
        };
        let rank = call.integer("rank")?.and_then(|rank| usize::try_from(rank).ok());
        Ok(Options {
            loss: call.word("loss")?,
            reduction,
            rank: rank.ok_or_else(|| unfit("the rank is missing"))?,
            ignore_index: call.integer("ignore_index")?,
            label_smoothing: call.float("label_smoothing")?.unwrap_or(0.0),
            temperature: call.float("temperature")?.unwrap_or(1.0),
            softcap: call.float("softcap")?,
            z_loss: call.float("z_loss")?.unwrap_or(0.0),
            gamma: call.float("gamma")?.unwrap_or(0.0),
            alpha: call.float("alpha")?,
        })
    }
}

/// The operands, by their names.
struct Operands<'a> {
    logits: Buffer<'a>,
    target: Buffer<'a>,
    /// The weights of a sparse target, whose classes are in `target`.
    target_weight: Option<Buffer<'a>>,
    class_weight: Option<Buffer<'a>>,
    pos_weight: Option<Buffer<'a>>,
    sample_weight: Option<Buffer<'a>>,
    /// The upstream gradient: one number, or one for each loss.
    grad_output: Option<Buffer<'a>>,
}

impl<'a> Operands<'a> {
    fn of(call: &Call<'a>) -> Result<Self, Fault> {
        let needed = |name: &str| call.operand(name).ok_or_else(|| unfit(format!("{name} is missing")));
        Ok(Operands {
            logits: needed("logits")?,
            target: needed("target")?,
            target_weight: call.operand("target_weight"),
            class_weight: call.operand("class_weight"),
            pos_weight: call.operand("pos_weight"),
            sample_weight: call.operand("sample_weight"),
            grad_output: call.operand("grad_output"),
        })
    }

    /// Whether a batch of losses without a reduction is nothing but more rows: all weights of classes are shared, and
    /// everything else varies.
    fn add_rows(&self, batch: &[i64]) -> bool {
        let Operands { logits, target, target_weight, class_weight, pos_weight, sample_weight, grad_output } = self;
        let of_rows =
            [Some(logits), Some(target), target_weight.as_ref(), sample_weight.as_ref(), grad_output.as_ref()];
        let of_classes = [class_weight, pos_weight];
        of_rows.into_iter().flatten().all(|buffer| buffer.dims.starts_with(batch))
            && of_classes.into_iter().flatten().all(|buffer| buffer.dims.iter().take(batch.len()).all(|&n| n == 1))
    }
}

#[cold]
fn unreadable(name: &str, dtype: c_int) -> Fault {
    unfit(format!("{name} is of XLA's type {dtype}, or misaligned"))
}

/// The axes of `jax.vmap`.
#[derive(Clone, Copy)]
struct Batch<'a>(&'a [i64]);

impl<'a> Batch<'a> {
    fn len(self) -> usize {
        self.0.iter().map(|&n| n as usize).product()
    }

    /// The part of an operand that belongs to an item.
    fn part<T: Dtype>(self, name: &str, buffer: Buffer<'a>, item: usize) -> Result<&'a [T], Fault> {
        let numbers = buffer.numbers().ok_or_else(|| unreadable(name, buffer.dtype))?;
        let (mut start, mut count, mut rest) = (0, 1, self.len());
        for (axis, &n) in self.0.iter().enumerate() {
            rest /= n as usize;
            match buffer.dims.get(axis) {
                Some(1) => {}
                Some(&own) if own == n => {
                    start = start * n as usize + item / rest % n as usize;
                    count *= n as usize;
                }
                _ => return Err(unfit(format!("{name} of shape {:?} has no batch {:?}", buffer.dims, self.0))),
            }
        }
        let len = numbers.len() / count;
        let rest = numbers.get(start * len..).and_then(|rest| rest.get(..len));
        rest.ok_or_else(|| unfit(format!("{name} is too short for its shape")))
    }
}

/// The places of the results.
struct Results<'c, 'a> {
    loss: Option<&'c mut Place<'a>>,
    grad: Option<&'c mut Place<'a>>,
}

impl<'c, 'a> Results<'c, 'a> {
    fn of(call: &'c mut Call<'a>) -> Result<Self, Fault> {
        let mut results = Results { loss: None, grad: None };
        for (name, place) in &mut call.results {
            match *name {
                "loss" => results.loss = Some(place),
                "grad" => results.grad = Some(place),
                other => return Err(unfit(format!("there is no result {other}"))),
            }
        }
        Ok(results)
    }

    /// The first axes of all results.
    fn batch(&self, axes: usize) -> Option<&'a [i64]> {
        let place = self.loss.as_deref().or(self.grad.as_deref())?;
        place.0.dims.get(..axes)
    }
}

/// The places of all items, or none of those that are not asked for.
fn places<'r, T: Dtype>(place: &'r mut Option<&mut Place<'_>>, name: &str) -> Result<Option<&'r mut [T]>, Fault> {
    let Some(place) = place else { return Ok(None) };
    let dtype = place.0.dtype;
    place.places().map(Some).ok_or_else(|| unreadable(name, dtype))
}

/// The places of an item among all.
fn at<'r, T>(places: &'r mut Option<&mut [T]>, item: usize, items: usize) -> Option<&'r mut [T]> {
    let places = places.as_deref_mut()?;
    let len = places.len() / items;
    places.get_mut(item * len..)?.get_mut(..len)
}

impl Options<'_> {
    fn compute<S: Number + Dtype>(&self, operands: Operands<'_>, results: &mut Results<'_, '_>) -> Result<(), Fault>
    where
        S::Real: Dtype,
    {
        let axes = operands.logits.dims.len().checked_sub(self.rank);
        let batch = axes.and_then(|axes| results.batch(axes)).ok_or_else(|| unfit("the ranks do not fit"))?;
        let at_once = self.reduction == Reduction::None && operands.add_rows(batch);
        let batch = Batch(if at_once { &[] } else { batch });
        let shape = operands.logits.dims.get(batch.0.len()..).unwrap_or_default();
        let mut loss = places::<S::Real>(&mut results.loss, "loss")?;
        let mut grad = places::<S>(&mut results.grad, "grad")?;
        let items = batch.len();
        for item in 0..items {
            let outcome = One::<S> {
                options: self,
                operands: &operands,
                batch,
                item,
                shape,
                loss: at(&mut loss, item, items),
                grad: at(&mut grad, item, items),
            }
            .compute();
            outcome.map_err(|fault| match items {
                1 => fault,
                _ => Fault { message: format!("{}, of number {item} of the batch", fault.message), ..fault },
            })?;
        }
        Ok(())
    }
}

/// One item of a batch.
struct One<'r, S: Number> {
    options: &'r Options<'r>,
    operands: &'r Operands<'r>,
    batch: Batch<'r>,
    item: usize,
    /// The shape of the logits.
    shape: &'r [i64],
    loss: Option<&'r mut [S::Real]>,
    grad: Option<&'r mut [S]>,
}

impl<'r, S: Number + Dtype> One<'r, S>
where
    S::Real: Dtype,
{
    fn compute(self) -> Result<(), Fault> {
        match self.options.loss {
            "softmax_cross_entropy" | "softmax_focal_loss" => self.softmax(),
            "sigmoid_cross_entropy" | "sigmoid_focal_loss" => self.sigmoid(),
            other => Err(unfit(format!("there is no loss {other}"))),
        }
    }

    fn softmax(self) -> Result<(), Fault> {
        let options = self.options;
        let [leading @ .., classes] = self.shape else { return Err(unfit("the logits have no class axis")) };
        let (rows, classes) = (leading.iter().map(|&n| n as usize).product(), *classes as usize);
        let logits = Rows::new("logits", self.part("logits", self.operands.logits)?, rows, classes)?;
        let of_sample = Use::under(options.reduction);
        // The weights of the classes are no factor of the z-loss.
        let of_class = if options.z_loss == 0.0 { of_sample } else { Use::AsTheyAre };
        let class_weight = self.weights("class_weight", self.operands.class_weight, of_class)?;
        let sample_weight = self.weights("sample_weight", self.operands.sample_weight, of_sample)?;
        let target = self.operands.target;
        let targets = match (self.operands.target_weight, target.dtype) {
            (Some(weights), _) => {
                let weights = self.part("target_weight", weights)?;
                let pairs = weights.len().checked_div(rows).unwrap_or(0);
                let weights = Rows::new("target", weights, rows, pairs)?;
                Targets::Sparse(Sparse::new(self.labels(target)?, weights, classes, options.ignore_index)?)
            }
            (None, i32::CODE | i64::CODE) => {
                Targets::Classes(Classes::new(self.labels(target)?, classes, options.ignore_index)?)
            }
            (None, dtype) if dtype == <S::Real as Dtype>::CODE => {
                Targets::Distributions(Rows::new("target", self.part("target", target)?, rows, classes)?)
            }
            (None, _) => Targets::Stored(S::rows(Rows::new("target", self.part("target", target)?, rows, classes)?)),
        };
        let loss = SoftmaxCrossEntropy::new(classes, class_weight.as_deref(), options.label_smoothing)?
            .of_logits(options.softcap, options.temperature)?
            .with_z_loss(options.z_loss)?;
        // Cross-entropy is the focal loss with gamma = 0.
        if options.gamma == 0.0 {
            self.of_rows(logits, loss, targets, sample_weight.as_deref())
        } else {
            self.of_rows(logits, SoftmaxFocalLoss::new(loss, options.gamma)?, targets, sample_weight.as_deref())
        }
    }

    fn of_rows<L: RowLoss<S::Real> + Clone>(
        self,
        logits: Rows<'_, S>,
        loss: L,
        target: Targets<'_, S::Real>,
        sample_weight: Option<&[S::Real]>,
    ) -> Result<(), Fault> {
        self.write(logits, &RowObjective { loss, target, sample_weight })
    }

    fn sigmoid(self) -> Result<(), Fault> {
        let Options { gamma, alpha, label_smoothing, loss, .. } = *self.options;
        let pos_weight = self.weights("pos_weight", self.operands.pos_weight, Use::AsTheyAre)?;
        if loss == "sigmoid_cross_entropy" {
            let loss = SigmoidCrossEntropy::new(pos_weight.as_deref(), label_smoothing)?;
            self.of_points(loss, pos_weight.as_deref())
        } else {
            let loss = SigmoidFocalLoss::new(gamma, alpha, pos_weight.as_deref(), label_smoothing)?;
            self.of_points(loss, pos_weight.as_deref())
        }
    }

    fn of_points<L: PointLoss<S::Real>>(self, loss: L, pos_weight: Option<&[S::Real]>) -> Result<(), Fault> {
        let sample_weight =
            self.weights("sample_weight", self.operands.sample_weight, Use::under(self.options.reduction))?;
        let logits = self.part("logits", self.operands.logits)?;
        // The weights of positive labels repeat from row to row.
        let columns = pos_weight.map_or(1, <[S::Real]>::len);
        let logits = Rows::new("logits", logits, logits.len().checked_div(columns).unwrap_or(0), columns)?;
        let target = self.operands.target;
        let target = if target.dtype == <S::Real as Dtype>::CODE {
            PointNumbers::Real(self.part("target", target)?)
        } else {
            let numbers = self.part::<S>("target", target)?;
            PointNumbers::Stored(S::rows(Rows::new("target", numbers, numbers.len(), 1)?))
        };
        let ignored = self.options.ignore_index.map(|ignored| S::Real::from_f64(ignored as f64));
        let sample_weight = sample_weight.as_deref();
        self.write(logits, &PointObjective { loss, target, sample_weight, ignored })
    }

    fn part<T: Dtype>(&self, name: &str, buffer: Buffer<'r>) -> Result<&'r [T], Fault> {
        self.batch.part(name, buffer, self.item)
    }

    fn labels(&self, target: Buffer<'r>) -> Result<Labels<'r>, Fault> {
        match target.dtype {
            i32::CODE => Ok(Labels::I32(self.part("target", target)?)),
            _ => Ok(Labels::I64(self.part("target", target)?)),
        }
    }

    /// Weights in the type of the computation; see [`weights`].
    fn weights(
        &self,
        name: &'static str,
        buffer: Option<Buffer<'r>>,
        use_of: Use,
    ) -> Result<Option<Cow<'r, [S::Real]>>, Fault> {
        let Some(buffer) = buffer else { return Ok(None) };
        let wide: Cow<'r, [f64]> = if buffer.dtype == <S::Real as Dtype>::CODE {
            let given = self.part::<S::Real>(name, buffer)?;
            check_weights(name, given, &[given.len()])?;
            if weights::are_plain(given) || weights::fit(given, use_of) {
                return Ok(Some(given.into()));
            }
            given.iter().map(|w| w.to_f64()).collect()
        } else if buffer.dtype == f64::CODE {
            self.part(name, buffer)?.into()
        } else {
            self.part::<f32>(name, buffer)?.iter().map(|&w| w.into()).collect()
        };
        check_weights(name, &wide, &[wide.len()])?;
        let mut narrow = vec![S::Real::ZERO; wide.len()];
        if weights::narrow(&wide, &mut narrow, use_of) {
            return Ok(Some(narrow.into()));
        }
        let message =
            format!("{name} must be within the range of float32; for others write logits.astype(\"float64\")");
        Err(Fault { code: INVALID_ARGUMENT, message })
    }

    /// Computes loss and gradient of an objective, and writes what is asked for.
    fn write(self, logits: Rows<'_, S>, objective: &dyn Objective<S::Real>) -> Result<(), Fault> {
        let reduction = self.options.reduction;
        let given = self.operands.grad_output.map(|buffer| self.part::<S::Real>("grad_output", buffer)).transpose()?;
        let upstream = match given {
            None => GradOutput::ONE,
            Some(each) if reduction == Reduction::None => GradOutput::Each(each),
            Some(&[number]) => GradOutput::Number(number.to_f64()),
            Some(several) => return Err(unfit(format!("there are {} upstream gradients", several.len()))),
        };
        let loss = match self.grad {
            None => crate::value(objective, logits, reduction)?,
            Some(grad) => {
                crate::value_and_grad(objective, RowsIo::new(logits, grad)?.fresh(true), reduction, upstream)?
            }
        };
        match (self.loss, loss) {
            (None, _) => {}
            (Some([place]), Loss::Scalar(loss)) => *place = S::Real::from_f64(loss),
            (Some(places), Loss::Each(losses)) if places.len() == losses.len() => places.copy_from_slice(&losses),
            (Some(places), _) => return Err(unfit(format!("there is place for {} losses", places.len()))),
        }
        Ok(())
    }
}
