//! The softmax family: one target per row.

mod by_column;
mod by_group;
mod by_lane;
mod by_row;
mod long;
mod path;

use super::{ColumnBlock, Curvature, CurvedObjective, GradScale, HessScale, Objective, SummedRows};
use crate::error::{Error, Result};
use crate::losses::{CurvedRowLoss, Domain, OfSum, RowLoss, RowTarget, total_weight};
use crate::math::Real;
use crate::parallel;
use crate::rows::RowSum;
use crate::simd::{Isa, Kernel, Lanes, RowIo, Simd, inlined};
use crate::sparse::Sparse;
use crate::storage::StoredRows;
use crate::tile;
use crate::view::{Classes, Rows, RowsIo, check_weights};
use by_group::{GroupGrads, GroupHesses, GroupValues};
use by_lane::{LaneBlock, LaneGrads, LaneHesses, LaneTargets, LaneValues, LaneWeights, OfClasses, OfDistributions};
use by_row::{RowGrads, RowHesses, RowValues, Scratch};
use path::Path;
use std::ops::Range;

/// The targets of rows of logits.
#[derive(Clone, Copy, Debug)]
pub enum Targets<'a, T> {
    /// One class per row.
    Classes(Classes<'a>),
    /// One distribution per row.
    Distributions(Rows<'a, T>),
    /// One distribution over few classes per row.
    Sparse(Sparse<'a, T>),
    /// One distribution per row, in half precision.
    Stored(StoredRows<'a, T>),
}

/// A loss of the softmax family, with targets and weights.
#[derive(Clone, Copy, Debug)]
pub struct RowObjective<'a, T, L> {
    /// The loss of a row.
    pub loss: L,
    /// One target per row.
    pub target: Targets<'a, T>,
    /// One weight per row; all 1 if absent.
    pub sample_weight: Option<&'a [T]>,
}

impl<T: Real> Targets<'_, T> {
    /// The target of a row; `None` if it is ignored.
    #[inline(always)]
    fn row(&self, row: usize) -> Option<RowTarget<'_, T>> {
        match self {
            Targets::Classes(classes) => classes.get(row).map(RowTarget::Class),
            Targets::Distributions(rows) => Some(RowTarget::Distribution(rows.row(row))),
            Targets::Sparse(sparse) => Some(RowTarget::Sparse(sparse.row(row))),
            Targets::Stored(_) => unreachable!("a block of them is widened first"),
        }
    }
}

impl<T: Real, L: RowLoss<T>> RowObjective<'_, T, L> {
    #[inline(always)]
    fn target(&self, row: usize) -> Option<RowTarget<'_, T>> {
        self.target.row(row)
    }

    #[inline(always)]
    fn sample_weight(&self, row: usize) -> f64 {
        self.sample_weight.map_or(1.0, |weights| weights[row].to_f64())
    }
}

impl<T: Real, L: RowLoss<T> + Clone> RowObjective<'_, T, L> {
    /// Calls `f` with the objective of a block of rows, whose targets are widened. The block starts at row `first`.
    #[cold]
    fn block<R>(
        &self,
        stored: StoredRows<'_, T>,
        isa: Isa,
        first: usize,
        rows: usize,
        f: impl FnOnce(RowObjective<'_, T, L>) -> R,
    ) -> R {
        stored.part(first, rows).widened(isa, |target| {
            f(RowObjective {
                loss: self.loss.clone(),
                target: Targets::Distributions(target),
                sample_weight: self.sample_weight.map(|weights| &weights[first..first + rows]),
            })
        })
    }
}

