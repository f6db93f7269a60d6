//! 512-bit registers: 16 `f32` or 8 `f64`. They need AVX-512 F, BW, DQ and VL, present since Skylake-X and Zen 4.
//!
//! # Safety
//! Every intrinsic below needs only the instruction set, unless its block says more. A value of these types can be made
//! only with an [`Avx512`] token, and [`Avx512::detect`] returns one only if the processor has the instruction set.

#![expect(clippy::undocumented_unsafe_blocks, reason = "one reason for all of them: see Safety above")]

use super::vectors::{
    across_128_pd, across_128_ps, across_256_pd, across_256_ps, across_512_pd, across_512_ps, vectors,
};
use super::{Half, Lanes, MAX_LANES, Mask, Simd, avx2, columns};
use core::arch::x86_64::*;

/// Proof that this processor has AVX-512 F, BW, DQ and VL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Avx512(());

impl Avx512 {
    pub(super) fn detect() -> Option<Self> {
        let found = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("popcnt");
        found.then_some(Avx512(()))
    }
}

/// Runs `f` as a separate function, with the instruction set enabled.
#[inline]
pub(super) fn enter<R>(token: Avx512, f: impl FnOnce(Avx512) -> R) -> R {
    #[inline(never)]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,popcnt")]
    fn inner<R>(token: Avx512, f: impl FnOnce(Avx512) -> R) -> R {
        f(token)
    }
    // SAFETY: `Avx512::detect` is the only place that makes a token, and it checked these features.
    unsafe { inner(token, f) }
}

/// Stores the first `len` lanes, fewer than sixteen, in parts: what is loaded from the numbers after a masked store waits for it.
///
/// # Safety
/// The processor has AVX-512, and there is space for them.
#[inline(always)]
unsafe fn store_few_ps(v: __m512, at: *mut f32, len: usize) {
    unsafe {
        if len & 8 == 0 {
            return avx2::store_few_ps(_mm512_castps512_ps256(v), at, len);
        }
        _mm256_storeu_ps(at, _mm512_castps512_ps256(v));
        avx2::store_few_ps(_mm512_extractf32x8_ps::<1>(v), at.add(8), len & 7);
    }
}

/// Stores the first `len` lanes, fewer than eight, likewise.
///
/// # Safety
/// The processor has AVX-512, and there is space for them.
#[inline(always)]
unsafe fn store_few_pd(v: __m512d, at: *mut f64, len: usize) {
    unsafe {
        if len & 4 == 0 {
            return avx2::store_few_pd(_mm512_castpd512_pd256(v), at, len);
        }
        _mm256_storeu_pd(at, _mm512_castpd512_pd256(v));
        avx2::store_few_pd(_mm512_extractf64x4_pd::<1>(v), at.add(4), len & 3);
    }
}

macro_rules! lanes {
    (
        $V:ident, $M:ident, $T:ty, $lanes:literal, $raw:ty, $mask:ty, $int:ty,
        $fma:ident $cmp:ident $blend:ident $keep:ident $load_tail:ident $store_tail:ident,
        $add:ident $sub:ident $mul:ident $div:ident $max:ident $min:ident $andnot:ident,
        $splat:ident $load:ident $store:ident $stream:ident,
        $across:ident $add_halves:tt $max_halves:tt,
        $to_int:ident $to_float:ident $iadd:ident $isub:ident $isplat:ident $up:ident $down:ident,
        $digits:literal, $bias:literal, $sqrt_half:literal, $one:literal, $magic_bits:literal,
        { $($columns:item)* }
    ) => {
        vectors!(
            Avx512: $V, $M, $T, $lanes, $raw, $mask, $int,
            $add $sub $mul $div $max $min $andnot,
            $splat $load $store $stream,
            $across $add_halves $max_halves,
            $to_int $to_float $iadd $isub _mm512_and_si512 _mm512_or_si512 $isplat $up $down,
            $digits, $bias, $sqrt_half, $one, $magic_bits,
            {}
            {
            const REGISTERS: usize = 32;

            #[inline(always)]
            fn load_tail(self, xs: &[$T], fill: $T) -> $V {
                assert!(xs.len() < $lanes);
                let mask: $mask = ((1u32 << xs.len()) - 1) as $mask;
                // SAFETY: as above; a masked load touches only the lanes of its mask.
                $V(unsafe { $load_tail($splat(fill), mask, xs.as_ptr()) })
            }

            #[inline(always)]
            fn store_tail(self, v: $V, out: &mut [$T]) {
                assert!(out.len() < $lanes);
                // SAFETY: as above; exactly `out.len()` numbers are written.
                unsafe { $store_tail(v.0, out.as_mut_ptr(), out.len()) }
            }

            $($columns)*
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
                $V(unsafe { $blend(mask.0, if_false.0, if_true.0) })
            }

            #[inline(always)]
            fn zero_where(self, mask: $M) -> Self {
                $V(unsafe { $keep(!mask.0, self.0) })
            }

            #[inline(always)]
            fn zero_unless(self, mask: $M) -> Self {
                $V(unsafe { $keep(mask.0, self.0) })
            }

            // Sums under a mask are one instruction.
            #[inline(always)]
            fn add_where(self, mask: $M, x: Self) -> Self {
                Self::select(mask, self + x, self)
            }

            #[inline(always)]
            fn add_unless(self, mask: $M, x: Self) -> Self {
                Self::select(mask, self, self + x)
            }

            #[inline(always)]
            fn zero_where_lt(self, a: Self, b: Self) -> Self {
                $V(unsafe { $keep($cmp::<_CMP_NLT_UQ>(a.0, b.0), self.0) })
            }
            }
            {
            #[inline(always)]
            fn bits(self) -> u32 {
                self.0 as u32
            }
            }
        );
    };
}

