//! Blocks of rows of few classes, taken together: a row a lane, a class a register.

use super::side::Side;
use super::{Form, Quantity, Question, with_measure};
use crate::columns::{self, Columns};
use crate::distributions::Measure;
use crate::distributions::across::{Softmax, of_logits, of_probabilities};
use crate::math::{Real, exp};
use crate::simd::{AHEAD, Kernel, MAX_LANES, Simd, write};
use crate::view::Rows;

impl Question {
    /// Whether rows are taken together, be it for values or for gradients too, as the values of both have the same bits.
    pub(super) fn goes_across<T>(&self, classes: usize) -> bool {
        let is_worth_it = match self.form {
            Form::Logits => true,
            // Without exponentials there is less to gain, and short rows gain most.
            Form::Probabilities => classes * size_of::<T>() <= SHORT_BYTES,
            Form::Unnormalized => false,
        };
        is_worth_it && columns::are_few(classes)
    }

    /// How much scratch that takes.
    pub(super) fn across_len(classes: usize) -> usize {
        columns::several_len(COLUMNS, classes) + MAX_LANES * classes
    }

    /// From nats to what was asked for, and what the gradient is to be multiplied by.
    #[inline(always)]
    fn answer_across<T: Real, S: Simd<T>>(&self, s: S, nats: S::V) -> (S::V, S::V) {
        if self.quantity == Quantity::Perplexity {
            let perplexity = exp(s, nats);
            return (perplexity, perplexity);
        }
        (nats / s.splat(T::from_f64(self.unit)), s.splat(T::from_f64(1.0 / self.unit)))
    }
}

/// Longer rows of probabilities are faster taken one by one: from 32 classes in float32 and 16 in float64 on the gradient
/// of Kullback-Leibler is, at 24 in float64 by a third.
const SHORT_BYTES: usize = 128;

/// The logits of both distributions, and their exponentials.
const COLUMNS: usize = 4;

/// Loads a group of rows, and fetches those that will be loaded some groups later.
#[inline(always)]
fn load<T: Real, S: Simd<T>>(s: S, columns: &mut Columns<'_, T>, (rows, stride): (&[T], usize), count: usize) {
    for i in (0..count * stride).step_by(LINE / size_of::<T>()) {
        s.prefetch(rows, i + AHEAD);
    }
    columns.load(s, rows, stride, count);
}

/// Bytes of a line of the caches.
const LINE: usize = 64;

/// A group of rows of both distributions, at most as many as there are lanes.
struct Group<'k, 'a, T> {
    question: &'k Question,
    tolerance: f64,
    columns: &'k mut [Columns<'a, T>; COLUMNS],
    rows: usize,
}

impl<T: Real> Group<'_, '_, T> {
    /// The answers, what the gradients are to be multiplied by, which take the place of the rows, and how many rows are no
    /// distributions.
    #[inline(always)]
    fn answer<const GRAD: bool, S: Simd<T>, M: Measure<T>>(self, s: S, measure: M) -> (S::V, S::V, u32) {
        let Group { question, tolerance, columns: [p, q, p_exponentials, q_exponentials], rows } = self;
        let (nats, wrong) = if question.form == Form::Logits {
            let p = Softmax { logits: p, exponentials: p_exponentials };
            let q = Softmax { logits: q, exponentials: q_exponentials };
            (of_logits::<GRAD, T, S, M>(s, measure, p, q), 0)
        } else {
            let swept = of_probabilities::<GRAD, T, S, M>(s, measure, p, q);
            (swept.values, swept.wrong(s, tolerance) & ((1 << rows) - 1))
        };
        let (answers, factor) = question.answer_across(s, nats);
        (answers, factor, wrong.count_ones())
    }
}

/// The answers of a block of rows.
pub(super) struct ValuesAcross<'k, T> {
    pub(super) question: &'k Question,
    pub(super) tolerance: f64,
    pub(super) p: Rows<'k, T>,
    pub(super) q: Option<Rows<'k, T>>,
    pub(super) out: &'k mut [T],
    pub(super) scratch: &'k mut [T],
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
        let (mut columns, mut wrong) = (Columns::several::<COLUMNS, S>(s, scratch, p.classes()), 0);
        for i in (0..out.len()).step_by(S::LANES) {
            let rows = S::LANES.min(out.len() - i);
            for (columns, side) in columns.iter_mut().zip([Some(p), q]) {
                if let Some(side) = side {
                    load(s, columns, side.from(i), rows);
                }
            }
            let group = Group { question, tolerance, columns: &mut columns, rows };
            let (answers, _, found) = group.answer::<false, S, M>(s, measure);
            write(s, answers, out, i);
            wrong += found;
        }
        f64::from(wrong)
    }
}

/// The answers of a block of rows, and the gradients.
pub(super) struct GradsAcross<'k, T> {
    pub(super) question: &'k Question,
    pub(super) tolerance: f64,
    pub(super) p: Side<'k, T>,
    pub(super) q: Option<Side<'k, T>>,
    pub(super) classes: usize,
    pub(super) out: &'k mut [T],
    pub(super) scratch: &'k mut [T],
}

impl<T: Real> Kernel<T> for GradsAcross<'_, T> {
    /// How many rows are no distributions.
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) -> f64 {
        with_measure!(self.question.quantity, measure => self.of(s, measure))
    }
}

impl<T: Real> GradsAcross<'_, T> {
    #[inline(always)]
    fn of<S: Simd<T>, M: Measure<T>>(self, s: S, measure: M) -> f64 {
        let GradsAcross { question, tolerance, p, q, classes, out, scratch } = self;
        let (scratch, grads) = scratch.split_at_mut(columns::several_len(COLUMNS, classes));
        let (mut columns, mut wrong) = (Columns::several::<COLUMNS, S>(s, scratch, classes), 0);
        let mut sides = [Some(p), q];
        for i in (0..out.len()).step_by(S::LANES) {
            let rows = S::LANES.min(out.len() - i);
            for (columns, side) in columns.iter_mut().zip(&sides) {
                if let Some(side) = side {
                    load(s, columns, side.from(i), rows);
                }
            }
            let group = Group { question, tolerance, columns: &mut columns, rows };
            let (answers, factor, found) = group.answer::<true, S, M>(s, measure);
            write(s, answers, out, i);
            wrong += found;
            for (columns, side) in columns.iter_mut().zip(&mut sides) {
                let Some(side) = side else { continue };
                columns.store(
                    s,
                    side.places(i, grads),
                    rows,
                    #[inline(always)]
                    |_, g| g * factor,
                );
                for grad in grads.chunks_exact(classes).take(rows) {
                    side.add(grad);
                }
            }
        }
        f64::from(wrong)
    }
}
