//! Softmax cross-entropy: mutually exclusive classes.
//!
//! # Formula
//! For one row of logits `z`, target distribution `t` (one-hot for a class), class weights `w`, smoothing `eps`:
//!
//! ```text
//! t'_k  = (1 - eps) t_k + eps sum(t) / c
//! u_k   = w_k t'_k                        U = sum_k u_k
//! loss  = sum_k u_k (logsumexp(z) - z_k)                 + z_loss logsumexp(z)^2
//!       = U ln(1 + rest) + sum_k u_k (m - z_k)           + z_loss (m + ln(1 + rest))^2
//! ```
//!
//! with `m = max z` and `logsumexp(z) = m + ln(1 + rest)` ([`rows`](crate::rows)). No term is negative, so nothing
//! cancels: the loss is accurate to the last digits at any margin. Softcap, temperature and the logarithm of the prior
//! are applied to `z` before ([`LogitMap`]).
//!
//! # Gradient
//! `d loss / d z_k = U p_k - u_k + 2 z_loss logsumexp(z) p_k` with `p = softmax(z)`. Where `p_k` is near 1, the first
//! two terms are computed from the complement: `(U - u_k) p_k - u_k (1 - p_k)` with `1 - p_k = rest / (1 + rest)`.
//!
//! # Hessian
//! The diagonal is `U p_k (1 - p_k)`, without `z_loss`; for the largest logit it is computed from the complement.
//!
//! # Domain, shapes, units
//! `z` in `[-inf, inf]^c`; `t`, `w` non-negative, of length `c`, or `t` as pairs of a class and its weight; `z_loss`
//! non-negative; the loss is in nats.
//!
//! # Precision
//! The loss is as accurate as `ln(1 + rest)`, for classes and distributions alike. The gradient is a difference of two
//! terms and is accurate relative to their sum, `(U - u_k) p_k + u_k (1 - p_k)`, plus, with `z_loss`, the third term.
//!
//! # Special values
//! A term with `u_k = 0` is 0 even at `z_k = -inf`. `u_k > 0` and `p_k = 0`: loss +inf, gradient finite. One logit of
//! +inf: the limit, `p = 1` for that class; with `z_loss` the loss and the gradient of that class are +inf. A logit of
//! NaN, all logits -inf, or several logits +inf: NaN. `U = 0`: the row does not count, whatever its logits: loss 0,
//! gradient 0.
//!
//! # References
//! C. M. Bishop, *Pattern Recognition and Machine Learning*, 2006, section 4.3.4 (loss and gradient).
//! C. Szegedy et al., *Rethinking the Inception architecture for computer vision*, 2016, section 7 (smoothing).
//! A. Chowdhery et al., *PaLM: Scaling language modeling with pathways*, 2022, arXiv:2204.02311, section 5 (z-loss).

mod by_lane;

use super::target_weights::{Margins, TargetWeights};
use super::{CurvedRowLoss, LaneKernels, OfSum, RowLoss, RowTarget, SumLoss, total_weight};
use crate::error::{Result, check_fraction, check_non_negative};
use crate::math::Real;
use crate::rows::{LogitMap, Logits, LogitsIo, RowSum};
use crate::simd::{RowIo, Simd, inlined, position};
use crate::view::check_weights;

/// Softmax cross-entropy with its options.
#[derive(Clone, Copy, Debug)]
pub struct SoftmaxCrossEntropy<'a, T> {
    class_weight: Option<&'a [T]>,
    class_weight_sum: f64,
    label_smoothing: f64,
    z_loss: f64,
    map: LogitMap<'a, T>,
    classes: usize,
}

impl<'a, T: Real> SoftmaxCrossEntropy<'a, T> {
    /// `class_weight` is `w`, one per class, all 1 if absent; `label_smoothing` is `eps`, the share of the target's
    /// mass that is spread evenly over all classes.
    ///
    /// # Errors
    /// [`Error::Shape`] unless there are as many weights as classes; [`Error::Value`] for a weight that is negative or not
    /// finite; [`Error::Parameter`] for a smoothing outside [0, 1].
    pub fn new(classes: usize, class_weight: Option<&'a [T]>, label_smoothing: f64) -> Result<Self> {
        if let Some(weights) = class_weight {
            check_weights("class_weight", weights, &[classes])?;
        }
        check_fraction("label_smoothing", label_smoothing)?;
        // A share that the type cannot hold is none.
        let least = T::MIN_EXPONENT.to_f64().exp2() * classes as f64;
        let label_smoothing = if label_smoothing < least { 0.0 } else { label_smoothing };
        let class_weight_sum = class_weight.map_or(classes as f64, |w| w.iter().map(|w| w.to_f64()).sum());
        let map = LogitMap::identity();
        Ok(SoftmaxCrossEntropy { class_weight, class_weight_sum, label_smoothing, z_loss: 0.0, map, classes })
    }

