//! What is true of a loss, in float64, and how far a result may be from it.

use super::draw::Number;
use xentrs::{Loss, Reduction};

/// A number, and how far from it is near enough; infinitely far where nothing is known.
#[derive(Clone, Copy, Debug)]
pub struct Near {
    pub value: f64,
    pub within: f64,
}

impl Near {
    /// Whatever.
    pub const ANY: Near = Near { value: 0.0, within: f64::INFINITY };
    /// 0, exactly, whatever it is multiplied by: that of what does not count.
    pub const ZERO: Near = Near { value: 0.0, within: 0.0 };
    /// NaN.
    pub const NAN: Near = Near { value: f64::NAN, within: 0.0 };

    pub fn of(value: f64, within: f64) -> Self {
        Near { value, within: if value.is_finite() { within.max(f64::MIN_POSITIVE) } else { 0.0 } }
    }

    pub fn is(&self, ours: f64) -> bool {
        self.within == f64::INFINITY
            || ours == self.value
            || ours.is_nan() && self.value.is_nan()
            || (ours - self.value).abs() <= self.within
    }

    /// Times a factor. Nothing is known of a product that the type may not hold.
    fn times<T: Number>(self, factor: f64) -> Self {
        let Near { value, within } = self;
        // Weights whose product is beyond the type.
        if factor == 0.0 && value.is_infinite() {
            return Near::ANY;
        }
        if factor == 0.0 || value == 0.0 && within == 0.0 {
            return Near::ZERO;
        }
        let far = value.is_finite() && (value * factor).abs() >= T::LARGEST / 16.0;
        if far || !factor.is_finite() || factor.abs() < 1e-20 {
            return Near::ANY;
        }
        // The product is rounded, and what is flushed to 0 is so before it.
        let rounded = if factor == 1.0 || !value.is_finite() { 0.0 } else { 8.0 * T::EPS * value.abs() };
        Near {
            value: value * factor,
            within: (within + rounded) * factor.abs() + flushed::<T>() * factor.abs().max(1.0),
        }
    }
}

/// A sum and what rounding has lost of it, by Neumaier's algorithm of 1974: of a hundred thousand terms a plain sum errs by
/// more than results may.
#[derive(Clone, Copy, Default)]
pub struct Total {
    sum: f64,
    lost: f64,
}

impl Total {
    pub fn add(&mut self, x: f64) {
        let sum = self.sum + x;
        self.lost += if self.sum.abs() >= x.abs() { self.sum - sum + x } else { x - sum + self.sum };
        self.sum = sum;
    }

    pub fn value(self) -> f64 {
        if self.sum.is_finite() { self.sum + self.lost } else { self.sum }
    }
}

impl From<f64> for Total {
    fn from(sum: f64) -> Self {
        Total { sum, lost: 0.0 }
    }
}

/// The sum of many numbers.
pub fn sum(terms: impl Iterator<Item = f64>) -> f64 {
    let mut total = Total::default();
    terms.for_each(|x| total.add(x));
    total.value()
}

/// What may be lost where exponentials below the smallest normal number are flushed to zero, several in a row.
pub fn flushed<T: Number>() -> f64 {
    4096.0 * T::TINY
}

/// What is true of the losses of a call, each times its weight.
#[derive(Default)]
pub struct Truth {
    pub losses: Vec<Near>,
    /// The gradient of the sum of the losses.
    pub grads: Vec<Near>,
    /// The diagonal of its Hessian; none where nothing is known.
    pub hess: Vec<Near>,
    /// What a mean divides by.
    pub divisor: Total,
}

impl Truth {
    /// Of so many losses and logits, of which nothing is known.
    pub fn unknown(losses: usize, logits: usize) -> Self {
        Truth {
            losses: vec![Near::ANY; losses],
            grads: vec![Near::ANY; logits],
            hess: vec![],
            divisor: Total::from(f64::NAN),
        }
    }

    /// What multiplies the gradients.
    pub fn scale(&self, reduction: Reduction) -> f64 {
        match reduction {
            Reduction::Mean if self.divisor.value() == 0.0 => 0.0,
            Reduction::Mean => 1.0 / self.divisor.value(),
            Reduction::Sum | Reduction::None => 1.0,
        }
    }

    pub fn judge_losses<T: Number>(&self, loss: &Loss<T>, reduction: Reduction) {
        match loss {
            Loss::Scalar(ours) => {
                // Ours is not exact.
                let rounding = (8.0 + (self.losses.len() as f64).sqrt()) * f64::EPSILON;
                let sum = Near {
                    value: sum(self.losses.iter().map(|near| near.value)),
                    within: self.losses.iter().map(|near| near.within + rounding * near.value.abs()).sum(),
                };
                let sum = sum.times::<T>(self.scale(reduction));
                assert!(sum.is(*ours), "{reduction:?}: {ours:e} instead of {sum:?}");
            }
            Loss::Each(each) => {
                assert_eq!(each.len(), self.losses.len());
                for (i, (ours, near)) in each.iter().zip(&self.losses).enumerate() {
                    let near = near.times::<T>(1.0);
                    assert!(near.is(ours.double()), "loss {i}: {:e} instead of {near:?}", ours.double());
                }
            }
        }
    }

    /// `upstream` has what multiplies the gradients of a loss, which are `per_loss`.
    pub fn judge_grads<T: Number>(
        &self,
        grads: &[T],
        reduction: Reduction,
        upstream: impl Fn(usize) -> f64,
        per_loss: usize,
    ) {
        for (i, (ours, near)) in grads.iter().zip(&self.grads).enumerate() {
            let near = near.times::<T>(self.scale(reduction) * upstream(i / per_loss));
            assert!(near.is(ours.double()), "{reduction:?}, gradient {i}: {:e} instead of {near:?}", ours.double());
        }
    }

    pub fn judge_hess<T: Number>(&self, hess: &[T], reduction: Reduction, scale: f64) {
        for (i, (ours, near)) in hess.iter().zip(&self.hess).enumerate() {
            let near = near.times::<T>(self.scale(reduction) * scale);
            assert!(near.is(ours.double()), "{reduction:?}, Hessian {i}: {:e} instead of {near:?}", ours.double());
        }
    }
}
