//! Rows of few classes, taken together: a row a lane, a class a register.

use super::{Quantity, Question, is_wrong, with_measure};
use crate::columns::{self, Columns};
use crate::distributions::{Measure, probabilities};
use crate::math::Real;
use crate::simd::{Kernel, Simd};
use crate::view::Rows;

/// The answers of a block of rows of probabilities.
pub(super) struct ValuesAcross<'k, T> {
    pub(super) question: &'k Question,
    pub(super) tolerance: f64,
    pub(super) p: Rows<'k, T>,
    pub(super) q: Option<Rows<'k, T>>,
    pub(super) out: &'k mut [T],
    pub(super) scratch: &'k mut [T],
}

impl<T: Real> ValuesAcross<'_, T> {
    /// For the columns of both distributions.
    pub(super) fn scratch_len(classes: usize) -> usize {
        2 * columns::scratch_len(classes)
    }
}

impl<T: Real> Kernel<T> for ValuesAcross<'_, T> {
    /// How many rows are no distributions.
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) -> f64 {
        with_measure!(self.question.quantity, measure => self.of(s, measure))
    }
}

impl<T: Real> ValuesAcross<'_, T> {
    #[inline(always)]
    fn of<S: Simd<T>, M: Measure<T>>(self, s: S, measure: M) -> f64 {
        let ValuesAcross { question, tolerance, p, q, out, scratch } = self;
        let (p_scratch, q_scratch) = scratch.split_at_mut(scratch.len() / 2);
        let mut wrong = 0.0;
        for (g, out) in out.chunks_mut(S::LANES).enumerate() {
            let p = load(s, p, g * S::LANES, out.len(), p_scratch);
            let rows = match q {
                Some(q) => {
                    let q = load(s, q, g * S::LANES, out.len(), q_scratch);
                    probabilities::values_across(s, measure, &p, &q)
                }
                None => probabilities::values_across(s, measure, &p, &p),
            };
            for (out, row) in out.iter_mut().zip(&rows) {
                wrong += is_wrong(row, tolerance);
                *out = T::from_f64(question.answer(row.value).0);
            }
        }
        wrong
    }
}

/// So many rows from the one given, made columns.
#[inline(always)]
fn load<'a, T: Real, S: Simd<T>>(
    s: S,
    rows: Rows<'_, T>,
    first: usize,
    count: usize,
    to: &'a mut [T],
) -> Columns<'a, T> {
    let (numbers, stride) = rows.from(first);
    let mut columns = Columns::of(s, to, 0, rows.classes());
    columns.load(s, numbers, stride, count);
    columns
}
