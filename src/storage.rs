//! The types that logits are stored in and computed with: `f32` and `f64` for both; `f16` and `bf16` are computed as
//! `f32`, a block at a time.
//!
//! A block of half-precision rows is widened into scratch memory that stays in the second-level cache. The kernel is
//! the same as for other types, and its results are narrowed, rounded once, into their place. So a result is that of
//! the widened logits to the bit, and no buffer is as large as the logits. Long rows whose losses follow from their sums
//! are widened in registers instead ([`Numbers`]), with the same results.
//!
//! Public functions take rows of a type ([`Storage`], [`Place`]) and hand them on as [`StoredRows`] and [`StoredIo`], which
//! know only the type of the computation: whatever stands behind them is compiled for two types, not for seven pairs.

use crate::half::{Half, is_single, narrow, narrowed, wide, widen};
use crate::math::Real;
use crate::simd::{self, Isa, Simd, inlined};
use crate::view::{Rows, RowsIo};
use half::{bf16, f16};
use std::ops::Range;

/// A type that logits are stored in: `f32`, `f64`, `f16` or `bf16`.
pub trait Storage: Copy + std::fmt::Debug + Default + Send + Sync + 'static {
    /// The type that they are computed with.
    type Real: Real;

    /// The same rows, of a type that does not depend on this one, so that what is made of them is compiled once.
    fn rows(rows: Rows<'_, Self>) -> StoredRows<'_, Self::Real>;

    /// Largest rounding error of the sum of `classes` probabilities stored in this type: that of each number, and that
    /// of the sum that they were divided by. Numbers in double precision may come from single precision, by way of a
    /// list or a file, and have its errors.
    fn sum_tolerance(classes: usize) -> f64;
}

/// A type of results with the shape of logits of type `S`: `S` itself, or single precision.
pub trait Place<S: Storage>: Copy + Default + Send + Sync + 'static {
    /// The same places, of a type that does not depend on this one.
    fn places(places: &mut [Self]) -> Places<'_, S::Real>;

    /// The same rows, and places for results.
    fn rows_io(rows: RowsIo<'_, S, Self>) -> StoredIo<'_, S::Real> {
        let (count, columns, streams, fresh) = (rows.rows(), rows.columns(), rows.streams(), rows.is_fresh());
        let (source, target) = rows.into_parts();
        StoredIo { source: source.map(S::rows), target: Self::places(target), rows: count, columns, streams, fresh }
    }
}

macro_rules! as_they_are {
    ($($t:ty)+) => {
        $(impl Storage for $t {
            type Real = Self;

            fn rows(rows: Rows<'_, Self>) -> StoredRows<'_, Self> {
                StoredRows::Real(rows)
            }

            fn sum_tolerance(classes: usize) -> f64 {
                4.0 * f64::from(f32::EPSILON) * (1.0 + (classes as f64).sqrt())
            }
        }

        impl Place<$t> for $t {
            fn places(places: &mut [Self]) -> Places<'_, Self> {
                Places::Direct(NumbersMut::Real(places))
            }
        })+
    };
}

as_they_are!(f32 f64);

impl<H: Half> Storage for H {
    type Real = f32;

    fn rows(rows: Rows<'_, Self>) -> StoredRows<'_, f32> {
        StoredRows::Half(H::KIND, rows.seen_as(H::bits))
    }

    /// Subnormal numbers of `f16`, which occur with a thousand classes, have a larger relative error.
    fn sum_tolerance(classes: usize) -> f64 {
        4.0 * H::EPSILON + f32::sum_tolerance(classes) + 0.5 * H::SMALLEST * classes as f64
    }
}

impl<H: Half> Place<H> for H {
    fn places(places: &mut [Self]) -> Places<'_, f32> {
        Places::Direct(NumbersMut::Half(H::KIND, H::bits_mut(places)))
    }
}

/// Results in single precision: the widened numbers are written to their place.
impl<H: Half> Place<H> for f32 {
    fn places(places: &mut [Self]) -> Places<'_, f32> {
        Places::Direct(NumbersMut::Real(places))
    }
}

