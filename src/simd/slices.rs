//! Loops over slices, one register at a time, from which kernels are built. They handle the tails.

use super::{Float, Lanes, Mask, Simd};

/// The prefetch distance in elements: during long computations the core would otherwise not request the next data.
pub(crate) const AHEAD: usize = 2048;

/// The length of a part of a row whose sum may be taken in the precision of the lanes: `most` elements. Narrow registers
/// take half as many in single precision, since they add more numbers one after the other.
#[inline(always)]
pub(crate) fn short<T: Float, S: Simd<T>>(_: S, most: usize) -> usize {
    if size_of::<T>() == 4 { most.min(most / 8 * S::LANES) } else { most }
}

/// Splits a scratch buffer into parts of these lengths.
#[inline(always)]
pub(crate) fn split<const N: usize, T>(mut scratch: &mut [T], lens: [usize; N]) -> [&mut [T]; N] {
    lens.map(|len| {
        let (part, rest) = std::mem::take(&mut scratch).split_at_mut(len);
        scratch = rest;
        part
    })
}

/// A number that another thread may be writing to: the compiler must not read it again between a test and its use.
#[inline(always)]
pub(crate) fn read_once<N: Copy>(number: &N) -> N {
    // SAFETY: a reference is valid for a read.
    unsafe { std::ptr::read_volatile(number) }
}

/// The register that starts at `xs[i]`; past the end of the slice its lanes hold `fill`.
#[inline(always)]
pub(crate) fn read<T: Float, S: Simd<T>>(s: S, xs: &[T], i: usize, fill: T) -> S::V {
    let rest = xs.get(i..).unwrap_or_default();
    match S::registers(rest).0.first() {
        Some(register) => s.load(register),
        None => s.load_tail(rest, fill),
    }
}

/// Writes a register to `out[i]` and after; lanes past the end of the slice are dropped.
#[inline(always)]
pub(crate) fn write<T: Float, S: Simd<T>>(s: S, v: S::V, out: &mut [T], i: usize) {
    let rest = out.get_mut(i..).unwrap_or_default();
    match S::registers_mut(rest).0.first_mut() {
        Some(register) => s.store(v, register),
        None => s.store_tail(v, rest),
    }
}

/// The whole register that starts at `xs[i]`.
#[inline(always)]
pub(crate) fn load_at<T: Float, S: Simd<T>>(s: S, xs: &[T], i: usize) -> S::V {
    s.load(&S::registers(&xs[i..]).0[0])
}

/// Writes a whole register to `out[i]` and after.
#[inline(always)]
pub(crate) fn store_at<T: Float, S: Simd<T>>(s: S, v: S::V, out: &mut [T], i: usize) {
    s.store(v, &mut S::registers_mut(&mut out[i..]).0[0]);
}

/// The lanes of a register as an array.
#[inline(always)]
pub(crate) fn lanes_of<T: Float, S: Simd<T>>(s: S, v: S::V) -> S::Array {
    let mut lanes = S::Array::default();
    s.store(v, &mut lanes);
    lanes
}

/// The position of a register in slices of the same length, and whether all of it lies inside. The flag is a constant
/// after inlining, so a loop over whole registers has no branch for a partial one.
#[derive(Clone, Copy)]
pub(crate) struct Offset {
    register: usize,
    is_whole: bool,
}

impl Offset {
    /// The index of the first element.
    #[inline(always)]
    pub(crate) fn first<T: Float, S: Simd<T>>(self, _: S) -> usize {
        self.register * S::LANES
    }

    /// Whether all lanes lie inside.
    #[inline(always)]
    pub(crate) fn is_whole(self) -> bool {
        self.is_whole
    }

    /// The register at this position; past the end of the slice its lanes hold `fill`.
    #[inline(always)]
    pub(crate) fn read<T: Float, S: Simd<T>>(self, s: S, xs: &[T], fill: T) -> S::V {
        let (whole, tail) = S::registers(xs);
        if self.is_whole { s.load(&whole[self.register]) } else { s.load_tail(tail, fill) }
    }

    /// Writes a register to this position; lanes past the end of the slice are dropped.
    #[inline(always)]
    pub(crate) fn write<T: Float, S: Simd<T>>(self, s: S, v: S::V, out: &mut [T]) {
        let (whole, tail) = S::registers_mut(out);
        if self.is_whole { s.store(v, &mut whole[self.register]) } else { s.store_tail(v, tail) }
    }
}

/// The sum of `f` over the registers of `len` elements: in the type `T` within blocks of `block` elements, in double
/// precision between blocks. `f` also gets the last, partial register; its lanes past the end are excluded.
#[inline(always)]
pub(crate) fn sum_registers<T: Float, S: Simd<T>>(
    s: S,
    len: usize,
    block: usize,
    mut f: impl FnMut(Offset) -> S::V,
) -> f64 {
    let (mut total, whole, step) = (0.0, len / S::LANES, block / S::LANES);
    for start in (0..whole).step_by(step) {
        let mut sum = s.splat(T::ZERO);
        for register in start..whole.min(start + step) {
            sum = sum + f(Offset { register, is_whole: true });
        }
        total += sum.sum().to_f64();
    }
    if !len.is_multiple_of(S::LANES) {
        total += sum_of_first(s, f(Offset { register: whole, is_whole: false }), len % S::LANES);
    }
    total
}

/// The registers for which the first part of their work is done before the rest for the first of them.
const TOGETHER: usize = 32;

