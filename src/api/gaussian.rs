//! Continuous targets with a predicted variance: one mean, one target and one variance a point, and two gradients.

use super::grad_output::PointScale;
use super::points::Total;
use super::{
    GradOutput, GradScale, Loss, Objective, PointNumbers, Reduction, divisor, first_error, reduce, with_losses,
};
use crate::error::{Error, Result};
use crate::losses::{Dispersion, GaussianNll};
use crate::math::Real;
use crate::memory;
use crate::parallel;
use crate::rows::BLOCK;
use crate::simd::{Isa, Kernel, Lanes, Offset, RowIo, Simd, inlined, short, sum_of_first, sum_registers};
use crate::storage::{Place, Places, Storage, StoredIo};
use crate::view::{Rows, RowsIo, check_weights};

/// Gaussian negative log-likelihood, with its targets and weights. All have the shape of the means, row after row.
#[derive(Clone, Copy, Debug)]
pub struct GaussianObjective<'a, T> {
    /// The loss of a point.
    pub loss: GaussianNll,
    /// One target a point.
    pub target: PointNumbers<'a, T>,
    /// One variance a point, or its logarithm; or a single one for all points.
    pub dispersion: PointNumbers<'a, T>,
    /// One weight a point; 1 where absent.
    pub sample_weight: Option<&'a [T]>,
}

impl<T: Real> GaussianObjective<'_, T> {
    /// Whether all points have one variance.
    fn is_shared(&self) -> bool {
        self.dispersion.len() == 1
    }

    /// Calls `f` with the variances of `len` points from point `first` on, or with the one of all points.
    #[inline(always)]
    fn dispersion<R>(&self, isa: Isa, first: usize, len: usize, f: impl FnOnce(&[T]) -> R) -> R {
        let (first, len) = if self.is_shared() { (0, 1) } else { (first, len) };
        self.dispersion.part(isa, first, len, f)
    }

    /// Calls `f` with the numbers of `len` points from point `first` on.
    #[inline(always)]
    fn part<R>(&self, isa: Isa, first: usize, len: usize, f: impl FnOnce(Part<'_, T>) -> R) -> R {
        self.target.part(isa, first, len, |target| {
            self.dispersion(isa, first, len, |dispersion| {
                let sample_weight = self.sample_weight.map(|weights| &weights[first..first + len]);
                f(Part { loss: self.loss, target, dispersion, sample_weight })
            })
        })
    }
}

impl<T: Real> Objective<T> for GaussianObjective<'_, T> {
    fn check(&self, rows: usize, classes: usize) -> Result<()> {
        self.target.check("target", rows, classes)?;
        if !self.is_shared() {
            self.dispersion.check("var", rows, classes)?;
        }
        self.sample_weight.map_or(Ok(()), |weights| check_weights("sample_weight", weights, &[rows, classes]))
    }

    fn check_targets(&self, isa: Isa) -> Result<()> {
        if self.loss.dispersion == Dispersion::LogVariance {
            return Ok(());
        }
        let len = self.dispersion.len();
        first_error(len, parallel::block_rows(1), len, |first, points| {
            self.dispersion(isa, first, points, |dispersion| {
                // A loop without an early exit has no branches. NaN is allowed.
                if dispersion.iter().fold(false, |any, &v| any | (v <= T::ZERO))
                    && let Some(i) = dispersion.iter().position(|&v| v <= T::ZERO)
                {
                    let (got, index) = (dispersion[i].to_f64(), first + i);
                    return Err(Error::Value { name: "var", expected: "positive", got, index });
                }
                Ok(())
            })
        })
    }

    fn losses_per_row(&self, classes: usize) -> usize {
        classes
    }

    fn divisor(&self, isa: Isa, rows: usize, classes: usize) -> f64 {
        let Some(weights) = self.sample_weight else {
            return (rows * classes) as f64;
        };
        let blocks = weights.chunks(parallel::block_rows(1));
        parallel::sum(blocks, weights.len(), |weights| T::dispatch(isa, Total { weights }))
    }

    fn value(&self, isa: Isa, first: usize, logits: Rows<'_, T>, each: Option<&mut [T]>) -> f64 {
        let classes = logits.columns();
        self.part(isa, first * classes, logits.rows() * classes, |part| {
            logits.with_flat(|mean| T::dispatch(isa, Values { part, mean, each }))
        })
    }

    fn value_and_grad(
        &self,
        isa: Isa,
        first: usize,
        mut rows: RowsIo<'_, T>,
        scale: GradScale<'_, T>,
        each: Option<&mut [T]>,
    ) -> f64 {
        let (first, len) = (first * rows.columns(), rows.rows() * rows.columns());
        let (scale, dispersion_grad) = (scale.part(first, len), DispersionGrad::None);
        self.part(isa, first, len, |part| {
            T::dispatch(isa, Grads { part, mean: rows.flat(), dispersion_grad, scale, each })
        })
    }
}

