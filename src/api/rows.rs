//! The softmax family: one target a row.

use super::{CurvedProblem, Problem, long_rows};
use crate::columns::{self, Columns, GROUPS};
use crate::error::{Error, Result};
use crate::losses::{CurvedRowLoss, Group, RowLoss, RowTarget};
use crate::math::Real;
use crate::parallel;
use crate::simd::{Isa, Kernel, Lanes, MAX_LANES, RowIo, Simd, read, write};
use crate::sparse::{Pairs, Sparse};
use crate::view::{Classes, Rows, RowsIo, check_weights};
use std::ops::Range;

/// What rows of logits are held against.
#[derive(Clone, Copy, Debug)]
pub enum Targets<'a, T> {
    /// A class a row.
    Classes(Classes<'a>),
    /// A distribution a row.
    Distributions(Rows<'a, T>),
    /// A distribution over few classes a row.
    Sparse(Sparse<'a, T>),
}

/// A loss of the softmax family, with targets and weights.
#[derive(Clone, Copy, Debug)]
pub struct RowProblem<'a, T, L> {
    /// The loss of a row.
    pub loss: L,
    /// One target a row.
    pub target: Targets<'a, T>,
    /// One weight a row; 1 where absent.
    pub sample_weight: Option<&'a [T]>,
}

impl<T: Real, L: RowLoss<T>> RowProblem<'_, T, L> {
    #[inline(always)]
    fn target(&self, row: usize) -> Option<RowTarget<'_, T>> {
        match &self.target {
            Targets::Classes(classes) => classes.get(row).map(RowTarget::Class),
            Targets::Distributions(rows) => Some(RowTarget::Distribution(rows.row(row))),
            Targets::Sparse(sparse) => Some(RowTarget::Sparse(sparse.row(row))),
        }
    }

    /// Whether rows are taken together, a row a lane.
    #[inline(always)]
    fn goes_across(&self, classes: usize) -> bool {
        match self.target {
            Targets::Classes(_) => self.loss.goes_across(classes),
            Targets::Distributions(_) | Targets::Sparse(_) => self.loss.weighs_across(classes),
        }
    }

    /// What [`Columns`] of rows taken together need, or [`Scratch`] where rows are taken one by one.
    fn scratch_len(&self, classes: usize, streams: usize) -> usize {
        match self.target {
            _ if !self.goes_across(classes) => Scratch::len(self, classes, streams),
            Targets::Classes(_) => columns::scratch_len(classes),
            // the weights of the classes beside the logits
            Targets::Distributions(_) | Targets::Sparse(_) => 2 * columns::scratch_len(classes),
        }
    }

    /// The rows from row `first` on, whose logits are made exponentials and summed; `weights` is the place for those that
    /// their distributions give the classes.
    #[inline(always)]
    fn group<S: Simd<T>>(
        &self,
        s: S,
        first: usize,
        rows: usize,
        logits: &mut Columns<'_, T>,
        weights: Option<Columns<'_, T>>,
    ) -> Group<S::V> {
        let (zero, one) = (s.splat(T::ZERO), s.splat(T::ONE));
        let sample = match self.sample_weight {
            Some(weights) => read(s, &weights[..first + rows], first, T::ZERO),
            None => one,
        };
        if let Some(mut weights) = weights {
            self.load_targets(s, first, rows, &mut weights);
            let total = self.loss.weigh_across(s, &mut weights);
            let (weight, gaps) = (S::V::select(total.eq(zero), zero, sample), logits.weighted_gaps(s, &weights));
            let class = zero - one;
            return Group { rows, is_soft: true, class, weight, total, gaps, sums: logits.exponentiate(s, class) };
        }
        let class = match &self.target {
            Targets::Classes(classes) => classes.register(s, first, rows),
            Targets::Distributions(_) | Targets::Sparse(_) => zero - one,
        };
        let gaps = if self.loss.wants_gaps() { logits.gaps(s) } else { zero };
        let weight = S::V::select(class.lt(zero), zero, sample);
        Group { rows, is_soft: false, class, weight, total: one, gaps, sums: logits.exponentiate(s, class) }
    }

    /// The place for the weights of a group's classes, where it has distributions.
    #[inline(always)]
    fn weights<'w, S: Simd<T>>(&self, s: S, scratch: &'w mut [T], g: usize, classes: usize) -> Option<Columns<'w, T>> {
        (!scratch.is_empty()).then(|| Columns::of(s, scratch, g, classes))
    }

    /// The distributions of some rows.
    #[inline(always)]
    fn load_targets<S: Simd<T>>(&self, s: S, first: usize, rows: usize, to: &mut Columns<'_, T>) {
        match &self.target {
            Targets::Classes(_) => {}
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
        }
    }

    /// The labels, where rows are so long and so few that each is shared among all threads.
    fn labels_of_long_rows(&self, classes: usize) -> Option<&Classes<'_>> {
        match &self.target {
            Targets::Classes(labels) if long_rows::are_split(labels.rows(), classes) => {
                self.loss.follows_from_sum().then_some(labels)
            }
            _ => None,
        }
    }

    /// The losses of long rows.
    fn long_values(
        &self,
        isa: Isa,
        labels: &Classes<'_>,
        first: usize,
        logits: Rows<'_, T>,
        mut each: Option<&mut [T]>,
    ) -> f64 {
        let mut total = 0.0;
        for i in 0..logits.rows() {
            let (weight, row) = (self.sample_weight(first + i), logits.row(i));
            let Some(class) = labels.get(first + i).filter(|_| weight != 0.0) else {
                continue;
            };
            let loss = weight * self.loss.of_sum(long_rows::sum(isa, row), class, row[class]).loss;
            if let Some(each) = &mut each {
                each[i] = T::from_f64(loss);
            }
            total += loss;
        }
        total
    }

    /// The losses and gradients of long rows.
    fn long_grads(
        &self,
        isa: Isa,
        labels: &Classes<'_>,
        first: usize,
        mut rows: RowsIo<'_, T>,
        divisor: f64,
        mut each: Option<&mut [T]>,
    ) -> f64 {
        let mut total = 0.0;
        for i in 0..rows.rows() {
            let (weight, source) = (self.sample_weight(first + i), rows.apart().map(|rows| rows.row(i)));
            let grad = target_row(&mut rows, i);
            let Some(class) = labels.get(first + i).filter(|_| weight != 0.0) else {
                grad.fill(T::ZERO);
                continue;
            };
            let (logit, scale) = (source.unwrap_or(grad)[class], weight / divisor);
            let (sum, parts) = long_rows::keep(isa, source, grad);
            let row = self.loss.of_sum(sum, class, logit);
            if row.others == 0.0 {
                grad.fill(T::ZERO);
                continue;
            }
            long_rows::finish(isa, grad, &parts, sum, scale * row.others);
            grad[class] = T::from_f64(scale * row.own);
            if let Some(each) = &mut each {
                each[i] = T::from_f64(weight * row.loss);
            }
            total += weight * row.loss;
        }
        total
    }

    #[inline(always)]
    fn sample_weight(&self, row: usize) -> f64 {
        self.sample_weight.map_or(1.0, |weights| weights[row].to_f64())
    }
}

