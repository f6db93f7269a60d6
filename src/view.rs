//! Views of rows and labels. They are checked once, when they are created; all code below relies on that.

use crate::error::{Error, Result};
use crate::memory;
use crate::simd::{Float, Isa, Kernel, Lanes, MAX_LANES, RowIo, Simd, is_intel, read_once};
use std::ops::Range;

/// A read-only view of `rows` rows of `columns` numbers each. The stride between rows may exceed their length.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a, T> {
    data: &'a [T],
    rows: usize,
    columns: usize,
    stride: usize,
}

impl<'a, T: Copy> Rows<'a, T> {
    /// Rows one after the other.
    ///
    /// # Errors
    /// [`Error::Shape`] unless `data` holds exactly `rows * columns` numbers.
    #[inline]
    pub fn new(name: &'static str, data: &'a [T], rows: usize, columns: usize) -> Result<Self> {
        check_len(name, data.len(), rows, columns)?;
        Ok(Rows::packed(data, rows, columns))
    }

    /// The same, of a slice that was made to fit.
    #[inline]
    pub(crate) fn packed(data: &'a [T], rows: usize, columns: usize) -> Self {
        debug_assert_eq!(data.len(), rows * columns);
        Rows { data, rows, columns, stride: columns }
    }

    /// Rows whose first elements are `stride` apart.
    ///
    /// # Errors
    /// [`Error::Shape`] unless `data` ends with the last row, or for more numbers than can be counted.
    #[inline]
    pub fn with_stride(name: &'static str, data: &'a [T], rows: usize, columns: usize, stride: usize) -> Result<Self> {
        let before_last = rows.saturating_sub(1).checked_mul(stride);
        let len = before_last.and_then(|before| before.checked_add(if rows == 0 { 0 } else { columns }));
        if len != Some(data.len()) || rows.checked_mul(columns).is_none() {
            return Err(Error::Shape { name, expected: vec![rows, columns], got: vec![data.len()] });
        }
        Ok(Rows { data, rows, columns, stride })
    }

    /// The number of rows.
    #[inline(always)]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The length of a row: classes, or features of a linear layer.
    #[inline(always)]
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// One row.
    #[inline(always)]
    pub fn row(&self, i: usize) -> &'a [T] {
        &self.data[i * self.stride..][..self.columns]
    }

    /// The numbers from row `i` on, and the stride between rows.
    #[inline(always)]
    pub(crate) fn from(&self, i: usize) -> (&'a [T], usize) {
        (&self.data[i * self.stride..], self.stride)
    }

    /// Whether the rows follow each other without gaps.
    #[inline(always)]
    pub(crate) fn is_flat(&self) -> bool {
        self.stride == self.columns || self.rows <= 1
    }

    /// All numbers of rows that follow each other without gaps.
    #[inline(always)]
    pub(crate) fn flat(&self) -> &'a [T] {
        assert!(self.is_flat(), "rows of points stand one behind the other");
        &self.data[..self.rows * self.columns]
    }

    /// Calls `f` with all numbers, one row after the other. Rows that stand apart are copied first.
    #[inline(always)]
    pub(crate) fn with_flat<R>(&self, f: impl FnOnce(&[T]) -> R) -> R {
        if self.is_flat() { f(self.flat()) } else { f(&self.copied()) }
    }

    #[cold]
    fn copied(&self) -> Vec<T> {
        let mut numbers = memory::with_capacity(self.rows * self.columns);
        (0..self.rows).for_each(|i| numbers.extend_from_slice(self.row(i)));
        numbers
    }

    /// `rows` rows from row `first` on.
    pub(crate) fn part(self, first: usize, rows: usize) -> Self {
        assert!(first + rows <= self.rows, "a part of the rows");
        Rows { data: &self.data[first * self.stride..], rows, ..self }
    }

    /// Some of the columns.
    pub(crate) fn some_columns(self, columns: Range<usize>) -> Self {
        assert!(columns.start <= columns.end && columns.end <= self.columns, "some of the columns");
        let skipped = if self.rows == 0 { 0 } else { columns.start };
        Rows { data: &self.data[skipped..], columns: columns.len(), ..self }
    }

    /// The same rows, their numbers seen as another type: one for one.
    pub(crate) fn seen_as<U>(self, see: impl FnOnce(&'a [T]) -> &'a [U]) -> Rows<'a, U> {
        let Rows { data, rows, columns, stride } = self;
        let seen = see(data);
        assert_eq!(seen.len(), data.len());
        Rows { data: seen, rows, columns, stride }
    }
}

