//! Rows that are divided by their sums, in double precision, one at a time.

use super::by_row::Grads;
use super::side::Side;
use super::{Measure, MeasureKind, Values};
use crate::api::GradOutput;
use crate::math::Real;
use crate::memory;
use crate::simd::{Float, Isa, RowIo, split};
use crate::view::{Rows, RowsIo};

/// What is known of a row that was divided by its sum.
struct Divided {
    sum: f64,
    /// The class of the largest quotient.
    largest: usize,
    /// The rounding error of that quotient where it is above 1/2, of which an entropy near 0 would consist otherwise: the
    /// other numbers over the sum have more digits than 1 less the quotient, a difference that is exact.
    error: f64,
}

impl Divided {
    /// That of a row that is not there.
    const NONE: Self = Divided { sum: 1.0, largest: 0, error: 0.0 };
}

/// Divides a row by its sum, in double precision; None if the sum cannot be a divisor.
fn divided<T: Float>(row: &[T], to: &mut [f64]) -> Option<Divided> {
    let (mut largest, mut most, mut negative) = (0, 0.0, false);
    for (k, (to, x)) in to.iter_mut().zip(row).enumerate() {
        *to = x.to_f64();
        negative |= *to < 0.0;
        if *to > most {
            (largest, most) = (k, *to);
        }
    }
    let (before, after) = to.split_at(largest.min(to.len()));
    let (first, after) = after.split_at(after.len().min(1));
    let rest = sum(before) + sum(after);
    let sum = rest + sum(first);
    // Not `sum <= 0`: NaN is allowed.
    if negative || sum == 0.0 || sum == f64::INFINITY {
        return None;
    }
    to.iter_mut().for_each(|x| *x /= sum);
    let quotient = to.get(largest).copied().unwrap_or_default();
    let error = if quotient > 0.5 { rest / sum - (1.0 - quotient) } else { 0.0 };
    Some(Divided { sum, largest, error })
}

/// The sum, of blocks.
fn sum(numbers: &[f64]) -> f64 {
    numbers.chunks(BLOCK).map(|block| block.iter().sum::<f64>()).sum()
}

/// Numbers that are summed one by one, before their sums are.
const BLOCK: usize = 64;

/// What the rounding of the largest quotients adds to a value: their errors times the slopes there. Those of a divergence
/// are as small as its value, and a perplexity is at least 1.
fn error(measure: &Measure, [p, q]: [&Divided; 2], [p_wide, q_wide]: [&[f64]; 2]) -> f64 {
    let nats = match measure.kind {
        MeasureKind::Entropy => -(1.0 + p_wide[p.largest].ln()) * p.error,
        MeasureKind::CrossEntropy => -p_wide[q.largest] / q_wide[q.largest] * q.error,
        MeasureKind::Perplexity | MeasureKind::KlDivergence | MeasureKind::JsDivergence { .. } => 0.0,
    };
    nats / measure.unit
}

/// The measures of a block of rows that are divided by their sums; false if a row cannot be divided.
pub(super) fn values<T: Real>(
    isa: Isa,
    measure: &Measure,
    p: Rows<'_, T>,
    q: Option<Rows<'_, T>>,
    out: &mut [T],
) -> bool {
    let (classes, mut all_valid) = (p.columns(), true);
    let mut wide = memory::zeros(2 * classes);
    let (p_wide, q_wide) = wide.split_at_mut(classes);
    for (i, out) in out.iter_mut().enumerate() {
        let rows = [divided(p.row(i), p_wide), q.map_or(Some(Divided::NONE), |q| divided(q.row(i), q_wide))];
        let [Some(p_row), Some(q_row)] = rows else {
            all_valid = false;
            continue;
        };
        let error = error(measure, [&p_row, &q_row], [p_wide, q_wide]);
        let mut value = [0.0];
        let (p, q) = (Rows::packed(p_wide, 1, classes), q.map(|_| Rows::packed(q_wide, 1, classes)));
        f64::dispatch(isa, Values { measure, tolerance: f64::INFINITY, p, q, out: &mut value });
        *out = T::from_f64(value[0] - error);
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
    let mut wide = memory::zeros(4 * classes);
    let [p_wide, q_wide, p_grad, q_grad] = split(&mut wide, [classes; 4]);
    for (i, out) in out.iter_mut().enumerate() {
        let mut p_row = p.row(i, p_scratch);
        let mut q_row = q.as_mut().map(|q| q.row(i, q_scratch));
        let rows = [
            divided(p_row.source(), p_wide),
            q_row.as_ref().map_or(Some(Divided::NONE), |q_row| divided(q_row.source(), q_wide)),
        ];
        let [Some(p_of), Some(q_of)] = rows else {
            all_valid = false;
            continue;
        };
        let error = error(measure, [&p_of, &q_of], [p_wide, q_wide]);
        let mut value = [0.0];
        let side = |row, grad| Side::Each(RowsIo::beside(Rows::packed(row, 1, classes), grad));
        let kernel = Grads {
            measure,
            tolerance: f64::INFINITY,
            p: side(p_wide, p_grad),
            q: q_row.is_some().then(|| side(q_wide, q_grad)),
            out: &mut value,
            scratch: &mut [],
            upstream: GradOutput::Number(upstream.at(i)),
        };
        f64::dispatch(isa, kernel);
        *out = T::from_f64(value[0] - error);
        write(&mut p_row, p_wide, p_grad, p_of.sum);
        if let Some(q_row) = &mut q_row {
            write(q_row, q_wide, q_grad, q_of.sum);
        }
        p.add(p_scratch);
        if let Some(q) = &mut q {
            q.add(q_scratch);
        }
    }
    all_valid
}

/// Writes the gradient before the division, `(g_k - sum_j p_j g_j) / sum`, from that with respect to the quotients.
fn write<T: Real>(row: &mut RowIo<'_, T>, p: &[f64], grad: &[f64], sum: f64) {
    // A slope may be infinite where p = 0.
    let part = |(p, grad): (&[f64], &[f64])| -> f64 {
        p.iter().zip(grad).map(|(&p, &g)| if p == 0.0 { 0.0 } else { p * g }).sum()
    };
    let mean: f64 = p.chunks(BLOCK).zip(grad.chunks(BLOCK)).map(part).sum();
    row.output().iter_mut().zip(grad).for_each(|(out, g)| *out = T::from_f64((g - mean) / sum));
}
