//! Softmax focal loss: cross-entropy with less weight on examples that are already classified well.
//!
//! # Formula
//! With `u`, `p = softmax(z)` and `logsumexp` as in [`softmax_cross_entropy`](super::softmax_cross_entropy), and a focus
//! `gamma >= 0`:
//!
//! ```text
//! loss = sum_k u_k (1 - p_k)^gamma (logsumexp(z) - z_k)          + z_loss logsumexp(z)^2
//! ```
//!
//! # Gradient
//! With `l_k = logsumexp(z) - z_k = -ln p_k` and `A_k = (1 - p_k)^gamma + gamma (1 - p_k)^(gamma - 1) p_k l_k`:
//!
//! ```text
//! v_k = u_k A_k       V = sum_k v_k       d loss / d z_j = V p_j - v_j     + 2 z_loss logsumexp(z) p_j
//! ```
//!
//! This is the gradient of cross-entropy with the weights `v`. For `gamma = 0`, `A` is 1 and the loss is cross-entropy,
//! whose own code is faster.
//!
//! # Hessian
//! With the slopes `B_k` of the weights `v` and their sum `B`, the diagonal is, without `z_loss`:
//!
//! ```text
//! B_k = u_k gamma p_k (1 - p_k)^(gamma - 1) (l_k - 2 - (gamma - 1) p_k l_k / (1 - p_k))
//! V p_j (1 - p_j) - B p_j^2 - B_j (1 - 2 p_j)
//! ```
//!
//! For the class `y` of a row without smoothing it is `v p_y (1 - p_y) - B (1 - p_y)^2`. It may be negative: a focal
//! loss is not convex. The first term alone, the Hessian of cross-entropy with the weights `v`, is not.
//!
//! # Domain, shapes, units
//! As in cross-entropy; `gamma` finite and non-negative; the loss is in nats.
//!
//! # Precision
//! `1 - p_k` is computed from the complement for the largest class, `rest / (1 + rest)`, and is at least 1/2 for all
//! others. So `(1 - p)^gamma = exp(gamma ln(1 - p))` keeps its digits. The powers of the largest class and of a
//! labelled class are computed in double precision. `A = (1 - p)^gamma (1 + gamma p l / (1 - p))`, where `l / (1 - p)`
//! tends to 1 as `p` does.
//!
//! # Special values
//! `p_k = 1`: for `gamma > 0` loss and gradient of the term are 0, the limit, also for `gamma < 1`, where the slope of
//! the power alone is infinite. `p_k = 0`: `A_k = 1`, so the gradient is that of cross-entropy, and the loss is +inf.
//! Everything else as in cross-entropy.
//!
//! # References
//! T.-Y. Lin, P. Goyal, R. Girshick, K. He and P. Dollár, *Focal loss for dense object detection*, ICCV 2017,
//! arXiv:1708.02002, section 3.

mod by_lane;

use super::target_weights::TargetWeights;
use super::{CurvedRowLoss, LaneKernels, RowLoss, RowTarget, SoftmaxCrossEntropy};
use crate::error::{Result, check_non_negative};
use crate::math::{Real, exp, log1p};
use crate::rows::{BLOCK, LogitMap, Logits, LogitsIo, RowSum, Softmax};
use crate::simd::{Lanes, Simd, fold, inlined, position, short};

/// Softmax focal loss with its options: those of cross-entropy, and the focus.
#[derive(Clone, Copy, Debug)]
pub struct SoftmaxFocalLoss<'a, T> {
    cross_entropy: SoftmaxCrossEntropy<'a, T>,
    gamma: f64,
}

/// The largest focus of the kernels by lane, which take powers of rounded complements.
const LARGEST_GAMMA_BY_LANE: f64 = 64.0;