impl<T: Real, L: RowLoss<T>> Problem<T> for RowProblem<'_, T, L> {
    fn check(&self, rows: usize, classes: usize) -> Result<()> {
        let (expected, got) = match self.target {
            Targets::Classes(labels) => (vec![rows], vec![labels.rows()]),
            Targets::Distributions(target) => (vec![rows, classes], vec![target.rows(), target.classes()]),
            Targets::Sparse(target) => (vec![rows, target.pairs()], vec![target.rows(), target.pairs()]),
        };
        if expected != got {
            return Err(Error::Shape { name: "target", expected, got });
        }
        self.sample_weight.map_or(Ok(()), |weights| check_weights("sample_weight", weights, &[rows]))
    }

    fn has_domain(&self) -> bool {
        self.loss.has_domain()
    }

    fn check_logits(&self, isa: Isa, first: usize, logits: Rows<'_, T>) -> Result<()> {
        T::dispatch(isa, RowDomain { problem: self, first, logits })
    }

    fn splits_rows(&self, classes: usize) -> bool {
        self.labels_of_long_rows(classes).is_some()
    }

    fn losses_per_row(&self, _: usize) -> usize {
        1
    }

    fn divisor(&self, isa: Isa, rows: usize, classes: usize) -> f64 {
        if let (Targets::Classes(labels), None, true) =
            (&self.target, self.sample_weight, self.loss.classes_are_equal())
        {
            return labels.count() as f64;
        }
        let size = parallel::block_rows(classes);
        let elements = match self.target {
            Targets::Classes(_) => rows,
            Targets::Distributions(_) => rows * classes,
            Targets::Sparse(sparse) => rows * sparse.pairs(),
        };
        let blocks = (0..rows.div_ceil(size)).map(|b| b * size..rows.min((b + 1) * size));
        parallel::sum(blocks, elements, |rows| T::dispatch(isa, RowWeights { problem: self, rows }))
    }

    fn value(&self, isa: Isa, first: usize, logits: Rows<'_, T>, each: Option<&mut [T]>) -> f64 {
        if let Some(labels) = self.labels_of_long_rows(logits.classes()) {
            return self.long_values(isa, labels, first, logits, each);
        }
        T::with_scratch(self.scratch_len(logits.classes(), 0), |scratch| {
            T::dispatch(isa, RowValues { problem: self, first, logits, scratch, each })
        })
    }

    fn value_and_grad(&self, isa: Isa, first: usize, rows: RowsIo<'_, T>, divisor: f64, each: Option<&mut [T]>) -> f64 {
        if let Some(labels) = self.labels_of_long_rows(rows.classes()) {
            return self.long_grads(isa, labels, first, rows, divisor, each);
        }
        let len = self.scratch_len(rows.classes(), rows.scratch_len());
        T::with_scratch(len, |scratch| {
            T::dispatch(isa, RowGrads { problem: self, first, rows, scratch, divisor, each })
        })
    }
}

