//! What the target of a row, its class weights and the smoothing make of it: a weight `u_k` a class.
//!
//! `u` has two parts. The *listed* one is a few classes and their shares: a class, or the pairs of a sparse distribution. The
//! *dense* one is over all classes: a distribution, and what smoothing spreads. A loss takes the listed part from single
//! logits, and the dense part, where there is one, in the sweep that sums the exponentials ([`Gaps`]).

use super::RowTarget;
use crate::math::Real;
use crate::rows::{RowSum, Watch};
use crate::simd::{Lanes, Simd, fold, position, read};

/// `u_k = w_k (keep t_k + spread)`: every kind of target, smoothed and weighted.
#[derive(Clone, Copy)]
pub(super) struct RowWeights<'a, T> {
    pub(super) class_weight: Option<&'a [T]>,
    pub(super) target: RowTarget<'a, T>,
    pub(super) keep: f64,
    pub(super) spread: f64,
    /// `U = sum_k u_k`
    pub(super) total: f64,
}

impl<'a, T: Real> RowWeights<'a, T> {
    /// Whether there is a dense part.
    #[inline(always)]
    pub(super) fn is_dense(&self) -> bool {
        self.spread != 0.0 || matches!(self.target, RowTarget::Distribution(_))
    }

    /// The dense part of each class, where it is the same for all, or where there is none.
    #[inline(always)]
    pub(super) fn uniform(&self) -> Option<f64> {
        match (self.class_weight, self.target) {
            _ if !self.is_dense() => Some(0.0),
            (Some(_), _) | (None, RowTarget::Distribution(_)) => None,
            (None, _) => Some(self.spread),
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
        self.class_weight(k) * (self.keep * t + self.spread)
    }

    /// The dense part of `u_k`.
    #[inline(always)]
    pub(super) fn dense_at(&self, k: usize) -> f64 {
        let t = if let RowTarget::Distribution(t) = self.target { t[k].to_f64() } else { 0.0 };
        self.class_weight(k) * (self.keep * t + self.spread)
    }

    /// The register of the dense part that starts at class `k`, times `scale`.
    #[inline(always)]
    pub(super) fn register<S: Simd<T>>(&self, s: S, k: usize, scale: f64) -> S::V {
        let mut u = s.splat(T::from_f64(scale * self.spread));
        if let RowTarget::Distribution(t) = self.target {
            u = read(s, t, k, T::ZERO).mul_add(s.splat(T::from_f64(scale * self.keep)), u);
        }
        match self.class_weight {
            Some(w) => u * read(s, w, k, T::ZERO),
            None => u,
        }
    }

    /// How long the list is.
    #[inline(always)]
    pub(super) fn pairs(&self) -> usize {
        match self.target {
            RowTarget::Class(_) => 1,
            RowTarget::Distribution(_) => 0,
            RowTarget::Sparse(pairs) => pairs.len(),
        }
    }

    /// A class of the list and its share; `None` where that is 0.
    #[inline(always)]
    pub(super) fn pair(&self, pair: usize) -> Option<(usize, f64)> {
        let (class, t) = match self.target {
            RowTarget::Class(y) => (y, 1.0),
            RowTarget::Distribution(_) => return None,
            RowTarget::Sparse(pairs) => pairs.get(pair)?,
        };
        let u = self.keep * t * self.class_weight(class);
        (u != 0.0).then_some((class, u))
    }

    /// The list, held against the logits, `logit(class)`; `None` where no class of it has a share.
    #[inline(always)]
    pub(super) fn listed(&self, logit: impl Fn(usize) -> T) -> Option<Listed<T>> {
        if let RowTarget::Class(y) = self.target {
            let own = self.keep * self.class_weight(y);
            return (own != 0.0).then(|| Listed { class: y, logit: logit(y), own, others: 0.0, below: 0.0 });
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
        // 2. its share, which may come in pieces, and how far below the others are
        let (top, largest) = top?;
        let mut listed = Listed { class: top, logit: largest, own: 0.0, others: 0.0, below: 0.0 };
        for pair in 0..self.pairs() {
            if let Some((class, u)) = self.pair(pair) {
                let part = if class == top { &mut listed.own } else { &mut listed.others };
                *part += u;
                let z = logit(class);
                if z != largest {
                    listed.below += u * (largest.to_f64() - z.to_f64());
                }
            }
        }
        Some(listed)
    }
}

/// The listed part of a row.
#[derive(Clone, Copy)]
pub(super) struct Listed<T> {
    /// The class with the largest logit.
    pub(super) class: usize,
    pub(super) logit: T,
    /// Its share.
    pub(super) own: f64,
    /// The shares of all others.
    pub(super) others: f64,
    /// `sum_j u_j (logit - z_j)`
    pub(super) below: f64,
}

impl<T: Real> Listed<T> {
    /// `sum_j u_j (m - z_j)`
    #[inline(always)]
    pub(super) fn cost(self, sum: RowSum<T>) -> f64 {
        (self.own + self.others) * sum.gap(self.logit) + self.below
    }
}

/// `sum_k u_k (max - z_k)` over the dense part, in the sweep that finds the maximum: no term is negative, and when the
/// maximum rises all gaps grow by as much.
pub(super) struct Gaps<'w, 'a, T> {
    weights: &'w RowWeights<'a, T>,
    /// Where the weights are all the same they are multiplied at the end.
    factor: f64,
    sum: f64,
    /// The weights so far.
    mass: f64,
    max: T,
    wants_top: bool,
    /// Where the maximum is, for a gradient.
    pub(super) top: Option<usize>,
}

impl<'w, 'a, T: Real> Gaps<'w, 'a, T> {
    #[inline(always)]
    pub(super) fn of(weights: &'w RowWeights<'a, T>, wants_top: bool) -> Self {
        let factor = weights.uniform().unwrap_or(1.0);
        Gaps { weights, factor, sum: 0.0, mass: 0.0, max: -T::INFINITY, wants_top, top: None }
    }

    /// The sum over the whole row.
    #[inline(always)]
    pub(super) fn total(&self) -> f64 {
        self.factor * self.sum
    }
}

impl<T: Real> Watch<T> for Gaps<'_, '_, T> {
    #[inline(always)]
    fn block<S: Simd<T>>(&mut self, s: S, start: usize, logits: &[T], max: T) {
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
        // A partial register is filled up with the maximum, whose gap is 0.
        if self.weights.uniform().is_some() && max.to_f64().is_finite() {
            let [a, b, c, d] = fold::<4, _, _, _>(
                s,
                logits,
                max,
                zero,
                #[inline(always)]
                |sum, _, z| sum + (top - z),
            );
            self.sum += ((a + b) + (c + d)).sum().to_f64();
            self.mass += logits.len() as f64;
            return;
        }
        // A class without weight costs nothing, be it -inf.
        let unit = 1.0 / self.factor;
        let [(a, m), (b, n)] = fold::<2, _, _, _>(
            s,
            logits,
            max,
            (zero, zero),
            #[inline(always)]
            |(sum, mass), i, z| {
                let u = self.weights.register(s, start + i, unit);
                let gap = S::V::select(z.eq(top), zero, S::V::select(u.eq(zero), zero, u * (top - z)));
                (sum + gap, mass + u)
            },
        );
        self.sum += (a + b).sum().to_f64();
        self.mass += (m + n).sum().to_f64();
    }
}
