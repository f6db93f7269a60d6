//! Long rows whose losses follow from sums of exponentials ([`SummedRows`]), of any storage type.
//!
//! In half precision they are widened a block of a row at a time; all other rows in half precision are widened before
//! their kernel sees them ([`storage`](crate::storage)). A gradient that bypasses the caches is written while the
//! exponentials of the next row are computed ([`Pending`]).

use super::{GradScale, Objective, SummedRows};
use crate::losses::OfSum;
use crate::math::Real;
use crate::parallel;
use crate::rows::{Before, HalfRow, LongRowKept, Pending, RowSum, group};
use crate::simd::{Isa, Kernel, Simd};
use crate::storage::{NumbersMut, StoredIo, StoredRows};

/// The rows, if their losses go this way.
pub(super) fn of_values<'a, T: Real>(
    objective: &'a dyn Objective<T>,
    rows: &StoredRows<'_, T>,
) -> Option<&'a dyn SummedRows<T>> {
    if rows.are_half() { of_long(objective, rows.columns()) } else { None }
}

/// The rows, if their gradients go this way.
pub(super) fn of_grads<'a, T: Real>(
    objective: &'a dyn Objective<T>,
    rows: &StoredIo<'_, T>,
) -> Option<&'a dyn SummedRows<T>> {
    let goes = rows.is_direct() && (rows.source().are_half() || are_late(rows));
    if goes { of_long(objective, rows.columns()) } else { None }
}

/// The exponentials of two rows, in bytes, that stay in the second-level cache beside the logits.
const LATE_BYTES: usize = 512 << 10;

/// Whether the gradient of a row is written during the next row.
fn are_late<T: Real>(rows: &StoredIo<'_, T>) -> bool {
    rows.streams() && 2 * rows.columns() * size_of::<T>() <= LATE_BYTES
}

fn of_long<T: Real>(objective: &dyn Objective<T>, classes: usize) -> Option<&dyn SummedRows<T>> {
    if group::are_long(classes) && !objective.splits_rows(classes) { objective.summed() } else { None }
}

/// The number of rows in a block. Only inside a block can the gradient of a row be written during the next row. It is the
/// same for losses and gradients, so that the losses are added up in the same order.
pub(super) fn block_rows<T: Real>(objective: &dyn Objective<T>, rows: usize, classes: usize) -> usize {
    let size = parallel::block_rows(classes);
    if of_long(objective, classes).is_some() { size.max((rows / 64).min(8)) } else { size }
}

/// The sum of the losses of a block of rows; see [`Objective::value`].
pub(super) fn value<T: Real>(
    isa: Isa,
    objective: &dyn SummedRows<T>,
    first: usize,
    logits: StoredRows<'_, T>,
    each: Option<&mut [T]>,
) -> f64 {
    T::dispatch(isa, Values { objective, first, logits, each })
}

/// The same, and writes the gradient, scaled.
pub(super) fn value_and_grad<T: Real>(
    isa: Isa,
    objective: &dyn SummedRows<T>,
    first: usize,
    rows: StoredIo<'_, T>,
    scale: GradScale<'_, T>,
    each: Option<&mut [T]>,
) -> f64 {
    let (count, classes, streams, is_late) = (rows.rows(), rows.columns(), rows.streams(), are_late(&rows));
    let (source, target) = rows.into_direct();
    T::with_scratch(2 * classes, |scratch| {
        let kernel = Grads { objective, first, rows: count, source, target, streams, is_late, scratch, scale, each };
        T::dispatch(isa, kernel)
    })
}

struct Values<'k, T> {
    objective: &'k dyn SummedRows<T>,
    first: usize,
    logits: StoredRows<'k, T>,
    each: Option<&'k mut [T]>,
}

impl<T: Real> Kernel<T> for Values<'_, T> {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) -> f64 {
        let Values { objective, first, logits, mut each } = self;
        let mut total = 0.0;
        for i in 0..logits.rows() {
            let mut loss = 0.0;
            let row = logits.row(i);
            if let (Some(class), Some((kind, raw))) = (objective.class(first + i), row.halves()) {
                let sum = RowSum::sweep_inlined(s, &mut HalfRow::new(kind, raw), &mut ()).0;
                loss = objective.of_sum(first + i, sum, class, row.get(class)).loss;
            }
            if let Some(each) = &mut each {
                each[i] = T::from_f64(loss);
            }
            total += loss;
        }
        total
    }
}

struct Grads<'k, T> {
    objective: &'k dyn SummedRows<T>,
    first: usize,
    rows: usize,
    /// The logits, unless the gradient replaces them.
    source: Option<StoredRows<'k, T>>,
    target: NumbersMut<'k, T>,
    streams: bool,
    /// Whether the gradient of a row is written during the next row.
    is_late: bool,
    /// Space for the exponentials of two rows.
    scratch: &'k mut [T],
    scale: GradScale<'k, T>,
    each: Option<&'k mut [T]>,
}

impl<T: Real> Kernel<T> for Grads<'_, T> {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) -> f64 {
        let Grads { objective, first, rows, source, mut target, streams, is_late, scratch, scale, mut each } = self;
        let classes = scratch.len() / 2;
        let (mut kept, mut before) = scratch.split_at_mut(classes);
        let (mut pending, mut total): (Option<Pending<T>>, _) = (None, 0.0);
        let place = |row: usize| row * classes..(row + 1) * classes;
        for i in 0..rows {
            let mut loss = 0.0;
            if let Some(class) = objective.class(first + i) {
                // 1. maximum and sum of exponentials, which are kept; meanwhile the gradient of the row before is written
                let (raw, written) = match source {
                    Some(source) => {
                        let written = pending.as_mut().map(|pending| {
                            let out = target.part(place(pending.row));
                            Before { pending, kept: before, out }
                        });
                        (source.row(i), written)
                    }
                    None => (target.read().part(place(i)), None),
                };
                let logit = raw.get(class);
                let (sum, pivot) = RowSum::sweep_inlined(s, &mut LongRowKept { raw, kept, before: written }, &mut ());
                if let Some(pending) = pending.take() {
                    let mut out = target.part(place(pending.row));
                    pending.finish(s, before, &mut out);
                }
                // 2. the gradient of all classes except the labelled one, which follows from its own
                let OfSum { loss: own, others, label } = objective.of_sum(first + i, sum, class, logit);
                loss = own;
                let mut out = target.part(place(i));
                let (others, label) = (scale.of(first + i, others), scale.of(first + i, label));
                if others == 0.0 {
                    // A row of weight 0 has gradient 0, whatever its logits are.
                    out.clear();
                } else {
                    let label = (class, T::from_f64(label));
                    let scale = sum.scale(pivot, others);
                    let row = Pending::new(s, i, scale, label, streams, kept, &mut out);
                    if is_late {
                        pending = Some(row);
                        std::mem::swap(&mut kept, &mut before);
                    } else {
                        row.finish(s, kept, &mut out);
                    }
                }
            } else {
                target.part(place(i)).clear();
            }
            if let Some(each) = &mut each {
                each[i] = T::from_f64(loss);
            }
            total += loss;
        }
        if let Some(pending) = pending {
            let mut out = target.part(place(pending.row));
            pending.finish(s, before, &mut out);
        }
        total
    }
}
