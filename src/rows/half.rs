//! A long row in half precision, widened block by block in the sweep that sums it.
//!
//! A widened block stays in the first-level cache, and while its exponentials are computed the next blocks are
//! prefetched. So half precision takes half the time where memory is the limit.

use super::sweep::{Exponentials, Pivot, sum_of};
use super::{BLOCK, Scale};
use crate::simd::{AHEAD, Float, Lanes, RowIo, Simd, lanes_of, read};
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

/// A row whose exponentials are summed and kept.
pub(crate) struct HalfRowKept<'a, H: Storage> {
    pub(crate) raw: &'a [H],
    /// Space for the exponentials.
    pub(crate) kept: &'a mut [H::Real],
}

impl<H: Storage> HalfRowKept<'_, H> {
    /// Writes the probabilities, times the factor of `scale`, from the kept exponentials.
    #[inline(always)]
    pub(crate) fn finish<O: Place<H>, S: Simd<H::Real>>(
        self,
        s: S,
        scale: Scale<H::Real>,
        out: &mut [O],
        streams: bool,
    ) {
        // Only whole aligned registers can bypass the caches: the numbers before the first one are written normally.
        let bytes = S::LANES * size_of::<O>();
        let head = if streams { out.as_ptr().addr().wrapping_neg() % bytes / size_of::<O>() } else { 0 }.min(out.len());
        let tail = out.len() - (out.len() - head) % S::LANES;
        let (kept, _) = S::registers(&self.kept[head..tail]);
        for (out, kept) in out[head..tail].chunks_exact_mut(S::LANES).zip(kept) {
            O::store(s, scale.of(s, s.load(kept)), out, streams);
        }
        for part in [0..head, tail..out.len()] {
            if !part.is_empty() {
                let scaled = lanes_of(s, scale.of(s, read(s, &self.kept[..part.end], part.start, H::Real::ZERO)));
                for (out, &x) in out[part].iter_mut().zip(scaled.as_ref()) {
                    *out = O::nearest(x);
                }
            }
        }
        if streams {
            s.fence();
        }
    }
}

impl<H: Storage> Exponentials<H::Real> for HalfRowKept<'_, H> {
    #[inline(always)]
    fn len(&self) -> usize {
        self.raw.len()
    }

    #[inline(always)]
    fn block(&self, block: Range<usize>) -> &[H::Real] {
        &self.kept[block]
    }

    #[inline(always)]
    fn enter<S: Simd<H::Real>>(&mut self, s: S, block: Range<usize>) -> H::Real {
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
        RowIo::in_place(self.kept).sum::<SKIP_MAX, S>(s, block, max, pivot)
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
