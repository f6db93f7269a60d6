//! What every loss must do, whatever it is, given what is true of it.

use super::draw::{Draw, Number, Stored, doubles, wide, widened};
use super::truth::{Near, Truth};
use std::num::NonZero;
use xentrs::{
    ColumnPlaces, Columns, Curvature, CurvedObjective, Error, GradOutput, HessOptions, Loss, Objective, Reduction,
    Result, Rows, RowsIo, value, value_and_grad, value_by_column, value_grad_hess, with_num_threads,
};

/// What places hold before they are written.
pub const FILL: f64 = 7.0;

/// A loss with its targets and weights, some of which have Hessians.
pub enum Form<'a, T> {
    Plain(Box<dyn Objective<T> + 'a>),
    Curved(Box<dyn CurvedObjective<T> + 'a>),
}

impl<T: Number> Form<'_, T> {
    pub fn objective(&self) -> &dyn Objective<T> {
        match self {
            Form::Plain(objective) => &**objective,
            Form::Curved(objective) => &**objective,
        }
    }
}

/// A refusal, if there must be one. Its message must be one.
pub fn refused<R>(result: &Result<R>, must_be_answered: bool, what: &str) -> bool {
    match result {
        Ok(_) => assert!(must_be_answered, "{what}: a wrong argument was taken"),
        Err(error) => {
            assert!(!must_be_answered, "{what}: refused, {error}");
            assert!(!error.to_string().is_empty() && !matches!(error, Error::OutOfMemory { .. }), "{what}: {error:?}");
        }
    }
    result.is_err()
}

/// The same bits; all NaN count as one.
pub fn same_number(a: f64, b: f64) -> bool {
    a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan()
}

pub fn same(a: &[f64], b: &[f64], what: &str) {
    assert_eq!(a.len(), b.len(), "{what}");
    for (i, (&a, &b)) in a.iter().zip(b).enumerate() {
        assert!(same_number(a, b), "{what}, number {i}: {a:e} and {b:e}");
    }
}

/// The losses, one or as many as there are rows or points.
pub fn numbers<T: Number>(loss: &Loss<T>) -> Vec<f64> {
    match loss {
        Loss::Scalar(loss) => vec![*loss],
        Loss::Each(losses) => losses.iter().map(|loss| loss.double()).collect(),
    }
}

/// Whether places are as they were.
pub fn are_untouched<T: Number>(places: &[T]) -> bool {
    places.iter().all(|x| x.double() == FILL)
}

/// An upstream gradient, and what it multiplies each gradient by.
#[derive(Debug)]
pub enum Upstream<T> {
    Number(f64),
    Each(Vec<T>),
}

impl<T: Number> Upstream<T> {
    pub fn drawn(draw: &mut Draw<'_>, losses: usize) -> Self {
        let any = [0.0, -0.0, -2.5, 1e-3, f64::NAN, f64::INFINITY, 1e6, 3.0];
        match draw.byte() % 8 {
            0 => Upstream::Number(draw.pick(&any)),
            1 => {
                let usual = draw.one_in(2);
                let factor = |draw: &mut Draw<'_>| if usual { draw.between(-2.0, 2.0) } else { any[draw.below(8)] };
                Upstream::Each((0..draw.length(losses)).map(|_| T::new(factor(draw))).collect())
            }
            _ => Upstream::Number(1.0),
        }
    }

    pub fn given(&self) -> GradOutput<'_, T> {
        match self {
            Upstream::Number(number) => GradOutput::Number(*number),
            Upstream::Each(each) => GradOutput::Each(each),
        }
    }

    pub fn at(&self, loss: usize) -> f64 {
        match self {
            Upstream::Number(number) => *number,
            Upstream::Each(each) => each[loss].double(),
        }
    }
}

