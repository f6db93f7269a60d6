//! Tokens, functions, layers, statistics of rows, penalties.

use super::check::{self, FILL, Form, Upstream, apart, are_untouched, numbers, refused, same};
use super::draw::{Draw, Number, Stored, doubles, wide, widened};
use super::points;
use super::rows;
use super::rows::{Known, Map, Softmax};
use super::truth::{Near, Total, Truth, flushed};
use std::num::NonZero;
use xentrs::{
    Classes, Decay, Epoch, Function, Groups, Labels, LinearGrads, LinearObjective, Link, Momentum, Neighbours,
    PairGrads, PairedRows, Parameters, Rows, RowsIo, Tally, TokenObjective, apply, info_nce, js_smoothness,
    js_smoothness_with_grad, linear_value_and_grads, logsumexp, parity_penalty, parity_penalty_with_grad, siglip_loss,
    softmax_stats, with_num_threads,
};

/// Log-probabilities and entropies, with an upstream gradient each.
pub fn tokens<S: Stored>(draw: &mut Draw<'_>) {
    let shape @ [rows, classes] = draw.shape();
    let (labels, ignored) = draw.labels(rows, classes);
    let map = Map::<S::Real>::drawn(draw, classes);
    let upstream = [Upstream::<S::Real>::drawn(draw, rows), Upstream::drawn(draw, rows)];
    let logits = draw.logits::<S>(rows * classes);
    let mut truth = Truth::unknown(2 * rows, rows * classes);
    if draw.valid && draw.tame {
        (truth.losses, truth.grads) = (vec![], vec![]);
        for (row, z) in wide(&logits).chunks_exact(classes.max(1)).enumerate() {
            let up = [upstream[0].at(row), upstream[1].at(row)];
            let (losses, grads) = match Known::of(z, &map) {
                _ if Some(labels[row]) == ignored => ([Near::ZERO; 2], vec![Near::ZERO; classes]),
                Known::Softmax(softmax) => token::<S::Real>(&softmax, labels[row] as usize, up),
                Known::Nan => ([Near::NAN; 2], vec![Near::ANY; classes]),
                Known::Nothing | Known::Limit(_) => ([Near::ANY; 2], vec![Near::ANY; classes]),
            };
            truth.losses.extend(losses);
            truth.grads.extend(grads);
        }
        truth.losses.resize(2 * rows, Near::ANY);
    }
    let given = upstream.each_ref().map(Upstream::given);
    let form = Classes::new(Labels::I64(&labels), classes, ignored)
        .and_then(|tokens| TokenObjective::new(tokens, map.softcap, map.temperature, given))
        .and_then(|objective| objective.with_log_prior(map.prior.as_deref(), classes))
        .map(|objective| Form::Plain(Box::new(objective)));
    check::loss(draw, &logits, shape, form, &truth, false);
}

fn token<T: Number>(softmax: &Softmax, label: usize, [a, b]: [f64; 2]) -> ([Near; 2], Vec<Near>) {
    let Softmax { p, q, cost, margin, slope, steep, off, .. } = softmax;
    let product = |p: f64, x: f64| if p == 0.0 { 0.0 } else { p * x };
    let entropy: f64 = p.iter().zip(cost).map(|(&p, &cost)| product(p, cost)).sum();
    let mean: f64 = p.iter().zip(margin).map(|(&p, &margin)| product(p, margin)).sum();
    let (rtol, floor) = (T::either(1e-6, 1e-12), 800.0 * 64.0 * T::TINY);
    let mut spreads = 0.0;
    let grads = (0..p.len()).map(|k| {
        let own = if k == label { q[k] } else { p[k] };
        let spread = product(p[k], margin[k] + mean);
        spreads += spread;
        let size = slope[k] * (a.abs() * own + b.abs() * spread);
        let grad = slope[k] * (a * if k == label { own } else { -own } + b * product(p[k], margin[k] - mean));
        let doubt = (off * (4.0 * size + 4.0 * b.abs() * p[k]) + 16.0 * T::EPS * steep[k] * size) * slope[k].max(1.0);
        match a.abs() + b.abs() {
            up if up < 1e7 => Near::of(grad, 10.0 * rtol * size + floor * up.max(1.0) + doubt),
            up if up.is_nan() && p[k].min(slope[k]) > 1e-30 => Near::NAN,
            _ => Near::ANY,
        }
    });
    let grads = grads.collect();
    let losses = [
        Near::of(-cost[label], rtol * cost[label] + floor + 2.0 * off),
        Near::of(entropy, rtol * entropy + floor + 4.0 * off * spreads),
    ];
    (losses, grads)
}

