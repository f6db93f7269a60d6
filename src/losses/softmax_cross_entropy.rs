//! Softmax cross-entropy: mutually exclusive classes.
//!
//! # Formula
//! For one row of logits `z`, target distribution `t` (one-hot for a class), class weights `w`, smoothing `eps`:
//!
//! ```text
//! t'_k  = (1 - eps) t_k + eps sum(t) / c
//! u_k   = w_k t'_k                        U = sum_k u_k
//! loss  = sum_k u_k (logsumexp(z) - z_k) = U ln(1 + rest) + sum_k u_k (m - z_k)
//! ```
//!
//! with `m = max z` and `logsumexp(z) = m + ln(1 + rest)` ([`rows`](crate::rows)). No term is negative, so nothing
//! cancels: the loss is right to the last digits at any margin.
//!
//! # Gradient
//! `d loss / d z_k = U p_k - u_k` with `p = softmax.of(s, z)`. Where `p_k` is near 1 it comes from the complement,
//! `(U - u_k) p_k - u_k (1 - p_k)` with `1 - p_k = rest / (1 + rest)`.
//!
//! # Domain, shapes, units
//! `z` in `[-inf, inf]^c`; `t`, `w` non-negative, of length `c`; the loss is in nats.
//!
//! # Special values
//! A term with `u_k = 0` is 0 even where `z_k = -inf`. `u_k > 0` where `p_k = 0`: loss +inf, gradient finite. One logit of
//! +inf: the limit, `p = 1` there. NaN where a logit is NaN, all are -inf or several +inf. `U = 0`: the row does not count,
//! whatever its logits: loss 0, gradient 0.
//!
//! # References
//! C. M. Bishop, *Pattern Recognition and Machine Learning*, 2006, section 4.3.4 (loss and gradient).
//! C. Szegedy et al., *Rethinking the Inception architecture for computer vision*, 2016, section 7 (smoothing).

use super::{Group, RowLoss, RowTarget};
use crate::columns::{ColumnSums, Columns, MAX_CLASSES};
use crate::error::{Error, Result};
use crate::math::{Real, log1p};
use crate::rows::{RowSum, row_total};
use crate::simd::{Lanes, RowIo, Simd, position, read};
use crate::view::check_weights;

/// Softmax cross-entropy with its options.
#[derive(Clone, Copy, Debug)]
pub struct SoftmaxCrossEntropy<'a, T> {
    class_weight: Option<&'a [T]>,
    class_weight_sum: f64,
    label_smoothing: f64,
    classes: usize,
}

impl<'a, T: Real> SoftmaxCrossEntropy<'a, T> {
    /// `class_weight` is `w`, one a class, 1 where absent; `label_smoothing` is `eps`, the share of the target's mass that
    /// is spread evenly over all classes.
    ///
    /// # Errors
    /// [`Error::Shape`] unless there are as many weights as classes; [`Error::Value`] for a weight that is negative or not
    /// finite; [`Error::Parameter`] for a smoothing outside [0, 1].
    pub fn new(classes: usize, class_weight: Option<&'a [T]>, label_smoothing: f64) -> Result<Self> {
        if let Some(weights) = class_weight {
            check_weights("class_weight", weights, &[classes])?;
        }
        if !(0.0..=1.0).contains(&label_smoothing) {
            let got = format!("{label_smoothing:?}");
            return Err(Error::Parameter { name: "label_smoothing", expected: "in [0, 1]", got });
        }
        let class_weight_sum = class_weight.map_or(classes as f64, |w| w.iter().map(|w| w.to_f64()).sum());
        Ok(SoftmaxCrossEntropy { class_weight, class_weight_sum, label_smoothing, classes })
    }

    #[inline(always)]
    fn weight_of(&self, class: usize) -> f64 {
        self.class_weight.map_or(1.0, |w| w[class].to_f64())
    }

    /// The weights `u` of a row's classes.
    #[inline(always)]
    fn weights<'t, S: Simd<T>>(&self, s: S, target: RowTarget<'t, T>) -> Weights<'t, T>
    where
        'a: 't,
    {
        let eps = self.label_smoothing;
        let mass = match target {
            RowTarget::Class(_) => 1.0,
            RowTarget::Distribution(t) => row_total(
                s,
                t,
                T::ZERO,
                #[inline(always)]
                |_, t| t,
            ),
        };
        let spread = eps * mass / self.classes as f64;
        Weights {
            class_weight: self.class_weight,
            target,
            keep: 1.0 - eps,
            spread,
            total: (1.0 - eps) * self.weight(s, target) + spread * self.class_weight_sum,
        }
    }
}

