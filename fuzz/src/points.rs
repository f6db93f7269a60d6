//! The sigmoid family, hinge loss, cross-entropy of probabilities, and Gaussians: a target for each number.

use super::check::{self, FILL, Form, are_untouched, numbers, refused, same};
use super::draw::{Draw, Number, Stored, doubles, wide, widened};
use super::truth::{Near, Total, Truth};
use xentrs::{
    BinaryCrossEntropy, Dispersion, GaussianNll, GaussianObjective, HingeLoss, PointNumbers, PointObjective, Result,
    Rows, RowsIo, SigmoidCrossEntropy, SigmoidFocalLoss, gaussian_value_and_grads,
};

#[derive(Clone, Copy, Debug)]
enum Kind {
    CrossEntropy,
    Focal { gammas: [f64; 2], alpha: Option<f64>, clip: f64 },
    Hinge { squared: bool },
    Probabilities { eps: f64 },
}

/// A loss with its options, targets and weights.
#[derive(Debug)]
pub struct Family<S: Stored> {
    kind: Kind,
    target: Vec<S>,
    real: Vec<S::Real>,
    ignored: Option<S::Real>,
    pos_weight: Option<Vec<S::Real>>,
    sample_weight: Option<Vec<S::Real>>,
    smoothing: f64,
}

/// Any loss of the family, of any points.
pub fn losses<S: Stored>(draw: &mut Draw<'_>) {
    let shape = draw.shape();
    let family = Family::<S>::drawn(draw, shape, false);
    let n = shape[0] * shape[1];
    let is_of_probabilities = matches!(family.kind, Kind::Probabilities { .. });
    let logits = if is_of_probabilities { draw.probabilities(n) } else { draw.logits::<S>(n) };
    let numbers = wide(&logits);
    draw.show(&family);
    draw.valid &= !is_of_probabilities || numbers.iter().all(|p| p.is_nan() || (0.0..=1.0).contains(p));
    let truth = if draw.valid && draw.tame { family.truth(&numbers) } else { Truth::unknown(n, n) };
    check::loss(draw, &logits, shape, family.form(), &truth, true);
}