impl<'a, T: Real> SoftmaxFocalLoss<'a, T> {
    /// `gamma` is the rate at which well-classified examples lose weight: 0 gives cross-entropy, 2 is the authors'
    /// choice.
    ///
    /// # Errors
    /// [`Error::Parameter`] for a `gamma` that is negative or not finite.
    pub fn new(cross_entropy: SoftmaxCrossEntropy<'a, T>, gamma: f64) -> Result<Self> {
        check_non_negative("gamma", gamma)?;
        Ok(SoftmaxFocalLoss { cross_entropy, gamma })
    }

    /// The largest focus that registers compute with: its products with costs are finite, and a larger one makes a
    /// difference only for probabilities below 1e-18.
    fn largest_gamma() -> f64 {
        (-T::MIN_EXPONENT.to_f64() / 2.0).exp2()
    }

    /// `q^gamma cost` and `A` of a class with probability `p`, its complement `q` and `cost = -ln p`.
    #[inline(always)]
    fn focus(&self, p: f64, q: f64, cost: f64) -> Focus {
        // A complement near 1 has lost the digits of p.
        let power = if p < 0.5 { (self.gamma * (-p).ln_1p()).exp() } else { q.powf(self.gamma) };
        if p == 0.0 {
            Focus { loss: cost, slope: 1.0 }
        } else if q == 0.0 {
            Focus { loss: 0.0, slope: 0.0 }
        } else {
            Focus { loss: power * cost, slope: power * (1.0 + self.gamma * p * (cost / q)) }
        }
    }

    #[inline(always)]
    fn focus_of(&self, sum: RowSum<T>, logit: T) -> Focus {
        let (p, q) = sum.probability(logit);
        self.focus(p, q, sum.log_partition() + sum.margin(logit))
    }

    /// All terms of a row with weights for all classes; `None` if no class has the largest logit because all are NaN or
    /// -inf.
    #[inline(always)]
    fn terms<S: Simd<T>>(&self, s: S, logits: &[T], weights: &TargetWeights<'_, T>) -> Option<Terms<T>> {
        s.call(inlined!(|s| self.terms_of(s, logits, weights)))
    }

    #[inline(always)]
    fn terms_of<S: Simd<T>>(&self, s: S, logits: &[T], weights: &TargetWeights<'_, T>) -> Option<Terms<T>> {
        let sum = RowSum::of(s, logits);
        let top = position(s, logits, sum.max)?;
        let lanes = FocusLanes {
            gamma: T::from_f64(self.gamma.min(Self::largest_gamma())),
            max: sum.max,
            log_partition: T::from_f64(sum.log_partition()),
            softmax: sum.softmax(1.0),
        };
        // 1. the classes below the maximum; a partial register is filled with the maximum
        let (mut loss, mut slopes) = (0.0, 0.0);
        let size = short(s, BLOCK);
        for (b, block) in logits.chunks(size).enumerate() {
            let zero = s.splat(T::ZERO);
            let [(a, v), (c, w)] = fold::<2, _, _, _>(
                s,
                block,
                sum.max,
                (zero, zero),
                inlined!(|(loss, slopes), i, z| {
                    let u = weights.register(s, b * size + i, 1.0);
                    let u = u.zero_where(z.eq(s.splat(lanes.max)));
                    let (own_loss, slope) = lanes.at(s, z);
                    let is_zero_weight = u.eq(zero);
                    let loss = loss + (u * own_loss).zero_where(is_zero_weight);
                    (loss, slopes + (u * slope).zero_where(is_zero_weight))
                }),
            );
            loss += (a + c).sum().to_f64();
            slopes += (v + w).sum().to_f64();
        }
        // 2. the largest class, exactly; if others tie with it, its probability is at most 1/2, and nothing cancels
        let (own, u) = (self.focus_of(sum, sum.max), weights.at(top));
        loss += u * own.loss;
        if sum.rest >= 1.0 {
            for (k, _) in logits.iter().enumerate().filter(|&(k, &z)| z == sum.max && k != top) {
                let u = weights.dense_at(k);
                loss += u * own.loss;
                slopes += u * own.slope;
            }
        }
        // 3. a labelled class that is not the largest
        let mut labelled = None;
        if let RowTarget::Class(y) = weights.target
            && let Some((_, share)) = weights.pair(0)
            && y != top
        {
            let focus = self.focus_of(sum, logits[y]);
            loss += share * focus.loss;
            slopes += share * focus.slope;
            labelled = Some((y, logits[y], weights.at(y) * focus.slope));
        }
        Some(Terms { sum, lanes, top, own: u * own.slope, peak: own.slope, others: slopes, labelled, loss })
    }
}

