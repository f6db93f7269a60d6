//! Penalties on neighbouring rows of a sequence.

mod by_lane;
mod by_row;

use crate::api::{GradOutput, Loss, Reduction};
use crate::error::{Error, Result};
use crate::losses::{Position, Positions};
use crate::math::Real;
use crate::memory;
use crate::parallel;
use crate::simd::Isa;
use crate::storage::{Place, Storage, StoredIo, StoredRows};
use crate::tile;
use crate::view::{Rows, RowsIo};
use by_lane::{Block, ByLane};
use by_row::{Grads, Values};

/// Which rows are neighbours: consecutive rows of sequences of equal length.
#[derive(Clone, Copy, Debug)]
pub struct Neighbours<'a> {
    /// Rows of a sequence.
    pub length: usize,
    /// The segment of each row; neighbours of different segments do not count. Where absent there is one segment.
    pub segments: Option<&'a [i64]>,
}

impl Neighbours<'_> {
    fn check(&self, rows: usize) -> Result<()> {
        if rows != rows.checked_div(self.length).unwrap_or(0) * self.length {
            return Err(Error::Shape { name: "logits", expected: vec![self.length], got: vec![rows] });
        }
        match self.segments {
            Some(segments) if segments.len() != rows => {
                Err(Error::Shape { name: "segments", expected: vec![rows], got: vec![segments.len()] })
            }
            _ => Ok(()),
        }
    }

    /// Whether a row and the one before it are neighbours that count.
    #[inline(always)]
    fn count(&self, row: usize) -> bool {
        !row.is_multiple_of(self.length) && self.segments.is_none_or(|segments| segments[row - 1] == segments[row])
    }

    /// Number of pairs that count among the first `rows` rows.
    fn pairs(&self, rows: usize) -> usize {
        let Some(segments) = self.segments else { return self.pairs_before(rows) };
        let of_one = |sequence: &[i64]| sequence.windows(2).filter(|pair| pair[0] == pair[1]).count();
        segments.chunks(self.length.max(1)).map(of_one).sum()
    }

    /// Number of pairs that end before a row, whether they count or not.
    fn pairs_before(&self, row: usize) -> usize {
        row - row.div_ceil(self.length.max(1))
    }
}

/// The least number of rows of a block, at whose ends rows are evaluated twice.
const BLOCK_ROWS: usize = 16;

/// Jensen-Shannon divergence of neighbouring rows: of each pair, the sum or the mean.
///
/// # Errors
/// [`Error::Shape`] unless the rows form whole sequences and have a segment each; an unknown `XENTRS_ISA`.
pub fn js_smoothness<S: Storage>(
    logits: Rows<'_, S>,
    neighbours: Neighbours<'_>,
    reduction: Reduction,
) -> Result<Loss<S::Real>> {
    js_smoothness_of(S::rows(logits), neighbours, reduction)
}

fn js_smoothness_of<T: Real>(
    logits: StoredRows<'_, T>,
    neighbours: Neighbours<'_>,
    reduction: Reduction,
) -> Result<Loss<T>> {
    let (isa, rows, classes) = (Isa::active()?, logits.rows(), logits.columns());
    smoothness(neighbours, [rows, classes], reduction, |_, mut each| {
        let size = parallel::block_rows(classes).max(BLOCK_ROWS);
        let blocks = logits.blocks(size).enumerate().map(|(b, block)| {
            let first = b * size;
            let each = part(&mut each, &neighbours, first, block.rows());
            (first, block, each)
        });
        parallel::sum(blocks, rows * classes, |(first, block, each)| {
            let before = first.checked_sub(1).map(|row| logits.part(row, 1));
            widened_row(isa, before, |before| {
                block.widened(isa, |block| {
                    if !tile::are_few(classes) {
                        return T::with_scratch(2 * Position::<T>::SCRATCH * classes, |scratch| {
                            T::dispatch(isa, Values { neighbours, first, before, block, scratch, each })
                        });
                    }
                    T::with_scratch(Positions::<T>::scratch_len(classes), |scratch| {
                        let (block, after, scale) = (Block::Values(block), None, 1.0);
                        let upstream = GradOutput::ONE;
                        let kernel = ByLane { neighbours, first, before, after, block, scratch, scale, upstream, each };
                        T::dispatch::<ByLane<'_, _, false>>(isa, kernel)
                    })
                })
            })
        })
    })
}

/// The same, and its gradient with respect to the logits, times `grad_output`, which has one number for each pair or
/// for all. It is written beside or over them, in their type or in that of the computation.
///
/// # Errors
/// As of [`js_smoothness`], and [`Error::Shape`] unless `grad_output` fits the pairs. Then nothing is written.
pub fn js_smoothness_with_grad<S: Storage, O: Place<S>>(
    logits: RowsIo<'_, S, O>,
    neighbours: Neighbours<'_>,
    reduction: Reduction,
    grad_output: GradOutput<'_, S::Real>,
) -> Result<Loss<S::Real>> {
    js_smoothness_with_grad_of(O::rows_io(logits), neighbours, reduction, grad_output)
}

