//! Rows of few classes by lane: one row per lane, one class per register.

use super::{RowObjective, Targets};
use crate::api::{GradScale, HessScale};
use crate::losses::{ClassLanes, CurvedLanes, CurvedRowLoss, Group, RowLoss, SoftLanes};
use crate::math::Real;
use crate::rows::LogitMap;
use crate::simd::{Kernel, Lanes, MAX_LANES, RowIo, Simd, inlined, read, split, write};
use crate::tile::{self, GROUPS, LaneSums, Tile, Total, for_groups};
use crate::view::{Rows, RowsIo};
use std::ops::Range;

/// The targets of rows that go by lane, with the loss that takes them: [`OfClasses`] or [`OfDistributions`].
pub(super) trait LaneTargets<T: Real>: Copy {
    /// Whether a group needs a tile of weights.
    const HAS_WEIGHTS: bool;
    /// Whether a group needs a spare tile.
    const NEEDS_SPARE: bool;

    /// Reads the targets of a group of rows, and computes the sums that the loss needs. The logits may become
    /// exponentials. Unless it `inlines` them, the sums of rows with classes are a call, which all such kernels share.
    fn sweep<S: Simd<T>>(self, s: S, rows: Range<usize>, tiles: &mut Tiles<'_, T, S>, inlines: bool) -> Group<T, S>;

    /// The losses of a group.
    fn value<S: Simd<T>>(self, s: S, group: &Group<T, S>) -> S::V;

    /// The losses; writes the gradients, divided by `divisor`, or leaves them in the tile of the logits.
    fn value_and_grad<S: Simd<T>>(
        self,
        s: S,
        tiles: &mut Tiles<'_, T, S>,
        group: &Group<T, S>,
        divisor: T,
        grad: Option<&mut [T]>,
    ) -> S::V;
}

/// The tiles of a group of rows; tiles that it does not need are empty.
pub(super) struct Tiles<'k, T: Real, S: Simd<T>> {
    pub(super) logits: Tile<'k, T, S>,
    weights: Tile<'k, T, S>,
    spare: Tile<'k, T, S>,
}

/// Rows with one class each.
pub(super) struct OfClasses<'k, 'a, T: Real, L: RowLoss<T>>(
    pub(super) &'k RowObjective<'a, T, L>,
    pub(super) &'k L::ClassLanes,
);

/// Rows with one distribution each, or with a class that is converted to a distribution.
pub(super) struct OfDistributions<'k, 'a, T: Real, L: RowLoss<T>>(
    pub(super) &'k RowObjective<'a, T, L>,
    pub(super) &'k L::SoftLanes,
);

// Not derived: a derive would require `Clone` and `Copy` of the loss too.
impl<T: Real, L: RowLoss<T>> Clone for OfClasses<'_, '_, T, L> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T: Real, L: RowLoss<T>> Copy for OfClasses<'_, '_, T, L> {}
impl<T: Real, L: RowLoss<T>> Clone for OfDistributions<'_, '_, T, L> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T: Real, L: RowLoss<T>> Copy for OfDistributions<'_, '_, T, L> {}

impl<T: Real, L: RowLoss<T>> LaneTargets<T> for OfClasses<'_, '_, T, L> {
    const HAS_WEIGHTS: bool = false;
    const NEEDS_SPARE: bool = false;

    #[inline(always)]
    fn sweep<S: Simd<T>>(self, s: S, rows: Range<usize>, tiles: &mut Tiles<'_, T, S>, inlines: bool) -> Group<T, S> {
        let OfClasses(objective, loss) = self;
        let (zero, one) = (s.splat(T::ZERO), s.splat(T::ONE));
        let class = objective.target.classes(s, rows.clone());
        let weight = sample_weights(s, objective.sample_weight, rows.clone()).zero_where(class.lt(zero));
        let mut group =
            Group { rows: rows.len(), class, weight, upstream: None, total: one, cost: zero, sums: LaneSums::none(s) };
        if loss.needs_margins() {
            group.cost = s.call(inlined!(|s| tiles.logits.margins(s)));
        }
        group.sums = match inlines {
            true => tiles.logits.exponentiate(s, Some(class)),
            false => tiles.logits.exponentiate_called(s, class),
        };
        group
    }

