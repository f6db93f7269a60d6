//! The types that logits are stored in and computed with: `f32` and `f64` for both; `f16` and `bf16` are computed as
//! `f32`, a block at a time.
//!
//! A block of half-precision rows is widened into scratch memory that stays in the second-level cache. The kernel is
//! the same as for other types, and its results are narrowed, rounded once, into their place. So a result is that of
//! the widened logits to the bit, and no buffer is as large as the logits. Long rows whose losses follow from their sums
//! are widened in registers instead ([`Numbers`]), with the same results.

use crate::half::{Half, narrow, widen};
use crate::math::Real;
use crate::scratch::Scratch;
use crate::simd::{self, Isa, Simd, inlined};
use crate::view::{Rows, RowsIo};
use half::{bf16, f16};
use std::ops::Range;

/// A type that logits are stored in: `f32`, `f64`, `f16` or `bf16`.
pub trait Storage: Copy + std::fmt::Debug + Default + Send + Sync + 'static {
    /// The type that they are computed with.
    type Real: Real;
    /// Whether it is wider.
    const IS_HALF: bool;

    /// The same numbers, of a type that does not depend on this one.
    fn numbers(numbers: &[Self]) -> Numbers<'_, Self::Real>;

    /// Calls `f` with the widened numbers of a block.
    fn widened<R>(isa: Isa, rows: Rows<'_, Self>, f: impl FnOnce(Rows<'_, Self::Real>) -> R) -> R;

    /// Rounds results to this type.
    fn narrowed(isa: Isa, from: &[Self::Real], to: &mut [Self]);

    /// Largest rounding error of the sum of `classes` probabilities stored in this type: that of each number, and that
    /// of the sum that they were divided by. Numbers in double precision may come from single precision, by way of a
    /// list or a file, and have its errors.
    fn sum_tolerance(classes: usize) -> f64;
}

/// A type of results with the shape of logits of type `S`: `S` itself, or the type that it is computed with.
pub trait Place<S: Storage>: Copy + Default + Send + Sync + 'static {
    /// Whether a kernel writes its results there itself.
    const IS_DIRECT: bool = true;

    /// The same places, of a type that does not depend on this one.
    fn numbers_mut(places: &mut [Self]) -> NumbersMut<'_, S::Real>;

    /// Calls `f` with the widened numbers of a block and places for results.
    fn filled<R>(isa: Isa, rows: RowsIo<'_, S, Self>, f: impl FnOnce(RowsIo<'_, S::Real>) -> R) -> R;

    /// Calls `f` with places for results alone.
    fn results<R>(isa: Isa, places: &mut [Self], f: impl FnOnce(&mut [S::Real]) -> R) -> R;

    /// The input.
    fn source<'r>(rows: &'r RowsIo<'_, S, Self>) -> Rows<'r, S>;
}

macro_rules! as_they_are {
    ($($t:ty)+) => {
        $(impl Storage for $t {
            type Real = Self;
            const IS_HALF: bool = false;

            fn numbers(numbers: &[Self]) -> Numbers<'_, Self> {
                Numbers::Real(numbers)
            }

            #[inline(always)]
            fn widened<R>(_: Isa, rows: Rows<'_, Self>, f: impl FnOnce(Rows<'_, Self>) -> R) -> R {
                f(rows)
            }

            fn narrowed(_: Isa, from: &[Self], to: &mut [Self]) {
                to.copy_from_slice(from);
            }

            fn sum_tolerance(classes: usize) -> f64 {
                4.0 * f64::from(f32::EPSILON) * (1.0 + (classes as f64).sqrt())
            }
        }

        impl Place<$t> for $t {
            fn numbers_mut(places: &mut [Self]) -> NumbersMut<'_, Self> {
                NumbersMut::Real(places)
            }

            #[inline(always)]
            fn filled<R>(_: Isa, rows: RowsIo<'_, Self>, f: impl FnOnce(RowsIo<'_, Self>) -> R) -> R {
                f(rows)
            }

            #[inline(always)]
            fn results<R>(_: Isa, places: &mut [Self], f: impl FnOnce(&mut [Self]) -> R) -> R {
                f(places)
            }

            fn source<'r>(rows: &'r RowsIo<'_, Self>) -> Rows<'r, Self> {
                rows.source()
            }
        })+
    };
}

as_they_are!(f32 f64);

impl<H: Half> Storage for H {
    type Real = f32;
    const IS_HALF: bool = true;

