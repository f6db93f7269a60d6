//! Vector in, vector out: elementary functions over lanes, with their error stated in units in the last place (ULP).
//!
//! Each is written once for both float types, which differ in a table of constants ([`Exp`](exp::Exp),
//! [`Log`](log::Log), [`Tanh`](logistic::Tanh), [`Cosh`](cosh::Cosh)).

mod cosh;
mod difference;
mod exp;
mod log;
mod logistic;
mod quotient;

pub(crate) use cosh::{COSH_LIMIT, js_share, ln_cosh_of_half};
pub(crate) use difference::subtract;
pub(crate) use exp::{Exp, exp, exp_nonpositive, exp_nonpositive_sum, exp_parts, exp_scaled, exp_scaled_late};
pub(crate) use log::{ATANH_LIMIT, atanh_tail, ln, ln_scaled_up, ln_share, log1p, log1p_unit};
pub(crate) use logistic::{Logistic, log_sigmoid, sigmoid, softplus, tanh, tanh_unit, tanh_with_slope};
pub(crate) use quotient::Quotient;

use crate::simd::Float;

/// A float type that comes with the constants of this floor: `f32` and `f64`.
pub trait Real: Float + Exp + log::Log + logistic::Tanh + cosh::Cosh {}

impl Real for f32 {}
impl Real for f64 {}

#[cfg(test)]
mod tests;
