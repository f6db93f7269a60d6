//! Exact sums: wide integers, in a unit that every float64 is a multiple of.
//!
//! # Method
//! A finite, non-negative float64 is `m 2^e` with `m < 2^53` and `e >= -1074`: a whole number of times `2^-1074`, the
//! smallest positive one. The sum is kept as that whole number, in limbs of 64 bits. Nothing is rounded, so the result
//! does not depend on the order of the numbers or on how they are split, and two sums are added as integers.
//!
//! # Range
//! The largest float64 has 2098 bits in this unit. 34 limbs, 2176 bits, hold the sum of 2^64 of them.
//!
//! # References
//! U. W. Kulisch, *Computer Arithmetic and Validity*, 2nd edition, 2013, chapter 8 (the long accumulator).

/// Limbs of a sum, the lowest first.
const LIMBS: usize = 34;

/// A sum of non-negative numbers, not rounded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExactSum {
    limbs: [u64; LIMBS],
}

impl Default for ExactSum {
    fn default() -> Self {
        ExactSum { limbs: [0; LIMBS] }
    }
}

impl ExactSum {
    /// Adds a number that is finite and not negative.
    #[inline]
    pub(crate) fn add(&mut self, x: f64) {
        debug_assert!(x.is_finite() && x >= 0.0);
        // 1. x = mantissa 2^(shift - 1074); a subnormal number has no hidden bit
        let bits = x.to_bits();
        let (exponent, fraction) = (bits >> 52 & 0x7ff, bits & ((1 << 52) - 1));
        let (mantissa, shift) = if exponent == 0 { (fraction, 0) } else { (fraction | 1 << 52, exponent as usize - 1) };
        // 2. its 53 bits lie in two limbs
        let wide = u128::from(mantissa) << (shift % 64);
        let mut limb = shift / 64;
        let (low, carry) = self.limbs[limb].overflowing_add(wide as u64);
        self.limbs[limb] = low;
        // 3. the upper part is less than 2^53, so that adding the carry does not overflow it
        let mut rest = (wide >> 64) as u64 + u64::from(carry);
        while rest != 0 {
            limb += 1;
            let (sum, carry) = self.limbs[limb].overflowing_add(rest);
            (self.limbs[limb], rest) = (sum, u64::from(carry));
        }
    }

    /// The sum in units of `2^-1074`, as bytes, the lowest first.
    pub fn to_le_bytes(&self) -> Vec<u8> {
        self.limbs.iter().flat_map(|limb| limb.to_le_bytes()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(numbers: &[f64]) -> ExactSum {
        let mut sum = ExactSum::default();
        numbers.iter().for_each(|&x| sum.add(x));
        sum
    }

    #[test]
    fn a_single_number_is_its_mantissa_shifted() {
        for (x, limb, value) in [
            (0.0, 0, 0),
            (f64::from_bits(1), 0, 1),
            (f64::MIN_POSITIVE, 0, 1 << 52),
            (f64::MIN_POSITIVE * 2.0, 0, 1 << 53),
            (1.0, 16, 1 << 50),
        ] {
            let sum = sum(&[x]);
            assert_eq!(sum.limbs[limb], value, "{x:e}");
            assert!(sum.limbs.iter().enumerate().all(|(i, &l)| i == limb || l == 0), "{x:e}");
        }
    }

    #[test]
    fn doubles_are_sums_of_halves_wherever_they_lie() {
        for exponent in -1021..1023 {
            for mantissa in [1.0, 1.5, 2.0 - f64::EPSILON] {
                let x = mantissa * 2f64.powi(exponent);
                assert_eq!(sum(&[x, x]), sum(&[2.0 * x]), "{x:e}");
            }
        }
    }

    #[test]
    fn nothing_is_lost_and_the_order_does_not_matter() {
        let (large, small) = (f64::MAX, f64::from_bits(3));
        let mut forth = vec![large, 1.0, small, 1e-300, large, 1e300, large, small];
        let there = sum(&forth);
        forth.reverse();
        assert_eq!(there, sum(&forth));
        assert_ne!(there, sum(&forth[1..]), "the smallest counts beside the largest");
    }

    #[test]
    fn a_carry_runs_through_many_limbs() {
        // 2^-1074 added to 2^200 - 2^-1074, written as numbers of 53 bits at most
        let ones: Vec<f64> =
            (-1074..200).map(|e| if e < -1022 { f64::from_bits(1 << (e + 1074)) } else { 2f64.powi(e) }).collect();
        let mut all = sum(&ones);
        all.add(f64::from_bits(1));
        assert_eq!(all, sum(&[2f64.powi(200)]));
    }
}