/// Functions of rows and of points.
pub fn functions<S: Stored>(draw: &mut Draw<'_>) {
    use Function::{Exp, Ln, Log1p, LogSigmoid, LogSoftmax, Sigmoid, Softmax, Softplus, Tanh};
    let [rows, classes] = draw.shape();
    let x = draw.logits::<S>(rows * classes);
    let all = [Softmax, LogSoftmax, Softmax, LogSoftmax, Sigmoid, LogSigmoid, Softplus, Tanh, Exp, Ln, Log1p];
    let function = draw.pick(&all);
    let real = widened(&x);
    let view = Rows::new("x", &real, rows, classes).unwrap();
    let (mut y, mut lse) = (vec![S::Real::new(FILL); x.len()], vec![S::Real::new(FILL); draw.length(rows)]);
    with_num_threads(NonZero::<usize>::MIN, || apply(function, RowsIo::new(view, &mut y).unwrap())).unwrap();
    let result = logsumexp(view, &mut lse);
    if refused(&result, draw.valid, "logsumexp") {
        assert!(are_untouched(&lse), "logsumexp was refused, and its place written");
    } else {
        let (mut again, (data, stride)) = (lse.clone(), apart(&x, [rows, classes], draw.pick(&[0, 2])));
        logsumexp(Rows::with_stride("x", &data, rows, classes, stride).unwrap(), &mut again).unwrap();
        same(&doubles(&again), &doubles(&lse), "logsumexp of rows apart");
    }
    // 1. the truth
    let map = Map { softcap: None, temperature: 1.0, prior: None };
    let (tiny, z) = (flushed::<S::Real>(), doubles(&real));
    for (i, row) in z.chunks_exact(classes.max(1)).enumerate() {
        let known = Known::of::<S::Real>(row, &map);
        if let (Known::Softmax(softmax), true) = (&known, draw.valid) {
            let (ours, size) = (lse[i].double(), row[softmax.top].abs() + softmax.lse.abs());
            let far = row.iter().filter(|z| z.is_finite()).fold(size, |far, z| far.max(z.abs() + softmax.lse.abs()));
            let near = Near::of(softmax.lse, S::Real::either(1e-6, 1e-14) * far + tiny);
            assert!(near.is(ours), "logsumexp {i}: {ours:e} instead of {near:?}");
        }
        for (k, &x) in row.iter().enumerate() {
            let softplus = |x: f64| x.max(0.0) + (-x.abs()).exp().ln_1p();
            let of_row = |f: &dyn Fn(&rows::Softmax) -> f64| match &known {
                Known::Softmax(softmax) => Some(f(softmax)),
                Known::Nan => Some(f64::NAN),
                Known::Limit(_) | Known::Nothing => None,
            };
            let (rtols, truth) = match function {
                Softmax => ([1e-5, 1e-12], of_row(&|softmax| softmax.p[k])),
                LogSoftmax => ([1e-6, 1e-12], of_row(&|softmax| -softmax.cost[k])),
                Sigmoid => ([1e-6, 1e-12], Some((-softplus(-x)).exp())),
                LogSigmoid => ([1e-6, 1e-14], Some(-softplus(-x))),
                Softplus => ([1e-6, 1e-14], Some(softplus(x))),
                Tanh => ([1e-6, 1e-14], Some(x.tanh())),
                Exp => ([1e-6, 1e-14], Some(x.exp())),
                Ln => ([1e-6, 1e-14], Some(x.ln())),
                Log1p => ([1e-6, 1e-14], Some(x.ln_1p())),
            };
            // Subnormal numbers may be taken for 0, and what is near the end of the range may be beyond it.
            let is_known = x.is_nan() || x == 0.0 || x.is_infinite() || (8.0 * S::Real::TINY..1e6).contains(&x.abs());
            if let (Some(truth), true) =
                (truth.filter(|y| !y.is_finite() || y.abs() < S::Real::LARGEST / 4.0), is_known)
            {
                let ours = y[i * classes + k].double();
                let rtol = S::Real::either(rtols[0], rtols[1]);
                let is_too_large = truth == f64::INFINITY && x.is_finite() && ours > S::Real::LARGEST / 4.0;
                let near = Near::of(truth, rtol * truth.abs() + tiny);
                assert!(near.is(ours) || is_too_large, "{function:?} of {x:e}: {ours:e} instead of {near:?}");
            }
        }
    }
    // 2. the same bits in place, apart, on two threads
    let mut place = x.clone();
    let io = match draw.byte() % 3 {
        0 => RowsIo::in_place(&mut place, rows, classes).unwrap(),
        _ => RowsIo::new(Rows::new("x", &x, rows, classes).unwrap(), &mut place).unwrap(),
    };
    with_num_threads(NonZero::new(2).unwrap(), || apply(function, io)).unwrap();
    let narrow: Vec<S> = y.iter().map(|y| S::of(y.double())).collect();
    same(&wide(&place), &wide(&narrow), "a function in place");
}

