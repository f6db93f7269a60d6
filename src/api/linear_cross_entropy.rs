//! The loss of a linear layer's outputs, and its gradients to the layer's inputs, weight and bias: who computes which tile or
//! block of [`linear`], and in which order their sums are taken.
//!
//! Blocks, tiles, and what is cut out of them for threads depend on the shape alone, and so do the bits of every result. A
//! row that counts for nothing is left out of all products: what stands in it, be it NaN, reaches no gradient.

use super::{Loss, Problem, Reduction, divisor, reduce};
use crate::error::{Error, Result};
use crate::linear::gemm::{Matrix, MatrixMut};
use crate::linear::{self, AddColumns};
use crate::losses::Domain;
use crate::parallel;
use crate::simd::{Float, Isa};
use crate::storage::Storage;
use crate::view::{Rows, RowsIo};
use std::ops::Range;

/// A linear layer, and the loss of its outputs.
#[derive(Clone, Copy)]
pub struct LinearProblem<'a, S: Storage> {
    /// The loss of the logits `x weight^T + bias`, with its targets: one of those that take any number.
    pub loss: &'a dyn Problem<S::Real>,
    /// A row of features each.
    pub x: Rows<'a, S>,
    /// A row of features a class.
    pub weight: Rows<'a, S>,
    /// One number a class; 0 where absent.
    pub bias: Option<&'a [S::Real]>,
}

/// Places for the gradients that are wanted, each of the shape of what it belongs to, row behind row.
#[derive(Debug, Default)]
pub struct LinearGrads<'a, T> {
    /// Of the inputs.
    pub x: Option<&'a mut [T]>,
    /// Of the weight.
    pub weight: Option<&'a mut [T]>,
    /// Of the bias.
    pub bias: Option<&'a mut [T]>,
}

impl<T> LinearGrads<'_, T> {
    fn are_wanted(&self) -> bool {
        self.x.is_some() || self.weight.is_some() || self.bias.is_some()
    }
}

/// The loss of all rows.
///
/// # Errors
/// [`Error::Shape`] unless weight and bias fit `x`, [`Error::Parameter`] for a loss of probabilities, and what
/// [`value`](super::value) finds.
pub fn linear_value<S: Storage>(problem: &LinearProblem<'_, S>, reduction: Reduction) -> Result<Loss<S::Real>> {
    linear_value_and_grads(problem, LinearGrads::default(), reduction)
}

/// The loss of all rows, and its gradients.
///
/// # Errors
/// As of [`linear_value`], and [`Error::Shape`] for a place that does not fit; nothing is written then.
pub fn linear_value_and_grads<S: Storage>(
    problem: &LinearProblem<'_, S>,
    mut grads: LinearGrads<'_, S::Real>,
    reduction: Reduction,
) -> Result<Loss<S::Real>> {
    let isa = Isa::active()?;
    problem.check(isa, &grads)?;
    let [rows, features, classes] = problem.shape();
    let divisor = divisor(problem.loss, isa, reduction, rows, classes);
    if divisor == 0.0 || rows == 0 {
        for grad in [&mut grads.x, &mut grads.weight, &mut grads.bias].into_iter().flatten() {
            grad.fill(S::Real::ZERO);
        }
    }
    if divisor == 0.0 {
        return Ok(Loss::Scalar(0.0));
    }
    reduce(problem.loss, reduction, rows, classes, divisor, |each| {
        let call = Call { problem, isa, divisor, wants_grads: grads.are_wanted() };
        Ok(match linear::is_small::<S::Real>(features, classes) {
            true => call.in_blocks(grads, each),
            false => call.in_tiles(grads, each),
        })
    })
}

