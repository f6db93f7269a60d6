//! The weight `u_k` of each class of a row, from its target, the class weights and the smoothing.
//!
//! `u` has two parts. The *sparse* part holds a few classes and their weights: a class, or the pairs of a sparse
//! distribution. The *dense* part covers all classes: a distribution, and the uniform share of smoothing. A loss
//! computes the sparse part from single logits, and the dense part, if there is one, in the sweep that sums the
//! exponentials ([`Margins`]).

use super::RowTarget;
use crate::math::Real;
use crate::rows::{RowSum, Watch};
use crate::simd::{Lanes, Simd, fold, inlined, position, read};

/// `u_k = w_k (kept t_k + uniform)`, with `kept = 1 - eps` and `uniform = eps sum(t) / c`.
#[derive(Clone, Copy)]
pub(super) struct TargetWeights<'a, T> {
    pub(super) class_weight: Option<&'a [T]>,
    pub(super) target: RowTarget<'a, T>,
    pub(super) kept: f64,
    pub(super) uniform: f64,
    /// `U = sum_k u_k`
    pub(super) total: f64,
}

impl<'a, T: Real> TargetWeights<'a, T> {
    /// Whether there is a dense part.
    #[inline(always)]
    pub(super) fn is_dense(&self) -> bool {
        self.uniform != 0.0 || matches!(self.target, RowTarget::Distribution(_))
    }

    /// The dense part of every class, if it is the same for all; 0 if there is no dense part.
    #[inline(always)]
    pub(super) fn uniform_part(&self) -> Option<f64> {
        match (self.class_weight, self.target) {
            _ if !self.is_dense() => Some(0.0),
            (Some(_), _) | (None, RowTarget::Distribution(_)) => None,
            (None, _) => Some(self.uniform),
        }
    }

    #[inline(always)]
    fn class_weight(&self, k: usize) -> f64 {
        self.class_weight.map_or(1.0, |w| w[k].to_f64())
    }

    /// `u_k`
    #[inline(always)]
    pub(super) fn at(&self, k: usize) -> f64 {
        let t = match self.target {
            RowTarget::Class(y) => f64::from(u8::from(y == k)),
            RowTarget::Distribution(t) => t[k].to_f64(),
            RowTarget::Sparse(pairs) => {
                let mut sum = 0.0;
                for pair in 0..pairs.len() {
                    sum += pairs.get(pair).map_or(0.0, |(class, t)| if class == k { t } else { 0.0 });
                }
                sum
            }
        };
        self.class_weight(k) * (self.kept * t + self.uniform)
    }

    /// The dense part of `u_k`.
    #[inline(always)]
    pub(super) fn dense_at(&self, k: usize) -> f64 {
        let t = if let RowTarget::Distribution(t) = self.target { t[k].to_f64() } else { 0.0 };
        self.class_weight(k) * (self.kept * t + self.uniform)
    }

    /// The register of the dense part that starts at class `k`, times `scale`.
    #[inline(always)]
    pub(super) fn register<S: Simd<T>>(&self, s: S, k: usize, scale: f64) -> S::V {
        let mut u = s.splat(T::from_f64(scale * self.uniform));
        if let RowTarget::Distribution(t) = self.target {
            u = read(s, t, k, T::ZERO).mul_add(s.splat(T::from_f64(scale * self.kept)), u);
        }
        match self.class_weight {
            Some(w) => u * read(s, w, k, T::ZERO),
            None => u,
        }
    }

    /// The number of classes in the sparse part.
    #[inline(always)]
    pub(super) fn pairs(&self) -> usize {
        match self.target {
            RowTarget::Class(_) => 1,
            RowTarget::Distribution(_) => 0,
            RowTarget::Sparse(pairs) => pairs.len(),
        }
    }

    /// A class of the sparse part and its weight; `None` if the weight is 0.
    #[inline(always)]
    pub(super) fn pair(&self, pair: usize) -> Option<(usize, f64)> {
        let (class, t) = match self.target {
            RowTarget::Class(y) => (y, 1.0),
            RowTarget::Distribution(_) => return None,
            RowTarget::Sparse(pairs) => pairs.get(pair)?,
        };
        let u = self.kept * t * self.class_weight(class);
        (u != 0.0).then_some((class, u))
    }