lanes!(
    F32x16, M16, f32, 16, __m512, __mmask16, i32,
    _mm512_fmadd_ps _mm512_cmp_ps_mask _mm512_mask_blend_ps _mm512_maskz_mov_ps _mm512_mask_loadu_ps store_few_ps,
    _mm512_add_ps _mm512_sub_ps _mm512_mul_ps _mm512_div_ps _mm512_max_ps _mm512_min_ps _mm512_andnot_ps,
    _mm512_set1_ps _mm512_loadu_ps _mm512_storeu_ps _mm512_stream_ps,
    across_512_ps (_mm_add_ps _mm256_add_ps) (_mm_max_ps _mm256_max_ps),
    _mm512_castps_si512 _mm512_castsi512_ps _mm512_add_epi32 _mm512_sub_epi32 _mm512_set1_epi32 _mm512_slli_epi32 _mm512_srli_epi32,
    23, 127, 0x3f35_04f3, 0x3f80_0000, 0x4b00_0000,
    {
        #[inline(always)]
        fn load_halves(self, bits: &[u16], kind: Half, _: impl Fn(u16) -> f32) -> F32x16 {
            #[expect(clippy::expect_used, reason = "kernels cut slices to whole registers")]
            let bits: &[u16; 16] = bits.first_chunk().expect("a register of numbers");
            // SAFETY: as above; exactly 16 numbers are read.
            F32x16(unsafe {
                let bits = _mm256_loadu_si256(bits.as_ptr().cast());
                match kind {
                    Half::F16 => _mm512_cvtph_ps(bits),
                    Half::Bf16 => _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(bits))),
                }
            })
        }

        #[inline(always)]
        fn store_halves(self, v: F32x16, out: &mut [u16], kind: Half, streams: bool, _: impl Fn(f32) -> u16) {
            #[expect(clippy::expect_used, reason = "kernels cut slices to whole registers")]
            let out: &mut [u16; 16] = out.first_chunk_mut().expect("space for a register of numbers");
            assert!(!streams || out.as_ptr().addr().is_multiple_of(size_of::<__m256i>()));
            // SAFETY: as above; exactly 16 numbers are written, and they are aligned where they are streamed.
            unsafe {
                let bits = match kind {
                    Half::F16 => _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(v.0),
                    Half::Bf16 => {
                        let (bits, one) = (_mm512_castps_si512(v.0), _mm512_set1_epi32(1));
                        let upper = _mm512_srli_epi32::<16>(bits);
                        // Add half a unit less one, and one more if the last kept digit is odd.
                        let odd = _mm512_and_si512(upper, one);
                        let up = _mm512_add_epi32(_mm512_set1_epi32(0x7fff), odd);
                        let rounded = _mm512_srli_epi32::<16>(_mm512_add_epi32(bits, up));
                        let is_nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(v.0, v.0);
                        let quiet = _mm512_or_si512(upper, _mm512_set1_epi32(0x40));
                        _mm512_cvtepi32_epi16(_mm512_mask_mov_epi32(rounded, is_nan, quiet))
                    }
                };
                if streams {
                    _mm256_stream_si256(out.as_mut_ptr().cast(), bits);
                } else {
                    _mm256_storeu_si256(out.as_mut_ptr().cast(), bits);
                }
            }
        }

        #[inline(always)]
        fn load_columns<const C: usize>(self, xs: &[f32], stride: usize) -> [F32x16; C] {
            let mut columns = [<Self as Simd<f32>>::splat(self, 0.0); C];
            if C == 4 {
                assert!(xs.len() >= 4 && (xs.len() - 4) / 15 >= stride);
                let at = xs.as_ptr();
                // SAFETY: as above; the last of the 16 rows has four numbers in `xs`.
                let four = unsafe {
                    transpose_quarters([
                        load_quarters(at, 4 * stride),
                        load_quarters(at.add(stride), 4 * stride),
                        load_quarters(at.add(2 * stride), 4 * stride),
                        load_quarters(at.add(3 * stride), 4 * stride),
                    ])
                };
                for (column, four) in columns.iter_mut().zip(four) {
                    column.0 = four;
                }
            } else if C == stride && (C == 2 || C == 3) {
                let (registers, _) = <Self as Simd<f32>>::registers(&xs[..16 * C]);
                for (k, column) in columns.iter_mut().enumerate() {
                    for (r, register) in registers.iter().enumerate() {
                        let numbers = <Self as Simd<f32>>::load(self, register);
                        column.0 = pick(column.0, numbers.0, &Short::<C>::LOADS[k][r]);
                    }
                }
            } else {
                columns = columns::load(self, xs, stride);
            }
            columns
        }

        #[inline(always)]
        fn store_columns<const C: usize>(self, columns: [F32x16; C], out: &mut [f32], stride: usize) {
            if C == 4 {
                assert!(out.len() >= 4 && (out.len() - 4) / 15 >= stride);
                let at = out.as_mut_ptr();
                // SAFETY: as above; the last of the 16 rows has four numbers in `out`.
                unsafe {
                    let [a, b, c, d] = transpose_quarters([columns[0].0, columns[1].0, columns[2].0, columns[3].0]);
                    store_quarters(a, at, 4 * stride);
                    store_quarters(b, at.add(stride), 4 * stride);
                    store_quarters(c, at.add(2 * stride), 4 * stride);
                    store_quarters(d, at.add(3 * stride), 4 * stride);
                }
            } else if C == stride && (C == 2 || C == 3) {
                let (registers, _) = <Self as Simd<f32>>::registers_mut(&mut out[..16 * C]);
                for (r, register) in registers.iter_mut().enumerate() {
                    let mut numbers = columns[0];
                    for (k, column) in columns.iter().enumerate() {
                        numbers.0 = pick(numbers.0, column.0, &Short::<C>::STORES[r][k]);
                    }
                    <Self as Simd<f32>>::store(self, numbers, register);
                }
            } else {
                columns::store(self, columns, out, stride);
            }
        }

        #[inline(always)]
        fn sums(self, registers: &[[f32; 16]; MAX_LANES]) -> F32x16 {
            across_each(self, registers, inlined!(|a, b| a + b))
        }

        #[inline(always)]
        fn maxima(self, registers: &[[f32; 16]; MAX_LANES]) -> F32x16 {
            across_each(self, registers, inlined!(|a, b| a.max(b)))
        }
    }
);

