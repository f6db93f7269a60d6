//! A row of logits as the loss sees it: unchanged, or mapped block by block in the sweep that sums it.

use super::LogitMap;
use super::sweep::{Exponentials, Pivot, sum_of};
use crate::math::Real;
use crate::simd::{RowIo, Simd, inlined, read};
use std::ops::Range;

/// A row of logits to read.
pub struct Logits<'a, T> {
    raw: &'a [T],
    map: LogitMap<'a, T>,
    /// The mapped logits, valid up to the current block of a sweep; empty if the map is the identity.
    mapped: &'a mut [T],
}

impl<'a, T: Real> Logits<'a, T> {
    /// Logits without a map.
    #[inline(always)]
    pub(crate) fn plain(raw: &'a [T]) -> Self {
        Logits { raw, map: LogitMap::identity(), mapped: &mut [] }
    }

    /// Logits that are mapped into `scratch`, which has the same length, unless the map is the identity.
    #[inline(always)]
    pub(crate) fn new(raw: &'a [T], map: LogitMap<'a, T>, scratch: &'a mut [T]) -> Self {
        let map = if map.is_identity() { map } else { map.of_row(raw) };
        Logits { raw, map, mapped: scratch }
    }

    /// The logits in memory, if the map is the identity.
    #[inline(always)]
    pub(crate) fn unmapped(&self) -> Option<&'a [T]> {
        self.map.is_identity().then_some(self.raw)
    }

    /// A single mapped logit.
    #[inline(always)]
    pub(crate) fn at<S: Simd<T>>(&self, s: S, class: usize) -> T {
        if self.map.is_identity() { self.raw[class] } else { self.map.at(s, class, self.raw[class]) }
    }

    /// The constant that the mapped logits lack.
    #[inline(always)]
    pub(crate) fn lacks(&self) -> f64 {
        self.map.lacks()
    }

    /// All mapped logits, after a sweep.
    #[inline(always)]
    pub(crate) fn swept(&self) -> &[T] {
        self.block(0..self.raw.len())
    }

    /// All mapped logits.
    #[inline(always)]
    pub(crate) fn all<S: Simd<T>>(&mut self, s: S) -> &[T] {
        if self.map.is_identity() {
            return self.raw;
        }
        self.map.row(s, 0, &mut RowIo::new(self.raw, self.mapped), &mut []);
        self.mapped
    }
}

impl<T: Real> Exponentials<T> for Logits<'_, T> {
    #[inline(always)]
    fn len(&self) -> usize {
        self.raw.len()
    }

    #[inline(always)]
    fn block(&self, block: Range<usize>) -> &[T] {
        if self.map.is_identity() { &self.raw[block] } else { &self.mapped[block] }
    }

    #[inline(always)]
    fn enter<S: Simd<T>>(&mut self, s: S, block: Range<usize>) -> T {
        if self.map.is_identity() {
            return super::sweep::largest(s, &self.raw[block]);
        }
        self.map.row(s, block.start, &mut RowIo::new(&self.raw[block.clone()], &mut self.mapped[block]), &mut [])
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
        sum_of::<SKIP_MAX, T, S, T>(s, self.block(block), memory, max, pivot)
    }
}

/// A row of logits, and the place for its gradient.
pub struct LogitsIo<'a, T> {
    /// The row, whose exponentials are kept.
    pub(crate) row: RowIo<'a, T>,
    map: LogitMap<'a, T>,
    /// The slope of the map at each logit, times the temperature; empty if all slopes are 1.
    slopes: &'a mut [T],
}

impl<'a, T: Real> LogitsIo<'a, T> {
    /// Logits that are mapped to the place where their exponentials are kept. With a softcap, the slopes go to
    /// `slopes`.
    #[inline(always)]
    pub(crate) fn new(row: RowIo<'a, T>, map: LogitMap<'a, T>, slopes: &'a mut [T]) -> Self {
        if map.is_identity() {
            return LogitsIo { row, map, slopes };
        }
        let map = map.of_row(row.input());
        LogitsIo { row: row.mapped(), map, slopes }
    }

