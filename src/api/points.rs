//! The sigmoid family: one target per logit.

use super::{CurvedObjective, GradScale, HessScale, Objective, check_domain, first_error};
use crate::error::{Error, Result};
use crate::losses::{Domain, PointHess, PointLoss, Points};
use crate::math::Real;
use crate::parallel;
use crate::rows::{BLOCK, row_total};
use crate::simd::{Isa, Kernel, Lanes, Offset, RowIo, Simd, inlined, read, short, sum_registers_in_two};
use crate::storage::StoredRows;
use crate::view::{Rows, RowsIo, check_weights};

/// Numbers of points, one per point: targets or variances.
#[derive(Clone, Copy, Debug)]
pub enum PointNumbers<'a, T> {
    /// Numbers in the type of the computation.
    Real(&'a [T]),
    /// Numbers in half precision, as rows of one.
    Stored(StoredRows<'a, T>),
}

impl<T: Real> PointNumbers<'_, T> {
    pub(super) fn len(&self) -> usize {
        match self {
            PointNumbers::Real(numbers) => numbers.len(),
            PointNumbers::Stored(numbers) => numbers.rows() * numbers.columns(),
        }
    }

    /// Refuses numbers that are not one per point.
    pub(super) fn check(&self, name: &'static str, rows: usize, classes: usize) -> Result<()> {
        if let PointNumbers::Stored(stored) = self
            && stored.columns() != 1
        {
            let got = vec![stored.rows(), stored.columns()];
            return Err(Error::Shape { name, expected: vec![rows * classes, 1], got });
        }
        if self.len() != rows * classes {
            return Err(Error::Shape { name, expected: vec![rows, classes], got: vec![self.len()] });
        }
        Ok(())
    }

    /// Calls `f` with the numbers of `len` points from point `first` on.
    #[inline(always)]
    pub(super) fn part<R>(self, isa: Isa, first: usize, len: usize, f: impl FnOnce(&[T]) -> R) -> R {
        match self {
            PointNumbers::Real(numbers) => f(&numbers[first..first + len]),
            PointNumbers::Stored(stored) => stored.part(first, len).widened(isa, |numbers| numbers.with_flat(f)),
        }
    }
}

/// A loss of the sigmoid family, with targets and weights. Both have the shape of the logits, one row after the other.
#[derive(Clone, Copy, Debug)]
pub struct PointObjective<'a, T, L> {
    /// The loss of a point.
    pub loss: L,
    /// One target per point, in the domain of the loss or equal to the ignored one.
    pub target: PointNumbers<'a, T>,
    /// One weight per point; all 1 if absent.
    pub sample_weight: Option<&'a [T]>,
    /// A point with this target has loss 0, weight 0 and gradient 0, whatever its logit.
    pub ignored: Option<T>,
}

impl<T: Real, L: PointLoss<T>> PointObjective<'_, T, L> {
    /// Calls `f` with the targets and weights of `len` points from point `first` on.
    #[inline(always)]
    fn part<R>(&self, isa: Isa, first: usize, len: usize, f: impl FnOnce(Part<'_, T, L>) -> R) -> R {
        self.target.part(isa, first, len, |target| f(Part::of(self, first, target)))
    }
}

