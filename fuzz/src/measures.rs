//! Entropies and divergences of distributions.

use super::check::{Upstream, apart, refused, same};
use super::draw::{Draw, Number, Stored, doubles, wide};
use super::truth::{Near, flushed};
use xentrs::{
    Measure, MeasureInput, MeasureKind, Rows, Variable, weighted_measure_value, weighted_measure_value_and_grads,
};

/// Numbers that are distributions, or become some.
fn numbers<S: Stored>(draw: &mut Draw<'_>, [rows, classes]: [usize; 2], input: MeasureInput) -> Vec<S> {
    if input == MeasureInput::Logits || draw.one_in(12) {
        return draw.logits(rows * classes);
    }
    let mut numbers = Vec::with_capacity(rows * classes);
    let has_zeros = draw.one_in(2);
    for _ in 0..rows {
        let exponential = |draw: &mut Draw<'_>| (1e-12 + draw.between(0.0, 1.0)).ln().powi(2);
        let one = |draw: &mut Draw<'_>| if has_zeros && draw.below(3) == 0 { 0.0 } else { exponential(draw) };
        let row: Vec<f64> = (0..classes).map(|k| one(draw) + if k == 0 { 1e-3 } else { 0.0 }).collect();
        let sum = if input == MeasureInput::Probabilities { row.iter().sum() } else { 1.0 };
        numbers.extend(row.iter().map(|x| S::of(x / sum)));
    }
    numbers
}

/// Whether rows that count are valid; None where that is a matter of rounding.
fn are_valid(rows: &[f64], classes: usize, counts: &dyn Fn(usize) -> bool, input: MeasureInput) -> Option<bool> {
    if input == MeasureInput::Logits {
        return Some(true);
    }
    if classes == 0 {
        return None;
    }
    let (mut all, mut is_known) = (true, true);
    for (_, row) in rows.chunks_exact(classes).enumerate().filter(|(i, _)| counts(*i)) {
        let (negative, sum) = (row.iter().any(|&x| x < 0.0), row.iter().sum::<f64>());
        if input == MeasureInput::Probabilities {
            all &= !(negative || (sum - 1.0).abs() > 0.2);
            is_known &= sum.is_nan() || !((1e-5..0.2).contains(&(sum - 1.0).abs()));
        } else {
            all &= !(negative || sum == 0.0 || sum == f64::INFINITY);
            is_known &= sum.is_nan() || (1e-30..1e30).contains(&sum);
        }
    }
    if all && !is_known { None } else { Some(all) }
}

pub fn measures<S: Stored>(draw: &mut Draw<'_>) {
    let shape @ [rows, classes] = draw.shape();
    let weight = draw.option(&[0.5, 0.3, 0.999, 0.0, 1.0], |weight| (0.0..=1.0).contains(&weight));
    let (kind, two) = match draw.byte() % 5 {
        0 => (MeasureKind::Entropy, false),
        1 => (MeasureKind::Perplexity, false),
        2 => (MeasureKind::CrossEntropy, true),
        3 => (MeasureKind::KlDivergence, true),
        _ => (MeasureKind::JsDivergence { weight }, true),
    };
    // Only that divergence has a weight.
    let uses_weight = matches!(kind, MeasureKind::JsDivergence { .. });
    (draw.valid, draw.tame) = (draw.valid || !uses_weight, draw.tame || !uses_weight);
    let input = draw.pick(&[MeasureInput::Probabilities, MeasureInput::Logits, MeasureInput::Unnormalized]);
    let is_base = |base: f64| base > 1.0 && base < f64::INFINITY;
    let base = draw.one_in(3).then(|| draw.option(&[2.0, 10.0, 1.5], is_base));
    let is_logits = input == MeasureInput::Logits;
    let temperatures: &[f64] = if is_logits { &[1.0, 1.0, 2.0, 0.5] } else { &[1.0] };
    let is_temperature = |t: f64| t > 0.0 && t < f64::INFINITY && (t == 1.0 || is_logits);
    let temperature = draw.option(temperatures, is_temperature);
    let p = numbers::<S>(draw, shape, input);
    let q = if draw.one_in(8) { p.clone() } else { numbers::<S>(draw, shape, input) };
    let weights: Option<Vec<f64>> = draw.some_weights(rows);
    let mut out = vec![S::Real::new(0.0); draw.length(rows)];
    let is_answered = |draw: &Draw<'_>| {
        let counts = |row: usize| weights.as_ref().is_none_or(|weights| weights[row] != 0.0);
        let sides = if two { vec![&p, &q] } else { vec![&p] };
        let sides = sides.into_iter().map(|side| are_valid(&wide(side), classes, &counts, input));
        if draw.valid {
            sides.fold(
                Some(true),
                |all, one| if all == Some(false) || one == Some(false) { Some(false) } else { all.and(one) },
            )
        } else {
            Some(false)
        }
    };
    let made = Measure::new(kind, input, base).and_then(|measure| measure.with_temperature(temperature));
    let Ok(measure) = made else {
        refused(&made.map(drop), draw.valid, "a measure");
        return;
    };
    let [p_rows, q_rows] = [&p, &q].map(|side| Rows::new("p", side, rows, classes).unwrap());
    let weights_given = weights.as_deref();
    let values = weighted_measure_value(&measure, p_rows, two.then_some(q_rows), weights_given, &mut out);
    let answered = is_answered(draw);
    if refused(&values, answered.unwrap_or(values.is_ok()), "a measure") {
        return;
    }
    // 1. the truth
    if draw.tame && classes > 0 {
        let unit = if kind == MeasureKind::Perplexity { 1.0 } else { base.map_or(1.0, f64::ln) };
        for (i, ours) in doubles(&out).into_iter().enumerate() {
            let [p, q] = [&p, &q].map(|side| wide(&side[i * classes..][..classes]));
            let s = weights_given.map_or(1.0, |weights| weights[i]);
            let near = match value(kind, input, temperature, &p, &q) {
                _ if s == 0.0 => Near::ZERO,
                Some((value, size)) => {
                    let rtol = S::Real::either(24.0 * S::Real::EPS, 1e-9);
                    let floor = flushed::<S::Real>() + if classes == 1 { 4.0 * S::Real::EPS } else { 1e-13 };
                    Near::of(s * value / unit, s / unit * (rtol * size + floor))
                }
                None => Near::ANY,
            };
            assert!(near.is(ours), "{kind:?} {input:?} {p:?} {q:?}: {ours:e} instead of {near:?}");
        }
    }
    // 2. the gradients, with the same values; of rows that stand apart, or of one that all share
    let upstream = Upstream::<S::Real>::drawn(draw, rows);
    let (is_shared, gap) = (rows > 0 && draw.one_in(4), draw.pick(&[0, 1, 5]));
    let (data, stride) = if is_shared { (q[..classes].to_vec(), 0) } else { apart(&q, shape, gap) };
    let q_rows = Rows::with_stride("q", &data, rows, classes, stride).unwrap();
    let places = |draw: &mut Draw<'_>, n: usize| {
        // One row fits too.
        let length = if n == classes || n + 1 == classes { n } else { draw.length(n) };
        vec![S::of(0.0); length]
    };
    let (mut p_grad, mut again) = (places(draw, p.len()), out.clone());
    let mut q_grad = if two { places(draw, if is_shared { classes } else { q.len() }) } else { vec![] };
    let q_variable = Variable { rows: q_rows, grad: &mut q_grad };
    let p_variable = Variable { rows: p_rows, grad: &mut p_grad };
    let q_variable = two.then_some(q_variable);
    let result =
        weighted_measure_value_and_grads(&measure, p_variable, q_variable, weights_given, &mut again, upstream.given());
    let answered = if is_shared && two { None } else { is_answered(draw) };
    if !refused(&result, answered.unwrap_or(result.is_ok()), "a measure with gradients") && !(is_shared && two) {
        same(&doubles(&again), &doubles(&out), "measure with gradients");
    }
}

