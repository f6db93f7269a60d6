//! The truth about a function at a point, to some hundred bits for `f64` and by the standard library for `f32`.
//!
//! The double-double arithmetic below is that of T. J. Dekker, *A floating-point technique for extending the available
//! precision*, 1971: a number is the unevaluated sum of two `f64`, good for 2^-104. It is here because it evaluates a
//! million points in a second; the test below holds it against `dashu-float`, which takes 100
//! microseconds a point.

use super::Function;
use crate::simd::Float;
use dashu_float::{FBig, round::mode::HalfEven};
use std::ops::{Add, Div, Mul, Sub};

/// `(high + low) 2^exponent`
#[derive(Clone, Copy, Debug)]
pub(super) struct Truth {
    pub(super) high: f64,
    pub(super) low: f64,
    pub(super) exponent: i32,
}

/// `x 2^n`, rounded once at most.
pub(super) fn ldexp(x: f64, n: i32) -> f64 {
    // Each factor is a normal number, and only the last product can be inexact.
    let step = n.clamp(-1000, 1000);
    let power = f64::from_bits(((1023 + step) as u64) << 52);
    if step == n { x * power } else { ldexp(x * power, n - step) }
}

impl Truth {
    fn plain(high: f64) -> Self {
        Truth { high, low: 0.0, exponent: 0 }
    }

    fn negated(self) -> Self {
        Truth { high: -self.high, low: -self.low, ..self }
    }

    /// The nearest `f64`.
    pub(super) fn to_f64(self) -> f64 {
        ldexp(self.high, self.exponent)
    }
}

/// A float type whose functions have a reference, and what a unit in the last place is.
pub(super) trait Reference: Float {
    /// Digits of a mantissa; exponent of the smallest normal number.
    const FORMAT: (i32, i32);

    /// The truth about a function at `x`.
    fn truth(function: Function, x: Self) -> Truth;
}

impl Reference for f32 {
    const FORMAT: (i32, i32) = (24, -126);

    fn truth(function: Function, x: Self) -> Truth {
        let x = f64::from(x);
        Truth::plain(match function {
            Function::Exp | Function::ExpNonpositive | Function::ExpSummed => x.exp(),
            Function::Ln => x.ln(),
            Function::Log1p | Function::Log1pUnit => x.ln_1p(),
            Function::Tanh | Function::TanhOfPair => x.tanh(),
            Function::Sigmoid | Function::SigmoidOfPair if x > 0.0 => 1.0 / (1.0 + (-x).exp()),
            Function::Sigmoid | Function::SigmoidOfPair => x.exp() / (1.0 + x.exp()),
            Function::Softplus => softplus(x),
            Function::LogSigmoid => -softplus(-x),
        })
    }
}

fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

impl Reference for f64 {
    const FORMAT: (i32, i32) = (53, -1022);

    fn truth(function: Function, x: Self) -> Truth {
        // The first term of a series is enough where the next is 2^-280 of it, and lower halves would underflow.
        match function {
            _ if x.is_nan() => Truth::plain(x),
            Function::Exp | Function::ExpNonpositive | Function::ExpSummed => Double::exp(x),
            Function::Ln if x <= 0.0 || x == f64::INFINITY => Truth::plain(x.ln()),
            Function::Ln => Double::ln(x.into()).into(),
            Function::Log1p | Function::Log1pUnit if x.abs() < 1e-90 => Truth::plain(x),
            Function::Log1p | Function::Log1pUnit if x <= -1.0 || x == f64::INFINITY => Truth::plain(x.ln_1p()),
            Function::Log1p | Function::Log1pUnit if x.abs() < 0.25 => Double::log1p(x.into()).into(),
            Function::Log1p | Function::Log1pUnit => Double::ln(Double::sum(1.0, x)).into(),
            // sigmoid(x) = e - .. and softplus(x) = e - .. for e = exp(x)
            Function::Sigmoid | Function::SigmoidOfPair | Function::Softplus if x < -200.0 => Double::exp(x),
            Function::Sigmoid | Function::SigmoidOfPair => Double::sigmoid(x).into(),
            Function::Softplus if x > 200.0 => Truth::plain(x),
            Function::Softplus => Double::softplus(x).into(),
            Function::LogSigmoid => Self::truth(Function::Softplus, -x).negated(),
            Function::Tanh | Function::TanhOfPair if x.abs() < 1e-90 => Truth::plain(x),
            Function::Tanh | Function::TanhOfPair if x.abs() > 100.0 => Truth::plain(x.signum()),
            Function::Tanh | Function::TanhOfPair => Double::tanh(x).into(),
        }
    }
}

/// The unevaluated sum of two `f64`, the second at most half a unit in the last place of the first.
#[derive(Clone, Copy, Debug)]
struct Double {
    high: f64,
    low: f64,
}

impl From<f64> for Double {
    fn from(x: f64) -> Self {
        Double { high: x, low: 0.0 }
    }
}

impl From<Double> for Truth {
    fn from(Double { high, low }: Double) -> Self {
        Truth { high, low, exponent: 0 }
    }
}

impl Double {
    const LN_2: Double = Double { high: std::f64::consts::LN_2, low: 2.319_046_813_846_299_6e-17 };

    /// `a + b`, exactly.
    fn sum(a: f64, b: f64) -> Self {
        let high = a + b;
        let of_b = high - a;
        Double { high, low: (a - (high - of_b)) + (b - of_b) }
    }

