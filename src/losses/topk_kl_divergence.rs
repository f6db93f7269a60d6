//! Kullback-Leibler divergence of a student from a teacher of whom only the most probable classes are known.
//!
//! # Formula
//! For one row of logits `z` of the student, `s = softmax(z)`, the teacher's probabilities `t_j` of a few classes `K`,
//! and what both leave to all other classes together, which count as one outcome more, the tail:
//!
//! ```text
//! tau   = 1 - sum_{j in K} t_j            s_tail = sum_{k not in K} s_k
//! loss  = sum_{j in K} t_j ln(t_j / s_j) + tau ln(tau / s_tail)
//!       = sum over K and the tail of g(t, s)          g(t, s) = t ln(t / s) - t + s >= 0
//! ```
//!
//! Both sums over `K` and the tail are 1, so the linear terms cancel. The second form has no negative term, and keeps
//! its digits where student and teacher nearly agree. It is at most the divergence of the whole distributions: merging
//! outcomes loses information. Softcap and temperature are applied to `z` before.
//!
//! # Gradient
//! ```text
//! d loss / d z_j = s_j - t_j                                j in K
//! d loss / d z_k = (s_tail - tau) s_k / s_tail              all others
//! ```
//!
//! # Domain, shapes, units
//! `z` in `[-inf, inf]^c`; `t` as pairs of a class and its probability, in any order, that sum to at most 1; a class may
//! occur more than once, then its probabilities add. The loss is in nats.
//!
//! # Precision
//! The tail is summed by itself, between the classes of `K`, not as `1 - sum_j s_j`. The outcomes are few, and are
//! computed in double precision.
//!
//! # Special values
//! A row without classes (all are the ignored one) does not count. `t_j = 0` costs `s_j` to the tail alone; `t_j > 0`
//! where `s_j = 0`, and `tau > 0` where `s_tail = 0`, cost +inf, with a finite gradient. If `K` holds all classes there
//! is no tail. A `tau` within the rounding of the `t_j` is 0. Logits as in softmax cross-entropy: one of +inf takes all
//! the probability; NaN, several +inf or nothing but -inf: NaN.
//!
//! # References
//! G. Hinton, O. Vinyals and J. Dean, *Distilling the knowledge in a neural network*, 2015, arXiv:1503.02531. S. Kullback
//! and R. A. Leibler, *On information and sufficiency*, Annals of Mathematical Statistics 22, 1951, section 4 (merged
//! outcomes).

use super::{LaneKernels, NoLanes, RowLoss, RowTarget};
use crate::error::Result;
use crate::math::Real;
use crate::memory;
use crate::rows::{LogitMap, Logits, LogitsIo, RowSum};
use crate::simd::{Lanes, Simd, inlined};
use crate::sparse::Pairs;

/// The divergence of a student from a teacher's most probable classes, with the tail as one outcome.
#[derive(Clone, Copy, Debug)]
pub struct TopkKlDivergence<'a, T> {
    map: LogitMap<'a, T>,
}

impl<T: Real> TopkKlDivergence<'_, T> {
    /// `softcap` and `temperature` are those of the student.
    ///
    /// # Errors
    /// [`Error::Parameter`](crate::Error::Parameter) unless both are positive and finite.
    pub fn new(softcap: Option<f64>, temperature: f64) -> Result<Self> {
        Ok(TopkKlDivergence { map: LogitMap::new(softcap, temperature)? })
    }
}

/// A class of `K`, or the tail: the teacher's and the student's probability.
#[derive(Clone, Copy)]
struct Outcome {
    class: usize,
    teacher: f64,
    student: f64,
    /// `ln s`, finite also where `s` underflows.
    log_student: f64,
}

/// The outcomes of a row.
struct Outcomes<T> {
    /// Sorted by class.
    known: Vec<Outcome>,
    tail: Outcome,
    /// The sum of the teacher's probabilities, 1 but for rounding.
    total: f64,
    sum_of_tail: RowSum<T>,
}

impl<T: Real> Outcomes<T> {
    /// The outcomes of a row of mapped logits; `None` if no class is known.
    #[inline(always)]
    fn of<S: Simd<T>>(s: S, row: &[T], pairs: Pairs<'_, T>) -> Option<Self> {
        Self::from_sums(row, pairs, &|part| RowSum::of_part(s, &mut { part }).0)
    }