    /// The same loss of mapped logits: `z <- softcap tanh(z / softcap)` if there is a softcap, then
    /// `z <- z / temperature`.
    ///
    /// # Errors
    /// [`Error::Parameter`] unless both are positive and finite.
    pub fn of_logits(self, softcap: Option<f64>, temperature: f64) -> Result<Self> {
        Ok(SoftmaxCrossEntropy { map: LogitMap::new(softcap, temperature)?, ..self })
    }

    /// The same loss of logits to which, after the map, the logarithm of the prior of each class is added.
    ///
    /// # Errors
    /// [`Error::Shape`] unless there are as many numbers as classes, [`Error::Value`] for one that is NaN or +inf.
    pub fn with_log_prior(self, log_prior: Option<&'a [T]>) -> Result<Self> {
        Ok(SoftmaxCrossEntropy { map: self.map.with_log_prior(log_prior, self.classes)?, ..self })
    }

    /// The same loss, plus `z_loss logsumexp(z)^2` for each row that counts.
    ///
    /// # Errors
    /// [`Error::Parameter`] if `z_loss` is negative or not finite.
    pub fn with_z_loss(self, z_loss: f64) -> Result<Self> {
        check_non_negative("z_loss", z_loss)?;
        Ok(SoftmaxCrossEntropy { z_loss, ..self })
    }

    /// Whether the z-loss is so small or so large that single terms of it may be beyond the type.
    fn has_far_z_loss(&self) -> bool {
        self.z_loss != 0.0 && !(1.0 / Self::largest_z_loss()..Self::largest_z_loss()).contains(&self.z_loss)
    }

    fn largest_z_loss() -> f64 {
        (-T::MIN_EXPONENT.to_f64() / 2.0).exp2()
    }

