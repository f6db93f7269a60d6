//! Penalties on predictions, which depend on several rows at a time.

mod smoothness;

#[cfg(feature = "python")]
pub(crate) use smoothness::js_smoothness_with_grad_of;
pub use smoothness::{Neighbours, js_smoothness, js_smoothness_with_grad};

use crate::error::{Error, Result};
use crate::losses::{Chosen, GroupSum, Link, penalty};
use crate::math::Real;
use crate::memory;
use crate::parallel;
use crate::simd::{Isa, Kernel, Simd};
use crate::storage::{Place, Storage, StoredIo, StoredRows};
use crate::view::{Classes, Rows, RowsIo};

/// Which rows count for [`parity_penalty`], and in which group.
#[derive(Clone, Copy, Debug)]
pub struct Groups<'a, T> {
    /// The group of each row.
    pub group: Classes<'a>,
    /// Number of groups.
    pub count: usize,
    /// The target of each row: rows with target 0 do not count. All rows count where absent.
    pub target: Option<&'a [T]>,
}

impl<'a, T: Real> Groups<'a, T> {
    fn chosen(&self, rows: usize) -> Result<Chosen<'a, T>> {
        for (name, got) in [("group", self.group.rows()), ("target", self.target.map_or(rows, <[T]>::len))] {
            if got != rows {
                return Err(Error::Shape { name, expected: vec![rows], got: vec![got] });
            }
        }
        self.group.check_fit("groups", &[self.count])?;
        Ok(Chosen { groups: self.group, target: self.target })
    }

    /// The sums of all groups, on one thread, in the order of the rows.
    fn sums(&self, isa: Isa, link: Link, chosen: &Chosen<'a, T>, logits: StoredRows<'_, T>) -> Vec<GroupSum> {
        let (mut sums, columns) = (memory::copies(GroupSum::default(), self.count), logits.columns());
        let size = parallel::block_rows(columns);
        for (b, x) in logits.blocks(size).enumerate() {
            let (sums, first) = (&mut sums, b * size * columns);
            let add = |x: &[T]| T::dispatch(isa, Add { link, x, first, chosen, sums });
            x.widened(isa, |x| x.with_flat(add));
        }
        sums
    }
}

/// Variance of the mean predictions of groups: demographic parity, or, over the positive rows, equal opportunity.
///
/// # Errors
/// [`Error::Shape`] unless there is one group, and where there are targets, one target, a row; an unknown `XENTRS_ISA`.
pub fn parity_penalty<S: Storage>(logits: Rows<'_, S>, groups: Groups<'_, S::Real>, link: Link) -> Result<f64> {
    let (isa, chosen) = (Isa::active()?, groups.chosen(logits.rows() * logits.columns())?);
    Ok(penalty(&groups.sums(isa, link, &chosen, S::rows(logits))).0)
}

/// The same, and its gradient with respect to the logits, times `grad_output`.
///
/// # Errors
/// As of [`parity_penalty`]. Then nothing is written.
pub fn parity_penalty_with_grad<S: Storage, O: Place<S>>(
    logits: RowsIo<'_, S, O>,
    groups: Groups<'_, S::Real>,
    link: Link,
    grad_output: f64,
) -> Result<f64> {
    parity_penalty_with_grad_of(O::rows_io(logits), groups, link, grad_output)
}

pub(crate) fn parity_penalty_with_grad_of<T: Real>(
    logits: StoredIo<'_, T>,
    groups: Groups<'_, T>,
    link: Link,
    grad_output: f64,
) -> Result<f64> {
    let (isa, columns, rows) = (Isa::active()?, logits.columns(), logits.rows() * logits.columns());
    let chosen = groups.chosen(rows)?;
    let (penalty, slopes) = penalty(&groups.sums(isa, link, &chosen, logits.source()));
    let slopes = memory::list(slopes.into_iter().map(|slope| T::from_f64(slope * grad_output)));
    let size = parallel::block_rows(columns);
    parallel::for_each(logits.blocks(size).enumerate(), rows, |(b, x)| {
        let first = b * size * columns;
        x.filled(isa, |x| T::dispatch(isa, Slopes { link, x, first, chosen: &chosen, slopes: &slopes }))
    });
    Ok(penalty)
}

struct Add<'k, 'a, T> {
    link: Link,
    x: &'k [T],
    first: usize,
    chosen: &'k Chosen<'a, T>,
    sums: &'k mut [GroupSum],
}

impl<T: Real> Kernel<T> for Add<'_, '_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        self.link.add(s, self.x, self.first, self.chosen, self.sums);
    }
}

struct Slopes<'k, 'a, T> {
    link: Link,
    x: RowsIo<'k, T>,
    first: usize,
    chosen: &'k Chosen<'a, T>,
    slopes: &'k [T],
}

impl<T: Real> Kernel<T> for Slopes<'_, '_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(mut self, s: S) {
        self.link.gradient(s, self.x.flat(), self.first, self.chosen, self.slopes);
    }
}
