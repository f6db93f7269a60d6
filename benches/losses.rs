//! Criterion over the pure-Rust API: the rows of `benches/table.csv`, the loss, its gradient, its gradient in place.
//!
//! Before anything is timed the answer is held against the formula in double precision.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use half::{bf16, f16};
use std::hint::black_box;
use std::time::Duration;
use xentrs::{
    BinaryCrossEntropy, CategoricalCrossEntropy, Classes, Dispersion, Function, GaussianNll, GaussianObjective,
    GradOutput, Groups, HingeLoss, Labels, LinearGrads, LinearObjective, Link, Loss, Measure, MeasureInput,
    MeasureKind, Neighbours, Objective, PairGrads, PairedRows, Place, PointLoss, PointNumbers, PointObjective, Real,
    Reduction, RowLoss, RowObjective, Rows, RowsIo, SigmoidCrossEntropy, SigmoidFocalLoss, SoftmaxCrossEntropy,
    SoftmaxFocalLoss, Storage, Targets, TokenObjective, Variable, apply, info_nce, js_smoothness,
    js_smoothness_with_grad, linear_value, linear_value_and_grads, logsumexp, measure_value, measure_value_and_grads,
    parity_penalty, parity_penalty_with_grad, siglip_loss, softmax_stats, value, value_and_grad,
};

/// A row of the table.
struct Bench<'a> {
    loss: &'a str,
    shape: &'a str,
    rows: usize,
    classes: usize,
}

/// Numbers between -4 and 4 that look random and are the same in every run.
fn noise<T: Real>(len: usize) -> Vec<T> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        T::from_f64((state >> 40) as f64 / f64::from(1 << 21) - 4.0)
    };
    (0..len).map(|_| next()).collect()
}

fn scalar<T>(loss: xentrs::Result<Loss<T>>) -> f64 {
    match loss.expect("the table holds valid shapes") {
        Loss::Scalar(loss) => loss,
        Loss::Each(_) => unreachable!("a mean is one number"),
    }
}

fn time<S: Storage + Place<S>>(
    c: &mut Criterion,
    bench: &Bench<'_>,
    data: &[S],
    objective: &impl Objective<S::Real>,
    truth: f64,
) {
    let Bench { loss, shape, rows, classes } = *bench;
    let logits = Rows::new("logits", data, rows, classes).expect("one number a class");
    let ours = scalar(value(objective, logits, Reduction::Mean));
    assert!((ours / truth - 1.0).abs() < 1e-6, "{loss} {shape}: {ours}, not {truth}");

    let size = size_of::<S>() * rows * classes;
    let name = format!("{loss}/{}", std::any::type_name::<S>().rsplit("::").next().expect("a name"));
    let mut group = c.benchmark_group(name);
    group.throughput(Throughput::Bytes(size as u64));
    group.bench_function(BenchmarkId::new("loss", shape), |b| {
        b.iter(|| scalar(value(objective, black_box(logits), Reduction::Mean)))
    });
    let mut grad = vec![S::default(); data.len()];
    group.throughput(Throughput::Bytes(2 * size as u64));
    group.bench_function(BenchmarkId::new("gradient", shape), |b| {
        b.iter(|| {
            let rows = RowsIo::new(black_box(logits), &mut grad).expect("as many gradients as logits");
            scalar(value_and_grad(objective, rows, Reduction::Mean, GradOutput::ONE))
        })
    });
    // Gradients of probabilities are none.
    if ["binary_cross_entropy", "categorical_cross_entropy"].contains(&loss) {
        return group.finish();
    }
    grad.copy_from_slice(data);
    group.bench_function(BenchmarkId::new("in place", shape), |b| {
        b.iter(|| {
            // From the second pass on these are gradients of gradients: other numbers, the same work.
            let rows = RowsIo::in_place(black_box(&mut grad), rows, classes).expect("one number a class");
            scalar(value_and_grad(objective, rows, Reduction::Mean, GradOutput::ONE))
        })
    });
    group.finish();
}

