//! Blocks of rows of few classes, taken together: a row a lane, a class a register.

use super::side::Side;
use super::{Form, Quantity, Question, with_measure};
use crate::columns;
use crate::distributions::Measure;
use crate::distributions::across::{self, groups, of_logits, of_probabilities};
use crate::math::{Real, exp};
use crate::simd::{Kernel, MAX_LANES, Simd, write};

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
    pub(super) fn across_len<T: Real>(classes: usize) -> usize {
        across::Side::<T>::scratch_len(classes) + groups(classes) * MAX_LANES * classes
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

/// Longer rows of probabilities are faster taken one by one. At this length Kullback-Leibler is even, but for its gradients,
/// which take longer together (by a sixth in float32, two fifths in float64), and in shorter rows no longer do.
const SHORT_BYTES: usize = 128;

/// The answers of a block of rows, and with `GRAD` the gradients.
pub(super) struct Across<'k, T, const GRAD: bool> {
    pub(super) question: &'k Question,
    pub(super) tolerance: f64,
    pub(super) sides: [Option<Side<'k, T>>; 2],
    pub(super) classes: usize,
    pub(super) out: &'k mut [T],
    pub(super) scratch: &'k mut [T],
}

impl<T: Real, const GRAD: bool> Kernel<T> for Across<'_, T, GRAD> {
    /// Whether all rows are distributions.
    type Output = bool;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) -> bool {
        with_measure!(self.question.quantity, measure => self.of(s, measure))
    }
}

impl<T: Real, const GRAD: bool> Across<'_, T, GRAD> {
    #[inline(always)]
    fn of<S: Simd<T>, M: Measure<T>>(self, s: S, measure: M) -> bool {
        let Across { question, tolerance, mut sides, classes, out, scratch } = self;
        let (scratch, sums) = scratch.split_at_mut(across::Side::<T>::scratch_len(classes));
        let [mut p, mut q] = across::Side::both(scratch, classes);
        let (are_logits, at_once, mut wrong) = (question.form == Form::Logits, groups(classes) * S::LANES, 0);
        for start in (0..out.len()).step_by(at_once) {
            let count = at_once.min(out.len() - start);
            // 1. rows, a lane each, and the exponentials of logits
            for (group, side) in [&mut p, &mut q].into_iter().zip(&sides) {
                if let Some(side) = side {
                    group.load(s, side.from(start), count, are_logits);
                }
            }
            // 2. answers
            for (g, i) in (start..start + count).step_by(S::LANES).enumerate() {
                let nats = if are_logits {
                    of_logits::<GRAD, T, S, M>(s, measure, &mut p, &mut q, g)
                } else {
                    let swept = of_probabilities::<GRAD, T, S, M>(s, measure, &mut p, &mut q, g);
                    let rows = S::LANES.min(start + count - i);
                    wrong |= swept.wrong(s, tolerance) & ((1 << rows) - 1);
                    swept.values
                };
                let (answers, factor) = question.answer_across(s, nats);
                write(s, answers, out, i);
                if GRAD {
                    p.scale_by(s, g, factor);
                    q.scale_by(s, g, factor);
                }
            }
            // 3. gradients
            if GRAD {
                for (group, side) in [&mut p, &mut q].into_iter().zip(&mut sides) {
                    let Some(side) = side else { continue };
                    group.store(s, side.places(start, sums), count);
                    for grad in sums.chunks_exact(classes).take(count) {
                        side.add(grad);
                    }
                }
            }
        }
        wrong == 0
    }
}

#[cfg(test)]
mod tests {
    use super::super::gradients::Grads;
    use super::super::{Form, Values};
    use super::*;
    use crate::simd::{Float, Isa};
    use crate::view::{Rows, RowsIo};

    const QUANTITIES: [Quantity; 5] = [
        Quantity::Entropy,
        Quantity::Perplexity,
        Quantity::CrossEntropy,
        Quantity::KlDivergence,
        Quantity::JsDivergence { weight: 0.3 },
    ];