impl<T: Real, L: RowLoss<T> + Clone> Objective<T> for RowObjective<'_, T, L> {
    fn check(&self, rows: usize, classes: usize) -> Result<()> {
        let (expected, got) = match self.target {
            Targets::Classes(labels) => (vec![rows], vec![labels.rows()]),
            Targets::Distributions(target) => (vec![rows, classes], vec![target.rows(), target.columns()]),
            Targets::Sparse(target) => (vec![rows, target.pairs()], vec![target.rows(), target.pairs()]),
            Targets::Stored(target) => (vec![rows, classes], vec![target.rows(), target.columns()]),
        };
        if expected != got {
            return Err(Error::Shape { name: "target", expected, got });
        }
        let shape = [rows, classes];
        match self.target {
            Targets::Classes(labels) => labels.check_fit("logits", &shape)?,
            Targets::Sparse(target) => target.check_fit("logits", &shape)?,
            Targets::Distributions(_) | Targets::Stored(_) => {}
        }
        if let Some(of_loss) = self.loss.classes().filter(|&of_loss| of_loss != classes) {
            return Err(Error::Shape { name: "logits", expected: vec![rows, of_loss], got: shape.to_vec() });
        }
        self.sample_weight.map_or(Ok(()), |weights| check_weights("sample_weight", weights, &[rows]))
    }

    fn has_domain(&self) -> bool {
        L::INPUTS.1 != Domain::Reals
    }

    fn check_logits(&self, isa: Isa, first: usize, logits: Rows<'_, T>) -> Result<()> {
        if let Targets::Stored(stored) = self.target {
            let before = first * logits.columns();
            return self
                .block(stored, isa, first, logits.rows(), |objective| objective.check_logits(isa, 0, logits))
                .map_err(|error| error.moved(before));
        }
        T::dispatch(isa, RowDomain { objective: self, first, logits })
    }

    fn splits_rows(&self, classes: usize) -> bool {
        matches!(self.path(classes), Path::Split { .. })
    }

    fn counts(&self, _: Isa, row: usize, _: usize) -> bool {
        let has_target = matches!(self.target, Targets::Stored(_)) || self.target(row).is_some();
        has_target && self.sample_weight(row) != 0.0
    }

    fn losses_per_row(&self, _: usize) -> usize {
        1
    }

    fn divisor(&self, isa: Isa, rows: usize, classes: usize) -> f64 {
        if let (Targets::Classes(labels), None, true) =
            (&self.target, self.sample_weight, self.loss.class_weight().is_none())
        {
            return labels.count() as f64;
        }
        if L::COUNTS_ROWS {
            let counts = |row: &usize| match self.target(*row) {
                Some(RowTarget::Sparse(pairs)) => (0..pairs.len()).any(|pair| pairs.get(pair).is_some()),
                target => target.is_some(),
            };
            return (0..rows).filter(counts).fold(0.0, |sum, row| sum + self.sample_weight(row));
        }
        let size = parallel::block_rows(classes);
        let elements = match self.target {
            Targets::Classes(_) => rows,
            Targets::Distributions(_) | Targets::Stored(_) => rows * classes,
            Targets::Sparse(sparse) => rows * sparse.pairs(),
        };
        let blocks = (0..rows.div_ceil(size)).map(|b| b * size..rows.min((b + 1) * size));
        let scratch = if tile::are_few(classes) { tile::scratch_len(classes) } else { 0 };
        let RowObjective { target, sample_weight, .. } = *self;
        let class_weight = self.loss.class_weight();
        parallel::sum(blocks, elements, |rows| match target {
            Targets::Stored(stored) => {
                let count = rows.len();
                self.block(stored, isa, rows.start, count, |objective| objective.divisor(isa, count, classes))
            }
            _ => T::with_scratch(scratch, |scratch| {
                T::dispatch(isa, RowWeights { target, class_weight, sample_weight, rows, scratch })
            }),
        })
    }

    fn summed(&self) -> Option<&dyn SummedRows<T>> {
        (matches!(self.target, Targets::Classes(_)) && self.loss.by_sum().is_some()).then_some(self)
    }

    fn value(&self, isa: Isa, first: usize, logits: Rows<'_, T>, each: Option<&mut [T]>) -> f64 {
        if let Targets::Stored(stored) = self.target {
            return self.block(stored, isa, first, logits.rows(), |objective| objective.value(isa, 0, logits, each));
        }
        let map = self.loss.logit_map();
        match self.path(logits.columns()) {
            Path::Split { labels, loss } => self.long_values(isa, (labels, loss), first, logits, each),
            Path::ByLane(loss) => self.lane_values(isa, OfClasses(self, loss), first, logits, each),
            Path::SoftByLane(loss) => self.lane_values(isa, OfDistributions(self, loss), first, logits, each),
            Path::ByGroup(loss) => T::with_scratch(by_group::value_scratch_len(map), |scratch| {
                T::dispatch(isa, GroupValues { objective: self, loss, first, logits, scratch, each })
            }),
            Path::ByRow => T::with_scratch(Scratch::len(self, logits.columns(), 0), |scratch| {
                T::dispatch(isa, RowValues { objective: self, first, logits, scratch, each })
            }),
        }
    }

    fn value_and_grad(
        &self,
        isa: Isa,
        first: usize,
        rows: RowsIo<'_, T>,
        scale: GradScale<'_, T>,
        each: Option<&mut [T]>,
    ) -> f64 {
        if let Targets::Stored(stored) = self.target {
            let count = rows.rows();
            let scale = scale.part(first, count);
            return self
                .block(stored, isa, first, count, |objective| objective.value_and_grad(isa, 0, rows, scale, each));
        }
        let map = self.loss.logit_map();
        match self.path(rows.columns()) {
            Path::Split { labels, loss } => self.long_grads(isa, (labels, loss), first, rows, scale, each),
            Path::ByLane(loss) => self.lane_grads(isa, OfClasses(self, loss), first, rows, scale, each),
            Path::SoftByLane(loss) => self.lane_grads(isa, OfDistributions(self, loss), first, rows, scale, each),
            Path::ByGroup(loss) => T::with_scratch(by_group::grad_scratch_len(map), |scratch| {
                T::dispatch(isa, GroupGrads { objective: self, loss, first, rows, scratch, scale, each })
            }),
            Path::ByRow => T::with_scratch(Scratch::len(self, rows.columns(), rows.scratch_len()), |scratch| {
                T::dispatch(isa, RowGrads { objective: self, first, rows, scratch, scale, each })
            }),
        }
    }
}

