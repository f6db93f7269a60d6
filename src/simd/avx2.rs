//! 256-bit registers: 8 `f32` or 4 `f64`. They need AVX2, FMA, F16C and POPCNT, present since Haswell and Zen.
//!
//! # Safety
//! Every intrinsic below needs only the instruction set, unless its block says more. A value of these types can be made
//! only with an [`Avx2`] token, and [`Avx2::detect`] returns one only if the processor has the instruction set.

#![expect(clippy::undocumented_unsafe_blocks, reason = "one reason for all of them: see Safety above")]

use super::vectors::{across_128_pd, across_128_ps, across_256_pd, across_256_ps, vectors};
use super::{Half, Lanes, MAX_LANES, Mask, Simd};
use core::arch::x86_64::*;

/// Proof that this processor has AVX2, FMA, F16C and POPCNT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Avx2(());

impl Avx2 {
    pub(super) fn detect() -> Option<Self> {
        let found = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c")
            && is_x86_feature_detected!("popcnt");
        found.then_some(Avx2(()))
    }
}

/// Runs `f` as a separate function, with the instruction set enabled.
#[inline]
pub(super) fn enter<R>(token: Avx2, f: impl FnOnce(Avx2) -> R) -> R {
    #[inline(never)]
    #[target_feature(enable = "avx2,fma,f16c,popcnt")]
    fn inner<R>(token: Avx2, f: impl FnOnce(Avx2) -> R) -> R {
        f(token)
    }
    // SAFETY: `Avx2::detect` is the only place that makes a token, and it checked these features.
    unsafe { inner(token, f) }
}

macro_rules! lanes {
    (
        $V:ident, $M:ident, $T:ty, $lanes:literal, $raw:ty, $int:ty,
        $fma:ident $cmp:ident $blend:ident $load_tail:ident $store_tail:ident,
        $add:ident $sub:ident $mul:ident $div:ident $max:ident $min:ident $andnot:ident $movemask:ident,
        $splat:ident $load:ident $store:ident $stream:ident,
        $across:ident $add_halves:tt $max_halves:tt,
        $to_int:ident $to_float:ident $iadd:ident $isub:ident $isplat:ident $up:ident $down:ident,
        $digits:literal, $bias:literal, $sqrt_half:literal, $one:literal, $magic_bits:literal, $window:expr,
        { $($halves:item)* }
    ) => {
        vectors!(
            Avx2: $V, $M, $T, $lanes, $raw, $raw, $int,
            $add $sub $mul $div $max $min $andnot,
            $splat $load $store $stream,
            $across $add_halves $max_halves,
            $to_int $to_float $iadd $isub _mm256_and_si256 _mm256_or_si256 $isplat $up $down,
            $digits, $bias, $sqrt_half, $one, $magic_bits,
            {
            /// The mask register that covers the first `len` lanes.
            #[inline(always)]
            fn first(len: usize) -> __m256i {
                const WINDOW: [$int; 2 * $lanes] = $window;
                let lanes = &WINDOW[$lanes - len..2 * $lanes - len];
                // SAFETY: a value of this type needs an `Avx2` token; the slice is one register long.
                unsafe { _mm256_loadu_si256(lanes.as_ptr().cast()) }
            }
            }
            {
            #[inline(always)]
            fn load_tail(self, xs: &[$T], fill: $T) -> $V {
                assert!(xs.len() < $lanes);
                let mask = $V::first(xs.len());
                // SAFETY: as above; a masked load touches only the lanes of its mask.
                unsafe { $V($blend($splat(fill), $load_tail(xs.as_ptr(), mask), $to_float(mask))) }
            }

            #[inline(always)]
            fn store_tail(self, v: $V, out: &mut [$T]) {
                assert!(out.len() < $lanes);
                // SAFETY: as above; a masked store touches only the lanes of its mask.
                unsafe { $store_tail(out.as_mut_ptr(), $V::first(out.len()), v.0) }
            }

            $($halves)*
            }
            {
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
            }
            {
            #[inline(always)]
            fn bits(self) -> u32 {
                unsafe { $movemask(self.0) as u32 }
            }
            }
        );
    };
}

