//! Rows of few classes whose logits stand a class at a time: a register of rows is read where it lies, and written so.
//! No row is transposed; but for that the loop is that of `by_lane.rs`.

use super::RowObjective;
use super::by_lane::{LaneBlock, LaneTargets, OfClasses, OfDistributions, Scratch, Tiles, chain};
use crate::api::{ColumnBlock, Curvature, GradScale};
use crate::losses::{ClassHesses, CurvedLanes, CurvedRowLoss, Group};
use crate::math::Real;
use crate::rows::LogitMap;
use crate::simd::{Isa, Kernel, Lanes, MAX_LANES, RowIo, Simd, inlined, read, write};
use crate::tile::{Total, for_groups};

/// The targets of rows whose losses have Hessians.
pub(super) trait CurvedTargets<T: Real>: LaneTargets<T> {
    /// The diagonals of a group, divided, and the weight of each row, which is 0 if it does not count.
    fn hesses<S: Simd<T>>(self, s: S, group: &Group<T, S>, divisor: S::V, is_convex: bool)
    -> (ClassHesses<S::V>, S::V);
}

impl<T: Real, L: CurvedRowLoss<T>> CurvedTargets<T> for OfClasses<'_, '_, T, L> {
    #[inline(always)]
    fn hesses<S: Simd<T>>(
        self,
        s: S,
        group: &Group<T, S>,
        divisor: S::V,
        is_convex: bool,
    ) -> (ClassHesses<S::V>, S::V) {
        (self.1.hesses(s, group, divisor, is_convex), self.1.weight(s, group))
    }
}

impl<T: Real, L: CurvedRowLoss<T>> CurvedTargets<T> for OfDistributions<'_, '_, T, L> {
    /// Those of cross-entropy.
    #[inline(always)]
    fn hesses<S: Simd<T>>(self, s: S, group: &Group<T, S>, divisor: S::V, _: bool) -> (ClassHesses<S::V>, S::V) {
        (ClassHesses::of(s, &group.sums, group.weight * group.total / divisor), group.weight)
    }
}

impl<'a, T: Real, L: CurvedRowLoss<T>> RowObjective<'a, T, L> {
    /// Losses and derivatives of some rows from row `first` on.
    pub(super) fn column_block<G: CurvedTargets<T>>(
        &self,
        isa: Isa,
        targets: G,
        first: usize,
        columns: ColumnBlock<'_, T>,
        scale: GradScale<'_, T>,
        each: Option<&mut [T]>,
    ) -> f64 {
        let map = self.loss.logit_map();
        T::with_scratch(LaneBlock::<T, G>::scratch_len(map, columns.logits.classes()), |scratch| {
            let block = LaneBlock { targets, first, map, scratch, each };
            T::dispatch(isa, ByColumn { block, columns, scale })
        })
    }
}

/// Losses and derivatives of a block of rows.
struct ByColumn<'k, T, G> {
    block: LaneBlock<'k, T, G>,
    columns: ColumnBlock<'k, T>,
    scale: GradScale<'k, T>,
}

