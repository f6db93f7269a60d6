//! Rows of probabilities. The pass that evaluates them also checks that they are not negative and sum to 1.

use super::{Class, ClassSum, RowTerms, zero_with};
use crate::math::{Quotient, Real, ln_scaled_up};
use crate::simd::{AHEAD, Lanes, RowIo, Simd, inlined, read, short, write};

/// The results of a pass over a row.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Swept {
    /// The value, in nats.
    pub(crate) value: f64,
    /// The sums of `p` and `q`; twice that of `p` where there is no `q`.
    pub(crate) sums: [f64; 2],
    /// Whether a number of either is negative.
    pub(crate) negative: bool,
}

/// A register of classes, from probabilities times 2^DIGITS.
#[inline(always)]
pub(super) fn class<T: Real, S: Simd<T>>(s: S, p: S::V, q: S::V) -> Class<S::V> {
    let (zero, infinity) = (s.splat(T::ZERO), s.splat(T::INFINITY));
    let (quotient, p_ln, q_ln) = (Quotient::of(s, p, q), ln_scaled_up(s, p), ln_scaled_up(s, q));
    Class {
        p,
        q,
        // Exact where q / p is in [1/2, 2].
        difference: q - p,
        excess: S::V::select(q.eq(zero), zero_with(s, p, infinity), quotient.excess(s)),
        log_ratio: zero - quotient.ln(s),
        p_cost: S::V::select(p.eq(zero), infinity, zero - p_ln),
        p_term: zero - p * p_ln,
        q_cost: S::V::select(q.eq(zero), infinity, zero - q_ln),
    }
}

/// Sums of registers.
#[derive(Clone, Copy)]
struct Sums<V> {
    term: V,
    p: V,
    q: V,
    /// The smallest number.
    lowest: V,
}

impl<V> Sums<V> {
    #[inline(always)]
    fn none<T: Real, S: Simd<T, V = V>>(s: S) -> Self
    where
        V: Lanes<T>,
    {
        let zero = s.splat(T::ZERO);
        Sums { term: zero, p: zero, q: zero, lowest: zero }
    }

    #[inline(always)]
    fn with<T: Real, M: ClassSum<T>>(self, term: V, p: V, q: V) -> Self
    where
        V: Lanes<T>,
    {
        let (term, p_sum, lowest) = (self.term + term, self.p + p, p.min(self.lowest));
        if M::PAIR {
            Sums { term, p: p_sum, q: self.q + q, lowest: q.min(lowest) }
        } else {
            Sums { term, p: p_sum, q: p_sum, lowest }
        }
    }

    /// Adds the sums of a block to those of its row.
    #[inline(always)]
    fn add_to<T: Real, S: Simd<T, V = V>>(self, s: S, row: &mut Swept)
    where
        V: Lanes<T>,
    {
        let lowest = -(s.splat(T::ZERO) - self.lowest).largest();
        row.add(self.term.sum(), self.p.sum(), self.q.sum(), lowest);
    }
}

impl Swept {
    /// Adds sums over some of the classes, which are times 2^DIGITS, in double precision.
    #[inline(always)]
    fn add<T: Real>(&mut self, term: T, p: T, q: T, lowest: T) {
        let scaled_up = T::SCALE_UP.to_f64();
        self.value += term.to_f64() / scaled_up;
        self.sums[0] += p.to_f64() / scaled_up;
        self.sums[1] += q.to_f64() / scaled_up;
        self.negative |= lowest < T::ZERO;
    }

    /// Turns the sum over all classes into the value.
    #[inline(always)]
    fn finish<T: Real, M: ClassSum<T>>(&mut self, class_sum: M) {
        let undefined = self.sums[0].is_nan() || self.sums[1].is_nan();
        self.value = if undefined { f64::NAN } else { class_sum.finish(self.value, RowTerms::default()) };
    }
}

/// Number of classes that are summed in the type of the row: so few that the sum's rounding error stays near theirs.
const SHORT: usize = 512;

/// Sums over a row of `len` classes the results of `f` at each register: term, `p` and `q`.
#[inline(always)]
fn sweep<T: Real, S: Simd<T>, M: ClassSum<T>>(
    s: S,
    class_sum: M,
    len: usize,
    mut f: impl FnMut(usize) -> (S::V, S::V, S::V),
) -> Swept {
    let mut row = Swept::default();
    let size = short(s, SHORT);
    for start in (0..len).step_by(size) {
        let mut sums = Sums::none(s);
        for i in (start..len.min(start + size)).step_by(S::LANES) {
            let (term, p, q) = f(i);
            sums = sums.with::<T, M>(term, p, q);
        }
        sums.add_to(s, &mut row);
    }
    row.finish(class_sum);
    row
}

/// The value of a row. Without a second distribution `q` is `p`.
#[inline(always)]
pub(crate) fn value<T: Real, S: Simd<T>, M: ClassSum<T>>(s: S, class_sum: M, p: &[T], q: &[T]) -> Swept {
    assert!(p.len() == q.len());
    sweep(
        s,
        class_sum,
        p.len(),
        inlined!(|i| {
            s.prefetch(p, i + AHEAD);
            let p_k = scaled_up(s, p, i);
            let q_k = if M::PAIR {
                s.prefetch(q, i + AHEAD);
                scaled_up(s, q, i)
            } else {
                p_k
            };
            (class_sum.term(s, class(s, p_k, q_k)), p_k, q_k)
        }),
    )
}

/// The value of a row and its gradient, each probability a free variable. Both are NaN for a row with a NaN.
#[inline(always)]
pub(crate) fn value_and_grad<T: Real, S: Simd<T>, M: ClassSum<T>>(
    s: S,
    class_sum: M,
    p: &mut RowIo<'_, T>,
    mut q: Option<&mut RowIo<'_, T>>,
) -> Swept {
    let row = sweep(
        s,
        class_sum,
        p.source().len(),
        inlined!(|i| {
            let (p_k, q_k) = registers(s, p, &q, i);
            let class = class(s, p_k, q_k);
            let [p_slope, q_slope] = class_sum.slopes(s, class);
            write(s, p_slope, p.output(), i);
            if let Some(q) = &mut q {
                write(s, q_slope, q.output(), i);
            }
            (class_sum.term(s, class), p_k, q_k)
        }),
    );
    if row.value.is_nan() {
        p.output().fill(T::NAN);
        if let Some(q) = q {
            q.output().fill(T::NAN);
        }
    }
    row
}

/// The classes from `i` on, times 2^DIGITS; without `q`, `p` twice.
#[inline(always)]
fn registers<T: Real, S: Simd<T>>(s: S, p: &RowIo<'_, T>, q: &Option<&mut RowIo<'_, T>>, i: usize) -> (S::V, S::V) {
    let p_k = scaled_up(s, p.source(), i);
    match q {
        Some(q) => (p_k, scaled_up(s, q.source(), i)),
        None => (p_k, p_k),
    }
}

/// The classes from `i` on, times 2^DIGITS.
#[inline(always)]
fn scaled_up<T: Real, S: Simd<T>>(s: S, row: &[T], i: usize) -> S::V {
    read(s, row, i, T::ZERO) * s.splat(T::SCALE_UP)
}
