//! Rows that are divided by their sums, in double precision, one at a time.

use super::side::{Side, scale};
use super::{Measure, MeasureKind, Values, with_class_sum};
use crate::api::GradOutput;
use crate::distributions::probabilities;
use crate::math::Real;
use crate::simd::{Float, Isa, Kernel, RowIo, Simd};
use crate::view::Rows;

/// Divides a row by its sum, in double precision, and returns the sum; None if it cannot be a divisor.
fn divided<T: Float>(row: &[T], to: &mut [f64]) -> Option<f64> {
    let (mut sum, mut negative) = (0.0, false);
    for (to, row) in to.chunks_mut(BLOCK).zip(row.chunks(BLOCK)) {
        let mut part = 0.0;
        for (to, x) in to.iter_mut().zip(row) {
            *to = x.to_f64();
            part += *to;
            negative |= *to < 0.0;
        }
        sum += part;
    }
    // Not `sum <= 0`: NaN is allowed.
    if negative || sum == 0.0 || sum == f64::INFINITY {
        return None;
    }
    to.iter_mut().for_each(|x| *x /= sum);
    Some(sum)
}

/// Numbers that are summed one by one, before their sums are.
const BLOCK: usize = 64;

/// The measures of a block of rows that are divided by their sums; false if a row cannot be divided.
pub(super) fn values<T: Real>(
    isa: Isa,
    measure: &Measure,
    p: Rows<'_, T>,
    q: Option<Rows<'_, T>>,
    out: &mut [T],
) -> bool {
    let (classes, mut all_valid) = (p.columns(), true);
    let mut wide = vec![0.0; 2 * classes];
    let (p_wide, q_wide) = wide.split_at_mut(classes);
    for (i, out) in out.iter_mut().enumerate() {
        let sums = [divided(p.row(i), p_wide), q.map_or(Some(1.0), |q| divided(q.row(i), q_wide))];
        let [Some(_), Some(_)] = sums else {
            all_valid = false;
            continue;
        };
        let mut value = [0.0];
        let (p, q) = (Rows::packed(p_wide, 1, classes), q.map(|_| Rows::packed(q_wide, 1, classes)));
        f64::dispatch(isa, Values { measure, tolerance: f64::INFINITY, p, q, out: &mut value });
        *out = T::from_f64(value[0]);
    }
    all_valid
}

/// The same, and the gradients with respect to the rows before the division.
pub(super) fn grads<T: Real>(
    isa: Isa,
    measure: &Measure,
    mut p: Side<'_, T>,
    mut q: Option<Side<'_, T>>,
    out: &mut [T],
    (upstream, scratch): (GradOutput<'_, T>, &mut [T]),
) -> bool {
    let (classes, mut all_valid) = (scratch.len() / 2, true);
    let (p_scratch, q_scratch) = scratch.split_at_mut(classes);
    let mut wide = vec![0.0; 2 * classes];
    let (p_wide, q_wide) = wide.split_at_mut(classes);
    for (i, out) in out.iter_mut().enumerate() {
        let mut p_row = p.row(i, p_scratch);
        let mut q_row = q.as_mut().map(|q| q.row(i, q_scratch));
        let sums = [
            divided(p_row.source(), p_wide),
            q_row.as_ref().map_or(Some(1.0), |q_row| divided(q_row.source(), q_wide)),
        ];
        let [Some(p_sum), Some(q_sum)] = sums else {
            all_valid = false;
            continue;
        };
        let sums = [p_sum, q_sum];
        let q_used = q_row.is_some().then_some(&mut *q_wide);
        let value = f64::dispatch(isa, DividedGrads { measure, p: p_wide, q: q_used, sums, upstream: upstream.at(i) });
        *out = T::from_f64(value);
        narrow(&mut p_row, p_wide);
        if let Some(q_row) = &mut q_row {
            narrow(q_row, q_wide);
        }
        p.add(p_scratch);
        if let Some(q) = &mut q {
            q.add(q_scratch);
        }
    }
    all_valid
}

/// Rounds the gradient of a row.
fn narrow<T: Real>(row: &mut RowIo<'_, T>, wide: &[f64]) {
    row.output().iter_mut().zip(wide).for_each(|(grad, &wide)| *grad = T::from_f64(wide));
}

/// The measure of a row that was divided by its sum, and the gradient, which replaces the row.
struct DividedGrads<'k> {
    measure: &'k Measure,
    p: &'k mut [f64],
    q: Option<&'k mut [f64]>,
    sums: [f64; 2],
    upstream: f64,
}

impl Kernel<f64> for DividedGrads<'_> {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd<f64>>(self, s: S) -> f64 {
        let DividedGrads { measure, p, q, sums, upstream } = self;
        let (mut p, mut q) = (RowIo::in_place(p), q.map(RowIo::in_place));
        let nats = with_class_sum!(measure.kind, class_sum => {
            probabilities::value_and_grad_normalized(s, class_sum, &mut p, q.as_mut(), sums)
        });
        let (value, factor) = measure.in_unit(nats);
        let factor = factor * upstream;
        scale(s, &mut p, factor);
        if let Some(q) = &mut q {
            scale(s, q, factor);
        }
        value
    }
}
