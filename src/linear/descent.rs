//! The step of stochastic gradient descent.
//!
//! # Formula
//! For parameters `w`, their gradient `g` and the velocity `v`, which starts at 0:
//!
//! ```text
//! g <- g + weight_decay w
//! v <- momentum v + g
//! w <- w - rate v                       or, with Nesterov's look-ahead,  w <- w - rate (g + momentum v)
//! ```
//!
//! # References
//! I. Sutskever, J. Martens, G. Dahl and G. Hinton, *On the importance of initialization and momentum in deep learning*,
//! ICML 2013, section 2.

use crate::simd::{Float, Kernel, Lanes, Simd, read, write};

/// What of the steps before goes into this one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moment {
    /// The share of the velocity that is kept, in `[0, 1)`.
    pub momentum: f64,
    /// Whether the step looks ahead.
    pub nesterov: bool,
}

/// The gradient of a matrix of parameters.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Slope<'k, T> {
    /// A number each.
    Dense(&'k [T]),
    /// `g x^T`, of a single row of features `x`: it need not be written anywhere.
    Outer { grad: &'k [T], x: &'k [T] },
}

/// A step of some parameters.
pub(crate) struct Descent<'k, T> {
    pub(crate) rate: f64,
    pub(crate) weight_decay: f64,
    pub(crate) moment: Moment,
    pub(crate) slope: Slope<'k, T>,
    pub(crate) params: &'k mut [T],
    /// One a parameter, where there is momentum.
    pub(crate) velocity: Option<&'k mut [T]>,
}

impl<T: Float> Kernel<T> for Descent<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(mut self, s: S) {
        match self.slope {
            Slope::Dense(grad) => {
                for i in (0..grad.len()).step_by(S::LANES) {
                    self.register(s, i, grad.len(), read(s, grad, i, T::ZERO));
                }
            }
            Slope::Outer { grad, x } => {
                for (k, &g) in grad.iter().enumerate() {
                    // A row that does not count adds nothing, whatever it holds; the velocity goes on.
                    let (g, idle) = (s.splat(g), g == T::ZERO);
                    let (first, end) = (k * x.len(), (k + 1) * x.len());
                    for j in (0..x.len()).step_by(S::LANES) {
                        let slope = if idle { g } else { g * read(s, x, j, T::ZERO) };
                        self.register(s, first + j, end, slope);
                    }
                }
            }
        }
    }
}

impl<T: Float> Descent<'_, T> {
    /// Moves the parameters of a register that starts at `i`, but none from `end` on.
    #[inline(always)]
    fn register<S: Simd<T>>(&mut self, s: S, i: usize, end: usize, slope: S::V) {
        let params = &mut self.params[..end];
        let w = read(s, params, i, T::ZERO);
        // 1. g + weight_decay w
        let decay = s.splat(T::from_f64(self.weight_decay));
        let g = if self.weight_decay == 0.0 { slope } else { w.mul_add(decay, slope) };
        // 2. v, and where it leads
        let step = match &mut self.velocity {
            None => g,
            Some(velocity) => {
                let momentum = s.splat(T::from_f64(self.moment.momentum));
                let velocity = &mut velocity[..end];
                let v = read(s, velocity, i, T::ZERO).mul_add(momentum, g);
                write(s, v, velocity, i);
                if self.moment.nesterov { v.mul_add(momentum, g) } else { v }
            }
        };
        // 3. w - rate step
        let rate = s.splat(T::from_f64(-self.rate));
        write(s, step.mul_add(rate, w), params, i);
    }
}
