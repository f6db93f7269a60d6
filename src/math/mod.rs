//! Vector in, vector out: elementary functions over lanes, with their error stated in units in the last place (ULP).
//!
//! Each is written once for both float types; what differs is a table of constants ([`Exp`](exp::Exp), [`Log`](log::Log)).

mod exp;
mod log;
mod logistic;

pub(crate) use exp::{Exp, exp, exp_nonpositive, exp_parts, exp_scaled};
pub(crate) use log::{ATANH_LIMIT, atanh_tail, ln, ln_quotient, log1p, log1p_unit};
pub(crate) use logistic::{Logistic, log_sigmoid, sigmoid, softplus, tanh};

use crate::simd::{Float, MAX_LANES, Simd};
use exp::exp_small;

/// A float type that comes with the constants of this floor: `f32` and `f64`.
pub trait Real: Float + Exp + log::Log {}

impl Real for f32 {}
impl Real for f64 {}

/// `exp(x)` of a single number, inlined: a call would take the registers from the kernel around it.
#[inline(always)]
pub(crate) fn exp_of<T: Float, S: Simd<T>>(s: S, x: f64) -> f64 {
    let s = s.wide();
    first(s, exp(s, s.splat(x)))
}

/// `exp(x)` of a single number with `|x| <= ln 2 / 2`, which the polynomial alone does.
#[inline(always)]
pub(crate) fn exp_small_of<T: Float, S: Simd<T>>(s: S, x: f64) -> f64 {
    let s = s.wide();
    first(s, exp_small(s, s.splat(x)))
}

/// `ln(1 + x)` of a single number.
#[inline(always)]
pub(crate) fn log1p_of<T: Float, S: Simd<T>>(s: S, x: f64) -> f64 {
    let s = s.wide();
    first(s, log1p(s, s.splat(x)))
}

#[inline(always)]
fn first<S: Simd<f64>>(s: S, v: S::V) -> f64 {
    let mut lanes = [0.0; MAX_LANES];
    s.store(v, &mut lanes[..S::LANES]);
    lanes[0]
}

#[cfg(test)]
mod tests;
