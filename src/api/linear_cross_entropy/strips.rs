//! A weight with so many classes that a tile would have few rows: rows are evaluated in strips, the classes of each
//! strip in tiles.
//!
//! A strip goes through all classes twice: first for the sums of exponentials of its rows, then for the gradients,
//! which need these sums. So the logits are computed twice: four matrix products, where tiles of whole rows need three.
//! But weight and gradient are read once for many rows, and no buffer is as long as a row.

use super::{Evaluation, LinearGrads};
use crate::api::long_rows::Sum;
use crate::api::{GradScale, SummedRows};
use crate::linear::{self, Strips};
use crate::losses::OfSum;
use crate::math::Real;
use crate::memory;
use crate::parallel;
use crate::rows::RowSum;
use crate::simd::{Isa, Kernel, Lanes, RowIo, Simd, inlined};
use crate::view::Rows;
use std::ops::Range;

/// Elements of a row whose exponentials one thread sums.
const PART: usize = 1 << 13;

/// A row of a strip.
struct Row<T> {
    index: usize,
    /// `None` if another thread has changed the label since the check.
    class: Option<usize>,
    /// The logit of that class.
    logit: T,
    /// The sums of its parts.
    parts: Vec<RowSum<T>>,
    /// The sum of the whole row.
    sum: RowSum<T>,
    result: OfSum,
}

impl<T: Real> Evaluation<'_, '_, T> {
    /// Evaluates rows in strips, one after the other; the classes of a strip are evaluated in tiles.
    pub(super) fn in_strips(
        &self,
        summed: &dyn SummedRows<T>,
        strips: Strips,
        grads: LinearGrads<'_, T>,
        mut each: Option<&mut [T]>,
    ) -> f64 {
        let classes = self.objective.weight.rows();
        let mut logits = memory::zeros(strips.rows * strips.classes.min(classes));
        self.for_tiles(strips.rows, grads, |strip, x, grads| {
            let tiles = || (0..classes).step_by(strips.classes).map(|k| k..classes.min(k + strips.classes));
            let mut rows = memory::list(strip.indices().map(|index| Row::of(summed, index)));
            // 1. sums of exponentials, and the logits of the rows' classes
            for tile in tiles() {
                let logits = self.strip_logits(x, tile.clone(), &mut logits);
                add_parts(self.isa, &mut rows, tile, logits);
            }
            // 2. losses
            let mut total = 0.0;
            for row in &mut rows {
                row.finish(summed);
                total += row.result.loss;
                if let Some(each) = &mut each {
                    each[row.index] = T::from_f64(row.result.loss);
                }
            }
            // 3. gradients
            for tile in tiles().take_while(|_| self.wants_grads) {
                let logits = self.strip_logits(x, tile.clone(), &mut logits);
                make_gradients(self.isa, &rows, tile.clone(), logits, self.scale);
                self.tile_grads(x, tile, logits, grads);
            }
            total
        })
    }

    /// The logits of some classes.
    fn strip_logits<'l>(&self, x: Rows<'_, T>, tile: Range<usize>, logits: &'l mut [T]) -> &'l mut [T] {
        let logits = &mut logits[..x.rows() * tile.len()];
        self.tile_logits(x, tile.clone(), logits);
        linear::add_bias(self.objective.bias.map(|bias| &bias[tile]), logits);
        logits
    }
}

impl<T: Real> Row<T> {
    fn of(summed: &dyn SummedRows<T>, index: usize) -> Self {
        let result = OfSum { loss: 0.0, others: 0.0, label: 0.0 };
        Row { index, class: summed.class(index), logit: T::ZERO, parts: Vec::new(), sum: RowSum::none(), result }
    }

    /// Computes loss and gradient from the sums of all parts.
    fn finish(&mut self, summed: &dyn SummedRows<T>) {
        self.sum = RowSum::joined(self.parts.drain(..));
        if let Some(class) = self.class {
            self.result = summed.of_sum(self.index, self.sum, class, self.logit);
        }
    }

    /// The index of its class in a tile.
    fn place(&self, tile: &Range<usize>) -> Option<usize> {
        self.class.filter(|class| tile.contains(class)).map(|class| class - tile.start)
    }
}

/// Sums the exponentials of some classes, and looks up the logits of the rows' classes.
fn add_parts<T: Real>(isa: Isa, rows: &mut [Row<T>], tile: Range<usize>, logits: &[T]) {
    let mut parts = Vec::new();
    for (row, line) in rows.iter_mut().zip(logits.chunks_exact(tile.len())) {
        if let Some(k) = row.place(&tile) {
            row.logit = line[k];
        }
        let first = row.parts.len();
        memory::append(&mut row.parts, (0..tile.len().div_ceil(PART)).map(|_| RowSum::none()));
        memory::append(&mut parts, line.chunks(PART).zip(&mut row.parts[first..]));
    }
    parallel::for_each(parts.into_iter(), logits.len(), |(part, sum)| {
        *sum = T::dispatch(isa, Sum(part));
    });
}

/// Overwrites the logits of some classes by their gradients, scaled.
fn make_gradients<T: Real>(isa: Isa, rows: &[Row<T>], tile: Range<usize>, logits: &mut [T], scale: GradScale<'_, T>) {
    let (len, mut parts) = (logits.len(), Vec::new());
    for (row, line) in rows.iter().zip(logits.chunks_exact_mut(tile.len())) {
        memory::append(&mut parts, line.chunks_mut(PART).map(|part| (row, part)));
    }
    parallel::for_each(parts.into_iter(), len, |(row, part)| {
        T::dispatch(isa, Gradients { part, sum: row.sum, factor: scale.of(row.index, row.result.others) });
    });
    for (row, line) in rows.iter().zip(logits.chunks_exact_mut(tile.len())) {
        if let Some(k) = row.place(&tile)
            && scale.of(row.index, row.result.others) != 0.0
        {
            line[k] = T::from_f64(scale.of(row.index, row.result.label));
        }
    }
}

struct Gradients<'k, T> {
    part: &'k mut [T],
    sum: RowSum<T>,
    factor: f64,
}

impl<T: Real> Kernel<T> for Gradients<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        let Gradients { part, sum, factor } = self;
        if factor == 0.0 {
            return part.fill(T::ZERO);
        }
        // An infinite maximum has a probability, but no exponential.
        let (softmax, max) = (sum.softmax(factor), s.splat(sum.max));
        let of_max = s.splat(T::from_f64(factor * sum.probability(sum.max).0));
        RowIo::in_place(part).map(s, T::ZERO, inlined!(|_, z| S::V::select(z.eq(max), of_max, softmax.of(s, z))));
    }
}
