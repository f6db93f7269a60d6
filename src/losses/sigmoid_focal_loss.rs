//! Sigmoid focal loss: binary cross-entropy with less weight on labels that are already predicted well.
//!
//! # Formula
//! For one logit `x`, target `t`, focus `gamma`, balance `alpha`, weight of the positive label `beta`,
//! `p = sigmoid(x)`, `q = 1 - p`:
//!
//! ```text
//! loss = -[A q^gamma ln p + B p^gamma ln q]            A = beta alpha t,  B = (1 - alpha) (1 - t)
//! ```
//!
//! Without `alpha` both of its factors are 1. With label smoothing `t` is replaced by `(1 - eps) t + eps / 2`.
//! `gamma = 0` gives the bits of sigmoid cross-entropy.
//!
//! The asymmetric loss has a focus of its own for the negative answer, `gamma_neg`, and a margin of the probability,
//! `clip`, below which that answer costs nothing:
//!
//! ```text
//! loss = -[A q^gamma ln p + B r^gamma_neg ln(1 - r)]     r = max(p - clip, 0),  1 - r = min(q + clip, 1)
//! ```
//!
//! With `a = |x|`, `l = ln(1 + exp(-a))`, `P = sigmoid(a)`, `Q = sigmoid(-a)`, `F` the weight of the answer that `x`
//! favours and `O` the weight of the other answer (`F, O = A, B` for `x >= 0`, else `B, A`):
//!
//! ```text
//! loss = F Q^gamma l + O P^gamma (a + l)               P^gamma = exp(-gamma l),  Q^gamma = exp(-gamma (a + l))
//! ```
//!
//! where each answer has its own `gamma`, if there are two.
//! # Gradient
//! `d loss / dx = sign(x) [O P^gamma (P + gamma Q (a + l)) - F Q^gamma (Q + gamma P l)]`.
//!
//! # Hessian
//! `d^2 loss / dx^2` is the sum of the two terms below. It may be negative: a focal loss is not convex.
//!
//! ```text
//! O P^gamma Q [(2 gamma + 1) P + gamma (a + l) (gamma Q - P)]
//! F Q^gamma P [(2 gamma + 1) Q + gamma l (gamma P - Q)]
//! ```
//!
//! # With a margin of the probability
//! The negative answer's `n(r) = r^g C` with `g = gamma_neg`, `w = 1 - r` and `C = -ln w` has, for `r > 0`,
//!
//! ```text
//! d n / dx     = p q n'                       n'  = r^g (g C / r + 1 / w)
//! d^2 n / dx^2 = p q (p q n'' + (q - p) n')   n'' = r^g (g (g - 1) C / r^2 + 2 g / (r w) + 1 / w^2)
//! ```
//!
//! and is 0 for `r = 0`, its derivatives too. The focus is part of the derivative, where the authors' code may leave it
//! out of the gradient.
//!
//! # Domain, shapes, units
//! `x` in `[-inf, inf]`, `t`, `alpha`, `eps` and `clip` in `[0, 1]`, `gamma` and `gamma_neg` in `[0, 1e9]`, not only
//! integers; `beta >= 0`, one per column; the loss is in nats.
//!
//! # Precision
//! Powers are computed as exponentials, so no power of 0 occurs, and `gamma` below 1 needs no special case. Where
//! `gamma a` is large, a rounding error of the product would be amplified by the exponential, so the product has twice
//! the digits. Each of the two terms has an error of a few units in the last place, plus `gamma ln 2` units where `x`
//! is near 0. The two terms of the gradient may cancel; in the Hessian the two terms of a bracket may cancel too.
//!
//! With a margin `r` is a difference, whose error is that of `p`: a few units in the last place times `p / r`, which
//! matters where `p` has just passed the margin. `r^g` is a product for whole numbers up to 8; for others its error is
//! `g ln(1 / r)` units.
//!
//! # Special values
//! As for sigmoid cross-entropy. An infinite logit on the correct side has loss 0; on the wrong side it has loss +inf,
//! gradient `-A` or `B`, and Hessian 0. A term whose weight is 0 is 0. `x` or `t` of NaN: NaN. With a margin the wrong
//! answer `x = inf` costs `B (1 - clip)^g ln(1 / clip)`, with gradient and Hessian 0.
//!
//! # References
//! T.-Y. Lin, P. Goyal, R. Girshick, K. He and P. Dollár, *Focal Loss for Dense Object Detection*, ICCV 2017, section 3.
//! T. Ridnik, E. Ben-Baruch, N. Zamir, A. Noy, I. Friedman, M. Protter and L. Zelnik-Manor, *Asymmetric loss for
//! multi-label classification*, ICCV 2021, arXiv:2009.14119, section 2.