    /// The sparse part, with the logits `logit(class)`; `None` if all its weights are 0.
    #[inline(always)]
    pub(super) fn sparse_part(&self, logit: impl Fn(usize) -> T) -> Option<SparsePart<T>> {
        if let RowTarget::Class(y) = self.target {
            let weight = self.kept * self.class_weight(y);
            return (weight != 0.0).then(|| SparsePart { class: y, logit: logit(y), weight, others: 0.0, below: 0.0 });
        }
        // 1. the class with the largest logit
        let mut top: Option<(usize, T)> = None;
        for pair in 0..self.pairs() {
            if let Some((class, _)) = self.pair(pair) {
                let z = logit(class);
                if top.is_none_or(|(_, largest)| z > largest) {
                    top = Some((class, z));
                }
            }
        }
        // 2. its weight, which may be the sum of several pairs, and the margins of the other classes below it
        let (top, largest) = top?;
        let mut sparse = SparsePart { class: top, logit: largest, weight: 0.0, others: 0.0, below: 0.0 };
        for pair in 0..self.pairs() {
            if let Some((class, u)) = self.pair(pair) {
                let part = if class == top { &mut sparse.weight } else { &mut sparse.others };
                *part += u;
                let z = logit(class);
                if z != largest {
                    sparse.below += u * (largest.to_f64() - z.to_f64());
                }
            }
        }
        Some(sparse)
    }
}

/// The sparse part of a row: its class with the largest logit, and sums over its other classes.
#[derive(Clone, Copy)]
pub(super) struct SparsePart<T> {
    pub(super) class: usize,
    pub(super) logit: T,
    pub(super) weight: f64,
    /// The total weight of the other classes.
    pub(super) others: f64,
    /// `sum_j u_j (logit - z_j)`
    pub(super) below: f64,
}

impl<T: Real> SparsePart<T> {
    /// `sum_j u_j (m - z_j)`
    #[inline(always)]
    pub(super) fn cost(self, sum: RowSum<T>) -> f64 {
        (self.weight + self.others) * sum.margin(self.logit) + self.below
    }
}

/// `sum_k u_k (max - z_k)` over the dense part, in the sweep that finds the maximum. No term is negative; when the
/// maximum rises, all margins grow by the same amount.
pub(super) struct Margins<'w, 'a, T> {
    weights: &'w TargetWeights<'a, T>,
    /// The weight, if it is the same for all classes: it is applied at the end. Else 1.
    factor: f64,
    sum: f64,
    /// The sum of the weights so far.
    mass: f64,
    max: T,
    wants_top: bool,
    /// The index of the maximum, for a gradient.
    pub(super) top: Option<usize>,
}

impl<'w, 'a, T: Real> Margins<'w, 'a, T> {
    #[inline(always)]
    pub(super) fn of(weights: &'w TargetWeights<'a, T>, wants_top: bool) -> Self {
        let factor = weights.uniform_part().unwrap_or(1.0);
        Margins { weights, factor, sum: 0.0, mass: 0.0, max: -T::INFINITY, wants_top, top: None }
    }

    /// The sum over the whole row.
    #[inline(always)]
    pub(super) fn total(&self) -> f64 {
        self.factor * self.sum
    }
}

impl<T: Real> Watch<T> for Margins<'_, '_, T> {
    #[inline(always)]
    fn block<S: Simd<T>>(&mut self, s: S, start: usize, logits: &[T], max: T) {
        if !self.weights.is_dense() {
            return;
        }
        if max > self.max {
            if self.mass > 0.0 {
                self.sum += self.mass * (max.to_f64() - self.max.to_f64());
            }
            self.max = max;
            if self.wants_top {
                self.top = position(s, logits, max).map(|k| start + k);
            }
        }
        let (zero, top) = (s.splat(T::ZERO), s.splat(max));
        // A partial register is filled with the maximum, whose margin is 0.
        if self.weights.uniform_part().is_some() && max.to_f64().is_finite() {
            let [a, b, c, d] = fold::<4, _, _, _>(s, logits, max, zero, inlined!(|sum, _, z| sum + (top - z)));
            self.sum += ((a + b) + (c + d)).sum().to_f64();
            self.mass += logits.len() as f64;
            return;
        }
        // A class of weight 0 contributes 0, even at a logit of -inf.
        let unit = 1.0 / self.factor;
        let [(a, m), (b, n)] = fold::<2, _, _, _>(
            s,
            logits,
            max,
            (zero, zero),
            inlined!(|(sum, mass), i, z| {
                let u = self.weights.register(s, start + i, unit);
                let margin = (u * (top - z)).zero_where(u.eq(zero)).zero_where(z.eq(top));
                (sum + margin, mass + u)
            }),
        );
        self.sum += (a + b).sum().to_f64();
        self.mass += (m + n).sum().to_f64();
    }
}
