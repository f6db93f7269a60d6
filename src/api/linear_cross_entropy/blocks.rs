//! A small weight: rows are evaluated in blocks that stay in the cache. The blocks form parts, each with its own
//! gradients.

use super::{Evaluation, LinearGrads, copy_rows, round};
use crate::linear::gemm::{Matrix, MatrixMut};
use crate::linear::{self, AddColumns};
use crate::math::Real;
use crate::memory;
use crate::parallel;
use crate::simd::Float;
use crate::storage::take;
use crate::view::Rows;
use std::ops::Range;

/// Some rows, which one thread evaluates block by block.
struct Part<'k, T> {
    rows: Range<usize>,
    each: Option<&'k mut [T]>,
    x_grad: Option<&'k mut [T]>,
    weight_grad: Option<&'k mut [T]>,
    bias_grad: Option<&'k mut [f64]>,
}

impl<T: Real> Evaluation<'_, '_, T> {
    /// Evaluates rows in blocks that stay in the cache. Threads share parts of the rows, each with its own gradients.
    pub(super) fn in_blocks(&self, grads: LinearGrads<'_, T>, mut each: Option<&mut [T]>) -> f64 {
        let [rows, features, classes] = self.objective.shape();
        let block = linear::block_rows::<T>(features, classes);
        let size = rows.div_ceil(linear::parts::<T>(features, classes)).next_multiple_of(block);
        let count = rows.div_ceil(size);
        let (weights, losses) = (features * classes, self.objective.loss.losses_per_row(classes));
        let mut weight_grads = memory::zeros(if grads.weight.is_some() { count * weights } else { 0 });
        let mut bias_grads = memory::zeros(if grads.bias.is_some() { count * classes } else { 0 });
        // 1. every part
        let (mut x_rest, mut weight_rest, mut bias_rest) = (grads.x, &mut weight_grads[..], &mut bias_grads[..]);
        let parts = memory::list((0..count).map(|part| {
            let rows = part * size..rows.min((part + 1) * size);
            Part {
                each: each.as_mut().map(|rest| take(rest, rows.len() * losses)),
                x_grad: x_rest.as_mut().map(|rest| take(rest, rows.len() * features)),
                weight_grad: grads.weight.is_some().then(|| take(&mut weight_rest, weights)),
                bias_grad: grads.bias.is_some().then(|| take(&mut bias_rest, classes)),
                rows,
            }
        }));
        let work = linear::work(rows, features, classes);
        let total = parallel::sum(parts.into_iter(), work, |part| self.part(part, block));
        // 2. their sums, in order
        if let Some(to) = grads.weight.filter(|to| !to.is_empty()) {
            sum_of_parts(&weight_grads, to);
        }
        if let Some(to) = grads.bias.filter(|to| !to.is_empty()) {
            let mut sums = memory::zeros(classes);
            sum_of_parts(&bias_grads, &mut sums);
            round(&sums, to);
        }
        total
    }

    /// Evaluates the rows of a part, one block at a time.
    fn part(&self, part: Part<'_, T>, block: usize) -> f64 {
        let Part { rows, mut each, mut x_grad, mut weight_grad, mut bias_grad } = part;
        let [_, features, classes] = self.objective.shape();
        let (mut logits, mut copy) = (memory::zeros(block.min(rows.len()) * classes), Vec::new());
        let mut total = 0.0;
        self.objective.weight.widened(self.isa, |weight| {
            for first in rows.clone().step_by(block) {
                let count = block.min(rows.end - first);
                let each = each.as_mut().map(|rest| take(rest, count * self.objective.loss.losses_per_row(classes)));
                let x_grad = x_grad.as_mut().map(|rest| take(rest, count * features));
                let left_out = memory::list((0..count).filter(|&i| self.is_left_out(first + i)));
                let logits = &mut logits[..count * classes];
                total += self.objective.x.part(first, count).widened(self.isa, |x| {
                    let x = if left_out.is_empty() { x } else { zeroed(x, &left_out, &mut copy) };
                    linear::block_logits(self.isa, x, weight, self.objective.bias, logits);
                    let total = self.losses(first, logits, each);
                    if let Some(grad) = &mut weight_grad {
                        linear::add_block_product(self.isa, x, logits, classes, grad);
                    }
                    if let Some(sums) = &mut bias_grad {
                        let (rows, stride) = (&logits[..], classes);
                        T::dispatch(self.isa, AddColumns { rows, stride, columns: 0..classes, sums });
                    }
                    if let Some(grad) = x_grad {
                        let logits = Matrix::packed(logits, count, classes);
                        MatrixMut::packed(grad, count, features).product(logits, Matrix::of(weight), false);
                        left_out.iter().for_each(|&i| grad[i * features..][..features].fill(T::ZERO));
                    }
                    total
                });
            }
        });
        total
    }
}

/// A copy of rows, with some of them set to zero.
fn zeroed<'a, T: Float>(rows: Rows<'_, T>, which: &[usize], copy: &'a mut Vec<T>) -> Rows<'a, T> {
    let len = rows.columns();
    memory::resize(copy, rows.rows() * len);
    copy_rows(rows, copy);
    for &i in which {
        copy[i * len..][..len].fill(T::ZERO);
    }
    Rows::packed(copy, rows.rows(), len)
}

/// The sum of parts, in order.
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