/// Rows to read, and the place for as many rows of results. The results overwrite the rows, or go to separate memory,
/// possibly in another type.
#[derive(Debug)]
pub struct RowsIo<'a, T, O = T> {
    source: Option<Rows<'a, T>>,
    target: &'a mut [O],
    rows: usize,
    columns: usize,
    /// Whether results bypass the caches, which could not hold them.
    streams: bool,
    /// Whether the results are discarded if the call fails.
    fresh: bool,
}

/// Whether results of so many bytes bypass the caches. Smaller results stay there for their next reader: of Intel's
/// processors below 16 MiB, of others below 32 MiB (`docs/decisions/kernels.md`).
fn bypass_caches(bytes: usize) -> bool {
    bytes >= 32 << 20 || bytes >= 16 << 20 && is_intel()
}

impl<'a, T: Copy, O> RowsIo<'a, T, O> {
    /// Reads `source`, writes `target`, one row after the other.
    ///
    /// # Errors
    /// [`Error::Shape`] unless `target` holds exactly as many numbers.
    #[inline]
    pub fn new(source: Rows<'a, T>, target: &'a mut [O]) -> Result<Self> {
        let (rows, columns) = (source.rows, source.columns);
        check_len("out", target.len(), rows, columns)?;
        let streams = bypass_caches(size_of_val(target));
        Ok(RowsIo { source: Some(source), target, rows, columns, streams, fresh: false })
    }

    /// Sets whether the results are discarded if the call fails. Then they may be written before all checks are done,
    /// which saves a pass over the data.
    #[inline]
    pub fn fresh(self, fresh: bool) -> Self {
        RowsIo { fresh, ..self }
    }

    /// Whether the results are discarded if the call fails.
    #[inline(always)]
    pub(crate) fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// Whether the results bypass the caches.
    #[inline(always)]
    pub(crate) fn streams(&self) -> bool {
        self.streams && self.source.is_some()
    }

    /// The same, with results that bypass the caches or do not.
    pub(crate) fn streaming(self, streams: bool) -> Self {
        RowsIo { streams, ..self }
    }

    /// The same, of a slice that was made to fit.
    #[inline]
    pub(crate) fn beside(source: Rows<'a, T>, target: &'a mut [O]) -> Self {
        debug_assert_eq!(target.len(), source.rows * source.columns);
        RowsIo {
            source: Some(source),
            target,
            rows: source.rows,
            columns: source.columns,
            streams: false,
            fresh: false,
        }
    }

    /// The number of rows.
    #[inline(always)]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The length of a row.
    #[inline(always)]
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The output.
    #[inline(always)]
    pub(crate) fn target(&mut self) -> &mut [O] {
        self.target
    }

    /// The input, if it is separate from the output.
    pub(crate) fn apart(&self) -> Option<Rows<'a, T>> {
        self.source
    }

    /// The input, if it is separate, and the output.
    pub(crate) fn into_parts(self) -> (Option<Rows<'a, T>>, &'a mut [O]) {
        (self.source, self.target)
    }
}

impl<'a, T: Copy> RowsIo<'a, T> {
    /// Reads and overwrites the same rows.
    ///
    /// # Errors
    /// [`Error::Shape`] unless `both` holds exactly `rows * columns` numbers.
    #[inline]
    pub fn in_place(both: &'a mut [T], rows: usize, columns: usize) -> Result<Self> {
        check_len("logits", both.len(), rows, columns)?;
        Ok(RowsIo::over(both, rows, columns))
    }

    /// The same, of a slice that was made to fit.
    #[inline]
    pub(crate) fn over(both: &'a mut [T], rows: usize, columns: usize) -> Self {
        debug_assert_eq!(both.len(), rows * columns);
        RowsIo { source: None, target: both, rows, columns, streams: false, fresh: false }
    }

    /// The same rows, borrowed.
    pub(crate) fn again(&mut self) -> RowsIo<'_, T> {
        let RowsIo { source, ref mut target, rows, columns, streams, fresh } = *self;
        RowsIo { source, target, rows, columns, streams, fresh }
    }

    /// The input.
    pub(crate) fn source(&self) -> Rows<'_, T> {
        self.source.unwrap_or_else(|| Rows::packed(self.target, self.rows, self.columns))
    }
}

