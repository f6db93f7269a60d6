//! 256-bit registers: 8 `f32` or 4 `f64`. They need AVX2 and FMA, present since Haswell and Zen.
//!
//! # Safety
//! Every intrinsic below needs only the instruction set, unless its block says more. A value of these types can be made
//! only with an [`Avx2`] token, and [`Avx2::detect`] returns one only if the processor has the instruction set.

#![expect(clippy::undocumented_unsafe_blocks, reason = "one reason for all of them: see Safety above")]

use super::{Lanes, Mask, Simd};
use core::arch::x86_64::*;

/// Proof that this processor has AVX2 and FMA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Avx2(());

impl Avx2 {
    pub(super) fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(Avx2(()))
    }
}

/// Runs `f` as a separate function, with the instruction set enabled.
#[inline]
pub(super) fn enter<R>(token: Avx2, f: impl FnOnce(Avx2) -> R) -> R {
    #[inline(never)]
    #[target_feature(enable = "avx2,fma")]
    fn inner<R>(token: Avx2, f: impl FnOnce(Avx2) -> R) -> R {
        f(token)
    }
    // SAFETY: `Avx2::detect` is the only place that makes a token, and it checked these features.
    unsafe { inner(token, f) }
}

macro_rules! lanes {
    (
        $V:ident, $M:ident, $T:ty, $lanes:literal, $raw:ty, $int:ty,
        $add:ident $sub:ident $mul:ident $div:ident $fma:ident $max:ident $min:ident $and:ident $andnot:ident,
        $cmp:ident $blend:ident $movemask:ident,
        $splat:ident $load:ident $load_tail:ident $store:ident $store_tail:ident $stream:ident,
        $to_int:ident $to_float:ident $iadd:ident $isub:ident $isplat:ident $up:ident $down:ident,
        $digits:literal, $bias:literal, $sqrt_half:literal, $one:literal, $magic_bits:literal, $window:expr
    ) => {
        #[doc = concat!("`", stringify!($lanes), "` lanes of `", stringify!($T), "`.")]
        #[derive(Clone, Copy, Debug)]
        pub struct $V($raw);

        #[doc = concat!("`", stringify!($lanes), "` truth values: all bits of a lane, or none.")]
        #[derive(Clone, Copy, Debug)]
        pub struct $M($raw);

        impl $V {
            /// The mask register that covers the first `len` lanes.
            #[inline(always)]
            fn first(len: usize) -> __m256i {
                const WINDOW: [$int; 2 * $lanes] = $window;
                let lanes = &WINDOW[$lanes - len..2 * $lanes - len];
                // SAFETY: a value of this type needs an `Avx2` token; the slice is one register long.
                unsafe { _mm256_loadu_si256(lanes.as_ptr().cast()) }
            }

            #[inline(always)]
            fn array(self) -> [$T; $lanes] {
                let mut lanes = [0.0; $lanes];
                // SAFETY: a value of this type needs an `Avx2` token; the array is one register long.
                unsafe { $store(lanes.as_mut_ptr(), self.0) };
                lanes
            }
        }

        impl Simd<$T> for Avx2 {
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
                $V(unsafe { $splat(x) })
            }

            #[inline(always)]
            fn load(self, xs: &[$T; $lanes]) -> $V {
                // SAFETY: as above; exactly one register is read.
                $V(unsafe { $load(xs.as_ptr()) })
            }

            #[inline(always)]
            fn load_tail(self, xs: &[$T], fill: $T) -> $V {
                assert!(xs.len() < $lanes);
                let mask = $V::first(xs.len());
                // SAFETY: as above; a masked load touches only the lanes of its mask.
                unsafe { $V($blend($splat(fill), $load_tail(xs.as_ptr(), mask), $to_float(mask))) }
            }

            #[inline(always)]
            fn store(self, v: $V, out: &mut [$T; $lanes]) {
                // SAFETY: as above; exactly one register is written.
                unsafe { $store(out.as_mut_ptr(), v.0) }
            }

            #[inline(always)]
            fn store_tail(self, v: $V, out: &mut [$T]) {
                assert!(out.len() < $lanes);
                // SAFETY: as above; a masked store touches only the lanes of its mask.
                unsafe { $store_tail(out.as_mut_ptr(), $V::first(out.len()), v.0) }
            }

            #[inline(always)]
            fn stream(self, v: $V, out: &mut [$T; $lanes]) {
                assert!(out.as_ptr().addr().is_multiple_of(32));
                // SAFETY: as above; exactly one register is written, and it is aligned.
                unsafe { $stream(out.as_mut_ptr(), v.0) }
            }

            #[inline(always)]
            fn fence(self) {
                unsafe { _mm_sfence() }
            }

            #[inline(always)]
            fn prefetch(self, xs: &[$T], i: usize) {
                unsafe { _mm_prefetch::<_MM_HINT_T0>(xs.as_ptr().wrapping_add(i).cast()) }
            }
        }

        impl Lanes<$T> for $V {
            type Mask = $M;

            #[inline(always)]
            fn mul_add(self, a: Self, b: Self) -> Self {
                $V(unsafe { $fma(self.0, a.0, b.0) })
            }

            #[inline(always)]
            fn product(self, other: Self) -> (Self, Self) {
                let high = self * other;
                (high, self.mul_add(other, $V(unsafe { $splat(0.0) }) - high))
            }

            #[inline(always)]
            fn max(self, other: Self) -> Self {
                $V(unsafe { $max(self.0, other.0) })
            }

            #[inline(always)]
            fn min(self, other: Self) -> Self {
                $V(unsafe { $min(self.0, other.0) })
            }

            #[inline(always)]
            fn abs(self) -> Self {
                $V(unsafe { $andnot($splat(-0.0), self.0) })
            }

            #[inline(always)]
            fn lt(self, other: Self) -> $M {
                $M(unsafe { $cmp::<_CMP_LT_OQ>(self.0, other.0) })
            }

            #[inline(always)]
            fn eq(self, other: Self) -> $M {
                $M(unsafe { $cmp::<_CMP_EQ_OQ>(self.0, other.0) })
            }

            #[inline(always)]
            fn select(mask: $M, if_true: Self, if_false: Self) -> Self {
                $V(unsafe { $blend(if_false.0, if_true.0, mask.0) })
            }

            #[inline(always)]
            fn zero_where_lt(self, a: Self, b: Self) -> Self {
                $V(unsafe { $andnot(a.lt(b).0, self.0) })
            }

            #[inline(always)]
            fn to_power(self) -> Self {
                $V(unsafe { $to_float($up::<$digits>($to_int(self.0))) })
            }

            // The exponent field of x / sqrt(1/2) is that of m * 2^k with m cut at sqrt(1/2). The field becomes a float
            // as the low bits of a large power of two.
            #[inline(always)]
            fn split(self) -> (Self, Self) {
                const MAGIC: $T = (1u64 << $digits) as $T + $bias as $T;
                unsafe {
                    let cut = $iadd($to_int(self.0), $isplat($one - $sqrt_half));
                    let field = $down::<$digits>(cut);
                    let fraction = _mm256_and_si256(cut, $isplat((1 << $digits) - 1));
                    let m = $to_float($iadd(fraction, $isplat($sqrt_half)));
                    let k = $sub($to_float(_mm256_or_si256(field, $isplat($magic_bits))), $splat(MAGIC));
                    ($V(m), $V(k))
                }
            }

            // k is the difference of the bits, rounded to whole exponents. Subtracting the rounded-off part from the
            // bits of `self` leaves the bits of other * 2^k. The sign bit is added too: it keeps k from being negative,
            // and negates the result.
            #[inline(always)]
            fn opposite(self, other: Self) -> (Self, Self) {
                const HALF: $int = 1 << ($digits - 1);
                const POWER: $T = (1u64 << $digits) as $T;
                const SIGN: $T = (1u64 << (8 * size_of::<$T>() - 1 - $digits)) as $T;
                unsafe {
                    let bits = $iadd($to_int(self.0), $isplat(<$int>::MIN + HALF));
                    let apart = $isub(bits, $to_int(other.0));
                    let near = $isub(bits, _mm256_and_si256(apart, $isplat((1 << $digits) - 1)));
                    let field = $down::<$digits>(apart);
                    let k = $sub($to_float(_mm256_or_si256(field, $isplat($magic_bits))), $splat(POWER + SIGN));
                    ($V($to_float(near)), $V(k))
                }
            }

            #[inline(always)]
            fn sum(self) -> $T {
                let mut lanes = self.array();
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
                let mut lanes = self.array();
                let mut half = $lanes / 2;
                while half > 0 {
                    for i in 0..half {
                        lanes[i] = if lanes[i] > lanes[i + half] { lanes[i] } else { lanes[i + half] };
                    }
                    half /= 2;
                }
                lanes[0]
            }
        }

        impl Mask for $M {
            #[inline(always)]
            fn bits(self) -> u32 {
                unsafe { $movemask(self.0) as u32 }
            }
        }

        operators! { $V:
            Add add (a, b) => $V(unsafe { $add(a.0, b.0) });
            Sub sub (a, b) => $V(unsafe { $sub(a.0, b.0) });
            Mul mul (a, b) => $V(unsafe { $mul(a.0, b.0) });
            Div div (a, b) => $V(unsafe { $div(a.0, b.0) });
        }
    };
}