/// The share of a class in the loss of a row and in its gradient, for a weight of 1.
#[derive(Clone, Copy)]
struct Focus {
    loss: f64,
    slope: f64,
}

/// The same for registers of classes whose probability is at most 1/2.
#[derive(Clone, Copy)]
struct FocusLanes<T> {
    gamma: T,
    max: T,
    log_partition: T,
    softmax: Softmax<T>,
}

impl<T: Real> FocusLanes<T> {
    #[inline(always)]
    fn at<S: Simd<T>>(&self, s: S, z: S::V) -> (S::V, S::V) {
        let (zero, one, gamma) = (s.splat(T::ZERO), s.splat(T::ONE), s.splat(self.gamma));
        let p = self.softmax.of(s, z);
        let cost = (s.splat(self.max) - z) + s.splat(self.log_partition);
        let power = exp(s, gamma * log1p(s, zero - p));
        let slope = power + power * (gamma * p * cost / (one - p));
        (power * cost, S::V::select(p.eq(zero), one, slope))
    }
}

/// A row with weights for all classes.
struct Terms<T> {
    sum: RowSum<T>,
    lanes: FocusLanes<T>,
    /// The class of the largest logit, its `v`, and its `A`.
    top: usize,
    own: f64,
    peak: f64,
    /// The sum of all other `v`.
    others: f64,
    /// A class of the sparse part that is not the largest, its logit and `v`.
    labelled: Option<(usize, T, f64)>,
    loss: f64,
}