    /// `a b`, exactly.
    fn product(a: f64, b: f64) -> Self {
        let high = a * b;
        Double { high, low: a.mul_add(b, -high) }
    }

    fn ldexp(self, n: i32) -> Self {
        Double { high: ldexp(self.high, n), low: ldexp(self.low, n) }
    }

    /// `exp(x) - 1` as `((1 + w) 2^n) - 1`, `|w| <= sqrt(2) - 1`, for `|x| <= 800`.
    fn exp_parts(x: f64) -> (Self, i32) {
        let n = (x * std::f64::consts::LOG2_E).round();
        let r = Self::from(x) - Self::LN_2 * n.into();
        // Taylor's series, r (1 + r / 2 (1 + r / 3 (..))): |r| <= 0.35, and 0.35^27 / 27! = 2^-134
        let series = |sum: Double, k: u32| Self::from(1.0) + sum * r / Self::from(f64::from(k));
        (r * (2..=27).rev().fold(Self::from(1.0), series), n as i32)
    }

    fn exp(x: f64) -> Truth {
        let (w, exponent) = Self::exp_parts(x.clamp(-800.0, 800.0));
        Truth { exponent, ..(Self::from(1.0) + w).into() }
    }

    fn expm1(x: f64) -> Self {
        let (w, n) = Self::exp_parts(x);
        w.ldexp(n) + Self::sum(ldexp(1.0, n), -1.0)
    }

    /// `ln(1 + x)` for `-1/4 <= x <= 1`: one step of Newton's from the standard library's result, which doubles its
    /// digits.
    fn log1p(x: Self) -> Self {
        let y = x.high.ln_1p();
        let e = Self::expm1(y);
        Self::from(y) + (x - e) / (Self::from(1.0) + e)
    }

    /// `ln(x)`, as `x = m 2^k` with `m` in `[3/4, 3/2]`.
    fn ln(x: Self) -> Self {
        let up = if x.high < f64::MIN_POSITIVE { 60 } else { 0 };
        let exponent = (ldexp(x.high, up).to_bits() >> 52) as i32 - 1023 - up;
        let m = x.ldexp(-exponent);
        let (m, k) = if m.high > 1.5 { (m.ldexp(-1), exponent + 1) } else { (m, exponent) };
        Self::LN_2 * Self::from(f64::from(k)) + Self::log1p(m - 1.0.into())
    }

    fn sigmoid(x: f64) -> Self {
        let (w, n) = Self::exp_parts(-x.abs().min(800.0));
        let e = (Self::from(1.0) + w).ldexp(n);
        (if x < 0.0 { e } else { 1.0.into() }) / (Self::from(1.0) + e)
    }

    fn softplus(x: f64) -> Self {
        let (w, n) = Self::exp_parts(-x.abs());
        Self::from(x.max(0.0)) + Self::log1p((Self::from(1.0) + w).ldexp(n))
    }

    fn tanh(x: f64) -> Self {
        let t = Self::expm1(-2.0 * x.abs());
        t / (Self::from(2.0) + t) * Self::from(-x.signum())
    }
}

impl Add for Double {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        let (high, low) = (Self::sum(self.high, other.high), Self::sum(self.low, other.low));
        let sum = Self::sum(high.high, high.low + low.high);
        Self::sum(sum.high, sum.low + low.low)
    }
}

impl Sub for Double {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        self + Double { high: -other.high, low: -other.low }
    }
}

impl Mul for Double {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        let product = Self::product(self.high, other.high);
        Self::sum(product.high, product.low + (self.high * other.low + self.low * other.high))
    }
}

impl Div for Double {
    type Output = Self;
    fn div(self, other: Self) -> Self {
        let quotient = self.high / other.high;
        let rest = self - other * quotient.into();
        let correction = rest.high / other.high;
        let rest = rest - other * correction.into();
        Self::sum(quotient, correction) + (rest.high / other.high).into()
    }
}

#[test]
fn double_doubles_agree_with_arbitrary_precision() {
    type Big = FBig<HalfEven, 2>;
    let big = |x: f64| Big::try_from(x).expect("a finite number").with_precision(200).value();
    let exact = |function, x: f64| {
        let (one, z) = (big(1.0), big(x));
        match function {
            Function::Exp | Function::ExpNonpositive | Function::ExpSummed => z.exp(),
            Function::Ln => z.ln(),
            Function::Log1p | Function::Log1pUnit => z.ln_1p(),
            Function::Sigmoid | Function::SigmoidOfPair => one.clone() / (one + (-z).exp()),
            Function::Softplus => z.exp().ln_1p(),
            Function::LogSigmoid => -(-z).exp().ln_1p(),
            Function::Tanh | Function::TanhOfPair => z.tanh(),
        }
    };
    for function in Function::ALL {
        let telling = |x: &f64| {
            let truth = f64::truth(function, *x).to_f64();
            let logarithm = matches!(function, Function::Ln | Function::Log1p);
            function.takes(*x) && truth.is_finite() && truth != 0.0 && (logarithm || x.abs() < 800.0)
        };
        for x in (0..8000).map(super::sample::point).filter(telling).take(500) {
            let Truth { high, low, exponent } = f64::truth(function, x);
            let ours = (big(high) + big(low)) << exponent as isize;
            let exact = exact(function, x);
            let error = ((ours - exact.clone()) / exact.clone()).to_f64().value().abs();
            assert!(error < 2f64.powi(-90), "{function:?} at {x:?}: relative error {error:e}");
        }
    }
}
