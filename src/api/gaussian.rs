//! Continuous targets with a predicted variance: one mean, one target and one variance a point, and two gradients.

use super::points::{Total, total_of};
use super::{Loss, Problem, Reduction, divisor, reduce, with_losses};
use crate::error::{Error, Result};
use crate::losses::{GaussianNll, Spread};
use crate::math::Real;
use crate::parallel;
use crate::simd::{Float, Isa, Kernel, Lanes, RowIo, Simd, Spot};
use crate::storage::{Place, Storage};
use crate::view::{Rows, RowsIo, check_weights};

/// Gaussian negative log-likelihood, with everything but the means; all of their shape, row behind row.
#[derive(Clone, Copy, Debug)]
pub struct GaussianProblem<'a, T> {
    /// The loss of a point.
    pub loss: GaussianNll,
    /// One target a point.
    pub target: &'a [T],
    /// One variance a point, or its logarithm.
    pub spread: &'a [T],
    /// One weight a point; 1 where absent.
    pub sample_weight: Option<&'a [T]>,
}

impl<'a, T: Real> GaussianProblem<'a, T> {
    /// What belongs to some points.
    fn part(&self, first: usize, len: usize) -> Self {
        let part = |xs: &'a [T]| &xs[first..first + len];
        GaussianProblem {
            loss: self.loss,
            target: part(self.target),
            spread: part(self.spread),
            sample_weight: self.sample_weight.map(part),
        }
    }
}

impl<T: Real> Problem<T> for GaussianProblem<'_, T> {
    fn check(&self, rows: usize, classes: usize) -> Result<()> {
        let points = rows * classes;
        for (name, xs) in [("target", self.target), ("var", self.spread)] {
            if xs.len() != points {
                return Err(Error::Shape { name, expected: vec![rows, classes], got: vec![xs.len()] });
            }
        }
        if self.loss.spread == Spread::Variance {
            // Without an early exit the loop has no branches. NaN is no fault.
            let any = |xs: &[T]| f64::from(u8::from(xs.iter().fold(false, |any, &v| any | (v <= T::ZERO))));
            if parallel::sum(self.spread.chunks(parallel::block_rows(1)), points, any) != 0.0
                && let Some(index) = self.spread.iter().position(|&v| v <= T::ZERO)
            {
                let got = self.spread[index].to_f64();
                return Err(Error::Value { name: "var", expected: "positive", got, index });
            }
        }
        self.sample_weight.map_or(Ok(()), |weights| check_weights("sample_weight", weights, &[rows, classes]))
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
        let points = logits.rows() * logits.classes();
        let problem = self.part(first * logits.classes(), points);
        T::dispatch(isa, Values { problem, mean: logits.flat(), each })
    }

    fn value_and_grad(
        &self,
        isa: Isa,
        first: usize,
        mut rows: RowsIo<'_, T>,
        divisor: f64,
        each: Option<&mut [T]>,
    ) -> f64 {
        let problem = self.part(first * rows.classes(), rows.rows() * rows.classes());
        T::dispatch(isa, Grads { problem, mean: rows.flat(), spread_grad: None, scale: 1.0 / divisor, each })
    }
}

/// The loss of all points, and its gradients with respect to the means, beside or over them, and to the variances, or their
/// logarithms.
///
/// # Errors
/// What [`Problem::check`] finds, [`Error::Shape`] unless there is one place a point, and an unknown `XENTRS_ISA`; nothing
/// is written then.
pub fn gaussian_value_and_grads<S: Storage, O: Place<S>>(
    problem: &GaussianProblem<'_, S::Real>,
    mut mean: RowsIo<'_, S, O>,
    spread_grad: &mut [S::Real],
    reduction: Reduction,
) -> Result<Loss<S::Real>> {
    let (isa, rows, classes) = (Isa::active()?, mean.rows(), mean.classes());
    problem.check(rows, classes)?;
    if spread_grad.len() != rows * classes {
        return Err(Error::Shape { name: "grad", expected: vec![rows, classes], got: vec![spread_grad.len()] });
    }
    let divisor = divisor(problem, isa, reduction, rows, classes);
    if divisor == 0.0 {
        mean.target().fill(O::default());
        spread_grad.fill(S::Real::default());
        return Ok(Loss::Scalar(0.0));
    }
    let (size, scale) = (parallel::block_rows(classes), 1.0 / divisor);
    reduce(problem, reduction, rows, classes, divisor, |each| {
        let mut rest = spread_grad;
        let blocks = with_losses(mean.blocks(size), each, size * classes).map(|(b, mean, each)| {
            let (grad, after) = std::mem::take(&mut rest).split_at_mut(mean.rows() * classes);
            rest = after;
            (b, mean, grad, each)
        });
        Ok(parallel::sum(blocks, rows * classes, |(b, mean, grad, each)| {
            O::filled(isa, mean, |mut mean| {
                let problem = problem.part(b * size * classes, grad.len());
                S::Real::dispatch(isa, Grads { problem, mean: mean.flat(), spread_grad: Some(grad), scale, each })
            })
        }))
    })
}

/// What a register counts for: a point without weight counts for nothing, whatever it is.
#[inline(always)]
fn weighted<T: Real, S: Simd<T>>(s: S, weights: Option<&[T]>, at: Spot, v: S::V) -> S::V {
    let Some(weights) = weights else {
        return v;
    };
    let (w, zero) = (at.read(s, weights, T::ZERO), s.splat(T::ZERO));
    S::V::select(w.eq(zero), zero, v * w)
}

/// The losses of a block of points.
struct Values<'k, T> {
    problem: GaussianProblem<'k, T>,
    mean: &'k [T],
    each: Option<&'k mut [T]>,
}

impl<T: Real> Kernel<T> for Values<'_, T> {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) -> f64 {
        let Values { problem, mean, mut each } = self;
        total_of(
            s,
            mean.len(),
            #[inline(always)]
            |at| {
                let (target, spread) = (at.read(s, problem.target, T::ZERO), at.read(s, problem.spread, T::ONE));
                let (loss, _, _) = problem.loss.value_and_grads(s, at.read(s, mean, T::ZERO), target, spread);
                let loss = weighted(s, problem.sample_weight, at, loss);
                if let Some(each) = &mut each {
                    at.write(s, loss, each);
                }
                loss
            },
        )
    }
}

/// The losses and gradients of a block of points.
struct Grads<'k, T> {
    problem: GaussianProblem<'k, T>,
    mean: RowIo<'k, T>,
    spread_grad: Option<&'k mut [T]>,
    scale: f64,
    each: Option<&'k mut [T]>,
}

impl<T: Real> Kernel<T> for Grads<'_, T> {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) -> f64 {
        let Grads { problem, mut mean, mut spread_grad, scale, mut each } = self;
        let (scale, weights) = (s.splat(T::from_f64(scale)), problem.sample_weight);
        total_of(
            s,
            mean.source().len(),
            #[inline(always)]
            |at| {
                let (target, spread) = (at.read(s, problem.target, T::ZERO), at.read(s, problem.spread, T::ONE));
                let m = at.read(s, mean.source(), T::ZERO);
                let (loss, grad, of_spread) = problem.loss.value_and_grads(s, m, target, spread);
                at.write(s, weighted(s, weights, at, grad) * scale, mean.target());
                if let Some(out) = &mut spread_grad {
                    at.write(s, weighted(s, weights, at, of_spread) * scale, out);
                }
                let loss = weighted(s, weights, at, loss);
                if let Some(each) = &mut each {
                    at.write(s, loss, each);
                }
                loss
            },
        )
    }
}
