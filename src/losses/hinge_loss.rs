//! Hinge loss: the score must lie on the correct side with a margin of 1; beyond it the loss is 0.
//!
//! # Formula
//! For one score `s` and the side `y` of its target, 1 for the target 1 and -1 for the targets 0 and -1:
//!
//! ```text
//! loss = max(0, 1 - y s)          squared: max(0, 1 - y s)^2
//! ```
//!
//! # Gradient
//! `-y` where `1 - y s > 0`, else 0; squared: `-2 y max(0, 1 - y s)`. At the kink, `y s = 1`, every number from `-y` to
//! 0 is a subgradient; the result is 0.
//!
//! # Domain, shapes, units
//! `s` in `[-inf, inf]`, targets 1, 0 and -1, in any mixture. The loss has no unit.
//!
//! # Precision
//! `1 - y s` is rounded once; the difference is exact where it is small.
//!
//! # Special values
//! An infinite score on the correct side: loss 0. On the wrong side: loss +inf, gradient `-y`, squared `-y inf`. A
//! score or target of NaN: NaN.
//!
//! # References
//! C. Cortes and V. Vapnik, *Support-Vector Networks*, Machine Learning 20, 1995.
//! Y. Tang, *Deep Learning using Linear Support Vector Machines*, 2013 (the square).

use super::{Domain, PointLoss, Points};
use crate::math::Real;
use crate::simd::{Lanes, Simd};

/// Hinge loss, or its square.
#[derive(Clone, Copy, Debug)]
pub struct HingeLoss {
    /// Whether the loss is squared.
    pub squared: bool,
}

impl<T: Real> PointLoss<T> for HingeLoss {
    const NAME: &'static str = "scores";
    const TARGETS: Domain = Domain::Signs;

    #[inline(always)]
    fn value<S: Simd<T>>(&self, s: S, points: Points<S::V>) -> S::V {
        self.value_and_grad(s, points).0
    }

    #[inline(always)]
    fn value_and_grad<S: Simd<T>>(&self, s: S, Points { x: score, target, .. }: Points<S::V>) -> (S::V, S::V) {
        let (zero, one) = (s.splat(T::ZERO), s.splat(T::ONE));
        // A target of NaN gives a side of NaN.
        let side = S::V::select(target.eq(one), one, target * zero - one);
        // The shortfall of the margin; `max` keeps a NaN on its right side.
        let short = zero.max(one - side * score);
        if self.squared {
            return (short * short, (zero - (side + side)) * short);
        }
        (short, S::V::select(zero.lt(short), zero - side, short))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Float, Isa, Kernel, read, write};

    struct Points<'a>(&'a [f64], &'a [f64], bool);

    impl Kernel<f64> for Points<'_> {
        type Output = (Vec<f64>, Vec<f64>);
        #[inline(always)]
        fn run<S: Simd<f64>>(self, s: S) -> Self::Output {
            let Points(scores, targets, squared) = self;
            let (mut losses, mut grads) = (vec![f64::NAN; scores.len()], vec![f64::NAN; scores.len()]);
            for i in (0..scores.len()).step_by(S::LANES) {
                let (score, target) = (read(s, scores, i, 0.0), read(s, targets, i, 0.0));
                let (loss, grad) = HingeLoss { squared }
                    .value_and_grad(s, crate::losses::Points { first: i, x: score, begun: score, target });
                write(s, loss, &mut losses, i);
                write(s, grad, &mut grads, i);
            }
            (losses, grads)
        }
    }

    #[test]
    fn both_sides_of_the_kink_and_far_out() {
        let (inf, nan) = (f64::INFINITY, f64::NAN);
        let scores = [2.0, 1.0, 0.25, -3.0, inf, -inf, 0.5, -1.0, -2.0, inf, nan, 0.0];
        let targets = [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, -1.0, -1.0, 0.0, 1.0, nan];
        let truth = [0.0, 0.0, 0.75, 4.0, 0.0, inf, 1.5, 0.0, 0.0, inf, nan, nan];
        let slope = [0.0, 0.0, -1.0, -1.0, 0.0, -1.0, 1.0, 0.0, 0.0, 1.0, nan, nan];
        let same = |a: f64, b: f64| a == b || (a.is_nan() && b.is_nan());
        for isa in Isa::available() {
            let (losses, grads) = f64::dispatch(isa, Points(&scores, &targets, false));
            let (squares, doubles) = f64::dispatch(isa, Points(&scores, &targets, true));
            for i in 0..scores.len() {
                let case = format!("{} score={} target={}", isa.name(), scores[i], targets[i]);
                assert!(same(losses[i], truth[i]) && same(grads[i], slope[i]), "{case}: {} {}", losses[i], grads[i]);
                let double = if slope[i] == 0.0 { 0.0 } else { 2.0 * slope[i] * truth[i] };
                assert!(same(squares[i], truth[i] * truth[i]), "{case}: {}", squares[i]);
                assert!(same(doubles[i], double), "{case}: {}", doubles[i]);
            }
        }
    }
}
