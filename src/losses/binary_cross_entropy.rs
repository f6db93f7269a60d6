//! Binary cross-entropy: independent labels, each yes or no, from probabilities.
//!
//! # Formula
//! For one probability `p`, target `t`, weight of the positive label `beta`:
//!
//! ```text
//! loss = -[beta t ln p + (1 - t) ln(1 - p)]
//! ```
//!
//! `ln(1 - p)` is `log1p(-p)`, so a small `p` keeps its cost. `eps` clips `p` to `[eps, 1 - eps]`, by clipping both
//! costs, `-ln p` and `-ln(1 - p)`, to `[-log1p(-eps), -ln eps]`. This is equivalent, and it also works if the type
//! cannot represent `1 - eps`.
//!
//! # Gradient
//! `d loss / dp = (1 - t) / (1 - p) - beta t / p`, and 0 where `p` is clipped.
//!
//! # Domain, shapes, units
//! `p` in `[0, 1]`, `t` in `[0, 1]`, `beta >= 0`, one per column, `eps` in `[0, 1/2)`; the loss is in nats.
//!
//! # Precision
//! Each cost has an error of at most 2 units in the last place of `p`'s type. But numbers near 1 are far apart, so the
//! cost of a confident correct answer is not accurate in `p`: use the logit instead.
//!
//! # Special values
//! A term whose factor is 0 is 0 even if its logarithm is not finite. `p = 0` and `t > 0`: loss +inf, gradient -inf.
//! `p = 1` and `t < 1`: loss +inf, gradient +inf. `p` or `t` of NaN: NaN.
//!
//! # References
//! C. M. Bishop, *Pattern Recognition and Machine Learning*, 2006, section 4.3.2.

use super::binary_weights::BinaryWeights;
use super::{Domain, PointLoss, Points};
use crate::error::{Result, check_number};
use crate::math::{Real, ln_share};
use crate::simd::{Lanes, Simd};

/// Binary cross-entropy with its options.
#[derive(Clone, Debug)]
pub struct BinaryCrossEntropy<T> {
    weights: BinaryWeights<T>,
    /// Rounded up: what is below it in this type is what is below `eps`.
    eps: T,
    /// The bounds of the costs: `-log1p(-eps)` and `-ln eps`.
    costs: [T; 2],
}

impl<T: Real> BinaryCrossEntropy<T> {
    /// `pos_weight` is `beta`, one per column, all 1 if absent; `eps = 0` clips nothing.
    ///
    /// # Errors
    /// [`Error::Value`] for a weight that is negative or not finite, [`Error::Parameter`] for `eps` outside `[0, 1/2)`.
    pub fn new(pos_weight: Option<&[T]>, eps: f64) -> Result<Self> {
        check_number("eps", eps, "in [0, 0.5)", (0.0..0.5).contains(&eps))?;
        let costs = [-(-eps).ln_1p(), -eps.ln()].map(T::from_f64);
        Ok(BinaryCrossEntropy { weights: BinaryWeights::new(pos_weight, 0.0, None)?, eps: T::not_below(eps), costs })
    }

    /// `-ln(u + lost)`, clipped. `min` and `max` keep a NaN on their right side. For `eps = 0` the bounds are 0 and
    /// infinity.
    #[inline(always)]
    fn cost<S: Simd<T>>(&self, s: S, u: S::V, lost: S::V) -> S::V {
        let [least, most] = [s.splat(self.costs[0]), s.splat(self.costs[1])];
        most.min(least.max(s.splat(T::ZERO) - ln_share(s, u, lost)))
    }

    #[inline(always)]
    fn loss<S: Simd<T>>(&self, s: S, at: Terms<S::V>) -> S::V {
        let (zero, Terms { p, q, yes, no, is_sure }) = (s.splat(T::ZERO), at);
        // 1 - p = q + lost
        let lost = (s.splat(T::ONE) - q) - p;
        let loss = if is_sure {
            // In every lane one of the terms is 0, so one logarithm is enough: of p or of 1 - p.
            let says_no = yes.eq(zero);
            let (u, lost) = (S::V::select(says_no, q, p), lost.zero_unless(says_no));
            let weight = S::V::select(says_no, no, yes);
            (weight * self.cost(s, u, lost)).zero_where(weight.eq(zero))
        } else {
            let yes_term = (yes * self.cost(s, p, zero)).zero_where(yes.eq(zero));
            yes_term + (no * self.cost(s, q, lost)).zero_where(no.eq(zero))
        };
        // NaN stays NaN where both weights are 0.
        p.mul_add(zero, loss)
    }
}

/// A register of probabilities, and the weights of their labels.
#[derive(Clone, Copy)]
struct Terms<V> {
    p: V,
    /// `1 - p`
    q: V,
    yes: V,
    no: V,
    /// Whether every lane has `yes` or `no` of 0.
    is_sure: bool,
}

impl<V> Terms<V> {
    #[inline(always)]
    fn of<T: Real, S: Simd<T, V = V>>(s: S, weights: &BinaryWeights<T>, points: Points<V>) -> Self
    where
        V: Lanes<T>,
    {
        let (p, (yes, no)) = (points.x, weights.of(s, points));
        let is_sure = s.all((yes * no).eq(s.splat(T::ZERO)));
        Terms { p, q: s.splat(T::ONE) - p, yes, no, is_sure }
    }
}

impl<T: Real> PointLoss<T> for BinaryCrossEntropy<T> {
    const NAME: &'static str = "p";
    const INPUTS: Domain = Domain::Unit;