impl<T: Float> RowsIo<'_, T> {
    /// One row. `scratch` has length [`scratch_len`](Self::scratch_len); a row that bypasses the caches keeps its
    /// intermediate results there.
    #[inline(always)]
    pub(crate) fn row<'r>(&'r mut self, i: usize, scratch: &'r mut [T]) -> RowIo<'r, T> {
        match self.source {
            Some(source) if self.streams => {
                RowIo::streaming(source.row(i), &mut self.target[i * self.columns..][..self.columns], scratch)
            }
            _ => self.short_row(i),
        }
    }

    /// One short row, whose results never bypass the caches: short rows share cache lines, and a line that is written in two
    /// parts past the caches takes several times as long.
    #[inline(always)]
    pub(crate) fn short_row(&mut self, i: usize) -> RowIo<'_, T> {
        let target = &mut self.target[i * self.columns..][..self.columns];
        match &self.source {
            Some(source) => RowIo::new(source.row(i), target),
            None => RowIo::in_place(target),
        }
    }

    /// The length of the scratch buffer that a row needs.
    pub(crate) fn scratch_len(&self) -> usize {
        if self.streams { self.columns } else { 0 }
    }

    /// The numbers to read from row `i` on, and the stride between rows.
    #[inline(always)]
    pub(crate) fn from(&self, i: usize) -> (&[T], usize) {
        match &self.source {
            Some(source) => source.from(i),
            None => (&self.target[i * self.columns..], self.columns),
        }
    }

    /// All numbers, one row after the other. Rows that stand apart are copied to where their results go.
    #[inline(always)]
    pub(crate) fn flat(&mut self) -> RowIo<'_, T> {
        match &self.source {
            Some(source) if source.is_flat() => RowIo::new(source.flat(), self.target),
            Some(source) => {
                copy_rows(source, self.target);
                RowIo::in_place(self.target)
            }
            None => RowIo::in_place(self.target),
        }
    }
}

#[cold]
fn copy_rows<T: Copy>(rows: &Rows<'_, T>, to: &mut [T]) {
    to.chunks_exact_mut(rows.columns.max(1)).enumerate().for_each(|(i, to)| to.copy_from_slice(rows.row(i)));
}

fn check_len(name: &'static str, len: usize, rows: usize, columns: usize) -> Result<()> {
    if rows.checked_mul(columns) == Some(len) {
        Ok(())
    } else {
        Err(Error::Shape { name, expected: vec![rows, columns], got: vec![len] })
    }
}

/// One class per row, each in `[0, classes)` or the ignored one.
#[derive(Clone, Copy, Debug)]
pub struct Classes<'a> {
    labels: Labels<'a>,
    rule: Rule,
    /// The number of rows that are not ignored.
    count: usize,
}

/// The labels that are classes: those in `[0, classes)`, except the ignored one.
#[derive(Clone, Copy, Debug)]
struct Rule {
    classes: u64,
    /// The ignored label; -1, which is never a class, if no label is ignored. So one comparison covers both cases.
    ignored: i64,
}

impl Rule {
    #[inline(always)]
    fn is_class(self, label: i64) -> bool {
        ((label as u64) < self.classes) & (label != self.ignored)
    }
}

/// Unchecked class labels.
#[derive(Clone, Copy, Debug)]
pub enum Labels<'a> {
    /// As 32-bit integers.
    I32(&'a [i32]),
    /// As 64-bit integers.
    I64(&'a [i64]),
}

impl Labels<'_> {
    /// The number of labels.
    #[inline]
    pub fn len(&self) -> usize {
        match self {
            Labels::I32(labels) => labels.len(),
            Labels::I64(labels) => labels.len(),
        }
    }

    /// Whether there are no labels.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[inline(always)]
    fn get(&self, row: usize) -> i64 {
        match self {
            Labels::I32(labels) => read_once(&labels[row]).into(),
            Labels::I64(labels) => read_once(&labels[row]),
        }
    }
}

impl<'a> Classes<'a> {
    /// Checks every label.
    ///
    /// # Errors
    /// [`Error::Label`] names the first label outside `[0, classes)` that is not `ignore_index`; an unknown `XENTRS_ISA`.
    #[inline]
    pub fn new(labels: Labels<'a>, classes: usize, ignore_index: Option<i64>) -> Result<Self> {
        let (isa, rule) = (Isa::active()?, Rule { classes: classes as u64, ignored: ignore_index.unwrap_or(-1) });
        let (count, ignored) = match labels {
            Labels::I32(labels) => f32::dispatch(isa, Tally { labels, rule }),
            Labels::I64(labels) => f32::dispatch(isa, Tally { labels, rule }),
        };
        let checked = Classes { labels, rule, count };
        if count + ignore_index.map_or(0, |_| ignored) == labels.len() {
            return Ok(checked);
        }
        let is_wrong = |&row: &usize| checked.get(row).is_none() && Some(labels.get(row)) != ignore_index;
        match (0..labels.len()).find(is_wrong) {
            Some(row) => Err(Error::Label { label: labels.get(row), row, classes, ignore_index }),
            // Another thread has corrected the label in the meantime.
            None => Ok(checked),
        }
    }

    /// The number of rows that are not ignored.
    #[inline]
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// The number of rows.
    #[inline]
    pub fn rows(&self) -> usize {
        self.labels.len()
    }

