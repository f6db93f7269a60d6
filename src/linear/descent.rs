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
//! `weight_decay` is one number for all parameters, or one for each.
//!
//! # References
//! I. Sutskever, J. Martens, G. Dahl and G. Hinton, *On the importance of initialization and momentum in deep
//! learning*, ICML 2013, section 2.

use crate::simd::{Float, Kernel, Lanes, Simd, read, write};

/// Momentum of gradient descent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Momentum {
    /// The fraction of the velocity that is kept, in `[0, 1)`.
    pub momentum: f64,
    /// Whether the step is Nesterov's.
    pub nesterov: bool,
}

/// The gradient of a matrix of parameters.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Gradient<'k, T> {
    /// One number a parameter.
    Dense(&'k [T]),
    /// `g x^T` for a single row of features `x`, which is never stored.
    Outer { grad: &'k [T], x: &'k [T] },
}

/// The factors of a penalty `weight_decay ||.||^2 / 2`.
#[derive(Clone, Copy, Debug)]
pub enum Decay<'k, T> {
    /// The same for all parameters.
    Same(f64),
    /// One number a parameter.
    Each(&'k [T]),
}

/// A step of some parameters.
pub(crate) struct SgdStep<'k, T> {
    pub(crate) rate: f64,
    pub(crate) weight_decay: Decay<'k, T>,
    pub(crate) moment: Momentum,
    pub(crate) gradient: Gradient<'k, T>,
    pub(crate) params: &'k mut [T],
    /// One number a parameter, if there is momentum.
    pub(crate) velocity: Option<&'k mut [T]>,
}

impl<T: Float> Kernel<T> for SgdStep<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(mut self, s: S) {
        match self.gradient {
            Gradient::Dense(grad) => {
                for i in (0..grad.len()).step_by(S::LANES) {
                    self.register(s, i, grad.len(), read(s, grad, i, T::ZERO));
                }
            }
            Gradient::Outer { grad, x } => {
                for (k, &g) in grad.iter().enumerate() {
                    // A row that does not count adds nothing, also where it holds NaN.
                    let (g, is_zero) = (s.splat(g), g == T::ZERO);
                    let (first, end) = (k * x.len(), (k + 1) * x.len());
                    for j in (0..x.len()).step_by(S::LANES) {
                        let gradient = if is_zero { g } else { g * read(s, x, j, T::ZERO) };
                        self.register(s, first + j, end, gradient);
                    }
                }
            }
        }
    }
}

impl<T: Float> SgdStep<'_, T> {
    /// Updates the parameters of the register that starts at `i`, up to `end`.
    #[inline(always)]
    fn register<S: Simd<T>>(&mut self, s: S, i: usize, end: usize, gradient: S::V) {
        let params = &mut self.params[..end];
        let w = read(s, params, i, T::ZERO);
        // 1. g + weight_decay w
        let g = match self.weight_decay {
            Decay::Same(0.0) => gradient,
            Decay::Same(decay) => w.mul_add(s.splat(T::from_f64(decay)), gradient),
            Decay::Each(decays) => w.mul_add(read(s, &decays[..end], i, T::ZERO), gradient),
        };
        // 2. v, and the direction of the step
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
