//! Categorical cross-entropy: mutually exclusive classes, from probabilities.
//!
//! # Formula
//! For one row of probabilities `p`, target distribution `t` (one-hot for a class) and class weights `w`:
//!
//! ```text
//! u_k  = w_k t_k
//! loss = -sum_k u_k ln p_k
//! ```
//!
//! If the probabilities come from logits, use [softmax cross-entropy](super::SoftmaxCrossEntropy) instead: a
//! probability near 1 has lost the digits of its complement, and one near 0 may have become 0.
//!
//! # Gradient
//! `d loss / d p_k = -u_k / p_k`. The probabilities are independent variables: the constraint `sum(p) = 1` is not used.
//!
//! # Domain, shapes, units
//! `p` in `[0, 1]^c`, whatever its sum; `t`, `w` non-negative, of length `c`; the loss is in nats. If the target is a
//! class, only `p_y` is read.
//!
//! # Clipping
//! With `eps > 0`, `p_k` is clipped to `[eps, 1 - eps]`, and the derivative is 0 where clipping changes `p_k`. It is the
//! cost that is clipped, to `[-log1p(-eps), -ln eps]`: this is equivalent, and it also works if the type cannot represent
//! `eps` or `1 - eps`. `eps = 0` clips nothing.
//!
//! # Precision
//! No term is negative, so nothing cancels: a loss is as accurate as the logarithm, 1 ULP.
//!
//! # Special values
//! A term with `u_k = 0` is 0 even at `p_k = 0`, and so is its derivative. `u_k > 0` and `p_k = 0`: loss +inf,
//! derivative -inf, the limits. A NaN that is read makes loss and gradient of its row NaN. `sum_k u_k = 0`: the row
//! does not count, loss 0, gradient 0.
//!
//! # References
//! C. M. Bishop, *Pattern Recognition and Machine Learning*, 2006, equation 4.108.

use super::{Domain, Group, LaneKernels, NoLanes, RowLoss, RowTarget, SoftLanes, total_weight};
use crate::error::{Result, check_number};
use crate::math::{Real, ln};
use crate::memory;
use crate::rows::{Logits, LogitsIo, row_total};
use crate::simd::{Lanes, Simd, inlined, read};
use crate::tile::Tile;
use crate::view::check_weights;

/// Categorical cross-entropy with its options.
#[derive(Clone, Copy, Debug)]
pub struct CategoricalCrossEntropy<'a, T> {
    class_weight: Option<&'a [T]>,
    /// The probabilities that clipping leaves as they are.
    lowest: T,
    highest: T,
    /// The bounds of the cost: `-log1p(-eps)` and `-ln eps`.
    costs: [f64; 2],
}

impl<'a, T: Real> CategoricalCrossEntropy<'a, T> {
    /// `class_weight` is `w`, one per class, all 1 if absent; probabilities are clipped to `[eps, 1 - eps]`.
    ///
    /// # Errors
    /// [`Error::Shape`] unless there are as many weights as classes; [`Error::Value`] for a weight that is negative or not
    /// finite; [`Error::Parameter`] for an `eps` outside [0, 0.5].
    pub fn new(classes: usize, class_weight: Option<&'a [T]>, eps: f64) -> Result<Self> {
        if let Some(weights) = class_weight {
            check_weights("class_weight", weights, &[classes])?;
        }
        check_number("eps", eps, "in [0, 0.5]", (0.0..=0.5).contains(&eps))?;
        let (lowest, mut highest) = (T::not_below(eps), T::not_above(1.0 - eps));
        // 1 - eps may be rounded to 1.
        if eps > 0.0 && highest == T::ONE {
            highest = T::not_above(1.0 - f64::EPSILON / 2.0);
        }
        // 0 - ln, not -ln: the least cost is 0, not -0.
        let least = 0.0 - (-eps).ln_1p();
        let costs = [least, least.max(-eps.ln())];
        Ok(CategoricalCrossEntropy { class_weight, lowest, highest, costs })
    }

    /// The register of `u` that starts at class `k`.
    #[inline(always)]
    fn weights<S: Simd<T>>(&self, s: S, target: &[T], k: usize) -> S::V {
        let t = read(s, target, k, T::ZERO);
        self.class_weight.map_or(t, |w| t * read(s, w, k, T::ZERO))
    }

    /// `u_y` of a class, and its loss and derivative without `u_y`.
    #[inline(always)]
    fn of_class(&self, p: T, y: usize) -> (f64, f64, f64) {
        let weight = self.class_weight.map_or(1.0, |w| w[y].to_f64());
        let [least, most] = self.costs;
        // The derivative is 0 where `p` was clipped, and NaN where it is NaN.
        let slope = if p < self.lowest || p > self.highest { 0.0 } else { -1.0 / p.to_f64() };
        (weight, (0.0 - p.to_f64().ln()).clamp(least, most), slope)
    }