impl<'a, T: Real, L: RowLoss<T>> RowObjective<'a, T, L> {
    fn lane_values<G: LaneTargets<T>>(
        &self,
        isa: Isa,
        targets: G,
        first: usize,
        logits: Rows<'_, T>,
        each: Option<&mut [T]>,
    ) -> f64 {
        let map = self.loss.logit_map();
        T::with_scratch(LaneBlock::<T, G>::scratch_len(map, logits.columns()), |scratch| {
            T::dispatch(isa, LaneValues { block: LaneBlock { targets, first, map, scratch, each }, logits })
        })
    }

    fn lane_grads<G: LaneTargets<T>>(
        &self,
        isa: Isa,
        targets: G,
        first: usize,
        rows: RowsIo<'_, T>,
        scale: GradScale<'_, T>,
        each: Option<&mut [T]>,
    ) -> f64 {
        let map = self.loss.logit_map();
        T::with_scratch(LaneBlock::<T, G>::scratch_len(map, rows.columns()), |scratch| {
            T::dispatch(isa, LaneGrads { block: LaneBlock { targets, first, map, scratch, each }, rows, scale })
        })
    }
}

impl<T: Real, L: RowLoss<T>> SummedRows<T> for RowObjective<'_, T, L> {
    fn class(&self, row: usize) -> Option<usize> {
        match self.target(row) {
            Some(RowTarget::Class(class)) if self.sample_weight(row) != 0.0 => Some(class),
            _ => None,
        }
    }

    fn of_sum(&self, row: usize, sum: RowSum<T>, class: usize, logit: T) -> OfSum {
        let Some(loss) = self.loss.by_sum() else {
            unreachable!("`summed` gives these rows only where the loss follows from sums");
        };
        let (weight, OfSum { loss, others, label }) = (self.sample_weight(row), loss.of_sum(sum, class, logit));
        OfSum { loss: weight * loss, others: weight * others, label: weight * label }
    }
}

