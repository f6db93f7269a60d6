//! Smoothness of predictions: the Jensen-Shannon divergence of neighbouring positions.
//!
//! # Formula
//! For two neighbouring rows of logits with the distributions `p` and `q`, `m = (p + q) / 2`:
//!
//! ```text
//! JS = 1/2 sum_k p_k ln(p_k / m_k) + 1/2 sum_k q_k ln(q_k / m_k)
//! ```
//!
//! With `x_k = ln(p_k / q_k)` and `d_k = (p_k - q_k) / (p_k + q_k) = tanh(x_k / 2)` it is a sum without a negative
//! term:
//!
//! ```text
//! JS     = sum_k m_k phi(x_k)
//! phi(x) = [(1 + d) ln(1 + d) + (1 - d) ln(1 - d)] / 2
//!        = x tanh(x / 2) / 2 - ln cosh(x / 2)              |x| <= 2: a polynomial in x^2, that begins with x^2 / 8
//!        = ln(1 + |d|) - |x| sigmoid(-|x|)                 beyond: towards ln 2
//! ln(1 + |d|) = |x| / 2 - ln cosh(x / 2) = ln 2 - ln(1 + exp(-|x|))
//! ```
//!
//! The terms that are linear in the differences have cancelled on paper. So the divergence of equal rows is exactly 0,
//! and that of nearly equal ones keeps its digits, where `p ln(p / m)` has errors as large as the rounding of `p`.
//! `exp(-|x|)` is the quotient of the two probabilities, and the sigmoid the smaller one over their sum: the only
//! exponentials are those of the softmax of each position, which serves both of its pairs.
//!
//! # The differences
//! `x_k = (z_k - z'_k) - shift`, where `shift` is the difference of both log-sum-exps. An error `e` of it adds
//! `e^2 / 8` to the divergence, which matters only for near neighbours. For these the shift is computed a second time,
//! as `ln(1 + sum_k q_k (exp(z_k - z'_k) - 1))`, which is small where the differences are.
//!
//! # Gradient
//! `dJS / dp_k = ln(p_k / m_k) / 2 = ln(1 + d_k) / 2 =: g_k`, and through the softmax
//! `dJS / dz_k = p_k (g_k - sum_j p_j g_j)`; the same for the other row with `-x`. The gradient of a row is the sum
//! over both its neighbours. The components of a gradient sum to zero, so that of a class with most of the probability
//! is computed as minus the sum of the others.
//!
//! # Domain, shapes, units
//! Logits in `[-inf, inf]`, rows of one length; nats, in `[0, ln 2]`.
//!
//! # Special values
//! A class with logits of -inf in both rows adds 0; in one row alone it adds `q_k ln 2 / 2`. A single logit of +inf has
//! the limit: all probability is there, and the gradient is 0. Where no distribution is defined (a logit is NaN, all
//! are -inf, several are +inf) the divergence of both pairs of the row is NaN, and so are the gradients of their rows.
//!
//! # References
//! J. Lin, *Divergence measures based on the Shannon entropy*, IEEE Trans. Inf. Theory 37(1), 1991.

mod by_lane;
mod by_row;

pub(crate) use by_lane::Positions;
pub(crate) use by_row::Position;

use crate::math::{COSH_LIMIT, Real, exp, js_share, ln_cosh_of_half, log1p_unit, subtract, tanh};
use crate::simd::{Lanes, Simd};

/// An upper limit of `|x|`, beyond which `exp(-|x|)` is 0. It is finite, so that 0 times it is 0.
const FAR: f64 = 4096.0;

/// Below this number of roundings the error of the shift, less than 8 roundings, may matter for a divergence.
const ROUNDINGS: f64 = 16.0;

/// The least divergence for which the error of the shift does not matter.
fn least_sure<T: Real>() -> f64 {
    ROUNDINGS * 2.0 / T::SCALE_UP.to_f64()
}

/// The terms `2 m phi(x)` of some classes and, with `GRAD`, `2 g` of both rows. Probabilities and terms are times
/// 2^DIGITS. The shift has two parts, as it may be much larger than `x`.
#[inline(always)]
fn between<const GRAD: bool, T: Real, S: Simd<T>>(
    s: S,
    [z, other]: [S::V; 2],
    [p, q]: [S::V; 2],
    [shift, shift_rest]: [S::V; 2],
) -> (S::V, [S::V; 2]) {
    let (zero, half) = (s.splat(T::ZERO), s.splat(T::from_f64(0.5)));
    // 1. x and |x|. A NaN, where both logits are -inf, becomes FAR and adds 0.
    let [difference, lost] = subtract(s, z, other);
    let x = (difference - shift) + (lost - shift_rest);
    let size = x.abs().min(s.splat(T::from_f64(FAR)));
    let (square, is_near) = (size * size, size.lt(s.splat(T::from_f64(COSH_LIMIT))));
    // 2. phi near 0; further away from ln(1 + |d|), with exp(-|x|) as a quotient
    let (small, large) = (p.min(q), p.max(q));
    let r = small / large.max(s.splat(T::MIN_NORMAL));
    let far_log = s.splat(T::from_f64(std::f64::consts::LN_2)) - log1p_unit(s, r);
    let (both, near) = (p + q, js_share(s, square));
    let divergence = S::V::select(is_near, both * near, both * far_log - small * size);
    if !GRAD {
        return (divergence, [zero; 2]);
    }
    // 3. g of both rows: ln(1 - |d|) = ln(1 + |d|) - |x|
    let log = S::V::select(is_near, half * size - ln_cosh_of_half(s, square), far_log);
    let (above, below, is_swapped) = (log, log - size, x.lt(zero));
    (divergence, [S::V::select(is_swapped, below, above), S::V::select(is_swapped, above, below)])
}

