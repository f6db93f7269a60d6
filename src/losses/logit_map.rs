//! What becomes of logits before a loss of the softmax family sees them: `softcap`, then `temperature`.
//!
//! # Formula
//!
//! ```text
//! z' = softcap tanh(z / softcap) / temperature
//! d z' / d z = sech^2(z / softcap) / temperature = 4 sigmoid(2 x) sigmoid(-2 x) / temperature     x = z / softcap
//! ```
//!
//! A row is mapped into scratch memory that stays in the caches and goes through the same kernels; the derivative is
//! multiplied to what they give: its constant part to their scale, the rest, which `1 - tanh^2` would lose where it is
//! small, to every element.
//!
//! # Precision
//! `z'` is rounded to the type that is computed with: to nearest for a temperature, within 4 ULP for a softcap. The loss is
//! right for logits that are off by so much.
//!
//! # Special values
//! A softcap makes finite numbers of infinite ones: a masked class, -inf, is as probable as one at `-softcap`. A logit that
//! overflows when it is divided by a small temperature is infinite from then on.
//!
//! # References
//! G. Hinton, O. Vinyals and J. Dean, *Distilling the knowledge in a neural network*, 2015, arXiv:1503.02531 (temperature).
//! Gemma Team, *Gemma 2: Improving open language models at a practical size*, 2024, arXiv:2408.00118, section 2 (softcap).

use crate::error::{Error, Result};
use crate::math::{Logistic, Real, tanh};
use crate::simd::{AHEAD, Kernel, Lanes, Simd, read, write};

/// The map from logits to what the loss sees.
#[derive(Clone, Copy, Debug)]
pub struct LogitMap<T> {
    temperature: f64,
    /// 1 over the softcap, and the softcap over the temperature.
    cap: Option<[Factor<T>; 2]>,
    /// 1 over the temperature.
    cool: Factor<T>,
}

impl<T: Real> LogitMap<T> {
    /// That which leaves logits as they are.
    pub(super) fn identity() -> Self {
        LogitMap { temperature: 1.0, cap: None, cool: Factor::one() }
    }

    /// # Errors
    /// [`Error::Parameter`] unless both are positive and finite.
    pub(super) fn new(softcap: Option<f64>, temperature: f64) -> Result<Self> {
        if softcap.is_none() && temperature == 1.0 {
            return Ok(Self::identity());
        }
        check_positive("temperature", temperature)?;
        let cap = match softcap {
            Some(cap) => {
                check_positive("softcap", cap)?;
                Some([Factor::of(1.0, cap), Factor::of(cap, temperature)])
            }
            None => None,
        };
        Ok(LogitMap { temperature, cap, cool: Factor::of(1.0, temperature) })
    }

    #[inline(always)]
    pub(crate) fn is_identity(&self) -> bool {
        self.cap.is_none() && self.temperature == 1.0
    }

    #[inline(always)]
    pub(crate) fn has_softcap(&self) -> bool {
        self.cap.is_some()
    }

    /// What every derivative is divided by.
    #[inline(always)]
    pub(crate) fn temperature(&self) -> f64 {
        self.temperature
    }

    /// Maps a row.
    #[inline(always)]
    pub(crate) fn row<S: Simd<T>>(&self, s: S, logits: &[T], to: &mut [T]) {
        s.call(MapRow { map: self, logits, to });
    }

    /// Maps numbers where they are, by a temperature alone.
    #[inline(always)]
    pub(crate) fn cool<S: Simd<T>>(&self, s: S, logits: &mut [T]) {
        for i in (0..logits.len()).step_by(S::LANES) {
            write(s, self.cool.times(s, read(s, logits, i, T::ZERO)), logits, i);
        }
    }

    /// The derivative of the map at each logit, times the temperature.
    #[inline(always)]
    pub(crate) fn slopes<S: Simd<T>>(&self, s: S, logits: &[T], slopes: &mut [T]) {
        s.call(Slopes { map: self, logits, slopes });
    }
}

/// A row, mapped.
struct MapRow<'k, T> {
    map: &'k LogitMap<T>,
    logits: &'k [T],
    to: &'k mut [T],
}

impl<T: Real> Kernel<T> for MapRow<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        let MapRow { map, logits, to } = self;
        assert!(logits.len() == to.len());
        match map.cap {
            None => {
                for i in (0..to.len()).step_by(S::LANES) {
                    s.prefetch(logits, i + AHEAD);
                    write(s, map.cool.times(s, read(s, logits, i, T::ZERO)), to, i);
                }
            }
            Some([shrink, stretch]) => {
                for i in (0..to.len()).step_by(S::LANES) {
                    let x = shrink.times(s, read(s, logits, i, T::ZERO));
                    write(s, stretch.times(s, tanh(s, x)), to, i);
                }
            }
        }
    }
}

/// The slopes of a row.
struct Slopes<'k, T> {
    map: &'k LogitMap<T>,
    logits: &'k [T],
    slopes: &'k mut [T],
}

impl<T: Real> Kernel<T> for Slopes<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        let Slopes { map, logits, slopes } = self;
        assert!(logits.len() == slopes.len());
        let Some([shrink, _]) = map.cap else { return slopes.fill(T::ONE) };
        let four = s.splat(T::from_f64(4.0));
        for i in (0..logits.len()).step_by(S::LANES) {
            let x = shrink.times(s, read(s, logits, i, T::ZERO));
            let (up, down) = Logistic::at(s, x + x).sigmoids(s);
            write(s, four * up * down, slopes, i);
        }
    }
}

