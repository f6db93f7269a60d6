//! Errors in units in the last place, on every instruction set.
//!
//! Two runs share everything but the number of points: the strided tests below, which every `cargo test` runs, and
//! `make sweep`, all 2^32 numbers of float32 and some millions of float64 for every function, a table in minutes.

mod measure;
mod reference;
mod sample;

use super::*;
use crate::simd::{Float, Isa, Kernel, Simd, read, write};
use measure::{Worst, worst};
use reference::Reference;

/// A function over lanes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Function {
    Exp,
    ExpNonpositive,
    ExpSummed,
    Ln,
    Log1p,
    Log1pUnit,
    Sigmoid,
    SigmoidOfPair,
    LogSigmoid,
    Softplus,
    Tanh,
    TanhOfPair,
}

impl Function {
    const ALL: [Function; 12] = [
        Self::Exp,
        Self::ExpNonpositive,
        Self::ExpSummed,
        Self::Ln,
        Self::Log1p,
        Self::Log1pUnit,
        Self::Sigmoid,
        Self::SigmoidOfPair,
        Self::LogSigmoid,
        Self::Softplus,
        Self::Tanh,
        Self::TanhOfPair,
    ];

    /// Where it is defined at all, NaN included; beyond, nothing is promised.
    fn takes(self, x: f64) -> bool {
        match self {
            Self::ExpNonpositive | Self::ExpSummed => x <= 0.0 || x.is_nan(),
            Self::Log1pUnit => (0.0..=1.0).contains(&x) || x.is_nan(),
            _ => true,
        }
    }

    /// Whether 0 is right, too, where the truth is below the normal numbers.
    fn flushes(self) -> bool {
        matches!(
            self,
            Self::ExpNonpositive
                | Self::ExpSummed
                | Self::Sigmoid
                | Self::SigmoidOfPair
                | Self::LogSigmoid
                | Self::Softplus
        )
    }

    /// The bound that the documentation states.
    fn bound(self) -> f64 {
        match self {
            Self::Exp | Self::ExpNonpositive => 1.0,
            Self::ExpSummed => 1.05,
            Self::Ln => 1.0,
            Self::Log1p => 1.6,
            Self::Log1pUnit => 1.35,
            Self::Sigmoid => 2.45,
            Self::SigmoidOfPair => 2.9,
            Self::LogSigmoid | Self::Softplus => 2.5,
            Self::Tanh | Self::TanhOfPair => 3.0,
        }
    }
}

/// The first sigmoid of the two that losses take at once.
#[inline(always)]
fn sigmoid_of_pair<T: Real, S: Simd<T>>(s: S, x: S::V) -> S::V {
    Logistic::at(s, x).sigmoids(s).0
}

/// The hyperbolic tangent that comes with its derivative.
#[inline(always)]
fn tanh_of_pair<T: Real, S: Simd<T>>(s: S, x: S::V) -> S::V {
    tanh_with_slope(s, x).0
}

/// The exponential that sums are made of.
#[inline(always)]
fn exp_summed<T: Real, S: Simd<T>>(s: S, x: S::V) -> S::V {
    exp_scaled(s, x, s.splat(T::ZERO))
}

/// A function at each of some points.
struct Apply<'a, T>(Function, &'a [T]);

impl<T: Real> Kernel<T> for Apply<'_, T> {
    type Output = Vec<T>;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) -> Vec<T> {
        macro_rules! each {
            ($f:path) => {{
                let mut out = vec![T::NAN; self.1.len()];
                for i in (0..out.len()).step_by(S::LANES) {
                    write(s, $f(s, read(s, self.1, i, T::ZERO)), &mut out, i);
                }
                out
            }};
        }
        match self.0 {
            Function::Exp => each!(exp),
            Function::ExpNonpositive => each!(exp_nonpositive),
            Function::ExpSummed => each!(exp_summed),
            Function::Ln => each!(ln),
            Function::Log1p => each!(log1p),
            Function::Log1pUnit => each!(log1p_unit),
            Function::Sigmoid => each!(sigmoid),
            Function::SigmoidOfPair => each!(sigmoid_of_pair),
            Function::LogSigmoid => each!(log_sigmoid),
            Function::Softplus => each!(softplus),
            Function::Tanh => each!(tanh),
            Function::TanhOfPair => each!(tanh_of_pair),
        }
    }
}

/// Measures every function at `points` points, prints the table, a function as soon as it is done, and holds it against
/// the stated bounds.
fn table<T: Real + Reference>(points: u64, point: impl Fn(u64) -> T + Sync) {
    let (start, dtype) = (std::time::Instant::now(), std::any::type_name::<T>());
    let mut above = Vec::new();
    for function in Function::ALL {
        for Worst { isa, tested, ulps, at } in worst(function, points, &point) {
            let (name, isa, seconds) = (format!("{function:?}"), isa.name(), start.elapsed().as_secs());
            println!("{seconds:>5} s  {name:<16}{dtype:<5}{isa:<10}{ulps:>6.3} ULP at {at:<24?}{tested:>12} points");
            if tested < points / 10 || ulps > function.bound() {
                above.push(format!("{name} {dtype} {isa}: {ulps} ULP at {at:?}, {tested} points"));
            }
        }
    }
    assert!(above.is_empty(), "beyond the stated bounds: {above:#?}");
}

