//! Rows of few classes, taken together: a row a lane, a class a register.

use super::{RowProblem, Targets};
use crate::columns::{self, ColumnSums, Columns, GROUPS, Total};
use crate::losses::{Group, RowLoss};
use crate::math::Real;
use crate::rows::LogitMap;
use crate::simd::{Kernel, Lanes, MAX_LANES, RowIo, Simd, read, write};
use crate::view::{Rows, RowsIo};

impl<T: Real, L: RowLoss<T>> RowProblem<'_, T, L> {
    /// Whether rows are taken together.
    pub(super) fn goes_across(&self, classes: usize) -> bool {
        match self.target {
            // What is not listed is not read, be it outside the domain.
            Targets::Sparse(_) if self.loss.has_domain() => false,
            _ if self.is_soft() => self.loss.weighs_across(classes),
            _ => self.loss.goes_across(classes),
        }
    }

    /// Whether rows have distributions, or classes that the loss takes as such.
    pub(super) fn is_soft(&self) -> bool {
        !matches!(self.target, Targets::Classes(_)) || self.loss.spreads_classes()
    }

    /// The scratch of so many classes.
    pub(super) fn across_len(&self, classes: usize) -> usize {
        Scratch::lens(self, classes).into_iter().sum()
    }

    /// The rows from row `first` on, whose logits are made exponentials and summed; where these are `SOFT`, `weights` gets
    /// those that their distributions give the classes.
    #[inline(always)]
    fn group<const SOFT: bool, S: Simd<T>>(
        &self,
        s: S,
        first: usize,
        rows: usize,
        logits: &mut Columns<'_, T>,
        weights: &mut Columns<'_, T>,
        seen: &mut Columns<'_, T>,
    ) -> Group<S::V> {
        let (zero, one) = (s.splat(T::ZERO), s.splat(T::ONE));
        let sample = match self.sample_weight {
            Some(weights) => read(s, &weights[..first + rows], first, T::ZERO),
            None => one,
        };
        if SOFT {
            self.load_targets(s, first, rows, weights);
            let total = self.loss.weigh_across(s, weights);
            let (weight, class) = (S::V::select(total.eq(zero), zero, sample), zero - one);
            if !self.loss.sums_exponentials() {
                let gaps = self.loss.costs_across(s, logits, weights);
                return Group { rows, class, weight, total, gaps, sums: ColumnSums::none(s) };
            }
            let gaps = logits.weighted_gaps(s, weights);
            if !self.loss.reweighs() {
                return Group { rows, class, weight, total, gaps, sums: logits.exponentiate(s, class) };
            }
            seen.lanes().copy_from_slice(logits.lanes());
            let mut group = Group { rows, class, weight, total, gaps, sums: logits.exponentiate(s, class) };
            self.loss.reweigh_across(s, seen, logits, weights, &mut group);
            return group;
        }
        let class = match &self.target {
            Targets::Classes(classes) => classes.register(s, first, rows),
            _ => zero - one,
        };
        let gaps = if self.loss.wants_gaps() { logits.gaps(s) } else { zero };
        let weight = S::V::select(class.lt(zero), zero, sample);
        Group { rows, class, weight, total: one, gaps, sums: logits.exponentiate(s, class) }
    }

    /// The distributions of some rows.
    #[inline(always)]
    fn load_targets<S: Simd<T>>(&self, s: S, first: usize, rows: usize, to: &mut Columns<'_, T>) {
        match &self.target {
            Targets::Classes(classes) => {
                let (zero, one, class) = (s.splat(T::ZERO), s.splat(T::ONE), classes.register(s, first, rows));
                to.map(
                    s,
                    #[inline(always)]
                    |k, _| S::V::select(class.eq(s.splat(T::from_f64(k as f64))), one, zero),
                );
            }
            Targets::Distributions(targets) => {
                let (targets, stride) = targets.from(first);
                to.load(s, targets, stride, rows);
            }
            Targets::Sparse(sparse) => {
                to.lanes().fill(T::ZERO);
                for row in 0..rows {
                    let pairs = sparse.row(first + row);
                    for pair in 0..pairs.len() {
                        if let Some((class, t)) = pairs.get(pair) {
                            let place = &mut to.lanes()[class * S::LANES + row];
                            *place = *place + T::from_f64(t);
                        }
                    }
                }
            }
            Targets::Stored(_) => unreachable!("a block of them is widened first"),
        }
    }
}

/// The weights of a block of rows with distributions, for the divisor; a row whose target is NaN counts as one whose target
/// sums to 1.
pub(super) struct WeightsAcross<'k, T> {
    pub(super) targets: Rows<'k, T>,
    pub(super) class_weight: Option<&'k [T]>,
    pub(super) sample_weight: Option<&'k [T]>,
    pub(super) scratch: &'k mut [T],
}

