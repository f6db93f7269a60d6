//! Losses of pairs: row `i` of `x` belongs to row `i` of `y`, and to no other. The logits are those of a linear layer whose
//! weight is `y`, so [`linear_cross_entropy`](super::linear_cross_entropy) has the tiles, the threads and the products.

use super::{
    GradOutput, GradScale, LinearGrads, LinearObjective, Loss, Objective, PointNumbers, PointObjective, Reduction,
    RowObjective, Targets, linear_value, linear_value_and_grads,
};
use crate::error::{Error, Result, check_number};
use crate::losses::{AddColumns, Columns, SigmoidCrossEntropy, SoftmaxCrossEntropy, with_target};
use crate::math::Real;
use crate::memory;
use crate::simd::{Float, Isa};
use crate::storage::Storage;
use crate::view::{Classes, Labels, Rows, RowsIo};

/// Rows of two matrices; those of the same number belong together.
#[derive(Clone, Copy)]
pub struct PairedRows<'a, S: Storage> {
    /// One row of features each.
    pub x: Rows<'a, S>,
    /// As many rows of as many features.
    pub y: Rows<'a, S>,
    /// Inner products are divided by it.
    pub temperature: f64,
}

/// Places for the gradients with respect to both matrices, one row after the other.
#[derive(Debug)]
pub struct PairGrads<'a, T> {
    /// Of `x`.
    pub x: &'a mut [T],
    /// Of `y`.
    pub y: &'a mut [T],
}

/// The loss of pairs, and its derivatives with respect to single numbers; 0 unless gradients are required.
#[derive(Clone, Debug, PartialEq)]
pub struct PairLoss<T> {
    /// The loss.
    pub loss: Loss<T>,
    /// With respect to the temperature.
    pub temperature: f64,
    /// With respect to the bias, if there is one.
    pub bias: f64,
}

impl<'a, S: Storage> PairedRows<'a, S> {
    fn check(&self) -> Result<()> {
        let [x, y] = [self.x, self.y].map(|rows| vec![rows.rows(), rows.columns()]);
        if x != y {
            return Err(Error::Shape { name: "y", expected: x, got: y });
        }
        let allowed = (1e-30..=1e30).contains(&self.temperature);
        check_number("temperature", self.temperature, "in [1e-30, 1e30]", allowed)
    }

    /// `sum_i x_i . grad_i`.
    fn dot(&self, grad: &[S::Real]) -> f64 {
        let columns = self.x.columns().max(1);
        let row = |(i, grad): (usize, &[S::Real])| {
            let x = S::rows(self.x).row(i);
            grad.iter().enumerate().map(|(j, g)| x.get(j).to_f64() * g.to_f64()).sum::<f64>()
        };
        grad.chunks_exact(columns).enumerate().map(row).sum()
    }

    /// `x_i . y_i / temperature`.
    fn logit(&self, i: usize) -> f64 {
        let [x, y] = [self.x, self.y].map(|rows| S::rows(rows).row(i));
        let products = (0..self.x.columns()).map(|j| x.get(j).to_f64() * y.get(j).to_f64());
        products.sum::<f64>() / self.temperature
    }

    /// The loss of the pairs, whose logits without bias are divided by the temperature by `loss` itself.
    fn evaluate(
        &self,
        loss: &dyn Objective<S::Real>,
        bias: f64,
        grads: Option<PairGrads<'_, S::Real>>,
        reduction: Reduction,
        grad_output: GradOutput<'_, S::Real>,
    ) -> Result<PairLoss<S::Real>> {
        // The bias is added before the division.
        let biases = (bias != 0.0).then(|| memory::copies(S::Real::from_f64(bias * self.temperature), self.y.rows()));
        let objective = LinearObjective { loss, x: self.x, weight: self.y, bias: biases.as_deref() };
        let Some(PairGrads { x, y }) = grads else {
            return Ok(PairLoss { loss: linear_value(&objective, reduction)?, temperature: 0.0, bias: 0.0 });
        };
        let mut sums = memory::zeros::<S::Real>(self.y.rows());
        let places = LinearGrads { x: Some(&mut *x), weight: Some(&mut *y), bias: Some(&mut sums) };
        let loss = linear_value_and_grads(&objective, places, reduction, grad_output)?;
        // z = x . y / temperature + bias: the derivatives of both are sums over the gradient with respect to z.
        let bias = sums.iter().map(|sum| sum.to_f64()).sum::<f64>() * self.temperature;
        Ok(PairLoss { loss, temperature: -self.dot(x) / self.temperature, bias })
    }
}

