//! Groups of rows, one row per lane: losses and gradients from the sums of a group, by lane or by group. The focal loss
//! shares this code.
//!
//! The code for rows with classes and no options is inlined into the kernel; the code for options is a separate
//! function.

use super::SoftmaxCrossEntropy;
use crate::losses::{ClassGrads, ClassHesses, ClassLanes, CurvedLanes, GradOptions, Group, SoftLanes};
use crate::math::{Real, log1p};
use crate::simd::{Lanes, Simd, inlined, lanes_of};
use crate::tile::Tile;

impl<T: Real> ClassLanes<T> for SoftmaxCrossEntropy<'_, T> {
    #[inline(always)]
    fn needs_margins(&self) -> bool {
        self.is_smoothed()
    }

    #[inline(always)]
    fn value<S: Simd<T>>(&self, s: S, group: &Group<T, S>) -> S::V {
        if self.is_plain() {
            return plain_losses(s, group, self.group_weight(s, group));
        }
        s.call(inlined!(|s| self.losses(s, group, self.group_weight(s, group))))
    }

    #[inline(always)]
    fn value_and_grad<S: Simd<T>>(
        &self,
        s: S,
        group: &Group<T, S>,
        divisor: T,
        write: impl FnOnce(S, ClassGrads<T, S>),
    ) -> S::V {
        if !self.is_plain() {
            return s.call(inlined!(|s| {
                write(s, self.grads(s, group, divisor));
                self.losses(s, group, self.group_weight(s, group))
            }));
        }
        // w p_k, and for the labelled class w (p_y - 1), from the complement
        let (zero, weight) = (s.splat(T::ZERO), self.group_weight(s, group));
        let grad_weight = group.grad_weight(s, weight);
        let scale = grad_weight / s.splat(divisor);
        let label = zero - scale * group.sums.label(s).1;
        let (factor, limit) = (group.sums.scale(s, scale), S::V::select(scale.lt(zero), s.splat(T::INFINITY), scale));
        write(s, ClassGrads { label, factor, limit, weight: grad_weight, options: None });
        plain_losses(s, group, weight)
    }
}

impl<T: Real> CurvedLanes<T> for SoftmaxCrossEntropy<'_, T> {
    #[inline(always)]
    fn hesses<S: Simd<T>>(&self, s: S, group: &Group<T, S>, divisor: S::V, _: bool) -> ClassHesses<S::V> {
        ClassHesses::of(s, &group.sums, self.group_weight(s, group) / divisor)
    }

    #[inline(always)]
    fn weight<S: Simd<T>>(&self, s: S, group: &Group<T, S>) -> S::V {
        self.group_weight(s, group)
    }
}

impl<T: Real> SoftLanes<T> for SoftmaxCrossEntropy<'_, T> {
    /// `u_k = w_k ((1 - eps) t_k + eps sum(t) / c)`
    #[inline(always)]
    fn weigh<S: Simd<T>>(&self, s: S, targets: &mut Tile<'_, T, S>) -> S::V {
        if self.is_smoothed() {
            let kept = s.splat(T::from_f64(1.0 - self.label_smoothing));
            let uniform = targets.totals(s) * s.splat(T::from_f64(self.label_smoothing / self.classes as f64));
            targets.map(s, inlined!(|_, t| kept.mul_add(t, uniform)));
        }
        if let Some(w) = self.class_weight {
            targets.weigh(s, w);
        }
        targets.totals(s)
    }

    #[inline(always)]
    fn sweep<S: Simd<T>>(
        &self,
        s: S,
        logits: &mut Tile<'_, T, S>,
        weights: &mut Tile<'_, T, S>,
        _: &mut Tile<'_, T, S>,
        group: &mut Group<T, S>,
    ) {
        group.cost = logits.weighted_margins(s, weights);
        group.sums = logits.exponentiate_called(s, group.class);
    }

    #[inline(always)]
    fn soft_value<S: Simd<T>>(&self, s: S, group: &Group<T, S>) -> S::V {
        // s (U ln(1 + rest) + sum_k u_k (m - z_k))
        let (zero, weight, log_partition) = (s.splat(T::ZERO), group.weight, log1p(s, group.sums.rest));
        let loss = group.total.mul_add(log_partition, group.cost) + self.z_lanes(s, group, log_partition).0;
        (weight * loss).zero_where(weight.eq(zero))
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
        s.call(inlined!(|s| self.soft_grads(s, exponentials, weights, group, divisor, grad)));
        self.soft_value(s, group)
    }
}

