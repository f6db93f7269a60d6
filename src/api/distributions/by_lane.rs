//! Blocks of rows of few classes, by lane: a row a lane, a class a register.

use super::side::Side;
use super::{Measure, MeasureInput, MeasureKind};
use crate::api::GradOutput;
use crate::distributions::by_lane::{self, evaluate, groups};
use crate::math::{Real, exp};
use crate::simd::{Kernel, MAX_LANES, Simd, write};
use crate::tile;

impl Measure {
    /// Whether rows go by lane. It does not depend on whether gradients are wanted, as values must have the
    /// same bits.
    pub(super) fn goes_by_lane<T>(&self, classes: usize) -> bool {
        let is_worth_it = match self.input {
            MeasureInput::Logits => true,
            // Without exponentials the gain is smaller, and largest for short rows.
            MeasureInput::Probabilities => classes * size_of::<T>() <= SHORT_BYTES,
            MeasureInput::Unnormalized => false,
        };
        is_worth_it && tile::are_few(classes)
    }

    /// Scratch elements that this takes.
    pub(super) fn lane_scratch_len<T: Real>(classes: usize) -> usize {
        by_lane::Side::<T>::scratch_len(classes) + groups(classes) * MAX_LANES * classes
    }

    /// See [`in_unit`](Self::in_unit).
    #[inline(always)]
    fn lanes_in_unit<T: Real, S: Simd<T>>(&self, s: S, nats: S::V) -> (S::V, S::V) {
        if self.kind == MeasureKind::Perplexity {
            let perplexity = exp(s, nats);
            return (perplexity, perplexity);
        }
        (nats / s.splat(T::from_f64(self.unit)), s.splat(T::from_f64(1.0 / self.unit)))
    }
}

/// Longer rows of probabilities are faster by row. At this length both ways take the same time for
/// Kullback-Leibler; its gradients take longer by lane (by a sixth in float32, two fifths in float64), but not for
/// shorter rows.
const SHORT_BYTES: usize = 128;

/// The measures of a block of rows, and with `GRAD` the gradients.
pub(super) struct ByLane<'k, T, const GRAD: bool> {
    pub(super) measure: &'k Measure,
    pub(super) tolerance: f64,
    pub(super) sides: [Option<Side<'k, T>>; 2],
    pub(super) classes: usize,
    pub(super) out: &'k mut [T],
    pub(super) scratch: &'k mut [T],
    pub(super) upstream: GradOutput<'k, T>,
}

impl<T: Real, const GRAD: bool> Kernel<T> for ByLane<'_, T, GRAD> {
    /// Whether all rows are distributions.
    type Output = bool;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) -> bool {
        let ByLane { measure, tolerance, mut sides, classes, out, scratch, upstream } = self;
        let (scratch, sums) = scratch.split_at_mut(by_lane::Side::<T>::scratch_len(classes));
        let (mut tiles, class_sum) = (by_lane::Side::both(scratch, classes), measure.class_sum());
        let (are_logits, at_once, mut wrong) = (measure.input == MeasureInput::Logits, groups(classes) * S::LANES, 0);
        for start in (0..out.len()).step_by(at_once) {
            let count = at_once.min(out.len() - start);
            // 1. rows, a lane each, and the exponentials of logits
            for (group, side) in tiles.iter_mut().zip(&sides) {
                if let Some(side) = side {
                    group.load(s, side.from(start), count, are_logits);
                }
            }
            // 2. values in the unit
            let found = evaluate::<GRAD, T, S>(s, class_sum, are_logits, &mut tiles, count.div_ceil(S::LANES));
            for (g, (i, swept)) in (start..start + count).step_by(S::LANES).zip(&found).enumerate() {
                wrong |= swept.wrong(s, tolerance) & ((1 << S::LANES.min(start + count - i)) - 1);
                let (values, factor) = measure.lanes_in_unit(s, swept.values);
                write(s, values, out, i);
                if GRAD {
                    let factor = factor * upstream.register(s, i);
                    for tile in &mut tiles {
                        tile.scale_by(s, g, factor);
                    }
                }
            }
            // 3. gradients
            if GRAD {
                for (group, side) in tiles.iter_mut().zip(&mut sides) {
                    let Some(side) = side else { continue };
                    group.store(s, side.places(start, sums), count);
                    for grad in sums.chunks_exact(classes).take(count) {
                        side.add(grad);
                    }
                }
            }
        }
        wrong == 0
    }
}

#[cfg(test)]
mod tests {
    use super::super::by_row::Grads;
    use super::super::{MeasureInput, Values};
    use super::*;
    use crate::simd::{Float, Isa};
    use crate::view::{Rows, RowsIo};

