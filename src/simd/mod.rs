//! Lanes of vector registers, and the modes of their arithmetic. This is the only folder that names `core::arch`, and the
//! only one with `unsafe` code for vectors.
//!
//! A kernel is written once, generic over the float type `T` and the instruction set `S: Simd<T>`:
//!
//! ```text
//! Kernel::run(s)      one algorithm, safe code, #[inline(always)] all the way down
//!   S: Simd<T>        a token, which only a processor that has the instructions can get
//!   S::V: Lanes<T>    one register; + - * / are lane by lane
//!   fold, map         whole slices; the last, partial register is dealt with here, never in a kernel
//! ```
//!
//! [`Float::dispatch`] enters a kernel through the one function of each instruction-set file that carries
//! `#[target_feature]`. Everything below that entry must be inlined into it: an intrinsic that is called from a
//! function without the feature becomes a real call and costs 25 times as much. This includes closures: those that hold
//! lanes are written `inlined!(|..| ..)`.

/// A closure that is inlined at every call. Write it as an argument of a call.
macro_rules! inlined {
    (move |$($argument:pat_param),*| $body:expr) => { #[inline(always)] move |$($argument),*| $body };
    (|$($argument:pat_param),*| $body:expr) => { #[inline(always)] |$($argument),*| $body };
}
pub(crate) use inlined;

/// The arithmetic operators of a register type, one per line.
macro_rules! operators {
    ($V:ident: $($Op:ident $op:ident ($a:ident, $b:ident) => $body:expr;)+) => {
        $(impl std::ops::$Op for $V {
            type Output = Self;
            #[inline(always)]
            fn $op(self, other: Self) -> Self {
                let ($a, $b) = (self, other);
                $body
            }
        })+
    };
}

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod columns;
pub(crate) mod float_mode;
mod isa;
#[cfg(any(test, not(target_arch = "x86_64")))]
mod portable;
mod row_io;
mod slices;
#[cfg(target_arch = "x86_64")]
mod sse2;
#[cfg(target_arch = "x86_64")]
mod vectors;

#[cfg(not(target_arch = "x86_64"))]
use portable as baseline;
#[cfg(target_arch = "x86_64")]
use sse2 as baseline;

pub use isa::Isa;
pub(crate) use isa::is_intel;
pub(crate) use row_io::RowIo;
pub(crate) use slices::{
    AHEAD, Offset, fold, fold_registers, lanes_of, load_at, position, read, read_once, short, split, store_at,
    sum_of_first, sum_registers, sum_registers_in_two, write,
};

use crate::scratch::Scratch;
use std::fmt::Debug;
use std::ops::{Add, Div, Mul, Neg, Sub};

/// The type of a lane: `f32` or `f64`.
pub trait Float:
    Scratch
    + Debug
    + PartialOrd
    + Send
    + Sync
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
{
    /// 0
    const ZERO: Self;
    /// 1
    const ONE: Self;
    /// Infinity
    const INFINITY: Self;
    /// Not a number
    const NAN: Self;

    /// The nearest number of this type.
    fn from_f64(x: f64) -> Self;
    /// The same number as an `f64`.
    fn to_f64(self) -> f64;
    /// The whole part of a number.
    fn to_i32(self) -> i32;
    /// The least number of this type that is not below `x`.
    fn not_below(x: f64) -> Self;
    /// The greatest number of this type that is not above `x`.
    fn not_above(x: f64) -> Self;

    /// Runs a kernel on an instruction set that this processor has.
    fn dispatch<K: Kernel<Self>>(isa: Isa, kernel: K) -> K::Output;
}

/// The number of lanes of the widest register.
pub(crate) const MAX_LANES: usize = 16;

/// An algorithm over lanes with its arguments, which [`Float::dispatch`] runs.
pub trait Kernel<T: Float> {
    /// The result.
    type Output;
    /// The algorithm. Implementations are `#[inline(always)]`.
    fn run<S: Simd<T>>(self, s: S) -> Self::Output;
}

/// The types of half precision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// 5 bits of exponent.
    F16,
    /// 8 bits of exponent, as `f32`.
    Bf16,
}

/// An instruction set, as a token that proves the processor has it.
pub trait Simd<T: Float>: Copy + Send + Sync {
    /// One register of lanes.
    type V: Lanes<T>;
    /// The numbers of one register in memory: `[T; LANES]`.
    type Array: Copy + Default + AsRef<[T]> + AsMut<[T]>;
    /// The number of lanes of a register.
    const LANES: usize;
    /// The number of registers.
    const REGISTERS: usize = 16;

    /// A slice as whole registers, and the remaining numbers.
    fn registers(xs: &[T]) -> (&[Self::Array], &[T]);
    /// Like [`registers`](Self::registers), mutable.
    fn registers_mut(xs: &mut [T]) -> (&mut [Self::Array], &mut [T]);
    /// The numbers of whole registers.
    fn numbers(registers: &mut [Self::Array]) -> &mut [T];

    /// Runs a part of a kernel as a separate function, which is compiled once for all callers that reach it through the
    /// same line. A call costs a few nanoseconds, since registers go through memory: acceptable once per row, too much
    /// once per register.
    fn call<R>(self, f: impl FnOnce(Self) -> R) -> R;

    /// Runs a function of some registers: inlined, but on the baseline of x86-64 a separate function. Few processors have
    /// nothing better, and its instructions are the most.
    #[inline(always)]
    fn function<R>(self, f: impl FnOnce(Self) -> R) -> R {
        f(self)
    }

    /// The same number in every lane.
    fn splat(self, x: T) -> Self::V;
    /// Loads a whole register.
    fn load(self, xs: &Self::Array) -> Self::V;
    /// Loads fewer elements than a register has lanes; the remaining lanes hold `fill`.
    fn load_tail(self, xs: &[T], fill: T) -> Self::V;
    /// Stores a whole register.
    fn store(self, v: Self::V, out: &mut Self::Array);
    /// Stores the first `out.len()` lanes, fewer than a register has.
    fn store_tail(self, v: Self::V, out: &mut [T]);

    /// Loads columns of a matrix, one row per lane: lane `i` of register `k` is `xs[i * stride + k]`.
    #[inline(always)]
    fn load_columns<const C: usize>(self, xs: &[T], stride: usize) -> [Self::V; C] {
        columns::load(self, xs, stride)
    }
    /// Stores columns in the layout of [`load_columns`](Self::load_columns).
    #[inline(always)]
    fn store_columns<const C: usize>(self, columns: [Self::V; C], out: &mut [T], stride: usize) {
        columns::store(self, columns, out, stride);
    }

    /// Loads a whole register of numbers in half precision; `widen` converts one from its bits.
    #[inline(always)]
    fn load_halves(self, bits: &[u16], _kind: Half, widen: impl Fn(u16) -> T) -> Self::V {
        let mut lanes = Self::Array::default();
        for (lane, &bits) in lanes.as_mut().iter_mut().zip(&bits[..Self::LANES]) {
            *lane = widen(bits);
        }
        self.load(&lanes)
    }
    /// Stores a whole register in half precision, rounded to nearest; `narrow` converts one number to its bits. With
    /// `streams` the caches are bypassed if the processor can; then `bits` must begin at a multiple of its size.
    #[inline(always)]
    fn store_halves(self, v: Self::V, bits: &mut [u16], _kind: Half, _streams: bool, narrow: impl Fn(T) -> u16) {
        for (bits, &lane) in bits[..Self::LANES].iter_mut().zip(lanes_of(self, v).as_ref()) {
            *bits = narrow(lane);
        }
    }

    /// Whether a mask holds in all lanes.
    #[inline(always)]
    fn all(self, mask: <Self::V as Lanes<T>>::Mask) -> bool {
        mask.bits() == (1 << Self::LANES) - 1
    }

    /// Like [`store`](Self::store), but bypasses the caches if the processor can. `out` must begin at a multiple of the
    /// register size. A [`fence`](Self::fence) must follow before another thread reads it.
    #[inline(always)]
    fn stream(self, v: Self::V, out: &mut Self::Array) {
        self.store(v, out);
    }
    /// Makes streamed stores visible to other threads.
    #[inline(always)]
    fn fence(self) {}
    /// Prefetches the cache line of `xs[i]`; `i` may lie past the end.
    #[inline(always)]
    fn prefetch<M>(self, _xs: &[M], _i: usize) {}
    /// The same for a number that will be written: no other processor keeps its cache line.
    #[inline(always)]
    fn prefetch_to_write<M>(self, _xs: &[M], _i: usize) {}

    /// The sum of each of the first [`LANES`](Self::LANES) registers: lane `i` is that of register `i`, as
    /// [`Lanes::sum`] gives it.
    #[inline(always)]
    fn sums(self, registers: &[Self::Array; MAX_LANES]) -> Self::V {
        let mut sums = Self::Array::default();
        for (sum, register) in sums.as_mut().iter_mut().zip(registers) {
            *sum = self.load(register).sum();
        }
        self.load(&sums)
    }
    /// The largest lane of each register, likewise, if no lane is NaN.
    #[inline(always)]
    fn maxima(self, registers: &[Self::Array; MAX_LANES]) -> Self::V {
        let mut maxima = Self::Array::default();
        for (max, register) in maxima.as_mut().iter_mut().zip(registers) {
            *max = self.load(register).largest();
        }
        self.load(&maxima)
    }
}

/// One register of numbers. A value of such a type exists only on a processor with its instruction set.
pub trait Lanes<T>: Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Div<Output = Self> {
    /// One truth value per lane.
    type Mask: Mask;

    /// `self * a + b`, rounded once if the instruction set has FMA, else twice.
    fn mul_add(self, a: Self, b: Self) -> Self;
    /// `self * other` in two parts: the rounded product and its rounding error. Exact if neither overflows nor is
    /// subnormal.
    fn product(self, other: Self) -> (Self, Self);
    /// The larger number; `other` if either is NaN, so that `v.max(acc)` never lets a NaN into `acc`.
    fn max(self, other: Self) -> Self;
    /// The smaller number; `other` if either is NaN.
    fn min(self, other: Self) -> Self;
    /// The absolute value.
    fn abs(self) -> Self;
    /// `self < other`; false for NaN.
    fn lt(self, other: Self) -> Self::Mask;
    /// `self == other`; false for NaN.
    fn eq(self, other: Self) -> Self::Mask;
    /// `if_true` where the mask holds, `if_false` elsewhere.
    fn select(mask: Self::Mask, if_true: Self, if_false: Self) -> Self;
    /// 0 where the mask holds, `self` elsewhere.
    fn zero_where(self, mask: Self::Mask) -> Self;
    /// `self` where the mask holds, 0 elsewhere.
    fn zero_unless(self, mask: Self::Mask) -> Self;
    /// `self + x` where the mask holds, `self` elsewhere; a -0 may become 0.
    #[inline(always)]
    fn add_where(self, mask: Self::Mask, x: Self) -> Self {
        self + x.zero_unless(mask)
    }
    /// `self` where the mask holds, `self + x` elsewhere; a -0 may become 0.
    #[inline(always)]
    fn add_unless(self, mask: Self::Mask, x: Self) -> Self {
        self + x.zero_where(mask)
    }
    /// 0 where `a < b`, `self` elsewhere, also where `a` is NaN.
    fn zero_where_lt(self, a: Self, b: Self) -> Self;
    /// The number whose exponent field is the low bits of `self`: `2^n` for `1.5 * 2^digits + bias + n`, where the
    /// integer `n` lies between the exponents of the smallest and the largest normal number.
    fn to_power(self) -> Self;
    /// Splits a positive normal number into `(m, k)` with `self = m * 2^k` and `m` in `[sqrt(1/2), sqrt(2))`.
    fn split(self) -> (Self, Self);
    /// `(-other * 2^k, k)` with the integer `k` that brings `other * 2^k` within a factor of 1.5 of `self`; `k` is 0
    /// for neighbouring numbers. Both numbers are positive and normal.
    fn opposite(self, other: Self) -> (Self, Self);
    /// The sum of all lanes, halves first.
    fn sum(self) -> T;
    /// The largest lane, if no lane is NaN.
    fn largest(self) -> T;
}

/// One truth value per lane.
pub trait Mask: Copy {
    /// Bit `i` is lane `i`.
    fn bits(self) -> u32;
    /// The number of lanes that are true.
    #[inline(always)]
    fn count(self) -> u32 {
        self.bits().count_ones()
    }
}

macro_rules! float {
    ($t:ty) => {
        impl Float for $t {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const INFINITY: Self = <$t>::INFINITY;
            const NAN: Self = <$t>::NAN;

            #[inline(always)]
            fn from_f64(x: f64) -> Self {
                x as $t
            }

            #[inline(always)]
            fn to_f64(self) -> f64 {
                self as f64
            }

            #[inline(always)]
            fn to_i32(self) -> i32 {
                self as i32
            }

            fn not_below(x: f64) -> Self {
                let near = x as $t;
                if near.to_f64() < x { near.next_up() } else { near }
            }

            fn not_above(x: f64) -> Self {
                -Self::not_below(-x)
            }

            #[inline(always)]
            fn dispatch<K: Kernel<Self>>(isa: Isa, kernel: K) -> K::Output {
                match isa.token() {
                    #[cfg(target_arch = "x86_64")]
                    isa::Token::Avx512(token) => avx512::enter(token, inlined!(move |s| kernel.run(s))),
                    #[cfg(target_arch = "x86_64")]
                    isa::Token::Avx2(token) => avx2::enter(token, inlined!(move |s| kernel.run(s))),
                    isa::Token::Portable(token) => baseline::enter(token, inlined!(move |s| kernel.run(s))),
                }
            }
        }
    };
}

float!(f32);
float!(f64);

#[cfg(test)]
mod tests;
