//! Gaussian negative log-likelihood: a continuous target, predicted with a mean and a variance.
//!
//! # Formula
//! For one mean `m`, target `t`, and variance `v = exp(l)`:
//!
//! ```text
//! loss = 1/2 ln(2 pi) + 1/2 ln v + (t - m)^2 / (2 v)
//!      = 1/2 ln(2 pi) + 1/2 l + y^2 / 2,    y = (t - m) exp(-l / 2)
//! ```
//!
//! The first term does not depend on the prediction and may be left out. The loss is the cross-entropy of a point mass
//! at `t` and the Gaussian; for a constant variance it is the squared error, up to constants.
//!
//! # Gradient
//! `d loss / dm = -(t - m) / v`; `d loss / dv = (1 - (t - m)^2 / v) / (2 v)`; `d loss / dl = (1 - y^2) / 2`.
//!
//! # Domain, shapes, units
//! `m`, `t`, `l` in `[-inf, inf]`, `v > 0`, one of each a point; the loss is in nats (of a density: it may be
//! negative).
//!
//! # Precision
//! `t - m` is the only difference, and exact where the two are near. With `l` the variance, which might overflow, is
//! never computed: the residual is standardised first.
//!
//! # Special values
//! The squared term is 0 for a residual of 0, whatever the variance. Otherwise infinities have the result of the
//! formula: +inf for an infinite mean, target or variance, NaN where infinite terms cancel. NaN where one of the three
//! is.
//!
//! # References
//! D. A. Nix and A. S. Weigend, *Estimating the mean and variance of the target probability distribution*, 1994.

use crate::math::{Real, exp, ln};
use crate::simd::{Lanes, Simd};

/// Which parameter stands for the dispersion of the Gaussian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dispersion {
    /// As the variance, which is positive.
    Variance,
    /// As its logarithm.
    LogVariance,
}

/// Gaussian negative log-likelihood with its options.
#[derive(Clone, Copy, Debug)]
pub struct GaussianNll {
    /// Which parameter stands for the dispersion.
    pub dispersion: Dispersion,
    /// Whether `ln(2 pi) / 2` is part of the loss.
    pub full: bool,
}

impl GaussianNll {
    /// The losses of a register of points, and their derivatives with respect to mean and dispersion.
    #[inline(always)]
    pub(crate) fn value_and_grads<T: Real, S: Simd<T>>(
        self,
        s: S,
        mean: S::V,
        target: S::V,
        dispersion: S::V,
    ) -> (S::V, S::V, S::V) {
        let (zero, half, one) = (s.splat(T::ZERO), s.splat(T::from_f64(0.5)), s.splat(T::ONE));
        let constant = s.splat(T::from_f64(if self.full { HALF_LN_TAU } else { 0.0 }));
        let residual = target - mean;
        let none = residual.eq(zero);
        match self.dispersion {
            Dispersion::Variance => {
                let ratio = residual / dispersion;
                let square = (residual * ratio).zero_where(none);
                let loss = half.mul_add(ln(s, dispersion), constant) + half * square;
                (loss, zero - ratio, half * (one - square) / dispersion)
            }
            Dispersion::LogVariance => {
                let inverse = exp(s, zero - half * dispersion);
                let y = (residual * inverse).zero_where(none);
                let ratio = (y * inverse).zero_where(none);
                let loss = half.mul_add(dispersion, constant) + half * (y * y);
                (loss, zero - ratio, half * (one - y * y))
            }
        }
    }
}

/// `ln(2 pi) / 2`
const HALF_LN_TAU: f64 = 0.918_938_533_204_672_8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Float, Isa, Kernel, read, write};

    /// The formula, in float64 lines.
    fn oracle(m: f64, t: f64, l: f64) -> [f64; 4] {
        let (v, r) = (l.exp(), t - m);
        let loss = 0.5 * std::f64::consts::TAU.ln() + 0.5 * l + 0.5 * r * r / v;
        [loss, -r / v, 0.5 * (1.0 - r * r / v), 0.5 * (1.0 - r * r / v) / v]
    }

    struct Points<'a, T>(GaussianNll, [&'a [T]; 3]);

    impl<T: Real> Kernel<T> for Points<'_, T> {
        type Output = [Vec<T>; 3];
        #[inline(always)]
        fn run<S: Simd<T>>(self, s: S) -> Self::Output {
            let Points(loss, [m, t, v]) = self;
            let mut out = [(); 3].map(|()| vec![T::NAN; m.len()]);
            for i in (0..m.len()).step_by(S::LANES) {
                let (m, t, v) = (read(s, m, i, T::ONE), read(s, t, i, T::ONE), read(s, v, i, T::ONE));
                let (value, mean, dispersion) = loss.value_and_grads(s, m, t, v);
                write(s, value, &mut out[0], i);
                write(s, mean, &mut out[1], i);
                write(s, dispersion, &mut out[2], i);
            }
            out
        }
    }

    #[test]
    fn variance_and_log_variance_agree_with_the_oracle_on_every_instruction_set() {
        let n = 2003;
        let m: Vec<f64> = (0..n).map(|i| (i % 37) as f64 * 0.3 - 5.0).collect();
        let t: Vec<f64> = (0..n).map(|i| (i % 41) as f64 * 0.25 - 4.0).collect();
        let l: Vec<f64> = (0..n).map(|i| (i as f64 - 1000.0) * 0.02).collect();
        let v: Vec<f64> = l.iter().map(|l| l.exp()).collect();
        for isa in Isa::available() {
            for (dispersion, given) in [(Dispersion::Variance, &v), (Dispersion::LogVariance, &l)] {
                let out = f64::dispatch(isa, Points(GaussianNll { dispersion, full: true }, [&m, &t, given]));
                for i in 0..n {
                    let [loss, mean, log_var, var] = oracle(m[i], t[i], l[i]);
                    let truth = [loss, mean, if dispersion == Dispersion::Variance { var } else { log_var }];
                    for k in 0..3 {
                        let size = truth[k].abs() + if k == 1 { 0.0 } else { 0.5 + 0.5 * l[i].abs() };
                        let size =
                            if k == 2 && dispersion == Dispersion::Variance { size.max(1.0 / v[i]) } else { size };
                        let error = (out[k][i] - truth[k]).abs();
                        assert!(
                            error <= 4e-15 * size,
                            "{} {dispersion:?} {i} {k}: {} {}",
                            isa.name(),
                            out[k][i],
                            truth[k]
                        );
                    }
                }
            }
        }
    }
}
