//! Whole slices, a register at a time: the loops that kernels are made of. Tails are dealt with here.

use super::{Float, Lanes, Mask, Simd};
use std::marker::PhantomData;

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
    (0..xs.len()).step_by(S::LANES).find_map(|i| {
        let hits = read(s, xs, i, fill).eq(wanted).bits();
        (hits != 0).then(|| i + hits.trailing_zeros() as usize)
    })
}

/// Numbers to read and the place for what becomes of them: two slices of one length, or one that is overwritten.
pub struct RowIo<'a, T> {
    source: *const T,
    target: *mut T,
    len: usize,
    slices: PhantomData<&'a mut [T]>,
}

impl<'a, T: Float> RowIo<'a, T> {
    /// Reads `source`, writes `target`.
    #[inline(always)]
    pub(crate) fn new(source: &'a [T], target: &'a mut [T]) -> Self {
        assert!(source.len() == target.len());
        RowIo { source: source.as_ptr(), target: target.as_mut_ptr(), len: source.len(), slices: PhantomData }
    }

    /// Reads and overwrites the same numbers.
    #[inline(always)]
    pub(crate) fn in_place(both: &'a mut [T]) -> Self {
        let target = both.as_mut_ptr();
        RowIo { source: target, target, len: both.len(), slices: PhantomData }
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

    /// Every register `v` at `i` becomes `f(i, v)`; the last, partial one is filled up with `fill`.
    #[inline(always)]
    pub(crate) fn map<S: Simd<T>>(&mut self, s: S, fill: T, f: impl Fn(usize, S::V) -> S::V) {
        self.for_each(
            s,
            fill,
            (),
            #[inline(always)]
            |(), i, v| ((), f(i, v)),
        );
    }

    /// Like [`map`](Self::map), with something carried along: `f(acc, i, v)` gives the next `acc` and what is written.
    #[inline(always)]
    pub(crate) fn for_each<S: Simd<T>, A>(
        &mut self,
        s: S,
        fill: T,
        init: A,
        f: impl Fn(A, usize, S::V) -> (A, S::V),
    ) -> A {
        let mut acc = init;
        for i in (0..self.len).step_by(S::LANES) {
            let v = read(s, self.source(), i, fill);
            let (next, out) = f(acc, i, v);
            acc = next;
            write(s, out, self.target(), i);
        }
        acc
    }
}
