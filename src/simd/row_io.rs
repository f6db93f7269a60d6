//! A row that is read and written one register at a time: in place, to a separate output, or bypassing the caches.

use super::slices::{AHEAD, are_too_many, read, write};
use super::{Float, Simd};
use std::marker::PhantomData;
use std::ops::Range;

/// The longest row for whose results the place is prefetched.
const MAX_PREFETCHED: usize = 1024;

/// A row to read and the place for its result: two slices of the same length, or one slice that is overwritten.
///
/// A kernel in two steps keeps the result of the first step: in the output, or in a scratch row if the output bypasses
/// the caches.
pub struct RowIo<'a, T> {
    /// The original row, which is prefetched.
    input: *const T,
    /// The numbers to read: the input or the mapped input.
    source: *const T,
    /// The place for the results of the first step.
    kept: *mut T,
    output: *mut T,
    len: usize,
    slices: PhantomData<&'a mut [T]>,
}

impl<'a, T: Float> RowIo<'a, T> {
    /// Reads `input`, writes `output`.
    #[inline(always)]
    pub(crate) fn new(input: &'a [T], output: &'a mut [T]) -> Self {
        assert!(input.len() == output.len());
        let (len, output) = (output.len(), output.as_mut_ptr());
        let input = input.as_ptr();
        RowIo { input, source: input, kept: output, output, len, slices: PhantomData }
    }

    /// Reads and overwrites the same numbers.
    #[inline(always)]
    pub(crate) fn in_place(both: &'a mut [T]) -> Self {
        let (len, output) = (both.len(), both.as_mut_ptr());
        RowIo { input: output, source: output, kept: output, output, len, slices: PhantomData }
    }

    /// Reads `input`, writes `output` bypassing the caches, and keeps the results of the first step in `scratch`.
    #[inline(always)]
    pub(crate) fn streaming(input: &'a [T], output: &'a mut [T], scratch: &'a mut [T]) -> Self {
        assert!(scratch.len() >= input.len());
        RowIo { kept: scratch.as_mut_ptr(), ..Self::new(input, output) }
    }

    /// The same row, but all reads come from the kept numbers. The caller first maps the input to that place
    /// ([`map_to_kept`](Self::map_to_kept)).
    #[inline(always)]
    pub(crate) fn mapped(self) -> Self {
        RowIo { source: self.kept, ..self }
    }