    const KINDS: [MeasureKind; 5] = [
        MeasureKind::Entropy,
        MeasureKind::Perplexity,
        MeasureKind::CrossEntropy,
        MeasureKind::KlDivergence,
        MeasureKind::JsDivergence { weight: 0.3 },
    ];

    /// Rows of numbers between -3 and 4, or the distributions that they are logits of.
    fn rows<T: Float>(rows: usize, classes: usize, step: usize, input: MeasureInput) -> Vec<T> {
        let logits = |i: usize| ((i * step % 1009) as f64) * 0.007 - 3.0;
        let rows = (0..rows).flat_map(|row| {
            let z = (0..classes).map(move |k| logits(row * classes + k));
            let sum: f64 = z.clone().map(f64::exp).sum();
            z.map(move |z| if input == MeasureInput::Logits { z } else { z.exp() / sum })
        });
        rows.map(T::from_f64).collect()
    }

    /// Values and both gradients of rows, by row and by lane.
    fn both_ways<T: Real>(isa: Isa, measure: &Measure, p: &[T], q: &[T], classes: usize) -> [[Vec<T>; 4]; 2] {
        let (count, tolerance, upstream) = (p.len() / classes, 1e-3, GradOutput::ONE);
        let view = |data| Rows::packed(data, count, classes);
        [false, true].map(|goes_by_lane| {
            let (mut values, mut answers) = (vec![T::NAN; count], vec![T::NAN; count]);
            let (mut p_grad, mut q_grad) = (vec![T::NAN; p.len()], vec![T::ZERO; q.len()]);
            let q_rows = measure.takes_two().then(|| view(q));
            let side = Side::Each(RowsIo::beside(view(p), &mut p_grad));
            let q_side = measure.takes_two().then(|| Side::Each(RowsIo::beside(view(q), &mut q_grad)));
            let mut scratch = vec![T::NAN; Measure::lane_scratch_len::<T>(classes)];
            let all_valid = if goes_by_lane {
                let (out, scratch, sides) =
                    (&mut values, &mut scratch, [Some(Side::None(view(p))), q_rows.map(Side::None)]);
                let kernel = ByLane { measure, tolerance, sides, classes, out, scratch, upstream };
                let all_valid = T::dispatch::<ByLane<'_, _, false>>(isa, kernel);
                let (out, sides) = (&mut answers, [Some(side), q_side]);
                let kernel = ByLane { measure, tolerance, sides, classes, out, scratch, upstream };
                all_valid & T::dispatch::<ByLane<'_, _, true>>(isa, kernel)
            } else {
                let (p, q, out) = (view(p), q_rows, &mut values);
                let all_valid = T::dispatch(isa, Values { measure, tolerance, p, q, out });
                let (p, q, out, scratch) = (side, q_side, &mut answers, &mut scratch[..2 * classes]);
                all_valid & T::dispatch(isa, Grads { measure, tolerance, p, q, out, scratch, upstream })
            };
            assert!(all_valid);
            [values, answers, p_grad, q_grad]
        })
    }

    #[test]
    fn rows_by_lane_are_what_they_are_by_row() {
        for classes in [1, 2, 3, 4, 5, 9, 10, 17, 33, 64] {
            for count in [1, 2, 7, 8, 9, 31, 64, 65, 67] {
                for (input, kind) in [MeasureInput::Probabilities, MeasureInput::Logits]
                    .iter()
                    .flat_map(|input| KINDS.map(|kind| (*input, kind)))
                {
                    let measure = Measure::new(kind, input, None).expect("nats");
                    let (p, q) =
                        (rows::<f32>(count, classes, 7919, input), rows::<f32>(count, classes, 104_729, input));
                    for isa in Isa::available() {
                        let [by_row, by_lane] = both_ways(isa, &measure, &p, &q, classes);
                        let case = format!("{kind:?} {input:?} {count}x{classes} {}", isa.name());
                        assert_eq!(by_lane[0], by_lane[1], "{case}");
                        for (by_row, by_lane) in by_row.iter().flatten().zip(by_lane.iter().flatten()) {
                            let (by_row, by_lane) = (by_row.to_f64(), by_lane.to_f64());
                            let error = (by_row - by_lane).abs();
                            assert!(
                                error <= 64.0 * f64::from(f32::EPSILON) * (1.0 + by_row.abs()),
                                "{case}: {by_row} {by_lane}"
                            );
                        }
                    }
                }
            }
        }
    }
}