    fn numbers(numbers: &[Self]) -> Numbers<'_, f32> {
        Numbers::Half(H::KIND, H::bits(numbers))
    }

    fn widened<R>(isa: Isa, rows: Rows<'_, Self>, f: impl FnOnce(Rows<'_, f32>) -> R) -> R {
        f32::with_scratch(rows.rows() * rows.columns(), |scratch| {
            widen_rows(isa, &rows, scratch);
            f(Rows::packed(scratch, rows.rows(), rows.columns()))
        })
    }

    fn narrowed(isa: Isa, from: &[f32], to: &mut [Self]) {
        narrow(isa, from, to);
    }

    /// Subnormal numbers of `f16`, which occur with a thousand classes, have a larger relative error.
    fn sum_tolerance(classes: usize) -> f64 {
        4.0 * H::EPSILON + f32::sum_tolerance(classes) + 0.5 * H::SMALLEST * classes as f64
    }
}

impl<H: Half> Place<H> for H {
    fn numbers_mut(places: &mut [Self]) -> NumbersMut<'_, f32> {
        NumbersMut::Half(H::KIND, H::bits_mut(places))
    }

    fn filled<R>(isa: Isa, mut rows: RowsIo<'_, Self>, f: impl FnOnce(RowsIo<'_, f32>) -> R) -> R {
        f32::with_scratch(rows.rows() * rows.columns(), |scratch| {
            widen_rows(isa, &rows.source(), scratch);
            let result = f(RowsIo::over(scratch, rows.rows(), rows.columns()));
            narrow(isa, scratch, rows.target());
            result
        })
    }

    fn results<R>(isa: Isa, places: &mut [Self], f: impl FnOnce(&mut [f32]) -> R) -> R {
        f32::with_scratch(places.len(), |scratch| {
            let result = f(scratch);
            narrow(isa, scratch, places);
            result
        })
    }

    fn source<'r>(rows: &'r RowsIo<'_, Self>) -> Rows<'r, Self> {
        rows.source()
    }
}

/// Results in single precision: the widened numbers are written to their place.
impl<H: Half> Place<H> for f32 {
    fn numbers_mut(places: &mut [Self]) -> NumbersMut<'_, f32> {
        NumbersMut::Real(places)
    }

    fn filled<R>(isa: Isa, mut rows: RowsIo<'_, H, Self>, f: impl FnOnce(RowsIo<'_, f32>) -> R) -> R {
        let (source, count, classes) = (rows.apart(), rows.rows(), rows.columns());
        let target = rows.target();
        if let Some(source) = source {
            widen_rows(isa, &source, target);
        }
        f(RowsIo::over(target, count, classes))
    }

    fn results<R>(_: Isa, places: &mut [Self], f: impl FnOnce(&mut [f32]) -> R) -> R {
        f(places)
    }

    /// The input is always apart, as it is of another type than the results.
    fn source<'r>(rows: &'r RowsIo<'_, H, Self>) -> Rows<'r, H> {
        rows.apart().unwrap_or(Rows::packed(&[], 0, 0))
    }
}