impl<T: Real> Kernel<T> for WeightsAcross<'_, T> {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) -> f64 {
        let WeightsAcross { targets, class_weight, sample_weight, scratch } = self;
        let (rows, one, mut total) = (targets.rows(), s.splat(T::ONE), Total::new());
        let mut columns = Columns::of(s, scratch, 0, targets.classes());
        for i in (0..rows).step_by(S::LANES) {
            let (targets, stride) = targets.from(i);
            columns.load(s, targets, stride, S::LANES.min(rows - i));
            if let Some(w) = class_weight {
                columns.weigh(s, w);
            }
            let sums = columns.totals(s);
            let weights = S::V::select(sums.eq(sums), sums, one);
            let sample = sample_weight.map_or(
                one,
                #[inline(always)]
                |weights| read(s, weights, i, T::ZERO),
            );
            total.add(s, sample * weights);
        }
        total.sum()
    }
}

/// What groups of rows need beside them; what is not needed has no length.
struct Scratch<'k, T> {
    /// The [`Columns`] of the logits.
    columns: &'k mut [T],
    /// Those of the weights that distributions give the classes.
    weights: &'k mut [T],
    /// Those of the logits, where the loss wants to see them beside their exponentials.
    seen: &'k mut [T],
    /// The logits, mapped.
    mapped: &'k mut [T],
    /// The slope of the softcap at each.
    slopes: &'k mut [T],
}

impl<'k, T: Real> Scratch<'k, T> {
    fn lens<L: RowLoss<T>>(problem: &RowProblem<'_, T, L>, classes: usize) -> [usize; 5] {
        let (map, columns, rows) = (problem.loss.logit_map(), columns::scratch_len(classes), GROUPS * MAX_LANES);
        let wanted = |len, is_wanted| if is_wanted { len } else { 0 };
        [
            columns,
            wanted(columns, problem.is_soft()),
            wanted(columns, problem.is_soft() && problem.loss.reweighs()),
            wanted(rows * classes, !map.is_identity()),
            wanted(rows * classes, map.has_softcap()),
        ]
    }

    fn of<L: RowLoss<T>>(problem: &RowProblem<'_, T, L>, classes: usize, scratch: &'k mut [T]) -> Self {
        let [columns, weights, seen, mapped, _] = Self::lens(problem, classes);
        let (columns, scratch) = scratch.split_at_mut(columns);
        let (weights, scratch) = scratch.split_at_mut(weights);
        let (seen, scratch) = scratch.split_at_mut(seen);
        let (mapped, slopes) = scratch.split_at_mut(mapped);
        Scratch { columns, weights, seen, mapped, slopes }
    }
}

/// So many rows of logits from the first of `logits` on, mapped into `to`.
#[inline(always)]
fn map_rows<T: Real, S: Simd<T>>(
    s: S,
    map: LogitMap<T>,
    (logits, stride): (&[T], usize),
    [rows, classes]: [usize; 2],
    to: &mut [T],
    slopes: &mut [T],
) {
    if stride == classes {
        let len = rows * classes;
        map.row(s, &mut RowIo::new(&logits[..len], &mut to[..len]), slopes);
        return;
    }
    for (i, to) in to.chunks_exact_mut(classes).take(rows).enumerate() {
        let slopes = if slopes.is_empty() { &mut [] } else { &mut slopes[i * classes..][..classes] };
        map.row(s, &mut RowIo::new(&logits[i * stride..][..classes], to), slopes);
    }
}

/// Multiplies a row by factors; a 0 stays one, be the factor NaN.
#[inline(always)]
fn times<T: Real, S: Simd<T>>(s: S, factors: &[T], row: &mut RowIo<'_, T>) {
    let zero = s.splat(T::ZERO);
    row.map(
        s,
        T::ZERO,
        #[inline(always)]
        |k, x| S::V::select(x.eq(zero), zero, x * read(s, factors, k, T::ZERO)),
    );
}

/// The losses of a block of rows.
pub(super) struct ValuesAcross<'k, 'a, T, L, const SOFT: bool> {
    pub(super) problem: &'k RowProblem<'a, T, L>,
    pub(super) first: usize,
    pub(super) logits: Rows<'k, T>,
    pub(super) scratch: &'k mut [T],
    pub(super) each: Option<&'k mut [T]>,
}

