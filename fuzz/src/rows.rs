//! The softmax family: cross-entropy, focal loss, and cross-entropy of probabilities.

use super::check::{self, Form};
use super::draw::{Draw, Number, Stored, doubles, wide, widened};
use super::truth::{Near, Total, Truth, flushed, sum};
use xentrs::{
    CategoricalCrossEntropy, Classes, Labels, Result, RowObjective, Rows, SoftmaxCrossEntropy, SoftmaxFocalLoss,
    Sparse, Targets,
};

/// Any loss of the family, of any rows.
pub fn losses<S: Stored>(draw: &mut Draw<'_>) {
    let shape = draw.shape();
    let family = Family::<S>::drawn(draw, shape);
    let n = shape[0] * shape[1];
    let logits = if family.is_of_probabilities() { draw.probabilities(n) } else { draw.logits::<S>(n) };
    let numbers = wide(&logits);
    draw.show(&family);
    draw.valid = draw.valid && (!family.is_of_probabilities() || family.is_in_domain(&numbers));
    let truth = if draw.valid && draw.tame { family.truth(&numbers) } else { Truth::unknown(shape[0], n) };
    check::loss(draw, &logits, shape, family.form(), &truth, true);
}

/// The map of the logits.
#[derive(Debug)]
pub struct Map<T> {
    pub softcap: Option<f64>,
    pub temperature: f64,
    pub prior: Option<Vec<T>>,
}

impl<T: Number> Map<T> {
    pub fn drawn(draw: &mut Draw<'_>, classes: usize) -> Self {
        let positive = |x: f64| x > 0.0 && x < f64::INFINITY;
        let softcap = draw.one_in(4).then(|| draw.option(&[30.0, 5.0], positive));
        let temperature = draw.option(&[1.0, 1.0, 1.0, 2.0, 0.7], positive);
        let prior = draw.one_in(6).then(|| {
            let mut prior: Vec<T> = (0..draw.length(classes)).map(|_| T::new(draw.between(-9.0, 0.0))).collect();
            if !prior.is_empty() && draw.one_in(8) {
                let x = T::new(draw.pick(&[f64::NEG_INFINITY, f64::NAN, f64::INFINITY, -1e300, -1e30]));
                prior[0] = x;
                draw.valid &= x.double() < f64::INFINITY;
                draw.tame &= x.double() == f64::NEG_INFINITY;
            }
            prior
        });
        Map { softcap, temperature, prior }
    }

    fn is_identity(&self) -> bool {
        self.softcap.is_none() && self.temperature == 1.0 && self.prior.is_none()
    }
}

/// What is known of the softmax of a row.
pub enum Known {
    /// All of it.
    Softmax(Softmax),
    /// There is none: NaN is promised.
    Nan,
    /// This class has all the probability: its logit is infinite.
    Limit(usize),
    Nothing,
}

/// The softmax of a row, in which nothing cancels.
pub struct Softmax {
    pub p: Vec<f64>,
    /// `1 - p`
    pub q: Vec<f64>,
    /// By how much the largest logit exceeds each.
    pub margin: Vec<f64>,
    /// `-ln p`
    pub cost: Vec<f64>,
    pub lse: f64,
    pub top: usize,
    /// The derivative of the map.
    pub slope: Vec<f64>,
    /// How far the derivative may be off, relative to itself, and how far a logit, as the map is rounded.
    pub steep: Vec<f64>,
    pub off: f64,
}

