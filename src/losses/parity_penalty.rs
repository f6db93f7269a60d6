//! Parity of predictions: the variance of the mean predictions of groups.
//!
//! # Formula
//! For logits `x`, `P = sigmoid(x)` (or the scores `x` themselves), and the `n` rows in groups of `n_g`:
//!
//! ```text
//! penalty = sum_g (n_g / n) (mean_g P - mean P)^2
//! ```
//!
//! It is the variance between groups: 0 where all groups have the same mean. Over all rows it measures demographic
//! parity, over the positive rows alone equal opportunity.
//!
//! # Gradient
//! `d penalty / dx_i = (2 / n) (mean_g P - mean P) P'(x_i)` with the group `g` of row `i` and
//! `P' = sigmoid(x) sigmoid(-x)`. The derivatives of the means add nothing, as the weighted deviations sum to zero.
//!
//! # Domain, shapes, units
//! `x` in `[-inf, inf]` (scores: finite), one group a row; a squared probability (or squared score), without a unit.
//!
//! # Precision
//! Where most predictions are near 1, the differences of their means would be lost in rounding. So a prediction is
//! split into a whole number, 1 where `x > 0`, and a tail, `sigmoid(x)` or `-sigmoid(-x)`, which keeps its digits.
//! Whole numbers are counted, and their means subtracted as fractions; tails are summed in double precision.
//!
//! # Special values
//! Without rows the penalty is 0. A group without rows that count is ignored. A NaN in a row that counts makes the
//! penalty and the gradient of all rows that count NaN, as all of them depend on the mean; rows that do not count have
//! gradient 0.
//!
//! # References
//! M. Hardt, E. Price and N. Srebro, *Equality of opportunity in supervised learning*, NeurIPS 2016.
//! T. Calders and S. Verwer, *Three naive Bayes approaches for discrimination-free classification*, 2010 (parity).

use crate::math::{Logistic, Real};
use crate::memory;
use crate::simd::{Lanes, RowIo, Simd, lanes_of, read, write};
use crate::view::Classes;

/// The function from logits to predictions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// `P = sigmoid(x)`
    Sigmoid,
    /// `P = x`
    Identity,
}

/// Sums over the rows of a group.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct GroupSum {
    rows: u64,
    above: u64,
    tails: f64,
}

/// The rows that count, and their groups. Given targets, rows with target 0 do not count.
#[derive(Clone, Copy)]
pub(crate) struct Chosen<'a, T> {
    pub(crate) groups: Classes<'a>,
    pub(crate) target: Option<&'a [T]>,
}

impl<T: Real> Chosen<'_, T> {
    /// The group of a row that counts.
    #[inline(always)]
    fn group(&self, row: usize) -> Option<usize> {
        self.groups.get(row).filter(|_| self.target.is_none_or(|target| target[row] != T::ZERO))
    }
}

impl Link {
    /// Adds rows, the first of which is row `first`, to the sums of their groups.
    #[inline(always)]
    pub(crate) fn add<T: Real, S: Simd<T>>(
        self,
        s: S,
        x: &[T],
        first: usize,
        chosen: &Chosen<'_, T>,
        sums: &mut [GroupSum],
    ) {
        let zero = s.splat(T::ZERO);
        for i in (0..x.len()).step_by(S::LANES) {
            let register = read(s, x, i, T::ZERO);
            let tail = match self {
                Link::Identity => register,
                Link::Sigmoid => {
                    let (sigmoid, complement) = Logistic::at(s, register).sigmoids(s);
                    S::V::select(zero.lt(register), zero - complement, sigmoid)
                }
            };
            for (k, (x, tail)) in x[i..].iter().zip(lanes_of(s, tail).as_ref()).enumerate() {
                if let Some(group) = chosen.group(first + i + k) {
                    let sum = &mut sums[group];
                    sum.rows += 1;
                    sum.above += u64::from(self == Link::Sigmoid && *x > T::ZERO);
                    sum.tails += tail.to_f64();
                }
            }
        }
    }

    /// Writes the gradient over or beside logits, the first of which is row `first`; `slopes` has `d penalty / d P` of
    /// each group.
    #[inline(always)]
    pub(crate) fn gradient<T: Real, S: Simd<T>>(
        self,
        s: S,
        mut x: RowIo<'_, T>,
        first: usize,
        chosen: &Chosen<'_, T>,
        slopes: &[T],
    ) {
        let (zero, len) = (s.splat(T::ZERO), x.source().len());
        for i in (0..len).step_by(S::LANES) {
            let mut slope = S::Array::default();
            for (k, slope) in slope.as_mut().iter_mut().take(len - i).enumerate() {
                *slope = chosen.group(first + i + k).map_or(T::ZERO, |group| slopes[group]);
            }
            let slope = s.load(&slope);
            let grad = match self {
                Link::Identity => slope,
                Link::Sigmoid => {
                    let (sigmoid, complement) = Logistic::at(s, read(s, x.source(), i, T::ZERO)).sigmoids(s);
                    // A slope of 0, for example of a row that does not count, gives 0 also for a NaN.
                    (slope * (sigmoid * complement)).zero_where(slope.eq(zero))
                }
            };
            write(s, grad, x.output(), i);
        }
    }
}

