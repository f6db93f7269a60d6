//! Rows one at a time.

use super::{RowObjective, Targets, target_row};
use crate::api::{GradScale, HessScale};
use crate::losses::{CurvedRowLoss, RowLoss, RowTarget};
use crate::math::Real;
use crate::rows::{Logits, LogitsIo};
use crate::simd::{Kernel, RowIo, Simd, split};
use crate::sparse::Pairs;
use crate::view::{Rows, RowsIo};

/// The losses of a block of rows.
pub(super) struct RowValues<'k, 'a, T, L> {
    pub(super) objective: &'k RowObjective<'a, T, L>,
    pub(super) first: usize,
    pub(super) logits: Rows<'k, T>,
    pub(super) scratch: &'k mut [T],
    pub(super) each: Option<&'k mut [T]>,
}

impl<T: Real, L: RowLoss<T>> Kernel<T> for RowValues<'_, '_, T, L> {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) -> f64 {
        let RowValues { objective, first, logits, scratch, mut each } = self;
        let (rows, classes, map) = (logits.rows(), logits.columns(), objective.loss.logit_map());
        let mut total = 0.0;
        let scratch = Scratch::of(objective, classes, 0, scratch);
        for i in 0..rows {
            let weight = objective.sample_weight(first + i);
            let loss = match objective.target(first + i) {
                Some(target) if weight != 0.0 => {
                    let target = densified(target, scratch.dense);
                    weight * objective.loss.value(s, Logits::new(logits.row(i), map, scratch.mapped), target)
                }
                _ => 0.0,
            };
            if let Some(each) = &mut each {
                each[i] = T::from_f64(loss);
            }
            total += loss;
        }
        total
    }
}

/// The losses and gradients of a block of rows.
pub(super) struct RowGrads<'k, 'a, T, L> {
    pub(super) objective: &'k RowObjective<'a, T, L>,
    pub(super) first: usize,
    pub(super) rows: RowsIo<'k, T>,
    pub(super) scratch: &'k mut [T],
    pub(super) scale: GradScale<'k, T>,
    pub(super) each: Option<&'k mut [T]>,
}

impl<T: Real, L: RowLoss<T>> Kernel<T> for RowGrads<'_, '_, T, L> {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) -> f64 {
        let RowGrads { objective, first, mut rows, scratch, scale, mut each } = self;
        let (count, classes, map) = (rows.rows(), rows.columns(), objective.loss.logit_map());
        let left_out = objective.loss.left_out();
        let scale = scale.divided(map.temperature() * left_out.map_or(1.0, |[factor, _]| factor));
        let mut total = 0.0;
        let streams = rows.scratch_len();
        let scratch = Scratch::of(objective, classes, streams, scratch);
        for i in 0..count {
            let weight = objective.sample_weight(first + i);
            let Some(target) = objective.target(first + i).filter(|_| weight != 0.0) else {
                target_row(&mut rows, i).fill(T::ZERO);
                continue;
            };
            let (target, factor) = (densified(target, scratch.dense), scale.of(first + i, weight));
            let row = LogitsIo::new(rows.row(i, scratch.streamed), map, scratch.slopes);
            let loss = weight * objective.loss.value_and_grad(s, row, target, factor);
            if let Some(left_out) = left_out {
                apply(left_out, target_row(&mut rows, i));
            }
            if scale.is_zero(first + i) {
                target_row(&mut rows, i).fill(T::ZERO);
            }
            if let Some(each) = &mut each {
                each[i] = T::from_f64(loss);
            }
            total += loss;
        }
        total
    }
}

/// Multiplies and divides derivatives by what kernels have left out, in double precision.
#[cold]
#[inline(never)]
fn apply<T: Real>([factor, divisor]: [f64; 2], derivatives: &mut [T]) {
    for derivative in derivatives {
        *derivative = T::from_f64(derivative.to_f64() * factor / divisor);
    }
}