use super::binary_weights::BinaryWeights;
use super::{PointHess, PointLoss, Points, SigmoidCrossEntropy};
use crate::error::{Result, check_fraction, check_number};
use crate::math::{Logistic, Real, exp_nonpositive, exp_nonpositive_sum, ln, log1p};
use crate::simd::{Lanes, Simd, inlined};

/// Sigmoid focal loss with its options.
#[derive(Clone, Debug)]
pub struct SigmoidFocalLoss<T> {
    /// The loss for `gamma = 0`; it holds the other options.
    entropy: SigmoidCrossEntropy<T>,
    /// The focus of the positive and of the negative answer.
    gamma: [T; 2],
    /// For each the bound of `a` from which on `exp(-gamma a)` is 0 in every type.
    furthest: [T; 2],
    /// The margin of the probability; 0 for none.
    clip: T,
}

/// Powers up to this one are products.
const LARGEST_PRODUCT: usize = 8;

/// The largest focus: beyond it the results no longer change. Its square is far from overflow.
const LARGEST_GAMMA: f64 = 1e9;

/// From this bound on `exp(-a)` is 0 in every type: it is below the smallest normal number.
const FAR: f64 = 1000.0;

impl<T: Real> SigmoidFocalLoss<T> {
    /// `gamma` is the focus, `alpha` the weight of positive labels, without effect if absent; the others as in
    /// [`SigmoidCrossEntropy::new`].
    ///
    /// # Errors
    /// [`Error::Value`] for a weight that is negative or not finite, [`Error::Parameter`] for an option outside its range.
    pub fn new(gamma: f64, alpha: Option<f64>, pos_weight: Option<&[T]>, label_smoothing: f64) -> Result<Self> {
        check_number("gamma", gamma, "in [0, 1e9]", (0.0..=LARGEST_GAMMA).contains(&gamma))?;
        let entropy = SigmoidCrossEntropy { weights: BinaryWeights::new(pos_weight, label_smoothing, alpha)? };
        let loss = SigmoidFocalLoss { entropy, gamma: [T::ZERO; 2], furthest: [T::ZERO; 2], clip: T::ZERO };
        Ok(loss.with_gammas([gamma; 2]))
    }

    /// The asymmetric loss: `gamma_neg` is the focus of the negative answer, that of the positive one if absent; `clip`
    /// the probability up to which the negative answer costs nothing.
    ///
    /// # Errors
    /// [`Error::Parameter`] for an option outside its range.
    pub fn asymmetric(self, gamma_neg: Option<f64>, clip: f64) -> Result<Self> {
        check_fraction("clip", clip)?;
        // A margin that the type cannot hold is none.
        let clip = if clip < T::MIN_EXPONENT.to_f64().exp2() { T::ZERO } else { T::from_f64(clip) };
        let Some(gamma_neg) = gamma_neg else { return Ok(SigmoidFocalLoss { clip, ..self }) };
        check_number("gamma_neg", gamma_neg, "in [0, 1e9]", (0.0..=LARGEST_GAMMA).contains(&gamma_neg))?;
        let gamma = self.gamma[0].to_f64();
        Ok(SigmoidFocalLoss { clip, ..self.with_gammas([gamma, gamma_neg]) })
    }

    fn with_gammas(self, gammas: [f64; 2]) -> Self {
        // The bound must not overflow when its digits are split.
        let furthest = gammas.map(|gamma| T::from_f64((FAR / gamma).min(1e30)));
        SigmoidFocalLoss { gamma: gammas.map(T::from_f64), furthest, ..self }
    }

    /// Whether the loss is sigmoid cross-entropy.
    #[inline(always)]
    fn is_plain(&self) -> bool {
        self.gamma == [T::ZERO; 2] && self.clip == T::ZERO
    }

