//! Whole slices, a register at a time: the loops that kernels are made of. Tails are dealt with here.

use super::{Float, Lanes, Mask, Simd};
use std::marker::PhantomData;
use std::ops::Range;

/// How many elements ahead of long computations a slice is fetched: while they keep the core busy, the memory would wait.
pub(crate) const AHEAD: usize = 2048;

/// The register that starts at `xs[i]`; past the end of the slice its lanes hold `fill`.
#[inline(always)]
pub(crate) fn read<T: Float, S: Simd<T>>(s: S, xs: &[T], i: usize, fill: T) -> S::V {
    let rest = &xs[i..];
    if rest.len() >= S::LANES { s.load(&rest[..S::LANES]) } else { s.load_tail(rest, fill) }
}

/// The register to `out[i]` and after; lanes past the end of the slice are dropped.
#[inline(always)]
pub(crate) fn write<T: Float, S: Simd<T>>(s: S, v: S::V, out: &mut [T], i: usize) {
    let rest = &mut out[i..];
    if rest.len() >= S::LANES { s.store(v, &mut rest[..S::LANES]) } else { s.store_tail(v, rest) }
}

/// Where a register stands in slices of one length, and whether all of it lies inside: known when the code is compiled, so
/// that a loop over whole registers has no branch for a partial one.
#[derive(Clone, Copy)]
pub(crate) struct Spot {
    pub(crate) i: usize,
    pub(crate) is_whole: bool,
}

impl Spot {
    /// The register here; past the end of the slice its lanes hold `fill`.
    #[inline(always)]
    pub(crate) fn read<T: Float, S: Simd<T>>(self, s: S, xs: &[T], fill: T) -> S::V {
        if self.is_whole { s.load(&xs[self.i..][..S::LANES]) } else { read(s, xs, self.i, fill) }
    }

    /// The register to here; lanes past the end of the slice are dropped.
    #[inline(always)]
    pub(crate) fn write<T: Float, S: Simd<T>>(self, s: S, v: S::V, out: &mut [T]) {
        if self.is_whole { s.store(v, &mut out[self.i..][..S::LANES]) } else { write(s, v, out, self.i) }
    }
}

/// Folds `f(acc, i, register at i)` over a slice with `N` accumulators that do not wait for each other.
///
/// The last, partial register is filled up with `fill`, which `f` must be indifferent to.
#[inline(always)]
pub(crate) fn fold<const N: usize, T: Float, S: Simd<T>, A: Copy>(
    s: S,
    xs: &[T],
    fill: T,
    init: A,
    f: impl Fn(A, usize, S::V) -> A,
) -> [A; N] {
    let mut acc = [init; N];
    let mut i = 0;
    let mut groups = xs.chunks_exact(N * S::LANES);
    for group in &mut groups {
        for (n, acc) in acc.iter_mut().enumerate() {
            *acc = f(*acc, i + n * S::LANES, s.load(&group[n * S::LANES..][..S::LANES]));
        }
        i += N * S::LANES;
    }
    let mut registers = groups.remainder().chunks_exact(S::LANES);
    for acc in acc.iter_mut() {
        if let Some(register) = registers.next() {
            *acc = f(*acc, i, s.load(register));
            i += S::LANES;
        }
    }
    let tail = registers.remainder();
    if !tail.is_empty() {
        acc[0] = f(acc[0], i, s.load_tail(tail, fill));
    }
    acc
}

/// The place of the first element equal to `x`.
#[inline(always)]
pub(crate) fn position<T: Float, S: Simd<T>>(s: S, xs: &[T], x: T) -> Option<usize> {
    let wanted = s.splat(x);
    // A filler that is not `x`: the tail must not match past the end.
    let fill = if x == T::ZERO { T::ONE } else { T::ZERO };
    // A loop, not `find_map`: its closure would not always be inlined, and would then lack the instruction set.
    for i in (0..xs.len()).step_by(S::LANES) {
        let hits = read(s, xs, i, fill).eq(wanted).bits();
        if hits != 0 {
            return Some(i + hits.trailing_zeros() as usize);
        }
    }
    None
}

/// Numbers to read and the place for what becomes of them: two slices of one length, or one that is overwritten.
///
/// Work in two steps keeps what it has after the first: in the place of the result, or, where that is written past the
/// caches, in a scratch row.
pub struct RowIo<'a, T> {
    /// What came in, which is fetched ahead.
    raw: *const T,
    source: *const T,
    kept: *mut T,
    target: *mut T,
    len: usize,
    slices: PhantomData<&'a mut [T]>,
}

impl<'a, T: Float> RowIo<'a, T> {
    /// Reads `source`, writes `target`.
    #[inline(always)]
    pub(crate) fn new(source: &'a [T], target: &'a mut [T]) -> Self {
        assert!(source.len() == target.len());
        let (len, target) = (target.len(), target.as_mut_ptr());
        let source = source.as_ptr();
        RowIo { raw: source, source, kept: target, target, len, slices: PhantomData }
    }

    /// Reads and overwrites the same numbers.
    #[inline(always)]
    pub(crate) fn in_place(both: &'a mut [T]) -> Self {
        let (len, target) = (both.len(), both.as_mut_ptr());
        RowIo { raw: target, source: target, kept: target, target, len, slices: PhantomData }
    }

