//! A large weight: rows in tiles, each of which all threads share.

use super::{Call, LinearGrads, copy_rows, round, take};
use crate::linear::gemm::{Matrix, MatrixMut};
use crate::linear::{self, AddColumns};
use crate::parallel;
use crate::simd::Float;
use crate::storage::Storage;
use crate::view::Rows;
use std::ops::Range;

/// Classes whose gradients of the bias a thread sums: few enough for the first-level cache.
const BIAS_CLASSES: usize = 1 << 11;

/// The rows of a tile that count, in runs of neighbours.
struct Tile {
    rows: Range<usize>,
    runs: Vec<Range<usize>>,
    count: usize,
}

/// What threads take of a tile's gradients.
enum Product<'k, T> {
    X(MatrixMut<'k, T>),
    Weight(MatrixMut<'k, T>),
    Bias(Range<usize>, &'k mut [f64]),
}

impl<S: Storage> Call<'_, '_, S> {
    /// Rows in tiles of at most so many that count, one after the other, each shared among all threads.
    pub(super) fn in_tiles(
        &self,
        most: usize,
        mut grads: LinearGrads<'_, S::Real>,
        mut each: Option<&mut [S::Real]>,
    ) -> f64 {
        let [rows, features, classes] = self.problem.shape();
        let mut logits = vec![S::Real::ZERO; most * classes];
        let mut bias_sums = vec![0.0; if grads.bias.is_some() { classes } else { 0 }];
        let (mut total, mut next, mut adds) = (0.0, 0, false);
        while next < rows {
            let tile = self.next_tile(next, most);
            next = tile.rows.end;
            if tile.count == 0 {
                if let Some(grad) = &mut grads.x {
                    grad[tile.rows.start * features..tile.rows.end * features].fill(S::Real::ZERO);
                }
                continue;
            }
            let logits = &mut logits[..tile.count * classes];
            self.with_rows(&tile, |x| {
                self.tile_logits(x, logits);
                total += self.tile_losses(&tile, logits, each.as_deref_mut());
                self.tile_grads(&tile, x, logits, &mut grads, &mut bias_sums, adds);
            });
            adds = true;
        }
        if let Some(grad) = grads.weight.filter(|_| !adds) {
            grad.fill(S::Real::ZERO);
        }
        if let Some(grad) = grads.bias {
            round(&bias_sums, grad);
        }
        total
    }

    /// The rows from `first` on until so many count.
    fn next_tile(&self, first: usize, most: usize) -> Tile {
        let (mut tile, rows) = (Tile { rows: first..first, runs: Vec::new(), count: 0 }, self.problem.x.rows());
        while tile.rows.end < rows && tile.count < most {
            let row = tile.rows.end;
            tile.rows.end += 1;
            if self.is_left_out(row) {
                continue;
            }
            tile.count += 1;
            match tile.runs.last_mut().filter(|run| run.end == row) {
                Some(run) => run.end += 1,
                None => tile.runs.push(row..row + 1),
            }
        }
        tile
    }

    /// Hands `f` the rows of a tile that count: where they stand, if they stand side by side and need not be widened.
    fn with_rows(&self, tile: &Tile, f: impl FnOnce(Rows<'_, S::Real>)) {
        let part = |run: &Range<usize>| self.problem.x.part(run.start, run.len());
        if let [run] = &tile.runs[..] {
            return S::widened(self.isa, part(run), f);
        }
        let features = self.problem.x.classes();
        let mut copy = vec![S::Real::ZERO; tile.count * features];
        let mut rest = &mut copy[..];
        for run in &tile.runs {
            S::widened(self.isa, part(run), |x| copy_rows(x, take(&mut rest, run.len() * features)));
        }
        f(Rows::packed(&copy, tile.count, features));
    }

    fn tile_logits(&self, x: Rows<'_, S::Real>, logits: &mut [S::Real]) {
        let (x, weight) = (Matrix::of(x), self.problem.weight);
        let blocks = MatrixMut::packed(logits, x.len(), weight.rows()).blocks();
        let work = linear::work(x.len(), weight.classes(), weight.rows());
        parallel::sum(blocks.into_iter(), work, |mut block| {
            let (x, classes) = (x.rows(block.rows()), block.columns());
            self.with_weight(classes, |classes, weight| {
                block.some_columns(classes).product(x, weight.t(), false);
            });
            0.0
        });
    }

    /// Adds the bias, and makes gradients of the logits.
    fn tile_losses(&self, tile: &Tile, logits: &mut [S::Real], mut each: Option<&mut [S::Real]>) -> f64 {
        let (loss, classes) = (self.problem.loss, self.problem.weight.rows());
        let (size, losses, elements) = (parallel::block_rows(classes), loss.losses_per_row(classes), logits.len());
        let (mut logits, mut blocks) = (logits, Vec::new());
        // What is shared as a whole is not shared by rows.
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
                blocks.push((first, take(&mut logits, rows * classes), each));
            }
        }
        parallel::sum(blocks.into_iter(), elements, |(first, logits, each)| {
            linear::add_bias(self.problem.bias, logits);
            self.losses(first, logits, each)
        })
    }

    /// The gradients that are wanted, all products of the tile at once.
    fn tile_grads(
        &self,
        tile: &Tile,
        x: Rows<'_, S::Real>,
        logits: &[S::Real],
        grads: &mut LinearGrads<'_, S::Real>,
        bias_sums: &mut [f64],
        adds: bool,
    ) {
        let [_, features, classes] = self.problem.shape();
        let (is_whole, mut products) = (tile.count == tile.rows.len(), Vec::new());
        let mut x_grad = grads.x.as_mut().map(|grad| &mut grad[tile.rows.start * features..tile.rows.end * features]);
        let mut apart = vec![S::Real::ZERO; if is_whole || x_grad.is_none() { 0 } else { tile.count * features }];
        if let Some(grad) = &mut x_grad {
            let grad = if is_whole { &mut **grad } else { &mut apart[..] };
            products.extend(MatrixMut::packed(grad, tile.count, features).blocks().into_iter().map(Product::X));
        }
        if let Some(grad) = &mut grads.weight {
            products.extend(MatrixMut::packed(grad, classes, features).blocks().into_iter().map(Product::Weight));
        }
        if grads.bias.is_some() {
            for (i, sums) in bias_sums.chunks_mut(BIAS_CLASSES).enumerate() {
                let first = i * BIAS_CLASSES;
                products.push(Product::Bias(first..first + sums.len(), sums));
            }
        }
        let (grad, inputs) = (Matrix::packed(logits, tile.count, classes), Matrix::of(x));
        parallel::sum(products.into_iter(), linear::work(tile.count, features, classes), |product| {
            match product {
                Product::X(mut block) => self.with_weight(0..classes, |classes, weight| {
                    let (grad, columns) = (grad.rows(block.rows()).columns(classes.clone()), block.columns());
                    block.product(grad, weight.columns(columns), classes.start > 0);
                }),
                Product::Weight(mut block) => {
                    let (grad, inputs) = (grad.columns(block.rows()), inputs.columns(block.columns()));
                    block.product(grad.t(), inputs, adds);
                }
                Product::Bias(columns, sums) => {
                    S::Real::dispatch(self.isa, AddColumns { rows: logits, stride: classes, columns, sums });
                }
            }
            0.0
        });
        if let Some(grad) = x_grad.filter(|_| !is_whole) {
            grad.fill(S::Real::ZERO);
            let mut apart = &mut apart[..];
            for run in &tile.runs {
                let rows = take(&mut apart, run.len() * features);
                grad[(run.start - tile.rows.start) * features..][..rows.len()].copy_from_slice(rows);
            }
        }
    }

    /// Hands `f` rows of the weight, counted from the first: all at once, or, where they are widened, a few at a time.
    fn with_weight(&self, classes: Range<usize>, mut f: impl FnMut(Range<usize>, Matrix<'_, S::Real>)) {
        let (weight, isa) = (self.problem.weight, self.isa);
        let step = linear::widened_rows::<S>(classes.len(), weight.classes());
        for first in (0..classes.len()).step_by(step) {
            let some = first..classes.len().min(first + step);
            S::widened(isa, weight.part(classes.start + first, some.len()), |rows| f(some, Matrix::of(rows)));
        }
    }
}
