//! What one distribution has, and what two have between them: one value a row.

use crate::distributions::probabilities::Swept;
use crate::distributions::{CrossEntropy, Entropy, JsDivergence, KlDivergence, Measure, logits, probabilities};
use crate::error::{Error, Fault, Result};
use crate::math::Real;
use crate::parallel;
use crate::simd::{Float, Isa, Kernel, RowIo, Simd};
use crate::storage::{Place, Storage};
use crate::view::{Rows, RowsIo};

/// What is asked of one distribution, or of two.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Quantity {
    /// `H(p) = -sum p ln p`
    Entropy,
    /// `exp H(p)`
    Perplexity,
    /// `H(p, q) = -sum p ln q`
    CrossEntropy,
    /// `KL(p || q) = sum p ln(p / q)`
    KlDivergence,
    /// `H(w p + (1 - w) q) - w H(p) - (1 - w) H(q)`
    JsDivergence {
        /// `w`, the weight of `p`, in [0, 1].
        weight: f64,
    },
}

/// What the rows hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Distributions: anything else is refused.
    Probabilities,
    /// Numbers that are not negative, to be divided by their sum; this is done in double precision.
    Unnormalized,
    /// Logits, whose softmax are the distributions.
    Logits,
}

/// A quantity, in what unit, and of what.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    quantity: Quantity,
    form: Form,
    /// The unit, in nats.
    unit: f64,
}

impl Question {
    /// `base` is that of the logarithms: 2 for bits, absent for nats. A perplexity has no unit.
    ///
    /// # Errors
    /// [`Error::Parameter`] for a base that is not above 1 and finite, and for a weight outside [0, 1].
    pub fn new(quantity: Quantity, form: Form, base: Option<f64>) -> Result<Self> {
        if let Some(base) = base
            && !(base > 1.0 && base < f64::INFINITY)
        {
            return Err(Error::Parameter { name: "base", expected: "above 1 and finite", got: format!("{base:?}") });
        }
        if let Quantity::JsDivergence { weight } = quantity
            && !(0.0..=1.0).contains(&weight)
        {
            return Err(Error::Parameter { name: "weight", expected: "in [0, 1]", got: format!("{weight:?}") });
        }
        Ok(Question { quantity, form, unit: base.map_or(1.0, f64::ln) })
    }

    /// Whether there is a second distribution.
    pub(crate) fn takes_two(&self) -> bool {
        !matches!(self.quantity, Quantity::Entropy | Quantity::Perplexity)
    }

    /// From nats to what was asked for, and what the gradient is to be multiplied by.
    #[inline(always)]
    fn answer(&self, nats: f64) -> (f64, f64) {
        match self.quantity {
            Quantity::Perplexity => (nats.exp(), nats.exp()),
            _ => (nats / self.unit, 1.0 / self.unit),
        }
    }

    fn check(&self, shape: [usize; 2], q: Option<[usize; 2]>, out: usize) -> Result<()> {
        let expected = self.takes_two().then_some(shape);
        if q != expected {
            let list = |shape: Option<[usize; 2]>| shape.map_or(vec![], |shape| shape.to_vec());
            return Err(Error::Shape { name: "q", expected: list(expected), got: list(q) });
        }
        if out != shape[0] {
            return Err(Error::Shape { name: "out", expected: vec![shape[0]], got: vec![out] });
        }
        Ok(())
    }
}

/// Runs an expression with the measure of a quantity.
macro_rules! with_measure {
    ($quantity:expr, $measure:ident => $result:expr) => {
        match $quantity {
            Quantity::Entropy | Quantity::Perplexity => {
                let $measure = Entropy;
                $result
            }
            Quantity::CrossEntropy => {
                let $measure = CrossEntropy;
                $result
            }
            Quantity::KlDivergence => {
                let $measure = KlDivergence;
                $result
            }
            Quantity::JsDivergence { weight } => {
                let $measure = JsDivergence { weight };
                $result
            }
        }
    };
}

