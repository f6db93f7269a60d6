//! InfoNCE: which of `n` rows of `y` belongs to a row of `x`, and the other way round (contrastive learning).
//!
//! # Formula
//! ```text
//! z_ij = x_i . y_j / temperature                    x (n, d), y (n, d); row i of x belongs to row i of y
//! r_i  = logsumexp_j(z_ij) - z_ii                    cross-entropy of row i:    which y is that of x_i?
//! c_j  = logsumexp_i(z_ij) - z_jj                    cross-entropy of column j: which x is that of y_j?
//! loss_i = (r_i + c_i) / 2,  or r_i alone
//! ```
//!
//! # Gradient
//! With `P_ij = exp(z_ij - logsumexp_j z_ij)` and `Q_ij = exp(z_ij - logsumexp_i z_ij)`, the softmax along rows and along
//! columns, and an upstream gradient `u`:
//!
//! ```text
//! d loss / d z_ij = (u_i (P_ij - [i = j]) + u_j (Q_ij - [i = j])) / 2
//! ```
//!
//! `r` and `P` are those of softmax cross-entropy. `Q` needs the sums along columns first, so the losses of the columns
//! come from a pass of their own over `z^T`, and this file adds their gradients to those of a row. `z` itself is never in
//! memory: two products of matrices more than if it were are the price (four in place of two, and one for each gradient).
//!
//! # Domain, shapes, units
//! Any logits; `temperature` in `[1e-30, 1e30]`; the loss is in nats.
//!
//! # Precision
//! `Q_jj - 1 = expm1(-c_j)` of a pair that is told apart well keeps its digits, as `P_ii - 1` does.
//!
//! # Special values
//! A NaN in a row of `x` or of `y` reaches every loss by the sums along rows or columns. No rows: the loss is 0.
//!
//! # References
//! A. van den Oord, Y. Li and O. Vinyals, *Representation learning with contrastive predictive coding*, 2018,
//! arXiv:1807.03748.
//! A. Radford, J. W. Kim et al., *Learning transferable visual models from natural language supervision*, ICML 2021,
//! arXiv:2103.00020 (both directions).

use crate::math::{Real, exp};
use crate::simd::{Kernel, Lanes, Simd, read, write};

/// What is known of all columns before the rows are visited.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Columns<'a, T> {
    /// `logsumexp_i z_ij`.
    pub(crate) sums: &'a [T],
    /// `c_j`.
    pub(crate) losses: &'a [T],
    /// `u_j`; all 1 if absent.
    pub(crate) upstream: Option<&'a [T]>,
}

/// Adds to the gradient of a row, `scale` times, that of the losses of its columns.
pub(crate) struct AddColumns<'k, T> {
    /// `x_i . y_j`, before the temperature.
    pub(crate) products: &'k [T],
    pub(crate) grad: &'k mut [T],
    pub(crate) columns: Columns<'k, T>,
    /// The column that belongs to the row.
    pub(crate) own: usize,
    pub(crate) inverse_temperature: f64,
    pub(crate) scale: f64,
}

impl<T: Real> Kernel<T> for AddColumns<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        let AddColumns { products, grad, columns: Columns { sums, losses, upstream }, own, .. } = self;
        let (inverse, scale) = (s.splat(T::from_f64(self.inverse_temperature)), s.splat(T::from_f64(self.scale)));
        // 1. The pair itself, from its loss: the complement of a probability near 1.
        let complement = (-losses[own].to_f64()).exp_m1() * self.scale * upstream.map_or(1.0, |u| u[own].to_f64());
        let pair = grad[own].to_f64() + complement;
        // 2. All columns: Q.
        for j in (0..products.len()).step_by(S::LANES) {
            let q = exp(s, read(s, products, j, T::ZERO) * inverse - read(s, sums, j, T::ZERO));
            let factor = upstream.map_or(scale, |u| scale * read(s, u, j, T::ZERO));
            write(s, q.mul_add(factor, read(s, grad, j, T::ZERO)), grad, j);
        }
        grad[own] = T::from_f64(pair);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::Isa;

    #[test]
    fn the_gradient_of_columns_agrees_with_the_formula() {
        let n = 37;
        let z = |i: usize, j: usize| ((i * 31 + j * 17) % 23) as f64 / 4.0 - 2.0;
        let sum = |j: usize| (0..n).map(|i| z(i, j).exp()).sum::<f64>().ln();
        let sums: Vec<f64> = (0..n).map(sum).collect();
        let losses: Vec<f64> = (0..n).map(|j| sums[j] - z(j, j)).collect();
        let upstream: Vec<f64> = (0..n).map(|j| j as f64 - 3.0).collect();
        for isa in Isa::available() {
            for upstream in [None, Some(&upstream[..])] {
                let i = 5;
                let products: Vec<f64> = (0..n).map(|j| 2.0 * z(i, j)).collect();
                let mut grad = vec![1.0; n];
                let columns = Columns { sums: &sums, losses: &losses, upstream };
                let kernel = AddColumns {
                    products: &products,
                    grad: &mut grad,
                    columns,
                    own: i,
                    inverse_temperature: 0.5,
                    scale: 0.25,
                };
                <f64 as crate::simd::Float>::dispatch(isa, kernel);
                for j in 0..n {
                    let own = if i == j { 1.0 } else { 0.0 };
                    let expected = 1.0 + 0.25 * upstream.map_or(1.0, |u| u[j]) * ((z(i, j) - sums[j]).exp() - own);
                    assert!((grad[j] - expected).abs() < 1e-14, "{} {j}: {} {expected}", isa.name(), grad[j]);
                }
            }
        }
    }
}