    /// The same on any instruction set, given the sums of the exponentials of parts of the row: numbers one by one.
    #[inline(never)]
    fn from_sums(row: &[T], pairs: Pairs<'_, T>, sum_of: &dyn Fn(&[T]) -> RowSum<T>) -> Option<Self> {
        // 1. the classes, sorted, each once
        let mut known = memory::list((0..pairs.len()).filter_map(|pair| pairs.get(pair)));
        if known.is_empty() {
            return None;
        }
        known.sort_unstable_by_key(|&(class, _)| class);
        known.dedup_by(|(class, teacher), (first, sum)| {
            let same = class == first;
            *sum += if same { *teacher } else { 0.0 };
            same
        });
        // 2. the tail: the sums of the parts of the row between them
        let mut sum_of_tail = RowSum::none();
        let mut start = 0;
        for end in known.iter().map(|&(class, _)| class).chain([row.len()]) {
            if start < end {
                sum_of_tail = sum_of_tail.and(sum_of(&row[start..end]));
            }
            start = end + 1;
        }
        // 3. the student's probabilities, relative to the largest logit
        let max = known.iter().map(|&(class, _)| row[class]).fold(sum_of_tail.max, |a, b| if b > a { b } else { a });
        let of = |z: T, weight: f64| if z == max { weight } else { weight * (z.to_f64() - max.to_f64()).exp() };
        // A tail of -inf alone has no class that attains its maximum.
        let weight = sum_of_tail.rest + if sum_of_tail.max == -T::INFINITY { 0.0 } else { 1.0 };
        let tail = of(sum_of_tail.max, weight);
        let mut partition = tail;
        for &(class, _) in &known {
            partition += of(row[class], 1.0);
        }
        // Several infinite logits, or none but -inf, leave no distribution.
        if max == -T::INFINITY || (max == T::INFINITY && partition != 1.0) {
            partition = f64::NAN;
        }
        let below = |z: T| if z == max { 0.0 } else { z.to_f64() - max.to_f64() };
        let outcome = |class: usize, teacher: f64, z: T, weight: f64| Outcome {
            class,
            teacher,
            student: of(z, weight) / partition,
            log_student: below(z) + weight.ln() - partition.ln(),
        };
        // 4. what the teacher leaves to the tail
        let given: f64 = known.iter().map(|&(_, teacher)| teacher).sum();
        let rounding = known.len() as f64 * if size_of::<T>() == 4 { f64::from(f32::EPSILON) } else { f64::EPSILON };
        let teacher = if known.len() == row.len() || 1.0 - given <= rounding { 0.0 } else { 1.0 - given };
        let tail = outcome(row.len(), teacher, sum_of_tail.max, weight);
        let known = memory::list(known.into_iter().map(|(class, teacher)| outcome(class, teacher, row[class], 1.0)));
        Some(Outcomes { known, tail, total: given + teacher, sum_of_tail })
    }

    /// `sum g(t, s)`
    fn loss(&self) -> f64 {
        self.known.iter().chain([&self.tail]).map(Outcome::excess).sum()
    }
}

impl Outcome {
    /// `g(t, s) = t ln(t / s) - t + s = t h(x)` with `h(x) = x - ln(1 + x)` and `x = (s - t) / t`, by its series where
    /// that cancels. The series is cut at `x^7`: it is off by less than `2^-50` of the result.
    fn excess(&self) -> f64 {
        let Outcome { teacher: t, student: s, log_student, .. } = *self;
        let x = (s - t) / t;
        if t == 0.0 {
            s
        } else if x.abs() < 4e-3 {
            let tail = 1.0 / 4.0 - x * (1.0 / 5.0 - x * (1.0 / 6.0 - x * (1.0 / 7.0)));
            t * x * x * (0.5 - x * (1.0 / 3.0 - x * tail))
        } else if x.abs() < 0.5 {
            t * (x - x.ln_1p())
        } else {
            t * (t.ln() - log_student) - t + s
        }
    }
}

impl<T: Real> RowLoss<T> for TopkKlDivergence<'_, T> {
    const COUNTS_ROWS: bool = true;
    type ClassLanes = NoLanes;
    type SoftLanes = NoLanes;

    fn lanes(&self, _: bool) -> LaneKernels<'_, NoLanes, NoLanes> {
        LaneKernels::None
    }

    #[inline(always)]
    fn logit_map(&self) -> LogitMap<'_, T> {
        self.map
    }

    #[inline(always)]
    fn left_out(&self) -> Option<[f64; 2]> {
        self.map.left_out().map(|temperature| [1.0, temperature])
    }

    fn class_weight(&self) -> Option<&[T]> {
        None
    }

    #[inline(always)]
    fn value<S: Simd<T>>(&self, s: S, mut logits: Logits<'_, T>, target: RowTarget<'_, T>) -> f64 {
        let RowTarget::Sparse(pairs) = target else { return f64::NAN };
        Outcomes::of(s, logits.all(s), pairs).map_or(0.0, |outcomes| outcomes.loss())
    }

    #[inline(always)]
    fn value_and_grad<S: Simd<T>>(
        &self,
        s: S,
        mut logits: LogitsIo<'_, T>,
        target: RowTarget<'_, T>,
        scale: f64,
    ) -> f64 {
        let RowTarget::Sparse(pairs) = target else { return f64::NAN };
        let Some(outcomes) = Outcomes::of(s, logits.all(s), pairs) else {
            logits.row.output().fill(T::ZERO);
            return 0.0;
        };
        let loss = outcomes.loss();
        if loss.is_nan() {
            logits.row.output().fill(T::NAN);
            return loss;
        }
        // 1. the tail: a multiple of its own softmax
        let Outcomes { known, tail, total, sum_of_tail } = outcomes;
        let factor = scale * (total * tail.student - tail.teacher);
        if sum_of_tail.max == -T::INFINITY || factor == 0.0 {
            logits.row.output().fill(T::ZERO);
        } else {
            let (max, sign) = (s.splat(sum_of_tail.max), s.splat(T::from_f64(factor.signum())));
            let softmax = sum_of_tail.softmax(factor.abs());
            let of_max = s.splat(T::from_f64(factor.abs() * sum_of_tail.probability(sum_of_tail.max).0));
            logits.map(
                s,
                T::ZERO,
                inlined!(|_, z| {
                    // Logits above the maximum are those of known classes.
                    let p = S::V::select(z.lt(max), softmax.of(s, z), of_max.zero_unless(z.eq(max)));
                    sign * p
                }),
            );
        }
        // 2. the known classes
        for outcome in known {
            logits.set(outcome.class, scale * (total * outcome.student - outcome.teacher));
        }
        loss
    }
}
