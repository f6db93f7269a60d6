//! What is drawn: choices from the bytes of an input, numbers from a generator that they seed.

use half::{bf16, f16};
use std::fmt::Debug;
use std::sync::LazyLock;
use xentrs::{GradOutput, Loss, Objective, Place, Real, Reduction, Result, Rows, RowsIo, Storage, value_and_grad};

/// A type that numbers are computed with.
pub trait Number: Real + Storage<Real = Self> + Place<Self> {
    /// The distance from 1 to the next larger number.
    const EPS: f64;
    /// The smallest normal number.
    const TINY: f64;
    /// The largest number.
    const LARGEST: f64;
    /// The exponential of its opposite is about [`TINY`](Self::TINY).
    const EDGE: f64;

    /// The nearest number.
    fn new(x: f64) -> Self {
        Self::from_f64(x)
    }

    /// The same number in float64.
    fn double(self) -> f64 {
        self.to_f64()
    }

    /// Of two tolerances that of this type.
    fn either(single: f64, double: f64) -> f64 {
        if Self::EPS > 1e-10 { single } else { double }
    }
}

impl Number for f32 {
    const EPS: f64 = f32::EPSILON as f64;
    const TINY: f64 = f32::MIN_POSITIVE as f64;
    const LARGEST: f64 = f32::MAX as f64;
    const EDGE: f64 = 88.0;
}

impl Number for f64 {
    const EPS: f64 = f64::EPSILON;
    const TINY: f64 = f64::MIN_POSITIVE;
    const LARGEST: f64 = f64::MAX;
    const EDGE: f64 = 709.0;
}

/// A type that numbers are stored in.
pub trait Stored: Storage<Real: Number + Place<Self>> + Place<Self> {
    /// The nearest number.
    fn of(x: f64) -> Self;
    /// The same number.
    fn wide(self) -> f64;
    /// The number of these bits.
    fn of_bits(bits: u64) -> Self;
    /// The loss of rows, and their gradient in single precision.
    fn grad_in_single(
        objective: &dyn Objective<Self::Real>,
        rows: Rows<'_, Self>,
        grad: &mut [f32],
        reduction: Reduction,
        upstream: GradOutput<'_, Self::Real>,
    ) -> Result<Loss<Self::Real>>;
}

macro_rules! stored {
    ($($t:ty, $of:expr, $wide:expr, $of_bits:expr;)+) => {
        $(impl Stored for $t {
            fn of(x: f64) -> Self {
                $of(x)
            }

            fn wide(self) -> f64 {
                $wide(self)
            }

            fn of_bits(bits: u64) -> Self {
                $of_bits(bits)
            }

            fn grad_in_single(
                objective: &dyn Objective<Self::Real>,
                rows: Rows<'_, Self>,
                grad: &mut [f32],
                reduction: Reduction,
                upstream: GradOutput<'_, Self::Real>,
            ) -> Result<Loss<Self::Real>> {
                value_and_grad(objective, RowsIo::new(rows, grad)?, reduction, upstream)
            }
        })+
    };
}

// Halves are computed in single precision, and rounded once from there.
stored! {
    f32, |x| x as f32, f64::from, |bits| f32::from_bits(bits as u32);
    f64, |x| x, |x| x, f64::from_bits;
    f16, |x| f16::from_f32(x as f32), f64::from, |bits| f16::from_bits(bits as u16);
    bf16, |x| bf16::from_f32(x as f32), f64::from, |bits| bf16::from_bits(bits as u16);
}

/// The same numbers, in the type of the computation.
pub fn widened<S: Stored>(numbers: &[S]) -> Vec<S::Real> {
    numbers.iter().map(|x| S::Real::new(x.wide())).collect()
}

/// The same numbers in float64.
pub fn wide<S: Stored>(numbers: &[S]) -> Vec<f64> {
    numbers.iter().map(|x| x.wide()).collect()
}

/// The same of a type of the computation.
pub fn doubles<T: Number>(numbers: &[T]) -> Vec<f64> {
    numbers.iter().map(|x| x.double()).collect()
}

/// What no option is, or hardly.
const ABSURD: [f64; 16] = [
    f64::NAN,
    f64::INFINITY,
    f64::NEG_INFINITY,
    -1.0,
    -1e-300,
    0.0,
    -0.0,
    5e-324,
    1e-320,
    1e-40,
    0.75,
    1.0000001,
    2.0,
    1e9,
    1e38,
    1e300,
];