/// A loss of rows with classes, held against its formula, which is given `-ln p` of the class.
fn rows<S: Storage + Place<S> + Into<f64>>(
    c: &mut Criterion,
    bench: &Bench<'_>,
    logits: &[S],
    loss: impl RowLoss<S::Real> + Clone,
    formula: impl Fn(f64) -> f64,
) {
    let &Bench { rows, classes, .. } = bench;
    let labels: Vec<i64> = (0..rows).map(|i| ((i * 7919) % classes) as i64).collect();
    let truth = (0..rows).map(|i| {
        let z = logits[i * classes..][..classes].iter().map(|&z| z.into());
        formula(z.map(f64::exp).sum::<f64>().ln() - logits[i * classes + labels[i] as usize].into())
    });
    let truth = truth.sum::<f64>() / rows as f64;
    let target = Classes::new(Labels::I64(&labels), classes, Some(-100)).expect("labels in range");
    let objective = RowObjective { loss, target: Targets::Classes(target), sample_weight: None };
    time(c, bench, logits, &objective, truth);
}

fn softmax<S: Storage + Place<S> + Into<f64>>(c: &mut Criterion, bench: &Bench<'_>, stored: impl Fn(f64) -> S) {
    let loss = SoftmaxCrossEntropy::<S::Real>::new(bench.classes, None, 0.0).expect("no options");
    let logits: Vec<S> = noise::<f64>(bench.rows * bench.classes).into_iter().map(stored).collect();
    rows(c, bench, &logits, loss, |cost| cost);
}

fn softmax_focal(c: &mut Criterion, bench: &Bench<'_>) {
    let loss = SoftmaxCrossEntropy::<f32>::new(bench.classes, None, 0.0).expect("no options");
    let loss = SoftmaxFocalLoss::new(loss, 2.0).expect("a focus");
    rows::<f32>(c, bench, &noise(bench.rows * bench.classes), loss, |cost| (-cost).exp_m1().powi(2) * cost);
}

/// A loss of one number, held against its formula.
fn points<T: Real + Storage<Real = T> + Place<T>>(
    c: &mut Criterion,
    bench: &Bench<'_>,
    logits: &[T],
    loss: impl PointLoss<T>,
    formula: impl Fn(f64, bool) -> f64,
) {
    let is_positive = |i: usize| i.is_multiple_of(3);
    let target: Vec<T> = (0..logits.len()).map(|i| if is_positive(i) { T::ONE } else { T::ZERO }).collect();
    let truth = logits.iter().enumerate().map(|(i, x)| formula(x.to_f64(), is_positive(i))).sum::<f64>();
    let objective = PointObjective { loss, target: PointNumbers::Real(&target), sample_weight: None, ignored: None };
    let truth = truth / logits.len() as f64;
    time(c, &Bench { rows: logits.len(), classes: 1, ..*bench }, logits, &objective, truth);
}

fn sigmoid<T: Real + Storage<Real = T> + Place<T>>(c: &mut Criterion, bench: &Bench<'_>) {
    let loss = SigmoidCrossEntropy::new(None, 0.0).expect("no options");
    let formula = |x: f64, yes| (if yes { -x } else { x }).exp().ln_1p();
    points::<T>(c, bench, &noise(bench.rows * bench.classes), loss, formula);
}

fn focal<T: Real + Storage<Real = T> + Place<T>>(c: &mut Criterion, bench: &Bench<'_>) {
    let loss = SigmoidFocalLoss::new(2.0, None, None, 0.0).expect("no options");
    let formula = |x: f64, yes| {
        let x = if yes { -x } else { x };
        x.exp().ln_1p() / (1.0 + (-x).exp()).powi(2)
    };
    points::<T>(c, bench, &noise(bench.rows * bench.classes), loss, formula);
}

fn hinge<T: Real + Storage<Real = T> + Place<T>>(c: &mut Criterion, bench: &Bench<'_>) {
    let formula = |x: f64, yes| (1.0 + if yes { -x } else { x }).max(0.0);
    points::<T>(c, bench, &noise(bench.rows * bench.classes), HingeLoss { squared: false }, formula);
}

fn binary<T: Real + Storage<Real = T> + Place<T>>(c: &mut Criterion, bench: &Bench<'_>) {
    let p: Vec<T> = noise::<T>(bench.rows * bench.classes);
    let p: Vec<T> = p.into_iter().map(|x| T::from_f64((x.to_f64() + 4.5) / 9.0)).collect();
    let loss = BinaryCrossEntropy::new(None, 0.0).expect("no options");
    points::<T>(c, bench, &p, loss, |p: f64, yes| if yes { -p.ln() } else { -(-p).ln_1p() });
}