/// [`sum_registers`] of `f(work, at, begin(work, at))`. If it `begins`, what comes first is a step of its own.
#[inline(always)]
pub(crate) fn sum_registers_in_two<T: Float, S: Simd<T>, W>(
    s: S,
    [len, block]: [usize; 2],
    work: &mut W,
    begins: bool,
    begin: impl Fn(&W, Offset) -> S::V,
    f: impl Fn(&mut W, Offset, S::V) -> S::V,
) -> f64 {
    if !begins {
        return sum_registers(
            s,
            len,
            block,
            inlined!(|at| {
                let begun = begin(work, at);
                f(work, at, begun)
            }),
        );
    }
    let (mut total, whole, step) = (0.0, len / S::LANES, block / S::LANES);
    let mut begun = [S::Array::default(); TOGETHER];
    for start in (0..whole).step_by(step) {
        let (mut sum, end) = (s.splat(T::ZERO), whole.min(start + step));
        for part in (start..end).step_by(TOGETHER) {
            let part = part..end.min(part + TOGETHER);
            for (register, begun) in part.clone().zip(&mut begun) {
                s.store(begin(work, Offset { register, is_whole: true }), begun);
            }
            for (register, begun) in part.zip(&begun) {
                sum = sum + f(work, Offset { register, is_whole: true }, s.load(begun));
            }
        }
        total += sum.sum().to_f64();
    }
    if !len.is_multiple_of(S::LANES) {
        let at = Offset { register: whole, is_whole: false };
        let begun = begin(work, at);
        total += sum_of_first(s, f(work, at, begun), len % S::LANES);
    }
    total
}

/// The sum of the first `count` lanes, fewer than a register has.
#[inline(always)]
pub(crate) fn sum_of_first<T: Float, S: Simd<T>>(s: S, v: S::V, count: usize) -> f64 {
    let mut lanes = S::Array::default();
    s.store_tail(v, &mut lanes.as_mut()[..count]);
    s.load(&lanes).sum().to_f64()
}

/// Folds `f(acc, n, register n)` over registers with `N` accumulators that do not wait for each other.
#[inline(always)]
pub(crate) fn fold_registers<const N: usize, T: Float, S: Simd<T>, A: Copy>(
    s: S,
    registers: &[S::Array],
    init: A,
    f: impl Fn(A, usize, S::V) -> A,
) -> [A; N] {
    let (groups, others) = registers.as_chunks::<N>();
    let mut acc = [init; N];
    for (g, group) in groups.iter().enumerate() {
        for (n, register) in group.iter().enumerate() {
            acc[n] = f(acc[n], g * N + n, s.load(register));
        }
    }
    for (n, register) in others.iter().enumerate() {
        acc[0] = f(acc[0], groups.len() * N + n, s.load(register));
    }
    acc
}

/// Whether the registers of an instruction set hold no more than two accumulators beside what a kernel needs. Four then
/// take half of the numbers each two.
#[inline(always)]
pub(super) fn are_too_many<const N: usize, T: Float, S: Simd<T>>(_: S) -> bool {
    N == 4 && S::REGISTERS < 32
}

/// Folds `f(acc, i, register at i)` over a slice with `N` accumulators that do not wait for each other.
///
/// The last, partial register is filled with `fill`, which must not change the result of `f`.
#[inline(always)]
pub(crate) fn fold<const N: usize, T: Float, S: Simd<T>, A: Copy>(
    s: S,
    xs: &[T],
    fill: T,
    init: A,
    f: impl Fn(A, usize, S::V) -> A,
) -> [A; N] {
    let (registers, tail) = S::registers(xs);
    let (groups, others) = registers.as_chunks::<N>();
    let (mut acc, mut i) = ([init; N], 0);
    if are_too_many::<N, T, S>(s) {
        let (pairs, _) = registers.as_chunks::<2>();
        for half in 0..2 {
            let mut two = [init; 2];
            for pair in &pairs[half * groups.len()..][..groups.len()] {
                for (acc, register) in two.iter_mut().zip(pair) {
                    *acc = f(*acc, i, s.load(register));
                    i += S::LANES;
                }
            }
            acc[2 * half..][..2].copy_from_slice(&two);
        }
    } else {
        for group in groups {
            for (acc, register) in acc.iter_mut().zip(group) {
                *acc = f(*acc, i, s.load(register));
                i += S::LANES;
            }
        }
    }
    // The remaining registers and the partial one share one copy of `f`.
    for n in 0..others.len() + usize::from(!tail.is_empty()) {
        let register = match others.get(n) {
            Some(register) => s.load(register),
            None => s.load_tail(tail, fill),
        };
        acc[0] = f(acc[0], i, register);
        i += S::LANES;
    }
    acc
}

/// The index of the first element equal to `x`.
#[inline(always)]
pub(crate) fn position<T: Float, S: Simd<T>>(s: S, xs: &[T], x: T) -> Option<usize> {
    let wanted = s.splat(x);
    // The filler differs from `x`, so that the tail does not match past the end.
    let fill = if x == T::ZERO { T::ONE } else { T::ZERO };
    // This is a loop, not `find_map`: the closure would not always be inlined, and would then lack the instruction set.
    for i in (0..xs.len()).step_by(S::LANES) {
        let hits = read(s, xs, i, fill).eq(wanted).bits();
        if hits != 0 {
            return Some(i + hits.trailing_zeros() as usize);
        }
    }
    None
}