lanes!(
    F32x8, M32x8, f32, 8, __m256, i32,
    _mm256_fmadd_ps _mm256_cmp_ps _mm256_blendv_ps _mm256_maskload_ps _mm256_maskstore_ps,
    _mm256_add_ps _mm256_sub_ps _mm256_mul_ps _mm256_div_ps _mm256_max_ps _mm256_min_ps _mm256_andnot_ps _mm256_movemask_ps,
    _mm256_set1_ps _mm256_loadu_ps _mm256_storeu_ps _mm256_stream_ps,
    across_256_ps (_mm_add_ps _mm256_add_ps) (_mm_max_ps _mm256_max_ps),
    _mm256_castps_si256 _mm256_castsi256_ps _mm256_add_epi32 _mm256_sub_epi32 _mm256_set1_epi32 _mm256_slli_epi32 _mm256_srli_epi32,
    23, 127, 0x3f35_04f3, 0x3f80_0000, 0x4b00_0000,
    [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0],
    {
        #[inline(always)]
        fn load_halves(self, bits: &[u16], kind: Half, _: impl Fn(u16) -> f32) -> F32x8 {
            #[expect(clippy::expect_used, reason = "kernels cut slices to whole registers")]
            let bits: &[u16; 8] = bits.first_chunk().expect("a register of numbers");
            // SAFETY: as above; exactly 8 numbers are read.
            F32x8(unsafe {
                let bits = _mm_loadu_si128(bits.as_ptr().cast());
                match kind {
                    Half::F16 => _mm256_cvtph_ps(bits),
                    Half::Bf16 => _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(bits))),
                }
            })
        }

        #[inline(always)]
        fn store_halves(self, v: F32x8, out: &mut [u16], kind: Half, streams: bool, _: impl Fn(f32) -> u16) {
            #[expect(clippy::expect_used, reason = "kernels cut slices to whole registers")]
            let out: &mut [u16; 8] = out.first_chunk_mut().expect("space for a register of numbers");
            assert!(!streams || out.as_ptr().addr().is_multiple_of(size_of::<__m128i>()));
            // SAFETY: as above; exactly 8 numbers are written, and they are aligned where they are streamed.
            unsafe {
                let bits = match kind {
                    Half::F16 => _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(v.0),
                    Half::Bf16 => {
                        let (bits, one) = (_mm256_castps_si256(v.0), _mm256_set1_epi32(1));
                        let upper = _mm256_srli_epi32::<16>(bits);
                        // Add half a unit less one, and one more if the last kept digit is odd.
                        let odd = _mm256_and_si256(upper, one);
                        let up = _mm256_add_epi32(_mm256_set1_epi32(0x7fff), odd);
                        let rounded = _mm256_srli_epi32::<16>(_mm256_add_epi32(bits, up));
                        let is_nan = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(v.0, v.0));
                        let quiet = _mm256_or_si256(upper, _mm256_set1_epi32(0x40));
                        let bits = _mm256_blendv_epi8(rounded, quiet, is_nan);
                        _mm_packus_epi32(_mm256_castsi256_si128(bits), _mm256_extracti128_si256::<1>(bits))
                    }
                };
                if streams {
                    _mm_stream_si128(out.as_mut_ptr().cast(), bits);
                } else {
                    _mm_storeu_si128(out.as_mut_ptr().cast(), bits);
                }
            }
        }

        #[inline(always)]
        fn sums(self, registers: &[[f32; 8]; MAX_LANES]) -> F32x8 {
            across_each(self, registers, inlined!(|a, b| a + b))
        }

        #[inline(always)]
        fn maxima(self, registers: &[[f32; 8]; MAX_LANES]) -> F32x8 {
            across_each(self, registers, inlined!(|a, b| a.max(b)))
        }
    }
);

lanes!(
    F64x4, M64x4, f64, 4, __m256d, i64,
    _mm256_fmadd_pd _mm256_cmp_pd _mm256_blendv_pd _mm256_maskload_pd _mm256_maskstore_pd,
    _mm256_add_pd _mm256_sub_pd _mm256_mul_pd _mm256_div_pd _mm256_max_pd _mm256_min_pd _mm256_andnot_pd _mm256_movemask_pd,
    _mm256_set1_pd _mm256_loadu_pd _mm256_storeu_pd _mm256_stream_pd,
    across_256_pd (_mm_add_pd _mm256_add_pd) (_mm_max_pd _mm256_max_pd),
    _mm256_castpd_si256 _mm256_castsi256_pd _mm256_add_epi64 _mm256_sub_epi64 _mm256_set1_epi64x _mm256_slli_epi64 _mm256_srli_epi64,
    52, 1023, 0x3fe6_a09e_667f_3bcd, 0x3ff0_0000_0000_0000, 0x4330_0000_0000_0000,
    [-1, -1, -1, -1, 0, 0, 0, 0],
    {}
);

/// Combines all lanes of each register, the upper half with the lower half, until one number is left: lane `i` is that of
/// register `i`. Two registers share each step, so that 7 steps take the place of 24.
#[inline(always)]
fn across_each(s: Avx2, registers: &[[f32; 8]; MAX_LANES], f: impl Fn(F32x8, F32x8) -> F32x8) -> F32x8 {
    macro_rules! step {
        ($a:expr, $b:expr, $shuffle:ident, $low:literal, $high:literal) => {{
            let (a, b) = ($a, $b);
            // SAFETY: only methods of `Avx2` call this.
            unsafe { f(F32x8($shuffle::<$low>(a.0, b.0)), F32x8($shuffle::<$high>(a.0, b.0))) }
        }};
    }
    macro_rules! at {
        ($i:expr) => {
            <Avx2 as Simd<f32>>::load(s, &registers[$i])
        };
    }
    let mut rows = [at!(0); 4];
    for (i, row) in rows.iter_mut().enumerate() {
        // 1. Halves: half h is of row i + 4 h.
        *row = step!(at!(i), at!(i + 4), _mm256_permute2f128_ps, 0x20, 0x31);
    }
    // 2. Within the halves.
    let a = step!(rows[0], rows[1], _mm256_shuffle_ps, 0b01_00_01_00, 0b11_10_11_10);
    let b = step!(rows[2], rows[3], _mm256_shuffle_ps, 0b01_00_01_00, 0b11_10_11_10);
    step!(a, b, _mm256_shuffle_ps, 0b10_00_10_00, 0b11_01_11_01)
}