lanes!(
    F32x8, M32x8, f32, 8, __m256, i32,
    _mm256_add_ps _mm256_sub_ps _mm256_mul_ps _mm256_div_ps _mm256_fmadd_ps _mm256_max_ps _mm256_min_ps
    _mm256_and_ps _mm256_andnot_ps,
    _mm256_cmp_ps _mm256_blendv_ps _mm256_movemask_ps,
    _mm256_set1_ps _mm256_loadu_ps _mm256_maskload_ps _mm256_storeu_ps _mm256_maskstore_ps _mm256_stream_ps,
    _mm256_castps_si256 _mm256_castsi256_ps _mm256_add_epi32 _mm256_sub_epi32 _mm256_set1_epi32 _mm256_slli_epi32 _mm256_srli_epi32,
    23, 127, 0x3f35_04f3, 0x3f80_0000, 0x4b00_0000,
    [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0]
);

lanes!(
    F64x4, M64x4, f64, 4, __m256d, i64,
    _mm256_add_pd _mm256_sub_pd _mm256_mul_pd _mm256_div_pd _mm256_fmadd_pd _mm256_max_pd _mm256_min_pd
    _mm256_and_pd _mm256_andnot_pd,
    _mm256_cmp_pd _mm256_blendv_pd _mm256_movemask_pd,
    _mm256_set1_pd _mm256_loadu_pd _mm256_maskload_pd _mm256_storeu_pd _mm256_maskstore_pd _mm256_stream_pd,
    _mm256_castpd_si256 _mm256_castsi256_pd _mm256_add_epi64 _mm256_sub_epi64 _mm256_set1_epi64x _mm256_slli_epi64 _mm256_srli_epi64,
    52, 1023, 0x3fe6_a09e_667f_3bcd, 0x3ff0_0000_0000_0000, 0x4330_0000_0000_0000,
    [-1, -1, -1, -1, 0, 0, 0, 0]
);