fn categorical<T: Real + Storage<Real = T> + Place<T>>(c: &mut Criterion, bench: &Bench<'_>) {
    let &Bench { rows, classes, .. } = bench;
    let unit = |x: T| T::from_f64((x.to_f64() + 5.0) / 9.0);
    let p: Vec<T> = noise(rows * classes).into_iter().map(unit).collect();
    let target: Vec<T> = (0..rows * classes).map(|i| T::from_f64((i % 3) as f64)).collect();
    let loss = p.iter().zip(&target).map(|(p, t)| -t.to_f64() * p.to_f64().ln()).sum::<f64>();
    let truth = loss / target.iter().map(|t| t.to_f64()).sum::<f64>();
    let objective = RowObjective {
        loss: CategoricalCrossEntropy::<T>::new(classes, None, 0.0).expect("no options"),
        target: Targets::Distributions(Rows::new("target", &target, rows, classes).expect("one number a class")),
        sample_weight: None,
    };
    time(c, bench, &p, &objective, truth);
}

fn gaussian(c: &mut Criterion, bench: &Bench<'_>) {
    let points = bench.rows * bench.classes;
    let mean: Vec<f32> = noise(points);
    let (target, var) = (vec![0.5; points], vec![1.0; points]);
    let truth = mean.iter().map(|m| 0.5 * (std::f64::consts::TAU.ln() + (f64::from(*m) - 0.5).powi(2))).sum::<f64>();
    let loss = GaussianNll { dispersion: Dispersion::Variance, full: true };
    let objective = GaussianObjective {
        loss,
        target: PointNumbers::Real(&target),
        dispersion: PointNumbers::Real(&var),
        sample_weight: None,
    };
    time(c, &Bench { rows: points, classes: 1, ..*bench }, &mean, &objective, truth / points as f64);
}

/// A linear layer and its loss: rows, features, classes. Few classes are those of softmax regression, whose inputs are
/// data and have no gradient.
fn linear(c: &mut Criterion, shape: &str) {
    let sizes: Vec<usize> = shape.split('x').map(|size| size.parse().expect("a shape is made of numbers")).collect();
    let [rows, features, classes] = sizes[..] else { panic!("not a layer: {shape}") };
    let (x, mut weight): (Vec<f32>, Vec<f32>) = (noise(rows * features), noise(classes * features));
    weight.iter_mut().for_each(|w| *w /= (features as f32).sqrt());
    let labels: Vec<i64> = (0..rows).map(|i| ((i * 7919) % classes) as i64).collect();
    let target = Targets::Classes(Classes::new(Labels::I64(&labels), classes, None).expect("labels in range"));
    let loss = SoftmaxCrossEntropy::new(classes, None, 0.0).expect("no options");
    let loss = RowObjective { loss, target, sample_weight: None };
    let fits = "one number a feature";
    let x = Rows::new("x", &x, rows, features).expect(fits);
    let weight = Rows::new("weight", &weight, classes, features).expect(fits);
    let objective = LinearObjective { loss: &loss, x, weight, bias: None };
    let mut places = [rows * features, classes * features, classes].map(|len| vec![0.0; len]);
    let mut group = c.benchmark_group("linear_cross_entropy/f32");
    group.throughput(Throughput::Elements((rows * features * classes) as u64));
    group.bench_function(BenchmarkId::new("loss", shape), |b| {
        b.iter(|| scalar(linear_value(black_box(&objective), Reduction::Mean)))
    });
    group.bench_function(BenchmarkId::new("gradient", shape), |b| {
        b.iter(|| {
            let [x, weight, bias] = &mut places;
            let x = (classes > 32).then_some(&mut x[..]);
            let grads = LinearGrads { x, weight: Some(weight), bias: Some(bias) };
            let loss = scalar(linear_value_and_grads(black_box(&objective), grads, Reduction::Mean, GradOutput::ONE));
            assert!(loss.is_finite());
        })
    });
    group.finish();
}