/// Layers: their loss, gradients to all arguments, an epoch of steps; pairs of rows.
pub fn layers<S: Stored>(draw: &mut Draw<'_>) {
    let (rows, features) = (draw.pick(&[1, 3, 9, 2, 0]), draw.pick(&[1, 4, 17, 64, 0]));
    if draw.one_in(4) {
        return pairs::<S>(draw, rows, features);
    }
    let classes = draw.pick(&[1, 2, 5, 40, 130, 0]);
    let (of_rows, of_points);
    let is_softmax = draw.one_in(2);
    let family: (_, &dyn Fn(&[f64]) -> Truth) = if is_softmax {
        of_rows = rows::Family::<S>::drawn(draw, [rows, classes]);
        draw.valid &= !of_rows.is_of_probabilities();
        (of_rows.form(), &|z| of_rows.truth(z))
    } else {
        of_points = points::Family::<S>::drawn(draw, [rows, classes], true);
        (of_points.form(), &|z| of_points.truth(z))
    };
    let normal = |draw: &mut Draw<'_>, n: usize, scale: f64| -> Vec<S> {
        if draw.one_in(12) {
            draw.tame = false;
            return draw.logits(n);
        }
        (0..n).map(|_| S::of(draw.between(-2.0, 2.0) * scale)).collect()
    };
    let x = normal(draw, rows * features, 1.0);
    let weight = normal(draw, classes * features, 1.0 / (features.max(1) as f64).sqrt());
    let bias = draw.one_in(2).then(|| widened(&normal(draw, classes, 1.0)));
    let ((data, stride), (weights, weight_stride)) =
        (apart(&x, [rows, features], 1), apart(&weight, [classes, features], 2));
    let x_rows = Rows::with_stride("x", &data, rows, features, stride).unwrap();
    let weight_rows = Rows::with_stride("weight", &weights, classes, features, weight_stride).unwrap();
    let Ok(form) = family.0 else {
        refused(&family.0.map(drop), draw.valid, "options of a layer");
        return;
    };
    // 1. the loss and its gradients
    let objective = LinearObjective { loss: form.objective(), x: x_rows, weight: weight_rows, bias: bias.as_deref() };
    let (reduction, fill) = (draw.reduction(), S::Real::new(FILL));
    let (mut x_grad, mut weight_grad) = (vec![fill; draw.length(x.len())], vec![fill; weight.len()]);
    let mut bias_grad = vec![fill; classes];
    let per_row = if is_softmax { 1 } else { classes };
    let upstream = Upstream::drawn(draw, rows * per_row);
    let grads = LinearGrads { x: Some(&mut x_grad), weight: Some(&mut weight_grad), bias: Some(&mut bias_grad) };
    let result = linear_value_and_grads(&objective, grads, reduction, upstream.given());
    if refused(&result, draw.valid, "a layer") {
        let are_kept = are_untouched(&x_grad) && are_untouched(&weight_grad) && are_untouched(&bias_grad);
        assert!(are_kept, "a layer was refused, and a place written");
        return;
    }
    if draw.tame {
        let (x, w) = (wide(&x), wide(&weight));
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let logit = |i: usize, k: usize| {
            let bias = bias.as_ref().map_or(0.0, |bias| bias[k].double());
            dot(&x[i * features..][..features], &w[k * features..][..features]) + bias
        };
        let z: Vec<f64> = (0..rows).flat_map(|i| (0..classes).map(move |k| (i, k))).map(|(i, k)| logit(i, k)).collect();
        let mut truth = (family.1)(&z);
        let rtol = S::Real::either(3e-5, 1e-11);
        for loss in &mut truth.losses {
            loss.within += if loss.value == 0.0 { 0.0 } else { rtol * (1.0 + loss.value) };
        }
        truth.judge_losses(&result.unwrap(), reduction);
        // 2. of the gradient to the logits both products
        let scale =
            |i: usize, k: usize| truth.scale(reduction) * upstream.at(if is_softmax { i } else { i * classes + k });
        let is_known = truth.grads.iter().all(|near| near.within < f64::INFINITY)
            && (0..z.len()).all(|e| scale(e / classes, e % classes).abs() < 1e6);
        if is_known {
            for i in 0..rows {
                let row = &truth.grads[i * classes..][..classes];
                let all: f64 = row.iter().map(|near| near.value.abs()).sum();
                let yard = |near: &Near| near.within / S::Real::either(1e-5, 1e-12) + all;
                for j in 0..features {
                    let terms = row.iter().enumerate().map(|(k, near)| (near, scale(i, k), w[k * features + j]));
                    let near = terms.fold(Near::of(0.0, 1e-4 * rtol), |sum, (near, scale, w)| Near {
                        value: sum.value + near.value * scale * w,
                        within: sum.within + rtol * yard(near) * (scale * w).abs(),
                    });
                    let ours = x_grad[i * features + j].double();
                    assert!(near.is(ours), "gradient of x, {i} {j}: {ours:e} instead of {near:?}");
                }
            }
        }
    }
    epoch(draw, &form, (&widened(&x), rows, features), classes);
}

