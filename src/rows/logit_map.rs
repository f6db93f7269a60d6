//! The map of the logits in front of a loss of the softmax family: `softcap`, then `temperature`, then `log_prior`.
//!
//! # Formula
//!
//! ```text
//! z'_k = softcap tanh(z_k / softcap) / temperature + log_prior_k
//! d z'_k / d z_k = sech^2(z_k / softcap) / temperature
//! ```
//!
//! A row is mapped block by block, in the sweep that sums its exponentials, while the next blocks are prefetched
//! ([`Logits`](super::Logits)). The gradient is multiplied by the derivative: the constant part goes into the scale of
//! the kernels, `sech^2` is applied element by element. `sech^2` is not computed as `1 - tanh^2`, which loses its
//! digits where it is small.
//!
//! Four registers whose logits are all within the softcap need only a polynomial; others need an exponential and a
//! quotient. The result for a logit does not depend on its neighbours.
//!
//! # Precision
//! `z'` is rounded to the type of the computation: to nearest for a temperature, within 4 ULP for a softcap, and once
//! more for the sum with a prior. The loss is that of the rounded logits.
//!
//! # Options without a place in the type
//! A temperature of 1e-40 has no place in single precision, and logits that are divided by it overflow, all of them. A
//! temperature that is so far from 1 is used in double precision, a logit at a time ([`FarMap`]). The largest logit of
//! the row is subtracted before the division, since a distribution depends on differences alone. So a margin is that
//! of the formula, or infinite where it overflows, and loss and gradient have their limits. Kernels leave the division
//! out of the gradient, which follows in double precision ([`LogitMap::left_out`]). A softcap that is too large for the
//! type is none; one that is too small makes all logits alike.
//!
//! # Special values
//! A softcap makes infinite logits finite: a masked class, -inf, becomes as probable as a class at `-softcap`. A logit
//! that overflows in the division by a temperature of about 1 becomes infinite. A prior of -inf masks its class, unless
//! the logit is +inf or NaN.
//!
//! # References
//! G. Hinton, O. Vinyals and J. Dean, *Distilling the knowledge in a neural network*, 2015, arXiv:1503.02531 (temperature).
//! Gemma Team, *Gemma 2: Improving open language models at a practical size*, 2024, arXiv:2408.00118, section 2 (softcap).
//! A. K. Menon et al., *Long-tail learning via logit adjustment*, ICLR 2021, arXiv:2007.07314, section 5 (prior).

use crate::error::{Error, Result, check_positive};
use crate::math::{Real, tanh_unit, tanh_with_slope};
use crate::simd::{AHEAD, Lanes, Mask, RowIo, Simd, inlined, lanes_of, read, write};

/// The map that is applied to logits before the loss.
#[derive(Clone, Copy, Debug)]
pub struct LogitMap<'a, T> {
    temperature: f64,
    /// What is added to the logits of each class.
    prior: Option<&'a [T]>,
    cap: Option<Cap<T>>,
    /// 1 over the temperature.
    cool: Factor<T>,
    /// The same map in double precision, if the temperature is far from 1.
    far: Option<FarMap>,
}

impl<'a, T: Real> LogitMap<'a, T> {
    /// The map that leaves logits as they are.
    pub(crate) fn identity() -> Self {
        LogitMap { temperature: 1.0, prior: None, cap: None, cool: Factor::one(), far: None }
    }

    /// # Errors
    /// [`Error::Parameter`] unless both are positive and finite.
    pub(crate) fn new(softcap: Option<f64>, temperature: f64) -> Result<Self> {
        if softcap.is_none() && temperature == 1.0 {
            return Ok(Self::identity());
        }
        check_positive("temperature", temperature)?;
        softcap.map_or(Ok(()), |cap| check_positive("softcap", cap))?;
        // Within these bounds neither a factor nor the product with a logit below 1e29 overflows.
        let exponent = -T::MIN_EXPONENT.to_f64();
        let is_far = !((-exponent / 4.0).exp2()..(exponent * 0.75).exp2()).contains(&temperature);
        let far = is_far.then_some(FarMap { softcap, temperature, top: 0.0 });
        let cap = softcap.and_then(|cap| Cap::new(cap, if is_far { 1.0 } else { temperature }));
        Ok(LogitMap { temperature, prior: None, cap, cool: Factor::of(1.0, temperature), far })
    }