/// Rows of two matrices, which belong together if they have the same number.
fn pairs(c: &mut Criterion, loss: &str, shape: &str) {
    let (n, d) = shape.split_once('x').expect("rows and features");
    let number = |digits: &str| digits.parse::<usize>().expect("a shape is made of numbers");
    let (n, d) = (number(n), number(d));
    let (x, y): (Vec<f32>, Vec<f32>) = (noise(n * d), noise(n * d));
    let rows = |data| Rows::new("rows", data, n, d).expect("one number a feature");
    let pairs = PairedRows { x: rows(&x), y: rows(&y), temperature: 1.0 };
    let mut places = [vec![0.0; n * d], vec![0.0; n * d]];
    let call = |grads: Option<PairGrads<'_, f32>>| {
        let (mean, one) = (Reduction::Mean, GradOutput::ONE);
        let result = match loss {
            "info_nce" => info_nce(&pairs, true, grads, mean, one),
            _ => siglip_loss(&pairs, 0.0, grads, mean, one),
        };
        assert!(scalar(result.map(|result| result.loss)).is_finite());
    };
    let mut group = c.benchmark_group(format!("{loss}/f32"));
    group.throughput(Throughput::Elements((n * n * d) as u64));
    group.bench_function(BenchmarkId::new("loss", shape), |b| b.iter(|| call(black_box(None))));
    group.bench_function(BenchmarkId::new("gradient", shape), |b| {
        b.iter(|| {
            let [x, y] = &mut places;
            call(Some(PairGrads { x, y }));
        })
    });
    group.finish();
}

fn quantity(name: &str) -> MeasureKind {
    match name {
        "entropy" => MeasureKind::Entropy,
        "perplexity" => MeasureKind::Perplexity,
        "cross_entropy" => MeasureKind::CrossEntropy,
        "kl_divergence" => MeasureKind::KlDivergence,
        "js_divergence" => MeasureKind::JsDivergence { weight: 0.5 },
        _ => panic!("no such function: {name}"),
    }
}

/// Distributions are softmax of noise. How right the answers are is a matter of the tests; here they must be finite.
fn distributions(c: &mut Criterion, bench: &Bench<'_>, quantity: MeasureKind) {
    let &Bench { loss, shape, rows, classes } = bench;
    let softmax = |mut x: Vec<f32>| {
        let io = RowsIo::in_place(&mut x, rows, classes).expect("one number a class");
        apply(Function::Softmax, io).expect("nothing is wrong with noise");
        x
    };
    let (data_p, mut data_q) = (softmax(noise(rows * classes)), noise(rows * classes));
    data_q.reverse();
    let data_q = softmax(data_q);
    let (p, q) = (Rows::new("p", &data_p, rows, classes), Rows::new("q", &data_q, rows, classes));
    let (p, q) = (p.expect("one number a class"), q.expect("one number a class"));
    let measure = Measure::new(quantity, MeasureInput::Probabilities, None).expect("no options");
    let q = (!matches!(quantity, MeasureKind::Entropy | MeasureKind::Perplexity)).then_some(q);
    let mut values = vec![0.0; rows];
    let mut group = c.benchmark_group(format!("{loss}/f32"));
    group.throughput(Throughput::Bytes(size_of_val(&data_p[..]) as u64 * if q.is_some() { 2 } else { 1 }));
    group.bench_function(BenchmarkId::new("loss", shape), |b| {
        b.iter(|| measure_value(&measure, black_box(p), q, &mut values).expect("softmax gives distributions"))
    });
    let (mut p_grad, mut q_grad) = (vec![0.0; data_p.len()], vec![0.0; data_q.len()]);
    group.bench_function(BenchmarkId::new("gradient", shape), |b| {
        b.iter(|| {
            let p = Variable { rows: black_box(p), grad: &mut p_grad };
            let q = q.map(|rows| Variable { rows, grad: &mut q_grad });
            measure_value_and_grads(&measure, p, q, &mut values, GradOutput::ONE).expect("softmax gives distributions")
        })
    });
    group.finish();
    assert!(values.iter().all(|value| value.is_finite()), "{loss} {shape}");
}

