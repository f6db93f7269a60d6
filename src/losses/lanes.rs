//! The traits of losses that take the sums of a group of rows at a time, one row per lane: [`ClassLanes`] for rows with
//! one class each, of few classes or more, [`SoftLanes`] for rows of few classes with one distribution each.

use crate::math::Real;
use crate::simd::{Lanes, Simd, inlined};
use crate::tile::{LaneSums, Tile};

/// The kernels by lane that a loss has for one kind of target.
#[derive(Clone, Copy, Debug)]
pub enum LaneKernels<'k, C, D> {
    /// No kernels.
    None,
    /// Kernels of rows with one class each.
    Classes(&'k C),
    /// Kernels of rows with one distribution each. A class is converted to a distribution.
    Distributions(&'k D),
}

/// A group of rows, at most as many as a register has lanes. The remaining lanes have weight 0.
#[derive(Clone, Copy)]
pub struct Group<T: Real, S: Simd<T>> {
    pub(crate) rows: usize,
    /// The class of each row as an integer; -1 if the row is ignored or has a distribution.
    pub(crate) class: S::V,
    /// The sample weight of each row; 0 if the row does not count.
    pub(crate) weight: S::V,
    /// What the gradient of each row is multiplied by, if the rows differ.
    pub(crate) upstream: Option<S::V>,
    /// `U = sum_k u_k` for a distribution; 1 for a class.
    pub(crate) total: S::V,
    /// A second sum over the classes of each row, beside that of the exponentials; its meaning depends on the loss.
    pub(crate) cost: S::V,
    pub(crate) sums: LaneSums<T, S>,
}

impl<T: Real, S: Simd<T>> Group<T, S> {
    /// No rows.
    #[inline(always)]
    pub(crate) fn none(s: S) -> Self {
        let zero = s.splat(T::ZERO);
        Group { rows: 0, class: zero, weight: zero, upstream: None, total: zero, cost: zero, sums: LaneSums::none(s) }
    }
}

impl<T: Real, S: Simd<T>> Group<T, S> {
    /// The weights of the gradients of rows whose losses have a weight; 0 stays 0.
    #[inline(always)]
    pub(crate) fn grad_weight(&self, s: S, weight: S::V) -> S::V {
        match self.upstream {
            None => weight,
            Some(upstream) => {
                let zero = s.splat(T::ZERO);
                (weight * upstream).zero_where(weight.eq(zero))
            }
        }
    }
}

/// A loss of rows with one class each, from the sums of a group.
pub trait ClassLanes<T: Real>: Sync {
    /// Whether the loss needs `sum_k (max z - z_k)` of each row as its [`cost`](Group::cost).
    #[inline(always)]
    fn needs_margins(&self) -> bool {
        false
    }

    /// The losses of a group, weighted.
    fn value<S: Simd<T>>(&self, s: S, group: &Group<T, S>) -> S::V;

    /// The losses; `write` gets their gradients, divided by `divisor`.
    fn value_and_grad<S: Simd<T>>(
        &self,
        s: S,
        group: &Group<T, S>,
        divisor: T,
        write: impl FnOnce(S, ClassGrads<T, S>),
    ) -> S::V;
}

/// A loss of rows with one class each that also gives the diagonal of its Hessian.
pub trait CurvedLanes<T: Real>: ClassLanes<T> {
    /// The diagonals of a group, divided; with `is_convex` those of cross-entropy with the weights of the gradient.
    fn hesses<S: Simd<T>>(&self, s: S, group: &Group<T, S>, divisor: S::V, is_convex: bool) -> ClassHesses<S::V>;

    /// The weight of each row of a group; 0 if it does not count.
    fn weight<S: Simd<T>>(&self, s: S, group: &Group<T, S>) -> S::V;
}

/// The diagonals of the Hessians of a group of rows, as functions of the exponentials: `w p_k (1 - p_k) - b p_k^2`, but
/// for the row's class.
#[derive(Clone, Copy)]
pub struct ClassHesses<V> {
    /// `w`, divided by the divisor of the loss; 0 for a row that does not count.
    pub(crate) weight: V,
    /// An exponential times this factor is the class's probability.
    pub(crate) factor: V,
    /// `p (1 - p)` of the largest class, from the complement.
    pub(crate) top: V,
    /// `b`, divided, and the number of the row's class; none if `b` is 0, and that class is like the others.
    pub(crate) bend: Option<[V; 2]>,
}

impl<V: Copy> ClassHesses<V> {
    #[inline(always)]
    pub(crate) fn of<T: Real, S: Simd<T, V = V>>(s: S, sums: &LaneSums<T, S>, weight: V) -> Self
    where
        V: Lanes<T>,
    {
        let one = s.splat(T::ONE);
        let partition = one + sums.rest;
        ClassHesses { weight, factor: sums.scale(s, one), top: sums.rest / partition / partition, bend: None }
    }

    /// The diagonal at some exponentials. `1 - p` is accurate for probabilities of at most 1/2, and only the largest
    /// class may have more.
    #[inline(always)]
    pub(crate) fn at<T: Real, S: Simd<T, V = V>>(&self, s: S, exponentials: V) -> V
    where
        V: Lanes<T>,
    {
        let (one, half) = (s.splat(T::ONE), s.splat(T::from_f64(0.5)));
        let p = one.min(exponentials * self.factor);
        let hess = self.weight * V::select(half.lt(p), self.top, p * (one - p));
        match self.bend {
            None => hess,
            Some([bend, _]) => hess - bend * p * p,
        }
    }

    /// That of the row's class.
    #[inline(always)]
    pub(crate) fn label<T: Real, S: Simd<T, V = V>>(&self, s: S, exponentials: V) -> V
    where
        V: Lanes<T>,
    {
        match self.bend {
            None => self.at(s, exponentials),
            Some([_, label]) => label,
        }
    }
}

/// The gradients of a group of rows with one class each, as functions of the exponentials.
#[derive(Clone, Copy)]
pub struct ClassGrads<T: Real, S: Simd<T>> {
    /// The gradient of the row's class.
    pub(crate) label: S::V,
    /// An exponential times this factor is a class's probability times the limit.
    pub(crate) factor: S::V,
    /// The upper limit of the product, which rounding must not exceed; +inf if the product is negative.
    pub(crate) limit: S::V,
    /// The weight of the row's gradient, which is 0 if this is.
    pub(crate) weight: S::V,
    pub(crate) options: Option<GradOptions<S::V>>,
}

/// What options add to the gradients: `sign` times the product, less `uniform`; `infinity` where the exponential is
/// `infinite`.
#[derive(Clone, Copy)]
pub struct GradOptions<V> {
    pub(crate) sign: V,
    pub(crate) uniform: V,
    pub(crate) infinite: V,
    /// Of the sign that the gradient is multiplied by.
    pub(crate) infinity: V,
}

impl<T: Real, S: Simd<T>> ClassGrads<T, S> {
    /// The gradients of classes other than the row's.
    #[inline(always)]
    pub(crate) fn others(&self, s: S, exponentials: S::V) -> S::V {
        let product = self.limit.min(exponentials * self.factor);
        match self.options {
            None => product,
            Some(options) => options.apply(s, product, exponentials),
        }
    }

    /// Writes the gradients of a tile of exponentials to the rows of `grad`.
    #[inline(always)]
    pub(crate) fn store(&self, s: S, exponentials: &mut Tile<'_, T, S>, group: &Group<T, S>, grad: &mut [T]) {
        let zero = s.splat(T::ZERO);
        let is_zero_weight = self.weight.eq(zero);
        exponentials.store(
            s,
            grad,
            group.rows,
            inlined!(|k, e| {
                let gradient = S::V::select(k.eq(group.class), self.label, self.others(s, e));
                gradient.zero_where(is_zero_weight)
            }),
        );
    }
}

impl<T: Real, S: Simd<T>> ClassGrads<T, S> {
    /// Replaces a tile of exponentials by the gradients.
    #[inline(always)]
    pub(crate) fn replace(&self, s: S, exponentials: &mut Tile<'_, T, S>, group: &Group<T, S>) {
        let zero = s.splat(T::ZERO);
        let is_zero_weight = self.weight.eq(zero);
        exponentials.map(
            s,
            inlined!(|k, e| {
                let is_own = s.splat(T::from_f64(k as f64)).eq(group.class);
                S::V::select(is_own, self.label, self.others(s, e)).zero_where(is_zero_weight)
            }),
        );
    }
}

impl<V: Copy> GradOptions<V> {
    #[inline(always)]
    fn apply<T: Real, S: Simd<T, V = V>>(&self, s: S, product: V, exponentials: V) -> V
    where
        V: Lanes<T>,
    {
        let gradient = product.mul_add(self.sign, s.splat(T::ZERO) - self.uniform);
        V::select(exponentials.eq(self.infinite), self.infinity, gradient)
    }
}

/// A loss of rows with one distribution each, by lane.
pub trait SoftLanes<T: Real>: Sync {
    /// Whether [`sweep`](Self::sweep) needs a spare tile.
    const NEEDS_SPARE: bool = false;

    /// Turns distributions into the weights `u` of their classes. Returns their sum `U`.
    fn weigh<S: Simd<T>>(&self, s: S, targets: &mut Tile<'_, T, S>) -> S::V;

    /// Computes the sums that the loss needs of a group. The logits may become exponentials, and the weights may become
    /// those of the gradient.
    fn sweep<S: Simd<T>>(
        &self,
        s: S,
        logits: &mut Tile<'_, T, S>,
        weights: &mut Tile<'_, T, S>,
        spare: &mut Tile<'_, T, S>,
        group: &mut Group<T, S>,
    );

    /// The losses of a group, weighted.
    fn soft_value<S: Simd<T>>(&self, s: S, group: &Group<T, S>) -> S::V;

    /// The losses; writes their gradients, divided by `divisor`, over the exponentials and to the rows of `grad`.
    fn soft_value_and_grad<S: Simd<T>>(
        &self,
        s: S,
        exponentials: &mut Tile<'_, T, S>,
        weights: &Tile<'_, T, S>,
        group: &Group<T, S>,
        divisor: T,
        grad: Option<&mut [T]>,
    ) -> S::V;
}

/// The lane kernels of a loss without lane kernels.
#[derive(Clone, Copy, Debug)]
pub enum NoLanes {}

impl<T: Real> ClassLanes<T> for NoLanes {
    #[inline(always)]
    fn value<S: Simd<T>>(&self, _: S, _: &Group<T, S>) -> S::V {
        match *self {}
    }

    #[inline(always)]
    fn value_and_grad<S: Simd<T>>(&self, _: S, _: &Group<T, S>, _: T, _: impl FnOnce(S, ClassGrads<T, S>)) -> S::V {
        match *self {}
    }
}

impl<T: Real> SoftLanes<T> for NoLanes {
    fn weigh<S: Simd<T>>(&self, _: S, _: &mut Tile<'_, T, S>) -> S::V {
        match *self {}
    }

    fn sweep<S: Simd<T>>(
        &self,
        _: S,
        _: &mut Tile<'_, T, S>,
        _: &mut Tile<'_, T, S>,
        _: &mut Tile<'_, T, S>,
        _: &mut Group<T, S>,
    ) {
        match *self {}
    }

    fn soft_value<S: Simd<T>>(&self, _: S, _: &Group<T, S>) -> S::V {
        match *self {}
    }

    fn soft_value_and_grad<S: Simd<T>>(
        &self,
        _: S,
        _: &mut Tile<'_, T, S>,
        _: &Tile<'_, T, S>,
        _: &Group<T, S>,
        _: T,
        _: Option<&mut [T]>,
    ) -> S::V {
        match *self {}
    }
}
