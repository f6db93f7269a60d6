//! The error in units in the last place, and the worst of many.

use super::reference::{Reference, Truth, ldexp};
use super::{Apply, Function};
use crate::math::Real;
use crate::simd::Isa;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many floats lie between `y` and the truth, as a real number: the error in units of the truth's last place.
fn ulps<T: Reference>(y: T, truth: Truth) -> f64 {
    let (y, nearest) = (y.to_f64(), T::from_f64(truth.to_f64()).to_f64());
    if y.is_nan() && nearest.is_nan() || y.is_infinite() && y == nearest {
        return 0.0;
    }
    let (digits, min_exponent) = T::FORMAT;
    let exponent = (truth.high.to_bits() >> 52 & 0x7ff) as i32 - 1023;
    let unit = (exponent + truth.exponent).max(min_exponent) - (digits - 1);
    let distance = (ldexp(y, -truth.exponent) - truth.high) - truth.low;
    distance.abs() / ldexp(1.0, unit - truth.exponent)
}

#[test]
fn the_measure_itself() {
    let at = |high: f64| Truth { high, low: 0.0, exponent: 0 };
    assert_eq!(ulps(1.0f32, at(1.0)), 0.0);
    assert_eq!(ulps(1.0 + f32::EPSILON, at(1.0)), 1.0);
    assert_eq!(ulps(0.0f32, at(f32::MIN_POSITIVE.into())), 8_388_608.0);
    assert_eq!(ulps(0.0f32, at(f32::from_bits(3).into())), 3.0);
    assert_eq!(ulps(f32::NAN, at(f64::NAN)), 0.0);
    assert!(ulps(1.0f32, at(f64::NAN)).is_nan() && ulps(f32::NAN, at(1.0)).is_nan());
    assert_eq!(ulps(f32::INFINITY, at(1e300)), 0.0);
    assert_eq!(ulps(f32::INFINITY, at(1e30)), f64::INFINITY);
    assert_eq!(ulps(f32::MAX, at(f64::INFINITY)), f64::INFINITY);
    // Beyond what one f64 can hold: a quarter of a unit above 1, and one and a half subnormal units.
    assert_eq!(ulps(1.0f64, Truth { high: 1.0, low: f64::EPSILON / 4.0, exponent: 0 }), 0.25);
    assert_eq!(ulps(f64::from_bits(1), Truth { high: 1.5, low: 0.0, exponent: -1074 }), 0.5);
    assert_eq!(ulps(f64::INFINITY, Truth { high: 1.0, low: 0.0, exponent: 1024 }), 0.0);
}

/// The largest error of a function on one instruction set.
#[derive(Clone, Copy)]
pub(super) struct Worst<T> {
    pub(super) isa: Isa,
    /// How many points the function takes.
    pub(super) tested: u64,
    pub(super) ulps: f64,
    pub(super) at: T,
}

impl<T: Reference> Worst<T> {
    fn see(&mut self, ulps: f64, at: T) {
        if ulps > self.ulps {
            (self.ulps, self.at) = (ulps, at);
        }
    }
}

/// The worst error of a function on every instruction set, over `point(0)` to `point(points - 1)`, by all processors.
///
/// # Panics
/// Where the result or the truth is NaN and the other is not.
pub(super) fn worst<T: Real + Reference>(
    function: Function,
    points: u64,
    point: &(impl Fn(u64) -> T + Sync),
) -> Vec<Worst<T>> {
    const CHUNK: u64 = 1 << 14;
    let next = AtomicU64::new(0);
    let share = || {
        let none = |isa| Worst { isa, tested: 0, ulps: 0.0, at: T::ZERO };
        let mut worst: Vec<_> = Isa::available().into_iter().map(none).collect();
        loop {
            let start = next.fetch_add(CHUNK, Ordering::Relaxed);
            if start >= points {
                return worst;
            }
            let xs = (start..points.min(start + CHUNK)).map(point);
            let xs: Vec<T> = xs.filter(|x| function.takes(x.to_f64())).collect();
            let truth = xs.iter().map(|&x| T::truth(function, x));
            let truths: Vec<(T, Truth)> = truth.map(|truth| (T::from_f64(truth.to_f64()), truth)).collect();
            for worst in &mut worst {
                chunk(function, worst, &xs, &truths);
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(share)).collect();
        let shares = threads.into_iter().map(|thread| thread.join().expect("a result is NaN where the truth is"));
        let merge = |mut all: Vec<Worst<T>>, share: Vec<Worst<T>>| {
            for (worst, other) in all.iter_mut().zip(share) {
                worst.tested += other.tested;
                worst.see(other.ulps, other.at);
            }
            all
        };
        shares.reduce(merge).expect("a machine has a processor")
    })
}

/// One function on one instruction set, over points whose truth is known, and the float nearest to it.
fn chunk<T: Real + Reference>(function: Function, worst: &mut Worst<T>, xs: &[T], truths: &[(T, Truth)]) {
    let smallest = T::from_f64(ldexp(1.0, T::FORMAT.1));
    worst.tested += xs.len() as u64;
    for ((&x, &y), &(nearest, truth)) in xs.iter().zip(&T::dispatch(worst.isa, Apply(function, xs))).zip(truths) {
        // Most results are the nearest float, half a unit off at most, which is never the worst.
        if y == nearest || function.flushes() && y == T::ZERO && -smallest < nearest && nearest < smallest {
            continue;
        }
        let error = ulps(y, truth);
        assert!(!error.is_nan(), "{function:?} {}: {y:?} at {x:?}, not {nearest:?}", worst.isa.name());
        worst.see(error, x);
    }
}