impl<S: Storage> LinearProblem<'_, S> {
    /// Rows, features, classes.
    fn shape(&self) -> [usize; 3] {
        [self.x.rows(), self.x.classes(), self.weight.rows()]
    }

    fn check(&self, isa: Isa, grads: &LinearGrads<'_, S::Real>) -> Result<()> {
        let [rows, features, classes] = self.shape();
        let fits = |name, expected: Vec<usize>, got: Vec<usize>| match expected == got {
            true => Ok(()),
            false => Err(Error::Shape { name, expected, got }),
        };
        fits("weight", vec![classes, features], vec![classes, self.weight.classes()])?;
        fits("bias", vec![classes], vec![self.bias.map_or(classes, <[_]>::len)])?;
        let len = |grad: &Option<&mut [S::Real]>, len| grad.as_ref().map_or(len, |grad| grad.len());
        fits("grad_x", vec![rows * features], vec![len(&grads.x, rows * features)])?;
        fits("grad_weight", vec![classes * features], vec![len(&grads.weight, classes * features)])?;
        fits("grad_bias", vec![classes], vec![len(&grads.bias, classes)])?;
        if self.loss.has_domain() || self.loss.inputs().1 != Domain::Reals {
            let (expected, got) = ("one of logits", format!("one whose {} have a domain", self.loss.inputs().0));
            return Err(Error::Parameter { name: "loss", expected, got });
        }
        self.loss.check(rows, classes)?;
        self.loss.check_targets(isa)
    }
}

/// What is evaluated, and how.
struct Call<'k, 'a, S: Storage> {
    problem: &'k LinearProblem<'a, S>,
    isa: Isa,
    divisor: f64,
    wants_grads: bool,
}

/// Some rows in blocks, which one thread takes one after the other.
struct Part<'k, T> {
    rows: Range<usize>,
    each: Option<&'k mut [T]>,
    x_grad: Option<&'k mut [T]>,
    weight_grad: Option<&'k mut [T]>,
    bias_grad: Option<&'k mut [f64]>,
}

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
    /// Whether a row is left out.
    fn is_left_out(&self, row: usize) -> bool {
        !self.problem.loss.counts(self.isa, row, self.problem.weight.rows())
    }

    /// The losses of rows whose logits are these, which become their gradients where such are wanted.
    fn losses(&self, first: usize, logits: &mut [S::Real], each: Option<&mut [S::Real]>) -> f64 {
        let (loss, classes) = (self.problem.loss, self.problem.weight.rows());
        let rows = logits.len().checked_div(classes).unwrap_or(0);
        if self.wants_grads {
            loss.value_and_grad(self.isa, first, RowsIo::over(logits, rows, classes), self.divisor, each)
        } else {
            loss.value(self.isa, first, Rows::packed(logits, rows, classes), each)
        }
    }

    /// Rows in blocks that stay in the cache, beside a small weight: each thread takes parts of them, with gradients of
    /// their own.
    fn in_blocks(&self, grads: LinearGrads<'_, S::Real>, mut each: Option<&mut [S::Real]>) -> f64 {
        let [rows, features, classes] = self.problem.shape();
        let block = linear::block_rows::<S::Real>(features, classes);
        let size = rows.div_ceil(linear::parts::<S::Real>(features, classes)).next_multiple_of(block);
        let count = rows.div_ceil(size);
        let (weights, losses) = (features * classes, self.problem.loss.losses_per_row(classes));
        let mut weight_grads = vec![S::Real::ZERO; if grads.weight.is_some() { count * weights } else { 0 }];
        let mut bias_grads = vec![0.0; if grads.bias.is_some() { count * classes } else { 0 }];
        // 1. every part
        let (mut x_rest, mut weight_rest, mut bias_rest) = (grads.x, &mut weight_grads[..], &mut bias_grads[..]);
        let parts: Vec<_> = (0..count)
            .map(|part| {
                let rows = part * size..rows.min((part + 1) * size);
                Part {
                    each: each.as_mut().map(|rest| take(rest, rows.len() * losses)),
                    x_grad: x_rest.as_mut().map(|rest| take(rest, rows.len() * features)),
                    weight_grad: grads.weight.is_some().then(|| take(&mut weight_rest, weights)),
                    bias_grad: grads.bias.is_some().then(|| take(&mut bias_rest, classes)),
                    rows,
                }
            })
            .collect();
        let work = linear::work(rows, features, classes);
        let total = parallel::sum(parts.into_iter(), work, |part| self.part(part, block));
        // 2. their sums, in order
        if let Some(to) = grads.weight.filter(|to| !to.is_empty()) {
            sum_of_parts(&weight_grads, to);
        }
        if let Some(to) = grads.bias.filter(|to| !to.is_empty()) {
            let mut sums = vec![0.0; classes];
            sum_of_parts(&bias_grads, &mut sums);
            round(&sums, to);
        }
        total
    }

    /// The rows of a part, a block at a time.
    fn part(&self, part: Part<'_, S::Real>, block: usize) -> f64 {
        let Part { rows, mut each, mut x_grad, mut weight_grad, mut bias_grad } = part;
        let [_, features, classes] = self.problem.shape();
        let (mut logits, mut copy) = (vec![S::Real::ZERO; block.min(rows.len()) * classes], Vec::new());
        let mut total = 0.0;
        S::widened(self.isa, self.problem.weight, |weight| {
            for first in rows.clone().step_by(block) {
                let count = block.min(rows.end - first);
                let each = each.as_mut().map(|rest| take(rest, count * self.problem.loss.losses_per_row(classes)));
                let x_grad = x_grad.as_mut().map(|rest| take(rest, count * features));
                let left_out: Vec<_> = (0..count).filter(|&i| self.is_left_out(first + i)).collect();
                let logits = &mut logits[..count * classes];
                total += S::widened(self.isa, self.problem.x.part(first, count), |x| {
                    let x = if left_out.is_empty() { x } else { zeroed(x, &left_out, &mut copy) };
                    linear::block_logits(self.isa, x, weight, self.problem.bias, logits);
                    let total = self.losses(first, logits, each);
                    if let Some(grad) = &mut weight_grad {
                        linear::add_block_product(self.isa, x, logits, classes, grad);
                    }
                    if let Some(sums) = &mut bias_grad {
                        let (rows, stride) = (&logits[..], classes);
                        S::Real::dispatch(self.isa, AddColumns { rows, stride, columns: 0..classes, sums });
                    }
                    if let Some(grad) = x_grad {
                        let logits = Matrix::packed(logits, classes);
                        MatrixMut::packed(grad, features).product(logits, Matrix::of(weight), false);
                        left_out.iter().for_each(|&i| grad[i * features..][..features].fill(S::Real::ZERO));
                    }
                    total
                });
            }
        });
        total
    }

    /// Rows in tiles, one after the other, each shared among all threads.
    fn in_tiles(&self, mut grads: LinearGrads<'_, S::Real>, mut each: Option<&mut [S::Real]>) -> f64 {
        let [rows, features, classes] = self.problem.shape();
        let most = linear::tile_rows::<S::Real>(rows, features, classes);
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
        let blocks = MatrixMut::packed(logits, weight.rows()).blocks();
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
            products.extend(MatrixMut::packed(grad, features).blocks().into_iter().map(Product::X));
        }
        if let Some(grad) = &mut grads.weight {
            products.extend(MatrixMut::packed(grad, features).blocks().into_iter().map(Product::Weight));
        }
        if grads.bias.is_some() {
            let parts = bias_sums.chunks_mut(1 << 12).enumerate();
            products.extend(parts.map(|(i, sums)| Product::Bias(i << 12..(i << 12) + sums.len(), sums)));
        }
        let (grad, inputs) = (Matrix::packed(logits, classes), Matrix::of(x));
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