impl<T: Real, L: CurvedRowLoss<T> + Clone> CurvedObjective<T> for RowObjective<'_, T, L> {
    fn value_grad_hess(
        &self,
        isa: Isa,
        first: usize,
        rows: RowsIo<'_, T>,
        (hess, hess_scale): (&mut [T], HessScale),
        scale: GradScale<'_, T>,
        each: Option<&mut [T]>,
    ) -> f64 {
        if let Targets::Stored(stored) = self.target {
            let (count, scale) = (rows.rows(), scale.part(first, rows.rows()));
            return self.block(stored, isa, first, count, |objective| {
                objective.value_grad_hess(isa, 0, rows, (hess, hess_scale), scale, each)
            });
        }
        let scale_of_hess = hess_scale;
        // The Hessian comes first: the gradient may overwrite the logits.
        let (map, logits) = (self.loss.logit_map(), rows.source());
        match self.path(rows.columns()) {
            Path::ByLane(loss) => {
                let targets = OfClasses(self, loss);
                T::with_scratch(LaneBlock::<T, OfClasses<'_, '_, T, L>>::scratch_len(map, rows.columns()), |scratch| {
                    let block = LaneBlock { targets, first, map, scratch, each: None };
                    T::dispatch(isa, LaneHesses { block, logits, hess, scale: scale_of_hess });
                });
            }
            Path::ByGroup(loss) => {
                T::dispatch(isa, GroupHesses { objective: self, loss, first, logits, hess, scale: scale_of_hess });
            }
            _ => T::with_scratch(Scratch::len(self, rows.columns(), 0), |scratch| {
                T::dispatch(isa, RowHesses { objective: self, first, logits, scratch, hess, scale: scale_of_hess });
            }),
        }
        self.value_and_grad(isa, first, rows, scale, each)
    }

    fn goes_by_column(&self, classes: usize, hess: Option<Curvature>) -> bool {
        let has_hess = L::HAS_SOFT_HESS || hess.is_none_or(|hess| hess == Curvature::Gradient);
        match self.path(classes) {
            _ if matches!(self.target, Targets::Stored(_)) => false,
            Path::ByLane(_) => true,
            Path::SoftByLane(_) => has_hess,
            _ => false,
        }
    }

    fn by_column(
        &self,
        isa: Isa,
        first: usize,
        block: ColumnBlock<'_, T>,
        scale: GradScale<'_, T>,
        each: Option<&mut [T]>,
    ) -> f64 {
        match self.path(block.logits.classes()) {
            Path::ByLane(loss) => self.column_block(isa, OfClasses(self, loss), first, block, scale, each),
            Path::SoftByLane(loss) => self.column_block(isa, OfDistributions(self, loss), first, block, scale, each),
            _ => unreachable!("`goes_by_column` has been asked"),
        }
    }

    fn raise(&self, isa: Isa, first: usize, classes: usize, hess: &mut [T], least: T) {
        if classes == 0 {
            return;
        }
        if let Targets::Stored(stored) = self.target {
            let count = hess.len() / classes;
            return self.block(stored, isa, first, count, |objective| objective.raise(isa, 0, classes, hess, least));
        }
        T::dispatch(isa, Raise { objective: self, first, classes, hess, least });
    }
}

/// Raises the diagonals of the Hessians of a block of rows, but for rows without weight.
struct Raise<'k, 'a, T, L> {
    objective: &'k RowObjective<'a, T, L>,
    first: usize,
    classes: usize,
    hess: &'k mut [T],
    least: T,
}

impl<T: Real, L: CurvedRowLoss<T>> Kernel<T> for Raise<'_, '_, T, L> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        let Raise { objective, first, classes, hess, least } = self;
        let least = s.splat(least);
        for (i, hess) in hess.chunks_exact_mut(classes).enumerate() {
            let counts = |target| objective.loss.counts(s, target);
            if objective.sample_weight(first + i) != 0.0 && objective.target(first + i).is_some_and(counts) {
                // `max` keeps a NaN on its right side.
                RowIo::in_place(hess).map(s, T::ZERO, inlined!(|_, h| least.max(h)));
            }
        }
    }
}

/// The weights of a block of rows, for the divisor; a row whose target contains NaN counts as if its target summed to
/// 1.
struct RowWeights<'k, T> {
    target: Targets<'k, T>,
    class_weight: Option<&'k [T]>,
    sample_weight: Option<&'k [T]>,
    rows: Range<usize>,
    /// Space for tiles of the targets, if these have few classes.
    scratch: &'k mut [T],
}