    #[inline(always)]
    fn value<S: Simd<T>>(&self, s: S, points: Points<S::V>) -> S::V {
        self.loss(s, Terms::of(s, &self.weights, points))
    }

    #[inline(always)]
    fn value_and_grad<S: Simd<T>>(&self, s: S, points: Points<S::V>) -> (S::V, S::V) {
        let (zero, eps) = (s.splat(T::ZERO), s.splat(self.eps));
        let at @ Terms { p, q, yes, no, is_sure, .. } = Terms::of(s, &self.weights, points);
        let slope = if is_sure {
            let says_no = yes.eq(zero);
            let weight = S::V::select(says_no, no, zero - yes);
            (weight / S::V::select(says_no, q, p)).zero_where(weight.eq(zero))
        } else {
            (no / q).zero_where(no.eq(zero)) - (yes / p).zero_where(yes.eq(zero))
        };
        let grad = slope.zero_where(q.lt(eps)).zero_where(p.lt(eps));
        (self.loss(s, at), p.mul_add(zero, grad))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Float, Isa, Kernel, read, write};

    /// The formula in float64.
    fn oracle(p: f64, t: f64, beta: f64) -> (f64, f64, f64) {
        let term = |weight: f64, number: f64| if weight == 0.0 { 0.0 } else { number };
        let loss = term(t, -beta * t * p.ln()) + term(1.0 - t, -(1.0 - t) * (-p).ln_1p());
        let (up, down) = (term(1.0 - t, (1.0 - t) / (1.0 - p)), term(t, beta * t / p));
        (loss, up - down, up + down)
    }

    struct Points<'a>(&'a [f32], &'a [f32], f64);

    impl Kernel<f32> for Points<'_> {
        type Output = (Vec<f32>, Vec<f32>);
        #[inline(always)]
        fn run<S: Simd<f32>>(self, s: S) -> Self::Output {
            let Points(p, t, eps) = self;
            let ours = BinaryCrossEntropy::new(Some(&[3.0]), eps).unwrap();
            let (mut losses, mut grads) = (vec![f32::NAN; p.len()], vec![f32::NAN; p.len()]);
            for i in (0..p.len()).step_by(S::LANES) {
                let (p, t) = (read(s, p, i, 0.0), read(s, t, i, 0.0));
                let (loss, grad) =
                    ours.value_and_grad(s, crate::losses::Points { first: i, x: p, begun: p, target: t });
                write(s, loss, &mut losses, i);
                write(s, grad, &mut grads, i);
            }
            (losses, grads)
        }
    }

    fn points() -> (Vec<f32>, Vec<f32>) {
        let small = (0..600).map(|i| 2f32.powi(-i / 4) * (1.0 - 0.05 * (i % 4) as f32));
        let p: Vec<f32> = small.clone().chain(small.map(|p| 1.0 - p)).collect();
        let t = (0..p.len()).map(|i| [0.0, 1.0, 0.25, 1.0, 0.9][i % 5]).collect();
        (p, t)
    }

    #[test]
    fn the_whole_range_agrees_with_the_oracle_on_every_instruction_set() {
        let (p, t) = points();
        for isa in Isa::available() {
            let (losses, grads) = f32::dispatch(isa, Points(&p, &t, 0.0));
            for i in 0..p.len() {
                let (loss, grad, size) = oracle(p[i].into(), t[i].into(), 3.0);
                let case = format!("{} p={:e} t={}", isa.name(), p[i], t[i]);
                let close = |ours: f32, truth: f64, size: f64| {
                    let too_large = truth.abs() > f64::from(f32::MAX) && f64::from(ours) == truth.signum() / 0.0;
                    too_large || f64::from(ours) == truth || (f64::from(ours) - truth).abs() <= 4e-7 * size
                };
                assert!(close(losses[i], loss, loss), "{case}: {} {loss}", losses[i]);
                assert!(close(grads[i], grad, size), "{case}: {} {grad}", grads[i]);
            }
        }
    }

    #[test]
    fn eps_clips_only_probabilities_beyond_it() {
        let (p, t) = points();
        // 1 - 1e-9 is 1 in single precision: the loss of a clipped probability is still -ln 1e-9.
        for (isa, eps) in Isa::available().into_iter().flat_map(|isa| [1e-9, 1e-3, 0.25].map(|eps| (isa, eps))) {
            let (plain, plain_grads) = f32::dispatch(isa, Points(&p, &t, 0.0));
            let (losses, grads) = f32::dispatch(isa, Points(&p, &t, eps));
            for i in 0..p.len() {
                let x = f64::from(p[i]);
                let case = format!("{} eps={eps} p={:e} t={}", isa.name(), p[i], t[i]);
                if p[i] < eps as f32 || 1.0 - p[i] < eps as f32 {
                    let (below, t) = (x < 0.5, f64::from(t[i]));
                    let (near, far) = (-(-eps).ln_1p(), -eps.ln());
                    let (yes, no) = if below { (far, near) } else { (near, far) };
                    let truth = 3.0 * t * yes + (1.0 - t) * no;
                    assert!((f64::from(losses[i]) - truth).abs() <= 1e-6 * truth, "{case}: {} {truth}", losses[i]);
                    assert_eq!(grads[i], 0.0, "{case}");
                } else {
                    assert!((losses[i] - plain[i]).abs() <= 4e-7 * plain[i], "{case}: {} {}", losses[i], plain[i]);
                    assert_eq!(grads[i], plain_grads[i], "{case}");
                }
            }
        }
    }
}
