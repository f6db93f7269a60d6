//! Registers for any processor: plain arrays of 16 bytes, which the compiler turns into one SSE2 or NEON register.

use super::{Lanes, Mask, Simd};

/// The instruction set that every processor has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Portable;

/// Runs `f` as a separate function, as on the other instruction sets. Inlined, `f` would be compiled again at every
/// use.
#[inline(never)]
pub(super) fn enter<R>(token: Portable, f: impl FnOnce(Portable) -> R) -> R {
    f(token)
}

/// An array of the values of an expression for each lane. It uses a loop, since `array::from_fn` is not inlined into
/// large kernels.
macro_rules! each {
    ($lanes:literal, $i:ident => $lane:expr) => {{
        let (mut lanes, mut $i) = ([Default::default(); $lanes], 0);
        while $i < $lanes {
            lanes[$i] = $lane;
            $i += 1;
        }
        lanes
    }};
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
            type Array = [$T; $lanes];
            const LANES: usize = $lanes;

            #[inline(always)]
            fn registers(xs: &[$T]) -> (&[[$T; $lanes]], &[$T]) {
                xs.as_chunks()
            }

            #[inline(always)]
            fn registers_mut(xs: &mut [$T]) -> (&mut [[$T; $lanes]], &mut [$T]) {
                xs.as_chunks_mut()
            }

            #[inline(always)]
            fn numbers(registers: &mut [[$T; $lanes]]) -> &mut [$T] {
                registers.as_flattened_mut()
            }

            #[inline(always)]
            fn call<R>(self, f: impl FnOnce(Self) -> R) -> R {
                enter(self, f)
            }

            #[inline(always)]
            fn splat(self, x: $T) -> $V {
                $V([x; $lanes])
            }

            #[inline(always)]
            fn load(self, xs: &[$T; $lanes]) -> $V {
                $V(*xs)
            }

            #[inline(always)]
            fn load_tail(self, xs: &[$T], fill: $T) -> $V {
                let mut lanes = [fill; $lanes];
                lanes[..xs.len()].copy_from_slice(xs);
                $V(lanes)
            }

            #[inline(always)]
            fn store(self, v: $V, out: &mut [$T; $lanes]) {
                *out = v.0;
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

            // Both numbers are split into halves of their digits, whose products are exact: T. J. Dekker, *A
            // floating-point technique for extending the available precision*, 1971.
            #[inline(always)]
            fn product(self, other: Self) -> (Self, Self) {
                const SPLITTER: $T = ((1u64 << (($digits + 2) / 2)) + 1) as $T;
                let halves = |x: $T| {
                    let stretched = x * SPLITTER;
                    let upper = stretched - (stretched - x);
                    (upper, x - upper)
                };
                let high = self * other;
                let low = each!($lanes, i => {
                    let ((a, b), (c, d)) = (halves(self.0[i]), halves(other.0[i]));
                    ((a * c - high.0[i]) + a * d + b * c) + b * d
                });
                (high, $V(low))
            }

            #[inline(always)]
            fn max(self, other: Self) -> Self {
                $V(each!($lanes, i => if self.0[i] > other.0[i] { self.0[i] } else { other.0[i] }))
            }

            #[inline(always)]
            fn min(self, other: Self) -> Self {
                $V(each!($lanes, i => if self.0[i] < other.0[i] { self.0[i] } else { other.0[i] }))
            }

            #[inline(always)]
            fn abs(self) -> Self {
                $V(each!($lanes, i => self.0[i].abs()))
            }

            #[inline(always)]
            fn lt(self, other: Self) -> $M {
                $M(each!($lanes, i => if self.0[i] < other.0[i] { <$bits>::MAX } else { 0 }))
            }

            #[inline(always)]
            fn eq(self, other: Self) -> $M {
                $M(each!($lanes, i => if self.0[i] == other.0[i] { <$bits>::MAX } else { 0 }))
            }

            #[inline(always)]
            fn select(mask: $M, if_true: Self, if_false: Self) -> Self {
                $V(each!($lanes, i => {
                    <$T>::from_bits((if_true.0[i].to_bits() & mask.0[i]) | (if_false.0[i].to_bits() & !mask.0[i]))
                }))
            }

            #[inline(always)]
            fn zero_where(self, mask: $M) -> Self {
                $V(each!($lanes, i => <$T>::from_bits(self.0[i].to_bits() & !mask.0[i])))
            }

            #[inline(always)]
            fn zero_unless(self, mask: $M) -> Self {
                $V(each!($lanes, i => <$T>::from_bits(self.0[i].to_bits() & mask.0[i])))
            }

            #[inline(always)]
            fn zero_where_lt(self, a: Self, b: Self) -> Self {
                let below = a.lt(b);
                $V(each!($lanes, i => <$T>::from_bits(self.0[i].to_bits() & !below.0[i])))
            }

            #[inline(always)]
            fn to_power(self) -> Self {
                $V(each!($lanes, i => <$T>::from_bits(self.0[i].to_bits() << $digits)))
            }

            // The exponent field of x / sqrt(1/2) is that of m * 2^k with m cut at sqrt(1/2). The field becomes a float
            // as the low bits of a large power of two.
            #[inline(always)]
            fn split(self) -> (Self, Self) {
                const SQRT_HALF: $bits = (std::f64::consts::FRAC_1_SQRT_2 as $T).to_bits();
                const OFFSET: $bits = (1.0 as $T).to_bits() - SQRT_HALF;
                const POWER: $T = (1u64 << $digits) as $T;
                let cut: [$bits; $lanes] = each!($lanes, i => self.0[i].to_bits().wrapping_add(OFFSET));
                let m = each!($lanes, i => <$T>::from_bits((cut[i] & ((1 << $digits) - 1)) + SQRT_HALF));
                let k = each!($lanes, i => <$T>::from_bits((cut[i] >> $digits) | POWER.to_bits()) - (POWER + $bias as $T));
                ($V(m), $V(k))
            }

            // k is the difference of the bits, rounded to whole exponents. Subtracting the rounded-off part from the
            // bits of `self` leaves the bits of other * 2^k. The sign bit is added too: it keeps k from being negative,
            // and negates the result.
            #[inline(always)]
            fn opposite(self, other: Self) -> (Self, Self) {
                const SIGN: $bits = 1 << (<$bits>::BITS - 1);
                const HALF: $bits = 1 << ($digits - 1);
                const POWER: $T = (1u64 << $digits) as $T;
                let bits: [$bits; $lanes] = each!($lanes, i => self.0[i].to_bits().wrapping_add(SIGN + HALF));
                let apart: [$bits; $lanes] = each!($lanes, i => bits[i].wrapping_sub(other.0[i].to_bits()));
                let near = each!($lanes, i => <$T>::from_bits(bits[i].wrapping_sub(apart[i] & ((1 << $digits) - 1))));
                let k = each!($lanes, i => {
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
                {
                let (mut largest, mut i) = (self.0[0], 1);
                while i < $lanes {
                    largest = if self.0[i] > largest { self.0[i] } else { largest };
                    i += 1;
                }
                largest
            }
            }
        }

        impl Mask for $M {
            #[inline(always)]
            fn bits(self) -> u32 {
                let (mut bits, mut i) = (0, 0);
                while i < $lanes {
                    bits |= ((self.0[i] & 1) as u32) << i;
                    i += 1;
                }
                bits
            }
        }

        operators! { $V:
            Add add (a, b) => $V(each!($lanes, i => a.0[i] + b.0[i]));
            Sub sub (a, b) => $V(each!($lanes, i => a.0[i] - b.0[i]));
            Mul mul (a, b) => $V(each!($lanes, i => a.0[i] * b.0[i]));
            Div div (a, b) => $V(each!($lanes, i => a.0[i] / b.0[i]));
        }
    };
}

lanes!(F32x4, M32x4, f32, u32, 4, 23, 127);
lanes!(F64x2, M64x2, f64, u64, 2, 52, 1023);