impl<T: Real, L: CurvedRowLoss<T>> CurvedProblem<T> for RowProblem<'_, T, L> {
    fn value_grad_hess(
        &self,
        isa: Isa,
        first: usize,
        rows: RowsIo<'_, T>,
        hess: &mut [T],
        divisor: f64,
        each: Option<&mut [T]>,
    ) -> f64 {
        // The Hessian first: the gradient may be written over the logits.
        T::with_scratch(Scratch::len(self, rows.classes(), 0), |scratch| {
            T::dispatch(isa, RowHesses { problem: self, first, logits: rows.source(), scratch, hess, divisor });
        });
        self.value_and_grad(isa, first, rows, divisor, each)
    }
}

/// The weights of a block of rows, for the divisor; a row whose target is NaN counts as one whose target sums to 1.
struct RowWeights<'k, 'a, T, L> {
    problem: &'k RowProblem<'a, T, L>,
    rows: Range<usize>,
}

impl<T: Real, L: RowLoss<T>> Kernel<T> for RowWeights<'_, '_, T, L> {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) -> f64 {
        let RowWeights { problem, rows } = self;
        let mut total = 0.0;
        for row in rows {
            if let Some(target) = problem.target(row) {
                let weight = problem.loss.weight(s, target);
                total += problem.sample_weight(row) * if weight.is_nan() { 1.0 } else { weight };
            }
        }
        total
    }
}

/// Whether a block of rows that count lies in the domain of the loss: probabilities.
struct RowDomain<'k, 'a, T, L> {
    problem: &'k RowProblem<'a, T, L>,
    first: usize,
    logits: Rows<'k, T>,
}

impl<T: Real, L: RowLoss<T>> Kernel<T> for RowDomain<'_, '_, T, L> {
    type Output = Result<()>;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) -> Result<()> {
        let RowDomain { problem, first, logits } = self;
        for i in 0..logits.rows() {
            if let Some(target) = problem.target(first + i)
                && problem.sample_weight(first + i) != 0.0
                && let Some(k) = problem.loss.outside(s, logits.row(i), target)
            {
                let (got, index) = (logits.row(i)[k].to_f64(), (first + i) * logits.classes() + k);
                return Err(Error::Value { name: "p", expected: "in [0, 1]", got, index });
            }
        }
        Ok(())
    }
}

