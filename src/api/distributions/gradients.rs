//! The gradients with respect to one distribution or both. A distribution may be shared by all rows.

use super::by_lane::ByLane;
use super::by_row::Grads;
use super::side::Side;
use super::{Measure, MeasureInput, counted, fault, unnormalized, weigh};
use crate::api::GradOutput;
use crate::error::{Error, Result};
use crate::losses::within;
use crate::math::Real;
use crate::memory;
use crate::parallel;
use crate::simd::Isa;
use crate::storage::{Place, Places, Storage, StoredIo, StoredRows, take};
use crate::view::{Rows, RowsIo, check_weights};

/// Rows, and the place for the gradient with respect to them: as many rows, or one. One row is for a distribution that
/// all rows share ([`Rows::with_stride`] with a stride of 0). Its gradient is the sum over the rows, in double
/// precision.
#[derive(Debug)]
pub struct Variable<'a, S> {
    /// The input.
    pub rows: Rows<'a, S>,
    /// The output.
    pub grad: &'a mut [S],
}

impl<'a, S: Storage + Place<S>> Variable<'a, S> {
    fn erased(self) -> StoredVariable<'a, S::Real> {
        StoredVariable { rows: S::rows(self.rows), grad: S::places(self.grad) }
    }
}

/// The same, of any storage type.
struct StoredVariable<'a, T> {
    rows: StoredRows<'a, T>,
    grad: Places<'a, T>,
}

impl<T: Real> StoredVariable<'_, T> {
    fn is_shared(&self) -> bool {
        self.rows.rows() != 1 && self.grad.len() == self.rows.columns()
    }

    fn check(&self) -> Result<()> {
        let (rows, classes, got) = (self.rows.rows(), self.rows.columns(), self.grad.len());
        if got == rows * classes || got == classes {
            Ok(())
        } else {
            Err(Error::Shape { name: "grad", expected: vec![rows, classes], got: vec![got] })
        }
    }
}

/// The measure of each row, and the gradient of their sum with respect to the numbers of the rows; `grad_output` has a
/// factor for each row's.
///
/// # Errors
/// As for [`measure_value`], with arbitrary numbers in the gradients; [`Error::Shape`] also for a gradient or a
/// `grad_output` that does not fit.
pub fn measure_value_and_grads<'a, S: Storage + Place<S>>(
    measure: &Measure,
    p: Variable<'a, S>,
    q: Option<Variable<'a, S>>,
    out: &mut [S::Real],
    grad_output: GradOutput<'_, S::Real>,
) -> Result<()> {
    weighted_measure_value_and_grads(measure, p, q, None, out, grad_output)
}

/// The measure of each row times its weight, and the gradient of their sum. A row of weight 0 has the value and the
/// gradient 0, whatever its numbers are.
///
/// # Errors
/// The errors of [`measure_value_and_grads`], and [`Error::Shape`] or [`Error::Value`] for weights that are not one a
/// row, finite and non-negative.
pub fn weighted_measure_value_and_grads<'a, S: Storage + Place<S>>(
    measure: &Measure,
    p: Variable<'a, S>,
    q: Option<Variable<'a, S>>,
    weights: Option<&[f64]>,
    out: &mut [S::Real],
    grad_output: GradOutput<'_, S::Real>,
) -> Result<()> {
    values_and_grads(measure, p.erased(), q.map(Variable::erased), weights, out, grad_output)
}