/// Choices, and whether all that was drawn is valid, and such that the oracles hold.
pub struct Draw<'a> {
    bytes: &'a [u8],
    state: u64,
    /// Whether the shape is large enough for several threads. It depends on all bytes, so that a fuzzer meets few.
    pub large: bool,
    /// Whether the call must be answered.
    pub valid: bool,
    /// Whether oracles hold.
    pub tame: bool,
}

impl<'a> Draw<'a> {
    pub fn new(data: &'a [u8]) -> Self {
        let (seed, bytes) = data.split_at(data.len().min(4));
        let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        let hash = data.iter().fold(0xcbf2_9ce4_8422_2325, mix);
        let state = seed.iter().fold(0, |state, byte| state << 8 | u64::from(*byte));
        Draw { bytes, state, large: (hash >> 40).is_multiple_of(4096), valid: true, tame: true }
    }

    /// Prints what is called, if `XENTRS_FUZZ_SHOWS` is set.
    pub fn show(&self, what: impl Debug) {
        static SHOWS: LazyLock<bool> = LazyLock::new(|| std::env::var_os("XENTRS_FUZZ_SHOWS").is_some());
        if *SHOWS {
            eprintln!("{what:?}");
        }
    }

    /// The next number of the generator, splitmix64.
    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.state ^ self.state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ x >> 31
    }

    /// The next byte of the input, or of the generator where it ends.
    pub fn byte(&mut self) -> u8 {
        match self.bytes.split_first() {
            Some((byte, rest)) => {
                self.bytes = rest;
                *byte
            }
            None => self.random() as u8,
        }
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::from(self.byte()) % from.len()]
    }

    pub fn one_in(&mut self, n: u8) -> bool {
        self.byte() % n == n - 1
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.random() % n.max(1) as u64) as usize
    }

    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * (self.random() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// An option: a usual one, or now and then an absurd one, which may be allowed all the same.
    pub fn option(&mut self, usual: &[f64], allowed: impl Fn(f64) -> bool) -> f64 {
        let x = self.pick(usual);
        if !self.one_in(40) {
            return x;
        }
        let x = self.pick(&ABSURD);
        self.valid &= allowed(x);
        self.tame = false;
        x
    }

    /// A length, or now and then one that does not fit.
    pub fn length(&mut self, n: usize) -> usize {
        if !self.one_in(80) {
            return n;
        }
        self.valid = false;
        n + 1
    }

    /// Rows and classes: few and little ones, and those at the borders between the ways that rows go.
    pub fn shape(&mut self) -> [usize; 2] {
        if self.large {
            return self.pick(&[
                [7000, 10],
                [70, 1000],
                [2, 70_000],
                [1, 65_536],
                [1100, 64],
                [40_000, 2],
                [66_000, 1],
            ]);
        }
        let few = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 15, 16, 17, 24, 31, 32, 33, 2, 3, 10, 63, 64, 65, 66, 70, 0];
        let classes = match self.one_in(16) {
            false => self.pick(&few),
            true => self.pick(&[127, 128, 129, 257, 1000, 1023, 1024, 1025, 1100]),
        };
        let rows = self.pick(&[1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 23, 33, 40, 1, 2, 3, 4, 5, 7, 9, 0]);
        [rows.min((1500 / classes.max(1)).max(1)), classes]
    }

    pub fn reduction(&mut self) -> Reduction {
        self.pick(&[Reduction::Mean, Reduction::Sum, Reduction::None])
    }

    /// A normal number, nearly.
    fn normal(&mut self) -> f64 {
        let bits = self.random();
        let third = |shift: u32| (bits >> shift & 0x1f_ffff) as f64 / 2f64.powi(21);
        2.0 * (third(0) + third(21) + third(42) - 1.5)
    }

    /// A logit that tells implementations apart: ties, signed zeros, subnormal ones, margins past the range of exp.
    fn rough<S: Stored>(&mut self) -> S {
        let edge = S::Real::EDGE;
        match self.below(5) {
            0 => {
                let special = [0.0, -0.0, 1.0, 17.0, -17.0, edge, -edge, S::Real::TINY / 8.0, -S::Real::TINY / 8.0];
                S::of(special[self.below(special.len())])
            }
            _ => S::of(5.0 * self.normal()),
        }
    }

    /// Numbers at the ends of a type, and none at all.
    fn edge<S: Stored>(&mut self) -> S {
        let (max, tiny) = (S::Real::LARGEST, S::Real::TINY);
        let edges = [f64::NAN, -f64::NAN, f64::INFINITY, -f64::INFINITY, 0.0, -0.0, max, -max, tiny, tiny / 4.0, 1.0];
        match self.below(edges.len() + 1) {
            // A NaN that signals, of the bits that the type has.
            11 => S::of_bits([0x7f81, 0x7f80_0001, 0x7ff0_0000_0000_0001][size_of::<S>().ilog2() as usize - 1]),
            i => S::of(edges[i]),
        }
    }

    /// Logits of one style or another.
    pub fn logits<S: Stored>(&mut self, n: usize) -> Vec<S> {
        let style = self.byte() % 8;
        let mut numbers = Vec::with_capacity(n);
        for _ in 0..n {
            numbers.push(match style {
                0..3 => self.rough(),
                3 => S::of(self.between(-4.0, 4.0)),
                4 => match self.below(32) {
                    0..3 => S::of(f64::NEG_INFINITY),
                    3 => S::of(f64::INFINITY),
                    4 => S::of(f64::NAN),
                    _ => self.rough(),
                },
                5 => self.edge(),
                6 => S::of_bits(self.random()),
                _ => S::of_bits((0..size_of::<S>()).fold(0, |bits, _| bits << 8 | u64::from(self.byte()))),
            });
        }
        numbers
    }

    /// Numbers in [0, 1], some of them 0, 1 or as good as; now and then any.
    pub fn probabilities<S: Stored>(&mut self, n: usize) -> Vec<S> {
        if self.one_in(16) {
            return self.logits(n);
        }
        let special = [0.0, 1.0, 0.5, 1e-30, 1e-3, 1.0 - 2f64.powi(-20), 0.25];
        let unit = |draw: &mut Self| match draw.below(4) {
            0 => special[draw.below(special.len())],
            _ => draw.between(0.0, 1.0),
        };
        (0..n).map(|_| S::of(unit(self))).collect()
    }

    /// Weights, some of them 0; now and then one that is none.
    pub fn weights<T: Number>(&mut self, n: usize) -> Vec<T> {
        let weight = |draw: &mut Self| if draw.below(5) == 0 { 0.0 } else { draw.between(0.5, 2.0) };
        let mut weights: Vec<T> = (0..self.length(n)).map(|_| T::new(weight(self))).collect();
        if !weights.is_empty() && self.one_in(32) {
            let (at, x) = (self.below(weights.len()), T::new(self.pick(&ABSURD)));
            weights[at] = x;
            self.valid &= x.double() >= 0.0 && x.double() < f64::INFINITY;
            self.tame = false;
        }
        weights
    }

    /// The same, or none.
    pub fn some_weights<T: Number>(&mut self, n: usize) -> Option<Vec<T>> {
        self.one_in(2).then(|| self.weights(n))
    }

    /// Labels of `n` rows, and the one that is ignored; now and then an absurd one.
    pub fn labels(&mut self, n: usize, classes: usize) -> (Vec<i64>, Option<i64>) {
        let last = classes as i64 - 1;
        let ignored = self.pick(&[Some(-100), Some(-100), None, Some(0), Some(-1), Some(last), Some(i64::MIN)]);
        let label = |draw: &mut Self| match (draw.below(6), ignored) {
            (0, Some(ignored)) => ignored,
            _ => draw.below(classes) as i64,
        };
        let mut labels: Vec<i64> = (0..self.length(n)).map(|_| label(self)).collect();
        if !labels.is_empty() && self.one_in(24) {
            let at = self.below(labels.len());
            labels[at] = self.pick(&[i64::MIN, i64::MAX, last + 1, last + 2, -1, -last, 1 << 31, 1 << 32, 1 << 62]);
        }
        self.valid &= labels.iter().all(|&label| Some(label) == ignored || (0..=last).contains(&label));
        (labels, ignored)
    }
}
