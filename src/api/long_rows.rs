//! Few long rows, too few to keep every thread busy. Each row is cut into parts, which are summed in parallel, and
//! their sums are joined in order. The cuts depend on the shape alone, so the results do not depend on the number of
//! threads.

use crate::math::Real;
use crate::memory;
use crate::parallel;
use crate::rows::RowSum;
use crate::simd::{Isa, Kernel, RowIo, Simd, inlined};

/// The number of elements of a part.
const PART: usize = 1 << 15;

/// From this number of rows on, each thread takes whole rows: this keeps the threads as busy, and no row waits for
/// another.
const MANY: usize = 4;

/// Whether rows are cut.
pub(super) fn are_split(rows: usize, classes: usize) -> bool {
    rows < MANY && classes >= 2 * PART
}

/// The sum of a row, which is not overwritten.
pub(super) fn sum<T: Real>(isa: Isa, row: &[T]) -> RowSum<T> {
    let mut sums = memory::copies(RowSum::none(), row.len().div_ceil(PART));
    parallel::for_each(row.chunks(PART).zip(&mut sums), row.len(), |(part, sum)| {
        *sum = T::dispatch(isa, Sum(part));
    });
    RowSum::joined(sums.into_iter())
}

/// The scale of the kept exponentials of a part.
#[derive(Clone, Copy)]
pub(super) struct Kept<T> {
    sum: RowSum<T>,
    /// The factor from a kept exponential to `exp(z - max)`, with the maximum of the part.
    unit: f64,
}

/// The sum of a row; its exponentials are kept in `target`. Without a `source`, the row itself is in `target`.
pub(super) fn keep<T: Real>(isa: Isa, source: Option<&[T]>, target: &mut [T]) -> (RowSum<T>, Vec<Kept<T>>) {
    let len = target.len();
    let mut parts = memory::copies(Kept { sum: RowSum::none(), unit: 1.0 }, len.div_ceil(PART));
    parallel::for_each(target.chunks_mut(PART).enumerate().zip(&mut parts), len, |((p, target), kept)| {
        let row = match source {
            Some(source) => RowIo::new(&source[p * PART..][..target.len()], target),
            None => RowIo::in_place(target),
        };
        *kept = T::dispatch(isa, Keep(row));
    });
    (RowSum::joined(parts.iter().map(|part| part.sum)), parts)
}

/// Turns the kept exponentials into probabilities, times a factor.
pub(super) fn finish<T: Real>(isa: Isa, target: &mut [T], parts: &[Kept<T>], sum: RowSum<T>, factor: f64) {
    let len = target.len();
    parallel::for_each(target.chunks_mut(PART).zip(parts), len, |(target, kept)| {
        T::dispatch(isa, Finish { row: RowIo::in_place(target), kept: *kept, sum, factor });
    });
}

/// `log_softmax` of a row.
pub(super) fn log_softmax<T: Real>(isa: Isa, source: Option<&[T]>, target: &mut [T]) {
    let (len, sum) = (target.len(), sum(isa, source.unwrap_or(target)));
    parallel::for_each(target.chunks_mut(PART).enumerate(), len, |(p, target)| {
        let row = match source {
            Some(source) => RowIo::new(&source[p * PART..][..target.len()], target),
            None => RowIo::in_place(target),
        };
        T::dispatch(isa, LogSoftmax { row, sum });
    });
}

/// The sum of a part.
pub(super) struct Sum<'k, T>(pub(super) &'k [T]);

impl<T: Real> Kernel<T> for Sum<'_, T> {
    type Output = RowSum<T>;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) -> RowSum<T> {
        RowSum::of_part(s, &mut { self.0 }).0
    }
}

struct Keep<'k, T>(RowIo<'k, T>);

impl<T: Real> Kernel<T> for Keep<'_, T> {
    type Output = Kept<T>;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) -> Kept<T> {
        let (sum, pivot) = RowSum::of_part(s, &mut { self.0 });
        Kept { sum, unit: pivot.unit(sum.max) }
    }
}

struct Finish<'k, T> {
    row: RowIo<'k, T>,
    kept: Kept<T>,
    sum: RowSum<T>,
    factor: f64,
}