impl<S: Stored> Family<S> {
    /// With or without losses of anything but logits.
    pub fn drawn(draw: &mut Draw<'_>, [rows, classes]: [usize; 2], of_logits: bool) -> Self {
        let (n, is_unit) = (rows * classes, |x: f64| (0.0..=1.0).contains(&x));
        let is_focus = |gamma: f64| (0.0..=1e9).contains(&gamma);
        let kind = match draw.byte() % if of_logits { 4 } else { 6 } {
            0..2 => Kind::CrossEntropy,
            2..4 => {
                let gamma = draw.option(&[2.0, 0.5, 0.0], is_focus);
                let other = if draw.one_in(2) { draw.option(&[4.0, 1.5], is_focus) } else { gamma };
                let alpha = draw.one_in(2).then(|| draw.option(&[0.25], is_unit));
                Kind::Focal { gammas: [gamma, other], alpha, clip: draw.option(&[0.0, 0.0, 0.0625], is_unit) }
            }
            4 => Kind::Hinge { squared: draw.one_in(2) },
            _ => Kind::Probabilities { eps: draw.option(&[0.0, 1.0 / 64.0], |eps| (0.0..0.5).contains(&eps)) },
        };
        let is_hinge = matches!(kind, Kind::Hinge { .. });
        let target = |draw: &mut Draw<'_>| match (is_hinge, draw.below(2)) {
            (true, _) => draw.below(3) as f64 - 1.0,
            (false, 0) => draw.below(2) as f64,
            (false, _) => draw.between(0.0, 1.0),
        };
        let mut targets: Vec<S> = (0..draw.length(n)).map(|_| S::of(target(draw))).collect();
        let ignored = if draw.one_in(4) { Some(draw.pick(&[0.0, -100.0, 7.0])) } else { None };
        for target in &mut targets {
            if let (Some(ignored), 0) = (ignored, draw.below(6)) {
                *target = S::of(ignored);
            }
        }
        if !targets.is_empty() && draw.one_in(24) {
            let at = draw.below(targets.len());
            targets[at] = draw.logits(1)[0];
        }
        let is_in = |t: f64| t.is_nan() || if is_hinge { [1.0, 0.0, -1.0].contains(&t) } else { is_unit(t) };
        draw.valid &= n == 0 || targets.iter().all(|t| is_in(t.wide()) || Some(t.wide()) == ignored);
        let has_options = !is_hinge && !matches!(kind, Kind::Probabilities { .. });
        Family {
            kind,
            real: widened(&targets),
            target: targets,
            ignored: ignored.map(S::Real::new),
            // Any number of them is taken, and repeats.
            pos_weight: if is_hinge || draw.one_in(2) {
                None
            } else {
                let was_valid = draw.valid;
                let weights: Vec<S::Real> = draw.weights(classes);
                draw.valid = was_valid && weights.iter().all(|w| (0.0..f64::INFINITY).contains(&w.double()));
                draw.tame &= weights.len() == classes;
                Some(weights)
            },
            sample_weight: draw.some_weights(n),
            smoothing: if has_options { draw.option(&[0.0, 0.0, 0.1], is_unit) } else { 0.0 },
        }
    }

    /// The loss, if its options are valid.
    pub fn form(&self) -> Result<Form<'_, S::Real>> {
        let target = match size_of::<S>() {
            2 => PointNumbers::Stored(S::rows(Rows::new("target", &self.target, self.target.len(), 1)?)),
            _ => PointNumbers::Real(&self.real),
        };
        let (ignored, sample_weight) = (self.ignored, self.sample_weight.as_deref());
        let pos_weight = self.pos_weight.as_deref();
        macro_rules! form {
            ($kind:ident, $loss:expr) => {
                Form::$kind(Box::new(PointObjective { loss: $loss, target, sample_weight, ignored }))
            };
        }
        Ok(match self.kind {
            Kind::CrossEntropy => form!(Curved, SigmoidCrossEntropy::new(pos_weight, self.smoothing)?),
            Kind::Focal { gammas: [gamma, other], alpha, clip } => {
                let loss = SigmoidFocalLoss::new(gamma, alpha, pos_weight, self.smoothing)?;
                form!(Curved, loss.asymmetric((other != gamma).then_some(other), clip)?)
            }
            Kind::Hinge { squared } => form!(Plain, HingeLoss { squared }),
            Kind::Probabilities { eps } => form!(Plain, BinaryCrossEntropy::new(pos_weight, eps)?),
        })
    }

    /// What is true of these numbers, all arguments being valid and usual.
    pub fn truth(&self, numbers: &[f64]) -> Truth {
        let mut truth = Truth::default();
        for (i, (&x, &t)) in numbers.iter().zip(&self.real).enumerate() {
            let s = self.sample_weight.as_ref().map_or(1.0, |weights| weights[i].double());
            let s = if Some(t) == self.ignored { 0.0 } else { s };
            truth.divisor.add(s);
            let beta = self.pos_weight.as_ref().filter(|weights| !weights.is_empty());
            let beta = beta.map_or(1.0, |weights| weights[i % weights.len()].double());
            let [loss, grad, hess] = match s == 0.0 {
                true => [Near::ZERO; 3],
                false => self.point(x, t.double(), s, beta),
            };
            truth.losses.push(loss);
            truth.grads.push(grad);
            truth.hess.push(hess);
        }
        truth
    }

    /// Loss, first and second derivative of a point, times its weight.
    fn point(&self, x: f64, t: f64, s: f64, beta: f64) -> [Near; 3] {
        type Point = fn(f64) -> f64;
        let (softplus, sigmoid): (Point, Point) = (
            |x| x.max(0.0) + (-x.abs()).exp().ln_1p(),
            |x| if x < 0.0 { x.exp() / (1.0 + x.exp()) } else { 1.0 / (1.0 + (-x).exp()) },
        );
        if x.is_nan() || t.is_nan() {
            return [Near::NAN, Near::ANY, Near::ANY];
        }
        // What a weight of 0 multiplies may be infinite.
        let times = |weight: f64, x: f64| if weight == 0.0 { 0.0 } else { weight * x };
        let kept = 1.0 - self.smoothing;
        let (yes, no) = (s * beta * (kept * t + self.smoothing / 2.0), s * (kept * (1.0 - t) + self.smoothing / 2.0));
        let near = |rtols: [f64; 2], value: f64, size: f64| Near::of(value, S::Real::either(rtols[0], rtols[1]) * size);
        match self.kind {
            Kind::Hinge { squared } => {
                let y = if t == 1.0 { 1.0 } else { -1.0 };
                if x.abs() > 1e6 {
                    return [Near::ANY; 3];
                }
                let short = (1.0 - y * x).max(0.0);
                let step = if short > 0.0 { -y } else { 0.0 };
                let (loss, grad) =
                    if squared { (s * short * short, -2.0 * s * y * short) } else { (s * short, s * step) };
                let rtols = [1e-6, 1e-15];
                [near(rtols, loss, loss), near(rtols, grad, grad.abs()), Near::ANY]
            }
            Kind::Probabilities { eps } => {
                let p = x.clamp(eps, 1.0 - eps);
                let loss = times(yes, -p.ln()) + times(no, -(-p).ln_1p());
                let is_kept = p == x;
                let (up, down) = (times(no, 1.0 / (1.0 - x)), times(yes, 1.0 / x));
                let rtols = [1e-6, 1e-14];
                let is_far = x > 0.0 && x < 1e-30 || x < 1.0 && 1.0 - x < S::Real::EPS / 4.0;
                let grad = if is_kept { up - down } else { 0.0 };
                let grad = if is_far { Near::ANY } else { near(rtols, grad, if is_kept { up + down } else { 0.0 }) };
                [near(rtols, loss, loss), grad, Near::ANY]
            }
            Kind::Focal { clip, .. } if clip > 0.0 => [Near::ANY; 3],
            Kind::CrossEntropy | Kind::Focal { .. } => {
                let (gammas, [a, b]) = match self.kind {
                    Kind::Focal { gammas, alpha, .. } => (gammas, alpha.map_or([1.0; 2], |alpha| [alpha, 1.0 - alpha])),
                    _ => ([0.0; 2], [1.0; 2]),
                };
                if x.is_infinite() && gammas != [0.0; 2] || x.is_finite() && x.abs() > 1e6 {
                    return [Near::ANY; 3];
                }
                // An answer of probability p costs (1 - p)^g (-ln p); x is that of this answer.
                let answer = |weight: f64, x: f64, g: f64| {
                    if weight == 0.0 {
                        return [0.0; 4];
                    }
                    let (cost, p, q) = (softplus(-x), sigmoid(x), sigmoid(-x));
                    let power = if g == 0.0 { 1.0 } else { (-g * softplus(x)).exp() };
                    let focused = if g == 0.0 { 0.0 } else { g * cost };
                    let (rise, fall) = ((2.0 * g + 1.0) * q + g * p * focused, q * focused);
                    let slope = power * (q + p * focused);
                    [power * cost, slope, power * p * (rise - fall), power * p * (rise + fall)]
                        .map(|term| weight * term)
                };
                let [loss, down, hess, size] = answer(a * yes, x, gammas[0]);
                let [other, up, other_hess, other_size] = answer(b * no, -x, gammas[1]);
                let (loss, hess, size) = (loss + other, hess + other_hess, size + other_size);
                [
                    near([1e-6, 1e-12], loss, loss),
                    near([1e-5, 1e-12], up - down, up + down),
                    near([1e-5, 1e-12], hess, size),
                ]
            }
        }
    }
}

