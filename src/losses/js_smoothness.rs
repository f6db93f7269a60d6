//! Smoothness of predictions: the Jensen-Shannon divergence of neighbouring positions.
//!
//! # Formula
//! For two neighbouring rows of logits with the distributions `p` and `q`, `m = (p + q) / 2`:
//!
//! ```text
//! JS = 1/2 sum_k p_k ln(p_k / m_k) + 1/2 sum_k q_k ln(q_k / m_k)
//! ```
//!
//! With `x_k = ln(p_k / q_k)` and `d_k = (p_k - q_k) / (p_k + q_k) = tanh(x_k / 2)` it is a sum without a negative term:
//!
//! ```text
//! JS     = sum_k m_k phi(x_k)
//! phi(x) = [(1 + d) ln(1 + d) + (1 - d) ln(1 - d)] / 2
//!        = d x / 2 + ln(1 - d^2) / 2                       small |x|: about x^2 / 8
//!        = ln(1 + d) - |x| sigmoid(-|x|)                   large |x|, d = tanh(|x| / 2): towards ln 2
//! ```
//!
//! What is linear in the differences has cancelled on paper, so equal rows cost exactly 0 and nearly equal ones keep their
//! digits, where `p ln(p / m)` has errors as large as the rounding of `p`.
//!
//! # The differences
//! `x_k = (z_k - z'_k) - shift`, where `shift` is the difference of both log-sum-exps. Between near neighbours that would
//! cancel; there it is `ln(1 + sum_k q_k (exp(z_k - z'_k) - 1))`, small where the differences are.
//!
//! # Gradient
//! `dJS / dp_k = ln(p_k / m_k) / 2 = ln(1 + d_k) / 2 =: g_k`, and through the softmax `dJS / dz_k = p_k (g_k - sum_j p_j g_j)`;
//! the same for the other row with `-x`. A row adds what it gets from both its neighbours. The components of a gradient sum
//! to zero, so that of a class with most of the probability is minus the sum of the others.
//!
//! # Domain, shapes, units
//! Logits in `[-inf, inf]`, rows of one length; nats, in `[0, ln 2]`.
//!
//! # Special values
//! A class with logits of -inf in both rows takes no part; in one row alone it costs `q_k ln 2 / 2`. One logit of +inf: the
//! limit, all probability is there, and no gradient comes through. Where no distribution is defined (a logit is NaN, all are
//! -inf, several +inf) every pair that the row belongs to is NaN, and the gradient of both its rows.
//!
//! # References
//! J. Lin, *Divergence measures based on the Shannon entropy*, IEEE Trans. Inf. Theory 37(1), 1991.

use crate::math::{Logistic, Real, exp, log1p, log1p_unit, tanh};
use crate::rows::{BLOCK, RowSum, row_total};
use crate::simd::{Lanes, RowIo, Simd, position, read, write};

/// From here on `phi` is computed as what it lacks of `ln 2`; both forms lose two bits at most.
const LARGE: f64 = 2.0;

/// Nothing changes beyond: no exponential of less than minus this is above 0. Not infinite, so that 0 times it is 0.
const FAR: f64 = 4096.0;

/// A position of a sequence, while its neighbours are looked at.
pub(crate) struct Position<'k, T> {
    logits: &'k mut [T],
    probabilities: &'k mut [T],
    /// `g_k`, of both neighbours.
    pull: &'k mut [T],
    /// `sum_k p_k g_k`
    drift: f64,
    /// Whether there was a neighbour that counts.
    has_met: bool,
    sum: RowSum<T>,
}

impl<'k, T: Real> Position<'k, T> {
    /// Numbers of scratch memory that a position of a class needs.
    pub(crate) const SCRATCH: usize = 3;

    pub(crate) fn new(scratch: &'k mut [T], classes: usize) -> Self {
        let (logits, rest) = scratch.split_at_mut(classes);
        let (probabilities, pull) = rest.split_at_mut(classes);
        let sum = RowSum { max: T::ZERO, rest: f64::NAN };
        Position { logits, probabilities, pull, drift: 0.0, has_met: false, sum }
    }