    /// Numbers for the answer that `x` favours and for the other one, given those for both answers.
    #[inline(always)]
    fn by_favour<S: Simd<T>>(s: S, x: S::V, [yes, no]: [T; 2]) -> [S::V; 2] {
        let (yes, no, negative) = (s.splat(yes), s.splat(no), x.lt(s.splat(T::ZERO)));
        [S::V::select(negative, no, yes), S::V::select(negative, yes, no)]
    }

    /// The focus of the answer that `x` favours and of the other one.
    #[inline(always)]
    fn gammas<S: Simd<T>>(&self, s: S, x: S::V) -> [S::V; 2] {
        if self.gamma[0] == self.gamma[1] { [s.splat(self.gamma[0]); 2] } else { Self::by_favour(s, x, self.gamma) }
    }

    /// `(F Q^gamma, O P^gamma)`
    #[inline(always)]
    fn powers<S: Simd<T>>(&self, s: S, x: S::V, margin: S::V, cost: S::V, favoured: S::V, other: S::V) -> (S::V, S::V) {
        let zero = s.splat(T::ZERO);
        let [gamma, gamma_of_other] = self.gammas(s, x);
        // 1. P^gamma = exp(-gamma l), where gamma l is at most gamma ln 2
        let near = zero - gamma_of_other * cost;
        // 2. Q^gamma = exp(-gamma a - gamma l), where gamma a = product + rest; `min` keeps a NaN on its right side
        let furthest = if self.gamma[0] == self.gamma[1] {
            s.splat(self.furthest[0])
        } else {
            Self::by_favour(s, x, self.furthest)[0]
        };
        let (product, rest) = gamma.product(furthest.min(margin));
        let (far, further) = (zero - product, zero - gamma * cost - rest);
        // 3. if one of the weights is 0 in every lane, as for labels of 0 and 1, one exponential is enough
        let is_favoured = other.eq(zero);
        let are_sure = s.all(favoured.zero_where(is_favoured).eq(zero));
        if are_sure {
            let far = S::V::select(is_favoured, far, near);
            let power = exp_nonpositive_sum(s, far, further.zero_unless(is_favoured));
            return (favoured * power, other * power);
        }
        (favoured * exp_nonpositive_sum(s, far, further), other * exp_nonpositive_sum(s, near, zero))
    }

    #[inline(always)]
    fn terms<S: Simd<T>>(&self, s: S, points: Points<S::V>, (yes, no): (S::V, S::V)) -> Terms<S::V> {
        let (x, logistic) = (points.x, Logistic::of(points.x, points.begun));
        let (margin, cost, (large, small)) = (x.abs(), logistic.log1p(s), logistic.by_size(s));
        // 1. which of the two answers x favours
        let negative = x.lt(s.splat(T::ZERO));
        let (favoured, other) = (S::V::select(negative, no, yes), S::V::select(negative, yes, no));
        // 2. the powers: squares for gamma = 2, the usual focus, else exponentials
        let (favoured, other) = if self.gamma == [T::ONE + T::ONE; 2] {
            (favoured * (small * small), other * (large * large))
        } else {
            self.powers(s, x, margin, cost, favoured, other)
        };
        Terms { favoured, other, large, small, cost, margin, x }
    }

    /// `F Q^gamma l + O P^gamma (a + l)`. The second term is 0 if its weight is 0, even at an infinite `a`.
    #[inline(always)]
    fn loss<S: Simd<T>>(s: S, terms: &Terms<S::V>) -> S::V {
        let zero = s.splat(T::ZERO);
        let other = terms.other * (terms.margin + terms.cost);
        terms.favoured.mul_add(terms.cost, other.zero_where(terms.other.eq(zero)))
    }

    #[inline(always)]
    fn grad<S: Simd<T>>(&self, s: S, terms: &Terms<S::V>) -> S::V {
        let Terms { favoured, other, large, small, cost, .. } = *terms;
        let (zero, [gamma, gamma_of_other]) = (s.splat(T::ZERO), self.gammas(s, terms.x));
        let up = other * gamma_of_other.mul_add(small * terms.other_cost(s), large);
        let down = favoured * gamma.mul_add(large * cost, small);
        S::V::select(terms.x.lt(zero), down - up, up - down)
    }

