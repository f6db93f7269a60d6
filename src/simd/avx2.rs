//! 256-bit registers: 8 `f32` or 4 `f64`. They need AVX2, FMA, F16C and POPCNT, present since Haswell and Zen.
//!
//! # Safety
//! Every intrinsic below needs only the instruction set, unless its block says more. A value of these types can be made
//! only with an [`Avx2`] token, and [`Avx2::detect`] returns one only if the processor has the instruction set.

#![expect(clippy::undocumented_unsafe_blocks, reason = "one reason for all of them: see Safety above")]

use super::vectors::{across_128_pd, across_128_ps, across_256_pd, across_256_ps, vectors};
use super::{Half, Lanes, MAX_LANES, Mask, Simd, columns};
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
        $add:ident $sub:ident $mul:ident $div:ident $max:ident $min:ident $and:ident $andnot:ident $movemask:ident,
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
                // SAFETY: as above; exactly `out.len()` numbers are written.
                unsafe { $store_tail(v.0, out.as_mut_ptr(), out.len()) }
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

            // A selection takes one of the two ports of products on AMD's processors.
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
            }
        );
    };
}

lanes!(
    F32x8, M32x8, f32, 8, __m256, i32,
    _mm256_fmadd_ps _mm256_cmp_ps _mm256_blendv_ps _mm256_maskload_ps store_few_ps,
    _mm256_add_ps _mm256_sub_ps _mm256_mul_ps _mm256_div_ps _mm256_max_ps _mm256_min_ps _mm256_and_ps _mm256_andnot_ps _mm256_movemask_ps,
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
        fn load_columns<const C: usize>(self, xs: &[f32], stride: usize) -> [F32x8; C] {
            let mut columns = [<Self as Simd<f32>>::splat(self, 0.0); C];
            let at = xs.as_ptr();
            if C == 4 {
                assert!(xs.len() >= 4 && (xs.len() - 4) / 7 >= stride);
                // SAFETY: as above; the last of the 8 rows has four numbers in `xs`.
                let four = unsafe {
                    transpose_halves([
                        load_fours(at, 4 * stride),
                        load_fours(at.add(stride), 4 * stride),
                        load_fours(at.add(2 * stride), 4 * stride),
                        load_fours(at.add(3 * stride), 4 * stride),
                    ])
                };
                for (column, four) in columns.iter_mut().zip(four) {
                    column.0 = four;
                }
            } else if C == 3 && stride == 3 {
                assert!(xs.len() >= 24);
                // SAFETY: as above; 24 numbers are read.
                let three = unsafe {
                    transpose_threes([load_fours(at, 12), load_fours(at.add(4), 12), load_fours(at.add(8), 12)])
                };
                for (column, three) in columns.iter_mut().zip(three) {
                    column.0 = three;
                }
            } else if C == 2 && stride == 2 {
                assert!(xs.len() >= 16);
                // SAFETY: as above; 16 numbers are read.
                unsafe {
                    let (a, b) = (load_fours(at, 8), load_fours(at.add(4), 8));
                    columns[0].0 = _mm256_shuffle_ps::<0b10_00_10_00>(a, b);
                    columns[1].0 = _mm256_shuffle_ps::<0b11_01_11_01>(a, b);
                }
            } else {
                columns = columns::load(self, xs, stride);
            }
            columns
        }

        #[inline(always)]
        fn store_columns<const C: usize>(self, columns: [F32x8; C], out: &mut [f32], stride: usize) {
            let at = out.as_mut_ptr();
            if C == 4 {
                assert!(out.len() >= 4 && (out.len() - 4) / 7 >= stride);
                // SAFETY: as above; the last of the 8 rows has four numbers in `out`.
                unsafe {
                    let [a, b, c, d] = transpose_halves([columns[0].0, columns[1].0, columns[2].0, columns[3].0]);
                    store_fours(a, at, 4 * stride);
                    store_fours(b, at.add(stride), 4 * stride);
                    store_fours(c, at.add(2 * stride), 4 * stride);
                    store_fours(d, at.add(3 * stride), 4 * stride);
                }
            } else if C == 3 && stride == 3 {
                assert!(out.len() >= 24);
                // SAFETY: as above; 24 numbers are written.
                unsafe {
                    let [a, b, c] = transpose_back([columns[0].0, columns[1].0, columns[2].0]);
                    store_fours(a, at, 12);
                    store_fours(b, at.add(4), 12);
                    store_fours(c, at.add(8), 12);
                }
            } else if C == 2 && stride == 2 {
                assert!(out.len() >= 16);
                // SAFETY: as above; 16 numbers are written.
                unsafe {
                    store_fours(_mm256_unpacklo_ps(columns[0].0, columns[1].0), at, 8);
                    store_fours(_mm256_unpackhi_ps(columns[0].0, columns[1].0), at.add(4), 8);
                }
            } else {
                columns::store(self, columns, out, stride);
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
    _mm256_fmadd_pd _mm256_cmp_pd _mm256_blendv_pd _mm256_maskload_pd store_few_pd,
    _mm256_add_pd _mm256_sub_pd _mm256_mul_pd _mm256_div_pd _mm256_max_pd _mm256_min_pd _mm256_and_pd _mm256_andnot_pd _mm256_movemask_pd,
    _mm256_set1_pd _mm256_loadu_pd _mm256_storeu_pd _mm256_stream_pd,
    across_256_pd (_mm_add_pd _mm256_add_pd) (_mm_max_pd _mm256_max_pd),
    _mm256_castpd_si256 _mm256_castsi256_pd _mm256_add_epi64 _mm256_sub_epi64 _mm256_set1_epi64x _mm256_slli_epi64 _mm256_srli_epi64,
    52, 1023, 0x3fe6_a09e_667f_3bcd, 0x3ff0_0000_0000_0000, 0x4330_0000_0000_0000,
    [-1, -1, -1, -1, 0, 0, 0, 0],
    {
        #[inline(always)]
        fn load_columns<const C: usize>(self, xs: &[f64], stride: usize) -> [F64x4; C] {
            if C != 4 {
                return columns::load(self, xs, stride);
            }
            assert!(xs.len() >= 4 && (xs.len() - 4) / 3 >= stride);
            let (mut columns, at) = ([<Self as Simd<f64>>::splat(self, 0.0); C], xs.as_ptr());
            for (k, two) in columns.as_chunks_mut::<2>().0.iter_mut().enumerate() {
                // SAFETY: as above; the last of the 4 rows has four numbers in `xs`.
                unsafe {
                    let a = load_twos(at.add(2 * k), 2 * stride);
                    let b = load_twos(at.add(2 * k + stride), 2 * stride);
                    two[0].0 = _mm256_unpacklo_pd(a, b);
                    two[1].0 = _mm256_unpackhi_pd(a, b);
                }
            }
            columns
        }

        #[inline(always)]
        fn store_columns<const C: usize>(self, columns: [F64x4; C], out: &mut [f64], stride: usize) {
            if C != 4 {
                return columns::store(self, columns, out, stride);
            }
            assert!(out.len() >= 4 && (out.len() - 4) / 3 >= stride);
            let at = out.as_mut_ptr();
            for (k, two) in columns.as_chunks::<2>().0.iter().enumerate() {
                // SAFETY: as above; the last of the 4 rows has four numbers in `out`.
                unsafe {
                    store_twos(_mm256_unpacklo_pd(two[0].0, two[1].0), at.add(2 * k), 2 * stride);
                    store_twos(_mm256_unpackhi_pd(two[0].0, two[1].0), at.add(2 * k + stride), 2 * stride);
                }
            }
        }
    }
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

// The first lanes of a register, by halves, quarters and single lanes. AMD's processors take 12 cycles for a masked store, and
// the branches are foreseen where rows are of one length.

/// Stores the first `len` lanes, fewer than eight.
///
/// # Safety
/// The processor has AVX2, and there is space for them.
#[inline(always)]
pub(super) unsafe fn store_few_ps(v: __m256, mut at: *mut f32, len: usize) {
    unsafe {
        let mut lanes = _mm256_castps256_ps128(v);
        if len & 4 != 0 {
            _mm_storeu_ps(at, lanes);
            (lanes, at) = (_mm256_extractf128_ps::<1>(v), at.add(4));
        }
        if len & 2 != 0 {
            _mm_storel_pd(at.cast(), _mm_castps_pd(lanes));
            (lanes, at) = (_mm_movehl_ps(lanes, lanes), at.add(2));
        }
        if len & 1 != 0 {
            _mm_store_ss(at, lanes);
        }
    }
}

/// Stores the first `len` lanes, fewer than four.
///
/// # Safety
/// The processor has AVX2, and there is space for them.
#[inline(always)]
pub(super) unsafe fn store_few_pd(v: __m256d, mut at: *mut f64, len: usize) {
    unsafe {
        let mut lanes = _mm256_castpd256_pd128(v);
        if len & 2 != 0 {
            _mm_storeu_pd(at, lanes);
            (lanes, at) = (_mm256_extractf128_pd::<1>(v), at.add(2));
        }
        if len & 1 != 0 {
            _mm_store_sd(at, lanes);
        }
    }
}

// Columns. Register r holds row r and, in its upper half, the row half a register of rows further on. What transposes the
// small matrices in the halves turns the rows into columns.

/// Loads four numbers, and four that begin `apart` further on.
///
/// # Safety
/// The processor has AVX2, and all these numbers are readable.
#[inline(always)]
unsafe fn load_fours(at: *const f32, apart: usize) -> __m256 {
    unsafe { _mm256_insertf128_ps::<1>(_mm256_castps128_ps256(_mm_loadu_ps(at)), _mm_loadu_ps(at.add(apart))) }
}

/// Stores the halves of a register likewise.
///
/// # Safety
/// The processor has AVX2, and there is space for all these numbers.
#[inline(always)]
unsafe fn store_fours(halves: __m256, at: *mut f32, apart: usize) {
    unsafe {
        _mm_storeu_ps(at, _mm256_castps256_ps128(halves));
        _mm_storeu_ps(at.add(apart), _mm256_extractf128_ps::<1>(halves));
    }
}

/// [`load_fours`] of two numbers each.
///
/// # Safety
/// The processor has AVX2, and all these numbers are readable.
#[inline(always)]
unsafe fn load_twos(at: *const f64, apart: usize) -> __m256d {
    unsafe { _mm256_insertf128_pd::<1>(_mm256_castpd128_pd256(_mm_loadu_pd(at)), _mm_loadu_pd(at.add(apart))) }
}

/// [`store_fours`] of two numbers each.
///
/// # Safety
/// The processor has AVX2, and there is space for all these numbers.
#[inline(always)]
unsafe fn store_twos(halves: __m256d, at: *mut f64, apart: usize) {
    unsafe {
        _mm_storeu_pd(at, _mm256_castpd256_pd128(halves));
        _mm_storeu_pd(at.add(apart), _mm256_extractf128_pd::<1>(halves));
    }
}

/// Transposes the 4 x 4 matrices in the halves of four registers.
#[inline(always)]
fn transpose_halves([a, b, c, d]: [__m256; 4]) -> [__m256; 4] {
    // SAFETY: only methods of `Avx2` call this.
    unsafe {
        let (ab_low, ab_high) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
        let (cd_low, cd_high) = (_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
        [
            _mm256_shuffle_ps::<0b01_00_01_00>(ab_low, cd_low),
            _mm256_shuffle_ps::<0b11_10_11_10>(ab_low, cd_low),
            _mm256_shuffle_ps::<0b01_00_01_00>(ab_high, cd_high),
            _mm256_shuffle_ps::<0b11_10_11_10>(ab_high, cd_high),
        ]
    }
}

/// In each half, four rows of three numbers, one after the other, to three columns.
#[inline(always)]
fn transpose_threes([a, b, c]: [__m256; 3]) -> [__m256; 3] {
    // SAFETY: only methods of `Avx2` call this.
    unsafe {
        // x0 y0 z0 x1, y1 z1 x2 y2, z2 x3 y3 z3
        let xy = _mm256_shuffle_ps::<0b10_01_11_10>(b, c); // x2 y2 x3 y3
        let yz = _mm256_shuffle_ps::<0b01_00_10_01>(a, b); // y0 z0 y1 z1
        [
            _mm256_shuffle_ps::<0b10_00_11_00>(a, xy),
            _mm256_shuffle_ps::<0b11_01_10_00>(yz, xy),
            _mm256_shuffle_ps::<0b11_00_11_01>(yz, c),
        ]
    }
}

/// The inverse of [`transpose_threes`].
#[inline(always)]
fn transpose_back([x, y, z]: [__m256; 3]) -> [__m256; 3] {
    // SAFETY: only methods of `Avx2` call this.
    unsafe {
        let xy = _mm256_shuffle_ps::<0b10_00_10_00>(x, y); // x0 x2 y0 y2
        let yz = _mm256_shuffle_ps::<0b11_01_11_01>(y, z); // y1 y3 z1 z3
        let zx = _mm256_shuffle_ps::<0b11_01_10_00>(z, x); // z0 z2 x1 x3
        [
            _mm256_shuffle_ps::<0b10_00_10_00>(xy, zx),
            _mm256_shuffle_ps::<0b11_01_10_00>(yz, xy),
            _mm256_shuffle_ps::<0b11_01_11_01>(zx, yz),
        ]
    }
}