/// `q (exp(z - z') - 1)`, without cancellation for near neighbours.
#[inline(always)]
fn growth<T: Real, S: Simd<T>>(s: S, [z, other]: [S::V; 2], q: S::V) -> S::V {
    let (one, half) = (s.splat(T::ONE), s.splat(T::from_f64(0.5)));
    // exp(x) - 1, where that cancels as 2 t / (1 - t) with t = tanh(x / 2)
    let x = z - other;
    let t = tanh(s, x * half);
    let change = S::V::select(x.lt(half), (t + t) / (one - t), exp(s, x) - one);
    (q * change).zero_where(z.eq(other))
}

/// The largest sum of all [`growth`]s that gives the shift better than the log-sum-exps do.
const GROWTH_LIMIT: f64 = 0.5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Float, Isa, Kernel};
    use crate::tile::are_few;

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
            p.load::<true, S>(s, a);
            q.load::<true, S>(s, b);
            let value = p.divergence::<false, S>(s, &mut q, 1.0);
            assert_eq!(value.to_bits(), p.divergence::<true, S>(s, &mut q, 1.0).to_bits());
            let (mut grad, mut other) = (vec![T::NAN; c], vec![T::NAN; c]);
            p.gradient(s, 1.0, &mut grad);
            q.gradient(s, 1.0, &mut other);
            (value, grad, other)
        }
    }

    /// The same, as positions of few classes are taken.
    struct ByLane<'a, T>(&'a [T], &'a [T]);

    impl<T: Real> Kernel<T> for ByLane<'_, T> {
        type Output = (f64, Vec<T>, Vec<T>);
        #[inline(always)]
        fn run<S: Simd<T>>(self, s: S) -> Self::Output {
            let ByLane(a, b) = self;
            let c = a.len();
            let mut scratch = vec![T::NAN; Positions::<T>::scratch_len(c)];
            let mut positions = Positions::new(&mut scratch, c);
            positions.load(s, 0, (a, c), 1);
            positions.load(s, 1, (b, c), 1);
            positions.counts()[0] = T::ONE;
            positions.diverge::<false, S>(s, 1);
            let value = positions.divergences()[0].to_f64();
            positions.diverge::<true, S>(s, 1);
            assert_eq!(value.to_bits(), positions.divergences()[0].to_f64().to_bits());
            let mut grads = vec![T::NAN; 2 * c];
            positions.gradients(s, 0..2, 1.0, &mut grads);
            let other = grads.split_off(c);
            (value, grads, other)
        }
    }

    /// Both ways to the divergence of two positions, and to its gradients.
    fn both(isa: Isa, a: &[f64], b: &[f64]) -> Vec<(f64, Vec<f64>, Vec<f64>)> {
        let mut found = vec![f64::dispatch(isa, Pair(a, b))];
        if are_few(a.len()) {
            found.push(f64::dispatch(isa, ByLane(a, b)));
        }
        found
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
        let mean: f64 = p.iter().zip(&g).map(|(p, g)| p * g).sum();
        let back: f64 = p.iter().zip(&q).map(|(&p, &q)| q * term(q, p)).sum();
        (mean + back, p.iter().zip(&g).map(|(p, g)| p * (g - mean)).collect())
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
                for ((ours, g, _), (other, _, h)) in both(isa, &a, &b).into_iter().zip(both(isa, &b, &a)) {
                    let case = format!("c={c} {}", isa.name());
                    for found in [ours, other] {
                        assert!((found - value).abs() <= 1e-13 * value + 1e-16, "{case}: {found:e} {value:e}");
                    }
                    for (k, &truth) in grad.iter().enumerate() {
                        for found in [g[k], h[k]] {
                            let error = (found - truth).abs();
                            assert!(error <= 1e-13 * truth.abs() + 1e-16, "{case} k={k}: {found} {truth}");
                        }
                    }
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
                for (value, ..) in both(isa, &a, &b) {
                    assert!((value / truth - 1.0).abs() < 1e-13 + step, "{} {step:e}: {value:e} {truth:e}", isa.name());
                }
            }
            assert!(both(isa, &[0.3, 5.0], &[0.3, 5.0]).iter().all(|(value, ..)| *value == 0.0));
        }
    }

    #[test]
    fn infinite_logits_are_limits() {
        let (inf, ln2) = (f64::INFINITY, std::f64::consts::LN_2);
        for isa in Isa::available() {
            for found in both(isa, &[inf, 0.0, 1.0], &[0.0, -inf, inf]) {
                assert_eq!(found, (ln2, vec![0.0; 3], vec![0.0; 3]));
            }
            for (value, g, h) in both(isa, &[inf, 0.0], &[0.0, 0.0]) {
                let exact = 0.5 * (4.0f64 / 3.0).ln() + 0.25 * (2.0f64 / 3.0).ln() + 0.25 * 2.0f64.ln();
                assert!((value / exact - 1.0).abs() < 1e-15, "{value} {exact}");
                assert_eq!(g, [0.0; 2]);
                // q (1 - q) (g_0 - g_1) = ln(2/3 / 2) / 8
                let slope = (1.0f64 / 3.0).ln() / 8.0;
                assert!((h[0] / slope - 1.0).abs() < 1e-15 && h[1] == -h[0], "{h:?} {slope}");
            }
            for bad in [[f64::NAN, 0.0], [inf, inf], [-inf, -inf]] {
                for (value, g, h) in both(isa, &bad, &[0.0, 0.0]) {
                    assert!(value.is_nan() && g.iter().chain(&h).all(|g| g.is_nan()), "{bad:?} {value} {g:?} {h:?}");
                }
            }
        }
    }
}
