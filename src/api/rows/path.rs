//! The choice of the loop for the rows of a call.

use super::{RowObjective, Targets};
use crate::api::long_rows;
use crate::losses::{Domain, LaneKernels, RowLoss, SumLoss};
use crate::math::Real;
use crate::rows::group;
use crate::view::Classes;

/// The loop for the rows of a call, with the kernels it needs. It depends on the shape, the kind of target and the
/// options:
///
/// | rows and classes | target | loss | path | file |
/// |---|---|---|---|---|
/// | fewer than 4 rows of 65 536 classes or more | a class | follows from the sum of exponentials | [`Split`](Path::Split) | `long.rs` |
/// | at most 63 classes | a class | has [`ClassLanes`](crate::losses::ClassLanes) | [`ByLane`](Path::ByLane) | `by_lane.rs` |
/// | 64 to 1024 classes | a class | has [`ClassLanes`](crate::losses::ClassLanes) | [`ByGroup`](Path::ByGroup) | `by_group.rs` |
/// | at most 64 classes (probabilities: 32) | a distribution, or a class smoothed and weighted | has [`SoftLanes`](crate::losses::SoftLanes) | [`SoftByLane`](Path::SoftByLane) | `by_lane.rs` |
/// | all others | any | any | [`ByRow`](Path::ByRow) | `by_row.rs` |
///
/// For a loss of probabilities, sparse targets go by row, since only listed classes may be read. Mapped logits
/// (temperature, softcap, prior) are never split, and long ones in half precision are widened before their kernel sees
/// them; else a map changes no path.
pub(super) enum Path<'k, T: Real, L: RowLoss<T>> {
    /// Each row is cut into parts, which all threads share.
    Split { labels: &'k Classes<'k>, loss: &'k dyn SumLoss<T> },
    /// One row per lane, one class per register.
    ByLane(&'k L::ClassLanes),
    /// One row at a time, and the sums of a group of rows together.
    ByGroup(&'k L::ClassLanes),
    /// Like [`ByLane`](Path::ByLane), with a weight for each class.
    SoftByLane(&'k L::SoftLanes),
    /// One row at a time.
    ByRow,
}

impl<T: Real, L: RowLoss<T>> RowObjective<'_, T, L> {
    /// The path of rows of this many classes.
    pub(super) fn path(&self, classes: usize) -> Path<'_, T, L> {
        let has_classes = match &self.target {
            Targets::Classes(labels) => {
                if long_rows::are_split(labels.rows(), classes)
                    && let Some(loss) = self.loss.by_sum()
                {
                    return Path::Split { labels, loss };
                }
                true
            }
            Targets::Distributions(_) | Targets::Stored(_) => false,
            Targets::Sparse(_) if L::INPUTS.1 != Domain::Reals => return Path::ByRow,
            Targets::Sparse(_) => false,
        };
        let are_few = (1..=L::MAX_CLASSES_BY_LANE).contains(&classes);
        match self.loss.lanes(has_classes) {
            LaneKernels::Classes(loss) if group::are_short(classes) => Path::ByGroup(loss),
            LaneKernels::Classes(loss) if are_few => Path::ByLane(loss),
            LaneKernels::Distributions(loss) if are_few => Path::SoftByLane(loss),
            _ => Path::ByRow,
        }
    }
}