    #[inline(always)]
    fn value<S: Simd<T>>(self, s: S, group: &Group<T, S>) -> S::V {
        self.1.value(s, group)
    }

    #[inline(always)]
    fn value_and_grad<S: Simd<T>>(
        self,
        s: S,
        tiles: &mut Tiles<'_, T, S>,
        group: &Group<T, S>,
        divisor: T,
        grad: Option<&mut [T]>,
    ) -> S::V {
        let exponentials = &mut tiles.logits;
        self.1.value_and_grad(
            s,
            group,
            divisor,
            inlined!(|s, grads| match grad {
                Some(grad) => grads.store(s, exponentials, group, grad),
                None => grads.replace(s, exponentials, group),
            }),
        )
    }
}

impl<T: Real, L: RowLoss<T>> LaneTargets<T> for OfDistributions<'_, '_, T, L> {
    const HAS_WEIGHTS: bool = true;
    const NEEDS_SPARE: bool = <L::SoftLanes as SoftLanes<T>>::NEEDS_SPARE;

    #[inline(always)]
    fn sweep<S: Simd<T>>(self, s: S, rows: Range<usize>, tiles: &mut Tiles<'_, T, S>, _: bool) -> Group<T, S> {
        let OfDistributions(objective, loss) = self;
        let Tiles { logits, weights, spare } = tiles;
        let zero = s.splat(T::ZERO);
        objective.target.load(s, rows.clone(), weights);
        let total = loss.weigh(s, weights);
        let weight = sample_weights(s, objective.sample_weight, rows.clone()).zero_where(total.eq(zero));
        let class = s.splat(-T::ONE);
        let mut group =
            Group { rows: rows.len(), class, weight, upstream: None, total, cost: zero, sums: LaneSums::none(s) };
        loss.sweep(s, logits, weights, spare, &mut group);
        group
    }

    #[inline(always)]
    fn value<S: Simd<T>>(self, s: S, group: &Group<T, S>) -> S::V {
        self.1.soft_value(s, group)
    }

    #[inline(always)]
    fn value_and_grad<S: Simd<T>>(
        self,
        s: S,
        tiles: &mut Tiles<'_, T, S>,
        group: &Group<T, S>,
        divisor: T,
        grad: Option<&mut [T]>,
    ) -> S::V {
        self.1.soft_value_and_grad(s, &mut tiles.logits, &tiles.weights, group, divisor, grad)
    }
}

/// Multiplies gradients by the slopes of the map; a 0 stays 0, even if the slope is NaN.
#[inline(always)]
pub(super) fn chain<T: Real, S: Simd<T>>(s: S, grad: &mut [T], slopes: &[T]) {
    let zero = s.splat(T::ZERO);
    RowIo::in_place(grad).map(s, T::ZERO, inlined!(|i, x| (x * read(s, slopes, i, T::ZERO)).zero_where(x.eq(zero))));
}

/// The sample weights of some rows.
#[inline(always)]
pub(super) fn sample_weights<T: Real, S: Simd<T>>(s: S, weights: Option<&[T]>, rows: Range<usize>) -> S::V {
    match weights {
        Some(weights) => read(s, &weights[..rows.end], rows.start, T::ZERO),
        None => s.splat(T::ONE),
    }
}

