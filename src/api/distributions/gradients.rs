//! The gradients with respect to one distribution, or to both, each of which may be one that all rows share.

use super::across::Across;
use super::side::{Side, scale};
use super::{Form, Quantity, Question, fault, is_valid, unnormalized, with_measure};
use crate::distributions::{Measure, logits, probabilities};
use crate::error::{Error, Result};
use crate::math::Real;
use crate::parallel;
use crate::simd::{Float, Isa, Kernel, Simd};
use crate::storage::{Place, Storage};
use crate::view::{Rows, RowsIo};

/// Rows, and the place for the gradient with respect to them: as many rows, or one. One row is what all rows share, as
/// [`Rows::with_stride`] makes them of one with a stride of 0; its gradient is the sum over them, in double precision.
#[derive(Debug)]
pub struct Variable<'a, S> {
    /// What is read.
    pub rows: Rows<'a, S>,
    /// What is written.
    pub grad: &'a mut [S],
}

impl<S: Storage> Variable<'_, S> {
    fn is_shared(&self) -> bool {
        self.rows.rows() != 1 && self.grad.len() == self.rows.classes()
    }

    fn check(&self) -> Result<()> {
        let (rows, classes, got) = (self.rows.rows(), self.rows.classes(), self.grad.len());
        if got == rows * classes || got == classes {
            Ok(())
        } else {
            Err(Error::Shape { name: "grad", expected: vec![rows, classes], got: vec![got] })
        }
    }
}

/// The answer for each row, and the gradient of their sum with respect to what the rows hold.
///
/// # Errors
/// As [`measure`]; the gradients hold anything then. [`Error::Shape`] too where there is no place for a gradient.
pub fn measure_and_grad<'a, S: Storage + Place<S>>(
    question: &Question,
    mut p: Variable<'a, S>,
    mut q: Option<Variable<'a, S>>,
    out: &mut [S::Real],
) -> Result<()> {
    let (isa, rows, classes) = (Isa::active()?, p.rows.rows(), p.rows.classes());
    question.check([rows, classes], q.as_ref().map(|q| [q.rows.rows(), q.rows.classes()]), out.len())?;
    p.check()?;
    q.as_ref().map_or(Ok(()), Variable::check)?;
    // A sum over the rows has few parts, each as long as a row: their number depends on the shape alone.
    let shared = p.is_shared() || q.as_ref().is_some_and(Variable::is_shared);
    let size = parallel::block_rows(classes).max(if shared { rows.div_ceil(PARTS) } else { 0 });
    let count = rows.div_ceil(size);
    let task = Task { isa, question, tolerance: S::sum_tolerance(classes), classes };
    let mut sums = [vec![0.0; 0], vec![0.0; 0]];
    let [p_sums, q_sums] = &mut sums;
    let mut p_places = Places::of(&mut p, count, p_sums);
    let mut q_places = q.as_mut().map(|q| Places::of(q, count, q_sums));
    let mut rest = out;
    let blocks = (0..count).map(|b| {
        let rows = size.min(rows - b * size);
        let (out, after) = std::mem::take(&mut rest).split_at_mut(rows);
        rest = after;
        (p_places.next(b * size, rows), q_places.as_mut().map(|places| places.next(b * size, rows)), out)
    });
    parallel::try_for_each(blocks, rows * classes, |(p, q, out)| task.run(p, q, out))?;
    for (variable, sums) in [Some(&mut p), q.as_mut()].into_iter().zip(&sums) {
        if let Some(variable) = variable
            && variable.is_shared()
        {
            let total = |k| sums.iter().skip(k).step_by(classes).fold(0.0, |total, part: &f64| total + part);
            let totals: Vec<_> = (0..classes).map(|k| S::Real::from_f64(total(k))).collect();
            S::narrowed(isa, &totals, variable.grad);
        }
    }
    Ok(())
}

/// How many parts a sum over all rows has.
const PARTS: usize = 16;

/// Hands out the places of a gradient, block by block.
struct Places<'k, S> {
    rows: Rows<'k, S>,
    rest: Rest<'k, S>,
}

/// Places not yet handed out: rows of the gradient, or partial sums.
enum Rest<'k, S> {
    Each(&'k mut [S]),
    Sum(&'k mut [f64]),
}

/// Some rows, and the places for their gradients, or the sums that these are added to.
struct Part<'k, S> {
    /// Number of the first row.
    first: usize,
    rows: Rows<'k, S>,
    place: Rest<'k, S>,
}

impl<'k, S: Storage> Places<'k, S> {
    fn of(variable: &'k mut Variable<'_, S>, count: usize, sums: &'k mut Vec<f64>) -> Self {
        let rows = variable.rows;
        if variable.is_shared() {
            sums.resize(count * rows.classes(), 0.0);
            return Places { rows, rest: Rest::Sum(sums) };
        }
        Places { rows, rest: Rest::Each(variable.grad) }
    }

