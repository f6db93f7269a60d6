//! Losses, gradients and Hessians of rows of one block: each row is read along its registers, and the sums of a group of
//! rows are finished by lane.

use super::by_lane::{chain, sample_weights};
use super::{RowObjective, target_row};
use crate::api::{GradScale, HessScale};
use crate::losses::{ClassGrads, ClassHesses, ClassLanes, CurvedLanes, CurvedRowLoss, GradOptions, Group, RowLoss};
use crate::math::Real;
use crate::rows::LogitMap;
use crate::rows::group::{self, GroupMaxima, GroupPivots, GroupSums, group_rows, margins, part};
use crate::simd::{Kernel, Lanes, MAX_LANES, RowIo, Simd, inlined, lanes_of, write};
use crate::tile::{LaneSums, Total};
use crate::view::{Rows, RowsIo};
use std::ops::Range;

/// The losses of a block of rows.
pub(super) struct GroupValues<'k, 'a, T: Real, L: RowLoss<T>> {
    pub(super) objective: &'k RowObjective<'a, T, L>,
    pub(super) loss: &'k L::ClassLanes,
    pub(super) first: usize,
    pub(super) logits: Rows<'k, T>,
    pub(super) scratch: &'k mut [T],
    pub(super) each: Option<&'k mut [T]>,
}

/// The length of the scratch buffer of [`GroupValues`], for mapped rows.
pub(super) fn value_scratch_len<T: Real>(map: LogitMap<'_, T>) -> usize {
    if map.is_identity() { 0 } else { group::MAX_ELEMENTS }
}

impl<T: Real, L: RowLoss<T>> Kernel<T> for GroupValues<'_, '_, T, L> {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) -> f64 {
        let GroupValues { objective, loss, first, logits, scratch, mut each } = self;
        let (count, classes, map) = (logits.rows(), logits.columns(), objective.loss.logit_map());
        let (is_mapped, needs_margins) = (!map.is_identity(), loss.needs_margins());
        let (size, mut total) = (group_rows(s, classes), Total::new());
        for start in (0..count).step_by(size) {
            let rows = start..count.min(start + size);
            let mut group = OpenGroup::of(s, objective, first + start, rows.len());
            // 1. maxima
            for (lane, i) in rows.clone().enumerate() {
                if let Some(class) = group.class(lane) {
                    let mut row = logits.row(i);
                    if is_mapped {
                        map.row(s, 0, &mut RowIo::new(row, part(scratch, lane, classes)), &mut []);
                        row = part(scratch, lane, classes);
                    }
                    group.enter(s, lane, row, class);
                }
            }
            // 2. sums of exponentials
            let (pivots, mut sums) = (group.maxima.pivots(s), GroupSums::none(s));
            for (lane, i) in rows.clone().enumerate() {
                if group.class(lane).is_some() {
                    let row = if is_mapped { part(scratch, lane, classes) } else { logits.row(i) };
                    if needs_margins {
                        group.measure(s, lane, row, &pivots);
                    }
                    sums.add(s, lane, &pivots, row);
                }
            }
            // 3. losses
            let losses = loss.value(s, &group.close(s, sums.finish(s, &pivots, &group.logit)));
            if let Some(each) = &mut each {
                write(s, losses, &mut each[..rows.end], start);
            }
            total.add(s, losses);
        }
        total.sum()
    }
}

/// The losses and gradients of a block of rows.
pub(super) struct GroupGrads<'k, 'a, T: Real, L: RowLoss<T>> {
    pub(super) objective: &'k RowObjective<'a, T, L>,
    pub(super) loss: &'k L::ClassLanes,
    pub(super) first: usize,
    pub(super) rows: RowsIo<'k, T>,
    pub(super) scratch: &'k mut [T],
    pub(super) scale: GradScale<'k, T>,
    pub(super) each: Option<&'k mut [T]>,
}

/// The length of the scratch buffer of [`GroupGrads`], for the slopes of the map.
pub(super) fn grad_scratch_len<T: Real>(map: LogitMap<'_, T>) -> usize {
    if map.has_softcap() { group::MAX_ELEMENTS } else { 0 }
}