    /// Takes a row, which may be overwritten after.
    #[inline(always)]
    pub(crate) fn load<S: Simd<T>>(&mut self, s: S, row: &[T]) {
        self.logits.copy_from_slice(row);
        self.sum = RowSum::of(s, row);
        if self.sum.max == T::INFINITY && !self.sum.rest.is_nan() {
            // All probability is there: the same distribution in finite numbers.
            let top = position(s, row, T::INFINITY);
            self.logits.fill(-T::INFINITY);
            top.into_iter().for_each(|top| self.logits[top] = T::ZERO);
            self.sum = RowSum { max: T::ZERO, rest: 0.0 };
        }
        let softmax = self.sum.softmax(1.0);
        RowIo::new(self.logits, self.probabilities).map(
            s,
            -T::INFINITY,
            #[inline(always)]
            |_, z| softmax.of(s, z),
        );
        self.pull.fill(T::ZERO);
        self.drift = 0.0;
        self.has_met = false;
    }

    /// `logsumexp(z) - logsumexp(z')`
    #[inline(always)]
    fn shift<S: Simd<T>>(&self, s: S, other: &Self) -> f64 {
        let (zero, one, half) = (s.splat(T::ZERO), s.splat(T::ONE), s.splat(T::from_f64(0.5)));
        let sum = row_total(
            s,
            self.logits,
            -T::INFINITY,
            #[inline(always)]
            |k, z| {
                let (other_z, q) = (read(s, other.logits, k, -T::INFINITY), read(s, other.probabilities, k, T::ZERO));
                // exp(x) - 1, where that cancels as 2 t / (1 - t) with t = tanh(x / 2)
                let x = z - other_z;
                let t = tanh(s, x * half);
                let change = S::V::select(x.lt(half), (t + t) / (one - t), exp(s, x) - one);
                S::V::select(z.eq(other_z), zero, q * change)
            },
        );
        if sum.abs() <= 0.5 {
            sum.ln_1p()
        } else {
            (self.sum.max.to_f64() - other.sum.max.to_f64()) + (self.sum.log_partition() - other.sum.log_partition())
        }
    }

    /// The divergence between two positions; with `GRAD` both get what they need for their gradients.
    #[inline(always)]
    pub(crate) fn divergence<const GRAD: bool, S: Simd<T>>(&mut self, s: S, other: &mut Self) -> f64 {
        let (half, two, far) = (s.splat(T::from_f64(0.5)), s.splat(T::from_f64(LARGE)), s.splat(T::from_f64(FAR)));
        let (zero, shift, len) = (s.splat(T::ZERO), s.splat(T::from_f64(self.shift(s, other))), self.logits.len());
        let mut divergence = 0.0;
        (self.has_met, other.has_met) = (true, true);
        for start in (0..len).step_by(BLOCK) {
            let (mut total, mut drift, mut other_drift) = (zero, zero, zero);
            for k in (start..len.min(start + BLOCK)).step_by(S::LANES) {
                let z = read(s, self.logits, k, -T::INFINITY) - read(s, other.logits, k, -T::INFINITY);
                let (p, q) = (read(s, self.probabilities, k, T::ZERO), read(s, other.probabilities, k, T::ZERO));
                // 1. x, and d of |x|. A NaN, where both logits are -inf, becomes FAR, and counts nothing.
                let x = z - shift;
                let size = x.abs().min(far);
                let d = tanh(s, size * half);
                // 2. phi, from ln(1 + d)
                let log = log1p_unit(s, d);
                let (_, small) = Logistic::at(s, size).sigmoids(s);
                let near = half * (d * size + log1p(s, zero - d * d));
                let phi = S::V::select(size.lt(two), near, log - size * small);
                total = (half * (p + q)).mul_add(phi, total);
                // 3. g of either side: ln(1 - d) = ln(1 + d) - |x|
                if GRAD {
                    let (above, below) = (half * log, half * (log - size));
                    let swapped = x.lt(zero);
                    let (g, h) = (S::V::select(swapped, below, above), S::V::select(swapped, above, below));
                    write(s, read(s, self.pull, k, T::ZERO) + g, self.pull, k);
                    write(s, read(s, other.pull, k, T::ZERO) + h, other.pull, k);
                    drift = p.mul_add(g, drift);
                    other_drift = q.mul_add(h, other_drift);
                }
            }
            divergence += total.sum().to_f64();
            self.drift += drift.sum().to_f64();
            other.drift += other_drift.sum().to_f64();
        }
        // An undefined distribution spoils both gradients.
        if divergence.is_nan() {
            (self.drift, other.drift) = (divergence, divergence);
        }
        // Rounding must not leave the range; a NaN stays.
        divergence.clamp(0.0, std::f64::consts::LN_2)
    }