/// The answer for each row. Rows may stand at the same place: one distribution beside many.
///
/// ```
/// use xentrs::{Form, Quantity, Question, Rows, measure};
///
/// # fn main() -> xentrs::Result<()> {
/// let question = Question::new(Quantity::Entropy, Form::Probabilities, Some(2.0))?;
/// let mut bits = [0.0; 2];
/// measure(&question, Rows::new("p", &[0.5, 0.5, 1.0, 0.0], 2, 2)?, None, &mut bits)?;
/// assert_eq!(bits, [1.0, 0.0]);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Error::Shape`] unless `q` has the shape of `p` where two are asked for, and is absent where one is, and `out` has one
/// place a row; [`Error::Distribution`] names the first row that is none, `out` then holds anything; an unknown
/// `XENTRS_ISA`.
pub fn measure<S: Storage>(
    question: &Question,
    p: Rows<'_, S>,
    q: Option<Rows<'_, S>>,
    out: &mut [S::Real],
) -> Result<()> {
    let (isa, rows, classes) = (Isa::active()?, p.rows(), p.classes());
    question.check([rows, classes], q.map(|q| [q.rows(), q.classes()]), out.len())?;
    let (size, tolerance) = (parallel::block_rows(classes), S::sum_tolerance(classes));
    let mut rest = out;
    let blocks = (0..rows.div_ceil(size)).map(|b| {
        let (out, after) = std::mem::take(&mut rest).split_at_mut(size.min(rows - b * size));
        rest = after;
        (b * size, out)
    });
    let wrong = parallel::sum(blocks, rows * classes, |(first, out)| {
        S::widened(isa, p.part(first, out.len()), |p| {
            let run = |q: Option<Rows<'_, S::Real>>, out: &mut [S::Real]| match question.form {
                Form::Unnormalized => divided_values(isa, question, p, q, out),
                _ => S::Real::dispatch(isa, Values { question, tolerance, p, q, out }),
            };
            match q {
                Some(q) => S::widened(isa, q.part(first, out.len()), |q| run(Some(q), out)),
                None => run(None, out),
            }
        })
    });
    if wrong == 0.0 { Ok(()) } else { Err(fault(isa, question, p, q)) }
}

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
    let wrong = parallel::sum(blocks, rows * classes, |(p, q, out)| task.run(p, q, out));
    for (variable, sums) in [Some(&mut p), q.as_mut()].into_iter().zip(&sums) {
        if let Some(variable) = variable
            && variable.is_shared()
        {
            let total = |k| sums.iter().skip(k).step_by(classes).fold(0.0, |total, part: &f64| total + part);
            let totals: Vec<_> = (0..classes).map(|k| S::Real::from_f64(total(k))).collect();
            S::narrowed(isa, &totals, variable.grad);
        }
    }
    if wrong == 0.0 { Ok(()) } else { Err(fault(isa, question, p.rows, q.map(|q| q.rows))) }
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
        Part { rows: self.rows.part(first, rows), place }
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

/// One distribution's part of a block of rows, as the kernels see it.
enum Side<'k, T> {
    Each(RowsIo<'k, T>),
    Sum { row: &'k [T], total: &'k mut [f64] },
}

impl<T: Real> Side<'_, T> {
    /// A row, and the place for its gradient, which is `scratch` where gradients are summed.
    #[inline(always)]
    fn row<'r>(&'r mut self, i: usize, scratch: &'r mut [T]) -> RowIo<'r, T> {
        match self {
            Side::Each(rows) => rows.row(i, scratch),
            Side::Sum { row, .. } => RowIo::new(row, scratch),
        }
    }

    /// Adds the gradient of a row to the sums, where there are any.
    #[inline(always)]
    fn add(&mut self, scratch: &[T]) {
        if let Side::Sum { total, .. } = self {
            for (total, grad) in total.iter_mut().zip(scratch) {
                *total += grad.to_f64();
            }
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
    /// How many rows of a block are no distributions.
    fn run<S: Storage + Place<S>>(&self, mut p: Part<'_, S>, mut q: Option<Part<'_, S>>, out: &mut [S::Real]) -> f64 {
        let (size, mut wrong) = (parallel::block_rows(self.classes), 0.0);
        for (b, out) in out.chunks_mut(size).enumerate() {
            let (first, rows) = (b * size, out.len());
            wrong += p.open(self.isa, first, rows, |p| match &mut q {
                Some(q) => q.open(self.isa, first, rows, |q| self.grads(p, Some(q), out)),
                None => self.grads(p, None, out),
            });
        }
        wrong
    }

    fn grads<T: Real>(&self, p: Side<'_, T>, q: Option<Side<'_, T>>, out: &mut [T]) -> f64 {
        T::with_scratch(2 * self.classes, |scratch| match self.question.form {
            Form::Unnormalized => divided_grads(self.isa, self.question, p, q, out, scratch),
            _ => {
                let (question, tolerance) = (self.question, self.tolerance);
                T::dispatch(self.isa, Grads { question, tolerance, p, q, out, scratch })
            }
        })
    }
}

/// 1 where a row is no distribution.
#[inline(always)]
fn is_wrong(row: &Swept, tolerance: f64) -> f64 {
    let off = |sum: f64| (sum - 1.0).abs() > tolerance;
    f64::from(u8::from(row.negative | off(row.sums[0]) | off(row.sums[1])))
}

/// The answers of a block of rows.
struct Values<'k, T> {
    question: &'k Question,
    tolerance: f64,
    p: Rows<'k, T>,
    q: Option<Rows<'k, T>>,
    out: &'k mut [T],
}