impl<T: Real> Kernel<T> for RowWeights<'_, T> {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) -> f64 {
        let RowWeights { target, class_weight, sample_weight, rows, scratch } = self;
        // The only work is a sum, so transposing is faster only if a row is at most two registers long.
        if let Targets::Distributions(targets) = target
            && (1..=2 * S::LANES).contains(&targets.columns())
        {
            let sample_weight = sample_weight.map(inlined!(|weights| &weights[rows.clone()]));
            let targets = targets.part(rows.start, rows.len());
            return LaneWeights { targets, class_weight, sample_weight, scratch }.run(s);
        }
        let mut total = 0.0;
        for row in rows {
            if let Some(target) = target.row(row) {
                let weight = total_weight(s, target, class_weight);
                let sample = sample_weight.map_or(1.0, |weights| weights[row].to_f64());
                total += sample * if weight.is_nan() { 1.0 } else { weight };
            }
        }
        total
    }
}

/// Finds the first number outside the domain of the loss, in a block of rows; rows that do not count are skipped.
struct RowDomain<'k, 'a, T, L> {
    objective: &'k RowObjective<'a, T, L>,
    first: usize,
    logits: Rows<'k, T>,
}

impl<T: Real, L: RowLoss<T>> Kernel<T> for RowDomain<'_, '_, T, L> {
    type Output = Result<()>;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) -> Result<()> {
        let RowDomain { objective, first, logits } = self;
        let (name, domain) = L::INPUTS;
        // With distributions the loss reads all numbers. Which rows count matters only if a number is outside the
        // domain.
        if matches!(objective.target, Targets::Distributions(_))
            && logits.is_flat()
            && domain.first_outside(s, None, logits.flat()).is_none()
        {
            return Ok(());
        }
        for i in 0..logits.rows() {
            let row = logits.row(i);
            let outside = match objective.target(first + i).filter(|_| objective.sample_weight(first + i) != 0.0) {
                None => None,
                Some(RowTarget::Class(y)) => domain.first_outside(s, None, &row[y..=y]).map(|_| y),
                Some(RowTarget::Distribution(_)) => domain.first_outside(s, None, row),
                Some(RowTarget::Sparse(pairs)) => (0..pairs.len())
                    .filter_map(|pair| pairs.get(pair))
                    .find_map(|(y, _)| domain.first_outside(s, None, &row[y..=y]).map(|_| y)),
            };
            if let Some(k) = outside {
                let (got, index) = (row[k].to_f64(), (first + i) * logits.columns() + k);
                return Err(Error::Value { name, expected: domain.expected(false), got, index });
            }
        }
        Ok(())
    }
}

/// The place of the gradient of a row.
#[inline(always)]
fn target_row<'r, T: Real>(rows: &'r mut RowsIo<'_, T>, i: usize) -> &'r mut [T] {
    let classes = rows.columns();
    &mut rows.target()[i * classes..][..classes]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::losses::CategoricalCrossEntropy;
    use crate::simd::Float;
    use crate::view::Labels;

    /// The index of the first number of a row that the loss reads and that is not a probability.
    fn outside(isa: Isa, p: &[f64], target: Targets<'_, f64>) -> Option<usize> {
        let loss = CategoricalCrossEntropy::new(p.len(), None, 0.0).unwrap();
        let objective = RowObjective { loss, target, sample_weight: None };
        match f64::dispatch(isa, RowDomain { objective: &objective, first: 0, logits: Rows::packed(p, 1, p.len()) }) {
            Err(Error::Value { name: "p", index, .. }) => Some(index),
            Err(other) => panic!("{other}"),
            Ok(()) => None,
        }
    }

    #[test]
    fn a_number_outside_the_domain_is_found_if_the_loss_reads_it() {
        let (p, t) = ([0.5, -0.0, 1.0, f64::NAN, 1.5, -0.1], [0.2; 6]);
        for isa in Isa::available() {
            assert_eq!(outside(isa, &p, Targets::Distributions(Rows::packed(&t, 1, 6))), Some(4));
            for y in 0..6 {
                let (label, wrong) = ([y as i64], (y > 3).then_some(y));
                let classes = Classes::new(Labels::I64(&label), 6, None).unwrap();
                assert_eq!(outside(isa, &p, Targets::Classes(classes)), wrong, "{} class {y}", isa.name());
                let pairs = Sparse::new(Labels::I64(&label), Rows::packed(&t[..1], 1, 1), 6, None).unwrap();
                assert_eq!(outside(isa, &p, Targets::Sparse(pairs)), wrong, "{} pair {y}", isa.name());
            }
        }
    }
}