/// A positive number in two parts, both positive, so that a product is rounded once and that of an infinity is none.
#[derive(Clone, Copy, Debug)]
struct Factor<T> {
    high: T,
    low: T,
}

impl<T: Real> Factor<T> {
    /// 1, without the work of [`of`](Self::of).
    fn one() -> Self {
        let low = f64::from(f32::EPSILON);
        Factor { high: T::from_f64(1.0 - low), low: T::from_f64(low) }
    }

    /// The quotient of two positive numbers, within the range of the type.
    fn of(numerator: f64, divisor: f64) -> Self {
        // Far from where a part would be infinite or 0.
        let largest = (-T::MIN_EXPONENT).to_f64().exp2();
        let bound = |x: f64| x.clamp(largest.powf(-0.75), largest);
        let quotient = bound(numerator / divisor);
        // What the division has lost.
        let lost = if quotient == numerator / divisor { quotient.mul_add(-divisor, numerator) / divisor } else { 0.0 };
        let high = T::from_f64(quotient * (1.0 - f64::from(f32::EPSILON)));
        Factor { high, low: T::from_f64(quotient - high.to_f64() + lost) }
    }

    /// The product, within 0.51 ULP where there is FMA.
    #[inline(always)]
    fn times<S: Simd<T>>(self, s: S, x: S::V) -> S::V {
        x.mul_add(s.splat(self.high), x * s.splat(self.low))
    }
}

fn check_positive(name: &'static str, x: f64) -> Result<()> {
    if x > 0.0 && x.is_finite() {
        return Ok(());
    }
    Err(Error::Parameter { name, expected: "positive and finite", got: format!("{x:?}") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Float, Isa};

    /// Every logit mapped, and its slope.
    struct Map<'a, T>(LogitMap<T>, &'a [T]);

    impl<T: Real> Kernel<T> for Map<'_, T> {
        type Output = (Vec<T>, Vec<T>);
        #[inline(always)]
        fn run<S: Simd<T>>(self, s: S) -> Self::Output {
            let (mut to, mut slopes) = (vec![T::NAN; self.1.len()], vec![T::NAN; self.1.len()]);
            self.0.row(s, self.1, &mut to);
            self.0.slopes(s, self.1, &mut slopes);
            (to, slopes)
        }
    }

    #[test]
    fn the_map_and_its_slope_are_those_of_the_formula() {
        let z: Vec<f32> = (0..997).map(|i| (i as f32 - 500.0) * 0.37).collect();
        for (cap, temperature) in [(None, 2.0), (None, 0.7), (None, 3.0), (Some(30.0), 1.0), (Some(7.3), 1.7)] {
            let map = LogitMap::new(cap, temperature).unwrap();
            for isa in Isa::available() {
                let (mapped, slopes) = f32::dispatch(isa, Map(map, &z));
                for ((&z, &mapped), &slope) in z.iter().zip(&mapped).zip(&slopes) {
                    let z = f64::from(z);
                    let truth = cap.map_or(z, |cap| cap * (z / cap).tanh()) / temperature;
                    let (name, ulp) = (isa.name(), f64::from(f32::EPSILON) * truth.abs());
                    let ulps = if cap.is_some() { 4.0 } else { 1.0 };
                    assert!((f64::from(mapped) - truth).abs() <= ulps * ulp, "{name} {cap:?} {z}: {mapped} {truth}");
                    let truth = cap.map_or(1.0, |cap| (z / cap).cosh().powi(-2));
                    assert!((f64::from(slope) / truth - 1.0).abs() < 6e-6, "{name} {cap:?} {z}: {slope} {truth}");
                }
            }
        }
    }

    #[test]
    fn infinite_logits_and_extreme_temperatures_give_no_nan() {
        let z = [f64::INFINITY, f64::NEG_INFINITY, 0.0, 1.0];
        for isa in Isa::available() {
            for temperature in [1e-300, 0.5, 1.0, 2.0, 1e300] {
                let (mapped, _) = f64::dispatch(isa, Map(LogitMap::new(None, temperature).unwrap(), &z));
                assert_eq!(mapped[..3], [f64::INFINITY, f64::NEG_INFINITY, 0.0], "{temperature}");
                let narrow = [f32::INFINITY, f32::NEG_INFINITY, 0.0];
                let (mapped, _) = f32::dispatch(isa, Map(LogitMap::new(None, temperature).unwrap(), &narrow));
                assert_eq!(mapped, narrow, "{temperature}");
            }
            let (mapped, slopes) = f64::dispatch(isa, Map(LogitMap::new(Some(30.0), 1.0).unwrap(), &z));
            assert_eq!((&mapped[..3], slopes[..2].to_vec()), (&[30.0, -30.0, 0.0][..], vec![0.0, 0.0]));
        }
    }

    #[test]
    fn what_is_not_positive_and_finite_is_refused() {
        for wrong in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(matches!(LogitMap::<f32>::new(None, wrong), Err(Error::Parameter { name: "temperature", .. })));
            assert!(matches!(LogitMap::<f32>::new(Some(wrong), 1.0), Err(Error::Parameter { name: "softcap", .. })));
        }
    }
}