impl<T: Real> Kernel<T> for Values<'_, T> {
    /// How many rows are no distributions.
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) -> f64 {
        with_measure!(self.question.quantity, measure => self.of(s, measure))
    }
}

impl<T: Real> Values<'_, T> {
    #[inline(always)]
    fn of<S: Simd<T>, M: Measure<T>>(self, s: S, measure: M) -> f64 {
        let Values { question, tolerance, p, q, out } = self;
        let mut wrong = 0.0;
        for (i, out) in out.iter_mut().enumerate() {
            let p = p.row(i);
            let q = match &q {
                Some(q) => q.row(i),
                None => p,
            };
            let nats = if question.form == Form::Logits {
                logits::value(s, measure, p, q)
            } else {
                let row = probabilities::value(s, measure, p, q);
                wrong += is_wrong(&row, tolerance);
                row.value
            };
            *out = T::from_f64(question.answer(nats).0);
        }
        wrong
    }
}

/// The answers of a block of rows, and the gradients.
struct Grads<'k, T> {
    question: &'k Question,
    tolerance: f64,
    p: Side<'k, T>,
    q: Option<Side<'k, T>>,
    out: &'k mut [T],
    scratch: &'k mut [T],
}

impl<T: Real> Kernel<T> for Grads<'_, T> {
    /// How many rows are no distributions.
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) -> f64 {
        with_measure!(self.question.quantity, measure => self.of(s, measure))
    }
}

impl<T: Real> Grads<'_, T> {
    #[inline(always)]
    fn of<S: Simd<T>, M: Measure<T>>(self, s: S, measure: M) -> f64 {
        let Grads { question, tolerance, mut p, mut q, out, scratch } = self;
        let (p_scratch, q_scratch) = scratch.split_at_mut(scratch.len() / 2);
        let mut wrong = 0.0;
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
                wrong += is_wrong(&row, tolerance);
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
        wrong
    }
}

/// Multiplies the gradient of a row, which is in the cache.
#[inline(always)]
fn scale<T: Real, S: Simd<T>>(s: S, row: &mut RowIo<'_, T>, factor: f64) {
    if factor != 1.0 {
        let factor = s.splat(T::from_f64(factor));
        RowIo::in_place(row.target()).map(
            s,
            T::ZERO,
            #[inline(always)]
            |_, v| v * factor,
        );
    }
}

/// Divides a row by its sum, in double precision, and tells the sum; None where nothing can be divided by it.
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
    // Not `sum <= 0`, as NaN is no fault.
    if negative || sum == 0.0 || sum == f64::INFINITY {
        return None;
    }
    to.iter_mut().for_each(|x| *x /= sum);
    Some(sum)
}

/// Numbers whose sum is short enough to be taken one by one.
const BLOCK: usize = 64;