/// The loss of pairs by [InfoNCE](crate::losses), of rows and, if it is symmetric, columns; and its gradients.
///
/// # Errors
/// [`Error::Shape`] unless there are as many rows and features in `y` as in `x`, gradients fit them, and a `grad_output` the
/// losses; [`Error::Parameter`] for a temperature out of its range.
pub fn info_nce<S: Storage>(
    pairs: &PairedRows<'_, S>,
    symmetric: bool,
    grads: Option<PairGrads<'_, S::Real>>,
    reduction: Reduction,
    grad_output: GradOutput<'_, S::Real>,
) -> Result<PairLoss<S::Real>> {
    pairs.check()?;
    let n = pairs.x.rows();
    let labels = memory::list(0..n as i64);
    let rows = RowObjective {
        loss: SoftmaxCrossEntropy::new(n, None, 0.0)?.of_logits(None, pairs.temperature)?,
        target: Targets::Classes(Classes::new(Labels::I64(&labels), n, None)?),
        sample_weight: None,
    };
    if !symmetric {
        return pairs.evaluate(&rows, 0.0, grads, reduction, grad_output);
    }
    // 1. The losses of the columns, from the transposed logits, and the sums of their exponentials.
    let transposed = LinearObjective { loss: &rows, x: pairs.y, weight: pairs.x, bias: None };
    let Loss::Each(losses) = linear_value(&transposed, Reduction::None)? else {
        unreachable!("losses are not reduced")
    };
    let sums = memory::list((0..n).map(|j| S::Real::from_f64(losses[j].to_f64() + pairs.logit(j))));
    // 2. The losses of the rows, and all gradients.
    let upstream = match grad_output {
        GradOutput::Each(each) => Some(each),
        GradOutput::Number(_) => None,
    };
    let columns = Columns { sums: &sums, losses: &losses, upstream };
    let objective = BothWays { rows, columns, inverse_temperature: 1.0 / pairs.temperature };
    pairs.evaluate(&objective, 0.0, grads, reduction, grad_output)
}

/// The loss of pairs by [SigLIP](crate::losses), and its gradients.
///
/// # Errors
/// Those of [`info_nce`], and [`Error::Parameter`] for a bias that is not finite.
pub fn siglip_loss<S: Storage>(
    pairs: &PairedRows<'_, S>,
    bias: f64,
    grads: Option<PairGrads<'_, S::Real>>,
    reduction: Reduction,
    grad_output: GradOutput<'_, S::Real>,
) -> Result<PairLoss<S::Real>> {
    pairs.check()?;
    check_number("bias", bias, "finite", bias.is_finite())?;
    let objective = Diagonal { loss: SigmoidCrossEntropy::new(None, 0.0)?, temperature: pairs.temperature };
    pairs.evaluate(&objective, bias, grads, reduction, grad_output)
}

/// The losses of the rows and, known already, of the columns.
struct BothWays<'a, T> {
    rows: RowObjective<'a, T, SoftmaxCrossEntropy<'a, T>>,
    columns: Columns<'a, T>,
    inverse_temperature: f64,
}

impl<T: Real> BothWays<'_, T> {
    /// The losses of both, from those of the rows.
    fn both(&self, first: usize, rows: usize, total: f64, each: Option<&mut [T]>) -> f64 {
        let columns = &self.columns.losses[first..first + rows];
        if let Some(each) = each {
            for (loss, column) in each.iter_mut().zip(columns) {
                *loss = T::from_f64((loss.to_f64() + column.to_f64()) / 2.0);
            }
        }
        (total + columns.iter().map(|loss| loss.to_f64()).sum::<f64>()) / 2.0
    }
}