/// The value of a row in nats, and its size; None where this formula does not hold.
fn value(kind: MeasureKind, input: MeasureInput, temperature: f64, p: &[f64], q: &[f64]) -> Option<(f64, f64)> {
    if p.iter().chain(q).any(|x| !x.is_finite() || x.abs() > 300.0 || *x != 0.0 && x.abs() < 1e-30) {
        return None;
    }
    // 1. logarithms of both distributions
    let logs = |row: &[f64]| -> Vec<f64> {
        let z: Vec<f64> = match input {
            MeasureInput::Logits => row.iter().map(|z| z / temperature).collect(),
            _ => row.iter().map(|x| x.ln()).collect(),
        };
        let max = z.iter().fold(f64::NEG_INFINITY, |max, &z| max.max(z));
        let sum = z.iter().map(|z| (z - max).exp()).sum::<f64>().ln() + max;
        let sum = if input == MeasureInput::Probabilities { 0.0 } else { sum };
        z.iter().map(|z| z - sum).collect()
    };
    let (lp, lq) = (logs(p), logs(q));
    // 2. sums of terms that are not negative; `x ln(x / y) - x + y` in its own form
    let sum = |term: &dyn Fn(f64, f64) -> f64| lp.iter().zip(&lq).map(|(&p, &q)| term(p, q)).sum::<f64>();
    let excess = |p: f64, q: f64| match q - p {
        _ if p == f64::NEG_INFINITY => q.exp(),
        far if far > 1.0 => q.exp() - p.exp() * (1.0 + far),
        near => p.exp() * (near.exp_m1() - near),
    };
    let minus_plog = |p: f64, q: f64| if p == f64::NEG_INFINITY { 0.0 } else { -p.exp() * q };
    let entropy = sum(&|p, _| minus_plog(p, p));
    Some(match kind {
        MeasureKind::Entropy => (entropy, entropy),
        MeasureKind::Perplexity => (entropy.exp(), entropy.exp() * (1.0 + entropy)),
        MeasureKind::CrossEntropy => (sum(&minus_plog), sum(&minus_plog)),
        MeasureKind::KlDivergence => {
            let value = sum(&excess);
            (value, value)
        }
        MeasureKind::JsDivergence { weight } => {
            let part = |weight: f64, p: f64, m: f64| if weight == 0.0 { 0.0 } else { weight * excess(p, m) };
            let mix = |p: f64, q: f64| match p.max(q) {
                f64::NEG_INFINITY => f64::NEG_INFINITY,
                max => max + (weight * (p - max).exp() + (1.0 - weight) * (q - max).exp()).ln(),
            };
            let value = sum(&|p, q| part(weight, p, mix(p, q)) + part(1.0 - weight, q, mix(p, q)));
            // Numbers in half precision may sum to more than 1; the divergence is never more than that of certainties.
            let entropy = |w: f64| if w == 0.0 { 0.0 } else { -w * w.ln() };
            let value = value.min(entropy(weight) + entropy(1.0 - weight));
            (value, value)
        }
    })
}