    /// The same map, after which a number is added to the logits of each class.
    ///
    /// # Errors
    /// [`Error::Shape`] unless there are as many numbers as classes, [`Error::Value`] for one that is NaN or +inf.
    pub(crate) fn with_log_prior(self, prior: Option<&'a [T]>, classes: usize) -> Result<Self> {
        let Some(numbers) = prior else { return Ok(self) };
        let name = "log_prior";
        if numbers.len() != classes {
            return Err(Error::Shape { name, expected: vec![classes], got: vec![numbers.len()] });
        }
        match numbers.iter().position(|x| x.to_f64().is_nan() || *x == T::INFINITY) {
            Some(index) => Err(Error::Value { name, expected: "finite or -inf", got: numbers[index].to_f64(), index }),
            None => Ok(LogitMap { prior, ..self }),
        }
    }

    /// Checks that the prior, if there is one, has a number for each class.
    pub(crate) fn check_fit(&self, rows: usize, classes: usize) -> Result<()> {
        match self.prior {
            Some(prior) if prior.len() != classes => {
                Err(Error::Shape { name: "logits", expected: vec![rows, prior.len()], got: vec![rows, classes] })
            }
            _ => Ok(()),
        }
    }

    /// The map without the prior, and the prior.
    #[inline(always)]
    pub(crate) fn and_prior(self) -> (Self, Option<&'a [T]>) {
        (LogitMap { prior: None, ..self }, self.prior)
    }

    #[inline(always)]
    pub(crate) fn is_identity(&self) -> bool {
        self.cap.is_none() && self.temperature == 1.0 && self.prior.is_none()
    }

    #[inline(always)]
    pub(crate) fn has_softcap(&self) -> bool {
        self.cap.is_some()
    }

    /// The divisor of every derivative in kernels.
    #[inline(always)]
    pub(crate) fn temperature(&self) -> f64 {
        if self.far.is_some() { 1.0 } else { self.temperature }
    }

    /// The divisor of every derivative that kernels leave out, if the temperature is far from 1.
    #[inline(always)]
    pub(crate) fn left_out(&self) -> Option<f64> {
        self.far.map(|far| far.temperature)
    }

    /// The same map for one row; the mapped logits may all differ by a constant.
    #[inline(always)]
    pub(crate) fn of_row(self, row: &[T]) -> Self {
        match self.far {
            None => self,
            Some(far) => LogitMap { far: Some(far.of_row(row)), ..self },
        }
    }

    /// The constant, which the mapped logits of a row lack.
    #[inline(always)]
    pub(crate) fn lacks(&self) -> f64 {
        self.far.map_or(0.0, FarMap::lacks)
    }

    /// The mapped logits before the prior, if the temperature is not far from 1.
    #[inline(always)]
    fn register<S: Simd<T>>(&self, s: S, z: S::V) -> S::V {
        match self.cap {
            None if self.temperature == 1.0 => z,
            None => self.cool.times(s, z),
            Some(cap) => tanh_with_slope(s, z * s.splat(cap.shrink)).0 * s.splat(cap.stretch),
        }
    }

    /// Maps the logit of a class, as a separate function.
    #[inline(always)]
    pub(crate) fn at<S: Simd<T>>(&self, s: S, class: usize, z: T) -> T {
        let mapped = s.call(inlined!(|s| match self.far {
            None => lanes_of(s, self.register(s, s.splat(z))).as_ref()[0],
            Some(far) => T::from_f64(far.at(z.to_f64())),
        }));
        self.prior.map_or(mapped, |prior| mapped + prior[class])
    }

    /// Maps a row, or a block of one that begins at a class, as a separate function, and returns the largest
    /// result. The derivative of the softcap at each logit goes to `slopes`, which is empty if it is not needed.
    #[inline(always)]
    pub(crate) fn row<S: Simd<T>>(&self, s: S, class: usize, row: &mut RowIo<'_, T>, slopes: &mut [T]) -> T {
        if let Some(prior) = self.prior {
            let prior = &prior[class..class + row.source().len()];
            return s.call(inlined!(|s| self.row_and(s, row, slopes, Prior::Added(prior))));
        }
        s.call(inlined!(|s| self.row_and(s, row, slopes, Prior::None)))
    }