impl<T: Real> RowLoss<T> for SoftmaxCrossEntropy<'_, T> {
    #[inline(always)]
    fn classes_are_equal(&self) -> bool {
        self.class_weight.is_none()
    }

    #[inline(always)]
    fn weight<S: Simd<T>>(&self, s: S, target: RowTarget<'_, T>) -> f64 {
        match (target, self.class_weight) {
            (RowTarget::Class(y), _) => self.weight_of(y),
            (RowTarget::Distribution(t), None) => row_total(
                s,
                t,
                T::ZERO,
                #[inline(always)]
                |_, t| t,
            ),
            (RowTarget::Distribution(t), Some(w)) => row_total(
                s,
                t,
                T::ZERO,
                #[inline(always)]
                |k, t| t * read(s, w, k, T::ZERO),
            ),
        }
    }

    #[inline(always)]
    fn value<S: Simd<T>>(&self, s: S, logits: &[T], target: RowTarget<'_, T>) -> f64 {
        match target {
            RowTarget::Class(y) if self.label_smoothing == 0.0 => {
                let weight = self.weight_of(y);
                if weight == 0.0 {
                    return 0.0;
                }
                let sum = RowSum::of(s, logits);
                weight * (sum.log_partition() + sum.gap(logits[y]))
            }
            _ => {
                let weights = self.weights(s, target);
                if weights.total == 0.0 { 0.0 } else { weights.loss(s, logits, RowSum::of(s, logits)) }
            }
        }
    }

    #[inline(always)]
    fn value_and_grad<S: Simd<T>>(&self, s: S, row: &mut RowIo<'_, T>, target: RowTarget<'_, T>, scale: f64) -> f64 {
        match target {
            RowTarget::Class(y) if self.label_smoothing == 0.0 => {
                let weight = self.weight_of(y);
                if weight == 0.0 {
                    row.target().fill(T::ZERO);
                    return 0.0;
                }
                // 1. maximum and sum of exponentials, which are kept
                let logit = row.source()[y];
                let (sum, unit) = RowSum::keeping(s, row);
                // 2. the gradient of the other classes: w p_k
                let scaled = sum.scale(unit, scale * weight);
                row.finish(
                    s,
                    #[inline(always)]
                    |e| scaled.of(s, e),
                );
                // 3. of the labelled one: w (p_y - 1), from the complement
                row.target()[y] = T::from_f64(-scale * weight * sum.probability(logit).1);
                weight * (sum.log_partition() + sum.gap(logit))
            }
            _ => {
                let weights = self.weights(s, target);
                if weights.total == 0.0 {
                    row.target().fill(T::ZERO);
                    return 0.0;
                }
                // 1. maximum and sum of exponentials, and the loss, which reads the row once more
                let sum = RowSum::of(s, row.source());
                let loss = weights.loss(s, row.source(), sum);
                let top = position(s, row.source(), sum.max);
                // 2. U p_k - u_k
                let softmax = sum.softmax(scale * weights.total);
                row.map(
                    s,
                    T::ZERO,
                    #[inline(always)]
                    |k, z| softmax.of(s, z) - weights.register(s, k, scale),
                );
                // 3. the largest class, whose probability may be near 1, from the complement
                if let Some(top) = top {
                    let u = weights.at(top);
                    let (p, complement) = sum.probability(sum.max);
                    row.target()[top] = T::from_f64(scale * ((weights.total - u) * p - u * complement));
                }
                // 4. a labelled class that is not the largest lacks its own share so far
                if let RowTarget::Class(y) = target
                    && top != Some(y)
                {
                    let own = scale * weights.keep * self.weight_of(y);
                    row.target()[y] = row.target()[y] - T::from_f64(own);
                }
                loss
            }
        }
    }

    #[inline(always)]
    fn goes_across(&self, classes: usize) -> bool {
        self.label_smoothing == 0.0 && (1..=MAX_CLASSES).contains(&classes)
    }

    #[inline(always)]
    fn value_across<S: Simd<T>>(&self, s: S, group: &Group<S::V>) -> S::V {
        losses(s, group.sums, self.group_weight(s, group))
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
        let (sums, weight) = (group.sums, self.group_weight(s, group));
        // 1. the gradient of the labelled class: w (p_y - 1), from the complement; 0 for a row that does not count
        let zero = s.splat(T::ZERO);
        let (limit, idle) = (weight / s.splat(divisor), weight.eq(zero));
        let own = zero - limit * sums.complement(s);
        // 2. of the others: w p_k
        let factor = sums.scale(s, limit);
        exponentials.store(
            s,
            grad,
            group.rows,
            #[inline(always)]
            |k, e| {
                let other = limit.min(e * factor);
                S::V::select(idle, zero, S::V::select(k.eq(group.class), own, other))
            },
        );
        losses(s, sums, weight)
    }
}