/// Steps down the gradients of batches.
fn epoch<T: Number>(
    draw: &mut Draw<'_>,
    form: &Form<'_, T>,
    (x, rows, features): (&[T], usize, usize),
    classes: usize,
) {
    let is_ordered = draw.one_in(2);
    let (order, _) = draw.labels(rows, rows);
    if order.len() != rows && classes == 0 {
        return; // so many visits have no targets either
    }
    draw.valid |= !is_ordered;
    draw.valid &= !is_ordered || order.len() == rows && order.iter().all(|row| (0..rows as i64).contains(row));
    let batch_size = draw.pick(&[1, 2, 3, 100]);
    let steps = rows.div_ceil(batch_size);
    let rates = vec![draw.pick(&[0.0, 0.1, -1.0, f64::NAN, 1e300]); draw.length(steps)];
    let moment = Momentum { momentum: draw.pick(&[0.0, 0.9]), nesterov: draw.one_in(2) };
    let decays = vec![T::new(0.5); classes * features];
    let weight_decay = [if draw.one_in(2) { Decay::Each(&decays) } else { Decay::Same(0.1) }, Decay::Same(0.0)];
    let epoch = Epoch {
        loss: form.objective(),
        x: Rows::new("x", x, rows, features).unwrap(),
        order: is_ordered.then_some(&order[..]),
        batch_size,
        rates: &rates,
        moment,
        weight_decay,
    };
    let checked = epoch.checked(classes);
    let Ok(checked) = checked else {
        refused(&checked.map(drop), draw.valid, "an epoch");
        return;
    };
    let fill = T::new(FILL);
    let (mut weight, mut bias) = (vec![fill; draw.length(classes * features)], vec![fill; classes]);
    let (mut fast, mut of_bias) = (vec![T::new(0.0); classes * features], vec![T::new(0.0); classes]);
    let mut model = Parameters { weight: &mut weight, bias: Some(&mut bias) };
    let mut velocity = Parameters { weight: &mut fast, bias: Some(&mut of_bias) };
    let velocity = if draw.one_in(2) { Some(&mut velocity) } else { None };
    let result = checked.run(0..draw.length(steps), &mut model, velocity);
    if refused(&result, draw.valid, "an epoch") {
        assert!(are_untouched(&weight) && are_untouched(&bias), "an epoch was refused, and the model written");
    }
}