impl<T: Real, L: RowLoss<T>> Kernel<T> for GroupGrads<'_, '_, T, L> {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) -> f64 {
        let GroupGrads { objective, loss, first, rows: mut io, scratch: slopes, scale, mut each } = self;
        let (count, classes, map) = (io.rows(), io.columns(), objective.loss.logit_map());
        let (size, divisor) = (group_rows(s, classes), T::from_f64(scale.divisor() * map.temperature()));
        let has_softcap = map.has_softcap();
        let mut total = Total::new();
        for start in (0..count).step_by(size) {
            let rows = start..count.min(start + size);
            // 1. sums of exponentials, which are kept
            let (group, sums) = keep(s, (objective, loss), first, &mut io, rows.clone(), slopes);
            // 2. losses and gradients
            let open = &group;
            let upstream = scale.register(s, first + rows.start..first + rows.end);
            let losses = loss.value_and_grad(
                s,
                &Group { upstream, ..group.close(s, sums) },
                divisor,
                inlined!(|s, grads| {
                    let grads = GradsInMemory::of(s, grads);
                    for (lane, i) in rows.clone().enumerate() {
                        match open.class(lane) {
                            Some(class) => {
                                grads.write(s, lane, target_row(&mut io, i), class);
                                if has_softcap {
                                    let slopes = part(slopes, lane, classes);
                                    s.call(inlined!(|s| chain(s, target_row(&mut io, i), slopes)));
                                }
                            }
                            None => target_row(&mut io, i).fill(T::ZERO),
                        }
                    }
                }),
            );
            if let Some(each) = &mut each {
                write(s, losses, &mut each[..rows.end], start);
            }
            total.add(s, losses);
        }
        total.sum()
    }
}

/// The diagonals of the Hessians of a block of rows.
pub(super) struct GroupHesses<'k, 'a, T: Real, L: RowLoss<T>> {
    pub(super) objective: &'k RowObjective<'a, T, L>,
    pub(super) loss: &'k L::ClassLanes,
    pub(super) first: usize,
    pub(super) logits: Rows<'k, T>,
    pub(super) hess: &'k mut [T],
    pub(super) scale: HessScale,
}

impl<T: Real, L: CurvedRowLoss<T>> Kernel<T> for GroupHesses<'_, '_, T, L> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        let GroupHesses { objective, loss, first, logits, hess, scale } = self;
        let (count, classes, map) = (logits.rows(), logits.columns(), objective.loss.logit_map());
        let size = group_rows(s, classes);
        // Of the logits before the map, whose derivative enters twice.
        let divisor = s.splat(T::from_f64(scale.divisor * map.temperature().powi(2)));
        let mut io = RowsIo::beside(logits, hess);
        for start in (0..count).step_by(size) {
            let rows = start..count.min(start + size);
            let (group, sums) = keep(s, (objective, loss), first, &mut io, rows.clone(), &mut []);
            let ClassHesses { weight, factor, top, bend } =
                loss.hesses(s, &group.close(s, sums), divisor, scale.is_convex);
            let [weight, factor, top] = [lanes_of(s, weight), lanes_of(s, factor), lanes_of(s, top)];
            let bend = bend.map(inlined!(|numbers| numbers.map(inlined!(|numbers| lanes_of(s, numbers)))));
            for (lane, i) in rows.enumerate() {
                let hess = target_row(&mut io, i);
                let Some(class) = group.class(lane).filter(|_| weight.as_ref()[lane] != T::ZERO) else {
                    hess.fill(T::ZERO);
                    continue;
                };
                let [weight, factor, top] = [spread(s, &weight, lane), spread(s, &factor, lane), spread(s, &top, lane)];
                match &bend {
                    None => {
                        let hesses = ClassHesses { weight, factor, top, bend: None };
                        RowIo::in_place(hess).finish(s, inlined!(|_, e| hesses.at(s, e)));
                    }
                    Some([bends, labels]) => {
                        let bend = [spread(s, bends, lane), spread(s, labels, lane)];
                        let hesses = ClassHesses { weight, factor, top, bend: Some(bend) };
                        s.call(inlined!(|s| RowIo::in_place(hess).finish(s, inlined!(|_, e| hesses.at(s, e)))));
                        hess[class] = labels.as_ref()[lane];
                    }
                }
            }
        }
    }
}

