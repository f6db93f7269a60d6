//! Softmax statistics: all that an evaluation needs of a row of logits, from one sweep over it.
//!
//! # Formula
//! For one row of logits `z`, `p = softmax(z)`, `m = max z`, `rest` the sum of `exp(z_k - m)` over every class but one
//! that attains the maximum, and the class `y`:
//!
//! ```text
//! logsumexp = m + ln(1 + rest)
//! loss      = logsumexp - z_y = ln(1 + rest) + (m - z_y)
//! entropy   = -sum_k p_k ln p_k = ln(1 + rest) + sum_k p_k (m - z_k)
//! argmax    = the first k with z_k = m
//! largest   = p_argmax = 1 / (1 + rest)
//! correct   = (argmax = y)
//! ```
//!
//! # Domain, shapes, units
//! `z` in `[-inf, inf]^c`, `y` in `[0, c)` or ignored; loss, log-sum-exp and entropy are in nats.
//!
//! # Precision
//! No sum has a negative term, so nothing cancels. Loss and entropy of a confident row, both near `rest (1 + margin)`,
//! are accurate to the last digits, which `p ln p` would lose.
//!
//! # Special values
//! A class with a logit of -inf contributes nothing. One logit of +inf: the limit, entropy 0. If no distribution is
//! defined (a logit is NaN, all are -inf, several +inf), loss, entropy and the largest probability are NaN and there is
//! no argmax; the
//! log-sum-exp is that of [`logsumexp`](crate::logsumexp). A row that does not count (ignored, or of weight 0) has loss
//! 0; its other numbers are computed as usual.
//!
//! # References
//! C. E. Shannon, *A mathematical theory of communication*, 1948, section 6 (entropy).
//! M. Milakov and N. Gimelshein, *Online normalizer calculation for softmax*, 2018, arXiv:1805.02867 (one pass).

use super::token_logprobs::TokenGrads;
use crate::math::{Real, log1p};
use crate::rows::{Logits, RowSum, Stats};
use crate::simd::Simd;
use crate::tile::{LaneStats, LaneSums, Tile};

/// The statistics of one row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowStats {
    pub(crate) loss: f64,
    pub(crate) logsumexp: f64,
    pub(crate) entropy: f64,
    pub(crate) argmax: Option<usize>,
    /// The largest probability.
    pub(crate) confidence: f64,
}

/// The statistics of a row; a row without a class does not count.
#[inline(always)]
pub(crate) fn row_stats<T: Real, S: Simd<T>>(s: S, mut logits: Logits<'_, T>, class: Option<usize>) -> RowStats {
    // 1. one sweep
    let (sum, Stats { top, entropy, .. }) = RowSum::with_stats(s, &mut logits);
    // 2. the loss, as in softmax cross-entropy
    let loss = class.map_or(0.0, |y| sum.log_partition() + sum.margin(logits.at(s, y)));
    RowStats {
        loss,
        logsumexp: sum.logsumexp(logits.swept()) + logits.lacks(),
        entropy,
        argmax: top,
        confidence: 1.0 / (1.0 + sum.rest),
    }
}

/// The sums of a group of rows, one row per lane.
#[derive(Clone, Copy)]
pub(crate) struct GroupSums<T: Real, S: Simd<T>> {
    /// The class of each row as an integer; -1 for a row without a class.
    pub(crate) class: S::V,
    sums: LaneSums<T, S>,
    stats: LaneStats<T, S>,
}

/// The statistics of a group of rows, one row per lane.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LaneRowStats<V> {
    /// Meaningless for a row without a class.
    pub(crate) loss: V,
    pub(crate) logsumexp: V,
    pub(crate) entropy: V,
    /// An integer; -1 if there is no argmax.
    pub(crate) argmax: V,
    /// The largest probability.
    pub(crate) confidence: V,
}

impl<T: Real, S: Simd<T>> GroupSums<T, S> {
    /// The sums of no rows.
    #[inline(always)]
    pub(crate) fn none(s: S) -> Self {
        GroupSums { class: s.splat(T::ZERO), sums: LaneSums::none(s), stats: LaneStats::none(s) }
    }