/// Losses of pairs of rows.
fn pairs<S: Stored>(draw: &mut Draw<'_>, n: usize, features: usize) {
    let (x, y): (Vec<S>, Vec<S>) = match draw.one_in(8) {
        true => (draw.logits(n * features), draw.logits(n * features)),
        false => {
            let mut normal = || (0..n * features).map(|_| S::of(draw.between(-0.5, 0.5))).collect();
            (normal(), normal())
        }
    };
    let temperature = draw.option(&[1.0, 0.2, 3.0], |temperature| (1e-30..=1e30).contains(&temperature));
    let bias = draw.pick(&[0.0, -7.0]);
    let is_siglip = draw.one_in(2);
    let is_symmetric = draw.one_in(2);
    let reduction = draw.reduction();
    let [x_rows, y_rows] = [&x, &y].map(|rows| Rows::new("x", rows, n, features).unwrap());
    let pairs = PairedRows { x: x_rows, y: y_rows, temperature };
    let fill = S::Real::new(FILL);
    let (mut x_grad, mut y_grad) = (vec![fill; draw.length(n * features)], vec![fill; n * features]);
    let upstream = Upstream::drawn(draw, n);
    let grads = Some(PairGrads { x: &mut x_grad, y: &mut y_grad });
    let result = match is_siglip {
        true => siglip_loss(&pairs, bias, grads, reduction, upstream.given()),
        false => info_nce(&pairs, is_symmetric, grads, reduction, upstream.given()),
    };
    if refused(&result, draw.valid, "pairs") {
        assert!(are_untouched(&x_grad) && are_untouched(&y_grad), "pairs were refused, and a place written");
        return;
    }
    let (x, y) = (wide(&x), wide(&y));
    if !draw.tame || x.iter().chain(&y).any(|x| !(x.abs() < 1e3)) {
        return;
    }
    let product = |i: usize, j: usize| (0..features).map(|k| x[i * features + k] * y[j * features + k]).sum::<f64>();
    let z = |i: usize, j: usize| product(i, j) / temperature + if is_siglip { bias } else { 0.0 };
    let lse = |z: &dyn Fn(usize) -> f64| {
        let max = (0..n).fold(f64::NEG_INFINITY, |max, j| max.max(z(j)));
        max + (0..n).map(|j| (z(j) - max).exp()).sum::<f64>().ln()
    };
    let softplus = |x: f64| x.max(0.0) + (-x.abs()).exp().ln_1p();
    let terms = (0..n * n).fold(1.0, |most: f64, e| most.max(z(e / n, e % n).abs()));
    let rtol = S::Real::either(3e-5, 1e-12) * n as f64 * (1.0 + terms);
    let loss = |i: usize| match (is_siglip, is_symmetric) {
        (true, _) => (0..n).map(|j| softplus(if i == j { -z(i, i) } else { z(i, j) })).sum::<f64>(),
        (false, false) => lse(&|j| z(i, j)) - z(i, i),
        (false, true) => (lse(&|j| z(i, j)) + lse(&|j| z(j, i))) / 2.0 - z(i, i),
    };
    let losses = (0..n).map(|i| Near::of(loss(i), rtol * (1.0 + loss(i).abs()))).collect();
    Truth { losses, divisor: Total::from(n as f64), ..Truth::default() }.judge_losses(&result.unwrap().loss, reduction);
}

