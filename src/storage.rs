//! How logits are stored, and what they are computed with: `f32` and `f64` as they are; `f16` and `bf16` as `f32`, a block
//! at a time.
//!
//! A block of half-precision rows is widened into scratch memory that stays in the second-level cache, goes through the
//! same kernel as any other, and what the kernel has written is narrowed into its place: rounded once. So a result is that
//! of the widened logits to the bit, and nothing as large as the logits is ever made.

use crate::half::{Half, narrow, widen};
use crate::math::Real;
use crate::simd::Isa;
use crate::view::{Rows, RowsIo};
use std::cell::RefCell;

/// A type that logits are stored in: `f32`, `f64`, `f16` or `bf16`.
pub trait Storage: Copy + std::fmt::Debug + Default + Send + Sync + 'static {
    /// What they are computed with.
    type Real: Real;

    /// Hands the numbers of a block to `f`.
    fn widened<R>(isa: Isa, rows: Rows<'_, Self>, f: impl FnOnce(Rows<'_, Self::Real>) -> R) -> R;

    /// Rounds results to this type.
    fn narrowed(isa: Isa, from: &[Self::Real], to: &mut [Self]);

    /// By how much so many numbers of this type may miss the sum 1 that they would have without rounding: what each lost when
    /// it was rounded to this type, and what the sum that they were divided by had lost before.
    fn sum_tolerance(classes: usize) -> f64;
}

/// A type that results of the shape of logits of type `S` may have: `S` itself, or what it is computed with.
pub trait Place<S: Storage>: Copy + Default + Send + Sync + 'static {
    /// Hands the numbers of a block to `f`, with places for its results.
    fn filled<R>(isa: Isa, rows: RowsIo<'_, S, Self>, f: impl FnOnce(RowsIo<'_, S::Real>) -> R) -> R;

    /// Hands `f` places for results alone.
    fn results<R>(isa: Isa, places: &mut [Self], f: impl FnOnce(&mut [S::Real]) -> R) -> R;

    /// The numbers that are read.
    fn source<'r>(rows: &'r RowsIo<'_, S, Self>) -> Rows<'r, S>;
}

macro_rules! as_they_are {
    ($($t:ty)+) => {
        $(impl Storage for $t {
            type Real = Self;

            #[inline(always)]
            fn widened<R>(_: Isa, rows: Rows<'_, Self>, f: impl FnOnce(Rows<'_, Self>) -> R) -> R {
                f(rows)
            }

            fn narrowed(_: Isa, from: &[Self], to: &mut [Self]) {
                to.copy_from_slice(from);
            }

            fn sum_tolerance(classes: usize) -> f64 {
                4.0 * f64::from(<$t>::EPSILON) * (1.0 + (classes as f64).sqrt())
            }
        }

        impl Place<$t> for $t {
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

    fn widened<R>(isa: Isa, rows: Rows<'_, Self>, f: impl FnOnce(Rows<'_, f32>) -> R) -> R {
        with_scratch(rows.rows() * rows.classes(), |scratch| {
            widen_rows(isa, &rows, scratch);
            f(Rows::packed(scratch, rows.rows(), rows.classes()))
        })
    }

    fn narrowed(isa: Isa, from: &[f32], to: &mut [Self]) {
        narrow(isa, from, to);
    }

    /// Subnormal numbers of `f16`, which a thousand classes have, are rounded by more than their last digit's share.
    fn sum_tolerance(classes: usize) -> f64 {
        4.0 * H::EPSILON + f32::sum_tolerance(classes) + 0.5 * H::SMALLEST * classes as f64
    }
}

impl<H: Half> Place<H> for H {
    fn filled<R>(isa: Isa, mut rows: RowsIo<'_, Self>, f: impl FnOnce(RowsIo<'_, f32>) -> R) -> R {
        with_scratch(rows.rows() * rows.classes(), |scratch| {
            widen_rows(isa, &rows.source(), scratch);
            let result = f(RowsIo::over(scratch, rows.rows(), rows.classes()));
            narrow(isa, scratch, rows.target());
            result
        })
    }

    fn results<R>(isa: Isa, places: &mut [Self], f: impl FnOnce(&mut [f32]) -> R) -> R {
        with_scratch(places.len(), |scratch| {
            let result = f(scratch);
            narrow(isa, scratch, places);
            result
        })
    }

    fn source<'r>(rows: &'r RowsIo<'_, Self>) -> Rows<'r, Self> {
        rows.source()
    }
}

/// Results in single precision have room for the widened numbers, so these need no other place.
impl<H: Half> Place<H> for f32 {
    fn filled<R>(isa: Isa, mut rows: RowsIo<'_, H, Self>, f: impl FnOnce(RowsIo<'_, f32>) -> R) -> R {
        let (source, count, classes) = (rows.apart(), rows.rows(), rows.classes());
        let target = rows.target();
        if let Some(source) = source {
            widen_rows(isa, &source, target);
        }
        f(RowsIo::over(target, count, classes))
    }

    fn results<R>(_: Isa, places: &mut [Self], f: impl FnOnce(&mut [f32]) -> R) -> R {
        f(places)
    }

    /// Always there: what is of another type than the results cannot have their place.
    fn source<'r>(rows: &'r RowsIo<'_, H, Self>) -> Rows<'r, H> {
        rows.apart().unwrap_or(Rows::packed(&[], 0, 0))
    }
}

/// Widens rows, which may stand apart, to rows one behind the other.
fn widen_rows<H: Half>(isa: Isa, rows: &Rows<'_, H>, to: &mut [f32]) {
    if rows.is_flat() {
        widen(isa, rows.flat(), to);
    } else if rows.classes() > 0 {
        for (i, to) in to.chunks_exact_mut(rows.classes()).enumerate() {
            widen(isa, rows.row(i), to);
        }
    }
}

/// Numbers of scratch memory that a thread keeps from one block to the next; a longer row gives its own back.
const KEPT: usize = 1 << 18;

/// Runs `f` with so many numbers, whatever they are.
fn with_scratch<R>(len: usize, f: impl FnOnce(&mut [f32]) -> R) -> R {
    thread_local! {
        /// A pile, since one block may need several: logits and targets.
        static PILE: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
    }
    let mut scratch = PILE.with_borrow_mut(Vec::pop).unwrap_or_default();
    if scratch.len() < len {
        scratch.resize(len, 0.0);
    }
    let result = f(&mut scratch[..len]);
    if scratch.len() <= KEPT {
        PILE.with_borrow_mut(|pile| pile.push(scratch));
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::{bf16, f16};

    /// Doubles what it gets, through every road of a type.
    fn check<H: Half + PartialEq + std::fmt::Debug>() {
        let half = |x: usize| H::narrow(x as f32);
        let double = |mut rows: RowsIo<'_, f32>| {
            for i in 0..rows.rows() {
                let mut row = rows.row(i, &mut []);
                let doubled: Vec<f32> = row.source().iter().map(|x| 2.0 * x).collect();
                row.target().copy_from_slice(&doubled);
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
                    assert_eq!((wide.rows(), wide.classes()), (rows, classes));
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

    #[test]
    fn scratch_of_a_very_long_row_is_given_back() {
        with_scratch(KEPT + 1, |scratch| assert_eq!(scratch.len(), KEPT + 1));
        with_scratch(1, |scratch| assert_eq!(scratch.len(), 1));
    }
}