impl<T: Real> Targets<'_, T> {
    /// The classes of some rows; -1 for rows without a class.
    #[inline(always)]
    pub(super) fn classes<S: Simd<T>>(&self, s: S, rows: Range<usize>) -> S::V {
        match self {
            Targets::Classes(classes) => classes.register(s, rows.start, rows.len()),
            _ => s.splat(-T::ONE),
        }
    }

    /// Loads the distributions of some rows, as a separate function.
    #[inline(always)]
    fn load<S: Simd<T>>(&self, s: S, rows: Range<usize>, to: &mut Tile<'_, T, S>) {
        s.call(inlined!(|s| self.load_inlined(s, rows, to)));
    }

    #[inline(always)]
    fn load_inlined<S: Simd<T>>(&self, s: S, rows: Range<usize>, to: &mut Tile<'_, T, S>) {
        match self {
            Targets::Classes(_) => {
                let (one, class) = (s.splat(T::ONE), self.classes(s, rows));
                to.map(s, inlined!(|k, _| one.zero_unless(class.eq(s.splat(T::from_f64(k as f64))))));
            }
            Targets::Distributions(targets) => {
                let (targets, stride) = targets.from(rows.start);
                to.load(s, targets, stride, rows.len());
            }
            Targets::Sparse(sparse) => {
                to.numbers().fill(T::ZERO);
                for (lane, row) in rows.enumerate() {
                    let pairs = sparse.row(row);
                    for pair in 0..pairs.len() {
                        if let Some((class, t)) = pairs.get(pair) {
                            let place = &mut to.numbers()[class * S::LANES + lane];
                            *place = *place + T::from_f64(t);
                        }
                    }
                }
            }
            Targets::Stored(_) => unreachable!("a block of them is widened first"),
        }
    }
}

/// Maps some rows of logits, as a separate function. The slopes of a softcap go to `slopes`, which is empty without a
/// softcap.
#[inline(always)]
fn map_rows<T: Real, S: Simd<T>>(
    s: S,
    map: LogitMap<'_, T>,
    (rows, stride): (&[T], usize),
    classes: usize,
    mapped: &mut [T],
    slopes: &mut [T],
) {
    s.call(inlined!(|s| {
        for (i, to) in mapped.chunks_exact_mut(classes).enumerate() {
            let slopes = if slopes.is_empty() { &mut [] } else { &mut slopes[i * classes..][..classes] };
            map.row(s, 0, &mut RowIo::new(&rows[i * stride..][..classes], to), slopes);
        }
    }));
}

/// The scratch buffers of a block of rows; buffers that are not needed are empty.
pub(super) struct Scratch<'k, T> {
    /// The tiles of the logits, of the class weights `u`, and a spare tile.
    logits: &'k mut [T],
    weights: &'k mut [T],
    spare: &'k mut [T],
    /// The mapped logits of a group.
    mapped: &'k mut [T],
    /// The slope of the softcap at each logit of all groups.
    pub(super) slopes: &'k mut [T],
}

impl<'k, T: Real> Scratch<'k, T> {
    fn lens<G: LaneTargets<T>>(map: LogitMap<'_, T>, classes: usize) -> [usize; 5] {
        let (tiles, rows) = (tile::scratch_len(classes), MAX_LANES * classes);
        let where_it = |is_needed, len| if is_needed { len } else { 0 };
        [
            tiles,
            where_it(G::HAS_WEIGHTS, tiles),
            where_it(G::NEEDS_SPARE, tiles),
            where_it(!map.is_identity(), rows),
            where_it(map.has_softcap(), GROUPS * rows),
        ]
    }

    pub(super) fn of<G: LaneTargets<T>>(map: LogitMap<'_, T>, classes: usize, scratch: &'k mut [T]) -> Self {
        let [logits, weights, spare, mapped, slopes] = split(scratch, Self::lens::<G>(map, classes));
        Scratch { logits, weights, spare, mapped, slopes }
    }