fn values_and_grads<'a, T: Real>(
    measure: &Measure,
    mut p: StoredVariable<'a, T>,
    mut q: Option<StoredVariable<'a, T>>,
    weights: Option<&[f64]>,
    out: &mut [T],
    grad_output: GradOutput<'_, T>,
) -> Result<()> {
    let (isa, rows, classes) = (Isa::active()?, p.rows.rows(), p.rows.columns());
    grad_output.check(rows)?;
    weights.map_or(Ok(()), |weights| check_weights("sample_weight", weights, &[rows]))?;
    measure.check([rows, classes], q.as_ref().map(|q| [q.rows.rows(), q.rows.columns()]), out.len())?;
    p.check()?;
    q.as_ref().map_or(Ok(()), StoredVariable::check)?;
    // A sum over the rows has few parts, each as long as a row. Their number depends on the shape alone.
    let shared = p.is_shared() || q.as_ref().is_some_and(StoredVariable::is_shared);
    let size = parallel::block_rows(classes).max(if shared { rows.div_ceil(PARTS) } else { 0 });
    let count = rows.div_ceil(size);
    // The factor of each row's gradient, if there is more than the upstream gradient.
    let factors = match weights {
        None if measure.temperature == 1.0 => Vec::new(),
        _ => {
            let factor = |row| grad_output.at(row) * weights.map_or(1.0, |weights| weights[row]) / measure.temperature;
            memory::list((0..rows).map(|row| within(factor(row))))
        }
    };
    let grad_output = if factors.is_empty() { grad_output } else { GradOutput::Each(&factors) };
    let tolerance = measure.sum_tolerance(p.rows);
    let task = Task { isa, measure, tolerance, classes, weights, grad_output };
    let mut sums = [vec![0.0; 0], vec![0.0; 0]];
    let [p_sums, q_sums] = &mut sums;
    let mut p_places = GradPlaces::of(&mut p, count, p_sums);
    let mut q_places = q.as_mut().map(|q| GradPlaces::of(q, count, q_sums));
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
            let totals = memory::list((0..classes).map(|k| T::from_f64(total(k))));
            variable.grad.write(isa, &totals);
        }
    }
    Ok(())
}

/// Number of parts of a sum over all rows.
const PARTS: usize = 16;

/// Divides the places of a gradient among blocks.
struct GradPlaces<'k, T> {
    rows: StoredRows<'k, T>,
    rest: GradPlace<'k, T>,
}

/// Places for gradients: rows, or partial sums.
enum GradPlace<'k, T> {
    Each(Places<'k, T>),
    Sum(&'k mut [f64]),
}

/// Some rows, and the places for their gradients.
struct Part<'k, T> {
    /// Number of the first row.
    first: usize,
    rows: StoredRows<'k, T>,
    place: GradPlace<'k, T>,
}

impl<'k, T: Real> GradPlaces<'k, T> {
    fn of(variable: &'k mut StoredVariable<'_, T>, count: usize, sums: &'k mut Vec<f64>) -> Self {
        let rows = variable.rows;
        if variable.is_shared() {
            *sums = memory::zeros(count * rows.columns());
            return GradPlaces { rows, rest: GradPlace::Sum(sums) };
        }
        GradPlaces { rows, rest: GradPlace::Each(variable.grad.part(0..variable.grad.len())) }
    }

    fn next(&mut self, first: usize, rows: usize) -> Part<'k, T> {
        let classes = self.rows.columns();
        let place = match &mut self.rest {
            GradPlace::Each(rest) => GradPlace::Each(rest.take(rows * classes)),
            GradPlace::Sum(rest) => GradPlace::Sum(take(rest, classes)),
        };
        Part { first, rows: self.rows.part(first, rows), place }
    }
}

impl Measure {
    /// Calls `f` with one of the distributions, its logits divided by the temperature.
    fn with_mapped_side<T: Real, R>(&self, isa: Isa, side: Side<'_, T>, f: impl FnOnce(Side<'_, T>) -> R) -> R {
        if self.temperature == 1.0 {
            return f(side);
        }
        match side {
            Side::Each(mut rows) => {
                // Rows that were widened are overwritten by their gradients.
                let (count, classes) = (rows.rows(), rows.columns());
                match rows.apart() {
                    Some(source) => {
                        self.with_mapped(isa, source, |source| f(Side::Each(RowsIo::beside(source, rows.target()))))
                    }
                    None => {
                        let mapped =
                            self.with_mapped(isa, rows.source(), |mapped| memory::list(mapped.flat().iter().copied()));
                        rows.target().copy_from_slice(&mapped);
                        f(Side::Each(RowsIo::over(rows.target(), count, classes)))
                    }
                }
            }
            Side::Sum { row, total } => {
                self.with_mapped(isa, Rows::packed(row, 1, row.len()), |rows| f(Side::Sum { row: rows.row(0), total }))
            }
            Side::None(rows) => self.with_mapped(isa, rows, |rows| f(Side::None(rows))),
        }
    }
}