    /// Checks that what has a shape, whose last number is that of its classes, has each class that a label may be.
    pub(crate) fn check_fit(&self, name: &'static str, shape: &[usize]) -> Result<()> {
        let (classes, before) = shape.split_last().map_or((0, shape), |(&classes, before)| (classes, before));
        if self.rule.classes <= classes as u64 {
            return Ok(());
        }
        let expected = before.iter().copied().chain([self.rule.classes as usize]).collect();
        Err(Error::Shape { name, expected, got: shape.to_vec() })
    }

    /// The class of a row; `None` if it is ignored.
    ///
    /// The label is read once and tested again. If another thread has changed it since the check, the row counts as
    /// ignored, and nothing is read out of bounds.
    #[inline(always)]
    pub fn get(&self, row: usize) -> Option<usize> {
        let label = self.labels.get(row);
        self.rule.is_class(label).then_some(label as usize)
    }

    /// The classes of at most a register of rows, as integers; -1 for ignored rows and past the last row.
    #[inline(always)]
    pub(crate) fn register<T: Float, S: Simd<T>>(&self, s: S, first: usize, rows: usize) -> S::V {
        match self.labels {
            Labels::I32(labels) => self.numbers(s, &labels[first..first + rows]),
            Labels::I64(labels) => self.numbers(s, &labels[first..first + rows]),
        }
    }

    #[inline(always)]
    fn numbers<T: Float, S: Simd<T>, L: Label>(&self, s: S, labels: &[L]) -> S::V {
        let padded;
        let labels = if labels.len() == S::LANES {
            labels
        } else {
            let mut some = [L::NONE; MAX_LANES];
            some[..labels.len()].copy_from_slice(labels);
            padded = some;
            &padded[..S::LANES]
        };
        let mut lanes = S::Array::default();
        let ignored = L::of(self.rule.ignored);
        for (lane, &label) in lanes.as_mut().iter_mut().zip(&labels[..S::LANES]) {
            let label = if label == ignored { L::NONE } else { label };
            *lane = T::from_f64(f64::from(label.low()));
        }
        // What another thread may have written since the check is no class either.
        let (numbers, classes) = (s.load(&lanes), s.splat(T::from_f64(self.rule.classes as f64)));
        S::V::select(numbers.lt(classes), numbers, s.splat(-T::ONE))
    }
}

/// An integer that a label is stored in.
trait Label: Copy + PartialEq {
    /// -1, which is never a class.
    const NONE: Self;
    /// A label as this type; -1 if it has no place there, as then no label of this type equals it.
    fn of(label: i64) -> Self;
    /// The lower 32 bits, which are all that a class has.
    fn low(self) -> i32;
}

impl Label for i32 {
    const NONE: Self = -1;
    #[inline(always)]
    fn of(label: i64) -> Self {
        label.try_into().unwrap_or(-1)
    }
    #[inline(always)]
    fn low(self) -> i32 {
        self
    }
}

impl Label for i64 {
    const NONE: Self = -1;
    #[inline(always)]
    fn of(label: i64) -> Self {
        label
    }
    #[inline(always)]
    fn low(self) -> i32 {
        self as i32
    }
}

/// Counts the labels that are classes, and the ignored ones. The kernel is a plain loop without branches, which the
/// compiler vectorises for the instruction set.
struct Tally<'a, L> {
    labels: &'a [L],
    rule: Rule,
}

impl<L: Copy + Into<i64>> Kernel<f32> for Tally<'_, L> {
    type Output = (usize, usize);
    #[inline(always)]
    fn run<S: Simd<f32>>(self, _: S) -> (usize, usize) {
        let (mut count, mut ignored) = (0, 0);
        for &label in self.labels {
            let label: i64 = label.into();
            count += usize::from(self.rule.is_class(label));
            ignored += usize::from(label == self.rule.ignored);
        }
        (count, ignored)
    }
}

/// Checks that weights are finite and not negative.
pub(crate) fn check_weights<T: Float>(name: &'static str, weights: &[T], shape: &[usize]) -> Result<()> {
    if weights.len() != shape.iter().product::<usize>() {
        return Err(Error::Shape { name, expected: shape.to_vec(), got: vec![weights.len()] });
    }
    let wrong = |w: T| !(w >= T::ZERO && w < T::INFINITY);
    // Without an early exit the loop has no branches.
    if weights.iter().fold(false, |any, &w| any | wrong(w))
        && let Some(index) = weights.iter().position(|&w| wrong(w))
    {
        return Err(Error::Value { name, expected: "finite and non-negative", got: weights[index].to_f64(), index });
    }
    Ok(())
}