/// The diagonals of the Hessians of a block of rows.
pub(super) struct RowHesses<'k, 'a, T, L> {
    pub(super) objective: &'k RowObjective<'a, T, L>,
    pub(super) first: usize,
    pub(super) logits: Rows<'k, T>,
    pub(super) scratch: &'k mut [T],
    pub(super) hess: &'k mut [T],
    pub(super) scale: HessScale,
}

impl<T: Real, L: CurvedRowLoss<T>> Kernel<T> for RowHesses<'_, '_, T, L> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        let RowHesses { objective, first, logits, scratch, hess, scale: HessScale { divisor, is_convex } } = self;
        let (classes, map) = (logits.columns(), objective.loss.logit_map());
        let scratch = Scratch::of(objective, classes, 0, scratch);
        for i in 0..logits.rows() {
            let weight = objective.sample_weight(first + i);
            let hess = &mut hess[i * classes..][..classes];
            match objective.target(first + i) {
                Some(target) if weight != 0.0 => {
                    let (target, scale) =
                        (densified(target, scratch.dense), weight / (divisor * map.temperature().powi(2)));
                    let logits = if map.is_identity() {
                        logits.row(i)
                    } else {
                        let map = map.of_row(logits.row(i));
                        map.row(s, 0, &mut RowIo::new(logits.row(i), scratch.mapped), &mut []);
                        &*scratch.mapped
                    };
                    objective.loss.hess(s, logits, target, (scale, is_convex), hess);
                    // Of the logits before the map, whose derivative enters twice.
                    if let Some([_, divisor]) = objective.loss.left_out() {
                        apply([1.0, divisor], hess);
                        apply([1.0, divisor], hess);
                    }
                }
                _ => hess.fill(T::ZERO),
            }
        }
    }
}

/// The scratch buffers of a row; buffers that are not needed are empty.
pub(super) struct Scratch<'k, T> {
    /// The mapped logits.
    mapped: &'k mut [T],
    /// The slope of the map at each logit.
    slopes: &'k mut [T],
    /// See [`RowIo::streaming`].
    streamed: &'k mut [T],
    /// A sparse target, made dense.
    dense: &'k mut [T],
}

impl<'k, T: Real> Scratch<'k, T> {
    fn lens<L: RowLoss<T>>(objective: &RowObjective<'_, T, L>, classes: usize, streams: usize) -> [usize; 4] {
        let (map, sparse) = (objective.loss.logit_map(), matches!(objective.target, Targets::Sparse(_)));
        let row = |wanted| if wanted { classes } else { 0 };
        [row(!map.is_identity()), row(map.has_softcap()), streams, row(sparse && L::DENSE_TARGETS)]
    }

    pub(super) fn len<L: RowLoss<T>>(objective: &RowObjective<'_, T, L>, classes: usize, streams: usize) -> usize {
        Self::lens(objective, classes, streams).into_iter().sum()
    }

    fn of<L: RowLoss<T>>(
        objective: &RowObjective<'_, T, L>,
        classes: usize,
        streams: usize,
        scratch: &'k mut [T],
    ) -> Self {
        let [mapped, slopes, streamed, dense] = split(scratch, Self::lens(objective, classes, streams));
        Scratch { mapped, slopes, streamed, dense }
    }
}

/// A sparse target as a distribution over all classes, if `dense` has space for it.
#[inline(always)]
fn densified<'t, T: Real>(target: RowTarget<'t, T>, dense: &'t mut [T]) -> RowTarget<'t, T> {
    match target {
        RowTarget::Sparse(pairs) if !dense.is_empty() => {
            add_pairs(pairs, dense);
            RowTarget::Distribution(dense)
        }
        other => other,
    }
}

#[inline(never)]
fn add_pairs<T: Real>(pairs: Pairs<'_, T>, dense: &mut [T]) {
    dense.fill(T::ZERO);
    for pair in 0..pairs.len() {
        if let Some((class, t)) = pairs.get(pair) {
            dense[class] = dense[class] + T::from_f64(t);
        }
    }
}
