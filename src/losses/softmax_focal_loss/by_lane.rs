//! Groups of rows, one row per lane, by lane or by group.

use super::SoftmaxFocalLoss;
use crate::losses::{ClassGrads, ClassHesses, ClassLanes, CurvedLanes, Group, SoftLanes};
use crate::math::{Real, exp, log1p};
use crate::simd::{Lanes, Simd, inlined, lanes_of};
use crate::tile::Tile;

impl<T: Real> ClassLanes<T> for SoftmaxFocalLoss<'_, T> {
    #[inline(always)]
    fn value<S: Simd<T>>(&self, s: S, group: &Group<T, S>) -> S::V {
        self.losses_and_slopes(s, group).0
    }

    #[inline(always)]
    fn value_and_grad<S: Simd<T>>(
        &self,
        s: S,
        group: &Group<T, S>,
        divisor: T,
        write: impl FnOnce(S, ClassGrads<T, S>),
    ) -> S::V {
        // w A (p_k - [k = y]) + z p_k; for the labelled class from the complement
        let (losses, slopes) = self.losses_and_slopes(s, group);
        let (slopes, (p, q)) = (group.grad_weight(s, slopes) / s.splat(divisor), group.sums.label(s));
        let z = self.cross_entropy.z_loss_grad(s, group, divisor);
        let label = z.scale * p - slopes * q;
        let weight = group.grad_weight(s, self.cross_entropy.group_weight(s, group));
        write(s, z.class_grads(s, group, weight, label, [slopes + z.scale, s.splat(T::ZERO)]));
        losses
    }
}

impl<T: Real> CurvedLanes<T> for SoftmaxFocalLoss<'_, T> {
    #[inline(always)]
    fn hesses<S: Simd<T>>(&self, s: S, group: &Group<T, S>, divisor: S::V, is_convex: bool) -> ClassHesses<S::V> {
        s.call(inlined!(|s| self.group_hesses(s, group, divisor, is_convex)))
    }

    #[inline(always)]
    fn weight<S: Simd<T>>(&self, s: S, group: &Group<T, S>) -> S::V {
        self.cross_entropy.group_weight(s, group)
    }
}

impl<T: Real> SoftLanes<T> for SoftmaxFocalLoss<'_, T> {
    const NEEDS_SPARE: bool = true;

    #[inline(always)]
    fn weigh<S: Simd<T>>(&self, s: S, targets: &mut Tile<'_, T, S>) -> S::V {
        self.cross_entropy.weigh(s, targets)
    }

    #[inline(always)]
    fn sweep<S: Simd<T>>(
        &self,
        s: S,
        logits: &mut Tile<'_, T, S>,
        weights: &mut Tile<'_, T, S>,
        spare: &mut Tile<'_, T, S>,
        group: &mut Group<T, S>,
    ) {
        spare.copy_from(logits);
        group.sums = logits.exponentiate_called(s, group.class);
        self.reweigh(s, spare, logits, weights, group);
    }

    #[inline(always)]
    fn soft_value<S: Simd<T>>(&self, s: S, group: &Group<T, S>) -> S::V {
        let (zero, log_partition) = (s.splat(T::ZERO), log1p(s, group.sums.rest));
        let loss = group.cost + self.cross_entropy.z_lanes(s, group, log_partition).0;
        (group.weight * loss).zero_where(group.weight.eq(zero))
    }

    #[inline(always)]
    fn soft_value_and_grad<S: Simd<T>>(
        &self,
        s: S,
        exponentials: &mut Tile<'_, T, S>,
        weights: &Tile<'_, T, S>,
        group: &Group<T, S>,
        divisor: T,
        grad: Option<&mut [T]>,
    ) -> S::V {
        // The gradient is that of cross-entropy with the weights v.
        self.cross_entropy.soft_value_and_grad(s, exponentials, weights, group, divisor, grad);
        self.soft_value(s, group)
    }
}