impl Known {
    pub fn of<T: Number>(row: &[f64], map: &Map<T>) -> Self {
        // 1. the map and its derivative, `sech^2`
        let capped = |z: f64| map.softcap.map_or(z, |cap| cap * (z / cap).tanh()) / map.temperature;
        let prior = |k: usize| map.prior.as_ref().map_or(0.0, |prior| prior[k].double());
        let z: Vec<f64> = row.iter().enumerate().map(|(k, &z)| capped(z) + prior(k)).collect();
        let steep: Vec<f64> = row.iter().map(|z| map.softcap.map_or(0.0, |cap| (z / cap).abs().min(1e3))).collect();
        let slope = steep.iter().map(|x| (1.0 / x.cosh()).powi(2) / map.temperature).collect();
        // 2. rows that have no softmax, or one that is a limit
        if row.iter().any(|z| z.is_finite() && z.abs() > 1e6) {
            return Known::Nothing;
        }
        let infinite = z.iter().filter(|&&z| z == f64::INFINITY).count();
        let top = (0..z.len()).fold(0, |top, k| if z[k] > z[top] { k } else { top });
        if z.iter().any(|z| z.is_nan()) || infinite > 1 || z.is_empty() || z[top] == f64::NEG_INFINITY {
            return Known::Nan;
        }
        if infinite == 1 {
            return Known::Limit(top);
        }
        // 3. the sum without its largest term
        let max = z[top];
        let e: Vec<f64> = z.iter().map(|z| (z - max).exp()).collect();
        let rest = sum(e.iter().enumerate().filter(|(k, _)| *k != top).map(|(_, &e)| e));
        let (all, log_partition) = (1.0 + rest, rest.ln_1p());
        let margin: Vec<f64> = z.iter().map(|z| max - z).collect();
        // The sum of a logit and its prior may be far smaller than both.
        let sizes = row.iter().enumerate().map(|(k, &z)| capped(z).abs() + prior(k).abs());
        let largest = sizes.filter(|size| size.is_finite()).fold(0.0, f64::max);
        Known::Softmax(Softmax {
            p: e.iter().map(|e| e / all).collect(),
            q: (0..z.len()).map(|k| if k == top { rest / all } else { (all - e[k]) / all }).collect(),
            cost: margin.iter().map(|margin| margin + log_partition).collect(),
            lse: max + log_partition,
            off: if map.is_identity() { 0.0 } else { 4.0 * T::EPS * largest },
            margin,
            top,
            slope,
            steep,
        })
    }
}

#[derive(Debug)]
enum Kind {
    CrossEntropy,
    Focal { gamma: f64 },
    Categorical { eps: f64 },
}

#[derive(Debug)]
enum Target<S: Stored> {
    Classes(Vec<i64>, Vec<i32>),
    /// Also in the type of the computation.
    Dense(Vec<S>, Vec<S::Real>, usize),
    Sparse(Vec<i64>, Vec<S::Real>, usize),
}

/// A loss with its options, targets and weights.
#[derive(Debug)]
pub struct Family<S: Stored> {
    kind: Kind,
    target: Target<S>,
    ignored: Option<i64>,
    class_weight: Option<Vec<S::Real>>,
    sample_weight: Option<Vec<S::Real>>,
    smoothing: f64,
    z_loss: f64,
    map: Map<S::Real>,
    rows: usize,
    classes: usize,
}