/// Times a function without a place for the gradient, and one with it: of noise, for which both must be finite.
fn pair(
    c: &mut Criterion,
    bench: &Bench<'_>,
    loss: impl Fn(Rows<'_, f32>) -> f64,
    grad: impl Fn(RowsIo<'_, f32>) -> f64,
) {
    let &Bench { loss: name, shape, rows, classes } = bench;
    let (data, mut place) = (noise(rows * classes), vec![0.0; rows * classes]);
    let logits = Rows::new("logits", &data, rows, classes).expect("one number a class");
    assert!(loss(logits).is_finite(), "{name} {shape}");
    let mut group = c.benchmark_group(format!("{name}/f32"));
    group.throughput(Throughput::Bytes(size_of_val(&data[..]) as u64));
    group.bench_function(BenchmarkId::new("loss", shape), |b| b.iter(|| loss(black_box(logits))));
    group.bench_function(BenchmarkId::new("gradient", shape), |b| {
        b.iter(|| grad(RowsIo::new(black_box(logits), &mut place).expect("a place for each")))
    });
    group.finish();
    assert!(place.iter().all(|grad| grad.is_finite()), "{name} {shape}");
}

fn smoothness(c: &mut Criterion, bench: &Bench<'_>) {
    let neighbours = Neighbours { length: bench.rows, segments: None };
    pair(
        c,
        bench,
        |logits| scalar(js_smoothness(logits, neighbours, Reduction::Mean)),
        |logits| scalar(js_smoothness_with_grad(logits, neighbours, Reduction::Mean, GradOutput::ONE)),
    );
}

fn parity(c: &mut Criterion, bench: &Bench<'_>) {
    let labels: Vec<i32> = (0..bench.rows as i32).map(|row| row % 4).collect();
    let group = Classes::new(Labels::I32(&labels), 4, None).expect("four groups");
    let groups = Groups { group, count: 4, target: None };
    pair(
        c,
        bench,
        |logits| parity_penalty(logits, groups, Link::Sigmoid).expect("a group for each"),
        |logits| parity_penalty_with_grad(logits, groups, Link::Sigmoid, 1.0).expect("a group for each"),
    );
}

fn stats(c: &mut Criterion, bench: &Bench<'_>) {
    let &Bench { loss, shape, rows, classes } = bench;
    let (data, labels) = (noise::<f32>(rows * classes), vec![0; rows]);
    let logits = Rows::new("logits", &data, rows, classes).expect("one number a class");
    let target = Classes::new(Labels::I32(&labels), classes, None).expect("0 is a class");
    let mut group = c.benchmark_group(format!("{loss}/f32"));
    group.throughput(Throughput::Bytes(size_of_val(&data[..]) as u64));
    group.bench_function(BenchmarkId::new("loss", shape), |b| {
        b.iter(|| softmax_stats(black_box(logits), target, None).expect("a class for each"))
    });
    group.finish();
}

fn tokens(c: &mut Criterion, bench: &Bench<'_>) {
    let &Bench { loss, shape, rows, classes } = bench;
    let (data, labels, mut place) = (noise::<f32>(rows * classes), vec![0; rows], vec![0.0; rows * classes]);
    let logits = Rows::new("logits", &data, rows, classes).expect("one number a class");
    let target = Classes::new(Labels::I32(&labels), classes, None).expect("0 is a class");
    let objective =
        TokenObjective::<f32>::new(target, None, 1.0, [GradOutput::Number(-1.0), GradOutput::ONE]).expect("no options");
    let mut group = c.benchmark_group(format!("{loss}/f32"));
    group.throughput(Throughput::Bytes(size_of_val(&data[..]) as u64));
    group.bench_function(BenchmarkId::new("loss", shape), |b| {
        b.iter(|| value(&objective, black_box(logits), Reduction::None).expect("a token for each"))
    });
    group.bench_function(BenchmarkId::new("gradient", shape), |b| {
        b.iter(|| {
            let rows = RowsIo::new(black_box(logits), &mut place).expect("a place for each");
            value_and_grad(&objective, rows, Reduction::None, GradOutput::ONE).expect("a token for each")
        })
    });
    group.finish();
    assert!(place.iter().all(|p| p.is_finite()), "{loss} {shape}");
}

fn sums(c: &mut Criterion, bench: &Bench<'_>) {
    let &Bench { loss, shape, rows, classes } = bench;
    let (data, mut sums) = (noise::<f32>(rows * classes), vec![0.0; rows]);
    let logits = Rows::new("logits", &data, rows, classes).expect("one number a class");
    let mut group = c.benchmark_group(format!("{loss}/f32"));
    group.throughput(Throughput::Bytes(size_of_val(&data[..]) as u64));
    group.bench_function(BenchmarkId::new("loss", shape), |b| {
        b.iter(|| logsumexp(black_box(logits), &mut sums).expect("a place for each"))
    });
    group.finish();
    assert!(sums.iter().all(|sum| sum.is_finite()), "{loss} {shape}");
}

fn map(c: &mut Criterion, bench: &Bench<'_>, function: Function) {
    let &Bench { loss, shape, rows, classes } = bench;
    let (data, mut place) = (noise::<f32>(rows * classes), vec![0.0; rows * classes]);
    let logits = Rows::new("logits", &data, rows, classes).expect("one number a class");
    let mut group = c.benchmark_group(format!("{loss}/f32"));
    group.throughput(Throughput::Bytes(2 * size_of_val(&data[..]) as u64));
    group.bench_function(BenchmarkId::new("gradient", shape), |b| {
        b.iter(|| {
            let rows = RowsIo::new(black_box(logits), &mut place).expect("a place for each");
            apply(function, rows).expect("every number is a logit")
        })
    });
    group.finish();
    assert!(place.iter().all(|p| p.is_finite()), "{loss} {shape}");
}

fn table(c: &mut Criterion) {
    if cfg!(debug_assertions) {
        panic!("a debug build says nothing about speed: use `cargo bench --features bench`");
    }
    for line in include_str!("table.csv").lines().skip(1) {
        let [loss, shape, dtype, ..] = line.split(',').collect::<Vec<_>>()[..] else { panic!("not a row: {line}") };
        if loss == "linear_cross_entropy" {
            linear(c, shape);
            continue;
        }
        if loss == "info_nce" || loss == "siglip_loss" {
            pairs(c, loss, shape);
            continue;
        }
        let (rows, classes) = shape.split_once('x').unwrap_or((shape, "1"));
        let number = |digits: &str| digits.parse().expect("a shape is made of numbers");
        let bench = Bench { loss, shape, rows: number(rows), classes: number(classes) };
        match (loss, dtype) {
            ("softmax_cross_entropy", "float16") => softmax(c, &bench, f16::from_f64),
            ("softmax_cross_entropy", "bfloat16") => softmax(c, &bench, bf16::from_f64),
            ("softmax_cross_entropy", "float32") => softmax(c, &bench, |z| z as f32),
            ("softmax_cross_entropy", "float64") => softmax(c, &bench, |z| z),
            ("softmax_focal_loss", "float32") => softmax_focal(c, &bench),
            ("sigmoid_cross_entropy", "float32") => sigmoid::<f32>(c, &bench),
            ("sigmoid_cross_entropy", "float64") => sigmoid::<f64>(c, &bench),
            ("categorical_cross_entropy", "float32") => categorical::<f32>(c, &bench),
            ("categorical_cross_entropy", "float64") => categorical::<f64>(c, &bench),
            ("sigmoid_focal_loss", "float32") => focal::<f32>(c, &bench),
            ("hinge_loss", "float32") => hinge::<f32>(c, &bench),
            ("binary_cross_entropy", "float32") => binary::<f32>(c, &bench),
            ("gaussian_nll", "float32") => gaussian(c, &bench),
            ("js_smoothness", "float32") => smoothness(c, &bench),
            ("parity_penalty", "float32") => parity(c, &bench),
            ("softmax_stats", "float32") => stats(c, &bench),
            ("token_logprobs", "float32") => tokens(c, &bench),
            ("logsumexp", "float32") => sums(c, &bench),
            ("softmax", "float32") => map(c, &bench, Function::Softmax),
            ("log_softmax", "float32") => map(c, &bench, Function::LogSoftmax),
            (name, "float32") => distributions(c, &bench, quantity(name)),
            _ => panic!("no such loss or type: {line}"),
        }
    }
}

criterion_group! {
    name = losses;
    // A tenth of criterion's patience: the whole table in minutes.
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = table
}
criterion_main!(losses);