/// Results in single precision of logits in double precision.
impl Place<f64> for f32 {
    fn places(places: &mut [Self]) -> Places<'_, f64> {
        Places::Single(places)
    }
}

/// Rows that are computed with as `T`, whatever type they are stored in.
#[derive(Clone, Copy, Debug)]
pub enum StoredRows<'a, T> {
    /// Rows of the type of the computation.
    Real(Rows<'a, T>),
    /// Rows of the bits of numbers in half precision.
    Half(simd::Half, Rows<'a, u16>),
}

/// Runs an expression for rows of either kind.
macro_rules! match_rows {
    ($rows:expr, $of_kind:ident => $result:expr) => {
        match $rows {
            StoredRows::Real($of_kind) => $result,
            StoredRows::Half(_, $of_kind) => $result,
        }
    };
}

impl<'a, T: Real> StoredRows<'a, T> {
    /// The number of rows.
    pub fn rows(&self) -> usize {
        match_rows!(self, rows => rows.rows())
    }

    /// The length of a row.
    pub fn columns(&self) -> usize {
        match_rows!(self, rows => rows.columns())
    }

    /// Whether the rows must be widened.
    pub(crate) fn are_half(&self) -> bool {
        matches!(self, StoredRows::Half(..))
    }

    /// The same view of the rows of either kind.
    fn view(
        self,
        real: impl FnOnce(Rows<'a, T>) -> Rows<'a, T>,
        half: impl FnOnce(Rows<'a, u16>) -> Rows<'a, u16>,
    ) -> Self {
        match self {
            StoredRows::Real(rows) => StoredRows::Real(real(rows)),
            StoredRows::Half(kind, rows) => StoredRows::Half(kind, half(rows)),
        }
    }

    /// `count` rows from row `first` on.
    pub(crate) fn part(self, first: usize, count: usize) -> Self {
        self.view(|rows| rows.part(first, count), |rows| rows.part(first, count))
    }

    /// Some of the columns.
    pub(crate) fn some_columns(self, columns: Range<usize>) -> Self {
        self.view(|rows| rows.some_columns(columns.clone()), |rows| rows.some_columns(columns.clone()))
    }

    /// The rows in blocks of `size`; the last may be shorter.
    pub(crate) fn blocks(self, size: usize) -> impl ExactSizeIterator<Item = Self> {
        let rows = self.rows();
        (0..rows.div_ceil(size)).map(move |b| self.part(b * size, size.min(rows - b * size)))
    }

    /// The numbers of a row.
    #[inline(always)]
    pub(crate) fn row(&self, i: usize) -> Numbers<'a, T> {
        match self {
            StoredRows::Real(rows) => Numbers::Real(rows.row(i)),
            StoredRows::Half(kind, rows) => Numbers::Half(*kind, rows.row(i)),
        }
    }

    /// Calls `f` with the widened numbers.
    pub(crate) fn widened<R>(self, isa: Isa, f: impl FnOnce(Rows<'_, T>) -> R) -> R {
        match self {
            StoredRows::Real(rows) => f(rows),
            StoredRows::Half(..) => T::with_scratch(self.rows() * self.columns(), |scratch| {
                self.widen(isa, scratch);
                f(Rows::packed(scratch, self.rows(), self.columns()))
            }),
        }
    }

    /// Writes the widened numbers, one row after the other.
    fn widen(self, isa: Isa, to: &mut [T]) {
        let (StoredRows::Half(kind, rows), true) = (self, is_single::<T>()) else {
            unreachable!("other rows are read where they lie");
        };
        if rows.is_flat() {
            widen(isa, kind, rows.flat(), to);
        } else if rows.columns() > 0 {
            for (i, to) in to.chunks_exact_mut(rows.columns()).enumerate() {
                widen(isa, kind, rows.row(i), to);
            }
        }
    }

    /// [`Storage::sum_tolerance`] of the type.
    pub(crate) fn sum_tolerance(&self) -> f64 {
        let tolerance = match self {
            StoredRows::Real(_) => f32::sum_tolerance,
            StoredRows::Half(simd::Half::F16, _) => f16::sum_tolerance,
            StoredRows::Half(simd::Half::Bf16, _) => bf16::sum_tolerance,
        };
        tolerance(self.columns())
    }
}

/// Places for results that are computed as `T`, whatever type they are stored in.
#[derive(Debug)]
pub enum Places<'a, T> {
    /// Places that a kernel can write itself.
    Direct(NumbersMut<'a, T>),
    /// Places in single precision for results in double precision.
    Single(&'a mut [f32]),
}

impl<'a, T: Real> Places<'a, T> {
    /// Fills all places with 0.
    pub(crate) fn clear(&mut self) {
        match self {
            Places::Direct(places) => places.clear(),
            Places::Single(places) => places.fill(0.0),
        }
    }

    /// The number of places.
    pub(crate) fn len(&self) -> usize {
        match self {
            Places::Direct(NumbersMut::Real(places)) => places.len(),
            Places::Direct(NumbersMut::Half(_, places)) => places.len(),
            Places::Single(places) => places.len(),
        }
    }

    /// Some of the places.
    pub(crate) fn part(&mut self, part: Range<usize>) -> Places<'_, T> {
        match self {
            Places::Direct(places) => Places::Direct(places.part(part)),
            Places::Single(places) => Places::Single(&mut places[part]),
        }
    }

    /// Cuts the first places off.
    pub(crate) fn take(&mut self, count: usize) -> Self {
        match self {
            Places::Direct(NumbersMut::Real(rest)) => Places::Direct(NumbersMut::Real(take(rest, count))),
            Places::Direct(NumbersMut::Half(kind, rest)) => Places::Direct(NumbersMut::Half(*kind, take(rest, count))),
            Places::Single(rest) => Places::Single(take(rest, count)),
        }
    }

    /// Writes results, rounded to nearest.
    pub(crate) fn write(&mut self, isa: Isa, from: &[T]) {
        match self {
            Places::Direct(NumbersMut::Real(to)) => to.copy_from_slice(from),
            Places::Direct(NumbersMut::Half(kind, to)) => narrow(isa, *kind, from, to),
            Places::Single(to) => to.iter_mut().zip(from).for_each(|(to, x)| *to = x.to_f64() as f32),
        }
    }

    /// Calls `f` with places of the type of the computation, whose numbers become results.
    pub(crate) fn results<R>(mut self, isa: Isa, f: impl FnOnce(&mut [T]) -> R) -> R {
        match &mut self {
            Places::Direct(NumbersMut::Real(places)) => f(places),
            _ => T::with_scratch(self.len(), |scratch| {
                let result = f(scratch);
                self.write(isa, scratch);
                result
            }),
        }
    }
}

/// Cuts the first numbers off a slice.
pub(crate) fn take<'a, T>(rest: &mut &'a mut [T], count: usize) -> &'a mut [T] {
    let (first, after) = std::mem::take(rest).split_at_mut(count);
    *rest = after;
    first
}

/// Rows to read, and places for as many rows of results, whatever types they are stored in.
#[derive(Debug)]
pub struct StoredIo<'a, T> {
    /// The rows, unless the results overwrite them.
    source: Option<StoredRows<'a, T>>,
    target: Places<'a, T>,
    rows: usize,
    columns: usize,
    streams: bool,
    fresh: bool,
}