impl<T: Real> SoftmaxFocalLoss<'_, T> {
    /// Replaces the weights `u` of a group by `v` and their total by that of `v`, and sums the losses.
    #[inline(always)]
    fn reweigh<S: Simd<T>>(
        &self,
        s: S,
        logits: &Tile<'_, T, S>,
        exponentials: &Tile<'_, T, S>,
        weights: &mut Tile<'_, T, S>,
        group: &mut Group<T, S>,
    ) {
        let (zero, sums, gamma) = (s.splat(T::ZERO), group.sums, s.splat(T::from_f64(self.gamma)));
        let log_partition = log1p(s, sums.rest);
        // The power of the largest class. If others tie with it, its probability is at most 1/2.
        let peak = self.powers(s, sums.probability(s, sums.exponential_of_max()).1);
        let (mut loss, mut total) = (zero, zero);
        for k in 0..weights.classes() {
            let (u, z) = (weights.column(s, k), logits.column(s, k));
            let is_max = z.eq(sums.max);
            let (p, q) = sums.probability(s, exponentials.column(s, k));
            let cost = log_partition + (sums.max - z).zero_where(is_max);
            let power = match self.whole() {
                Some(_) => self.powers(s, q),
                None => S::V::select(is_max, peak, exp(s, gamma * log1p(s, zero - p))),
            };
            let (class_loss, slope) = self.focus_lanes(s, power, p, q, cost);
            let is_zero_weight = u.eq(zero);
            loss = loss + (u * class_loss).zero_where(is_zero_weight);
            let v = (u * slope).zero_where(is_zero_weight);
            total = total + v;
            weights.set_column(s, k, v);
        }
        (group.cost, group.total) = (loss + sums.rest.zero_where(sums.rest.eq(sums.rest)), total);
    }

    /// The losses of a group of rows with classes, and `w A`.
    #[inline(always)]
    fn losses_and_slopes<S: Simd<T>>(&self, s: S, group: &Group<T, S>) -> (S::V, S::V) {
        let (weight, sums) = (self.cross_entropy.group_weight(s, group), &group.sums);
        let ((p, q), log_partition, zero) = (sums.label(s), log1p(s, sums.rest), s.splat(T::ZERO));
        let (cost, power) = (log_partition + sums.margin(s), self.powers(s, q));
        let (loss, slope) = self.focus_lanes(s, power, p, q, cost);
        let z_loss = group.weight * self.cross_entropy.z_lanes(s, group, log_partition).0;
        let is_zero_weight = weight.eq(zero);
        let losses = weight.mul_add(loss, z_loss).zero_where(is_zero_weight);
        (losses, (weight * slope).zero_where(is_zero_weight))
    }

    /// `q^gamma cost` and `A` of classes with probability `p`, its complement `q`, `power = q^gamma` and `cost = -ln p`.
    #[inline(always)]
    fn focus_lanes<S: Simd<T>>(&self, s: S, power: S::V, p: S::V, q: S::V, cost: S::V) -> (S::V, S::V) {
        let (zero, one) = (s.splat(T::ZERO), s.splat(T::ONE));
        let slope = (power * (s.splat(T::from_f64(self.gamma)) * p)).mul_add(cost / q, power);
        let slope = S::V::select(q.eq(zero), power, S::V::select(p.eq(zero), one, slope));
        (power * cost, slope)
    }

    /// The diagonals of the Hessians of rows with classes: `w A p (1 - p)` and what the slope of `A` adds.
    #[inline(always)]
    fn group_hesses<S: Simd<T>>(&self, s: S, group: &Group<T, S>, divisor: S::V, is_convex: bool) -> ClassHesses<S::V> {
        let (zero, one, gamma) = (s.splat(T::ZERO), s.splat(T::ONE), s.splat(T::from_f64(self.gamma)));
        let (weight, sums) = (self.cross_entropy.group_weight(s, group) / divisor, &group.sums);
        let ((p, q), cost) = (sums.label(s), log1p(s, sums.rest) + sums.margin(s));
        let power = self.powers(s, q);
        let slope = self.focus_lanes(s, power, p, q, cost).1;
        let is_zero_weight = weight.eq(zero);
        let weight_of_grad = (weight * slope).zero_where(is_zero_weight);
        let hesses = ClassHesses::of(s, sums, weight_of_grad);
        // A row that counts is told from one that does not by its weight, which a power may have made 0.
        let hesses = ClassHesses { weight: weight_of_grad.zero_where(is_zero_weight), ..hesses };
        if is_convex {
            return hesses;
        }
        // B q = w gamma p q^gamma (l - 2 - (gamma - 1) p l / q); 0 where the power or the probability is
        let bracket = (cost - (one + one)) - (gamma - one) * p * (cost / q);
        let bend_q = weight * gamma * p * power * bracket;
        let has_bend = power.zero_where(p.eq(zero)).eq(zero);
        let bend_q = bend_q.zero_where(is_zero_weight).zero_where(has_bend);
        let bend = (bend_q / q).zero_where(has_bend);
        let label = weight_of_grad * p * q - bend_q * q;
        // Of a row without a defined distribution everything is NaN.
        ClassHesses { bend: Some([bend, label]), ..hesses }
    }

    /// The focus, if it is a small integer.
    #[inline(always)]
    fn whole(&self) -> Option<u32> {
        (self.gamma.fract() == 0.0 && self.gamma <= 4.0).then_some(self.gamma as u32)
    }

    /// `q^gamma`: by products, or one lane at a time in double precision, since `ln q` would lose its digits.
    #[inline(always)]
    fn powers<S: Simd<T>>(&self, s: S, q: S::V) -> S::V {
        if let Some(whole) = self.whole() {
            let mut power = s.splat(T::ONE);
            for _ in 0..whole {
                power = power * q;
            }
            return power;
        }
        s.call(inlined!(|s| {
            let mut lanes = lanes_of(s, q);
            for q in lanes.as_mut() {
                *q = T::from_f64(q.to_f64().powf(self.gamma));
            }
            s.load(&lanes)
        }))
    }
}
