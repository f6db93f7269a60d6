//! Log-probabilities of tokens and entropies, with upstream gradients of both. Two numbers a row, of
//! [`softmax_stats`](super::softmax_stats), whose loops compute them; and an [`Objective`], so that the gradient is
//! written wherever that of a loss is: beside the logits, over them, or behind a linear layer.

use super::evaluation::{Block, SoftmaxStats};
use super::{GradOutput, GradScale, Objective};
use crate::error::{Error, Result};
use crate::losses::{GroupSums, LaneRowStats, token_with_grad, within};
use crate::math::Real;
use crate::rows::{LogitMap, LogitsIo};
use crate::simd::{Isa, Kernel, Lanes, Simd, inlined, lanes_of, split};
use crate::tile::{self, Tile, for_groups};
use crate::view::{Classes, Rows, RowsIo};

/// Log-probabilities of tokens and entropies, as an objective of two results a row. Its gradient is that of the sum of
/// both, each times its upstream gradient. There is no reduction.
#[derive(Clone, Copy, Debug)]
pub struct TokenObjective<'a, T> {
    map: LogitMap<'a, T>,
    tokens: Classes<'a>,
    upstream: [GradOutput<'a, T>; 2],
}

impl<'a, T: Real> TokenObjective<'a, T> {
    /// `upstream` are the gradients with respect to log-probability and entropy.
    ///
    /// # Errors
    /// [`Error::Parameter`] unless softcap and temperature are positive and finite.
    pub fn new(
        tokens: Classes<'a>,
        softcap: Option<f64>,
        temperature: f64,
        upstream: [GradOutput<'a, T>; 2],
    ) -> Result<Self> {
        Ok(TokenObjective { map: LogitMap::new(softcap, temperature)?, tokens, upstream })
    }

    /// The same of logits to which, after the map, the logarithm of the prior of each class is added.
    ///
    /// # Errors
    /// [`Error::Shape`] unless there are as many numbers as `classes`, [`Error::Value`] for one that is NaN or +inf.
    pub fn with_log_prior(self, log_prior: Option<&'a [T]>, classes: usize) -> Result<Self> {
        Ok(TokenObjective { map: self.map.with_log_prior(log_prior, classes)?, ..self })
    }
}

impl<T: Real> Objective<T> for TokenObjective<'_, T> {
    fn check(&self, rows: usize, classes: usize) -> Result<()> {
        if self.tokens.rows() != rows {
            return Err(Error::Shape { name: "token", expected: vec![rows], got: vec![self.tokens.rows()] });
        }
        self.tokens.check_fit("logits", &[rows, classes])?;
        self.map.check_fit(rows, classes)?;
        self.upstream.iter().try_for_each(|upstream| upstream.check(rows))
    }

    fn counts(&self, _: Isa, row: usize, _: usize) -> bool {
        self.tokens.get(row).is_some()
    }

    fn losses_per_row(&self, _: usize) -> usize {
        2
    }

    fn divisor(&self, _: Isa, _: usize, _: usize) -> f64 {
        1.0
    }

    fn value(&self, isa: Isa, first: usize, logits: Rows<'_, T>, each: Option<&mut [T]>) -> f64 {
        let mut stats = SoftmaxStats::of_rows(logits.rows());
        Block { first, logits, map: self.map, target: self.tokens, place: stats.place() }.run_on(isa);
        let Some(each) = each else { return 0.0 };
        for (i, both) in each.chunks_exact_mut(2).enumerate() {
            if self.tokens.get(first + i).is_some() {
                both.copy_from_slice(&[T::ZERO - stats.loss[i], stats.entropy[i]]);
            }
        }
        0.0
    }

    fn value_and_grad(
        &self,
        isa: Isa,
        first: usize,
        rows: RowsIo<'_, T>,
        scale: GradScale<'_, T>,
        each: Option<&mut [T]>,
    ) -> f64 {
        let (classes, divisor) = (rows.columns(), scale.divisor());
        if self.map.is_identity() && tile::are_few(classes) {
            T::with_scratch(tile::scratch_len(classes), |scratch| {
                T::dispatch(isa, GradsByLane { tokens: self, first, rows, scratch, divisor, each });
            });
        } else {
            let lens = self.scratch_lens(&rows);
            T::with_scratch(lens.iter().sum(), |scratch| {
                T::dispatch(isa, GradsByRow { tokens: self, first, rows, scratch, divisor, each });
            });
        }
        0.0
    }
}

