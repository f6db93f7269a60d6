//! Groups of rows of few classes, a row a lane.

use super::SoftmaxFocalLoss;
use crate::columns::Columns;
use crate::losses::softmax_cross_entropy::grad_across;
use crate::losses::{Group, GroupLoss};
use crate::math::{Real, exp, log1p};
use crate::simd::{Lanes, MAX_LANES, Simd};

impl<T: Real> GroupLoss<T> for SoftmaxFocalLoss<'_, T> {
    #[inline(always)]
    fn goes_across(&self, classes: usize) -> bool {
        self.cross_entropy.goes_across(classes)
    }

    #[inline(always)]
    fn spreads_classes(&self) -> bool {
        self.cross_entropy.wants_gaps()
    }

    #[inline(always)]
    fn weighs_across(&self, classes: usize) -> bool {
        self.cross_entropy.weighs_across(classes)
    }

    #[inline(always)]
    fn weigh_across<S: Simd<T>>(&self, s: S, targets: &mut Columns<'_, T>) -> S::V {
        self.cross_entropy.weigh_across(s, targets)
    }

    #[inline(always)]
    fn reweighs(&self) -> bool {
        true
    }

    #[inline(always)]
    fn reweigh_across<S: Simd<T>>(
        &self,
        s: S,
        logits: &Columns<'_, T>,
        exponentials: &Columns<'_, T>,
        weights: &mut Columns<'_, T>,
        group: &mut Group<S::V>,
    ) {
        let (zero, sums, gamma) = (s.splat(T::ZERO), group.sums, s.splat(T::from_f64(self.gamma)));
        let log_partition = log1p(s, sums.rest);
        // The power of the largest class; others are as large only where its probability is at most 1/2.
        let peak = self.powers(s, sums.probability(s, sums.exponential_of_max()).1);
        let (mut loss, mut total) = (zero, zero);
        for k in 0..weights.classes() {
            let (u, z) = (weights.column(s, k), logits.column(s, k));
            let is_max = z.eq(sums.max);
            let (p, q) = sums.probability(s, exponentials.column(s, k));
            let cost = log_partition + S::V::select(is_max, zero, sums.max - z);
            let power = match self.whole() {
                Some(_) => self.powers(s, q),
                None => S::V::select(is_max, peak, exp(s, gamma * log1p(s, zero - p))),
            };
            let (own_loss, slope) = self.focus_lanes(s, power, p, q, cost);
            let is_idle = u.eq(zero);
            loss = loss + S::V::select(is_idle, zero, u * own_loss);
            let v = S::V::select(is_idle, zero, u * slope);
            total = total + v;
            weights.set_column(s, k, v);
        }
        (group.gaps, group.total) = (loss + S::V::select(sums.rest.eq(sums.rest), zero, sums.rest), total);
    }

    #[inline(always)]
    fn soft_value_across<S: Simd<T>>(&self, s: S, group: &Group<S::V>) -> S::V {
        let (zero, log_partition) = (s.splat(T::ZERO), log1p(s, group.sums.rest));
        let loss = group.gaps + self.cross_entropy.z_across(s, group, log_partition).0;
        S::V::select(group.weight.eq(zero), zero, group.weight * loss)
    }

    #[inline(always)]
    fn soft_value_and_grad_across<S: Simd<T>>(
        &self,
        s: S,
        exponentials: &mut Columns<'_, T>,
        weights: &Columns<'_, T>,
        group: &Group<S::V>,
        divisor: T,
        grad: &mut [T],
    ) -> S::V {
        // The gradient is that of cross-entropy with the weights v.
        self.cross_entropy.soft_value_and_grad_across(s, exponentials, weights, group, divisor, grad);
        self.soft_value_across(s, group)
    }

    #[inline(always)]
    fn value_across<S: Simd<T>>(&self, s: S, group: &Group<S::V>) -> S::V {
        self.focus_across(s, group).0
    }

    #[inline(always)]
    fn value_and_grad_across<S: Simd<T>>(
        &self,
        s: S,
        exponentials: &mut Columns<'_, T>,
        group: &Group<S::V>,
        divisor: T,
        grad: &mut [T],
    ) -> S::V {
        let (losses, slopes) = self.focus_across(s, group);
        let (slopes, q) = (slopes / s.splat(divisor), group.sums.complement(s));
        if !self.cross_entropy.has_z_loss() {
            grad_across(s, exponentials, group, slopes, grad);
            return losses;
        }
        // w A (p_k - [k = y]) + pull p_k, of the labelled class from the complement
        let pull = self.cross_entropy.pull_across(s, group, divisor);
        let own = pull.force * (s.splat(T::ONE) - q) - slopes * q;
        let weight = self.cross_entropy.group_weight(s, group);
        pull.grad_across(s, exponentials, group, [slopes + pull.force, own, s.splat(T::ZERO)], weight, grad);
        losses
    }
}

impl<T: Real> SoftmaxFocalLoss<'_, T> {
    /// Of a group of rows with classes the losses, and `w A`.
    #[inline(always)]
    fn focus_across<S: Simd<T>>(&self, s: S, group: &Group<S::V>) -> (S::V, S::V) {
        let (weight, sums) = (self.cross_entropy.group_weight(s, group), group.sums);
        let (q, log_partition, zero) = (sums.complement(s), log1p(s, sums.rest), s.splat(T::ZERO));
        let (cost, power) = (log_partition + sums.gap(s), self.powers(s, q));
        let (loss, slope) = self.focus_lanes(s, power, s.splat(T::ONE) - q, q, cost);
        let z_loss = group.weight * self.cross_entropy.z_across(s, group, log_partition).0;
        let idle = weight.eq(zero);
        (S::V::select(idle, zero, weight.mul_add(loss, z_loss)), S::V::select(idle, zero, weight * slope))
    }

    /// Of classes with probability `p`, their complement `q` and its `power`, and `cost = -ln p`: `q^gamma cost` and `A`.
    #[inline(always)]
    fn focus_lanes<S: Simd<T>>(&self, s: S, power: S::V, p: S::V, q: S::V, cost: S::V) -> (S::V, S::V) {
        let (zero, one) = (s.splat(T::ZERO), s.splat(T::ONE));
        let slope = (power * (s.splat(T::from_f64(self.gamma)) * p)).mul_add(cost / q, power);
        let slope = S::V::select(q.eq(zero), power, S::V::select(p.eq(zero), one, slope));
        (power * cost, slope)
    }

    /// The focus, where it is a small whole number.
    #[inline(always)]
    fn whole(&self) -> Option<u32> {
        (self.gamma.fract() == 0.0 && self.gamma <= 4.0).then_some(self.gamma as u32)
    }

    /// `q^gamma`: products, or powers one by one in double precision, as a logarithm would have lost their digits.
    #[inline(always)]
    fn powers<S: Simd<T>>(&self, s: S, q: S::V) -> S::V {
        if let Some(whole) = self.whole() {
            let mut power = s.splat(T::ONE);
            for _ in 0..whole {
                power = power * q;
            }
            return power;
        }
        let mut lanes = [T::ZERO; MAX_LANES];
        s.store(q, &mut lanes[..S::LANES]);
        for q in &mut lanes[..S::LANES] {
            *q = T::from_f64(q.to_f64().powf(self.gamma));
        }
        s.load(&lanes[..S::LANES])
    }
}