    /// `scale` times the gradient of this position's divergences, once both neighbours have been looked at.
    #[inline(always)]
    pub(crate) fn gradient<S: Simd<T>>(&self, s: S, scale: f64, out: &mut [T]) {
        if !self.has_met {
            return out.fill(T::ZERO);
        }
        let (scale, drift) = (s.splat(T::from_f64(scale)), s.splat(T::from_f64(self.drift)));
        RowIo::new(self.probabilities, out).map(
            s,
            T::ZERO,
            #[inline(always)]
            |k, p| scale * p * (read(s, self.pull, k, T::ZERO) - drift),
        );
        // A class with most of the probability, from the complement.
        if self.sum.rest < 1.0
            && let Some(top) = position(s, self.logits, self.sum.max)
        {
            out[top] = T::ZERO;
            let others = row_total(
                s,
                out,
                T::ZERO,
                #[inline(always)]
                |_, g| g,
            );
            out[top] = T::from_f64(0.0 - others);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Float, Isa, Kernel};

    struct Pair<'a, T>(&'a [T], &'a [T]);

    impl<T: Real> Kernel<T> for Pair<'_, T> {
        type Output = (f64, Vec<T>, Vec<T>);
        #[inline(always)]
        fn run<S: Simd<T>>(self, s: S) -> Self::Output {
            let Pair(a, b) = self;
            let c = a.len();
            let (mut one, mut two) =
                (vec![T::NAN; Position::<T>::SCRATCH * c], vec![T::NAN; Position::<T>::SCRATCH * c]);
            let (mut p, mut q) = (Position::new(&mut one, c), Position::new(&mut two, c));
            p.load(s, a);
            q.load(s, b);
            let value = p.divergence::<false, S>(s, &mut q);
            assert_eq!(value.to_bits(), p.divergence::<true, S>(s, &mut q).to_bits());
            let (mut grad, mut other) = (vec![T::NAN; c], vec![T::NAN; c]);
            p.gradient(s, 1.0, &mut grad);
            q.gradient(s, 1.0, &mut other);
            (value, grad, other)
        }
    }

    /// The formula, in float64 lines: right for rows that are far from each other.
    fn oracle(a: &[f64], b: &[f64]) -> (f64, Vec<f64>) {
        let softmax = |z: &[f64]| {
            let m = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = z.iter().map(|z| (z - m).exp()).sum();
            z.iter().map(|z| (z - m).exp() / sum).collect::<Vec<_>>()
        };
        let (p, q) = (softmax(a), softmax(b));
        let term = |p: f64, q: f64| if p == 0.0 { 0.0 } else { 0.5 * (2.0 * p / (p + q)).ln() };
        let g: Vec<f64> = p.iter().zip(&q).map(|(&p, &q)| term(p, q)).collect();
        let drift: f64 = p.iter().zip(&g).map(|(p, g)| p * g).sum();
        let back: f64 = p.iter().zip(&q).map(|(&p, &q)| q * term(q, p)).sum();
        (drift + back, p.iter().zip(&g).map(|(p, g)| p * (g - drift)).collect())
    }