impl<T: Real> RowLoss<T> for SoftmaxFocalLoss<'_, T> {
    const DENSE_TARGETS: bool = true;
    type ClassLanes = Self;
    type SoftLanes = Self;

    #[inline(always)]
    fn logit_map(&self) -> LogitMap<'_, T> {
        self.cross_entropy.logit_map()
    }

    #[inline(always)]
    fn left_out(&self) -> Option<[f64; 2]> {
        self.cross_entropy.left_out()
    }

    fn lanes(&self, has_classes: bool) -> LaneKernels<'_, Self, Self> {
        // A large power of a complement needs more digits than a lane has.
        if self.gamma > LARGEST_GAMMA_BY_LANE {
            return LaneKernels::None;
        }
        match self.cross_entropy.lanes(has_classes) {
            LaneKernels::None => LaneKernels::None,
            // With smoothing the power of every class is needed.
            LaneKernels::Classes(_) if !self.cross_entropy.is_smoothed() => LaneKernels::Classes(self),
            LaneKernels::Classes(_) | LaneKernels::Distributions(_) => LaneKernels::Distributions(self),
        }
    }

    #[inline(always)]
    fn class_weight(&self) -> Option<&[T]> {
        self.cross_entropy.class_weight()
    }

    fn classes(&self) -> Option<usize> {
        self.cross_entropy.classes()
    }

    #[inline(always)]
    fn value<S: Simd<T>>(&self, s: S, mut logits: Logits<'_, T>, target: RowTarget<'_, T>) -> f64 {
        let weights = self.cross_entropy.weights(s, target);
        if weights.total == 0.0 {
            return 0.0;
        }
        let sparse = weights.sparse_part(inlined!(|class| logits.at(s, class)));
        let (sum, loss) = match sparse {
            Some(sparse) if !weights.is_dense() => {
                let sum = RowSum::sweep(s, &mut logits).0;
                (sum, sparse.weight * self.focus_of(sum, sparse.logit).loss)
            }
            _ => match self.terms(s, logits.all(s), &weights) {
                Some(terms) => (terms.sum, terms.loss),
                None => return f64::NAN,
            },
        };
        let log_partition = sum.log_partition();
        // A row without a defined distribution gives NaN, whatever its target.
        let undefined = if log_partition.is_nan() { log_partition } else { 0.0 };
        loss + undefined + self.cross_entropy.z_terms(sum.max.to_f64() + logits.lacks(), log_partition).0
    }

    #[inline(always)]
    fn value_and_grad<S: Simd<T>>(
        &self,
        s: S,
        mut logits: LogitsIo<'_, T>,
        target: RowTarget<'_, T>,
        scale: f64,
    ) -> f64 {
        let weights = self.cross_entropy.weights(s, target);
        if weights.total == 0.0 {
            logits.row.output().fill(T::ZERO);
            return 0.0;
        }
        let sparse = weights.sparse_part(inlined!(|class| logits.at(s, class)));
        match sparse {
            Some(sparse) if !weights.is_dense() => {
                // 1. maximum and sum of exponentials; the exponentials are kept
                let (sum, pivot) = RowSum::sweep(s, &mut logits);
                let log_partition = sum.log_partition();
                let (z_loss, z_slope) = self.cross_entropy.z_terms(sum.max.to_f64() + logits.lacks(), log_partition);
                let (z_slope, infinite) = if z_slope == f64::INFINITY {
                    let len = logits.row.source().len();
                    (0.0, logits.row.kept(len).iter().position(|&e| e != T::ZERO))
                } else {
                    (z_slope, None)
                };
                // 2. the gradient of the other classes: (w A + z) p_k
                let focus = self.focus_of(sum, sparse.logit);
                let total = sparse.weight * focus.slope + z_slope;
                let (scaled, sign) =
                    (sum.scale(pivot, scale * total.abs()), s.splat(T::from_f64(1f64.copysign(total))));
                logits.finish(s, inlined!(|_, e| sign * scaled.of(s, e)));
                // 3. the gradient of the labelled class, from the complement
                let (p, q) = sum.probability(sparse.logit);
                logits.set(sparse.class, scale * (z_slope * p - sparse.weight * focus.slope * q));
                if let Some(k) = infinite {
                    logits.row.output()[k] = T::from_f64(f64::INFINITY * scale);
                }
                if log_partition.is_nan() {
                    logits.row.output().fill(T::NAN);
                }
                sparse.weight * focus.loss + if log_partition.is_nan() { log_partition } else { z_loss }
            }
            _ => {
                let terms = self.terms(s, logits.all(s), &weights);
                let Some(terms) = terms else {
                    logits.row.output().fill(T::NAN);
                    return f64::NAN;
                };
                let log_partition = terms.sum.log_partition();
                if log_partition.is_nan() {
                    logits.row.output().fill(T::NAN);
                    return f64::NAN;
                }
                let (z_loss, z_slope) =
                    self.cross_entropy.z_terms(terms.sum.max.to_f64() + logits.lacks(), log_partition);
                let (z_slope, infinite) = if z_slope == f64::INFINITY { (0.0, true) } else { (z_slope, false) };
                // 1. (V + z) p_k - v_k
                let total = terms.own + terms.others;
                let probability_scale = s.splat(T::from_f64(scale * (total + z_slope)));
                let (lanes, zero) = (terms.lanes, s.splat(T::ZERO));
                let (max, peak) = (s.splat(lanes.max), s.splat(T::from_f64(terms.peak)));
                logits.map(
                    s,
                    -T::INFINITY,
                    inlined!(|k, z| {
                        let u = weights.register(s, k, scale);
                        let slope = S::V::select(z.eq(max), peak, lanes.at(s, z).1);
                        probability_scale * lanes.softmax.of(s, z) - (u * slope).zero_where(u.eq(zero))
                    }),
                );
                // 2. the largest class and a labelled class, from the complement
                let exact = |v: f64, others: f64, (p, q): (f64, f64)| scale * ((others + z_slope) * p - v * q);
                let top = terms.sum.probability(terms.sum.max);
                logits.set(terms.top, exact(terms.own, terms.others, top));
                if let Some((y, logit, v)) = terms.labelled {
                    logits.set(y, exact(v, total - v, terms.sum.probability(logit)));
                }
                if infinite {
                    logits.row.output()[terms.top] = T::from_f64(f64::INFINITY * scale);
                }
                terms.loss + z_loss
            }
        }
    }
}

