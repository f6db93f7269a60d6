//! Sigmoid cross-entropy: independent labels, each yes or no (binary cross-entropy from logits).
//!
//! # Formula
//! For one logit `x`, target `t`, weight of the positive label `beta`, `p = sigmoid(x)`:
//!
//! ```text
//! loss = -[beta t ln p + (1 - t) ln(1 - p)]
//!      = beta t softplus(-x) + (1 - t) softplus(x)
//!      = (beta t + 1 - t) ln(1 + exp(-|x|)) + beta t max(-x, 0) + (1 - t) max(x, 0)
//! ```
//!
//! Both softplus functions share one exponential and one logarithm. No term is negative, so nothing cancels. With label
//! smoothing `t` is replaced by `(1 - eps) t + eps / 2`.
//!
//! # Gradient
//! `d loss / dx = (1 - t) sigmoid(x) - beta t sigmoid(-x)`; neither sigmoid is computed as 1 minus the other.
//!
//! # Hessian
//! `d^2 loss / dx^2 = (beta t + 1 - t) sigmoid(x) sigmoid(-x)`, never negative.
//!
//! # Domain, shapes, units
//! `x` in `[-inf, inf]`, `t` in `[0, 1]`, `beta >= 0`, one per column, `eps` in `[0, 1]`; the loss is in nats.
//!
//! # Precision
//! The loss, the two terms of the gradient and the Hessian have an error of a few units in the last place at every
//! margin.
//!
//! # Special values
//! A term whose factor is 0 is 0 even at `x = +-inf`. So an infinite logit on the correct side has loss 0; on the wrong
//! side it has loss +inf and gradient `-beta` or 1. `x` or `t` of NaN: NaN.
//!
//! # References
//! C. M. Bishop, *Pattern Recognition and Machine Learning*, 2006, section 4.3.2.
//! M. Mächler, *Accurately computing log(1 - exp(-|a|))*, 2012 (softplus without overflow).

use super::binary_weights::BinaryWeights;
use super::{PointHess, PointLoss, Points};
use crate::error::Result;
use crate::math::{Logistic, Real};
use crate::simd::{Lanes, Simd};

/// Sigmoid cross-entropy with its options.
#[derive(Clone, Debug)]
pub struct SigmoidCrossEntropy<T> {
    pub(super) weights: BinaryWeights<T>,
}

impl<T: Real> SigmoidCrossEntropy<T> {
    /// `pos_weight` is `beta`, one per column, all 1 if absent; `label_smoothing` is `eps`.
    ///
    /// # Errors
    /// [`Error::Value`](crate::Error::Value) for a weight that is negative or not finite,
    /// [`Error::Parameter`](crate::Error::Parameter) for a smoothing outside `[0, 1]`.
    pub fn new(pos_weight: Option<&[T]>, label_smoothing: f64) -> Result<Self> {
        Ok(SigmoidCrossEntropy { weights: BinaryWeights::new(pos_weight, label_smoothing, None)? })
    }

    #[inline(always)]
    fn loss<S: Simd<T>>(s: S, logit: S::V, logistic: Logistic<S::V>, positive: S::V, negative: S::V) -> S::V {
        let zero = s.splat(T::ZERO);
        // The weight of the answer that the logit opposes: the last two terms of the loss; one of them is always 0.
        let against = S::V::select(logit.lt(zero), positive, negative);
        let linear = (against * logit.abs()).zero_where(against.eq(zero));
        (positive + negative).mul_add(logistic.log1p(s), linear)
    }
}

impl<T: Real> PointLoss<T> for SigmoidCrossEntropy<T> {
    const BEGINS: bool = true;

    #[inline(always)]
    fn begin<S: Simd<T>>(s: S, x: S::V) -> S::V {
        Logistic::exponential(s, x)
    }

