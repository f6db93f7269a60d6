//! Blocks of positions of many classes, one after the other.

use super::Neighbours;
use crate::api::GradOutput;
use crate::losses::Position;
use crate::math::Real;
use crate::simd::{Kernel, Simd};
use crate::view::{Rows, RowsIo};

/// The divergences of the pairs that end in a block of rows.
pub(super) struct Values<'k, T> {
    pub(super) neighbours: Neighbours<'k>,
    pub(super) first: usize,
    pub(super) before: Option<&'k [T]>,
    pub(super) block: Rows<'k, T>,
    pub(super) scratch: &'k mut [T],
    pub(super) each: Option<&'k mut [T]>,
}

impl<T: Real> Kernel<T> for Values<'_, T> {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) -> f64 {
        let Values { neighbours, first, before, block, scratch, mut each } = self;
        let (one, two) = scratch.split_at_mut(scratch.len() / 2);
        let (mut last, mut here) = (Position::new(one, block.columns()), Position::new(two, block.columns()));
        if let Some(before) = before {
            last.load::<false, S>(s, before);
        }
        let mut total = 0.0;
        for i in 0..block.rows() {
            here.load::<false, S>(s, block.row(i));
            if neighbours.count(first + i) {
                let divergence = last.divergence::<false, S>(s, &mut here, 1.0);
                if let Some(each) = &mut each {
                    each[neighbours.pairs_before(first + i) - neighbours.pairs_before(first)] = T::from_f64(divergence);
                }
                total += divergence;
            }
            std::mem::swap(&mut last, &mut here);
        }
        total
    }
}

/// The same, and the gradients of the rows.
pub(super) struct Grads<'k, T> {
    pub(super) neighbours: Neighbours<'k>,
    pub(super) first: usize,
    pub(super) before: Option<&'k [T]>,
    pub(super) after: Option<&'k [T]>,
    pub(super) block: RowsIo<'k, T>,
    pub(super) scratch: &'k mut [T],
    pub(super) scale: f64,
    pub(super) upstream: GradOutput<'k, T>,
    pub(super) each: Option<&'k mut [T]>,
}

impl<T: Real> Kernel<T> for Grads<'_, T> {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) -> f64 {
        let Grads { neighbours, first, before, after, mut block, scratch, scale, upstream, mut each } = self;
        let (rows, classes) = (block.rows(), block.columns());
        let (one, two) = scratch.split_at_mut(scratch.len() / 2);
        let (mut last, mut here) = (Position::new(one, classes), Position::new(two, classes));
        if let Some(before) = before {
            last.load::<true, S>(s, before);
        }
        let mut total = 0.0;
        for i in 0..=rows {
            // 1. a copy of the row, as its gradient may be written over it before the next row has read it
            let there = if i < rows { Some(block.source().row(i)) } else { after };
            if let Some(row) = there {
                here.load::<true, S>(s, row);
            }
            // 2. its divergence from the last row, which counts for the block of this row
            if there.is_some() && neighbours.count(first + i) {
                let upstream = upstream.at(neighbours.pairs_before(first + i));
                let divergence = last.divergence::<true, S>(s, &mut here, upstream);
                if i < rows {
                    if let Some(each) = &mut each {
                        each[neighbours.pairs_before(first + i) - neighbours.pairs_before(first)] =
                            T::from_f64(divergence);
                    }
                    total += divergence;
                }
            }
            // 3. the gradient of the last row, with both neighbours evaluated
            if i > 0 {
                last.gradient(s, scale, &mut block.target()[(i - 1) * classes..][..classes]);
            }
            std::mem::swap(&mut last, &mut here);
        }
        total
    }
}