/// Cuts the first numbers off a slice.
fn take<'a, T>(rest: &mut &'a mut [T], len: usize) -> &'a mut [T] {
    let (first, after) = std::mem::take(rest).split_at_mut(len);
    *rest = after;
    first
}

fn copy_rows<T: Float>(rows: Rows<'_, T>, to: &mut [T]) {
    for (i, to) in to.chunks_exact_mut(rows.classes().max(1)).enumerate() {
        to.copy_from_slice(rows.row(i));
    }
}

/// A copy of rows, of which some are zero.
fn zeroed<'a, T: Float>(rows: Rows<'_, T>, which: &[usize], copy: &'a mut Vec<T>) -> Rows<'a, T> {
    let len = rows.classes();
    copy.resize(rows.rows() * len, T::ZERO);
    copy_rows(rows, copy);
    for &i in which {
        copy[i * len..][..len].fill(T::ZERO);
    }
    Rows::packed(copy, rows.rows(), len)
}

/// The sum of parts that stand one behind the other, in order.
fn sum_of_parts<T: Float>(parts: &[T], to: &mut [T]) {
    let mut parts = parts.chunks_exact(to.len());
    match parts.next() {
        Some(first) => to.copy_from_slice(first),
        None => to.fill(T::ZERO),
    }
    for part in parts {
        for (to, &x) in to.iter_mut().zip(part) {
            *to = *to + x;
        }
    }
}

fn round<T: Float>(from: &[f64], to: &mut [T]) {
    for (to, &x) in to.iter_mut().zip(from) {
        *to = T::from_f64(x);
    }
}
