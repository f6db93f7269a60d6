//! A long row of any storage type, and the gradient of the row before it.
//!
//! A row in half precision is widened block by block in the sweep that sums it. A widened block stays in the first-level
//! cache, and while its exponentials are computed the next blocks are prefetched.
//!
//! A gradient needs the sum of the whole row, so its exponentials are kept until then. Writing it takes as long as
//! computing it, and the one leaves idle what the other needs: so the gradient of a row is written while the exponentials
//! of the next row are computed ([`Pending`]).

use super::sweep::{Exponentials, Pivot, keep_plain, largest, sum_of};
use super::{BLOCK, Scale};
use crate::math::Real;
use crate::simd::{AHEAD, Half, Lanes, RowIo, Simd, inlined, lanes_of, read};
use crate::storage::{Numbers, NumbersMut, load_half};
use std::ops::Range;

/// A row in half precision whose exponentials are only summed.
pub(crate) struct HalfRow<'a, T> {
    kind: Half,
    raw: &'a [u16],
    /// The current block.
    wide: [T; BLOCK],
}

impl<'a, T: Real> HalfRow<'a, T> {
    pub(crate) fn new(kind: Half, raw: &'a [u16]) -> Self {
        HalfRow { kind, raw, wide: [T::ZERO; BLOCK] }
    }
}

impl<T: Real> Exponentials<T> for HalfRow<'_, T> {
    #[inline(always)]
    fn len(&self) -> usize {
        self.raw.len()
    }

    #[inline(always)]
    fn block(&self, block: Range<usize>) -> &[T] {
        &self.wide[..block.len()]
    }

    #[inline(always)]
    fn enter<S: Simd<T>>(&mut self, s: S, block: Range<usize>) -> T {
        let wide = &mut self.wide[..block.len()];
        widen(s, self.kind, &self.raw[block], wide)
    }

    #[inline(always)]
    fn sum<const SKIP_MAX: bool, S: Simd<T>>(
        &mut self,
        s: S,
        block: Range<usize>,
        max: T,
        pivot: Pivot<T>,
    ) -> (f64, f64) {
        let memory = &self.raw[block.start..];
        sum_of::<SKIP_MAX, _, S, u16>(s, self.block(block), memory, max, pivot)
    }
}

/// A row whose exponentials are summed and kept, while the gradient of the row before it is written.
pub(crate) struct LongRowKept<'a, T> {
    pub(crate) raw: Numbers<'a, T>,
    /// Space for the exponentials.
    pub(crate) kept: &'a mut [T],
    pub(crate) before: Option<Before<'a, T>>,
}

/// The gradient of the row before, with its exponentials and its place.
pub(crate) struct Before<'a, T> {
    pub(crate) pending: &'a mut Pending<T>,
    pub(crate) kept: &'a [T],
    pub(crate) out: NumbersMut<'a, T>,
}

/// The bytes of a cache line.
const LINE: usize = 64;

/// A gradient that is still to be written: the kept exponentials, times a factor.
pub(crate) struct Pending<T> {
    pub(crate) row: usize,
    scale: Scale<T>,
    /// The class of the row, and its gradient.
    label: (usize, T),
    streams: bool,
    /// The numbers up to here are written.
    next: usize,
    /// The whole registers end here.
    end: usize,
}

impl<T: Real> Pending<T> {
    /// Writes what precedes the first cache line: only aligned registers can bypass the caches, and a line that is not
    /// filled at once takes twice the time.
    #[inline(always)]
    pub(crate) fn new<S: Simd<T>>(
        s: S,
        row: usize,
        scale: Scale<T>,
        label: (usize, T),
        streams: bool,
        kept: &[T],
        out: &mut NumbersMut<'_, T>,
    ) -> Self {
        let next = if streams { out.before_multiple_of(LINE) } else { 0 };
        let end = kept.len() - (kept.len() - next) % S::LANES;
        let pending = Pending { row, scale, label, streams, next, end };
        pending.write_part(s, kept, out, 0..next);
        pending
    }

    /// Writes `count` registers more, if there are as many.
    #[inline(always)]
    fn advance<S: Simd<T>>(&mut self, s: S, kept: &[T], out: &mut NumbersMut<'_, T>, count: usize, streams: bool) {
        let part = self.next..self.end.min(self.next + count * S::LANES);
        self.next = part.end;
        out.store(s, part.clone(), S::registers(&kept[part]).0, streams, inlined!(|e| self.scale.of(s, e)));
    }