    /// Sums a group in one sweep.
    #[inline(always)]
    pub(crate) fn of(s: S, logits: &mut Tile<'_, T, S>, class: S::V) -> Self {
        let mut stats = LaneStats::none(s);
        let sums = logits.sums::<false>(s, Some(class), &mut stats);
        GroupSums { class, sums, stats }
    }

    /// Gradients of log-probabilities and entropies from the sums, given the gradients with respect to these.
    #[inline(always)]
    pub(crate) fn grads(&self, s: S, logprob: S::V, entropy: S::V) -> TokenGrads<T, S> {
        TokenGrads::of(s, self.class, self.sums, self.stats.margin(s, &self.sums), [logprob, entropy])
    }

    /// The statistics from the sums; `logits` is the tile that was summed.
    #[inline(always)]
    pub(crate) fn stats(&self, s: S, logits: &Tile<'_, T, S>) -> LaneRowStats<S::V> {
        let GroupSums { sums, stats, .. } = self;
        LaneRowStats {
            // as in softmax cross-entropy
            loss: log1p(s, sums.rest) + sums.margin(s),
            logsumexp: logits.logsumexp(s, sums),
            entropy: stats.entropy(s, sums),
            argmax: stats.top(s, sums),
            confidence: sums.confidence(s),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Float, Isa, Kernel, Lanes, Mask, lanes_of};
    use crate::tile::scratch_len;

    struct Row<'a, T>(&'a [T], Option<usize>);

