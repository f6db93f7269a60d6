//! Columns of a matrix in registers, one row per lane, by plain loops. What follows without gaps is read as arrays of fixed
//! length, whose loops the compiler makes shuffles of.

use super::{Float, Simd, lanes_of};

/// See [`Simd::load_columns`].
#[inline(always)]
pub(super) fn load<T: Float, S: Simd<T>, const C: usize>(s: S, xs: &[T], stride: usize) -> [S::V; C] {
    let mut lanes = [S::Array::default(); C];
    if stride == C {
        for (i, row) in xs[..S::LANES * C].as_chunks::<C>().0.iter().enumerate() {
            for (lanes, &x) in lanes.iter_mut().zip(row) {
                lanes.as_mut()[i] = x;
            }
        }
    } else {
        for i in 0..S::LANES {
            #[expect(clippy::expect_used, reason = "kernels cut slices to whole registers")]
            let row: &[T; C] = xs[i * stride..].first_chunk().expect("a row of the matrix");
            for (lanes, &x) in lanes.iter_mut().zip(row) {
                lanes.as_mut()[i] = x;
            }
        }
    }
    let mut columns = [s.splat(T::ZERO); C];
    for (column, lanes) in columns.iter_mut().zip(&lanes) {
        *column = s.load(lanes);
    }
    columns
}

/// See [`Simd::store_columns`].
#[inline(always)]
pub(super) fn store<T: Float, S: Simd<T>, const C: usize>(s: S, columns: [S::V; C], out: &mut [T], stride: usize) {
    let mut lanes = [S::Array::default(); C];
    for (lanes, column) in lanes.iter_mut().zip(columns) {
        *lanes = lanes_of(s, column);
    }
    if stride == C {
        for (i, row) in out[..S::LANES * C].as_chunks_mut::<C>().0.iter_mut().enumerate() {
            for (x, lanes) in row.iter_mut().zip(&lanes) {
                *x = lanes.as_ref()[i];
            }
        }
    } else {
        for i in 0..S::LANES {
            #[expect(clippy::expect_used, reason = "kernels cut slices to whole registers")]
            let row: &mut [T; C] = out[i * stride..].first_chunk_mut().expect("a row of the matrix");
            for (x, lanes) in row.iter_mut().zip(&lanes) {
                *x = lanes.as_ref()[i];
            }
        }
    }
}
