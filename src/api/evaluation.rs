//! Evaluation: the statistics of every row, and exact sums over rows.

mod by_group;
mod by_lane;

use crate::error::{Error, Result};
use crate::exact::ExactSum;
use crate::losses::{RowStats, row_stats};
use crate::math::Real;
use crate::memory;
use crate::parallel;
use crate::rows::{LogitMap, Logits, group};
use crate::simd::{Isa, Kernel, Simd};
use crate::storage::{Storage, StoredRows};
use crate::tile;
use crate::view::{Classes, Rows, check_weights};
use by_group::BlockByGroup;
use by_lane::BlockByLane;

/// The result of [`softmax_stats`]; each field has one number per row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SoftmaxStats<T> {
    /// The softmax cross-entropy, not weighted; 0 for a row that does not count.
    pub loss: Vec<T>,
    /// `ln sum_k exp(z_k)`
    pub logsumexp: Vec<T>,
    /// The entropy of the softmax, in nats.
    pub entropy: Vec<T>,
    /// Whether the first largest logit is that of the target; false for an ignored row.
    pub correct: Vec<bool>,
    /// The first class with the largest logit; -1 if no distribution is defined.
    pub argmax: Vec<i64>,
    /// The sample weight; 0 for an ignored row. In double precision: sums of weights must not depend on the type of the
    /// logits.
    pub weight: Vec<f64>,
    /// The largest probability.
    pub confidence: Vec<T>,
}

/// Statistics of the softmax of every row, in one sweep over the logits.
///
/// # Errors
/// [`Error::Shape`] unless there is one class per row and, if there are sample weights, one weight per row;
/// [`Error::Value`] for a weight that is negative or not finite; an unknown `XENTRS_ISA`.
pub fn softmax_stats<S: Storage>(
    logits: Rows<'_, S>,
    target: Classes<'_>,
    sample_weight: Option<&[f64]>,
) -> Result<SoftmaxStats<S::Real>> {
    softmax_stats_of(S::rows(logits), target, sample_weight)
}

fn softmax_stats_of<T: Real>(
    logits: StoredRows<'_, T>,
    target: Classes<'_>,
    sample_weight: Option<&[f64]>,
) -> Result<SoftmaxStats<T>> {
    let (isa, rows, classes) = (Isa::active()?, logits.rows(), logits.columns());
    if target.rows() != rows {
        return Err(Error::Shape { name: "target", expected: vec![rows], got: vec![target.rows()] });
    }
    target.check_fit("logits", &[rows, classes])?;
    sample_weight.map_or(Ok(()), |weights| check_weights("sample_weight", weights, &[rows]))?;
    let mut all = SoftmaxStats::of_rows(rows);
    all.weight = memory::zeros(rows);
    let size = parallel::block_rows(classes);
    let places = all.blocks(size).zip(logits.blocks(size)).enumerate();
    parallel::for_each(places, rows * classes, |(b, (place, logits))| {
        logits.widened(isa, |logits| {
            Block { first: b * size, logits, map: LogitMap::identity(), target, place }.run_on(isa);
        })
    });
    for (row, weight) in all.weight.iter_mut().enumerate() {
        *weight = f64::from(u8::from(target.get(row).is_some()));
    }
    for (i, &sample) in sample_weight.unwrap_or_default().iter().enumerate() {
        all.weight[i] *= sample;
        // A row that does not count has no loss.
        if sample == 0.0 {
            all.loss[i] = T::ZERO;
        }
    }
    Ok(all)
}

/// The places for the statistics of a block of rows.
pub(super) struct Place<'k, T> {
    loss: &'k mut [T],
    logsumexp: &'k mut [T],
    entropy: &'k mut [T],
    confidence: &'k mut [T],
    correct: &'k mut [bool],
    argmax: &'k mut [i64],
}

impl<T: Real> SoftmaxStats<T> {
    /// Places for the statistics of rows, without weights.
    pub(super) fn of_rows(rows: usize) -> Self {
        let numbers = || memory::zeros(rows);
        SoftmaxStats {
            loss: numbers(),
            logsumexp: numbers(),
            entropy: numbers(),
            correct: memory::zeros(rows),
            argmax: memory::zeros(rows),
            weight: Vec::new(),
            confidence: numbers(),
        }
    }
}

