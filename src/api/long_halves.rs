//! Long rows of logits in half precision, whose losses follow from sums of exponentials: they are widened a block of a row
//! at a time ([`HalfRow`]). All other rows in half precision are widened before their kernel sees them
//! ([`storage`](crate::storage)).

use super::{Objective, SummedRows};
use crate::losses::OfSum;
use crate::rows::{HalfRow, HalfRowKept, RowSum, group};
use crate::scratch::Scratch;
use crate::simd::{Float, Isa, Kernel, Simd};
use crate::storage::{Place, Storage};
use crate::view::{Rows, RowsIo};

/// The rows, if they go this way.
pub(super) fn summed<S: Storage>(
    objective: &dyn Objective<S::Real>,
    classes: usize,
) -> Option<&dyn SummedRows<S::Real>> {
    let are_long = S::IS_HALF && !group::are_short(classes) && !objective.splits_rows(classes);
    if are_long { objective.summed() } else { None }
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
        unreachable!("`summed` gives no rows");
    }
    S::Real::dispatch(isa, Values { objective, first, logits, each })
}

/// The same, and writes the gradient, divided by `divisor`.
pub(super) fn value_and_grad<S: Storage, O: Place<S>>(
    isa: Isa,
    objective: &dyn SummedRows<S::Real>,
    first: usize,
    rows: RowsIo<'_, S, O>,
    divisor: f64,
    each: Option<&mut [S::Real]>,
) -> f64 {
    if !S::IS_HALF {
        unreachable!("`summed` gives no rows");
    }
    S::Real::with_scratch(rows.columns(), |scratch| {
        S::Real::dispatch(isa, Grads { objective, first, rows, scratch, divisor, each })
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
    scratch: &'k mut [S::Real],
    divisor: f64,
    each: Option<&'k mut [S::Real]>,
}

impl<H: Storage, O: Place<H>> Kernel<H::Real> for Grads<'_, H, O> {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd<H::Real>>(self, s: S) -> f64 {
        let Grads { objective, first, mut rows, scratch, divisor, mut each } = self;
        let (count, classes, streams, mut total) = (rows.rows(), rows.columns(), rows.streams(), 0.0);
        for i in 0..count {
            let mut loss = 0.0;
            if let Some(class) = objective.class(first + i) {
                let source = O::source(&rows);
                let (raw, logit) = (source.row(i), source.row(i)[class].wide());
                // 1. maximum and sum of exponentials; the exponentials are kept
                let mut row = HalfRowKept { raw, kept: scratch };
                let (sum, pivot) = RowSum::sweep_inlined(s, &mut row, &mut ());
                let OfSum { loss: own, others, label } = objective.of_sum(first + i, sum, class, logit);
                loss = own;
                // 2. the gradient of all classes except the labelled one, then its own
                let out = &mut rows.target()[i * classes..][..classes];
                HalfRowKept::<H> { raw: &[], kept: scratch }.finish(
                    s,
                    sum.scale(pivot, others / divisor),
                    out,
                    streams,
                );
                out[class] = O::nearest(H::Real::from_f64(label / divisor));
            } else {
                rows.target()[i * classes..][..classes].fill(O::default());
            }
            if let Some(each) = &mut each {
                each[i] = H::Real::from_f64(loss);
            }
            total += loss;
        }
        total
    }
}