    /// `P Q` times the weights of the gradient, `O P^gamma (1 + gamma Q (a + l) / P)` and
    /// `F Q^gamma (1 + gamma P l / Q)`.
    #[inline(always)]
    fn convex_hess<S: Simd<T>>(&self, s: S, terms: &Terms<S::V>) -> S::V {
        let Terms { favoured, other, large, small, cost, .. } = *terms;
        let [gamma, of_other] = self.gammas(s, terms.x);
        let up = other * small * of_other.mul_add(small * terms.other_cost(s), large);
        let down = favoured * large * (small + gamma * (large * cost));
        up + down
    }

    #[inline(always)]
    fn hess<S: Simd<T>>(&self, s: S, terms: &Terms<S::V>) -> S::V {
        let Terms { favoured, other, large, small, cost, .. } = *terms;
        let (one, [gamma, of_other]) = (s.splat(T::ONE), self.gammas(s, terms.x));
        let up = (of_other + of_other + one) * large + of_other * terms.other_cost(s) * (of_other * small - large);
        let down = (gamma + gamma + one) * small + gamma * cost * (gamma * large - small);
        other * small * up + favoured * large * down
    }

    /// Loss, gradient and Hessian with a margin of the probability.
    #[inline(always)]
    fn with_margin<S: Simd<T>>(&self, s: S, points: Points<S::V>, is_convex: bool) -> [S::V; 3] {
        s.call(inlined!(|s| {
            // 1. the positive answer, as without a margin
            let (yes, no) = self.entropy.weights.of(s, points);
            let terms = self.terms(s, points, (yes, s.splat(T::ZERO)));
            // 2. the negative answer
            let [loss, grad, hess] = self.negative(s, points);
            let hesses = if is_convex {
                // its gradient times 1 - p
                [self.convex_hess(s, &terms), grad * Logistic::of(points.x, points.begun).sigmoids(s).1]
            } else {
                [self.hess(s, &terms), hess]
            };
            [
                no.mul_add(loss, Self::loss(s, &terms)),
                no.mul_add(grad, self.grad(s, &terms)),
                no.mul_add(hesses[1], hesses[0]),
            ]
        }))
    }

    /// `n(r)` and its derivatives with respect to `x`.
    #[inline(always)]
    fn negative<S: Simd<T>>(&self, s: S, points: Points<S::V>) -> [S::V; 3] {
        let (zero, one, clip, gamma) = (s.splat(T::ZERO), s.splat(T::ONE), s.splat(self.clip), s.splat(self.gamma[1]));
        let (p, q) = Logistic::of(points.x, points.begun).sigmoids(s);
        let is_beyond = clip.lt(p);
        // 1. r, 1 - r, and the cost; an answer within the margin gets a cost that is not used
        let r = S::V::select(is_beyond, p - clip, one);
        let w = S::V::select(is_beyond, one.min(q + clip), one);
        let is_even = w.lt(s.splat(T::from_f64(0.5)));
        let cost = zero - S::V::select(is_even, ln(s, w), log1p(s, zero - r.min(s.splat(T::from_f64(0.5)))));
        // 2. q / w is at most 1, also where both are small
        let (power, cost_share, share, steep) = (self.power_of(s, r), cost / r, q / w, p / r);
        let first = gamma * cost_share * q + share;
        let bend = (gamma * (gamma - one) * cost_share * q + (gamma + gamma) * share) * (q * steep);
        let second = bend + p * share * share + (q - p) * first;
        let results = [power * cost, p * power * first, p * power * second];
        // 3. nothing within the margin; a NaN stays
        let x = points.x;
        results.map(inlined!(|result| S::V::select(x.eq(x), result.zero_unless(is_beyond), x)))
    }

    /// `r^gamma_neg` for `r` in (0, 1].
    #[inline(always)]
    fn power_of<S: Simd<T>>(&self, s: S, r: S::V) -> S::V {
        let gamma = self.gamma[1].to_f64();
        if gamma.fract() == 0.0 && gamma <= LARGEST_PRODUCT as f64 {
            return (0..gamma as usize).fold(s.splat(T::ONE), inlined!(|power, _| power * r));
        }
        exp_nonpositive(s, s.splat(T::from_f64(-FAR)).max(s.splat(self.gamma[1]) * ln(s, r)))
    }
}