/// Statistics of rows, and exact sums of them.
pub fn statistics<S: Stored>(draw: &mut Draw<'_>) {
    let [rows, classes] = draw.shape();
    let (labels, ignored) = draw.labels(rows, classes);
    let weights: Option<Vec<f64>> = draw.some_weights(rows);
    let logits = draw.logits::<S>(rows * classes);
    let (data, stride) = apart(&logits, [rows, classes], draw.pick(&[0, 1, 7]));
    let view = Rows::with_stride("logits", &data, rows, classes, stride).unwrap();
    let stats = |threads: usize| {
        let target = Classes::new(Labels::I64(&labels), classes, ignored)?;
        let threads = NonZero::new(threads).unwrap();
        with_num_threads(threads, || softmax_stats(view, target, weights.as_deref()))
    };
    let result = stats(1);
    if refused(&result, draw.valid, "statistics") {
        return;
    }
    let (ours, again) = (result.unwrap(), stats(2).unwrap());
    same(&doubles(&ours.loss), &doubles(&again.loss), "losses on two threads");
    same(&doubles(&ours.entropy), &doubles(&again.entropy), "entropies on two threads");
    let map = Map::<S::Real> { softcap: None, temperature: 1.0, prior: None };
    for (i, z) in wide(&logits).chunks_exact(classes.max(1)).enumerate() {
        let (is_ignored, s) = (Some(labels[i]) == ignored, weights.as_ref().map_or(1.0, |weights| weights[i]));
        assert_eq!(ours.weight[i], if is_ignored { 0.0 } else { s });
        let loss = match Known::of(z, &map) {
            Known::Softmax(softmax) => {
                let label = if is_ignored { 0 } else { labels[i] as usize };
                let ([logprob, entropy], _) = token::<S::Real>(&softmax, label, [1.0, 0.0]);
                let confidence =
                    Near::of(softmax.p[softmax.top], S::Real::either(1e-6, 1e-12) * softmax.p[softmax.top]);
                assert!(
                    confidence.is(ours.confidence[i].double()),
                    "{:e}, not {confidence:?}",
                    ours.confidence[i].double()
                );
                assert!(entropy.is(ours.entropy[i].double()), "{:e}, not {entropy:?}", ours.entropy[i].double());
                assert_eq!(ours.argmax[i], softmax.top as i64);
                assert_eq!(ours.correct[i], !is_ignored && labels[i] == softmax.top as i64);
                Near { value: -logprob.value, ..logprob }
            }
            Known::Nan => {
                assert!(ours.argmax[i] == -1 && !ours.correct[i], "the argmax of NaN is {}", ours.argmax[i]);
                Near::NAN
            }
            Known::Limit(_) | Known::Nothing => Near::ANY,
        };
        let loss = if is_ignored || s == 0.0 { Near::ZERO } else { loss };
        assert!(loss.is(ours.loss[i].double()), "loss {i}: {:e} instead of {loss:?}", ours.loss[i].double());
    }
    let correct: Vec<S::Real> = ours.correct.iter().map(|&is| S::Real::new(f64::from(u8::from(is)))).collect();
    let tally = Tally::of(&ours.loss, &ours.weight, &correct).unwrap();
    assert_eq!(tally.rows, ours.weight.iter().filter(|weight| **weight != 0.0).count());
}

