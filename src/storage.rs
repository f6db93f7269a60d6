//! The types that logits are stored in and computed with: `f32` and `f64` for both; `f16` and `bf16` are computed as
//! `f32`, a block at a time.
//!
//! A block of half-precision rows is widened into scratch memory that stays in the second-level cache. The kernel is
//! the same as for other types, and its results are narrowed, rounded once, into their place. So a result is that of
//! the widened logits to the bit, and no buffer is as large as the logits. Long rows whose losses follow from their sums
//! are widened in registers instead ([`Storage::load`], [`Place::store`]), with the same results.

use crate::half::{Half, narrow, widen};
use crate::math::Real;
use crate::scratch::Scratch;
use crate::simd::{Isa, Simd, load_at};
use crate::view::{Rows, RowsIo};

/// A type that logits are stored in: `f32`, `f64`, `f16` or `bf16`.
pub trait Storage: Copy + std::fmt::Debug + Default + Send + Sync + 'static {
    /// The type that they are computed with.
    type Real: Real;
    /// Whether it is wider.
    const IS_HALF: bool;

    /// The same number in the wider type.
    fn wide(self) -> Self::Real;

    /// The numbers in the wider type, if it is their own.
    fn as_wide(numbers: &[Self]) -> Option<&[Self::Real]>;

    /// Loads a whole register of numbers, widened.
    fn load<S: Simd<Self::Real>>(s: S, numbers: &[Self]) -> S::V;

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
    /// The nearest number of this type.
    fn nearest(x: S::Real) -> Self;

    /// Stores a whole register of results, rounded. With `streams` the caches are bypassed if the processor can; then
    /// `places` must begin at a multiple of its size.
    fn store<L: Simd<S::Real>>(s: L, v: L::V, places: &mut [Self], streams: bool);

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

            #[inline(always)]
            fn wide(self) -> Self {
                self
            }

            #[inline(always)]
            fn as_wide(numbers: &[Self]) -> Option<&[Self]> {
                Some(numbers)
            }

            #[inline(always)]
            fn load<S: Simd<Self>>(s: S, numbers: &[Self]) -> S::V {
                load_at(s, numbers, 0)
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
            #[inline(always)]
            fn nearest(x: $t) -> $t {
                x
            }

            #[inline(always)]
            fn store<L: Simd<$t>>(s: L, v: L::V, places: &mut [$t], streams: bool) {
                store_wide(s, v, places, streams);
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

    #[inline(always)]
    fn wide(self) -> f32 {
        self.widen()
    }

    #[inline(always)]
    fn as_wide(_: &[Self]) -> Option<&[f32]> {
        None
    }

    #[inline(always)]
    fn load<S: Simd<f32>>(s: S, numbers: &[Self]) -> S::V {
        H::load(s, numbers)
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
    #[inline(always)]
    fn nearest(x: f32) -> Self {
        H::narrow(x)
    }

    #[inline(always)]
    fn store<L: Simd<f32>>(s: L, v: L::V, places: &mut [Self], streams: bool) {
        H::store(s, v, places, streams);
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
    #[inline(always)]
    fn nearest(x: f32) -> Self {
        x
    }

    #[inline(always)]
    fn store<L: Simd<f32>>(s: L, v: L::V, places: &mut [Self], streams: bool) {
        store_wide(s, v, places, streams);
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

/// Stores a whole register; see [`Place::store`].
#[inline(always)]
fn store_wide<T: Real, S: Simd<T>>(s: S, v: S::V, places: &mut [T], streams: bool) {
    if let Some(place) = S::registers_mut(places).0.first_mut() {
        if streams { s.stream(v, place) } else { s.store(v, place) }
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
    use half::{bf16, f16};

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
