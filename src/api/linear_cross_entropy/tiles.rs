//! A large weight: rows are evaluated in tiles, and all threads share each tile. [`strips`](super::strips) divide the
//! classes into tiles too.

use super::{Evaluation, LinearGrads, copy_rows, round};
use crate::linear::gemm::{Matrix, MatrixMut};
use crate::linear::{self, AddColumns};
use crate::math::Real;
use crate::memory;
use crate::parallel;
use crate::storage::take;
use crate::view::Rows;
use std::ops::Range;

/// Classes of the bias whose gradients one thread sums: they fit into the first-level cache.
const BIAS_CLASSES: usize = 1 << 11;

/// The rows of a tile that count, as runs of adjacent rows.
pub(super) struct Tile {
    rows: Range<usize>,
    pub(super) runs: Vec<Range<usize>>,
    pub(super) count: usize,
}

impl Tile {
    /// The rows that count.
    pub(super) fn indices(&self) -> impl Iterator<Item = usize> {
        self.runs.iter().flat_map(Clone::clone)
    }
}

/// A part of the gradients of a tile, for one thread.
enum Product<'k, T> {
    X(MatrixMut<'k, T>),
    Weight(MatrixMut<'k, T>),
    Bias(Range<usize>, &'k mut [f64]),
}

/// Places for the required gradients of a tile.
pub(super) struct TileGrads<'k, T> {
    /// Gradients with respect to the inputs of the rows that count, one after the other.
    pub(super) x: Option<&'k mut [T]>,
    /// Gradient with respect to the weight, the sum over tiles.
    pub(super) weight: Option<&'k mut [T]>,
    /// Gradient with respect to the bias, the sum over tiles; empty if not required.
    pub(super) bias: &'k mut [f64],
    /// Whether an earlier tile has written to `weight`.
    pub(super) adds: bool,
}

impl<T: Real> Evaluation<'_, '_, T> {
    /// Evaluates tiles of at most `most` rows that count, one tile after the other. All threads share each tile.
    pub(super) fn in_tiles(&self, most: usize, grads: LinearGrads<'_, T>, mut each: Option<&mut [T]>) -> f64 {
        let classes = self.objective.weight.rows();
        let mut logits = memory::zeros(most * classes);
        self.for_tiles(most, grads, |tile, x, grads| {
            let logits = &mut logits[..tile.count * classes];
            self.tile_logits(x, 0..classes, logits);
            let total = self.tile_losses(tile, logits, each.as_deref_mut());
            self.tile_grads(x, 0..classes, logits, grads);
            total
        })
    }

    /// Calls `f` with tiles of at most `most` rows that count, their inputs and the places for their gradients. Returns
    /// the sum of the results.
    pub(super) fn for_tiles(
        &self,
        most: usize,
        mut grads: LinearGrads<'_, T>,
        mut f: impl FnMut(&Tile, Rows<'_, T>, &mut TileGrads<'_, T>) -> f64,
    ) -> f64 {
        let [rows, features, classes] = self.objective.shape();
        let mut bias = memory::zeros(if grads.bias.is_some() { classes } else { 0 });
        let (mut total, mut next, mut adds) = (0.0, 0, false);
        while next < rows {
            let tile = self.next_tile(next, most);
            next = tile.rows.end;
            let places = tile.rows.start * features..tile.rows.end * features;
            let mut x_grad = grads.x.as_mut().map(|grad| &mut grad[places]);
            if tile.count == 0 {
                if let Some(grad) = x_grad {
                    grad.fill(T::ZERO);
                }
                continue;
            }
            let is_whole = tile.count == tile.rows.len();
            let mut apart = memory::zeros(if is_whole || x_grad.is_none() { 0 } else { tile.count * features });
            let x = x_grad.as_mut().map(|grad| if is_whole { &mut **grad } else { &mut apart[..] });
            let mut tile_grads = TileGrads { x, weight: grads.weight.as_deref_mut(), bias: &mut bias, adds };
            self.with_rows(&tile, |x| total += f(&tile, x, &mut tile_grads));
            adds = true;
            if let Some(grad) = x_grad.filter(|_| !is_whole) {
                grad.fill(T::ZERO);
                let mut apart = &mut apart[..];
                for run in &tile.runs {
                    let rows = take(&mut apart, run.len() * features);
                    grad[(run.start - tile.rows.start) * features..][..rows.len()].copy_from_slice(rows);
                }
            }
        }
        if let Some(grad) = grads.weight.filter(|_| !adds) {
            grad.fill(T::ZERO);
        }
        if let Some(grad) = grads.bias {
            round(&bias, grad);
        }
        total
    }

    /// The tile that starts at row `first` and ends when `most` of its rows count.
    fn next_tile(&self, first: usize, most: usize) -> Tile {
        let (mut tile, rows) = (Tile { rows: first..first, runs: Vec::new(), count: 0 }, self.objective.x.rows());
        while tile.rows.end < rows && tile.count < most {
            let row = tile.rows.end;
            tile.rows.end += 1;
            if self.is_left_out(row) {
                continue;
            }
            tile.count += 1;
            match tile.runs.last_mut().filter(|run| run.end == row) {
                Some(run) => run.end += 1,
                None => memory::append(&mut tile.runs, Some(row..row + 1)),
            }
        }
        tile
    }

    /// Calls `f` with the rows of a tile that count: without a copy if they are contiguous and need not be widened.
    fn with_rows(&self, tile: &Tile, f: impl FnOnce(Rows<'_, T>)) {
        let part = |run: &Range<usize>| self.objective.x.part(run.start, run.len());
        if let [run] = &tile.runs[..] {
            return part(run).widened(self.isa, f);
        }
        let features = self.objective.x.columns();
        let mut copy = memory::zeros(tile.count * features);
        let mut rest = &mut copy[..];
        for run in &tile.runs {
            part(run).widened(self.isa, |x| copy_rows(x, take(&mut rest, run.len() * features)));
        }
        f(Rows::packed(&copy, tile.count, features));
    }

    /// The products of the inputs and the weights of some classes.
    pub(super) fn tile_logits(&self, x: Rows<'_, T>, classes: Range<usize>, logits: &mut [T]) {
        let x = Matrix::of(x);
        let blocks = MatrixMut::packed(logits, x.len(), classes.len()).blocks();
        let work = linear::work(x.len(), self.objective.weight.columns(), classes.len());
        parallel::for_each(blocks.into_iter(), work, |mut block| {
            let (x, some) = (x.rows(block.rows()), block.columns());
            let (classes, all) = (classes.start + some.start..classes.start + some.end, 0..x.width());
            self.with_weight(classes, all, |some, weight| {
                block.some_columns(some).product(x, weight.t(), false);
            });
        });
    }

    /// Adds the bias, and overwrites the logits with gradients if these are required.
    fn tile_losses(&self, tile: &Tile, logits: &mut [T], mut each: Option<&mut [T]>) -> f64 {
        let (loss, classes) = (self.objective.loss, self.objective.weight.rows());
        let (size, losses, elements) = (parallel::block_rows(classes), loss.losses_per_row(classes), logits.len());
        let (mut logits, mut blocks) = (logits, Vec::new());
        // Rows that are split among threads are evaluated one after the other.
        let elements = if loss.splits_rows(classes) { 0 } else { elements };
        let mut at = 0;
        for run in &tile.runs {
            for first in run.clone().step_by(size) {
                let rows = size.min(run.end - first);
                let each = each.as_mut().map(|rest| {
                    take(rest, (first - at) * losses);
                    take(rest, rows * losses)
                });
                at = first + rows;
                memory::append(&mut blocks, [(first, take(&mut logits, rows * classes), each)]);
            }
        }
        parallel::sum(blocks.into_iter(), elements, |(first, logits, each)| {
            linear::add_bias(self.objective.bias, logits);
            self.losses(first, logits, each)
        })
    }

    /// The required gradients of the rows and some classes; all products run in parallel. Gradients with respect to the
    /// inputs are added to those of the previous classes.
    pub(super) fn tile_grads(&self, x: Rows<'_, T>, classes: Range<usize>, logits: &[T], grads: &mut TileGrads<'_, T>) {
        let (rows, features, mut products) = (x.rows(), x.columns(), Vec::new());
        if let Some(grad) = &mut grads.x {
            memory::append(&mut products, MatrixMut::packed(grad, rows, features).blocks().into_iter().map(Product::X));
        }
        if let Some(grad) = &mut grads.weight {
            let grad = &mut grad[classes.start * features..classes.end * features];
            let blocks = MatrixMut::packed(grad, classes.len(), features).blocks();
            memory::append(&mut products, blocks.into_iter().map(Product::Weight));
        }
        if !grads.bias.is_empty() {
            for (i, sums) in grads.bias[classes.clone()].chunks_mut(BIAS_CLASSES).enumerate() {
                let first = i * BIAS_CLASSES;
                memory::append(&mut products, [Product::Bias(first..first + sums.len(), sums)]);
            }
        }
        let (grad, inputs, stride) = (Matrix::packed(logits, rows, classes.len()), Matrix::of(x), classes.len());
        let adds = grads.adds;
        parallel::for_each(products.into_iter(), linear::work(rows, features, stride), |product| match product {
            Product::X(mut block) => self.with_weight(classes.clone(), block.columns(), |some, weight| {
                let grad = grad.rows(block.rows()).columns(some.clone());
                block.product(grad, weight, classes.start + some.start > 0);
            }),
            Product::Weight(mut block) => {
                let (grad, inputs) = (grad.columns(block.rows()), inputs.columns(block.columns()));
                block.product(grad.t(), inputs, adds);
            }
            Product::Bias(columns, sums) => {
                T::dispatch(self.isa, AddColumns { rows: logits, stride, columns, sums });
            }
        });
    }

    /// Calls `f` with some features of rows of the weight and the rows' indices: once with all rows, or several times
    /// with a few rows if they must be widened.
    fn with_weight(
        &self,
        classes: Range<usize>,
        features: Range<usize>,
        mut f: impl FnMut(Range<usize>, Matrix<'_, T>),
    ) {
        let weight = self.objective.weight.some_columns(features);
        let step = linear::widened_rows(weight.are_half(), classes.len(), weight.columns());
        for first in (0..classes.len()).step_by(step) {
            let some = first..classes.len().min(first + step);
            let rows = weight.part(classes.start + first, some.len());
            rows.widened(self.isa, |rows| f(some, Matrix::of(rows)));
        }
    }
}
