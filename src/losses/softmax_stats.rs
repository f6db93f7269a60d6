//! Softmax statistics: everything that an evaluation asks of a row of logits, from one sweep over it.
//!
//! # Formula
//! For one row of logits `z`, `p = softmax(z)`, `m = max z`, `rest` the sum of `exp(z_k - m)` over every class but one
//! that attains the maximum, and the class `y`:
//!
//! ```text
//! logsumexp = m + ln(1 + rest)
//! loss      = logsumexp - z_y = ln(1 + rest) + (m - z_y)
//! entropy   = -sum_k p_k ln p_k = ln(1 + rest) + sum_k p_k (m - z_k)
//! argmax    = the first k with z_k = m
//! correct   = (argmax = y)
//! ```
//!
//! # Domain, shapes, units
//! `z` in `[-inf, inf]^c`, `y` in `[0, c)` or ignored; loss, log-sum-exp and entropy are in nats.
//!
//! # Precision
//! No sum has a negative term, so nothing cancels: loss and entropy of a confident row, both near
//! `rest (1 + margin)`, are right to the last digits where `p ln p` would have lost them.
//!
//! # Special values
//! A class with a logit of -inf takes no part. One logit of +inf: the limit, entropy 0. Where no distribution is defined (a
//! logit is NaN, all are -inf, several +inf) loss and entropy are NaN and there is no argmax; the log-sum-exp is what
//! [`logsumexp`](crate::logsumexp) says. A row that does not count (ignored, or of zero weight) has loss 0; its other
//! numbers are computed all the same.
//!
//! # References
//! C. E. Shannon, *A mathematical theory of communication*, 1948, section 6 (entropy).
//! M. Milakov and N. Gimelshein, *Online normalizer calculation for softmax*, 2018, arXiv:1805.02867 (one pass).

use crate::math::Real;
use crate::rows::{RowSum, Spread};
use crate::simd::Simd;

/// What one row says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowStats {
    pub(crate) loss: f64,
    pub(crate) logsumexp: f64,
    pub(crate) entropy: f64,
    pub(crate) argmax: Option<usize>,
}

/// The statistics of a row; without a class the row does not count.
#[inline(always)]
pub(crate) fn row_stats<T: Real, S: Simd<T>>(s: S, row: &[T], class: Option<usize>) -> RowStats {
    // 1. one sweep
    let (sum, Spread { top, entropy }) = RowSum::spreading(s, row);
    // 2. the loss, as softmax cross-entropy has it
    let loss = class.map_or(0.0, |y| sum.log_partition() + sum.gap(row[y]));
    RowStats { loss, logsumexp: sum.logsumexp(row), entropy, argmax: top }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Float, Isa, Kernel};

    struct Row<'a, T>(&'a [T], Option<usize>);

    impl<T: Real> Kernel<T> for Row<'_, T> {
        type Output = RowStats;
        #[inline(always)]
        fn run<S: Simd<T>>(self, s: S) -> RowStats {
            row_stats(s, self.0, self.1)
        }
    }

    /// The formulas, in float64 lines: log-sum-exp and entropy.
    fn oracle(z: &[f64]) -> (f64, f64) {
        let m = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let top = z.iter().position(|&z| z == m).unwrap();
        let others = || z.iter().enumerate().filter(|&(k, z)| k != top && *z > f64::NEG_INFINITY);
        let rest: f64 = others().map(|(_, z)| (z - m).exp()).sum();
        let apart: f64 = others().map(|(_, z)| (z - m).exp() * (m - z)).sum();
        (m + rest.ln_1p(), rest.ln_1p() + apart / (1.0 + rest))
    }

    #[test]
    fn rows_agree_with_the_oracle_on_every_instruction_set() {
        for c in (1..70).chain([1000, 1024, 1025, 3000, 5000]) {
            for (scale, slope) in [(0.017, 0.0), (1e-4, 0.0), (0.2, 0.0), (0.01, 0.05), (0.01, -0.05), (0.1, 1.0)] {
                let mut z: Vec<f32> =
                    (0..c).map(|k| ((k * 7919) % 1009) as f32 * scale + k as f32 * slope - 8.0).collect();
                if c > 3 {
                    z[c / 2] = f32::NEG_INFINITY;
                }
                let wide: Vec<f64> = z.iter().map(|&z| f64::from(z)).collect();
                let (lse, entropy) = oracle(&wide);
                let y = (c * 31) % c;
                for isa in Isa::available() {
                    let case = format!("c={c} scale={scale} slope={slope} {}", isa.name());
                    let stats = f32::dispatch(isa, Row(&z, Some(y)));
                    assert!((stats.entropy - entropy).abs() <= 1e-6 * entropy + 1e-36, "{case}: {stats:?} {entropy:e}");
                    assert!((stats.logsumexp - lse).abs() <= 1e-6 * lse.abs().max(1.0), "{case}: {stats:?} {lse}");
                    let loss = lse - wide[y];
                    assert!((stats.loss - loss).abs() <= 1e-6 * lse.abs().max(loss), "{case}: {stats:?} {loss}");
                    let max = z.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                    assert_eq!(stats.argmax, z.iter().position(|&z| z == max), "{case}");
                    let double = f64::dispatch(isa, Row(&wide, Some(y)));
                    assert!((double.entropy - entropy).abs() <= 1e-13 * entropy, "{case}: {double:?} {entropy:e}");
                }
            }
        }
    }

    #[test]
    fn where_no_distribution_is_defined_there_is_no_entropy() {
        let (inf, nan) = (f64::INFINITY, f64::NAN);
        for isa in Isa::available() {
            for z in [vec![nan, 0.0], vec![-inf; 3], vec![inf, 0.0, inf], vec![inf, nan], vec![]] {
                let stats = f64::dispatch(isa, Row(&z, None));
                assert!(stats.entropy.is_nan() && stats.argmax.is_none(), "{z:?} {stats:?}");
                assert_eq!(stats.loss, 0.0);
            }
            // The maximum rises by more than any exponential reaches, within a row of several blocks.
            let mut z = vec![-f64::MAX; 5000];
            z[3000] = f64::MAX;
            let stats = f64::dispatch(isa, Row(&z, Some(3000)));
            assert_eq!((stats.loss, stats.entropy, stats.argmax), (0.0, 0.0, Some(3000)));
            z[4000] = inf;
            let stats = f64::dispatch(isa, Row(&z, Some(0)));
            assert_eq!((stats.loss, stats.entropy, stats.argmax), (inf, 0.0, Some(4000)));
        }
    }
}
