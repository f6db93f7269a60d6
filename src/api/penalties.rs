//! Penalties on predictions, which look at several rows at once.

use super::{Loss, Reduction};
use crate::error::{Error, Result};
use crate::losses::{Chosen, GroupSum, Link, Position, penalty};
use crate::math::Real;
use crate::parallel;
use crate::simd::{Float, Isa, Kernel, Simd};
use crate::storage::{Place, Storage};
use crate::view::{Classes, Rows, RowsIo};

/// Which rows are neighbours: those of sequences of one length, one behind the other.
#[derive(Clone, Copy, Debug)]
pub struct Neighbours<'a> {
    /// How many rows make a sequence.
    pub length: usize,
    /// The segment of each row; neighbours of different segments do not count. All are of one where absent.
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

    /// How many pairs, whether they count or not, end before a row.
    fn pairs_before(&self, row: usize) -> usize {
        row - row.div_ceil(self.length.max(1))
    }
}

/// At least so many rows make a block: at its ends rows are looked at twice.
const BLOCK_ROWS: usize = 16;

/// Jensen-Shannon divergence of neighbouring rows: of each pair, summed, or their mean; see the file of its kernel.
///
/// # Errors
/// [`Error::Shape`] unless the rows make whole sequences and have a segment each; an unknown `XENTRS_ISA`.
pub fn js_smoothness<S: Storage>(
    logits: Rows<'_, S>,
    neighbours: Neighbours<'_>,
    reduction: Reduction,
) -> Result<Loss<S::Real>> {
    let (isa, rows, classes) = (Isa::active()?, logits.rows(), logits.classes());
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
                    S::Real::with_scratch(2 * Position::<S::Real>::SCRATCH * classes, |scratch| {
                        S::Real::dispatch(isa, Values { neighbours, first, before, block, scratch, each })
                    })
                })
            })
        })
    })
}

/// The same, and its gradient with respect to the logits: beside them or over them, in their type or in the one that is
/// computed with.
///
/// # Errors
/// As [`js_smoothness`]; nothing is written then.
pub fn js_smoothness_with_grad<S: Storage, O: Place<S>>(
    mut logits: RowsIo<'_, S, O>,
    neighbours: Neighbours<'_>,
    reduction: Reduction,
) -> Result<Loss<S::Real>> {
    let (isa, rows, classes) = (Isa::active()?, logits.rows(), logits.classes());
    neighbours.check(rows)?;
    if !(0..rows).any(|row| neighbours.count(row)) {
        logits.target().fill(O::default());
    }
    smoothness(neighbours, rows, reduction, |scale, mut each| {
        let size = parallel::block_rows(classes).max(BLOCK_ROWS);
        // The rows on both sides of a border between blocks, which one block needs when the other has overwritten them.
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
                        S::Real::with_scratch(2 * Position::<S::Real>::SCRATCH * classes, |scratch| {
                            S::Real::dispatch(
                                isa,
                                Grads { neighbours, first, before, after, block, scratch, scale, each },
                            )
                        })
                    })
                })
            })
        })
    })
}

/// Runs `sum` with what gradients are scaled by and a place for every single divergence, where they are wanted.
fn smoothness<T: Real>(
    neighbours: Neighbours<'_>,
    rows: usize,
    reduction: Reduction,
    sum: impl FnOnce(f64, Option<&mut [T]>) -> f64,
) -> Result<Loss<T>> {
    neighbours.check(rows)?;
    let pairs = (0..rows).filter(|&row| neighbours.count(row)).count();
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

/// Hands the numbers of a row to `f`, if there is one.
fn widened_row<S: Storage, R>(isa: Isa, row: Option<&[S]>, f: impl FnOnce(Option<&[S::Real]>) -> R) -> R {
    match row {
        Some(row) => S::widened(isa, Rows::packed(row, 1, row.len()), |row| f(Some(row.row(0)))),
        None => f(None),
    }
}

/// The divergences of the pairs that end in a block of rows.
struct Values<'k, T> {
    neighbours: Neighbours<'k>,
    first: usize,
    before: Option<&'k [T]>,
    block: Rows<'k, T>,
    scratch: &'k mut [T],
    each: Option<&'k mut [T]>,
}