/// Sums the exponentials of a group of rows and keeps them in the output: all maxima first. The slopes of a softcap go to
/// `slopes`, which is empty without one.
#[inline(always)]
fn keep<T: Real, S: Simd<T>, L: RowLoss<T>>(
    s: S,
    (objective, loss): (&RowObjective<'_, T, L>, &L::ClassLanes),
    first: usize,
    io: &mut RowsIo<'_, T>,
    rows: Range<usize>,
    slopes: &mut [T],
) -> (OpenGroup<T, S>, LaneSums<T, S>) {
    let (classes, map) = (io.columns(), objective.loss.logit_map());
    let (is_mapped, needs_margins) = (!map.is_identity(), loss.needs_margins());
    let mut group = OpenGroup::of(s, objective, first + rows.start, rows.len());
    for (lane, i) in rows.clone().enumerate() {
        if let Some(class) = group.class(lane) {
            let mut row = io.short_row(i);
            if is_mapped {
                map.row(s, 0, &mut row.map_to_kept(0..classes), part(slopes, lane, classes));
                row = row.mapped();
            }
            group.enter(s, lane, row.source(), class);
        }
    }
    let (pivots, mut sums) = (group.maxima.pivots(s), GroupSums::none(s));
    for (lane, i) in rows.enumerate() {
        if group.class(lane).is_some() {
            let row = io.short_row(i);
            let mut row = if is_mapped { row.mapped() } else { row };
            if needs_margins {
                group.measure(s, lane, row.source(), &pivots);
            }
            sums.keep(s, lane, &pivots, &mut row);
        }
    }
    let sums = sums.finish(s, &pivots, &group.logit);
    (group, sums)
}

/// A group of rows before their sums are known.
struct OpenGroup<T: Real, S: Simd<T>> {
    rows: usize,
    class: S::V,
    weight: S::V,
    /// The class of each row; -1 for a row that does not count.
    classes: [i32; MAX_LANES],
    maxima: GroupMaxima<T, S>,
    /// The logit of the class.
    logit: S::Array,
    margins: S::Array,
}

impl<T: Real, S: Simd<T>> OpenGroup<T, S> {
    #[inline(always)]
    fn of<L: RowLoss<T>>(s: S, objective: &RowObjective<'_, T, L>, first: usize, rows: usize) -> Self {
        let zero = s.splat(T::ZERO);
        let class = objective.target.classes(s, first..first + rows);
        let weight = sample_weights(s, objective.sample_weight, first..first + rows).zero_where(class.lt(zero));
        let mut classes = [-1; MAX_LANES];
        let counted = lanes_of(s, S::V::select(weight.eq(zero), s.splat(-T::ONE), class));
        for (class, counted) in classes.iter_mut().zip(counted.as_ref()) {
            *class = counted.to_i32();
        }
        let none = S::Array::default();
        OpenGroup { rows, class, weight, classes, maxima: GroupMaxima::none(s), logit: none, margins: none }
    }

    /// The class of a row; `None` if the row does not count.
    #[inline(always)]
    fn class(&self, lane: usize) -> Option<usize> {
        usize::try_from(self.classes[lane]).ok()
    }

    /// Reads the maximum of a row, and the logit of its class.
    #[inline(always)]
    fn enter(&mut self, s: S, lane: usize, row: &[T], class: usize) {
        self.maxima.add(s, lane, row);
        self.logit.as_mut()[lane] = row[class];
    }

    /// Reads the margins of a row, once the maxima are known.
    #[inline(always)]
    fn measure(&mut self, s: S, lane: usize, row: &[T], pivots: &GroupPivots<T, S>) {
        let max = pivots.max.as_ref()[lane];
        self.margins.as_mut()[lane] = s.call(inlined!(|s| margins(s, row, max)));
    }

    #[inline(always)]
    fn close(&self, s: S, sums: LaneSums<T, S>) -> Group<T, S> {
        let (total, cost) = (s.splat(T::ONE), s.load(&self.margins));
        Group { rows: self.rows, class: self.class, weight: self.weight, upstream: None, total, cost, sums }
    }
}

/// The gradients of a group of rows in memory, so that those of one row can be spread over all lanes.
struct GradsInMemory<T: Real, S: Simd<T>> {
    label: S::Array,
    factor: S::Array,
    limit: S::Array,
    weight: S::Array,
    options: Option<GradOptions<S::Array>>,
}

impl<T: Real, S: Simd<T>> GradsInMemory<T, S> {
    #[inline(always)]
    fn of(s: S, grads: ClassGrads<T, S>) -> Self {
        GradsInMemory {
            label: lanes_of(s, grads.label),
            factor: lanes_of(s, grads.factor),
            limit: lanes_of(s, grads.limit),
            weight: lanes_of(s, grads.weight),
            options: match grads.options {
                None => None,
                Some(GradOptions { sign, uniform, infinite, infinity }) => Some(GradOptions {
                    sign: lanes_of(s, sign),
                    uniform: lanes_of(s, uniform),
                    infinite: lanes_of(s, infinite),
                    infinity: lanes_of(s, infinity),
                }),
            },
        }
    }

    /// Writes the gradient of a row, whose exponentials are kept.
    #[inline(always)]
    fn write(&self, s: S, lane: usize, grad: &mut [T], class: usize) {
        if self.weight.as_ref()[lane] == T::ZERO {
            grad.fill(T::ZERO);
            return;
        }
        let grads = ClassGrads::<T, S> {
            label: spread(s, &self.label, lane),
            factor: spread(s, &self.factor, lane),
            limit: spread(s, &self.limit, lane),
            weight: spread(s, &self.weight, lane),
            options: match &self.options {
                None => None,
                Some(GradOptions { sign, uniform, infinite, infinity }) => Some(GradOptions {
                    sign: spread(s, sign, lane),
                    uniform: spread(s, uniform, lane),
                    infinite: spread(s, infinite, lane),
                    infinity: spread(s, infinity, lane),
                }),
            },
        };
        RowIo::in_place(grad).finish(s, inlined!(|_, e| grads.others(s, e)));
        grad[class] = self.label.as_ref()[lane];
    }
}

/// The number of one lane in all lanes.
#[inline(always)]
fn spread<T: Real, S: Simd<T>>(s: S, numbers: &S::Array, lane: usize) -> S::V {
    s.splat(numbers.as_ref()[lane])
}
