//! Entropies and divergences of distributions: one value a row.

mod by_lane;
mod by_row;
mod gradients;
mod side;
mod unnormalized;

pub use gradients::{Variable, measure_value_and_grads, weighted_measure_value_and_grads};

use by_lane::ByLane;
use side::Side;

use crate::api::GradOutput;
use crate::distributions::probabilities::Swept;
use crate::distributions::{
    AnyClassSum, CrossEntropy, Entropy, JsDivergence, KlDivergence, logits, probabilities, with_class_sum,
};
use crate::error::{Error, Fault, Result, check_fraction, check_number, check_positive};
use crate::math::Real;
use crate::parallel;
use crate::rows::LogitMap;
use crate::simd::{Isa, Kernel, RowIo, Simd, inlined};
use crate::storage::{Storage, StoredRows};
use crate::view::{Rows, check_weights};
use std::ops::Range;

/// A measure of information of one distribution or two.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MeasureKind {
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

/// The numbers that a measure gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MeasureInput {
    /// Distributions; other rows are refused.
    Probabilities,
    /// Numbers that are not negative, which are divided by their sum, in double precision.
    Unnormalized,
    /// Logits, whose softmax are the distributions.
    Logits,
}

/// A measure of information, its input and its unit.
#[derive(Clone, Copy, Debug)]
pub struct Measure {
    kind: MeasureKind,
    input: MeasureInput,
    /// The unit of the result, in nats.
    unit: f64,
    /// [`Storage::sum_tolerance`] of the type that one of the distributions was stored in before.
    tolerance: fn(usize) -> f64,
    /// The divisor of logits.
    temperature: f64,
}

impl Measure {
    /// `base` is the base of the logarithms: 2 for bits, none for nats. A perplexity has no unit.
    ///
    /// # Errors
    /// [`Error::Parameter`] for a base that is not above 1 and finite, and for a weight outside [0, 1].
    pub fn new(kind: MeasureKind, input: MeasureInput, base: Option<f64>) -> Result<Self> {
        if let Some(base) = base {
            check_number("base", base, "above 1 and finite", base > 1.0 && base < f64::INFINITY)?;
        }
        if let MeasureKind::JsDivergence { weight } = kind {
            check_fraction("weight", weight)?;
        }
        let unit = base.map_or(1.0, f64::ln);
        Ok(Measure { kind, input, unit, tolerance: f32::sum_tolerance, temperature: 1.0 })
    }

    /// The same measure of logits that are divided by a temperature.
    ///
    /// # Errors
    /// [`Error::Parameter`] unless it is positive and finite, and 1 unless the numbers are logits.
    pub fn with_temperature(self, temperature: f64) -> Result<Self> {
        check_positive("temperature", temperature)?;
        let suits = temperature == 1.0 || self.input == MeasureInput::Logits;
        check_number("temperature", temperature, "1.0 where from_logits is False", suits)?;
        Ok(Measure { temperature, ..self })
    }

