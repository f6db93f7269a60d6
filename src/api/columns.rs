//! Logits that stand a class at a time, all rows of the first class, then all of the next: what NumPy calls Fortran
//! order. They are read, and derivatives are written, where they lie.

use super::{CurvedObjective, GradOutput, HessOptions, HessScale, Loss, Reduction, divisor, reduce, with_losses};
use crate::error::{Error, Result};
use crate::math::Real;
use crate::memory;
use crate::parallel;
use crate::simd::{Isa, Simd, lanes_of, write};
use std::ops::Range;

/// Logits a class at a time.
#[derive(Clone, Copy, Debug)]
pub struct Columns<'a, T> {
    data: &'a [T],
    rows: usize,
    classes: usize,
}

impl<'a, T> Columns<'a, T> {
    /// The rows of all classes, one class after the other.
    ///
    /// # Errors
    /// [`Error::Shape`] unless `data` holds exactly `rows * classes` numbers.
    pub fn new(data: &'a [T], rows: usize, classes: usize) -> Result<Self> {
        if rows.checked_mul(classes) != Some(data.len()) {
            return Err(Error::Shape { name: "logits", expected: vec![rows, classes], got: vec![data.len()] });
        }
        Ok(Columns { data, rows, classes })
    }

    /// The number of classes.
    #[inline(always)]
    pub(super) fn classes(&self) -> usize {
        self.classes
    }

    /// The logits of a class.
    #[inline(always)]
    pub(super) fn class(&self, k: usize) -> &'a [T] {
        &self.data[k * self.rows..][..self.rows]
    }
}

/// Places for as many numbers, in the type of the logits or in single precision.
#[derive(Debug)]
pub enum ColumnPlaces<'a, T> {
    /// In the type of the logits.
    Same(&'a mut [T]),
    /// In single precision.
    Single(&'a mut [f32]),
}

impl<'a, T: Real> ColumnPlaces<'a, T> {
    fn check(&self, name: &'static str, logits: &Columns<'_, T>) -> Result<()> {
        let got = match self {
            ColumnPlaces::Same(places) => places.len(),
            ColumnPlaces::Single(places) => places.len(),
        };
        if got == logits.data.len() {
            return Ok(());
        }
        Err(Error::Shape { name, expected: vec![logits.rows, logits.classes], got: vec![got] })
    }

    fn clear(&mut self) {
        match self {
            ColumnPlaces::Same(places) => places.fill(T::ZERO),
            ColumnPlaces::Single(places) => places.fill(0.0),
        }
    }

    /// The places of the rows of each block: a slice for each class.
    fn blocks(&mut self, rows: usize, size: usize) -> std::vec::IntoIter<BlockPlaces<'_, T>> {
        fn cut<N>(places: &mut [N], rows: usize, size: usize) -> Vec<Vec<&mut [N]>> {
            let count = places.len().checked_div(rows).unwrap_or(0);
            let mut blocks = memory::list((0..rows.div_ceil(size)).map(|_| memory::with_capacity(count)));
            for class in places.chunks_exact_mut(rows.max(1)) {
                for (block, part) in blocks.iter_mut().zip(class.chunks_mut(size)) {
                    block.push(part);
                }
            }
            blocks
        }
        let blocks = match self {
            ColumnPlaces::Same(places) => memory::list(cut(places, rows, size).into_iter().map(BlockPlaces::Same)),
            ColumnPlaces::Single(places) => memory::list(cut(places, rows, size).into_iter().map(BlockPlaces::Single)),
        };
        blocks.into_iter()
    }
}

