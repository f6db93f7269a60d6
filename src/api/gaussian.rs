//! Continuous targets with a predicted variance: one mean, one target and one variance a point, and two gradients.

use super::points::{Total, sum_of_first, total_of};
use super::{Loss, Problem, Reduction, divisor, first_error, reduce, with_losses};
use crate::error::{Error, Result};
use crate::losses::{GaussianNll, Spread};
use crate::math::Real;
use crate::parallel;
use crate::rows::BLOCK;
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
    /// One variance a point, or its logarithm; a single one is that of all points.
    pub spread: &'a [T],
    /// One weight a point; 1 where absent.
    pub sample_weight: Option<&'a [T]>,
}

impl<'a, T: Real> GaussianProblem<'a, T> {
    /// Whether all points have one variance.
    fn is_shared(&self) -> bool {
        self.spread.len() == 1
    }

    /// The variances of a register of points, or their logarithms.
    #[inline(always)]
    fn spread<S: Simd<T>>(&self, s: S, at: Spot) -> S::V {
        match self.spread {
            [one] => s.splat(*one),
            each => at.read(s, each, T::ONE),
        }
    }

    /// A register of losses, weighted: NaN where a variance is none, so that their sum tells.
    #[inline(always)]
    fn losses<S: Simd<T>>(&self, s: S, at: Spot, spread: S::V, losses: S::V) -> S::V {
        let (zero, nan, losses) = (s.splat(T::ZERO), s.splat(T::NAN), weighted(s, self.sample_weight, at, losses));
        if self.loss.spread == Spread::LogVariance {
            return losses;
        }
        S::V::select(spread.lt(zero), nan, S::V::select(spread.eq(zero), nan, losses))
    }

    /// What belongs to some points.
    fn part(&self, first: usize, len: usize) -> Self {
        let part = |xs: &'a [T]| &xs[first..first + len];
        GaussianProblem {
            loss: self.loss,
            target: part(self.target),
            spread: if self.is_shared() { self.spread } else { part(self.spread) },
            sample_weight: self.sample_weight.map(part),
        }
    }
}