/// The common terms of loss, gradient and Hessian.
#[derive(Clone, Copy)]
struct Terms<V> {
    x: V,
    /// `F Q^gamma`
    favoured: V,
    /// `O P^gamma`
    other: V,
    /// `P`
    large: V,
    /// `Q`
    small: V,
    /// `l`, the cost of the favoured answer
    cost: V,
    /// `a`
    margin: V,
}

impl<V: Copy> Terms<V> {
    /// `a + l`, the cost of the other answer. It is bounded: beyond the bound the factor `Q` is 0, and 0 times infinity
    /// would be NaN.
    #[inline(always)]
    fn other_cost<T: Real, S: Simd<T, V = V>>(&self, s: S) -> V
    where
        V: Lanes<T>,
    {
        s.splat(T::from_f64(FAR)).min(self.margin) + self.cost
    }
}

impl<T: Real> PointLoss<T> for SigmoidFocalLoss<T> {
    const BEGINS: bool = true;

    #[inline(always)]
    fn begin<S: Simd<T>>(s: S, x: S::V) -> S::V {
        SigmoidCrossEntropy::begin(s, x)
    }

    #[inline(always)]
    fn value<S: Simd<T>>(&self, s: S, points: Points<S::V>) -> S::V {
        if self.is_plain() {
            return self.entropy.value(s, points);
        }
        if self.clip != T::ZERO {
            return self.with_margin(s, points, false)[0];
        }
        Self::loss(s, &self.terms(s, points, self.entropy.weights.of(s, points)))
    }

    #[inline(always)]
    fn value_and_grad<S: Simd<T>>(&self, s: S, points: Points<S::V>) -> (S::V, S::V) {
        if self.is_plain() {
            return self.entropy.value_and_grad(s, points);
        }
        if self.clip != T::ZERO {
            let [loss, grad, _] = self.with_margin(s, points, false);
            return (loss, grad);
        }
        let terms = self.terms(s, points, self.entropy.weights.of(s, points));
        (Self::loss(s, &terms), self.grad(s, &terms))
    }
}

impl<T: Real> PointHess<T> for SigmoidFocalLoss<T> {
    #[inline(always)]
    fn value_grad_hess<S: Simd<T>>(&self, s: S, points: Points<S::V>, is_convex: bool) -> [S::V; 3] {
        if self.is_plain() {
            return self.entropy.value_grad_hess(s, points, is_convex);
        }
        if self.clip != T::ZERO {
            return self.with_margin(s, points, is_convex);
        }
        let terms = self.terms(s, points, self.entropy.weights.of(s, points));
        let hess = if is_convex { self.convex_hess(s, &terms) } else { self.hess(s, &terms) };
        [Self::loss(s, &terms), self.grad(s, &terms), hess]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Float, Isa, Kernel, read, write};

    /// The formula in float64: loss, gradient, Hessian, and the size of the terms of the latter two.
    fn oracle(x: f64, t: f64, gamma: f64) -> [f64; 5] {
        let softplus = |x: f64| x.max(0.0) + (-x.abs()).exp().ln_1p();
        let (p, q) = ((-softplus(-x)).exp(), (-softplus(x)).exp());
        let yes = |p: f64, q: f64, cost: f64| {
            let power = q.powf(gamma);
            let bracket = [(2.0 * gamma + 1.0) * q, gamma * cost * (gamma * p - q)];
            let hess = bracket.map(|term| power * p * term);
            [power * cost, -power * (q + gamma * p * cost), hess[0] + hess[1], hess[0].abs() + hess[1].abs()]
        };
        let (one, other) = (yes(p, q, softplus(-x)), yes(q, p, softplus(x)));
        [
            t * one[0] + (1.0 - t) * other[0],
            t * one[1] - (1.0 - t) * other[1],
            t * one[2] + (1.0 - t) * other[2],
            t * one[1].abs() + (1.0 - t) * other[1].abs(),
            t * one[3] + (1.0 - t) * other[3],
        ]
    }

    struct Points<'a, T>(&'a [T], &'a [T], f64);

