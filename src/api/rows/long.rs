//! Rows so long and so few that each is shared among all threads.

use super::{RowProblem, Targets, target_row};
use crate::api::long_rows;
use crate::losses::RowLoss;
use crate::math::Real;
use crate::simd::Isa;
use crate::view::{Classes, Rows, RowsIo};

impl<T: Real, L: RowLoss<T>> RowProblem<'_, T, L> {
    /// The labels, where rows are so long and so few that each is shared among all threads.
    pub(super) fn labels_of_long_rows(&self, classes: usize) -> Option<&Classes<'_>> {
        match &self.target {
            Targets::Classes(labels) if long_rows::are_split(labels.rows(), classes) => {
                self.loss.follows_from_sum().then_some(labels)
            }
            _ => None,
        }
    }

    /// The losses of long rows.
    pub(super) fn long_values(
        &self,
        isa: Isa,
        labels: &Classes<'_>,
        first: usize,
        logits: Rows<'_, T>,
        mut each: Option<&mut [T]>,
    ) -> f64 {
        let mut total = 0.0;
        for i in 0..logits.rows() {
            let (weight, row) = (self.sample_weight(first + i), logits.row(i));
            let Some(class) = labels.get(first + i).filter(|_| weight != 0.0) else {
                continue;
            };
            let loss = weight * self.loss.of_sum(long_rows::sum(isa, row), class, row[class]).loss;
            if let Some(each) = &mut each {
                each[i] = T::from_f64(loss);
            }
            total += loss;
        }
        total
    }

    /// The losses and gradients of long rows.
    pub(super) fn long_grads(
        &self,
        isa: Isa,
        labels: &Classes<'_>,
        first: usize,
        mut rows: RowsIo<'_, T>,
        divisor: f64,
        mut each: Option<&mut [T]>,
    ) -> f64 {
        let mut total = 0.0;
        for i in 0..rows.rows() {
            let (weight, source) = (self.sample_weight(first + i), rows.apart().map(|rows| rows.row(i)));
            let grad = target_row(&mut rows, i);
            let Some(class) = labels.get(first + i).filter(|_| weight != 0.0) else {
                grad.fill(T::ZERO);
                continue;
            };
            let (logit, scale) = (source.unwrap_or(grad)[class], weight / divisor);
            let (sum, parts) = long_rows::keep(isa, source, grad);
            let row = self.loss.of_sum(sum, class, logit);
            if row.others == 0.0 {
                grad.fill(T::ZERO);
                continue;
            }
            long_rows::finish(isa, grad, &parts, sum, scale * row.others);
            grad[class] = T::from_f64(scale * row.own);
            if let Some(each) = &mut each {
                each[i] = T::from_f64(weight * row.loss);
            }
            total += weight * row.loss;
        }
        total
    }
}
