//! Cross-entropy losses *and* gradients, right to the last digits at every margin, as fast as memory allows, with the
//! same bits on any number of threads.
//!
//! # The house
//! Imports point only down this list.
//!
//! ```text
//! python/      PyO3 and NumPy, behind the feature `python`: one function a loss
//! api/         value, value_and_grad, value_grad_hess: check, divide into blocks, loop over rows, reduce
//! parallel.rs  the number of threads, the pool, blocks of rows, sums in order
//! scope.rs     runs a closure on helper threads; those that wake up too late are cancelled
//! linear/      a linear layer and the loss behind it: tiles, products of matrices, few classes, steps of gradient descent
//! losses/      one file a loss, in one of two sockets: RowLoss (softmax family), PointLoss (sigmoid family)
//! distributions/  entropy, cross-entropy, divergences, one file each, in one socket: ClassSum
//! rows.rs      one row: map of its logits, maximum, sum of exponentials, softmax; groups of rows, finished together
//! tile.rs      many rows of few classes
//! sparse.rs    distributions over few classes, checked once
//! storage.rs   the types that logits are stored in and computed with;  half.rs  f16 and bf16, widened and narrowed
//! math/        exp, ln, log1p, sigmoid, softplus, tanh over lanes
//! view.rs      views of rows and labels, checked once
//! simd/        lanes: AVX-512, AVX2, portable;  float_mode.rs  standard arithmetic, whatever modes a caller has set
//! scratch.rs   buffers that a thread keeps from one block of rows to the next
//! memory.rs    every request for memory whose size depends on an input
//! exact.rs     sums without rounding;  error.rs  the typed error
//! ```
//!
//! # Example
//! Three rows of two logits, and the class of each:
//!
//! ```
//! use xentrs::{Classes, GradOutput, Labels, Loss, Reduction, RowObjective};
//! use xentrs::{Rows, RowsIo, SoftmaxCrossEntropy, Targets};
//!
//! # fn main() -> xentrs::Result<()> {
//! let logits = [2.0f32, 0.0, 0.0, 1.0, 17.0, 0.0];
//! let objective = RowObjective {
//!     loss: SoftmaxCrossEntropy::new(2, None, 0.0)?,
//!     target: Targets::Classes(Classes::new(Labels::I32(&[0, 0, 0]), 2, Some(-100))?),
//!     sample_weight: None,
//! };
//! let rows = Rows::new("logits", &logits, 3, 2)?;
//! let Loss::Scalar(mean) = xentrs::value(&objective, rows, Reduction::Mean)? else { unreachable!() };
//! assert!((mean - 0.480063).abs() < 1e-6);
//!
//! let mut grad = [0.0; 6];
//! xentrs::value_and_grad(&objective, RowsIo::new(rows, &mut grad)?, Reduction::Sum, GradOutput::ONE)?;
//! // Two classes 17 apart: the gradient is 4.1e-8, where a softmax minus one would give 0.
//! assert!((grad[4] / -4.1399e-8 - 1.0).abs() < 1e-4);
//! # Ok(())
//! # }
//! ```

// A panic is a bug. What may panic all the same, and why that cannot happen: docs/decisions/panics.md.
#![deny(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod api;

mod distributions;
mod error;
mod exact;
mod half;
mod linear;
#[deny(clippy::indexing_slicing)]
mod lookout;
mod losses;
mod math;
#[deny(clippy::indexing_slicing)]
mod memory;
#[deny(clippy::indexing_slicing)]
mod parallel;
#[cfg(feature = "python")]
#[deny(clippy::indexing_slicing)]
mod python;
mod rows;
#[deny(clippy::indexing_slicing)]
mod scope;
mod scratch;
mod simd;
mod sleeper;
mod sparse;
mod storage;
mod tile;
mod view;

pub use api::{
    BlockPlaces, CheckedEpoch, ColumnBlock, ColumnPlaces, Columns, Curvature, CurvedObjective, Epoch, Function,
    GaussianObjective, GradOutput, GradScale, Groups, HessOptions, HessScale, LinearGrads, LinearObjective, Loss,
    Measure, MeasureInput, MeasureKind, Neighbours, Objective, PairGrads, PairLoss, PairedRows, Parameters,
    PointNumbers, PointObjective, Reduction, RowObjective, SoftmaxStats, Tally, Targets, TokenObjective, Variable,
    apply, gaussian_value_and_grads, info_nce, js_smoothness, js_smoothness_with_grad, linear_value,
    linear_value_and_grads, logsumexp, measure_value, measure_value_and_grads, parity_penalty,
    parity_penalty_with_grad, siglip_loss, softmax_stats, value, value_and_grad, value_by_column, value_grad_hess,
    weighted_measure_value, weighted_measure_value_and_grads,
};
pub use error::{Error, Fault, Result};
pub use exact::ExactSum;
pub use half::Half;
pub use linear::{Decay, Momentum};
pub use losses::{
    BinaryCrossEntropy, CategoricalCrossEntropy, CurvedRowLoss, Dispersion, Domain, GaussianNll, HingeLoss, Link,
    PointHess, PointLoss, RowLoss, RowTarget, SigmoidCrossEntropy, SigmoidFocalLoss, SoftmaxCrossEntropy,
    SoftmaxFocalLoss, TopkKlDivergence,
};
pub use math::Real;
pub use memory::or_error;
pub use parallel::{num_threads, set_num_threads, with_num_threads};
pub use simd::Isa;
pub use sparse::{Pairs, Sparse};
pub use storage::{Place, Places, Storage, StoredIo, StoredRows};
pub use view::{Classes, Labels, Rows, RowsIo};