impl<T: Real> Problem<T> for GaussianProblem<'_, T> {
    fn check(&self, rows: usize, classes: usize) -> Result<()> {
        let points = rows * classes;
        let wrong = |len| len != points;
        for (name, len, is_wrong) in [
            ("target", self.target.len(), wrong(self.target.len())),
            ("var", self.spread.len(), wrong(self.spread.len()) && !self.is_shared()),
        ] {
            if is_wrong {
                return Err(Error::Shape { name, expected: vec![rows, classes], got: vec![len] });
            }
        }
        self.sample_weight.map_or(Ok(()), |weights| check_weights("sample_weight", weights, &[rows, classes]))
    }

    fn check_targets(&self, _: Isa) -> Result<()> {
        if self.loss.spread == Spread::LogVariance {
            return Ok(());
        }
        let len = self.spread.len();
        first_error(len, parallel::block_rows(1), len, |first, points| {
            let spread = &self.spread[first..first + points];
            // A loop without an early exit has no branches. NaN is allowed.
            if spread.iter().fold(false, |any, &v| any | (v <= T::ZERO))
                && let Some(i) = spread.iter().position(|&v| v <= T::ZERO)
            {
                let (got, index) = (spread[i].to_f64(), first + i);
                return Err(Error::Value { name: "var", expected: "positive", got, index });
            }
            Ok(())
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
        let spread_grad = SpreadGrad::None;
        T::dispatch(isa, Grads { problem, mean: rows.flat(), spread_grad, scale: 1.0 / divisor, each })
    }
}

/// The loss of all points, and its gradients with respect to the means, beside or over them, and to the variances, or their
/// logarithms: to a single one, where all points have it, the sum over them, in double precision.
///
/// # Errors
/// What [`Problem::check`] and [`Problem::check_targets`] find, [`Error::Shape`] unless there is one place a variance, and an
/// unknown `XENTRS_ISA`; nothing is written then, unless to a [fresh](RowsIo::fresh) place.
pub fn gaussian_value_and_grads<S: Storage, O: Place<S>>(
    problem: &GaussianProblem<'_, S::Real>,
    mut mean: RowsIo<'_, S, O>,
    spread_grad: &mut [S::Real],
    reduction: Reduction,
) -> Result<Loss<S::Real>> {
    let (isa, rows, classes) = (Isa::active()?, mean.rows(), mean.classes());
    problem.check(rows, classes)?;
    if spread_grad.len() != problem.spread.len() {
        return Err(Error::Shape { name: "grad", expected: vec![problem.spread.len()], got: vec![spread_grad.len()] });
    }
    let divisor = divisor(problem, isa, reduction, rows, classes);
    let is_checked = !mean.is_fresh() || divisor == 0.0;
    if is_checked {
        problem.check_targets(isa)?;
    }
    if divisor == 0.0 {
        mean.target().fill(O::default());
        spread_grad.fill(S::Real::default());
        return Ok(Loss::Scalar(0.0));
    }
    let (size, scale) = (parallel::block_rows(classes), 1.0 / divisor);
    let mut sums = vec![0.0; if problem.is_shared() { rows.div_ceil(size) } else { 0 }];
    let loss = reduce(problem, reduction, rows, classes, divisor, |each| {
        let (mut rest, mut sums) = (&mut *spread_grad, sums.iter_mut());
        let blocks = with_losses(mean.blocks(size), each, size * classes).map(|(b, mean, each)| {
            let spread_grad = match sums.next() {
                Some(sum) => SpreadGrad::Sum(sum),
                None => {
                    let (grad, after) = std::mem::take(&mut rest).split_at_mut(mean.rows() * classes);
                    rest = after;
                    SpreadGrad::Each(grad)
                }
            };
            (b, mean, spread_grad, each)
        });
        let total = parallel::sum(blocks, rows * classes, |(b, mean, spread_grad, each)| {
            let problem = problem.part(b * size * classes, mean.rows() * classes);
            O::filled(isa, mean, |mut mean| {
                S::Real::dispatch(isa, Grads { problem, mean: mean.flat(), spread_grad, scale, each })
            })
        });
        if total.is_nan() && !is_checked {
            problem.check_targets(isa)?;
        }
        Ok(total)
    })?;
    if problem.is_shared() {
        spread_grad.fill(S::Real::from_f64(sums.iter().fold(0.0, |total, sum| total + sum)));
    }
    Ok(loss)
}

/// The place for what the loss changes by with the variances.
enum SpreadGrad<'k, T> {
    None,
    Each(&'k mut [T]),
    /// Of the one that all points have.
    Sum(&'k mut f64),
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
                let (target, spread) = (at.read(s, problem.target, T::ZERO), problem.spread(s, at));
                let (loss, _, _) = problem.loss.value_and_grads(s, at.read(s, mean, T::ZERO), target, spread);
                let loss = problem.losses(s, at, spread, loss);
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
    spread_grad: SpreadGrad<'k, T>,
    scale: f64,
    each: Option<&'k mut [T]>,
}

impl<T: Real> Kernel<T> for Grads<'_, T> {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) -> f64 {
        let Grads { problem, mut mean, mut spread_grad, scale, mut each } = self;
        let (factor, weights, points) = (s.splat(T::from_f64(scale)), problem.sample_weight, mean.source().len());
        let (mut spread_sum, mut block) = (0.0, s.splat(T::ZERO));
        let total = total_of(
            s,
            points,
            #[inline(always)]
            |at| {
                let (target, spread) = (at.read(s, problem.target, T::ZERO), problem.spread(s, at));
                let m = at.read(s, mean.source(), T::ZERO);
                let (loss, grad, of_spread) = problem.loss.value_and_grads(s, m, target, spread);
                at.write(s, weighted(s, weights, at, grad) * factor, mean.target());
                let of_spread = weighted(s, weights, at, of_spread);
                match &mut spread_grad {
                    SpreadGrad::None => {}
                    SpreadGrad::Each(out) => at.write(s, of_spread * factor, out),
                    SpreadGrad::Sum(_) if at.is_whole => {
                        if at.i.is_multiple_of(BLOCK) {
                            spread_sum += block.sum().to_f64();
                            block = s.splat(T::ZERO);
                        }
                        block = block + of_spread;
                    }
                    SpreadGrad::Sum(_) => spread_sum += sum_of_first(s, of_spread, points - at.i),
                }
                let loss = problem.losses(s, at, spread, loss);
                if let Some(each) = &mut each {
                    at.write(s, loss, each);
                }
                loss
            },
        );
        if let SpreadGrad::Sum(sum) = spread_grad {
            *sum = (spread_sum + block.sum().to_f64()) * scale;
        }
        total
    }
}
