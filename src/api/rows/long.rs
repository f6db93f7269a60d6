//! Few long rows: all threads share each row.

use super::{RowObjective, target_row};
use crate::api::{GradScale, long_rows};
use crate::losses::{RowLoss, SumLoss};
use crate::math::Real;
use crate::simd::Isa;
use crate::view::{Classes, Rows, RowsIo};

impl<T: Real, L: RowLoss<T>> RowObjective<'_, T, L> {
    /// The losses of long rows.
    pub(super) fn long_values(
        &self,
        isa: Isa,
        (labels, loss): (&Classes<'_>, &dyn SumLoss<T>),
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
            let weighted = weight * loss.of_sum(long_rows::sum(isa, row), class, row[class]).loss;
            if let Some(each) = &mut each {
                each[i] = T::from_f64(weighted);
            }
            total += weighted;
        }
        total
    }

    /// The losses and gradients of long rows.
    pub(super) fn long_grads(
        &self,
        isa: Isa,
        (labels, loss): (&Classes<'_>, &dyn SumLoss<T>),
        first: usize,
        mut rows: RowsIo<'_, T>,
        scale: GradScale<'_, T>,
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
            let logit = source.unwrap_or(grad)[class];
            let (sum, parts) = long_rows::keep(isa, source, grad);
            let row = loss.of_sum(sum, class, logit);
            let [others, label] = [row.others, row.label].map(|gradient| scale.of(first + i, weight * gradient));
            if others == 0.0 {
                grad.fill(T::ZERO);
            } else {
                long_rows::finish(isa, grad, &parts, sum, others);
                grad[class] = T::from_f64(label);
            }
            if let Some(each) = &mut each {
                each[i] = T::from_f64(weight * row.loss);
            }
            total += weight * row.loss;
        }
        total
    }
}