    /// The tiles of a group.
    #[inline(always)]
    pub(super) fn tiles<G: LaneTargets<T>, S: Simd<T>>(
        &mut self,
        s: S,
        group: usize,
        classes: usize,
    ) -> Tiles<'_, T, S> {
        Tiles {
            logits: Tile::of(s, self.logits, group, classes),
            weights: if G::HAS_WEIGHTS { Tile::of(s, self.weights, group, classes) } else { Tile::none() },
            spare: if G::NEEDS_SPARE { Tile::of(s, self.spare, 0, classes) } else { Tile::none() },
        }
    }

    /// The tiles of a group, with its logits loaded and, if there is a map, mapped.
    #[inline(always)]
    fn load<G: LaneTargets<T>, S: Simd<T>>(
        &mut self,
        s: S,
        map: LogitMap<'_, T>,
        (rows, stride): (&[T], usize),
        [count, classes]: [usize; 2],
        group: usize,
    ) -> Tiles<'_, T, S> {
        if self.mapped.is_empty() {
            let mut tiles = self.tiles::<G, S>(s, group, classes);
            // The path for classes is inlined; with distributions transposing is the smaller part of the work.
            if G::HAS_WEIGHTS {
                tiles.logits.load_called(s, rows, stride, count);
            } else {
                tiles.logits.load(s, rows, stride, count);
            }
            return tiles;
        }
        let slopes = if self.slopes.is_empty() { &mut [] } else { &mut self.slopes[group * MAX_LANES * classes..] };
        map_rows(s, map, (rows, stride), classes, &mut self.mapped[..count * classes], slopes);
        let mut logits = Tile::of(s, self.logits, group, classes);
        logits.load_called(s, self.mapped, classes, count);
        self.tiles::<G, S>(s, group, classes)
    }
}

/// A block of rows that goes by lane; it starts at row `first` of targets and weights.
pub(super) struct LaneBlock<'k, T, G> {
    pub(super) targets: G,
    pub(super) first: usize,
    pub(super) map: LogitMap<'k, T>,
    pub(super) scratch: &'k mut [T],
    pub(super) each: Option<&'k mut [T]>,
}

impl<T: Real, G: LaneTargets<T>> LaneBlock<'_, T, G> {
    /// The length of the scratch buffer that a block needs.
    pub(super) fn scratch_len(map: LogitMap<'_, T>, classes: usize) -> usize {
        Scratch::lens::<G>(map, classes).into_iter().sum()
    }
}

/// The losses of a block of rows.
pub(super) struct LaneValues<'k, T, G> {
    pub(super) block: LaneBlock<'k, T, G>,
    pub(super) logits: Rows<'k, T>,
}

impl<T: Real, G: LaneTargets<T>> Kernel<T> for LaneValues<'_, T, G> {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) -> f64 {
        let LaneValues { block: LaneBlock { targets, first, map, scratch, each }, logits } = self;
        let classes = logits.columns();
        let mut work = (Scratch::of::<G>(map, classes, scratch), each, Total::new());
        for_groups(
            s,
            [logits.rows(), classes],
            Group::none(s),
            &mut work,
            inlined!(|(scratch, ..), _, rows| {
                let shape = [rows.len(), classes];
                let mut tiles = scratch.load::<G, S>(s, map, logits.from(rows.start), shape, 0);
                targets.sweep(s, first + rows.start..first + rows.end, &mut tiles, true)
            }),
            inlined!(|(_, each, total), _, rows, group| {
                let losses = targets.value(s, group);
                if let Some(each) = each {
                    write(s, losses, each, rows.start);
                }
                total.add(s, losses);
            }),
        );
        work.2.sum()
    }
}

/// The losses and gradients of a block of rows.
pub(super) struct LaneGrads<'k, T, G> {
    pub(super) block: LaneBlock<'k, T, G>,
    pub(super) rows: RowsIo<'k, T>,
    pub(super) scale: GradScale<'k, T>,
}

impl<T: Real, G: LaneTargets<T>> Kernel<T> for LaneGrads<'_, T, G> {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) -> f64 {
        let LaneGrads { block: LaneBlock { targets, first, map, scratch, each }, rows: io, scale } = self;
        let (count, classes) = (io.rows(), io.columns());
        let divisor = T::from_f64(scale.divisor() * map.temperature());
        let mut work = (Scratch::of::<G>(map, classes, scratch), each, Total::new(), io);
        for_groups(
            s,
            [count, classes],
            Group::none(s),
            &mut work,
            inlined!(|(scratch, _, _, io), g, rows| {
                let shape = [rows.len(), classes];
                let mut tiles = scratch.load::<G, S>(s, map, io.from(rows.start), shape, g);
                let rows = first + rows.start..first + rows.end;
                Group { upstream: scale.register(s, rows.clone()), ..targets.sweep(s, rows, &mut tiles, true) }
            }),
            inlined!(|(scratch, each, total, io), g, rows, group| {
                let grad = &mut io.target()[rows.start * classes..];
                let mut tiles = scratch.tiles::<G, S>(s, g, classes);
                let losses = targets.value_and_grad(s, &mut tiles, group, divisor, Some(&mut *grad));
                if let Some(each) = each {
                    write(s, losses, each, rows.start);
                }
                total.add(s, losses);
                if map.has_softcap() {
                    let slopes = &scratch.slopes[g * MAX_LANES * classes..];
                    chain(s, &mut grad[..rows.len() * classes], slopes);
                }
            }),
        );
        work.2.sum()
    }
}

