//! Groups of rows of few classes, a row a lane: what makes of their sums losses and gradients. The focal loss shares it.

use super::SoftmaxCrossEntropy;
use crate::columns::{self, Columns};
use crate::losses::{Group, GroupLoss};
use crate::math::{Real, log1p};
use crate::simd::{Lanes, Simd};

impl<T: Real> GroupLoss<T> for SoftmaxCrossEntropy<'_, T> {
    #[inline(always)]
    fn goes_across(&self, classes: usize) -> bool {
        self.weighs_across(classes)
    }

    #[inline(always)]
    fn spreads_classes(&self) -> bool {
        self.label_smoothing != 0.0 && self.class_weight.is_some()
    }

    #[inline(always)]
    fn wants_gaps(&self) -> bool {
        self.label_smoothing != 0.0
    }

    #[inline(always)]
    fn weighs_across(&self, classes: usize) -> bool {
        columns::are_few(classes)
    }

    #[inline(always)]
    fn weigh_across<S: Simd<T>>(&self, s: S, targets: &mut Columns<'_, T>) -> S::V {
        // u_k = w_k (keep t_k + spread)
        let (eps, keep) = (self.label_smoothing, s.splat(T::from_f64(1.0 - self.label_smoothing)));
        let spread = match eps {
            0.0 => s.splat(T::ZERO),
            _ => targets.totals(s) * s.splat(T::from_f64(eps / self.classes as f64)),
        };
        targets.map(
            s,
            #[inline(always)]
            |k, t| {
                let u = keep.mul_add(t, spread);
                self.class_weight.map_or(
                    u,
                    #[inline(always)]
                    |w| u * s.splat(w[k]),
                )
            },
        );
        targets.totals(s)
    }

    #[inline(always)]
    fn value_across<S: Simd<T>>(&self, s: S, group: &Group<S::V>) -> S::V {
        self.losses(s, group, self.group_weight(s, group))
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
        let weight = self.group_weight(s, group);
        let (scaled, losses) = (weight / s.splat(divisor), self.losses(s, group, weight));
        if self.is_plain() {
            grad_across(s, exponentials, group, scaled, grad);
            return losses;
        }
        // 1. u_k = keep [k = y] + spread and U = 1: the gradient of the labelled class, from the complement
        let (one, q) = (s.splat(T::ONE), group.sums.complement(s));
        let (eps, spread) = (self.label_smoothing, self.label_smoothing / self.classes as f64);
        let (others, own) = (s.splat(T::from_f64(eps - spread)), s.splat(T::from_f64(1.0 - eps + spread)));
        let pull = self.pull_across(s, group, divisor);
        let own = (scaled * others + pull.force) * (one - q) - scaled * own * q;
        // 2. of the others: (1 + pull) p_k - spread
        let (force, spread) = (scaled + pull.force, scaled * s.splat(T::from_f64(spread)));
        pull.grad_across(s, exponentials, group, [force, own, spread], scaled, grad);
        losses
    }

    #[inline(always)]
    fn soft_value_across<S: Simd<T>>(&self, s: S, group: &Group<S::V>) -> S::V {
        // s (U ln(1 + rest) + sum_k u_k (m - z_k))
        let (zero, weight, log_partition) = (s.splat(T::ZERO), group.weight, log1p(s, group.sums.rest));
        let loss = group.total.mul_add(log_partition, group.gaps) + self.z_across(s, group, log_partition).0;
        S::V::select(weight.eq(zero), zero, weight * loss)
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
        let (zero, scale) = (s.splat(T::ZERO), group.weight / s.splat(divisor));
        let (idle, pull) = (group.weight.eq(zero), self.pull_across(s, group, divisor));
        exponentials.map(
            s,
            #[inline(always)]
            |k, e| {
                // s (U p_k - u_k) = s ((U - u) p - u (1 - p)), where neither p nor its complement has lost its digits
                let (u, (p, complement)) = (weights.column(s, k), group.sums.probability(s, e));
                let g = pull.force.mul_add(p, scale * ((group.total - u) * p - u * complement));
                S::V::select(idle, zero, pull.bound(s, e, g))
            },
        );
        exponentials.store(
            s,
            grad,
            group.rows,
            #[inline(always)]
            |_, g| g,
        );
        self.soft_value_across(s, group)
    }
}