impl<T> SoftmaxStats<T> {
    /// The places, as one block.
    pub(super) fn place(&mut self) -> Place<'_, T> {
        let SoftmaxStats { loss, logsumexp, entropy, correct, argmax, confidence, .. } = self;
        Place { loss, logsumexp, entropy, correct, argmax, confidence }
    }

    fn blocks(&mut self, size: usize) -> impl ExactSizeIterator<Item = Place<'_, T>> {
        let numbers = self.loss.chunks_mut(size).zip(self.logsumexp.chunks_mut(size));
        let numbers = numbers.zip(self.entropy.chunks_mut(size).zip(self.confidence.chunks_mut(size)));
        let answers = self.correct.chunks_mut(size).zip(self.argmax.chunks_mut(size));
        numbers.zip(answers).map(|(((loss, logsumexp), (entropy, confidence)), (correct, argmax))| Place {
            loss,
            logsumexp,
            entropy,
            confidence,
            correct,
            argmax,
        })
    }
}

/// The statistics of a block of rows.
pub(super) struct Block<'k, T> {
    pub(super) first: usize,
    pub(super) logits: Rows<'k, T>,
    pub(super) map: LogitMap<'k, T>,
    pub(super) target: Classes<'k>,
    pub(super) place: Place<'k, T>,
}

impl<T: Real> Block<'_, T> {
    /// Computes the statistics by the loop for this many classes; mapped logits go by row.
    pub(super) fn run_on(self, isa: Isa) {
        let classes = self.logits.columns();
        if !self.map.is_identity() || !(group::are_short(classes) || tile::are_few(classes)) {
            let scratch = if self.map.is_identity() { 0 } else { classes };
            T::with_scratch(scratch, |mapped| T::dispatch(isa, BlockByRow { block: self, mapped }));
        } else if group::are_short(classes) {
            T::dispatch(isa, BlockByGroup(self));
        } else {
            let len = tile::scratch_len(classes);
            T::with_scratch(len, |scratch| T::dispatch(isa, BlockByLane { block: self, scratch }));
        }
    }
}

/// The same a row at a time.
struct BlockByRow<'k, T> {
    block: Block<'k, T>,
    mapped: &'k mut [T],
}

impl<T: Real> Kernel<T> for BlockByRow<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        let BlockByRow { block: Block { first, logits, map, target, place }, mapped } = self;
        for i in 0..logits.rows() {
            let class = target.get(first + i);
            let row = Logits::new(logits.row(i), map, mapped);
            let RowStats { loss, logsumexp, entropy, argmax, confidence } = row_stats(s, row, class);
            place.loss[i] = T::from_f64(loss);
            place.logsumexp[i] = T::from_f64(logsumexp);
            place.entropy[i] = T::from_f64(entropy);
            place.confidence[i] = T::from_f64(confidence);
            place.correct[i] = class.is_some() && argmax == class;
            place.argmax[i] = argmax.map_or(-1, |k| k as i64);
        }
    }
}

/// Exact sums over rows: they depend neither on the order of the rows nor on how the rows are split.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// `sum_i w_i loss_i` over the finite products, each rounded to float64.
    pub loss: ExactSum,
    /// `sum_i w_i`
    pub weight: ExactSum,
    /// `sum_i w_i` over the correctly classified rows.
    pub correct: ExactSum,
    /// The number of rows with a weight other than 0.
    pub rows: usize,
    /// The number of these rows with loss +inf.
    pub infinite: usize,
    /// The number of these rows with loss NaN.
    pub nan: usize,
}

impl Tally {
    /// Sums rows, given their losses, their weights, and whether they are classified correctly (0 for no).
    ///
    /// # Errors
    /// [`Error::Shape`] unless all have the same length; [`Error::Value`] for a weight that is negative or not finite,
    /// or a negative loss.
    pub fn of<T: Real>(loss: &[T], weight: &[f64], correct: &[T]) -> Result<Self> {
        if correct.len() != loss.len() {
            return Err(Error::Shape { name: "correct", expected: vec![loss.len()], got: vec![correct.len()] });
        }
        check_weights("weight", weight, &[loss.len()])?;
        if let Some(index) = loss.iter().position(|&loss| loss < T::ZERO) {
            let got = loss[index].to_f64();
            return Err(Error::Value { name: "loss", expected: "non-negative", got, index });
        }
        let mut tally = Tally::default();
        for ((loss, &weight), correct) in loss.iter().zip(weight).zip(correct) {
            let loss = loss.to_f64();
            if weight == 0.0 {
                continue;
            }
            tally.rows += 1;
            tally.weight.add(weight);
            if *correct != T::ZERO {
                tally.correct.add(weight);
            }
            let cost = weight * loss;
            if cost.is_finite() {
                tally.loss.add(cost);
            } else if cost.is_nan() {
                tally.nan += 1;
            } else {
                tally.infinite += 1;
            }
        }
        Ok(tally)
    }
}