/// The diagonals of the Hessians of a block of rows with one class each.
pub(super) struct LaneHesses<'k, 'a, T: Real, L: RowLoss<T>> {
    pub(super) block: LaneBlock<'k, T, OfClasses<'k, 'a, T, L>>,
    pub(super) logits: Rows<'k, T>,
    pub(super) hess: &'k mut [T],
    pub(super) scale: HessScale,
}

impl<T: Real, L: CurvedRowLoss<T>> Kernel<T> for LaneHesses<'_, '_, T, L> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        let LaneHesses { block: LaneBlock { targets, first, map, scratch, .. }, logits, hess, scale } = self;
        let (zero, classes) = (s.splat(T::ZERO), logits.columns());
        // Of the logits before the map, whose derivative enters twice.
        let divisor = s.splat(T::from_f64(scale.divisor * map.temperature().powi(2)));
        for_groups(
            s,
            [logits.rows(), classes],
            Group::none(s),
            &mut (Scratch::of::<OfClasses<'_, '_, T, L>>(map, classes, scratch), hess),
            inlined!(|(scratch, _), g, rows| {
                let shape = [rows.len(), classes];
                let mut tiles = scratch.load::<OfClasses<'_, '_, T, L>, S>(s, map, logits.from(rows.start), shape, g);
                targets.sweep(s, first + rows.start..first + rows.end, &mut tiles, false)
            }),
            inlined!(|(scratch, hess), g, rows, group| {
                let hesses = targets.1.hesses(s, group, divisor, scale.is_convex);
                let is_zero_weight = hesses.weight.eq(zero);
                let mut exponentials = scratch.tiles::<OfClasses<'_, '_, T, L>, S>(s, g, classes).logits;
                exponentials.map(
                    s,
                    inlined!(|k, e| {
                        let is_own = s.splat(T::from_f64(k as f64)).eq(group.class);
                        let hess = S::V::select(is_own, hesses.label(s, e), hesses.at(s, e));
                        hess.zero_where(is_zero_weight)
                    }),
                );
                exponentials.store_called(s, &mut hess[rows.start * classes..], rows.len());
            }),
        );
    }
}

/// The weights of a block of rows with distributions, for the divisor. A row whose target contains NaN counts as if its
/// target summed to 1.
pub(super) struct LaneWeights<'k, T> {
    pub(super) targets: Rows<'k, T>,
    pub(super) class_weight: Option<&'k [T]>,
    pub(super) sample_weight: Option<&'k [T]>,
    pub(super) scratch: &'k mut [T],
}

impl<T: Real> Kernel<T> for LaneWeights<'_, T> {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) -> f64 {
        let LaneWeights { targets, class_weight, sample_weight, scratch } = self;
        let (rows, one, mut total) = (targets.rows(), s.splat(T::ONE), Total::new());
        let mut tile = Tile::of(s, scratch, 0, targets.columns());
        for i in (0..rows).step_by(S::LANES) {
            let (targets, stride) = targets.from(i);
            tile.load(s, targets, stride, S::LANES.min(rows - i));
            if let Some(w) = class_weight {
                tile.weigh(s, w);
            }
            let sums = tile.totals(s);
            let weights = S::V::select(sums.eq(sums), sums, one);
            let sample = sample_weight.map_or(one, inlined!(|weights| read(s, weights, i, T::ZERO)));
            total.add(s, sample * weights);
        }
        total.sum()
    }
}
