//! Lanes for any processor: plain arrays of 32 bytes, which the compiler turns into two SSE2 or NEON registers.

use super::{Float, Kernel, Lanes, Mask, Simd};
use std::array::from_fn;

/// The instruction set that every processor has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Portable;

/// Runs a kernel, in a function of its own as on the other instruction sets: it would be compiled anew wherever it is used.
#[inline(never)]
pub(super) fn enter<T: Float, K: Kernel<T>>(token: Portable, kernel: K) -> K::Output
where
    Portable: Simd<T>,
{
    kernel.run(token)
}

macro_rules! lanes {
    ($V:ident, $M:ident, $T:ty, $bits:ty, $lanes:literal, $digits:literal, $bias:literal) => {
        #[doc = concat!("`", stringify!($lanes), "` lanes of `", stringify!($T), "`.")]
        #[derive(Clone, Copy, Debug)]
        pub struct $V([$T; $lanes]);

        #[doc = concat!("`", stringify!($lanes), "` truth values: all bits of a lane, or none.")]
        #[derive(Clone, Copy, Debug)]
        pub struct $M([$bits; $lanes]);

        impl Simd<$T> for Portable {
            type V = $V;
            const LANES: usize = $lanes;

            #[inline(always)]
            fn call<K: Kernel<$T>>(self, kernel: K) -> K::Output {
                enter(self, kernel)
            }

            #[inline(always)]
            fn splat(self, x: $T) -> $V {
                $V([x; $lanes])
            }

            #[inline(always)]
            fn load(self, xs: &[$T]) -> $V {
                assert!(xs.len() == $lanes);
                $V(from_fn(|i| xs[i]))
            }

            #[inline(always)]
            fn load_tail(self, xs: &[$T], fill: $T) -> $V {
                let mut lanes = [fill; $lanes];
                lanes[..xs.len()].copy_from_slice(xs);
                $V(lanes)
            }

            #[inline(always)]
            fn store(self, v: $V, out: &mut [$T]) {
                out.copy_from_slice(&v.0);
            }

            #[inline(always)]
            fn store_tail(self, v: $V, out: &mut [$T]) {
                out.copy_from_slice(&v.0[..out.len()]);
            }
        }

        impl Lanes<$T> for $V {
            type Mask = $M;

            // Without FMA `f32::mul_add` would be a library call.
            #[inline(always)]
            fn mul_add(self, a: Self, b: Self) -> Self {
                self * a + b
            }

            // Halves of both, as many digits each, multiply exactly: T. J. Dekker, *A floating-point technique for extending the
            // available precision*, 1971.
            #[inline(always)]
            fn product(self, other: Self) -> (Self, Self) {
                const SPLITTER: $T = ((1u64 << (($digits + 2) / 2)) + 1) as $T;
                let halves = |x: $T| {
                    let stretched = x * SPLITTER;
                    let upper = stretched - (stretched - x);
                    (upper, x - upper)
                };
                let high = self * other;
                let low = from_fn(|i| {
                    let ((a, b), (c, d)) = (halves(self.0[i]), halves(other.0[i]));
                    ((a * c - high.0[i]) + a * d + b * c) + b * d
                });
                (high, $V(low))
            }

            #[inline(always)]
            fn max(self, other: Self) -> Self {
                $V(from_fn(|i| if self.0[i] > other.0[i] { self.0[i] } else { other.0[i] }))
            }

            #[inline(always)]
            fn min(self, other: Self) -> Self {
                $V(from_fn(|i| if self.0[i] < other.0[i] { self.0[i] } else { other.0[i] }))
            }

            #[inline(always)]
            fn abs(self) -> Self {
                $V(from_fn(|i| self.0[i].abs()))
            }

            #[inline(always)]
            fn lt(self, other: Self) -> $M {
                $M(from_fn(|i| if self.0[i] < other.0[i] { <$bits>::MAX } else { 0 }))
            }

            #[inline(always)]
            fn eq(self, other: Self) -> $M {
                $M(from_fn(|i| if self.0[i] == other.0[i] { <$bits>::MAX } else { 0 }))
            }

            #[inline(always)]
            fn select(mask: $M, if_true: Self, if_false: Self) -> Self {
                $V(from_fn(|i| {
                    <$T>::from_bits((if_true.0[i].to_bits() & mask.0[i]) | (if_false.0[i].to_bits() & !mask.0[i]))
                }))
            }

            #[inline(always)]
            fn zero_where_lt(self, a: Self, b: Self) -> Self {
                let below = a.lt(b);
                $V(from_fn(|i| <$T>::from_bits(self.0[i].to_bits() & !below.0[i])))
            }

            #[inline(always)]
            fn to_power(self) -> Self {
                $V(from_fn(|i| <$T>::from_bits(self.0[i].to_bits() << $digits)))
            }

            // The exponent field of x / sqrt(1/2) is that of m * 2^k with m cut at sqrt(1/2); the field becomes a
            // float by standing in the low bits of a large power of two.
            #[inline(always)]
            fn split(self) -> (Self, Self) {
                const SQRT_HALF: $bits = (std::f64::consts::FRAC_1_SQRT_2 as $T).to_bits();
                const OFFSET: $bits = (1.0 as $T).to_bits() - SQRT_HALF;
                const POWER: $T = (1u64 << $digits) as $T;
                let cut: [$bits; $lanes] = from_fn(|i| self.0[i].to_bits().wrapping_add(OFFSET));
                let m = from_fn(|i| <$T>::from_bits((cut[i] & ((1 << $digits) - 1)) + SQRT_HALF));
                let k = from_fn(|i| <$T>::from_bits((cut[i] >> $digits) | POWER.to_bits()) - (POWER + $bias as $T));
                ($V(m), $V(k))
            }

            // The difference of the bits, rounded to whole exponents, is k. What was rounded off, taken from the bits of this
            // number, leaves those of other * 2^k. The bit that keeps k from being negative is that of the sign.
            #[inline(always)]
            fn opposite(self, other: Self) -> (Self, Self) {
                const SIGN: $bits = 1 << (<$bits>::BITS - 1);
                const HALF: $bits = 1 << ($digits - 1);
                const POWER: $T = (1u64 << $digits) as $T;
                let bits: [$bits; $lanes] = from_fn(|i| self.0[i].to_bits().wrapping_add(SIGN + HALF));
                let apart: [$bits; $lanes] = from_fn(|i| bits[i].wrapping_sub(other.0[i].to_bits()));
                let near = from_fn(|i| <$T>::from_bits(bits[i].wrapping_sub(apart[i] & ((1 << $digits) - 1))));
                let k = from_fn(|i| {
                    <$T>::from_bits((apart[i] >> $digits) | POWER.to_bits()) - (POWER + (SIGN >> $digits) as $T)
                });
                ($V(near), $V(k))
            }

            #[inline(always)]
            fn sum(self) -> $T {
                let mut lanes = self.0;
                let mut half = $lanes / 2;
                while half > 0 {
                    for i in 0..half {
                        lanes[i] += lanes[i + half];
                    }
                    half /= 2;
                }
                lanes[0]
            }

            #[inline(always)]
            fn largest(self) -> $T {
                self.0.into_iter().fold(<$T>::NEG_INFINITY, |a, b| if b > a { b } else { a })
            }
        }

        impl Mask for $M {
            #[inline(always)]
            fn bits(self) -> u32 {
                self.0.iter().enumerate().map(|(i, lane)| ((lane & 1) as u32) << i).sum()
            }
        }

        operators! { $V:
            Add add (a, b) => $V(from_fn(|i| a.0[i] + b.0[i]));
            Sub sub (a, b) => $V(from_fn(|i| a.0[i] - b.0[i]));
            Mul mul (a, b) => $V(from_fn(|i| a.0[i] * b.0[i]));
            Div div (a, b) => $V(from_fn(|i| a.0[i] / b.0[i]));
        }
    };
}

lanes!(F32x8, M32x8, f32, u32, 8, 23, 127);
lanes!(F64x4, M64x4, f64, u64, 4, 52, 1023);
