//! One file per loss: formula, kernel, oracle, tests. This file defines the two traits that a loss may implement.
//!
//! - [`RowLoss`]: mutually exclusive classes, the softmax family. It takes one row of logits and its target. If rows are
//!   short, it may take the sums of a group of rows at a time, one row per lane: [`ClassLanes`], [`SoftLanes`].
//! - [`PointLoss`]: independent labels, the sigmoid family. It takes one logit and its target, a register of them at a
//!   time.
//!
//! [`GaussianNll`], with two predictions per point, implements neither: `api/gaussian.rs` calls it.

mod binary_cross_entropy;
mod binary_weights;
mod categorical_cross_entropy;
mod gaussian_nll;
mod hinge_loss;
mod info_nce;
mod js_smoothness;
mod lanes;
mod parity_penalty;
mod siglip_loss;
mod sigmoid_cross_entropy;
mod sigmoid_focal_loss;
mod softmax_cross_entropy;
mod softmax_focal_loss;
mod softmax_stats;
mod target_weights;
mod token_logprobs;
mod topk_kl_divergence;

pub use binary_cross_entropy::BinaryCrossEntropy;
pub use categorical_cross_entropy::CategoricalCrossEntropy;
pub use gaussian_nll::{Dispersion, GaussianNll};
pub use hinge_loss::HingeLoss;
pub(crate) use info_nce::{AddColumns, Columns};
pub(crate) use js_smoothness::{Position, Positions};
pub use lanes::{
    ClassGrads, ClassHesses, ClassLanes, CurvedLanes, GradOptions, Group, LaneKernels, NoLanes, SoftLanes,
};
pub use parity_penalty::Link;
pub(crate) use parity_penalty::{Chosen, GroupSum, penalty};
pub(crate) use siglip_loss::with_target;
pub use sigmoid_cross_entropy::SigmoidCrossEntropy;
pub use sigmoid_focal_loss::SigmoidFocalLoss;
pub use softmax_cross_entropy::SoftmaxCrossEntropy;
pub use softmax_focal_loss::SoftmaxFocalLoss;
pub(crate) use softmax_stats::{GroupSums, LaneRowStats, RowStats, row_stats};
pub(crate) use token_logprobs::{token_with_grad, within};
pub use topk_kl_divergence::TopkKlDivergence;

use crate::math::Real;
use crate::rows::{LogitMap, Logits, LogitsIo, RowSum, row_total};
use crate::simd::{Lanes, Mask, Simd, inlined, read};
use crate::sparse::Pairs;
use crate::tile;