impl<T: Real> Part<'_, T> {
    /// Sets the gradients of rows to 0.
    fn clear(&mut self) {
        if let GradPlace::Each(grad) = &mut self.place {
            grad.clear();
        }
    }

    /// Calls `f` with `rows` rows from row `first` on.
    fn open<R>(&mut self, isa: Isa, first: usize, rows: usize, f: impl FnOnce(Side<'_, T>) -> R) -> R {
        let classes = self.rows.columns();
        match &mut self.place {
            GradPlace::Each(grad) => {
                let grad = grad.part(first * classes..(first + rows) * classes);
                StoredIo::beside(self.rows.part(first, rows), grad).filled(isa, |io| f(Side::Each(io)))
            }
            GradPlace::Sum(total) => self.rows.part(0, 1).widened(isa, |row| f(Side::Sum { row: row.row(0), total })),
        }
    }
}

/// The arguments that all blocks share.
struct Task<'q, T> {
    isa: Isa,
    measure: &'q Measure,
    tolerance: f64,
    classes: usize,
    weights: Option<&'q [f64]>,
    grad_output: GradOutput<'q, T>,
}

impl<T: Real> Task<'_, T> {
    /// Measures and gradients of a part.
    ///
    /// # Errors
    /// The first row that is no distribution.
    fn run(&self, mut p: Part<'_, T>, mut q: Option<Part<'_, T>>, out: &mut [T]) -> Result<()> {
        let size = parallel::block_rows(self.classes);
        if self.weights.is_some() {
            out.fill(T::ZERO);
            p.clear();
            q.iter_mut().for_each(Part::clear);
        }
        let (start, end) = (p.first, p.first + out.len());
        for block in (start..end).step_by(size) {
            for run in counted(self.weights, block..end.min(block + size)) {
                let (first, rows) = (run.start - start, run.len());
                let out = &mut out[first..first + rows];
                let upstream = self.grad_output.from(run.start);
                let all_valid = p.open(self.isa, first, rows, |p| {
                    self.measure.with_mapped_side(self.isa, p, |p| match &mut q {
                        Some(q) => q.open(self.isa, first, rows, |q| {
                            self.measure.with_mapped_side(self.isa, q, |q| self.grads(p, Some(q), out, upstream))
                        }),
                        None => self.grads(p, None, out, upstream),
                    })
                });
                if !all_valid {
                    let (p_rows, q_rows) = (p.rows.part(first, rows), q.map(|q| q.rows.part(first, rows)));
                    return Err(fault(self.isa, self.measure, run.start, p_rows, q_rows));
                }
                weigh(self.weights, run.start, out);
            }
        }
        Ok(())
    }

    fn grads(&self, p: Side<'_, T>, q: Option<Side<'_, T>>, out: &mut [T], upstream: GradOutput<'_, T>) -> bool {
        let Task { isa, measure, tolerance, classes, .. } = *self;
        if measure.goes_by_lane::<T>(classes) {
            return T::with_scratch(Measure::lane_scratch_len::<T>(classes), |scratch| {
                let kernel = ByLane { measure, tolerance, sides: [Some(p), q], classes, out, scratch, upstream };
                T::dispatch::<ByLane<'_, _, true>>(isa, kernel)
            });
        }
        T::with_scratch(2 * classes, |scratch| match measure.input {
            MeasureInput::Unnormalized => unnormalized::grads(isa, measure, p, q, out, (upstream, scratch)),
            _ => T::dispatch(isa, Grads { measure, tolerance, p, q, out, scratch, upstream }),
        })
    }
}