/// The losses of a block of rows.
struct RowValues<'k, 'a, T, L> {
    problem: &'k RowProblem<'a, T, L>,
    first: usize,
    logits: Rows<'k, T>,
    scratch: &'k mut [T],
    each: Option<&'k mut [T]>,
}

impl<T: Real, L: RowLoss<T>> Kernel<T> for RowValues<'_, '_, T, L> {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) -> f64 {
        let RowValues { problem, first, logits, scratch, mut each } = self;
        let (rows, classes, map) = (logits.rows(), logits.classes(), problem.loss.logit_map());
        let mut total = Total::new();
        // Few classes: as many rows at once as there are lanes.
        if problem.goes_across(classes) {
            let mut groups = [Group::none(s); GROUPS];
            let (scratch, weights) = scratch.split_at_mut(columns::scratch_len(classes));
            for start in (0..rows).step_by(GROUPS * S::LANES) {
                let starts = (start..rows).step_by(S::LANES);
                // 1. sums of exponentials
                for (group, i) in groups.iter_mut().zip(starts.clone()) {
                    let (logits, stride) = logits.from(i);
                    let (mut columns, count) = (Columns::of(s, scratch, 0, classes), S::LANES.min(rows - i));
                    columns.load(s, logits, stride, count);
                    if !map.is_identity() {
                        map.cool(s, columns.lanes());
                    }
                    let weights = problem.weights(s, weights, 0, classes);
                    *group = problem.group(s, first + i, count, &mut columns, weights);
                }
                // 2. losses
                for (group, i) in groups.iter().zip(starts) {
                    let losses = problem.loss.value_across(s, group);
                    if let Some(each) = &mut each {
                        write(s, losses, each, i);
                    }
                    total.add_register(s, losses);
                }
            }
            return total.sum();
        }
        // Many: one by one.
        let scratch = Scratch::of(problem, classes, 0, scratch);
        for i in 0..rows {
            let weight = problem.sample_weight(first + i);
            let loss = match problem.target(first + i) {
                Some(target) if weight != 0.0 => {
                    let target = densified(target, scratch.dense);
                    let mut row = logits.row(i);
                    if !map.is_identity() {
                        map.row(s, row, scratch.mapped);
                        row = scratch.mapped;
                    }
                    weight * problem.loss.value(s, row, target)
                }
                _ => 0.0,
            };
            if let Some(each) = &mut each {
                each[i] = T::from_f64(loss);
            }
            total.add(loss);
        }
        total.sum()
    }
}

/// The losses and gradients of a block of rows.
struct RowGrads<'k, 'a, T, L> {
    problem: &'k RowProblem<'a, T, L>,
    first: usize,
    rows: RowsIo<'k, T>,
    scratch: &'k mut [T],
    divisor: f64,
    each: Option<&'k mut [T]>,
}