impl<S: Stored> Family<S> {
    pub fn drawn(draw: &mut Draw<'_>, [rows, classes]: [usize; 2]) -> Self {
        let positive = |x: f64| (0.0..f64::INFINITY).contains(&x);
        let kind = match draw.byte() % 6 {
            0..3 => Kind::CrossEntropy,
            3..5 => Kind::Focal { gamma: draw.option(&[2.0, 0.5, 0.0], positive) },
            _ => Kind::Categorical { eps: draw.option(&[0.0, 0.125], |eps| (0.0..=0.5).contains(&eps)) },
        };
        let is_mapped = !matches!(kind, Kind::Categorical { .. });
        let [class_weight, sample_weight] = [classes, rows].map(|n| draw.some_weights(n));
        let (smoothing, z_loss, map) = if is_mapped {
            let smoothing = draw.option(&[0.0, 0.0, 0.1, 1.0], |eps| (0.0..=1.0).contains(&eps));
            (smoothing, draw.option(&[0.0, 0.0, 0.01], positive), Map::drawn(draw, classes))
        } else {
            (0.0, 0.0, Map { softcap: None, temperature: 1.0, prior: None })
        };
        let mut ignored = None;
        let target = match draw.byte() % 8 {
            0..4 => {
                let labels;
                (labels, ignored) = draw.labels(rows, classes);
                let narrow = labels.iter().filter_map(|&label| i32::try_from(label).ok()).collect::<Vec<_>>();
                let narrow = if draw.one_in(2) && narrow.len() == labels.len() { narrow } else { vec![] };
                Target::Classes(labels, narrow)
            }
            4..7 => {
                let columns = if rows > 0 { draw.length(classes) } else { classes };
                let mut dense = Vec::with_capacity(rows * columns);
                for _ in 0..rows {
                    let t: Vec<f64> = (0..columns).map(|_| draw.between(-0.5, 1.0).max(0.0)).collect();
                    let sum = t.iter().sum::<f64>().max(1e-3);
                    dense.extend(t.iter().map(|t| S::of(t / sum)));
                }
                if !dense.is_empty() && draw.one_in(24) {
                    let at = draw.below(dense.len());
                    dense[at] = draw.logits(1)[0];
                    draw.tame = false;
                }
                let real = widened(&dense);
                Target::Dense(dense, real, columns)
            }
            _ => {
                let pairs = draw.pick(&[1, 2, 5, 0]);
                let labels;
                (labels, ignored) = draw.labels(rows * pairs, classes);
                let mut weights: Vec<S::Real> = draw.weights(rows * pairs);
                weights.iter_mut().for_each(|weight| *weight = S::Real::new(weight.double() / 4.0));
                Target::Sparse(labels, weights, pairs)
            }
        };
        Family { kind, target, ignored, class_weight, sample_weight, smoothing, z_loss, map, rows, classes }
    }

    pub fn is_of_probabilities(&self) -> bool {
        matches!(self.kind, Kind::Categorical { .. })
    }