impl<T: Real> TokenObjective<'_, T> {
    /// Of the row that is streamed, and of the slopes of the softcap.
    fn scratch_lens(&self, rows: &RowsIo<'_, T>) -> [usize; 2] {
        [rows.scratch_len(), if self.map.has_softcap() { rows.columns() } else { 0 }]
    }
}

/// Log-probabilities, entropies and gradients of a block of rows, a row at a time.
struct GradsByRow<'k, 'a, T> {
    tokens: &'k TokenObjective<'a, T>,
    first: usize,
    rows: RowsIo<'k, T>,
    scratch: &'k mut [T],
    divisor: f64,
    each: Option<&'k mut [T]>,
}

impl<T: Real> Kernel<T> for GradsByRow<'_, '_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        let GradsByRow { tokens: objective, first, mut rows, scratch, divisor, mut each } = self;
        let TokenObjective { map, tokens, upstream } = *objective;
        let [streamed, slopes] = split(scratch, objective.scratch_lens(&rows));
        let divisor = divisor * map.temperature() * map.left_out().unwrap_or(1.0);
        for i in 0..rows.rows() {
            let mut row = rows.row(i, streamed);
            let Some(token) = tokens.get(first + i) else {
                row.output().fill(T::ZERO);
                continue;
            };
            let up = upstream.map(|upstream| upstream.at(first + i) / divisor);
            let both = token_with_grad(s, LogitsIo::new(row, map, slopes), token, up);
            if let Some(each) = &mut each {
                each[2 * i..][..2].copy_from_slice(&both.map(T::from_f64));
            }
        }
    }
}

/// The same for rows of few classes: one row per lane, one class per register.
struct GradsByLane<'k, 'a, T> {
    tokens: &'k TokenObjective<'a, T>,
    first: usize,
    rows: RowsIo<'k, T>,
    scratch: &'k mut [T],
    divisor: f64,
    each: Option<&'k mut [T]>,
}

impl<T: Real> Kernel<T> for GradsByLane<'_, '_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        let GradsByLane { tokens: TokenObjective { tokens, upstream, .. }, first, rows: io, scratch, divisor, each } =
            self;
        let (count, classes) = (io.rows(), io.columns());
        let mut work = (scratch, io, each);
        for_groups(
            s,
            [count, classes],
            GroupSums::none(s),
            &mut work,
            // 1. sums of exponentials; the tile keeps the logits
            inlined!(|(scratch, io, _), g, rows| {
                let (logits, stride) = io.from(rows.start);
                let mut tile = Tile::of(s, scratch, g, classes);
                tile.load_called(s, logits, stride, rows.len());
                GroupSums::of(s, &mut tile, tokens.register(s, first + rows.start, rows.len()))
            }),
            // 2. values and gradients
            inlined!(|(scratch, io, each), g, rows, sums| {
                let mut tile = Tile::of(s, scratch, g, classes);
                if let Some(each) = each {
                    let LaneRowStats { loss, entropy, .. } = sums.stats(s, &tile);
                    let is_ignored = sums.class.lt(s.splat(T::ZERO));
                    let [logprob, entropy] = [s.splat(T::ZERO) - loss, entropy]
                        .map(inlined!(|x| lanes_of(s, S::V::select(is_ignored, s.splat(T::ZERO), x))));
                    let both = logprob.as_ref().iter().zip(entropy.as_ref());
                    for (places, both) in each[2 * rows.start..2 * rows.end].chunks_exact_mut(2).zip(both) {
                        places.copy_from_slice(&[*both.0, *both.1]);
                    }
                }
                let [logprob, entropy] = upstream.map(inlined!(|upstream| {
                    let mut lanes = S::Array::default();
                    for (lane, row) in lanes.as_mut().iter_mut().zip(rows.clone()) {
                        *lane = within(upstream.at(first + row) / divisor);
                    }
                    s.load(&lanes)
                }));
                let grads = sums.grads(s, logprob, entropy);
                let grad = &mut io.target()[rows.start * classes..];
                tile.store(s, grad, rows.len(), inlined!(|k, z| grads.at(s, k, z)));
            }),
        );
    }
}
