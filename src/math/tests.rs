//! Errors in units in the last place, on every instruction set: a strided sweep over all of float32 against the standard
//! library in double precision.

use super::*;
use crate::simd::{Isa, Kernel, Simd, read, write};

/// How many floats lie between `x` and the truth, as a real number: the error in units of the truth's last place.
fn ulps(x: f32, truth: f64) -> f64 {
    if f64::from(x) == truth
        || (x.is_nan() && truth.is_nan())
        || (x.is_infinite() && f64::from(truth as f32) == f64::from(x))
    {
        return 0.0;
    }
    let exponent = truth.abs().max(f64::from(f32::MIN_POSITIVE)).log2().floor();
    (f64::from(x) - truth).abs() / (exponent - 23.0).exp2()
}

#[test]
fn the_measure_itself() {
    assert_eq!(ulps(1.0, 1.0), 0.0);
    assert_eq!(ulps(1.0 + f32::EPSILON, 1.0), 1.0);
    assert_eq!(ulps(0.0, f64::from(f32::MIN_POSITIVE)), 8_388_608.0);
    assert_eq!(ulps(f32::NAN, f64::NAN), 0.0);
    assert!(ulps(1.0, f64::NAN).is_nan() && ulps(f32::NAN, 1.0).is_nan());
    assert_eq!(ulps(f32::INFINITY, 1e300), 0.0);
}

/// A function over lanes, and the truth about it.
#[derive(Clone, Copy, Debug)]
enum Function {
    ExpNonpositive,
    Log1p,
    Sigmoid,
    Softplus,
    LogSigmoid,
}

impl Function {
    const ALL: [Function; 5] = [Self::ExpNonpositive, Self::Log1p, Self::Sigmoid, Self::Softplus, Self::LogSigmoid];

    fn truth(self, x: f64) -> f64 {
        match self {
            Self::ExpNonpositive => x.exp(),
            Self::Log1p => x.ln_1p(),
            Self::Sigmoid if x > 0.0 => 1.0 / (1.0 + (-x).exp()),
            Self::Sigmoid => x.exp() / (1.0 + x.exp()),
            Self::Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p(),
            Self::LogSigmoid => -((-x).max(0.0) + (-x.abs()).exp().ln_1p()),
        }
    }

    fn holds(self, x: f32) -> bool {
        match self {
            Self::ExpNonpositive => x <= 0.0 || x.is_nan(),
            Self::Log1p => x >= 0.0 || x.is_nan(),
            _ => true,
        }
    }

    /// The bound that the documentation states.
    fn bound(self, isa: Isa) -> f64 {
        match self {
            // Without FMA the range reduction and the polynomial round twice as often.
            Self::ExpNonpositive if isa.name() == "portable" => 1.25,
            Self::ExpNonpositive => 1.0,
            Self::Log1p => 2.0,
            _ => 3.0,
        }
    }
}

struct Apply<'a, T>(Function, &'a [T]);

impl<T: Real> Kernel<T> for Apply<'_, T> {
    type Output = Vec<T>;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) -> Vec<T> {
        let Apply(function, xs) = self;
        let mut out = vec![T::NAN; xs.len()];
        for i in (0..xs.len()).step_by(S::LANES) {
            let x = read(s, xs, i, T::ZERO);
            let y = match function {
                Function::ExpNonpositive => exp_nonpositive(s, x),
                Function::Log1p => log1p(s, x),
                Function::Sigmoid => sigmoid(s, x),
                Function::Softplus => softplus(s, x),
                Function::LogSigmoid => log_sigmoid(s, x),
            };
            write(s, y, &mut out, i);
        }
        out
    }
}

#[test]
fn float32_within_the_stated_bounds() {
    // Every 2039th of all 2^32 bit patterns: each exponent, both signs, NaNs and infinities.
    let all: Vec<f32> = (0..u32::MAX / 2039).map(|i| f32::from_bits(i * 2039)).chain([f32::INFINITY, -0.0]).collect();
    for function in Function::ALL {
        let xs: Vec<f32> = all.iter().copied().filter(|&x| function.holds(x)).collect();
        for isa in Isa::available() {
            let ys = f32::dispatch(isa, Apply(function, &xs));
            let mut worst = (0.0, 0.0);
            for (&x, &y) in xs.iter().zip(&ys) {
                let truth = function.truth(x.into());
                // Below the normal numbers 0 is right too.
                let flushed = y == 0.0 && truth.abs() < f64::from(f32::MIN_POSITIVE);
                let error = if flushed { 0.0 } else { ulps(y, truth) };
                assert!(!error.is_nan(), "{function:?} {}: {y} at {x}, not {truth}", isa.name());
                if error > worst.0 {
                    worst = (error, x);
                }
            }
            println!("{function:?} float32 {}: {:.3} ULP at {:?}", isa.name(), worst.0, worst.1);
            assert!(worst.0 <= function.bound(isa), "{function:?} {}: {worst:?}", isa.name());
        }
    }
}

#[test]
fn float64_near_the_standard_library() {
    let xs: Vec<f64> = (0..200_000).map(|i| (f64::from(i) - 100_000.0) * 0.007_123).collect();
    for function in Function::ALL {
        let xs: Vec<f64> = xs.iter().copied().filter(|&x| function.holds(x as f32)).collect();
        for isa in Isa::available() {
            for (&x, &y) in xs.iter().zip(&f64::dispatch(isa, Apply(function, &xs))) {
                let truth = function.truth(x);
                let close = (y - truth).abs() <= 4.0 * f64::EPSILON * truth.abs() + f64::MIN_POSITIVE;
                assert!(close, "{function:?} {}: {y} at {x}, not {truth}", isa.name());
            }
        }
    }
}