    /// Rows of numbers between -3 and 4, or the distributions that they are logits of.
    fn rows<T: Float>(rows: usize, classes: usize, step: usize, form: Form) -> Vec<T> {
        let logits = |i: usize| ((i * step % 1009) as f64) * 0.007 - 3.0;
        let rows = (0..rows).flat_map(|row| {
            let z = (0..classes).map(move |k| logits(row * classes + k));
            let sum: f64 = z.clone().map(f64::exp).sum();
            z.map(move |z| if form == Form::Logits { z } else { z.exp() / sum })
        });
        rows.map(T::from_f64).collect()
    }

    /// Answers and both gradients of rows, one by one and together.
    fn both_ways<T: Real>(isa: Isa, question: &Question, p: &[T], q: &[T], classes: usize) -> [[Vec<T>; 4]; 2] {
        let (count, tolerance) = (p.len() / classes, 1e-3);
        let view = |data| Rows::packed(data, count, classes);
        [false, true].map(|goes_across| {
            let (mut values, mut answers) = (vec![T::NAN; count], vec![T::NAN; count]);
            let (mut p_grad, mut q_grad) = (vec![T::NAN; p.len()], vec![T::ZERO; q.len()]);
            let q_rows = question.takes_two().then(|| view(q));
            let side = Side::Each(RowsIo::beside(view(p), &mut p_grad));
            let q_side = question.takes_two().then(|| Side::Each(RowsIo::beside(view(q), &mut q_grad)));
            let mut scratch = vec![T::NAN; Question::across_len::<T>(classes)];
            let all_valid = if goes_across {
                let (out, scratch, sides) =
                    (&mut values, &mut scratch, [Some(Side::None(view(p))), q_rows.map(Side::None)]);
                let kernel = Across { question, tolerance, sides, classes, out, scratch };
                let all_valid = T::dispatch::<Across<'_, _, false>>(isa, kernel);
                let (out, sides) = (&mut answers, [Some(side), q_side]);
                let kernel = Across { question, tolerance, sides, classes, out, scratch };
                all_valid & T::dispatch::<Across<'_, _, true>>(isa, kernel)
            } else {
                let (p, q, out) = (view(p), q_rows, &mut values);
                let all_valid = T::dispatch(isa, Values { question, tolerance, p, q, out });
                let (p, q, out, scratch) = (side, q_side, &mut answers, &mut scratch[..2 * classes]);
                all_valid & T::dispatch(isa, Grads { question, tolerance, p, q, out, scratch })
            };
            assert!(all_valid);
            [values, answers, p_grad, q_grad]
        })
    }

    #[test]
    fn rows_taken_together_are_what_they_are_one_by_one() {
        for classes in [1, 2, 3, 4, 5, 9, 10, 17, 33, 64] {
            for count in [1, 2, 7, 8, 9, 31, 64, 65, 67] {
                for (form, quantity) in [Form::Probabilities, Form::Logits]
                    .iter()
                    .flat_map(|form| QUANTITIES.map(|quantity| (*form, quantity)))
                {
                    let question = Question::new(quantity, form, None).expect("nats");
                    let (p, q) = (rows::<f32>(count, classes, 7919, form), rows::<f32>(count, classes, 104_729, form));
                    for isa in Isa::available() {
                        let [apart, together] = both_ways(isa, &question, &p, &q, classes);
                        let case = format!("{quantity:?} {form:?} {count}x{classes} {}", isa.name());
                        assert_eq!(together[0], together[1], "{case}");
                        for (apart, together) in apart.iter().flatten().zip(together.iter().flatten()) {
                            let (apart, together) = (apart.to_f64(), together.to_f64());
                            let error = (apart - together).abs();
                            assert!(
                                error <= 64.0 * f64::from(f32::EPSILON) * (1.0 + apart.abs()),
                                "{case}: {apart} {together}"
                            );
                        }
                    }
                }
            }
        }
    }
}