    /// Reads `source`, writes `target` past the caches, which are left to `scratch`.
    #[inline(always)]
    pub(crate) fn streaming(source: &'a [T], target: &'a mut [T], scratch: &'a mut [T]) -> Self {
        assert!(scratch.len() >= source.len());
        RowIo { kept: scratch.as_mut_ptr(), ..Self::new(source, target) }
    }

    /// What came in is first made something else, where it will be kept ([`way_to_kept`](Self::way_to_kept)): that is read then.
    #[inline(always)]
    pub(crate) fn by_way_of_kept(self) -> Self {
        RowIo { source: self.kept, ..self }
    }

    /// The way of a block from what came in to where it is kept.
    #[inline(always)]
    pub(crate) fn way_to_kept(&mut self, block: Range<usize>) -> RowIo<'_, T> {
        assert!(block.start <= block.end && block.end <= self.len);
        let (raw, kept) = (self.raw.wrapping_add(block.start), self.kept.wrapping_add(block.start));
        RowIo { raw, source: raw, kept, target: kept, len: block.len(), slices: PhantomData }
    }

    /// What came in, until it is overwritten.
    #[inline(always)]
    pub(crate) fn raw(&self) -> &[T] {
        // SAFETY: made from a slice of this length that is borrowed for 'a; `&self` keeps writers out.
        unsafe { std::slice::from_raw_parts(self.raw, self.len) }
    }

    /// What is read: the input, until it is overwritten.
    #[inline(always)]
    pub(crate) fn source(&self) -> &[T] {
        // SAFETY: made from a slice of this length that is borrowed for 'a; `&self` keeps writers out.
        unsafe { std::slice::from_raw_parts(self.source, self.len) }
    }

    /// What is written.
    #[inline(always)]
    pub(crate) fn target(&mut self) -> &mut [T] {
        // SAFETY: made from a mutable slice of this length that is borrowed for 'a; `&mut self` keeps others out.
        unsafe { std::slice::from_raw_parts_mut(self.target, self.len) }
    }

    /// What has been kept so far: the first `len` numbers.
    #[inline(always)]
    pub(crate) fn kept(&mut self, len: usize) -> &mut [T] {
        assert!(len <= self.len);
        // SAFETY: made from a mutable slice of at least this length that is borrowed for 'a, or one with the target.
        unsafe { std::slice::from_raw_parts_mut(self.kept, len) }
    }

    /// Every register `v` at `i` becomes `f(i, v)`; the last, partial one is filled up with `fill`.
    #[inline(always)]
    pub(crate) fn map<S: Simd<T>>(&mut self, s: S, fill: T, f: impl Fn(usize, S::V) -> S::V) {
        for i in (0..self.len).step_by(S::LANES) {
            let out = f(i, read(s, self.source(), i, fill));
            write(s, out, self.target(), i);
        }
    }

    /// First step, block by block: like [`fold`], and `f(acc, v)` also says what is kept of the register `v`.
    #[inline(always)]
    pub(crate) fn keep<const N: usize, S: Simd<T>, A: Copy>(
        &mut self,
        s: S,
        block: Range<usize>,
        fill: T,
        init: A,
        f: impl Fn(A, S::V) -> (A, S::V),
    ) -> [A; N] {
        let mut acc = [init; N];
        let mut i = block.start;
        while i + N * S::LANES <= block.end {
            for (n, acc) in acc.iter_mut().enumerate() {
                *acc = self.keep_register(s, i + n * S::LANES, fill, *acc, &f);
            }
            i += N * S::LANES;
        }
        for acc in acc.iter_mut() {
            if i + S::LANES <= block.end {
                *acc = self.keep_register(s, i, fill, *acc, &f);
                i += S::LANES;
            }
        }
        if i < block.end {
            acc[0] = self.keep_register(s, i, fill, acc[0], &f);
        }
        acc
    }

    #[inline(always)]
    fn keep_register<S: Simd<T>, A>(
        &mut self,
        s: S,
        i: usize,
        fill: T,
        acc: A,
        f: &impl Fn(A, S::V) -> (A, S::V),
    ) -> A {
        s.prefetch(self.raw(), i + AHEAD);
        let (acc, kept) = f(acc, read(s, self.source(), i, fill));
        write(s, kept, self.kept(self.len), i);
        acc
    }

    /// Second step: every register `v` that was kept at `i` becomes `f(i, v)`.
    #[inline(always)]
    pub(crate) fn finish<S: Simd<T>>(&mut self, s: S, f: impl Fn(usize, S::V) -> S::V) {
        if self.kept == self.target {
            for i in (0..self.len).step_by(S::LANES) {
                let out = f(i, read(s, self.target(), i, T::ZERO));
                write(s, out, self.target(), i);
            }
            return;
        }
        // Past the caches only whole aligned registers go: the first elements are written apart.
        let bytes = S::LANES * size_of::<T>();
        let head = (self.target.addr().wrapping_neg() % bytes / size_of::<T>()).min(self.len);
        if head > 0 {
            let out = f(0, s.load_tail(self.kept(head), T::ZERO));
            s.store_tail(out, &mut self.target()[..head]);
        }
        let mut i = head;
        while i + S::LANES <= self.len {
            let out = f(i, s.load(&self.kept(i + S::LANES)[i..]));
            s.stream(out, &mut self.target()[i..i + S::LANES]);
            i += S::LANES;
        }
        if i < self.len {
            let out = f(i, s.load_tail(&self.kept(self.len)[i..], T::ZERO));
            s.store_tail(out, &mut self.target()[i..]);
        }
        s.fence();
    }
}
