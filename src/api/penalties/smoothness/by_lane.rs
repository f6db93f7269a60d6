//! Blocks of positions of few classes, by lane: a position a lane, a class a register.

use super::Neighbours;
use crate::api::GradOutput;
use crate::losses::Positions;
use crate::math::Real;
use crate::simd::{Kernel, Simd, read};
use crate::tile::Total;
use crate::view::{Rows, RowsIo};

/// Rows to read, or rows with places for their gradients.
pub(super) enum Block<'k, T> {
    Values(Rows<'k, T>),
    Grads(RowsIo<'k, T>),
}

impl<T: Real> Block<'_, T> {
    #[inline(always)]
    fn shape(&self) -> [usize; 2] {
        match self {
            Block::Values(rows) => [rows.rows(), rows.columns()],
            Block::Grads(rows) => [rows.rows(), rows.columns()],
        }
    }

    /// The input from row `i` on, and the stride of the rows.
    #[inline(always)]
    fn from(&self, i: usize) -> (&[T], usize) {
        match self {
            Block::Values(rows) => rows.from(i),
            Block::Grads(rows) => rows.from(i),
        }
    }
}

/// The divergences of the pairs that end in a block of rows, and with `GRAD` the gradients of the rows.
pub(super) struct ByLane<'k, T, const GRAD: bool> {
    pub(super) neighbours: Neighbours<'k>,
    pub(super) first: usize,
    pub(super) before: Option<&'k [T]>,
    pub(super) after: Option<&'k [T]>,
    pub(super) block: Block<'k, T>,
    pub(super) scratch: &'k mut [T],
    pub(super) scale: f64,
    pub(super) upstream: GradOutput<'k, T>,
    pub(super) each: Option<&'k mut [T]>,
}

impl<T: Real, const GRAD: bool> Kernel<T> for ByLane<'_, T, GRAD> {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) -> f64 {
        let ByLane { neighbours, first, before, after, mut block, scratch, scale, upstream, mut each } = self;
        let [rows, classes] = block.shape();
        let (mut positions, span) = (Positions::new(scratch, classes), Positions::<T>::span(classes));
        let mut total = Total::new();
        if let Some(before) = before {
            positions.load(s, 0, (before, classes), 1);
        }
        for start in (0..rows).step_by(span) {
            // 1. copies of the rows, as gradients may be written over them. The first position is the row before them.
            let count = span.min(rows - start);
            let is_last = start + count == rows;
            positions.load(s, 1, block.from(start), count);
            let next = if GRAD && is_last { after } else { None };
            if let Some(next) = next {
                positions.load(s, count + 1, (next, classes), 1);
            }
            // 2. divergences; that from the row after the block counts for the next block
            let pairs = count + usize::from(GRAD && is_last);
            neighbours.mark(first + start, count + usize::from(next.is_some()), positions.counts());
            if let GradOutput::Each(upstream) = upstream {
                neighbours.spread(first + start, upstream, positions.upstream());
            }
            positions.diverge::<GRAD, S>(s, pairs);
            let divergences = &positions.divergences()[..count];
            for j in (0..count).step_by(S::LANES) {
                total.add(s, read(s, divergences, j, T::ZERO));
            }
            if let Some(each) = &mut each {
                neighbours.keep(first, first + start, divergences, each);
            }
            // 3. the gradients of all rows with both neighbours evaluated
            if GRAD && let Block::Grads(rows) = &mut block {
                let ready = usize::from(start == 0)..count + usize::from(is_last);
                let out = &mut rows.target()[(start + ready.start - 1) * classes..];
                positions.gradients(s, ready, scale, out);
            }
            positions.carry(count);
        }
        total.sum()
    }
}

impl Neighbours<'_> {
    /// Sets a mark to 1 where a row and the row before it are neighbours that count, to 0 elsewhere.
    fn mark<T: Real>(&self, row: usize, rows: usize, marks: &mut [T]) {
        marks.fill(T::ZERO);
        let mut place = row % self.length;
        for (i, mark) in marks[..rows].iter_mut().enumerate() {
            let of_one = self.segments.is_none_or(|segments| place == 0 || segments[row + i - 1] == segments[row + i]);
            *mark = if place > 0 && of_one { T::ONE } else { T::ZERO };
            place = if place + 1 == self.length { 0 } else { place + 1 };
        }
    }

    /// Copies the factors of the gradients of the pairs that end in the rows from `row` on.
    fn spread<T: Real>(&self, row: usize, upstream: &[T], to: &mut [T]) {
        let mut rest = upstream[self.pairs_before(row)..].iter();
        for (_, to) in to.iter_mut().enumerate().filter(|(i, _)| !(row + i).is_multiple_of(self.length)) {
            *to = rest.next().copied().unwrap_or(T::ONE);
        }
    }

    /// Copies the divergences of the pairs that end in the rows from `row` on, in a block that begins with row `first`.
    fn keep<T: Real>(&self, first: usize, row: usize, divergences: &[T], each: &mut [T]) {
        let places = each[self.pairs_before(row) - self.pairs_before(first)..].iter_mut();
        let pairs = divergences.iter().enumerate().filter(|(i, _)| !(row + i).is_multiple_of(self.length));
        for (place, (_, &divergence)) in places.zip(pairs) {
            *place = divergence;
        }
    }
}