    impl<T: Real> Kernel<T> for Row<'_, T> {
        type Output = RowStats;
        #[inline(always)]
        fn run<S: Simd<T>>(self, s: S) -> RowStats {
            row_stats(s, Logits::plain(self.0), self.1)
        }
    }

    /// A group of rows with the same class, at most as many as a register has lanes.
    struct Group<'a>(&'a [f32], usize, usize);

    impl Kernel<f32> for Group<'_> {
        type Output = Vec<RowStats>;
        #[inline(always)]
        fn run<S: Simd<f32>>(self, s: S) -> Vec<RowStats> {
            let Group(rows, class, classes) = self;
            let (count, mut scratch) = (S::LANES.min(rows.len() / classes), vec![f32::NAN; scratch_len(classes)]);
            let mut tile = Tile::of(s, &mut scratch, 0, classes);
            tile.load(s, rows, classes, count);
            let stats = GroupSums::of(s, &mut tile, s.splat(class as f32)).stats(s, &tile);
            let lanes = [stats.loss, stats.logsumexp, stats.entropy, stats.argmax, stats.confidence];
            let lanes = lanes.map(|v| lanes_of(s, v));
            let lanes = lanes.each_ref().map(|lanes| lanes.as_ref());
            let has_top = s.splat(-1.0).lt(stats.argmax).bits();
            let row = |i: usize| RowStats {
                loss: lanes[0][i].into(),
                logsumexp: lanes[1][i].into(),
                entropy: lanes[2][i].into(),
                argmax: (has_top >> i & 1 == 1).then_some(lanes[3][i] as usize),
                confidence: lanes[4][i].into(),
            };
            (0..count).map(row).collect()
        }
    }

    /// The formulas, in float64 lines: log-sum-exp and entropy.
    fn oracle(z: &[f64]) -> (f64, f64) {
        let m = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let top = z.iter().position(|&z| z == m).unwrap();
        let others = || z.iter().enumerate().filter(|&(k, z)| k != top && *z > f64::NEG_INFINITY);
        let rest: f64 = others().map(|(_, z)| (z - m).exp()).sum();
        let apart: f64 = others().map(|(_, z)| (z - m).exp() * (m - z)).sum();
        (m + rest.ln_1p(), rest.ln_1p() + apart / (1.0 + rest))
    }

    #[test]
    fn rows_agree_with_the_oracle_on_every_instruction_set() {
        for c in (1..70).chain([1000, 1024, 1025, 3000, 5000]) {
            for (scale, slope) in [(0.017, 0.0), (1e-4, 0.0), (0.2, 0.0), (0.01, 0.05), (0.01, -0.05), (0.1, 1.0)] {
                let mut z: Vec<f32> =
                    (0..c).map(|k| ((k * 7919) % 1009) as f32 * scale + k as f32 * slope - 8.0).collect();
                if c > 3 {
                    z[c / 2] = f32::NEG_INFINITY;
                }
                let wide: Vec<f64> = z.iter().map(|&z| f64::from(z)).collect();
                let (lse, entropy) = oracle(&wide);
                let y = (c * 31) % c;
                for isa in Isa::available() {
                    let case = format!("c={c} scale={scale} slope={slope} {}", isa.name());
                    let stats = f32::dispatch(isa, Row(&z, Some(y)));
                    assert!((stats.entropy - entropy).abs() <= 1e-6 * entropy + 1e-36, "{case}: {stats:?} {entropy:e}");
                    assert!((stats.logsumexp - lse).abs() <= 1e-6 * lse.abs().max(1.0), "{case}: {stats:?} {lse}");
                    let loss = lse - wide[y];
                    assert!((stats.loss - loss).abs() <= 1e-6 * lse.abs().max(loss), "{case}: {stats:?} {loss}");
                    let max = z.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                    assert_eq!(stats.argmax, z.iter().position(|&z| z == max), "{case}");
                    let double = f64::dispatch(isa, Row(&wide, Some(y)));
                    assert!((double.entropy - entropy).abs() <= 1e-13 * entropy, "{case}: {double:?} {entropy:e}");
                }
            }
        }
    }

    #[test]
    fn group_statistics_agree_with_row_statistics() {
        let special = [0.0, 88.0, -88.0, f32::NEG_INFINITY, f32::INFINITY, f32::NAN, f32::MAX, f32::MIN];
        for c in 1..65 {
            let mut z: Vec<f32> = (0..16 * c).map(|i| ((i * 7919) % 1009) as f32 * 0.017 - 8.0).collect();
            for (i, z) in z.iter_mut().enumerate().filter(|(i, _)| (i * 31 + c) % 41 < 3) {
                *z = special[(i * 31 + c) % special.len()];
            }
            for (isa, rows) in Isa::available().into_iter().flat_map(|isa| (1..=16).map(move |rows| (isa, rows))) {
                let y = (rows * 13) % c;
                for (i, ours) in f32::dispatch(isa, Group(&z[..rows * c], y, c)).into_iter().enumerate() {
                    let row = f32::dispatch(isa, Row(&z[i * c..][..c], Some(y)));
                    let case = format!("{} c={c} row {i} of {rows}: {ours:?} {row:?}", isa.name());
                    let same = |a: f64, b: f64, size: f64| {
                        let (a, b) = (a as f32, b as f32);
                        a == b || (a.is_nan() && b.is_nan()) || f64::from((a - b).abs()) <= 1e-6 * size + 1e-36
                    };
                    assert!(same(ours.loss, row.loss, row.loss.abs()), "{case}");
                    assert!(same(ours.logsumexp, row.logsumexp, row.logsumexp.abs().max(88.0)), "{case}");
                    assert!(same(ours.entropy, row.entropy, row.entropy), "{case}");
                    assert!(same(ours.confidence, row.confidence, row.confidence), "{case}");
                    assert_eq!(ours.argmax, row.argmax, "{case}");
                }
            }
        }
    }

    #[test]
    fn undefined_distributions_have_no_entropy() {
        let (inf, nan) = (f64::INFINITY, f64::NAN);
        for isa in Isa::available() {
            for z in [vec![nan, 0.0], vec![-inf; 3], vec![inf, 0.0, inf], vec![inf, nan], vec![]] {
                let stats = f64::dispatch(isa, Row(&z, None));
                assert!(stats.entropy.is_nan() && stats.argmax.is_none(), "{z:?} {stats:?}");
                assert_eq!(stats.loss, 0.0);
            }
            // In a row of several blocks, the maximum rises by more than the range of any exponential.
            let mut z = vec![-f64::MAX; 5000];
            z[3000] = f64::MAX;
            let stats = f64::dispatch(isa, Row(&z, Some(3000)));
            assert_eq!((stats.loss, stats.entropy, stats.argmax), (0.0, 0.0, Some(3000)));
            z[4000] = inf;
            let stats = f64::dispatch(isa, Row(&z, Some(0)));
            assert_eq!((stats.loss, stats.entropy, stats.argmax), (inf, 0.0, Some(4000)));
        }
    }
}
