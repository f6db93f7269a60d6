//! The sigmoid family: one target a logit.

use super::Problem;
use crate::error::{Error, Result};
use crate::losses::PointLoss;
use crate::math::Real;
use crate::parallel;
use crate::rows::{BLOCK, row_total};
use crate::simd::{Isa, Kernel, Lanes, RowIo, Simd, read, write};
use crate::view::{Rows, RowsIo, check_weights};

/// A loss of the sigmoid family, with targets and weights, all of the shape of the logits, row behind row.
#[derive(Clone, Copy, Debug)]
pub struct PointProblem<'a, T, L> {
    /// The loss of a point.
    pub loss: L,
    /// One target a point, in [0, 1].
    pub target: &'a [T],
    /// One weight a point; 1 where absent.
    pub sample_weight: Option<&'a [T]>,
}

impl<T: Real, L: PointLoss<T>> Problem<T> for PointProblem<'_, T, L> {
    fn check(&self, isa: Isa, rows: usize, classes: usize) -> Result<()> {
        if self.target.len() != rows * classes {
            return Err(Error::Shape { name: "target", expected: vec![rows, classes], got: vec![self.target.len()] });
        }
        let blocks = self.target.chunks(parallel::block_rows(1));
        if parallel::sum(blocks, self.target.len(), |target| T::dispatch(isa, OutsideUnit { target })) != 0.0 {
            let outside = |&t: &T| t < T::ZERO || t > T::ONE;
            if let Some(index) = self.target.iter().position(outside) {
                let got = self.target[index].to_f64();
                return Err(Error::Value { name: "target", expected: "in [0, 1]", got, index });
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
        let part = Part::of(self, first * logits.classes(), logits.rows() * logits.classes());
        T::dispatch(isa, PointValues { part, logits: logits.flat(), each })
    }

    fn value_and_grad(
        &self,
        isa: Isa,
        first: usize,
        mut rows: RowsIo<'_, T>,
        divisor: f64,
        each: Option<&mut [T]>,
    ) -> f64 {
        let part = Part::of(self, first * rows.classes(), rows.rows() * rows.classes());
        T::dispatch(isa, PointGrads { part, points: rows.flat(), scale: 1.0 / divisor, each })
    }
}

/// How many targets are below 0 or above 1.
struct OutsideUnit<'k, T> {
    target: &'k [T],
}

impl<T: Real> Kernel<T> for OutsideUnit<'_, T> {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) -> f64 {
        let (zero, one) = (s.splat(T::ZERO), s.splat(T::ONE));
        row_total(
            s,
            self.target,
            T::ZERO,
            #[inline(always)]
            |_, t| S::V::select(t.lt(zero), one, zero) + S::V::select(one.lt(t), one, zero),
        )
    }
}

/// The sum of weights.
pub(super) struct Total<'k, T> {
    pub(super) weights: &'k [T],
}

impl<T: Real> Kernel<T> for Total<'_, T> {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) -> f64 {
        row_total(
            s,
            self.weights,
            T::ZERO,
            #[inline(always)]
            |_, w| w,
        )
    }
}

/// What a block of logits is held against.
struct Part<'k, T, L> {
    loss: &'k L,
    target: &'k [T],
    sample_weight: Option<&'k [T]>,
}

impl<'k, T: Real, L> Part<'k, T, L> {
    fn of(problem: &'k PointProblem<'_, T, L>, first: usize, len: usize) -> Self {
        let part = |xs: &'k [T]| &xs[first..first + len];
        Part { loss: &problem.loss, target: part(problem.target), sample_weight: problem.sample_weight.map(part) }
    }

    /// What a register of losses or gradients counts for: a point without weight counts for nothing, whatever it is.
    #[inline(always)]
    fn weighted<S: Simd<T>>(&self, s: S, i: usize, v: S::V) -> S::V {
        let Some(weights) = self.sample_weight else {
            return v;
        };
        let (w, zero) = (read(s, weights, i, T::ZERO), s.splat(T::ZERO));
        S::V::select(w.eq(zero), zero, v * w)
    }
}

/// The losses of a block of points.
struct PointValues<'k, T, L> {
    part: Part<'k, T, L>,
    logits: &'k [T],
    each: Option<&'k mut [T]>,
}

impl<T: Real, L: PointLoss<T>> Kernel<T> for PointValues<'_, T, L> {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) -> f64 {
        let PointValues { part, logits, mut each } = self;
        total_of(
            s,
            logits.len(),
            #[inline(always)]
            |i| {
                let logit = read(s, logits, i, -T::INFINITY);
                let loss = part.loss.value(s, i, logit, read(s, part.target, i, T::ZERO));
                let loss = part.weighted(s, i, loss);
                if let Some(each) = &mut each {
                    write(s, loss, each, i);
                }
                loss
            },
        )
    }
}

/// The losses and gradients of a block of points.
struct PointGrads<'k, T, L> {
    part: Part<'k, T, L>,
    points: RowIo<'k, T>,
    scale: f64,
    each: Option<&'k mut [T]>,
}

impl<T: Real, L: PointLoss<T>> Kernel<T> for PointGrads<'_, T, L> {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) -> f64 {
        let PointGrads { part, mut points, scale, mut each } = self;
        let scale = s.splat(T::from_f64(scale));
        total_of(
            s,
            points.source().len(),
            #[inline(always)]
            |i| {
                let logit = read(s, points.source(), i, -T::INFINITY);
                let (loss, grad) = part.loss.value_and_grad(s, i, logit, read(s, part.target, i, T::ZERO));
                write(s, part.weighted(s, i, grad) * scale, points.target(), i);
                let loss = part.weighted(s, i, loss);
                if let Some(each) = &mut each {
                    write(s, loss, each, i);
                }
                loss
            },
        )
    }
}

/// The sum of `f` over the registers of `len` points, in double precision beyond [`BLOCK`].
#[inline(always)]
pub(super) fn total_of<T: Real, S: Simd<T>>(s: S, len: usize, mut f: impl FnMut(usize) -> S::V) -> f64 {
    let mut total = 0.0;
    for start in (0..len).step_by(BLOCK) {
        let mut sum = s.splat(T::ZERO);
        for i in (start..len.min(start + BLOCK)).step_by(S::LANES) {
            sum = sum + f(i);
        }
        total += sum.sum().to_f64();
    }
    total
}