impl<T: Real> Objective<T> for BothWays<'_, T> {
    fn check(&self, rows: usize, classes: usize) -> Result<()> {
        self.rows.check(rows, classes)
    }

    fn losses_per_row(&self, _: usize) -> usize {
        1
    }

    fn divisor(&self, isa: Isa, rows: usize, classes: usize) -> f64 {
        self.rows.divisor(isa, rows, classes)
    }

    fn value(&self, isa: Isa, first: usize, logits: Rows<'_, T>, mut each: Option<&mut [T]>) -> f64 {
        let total = self.rows.value(isa, first, logits, each.as_deref_mut());
        self.both(first, logits.rows(), total, each)
    }

    fn value_and_grad(
        &self,
        isa: Isa,
        first: usize,
        mut rows: RowsIo<'_, T>,
        scale: GradScale<'_, T>,
        mut each: Option<&mut [T]>,
    ) -> f64 {
        let (count, classes, half) = (rows.rows(), rows.columns(), scale.divided(2.0));
        T::with_scratch(count * classes, |products| {
            for i in 0..count {
                products[i * classes..][..classes].copy_from_slice(&rows.source().row(i)[..classes]);
            }
            let source = Rows::packed(products, count, classes);
            let total = {
                let io = RowsIo::beside(source, rows.target());
                self.rows.value_and_grad(isa, first, io, half, each.as_deref_mut())
            };
            for (i, grad) in rows.target().chunks_exact_mut(classes.max(1)).enumerate() {
                T::dispatch(
                    isa,
                    AddColumns {
                        products: source.row(i),
                        grad,
                        columns: self.columns,
                        own: first + i,
                        inverse_temperature: self.inverse_temperature,
                        scale: self.inverse_temperature / half.divisor(),
                    },
                );
            }
            self.both(first, count, total, each)
        })
    }
}

/// The sums of the sigmoid cross-entropies of the rows, of which one target each is 1.
struct Diagonal<T> {
    loss: SigmoidCrossEntropy<T>,
    temperature: f64,
}

impl<T: Real> Diagonal<T> {
    /// Calls `f` with the objective of one row, and its logits divided by the temperature, for each row.
    fn rows(
        &self,
        first: usize,
        logits: Rows<'_, T>,
        each: Option<&mut [T]>,
        mut f: impl FnMut(usize, PointObjective<'_, T, SigmoidCrossEntropy<T>>, &[T]) -> f64,
    ) -> f64 {
        let classes = logits.columns();
        let (mut total, mut each, inverse) = (0.0, each, T::from_f64(1.0 / self.temperature));
        T::with_scratch(2 * classes, |scratch| {
            let (zeros, scaled) = scratch[..2 * classes].split_at_mut(classes);
            zeros.fill(T::ZERO);
            for i in 0..logits.rows() {
                for (to, &z) in scaled.iter_mut().zip(logits.row(i)) {
                    *to = z * inverse;
                }
                let loss = with_target(zeros, first + i, |target| {
                    let (target, loss) = (PointNumbers::Real(target), self.loss.clone());
                    f(i, PointObjective { loss, target, sample_weight: None, ignored: None }, scaled)
                });
                if let Some(each) = &mut each {
                    each[i] = T::from_f64(loss);
                }
                total += loss;
            }
        });
        total
    }
}

impl<T: Real> Objective<T> for Diagonal<T> {
    fn check(&self, rows: usize, classes: usize) -> Result<()> {
        if rows == classes { Ok(()) } else { Err(Error::Shape { name: "y", expected: vec![rows], got: vec![classes] }) }
    }

    fn losses_per_row(&self, _: usize) -> usize {
        1
    }

    fn divisor(&self, _: Isa, rows: usize, _: usize) -> f64 {
        rows as f64
    }

    fn value(&self, isa: Isa, first: usize, logits: Rows<'_, T>, each: Option<&mut [T]>) -> f64 {
        self.rows(first, logits, each, |_, objective, row| {
            objective.value(isa, 0, Rows::packed(row, 1, row.len()), None)
        })
    }

    fn value_and_grad(
        &self,
        isa: Isa,
        first: usize,
        mut rows: RowsIo<'_, T>,
        scale: GradScale<'_, T>,
        each: Option<&mut [T]>,
    ) -> f64 {
        let (count, classes) = (rows.rows(), rows.columns());
        T::with_scratch(count * classes, |copy| {
            for i in 0..count {
                copy[i * classes..][..classes].copy_from_slice(&rows.source().row(i)[..classes]);
            }
            let target = rows.target();
            self.rows(first, Rows::packed(copy, count, classes), each, |i, objective, row| {
                let divided = GradScale::over(self.temperature / scale.of(first + i, 1.0));
                let grad = &mut target[i * classes..][..classes];
                let io = RowsIo::beside(Rows::packed(row, 1, classes), &mut *grad);
                let loss = objective.value_and_grad(isa, 0, io, divided, None);
                if scale.is_zero(first + i) {
                    grad.fill(T::ZERO);
                }
                loss
            })
        })
    }
}