/// `w (ln(1 + rest) + m - z_y)`; 0 if `w` is 0.
#[inline(always)]
fn plain_losses<T: Real, S: Simd<T>>(s: S, group: &Group<T, S>, weight: S::V) -> S::V {
    let loss = log1p(s, group.sums.rest) + group.sums.margin(s);
    let zero = s.splat(T::ZERO);
    (weight * loss).zero_where(weight.eq(zero))
}

impl<T: Real> SoftmaxCrossEntropy<'_, T> {
    /// The factor of each row's loss: the weights of its sample and of its class.
    #[inline(always)]
    pub(in crate::losses) fn group_weight<S: Simd<T>>(&self, s: S, group: &Group<T, S>) -> S::V {
        let Some(class_weight) = self.class_weight else {
            return group.weight;
        };
        let mut weights = S::Array::default();
        for (weight, class) in weights.as_mut().iter_mut().zip(lanes_of(s, group.class).as_ref()) {
            // The class of an ignored row, -1, has no weight.
            *weight = class_weight.get(class.to_f64() as i64 as usize).copied().unwrap_or(T::ZERO);
        }
        group.weight * s.load(&weights)
    }

    /// The losses of a group of rows with classes, with smoothing and z-loss; 0 if the weight is 0.
    #[inline(always)]
    fn losses<S: Simd<T>>(&self, s: S, group: &Group<T, S>, weight: S::V) -> S::V {
        let (zero, sums, eps) = (s.splat(T::ZERO), &group.sums, self.label_smoothing);
        let uniform = s.splat(T::from_f64(eps / self.classes as f64)) * group.cost;
        // eps = 1: the label has no weight, so its logit of -inf must not give 0 * inf.
        let margin = match eps {
            1.0 => uniform,
            _ => sums.margin(s).mul_add(s.splat(T::from_f64(1.0 - eps)), uniform),
        };
        let log_partition = log1p(s, sums.rest);
        let z_loss = group.weight * self.z_lanes(s, group, log_partition).0;
        weight.mul_add(log_partition + margin, z_loss).zero_where(weight.eq(zero))
    }

    /// The gradients of the same rows.
    #[inline(always)]
    fn grads<S: Simd<T>>(&self, s: S, group: &Group<T, S>, divisor: T) -> ClassGrads<T, S> {
        let weight = group.grad_weight(s, self.group_weight(s, group));
        let scale = weight / s.splat(divisor);
        // 1. u_k = (1 - eps) [k = y] + eps / c and U = 1: the labelled class, from the complement
        let (p, q) = group.sums.label(s);
        let (eps, uniform) = (self.label_smoothing, self.label_smoothing / self.classes as f64);
        let (others, label) = (s.splat(T::from_f64(eps - uniform)), s.splat(T::from_f64(1.0 - eps + uniform)));
        let z = self.z_loss_grad(s, group, divisor);
        let label_grad = (scale * others + z.scale) * p - scale * label * q;
        // 2. the other classes: (1 + z) p_k - eps / c
        let others = [scale + z.scale, scale * s.splat(T::from_f64(uniform))];
        z.class_grads(s, group, weight, label_grad, others)
    }

    /// The gradients of a group of rows with distributions.
    #[inline(always)]
    fn soft_grads<S: Simd<T>>(
        &self,
        s: S,
        exponentials: &mut Tile<'_, T, S>,
        weights: &Tile<'_, T, S>,
        group: &Group<T, S>,
        divisor: T,
        grad: Option<&mut [T]>,
    ) {
        let (zero, weight) = (s.splat(T::ZERO), group.grad_weight(s, group.weight));
        let (scale, is_zero_weight) = (weight / s.splat(divisor), weight.eq(zero));
        let z = self.z_loss_grad(s, group, divisor);
        // Where one class has nearly all weight, `U - u` has lost the digits of the others, which are summed instead. The
        // sum of a row with a weight of NaN is NaN.
        let (largest, rest) = weights.largest_and_rest(s);
        let rest = S::V::select(group.total.eq(group.total), rest, group.total);
        exponentials.map_with(
            s,
            weights,
            inlined!(|e, u| {
                // s (U p_k - u_k) = s ((U - u) p - u (1 - p)), where both p and its complement are accurate
                let (p, complement) = group.sums.probability(s, e);
                let others = S::V::select(u.eq(largest), rest, group.total - u);
                let g = z.scale.mul_add(p, scale * (others * p - u * complement));
                z.or_infinite(e, g).zero_where(is_zero_weight)
            }),
        );
        if let Some(grad) = grad {
            exponentials.store_called(s, grad, group.rows);
        }
    }

    /// [`z_terms`](Self::z_terms) of a group of rows.
    #[inline(always)]
    pub(in crate::losses) fn z_lanes<S: Simd<T>>(
        &self,
        s: S,
        group: &Group<T, S>,
        log_partition: S::V,
    ) -> (S::V, S::V) {
        if self.z_loss == 0.0 {
            return (s.splat(T::ZERO), s.splat(T::ZERO));
        }
        let lse = group.sums.max + log_partition;
        let z = s.splat(T::from_f64(self.z_loss)) * lse;
        (z * lse, z + z)
    }

    /// The term that z-loss adds to the gradients of a group of rows.
    #[inline(always)]
    pub(in crate::losses) fn z_loss_grad<S: Simd<T>>(&self, s: S, group: &Group<T, S>, divisor: T) -> ZLossGrad<T, S> {
        let (zero, infinity, none) = (s.splat(T::ZERO), s.splat(T::INFINITY), s.splat(T::NAN));
        if self.z_loss == 0.0 {
            return ZLossGrad { scale: zero, infinite: none, infinity };
        }
        let (_, slope) = self.z_lanes(s, group, log1p(s, group.sums.rest));
        let is_infinite = slope.eq(infinity);
        let (weight, divisor) = (group.grad_weight(s, group.weight), s.splat(divisor));
        ZLossGrad {
            scale: (slope * weight / divisor).zero_where(is_infinite),
            infinity: S::V::select((weight / divisor).lt(zero), zero - infinity, infinity),
            infinite: S::V::select(is_infinite, group.sums.exponential_of_max(), none),
        }
    }
}