impl<T: Real> SoftmaxFocalLoss<'_, T> {
    /// `v` and `B` of a class, for a weight of 1.
    fn bend(&self, p: f64, q: f64, cost: f64) -> (f64, f64) {
        let slope = self.focus(p, q, cost).slope;
        if p == 0.0 || q == 0.0 {
            return (slope, 0.0);
        }
        let power = if p < 0.5 { (self.gamma * (-p).ln_1p()).exp() } else { q.powf(self.gamma) };
        (slope, self.gamma * p * (power / q) * (cost - 2.0 - (self.gamma - 1.0) * p * (cost / q)))
    }
}

impl<T: Real> CurvedRowLoss<T> for SoftmaxFocalLoss<'_, T> {
    #[inline(always)]
    fn counts<S: Simd<T>>(&self, s: S, target: RowTarget<'_, T>) -> bool {
        self.cross_entropy.weights(s, target).total != 0.0
    }

    /// In double precision, a class at a time.
    #[inline(always)]
    fn hess<S: Simd<T>>(
        &self,
        s: S,
        logits: &[T],
        target: RowTarget<'_, T>,
        (scale, is_convex): (f64, bool),
        hess: &mut [T],
    ) {
        let weights = self.cross_entropy.weights(s, target);
        if weights.total == 0.0 {
            return hess.fill(T::ZERO);
        }
        let sum = RowSum::of(s, logits);
        if sum.rest.is_nan() {
            return hess.fill(T::NAN);
        }
        s.call(inlined!(|_| {
            // 1. the sums V and B, scaled: the weights alone may be beyond all products with small probabilities
            let u = |k: usize| if weights.is_dense() { scale * weights.at(k) } else { 0.0 };
            let of_class = |k: usize, u: f64| {
                let (p, q) = sum.probability(logits[k]);
                let (slope, bend) = self.bend(p, q, sum.log_partition() + sum.margin(logits[k]));
                [u * slope, if is_convex { 0.0 } else { u * bend }]
            };
            let (mut total, mut bend) = (0.0, 0.0);
            let label = match target {
                RowTarget::Class(y) if !weights.is_dense() => Some(y),
                _ => None,
            };
            match label {
                Some(y) => [total, bend] = of_class(y, scale * weights.at(y)),
                None => {
                    for k in (0..logits.len()).filter(|&k| u(k) != 0.0) {
                        let [v, b] = of_class(k, u(k));
                        (total, bend) = (total + v, bend + b);
                    }
                }
            }
            // 2. V p (1 - p) - B p^2 - B_j (1 - 2 p), of the class alone from the complement. What underflows is 0, as it
            // would depend on the scale.
            let put = |x: f64| T::from_f64(if x.abs() < f64::MIN_POSITIVE { 0.0 } else { x });
            for (k, hess) in hess.iter_mut().enumerate() {
                let (p, q) = sum.probability(logits[k]);
                let own = match label {
                    Some(y) if y == k => {
                        *hess = put(total * p * q - bend * q * q);
                        continue;
                    }
                    None if u(k) != 0.0 => of_class(k, u(k))[1],
                    _ => 0.0,
                };
                *hess = put(total * p * q - bend * p * p - own * (q - p));
            }
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::simd::{Float, Isa, Kernel, RowIo};

    /// The formula, in a dozen lines of float64: the loss, its gradient, and the size of the terms whose difference the
    /// gradient is.
    fn oracle(z: &[f64], u: &[f64], gamma: f64) -> (f64, Vec<f64>, f64) {
        let m = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let lse = m + z.iter().map(|z| (z - m).exp()).sum::<f64>().ln();
        let p: Vec<f64> = z.iter().map(|z| (z - lse).exp()).collect();
        // 1 - p and -ln p, from the other classes if p is near 1
        let q = |k: usize| (0..z.len()).filter(|&j| j != k).map(|j| p[j]).sum::<f64>();
        let cost = |k: usize| if q(k) < 0.5 { -(-q(k)).ln_1p() } else { lse - z[k] };
        let power = |k: usize| q(k).powf(gamma);
        let loss = (0..z.len()).map(|k| u[k] * power(k) * cost(k)).sum();
        let slope = |k: usize| power(k) * (1.0 + gamma * p[k] * cost(k) / q(k));
        let v: Vec<f64> = (0..z.len()).map(|k| u[k] * slope(k)).collect();
        let total: f64 = v.iter().sum();
        (loss, (0..z.len()).map(|k| total * p[k] - v[k]).collect(), total)
    }

    struct Row<'a, T>(SoftmaxFocalLoss<'a, T>, &'a [T], RowTarget<'a, T>);

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

    #[test]
    fn every_kind_of_target_agrees_with_the_oracle_on_every_instruction_set() {
        for c in (2..40).chain([1000, 1025, 2500]) {
            let z: Vec<f64> = (0..c).map(|k| ((k * 7919) % 1009) as f64 * 0.012 - 6.0).collect();
            let (y, eps) = ((c * 31) % c, 0.25);
            let one_hot: Vec<f64> = (0..c).map(|k| f64::from(u8::from(k == y))).collect();
            let soft: Vec<f64> = (0..c).map(|k| (k % 3) as f64).collect();
            let targets = [
                (RowTarget::Class(y), &one_hot),
                (RowTarget::Distribution(&one_hot), &one_hot),
                (RowTarget::Distribution(&soft), &soft),
            ];
            for (target, t) in targets {
                for (gamma, smoothing) in [(2.0, 0.0), (0.5, 0.0), (1.0, eps), (3.3, eps)] {
                    let spread = smoothing * t.iter().sum::<f64>() / c as f64;
                    let u: Vec<f64> = t.iter().map(|t| (1.0 - smoothing) * t + spread).collect();
                    let (loss, grad, size) = oracle(&z, &u, gamma);
                    for isa in Isa::available() {
                        let plain = SoftmaxCrossEntropy::new(c, None, smoothing).unwrap();
                        let ours = SoftmaxFocalLoss::new(plain, gamma).unwrap();
                        let (value, same, g) = f64::dispatch(isa, Row(ours, &z, target));
                        let case = format!("c={c} gamma={gamma} {target:?} {}", isa.name());
                        assert!((value - loss).abs() <= 1e-12 * loss.abs(), "{case}: {value} {loss}");
                        assert!((value - same).abs() <= 1e-15 * loss.abs(), "{case}: {value} {same}");
                        for (k, (g, truth)) in g.iter().zip(&grad).enumerate() {
                            assert!((g - truth).abs() <= 1e-12 * size, "{case} k={k}: {g} {truth}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_focus_is_finite_and_not_negative() {
        let plain = SoftmaxCrossEntropy::<f32>::new(2, None, 0.0).unwrap();
        for wrong in [-1.0, f64::NAN, f64::INFINITY] {
            assert!(matches!(SoftmaxFocalLoss::new(plain, wrong), Err(Error::Parameter { name: "gamma", .. })));
        }
    }
}