/// The target of a row of logits.
#[derive(Clone, Copy, Debug)]
pub enum RowTarget<'a, T> {
    /// A class, checked to be one of the row's.
    Class(usize),
    /// A distribution over the row's classes.
    Distribution(&'a [T]),
    /// A distribution over few of the row's classes.
    Sparse(Pairs<'a, T>),
}

/// A loss of one row of logits.
pub trait RowLoss<T: Real>: Sync {
    /// The name of the numbers of a row in errors, and their domain.
    const INPUTS: (&'static str, Domain) = ("logits", Domain::Reals);
    /// Whether a sparse target must be made dense first.
    const DENSE_TARGETS: bool = false;
    /// Whether the mean divides by the sample weights of the rows alone, whatever their targets sum to.
    const COUNTS_ROWS: bool = false;
    /// The most classes of a row that goes by lane: longer rows are faster along their registers.
    const MAX_CLASSES_BY_LANE: usize = tile::MAX_CLASSES;
    /// The kernels by lane for rows with one class each; [`NoLanes`] if there are none.
    type ClassLanes: ClassLanes<T>;
    /// The kernels by lane for rows with one distribution each.
    type SoftLanes: SoftLanes<T>;

    /// The kernels by lane for rows with one class or one distribution each.
    fn lanes(&self, has_classes: bool) -> LaneKernels<'_, Self::ClassLanes, Self::SoftLanes>;

    /// The map that is applied to the logits before the loss.
    #[inline(always)]
    fn logit_map(&self) -> LogitMap<'_, T> {
        LogitMap::identity()
    }

    /// A factor and a divisor of the gradient that kernels leave out, since the type may not hold the results; the
    /// caller applies them in double precision.
    #[inline(always)]
    fn left_out(&self) -> Option<[f64; 2]> {
        None
    }

    /// One weight per class; all 1 if absent.
    fn class_weight(&self) -> Option<&[T]>;

    /// The number of classes that the options are for, if they depend on it.
    fn classes(&self) -> Option<usize> {
        self.class_weight().map(<[T]>::len)
    }

    /// The loss, in nats.
    fn value<S: Simd<T>>(&self, s: S, logits: Logits<'_, T>, target: RowTarget<'_, T>) -> f64;

    /// The loss; writes `scale` times its gradient to the row.
    fn value_and_grad<S: Simd<T>>(&self, s: S, row: LogitsIo<'_, T>, target: RowTarget<'_, T>, scale: f64) -> f64;

    /// The same loss as a function of the sum of a row's exponentials, if it needs only a class and its logit besides.
    fn by_sum(&self) -> Option<&dyn SumLoss<T>> {
        None
    }
}

/// A loss of rows with classes that needs only the sum of the exponentials and the logit of the class.
pub trait SumLoss<T: Real>: Sync {
    /// Loss and gradient of the row.
    fn of_sum(&self, sum: RowSum<T>, class: usize, logit: T) -> OfSum;
}

/// `sum_k w_k t_k`: the contribution of a row to the divisor of the mean.
#[inline(always)]
pub(crate) fn total_weight<T: Real, S: Simd<T>>(s: S, target: RowTarget<'_, T>, class_weight: Option<&[T]>) -> f64 {
    match (target, class_weight) {
        (RowTarget::Class(_), None) => 1.0,
        (RowTarget::Sparse(pairs), _) => {
            let mut total = 0.0;
            for pair in 0..pairs.len() {
                total += pairs.get(pair).map_or(0.0, |(y, t)| t * class_weight.map_or(1.0, |w| w[y].to_f64()));
            }
            total
        }
        (RowTarget::Class(y), Some(w)) => w[y].to_f64(),
        (RowTarget::Distribution(t), None) => s.call(inlined!(|s| row_total(s, t, T::ZERO, inlined!(|_, t| t)))),
        (RowTarget::Distribution(t), Some(w)) => {
            s.call(inlined!(|s| { row_total(s, t, T::ZERO, inlined!(|k, t| t * read(s, w, k, T::ZERO))) }))
        }
    }
}

/// A loss of one row of logits that also gives the diagonal of its Hessian.
pub trait CurvedRowLoss<T: Real>: RowLoss<T, ClassLanes: CurvedLanes<T>> {
    /// Whether the Hessian of a row with a distribution is that of cross-entropy.
    const HAS_SOFT_HESS: bool = false;

    /// Whether a row with a target counts: its loss is not 0 by weight.
    fn counts<S: Simd<T>>(&self, s: S, target: RowTarget<'_, T>) -> bool;

    /// Writes the diagonal of the Hessian to `hess`, times the first of `scale`; if the second is true that of
    /// cross-entropy with the weights of the gradient.
    fn hess<S: Simd<T>>(&self, s: S, logits: &[T], target: RowTarget<'_, T>, scale: (f64, bool), hess: &mut [T]);
}

/// Loss and gradient of a row, from the sum of its exponentials.
#[derive(Clone, Copy, Debug)]
pub struct OfSum {
    pub(crate) loss: f64,
    /// The gradient of each class except the labelled one, divided by the probability of the class.
    pub(crate) others: f64,
    /// The gradient of the labelled class.
    pub(crate) label: f64,
}

/// A loss of one number, a logit, a score or a probability, with one target.
///
/// The caller checks both against their domains; the loss of a number outside is arbitrary. Lanes past the end of a
/// slice hold 0 in both, and are excluded from every sum.
pub trait PointLoss<T: Real>: Sync {
    /// The name of the number.
    const NAME: &'static str = "logits";
    /// Its domain.
    const INPUTS: Domain = Domain::Reals;
    /// The domain of the target.
    const TARGETS: Domain = Domain::Unit;

    /// Whether there is a first part of the work, which needs `x` alone.
    ///
    /// Loops over points do it for some registers before they do the rest for the first of them: a processor has more of
    /// two short chains of operations in flight than of a long one.
    const BEGINS: bool = false;

    /// That part.
    #[inline(always)]
    fn begin<S: Simd<T>>(_: S, x: S::V) -> S::V {
        x
    }

    /// The losses, in nats.
    fn value<S: Simd<T>>(&self, s: S, points: Points<S::V>) -> S::V;

    /// The losses and their derivatives.
    fn value_and_grad<S: Simd<T>>(&self, s: S, points: Points<S::V>) -> (S::V, S::V);
}

/// A loss of one logit that also gives its second derivative.
pub trait PointHess<T: Real>: PointLoss<T> {
    /// The losses, their first and second derivatives; with `is_convex` those of cross-entropy with the weights of the
    /// gradient.
    fn value_grad_hess<S: Simd<T>>(&self, s: S, points: Points<S::V>, is_convex: bool) -> [S::V; 3];
}

/// A register of points.
#[derive(Clone, Copy, Debug)]
pub struct Points<V> {
    /// The index of the first, counted from the start of a row.
    pub(crate) first: usize,
    /// The logits, or what else the loss is a function of.
    pub(crate) x: V,
    /// What [`PointLoss::begin`] makes of them.
    pub(crate) begun: V,
    pub(crate) target: V,
}

/// The numbers that an argument of a loss may hold. NaN is always accepted and yields NaN; 0 is always accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Domain {
    /// All numbers.
    Reals,
    /// The numbers from 0 to 1.
    Unit,
    /// 1, 0 and -1.
    Signs,
}

impl Domain {
    /// The lanes that hold a number outside the domain.
    #[inline(always)]
    pub(crate) fn excludes<T: Real, S: Simd<T>>(self, s: S, x: S::V) -> <S::V as Lanes<T>>::Mask {
        let (zero, one) = (s.splat(T::ZERO), s.splat(T::ONE));
        match self {
            Domain::Reals => x.lt(x),
            // The product is negative below 0 and above 1, and never rounds to 0.
            Domain::Unit => (x * (one - x)).lt(zero),
            // The members are the roots of x (x^2 - 1); for no other number does the product round to 0.
            Domain::Signs => zero.lt((x * (x * x - one)).abs()),
        }
    }

    /// The index of the first number outside the domain that is not the ignored one.
    #[inline(always)]
    pub(crate) fn first_outside<T: Real, S: Simd<T>>(self, s: S, ignored: Option<T>, numbers: &[T]) -> Option<usize> {
        // 0 is a member of every domain.
        let ignored = s.splat(ignored.unwrap_or(T::ZERO));
        for i in (0..numbers.len()).step_by(S::LANES) {
            let x = read(s, numbers, i, T::ZERO);
            let bits = self.excludes(s, x.zero_where(x.eq(ignored))).bits();
            if bits != 0 {
                return Some(i + bits.trailing_zeros() as usize);
            }
        }
        None
    }

    /// The name of the domain in errors; with `ignores` one number more is allowed.
    pub(crate) fn expected(self, ignores: bool) -> &'static str {
        match (self, ignores) {
            (Domain::Reals, _) => "a number",
            (Domain::Unit, false) => "in [0, 1]",
            (Domain::Unit, true) => "in [0, 1] or ignore_index",
            (Domain::Signs, false) => "1, 0 or -1",
            (Domain::Signs, true) => "1, 0, -1 or ignore_index",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Float, Isa, Kernel, Mask};

    /// The lanes that a domain excludes, one number at a time.
    struct Excluded(Domain, f32);

    impl Kernel<f32> for Excluded {
        type Output = bool;
        #[inline(always)]
        fn run<S: Simd<f32>>(self, s: S) -> bool {
            self.0.excludes(s, read(s, &[self.1], 0, 0.0)).bits() != 0
        }
    }

    #[test]
    fn a_domain_excludes_the_next_number_beyond_its_bounds() {
        let up = |x: f32| f32::from_bits(x.to_bits() + 1);
        let down = |x: f32| f32::from_bits(x.to_bits() - 1);
        let tiny = f32::from_bits(1);
        let mut numbers = vec![0.0, -0.0, tiny, 1e-30, 0.5, down(1.0), 1.0, up(1.0), 2.0, f32::MAX, f32::INFINITY];
        numbers.extend(numbers.clone().iter().map(|x| -x));
        for isa in Isa::available() {
            for &x in numbers.iter().chain(&[f32::NAN]) {
                let (unit, sign) = ((0.0..=1.0).contains(&x), [-1.0, 0.0, 1.0].contains(&x));
                for (domain, holds) in [(Domain::Reals, true), (Domain::Unit, unit), (Domain::Signs, sign)] {
                    let excluded = f32::dispatch(isa, Excluded(domain, x));
                    assert_eq!(excluded, !(holds || x.is_nan()), "{} {domain:?} {x:e}", isa.name());
                }
            }
        }
    }
}