lanes!(
    F64x8, M8, f64, 8, __m512d, __mmask8, i64,
    _mm512_fmadd_pd _mm512_cmp_pd_mask _mm512_mask_blend_pd _mm512_maskz_mov_pd _mm512_mask_loadu_pd store_few_pd,
    _mm512_add_pd _mm512_sub_pd _mm512_mul_pd _mm512_div_pd _mm512_max_pd _mm512_min_pd _mm512_andnot_pd,
    _mm512_set1_pd _mm512_loadu_pd _mm512_storeu_pd _mm512_stream_pd,
    across_512_pd (_mm_add_pd _mm256_add_pd) (_mm_max_pd _mm256_max_pd),
    _mm512_castpd_si512 _mm512_castsi512_pd _mm512_add_epi64 _mm512_sub_epi64 _mm512_set1_epi64 _mm512_slli_epi64 _mm512_srli_epi64,
    52, 1023, 0x3fe6_a09e_667f_3bcd, 0x3ff0_0000_0000_0000, 0x4330_0000_0000_0000,
    {}
);

/// Where the numbers of 16 rows of `C` numbers, which follow each other in `C` registers, come from.
struct Short<const C: usize>;

impl<const C: usize> Short<C> {
    /// Number `C i + k` is lane `i` of column `k`: the lanes of a column that each register has.
    const LOADS: [[[i32; 16]; C]; C] = {
        let mut picks = [[[0; 16]; C]; C];
        let mut at = 0;
        while at < 16 * C * C {
            let (k, r, i) = (at / (16 * C), at / 16 % C, at % 16);
            let from = C * i + k;
            picks[k][r][i] = if from / 16 == r { 16 + (from % 16) as i32 } else { i as i32 };
            at += 1;
        }
        picks
    };
    /// The same the other way round: the lanes of a register that each column has.
    const STORES: [[[i32; 16]; C]; C] = {
        let mut picks = [[[0; 16]; C]; C];
        let mut at = 0;
        while at < 16 * C * C {
            let (r, k, i) = (at / (16 * C), at / 16 % C, at % 16);
            let to = 16 * r + i;
            picks[r][k][i] = if to % C == k { 16 + (to / C) as i32 } else { i as i32 };
            at += 1;
        }
        picks
    };
}