impl<T: Real> SoftmaxCrossEntropy<'_, T> {
    /// What each row's loss is multiplied by: the weights of its sample and of its class.
    #[inline(always)]
    pub(in crate::losses) fn group_weight<S: Simd<T>>(&self, s: S, group: &Group<S::V>) -> S::V {
        let Some(class_weight) = self.class_weight else {
            return group.weight;
        };
        let (mut k, mut own) = (s.splat(T::ZERO), s.splat(T::ZERO));
        for &w in class_weight {
            own = S::V::select(k.eq(group.class), s.splat(w), own);
            k = k + s.splat(T::ONE);
        }
        group.weight * own
    }

    /// `w (ln(1 + rest) + m - z_y)` of a group of rows, smoothed, 0 where `w` is.
    #[inline(always)]
    pub(super) fn losses<S: Simd<T>>(&self, s: S, group: &Group<S::V>, weight: S::V) -> S::V {
        let (zero, sums, eps) = (s.splat(T::ZERO), group.sums, self.label_smoothing);
        let gap = if eps == 0.0 {
            sums.gap(s)
        } else {
            let spread = s.splat(T::from_f64(eps / self.classes as f64)) * group.gaps;
            // Nothing is kept of a label that is smoothed away, be it ruled out.
            if eps == 1.0 { spread } else { sums.gap(s).mul_add(s.splat(T::from_f64(1.0 - eps)), spread) }
        };
        let log_partition = log1p(s, sums.rest);
        let z_loss = group.weight * self.z_across(s, group, log_partition).0;
        S::V::select(weight.eq(zero), zero, weight.mul_add(log_partition + gap, z_loss))
    }

    /// What [`z_terms`](Self::z_terms) are of a group of rows.
    #[inline(always)]
    pub(in crate::losses) fn z_across<S: Simd<T>>(
        &self,
        s: S,
        group: &Group<S::V>,
        log_partition: S::V,
    ) -> (S::V, S::V) {
        if self.z_loss == 0.0 {
            return (s.splat(T::ZERO), s.splat(T::ZERO));
        }
        let lse = group.sums.max + log_partition;
        let z = s.splat(T::from_f64(self.z_loss)) * lse;
        (z * lse, z + z)
    }

    /// What z-loss adds to the gradients of a group of rows.
    #[inline(always)]
    pub(in crate::losses) fn pull_across<S: Simd<T>>(&self, s: S, group: &Group<S::V>, divisor: T) -> Pull<S::V> {
        let (zero, infinity) = (s.splat(T::ZERO), s.splat(T::INFINITY));
        if self.z_loss == 0.0 {
            return Pull { force: zero, endless: s.splat(T::NAN) };
        }
        let (_, pull) = self.z_across(s, group, log1p(s, group.sums.rest));
        let is_endless = pull.eq(infinity);
        Pull {
            force: S::V::select(is_endless, zero, pull * group.weight / s.splat(divisor)),
            endless: S::V::select(is_endless, group.sums.exponential_of_max(), s.splat(T::NAN)),
        }
    }
}

/// What z-loss adds to the gradients of a group of rows: `force p_k`.
#[derive(Clone, Copy)]
pub(in crate::losses) struct Pull<V> {
    pub(in crate::losses) force: V,
    /// The exponential of an infinite logit, which is pulled without end, and no other; NaN where there is none.
    endless: V,
}

impl<V: Copy> Pull<V> {
    /// `gradient`, where the class with this exponential is not pulled without end.
    #[inline(always)]
    pub(in crate::losses) fn bound<T: Real, S: Simd<T, V = V>>(self, s: S, exponential: V, gradient: V) -> V
    where
        V: Lanes<T>,
    {
        V::select(exponential.eq(self.endless), s.splat(T::INFINITY), gradient)
    }

    /// Writes the gradients of a group of rows: `own` of the labelled class, `force p_k - spread` of the others, 0 where
    /// `weight` is.
    #[inline(always)]
    pub(in crate::losses) fn grad_across<T: Real, S: Simd<T, V = V>>(
        self,
        s: S,
        exponentials: &mut Columns<'_, T>,
        group: &Group<V>,
        [force, own, spread]: [V; 3],
        weight: V,
        grad: &mut [T],
    ) where
        V: Lanes<T>,
    {
        let (zero, one, limit) = (s.splat(T::ZERO), s.splat(T::ONE), force.abs());
        let (idle, sign) = (weight.eq(zero), V::select(force.lt(zero), zero - one, one));
        let (factor, spread) = (group.sums.scale(s, limit), zero - spread);
        exponentials.store(
            s,
            grad,
            group.rows,
            #[inline(always)]
            |k, e| {
                let other = limit.min(e * factor).mul_add(sign, spread);
                V::select(idle, zero, self.bound(s, e, V::select(k.eq(group.class), own, other)))
            },
        );
    }
}

/// Writes the gradients of a group of rows: `weight` times those of cross-entropy, whatever the weight is made of.
#[inline(always)]
pub(in crate::losses) fn grad_across<T: Real, S: Simd<T>>(
    s: S,
    exponentials: &mut Columns<'_, T>,
    group: &Group<S::V>,
    weight: S::V,
    grad: &mut [T],
) {
    // 1. of the labelled class: w (p_y - 1), from the complement; 0 for a row that does not count
    let (zero, sums) = (s.splat(T::ZERO), group.sums);
    let idle = weight.eq(zero);
    let own = zero - weight * sums.complement(s);
    // 2. of the others: w p_k
    let factor = sums.scale(s, weight);
    exponentials.store(
        s,
        grad,
        group.rows,
        #[inline(always)]
        |k, e| {
            let other = weight.min(e * factor);
            S::V::select(idle, zero, S::V::select(k.eq(group.class), own, other))
        },
    );
}