impl<T: Real> SoftmaxCrossEntropy<'_, T> {
    /// What each row's loss is multiplied by: the weights of its sample and of its class.
    #[inline(always)]
    fn group_weight<S: Simd<T>>(&self, s: S, group: &Group<S::V>) -> S::V {
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
}

/// `w (ln(1 + rest) + m - z_y)` of a group of rows, 0 where `w` is.
#[inline(always)]
fn losses<T: Real, S: Simd<T>>(s: S, sums: ColumnSums<S::V>, weight: S::V) -> S::V {
    let (zero, loss) = (s.splat(T::ZERO), log1p(s, sums.rest) + sums.gap(s));
    S::V::select(weight.eq(zero), zero, weight * loss)
}

/// `u_k = w_k (keep t_k + spread)`: every kind of target, smoothed and weighted.
#[derive(Clone, Copy)]
struct Weights<'a, T> {
    class_weight: Option<&'a [T]>,
    target: RowTarget<'a, T>,
    keep: f64,
    spread: f64,
    /// `U`
    total: f64,
}

impl<T: Real> Weights<'_, T> {
    /// `u_k`
    #[inline(always)]
    fn at(&self, k: usize) -> f64 {
        let t = match self.target {
            RowTarget::Class(y) => f64::from(u8::from(y == k)),
            RowTarget::Distribution(t) => t[k].to_f64(),
        };
        self.class_weight.map_or(1.0, |w| w[k].to_f64()) * (self.keep * t + self.spread)
    }

    /// The register of `scale u` that starts at class `k`; a labelled class lacks its own share.
    #[inline(always)]
    fn register<S: Simd<T>>(&self, s: S, k: usize, scale: f64) -> S::V {
        let mut u = s.splat(T::from_f64(scale * self.spread));
        if let RowTarget::Distribution(t) = self.target {
            u = read(s, t, k, T::ZERO).mul_add(s.splat(T::from_f64(scale * self.keep)), u);
        }
        match self.class_weight {
            Some(w) => u * read(s, w, k, T::ZERO),
            None => u,
        }
    }

    /// `U ln(1 + rest) + sum_k u_k (m - z_k)`
    #[inline(always)]
    fn loss<S: Simd<T>>(&self, s: S, logits: &[T], sum: RowSum<T>) -> f64 {
        let (zero, max) = (s.splat(T::ZERO), s.splat(sum.max));
        // The filler is the maximum, whose gap is 0; so is that of a class without weight, be it -inf.
        let spread = row_total(
            s,
            logits,
            sum.max,
            #[inline(always)]
            |k, z| {
                let u = self.register(s, k, 1.0);
                S::V::select(z.eq(max), zero, S::V::select(u.eq(zero), zero, u * (max - z)))
            },
        );
        let own = match self.target {
            RowTarget::Class(y) => {
                let own = self.keep * self.class_weight.map_or(1.0, |w| w[y].to_f64());
                if own == 0.0 { 0.0 } else { own * sum.gap(logits[y]) }
            }
            RowTarget::Distribution(_) => 0.0,
        };
        self.total * sum.log_partition() + spread + own
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
            let value = loss.value(s, logits, target);
            let same = loss.value_and_grad(s, &mut RowIo::new(logits, &mut grad), target, 1.0);
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
