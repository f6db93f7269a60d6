//! A linear layer with few outputs: two kernels that read rows of `x` from the cache.
//!
//! ```text
//! Logits      z_ik = b_k + sum_j x_ij w_kj         lanes along j, two rows and up to five classes at once
//! AddProduct  dw_kj += sum_i g_ik x_ij             lanes along j, two registers and up to five classes at once
//! ```
//!
//! Ten independent sums keep a processor busy that has two multiply-adds a cycle and four cycles of latency, and they
//! fit into 16 registers. A general product would first pack `x`, and so read and write it once more.

use crate::simd::{Float, Kernel, Lanes, Simd, load_at, read, store_at, write};
use crate::view::Rows;

/// For more classes than this general products are used.
pub(crate) const FEW: usize = 32;

/// Classes summed at a time.
const AT_ONCE: usize = 5;

/// Runs `$body` with `$N` the length of each group of classes, from the first one of the group, `$first`.
macro_rules! groups {
    ($classes:expr, $first:ident, $N:ident => $body:expr) => {{
        let (classes, mut $first) = ($classes, 0);
        let groups = classes.div_ceil(AT_ONCE);
        for group in 0..groups {
            // Groups of nearly equal size: 12 classes are 4, 4 and 4.
            let size = (classes - $first).div_ceil(groups - group);
            match size {
                1 => {
                    const $N: usize = 1;
                    $body
                }
                2 => {
                    const $N: usize = 2;
                    $body
                }
                3 => {
                    const $N: usize = 3;
                    $body
                }
                4 => {
                    const $N: usize = 4;
                    $body
                }
                _ => {
                    const $N: usize = 5;
                    $body
                }
            }
            $first += size;
        }
    }};
}

/// The logits of some rows, row after row.
pub(crate) struct Logits<'k, T> {
    pub(crate) x: Rows<'k, T>,
    /// One row a class.
    pub(crate) weight: Rows<'k, T>,
    /// One number a class.
    pub(crate) bias: Option<&'k [T]>,
    pub(crate) logits: &'k mut [T],
}

impl<T: Float> Kernel<T> for Logits<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        let Logits { x, weight, bias, logits } = self;
        let (rows, classes) = (x.rows(), weight.rows());
        for i in (0..rows).step_by(2) {
            // The last of an odd number of rows is computed twice.
            let pair = [i, (i + 1).min(rows - 1)];
            groups!(classes, first, N => {
                let sums = dots::<N, T, S>(s, x, pair, weight, first);
                for (i, sums) in pair.into_iter().zip(sums) {
                    for (k, sum) in sums.into_iter().enumerate() {
                        let k = first + k;
                        logits[i * classes + k] = bias.map_or(sum, |bias| bias[k] + sum);
                    }
                }
            });
        }
    }
}

/// The products of two rows with some rows of the weight.
#[inline(always)]
fn dots<const N: usize, T: Float, S: Simd<T>>(
    s: S,
    rows: Rows<'_, T>,
    pair: [usize; 2],
    weight: Rows<'_, T>,
    first: usize,
) -> [[T; N]; 2] {
    let (len, (ahead, stride)) = (rows.columns(), rows.from(pair[1]));
    let x = pair.map(|i| &rows.row(i)[..len]);
    let (mut w, mut sums) = ([&x[0][..0]; N], [[s.splat(T::ZERO); N]; 2]);
    for (k, w) in w.iter_mut().enumerate() {
        *w = &weight.row(first + k)[..len];
    }
    let mut j = 0;
    while j + S::LANES <= len {
        if first == 0 {
            // The next two rows.
            s.prefetch(ahead, stride + j);
            s.prefetch(ahead, 2 * stride + j);
        }
        let (a, b) = (load_at(s, x[0], j), load_at(s, x[1], j));
        for k in 0..N {
            let w = load_at(s, w[k], j);
            sums[0][k] = a.mul_add(w, sums[0][k]);
            sums[1][k] = b.mul_add(w, sums[1][k]);
        }
        j += S::LANES;
    }
    if j < len {
        let (a, b) = (s.load_tail(&x[0][j..], T::ZERO), s.load_tail(&x[1][j..], T::ZERO));
        for k in 0..N {
            let w = s.load_tail(&w[k][j..], T::ZERO);
            sums[0][k] = a.mul_add(w, sums[0][k]);
            sums[1][k] = b.mul_add(w, sums[1][k]);
        }
    }
    let mut dots = [[T::ZERO; N]; 2];
    for (dots, sums) in dots.iter_mut().zip(sums) {
        for (dot, sum) in dots.iter_mut().zip(sums) {
            *dot = sum.sum();
        }
    }
    dots
}

/// Adds the contribution of some rows to the gradient of the weight.
pub(crate) struct AddProduct<'k, T> {
    pub(crate) x: Rows<'k, T>,
    /// The gradient of the loss with respect to the logits, row after row.
    pub(crate) grad: &'k [T],
    /// One row a class, row after row.
    pub(crate) weight_grad: &'k mut [T],
}

impl<T: Float> Kernel<T> for AddProduct<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        let AddProduct { x, grad, weight_grad } = self;
        let len = x.columns();
        if len == 0 || x.rows() == 0 {
            return;
        }
        let classes = grad.len() / x.rows();
        let whole = len - len % (2 * S::LANES);
        for j in (0..whole).step_by(2 * S::LANES) {
            groups!(classes, first, N => add::<N, T, S>(s, x, grad, weight_grad, first, j));
        }
        for j in (whole..len).step_by(S::LANES) {
            groups!(classes, first, N => add_last::<N, T, S>(s, x, grad, weight_grad, first, j));
        }
    }
}

