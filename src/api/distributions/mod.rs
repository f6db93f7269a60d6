//! What one distribution has, and what two have between them: one value a row.

mod across;
mod gradients;
mod side;
mod unnormalized;

pub use gradients::{Variable, measure_and_grad};

use across::Across;
use side::Side;

use crate::distributions::probabilities::Swept;
use crate::distributions::{Measure, logits, probabilities};
use crate::error::{Error, Fault, Result, check_fraction, check_number};
use crate::math::Real;
use crate::parallel;
use crate::scratch::Scratch;
use crate::simd::{Float, Isa, Kernel, Simd};
use crate::storage::Storage;
use crate::view::Rows;

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
        if let Some(base) = base {
            check_number("base", base, "above 1 and finite", base > 1.0 && base < f64::INFINITY)?;
        }
        if let Quantity::JsDivergence { weight } = quantity {
            check_fraction("weight", weight)?;
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
                let $measure = crate::distributions::Entropy;
                $result
            }
            Quantity::CrossEntropy => {
                let $measure = crate::distributions::CrossEntropy;
                $result
            }
            Quantity::KlDivergence => {
                let $measure = crate::distributions::KlDivergence;
                $result
            }
            Quantity::JsDivergence { weight } => {
                let $measure = crate::distributions::JsDivergence::new(weight);
                $result
            }
        }
    };
}
use with_measure;

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
    parallel::try_for_each(blocks, rows * classes, |(first, out)| {
        let (count, p) = (out.len(), p.part(first, out.len()));
        let q = q.map(|q| q.part(first, count));
        let all_valid = S::widened(isa, p, |p| {
            let run = |q: Option<Rows<'_, S::Real>>, out: &mut [S::Real]| match question.form {
                Form::Unnormalized => unnormalized::values(isa, question, p, q, out),
                _ if question.goes_across::<S::Real>(classes) => {
                    S::Real::with_scratch(Question::across_len::<S::Real>(classes), |scratch| {
                        let sides = [Some(Side::None(p)), q.map(Side::None)];
                        let kernel = Across { question, tolerance, sides, classes, out, scratch };
                        S::Real::dispatch::<Across<'_, _, false>>(isa, kernel)
                    })
                }
                _ => S::Real::dispatch(isa, Values { question, tolerance, p, q, out }),
            };
            match q {
                Some(q) => S::widened(isa, q, |q| run(Some(q), out)),
                None => run(None, out),
            }
        });
        if all_valid { Ok(()) } else { Err(fault(isa, question, first, p, q)) }
    })
}

/// Whether a row is a distribution: NaN is allowed.
#[inline(always)]
fn is_valid(row: &Swept, tolerance: f64) -> bool {
    let off = |sum: f64| (sum - 1.0).abs() > tolerance;
    !(row.negative | off(row.sums[0]) | off(row.sums[1]))
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
    /// Whether all rows are distributions.
    type Output = bool;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) -> bool {
        with_measure!(self.question.quantity, measure => self.of(s, measure))
    }
}

impl<T: Real> Values<'_, T> {
    #[inline(always)]
    fn of<S: Simd<T>, M: Measure<T>>(self, s: S, measure: M) -> bool {
        let Values { question, tolerance, p, q, out } = self;
        let mut all_valid = true;
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
                all_valid &= is_valid(&row, tolerance);
                row.value
            };
            *out = T::from_f64(question.answer(nats).0);
        }
        all_valid
    }
}

/// The error of the first row that is no distribution, in a block with such a row that begins with row `first`.
#[cold]
fn fault<S: Storage>(isa: Isa, question: &Question, first: usize, p: Rows<'_, S>, q: Option<Rows<'_, S>>) -> Error {
    let divides = question.form == Form::Unnormalized;
    let (mut worst, mut most) = (None, 0.0);
    for i in 0..p.rows() {
        let row = first + i;
        for (name, rows) in [("p", Some(p)), ("q", q)] {
            let Some(rows) = rows else { continue };
            let (negative, sum) = S::widened(isa, rows.part(i, 1), |rows| {
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
    worst.unwrap_or(Error::Distribution { name: "p", row: first, fault: Fault::Sum(f64::NAN) })
}