    /// The weights `u` of a row's classes.
    #[inline(always)]
    pub(super) fn weights<'t, S: Simd<T>>(&self, s: S, target: RowTarget<'t, T>) -> TargetWeights<'t, T>
    where
        'a: 't,
    {
        let (eps, weight) = (self.label_smoothing, total_weight(s, target, self.class_weight));
        let (class_weight, kept) = (self.class_weight, 1.0 - eps);
        if eps == 0.0 {
            return TargetWeights { class_weight, target, kept, uniform: 0.0, total: weight };
        }
        let mass = total_weight(s, target, None);
        let uniform = eps * mass / self.classes as f64;
        TargetWeights { class_weight, target, kept, uniform, total: kept * weight + uniform * self.class_weight_sum }
    }

    /// Whether loss and gradient of a row with a class follow from the sum of the exponentials of its mapped logits.
    #[inline(always)]
    fn is_plain(&self) -> bool {
        self.label_smoothing == 0.0 && self.z_loss == 0.0
    }

    /// The class of such a row, if its weight is not 0.
    #[inline(always)]
    fn plain_class(&self, target: RowTarget<'_, T>) -> Option<usize> {
        match target {
            RowTarget::Class(y) if self.is_plain() => (self.class_weight.is_none_or(|w| w[y] != T::ZERO)).then_some(y),
            _ => None,
        }
    }

    #[inline(always)]
    pub(super) fn is_smoothed(&self) -> bool {
        self.label_smoothing != 0.0
    }

    /// The z-loss of a row, and the term that it adds to `U` in the gradient.
    #[inline(always)]
    pub(super) fn z_terms(&self, max: f64, log_partition: f64) -> (f64, f64) {
        if self.z_loss == 0.0 {
            return (0.0, 0.0);
        }
        let lse = max + log_partition;
        (self.z_loss * lse * lse, 2.0 * self.z_loss * lse)
    }

    /// The loss of a row with any target and any options.
    #[inline(always)]
    fn value_with_options<S: Simd<T>>(&self, s: S, mut logits: Logits<'_, T>, target: RowTarget<'_, T>) -> f64 {
        let weights = self.weights(s, target);
        if weights.total == 0.0 {
            return 0.0;
        }
        // 1. maximum, sum of exponentials and, for dense weights, margins
        let mut margins = Margins::of(&weights, false);
        let sum = RowSum::sweep_inlined(s, &mut logits, &mut margins).0;
        // 2. U ln(1 + rest) + sum_k u_k (m - z_k)
        let log_partition = sum.log_partition();
        let sparse = weights.sparse_part(inlined!(|class| logits.at(s, class)));
        let sparse = sparse.map_or(0.0, |sparse| sparse.cost(sum));
        weights.total * log_partition
            + sparse
            + margins.total()
            + self.z_terms(sum.max.to_f64() + logits.lacks(), log_partition).0
    }

    /// Loss and gradient of a row with any target and any options.
    #[inline(always)]
    fn grad_with_options<S: Simd<T>>(
        &self,
        s: S,
        mut logits: LogitsIo<'_, T>,
        target: RowTarget<'_, T>,
        scale: f64,
    ) -> f64 {
        let weights = self.weights(s, target);
        if weights.total == 0.0 {
            logits.row.output().fill(T::ZERO);
            return 0.0;
        }
        let mut margins = Margins::of(&weights, true);
        let sparse = weights.sparse_part(inlined!(|class| logits.at(s, class)));
        // 1. maximum, sum of exponentials and, for dense weights, margins; the exponentials are kept
        let (sum, pivot) = RowSum::sweep_inlined(s, &mut logits, &mut margins);
        let log_partition = sum.log_partition();
        let (z_loss, z_slope) = self.z_terms(sum.max.to_f64() + logits.lacks(), log_partition);
        // With z-loss an infinite logit has gradient +inf; the others are unaffected.
        let (z_slope, infinite) = if z_slope == f64::INFINITY {
            let len = logits.row.source().len();
            (0.0, logits.row.kept(len).iter().position(|&e| e != T::ZERO))
        } else {
            (z_slope, None)
        };
        // 2. (U + z) p_k - u_k, where u_k is only the dense part
        let total = weights.total + z_slope;
        let (scaled, sign) = (sum.scale(pivot, scale * total.abs()), s.splat(T::from_f64(1f64.copysign(total))));
        let uniform = weights.uniform_part().map(|uniform| T::from_f64(scale * uniform));
        logits.finish(
            s,
            inlined!(|k, e| {
                let u = match uniform {
                    Some(uniform) => s.splat(uniform),
                    None => weights.register(s, k, scale),
                };
                sign * scaled.of(s, e) - u
            }),
        );
        // 3. from the complement, the classes whose probability may be near 1: the largest, and the largest of the
        // sparse part
        let exact =
            |u: f64, others: f64, (p, complement): (f64, f64)| scale * ((others + z_slope) * p - u * complement);
        let top = margins.top;
        if let Some(top) = top {
            let u = weights.at(top);
            logits.set(top, exact(u, weights.total - u, sum.probability(sum.max)));
        }
        if let Some(sparse) = sparse
            && top != Some(sparse.class)
        {
            let (u, others) = if weights.is_dense() {
                let u = weights.at(sparse.class);
                (u, weights.total - u)
            } else {
                (sparse.weight, sparse.others)
            };
            logits.set(sparse.class, exact(u, others, sum.probability(sparse.logit)));
        }
        // 4. subtract the weights of the other classes of the sparse part
        if let Some(sparse) = sparse
            && weights.pairs() > 1
        {
            for pair in 0..weights.pairs() {
                if let Some((class, u)) = weights.pair(pair)
                    && class != sparse.class
                    && top != Some(class)
                {
                    logits.add(class, -scale * u);
                }
            }
        }
        if let Some(k) = infinite {
            logits.row.output()[k] = T::from_f64(f64::INFINITY * scale);
        }
        let cost = sparse.map_or(0.0, |sparse| sparse.cost(sum));
        weights.total * log_partition + cost + margins.total() + z_loss
    }
}