/// Combines all lanes of each register, the upper half with the lower half, until one number is left: lane `i` is that of
/// register `i`. Two registers share each step, so that 15 steps take the place of 64.
#[inline(always)]
fn across_each(s: Avx512, registers: &[[f32; 16]; MAX_LANES], f: impl Fn(F32x16, F32x16) -> F32x16) -> F32x16 {
    macro_rules! step {
        ($a:expr, $b:expr, $shuffle:ident, $low:literal, $high:literal) => {{
            let (a, b) = ($a, $b);
            // SAFETY: only methods of `Avx512` call this.
            unsafe { f(F32x16($shuffle::<$low>(a.0, b.0)), F32x16($shuffle::<$high>(a.0, b.0))) }
        }};
    }
    macro_rules! at {
        ($i:expr) => {
            <Avx512 as Simd<f32>>::load(s, &registers[$i])
        };
    }
    let mut rows = [at!(0); 4];
    for (i, row) in rows.iter_mut().enumerate() {
        // 1. Halves of the rows i and i + 4, and of i + 8 and i + 12.
        let a = step!(at!(i), at!(i + 4), _mm512_shuffle_f32x4, 0b01_00_01_00, 0b11_10_11_10);
        let b = step!(at!(i + 8), at!(i + 12), _mm512_shuffle_f32x4, 0b01_00_01_00, 0b11_10_11_10);
        // 2. Quarters: quarter q is of row i + 4 q.
        *row = step!(a, b, _mm512_shuffle_f32x4, 0b10_00_10_00, 0b11_01_11_01);
    }
    // 3. Within the quarters.
    let a = step!(rows[0], rows[1], _mm512_shuffle_ps, 0b01_00_01_00, 0b11_10_11_10);
    let b = step!(rows[2], rows[3], _mm512_shuffle_ps, 0b01_00_01_00, 0b11_10_11_10);
    step!(a, b, _mm512_shuffle_ps, 0b10_00_10_00, 0b11_01_11_01)
}

/// Lanes of two registers: lane `i` is lane `lanes[i]` of `a`, or, from 16 on, of `b`.
#[inline(always)]
fn pick(a: __m512, b: __m512, lanes: &[i32; 16]) -> __m512 {
    // SAFETY: only methods of `Avx512` call this; 16 numbers are read.
    unsafe { _mm512_permutex2var_ps(a, _mm512_loadu_si512(lanes.as_ptr().cast()), b) }
}

// Columns of float32: the quarters of register r hold the rows r, r + 4, r + 8 and r + 12, for r = 0 to 3. A 4 x 4
// transpose inside each quarter turns the rows into columns.

/// Loads four numbers from each of four rows that are `stride` apart.
///
/// # Safety
/// The processor has AVX-512, and all these numbers are readable.
#[inline(always)]
unsafe fn load_quarters(at: *const f32, stride: usize) -> __m512 {
    unsafe {
        let rows = _mm512_castps128_ps512(_mm_loadu_ps(at));
        let rows = _mm512_insertf32x4::<1>(rows, _mm_loadu_ps(at.add(stride)));
        let rows = _mm512_insertf32x4::<2>(rows, _mm_loadu_ps(at.add(2 * stride)));
        _mm512_insertf32x4::<3>(rows, _mm_loadu_ps(at.add(3 * stride)))
    }
}

/// Stores four rows in the layout of [`load_quarters`].
///
/// # Safety
/// The processor has AVX-512, and there is space for all these numbers.
#[inline(always)]
unsafe fn store_quarters(rows: __m512, at: *mut f32, stride: usize) {
    unsafe {
        _mm_storeu_ps(at, _mm512_castps512_ps128(rows));
        _mm_storeu_ps(at.add(stride), _mm512_extractf32x4_ps::<1>(rows));
        _mm_storeu_ps(at.add(2 * stride), _mm512_extractf32x4_ps::<2>(rows));
        _mm_storeu_ps(at.add(3 * stride), _mm512_extractf32x4_ps::<3>(rows));
    }
}

/// Transposes the 4 x 4 matrices in the quarters of four registers.
#[inline(always)]
fn transpose_quarters([a, b, c, d]: [__m512; 4]) -> [__m512; 4] {
    // SAFETY: only methods of `Avx512` call this.
    unsafe {
        let (ab_low, ab_high) = (_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
        let (cd_low, cd_high) = (_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
        [
            _mm512_shuffle_ps::<0b01_00_01_00>(ab_low, cd_low),
            _mm512_shuffle_ps::<0b11_10_11_10>(ab_low, cd_low),
            _mm512_shuffle_ps::<0b01_00_01_00>(ab_high, cd_high),
            _mm512_shuffle_ps::<0b11_10_11_10>(ab_high, cd_high),
        ]
    }
}