/// The loss of all points, and its gradients, times `grad_output`: with respect to the means, written beside or over
/// them, and to the variances or their logarithms. That to a single variance is the sum over all points, in double
/// precision.
///
/// # Errors
/// What [`Objective::check`] and [`Objective::check_targets`] find, [`Error::Shape`] unless there is one place a variance,
/// and an unknown `XENTRS_ISA`. Then nothing is written, except to a [fresh](RowsIo::fresh) place.
pub fn gaussian_value_and_grads<S: Storage, O: Place<S>, D: Place<S>>(
    objective: &GaussianObjective<'_, S::Real>,
    mean: RowsIo<'_, S, O>,
    dispersion_grad: &mut [D],
    reduction: Reduction,
    grad_output: GradOutput<'_, S::Real>,
) -> Result<Loss<S::Real>> {
    gaussian_value_and_grads_of(objective, O::rows_io(mean), D::places(dispersion_grad), reduction, grad_output)
}

pub(crate) fn gaussian_value_and_grads_of<T: Real>(
    objective: &GaussianObjective<'_, T>,
    mut mean: StoredIo<'_, T>,
    mut dispersion_grad: Places<'_, T>,
    reduction: Reduction,
    grad_output: GradOutput<'_, T>,
) -> Result<Loss<T>> {
    let (isa, rows, classes) = (Isa::active()?, mean.rows(), mean.columns());
    let (is_shared, variances) = (objective.is_shared(), objective.dispersion.len());
    objective.check(rows, classes)?;
    if dispersion_grad.len() != variances {
        let (expected, got) = (vec![variances], vec![dispersion_grad.len()]);
        return Err(Error::Shape { name: "grad", expected, got });
    }
    grad_output.check(rows * classes)?;
    if grad_output.is_zero() {
        let loss = super::value_of(objective, mean.source(), reduction)?;
        mean.target().clear();
        dispersion_grad.clear();
        return Ok(loss);
    }
    let divisor = divisor(objective, isa, reduction, rows, classes);
    let is_checked = !mean.is_fresh() || divisor == 0.0;
    if is_checked {
        objective.check_targets(isa)?;
    }
    if divisor == 0.0 {
        mean.target().clear();
        dispersion_grad.clear();
        return Ok(Loss::Scalar(0.0));
    }
    let (size, scale) = (parallel::block_rows(classes), grad_output.over(divisor));
    let mut sums = memory::zeros(if is_shared { rows.div_ceil(size) } else { 0 });
    let mut rest = dispersion_grad.part(0..variances);
    let loss = reduce(objective, reduction, rows, classes, divisor, |each| {
        let mut sums = sums.iter_mut();
        let blocks = with_losses(mean.blocks(size), each, size * classes).map(|(b, mean, each)| {
            let grads = rest.take(if is_shared { 0 } else { mean.rows() * classes });
            (b * size * classes, mean, (sums.next(), grads), each)
        });
        let total = parallel::sum(blocks, rows * classes, |(first, mean, (sum, grads), each)| {
            let len = mean.rows() * classes;
            let scale = scale.part(first, len);
            let evaluate = |dispersion_grad: DispersionGrad<'_, T>| {
                objective.part(isa, first, len, |part| {
                    mean.filled(isa, |mut mean| {
                        T::dispatch(isa, Grads { part, mean: mean.flat(), dispersion_grad, scale, each })
                    })
                })
            };
            match sum {
                Some(sum) => evaluate(DispersionGrad::Sum(sum)),
                None => grads.results(isa, |grads| evaluate(DispersionGrad::Each(grads))),
            }
        });
        if total.is_nan() && !is_checked {
            objective.check_targets(isa)?;
        }
        Ok(total)
    })?;
    if is_shared {
        dispersion_grad.write(isa, &[T::from_f64(sums.iter().fold(0.0, |total, sum| total + sum))]);
    }
    Ok(loss)
}