/// Gaussians, with a variance a point or one for all, or its logarithm.
pub fn gaussian<S: Stored>(draw: &mut Draw<'_>) {
    let shape = draw.shape();
    let n = shape[0] * shape[1];
    let dispersion = draw.pick(&[Dispersion::Variance, Dispersion::LogVariance]);
    let loss = GaussianNll { dispersion, full: draw.one_in(2) };
    let is_variance = dispersion == Dispersion::Variance;
    let is_shared = draw.one_in(3);
    let mean = draw.logits::<S>(n);
    let targets = draw.length(n);
    let stored_target = draw.logits::<S>(targets);
    let target = widened(&stored_target);
    let log_variance =
        |draw: &mut Draw<'_>| if is_variance { draw.between(-9.0, 9.0).exp() } else { draw.between(-9.0, 9.0) };
    let count = if is_shared { 1 } else { draw.length(n) };
    // As many as there are points, or one.
    draw.valid |= !is_shared && count == 1 && target.len() == n;
    let mut stored_spread: Vec<S> = (0..count).map(|_| S::of(log_variance(draw))).collect();
    if count > 0 && n > 0 && draw.one_in(24) {
        let at = draw.below(count);
        stored_spread[at] = draw.logits::<S>(1)[0];
        draw.valid &= !is_variance || !(widened(&stored_spread)[at].double() <= 0.0);
        draw.tame = false;
    }
    let spread = widened(&stored_spread);
    let sample_weight: Option<Vec<S::Real>> = draw.some_weights(n);
    let weights = sample_weight.as_deref();
    // 1. what is true
    let mut truth = Truth::unknown(n, n);
    let mut spread_grads = vec![Near::ANY; count];
    if draw.valid && draw.tame {
        (truth, spread_grads) = (Truth::default(), vec![]);
        let (rtol, constant) = (16.0 * S::Real::EPS, if loss.full { std::f64::consts::TAU.ln() / 2.0 } else { 0.0 });
        let (mut sum, mut size) = (Total::default(), 0.0);
        for (i, (m, t)) in wide(&mean).into_iter().zip(doubles(&target)).enumerate() {
            let (s, v) =
                (weights.map_or(1.0, |weights| weights[i].double()), spread[if is_shared { 0 } else { i }].double());
            let (l, v) = if is_variance { (v.ln(), v) } else { (v, v.exp()) };
            let square = (t - m) * ((t - m) / v);
            let unit = if is_variance { 2.0 * v } else { 2.0 };
            let parts = [
                (constant + l / 2.0 + square / 2.0, constant + l.abs() / 2.0 + square / 2.0),
                ((m - t) / v, (m - t).abs() / v),
                ((1.0 - square) / unit, (1.0 + square) / unit),
            ];
            truth.divisor.add(s);
            sum.add(s * parts[2].0);
            size += s * parts[2].1;
            let is_known = m.abs() < 1e6 && t.abs() < 1e6;
            let [loss, mean, spread] = parts.map(|(value, size)| match is_known {
                _ if s == 0.0 => Near::ZERO,
                true => Near::of(s * value, s * rtol * size),
                false => Near::ANY,
            });
            size = if is_known || s == 0.0 { size } else { f64::INFINITY };
            truth.losses.push(if (m.is_nan() || t.is_nan()) && s != 0.0 { Near::NAN } else { loss });
            truth.grads.push(mean);
            spread_grads.push(spread);
        }
        if is_shared {
            spread_grads = vec![if size.is_finite() {
                Near::of(sum.value(), S::Real::either(1e-6, rtol) * size)
            } else {
                Near::ANY
            }];
        }
    }
    // 2. as a loss, and with the gradient to the variances
    let [aim, dispersion] =
        [(&stored_target, &target), (&stored_spread, &spread)].map(|(stored, real)| match size_of::<S>() {
            2 => PointNumbers::Stored(S::rows(Rows::new("target", stored, stored.len(), 1).unwrap())),
            _ => PointNumbers::Real(real),
        });
    let objective = || GaussianObjective { loss, target: aim, dispersion, sample_weight: weights };
    let Some(answer) = check::loss(draw, &mean, shape, Ok(Form::Plain(Box::new(objective()))), &truth, true) else {
        return;
    };
    let (mut grad, mut spread_grad) = (vec![S::of(FILL); n], vec![S::Real::new(FILL); draw.length(count)]);
    let io = RowsIo::new(Rows::new("mean", &mean, shape[0], shape[1]).unwrap(), &mut grad).unwrap();
    let given = answer.upstream.given();
    let result = gaussian_value_and_grads(&objective(), io, &mut spread_grad, answer.reduction, given);
    if refused(&result, draw.valid, "two gradients") {
        assert!(are_untouched(&spread_grad) && wide(&grad).iter().all(|&x| x == FILL), "a place was written");
        return;
    }
    same(&numbers(&result.unwrap()), &numbers(&answer.loss), "loss with two gradients");
    let narrow: Vec<S> = answer.grad.iter().map(|x| S::of(x.double())).collect();
    same(&wide(&grad), &wide(&narrow), "gradient of two");
    let mut spread_stored = vec![S::of(FILL); spread_grad.len()];
    let io = RowsIo::new(Rows::new("mean", &mean, shape[0], shape[1]).unwrap(), &mut grad).unwrap();
    gaussian_value_and_grads(&objective(), io, &mut spread_stored, answer.reduction, given).unwrap();
    let narrow: Vec<S> = spread_grad.iter().map(|x| S::of(x.double())).collect();
    same(&wide(&spread_stored), &wide(&narrow), "gradient to the variances, where they are stored");
    if !is_shared || matches!(answer.upstream, check::Upstream::Number(_)) {
        truth.grads = spread_grads;
        truth.judge_grads(&spread_grad, answer.reduction, |point| answer.upstream.at(point), 1);
    }
}