/// Numbers that are computed with as `T`, whatever type they are stored in: long rows of any type share one kernel.
#[derive(Clone, Copy, Debug)]
pub enum Numbers<'a, T> {
    /// Numbers of the type of the computation.
    Real(&'a [T]),
    /// The bits of numbers in half precision.
    Half(simd::Half, &'a [u16]),
}

impl<'a, T: Real> Numbers<'a, T> {
    /// Kernels in double precision have no code for halves.
    #[inline(always)]
    pub(crate) fn halves(self) -> Option<(simd::Half, &'a [u16])> {
        match self {
            Numbers::Half(kind, bits) if is_single::<T>() => Some((kind, bits)),
            _ => None,
        }
    }

    /// Some of the numbers.
    #[inline(always)]
    pub(crate) fn part(self, part: Range<usize>) -> Self {
        match self {
            Numbers::Real(numbers) => Numbers::Real(&numbers[part]),
            Numbers::Half(kind, bits) => Numbers::Half(kind, &bits[part]),
        }
    }

    /// One of the numbers, widened.
    #[inline(always)]
    pub(crate) fn get(self, i: usize) -> T {
        match self {
            Numbers::Real(numbers) => numbers[i],
            Numbers::Half(simd::Half::F16, bits) => wide(f16::from_bits(bits[i])),
            Numbers::Half(simd::Half::Bf16, bits) => wide(bf16::from_bits(bits[i])),
        }
    }
}

/// Places for results that are computed as `T`, whatever type they are stored in.
#[derive(Debug)]
pub enum NumbersMut<'a, T> {
    /// Places of the type of the computation.
    Real(&'a mut [T]),
    /// Places for the bits of results in half precision.
    Half(simd::Half, &'a mut [u16]),
}

impl<T: Real> NumbersMut<'_, T> {
    /// The numbers there.
    #[inline(always)]
    pub(crate) fn read(&self) -> Numbers<'_, T> {
        match self {
            NumbersMut::Real(places) => Numbers::Real(places),
            NumbersMut::Half(kind, places) => Numbers::Half(*kind, places),
        }
    }

    /// Some of the places.
    #[inline(always)]
    pub(crate) fn part(&mut self, part: Range<usize>) -> NumbersMut<'_, T> {
        match self {
            NumbersMut::Real(places) => NumbersMut::Real(&mut places[part]),
            NumbersMut::Half(kind, places) => NumbersMut::Half(*kind, &mut places[part]),
        }
    }

    /// Fills all places with 0, whose bits are 0.
    pub(crate) fn clear(&mut self) {
        match self {
            NumbersMut::Real(places) => places.fill(T::ZERO),
            NumbersMut::Half(_, places) => places.fill(0),
        }
    }

    /// Writes one result, rounded to nearest.
    #[inline(always)]
    pub(crate) fn set(&mut self, i: usize, x: T) {
        match self {
            NumbersMut::Real(places) => places[i] = x,
            NumbersMut::Half(simd::Half::F16, places) => places[i] = narrowed::<_, f16>(x).to_bits(),
            NumbersMut::Half(simd::Half::Bf16, places) => places[i] = narrowed::<_, bf16>(x).to_bits(),
        }
    }

    /// The number of places before the first one whose address is a multiple of `bytes`.
    pub(crate) fn before_multiple_of(&self, bytes: usize) -> usize {
        let (address, size, len) = match self {
            NumbersMut::Real(places) => (places.as_ptr().addr(), size_of::<T>(), places.len()),
            NumbersMut::Half(_, places) => (places.as_ptr().addr(), size_of::<u16>(), places.len()),
        };
        (address.wrapping_neg() % bytes / size).min(len)
    }

    /// Writes `f` of each register to some of the places, rounded. With `streams` the caches are bypassed if the
    /// processor can; then the part must begin at a multiple of the size of a register.
    #[inline(always)]
    pub(crate) fn store<S: Simd<T>>(
        &mut self,
        s: S,
        part: Range<usize>,
        registers: &[S::Array],
        streams: bool,
        f: impl Fn(S::V) -> S::V,
    ) {
        match self {
            NumbersMut::Real(places) => {
                for (place, register) in S::registers_mut(&mut places[part]).0.iter_mut().zip(registers) {
                    let v = f(s.load(register));
                    if streams { s.stream(v, place) } else { s.store(v, place) }
                }
            }
            NumbersMut::Half(kind, places) if is_single::<T>() => {
                for (places, register) in places[part].chunks_exact_mut(S::LANES).zip(registers) {
                    store_half(s, f(s.load(register)), *kind, places, streams);
                }
            }
            NumbersMut::Half(..) => unreachable!("halves are computed in single precision"),
        }
    }
}

/// Results in single precision of logits in double precision: a block at a time is computed beside, and rounded.
impl Place<f64> for f32 {
    const IS_DIRECT: bool = false;

    fn numbers_mut(_: &mut [Self]) -> NumbersMut<'_, f64> {
        unreachable!("results are computed beside")
    }

    fn filled<R>(_: Isa, mut rows: RowsIo<'_, f64, Self>, f: impl FnOnce(RowsIo<'_, f64>) -> R) -> R {
        let source = rows.apart().unwrap_or(Rows::packed(&[], 0, 0));
        f64::with_scratch(rows.rows() * rows.columns(), |scratch| {
            let result = f(RowsIo::beside(source, scratch));
            rounded(scratch, rows.target());
            result
        })
    }

    fn results<R>(_: Isa, places: &mut [Self], f: impl FnOnce(&mut [f64]) -> R) -> R {
        f64::with_scratch(places.len(), |scratch| {
            let result = f(scratch);
            rounded(scratch, places);
            result
        })
    }

    fn source<'r>(rows: &'r RowsIo<'_, f64, Self>) -> Rows<'r, f64> {
        rows.apart().unwrap_or(Rows::packed(&[], 0, 0))
    }
}