    /// `-u ln p` of a register of probabilities.
    #[inline(always)]
    fn costs<S: Simd<T>>(&self, s: S, p: S::V, u: S::V) -> S::V {
        let (zero, [least, most]) = (s.splat(T::ZERO), self.costs.map(|cost| s.splat(T::from_f64(cost))));
        // `min` and `max` keep a NaN on their right side. u p is NaN for a NaN, and 0 for a probability if u = 0.
        let cost = most.min(least.max(zero - ln(s, p)));
        S::V::select(u.eq(zero), u * p, u * cost)
    }

    /// `u / p`, and 0 where `p` is clipped.
    #[inline(always)]
    fn slopes<S: Simd<T>>(&self, s: S, p: S::V, u: S::V) -> S::V {
        let (zero, lowest, highest) = (s.splat(T::ZERO), s.splat(self.lowest), s.splat(self.highest));
        let slope = (u / p).zero_where(highest.lt(p)).zero_where(p.lt(lowest));
        slope.zero_where(u.eq(zero))
    }

    /// `-sum_k u_k ln p_k`
    #[inline(always)]
    fn of_distribution<S: Simd<T>>(&self, s: S, p: &[T], t: &[T]) -> f64 {
        // A partial register is filled with 1, whose logarithm is 0; its weight is 0.
        row_total(s, p, T::ONE, inlined!(|k, p| self.costs(s, p, self.weights(s, t, k))))
    }
}

impl<T: Real> RowLoss<T> for CategoricalCrossEntropy<'_, T> {
    const INPUTS: (&'static str, Domain) = ("p", Domain::Unit);
    /// Transposing costs too much if the only other work of a class is a logarithm.
    const MAX_CLASSES_BY_LANE: usize = 32;
    type ClassLanes = NoLanes;
    type SoftLanes = Self;

    fn lanes(&self, has_classes: bool) -> LaneKernels<'_, NoLanes, Self> {
        // A row with a class reads a single probability.
        if has_classes { LaneKernels::None } else { LaneKernels::Distributions(self) }
    }

    #[inline(always)]
    fn class_weight(&self) -> Option<&[T]> {
        self.class_weight
    }

    #[inline(always)]
    fn value<S: Simd<T>>(&self, s: S, mut p: Logits<'_, T>, target: RowTarget<'_, T>) -> f64 {
        let p = p.all(s);
        match target {
            RowTarget::Class(y) => {
                let (weight, loss, _) = self.of_class(p[y], y);
                if weight == 0.0 { 0.0 } else { weight * loss }
            }
            RowTarget::Distribution(t) => {
                if total_weight(s, target, self.class_weight) == 0.0 {
                    0.0
                } else {
                    self.of_distribution(s, p, t)
                }
            }
            RowTarget::Sparse(pairs) => {
                let mut total = 0.0;
                for (y, t) in (0..pairs.len()).filter_map(|pair| pairs.get(pair)) {
                    let (weight, loss, _) = self.of_class(p[y], y);
                    total += if weight * t == 0.0 { 0.0 } else { weight * t * loss };
                }
                total
            }
        }
    }

    #[inline(always)]
    fn value_and_grad<S: Simd<T>>(&self, s: S, p: LogitsIo<'_, T>, target: RowTarget<'_, T>, scale: f64) -> f64 {
        let mut row = p.row;
        let loss = match target {
            RowTarget::Class(y) => {
                let (weight, loss, slope) = self.of_class(row.source()[y], y);
                row.output().fill(T::ZERO);
                if weight == 0.0 {
                    return 0.0;
                }
                row.output()[y] = T::from_f64(scale * weight * slope);
                weight * loss
            }
            RowTarget::Distribution(t) => {
                if total_weight(s, target, self.class_weight) == 0.0 {
                    row.output().fill(T::ZERO);
                    return 0.0;
                }
                let loss = self.of_distribution(s, row.source(), t);
                let scale = s.splat(T::from_f64(-scale));
                row.map(s, T::ONE, inlined!(|k, p| self.slopes(s, p, self.weights(s, t, k) * scale)));
                loss
            }
            RowTarget::Sparse(pairs) => {
                // All reads precede the writes, which may overwrite the probabilities.
                let (loss, p) = (self.value(s, Logits::plain(row.source()), target), row.source());
                let pairs = (0..pairs.len()).filter_map(|pair| pairs.get(pair));
                let slopes = pairs.map(|(y, t)| {
                    let (weight, _, slope) = self.of_class(p[y], y);
                    (y, if weight * t == 0.0 { 0.0 } else { scale * weight * t * slope })
                });
                let slopes = memory::list(slopes);
                row.output().fill(T::ZERO);
                for (y, slope) in slopes {
                    row.output()[y] = row.output()[y] + T::from_f64(slope);
                }
                loss
            }
        };
        if loss.is_nan() {
            row.output().fill(T::NAN);
        }
        loss
    }
}

