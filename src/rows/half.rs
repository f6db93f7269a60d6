//! A long row in half precision, widened block by block in the sweep that sums it.
//!
//! A widened block stays in the first-level cache, and while its exponentials are computed the next blocks are
//! prefetched. So half precision takes half the time where memory is the limit.

use super::sweep::{Exponentials, Pivot, largest, sum_of};
use super::{BLOCK, Scale};
use crate::simd::{AHEAD, Float, RowIo, Simd, inlined};
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
        widen(&self.raw[block], wide);
        largest(s, wide)
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
    pub(crate) fn finish<O: Place<H>, S: Simd<H::Real>>(self, s: S, scale: Scale<H::Real>, out: &mut [O]) {
        for (kept, out) in self.kept.chunks_mut(BLOCK).zip(out.chunks_mut(BLOCK)) {
            RowIo::in_place(kept).map(s, H::Real::ZERO, inlined!(|_, e| scale.of(s, e)));
            for (out, &x) in out.iter_mut().zip(&*kept) {
                *out = O::nearest(x);
            }
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
        let wide = &mut self.kept[block.clone()];
        widen(&self.raw[block], wide);
        largest(s, wide)
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

/// Widens every number. The loop is plain, and the compiler vectorises it for the instruction set.
#[inline(always)]
fn widen<H: Storage>(raw: &[H], wide: &mut [H::Real]) {
    for (wide, &raw) in wide.iter_mut().zip(raw) {
        *wide = raw.wide();
    }
}