/// The answers of a block of rows that are to be divided by their sums; how many cannot be.
fn divided_values<T: Real>(
    isa: Isa,
    question: &Question,
    p: Rows<'_, T>,
    q: Option<Rows<'_, T>>,
    out: &mut [T],
) -> f64 {
    let (classes, mut wrong) = (p.classes(), 0.0);
    let mut wide = vec![0.0; 2 * classes];
    let (p_wide, q_wide) = wide.split_at_mut(classes);
    for (i, out) in out.iter_mut().enumerate() {
        let sums = [divided(p.row(i), p_wide), q.map_or(Some(1.0), |q| divided(q.row(i), q_wide))];
        let [Some(_), Some(_)] = sums else {
            wrong += 1.0;
            continue;
        };
        let mut answer = [0.0];
        let (p, q) = (Rows::packed(p_wide, 1, classes), q.map(|_| Rows::packed(q_wide, 1, classes)));
        f64::dispatch(isa, Values { question, tolerance: f64::INFINITY, p, q, out: &mut answer });
        *out = T::from_f64(answer[0]);
    }
    wrong
}

/// The same, and the gradients with respect to what was divided.
fn divided_grads<T: Real>(
    isa: Isa,
    question: &Question,
    mut p: Side<'_, T>,
    mut q: Option<Side<'_, T>>,
    out: &mut [T],
    scratch: &mut [T],
) -> f64 {
    let (classes, mut wrong) = (scratch.len() / 2, 0.0);
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
            wrong += 1.0;
            continue;
        };
        let sums = [p_sum, q_sum];
        let q_used = q_row.is_some().then_some(&mut *q_wide);
        let answer = f64::dispatch(isa, DividedGrads { question, p: p_wide, q: q_used, sums });
        *out = T::from_f64(answer);
        narrow(&mut p_row, p_wide);
        if let Some(q_row) = &mut q_row {
            narrow(q_row, q_wide);
        }
        p.add(p_scratch);
        if let Some(q) = &mut q {
            q.add(q_scratch);
        }
    }
    wrong
}

/// Rounds the gradient of a row.
fn narrow<T: Real>(row: &mut RowIo<'_, T>, wide: &[f64]) {
    row.target().iter_mut().zip(wide).for_each(|(grad, &wide)| *grad = T::from_f64(wide));
}

/// The answer of a row that was divided by its sums, and the gradient, which takes its place.
struct DividedGrads<'k> {
    question: &'k Question,
    p: &'k mut [f64],
    q: Option<&'k mut [f64]>,
    sums: [f64; 2],
}

impl Kernel<f64> for DividedGrads<'_> {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd<f64>>(self, s: S) -> f64 {
        let DividedGrads { question, p, q, sums } = self;
        let (mut p, mut q) = (RowIo::in_place(p), q.map(RowIo::in_place));
        let nats = with_measure!(question.quantity, measure => {
            probabilities::value_and_grad_normalized(s, measure, &mut p, q.as_mut(), sums)
        });
        let (answer, factor) = question.answer(nats);
        scale(s, &mut p, factor);
        if let Some(q) = &mut q {
            scale(s, q, factor);
        }
        answer
    }
}

/// What is wrong with the first row that is no distribution.
#[cold]
fn fault<S: Storage>(isa: Isa, question: &Question, p: Rows<'_, S>, q: Option<Rows<'_, S>>) -> Error {
    let divides = question.form == Form::Unnormalized;
    let (mut worst, mut most) = (None, 0.0);
    for row in 0..p.rows() {
        for (name, rows) in [("p", Some(p)), ("q", q)] {
            let Some(rows) = rows else { continue };
            let (negative, sum) = S::widened(isa, rows.part(row, 1), |rows| {
                let wide = || rows.row(0).iter().map(|x| x.to_f64());
                (wide().enumerate().find(|&(_, x)| x < 0.0), wide().fold(0.0, |sum: f64, x| sum + x))
            });
            let off = (sum - 1.0).abs();
            let fault = match negative {
                Some((class, value)) => Some(Fault::Negative(value, class)),
                None if divides => (sum == 0.0 || sum == f64::INFINITY).then_some(Fault::Scale(sum)),
                None => (off > S::sum_tolerance(p.classes())).then_some(Fault::Sum(sum)),
            };
            if let Some(fault) = fault {
                return Error::Distribution { name, row, fault };
            }
            // A sum at the very edge may have been rounded over it, where it was found to be off.
            if off > most || worst.is_none() {
                (worst, most) = (Some(Error::Distribution { name, row, fault: Fault::Sum(sum) }), off);
            }
        }
    }
    worst.unwrap_or(Error::Distribution { name: "p", row: 0, fault: Fault::Sum(f64::NAN) })
}
