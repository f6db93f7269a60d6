//! SigLIP: of every pair of a row of `x` and a row of `y`, whether they belong together (contrastive learning without a
//! softmax).
//!
//! # Formula
//! ```text
//! z_ij = x_i . y_j / temperature + bias             x (n, d), y (n, d); row i of x belongs to row i of y
//! loss_i = softplus(-z_ii) + sum_(j != i) softplus(z_ij)
//! ```
//!
//! The loss of a row is the sum of `n` sigmoid cross-entropies, whose targets are the row of a unit matrix. The matrix is
//! never in memory: a row of zeros holds a 1 for as long as its row is visited ([`with_target`]).
//!
//! # Gradient
//! `d loss_i / d z_ij = sigmoid(z_ij) - [i = j]`; neither side is computed as 1 minus the other.
//!
//! # Domain, shapes, units
//! Any logits; `temperature` in `[1e-30, 1e30]`, `bias` finite; the loss is in nats. The mean is that over rows, of sums
//! over `n` pairs each, as its authors have it.
//!
//! # Special values
//! As in sigmoid cross-entropy. No rows: the loss is 0.
//!
//! # References
//! X. Zhai, B. Mustafa, A. Kolesnikov and L. Beyer, *Sigmoid loss for language image pre-training*, ICCV 2023,
//! arXiv:2303.15343.

use crate::math::Real;

/// Calls `f` with the targets of a row: 0, but for its own column. `zeros` is left as it was.
#[inline(always)]
pub(crate) fn with_target<T: Real, R>(zeros: &mut [T], own: usize, f: impl FnOnce(&[T]) -> R) -> R {
    zeros[own] = T::ONE;
    let result = f(zeros);
    zeros[own] = T::ZERO;
    result
}