pub(crate) fn js_smoothness_with_grad_of<T: Real>(
    mut logits: StoredIo<'_, T>,
    neighbours: Neighbours<'_>,
    reduction: Reduction,
    grad_output: GradOutput<'_, T>,
) -> Result<Loss<T>> {
    let (isa, rows, classes) = (Isa::active()?, logits.rows(), logits.columns());
    neighbours.check(rows)?;
    grad_output.check(neighbours.pairs_before(rows))?;
    if grad_output.is_zero() {
        let loss = js_smoothness_of(logits.source(), neighbours, reduction)?;
        logits.target().clear();
        return Ok(loss);
    }
    let (factor, upstream) = match grad_output {
        GradOutput::Number(number) => (number, GradOutput::ONE),
        each => (1.0, each),
    };
    if neighbours.pairs(rows) == 0 {
        logits.target().clear();
    }
    smoothness(neighbours, [rows, classes], reduction, |scale, mut each| {
        let scale = scale * factor;
        let size = parallel::block_rows(classes).max(BLOCK_ROWS);
        // Copies of the rows on both sides of each border between blocks: either block may overwrite its row before the
        // other block reads it.
        let source = logits.apart();
        let mut copies = Vec::new();
        if source.is_none() {
            for b in 1..rows.div_ceil(size) {
                let both = logits.source().part(b * size - 1, 2);
                both.widened(isa, |both| memory::append(&mut copies, both.flat().iter().copied()));
            }
        }
        let border = |b: usize, side: usize| match source {
            Some(rows) => rows.part(b * size - 1 + side, 1),
            None => StoredRows::Real(Rows::packed(&copies[(2 * (b - 1) + side) * classes..][..classes], 1, classes)),
        };
        let blocks = logits.blocks(size).enumerate().map(|(b, block)| {
            let each = part(&mut each, &neighbours, b * size, block.rows());
            (b, block, each)
        });
        parallel::sum(blocks, rows * classes, |(b, block, each)| {
            let first = b * size;
            let before = (b > 0).then(|| border(b, 0));
            let after = (first + block.rows() < rows).then(|| border(b + 1, 1));
            widened_row(isa, before, |before| {
                widened_row(isa, after, |after| {
                    block.filled(isa, |block| {
                        if !tile::are_few(classes) {
                            return T::with_scratch(2 * Position::<T>::SCRATCH * classes, |scratch| {
                                let kernel =
                                    Grads { neighbours, first, before, after, block, scratch, scale, upstream, each };
                                T::dispatch(isa, kernel)
                            });
                        }
                        T::with_scratch(Positions::<T>::scratch_len(classes), |scratch| {
                            let block = Block::Grads(block);
                            let kernel =
                                ByLane { neighbours, first, before, after, block, scratch, scale, upstream, each };
                            T::dispatch::<ByLane<'_, _, true>>(isa, kernel)
                        })
                    })
                })
            })
        })
    })
}

/// Runs `sum` with the factor of the gradients, and with places for single divergences if they are wanted.
fn smoothness<T: Real>(
    neighbours: Neighbours<'_>,
    [rows, classes]: [usize; 2],
    reduction: Reduction,
    sum: impl FnOnce(f64, Option<&mut [T]>) -> f64,
) -> Result<Loss<T>> {
    neighbours.check(rows)?;
    let pairs = neighbours.pairs(rows);
    let scale = if reduction == Reduction::Mean { 1.0 / pairs as f64 } else { 1.0 };
    let mut each = memory::zeros(if reduction == Reduction::None { neighbours.pairs_before(rows) } else { 0 });
    let places = (reduction == Reduction::None).then_some(&mut each[..]);
    let total = if pairs == 0 || classes == 0 { 0.0 } else { sum(scale, places) };
    Ok(match reduction {
        Reduction::None => Loss::Each(each),
        Reduction::Sum => Loss::Scalar(total),
        Reduction::Mean => Loss::Scalar(if pairs == 0 { 0.0 } else { total / pairs as f64 }),
    })
}

/// Takes the places for the pairs that end in a block of rows.
fn part<'e, T>(
    rest: &mut Option<&'e mut [T]>,
    neighbours: &Neighbours<'_>,
    first: usize,
    rows: usize,
) -> Option<&'e mut [T]> {
    let (each, after) =
        rest.take()?.split_at_mut(neighbours.pairs_before(first + rows) - neighbours.pairs_before(first));
    *rest = Some(after);
    Some(each)
}

/// Calls `f` with the widened numbers of a row, if there is one.
fn widened_row<T: Real, R>(isa: Isa, row: Option<StoredRows<'_, T>>, f: impl FnOnce(Option<&[T]>) -> R) -> R {
    match row {
        Some(row) => row.widened(isa, |row| f(Some(row.row(0)))),
        None => f(None),
    }
}