/// The term that z-loss adds to the gradients of a group of rows: `scale p_k`.
#[derive(Clone, Copy)]
pub(in crate::losses) struct ZLossGrad<T: Real, S: Simd<T>> {
    pub(in crate::losses) scale: S::V,
    /// The exponential of an infinite logit, whose gradient is infinite; NaN if no logit is.
    infinite: S::V,
    /// That gradient, of the sign that gradients are multiplied by.
    infinity: S::V,
}

impl<T: Real, S: Simd<T>> ZLossGrad<T, S> {
    /// The gradient of a class, which is infinite if its exponential is that of an infinite logit.
    #[inline(always)]
    fn or_infinite(&self, exponential: S::V, gradient: S::V) -> S::V {
        S::V::select(exponential.eq(self.infinite), self.infinity, gradient)
    }

    /// The gradients of a group of rows: `label` for the labelled class, `scale p_k - uniform` for the others.
    #[inline(always)]
    pub(in crate::losses) fn class_grads(
        &self,
        s: S,
        group: &Group<T, S>,
        weight: S::V,
        label: S::V,
        [scale, uniform]: [S::V; 2],
    ) -> ClassGrads<T, S> {
        let (zero, one, limit) = (s.splat(T::ZERO), s.splat(T::ONE), scale.abs());
        let sign = S::V::select(scale.lt(zero), zero - one, one);
        let is_infinite = self.infinite.eq(group.sums.exponential_of_label(s));
        ClassGrads {
            label: S::V::select(is_infinite, self.infinity, label),
            factor: group.sums.scale(s, limit),
            limit,
            weight,
            options: Some(GradOptions { sign, uniform, infinite: self.infinite, infinity: self.infinity }),
        }
    }
}
