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
use crate::scratch::Scratch;
use crate::simd::{Float, Isa, Kernel, Simd};
use crate::storage::{Place, Storage};
use crate::view::{Rows, RowsIo};

/// The rows, if their losses go this way.
pub(super) fn of_values<S: Storage>(
    objective: &dyn Objective<S::Real>,
    classes: usize,
) -> Option<&dyn SummedRows<S::Real>> {
    if S::IS_HALF { of_long(objective, classes) } else { None }
}

/// The rows, if their gradients go this way.
pub(super) fn of_grads<'a, S: Storage, O: Place<S>>(
    objective: &'a dyn Objective<S::Real>,
    rows: &RowsIo<'_, S, O>,
) -> Option<&'a dyn SummedRows<S::Real>> {
    if S::IS_HALF || are_late(rows) { of_long(objective, rows.columns()) } else { None }
}

/// The exponentials of two rows, in bytes, that stay in the second-level cache beside the logits.
const LATE_BYTES: usize = 512 << 10;

/// Whether the gradient of a row is written during the next row.
fn are_late<S: Storage, O: Place<S>>(rows: &RowsIo<'_, S, O>) -> bool {
    rows.streams() && 2 * rows.columns() * size_of::<S::Real>() <= LATE_BYTES
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
pub(super) fn value<S: Storage>(
    isa: Isa,
    objective: &dyn SummedRows<S::Real>,
    first: usize,
    logits: Rows<'_, S>,
    each: Option<&mut [S::Real]>,
) -> f64 {
    // Not compiled for wide types.
    if !S::IS_HALF {
        unreachable!("`of_values` gives no rows");
    }
    S::Real::dispatch(isa, Values { objective, first, logits, each })
}

/// The same, and writes the gradient, scaled.
pub(super) fn value_and_grad<S: Storage, O: Place<S>>(
    isa: Isa,
    objective: &dyn SummedRows<S::Real>,
    first: usize,
    rows: RowsIo<'_, S, O>,
    scale: GradScale<'_, S::Real>,
    each: Option<&mut [S::Real]>,
) -> f64 {
    S::Real::with_scratch(2 * rows.columns(), |scratch| {
        S::Real::dispatch(isa, Grads { objective, first, rows, scratch, scale, each })
    })
}

struct Values<'k, S: Storage> {
    objective: &'k dyn SummedRows<S::Real>,
    first: usize,
    logits: Rows<'k, S>,
    each: Option<&'k mut [S::Real]>,
}

impl<H: Storage> Kernel<H::Real> for Values<'_, H> {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd<H::Real>>(self, s: S) -> f64 {
        let Values { objective, first, logits, mut each } = self;
        let mut total = 0.0;
        for i in 0..logits.rows() {
            let mut loss = 0.0;
            if let Some(class) = objective.class(first + i) {
                let row = logits.row(i);
                let sum = RowSum::sweep_inlined(s, &mut HalfRow::new(row), &mut ()).0;
                loss = objective.of_sum(first + i, sum, class, row[class].wide()).loss;
            }
            if let Some(each) = &mut each {
                each[i] = H::Real::from_f64(loss);
            }
            total += loss;
        }
        total
    }
}

struct Grads<'k, S: Storage, O> {
    objective: &'k dyn SummedRows<S::Real>,
    first: usize,
    rows: RowsIo<'k, S, O>,
    /// Space for the exponentials of two rows.
    scratch: &'k mut [S::Real],
    scale: GradScale<'k, S::Real>,
    each: Option<&'k mut [S::Real]>,
}

impl<H: Storage, O: Place<H>> Kernel<H::Real> for Grads<'_, H, O> {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd<H::Real>>(self, s: S) -> f64 {
        let Grads { objective, first, mut rows, scratch, scale, mut each } = self;
        let (count, classes, streams, mut total) = (rows.rows(), rows.columns(), rows.streams(), 0.0);
        let apart = rows.apart().filter(|_| are_late(&rows));
        let (mut kept, mut before) = scratch.split_at_mut(classes);
        let mut pending: Option<Pending<H::Real, O>> = None;
        for i in 0..count {
            let mut loss = 0.0;
            if let Some(class) = objective.class(first + i) {
                // 1. maximum and sum of exponentials, which are kept; meanwhile the gradient of the row before is written
                let (sum, pivot, logit) = match apart {
                    Some(source) => {
                        let raw = source.row(i);
                        let before = pending.as_mut().map(|pending| {
                            let out = &mut rows.target()[pending.row * classes..][..classes];
                            Before { pending, kept: before, out }
                        });
                        let mut row = LongRowKept { raw, kept, before };
                        let (sum, pivot) = RowSum::sweep_inlined(s, &mut row, &mut ());
                        (sum, pivot, raw[class].wide())
                    }
                    None => {
                        let source = O::source(&rows);
                        let raw = source.row(i);
                        let mut row = LongRowKept::<H, O> { raw, kept, before: None };
                        let (sum, pivot) = RowSum::sweep(s, &mut row);
                        (sum, pivot, raw[class].wide())
                    }
                };
                if let Some(pending) = pending.take() {
                    let out = &mut rows.target()[pending.row * classes..][..classes];
                    pending.finish::<H, S>(s, before, out);
                }
                // 2. the gradient of all classes except the labelled one, which follows from its own
                let OfSum { loss: own, others, label } = objective.of_sum(first + i, sum, class, logit);
                loss = own;
                let out = &mut rows.target()[i * classes..][..classes];
                let (others, label) = (scale.of(first + i, others), scale.of(first + i, label));
                if others == 0.0 {
                    // A row of weight 0 has gradient 0, whatever its logits are.
                    out.fill(O::default());
                } else {
                    let label = (class, O::nearest(H::Real::from_f64(label)));
                    let scale = sum.scale(pivot, others);
                    let row = Pending::new::<H, S>(s, i, scale, label, streams, kept, out);
                    if apart.is_some() {
                        pending = Some(row);
                        std::mem::swap(&mut kept, &mut before);
                    } else {
                        row.finish::<H, S>(s, kept, out);
                    }
                }
            } else {
                rows.target()[i * classes..][..classes].fill(O::default());
            }
            if let Some(each) = &mut each {
                each[i] = H::Real::from_f64(loss);
            }
            total += loss;
        }
        if let Some(pending) = pending {
            let out = &mut rows.target()[pending.row * classes..][..classes];
            pending.finish::<H, S>(s, before, out);
        }
        total
    }
}