    #[inline(always)]
    fn row_and<S: Simd<T>>(&self, s: S, row: &mut RowIo<'_, T>, slopes: &mut [T], prior: Prior<'_, T>) -> T {
        if let Some(far) = self.far {
            return far.row(row, slopes, prior);
        }
        match self.cap {
            None if self.temperature == 1.0 => map_all(s, row, prior, inlined!(|_, _| {})),
            None => {
                let cool = self.cool;
                map_all(
                    s,
                    row,
                    prior,
                    inlined!(|zs, _| {
                        for z in zs.iter_mut() {
                            *z = cool.times(s, *z);
                        }
                    }),
                )
            }
            Some(cap) => cap.row(s, row, slopes, prior),
        }
    }
}

/// What is added to the mapped logits of a row, or of a block of one.
#[derive(Clone, Copy)]
enum Prior<'a, T> {
    None,
    Added(&'a [T]),
}

impl<T: Real> Prior<'_, T> {
    /// Adds it to a register that begins at element `i`; a partial register is filled with that element.
    #[inline(always)]
    fn add<S: Simd<T>>(self, s: S, i: usize, z: S::V) -> S::V {
        match self {
            Prior::None => z,
            Prior::Added(prior) => z + read(s, prior, i, prior[i]),
        }
    }
}

/// How many registers are mapped together.
const TOGETHER: usize = 4;

/// Maps the registers of a row by `f(registers, index of the first element)`, several at a time, adds the prior, and
/// returns the largest result.
#[inline(always)]
fn map_all<T: Real, S: Simd<T>>(
    s: S,
    row: &mut RowIo<'_, T>,
    prior: Prior<'_, T>,
    mut f: impl FnMut(&mut [S::V], usize),
) -> T {
    let (len, mut largest) = (row.source().len(), [s.splat(-T::INFINITY); TOGETHER]);
    let mut i = 0;
    while i + TOGETHER * S::LANES <= len {
        let (mut zs, place) = ([s.splat(T::ZERO); TOGETHER], i..i + TOGETHER * S::LANES);
        for (z, register) in zs.iter_mut().zip(S::registers(&row.source()[place.clone()]).0) {
            *z = s.load(register);
        }
        for n in (0..TOGETHER).step_by(2) {
            s.prefetch(row.source(), i + n * S::LANES + AHEAD);
        }
        f(&mut zs, i);
        for (n, z) in zs.iter_mut().enumerate() {
            *z = prior.add(s, i + n * S::LANES, *z);
        }
        for ((z, largest), register) in zs.iter().zip(&mut largest).zip(S::registers_mut(&mut row.output()[place]).0) {
            s.store(*z, register);
            *largest = z.max(*largest);
        }
        i += TOGETHER * S::LANES;
    }
    while i < len {
        // A partial register is filled with an element of the row.
        let mut z = [read(s, row.source(), i, row.source()[i])];
        f(&mut z, i);
        z[0] = prior.add(s, i, z[0]);
        write(s, z[0], row.output(), i);
        largest[0] = z[0].max(largest[0]);
        i += S::LANES;
    }
    let [a, b, c, d] = largest;
    a.max(b).max(c.max(d)).largest()
}

/// The softcap, combined with the temperature.
#[derive(Clone, Copy, Debug)]
struct Cap<T> {
    /// 1 over the softcap.
    shrink: T,
    /// The softcap over the temperature.
    stretch: T,
}

impl<T: Real> Cap<T> {
    /// `None` if the type cannot hold the softcap: no logit comes near it.
    fn new(softcap: f64, temperature: f64) -> Option<Self> {
        let largest = T::from_f64(softcap.max(softcap / temperature));
        // An infinite factor would turn a logit of 0 into NaN.
        let shrink = T::from_f64((1.0 / softcap).min((-T::MIN_EXPONENT).to_f64().exp2()));
        (largest != T::INFINITY).then(|| Cap { shrink, stretch: T::from_f64(softcap / temperature) })
    }