    /// The loss, if its options and targets are valid.
    pub fn form(&self) -> Result<Form<'_, S::Real>> {
        let (rows, classes, weight) = (self.rows, self.classes, self.class_weight.as_deref());
        let target = match &self.target {
            Target::Classes(labels, narrow) => {
                let labels = if narrow.is_empty() { Labels::I64(labels) } else { Labels::I32(narrow) };
                Targets::Classes(Classes::new(labels, classes, self.ignored)?)
            }
            Target::Dense(stored, real, columns) => match size_of::<S>() {
                2 => Targets::Stored(S::rows(Rows::new("target", stored, rows, *columns)?)),
                _ => Targets::Distributions(Rows::new("target", real, rows, *columns)?),
            },
            Target::Sparse(labels, weights, pairs) => {
                let weights = Rows::new("target", weights, rows, *pairs)?;
                Targets::Sparse(Sparse::new(Labels::I64(labels), weights, classes, self.ignored)?)
            }
        };
        let sample_weight = self.sample_weight.as_deref();
        let entropy = || {
            SoftmaxCrossEntropy::new(classes, weight, self.smoothing)?
                .of_logits(self.map.softcap, self.map.temperature)?
                .with_log_prior(self.map.prior.as_deref())?
                .with_z_loss(self.z_loss)
        };
        Ok(match self.kind {
            Kind::CrossEntropy => Form::Curved(Box::new(RowObjective { loss: entropy()?, target, sample_weight })),
            Kind::Focal { gamma } => {
                let loss = SoftmaxFocalLoss::new(entropy()?, gamma)?;
                Form::Curved(Box::new(RowObjective { loss, target, sample_weight }))
            }
            Kind::Categorical { eps } => {
                let loss = CategoricalCrossEntropy::new(classes, weight, eps)?;
                Form::Plain(Box::new(RowObjective { loss, target, sample_weight }))
            }
        })
    }

    fn sample_weight(&self, row: usize) -> f64 {
        self.sample_weight.as_ref().map_or(1.0, |weights| weights[row].double())
    }

    fn class_weight(&self, class: usize) -> f64 {
        self.class_weight.as_ref().map_or(1.0, |weights| weights[class].double())
    }

    /// The target of a row as a distribution, and which classes a loss of probabilities reads; None if it is ignored.
    fn target(&self, row: usize) -> Option<(Vec<f64>, Vec<bool>)> {
        let (mut t, mut reads) = (vec![0.0; self.classes], vec![false; self.classes]);
        match &self.target {
            Target::Dense(_, real, columns) => {
                return Some((doubles(&real[row * columns..][..*columns]), vec![true; *columns]));
            }
            Target::Classes(labels, _) if Some(labels[row]) == self.ignored => return None,
            Target::Classes(labels, _) => {
                t[labels[row] as usize] = 1.0;
                reads[labels[row] as usize] = true;
            }
            Target::Sparse(labels, weights, pairs) => {
                for pair in (row * pairs..(row + 1) * pairs).filter(|&pair| Some(labels[pair]) != self.ignored) {
                    t[labels[pair] as usize] += weights[pair].double();
                    reads[labels[pair] as usize] = true;
                }
            }
        }
        Some((t, reads))
    }

    /// Whether all numbers that count are probabilities. NaN is allowed.
    fn is_in_domain(&self, numbers: &[f64]) -> bool {
        if self.classes == 0 {
            return true;
        }
        let is_in = |row: usize, reads: &[bool]| {
            let numbers = &numbers[row * self.classes..][..self.classes];
            numbers.iter().zip(reads).all(|(p, reads)| !reads || p.is_nan() || (0.0..=1.0).contains(p))
        };
        let counts = |row: usize| self.sample_weight(row) != 0.0;
        (0..self.rows)
            .filter(|&row| counts(row))
            .all(|row| self.target(row).is_none_or(|(_, reads)| is_in(row, &reads)))
    }

    /// What is true of these logits, all arguments being valid and usual.
    pub fn truth(&self, numbers: &[f64]) -> Truth {
        let mut truth = Truth::default();
        for row in 0..self.rows {
            let z = &numbers[row * self.classes..][..self.classes];
            let none = (Near::ZERO, vec![Near::ZERO; self.classes], vec![Near::ZERO; self.classes]);
            let (s, target) = (self.sample_weight(row), self.target(row));
            let (loss, grads, hess) = match target.filter(|_| s != 0.0) {
                None => none,
                Some((t, reads)) => {
                    let w: Vec<f64> = (0..self.classes).map(|k| self.class_weight(k)).collect();
                    let mass = sum(t.iter().copied());
                    truth.divisor.add(s * sum(t.iter().zip(&w).map(|(t, w)| t * w)));
                    let share = |t: f64| (1.0 - self.smoothing) * t + self.smoothing * mass / self.classes as f64;
                    let u: Vec<f64> = t.iter().zip(&w).map(|(&t, w)| s * w * share(t)).collect();
                    match self.kind {
                        _ if sum(u.iter().copied()) == 0.0 => none,
                        Kind::CrossEntropy => self.of_logits(z, &u, s, 0.0),
                        Kind::Focal { gamma } => self.of_logits(z, &u, s, gamma),
                        Kind::Categorical { eps } => self.of_probabilities(z, &u, &reads, eps),
                    }
                }
            };
            truth.losses.push(loss);
            truth.grads.extend(grads);
            truth.hess.extend(hess);
        }
        if !matches!(self.kind, Kind::CrossEntropy) || self.map.softcap.is_some() {
            truth.hess.clear();
        }
        truth
    }

    /// `sum_k u_k (1 - p_k)^gamma (-ln p_k) + s z_loss lse^2`
    fn of_logits(&self, z: &[f64], u: &[f64], s: f64, gamma: f64) -> (Near, Vec<Near>, Vec<Near>) {
        let any = |loss| (loss, vec![Near::ANY; z.len()], vec![Near::ANY; z.len()]);
        let softmax = match Known::of(z, &self.map) {
            Known::Nothing => return any(Near::ANY),
            Known::Nan => return any(Near::NAN),
            Known::Limit(top) => {
                let is_free = u.iter().enumerate().all(|(k, &u)| k == top || u == 0.0) && self.z_loss == 0.0;
                return any(Near::of(if is_free { 0.0 } else { f64::INFINITY }, flushed::<S::Real>()));
            }
            Known::Softmax(softmax) => softmax,
        };
        let Softmax { p, q, cost, slope, steep, lse, off, .. } = &softmax;
        let (eps, total) = (S::Real::EPS, sum(u.iter().copied()));
        // 1. the loss, and the weights v of its gradient
        let focus = |k: usize| if gamma == 0.0 { 1.0 } else { q[k].powf(gamma) };
        let terms = (0..z.len()).map(|k| if u[k] > 0.0 { u[k] * focus(k) * cost[k] } else { 0.0 });
        let loss = sum(terms) + s * self.z_loss * lse * lse;
        let turn = |k: usize| match gamma > 0.0 && p[k] > 0.0 && q[k] > 0.0 {
            true => gamma * focus(k) / q[k] * p[k] * cost[k],
            false => 0.0,
        };
        let v: Vec<f64> = (0..z.len()).map(|k| if u[k] > 0.0 { u[k] * (focus(k) + turn(k)) } else { 0.0 }).collect();
        // 2. p_k sum_(j != k) v_j - v_k (1 - p_k), and the size of its terms
        let (mut before, mut others) = (Total::default(), vec![0.0; z.len()]);
        for k in 0..z.len() {
            others[k] = before.value();
            before.add(v[k]);
        }
        let mut after = Total::default();
        for k in (0..z.len()).rev() {
            others[k] += after.value();
            after.add(v[k]);
        }
        let (mut grads, mut doubt) = (vec![], 0.0);
        let rtol = S::Real::either(1e-5, 1e-12);
        for k in 0..z.len() {
            let (up, down, pull) = (p[k] * others[k], v[k] * q[k], 2.0 * s * self.z_loss * lse * p[k]);
            let size = slope[k] * (up + down + pull.abs());
            let turned = size * (2.0 * (1.0 + gamma) * off + 16.0 * eps * steep[k]);
            let within = rtol * size + turned + slope[k] * 4.0 * s * self.z_loss * p[k] * off;
            grads.push(Near::of(slope[k] * (up - down + pull), within + 64.0 * flushed::<S::Real>()));
            doubt += off * (up + down + pull.abs());
        }
        let rtol = S::Real::either(if gamma == 0.0 { 1e-6 } else { 3e-6 }, 1e-12);
        let hess = (0..z.len()).map(|k| {
            let hess = total * p[k] * q[k] / self.map.temperature.powi(2);
            Near::of(hess, hess * (S::Real::either(1e-5, 1e-12) + 4.0 * off))
        });
        (Near::of(loss, rtol * loss + doubt + flushed::<S::Real>()), grads, hess.collect())
    }

    /// `-sum_k u_k ln p_k`
    fn of_probabilities(&self, p: &[f64], u: &[f64], reads: &[bool], eps: f64) -> (Near, Vec<Near>, Vec<Near>) {
        let rtol = S::Real::either(1e-6, 1e-14);
        if (0..p.len()).any(|k| reads[k] && p[k].is_nan()) {
            let loss =
                if (0..p.len()).any(|k| p[k].is_nan() && reads[k] && u[k] == 0.0) { Near::ANY } else { Near::NAN };
            return (loss, vec![Near::ANY; p.len()], vec![]);
        }
        let (mut loss, mut grads) = (0.0, vec![]);
        for (&p, &u) in p.iter().zip(u) {
            let kept = p.clamp(eps, 1.0 - eps);
            loss += if u > 0.0 { -u * kept.ln() } else { 0.0 };
            let grad = if u > 0.0 && kept == p { -u / p } else { 0.0 };
            grads.push(if p > 0.0 && p < 1e-30 { Near::ANY } else { Near::of(grad, rtol * grad.abs()) });
        }
        (Near::of(loss, rtol * loss + flushed::<S::Real>()), grads, vec![])
    }
}