fn rounded(from: &[f64], to: &mut [f32]) {
    to.iter_mut().zip(from).for_each(|(to, &x)| *to = x as f32);
}

#[inline(always)]
fn is_single<T>() -> bool {
    size_of::<T>() == size_of::<f32>()
}

#[inline(always)]
fn wide<T: Real, H: Half>(x: H) -> T {
    T::from_f64(f64::from(x.widen()))
}

/// For `T = f32` it is rounded once.
#[inline(always)]
fn narrowed<T: Real, H: Half>(x: T) -> H {
    H::narrow(x.to_f64() as f32)
}

/// Widens a whole register of numbers in half precision.
#[inline(always)]
pub(crate) fn load_half<T: Real, S: Simd<T>>(s: S, kind: simd::Half, bits: &[u16]) -> S::V {
    match kind {
        simd::Half::F16 => s.load_halves(bits, kind, inlined!(|bits| wide(f16::from_bits(bits)))),
        simd::Half::Bf16 => s.load_halves(bits, kind, inlined!(|bits| wide(bf16::from_bits(bits)))),
    }
}

/// Narrows a whole register of numbers.
#[inline(always)]
fn store_half<T: Real, S: Simd<T>>(s: S, v: S::V, kind: simd::Half, bits: &mut [u16], streams: bool) {
    match kind {
        simd::Half::F16 => s.store_halves(v, bits, kind, streams, inlined!(|x| narrowed::<_, f16>(x).to_bits())),
        simd::Half::Bf16 => s.store_halves(v, bits, kind, streams, inlined!(|x| narrowed::<_, bf16>(x).to_bits())),
    }
}

/// Widens rows of any stride to contiguous rows.
fn widen_rows<H: Half>(isa: Isa, rows: &Rows<'_, H>, to: &mut [f32]) {
    if rows.is_flat() {
        widen(isa, rows.flat(), to);
    } else if rows.columns() > 0 {
        for (i, to) in to.chunks_exact_mut(rows.columns()).enumerate() {
            widen(isa, rows.row(i), to);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Doubles numbers on every path of a type.
    fn check<H: Half + PartialEq + std::fmt::Debug>() {
        let half = |x: usize| H::narrow(x as f32);
        let double = |mut rows: RowsIo<'_, f32>| {
            for i in 0..rows.rows() {
                let mut row = rows.row(i, &mut []);
                let doubled: Vec<f32> = row.source().iter().map(|x| 2.0 * x).collect();
                row.output().copy_from_slice(&doubled);
            }
        };
        for isa in Isa::available() {
            for (rows, classes, stride) in [(3, 5, 5), (3, 5, 7), (1, 40, 40), (0, 3, 3), (4, 0, 2), (2, 0, 0)] {
                let len = if rows == 0 { 0 } else { (rows - 1) * stride + classes };
                let data: Vec<H> = (0..len).map(half).collect();
                let packed: Vec<H> = (0..rows * classes).map(|i| half(i / classes * stride + i % classes)).collect();
                let twice: Vec<f32> = packed.iter().map(|x| 2.0 * x.widen()).collect();
                let narrow: Vec<H> = twice.iter().map(|&x| H::narrow(x)).collect();
                let view = Rows::with_stride("logits", &data, rows, classes, stride).unwrap();

                H::widened(isa, view, |wide| {
                    assert_eq!((wide.rows(), wide.columns()), (rows, classes));
                    assert_eq!(wide.flat(), packed.iter().map(|x| x.widen()).collect::<Vec<_>>());
                    H::widened(isa, view, |other| assert_eq!(other.flat(), wide.flat(), "two at once"));
                });

                let mut beside = vec![half(77); rows * classes];
                H::filled(isa, RowsIo::new(view, &mut beside).unwrap(), double);
                assert_eq!(beside, narrow);

                let mut wide = vec![77.0; rows * classes];
                f32::filled(isa, RowsIo::new(view, &mut wide).unwrap(), double);
                assert_eq!(wide, twice);

                let mut over = packed.clone();
                H::filled(isa, RowsIo::in_place(&mut over, rows, classes).unwrap(), double);
                assert_eq!(over, narrow);
            }
        }
    }

    #[test]
    fn blocks_are_widened_and_narrowed_beside_over_and_apart() {
        check::<f16>();
        check::<bf16>();
    }
}