    /// Caps the logits of a row; see [`LogitMap::row`].
    #[inline(always)]
    fn row<S: Simd<T>>(self, s: S, row: &mut RowIo<'_, T>, slopes: &mut [T], prior: Prior<'_, T>) -> T {
        let (shrink, stretch, one) = (s.splat(self.shrink), s.splat(self.stretch), s.splat(T::ONE));
        map_all(
            s,
            row,
            prior,
            inlined!(|zs, i| {
                // 1. whether all logits are so small that no exponential is needed; most logits are well below the cap
                let mut far = s.splat(T::ZERO);
                for z in zs.iter_mut() {
                    *z = *z * shrink;
                    far = z.abs().max(far);
                }
                let is_far = one.lt(far).bits() != 0;
                // 2. tanh, and its slope
                for (n, z) in zs.iter_mut().enumerate() {
                    let (tanh, slope) = if is_far { tanh_with_slope(s, *z) } else { tanh_unit(s, *z) };
                    let place = i + n * S::LANES;
                    if place < slopes.len() {
                        write(s, slope, slopes, place);
                    }
                    *z = tanh * stretch;
                }
            }),
        )
    }
}

/// The map with a temperature far from 1: in double precision, a logit at a time.
#[derive(Clone, Copy, Debug)]
struct FarMap {
    softcap: Option<f64>,
    temperature: f64,
    /// The largest logit of the row after the softcap.
    top: f64,
}

impl FarMap {
    /// Below this quotient of logit and softcap the softcap changes nothing.
    const NEAR: f64 = 1e-9;

    #[cold]
    #[inline(never)]
    fn of_row<T: Real>(self, row: &[T]) -> Self {
        let largest = row.iter().fold(f64::NEG_INFINITY, |largest, z| largest.max(z.to_f64()));
        FarMap { top: self.capped(largest), ..self }
    }

    /// `softcap tanh(z / softcap)`
    fn capped(self, z: f64) -> f64 {
        match self.softcap {
            Some(cap) if (z / cap).abs() >= Self::NEAR => cap * (z / cap).tanh(),
            _ => z,
        }
    }

    /// The mapped logit without the constant.
    fn at(self, z: f64) -> f64 {
        let z = self.capped(z);
        if self.top.is_infinite() {
            // An infinite logit outweighs all finite ones, however far apart these are.
            return if z.is_finite() { 0.0 } else { z };
        }
        let below = z - self.top;
        // Rounding of tanh must not lift a logit above the largest one.
        (if below > 0.0 { 0.0 } else { below }) / self.temperature
    }

    fn lacks(self) -> f64 {
        if self.top.is_finite() { self.top / self.temperature } else { 0.0 }
    }

    /// See [`LogitMap::row`].
    #[cold]
    #[inline(never)]
    fn row<T: Real>(self, row: &mut RowIo<'_, T>, slopes: &mut [T], prior: Prior<'_, T>) -> T {
        let mut largest = -T::INFINITY;
        for k in 0..row.source().len() {
            let z = row.source()[k].to_f64();
            if let (Some(slope), Some(cap)) = (slopes.get_mut(k), self.softcap) {
                *slope = T::from_f64((z / cap).cosh().powi(-2));
            }
            let mapped = match prior {
                Prior::None => T::from_f64(self.at(z)),
                Prior::Added(prior) => T::from_f64(self.at(z)) + prior[k],
            };
            row.output()[k] = mapped;
            largest = if mapped > largest { mapped } else { largest };
        }
        largest
    }
}

/// A positive number as the sum of two positive parts: a product is rounded once, and the product with an infinity is
/// not NaN.
#[derive(Clone, Copy, Debug)]
struct Factor<T> {
    high: T,
    low: T,
}

impl<T: Real> Factor<T> {
    /// The factor 1.
    fn one() -> Self {
        let low = f64::from(f32::EPSILON);
        Factor { high: T::from_f64(1.0 - low), low: T::from_f64(low) }
    }