impl<T: Real> SoftLanes<T> for CategoricalCrossEntropy<'_, T> {
    #[inline(always)]
    fn weigh<S: Simd<T>>(&self, s: S, targets: &mut Tile<'_, T, S>) -> S::V {
        if let Some(w) = self.class_weight {
            targets.weigh(s, w);
        }
        targets.totals(s)
    }

    #[inline(always)]
    fn sweep<S: Simd<T>>(
        &self,
        s: S,
        p: &mut Tile<'_, T, S>,
        weights: &mut Tile<'_, T, S>,
        _: &mut Tile<'_, T, S>,
        group: &mut Group<T, S>,
    ) {
        for (p, u) in p.columns().iter().zip(weights.columns()) {
            group.cost = group.cost + self.costs(s, s.load(p), s.load(u));
        }
    }

    #[inline(always)]
    fn soft_value<S: Simd<T>>(&self, s: S, group: &Group<T, S>) -> S::V {
        let zero = s.splat(T::ZERO);
        (group.weight * group.cost).zero_where(group.weight.eq(zero))
    }

    #[inline(always)]
    fn soft_value_and_grad<S: Simd<T>>(
        &self,
        s: S,
        p: &mut Tile<'_, T, S>,
        weights: &Tile<'_, T, S>,
        group: &Group<T, S>,
        divisor: T,
        grad: Option<&mut [T]>,
    ) -> S::V {
        let (zero, losses) = (s.splat(T::ZERO), self.soft_value(s, group));
        let weight = group.grad_weight(s, group.weight);
        let (scale, is_zero_weight) = (zero - weight / s.splat(divisor), weight.eq(zero));
        p.map_with(
            s,
            weights,
            inlined!(|p, u| {
                // All derivatives of a row whose loss is NaN are NaN; those of a row that does not count are 0.
                let slope = S::V::select(losses.eq(losses), self.slopes(s, p, u * scale), losses);
                slope.zero_where(is_zero_weight)
            }),
        );
        if let Some(grad) = grad {
            p.store_called(s, grad, group.rows);
        }
        losses
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Float, Isa, Kernel, RowIo};

    /// The formula in float64.
    fn oracle(p: &[f64], t: &[f64], w: &[f64], eps: f64) -> (f64, Vec<f64>) {
        let u: Vec<f64> = t.iter().zip(w).map(|(t, w)| w * t).collect();
        let clipped = |p: f64| p.clamp(eps, 1.0 - eps);
        let loss = u.iter().zip(p).map(|(u, &p)| if *u == 0.0 { 0.0 } else { -u * clipped(p).ln() }).sum();
        let slope = |(u, &p): (&f64, &f64)| if *u == 0.0 || clipped(p) != p { 0.0 } else { -u / p };
        (loss, u.iter().zip(p).map(slope).collect())
    }

    struct Row<'a, T>(CategoricalCrossEntropy<'a, T>, &'a [T], RowTarget<'a, T>);

    impl<T: Real> Kernel<T> for Row<'_, T> {
        type Output = (f64, f64, Vec<T>);
        #[inline(always)]
        fn run<S: Simd<T>>(self, s: S) -> Self::Output {
            let Row(loss, p, target) = self;
            let mut grad = vec![T::NAN; p.len()];
            let value = loss.value(s, Logits::plain(p), target);
            let row = LogitsIo::new(RowIo::new(p, &mut grad), loss.logit_map(), &mut []);
            let same = loss.value_and_grad(s, row, target, 1.0);
            (value, same, grad)
        }
    }

    #[test]
    fn every_kind_of_target_agrees_with_the_oracle_on_every_instruction_set() {
        for c in (1..70).chain([1000, 1025]) {
            let p: Vec<f64> = (0..c).map(|k| ((k * 7919) % 1009) as f64 / 1009.0 * 1.1f64.min(1.0)).collect();
            let y = (c * 31 + 1) % c;
            let one_hot: Vec<f64> = (0..c).map(|k| f64::from(u8::from(k == y))).collect();
            let soft: Vec<f64> = (0..c).map(|k| if k == 0 { 0.0 } else { (k % 3) as f64 }).collect();
            let (w, ones): (Vec<f64>, _) = ((0..c).map(|k| 0.5 + (k % 4) as f64).collect(), vec![1.0; c]);
            for (eps, weight) in [(0.0, None), (0.01, None), (0.0, Some(&w[..])), (0.2, Some(&w[..]))] {
                for (target, t) in [
                    (RowTarget::Class(y), &one_hot),
                    (RowTarget::Distribution(&one_hot), &one_hot),
                    (RowTarget::Distribution(&soft), &soft),
                ] {
                    let (loss, grad) = oracle(&p, t, weight.unwrap_or(&ones), eps);
                    for isa in Isa::available() {
                        let ours = CategoricalCrossEntropy::new(c, weight, eps).unwrap();
                        let (value, same, g) = f64::dispatch(isa, Row(ours, &p, target));
                        let case = format!("c={c} eps={eps} {target:?} {}", isa.name());
                        assert!(value == loss || (value - loss).abs() <= 1e-14 * loss, "{case}: {value} {loss}");
                        assert_eq!(value.to_bits(), same.to_bits(), "{case}");
                        for (k, (g, truth)) in g.iter().zip(&grad).enumerate() {
                            assert!(g == truth || (g / truth - 1.0).abs() < 1e-15, "{case} k={k}: {g} {truth}");
                        }
                    }
                }
            }
        }
    }
}