impl<T: Real, L: RowLoss<T>> Kernel<T> for RowGrads<'_, '_, T, L> {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) -> f64 {
        let RowGrads { problem, first, mut rows, scratch, divisor, mut each } = self;
        let (count, classes, map) = (rows.rows(), rows.classes(), problem.loss.logit_map());
        let divisor = divisor * map.temperature();
        let mut total = Total::new();
        // Few classes: as many rows at once as there are lanes.
        if problem.goes_across(classes) {
            let (divisor, mut groups) = (T::from_f64(divisor), [Group::none(s); GROUPS]);
            let (scratch, weights) = scratch.split_at_mut(columns::scratch_len(classes));
            for start in (0..count).step_by(GROUPS * S::LANES) {
                let starts = (start..count).step_by(S::LANES);
                // 1. exponentials, kept, and their sums
                for (g, (group, i)) in groups.iter_mut().zip(starts.clone()).enumerate() {
                    let (logits, stride) = rows.from(i);
                    let (mut columns, count) = (Columns::of(s, scratch, g, classes), S::LANES.min(count - i));
                    columns.load(s, logits, stride, count);
                    if !map.is_identity() {
                        map.cool(s, columns.lanes());
                    }
                    let weights = problem.weights(s, weights, g, classes);
                    *group = problem.group(s, first + i, count, &mut columns, weights);
                }
                // 2. losses and gradients
                for (g, (group, i)) in groups.iter().zip(starts).enumerate() {
                    let mut columns = Columns::of(s, scratch, g, classes);
                    let grad = &mut rows.target()[i * classes..];
                    let weights = problem.weights(s, weights, g, classes);
                    let losses = problem.loss.value_and_grad_across(s, &mut columns, weights, group, divisor, grad);
                    if let Some(each) = &mut each {
                        write(s, losses, each, i);
                    }
                    total.add_register(s, losses);
                }
            }
            return total.sum();
        }
        // Many: one by one.
        let streams = rows.scratch_len();
        let scratch = Scratch::of(problem, classes, streams, scratch);
        for i in 0..count {
            let weight = problem.sample_weight(first + i);
            let Some(target) = problem.target(first + i).filter(|_| weight != 0.0) else {
                target_row(&mut rows, i).fill(T::ZERO);
                continue;
            };
            let (target, scale) = (densified(target, scratch.dense), weight / divisor);
            // 1. The logits, mapped, where there is a map. A softcap's slopes are kept, and the gradient stays in scratch.
            let capped = map.has_softcap();
            if !map.is_identity() {
                let row = rows.row(i, scratch.streamed);
                map.row(s, row.source(), scratch.mapped);
                if capped {
                    map.slopes(s, row.source(), scratch.slopes);
                }
            }
            let mut row = match (map.is_identity(), capped, streams > 0) {
                (true, _, _) => rows.row(i, scratch.streamed),
                (_, true, _) => RowIo::in_place(scratch.mapped),
                (_, _, true) => RowIo::streaming(scratch.mapped, target_row(&mut rows, i), scratch.streamed),
                (_, _, false) => RowIo::new(scratch.mapped, target_row(&mut rows, i)),
            };
            // 2. loss and gradient
            let loss = weight * problem.loss.value_and_grad(s, &mut row, target, scale);
            // 3. the gradient of what came before the softcap
            if capped {
                let (slopes, grad) = (&*scratch.slopes, target_row(&mut rows, i));
                if streams > 0 {
                    times(s, slopes, &mut RowIo::in_place(scratch.mapped));
                    RowIo::streaming(slopes, grad, scratch.mapped).finish(
                        s,
                        #[inline(always)]
                        |g| g,
                    );
                } else {
                    times(s, slopes, &mut RowIo::new(scratch.mapped, grad));
                }
            }
            if let Some(each) = &mut each {
                each[i] = T::from_f64(loss);
            }
            total.add(loss);
        }
        total.sum()
    }
}

/// The diagonals of the Hessians of a block of rows.
struct RowHesses<'k, 'a, T, L> {
    problem: &'k RowProblem<'a, T, L>,
    first: usize,
    logits: Rows<'k, T>,
    scratch: &'k mut [T],
    hess: &'k mut [T],
    divisor: f64,
}

impl<T: Real, L: CurvedRowLoss<T>> Kernel<T> for RowHesses<'_, '_, T, L> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        let RowHesses { problem, first, logits, scratch, hess, divisor } = self;
        let (classes, map) = (logits.classes(), problem.loss.logit_map());
        let scratch = Scratch::of(problem, classes, 0, scratch);
        for i in 0..logits.rows() {
            let weight = problem.sample_weight(first + i);
            let hess = &mut hess[i * classes..][..classes];
            match problem.target(first + i) {
                Some(target) if weight != 0.0 => {
                    let (target, scale) =
                        (densified(target, scratch.dense), weight / (divisor * map.temperature().powi(2)));
                    let logits = if map.is_identity() {
                        logits.row(i)
                    } else {
                        map.row(s, logits.row(i), scratch.mapped);
                        &*scratch.mapped
                    };
                    problem.loss.hess(s, logits, target, scale, hess);
                }
                _ => hess.fill(T::ZERO),
            }
        }
    }
}

