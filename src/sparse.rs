//! Distributions that are zero except for a few classes: pairs of a class and its weight.

use crate::error::{Error, Result};
use crate::simd::Float;
use crate::view::{Classes, Labels, Rows, check_weights};

/// One sparse distribution per row, as pairs of a class and its weight; all rows have the same number of pairs. If a
/// class occurs more than once, its weights add. A pair with the ignored class has no effect.
#[derive(Clone, Copy, Debug)]
pub struct Sparse<'a, T> {
    classes: Classes<'a>,
    weights: Rows<'a, T>,
}

impl<'a, T: Float> Sparse<'a, T> {
    /// Checks every class and every weight. `labels` holds one class for each number of `weights`, in the same order.
    ///
    /// # Errors
    /// [`Error::Label`] names the row of the first class outside `[0, classes)` that is not `ignore_index`;
    /// [`Error::Value`] the first weight that is negative or not finite; [`Error::Shape`] unless there are as many classes
    /// as weights.
    pub fn new(labels: Labels<'a>, weights: Rows<'a, T>, classes: usize, ignore_index: Option<i64>) -> Result<Self> {
        let (rows, pairs) = (weights.rows(), weights.columns());
        if labels.len() != rows * pairs {
            return Err(Error::Shape { name: "target", expected: vec![rows, pairs], got: vec![labels.len()] });
        }
        let classes = Classes::new(labels, classes, ignore_index).map_err(|error| match error {
            Error::Label { label, row, classes, ignore_index } => {
                Error::Label { label, row: row / pairs, classes, ignore_index }
            }
            other => other,
        })?;
        weights.with_flat(|weights| check_weights("target weights", weights, &[rows, pairs]))?;
        Ok(Sparse { classes, weights })
    }

    /// The number of rows.
    #[inline]
    pub fn rows(&self) -> usize {
        self.weights.rows()
    }

    /// The number of pairs of a row.
    #[inline]
    pub fn pairs(&self) -> usize {
        self.weights.columns()
    }

    /// Checks that what has a shape, whose last number is that of its classes, has each class that a pair may have.
    pub(crate) fn check_fit(&self, name: &'static str, shape: &[usize]) -> Result<()> {
        self.classes.check_fit(name, shape)
    }

    /// The pairs of one row.
    #[inline(always)]
    pub fn row(&self, row: usize) -> Pairs<'_, T> {
        Pairs { classes: &self.classes, first: row * self.pairs(), weights: self.weights.row(row) }
    }
}

/// The pairs of one row.
#[derive(Clone, Copy, Debug)]
pub struct Pairs<'a, T> {
    classes: &'a Classes<'a>,
    first: usize,
    weights: &'a [T],
}

impl<T: Float> Pairs<'_, T> {
    /// The number of pairs, ignored ones included.
    #[inline(always)]
    pub fn len(&self) -> usize {
        self.weights.len()
    }

    /// Whether there are no pairs.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.weights.is_empty()
    }

    /// A class of the row and its weight; `None` if the class is ignored.
    #[inline(always)]
    pub fn get(&self, pair: usize) -> Option<(usize, f64)> {
        self.classes.get(self.first + pair).map(|class| (class, self.weights[pair].to_f64()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sparse<'a>(labels: &'a [i64], weights: &'a [f32], rows: usize, pairs: usize) -> Result<Sparse<'a, f32>> {
        Sparse::new(Labels::I64(labels), Rows::new("target", weights, rows, pairs)?, 3, Some(-100))
    }

    #[test]
    fn pairs_are_returned_without_the_ignored_ones() {
        let target = sparse(&[0, 2, -100, 1], &[0.5, 0.25, 1.0, 2.0], 2, 2).unwrap();
        assert_eq!((target.rows(), target.pairs()), (2, 2));
        assert_eq!([target.row(0).get(0), target.row(0).get(1)], [Some((0, 0.5)), Some((2, 0.25))]);
        assert_eq!([target.row(1).get(0), target.row(1).get(1)], [None, Some((1, 2.0))]);
        assert!(sparse(&[], &[], 4, 0).unwrap().row(3).is_empty());
    }

    #[test]
    fn errors_name_the_row() {
        let wrong = sparse(&[0, 1, 2, 3], &[0.5; 4], 2, 2).unwrap_err();
        assert_eq!(wrong, Error::Label { label: 3, row: 1, classes: 3, ignore_index: Some(-100) });
        let wrong = sparse(&[0, 1], &[0.5, f32::INFINITY], 1, 2).unwrap_err();
        assert!(matches!(wrong, Error::Value { name: "target weights", index: 1, .. }));
        assert!(matches!(sparse(&[0, 1, 2], &[0.5; 4], 2, 2), Err(Error::Shape { .. })));
    }
}
