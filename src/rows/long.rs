//! A long row of any storage type, and the gradient of the row before it.
//!
//! A row in half precision is widened block by block in the sweep that sums it. A widened block stays in the first-level
//! cache, and while its exponentials are computed the next blocks are prefetched.
//!
//! A gradient needs the sum of the whole row, so its exponentials are kept until then. Writing it takes as long as
//! computing it, and the one leaves idle what the other needs: so the gradient of a row is written while the exponentials
//! of the next row are computed ([`Pending`]).

use super::sweep::{Exponentials, Pivot, keep_of, largest, sum_of};
use super::{BLOCK, Scale};
use crate::math::Real;
use crate::simd::{AHEAD, Float, Lanes, RowIo, Simd, inlined, lanes_of, read};
use crate::storage::{Place, Storage};
use std::ops::Range;

/// A row whose exponentials are only summed.
pub(crate) struct HalfRow<'a, H: Storage> {
    raw: &'a [H],
    /// The current block.
    wide: [H::Real; BLOCK],
}

impl<'a, H: Storage> HalfRow<'a, H> {
    pub(crate) fn new(raw: &'a [H]) -> Self {
        HalfRow { raw, wide: [H::Real::default(); BLOCK] }
    }
}

impl<H: Storage> Exponentials<H::Real> for HalfRow<'_, H> {
    #[inline(always)]
    fn len(&self) -> usize {
        self.raw.len()
    }

    #[inline(always)]
    fn block(&self, block: Range<usize>) -> &[H::Real] {
        &self.wide[..block.len()]
    }

    #[inline(always)]
    fn enter<S: Simd<H::Real>>(&mut self, s: S, block: Range<usize>) -> H::Real {
        let wide = &mut self.wide[..block.len()];
        widen(s, &self.raw[block], wide)
    }

    #[inline(always)]
    fn sum<const SKIP_MAX: bool, S: Simd<H::Real>>(
        &mut self,
        s: S,
        block: Range<usize>,
        max: H::Real,
        pivot: Pivot<H::Real>,
    ) -> (f64, f64) {
        let memory = &self.raw[block.start..];
        sum_of::<SKIP_MAX, _, S, H>(s, self.block(block), memory, max, pivot)
    }
}

/// A row whose exponentials are summed and kept, while the gradient of the row before it is written.
pub(crate) struct LongRowKept<'a, H: Storage, O> {
    pub(crate) raw: &'a [H],
    /// Space for the exponentials.
    pub(crate) kept: &'a mut [H::Real],
    pub(crate) before: Option<Before<'a, H::Real, O>>,
}

/// The gradient of the row before, with its exponentials and its place.
pub(crate) struct Before<'a, T, O> {
    pub(crate) pending: &'a mut Pending<T, O>,
    pub(crate) kept: &'a [T],
    pub(crate) out: &'a mut [O],
}

/// The bytes of a cache line.
const LINE: usize = 64;

/// A gradient that is still to be written: the kept exponentials, times a factor.
pub(crate) struct Pending<T, O> {
    pub(crate) row: usize,
    scale: Scale<T>,
    /// The class of the row, and its gradient.
    label: (usize, O),
    streams: bool,
    /// The numbers up to here are written.
    next: usize,
    /// The whole registers end here.
    end: usize,
}

impl<T: Real, O> Pending<T, O> {
    /// Writes what precedes the first cache line: only aligned registers can bypass the caches, and a line that is not
    /// filled at once takes twice the time.
    #[inline(always)]
    pub(crate) fn new<H: Storage<Real = T>, S: Simd<T>>(
        s: S,
        row: usize,
        scale: Scale<T>,
        label: (usize, O),
        streams: bool,
        kept: &[T],
        out: &mut [O],
    ) -> Self
    where
        O: Place<H>,
    {
        let next = if streams { out.as_ptr().addr().wrapping_neg() % LINE / size_of::<O>() } else { 0 }.min(out.len());
        let end = out.len() - (out.len() - next) % S::LANES;
        let pending = Pending { row, scale, label, streams, next, end };
        pending.write_part::<H, S>(s, kept, out, 0..next);
        pending
    }

    /// Writes `count` registers more, if there are as many.
    #[inline(always)]
    fn advance<H: Storage<Real = T>, S: Simd<T>>(&mut self, s: S, kept: &[T], out: &mut [O], count: usize)
    where
        O: Place<H>,
    {
        let next = self.end.min(self.next + count * S::LANES);
        let (kept, _) = S::registers(&kept[self.next..next]);
        for (out, kept) in out[self.next..next].chunks_exact_mut(S::LANES).zip(kept) {
            O::store(s, self.scale.of(s, s.load(kept)), out, self.streams);
        }
        self.next = next;
    }