/// The same rows, with `gap` NaN between them, and their stride.
pub fn apart<S: Stored>(numbers: &[S], [rows, classes]: [usize; 2], gap: usize) -> (Vec<S>, usize) {
    let stride = classes + gap;
    let mut wide = vec![S::of(f64::NAN); rows * stride];
    for i in 0..rows {
        wide[i * stride..][..classes].copy_from_slice(&numbers[i * classes..][..classes]);
    }
    wide.truncate((rows * stride).saturating_sub(gap));
    (wide, stride)
}

/// What a loss has answered, and what it was asked for.
pub struct Answer<T> {
    pub loss: Loss<T>,
    pub grad: Vec<T>,
    pub reduction: Reduction,
    pub upstream: Upstream<T>,
}

/// A loss of `rows` rows of `classes` logits, all ways that it can be asked for, beside what is true of it.
pub fn loss<S: Stored>(
    draw: &mut Draw<'_>,
    logits: &[S],
    [rows, classes]: [usize; 2],
    form: Result<Form<'_, S::Real>>,
    truth: &Truth,
    may_reduce: bool,
) -> Option<Answer<S::Real>> {
    let real = widened(logits);
    let reduction = if may_reduce { draw.reduction() } else { Reduction::None };
    let Ok(form) = form else {
        refused(&form.map(drop), draw.valid, "options");
        return None;
    };
    let objective = form.objective();
    // 1. the loss alone
    let view = Rows::new("logits", &real, rows, classes).unwrap();
    let alone = value(objective, view, reduction);
    let is_refused = refused(&alone, draw.valid, "loss");
    // 2. with its gradient, the number that all others are held against
    let per_row = truth.losses.len().checked_div(rows).unwrap_or(0);
    let upstream = if may_reduce { Upstream::drawn(draw, truth.losses.len()) } else { Upstream::Number(1.0) };
    draw.show((&real, reduction, &upstream));
    let mut grad = vec![S::Real::new(FILL); real.len()];
    let fresh = draw.one_in(2);
    let io = RowsIo::new(view, &mut grad).unwrap().fresh(fresh);
    let base = with_num_threads(NonZero::<usize>::MIN, || value_and_grad(objective, io, reduction, upstream.given()));
    if refused(&base, draw.valid, "loss with gradient") || is_refused {
        assert!(fresh || are_untouched(&grad), "an argument was refused, and the place written");
        let mut both = logits.to_vec();
        let io = RowsIo::in_place(&mut both, rows, classes).unwrap();
        refused(&value_and_grad(objective, io, reduction, upstream.given()), false, "in place");
        same(&wide(&both), &wide(logits), "an argument was refused, and the logits overwritten");
        return None;
    }
    let (alone, base) = (alone.unwrap(), base.unwrap());
    for (alone, with_grad) in numbers(&alone).into_iter().zip(numbers(&base)) {
        let near = Near::of(with_grad, 8.0 * S::Real::EPS * with_grad.abs() + 64.0 * S::Real::TINY);
        assert!(near.is(alone), "the loss alone is {alone:e}, with its gradient {with_grad:e}");
    }
    // 3. the truth
    truth.judge_losses::<S::Real>(&base, reduction);
    truth.judge_grads(&grad, reduction, |loss| upstream.at(loss), if per_row == classes { 1 } else { classes });
    // 4. the same bits another way
    let narrow: Vec<S> = grad.iter().map(|x| S::of(x.double())).collect();
    let mut place = vec![S::of(FILL); logits.len()];
    let way = if draw.large { 3 } else { draw.byte() % 6 };
    let again = match way {
        0 => {
            place.copy_from_slice(logits);
            let io = RowsIo::in_place(&mut place, rows, classes).unwrap();
            value_and_grad(objective, io, reduction, upstream.given())
        }
        1 => {
            let (data, stride) = apart(logits, [rows, classes], draw.pick(&[1, 3, 0, 17]));
            let view = Rows::with_stride("logits", &data, rows, classes, stride).unwrap();
            value_and_grad(objective, RowsIo::new(view, &mut place).unwrap(), reduction, upstream.given())
        }
        2 => {
            let mut single = vec![FILL as f32; logits.len()];
            let view = Rows::new("logits", logits, rows, classes).unwrap();
            let loss = S::grad_in_single(objective, view, &mut single, reduction, upstream.given());
            let expected: Vec<f32> = grad.iter().map(|x| x.double() as f32).collect();
            same(&wide(&single), &wide(&expected), "gradient in single precision");
            place.copy_from_slice(&narrow);
            loss
        }
        _ => {
            let view = Rows::new("logits", logits, rows, classes).unwrap();
            let io = RowsIo::new(view, &mut place).unwrap().fresh(!fresh);
            let two = NonZero::new(2).unwrap();
            with_num_threads(two, || value_and_grad(objective, io, reduction, upstream.given()))
        }
    };
    same(&numbers(&again.unwrap()), &numbers(&base), &format!("loss, way {way}"));
    same(&wide(&place), &wide(&narrow), &format!("gradient, way {way}"));
    if let Form::Curved(objective) = &form {
        curved(draw, &**objective, view, (&base, &grad), reduction, &upstream, truth);
    }
    Some(Answer { loss: base, grad, reduction, upstream })
}