    /// Whether the map is the identity.
    #[inline(always)]
    pub(crate) fn is_plain(&self) -> bool {
        self.map.is_identity()
    }

    /// The constant that the mapped logits lack.
    #[inline(always)]
    pub(crate) fn lacks(&self) -> f64 {
        self.map.lacks()
    }

    /// A single mapped logit, before a sweep overwrites it.
    #[inline(always)]
    pub(crate) fn at<S: Simd<T>>(&self, s: S, class: usize) -> T {
        let z = self.row.input()[class];
        if self.map.is_identity() { z } else { self.map.at(s, class, z) }
    }

    /// Turns the kept exponentials into the gradient, register by register: `f(k, e)` is the gradient of the mapped
    /// logits, and the chain rule of the map is applied to it.
    #[inline(always)]
    pub(crate) fn finish<S: Simd<T>>(&mut self, s: S, f: impl Fn(usize, S::V) -> S::V) {
        let slopes = &*self.slopes;
        self.row.finish(
            s,
            inlined!(|k, e| {
                let g = f(k, e);
                if slopes.is_empty() { g } else { g * read(s, slopes, k, T::ZERO) }
            }),
        );
    }

    /// Sets the gradient of a single class.
    #[inline(always)]
    pub(crate) fn set(&mut self, class: usize, gradient: f64) {
        self.row.output()[class] = T::from_f64(gradient * self.slope(class));
    }

    #[inline(always)]
    pub(crate) fn add(&mut self, class: usize, gradient: f64) {
        let more = T::from_f64(gradient * self.slope(class));
        self.row.output()[class] = self.row.output()[class] + more;
    }

    #[inline(always)]
    fn slope(&self, class: usize) -> f64 {
        if self.slopes.is_empty() { 1.0 } else { self.slopes[class].to_f64() }
    }

    /// Maps all logits at once, for a loss without a sweep.
    #[inline(always)]
    pub(crate) fn all<S: Simd<T>>(&mut self, s: S) -> &[T] {
        if !self.map.is_identity() {
            self.map.row(s, 0, &mut self.row.map_to_kept(0..self.row.source().len()), self.slopes);
        }
        self.row.source()
    }

    /// Turns mapped logits, of which a sweep has kept no exponentials, into their gradient, as [`finish`](Self::finish)
    /// does.
    #[inline(always)]
    pub(crate) fn map<S: Simd<T>>(&mut self, s: S, fill: T, f: impl Fn(usize, S::V) -> S::V) {
        let slopes = &*self.slopes;
        self.row.finish_source(
            s,
            fill,
            inlined!(|k, z| {
                let g = f(k, z);
                if slopes.is_empty() { g } else { g * read(s, slopes, k, T::ZERO) }
            }),
        );
    }
}

impl<T: Real> Exponentials<T> for LogitsIo<'_, T> {
    #[inline(always)]
    fn len(&self) -> usize {
        self.row.source().len()
    }

    #[inline(always)]
    fn block(&self, block: Range<usize>) -> &[T] {
        &self.row.source()[block]
    }

    #[inline(always)]
    fn enter<S: Simd<T>>(&mut self, s: S, block: Range<usize>) -> T {
        if self.map.is_identity() {
            return self.row.enter(s, block);
        }
        let slopes = if self.slopes.is_empty() { &mut [] } else { &mut self.slopes[block.clone()] };
        self.map.row(s, block.start, &mut self.row.map_to_kept(block), slopes)
    }

    #[inline(always)]
    fn sum<const SKIP_MAX: bool, S: Simd<T>>(
        &mut self,
        s: S,
        block: Range<usize>,
        max: T,
        pivot: Pivot<T>,
    ) -> (f64, f64) {
        self.row.sum::<SKIP_MAX, S>(s, block, max, pivot)
    }

    #[inline(always)]
    fn rescale<S: Simd<T>>(&mut self, s: S, len: usize, from: Pivot<T>, to: Pivot<T>) {
        self.row.rescale(s, len, from, to);
    }
}
