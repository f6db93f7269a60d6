//! Positions of few classes, a position a lane, a class a register: the neighbour of a lane is the next lane.
//!
//! A chunk of positions is transposed in memory, class after class, each as long as the chunk. The register of the
//! neighbours starts one number further on. The last position of a chunk is the first of the next.

use super::{GROWTH_LIMIT, between, growth, least_sure};
use crate::math::{Real, log1p, subtract};
use crate::simd::{Lanes, MAX_LANES, Mask, Simd, inlined, load_at, store_at};
use crate::tile::{self, Tile, class_sums};
use std::ops::Range;

/// Elements of a matrix of a chunk: four matrices fit into the first-level cache.
const CHUNK: usize = 2048;

/// A chunk of positions: the last of the chunk before, those of this chunk, and possibly the first of the next block.
pub(crate) struct Positions<'k, T> {
    logits: &'k mut [T],
    /// Times 2^DIGITS.
    probabilities: &'k mut [T],
    /// `2 g_k` for the neighbours before and after; 0 for neighbours that do not count.
    g: [&'k mut [T]; 2],
    /// `sum_k p_k 2 g_k`, likewise; NaN where a distribution is undefined.
    mean_g: [&'k mut [T]; 2],
    max: &'k mut [T],
    rest: &'k mut [T],
    log_partition: &'k mut [T],
    /// 1 where a position and the one before it are neighbours that count, 0 elsewhere.
    counts: &'k mut [T],
    /// What the gradients of a position's divergence from the one before it are multiplied by.
    upstream: &'k mut [T],
    /// The divergence of a position and the one after it.
    divergences: &'k mut [T],
    /// Room for two tiles.
    tiles: &'k mut [T],
    classes: usize,
    /// Distance of the classes.
    stride: usize,
}

/// Numbers of matrices and of vectors of a chunk.
const MATRICES: usize = 4;
const VECTORS: usize = 8;

impl<'k, T: Real> Positions<'k, T> {
    /// Number of positions at a time.
    pub(crate) fn span(classes: usize) -> usize {
        (CHUNK / classes / MAX_LANES).clamp(2, 16) * MAX_LANES
    }

    /// The positions, one more at either end, and the lanes of the last register.
    fn stride(classes: usize) -> usize {
        Self::span(classes) + 2 * MAX_LANES
    }

    /// Scratch elements of a chunk.
    pub(crate) fn scratch_len(classes: usize) -> usize {
        Self::stride(classes) * (MATRICES * classes + VECTORS) + tile::scratch_len(classes)
    }

    pub(crate) fn new(scratch: &'k mut [T], classes: usize) -> Self {
        let stride = Self::stride(classes);
        // Elements beyond the last position are computed with, and their results ignored.
        scratch.fill(T::ZERO);
        let mut rest = scratch;
        let mut next = |len| {
            let (part, after) = std::mem::take(&mut rest).split_at_mut(len);
            rest = after;
            part
        };
        let matrix = stride * classes;
        let positions = Positions {
            logits: next(matrix),
            probabilities: next(matrix),
            g: [next(matrix), next(matrix)],
            mean_g: [next(stride), next(stride)],
            max: next(stride),
            rest: next(stride),
            log_partition: next(stride),
            counts: next(stride),
            upstream: next(stride),
            divergences: next(stride),
            tiles: rest,
            classes,
            stride,
        };
        positions.upstream.fill(T::ONE);
        positions
    }

    /// Copies `count` rows of a given stride to the positions from `first` on.
    #[inline(always)]
    pub(crate) fn load<S: Simd<T>>(&mut self, s: S, first: usize, rows: (&[T], usize), count: usize) {
        s.call(inlined!(|s| self.load_rows(s, first, rows, count)));
    }

    #[inline(always)]
    fn load_rows<S: Simd<T>>(&mut self, s: S, first: usize, (rows, stride): (&[T], usize), count: usize) {
        let (zero, infinity) = (s.splat(T::ZERO), s.splat(T::INFINITY));
        let scale_up = s.splat(T::SCALE_UP);
        let (scratch, other) = self.tiles.split_at_mut(self.tiles.len() / 2);
        let mut logits = Tile::of(s, scratch, 0, self.classes);
        let mut exponentials = Tile::of(s, other, 0, self.classes);
        for i in (0..count).step_by(S::LANES) {
            let at = first + i;
            logits.load(s, &rows[i * stride..], stride, S::LANES.min(count - i));
            exponentials.copy_from(&logits);
            let sums = exponentials.exponentiate(s, None);
            let (scale, is_one) = (sums.scale(s, scale_up), sums.max.eq(infinity));
            for k in 0..self.classes {
                let (z, p) = (logits.column(s, k), exponentials.column(s, k) * scale);
                // A single logit of +inf has all the probability: it is replaced by 0, and the others by -inf.
                let finite = (zero - infinity).zero_where(z.eq(infinity));
                store_at(s, S::V::select(is_one, finite, z), self.logits, k * self.stride + at);
                store_at(s, scale_up.min(p), self.probabilities, k * self.stride + at);
            }
            store_at(s, sums.max.zero_where(is_one), self.max, at);
            store_at(s, sums.rest, self.rest, at);
            store_at(s, log1p(s, sums.rest), self.log_partition, at);
        }
    }

    /// For each position from the second on: 1 if it and the one before it are neighbours that count, else 0.
    pub(crate) fn counts(&mut self) -> &mut [T] {
        &mut self.counts[1..]
    }

    /// For each position from the second on: what the gradients of its divergence from the one before it are multiplied
    /// by.
    pub(crate) fn upstream(&mut self) -> &mut [T] {
        &mut self.upstream[1..]
    }

    /// The divergences that [`diverge`](Self::diverge) has computed; 0 for pairs that do not count.
    pub(crate) fn divergences(&self) -> &[T] {
        self.divergences
    }

    /// Computes the divergences of `pairs` pairs and, with `GRAD`, `g` and its means for the gradients.
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
            let [sum, mean, other_mean] = loop {
                let sums = self.sweep::<GRAD, S>(s, j, shift);
                let near = counts.bits() & zero.lt(sums[0]).bits() & sums[0].lt(least).bits();
                if is_final || near == 0 {
                    break sums;
                }
                (shift, is_final) = (self.small_shift(s, j, sums[0], shift), true);
            };
            // Clamped to the range of the divergence; a NaN stays.
            let most = s.splat(T::from_f64(std::f64::consts::LN_2));
            store_at(s, most.min(zero.max(sum)).zero_unless(counts), self.divergences, j);
            if GRAD {
                let is_defined = sum.eq(sum);
                let (mean, other_mean) =
                    (S::V::select(is_defined, mean, nan), S::V::select(is_defined, other_mean, nan));
                store_at(s, mean.zero_unless(counts), self.mean_g[1], j);
                store_at(s, other_mean.zero_unless(counts), self.mean_g[0], j + 1);
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

    /// The same, computed a second way for near neighbours, for which the log-sum-exps may be too inaccurate.
    #[inline(always)]
    fn small_shift<S: Simd<T>>(&self, s: S, j: usize, divergence: S::V, [shift, rest]: [S::V; 2]) -> [S::V; 2] {
        let [sum] = s.call(inlined!(|s| class_sums(
            s,
            self.classes,
            inlined!(|k| {
                let i = k * self.stride + j;
                let q = load_at(s, self.probabilities, i + 1);
                [growth(s, [load_at(s, self.logits, i), load_at(s, self.logits, i + 1)], q)]
            }),
        )));
        let sum = sum * s.splat(T::ONE / T::SCALE_UP);
        let is_near = divergence.lt(s.splat(T::from_f64(least_sure::<T>())));
        // NaN is not less than anything.
        let is_small = sum.abs().lt(s.splat(T::from_f64(GROWTH_LIMIT)));
        let small = S::V::select(is_small, log1p(s, sum), shift);
        let small_rest = rest.zero_where(is_small);
        [S::V::select(is_near, small, shift), S::V::select(is_near, small_rest, rest)]
    }

    /// The divergences of the pairs from `j` on, and with `GRAD` also `g` and its means.
    #[inline(always)]
    fn sweep<const GRAD: bool, S: Simd<T>>(&mut self, s: S, j: usize, shift: [S::V; 2]) -> [S::V; 3] {
        let zero = s.splat(T::ZERO);
        let counts = zero.lt(load_at(s, self.counts, j + 1));
        let upstream = load_at(s, self.upstream, j + 1);
        let Positions { logits, probabilities, g: [before, after], stride, .. } = self;
        let [divergence, mean, other_mean] = class_sums(
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
                let (g, h) = (g * upstream, h * upstream);
                store_at(s, g.zero_unless(counts), after, i);
                store_at(s, h.zero_unless(counts), before, i + 1);
                [divergence, p * g, q * h]
            }),
        );
        let scale_down = s.splat(T::ONE / T::SCALE_UP);
        [divergence * (s.splat(T::from_f64(0.5)) * scale_down), mean * scale_down, other_mean * scale_down]
    }

    /// Writes `scale` times the gradients of some positions, whose pairs have all been evaluated.
    #[inline(always)]
    pub(crate) fn gradients<S: Simd<T>>(&mut self, s: S, range: Range<usize>, scale: f64, out: &mut [T]) {
        s.call(inlined!(|s| self.write_gradients(s, range, scale, out)));
    }

    #[inline(always)]
    fn write_gradients<S: Simd<T>>(&mut self, s: S, range: Range<usize>, scale: f64, out: &mut [T]) {
        let (zero, one) = (s.splat(T::ZERO), s.splat(T::ONE));
        let scale = s.splat(T::from_f64(0.5 * scale / T::SCALE_UP.to_f64()));
        let mut grads = Tile::of(s, self.tiles, 0, self.classes);
        for j in range.clone().step_by(S::LANES) {
            let has_met = zero.lt(load_at(s, self.counts, j) + load_at(s, self.counts, j + 1));
            let mean = load_at(s, self.mean_g[0], j) + load_at(s, self.mean_g[1], j);
            let max = load_at(s, self.max, j);
            let (mut others, mut top) = (zero, zero - one);
            for k in 0..self.classes {
                let i = k * self.stride + j;
                let g_k = load_at(s, self.g[0], i) + load_at(s, self.g[1], i);
                let grad = scale * load_at(s, self.probabilities, i) * (g_k - mean);
                let is_max = load_at(s, self.logits, i).eq(max);
                others = S::V::select(is_max, others, others + grad);
                top = S::V::select(is_max, s.splat(T::from_f64(k as f64)), top);
                grads.set_column(s, k, grad);
            }
            // The gradient of a class with more than half the probability is minus the sum of the others.
            let top = S::V::select(load_at(s, self.rest, j).lt(one), top, zero - one);
            let complement = zero * mean - others;
            grads.store(
                s,
                &mut out[(j - range.start) * self.classes..],
                S::LANES.min(range.end - j),
                inlined!(|k, grad| S::V::select(k.eq(top), complement, grad).zero_unless(has_met)),
            );
        }
    }

    /// Copies position `last` to the start of the next chunk.
    pub(crate) fn carry(&mut self, last: usize) {
        let Positions { logits, probabilities, g: [before, _], stride, .. } = self;
        for matrix in [logits, probabilities, before] {
            for class in matrix.chunks_exact_mut(*stride) {
                class[0] = class[last];
            }
        }
        let Positions { mean_g: [before, _], max, rest, log_partition, counts, .. } = self;
        for vector in [before, max, rest, log_partition, counts] {
            vector[0] = vector[last];
        }
    }
}