/// The place of the gradient of a row.
#[inline(always)]
fn target_row<'r, T: Real>(rows: &'r mut RowsIo<'_, T>, i: usize) -> &'r mut [T] {
    let classes = rows.classes();
    &mut rows.target()[i * classes..][..classes]
}

/// Multiplies a row by factors.
#[inline(always)]
fn times<T: Real, S: Simd<T>>(s: S, factors: &[T], row: &mut RowIo<'_, T>) {
    row.map(
        s,
        T::ZERO,
        #[inline(always)]
        |k, x| x * read(s, factors, k, T::ZERO),
    );
}

/// What rows that are taken one by one need beside them; what is not needed has no length.
struct Scratch<'k, T> {
    /// The logits, mapped.
    mapped: &'k mut [T],
    /// The slope of the map at each.
    slopes: &'k mut [T],
    /// See [`RowIo::streaming`].
    streamed: &'k mut [T],
    /// A sparse target, made dense.
    dense: &'k mut [T],
}

impl<'k, T: Real> Scratch<'k, T> {
    fn lens<L: RowLoss<T>>(problem: &RowProblem<'_, T, L>, classes: usize, streams: usize) -> [usize; 4] {
        let (map, sparse) = (problem.loss.logit_map(), matches!(problem.target, Targets::Sparse(_)));
        let row = |wanted| if wanted { classes } else { 0 };
        [row(!map.is_identity()), row(map.has_softcap()), streams, row(sparse && problem.loss.wants_dense_targets())]
    }

    fn len<L: RowLoss<T>>(problem: &RowProblem<'_, T, L>, classes: usize, streams: usize) -> usize {
        Self::lens(problem, classes, streams).into_iter().sum()
    }

    fn of<L: RowLoss<T>>(problem: &RowProblem<'_, T, L>, classes: usize, streams: usize, scratch: &'k mut [T]) -> Self {
        let [mapped, slopes, streamed, _] = Self::lens(problem, classes, streams);
        let (mapped, scratch) = scratch.split_at_mut(mapped);
        let (slopes, scratch) = scratch.split_at_mut(slopes);
        let (streamed, dense) = scratch.split_at_mut(streamed);
        Scratch { mapped, slopes, streamed, dense }
    }
}

/// A sparse target as a distribution over all classes, where there is place for one.
fn densified<'t, T: Real>(target: RowTarget<'t, T>, dense: &'t mut [T]) -> RowTarget<'t, T> {
    match target {
        RowTarget::Sparse(pairs) if !dense.is_empty() => {
            dense.fill(T::ZERO);
            add_pairs(pairs, dense);
            RowTarget::Distribution(dense)
        }
        other => other,
    }
}

fn add_pairs<T: Real>(pairs: Pairs<'_, T>, dense: &mut [T]) {
    for pair in 0..pairs.len() {
        if let Some((class, t)) = pairs.get(pair) {
            dense[class] = dense[class] + T::from_f64(t);
        }
    }
}

/// A sum of losses, single ones and registers of them, in double precision.
struct Total {
    lanes: [f64; MAX_LANES],
}

impl Total {
    #[inline(always)]
    fn new() -> Self {
        Total { lanes: [0.0; MAX_LANES] }
    }

    #[inline(always)]
    fn add(&mut self, loss: f64) {
        self.lanes[0] += loss;
    }

    #[inline(always)]
    fn add_register<T: Real, S: Simd<T>>(&mut self, s: S, losses: S::V) {
        let mut lanes = [T::ZERO; MAX_LANES];
        s.store(losses, &mut lanes[..S::LANES]);
        for (sum, loss) in self.lanes.iter_mut().zip(lanes) {
            *sum += loss.to_f64();
        }
    }

    #[inline(always)]
    fn sum(self) -> f64 {
        self.lanes.into_iter().fold(0.0, |sum, lane| sum + lane)
    }
}