    /// The quotient of two positive numbers, within the range of the type.
    fn of(numerator: f64, divisor: f64) -> Self {
        // The bounds keep both parts far from infinity and 0.
        let largest = (-T::MIN_EXPONENT).to_f64().exp2();
        let bound = |x: f64| x.clamp(largest.powf(-0.75), largest);
        let quotient = bound(numerator / divisor);
        // The rounding error of the division.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::simd::{Float, Isa, Kernel};

    /// Every logit mapped, and its slope.
    struct Map<'a, T>(LogitMap<'a, T>, &'a [T]);

    impl<T: Real> Kernel<T> for Map<'_, T> {
        type Output = (Vec<T>, Vec<T>);
        #[inline(always)]
        fn run<S: Simd<T>>(self, s: S) -> Self::Output {
            let (mut to, mut slopes) = (vec![T::NAN; self.1.len()], vec![T::NAN; self.1.len()]);
            let largest = self.0.row(s, 0, &mut RowIo::new(self.1, &mut to), &mut slopes);
            assert_eq!(largest, to.iter().copied().fold(-T::INFINITY, |a, b| if b > a { b } else { a }));
            for (k, (&z, &mapped)) in self.1.iter().zip(&to).enumerate() {
                assert_eq!(self.0.at(s, k, z), mapped, "alone or among others");
            }
            if !self.0.has_softcap() {
                slopes.fill(T::ONE);
            }
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
    fn a_prior_is_added_to_what_is_mapped() {
        let z: Vec<f32> = (0..997).map(|i| (i as f32 - 500.0) * 0.037).collect();
        let mut prior: Vec<f32> = (0..997).map(|i| ((i * 7919) % 1009) as f32 * -0.013).collect();
        prior[13] = f32::NEG_INFINITY;
        for (cap, temperature) in [(None, 1.0), (None, 0.7), (Some(7.3), 1.7), (None, 1e-30), (Some(3.0), 1e30)] {
            for len in [1, 5, 14, 64, 997] {
                let (z, prior) = (&z[..len], &prior[..len]);
                let bare = LogitMap::new(cap, temperature).unwrap().of_row(z);
                for isa in Isa::available() {
                    let (mapped, slopes) = f32::dispatch(isa, Map(bare, z));
                    let with = bare.with_log_prior(Some(prior), len).unwrap();
                    let (more, same) = f32::dispatch(isa, Map(with, z));
                    assert_eq!(slopes, same);
                    for k in 0..len {
                        assert_eq!(more[k], mapped[k] + prior[k], "{} {cap:?} {temperature} {k}", isa.name());
                    }
                }
            }
        }
        for wrong in [f32::NAN, f32::INFINITY] {
            let numbers = [0.0, wrong];
            let result = LogitMap::identity().with_log_prior(Some(&numbers), 2);
            assert!(matches!(result, Err(Error::Value { name: "log_prior", index: 1, .. })));
        }
        assert!(matches!(LogitMap::identity().with_log_prior(Some(&[0.0f32]), 2), Err(Error::Shape { .. })));
    }

    #[test]
    fn infinite_logits_and_extreme_temperatures_give_no_nan() {
        let z = [f64::INFINITY, f64::NEG_INFINITY, 0.0, 1.0];
        for isa in Isa::available() {
            for temperature in [1e-300, 0.5, 1.0, 2.0, 1e300] {
                let map = LogitMap::new(None, temperature).unwrap().of_row(&z);
                let (mapped, _) = f64::dispatch(isa, Map(map, &z));
                assert_eq!(mapped[..3], [f64::INFINITY, f64::NEG_INFINITY, 0.0], "{temperature}");
                let narrow = [f32::INFINITY, f32::NEG_INFINITY, 0.0];
                let map = LogitMap::new(None, temperature).unwrap().of_row(&narrow);
                let (mapped, _) = f32::dispatch(isa, Map(map, &narrow));
                assert_eq!(mapped, narrow, "{temperature}");
            }
            let (mapped, slopes) = f64::dispatch(isa, Map(LogitMap::new(Some(30.0), 1.0).unwrap(), &z));
            assert_eq!((&mapped[..3], slopes[..2].to_vec()), (&[30.0, -30.0, 0.0][..], vec![0.0, 0.0]));
        }
    }

    #[test]
    fn a_mapped_logit_does_not_depend_on_its_neighbours() {
        let near: Vec<f64> = (0..203).map(|i| (f64::from(i) - 101.0) * 0.069).collect();
        let map = LogitMap::new(Some(7.0), 1.3).unwrap();
        for isa in Isa::available() {
            let (alone, slopes) = f64::dispatch(isa, Map(map, &near));
            // One logit in seventy is far beyond the softcap, so every group of four registers and some partial
            // registers contain one.
            let mixed: Vec<f64> = near.chunks(70).flat_map(|part| part.iter().copied().chain([40.0])).collect();
            let (among, mixed_slopes) = f64::dispatch(isa, Map(map, &mixed));
            for (k, (alone, slope)) in alone.iter().zip(&slopes).enumerate() {
                let place = k + k / 70;
                let same = (among[place], mixed_slopes[place]);
                assert_eq!((alone.to_bits(), slope.to_bits()), (same.0.to_bits(), same.1.to_bits()), "{}", isa.name());
            }
        }
    }

    #[test]
    fn options_without_a_place_in_the_type_have_their_limits() {
        let z = [2.0, 1.0, 2.0, -3.0, f64::NEG_INFINITY];
        let narrow = z.map(|z| z as f32);
        let inf = f32::INFINITY;
        for isa in Isa::available() {
            // A softcap far above all logits changes none; one far below makes them alike.
            for cap in [1e20, 1e30, 1e38, 1e39, 1e300] {
                let (mapped, slopes) = f32::dispatch(isa, Map(LogitMap::new(Some(cap), 1.0).unwrap(), &narrow));
                for (mapped, z) in mapped.iter().zip(&narrow[..4]) {
                    assert!((mapped - z).abs() <= 1e-6 * z.abs(), "{cap}: {mapped} {z}");
                }
                assert!(cap > 1e38 || slopes[..4] == [1.0; 4], "{cap}: {slopes:?}");
                assert_eq!(mapped[4], -cap as f32);
            }
            for cap in [1e-40, 1e-300] {
                let (mapped, slopes) = f32::dispatch(isa, Map(LogitMap::new(Some(cap), 1.0).unwrap(), &narrow));
                assert!(mapped.iter().all(|mapped| mapped.abs() <= 1e-40) && slopes == [0.0; 5], "{cap}");
            }
            // Small temperatures leave the largest logits, large ones no difference.
            for temperature in [1e-300, 1e-40, 1e-12] {
                for cap in [None, Some(30.0), Some(1e300)] {
                    let map = LogitMap::new(cap, temperature).unwrap().of_row(&narrow);
                    let (mapped, _) = f32::dispatch(isa, Map(map, &narrow));
                    assert_eq!((mapped[0], mapped[2]), (0.0, 0.0));
                    assert!(mapped[1] <= -9e11 && mapped[3] < mapped[1] || mapped[1] == -inf, "{mapped:?}");
                    assert_eq!(map.left_out(), Some(temperature));
                }
            }
            for temperature in [1e30, 1e300] {
                let map = LogitMap::new(None, temperature).unwrap().of_row(&narrow);
                let (mapped, _) = f32::dispatch(isa, Map(map, &narrow));
                assert!(mapped[..4].iter().all(|mapped| mapped.abs() < 1e-29) && mapped[4] == -inf, "{mapped:?}");
            }
            // Options and logits may be small together.
            let small = [2e-40f32, 1e-40, 0.0];
            let (mapped, _) = f32::dispatch(isa, Map(LogitMap::new(None, 1e-40).unwrap().of_row(&small), &small));
            assert!(mapped.iter().zip([0.0, -1.0, -2.0]).all(|(mapped, truth)| (mapped - truth).abs() < 1e-4));
            // An infinite logit outweighs all others; NaN stays.
            let wild = [inf, 3e38, -inf, f32::NAN];
            let map = LogitMap::new(None, 1e-300).unwrap().of_row(&wild);
            let (mapped, _) = f32::dispatch(isa, Map(map, &wild[..3]));
            assert_eq!(mapped, [inf, 0.0, -inf]);
            assert!(map.far.unwrap().at(f64::NAN).is_nan());
        }
    }

    #[test]
    fn options_must_be_positive_and_finite() {
        for wrong in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(matches!(LogitMap::<'_, f32>::new(None, wrong), Err(Error::Parameter { name: "temperature", .. })));
            assert!(matches!(
                LogitMap::<'_, f32>::new(Some(wrong), 1.0),
                Err(Error::Parameter { name: "softcap", .. })
            ));
        }
    }
}