impl<T: Real> RowLoss<T> for SoftmaxCrossEntropy<'_, T> {
    type ClassLanes = Self;
    type SoftLanes = Self;

    fn lanes(&self, has_classes: bool) -> LaneKernels<'_, Self, Self> {
        // With smoothing and class weights a class needs as much work as a distribution.
        let is_soft = !has_classes || (self.is_smoothed() && self.class_weight.is_some());
        // What has no place in the type is computed in double precision, by row.
        let has_far_options = self.map.left_out().is_some() || self.has_far_z_loss();
        match (has_far_options, is_soft) {
            (true, _) => LaneKernels::None,
            (false, false) => LaneKernels::Classes(self),
            (false, true) => LaneKernels::Distributions(self),
        }
    }

    #[inline(always)]
    fn logit_map(&self) -> LogitMap<'_, T> {
        self.map
    }

    #[inline(always)]
    fn left_out(&self) -> Option<[f64; 2]> {
        let z_loss = self.z_loss.max(1.0);
        match (self.map.left_out(), self.has_far_z_loss()) {
            (None, false) => None,
            (temperature, _) => Some([z_loss, temperature.unwrap_or(1.0)]),
        }
    }

    #[inline(always)]
    fn class_weight(&self) -> Option<&[T]> {
        self.class_weight
    }

    fn classes(&self) -> Option<usize> {
        Some(self.classes)
    }

    #[inline(always)]
    fn value<S: Simd<T>>(&self, s: S, logits: Logits<'_, T>, target: RowTarget<'_, T>) -> f64 {
        if let (Some(class), Some(row)) = (self.plain_class(target), logits.unmapped()) {
            let sum = RowSum::sweep_inlined(s, &mut { row }, &mut ()).0;
            return self.of_sum(sum, class, row[class]).loss;
        }
        s.call(inlined!(|s| self.value_with_options(s, logits, target)))
    }

    #[inline(always)]
    fn value_and_grad<S: Simd<T>>(
        &self,
        s: S,
        mut logits: LogitsIo<'_, T>,
        target: RowTarget<'_, T>,
        scale: f64,
    ) -> f64 {
        let Some(class) = self.plain_class(target).filter(|_| logits.is_plain()) else {
            return s.call(inlined!(|s| self.grad_with_options(s, logits, target, scale)));
        };
        let logit = logits.at(s, class);
        let row = &mut logits.row;
        // 1. maximum and sum of exponentials; the exponentials are kept
        let (sum, pivot) = RowSum::sweep_inlined(s, row, &mut ());
        let OfSum { loss, others, label } = self.of_sum(sum, class, logit);
        // 2. w p_k for all classes except the labelled one, whose gradient comes from the complement
        let scaled = sum.scale(pivot, scale * others);
        row.finish(s, inlined!(|_, e| scaled.of(s, e)));
        row.output()[class] = T::from_f64(scale * label);
        loss
    }

    fn by_sum(&self) -> Option<&dyn SumLoss<T>> {
        (self.is_plain() && self.map.is_identity()).then_some(self)
    }
}

impl<T: Real> SumLoss<T> for SoftmaxCrossEntropy<'_, T> {
    #[inline(always)]
    fn of_sum(&self, sum: RowSum<T>, class: usize, logit: T) -> OfSum {
        let weight = self.class_weight.map_or(1.0, |w| w[class].to_f64());
        if weight == 0.0 {
            return OfSum { loss: 0.0, others: 0.0, label: 0.0 };
        }
        let loss = weight * (sum.log_partition() + sum.margin(logit));
        OfSum { loss, others: weight, label: -weight * sum.probability(logit).1 }
    }
}