impl<T: Real> Kernel<T> for Finish<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        let Finish { mut row, kept, sum, factor } = self;
        // exp(z - max part) is at most 1 and is multiplied by exp(max part - max) last: a combined factor could lose
        // digits below the normal numbers
        let unit = s.splat(T::from_f64(kept.unit));
        let scale = sum.scale_of((-sum.margin(kept.sum.max)).exp(), factor);
        row.finish(s, inlined!(|_, e| scale.of(s, e * unit)));
    }
}

struct LogSoftmax<'k, T> {
    row: RowIo<'k, T>,
    sum: RowSum<T>,
}

impl<T: Real> Kernel<T> for LogSoftmax<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(mut self, s: S) {
        self.sum.log_softmax(s, &mut self.row);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Float, RowIo};

    /// The sum and the probabilities of a whole row, computed by one thread.
    struct Whole<'k, T>(&'k [T], &'k mut [T]);

    impl<T: Real> Kernel<T> for Whole<'_, T> {
        type Output = RowSum<T>;
        #[inline(always)]
        fn run<S: Simd<T>>(self, s: S) -> RowSum<T> {
            crate::rows::softmax(s, &mut RowIo::new(self.0, self.1));
            RowSum::of(s, self.0)
        }
    }

    fn same(a: f64, b: f64, tolerance: f64) -> bool {
        (a - b).abs() <= tolerance * b.abs() || (a.is_nan() && b.is_nan()) || a == b
    }

    #[test]
    fn parts_agree_with_the_whole_row() {
        let len = 2 * PART + 777;
        let noise = |k: usize| ((k * 7919) % 10007) as f32 * 1e-3;
        let infinite = f32::INFINITY;
        // Maxima in different parts, ties across parts, parts of -inf alone, infinities, NaN.
        type Change = fn(&mut [f32]);
        let rows: [(&str, Change); 10] = [
            ("plain", |_| {}),
            ("top in the last part", |z| z[2 * PART + 5] = 60.0),
            ("far below in the first part", |z| z[..PART].iter_mut().for_each(|z| *z -= 95.0)),
            ("rising", |z| z.iter_mut().enumerate().for_each(|(k, z)| *z += k as f32 * 2e-3)),
            ("large", |z| z.iter_mut().for_each(|z| *z += 1e4)),
            ("ties", |z| (z[3], z[PART + 3], z[2 * PART + 3]) = (20.0, 20.0, 20.0)),
            ("a part of -inf", |z| z[PART..2 * PART].fill(f32::NEG_INFINITY)),
            ("all -inf", |z| z.fill(f32::NEG_INFINITY)),
            ("one +inf", |z| z[PART + 1] = f32::INFINITY),
            ("two +inf", |z| (z[1], z[PART + 1]) = (f32::INFINITY, f32::INFINITY)),
        ];
        for isa in Isa::available() {
            for (name, change) in rows {
                for nan in [false, true] {
                    let mut z: Vec<f32> = (0..len).map(noise).collect();
                    change(&mut z);
                    if nan {
                        z[PART - 1] = f32::NAN;
                    }
                    let case = format!("{} {name} nan={nan}", isa.name());
                    let mut truth = vec![0.0; len];
                    let whole = f32::dispatch(isa, Whole(&z, &mut truth));
                    let joined = sum(isa, &z);
                    assert!(joined.max == whole.max || nan, "{case}");
                    assert!(same(joined.rest, whole.rest, 1e-6), "{case}: {joined:?} {whole:?}");
                    let mut beside = vec![infinite; len];
                    let (kept_sum, parts) = keep(isa, Some(&z), &mut beside);
                    assert_eq!(kept_sum.rest.to_bits(), joined.rest.to_bits(), "{case}");
                    finish(isa, &mut beside, &parts, kept_sum, 1.0);
                    let mut over = z.clone();
                    let (_, parts) = keep(isa, None, &mut over);
                    finish(isa, &mut over, &parts, kept_sum, 1.0);
                    for k in 0..len {
                        assert_eq!(beside[k].to_bits(), over[k].to_bits(), "{case} k={k}");
                        let (p, t) = (f64::from(beside[k]), f64::from(truth[k]));
                        let tiny = t < f64::from(f32::MIN_POSITIVE) && p < f64::from(f32::MIN_POSITIVE);
                        assert!(tiny || same(p, t, 1e-6), "{case} k={k}: {p} {t}");
                    }
                }
            }
        }
    }
}