    impl<T: Real> Kernel<T> for Points<'_, T> {
        type Output = [Vec<T>; 3];
        #[inline(always)]
        fn run<S: Simd<T>>(self, s: S) -> Self::Output {
            let Points(x, t, gamma) = self;
            let ours = SigmoidFocalLoss::<T>::new(gamma, None, None, 0.0).unwrap();
            let mut results = [(); 3].map(|()| vec![T::NAN; x.len()]);
            for i in (0..x.len()).step_by(S::LANES) {
                let (x, target) = (read(s, x, i, T::ZERO), read(s, t, i, T::ZERO));
                let points = crate::losses::Points { first: i, x, begun: SigmoidFocalLoss::begin(s, x), target };
                let values = ours.value_grad_hess(s, points, false);
                for (result, value) in results.iter_mut().zip(values) {
                    write(s, value, result, i);
                }
            }
            results
        }
    }

    #[test]
    fn the_whole_range_agrees_with_the_oracle_on_every_instruction_set() {
        let n = 4001;
        let x: Vec<f32> = (0..n).map(|i| (i as f32 - 2000.0) * 0.0437).collect();
        let t: Vec<f32> = (0..n).map(|i| [0.0, 1.0, 0.25, 1.0, 0.9][i % 5]).collect();
        for (isa, gamma) in
            Isa::available().into_iter().flat_map(|isa| [0.0, 0.3, 0.5, 1.0, 1.7, 2.0, 5.0].map(|g| (isa, g)))
        {
            let ours = f32::dispatch(isa, Points(&x, &t, gamma));
            for i in 0..n {
                // The kernel computes with gamma in single precision.
                let [loss, grad, hess, grad_size, hess_size] =
                    oracle(x[i].into(), t[i].into(), f64::from(gamma as f32));
                let case = format!("{} x={} t={} gamma={gamma}", isa.name(), x[i], t[i]);
                let lost = 64.0 * f64::from(f32::MIN_POSITIVE);
                for (k, (truth, size)) in [(loss, loss), (grad, grad_size), (hess, hess_size)].into_iter().enumerate() {
                    let error = (f64::from(ours[k][i]) - truth).abs();
                    assert!(error <= 1e-6 * size + lost, "{case} result {k}: {} {truth}", ours[k][i]);
                }
            }
        }
    }

    #[test]
    fn labels_of_0_or_1_give_the_same_bits_among_other_labels() {
        let n = 4001;
        let x: Vec<f32> = (0..n).map(|i| (i as f32 - 2000.0) * 0.0437).collect();
        let sure: Vec<f32> = (0..n).map(|i| f32::from(u8::from(i % 3 == 0))).collect();
        for (isa, gamma) in Isa::available().into_iter().flat_map(|isa| [0.3, 1.0, 1.7, 5.0].map(|g| (isa, g))) {
            let ours = f32::dispatch(isa, Points(&x, &sure, gamma));
            for lane in 0..4 {
                let is_soft = |i: usize| i % 4 == lane;
                let mixed: Vec<f32> = (0..n).map(|i| if is_soft(i) { 0.25 } else { sure[i] }).collect();
                let among = f32::dispatch(isa, Points(&x, &mixed, gamma));
                for (k, i) in (0..3).flat_map(|k| (0..n).map(move |i| (k, i))).filter(|&(_, i)| !is_soft(i)) {
                    assert_eq!(ours[k][i].to_bits(), among[k][i].to_bits(), "{} x={} {k}", isa.name(), x[i]);
                }
            }
        }
    }

    #[test]
    fn large_logits_give_finite_results_and_infinity_gives_the_limit() {
        let x = [1000.0, -1000.0, f64::INFINITY, -f64::INFINITY, 1e300, -1e300, 0.0, -0.0];
        for (isa, gamma) in
            Isa::available().into_iter().flat_map(|isa| [1e-300, 0.1, 0.5, 2.0, 77.0, 1e9].map(|g| (isa, g)))
        {
            for t in [0.0, 0.5, 1.0] {
                let [loss, grad, hess] = f64::dispatch(isa, Points(&x, &[t; 8], gamma));
                let case = format!("{} gamma={gamma} t={t}: {loss:?} {grad:?} {hess:?}", isa.name());
                for i in 0..8 {
                    let wrong = if x[i] > 0.0 { 1.0 - t } else { t };
                    let right = if wrong == 0.0 { 0.0 } else { wrong * x[i].abs() };
                    if i < 6 {
                        assert_eq!((loss[i], grad[i], hess[i]), (right, wrong * x[i].signum(), 0.0), "{case}");
                    }
                    assert!(!loss[i].is_nan() && grad[i].is_finite() && hess[i].is_finite(), "{case}");
                }
            }
        }
    }
}