impl<T: Real, L: PointLoss<T>> Objective<T> for PointObjective<'_, T, L> {
    fn inputs(&self) -> (&'static str, Domain) {
        (L::NAME, L::INPUTS)
    }

    fn check(&self, rows: usize, classes: usize) -> Result<()> {
        self.target.check("target", rows, classes)?;
        self.sample_weight.map_or(Ok(()), |weights| check_weights("sample_weight", weights, &[rows, classes]))
    }

    fn check_targets(&self, isa: Isa) -> Result<()> {
        let len = self.target.len();
        first_error(len, parallel::block_rows(1), len, |first, points| {
            self.part(isa, first, points, |part| {
                check_domain(isa, "target", L::TARGETS, self.ignored, part.target).map_err(|error| error.moved(first))
            })
        })
    }

    fn counts(&self, isa: Isa, row: usize, classes: usize) -> bool {
        (self.sample_weight.is_none() && self.ignored.is_none())
            || self.part(isa, row * classes, classes, |Part { target, sample_weight, ignored, .. }| {
                let weight = |point: usize| sample_weight.map_or(T::ONE, |weights| weights[point]);
                (0..classes).any(|point| weight(point) != T::ZERO && target[point] != ignored)
            })
    }

    fn losses_per_row(&self, classes: usize) -> usize {
        classes
    }

    fn divisor(&self, isa: Isa, rows: usize, classes: usize) -> f64 {
        let (len, size) = (rows * classes, parallel::block_rows(1));
        if self.sample_weight.is_none() && self.ignored.is_none() {
            return len as f64;
        }
        let blocks = (0..len.div_ceil(size)).map(|b| b * size..len.min((b + 1) * size));
        parallel::sum(blocks, len, |points| {
            let sample_weight = self.sample_weight.map(|weights| &weights[points.clone()]);
            match self.ignored {
                Some(ignored) => {
                    self.part(isa, points.start, points.len(), |Part { target, sample_weight, .. }| {
                        T::dispatch(isa, Kept { target, sample_weight, ignored })
                    })
                }
                None => T::dispatch(isa, Total { weights: sample_weight.unwrap_or_default() }),
            }
        })
    }

    fn value(&self, isa: Isa, first: usize, logits: Rows<'_, T>, each: Option<&mut [T]>) -> f64 {
        let classes = logits.columns();
        self.part(isa, first * classes, logits.rows() * classes, |part| {
            logits.with_flat(|logits| T::dispatch(isa, PointValues { part, logits, each }))
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
        let classes = rows.columns();
        let (first, len) = (first * classes, rows.rows() * classes);
        let scale = scale.part(first, len);
        self.part(isa, first, len, |part| T::dispatch(isa, PointGrads { part, points: rows.flat(), scale, each }))
    }
}

impl<T: Real, L: PointHess<T>> CurvedObjective<T> for PointObjective<'_, T, L> {
    fn value_grad_hess(
        &self,
        isa: Isa,
        first: usize,
        mut rows: RowsIo<'_, T>,
        (hess, hess_scale): (&mut [T], HessScale),
        scale: GradScale<'_, T>,
        each: Option<&mut [T]>,
    ) -> f64 {
        let classes = rows.columns();
        let (first, len) = (first * classes, rows.rows() * classes);
        let scale = scale.part(first, len);
        self.part(isa, first, len, |part| {
            T::dispatch(isa, PointHessians { part, points: rows.flat(), hess: (hess, hess_scale), scale, each })
        })
    }

    fn raise(&self, isa: Isa, first: usize, classes: usize, hess: &mut [T], least: T) {
        self.part(isa, first * classes, hess.len(), |part| T::dispatch(isa, Raise { part, hess, least }));
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
        row_total(s, self.weights, T::ZERO, inlined!(|_, w| w))
    }
}

/// The sum of the weights of all points that are not ignored; their number if there are no weights.
struct Kept<'k, T> {
    target: &'k [T],
    sample_weight: Option<&'k [T]>,
    ignored: T,
}

impl<T: Real> Kernel<T> for Kept<'_, T> {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) -> f64 {
        let (one, ignored) = (s.splat(T::ONE), s.splat(self.ignored));
        row_total(
            s,
            self.target,
            self.ignored,
            inlined!(|i, t| {
                let weight = match self.sample_weight {
                    Some(weights) => read(s, weights, i, T::ZERO),
                    None => one,
                };
                weight.zero_where(t.eq(ignored))
            }),
        )
    }
}

/// Loss, targets and weights of a block of points.
struct Part<'k, T, L> {
    loss: &'k L,
    target: &'k [T],
    sample_weight: Option<&'k [T]>,
    /// NaN, which equals no number, if nothing is ignored: arithmetic costs less than a branch in every loop.
    ignored: T,
}

impl<'k, T: Real, L: PointLoss<T>> Part<'k, T, L> {
    fn of(objective: &'k PointObjective<'_, T, L>, first: usize, target: &'k [T]) -> Self {
        Part {
            loss: &objective.loss,
            target,
            sample_weight: objective.sample_weight.map(|weights| &weights[first..first + target.len()]),
            ignored: objective.ignored.unwrap_or(T::NAN),
        }
    }

    /// A register of points, with what the loss has begun with.
    #[inline(always)]
    fn points<S: Simd<T>>(&self, s: S, at: Offset, inputs: &[T], begun: S::V) -> Points<S::V> {
        let (x, target) = (at.read(s, inputs, T::ZERO), at.read(s, self.target, T::ZERO));
        Points { first: at.first(s), x, begun, target }
    }

    /// A register of losses or derivatives, weighted. A point that is ignored or has weight 0 gives 0, whatever its
    /// value.
    #[inline(always)]
    fn weighted<S: Simd<T>>(&self, s: S, at: Offset, target: S::V, v: S::V) -> S::V {
        let (mut v, zero) = (v, s.splat(T::ZERO));
        if let Some(weights) = self.sample_weight {
            let w = at.read(s, weights, T::ZERO);
            v = (v * w).zero_where(w.eq(zero));
        }
        v.zero_where(target.eq(s.splat(self.ignored)))
    }