impl<'a, T: Real> StoredIo<'a, T> {
    /// Reads `source`, writes `target`, which was made to fit.
    pub(crate) fn beside(source: StoredRows<'a, T>, target: Places<'a, T>) -> Self {
        let (rows, columns) = (source.rows(), source.columns());
        StoredIo { source: Some(source), target, rows, columns, streams: false, fresh: false }
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// Whether the results bypass the caches.
    pub(crate) fn streams(&self) -> bool {
        self.streams
    }

    /// Whether the results are discarded if the call fails.
    pub(crate) fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// The input, if it is separate from the output.
    pub(crate) fn apart(&self) -> Option<StoredRows<'a, T>> {
        self.source
    }

    /// The input.
    pub(crate) fn source(&self) -> StoredRows<'_, T> {
        match (&self.source, &self.target) {
            (Some(source), _) => *source,
            (None, Places::Direct(NumbersMut::Real(both))) => {
                StoredRows::Real(Rows::packed(both, self.rows, self.columns))
            }
            (None, Places::Direct(NumbersMut::Half(kind, both))) => {
                StoredRows::Half(*kind, Rows::packed(both, self.rows, self.columns))
            }
            (None, Places::Single(_)) => unreachable!("the results are of another type"),
        }
    }

    /// The output.
    pub(crate) fn target(&mut self) -> &mut Places<'a, T> {
        &mut self.target
    }

    /// Whether kernels can write the output, whatever its type is.
    pub(crate) fn is_direct(&self) -> bool {
        matches!(self.target, Places::Direct(_))
    }

    /// The input, if it is separate, and the output, which kernels can write.
    pub(crate) fn into_direct(self) -> (Option<StoredRows<'a, T>>, NumbersMut<'a, T>) {
        match self.target {
            Places::Direct(target) => (self.source, target),
            Places::Single(_) => unreachable!("`is_direct` has been asked"),
        }
    }

    /// The rows in blocks of `size`; the last may be shorter.
    pub(crate) fn blocks(self, size: usize) -> impl ExactSizeIterator<Item = Self> {
        let StoredIo { source, mut target, rows, columns, streams, fresh } = self;
        (0..rows.div_ceil(size)).map(move |b| {
            let count = size.min(rows - b * size);
            let source = source.map(|source| source.part(b * size, count));
            StoredIo { source, target: target.take(count * columns), rows: count, columns, streams, fresh }
        })
    }

    /// Calls `f` with the widened numbers and places for results.
    pub(crate) fn filled<R>(self, isa: Isa, f: impl FnOnce(RowsIo<'_, T>) -> R) -> R {
        let (rows, columns, source) = (self.rows, self.columns, self.source);
        let mut target = self.target;
        if let Places::Direct(NumbersMut::Real(target)) = target {
            return f(match source {
                Some(StoredRows::Real(source)) => RowsIo::beside(source, target).streaming(self.streams),
                Some(source) => {
                    source.widen(isa, target);
                    RowsIo::over(target, rows, columns)
                }
                None => RowsIo::over(target, rows, columns),
            });
        }
        T::with_scratch(rows * columns, |scratch| {
            let result = f(match (source, &target) {
                (Some(StoredRows::Real(source)), _) => RowsIo::beside(source, scratch),
                (Some(source), _) => {
                    source.widen(isa, scratch);
                    RowsIo::over(scratch, rows, columns)
                }
                (None, Places::Direct(NumbersMut::Half(kind, both))) => {
                    widen(isa, *kind, both, scratch);
                    RowsIo::over(scratch, rows, columns)
                }
                (None, _) => unreachable!("the results are of another type"),
            });
            target.write(isa, scratch);
            result
        })
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

                let stored = H::rows(view);
                stored.widened(isa, |wide| {
                    assert_eq!((wide.rows(), wide.columns()), (rows, classes));
                    assert_eq!(wide.flat(), packed.iter().map(|x| x.widen()).collect::<Vec<_>>());
                    stored.widened(isa, |other| assert_eq!(other.flat(), wide.flat(), "two at once"));
                });

                let mut beside = vec![half(77); rows * classes];
                H::rows_io(RowsIo::new(view, &mut beside).unwrap()).filled(isa, double);
                assert_eq!(beside, narrow);

                let mut wide = vec![77.0; rows * classes];
                f32::rows_io(RowsIo::new(view, &mut wide).unwrap()).filled(isa, double);
                assert_eq!(wide, twice);

                let mut over = packed.clone();
                H::rows_io(RowsIo::in_place(&mut over, rows, classes).unwrap()).filled(isa, double);
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
