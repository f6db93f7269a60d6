//! The weights of the two labels of a binary target, from the options that the losses of binary labels share.
//!
//! With the target `t`, smoothed to `t' = (1 - eps) t + eps / 2`, the weight `beta` of positive labels (one per column)
//! and the balance `alpha`:
//!
//! ```text
//! yes = beta alpha t'          no = (1 - alpha) (1 - t')          without `alpha` both of its factors are 1
//! ```
//!
//! `1 - t'` is computed as `(1 - eps) (1 - t) + eps / 2`, since a difference would lose a small `eps`.

use super::Points;
use crate::error::{Result, check_fraction};
use crate::math::Real;
use crate::memory;
use crate::simd::{Lanes, MAX_LANES, Simd, load_at};
use crate::view::check_weights;

/// The options of binary labels.
#[derive(Clone, Debug)]
pub(super) struct BinaryWeights<T> {
    pos_weight: Option<PosWeight<T>>,
    /// `yes = t yes[0] + yes[1]`, `no = (1 - t) no[0] + no[1]`. Without options the coefficients are 1 and 0:
    /// arithmetic costs less than a branch in every loop.
    yes: [T; 2],
    no: [T; 2],
}

/// The weights of the positive labels of a row, which repeat from row to row.
#[derive(Clone, Debug)]
struct PosWeight<T> {
    /// The weights of a row, extended by one register, so that a register may start at any column.
    weights: Vec<T>,
    columns: usize,
}

impl<T: Real> BinaryWeights<T> {
    /// `pos_weight` is `beta`, one number per column, all 1 if absent; `label_smoothing` is `eps`.
    pub(super) fn new(pos_weight: Option<&[T]>, label_smoothing: f64, alpha: Option<f64>) -> Result<Self> {
        check_fraction("label_smoothing", label_smoothing)?;
        alpha.map_or(Ok(()), |alpha| check_fraction("alpha", alpha))?;
        let [kept, uniform] = [1.0 - label_smoothing, label_smoothing / 2.0];
        let line = |weight: f64| [weight * kept, weight * uniform].map(T::from_f64);
        let (yes, no) = (line(alpha.unwrap_or(1.0)), line(alpha.map_or(1.0, |alpha| 1.0 - alpha)));
        let pos_weight = match pos_weight {
            Some(weights) if !weights.is_empty() => {
                check_weights("pos_weight", weights, &[weights.len()])?;
                let columns = weights.len();
                let extended = weights.iter().copied().cycle().take(columns + MAX_LANES);
                let weights = memory::or_error(|| Ok(memory::list(extended)))?;
                Some(PosWeight { weights, columns })
            }
            _ => None,
        };
        Ok(BinaryWeights { pos_weight, yes, no })
    }

    /// `(yes, no)`
    #[inline(always)]
    pub(super) fn of<S: Simd<T>>(&self, s: S, Points { first, target, .. }: Points<S::V>) -> (S::V, S::V) {
        let mut yes = target.mul_add(s.splat(self.yes[0]), s.splat(self.yes[1]));
        let no = (s.splat(T::ONE) - target).mul_add(s.splat(self.no[0]), s.splat(self.no[1]));
        if let Some(beta) = &self.pos_weight {
            yes = yes * load_at(s, &beta.weights, first % beta.columns);
        }
        (yes, no)
    }
}