impl<T: Real> CurvedRowLoss<T> for SoftmaxCrossEntropy<'_, T> {
    const HAS_SOFT_HESS: bool = true;

    #[inline(always)]
    fn counts<S: Simd<T>>(&self, s: S, target: RowTarget<'_, T>) -> bool {
        self.weights(s, target).total != 0.0
    }

    #[inline(always)]
    fn hess<S: Simd<T>>(&self, s: S, logits: &[T], target: RowTarget<'_, T>, (scale, _): (f64, bool), hess: &mut [T]) {
        let scale = scale * self.weights(s, target).total;
        if scale == 0.0 {
            return hess.fill(T::ZERO);
        }
        let sum = RowSum::of(s, logits);
        // 1. p_k (1 - p_k), accurate for probabilities of at most 1/2
        let (softmax, one, factor) = (sum.softmax(1.0), s.splat(T::ONE), s.splat(T::from_f64(scale)));
        RowIo::new(logits, hess).map(
            s,
            T::ZERO,
            inlined!(|_, z| {
                let p = softmax.of(s, z);
                factor * (p * (one - p))
            }),
        );
        // 2. the largest, from the complement
        if let Some(top) = position(s, logits, sum.max) {
            let (p, complement) = sum.probability(sum.max);
            hess[top] = T::from_f64(scale * p * complement);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Float, Isa, Kernel};

    /// The formula, in ten lines of float64.
    fn oracle(z: &[f64], t: &[f64], w: &[f64], eps: f64) -> (f64, Vec<f64>) {
        let m = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let lse = m + z.iter().map(|z| (z - m).exp()).sum::<f64>().ln();
        let mass: f64 = t.iter().sum();
        let u: Vec<f64> = t.iter().zip(w).map(|(t, w)| w * ((1.0 - eps) * t + eps * mass / z.len() as f64)).collect();
        let total: f64 = u.iter().sum();
        let loss = u.iter().zip(z).map(|(u, z)| if *u == 0.0 { 0.0 } else { u * (lse - z) }).sum();
        (loss, z.iter().zip(&u).map(|(z, u)| total * (z - lse).exp() - u).collect())
    }

    struct Row<'a, T>(SoftmaxCrossEntropy<'a, T>, &'a [T], RowTarget<'a, T>);

    impl<T: Real> Kernel<T> for Row<'_, T> {
        type Output = (f64, f64, Vec<T>);
        #[inline(always)]
        fn run<S: Simd<T>>(self, s: S) -> Self::Output {
            let Row(loss, logits, target) = self;
            let mut grad = vec![T::NAN; logits.len()];
            let value = loss.value(s, Logits::plain(logits), target);
            let row = LogitsIo::new(RowIo::new(logits, &mut grad), loss.logit_map(), &mut []);
            let same = loss.value_and_grad(s, row, target, 1.0);
            (value, same, grad)
        }
    }

    fn logits(c: usize) -> Vec<f32> {
        (0..c).map(|k| ((k * 7919) % 1009) as f32 * 0.017 - 8.0).collect()
    }

    #[test]
    fn every_kind_of_target_agrees_with_the_oracle_on_every_instruction_set() {
        for c in (1..70).chain([1000, 1024, 1025, 5000]) {
            let z = logits(c);
            let y = (c * 31) % c.max(1);
            let one_hot: Vec<f32> = (0..c).map(|k| f32::from(u8::from(k == y))).collect();
            let soft: Vec<f32> = (0..c).map(|k| (k % 3) as f32).collect();
            let w: Vec<f32> = (0..c).map(|k| 0.5 + (k % 4) as f32).collect();
            let targets: [(RowTarget<f32>, &[f32]); 3] = [
                (RowTarget::Class(y), &one_hot),
                (RowTarget::Distribution(&one_hot), &one_hot),
                (RowTarget::Distribution(&soft), &soft),
            ];
            let wide = |xs: &[f32]| xs.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
            for (eps, weight) in [(0.0, None), (0.1, None), (0.0, Some(&w[..])), (0.3, Some(&w[..]))] {
                for (target, t) in targets {
                    let ones = vec![1.0; c];
                    let (loss, grad) = oracle(&wide(&z), &wide(t), &wide(weight.unwrap_or(&ones)), eps);
                    for isa in Isa::available() {
                        let ours = SoftmaxCrossEntropy::new(c, weight, eps).unwrap();
                        let (value, same, g) = f32::dispatch(isa, Row(ours, &z, target));
                        let case = format!("c={c} eps={eps} {target:?} {}", isa.name());
                        assert!((value - loss).abs() <= 1e-6 * loss.abs() + 1e-12, "{case}: {value} {loss}");
                        assert_eq!(value.to_bits(), same.to_bits(), "{case}");
                        let scale = grad.iter().fold(0.0f64, |a, g| a.max(g.abs()));
                        for (k, (g, truth)) in g.iter().zip(&grad).enumerate() {
                            assert!((f64::from(*g) - truth).abs() <= 1e-6 * scale, "{case} k={k}: {g} {truth}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_margin_of_17_in_float32_is_not_zero() {
        for isa in Isa::available() {
            let ours = SoftmaxCrossEntropy::new(2, None, 0.0).unwrap();
            let (value, _, grad) = f32::dispatch(isa, Row(ours, &[17.0, 0.0], RowTarget::Class(0)));
            let truth = (-17f64).exp().ln_1p();
            assert!((value / truth - 1.0).abs() < 1e-6, "{}: {value}", isa.name());
            assert!((f64::from(-grad[0]) / truth - 1.0).abs() < 1e-6, "{}: {grad:?}", isa.name());
        }
    }
}
