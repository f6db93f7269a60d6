//! Penalties on neighbouring rows of a sequence.

mod by_lane;
mod by_row;

use crate::api::{GradOutput, Loss, Reduction};
use crate::error::{Error, Result};
use crate::losses::{Position, Positions};
use crate::math::Real;
use crate::parallel;
use crate::scratch::Scratch;
use crate::simd::{Float, Isa};
use crate::storage::{Place, Storage};
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
    let (isa, rows, classes) = (Isa::active()?, logits.rows(), logits.columns());
    smoothness(neighbours, rows, reduction, |_, mut each| {
        let size = parallel::block_rows(classes).max(BLOCK_ROWS);
        let blocks = logits.blocks(size).enumerate().map(|(b, block)| {
            let first = b * size;
            let each = part(&mut each, &neighbours, first, block.rows());
            (first, block, each)
        });
        parallel::sum(blocks, rows * classes, |(first, block, each)| {
            let before = first.checked_sub(1).map(|row| logits.row(row));
            widened_row(isa, before, |before| {
                S::widened(isa, block, |block| {
                    if !tile::are_few(classes) {
                        return S::Real::with_scratch(2 * Position::<S::Real>::SCRATCH * classes, |scratch| {
                            S::Real::dispatch(isa, Values { neighbours, first, before, block, scratch, each })
                        });
                    }
                    S::Real::with_scratch(Positions::<S::Real>::scratch_len(classes), |scratch| {
                        let (block, after, scale) = (Block::Values(block), None, 1.0);
                        let upstream = GradOutput::ONE;
                        let kernel = ByLane { neighbours, first, before, after, block, scratch, scale, upstream, each };
                        S::Real::dispatch::<ByLane<'_, _, false>>(isa, kernel)
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
    mut logits: RowsIo<'_, S, O>,
    neighbours: Neighbours<'_>,
    reduction: Reduction,
    grad_output: GradOutput<'_, S::Real>,
) -> Result<Loss<S::Real>> {
    let (isa, rows, classes) = (Isa::active()?, logits.rows(), logits.columns());
    neighbours.check(rows)?;
    grad_output.check(neighbours.pairs_before(rows))?;
    if grad_output.is_zero() {
        let loss = js_smoothness(O::source(&logits), neighbours, reduction)?;
        logits.target().fill(O::default());
        return Ok(loss);
    }
    let (factor, upstream) = match grad_output {
        GradOutput::Number(number) => (number, GradOutput::ONE),
        each => (1.0, each),
    };
    if neighbours.pairs(rows) == 0 {
        logits.target().fill(O::default());
    }
    smoothness(neighbours, rows, reduction, |scale, mut each| {
        let scale = scale * factor;
        let size = parallel::block_rows(classes).max(BLOCK_ROWS);
        // Copies of the rows on both sides of each border between blocks: either block may overwrite its row before the
        // other block reads it.
        let source = logits.apart();
        let copies: Vec<S> = match source {
            Some(_) => Vec::new(),
            None => {
                let rows = O::source(&logits);
                (1..rows.rows().div_ceil(size))
                    .flat_map(|b| [rows.row(b * size - 1), rows.row(b * size)])
                    .flatten()
                    .copied()
                    .collect()
            }
        };
        let border = |b: usize, side: usize| match source {
            Some(rows) => rows.row(b * size - 1 + side),
            None => &copies[(2 * (b - 1) + side) * classes..][..classes],
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
                    O::filled(isa, block, |block| {
                        if !tile::are_few(classes) {
                            return S::Real::with_scratch(2 * Position::<S::Real>::SCRATCH * classes, |scratch| {
                                let kernel =
                                    Grads { neighbours, first, before, after, block, scratch, scale, upstream, each };
                                S::Real::dispatch(isa, kernel)
                            });
                        }
                        S::Real::with_scratch(Positions::<S::Real>::scratch_len(classes), |scratch| {
                            let block = Block::Grads(block);
                            let kernel =
                                ByLane { neighbours, first, before, after, block, scratch, scale, upstream, each };
                            S::Real::dispatch::<ByLane<'_, _, true>>(isa, kernel)
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
    rows: usize,
    reduction: Reduction,
    sum: impl FnOnce(f64, Option<&mut [T]>) -> f64,
) -> Result<Loss<T>> {
    neighbours.check(rows)?;
    let pairs = neighbours.pairs(rows);
    let scale = if reduction == Reduction::Mean { 1.0 / pairs as f64 } else { 1.0 };
    let mut each = vec![T::ZERO; if reduction == Reduction::None { neighbours.pairs_before(rows) } else { 0 }];
    let places = (reduction == Reduction::None).then_some(&mut each[..]);
    let total = if pairs == 0 { 0.0 } else { sum(scale, places) };
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
fn widened_row<S: Storage, R>(isa: Isa, row: Option<&[S]>, f: impl FnOnce(Option<&[S::Real]>) -> R) -> R {
    match row {
        Some(row) => S::widened(isa, Rows::packed(row, 1, row.len()), |row| f(Some(row.row(0)))),
        None => f(None),
    }
}