impl<T: Real> Kernel<T> for Values<'_, T> {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) -> f64 {
        let Values { neighbours, first, before, block, scratch, mut each } = self;
        let (one, two) = scratch.split_at_mut(scratch.len() / 2);
        let (mut last, mut here) = (Position::new(one, block.classes()), Position::new(two, block.classes()));
        if let Some(before) = before {
            last.load(s, before);
        }
        let mut total = 0.0;
        for i in 0..block.rows() {
            here.load(s, block.row(i));
            if neighbours.count(first + i) {
                let divergence = last.divergence::<false, S>(s, &mut here);
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
struct Grads<'k, T> {
    neighbours: Neighbours<'k>,
    first: usize,
    before: Option<&'k [T]>,
    after: Option<&'k [T]>,
    block: RowsIo<'k, T>,
    scratch: &'k mut [T],
    scale: f64,
    each: Option<&'k mut [T]>,
}

impl<T: Real> Kernel<T> for Grads<'_, T> {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) -> f64 {
        let Grads { neighbours, first, before, after, mut block, scratch, scale, mut each } = self;
        let (rows, classes) = (block.rows(), block.classes());
        let (one, two) = scratch.split_at_mut(scratch.len() / 2);
        let (mut last, mut here) = (Position::new(one, classes), Position::new(two, classes));
        if let Some(before) = before {
            last.load(s, before);
        }
        let mut total = 0.0;
        for i in 0..=rows {
            // 1. the row, which is kept: its gradient may be written over it before the next row is done with it
            let there = if i < rows { Some(block.source().row(i)) } else { after };
            if let Some(row) = there {
                here.load(s, row);
            }
            // 2. its divergence from the last one, which counts for the block that it is in
            if there.is_some() && neighbours.count(first + i) {
                let divergence = last.divergence::<true, S>(s, &mut here);
                if i < rows {
                    if let Some(each) = &mut each {
                        each[neighbours.pairs_before(first + i) - neighbours.pairs_before(first)] =
                            T::from_f64(divergence);
                    }
                    total += divergence;
                }
            }
            // 3. the gradient of the last one, which has met both its neighbours
            if i > 0 {
                last.gradient(s, scale, &mut block.target()[(i - 1) * classes..][..classes]);
            }
            std::mem::swap(&mut last, &mut here);
        }
        total
    }
}

/// Which rows count for [`parity_penalty`], and in which group.
#[derive(Clone, Copy, Debug)]
pub struct Groups<'a, T> {
    /// The group of each row.
    pub group: Classes<'a>,
    /// How many groups there are.
    pub count: usize,
    /// The answer of each row: rows of 0 do not count. All rows count where absent.
    pub target: Option<&'a [T]>,
}

impl<'a, T: Real> Groups<'a, T> {
    fn chosen(&self, rows: usize) -> Result<Chosen<'a, T>> {
        for (name, got) in [("group", self.group.rows()), ("target", self.target.map_or(rows, <[T]>::len))] {
            if got != rows {
                return Err(Error::Shape { name, expected: vec![rows], got: vec![got] });
            }
        }
        Ok(Chosen { groups: self.group, target: self.target })
    }

    /// The sums of all groups, on one thread: they are added to in the order of the rows.
    fn sums<S: Storage<Real = T>>(
        &self,
        isa: Isa,
        link: Link,
        chosen: &Chosen<'a, T>,
        logits: Rows<'_, S>,
    ) -> Vec<GroupSum> {
        let (mut sums, size) = (vec![GroupSum::default(); self.count], parallel::block_rows(1));
        for (b, x) in logits.blocks(size).enumerate() {
            S::widened(isa, x, |x| {
                T::dispatch(isa, Add { link, x: x.flat(), first: b * size, chosen, sums: &mut sums })
            });
        }
        sums
    }
}

/// Variance of the mean predictions of groups: demographic parity, or, over the positive rows, equal opportunity.
///
/// # Errors
/// [`Error::Shape`] unless there is one group, and where there are targets, one target, a row; an unknown `XENTRS_ISA`.
pub fn parity_penalty<S: Storage>(logits: Rows<'_, S>, groups: Groups<'_, S::Real>, link: Link) -> Result<f64> {
    let (isa, chosen) = (Isa::active()?, groups.chosen(logits.rows() * logits.classes())?);
    Ok(penalty(&groups.sums(isa, link, &chosen, logits)).0)
}

/// The same, and its gradient with respect to the logits.
///
/// # Errors
/// As [`parity_penalty`]; nothing is written then.
pub fn parity_penalty_with_grad<S: Storage, O: Place<S>>(
    logits: RowsIo<'_, S, O>,
    groups: Groups<'_, S::Real>,
    link: Link,
) -> Result<f64> {
    let (isa, rows) = (Isa::active()?, logits.rows() * logits.classes());
    let chosen = groups.chosen(rows)?;
    let (penalty, slopes) = penalty(&groups.sums(isa, link, &chosen, O::source(&logits)));
    let size = parallel::block_rows(1);
    parallel::sum(logits.blocks(size).enumerate(), rows, |(b, x)| {
        O::filled(isa, x, |x| {
            S::Real::dispatch(isa, Slopes { link, x, first: b * size, chosen: &chosen, slopes: &slopes })
        })
    });
    Ok(penalty)
}

struct Add<'k, 'a, T> {
    link: Link,
    x: &'k [T],
    first: usize,
    chosen: &'k Chosen<'a, T>,
    sums: &'k mut [GroupSum],
}

impl<T: Real> Kernel<T> for Add<'_, '_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        self.link.add(s, self.x, self.first, self.chosen, self.sums);
    }
}

struct Slopes<'k, 'a, T> {
    link: Link,
    x: RowsIo<'k, T>,
    first: usize,
    chosen: &'k Chosen<'a, T>,
    slopes: &'k [f64],
}

impl<T: Real> Kernel<T> for Slopes<'_, '_, T> {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd<T>>(mut self, s: S) -> f64 {
        self.link.gradient(s, self.x.flat(), self.first, self.chosen, self.slopes);
        0.0
    }
}