    /// Calls `f` with the rows, divided by the temperature.
    fn with_mapped<T: Real, R>(&self, isa: Isa, rows: Rows<'_, T>, f: impl FnOnce(Rows<'_, T>) -> R) -> R {
        if self.temperature == 1.0 {
            return f(rows);
        }
        T::with_scratch(rows.rows() * rows.columns(), |to| {
            let to = &mut to[..rows.rows() * rows.columns()];
            T::dispatch(isa, Mapped { temperature: self.temperature, rows, to });
            f(Rows::packed(to, rows.rows(), rows.columns()))
        })
    }

    /// The same measure of distributions one of which was stored as `S` before: its rounding errors are accepted.
    #[must_use]
    pub fn of_stored<S: Storage>(self) -> Self {
        Measure { tolerance: S::sum_tolerance, ..self }
    }

    /// The largest rounding error of the sum of a distribution.
    fn sum_tolerance<T: Real>(&self, rows: StoredRows<'_, T>) -> f64 {
        rows.sum_tolerance().max((self.tolerance)(rows.columns()))
    }

    /// Whether there is a second distribution.
    pub(crate) fn takes_two(&self) -> bool {
        !matches!(self.kind, MeasureKind::Entropy | MeasureKind::Perplexity)
    }

    /// The sum over the classes, which the measure is a function of.
    fn class_sum(&self) -> AnyClassSum {
        match self.kind {
            MeasureKind::Entropy | MeasureKind::Perplexity => AnyClassSum::Entropy(Entropy),
            MeasureKind::CrossEntropy => AnyClassSum::CrossEntropy(CrossEntropy),
            MeasureKind::KlDivergence => AnyClassSum::KlDivergence(KlDivergence),
            MeasureKind::JsDivergence { weight } => AnyClassSum::JsDivergence(JsDivergence::new(weight)),
        }
    }

    /// The value in the unit of the result, and the factor of the gradient.
    #[inline(always)]
    fn in_unit(&self, nats: f64) -> (f64, f64) {
        match self.kind {
            MeasureKind::Perplexity => (nats.exp(), nats.exp()),
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

/// The measure of each row. A stride of 0 compares one distribution with many.
///
/// ```
/// use xentrs::{MeasureInput, MeasureKind, Measure, Rows, measure_value};
///
/// # fn main() -> xentrs::Result<()> {
/// let measure = Measure::new(MeasureKind::Entropy, MeasureInput::Probabilities, Some(2.0))?;
/// let mut bits = [0.0; 2];
/// measure_value(&measure, Rows::new("p", &[0.5, 0.5, 1.0, 0.0], 2, 2)?, None, &mut bits)?;
/// assert_eq!(bits, [1.0, 0.0]);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Error::Shape`] unless `out` has one place a row, and `q` has the shape of `p` for a measure of two distributions
/// and is absent for others; [`Error::Distribution`] for the first row that is no distribution, with arbitrary numbers
/// in `out`; an unknown `XENTRS_ISA`.
pub fn measure_value<S: Storage>(
    measure: &Measure,
    p: Rows<'_, S>,
    q: Option<Rows<'_, S>>,
    out: &mut [S::Real],
) -> Result<()> {
    weighted_measure_value(measure, p, q, None, out)
}

/// The measure of each row times its weight. A row of weight 0 has the value 0, whatever its numbers are.
///
/// # Errors
/// The errors of [`measure_value`], and [`Error::Shape`] or [`Error::Value`] for weights that are not one a row, finite
/// and non-negative.
pub fn weighted_measure_value<S: Storage>(
    measure: &Measure,
    p: Rows<'_, S>,
    q: Option<Rows<'_, S>>,
    weights: Option<&[f64]>,
    out: &mut [S::Real],
) -> Result<()> {
    values(measure, S::rows(p), q.map(S::rows), weights, out)
}

fn values<T: Real>(
    measure: &Measure,
    p: StoredRows<'_, T>,
    q: Option<StoredRows<'_, T>>,
    weights: Option<&[f64]>,
    out: &mut [T],
) -> Result<()> {
    let (isa, rows, classes) = (Isa::active()?, p.rows(), p.columns());
    measure.check([rows, classes], q.map(|q| [q.rows(), q.columns()]), out.len())?;
    weights.map_or(Ok(()), |weights| check_weights("sample_weight", weights, &[rows]))?;
    let (size, tolerance) = (parallel::block_rows(classes), measure.sum_tolerance(p));
    let mut rest = out;
    let blocks = (0..rows.div_ceil(size)).map(|b| {
        let (out, after) = std::mem::take(&mut rest).split_at_mut(size.min(rows - b * size));
        rest = after;
        (b * size, out)
    });
    parallel::try_for_each(blocks, rows * classes, |(first, out)| {
        if weights.is_some() {
            out.fill(T::ZERO);
        }
        counted(weights, first..first + out.len()).try_for_each(|run| {
            let out = &mut out[run.start - first..run.end - first];
            let (first, count) = (run.start, run.len());
            let (p, q) = (p.part(first, count), q.map(|q| q.part(first, count)));
            let all_valid = p.widened(isa, |p| {
                measure.with_mapped(isa, p, |p| {
                    let run = |q: Option<Rows<'_, T>>, out: &mut [T]| match measure.input {
                        MeasureInput::Unnormalized => unnormalized::values(isa, measure, p, q, out),
                        _ if measure.goes_by_lane::<T>(classes) => {
                            T::with_scratch(Measure::lane_scratch_len::<T>(classes), |scratch| {
                                let sides = [Some(Side::None(p)), q.map(Side::None)];
                                let upstream = GradOutput::ONE;
                                let kernel = ByLane { measure, tolerance, sides, classes, out, scratch, upstream };
                                T::dispatch::<ByLane<'_, _, false>>(isa, kernel)
                            })
                        }
                        _ => T::dispatch(isa, Values { measure, tolerance, p, q, out }),
                    };
                    match q {
                        Some(q) => q.widened(isa, |q| measure.with_mapped(isa, q, |q| run(Some(q), out))),
                        None => run(None, out),
                    }
                })
            });
            weigh(weights, first, out);
            if all_valid { Ok(()) } else { Err(fault(isa, measure, first, p, q)) }
        })
    })
}

/// The runs of adjacent rows that have a weight other than 0.
fn counted(weights: Option<&[f64]>, rows: Range<usize>) -> impl Iterator<Item = Range<usize>> + '_ {
    let (counts, mut next, end) = (move |row: usize| weights.is_none_or(|w| w[row] != 0.0), rows.start, rows.end);
    std::iter::from_fn(move || {
        let start = (next..end).find(|&row| counts(row))?;
        // Without weights all rows count.
        next = if weights.is_none() { end } else { (start..end).find(|&row| !counts(row)).unwrap_or(end) };
        Some(start..next)
    })
}