    /// A block of the input, with the kept numbers as its output.
    #[inline(always)]
    pub(crate) fn map_to_kept(&mut self, block: Range<usize>) -> RowIo<'_, T> {
        let RowIo { input, kept, len, .. } = self.block(block);
        RowIo { input, source: input, kept, output: kept, len, slices: PhantomData }
    }

    /// A block of the row.
    #[inline(always)]
    fn block(&mut self, block: Range<usize>) -> RowIo<'_, T> {
        assert!(block.start <= block.end && block.end <= self.len);
        let start = block.start;
        RowIo {
            input: self.input.wrapping_add(start),
            source: self.source.wrapping_add(start),
            kept: self.kept.wrapping_add(start),
            output: self.output.wrapping_add(start),
            len: block.len(),
            slices: PhantomData,
        }
    }

    /// The input, until it is overwritten.
    #[inline(always)]
    pub(crate) fn input(&self) -> &[T] {
        // SAFETY: made from a slice of this length that is borrowed for 'a; `&self` keeps writers out.
        unsafe { std::slice::from_raw_parts(self.input, self.len) }
    }

    /// The numbers to read, the input or the mapped input, until they are overwritten.
    #[inline(always)]
    pub(crate) fn source(&self) -> &[T] {
        // SAFETY: made from a slice of this length that is borrowed for 'a; `&self` keeps writers out.
        unsafe { std::slice::from_raw_parts(self.source, self.len) }
    }

    /// The output.
    #[inline(always)]
    pub(crate) fn output(&mut self) -> &mut [T] {
        // SAFETY: made from a mutable slice of this length that is borrowed for 'a; `&mut self` keeps others out.
        unsafe { std::slice::from_raw_parts_mut(self.output, self.len) }
    }

    /// The first `len` kept numbers.
    #[inline(always)]
    pub(crate) fn kept(&mut self, len: usize) -> &mut [T] {
        assert!(len <= self.len);
        // SAFETY: made from a mutable slice of at least this length that is borrowed for 'a, or one with the output.
        unsafe { std::slice::from_raw_parts_mut(self.kept, len) }
    }

    /// Replaces every register `v` at `i` by `f(i, v)`; the last, partial register is filled with `fill`.
    #[inline(always)]
    pub(crate) fn map<S: Simd<T>>(&mut self, s: S, fill: T, f: impl Fn(usize, S::V) -> S::V) {
        // Whole registers and the partial one share one copy of `f`: the branch costs little compared with `f`.
        for i in (0..self.len).step_by(S::LANES) {
            let v = f(i, read(s, self.source(), i, fill));
            write(s, v, self.output(), i);
        }
    }

    /// First step, on a block: like [`fold`](super::fold), but `f(acc, v)` also returns the register that is kept for
    /// `v`. `after(N)` is called after every `N` registers.
    #[inline(always)]
    pub(crate) fn keep<const N: usize, S: Simd<T>, A: Copy>(
        &mut self,
        s: S,
        block: Range<usize>,
        fill: T,
        init: A,
        f: impl Fn(A, S::V) -> (A, S::V),
        mut after: impl FnMut(usize),
    ) -> [A; N] {
        let prefetches_output = self.prefetches_output();
        let mut block = self.block(block);
        let (mut acc, mut i) = ([init; N], 0);
        let whole = block.len / (N * S::LANES) * N * S::LANES;
        if are_too_many::<N, T, S>(s) {
            for half in 0..2 {
                let mut two = [init; 2];
                while i < (half + 1) * whole / 2 {
                    for acc in &mut two {
                        // SAFETY: the registers up to `whole` lie inside the block.
                        *acc = unsafe { block.keep_at(s, i, *acc, prefetches_output, &f) };
                        i += S::LANES;
                    }
                    after(2);
                }
                acc[2 * half..][..2].copy_from_slice(&two);
            }
        } else {
            while i < whole {
                for acc in &mut acc {
                    // SAFETY: the registers up to `whole` lie inside the block.
                    *acc = unsafe { block.keep_at(s, i, *acc, prefetches_output, &f) };
                    i += S::LANES;
                }
                after(N);
            }
        }
        // The remaining registers and the partial one share one copy of `f`.
        while i < block.len {
            s.prefetch(block.input(), i + AHEAD);
            if prefetches_output {
                s.prefetch_to_write(block.output(), i + AHEAD);
            }
            let kept;
            (acc[0], kept) = f(acc[0], read(s, block.source(), i, fill));
            let len = block.len;
            write(s, kept, block.kept(len), i);
            i += S::LANES;
        }
        acc
    }

    /// Keeps what `f` returns for the register at element `i`.
    ///
    /// # Safety
    /// A whole register from `i` on lies inside the row.
    #[inline(always)]
    unsafe fn keep_at<S: Simd<T>, A>(
        &mut self,
        s: S,
        i: usize,
        acc: A,
        prefetches_output: bool,
        f: &impl Fn(A, S::V) -> (A, S::V),
    ) -> A {
        s.prefetch(self.input(), i + AHEAD);
        if prefetches_output {
            s.prefetch_to_write(self.output(), i + AHEAD);
        }
        // SAFETY: the caller's promise.
        unsafe {
            let (acc, kept) = f(acc, load(s, self.source, i));
            store(s, kept, self.kept, i);
            acc
        }
    }

    /// Whether the place for results is prefetched. Of long rows the processor does so by itself, and where results bypass
    /// the caches nobody should.
    #[inline(always)]
    fn prefetches_output(&self) -> bool {
        self.kept == self.output && self.len <= MAX_PREFETCHED
    }

    /// Second step: writes `f(i, v)` to the output for every kept register `v` at `i`.
    #[inline(always)]
    pub(crate) fn finish<S: Simd<T>>(&mut self, s: S, f: impl Fn(usize, S::V) -> S::V) {
        self.finish_from(s, self.kept, T::ZERO, f);
    }

    /// The same for every register of the source, if the first step has kept nothing; partial registers are filled with
    /// `fill`.
    #[inline(always)]
    pub(crate) fn finish_source<S: Simd<T>>(&mut self, s: S, fill: T, f: impl Fn(usize, S::V) -> S::V) {
        self.finish_from(s, self.source, fill, f);
    }

    /// Reads `from`, one of the row's own pointers.
    #[inline(always)]
    fn finish_from<S: Simd<T>>(&mut self, s: S, from: *const T, fill: T, f: impl Fn(usize, S::V) -> S::V) {
        // Only whole aligned registers can bypass the caches: the numbers before the first one are written normally.
        let (streams, bytes) = (self.kept != self.output, S::LANES * size_of::<T>());
        // The first step has not prefetched the place for what it did not keep.
        let prefetches_output = from != self.output && self.prefetches_output();
        let head = if streams { self.output.addr().wrapping_neg() % bytes / size_of::<T>() } else { 0 }.min(self.len);
        let tail = self.len - (self.len - head) % S::LANES;
        for i in (head..tail).step_by(S::LANES) {
            // SAFETY: a register from `i` on ends at or before `tail`; it is aligned where it is streamed.
            unsafe {
                let v = f(i, load(s, from, i));
                if prefetches_output {
                    s.prefetch_to_write(self.output(), i + AHEAD);
                }
                if streams { s.stream(v, &mut *self.output.add(i).cast()) } else { store(s, v, self.output, i) }
            }
        }
        for part in [0..head, tail..self.len] {
            if !part.is_empty() {
                // SAFETY: the row is borrowed for 'a, and nothing writes to it before the register is loaded.
                let row = unsafe { std::slice::from_raw_parts(from, self.len) };
                let v = f(part.start, s.load_tail(&row[part.clone()], fill));
                s.store_tail(v, &mut self.output()[part]);
            }
        }
        if streams {
            s.fence();
        }
    }
}

/// Loads the register at element `i`.
///
/// # Safety
/// A whole register from `i` on is readable, and nothing writes to it meanwhile.
#[inline(always)]
unsafe fn load<T: Float, S: Simd<T>>(s: S, from: *const T, i: usize) -> S::V {
    // SAFETY: the caller's promise; `Simd::Array` is an array of `LANES` numbers.
    s.load(unsafe { &*from.add(i).cast::<S::Array>() })
}

/// Stores a register at element `i`.
///
/// # Safety
/// There is space for a whole register from `i` on, and nothing else refers to it meanwhile.
#[inline(always)]
unsafe fn store<T: Float, S: Simd<T>>(s: S, v: S::V, to: *mut T, i: usize) {
    // SAFETY: the caller's promise; `Simd::Array` is an array of `LANES` numbers.
    s.store(v, unsafe { &mut *to.add(i).cast::<S::Array>() });
}
