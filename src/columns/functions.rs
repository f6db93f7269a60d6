//! Log-sum-exp, softmax and log-softmax of groups of rows.

use super::{ColumnSums, Columns};
use crate::math::{Real, log1p};
use crate::simd::{Lanes, Mask, Simd, fold};

impl<T: Real> Columns<'_, T> {
    /// `logsumexp(z)` of each row that was summed, these being its logits or their exponentials: -inf for a row of -inf, +inf
    /// where a logit is, NaN where one is.
    #[inline(always)]
    pub(crate) fn logsumexp<S: Simd<T>>(&self, s: S, sums: ColumnSums<S::V>) -> S::V {
        let (zero, infinity) = (s.splat(T::ZERO), s.splat(T::INFINITY));
        let (lse, is_finite) = (sums.max + log1p(s, sums.rest), sums.max.abs().lt(infinity));
        if is_finite.bits() == (1 << S::LANES) - 1 {
            return lse;
        }
        // An infinite maximum is what it is, but for a NaN beside it.
        let [nan] = fold::<1, _, _, _>(
            s,
            self.lanes,
            T::ZERO,
            zero,
            #[inline(always)]
            |nan, _, x| nan + S::V::select(x.eq(x), zero, x),
        );
        S::V::select(is_finite, lse, sums.max + nan)
    }

    /// Writes `softmax(z)` to `count` rows, these being the exponentials.
    #[inline(always)]
    pub(crate) fn store_softmax<S: Simd<T>>(&mut self, s: S, sums: ColumnSums<S::V>, rows: &mut [T], count: usize) {
        let one = s.splat(T::ONE);
        let scale = sums.scale(s, one);
        self.store(
            s,
            rows,
            count,
            #[inline(always)]
            |_, e| one.min(e * scale),
        );
    }

    /// Writes `log_softmax(z)` to `count` rows, these being the logits: `(z - max) - ln(1 + rest)`, two subtractions that keep
    /// what one would lose where the maximum is large.
    #[inline(always)]
    pub(crate) fn store_log_softmax<S: Simd<T>>(&mut self, s: S, sums: ColumnSums<S::V>, rows: &mut [T], count: usize) {
        let (zero, max, log_partition) = (s.splat(T::ZERO), sums.max, log1p(s, sums.rest));
        self.store(
            s,
            rows,
            count,
            #[inline(always)]
            |_, z| S::V::select(z.eq(max), zero, z - max) - log_partition,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::columns::{MAX_CLASSES, scratch_len};
    use crate::rows;
    use crate::simd::{Isa, Kernel, RowIo};

    /// All three of as many rows as a register has lanes, or fewer.
    struct Group<'k, T> {
        logits: &'k [T],
        classes: usize,
        short: usize,
    }

    impl<T: Real> Kernel<T> for Group<'_, T> {
        type Output = (Vec<T>, Vec<T>, Vec<T>);
        #[inline(always)]
        fn run<S: Simd<T>>(self, s: S) -> Self::Output {
            let Group { logits, classes, short } = self;
            let (count, none) = (S::LANES.saturating_sub(short).max(1), s.splat(-T::ONE));
            let (mut sums, len) = (vec![T::ZERO; S::LANES], count * classes);
            let (mut softmax, mut log_softmax) = (vec![T::ZERO; len], vec![T::ZERO; len]);
            let mut scratch = vec![T::NAN; scratch_len(classes)];
            let mut columns = Columns::of(s, &mut scratch, 0, classes);
            // 1. from logits
            columns.load(s, logits, classes, count);
            let sum = columns.sums::<false, S>(s, none, &mut ());
            s.store(columns.logsumexp(s, sum), &mut sums);
            columns.store_log_softmax(s, sum, &mut log_softmax, count);
            // 2. from exponentials
            let sum = columns.exponentiate(s, none);
            let mut same = vec![T::ZERO; S::LANES];
            s.store(columns.logsumexp(s, sum), &mut same);
            assert_eq!(format!("{sums:?}"), format!("{same:?}"));
            columns.store_softmax(s, sum, &mut softmax, count);
            sums.truncate(count);
            (sums, softmax, log_softmax)
        }
    }

    /// The same of one row.
    struct Row<'k, T>(&'k [T]);

    impl<T: Real> Kernel<T> for Row<'_, T> {
        type Output = (T, Vec<T>, Vec<T>);
        #[inline(always)]
        fn run<S: Simd<T>>(self, s: S) -> Self::Output {
            let (mut softmax, mut log_softmax) = (vec![T::ZERO; self.0.len()], vec![T::ZERO; self.0.len()]);
            rows::softmax(s, &mut RowIo::new(self.0, &mut softmax));
            rows::log_softmax(s, &mut RowIo::new(self.0, &mut log_softmax));
            (rows::logsumexp(s, self.0), softmax, log_softmax)
        }
    }

    fn check<T: Real>(tolerance: f64, edge: f64) {
        let special = [0.0, -0.0, edge, -edge, f64::NEG_INFINITY, f64::INFINITY, f64::NAN, 17.0, 1e4];
        let same = |a: T, b: T, size: f64, case: &str| {
            let (a, b) = (a.to_f64(), b.to_f64());
            let is_same = a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= tolerance * (b.abs() + size) + 1e-36;
            assert!(is_same, "{case}: {a:e} {b:e}");
        };
        for classes in 1..=MAX_CLASSES {
            let mut logits: Vec<T> =
                (0..16 * classes).map(|i| T::from_f64(((i * 7919) % 1009) as f64 * 0.017 - 8.0)).collect();
            for (i, z) in logits.iter_mut().enumerate().filter(|(i, _)| (i * 31 + classes) % 41 < 3) {
                *z = T::from_f64(special[(i * 31 + classes) % special.len()]);
            }
            for isa in Isa::available() {
                for short in 0..16 {
                    let (sums, softmax, log_softmax) = T::dispatch(isa, Group { logits: &logits, classes, short });
                    for (i, &sum) in sums.iter().enumerate() {
                        let case = format!("{} c={classes} row {i} of {}", isa.name(), sums.len());
                        let z = &logits[i * classes..][..classes];
                        let size = z.iter().map(|z| z.to_f64().abs()).filter(|z| z.is_finite()).fold(0.0, f64::max);
                        let (lse, p, log_p) = T::dispatch(isa, Row(z));
                        same(sum, lse, size, &case);
                        for k in 0..classes {
                            same(softmax[i * classes + k], p[k], 0.0, &case);
                            same(log_softmax[i * classes + k], log_p[k], 0.0, &case);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_group_of_rows_is_what_each_row_is() {
        check::<f32>(1e-6, 88.0);
        check::<f64>(4e-15, 709.0);
    }
}
