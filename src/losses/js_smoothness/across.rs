//! Positions of few classes, a position a lane, a class a register: the neighbour of a lane is the next one.
//!
//! A chunk of positions lies transposed in memory, a class after the other, each as long as the chunk: what the neighbours
//! hold is the register that starts one number further on. The last position of a chunk is the first of the next.

use super::{GROWTH, between, growth, least_sure};
use crate::math::{Real, log1p, subtract};
use crate::simd::{Lanes, MAX_LANES, Mask, Simd, inlined, load_at, store_at};
use crate::tile::{self, Tile, class_sums};
use std::ops::Range;

/// Numbers of a matrix of a chunk: four of them stay in the first-level cache.
const CHUNK: usize = 2048;

/// A chunk of positions: one that is known from the chunk before, so many others, and maybe the first of the block after.
pub(crate) struct Positions<'k, T> {
    logits: &'k mut [T],
    /// Times 2^DIGITS.
    probabilities: &'k mut [T],
    /// `2 g_k` of the neighbours before and after it; 0 where these do not count.
    pulls: [&'k mut [T]; 2],
    /// `sum_k p_k 2 g_k`, of both; NaN where a distribution is undefined.
    drifts: [&'k mut [T]; 2],
    max: &'k mut [T],
    rest: &'k mut [T],
    log_partition: &'k mut [T],
    /// 1 where a position and the one before it are neighbours that count, 0 elsewhere.
    counts: &'k mut [T],
    /// The divergence of a position and the one after it.
    divergences: &'k mut [T],
    /// Room for two tiles.
    tiles: &'k mut [T],
    classes: usize,
    /// How far apart the classes are.
    stride: usize,
}

/// Matrices of a chunk, and vectors.
const MATRICES: usize = 4;
const VECTORS: usize = 7;

impl<'k, T: Real> Positions<'k, T> {
    /// How many positions are taken at a time.
    pub(crate) fn span(classes: usize) -> usize {
        (CHUNK / classes / MAX_LANES).clamp(2, 16) * MAX_LANES
    }

    /// Room for one position more at either side, and for the lanes of the last register.
    fn stride(classes: usize) -> usize {
        Self::span(classes) + 2 * MAX_LANES
    }

    /// Numbers of scratch memory that they need.
    pub(crate) fn scratch_len(classes: usize) -> usize {
        Self::stride(classes) * (MATRICES * classes + VECTORS) + tile::scratch_len(classes)
    }

    pub(crate) fn new(scratch: &'k mut [T], classes: usize) -> Self {
        let stride = Self::stride(classes);
        // What is beyond the last position is computed with, though nobody sees it.
        scratch.fill(T::ZERO);
        let mut rest = scratch;
        let mut next = |len| {
            let (part, after) = std::mem::take(&mut rest).split_at_mut(len);
            rest = after;
            part
        };
        let matrix = stride * classes;
        Positions {
            logits: next(matrix),
            probabilities: next(matrix),
            pulls: [next(matrix), next(matrix)],
            drifts: [next(stride), next(stride)],
            max: next(stride),
            rest: next(stride),
            log_partition: next(stride),
            counts: next(stride),
            divergences: next(stride),
            tiles: rest,
            classes,
            stride,
        }
    }

    /// Takes `count` rows that stand `stride` apart, which may be overwritten after, as the positions from `first` on.
    #[inline(always)]
    pub(crate) fn load<S: Simd<T>>(&mut self, s: S, first: usize, rows: (&[T], usize), count: usize) {
        s.call(inlined!(|s| self.load_rows(s, first, rows, count)));
    }

    #[inline(always)]
    fn load_rows<S: Simd<T>>(&mut self, s: S, first: usize, (rows, stride): (&[T], usize), count: usize) {
        let (zero, infinity) = (s.splat(T::ZERO), s.splat(T::INFINITY));
        let lifted = s.splat(T::TO_NORMAL);
        let (scratch, other) = self.tiles.split_at_mut(self.tiles.len() / 2);
        let mut logits = Tile::of(s, scratch, 0, self.classes);
        let mut exponentials = Tile::of(s, other, 0, self.classes);
        for i in (0..count).step_by(S::LANES) {
            let at = first + i;
            logits.load(s, &rows[i * stride..], stride, S::LANES.min(count - i));
            exponentials.copy_from(&logits);
            let sums = exponentials.exponentiate(s, zero - s.splat(T::ONE));
            let (scale, is_one) = (sums.scale(s, lifted), sums.max.eq(infinity));
            for k in 0..self.classes {
                let (z, p) = (logits.column(s, k), exponentials.column(s, k) * scale);
                // One logit of +inf has all the probability: the same distribution in finite numbers.
                let finite = S::V::select(z.eq(infinity), zero, zero - infinity);
                store_at(s, S::V::select(is_one, finite, z), self.logits, k * self.stride + at);
                store_at(s, lifted.min(p), self.probabilities, k * self.stride + at);
            }
            store_at(s, S::V::select(is_one, zero, sums.max), self.max, at);
            store_at(s, sums.rest, self.rest, at);
            store_at(s, log1p(s, sums.rest), self.log_partition, at);
        }
    }

    /// Whether each position and the one before it are neighbours that count, 1 or 0, from the second position on.
    pub(crate) fn counts(&mut self) -> &mut [T] {
        &mut self.counts[1..]
    }

    /// The divergences that [`diverge`](Self::diverge) has found, 0 of those that do not count.
    pub(crate) fn divergences(&self) -> &[T] {
        self.divergences
    }

    /// The divergences of so many pairs; with `GRAD` both positions of each get what they need for their gradients.
    #[inline(always)]
    pub(crate) fn diverge<const GRAD: bool, S: Simd<T>>(&mut self, s: S, pairs: usize) {
        s.call(inlined!(|s| self.diverge_pairs::<GRAD, S>(s, pairs)));
    }

    #[inline(always)]
    fn diverge_pairs<const GRAD: bool, S: Simd<T>>(&mut self, s: S, pairs: usize) {
        let (zero, nan) = (s.splat(T::ZERO), s.splat(T::NAN));
        for j in (0..pairs).step_by(S::LANES) {
            let counts = zero.lt(load_at(s, self.counts, j + 1));
            let (mut shift, mut is_final) = (self.shift(s, j), false);
            let least = s.splat(T::from_f64(least_sure::<T>()));
            let [sum, drift, other_drift] = loop {
                let sums = self.sweep::<GRAD, S>(s, j, shift);
                let near = counts.bits() & zero.lt(sums[0]).bits() & sums[0].lt(least).bits();
                if is_final || near == 0 {
                    break sums;
                }
                (shift, is_final) = (self.small_shift(s, j, sums[0], shift), true);
            };
            // Rounding must not leave the range; a NaN stays.
            let most = s.splat(T::from_f64(std::f64::consts::LN_2));
            store_at(s, S::V::select(counts, most.min(zero.max(sum)), zero), self.divergences, j);
            if GRAD {
                let is_defined = sum.eq(sum);
                let (drift, other_drift) =
                    (S::V::select(is_defined, drift, nan), S::V::select(is_defined, other_drift, nan));
                store_at(s, S::V::select(counts, drift, zero), self.drifts[1], j);
                store_at(s, S::V::select(counts, other_drift, zero), self.drifts[0], j + 1);
            }
        }
    }

    /// `logsumexp(z) - logsumexp(z')` of the pairs from `j` on, in two parts.
    #[inline(always)]
    fn shift<S: Simd<T>>(&self, s: S, j: usize) -> [S::V; 2] {
        let [margin, margin_lost] = subtract(s, load_at(s, self.max, j), load_at(s, self.max, j + 1));
        let [partitions, lost] = subtract(s, load_at(s, self.log_partition, j + 1), load_at(s, self.log_partition, j));
        let [shift, shift_lost] = subtract(s, margin, partitions);
        [shift, (margin_lost - lost) + shift_lost]
    }

    /// The same, where the divergence is that of near neighbours, whose sums may be too rough for it.
    #[inline(always)]
    fn small_shift<S: Simd<T>>(&self, s: S, j: usize, divergence: S::V, [shift, rest]: [S::V; 2]) -> [S::V; 2] {
        let zero = s.splat(T::ZERO);
        let [sum] = class_sums(
            s,
            self.classes,
            inlined!(|k| {
                let i = k * self.stride + j;
                let q = load_at(s, self.probabilities, i + 1);
                [growth(s, [load_at(s, self.logits, i), load_at(s, self.logits, i + 1)], q)]
            }),
        );
        let sum = sum * s.splat(T::ONE / T::TO_NORMAL);
        let is_near = divergence.lt(s.splat(T::from_f64(least_sure::<T>())));
        // NaN is not less than anything.
        let is_small = sum.abs().lt(s.splat(T::from_f64(GROWTH)));
        let small = S::V::select(is_small, log1p(s, sum), shift);
        let small_rest = S::V::select(is_small, zero, rest);
        [S::V::select(is_near, small, shift), S::V::select(is_near, small_rest, rest)]
    }

    /// The divergences and drifts of the pairs from `j` on, and with `GRAD` the pulls.
    #[inline(always)]
    fn sweep<const GRAD: bool, S: Simd<T>>(&mut self, s: S, j: usize, shift: [S::V; 2]) -> [S::V; 3] {
        let zero = s.splat(T::ZERO);
        let counts = zero.lt(load_at(s, self.counts, j + 1));
        let Positions { logits, probabilities, pulls: [before, after], stride, .. } = self;
        let [divergence, drift, other_drift] = class_sums(
            s,
            self.classes,
            inlined!(|k| {
                let i = k * *stride + j;
                let logits = [load_at(s, logits, i), load_at(s, logits, i + 1)];
                let (p, q) = (load_at(s, probabilities, i), load_at(s, probabilities, i + 1));
                let (divergence, [g, h]) = between::<GRAD, T, S>(s, logits, [p, q], shift);
                if !GRAD {
                    return [divergence, zero, zero];
                }
                store_at(s, S::V::select(counts, g, zero), after, i);
                store_at(s, S::V::select(counts, h, zero), before, i + 1);
                [divergence, p * g, q * h]
            }),
        );
        let lowered = s.splat(T::ONE / T::TO_NORMAL);
        [divergence * (s.splat(T::from_f64(0.5)) * lowered), drift * lowered, other_drift * lowered]
    }

    /// Writes `scale` times the gradients of some positions, once both neighbours of each have been looked at.
    #[inline(always)]
    pub(crate) fn gradients<S: Simd<T>>(&mut self, s: S, range: Range<usize>, scale: f64, out: &mut [T]) {
        s.call(inlined!(|s| self.write_gradients(s, range, scale, out)));
    }

    #[inline(always)]
    fn write_gradients<S: Simd<T>>(&mut self, s: S, range: Range<usize>, scale: f64, out: &mut [T]) {
        let (zero, one) = (s.splat(T::ZERO), s.splat(T::ONE));
        let scale = s.splat(T::from_f64(0.5 * scale / T::TO_NORMAL.to_f64()));
        let mut grads = Tile::of(s, self.tiles, 0, self.classes);
        for j in range.clone().step_by(S::LANES) {
            let has_met = zero.lt(load_at(s, self.counts, j) + load_at(s, self.counts, j + 1));
            let drift = load_at(s, self.drifts[0], j) + load_at(s, self.drifts[1], j);
            let max = load_at(s, self.max, j);
            let (mut others, mut top) = (zero, zero - one);
            for k in 0..self.classes {
                let i = k * self.stride + j;
                let pull = load_at(s, self.pulls[0], i) + load_at(s, self.pulls[1], i);
                let grad = scale * load_at(s, self.probabilities, i) * (pull - drift);
                let is_max = load_at(s, self.logits, i).eq(max);
                others = S::V::select(is_max, others, others + grad);
                top = S::V::select(is_max, s.splat(T::from_f64(k as f64)), top);
                grads.set_column(s, k, grad);
            }
            // A class with most of the probability, from the complement; there is but one.
            let top = S::V::select(load_at(s, self.rest, j).lt(one), top, zero - one);
            let complement = zero * drift - others;
            grads.store(
                s,
                &mut out[(j - range.start) * self.classes..],
                S::LANES.min(range.end - j),
                inlined!(|k, grad| S::V::select(has_met, S::V::select(k.eq(top), complement, grad), zero)),
            );
        }
    }

    /// Makes the position at `last` the first of the next chunk.
    pub(crate) fn carry(&mut self, last: usize) {
        let Positions { logits, probabilities, pulls: [before, _], stride, .. } = self;
        for matrix in [logits, probabilities, before] {
            for class in matrix.chunks_exact_mut(*stride) {
                class[0] = class[last];
            }
        }
        let Positions { drifts: [before, _], max, rest, log_partition, counts, .. } = self;
        for vector in [before, max, rest, log_partition, counts] {
            vector[0] = vector[last];
        }
    }
}