    fn next(&mut self, first: usize, rows: usize) -> Part<'k, S> {
        let classes = self.rows.classes();
        let place = match &mut self.rest {
            Rest::Each(rest) => {
                let (place, after) = std::mem::take(rest).split_at_mut(rows * classes);
                *rest = after;
                Rest::Each(place)
            }
            Rest::Sum(rest) => {
                let (place, after) = std::mem::take(rest).split_at_mut(classes);
                *rest = after;
                Rest::Sum(place)
            }
        };
        Part { first, rows: self.rows.part(first, rows), place }
    }
}

impl<S: Storage + Place<S>> Part<'_, S> {
    /// Hands `f` so many rows from the one given.
    fn open<R>(&mut self, isa: Isa, first: usize, rows: usize, f: impl FnOnce(Side<'_, S::Real>) -> R) -> R {
        let classes = self.rows.classes();
        match &mut self.place {
            Rest::Each(grad) => {
                let grad = &mut grad[first * classes..][..rows * classes];
                S::filled(isa, RowsIo::beside(self.rows.part(first, rows), grad), |io| f(Side::Each(io)))
            }
            Rest::Sum(total) => S::widened(isa, self.rows.part(0, 1), |row| f(Side::Sum { row: row.row(0), total })),
        }
    }
}

/// What all blocks have in common.
struct Task<'q> {
    isa: Isa,
    question: &'q Question,
    tolerance: f64,
    classes: usize,
}

impl Task<'_> {
    /// Answers and gradients of a part.
    ///
    /// # Errors
    /// The first row that is no distribution.
    fn run<S: Storage + Place<S>>(
        &self,
        mut p: Part<'_, S>,
        mut q: Option<Part<'_, S>>,
        out: &mut [S::Real],
    ) -> Result<()> {
        let size = parallel::block_rows(self.classes);
        for (b, out) in out.chunks_mut(size).enumerate() {
            let (first, rows) = (b * size, out.len());
            let all_valid = p.open(self.isa, first, rows, |p| match &mut q {
                Some(q) => q.open(self.isa, first, rows, |q| self.grads(p, Some(q), out)),
                None => self.grads(p, None, out),
            });
            if !all_valid {
                let (p_rows, q_rows) = (p.rows.part(first, rows), q.map(|q| q.rows.part(first, rows)));
                return Err(fault(self.isa, self.question, p.first + first, p_rows, q_rows));
            }
        }
        Ok(())
    }

    fn grads<T: Real>(&self, p: Side<'_, T>, q: Option<Side<'_, T>>, out: &mut [T]) -> bool {
        let Task { isa, question, tolerance, classes } = *self;
        if question.goes_across::<T>(classes) {
            return T::with_scratch(Question::across_len::<T>(classes), |scratch| {
                let kernel = Across { question, tolerance, sides: [Some(p), q], classes, out, scratch };
                T::dispatch::<Across<'_, _, true>>(isa, kernel)
            });
        }
        T::with_scratch(2 * classes, |scratch| match question.form {
            Form::Unnormalized => unnormalized::grads(isa, question, p, q, out, scratch),
            _ => T::dispatch(isa, Grads { question, tolerance, p, q, out, scratch }),
        })
    }
}

/// The answers of a block of rows, and the gradients.
pub(super) struct Grads<'k, T> {
    pub(super) question: &'k Question,
    pub(super) tolerance: f64,
    pub(super) p: Side<'k, T>,
    pub(super) q: Option<Side<'k, T>>,
    pub(super) out: &'k mut [T],
    pub(super) scratch: &'k mut [T],
}

impl<T: Real> Kernel<T> for Grads<'_, T> {
    /// Whether all rows are distributions.
    type Output = bool;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) -> bool {
        with_measure!(self.question.quantity, measure => self.of(s, measure))
    }
}

impl<T: Real> Grads<'_, T> {
    #[inline(always)]
    fn of<S: Simd<T>, M: Measure<T>>(self, s: S, measure: M) -> bool {
        let Grads { question, tolerance, mut p, mut q, out, scratch } = self;
        let (p_scratch, q_scratch) = scratch.split_at_mut(scratch.len() / 2);
        let mut all_valid = true;
        for (i, out) in out.iter_mut().enumerate() {
            let mut p_row = p.row(i, p_scratch);
            let mut q_row = match &mut q {
                Some(q) => Some(q.row(i, q_scratch)),
                None => None,
            };
            let nats = if question.form == Form::Logits {
                logits::value_and_grad(s, measure, &mut p_row, q_row.as_mut())
            } else {
                let row = probabilities::value_and_grad(s, measure, &mut p_row, q_row.as_mut());
                all_valid &= is_valid(&row, tolerance);
                row.value
            };
            let (answer, factor) = question.answer(nats);
            *out = T::from_f64(answer);
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
