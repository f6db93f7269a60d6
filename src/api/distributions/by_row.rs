//! The gradients of a block of rows, one row at a time.

use super::side::{Side, scale};
use super::{Measure, MeasureInput, is_valid};
use crate::api::GradOutput;
use crate::distributions::{AnyClassSum, logits, probabilities, with_class_sum};
use crate::math::Real;
use crate::simd::{Kernel, RowIo, Simd, inlined};

/// The measures of a block of rows, and the gradients.
pub(super) struct Grads<'k, T> {
    pub(super) measure: &'k Measure,
    pub(super) tolerance: f64,
    pub(super) p: Side<'k, T>,
    pub(super) q: Option<Side<'k, T>>,
    pub(super) out: &'k mut [T],
    pub(super) scratch: &'k mut [T],
    pub(super) upstream: GradOutput<'k, T>,
}

impl<T: Real> Kernel<T> for Grads<'_, T> {
    /// Whether all rows are distributions.
    type Output = bool;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) -> bool {
        let (class_sum, tolerance) = (self.measure.class_sum(), self.tolerance);
        if self.measure.input == MeasureInput::Logits {
            return self.rows(s, inlined!(|p, q| (logits::value_and_grad(s, class_sum, p, q), true)));
        }
        with_class_sum!(s, class_sum, class_sum => self.rows(s, inlined!(|p, q| {
            let row = probabilities::value_and_grad(s, class_sum, p, q);
            (row.value, is_valid(&row, tolerance))
        })))
    }
}

impl<T: Real> Grads<'_, T> {
    /// The measures and gradients of all rows; `of_row` gives the value of a row, in nats, and whether its numbers are
    /// distributions.
    #[inline(always)]
    fn rows<S: Simd<T>>(
        self,
        s: S,
        of_row: impl Fn(&mut RowIo<'_, T>, Option<&mut RowIo<'_, T>>) -> (f64, bool),
    ) -> bool {
        let Grads { measure, mut p, mut q, out, scratch, upstream, .. } = self;
        let (p_scratch, q_scratch) = scratch.split_at_mut(scratch.len() / 2);
        let mut all_valid = true;
        for (i, out) in out.iter_mut().enumerate() {
            let mut p_row = p.row(i, p_scratch);
            let mut q_row = match &mut q {
                Some(q) => Some(q.row(i, q_scratch)),
                None => None,
            };
            let (nats, is_valid) = of_row(&mut p_row, q_row.as_mut());
            all_valid &= is_valid;
            let (value, factor) = measure.in_unit(nats);
            let factor = factor * upstream.at(i);
            *out = T::from_f64(value);
            scale(s, &mut p_row, factor);
            if let Some(q_row) = &mut q_row {
                scale(s, q_row, factor);
            }
            p.add(p_scratch);
            if let Some(q) = &mut q {
                q.add(q_scratch);
            }
        }
        all_valid
    }
}