impl<T: Real, G: CurvedTargets<T>> Kernel<T> for ByColumn<'_, T, G> {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) -> f64 {
        let ByColumn { block: LaneBlock { targets, first, map, scratch, each }, columns, scale } = self;
        let ColumnBlock { logits, rows: count, grad, hess } = columns;
        let (zero, classes) = (s.splat(T::ZERO), logits.classes());
        let divisor = T::from_f64(scale.divisor() * map.temperature());
        let mut work = (Scratch::of::<G>(map, classes, scratch), each, Total::new(), grad, hess);
        for_groups(
            s,
            [count, classes],
            Group::none(s),
            &mut work,
            inlined!(|(scratch, ..), g, rows| {
                let rows = first + rows.start..first + rows.end;
                let slopes = std::mem::take(&mut scratch.slopes);
                let mut tiles = scratch.tiles::<G, S>(s, g, classes);
                for k in 0..classes {
                    tiles.logits.set_column(s, k, read(s, &logits.class(k)[..rows.end], rows.start, T::ZERO));
                }
                if !map.is_identity() {
                    s.call(inlined!(|s| map_tile(s, map, &mut tiles, group_slopes(slopes, g, classes))));
                }
                let group =
                    Group { upstream: scale.register(s, rows.clone()), ..targets.sweep(s, rows, &mut tiles, false) };
                scratch.slopes = slopes;
                group
            }),
            inlined!(|(scratch, each, total, grad, hess), g, rows, group| {
                let slopes = std::mem::take(&mut scratch.slopes);
                let mut tiles = scratch.tiles::<G, S>(s, g, classes);
                let least = hess.as_ref().and_then(|hess| hess.options.floor);
                let least = s.splat(T::from_f64(least.unwrap_or(-f64::INFINITY)));
                // 1. second derivatives, from the exponentials
                if let Some(hess) = hess
                    && hess.options.curvature != Curvature::Gradient
                {
                    // Of the logits before the map, whose derivative enters twice.
                    let divisor = s.splat(T::from_f64(hess.scale.divisor * map.temperature().powi(2)));
                    let (hesses, weight) = targets.hesses(s, group, divisor, hess.scale.is_convex);
                    let is_zero_weight = weight.eq(zero);
                    for k in 0..classes {
                        let (e, class) = (tiles.logits.column(s, k), s.splat(T::from_f64(k as f64)));
                        let own = S::V::select(class.eq(group.class), hesses.label(s, e), hesses.at(s, e));
                        // `max` keeps a NaN on its right side.
                        hess.places.put(s, k, rows.clone(), least.max(own).zero_where(is_zero_weight));
                    }
                }
                // 2. gradients, which replace the exponentials
                let losses = match grad {
                    None => targets.value(s, group),
                    Some(grad) => {
                        let losses = targets.value_and_grad(s, &mut tiles, group, divisor, None);
                        if map.has_softcap() {
                            let slopes = group_slopes(slopes, g, classes);
                            chain(s, tiles.logits.numbers(), &slopes[..classes * S::LANES]);
                        }
                        for k in 0..classes {
                            grad.put(s, k, rows.clone(), tiles.logits.column(s, k));
                        }
                        losses
                    }
                };
                if let Some(hess) = hess
                    && hess.options.curvature == Curvature::Gradient
                {
                    let factor = s.splat(T::from_f64(hess.options.scale));
                    let is_zero_weight = targets.hesses(s, group, s.splat(T::ONE), true).1.eq(zero);
                    for k in 0..classes {
                        let own = tiles.logits.column(s, k).abs() * factor;
                        hess.places.put(s, k, rows.clone(), least.max(own).zero_where(is_zero_weight));
                    }
                }
                scratch.slopes = slopes;
                if let Some(each) = each {
                    write(s, losses, each, rows.start);
                }
                total.add(s, losses);
            }),
        );
        work.2.sum()
    }
}

/// The slopes of a group, if there are any.
#[inline(always)]
fn group_slopes<T>(slopes: &mut [T], group: usize, classes: usize) -> &mut [T] {
    if slopes.is_empty() { slopes } else { &mut slopes[group * MAX_LANES * classes..] }
}

/// Maps the logits of a tile.
#[inline(always)]
fn map_tile<T: Real, S: Simd<T>>(s: S, map: LogitMap<'_, T>, tiles: &mut Tiles<'_, T, S>, slopes: &mut [T]) {
    let numbers = tiles.logits.numbers();
    let slopes = if slopes.is_empty() { slopes } else { &mut slopes[..numbers.len()] };
    let (map, prior) = map.and_prior();
    map.row(s, 0, &mut RowIo::in_place(numbers), slopes);
    for (k, &prior) in prior.unwrap_or_default().iter().enumerate() {
        tiles.logits.set_column(s, k, tiles.logits.column(s, k) + s.splat(prior));
    }
}