/// The penalty, and its derivative with respect to a prediction of each group.
pub(crate) fn penalty(sums: &[GroupSum]) -> (f64, Vec<f64>) {
    let all = sums.iter().fold(GroupSum::default(), |all, sum| GroupSum {
        rows: all.rows + sum.rows,
        above: all.above + sum.above,
        tails: all.tails + sum.tails,
    });
    let n = all.rows as f64;
    let mut penalty = 0.0;
    let slope = |sum: &GroupSum| {
        if sum.rows == 0 {
            return 0.0;
        }
        let whole = i128::from(sum.above) * i128::from(all.rows) - i128::from(all.above) * i128::from(sum.rows);
        let deviation = whole as f64 / (sum.rows as f64 * n) + (sum.tails / sum.rows as f64 - all.tails / n);
        penalty += sum.rows as f64 / n * deviation * deviation;
        2.0 / n * deviation
    };
    let slopes = memory::list(sums.iter().map(slope));
    (penalty, slopes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Float, Isa, Kernel};
    use crate::view::Labels;

    struct Parity<'a, T>(Link, &'a [T], Chosen<'a, T>, usize);

    impl<T: Real> Kernel<T> for Parity<'_, T> {
        type Output = (f64, Vec<T>);
        #[inline(always)]
        fn run<S: Simd<T>>(self, s: S) -> Self::Output {
            let Parity(link, x, chosen, groups) = self;
            let mut sums = vec![GroupSum::default(); groups];
            link.add(s, x, 0, &chosen, &mut sums);
            let (penalty, slopes) = penalty(&sums);
            let slopes: Vec<T> = slopes.into_iter().map(T::from_f64).collect();
            let mut grad = vec![T::NAN; x.len()];
            link.gradient(s, RowIo::new(x, &mut grad), 0, &chosen, &slopes);
            (penalty, grad)
        }
    }

    /// The formula, in float64 lines.
    fn oracle(p: &[f64], slope: &[f64], group: &[i64], chosen: &[bool], groups: i64) -> (f64, Vec<f64>) {
        let mean = |of: &dyn Fn(usize) -> bool| {
            let rows: Vec<usize> = (0..p.len()).filter(|&i| chosen[i] && of(i)).collect();
            (rows.iter().map(|&i| p[i]).sum::<f64>() / rows.len() as f64, rows.len() as f64)
        };
        let (all, n) = mean(&|_| true);
        let mut penalty = 0.0;
        let mut grad = vec![0.0; p.len()];
        for g in 0..groups {
            let (own, count) = mean(&|i| group[i] == g);
            if count > 0.0 {
                penalty += count / n * (own - all).powi(2);
                for i in (0..p.len()).filter(|&i| chosen[i] && group[i] == g) {
                    grad[i] = 2.0 / n * (own - all) * slope[i];
                }
            }
        }
        (penalty, grad)
    }

    #[test]
    fn all_lengths_agree_with_the_oracle_on_every_instruction_set() {
        for n in 1..70 {
            let x: Vec<f64> = (0..n).map(|i| ((i * 7919) % 101) as f64 * 0.1 - 5.0).collect();
            let group: Vec<i64> = (0..n as i64).map(|i| i * i % 5).collect();
            let answers: Vec<f64> = (0..n).map(|i| f64::from(u8::from(i % 3 != 1))).collect();
            for target in [None, Some(&answers[..])] {
                let rows: Vec<bool> = (0..n).map(|i| target.is_none_or(|t| t[i] != 0.0)).collect();
                let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
                for (link, p, slope) in [
                    (Link::Identity, x.clone(), vec![1.0; n]),
                    (
                        Link::Sigmoid,
                        x.iter().map(|&x| sigmoid(x)).collect(),
                        x.iter().map(|&x| sigmoid(x) * sigmoid(-x)).collect(),
                    ),
                ] {
                    let (truth, slopes) = oracle(&p, &slope, &group, &rows, 5);
                    for isa in Isa::available() {
                        let groups = Classes::new(Labels::I64(&group), 5, None).unwrap();
                        let (ours, grad) = f64::dispatch(isa, Parity(link, &x, Chosen { groups, target }, 5));
                        let case = format!("n={n} {link:?} {}", isa.name());
                        assert!((ours - truth).abs() <= 1e-13 * truth + 1e-30, "{case}: {ours} {truth}");
                        for (g, truth) in grad.iter().zip(&slopes) {
                            assert!((g - truth).abs() <= 1e-13 * truth.abs() + 1e-16, "{case}: {g} {truth}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn confident_predictions_keep_their_difference() {
        // Means 1 - exp(-30) and 1 - exp(-40), in single precision both 1.
        let x = [30.0f32, 30.0, 40.0, 40.0];
        let truth = ((-30f64).exp() / 2.0).powi(2);
        for isa in Isa::available() {
            let groups = Classes::new(Labels::I64(&[0, 0, 1, 1]), 2, None).unwrap();
            let (penalty, _) = f32::dispatch(isa, Parity(Link::Sigmoid, &x, Chosen { groups, target: None }, 2));
            assert!((penalty / truth - 1.0).abs() < 1e-3, "{}: {penalty:e} {truth:e}", isa.name());
        }
    }
}
