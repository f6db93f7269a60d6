//! The parts of the fused linear layer and loss, which never stores all logits: sizes of tiles and blocks, and their
//! kernels. `api/linear_cross_entropy.rs` distributes them among threads.
//!
//! # Formula
//! ```text
//! z_ik = b_k + sum_j x_ij w_kj            x (n, d), w (c, d), b (c)
//! loss = sum_i loss_i(z_i)                 any loss of a row of logits
//! ```
//!
//! # Gradient
//! With `g_ik = d loss / d z_ik` from the loss of the row:
//!
//! ```text
//! dx_ij = sum_k g_ik w_kj        dw_kj = sum_i g_ik x_ij        db_k = sum_i g_ik
//! ```
//!
//! # Tiles
//! Rows are taken in tiles whose logits fit into [`TILE_BYTES`]. A product computes the logits, the loss overwrites
//! them by `g`, and products of `g` with `w` and `x` give the tile's rows of `dx` and its contribution to `dw`. `w` and
//! `dw` are read once a tile, so tiles are as large as allowed.
//!
//! Where even few rows have more logits than that, their classes are taken in tiles too ([`Strips`]).
//!
//! Where `w` is small enough to stay in a cache ([`is_small`]) rows are taken in blocks instead, which are read from
//! memory once for all products ([`few_classes`]).
//!
//! # References
//! E. Wijmans, B. Huval, A. Hertzberg, V. Koltun and P. Krähenbühl, *Cut your losses in large-vocabulary language
//! models*, ICLR 2025, arXiv:2411.09009 (the layer and its loss in one).
//! P.-L. Hsu, Y. Dai, V. Kothapalli et al., *Liger kernel: efficient Triton kernels for LLM training*, 2024,
//! arXiv:2410.10989 (tiles of rows, whose gradient takes the place of their logits).

mod descent;
pub(crate) mod few_classes;
pub(crate) mod gemm;
mod visits;

pub use descent::{Decay, Momentum};
pub(crate) use descent::{Gradient, SgdStep};
pub(crate) use visits::{Gather, Visits};

use self::gemm::{Matrix, MatrixMut};
use crate::simd::{Float, Isa, Kernel, Simd};
use crate::view::Rows;
use few_classes::{AddProduct, FEW, Logits};
use std::ops::Range;

/// Memory for the logits of a tile, with copies of its rows and of their gradient where these are needed.
const TILE_BYTES: usize = 40 << 20;

/// Memory for a block of rows in the second-level cache.
const BLOCK_BYTES: usize = 1 << 18;

/// Memory for the parts of the weight's gradient, which are added up at the end.
const PARTS_BYTES: usize = 8 << 20;

/// Rows of a tile: nearly equal in all tiles, at least one, and a multiple of 16 where products gain by it.
pub(crate) fn tile_rows<T>(rows: usize, features: usize, classes: usize) -> usize {
    let most = (TILE_BYTES / (size_of::<T>() * (classes + 2 * features)).max(1)).max(1);
    let even = rows.div_ceil(rows.div_ceil(most).max(1));
    if most < 16 { even } else { even.next_multiple_of(16).min(most) }.max(1)
}

/// Tiles of fewer rows are slower than strips, which compute the logits twice.
const FEW_ROWS: usize = 64;

/// Numbers of rows of a strip and of classes of its tiles.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Strips {
    pub(crate) rows: usize,
    pub(crate) classes: usize,
}

impl Strips {
    /// Strips, if tiles of whole rows would have too few rows.
    pub(crate) fn of<T>(rows: usize, features: usize, classes: usize) -> Option<Self> {
        let row_bytes = size_of::<T>() * (classes + 2 * features);
        if TILE_BYTES / row_bytes.max(1) >= rows.min(FEW_ROWS) {
            return None;
        }
        let rows = rows.min(1024);
        let logits = (TILE_BYTES / size_of::<T>()).saturating_sub(2 * rows * features) / rows;
        Some(Strips { rows, classes: (logits / 1024 * 1024).max(1024) })
    }
}

/// Whether a weight is so small that each thread sums a gradient of its own.
pub(crate) fn is_small<T>(features: usize, classes: usize) -> bool {
    let numbers = (features + 1).saturating_mul(classes);
    numbers <= 1 << 17 || (classes <= FEW && numbers <= PARTS_BYTES / 4 / size_of::<T>())
}

/// Rows of a block that stays in the cache.
pub(crate) fn block_rows<T>(features: usize, classes: usize) -> usize {
    (BLOCK_BYTES / (size_of::<T>() * (features + classes)).max(1) / 16 * 16).clamp(16, 1024)
}

/// Parts that the gradients of a small weight and its bias are summed in: enough for the threads, few enough for the
/// memory.
pub(crate) fn parts<T>(features: usize, classes: usize) -> usize {
    (PARTS_BYTES / (classes * (size_of::<T>() * features + size_of::<f64>())).max(1)).clamp(4, 64)
}

/// The amount of work in elements of a sum: four multiply-adds count as one.
pub(crate) fn work(rows: usize, features: usize, classes: usize) -> usize {
    rows.saturating_mul(classes).saturating_mul(features / 4 + 1)
}

/// Rows of a stored weight that a thread has at a time: all, unless they are widened.
pub(crate) fn widened_rows(are_half: bool, rows: usize, features: usize) -> usize {
    if are_half { (BLOCK_BYTES / features.max(1)).max(1) } else { rows.max(1) }
}

/// `x weight^T + bias` of a block of rows.
pub(crate) fn block_logits<T: Float>(
    isa: Isa,
    x: Rows<'_, T>,
    weight: Rows<'_, T>,
    bias: Option<&[T]>,
    logits: &mut [T],
) {
    if weight.rows() <= FEW {
        T::dispatch(isa, Logits { x, weight, bias, logits });
    } else {
        MatrixMut::packed(logits, x.rows(), weight.rows()).product(Matrix::of(x), Matrix::of(weight).t(), false);
        add_bias(bias, logits);
    }
}

/// Adds the bias to each row.
pub(crate) fn add_bias<T: Float>(bias: Option<&[T]>, logits: &mut [T]) {
    if let Some(bias) = bias.filter(|bias| !bias.is_empty()) {
        for row in logits.chunks_exact_mut(bias.len()) {
            for (z, &b) in row.iter_mut().zip(bias) {
                *z = *z + b;
            }
        }
    }
}

/// Adds `grad^T x` of a block of rows.
pub(crate) fn add_block_product<T: Float>(isa: Isa, x: Rows<'_, T>, grad: &[T], classes: usize, weight_grad: &mut [T]) {
    if classes <= FEW {
        T::dispatch(isa, AddProduct { x, grad, weight_grad });
    } else {
        let grad = Matrix::packed(grad, x.rows(), classes).t();
        MatrixMut::packed(weight_grad, classes, x.columns()).product(grad, Matrix::of(x), true);
    }
}

/// Sums columns of rows with a given stride, in double precision: plain loops, which the compiler vectorises for the
/// instruction set.
pub(crate) struct AddColumns<'k, T> {
    pub(crate) rows: &'k [T],
    pub(crate) stride: usize,
    pub(crate) columns: Range<usize>,
    pub(crate) sums: &'k mut [f64],
}

impl<T: Float> Kernel<T> for AddColumns<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, _: S) {
        for row in self.rows.chunks_exact(self.stride.max(1)) {
            for (sum, &x) in self.sums.iter_mut().zip(&row[self.columns.clone()]) {
                *sum += x.to_f64();
            }
        }
    }
}