/// The places of a block of rows, a slice for each class.
pub enum BlockPlaces<'a, T> {
    /// See [`ColumnPlaces::Same`].
    Same(Vec<&'a mut [T]>),
    /// See [`ColumnPlaces::Single`].
    Single(Vec<&'a mut [f32]>),
}

impl<T: Real> BlockPlaces<'_, T> {
    /// Writes the numbers of a class, at most a register of them.
    #[inline(always)]
    pub(super) fn put<S: Simd<T>>(&mut self, s: S, class: usize, rows: Range<usize>, v: S::V) {
        match self {
            BlockPlaces::Same(places) => write(s, v, &mut places[class][..rows.end], rows.start),
            BlockPlaces::Single(places) => {
                let (lanes, places) = (lanes_of(s, v), &mut places[class][rows]);
                // A loop of fixed length is one of registers.
                let whole = if places.len() == S::LANES { S::LANES } else { 0 };
                let (fixed, rest) = places.split_at_mut(whole);
                if let Some(fixed) = fixed.get_mut(..S::LANES) {
                    for (place, x) in fixed.iter_mut().zip(lanes.as_ref()) {
                        *place = x.to_f64() as f32;
                    }
                }
                for (place, x) in rest.iter_mut().zip(lanes.as_ref()) {
                    *place = x.to_f64() as f32;
                }
            }
        }
    }
}

/// A block of rows, with places for the derivatives that are wanted.
pub struct ColumnBlock<'a, T> {
    /// All logits, those of other blocks too.
    pub(super) logits: Columns<'a, T>,
    /// The number of rows of the block.
    pub(super) rows: usize,
    pub(super) grad: Option<BlockPlaces<'a, T>>,
    pub(super) hess: Option<BlockHess<'a, T>>,
}

/// The places for the diagonals of Hessians, and what is written there.
pub(super) struct BlockHess<'a, T> {
    pub(super) places: BlockPlaces<'a, T>,
    pub(super) options: HessOptions,
    pub(super) scale: HessScale,
}

/// The loss of logits that stand a class at a time, and the derivatives for which there are places. None where the
/// objective has no such loop: of many classes, and of some options.
///
/// # Errors
/// As of [`value_grad_hess`](super::value_grad_hess), and [`Error::Shape`] for places that do not fit. Then nothing is
/// written.
pub fn value_by_column<T: Real>(
    objective: &dyn CurvedObjective<T>,
    logits: Columns<'_, T>,
    mut grad: Option<ColumnPlaces<'_, T>>,
    mut hess: Option<(ColumnPlaces<'_, T>, HessOptions)>,
    reduction: Reduction,
    grad_output: GradOutput<'_, T>,
) -> Result<Option<Loss<T>>> {
    let (isa, Columns { rows, classes, .. }) = (Isa::active()?, logits);
    if !objective.goes_by_column(classes, hess.as_ref().map(|(_, options)| options.curvature)) {
        return Ok(None);
    }
    objective.check(rows, classes)?;
    grad_output.check(rows)?;
    grad.as_ref().map_or(Ok(()), |grad| grad.check("out", &logits))?;
    hess.as_ref().map_or(Ok(()), |(hess, _)| hess.check("hess", &logits))?;
    let divisor = divisor(objective, isa, reduction, rows, classes);
    if divisor == 0.0 || grad_output.is_zero() {
        grad.iter_mut().for_each(ColumnPlaces::clear);
        grad = None;
    }
    if divisor == 0.0 {
        hess.iter_mut().for_each(|(hess, _)| hess.clear());
        return Ok(Some(Loss::Scalar(0.0)));
    }
    // The same blocks as of rows, so that the losses are added up in the same order.
    let (size, scale) = (parallel::block_rows(classes), grad_output.over(divisor));
    reduce(objective, reduction, rows, classes, divisor, |each| {
        let mut grads = grad.as_mut().map(|grad| grad.blocks(rows, size));
        let mut hesses = hess.as_mut().map(|(hess, options)| (hess.blocks(rows, size), *options));
        let blocks = (0..rows.div_ceil(size)).map(|b| ColumnBlock {
            logits,
            rows: size.min(rows - b * size),
            grad: grads.as_mut().and_then(Iterator::next),
            hess: hesses.as_mut().and_then(|(hesses, options)| {
                let scale = options.over(divisor);
                hesses.next().map(|places| BlockHess { places, options: *options, scale })
            }),
        });
        Ok(parallel::sum(with_losses(blocks, each, size), rows * classes, |(b, block, each)| {
            objective.by_column(isa, b * size, block, scale, each)
        }))
    })
    .map(Some)
}