/// Penalties on predictions of groups and of neighbours.
pub fn penalties<S: Stored>(draw: &mut Draw<'_>) {
    let shape @ [rows, classes] = draw.shape();
    let logits = draw.logits::<S>(rows * classes);
    let view = Rows::new("logits", &logits, rows, classes).unwrap();
    let (mut grad, mut place) = (vec![S::of(FILL); logits.len()], logits.clone());
    let numbers_of = wide(&logits);
    if draw.one_in(2) {
        let n = rows * classes;
        let (labels, ignored) = draw.labels(n, 3);
        let target: Option<Vec<S::Real>> = draw.some_weights(n).filter(|target: &Vec<S::Real>| target.len() == n);
        let groups = || -> xentrs::Result<_> {
            let group = Classes::new(Labels::I64(&labels), 3, ignored)?;
            Ok(Groups { group, count: 3, target: target.as_deref() })
        };
        // Targets are not weights: any number but 0 is positive.
        let is_valid =
            labels.len() == n && labels.iter().all(|&label| Some(label) == ignored || (0..3).contains(&label));
        let link = draw.pick(&[Link::Sigmoid, Link::Identity]);
        draw.show((&numbers_of, &labels, ignored, &target));
        let result = groups().and_then(|groups| parity_penalty(view, groups, link));
        if refused(&result, is_valid, "parity") {
            return;
        }
        let io = RowsIo::new(view, &mut grad).unwrap();
        let again = parity_penalty_with_grad(io, groups().unwrap(), link, 1.0).unwrap();
        let io = RowsIo::in_place(&mut place, rows, classes).unwrap();
        let over = parity_penalty_with_grad(io, groups().unwrap(), link, 1.0).unwrap();
        let ours = result.unwrap();
        same(&[ours, ours], &[again, over], "parity with its gradient");
        same(&wide(&place), &wide(&grad), "gradient of parity in place");
        // sum_g (n_g / n) (mean_g P - mean P)^2
        let sigmoid =
            |x: f64| if link == Link::Sigmoid { (-(-x).max(0.0) - (-x.abs()).exp().ln_1p()).exp() } else { x };
        let counts = |i: &usize| Some(labels[*i]) != ignored && target.as_ref().is_none_or(|t| t[*i].double() != 0.0);
        let kept: Vec<usize> = (0..n).filter(counts).collect();
        let is_known = kept.iter().all(|&i| numbers_of[i].abs() < 1e3);
        let mean =
            |rows: &[usize]| rows.iter().map(|&i| sigmoid(numbers_of[i])).sum::<f64>() / rows.len().max(1) as f64;
        let (mut truth, mut size) = (0.0, 0.0);
        for group in 0..3 {
            let own: Vec<usize> = kept.iter().copied().filter(|&i| labels[i] == group).collect();
            let share = own.len() as f64 / kept.len().max(1) as f64;
            truth += share * (mean(&own) - mean(&kept)).powi(2);
            size += share * (mean(&own).powi(2) + mean(&kept).powi(2));
        }
        let rtol = S::Real::either(1e-6, 1e-12);
        let near = Near::of(truth, 100.0 * rtol * truth + 1e-3 * rtol + 1e-13 * size);
        assert!(!is_known || near.is(ours), "{link:?}: {ours:e} instead of {near:?}");
        return;
    }
    let length = draw.pick(&[rows, rows, 1, 2, 3]);
    let segments = draw.one_in(2).then(|| (0..draw.length(rows)).map(|_| draw.below(2) as i64).collect::<Vec<_>>());
    draw.valid &= rows == rows.checked_div(length).unwrap_or(0) * length;
    let neighbours = Neighbours { length, segments: segments.as_deref() };
    let reduction = draw.reduction();
    let result = js_smoothness(view, neighbours, reduction);
    let was_refused = refused(&result, draw.valid, "smoothness");
    let pairs = if draw.valid { rows - rows.div_ceil(length.max(1)) } else { 0 };
    let upstream = Upstream::<S::Real>::drawn(draw, pairs);
    let io = RowsIo::new(view, &mut grad).unwrap();
    let with_grad = js_smoothness_with_grad(io, neighbours, reduction, upstream.given());
    if refused(&with_grad, draw.valid, "smoothness with gradient") || was_refused {
        assert!(wide(&grad).iter().all(|&x| x == FILL), "smoothness was refused, and the place written");
        return;
    }
    let ours = result.unwrap();
    same(&numbers(&with_grad.unwrap()), &numbers(&ours), "smoothness with gradient");
    let io = RowsIo::in_place(&mut place, shape[0], shape[1]).unwrap();
    js_smoothness_with_grad(io, neighbours, reduction, upstream.given()).unwrap();
    same(&wide(&place), &wide(&grad), "gradient of smoothness in place");
    // (KL(p, m) + KL(q, m)) / 2 with the logarithms of p, q and their mean
    let map = Map::<S::Real> { softcap: None, temperature: 1.0, prior: None };
    let known: Vec<Known> = numbers_of.chunks_exact(classes.max(1)).map(|z| Known::of(z, &map)).collect();
    let mut truth = Truth::default();
    for row in (0..known.len()).filter(|row| row % length != 0) {
        let are_neighbours = segments.as_ref().is_none_or(|segments| segments[row - 1] == segments[row]);
        truth.divisor.add(f64::from(u8::from(are_neighbours)));
        truth.losses.push(match (&known[row - 1], &known[row]) {
            _ if !are_neighbours => Near::ZERO,
            (Known::Softmax(p), Known::Softmax(q)) if p.cost.iter().chain(&q.cost).all(|cost| cost.is_finite()) => {
                let term = |p: f64, q: f64| {
                    let mean = p.min(q) - ((p - q).abs() * -1.0).exp().ln_1p() + 2f64.ln();
                    ((-p).exp() * (mean - p) + (-q).exp() * (mean - q)) / 2.0
                };
                let value: f64 = p.cost.iter().zip(&q.cost).map(|(&p, &q)| term(p, q)).sum();
                let rtol = S::Real::either(1e-6, 1e-12);
                Near::of(value, 20.0 * rtol * (value.max(0.0).sqrt() + value) + 1e-15)
            }
            _ => Near::ANY,
        });
    }
    if classes > 0 {
        truth.judge_losses(&ours, reduction);
    }
}