    /// A register of losses, weighted. A target or input outside its domain gives NaN, so that the sum reveals it.
    #[inline(always)]
    fn losses<S: Simd<T>>(&self, s: S, at: Offset, points: Points<S::V>, losses: S::V) -> S::V {
        let (nan, target) = (s.splat(T::NAN), points.target);
        let mut losses = self.weighted(s, at, target, losses);
        let kept = target.zero_where(target.eq(s.splat(self.ignored)));
        losses = S::V::select(L::TARGETS.excludes(s, kept), nan, losses);
        if L::INPUTS != Domain::Reals {
            losses = S::V::select(L::INPUTS.excludes(s, points.x), nan, losses);
        }
        losses
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
        sum_registers_in_two(
            s,
            [logits.len(), short(s, BLOCK)],
            &mut each,
            L::BEGINS,
            inlined!(|_, at| L::begin(s, at.read(s, logits, T::ZERO))),
            inlined!(|each, at, begun| {
                let points = part.points(s, at, logits, begun);
                let loss = part.losses(s, at, points, part.loss.value(s, points));
                if let Some(each) = each {
                    at.write(s, loss, each);
                }
                loss
            }),
        )
    }
}

/// The losses and gradients of a block of points.
struct PointGrads<'k, T, L> {
    part: Part<'k, T, L>,
    points: RowIo<'k, T>,
    scale: GradScale<'k, T>,
    each: Option<&'k mut [T]>,
}

impl<T: Real, L: PointLoss<T>> Kernel<T> for PointGrads<'_, T, L> {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) -> f64 {
        let PointGrads { part, points, scale, each } = self;
        let scale = scale.of_points(s);
        sum_registers_in_two(
            s,
            [points.source().len(), short(s, BLOCK)],
            &mut (points, each),
            L::BEGINS,
            inlined!(|(io, _), at| L::begin(s, at.read(s, io.source(), T::ZERO))),
            inlined!(|(io, each), at, begun| {
                let points = part.points(s, at, io.source(), begun);
                let (loss, grad) = part.loss.value_and_grad(s, points);
                let grad = scale.first(s, inlined!(|upstream| at.read(s, upstream, T::ZERO)), grad);
                at.write(s, part.weighted(s, at, points.target, grad) * scale.last, io.output());
                let loss = part.losses(s, at, points, loss);
                if let Some(each) = each {
                    at.write(s, loss, each);
                }
                loss
            }),
        )
    }
}

/// The losses, gradients and second derivatives of a block of points.
struct PointHessians<'k, T, L> {
    part: Part<'k, T, L>,
    points: RowIo<'k, T>,
    hess: (&'k mut [T], HessScale),
    scale: GradScale<'k, T>,
    each: Option<&'k mut [T]>,
}

impl<T: Real, L: PointHess<T>> Kernel<T> for PointHessians<'_, T, L> {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) -> f64 {
        let PointHessians { part, points, hess: (hess, HessScale { divisor, is_convex }), scale, each } = self;
        let (scale, hess_scale) = (scale.of_points(s), s.splat(T::from_f64(1.0 / divisor)));
        sum_registers_in_two(
            s,
            [points.source().len(), short(s, BLOCK)],
            &mut (points, hess, each),
            L::BEGINS,
            inlined!(|(io, ..), at| L::begin(s, at.read(s, io.source(), T::ZERO))),
            inlined!(|(io, hess, each), at, begun| {
                let points = part.points(s, at, io.source(), begun);
                let [loss, grad, curvature] = part.loss.value_grad_hess(s, points, is_convex);
                let grad = scale.first(s, inlined!(|upstream| at.read(s, upstream, T::ZERO)), grad);
                at.write(s, part.weighted(s, at, points.target, grad) * scale.last, io.output());
                at.write(s, part.weighted(s, at, points.target, curvature) * hess_scale, hess);
                let loss = part.losses(s, at, points, loss);
                if let Some(each) = each {
                    at.write(s, loss, each);
                }
                loss
            }),
        )
    }
}

/// Raises second derivatives, but for points that do not count.
struct Raise<'k, T, L> {
    part: Part<'k, T, L>,
    hess: &'k mut [T],
    least: T,
}

impl<T: Real, L: PointLoss<T>> Kernel<T> for Raise<'_, T, L> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        let Raise { part, hess, least } = self;
        let (zero, least) = (s.splat(T::ZERO), s.splat(least));
        let (one, ignored) = (s.splat(T::ONE), s.splat(part.ignored));
        RowIo::in_place(hess).map(
            s,
            T::ZERO,
            inlined!(|i, h| {
                let weight = part.sample_weight.map_or(one, |weights| read(s, weights, i, T::ZERO));
                // `max` keeps a NaN on its right side.
                let raised = S::V::select(weight.eq(zero), h, least.max(h));
                S::V::select(read(s, part.target, i, T::ZERO).eq(ignored), h, raised)
            }),
        );
    }
}