/// The diagonal of the Hessian, and logits that stand a class at a time.
fn curved<T: Number>(
    draw: &mut Draw<'_>,
    objective: &dyn CurvedObjective<T>,
    rows: Rows<'_, T>,
    (loss, grad): (&Loss<T>, &[T]),
    reduction: Reduction,
    upstream: &Upstream<T>,
    truth: &Truth,
) {
    let (count, classes, n) = (rows.rows(), rows.columns(), grad.len());
    let places = || vec![T::new(FILL); n];
    // 1. the Hessian
    let kind = draw.pick(&[Curvature::Exact, Curvature::Exact, Curvature::Convex, Curvature::Gradient]);
    let (was_valid, was_tame) = (draw.valid, draw.tame);
    let scale = draw.option(&[1.0, 0.5], |scale| scale > 0.0 && scale < f64::INFINITY);
    let floor = draw.one_in(4).then(|| draw.option(&[0.0, 1e-3], |floor| (0.0..f64::INFINITY).contains(&floor)));
    let (mut own, mut hess) = (places(), vec![T::new(FILL); draw.length(n)]);
    let options = HessOptions::new(kind, scale, floor);
    let result = options.and_then(|options| {
        value_grad_hess(objective, RowsIo::new(rows, &mut own).unwrap(), &mut hess, reduction, options)
    });
    if refused(&result, draw.valid, "Hessian") {
        assert!(are_untouched(&own) && are_untouched(&hess), "the Hessian was refused, and its place written");
    } else {
        // Without a gradient the loss is that of `value`.
        if !matches!(upstream, Upstream::Number(0.0)) {
            same(&numbers(&result.unwrap()), &numbers(loss), "loss with Hessian");
        }
        if matches!(upstream, Upstream::Number(1.0)) && classes > 0 {
            same(&doubles(&own), &doubles(grad), "gradient with Hessian");
        }
        if kind == Curvature::Exact && floor.is_none() && draw.tame {
            truth.judge_hess(&hess, reduction, scale);
        }
    }
    (draw.valid, draw.tame) = (was_valid, was_tame);
    // 2. a class at a time
    let transposed = |numbers: &[T]| -> Vec<T> { (0..n).map(|i| numbers[i % count * classes + i / count]).collect() };
    let logits: Vec<T> = (0..count).flat_map(|i| rows.row(i)).copied().collect();
    let (logits, mut by_column) = (transposed(&logits), places());
    let columns = Columns::new(&logits, count, classes).unwrap();
    let place = Some(ColumnPlaces::Same(&mut by_column));
    if let Some(own) = value_by_column(objective, columns, place, None, reduction, upstream.given()).unwrap() {
        same(&numbers(&own), &numbers(loss), "loss by column");
        same(&doubles(&by_column), &doubles(&transposed(grad)), "gradient by column");
    }
}