    /// Writes all that is left, as a separate function.
    #[inline(always)]
    pub(crate) fn finish<S: Simd<T>>(mut self, s: S, kept: &[T], out: &mut NumbersMut<'_, T>) {
        s.call(inlined!(|s| {
            self.advance(s, kept, out, usize::MAX / (2 * S::LANES), self.streams);
            self.write_part(s, kept, out, self.end..kept.len());
            if self.streams {
                s.fence();
            }
            let (class, gradient) = self.label;
            out.set(class, gradient);
        }));
    }

    /// Writes a part of the row that does not bypass the caches.
    #[inline(always)]
    fn write_part<S: Simd<T>>(&self, s: S, kept: &[T], out: &mut NumbersMut<'_, T>, part: Range<usize>) {
        for i in part.clone().step_by(S::LANES) {
            let scaled = lanes_of(s, self.scale.of(s, read(s, &kept[..part.end], i, T::ZERO)));
            for (k, &x) in (i..part.end).zip(scaled.as_ref()) {
                out.set(k, x);
            }
        }
    }
}

impl<T: Real> Exponentials<T> for LongRowKept<'_, T> {
    #[inline(always)]
    fn len(&self) -> usize {
        self.kept.len()
    }

    #[inline(always)]
    fn block(&self, block: Range<usize>) -> &[T] {
        match self.raw {
            Numbers::Real(raw) => &raw[block],
            Numbers::Half(..) => &self.kept[block],
        }
    }

    #[inline(always)]
    fn enter<S: Simd<T>>(&mut self, s: S, block: Range<usize>) -> T {
        let Some((kind, raw)) = self.raw.halves() else {
            return largest(s, self.block(block));
        };
        for i in block.clone().step_by(LINE / size_of::<u16>()) {
            s.prefetch(raw, i + AHEAD);
        }
        widen(s, kind, &raw[block.clone()], &mut self.kept[block])
    }

    /// Rows with a shift are rare: the gradient of the row before is written after their exponentials.
    #[inline(always)]
    fn sum<const SKIP_MAX: bool, S: Simd<T>>(
        &mut self,
        s: S,
        block: Range<usize>,
        max: T,
        pivot: Pivot<T>,
    ) -> (f64, f64) {
        let mut row = match self.raw {
            Numbers::Real(raw) => RowIo::new(raw, self.kept),
            Numbers::Half(..) => RowIo::in_place(self.kept),
        };
        match &mut self.before {
            Some(Before { pending, kept, out }) if pivot.is_plain() => s.call(inlined!(|s| {
                keep_plain::<SKIP_MAX, T, S>(
                    s,
                    &mut row,
                    block,
                    max,
                    pivot,
                    // Only what bypasses the caches is written late.
                    inlined!(|count| pending.advance(s, kept, out, count, true)),
                )
            })),
            _ => row.sum::<SKIP_MAX, S>(s, block, max, pivot),
        }
    }

    #[inline(always)]
    fn rescale<S: Simd<T>>(&mut self, s: S, len: usize, from: Pivot<T>, to: Pivot<T>) {
        RowIo::in_place(self.kept).rescale(s, len, from, to);
    }
}

/// Widens a block, and returns its largest number that is not NaN.
#[inline(always)]
fn widen<T: Real, S: Simd<T>>(s: S, kind: Half, raw: &[u16], wide: &mut [T]) -> T {
    const TOGETHER: usize = 4;
    let mut largest = [s.splat(-T::INFINITY); TOGETHER];
    let (registers, _) = S::registers_mut(wide);
    let (groups, _) = registers.as_chunks_mut::<TOGETHER>();
    let whole = groups.len() * TOGETHER * S::LANES;
    // Slices of equal lengths need no check of bounds in the loop.
    for (group, raw) in groups.iter_mut().zip(raw.chunks_exact(TOGETHER * S::LANES)) {
        for ((register, raw), largest) in group.iter_mut().zip(raw.chunks_exact(S::LANES)).zip(&mut largest) {
            let z = load_half(s, kind, raw);
            s.store(z, register);
            *largest = z.max(*largest);
        }
    }
    // What remains is fewer than four registers.
    let (wide, raw) = (&mut wide[whole..], &raw[whole..]);
    for (i, wide) in wide.iter_mut().enumerate() {
        *wide = Numbers::Half(kind, raw).get(i);
    }
    for i in (0..wide.len()).step_by(S::LANES) {
        // `max` drops a NaN on its left side.
        largest[0] = read(s, wide, i, -T::INFINITY).max(largest[0]);
    }
    let [a, b, c, d] = largest;
    a.max(b).max(c.max(d)).largest()
}