#[test]
fn float32_within_the_stated_bounds() {
    // Every 2039th bit pattern: each exponent, both signs, NaNs and infinities.
    table((1 << 32) / 2039, |i| f32::from_bits(2039 * i as u32));
}

#[test]
fn float64_within_the_stated_bounds() {
    table(200_000, sample::point);
}

#[test]
#[ignore = "takes minutes: make sweep"]
fn sweep_float32() {
    table(1 << 32, |i| f32::from_bits(i as u32));
}

#[test]
#[ignore = "takes a minute: make sweep"]
fn sweep_float64() {
    table(20_000_000, sample::point);
}

/// `(function, x, y)`: what must come out to the last bit, the sign of zero included.
const SPECIAL: &[(Function, f64, f64)] = &[
    (Function::Exp, 0.0, 1.0),
    (Function::Exp, -0.0, 1.0),
    (Function::Exp, f64::INFINITY, f64::INFINITY),
    (Function::Exp, f64::NEG_INFINITY, 0.0),
    (Function::Exp, f64::MAX, f64::INFINITY),
    (Function::Exp, f64::MIN, 0.0),
    (Function::ExpNonpositive, -0.0, 1.0),
    (Function::ExpNonpositive, f64::NEG_INFINITY, 0.0),
    (Function::Ln, 1.0, 0.0),
    (Function::Ln, 0.0, f64::NEG_INFINITY),
    (Function::Ln, -0.0, f64::NEG_INFINITY),
    (Function::Ln, -1e-30, f64::NAN),
    (Function::Ln, f64::INFINITY, f64::INFINITY),
    (Function::Ln, f64::NEG_INFINITY, f64::NAN),
    (Function::Log1p, 0.0, 0.0),
    (Function::Log1p, -0.0, -0.0),
    (Function::Log1p, -1.0, f64::NEG_INFINITY),
    (Function::Log1p, -1.5, f64::NAN),
    (Function::Log1p, f64::INFINITY, f64::INFINITY),
    (Function::Log1p, f64::NEG_INFINITY, f64::NAN),
    (Function::Log1pUnit, 0.0, 0.0),
    (Function::Sigmoid, 0.0, 0.5),
    (Function::Sigmoid, f64::INFINITY, 1.0),
    (Function::Sigmoid, f64::NEG_INFINITY, 0.0),
    (Function::Softplus, f64::INFINITY, f64::INFINITY),
    (Function::Softplus, f64::NEG_INFINITY, 0.0),
    (Function::LogSigmoid, f64::NEG_INFINITY, f64::NEG_INFINITY),
    (Function::Tanh, 0.0, 0.0),
    (Function::Tanh, -0.0, -0.0),
    (Function::Tanh, f64::INFINITY, 1.0),
    (Function::Tanh, f64::NEG_INFINITY, -1.0),
    (Function::Tanh, 30.0, 1.0),
];

#[test]
fn special_values() {
    fn check<T: Real>() {
        let nan = Function::ALL.map(|function| (function, f64::NAN, f64::NAN));
        for isa in Isa::available() {
            for &(function, x, y) in SPECIAL.iter().chain(&nan) {
                let got = T::dispatch(isa, Apply(function, &[T::from_f64(x)]))[0].to_f64();
                let same = got.is_nan() && y.is_nan() || got.to_bits() == y.to_bits();
                assert!(same, "{function:?} {}: {got} at {x}, not {y}", isa.name());
            }
        }
    }
    check::<f32>();
    check::<f64>();
}

/// The exponential of a sum, at each of some points.
struct ExpOfSum<'a>(&'a [f32], f32);

impl Kernel<f32> for ExpOfSum<'_> {
    type Output = Vec<f32>;
    #[inline(always)]
    fn run<S: Simd<f32>>(self, s: S) -> Vec<f32> {
        let mut out = vec![f32::NAN; self.0.len()];
        for i in (0..out.len()).step_by(S::LANES) {
            write(s, exp_nonpositive_sum(s, read(s, self.0, i, 0.0), s.splat(self.1)), &mut out, i);
        }
        out
    }
}

#[test]
fn the_sum_of_an_exponent_is_not_rounded() {
    let xs: Vec<f32> = (0..8000).map(|i| i as f32 * -0.011_7).collect();
    for (isa, y) in
        Isa::available().into_iter().flat_map(|isa| [0.0, -1e-7, -1e-3, -0.3, -0.69, -3.0].map(|y| (isa, y)))
    {
        for (x, e) in xs.iter().zip(f32::dispatch(isa, ExpOfSum(&xs, y))) {
            let truth = (f64::from(*x) + f64::from(y)).exp();
            let allowed = f64::from(f32::EPSILON) * (1.0 + f64::from(y.abs())) * truth + f64::from(f32::MIN_POSITIVE);
            assert!((f64::from(e) - truth).abs() <= allowed, "{} {x} {y}: {e:e} {truth:e}", isa.name());
        }
    }
}