impl<T: Real, L: RowLoss<T>, const SOFT: bool> Kernel<T> for ValuesAcross<'_, '_, T, L, SOFT> {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) -> f64 {
        let ValuesAcross { problem, first, logits, scratch, mut each } = self;
        let (rows, classes, map) = (logits.rows(), logits.classes(), problem.loss.logit_map());
        let (mut total, mut groups) = (Total::new(), [Group::none(s); GROUPS]);
        let Scratch { columns: scratch, weights, seen, mapped, .. } = Scratch::of(problem, classes, scratch);
        for start in (0..rows).step_by(GROUPS * S::LANES) {
            let starts = (start..rows).step_by(S::LANES);
            // 1. logits, where they are mapped
            if !map.is_identity() {
                let shape = [(GROUPS * S::LANES).min(rows - start), classes];
                map_rows(s, map, logits.from(start), shape, mapped, &mut []);
            }
            // 2. sums of exponentials
            for (group, i) in groups.iter_mut().zip(starts.clone()) {
                let (logits, stride) =
                    if map.is_identity() { logits.from(i) } else { (&mapped[(i - start) * classes..], classes) };
                let (mut columns, count) = (Columns::of(s, scratch, 0, classes), S::LANES.min(rows - i));
                columns.load(s, logits, stride, count);
                let mut weights = Columns::of_soft::<SOFT, S>(s, weights, 0, classes);
                let mut seen = Columns::of_any(s, seen, classes);
                *group = problem.group::<SOFT, S>(s, first + i, count, &mut columns, &mut weights, &mut seen);
            }
            // 3. losses
            for (group, i) in groups.iter().zip(starts) {
                let losses =
                    if SOFT { problem.loss.soft_value_across(s, group) } else { problem.loss.value_across(s, group) };
                if let Some(each) = &mut each {
                    write(s, losses, each, i);
                }
                total.add(s, losses);
            }
        }
        total.sum()
    }
}

/// The losses and gradients of a block of rows.
pub(super) struct GradsAcross<'k, 'a, T, L, const SOFT: bool> {
    pub(super) problem: &'k RowProblem<'a, T, L>,
    pub(super) first: usize,
    pub(super) rows: RowsIo<'k, T>,
    pub(super) scratch: &'k mut [T],
    pub(super) divisor: f64,
    pub(super) each: Option<&'k mut [T]>,
}

impl<T: Real, L: RowLoss<T>, const SOFT: bool> Kernel<T> for GradsAcross<'_, '_, T, L, SOFT> {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) -> f64 {
        let GradsAcross { problem, first, mut rows, scratch, divisor, mut each } = self;
        let (count, classes, map) = (rows.rows(), rows.classes(), problem.loss.logit_map());
        let divisor = T::from_f64(divisor * map.temperature());
        let (mut total, mut groups) = (Total::new(), [Group::none(s); GROUPS]);
        let Scratch { columns: scratch, weights, seen, mapped, slopes } = Scratch::of(problem, classes, scratch);
        for start in (0..count).step_by(GROUPS * S::LANES) {
            let (starts, size) = ((start..count).step_by(S::LANES), (GROUPS * S::LANES).min(count - start));
            // 1. logits, where they are mapped, and the slopes of a softcap
            if !map.is_identity() {
                map_rows(s, map, rows.from(start), [size, classes], mapped, slopes);
            }
            // 2. exponentials, kept, and their sums
            for (g, (group, i)) in groups.iter_mut().zip(starts.clone()).enumerate() {
                let (logits, stride) =
                    if map.is_identity() { rows.from(i) } else { (&mapped[(i - start) * classes..], classes) };
                let (mut columns, count) = (Columns::of(s, scratch, g, classes), S::LANES.min(count - i));
                columns.load(s, logits, stride, count);
                let mut weights = Columns::of_soft::<SOFT, S>(s, weights, g, classes);
                let mut seen = Columns::of_any(s, seen, classes);
                *group = problem.group::<SOFT, S>(s, first + i, count, &mut columns, &mut weights, &mut seen);
            }
            // 3. losses and gradients
            for (g, (group, i)) in groups.iter().zip(starts).enumerate() {
                let mut columns = Columns::of(s, scratch, g, classes);
                let grad = &mut rows.target()[i * classes..];
                let losses = if SOFT {
                    let weights = Columns::of(s, weights, g, classes);
                    problem.loss.soft_value_and_grad_across(s, &mut columns, &weights, group, divisor, grad)
                } else {
                    problem.loss.value_and_grad_across(s, &mut columns, group, divisor, grad)
                };
                if let Some(each) = &mut each {
                    write(s, losses, each, i);
                }
                total.add(s, losses);
            }
            // 4. the gradients of what came before the softcap
            if map.has_softcap() {
                times(s, slopes, &mut RowIo::in_place(&mut rows.target()[start * classes..][..size * classes]));
            }
        }
        total.sum()
    }
}