    #[test]
    fn far_rows_agree_with_the_oracle_on_every_instruction_set() {
        for c in (1..70).chain([1000, 1025]) {
            let mut a: Vec<f64> = (0..c).map(|k| ((k * 7919) % 1009) as f64 * 0.02 - 8.0).collect();
            let mut b: Vec<f64> = (0..c).map(|k| ((k * 5987 + 11) % 997) as f64 * 0.02 + 3.0).collect();
            if c > 4 {
                (a[1], b[1], a[2]) = (f64::NEG_INFINITY, f64::NEG_INFINITY, f64::NEG_INFINITY);
            }
            let (value, grad) = oracle(&a, &b);
            for isa in Isa::available() {
                let (ours, g, _) = f64::dispatch(isa, Pair(&a, &b));
                let (other, _, h) = f64::dispatch(isa, Pair(&b, &a));
                let case = format!("c={c} {}", isa.name());
                assert!((ours - value).abs() <= 1e-13 * value + 1e-16, "{case}: {ours:e} {value:e}");
                assert!((other - value).abs() <= 1e-13 * value + 1e-16, "{case}: {other:e} {value:e}");
                for k in 0..c {
                    assert!(
                        (g[k] - grad[k]).abs() <= 1e-13 * grad[k].abs() + 1e-16,
                        "{case} k={k} {} {}",
                        g[k],
                        grad[k]
                    );
                    assert!(
                        (h[k] - grad[k]).abs() <= 1e-13 * grad[k].abs() + 1e-16,
                        "{case} k={k} {} {}",
                        h[k],
                        grad[k]
                    );
                }
            }
        }
    }

    #[test]
    fn near_rows_have_the_divergence_of_the_second_order() {
        // JS = sum p (y - mean y)^2 / 8 (1 + O(y)) for q = softmax(z + y)
        for isa in Isa::available() {
            for step in [1e-3, 1e-6, 1e-12, 1e-30] {
                let a: Vec<f64> = (0..40).map(|k| f64::from(k * 7 % 13) * 0.25 - 1.0).collect();
                // Steps that the logits hold exactly: around 0 every number can be added.
                let small: Vec<f64> = (0..40).map(|k| if a[k] == 0.0 { step } else { 0.0 }).collect();
                let b: Vec<f64> = a.iter().zip(&small).map(|(a, y)| a + y).collect();
                let sum: f64 = a.iter().map(|a| a.exp()).sum();
                let p: Vec<f64> = a.iter().map(|a| a.exp() / sum).collect();
                let mean: f64 = p.iter().zip(&small).map(|(p, y)| p * y).sum();
                let truth: f64 = p.iter().zip(&small).map(|(p, y)| p * (y - mean) * (y - mean) / 8.0).sum();
                let (value, _, _) = f64::dispatch(isa, Pair(&a, &b));
                assert!((value / truth - 1.0).abs() < 1e-13 + step, "{} {step:e}: {value:e} {truth:e}", isa.name());
            }
            assert_eq!(f64::dispatch(isa, Pair(&[0.3, 5.0], &[0.3, 5.0])).0, 0.0);
        }
    }

    #[test]
    fn infinite_logits_are_limits() {
        let (inf, ln2) = (f64::INFINITY, std::f64::consts::LN_2);
        for isa in Isa::available() {
            let (value, g, h) = f64::dispatch(isa, Pair(&[inf, 0.0, 1.0], &[0.0, -inf, inf]));
            assert_eq!((value, g, h), (ln2, vec![0.0; 3], vec![0.0; 3]));
            let (value, g, h) = f64::dispatch(isa, Pair(&[inf, 0.0], &[0.0, 0.0]));
            let exact = 0.5 * (4.0f64 / 3.0).ln() + 0.25 * (2.0f64 / 3.0).ln() + 0.25 * 2.0f64.ln();
            assert!((value / exact - 1.0).abs() < 1e-15, "{value} {exact}");
            assert_eq!(g, [0.0; 2]);
            // q (1 - q) (g_0 - g_1) = ln(2/3 / 2) / 8
            let slope = (1.0f64 / 3.0).ln() / 8.0;
            assert!((h[0] / slope - 1.0).abs() < 1e-15 && h[1] == -h[0], "{h:?} {slope}");
            for bad in [[f64::NAN, 0.0], [inf, inf], [-inf, -inf]] {
                let (value, g, h) = f64::dispatch(isa, Pair(&bad, &[0.0, 0.0]));
                assert!(value.is_nan() && g.iter().chain(&h).all(|g| g.is_nan()), "{bad:?} {value} {g:?} {h:?}");
            }
        }
    }
}
