//! 128-bit registers of x86-64: 4 `f32` or 2 `f64`, without FMA. Every x86-64 processor has SSE2.
//!
//! The plain arrays of `portable.rs` compile to the same instructions, but compilation takes three times as long
//! (`docs/decisions/building.md`).
//!
//! # Safety
//! Every intrinsic below needs only the instruction set, unless its block says more.

#![expect(clippy::undocumented_unsafe_blocks, reason = "one reason for all of them: see Safety above")]

use super::vectors::{across_128_pd, across_128_ps, vectors};
use super::{Lanes, Mask, Simd};
use core::arch::x86_64::*;

/// The instruction set that every x86-64 processor has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sse2;

/// Runs `f` as a separate function, as on the other instruction sets. Inlined, `f` would be compiled again at every
/// use.
#[inline(never)]
pub(super) fn enter<R>(token: Sse2, f: impl FnOnce(Sse2) -> R) -> R {
    f(token)
}

macro_rules! lanes {
    (
        $V:ident, $M:ident, $T:ty, $lanes:literal, $raw:ty, $int:ty, $lt:ident $eq:ident $and:ident $or:ident,
        $add:ident $sub:ident $mul:ident $div:ident $max:ident $min:ident $andnot:ident $movemask:ident,
        $splat:ident $load:ident $store:ident $stream:ident,
        $across:ident $add_halves:tt $max_halves:tt,
        $to_int:ident $to_float:ident $iadd:ident $isub:ident $isplat:ident $up:ident $down:ident,
        $digits:literal, $bias:literal, $sqrt_half:literal, $one:literal, $magic_bits:literal
    ) => {
        vectors!(
            Sse2: $V, $M, $T, $lanes, $raw, $raw, $int,
            $add $sub $mul $div $max $min $andnot,
            $splat $load $store $stream,
            $across $add_halves $max_halves,
            $to_int $to_float $iadd $isub _mm_and_si128 _mm_or_si128 $isplat $up $down,
            $digits, $bias, $sqrt_half, $one, $magic_bits,
            {
            #[inline(always)]
            fn array(self) -> [$T; $lanes] {
                let mut lanes = [0.0; $lanes];
                // SAFETY: the array is one register long.
                unsafe { $store(lanes.as_mut_ptr(), self.0) };
                lanes
            }

            /// Splits a number into two halves of its digits; products of halves are exact.
            #[inline(always)]
            fn halves(self) -> (Self, Self) {
                const SPLITTER: $T = ((1u64 << (($digits + 2) / 2)) + 1) as $T;
                let stretched = self * $V(unsafe { $splat(SPLITTER) });
                let upper = stretched - (stretched - self);
                (upper, self - upper)
            }
            }
            {
            #[inline(always)]
            fn function<R>(self, f: impl FnOnce(Self) -> R) -> R {
                enter(self, f)
            }

            #[inline(always)]
            fn load_tail(self, xs: &[$T], fill: $T) -> $V {
                let mut lanes = [fill; $lanes];
                lanes[..xs.len()].copy_from_slice(xs);
                Simd::<$T>::load(self, &lanes)
            }

            #[inline(always)]
            fn store_tail(self, v: $V, out: &mut [$T]) {
                out.copy_from_slice(&v.array()[..out.len()]);
            }
            }
            {
            #[inline(always)]
            fn mul_add(self, a: Self, b: Self) -> Self {
                self * a + b
            }

            // T. J. Dekker, *A floating-point technique for extending the available precision*, 1971.
            #[inline(always)]
            fn product(self, other: Self) -> (Self, Self) {
                let ((a, b), (c, d), high) = (self.halves(), other.halves(), self * other);
                (high, ((a * c - high) + a * d + b * c) + b * d)
            }

            #[inline(always)]
            fn lt(self, other: Self) -> $M {
                $M(unsafe { $lt(self.0, other.0) })
            }

            #[inline(always)]
            fn eq(self, other: Self) -> $M {
                $M(unsafe { $eq(self.0, other.0) })
            }

            #[inline(always)]
            fn select(mask: $M, if_true: Self, if_false: Self) -> Self {
                $V(unsafe { $or($and(mask.0, if_true.0), $andnot(mask.0, if_false.0)) })
            }

            #[inline(always)]
            fn zero_where(self, mask: $M) -> Self {
                $V(unsafe { $andnot(mask.0, self.0) })
            }

            #[inline(always)]
            fn zero_unless(self, mask: $M) -> Self {
                $V(unsafe { $and(mask.0, self.0) })
            }

            #[inline(always)]
            fn zero_where_lt(self, a: Self, b: Self) -> Self {
                $V(unsafe { $andnot(a.lt(b).0, self.0) })
            }
            }
            {
            #[inline(always)]
            fn bits(self) -> u32 {
                unsafe { $movemask(self.0) as u32 }
            }

            /// Without an instruction for it, from a table with four bits for each value of `bits`.
            #[inline(always)]
            fn count(self) -> u32 {
                (0x4332_3221_3221_2110u64 >> (4 * self.bits())) as u32 & 15
            }
            }
        );
    };
}

lanes!(
    F32x4, M32x4, f32, 4, __m128, i32, _mm_cmplt_ps _mm_cmpeq_ps _mm_and_ps _mm_or_ps,
    _mm_add_ps _mm_sub_ps _mm_mul_ps _mm_div_ps _mm_max_ps _mm_min_ps _mm_andnot_ps _mm_movemask_ps,
    _mm_set1_ps _mm_loadu_ps _mm_storeu_ps _mm_stream_ps,
    across_128_ps (_mm_add_ps) (_mm_max_ps),
    _mm_castps_si128 _mm_castsi128_ps _mm_add_epi32 _mm_sub_epi32 _mm_set1_epi32 _mm_slli_epi32 _mm_srli_epi32,
    23, 127, 0x3f35_04f3, 0x3f80_0000, 0x4b00_0000
);

lanes!(
    F64x2, M64x2, f64, 2, __m128d, i64, _mm_cmplt_pd _mm_cmpeq_pd _mm_and_pd _mm_or_pd,
    _mm_add_pd _mm_sub_pd _mm_mul_pd _mm_div_pd _mm_max_pd _mm_min_pd _mm_andnot_pd _mm_movemask_pd,
    _mm_set1_pd _mm_loadu_pd _mm_storeu_pd _mm_stream_pd,
    across_128_pd (_mm_add_pd) (_mm_max_pd),
    _mm_castpd_si128 _mm_castsi128_pd _mm_add_epi64 _mm_sub_epi64 _mm_set1_epi64x _mm_slli_epi64 _mm_srli_epi64,
    52, 1023, 0x3fe6_a09e_667f_3bcd, 0x3ff0_0000_0000_0000, 0x4330_0000_0000_0000
);
