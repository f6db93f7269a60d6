//! Cross-entropy losses *and* gradients, right to the last digits at every margin, as fast as memory allows, with the same
//! bits on any number of threads.
//!
//! # The house
//! Imports point only down this list.
//!
//! ```text
//! python/      PyO3 and NumPy, behind the feature `python`: one function a loss
//! api/         value, value_and_grad, value_grad_hess: check, dispatch, share out, reduce
//! parallel.rs  the number of threads, the pool, blocks of rows, sums in order;  lend.rs  a closure for threads in time
//! linear/      a linear layer and the loss behind it: tiles, products of matrices, few classes, steps of gradient descent
//! losses/      one file a loss, in one of two sockets: RowLoss (softmax family), PointLoss (sigmoid family)
//! distributions/  entropy, cross-entropy, divergences, one file each, in one socket: Measure
//! rows.rs      one row: map of its logits, maximum, sum of exponentials, softmax;  columns.rs  many rows of few classes
//! storage.rs   what logits are stored in and computed with     half.rs  f16 and bf16, widened and narrowed
//! math/        exp, ln, log1p, sigmoid, softplus, tanh over lanes
//! simd/        lanes: AVX-512, AVX2, portable
//! view.rs      rows and labels, checked once         sparse.rs distributions over few classes
//! exact.rs     sums that nothing rounds              error.rs  what can be wrong with a call
//! ```
//!
//! # Example
//! Three rows of two logits, and the class of each:
//!
//! ```
//! use xentrs::{Classes, Labels, Loss, Reduction, RowProblem, Rows, RowsIo, SoftmaxCrossEntropy, Targets};
//!
//! # fn main() -> xentrs::Result<()> {
//! let logits = [2.0f32, 0.0, 0.0, 1.0, 17.0, 0.0];
//! let problem = RowProblem {
//!     loss: SoftmaxCrossEntropy::new(2, None, 0.0)?,
//!     target: Targets::Classes(Classes::new(Labels::I32(&[0, 0, 0]), 2, Some(-100))?),
//!     sample_weight: None,
//! };
//! let rows = Rows::new("logits", &logits, 3, 2)?;
//! let Loss::Scalar(mean) = xentrs::value(&problem, rows, Reduction::Mean)? else { unreachable!() };
//! assert!((mean - 0.480063).abs() < 1e-6);
//!
//! let mut grad = [0.0; 6];
//! xentrs::value_and_grad(&problem, RowsIo::new(rows, &mut grad)?, Reduction::Sum)?;
//! // Two classes 17 apart: the gradient is 4.1e-8, where a softmax minus one would give 0.
//! assert!((grad[4] / -4.1399e-8 - 1.0).abs() < 1e-4);
//! # Ok(())
//! # }
//! ```

mod api;
mod columns;
mod distributions;
mod error;
mod exact;
mod half;
mod lend;
mod linear;
mod losses;
mod math;
mod parallel;
#[cfg(feature = "python")]
mod python;
mod rows;
mod simd;
mod sparse;
mod storage;
mod view;

pub use api::{
    CheckedEpoch, CurvedProblem, Epoch, Form, Function, GaussianProblem, Groups, LinearGrads, LinearProblem, Loss,
    Neighbours, Parameters, PointProblem, PointTargets, Problem, Quantity, Question, Reduction, RowProblem,
    SoftmaxStats, StoredRows, Tally, Targets, Variable, apply, gaussian_value_and_grads, js_smoothness,
    js_smoothness_with_grad, linear_value, linear_value_and_grads, logsumexp, measure, measure_and_grad,
    parity_penalty, parity_penalty_with_grad, softmax_stats, value, value_and_grad, value_grad_hess,
};
pub use error::{Error, Fault, Result};
pub use exact::ExactSum;
pub use half::Half;
pub use linear::Moment;
pub use losses::{
    BinaryCrossEntropy, CategoricalCrossEntropy, CurvedRowLoss, Domain, GaussianNll, HingeLoss, Link, PointHess,
    PointLoss, RowLoss, RowTarget, SigmoidCrossEntropy, SigmoidFocalLoss, SoftmaxCrossEntropy, SoftmaxFocalLoss,
    Spread,
};
pub use math::Real;
pub use parallel::{num_threads, set_num_threads, with_num_threads};
pub use simd::Isa;
pub use sparse::{Pairs, Sparse};
pub use storage::{Place, Storage};
pub use view::{Classes, Labels, Rows, RowsIo};