    #[inline(always)]
    fn value<S: Simd<T>>(&self, s: S, points: Points<S::V>) -> S::V {
        let (positive, negative) = self.weights.of(s, points);
        Self::loss(s, points.x, Logistic::of(points.x, points.begun), positive, negative)
    }

    #[inline(always)]
    fn value_and_grad<S: Simd<T>>(&self, s: S, points: Points<S::V>) -> (S::V, S::V) {
        let (positive, negative) = self.weights.of(s, points);
        let logistic = Logistic::of(points.x, points.begun);
        let (sigmoid, complement) = logistic.sigmoids(s);
        let grad = negative * sigmoid - positive * complement;
        (Self::loss(s, points.x, logistic, positive, negative), grad)
    }
}

impl<T: Real> PointHess<T> for SigmoidCrossEntropy<T> {
    #[inline(always)]
    fn value_grad_hess<S: Simd<T>>(&self, s: S, points: Points<S::V>, _: bool) -> [S::V; 3] {
        let (positive, negative) = self.weights.of(s, points);
        let logistic = Logistic::of(points.x, points.begun);
        let (sigmoid, complement) = logistic.sigmoids(s);
        let grad = negative * sigmoid - positive * complement;
        let hess = (positive + negative) * (sigmoid * complement);
        [Self::loss(s, points.x, logistic, positive, negative), grad, hess]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Float, Isa, Kernel, read, write};

    /// The formula in float64.
    fn oracle(x: f64, t: f64, beta: f64) -> (f64, f64) {
        let softplus = |x: f64| x.max(0.0) + (-x.abs()).exp().ln_1p();
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        (beta * t * softplus(-x) + (1.0 - t) * softplus(x), (1.0 - t) * sigmoid(x) - beta * t * sigmoid(-x))
    }

    struct Points<'a, T>(&'a [T], &'a [T], &'a [T]);

    impl<T: Real> Kernel<T> for Points<'_, T> {
        type Output = (Vec<T>, Vec<T>);
        #[inline(always)]
        fn run<S: Simd<T>>(self, s: S) -> Self::Output {
            let Points(x, t, beta) = self;
            let ours = SigmoidCrossEntropy::new(Some(beta), 0.0).unwrap();
            let (mut losses, mut grads) = (vec![T::NAN; x.len()], vec![T::NAN; x.len()]);
            for i in (0..x.len()).step_by(S::LANES) {
                let (x, t) = (read(s, x, i, T::ZERO), read(s, t, i, T::ZERO));
                let begun = SigmoidCrossEntropy::begin(s, x);
                let (loss, grad) = ours.value_and_grad(s, crate::losses::Points { first: i, x, begun, target: t });
                write(s, loss, &mut losses, i);
                write(s, grad, &mut grads, i);
            }
            (losses, grads)
        }
    }

    #[test]
    fn the_whole_range_agrees_with_the_oracle_on_every_instruction_set() {
        let n = 4001;
        let x: Vec<f32> = (0..n).map(|i| (i as f32 - 2000.0) * 0.0437).collect();
        let t: Vec<f32> = (0..n).map(|i| [0.0, 1.0, 0.25, 1.0, 0.9][i % 5]).collect();
        let beta: Vec<f32> = (0..n).map(|i| [1.0, 3.0, 0.5][i % 3]).collect();
        for isa in Isa::available() {
            let (losses, grads) = f32::dispatch(isa, Points(&x, &t, &beta));
            for i in 0..n {
                let (loss, grad) = oracle(x[i].into(), t[i].into(), beta[i].into());
                let case = format!("{} x={} t={} beta={}", isa.name(), x[i], t[i], beta[i]);
                assert!((f64::from(losses[i]) - loss).abs() <= 4e-7 * loss, "{case}: {} {loss}", losses[i]);
                let scale = grad.abs().max(f64::from(f32::EPSILON) * 1.0);
                assert!((f64::from(grads[i]) - grad).abs() <= 1e-6 * scale, "{case}: {} {grad}", grads[i]);
            }
        }
    }
}