/// Two whole registers of some classes.
#[inline(always)]
fn add<const N: usize, T: Float, S: Simd<T>>(
    s: S,
    x: Rows<'_, T>,
    grad: &[T],
    weight_grad: &mut [T],
    first: usize,
    j: usize,
) {
    let (len, classes) = (x.columns(), grad.len() / x.rows());
    let mut sums = [[s.splat(T::ZERO); 2]; N];
    for (k, sums) in sums.iter_mut().enumerate() {
        let at = &weight_grad[(first + k) * len + j..][..2 * S::LANES];
        *sums = [load_at(s, at, 0), load_at(s, at, S::LANES)];
    }
    let behind = x.rows() * x.from(0).1 + j;
    for (i, g) in grad.chunks_exact(classes).enumerate() {
        if first == 0 {
            // The same place in the next block, so that memory and arithmetic work at the same time.
            s.prefetch(x.from(i).0, behind);
            s.prefetch(x.from(i).0, behind + S::LANES);
        }
        let (x, g) = (&x.row(i)[j..][..2 * S::LANES], &g[first..][..N]);
        let (a, b) = (load_at(s, x, 0), load_at(s, x, S::LANES));
        for k in 0..N {
            let g = s.splat(g[k]);
            sums[k][0] = a.mul_add(g, sums[k][0]);
            sums[k][1] = b.mul_add(g, sums[k][1]);
        }
    }
    for (k, sums) in sums.into_iter().enumerate() {
        let at = &mut weight_grad[(first + k) * len + j..][..2 * S::LANES];
        store_at(s, sums[0], at, 0);
        store_at(s, sums[1], at, S::LANES);
    }
}

/// One register of some classes, which may be the last of its rows, and partial.
#[inline(always)]
fn add_last<const N: usize, T: Float, S: Simd<T>>(
    s: S,
    x: Rows<'_, T>,
    grad: &[T],
    weight_grad: &mut [T],
    first: usize,
    j: usize,
) {
    let (len, classes) = (x.columns(), grad.len() / x.rows());
    let mut sums = [s.splat(T::ZERO); N];
    for (k, sum) in sums.iter_mut().enumerate() {
        *sum = read(s, &weight_grad[(first + k) * len..][..len], j, T::ZERO);
    }
    for (i, g) in grad.chunks_exact(classes).enumerate() {
        let (x, g) = (read(s, x.row(i), j, T::ZERO), &g[first..][..N]);
        for k in 0..N {
            sums[k] = x.mul_add(s.splat(g[k]), sums[k]);
        }
    }
    for (k, sum) in sums.into_iter().enumerate() {
        write(s, sum, &mut weight_grad[(first + k) * len..][..len], j);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::Isa;

    /// Small whole numbers, whose sums of products are exact in any order.
    fn numbers<T: Float>(len: usize, seed: usize) -> Vec<T> {
        (0..len).map(|i| T::from_f64(((i * 29 + seed) % 17) as f64 - 8.0)).collect()
    }

    fn check<T: Float>() {
        for isa in Isa::available() {
            for rows in [0, 1, 2, 5, 16] {
                for classes in [1, 2, 3, 4, 5, 6, 7, 10, 11, 32] {
                    for len in [0, 1, 3, 8, 16, 31, 32, 33, 100] {
                        let (stride, at) = (len + 3, |i: usize, j: usize, width: usize| i * width + j);
                        let data = numbers::<T>(if rows == 0 { 0 } else { (rows - 1) * stride + len }, 1);
                        let x = Rows::with_stride("x", &data, rows, len, stride).unwrap();
                        let (w, b) = (numbers::<T>(classes * len, 2), numbers::<T>(classes, 3));
                        let weight = Rows::packed(&w, classes, len);
                        for bias in [None, Some(&b[..])] {
                            let mut logits = vec![T::NAN; rows * classes];
                            T::dispatch(isa, Logits { x, weight, bias, logits: &mut logits });
                            for (i, k) in (0..rows).flat_map(|i| (0..classes).map(move |k| (i, k))) {
                                let dot = (0..len).map(|j| (x.row(i)[j] * w[at(k, j, len)]).to_f64()).sum::<f64>();
                                let truth = dot + bias.map_or(0.0, |bias| bias[k].to_f64());
                                assert_eq!(logits[at(i, k, classes)].to_f64(), truth, "{rows} {classes} {len}");
                            }
                        }
                        let (grad, mut weight_grad) = (numbers::<T>(rows * classes, 4), numbers::<T>(classes * len, 5));
                        let before = weight_grad.clone();
                        T::dispatch(isa, AddProduct { x, grad: &grad, weight_grad: &mut weight_grad });
                        for (k, j) in (0..classes).flat_map(|k| (0..len).map(move |j| (k, j))) {
                            let sum = (0..rows).map(|i| (grad[at(i, k, classes)] * x.row(i)[j]).to_f64()).sum::<f64>();
                            let truth = before[at(k, j, len)].to_f64() + sum;
                            assert_eq!(weight_grad[at(k, j, len)].to_f64(), truth, "{rows} {classes} {len}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn both_kernels_agree_with_plain_sums_at_every_length() {
        check::<f32>();
        check::<f64>();
    }
}