    /// Writes all that is left.
    #[inline(always)]
    pub(crate) fn finish<H: Storage<Real = T>, S: Simd<T>>(mut self, s: S, kept: &[T], out: &mut [O])
    where
        O: Place<H>,
    {
        self.advance::<H, S>(s, kept, out, usize::MAX / (2 * S::LANES));
        self.write_part::<H, S>(s, kept, out, self.end..out.len());
        if self.streams {
            s.fence();
        }
        let (class, gradient) = self.label;
        out[class] = gradient;
    }

    /// Writes a part of the row that does not bypass the caches.
    #[inline(always)]
    fn write_part<H: Storage<Real = T>, S: Simd<T>>(&self, s: S, kept: &[T], out: &mut [O], part: Range<usize>)
    where
        O: Place<H>,
    {
        for (i, out) in part.clone().step_by(S::LANES).zip(out[part.clone()].chunks_mut(S::LANES)) {
            let scaled = lanes_of(s, self.scale.of(s, read(s, &kept[..part.end], i, T::ZERO)));
            for (out, &x) in out.iter_mut().zip(scaled.as_ref()) {
                *out = O::nearest(x);
            }
        }
    }
}

impl<H: Storage, O: Place<H>> Exponentials<H::Real> for LongRowKept<'_, H, O> {
    #[inline(always)]
    fn len(&self) -> usize {
        self.raw.len()
    }

    #[inline(always)]
    fn block(&self, block: Range<usize>) -> &[H::Real] {
        match H::as_wide(self.raw) {
            Some(raw) => &raw[block],
            None => &self.kept[block],
        }
    }

    #[inline(always)]
    fn enter<S: Simd<H::Real>>(&mut self, s: S, block: Range<usize>) -> H::Real {
        if let Some(raw) = H::as_wide(self.raw) {
            return largest(s, &raw[block]);
        }
        for i in block.clone().step_by(64 / size_of::<H>()) {
            s.prefetch(self.raw, i + AHEAD);
        }
        widen(s, &self.raw[block.clone()], &mut self.kept[block])
    }

    #[inline(always)]
    fn sum<const SKIP_MAX: bool, S: Simd<H::Real>>(
        &mut self,
        s: S,
        block: Range<usize>,
        max: H::Real,
        pivot: Pivot<H::Real>,
    ) -> (f64, f64) {
        let mut row = match H::as_wide(self.raw) {
            Some(raw) => RowIo::new(raw, self.kept),
            None => RowIo::in_place(self.kept),
        };
        match &mut self.before {
            Some(Before { pending, kept, out }) => keep_of::<SKIP_MAX, _, S>(
                s,
                &mut row,
                block,
                max,
                pivot,
                inlined!(|count| pending.advance::<H, S>(s, kept, out, count)),
            ),
            None => keep_of::<SKIP_MAX, _, S>(s, &mut row, block, max, pivot, inlined!(|_| {})),
        }
    }

    #[inline(always)]
    fn rescale<S: Simd<H::Real>>(&mut self, s: S, len: usize, from: Pivot<H::Real>, to: Pivot<H::Real>) {
        RowIo::in_place(self.kept).rescale(s, len, from, to);
    }
}

/// Widens a block, and returns its largest number that is not NaN.
#[inline(always)]
fn widen<H: Storage, S: Simd<H::Real>>(s: S, raw: &[H], wide: &mut [H::Real]) -> H::Real {
    const TOGETHER: usize = 4;
    let mut largest = [s.splat(-H::Real::INFINITY); TOGETHER];
    let (registers, _) = S::registers_mut(wide);
    let (groups, _) = registers.as_chunks_mut::<TOGETHER>();
    let whole = groups.len() * TOGETHER * S::LANES;
    // Slices of equal lengths need no check of bounds in the loop.
    for (group, raw) in groups.iter_mut().zip(raw.chunks_exact(TOGETHER * S::LANES)) {
        for ((register, raw), largest) in group.iter_mut().zip(raw.chunks_exact(S::LANES)).zip(&mut largest) {
            let z = H::load(s, raw);
            s.store(z, register);
            *largest = z.max(*largest);
        }
    }
    // What remains is fewer than four registers.
    let (wide, raw) = (&mut wide[whole..], &raw[whole..]);
    for (wide, &raw) in wide.iter_mut().zip(raw) {
        *wide = raw.wide();
    }
    for i in (0..wide.len()).step_by(S::LANES) {
        // `max` drops a NaN on its left side.
        largest[0] = read(s, wide, i, -H::Real::INFINITY).max(largest[0]);
    }
    let [a, b, c, d] = largest;
    a.max(b).max(c.max(d)).largest()
}