/// The place for the gradient with respect to the variances.
enum DispersionGrad<'k, T> {
    None,
    Each(&'k mut [T]),
    /// That of a single variance.
    Sum(&'k mut f64),
}

/// A register times its weights; 0 for a point of weight 0, also where it is infinite or NaN.
#[inline(always)]
fn weighted<T: Real, S: Simd<T>>(s: S, weights: Option<&[T]>, at: Offset, v: S::V) -> S::V {
    let Some(weights) = weights else {
        return v;
    };
    let (w, zero) = (at.read(s, weights, T::ZERO), s.splat(T::ZERO));
    (v * w).zero_where(w.eq(zero))
}

/// A register of derivatives times their upstream gradients and weights.
#[inline(always)]
fn scaled<T: Real, S: Simd<T>>(s: S, weights: Option<&[T]>, scale: &PointScale<'_, T, S>, at: Offset, v: S::V) -> S::V {
    weighted(s, weights, at, scale.first(s, inlined!(|each| at.read(s, each, T::ZERO)), v))
}

/// Loss, targets, variances and weights of a block of points.
struct Part<'k, T> {
    loss: GaussianNll,
    target: &'k [T],
    /// One a point, or one for all.
    dispersion: &'k [T],
    sample_weight: Option<&'k [T]>,
}

impl<T: Real> Part<'_, T> {
    /// The variances of a register of points, or their logarithms.
    #[inline(always)]
    fn dispersion<S: Simd<T>>(&self, s: S, at: Offset) -> S::V {
        match self.dispersion {
            [one] => s.splat(*one),
            each => at.read(s, each, T::ONE),
        }
    }

    /// A register of weighted losses: NaN where a variance is not positive, so that the sum shows it.
    #[inline(always)]
    fn losses<S: Simd<T>>(&self, s: S, at: Offset, dispersion: S::V, losses: S::V) -> S::V {
        let (zero, nan, losses) = (s.splat(T::ZERO), s.splat(T::NAN), weighted(s, self.sample_weight, at, losses));
        if self.loss.dispersion == Dispersion::LogVariance {
            return losses;
        }
        S::V::select(dispersion.lt(zero), nan, S::V::select(dispersion.eq(zero), nan, losses))
    }
}

/// The losses of a block of points.
struct Values<'k, T> {
    part: Part<'k, T>,
    mean: &'k [T],
    each: Option<&'k mut [T]>,
}

impl<T: Real> Kernel<T> for Values<'_, T> {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) -> f64 {
        let Values { part, mean, mut each } = self;
        sum_registers(
            s,
            mean.len(),
            short(s, BLOCK),
            inlined!(|at| {
                let (target, dispersion) = (at.read(s, part.target, T::ZERO), part.dispersion(s, at));
                let (loss, _, _) = part.loss.value_and_grads(s, at.read(s, mean, T::ZERO), target, dispersion);
                let loss = part.losses(s, at, dispersion, loss);
                if let Some(each) = &mut each {
                    at.write(s, loss, each);
                }
                loss
            }),
        )
    }
}

/// The losses and gradients of a block of points.
struct Grads<'k, T> {
    part: Part<'k, T>,
    mean: RowIo<'k, T>,
    dispersion_grad: DispersionGrad<'k, T>,
    scale: GradScale<'k, T>,
    each: Option<&'k mut [T]>,
}

impl<T: Real> Kernel<T> for Grads<'_, T> {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) -> f64 {
        let Grads { part, mut mean, mut dispersion_grad, scale, mut each } = self;
        let (all, weights, points) = (scale.of_points(s), part.sample_weight, mean.source().len());
        let (mut dispersion_sum, mut block) = (0.0, s.splat(T::ZERO));
        let total = sum_registers(
            s,
            points,
            short(s, BLOCK),
            inlined!(|at| {
                let (target, dispersion) = (at.read(s, part.target, T::ZERO), part.dispersion(s, at));
                let m = at.read(s, mean.source(), T::ZERO);
                let (loss, grad, of_dispersion) = part.loss.value_and_grads(s, m, target, dispersion);
                at.write(s, scaled(s, weights, &all, at, grad) * all.last, mean.output());
                let of_dispersion = scaled(s, weights, &all, at, of_dispersion);
                match &mut dispersion_grad {
                    DispersionGrad::None => {}
                    DispersionGrad::Each(out) => at.write(s, of_dispersion * all.last, out),
                    DispersionGrad::Sum(_) if at.is_whole() => {
                        if at.first(s).is_multiple_of(short(s, BLOCK)) {
                            dispersion_sum += block.sum().to_f64();
                            block = s.splat(T::ZERO);
                        }
                        block = block + of_dispersion;
                    }
                    DispersionGrad::Sum(_) => dispersion_sum += sum_of_first(s, of_dispersion, points - at.first(s)),
                }
                let loss = part.losses(s, at, dispersion, loss);
                if let Some(each) = &mut each {
                    at.write(s, loss, each);
                }
                loss
            }),
        );
        if let DispersionGrad::Sum(sum) = dispersion_grad {
            *sum = (dispersion_sum + block.sum().to_f64()) * scale.last();
        }
        total
    }
}
