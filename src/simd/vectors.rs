//! The lanes of all x86-64 instruction sets: everything but FMA, masks and partial registers, which differ.

/// Defines a register type, its mask, and their operations, from the names of the intrinsics. The operations in braces are
/// those of the instruction set's own: of the register, of `Simd`, of `Lanes`, and of `Mask`.
macro_rules! vectors {
    (
        $Isa:ident: $V:ident, $M:ident, $T:ty, $lanes:literal, $raw:ty, $mask:ty, $int:ty,
        $add:ident $sub:ident $mul:ident $div:ident $max:ident $min:ident $andnot:ident,
        $splat:ident $load:ident $store:ident $stream:ident,
        $across:ident ($($add_half:ident)+) ($($max_half:ident)+),
        $to_int:ident $to_float:ident $iadd:ident $isub:ident $iand:ident $ior:ident $isplat:ident $up:ident $down:ident,
        $digits:literal, $bias:literal, $sqrt_half:literal, $one:literal, $magic_bits:literal,
        { $($register:item)* } { $($simd:item)* } { $($lane:item)* } { $($truth:item)* }
    ) => {
        #[doc = concat!("`", stringify!($lanes), "` lanes of `", stringify!($T), "`.")]
        #[derive(Clone, Copy, Debug)]
        pub struct $V($raw);

        #[doc = concat!("`", stringify!($lanes), "` truth values.")]
        #[derive(Clone, Copy, Debug)]
        pub struct $M($mask);

        impl $V {
            $($register)*
        }

        impl Simd<$T> for $Isa {
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
            fn store(self, v: $V, out: &mut [$T; $lanes]) {
                // SAFETY: as above; exactly one register is written.
                unsafe { $store(out.as_mut_ptr(), v.0) }
            }

            $($simd)*

            #[inline(always)]
            fn stream(self, v: $V, out: &mut [$T; $lanes]) {
                assert!(out.as_ptr().addr().is_multiple_of(size_of::<$raw>()));
                // SAFETY: as above; exactly one register is written, and it is aligned.
                unsafe { $stream(out.as_mut_ptr(), v.0) }
            }

            #[inline(always)]
            fn fence(self) {
                unsafe { _mm_sfence() }
            }

            #[inline(always)]
            fn prefetch<M>(self, xs: &[M], i: usize) {
                unsafe { _mm_prefetch::<_MM_HINT_T0>(xs.as_ptr().wrapping_add(i).cast()) }
            }

            // The intrinsic needs a feature that has no stable name. Processors without it execute a no-op.
            #[inline(always)]
            fn prefetch_to_write<M>(self, xs: &[M], i: usize) {
                let at = xs.as_ptr().wrapping_add(i);
                // SAFETY: a hint, which touches no memory and cannot fault, whatever the address.
                unsafe { core::arch::asm!("prefetchw [{}]", in(reg) at, options(nostack, preserves_flags, readonly)) }
            }
        }

        impl Lanes<$T> for $V {
            type Mask = $M;

            $($lane)*

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
                    let fraction = $iand(cut, $isplat((1 << $digits) - 1));
                    let m = $to_float($iadd(fraction, $isplat($sqrt_half)));
                    let k = $sub($to_float($ior(field, $isplat($magic_bits))), $splat(MAGIC));
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
                    let near = $isub(bits, $iand(apart, $isplat((1 << $digits) - 1)));
                    let field = $down::<$digits>(apart);
                    let k = $sub($to_float($ior(field, $isplat($magic_bits))), $splat(POWER + SIGN));
                    ($V($to_float(near)), $V(k))
                }
            }

            #[inline(always)]
            fn sum(self) -> $T {
                unsafe { $across!(self.0, $($add_half),+) }
            }

            #[inline(always)]
            fn largest(self) -> $T {
                unsafe { $across!(self.0, $($max_half),+) }
            }
        }

        impl Mask for $M {
            $($truth)*
        }

        operators! { $V:
            Add add (a, b) => $V(unsafe { $add(a.0, b.0) });
            Sub sub (a, b) => $V(unsafe { $sub(a.0, b.0) });
            Mul mul (a, b) => $V(unsafe { $mul(a.0, b.0) });
            Div div (a, b) => $V(unsafe { $div(a.0, b.0) });
        }
    };
}
pub(super) use vectors;

// Combine all lanes of a register: the upper half with the lower half, until one number is left. The names are those of
// the operation on 128 bits, then 256.

macro_rules! across_128_ps {
    ($v:expr, $op:ident) => {{
        let v = $v;
        let v = $op(v, _mm_movehl_ps(v, v));
        _mm_cvtss_f32($op(v, _mm_shuffle_ps::<1>(v, v)))
    }};
}

macro_rules! across_128_pd {
    ($v:expr, $op:ident) => {{
        let v = $v;
        _mm_cvtsd_f64($op(v, _mm_unpackhi_pd(v, v)))
    }};
}

macro_rules! across_256_ps {
    ($v:expr, $op:ident, $wide:ident) => {{
        let v = $v;
        across_128_ps!($op(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v)), $op)
    }};
}

macro_rules! across_256_pd {
    ($v:expr, $op:ident, $wide:ident) => {{
        let v = $v;
        across_128_pd!($op(_mm256_castpd256_pd128(v), _mm256_extractf128_pd::<1>(v)), $op)
    }};
}

macro_rules! across_512_ps {
    ($v:expr, $op:ident, $wide:ident) => {{
        let v = $v;
        across_256_ps!($wide(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps::<1>(v)), $op, $wide)
    }};
}

macro_rules! across_512_pd {
    ($v:expr, $op:ident, $wide:ident) => {{
        let v = $v;
        across_256_pd!($wide(_mm512_castpd512_pd256(v), _mm512_extractf64x4_pd::<1>(v)), $op, $wide)
    }};
}

pub(super) use {across_128_pd, across_128_ps, across_256_pd, across_256_ps, across_512_pd, across_512_ps};