/// Multiplies the values of rows from row `first` on by their weights.
fn weigh<T: Real>(weights: Option<&[f64]>, first: usize, values: &mut [T]) {
    if let Some(weights) = weights {
        for (value, weight) in values.iter_mut().zip(&weights[first..]) {
            *value = T::from_f64(value.to_f64() * weight);
        }
    }
}

/// Divides rows of logits by a temperature.
struct Mapped<'k, T> {
    temperature: f64,
    rows: Rows<'k, T>,
    to: &'k mut [T],
}

impl<T: Real> Kernel<T> for Mapped<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        let Mapped { temperature, rows, to } = self;
        let Ok(map) = LogitMap::new(None, temperature) else {
            unreachable!("`with_temperature` has checked it");
        };
        for (i, to) in to.chunks_exact_mut(rows.columns().max(1)).enumerate() {
            map.of_row(rows.row(i)).row(s, 0, &mut RowIo::new(rows.row(i), to), &mut []);
        }
    }
}

/// Whether a row is a distribution. NaN is allowed.
#[inline(always)]
fn is_valid(row: &Swept, tolerance: f64) -> bool {
    let off = |sum: f64| (sum - 1.0).abs() > tolerance;
    !(row.negative | off(row.sums[0]) | off(row.sums[1]))
}

/// The measures of a block of rows.
struct Values<'k, T> {
    measure: &'k Measure,
    tolerance: f64,
    p: Rows<'k, T>,
    q: Option<Rows<'k, T>>,
    out: &'k mut [T],
}

impl<T: Real> Kernel<T> for Values<'_, T> {
    /// Whether all rows are distributions.
    type Output = bool;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) -> bool {
        let (class_sum, tolerance) = (self.measure.class_sum(), self.tolerance);
        if self.measure.input == MeasureInput::Logits {
            return self.rows(inlined!(|p, q| (logits::value(s, class_sum, p, q), true)));
        }
        // Rows of probabilities may be so short that a call for each would take a fifth of their time.
        with_class_sum!(s, class_sum, class_sum => self.rows(inlined!(|p, q| {
            let row = probabilities::value(s, class_sum, p, q);
            (row.value, is_valid(&row, tolerance))
        })))
    }
}

impl<T: Real> Values<'_, T> {
    /// The measures of all rows; `of_row` gives the value of a row, in nats, and whether its numbers are distributions.
    #[inline(always)]
    fn rows(self, of_row: impl Fn(&[T], &[T]) -> (f64, bool)) -> bool {
        let Values { measure, p, q, out, .. } = self;
        let mut all_valid = true;
        for (i, out) in out.iter_mut().enumerate() {
            let p = p.row(i);
            let q = match &q {
                Some(q) => q.row(i),
                None => p,
            };
            let (nats, is_valid) = of_row(p, q);
            all_valid &= is_valid;
            *out = T::from_f64(measure.in_unit(nats).0);
        }
        all_valid
    }
}

/// The error of the first row that is no distribution, in a block with such a row that begins with row `first`.
#[cold]
fn fault<T: Real>(
    isa: Isa,
    measure: &Measure,
    first: usize,
    p: StoredRows<'_, T>,
    q: Option<StoredRows<'_, T>>,
) -> Error {
    let divides = measure.input == MeasureInput::Unnormalized;
    let (mut worst, mut most) = (None, 0.0);
    for i in 0..p.rows() {
        let row = first + i;
        for (name, rows) in [("p", Some(p)), ("q", q)] {
            let Some(rows) = rows else { continue };
            let (negative, sum) = rows.part(i, 1).widened(isa, |rows| {
                let wide = || rows.row(0).iter().map(|x| x.to_f64());
                (wide().enumerate().find(|&(_, x)| x < 0.0), wide().fold(0.0, |sum: f64, x| sum + x))
            });
            let off = (sum - 1.0).abs();
            let fault = match negative {
                Some((class, value)) => Some(Fault::Negative(value, class)),
                None if divides => (sum == 0.0 || sum == f64::INFINITY).then_some(Fault::Scale(sum)),
                None => (off > measure.sum_tolerance(p)).then_some(Fault::Sum(sum)),
            };
            if let Some(fault) = fault {
                return Error::Distribution { name, row, fault };
            }
            // The sum may be at the edge of the tolerance, where the kernel's rounding differs: then the worst row is
            // named.
            if off > most || worst.is_none() {
                (worst, most) = (Some(Error::Distribution { name, row, fault: Fault::Sum(sum) }), off);
            }
        }
    }
    worst.unwrap_or(Error::Distribution { name: "p", row: first, fault: Fault::Sum(f64::NAN) })
}
